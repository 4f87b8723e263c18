/*
 * test_coordinator_problems.c - what is not used is said: once in the log, in
 * every snapshot for as long as it stands, and at once to who is there.
 */
#include "coordinator_world.h"

#include "base/buf.h"

#define W1 "10.0.0.1:1234"
#define W2 "10.0.0.2:1234"
#define CHILD                                                                  \
    "6d5ad1f5-6ed8-4bd4-9a5f-3f9a0c9f2a77" /* as Curator names them            \
                                            */
#define BEAT "{\"startupTime\":5,\"processId\":6"

static struct buf lines; /* warnings */

static void keep(void *arg, enum log_level level, const char *line, size_t len)
{
    (void)arg;
    if (level >= LOG_WARN)
        buf_add(&lines, line, len);
}

static unsigned said(const char *what)
{
    unsigned n = 0;

    for (const char *at = strstr(buf_text(&lines), what); at != NULL;
         at = strstr(at + 1, what))
        n++;
    return n;
}

static int open_world(void **state)
{
    int rc = world_open(state);

    buf_init(&lines, (size_t)1 << 20);
    log_set_sink(keep, NULL);
    return rc;
}

static int close_world(void **state)
{
    buf_close(&lines);
    return world_close(state);
}

static struct got put_body(struct world *w, const char *body)
{
    return node_put(w, &(struct node_put){.kind = NODE_WORKER,
                                          .address = W1,
                                          .body = body,
                                          .len = strlen(body),
                                          .ttl_ms = 5000});
}

static const struct snapshot_problem *problem(const struct snapshot *s,
                                              const char *key)
{
    for (size_t i = 0; i < s->n_problems; i++)
        if (strcmp(s->problems[i].key, key) == 0)
            return &s->problems[i];
    return NULL;
}

static void a_key_that_names_nobody_is_said_once_and_shown(void **state)
{
    static const struct {
        const char *key, *reason;
    } cases[] = {
        {"/nodes/worker/" CHILD, "host:port"},
        {"/nodes/worker/gpu/" CHILD, "host:port"},
        {"/nodes/scheduler/" W1, "master, worker or alert-server"},
        {"/nodes/master/eu/" W1, "too many parts"},
        {"/pelorus/nodes/worker/h", "no port"},
        {"/pelorus/groups/default", "cannot be defined"},
        {"/pelorus/groups/x", "list of host:port"},
        {"/pelorus/groups/y", "no port"},
    };
    struct world *w = *state;
    struct snapshot *s;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        hand_put(w, cases[i].key,
                 i == 7 ? "{\"addresses\":[\"" W1 "\",\"h\"]}" : BEAT "}",
                 false);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) /* once is enough */
        hand_put(w, cases[i].key,
                 i == 7 ? "{\"addresses\":[\"h\",\"" W1 "\"]}" : BEAT " }",
                 false);
    world_run(w, 300);
    s = coordinator_snapshot(w->c[0]);
    assert_int_equal(s->problem_keys, ARRAY_LEN(cases));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct snapshot_problem *p = problem(s, cases[i].key);

        if (p == NULL || strstr(p->reason, cases[i].reason) == NULL)
            fail_msg("%s: %s", cases[i].key,
                     p != NULL ? p->reason : "not said");
    }
    coordinator_snapshot_release(&s);
    assert_int_equal(said("!key"), ARRAY_LEN(cases));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        hand_delete(w, cases[i].key);
    world_run(w, 300);
    s = coordinator_snapshot(w->c[0]);
    assert_int_equal(s->problem_keys, 0);
    coordinator_snapshot_release(&s);
}

/* What can be used of a definition is. */
static void a_group_with_one_bad_address_has_the_others(void **state)
{
    struct world *w = *state;
    const struct coordinator_snapshot_group *g;
    struct snapshot *s;

    hand_put(w, "/pelorus/groups/y", "{\"addresses\":[\"h\",\"" W1 "\",7]}",
             false);
    world_run(w, 300);
    s = coordinator_snapshot(w->c[0]);
    g = coordinator_snapshot_group(s, "y");
    assert_non_null(g);
    assert_int_equal(g->n_addresses, 1);
    assert_string_equal(g->addresses[0], W1);
    coordinator_snapshot_release(&s);
}

