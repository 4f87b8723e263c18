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
    b = failover_brake_new(&c);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    failover_brake_free(&b);
    return 0;
}

/* One to each letter: s stands, n is new, d is in doubt, m is missing, f was
 * fenced, . is not told of. */
static bool sweep_of(mono_ms now, const char *sights, size_t standing)
{
    static const char letters[] = "sndmf";
    char address[32];
    failover_brake_begin(b, now, standing);
    for (size_t i = 0; sights[i] != '\0'; i++) {
        const char *at = strchr(letters, sights[i]);
        (void)snprintf(address, sizeof(address), "m%zu:1", i);
        if (at != NULL)
            failover_brake_see(b, address, (enum brake_sight)(at - letters), 0,
                               -1);
    }
    return failover_brake_end(b);
}

/* `known` addresses, the first `missing` of them are. */
static bool sweep(mono_ms now, size_t missing, size_t known, size_t standing)
{
    char sights[64];
    assert_true(known < sizeof(sights));
    memset(sights, 's', known);
    memset(sights, 'm', missing);
    sights[known] = '\0';
    return sweep_of(now, sights, standing);
}

static void a_single_death_is_no_mass(void **state)
{
    (void)state;
    assert_false(sweep(0, 1, 3, 0));
    assert_false(sweep(10, 2, 3, 0));  /* below min */
    assert_false(sweep(20, 3, 10, 0)); /* 0.3 is not more than 0.3 */
}

static void more_than_the_share_falls(void **state)
{
    (void)state;
    assert_true(sweep(0, 4, 10, 0));
    assert_int_equal(failover_brake(b)->missing, 4);
    assert_int_equal(failover_brake(b)->known, 10);
}

static void all_of_a_kind_falls_whatever_min_says(void **state)
{
    (void)state;
    assert_true(sweep(0, 2, 2, 0));
    assert_false(sweep(10, 0, 2, 0));
}

static void the_only_one_is_not_all_of_a_kind(void **state)
{
    (void)state;
    assert_false(sweep(0, 1, 1, 0));
    assert_false(sweep_of(1, "f", 0));
}

static void deaths_spread_over_time_are_no_mass(void **state)
{
    (void)state;
    for (size_t i = 1; i <= 5; i++)
        assert_false(sweep((mono_ms)i * 61000, i, 10, 0));
}

static void it_does_not_time_out(void **state)
{
    (void)state;
    assert_true(sweep(0, 4, 10, 0));
    assert_true(sweep(3600000, 4, 10, 0));
    assert_false(sweep(3600001, 3, 10, 0));
    assert_false(sweep(3600002, 4, 14, 0));
}

/* --- one by one ---------------------------------------------------------- */

static void who_was_fenced_counts_for_the_whole_window(void **state)
{
    (void)state;
    assert_false(sweep_of(0, "msssssssss", 0));
    assert_false(sweep_of(800, "fmssssssss", 0));
    assert_false(sweep_of(1600, "ffmsssssss", 0));
    assert_true(sweep_of(2400, "fffmssssss", 0));
    assert_int_equal(failover_brake(b)->missing, 4);
    assert_true(sweep_of(60000, "fffmssssss", 0));
    assert_false(sweep_of(62401, "fffmssssss", 0)); /* one of seven */
    assert_int_equal(failover_brake(b)->known, 7);
}

static void the_fenced_of_another_time_do_not_count(void **state)
{
    (void)state;
    assert_false(sweep_of(0, "fffmssssss", 0)); /* no record of a loss */
    assert_int_equal(failover_brake(b)->known, 7);
}

/* Whoever looks only since then has the time from the record. */
static void a_record_tells_since_when_it_is_missing(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        mono_ms now = 100000 + round * 40000;
        failover_brake_begin(b, now, 0);
        failover_brake_see(b, "m1:1", BRAKE_FENCED, 0, 95000);
        failover_brake_see(b, "m2:1", BRAKE_FENCED, 0, 70000);
        failover_brake_see(b, "m3:1", BRAKE_FENCED, 0, 30000); /* long over */
        failover_brake_see(b, "m4:1", BRAKE_MISSING, 0, -1);
        for (int i = 0; i < 5; i++)
            failover_brake_see(b, "others", BRAKE_SETTLED, 0, -1);
        assert_int_equal(failover_brake_end(b), round == 0);
        assert_int_equal(failover_brake(b)->missing, round == 0 ? 3 : 2);
    }
}

