/*
 * picks.c - picks among 1,000 workers, half of them in a second group too.
 * Each pick's task ends, some picks later, so that the load stays as it is.
 */
#include "tests/bench/guard/guard.h"

#include "balancer/balancer.h"

#include <stdio.h>

#define WORKERS 1000U
#define PICKS   2000U
#define BATCH   64U
#define OPEN    1000U /* picks whose tasks have not ended */
#define START   1000000

struct course {
    struct balancer *b;
    uint32_t requests, count;
    bool keyed;
    pick_id open[OPEN];
    uint32_t next;
    mono_ms now;
};

static struct balancer *balancer_of_guard(void)
{
    static const char *const groups[] = {"etl"};
    static const int32_t slots[] = {8, 16, 32, 64};
    const struct conf_balancer conf = {
        .policy = CONF_LEDGER,
        .heartbeat_interval_ms = 10000,
        .cpu_max = 0.9,
        .memory_max = 0.9,
        .disk_max = 0.95,
        .warm_up_ms = 60000,
        .warm_up_aggression = 1,
        .cpu_usage_weight = 30,
        .memory_usage_weight = 30,
        .pool_usage_weight = 40,
    };
    struct balancer *b = balancer_new(&conf, 1, 1);

    for (uint32_t i = 0; i < WORKERS; i++) {
        struct balancer_worker w = {
            .weight = 100,
            .slots = slots[i % 4],
            .cpu = 0.3,
            .memory = 0.4,
            .disk = 0.1,
            .pool = (double)(i % 7) / 16,
            .reported = START - (mono_ms)i,
            .incarnation = 1,
            .groups = groups,
            .n_groups = i % 2,
        };

        (void)snprintf(w.address, sizeof(w.address), "10.0.%u.%u:1234", i / 250,
                       i % 250);
        balancer_set(b, &w, START);
    }
    balancer_tick(b, START);
    return b;
}

/* The tasks of the oldest picks end as new ones are made. */
static void remember(struct course *c, pick_id pick)
{
    pick_id *place = &c->open[c->next++ % OPEN];

    if (*place != 0)
        (void)balancer_done(c->b, *place);
    *place = pick;
}

static void pick(void *arg)
{
    struct course *c = arg;
    struct balancer_pick picks[BATCH];
    struct balancer_answer answer = {.picks = picks};
    char key[32];
    struct balancer_request request = {
        .count = c->count, .now = c->now, .affinity = c->keyed ? key : NULL};

    for (uint32_t i = 0; i < c->requests; i++) {
        (void)snprintf(key, sizeof(key), "key-%u", i);
        balancer_pick(c->b, &request, &answer);
        assert(answer.code == BALANCER_OK);
        assert(answer.n_picks == c->count);
        for (size_t n = 0; n < answer.n_picks; n++)
            remember(c, picks[n].pick);
    }
}

static size_t run(uint32_t requests, uint32_t count, bool keyed)
{
    struct course c = {.b = balancer_of_guard(),
                       .requests = requests,
                       .count = count,
                       .keyed = keyed,
                       .now = START};

    pick(&c);
    guard_measured(pick, &c);
    balancer_free(&c.b);
    return (size_t)requests * count;
}

size_t guard_pick(void)
{
    return run(PICKS, 1, false);
}

size_t guard_affinity(void)
{
    return run(PICKS, 1, true);
}

size_t guard_batch(void)
{
    return run(PICKS / BATCH, BATCH, false);
}
