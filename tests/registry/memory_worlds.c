/*
 * memory_worlds.c - what the memory registry does that makes a client believe
 * in a session which is over: a server without the others, a stuck loop.
 */
#include "tests/registry/memory_bench.h"
#include "tests/registry/memory_faults.h"

#include <string.h>

#define KEY "/lock/master-failover"

/* It is told how things were, and its session is over no later for it than for
 * the others. */
static void a_server_without_the_others_keeps_no_session(void **state)
{
    struct seen seen = {0};
    struct got first, second = {0}, read = {0}, mine;
    struct bench w;

    (void)state;
    bench_open(&w, 21);
    bench_put(w.b, "/w/k", "old", &first);
    bench_run(&w, 0);
    seen.watch = registry_watch(w.a, "/w", seen_event, &seen);
    bench_run(&w, 0);
    memory_strand(w.a);
    registry_put(w.b, "/w/k", "new", 3, REGISTRY_ANY, 0, false, got_reply,
                 &second);
    registry_get(w.a, "/w/k", got_reply, &read);
    bench_put(w.a, "/w/mine", "1", &mine);
    bench_run(&w, BENCH_TIMEOUT_MS / 2);
    assert_int_equal(second.code, ERR_OK);
    assert_int_equal(read.answers, 1);
    assert_string_equal(read.entries[0].value, "old");
    assert_int_equal(mine.answers, 0);
    assert_int_equal(seen.n, 2); /* ADD, SYNCED: of no change */
    bench_run(&w, BENCH_TIMEOUT_MS / 6 + 100);
    assert_int_equal(registry_state(w.a), REGISTRY_SUSPENDED);
    assert_int_equal(mine.code, ERR_UNKNOWN);
    bench_run(&w, BENCH_TIMEOUT_MS / 2); /* a new session, at another server */
    assert_int_equal(registry_state(w.a), REGISTRY_CONNECTED);
    assert_int_equal(seen.events[2].type, REGISTRY_UPDATE);
    assert_null(memory_find(w.store, "/w/mine"));
    got_free(&first);
    got_free(&second);
    got_free(&read);
    got_free(&mine);
    seen_stop(&seen);
    bench_close(&w);
}

static void whose_loop_is_stuck_loses_its_lock(void **state)
{
    struct held mine, theirs;
    struct bench w;

    (void)state;
    bench_open(&w, 22);
    held_ask(w.a, &mine, KEY, "a", -1);
    bench_run(&w, 0);
    held_ask(w.b, &theirs, KEY, "b", -1);
    memory_stick(w.a);
    bench_run(&w, BENCH_TIMEOUT_MS + 1);
    assert_int_equal(mine.losses, 0); /* it cannot know yet */
    assert_int_equal(theirs.code, ERR_OK);
    assert_int_equal(theirs.answers, 1);
    memory_thaw(w.a);
    bench_run(&w, 0);
    assert_int_equal(mine.losses, 1);
    held_release(&mine);
    held_release(&theirs);
    bench_close(&w);
}

int memory_worlds_run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_without_the_others_keeps_no_session),
        cmocka_unit_test(whose_loop_is_stuck_loses_its_lock),
    };

    return cmocka_run_group_tests_name("memory worlds", tests, NULL, NULL);
}
