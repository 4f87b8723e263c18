/*
 * test_coordinator_groups.c - settings that a group has of its own: from the
 * API, from the configuration, and from what stands in the registry, also by
 * other versions; for every coordinator, and in its picks.
 */
#include "tests/unit/coordinator_world.h"

#define KEY "/pelorus/groups/gpu"
#define W1  "10.0.1.1:1"
/* Hot by the general threshold of .8. */
#define HOT                                                                    \
    "{\"startupTime\":5,\"processId\":1,\"cpuUsage\":0.9,\"memoryUsage\":0.1," \
    "\"diskUsage\":0.1,\"groups\":[\"gpu\"]}"

/* The member `balancer` of a body; NULL: none. Addresses likewise. */
static struct got put_group(struct world *w, int i, const char *balancer,
                            const char *address)
{
    const char *const addresses[] = {address};
    struct group_put put = {.addresses = address != NULL ? addresses : NULL,
                            .n = address != NULL};
    struct group_settings_change change;
    const struct json *json = NULL;
    struct got g = {0};
    struct err err;

    if (balancer != NULL) {
        assert_int_equal(json_parse(balancer, strlen(balancer), &json, &err),
                         0);
        assert_int_equal(group_settings_read(json, &change, &err),
                         PROBLEM_NONE);
        put.settings = &change;
    }
    coordinator_group_put(w->c[i], "GPU", &put, got, &g);
    json_free(json);
    (void)answered(w, &g);
    world_run(w, 300);
    return g;
}

static void assert_stored(struct world *w, const char *text)
{
    const struct registry_entry *e = memory_find(w->store, KEY);

    assert_non_null(e);
    assert_int_equal(e->value_len, strlen(text));
    assert_memory_equal(e->value, text, e->value_len);
}

/* The threshold that holds in gpu, and where it comes from. */
static double cpu_max(struct world *w, int i, enum settings_from from)
{
    struct snapshot *s = coordinator_snapshot(w->c[i]);
    const struct coordinator_snapshot_group *g =
        coordinator_snapshot_group(s, "gpu");
    double value;

    assert_non_null(g);
    assert_int_equal(g->settings->from[0], from);
    value = g->settings->values.cpu_max;
    coordinator_snapshot_release(&s);
    return value;
}

static size_t n_addresses(struct world *w)
{
    struct snapshot *s = coordinator_snapshot(w->c[0]);
    const struct coordinator_snapshot_group *g =
        coordinator_snapshot_group(s, "gpu");
    size_t n = g != NULL ? g->n_addresses : 0;

    coordinator_snapshot_release(&s);
    return n;
}

/* Only hot workers are left in it: what a pick says. */
static bool degraded(struct world *w, int i, const char *group)
{
    struct balancer_pick pick;
    struct balancer_request request = {
        .group = group, .count = 1, .peek = true, .now = w->clock.mono};
    struct balancer_answer answer = {.picks = &pick};

    balancer_pick(coordinator_balancer(w->c[i]), &request, &answer);
    assert_int_equal(answer.code, BALANCER_OK);
    return answer.degraded;
}

static void configure(struct world *w, const char *text)
{
    struct err err;

    conf_close(&w->conf);
    assert_int_equal(
        conf_parse(&w->conf, "f.yaml", text, strlen(text), NULL, &err), 0);
    for (int i = 0; i < 2; i++)
        if (w->c[i] != NULL)
            coordinator_reload(w->c[i]);
    world_run(w, 300);
}

/* --- tests --------------------------------------------------------------- */

static void settings_by_api_hold_for_every_coordinator(void **state)
{
    struct world *w = *state;

    world_start(w, 1);
    world_run(w, 3000);
    put(w, NODE_WORKER, W1, HOT, 60000);
    world_run(w, 300);
    assert_true(degraded(w, 0, "gpu"));
    assert_true(put_group(w, 0, "{\"cpu_max\":0.95}", NULL).created);
    assert_stored(w, "{\"balancer\":{\"cpu_max\":0.95}}");
    for (int i = 0; i < 2; i++) {
        assert_true(cpu_max(w, i, SETTINGS_BY_API) == 0.95);
        assert_false(degraded(w, i, "gpu"));
        assert_true(degraded(w, i, NULL));
    }
    assert_false(put_group(w, 1, "{\"cpu_max\":null}", NULL).created);
    assert_stored(w, "{\"balancer\":{}}");
    for (int i = 0; i < 2; i++) {
        assert_true(cpu_max(w, i, SETTINGS_GENERAL) == 0.8);
        assert_true(degraded(w, i, "gpu"));
    }
}

