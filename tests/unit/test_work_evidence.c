/* test_work_evidence.c - epochs that the registry cannot have given. */
#include "tests/unit/work_ask.h"

/* All that bring an epoch along. */
static by_epoch_f *const ops[] = {work_done, work_handover, work_release,
                                  work_fence_check};

static const struct registry_back *back_of(const struct side *s)
{
    return registry_went_back(s->registry);
}

/* It is refused from now on, whatever is asked, and all that stood stands. */
static void assert_back(struct world *w, struct side *s, struct ended *e,
                        const char *id)
{
    const struct registry_entry *key = memory_find(w->store, HISTORY_KEY);
    uint64_t revision;

    assert_non_null(back_of(s));
    assert_non_null(strstr(back_of(s)->why, id));
    pass(w, 3000);
    assert_int_equal(registry_state(s->registry), REGISTRY_WENT_BACK);
    key = memory_find(w->store, HISTORY_KEY);
    assert_non_null(strstr(key->value, "\"went_back\":{"));
    revision = memory_revision(w->store);
    assert_string_equal(at_epoch(s, e, work_done, "a", 1),
                        "registry_went_back");
    assert_string_equal(at_epoch(s, e, work_fence_check, "a", 1),
                        "registry_went_back");
    assert_string_equal(submit(s, e, "new", NULL), "registry_went_back");
    RESET(e);
    work_get(s->work, "a", on_reply, e);
    await(w, e);
    assert_string_equal(e->code, "registry_went_back");
    pass(w, 3000);
    assert_true(memory_revision(w->store) == revision);
}

static void an_epoch_above_the_items_is_evidence(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct world *w = world_new(2, i + 1);
        struct side *s = &w->sides[0];
        struct ended *e = ended_new();

        assert_string_equal(submit(s, e, "a", NULL), "");
        assert_string_equal(at_epoch(s, e, ops[i], "a", 2),
                            "registry_went_back");
        assert_false(e->has_item);
        assert_true(work_shown(s->work) == 2);
        assert_back(w, s, e, "work a");
        /* the others hear of it */
        assert_non_null(back_of(&w->sides[1]));
        assert_string_equal(back_of(&w->sides[1])->by, "side-0");
        /* what is shown meanwhile is kept for the one who accepts */
        assert_string_equal(at_epoch(s, e, ops[i], "a", 77),
                            "registry_went_back");
        assert_string_equal(at_epoch(s, e, ops[i], "a", UINT64_C(1) << 60),
                            "registry_went_back");
        assert_true(work_shown(s->work) == 77);
        ended_free(e);
        world_free(w);
    }
}

static void
an_epoch_above_the_floor_of_work_that_is_not_there_is_evidence(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct world *w = world_new(1, i + 1);
        struct side *s = &w->sides[0];
        struct ended *e = ended_new();

        assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "7"), ERR_OK);
        assert_string_equal(at_epoch(s, e, ops[i], "gone", 7),
                            "work_not_found");
        assert_null(back_of(s));
        assert_string_equal(at_epoch(s, e, ops[i], "gone", 8),
                            "registry_went_back");
        assert_back(w, s, e, "work gone");
        ended_free(e);
        world_free(w);
    }
}

/* A store was accepted: its floor lies above all that was had, and a finished
 * item keeps its epoch. Who had it later does not stop the cluster once more.
 */
static void an_epoch_of_a_future_that_was_given_up_is_stale(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_string_equal(submit(s, e, "b", NULL), "");
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "1048583"), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        assert_string_equal(at_epoch(s, e, ops[i], "a", 7), "stale_epoch");
        assert_true(e->item.epoch == 1);
        assert_string_equal(at_epoch(s, e, ops[i], "b", 1048583),
                            "stale_epoch");
        assert_string_equal(at_epoch(s, e, ops[i], "gone", 7),
                            "work_not_found");
    }
    assert_null(back_of(s));
    assert_string_equal(at_epoch(s, e, work_fence_check, "b", 1048584),
                        "registry_went_back");
    ended_free(e);
    world_free(w);
}

