/* test_work.c - done, get, fence check, handover and release. */
#include "tests/unit/work_ask.h"

static void done_finishes_an_item_and_removes_its_marker(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_int_equal(audit(w).live, 1);
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
    assert_int_equal(e->item.state, WORK_DONE);
    assert_true(e->item.epoch == 1);
    assert_true(e->item.finished_at > 0);
    assert_string_equal(e->item.owner, "m:1");
    assert_int_equal(audit(w).live, 0);
    assert_int_equal(s->ended, 1);
    /* again: a client that never saw the answer */
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
    assert_int_equal(s->ended, 1);
    ended_free(e);
    world_free(w);
}

static void done_with_another_epoch_changes_nothing(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_string_equal(at_epoch(s, e, work_handover, "a", 1), "");
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "stale_epoch");
    assert_true(e->has_item);
    assert_true(e->item.epoch == 2);
    assert_string_equal(e->item.owner, "m:2");
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "1"), ERR_OK);
    assert_string_equal(at_epoch(s, e, work_done, "b", 1), "work_not_found");
    assert_string_equal(at_epoch(s, e, work_done, "a", 2), "");
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "stale_epoch");
    ended_free(e);
    world_free(w);
}

static void
done_from_a_fenced_process_counts_until_its_item_is_moved(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    put_gate(w, NODE_MASTER, "m:1", GATE_FENCED, 1);
    assert_string_equal(at_epoch(s, e, work_fence_check, "a", 1), "");
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
    assert_int_equal(audit(w).live, 0);
    ended_free(e);
    world_free(w);
}

/* The record is read, and the marker is taken for one of the same txn; one that
 * somebody wrote anew is found to be another. */
static void done_takes_two_journeys(void **state)
{
    struct memory_faults slow = {.delay_max_ms = 40};
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    char key[REGISTRY_KEY_MAX + 1], id[8];
    mono_ms before;

    (void)state;
    for (int i = 0; i < 12; i++) {
        (void)snprintf(id, sizeof(id), "a%d", i);
        assert_string_equal(submit(s, e, id, NULL), "");
    }
    assert_string_equal(at_epoch(s, e, work_handover, "a0", 1), "");
    memory_set_faults(w->store, &slow);
    before = w->clock.mono;
    for (int i = 0; i < 12; i++) {
        (void)snprintf(id, sizeof(id), "a%d", i);
        assert_string_equal(at_epoch(s, e, work_done, id, i == 0 ? 2 : 1), "");
    }
    /* 40 ms there and back on average; three would be far above this */
    assert_true(w->clock.mono - before <= 12 * (5 * 40 / 2 + STEP_MS / 2));
    assert_string_equal(submit(s, e, "b", NULL), "");
    work_marker_key(NODE_MASTER, e->item.owner, "b", key);
    assert_int_equal(hand_put(w, key, "{\"epoch\":1}"), ERR_OK);
    assert_string_equal(at_epoch(s, e, work_done, "b", 1), "");
    assert_int_equal(audit(w).live, 0);
    ended_free(e);
    world_free(w);
}

static void done_is_possible_when_a_marker_was_lost(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    char key[REGISTRY_KEY_MAX + 1];
    int code = -1;

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    work_marker_key(NODE_MASTER, "m:1", "a", key);
    registry_delete(w->hand, key, memory_find(w->store, key)->version,
                    note_code, &code);
    pass(w, 100);
    assert_int_equal(code, ERR_OK);
    assert_string_equal(at_epoch(s, e, work_handover, "a", 1), "damaged");
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
    assert_int_equal(e->item.state, WORK_DONE);
    ended_free(e);
    world_free(w);
}

static void a_damaged_record_is_an_error_that_names_it(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_int_equal(hand_put(w, "/pelorus/work/a", "{\"id\":\"a\"}"), ERR_OK);
    assert_int_equal(hand_put(w, "/pelorus/work/b", "scrambled"), ERR_OK);
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "damaged");
    assert_non_null(strstr(e->message, "work item a"));
    assert_string_equal(at_epoch(s, e, work_handover, "b", 1), "damaged");
    assert_string_equal(submit(s, e, "b", NULL), "damaged");
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "-4"), ERR_OK);
    assert_string_equal(submit(s, e, "c", NULL), "damaged");
    assert_non_null(strstr(e->message, EPOCH_FLOOR_KEY));
    ended_free(e);
    world_free(w);
}

static void fence_check_answers_by_epoch_and_state(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_string_equal(at_epoch(s, e, work_fence_check, "a", 1), "");
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "1"), ERR_OK);
    assert_string_equal(at_epoch(s, e, work_fence_check, "b", 1),
                        "work_not_found");
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
    assert_string_equal(at_epoch(s, e, work_fence_check, "a", 1),
                        "stale_epoch");
    ended_free(e);
    world_free(w);
}

static void fence_check_does_not_guess_when_the_registry_is_away(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    memory_cut(s->registry);
    assert_string_equal(at_epoch(s, e, work_fence_check, "a", 1),
                        "registry_unavailable");
    memory_heal(s->registry);
    pass(w, 2 * SESSION_MS);
    assert_string_equal(at_epoch(s, e, work_fence_check, "a", 1), "");
    ended_free(e);
    world_free(w);
}

/* --- handover and release ------------------------------------------------ */

