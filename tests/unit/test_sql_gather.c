/*
 * test_sql_gather.c - for whom a group of writes waits, and for whom not.
 */
#include "registry/sql/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* A group of so many writes, after those that came while the one before it was
 * committed; `left` wait when it is. */
static void commit(struct sql_gather *g, size_t writes, size_t left)
{
    for (size_t i = 0; i < writes; i++)
        sql_gather_add(g, true);
    sql_gather_begin(g);
    sql_gather_done(g, writes, left);
}

static void who_writes_alone_is_not_kept_waiting(void **state)
{
    struct sql_gather g = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sql_gather_wants(&g, 1), 0);
        commit(&g, 1, 0);
    }
}

static void those_who_were_answered_are_expected_back(void **state)
{
    struct sql_gather g = {0};

    (void)state;
    commit(&g, 8, 0);
    assert_int_equal(sql_gather_wants(&g, 0), 0); /* reads alone wait not */
    assert_int_equal(sql_gather_wants(&g, 1), 7);
    assert_int_equal(sql_gather_wants(&g, 8), 0);
    commit(&g, 8, 0);
    assert_int_equal(sql_gather_wants(&g, 1), 7);
}

/* Two halves that alternate become one group. */
static void those_who_came_meanwhile_are_counted_beside(void **state)
{
    struct sql_gather g = {0};

    (void)state;
    commit(&g, 4, 4);
    for (int i = 0; i < 4; i++)
        sql_gather_add(&g, true);
    assert_int_equal(sql_gather_wants(&g, 4), 4);
    /* what reads were among them is not expected */
    g = (struct sql_gather){0};
    commit(&g, 4, 4);
    for (int i = 0; i < 4; i++)
        sql_gather_add(&g, i == 0);
    assert_int_equal(sql_gather_wants(&g, 1), 4);
}

static void who_does_not_come_back_is_soon_expected_no_more(void **state)
{
    struct sql_gather g = {0};
    size_t groups = 0;

    (void)state;
    commit(&g, 64, 0);
    while (sql_gather_wants(&g, 1) > 0) {
        commit(&g, 1, 0);
        groups++;
    }
    assert_true(groups <= 1);
    commit(&g, 8, 0);
    commit(&g, 6, 0); /* two did not */
    assert_true(sql_gather_wants(&g, 1) <= 6);
}

static void patience_is_bounded_by_what_a_commit_takes(void **state)
{
    struct sql_gather g = {.commit_ns = 800000};
    int64_t quiet_us, most_us;

    (void)state;
    sql_gather_patience(&g, clock_mono_ns(), &quiet_us, &most_us);
    assert_int_equal(quiet_us, 200);
    assert_true(most_us <= 800);
    sql_gather_patience(&g, clock_mono_ns() - 900000, &quiet_us, &most_us);
    assert_int_equal(most_us, 0);
    g.commit_ns = UINT64_C(5000000000); /* a disk that hangs */
    sql_gather_patience(&g, clock_mono_ns(), &quiet_us, &most_us);
    assert_true(quiet_us <= 500 && most_us <= 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_writes_alone_is_not_kept_waiting),
        cmocka_unit_test(those_who_were_answered_are_expected_back),
        cmocka_unit_test(those_who_came_meanwhile_are_counted_beside),
        cmocka_unit_test(who_does_not_come_back_is_soon_expected_no_more),
        cmocka_unit_test(patience_is_bounded_by_what_a_commit_takes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
