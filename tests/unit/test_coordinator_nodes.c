/*
 * test_coordinator_nodes.c - nodes that speak HTTP: who they are, how long
 * they count, and who may not come back.
 */
#include "tests/unit/coordinator_world.h"

#define W1  "10.0.1.1:1234"
#define KEY "/pelorus/nodes/worker/" W1

static struct snapshot_node look(struct world *w, enum node_kind kind,
                                 const char *address)
{
    struct snapshot *s = coordinator_snapshot(w->c[0]);
    const struct snapshot_node *n = snapshot_node(s, kind, address);
    struct snapshot_node copy = {.state = NODE_DOWN};

    if (n != NULL)
        copy = *n; /* only its plain members are looked at */
    snapshot_release(&s);
    return copy;
}

static void a_first_put_registers_and_the_next_renews(void **state)
{
    struct world *w = *state;
    const char *body = "{\"startupTime\":5,\"processId\":6,\"cpuUsage\":0.5}";
    struct got first = put(w, NODE_WORKER, W1, body, 5000), again;

    assert_string_equal(first.code, "");
    assert_true(first.created);
    assert_int_equal(first.process.startup_time, 5);
    assert_int_equal(first.process.process_id, 6);
    world_run(w, 200);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
    assert_true(look(w, NODE_WORKER, W1).load.cpu == 0.5);
    again = put(w, NODE_WORKER, W1, body, 5000);
    assert_string_equal(again.code, "");
    assert_false(again.created);
    assert_true(process_same(&again.process, &first.process));
}

static void without_startup_time_the_registration_is_the_identity(void **state)
{
    struct world *w = *state;
    struct got first = put(w, NODE_WORKER, W1, "{}", 5000), again;

    assert_true(first.process.startup_time > 0);
    world_run(w, 1000);
    again = put(w, NODE_WORKER, W1, "", 5000);
    assert_true(process_same(&again.process, &first.process));
    assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "");
    again = put(w, NODE_WORKER, W1, "{}", 5000);
    assert_true(again.created);
    assert_true(process_differs(&again.process, &first.process));
}

static void another_process_takes_the_address(void **state)
{
    struct world *w = *state;
    struct got g;

    put(w, NODE_WORKER, W1, "{\"startupTime\":5,\"processId\":6}", 5000);
    world_run(w, 200);
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":9,\"processId\":6}", 5000);
    assert_string_equal(g.code, "");
    world_run(w, 200);
    assert_int_equal(look(w, NODE_WORKER, W1).process.startup_time, 9);
}

static void a_key_unchanged_for_its_ttl_is_removed(void **state)
{
    struct world *w = *state;

    put(w, NODE_WORKER, W1, "{}", 2000);
    world_run(w, 1500);
    put(w, NODE_WORKER, W1, "{}", 2000); /* renewed: it counts from here */
    world_run(w, 1500);
    assert_non_null(memory_find(w->store, KEY));
    world_run(w, 1500);
    assert_null(memory_find(w->store, KEY));
    world_run(w, 2000);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_DOWN);
}

static void a_fenced_process_is_refused_and_the_next_one_is_not(void **state)
{
    struct world *w = *state;
    const char *old = "{\"startupTime\":5,\"processId\":6}";
    struct gate gate = {
        .state = GATE_FENCED,
        .process = {.startup_time = 5, .process_id = 6, .known = true}};
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;
    struct got g;

    buf_init(&b, 4096);
    gate_write(&b, &gate);
    hand_put(w, gate_key(NODE_WORKER, W1, key, sizeof(key)), buf_text(&b),
             false);
    g = put(w, NODE_WORKER, W1, old, 5000);
    assert_string_equal(g.code, "fenced");
    assert_non_null(strstr(g.err.msg, "startupTime"));
    assert_null(memory_find(w->store, KEY));
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":7,\"processId\":6}", 5000);
    assert_string_equal(g.code, "");
    buf_close(&b);
}

static void an_agents_own_registration_is_left_alone(void **state)
{
    struct world *w = *state;
    struct got g;

    hand_put(w, KEY, "{\"startupTime\":1,\"processId\":1}", true);
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":5,\"processId\":6}", 5000);
    assert_string_equal(g.code, "conflict");
    assert_non_null(strstr(g.err.msg, "agent"));
}

