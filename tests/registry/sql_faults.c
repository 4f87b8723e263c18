/*
 * sql_faults.c - connections that break before, in and after a COMMIT, servers
 * that die in the middle of each kind of transaction, deadlocks, wrong clocks:
 * every answer is true, and nobody is taken for dead who lives.
 *
 * "In the middle" is where a lock of the test's own connection holds it: the
 * counter's row (no statement has changed anything yet), or the row that is
 * about to be written. (Longer than 500 lines: one test for each way to break.)
 */
#include "tests/registry/sql_faults.h"

#include "tests/registry/sql_store.h"

#include "base/mem.h"
#include "base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SESSION_MS 4000
#define LOCK       "/lock/x"

/* --- a clock that is wrong ----------------------------------------------- */

static int64_t wall_skew_s;

/* The program's, in place of the C library's. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);

    if (id == CLOCK_REALTIME)
        ts->tv_sec += wall_skew_s;
    return rc;
}

/* --- helpers ------------------------------------------------------------- */

static struct world world_of(struct sql_store *s)
{
    return (struct world){.backend = &sql_store_backend, .store = s};
}

static void run_on(struct sql_store *s, struct dbms_link *link, const char *sql)
{
    struct err err;

    if (s->target.driver->run(link, sql, strlen(sql), NULL, NULL, &err) !=
        DBMS_OK)
        fail_msg("%s: %s", sql, err.msg);
}

static void ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

/* From now on nobody else writes. */
static struct dbms_link *hold_counter(struct sql_store *s)
{
    struct dbms_link *link = sql_store_link(s);
    struct err err;
    static const char sql[] =
        "BEGIN;SELECT revision FROM pelorus_meta WHERE id = 1 FOR UPDATE";

    assert_int_equal(
        s->target.driver->run(link, sql, strlen(sql), ignore_row, NULL, &err),
        DBMS_OK);
    return link;
}

static void let_go(struct sql_store *s, struct dbms_link **link)
{
    run_on(s, *link, "ROLLBACK");
    s->target.driver->close(link);
}

static void pass(struct sql_store *s, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;

    while (clock_mono_ms() < until)
        loop_turn(s->loop, 10);
}

static void put_begin(struct registry *r, const char *key, struct got *g)
{
    memset(g, 0, sizeof(*g));
    registry_put(r, key, "1", 1, REGISTRY_ABSENT, 0, false, got_reply, g);
}

/* What was answered is what the table says. */
static void expect_true(struct sql_store *s, const char *key,
                        const struct got *g)
{
    char name[128] = "/dolphinscheduler", hex[256], *at = hex;
    uint64_t there;

    (void)snprintf(name, sizeof(name), "/dolphinscheduler%s", key);
    for (const char *c = name; *c != '\0'; c++, at += 2)
        (void)snprintf(at, 3, "%02x", (unsigned char)*c);
    there = sql_store_run(s,
                          "SELECT count(*) FROM pelorus_registry"
                          " WHERE name = %s%s'",
                          s->target.driver->syntax->bytes, hex);
    assert_int_equal(g->answers, 1);
    if (g->code == ERR_OK)
        assert_int_equal(there, 1);
    else if (g->code != ERR_UNKNOWN)
        assert_int_equal(there, 0);
}

/* --- connections --------------------------------------------------------- */

static void a_connection_cut_before_the_commit_applies_nothing(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 10000);
    uint64_t session = registry_session(r);
    struct dbms_link *lock = hold_counter(s);
    struct got g;

    put_begin(r, "/cut", &g);
    pass(s, 150); /* it waits for the counter */
    assert_int_equal(g.answers, 0);
    (void)proxy_reset(s->proxy);
    sql_store_until(s, g.answers > 0);
    assert_int_equal(g.code, ERR_UNAVAILABLE);
    let_go(s, &lock);
    got_free(&g);
    put_begin(r, "/next", &g);
    sql_store_until(s, g.answers > 0);
    assert_int_equal(g.code, ERR_OK);
    assert_int_equal(sql_store_run(s, "SELECT count(*) FROM pelorus_registry"),
                     1);
    assert_true(registry_session(r) == session);
    got_free(&g);
    sql_store_close(s, &r);
}

