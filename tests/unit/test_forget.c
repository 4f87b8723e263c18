/* test_forget.c - the gates of those who are gone go, under the lock and with
 * the floor; whatever somebody may still need stays. */
#include "tests/unit/engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

#define FORGET_MS 8000

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w, 0);
    w.forget_ms = FORGET_MS;
    world_start(&w, 0);
    world_run(&w, 1000);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    check_agreement(&w);
    world_close(&w);
    return 0;
}

static bool stands(const char *address)
{
    struct gate gate;
    return find_gate(&w, address, &gate);
}

static bool m1_is_forgotten(struct world *world)
{
    (void)world;
    return !stands("m1:1");
}

static struct gate closed(int64_t startup)
{
    return (struct gate){
        .state = GATE_OPEN, .left = true, .process = process_of(startup)};
}

static size_t times(const char *word)
{
    size_t n = 0;
    for (const char *at = w.c[0].log; (at = strstr(at, word)) != NULL; at++)
        n++;
    return n;
}

/* --- by themselves ------------------------------------------------------- */

static void who_died_is_forgotten_when_its_time_is_over(void **state)
{
    struct gate gate;
    (void)state;
    node_start(&w, "m1:1", 1001);
    node_start(&w, "m2:1", 1002);
    world_run(&w, 1000);
    give(&w, "m1:1", 1001, "a", 5);
    node_kill(&w, "m1:1");
    world_run(&w, FORGET_MS - 1000);
    assert_true(find_gate(&w, "m1:1", &gate));
    assert_int_equal(gate.state, GATE_FENCED);
    assert_int_equal(owned_by(&w, "m2:1"), 5);
    assert_true(world_until(&w, FORGET_MS, m1_is_forgotten));
    assert_true(epoch_floor(&w) >= 2); /* the epoch of what was moved */
    assert_true(stands("m2:1"));
    assert_int_equal(times("intent:"), 1);
    world_run(&w, 3000);
    assert_null(work_view_owner(w.c[0].view, NODE_MASTER, "m1:1"));
    assert_null(membership_find(w.c[0].membership, NODE_MASTER, "m1:1"));
}

static void the_lock_is_taken_for_what_is_due_alone(void **state)
{
    struct gate gate = closed(1);
    size_t locked;
    (void)state;
    put_gate(&w, "m1:1", &gate);
    world_run(&w, FORGET_MS - 500);
    locked = times("locked:");
    assert_true(world_until(&w, 3000, m1_is_forgotten));
    world_run(&w, 60000);
    assert_int_equal(times(" locked:") +
                         (strncmp(w.c[0].log, "locked:", 7) == 0),
                     locked + 1);
    assert_int_equal(times("intent:"), 0);
}

static bool all_forgotten(struct world *world)
{
    char address[16];
    (void)world;
    for (int i = 0; i < 150; i++) {
        (void)snprintf(address, sizeof(address), "m%d:1", i);
        if (stands(address))
            return false;
    }
    return true;
}

/* So that nobody waits for the lock for long. */
static void many_go_in_holds_of_a_txn_each(void **state)
{
    struct gate gate = closed(1);
    char address[16];
    (void)state;
    for (int i = 0; i < 150; i++) {
        (void)snprintf(address, sizeof(address), "m%d:1", i);
        put_gate(&w, address, &gate);
    }
    assert_true(world_until(&w, FORGET_MS + 5000, all_forgotten));
    world_run(&w, 100);
    assert_in_range(times("unlocked:"), 3, 10);
}

static bool two_holds(struct world *world)
{
    (void)world;
    return times("unlocked:") >= 2;
}

/* Of a pass that has grown to 64: a store that takes them one after the other
 * has not all of them to do before the lock is let go. */
