/*
 * memory_faults.c - what the memory registry does to its clients on command.
 *
 * These are promises to the simulator: each fault does what memory.h says, and
 * none of them breaks what registry.h says. Time is virtual throughout.
 */
#include "tests/registry/memory_faults.h"

#include "base/mem.h"
#include "tests/registry/memory_bench.h"

#include <stdio.h>
#include <string.h>

#define KEY "/lock/master-failover"

static struct registry_op put_op(const char *key)
{
    return (struct registry_op){.type = REGISTRY_PUT,
                                .expect = REGISTRY_ABSENT,
                                .key = key,
                                .value = "1",
                                .value_len = 1};
}

/* --- outcomes ------------------------------------------------------------ */

static void unavailable_is_certainly_not_applied(void **state)
{
    struct memory_faults faults = {.unavailable_share = 1.0};
    struct bench w;
    struct got g;

    (void)state;
    bench_open(&w, 1);
    memory_set_faults(w.store, &faults);
    bench_put(w.a, "/k", "1", &g);
    bench_run(&w, 2 * BENCH_TIMEOUT_MS);
    assert_int_equal(g.code, ERR_UNAVAILABLE);
    assert_null(memory_find(w.store, "/k"));
    got_free(&g);
    bench_close(&w);
}

static void put_many(struct bench *w, struct got *g, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "/k/%zu", i);
        bench_put(w->a, key, "1", &g[i]);
    }
}

static size_t count_keys(struct bench *w, size_t n)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "/k/%zu", i);
        found += memory_find(w->store, key) != NULL;
    }
    return found;
}

static void an_unknown_write_is_applied_now_later_or_never(void **state)
{
    enum { N = 400 };
    struct memory_faults faults = {.unknown_share = 1.0};
    struct got *g = mem_array(N, sizeof(*g));
    size_t now, later;
    struct bench w;

    (void)state;
    bench_open(&w, 2);
    memory_set_faults(w.store, &faults);
    put_many(&w, g, N);
    bench_run(&w, 0);
    now = count_keys(&w, N);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(g[i].answers, 1);
        assert_int_equal(g[i].code, ERR_UNKNOWN);
        got_free(&g[i]);
    }
    bench_run(&w, BENCH_TIMEOUT_MS);
    later = count_keys(&w, N) - now;
    assert_true(now > N / 4 && later > N / 12);
    assert_true(now + later < N * 3 / 5);
    mem_free(g);
    bench_close(&w);
}

static void nothing_is_applied_after_the_session_ended(void **state)
{
    enum { N = 100 };
    struct memory_faults faults = {.unknown_share = 1.0};
    struct got *g = mem_array(N, sizeof(*g));
    size_t now;
    struct bench w;

    (void)state;
    bench_open(&w, 3);
    memory_set_faults(w.store, &faults);
    put_many(&w, g, N);
    bench_run(&w, 0);
    now = count_keys(&w, N);
    memory_expire(w.a);
    bench_run(&w, 3 * BENCH_TIMEOUT_MS);
    assert_int_equal(count_keys(&w, N), now);
    for (size_t i = 0; i < N; i++)
        got_free(&g[i]);
    mem_free(g);
    bench_close(&w);
}

static void versions_begin_again_after_a_delete(void **state)
{
    struct bench w;
    struct got g;
    uint64_t created;

    (void)state;
    bench_open(&w, 4);
    bench_put(w.a, "/k", "1", &g);
    bench_run(&w, 0);
    got_free(&g);
    assert_int_equal(memory_find(w.store, "/k")->version, 1);
    created = memory_find(w.store, "/k")->created;
    memset(&g, 0, sizeof(g));
    registry_delete(w.a, "/k", 1, got_reply, &g);
    bench_run(&w, 0);
    assert_int_equal(g.code, ERR_OK);
    assert_null(memory_find(w.store, "/k"));
    got_free(&g);
    bench_put(w.a, "/k", "1", &g);
    bench_run(&w, 0);
    got_free(&g);
    assert_int_equal(memory_find(w.store, "/k")->version, 1);
    assert_true(memory_find(w.store, "/k")->created > created);
    bench_close(&w);
}

/* --- breaks -------------------------------------------------------------- */

static void a_cut_leaves_calls_in_flight_unknown(void **state)
{
    struct memory_faults faults = {.delay_max_ms = 50};
    size_t applied = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct bench w;
        struct got g;

        bench_open(&w, seed);
        memory_set_faults(w.store, &faults);
        bench_put(w.a, "/k", "1", &g);
        memory_cut(w.a);
        bench_run(&w, BENCH_TIMEOUT_MS * 2 / 3 - 1000);
        assert_int_equal(g.answers, 0); /* it cannot know yet */
        bench_run(&w, 2000);
        assert_int_equal(g.code, ERR_UNKNOWN);
        applied += memory_find(w.store, "/k") != NULL;
        memory_heal(w.a);
        got_free(&g);
        bench_close(&w);
    }
    assert_true(applied > 10 && applied < 50);
}

