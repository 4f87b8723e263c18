/*
 * command.c - the words of `pelorus replay`, and the files.
 *
 * Files are put into the order in which they were written, run by run,
 * whatever the order in which they are given. Where the decisions differ all is
 * applied a second time, as recorded and as asked for, up to the first request
 * that differs: there both are asked for their candidates.
 */
#include "cli/replay/replay.h"
#include "cli/replay/replay_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define USAGE_EXIT  2
#define EXPLAIN_MAX ((size_t)256 << 20)

static const char usage[] =
    "usage: pelorus replay FILE... [--policy POLICY] [--set KEY=VALUE]... "
    "[--json]\n";
static const char more[] =
    "Decides again what the files of a journal say was decided. As recorded, "
    "the\ndecisions must be the same (shown by a hash). With --policy or --set "
    "(a key of\nthe block balancer, as cpu-max=0.75 or "
    "groups.gpu.cpu-max=0.75) "
    "it says which\npicks would have gone to somebody else, the first one, and "
    "why.\n"
    "The world stays as it was: after each pick the task is given to the "
    "worker that\ngot it then, and its end is that worker's, so that one "
    "difference does not make\nall later ones. What it does not tell is how "
    "the load would have developed.\n"
    "Files may stand in any order, and FILE.lock among them, as in "
    "/var/lib/x/journal*.\n"
    "Exit codes: 0 the same decisions, 1 others, 2 not understood, or a file "
    "that\ncannot be used.\n";

struct replay_command {
    struct replay_wanted wanted;
    struct replay_input *inputs;
    size_t n;
    bool json, help;
    const char *policy;
};

static int say_wrong(const struct err *err)
{
    fprintf(stderr, "pelorus: replay: %s\n", err->msg);
    return USAGE_EXIT;
}

/* ---- files -------------------------------------------------------------- */

/* What is no journal at first sight is told by what it is. */
static int check_kind(const char *name, const struct stat *st, struct err *err)
{
    const char *what = S_ISDIR(st->st_mode)    ? "a directory"
                       : !S_ISREG(st->st_mode) ? "no regular file"
                       : st->st_size == 0      ? "empty"
                                               : NULL;

    return what == NULL ? 0
                        : err_set(err, ERR_INVALID, "%s: it is no journal: %s",
                                  name, what);
}

/* The lock that a journal leaves beside its files: "replay journal*" names it,
 * too. */
static bool is_lock(const char *name, const struct stat *st)
{
    static const char end[] = ".lock";
    size_t len = strlen(name);

    return S_ISREG(st->st_mode) && st->st_size == 0 && len >= sizeof(end) &&
           strcmp(name + len - strlen(end), end) == 0;
}

static int map(struct replay_input *in, int fd, size_t len, struct err *err)
{
    struct unpack bytes;

    in->len = len;
    in->data = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (in->data == MAP_FAILED) {
        in->data = NULL;
        return err_set(err, ERR_IO, "%s: %s", in->name, strerror(errno));
    }
    bytes = unpack_of(in->data, in->len);
    return balancer_journal_head_get(&in->head, &bytes, err) == 0
               ? 0
               : err_wrap(err, "%s", in->name);
}

/* Its data stays NULL: nothing is in it. A pipe is not waited for. */
static int load(struct replay_input *in, struct err *err)
{
    int fd = open(in->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    int rc = 0;

    if (fd < 0 || fstat(fd, &st) != 0)
        rc = err_set(err, ERR_IO, "%s: %s", in->name, strerror(errno));
    else if (!is_lock(in->name, &st)) {
        rc = check_kind(in->name, &st, err);
        if (rc == 0)
            rc = map(in, fd, (size_t)st.st_size, err);
    }
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* A run after the other, also those of two coordinators at one time: a file
 * that follows on the one before it is a test of it. */
static int by_run(const void *a, const void *b)
{
    const struct replay_input *x = a, *y = b;

    if (x->run_begun != y->run_begun)
        return compare((uint64_t)x->run_begun, (uint64_t)y->run_begun);
    if (x->head.run != y->head.run)
        return compare(x->head.run, y->head.run);
    return compare(x->head.sequence, y->head.sequence);
}

static void put_in_order(struct replay_command *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct replay_input *in = &c->inputs[i];

        in->run_begun = in->head.wall;
        for (size_t j = 0; j < c->n; j++)
            if (c->inputs[j].head.run == in->head.run &&
                c->inputs[j].head.wall < in->run_begun)
                in->run_begun = c->inputs[j].head.wall;
    }
    qsort(c->inputs, c->n, sizeof(*c->inputs), by_run);
}

static void unload(struct replay_command *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->inputs[i].data != NULL)
            (void)munmap((void *)(uintptr_t)c->inputs[i].data,
                         c->inputs[i].len);
    mem_free(c->inputs);
    replay_wanted_close(&c->wanted);
}

/* ---- applying ----------------------------------------------------------- */

static int apply_all(struct replay_command *c, struct replay *r,
                     struct err *err)
{
    struct replay_file ignored;
    int rc = 0;

