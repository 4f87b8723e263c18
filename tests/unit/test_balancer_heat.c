/*
 * test_balancer_heat.c - who is only picked when no better one is left, and
 * who is given less as it is new; rule by rule, in virtual time.
 */
#include "tests/unit/test_balancer.h"

static struct balancer *balancer_with(struct conf_balancer conf)
{
    return balancer_new(&conf, 42, INSTANCE);
}

static bool is_hot(struct balancer *b, mono_ms now)
{
    balancer_tick(b, now);
    assert_string_equal(pick(b, now), "a:1");
    return last.degraded;
}

static void set_cpu(struct balancer *b, double cpu, mono_ms at)
{
    struct balancer_worker w = idle("a:1", 1000, at);

    w.cpu = cpu;
    set(b, w, at);
}

static void a_report_grows_late_then_stale(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_idle(b, "a:1", 1000, START);
    assert_false(is_hot(b, START + 2 * INTERVAL));
    assert_true(is_hot(b, START + 2 * INTERVAL + 1));
    assert_true(is_hot(b, START + 3 * INTERVAL));
    balancer_tick(b, START + 3 * INTERVAL + 1);
    assert_string_equal(pick(b, START + 3 * INTERVAL + 1), "");
    assert_int_equal(last.code, BALANCER_REPORTS_OLD);
    balancer_free(&b);
}

static void hot_until_well_below_the_threshold(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_cpu(b, 0.86, START); /* was never at .9 */
    assert_false(is_hot(b, START));
    set_cpu(b, 0.9, START + INTERVAL);
    assert_true(is_hot(b, START + INTERVAL));
    set_cpu(b, 0.86, START + 2 * INTERVAL);
    assert_true(is_hot(b, START + 2 * INTERVAL));
    set_cpu(b, 0.86, START + 3 * INTERVAL);
    assert_true(is_hot(b, START + 3 * INTERVAL));
    set_cpu(b, 0.84, START + 4 * INTERVAL);
    assert_false(is_hot(b, START + 4 * INTERVAL));
    set_cpu(b, 0.86, START + 5 * INTERVAL);
    assert_false(is_hot(b, START + 5 * INTERVAL));
    balancer_free(&b);
}

static void hot_for_an_interval_at_least(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_cpu(b, 0.95, START);
    set_cpu(b, 0.1, START + 1000);
    assert_true(is_hot(b, START + 1000));
    assert_true(is_hot(b, START + INTERVAL - 1));
    assert_false(is_hot(b, START + INTERVAL));
    balancer_free(&b);
}

static void who_stops_to_say_it_is_not_hot_for_it(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_cpu(b, 0.95, START);
    assert_true(is_hot(b, START));
    set_cpu(b, NAN, START + 1000);
    assert_false(is_hot(b, START + 1000));
    balancer_free(&b);
}

static void another_threshold_holds_at_once(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct conf_balancer conf = test_conf;

    (void)state;
    set_cpu(b, 0.5, START);
    assert_false(is_hot(b, START));
    conf.cpu_max = 0.4;
    balancer_configure(b, &conf, NULL, 0, START);
    assert_true(is_hot(b, START));
    conf.cpu_max = 0.9;
    balancer_configure(b, &conf, NULL, 0, START);
    assert_false(is_hot(b, START));
    balancer_free(&b);
}

/* ---- warm-up ---------------------------------------------------------------
 */
static void a_new_worker_warms_up(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("new:1", 100, START);
    struct tally t;

    (void)state;
    w.since = START;
    set(b, w, START);
    set_idle(b, "old:1", 100, START);
    tally_picks(&t, b, NULL, 110, START);
    assert_in_range(*tally_of(&t, "new:1"), 9, 11); /* a tenth of the other */
    w.reported = START + 30000;
    set(b, w, START + 30000);
    set_idle(b, "old:1", 100, START + 30000);
    tally_picks(&t, b, NULL, 150, START + 30000);
    assert_in_range(*tally_of(&t, "new:1"), 49, 51); /* half */
    assert_true(term(b, "new:1", "warm_up", START + 60000) == 1);
    balancer_free(&b);
}

/* Envoy's slow start: above 1 more at first, below 1 less; a tenth at least. */
static void warm_up_follows_the_aggression(void **state)
{
    static const struct {
        double aggression, after, is; /* `after` of the warm-up */
    } cases[] = {{1, 0.5, 0.5},   {2, 0.25, 0.5},  {0.5, 0.5, 0.25},
                 {0.5, 0.1, 0.1}, {10, 0, 0.1},    {0.1, 0.99, 0.904},
                 {0.1, 1, 1},     {10, 0.5, 0.933}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf_balancer conf = test_conf;
        struct balancer_worker w = idle("a:1", 8, START);
        mono_ms now = START + (mono_ms)lround(60000 * cases[i].after);

        conf.warm_up_aggression = cases[i].aggression;
        struct balancer *b = balancer_with(conf);

        w.since = START;
        set(b, w, START);
        assert_true(fabs(term(b, "a:1", "warm_up", now) - cases[i].is) < 1e-3);
        balancer_free(&b);
    }
}

static void no_warm_up_and_one_from_the_future(void **state)
{
    struct conf_balancer conf = test_conf;
    struct balancer_worker w = idle("a:1", 8, START);

    (void)state;
    conf.warm_up_ms = 0;
    struct balancer *b = balancer_with(conf);

    w.since = START;
    set(b, w, START);
    assert_true(term(b, "a:1", "warm_up", START) == 1);
    balancer_configure(b, &test_conf, NULL, 0, START);
    w.since = START + 1000000;
    w.reported++;
    set(b, w, START);
    assert_true(term(b, "a:1", "warm_up", START) == 0.1);
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_grows_late_then_stale),
        cmocka_unit_test(hot_until_well_below_the_threshold),
        cmocka_unit_test(hot_for_an_interval_at_least),
        cmocka_unit_test(who_stops_to_say_it_is_not_hot_for_it),
        cmocka_unit_test(another_threshold_holds_at_once),
        cmocka_unit_test(a_new_worker_warms_up),
        cmocka_unit_test(warm_up_follows_the_aggression),
        cmocka_unit_test(no_warm_up_and_one_from_the_future),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
