/*
 * test_balancer_groups.c - groups with settings of their own: a worker is
 * judged in each of its groups by that group's thresholds, warm-up and weights.
 */
#include "tests/unit/test_balancer.h"

static const char *const gpu[] = {"gpu"};

/* In default, where the general threshold is, and in gpu. */
static void set_loaded(struct balancer *b, const char *address, double cpu)
{
    struct balancer_worker w = idle(address, 8, START);

    w.cpu = cpu;
    w.groups = gpu;
    w.n_groups = 1;
    set(b, w, START);
}

static struct balancer_group_conf own_of(const char *name)
{
    struct balancer_group_conf own = {.conf = test_conf};

    snprintf(own.name, sizeof(own.name), "%s", name);
    return own;
}

static void configure(struct balancer *b, const struct balancer_group_conf *own,
                      size_t n)
{
    balancer_configure(b, &test_conf, own, n, START);
}

static bool only_hot(struct balancer *b, const char *group)
{
    struct balancer_request request = {
        .group = group, .now = START, .peek = true};

    assert_string_not_equal(ask(b, request), "");
    return last.degraded;
}

static const char *best_of(struct balancer *b, const char *group)
{
    struct balancer_request request = {
        .group = group, .now = START, .peek = true};

    return ask(b, request);
}

static void a_worker_is_hot_in_one_group_and_cold_in_another(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_group_conf own = own_of("gpu");

    (void)state;
    set_loaded(b, "w:1", 0.92);
    assert_true(only_hot(b, NULL));
    assert_true(only_hot(b, "gpu"));
    own.conf.cpu_max = 0.95;
    configure(b, &own, 1);
    assert_true(only_hot(b, NULL));
    assert_false(only_hot(b, "gpu"));
    /* Whoever is asked, and however often: neither hears of the other. */
    for (int i = 0; i < 3; i++) {
        balancer_tick(b, START + i);
        assert_true(only_hot(b, NULL));
        assert_false(only_hot(b, "gpu"));
    }
    own.conf.cpu_max = 0.5;
    configure(b, &own, 1);
    balancer_remove(b, "w:1"); /* or it would have to be cold for a while */
    set_loaded(b, "w:1", 0.6);
    assert_false(only_hot(b, NULL));
    assert_true(only_hot(b, "gpu"));
    balancer_free(&b);
}

static void a_group_without_its_settings_follows_the_general_ones(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_group_conf own = own_of("gpu");
    struct conf_balancer general = test_conf;

    (void)state;
    own.conf.cpu_max = 0.95;
    configure(b, &own, 1);
    set_loaded(b, "w:1", 0.92);
    assert_false(only_hot(b, "gpu"));
    configure(b, NULL, 0);
    assert_true(only_hot(b, "gpu"));
    general.cpu_max = 0.95;
    balancer_configure(b, &general, NULL, 0, START);
    assert_false(only_hot(b, "gpu"));
    assert_false(only_hot(b, NULL));
    balancer_free(&b);
}

static void settings_wait_for_their_group(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_group_conf own[] = {own_of("z"), own_of("gpu"),
                                        own_of("a")};

    (void)state;
    own[1].conf.cpu_max = 0.95;
    configure(b, own, ARRAY_LEN(own));
    set_loaded(b, "w:1", 0.92);
    assert_false(only_hot(b, "gpu"));
    balancer_remove(b, "w:1"); /* and the group with it */
    assert_string_equal(best_of(b, "gpu"), "");
    set_loaded(b, "w:1", 0.92);
    assert_false(only_hot(b, "gpu"));
    balancer_free(&b);
}

/* What silent workers are taken for is judged likewise. */
static void the_silent_are_hot_by_their_groups_threshold(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_group_conf own = own_of("gpu");

    (void)state;
    own.conf.cpu_max = 0.95;
    configure(b, &own, 1);
    set_loaded(b, "w:1", 0.92);
    set_loaded(b, "w:2", -1);
    assert_true(only_hot(b, NULL));
    assert_false(only_hot(b, "gpu"));
    balancer_free(&b);
}

