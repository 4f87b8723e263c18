/*
 * test_engine_hook.c - the engine and its hook: for how long it is trusted with
 * the lock, and for which processes it runs.
 */
#include "tests/unit/engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static struct world w;
static char command[] = "tell-the-database";

static int open_world(void **state)
{
    (void)state;
    world_open(&w, 0);
    w.conf.hook = command;
    world_start(&w, 0);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    check_agreement(&w);
    world_close(&w);
    return 0;
}

static void masters(size_t n)
{
    char address[16];
    for (size_t i = 1; i <= n; i++) {
        (void)snprintf(address, sizeof(address), "m%zu:1", i);
        node_start(&w, address, (int64_t)(1000 + i));
    }
    world_run(&w, 3000);
}

static bool one_done(struct world *world)
{
    return records(world, FAILOVER_DONE) == 1;
}

static bool hook_runs(struct world *world)
{
    return world->hook_call != NULL;
}

static bool hook_ends(struct world *world)
{
    return world->hook_stopped != NULL;
}

static void end_hook(int code)
{
    void *call = w.hook_call;
    w.hook_call = NULL;
    w.hook_ended(call, code, "said so");
}

/* --- the lock --------------------------------------------------------------
 */

static void begin_a_long_hook(void)
{
    w.hook_lasts = true;
    masters(3);
    give(&w, "m1:1", 1001, "a", 3);
    world_run(&w, 500);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 8000, hook_runs));
}

static void a_hook_is_trusted_as_long_as_the_lock_is_proven(void **state)
{
    (void)state;
    begin_a_long_hook();
    mono_ms first = w.hook_until;
    world_run(&w, 3000);
    assert_true(w.hook_until > first); /* the registry answers */
    assert_true(w.hook_until <= w.clock.mono + WORLD_SESSION_MS * 2 / 3);
    memory_cut(w.c[0].registry);
    mono_ms cut = w.clock.mono;
    world_run(&w, WORLD_SESSION_MS / 3);
    /* nobody can have the lock before cut + timeout */
    assert_true(w.hook_until <= cut + WORLD_SESSION_MS * 2 / 3);
    assert_true(world_until(&w, WORLD_SESSION_MS, hook_ends));
    assert_true(w.clock.mono <= cut + WORLD_SESSION_MS);
    memory_heal(w.c[0].registry);
    w.hook_lasts = false;
    w.hook_stopped(w.hook_stop_arg);
    assert_true(world_until(&w, 20000, one_done));
    assert_int_equal(w.hooks, 2); /* it had not run to its end */
}

/* The lock is kept while a hook that is not wanted any more is being ended. */
static void the_lock_is_kept_until_the_hook_has_ended(void **state)
{
    (void)state;
    begin_a_long_hook();
    engine_connection(w.c[0].engine, REGISTRY_SUSPENDED);
    engine_connection(w.c[0].engine, REGISTRY_RECONNECTED);
    assert_non_null(w.hook_stopped);
    world_start(&w, 1);
    world_run(&w, 5000);
    assert_int_equal(w.hooks, 1); /* neither he nor we can begin another */
    w.hook_lasts = false;
    w.hook_stopped(w.hook_stop_arg);
    assert_true(world_until(&w, 20000, one_done));
    assert_int_equal(w.hooks, 2);
}

static void a_hook_ended_for_its_lock_counts_as_not_run(void **state)
{
    struct failover_record r;
    (void)state;
    begin_a_long_hook();
    w.hook_lasts = false;
    end_hook(-1);
    assert_true(world_until(&w, 8000, one_done));
    assert_int_equal(w.hooks, 2);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_int_equal(r.hook_exit, 3);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(a_hook_is_trusted_as_long_as_the_lock_is_proven),
        TEST(the_lock_is_kept_until_the_hook_has_ended),
        TEST(a_hook_ended_for_its_lock_counts_as_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
