/*
 * test_balancer_silent.c - workers that say nothing of their load, or not all
 * of it, beside others that do.
 */
#include "tests/unit/test_balancer.h"

static struct balancer_worker silent(const char *address, mono_ms at)
{
    struct balancer_worker w = idle(address, 0, at);

    w.cpu = w.memory = w.disk = w.pool = -1;
    return w;
}

/* How many of `n` picks it gets. */
static unsigned picks_of(struct balancer *b, const char *address, unsigned n,
                         mono_ms now)
{
    unsigned got = 0;

    for (unsigned i = 0; i < n; i++)
        got += strcmp(pick(b, now), address) == 0;
    return got;
}

/* In whatever order they are heard of. */
static void who_says_nothing_is_no_cooler_than_who_is_hot(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct balancer *b = balancer_of(CONF_LEDGER);
        struct balancer_worker hot = idle("hot:1", 0, START);
        unsigned n;

        hot.cpu = 0.95;
        hot.pool = -1;
        if (order == 0)
            set(b, hot, START);
        set(b, silent("a:1", START), START);
        set(b, silent("b:1", START), START);
        if (order == 1)
            set(b, hot, START);
        n = picks_of(b, "hot:1", 81, START);
        assert_in_range(n, 26, 28);
        assert_true(last.degraded);
        /* not cold again yet: nor are they */
        hot.cpu = 0.5;
        hot.reported++;
        set(b, hot, START + 1);
        n = picks_of(b, "hot:1", 81, START + 1);
        assert_in_range(n, 25, 29);
        assert_true(last.degraded);
        /* it is: so are they */
        balancer_tick(b, START + INTERVAL);
        n = picks_of(b, "hot:1", 81, START + INTERVAL);
        assert_in_range(n, 25, 29);
        assert_false(last.degraded);
        balancer_free(&b);
    }
}

/* Half full at the last report, beside one that does not say. */
static void who_says_nothing_is_as_full_as_the_others(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker full = idle("full:1", 16, START);

    (void)state;
    full.pool = 0.75;
    set(b, full, START);
    set(b, silent("a:1", START), START);
    assert_in_range(picks_of(b, "a:1", 100, START), 48, 52);
    assert_true(term(b, "a:1", "capacity", START) == 16);
    balancer_free(&b);
}

/* Of most it is known that they are cold: one hot one says little. */
static void the_usual_is_what_most_say(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker hot = idle("hot:1", 80, START);

    (void)state;
    hot.cpu = 1;
    set(b, hot, START);
    set_idle(b, "a:1", 80, START);
    set_idle(b, "b:1", 80, START);
    set(b, silent("c:1", START), START);
    assert_in_range(picks_of(b, "c:1", 90, START), 27, 33);
    assert_false(last.degraded);
    balancer_free(&b);
}

/* And nobody is typical who is gone, closed or unheard of. */
static void who_is_away_is_not_typical(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("dead:1", 80, START);

    (void)state;
    w.cpu = 1;
    w.dead = true;
    set(b, w, START);
    snprintf(w.address, sizeof(w.address), "closed:1");
    w.dead = false;
    w.closed = true;
    set(b, w, START);
    w = idle("stale:1", 80, START - 4 * INTERVAL);
    w.cpu = 1;
    set(b, w, START);
    set_idle(b, "a:1", 80, START);
    set(b, silent("b:1", START), START);
    assert_in_range(picks_of(b, "b:1", 100, START), 48, 52);
    assert_false(last.degraded);
    balancer_free(&b);
}

/* By this policy, too: it gave them half before, whatever the others said. */
static void by_dynamic_weights_they_are_as_the_others(void **state)
{
    struct balancer *b = balancer_of(CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    struct balancer_worker busy = idle("busy:1", 8, START);

    (void)state;
    busy.cpu = busy.memory = 0.85;
    busy.pool = 0.9;
    set(b, silent("a:1", START), START);
    set(b, busy, START);
    assert_in_range(picks_of(b, "a:1", 100, START), 49, 51);
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_says_nothing_is_no_cooler_than_who_is_hot),
        cmocka_unit_test(who_says_nothing_is_as_full_as_the_others),
        cmocka_unit_test(the_usual_is_what_most_say),
        cmocka_unit_test(who_is_away_is_not_typical),
        cmocka_unit_test(by_dynamic_weights_they_are_as_the_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
