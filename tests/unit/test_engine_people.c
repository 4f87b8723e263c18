/*
 * test_engine_people.c - what people order and what holds the engine back:
 * drains, restart leases, failovers by hand, dry runs, pause and the brake.
 * Long: each order is a story of its own.
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

static bool one_done(struct world *world)
{
    return records(world, FAILOVER_DONE) == 1;
}

static void masters(size_t n)
{
    char address[16];
    for (size_t i = 1; i <= n; i++) {
        (void)snprintf(address, sizeof(address), "m%zu:1", i);
        node_start(&w, address, (int64_t)(1000 + i));
    }
    world_run(&w, 1000);
}

/* --- drain and restart --------------------------------------------------- */

static void order_gate(const char *address, enum gate_state state,
                       int64_t for_ms)
{
    struct gate gate;
    assert_true(find_gate(&w, address, &gate));
    gate.state = state;
    gate.for_ms = for_ms;
    (void)snprintf(gate.who, sizeof(gate.who), "ada");
    (void)snprintf(gate.reason, sizeof(gate.reason), "new disk");
    put_gate(&w, address, &gate);
}

static void a_drain_moves_what_is_left_at_its_deadline(void **state)
{
    struct failover_record r;
    struct work_item item;
    (void)state;
    masters(3);
    give(&w, "m1:1", 1001, "a", 5);
    order_gate("m1:1", GATE_DRAINING, 3000);
    world_run(&w, 2500);
    assert_int_equal(owned_by(&w, "m1:1"), 5);
    assert_true(world_until(&w, 4000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.cause, "drain");
    assert_string_equal(r.who, "ada");
    assert_string_equal(r.reason, "new disk");
    assert_true(find_item(&w, "a-1", &item));
    assert_false(item.history[0].died); /* it lives; nobody's poison */
}

static void a_consumed_restart_lease_hands_the_work_to_the_heir(void **state)
{
    struct failover_record r;
    struct work_item item;
    struct gate gate;
    struct process heir = process_of(2001);
    (void)state;
    masters(3);
    give(&w, "m1:1", 1001, "a", 300);
    give_policy(&w, "m1:1", 1001, "hold", WORK_HOLD);
    order_gate("m1:1", GATE_RESTARTING, 60000);
    world_run(&w, 200);
    node_kill(&w, "m1:1");
    world_run(&w, 6000);
    assert_int_equal(owned_by(&w, "m1:1"), 301); /* the lease stands */
    assert_false(logged(&w.c[0], "intent"));
    node_start(&w, "m1:1", 2001);
    assert_true(world_until(&w, 6000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 301);
    assert_true(find_item(&w, "a-299", &item));
    assert_int_equal(item.epoch, 2);
    assert_true(process_same(&item.process, &heir));
    assert_false(item.history[0].died);
    assert_true(find_item(&w, "hold", &item));
    assert_int_equal(item.state, WORK_ASSIGNED);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.cause, "restart");
    assert_int_equal(r.moved, 301);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_true(process_same(&gate.process, &heir));
    assert_false(gate.heir_of.known); /* all is handed on */
}

static void a_restart_lease_that_is_over_opens_the_gate(void **state)
{
    struct gate gate;
    (void)state;
    masters(2);
    give(&w, "m1:1", 1001, "a", 3);
    order_gate("m1:1", GATE_RESTARTING, 1500);
    world_run(&w, 1200);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_RESTARTING);
    world_run(&w, 3000);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_string_equal(gate.who, "");
    assert_int_equal(owned_by(&w, "m1:1"), 3);
    assert_int_equal(records(&w, FAILOVER_DONE), 0);
}

static void a_lease_that_is_over_with_the_node_gone_is_a_failover(void **state)
{
    (void)state;
    masters(2);
    give(&w, "m1:1", 1001, "a", 3);
    order_gate("m1:1", GATE_RESTARTING, 4000);
    world_run(&w, 100);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 9000, one_done));
    assert_int_equal(owned_by(&w, "m2:1"), 3);
}

/* --- what holds back ----------------------------------------------------- */

