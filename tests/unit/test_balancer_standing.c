/*
 * test_balancer_standing.c - who may be picked: BUSY and the way back from it,
 * refusals; rule by rule, in virtual time.
 */
#include "tests/unit/test_balancer.h"

static struct balancer *balancer_with(struct conf_balancer conf)
{
    return balancer_new(&conf, 42, INSTANCE);
}

static struct balancer *balancer_busy(enum conf_busy rule)
{
    struct conf_balancer conf = test_conf;

    conf.busy = rule;
    return balancer_with(conf);
}

static void set_busy(struct balancer *b, const char *address, mono_ms at)
{
    struct balancer_worker w = idle(address, 8, at);

    w.busy = true;
    w.pool = 1;
    set(b, w, at);
}

static double recovery(struct balancer *b, const char *address, mono_ms now)
{
    balancer_tick(b, now);
    return term(b, address, "recovery", now);
}

/* ---- BUSY ---------------------------------------------------------------- */

static void busy_is_never_picked_by_default(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_busy(b, "a:1", START);
    assert_string_equal(pick(b, START), "");
    assert_int_equal(last.code, BALANCER_ALL_BUSY);
    set_idle(b, "b:1", 1, START);
    for (int i = 0; i < 20; i++)
        assert_string_equal(pick(b, START), "b:1");
    balancer_free(&b);
}

static void busy_last_is_picked_when_nobody_else_is_left(void **state)
{
    struct balancer *b = balancer_busy(CONF_BUSY_LAST);

    (void)state;
    set_busy(b, "a:1", START);
    set_idle(b, "b:1", 8, START);
    for (int i = 0; i < 8; i++) {
        assert_string_equal(pick(b, START), "b:1");
        assert_false(last.degraded);
    }
    balancer_remove(b, "b:1");
    assert_string_equal(pick(b, START), "a:1");
    assert_true(last.degraded);
    balancer_free(&b);
}

/* By its slots, though it says nothing of its pool. */
static void busy_last_is_taken_to_be_full(void **state)
{
    struct balancer *b = balancer_busy(CONF_BUSY_LAST);
    struct balancer_worker w = idle("a:1", 8, START);

    (void)state;
    w.busy = true;
    w.pool = -1;
    set(b, w, START);
    assert_true(term(b, "a:1", "est", START) == 8);
    assert_string_equal(pick(b, START), "a:1");
    assert_true(term(b, "a:1", "est", START) == 9);
    assert_true(term(b, "a:1", "est", START + INTERVAL) > 8); /* not less */
    balancer_free(&b);
}

static void the_other_policies_exclude_busy_in_any_case(void **state)
{
    static const enum conf_policy policies[] = {
        CONF_RANDOM, CONF_ROUND_ROBIN, CONF_FIXED_WEIGHTED_ROUND_ROBIN,
        CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        struct conf_balancer conf = test_conf;

        conf.policy = policies[i];
        conf.busy = CONF_BUSY_LAST;
        struct balancer *b = balancer_with(conf);

        set_busy(b, "a:1", START);
        assert_string_equal(pick(b, START), "");
        set_idle(b, "b:1", 8, START);
        for (int j = 0; j < 10; j++)
            assert_string_equal(pick(b, START), "b:1");
        /* And the ledger does not, from then on. */
        balancer_remove(b, "b:1");
        balancer_set_policy(b, CONF_LEDGER, START);
        assert_string_equal(pick(b, START), "a:1");
        balancer_free(&b);
    }
}

static void the_rule_for_busy_can_change(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct conf_balancer conf = test_conf;

    (void)state;
    set_busy(b, "a:1", START);
    assert_string_equal(pick(b, START), "");
    conf.busy = CONF_BUSY_LAST;
    balancer_configure(b, &conf, NULL, 0, START);
    assert_string_equal(pick(b, START), "a:1");
    conf.busy = CONF_BUSY_EXCLUDE;
    balancer_configure(b, &conf, NULL, 0, START);
    assert_string_equal(pick(b, START), "");
    balancer_free(&b);
}

/* ---- coming back from BUSY ------------------------------------------------
 */

