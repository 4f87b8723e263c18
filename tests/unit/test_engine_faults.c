/*
 * test_engine_faults.c - failovers that are interrupted: by a coordinator's
 * death, pause or lost session, by replies that never come, and by nodes that
 * come back in the worst moment. However it goes, every item moves once.
 */
#include "tests/unit/engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static struct world w;
static int stage;

static int open_two(void **state)
{
    (void)state;
    stage = 0;
    world_open(&w, 2);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    check_agreement(&w);
    world_close(&w);
    return 0;
}

static void slow(int64_t delay_ms)
{
    struct memory_faults f = {.delay_max_ms = delay_ms, .resync_ms = 500};
    memory_set_faults(w.store, &f);
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

/* Every item of m1 at another live master, at epoch 2, taken once. */
static void check_moved_once(size_t n)
{
    struct work_item item;
    char id[32];
    assert_int_equal(owned_by(&w, "m2:1") + owned_by(&w, "m3:1"), n);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(id, sizeof(id), "a-%zu", i);
        assert_true(find_item(&w, id, &item));
        assert_int_equal(item.epoch, 2);
        assert_int_equal(item.n_history, 1);
    }
}

static size_t with_phase(enum failover_phase phase)
{
    return records(&w, phase);
}

/* --- a coordinator dies, at each of the worst lines ---------------------- */

static void kill_after_intent(struct world *world)
{
    if (stage == 0 && with_phase(FAILOVER_INTENT) > 0) {
        stage = 1;
        world_kill(world, 0);
    }
}

static void kill_when_moving(struct world *world)
{
    if (stage == 0 && with_phase(FAILOVER_MOVING) > 0) {
        stage = 1;
        world_kill(world, 0);
    }
}

static size_t still_at_m1(struct world *world)
{
    return owned_by(world, "m1:1");
}

static void kill_mid_move(struct world *world)
{
    size_t left = still_at_m1(world);
    if (stage == 0 && left < 600 && left > 0) {
        stage = 1;
        world_kill(world, 0);
    }
}

static void other_finishes(size_t n, void (*between)(struct world *))
{
    struct failover_record r;
    three_masters();
    give(&w, "m1:1", 1001, "a", n);
    slow(30);
    w.between = between;
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 20000, one_done));
    assert_int_equal(stage, 1);
    check_moved_once(n);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.coordinator, "c1:7077");
    assert_int_equal(r.resumed, 1);
    assert_int_equal(r.moved, n);
    assert_true(logged(&w.c[1], "resumed:m1:1"));
}

static void killed_after_intent_the_other_finishes(void **state)
{
    (void)state;
    other_finishes(20, kill_after_intent);
}

static void killed_before_the_first_batch_the_other_finishes(void **state)
{
    (void)state;
    other_finishes(20, kill_when_moving);
}

static void killed_in_the_middle_the_other_finishes(void **state)
{
    (void)state;
    other_finishes(900, kill_mid_move);
}

/* --- a coordinator is paused and comes back late ------------------------- */

static void freeze_mid_move(struct world *world)
{
    size_t left = still_at_m1(world);
    if (stage == 0 && left < 600 && left > 0) {
        stage = 1;
        memory_freeze(world->c[0].registry);
        world->c[0].frozen = true;
    }
}

static void frozen_for_three_timeouts_its_late_writes_are_refused(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 900);
    slow(30);
    w.between = freeze_mid_move;
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 20000, one_done));
    assert_int_equal(stage, 1);
    world_run(&w, 3 * WORLD_SESSION_MS);
    w.c[0].frozen = false;
    memory_thaw(w.c[0].registry);
    world_run(&w, 5000);
    check_moved_once(900);
    assert_true(logged(&w.c[0], "lock-lost"));
    assert_int_equal(with_phase(FAILOVER_DONE), 1);
}

static void expire_mid_move(struct world *world)
{
    size_t left = still_at_m1(world);
    if (stage == 0 && left < 600 && left > 0) {
        stage = 1;
        memory_expire(world->c[0].registry);
    }
}

