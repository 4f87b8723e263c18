/*
 * fingerprint.c - which algorithm decides: not a number that somebody has to
 * remember to raise, but what each policy answers to a fixed course of events.
 * Two programs with the same fingerprint may still differ in a corner that
 * these events do not come to; two with different ones do differ.
 */
#include "balancer/journal/format.h"

#include "balancer/balancer.h"
#include "base/rand.h"

#include <stdio.h>

#define STEPS   400
#define WORKERS 12U

struct course {
    struct balancer *b;
    struct rand r;
    mono_ms now;
    uint64_t hash;
    pick_id open[8];
};

static void report(struct course *c)
{
    static const char *const groups[] = {"some"};
    uint32_t i = (uint32_t)rand_below(&c->r, WORKERS);
    struct balancer_worker w = {
        .busy = rand_below(&c->r, 15) == 0,
        .weight = (int32_t)(50 + 10 * i),
        .slots = i % 4 == 0 ? 0 : (int32_t)(4 + i),
        .cpu = (double)rand_below(&c->r, 100) / 100,
        .memory = i % 3 == 0 ? -1 : 0.25,
        .disk = 0.5,
        .pool = i % 5 == 0 ? -1 : (double)rand_below(&c->r, 9) / 8,
        .reported = c->now,
        .incarnation = 1,
        .groups = groups,
        .n_groups = i % 2,
    };

    (void)snprintf(w.address, sizeof(w.address), "w%u:1", i);
    balancer_set(c->b, &w, c->now);
}

static void pick(struct course *c)
{
    struct balancer_pick picks[3];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {
        .group = rand_below(&c->r, 3) == 0 ? "some" : NULL,
        .count = 1 + (uint32_t)rand_below(&c->r, 3),
        .affinity = rand_below(&c->r, 8) == 0 ? "key" : NULL,
        .now = c->now,
    };

    balancer_pick(c->b, &request, &answer);
    c->hash = hash_mix(c->hash ^ (uint64_t)answer.code);
    for (size_t i = 0; i < answer.n_picks; i++) {
        c->hash = hash_str(picks[i].address, c->hash);
        c->open[rand_below(&c->r, ARRAY_LEN(c->open))] = picks[i].pick;
    }
}

static void step(struct course *c)
{
    pick_id ended = c->open[rand_below(&c->r, ARRAY_LEN(c->open))];

    c->now += (mono_ms)rand_below(&c->r, 300);
    switch (rand_below(&c->r, 6)) {
    case 0:
        report(c);
        break;
    case 1:
        balancer_tick(c->b, c->now);
        break;
    case 2:
        (void)(rand_below(&c->r, 9) == 0 ? balancer_refused(c->b, ended)
                                         : balancer_done(c->b, ended));
        break;
    default:
        pick(c);
        break;
    }
}

uint64_t balancer_journal_fingerprint(void)
{
    struct conf conf;
    struct course c = {.now = 1000000};

    conf_defaults(&conf);
    for (int policy = CONF_LEDGER; policy <= CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN;
         policy++) {
        conf.balancer.policy = (enum conf_policy)policy;
        c.b = balancer_new(&conf.balancer, 1, 1);
        rand_seed(&c.r, 1);
        for (int i = 0; i < STEPS; i++)
            step(&c);
        balancer_free(&c.b);
    }
    conf_close(&conf);
    return c.hash;
}
