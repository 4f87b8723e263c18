/*
 * test_failover_hook.c - the step and its hold of the lock: the hook, and what
 * stops when the lock was held for its 10 s.
 */
#include "tests/unit/failover_script.h"

static void a_hook_runs_once_and_is_saved(void **state)
{
    (void)state;
    to_reading();
    (void)read_as_seen();
    (void)written(ERR_OK);
    (void)read_as_seen();
    assert_string_equal(written(ERR_OK), "hook: hook");
    assert_string_equal(feed((struct failover_event){.type = FAILOVER_HOOKED,
                                                     .hook_exit = 2,
                                                     .hook_tail = "no"}),
                        "hook-saving: read");
    assert_string_equal(read_as_seen(), "hook-saving: write(moving)");
    assert_int_equal(failover_record(f)->hook_exit, 2);
    assert_string_equal(written(ERR_OK), "listing: list");
    assert_string_equal(listed(0, false), "closing: read");
}

/* The lock is held for 10 s at a time, whatever is done under it. */
static void a_hook_gets_what_is_left_of_a_hold(void **state)
{
    (void)state;
    to_reading();
    (void)read_as_seen();
    (void)written(ERR_OK);
    (void)read_as_seen();
    now += 2500;
    assert_string_equal(written(ERR_OK), "hook: hook");
    assert_int_equal(fx.list[0].time_ms, 7000);
}

static void a_hook_that_would_have_too_little_begins_the_next_hold(void **state)
{
    (void)state;
    to_reading();
    (void)read_as_seen();
    (void)written(ERR_OK);
    (void)read_as_seen();
    now += 5000;
    assert_string_equal(written(ERR_OK), "have-lock: settle(rotated) next");
    now += 5000;
    assert_string_equal(next(NULL), "idle: unlock");
}

static void a_count_and_a_listing_stop_when_the_hold_is_over(void **state)
{
    struct failover_counts some = {.moved = 5};
    struct failover_event counted = {
        .type = FAILOVER_COUNTED, .counts = &some, .more = true};
    (void)state;
    to_moving();
    assert_string_equal(listed(0, true), "listing: list");
    now += 10000;
    assert_string_equal(listed(0, true), "idle: settle(rotated) unlock");
    assert_true(fx.list[0].clean); /* the next hold goes on from here */
    to_reading();
    record = (struct failover_record){.phase = FAILOVER_MOVING,
                                      .kind = NODE_MASTER,
                                      .fence = 16,
                                      .session = 4,
                                      .hook_exit = -1,
                                      .process = process_of(1)};
    (void)snprintf(record.id, sizeof(record.id), "master-1-b");
    seen.record = &record;
    seen.gate.state = GATE_FENCED;
    (void)read_as_seen();
    assert_string_equal(listed(0, false), "counting: count");
    assert_string_equal(feed(counted), "counting: count");
    now += 10000;
    assert_string_equal(feed(counted), "idle: settle(rotated) unlock");
}

static void a_hook_run_by_another_holder_is_told_his_fence(void **state)
{
    (void)state;
    to_reading();
    record = (struct failover_record){.phase = FAILOVER_MOVING,
                                      .kind = NODE_MASTER,
                                      .fence = 16,
                                      .session = 4,
                                      .hook_exit = -1,
                                      .process = process_of(1)};
    (void)snprintf(record.id, sizeof(record.id), "master-1-b");
    seen.record = &record;
    seen.gate.state = GATE_FENCED;
    assert_string_equal(read_as_seen(), "hook: tell(moving) hook");
    assert_int_equal(failover_record(f)->fence, 17);
    assert_string_equal(feed((struct failover_event){.type = FAILOVER_HOOKED}),
                        "hook-saving: read");
    assert_string_equal(read_as_seen(), "hook-saving: write(moving)");
    assert_int_equal(failover_record(f)->fence, 17);
    assert_int_equal(failover_record(f)->resumed, 1);
}

int main(void)
{
#define HOOK(name) cmocka_unit_test_setup_teardown(name, setup_hook, teardown)
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        HOOK(a_hook_runs_once_and_is_saved),
        HOOK(a_hook_gets_what_is_left_of_a_hold),
        HOOK(a_hook_that_would_have_too_little_begins_the_next_hold),
        HOOK(a_hook_run_by_another_holder_is_told_his_fence),
        TEST(a_count_and_a_listing_stop_when_the_hold_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
