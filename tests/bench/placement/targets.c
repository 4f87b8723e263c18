/*
 * targets.c - how the ledger stands to what it is to reach.
 *
 * A limit on the ratio to the reference of the scenario; or, in the simulation
 * with heartbeats of 10 s, at most 20 ms above an oracle that is itself below
 * 20 ms. Beside it the ratio to the best round robin with perfect weights and
 * to the best of DolphinScheduler's, which must not be above 1 by more than its
 * interval.
 */
#include "tests/bench/placement/table.h"

#include <math.h>
#include <string.h>

#define SMALL_S .020

struct target {
    const char *scenario;
    enum acks acks;
    double mean, p99; /* times the reference; 0: no limit */
};

/* Simulated, with heartbeats of 10 s. Where full workers refuse, nothing but
 * the comparison with others is asked. */
static const struct target targets[] = {
    {"bursts85", ACKS_ALL, 1.15, 1.10}, {"bursts85", ACKS_NONE, 1.5, 1.25},
    {"bursts92", ACKS_ALL, 1.15, 1.10}, {"bursts92", ACKS_NONE, 1.5, 1.25},
    {"long85", ACKS_ALL, 1.15, 1.10},   {"long85", ACKS_NONE, 1.5, 1.25},
    {"cpu85", ACKS_ALL, 1.15, 1.10},    {"cpu85", ACKS_NONE, 1.5, 1.25},
    {"busy85", ACKS_ALL, 1.15, 1.10},   {"busy85", ACKS_NONE, 1.5, 1.25},
    {"short85", ACKS_ALL, 1, 1},        {"short85", ACKS_NONE, 2, 2},
};

/* Over HTTP in real time, with heartbeats of 1 s. */
static const struct target live_targets[] = {
    {"bursts85", ACKS_ALL, 1.15, 1.10}, {"bursts85", ACKS_NONE, 1.8, 1.5},
    {"bursts92", ACKS_ALL, 1.15, 1.10}, {"bursts92", ACKS_NONE, 1.8, 1.5},
    {"long85", ACKS_ALL, 1.15, 1.10},   {"long85", ACKS_NONE, 1.8, 1.5},
    {"cpu85", ACKS_ALL, 1.15, 1.10},    {"cpu85", ACKS_NONE, 1.8, 1.5},
    {"busy85", ACKS_ALL, 1.15, 1.10},   {"busy85", ACKS_NONE, 1.8, 1.5},
    {"short85", ACKS_ALL, 2, 2},        {"short85", ACKS_NONE, 2, 2},
};
#define SAME 1.05 /* as the simulation: at most so much above or below */

static const char *const weighted[] = {"fixed", "smooth-wrr"};
static const char *const theirs[] = {"ds-random", "ds-round-robin", "ds-fixed",
                                     "ds-dynamic"};

static const struct target *target_of(const struct target *of, size_t n,
                                      const struct setting *s)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(of[i].scenario, s->scenario->name) == 0 &&
            of[i].acks == s->acks)
            return &of[i];
    return NULL;
}

/* The lowest mean of those whose name begins so, the ledger apart. */
static size_t best_of(const struct block *b, const char *const *names, size_t n)
{
    size_t best = SIZE_MAX;
    double least = INFINITY;

    for (size_t i = 0; i < b->n_policies; i++)
        for (size_t j = 0; j < n; j++) {
            struct measured m;

            if (strcmp(b->policies[i]->name, names[j]) != 0)
                continue;
            block_measure(b, i, &m);
            if (m.of[METRIC_MEAN].value < least) {
                least = m.of[METRIC_MEAN].value;
                best = i;
            }
        }
    return best;
}

static bool is_reached(const struct block *b, const struct measured *own,
                       const struct measured *reference, enum metric metric,
                       double limit)
{
    double ratio =
        (metric == METRIC_MEAN ? own->mean_ratio : own->p99_ratio).value;

    assert(limit >= 1);
    return (ratio >= 0 && ratio <= limit) ||
           (strncmp(b->setting.scenario->reference, "oracle", 6) == 0 &&
            reference->of[metric].value < SMALL_S &&
            own->of[metric].value <= reference->of[metric].value + SMALL_S);
}

static void limit_print(double ratio, double limit, bool reached, FILE *out)
{
    if (limit > 0)
        fprintf(out, "  %7.2f <= %-4.2f %-3s", ratio, limit,
                reached ? "yes" : "NO");
    else
        fprintf(out, "  %7.2f %-11s", ratio, "");
}

