/*
 * test_engine_queue.c - orders while somebody else has the lock: records that
 * wait for it, and are carried out or withdrawn once.
 */
#include "tests/unit/engine_world.h"

#include "failover/engine/engine_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static struct world w;
static struct registry_lock *theirs;

static void on_granted(void *arg, enum err_code code)
{
    *(bool *)arg = code == ERR_OK;
}

/* A peer takes the lock, and keeps it. */
static void take_lock(void)
{
    bool granted = false;
    theirs = registry_lock(w.admin, "/lock/master-failover", "peer-1:5678",
                           10000, on_granted, NULL, &granted);
    for (int i = 0; i < 1000 && !granted; i++)
        world_run(&w, 10);
    assert_true(granted);
}

static int open_world(void **state)
{
    (void)state;
    world_open(&w, 0);
    w.conf.grace_ms = 3600000; /* nothing begins by itself */
    world_start(&w, 0);
    world_start(&w, 1);
    for (int i = 1; i <= 3; i++) {
        char address[16];
        (void)snprintf(address, sizeof(address), "m%d:1", i);
        node_start(&w, address, 1000 + i);
    }
    world_run(&w, 3000);
    give(&w, "m1:1", 1001, "a", 4);
    world_run(&w, 500);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    check_agreement(&w);
    registry_unlock(&theirs);
    world_close(&w);
    return 0;
}

struct answer {
    bool here, queued, waits;
    char code[32], failover[64], holder[64];
};

static void on_answer(void *arg, const struct engine_reply *reply)
{
    struct answer *a = arg;
    assert_false(a->here);
    a->here = true;
    a->queued = reply->queued;
    a->waits = reply->waits;
    (void)snprintf(a->code, sizeof(a->code), "%s", problem_code(reply->code));
    (void)snprintf(a->failover, sizeof(a->failover), "%s", reply->failover);
    if (reply->waits)
        (void)snprintf(a->holder, sizeof(a->holder), "%s", reply->wait.holder);
}

static struct answer order_at(size_t i, struct engine_order o)
{
    struct answer a = {0};
    o.who = "ada";
    o.reason = "by hand";
    engine_order(w.c[i].engine, &o, on_answer, &a);
    for (int n = 0; n < 600 && !a.here; n++)
        world_run(&w, 20);
    assert_true(a.here);
    return a;
}

static struct answer order(const char *address)
{
    return order_at(0, (struct engine_order){.address = address});
}

static bool one_done(struct world *world)
{
    return records(world, FAILOVER_DONE) == 1;
}

static bool one_aborted(struct world *world)
{
    return records(world, FAILOVER_ABORTED) == 1;
}

static void free_lock(void)
{
    registry_unlock(&theirs);
}

