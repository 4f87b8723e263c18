/*
 * test_balancer_nobody.c - why nobody is picked, and picks that came to
 * nothing.
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_dead_are_nobody),
        cmocka_unit_test(old_reports_are_told_from_busy_workers),
        cmocka_unit_test(a_pick_that_came_to_nothing_was_never_made),
    };

    return cmocka_run_group_tests_name("nobody", tests, NULL, NULL);
}
