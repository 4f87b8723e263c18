/*
 * test_placement.c - the simulation is right where the answer is known, says
 * the same each time, and loses no task.
 */
#include "tests/bench/placement/measure.h"

#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS 6U

/* cmocka compares floats, not doubles. */
#define assert_near(a, b, by) assert_true(fabs((a) - (b)) <= (by))

static struct scenario scenario_of(const char *name)
{
    struct scenario s = {.name = NULL};

    for (size_t i = 0; i < placement_n_scenarios; i++)
        if (strcmp(placement_scenarios[i].name, name) == 0)
            s = placement_scenarios[i];
    assert_non_null(s.name);
    return s;
}

/* As it is, but for a shorter time and, in the tests, on fewer workers. */
static struct scenario shorter(const char *name)
{
    struct scenario s = scenario_of(name);

    s.settle /= 2;
    s.measured /= 8;
    return s;
}

static const struct variant *variant_of(const char *name)
{
    for (size_t i = 0; i < placement_n_variants; i++)
        if (strcmp(placement_variants[i].name, name) == 0)
            return &placement_variants[i];
    fail_msg("no variant %s", name);
    return NULL;
}

static struct setting setting_of(const struct scenario *s, const char *variant,
                                 uint32_t n_workers)
{
    return (struct setting){.scenario = s,
                            .variant = variant_of(variant),
                            .acks = ACKS_ALL,
                            .n_workers = n_workers};
}

static struct outcome run(const struct setting *s, const char *policy,
                          uint64_t seed)
{
    struct world *w = mem_alloc(sizeof(*w));
    struct outcome out;

    assert_non_null(placement_policy(policy));
    world_init(w, s, seed);
    run_policy(w, placement_policy(policy), &out);
    world_close(w);
    mem_free(w);
    return out;
}

static double mean_wait(const struct setting *s, const char *policy)
{
    double sum = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        sum += run(s, policy, seed).of[METRIC_MEAN];
    return sum / SEEDS;
}

/* ---- what is known exactly ----------------------------------------------- */

static void erlang_c_is_that_of_the_tables(void **state)
{
    (void)state;
    assert_near(erlang_c_wait(1, .5), 1, 1e-12);
    assert_near(erlang_c_wait(2, .5), 1. / 3, 1e-12);
    /* 10 servers, 8 erlang: 40.9 % wait, and then for half a service */
    assert_near(erlang_c_wait(10, .8), .4092 / 2, 1e-4);
}

/* One worker of 8 slots, Poisson arrivals, exponential lengths. */
static void a_single_worker_waits_as_erlang_says(void **state)
{
    const struct scenario s = {.name = "mmc",
                               .rho = .85,
                               .mean = 1,
                               .burst = 1,
                               .reference = "oracle",
                               .settle = 100,
                               .measured = 12000};
    struct setting setting = setting_of(&s, "plain", 1);
    double mean[20], p99[20];

    (void)state;
    for (uint32_t i = 0; i < ARRAY_LEN(mean); i++) {
        struct outcome out = run(&setting, "smooth-wrr", i + 1);

        mean[i] = out.of[METRIC_MEAN];
        p99[i] = out.of[METRIC_P99];
    }
    struct estimate e = estimate_mean(mean, ARRAY_LEN(mean));
    double expected = erlang_c_wait(8, s.rho);
    double waits = expected * 8 * (1 - s.rho); /* the chance to wait */

    assert_true(e.half < .05 * expected);
    assert_near(e.value, expected, e.half);
    e = estimate_mean(p99, ARRAY_LEN(p99));
    assert_true(e.half < .05 * e.value);
    assert_near(e.value, log(waits / .01) / (8 * (1 - s.rho)), e.half);
}

static void intervals_are_those_of_student(void **state)
{
    const double x[] = {2, 4, 6}, y[] = {1, 2, 3}, z[] = {1, 1, 4},
                 nothing[] = {0, 0, 0};
    struct estimate e = estimate_mean(x, 3);

    (void)state;
    assert_near(e.value, 4, 1e-12);
    assert_near(e.half, 4.303 * 2 / sqrt(3), 1e-9);
    e = estimate_ratio(x, y, 3); /* always twice: no doubt */
    assert_near(e.value, 2, 1e-12);
    assert_near(e.half, 0, 1e-12);
    e = estimate_ratio(x, z, 3); /* residuals 0, 2, -2 */
    assert_near(e.value, 2, 1e-12);
    assert_near(e.half, 4.303 * 2 / sqrt(3) / 2, 1e-9);
    assert_true(estimate_ratio(x, nothing, 3).value < 0);
}

static void every_seed_offers_the_load_of_its_scenario(void **state)
{
    struct scenario s = shorter("bursts85");
    struct setting setting = setting_of(&s, "plain", 60);
    struct world *w = mem_alloc(sizeof(*w));

    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        double work = 0;

        world_init(w, &setting, seed);
        for (size_t i = 0; i < w->n_tasks; i++)
            work += w->tasks[i].length;
        assert_near(work / w->slots / w->end, s.rho, 1e-9);
        world_close(w);
    }
    mem_free(w);
}

