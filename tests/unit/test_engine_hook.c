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
static char master[] = "master";
static char *hook_kinds[] = {master};

static int open_world(void **state)
{
    (void)state;
    world_open(&w, 0);
    w.conf.hook = command;
    w.conf.hook_kinds = (struct conf_list){hook_kinds, 1};
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

/* --- the lock ------------------------------------------------------------ */

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

/* --- processes that own nothing of ours ---------------------------------- */

static void assert_hooked_once(const char *cause, const char *seen)
{
    struct failover_record r;
    world_run(&w, 15000);
    assert_int_equal(w.hooks, 1);
    assert_string_equal(w.hook_seen, seen);
    assert_int_equal(records(&w, FAILOVER_DONE), 1);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.cause, cause);
    assert_int_equal(r.process.startup_time, 1001);
    assert_int_equal(r.hook_exit, 3);
    assert_int_equal(r.moved, 0);
}

static void a_node_without_work_is_failed_over_once(void **state)
{
    struct gate gate;
    (void)state;
    masters(3);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 10000, one_done));
    assert_hooked_once("down", "m1:1 1001-1");
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_FENCED);
}

static void three_coordinators_do_it_once(void **state)
{
    (void)state;
    world_start(&w, 1);
    world_start(&w, 2);
    masters(3);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 10000, one_done));
    assert_hooked_once("down", "m1:1 1001-1");
}

static void kill_at_intent(struct world *world)
{
    struct failover_record r;
    if (world->user == NULL &&
        find_record(world, "m1:1", FAILOVER_INTENT, &r)) {
        world->user = world;
        world_kill(world, 0);
    }
}

static void another_finishes_it(void **state)
{
    struct memory_faults slow = {.delay_max_ms = 60, .resync_ms = 500};
    (void)state;
    masters(3);
    memory_set_faults(w.store, &slow);
    w.between = kill_at_intent;
    node_kill(&w, "m1:1");
    world_run(&w, 12000);
    assert_non_null(w.user);
    world_start(&w, 1); /* it has never seen that process */
    assert_true(world_until(&w, 20000, one_done));
    assert_hooked_once("down", "m1:1 1001-1");
}

/* Nobody saw it go: the gate that was made when it was seen says it. */
static void who_starts_later_finds_it(void **state)
{
    (void)state;
    masters(3);
    world_kill(&w, 0);
    node_kill(&w, "m1:1");
    world_run(&w, 5000);
    world_start(&w, 1);
    world_start(&w, 2);
    assert_true(world_until(&w, 20000, one_done));
    assert_hooked_once("down", "m1:1 1001-1");
    world_kill(&w, 1);
    world_kill(&w, 2);
    world_start(&w, 0);
    assert_hooked_once("down", "m1:1 1001-1");
}

static void who_starts_later_finds_it_replaced(void **state)
{
    struct process fresh = process_of(2001);
    struct gate gate;
    (void)state;
    masters(3);
    world_kill(&w, 0);
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 2001);
    world_run(&w, 5000);
    world_start(&w, 1);
    assert_true(world_until(&w, 20000, one_done));
    assert_hooked_once("replaced", "m1:1 1001-1");
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_true(process_same(&gate.process, &fresh));
}

/* Losses that nobody of us saw count for the brake, too. */
static void a_mass_that_nobody_saw_is_held(void **state)
{
    static const char *const gone[] = {"m1:1", "m2:1", "m3:1", "m4:1"};
    struct failover_record r;
    (void)state;
    masters(6);
    world_kill(&w, 0);
    for (size_t i = 0; i < 4; i++)
        node_kill(&w, gone[i]);
    world_run(&w, 5000);
    world_start(&w, 1);
    world_run(&w, 20000);
    assert_int_equal(w.hooks, 0);
    assert_true(find_record(&w, "m1:1", FAILOVER_HELD, &r));
    assert_string_equal(r.cause, "mass");
}

/* One write each, by whichever coordinator; and none after that. */
static void each_seen_has_a_gate_written_once(void **state)
{
    struct process first = process_of(1001);
    struct gate gate;
    (void)state;
    world_start(&w, 1);
    masters(6);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_true(process_same(&gate.process, &first));
    assert_true(find_gate(&w, "m6:1", &gate));
    uint64_t before = memory_revision(w.store);
    world_run(&w, 20000);
    assert_int_equal(memory_revision(w.store), before);
    assert_false(logged(&w.c[0], "locked") || logged(&w.c[1], "locked"));
}

static void a_flap_is_none(void **state)
{
    struct process first = process_of(1001);
    struct gate gate;
    (void)state;
    w.conf.grace_ms = 5000;
    world_kill(&w, 0);
    world_start(&w, 0);
    masters(3);
    node_leave(&w, "m1:1");
    world_run(&w, 2000);
    node_start(&w, "m1:1", 1001);
    world_run(&w, 20000);
    assert_int_equal(w.hooks, 0);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_true(process_same(&gate.process, &first));
}

