/*
 * test_engine_rules.c - what must hold over time and across coordinators: who
 * may act, from when a deadline counts, what is kept and for how long.
 */
#include "cluster/renewals/taken.h"
#include "tests/unit/engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static struct world w;
static int stage;

static int open_world(void **state)
{
    (void)state;
    stage = 0;
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

static void three_masters(void)
{
    node_start(&w, "m1:1", 1001);
    node_start(&w, "m2:1", 1002);
    node_start(&w, "m3:1", 1003);
    world_run(&w, 1000);
}

static bool in_phase(const char *address, enum failover_phase phase,
                     const char *cause)
{
    struct failover_record r;
    return find_record(&w, address, phase, &r) && strcmp(r.cause, cause) == 0;
}

/* --- who may act --------------------------------------------------------- */

static void while_suspended_it_only_observes(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 5);
    node_leave(&w, "m1:1"); /* told, and the grace begins */
    world_run(&w, 100);
    memory_cut(w.c[0].registry);
    world_run(&w, 5000);
    assert_string_equal(engine_state_name(w.c[0].engine), "idle");
    assert_false(engine_holds_lock(w.c[0].engine, NULL));
    assert_int_equal(owned_by(&w, "m1:1"), 5);
    assert_int_equal(records(&w, FAILOVER_INTENT), 0);
    memory_heal(w.c[0].registry);
    assert_true(world_until(&w, 8000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

static bool held_for_the_session(struct world *world)
{
    (void)world;
    return in_phase("m1:1", FAILOVER_HELD, "session");
}

static void a_new_session_holds_until_it_is_settled(void **state)
{
    struct settings s = {.paused = true};
    (void)state;
    world_kill(&w, 0);
    w.conf.settle_ms = 4000;
    world_start(&w, 0);
    three_masters();
    give(&w, "m1:1", 1001, "a", 3);
    world_run(&w, 4000);
    put_settings(&w, &s);
    node_leave(&w, "m1:1");
    world_run(&w, 3000);
    assert_true(in_phase("m1:1", FAILOVER_HELD, "paused"));
    memory_expire(w.c[0].registry);
    s.paused = false;
    put_settings(&w, &s);
    assert_true(world_until(&w, 4000, held_for_the_session));
    assert_int_equal(owned_by(&w, "m1:1"), 3);
    assert_true(world_until(&w, 8000, one_done)); /* lifted by itself */
    assert_int_equal(records(&w, FAILOVER_HELD), 0);
    assert_true(logged(&w.c[0], "lifted:m1:1:session"));
}

static void a_pause_ends_at_its_time(void **state)
{
    struct settings s = {.paused = true};
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 3);
    s.paused_until = w.clock.wall + 6000;
    put_settings(&w, &s);
    node_leave(&w, "m1:1");
    world_run(&w, 5000);
    assert_int_equal(owned_by(&w, "m1:1"), 3);
    assert_true(world_until(&w, 4000, one_done));
}

static void on_order(void *arg, const struct engine_reply *reply)
{
    bool *accepted = arg;
    *accepted = reply->code == PROBLEM_NONE;
}

/* It goes on to register and to report, and gets nothing: only a new process
 * at its address does. */
static void a_live_node_that_was_forced_out_stays_out(void **state)
{
    struct engine_order o = {.address = "m1:1", .force = true, .who = "ada"};
    struct process old = process_of(1001), new = process_of(2001);
    struct gate gate;
    bool accepted = false;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 6);
    engine_order(w.c[0].engine, &o, on_order, &accepted);
    assert_true(world_until(&w, 4000, one_done));
    assert_true(accepted);
    world_run(&w, 10000);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_FENCED);
    assert_true(process_same(&gate.process, &old));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    assert_int_equal(records(&w, FAILOVER_DONE), 1);
    assert_int_equal(
        membership_find(w.c[0].membership, NODE_MASTER, "m1:1")->state,
        NODE_FENCED);
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 2001);
    world_run(&w, 3000);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_true(gate_takes(&gate, &new));
    assert_true(gate_bars(&gate, &old));
}

