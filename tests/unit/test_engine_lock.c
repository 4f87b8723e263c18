/*
 * test_engine_lock.c - for what the lock is taken, and how often: others queue
 * for it, and each grant is a write or more in the registry.
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

static void ignore(void *arg, const struct registry_reply *reply)
{
    (void)arg;
    assert_int_equal(reply->err.code, ERR_OK);
}

/* Its number, taken by somebody else: it grows with every grant. */
static void on_granted(void *arg, enum err_code code)
{
    bool *granted = arg;
    *granted = code == ERR_OK;
}

static void on_lost(void *arg)
{
    (void)arg;
}

static uint64_t fence(void)
{
    bool granted = false;
    uint64_t number;
    struct registry_lock *lock =
        registry_lock(w.admin, w.conf.master_lock, "me", 60000, on_granted,
                      on_lost, &granted);
    for (int i = 0; i < 1000 && !granted; i++)
        world_run(&w, 20);
    assert_true(granted);
    number = registry_lock_fence(lock);
    registry_unlock(&lock);
    world_run(&w, 100);
    return number;
}

/* How often it was taken between two looks of ours. */
static uint64_t taken_since(uint64_t before)
{
    return fence() - before - 1;
}

static void three_masters(void)
{
    node_start(&w, "m1:1", 1001);
    node_start(&w, "m2:1", 1002);
    node_start(&w, "m3:1", 1003);
    world_run(&w, 1000);
}

static void put_state(const char *id, const char *group, enum work_state state,
                      uint64_t epoch)
{
    struct work_item item;
    memset(&item, 0, sizeof(item));
    (void)snprintf(item.id, sizeof(item.id), "%s", id);
    (void)snprintf(item.group, sizeof(item.group), "%s", group);
    item.kind = NODE_MASTER;
    item.state = state;
    item.epoch = epoch;
    if (state == WORK_DONE)
        item.finished_at = w.clock.wall;
    put_item(&w, &item);
}

static void nothing_happens_and_nobody_takes_it(void **state)
{
    uint64_t before;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 20);
    before = fence();
    world_run(&w, 600000);
    assert_int_equal(taken_since(before), 0);
}

/* --- work that waits ----------------------------------------------------- */

static void work_of_a_group_without_anybody_waits_quietly(void **state)
{
    struct work_item item;
    uint64_t before;
    (void)state;
    w.closed_group = "g1";
    three_masters();
    put_state("x", "g1", WORK_WAITING, 2);
    world_run(&w, 2000);
    before = fence();
    world_run(&w, 60000);
    node_start(&w, "m4:1", 1004); /* of another group */
    world_run(&w, 60000);
    assert_int_equal(taken_since(before), 0);
    put_state("y", "g2", WORK_WAITING, 2); /* somebody takes this one */
    world_run(&w, 3000);
    assert_true(find_item(&w, "y", &item));
    assert_int_equal(item.state, WORK_ASSIGNED);
    world_run(&w, 60000);
    assert_in_range(taken_since(before), 1, 4); /* 2 are our own looks */
    w.closed_group = NULL;
    world_run(&w, 2000);
    assert_true(find_item(&w, "x", &item));
    assert_int_equal(item.state, WORK_ASSIGNED);
}

/* Somebody seems to take it, and does not. */
static void what_was_tried_in_vain_is_not_tried_again(void **state)
{
    struct work_item item;
    uint64_t before;
    (void)state;
    w.closed_group = "g1";
    w.takes_all = true;
    three_masters();
    before = fence();
    put_state("x", "g1", WORK_WAITING, 2);
    world_run(&w, 120000);
    assert_in_range(taken_since(before), 1, 2);
    before = fence();
    node_start(&w, "m4:1", 1004); /* perhaps this one does */
    world_run(&w, 20000);
    assert_in_range(taken_since(before), 1, 2);
    w.closed_group = NULL;
    node_leave(&w, "m4:1");
    world_run(&w, 4000);
    assert_true(find_item(&w, "x", &item));
    assert_int_equal(item.state, WORK_ASSIGNED);
}

/* --- an address that cannot be helped ------------------------------------ */

static void an_item_that_cannot_be_read_takes_it_ever_more_seldom(void **state)
{
    struct work_item whole;
    uint64_t before;
    (void)state;
    three_masters();
    give(&w, "m1:1", 1001, "a", 3);
    assert_true(find_item(&w, "a-1", &whole));
    registry_put(w.admin, "/pelorus/work/a-1", "broken", 6, REGISTRY_ANY, 0,
                 false, ignore, NULL);
    world_run(&w, 40);
    node_leave(&w, "m1:1");
    world_run(&w, 3000);
    before = fence();
    world_run(&w, 600000);
    assert_in_range(taken_since(before), 1, 12);
    put_item(&w, &whole); /* repaired, which nothing tells us */
    world_run(&w, 301000);
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

/* --- finished work ------------------------------------------------------- */

static void finish_some(struct world *world)
{
    static int n;
    char id[16];
    if (world->clock.mono % 500 != 0)
        return;
    (void)snprintf(id, sizeof(id), "f-%d", n++);
    put_state(id, "default", WORK_DONE, 1);
}

static void finished_work_is_collected_in_batches(void **state)
{
    uint64_t before;
    (void)state;
    world_kill(&w, 0);
    w.keep_ms = 100000;
    world_start(&w, 0);
    w.between = finish_some; /* two a second */
    world_run(&w, 120000);
    before = fence();
    world_run(&w, 120000);
    assert_in_range(taken_since(before), 8, 13); /* every 10 s */
    w.between = NULL;
    assert_in_range(in_state(&w, WORK_DONE), 150, 260);
    world_run(&w, 120000);
    assert_int_equal(in_state(&w, WORK_DONE), 0);
}

/* Others get the lock in between. */
static void many_are_collected_a_txn_at_a_time(void **state)
{
    char id[16];
    uint64_t before;
    (void)state;
    world_kill(&w, 0);
    w.keep_ms = 100000;
    world_start(&w, 0);
    for (int i = 0; i < 1500; i++) {
        (void)snprintf(id, sizeof(id), "f-%d", i);
        put_state(id, "default", WORK_DONE, 1);
    }
    before = fence();
    world_run(&w, 115000); /* the rest with the next interval */
    assert_in_range(taken_since(before), 6, 16);
    assert_int_equal(in_state(&w, WORK_DONE), 0);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(nothing_happens_and_nobody_takes_it),
        TEST(work_of_a_group_without_anybody_waits_quietly),
        TEST(what_was_tried_in_vain_is_not_tried_again),
        TEST(an_item_that_cannot_be_read_takes_it_ever_more_seldom),
        TEST(finished_work_is_collected_in_batches),
        TEST(many_are_collected_a_txn_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