static void a_long_lease_lengthens_the_window(void **state)
{
    (void)state;
    for (int i = 1; i <= 4; i++) {
        failover_brake_begin(b, i * 70000, 0);
        for (int k = 0; k < 10; k++) {
            const char address[] = {'m', (char)('0' + k), ':', '1', '\0'};
            failover_brake_see(
                b, address, k < i ? BRAKE_MISSING : BRAKE_SETTLED, 600000, -1);
        }
        assert_int_equal(failover_brake_end(b), i == 4);
    }
}

static void the_doubtful_make_it_wait_and_not_fall(void **state)
{
    (void)state;
    assert_false(sweep_of(0, "mdddddddss", 0));
    assert_true(failover_brake(b)->in_doubt);
    assert_false(sweep_of(10, "msssddssss", 0)); /* 3 of 10 */
    assert_false(failover_brake(b)->in_doubt);
    assert_false(sweep_of(20, "mddsssssss", 0));
    assert_false(failover_brake(b)->in_doubt);
    assert_true(sweep_of(30, "mmmmddddss", 0));
    assert_false(failover_brake(b)->in_doubt); /* it is down: no doubt left */
}

static void one_slow_report_is_no_doubt(void **state)
{
    (void)state;
    assert_false(sweep_of(0, "mdss", 0));
    assert_false(failover_brake(b)->in_doubt);
    assert_false(sweep_of(1, "md", 0)); /* but nobody would be left */
    assert_true(failover_brake(b)->in_doubt);
}

/* --- rising -------------------------------------------------------------- */

static void who_is_forgotten_is_not_missing(void **state)
{
    (void)state;
    assert_true(sweep(0, 4, 10, 0));
    assert_false(sweep_of(900000, "...mssssss", 0));
    assert_int_equal(failover_brake(b)->known, 7);
}

/* Its record says that four were missing, of which he knows two. */
static void a_standing_record_keeps_it_down_for_a_newcomer(void **state)
{
    (void)state;
    assert_true(sweep(0, 2, 4, 4));
    assert_true(sweep(70000, 2, 4, 0)); /* by itself from here on */
    assert_false(sweep(70001, 1, 4, 0));
}

static void it_says_two_were_all_and_lifts_for_a_newcomer(void **state)
{
    (void)state;
    assert_true(sweep_of(0, "mmnn", 2));
    assert_false(sweep_of(1, "mmss", 2));
    assert_false(sweep_of(2, "mmss", 0));
}

/* Two of two gone, two others come. */
static void a_replaced_kind_goes_on_once_the_newcomers_have_stood(void **state)
{
    (void)state;
    assert_true(sweep_of(0, "mm", 0));
    assert_true(sweep_of(1000, "mmnn", 0));
    assert_true(sweep_of(9000, "mmnd", 0));
    assert_false(sweep_of(11000, "mmss", 0));
    assert_true(sweep_of(12000, "mm..", 0));
    assert_false(sweep_of(13000, "mm..s", 2)); /* one is enough */
}

static void an_address_seen_twice_counts_once(void **state)
{
    (void)state;
    failover_brake_begin(b, 0, 0);
    failover_brake_see(b, "m1:1", BRAKE_MISSING, 0, -1);
    failover_brake_see(b, "m1:1", BRAKE_MISSING, 0, -1);
    failover_brake_see(b, "m2:1", BRAKE_SETTLED, 0, -1);
    assert_false(failover_brake_end(b));
    assert_int_equal(failover_brake(b)->known, 2);
    assert_int_equal(failover_brake(b)->missing, 1);
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
        TEST(who_was_fenced_counts_for_the_whole_window),
        TEST(the_fenced_of_another_time_do_not_count),
        TEST(a_record_tells_since_when_it_is_missing),
        TEST(a_long_lease_lengthens_the_window),
        TEST(the_doubtful_make_it_wait_and_not_fall),
        TEST(one_slow_report_is_no_doubt),
        TEST(who_is_forgotten_is_not_missing),
        TEST(a_standing_record_keeps_it_down_for_a_newcomer),
        TEST(it_says_two_were_all_and_lifts_for_a_newcomer),
        TEST(a_replaced_kind_goes_on_once_the_newcomers_have_stood),
        TEST(an_address_seen_twice_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
