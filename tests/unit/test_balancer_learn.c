/*
 * test_balancer_learn.c - what the ledger learns from reports and ends: what is
 * told, what others run, what loads the cpu.
 */
#include "tests/unit/test_balancer.h"

#include <math.h>

static double est(struct balancer *b, const char *address, mono_ms now)
{
    return term(b, address, "est", now);
}

/* In each interval ten tasks that end at once; every `told`th end is
 * acknowledged; 0: none. */
static void work_for(struct balancer *b, int intervals, int told, mono_ms *at)
{
    int n = 0;

    for (int i = 0; i < intervals; i++, *at += INTERVAL) {
        struct balancer_worker w = idle("a:1", 40, *at);
        pick_id ids[10];

        set(b, w, *at);
        for (int k = 0; k < 10; k++) {
            pick(b, *at + 1000 + k);
            ids[k] = last_pick.pick;
        }
        for (int k = 0; k < 10; k++)
            if (told > 0 && n++ % told == 0)
                assert_true(balancer_done(b, ids[k]));
    }
    set_idle(b, "a:1", 40, *at);
}

/* What an estimate says of ten grants after an interval. */
static double left_of_ten(int told)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    mono_ms at = START;
    double left;

    work_for(b, 60, told, &at);
    for (int k = 0; k < 10; k++)
        pick(b, at + 1000);
    left = est(b, "a:1", at + INTERVAL);
    balancer_free(&b);
    return left;
}

/* Grants that were all told to be over count until they are; of those never
 * told it is learned that they end; and few told are almost as none. */
static void acknowledgements_are_believed_in_proportion(void **state)
{
    double all = left_of_ten(1), none = left_of_ten(0), few = left_of_ten(100);
    double most = left_of_ten(2);

    (void)state;
    assert_true(all > 9.5 && all < 10.1);
    assert_true(none < 2);
    assert_true(few < none + 0.5);
    assert_true(most > none + 2 && most < all - 2);
}

/* On one of two workers others always run four tasks: at the end of an interval
 * it is known there, although its report is old. */
static void what_others_run_on_a_worker_is_learned(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("shared:1", 16, START);
    mono_ms at = START;

    (void)state;
    w.pool = 0.25;
    for (int i = 0; i < 60; i++, at += INTERVAL) {
        for (int k = 0; k < 8; k++)
            pick(b, at + 100 * k);
        w.reported = at + INTERVAL;
        set(b, w, at + INTERVAL);
        set_idle(b, "own:1", 16, at + INTERVAL);
    }
    at += INTERVAL - 1;
    assert_true(fabs(est(b, "shared:1", at) - 4) < 0.5);
    assert_true(est(b, "own:1", at) < 0.5);
    balancer_free(&b);
}

/* Smaller by far from one report to the next. */
static void a_worker_that_shrinks_is_believed(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 1000, START);

    (void)state;
    for (int i = 0; i < 40; i++) {
        w.reported = START + i * INTERVAL;
        w.slots = i % 8 == 7 ? 1 : 1000;
        w.pool = i % 2 ? 90 : 0.5;
        set(b, w, w.reported);
        pick(b, w.reported);
        assert_true(isfinite(est(b, "a:1", w.reported + INTERVAL)));
    }
    balancer_free(&b);
}

/* Tasks load the cpu, as its reports show: what was hot by it is not when it is
 * known that they are over. */
static void hot_by_its_tasks_it_cools_with_them(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 10, START);
    pick_id ids[10];
    mono_ms at = START;

    (void)state;
    for (int i = 0; i < 120; i++, at += INTERVAL) {
        w.reported = at;
        w.pool = w.cpu = (i % 9) / 10.0;
        set(b, w, at);
    }
    w.reported = at;
    w.pool = w.cpu = 0;
    set(b, w, at);
    for (int k = 0; k < 10; k++) {
        pick(b, at);
        ids[k] = last_pick.pick;
    }
    at += INTERVAL;
    w.reported = at;
    w.pool = w.cpu = 1;
    set(b, w, at);
    pick(b, at);
    assert_true(last.degraded);
    for (int k = 0; k < 10; k++)
        assert_true(balancer_done(b, ids[k]));
    balancer_tick(b, at + 100);
    pick(b, at + 100);
    assert_false(last.degraded);
    balancer_free(&b);
}

/* Likewise one that only says its cpu: up to eight of its ten slots are in use,
 * so many at a report as the cpu says, then all. */
static void its_tasks_read_from_the_cpu_it_cools_with_them(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 10, START);
    pick_id ids[10];
    mono_ms at = START;
    int n = 0;

    (void)state;
    w.pool = NAN;
    for (int i = 0; i <= 300; i++, at += INTERVAL) {
        int tasks = i < 300 ? i * 4 % 9 : 10;

        w.reported = at;
        w.cpu = n / 10.0;
        set(b, w, at);
        while (n > tasks)
            assert_true(balancer_done(b, ids[--n]));
        for (; n < tasks; n++) {
            pick(b, at + 1000);
            ids[n] = last_pick.pick;
        }
    }
    w.reported = at;
    w.cpu = 1;
    set(b, w, at);
    pick(b, at);
    assert_true(last.degraded);
    while (n > 0)
        assert_true(balancer_done(b, ids[--n]));
    balancer_tick(b, at + 100);
    pick(b, at + 100);
    assert_false(last.degraded);
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledgements_are_believed_in_proportion),
        cmocka_unit_test(what_others_run_on_a_worker_is_learned),
        cmocka_unit_test(a_worker_that_shrinks_is_believed),
        cmocka_unit_test(hot_by_its_tasks_it_cools_with_them),
        cmocka_unit_test(its_tasks_read_from_the_cpu_it_cools_with_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