static void a_new_worker_warms_up_by_its_groups_time(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_group_conf own = own_of("gpu");
    struct balancer_worker w = idle("new:1", 16, START);

    (void)state;
    own.conf.warm_up_ms = 0;
    configure(b, &own, 1);
    set_loaded(b, "old:1", 0.1); /* 8 slots */
    w.since = START;
    w.groups = gpu;
    w.n_groups = 1;
    set(b, w, START);
    assert_string_equal(best_of(b, NULL), "old:1");
    assert_string_equal(best_of(b, "gpu"), "new:1");
    balancer_free(&b);
}

static void busy_is_taken_by_its_groups_rule(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_group_conf own = own_of("gpu");
    struct balancer_worker w = idle("w:1", 8, START);

    (void)state;
    own.conf.busy = CONF_BUSY_LAST;
    configure(b, &own, 1);
    w.busy = true;
    w.groups = gpu;
    w.n_groups = 1;
    set(b, w, START);
    assert_string_equal(best_of(b, NULL), "");
    assert_int_equal(last.code, BALANCER_ALL_BUSY);
    assert_string_equal(best_of(b, "gpu"), "w:1");
    assert_true(last.degraded);
    own.conf.busy = CONF_BUSY_EXCLUDE;
    configure(b, &own, 1);
    assert_string_equal(best_of(b, "gpu"), "");
    balancer_free(&b);
}

static void dynamic_weights_are_their_groups(void **state)
{
    struct balancer *b = balancer_of(CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    struct balancer_group_conf own = own_of("gpu");
    struct balancer_worker by_cpu = idle("cpu:1", 8, START);
    struct balancer_worker by_memory = idle("memory:1", 8, START);
    struct tally t;

    (void)state;
    own.conf.cpu_usage_weight = 100;
    own.conf.memory_usage_weight = own.conf.pool_usage_weight = 0;
    configure(b, &own, 1);
    by_cpu.cpu = by_memory.memory = 0.85;
    by_cpu.groups = by_memory.groups = gpu;
    by_cpu.n_groups = by_memory.n_groups = 1;
    set(b, by_cpu, START);
    set(b, by_memory, START);
    tally_picks(&t, b, NULL, 1000, START);
    assert_in_range(*tally_of(&t, "cpu:1"), 490, 510);
    tally_picks(&t, b, "gpu", 1000, START);
    assert_in_range(*tally_of(&t, "cpu:1"), 130, 155); /* .15 to .9 */
    balancer_free(&b);
}

/* The policy and the interval hold for all groups, whatever is given. */
static void policy_and_interval_are_general(void **state)
{
    struct balancer *b = balancer_of(CONF_ROUND_ROBIN);
    struct balancer_group_conf own = own_of("gpu");
    struct balancer_request request = {
        .group = "gpu", .now = START + 3 * INTERVAL, .peek = true};

    (void)state;
    own.conf.policy = CONF_LEDGER;
    own.conf.heartbeat_interval_ms = 1;
    configure(b, &own, 1);
    set_loaded(b, "w:1", 0.1);
    assert_string_equal(ask(b, request), "w:1");
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_is_hot_in_one_group_and_cold_in_another),
        cmocka_unit_test(a_group_without_its_settings_follows_the_general_ones),
        cmocka_unit_test(settings_wait_for_their_group),
        cmocka_unit_test(the_silent_are_hot_by_their_groups_threshold),
        cmocka_unit_test(a_new_worker_warms_up_by_its_groups_time),
        cmocka_unit_test(busy_is_taken_by_its_groups_rule),
        cmocka_unit_test(dynamic_weights_are_their_groups),
        cmocka_unit_test(policy_and_interval_are_general),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
