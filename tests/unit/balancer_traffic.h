/*
 * balancer_traffic.h - whatever can happen to a balancer, at random and
 * repeatably: two that are alike are given the same by two copies of one
 * traffic. All that it was answered goes into `hash`.
 */
#ifndef PELORUS_TESTS_UNIT_BALANCER_TRAFFIC_H
#define PELORUS_TESTS_UNIT_BALANCER_TRAFFIC_H

#include "tests/unit/test_balancer.h"

#include "base/rand.h"

#define TRAFFIC_WORKERS 70U
#define TRAFFIC_OPEN    64U

struct traffic {
    struct rand r;
    mono_ms now;
    uint64_t hash;
    unsigned picked, refused; /* requests with and without an answer */
    pick_id open[TRAFFIC_OPEN];
    struct conf_balancer conf;
    bool held, frozen;
};

static inline void traffic_begin(struct traffic *t, uint64_t seed)
{
    *t = (struct traffic){.now = START, .conf = test_conf};
    rand_seed(&t->r, seed);
}

static inline uint32_t below(struct traffic *t, uint32_t n)
{
    return (uint32_t)rand_below(&t->r, n);
}

static inline bool one_in(struct traffic *t, uint32_t n)
{
    return below(t, n) == 0;
}

static inline void traffic_address(char *out, size_t size, uint32_t i)
{
    snprintf(out, size, "10.0.0.%u:1234", i);
}

static inline double traffic_usage(struct traffic *t)
{
    return one_in(t, 6) ? -1 : rand_double(&t->r);
}

static inline void traffic_report(struct traffic *t, struct balancer *b)
{
    static const char *const groups[] = {"gpu", "big", "x86"};
    uint32_t i = below(t, TRAFFIC_WORKERS);
    struct balancer_worker w = {
        .busy = one_in(t, 12),
        .dead = one_in(t, 25),
        .closed = one_in(t, 25),
        .degraded = one_in(t, 25),
        .weight = one_in(t, 20) ? 0 : (int32_t)(50 + i),
        .slots = i % 4 == 0 ? 0 : (int32_t)(2 + i % 30),
        .cpu = traffic_usage(t),
        .memory = traffic_usage(t) * .9,
        .disk = traffic_usage(t) * .9,
        .pool = i % 5 == 0 ? -1 : below(t, 13) / 12.0,
        .reported = t->now - below(t, 500),
        .lease_ms = i % 9 == 0 ? 45000 : 0,
        .since = t->now - below(t, 100000),
        .incarnation = 1 + below(t, 30) / 29,
        .groups = groups + below(t, 2),
        .n_groups = below(t, 3),
    };

    traffic_address(w.address, sizeof(w.address), i);
    balancer_set(b, &w, t->now);
}

static inline void traffic_pick(struct traffic *t, struct balancer *b)
{
    static const char *const groups[] = {NULL, "gpu", "big", "x86", "none"};
    static const char *const keys[] = {"a", "b", "c"};
    char excluded[2][32];
    struct balancer_pick picks[12];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {
        .group = groups[below(t, ARRAY_LEN(groups))],
        .count = one_in(t, 3) ? 1 + below(t, ARRAY_LEN(picks)) : 1,
        .peek = one_in(t, 7),
        .stale = one_in(t, 4),
        .affinity = one_in(t, 6) ? keys[below(t, ARRAY_LEN(keys))] : NULL,
        .now = t->now,
    };

    for (; one_in(t, 4) && request.n_exclude < ARRAY_LEN(excluded);
         request.n_exclude++) {
        char *to = excluded[request.n_exclude];

        traffic_address(to, sizeof(excluded[0]), below(t, TRAFFIC_WORKERS));
        request.exclude[request.n_exclude] = to;
    }
    balancer_pick(b, &request, &answer);
    t->picked += answer.code == BALANCER_OK;
    t->refused += answer.code != BALANCER_OK;
    t->hash = hash_mix(t->hash ^ (uint64_t)answer.code ^
                       (uint64_t)answer.degraded << 8 ^
                       (uint64_t)answer.retry_after_ms << 16);
    for (size_t i = 0; i < answer.n_picks; i++) {
        t->hash = hash_str(picks[i].address, t->hash);
        t->hash = hash_bytes(&picks[i].pick, sizeof(picks[i].pick), t->hash);
        t->hash = hash_bytes(&picks[i].score, sizeof(picks[i].score), t->hash);
        t->open[below(t, TRAFFIC_OPEN)] = picks[i].pick;
    }
    for (size_t i = 0; i < answer.n_alternates; i++)
        t->hash = hash_str(answer.alternates[i], t->hash);
}

static inline void traffic_end(struct traffic *t, struct balancer *b)
{
    pick_id pick = t->open[below(t, TRAFFIC_OPEN)];
    uint32_t how = below(t, 8);

    t->hash ^= how == 0   ? balancer_refused(b, pick)
               : how == 1 ? balancer_unused(b, pick)
                          : balancer_done(b, pick);
    t->hash = hash_mix(t->hash);
}

static inline void traffic_configure(struct traffic *t, struct balancer *b)
{
    struct balancer_group_conf own[2] = {{.name = "gpu"}, {.name = "big"}};

    own[0].conf = own[1].conf = t->conf;
    own[0].conf.cpu_max = rand_double(&t->r);
    own[1].conf.warm_up_ms = 1 + below(t, 5000);
    balancer_configure(b, &t->conf, own, below(t, 3), t->now);
}

static inline void traffic_settings(struct traffic *t, struct balancer *b)
{
    static const char *const names[] = {"gpu", "idle", "big"};

    switch (below(t, 6)) {
    case 0:
        t->conf.cpu_max = .5 + rand_double(&t->r) / 2;
        t->conf.warm_up_ms = below(t, 100000);
        t->conf.busy = (enum conf_busy)below(t, 2);
        t->conf.warm_up_aggression = 1 + below(t, 3);
        traffic_configure(t, b);
        break;
    case 1:
        balancer_set_policy(
            b,
            (enum conf_policy)below(t, 1 + CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN),
            t->now);
        break;
    case 2:
        balancer_set_coordinators(b, 1 + below(t, 3));
        break;
    case 3:
        balancer_define(b, names, below(t, 4));
        break;
    case 4:
        t->frozen = !t->frozen && one_in(t, 2);
        balancer_freeze(b, t->frozen, t->now);
        break;
    default:
        t->held = !t->held && one_in(t, 3);
        balancer_hold(b, t->held);
        break;
    }
}

/* One thing more happens. */
static inline void traffic_step(struct traffic *t, struct balancer *b)
{
    char address[32];
    uint32_t what = below(t, 100);

    t->now += one_in(t, 3) ? below(t, 200) : 0;
    if (one_in(t, 400))
        t->now += 25000; /* reports grow old */
    traffic_address(address, sizeof(address), below(t, TRAFFIC_WORKERS));
    if (what < 30)
        traffic_report(t, b);
    else if (what < 72)
        traffic_pick(t, b);
    else if (what < 88)
        traffic_end(t, b);
    else if (what < 91)
        balancer_count(b, address, (int)below(t, 5) - 2, t->now);
    else if (what < 93)
        balancer_remove(b, address);
    else if (what < 94)
        balancer_own(b, address, below(t, 12), t->now);
    else if (what < 98)
        balancer_tick(b, t->now);
    else
        traffic_settings(t, b);
}

#endif