static void each_half_leaves_the_other(void **state)
{
    struct world *w = *state;

    put_group(w, 0, NULL, W1);
    assert_stored(w, "{\"addresses\":[\"" W1 "\"]}");
    put_group(w, 0, "{\"cpu_max\":0.95,\"warm_up\":\"5s\"}", NULL);
    assert_stored(w, "{\"addresses\":[\"" W1 "\"],\"balancer\":{\"cpu_max\":"
                     "0.95,\"warm_up\":\"5s\"}}");
    assert_int_equal(n_addresses(w), 1);
    put_group(w, 0, NULL, "10.0.1.2:1");
    assert_stored(w, "{\"addresses\":[\"10.0.1.2:1\"],\"balancer\":{"
                     "\"cpu_max\":0.95,\"warm_up\":\"5s\"}}");
    put_group(w, 0, "null", W1);
    assert_stored(w, "{\"addresses\":[\"" W1 "\"],\"balancer\":{}}");
    assert_true(cpu_max(w, 0, SETTINGS_GENERAL) == 0.8);
}

static void sources_come_in_their_order(void **state)
{
    static const char own[] = "balancer: {cpu-max: 0.7, groups: {GPU: "
                              "{cpu-max: 0.75}}}\ngroups: {GPU: ['" W1 "']}\n";
    struct world *w = *state;
    struct got g = {0};

    configure(w, "groups: {gpu: ['" W1 "']}\n");
    assert_true(cpu_max(w, 0, SETTINGS_GENERAL) == 0.8);
    configure(w, own);
    assert_true(cpu_max(w, 0, SETTINGS_CONFIGURED) == 0.75);
    put_group(w, 0, "{\"cpu_max\":0.95}", NULL);
    assert_true(cpu_max(w, 0, SETTINGS_BY_API) == 0.95);
    assert_int_equal(n_addresses(w), 1); /* still the configured ones */
    configure(w, "balancer: {cpu-max: 0.6}\n");
    assert_true(cpu_max(w, 0, SETTINGS_BY_API) == 0.95);
    assert_int_equal(n_addresses(w), 0);
    configure(w, own);
    assert_int_equal(n_addresses(w), 1);
    put_group(w, 0, "{\"cpu_max\":null}", NULL);
    assert_true(cpu_max(w, 0, SETTINGS_CONFIGURED) == 0.75);
    put_group(w, 0, "{\"cpu_max\":0.95}", NULL);
    coordinator_group_delete(w->c[0], "gpu", got, &g);
    assert_string_equal(answered(w, &g).code, "");
    world_run(w, 300);
    assert_true(cpu_max(w, 0, SETTINGS_CONFIGURED) == 0.75);
    assert_int_equal(n_addresses(w), 1);
}

/* That the configuration names a group in balancer.groups defines none: it is
 * there when a worker says so, and has its settings. */
static void configured_settings_wait_for_a_group_of_workers(void **state)
{
    struct world *w = *state;
    struct snapshot *s;

    configure(w, "balancer: {groups: {gpu: {cpu-max: 0.95}}}\n");
    s = coordinator_snapshot(w->c[0]);
    assert_null(coordinator_snapshot_group(s, "gpu"));
    coordinator_snapshot_release(&s);
    put(w, NODE_WORKER, W1, HOT, 60000);
    world_run(w, 300);
    assert_true(cpu_max(w, 0, SETTINGS_CONFIGURED) == 0.95);
    assert_false(degraded(w, 0, "gpu"));
    /* What is not its own follows, also when that changes. */
    configure(w, "balancer: {memory-max: 0.05, groups: {gpu: {cpu-max: "
                 "0.95}}}\n");
    assert_true(degraded(w, 0, "gpu"));
}