static void a_lost_session_lets_go_and_somebody_finishes(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 900);
    slow(30);
    w.between = expire_mid_move;
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 20000, one_done));
    assert_int_equal(stage, 1);
    check_moved_once(900);
}

/* --- replies that never come --------------------------------------------- */

static void unknown_outcomes_are_read_back_and_counted_once(void **state)
{
    struct failover_record r;
    struct memory_faults f = {
        .delay_max_ms = 20, .resync_ms = 500, .unknown_share = 0.3};
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 400);
    memory_set_faults(w.store, &f);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 60000, one_done));
    slow(5);
    world_run(&w, 2000);
    check_moved_once(400);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_int_equal(r.moved, 400);
}

static void unavailable_calls_are_tried_again(void **state)
{
    struct memory_faults f = {
        .delay_max_ms = 20, .resync_ms = 500, .unavailable_share = 0.05};
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 50);
    memory_set_faults(w.store, &f);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 120000, one_done));
    slow(5);
    world_run(&w, 2000);
    check_moved_once(50);
}

/* --- a node comes back in the worst moment ------------------------------- */

static void back_after_intent(struct world *world)
{
    /* it is told of its INTENT, and reads again, when that one is back */
    if (stage == 0 &&
        strcmp(engine_state_name(world->c[0].engine), "intent") == 0) {
        stage = 1;
        memory_freeze(world->c[0].registry);
        (void)memory_run(world->store, world->clock.mono + 100);
        assert_int_equal(with_phase(FAILOVER_INTENT), 1);
        node_start(world, "m1:1", 1001);
        memory_thaw(world->c[0].registry);
    }
}

static void back_between_intent_and_verify_it_keeps_all_its_work(void **state)
{
    struct failover_record r;
    struct gate gate;
    struct process p = process_of(1001);
    (void)state;
    world_kill(&w, 1);
    three_masters();
    give(&w, "m1:1", 1001, "a", 5);
    slow(30);
    w.between = back_after_intent;
    node_leave(&w, "m1:1");
    world_run(&w, 5000);
    assert_int_equal(stage, 1);
    assert_int_equal(owned_by(&w, "m1:1"), 5);
    assert_true(logged(&w.c[0], "taken-back:m1:1"));
    assert_true(find_record(&w, "m1:1", FAILOVER_ABORTED, &r));
    assert_int_equal(r.moved, 0);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_OPEN);
    assert_true(gate_takes(&gate, &p));
    /* and its later death is an ordinary one */
    w.between = NULL;
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 8000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

static void a_target_that_dies_meanwhile_gets_nothing_more(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 600);
    give(&w, "m2:1", 1002, "b", 1);
    slow(20);
    node_kill(&w, "m1:1");
    node_kill(&w, "m2:1");
    world_run(&w, 15000);
    assert_int_equal(owned_by(&w, "m3:1"), 601);
    assert_int_equal(with_phase(FAILOVER_DONE), 2);
}

/* --- a person closes a target in the worst moment ------------------------ */

#define CLOSE_STEPS 44 /* beyond the last batch */

static int close_at; /* how many steps after `moving` stands */

static void close_target(struct world *world)
{
    struct gate gate;
    if (with_phase(FAILOVER_MOVING) == 0 || stage++ != close_at)
        return;
    assert_true(find_gate(world, "m2:1", &gate));
    gate.state = GATE_DRAINING;
    gate.for_ms = 3600000;
    put_gate(world, "m2:1", &gate);
}

static size_t given_to_closed;

static void check_target(void *arg, uint64_t writer,
                         const struct registry_entry *before,
                         const struct registry_entry *after)
{
    struct work_item item;
    struct gate gate;
    (void)arg;
    (void)writer;
    if (before == NULL || after == NULL ||
        !registry_key_below(after->key, WORK_PREFIX))
        return;
    assert_int_equal(
        work_item_read(&item, after->value, after->value_len, NULL), 0);
    /* counted, not asserted: the store is in the middle of its own work */
    if (item.state == WORK_ASSIGNED && (!find_gate(&w, item.owner, &gate) ||
                                        !gate_takes(&gate, &item.process)))
        given_to_closed++;
    work_item_close(&item);
}

