/*
 * conformance_lock.c - the global lock: exclusion, order, re-entrance, giving
 * up, loss, and fencing numbers.
 */
#include "tests/registry/conformance.h"

#include <string.h>

#define KEY "/lock/master-failover"

static void waiters_get_the_lock_in_the_order_they_asked(void **state)
{
    struct world *w = *state;
    struct registry *r[4];
    struct held h[4];

    for (size_t i = 0; i < 4; i++)
        r[i] = world_open(w);
    assert_int_equal(held_take(w, r[0], &h[0], KEY, "0", -1), ERR_OK);
    for (size_t i = 1; i < 4; i++) {
        held_ask(r[i], &h[i], KEY, "owner", -1);
        world_round_trip(w, r[i]); /* now it stands in the queue */
    }
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = i + 1; k < 4; k++)
            assert_int_equal(h[k].answers, 0);
        held_release(&h[i]);
        world_until(w, h[i + 1].answers > 0);
        assert_int_equal(h[i + 1].code, ERR_OK);
        assert_true(h[i + 1].fence > h[i].fence);
    }
    held_release(&h[3]);
}

static void owners_in_one_session_exclude_each_other(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct held a, b;

    assert_int_equal(held_take(w, r, &a, KEY, "a", -1), ERR_OK);
    assert_int_equal(held_take(w, r, &b, KEY, "b", 0), ERR_TIMEOUT);
    held_release(&b);
    held_ask(r, &b, KEY, "b", -1);
    world_round_trip(w, r);
    assert_int_equal(b.answers, 0);
    held_release(&a);
    world_until(w, b.answers > 0);
    assert_int_equal(b.code, ERR_OK);
    assert_true(b.fence > a.fence);
    held_release(&b);
}

static void the_same_owner_gets_it_again_at_once(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w), *other = world_open(w);
    struct held first, second, third, theirs;

    assert_int_equal(held_take(w, r, &first, KEY, "me", -1), ERR_OK);
    assert_int_equal(held_take(w, r, &second, KEY, "me", 0), ERR_OK);
    assert_int_equal(held_take(w, r, &third, KEY, "me", -1), ERR_OK);
    assert_true(first.fence == second.fence && first.fence == third.fence);
    held_release(&first);
    held_release(&third);
    assert_true(registry_lock_held(second.lock));
    assert_int_equal(held_take(w, other, &theirs, KEY, "me", 0), ERR_TIMEOUT);
    held_release(&theirs);
    held_release(&second);
    assert_int_equal(held_take(w, other, &theirs, KEY, "me", -1), ERR_OK);
    assert_true(theirs.fence > first.fence);
    held_release(&theirs);
}

static void waiters_of_one_owner_get_it_together(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct held mine, one, two, try;

    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    held_ask(b, &try, KEY, "b", 0);
    held_ask(b, &one, KEY, "b", -1);
    held_ask(b, &two, KEY, "b", 50);
    world_until(w, try.answers > 0 && two.answers > 0);
    assert_int_equal(try.code, ERR_TIMEOUT);
    assert_int_equal(two.code, ERR_TIMEOUT);
    assert_int_equal(one.answers, 0);
    held_release(&two);
    held_release(&try);
    held_ask(b, &two, KEY, "b", -1);
    held_release(&mine);
    world_until(w, one.answers > 0 && two.answers > 0);
    assert_int_equal(one.code, ERR_OK);
    assert_int_equal(two.code, ERR_OK);
    assert_true(one.fence == two.fence);
    held_release(&one);
    held_release(&two);
}

static void trying_once_does_not_wait(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct held mine, theirs;

    assert_int_equal(held_take(w, a, &mine, KEY, "a", 0), ERR_OK);
    assert_int_equal(held_take(w, b, &theirs, KEY, "b", 0), ERR_TIMEOUT);
    held_release(&theirs);
    held_release(&mine);
    world_round_trip(w, a);
    assert_int_equal(held_take(w, b, &theirs, KEY, "b", 0), ERR_OK);
    held_release(&theirs);
}

static void a_waiter_that_gave_up_never_gets_it(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w), *c = world_open(w);
    struct held mine, late, next;

    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    assert_int_equal(held_take(w, b, &late, KEY, "b", 100), ERR_TIMEOUT);
    assert_false(registry_lock_held(late.lock));
    held_ask(c, &next, KEY, "c", -1);
    world_round_trip(w, c);
    held_release(&mine);
    world_until(w, next.answers > 0);
    assert_int_equal(next.code, ERR_OK);
    held_release(&next);
    world_round_trip(w, b);
    assert_int_equal(held_take(w, c, &next, KEY, "c", -1), ERR_OK);
    assert_int_equal(late.answers, 1);
    assert_false(registry_lock_held(late.lock));
    held_release(&late);
    held_release(&next);
}