static void a_few_are_read_at_once(void **state)
{
    struct gate gate = closed(1);
    char address[16];
    (void)state;
    for (int i = 0; i < 150; i++) {
        (void)snprintf(address, sizeof(address), "m%d:1", i);
        put_gate(&w, address, &gate);
    }
    assert_true(world_until(&w, FORGET_MS + 5000, two_holds));
    memory_hold_up(w.c[0].registry, true);
    for (int i = 0; i < 200; i++) { /* the lock */
        if (memory_held_up(w.c[0].registry) > 0)
            memory_let_through(w.c[0].registry);
        world_run(&w, 20);
        if (strcmp(engine_state_name(w.c[0].engine), "collecting") == 0)
            break;
    }
    assert_int_equal(memory_held_up(w.c[0].registry), 16);
    while (memory_held_up(w.c[0].registry) > 0)
        memory_let_through(w.c[0].registry);
    memory_hold_up(w.c[0].registry, false);
    assert_true(world_until(&w, 20000, all_forgotten));
}

/* What there was no time for is for the next pass, not for the next interval
 * of a second. */
static void what_a_slower_store_leaves_goes_on(void **state)
{
    const struct memory_faults slow = {.delay_max_ms = 3};
    struct gate gate = closed(1);
    char address[16];
    mono_ms began;
    (void)state;
    for (int i = 0; i < 150; i++) {
        (void)snprintf(address, sizeof(address), "m%d:1", i);
        put_gate(&w, address, &gate);
    }
    assert_true(world_until(&w, FORGET_MS + 5000, two_holds));
    memory_set_faults(w.store, &slow);
    began = w.clock.mono;
    assert_true(world_until(&w, 20000, all_forgotten));
    assert_in_range(w.clock.mono - began, 1, 500);
}

static void who_is_still_needed_is_not_forgotten(void **state)
{
    struct gate open = {.state = GATE_OPEN, .process = process_of(4)};
    struct gate cordoned = closed(2), draining = closed(3);
    (void)state;
    w.conf.enabled = false; /* else the open one would be fenced */
    cordoned.cordoned = true;
    draining.state = GATE_DRAINING;
    draining.for_ms = 3600000;
    put_gate(&w, "cordoned:1", &cordoned);
    put_gate(&w, "draining:1", &draining);
    put_gate(&w, "open:1", &open);
    give(&w, "owner:1", 5, "a", 1);
    open = closed(5);
    put_gate(&w, "owner:1", &open);
    node_start(&w, "there:1", 6);
    open = closed(7);
    put_gate(&w, "there:1", &open);
    put_gate(&w, "m1:1", &open);
    assert_true(world_until(&w, FORGET_MS + 3000, m1_is_forgotten));
    world_run(&w, FORGET_MS);
    assert_true(stands("cordoned:1"));
    assert_true(stands("draining:1"));
    assert_true(stands("open:1"));
    assert_true(stands("owner:1"));
    assert_true(stands("there:1"));
}

static void put_record(const char *address, enum failover_phase phase)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct failover_record r = {.kind = NODE_MASTER,
                                .phase = phase,
                                .process = process_of(1),
                                .hook_exit = -1};
    struct buf b;
    (void)snprintf(r.id, sizeof(r.id), "f-1");
    (void)snprintf(r.address, sizeof(r.address), "%s", address);
    (void)snprintf(r.cause, sizeof(r.cause), "crash");
    buf_init(&b, REGISTRY_VALUE_MAX);
    work_failover_write(&b, &r);
    put_key(&w, work_failover_key(r.id, key), &b);
    buf_close(&b);
}

/* Of whom INTENT has fenced it is not decided yet whether it is taken back. */
static void an_open_record_keeps_its_gate(void **state)
{
    struct gate gate = {.state = GATE_FENCED, .process = process_of(1)};
    (void)state;
    w.conf.enabled = false;
    (void)snprintf(gate.failover, sizeof(gate.failover), "f-1");
    put_record("m1:1", FAILOVER_INTENT);
    put_gate(&w, "m1:1", &gate);
    world_run(&w, 3 * FORGET_MS);
    assert_true(stands("m1:1"));
    put_record("m1:1", FAILOVER_DONE);
    assert_true(world_until(&w, FORGET_MS + 3000, m1_is_forgotten));
}

static enum problem answered;

