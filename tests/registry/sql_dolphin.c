/*
 * sql_dolphin.c - DolphinScheduler's tables as its processes leave them: what
 * a watch tells is exact within two polls, whatever they do.
 * (Longer than 500 lines: each habit of DolphinScheduler's is one test.)
 */
#include "tests/registry/sql_dolphin.h"

#include "tests/registry/dolphin_peer.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SESSION_MS 1500
#define CLIENT_MS  2000 /* DolphinScheduler's session timeout */
#define POLL_MS    300  /* see sql_store_conf() */
/* Two polls, and what a busy machine adds. */
#define IN_TIME (2 * POLL_MS + 1400)
#define MASTER  "/nodes/master/10.0.0.1:5678"
#define WORKER  "/nodes/worker/10.0.0.2:1234"

struct view {
    struct registry_watch *watch;
    size_t added, updated, removed, synced;
    char value[64];
    uint64_t owner, created;
};

static void on_event(void *arg, const struct registry_event *event)
{
    struct view *v = arg;

    switch (event->type) {
    case REGISTRY_ADD:
    case REGISTRY_UPDATE:
        v->added += event->type == REGISTRY_ADD;
        v->updated += event->type == REGISTRY_UPDATE;
        (void)snprintf(v->value, sizeof(v->value), "%s", event->entry.value);
        v->owner = event->entry.owner;
        v->created = event->entry.created;
        break;
    case REGISTRY_REMOVE:
        v->removed++;
        break;
    case REGISTRY_SYNCED:
        v->synced++;
        break;
    }
}

static void watch(struct sql_store *s, struct registry *r, struct view *v)
{
    memset(v, 0, sizeof(*v));
    v->watch = registry_watch(r, "/nodes", on_event, v);
    sql_store_until(s, v->synced > 0);
}

/* Let time pass in which the peers' hearts beat. */
static void pass(struct sql_store *s, int64_t ms, struct dolphin_peer *peers,
                 size_t n)
{
    int64_t until = clock_mono_ms() + ms, beat = 0;

    while (clock_mono_ms() < until) {
        if (clock_mono_ms() >= beat) {
            for (size_t i = 0; i < n; i++)
                dolphin_beat(&peers[i]);
            beat = clock_mono_ms() + CLIENT_MS / 4;
        }
        loop_turn(s->loop, 10);
    }
}

/* It happens within two polls. */
#define soon(s, cond)                                                          \
    do {                                                                       \
        int64_t began_ = clock_mono_ms();                                      \
        sql_store_until(s, cond);                                              \
        assert_in_range(clock_mono_ms() - began_, 0, IN_TIME);                 \
    } while (0)