static void what_is_no_heartbeat_is_refused_at_once(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *address, *body;
        int64_t ttl_ms;
        const char *says;
    } bad[] = {{"10.0.1.1", "{}", 5000, "port"},
               {W1, "{", 5000, "JSON"},
               {W1, "[]", 5000, "object"},
               {W1, "{\"startupTime\":\"x\"}", 5000, "startupTime"},
               {W1, "{\"startupTime\":0}", 5000, "startupTime"},
               {W1, "{\"startupTime\":1.5}", 5000, "startupTime"},
               {W1, "{\"processId\":\"x\"}", 5000, "processId"},
               {W1, "{}", 999, "ttl"},
               {W1, "{}", 3600001, "ttl"}};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct got g = {0};

        coordinator_node_put(w->c[0], NODE_WORKER, bad[i].address, bad[i].body,
                             strlen(bad[i].body), bad[i].ttl_ms, got, &g);
        assert_int_equal(g.times, 1);
        assert_string_equal(g.code, "invalid");
        assert_non_null(strstr(g.err.msg, bad[i].says));
    }
    assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "not_found");
}

/* Each write is bound to the version read, so repeating is safe; whatever the
 * registry does, one process stands there in the end. */
static void lost_answers_are_read_back(void **state)
{
    struct world *w = *state;
    const struct memory_faults faults = {.delay_max_ms = 20,
                                         .unknown_share = 0.3};
    unsigned ok = 0;

    memory_set_faults(w->store, &faults);
    for (int i = 0; i < 50; i++)
        ok += put(w, NODE_WORKER, W1, "{\"startupTime\":5,\"processId\":6}",
                  60000)
                  .code[0] == '\0';
    memory_set_faults(w->store, &(struct memory_faults){0});
    assert_true(ok >= 48);
    world_run(w, 3000);
    assert_int_equal(look(w, NODE_WORKER, W1).process.startup_time, 5);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
}

static void out_of_reach_is_said_and_not_guessed(void **state)
{
    struct world *w = *state;
    struct got g;

    memory_cut(w->registry[0]);
    g = put(w, NODE_WORKER, W1, "{}", 5000);
    assert_true(strcmp(g.code, "registry_unavailable") == 0 ||
                strcmp(g.code, "outcome_unknown") == 0 ||
                strcmp(g.code, "session_lost") == 0);
    memory_heal(w->registry[0]);
    world_run(w, 2 * SESSION_MS);
    assert_string_equal(put(w, NODE_WORKER, W1, "{}", 5000).code, "");
}

static void what_is_under_way_is_cancelled_at_the_end(void **state)
{
    struct world *w = *state;
    struct got a = {0}, b = {0}, c = {0}, d = {0};

    coordinator_node_put(w->c[0], NODE_WORKER, W1, "{}", 2, 5000, got, &a);
    coordinator_node_delete(w->c[0], NODE_WORKER, W1, 0, got, &b);
    coordinator_settings_get(w->c[0], got, &c);
    coordinator_failover_list(w->c[0], got, &d);
    world_end(w, 0);
    assert_int_equal(a.times + b.times + c.times + d.times, 4);
    assert_string_equal(a.code, "cancelled");
    assert_string_equal(b.code, "cancelled");
    assert_string_equal(c.code, "cancelled");
    assert_string_equal(d.code, "cancelled");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_first_put_registers_and_the_next_renews),
        WORLD_TEST(without_startup_time_the_registration_is_the_identity),
        WORLD_TEST(another_process_takes_the_address),
        WORLD_TEST(a_key_unchanged_for_its_ttl_is_removed),
        WORLD_TEST(a_fenced_process_is_refused_and_the_next_one_is_not),
        WORLD_TEST(an_agents_own_registration_is_left_alone),
        WORLD_TEST(what_is_no_heartbeat_is_refused_at_once),
        WORLD_TEST(lost_answers_are_read_back),
        WORLD_TEST(out_of_reach_is_said_and_not_guessed),
        WORLD_TEST(what_is_under_way_is_cancelled_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
