/*
 * test_balancer_fit.c - the fit finds the coefficients of what it is told,
 * stays within its limits whatever it is told, and forgets when they change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "balancer/fit_priv.h"
#include "base/compiler.h"
#include "base/rand.h"

static const double first[FIT_TERMS] = {0.8, 0.9, 0};

static struct rand generator(void)
{
    struct rand r;

    rand_seed(&r, 7);
    return r;
}

static double noise(struct rand *r, double size)
{
    double sum = 0;

    for (int i = 0; i < 12; i++)
        sum += rand_double(r);
    return (sum - 6) * size;
}

/* Tasks of a worker with 8 .. 40 slots: reported, granted, slots. */
static void draw(struct rand *r, double x[FIT_TERMS])
{
    x[2] = 8 + (double)rand_below(r, 33);
    x[0] = rand_double(r) * x[2];
    x[1] = rand_double(r) * x[2];
}

static double of(const double at[FIT_TERMS], const double x[FIT_TERMS])
{
    return at[0] * x[0] + at[1] * x[1] + at[2] * x[2];
}

/* How many resets there were. */
static uint32_t teach(struct fit *f, struct rand *r, const double at[FIT_TERMS],
                      double size, int samples)
{
    uint32_t before = f->resets;

    for (int i = 0; i < samples; i++) {
        double x[FIT_TERMS];

        draw(r, x);
        (void)balancer_fit_learn(f, x, of(at, x) + noise(r, size * sqrt(x[2])),
                                 1 / x[2]);
    }
    return f->resets - before;
}

static void assert_near(const struct fit *f, const double at[FIT_TERMS],
                        double by)
{
    for (int i = 0; i < FIT_TERMS; i++)
        if (fabs(f->at[i] - at[i]) > by)
            fail_msg("coefficient %d: %g, not %g", i, f->at[i], at[i]);
}

static void assert_within_limits(const struct fit *f)
{
    for (int i = 0; i < FIT_TERMS; i++) {
        assert_true(f->at[i] >= 0 && f->at[i] <= balancer_fit_limit[i]);
        for (int j = 0; j < FIT_TERMS; j++) {
            assert_true(isfinite(f->unsure[i][j]));
            assert_true(fabs(f->unsure[i][j] - f->unsure[j][i]) < 1e-9);
        }
        assert_true(f->unsure[i][i] > 0 && f->unsure[i][i] < 0.2501);
    }
}

static void known_coefficients_are_recovered(void **state)
{
    static const double truths[][FIT_TERMS] = {
        {0.36, 0.38, 0.05}, {0.95, 0.98, 0}, {0.05, 0.1, 0.2}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(truths); i++) {
        struct rand r = generator();
        struct fit f;

        balancer_fit_begin(&f, first);
        assert_int_equal(teach(&f, &r, truths[i], 0, 600), 0);
        assert_near(&f, truths[i], 0.01);
        balancer_fit_begin(&f, first);
        assert_int_equal(teach(&f, &r, truths[i], 0.5, 3000), 0);
        assert_near(&f, truths[i], 0.12);
        assert_within_limits(&f);
    }
}

static void coefficients_stay_within_their_limits(void **state)
{
    static const double impossible[][FIT_TERMS] = {
        {3, 2, 4}, {-2, -1, -3}, {5, -5, 0}, {-1, 2, 9}};
    struct rand r = generator();
    struct fit f;

    (void)state;
    balancer_fit_begin(&f, first);
    for (int i = 0; i < 400; i++) {
        teach(&f, &r, impossible[i % 4], 2, 10);
        assert_within_limits(&f);
    }
}

static void what_is_not_a_number_changes_nothing(void **state)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 1e300};
    struct rand r = generator();
    struct fit f;

    (void)state;
    balancer_fit_begin(&f, first);
    teach(&f, &r, (const double[]){0.5, 0.5, 0}, 0.3, 300);
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        struct fit was = f;

        assert_false(
            balancer_fit_learn(&f, (const double[]){odd[i], 1, odd[i]}, 1, 1));
        if (!isfinite(odd[i]))
            assert_false(
                balancer_fit_learn(&f, (const double[]){1, 1, 1}, odd[i], 1));
        assert_memory_equal(&f, &was, sizeof(f));
    }
}

