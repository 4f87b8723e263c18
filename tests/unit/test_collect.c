/* test_collect.c - what is kept long enough goes, and the floor rises with it;
 * what is not finished, or not ours to delete, stays. */
#include "tests/unit/engine_world.h"

#include "failover/engine/collect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static struct world w;
static struct collect *c;
static struct registry_lock *lock;
static bool granted, ended;
static size_t items, failovers;
static struct err result;

static void on_granted(void *arg, enum err_code code)
{
    (void)arg;
    granted = code == ERR_OK;
}

static void on_lost(void *arg)
{
    (void)arg;
    granted = false;
}

/* The coordinator's own engine is frozen: only this test collects. */
static int setup(void **state)
{
    (void)state;
    world_open(&w, 1);
    w.c[0].frozen = true;
    struct collect_config config = {.clock = &w.clock,
                                    .registry = w.c[0].registry,
                                    .view = w.c[0].view,
                                    .keep_ms = 10000,
                                    .interval_ms = 1000};
    c = engine_collect_new(&config);
    lock = registry_lock(w.c[0].registry, "/lock/test", "me", -1, on_granted,
                         on_lost, NULL);
    world_run(&w, 100);
    assert_true(granted);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_collect_free(&c);
    registry_unlock(&lock);
    check_agreement(&w);
    world_close(&w);
    return 0;
}

static void on_ended(void *arg, const struct err *err, size_t n_items,
                     size_t n_failovers)
{
    (void)arg;
    assert_false(ended);
    ended = true;
    result = *err;
    items = n_items;
    failovers = n_failovers;
}

static void collect(void)
{
    ended = false;
    engine_collect_look(c);
    world_run(&w, 200);
    engine_collect_run(c, lock, on_ended, NULL);
    world_run(&w, 200);
    assert_true(ended);
    world_run(&w, 200);
}

static void put(const char *id, enum work_state state, uint64_t epoch)
{
    struct work_item item;
    memset(&item, 0, sizeof(item));
    (void)snprintf(item.id, sizeof(item.id), "%s", id);
    (void)snprintf(item.group, sizeof(item.group), "default");
    (void)snprintf(item.owner, sizeof(item.owner), "m1:1");
    item.kind = NODE_MASTER;
    item.state = state;
    item.epoch = epoch;
    item.finished_at = w.clock.wall;
    put_item(&w, &item);
}

static void put_done(int n)
{
    char id[32];

    for (int i = 0; i < n; i++) {
        (void)snprintf(id, sizeof(id), "d-%d", i);
        put(id, WORK_DONE, 1 + (uint64_t)i);
    }
}

static void nothing_goes_before_its_time(void **state)
{
    (void)state;
    put("a", WORK_DONE, 3);
    world_run(&w, 9000);
    assert_false(engine_collect_wanted(c));
    collect();
    assert_int_equal(items, 0);
    assert_int_equal(in_state(&w, WORK_DONE), 1);
    assert_int_equal(epoch_floor(&w), 0);
}

static void the_floor_never_falls(void **state)
{
    (void)state;
    put("a", WORK_DONE, 9);
    put("b", WORK_DROPPED, 4);
    world_run(&w, 11000);
    assert_false(engine_collect_wanted(c)); /* it is being read */
    world_run(&w, 200);
    assert_true(engine_collect_wanted(c));
    collect();
    assert_int_equal(result.code, ERR_OK);
    assert_int_equal(items, 2);
    assert_int_equal(epoch_floor(&w), 9);
    put("c", WORK_DONE, 2);
    world_run(&w, 11000);
    collect();
    assert_int_equal(items, 1);
    assert_int_equal(epoch_floor(&w), 9);
}

static void a_lost_lock_collects_nothing(void **state)
{
    (void)state;
    put("a", WORK_DONE, 9);
    world_run(&w, 11000);
    /* the session ends at the registry: the check of the lock refuses */
    ended = false;
    engine_collect_look(c);
    world_run(&w, 200);
    engine_collect_run(c, lock, on_ended, NULL);
    memory_expire(w.c[0].registry);
    world_run(&w, 500);
    assert_true(ended);
    assert_int_equal(in_state(&w, WORK_DONE), 1);
    assert_int_equal(epoch_floor(&w), 0);
}