/* Half of the others' share, and neither closed nor hot. */
static void back_from_busy_it_is_cold_and_given_less(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct tally t;

    (void)state;
    set_busy(b, "a:1", START);
    set_idle(b, "a:1", 1000, START + 1000);
    set_idle(b, "b:1", 1000, START + 1000);
    assert_true(recovery(b, "a:1", START + 1000) == 0.5);
    tally_picks(&t, b, NULL, 90, START + 1000);
    assert_in_range(*tally_of(&t, "a:1"), 29, 31);
    assert_false(last.degraded);
    balancer_free(&b);
}

/* BUSY for long before it: that does not count. */
static void recovery_counts_from_the_end_of_busy(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    mono_ms end = START + 100000;

    (void)state;
    for (mono_ms at = START; at < end; at += INTERVAL)
        set_busy(b, "a:1", at);
    set_idle(b, "a:1", 8, end);
    set_idle(b, "a:1", 8, end + 1000);
    assert_true(recovery(b, "a:1", end + 1000) == 0.5);
    assert_true(fabs(recovery(b, "a:1", end + 12000) - 0.8) < 1e-9);
    assert_true(recovery(b, "a:1", end + 14999) < 1);
    assert_true(recovery(b, "a:1", end + 15000) == 1);
    balancer_free(&b);
}

static void leaving_busy_takes_two_good_reports(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 8, START + 16000);

    (void)state;
    set_busy(b, "a:1", START);
    set_idle(b, "a:1", 8, START + 1000);
    assert_true(recovery(b, "a:1", START + 16000) == 0.5);
    w.degraded = true; /* says nothing good */
    set(b, w, START + 16000);
    assert_true(recovery(b, "a:1", START + 16000) == 0.5);
    set_idle(b, "a:1", 8, START + 17000);
    assert_true(recovery(b, "a:1", START + 17000) == 1);
    balancer_free(&b);
}

/* BUSY at `at` and NORMAL a tenth of an interval later, with reports of half an
 * interval: when is it back, from then on? */
static mono_ms time_to_recover(struct balancer *b, mono_ms at, mono_ms interval)
{
    mono_ms end = at + interval / 10;

    set_busy(b, "a:1", at);
    for (mono_ms now = end;; now += interval / 2) {
        set_idle(b, "a:1", 8, now);
        if (now > end && recovery(b, "a:1", now) == 1)
            return now - end;
    }
}

static void the_dwell_doubles_and_has_an_end(void **state)
{
    static const double dwells[] = {1.5, 3, 6, 12, 16, 16};

    (void)state;
    for (mono_ms interval = 1000; interval <= 10000; interval *= 10) {
        struct conf_balancer conf = test_conf;
        mono_ms at = START;

        conf.heartbeat_interval_ms = interval;
        struct balancer *b = balancer_with(conf);

        for (size_t i = 0; i < ARRAY_LEN(dwells); i++) {
            mono_ms took = time_to_recover(b, at, interval);

            assert_int_equal(took, (mono_ms)(dwells[i] * (double)interval));
            at += took + interval;
        }
        at += 17 * interval; /* long enough without a relapse */
        assert_int_equal(time_to_recover(b, at, interval), interval * 3 / 2);
        balancer_free(&b);
    }
}

static void a_relapse_while_it_recovers_doubles_it_too(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    for (int i = 0; i < 3; i++) {
        set_busy(b, "a:1", START + i * 2000);
        set_idle(b, "a:1", 8, START + i * 2000 + 1000);
    }
    set_idle(b, "a:1", 8, START + 6000);
    assert_true(recovery(b, "a:1", START + 5000 + 59999) < 1);
    assert_true(recovery(b, "a:1", START + 5000 + 60000) == 1);
    balancer_free(&b);
}

static void another_process_has_nothing_to_recover_from(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 8, START + 2000);

    (void)state;
    set_busy(b, "a:1", START);
    set_idle(b, "a:1", 8, START + 1000);
    assert_true(recovery(b, "a:1", START + 1000) == 0.5);
    w.incarnation++;
    set(b, w, START + 2000);
    assert_true(recovery(b, "a:1", START + 2000) == 1);
    balancer_free(&b);
}

/* ---- refusals -------------------------------------------------------------
 */

static void refuse(struct balancer *b, mono_ms now)
{
    assert_string_not_equal(pick(b, now), "");
    assert_true(balancer_refused(b, last_pick.pick));
}

