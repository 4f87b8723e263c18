/*
 * test_live.c - over HTTP in real time the ledger does what it does in the
 * simulation, and a coordinator hears all that a run tells it.
 *
 * PELORUS is the program. Small and short: ten workers, six seconds. What is
 * late on a busy machine only stops the simulated clock, so no test here
 * depends on how fast it is.
 */
#include "tests/bench/live/many.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WORKERS    10U
#define DEADLINE_S 200 /* with sanitizers; it takes a tenth of that */

static struct setting setting_of(struct scenario *s, const char *name,
                                 const char *variant, enum acks acks)
{
    struct setting setting = {
        .scenario = s, .acks = acks, .n_workers = WORKERS};

    *s = (struct scenario){.name = NULL};
    for (size_t i = 0; i < placement_n_scenarios; i++)
        if (strcmp(placement_scenarios[i].name, name) == 0)
            *s = placement_scenarios[i];
    assert_non_null(s->name);
    assert_true(setting_vary(&setting, variant));
    s->settle = 10;
    s->measured = 50;
    return setting;
}

static void live_run(const struct setting *s, struct live_stats *stats,
                     struct outcome *http, struct outcome *simulated,
                     struct outcome *random)
{
    const char *program = getenv("PELORUS");
    struct live_option option = {program != NULL ? program : "build/pelorus",
                                 "", stats};
    struct policy policy = policy_http;
    struct world *w = mem_alloc(sizeof(*w));

    policy.option = &option;
    world_init(w, s, 1);
    run_policy(w, &policy, http);
    run_policy(w, placement_policy("ledger"), simulated);
    run_policy(w, placement_policy("ds-random"), random);
    world_close(w);
    mem_free(w);
    live_print(stats, stdout);
    printf("  mean wait: %.4f s over HTTP, %.4f simulated, %.4f by chance\n",
           http->of[METRIC_MEAN], simulated->of[METRIC_MEAN],
           random->of[METRIC_MEAN]);
}

static void expect_as_simulated(const struct outcome *http,
                                const struct outcome *simulated,
                                const struct outcome *random)
{
    double mean = http->of[METRIC_MEAN];

    assert_int_equal(http->measured, simulated->measured);
    assert_true(mean < 1.5 * simulated->of[METRIC_MEAN] + .01);
    assert_true(mean > simulated->of[METRIC_MEAN] / 1.5 - .01);
    assert_true(mean < random->of[METRIC_MEAN] / 2);
}

static void a_run_over_http_is_as_the_simulation(void **state)
{
    struct live_stats s;
    struct scenario scenario;
    struct outcome http, simulated, random;
    struct setting setting =
        setting_of(&scenario, "bursts85", "tenth", ACKS_ALL);

    (void)state;
    live_run(&setting, &s, &http, &simulated, &random);
    expect_as_simulated(&http, &simulated, &random);
}

static void the_coordinator_hears_all_that_it_is_told(void **state)
{
    struct live_stats s;
    struct scenario scenario;
    struct outcome http, simulated, random;
    struct setting setting =
        setting_of(&scenario, "refuse85", "tenth", ACKS_ALL);

    (void)state;
    live_run(&setting, &s, &http, &simulated, &random);
    assert_int_equal(s.failed, 0);
    assert_true(s.asked > 1000);
    assert_true(s.reports >= 6 * WORKERS);
    assert_int_equal(s.server_picks, s.asked - s.none);
    assert_true(s.acks > (s.asked - s.none - s.refusals) / 2);
    assert_int_equal(s.acks, http.told);
    assert_int_equal(s.answered, s.acks);
    assert_int_equal(s.server_done, s.acks);
    assert_int_equal(s.refusals, http.refused);
    assert_int_equal(s.server_unknown, 0);
}

static void heartbeats_only_means_no_acknowledgement(void **state)
{
    struct live_stats s;
    struct scenario scenario;
    struct outcome http, simulated, random;
    struct setting setting =
        setting_of(&scenario, "bursts85", "tenth", ACKS_NONE);

    (void)state;
    scenario.measured = 20;
    live_run(&setting, &s, &http, &simulated, &random);
    assert_int_equal(s.failed, 0);
    assert_int_equal(s.acks, 0);
    assert_int_equal(s.server_done, 0);
    assert_int_equal(s.server_picks, s.asked);
}

/* Each counts its own picks, and hears of two thirds of the heartbeats from the
 * others only. */
