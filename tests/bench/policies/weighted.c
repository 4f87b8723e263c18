/*
 * weighted.c - smooth weighted round robin, as nginx describes it
 * (ngx_http_upstream_round_robin.c, "upstream: smooth weighted round-robin
 * balancing", 2012): at each pick everybody's credit grows by its weight, the
 * highest is taken and pays the sum of all weights.
 *
 * With weights that nobody has in practice: the slots that others leave free.
 */
#include "tests/bench/policies/policies.h"

#include "base/mem.h"

#include <string.h>

struct weighted {
    const struct run *run;
    double weight[WORKERS_MAX]; /* 0: not there */
    double credit[WORKERS_MAX];
    bool busy[WORKERS_MAX];
};

static void *weighted_open(const struct policy *policy, const struct run *run,
                           uint32_t coordinator, uint64_t seed)
{
    struct weighted *s = mem_zalloc(sizeof(*s));
    struct rand r;

    (void)policy;
    (void)coordinator;
    s->run = run;
    /* Coordinators do not start in step. */
    rand_seed(&r, seed);
    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        s->credit[i] = rand_double(&r);
    return s;
}

static void weighted_report(void *state, uint32_t worker,
                            const struct report *r, double now)
{
    struct weighted *s = state;
    const struct spec *spec = &run_world(s->run)->specs[worker];

    (void)now;
    if (s->weight[worker] <= 0 && now > 0)
        s->credit[worker] = 0;
    s->weight[worker] = spec->fair * spec->misweighed;
    s->busy[worker] = r->busy;
}

static void weighted_leave(void *state, uint32_t worker)
{
    struct weighted *s = state;

    s->weight[worker] = 0;
}

static uint32_t weighted_pick(void *state, double now, uint64_t *id)
{
    struct weighted *s = state;
    uint32_t n = run_world(s->run)->n_workers, best = NOBODY;
    double sum = 0;

    (void)now;
    (void)id;
    for (uint32_t i = 0; i < n; i++) {
        if (s->weight[i] <= 0 || s->busy[i])
            continue;
        s->credit[i] += s->weight[i];
        sum += s->weight[i];
        if (best == NOBODY || s->credit[i] > s->credit[best])
            best = i;
    }
    if (best != NOBODY)
        s->credit[best] -= sum;
    return best;
}

const struct policy policy_smooth_wrr = {
    .name = "smooth-wrr",
    .title = "smooth WRR, perfect weights",
    .open = weighted_open,
    .close = mem_free,
    .report = weighted_report,
    .leave = weighted_leave,
    .pick = weighted_pick,
};