/* A random moment each time, hundreds of times: some of them in the COMMIT. */
static void answers_are_true_whenever_the_connection_breaks(void **state)
{
    enum { N = 250 };
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 20000);
    uint64_t session = registry_session(r);
    struct world w = world_of(s);
    struct got *g = mem_array(N, sizeof(*g));
    size_t counts[ERR_IO + 1] = {0};
    struct rand rand;
    char key[32];

    rand_seed(&rand, 7);
    for (size_t i = 0; i < N; i++) {
        int64_t began;
        uint64_t kind = rand_below(&rand, 3);
        int64_t moment = (int64_t)rand_below(&rand, 14);

        (void)snprintf(key, sizeof(key), "/storm/%zu", i);
        sql_store_until(s, do_exists(&w, r, "/storm") != ERR_UNAVAILABLE);
        proxy_delay(s->proxy, (int64_t)rand_below(&rand, 3));
        began = clock_mono_ms();
        put_begin(r, key, &g[i]);
        while (clock_mono_ms() < began + moment)
            loop_turn(s->loop, 1);
        if (kind == 0) { /* the answers are lost, the requests arrive */
            proxy_cut(s->proxy, PROXY_TO_CLIENT);
            pass(s, 10);
        }
        if (kind < 2)
            (void)proxy_reset(s->proxy);
        proxy_cut(s->proxy, 0);
        proxy_delay(s->proxy, 0);
        sql_store_until(s, g[i].answers > 0);
        counts[g[i].code]++;
    }
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(key, sizeof(key), "/storm/%zu", i);
        expect_true(s, key, &g[i]);
        got_free(&g[i]);
    }
    (void)fprintf(stderr, "%zu ok, %zu unavailable, %zu unknown\n",
                  counts[ERR_OK], counts[ERR_UNAVAILABLE], counts[ERR_UNKNOWN]);
    assert_int_equal(
        counts[ERR_OK] + counts[ERR_UNAVAILABLE] + counts[ERR_UNKNOWN], N);
    assert_int_equal(counts[ERR_UNKNOWN], 0); /* the server could be asked */
    assert_true(counts[ERR_OK] > 20 && counts[ERR_UNAVAILABLE] > 5);
    assert_true(registry_session(r) == session);
    mem_free(g);
    sql_store_close(s, &r);
}

static void a_black_hole_suspends_and_then_ends_the_session(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    uint64_t session = registry_session(r);
    struct told told = {0};

    told.listener = registry_listen(r, told_state, &told);
    proxy_cut(s->proxy, PROXY_BOTH);
    sql_store_until(s, registry_state(r) == REGISTRY_SUSPENDED);
    proxy_cut(s->proxy, 0);
    sql_store_until(s, registry_state(r) == REGISTRY_RECONNECTED ||
                           registry_session(r) != session);
    assert_int_equal(registry_state(r), REGISTRY_RECONNECTED);
    proxy_cut(s->proxy, PROXY_BOTH);
    sql_store_until(s, registry_state(r) == REGISTRY_DISCONNECTED);
    proxy_cut(s->proxy, 0);
    sql_store_until(s, registry_session(r) != 0);
    assert_true(registry_session(r) != session);
    registry_unlisten(&told.listener);
    sql_store_close(s, &r);
    assert_int_equal(sql_store_run(s, "SELECT count(*) FROM pelorus_session"),
                     0);
}

/* --- servers ------------------------------------------------------------- */

static void kill_and_heal(struct sql_store *s, struct dbms_link **lock)
{
    struct err err;

    sql_server_kill(s->server);
    if (lock != NULL)
        s->target.driver->close(lock);
    if (s->link != NULL)
        s->target.driver->close(&s->link);
    pass(s, 100);
    if (sql_server_heal(s->server, &err) != 0)
        fail_msg("%s", err.msg);
}

static void a_server_killed_in_a_txn_applies_all_or_nothing(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 60000);
    uint64_t session = registry_session(r);
    struct dbms_link *lock = hold_counter(s);
    struct got g;

    put_begin(r, "/killed", &g);
    pass(s, 150);
    kill_and_heal(s, &lock);
    sql_store_until(s, g.answers > 0);
    assert_int_equal(g.code, ERR_UNAVAILABLE);
    expect_true(s, "/killed", &g);
    got_free(&g);
    for (size_t i = 0; i < 4; i++) { /* and at any moment */
        char key[32];

        (void)snprintf(key, sizeof(key), "/any/%zu", i);
        put_begin(r, key, &g);
        pass(s, (int64_t)i * 2);
        kill_and_heal(s, NULL);
        sql_store_until(s, g.answers > 0);
        expect_true(s, key, &g);
        got_free(&g);
    }
    assert_true(registry_session(r) == session); /* it has a minute */
    sql_store_close(s, &r);
}

static void a_server_killed_while_we_ask_for_the_lock(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 60000);
    struct dbms_link *lock = hold_counter(s);
    struct world w = world_of(s);
    struct held h, next;

    held_ask(r, &h, LOCK, "me", -1);
    pass(s, 150);
    kill_and_heal(s, &lock);
    sql_store_until(s, h.answers > 0);
    assert_int_equal(h.code, ERR_OK);
    assert_int_equal(sql_store_run(s, "SELECT count(*) FROM pelorus_lock"), 1);
    lock = hold_counter(s);
    held_release(&h); /* and while we give it back */
    pass(s, 150);
    kill_and_heal(s, &lock);
    assert_int_equal(held_take(&w, r, &next, LOCK, "me", -1), ERR_OK);
    assert_true(next.fence > h.fence);
    held_release(&next);
    sql_store_close(s, &r);
    assert_int_equal(
        sql_store_run(s, "SELECT count(*) FROM t_ds_jdbc_registry_lock"), 0);
}

