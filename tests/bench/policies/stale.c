/*
 * stale.c - who goes by the last report.
 *
 * The least loaded of all; the better of two by chance (Mitzenmacher, The power
 * of two choices in randomized load balancing, 1996, and How useful is old
 * information, 2000: choosing the best on old data herds); and the better of
 * two with what was handed out since the report, less what is known to be
 * done. The two are drawn by perfect weights, as `random two` of nginx does
 * (ngx_http_upstream_module): drawn alike, small workers drown.
 */
#include "tests/bench/policies/known.h"
#include "tests/bench/policies/policies.h"

#include "base/mem.h"

enum way { WAY_LEAST, WAY_TWO, WAY_TWO_AND_OWN };

struct stale {
    struct known known;
    enum way way;
    double own[WORKERS_MAX]; /* handed out since the report, not done */
};

static void *stale_open(const struct policy *policy, const struct run *run,
                        uint32_t coordinator, uint64_t seed)
{
    struct stale *s = mem_zalloc(sizeof(*s));

    (void)coordinator;
    known_init(&s->known, run, seed);
    s->way = *(const enum way *)policy->option;
    return s;
}

static void stale_report(void *state, uint32_t worker, const struct report *r,
                         double now)
{
    struct stale *s = state;

    (void)known_report(&s->known, worker, r, now);
    s->own[worker] = 0;
}

static void stale_leave(void *state, uint32_t worker)
{
    struct stale *s = state;

    known_leave(&s->known, worker);
}

static double load(const struct stale *s, uint32_t worker)
{
    double usage = known_usage(&s->known, worker);

    if (s->way != WAY_TWO_AND_OWN)
        return usage;
    return usage +
           s->own[worker] / run_world(s->known.run)->specs[worker].slots;
}

static uint32_t least(struct stale *s)
{
    struct known *k = &s->known;
    uint32_t best = k->open[0], equal = 1;

    assert(k->n_open > 0);
    for (uint32_t i = 1; i < k->n_open; i++) {
        double mine = load(s, k->open[i]), other = load(s, best);

        if (mine > other)
            continue;
        equal = mine < other ? 1 : equal + 1;
        if (rand_below(&k->rand, equal) == 0)
            best = k->open[i];
    }
    return best;
}

/* Two different ones, if there are two. */
static uint32_t better_of_two(struct stale *s)
{
    struct known *k = &s->known;
    uint32_t a = known_any_weighted(k), b = a;

    assert(k->n_open > 0);
    while (b == a && k->n_open > 1)
        b = known_any_weighted(k);
    return load(s, b) < load(s, a) ? b : a;
}

static uint32_t stale_pick(void *state, double now, uint64_t *id)
{
    struct stale *s = state;

    (void)now;
    (void)id;
    if (s->known.n_open == 0)
        return NOBODY;
    uint32_t worker = s->way == WAY_LEAST ? least(s) : better_of_two(s);

    s->own[worker]++;
    return worker;
}

static void stale_done(void *state, uint32_t worker, uint64_t id, double now)
{
    struct stale *s = state;

    (void)id;
    (void)now;
    s->own[worker]--; /* below zero: it was in the report */
}

#define STALE(way)                                                             \
    .option = &(way), .open = stale_open, .close = mem_free,                   \
    .report = stale_report, .leave = stale_leave, .pick = stale_pick

static const enum way way_least = WAY_LEAST, way_two = WAY_TWO;
static const enum way way_two_and_own = WAY_TWO_AND_OWN;

const struct policy policy_least_stale = {.name = "least-stale",
                                          .plain_only = true,
                                          .repeats = true,
                                          .title = "least load, stale",
                                          STALE(way_least)};
const struct policy policy_p2c_stale = {.name = "p2c-stale",
                                        .plain_only = true,
                                        .title = "P2C, stale",
                                        STALE(way_two)};
const struct policy policy_p2c_inflight = {.name = "p2c-inflight",
                                           .title = "P2C + in flight",
                                           .hears_acks = true,
                                           .done = stale_done,
                                           STALE(way_two_and_own)};