/* Nobody looked while they went: their gates say that they are missing. */
static void the_brake_sees_who_is_missing_at_the_start(void **state)
{
    struct failover_record r;
    (void)state;
    world_kill(&w, 0);
    node_start(&w, "m5:1", 1005);
    node_start(&w, "m6:1", 1006);
    give(&w, "m1:1", 1001, "a", 2);
    give(&w, "m2:1", 1002, "b", 2);
    give(&w, "m3:1", 1003, "c", 2);
    world_start(&w, 1);
    world_run(&w, 10000);
    assert_true(find_record(&w, "m2:1", FAILOVER_HELD, &r));
    assert_string_equal(r.cause, "mass");
    assert_int_equal(records(&w, FAILOVER_HELD), 3);
    assert_int_equal(in_state(&w, WORK_ASSIGNED), 6);
    assert_int_equal(owned_by(&w, "m5:1") + owned_by(&w, "m6:1"), 0);
    node_start(&w, "m1:1", 1001);
    node_start(&w, "m3:1", 1003);
    assert_true(world_until(&w, 8000, one_done)); /* of m2 */
    assert_int_equal(owned_by(&w, "m2:1"), 0);
}

/* --- from when a deadline counts ----------------------------------------- */

static void drain(const char *address, int64_t for_ms)
{
    struct gate gate;
    assert_true(find_gate(&w, address, &gate));
    gate.state = GATE_DRAINING;
    gate.for_ms = for_ms;
    (void)snprintf(gate.who, sizeof(gate.who), "ada");
    put_gate(&w, address, &gate);
}

static void a_cordon_beside_a_drain_does_not_put_off_its_deadline(void **state)
{
    struct gate gate;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 4);
    drain("m1:1", 4000);
    world_run(&w, 3000);
    assert_true(find_gate(&w, "m1:1", &gate));
    gate.cordoned = true;
    put_gate(&w, "m1:1", &gate);
    assert_true(world_until(&w, 3000, one_done));
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_true(gate.cordoned);
}

static void a_drain_said_again_begins_anew(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 4);
    drain("m1:1", 4000);
    world_run(&w, 3000);
    drain("m1:1", 4000);
    world_run(&w, 3500);
    assert_int_equal(owned_by(&w, "m1:1"), 4);
    assert_true(world_until(&w, 3000, one_done));
}

static void a_coordinator_counts_a_deadline_from_when_it_saw_it(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 4);
    drain("m1:1", 6000);
    world_run(&w, 5000);
    world_kill(&w, 0);
    world_start(&w, 1);
    world_run(&w, 5500);
    assert_int_equal(owned_by(&w, "m1:1"), 4); /* not by the clock of c0 */
    assert_true(world_until(&w, 4000, one_done));
}

/* --- the past ------------------------------------------------------------ */

/* Work of the process that would fall out of a full past is not forgotten. */
static void the_oldest_of_a_full_past_leaves_nothing_behind(void **state)
{
    struct gate gate;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 2);
    assert_true(find_gate(&w, "m1:1", &gate));
    for (int i = 0; i < GATE_PAST_MAX; i++) {
        struct process p = process_of(9001 + i);
        gate_retire(&gate, &p);
    }
    memory_freeze(w.c[0].registry); /* it sees all of it at once */
    w.c[0].frozen = true;
    put_gate(&w, "m1:1", &gate);
    give(&w, "m1:1", 9001, "oldest", 3);
    node_leave(&w, "m1:1");
    node_start(&w, "m1:1", 2001);
    w.c[0].frozen = false;
    memory_thaw(w.c[0].registry);
    world_run(&w, 8000);
    for (int i = 0; i < 3; i++) {
        struct work_item item;
        struct process oldest = process_of(9001);
        char id[16];
        (void)snprintf(id, sizeof(id), "oldest-%d", i);
        assert_true(find_item(&w, id, &item));
        assert_int_equal(item.epoch, 2);
        assert_false(process_same(&item.process, &oldest));
    }
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_true(gate.process.startup_time == 2001);
}