static void a_waiter_may_leave_the_queue(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w), *c = world_open(w);
    struct held mine, leaves, next;

    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    held_ask(b, &leaves, KEY, "b", -1);
    world_round_trip(w, b);
    held_ask(c, &next, KEY, "c", -1);
    world_round_trip(w, c);
    held_release(&leaves);
    held_release(&mine);
    world_until(w, next.answers > 0);
    assert_int_equal(next.code, ERR_OK);
    assert_int_equal(leaves.answers, 0);
    held_release(&next);
}

static void locks_of_different_keys_are_independent(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct held x, y, below;

    assert_int_equal(held_take(w, a, &x, "/lock/x", "a", -1), ERR_OK);
    assert_int_equal(held_take(w, b, &y, "/lock/y", "a", 0), ERR_OK);
    assert_int_equal(held_take(w, b, &below, "/lock/x/1", "a", 0), ERR_OK);
    held_release(&x);
    held_release(&y);
    held_release(&below);
}

static void fencing_numbers_only_grow(void **state)
{
    struct world *w = *state;
    struct registry *r[2] = {world_open(w), world_open(w)};
    uint64_t last = 0;

    for (size_t i = 0; i < 6; i++) {
        struct held h;

        assert_int_equal(held_take(w, r[i % 2], &h, KEY, "me", -1), ERR_OK);
        assert_true(h.fence > last);
        last = h.fence;
        held_release(&h);
        if (i == 2) {
            world_close(w, &r[0]);
            r[0] = world_open(w);
        }
    }
}

static void a_lost_session_loses_the_lock_once(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct held mine, again, theirs;

    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    assert_int_equal(held_take(w, a, &again, KEY, "a", -1), ERR_OK);
    held_ask(b, &theirs, KEY, "b", -1);
    world_round_trip(w, b);
    w->backend->expire(w->store, a);
    world_until(w, theirs.answers > 0);
    assert_int_equal(theirs.code, ERR_OK);
    assert_true(theirs.fence > mine.fence);
    world_until(w, mine.losses == 1 && again.losses == 1);
    world_until(w, registry_session(a) != 0);
    assert_false(registry_lock_held(mine.lock));
    held_release(&mine);
    held_release(&again);
    assert_int_equal(held_take(w, a, &mine, KEY, "a", 0), ERR_TIMEOUT);
    held_release(&mine);
    held_release(&theirs);
}

static void a_waiter_learns_that_its_session_is_lost(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct held mine, theirs, try;

    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    held_ask(b, &theirs, KEY, "b", -1);
    world_round_trip(w, b);
    w->backend->expire(w->store, b);
    world_until(w, theirs.answers > 0);
    assert_int_equal(theirs.code, ERR_SESSION_LOST);
    assert_int_equal(theirs.losses, 0);
    held_release(&theirs);
    held_release(&mine);
    world_round_trip(w, a);
    world_until(w, registry_session(b) != 0);
    assert_int_equal(held_take(w, b, &try, KEY, "b", 0), ERR_OK);
    held_release(&try);
}

static void closing_frees_the_lock_at_once(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct held mine, theirs;
    int64_t begin;

    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    held_ask(b, &theirs, KEY, "b", -1);
    world_round_trip(w, b);
    begin = w->backend->now(w->store);
    world_close(w, &a);
    world_until(w, theirs.answers > 0);
    assert_int_equal(theirs.code, ERR_OK);
    assert_true(w->backend->now(w->store) - begin <
                w->backend->session_timeout_ms / 2);
    held_release(&theirs);
}

static void closing_cancels_a_waiter(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w), *c = world_open(w);
    struct held mine, theirs, next;

    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    held_ask(b, &theirs, KEY, "b", -1);
    world_round_trip(w, b);
    world_close(w, &b);
    assert_int_equal(theirs.answers, 1);
    assert_int_equal(theirs.code, ERR_CANCELLED);
    held_release(&mine);
    assert_int_equal(held_take(w, c, &next, KEY, "c", -1), ERR_OK);
    held_release(&next);
}

static void a_lock_may_be_asked_for_before_the_session(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open_unconnected(w);
    struct held try, waits;

    held_ask(r, &try, KEY, "a", 0);
    held_ask(r, &waits, KEY, "a", -1);
    world_until(w, try.answers > 0 && waits.answers > 0);
    assert_int_equal(try.code, ERR_TIMEOUT);
    assert_int_equal(waits.code, ERR_OK);
    held_release(&try);
    held_release(&waits);
}