static void a_gate_that_closes_meanwhile_gets_nothing_more(void **state)
{
    (void)state;
    for (close_at = 0; close_at < CLOSE_STEPS; close_at++) {
        if (close_at > 0)
            world_open(&w, 2);
        three_masters();
        give(&w, "m1:1", 1001, "a", 100);
        give(&w, "m2:1", 1002, "b", 1);
        stage = 0;
        given_to_closed = 0;
        slow(80);
        memory_on_write(w.store, check_target, NULL);
        w.between = close_target;
        node_leave(&w, "m1:1");
        assert_true(world_until(&w, 20000, one_done));
        assert_int_equal(given_to_closed, 0);
        assert_int_equal(owned_by(&w, "m2:1") + owned_by(&w, "m3:1"), 101);
        /* planned again, an item counts for nobody else any more */
        assert_int_equal(w.c[0].counted + w.c[1].counted, 100);
        check_agreement(&w);
        if (close_at < CLOSE_STEPS - 1)
            world_close(&w);
    }
}

static bool finished(struct world *world)
{
    return still_at_m1(world) == 0;
}

/* The owner's `done` wins or loses as a whole, whenever it comes. */
static void finish_some(struct world *world)
{
    struct work_item item;
    char id[32];
    if (stage >= 40)
        return;
    (void)snprintf(id, sizeof(id), "a-%d", stage++);
    if (!find_item(world, id, &item) || item.state != WORK_ASSIGNED ||
        item.epoch != 1)
        return;
    char key[REGISTRY_KEY_MAX + 1], mkey[REGISTRY_KEY_MAX + 1];
    struct buf b;
    const struct registry_entry *m = memory_find(
        world->store, work_marker_key(NODE_MASTER, "m1:1", id, mkey));
    assert_non_null(m);
    buf_init(&b, 4096);
    item.state = WORK_DONE;
    item.finished_at = world->clock.wall;
    work_item_write(&b, &item);
    struct registry_op ops[2] = {
        {.type = REGISTRY_PUT,
         .expect = REGISTRY_VERSION,
         .version = item.version,
         .key = work_key(id, key),
         .value = buf_text(&b),
         .value_len = b.len},
        {.type = REGISTRY_DELETE,
         .expect = REGISTRY_VERSION,
         .version = m->version,
         .key = mkey},
    };
    registry_txn(world->admin, ops, 2, (registry_reply_f *)world->user, NULL);
    buf_close(&b);
}

static void ignore(void *arg, const struct registry_reply *reply)
{
    (void)arg;
    (void)reply;
}

static void work_finished_meanwhile_stays_finished(void **state)
{
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 200);
    slow(20);
    node_leave(&w, "m1:1");
    world_run(&w, 160);
    w.user = (void *)(uintptr_t)ignore;
    w.between = finish_some;
    assert_true(world_until(&w, 8000, finished));
    world_run(&w, 2000);
    size_t done = in_state(&w, WORK_DONE);
    assert_true(done > 0);
    assert_int_equal(owned_by(&w, "m2:1") + owned_by(&w, "m3:1"), 200 - done);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_two, close_world)
    const struct CMUnitTest tests[] = {
        TEST(killed_after_intent_the_other_finishes),
        TEST(killed_before_the_first_batch_the_other_finishes),
        TEST(killed_in_the_middle_the_other_finishes),
        TEST(frozen_for_three_timeouts_its_late_writes_are_refused),
        TEST(a_lost_session_lets_go_and_somebody_finishes),
        TEST(unknown_outcomes_are_read_back_and_counted_once),
        TEST(unavailable_calls_are_tried_again),
        TEST(back_between_intent_and_verify_it_keeps_all_its_work),
        TEST(a_target_that_dies_meanwhile_gets_nothing_more),
        TEST(a_gate_that_closes_meanwhile_gets_nothing_more),
        TEST(work_finished_meanwhile_stays_finished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
