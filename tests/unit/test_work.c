/* test_work.c - done, get, fence check, handover, release; and how operations
 * end when the registry does not answer. */
#include "tests/unit/work_fixture.h"

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
    assert_string_equal(at_epoch(s, e, work_done, "a", 3), "stale_epoch");
    assert_string_equal(at_epoch(s, e, work_done, "b", 1), "work_not_found");
    assert_string_equal(at_epoch(s, e, work_done, "a", 2), "");
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "stale_epoch");
    ended_free(e);
    world_free(w);
}

static void done_from_a_fenced_process_counts_until_its_item_is_moved(
    void **state)
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

static void done_is_possible_when_a_marker_was_lost(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    char key[REGISTRY_KEY_MAX + 1];
    int code = -1;

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    marker_key(NODE_MASTER, "m:1", "a", key);
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
    assert_string_equal(at_epoch(s, e, work_fence_check, "a", 2),
                        "stale_epoch");
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

/* --- handover and release ------------------------------------------------- */

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
    assert_string_equal(at_epoch(s, e, work_handover, "a", 3), "stale_epoch");
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
    assert_string_equal(at_epoch(s, e, work_handover, "a", 2),
                        "not_assigned");
    assert_string_equal(at_epoch(s, e, work_done, "a", 2), "");
    assert_int_equal(audit(w).live, 0);
    ended_free(e);
    world_free(w);
}

static void put_held(struct world *w, const char *id, uint64_t epoch)
{
    struct work_item item = {.kind = NODE_MASTER, .epoch = epoch - 1};
    struct marker m;
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;

    (void)snprintf(item.id, sizeof(item.id), "%s", id);
    memcpy(item.group, "default", 8);
    work_item_unassign(&item, WORK_HELD, "policy");
    buf_init(&b, WORK_RECORD_MAX);
    work_item_write(&b, &item);
    assert_int_equal(hand_put(w, work_key(id, key), buf_text(&b)), ERR_OK);
    buf_reset(&b);
    marker_of(&m, &item);
    marker_write(&b, &m);
    assert_int_equal(
        hand_put(w, marker_key(NODE_MASTER, NULL, id, key), buf_text(&b)),
        ERR_OK);
    buf_close(&b);
}

static void release_gives_held_work_to_a_node_or_lets_it_wait(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    put_held(w, "a", 4);
    put_held(w, "b", 7);
    assert_string_equal(at_epoch(s, e, work_release_at, "a", 3),
                        "stale_epoch");
    assert_string_equal(at_epoch(s, e, work_release_at, "a", 4), "");
    assert_int_equal(e->item.state, WORK_ASSIGNED);
    assert_true(e->item.epoch == 5);
    assert_string_equal(e->item.cause, "");
    assert_string_equal(at_epoch(s, e, work_release_at, "a", 0), "not_held");
    put_gate(w, NODE_MASTER, "m:1", GATE_DRAINING, 1);
    put_gate(w, NODE_MASTER, "m:2", GATE_DRAINING, 1);
    RESET(e);
    work_release(s->work, "b", on_reply, e);
    await(w, e);
    assert_string_equal(e->code, "");
    assert_int_equal(e->item.state, WORK_WAITING);
    assert_true(e->item.epoch == 8);
    assert_int_equal(audit(w).live, 2);
    assert_string_equal(at_epoch(s, e, work_release_at, "c", 0),
                        "work_not_found");
    ended_free(e);
    world_free(w);
}

/* --- when the registry does not answer ------------------------------------ */

/* The reply is lost: each operation still ends well, and only once. */
static void unknown_outcomes_are_read_back(void **state)
{
    struct memory_faults bad = {.delay_max_ms = 20, .unknown_share = 0.5};
    struct memory_faults good = {0};
    by_epoch_f *const ops[] = {work_handover, work_done};

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world *w = world_new(1, seed);
        struct side *s = &w->sides[0];
        struct ended *e = ended_new();

        memory_set_faults(w->store, &bad);
        assert_string_equal(submit(s, e, "a", "[1,2]"), "");
        assert_true(e->created);
        assert_true(e->item.epoch == 1);
        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
            assert_string_equal(at_epoch(s, e, ops[i], "a", i + 1), "");
            assert_true(e->item.epoch == 2);
        }
        memory_set_faults(w->store, &good);
        put_held(w, "h", 1);
        memory_set_faults(w->store, &bad);
        assert_string_equal(at_epoch(s, e, work_release_at, "h", 1), "");
        assert_true(e->item.epoch == 2);
        assert_int_equal(e->item.state, WORK_ASSIGNED);
        memory_set_faults(w->store, &good);
        pass(w, SESSION_MS);
        assert_int_equal(audit(w).live, 1);
        ended_free(e);
        world_free(w);
    }
}

