/*
 * test_balancer.h - what the balancer's tests share: a configuration, workers
 * made in one line, and picks counted by worker.
 */
#ifndef PELORUS_TESTS_UNIT_TEST_BALANCER_H
#define PELORUS_TESTS_UNIT_TEST_BALANCER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "balancer/balancer.h"
#include "base/json/json.h"
#include "base/mem.h"

#define INTERVAL 10000
#define START    1000000 /* the tests' first moment: everybody is warm */
#define INSTANCE 0xabcdef

static const struct conf_balancer test_conf = {
    .policy = CONF_LEDGER,
    .heartbeat_interval_ms = INTERVAL,
    .cpu_max = 0.9,
    .memory_max = 0.9,
    .disk_max = 0.95,
    .warm_up_ms = 60000,
    .warm_up_aggression = 1,
    .cpu_usage_weight = 30,
    .memory_usage_weight = 30,
    .pool_usage_weight = 40,
};

static inline struct balancer *balancer_of(enum conf_policy policy)
{
    struct conf_balancer conf = test_conf;

    conf.policy = policy;
    return balancer_new(&conf, 42, INSTANCE);
}

/* An idle, warm worker that reported at `at`. */
static inline struct balancer_worker idle(const char *address, int32_t slots,
                                          mono_ms at)
{
    struct balancer_worker w = {
        .weight = 100,
        .slots = slots,
        .cpu = 0.1,
        .memory = 0.1,
        .disk = 0.1,
        .pool = 0,
        .reported = at,
        .since = 0,
        .incarnation = 1,
    };

    snprintf(w.address, sizeof(w.address), "%s", address);
    return w;
}

static inline void set(struct balancer *b, struct balancer_worker w,
                       mono_ms now)
{
    balancer_set(b, &w, now);
}

static inline void set_idle(struct balancer *b, const char *address,
                            int32_t slots, mono_ms at)
{
    set(b, idle(address, slots, at), at);
}

/* One pick; returns the address, "" when there is none. The answer stands in
 * `last` and `last_pick`. */
static struct balancer_answer last;
static struct balancer_pick last_pick;

static inline const char *ask(struct balancer *b,
                              struct balancer_request request)
{
    request.count = 1;
    last.picks = &last_pick;
    balancer_pick(b, &request, &last);
    return last.code == BALANCER_OK ? last_pick.address : "";
}

static inline const char *pick(struct balancer *b, mono_ms now)
{
    return ask(b, (struct balancer_request){.now = now});
}

/* One number that explain gives for a worker; NAN if it is null. */
static inline double term(struct balancer *b, const char *address,
                          const char *key, mono_ms now)
{
    struct balancer_request request = {.now = now};
    struct buf out;
    const struct json *list = NULL;
    double value = NAN;

    buf_init(&out, 1 << 20);
    balancer_explain(b, &request, &out);
    assert_int_equal(json_parse(out.data, out.len, &list, NULL), 0);
    for (const struct json *c = list->child; c != NULL; c = c->next)
        if (strcmp(json_str(c, "address"), address) == 0)
            value = json_num(c, key, NAN);
    json_free(list);
    buf_close(&out);
    return value;
}

/* How many of `n` single picks from `group` went to `address`. */
struct tally {
    struct {
        char address[BALANCER_ADDRESS_MAX + 1];
        unsigned n;
    } worker[512];
    unsigned n;
};

static inline unsigned *tally_of(struct tally *t, const char *address)
{
    for (unsigned i = 0; i < t->n; i++)
        if (strcmp(t->worker[i].address, address) == 0)
            return &t->worker[i].n;
    assert_true(t->n < ARRAY_LEN(t->worker));
    memcpy(t->worker[t->n].address, address, strlen(address) + 1);
    t->worker[t->n].n = 0;
    return &t->worker[t->n++].n;
}

static inline void tally_picks(struct tally *t, struct balancer *b,
                               const char *group, unsigned n, mono_ms now)
{
    t->n = 0;
    for (unsigned i = 0; i < n; i++) {
        const char *address =
            ask(b, (struct balancer_request){.group = group, .now = now});

        assert_string_not_equal(address, "");
        (*tally_of(t, address))++;
    }
}

#endif