static void
work_that_was_never_there_is_evidence_in_an_emptied_store(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_null(memory_find(w->store, EPOCH_FLOOR_KEY));
    assert_string_equal(at_epoch(s, e, work_done, "a", 1),
                        "registry_went_back");
    assert_back(w, s, e, "work a");
    ended_free(e);
    world_free(w);
}

static void an_epoch_that_nobody_can_have_had_is_a_mistake(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(submit(s, e, "a", NULL), "");
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        assert_string_equal(at_epoch(s, e, ops[i], "a", 2 + WORK_EPOCH_BEYOND),
                            "invalid");
        assert_string_equal(
            at_epoch(s, e, ops[i], "gone", UINT64_C(1000000000000000000)),
            "invalid");
        assert_non_null(strstr(e->message, "1000000000000000000"));
        assert_string_equal(at_epoch(s, e, ops[i], "gone", UINT64_MAX),
                            "invalid");
    }
    assert_null(back_of(s));
    assert_true(work_shown(s->work) == 0);
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
    ended_free(e);
    world_free(w);
}

/* Its server is cut off from the others and answers from what stood then. */
static void what_a_server_that_lags_does_not_know_is_no_evidence(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world *w = world_new(2, seed);
        struct side *lags = &w->sides[0], *other = &w->sides[1];
        struct ended *e = ended_new(), *late = ended_new();

        assert_string_equal(submit(other, e, "a", NULL), "");
        pass(w, 500);
        memory_strand(lags->registry);
        assert_string_equal(at_epoch(other, e, work_handover, "a", 1), "");
        assert_string_equal(submit(other, e, "b", NULL), "");
        work_fence_check(lags->work, "a", 2, on_reply, e);
        RESET(e);
        work_done(lags->work, "b", 1, on_reply, late);
        pass(w, (int64_t)(seed % 4) * 1000);
        memory_heal(lags->registry);
        await(w, e);
        await(w, late);
        assert_string_not_equal(e->code, "registry_went_back");
        assert_string_not_equal(late->code, "registry_went_back");
        pass(w, 3000);
        assert_null(back_of(lags));
        assert_string_equal(at_epoch(lags, e, work_fence_check, "a", 2), "");
        ended_free(e);
        ended_free(late);
        world_free(w);
    }
}

/* Work that is finished and collected while somebody still asks for it. */
static void what_was_collected_meanwhile_is_no_evidence(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world *w = world_new(1, seed);
        struct side *s = &w->sides[0];
        struct ended *e = ended_new();
        struct memory_faults slow = {.delay_max_ms = 40};
        struct registry_op collect[2] = {
            {.type = REGISTRY_DELETE, .key = "/pelorus/work/a"},
            {.type = REGISTRY_PUT,
             .key = EPOCH_FLOOR_KEY,
             .value = "1",
             .value_len = 1,
             .expect = REGISTRY_VERSION}};
        int code = -1;

        assert_string_equal(submit(s, e, "a", NULL), "");
        assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
        collect[0].version = memory_find(w->store, collect[0].key)->version;
        collect[0].expect = REGISTRY_VERSION;
        collect[1].version = memory_find(w->store, collect[1].key)->version;
        memory_set_faults(w->store, &slow);
        RESET(e);
        registry_txn(w->hand, collect, 2, note_code, &code);
        pass(w, (int64_t)(seed % 6) * STEP_MS);
        work_done(s->work, "a", 1, on_reply, e);
        await(w, e);
        pass(w, 200);
        assert_int_equal(code, ERR_OK);
        assert_true(e->code[0] == '\0' ||
                    strcmp(e->code, "work_not_found") == 0);
        assert_null(back_of(s));
        ended_free(e);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_above_the_items_is_evidence),
        cmocka_unit_test(
            an_epoch_above_the_floor_of_work_that_is_not_there_is_evidence),
        cmocka_unit_test(an_epoch_of_a_future_that_was_given_up_is_stale),
        cmocka_unit_test(
            work_that_was_never_there_is_evidence_in_an_emptied_store),
        cmocka_unit_test(an_epoch_that_nobody_can_have_had_is_a_mistake),
        cmocka_unit_test(what_a_server_that_lags_does_not_know_is_no_evidence),
        cmocka_unit_test(what_was_collected_meanwhile_is_no_evidence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
