/*
 * sql_lock.c - two coordinators and a process of DolphinScheduler's contend for
 * one lock, and are killed while they hold it: never two holders.
 */
#include "tests/registry/sql_dolphin.h"

#include "tests/registry/dolphin_peer.h"

#include "base/mem.h"
#include "base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KEY          "/lock/master-failover"
#define SESSION_MS   1000
#define ALTERNATIONS 200
#define HOLD_MS      5

/* A coordinator: asks, holds for a moment, writes under the lock, releases. */
struct holder {
    struct arena *arena;
    struct registry *r;
    struct registry_lock *lock;
    bool holds, writing, may_ask;
    int64_t until;
    uint64_t fence;
};

struct arena {
    struct sql_store *s;
    struct holder us[2];
    struct dolphin_peer peer;
    bool peer_holds;
    int64_t peer_until, peer_asks, peer_beats;
    uint64_t last_fence, seen_id;
    size_t grants[3], kills, refused;
    uint64_t next_client;
    struct rand rand;
};

static void nobody_else(const struct arena *a, const struct holder *me)
{
    assert_false(a->peer_holds && me != NULL);
    for (size_t i = 0; i < 2; i++) {
        assert_false(&a->us[i] != me && a->us[i].holds);
    }
}

static void grown(struct arena *a, uint64_t fence)
{
    assert_true(fence > a->last_fence);
    a->last_fence = fence;
}

static void on_granted(void *arg, enum err_code code)
{
    struct holder *h = arg;

    if (code != ERR_OK) {
        registry_unlock(&h->lock);
        return;
    }
    nobody_else(h->arena, h);
    h->fence = registry_lock_fence(h->lock);
    grown(h->arena, h->fence);
    h->holds = true;
    h->until = clock_mono_ms() + HOLD_MS;
    h->arena->grants[h - h->arena->us]++;
}

static void on_lost(void *arg)
{
    struct holder *h = arg;

    h->holds = false;
    registry_unlock(&h->lock);
}

static void on_written(void *arg, const struct registry_reply *reply)
{
    struct holder *h = arg;

    h->writing = false;
    h->arena->refused += reply->err.code != ERR_OK;
    if (reply->err.code == ERR_OK && h->lock != NULL) {
        nobody_else(h->arena, h);
    }
    h->holds = false;
    registry_unlock(&h->lock);
}

/* While it is held: one guarded write, and with its answer the release. */
static void step_holder(struct holder *h, size_t number)
{
    char key[48];
    struct registry_op ops[2] = {{.type = REGISTRY_CHECK_LOCK},
                                 {.type = REGISTRY_PUT,
                                  .expect = REGISTRY_ABSENT,
                                  .key = key,
                                  .value = "1",
                                  .value_len = 1}};

    if (h->r == NULL) {
        return;
    }
    if (h->lock == NULL && !h->writing && registry_session(h->r) != 0) {
        h->lock = registry_lock(h->r, KEY, "me", -1, on_granted, on_lost, h);
    } else if (h->holds && !h->writing && clock_mono_ms() >= h->until) {
        h->writing = true;
        (void)snprintf(key, sizeof(key), "/pelorus/moves/%zu-%" PRIu64, number,
                       h->fence);
        ops[0].lock = h->lock;
        registry_txn(h->r, ops, 2, on_written, h);
    }
}

static void new_peer(struct arena *a)
{
    dolphin_start(&a->peer, a->s, ++a->next_client, SESSION_MS, 0);
    a->peer_holds = false;
}

static void step_peer(struct arena *a)
{
    int64_t now = clock_mono_ms();

    if (now >= a->peer_beats) {
        dolphin_beat(&a->peer);
        (void)dolphin_purge(&a->peer); /* other JVMs do so as well */
        a->peer_beats = now + SESSION_MS / 4;
    }
    if (a->peer_holds && now >= a->peer_until) {
        nobody_else(a, NULL);
        dolphin_unlock(&a->peer);
        a->peer_holds = false;
        a->peer_asks = now + 20 + (int64_t)rand_below(&a->rand, 150);
    } else if (!a->peer_holds && now >= a->peer_asks) {
        a->peer_asks = now + 10;
        if (dolphin_lock(&a->peer, KEY)) {
            nobody_else(a, NULL);
            grown(a, a->peer.lock_id);
            a->peer_holds = true;
            a->peer_until = now + HOLD_MS;
            a->grants[2]++;
        }
    }
}