static void an_order_waits_for_the_lock_as_a_record(void **state)
{
    struct failover_record r;
    (void)state;
    take_lock();
    node_leave(&w, "m1:1");
    world_run(&w, 500);
    struct answer a = order("m1:1");
    assert_string_equal(a.code, "");
    assert_true(a.queued);
    assert_true(a.waits);
    assert_true(a.holder[0] != '\0'); /* as its registry names him */
    assert_true(find_record(&w, "m1:1", FAILOVER_QUEUED, &r));
    assert_string_equal(r.id, a.failover);
    assert_string_equal(r.who, "ada");
    world_run(&w, 60000); /* however long */
    assert_int_equal(owned_by(&w, "m1:1"), 4);
    assert_int_equal(records(&w, FAILOVER_QUEUED), 1);
    free_lock();
    assert_true(world_until(&w, 10000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.id, a.failover);
    assert_string_equal(r.cause, "order");
    assert_string_equal(r.reason, "by hand");
    world_run(&w, 10000);
    assert_int_equal(records(&w, FAILOVER_DONE), 1);
}

static void the_same_order_is_the_same_record(void **state)
{
    (void)state;
    take_lock();
    node_leave(&w, "m1:1");
    world_run(&w, 500);
    struct answer a = {0}, b = {0};
    struct engine_order o = {.address = "m1:1", .who = "ada"};
    engine_order(w.c[0].engine, &o, on_answer, &a);
    engine_order(w.c[1].engine, &o, on_answer, &b); /* at the same time */
    world_run(&w, 4000);
    assert_true(a.queued && b.queued);
    assert_string_equal(a.failover, b.failover);
    struct answer again = order("m1:1");
    assert_string_equal(again.failover, a.failover);
    assert_int_equal(records(&w, FAILOVER_QUEUED), 1);
    struct answer forced =
        order_at(1, (struct engine_order){.address = "m1:1", .force = true});
    assert_true(strcmp(forced.failover, a.failover) != 0); /* another one */
    free_lock();
    world_run(&w, 15000);
    assert_int_equal(records(&w, FAILOVER_QUEUED), 0);
    assert_int_equal(records(&w, FAILOVER_DONE), 1);
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

static void who_is_alive_again_by_then_is_left_alone(void **state)
{
    struct failover_record r;
    (void)state;
    take_lock();
    node_leave(&w, "m1:1");
    world_run(&w, 500);
    assert_true(order("m1:1").queued);
    node_start(&w, "m1:1", 1001);
    world_run(&w, 1000);
    free_lock();
    assert_true(world_until(&w, 10000, one_aborted));
    assert_true(find_record(&w, "m1:1", FAILOVER_ABORTED, &r));
    assert_string_equal(r.why, "alive");
    assert_int_equal(owned_by(&w, "m1:1"), 4);
}

static void force_takes_it_alive_or_not(void **state)
{
    (void)state;
    take_lock();
    struct answer a =
        order_at(0, (struct engine_order){.address = "m1:1", .force = true});
    assert_true(a.queued);
    free_lock();
    assert_true(world_until(&w, 10000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

static void what_needs_no_lock_is_refused_at_once(void **state)
{
    (void)state;
    take_lock();
    assert_string_equal(order("m1:1").code, "alive");
    assert_string_equal(order("m9:1").code, "not_found");
    assert_int_equal(records(&w, FAILOVER_QUEUED), 0);
}

static void it_survives_a_coordinator_and_any_other_does_it(void **state)
{
    struct failover_record r;
    (void)state;
    take_lock();
    node_leave(&w, "m1:1");
    world_run(&w, 500);
    assert_true(order("m1:1").queued);
    world_kill(&w, 0);
    world_kill(&w, 1);
    world_run(&w, 3000);
    world_start(&w, 2);
    world_run(&w, 5000);
    assert_int_equal(records(&w, FAILOVER_QUEUED), 1);
    free_lock();
    assert_true(world_until(&w, 10000, one_done));
    assert_true(find_record(&w, "m1:1", FAILOVER_DONE, &r));
    assert_string_equal(r.coordinator, "c2:7077");
}

static void on_put(void *arg, const struct registry_reply *reply)
{
    *(bool *)arg = reply->err.code == ERR_OK;
}

/* As withdraw.c writes it. */
static void withdraw(void)
{
    struct failover_record r;
    char key[REGISTRY_KEY_MAX + 1];
    bool done = false;
    struct buf b;
    assert_true(find_record(&w, "m1:1", FAILOVER_QUEUED, &r));
    r.phase = FAILOVER_ABORTED;
    (void)snprintf(r.why, sizeof(r.why), "withdrawn");
    buf_init(&b, REGISTRY_VALUE_MAX);
    work_failover_write(&b, &r);
    registry_put(w.admin, work_failover_key(r.id, key), buf_text(&b), b.len,
                 REGISTRY_ANY, 0, false, on_put, &done);
    buf_close(&b);
    for (int i = 0; i < 1000 && !done; i++)
        world_run(&w, 10);
    assert_true(done);
}

static void
one_that_was_withdrawn_is_not_done_and_can_be_ordered_anew(void **state)
{
    (void)state;
    take_lock();
    node_leave(&w, "m1:1");
    world_run(&w, 500);
    struct answer first = order("m1:1");
    assert_true(first.queued);
    withdraw();
    world_run(&w, 1000);
    struct answer second = order("m1:1");
    assert_true(second.queued);
    assert_true(strcmp(first.failover, second.failover) != 0);
    withdraw();
    free_lock();
    world_run(&w, 10000);
    assert_int_equal(owned_by(&w, "m1:1"), 4);
    assert_int_equal(records(&w, FAILOVER_ABORTED), 2);
    assert_int_equal(records(&w, FAILOVER_DONE), 0);
}

static void it_is_done_where_nothing_begins_by_itself(void **state)
{
    (void)state;
    world_kill(&w, 0);
    world_kill(&w, 1);
    w.conf.enabled = false;
    world_start(&w, 0);
    world_run(&w, 3000);
    /* who wants nothing does not wait there */
    assert_int_equal(HASH_COUNT(w.c[0].engine->work_queue), 0);
    take_lock();
    node_leave(&w, "m1:1");
    world_run(&w, 500);
    assert_true(order("m1:1").queued);
    free_lock();
    assert_true(world_until(&w, 10000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

static void a_pause_holds_what_was_queued(void **state)
{
    struct settings s = {.paused = true};
    struct failover_record r;
    (void)state;
    take_lock();
    node_leave(&w, "m1:1");
    world_run(&w, 500);
    assert_true(order("m1:1").queued);
    put_settings(&w, &s);
    world_run(&w, 1500);
    free_lock();
    world_run(&w, 8000);
    assert_true(find_record(&w, "m1:1", FAILOVER_HELD, &r));
    assert_string_equal(r.then, "order");
    s.paused = false;
    put_settings(&w, &s);
    assert_true(world_until(&w, 10000, one_done));
}

static char etag[64];

static void on_plan(void *arg, const struct engine_reply *reply)
{
    *(bool *)arg = true;
    (void)snprintf(etag, sizeof(etag), "%s", reply->etag);
}

static void only_the_plan_that_was_approved_is_carried_out(void **state)
{
    struct failover_record r;
    struct engine_order dry = {.address = "m1:1", .dry_run = true};
    bool here = false;
    (void)state;
    take_lock();
    node_leave(&w, "m1:1");
    world_run(&w, 500);
    engine_order(w.c[0].engine, &dry, on_plan, &here);
    world_run(&w, 2000);
    assert_true(here);
    struct answer a =
        order_at(0, (struct engine_order){.address = "m1:1", .if_match = etag});
    assert_true(a.queued);
    give(&w, "m1:1", 1001, "late", 1); /* another plan by now */
    world_run(&w, 1000);
    free_lock();
    assert_true(world_until(&w, 10000, one_aborted));
    assert_true(find_record(&w, "m1:1", FAILOVER_ABORTED, &r));
    assert_string_equal(r.why, "plan_changed");
    assert_int_equal(owned_by(&w, "m1:1"), 5);
    /* and the one that is the same still, is */
    take_lock();
    here = false;
    engine_order(w.c[0].engine, &dry, on_plan, &here);
    world_run(&w, 2000);
    a = order_at(0, (struct engine_order){.address = "m1:1", .if_match = etag});
    assert_true(a.queued);
    free_lock();
    assert_true(world_until(&w, 10000, one_done));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(an_order_waits_for_the_lock_as_a_record),
        TEST(the_same_order_is_the_same_record),
        TEST(who_is_alive_again_by_then_is_left_alone),
        TEST(force_takes_it_alive_or_not),
        TEST(what_needs_no_lock_is_refused_at_once),
        TEST(it_survives_a_coordinator_and_any_other_does_it),
        TEST(one_that_was_withdrawn_is_not_done_and_can_be_ordered_anew),
        TEST(it_is_done_where_nothing_begins_by_itself),
        TEST(a_pause_holds_what_was_queued),
        TEST(only_the_plan_that_was_approved_is_carried_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
