/*
 * test_engine.c - the engine over the memory registry, as a cluster sees it:
 * who ends up with what, at which epoch, and what stands in the record.
 */
#include "tests/unit/engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w, 1);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    check_agreement(&w);
    world_close(&w);
    return 0;
}

static void set(char *field, size_t size, const char *text)
{
    (void)snprintf(field, size, "%s", text);
}

static bool one_done(struct world *world)
{
    return records(world, FAILOVER_DONE) == 1;
}

static void three_masters(void)
{
    node_start(&w, "m1:1", 1001);
    node_start(&w, "m2:1", 1002);
    node_start(&w, "m3:1", 1003);
    world_run(&w, 1000); /* settle */
}

static void work_of_a_killed_master_moves_at_epoch_2(void **state)
{
    struct work_item item;
    struct failover_record r;
    struct gate gate;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 40);
    give(&w, "m2:1", 1002, "b", 5);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 6000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    assert_int_equal(owned_by(&w, "m2:1"), 25);
    assert_int_equal(owned_by(&w, "m3:1"), 20);
    assert_true(find_item(&w, "a-7", &item));
    assert_int_equal(item.epoch, 2);
    assert_int_equal(item.attempts, 2);
    assert_string_equal(item.history[0].address, "m1:1");
    assert_true(item.history[0].died);
    assert_true(find_item(&w, "b-3", &item));
    assert_int_equal(item.epoch, 1);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.cause, "down");
    assert_string_equal(r.coordinator, "c0:7077");
    assert_int_equal(r.moved, 40);
    assert_int_equal(r.n_targets, 2);
    assert_true(r.fence > 0 && r.digest != 0);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_FENCED);
    assert_string_equal(gate.failover, r.id);
}

static void a_restart_is_an_intent_with_the_new_process(void **state)
{
    struct failover_record r;
    struct gate gate;
    struct process new = process_of(2001), old = process_of(1001);
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 6);
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 6000, one_done));
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.cause, "replaced");
    assert_true(process_same(&r.process, &old));
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_true(process_same(&gate.process, &new));
    assert_true(gate_bars(&gate, &old));
    assert_int_equal(r.moved, 6);
    /* the new process is as good a target as any */
    assert_int_equal(owned_by(&w, "m1:1"), 2);
    assert_int_equal(owned_by(&w, "m2:1"), 2);
}

static void a_flap_before_intent_moves_nothing(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 6);
    node_leave(&w, "m1:1");
    world_run(&w, 100);
    node_start(&w, "m1:1", 1001);
    world_run(&w, 5000);
    assert_int_equal(owned_by(&w, "m1:1"), 6);
    assert_false(logged(&w.c[0], "intent"));
}

static void a_cluster_at_rest_takes_no_lock(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 6);
    world_run(&w, 10000);
    assert_false(logged(&w.c[0], "locked"));
}

static void work_without_a_candidate_waits_and_is_given_later(void **state)
{
    struct work_item item;
    (void)state;
    node_start(&w, "m1:1", 1001);
    world_run(&w, 1000);
    give(&w, "m1:1", 1001, "a", 3);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 6000, one_done));
    assert_int_equal(in_state(&w, WORK_WAITING), 3);
    assert_true(find_item(&w, "a-0", &item));
    assert_int_equal(item.epoch, 2);
    world_run(&w, 3000);
    node_start(&w, "m2:1", 1002);
    world_run(&w, 5000);
    assert_int_equal(owned_by(&w, "m2:1"), 3);
    assert_true(find_item(&w, "a-0", &item));
    assert_int_equal(item.epoch, 3);
}

static void policies_hold_and_drop_what_they_say(void **state)
{
    struct work_item item;
    struct failover_record r;
    (void)state;
    three_masters();
    give_policy(&w, "m1:1", 1001, "keep", WORK_REASSIGN);
    give_policy(&w, "m1:1", 1001, "hold", WORK_HOLD);
    give_policy(&w, "m1:1", 1001, "drop", WORK_DROP);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 6000, one_done));
    assert_true(find_item(&w, "hold", &item));
    assert_int_equal(item.state, WORK_HELD);
    assert_string_equal(item.cause, "policy");
    assert_int_equal(item.epoch, 2);
    assert_true(find_item(&w, "drop", &item));
    assert_int_equal(item.state, WORK_DROPPED);
    assert_string_equal(item.owner, "m1:1");
    assert_true(item.finished_at > 0);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_int_equal(r.moved, 1);
    assert_int_equal(r.held, 1);
    assert_int_equal(r.dropped, 1);
    world_run(&w, 5000);
    assert_int_equal(in_state(&w, WORK_HELD), 1); /* nobody assigns it */
}

static void the_third_death_in_a_row_is_poison(void **state)
{
    struct work_item item;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 1);
    assert_true(find_item(&w, "a-0", &item));
    item.n_history = 2;
    for (size_t i = 0; i < 2; i++) {
        set(item.history[i].address, sizeof(item.history[i].address), "m9:1");
        item.history[i].died = true;
        item.history[i].until = w.clock.wall - 1000;
        item.history[i].epoch = 1;
        item.history[i].process = process_of(9);
    }
    put_item(&w, &item);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 6000, one_done));
    assert_true(find_item(&w, "a-0", &item));
    assert_int_equal(item.state, WORK_HELD);
    assert_string_equal(item.cause, "poison");
}

static void a_fenced_process_that_returns_gets_nothing(void **state)
{
    struct gate gate;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 4);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 6000, one_done));
    node_start(&w, "m1:1", 1001);
    world_run(&w, 4000);
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_FENCED);
}