static void a_server_killed_while_a_session_begins_and_beats(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 60000), *second;
    uint64_t session = registry_session(r);
    struct dbms_link *lock = sql_store_link(s);

    /* The beat waits for our row. */
    run_on(s, lock, "BEGIN;UPDATE pelorus_session SET mark = mark");
    pass(s, 500);
    second = sql_store_backend.open(s, 60000);
    kill_and_heal(s, &lock);
    sql_store_until(s, registry_session(second) != 0);
    pass(s, 500);
    assert_true(registry_session(r) == session);
    sql_store_close(s, &second);
    sql_store_close(s, &r);
}

/* Nobody is reaped because the server was away, and who is dead is. */
static void a_server_killed_while_the_dead_are_buried(void **state)
{
    struct sql_store *s = *state;
    struct registry *lives = sql_store_open(s, SESSION_MS);
    struct registry *dies = sql_store_open(s, SESSION_MS);
    struct world w = world_of(s);
    struct dbms_link *lock;
    struct got g = {0};

    registry_put(dies, "/e", "1", 1, REGISTRY_ABSENT, 0, true, got_reply, &g);
    sql_store_until(s, g.answers > 0);
    got_free(&g);
    sql_store_kill(s, &dies);
    pass(s, SESSION_MS / 2);
    lock = hold_counter(s);
    pass(s, SESSION_MS / 2); /* now it wants to, and cannot */
    kill_and_heal(s, &lock);
    sql_store_until(s, registry_session(lives) != 0 &&
                           registry_state(lives) != REGISTRY_SUSPENDED);
    sql_store_until(
        s, sql_store_run(s, "SELECT count(*) FROM pelorus_session") == 1);
    sql_store_until(s, do_exists(&w, lives, "/e") == ERR_NOT_FOUND);
    sql_store_close(s, &lives);
}

static void a_close_while_the_server_is_dead_ends_in_time(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);
    struct dbms_link *lock = hold_counter(s);
    bool closed = false;
    int64_t began;
    struct got g;

    put_begin(r, "/closing", &g);
    pass(s, 100);
    sql_server_kill(s->server);
    s->target.driver->close(&lock);
    began = clock_mono_ms();
    sql_store_close(s, &r);
    (void)closed;
    assert_in_range(clock_mono_ms() - began, 0, 2 * SESSION_MS);
    assert_int_equal(g.answers, 1);
    assert_true(g.code != ERR_OK);
    got_free(&g);
}

/* Half a timeout: no session is lost, no window is full. */
static void a_server_that_pauses_costs_nobody_the_session(void **state)
{
    struct sql_store *s = *state;
    struct registry *a = sql_store_open(s, SESSION_MS);
    struct registry *b = sql_store_open(s, SESSION_MS);
    uint64_t of_a = registry_session(a), of_b = registry_session(b);

    for (size_t i = 0; i < 2; i++) {
        sql_server_stop(s->server);
        pass(s, SESSION_MS / 2 - 500);
        sql_server_cont(s->server);
        pass(s, SESSION_MS / 4);
    }
    assert_true(registry_session(a) == of_a);
    assert_true(registry_session(b) == of_b);
    sql_store_close(s, &a);
    sql_store_close(s, &b);
}

/* --- the store's own reasons --------------------------------------------- */

/* We hold the counter and want the row, the test holds the row and wants the
 * counter: one of us is rolled back. If it is we, it is tried again. */
static void a_deadlock_is_tried_again(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 10000);
    struct dbms_link *link = sql_store_link(s);
    static const char want[] =
        "UPDATE pelorus_meta SET revision = revision WHERE id = 1";
    struct got g;
    struct err err;

    put_begin(r, "/row", &g);
    sql_store_until(s, g.answers > 0);
    got_free(&g);
    run_on(s, link, "BEGIN;UPDATE pelorus_registry SET version = version");
    registry_put(r, "/row", "2", 1, REGISTRY_ANY, 0, false, got_reply, &g);
    pass(s, 200);
    (void)s->target.driver->run(link, want, strlen(want), ignore_row, NULL,
                                &err);
    (void)s->target.driver->run(link, "ROLLBACK", 8, ignore_row, NULL, &err);
    s->target.driver->close(&link);
    sql_store_until(s, g.answers > 0);
    assert_int_equal(g.code, ERR_OK);
    got_free(&g);
    sql_store_close(s, &r);
}