/* A record is closed by whoever wrote it, even if no event told of it yet. */
static void a_record_is_closed_before_any_event_tells_of_it(void **state)
{
    struct memory_faults deaf = {.event_drop_share = 1.0, .resync_ms = 5000};
    struct process old = process_of(9001);
    struct gate gate;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 1);
    assert_true(find_gate(&w, "m1:1", &gate));
    gate_retire(&gate, &old);
    w.c[0].frozen = true;
    put_gate(&w, "m1:1", &gate);
    give(&w, "m1:1", 9001, "old", 2);
    world_run(&w, 200);
    memory_set_faults(w.store, &deaf);
    w.c[0].frozen = false;
    assert_true(world_until(&w, 1500, one_done));
    assert_true(in_phase("m1:1", FAILOVER_DONE, "reconcile"));
}

/* --- what nobody can read ------------------------------------------------ */

static void ignore(void *arg, const struct registry_reply *reply)
{
    (void)arg;
    assert_int_equal(reply->err.code, ERR_OK);
}

static void put_raw(const char *key, const char *value)
{
    registry_put(w.admin, key, value, strlen(value), REGISTRY_ANY, 0, false,
                 ignore, NULL);
    world_run(&w, 40);
}

static void a_damaged_item_strands_no_other_and_moves_once_repaired(void **s)
{
    struct work_item whole, item;
    (void)s;
    three_masters();
    give(&w, "m1:1", 1001, "a", 5);
    assert_true(find_item(&w, "a-2", &whole));
    put_raw("/pelorus/work/a-2", "not an item");
    node_leave(&w, "m1:1");
    world_run(&w, 4000);
    assert_int_equal(records(&w, FAILOVER_DONE), 1);
    world_run(&w, 3000);
    put_item(&w, &whole);
    world_run(&w, 4000);
    assert_true(find_item(&w, "a-2", &item));
    assert_int_equal(item.epoch, 2);
    assert_string_not_equal(item.owner, "m1:1");
    assert_int_equal(owned_by(&w, "m2:1") + owned_by(&w, "m3:1"), 5);
}

static void a_gate_that_nobody_can_read_is_left_alone(void **state)
{
    struct gate whole;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 2);
    give(&w, "m2:1", 1002, "b", 2);
    assert_true(find_gate(&w, "m1:1", &whole));
    put_raw("/pelorus/owners/master/m1:1", "{\"state\":\"ajar\"}");
    node_leave(&w, "m1:1");
    node_leave(&w, "m2:1"); /* the others are seen to */
    world_run(&w, 6000);
    assert_int_equal(owned_by(&w, "m1:1"), 2);
    assert_int_equal(owned_by(&w, "m3:1"), 2);
    put_gate(&w, "m1:1", &whole);
    world_run(&w, 4000);
    assert_int_equal(owned_by(&w, "m3:1"), 4);
}

static bool find_taken(struct taken *out)
{
    const struct registry_entry *e = memory_find(w.store, TAKEN_KEY);
    return e != NULL && taken_read(out, e->value, e->value_len, NULL) == 0;
}

static void whose_work_is_taken_is_named_once(void **state)
{
    struct taken t;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 2);
    assert_false(find_taken(&t));
    node_leave(&w, "m1:1");
    assert_true(world_until(&w, 8000, one_done));
    assert_true(find_taken(&t));
    assert_int_equal(t.named, 1); /* by INTENT alone */
    assert_true(taken_names(&t, 0, NODE_MASTER, "m1:1"));
    assert_false(taken_names(&t, 0, NODE_MASTER, "m2:1"));
    assert_false(t.grouped);
}

static void who_was_named_and_the_mode_are_kept(void **state)
{
    struct taken t;
    struct buf b;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 2);
    taken_init(&t);
    t.grouped = true;
    taken_raise(&t, NODE_WORKER, "w:1");
    buf_init(&b, TAKEN_BYTES_MAX);
    taken_write(&b, &t);
    registry_put(w.admin, TAKEN_KEY, buf_text(&b), b.len, REGISTRY_ANY, 0,
                 false, ignore, NULL);
    world_run(&w, 40);
    buf_close(&b);
    node_leave(&w, "m1:1");
    assert_true(world_until(&w, 8000, one_done));
    assert_true(find_taken(&t));
    assert_int_equal(t.named, 2);
    assert_true(t.grouped);
    assert_true(taken_names(&t, 1, NODE_MASTER, "m1:1"));
    assert_true(taken_names(&t, 0, NODE_WORKER, "w:1"));
    assert_false(taken_names(&t, 1, NODE_WORKER, "w:1"));
}

