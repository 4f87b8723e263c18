/* test_work_faults.c - how operations end when the registry does not answer,
 * answers late, or somebody else is faster. */
#include "tests/unit/work_ask.h"

#include "work/work_priv.h"

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
        assert_string_equal(at_epoch(s, e, work_release, "h", 1), "");
        assert_true(e->item.epoch == 2);
        assert_int_equal(e->item.state, WORK_ASSIGNED);
        memory_set_faults(w->store, &good);
        pass(w, SESSION_MS);
        assert_int_equal(audit(w).live, 1);
        ended_free(e);
        world_free(w);
    }
}

/* One lets it go, the other finishes it: one of them is told it came late. */
static void done_and_handover_exclude_each_other(void **state)
{
    size_t done_won = 0, handover_won = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world *w = world_new(2, seed);
        struct ended *a = ended_new(), *b = ended_new();
        struct memory_faults slow = {.delay_max_ms = 15, .unknown_share = 0.2};

        assert_string_equal(submit(&w->sides[0], a, "a", NULL), "");
        memory_set_faults(w->store, &slow);
        RESET(a);
        work_done(w->sides[0].work, "a", 1, on_reply, a);
        pass(w, (int64_t)(seed % 5) * STEP_MS);
        work_handover(w->sides[1].work, "a", 1, on_reply, b);
        await(w, a);
        await(w, b);
        if (a->code[0] == '\0') {
            done_won++;
            assert_string_equal(b->code, "not_assigned");
            assert_int_equal(audit(w).live, 0);
        } else {
            handover_won++;
            assert_string_equal(a->code, "stale_epoch");
            assert_string_equal(b->code, "");
            assert_true(b->item.epoch == 2);
            assert_int_equal(audit(w).live, 1);
        }
        ended_free(a);
        ended_free(b);
        world_free(w);
    }
    assert_true(done_won > 0 && handover_won > 0);
}

/* Both let it go at once: it moves once. */
static void two_handovers_move_an_item_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct world *w = world_new(2, seed);
        struct ended *a = ended_new(), *b = ended_new();
        struct memory_faults slow = {.delay_max_ms = 15, .unknown_share = 0.3};

        node_up(w, "master", "m:3", 1);
        assert_string_equal(submit(&w->sides[0], a, "a", NULL), "");
        w->sides[0].only = "m:2";
        w->sides[1].only = "m:3";
        memory_set_faults(w->store, &slow);
        RESET(a);
        work_handover(w->sides[0].work, "a", 1, on_reply, a);
        work_handover(w->sides[1].work, "a", 1, on_reply, b);
        await(w, a);
        await(w, b);
        assert_string_equal(a->code, "");
        assert_string_equal(b->code, "");
        assert_true(a->item.epoch == 2 && b->item.epoch == 2);
        assert_string_equal(a->item.owner, b->item.owner);
        assert_int_equal(audit(w).live, 1);
        ended_free(a);
        ended_free(b);
        world_free(w);
    }
}

/* A session ends at any point of an operation: it is reported, or done again
 * from reads of the new one; asked again, it is there exactly once. */
static void a_session_that_ends_meanwhile_leaves_nothing_half_done(void **state)
{
    size_t lost = 0;

    (void)state;
    for (int at = 0; at < 160; at += 4) {
        struct world *w = world_new(1, (uint64_t)at + 1);
        struct side *s = &w->sides[0];
        struct ended *e = ended_new();
        struct memory_faults slow = {.delay_max_ms = 20};
        struct work_submit what = {.id = "a", .kind = NODE_MASTER};

        memory_set_faults(w->store, &slow);
        work_submit(s->work, &what, on_reply, e);
        memory_run(w->store, w->clock.mono + at);
        memory_expire(s->registry);
        await(w, e);
        lost += e->code[0] != '\0';
        pass(w, 2 * SESSION_MS);
        for (int i = 0; i < 20 && e->code[0] != '\0'; i++)
            (void)submit(s, e, "a", NULL);
        assert_string_equal(e->code, "");
        assert_true(e->item.epoch == 1);
        assert_int_equal(audit(w).live, 1);
        ended_free(e);
        world_free(w);
    }
    assert_true(lost > 0);
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

static size_t runs;

static void count_run(struct work_op *op)
{
    (void)op;
    runs++;
}

static void must_not_win(struct work_op *op)
{
    (void)op;
    fail_msg("written upon an old read");
}

/* From inside, because no client of the memory registry keeps its reads over
 * the end of a session. */
static void old_reads_are_read_again_instead_of_written_upon(void **state)
{
    struct world *w = world_new(1, 3);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct gate gate = {.state = GATE_OPEN, .process = process_of(1)};
    static const struct op_verb verb = {.then = count_run};

    (void)state;
    for (int old = 0; old < 2; old++) {
        struct work_op *op = work_op_new(s->work, &verb);
        struct op_txn t;

        RESET(e);
        op->done = on_reply;
        op->arg = e;
        runs = 0;
        work_op_start(op, PROBLEM_NONE);
        if (old == 0)
            op->attempt.session--; /* of an earlier session */
        else
            op->attempt.read_at -= SESSION_MS; /* or too long ago */
        work_txn_init(&t);
        work_txn_put_gate(&t, NODE_MASTER, "m:1", &gate, 0);
        work_op_send(op, &t, must_not_win);
        assert_int_equal(runs, 2);
        work_op_reply(op, PROBLEM_NONE, NULL);
        pass(w, 200);
        assert_int_equal(gate_at(w, NODE_MASTER, "m:1").state, GATE_ABSENT);
    }
    ended_free(e);
    world_free(w);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_outcomes_are_read_back),
        cmocka_unit_test(done_and_handover_exclude_each_other),
        cmocka_unit_test(two_handovers_move_an_item_once),
        cmocka_unit_test(
            a_session_that_ends_meanwhile_leaves_nothing_half_done),
        cmocka_unit_test(a_write_that_cannot_be_read_back_is_outcome_unknown),
        cmocka_unit_test(nothing_is_said_to_be_stored_without_a_registry),
        cmocka_unit_test(a_frozen_operation_does_not_write_on_an_old_read),
        cmocka_unit_test(old_reads_are_read_again_instead_of_written_upon),
        cmocka_unit_test(what_is_under_way_is_cancelled_when_work_ends),
        cmocka_unit_test(a_killed_coordinator_calls_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
