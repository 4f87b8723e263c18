/*
 * conformance_dolphin.c - the twelve cases of DolphinScheduler's own
 * RegistryTestCase, by their names, in terms of our interface.
 */
#include "tests/registry/conformance.h"

#include <string.h>

static void connect_gives_a_session(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);

    assert_int_equal(registry_state(r), REGISTRY_CONNECTED);
    assert_true(registry_session(r) != 0);
    assert_string_equal(registry_backend_name(r), w->backend->name);
}

static void connect_until_timeout_is_connected_in_time(void **state)
{
    struct world *w = *state;
    int64_t begin = w->backend->now(w->store);
    struct registry *r = world_open_unconnected(w);
    struct told told = {0};

    assert_int_equal(registry_state(r), REGISTRY_DISCONNECTED);
    assert_int_equal(registry_session(r), 0);
    told.listener = registry_listen(r, told_state, &told);
    world_until(w, told.n > 0);
    assert_int_equal(told.states[0], REGISTRY_CONNECTED);
    assert_true(w->backend->now(w->store) - begin <
                registry_session_timeout(r));
    registry_unlisten(&told.listener);
}

static void subscribe_tells_add_update_and_remove(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen seen = {0};

    seen_start(w, r, &seen, "/nodes/master");
    seen_expect(w, &seen, 0, REGISTRY_SYNCED, NULL, NULL);
    assert_int_equal(do_put(w, r, "/nodes/master/m:1", "1", REGISTRY_ABSENT, 0),
                     ERR_OK);
    seen_expect(w, &seen, 1, REGISTRY_ADD, "/nodes/master/m:1", "1");
    assert_int_equal(do_put(w, r, "/nodes/master/m:1", "2", REGISTRY_ANY, 0),
                     ERR_OK);
    seen_expect(w, &seen, 2, REGISTRY_UPDATE, "/nodes/master/m:1", "2");
    assert_int_equal(do_delete(w, r, "/nodes/master/m:1",
                               version_of(w, r, "/nodes/master/m:1", "2")),
                     ERR_OK);
    seen_expect(w, &seen, 3, REGISTRY_REMOVE, "/nodes/master/m:1", NULL);
    assert_true(seen.events[1].created == seen.events[3].created);
    assert_int_equal(seen.n, 4);
    seen_stop(&seen);
}

static void connection_listener_tells_the_present_state_first(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct told told = {0};

    told.listener = registry_listen(r, told_state, &told);
    assert_int_equal(told.n, 0);
    world_until(w, told.n == 1);
    assert_int_equal(told.states[0], REGISTRY_CONNECTED);
    w->backend->expire(w->store, r);
    world_until(w, told.n == 3);
    assert_int_equal(told.states[1], REGISTRY_DISCONNECTED);
    assert_int_equal(told.states[2], REGISTRY_CONNECTED);
    registry_unlisten(&told.listener);
    assert_null(told.listener);
}

static void get_reads_what_was_put(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got g = {0};

    assert_int_equal(do_get(w, r, "/get", &g), ERR_NOT_FOUND);
    assert_int_equal(g.n_entries, 0);
    assert_int_equal(do_put(w, r, "/get", "value", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_get(w, r, "/get", &g), ERR_OK);
    assert_int_equal(g.n_entries, 1);
    assert_string_equal(g.entries[0].value, "value");
    assert_int_equal(g.entries[0].value_len, 5);
    assert_int_equal(g.entries[0].owner, 0);
    got_free(&g);
}

static void put_creates_and_overwrites(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);

    assert_int_equal(do_put(w, r, "/put/a/b", "1", REGISTRY_ANY, 0), ERR_OK);
    version_of(w, r, "/put/a/b", "1");
    assert_int_equal(do_put(w, r, "/put/a/b", "2", REGISTRY_ANY, 0), ERR_OK);
    version_of(w, r, "/put/a/b", "2");
}

