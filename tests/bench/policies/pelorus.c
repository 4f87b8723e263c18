/*
 * pelorus.c - the balancer that serves HTTP, by the simulated clock.
 *
 * Linked, not imitated: reports go in by balancer_set(), picks and their ends
 * by the calls that the HTTP service makes, and the tick comes when the
 * coordinator's loop would give it.
 */
#include "tests/bench/policies/policies.h"

#include "balancer/balancer.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define START_MS 100000000 /* the simulated clock's zero */

struct pelorus {
    struct balancer *b;
    const struct run *run;
    const struct pelorus_option *option;
};

static mono_ms ms(double s)
{
    return START_MS + (mono_ms)floor(s * 1000);
}

/* Worker i is "i:1". */
static void address_of(uint32_t worker, char out[BALANCER_ADDRESS_MAX + 1])
{
    snprintf(out, BALANCER_ADDRESS_MAX + 1, "%u:1", worker);
}

static void *pelorus_open(const struct policy *policy, const struct run *run,
                          uint32_t coordinator, uint64_t seed)
{
    const struct world *w = run_world(run);
    struct pelorus *p = mem_alloc(sizeof(*p));
    struct conf conf;

    conf_defaults(&conf);
    p->run = run;
    p->option = policy->option;
    conf.balancer.policy = p->option->policy;
    conf.balancer.busy = p->option->busy;
    conf.balancer.heartbeat_interval_ms = (int64_t)lround(w->heartbeat * 1000);
    conf.balancer.warm_up_ms =
        (int64_t)lround((double)conf.balancer.warm_up_ms / w->divide);
    p->b = balancer_new(&conf.balancer, seed, coordinator + 1);
    balancer_set_coordinators(p->b, w->n_coordinators);
    conf_close(&conf);
    return p;
}

static void pelorus_close(void *state)
{
    struct pelorus *p = state;

    balancer_free(&p->b);
    mem_free(p);
}

static void pelorus_report(void *state, uint32_t worker, const struct report *r,
                           double now)
{
    struct pelorus *p = state;
    double weight = r->weight;

    if (p->option->perfect_weights)
        weight *= run_world(p->run)->specs[worker].fair / 4;
    struct balancer_worker w = {
        .busy = r->busy,
        .weight = (int32_t)lround(weight),
        .slots = (int32_t)r->slots,
        .cpu = r->cpu,
        .memory = r->memory,
        .disk = r->disk,
        .pool = r->pool,
        .reported = ms(now),
        .since = ms(r->since),
        .incarnation = r->incarnation + 1,
    };

    address_of(worker, w.address);
    balancer_set(p->b, &w, ms(now));
}

static void pelorus_leave(void *state, uint32_t worker)
{
    struct pelorus *p = state;
    char address[BALANCER_ADDRESS_MAX + 1];

    address_of(worker, address);
    balancer_remove(p->b, address);
}

static uint32_t pelorus_other(void *state, double now, const uint32_t *refused,
                              uint32_t n_refused, uint64_t *id)
{
    struct pelorus *p = state;
    struct balancer_pick pick = {.pick = 0};
    struct balancer_answer answer = {.picks = &pick};
    struct balancer_request request = {
        .count = 1, .n_exclude = n_refused, .now = ms(now)};
    char addresses[REFUSED_MAX][BALANCER_ADDRESS_MAX + 1];

    assert(n_refused <= REFUSED_MAX);
    for (uint32_t i = 0; i < n_refused; i++) {
        address_of(refused[i], addresses[i]);
        request.exclude[i] = addresses[i];
    }
    balancer_pick(p->b, &request, &answer);
    if (answer.code != BALANCER_OK)
        return NOBODY;
    *id = pick.pick;
    return (uint32_t)strtoul(pick.address, NULL, 10);
}

static uint32_t pelorus_pick(void *state, double now, uint64_t *id)
{
    return pelorus_other(state, now, NULL, 0, id);
}

static void pelorus_refused(void *state, uint32_t worker, uint64_t id,
                            double now)
{
    struct pelorus *p = state;

    (void)worker;
    (void)now;
    balancer_refused(p->b, id);
}

static void pelorus_done(void *state, uint32_t worker, uint64_t id, double now)
{
    struct pelorus *p = state;

    (void)worker;
    (void)now;
    balancer_done(p->b, id);
}

static void pelorus_tick(void *state, double now)
{
    struct pelorus *p = state;

    balancer_tick(p->b, ms(now));
}

#define PELORUS                                                                \
    .open = pelorus_open, .close = pelorus_close, .report = pelorus_report,    \
    .leave = pelorus_leave, .pick = pelorus_pick, .done = pelorus_done,        \
    .tick = pelorus_tick, .other = pelorus_other, .refused = pelorus_refused

static const struct pelorus_option ledger = {.policy = CONF_LEDGER};

const struct policy policy_ledger = {.name = "ledger",
                                     .title = "ledger",
                                     .option = &ledger,
                                     .hears_acks = true,
                                     PELORUS};

static const struct pelorus_option ledger_last = {.policy = CONF_LEDGER,
                                                  .busy = CONF_BUSY_LAST};

const struct policy policy_ledger_last = {.name = "ledger-last",
                                          .title = "ledger, BUSY last",
                                          .option = &ledger_last,
                                          .of_busy = true,
                                          .hears_acks = true,
                                          PELORUS};

static const struct pelorus_option fixed = {
    .policy = CONF_FIXED_WEIGHTED_ROUND_ROBIN, .perfect_weights = true};

const struct policy policy_fixed = {.name = "fixed",
                                    .title = "FIXED_WEIGHTED, perfect weights",
                                    .option = &fixed,
                                    PELORUS};

static const struct pelorus_option dynamic = {
    .policy = CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN};

const struct policy policy_dynamic = {.name = "dynamic",
                                      .plain_only = true,
                                      .title = "DYNAMIC_WEIGHTED",
                                      .option = &dynamic,
                                      PELORUS};

static const struct pelorus_option dynamic_fair = {
    .policy = CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN, .perfect_weights = true};

const struct policy policy_dynamic_fair = {
    .name = "dynamic-fair",
    .plain_only = true,
    .title = "DYNAMIC_WEIGHTED, perfect weights",
    .option = &dynamic_fair,
    PELORUS};
