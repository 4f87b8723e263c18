/*
 * picks.c - picks among 1,000 workers, half of them in a second group too.
 * Each pick's task ends, some picks later, so that the load stays as it is.
 */
#include "tests/bench/guard/guard.h"
#include "tests/bench/pick_workers.h"

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
    struct balancer *b = balancer_new(&pick_conf, 1, 1);

    for (uint32_t i = 0; i < WORKERS; i++) {
        struct balancer_worker w = pick_worker(i, START - (mono_ms)i);

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
