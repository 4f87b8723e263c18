/*
 * test_balancer_nobody.c - why nobody is picked, and picks that came to
 * nothing; and how long that took.
 */
#include "tests/unit/test_balancer.h"

static enum balancer_code code_of(struct balancer *b, mono_ms now)
{
    pick(b, now);
    return last.code;
}

static void the_dead_are_nobody(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 8, START);

    (void)state;
    w.dead = w.closed = true;
    set(b, w, START);
    assert_int_equal(code_of(b, START), BALANCER_GROUP_EMPTY);
    w = idle("b:1", 8, START);
    w.closed = true; /* cordoned, say */
    set(b, w, START);
    assert_int_equal(code_of(b, START), BALANCER_ALL_BUSY);
    w.closed = false;
    w.weight = 0;
    set(b, w, START);
    assert_int_equal(code_of(b, START), BALANCER_ALL_BUSY);
    w.dead = true;
    set(b, w, START);
    assert_int_equal(code_of(b, START), BALANCER_GROUP_EMPTY);
    balancer_free(&b);
}

static void old_reports_are_told_from_busy_workers(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    mono_ms late = START + 4 * INTERVAL;
    struct balancer_worker w = idle("c:1", 8, late);

    (void)state;
    set_idle(b, "a:1", 8, START);
    set_idle(b, "b:1", 8, START);
    assert_int_equal(code_of(b, late), BALANCER_REPORTS_OLD);
    assert_true(last.retry_after_ms > 0);
    w.closed = true; /* who takes no work says nothing about the others */
    set(b, w, late);
    assert_int_equal(code_of(b, late), BALANCER_REPORTS_OLD);
    w.closed = false;
    w.busy = true;
    set(b, w, late);
    assert_int_equal(code_of(b, late), BALANCER_ALL_BUSY);
    assert_int_equal((ask(b, (struct balancer_request){.exclude = {"c:1"},
                                                       .n_exclude = 1,
                                                       .now = late}),
                      last.code),
                     BALANCER_REPORTS_OLD);
    assert_int_equal(
        (ask(b, (struct balancer_request){.exclude = {"a:1", "b:1"},
                                          .n_exclude = 2,
                                          .now = late}),
         last.code),
        BALANCER_ALL_BUSY);
    balancer_free(&b);
}

static void a_pick_that_came_to_nothing_was_never_made(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    double score;
    pick_id id;

    (void)state;
    set_idle(b, "a:1", 8, START);
    pick(b, START);
    id = last_pick.pick;
    pick(b, START);
    score = last_pick.score;
    assert_true(balancer_unused(b, id));
    assert_true(balancer_unused(b, last_pick.pick));
    assert_false(balancer_unused(b, id));
    pick(b, START);
    assert_true(last_pick.score < score);
    pick(b, START);
    assert_true(last_pick.score == score); /* as the second one's */
    assert_int_equal(balancer_stats(b).done, 0);
    balancer_free(&b);
}

/* So many that no request goes through them: the tick judged them, used or
 * not. */
static void of_a_large_group_the_tick_tells_whose_report_is_old(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    mono_ms late = START + 4 * INTERVAL;
    struct balancer_worker w = idle("busy:1", 8, late);
    char address[32];

    (void)state;
    for (int i = 0; i < 3000; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        set_idle(b, address, 8, START);
    }
    balancer_tick(b, START); /* nobody used it yet */
    assert_string_not_equal(pick(b, START + INTERVAL), "");
    balancer_tick(b, late); /* the last pick is long ago */
    assert_int_equal(code_of(b, late), BALANCER_REPORTS_OLD);
    w.busy = true;
    set(b, w, late);
    assert_int_equal(code_of(b, late), BALANCER_ALL_BUSY);
    balancer_remove(b, "busy:1");
    assert_int_equal(code_of(b, late), BALANCER_REPORTS_OLD);
    set_idle(b, "w77:1", 8, late);
    assert_string_equal(pick(b, late), "w77:1");
    balancer_set_policy(b, CONF_RANDOM, late);
    assert_string_equal(pick(b, late), "w77:1");
    balancer_remove(b, "w77:1");
    assert_int_equal(code_of(b, late), BALANCER_REPORTS_OLD);
    balancer_free(&b);
}

static void one_hold_in_64_is_timed(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_holds before, after;
    uint64_t n = 0;

    (void)state;
    set_idle(b, "a:1", 8, START);
    before = balancer_holds(b);
    for (int i = 0; i < 6400; i++)
        (void)pick(b, START);
    after = balancer_holds(b);
    for (int i = 0; i < BALANCER_HOLDS; i++)
        n += after.n[i] - before.n[i];
    assert_in_range(n, 100, 101);
    assert_true(after.sum_ns > before.sum_ns);
    assert_true(after.sum_ns - before.sum_ns < 10000000000); /* ns */
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_dead_are_nobody),
        cmocka_unit_test(old_reports_are_told_from_busy_workers),
        cmocka_unit_test(a_pick_that_came_to_nothing_was_never_made),
        cmocka_unit_test(of_a_large_group_the_tick_tells_whose_report_is_old),
        cmocka_unit_test(one_hold_in_64_is_timed),
    };

    return cmocka_run_group_tests_name("nobody", tests, NULL, NULL);
}
