/*
 * test_requests.c - what clients ask of the registry when answers get lost,
 * and who may take whose registration away.
 */
#include "coordinator/coordinator_priv.h"
#include "tests/unit/coordinator_world.h"

#define W1 "10.0.1.1:1234"
#define M1 "10.0.0.1:5678"

static struct got group_put(struct world *w, const char *name)
{
    static const char *const addresses[] = {W1};
    struct got g = {0};

    coordinator_group_put(w->c[0], name,
                          &(struct group_put){.addresses = addresses, .n = 1},
                          got, &g);
    return answered(w, &g);
}

static struct got leave(struct world *w, int64_t startup_time)
{
    struct got g = {0};

    coordinator_node_delete(w->c[0],
                            &(struct node_leave){.kind = NODE_MASTER,
                                                 .address = M1,
                                                 .startup_time = startup_time},
                            got, &g);
    return answered(w, &g);
}

static void lost_answers(struct world *w, bool lost)
{
    const struct memory_faults faults = {.delay_max_ms = lost ? 20 : 0,
                                         .unknown_share = lost ? 0.5 : 0};

    memory_set_faults(w->store, &faults);
}

static void a_group_is_defined_once_whatever_answers_get_lost(void **state)
{
    struct world *w = *state;
    char name[16], key[64];

    lost_answers(w, true);
    for (int i = 0; i < 40; i++) {
        struct got g;

        snprintf(name, sizeof(name), "g%d", i);
        snprintf(key, sizeof(key), "/pelorus/groups/%s", name);
        g = group_put(w, name);
        assert_string_equal(g.code, "");
        assert_true(g.created);
        assert_non_null(memory_find(w->store, key));
        g = (struct got){0};
        coordinator_group_delete(w->c[0], name, got, &g);
        assert_string_equal(answered(w, &g).code, "");
        assert_null(memory_find(w->store, key));
    }
    lost_answers(w, false);
}

static void a_second_definition_is_no_creation(void **state)
{
    struct world *w = *state;

    assert_true(group_put(w, "gpu").created);
    assert_false(group_put(w, "gpu").created);
}

static void unknown_is_not_called_unavailable(void **state)
{
    struct world *w = *state;
    struct got g = {0};
    mono_ms began = w->clock.mono;

    lost_answers(w, true);
    coordinator_group_put(
        w->c[0], "x",
        &(struct group_put){.addresses = (const char *const[]){W1}, .n = 1},
        got, &g);
    /* cut as soon as the write is on its way */
    for (int i = 0; i < 200 && memory_find(w->store, "/pelorus/groups/x") == 0;
         i++)
        memory_run(w->store, w->clock.mono + 1);
    memory_cut(w->registry[0]);
    while (g.times == 0 && w->clock.mono < began + 30000)
        world_run(w, 50);
    memory_heal(w->registry[0]);
    lost_answers(w, false);
    assert_int_equal(g.times, 1);
    assert_string_equal(g.code, "outcome_unknown");
    assert_in_range(w->clock.mono - began, 5000, 20000);
}

static void whoever_leaves_takes_nobody_along(void **state)
{
    struct world *w = *state;

    put(w, NODE_MASTER, M1, "{\"startupTime\":5,\"processId\":6}", 60000);
    put(w, NODE_MASTER, M1, "{\"startupTime\":7,\"processId\":8}", 60000);
    assert_string_equal(leave(w, 5).code, "conflict");
    assert_non_null(memory_find(w->store, "/pelorus/nodes/master/" M1));
    assert_string_equal(leave(w, 7).code, "");
    assert_null(memory_find(w->store, "/pelorus/nodes/master/" M1));
    assert_string_equal(leave(w, 7).code, "not_found");
    hand_put(w, "/pelorus/nodes/master/" M1, "{\"startupTime\":9}", true);
    assert_string_equal(leave(w, 0).code, "conflict");
    assert_non_null(memory_find(w->store, "/pelorus/nodes/master/" M1));
}

static void a_name_given_twice_does_not_pass_the_gate(void **state)
{
    struct world *w = *state;
    const struct registry_entry *e;

    hand_put(w, "/pelorus/owners/master/" M1,
             "{\"state\":\"fenced\",\"process\":{\"created\":1,"
             "\"startupTime\":2,\"processId\":0}}",
             false);
    put(w, NODE_MASTER, M1, "{\"startupTime\":1,\"startupTime\":2}", 60000);
    e = memory_find(w->store, "/pelorus/nodes/master/" M1);
    assert_true(e == NULL || strstr(e->value, "\"startupTime\":2") == NULL);
}

static void
a_fenced_process_is_barred_after_its_node_was_forgotten(void **state)
{
    static const char beat[] = "{\"startupTime\":5,\"processId\":6}";
    struct world *w = *state;
    const struct node *n;

    hand_put(w, "/nodes/worker/" W1, beat, true);
    hand_put(w, "/pelorus/owners/worker/" W1,
             "{\"state\":\"fenced\",\"process\":{\"created\":1,"
             "\"startupTime\":5,\"processId\":6}}",
             false);
    hand_delete(w, "/nodes/worker/" W1);
    world_run(w, 12 * 60 * 1000);
    assert_null(membership_find(w->c[0]->membership, NODE_WORKER, W1));
    hand_put(w, "/nodes/worker/" W1, beat, true);
    world_run(w, 500);
    n = membership_find(w->c[0]->membership, NODE_WORKER, W1);
    assert_non_null(n);
    assert_int_equal(n->state, NODE_FENCED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_group_is_defined_once_whatever_answers_get_lost),
        WORLD_TEST(a_second_definition_is_no_creation),
        WORLD_TEST(unknown_is_not_called_unavailable),
        WORLD_TEST(whoever_leaves_takes_nobody_along),
        WORLD_TEST(a_name_given_twice_does_not_pass_the_gate),
        WORLD_TEST(a_fenced_process_is_barred_after_its_node_was_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