/* Whoever holds it dies. */
static void kill_holder(struct arena *a)
{
    for (size_t i = 0; i < 2; i++) {
        struct holder *h = &a->us[i];

        if (h->holds && !h->writing) {
            sql_store_kill(a->s, &h->r);
            memset(h, 0, sizeof(*h));
            h->arena = a;
            h->r = sql_store_backend.open(a->s, SESSION_MS);
            assert_non_null(h->r);
            a->kills++;
            return;
        }
    }
    if (a->peer_holds) {
        new_peer(a); /* the old one beats no more */
        a->kills++;
    }
}

static size_t grants(const struct arena *a)
{
    return a->grants[0] + a->grants[1] + a->grants[2];
}

static void two_coordinators_and_a_peer_alternate(void **state)
{
    struct arena a = {.s = *state, .next_client = 100};
    size_t next_kill = 15;
    int64_t until = clock_mono_ms() + 90000;

    rand_seed(&a.rand, 20);
    for (size_t i = 0; i < 2; i++) {
        a.us[i].arena = &a;
        a.us[i].r = sql_store_open(a.s, SESSION_MS);
    }
    new_peer(&a);
    while (grants(&a) < ALTERNATIONS || a.us[0].holds || a.us[1].holds) {
        assert_true(clock_mono_ms() < until);
        for (size_t i = 0; i < 2; i++) {
            step_holder(&a.us[i], i);
        }
        step_peer(&a);
        loop_turn(a.s->loop, 2);
        if (grants(&a) >= next_kill && grants(&a) < ALTERNATIONS) {
            size_t before = a.kills;

            kill_holder(&a);
            next_kill += a.kills > before ? 20 : 0;
        }
    }
    (void)fprintf(stderr,
                  "granted %zu and %zu to us, %zu to the peer; %zu killed "
                  "while holding\n",
                  a.grants[0], a.grants[1], a.grants[2], a.kills);
    assert_true(a.kills >= 5);
    assert_true(a.grants[0] > 10 && a.grants[1] > 10 && a.grants[2] > 10);
    for (size_t i = 0; i < 2; i++) {
        sql_store_until(a.s, !a.us[i].writing);
        sql_store_close(a.s, &a.us[i].r);
    }
}

/* A lock of DolphinScheduler's, and a waiter of ours who gives up. */
static void a_lock_that_a_peer_holds_is_waited_for(void **state)
{
    struct sql_store *s = *state;
    struct world w = {.backend = &sql_store_backend, .store = s};
    struct registry *r = sql_store_open(s, 5000);
    struct dolphin_peer peer;
    struct held h;

    dolphin_start(&peer, s, 1, 60000, 0);
    assert_true(dolphin_lock(&peer, KEY));
    assert_int_equal(held_take(&w, r, &h, KEY, "me", 0), ERR_TIMEOUT);
    held_release(&h);
    assert_int_equal(held_take(&w, r, &h, KEY, "me", 300), ERR_TIMEOUT);
    held_release(&h);
    held_ask(r, &h, KEY, "me", -1);
    world_pass(&w, 300);
    assert_int_equal(h.answers, 0);
    dolphin_unlock(&peer);
    sql_store_until(s, h.answers == 1);
    assert_int_equal(h.code, ERR_OK);
    assert_true(h.fence > 0);
    assert_false(dolphin_lock(&peer, KEY));
    held_release(&h);
    sql_store_until(s, dolphin_lock(&peer, KEY));
    dolphin_unlock(&peer);
    sql_store_close(s, &r);
}

int sql_lock_tests(void)
{
    const struct CMUnitTest tests[] = {
        SQL_STORE_TEST(a_lock_that_a_peer_holds_is_waited_for),
        SQL_STORE_TEST(two_coordinators_and_a_peer_alternate),
    };

    return cmocka_run_group_tests_name("dolphinscheduler's lock", tests, NULL,
                                       NULL);
}
