/*
 * main.c - make bench-live: the ledger over real HTTP, in real time.
 *
 *   bench_live [--scenario NAME[,NAME...]] [--acks|--heartbeats] [--seeds N]
 *       [--first N] [--settle S] [--measured S] [--workers N] [--out FILE]
 *       [--pelorus FILE] [--balancer LINE]...
 *
 * The variant `tenth`: heartbeats of 1 s, all times divided by ten, and the
 * seconds of the options are real ones. Without a filter every scenario, with
 * and without acknowledgements, of a quarter of an hour each. Beside it, on
 * the same arrivals, what is simulated: the reference, the ledger itself, and
 * round robin with perfect weights. `--balancer 'busy: last'` is a line for
 * that block of the coordinator's configuration.
 *
 * Exit code 1: a run was not in time (it says what was late), so that its
 * figures say nothing.
 */
#include "tests/bench/live/live.h"
#include "tests/bench/live/wire.h"
#include "tests/bench/placement/table.h"

#include "base/mem.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MAX   60.0 /* s, unless they are given */
#define MEASURED_MAX 300.0

struct options {
    const char *scenarios; /* NULL: all */
    bool acks, heartbeats;
    size_t n_seeds;
    uint64_t first;
    double settle, measured; /* s; 0: the scenario's */
    uint32_t n_workers;
    const char *out, *program;
    char more[1024];
};

static _Noreturn void usage(const char *what)
{
    fprintf(stderr, "bench_live: %s; see main.c\n", what);
    exit(2);
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
        {NULL, 0, NULL, 0},
    };
    int c;

    *o = (struct options){
        .n_seeds = 1, .first = 1, .n_workers = 60, .program = "build/pelorus"};
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (c) {
        case 's':
            o->scenarios = optarg;
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
        default:
            usage("unknown option");
        }
    if (optind < argc)
        usage("unknown word");
    if (!o->acks && !o->heartbeats)
        o->acks = o->heartbeats = true;
}

static const struct variant *tenth(void)
{
    for (size_t i = 0; i < placement_n_variants; i++)
        if (strcmp(placement_variants[i].name, "tenth") == 0)
            return &placement_variants[i];
    return NULL;
}

static bool is_wanted(const struct options *o, const char *scenario)
{
    size_t n = strlen(scenario);

    if (o->scenarios == NULL)
        return true;
    for (const char *p = o->scenarios; (p = strstr(p, scenario)) != NULL; p++)
        if ((p == o->scenarios || p[-1] == ',') &&
            (p[n] == '\0' || p[n] == ','))
            return true;
    return false;
}

static struct scenario scenario_of(const struct options *o, size_t i)
{
    struct scenario s = placement_scenarios[i];
    double divide = tenth()->divide;

    s.settle = s.settle / divide < SETTLE_MAX ? s.settle : SETTLE_MAX * divide;
    s.measured =
        s.measured / divide < MEASURED_MAX ? s.measured : MEASURED_MAX * divide;
    if (o->settle > 0)
        s.settle = o->settle * divide;
    if (o->measured > 0)
        s.measured = o->measured * divide;
    return s;
}

/* HTTP first: the simulation of the others must not disturb it. */
static bool measure(const struct options *o, struct block *b)
{
    const struct setting *s = &b->setting;
    const struct live_option *option = b->policies[0]->option;
    struct world *w = mem_alloc(sizeof(*w));
    bool valid = true;

    for (size_t i = 0; i < b->n_seeds; i++) {
        world_init(w, s, o->first + i);
        for (size_t p = 0; p < b->n_policies; p++) {
            struct outcome *out = &b->outcomes[p * b->n_seeds + i];

            run_policy(w, b->policies[p], out);
            if (p > 0)
                continue;
            const char *late = live_late(option->stats);

            printf("\n%s, %s, seed %llu\n", s->scenario->name,
                   s->acks == ACKS_ALL ? "acks" : "heartbeats",
                   (unsigned long long)(o->first + i));
            live_print(option->stats, stdout);
            if (late != NULL)
                printf("  NOT VALID: %s\n", late);
            valid = valid && late == NULL;
        }
        world_close(w);
    }
    mem_free(w);
    return valid;
}

static bool scenario_run(const struct options *o, const struct scenario *s,
                         enum acks acks, FILE *csv)
{
    struct live_stats stats;
    struct live_option option = {o->program, o->more, &stats};
    struct policy http = policy_http;
    const struct policy *policies[6];
    struct block b = {.setting = {.scenario = s,
                                  .variant = tenth(),
                                  .acks = acks,
                                  .n_workers = o->n_workers},
                      .policies = policies,
                      .n_seeds = o->n_seeds};

    http.option = &option;
    policies[b.n_policies++] = &http;
    policies[b.n_policies++] = placement_policy("ledger");
    policies[b.n_policies++] = placement_policy("oracle");
    if (s->says_busy)
        policies[b.n_policies++] = placement_policy("oracle-busy");
    policies[b.n_policies++] = placement_policy("fixed");
    policies[b.n_policies++] = placement_policy("smooth-wrr");
    b.outcomes = mem_array(b.n_policies * b.n_seeds, sizeof(*b.outcomes));
    bool valid = measure(o, &b);

    table_print(&b, stdout);
    live_targets_print(&b, stdout);
    if (csv != NULL)
        csv_print(&b, csv);
    mem_free(b.outcomes);
    return valid;
}

int main(int argc, char **argv)
{
    struct options o;
    bool valid = true, any = false;
    FILE *csv = NULL;

    options_read(&o, argc, argv);
    if (o.out != NULL && (csv = fopen(o.out, "w")) == NULL)
        wire_die("%s cannot be written", o.out);
    if (csv != NULL)
        csv_begin(csv);
    for (size_t i = 0; i < placement_n_scenarios; i++) {
        struct scenario s = scenario_of(&o, i);

        if (!is_wanted(&o, s.name))
            continue;
        any = true;
        if (o.acks)
            valid = scenario_run(&o, &s, ACKS_ALL, csv) && valid;
        if (o.heartbeats)
            valid = scenario_run(&o, &s, ACKS_NONE, csv) && valid;
    }
    if (csv != NULL && fclose(csv) != 0)
        wire_die("%s cannot be written", o.out);
    if (!any)
        usage("no such scenario");
    if (!valid)
        puts("\nNOT VALID: at least one run was not in time");
    return valid ? 0 : 1;
}