static void a_write_that_cannot_be_read_back_is_outcome_unknown(void **state)
{
    struct world *w = world_new(1, 3);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct memory_faults slow = {.delay_max_ms = 60};
    struct work_submit what = {.id = "a", .kind = NODE_MASTER};
    mono_ms began;

    (void)state;
    memory_set_faults(w->store, &slow);
    began = w->clock.mono;
    work_submit(s->work, &what, on_reply, e);
    /* Cut just when the txn is under way: the record's gate was read. */
    while (memory_find(w->store, "/pelorus/work/a") == NULL) {
        memory_run(w->store, w->clock.mono + 1);
        work_tick(s->work);
    }
    memory_cut(s->registry);
    await(w, e);
    assert_string_equal(e->code, "outcome_unknown");
    assert_non_null(strstr(e->message, "a"));
    assert_true(w->clock.mono - began < 16000);
    memory_heal(s->registry);
    pass(w, 3 * SESSION_MS);
    /* asked again: it is there, once */
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_false(e->created);
    assert_int_equal(audit(w).live, 1);
    ended_free(e);
    world_free(w);
}

static void nothing_is_said_to_be_stored_without_a_registry(void **state)
{
    struct world *w = world_new(1, 3);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    memory_cut(s->registry);
    pass(w, 2 * SESSION_MS);
    assert_string_equal(submit(s, e, "a", NULL), "registry_unavailable");
    memory_heal(s->registry);
    pass(w, 2 * SESSION_MS);
    assert_int_equal(audit(w).records, 0);
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_true(e->created);
    ended_free(e);
    world_free(w);
}

/* What was read before a stop is not written upon after it. */
static void a_frozen_operation_does_not_write_on_an_old_read(void **state)
{
    (void)state;
    for (int stop = 1; stop <= 60; stop += 3) {
        struct world *w = world_new(2, (uint64_t)stop);
        struct ended *e = ended_new(), *other = ended_new();
        struct memory_faults slow = {.delay_max_ms = 20};
        struct work_submit what = {.id = "a", .kind = NODE_MASTER};

        memory_set_faults(w->store, &slow);
        work_submit(w->sides[0].work, &what, on_reply, e);
        memory_run(w->store, w->clock.mono + stop);
        memory_freeze(w->sides[0].registry);
        /* meanwhile m:1 is fenced and m:2 takes over under the same id */
        put_gate(w, NODE_MASTER, "m:1", GATE_FENCED, 1);
        for (int i = 0; i < 3; i++) {
            memory_run(w->store, w->clock.mono + SESSION_MS);
            work_tick(w->sides[1].work);
        }
        assert_string_equal(submit(&w->sides[1], other, "a", NULL), "");
        memory_thaw(w->sides[0].registry);
        await(w, e);
        pass(w, 3 * SESSION_MS);
        assert_int_equal(audit(w).live, 1);
        ended_free(e);
        ended_free(other);
        world_free(w);
    }
}

static void what_is_under_way_is_cancelled_when_work_ends(void **state)
{
    struct world *w = world_new(1, 3);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new(), *f = ended_new();
    struct work_submit what = {.id = "a", .kind = NODE_MASTER};
    struct work_list all = {.kind = -1, .state = -1, .limit = 10};

    (void)state;
    work_submit(s->work, &what, on_reply, e);
    work_list(s->work, &all, on_page_reply, f);
    work_free(&s->work);
    assert_true(e->done && f->done);
    assert_string_equal(e->code, "cancelled");
    assert_string_equal(f->code, "cancelled");
    side_close(s);
    w->n_sides = 0;
    ended_free(e);
    ended_free(f);
    world_free(w);
}

static void a_killed_coordinator_calls_nobody(void **state)
{
    struct world *w = world_new(2, 3);
    struct ended *e = ended_new();
    struct work_submit what = {.id = "a", .kind = NODE_MASTER};

    (void)state;
    work_submit(w->sides[1].work, &what, on_reply, e);
    side_kill(&w->sides[1]);
    pass(w, 3 * SESSION_MS);
    assert_false(e->done);
    (void)audit(w);
    ended_free(e);
    world_free(w);
}

static void bad_ids_are_refused_by_the_next_tick(void **state)
{
    struct world *w = world_new(1, 3);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    by_epoch_f *const ops[] = {work_done, work_handover, work_release_at,
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
        cmocka_unit_test(done_is_possible_when_a_marker_was_lost),
        cmocka_unit_test(a_damaged_record_is_an_error_that_names_it),
        cmocka_unit_test(fence_check_answers_by_epoch_and_state),
        cmocka_unit_test(fence_check_does_not_guess_when_the_registry_is_away),
        cmocka_unit_test(handover_moves_to_another_node_and_remembers),
        cmocka_unit_test(handover_of_the_only_node_waits),
        cmocka_unit_test(release_gives_held_work_to_a_node_or_lets_it_wait),
        cmocka_unit_test(unknown_outcomes_are_read_back),
        cmocka_unit_test(a_write_that_cannot_be_read_back_is_outcome_unknown),
        cmocka_unit_test(nothing_is_said_to_be_stored_without_a_registry),
        cmocka_unit_test(a_frozen_operation_does_not_write_on_an_old_read),
        cmocka_unit_test(what_is_under_way_is_cancelled_when_work_ends),
        cmocka_unit_test(a_killed_coordinator_calls_nobody),
        cmocka_unit_test(bad_ids_are_refused_by_the_next_tick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
