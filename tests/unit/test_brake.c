/* test_brake.c - when the brake falls, and when it rises again. */
#include "failover/brake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static struct brake *b;

static int setup(void **state)
{
    struct brake_config c = {.window_ms = 60000, .share = 0.3, .min = 3};
    (void)state;
    b = brake_new(&c);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    brake_free(&b);
    return 0;
}

/* `known` addresses, the first `missing` of them are. */
static bool sweep(mono_ms now, size_t missing, size_t known, bool standing)
{
    char address[32];
    brake_begin(b, now, standing);
    for (size_t i = 0; i < known; i++) {
        (void)snprintf(address, sizeof(address), "m%zu:1", i);
        brake_see(b, address, i < missing);
    }
    return brake_end(b);
}

static void a_single_death_is_no_mass(void **state)
{
    (void)state;
    assert_false(sweep(0, 1, 3, false));
    assert_false(sweep(10, 2, 3, false));  /* below min */
    assert_false(sweep(20, 3, 10, false)); /* 0.3 is not more than 0.3 */
}

static void more_than_the_share_falls(void **state)
{
    (void)state;
    assert_true(sweep(0, 4, 10, false));
    assert_int_equal(brake_missing(b), 4);
    assert_int_equal(brake_known(b), 10);
}

static void all_of_a_kind_falls_whatever_min_says(void **state)
{
    (void)state;
    assert_true(sweep(0, 2, 2, false));
    assert_false(sweep(10, 0, 2, false));
}

static void the_only_one_is_not_all_of_a_kind(void **state)
{
    (void)state;
    assert_false(sweep(0, 1, 1, false));
}

static void deaths_spread_over_time_are_no_mass(void **state)
{
    (void)state;
    for (size_t i = 1; i <= 5; i++)
        assert_false(sweep((mono_ms)i * 61000, i, 10, false));
}

static void it_does_not_time_out(void **state)
{
    (void)state;
    assert_true(sweep(0, 4, 10, false));
    assert_true(sweep(3600000, 4, 10, false));
    assert_false(sweep(3600001, 3, 10, false));
    assert_false(sweep(3600002, 4, 14, false));
}

static void forgetting_the_missing_does_not_lift_it(void **state)
{
    (void)state;
    assert_true(sweep(0, 4, 10, false));
    brake_begin(b, 900000, false); /* m0 .. m3 are not known any more */
    for (int i = 4; i < 10; i++) {
        const char address[] = {'m', (char)('0' + i), ':', '1', '\0'};
        brake_see(b, address, false);
    }
    assert_true(brake_end(b));
    brake_begin(b, 900001, false);
    brake_settled(b, "m0:1");
    brake_settled(b, "m1:1");
    brake_settled(b, "m2:1");
    for (int i = 4; i < 10; i++) {
        const char address[] = {'m', (char)('0' + i), ':', '1', '\0'};
        brake_see(b, address, false);
    }
    assert_false(brake_end(b));
}

static void a_standing_record_keeps_it_down_for_a_newcomer(void **state)
{
    (void)state;
    assert_true(sweep(0, 2, 4, true));
    assert_true(sweep(70000, 2, 4, false)); /* by itself from here on */
    assert_false(sweep(70001, 1, 4, false));
}

static void an_address_seen_twice_counts_once(void **state)
{
    (void)state;
    brake_begin(b, 0, false);
    brake_see(b, "m1:1", true);
    brake_see(b, "m1:1", true);
    brake_see(b, "m2:1", false);
    assert_false(brake_end(b));
    assert_int_equal(brake_known(b), 2);
    assert_int_equal(brake_missing(b), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_single_death_is_no_mass),
        TEST(more_than_the_share_falls),
        TEST(all_of_a_kind_falls_whatever_min_says),
        TEST(the_only_one_is_not_all_of_a_kind),
        TEST(deaths_spread_over_time_are_no_mass),
        TEST(it_does_not_time_out),
        TEST(forgetting_the_missing_does_not_lift_it),
        TEST(a_standing_record_keeps_it_down_for_a_newcomer),
        TEST(an_address_seen_twice_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
