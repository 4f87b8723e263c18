/*
 * bench_pick.c - what a pick costs, without HTTP.
 *
 * For groups of 100 to 100,000 workers, half of them also in a second group: a
 * pick with its two alternates, a pick in a batch of 64, the same among
 * workers that are all in two groups, a report, a tick, and a pick with
 * affinity. Each figure is the median of seven runs. Below the table: what is
 * to be reached, and whether it was; and what a shadow and the regret add: to
 * the pick, which only tells what it did, and on the loop for each pick.
 */
#include "balancer/second/second.h"
#include "base/mem.h"
#include "tests/bench/median.h"
#include "tests/bench/pick_workers.h"
#include "tests/bench/row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS        7U
#define PICKS       200000U
#define BATCH       64U
#define START       1000000
#define PICK_NS_MAX 150.0
#define AFFINITY_US 2.0
#define BATCH_PER_S 6e6

struct bench {
    struct balancer *b;
    uint32_t n;
    const char *group;
    bool affinity; /* each pick with another key, of KEYS */
    uint32_t count;
    mono_ms now;
};

static struct balancer_worker worker(uint32_t i, mono_ms now)
{
    struct balancer_worker w =
        pick_worker(i, now - (mono_ms)(i % PICK_INTERVAL));

    snprintf(w.address, sizeof(w.address), "10.%u.%u.%u:1234", i >> 16,
             i >> 8 & 255, i & 255);
    return w;
}

static void fill(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->n; i++) {
        struct balancer_worker w = worker(i, START);

        balancer_set(bench->b, &w, START);
    }
}

#define KEYS 4096U
static char keys[KEYS][16];

static double run_picks(struct bench *bench)
{
    struct balancer_pick picks[BATCH];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {
        .group = bench->group,
        .count = bench->count,
        .now = bench->now,
    };
    uint32_t calls = PICKS / bench->count;

    if (bench->affinity)
        calls = KEYS; /* where all workers are gone through: seconds */
    uint64_t start = clock_mono_ns();

    for (uint32_t i = 0; i < calls; i++) {
        if (bench->affinity)
            request.affinity = keys[i % KEYS];
        balancer_pick(bench->b, &request, &answer);
    }
    assert(answer.code == BALANCER_OK);
    return (double)(clock_mono_ns() - start) / calls / bench->count;
}

static double run_sets(struct bench *bench)
{
    uint64_t start = clock_mono_ns();

    bench->now++;
    for (uint32_t i = 0; i < bench->n; i++) {
        struct balancer_worker w = worker(i, bench->now);

        balancer_set(bench->b, &w, bench->now);
    }
    return (double)(clock_mono_ns() - start) / bench->n;
}

static double run_tick(struct bench *bench)
{
    uint64_t start = clock_mono_ns();

    balancer_tick(bench->b, bench->now);
    return (double)(clock_mono_ns() - start);
}

/* A run of picks, as a row of `make bench`. */
static void tell_row(const struct bench *bench, double ns)
{
    char name[32];

    if (bench->affinity) {
        (void)snprintf(name, sizeof(name), "affinity-%u", bench->n);
        row_at_most(name, "us", ns / 1e3, AFFINITY_US);
    } else if (bench->group == NULL && bench->count == 1) {
        (void)snprintf(name, sizeof(name), "pick-%u", bench->n);
        row_at_most(name, "ns", ns, PICK_NS_MAX);
    } else if (bench->group == NULL) {
        (void)snprintf(name, sizeof(name), "batch-%u", bench->n);
        row_at_least(name, "M/s", 1e3 / ns, BATCH_PER_S / 1e6);
    }
}

static double median(struct bench *bench, double (*run)(struct bench *))
{
    double took[RUNS];

    for (uint32_t i = 0; i < RUNS; i++) {
        took[i] = run(bench);
        if (run == run_picks)
            tell_row(bench, took[i]);
    }
    return median_of(took, RUNS);
}

struct reached {
    bool one, batch, affinity;
};