static void three_coordinators_are_as_the_simulation(void **state)
{
    struct live_stats s;
    struct scenario scenario;
    struct outcome http, simulated, random;
    struct setting setting =
        setting_of(&scenario, "bursts85", "tenth-coordinators3", ACKS_ALL);

    (void)state;
    live_run(&setting, &s, &http, &simulated, &random);
    assert_int_equal(s.failed, 0);
    expect_as_simulated(&http, &simulated, &random);
    assert_int_equal(s.server_picks, s.asked - s.none);
    assert_int_equal(s.server_done, s.acks);
    assert_int_equal(s.server_unknown, 0);
}

static uint32_t n_tried, n_ended;

static void count_try(const struct many_block *b, uint64_t seed,
                      const struct many_run *r)
{
    (void)b;
    (void)r;
    assert_in_range(seed, 1, 2);
    n_tried++;
}

static void count_end(void *arg, const struct many_block *b)
{
    (void)arg;
    (void)b;
    n_ended++;
}

static bool two_side_by_side(const char *program, struct many_block *b)
{
    struct scenario scenario;
    struct many m = {.program = program,
                     .more = "",
                     .first = 1,
                     .jobs = 2,
                     .tried = count_try,
                     .ended = count_end};

    *b = (struct many_block){.policies = {&policy_http}};
    b->block.setting = setting_of(&scenario, "bursts85", "tenth", ACKS_NONE);
    b->scenario = scenario;
    b->scenario.measured = 10;
    b->policies[1] = placement_policy("ledger");
    b->block.n_policies = 2;
    b->block.n_seeds = 2;
    many_block_init(b);
    n_tried = n_ended = 0;
    return many_measure(&m, b, 1);
}

static void two_runs_side_by_side_are_as_one_and_one(void **state)
{
    const char *program = getenv("PELORUS");
    struct many_block b;
    bool valid =
        two_side_by_side(program != NULL ? program : "build/pelorus", &b);

    (void)state;
    assert_int_equal(n_ended, 1);
    assert_int_equal(n_tried, b.runs[0].tries + b.runs[1].tries);
    assert_int_equal(valid, many_run_is_valid(&b.runs[0]) &&
                                many_run_is_valid(&b.runs[1]));
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        struct outcome alone;

        assert_true(b.runs[i].complete);
        assert_true(many_run_is_valid(&b.runs[i]) ||
                    b.runs[i].tries == MANY_TRIES);
        world_init(&w, &b.block.setting, i + 1);
        run_policy(&w, placement_policy("ledger"), &alone);
        world_close(&w);
        assert_memory_equal(&b.block.outcomes[2 + i], &alone, sizeof(alone));
        assert_int_equal(b.block.outcomes[i].measured, alone.measured);
    }
    many_block_close(&b);
}

static void a_run_that_fails_is_tried_again_and_told(void **state)
{
    struct many_block b;

    (void)state;
    assert_false(two_side_by_side("/bin/false", &b));
    assert_int_equal(n_ended, 1);
    assert_int_equal(n_tried, 2 * MANY_TRIES);
    assert_false(b.runs[0].complete || b.runs[1].complete);
    assert_non_null(strstr(live_late(&b.runs[0].stats), "ended with status"));
    many_block_close(&b);
}

static void a_run_that_was_late_says_so(void **state)
{
    struct live_stats s = {.pick_p99 = .004, .behind_p99 = .001};

    (void)state;
    assert_null(live_late(&s));
    s.pick_p99 = .0051;
    assert_non_null(strstr(live_late(&s), "picks took 5.1 ms"));
    s = (struct live_stats){.behind_p99 = .006};
    assert_non_null(strstr(live_late(&s), "6.0 ms behind"));
    s = (struct live_stats){.report_p99 = .051};
    assert_non_null(strstr(live_late(&s), "heartbeats took 51.0 ms"));
    s = (struct live_stats){.failed = 1, .failure = "503 {}"};
    assert_non_null(strstr(live_late(&s), "503 {}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_over_http_is_as_the_simulation),
        cmocka_unit_test(the_coordinator_hears_all_that_it_is_told),
        cmocka_unit_test(heartbeats_only_means_no_acknowledgement),
        cmocka_unit_test(three_coordinators_are_as_the_simulation),
        cmocka_unit_test(two_runs_side_by_side_are_as_one_and_one),
        cmocka_unit_test(a_run_that_fails_is_tried_again_and_told),
        cmocka_unit_test(a_run_that_was_late_says_so),
    };

    alarm(DEADLINE_S);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
