/*
 * dolphin.c - DolphinScheduler's four policies as they behave, with
 * what is wrong with them.
 *
 * Described after org.apache.dolphinscheduler.server.master.cluster.
 * loadbalancer, commit 7e0095d: each picks among the NORMAL workers of the
 * last reports and counts nothing that it hands out. Both weighted ones go
 * round by one index, add its weight to the credit of whoever is met and take
 * the first whose credit has reached the sum of all weights. The dynamic one
 * has weight 100 - (30 cpu + 30 memory + 40 pool)/3 with usages that are
 * ratios, so that it stays between 66.7 and 100 (pool usage above 1 apart),
 * and every report sets its credit back to zero: who has not reported for
 * longest is preferred.
 *
 * Not shown: the index is an int that overflows after hours (then picks
 * throw), and a NaN weight makes the loop endless.
 */
#include "tests/bench/policies/known.h"
#include "tests/bench/policies/policies.h"

#include "base/mem.h"

enum way { WAY_RANDOM, WAY_ROUND_ROBIN, WAY_FIXED, WAY_DYNAMIC };

struct dolphin {
    struct known known;
    enum way way;
    uint64_t index; /* of all that is picked */
    double weight[WORKERS_MAX], credit[WORKERS_MAX];
};

static void *dolphin_open(const struct policy *policy, const struct run *run,
                          uint32_t coordinator, uint64_t seed)
{
    struct dolphin *d = mem_zalloc(sizeof(*d));

    known_init(&d->known, run, seed);
    d->way = *(const enum way *)policy->option;
    /* Coordinators started at different times. */
    if (coordinator > 0)
        d->index = rand_below(&d->known.rand, run_world(run)->n_workers);
    return d;
}

static double dynamic_weight(const struct report *r)
{
    double memory = r->memory < 0 ? 0 : r->memory; /* absent is 0 in Java */
    double pool = r->pool < 0 ? 0 : r->pool;

    return 100 - (30 * r->cpu + 30 * memory + 40 * pool) / 3;
}

static void dolphin_report(void *state, uint32_t worker, const struct report *r,
                           double now)
{
    struct dolphin *d = state;
    bool is_new = known_report(&d->known, worker, r, now);

    if (d->way == WAY_DYNAMIC) {
        d->weight[worker] = dynamic_weight(r);
        d->credit[worker] = 0;
    } else if (is_new) {
        d->weight[worker] = known_perfect_weight(&d->known, worker);
        d->credit[worker] = 0;
    }
}

static void dolphin_leave(void *state, uint32_t worker)
{
    struct dolphin *d = state;

    known_leave(&d->known, worker);
}

static uint32_t by_credit(struct dolphin *d)
{
    const struct known *k = &d->known;
    double sum = 0;

    assert(k->n_open > 0);
    for (uint32_t i = 0; i < k->n_open; i++)
        sum += d->weight[k->open[i]];
    for (;;) {
        uint32_t i = k->open[++d->index % k->n_open];

        d->credit[i] += d->weight[i];
        if (d->credit[i] < sum)
            continue;
        d->credit[i] -= sum;
        return i;
    }
}

static uint32_t dolphin_pick(void *state, double now, uint64_t *id)
{
    struct dolphin *d = state;
    struct known *k = &d->known;

    (void)now;
    (void)id;
    if (k->n_open == 0)
        return NOBODY;
    if (d->way == WAY_RANDOM)
        return known_any(k);
    if (d->way == WAY_ROUND_ROBIN)
        return k->open[d->index++ % k->n_open];
    return by_credit(d);
}

#define DOLPHIN(way)                                                           \
    .option = &(way), .open = dolphin_open, .close = mem_free,                 \
    .report = dolphin_report, .leave = dolphin_leave, .pick = dolphin_pick

static const enum way way_random = WAY_RANDOM;
static const enum way way_round_robin = WAY_ROUND_ROBIN;
static const enum way way_fixed = WAY_FIXED;
static const enum way way_dynamic = WAY_DYNAMIC;

const struct policy policy_ds_random = {
    .name = "ds-random", .title = "DS RANDOM", DOLPHIN(way_random)};
const struct policy policy_ds_round_robin = {.name = "ds-round-robin",
                                             .title = "DS ROUND_ROBIN",
                                             DOLPHIN(way_round_robin)};
const struct policy policy_ds_fixed = {.name = "ds-fixed",
                                       .title = "DS FIXED, perfect weights",
                                       DOLPHIN(way_fixed)};
const struct policy policy_ds_dynamic = {
    .name = "ds-dynamic", .title = "DS DYNAMIC", DOLPHIN(way_dynamic)};
