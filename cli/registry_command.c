/*
 * registry_command.c - the words of `pelorus registry ...`.
 */
#include "cli/registry_command.h"

#include "base/log.h"
#include "base/units.h"
#include "registry/registry.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE           2
#define EPOCH_FLOOR_MAX (UINT64_C(1) << 62)

int cli_registry_conf(struct conf *conf, const char *file)
{
    struct buf problems;
    struct err err;
    int rc = 0;

    buf_init(&problems, 64 * 1024);
    if (file == NULL) {
        conf_defaults(conf);
    } else if (conf_load(conf, file, &problems, &err) != 0) {
        if (problems.len > 0)
            fputs(buf_text(&problems), stderr);
        else
            fprintf(stderr, "pelorus: %s\n", err.msg);
        rc = 1;
    }
    buf_close(&problems);
    return rc;
}

struct given {
    const char *conf;
    bool apply, help;
    struct registry_args args;
};

/* The SQL on standard output, or run. */
static int init(struct conf *conf, const struct given *given)
{
    const char *text = NULL;
    struct err err;
    int rc;

    log_configure(conf->log_level, conf->log_format);
    rc = registry_schema(&conf->registry, given->apply, &text, &err);
    if (rc != 0)
        fprintf(stderr, "pelorus: %s\n", err.msg);
    else if (!given->apply)
        fputs(text, stdout);
    return rc == 0 ? 0 : 1;
}

static int accept_restore(struct conf *conf, const struct given *given)
{
    return cli_registry_accept(conf, &given->args);
}

static int backup(struct conf *conf, const struct given *given)
{
    assert(given->args.file != NULL);
    return cli_registry_backup(conf, &given->args);
}

static int vacuum(struct conf *conf, const struct given *given)
{
    return cli_registry_vacuum(conf, &given->args);
}

static const struct verb {
    const char *name;
    int (*run)(struct conf *conf, const struct given *given);
    bool file;           /* a word must follow */
    const char *options; /* besides -c */
    const char *usage;
} verbs[] = {
    {"init", init, false, "a", "init [--apply] [-c FILE]"},
    {"accept-restore", accept_restore, false, "ye",
     "accept-restore [--epoch-floor N] [--yes] [-c FILE]"},
    {"backup", backup, true, "", "backup BACKUP [-c FILE]"},
    {"restore", accept_restore, true, "yel",
     "restore BACKUP [--live] [--epoch-floor N] [--yes] [-c FILE]"},
    {"vacuum", vacuum, false, "l", "vacuum [--live] [-c FILE]"},
};

static void say_usage(FILE *to, const struct verb *verb)
{
    if (verb != NULL) {
        fprintf(to, "usage: pelorus registry %s\n", verb->usage);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        fprintf(to, "%s pelorus registry %s\n", i == 0 ? "usage:" : "      ",
                verbs[i].usage);
}

static void say_wrong(int argc, char **argv, const struct verb *verb)
{
    int words = argc - optind;

    assert(optind <= argc);
    if (words == 0)
        fprintf(stderr, "pelorus: registry: what is to be done?\n");
    else if (verb == NULL)
        fprintf(stderr, "pelorus: registry %s: no such command\n",
                argv[optind]);
    else if (words == 1 && verb->file)
        fprintf(stderr, "pelorus: registry %s: the backup's file is missing\n",
                verb->name);
    else if (words > (verb->file ? 2 : 1))
        fprintf(stderr, "pelorus: registry %s: %s is a word too many\n",
                verb->name, argv[argc - 1]);
    say_usage(stderr, verb);
}

static const struct verb *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* The options stand anywhere; which ones there may be the verb says. */
static const struct verb *parse(int argc, char **argv, struct given *g)
{
    static const struct option options[] = {
        {"apply", no_argument, NULL, 'a'},
        {"yes", no_argument, NULL, 'y'},
        {"live", no_argument, NULL, 'l'},
        {"epoch-floor", required_argument, NULL, 'e'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    bool seen[256] = {false}, wrong;
    const struct verb *verb;
    const char *floor = NULL;
    struct err err;
    int option;

    assert(argc > 0);
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        seen[(unsigned char)option] = true;
        g->conf = option == 'c' ? optarg : g->conf;
        floor = option == 'e' ? optarg : floor;
    }
    wrong = seen['?'];
    g->apply = seen['a'];
    g->args.yes = seen['y'];
    g->args.live = seen['l'];
    if (floor != NULL &&
        units_uint(floor, EPOCH_FLOOR_MAX, &g->args.epoch_floor, &err) != 0) {
        fprintf(stderr, "pelorus: --epoch-floor: %s\n", err.msg);
        wrong = true;
    }
    verb = optind < argc ? find(argv[optind]) : NULL;
    if (seen['h']) {
        say_usage(stdout, verb);
        fputs("Exit codes: 0 done, 1 refused or failed, 2 not understood.\n",
              stdout);
        g->help = true;
        return NULL;
    }
    for (size_t i = 0; verb != NULL && i < sizeof("ayle") - 1; i++) {
        bool misplaced = seen[(unsigned char)"ayle"[i]] &&
                         strchr(verb->options, "ayle"[i]) == NULL;

        if (misplaced)
            fprintf(stderr, "pelorus: registry %s takes no --%s\n", verb->name,
                    options[i].name);
        wrong |= misplaced;
    }
    if (verb == NULL || wrong || argc - optind != (verb->file ? 2 : 1)) {
        say_wrong(argc, argv, verb);
        return NULL;
    }
    g->args.file = verb->file ? argv[optind + 1] : NULL;
    return verb;
}

int cli_registry_command(int argc, char **argv)
{
    struct given given = {0};
    const struct verb *verb = parse(argc, argv, &given);
    struct conf conf;
    int rc;

    assert(argc > 0);
    if (verb == NULL)
        return given.help ? 0 : USAGE;
    if (cli_registry_conf(&conf, given.conf) != 0)
        return 1;
    rc = verb->run(&conf, &given);
    conf_close(&conf);
    return rc;
}
