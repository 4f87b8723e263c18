/*
 * test_sim.c - the simulator itself: a seed is a run, and seeds that once
 * showed a mistake are run again for ever (tests/sim/seeds).
 */
#include "tests/sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void one_seed_is_one_run(void **state)
{
    struct sim_result first, again, other;

    (void)state;
    sim_run(4711, false, &first);
    sim_run(4711, false, &again);
    sim_run(4712, false, &other);
    assert_false(first.failed);
    assert_false(other.failed);
    assert_true(first.hash == again.hash);
    assert_true(first.hash != other.hash);
    assert_int_equal(first.writes, again.writes);
    assert_int_equal(first.moves, again.moves);
    assert_true(first.moves > 0 && first.failovers > 0);
}

static void seeds_that_once_failed_pass(void **state)
{
    FILE *file = fopen("tests/sim/seeds", "r");
    struct sim_result r;
    char line[256];
    int n = 0;

    (void)state;
    assert_non_null(file); /* run from the repository's root */
    while (fgets(line, sizeof(line), file) != NULL) {
        if (line[0] < '0' || line[0] > '9')
            continue;
        sim_run(strtoull(line, NULL, 10), false, &r);
        if (r.failed)
            fail_msg("seed %s%s: %s", line, r.invariant, r.what);
        n++;
    }
    fclose(file);
    assert_true(n > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_seed_is_one_run),
        cmocka_unit_test(seeds_that_once_failed_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