    for (size_t i = 0; i < c->n && rc == 0 && !balancer_replay_stopped(r);
         i++) {
        struct replay_input *in = &c->inputs[i];

        rc = balancer_replay_apply(r, in->data, in->len, &ignored, err);
        if (rc != 0)
            return err_wrap(err, "%s", in->name);
        if (!balancer_replay_stopped(r))
            in->file = ignored;
    }
    return rc;
}

/* The candidates of that request, the settings as wanted or as recorded;
 * memory, NULL: they cannot be had. */
static char *explain(struct replay_command *c, bool wanted, uint64_t number)
{
    struct replay *r = balancer_replay_new(wanted ? replay_wanted_apply : NULL,
                                           &c->wanted, number);
    struct err err;
    struct buf out;
    char *text = NULL;

    buf_init(&out, EXPLAIN_MAX);
    if (apply_all(c, r, &err) == 0 && balancer_replay_stopped(r)) {
        balancer_replay_explain(r, &out);
        text = mem_strdup(buf_text(&out));
    }
    buf_close(&out);
    balancer_replay_free(&r);
    return text;
}

static int replay(struct replay_command *c)
{
    bool changed = c->wanted.n > 0;
    struct replay *r = balancer_replay_new(changed ? replay_wanted_apply : NULL,
                                           &c->wanted, 0);
    struct replay_report report = {.changed = changed};
    struct replay_share *shares = NULL;
    char *was = NULL, *now = NULL;
    struct err err;
    int rc = apply_all(c, r, &err);
    bool same = true;

    if (rc != 0) {
        balancer_replay_free(&r);
        return say_wrong(&err);
    }
    report.inputs = c->inputs;
    report.n = c->n;
    report.sum = balancer_replay_sum(r);
    report.shares = shares = balancer_replay_shares(r, &report.n_shares);
    if (report.sum.first.number != 0) {
        report.was = was = explain(c, false, report.sum.first.number);
        report.now = now =
            changed ? explain(c, true, report.sum.first.number) : NULL;
    }
    if (c->json)
        replay_print_json(&report);
    else
        replay_print(&report);
    for (size_t i = 0; i < c->n; i++)
        same = same && !c->inputs[i].file.basis_differs;
    same = same && report.sum.differ == 0;
    mem_free(was);
    mem_free(now);
    mem_free(shares);
    balancer_replay_free(&r);
    return same ? 0 : 1;
}

/* ---- words -------------------------------------------------------------- */

static int option_take(struct replay_command *c, int option, struct err *err)
{
    switch (option) {
    case 'j':
        c->json = true;
        return 0;
    case 'h':
        c->help = true;
        return 0;
    case 'p':
        return replay_want_policy(&c->wanted, optarg, err);
    default:
        return replay_want(&c->wanted, optarg, err);
    }
}

static int parse(struct replay_command *c, int argc, char **argv,
                 struct err *err)
{
    static const struct option options[] = {
        {"policy", required_argument, NULL, 'p'},
        {"set", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    static char name[] = "pelorus: replay"; /* getopt's words begin so */
    int option, rc = 0;

    argv[0] = name;
    err->msg[0] = '\0';
    while (rc == 0 &&
           (option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == '?') /* getopt said what is wrong */
            return ERR_INVALID;
        rc = option_take(c, option, err);
    }
    if (rc != 0 || c->help)
        return rc;
    c->n = (size_t)(argc - optind);
    if (c->n == 0)
        return err_set(err, ERR_INVALID, "which file? (a journal, or several)");
    c->inputs = mem_zalloc(c->n * sizeof(*c->inputs));
    for (size_t i = 0; i < c->n; i++)
        c->inputs[i].name = argv[optind + (int)i];
    return c->wanted.n > 0 ? replay_wanted_check(&c->wanted, err) : 0;
}

static int load_all(struct replay_command *c, struct err *err)
{
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < c->n && rc == 0; i++) {
        rc = load(&c->inputs[i], err);
        if (c->inputs[i].data != NULL)
            c->inputs[n++] = c->inputs[i];
    }
    c->n = n;
    if (rc == 0 && n == 0)
        rc = err_set(err, ERR_INVALID, "no journal among them, only its lock");
    if (rc != 0)
        return rc;
    put_in_order(c);
    for (size_t i = 1; i < c->n; i++)
        if (c->inputs[i].head.run == c->inputs[i - 1].head.run &&
            c->inputs[i].head.sequence == c->inputs[i - 1].head.sequence)
            return err_set(err, ERR_INVALID, "%s and %s are the same file",
                           c->inputs[i - 1].name, c->inputs[i].name);
    return 0;
}

int cli_replay(int argc, char **argv)
{
    struct replay_command c = {.json = false};
    struct err err;
    int rc = parse(&c, argc, argv, &err);

    if (rc == 0 && c.help) {
        printf("%s%s", usage, more);
    } else if (rc != 0) {
        if (err.msg[0] != '\0')
            (void)say_wrong(&err);
        fputs(usage, stderr);
        rc = USAGE_EXIT;
    } else if (load_all(&c, &err) != 0) {
        rc = say_wrong(&err);
    } else {
        rc = replay(&c);
    }
    unload(&c);
    return rc;
}
