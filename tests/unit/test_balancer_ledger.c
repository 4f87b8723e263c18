/*
 * test_balancer_ledger.c - the ledger's arithmetic: what counts between
 * reports, and who is hot.
 */
#include "tests/unit/test_balancer.h"

#include <math.h>

static double est(struct balancer *b, const char *address, mono_ms now)
{
    return term(b, address, "est", now);
}

static void sixty_picks_spread_by_capacity(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct tally t;

    (void)state;
    set_idle(b, "small:1", 8, START);
    set_idle(b, "medium:1", 16, START);
    set_idle(b, "large:1", 32, START);
    tally_picks(&t, b, NULL, 60, START);
    assert_in_range(*tally_of(&t, "small:1"), 8, 9);
    assert_in_range(*tally_of(&t, "medium:1"), 16, 18);
    assert_in_range(*tally_of(&t, "large:1"), 33, 35);
    balancer_free(&b);
}

static void a_stale_report_does_not_draw_the_herd(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w;
    struct tally t;
    char address[32];

    (void)state;
    for (int i = 0; i < 20; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        w = idle(address, 16, START);
        w.pool = i == 0 ? 0 : 0.5;
        set(b, w, START);
    }
    for (mono_ms at = START; at < START + INTERVAL; at += 250)
        balancer_tick(b, at);
    tally_picks(&t, b, NULL, 200, START + INTERVAL - 1);
    /* The idle one is filled up to the others and then shares with them. */
    assert_in_range(*tally_of(&t, "w0:1"), 8, 20);
    assert_int_equal(t.n, 20);
    balancer_free(&b);
}

/* Of the report as of grants four fifths are left after an interval, each by
 * its own age: until reports tell better. */
static void without_acknowledgements_old_work_fades(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 10, START);

    (void)state;
    w.pool = 0.5;
    set(b, w, START);
    pick(b, START);
    assert_true(fabs(est(b, "a:1", START) - 6) < 1e-6);
    pick(b, START + INTERVAL / 2);
    assert_true(
        fabs(est(b, "a:1", START + INTERVAL / 2) - (sqrt(0.8) * 6 + 1)) < 1e-3);
    assert_true(fabs(est(b, "a:1", START + INTERVAL) - (0.8 * 6 + sqrt(0.8))) <
                1e-3);
    assert_true(fabs(est(b, "a:1", START + 2 * INTERVAL) -
                     (0.8 * 6 + sqrt(0.8))) < 1e-3);
    balancer_free(&b);
}

static void a_report_settles_all_grants_but_the_latest(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 10, START);

    (void)state;
    set(b, w, START);
    for (int i = 0; i < 3; i++)
        pick(b, START);
    pick(b, START + 4980);
    assert_string_equal(pick(b, START + 4990), "a:1");
    assert_true(balancer_done(b, last_pick.pick));
    w.reported = START + 5000;
    w.pool = 0.3; /* the three: the one of 20 ms ago is not in it yet */
    set(b, w, START + 5000);
    assert_true(fabs(est(b, "a:1", START + 5000) - 4) < 1e-6);
    pick(b, START + 8900); /* in the next report */
    w.reported = START + 9000;
    w.pool = 0.5;
    set(b, w, START + 9000);
    assert_true(fabs(est(b, "a:1", START + 9000) - 5) < 1e-6);
    balancer_free(&b);
}

/* The lag is in proportion to how often there are reports. */
static void frequent_reports_settle_sooner(void **state)
{
    struct conf_balancer conf = test_conf;
    struct balancer *b;

    (void)state;
    conf.heartbeat_interval_ms = 1000;
    b = balancer_new(&conf, 42, INSTANCE);
    set_idle(b, "a:1", 10, START);
    pick(b, START + 990);
    pick(b, START + 1004);
    set_idle(b, "a:1", 10, START + 1006);
    assert_true(term(b, "a:1", "granted", START + 1006) == 1);
    balancer_free(&b);
}

static void reports_settle_at_any_interval(void **state)
{
    static const int64_t intervals[] = {1, 100, 1000, 10000, 30000, 3600000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(intervals); i++) {
        struct conf_balancer conf = test_conf;
        struct balancer *b;

        conf.heartbeat_interval_ms = intervals[i];
        b = balancer_new(&conf, 42, INSTANCE);
        set_idle(b, "a:1", 10, START);
        pick(b, START);
        set_idle(b, "a:1", 10, START + 1000 + intervals[i]);
        assert_true(term(b, "a:1", "granted", START + 1000 + intervals[i]) ==
                    0);
        balancer_free(&b);
    }
}

