/*
 * sql_lock.c - two coordinators and a process of DolphinScheduler's contend for
 * one lock, and are killed while they hold it: never two holders.
 */
#include "tests/registry/sql_dolphin.h"

#include "tests/registry/dolphin_peer.h"

#include "base/mem.h"
#include "base/rand.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
    for (size_t i = 0; i < 2; i++)
        assert_false(&a->us[i] != me && a->us[i].holds);
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
    if (reply->err.code == ERR_OK && h->lock != NULL)
        nobody_else(h->arena, h);
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

    if (h->r == NULL)
        return;
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
        for (size_t i = 0; i < 2; i++)
            step_holder(&a.us[i], i);
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

/* Its process died with the lock, and none of its kind is left to purge it. */
static void the_row_of_a_dead_peer_is_freed(void **state)
{
    static const int64_t timeouts[] = {200, 900, 2000};
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 5000);
    struct registry_lock_wait wait;
    struct dolphin_peer peer;
    struct held h;

    for (size_t i = 0; i < ARRAY_LEN(timeouts); i++) {
        int64_t began = clock_mono_ms();

        dolphin_start(&peer, s, i + 1, timeouts[i], 0);
        sql_store_until(s, dolphin_lock(&peer, KEY)); /* it was just ours */
        held_ask(r, &h, KEY, "me", -1);
        sql_store_until(s, h.answers == 1 ||
                               (registry_lock_waits_for(h.lock, &wait) &&
                                strcmp(wait.holder, "host_1_thread") == 0));
        sql_store_until(s, h.answers == 1);
        assert_int_equal(h.code, ERR_OK);
        assert_true(clock_mono_ms() - began >= timeouts[i]);
        assert_true(h.fence > peer.lock_id);
        held_release(&h);
        assert_int_equal(sql_store_run(s,
                                       "SELECT count(*) FROM"
                                       " t_ds_jdbc_registry_client_heartbeat"
                                       " WHERE id = %zu",
                                       i + 1),
                         1);
    }
    /* And one whose heartbeat went, and its lock not. */
    dolphin_start(&peer, s, 9, 60000, 0);
    sql_store_until(s, dolphin_lock(&peer, KEY));
    (void)sql_store_run(s, "DELETE FROM t_ds_jdbc_registry_client_heartbeat"
                           " WHERE id = 9");
    held_ask(r, &h, KEY, "me", -1);
    sql_store_until(s, h.answers == 1);
    assert_int_equal(h.code, ERR_OK);
    held_release(&h);
    sql_store_close(s, &r);
}

static void the_row_of_a_living_peer_is_not_touched(void **state)
{
    enum { TIMEOUT = 3000 };
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 5000);
    int64_t until = clock_mono_ms() + 3 * TIMEOUT, beat = 0;
    struct dolphin_peer peer;
    struct held h;

    dolphin_start(&peer, s, 1, TIMEOUT, 600000);
    assert_true(dolphin_lock(&peer, KEY));
    held_ask(r, &h, KEY, "me", -1);
    while (clock_mono_ms() < until) {
        if (clock_mono_ms() >= beat) {
            dolphin_beat(&peer);
            beat = clock_mono_ms() + TIMEOUT / 5;
        }
        loop_turn(s->loop, 10);
        assert_int_equal(h.answers, 0);
    }
    dolphin_unlock(&peer);
    sql_store_until(s, h.answers == 1);
    held_release(&h);
    sql_store_close(s, &r);
}

/* As its processes wait: one INSERT after the other, without a pause. */
struct hasty {
    pthread_t thread;
    struct dbms_link *link;
    const struct dbms_driver *driver;
    uint64_t client;
    atomic_bool stop;
    size_t grants;
};

static void *hasty_run(void *arg)
{
    struct hasty *h = arg;
    char insert[512], delete[256];
    struct err err;

    (void)snprintf(insert, sizeof(insert),
                   "INSERT INTO t_ds_jdbc_registry_lock(lock_key, lock_owner,"
                   " client_id, create_time) VALUES('%s', 'host_%" PRIu64
                   "', %" PRIu64 ", CURRENT_TIMESTAMP)",
                   KEY, h->client, h->client);
    (void)snprintf(delete, sizeof(delete),
                   "DELETE FROM t_ds_jdbc_registry_lock WHERE client_id ="
                   " %" PRIu64,
                   h->client);
    while (!atomic_load(&h->stop)) {
        if (h->driver->run(h->link, insert, strlen(insert), NULL, NULL, &err) !=
            DBMS_OK)
            continue;
        h->grants++;
        (void)usleep(10000);
        while (h->driver->run(h->link, delete, strlen(delete), NULL, NULL,
                              &err) != DBMS_OK &&
               !atomic_load(&h->stop)) {
        }
    }
    (void)h->driver->run(h->link, delete, strlen(delete), NULL, NULL, &err);
    return NULL;
}

static void beside_hasty_ones_we_have_our_turn(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 10000);
    struct dolphin_peer peers[2];
    struct hasty hasty[2];
    int64_t longest = 0, all = 0;

    for (size_t i = 0; i < 2; i++) {
        dolphin_start(&peers[i], s, i + 1, 600000, 0);
        hasty[i] = (struct hasty){.link = sql_store_link(s),
                                  .driver = s->target.driver,
                                  .client = i + 1};
        assert_int_equal(
            pthread_create(&hasty[i].thread, NULL, hasty_run, &hasty[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        int64_t began = clock_mono_ms(), took;
        struct held h;

        held_ask(r, &h, KEY, "me", -1);
        sql_store_until(s, h.answers == 1);
        took = clock_mono_ms() - began;
        longest = took > longest ? took : longest;
        all += took;
        assert_int_equal(h.code, ERR_OK);
        held_release(&h);
    }
    for (size_t i = 0; i < 2; i++) {
        atomic_store(&hasty[i].stop, true);
        assert_int_equal(pthread_join(hasty[i].thread, NULL), 0);
        s->target.driver->close(&hasty[i].link);
    }
    assert_true(longest < 5000); /* without it we hardly ever have one */
    (void)fprintf(stderr,
                  "20 turns took us %d ms, the longest %d; theirs: %zu "
                  "and %zu\n",
                  (int)all, (int)longest, hasty[0].grants, hasty[1].grants);
    sql_store_close(s, &r);
}

int sql_lock_tests(void)
{
    const struct CMUnitTest tests[] = {
        SQL_STORE_TEST(a_lock_that_a_peer_holds_is_waited_for),
        SQL_STORE_TEST(two_coordinators_and_a_peer_alternate),
        SQL_STORE_TEST(the_row_of_a_dead_peer_is_freed),
        SQL_STORE_TEST(the_row_of_a_living_peer_is_not_touched),
        SQL_STORE_TEST(beside_hasty_ones_we_have_our_turn),
    };

    return cmocka_run_group_tests_name("dolphinscheduler's lock", tests, NULL,
                                       NULL);
}