static void what_another_version_stored_is_taken_and_kept(void **state)
{
    struct world *w = *state;

    hand_put(w, KEY, "{\"addresses\":[\"" W1 "\"]}", false); /* an older one */
    world_run(w, 300);
    assert_int_equal(n_addresses(w), 1);
    assert_true(cpu_max(w, 0, SETTINGS_GENERAL) == 0.8);
    hand_put(w, KEY,
             "{ \"balancer\": {\"later\": [1], \"cpu_max\": 0.95}, "
             "\"addresses\":[] }",
             false);
    world_run(w, 300);
    assert_true(cpu_max(w, 0, SETTINGS_BY_API) == 0.95);
    put_group(w, 0, NULL, W1);
    assert_stored(w, "{\"addresses\":[\"" W1 "\"],\"balancer\":{\"later\": "
                     "[1], \"cpu_max\": 0.95}}");
    put_group(w, 0, "{\"disk_max\":0.5}", NULL);
    assert_stored(w, "{\"addresses\":[\"" W1 "\"],\"balancer\":{\"cpu_max\":"
                     "0.95,\"disk_max\":0.5}}");
}

static struct group_settings_change change_of(const char *written)
{
    struct group_settings_change change;
    struct err err;

    assert_int_equal(group_settings_parse(written, &change, &err), 0);
    return change;
}

/* Asked at once, with answers that get lost on the way: everybody's key is
 * there in the end, and the addresses of the one who gave some. */
static void two_at_once_both_get_what_they_asked_for(void **state)
{
    static const char both[] = "{\"addresses\":[\"" W1 "\"],\"balancer\":{"
                               "\"cpu_max\":0.5,\"disk_max\":0.25}}";
    const struct memory_faults faults = {.delay_max_ms = 20,
                                         .unknown_share = 0.5};
    const struct group_settings_change a = change_of("cpu-max=0.5"),
                                       b = change_of("disk-max=0.25");
    const struct group_put puts[] = {
        {.settings = &a},
        {.settings = &b},
        {.addresses = (const char *const[]){W1}, .n = 1},
    };
    struct world *w = *state;

    world_start(w, 1);
    world_run(w, 3000);
    memory_set_faults(w->store, &faults);
    for (int round = 0; round < 100; round++) {
        struct got g[ARRAY_LEN(puts)] = {{0}};

        for (size_t i = 0; i < ARRAY_LEN(puts); i++)
            coordinator_group_put(w->c[i % 2], "gpu", &puts[i], got, &g[i]);
        for (size_t i = 0; i < ARRAY_LEN(puts); i++)
            assert_string_equal(answered(w, &g[i]).code, "");
        assert_stored(w, both);
        /* what is still on its way finds other versions, unless they begin
         * again: it arrives before the key is taken away by hand */
        memory_set_faults(w->store, &(const struct memory_faults){0});
        world_run(w, 2 * SESSION_MS);
        assert_stored(w, both);
        hand_delete(w, KEY);
        memory_set_faults(w->store, &faults);
    }
    memory_set_faults(w->store, &(const struct memory_faults){0});
}

static void nonsense_by_hand_harms_nobody(void **state)
{
    static const char *const texts[] = {
        "nothing",
        "{\"balancer\":5}",
        "{\"balancer\":null}",
        "{\"balancer\":{\"cpu_max\":7}}",
        "{\"balancer\":{\"cpu_max\":null,\"cpu_max\":-1}}",
        "{\"balancer\":{\"dynamic_weights\":{\"cpu_usage\":1}}}",
        "{\"addresses\":7,\"balancer\":{\"cpu_max\":\"\"}}",
    };
    struct world *w = *state;

    put(w, NODE_WORKER, W1, HOT, 60000);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        hand_put(w, KEY, texts[i], false);
        world_run(w, 300);
        assert_true(cpu_max(w, 0, SETTINGS_GENERAL) == 0.8);
        put_group(w, 0, "{\"cpu_max\":0.95}", W1);
        assert_stored(w, "{\"addresses\":[\"" W1 "\"],\"balancer\":{"
                         "\"cpu_max\":0.95}}");
        hand_delete(w, KEY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(settings_by_api_hold_for_every_coordinator),
        WORLD_TEST(each_half_leaves_the_other),
        WORLD_TEST(sources_come_in_their_order),
        WORLD_TEST(configured_settings_wait_for_a_group_of_workers),
        WORLD_TEST(what_another_version_stored_is_taken_and_kept),
        WORLD_TEST(two_at_once_both_get_what_they_asked_for),
        WORLD_TEST(nonsense_by_hand_harms_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