static void more_than_a_txn_holds_goes_in_passes(void **state)
{
    (void)state;
    put_done(300);
    world_run(&w, 11000);
    size_t passes = 0;
    while (in_state(&w, WORK_DONE) > 0 && passes++ < 10)
        collect();
    assert_true(passes > 1 && passes < 10);
    assert_int_equal(epoch_floor(&w), 300);
}

static void ignore(void *arg, const struct registry_reply *reply)
{
    (void)arg;
    assert_int_equal(reply->err.code, ERR_OK);
}

static void an_unreadable_floor_stops_the_collection(void **state)
{
    (void)state;
    put("a", WORK_DONE, 9);
    registry_put(w.admin, EPOCH_FLOOR_KEY, "what?", 5, REGISTRY_ANY, 0, false,
                 ignore, NULL);
    world_run(&w, 11000);
    collect();
    assert_int_equal(items, 0);
    assert_false(engine_collect_wanted(c));
    assert_int_equal(in_state(&w, WORK_DONE), 1);
}

/* Versions repeat: it was collected by another one, and used again, between
 * the read and the lock. */
static void who_has_its_id_by_now_is_not_taken_for_it(void **state)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct registry_op ops[2];
    struct buf floor;
    (void)state;
    put("a", WORK_DONE, 3);
    world_run(&w, 11000);
    engine_collect_look(c);
    world_run(&w, 200);
    assert_true(engine_collect_wanted(c));
    buf_init(&floor, 64);
    work_epoch_floor_write(&floor, 3);
    ops[0] = registry_op_at(REGISTRY_DELETE, work_key("a", key), 1);
    ops[1] = registry_op_put(EPOCH_FLOOR_KEY, &floor, 0);
    registry_txn(w.admin, ops, 2, ignore, NULL);
    buf_close(&floor);
    world_run(&w, 200);
    put("a", WORK_DONE, 4);
    ended = false;
    engine_collect_run(c, lock, on_ended, NULL);
    world_run(&w, 200);
    assert_true(ended);
    assert_int_equal(result.code, ERR_OK);
    assert_int_equal(items, 0);
    assert_int_equal(in_state(&w, WORK_DONE), 1);
    world_run(&w, 11000);
    collect();
    assert_int_equal(items, 1);
    assert_int_equal(epoch_floor(&w), 4);
}

static size_t n_records;

static void count_record(void *arg, const struct registry_entry *e)
{
    (void)arg;
    (void)e;
    n_records++;
}

static void put_record_of(int i, enum failover_phase phase, const char *address)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct failover_record r = {
        .kind = NODE_MASTER, .phase = phase, .began = 1000 + i};
    struct buf b;
    r.hook_exit = -1;
    (void)snprintf(r.id, sizeof(r.id), "f-%04d", i);
    (void)snprintf(r.address, sizeof(r.address), "%s", address);
    buf_init(&b, REGISTRY_VALUE_MAX);
    work_failover_write(&b, &r);
    registry_put(w.admin, work_failover_key(r.id, key), buf_text(&b), b.len,
                 REGISTRY_ANY, 0, false, ignore, NULL);
    buf_close(&b);
}

static void put_record(int i, enum failover_phase phase)
{
    put_record_of(i, phase, "m1:1");
}

/* The oldest is under way and stays, however many came after it. */
static void the_newest_thousand_failovers_stay(void **state)
{
    char key[REGISTRY_KEY_MAX + 1];
    (void)state;
    put_record(0, FAILOVER_MOVING);
    for (int i = 1; i < COLLECT_FAILOVERS_KEPT + 3; i++)
        put_record(i, FAILOVER_DONE);
    world_run(&w, 3000);
    for (int i = 0; i < 5; i++)
        collect();
    assert_false(engine_collect_wanted(c));
    n_records = 0;
    memory_each(w.store, FAILOVER_PREFIX, count_record, NULL);
    assert_int_equal(n_records, COLLECT_FAILOVERS_KEPT + 1);
    assert_non_null(memory_find(w.store, work_failover_key("f-0000", key)));
    assert_null(memory_find(w.store, work_failover_key("f-0001", key)));
    assert_null(memory_find(w.store, work_failover_key("f-0002", key)));
    assert_non_null(memory_find(w.store, work_failover_key("f-0003", key)));
}