static void a_sample_that_says_nothing_changes_nothing(void **state)
{
    struct rand r = generator();
    struct fit f, was;

    (void)state;
    balancer_fit_begin(&f, first);
    teach(&f, &r, (const double[]){0.5, 0.5, 0}, 0.3, 300);
    was = f;
    for (int i = 0; i < 1000; i++)
        assert_false(balancer_fit_learn(&f, (const double[]){0, 0, 0}, 50, 1));
    assert_memory_equal(&f, &was, sizeof(f));
}

/* Unheard for long, a coefficient is unsure but not more so than at first; and
 * what is heard goes on being learned. */
static void poor_samples_do_not_wind_it_up(void **state)
{
    struct fit f;

    (void)state;
    balancer_fit_begin(&f, first);
    for (int i = 0; i < 20000; i++) {
        (void)balancer_fit_learn(&f, (const double[]){10, 0, 0}, 4, 0.1);
        assert_within_limits(&f);
    }
    assert_true(fabs(f.at[0] - 0.4) < 0.01);
    assert_true(f.at[1] == first[1]);
    assert_true(f.at[2] == first[2]);
}

static void one_odd_sample_moves_it_little(void **state)
{
    static const double at[FIT_TERMS] = {0.4, 0.4, 0.05};
    struct rand r = generator();
    struct fit f;

    (void)state;
    balancer_fit_begin(&f, first);
    teach(&f, &r, at, 0.3, 1000);
    struct fit was = f;

    assert_false(
        balancer_fit_learn(&f, (const double[]){20, 20, 40}, 100000, 1.0 / 40));
    assert_near(&f, was.at, 0.03);
    assert_int_equal(f.resets, 0);
}

/* Of any size, in any order: it stays what a fit can be. */
static void wild_samples_do_not_break_it(void **state)
{
    struct rand r = generator();
    struct fit f;

    (void)state;
    balancer_fit_begin(&f, first);
    for (int i = 0; i < 200000; i++) {
        double x[FIT_TERMS];

        for (int j = 0; j < FIT_TERMS; j++)
            x[j] = pow(10, (double)rand_below(&r, 26) - 12) *
                   (rand_double(&r) - 0.3);
        (void)balancer_fit_learn(&f, x,
                                 pow(10, (double)rand_below(&r, 26) - 12),
                                 pow(10, (double)rand_below(&r, 9) - 6));
        assert_within_limits(&f);
    }
}

/* With nothing to learn from but one sum, and one share at its limit, the other
 * explains it. */
static void a_limit_does_not_hold_the_others_back(void **state)
{
    static const double x[FIT_TERMS] = {0, 16, 40};
    struct fit f;

    (void)state;
    balancer_fit_begin(&f, first);
    for (int i = 0; i < 60; i++)
        (void)balancer_fit_learn(&f, x, 16 * 0.2, 1.0 / 40);
    assert_true(f.at[2] == 0);
    assert_true(fabs(f.at[1] - 0.2) < 0.02);
}

static void another_character_is_noticed_and_learned(void **state)
{
    static const double short_tasks[FIT_TERMS] = {0.05, 0.1, 0};
    static const double long_tasks[FIT_TERMS] = {0.95, 0.98, 0};
    struct rand r = generator();
    struct fit f;

    (void)state;
    balancer_fit_begin(&f, first);
    teach(&f, &r, short_tasks, 0.3, 2000);
    assert_near(&f, short_tasks, 0.1);
    assert_int_equal(teach(&f, &r, long_tasks, 0.3, 150), 1);
    assert_near(&f, long_tasks, 0.1);
    assert_int_equal(teach(&f, &r, long_tasks, 0.3, 5000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_coefficients_are_recovered),
        cmocka_unit_test(coefficients_stay_within_their_limits),
        cmocka_unit_test(what_is_not_a_number_changes_nothing),
        cmocka_unit_test(a_sample_that_says_nothing_changes_nothing),
        cmocka_unit_test(poor_samples_do_not_wind_it_up),
        cmocka_unit_test(one_odd_sample_moves_it_little),
        cmocka_unit_test(wild_samples_do_not_break_it),
        cmocka_unit_test(a_limit_does_not_hold_the_others_back),
        cmocka_unit_test(another_character_is_noticed_and_learned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