static void an_unchanged_report_settles_nothing(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_idle(b, "a:1", 8, START);
    pick(b, START);
    set(b, idle("a:1", 8, START), START + 5000);
    assert_true(term(b, "a:1", "granted", START + 5000) == 1);
    balancer_free(&b);
}

static void a_report_without_pool_usage_keeps_the_own_count(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 10, START);

    (void)state;
    w.pool = -1;
    set(b, w, START);
    for (int i = 0; i < 4; i++)
        pick(b, START);
    w.reported = START + INTERVAL;
    set(b, w, START + INTERVAL);
    assert_true(fabs(est(b, "a:1", START + INTERVAL) - 0.8 * 4) < 1e-3);
    balancer_free(&b);
}

static void grants_in_one_group_count_in_the_others(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    static const char *const gpu[] = {"gpu"};
    struct balancer_worker w = idle("g:1", 8, START);
    struct balancer_request in_gpu = {.group = "gpu", .now = START};

    (void)state;
    w.groups = gpu;
    w.n_groups = 1;
    set(b, w, START);
    set_idle(b, "plain:1", 8, START);
    for (int i = 0; i < 5; i++)
        assert_string_equal(ask(b, in_gpu), "g:1");
    for (int i = 0; i < 5; i++)
        assert_string_equal(pick(b, START), "plain:1");
    balancer_free(&b);
}

static void hot_workers_are_picked_only_when_no_cold_one_is_left(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("hot:1", 1000, START);

    (void)state;
    w.cpu = 0.95;
    set(b, w, START);
    set_idle(b, "cold:1", 50, START);
    for (int i = 0; i < 50; i++) {
        assert_string_equal(pick(b, START), "cold:1");
        assert_false(last.degraded);
    }
    balancer_remove(b, "cold:1");
    assert_string_equal(pick(b, START), "hot:1");
    assert_true(last.degraded);
    balancer_free(&b);
}

/* Who has no slot left is not preferred to the hot, and ranks among them. */
static void a_full_worker_ranks_with_the_hot(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("hot:1", 8, START);
    struct tally t;

    (void)state;
    w.cpu = 0.95;
    set(b, w, START);
    set_idle(b, "cold:1", 8, START);
    tally_picks(&t, b, NULL, 8, START);
    assert_int_equal(*tally_of(&t, "cold:1"), 8);
    assert_false(last.degraded);
    tally_picks(&t, b, NULL, 24, START);
    assert_int_equal(*tally_of(&t, "hot:1"), 16);
    assert_int_equal(*tally_of(&t, "cold:1"), 8);
    assert_true(last.degraded);
    balancer_free(&b);
}

static void each_reason_to_be_hot_counts(void **state)
{
    (void)state;
    for (int reason = 0; reason < 5; reason++) {
        struct balancer *b = balancer_of(CONF_LEDGER);
        struct balancer_worker w = idle("hot:1", 8, START);

        w.cpu = reason == 0 ? 0.9 : -1;
        w.memory = reason == 1 ? 0.9 : -1;
        w.disk = reason == 2 ? 0.95 : -1;
        w.degraded = reason == 3;
        w.reported = reason == 4 ? START - 2 * INTERVAL - 1 : START;
        set(b, w, START);
        assert_string_equal(pick(b, START), "hot:1");
        assert_true(last.degraded);
        balancer_free(&b);
    }
}

static void a_refused_task_is_taken_off_the_account(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_idle(b, "a:1", 8, START);
    pick(b, START);
    pick(b, START);
    assert_true(balancer_refused(b, last_pick.pick));
    assert_true(term(b, "a:1", "granted", START) == 1);
    assert_int_equal(balancer_stats(b).refused, 1);
    balancer_free(&b);
}

static void work_given_by_others_counts(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_idle(b, "a:1", 8, START);
    set_idle(b, "b:1", 8, START);
    balancer_count(b, "a:1", 3, START);
    balancer_count(b, "nobody:1", 1, START);
    for (int i = 0; i < 3; i++)
        assert_string_equal(pick(b, START), "b:1");
    balancer_count(b, "a:1", -2, START);
    assert_true(est(b, "a:1", START) == 1);
    balancer_count(b, "a:1", -100, START);
    assert_true(est(b, "a:1", START) == 0);
    balancer_free(&b);
}