static void a_refusal_closes_for_a_while(void **state)
{
    static const struct {
        int64_t interval;
        mono_ms closed;
    } cases[] = {{100, 1}, {1000, 2}, {10000, 25}, {3600000, 9000}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf_balancer conf = test_conf;
        mono_ms closed = cases[i].closed;

        conf.heartbeat_interval_ms = cases[i].interval;
        struct balancer *b = balancer_with(conf);

        set_idle(b, "a:1", 8, START);
        refuse(b, START);
        assert_string_equal(pick(b, START), "");
        assert_int_equal(last.code, BALANCER_ALL_BUSY);
        assert_true(last.retry_after_ms >= 1000);
        assert_string_equal(pick(b, START + closed - 1), "");
        assert_string_equal(pick(b, START + closed), "a:1");
        balancer_free(&b);
    }
}

static void a_refusal_ends_with_an_end_there_or_a_report(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    pick_id earlier;

    (void)state;
    set_idle(b, "a:1", 8, START);
    assert_string_equal(pick(b, START), "a:1");
    earlier = last_pick.pick;
    refuse(b, START);
    assert_string_equal(pick(b, START + 1), "");
    assert_true(balancer_done(b, earlier));
    assert_string_equal(pick(b, START + 1), "a:1");
    assert_true(balancer_refused(b, last_pick.pick));
    assert_string_equal(pick(b, START + 2), "");
    set_idle(b, "a:1", 8, START + 3);
    assert_string_equal(pick(b, START + 3), "a:1");
    balancer_free(&b);
}

/* Where ends are told it is as good as one that is known to run as much as it
 * can; else it may have room again at any time. */
static void
who_refused_is_taken_to_be_full_as_far_as_ends_are_told(void **state)
{
    (void)state;
    for (int told = 0; told < 2; told++) {
        struct balancer *b = balancer_of(CONF_LEDGER);
        mono_ms at = START;

        set_idle(b, "a:1", 8, at);
        for (int i = 0; i < 200; i++) { /* it learns that */
            for (int j = 0; j < 4; j++) {
                assert_string_equal(pick(b, at + 1000), "a:1");
                if (told)
                    assert_true(balancer_done(b, last_pick.pick));
            }
            at += INTERVAL;
            set_idle(b, "a:1", 8, at);
        }
        refuse(b, at);
        double est = term(b, "a:1", "est", at);

        if (told)
            assert_true(est > 7.5 && est <= 8.001);
        else
            assert_true(est < 0.5);
        set_idle(b, "a:1", 8, at + 5000); /* it says that it is not */
        assert_true(term(b, "a:1", "est", at + 5000) < 0.5);
        balancer_free(&b);
    }
}

/* Later ones than the first, and while the group is walked. */
static void each_refusal_has_its_own_end(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_idle(b, "a:1", 8, START);
    set_idle(b, "b:1", 8, START);
    refuse(b, START);
    balancer_tick(b, START + 10);
    refuse(b, START + 10);
    assert_string_equal(pick(b, START + 24), "");
    assert_string_not_equal(pick(b, START + 25), "");
    balancer_tick(b, START + 34);
    assert_false(term(b, "a:1", "score", START + 34) > 0 &&
                 term(b, "b:1", "score", START + 34) > 0);
    (void)pick(b, START + 35);
    assert_true(term(b, "a:1", "score", START + 35) > 0);
    assert_true(term(b, "b:1", "score", START + 35) > 0);
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_is_never_picked_by_default),
        cmocka_unit_test(busy_last_is_picked_when_nobody_else_is_left),
        cmocka_unit_test(busy_last_is_taken_to_be_full),
        cmocka_unit_test(the_other_policies_exclude_busy_in_any_case),
        cmocka_unit_test(the_rule_for_busy_can_change),
        cmocka_unit_test(back_from_busy_it_is_cold_and_given_less),
        cmocka_unit_test(recovery_counts_from_the_end_of_busy),
        cmocka_unit_test(leaving_busy_takes_two_good_reports),
        cmocka_unit_test(the_dwell_doubles_and_has_an_end),
        cmocka_unit_test(a_relapse_while_it_recovers_doubles_it_too),
        cmocka_unit_test(another_process_has_nothing_to_recover_from),
        cmocka_unit_test(a_refusal_closes_for_a_while),
        cmocka_unit_test(a_refusal_ends_with_an_end_there_or_a_report),
        cmocka_unit_test(
            who_refused_is_taken_to_be_full_as_far_as_ends_are_told),
        cmocka_unit_test(each_refusal_has_its_own_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