/* ---- what must hold between policies ------------------------------------- */

static void nobody_waits_less_than_with_the_oracle(void **state)
{
    (void)state;
    for (size_t i = 0; i < placement_n_scenarios; i++) {
        struct scenario s = shorter(placement_scenarios[i].name);
        struct setting setting = setting_of(&s, "plain", 20);
        double oracle = mean_wait(&setting, "oracle");
        double bound = mean_wait(&setting, "oracle-busy");
        double random = mean_wait(&setting, "ds-random");

        assert_true(oracle <= bound);
        assert_true(oracle < mean_wait(&setting, "smooth-wrr"));
        assert_true(oracle < mean_wait(&setting, "p2c-stale"));
        assert_true(bound < random);
        /* the herd */
        if (i == 0)
            assert_true(mean_wait(&setting, "least-stale") >
                        5 * mean_wait(&setting, "smooth-wrr"));
    }
}

static void every_policy_places_every_task_in_every_variant(void **state)
{
    struct scenario s = shorter("busy85");

    (void)state;
    s.measured /= 3;
    for (size_t v = 0; v < placement_n_variants; v++) {
        struct setting setting = setting_of(&s, placement_variants[v].name, 20);
        uint64_t tasks = run(&setting, "oracle", 1).measured;

        assert_true(tasks > 1000);
        for (size_t p = 0; p < placement_n_policies; p++) {
            struct outcome out = run(&setting, placement_policies[p]->name, 1);

            assert_int_equal(out.measured, tasks);
            assert_true(out.of[METRIC_P50] <= out.of[METRIC_P99] &&
                        out.of[METRIC_P99] <= out.of[METRIC_P999]);
            assert_true(out.of[METRIC_MEAN_USE] <= out.of[METRIC_MAX_USE]);
            assert_true(out.of[METRIC_MAX_USE] <= 1 + 1e-9);
        }
    }
}

static void a_stable_policy_uses_what_is_offered(void **state)
{
    static const char *const stable[] = {"oracle", "smooth-wrr", "ledger",
                                         "least-connections"};
    struct scenario s = scenario_of("bursts85");
    struct setting setting = setting_of(&s, "plain", 20);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(stable); i++)
        assert_near(run(&setting, stable[i], 1).of[METRIC_MEAN_USE], s.rho,
                    .03);
    /* equal shares drown the small ones and leave the large ones idle */
    assert_near(run(&setting, "ds-round-robin", 1).of[METRIC_MAX_USE], 1, .001);
}

static void the_ledger_hears_acknowledgements(void **state)
{
    struct scenario s = shorter("bursts85");
    struct setting with = setting_of(&s, "plain", 20), without = with;

    (void)state;
    without.acks = ACKS_NONE;
    assert_true(mean_wait(&with, "ledger") < mean_wait(&without, "ledger"));
    assert_near(mean_wait(&with, "smooth-wrr"),
                mean_wait(&without, "smooth-wrr"), 0);
}

static void a_worker_that_hangs_costs_who_does_not_notice(void **state)
{
    struct scenario s = shorter("bursts85");
    struct setting plain = setting_of(&s, "plain", 20);
    struct setting hung = setting_of(&s, "hung", 20);

    (void)state;
    assert_true(mean_wait(&hung, "ds-fixed") >
                1.2 * mean_wait(&plain, "ds-fixed"));
    assert_true(mean_wait(&hung, "ledger") < mean_wait(&hung, "ds-fixed"));
}

/* Who was refused asks again without that worker, and the worker is asked again
 * before it reports: else few are left to pick and all tasks go to them. */
static void refusals_do_not_pile_up(void **state)
{
    struct scenario s = shorter("refuse85");
    struct setting setting = setting_of(&s, "plain", 20);
    double oracle = mean_wait(&setting, "oracle");
    struct outcome out = run(&setting, "ledger", 1);

    (void)state;
    assert_true(out.refused > 0);
    assert_true(out.refused < 20 * out.measured);
    assert_int_equal(run(&setting, "oracle", 1).measured, out.measured);
    assert_true(oracle > 0);
    assert_true(mean_wait(&setting, "ledger") < 2 * oracle);
    assert_true(mean_wait(&setting, "smooth-wrr") < 2 * oracle);
}

static void reports_are_as_old_as_the_scenario_says(void **state)
{
    struct scenario often = shorter("bursts85"), seldom = often;
    struct setting a = setting_of(&often, "plain", 20), b = a;

    (void)state;
    often.heartbeat = 1;
    seldom.heartbeat = 10;
    b.scenario = &seldom;
    assert_true(2 * mean_wait(&a, "least-stale") <
                mean_wait(&b, "least-stale"));
    /* and nothing else is changed by it */
    assert_near(mean_wait(&a, "oracle"), mean_wait(&b, "oracle"), 1e-12);
}

/* ---- the same each time -------------------------------------------------- */