static void a_pause_holds_and_its_end_lifts(void **state)
{
    struct failover_record r;
    struct settings s = {.paused = true};
    (void)state;
    masters(3);
    give(&w, "m1:1", 1001, "a", 3);
    put_settings(&w, &s);
    world_run(&w, 1500);
    node_kill(&w, "m1:1");
    world_run(&w, 6000);
    assert_true(find_record(&w, "m1:1", FAILOVER_HELD, &r));
    assert_string_equal(r.cause, "paused");
    assert_int_equal(owned_by(&w, "m1:1"), 3);
    assert_int_equal(records(&w, FAILOVER_HELD), 1);
    s.paused = false;
    put_settings(&w, &s);
    assert_true(world_until(&w, 6000, one_done));
    assert_int_equal(records(&w, FAILOVER_HELD), 0); /* the same record */
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    assert_true(logged(&w.c[0], "lifted:m1:1:paused"));
}

static void kill_four_of_six(void)
{
    masters(6);
    give(&w, "m1:1", 1001, "a", 3);
    give(&w, "m2:1", 1002, "b", 3);
    node_kill(&w, "m1:1");
    node_kill(&w, "m2:1");
    node_kill(&w, "m3:1");
    node_kill(&w, "m4:1");
    world_run(&w, 6000);
}

static void a_mass_disappearance_is_held_and_does_not_time_out(void **state)
{
    struct failover_record r;
    (void)state;
    kill_four_of_six();
    assert_true(find_record(&w, "m1:1", FAILOVER_HELD, &r));
    assert_string_equal(r.cause, "mass");
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_MASS);
    world_run(&w, 120000);
    assert_int_equal(owned_by(&w, "m1:1"), 3);
    assert_int_equal(owned_by(&w, "m2:1"), 3);
    assert_int_equal(records(&w, FAILOVER_HELD), 2);
}

static void a_held_failover_binds_a_coordinator_that_starts_later(void **state)
{
    (void)state;
    kill_four_of_six();
    world_kill(&w, 0);
    world_start(&w, 1);
    world_run(&w, 100000);
    assert_int_equal(owned_by(&w, "m1:1"), 3);
    assert_int_equal(records(&w, FAILOVER_HELD), 2);
}

static void the_mass_brake_lifts_when_enough_are_back(void **state)
{
    (void)state;
    kill_four_of_six();
    node_start(&w, "m2:1", 1002);
    node_start(&w, "m3:1", 1003);
    node_start(&w, "m4:1", 1004);
    assert_true(world_until(&w, 8000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    world_run(&w, 2000);
    assert_true(owned_by(&w, "m2:1") >= 3);             /* it keeps its own */
    assert_int_equal(records(&w, FAILOVER_ABORTED), 1); /* needless */
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE);
}

static void a_persons_override_lifts_the_mass_brake(void **state)
{
    struct settings s = {0};
    (void)state;
    kill_four_of_six();
    s.brake_override_until = w.clock.wall + 60000;
    put_settings(&w, &s);
    world_run(&w, 5000);
    assert_int_equal(owned_by(&w, "m1:1") + owned_by(&w, "m2:1"), 0);
    assert_int_equal(owned_by(&w, "m5:1") + owned_by(&w, "m6:1"), 6);
}

static void our_own_entry_in_doubt_holds(void **state)
{
    struct failover_record r;
    (void)state;
    masters(3);
    give(&w, "m1:1", 1001, "a", 3);
    engine_set_own_entry(w.c[0].engine, false);
    node_kill(&w, "m1:1");
    world_run(&w, 6000);
    assert_true(find_record(&w, "m1:1", FAILOVER_HELD, &r));
    assert_string_equal(r.cause, "own-entry");
    engine_set_own_entry(w.c[0].engine, true);
    assert_true(world_until(&w, 6000, one_done));
}

/* --- orders -------------------------------------------------------------- */

struct answer {
    bool here;
    char code[32], failover[64], etag[64];
    bool held;
    size_t n, moves;
    char first_target[64];
};

static void on_answer(void *arg, const struct engine_reply *reply)
{
    struct answer *a = arg;
    assert_false(a->here);
    a->here = true;
    (void)snprintf(a->code, sizeof(a->code), "%s", problem_code(reply->code));
    (void)snprintf(a->failover, sizeof(a->failover), "%s", reply->failover);
    a->held = reply->held;
    a->n = reply->n_plan;
    for (size_t i = 0; i < reply->n_plan; i++)
        a->moves += strcmp(reply->plan[i].action, "move") == 0;
    if (reply->n_plan > 0)
        (void)snprintf(a->first_target, sizeof(a->first_target), "%.63s",
                       reply->plan[0].target);
    if (reply->etag != NULL)
        (void)snprintf(a->etag, sizeof(a->etag), "%s", reply->etag);
}

static struct answer order(struct engine_order o)
{
    struct answer a = {0};
    o.who = "ada";
    o.reason = "by hand";
    engine_order(w.c[0].engine, &o, on_answer, &a);
    for (int i = 0; i < 1000 && !a.here; i++)
        world_run(&w, 20);
    assert_true(a.here);
    return a;
}

static void an_order_for_a_live_node_is_refused_unless_forced(void **state)
{
    struct failover_record r;
    (void)state;
    masters(3);
    give(&w, "m1:1", 1001, "a", 4);
    struct answer a = order((struct engine_order){.address = "m1:1"});
    assert_string_equal(a.code, "alive");
    a = order((struct engine_order){.address = "m1:1", .force = true});
    assert_string_equal(a.code, "");
    assert_true(a.failover[0] != '\0');
    assert_true(world_until(&w, 3000, one_done));
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.cause, "forced");
    assert_string_equal(r.who, "ada");
    assert_string_equal(r.id, a.failover);
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

static void an_order_does_not_wait_for_the_grace(void **state)
{
    struct failover_record r;
    (void)state;
    masters(3);
    w.conf.grace_ms = 3600000;
    world_kill(&w, 0);
    world_start(&w, 0);
    world_run(&w, 1000);
    give(&w, "m1:1", 1001, "a", 4);
    node_leave(&w, "m1:1");
    world_run(&w, 1000);
    assert_int_equal(owned_by(&w, "m1:1"), 4);
    struct answer a = order((struct engine_order){.address = "m1:1"});
    assert_string_equal(a.code, "");
    assert_true(world_until(&w, 3000, one_done));
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.cause, "order");
}

