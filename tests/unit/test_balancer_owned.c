/*
 * test_balancer_owned.c - work items that a worker owns: whatever it reports,
 * it runs them.
 */
#include "tests/unit/test_balancer.h"

/* As one that says its slots and cpu alone. */
static void set_terse(struct balancer *b, const char *address, mono_ms at)
{
    struct balancer_worker w = idle(address, 8, at);

    w.memory = w.disk = w.pool = -1;
    set(b, w, at);
}

static double est(struct balancer *b, const char *address, mono_ms now)
{
    return term(b, address, "est", now);
}

/* Eight items that it was given by picks: they do not fade away. */
static void what_it_owns_it_runs_however_long(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    mono_ms at = START;

    (void)state;
    set_terse(b, "a:1", at);
    for (uint32_t i = 1; i <= 8; i++) {
        assert_string_equal(pick(b, at), "a:1");
        balancer_own(b, "a:1", i, at);
        assert_true(est(b, "a:1", at) == i); /* not counted twice */
    }
    for (at = START + 5000; at <= START + 150000; at += 5000) {
        set_terse(b, "a:1", at);
        balancer_tick(b, at);
        assert_true(est(b, "a:1", at) == 8);
    }
    set_terse(b, "b:1", at);
    for (int i = 0; i < 7; i++)
        assert_string_equal(pick(b, at), "b:1");
    balancer_free(&b);
}

/* Picks that become no items are on top of them. */
static void picks_count_beside_what_it_owns(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_terse(b, "a:1", START);
    balancer_own(b, "a:1", 4, START);
    assert_true(est(b, "a:1", START) == 4);
    assert_string_equal(pick(b, START), "a:1");
    assert_true(est(b, "a:1", START) == 5);
    assert_string_equal(pick(b, START), "a:1");
    assert_true(est(b, "a:1", START) == 6);
    assert_true(balancer_done(b, last_pick.pick));
    assert_true(est(b, "a:1", START) == 5);
    balancer_own(b, "a:1", 5, START); /* the other one */
    assert_true(est(b, "a:1", START) == 5);
    balancer_free(&b);
}

/* Whoever ended it: we, in either order, or another coordinator. */
static void an_item_that_ends_counts_no_more(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct balancer *b = balancer_of(CONF_LEDGER);

        set_terse(b, "a:1", START);
        balancer_own(b, "a:1", 4, START);
        if (way == 0)
            balancer_count(b, "a:1", -1, START);
        balancer_own(b, "a:1", 3, START);
        if (way == 1)
            balancer_count(b, "a:1", -1, START);
        assert_true(est(b, "a:1", START) == 3);
        set_terse(b, "a:1", START + INTERVAL);
        assert_true(est(b, "a:1", START + INTERVAL) == 3);
        balancer_own(b, "a:1", 0, START + INTERVAL);
        balancer_count(b, "a:1", -3, START + INTERVAL);
        assert_true(est(b, "a:1", START + INTERVAL) == 0);
        balancer_free(&b);
    }
}

/* A report says more than it owns, or less: the higher one counts. */
static void the_floor_is_no_ceiling(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 8, START);

    (void)state;
    w.pool = 0.75;
    set(b, w, START);
    balancer_own(b, "a:1", 4, START);
    assert_true(est(b, "a:1", START) == 6);
    w.pool = 0.25;
    w.reported = START + 1000;
    set(b, w, START + 1000);
    assert_true(est(b, "a:1", START + 1000) == 4);
    balancer_free(&b);
}

static void nobody_owns_nothing(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    balancer_own(b, "a:1", 4, START);
    set_terse(b, "a:1", START);
    assert_true(est(b, "a:1", START) == 0);
    balancer_own(b, "a:1", UINT32_MAX, START);
    assert_true(isfinite(est(b, "a:1", START)));
    assert_string_equal(pick(b, START), "a:1");
    balancer_own(b, "a:1", 0, START);
    assert_true(est(b, "a:1", START) <= 1);
    balancer_free(&b);
}

/* What explain gives is all of it, at any time. */
static void the_terms_of_an_estimate_make_it(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 8, START);

    (void)state;
    w.pool = 0.5;
    set(b, w, START);
    for (mono_ms at = START; at <= START + INTERVAL; at += 500) {
        assert_string_equal(pick(b, at), "a:1");
        if (at % 3000 == 0)
            balancer_own(b, "a:1", 3, at);
        if (at % 2000 == 0)
            assert_true(balancer_done(b, last_pick.pick));
        else if (at % 7000 == 0)
            assert_true(balancer_refused(b, last_pick.pick));
        balancer_tick(b, at + 300);
        double told = term(b, "a:1", "told", at + 300);
        double e = term(b, "a:1", "carried", at + 300) +
                   told * term(b, "a:1", "granted", at + 300) +
                   (1 - told) * term(b, "a:1", "alive", at + 300) -
                   term(b, "a:1", "acknowledged", at + 300);

        e = fmax(e, term(b, "a:1", "owned", at + 300));
        assert_true(fabs(e - est(b, "a:1", at + 300)) < 1e-4);
        assert_true(fabs((e + 1) / (term(b, "a:1", "share", at + 300) *
                                    term(b, "a:1", "warm_up", at + 300) *
                                    term(b, "a:1", "recovery", at + 300)) -
                         term(b, "a:1", "score", at + 300)) < 1e-4);
    }
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_owns_it_runs_however_long),
        cmocka_unit_test(picks_count_beside_what_it_owns),
        cmocka_unit_test(an_item_that_ends_counts_no_more),
        cmocka_unit_test(the_floor_is_no_ceiling),
        cmocka_unit_test(nobody_owns_nothing),
        cmocka_unit_test(the_terms_of_an_estimate_make_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