static void on_forgot(void *arg, enum problem code, const struct err *err)
{
    (void)arg;
    assert_int_equal(code == PROBLEM_NONE, err->code == ERR_OK);
    assert_int_equal(answered, PROBLEM_N);
    answered = code;
}

static enum problem forget(const char *address)
{
    struct engine_forget what = {
        .address = address, .who = "ann", .reason = "scaled down"};
    answered = PROBLEM_N;
    engine_forget(w.c[0].engine, &what, on_forgot, NULL);
    world_run(&w, 3000);
    return answered;
}

/* --- what comes between -------------------------------------------------- */

static int steps_left; /* of the pass, until somebody is let in; -1: he was */

static void let_in(struct world *world)
{
    struct gate gate = {.state = GATE_OPEN, .process = process_of(2)};
    if (strcmp(engine_state_name(world->c[0].engine), "collecting") != 0 ||
        steps_left < 0 || steps_left-- > 0)
        return;
    put_gate(world, "m1:1", &gate);
}

/* It is deleted as it was looked at, or not at all. */
static void who_comes_between_look_and_delete_keeps_his_gate(void **state)
{
    struct memory_faults slow = {.delay_max_ms = 60};
    struct gate gate = closed(1), is;
    int kept = 0;
    (void)state;
    w.conf.enabled = false;
    memory_set_faults(w.store, &slow);
    for (int i = 0; i < 80; i++) {
        put_gate(&w, "m1:1", &gate);
        world_run(&w, 200);
        steps_left = i % 16;
        w.between = let_in;
        (void)forget("m1:1");
        w.between = NULL;
        if (steps_left >= 0)
            continue;                            /* the pass was over before */
        assert_true(find_gate(&w, "m1:1", &is)); /* his, or the next one */
        assert_int_equal(is.process.startup_time, 2);
        kept += answered != PROBLEM_NONE;
    }
    assert_true(kept > 10);
}

static void a_lost_lock_forgets_nothing(void **state)
{
    struct gate gate = closed(1);
    (void)state;
    put_gate(&w, "m1:1", &gate);
    world_run(&w, 500);
    memory_hold_up(w.c[0].registry, true);
    answered = PROBLEM_N;
    struct engine_forget what = {.address = "m1:1", .who = "ann", .reason = ""};
    engine_forget(w.c[0].engine, &what, on_forgot, NULL);
    for (int i = 0; i < 200; i++) { /* the lock, then the txn */
        if (memory_held_up(w.c[0].registry) > 0)
            memory_let_through(w.c[0].registry);
        world_run(&w, 20);
        if (strcmp(engine_state_name(w.c[0].engine), "collecting") == 0)
            break;
    }
    world_run(&w, 100);
    assert_int_equal(memory_held_up(w.c[0].registry) > 0, 1);
    memory_expire(w.c[0].registry);
    world_run(&w, 100);
    memory_hold_up(w.c[0].registry, false);
    w.c[0].frozen = true;
    world_run(&w, 500);
    assert_true(stands("m1:1"));
    w.c[0].frozen = false;
    assert_true(world_until(&w, 20000, m1_is_forgotten));
}

/* --- people -------------------------------------------------------------- */

static void a_person_forgets_at_once_or_hears_why_not(void **state)
{
    struct gate gate = closed(1);
    (void)state;
    w.conf.enabled = false;
    assert_int_equal(forget("nobody:1"), PROBLEM_NOT_FOUND);
    put_gate(&w, "m1:1", &gate);
    assert_int_equal(forget("m1:1"), PROBLEM_NONE);
    assert_false(stands("m1:1"));
    assert_int_equal(forget("m1:1"), PROBLEM_NOT_FOUND);

    gate.cordoned = true;
    put_gate(&w, "m2:1", &gate);
    assert_int_equal(forget("m2:1"), PROBLEM_GATE_CONFLICT);
    node_start(&w, "m3:1", 3);
    world_run(&w, 500);
    give(&w, "m3:1", 3, "a", 1);
    assert_int_equal(forget("m3:1"), PROBLEM_ALIVE);
    node_leave(&w, "m3:1");
    world_run(&w, 2000);
    assert_int_equal(forget("m3:1"), PROBLEM_GATE_CONFLICT);
    gate = closed(3);
    put_gate(&w, "m3:1", &gate);
    assert_int_equal(forget("m3:1"), PROBLEM_GATE_CONFLICT); /* it owns work */
    gate = (struct gate){.state = GATE_FENCED, .process = process_of(1)};
    (void)snprintf(gate.failover, sizeof(gate.failover), "f-1");
    put_record("m4:1", FAILOVER_INTENT);
    put_gate(&w, "m4:1", &gate);
    assert_int_equal(forget("m4:1"), PROBLEM_RUNNING);
    assert_true(stands("m2:1") && stands("m3:1") && stands("m4:1"));
}

