/*
 * counting.c - proxies that count what they have under way.
 *
 * least connections as nginx describes it (ngx_http_upstream_least_conn_module:
 * "the server with the least number of active connections, taking into account
 * weights of servers"; several such are taken by smooth weighted round robin);
 * and Envoy's least request for unequal weights (Supported load balancers,
 * "Weighted least request"): an earliest-deadline-first schedule in which each
 * is due after (active + 1) / weight.
 *
 * Both know every end, being in its way, and nothing of what others do. They
 * are given perfect weights, as without any the smallest workers drown.
 */
#include "tests/bench/policies/known.h"
#include "tests/bench/policies/policies.h"

#include "base/mem.h"

struct counting {
    struct known known;
    double active[WORKERS_MAX];
    double weight[WORKERS_MAX];
    double credit[WORKERS_MAX]; /* least connections: among equals */
    double due[WORKERS_MAX];    /* least request */
    double virtual_time;
};

static void *counting_open(const struct policy *policy, const struct run *run,
                           uint32_t coordinator, uint64_t seed)
{
    struct counting *c = mem_zalloc(sizeof(*c));

    (void)policy;
    (void)coordinator;
    known_init(&c->known, run, seed);
    return c;
}

static void counting_report(void *state, uint32_t worker,
                            const struct report *r, double now)
{
    struct counting *c = state;

    if (!known_report(&c->known, worker, r, now))
        return;
    c->active[worker] = 0;
    c->credit[worker] = 0;
    c->weight[worker] = known_perfect_weight(&c->known, worker);
    /* A scheduler that is built starts in a random order. */
    c->due[worker] =
        c->virtual_time + rand_double(&c->known.rand) / c->weight[worker];
}

static void counting_leave(void *state, uint32_t worker)
{
    struct counting *c = state;

    known_leave(&c->known, worker);
}

static void counting_done(void *state, uint32_t worker, uint64_t id, double now)
{
    struct counting *c = state;

    (void)id;
    (void)now;
    if (c->active[worker] > 0) /* a task of one that left and came back */
        c->active[worker]--;
}

static uint32_t least_connections_pick(void *state, double now, uint64_t *id)
{
    struct counting *c = state;
    const struct known *k = &c->known;
    uint32_t best = NOBODY;
    double least = 0, sum = 0;

    (void)now;
    (void)id;
    for (uint32_t i = 0; i < k->n_open; i++) {
        uint32_t w = k->open[i];
        double load = c->active[w] / c->weight[w];

        if (i == 0 || load < least)
            least = load;
    }
    for (uint32_t i = 0; i < k->n_open; i++) {
        uint32_t w = k->open[i];

        if (c->active[w] / c->weight[w] > least)
            continue;
        c->credit[w] += c->weight[w];
        sum += c->weight[w];
        if (best == NOBODY || c->credit[w] > c->credit[best])
            best = w;
    }
    if (best == NOBODY)
        return NOBODY;
    c->credit[best] -= sum;
    c->active[best]++;
    return best;
}

static uint32_t least_request_pick(void *state, double now, uint64_t *id)
{
    struct counting *c = state;
    const struct known *k = &c->known;
    uint32_t best = NOBODY;

    (void)now;
    (void)id;
    for (uint32_t i = 0; i < k->n_open; i++) {
        uint32_t w = k->open[i];

        if (best == NOBODY || c->due[w] < c->due[best])
            best = w;
    }
    if (best == NOBODY)
        return NOBODY;
    if (c->due[best] > c->virtual_time)
        c->virtual_time = c->due[best];
    c->due[best] = c->virtual_time + (c->active[best] + 1) / c->weight[best];
    c->active[best]++;
    return best;
}

#define COUNTING                                                               \
    .needs_acks = true, .open = counting_open, .close = mem_free,              \
    .report = counting_report, .leave = counting_leave, .done = counting_done

const struct policy policy_least_connections = {.name = "least-connections",
                                                .repeats = true,
                                                .title =
                                                    "least connections (nginx)",
                                                .pick = least_connections_pick,
                                                COUNTING};
const struct policy policy_least_request = {.name = "least-request",
                                            .title = "least request (Envoy)",
                                            .pick = least_request_pick,
                                            COUNTING};
