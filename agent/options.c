/*
 * options.c - the command line of `pelorus agent`.
 */
#include "agent/agent.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "conf/conf.h"
#include "conf/urls.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHT_MAX     10000
#define WEIGHT_DEFAULT 100
#define SLOTS_MAX      1000000
#define TTL_MIN_MS     1000
#define TTL_MAX_MS     (INT64_C(60) * 60 * 1000)

static const char usage[] =
    "usage: pelorus agent --kind master|worker|alert-server --address "
    "HOST:PORT\n"
    "           [--group NAME[,NAME...]]... [--weight 0-10000] [--slots N]\n"
    "           [-c FILE | --url URL[,URL...] [--ttl 30s]]\n"
    "           [-- COMMAND [ARGUMENT...]]\n"
    "\n"
    "Registers a node and reports its real load: straight to the registry "
    "that\n"
    "FILE names, or through the API at URL (PELORUS_URL; PELORUS_TOKEN if one\n"
    "is asked for); of several, the next is asked when one does not answer\n"
    "or cannot reach its registry. COMMAND runs while the registration holds "
    "and is stopped\n"
    "before its lease can run out; PELORUS_KIND, PELORUS_ADDRESS and\n"
    "PELORUS_PROCESS tell it who it is.\n"
    "Exit codes: COMMAND's where there is one; else 0 it was told to end, 1 "
    "refused\nor failed, 2 not understood.\n";

enum {
    OPT_KIND = 1000,
    OPT_ADDRESS,
    OPT_GROUP,
    OPT_WEIGHT,
    OPT_SLOTS,
    OPT_URL,
    OPT_TTL,
    OPT_HELP
};

static const struct option long_options[] = {
    {"kind", required_argument, NULL, OPT_KIND},
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"group", required_argument, NULL, OPT_GROUP},
    {"weight", required_argument, NULL, OPT_WEIGHT},
    {"slots", required_argument, NULL, OPT_SLOTS},
    {"url", required_argument, NULL, OPT_URL},
    {"ttl", required_argument, NULL, OPT_TTL},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* --- one option each ----------------------------------------------------- */

/* "a,b": cleaned in place, which never makes a name longer; "default" is
 * everybody's. */
static int parse_groups(char *list, struct agent_options *out, struct err *err)
{
    char name[NODE_GROUP_MAX + 1];

    assert(out->n_groups <= HEARTBEAT_GROUPS_MAX);
    for (char *next; list != NULL; list = next) {
        next = strchr(list, ',');
        if (next != NULL)
            *next++ = '\0';
        if (node_clean_group(list, name, err) != 0)
            return err_wrap(err, "--group");
        if (strcmp(name, "default") == 0)
            continue;
        if (out->n_groups == HEARTBEAT_GROUPS_MAX)
            return err_set(err, ERR_INVALID, "--group: at most %d",
                           HEARTBEAT_GROUPS_MAX);
        memcpy(list, name, strlen(name) + 1);
        out->groups[out->n_groups++] = list;
    }
    return 0;
}

static int parse_number(const char *name, const char *text, int64_t max,
                        int32_t *out, struct err *err)
{
    int64_t value;

    assert(max > 0 && max <= INT32_MAX);
    if (units_int(text, 0, max, &value, err) != 0)
        return err_wrap(err, "--%s", name);
    *out = (int32_t)value;
    return 0;
}

static int parse_ttl(const char *text, int64_t *out, struct err *err)
{
    if (units_duration(text, out, err) != 0)
        return err_wrap(err, "--ttl");
    if (*out < TTL_MIN_MS || *out > TTL_MAX_MS)
        return err_set(err, ERR_INVALID, "--ttl: %.40s is outside 1s to 1h",
                       text);
    return 0;
}