static void other_coordinators_are_taken_to_grant_as_much(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_idle(b, "a:1", 8, START);
    balancer_set_coordinators(b, 3);
    pick(b, START);
    assert_true(est(b, "a:1", START) == 3);
    assert_true(balancer_done(b, last_pick.pick));
    assert_true(est(b, "a:1", START) == 0);
    balancer_free(&b);
}

static void capacity_is_inferred_from_pool_usages(void **state)
{
    static const double usages[] = {0.5, 3.0 / 12, 0, 5.0 / 12, 7.0 / 12};
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 0, START);

    (void)state;
    set(b, w, START);
    assert_true(term(b, "a:1", "capacity", START) == 100); /* its weight */
    for (size_t i = 0; i < ARRAY_LEN(usages); i++) {
        w.reported++;
        w.pool = usages[i];
        set(b, w, START);
    }
    assert_true(term(b, "a:1", "capacity", START) == 12);
    assert_true(fabs(term(b, "a:1", "running", START) - 7) < 1e-9);
    w.reported++;
    w.pool = 0.123456789123; /* no fraction of tasks */
    set(b, w, START);
    assert_true(term(b, "a:1", "capacity", START) == 100);
    balancer_free(&b);
}

static void wild_numbers_are_brought_into_range(void **state)
{
    static const double wild[] = {NAN, INFINITY, -INFINITY, -1e300, 1e300};
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct tally t;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wild); i++) {
        struct balancer_worker w = idle("wild:1", 0, START);

        w.reported = START + (mono_ms)i;
        w.cpu = w.memory = w.disk = w.pool = wild[i];
        w.slots = i % 2 ? INT32_MAX : INT32_MIN;
        w.weight = i % 2 ? INT32_MIN : INT32_MAX;
        set(b, w, START);
        pick(b, START);
        double e = est(b, "wild:1", START);

        assert_true(isfinite(e) && e >= 0);
        w.weight = 100;
        set(b, w, START);
        assert_string_equal(pick(b, START), "wild:1");
        assert_true(isfinite(last_pick.score) && last_pick.score > 0);
    }
    set_idle(b, "sane:1", 8, START);
    tally_picks(&t, b, NULL, 10, START);
    balancer_count(b, "sane:1", INT32_MAX, START);
    balancer_count(b, "sane:1", -INT32_MAX, START);
    balancer_count(b, "sane:1", INT32_MIN, START);
    assert_true(est(b, "sane:1", START) == 0);
    balancer_free(&b);
}

static void time_that_goes_back_is_the_time_before(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_idle(b, "a:1", 8, START);
    assert_string_equal(pick(b, START - 5000), "a:1");
    assert_string_equal(pick(b, 0), "a:1");
    balancer_tick(b, 0);
    assert_true(est(b, "a:1", START) == 2);
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixty_picks_spread_by_capacity),
        cmocka_unit_test(a_stale_report_does_not_draw_the_herd),
        cmocka_unit_test(without_acknowledgements_old_work_fades),
        cmocka_unit_test(a_report_settles_all_grants_but_the_latest),
        cmocka_unit_test(frequent_reports_settle_sooner),
        cmocka_unit_test(reports_settle_at_any_interval),
        cmocka_unit_test(an_unchanged_report_settles_nothing),
        cmocka_unit_test(a_report_without_pool_usage_keeps_the_own_count),
        cmocka_unit_test(grants_in_one_group_count_in_the_others),
        cmocka_unit_test(hot_workers_are_picked_only_when_no_cold_one_is_left),
        cmocka_unit_test(a_full_worker_ranks_with_the_hot),
        cmocka_unit_test(each_reason_to_be_hot_counts),
        cmocka_unit_test(a_refused_task_is_taken_off_the_account),
        cmocka_unit_test(work_given_by_others_counts),
        cmocka_unit_test(other_coordinators_are_taken_to_grant_as_much),
        cmocka_unit_test(capacity_is_inferred_from_pool_usages),
        cmocka_unit_test(wild_numbers_are_brought_into_range),
        cmocka_unit_test(time_that_goes_back_is_the_time_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