static void a_registry_full_of_them_does_not_fill_the_log(void **state)
{
    struct world *w = *state;
    struct snapshot *s;
    char key[64];

    for (int i = 0; i < 300; i++) {
        enum err_code code = ERR_CANCELLED;

        snprintf(key, sizeof(key), "/nodes/worker/id-%d", i);
        registry_put(w->hand, key, "{}", 2, REGISTRY_ANY, 0, false, hand_done,
                     &code);
        if (i % 50 == 49)
            world_run(w, 100);
    }
    world_run(w, 300);
    s = coordinator_snapshot(w->c[0]);
    assert_int_equal(s->problem_keys, 300);
    assert_int_equal(s->n_problems, SNAPSHOT_PROBLEMS_MAX);
    coordinator_snapshot_release(&s);
    assert_int_equal(said("!key"), 200);
    assert_int_equal(said("!problems"), 1);
}

static void a_refused_field_is_said_once_per_process(void **state)
{
    struct world *w = *state;
    struct snapshot *s;
    const struct coordinator_snapshot_node *n;

    hand_put(w, "/nodes/worker/" W1, BEAT ",\"cpuUsage\":25}", false);
    hand_put(w, "/nodes/worker/" W1, BEAT ",\"cpuUsage\":26}", false);
    world_run(w, 300);
    assert_int_equal(said("!heartbeat"), 1);
    assert_int_equal(said("cpuUsage: 25 where"), 1);
    hand_put(w, "/nodes/worker/" W1, BEAT ",\"cpuUsage\":2,\"slots\":-1}",
             false);
    world_run(w, 1300);
    assert_int_equal(said("!heartbeat"), 2);
    s = coordinator_snapshot(w->c[0]);
    n = coordinator_snapshot_node(s, NODE_WORKER, W1);
    assert_int_equal(s->problem_nodes, 1);
    assert_int_equal(n->odd->n_problems, 2);
    assert_non_null(strstr(n->odd->problems[0], "cpuUsage: 2 where"));
    assert_true(n->degraded);
    coordinator_snapshot_release(&s);
    hand_put(w, "/nodes/worker/" W1,
             "{\"startupTime\":9,\"processId\":6,\"cpuUsage\":2}", false);
    world_run(w, 300);
    assert_int_equal(said("!heartbeat"), 3);
    hand_put(w, "/nodes/worker/" W1, "{\"startupTime\":9,\"processId\":6}",
             false);
    world_run(w, 1300);
    s = coordinator_snapshot(w->c[0]);
    assert_int_equal(s->problem_nodes, 0);
    coordinator_snapshot_release(&s);
}

/* One that cannot be told is worked with; a bad field does not make it hot. */
static void a_bad_field_of_another_program_costs_that_field(void **state)
{
    struct world *w = *state;
    struct snapshot *s;
    const struct coordinator_snapshot_node *n;

    hand_put(w, "/nodes/worker/\xe6\xb5\x8b\xe8\xaf\x95/" W1,
             BEAT ",\"cpuUsage\":25,\"memoryUsage\":0.25,\"slots\":4}", false);
    world_run(w, 300);
    s = coordinator_snapshot(w->c[0]);
    n = coordinator_snapshot_node(s, NODE_WORKER, W1);
    assert_non_null(n);
    assert_true(n->load.cpu < 0);
    assert_true(n->load.memory == 0.25);
    assert_int_equal(n->load.slots, 4);
    assert_non_null(coordinator_snapshot_group(s, "\xe6\xb5\x8b\xe8\xaf\x95"));
    coordinator_snapshot_release(&s);
}

/* --- over HTTP ----------------------------------------------------------- */