struct nested {
    struct registry *r;
    struct registry_lock *lock, *second;
    int granted, lost;
};

static void on_second(void *arg, enum err_code code)
{
    struct nested *n = arg;

    n->granted += code == ERR_OK;
}

static void on_nested(void *arg, enum err_code code)
{
    struct nested *n = arg;

    assert_int_equal(code, ERR_OK);
    registry_unlock(&n->lock);
    n->second = registry_lock(n->r, KEY, "me", -1, on_second, NULL, n);
}

static void on_nested_lost(void *arg)
{
    struct nested *n = arg;

    n->lost++;
    registry_unlock(&n->lock);
    n->second = registry_lock(n->r, KEY, "me", -1, on_second, NULL, n);
}

static void locks_may_be_taken_and_released_in_callbacks(void **state)
{
    struct world *w = *state;
    struct nested n = {.r = world_open(w)};

    n.lock = registry_lock(n.r, KEY, "me", -1, on_nested, NULL, &n);
    world_until(w, n.granted == 1);
    assert_null(n.lock);
    registry_unlock(&n.second);
    n.lock = registry_lock(n.r, KEY, "me", -1, on_second, on_nested_lost, &n);
    world_until(w, n.granted == 2);
    w->backend->expire(w->store, n.r);
    world_until(w, n.granted == 3);
    assert_int_equal(n.lost, 1);
    registry_unlock(&n.second);
}

static void malformed_keys_and_owners_are_refused(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char owner[130];
    struct held h;

    memset(owner, 'o', sizeof(owner));
    owner[129] = '\0';
    assert_int_equal(held_take(w, r, &h, "lock", "a", -1), ERR_INVALID);
    held_release(&h);
    assert_int_equal(held_take(w, r, &h, KEY, "", -1), ERR_INVALID);
    held_release(&h);
    assert_int_equal(held_take(w, r, &h, KEY, owner, -1), ERR_TOO_LARGE);
    held_release(&h);
    owner[128] = '\0';
    assert_int_equal(held_take(w, r, &h, KEY, owner, -1), ERR_OK);
    held_release(&h);
}

static void a_waiter_knows_whom_it_waits_for(void **state)
{
    struct world *w = *state;
    struct registry *r[3];
    struct registry_lock_wait second, third;
    struct held h[3];

    for (size_t i = 0; i < 3; i++)
        r[i] = world_open(w);
    assert_int_equal(held_take(w, r[0], &h[0], KEY, "0", -1), ERR_OK);
    assert_false(registry_lock_waits_for(h[0].lock, &second));
    for (size_t i = 1; i < 3; i++) {
        held_ask(r[i], &h[i], KEY, "other", -1);
        world_round_trip(w, r[i]);
    }
    world_until(w, registry_lock_waits_for(h[1].lock, &second) &&
                       second.holder[0] != '\0');
    world_until(w, registry_lock_waits_for(h[2].lock, &third) &&
                       third.holder[0] != '\0');
    assert_string_equal(second.holder, third.holder);
    assert_true(second.since <= third.since);
    held_release(&h[0]);
    world_until(w, h[1].answers > 0);
    assert_false(registry_lock_waits_for(h[1].lock, &second));
    held_release(&h[1]);
    held_release(&h[2]);
}

int conformance_lock(void)
{
    const struct CMUnitTest tests[] = {
        CONFORMANCE_TEST(waiters_get_the_lock_in_the_order_they_asked),
        CONFORMANCE_TEST(owners_in_one_session_exclude_each_other),
        CONFORMANCE_TEST(the_same_owner_gets_it_again_at_once),
        CONFORMANCE_TEST(waiters_of_one_owner_get_it_together),
        CONFORMANCE_TEST(trying_once_does_not_wait),
        CONFORMANCE_TEST(a_waiter_that_gave_up_never_gets_it),
        CONFORMANCE_TEST(a_waiter_may_leave_the_queue),
        CONFORMANCE_TEST(locks_of_different_keys_are_independent),
        CONFORMANCE_TEST(fencing_numbers_only_grow),
        CONFORMANCE_TEST(a_lost_session_loses_the_lock_once),
        CONFORMANCE_TEST(a_waiter_learns_that_its_session_is_lost),
        CONFORMANCE_TEST(closing_frees_the_lock_at_once),
        CONFORMANCE_TEST(closing_cancels_a_waiter),
        CONFORMANCE_TEST(a_lock_may_be_asked_for_before_the_session),
        CONFORMANCE_TEST(locks_may_be_taken_and_released_in_callbacks),
        CONFORMANCE_TEST(malformed_keys_and_owners_are_refused),
        CONFORMANCE_TEST(a_waiter_knows_whom_it_waits_for),
    };

    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