static void a_short_cut_is_healed_without_a_word(void **state)
{
    struct bench w;
    struct seen seen = {0};
    struct told told = {0};
    struct held mine, theirs;
    struct got g;

    (void)state;
    bench_open(&w, 5);
    told.listener = registry_listen(w.a, told_state, &told);
    seen.watch = registry_watch(w.a, "/w", seen_event, &seen);
    held_ask(w.b, &mine, KEY, "b", -1);
    bench_run(&w, 0);
    held_ask(w.a, &theirs, KEY, "a", -1);
    bench_run(&w, 0);
    memory_cut(w.a);
    bench_put(w.b, "/w/k", "1", &g);
    held_release(&mine); /* the grant to A is lost with its connection */
    bench_run(&w, 1000);
    assert_int_equal(seen.n, 1);
    assert_int_equal(theirs.answers, 0);
    memory_heal(w.a);
    bench_run(&w, 0);
    assert_int_equal(theirs.answers, 1);
    assert_int_equal(theirs.code, ERR_OK);
    assert_int_equal(seen.n, 3);
    assert_int_equal(seen.events[1].type, REGISTRY_ADD);
    assert_int_equal(seen.events[2].type, REGISTRY_SYNCED);
    assert_int_equal(told.n, 1);
    held_release(&theirs);
    registry_unlisten(&told.listener);
    got_free(&g);
    seen_stop(&seen);
    bench_close(&w);
}

static mono_ms gone_at;

static void note_removal(void *arg, uint64_t writer,
                         const struct registry_entry *before,
                         const struct registry_entry *after)
{
    (void)writer;
    if (before != NULL && after == NULL)
        gone_at = ((struct bench *)arg)->clock.mono;
}

/* The deadline by which a client stops is never after the server's. */
static void a_client_knows_its_end_before_the_server_does(void **state)
{
    struct memory_faults faults = {.delay_max_ms = 400};

    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct got g = {0};
        struct bench w;

        bench_open(&w, seed);
        memory_set_faults(w.store, &faults);
        registry_put(w.a, "/e", "1", 1, REGISTRY_ABSENT, 0, true, got_reply,
                     &g);
        bench_run(&w, (int64_t)(20000 + 137 * seed));
        assert_int_equal(g.code, ERR_OK);
        memory_on_write(w.store, note_removal, &w);
        gone_at = 0;
        memory_cut(w.a);
        while (registry_session(w.a) != 0) {
            assert_int_equal(gone_at, 0);
            bench_run(&w, 1);
        }
        bench_run(&w, BENCH_TIMEOUT_MS);
        assert_true(gone_at != 0);
        memory_on_write(w.store, NULL, NULL);
        memory_heal(w.a);
        got_free(&g);
        bench_close(&w);
    }
}

/* --- stopped and killed processes ---------------------------------------- */

static void a_thawed_holder_believes_but_writes_nothing(void **state)
{
    struct registry_op ops[2] = {{.type = REGISTRY_CHECK_LOCK},
                                 put_op("/late")};
    struct held mine, theirs;
    struct got g = {0};
    struct bench w;

    (void)state;
    bench_open(&w, 6);
    held_ask(w.a, &mine, KEY, "a", -1);
    bench_run(&w, 0);
    held_ask(w.b, &theirs, KEY, "b", -1);
    memory_freeze(w.a);
    bench_run(&w, 3 * BENCH_TIMEOUT_MS);
    assert_int_equal(mine.losses, 0);
    assert_int_equal(theirs.code, ERR_OK);
    assert_true(theirs.fence > mine.fence);
    memory_thaw(w.a);
    assert_true(registry_lock_held(mine.lock));
    assert_int_equal(registry_state(w.a), REGISTRY_CONNECTED);
    ops[0].lock = mine.lock;
    registry_txn(w.a, ops, 2, got_reply, &g);
    bench_run(&w, 1000);
    assert_int_equal(g.answers, 1);
    assert_true(g.code == ERR_SESSION_LOST || g.code == ERR_UNKNOWN);
    assert_null(memory_find(w.store, "/late"));
    assert_int_equal(mine.losses, 1);
    assert_true(registry_session(w.a) != 0);
    held_release(&mine);
    held_release(&theirs);
    got_free(&g);
    bench_close(&w);
}

static void requests_of_a_killed_process_still_arrive(void **state)
{
    struct memory_faults faults = {.delay_max_ms = 50};
    struct registry *left;
    struct bench w;
    struct got g;

    (void)state;
    bench_open(&w, 7);
    memory_set_faults(w.store, &faults);
    bench_put(w.a, "/k", "1", &g);
    left = w.a;
    memory_kill(&w.a);
    assert_null(w.a);
    registry_close(&left, NULL, NULL); /* its owner may still say goodbye */
    bench_run(&w, 100);
    assert_int_equal(g.answers, 0);
    assert_non_null(memory_find(w.store, "/k"));
    bench_run(&w, 2 * BENCH_TIMEOUT_MS);
    assert_int_equal(g.answers, 0);
    bench_close(&w);
}

static void kill_on_reply(void *arg, const struct registry_reply *reply)
{
    struct bench *w = arg;

    assert_int_equal(reply->err.code, ERR_OK);
    memory_kill(&w->a);
}

