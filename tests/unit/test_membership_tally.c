/*
 * test_membership_tally.c - what is counted as nodes change is what a walk
 * over all of them finds, whatever happens, and at each moment.
 */
#include "cluster/membership.h"

#include "base/rand.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODES     12
#define SETTLE    3000
#define HEARTBEAT 2000
#define SESSION   8000
#define STEPS     20000
#define SEEDS     8

struct fixture {
    struct clock clock;
    struct gates *gates;
    struct membership *m;
    struct rand rand;
    uint64_t version;
    uint64_t created[NODES][2]; /* by where it stands: a session's, or ours;
                                   0: it does not */
    size_t found[4];            /* how often each kind of state was met */
};

static void on_event(void *arg, const struct membership_event *ev)
{
    (void)arg;
    (void)ev;
}

/* By a walk over all. */
static void by_walk(struct fixture *f, enum node_kind kind,
                    struct membership_tally *t, size_t *absent)
{
    *t = (struct membership_tally){0};
    *absent = 0;
    for (struct node *n = membership_next(f->m, NULL); n != NULL;
         n = membership_next(f->m, n)) {
        if (n->kind != kind)
            continue;
        *absent += !n->registered;
        if (!n->registered)
            continue;
        if (membership_overdue(f->m, n))
            t->late++;
        else if (f->clock.mono - n->state_since >= SETTLE)
            t->settled++;
        else
            t->fresh++;
    }
}

static void check(struct fixture *f, uint64_t seed, int step)
{
    for (int k = 0; k < NODE_KINDS; k++) {
        struct membership_tally want, got;
        size_t absent, n = 0;

        by_walk(f, (enum node_kind)k, &want, &absent);
        got = membership_tally(f->m, (enum node_kind)k);
        for (const struct node *it;
             (it = membership_absent(f->m, (enum node_kind)k, n)) != NULL; n++)
            if (it->registered || (int)it->kind != k)
                fail_msg("seed %" PRIu64 " step %d: %s is not absent", seed,
                         step, it->address);
        if (memcmp(&want, &got, sizeof(want)) != 0 || n != absent)
            fail_msg("seed %" PRIu64 " step %d kind %d: late %zu settled %zu "
                     "fresh %zu absent %zu, a walk finds %zu %zu %zu %zu",
                     seed, step, k, got.late, got.settled, got.fresh, n,
                     want.late, want.settled, want.fresh, absent);
        f->found[0] += want.late;
        f->found[1] += want.settled;
        f->found[2] += want.fresh;
        f->found[3] += absent;
    }
}

static void tell(struct fixture *f, size_t i, bool ours, const char *value)
{
    char key[64];
    struct registry_event ev = {.entry = {.key = key}};
    uint64_t *created = &f->created[i][ours];

    (void)snprintf(key, sizeof(key), "%s/%s/h%zu:1",
                   ours ? "/pelorus/nodes" : "/nodes",
                   i % 3 == 0 ? "master" : "worker", i);
    if (value == NULL && *created == 0)
        return;
    ev.type = value == NULL   ? REGISTRY_REMOVE
              : *created == 0 ? REGISTRY_ADD
                              : REGISTRY_UPDATE;
    if (*created == 0)
        *created = ++f->version;
    ev.entry.created = *created;
    ev.entry.owner = ours ? 0 : 1;
    if (value != NULL) {
        ev.entry.value = value;
        ev.entry.value_len = strlen(value);
        ev.entry.version = ++f->version;
    } else {
        *created = 0;
    }
    membership_feed(f->m, ours ? MEMBERSHIP_OURS : MEMBERSHIP_NODES, &ev);
}

static void report(struct fixture *f, size_t i)
{
    char value[128];
    bool ours = rand_below(&f->rand, 2) == 0;
    uint64_t process = rand_below(&f->rand, 20) == 0 ? 2 : 1;

    (void)snprintf(value, sizeof(value),
                   "{\"startupTime\":%" PRIu64
                   ",\"processId\":1,\"ttl\":%" PRIu64 "}",
                   process * 100, 1000 + rand_below(&f->rand, 9000));
    tell(f, i, ours, rand_below(&f->rand, 40) == 0 ? "oops" : value);
}

static void gate(struct fixture *f, size_t i)
{
    char address[32];
    struct gate g = {.version = ++f->version, .process = {0, 100, 1, true}};

    (void)snprintf(address, sizeof(address), "h%zu:1", i);
    g.state = rand_below(&f->rand, 3) == 0 ? GATE_FENCED : GATE_OPEN;
    g.left = g.state == GATE_OPEN && rand_below(&f->rand, 3) == 0;
    gates_learn(f->gates, i % 3 == 0 ? NODE_MASTER : NODE_WORKER, address, &g);
}

static void connection(struct fixture *f)
{
    static const enum registry_state states[] = {
        REGISTRY_SUSPENDED, REGISTRY_RECONNECTED, REGISTRY_DISCONNECTED,
        REGISTRY_CONNECTED, REGISTRY_CONNECTED};
    static const char *const prefixes[] = {"/nodes", "/pelorus/nodes"};

    membership_connection(f->m, states[rand_below(&f->rand, 5)]);
    for (size_t i = 0; i < 2; i++)
        membership_feed(
            f->m, (enum membership_source)i,
            &(struct registry_event){.type = REGISTRY_SYNCED,
                                     .entry = {.key = prefixes[i]}});
}

static void forget(struct fixture *f)
{
    struct node *n = membership_absent(f->m, NODE_WORKER, 0);

    if (n != NULL)
        (void)membership_forget(f->m, n);
}

/* Time passes; now and then more at once than a lease bears. */
static void pass(struct fixture *f)
{
    uint64_t often = rand_below(&f->rand, 100);
    int64_t ms = often == 0 ? 3000 : often < 5 ? 500 : 50;

    f->clock.mono += ms;
    f->clock.wall += ms;
    if (rand_below(&f->rand, 10) != 0)
        membership_answered(f->m, f->clock.mono);
    membership_tick(f->m);
}

static void step(struct fixture *f)
{
    size_t i = rand_below(&f->rand, NODES);
    uint64_t what = rand_below(&f->rand, 1000);

    if (what < 150)
        report(f, i);
    else if (what < 165)
        tell(f, i, rand_below(&f->rand, 2) == 0, NULL);
    else if (what < 175)
        gate(f, i);
    else if (what < 178)
        connection(f);
    else if (what < 182)
        forget(f);
    else
        pass(f);
}

static void counts_are_those_of_a_walk(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct fixture f = {.clock = {.mono = 1000, .wall = 1000}};
        struct membership_config config = {.clock = &f.clock,
                                           .grace_ms = 500,
                                           .settle_ms = SETTLE,
                                           .heartbeat_interval_ms = HEARTBEAT,
                                           .session_timeout_ms = SESSION,
                                           .answer_ms = 1000};

        rand_seed(&f.rand, seed);
        f.gates = config.gates = gates_new(&f.clock, NULL);
        f.m = membership_new(&config, on_event, NULL);
        connection(&f);
        for (int i = 0; i < STEPS; i++) {
            step(&f);
            check(&f, seed, i);
        }
        for (size_t i = 0; i < 4; i++)
            assert_true(f.found[i] > STEPS / 100); /* each was to be met */
        membership_free(&f.m);
        gates_free(&f.gates);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_those_of_a_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