static void a_quick_restart_is_the_old_ones_failover(void **state)
{
    struct process fresh = process_of(2001);
    struct gate gate;
    (void)state;
    masters(3);
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 10000, one_done));
    assert_hooked_once("replaced", "m1:1 1001-1");
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN); /* the new one takes work */
    assert_true(process_same(&gate.process, &fresh));
}

static void a_later_restart_is_let_in_and_its_end_is_another(void **state)
{
    struct gate gate;
    (void)state;
    masters(4);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 10000, one_done));
    world_run(&w, 70000); /* beyond the brake's window */
    node_start(&w, "m1:1", 2001);
    world_run(&w, 5000);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    give(&w, "m1:1", 2001, "late", 2);
    node_kill(&w, "m1:1");
    world_run(&w, 15000);
    assert_int_equal(w.hooks, 2);
    assert_string_equal(w.hook_seen, "m1:1 2001-1");
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

/* Each process once, also those that lived between two of our steps. */
static void three_processes_in_a_row_are_three(void **state)
{
    struct process fresh = process_of(4001);
    struct gate gate;
    (void)state;
    masters(3);
    w.hook_lasts = true; /* the first one's failover takes its time */
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 10000, hook_runs));
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 3001);
    world_run(&w, 300);
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 4001);
    world_run(&w, 300);
    w.hook_lasts = false;
    end_hook(0);
    world_run(&w, 20000);
    assert_int_equal(w.hooks, 3);
    assert_int_equal(records(&w, FAILOVER_DONE), 3);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_true(process_same(&gate.process, &fresh));
    assert_int_equal(gate.n_past, 3);
}

static void a_pause_holds_it(void **state)
{
    struct settings s = {.paused = true};
    struct failover_record r;
    (void)state;
    masters(3);
    put_settings(&w, &s);
    world_run(&w, 1500);
    node_kill(&w, "m1:1");
    world_run(&w, 8000);
    assert_int_equal(w.hooks, 0);
    assert_true(find_record(&w, "m1:1", FAILOVER_HELD, &r));
    assert_string_equal(r.cause, "paused");
    assert_int_equal(r.process.startup_time, 1001);
    /* it stands in the registry: also for who has never seen the process */
    world_kill(&w, 0);
    world_start(&w, 1);
    world_run(&w, 5000);
    s.paused = false;
    put_settings(&w, &s);
    assert_true(world_until(&w, 10000, one_done));
    assert_hooked_once("down", "m1:1 1001-1");
}

static void a_held_one_that_comes_back_is_dropped(void **state)
{
    struct settings s = {.paused = true};
    (void)state;
    masters(3);
    put_settings(&w, &s);
    world_run(&w, 1500);
    node_kill(&w, "m1:1");
    world_run(&w, 8000);
    assert_int_equal(records(&w, FAILOVER_HELD), 1);
    node_start(&w, "m1:1", 1001);
    world_run(&w, 8000);
    assert_int_equal(records(&w, FAILOVER_ABORTED), 1);
    s.paused = false;
    put_settings(&w, &s);
    world_run(&w, 10000);
    assert_int_equal(w.hooks, 0);
}

static void a_mass_of_them_is_held(void **state)
{
    struct failover_record r;
    (void)state;
    masters(6);
    for (int i = 1; i <= 4; i++) {
        char address[16];
        (void)snprintf(address, sizeof(address), "m%d:1", i);
        node_kill(&w, address);
    }
    world_run(&w, 20000);
    assert_int_equal(w.hooks, 0);
    assert_true(find_record(&w, "m1:1", FAILOVER_HELD, &r));
    assert_string_equal(r.cause, "mass");
}

static void other_kinds_are_not_hooked_unless_it_is_said(void **state)
{
    struct gate gate;
    (void)state;
    world_close(&w);
    world_open_kind(&w, 0, NODE_WORKER);
    w.conf.hook = command;
    w.conf.hook_kinds = (struct conf_list){hook_kinds, 1};
    world_start(&w, 0);
    node_start_kind(&w, NODE_WORKER, "w1:1", 1001);
    node_start_kind(&w, NODE_WORKER, "w2:1", 1002);
    node_start_kind(&w, NODE_WORKER, "w3:1", 1003);
    world_run(&w, 3000);
    node_kill(&w, "w1:1");
    world_run(&w, 10000);
    assert_int_equal(w.hooks, 0);
    assert_false(find_gate(&w, "w1:1", &gate));
}

static void alert_servers_can_be(void **state)
{
    static char alert[] = "alert-server";
    static char *kinds[] = {alert};
    (void)state;
    world_close(&w);
    world_open_kind(&w, 0, NODE_ALERT_SERVER);
    w.conf.hook = command;
    w.conf.hook_kinds = (struct conf_list){kinds, 1};
    world_start(&w, 0);
    node_start_kind(&w, NODE_ALERT_SERVER, "a1:1", 1001);
    node_start_kind(&w, NODE_ALERT_SERVER, "a2:1", 1002);
    node_start_kind(&w, NODE_ALERT_SERVER, "a3:1", 1003);
    world_run(&w, 3000);
    node_kill(&w, "a1:1");
    assert_true(world_until(&w, 10000, one_done));
    assert_int_equal(w.hooks, 1);
    assert_string_equal(w.hook_seen, "a1:1 1001-1");
}

