/*
 * test_balancer_gauge.c - tasks are read from the cpu where they load it, and
 * nothing is read from it where they do not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "balancer/gauge_priv.h"
#include "base/compiler.h"
#include "base/rand.h"

#define WORKERS 20
#define SLOTS   32.0

/* Workers on which a share `left` of the tasks is there after an interval, of
 * those granted in it correspondingly more; the cpu is rest + slope * tasks per
 * slot. `told`: ends are acknowledged. */
static void work(struct gauge *g, struct rand *r, double rest, double slope,
                 double left, bool told, int intervals)
{
    double tasks[WORKERS] = {0}, rate = -log(left);

    for (int i = 0; i < intervals; i++)
        for (int k = 0; k < WORKERS; k++) {
            double granted = floor(rand_double(r) * SLOTS * (1 - left));
            double was = rest + slope * tasks[k] / SLOTS;
            double before = tasks[k] + granted;

            tasks[k] = tasks[k] * left + granted * (1 - left) / rate;
            balancer_gauge_learn(g, &(struct gauge_sample){
                                        .was = was,
                                        .is = rest + slope * tasks[k] / SLOTS +
                                              (rand_double(r) - 0.5) * 0.01,
                                        .granted = granted,
                                        .acked = told ? before - tasks[k] : 0,
                                        .capacity = SLOTS,
                                    });
        }
}

static void begin(struct gauge *g, struct rand *r)
{
    rand_seed(r, 3);
    balancer_gauge_begin(g);
}

static void assert_reads(const struct gauge *g, double cpu, double tasks)
{
    double read = balancer_gauge_read(g, cpu, NULL);

    if (fabs(read - tasks) > 0.1)
        fail_msg("cpu %g: %g tasks per slot, not %g", cpu, read, tasks);
}

static void tasks_are_read_where_they_load_the_cpu(void **state)
{
    struct gauge g;
    struct rand r;

    (void)state;
    begin(&g, &r);
    work(&g, &r, 0.2, 0.4, 0.5, false, 100);
    assert_reads(&g, 0.4, 0.5);
    assert_reads(&g, 0.3, 0.25);
    assert_true(balancer_gauge_read(&g, 0, NULL) == 0);
}

/* Where the cpu is without tasks is not known then. */
static void with_acknowledgements_differences_are_right(void **state)
{
    struct gauge g;
    struct rand r;

    (void)state;
    begin(&g, &r);
    work(&g, &r, 0.2, 0.4, 0.5, true, 100);
    double more =
        balancer_gauge_read(&g, 0.4, NULL) - balancer_gauge_read(&g, 0.3, NULL);

    assert_true(fabs(more - 0.25) < 0.05);
}

static void nothing_is_read_before_enough_is_known(void **state)
{
    struct gauge g;
    struct rand r;

    (void)state;
    begin(&g, &r);
    assert_true(balancer_gauge_read(&g, 0.5, NULL) < 0);
    work(&g, &r, 0.2, 0.4, 0.5, false, 1);
    assert_true(balancer_gauge_read(&g, 0.5, NULL) < 0);
}

/* The cpu goes up and down by itself. */
static void nothing_is_read_where_tasks_do_not_load_it(void **state)
{
    struct gauge g;
    struct rand r;

    (void)state;
    begin(&g, &r);
    for (int i = 0; i < 4000; i++) {
        balancer_gauge_learn(&g, &(struct gauge_sample){
                                     .was = rand_double(&r),
                                     .is = rand_double(&r),
                                     .granted = rand_double(&r) * SLOTS,
                                     .capacity = SLOTS,
                                 });
        if (i > 500)
            assert_true(balancer_gauge_read(&g, 0.5, NULL) < 0);
    }
}

static void a_cpu_at_its_highest_is_that_of_a_full_worker(void **state)
{
    struct gauge g;
    struct rand r;
    bool full;

    (void)state;
    begin(&g, &r);
    work(&g, &r, 0.1, 0.8, 0.5, false, 100);
    (void)balancer_gauge_read(&g, 0.9, &full);
    assert_true(full);
    (void)balancer_gauge_read(&g, 0.3, &full);
    assert_false(full);
}

/* Of a cpu that is never above a half. */
static void after_five_intervals_the_highest_cpu_is_known(void **state)
{
    struct gauge g;
    struct rand r;

    (void)state;
    begin(&g, &r);
    work(&g, &r, 0.1, 0.4, 0.5, false, 5);
    assert_true(g.high > 0.2 && g.high < 0.55);
}

static void at_a_full_worker_more_may_wait_than_was_expected(void **state)
{
    (void)state;
    /* sqrt(2/pi) deviations above the mean of the upper half */
    assert_true(fabs(balancer_gauge_full(32, 32, 16) - 35.19) < 0.01);
    /* what was expected is far from what is so: little more than that */
    assert_true(fabs(balancer_gauge_full(32, 0, 4) - 32.13) < 0.01);
    assert_true(fabs(balancer_gauge_full(32, 90, 16) - 90) < 0.01);
    assert_true(isfinite(balancer_gauge_full(1, 1e9, -1)));
    assert_true(isfinite(balancer_gauge_full(1e9, 0, 0)));
    for (double expected = 0; expected < 100; expected += 0.25) {
        double tasks = balancer_gauge_full(32, expected, 10);

        assert_true(tasks >= 32);
        assert_true(tasks >= expected);
        assert_true(tasks < balancer_gauge_full(32, expected + 0.25, 10));
    }
}

/* A hundred thousand workers report so often within a week. */
static void billions_of_reports_are_counted_no_further(void **state)
{
    struct gauge g;
    struct rand r;

    (void)state;
    begin(&g, &r);
    work(&g, &r, 0.2, 0.4, 0.5, false, 100);
    g.seen = UINT32_MAX - 10;
    work(&g, &r, 0.2, 0.4, 0.5, false, 100);
    assert_reads(&g, 0.4, 0.5);
    assert_true(isfinite(g.low) && isfinite(g.high));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_are_read_where_they_load_the_cpu),
        cmocka_unit_test(with_acknowledgements_differences_are_right),
        cmocka_unit_test(nothing_is_read_before_enough_is_known),
        cmocka_unit_test(nothing_is_read_where_tasks_do_not_load_it),
        cmocka_unit_test(a_cpu_at_its_highest_is_that_of_a_full_worker),
        cmocka_unit_test(after_five_intervals_the_highest_cpu_is_known),
        cmocka_unit_test(at_a_full_worker_more_may_wait_than_was_expected),
        cmocka_unit_test(billions_of_reports_are_counted_no_further),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