/* Somebody holds the counter for longer than we wait. */
static void a_lock_wait_that_is_too_long_is_unavailable(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, 20000);
    uint64_t session = registry_session(r);
    struct dbms_link *lock = hold_counter(s);
    struct got g;

    put_begin(r, "/waits", &g);
    sql_store_until(s, g.answers > 0);
    assert_int_equal(g.code, ERR_UNAVAILABLE);
    expect_true(s, "/waits", &g);
    let_go(s, &lock);
    got_free(&g);
    put_begin(r, "/waits", &g);
    sql_store_until(s, g.answers > 0);
    assert_int_equal(g.code, ERR_OK);
    assert_true(registry_session(r) == session);
    got_free(&g);
    sql_store_close(s, &r);
}

/* COMMIT of a transaction that has failed is no success. */
static void a_commit_that_rolls_back_is_no_commit(void **state)
{
    struct sql_store *s = *state;
    struct dbms_link *link = sql_store_link(s);
    static const char bad[] = "SELECT nothing FROM nowhere";
    enum dbms_fault fault;
    struct err err;

    run_on(s, link, "BEGIN;DELETE FROM pelorus_meta");
    fault =
        s->target.driver->run(link, bad, strlen(bad), ignore_row, NULL, &err);
    assert_int_equal(fault, DBMS_MISSING);
    fault = s->target.driver->run(link, "COMMIT", 6, ignore_row, NULL, &err);
    if (s->target.driver == &dbms_postgresql) {
        assert_int_equal(fault, DBMS_ROLLED_BACK);
        assert_int_equal(sql_store_run(s, "SELECT count(*) FROM pelorus_meta"),
                         1);
    } else { /* MySQL undoes the statement only */
        assert_int_equal(fault, DBMS_OK);
    }
    s->target.driver->close(&link);
}

static void a_wrong_clock_harms_nobody(void **state)
{
    struct sql_store *s = *state;
    struct registry *steady = sql_store_open(s, 2000), *r;
    uint64_t session = registry_session(steady), mine;

    for (int i = 0; i < 2; i++) {
        wall_skew_s = i == 0 ? 600 : -600;
        r = sql_store_open(s, 2000);
        mine = registry_session(r);
        pass(s, 2500);
        assert_true(registry_session(r) == mine);
        assert_true(registry_session(steady) == session);
        /* what DolphinScheduler reads is the server's time */
        assert_int_equal(
            sql_store_run(s,
                          "SELECT count(*) FROM"
                          " t_ds_jdbc_registry_client_heartbeat WHERE"
                          " last_heartbeat_time > %s - 2000 AND"
                          " last_heartbeat_time <= %s",
                          s->target.driver->syntax->now_ms,
                          s->target.driver->syntax->now_ms),
            2);
        sql_store_close(s, &r);
    }
    wall_skew_s = 0;
    sql_store_close(s, &steady);
}

static void missing_tables_are_said_and_made_later(void **state)
{
    struct sql_store *s = *state;
    struct registry *r;
    struct err err;

    (void)sql_store_run(s, "DROP TABLE pelorus_session");
    r = sql_store_backend.open(s, SESSION_MS);
    pass(s, 500);
    assert_int_equal(registry_session(r), 0);
    assert_int_equal(dbms_schema_apply(&s->target, &err), 0);
    sql_store_until(s, registry_session(r) != 0);
    sql_store_close(s, &r);
}

int sql_fault_tests(void)
{
    const struct CMUnitTest tests[] = {
        SQL_STORE_TEST(a_connection_cut_before_the_commit_applies_nothing),
        SQL_STORE_TEST(answers_are_true_whenever_the_connection_breaks),
        SQL_STORE_TEST(a_black_hole_suspends_and_then_ends_the_session),
        SQL_STORE_TEST(a_server_killed_in_a_txn_applies_all_or_nothing),
        SQL_STORE_TEST(a_server_killed_while_we_ask_for_the_lock),
        SQL_STORE_TEST(a_server_killed_while_a_session_begins_and_beats),
        SQL_STORE_TEST(a_server_killed_while_the_dead_are_buried),
        SQL_STORE_TEST(a_close_while_the_server_is_dead_ends_in_time),
        SQL_STORE_TEST(a_server_that_pauses_costs_nobody_the_session),
        SQL_STORE_TEST(a_deadlock_is_tried_again),
        SQL_STORE_TEST(a_lock_wait_that_is_too_long_is_unavailable),
        SQL_STORE_TEST(a_commit_that_rolls_back_is_no_commit),
        SQL_STORE_TEST(a_wrong_clock_harms_nobody),
        SQL_STORE_TEST(missing_tables_are_said_and_made_later),
    };

    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