static size_t told_so;

static void on_forgot_too(void *arg, enum problem code, const struct err *err)
{
    (void)arg;
    (void)err;
    assert_int_equal(code, PROBLEM_NONE);
    told_so++;
}

/* He who asks again, for he was not answered in time, or another person. */
static void who_asks_for_the_same_is_answered_the_same(void **state)
{
    struct gate gate = closed(1);
    struct engine_forget what = {.address = "m1:1", .who = "bob", .reason = ""};
    (void)state;
    put_gate(&w, "m1:1", &gate);
    put_gate(&w, "m2:1", &gate);
    world_run(&w, 500);
    told_so = 0;
    engine_forget(w.c[0].engine, &what, on_forgot_too, NULL);
    engine_forget(w.c[0].engine, &what, on_forgot_too, NULL);
    assert_int_equal(forget("m2:1"), PROBLEM_NONE);
    assert_int_equal(told_so, 2);
    assert_false(stands("m1:1") || stands("m2:1"));
}

static void without_a_registry_a_person_is_told_so(void **state)
{
    struct gate gate = closed(1);
    (void)state;
    memory_cut(w.c[0].registry);
    world_run(&w, 5000);
    assert_int_equal(forget("m1:1"), PROBLEM_TROUBLE_UNREACHABLE);
    memory_heal(w.c[0].registry);
    world_run(&w, 3000);
    put_gate(&w, "m1:1", &gate);
    assert_int_equal(forget("m1:1"), PROBLEM_NONE);
}

/* Whoever comes after that is a new life, with epochs above all before. */
static void a_new_life_begins_above_the_former(void **state)
{
    struct work_item item;
    (void)state;
    node_start(&w, "m2:1", 2);
    world_run(&w, 500);
    put_item(&w, &(struct work_item){.id = "x",
                                     .group = "default",
                                     .owner = "m2:1",
                                     .kind = NODE_MASTER,
                                     .state = WORK_DONE,
                                     .epoch = 41,
                                     .finished_at = w.clock.wall});
    struct gate gate = closed(1);
    put_gate(&w, "m1:1", &gate);
    world_run(&w, 500);
    assert_int_equal(forget("m1:1"), PROBLEM_NONE);
    assert_true(epoch_floor(&w) >= 41);
    /* a failover after it counts on from there */
    node_start(&w, "m1:1", 1);
    world_run(&w, 500);
    give(&w, "m1:1", 1, "a", 1);
    node_kill(&w, "m1:1");
    world_run(&w, 8000);
    assert_true(find_item(&w, "a-0", &item));
    assert_string_equal(item.owner, "m2:1");
    assert_true(item.epoch > 41);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(who_died_is_forgotten_when_its_time_is_over),
        TEST(the_lock_is_taken_for_what_is_due_alone),
        TEST(many_go_in_holds_of_a_txn_each),
        TEST(a_few_are_read_at_once),
        TEST(what_a_slower_store_leaves_goes_on),
        TEST(who_is_still_needed_is_not_forgotten),
        TEST(an_open_record_keeps_its_gate),
        TEST(who_comes_between_look_and_delete_keeps_his_gate),
        TEST(a_lost_lock_forgets_nothing),
        TEST(a_person_forgets_at_once_or_hears_why_not),
        TEST(who_asks_for_the_same_is_answered_the_same),
        TEST(without_a_registry_a_person_is_told_so),
        TEST(a_new_life_begins_above_the_former),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