static void a_process_may_be_killed_in_its_own_callback(void **state)
{
    struct seen seen = {0};
    struct held held;
    struct bench w;

    (void)state;
    bench_open(&w, 8);
    seen.watch = registry_watch(w.a, "/", seen_event, &seen);
    held_ask(w.a, &held, KEY, "a", -1);
    bench_run(&w, 0);
    registry_put(w.a, "/k", "1", 1, REGISTRY_ABSENT, 0, true, kill_on_reply,
                 &w);
    registry_put(w.a, "/l", "1", 1, REGISTRY_ABSENT, 0, true, kill_on_reply,
                 &w);
    bench_run(&w, 0);
    assert_null(w.a);
    held_release(&held); /* valid until the next run */
    registry_unwatch(&seen.watch);
    assert_non_null(memory_find(w.store, "/k"));
    bench_run(&w, 2 * BENCH_TIMEOUT_MS);
    assert_null(memory_find(w.store, "/k"));
    assert_int_equal(memory_lock_holder(w.store, KEY, NULL), 0);
    seen_stop(&seen);
    bench_close(&w);
}

/* --- notifications ------------------------------------------------------- */

static void lost_notifications_are_found_by_the_next_look(void **state)
{
    struct memory_faults faults = {.event_drop_share = 1.0, .resync_ms = 3000};
    struct seen seen = {0};
    struct bench w;
    struct got g;

    (void)state;
    bench_open(&w, 9);
    memory_set_faults(w.store, &faults);
    seen.watch = registry_watch(w.a, "/w", seen_event, &seen);
    bench_run(&w, 0);
    bench_put(w.b, "/w/k", "1", &g);
    bench_run(&w, 2000);
    assert_int_equal(seen.n, 1);
    bench_run(&w, 1000);
    assert_int_equal(seen.n, 2); /* and no second SYNCED */
    assert_int_equal(seen.events[1].type, REGISTRY_ADD);
    got_free(&g);
    seen_stop(&seen);
    bench_close(&w);
}

struct observed {
    struct bench *w;
    const struct seen *seen;
    size_t writes, keys_at_first;
    uint64_t writer;
};

static void count_one(void *arg, const struct registry_entry *entry)
{
    (void)entry;
    ++*(size_t *)arg;
}

static void observe(void *arg, uint64_t writer,
                    const struct registry_entry *before,
                    const struct registry_entry *after)
{
    struct observed *o = arg;

    assert_null(before);
    assert_non_null(after);
    assert_int_equal(o->seen->n, 1); /* before anybody is told */
    o->writer = writer;
    if (o->writes++ == 0)
        memory_each(o->w->store, "/", count_one, &o->keys_at_first);
}

static void the_observer_sees_whole_txns_before_anybody(void **state)
{
    const struct registry_op ops[] = {put_op("/t/1"), put_op("/t/2"),
                                      put_op("/t/3")};
    struct seen seen = {0};
    struct bench w;
    struct observed o = {.w = &w, .seen = &seen};
    struct got g = {0};
    uint64_t revision, fence = 1;

    (void)state;
    bench_open(&w, 10);
    seen.watch = registry_watch(w.b, "/", seen_event, &seen);
    bench_run(&w, 0);
    memory_on_write(w.store, observe, &o);
    revision = memory_revision(w.store);
    registry_txn(w.a, ops, 3, got_reply, &g);
    bench_run(&w, 0);
    assert_int_equal(g.code, ERR_OK);
    assert_int_equal(o.writes, 3);
    assert_int_equal(o.keys_at_first, 3);
    assert_true(o.writer == registry_session(w.a));
    assert_int_equal(memory_revision(w.store), revision + 1);
    assert_int_equal(seen.n, 4);
    assert_int_equal(memory_lock_holder(w.store, KEY, &fence), 0);
    assert_int_equal(fence, 0);
    memory_on_write(w.store, NULL, NULL);
    got_free(&g);
    seen_stop(&seen);
    bench_close(&w);
}

int memory_faults_run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unavailable_is_certainly_not_applied),
        cmocka_unit_test(an_unknown_write_is_applied_now_later_or_never),
        cmocka_unit_test(nothing_is_applied_after_the_session_ended),
        cmocka_unit_test(versions_begin_again_after_a_delete),
        cmocka_unit_test(a_cut_leaves_calls_in_flight_unknown),
        cmocka_unit_test(a_short_cut_is_healed_without_a_word),
        cmocka_unit_test(a_client_knows_its_end_before_the_server_does),
        cmocka_unit_test(a_thawed_holder_believes_but_writes_nothing),
        cmocka_unit_test(requests_of_a_killed_process_still_arrive),
        cmocka_unit_test(a_process_may_be_killed_in_its_own_callback),
        cmocka_unit_test(lost_notifications_are_found_by_the_next_look),
        cmocka_unit_test(the_observer_sees_whole_txns_before_anybody),
    };

    return cmocka_run_group_tests_name("memory faults", tests, NULL, NULL) +
           memory_storm_run();
}
