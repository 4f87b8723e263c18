/*
 * test_balancer_limits.c - what takes weeks, or a worker that says strange but
 * lawful numbers for long, to come about.
 */
#include "tests/unit/test_balancer.h"

#include "balancer/balancer_priv.h"

#define DAY  (INT64_C(24) * 3600 * 1000)
#define MANY 1100 /* more than are looked at before a pick */

/* Their squares are 0, and what depends on them has no slope. */
static void hardly_any_use_of_slots_tells_nothing_of_the_cpu(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    for (int i = 0; i < 120; i++) {
        mono_ms now = START + i * (mono_ms)INTERVAL;
        struct balancer_worker x = idle("a:1", 8, now), y = idle("b:1", 8, now);

        x.pool = i % 2 == 0 ? 1e-200 : 3e-200;
        x.cpu = i % 2 == 0 ? 0.4 : 0.7;
        set(b, x, now);
        set(b, y, now);
        assert_string_not_equal(pick(b, now), "");
        assert_true(balancer_unused(b, last_pick.pick));
    }
    assert_true(balancer_group(b, NULL)->u.ledger.cpu.per_slot == 0);
    balancer_free(&b);
}

static void without_warm_up_a_worker_from_the_future_is_warm(void **state)
{
    struct conf_balancer conf = test_conf;
    struct balancer_worker w = idle("a:1", 8, START);
    struct balancer *b;

    (void)state;
    conf.warm_up_ms = 0;
    w.since = START + 5000;
    b = balancer_new(&conf, 42, INSTANCE);
    set(b, w, START);
    assert_true(term(b, "a:1", "warm_up", START) == 1);
    balancer_free(&b);
}

/* Of a worker that is not heard of for so long that bucket numbers are nearer
 * the other way round. */
static void after_a_month_of_silence_grants_settle_as_before(void **state)
{
    struct conf_balancer conf = test_conf;
    mono_ms now = START;
    struct balancer *b;

    (void)state;
    conf.heartbeat_interval_ms = 100;
    b = balancer_new(&conf, 42, INSTANCE);
    set_idle(b, "a:1", 8, now);
    now += 30 * DAY;
    set_idle(b, "a:1", 8, now);
    for (int i = 0; i < 4; i++)
        assert_string_equal(pick(b, now), "a:1");
    assert_true(term(b, "a:1", "granted", now) == 4);
    now += 104; /* the same place among the last eight buckets */
    set_idle(b, "a:1", 8, now);
    assert_true(term(b, "a:1", "granted", now) == 0);
    balancer_free(&b);
}

static struct balancer *with_silent(int n)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    for (int i = 0; i < n; i++) {
        char address[32];
        struct balancer_worker w;

        snprintf(address, sizeof(address), "w-%d:1", i);
        w = idle(address, 8, START);
        w.cpu = i % 2 == 0 ? -1 : 0.5;
        set(b, w, START);
    }
    balancer_tick(b, START + 100);
    assert_string_not_equal(pick(b, START + 100), "");
    return b;
}

/* Else a host of them that leaves has all others looked at for each. */
static void who_leaves_a_large_group_does_not_have_all_judged_anew(void **state)
{
    struct balancer *b = with_silent(MANY), *few = with_silent(10);

    (void)state;
    assert_true(balancer_group(b, NULL)->typical.silent);
    assert_true(balancer_group(few, NULL)->typical.silent);
    balancer_remove(b, "w-7:1");
    balancer_remove(few, "w-7:1");
    assert_false(balancer_group(b, NULL)->typical_due);
    assert_true(balancer_group(few, NULL)->typical_due);
    balancer_free(&b);
    balancer_free(&few);
}

/* A pick may judge all of a group while a tick is half way through it. */
static void what_is_typical_is_counted_once(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    mono_ms now = START;
    char address[32];

    (void)state;
    for (int i = 0; i < 600; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        struct balancer_worker w = idle(address, 4, now);

        w.memory = i == 0 ? -1 : 0.1; /* so that what is typical matters */
        set(b, w, now);
    }
    (void)pick(b, ++now);
    balancer_slice(b, NULL, 0, 256, ++now);
    snprintf(address, sizeof(address), "w0:1");
    struct balancer_worker w = idle(address, 4, now);

    w.memory = -1;
    set(b, w, now);
    (void)pick(b, ++now);
    balancer_slice(b, NULL, 256, 512, now);
    balancer_slice(b, NULL, 512, 600, now);
    assert_int_equal(b->everyone->typical.n[0], 600);
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_typical_is_counted_once),
        cmocka_unit_test(hardly_any_use_of_slots_tells_nothing_of_the_cpu),
        cmocka_unit_test(without_warm_up_a_worker_from_the_future_is_warm),
        cmocka_unit_test(after_a_month_of_silence_grants_settle_as_before),
        cmocka_unit_test(
            who_leaves_a_large_group_does_not_have_all_judged_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
