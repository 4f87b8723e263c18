/*
 * test_targets.c - who takes an item: masters by what they own and what was
 * given to them.
 */
#include "coordinator/coordinator_priv.h"
#include "tests/unit/coordinator_world.h"

#define M1   "10.0.1.1:5678"
#define M2   "10.0.1.2:5678"
#define BEAT "{\"startupTime\":5,\"processId\":6}"

static void choose(struct world *w, struct work_target *out)
{
    coordinator_targets_choose(w->c[0], NODE_MASTER, "default", NULL, 0, out);
}

static void what_is_given_back_counts_for_nobody(void **state)
{
    struct world *w = *state;
    struct work_target first, second, third;

    choose(w, &first);
    assert_int_equal(first.code, PROBLEM_GROUP_EMPTY);
    assert_false(first.counted);
    put(w, NODE_MASTER, M1, BEAT, 60000);
    put(w, NODE_MASTER, M2, BEAT, 60000);
    choose(w, &first);
    choose(w, &second);
    assert_true(first.counted && second.counted);
    assert_string_not_equal(first.address, second.address);
    for (int i = 0; i < 5; i++) { /* planned again and again */
        coordinator_targets_unused(w->c[0], NODE_MASTER, &second);
        choose(w, &second);
        assert_string_not_equal(first.address, second.address);
    }
    choose(w, &third);
    coordinator_targets_unused(w->c[0], NODE_MASTER, &third);
    coordinator_targets_unused(w->c[0], NODE_MASTER, &second);
    coordinator_targets_unused(w->c[0], NODE_MASTER, &first);
    choose(w, &third);
    choose(w, &second);
    assert_string_not_equal(third.address, second.address);
}

static void masters_that_are_gone_are_nobody(void **state)
{
    struct world *w = *state;
    struct work_target t;

    put(w, NODE_MASTER, M1, BEAT, 60000);
    choose(w, &t);
    assert_string_equal(t.address, M1);
    node_delete(w, NODE_MASTER, M1);
    world_run(w, 500);
    choose(w, &t);
    assert_int_equal(t.code, PROBLEM_GROUP_EMPTY);
}

/* Nobody said that it left: its lease ran out. */
static void a_worker_that_died_leaves_its_group_empty(void **state)
{
    struct world *w = *state;
    struct work_target t;

    put(w, NODE_WORKER, "10.0.2.1:1234", BEAT, 3000);
    coordinator_targets_choose(w->c[0], NODE_WORKER, "default", NULL, 0, &t);
    assert_string_equal(t.address, "10.0.2.1:1234");
    world_run(w, 10000);
    coordinator_targets_choose(w->c[0], NODE_WORKER, "default", NULL, 0, &t);
    assert_int_equal(t.code, PROBLEM_GROUP_EMPTY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(what_is_given_back_counts_for_nobody),
        WORLD_TEST(masters_that_are_gone_are_nobody),
        WORLD_TEST(a_worker_that_died_leaves_its_group_empty),
    };

    return cmocka_run_group_tests_name("targets", tests, NULL, NULL);
}
