/* test_attempt.c - how often, and for how long, a change is tried. */
#include "registry/attempt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_conflict_begins_again_a_bounded_number_of_times(void **state)
{
    struct attempt a;

    (void)state;
    attempt_init(&a, 1000);
    for (int i = 1; i < ATTEMPT_CONFLICTS_MAX; i++)
        assert_int_equal(attempt_write_failed(&a, ERR_CONFLICT, 1000),
                         ATTEMPT_NOW);
    for (int i = 0; i < 3; i++)
        assert_int_equal(attempt_write_failed(&a, ERR_CONFLICT, 1000),
                         ATTEMPT_FAILED);
}

static void what_failed_without_doubt_is_not_tried_again(void **state)
{
    struct attempt a;

    (void)state;
    attempt_init(&a, 0);
    assert_int_equal(attempt_failed(&a, 5), ATTEMPT_FAILED);
    assert_int_equal(attempt_write_failed(&a, ERR_UNAVAILABLE, 5),
                     ATTEMPT_FAILED);
    assert_false(attempt_is_due(&a, 5 + ATTEMPT_MS));
}

static void in_doubt_it_is_read_back_until_the_deadline(void **state)
{
    struct attempt a;
    mono_ms now = 700, last = 0;
    int reads = 0;

    (void)state;
    attempt_init(&a, 0);
    assert_int_equal(attempt_write_failed(&a, ERR_UNKNOWN, now), ATTEMPT_LATER);
    assert_false(attempt_is_due(&a, now));
    for (; now < 700 + ATTEMPT_MS; now++) {
        if (!attempt_is_due(&a, now))
            continue;
        assert_true(last == 0 || now - last <= 1000);
        last = now;
        reads++;
        assert_int_equal(attempt_failed(&a, now), ATTEMPT_LATER);
    }
    assert_in_range(reads, 10, 16);
    assert_int_equal(attempt_failed(&a, now), ATTEMPT_UNKNOWN);
}

/* However many conflicts it met: it can never be said that nothing was
 * written. */
static void conflicts_do_not_end_a_doubt(void **state)
{
    struct attempt a;

    (void)state;
    attempt_init(&a, 0);
    attempt_doubt(&a, 10);
    for (int i = 1; i < ATTEMPT_CONFLICTS_MAX; i++)
        (void)attempt_write_failed(&a, ERR_CONFLICT, 10);
    assert_int_equal(attempt_write_failed(&a, ERR_CONFLICT, 10), ATTEMPT_LATER);
    assert_true(attempt_is_due(&a, 60));
    assert_false(attempt_is_due(&a, 60));
    assert_int_equal(attempt_write_failed(&a, ERR_CONFLICT, 10 + ATTEMPT_MS),
                     ATTEMPT_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_conflict_begins_again_a_bounded_number_of_times),
        cmocka_unit_test(what_failed_without_doubt_is_not_tried_again),
        cmocka_unit_test(in_doubt_it_is_read_back_until_the_deadline),
        cmocka_unit_test(conflicts_do_not_end_a_doubt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
