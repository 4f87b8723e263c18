/*
 * main.c - make bench-placement: measure, print, write.
 *
 * `bench_placement --help` says how it is used.
 */
#include "tests/bench/placement/measure.h"

#include "base/mem.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "bench_placement: the balancer beside others' in a simulated cluster\n\n"
    "  --scenario NAME            instead of every scenario as it is, and "
    "every "
    "variant\n"
    "                             of the first one\n"
    "  --variant NAME             of that scenario\n"
    "  --policy NAME[,NAME...]    instead of all; `ledger-acks` and\n"
    "                             `ledger-heartbeats` name a way as well\n"
    "  --acks, --heartbeats       one of the two ways only\n"
    "  --seeds N                  worlds of each (20)\n"
    "  --jobs N                   threads (2)\n"
    "  --workers N                (60)\n"
    "  --heartbeat S, --mean S, --rho R, --settle S, --measured S\n"
    "                             heartbeat interval, length of tasks, load, "
    "time before\n"
    "                             it counts and time that counts: of every "
    "scenario\n"
    "  --out DIR                  CSV files and charts\n"
    "  --list                     what there is to name\n";

static void list(void)
{
    for (size_t i = 0; i < placement_n_scenarios; i++)
        printf("scenario %-16s %s\n", placement_scenarios[i].name,
               placement_scenarios[i].title);
    for (size_t i = 0; i < placement_n_variants; i++)
        printf("variant  %-16s %s\n", placement_variants[i].name,
               placement_variants[i].title);
    puts("variant  tenth            times divided by ten; tenth-NAME: of a "
         "variant");
    for (size_t i = 0; i < placement_n_policies; i++)
        printf("policy   %-16s %s\n", placement_policies[i]->name,
               placement_policies[i]->title);
}

static _Noreturn void usage(const char *what)
{
    fprintf(stderr, "bench_placement: %s; see --help\n", what);
    exit(2);
}

static uint32_t number(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*end != '\0' || n < 1 || n > 100000)
        usage("a number from 1 to 100000 was expected");
    return (uint32_t)n;
}

static double real(const char *text, double least, double most)
{
    char *end;
    double x = strtod(text, &end);

    if (*end != '\0' || !(x >= least && x <= most))
        usage("a number was expected, or another one");
    return x;
}

/* "ledger-acks,random" */
static void choose_policies(struct plan *plan, char *names)
{
    char *rest, *name;

    for (name = strtok_r(names, ",", &rest); name != NULL;
         name = strtok_r(NULL, ",", &rest)) {
        char *way = strrchr(name, '-');

        if (way != NULL && strcmp(way, "-acks") == 0)
            plan->acks = true;
        else if (way != NULL && strcmp(way, "-heartbeats") == 0)
            plan->heartbeats = true;
        else
            way = NULL;
        if (way != NULL)
            *way = '\0';
        if (placement_policy(name) == NULL)
            usage("no such policy");
        if (plan->n_policies == ARRAY_LEN(plan->policies))
            usage("too many policies");
        plan->policies[plan->n_policies++] = placement_policy(name);
    }
}

static struct plan options(int argc, char **argv)
{
    static const struct option known[] = {
        {"scenario", required_argument, NULL, 's'},
        {"variant", required_argument, NULL, 'v'},
        {"policy", required_argument, NULL, 'p'},
        {"acks", no_argument, NULL, 'a'},
        {"heartbeats", no_argument, NULL, 'h'},
        {"seeds", required_argument, NULL, 'n'},
        {"jobs", required_argument, NULL, 'j'},
        {"workers", required_argument, NULL, 'w'},
        {"heartbeat", required_argument, NULL, 'H'},
        {"mean", required_argument, NULL, 'M'},
        {"rho", required_argument, NULL, 'R'},
        {"settle", required_argument, NULL, 'S'},
        {"measured", required_argument, NULL, 'D'},
        {"out", required_argument, NULL, 'o'},
        {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'u'},
        {NULL, 0, NULL, 0},
    };
    struct plan plan = {.n_seeds = 20, .n_workers = 60, .jobs = 2};
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (c) {
        case 's':
            plan.scenario = optarg;
            break;
        case 'v':
            plan.variant = optarg;
            break;
        case 'p':
            choose_policies(&plan, optarg);
            break;
        case 'a':
            plan.acks = true;
            break;
        case 'h':
            plan.heartbeats = true;
            break;
        case 'n':
            plan.n_seeds = number(optarg);
            break;
        case 'j':
            plan.jobs = number(optarg);
            break;
        case 'w':
            plan.n_workers = number(optarg);
            break;
        case 'H':
            plan.heartbeat = real(optarg, .1, 3600);
            break;
        case 'M':
            plan.mean = real(optarg, .01, 3600);
            break;
        case 'R':
            plan.rho = real(optarg, .05, .999);
            break;
        case 'S':
            plan.settle = real(optarg, .001, 1e6);
            break;
        case 'D':
            plan.measured = real(optarg, .001, 1e6);
            break;
        case 'o':
            plan.directory = optarg;
            break;
        case 'l':
            list();
            exit(0);
        case 'u':
            fputs(help, stdout);
            exit(0);
        default:
            usage("unknown option");
        }
    if (plan.n_workers > WORKERS_MAX)
        usage("too many workers");
    if (!plan.acks && !plan.heartbeats)
        plan.acks = plan.heartbeats = true;
    return plan;
}

static FILE *file_open(const char *directory, const char *name)
{
    char *path = mem_printf("%s/%s", directory, name);
    FILE *f = fopen(path, "w");

    if (f == NULL) {
        perror(path);
        exit(1);
    }
    printf("%s\n", path);
    mem_free(path);
    return f;
}

/* The scenarios as they are, then the variants. */
static void write_all(const char *directory, const struct results *results)
{
    for (int variants = 0; variants < 2; variants++) {
        FILE *csv = file_open(directory, variants ? "placement-variants.csv"
                                                  : "placement.csv");

        csv_begin(csv);
        for (size_t i = 0; i < results->n_blocks; i++)
            if (setting_is_plain(&results->blocks[i].setting) ==
                (variants == 0))
                csv_print(&results->blocks[i], csv);
        fclose(csv);
        FILE *svg = file_open(directory, variants ? "placement-variants.svg"
                                                  : "placement.svg");

        svg_print(results->blocks, results->n_blocks, variants, svg);
        fclose(svg);
    }
}

int main(int argc, char **argv)
{
    struct plan plan = options(argc, argv);
    struct results results;

    if (!measure_begin(&plan, &results))
        usage("nothing to measure: no such scenario or variant");
    for (size_t i = 0; i < results.n_blocks; i++) {
        measure_block(&plan, &results.blocks[i],
                      i > 0 ? &results.blocks[i - 1] : NULL);
        table_print(&results.blocks[i], stdout);
    }
    targets_print(results.blocks, results.n_blocks, stdout);
    if (plan.directory != NULL)
        write_all(plan.directory, &results);
    measure_end(&results);
    return 0;
}