static void a_fenced_process_is_readmitted_if_so_configured(void **state)
{
    struct gate gate;
    struct process p = process_of(1001);
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 4);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 6000, one_done));
    world_kill(&w, 0);
    w.conf.readmit = true;
    world_start(&w, 0);
    node_start(&w, "m1:1", 1001);
    world_run(&w, 5000);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_false(gate_bars(&gate, &p));
    assert_true(logged(&w.c[0], "opened:m1:1:readmitted"));
}

static void a_new_process_at_a_fenced_gate_is_admitted(void **state)
{
    struct gate gate;
    struct process p = process_of(2001);
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 4);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 6000, one_done));
    node_start(&w, "m1:1", 2001);
    world_run(&w, 2000);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_true(process_same(&gate.process, &p));
    assert_int_equal(records(&w, FAILOVER_DONE), 1);
}

static void a_cordon_survives_its_process(void **state)
{
    struct gate gate;
    struct process p = process_of(2001);
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 4);
    assert_true(find_gate(&w, "m1:1", &gate));
    gate.state = GATE_CORDONED;
    put_gate(&w, "m1:1", &gate);
    world_run(&w, 200);
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 6000, one_done));
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_CORDONED);
    assert_true(process_same(&gate.process, &p));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

static void an_unreadable_registration_moves_nothing(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 4);
    node_leave(&w, "m1:1");
    node_start_at(&w, NODE_MASTER, "m1:1", 0, "/nodes/master/m1:1");
    world_run(&w, 100);
    world_run(&w, 5000);
    assert_int_equal(owned_by(&w, "m1:1"), 4);
}

static void markers_of_the_past_are_found_without_an_event(void **state)
{
    struct gate gate;
    struct failover_record r;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 3);
    assert_true(find_gate(&w, "m1:1", &gate));
    /* as if somebody had opened the gate and died before he moved anything */
    struct process old = process_of(9001);
    gate_retire(&gate, &old);
    put_gate(&w, "m1:1", &gate);
    give(&w, "m1:1", 9001, "old", 2);
    assert_true(world_until(&w, 6000, one_done));
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.cause, "reconcile");
    assert_int_equal(r.moved, 2);
    struct work_item item;
    assert_true(find_item(&w, "a-1", &item));
    assert_int_equal(item.epoch, 1); /* only the past moves */
}

static void a_hook_runs_under_the_lock_and_is_in_the_record(void **state)
{
    static char command[] = "tell-the-database";
    struct failover_record r;
    (void)state;
    world_kill(&w, 0);
    w.conf.hook = command;
    world_start(&w, 0);
    three_masters();
    give(&w, "m1:1", 1001, "a", 4);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 6000, one_done));
    assert_int_equal(w.hooks, 1);
    assert_string_equal(w.hook_seen, "m1:1 1001-1");
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_int_equal(r.hook_exit, 3);
    assert_string_equal(r.hook_tail, "said so");
    assert_int_equal(r.moved, 4);
}

static void two_thousand_items_move_in_batches(void **state)
{
    struct failover_record r;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 2500);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 10000, one_done));
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_int_equal(r.moved, 2500);
    assert_int_equal(owned_by(&w, "m2:1") + owned_by(&w, "m3:1"), 2500);
}

static bool nothing_finished(struct world *world)
{
    return in_state(world, WORK_DONE) == 0;
}

static void finished_work_is_collected_and_raises_the_floor(void **state)
{
    struct work_item item;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 3);
    for (size_t i = 0; i < 3; i++) {
        char id[8] = {'d', '-', (char)('0' + i), 0};
        memset(&item, 0, sizeof(item));
        set(item.id, sizeof(item.id), id);
        set(item.group, sizeof(item.group), "default");
        set(item.owner, sizeof(item.owner), "m1:1");
        item.kind = NODE_MASTER;
        item.state = WORK_DONE;
        item.epoch = 4 + i;
        item.finished_at = w.clock.wall;
        put_item(&w, &item);
    }
    world_run(&w, 8000);
    assert_int_equal(in_state(&w, WORK_DONE), 3); /* kept for 10 s */
    assert_true(world_until(&w, 20000, nothing_finished));
    const struct registry_entry *e = memory_find(w.store, EPOCH_FLOOR_KEY);
    uint64_t floor = 0;
    assert_non_null(e);
    assert_int_equal(
        work_epoch_floor_read(e->value, e->value_len, &floor, NULL), 0);
    assert_int_equal(floor, 6);
    assert_int_equal(owned_by(&w, "m1:1"), 3);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(work_of_a_killed_master_moves_at_epoch_2),
        TEST(a_restart_is_an_intent_with_the_new_process),
        TEST(a_flap_before_intent_moves_nothing),
        TEST(a_cluster_at_rest_takes_no_lock),
        TEST(work_without_a_candidate_waits_and_is_given_later),
        TEST(policies_hold_and_drop_what_they_say),
        TEST(the_third_death_in_a_row_is_poison),
        TEST(a_fenced_process_that_returns_gets_nothing),
        TEST(a_fenced_process_is_readmitted_if_so_configured),
        TEST(a_new_process_at_a_fenced_gate_is_admitted),
        TEST(a_cordon_survives_its_process),
        TEST(an_unreadable_registration_moves_nothing),
        TEST(markers_of_the_past_are_found_without_an_event),
        TEST(a_hook_runs_under_the_lock_and_is_in_the_record),
        TEST(two_thousand_items_move_in_batches),
        TEST(finished_work_is_collected_and_raises_the_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