/* So many holds, on a store whose every answer takes long. */
static void collect_slowly(int holds)
{
    memory_set_faults(w.store, &(struct memory_faults){.delay_max_ms = 80});
    for (int i = 0; i < holds; i++) {
        ended = false;
        engine_collect_look(c);
        world_run(&w, 500);
        engine_collect_run(c, lock, on_ended, NULL);
        world_run(&w, 500);
        assert_true(ended);
    }
}

/* A store so slow that a hold's time is over with its items. */
static void records_go_though_items_take_all_the_time(void **state)
{
    char key[REGISTRY_KEY_MAX + 1];
    (void)state;
    put_done(300);
    for (int i = 1; i < COLLECT_FAILOVERS_KEPT + 3; i++)
        put_record(i, FAILOVER_DONE);
    world_run(&w, 11000);
    collect_slowly(4);
    assert_true(in_state(&w, WORK_DONE) > 0);
    assert_null(memory_find(w.store, work_failover_key("f-0001", key)));
    memory_set_faults(w.store, &(struct memory_faults){.delay_max_ms = 0});
}

/* Its txns take long for themselves: smaller ones would only be more of them,
 * and items end faster than they go. */
static void a_slow_store_is_not_asked_for_a_few_at_a_time(void **state)
{
    (void)state;
    put_done(300);
    world_run(&w, 11000);
    collect_slowly(9);
    assert_int_equal(in_state(&w, WORK_DONE), 0);
    memory_set_faults(w.store, &(struct memory_faults){.delay_max_ms = 0});
}

/* One that was held of an address that owns nothing is like the others; one of
 * an owner stays, and nothing but the oldest goes. */
static void what_is_held_of_nobodys_work_goes_with_the_oldest(void **state)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct work_item item = {.id = "a",
                             .group = "default",
                             .owner = "m2:1",
                             .kind = NODE_MASTER,
                             .state = WORK_ASSIGNED,
                             .process = process_of(1),
                             .epoch = 1};
    (void)state;
    put_item(&w, &item);
    put_record_of(0, FAILOVER_HELD, "m2:1");
    put_record_of(1, FAILOVER_HELD, "m1:1");
    for (int i = 2; i < COLLECT_FAILOVERS_KEPT + 2; i++)
        put_record(i, FAILOVER_DONE);
    world_run(&w, 3000);
    for (int i = 0; i < 3; i++)
        collect();
    assert_non_null(memory_find(w.store, work_failover_key("f-0000", key)));
    assert_null(memory_find(w.store, work_failover_key("f-0001", key)));
    assert_non_null(memory_find(w.store, work_failover_key("f-0002", key)));
}

/* Few are collected once an interval, many at once; nothing is no reason. */
static void the_lock_is_wanted_for_many_or_once_an_interval(void **state)
{
    (void)state;
    assert_false(engine_collect_wanted(c));
    put("few", WORK_DONE, 1);
    world_run(&w, 11000);
    assert_false(engine_collect_wanted(c));
    world_run(&w, 100);
    assert_true(engine_collect_wanted(c));
    collect();
    assert_int_equal(in_state(&w, WORK_DONE), 0);
    world_run(&w, 5000);
    assert_false(engine_collect_wanted(c));
    world_run(&w, 100);
    assert_false(engine_collect_wanted(c));
    put_done(300);
    world_run(&w, 11000);
    for (int i = 0; i < 10 && in_state(&w, WORK_DONE) > 0; i++) {
        (void)engine_collect_wanted(c);
        world_run(&w, 100);
        assert_true(engine_collect_wanted(c));
        ended = false;
        engine_collect_run(c, lock, on_ended, NULL);
        world_run(&w, 100);
        assert_true(ended && items > 0);
        world_run(&w, in_state(&w, WORK_DONE) > 250 ? 20 : 1000);
    }
    assert_int_equal(in_state(&w, WORK_DONE), 0);
    assert_false(engine_collect_wanted(c));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_goes_before_its_time),
        TEST(the_floor_never_falls),
        TEST(a_lost_lock_collects_nothing),
        TEST(more_than_a_txn_holds_goes_in_passes),
        TEST(an_unreadable_floor_stops_the_collection),
        TEST(who_has_its_id_by_now_is_not_taken_for_it),
        TEST(the_newest_thousand_failovers_stay),
        TEST(records_go_though_items_take_all_the_time),
        TEST(a_slow_store_is_not_asked_for_a_few_at_a_time),
        TEST(what_is_held_of_nobodys_work_goes_with_the_oldest),
        TEST(the_lock_is_wanted_for_many_or_once_an_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