static void delete_removes_the_key(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);

    assert_int_equal(do_put(w, r, "/delete", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(
        do_delete(w, r, "/delete", version_of(w, r, "/delete", "1")), ERR_OK);
    assert_int_equal(do_get(w, r, "/delete", NULL), ERR_NOT_FOUND);
    assert_int_equal(do_delete(w, r, "/delete", 1), ERR_NOT_FOUND);
}

static void children_are_the_names_directly_below(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got g = {0};

    assert_int_equal(do_put(w, r, "/c/b", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/c/a/x", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/c/a/y", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/cc/no", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_children(w, r, "/c", &g), ERR_OK);
    assert_int_equal(g.n_entries, 2);
    assert_string_equal(g.entries[0].key, "a");
    assert_string_equal(g.entries[1].key, "b");
    assert_int_equal(do_children(w, r, "/c/none", &g), ERR_OK);
    assert_int_equal(g.n_entries, 0);
    got_free(&g);
}

static void exists_knows_keys_and_directories(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);

    assert_int_equal(do_exists(w, r, "/e/x"), ERR_NOT_FOUND);
    assert_int_equal(do_put(w, r, "/e/x", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_exists(w, r, "/e/x"), ERR_OK);
    assert_int_equal(do_exists(w, r, "/e"), ERR_OK);
    assert_int_equal(do_exists(w, r, "/e/xx"), ERR_NOT_FOUND);
}

static void lock_excludes_others_until_it_is_released(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct held mine, theirs;

    assert_int_equal(held_take(w, a, &mine, "/lock/x", "a", -1), ERR_OK);
    held_ask(b, &theirs, "/lock/x", "b", -1);
    world_round_trip(w, b);
    world_round_trip(w, a);
    assert_int_equal(theirs.answers, 0);
    held_release(&mine);
    world_until(w, theirs.answers > 0);
    assert_int_equal(theirs.code, ERR_OK);
    held_release(&theirs);
}

static void lock_with_timeout_gives_up(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    int64_t begin = w->backend->now(w->store);
    struct held mine, theirs;

    assert_int_equal(held_take(w, a, &mine, "/lock/x", "a", 5000), ERR_OK);
    assert_int_equal(held_take(w, b, &theirs, "/lock/x", "b", 200),
                     ERR_TIMEOUT);
    assert_true(w->backend->now(w->store) - begin >= 200);
    held_release(&theirs);
    held_release(&mine);
}

static void release_lets_the_same_client_take_it_again(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct held h;
    uint64_t fence;

    assert_int_equal(held_take(w, r, &h, "/lock/x", "a", -1), ERR_OK);
    fence = h.fence;
    held_release(&h);
    assert_int_equal(held_take(w, r, &h, "/lock/x", "a", -1), ERR_OK);
    assert_true(h.fence > fence);
    held_release(&h);
}

int conformance_dolphin(void)
{
    const struct CMUnitTest tests[] = {
        CONFORMANCE_TEST(connect_gives_a_session),
        CONFORMANCE_TEST(connect_until_timeout_is_connected_in_time),
        CONFORMANCE_TEST(subscribe_tells_add_update_and_remove),
        CONFORMANCE_TEST(connection_listener_tells_the_present_state_first),
        CONFORMANCE_TEST(get_reads_what_was_put),
        CONFORMANCE_TEST(put_creates_and_overwrites),
        CONFORMANCE_TEST(delete_removes_the_key),
        CONFORMANCE_TEST(children_are_the_names_directly_below),
        CONFORMANCE_TEST(exists_knows_keys_and_directories),
        CONFORMANCE_TEST(lock_excludes_others_until_it_is_released),
        CONFORMANCE_TEST(lock_with_timeout_gives_up),
        CONFORMANCE_TEST(release_lets_the_same_client_take_it_again),
    };

    return cmocka_run_group_tests_name("dolphinscheduler", tests, NULL, NULL);
}