static void handover_moves_to_another_node_and_remembers(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    s->only = NULL;
    assert_string_equal(submit(s, e, "a", "{\"n\":1}"), "");
    assert_string_equal(e->item.owner, "m:1");
    put_gate(w, NODE_MASTER, "m:1", GATE_DRAINING, 1);
    assert_string_equal(at_epoch(s, e, work_handover, "a", 1), "");
    assert_string_equal(e->item.owner, "m:2");
    assert_true(e->item.epoch == 2);
    assert_int_equal(e->item.attempts, 2);
    assert_int_equal(e->item.n_history, 1);
    assert_string_equal(e->item.history[0].address, "m:1");
    assert_false(e->item.history[0].died);
    assert_string_equal(e->item.payload, "{\"n\":1}");
    assert_int_equal(audit(w).live, 1);
    /* said twice: the same answer, nothing moves */
    assert_string_equal(at_epoch(s, e, work_handover, "a", 1), "");
    assert_true(e->item.epoch == 2);
    ended_free(e);
    world_free(w);
}

static void handover_of_the_only_node_waits(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    put_gate(w, NODE_MASTER, "m:2", GATE_CORDONED, 1);
    assert_string_equal(at_epoch(s, e, work_handover, "a", 1), "");
    assert_int_equal(e->item.state, WORK_WAITING);
    assert_true(e->item.epoch == 2);
    assert_string_equal(e->item.owner, "");
    assert_int_equal(audit(w).live, 1);
    assert_string_equal(at_epoch(s, e, work_handover, "a", 2), "not_assigned");
    assert_string_equal(at_epoch(s, e, work_done, "a", 2), "");
    assert_int_equal(audit(w).live, 0);
    ended_free(e);
    world_free(w);
}

/* Without the lock, too: a floor that was lifted binds handover and release,
 * and where no epoch is left above it nothing is written. */
static void no_epoch_is_given_below_the_floor(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    s->only = NULL;
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_string_equal(submit(s, e, "b", NULL), "");
    put_held(w, "c", 4);
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "5000"), ERR_OK);
    assert_string_equal(at_epoch(s, e, work_handover, "a", 1), "");
    assert_true(e->item.epoch == 5001);
    assert_string_equal(at_epoch(s, e, work_release, "c", 4), "");
    assert_true(e->item.epoch == 5001);
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "9223372036854775808"),
                     ERR_OK);
    assert_string_equal(at_epoch(s, e, work_handover, "b", 1), "damaged");
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "many"), ERR_OK);
    assert_string_equal(at_epoch(s, e, work_handover, "b", 1), "damaged");
    assert_int_equal(audit(w).live, 3);
    ended_free(e);
    world_free(w);
}

static void release_gives_held_work_to_a_node_or_lets_it_wait(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    put_held(w, "a", 4);
    put_held(w, "b", 7);
    assert_string_equal(at_epoch(s, e, work_release, "a", 3), "stale_epoch");
    assert_string_equal(at_epoch(s, e, work_release, "a", 4), "");
    assert_int_equal(e->item.state, WORK_ASSIGNED);
    assert_true(e->item.epoch == 5);
    assert_string_equal(e->item.cause, "");
    assert_string_equal(at_epoch(s, e, work_release, "a", 0), "not_held");
    put_gate(w, NODE_MASTER, "m:1", GATE_DRAINING, 1);
    put_gate(w, NODE_MASTER, "m:2", GATE_DRAINING, 1);
    RESET(e);
    work_release(s->work, "b", 0, on_reply, e);
    await(w, e);
    assert_string_equal(e->code, "");
    assert_int_equal(e->item.state, WORK_WAITING);
    assert_true(e->item.epoch == 8);
    assert_int_equal(audit(w).live, 2);
    assert_string_equal(at_epoch(s, e, work_release, "c", 0), "work_not_found");
    ended_free(e);
    world_free(w);
}

static void bad_ids_are_refused_by_the_next_tick(void **state)
{
    struct world *w = world_new(1, 3);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    by_epoch_f *const ops[] = {work_done, work_handover, work_release,
                               work_fence_check};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        assert_string_equal(at_epoch(s, e, ops[i], "a/b", 1), "invalid");
        assert_non_null(strstr(e->message, "character 2"));
    }
    RESET(e);
    work_get(s->work, "", on_reply, e);
    await(w, e);
    assert_string_equal(e->code, "invalid");
    RESET(e);
    work_get(s->work, "a", on_reply, e);
    await(w, e);
    assert_string_equal(e->code, "work_not_found");
    ended_free(e);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(done_finishes_an_item_and_removes_its_marker),
        cmocka_unit_test(done_with_another_epoch_changes_nothing),
        cmocka_unit_test(
            done_from_a_fenced_process_counts_until_its_item_is_moved),
        cmocka_unit_test(done_takes_two_journeys),
        cmocka_unit_test(done_is_possible_when_a_marker_was_lost),
        cmocka_unit_test(a_damaged_record_is_an_error_that_names_it),
        cmocka_unit_test(fence_check_answers_by_epoch_and_state),
        cmocka_unit_test(fence_check_does_not_guess_when_the_registry_is_away),
        cmocka_unit_test(handover_moves_to_another_node_and_remembers),
        cmocka_unit_test(no_epoch_is_given_below_the_floor),
        cmocka_unit_test(handover_of_the_only_node_waits),
        cmocka_unit_test(release_gives_held_work_to_a_node_or_lets_it_wait),
        cmocka_unit_test(bad_ids_are_refused_by_the_next_tick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
