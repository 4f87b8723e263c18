/*
 * main.c - make bench-live: the ledger over real HTTP, in real time.
 *
 * `bench_live --help` says how it is used. Everything is in tenths (struct
 * setting): heartbeats of 1 s, all times divided by ten. Beside it, on the same
 * arrivals, what is simulated: the reference, the ledger itself, round robin
 * with perfect weights, and DolphinScheduler's four.
 *
 * Exit code 1: a run was not in time (it says what was late), so that its
 * figures say nothing.
 */
#include "tests/bench/live/many.h"
#include "tests/bench/live/wire.h"

#include "base/mem.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MAX   60.0 /* s, unless they are given */
#define MEASURED_MAX 300.0

static const char help[] =
    "bench_live: the ledger over real HTTP, in real time, beside a "
    "simulation of the same\n\n"
    "  --scenario NAME[,NAME...]  instead of all\n"
    "  --variant NAME[,NAME...]   instead of the plain one; without --scenario "
    "of the first\n"
    "                             scenario only; `all`: all of them\n"
    "  --acks, --heartbeats       one of the two ways only\n"
    "  --seeds N                  worlds of each scenario (1)\n"
    "  --first N                  the first of the seeds (1)\n"
    "  --jobs N                   so many runs side by side (1); each needs a\n"
    "                             quarter of a processor\n"
    "  --settle S, --measured S   real seconds, instead of the scenario's\n"
    "  --workers N                (60)\n"
    "  --pelorus FILE             the program (build/pelorus)\n"
    "  --balancer 'KEY: VALUE'    for that block of its configuration; again\n"
    "                             for another\n"
    "  --out FILE                 the figures as CSV\n\n"
    "Heartbeats are 1 s apart and all times divided by ten. A run that was "
    "late is\n"
    "repeated, at most twice. Exit code 1: some run was late each time.\n\n"
    "scenarios:\n";

struct options {
    const char *scenarios; /* NULL: all */
    const char *variants;  /* NULL: the plain one */
    bool acks, heartbeats;
    size_t n_seeds;
    uint64_t first;
    uint32_t jobs;
    double settle, measured; /* s; 0: the scenario's */
    uint32_t n_workers;
    const char *out, *program;
    char more[1024];
};

static _Noreturn void usage(const char *what)
{
    fprintf(stderr, "bench_live: %s; see --help\n", what);
    exit(2);
}

static _Noreturn void say_help(void)
{
    fputs(help, stdout);
    for (size_t i = 0; i < placement_n_scenarios; i++)
        printf("  %-16s %s\n", placement_scenarios[i].name,
               placement_scenarios[i].title);
    puts("variants:");
    for (size_t i = 0; i < placement_n_variants; i++)
        printf("  %-16s %s\n", placement_variants[i].name,
               placement_variants[i].title);
    exit(0);
}

static double number(const char *text, double least, double most)
{
    char *end;
    double x = strtod(text, &end);

    if (*end != '\0' || !(x >= least && x <= most))
        usage("a number was expected, or another one");
    return x;
}

static void add_line(struct options *o, const char *line)
{
    size_t n = strlen(o->more);

    if (n + strlen(line) + 4 > sizeof(o->more))
        usage("too many lines for the configuration");
    snprintf(o->more + n, sizeof(o->more) - n, "  %s\n", line);
}

static void options_read(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {
        {"scenario", required_argument, NULL, 's'},
        {"variant", required_argument, NULL, 'v'},
        {"acks", no_argument, NULL, 'a'},
        {"heartbeats", no_argument, NULL, 'h'},
        {"seeds", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'},
        {"settle", required_argument, NULL, 'S'},
        {"measured", required_argument, NULL, 'D'},
        {"workers", required_argument, NULL, 'w'},
        {"out", required_argument, NULL, 'o'},
        {"pelorus", required_argument, NULL, 'p'},
        {"balancer", required_argument, NULL, 'b'},
        {"jobs", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'u'},
        {NULL, 0, NULL, 0},
    };
    int c;

    *o = (struct options){.n_seeds = 1,
                          .first = 1,
                          .jobs = 1,
                          .n_workers = 60,
                          .program = "build/pelorus"};
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (c) {
        case 's':
            o->scenarios = optarg;
            break;
        case 'v':
            o->variants = optarg;
            break;
        case 'a':
            o->acks = true;
            break;
        case 'h':
            o->heartbeats = true;
            break;
        case 'n':
            o->n_seeds = (size_t)number(optarg, 1, 1000);
            break;
        case 'f':
            o->first = (uint64_t)number(optarg, 1, 1e6);
            break;
        case 'S':
            o->settle = number(optarg, .1, 1e5);
            break;
        case 'D':
            o->measured = number(optarg, .1, 1e5);
            break;
        case 'w':
            o->n_workers = (uint32_t)number(optarg, 1, WORKERS_MAX);
            break;
        case 'o':
            o->out = optarg;
            break;
        case 'p':
            o->program = optarg;
            break;
        case 'b':
            add_line(o, optarg);
            break;
        case 'j':
            o->jobs = (uint32_t)number(optarg, 1, 64);
            break;
        case 'u':
            say_help();
        default:
            usage("unknown option");
        }
    if (optind < argc)
        usage("unknown word");
    if (!o->acks && !o->heartbeats)
        o->acks = o->heartbeats = true;
}

/* Is it one of "a,b,c"? */
static bool is_in(const char *names, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = names; (p = strstr(p, name)) != NULL; p++)
        if ((p == names || p[-1] == ',') && (p[n] == '\0' || p[n] == ','))
            return true;
    return false;
}

/* The plain one first; the others, unless the scenario is named, are of the
 * first one. */
static bool is_wanted(const struct options *o, size_t scenario, size_t variant,
                      enum acks acks)
{
    const struct variant *v = &placement_variants[variant];

