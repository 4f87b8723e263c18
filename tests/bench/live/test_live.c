/*
 * test_live.c - over HTTP in real time the ledger does what it does in the
 * simulation, and a coordinator hears all that a run tells it.
 *
 * PELORUS is the program. Small and short: ten workers, six seconds. What is
 * late on a busy machine only stops the simulated clock, so no test here
 * depends on how fast it is.
 */
#include "tests/bench/live/live.h"

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
                                 enum acks acks)
{
    const struct variant *tenth = NULL;

    *s = (struct scenario){.name = NULL};
    for (size_t i = 0; i < placement_n_scenarios; i++)
        if (strcmp(placement_scenarios[i].name, name) == 0)
            *s = placement_scenarios[i];
    for (size_t i = 0; i < placement_n_variants; i++)
        if (strcmp(placement_variants[i].name, "tenth") == 0)
            tenth = &placement_variants[i];
    assert_non_null(s->name);
    assert_non_null(tenth);
    s->settle = 10;
    s->measured = 50;
    return (struct setting){
        .scenario = s, .variant = tenth, .acks = acks, .n_workers = WORKERS};
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

static void a_run_over_http_is_as_the_simulation(void **state)
{
    struct live_stats s;
    struct scenario scenario;
    struct outcome http, simulated, random;
    struct setting setting = setting_of(&scenario, "bursts85", ACKS_ALL);

    (void)state;
    live_run(&setting, &s, &http, &simulated, &random);
    assert_int_equal(http.measured, simulated.measured);
    assert_true(http.of[METRIC_MEAN] < 1.5 * simulated.of[METRIC_MEAN] + .01);
    assert_true(http.of[METRIC_MEAN] > simulated.of[METRIC_MEAN] / 1.5 - .01);
    assert_true(http.of[METRIC_MEAN] < random.of[METRIC_MEAN] / 2);
}

static void the_coordinator_hears_all_that_it_is_told(void **state)
{
    struct live_stats s;
    struct scenario scenario;
    struct outcome http, simulated, random;
    struct setting setting = setting_of(&scenario, "refuse85", ACKS_ALL);

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
    struct setting setting = setting_of(&scenario, "bursts85", ACKS_NONE);

    (void)state;
    scenario.measured = 20;
    live_run(&setting, &s, &http, &simulated, &random);
    assert_int_equal(s.failed, 0);
    assert_int_equal(s.acks, 0);
    assert_int_equal(s.server_done, 0);
    assert_int_equal(s.server_picks, s.asked);
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
        cmocka_unit_test(a_run_that_was_late_says_so),
    };

    alarm(DEADLINE_S);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