static void an_order_for_an_unknown_address_is_not_found(void **state)
{
    (void)state;
    masters(2);
    struct answer a = order((struct engine_order){.address = "m9:1"});
    assert_string_equal(a.code, "not_found");
    a = order((struct engine_order){.address = "m9:1", .dry_run = true});
    assert_string_equal(a.code, "not_found");
}

static void an_order_while_paused_is_accepted_and_held(void **state)
{
    struct settings s = {.paused = true};
    (void)state;
    masters(3);
    give(&w, "m1:1", 1001, "a", 4);
    put_settings(&w, &s);
    struct answer a =
        order((struct engine_order){.address = "m1:1", .force = true});
    assert_string_equal(a.code, "");
    assert_true(a.held);
    world_run(&w, 5000);
    assert_int_equal(owned_by(&w, "m1:1"), 4);
    s.paused = false;
    put_settings(&w, &s);
    assert_true(world_until(&w, 6000, one_done)); /* still a forced one */
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

static void a_dry_run_tells_the_plan_and_changes_nothing(void **state)
{
    (void)state;
    masters(3);
    give(&w, "m1:1", 1001, "a", 1200);
    give_policy(&w, "m1:1", 1001, "hold", WORK_HOLD);
    uint64_t before = memory_revision(w.store);
    struct answer a =
        order((struct engine_order){.address = "m1:1", .dry_run = true});
    assert_string_equal(a.code, "");
    assert_int_equal(a.n, 1201);
    assert_int_equal(a.moves, 1200);
    assert_true(a.first_target[0] == 'm');
    assert_int_equal(memory_revision(w.store), before);
    struct answer again =
        order((struct engine_order){.address = "m1:1", .dry_run = true});
    assert_string_equal(a.etag, again.etag);
}

static void if_match_applies_that_plan_and_no_other(void **state)
{
    (void)state;
    masters(3);
    give(&w, "m1:1", 1001, "a", 4);
    struct answer plan =
        order((struct engine_order){.address = "m1:1", .dry_run = true});
    give(&w, "m1:1", 1001, "late", 1);
    struct answer a = order((struct engine_order){
        .address = "m1:1", .force = true, .if_match = plan.etag});
    assert_string_equal(a.code, "plan_changed");
    assert_int_equal(a.n, 5); /* the plan as it is now */
    assert_int_equal(owned_by(&w, "m1:1"), 5);
    struct answer ok = order((struct engine_order){
        .address = "m1:1", .force = true, .if_match = a.etag});
    assert_string_equal(ok.code, "");
    assert_true(world_until(&w, 3000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

static void orders_end_when_the_registry_stays_away(void **state)
{
    struct answer a = {0};
    struct engine_order o = {.address = "m1:1", .who = "ada"};
    (void)state;
    masters(2);
    memory_cut(w.c[0].registry);
    world_run(&w, 3000);
    engine_order(w.c[0].engine, &o, on_answer, &a);
    assert_string_equal(a.code, "registry_unavailable");
    memory_heal(w.c[0].registry);
    world_run(&w, 3000);
    memory_cut(w.c[0].registry);
    memset(&a, 0, sizeof(a));
    engine_order(w.c[0].engine, &o, on_answer, &a);
    world_run(&w, 12000);
    assert_true(a.here);
    assert_string_equal(a.code, "registry_unavailable");
}

/* --- workers ------------------------------------------------------------- */

static int open_workers(void **state)
{
    (void)state;
    world_open_kind(&w, 1, NODE_WORKER);
    return 0;
}

static void a_worker_is_gone_when_its_last_group_key_is_gone(void **state)
{
    (void)state;
    node_start_at(&w, NODE_WORKER, "w1:1", 1001, "/nodes/worker/gpu/w1:1");
    node_start_at(&w, NODE_WORKER, "w1:1", 1001, "/nodes/worker/cpu/w1:1");
    node_start_kind(&w, NODE_WORKER, "w2:1", 1002);
    node_start_at(&w, NODE_WORKER, "w3:1", 1003, "/pelorus/nodes/worker/w3:1");
    world_run(&w, 1000);
    give(&w, "w1:1", 1001, "a", 4);
    node_leave(&w, "w1:1"); /* one of the two */
    world_run(&w, 3000);
    assert_int_equal(owned_by(&w, "w1:1"), 4);
    node_leave(&w, "w1:1");
    assert_true(world_until(&w, 6000, one_done));
    assert_int_equal(owned_by(&w, "w2:1"), 2);
    assert_int_equal(owned_by(&w, "w3:1"), 2);
}

static size_t times_locked(void)
{
    size_t n = 0;
    for (const char *at = w.c[0].log; (at = strstr(at, "locked:")) != NULL;
         at++)
        n += at == w.c[0].log || at[-1] != 'n'; /* "unlocked" */
    return n;
}

/* The owner lives under one group while another process has come up under a
 * second: nothing is to be done for as long as that lasts, and the lock is not
 * asked for to find that out. */
static void two_processes_in_two_groups_take_no_lock(void **state)
{
    (void)state;
    node_start_at(&w, NODE_WORKER, "w1:1", 1001, "/nodes/worker/gpu/w1:1");
    node_start_kind(&w, NODE_WORKER, "w2:1", 1002);
    node_start_kind(&w, NODE_WORKER, "w3:1", 1003);
    world_run(&w, 1000);
    give(&w, "w1:1", 1001, "a", 4);
    node_start_at(&w, NODE_WORKER, "w1:1", 2001, "/nodes/worker/cpu/w1:1");
    world_run(&w, 60000);
    assert_int_equal(times_locked(), 0);
    assert_int_equal(owned_by(&w, "w1:1"), 4);
    node_leave(&w, "w1:1"); /* the owner */
    assert_true(world_until(&w, 10000, one_done));
    assert_int_equal(times_locked(), 1);
    world_run(&w, 60000);
    assert_int_equal(times_locked(), 1);
}

/* An order trusts no cache: it finds the key below the group by itself. */
static void an_order_sees_a_worker_by_its_group_key(void **state)
{
    (void)state;
    node_start_at(&w, NODE_WORKER, "w1:1", 1001, "/nodes/worker/gpu/w1:1");
    world_run(&w, 1000);
    give(&w, "w1:1", 1001, "a", 4);
    struct answer a = order((struct engine_order){.address = "w1:1"});
    assert_string_equal(a.code, "alive");
}

/* Whatever the group is called, what membership sees the engine sees, too: it
 * is not failed over alive, and its next process is let in. */
static void a_worker_is_seen_below_every_group(void **state)
{
    static const char *const groups[] = {"a:b", "a.b:1", "10.0.0.9:99",
                                         "\xe7\xbb\x84", "a b"};
    const size_t n = sizeof(groups) / sizeof(groups[0]);
    char key[128], address[16], prefix[8];
    (void)state;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(address, sizeof(address), "w%zu:1", i);
        (void)snprintf(key, sizeof(key), "/nodes/worker/%s/%s", groups[i],
                       address);
        node_start_at(&w, NODE_WORKER, address, 1001, key);
    }
    world_run(&w, 1000);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(address, sizeof(address), "w%zu:1", i);
        (void)snprintf(prefix, sizeof(prefix), "i%zu", i);
        give(&w, address, 1001, prefix, 4);
        struct answer a = order((struct engine_order){.address = address});
        assert_string_equal(a.code, "alive");
    }
    for (size_t i = 0; i < n; i++) {
        struct gate gate;
        (void)snprintf(address, sizeof(address), "w%zu:1", i);
        (void)snprintf(key, sizeof(key), "/nodes/worker/%s/%s", groups[i],
                       address);
        node_leave(&w, address);
        node_start_at(&w, NODE_WORKER, address, 1002, key);
        world_run(&w, 3000);
        assert_true(find_gate(&w, address, &gate));
        assert_int_equal(gate.process.startup_time, 1002);
        assert_int_equal(gate.state, GATE_OPEN);
    }
    /* and nobody is looked at again and again */
    assert_int_equal(records(&w, FAILOVER_DONE), n);
    assert_true(engines_idle(&w));
}

/* And in whatever spelling of its IPv6 host it stands there. */
static void a_worker_is_seen_by_every_spelling(void **state)
{
    static const char *const keys[][2] = {
        {"[2001:db8::1]:1", "/nodes/worker/2001:db8::1:1"},
        {"[2001:db8::2]:1", "/nodes/worker/2001:db8:0:0:0:0:0:2:1"},
        {"[2001:db8::3]:1", "/nodes/worker/[2001:DB8::3]:1"},
        {"[2001:db8::4]:1", "/nodes/worker/gpu/2001:db8:0:0:0:0:0:4:1"},
        {"[2001:db8::5]:1", "/pelorus/nodes/worker/[2001:DB8:0::5]:1"},
    };
    const size_t n = sizeof(keys) / sizeof(keys[0]);
    char prefix[8];
    (void)state;
    for (size_t i = 0; i < n; i++)
        node_start_at(&w, NODE_WORKER, keys[i][0], 1001, keys[i][1]);
    world_run(&w, 1000);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(prefix, sizeof(prefix), "i%zu", i);
        give(&w, keys[i][0], 1001, prefix, 4);
        struct answer a = order((struct engine_order){.address = keys[i][0]});
        assert_string_equal(a.code, "alive");
        /* ordered by another one, too */
        a = order(
            (struct engine_order){.address = strrchr(keys[i][1], '/') + 1});
        assert_string_equal(a.code, "alive");
    }
    for (size_t i = 0; i < n; i++) {
        struct gate gate;
        node_leave(&w, keys[i][0]);
        node_start_at(&w, NODE_WORKER, keys[i][0], 1002, keys[i][1]);
        world_run(&w, 3000);
        assert_true(find_gate(&w, keys[i][0], &gate));
        assert_int_equal(gate.process.startup_time, 1002);
        assert_int_equal(gate.state, GATE_OPEN);
    }
    assert_int_equal(records(&w, FAILOVER_DONE), n);
    assert_true(engines_idle(&w));
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
#define WORKER(name)                                                           \
    cmocka_unit_test_setup_teardown(name, open_workers, close_world)
    const struct CMUnitTest tests[] = {
        TEST(a_drain_moves_what_is_left_at_its_deadline),
        TEST(a_consumed_restart_lease_hands_the_work_to_the_heir),
        TEST(a_restart_lease_that_is_over_opens_the_gate),
        TEST(a_lease_that_is_over_with_the_node_gone_is_a_failover),
        TEST(a_pause_holds_and_its_end_lifts),
        TEST(a_mass_disappearance_is_held_and_does_not_time_out),
        TEST(a_held_failover_binds_a_coordinator_that_starts_later),
        TEST(the_mass_brake_lifts_when_enough_are_back),
        TEST(a_persons_override_lifts_the_mass_brake),
        TEST(our_own_entry_in_doubt_holds),
        TEST(an_order_for_a_live_node_is_refused_unless_forced),
        TEST(an_order_does_not_wait_for_the_grace),
        TEST(an_order_for_an_unknown_address_is_not_found),
        TEST(an_order_while_paused_is_accepted_and_held),
        TEST(a_dry_run_tells_the_plan_and_changes_nothing),
        TEST(if_match_applies_that_plan_and_no_other),
        TEST(orders_end_when_the_registry_stays_away),
        WORKER(a_worker_is_gone_when_its_last_group_key_is_gone),
        WORKER(two_processes_in_two_groups_take_no_lock),
        WORKER(an_order_sees_a_worker_by_its_group_key),
        WORKER(a_worker_is_seen_below_every_group),
        WORKER(a_worker_is_seen_by_every_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