/* No failover waits for a person; everybody has to be looked at again. */
static void what_nobody_can_read_of_who_was_named_is_written_anew(void **state)
{
    struct taken t;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 2);
    put_raw(TAKEN_KEY, "?");
    node_leave(&w, "m1:1");
    assert_true(world_until(&w, 8000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    assert_true(find_taken(&t));
    assert_false(t.grouped);
    assert_true(taken_names(&t, 7, NODE_WORKER, "w:1"));
}

/* --- groups, the hook ---------------------------------------------------- */

static void put_waiting(const char *id, const char *group)
{
    struct work_item item;
    memset(&item, 0, sizeof(item));
    (void)snprintf(item.id, sizeof(item.id), "%s", id);
    (void)snprintf(item.group, sizeof(item.group), "%s", group);
    item.kind = NODE_MASTER;
    item.state = WORK_WAITING;
    item.epoch = 2;
    put_item(&w, &item);
}

/* An item whose group has nobody does not stand in the way of the others. */
static void waiting_work_goes_by_its_own_group(void **state)
{
    struct work_item item;
    (void)state;
    w.closed_group = "gpu";
    for (int i = 0; i < 3; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "gpu-%d", i);
        put_waiting(id, "gpu");
        (void)snprintf(id, sizeof(id), "x-%d", i);
        put_waiting(id, "default");
    }
    three_masters();
    world_run(&w, 3000);
    assert_int_equal(in_state(&w, WORK_WAITING), 3);
    assert_true(find_item(&w, "gpu-1", &item));
    assert_int_equal(item.epoch, 2);
    assert_true(find_item(&w, "x-1", &item));
    assert_int_equal(item.state, WORK_ASSIGNED);
    assert_int_equal(item.epoch, 3);
    w.closed_group = NULL;
    world_run(&w, 3000);
    assert_int_equal(in_state(&w, WORK_WAITING), 0);
}

/* --- the floor ----------------------------------------------------------- */

static void put_floor(const char *text)
{
    struct buf b;
    buf_init(&b, 64);
    buf_str(&b, text);
    put_key(&w, EPOCH_FLOOR_KEY, &b);
    buf_close(&b);
}

static uint64_t epoch_of(const char *id)
{
    struct work_item item;
    assert_true(find_item(&w, id, &item));
    return item.epoch;
}

static bool two_done(struct world *world)
{
    return records(world, FAILOVER_DONE) == 2;
}

static void no_epoch_is_given_below_the_floor(void **state)
{
    (void)state;
    w.closed_group = "gpu";
    put_waiting("waits", "gpu");
    three_masters();
    give(&w, "m1:1", 1001, "a", 3);
    give_policy(&w, "m1:1", 1001, "hold", WORK_HOLD);
    give_policy(&w, "m1:1", 1001, "drop", WORK_DROP);
    give(&w, "m2:1", 1002, "b", 3);
    put_floor("5000");
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 6000, one_done));
    assert_int_equal(epoch_of("a-1"), 5001);
    assert_int_equal(epoch_of("hold"), 5001);
    assert_int_equal(epoch_of("drop"), 1); /* nobody is given it */
    assert_int_equal(epoch_of("b-1"), 1);
    put_floor("6000"); /* each hold reads it */
    w.closed_group = NULL;
    world_run(&w, 3000);
    assert_int_equal(epoch_of("waits"), 6001);
    node_leave(&w, "m2:1");
    node_start(&w, "m2:1", 2002);
    assert_true(world_until(&w, 6000, two_done));
    assert_int_equal(epoch_of("b-1"), 6001);
}

/* An epoch that may have been had already is not given: neither without a
 * floor that can be read, nor where none is left above it. */