static void best_print(const struct block *b, size_t ledger, size_t other,
                       FILE *out)
{
    if (other == SIZE_MAX) {
        fprintf(out, "  %12s", "");
        return;
    }
    struct estimate e = block_ratio(b, ledger, other, METRIC_MEAN);

    double least = isfinite(e.half) ? e.value - e.half : e.value;

    fprintf(out, "  %6.2f %-5s", e.value, least <= 1 ? "yes" : "NO");
}

static void target_print(const struct block *b, FILE *out)
{
    const struct target *t =
        setting_is_plain(&b->setting)
            ? target_of(targets, ARRAY_LEN(targets), &b->setting)
            : NULL;
    size_t ledger = block_find(b, "ledger");
    size_t reference = block_find(b, b->setting.scenario->reference);
    struct measured own, other;
    char name[SETTING_NAME];

    if (ledger == SIZE_MAX || reference == SIZE_MAX)
        return;
    block_measure(b, ledger, &own);
    block_measure(b, reference, &other);
    fprintf(out, "%-9s %-15s %-10s", b->setting.scenario->name,
            setting_name(&b->setting, name),
            b->setting.acks == ACKS_ALL ? "acks" : "heartbeats");
    limit_print(own.mean_ratio.value, t != NULL ? t->mean : 0,
                t != NULL && is_reached(b, &own, &other, METRIC_MEAN, t->mean),
                out);
    limit_print(own.p99_ratio.value, t != NULL ? t->p99 : 0,
                t != NULL && is_reached(b, &own, &other, METRIC_P99, t->p99),
                out);
    best_print(b, ledger, best_of(b, weighted, ARRAY_LEN(weighted)), out);
    best_print(b, ledger, best_of(b, theirs, ARRAY_LEN(theirs)), out);
    fputc('\n', out);
}

void targets_print(const struct block *blocks, size_t n, FILE *out)
{
    fprintf(out,
            "\nThe ledger beside its reference, the best weighted round "
            "robin and the best of DolphinScheduler's\n%-36s  %-19s  "
            "%-19s  %-12s  %-12s\n",
            "scenario, variant", "mean x", "p99 x", "x weighted", "x DS");
    for (size_t i = 0; i < n; i++)
        target_print(&blocks[i], out);
    fflush(out);
}

/* "mean 1.10+-0.05 <= 1.15 yes"; within: nor as much below. */
static void live_limit_print(const struct block *b, size_t to,
                             enum metric metric, double limit, bool within,
                             FILE *out)
{
    struct estimate e = block_ratio(b, block_find(b, "http"), to, metric);

    fprintf(out, "  %s %.3f", metric == METRIC_MEAN ? "mean" : "p99", e.value);
    if (isfinite(e.half))
        fprintf(out, "+-%.2g", e.half);
    if (limit > 0)
        fprintf(out, " %s %.2f %s", within ? "within" : "<=", limit,
                e.value <= limit && (!within || e.value >= 1 / limit) ? "yes"
                                                                      : "NO");
}

/* What is to be reached is said of the plain case only; everywhere that it is
 * as simulated and not worse than others. */
void live_targets_print(const struct block *b, FILE *out)
{
    const struct scenario *s = b->setting.scenario;
    const struct target *t =
        b->setting.variant == placement_variants
            ? target_of(live_targets, ARRAY_LEN(live_targets), &b->setting)
            : NULL;
    bool round_robin = strcmp(s->reference, "smooth-wrr") == 0;
    size_t reference = block_find(b, s->reference);
    size_t best = best_of(b, theirs, ARRAY_LEN(theirs));

    assert(block_find(b, "http") != SIZE_MAX);
    assert(reference != SIZE_MAX);
    fprintf(out, "HTTP : %s", s->reference);
    live_limit_print(b, reference, METRIC_MEAN, t != NULL ? t->mean : 0, false,
                     out);
    live_limit_print(b, reference, METRIC_P99, t != NULL ? t->p99 : 0, false,
                     out);
    fputs("\nHTTP : simulation", out);
    live_limit_print(b, block_find(b, "ledger"), METRIC_MEAN, SAME, true, out);
    live_limit_print(b, block_find(b, "ledger"), METRIC_P99, 0, false, out);
    fputs("\nHTTP : FIXED_WEIGHTED", out);
    live_limit_print(b, block_find(b, "fixed"), METRIC_MEAN,
                     round_robin ? 0 : 1, false, out);
    fputs(";  : smooth WRR", out);
    live_limit_print(b, block_find(b, "smooth-wrr"), METRIC_MEAN,
                     round_robin ? 0 : 1, false, out);
    if (best != SIZE_MAX) {
        fprintf(out, ";  : %s", b->policies[best]->title);
        live_limit_print(b, best, METRIC_MEAN, round_robin ? 0 : 1, false, out);
    }
    fputc('\n', out);
    fflush(out);
}