static void measure(uint32_t n, struct reached *reached)
{
    struct bench bench = {.n = n, .count = 1, .now = START};

    bench.b = balancer_new(&pick_conf, 1, 1);
    fill(&bench);
    double one = median(&bench, run_picks);

    bench.count = BATCH;
    double batch = median(&bench, run_picks);

    bench.group = "etl";
    double two = median(&bench, run_picks);

    bench.count = 1;
    bench.group = NULL;
    bench.affinity = true;
    double affinity = median(&bench, run_picks);
    double tick = median(&bench, run_tick);
    double set = median(&bench, run_sets);

    printf("%8u %9.0f %9.0f %11.2f %9.0f %9.0f %11.1f %9.0f\n", n, one, batch,
           1e3 / batch, two, set, tick / 1e3, affinity);
    balancer_free(&bench.b);
    reached->one = reached->one && one <= PICK_NS_MAX;
    reached->affinity = reached->affinity && affinity <= AFFINITY_US * 1e3;
    reached->batch = reached->batch && 1e9 / batch >= BATCH_PER_S;
}

/* Few enough that all of them find room. */
#define TOLD 5000U

struct told {
    double pick, turn; /* ns each */
};

/* The processor's time, as the two are compared. */
static uint64_t cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Picks that are told, and then worked off, late enough for the regret to
 * decide on them; what is left of the reports before is worked off with them.
 */
static struct told run_told(struct bench *bench, struct second *s)
{
    struct balancer_pick pick;
    struct balancer_answer answer = {.picks = &pick};
    struct balancer_request request = {.count = 1, .now = bench->now};
    uint64_t start = cpu_ns(), between;

    for (uint32_t i = 0; i < TOLD; i++)
        balancer_pick(bench->b, &request, &answer);
    between = cpu_ns();
    bench->now += 3 * PICK_INTERVAL;
    while (second_turn(s, bench->now))
        ;
    return (struct told){
        .pick = (double)(between - start) / TOLD,
        .turn = (double)(cpu_ns() - between) / TOLD,
    };
}

static struct told median_told(uint32_t n, bool shadow, bool regret)
{
    struct bench bench = {.n = n, .count = 1, .now = START};
    double pick[RUNS], turn[RUNS];
    struct second *s;

    bench.b = balancer_new(&pick_conf, 1, 1);
    s = second_new(bench.b);
    fill(&bench);
    second_shadow(s, shadow, CONF_LEDGER);
    second_regret(s, regret, PICK_INTERVAL);
    (void)run_told(&bench, s); /* it begins with a pick */
    while (second_turn(s, bench.now))
        ;
    for (uint32_t i = 0; i < RUNS; i++) {
        struct told told;

        (void)run_sets(&bench);
        while (second_turn(s, bench.now))
            ;
        told = run_told(&bench, s);
        pick[i] = told.pick;
        turn[i] = told.turn;
    }
    second_free(&s);
    balancer_free(&bench.b);
    return (struct told){median_of(pick, RUNS), median_of(turn, RUNS)};
}

static void measure_second(void)
{
    static const uint32_t sizes[] = {100, 10000};
    static const char *const names[] = {"neither", "shadow", "regret", "both"};

    printf("%8s %9s %9s %11s\n", "workers", "beside", "pick ns", "loop ns");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (unsigned how = 0; how < ARRAY_LEN(names); how++) {
            struct told told =
                median_told(sizes[i], (how & 1) != 0, (how & 2) != 0);

            printf("%8u %9s %9.0f %11.0f\n", sizes[i], names[how], told.pick,
                   told.turn);
        }
}

int main(void)
{
    static const uint32_t sizes[] = {100, 1000, 10000, 100000};
    struct reached reached = {true, true, true};

    for (uint32_t i = 0; i < KEYS; i++)
        (void)snprintf(keys[i], sizeof(keys[i]), "key-%u", i);
    printf("%8s %9s %9s %11s %9s %9s %11s %9s\n", "workers", "pick ns",
           "batch ns", "batch M/s", "2 groups", "report ns", "tick us",
           "affinity");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        measure(sizes[i], &reached);
    printf("pick with alternates <= %.0f ns at every size: %s\n", PICK_NS_MAX,
           reached.one ? "reached" : "NOT reached");
    printf("batches of %u >= %.0f M picks/s at every size: %s\n", BATCH,
           BATCH_PER_S / 1e6, reached.batch ? "reached" : "NOT reached");
    printf("pick with affinity <= %.0f us at every size: %s\n", AFFINITY_US,
           reached.affinity ? "reached" : "NOT reached");
    measure_second();
    return 0;
}