/* Another process under a second group hides that the first one goes. */
static void one_of_two_in_two_groups_is_hooked_when_it_goes(void **state)
{
    static char worker[] = "worker";
    static char *kinds[] = {worker};
    (void)state;
    world_close(&w);
    world_open_kind(&w, 0, NODE_WORKER);
    w.conf.hook = command;
    w.conf.hook_kinds = (struct conf_list){kinds, 1};
    world_start(&w, 0);
    node_start_kind(&w, NODE_WORKER, "w2:1", 1002);
    node_start_kind(&w, NODE_WORKER, "w3:1", 1003);
    world_run(&w, 3000);
    node_start_at(&w, NODE_WORKER, "w1:1", 1001, "/nodes/worker/gpu/w1:1");
    node_start_at(&w, NODE_WORKER, "w1:1", 2001, "/nodes/worker/cpu/w1:1");
    world_run(&w, 10000);
    assert_int_equal(w.hooks, 0);
    node_leave(&w, "w1:1"); /* the first */
    assert_true(world_until(&w, 20000, one_done));
    world_run(&w, 10000);
    assert_int_equal(w.hooks, 1);
    assert_string_equal(w.hook_seen, "w1:1 1001-1");
}

static void without_a_hook_nothing_is_written(void **state)
{
    struct gate gate;
    (void)state;
    world_kill(&w, 0);
    w.conf.hook = NULL;
    world_start(&w, 0);
    masters(3);
    uint64_t before = memory_revision(w.store);
    node_kill(&w, "m1:1");
    world_run(&w, 15000);
    assert_false(find_gate(&w, "m1:1", &gate));
    assert_int_equal(records(&w, FAILOVER_DONE), 0);
    assert_true(memory_revision(w.store) <= before + 1); /* its key went */
}

/* --- orders for them ----------------------------------------------------- */

static char answered[32];

static void on_answer(void *arg, const struct engine_reply *reply)
{
    (void)arg;
    (void)snprintf(answered, sizeof(answered), "%s",
                   reply->code != PROBLEM_NONE ? problem_code(reply->code)
                                               : "accepted");
}

static const char *order(const char *address, bool dry_run, bool force)
{
    struct engine_order o = {
        .address = address, .dry_run = dry_run, .force = force, .who = "ada"};
    answered[0] = '\0';
    engine_order(w.c[0].engine, &o, on_answer, NULL);
    for (int i = 0; i < 1000 && answered[0] == '\0'; i++)
        world_run(&w, 20);
    return answered;
}

static void a_person_can_order_it_without_a_hook(void **state)
{
    struct failover_record r;
    (void)state;
    world_kill(&w, 0);
    w.conf.hook = NULL;
    world_start(&w, 0);
    masters(3);
    assert_string_equal(order("m9:1", false, false), "not_found");
    assert_string_equal(order("m1:1", false, false), "alive");
    assert_string_equal(order("m1:1", true, false), "accepted");
    node_kill(&w, "m1:1");
    world_run(&w, 8000);
    assert_int_equal(records(&w, FAILOVER_DONE), 0);
    assert_string_equal(order("m1:1", true, false), "accepted");
    assert_string_equal(order("m1:1", false, false), "accepted");
    assert_true(world_until(&w, 5000, one_done));
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.cause, "order");
    assert_int_equal(r.process.startup_time, 1001);
    assert_int_equal(r.hook_exit, -1);
}

static void force_fences_one_that_lives(void **state)
{
    struct gate gate;
    (void)state;
    masters(3);
    assert_string_equal(order("m1:1", false, true), "accepted");
    assert_true(world_until(&w, 8000, one_done));
    assert_hooked_once("forced", "m1:1 1001-1");
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_FENCED);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(a_hook_is_trusted_as_long_as_the_lock_is_proven),
        TEST(the_lock_is_kept_until_the_hook_has_ended),
        TEST(a_hook_ended_for_its_lock_counts_as_not_run),
        TEST(a_node_without_work_is_failed_over_once),
        TEST(three_coordinators_do_it_once),
        TEST(another_finishes_it),
        TEST(who_starts_later_finds_it),
        TEST(who_starts_later_finds_it_replaced),
        TEST(a_mass_that_nobody_saw_is_held),
        TEST(each_seen_has_a_gate_written_once),
        TEST(a_flap_is_none),
        TEST(a_quick_restart_is_the_old_ones_failover),
        TEST(a_later_restart_is_let_in_and_its_end_is_another),
        TEST(three_processes_in_a_row_are_three),
        TEST(a_pause_holds_it),
        TEST(a_held_one_that_comes_back_is_dropped),
        TEST(a_mass_of_them_is_held),
        TEST(other_kinds_are_not_hooked_unless_it_is_said),
        TEST(alert_servers_can_be),
        TEST(one_of_two_in_two_groups_is_hooked_when_it_goes),
        TEST(without_a_hook_nothing_is_written),
        TEST(a_person_can_order_it_without_a_hook),
        TEST(force_fences_one_that_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