static void a_wrong_heartbeat_is_refused_with_its_members(void **state)
{
    static const struct {
        const char *body, *names;
    } cases[] = {
        {"{\"cpuUsage\":25,\"slots\":\"8\",\"groups\":\"gpu\","
         "\"serverStatus\":\"normal\"}",
         "serverStatus, cpuUsage, slots, groups: "},
        {"{\"memoryUsage\":\"NaN\"}", "memoryUsage: \"NaN\" where"},
        {"{\"diskUsage\":-2}", "diskUsage: -2 where"},
        {"{\"threadPoolUsage\":101}", "threadPoolUsage: 101 where"},
        {"{\"workerHostWeight\":1.5}", "workerHostWeight: 1.5 where"},
        {"{\"workerHostWeight\":-1}", "workerHostWeight: -1 where"},
        {"{\"slots\":true}", "slots: true where"},
        {"{\"slots\":8.00000000000000001}", "slots: "},
        {"{\"serverStatus\":7}", "serverStatus: 7 where"},
        {"{\"groups\":[\"a\",1]}", "groups: 1 where"},
        {"{\"groups\":[\"a/b\"]}",
         "groups: group \"a/b\": a name has no slash"},
        {"{\"group\":[\"a\"]}", "group: one name"},
        {"{\"startupTime\":\"5\"}", "startupTime: \"5\" where"},
        {"{\"processId\":1e300}", "processId: 1e300 where"},
        {"{\"reportTime\":-1}", "reportTime: -1 where"},
        {"{\"loadAverage\":\"high\"}", "loadAverage: a number"},
        {"{\"workerWaitingTaskCount\":-4}", "workerWaitingTaskCount: -4"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct got g = put_body(w, cases[i].body);

        if (strcmp(g.code, "invalid") != 0 ||
            strstr(g.err.msg, cases[i].names) != g.err.msg)
            fail_msg("%s: %s: %s", cases[i].body, g.code, g.err.msg);
    }
    assert_null(memory_find(w->store, "/pelorus/nodes/worker/" W1));
    assert_string_equal(put_body(w, "").code, "");
    assert_string_equal(
        put_body(w, "{\"cpuUsage\":-1,\"slots\":null,\"serverStatus\":2,"
                    "\"groups\":[\"GPU pool\"],\"jvmCpuUsage\":0.5}")
            .code,
        "");
    world_run(w, 300);
    assert_int_equal(said("!heartbeat"), 0);
}

static void a_member_that_nobody_reads_is_a_warning(void **state)
{
    struct world *w = *state;
    struct got g = put_body(w, "{\"startuptime\":5,\"ttl\":\"5m\",\"zone\":1,"
                               "\"cpuUsage\":0.5}");

    assert_string_equal(g.code, "");
    assert_int_equal(g.n_warnings, 3);
    assert_string_equal(g.warnings,
                        "startuptime: nobody reads this member; did you mean "
                        "startupTime?\n"
                        "ttl: not read here; give it in the query, as in "
                        "?ttl=30s\n"
                        "zone: nobody reads this member of a heartbeat; those "
                        "that are read stand in /openapi.yaml\n");
    g = put_body(w, "{\"startupTime\":1732000000000,\"host\":\"h\","
                    "\"loadAverage\":0.5}");
    assert_int_equal(g.n_warnings, 0);
}

/* Accepted, and most likely not what was meant. */
static void an_unlikely_heartbeat_is_a_warning(void **state)
{
    static const struct {
        const char *body, *says;
    } cases[] = {
        {"{\"startupTime\":1732000000}", "startupTime: 1732000000 are no "
                                         "milliseconds since 1970 (seconds?)"},
        {"{\"startupTime\":1732000000000000}", "(microseconds?)"},
        {"{\"startupTime\":1732000000000000,\"port\":1}",
         "host, port: not those of " W1},
        {"{\"startupTime\":1732000000000000,\"host\":\"10.9.9.9\"}",
         "host, port: not those of " W1},
        {"{\"cpu\":0.5}", "did you mean cpuUsage?"},
        {"{\"weight\":5}", "did you mean workerHostWeight?"},
        {"{\"status\":\"NORMAL\"}", "did you mean serverStatus?"},
        {"{\"worker_group\":\"gpu\"}", "did you mean groups?"},
        {"{\"pid\":5}", "did you mean processId?"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct got g = put_body(w, cases[i].body);

        if (strstr(g.warnings, cases[i].says) == NULL)
            fail_msg("%s: %s %s", cases[i].body, g.code, g.warnings);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_key_that_names_nobody_is_said_once_and_shown),
        T(a_group_with_one_bad_address_has_the_others),
        T(a_registry_full_of_them_does_not_fill_the_log),
        T(a_refused_field_is_said_once_per_process),
        T(a_bad_field_of_another_program_costs_that_field),
        T(a_wrong_heartbeat_is_refused_with_its_members),
        T(a_member_that_nobody_reads_is_a_warning),
        T(an_unlikely_heartbeat_is_a_warning),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