static void nothing_moves_without_an_epoch_to_give(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 3);
    put_floor("many");
    node_kill(&w, "m1:1");
    world_run(&w, 6000);
    assert_int_equal(owned_by(&w, "m1:1"), 3);
    put_floor("9223372036854775808");
    world_run(&w, 6000);
    assert_int_equal(owned_by(&w, "m1:1"), 3);
    put_floor("7");
    assert_true(world_until(&w, 6000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    assert_int_equal(epoch_of("a-0"), 8);
}

static void kill_after_the_hook(struct world *world)
{
    struct failover_record r;
    if (stage == 0 && find_record(world, "m1:1", FAILOVER_MOVING, &r) &&
        r.hook_exit >= 0) {
        stage = 1;
        world_kill(world, 0);
    }
}

static void a_hook_in_the_record_is_not_run_by_the_next_holder(void **state)
{
    static char command[] = "tell-the-database";
    struct memory_faults slow = {.delay_max_ms = 30, .resync_ms = 500};
    struct failover_record r;
    (void)state;
    world_kill(&w, 0);
    w.conf.hook = command;
    world_start(&w, 0);
    world_start(&w, 1);
    three_masters();
    give(&w, "m1:1", 1001, "a", 40);
    memory_set_faults(w.store, &slow);
    w.between = kill_after_the_hook;
    node_leave(&w, "m1:1");
    assert_true(world_until(&w, 20000, one_done));
    assert_int_equal(stage, 1);
    assert_int_equal(w.hooks, 1);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.coordinator, "c1:7077");
    assert_string_equal(r.hook_tail, "said so");
}

/* --- what is kept -------------------------------------------------------- */

static void finished(const char *prefix, size_t n)
{
    struct work_item item;
    for (size_t i = 0; i < n; i++) {
        memset(&item, 0, sizeof(item));
        (void)snprintf(item.id, sizeof(item.id), "%s-%zu", prefix, i);
        (void)snprintf(item.group, sizeof(item.group), "default");
        (void)snprintf(item.owner, sizeof(item.owner), "m1:1");
        item.kind = NODE_MASTER;
        item.state = WORK_DONE;
        item.epoch = 1 + i;
        item.finished_at = w.clock.wall;
        put_item(&w, &item);
    }
}

/* From when its record says that it ended: one that restarts again and again
 * would collect nothing. */
static void a_coordinator_that_starts_later_keeps_and_collects(void **state)
{
    (void)state;
    finished("d", 3);
    world_run(&w, 8000);
    world_kill(&w, 0);
    world_start(&w, 1);
    world_run(&w, 1500);
    assert_int_equal(in_state(&w, WORK_DONE), 3);
    world_run(&w, 10000); /* few: once in the interval */
    assert_int_equal(in_state(&w, WORK_DONE), 0);
}

static void collection_keeps_up_with_what_is_finished(void **state)
{
    (void)state;
    finished("d", 1500);
    world_run(&w, 10000); /* kept for 10 s */
    assert_true(in_state(&w, WORK_DONE) > 0);
    world_run(&w, 6000); /* all but what fills no txn */
    assert_in_range(in_state(&w, WORK_DONE), 0, 255);
    world_run(&w, 6000);
    assert_int_equal(in_state(&w, WORK_DONE), 0);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(while_suspended_it_only_observes),
        TEST(a_new_session_holds_until_it_is_settled),
        TEST(a_pause_ends_at_its_time),
        TEST(a_live_node_that_was_forced_out_stays_out),
        TEST(the_brake_sees_who_is_missing_at_the_start),
        TEST(a_cordon_beside_a_drain_does_not_put_off_its_deadline),
        TEST(a_drain_said_again_begins_anew),
        TEST(a_coordinator_counts_a_deadline_from_when_it_saw_it),
        TEST(the_oldest_of_a_full_past_leaves_nothing_behind),
        TEST(a_record_is_closed_before_any_event_tells_of_it),
        TEST(a_damaged_item_strands_no_other_and_moves_once_repaired),
        TEST(a_gate_that_nobody_can_read_is_left_alone),
        TEST(whose_work_is_taken_is_named_once),
        TEST(who_was_named_and_the_mode_are_kept),
        TEST(what_nobody_can_read_of_who_was_named_is_written_anew),
        TEST(waiting_work_goes_by_its_own_group),
        TEST(no_epoch_is_given_below_the_floor),
        TEST(nothing_moves_without_an_epoch_to_give),
        TEST(a_hook_in_the_record_is_not_run_by_the_next_holder),
        TEST(a_coordinator_that_starts_later_keeps_and_collects),
        TEST(collection_keeps_up_with_what_is_finished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
