/*
 * test_engine_drain.c - a drain belongs to the address: it survives the process
 * that was told to hand over, until its time is over or it is taken back.
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
    for (int i = 1; i <= 3; i++) {
        char address[16];
        (void)snprintf(address, sizeof(address), "m%d:1", i);
        node_start(&w, address, 1000 + i);
    }
    world_run(&w, 3000);
    give(&w, "m1:1", 1001, "a", 5);
    world_run(&w, 200);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    check_agreement(&w);
    world_close(&w);
    return 0;
}

/* As work/gate.c writes it. */
static void drain(int64_t for_ms)
{
    struct gate gate;
    assert_true(find_gate(&w, "m1:1", &gate));
    gate.state = GATE_DRAINING;
    gate.drain_of = gate.process;
    gate.for_ms = for_ms;
    gate.order++;
    (void)snprintf(gate.who, sizeof(gate.who), "ada");
    (void)snprintf(gate.reason, sizeof(gate.reason), "new disk");
    put_gate(&w, "m1:1", &gate);
    world_run(&w, 100);
}

static struct gate gate_of_m1(void)
{
    struct gate gate;
    assert_true(find_gate(&w, "m1:1", &gate));
    return gate;
}

static bool is_fenced(struct world *world)
{
    struct gate gate;
    return find_gate(world, "m1:1", &gate) && gate.state == GATE_FENCED &&
           records(world, FAILOVER_DONE) > 0;
}

static bool is_for_2001(struct world *world)
{
    struct process fresh = process_of(2001);
    struct gate gate;
    return find_gate(world, "m1:1", &gate) && gate.state != GATE_FENCED &&
           process_same(&gate.process, &fresh);
}

static bool is_open(struct world *world)
{
    struct gate gate;
    return find_gate(world, "m1:1", &gate) && gate.state == GATE_OPEN;
}

static void assert_drained_for_ada(void)
{
    struct gate gate = gate_of_m1();
    assert_int_equal(gate.state, GATE_DRAINING);
    assert_int_equal(gate.for_ms, 60000);
    assert_string_equal(gate.who, "ada");
    assert_string_equal(gate.reason, "new disk");
}

static void a_drained_host_is_still_drained_after_its_restart(void **state)
{
    (void)state;
    drain(60000);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 10000, is_fenced));
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 5000, is_for_2001));
    assert_drained_for_ada();
    world_run(&w, 10000);
    assert_drained_for_ada();
}

static void a_quick_restart_does_not_open_it_either(void **state)
{
    (void)state;
    drain(60000);
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 8000, is_for_2001));
    assert_drained_for_ada();
    assert_int_equal(owned_by(&w, "m1:1"), 0); /* the old one's work moved */
}

static void its_time_goes_on_across_processes_and_then_it_opens(void **state)
{
    (void)state;
    mono_ms begun = w.clock.mono;
    drain(15000);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 10000, is_fenced));
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 5000, is_for_2001));
    assert_int_equal(gate_of_m1().state, GATE_DRAINING);
    world_run(&w, 14000 - (w.clock.mono - begun));
    assert_int_equal(gate_of_m1().state, GATE_DRAINING);
    assert_true(world_until(&w, 8000, is_open));
    assert_true(w.clock.mono - begun >= 15000);
    assert_true(w.clock.mono - begun <= 23000);
    assert_true(logged(&w.c[0], "opened:m1:1:drain-over"));
    /* who came after the order had nothing to hand over, and lives on */
    struct gate gate = gate_of_m1();
    assert_false(gate.drain_of.known);
    assert_string_equal(gate.who, "");
    world_run(&w, 5000);
    assert_int_equal(gate_of_m1().state, GATE_OPEN);
}

static void a_drain_that_ended_meanwhile_does_not_bind_the_next(void **state)
{
    (void)state;
    drain(9000);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 9000, is_fenced));
    world_run(&w, 9000);
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 5000, is_open));
}

/* A coordinator that starts later counts from when it sees it. */
static void it_survives_a_restart_of_the_coordinator(void **state)
{
    (void)state;
    drain(60000);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 10000, is_fenced));
    world_kill(&w, 0);
    world_start(&w, 1);
    world_run(&w, 5000);
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 5000, is_for_2001));
    assert_drained_for_ada();
}

static void a_cordon_beside_it_is_left_when_it_is_over(void **state)
{
    struct gate gate;
    (void)state;
    drain(12000);
    gate = gate_of_m1();
    gate.cordoned = true;
    put_gate(&w, "m1:1", &gate);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 10000, is_fenced));
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 5000, is_for_2001));
    assert_int_equal(gate_of_m1().state, GATE_DRAINING);
    world_run(&w, 15000);
    assert_int_equal(gate_of_m1().state, GATE_CORDONED);
}

/* A flap between INTENT and the second read loses it its drain no more than its
 * work. */
static void back_before_anything_moves(struct world *world)
{
    struct failover_record r;
    if (world->user == NULL &&
        find_record(world, "m1:1", FAILOVER_INTENT, &r)) {
        world->user = world;
        node_start(world, "m1:1", 1001);
    }
}

static void an_intent_taken_back_leaves_it_drained(void **state)
{
    struct memory_faults slow = {.delay_max_ms = 60, .resync_ms = 500};
    (void)state;
    drain(60000);
    memory_set_faults(w.store, &slow);
    w.between = back_before_anything_moves;
    node_kill(&w, "m1:1");
    world_run(&w, 12000);
    assert_non_null(w.user);
    assert_int_equal(records(&w, FAILOVER_ABORTED), 1);
    assert_drained_for_ada();
    struct gate gate = gate_of_m1();
    assert_true(process_same(&gate.drain_of, &gate.process));
    assert_int_equal(owned_by(&w, "m1:1"), 5);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(a_drained_host_is_still_drained_after_its_restart),
        TEST(a_quick_restart_does_not_open_it_either),
        TEST(its_time_goes_on_across_processes_and_then_it_opens),
        TEST(a_drain_that_ended_meanwhile_does_not_bind_the_next),
        TEST(it_survives_a_restart_of_the_coordinator),
        TEST(a_cordon_beside_it_is_left_when_it_is_over),
        TEST(an_intent_taken_back_leaves_it_drained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
