/*
 * conformance_session.c - sessions: what goes with them, who is told, and what
 * closing answers.
 */
#include "tests/registry/conformance.h"

#include <stdio.h>
#include <string.h>

#define KEY "/lock/master-failover"

static void closing_removes_ephemeral_keys_at_once(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct seen seen = {0};
    int64_t begin;

    assert_int_equal(do_put_ephemeral(w, a, "/e/1", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(do_put(w, a, "/e/2", "1", REGISTRY_ANY, 0), ERR_OK);
    seen_start(w, b, &seen, "/e");
    begin = w->backend->now(w->store);
    world_close(w, &a);
    assert_int_equal(do_exists(w, b, "/e/1"), ERR_NOT_FOUND);
    version_of(w, b, "/e/2", "1");
    seen_expect(w, &seen, 3, REGISTRY_REMOVE, "/e/1", NULL);
    assert_true(w->backend->now(w->store) - begin <
                w->backend->session_timeout_ms / 2);
    seen_stop(&seen);
}

static void a_dead_client_is_noticed_after_its_timeout(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    int64_t timeout = w->backend->session_timeout_ms, begin, took;
    struct held mine, theirs;
    struct seen seen = {0};

    assert_int_equal(do_put_ephemeral(w, a, "/e/1", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(do_put_ephemeral(w, a, "/e/2", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(do_put(w, a, "/e/3", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    held_ask(b, &theirs, KEY, "b", -1);
    seen_start(w, b, &seen, "/e");
    begin = w->backend->now(w->store);
    world_kill(w, &a);
    assert_int_equal(do_exists(w, b, "/e/1"), ERR_OK);
    world_until(w, seen.n == 6 && theirs.answers > 0);
    took = w->backend->now(w->store) - begin;
    assert_true(took >= timeout / 2); /* it may have been heard of before */
    assert_true(took <= 3 * timeout);
    assert_int_equal(seen.events[4].type, REGISTRY_REMOVE);
    assert_int_equal(seen.events[5].type, REGISTRY_REMOVE);
    assert_int_equal(theirs.code, ERR_OK);
    assert_true(theirs.fence > mine.fence);
    assert_int_equal(do_exists(w, b, "/e/1"), ERR_NOT_FOUND);
    version_of(w, b, "/e/3", "1");
    held_release(&theirs);
    seen_stop(&seen);
}

static void a_live_session_outlives_its_timeout(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    uint64_t session = registry_session(a);
    struct told told = {0};

    told.listener = registry_listen(a, told_state, &told);
    assert_int_equal(do_put_ephemeral(w, a, "/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    world_pass(w, w->backend->session_timeout_ms * 3 / 2);
    assert_int_equal(told.n, 1);
    assert_true(registry_session(a) == session);
    version_of(w, b, "/e", "1");
    registry_unlisten(&told.listener);
}

static void a_new_session_has_a_new_number(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    uint64_t before = registry_session(a);
    struct got g = {0};

    assert_true(before != registry_session(b));
    assert_int_equal(do_put_ephemeral(w, a, "/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(do_get(w, b, "/e", &g), ERR_OK);
    assert_true(g.entries[0].owner == before);
    w->backend->expire(w->store, a);
    assert_int_equal(do_exists(w, b, "/e"), ERR_NOT_FOUND);
    world_until(w, registry_session(a) != 0 && registry_session(a) != before);
    assert_int_equal(do_put_ephemeral(w, a, "/e", "2", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(do_get(w, b, "/e", &g), ERR_OK);
    assert_true(g.entries[0].owner == registry_session(a));
    got_free(&g);
}

static void a_write_of_a_lost_session_is_not_applied(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct got write = {0}, ephemeral = {0};

    w->backend->expire(w->store, a);
    registry_put(a, "/late", "1", 1, REGISTRY_ANY, 0, false, got_reply, &write);
    registry_put(a, "/e", "1", 1, REGISTRY_ANY, 0, true, got_reply, &ephemeral);
    world_until(w, write.answers > 0 && ephemeral.answers > 0);
    assert_true(write.code == ERR_SESSION_LOST ||
                write.code == ERR_UNAVAILABLE);
    assert_true(ephemeral.code == ERR_SESSION_LOST ||
                ephemeral.code == ERR_UNAVAILABLE);
    world_until(w, registry_state(a) == REGISTRY_CONNECTED &&
                       registry_session(a) != 0);
    assert_int_equal(do_exists(w, b, "/late"), ERR_NOT_FOUND);
    assert_int_equal(do_exists(w, b, "/e"), ERR_NOT_FOUND);
    got_free(&write);
    got_free(&ephemeral);
}

/* What a check of a session's own key stands for: as long as it passes, the
 * session has not ended. */
static void a_check_of_an_ended_sessions_key_fails(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    uint64_t version, session = registry_session(a);
    struct got g = {0};

    assert_int_equal(do_put_ephemeral(w, a, "/e", "a", REGISTRY_ABSENT, 0),
                     ERR_OK);
    version = version_of(w, b, "/e", "a");
    {
        const struct registry_op ops[] = {
            {.type = REGISTRY_PUT,
             .expect = REGISTRY_ABSENT,
             .key = "/put",
             .value = "1",
             .value_len = 1},
            registry_op_at(REGISTRY_CHECK, "/e", version),
        };

        assert_int_equal(do_txn(w, a, ops, ARRAY_LEN(ops), NULL), ERR_OK);
        assert_int_equal(do_delete(w, a, "/put", version_of(w, a, "/put", "1")),
                         ERR_OK);
        assert_int_equal(do_txn(w, b, ops, ARRAY_LEN(ops), NULL), ERR_OK);
        assert_int_equal(do_delete(w, b, "/put", version_of(w, b, "/put", "1")),
                         ERR_OK);
        w->backend->expire(w->store, a);
        assert_int_equal(do_txn(w, b, ops, ARRAY_LEN(ops), &g), ERR_CONFLICT);
        assert_int_equal(g.failed_op, 1);
        /* its client's next session is another one */
        world_until(w,
                    registry_session(a) != 0 && registry_session(a) != session);
        assert_int_equal(do_txn(w, a, ops, ARRAY_LEN(ops), &g), ERR_CONFLICT);
        assert_int_equal(g.failed_op, 1);
    }
    assert_int_equal(do_exists(w, b, "/put"), ERR_NOT_FOUND);
    got_free(&g);
}

/* The session does not know yet that it has ended; and another one has a key
 * there by now, whose version may be the same. */
static void a_late_txn_that_checks_its_own_key_is_not_applied(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct got late = {0}, again = {0};
    uint64_t version, session = registry_session(a);

    assert_int_equal(do_put_ephemeral(w, a, "/e", "a", REGISTRY_ABSENT, 0),
                     ERR_OK);
    version = version_of(w, b, "/e", "a");
    w->backend->expire(w->store, a);
    registry_put(b, "/e", "b", 1, REGISTRY_ABSENT, 0, true, got_reply, &again);
    {
        const struct registry_op ops[] = {
            registry_op_at(REGISTRY_CHECK, "/e", version),
            {.type = REGISTRY_PUT,
             .expect = REGISTRY_ABSENT,
             .key = "/late",
             .value = "1",
             .value_len = 1},
        };

        registry_txn(a, ops, ARRAY_LEN(ops), got_reply, &late);
    }
    world_until(w, late.answers > 0 && again.answers > 0);
    assert_int_equal(again.code, ERR_OK);
    /* whatever it is told first: also that the connection broke meanwhile */
    assert_true(late.code == ERR_SESSION_LOST || late.code == ERR_UNAVAILABLE ||
                late.code == ERR_CONFLICT || late.code == ERR_UNKNOWN);
    world_until(w, registry_session(a) != 0 && registry_session(a) != session);
    assert_int_equal(do_exists(w, b, "/late"), ERR_NOT_FOUND);
    version_of(w, b, "/e", "b");
    got_free(&late);
    got_free(&again);
}

static void without_a_session_calls_are_unavailable(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open_unconnected(w);
    struct got get = {0}, put = {0};

    registry_get(r, "/k", got_reply, &get);
    registry_put(r, "/k", "1", 1, REGISTRY_ANY, 0, false, got_reply, &put);
    assert_int_equal(get.answers + put.answers, 0);
    world_until(w, get.answers > 0 && put.answers > 0);
    assert_int_equal(get.code, ERR_UNAVAILABLE);
    assert_int_equal(put.code, ERR_UNAVAILABLE);
    world_until(w, registry_session(r) != 0);
    assert_int_equal(do_exists(w, r, "/k"), ERR_NOT_FOUND);
    got_free(&get);
    got_free(&put);
}

struct quitter {
    struct registry_listener *listener;
    int calls;
};

static void quit(void *arg, enum registry_state st)
{
    struct quitter *q = arg;

    (void)st;
    q->calls++;
    registry_unlisten(&q->listener);
}

static void a_listener_may_leave_in_its_own_callback(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct quitter at_once = {0}, never = {0};
    struct told told = {0};

    at_once.listener = registry_listen(r, quit, &at_once);
    never.listener = registry_listen(r, quit, &never);
    registry_unlisten(&never.listener);
    told.listener = registry_listen(r, told_state, &told);
    w->backend->expire(w->store, r);
    world_until(w, told.n >= 2 &&
                       told.states[told.n - 1] == REGISTRY_CONNECTED &&
                       told.states[told.n - 2] == REGISTRY_DISCONNECTED);
    assert_int_equal(at_once.calls, 1);
    assert_int_equal(never.calls, 0);
    registry_unlisten(&told.listener);
}

static void closing_answers_every_call_once_and_truly(void **state)
{
    enum { N = 30 };
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct got g[N], malformed = {0};
    struct seen seen = {0};
    struct told told = {0};
    struct held h;
    size_t n_states;

    memset(g, 0, sizeof(g));
    seen_start(w, a, &seen, "/close");
    told.listener = registry_listen(a, told_state, &told);
    assert_int_equal(held_take(w, a, &h, KEY, "a", -1), ERR_OK);
    n_states = told.n;
    for (size_t i = 0; i < N; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "/close/%zu", i);
        registry_put(a, key, "1", 1, REGISTRY_ABSENT, 0, i % 3 == 0, got_reply,
                     &g[i]);
    }
    registry_get(a, "not a key", got_reply, &malformed);
    world_close(w, &a);
    assert_int_equal(malformed.answers, 1);
    assert_int_equal(malformed.code, ERR_INVALID);
    got_free(&malformed);
    for (size_t i = 0; i < N; i++) {
        char key[32];
        enum err_code exists;

        (void)snprintf(key, sizeof(key), "/close/%zu", i);
        exists = do_exists(w, b, key);
        assert_int_equal(g[i].answers, 1);
        if (g[i].code == ERR_OK) {
            assert_int_equal(exists, i % 3 == 0 ? ERR_NOT_FOUND : ERR_OK);
        } else {
            assert_int_equal(g[i].code, ERR_CANCELLED);
            assert_int_equal(exists, ERR_NOT_FOUND);
        }
        got_free(&g[i]);
    }
    assert_int_equal(seen.n, 1); /* nothing is told after the close */
    assert_int_equal(told.n, n_states);
    assert_int_equal(h.losses, 0);
    seen.watch = NULL; /* ended and freed with the registry */
    seen_stop(&seen);
}

static void a_forgotten_call_is_done_and_not_answered(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got forgotten = {0}, answered = {0};

    registry_put(r, "/a", "1", 1, REGISTRY_ANY, 0, false, got_reply,
                 &forgotten);
    registry_put(r, "/b", "1", 1, REGISTRY_ANY, 0, false, got_reply, &answered);
    registry_get(r, "not a key", got_reply, &forgotten);
    registry_forget(r, &forgotten);
    world_until(w, answered.answers > 0);
    version_of(w, r, "/a", "1");
    world_round_trip(w, r);
    assert_int_equal(forgotten.answers, 0);
    got_free(&answered);
}

static void a_close_right_after_the_open_ends(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open_unconnected(w), *b;
    struct held h;

    held_ask(a, &h, KEY, "a", -1);
    world_close(w, &a);
    assert_int_equal(h.answers, 1);
    b = world_open(w);
    assert_int_equal(do_put(w, b, "/k", "1", REGISTRY_ABSENT, 0), ERR_OK);
}

/* --- with a backend whose clients can be cut off ------------------------- */

static void a_short_break_is_suspended_and_reconnected(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t session = registry_session(r);
    struct told told = {0};
    struct seen seen = {0};
    struct held h;

    told.listener = registry_listen(r, told_state, &told);
    assert_int_equal(do_put_ephemeral(w, r, "/w/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(held_take(w, r, &h, KEY, "a", -1), ERR_OK);
    seen_start(w, r, &seen, "/w");
    w->backend->cut(w->store, r, true);
    world_until(w, registry_state(r) == REGISTRY_SUSPENDED);
    assert_int_equal(do_get(w, r, "/w/e", NULL), ERR_UNAVAILABLE);
    w->backend->cut(w->store, r, false);
    world_until(w, registry_state(r) == REGISTRY_RECONNECTED);
    assert_true(registry_session(r) == session);
    assert_int_equal(told.n, 3);
    assert_true(registry_lock_held(h.lock));
    version_of(w, r, "/w/e", "1");
    assert_int_equal(do_put(w, r, "/w/k", "1", REGISTRY_ANY, 0), ERR_OK);
    world_until(w, seen.events[seen.n - 1].type == REGISTRY_ADD);
    assert_string_equal(seen.events[seen.n - 1].key, "/w/k");
    assert_int_equal(h.losses, 0);
    held_release(&h);
    registry_unlisten(&told.listener);
    seen_stop(&seen);
}

static void a_long_break_loses_the_session(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t session = registry_session(r);
    struct told told = {0};
    struct seen seen = {0};
    struct held h;

    told.listener = registry_listen(r, told_state, &told);
    assert_int_equal(do_put_ephemeral(w, r, "/w/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(held_take(w, r, &h, KEY, "a", -1), ERR_OK);
    seen_start(w, r, &seen, "/w");
    w->backend->cut(w->store, r, true);
    world_until(w, h.losses == 1);
    assert_int_equal(registry_state(r), REGISTRY_DISCONNECTED);
    assert_int_equal(registry_session(r), 0);
    assert_int_equal(seen.n, 2); /* silence is not absence */
    w->backend->cut(w->store, r, false);
    world_until(w, registry_session(r) != 0);
    assert_true(registry_session(r) != session);
    assert_int_equal(told.n, 4);
    assert_int_equal(told.states[1], REGISTRY_SUSPENDED);
    assert_int_equal(told.states[2], REGISTRY_DISCONNECTED);
    assert_int_equal(told.states[3], REGISTRY_CONNECTED);
    seen_expect(w, &seen, 2, REGISTRY_REMOVE, "/w/e", NULL);
    world_until(w, seen.synced == 2);
    assert_int_equal(do_exists(w, r, "/w/e"), ERR_NOT_FOUND);
    held_release(&h);
    registry_unlisten(&told.listener);
    seen_stop(&seen);
}

/* More often than the session would ask by itself. */
static void a_sign_of_life_can_be_asked_for(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    int64_t begin = w->backend->now(w->store);
    mono_ms before = registry_answered(r);

    assert_true(before > 0);
    for (size_t i = 0; i < 12; i++) {
        world_pass(w, 2); /* so that the next one is sent later */
        world_until(w, (registry_prove(r), registry_answered(r) > before));
        assert_true(registry_answered(r) > before);
        before = registry_answered(r);
    }
    assert_true(w->backend->now(w->store) - begin <
                w->backend->session_timeout_ms * 2);
}

static void nothing_is_proved_while_the_store_is_silent(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    int64_t timeout = w->backend->session_timeout_ms, until;
    mono_ms before;

    w->backend->cut(w->store, r, true);
    world_pass(w, timeout / 10); /* what was under way is through */
    before = registry_answered(r);
    until = w->backend->now(w->store) + timeout / 2;
    while (w->backend->now(w->store) < until) {
        registry_prove(r);
        w->backend->turn(w->store, 20);
    }
    assert_true(registry_answered(r) == before);
    w->backend->cut(w->store, r, false);
    world_until(w, (registry_prove(r), registry_answered(r) > before));
}

int conformance_session(bool can_cut)
{
    const struct CMUnitTest tests[] = {
        CONFORMANCE_TEST(closing_removes_ephemeral_keys_at_once),
        CONFORMANCE_TEST(a_dead_client_is_noticed_after_its_timeout),
        CONFORMANCE_TEST(a_live_session_outlives_its_timeout),
        CONFORMANCE_TEST(a_new_session_has_a_new_number),
        CONFORMANCE_TEST(a_write_of_a_lost_session_is_not_applied),
        CONFORMANCE_TEST(a_check_of_an_ended_sessions_key_fails),
        CONFORMANCE_TEST(a_late_txn_that_checks_its_own_key_is_not_applied),
        CONFORMANCE_TEST(without_a_session_calls_are_unavailable),
        CONFORMANCE_TEST(a_listener_may_leave_in_its_own_callback),
        CONFORMANCE_TEST(closing_answers_every_call_once_and_truly),
        CONFORMANCE_TEST(a_forgotten_call_is_done_and_not_answered),
        CONFORMANCE_TEST(a_close_right_after_the_open_ends),
        CONFORMANCE_TEST(a_sign_of_life_can_be_asked_for),
    };
    const struct CMUnitTest cut_tests[] = {
        CONFORMANCE_TEST(a_short_break_is_suspended_and_reconnected),
        CONFORMANCE_TEST(a_long_break_loses_the_session),
        CONFORMANCE_TEST(nothing_is_proved_while_the_store_is_silent),
    };
    int failed = cmocka_run_group_tests_name("session", tests, NULL, NULL);

    if (can_cut)
        failed += cmocka_run_group_tests_name("break", cut_tests, NULL, NULL);
    return failed;
}