    if (acks == ACKS_ALL ? !o->acks : !o->heartbeats)
        return false;
    if (acks == ACKS_NONE && v->acked > 0)
        return false;
    if (o->scenarios != NULL &&
        !is_in(o->scenarios, placement_scenarios[scenario].name))
        return false;
    if (variant > 0 && scenario > 0 && o->scenarios == NULL)
        return false;
    return o->variants == NULL
               ? variant == 0
               : strcmp(o->variants, "all") == 0 || is_in(o->variants, v->name);
}

/* Whatever is named exists. */
static void names_check(const char *names, bool variants)
{
    char *copy = mem_printf("%s", names), *rest = NULL;

    for (char *name = strtok_r(copy, ",", &rest); name != NULL;
         name = strtok_r(NULL, ",", &rest)) {
        struct setting s;
        bool known = variants && (strcmp(name, "all") == 0 ||
                                  (setting_vary(&s, name) && !s.tenth));

        for (size_t i = 0; !variants && i < placement_n_scenarios; i++)
            known = known || strcmp(placement_scenarios[i].name, name) == 0;
        if (!known)
            usage(variants ? "no such variant" : "no such scenario");
    }
    mem_free(copy);
}

static struct scenario scenario_of(const struct options *o, size_t i)
{
    struct scenario s = placement_scenarios[i];

    s.settle = s.settle < SETTLE_MAX * TENTH ? s.settle : SETTLE_MAX * TENTH;
    s.measured =
        s.measured < MEASURED_MAX * TENTH ? s.measured : MEASURED_MAX * TENTH;
    if (o->settle > 0)
        s.settle = o->settle * TENTH;
    if (o->measured > 0)
        s.measured = o->measured * TENTH;
    return s;
}

static void block_init(const struct options *o, size_t scenario, size_t variant,
                       enum acks acks, struct many_block *m)
{
    static const char *const beside[] = {
        "ledger",    "oracle",         "oracle-busy", "fixed",     "smooth-wrr",
        "ds-random", "ds-round-robin", "ds-fixed",    "ds-dynamic"};
    struct block *b = &m->block;

    *m = (struct many_block){.scenario = scenario_of(o, scenario)};
    b->setting = (struct setting){.variant = &placement_variants[variant],
                                  .acks = acks,
                                  .n_workers = o->n_workers,
                                  .tenth = true};
    b->n_seeds = o->n_seeds;
    m->policies[b->n_policies++] = &policy_http;
    for (size_t i = 0; i < ARRAY_LEN(beside); i++) {
        const struct policy *p = placement_policy(beside[i]);

        if (!p->of_busy || m->scenario.says_busy)
            m->policies[b->n_policies++] = p;
    }
    assert(b->n_policies <= ARRAY_LEN(m->policies));
    many_block_init(m);
}

static size_t blocks_init(const struct options *o, struct many_block *blocks)
{
    size_t n = 0;

    for (size_t v = 0; v < placement_n_variants; v++)
        for (size_t i = 0; i < placement_n_scenarios; i++)
            for (int acks = ACKS_ALL; acks >= ACKS_NONE; acks--)
                if (is_wanted(o, i, v, (enum acks)acks))
                    block_init(o, i, v, (enum acks)acks, &blocks[n++]);
    return n;
}

static void run_print(const struct many_block *b, uint64_t seed,
                      const struct many_run *r)
{
    const struct setting *s = &b->block.setting;
    const char *late = live_late(&r->stats);

    printf("\n%s/%s/%s, seed %llu%s\n", s->scenario->name, s->variant->name,
           s->acks == ACKS_ALL ? "acks" : "heartbeats",
           (unsigned long long)seed, r->tries > 1 ? ", again" : "");
    live_print(&r->stats, stdout);
    if (late != NULL)
        printf("  %s: %s\n", r->state == MANY_ENDED ? "NOT VALID" : "late",
               late);
    fflush(stdout);
}

static void block_print(void *csv, const struct many_block *b)
{
    for (size_t i = 0; i < b->block.n_seeds; i++)
        if (!b->runs[i].complete) {
            printf("\n%s/%s: no figures, a run failed\n", b->scenario.name,
                   b->block.setting.variant->name);
            return;
        }
    table_print(&b->block, stdout);
    live_targets_print(&b->block, stdout);
    if (csv == NULL)
        return;
    live_csv_print(&b->block, csv);
    fflush(csv);
}

int main(int argc, char **argv)
{
    struct options o;
    struct many_block *blocks;
    FILE *csv = NULL;

    options_read(&o, argc, argv);
    if (o.scenarios != NULL)
        names_check(o.scenarios, false);
    if (o.variants != NULL)
        names_check(o.variants, true);
    blocks = mem_array(2 * placement_n_scenarios * placement_n_variants,
                       sizeof(*blocks));
    size_t n = blocks_init(&o, blocks);
    struct many m = {.program = o.program,
                     .more = o.more,
                     .first = o.first,
                     .jobs = o.jobs,
                     .tried = run_print,
                     .ended = block_print};

    if (n == 0)
        usage("nothing to measure: 1 % told and losses need --acks");
    if (o.out != NULL && (csv = fopen(o.out, "w")) == NULL)
        wire_die("%s cannot be written", o.out);
    if (csv != NULL)
        live_csv_begin(csv);
    m.arg = csv;
    bool valid = many_measure(&m, blocks, n);

    if (csv != NULL && fclose(csv) != 0)
        wire_die("%s cannot be written", o.out);
    for (size_t i = 0; i < n; i++)
        many_block_close(&blocks[i]);
    mem_free(blocks);
    if (!valid)
        puts("\nNOT VALID: at least one run was not in time");
    return valid ? 0 : 1;
}