static void its_nodes_come_change_and_go(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer;
    struct view v;

    dolphin_start(&peer, s, 4711, 60000, 0);
    dolphin_put(&peer, MASTER, "first");
    watch(s, r, &v);
    assert_int_equal(v.added, 1);
    assert_int_equal(v.owner, 4711);
    assert_string_equal(v.value, "first");
    dolphin_put(&peer, MASTER, "second");
    soon(s, v.updated == 1);
    assert_string_equal(v.value, "second");
    dolphin_put(&peer, WORKER, "w");
    soon(s, v.added == 2);
    dolphin_delete(&peer, MASTER);
    soon(s, v.removed == 1);
    dolphin_stop(&peer);
    soon(s, v.removed == 2);
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

/* Whoever reads it says that it names no node, and that it is gone. */
static void a_name_that_is_no_key_comes_and_goes(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer;
    struct view v;

    dolphin_start(&peer, s, 4711, 60000, 0);
    dolphin_put(&peer, "/nodes/worker//w:1", "there before");
    watch(s, r, &v);
    assert_int_equal(v.added, 1);
    dolphin_put(&peer, "/nodes/worker/../w:1", "came later");
    soon(s, v.added == 2);
    assert_string_equal(v.value, "came later");
    dolphin_delete(&peer, "/nodes/worker//w:1");
    soon(s, v.removed == 1);
    dolphin_delete(&peer, "/nodes/worker/../w:1");
    soon(s, v.removed == 2);
    dolphin_stop(&peer);
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

static void
a_client_that_died_without_a_word_is_gone_after_its_timeout(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer, other;
    struct view v;
    int64_t died;

    dolphin_start(&peer, s, 1, CLIENT_MS, 0);
    dolphin_start(&other, s, 2, CLIENT_MS, 0);
    dolphin_put(&peer, WORKER, "1");
    watch(s, r, &v);
    pass(s, CLIENT_MS * 2, &peer, 1);
    assert_int_equal(v.removed, 0);
    died = clock_mono_ms();
    sql_store_until(s, v.removed == 1); /* nobody purges its rows */
    assert_in_range(clock_mono_ms() - died, CLIENT_MS / 2, CLIENT_MS + IN_TIME);
    assert_int_equal(dolphin_purge(&other), 1);
    pass(s, POLL_MS * 3, &other, 1);
    assert_int_equal(v.removed, 1);
    assert_int_equal(v.added, 1);
    /* It is gone for a read, too. */
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

/* However short a timeout it states beside our looks. */
static void every_timeout_ends_in_time(void **state)
{
    static const int64_t timeouts[] = {1, 100, 300, 500, 800, 950};
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer;
    struct view v;

    watch(s, r, &v);
    for (size_t i = 0; i < ARRAY_LEN(timeouts); i++) {
        int64_t died;

        dolphin_start(&peer, s, i + 1, timeouts[i], 0);
        died = clock_mono_ms();
        dolphin_put(&peer, WORKER, "1");
        sql_store_until(s, v.added == i + 1);
        sql_store_until(s, v.removed == i + 1);
        assert_true(clock_mono_ms() - died >= timeouts[i]);
        dolphin_purge_client(s, i + 1);
    }
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

static void a_dead_client_is_not_read_and_comes_back_when_it_beats(void **state)
{
    struct sql_store *s = *state;
    struct world w = {.backend = &sql_store_backend, .store = s};
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer;
    struct got g = {0};
    struct view v;

    dolphin_start(&peer, s, 1, CLIENT_MS, 0);
    dolphin_put(&peer, WORKER, "1");
    watch(s, r, &v);
    sql_store_until(s, v.removed == 1);
    assert_int_equal(do_get(&w, r, WORKER, NULL), ERR_NOT_FOUND);
    assert_int_equal(do_list(&w, r, "/nodes", NULL, 10, &g), ERR_OK);
    assert_int_equal(g.n_entries, 0);
    peer.last_beat += 12345; /* it was stopped, and goes on */
    dolphin_beat(&peer);
    soon(s, v.added == 2);
    assert_string_equal(v.value, "1");
    assert_int_equal(do_get(&w, r, WORKER, &g), ERR_OK);
    got_free(&g);
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

/* Its heartbeat writes the time of the one before, its clock is wrong: what
 * counts is that the value moves. */
static void late_heartbeats_and_wrong_clocks_are_alive(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peers[3];
    struct view v;

    for (size_t i = 0; i < 3; i++) {
        char key[64];

        dolphin_start(&peers[i], s, i + 1, CLIENT_MS,
                      ((int64_t)i - 1) * 600000);
        (void)snprintf(key, sizeof(key), "/nodes/worker/h:%zu", i + 1);
        dolphin_put(&peers[i], key, "1");
    }
    watch(s, r, &v);
    assert_int_equal(v.added, 3);
    pass(s, CLIENT_MS * 5 / 2, peers, 3);
    assert_int_equal(v.removed, 0);
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

/* Purged by somebody whose clock is ten minutes ahead, and not told: it goes
 * on writing its data, and its heartbeat hits no row. Everybody lists it. */
static void a_client_that_was_purged_alive_lives_by_its_data(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer, judge;
    struct view v;
    int64_t until;

    dolphin_start(&peer, s, 1, CLIENT_MS, 0);
    dolphin_start(&judge, s, 2, CLIENT_MS, 600000);
    dolphin_put(&peer, WORKER, "1");
    watch(s, r, &v);
    assert_true(dolphin_purge(&judge) >= 1);
    soon(s, v.removed == 1);
    dolphin_put(&peer, WORKER, "2"); /* it knows nothing */
    soon(s, v.added == 2);
    until = clock_mono_ms() + 3 * CLIENT_MS;
    for (int i = 0; clock_mono_ms() < until; i++) {
        pass(s, CLIENT_MS / 3, &peer, 1); /* the beats hit nothing */
        dolphin_put(&peer, WORKER, i % 2 == 0 ? "even" : "odd");
    }
    assert_int_equal(v.removed, 1);
    assert_int_equal(v.added, 2);
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

static void insert_in(struct sql_store *s, struct dbms_link *link, int n)
{
    char sql[512];
    struct err err;

    (void)n;
    (void)snprintf(sql, sizeof(sql),
                   "BEGIN;INSERT INTO t_ds_jdbc_registry_data(data_key,"
                   " data_value, data_type, client_id) VALUES('%s', 'late',"
                   " 'EPHEMERAL', 1);"
                   "INSERT INTO t_ds_jdbc_registry_data_change_event("
                   "event_type, jdbc_registry_data) VALUES('ADD', '{}')",
                   MASTER);
    assert_int_equal(
        s->target.driver->run(link, sql, strlen(sql), NULL, NULL, &err),
        DBMS_OK);
}

static void a_late_commit_with_a_smaller_event_id_is_seen(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dbms_link *slow = sql_store_link(s);
    struct dolphin_peer peer;
    struct view v;
    struct err err;

    dolphin_start(&peer, s, 1, 60000, 0);
    watch(s, r, &v);
    insert_in(s, slow, 1);
    dolphin_put(&peer, WORKER, "early"); /* a greater event id */
    soon(s, v.added == 1);
    pass(s, 3 * POLL_MS, NULL, 0);
    assert_int_equal(v.added, 1);
    assert_int_equal(s->target.driver->run(slow, "COMMIT", 6, NULL, NULL, &err),
                     DBMS_OK);
    soon(s, v.added == 2);
    assert_string_equal(v.value, "late");
    s->target.driver->close(&slow);
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

static void the_inverted_purge_of_events_hides_nothing(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer;
    struct view v;

    dolphin_start(&peer, s, 1, 60000, 0);
    watch(s, r, &v);
    dolphin_put(&peer, WORKER, "1");
    dolphin_purge_events(s);
    soon(s, v.added == 1);
    dolphin_delete(&peer, WORKER);
    dolphin_purge_events(s);
    soon(s, v.removed == 1);
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

static void event_ids_that_begin_anew_hide_nothing(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer;
    struct view v;

    dolphin_start(&peer, s, 1, 60000, 0);
    for (int i = 0; i < 20; i++)
        dolphin_put(&peer, WORKER, i % 2 == 0 ? "a" : "b");
    watch(s, r, &v);
    (void)sql_store_run(
        s, "TRUNCATE TABLE t_ds_jdbc_registry_data_change_event%s",
        s->target.driver == &dbms_postgresql ? " RESTART IDENTITY" : "");
    dolphin_put(&peer, MASTER, "after");
    soon(s, v.added == 2);
    dolphin_put(&peer, MASTER, "again");
    soon(s, v.updated >= 1);
    dolphin_delete(&peer, WORKER);
    soon(s, v.removed == 1);
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

/* A row that was deleted and made again is another registration, although its
 * key and value are the same. */
static void a_row_made_again_is_remove_and_add(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer;
    struct view v;
    uint64_t created;

    dolphin_start(&peer, s, 1, 60000, 0);
    dolphin_put(&peer, WORKER, "same");
    watch(s, r, &v);
    created = v.created;
    dolphin_delete(&peer, WORKER);
    dolphin_put(&peer, WORKER, "same");
    soon(s, v.added == 2);
    assert_int_equal(v.removed, 1);
    assert_true(v.created > created);
    registry_unwatch(&v.watch);
    sql_store_close(s, &r);
}

static void its_keys_are_not_written(void **state)
{
    struct sql_store *s = *state;
    struct world w = {.backend = &sql_store_backend, .store = s};
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dolphin_peer peer;
    struct got g = {0};
    uint64_t version;

    dolphin_start(&peer, s, 1, 60000, 0);
    dolphin_put(&peer, WORKER, "theirs");
    assert_int_equal(do_get(&w, r, WORKER, &g), ERR_OK);
    version = g.entries[0].version;
    assert_int_equal(do_exists(&w, r, "/nodes/worker"), ERR_OK);
    assert_int_equal(do_children(&w, r, "/nodes", &g), ERR_OK);
    assert_int_equal(g.n_entries, 1);
    assert_string_equal(g.entries[0].key, "worker");
    assert_int_equal(do_put(&w, r, WORKER, "1", REGISTRY_ABSENT, 0),
                     ERR_CONFLICT);
    assert_int_equal(do_put(&w, r, WORKER, "1", REGISTRY_ANY, 0), ERR_CONFLICT);
    assert_int_equal(do_delete(&w, r, WORKER, version), ERR_CONFLICT);
    {
        const struct registry_op ops[] = {{.type = REGISTRY_CHECK,
                                           .expect = REGISTRY_VERSION,
                                           .key = WORKER,
                                           .version = version}};

        assert_int_equal(do_txn(&w, r, ops, 1, NULL), ERR_OK);
        dolphin_put(&peer, WORKER, "changed");
        assert_int_equal(do_txn(&w, r, ops, 1, NULL), ERR_CONFLICT);
    }
    got_free(&g);
    sql_store_close(s, &r);
}

static void their_tables_hold_only_our_heartbeat_and_lock(void **state)
{
    struct sql_store *s = *state;
    struct world w = {.backend = &sql_store_backend, .store = s};
    struct registry *r = sql_store_open(s, SESSION_MS);
    uint64_t session = registry_session(r);
    struct held h;

    assert_int_equal(
        do_put_ephemeral(&w, r, "/nodes/master/me:1", "1", REGISTRY_ANY, 0),
        ERR_OK);
    assert_int_equal(do_put(&w, r, "/pelorus/work/1", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(held_take(&w, r, &h, "/lock/master-failover", "a", -1),
                     ERR_OK);
#define COUNT(table)                                                           \
    sql_store_run(s, "SELECT count(*) FROM t_ds_jdbc_registry_" table)
    assert_int_equal(COUNT("data"), 0);
    assert_int_equal(COUNT("data_change_event"), 0);
    assert_int_equal(COUNT("client_heartbeat"), 1);
    assert_int_equal(COUNT("lock"), 1);
    assert_true(sql_store_run(s, "SELECT client_id FROM"
                                 " t_ds_jdbc_registry_lock") == session);
    assert_true(sql_store_run(s, "SELECT id FROM t_ds_jdbc_registry_lock") ==
                h.fence);
    assert_true(sql_store_run(s, "SELECT id FROM"
                                 " t_ds_jdbc_registry_client_heartbeat") ==
                session);
    held_release(&h);
    sql_store_close(s, &r);
    assert_int_equal(COUNT("client_heartbeat"), 0);
    assert_int_equal(COUNT("lock"), 0);
    assert_int_equal(COUNT("data"), 0);
    assert_int_equal(COUNT("data_change_event"), 0);
#undef COUNT
    assert_int_equal(sql_store_run(s, "SELECT count(*) FROM pelorus_session"),
                     0);
}

/* Our heartbeat carries the server's clock: a peer with a right clock never
 * takes us for dead, whatever our host's clock says. */
static void a_peer_with_a_right_clock_does_not_purge_us(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    uint64_t session = registry_session(r);
    struct dolphin_peer judge;

    dolphin_start(&judge, s, 1, SESSION_MS, 0);
    for (int i = 0; i < 8; i++) {
        pass(s, SESSION_MS / 4, &judge, 1);
        assert_int_equal(dolphin_purge(&judge), 0);
    }
    assert_true(registry_session(r) == session);
    sql_store_close(s, &r);
}

static void a_peer_that_purges_us_costs_the_session_and_no_more(void **state)
{
    struct sql_store *s = *state;
    struct world w = {.backend = &sql_store_backend, .store = s};
    struct registry *r = sql_store_open(s, SESSION_MS);
    uint64_t session = registry_session(r);
    struct told told = {0};
    struct held h, again;
    struct got g = {0};

    told.listener = registry_listen(r, told_state, &told);
    assert_int_equal(
        do_put_ephemeral(&w, r, "/pelorus/e", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(&w, r, "/pelorus/k", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(held_take(&w, r, &h, "/lock/x", "a", -1), ERR_OK);
    dolphin_purge_client(s, session);
    { /* before it knows: the store refuses */
        const struct registry_op ops[] = {
            {.type = REGISTRY_CHECK_LOCK, .lock = h.lock},
            {.type = REGISTRY_PUT,
             .expect = REGISTRY_ABSENT,
             .key = "/pelorus/late",
             .value = "1",
             .value_len = 1}};

        registry_txn(r, ops, 2, got_reply, &g);
        sql_store_until(s, g.answers > 0);
        assert_true(g.code == ERR_CONFLICT || g.code == ERR_SESSION_LOST);
        got_free(&g);
    }
    sql_store_until(s,
                    registry_session(r) != 0 && registry_session(r) != session);
    assert_int_equal(h.losses, 1);
    assert_int_equal(told.n, 3);
    assert_int_equal(told.states[1], REGISTRY_DISCONNECTED);
    assert_int_equal(told.states[2], REGISTRY_CONNECTED);
    assert_int_equal(do_exists(&w, r, "/pelorus/e"), ERR_NOT_FOUND);
    assert_int_equal(do_exists(&w, r, "/pelorus/late"), ERR_NOT_FOUND);
    version_of(&w, r, "/pelorus/k", "1");
    held_release(&h);
    assert_int_equal(held_take(&w, r, &again, "/lock/x", "a", -1), ERR_OK);
    assert_true(again.fence > h.fence);
    held_release(&again);
    registry_unlisten(&told.listener);
    sql_store_close(s, &r);
}

int sql_dolphin_tests(void)
{
    const struct CMUnitTest tests[] = {
        SQL_STORE_TEST(its_nodes_come_change_and_go),
        SQL_STORE_TEST(a_name_that_is_no_key_comes_and_goes),
        SQL_STORE_TEST(
            a_client_that_died_without_a_word_is_gone_after_its_timeout),
        SQL_STORE_TEST(a_dead_client_is_not_read_and_comes_back_when_it_beats),
        SQL_STORE_TEST(late_heartbeats_and_wrong_clocks_are_alive),
        SQL_STORE_TEST(every_timeout_ends_in_time),
        SQL_STORE_TEST(a_client_that_was_purged_alive_lives_by_its_data),
        SQL_STORE_TEST(a_late_commit_with_a_smaller_event_id_is_seen),
        SQL_STORE_TEST(the_inverted_purge_of_events_hides_nothing),
        SQL_STORE_TEST(event_ids_that_begin_anew_hide_nothing),
        SQL_STORE_TEST(a_row_made_again_is_remove_and_add),
        SQL_STORE_TEST(its_keys_are_not_written),
        SQL_STORE_TEST(their_tables_hold_only_our_heartbeat_and_lock),
        SQL_STORE_TEST(a_peer_with_a_right_clock_does_not_purge_us),
        SQL_STORE_TEST(a_peer_that_purges_us_costs_the_session_and_no_more),
    };

    return cmocka_run_group_tests_name("dolphinscheduler's tables", tests, NULL,
                                       NULL);
}