static char *csv_of(size_t n_seeds, uint32_t jobs)
{
    struct plan plan = {.scenario = "bursts85",
                        .variant = "lost5",
                        .acks = true,
                        .heartbeats = true,
                        .n_seeds = n_seeds,
                        .n_workers = 10,
                        .jobs = jobs};
    struct results results;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    assert_true(measure_begin(&plan, &results));
    for (size_t i = 0; i < results.n_blocks; i++) {
        measure_block(&plan, &results.blocks[i],
                      i > 0 ? &results.blocks[i - 1] : NULL);
        csv_print(&results.blocks[i], out);
    }
    measure_end(&results);
    fclose(out);
    return text;
}

static void the_same_seeds_give_the_same_csv(void **state)
{
    char *one = csv_of(3, 1), *two = csv_of(3, 2), *other = csv_of(2, 1);

    (void)state;
    assert_string_equal(one, two);
    assert_string_not_equal(one, other);
    free(one);
    free(two);
    free(other);
}

static void what_is_not_measured_again_would_be_the_same(void **state)
{
    struct plan plan = {.scenario = "bursts85",
                        .variant = "plain",
                        .acks = true,
                        .heartbeats = true,
                        .n_seeds = 2,
                        .n_workers = 10,
                        .jobs = 1};
    struct results results;

    (void)state;
    assert_true(measure_begin(&plan, &results));
    assert_int_equal(results.n_blocks, 2);
    struct block *b = &results.blocks[1];
    size_t n = b->n_policies * b->n_seeds;
    struct outcome *alone = mem_array(n, sizeof(*alone));

    measure_block(&plan, &results.blocks[0], NULL);
    measure_block(&plan, b, NULL);
    memcpy(alone, b->outcomes, n * sizeof(*alone));
    measure_block(&plan, b, &results.blocks[0]);
    for (size_t i = 0; i < n; i++) {
        assert_near(alone[i].of[METRIC_MEAN], b->outcomes[i].of[METRIC_MEAN],
                    0);
        assert_near(alone[i].of[METRIC_P999], b->outcomes[i].of[METRIC_P999],
                    0);
    }
    mem_free(alone);
    measure_end(&results);
}

static void settings_are_found_by_their_names(void **state)
{
    static const char *const names[] = {"plain", "tenth", "hung", "tenth-hung",
                                        "tenth-slots-cpu"};
    struct setting s = {.variant = NULL};
    char name[SETTING_NAME];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_true(setting_vary(&s, names[i]));
        assert_string_equal(setting_name(&s, name), names[i]);
        assert_int_equal(s.tenth, names[i][0] == 't');
        assert_int_equal(setting_is_plain(&s), i == 0);
    }
    assert_true(setting_vary(&s, "tenth-plain"));
    assert_string_equal(setting_name(&s, name), "tenth");
    assert_false(setting_vary(&s, "tenths"));
    assert_false(setting_vary(&s, "tenth-"));
    assert_false(setting_vary(&s, "hun"));
}

/* All but the way to the worker, which real time needs. */
static void in_tenths_everything_takes_a_tenth(void **state)
{
    struct scenario s = shorter("bursts85");
    struct setting plain = setting_of(&s, "churn", 20), tenth = plain;
    struct world *a = mem_alloc(sizeof(*a)), *b = mem_alloc(sizeof(*b));

    (void)state;
    tenth.tenth = true;
    world_init(a, &plain, 1);
    world_init(b, &tenth, 1);
    assert_int_equal(a->n_tasks, b->n_tasks);
    assert_near(a->heartbeat, 10 * b->heartbeat, 1e-9);
    assert_near(a->away_for, 10 * b->away_for, 1e-9);
    for (size_t i = 0; i < a->n_tasks; i++) {
        assert_near(a->tasks[i].arrives, 10 * b->tasks[i].arrives, 1e-6);
        assert_near(a->tasks[i].length, 10 * b->tasks[i].length, 1e-6);
    }
    world_close(a);
    world_close(b);
    mem_free(a);
    mem_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(erlang_c_is_that_of_the_tables),
        cmocka_unit_test(a_single_worker_waits_as_erlang_says),
        cmocka_unit_test(intervals_are_those_of_student),
        cmocka_unit_test(every_seed_offers_the_load_of_its_scenario),
        cmocka_unit_test(nobody_waits_less_than_with_the_oracle),
        cmocka_unit_test(every_policy_places_every_task_in_every_variant),
        cmocka_unit_test(a_stable_policy_uses_what_is_offered),
        cmocka_unit_test(the_ledger_hears_acknowledgements),
        cmocka_unit_test(a_worker_that_hangs_costs_who_does_not_notice),
        cmocka_unit_test(refusals_do_not_pile_up),
        cmocka_unit_test(reports_are_as_old_as_the_scenario_says),
        cmocka_unit_test(the_same_seeds_give_the_same_csv),
        cmocka_unit_test(what_is_not_measured_again_would_be_the_same),
        cmocka_unit_test(settings_are_found_by_their_names),
        cmocka_unit_test(in_tenths_everything_takes_a_tenth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