static int parse_option(int option, char *arg, struct agent_options *out,
                        bool *has_kind, struct err *err)
{
    switch (option) {
    case 'c':
        out->conf_file = arg;
        return 0;
    case OPT_URL:
        out->url = arg;
        return 0;
    case OPT_KIND:
        *has_kind = node_kind_parse(arg, &out->kind) == 0;
        if (*has_kind)
            return 0;
        return err_set(err, ERR_INVALID,
                       "--kind %s: master, worker or alert-server", arg);
    case OPT_ADDRESS:
        out->address = arg;
        if (conf_every_address(arg))
            return err_set(err, ERR_INVALID,
                           "--address %.80s: every address, and so "
                           "nobody's; write one at which others reach it",
                           arg);
        return node_ask_address(arg, err) != 0 ? err_wrap(err, "--address") : 0;
    case OPT_GROUP:
        return parse_groups(arg, out, err);
    case OPT_WEIGHT:
        return parse_number("weight", arg, WEIGHT_MAX, &out->weight, err);
    case OPT_SLOTS:
        return parse_number("slots", arg, SLOTS_MAX, &out->slots, err);
    default:
        assert(option == OPT_TTL);
        return parse_ttl(arg, &out->ttl_ms, err);
    }
}

static int wrong_option(int option, const char *word, struct err *err)
{
    if (option == ':')
        return err_set(err, ERR_INVALID, "%s needs a value", word);
    if (optopt == OPT_HELP)
        return err_set(err, ERR_INVALID, "--help takes no value");
    return err_set(err, ERR_INVALID, "there is no option %s", word);
}

/* --- all of them --------------------------------------------------------- */

static int check_urls(const char *text, struct err *err)
{
    struct urls urls;
    int rc = conf_urls_parse(&urls, text, err);

    conf_urls_close(&urls);
    return rc;
}

static int check(const struct agent_options *o, bool has_kind, struct err *err)
{
    assert(o->n_groups <= HEARTBEAT_GROUPS_MAX);
    if (!has_kind)
        return err_set(err, ERR_INVALID, "--kind is missing");
    if (o->address == NULL)
        return err_set(err, ERR_INVALID, "--address is missing");
    if (o->conf_file != NULL && o->url != NULL)
        return err_set(err, ERR_INVALID,
                       "-c and --url: straight to the registry or through "
                       "the API, not both");
    if (o->ttl_ms != 0 && o->url == NULL)
        return err_set(err, ERR_INVALID,
                       "--ttl is for --url; in the registry the session "
                       "is the lease");
    if (o->url != NULL && check_urls(o->url, err) != 0)
        return err_wrap(err, "--url");
    if (o->n_groups > 0 && o->kind != NODE_WORKER)
        return err_set(err, ERR_INVALID, "--group is for workers");
    return 0;
}

int agent_parse(int argc, char **argv, struct agent_options *out,
                struct err *err)
{
    const char *url = getenv("PELORUS_URL");
    bool has_kind = false;
    int option, rc;

    memset(out, 0, sizeof(*out));
    out->weight = WEIGHT_DEFAULT;
    optind = 0; /* begin anew: called more than once in tests */
    opterr = 0;
    /* '+': what follows the first word that is no option is the command. */
    while ((option = getopt_long(argc, argv, "+:c:h", long_options, NULL)) !=
           -1) {
        if (option == OPT_HELP || option == 'h') {
            out->help = true;
            return 0;
        }
        rc = option == '?' || option == ':'
                 ? wrong_option(option, argv[optind - 1], err)
                 : parse_option(option, optarg, out, &has_kind, err);
        if (rc != 0)
            return rc;
    }
    if (out->conf_file == NULL && out->url == NULL && url != NULL &&
        url[0] != '\0')
        out->url = url;
    if (optind < argc && strcmp(argv[optind - 1], "--") != 0)
        return err_set(err, ERR_INVALID,
                       "%s: no option; a command stands behind --",
                       argv[optind]);
    if (optind < argc)
        out->command = argv + optind;
    rc = check(out, has_kind, err);
    if (out->ttl_ms == 0)
        out->ttl_ms = AGENT_TTL_MS;
    return rc;
}

int agent_main(int argc, char **argv)
{
    struct agent_options options;
    struct err err;
    int rc;

    err_clear(&err);
    if (agent_parse(argc, argv, &options, &err) != 0) {
        fprintf(stderr, "pelorus: agent: %s\n%s", err.msg, usage);
        return 2;
    }
    if (options.help) {
        fputs(usage, stdout);
        return 0;
    }
    rc = agent_run(&options, &err);
    if (err.code != ERR_OK)
        fprintf(stderr, "pelorus: agent: %s\n", err.msg);
    return rc;
}
