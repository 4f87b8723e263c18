/*
 * conformance_watch.c - watches: exact differences in order per key.
 */
#include "tests/registry/conformance.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void existing_keys_come_first_then_synced(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen seen = {0};
    bool a = false, b = false;

    assert_int_equal(do_put(w, r, "/w/a", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/w/x/b", "2", REGISTRY_ANY, 0), ERR_OK);
    seen_start(w, r, &seen, "/w");
    assert_int_equal(seen.n, 3);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(seen.events[i].type, REGISTRY_ADD);
        a |= strcmp(seen.events[i].key, "/w/a") == 0;
        b |= strcmp(seen.events[i].key, "/w/x/b") == 0;
    }
    assert_true(a && b);
    seen_expect(w, &seen, 2, REGISTRY_SYNCED, NULL, NULL);
    seen_stop(&seen);
}

static void only_keys_below_the_prefix_are_told(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen seen = {0}, all = {0};

    seen_start(w, r, &seen, "/w");
    seen_start(w, r, &all, "/");
    assert_int_equal(do_put(w, r, "/w", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/wx", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/w-/a", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/w/a/b", "1", REGISTRY_ANY, 0), ERR_OK);
    seen_expect(w, &seen, 1, REGISTRY_ADD, "/w/a/b", "1");
    world_until(w, all.n == 5);
    assert_int_equal(seen.n, 2);
    seen_stop(&all);
    seen_stop(&seen);
}

static void another_clients_changes_are_told(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct seen seen = {0};
    struct got g = {0};

    seen_start(w, a, &seen, "/w");
    assert_int_equal(do_put_ephemeral(w, b, "/w/k", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    seen_expect(w, &seen, 1, REGISTRY_ADD, "/w/k", "1");
    assert_true(seen.events[1].owner == registry_session(b));
    assert_int_equal(do_get(w, a, "/w/k", &g), ERR_OK);
    assert_true(seen.events[1].version == g.entries[0].version);
    assert_true(seen.events[1].created == g.entries[0].created);
    assert_int_equal(do_delete(w, a, "/w/k", g.entries[0].version), ERR_OK);
    seen_expect(w, &seen, 2, REGISTRY_REMOVE, "/w/k", NULL);
    assert_true(seen.events[2].created == g.entries[0].created);
    got_free(&g);
    seen_stop(&seen);
}

static void changes_of_a_key_come_in_order(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen seen = {0};
    long last = 0;

    seen_start(w, r, &seen, "/w");
    for (int i = 1; i <= 40; i++) {
        char value[16];

        (void)snprintf(value, sizeof(value), "%d", i);
        assert_int_equal(do_put(w, r, "/w/k", value, REGISTRY_ANY, 0), ERR_OK);
    }
    world_until(w, seen.events[seen.n - 1].value != NULL &&
                       strcmp(seen.events[seen.n - 1].value, "40") == 0);
    for (size_t i = 1; i < seen.n; i++) { /* looks may be skipped, not mixed */
        long value = strtol(seen.events[i].value, NULL, 10);

        assert_int_equal(seen.events[i].type,
                         i == 1 ? REGISTRY_ADD : REGISTRY_UPDATE);
        assert_true(value > last);
        last = value;
    }
    seen_stop(&seen);
}

static void a_key_made_again_is_remove_and_add(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen seen = {0};

    assert_int_equal(do_put(w, r, "/w/k", "1", REGISTRY_ANY, 0), ERR_OK);
    seen_start(w, r, &seen, "/w");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(
            do_delete(w, r, "/w/k", version_of(w, r, "/w/k", NULL)), ERR_OK);
        assert_int_equal(do_put(w, r, "/w/k", "2", REGISTRY_ABSENT, 0), ERR_OK);
        seen_expect(w, &seen, 2 + 2 * i, REGISTRY_REMOVE, "/w/k", NULL);
        seen_expect(w, &seen, 3 + 2 * i, REGISTRY_ADD, "/w/k", "2");
        assert_true(seen.events[2 + 2 * i].created <
                    seen.events[3 + 2 * i].created);
    }
    seen_stop(&seen);
}

static void a_write_of_the_same_value_is_an_update(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen seen = {0};

    assert_int_equal(do_put(w, r, "/w/k", "1", REGISTRY_ANY, 0), ERR_OK);
    seen_start(w, r, &seen, "/w");
    assert_int_equal(do_put(w, r, "/w/k", "1", REGISTRY_ANY, 0), ERR_OK);
    seen_expect(w, &seen, 2, REGISTRY_UPDATE, "/w/k", "1");
    assert_true(seen.events[2].version != seen.events[0].version);
    assert_true(seen.events[2].created == seen.events[0].created);
    seen_stop(&seen);
}

static void directories_are_not_told(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen seen = {0};

    seen_start(w, r, &seen, "/");
    assert_int_equal(do_put(w, r, "/x/y/z", "1", REGISTRY_ANY, 0), ERR_OK);
    seen_expect(w, &seen, 1, REGISTRY_ADD, "/x/y/z", "1");
    assert_int_equal(do_delete(w, r, "/x/y/z", version_of(w, r, "/x/y/z", "1")),
                     ERR_OK);
    seen_expect(w, &seen, 2, REGISTRY_REMOVE, "/x/y/z", NULL);
    assert_int_equal(seen.n, 3);
    seen_stop(&seen);
}

static void an_ended_watch_says_nothing(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen early = {0}, other = {0};

    early.watch = registry_watch(r, "/w", seen_event, &early);
    registry_unwatch(&early.watch);
    assert_null(early.watch);
    seen_start(w, r, &other, "/w");
    assert_int_equal(do_put(w, r, "/w/k", "1", REGISTRY_ANY, 0), ERR_OK);
    seen_expect(w, &other, 1, REGISTRY_ADD, "/w/k", "1");
    assert_int_equal(early.n, 0);
    seen_stop(&other);
}

static void a_watch_may_end_in_its_own_callback(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen at_add = {.unwatch_at = 1}, at_synced = {.unwatch_at = 4};
    struct seen at_remove = {.unwatch_at = 5}, other = {0};

    world_fill(w, r, "/w", 3);
    at_add.watch = registry_watch(r, "/w", seen_event, &at_add);
    at_synced.watch = registry_watch(r, "/w", seen_event, &at_synced);
    at_remove.watch = registry_watch(r, "/w", seen_event, &at_remove);
    seen_start(w, r, &other, "/w");
    world_until(w, at_add.n == 1 && at_synced.n == 4 && at_remove.n >= 4);
    assert_int_equal(
        do_delete(w, r, "/w/000001", version_of(w, r, "/w/000001", NULL)),
        ERR_OK);
    assert_int_equal(do_put(w, r, "/w/000001", "1", REGISTRY_ABSENT, 0),
                     ERR_OK);
    seen_expect(w, &other, 5, REGISTRY_ADD, "/w/000001", "1");
    world_until(w, at_remove.n == 5);
    world_round_trip(w, r);
    assert_int_equal(at_add.n, 1);
    assert_int_equal(at_synced.n, 4);
    assert_int_equal(at_remove.n, 5);
    assert_null(at_add.watch);
    seen_stop(&at_add);
    seen_stop(&at_synced);
    seen_stop(&at_remove);
    seen_stop(&other);
}

static void a_watch_may_begin_before_the_session(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open_unconnected(w);
    struct seen seen = {0};

    seen_start(w, r, &seen, "/w");
    assert_int_equal(do_put(w, r, "/w/k", "1", REGISTRY_ANY, 0), ERR_OK);
    seen_expect(w, &seen, 1, REGISTRY_ADD, "/w/k", "1");
    seen_stop(&seen);
}

static void after_a_lost_session_only_differences_are_told(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w), *other = world_open(w);
    struct seen seen = {0};
    size_t n, removed = 0, added = 0;

    assert_int_equal(do_put(w, r, "/w/stays", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put_ephemeral(w, r, "/w/mine", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    seen_start(w, r, &seen, "/w");
    n = seen.n;
    assert_int_equal(n, 3);
    w->backend->expire(w->store, r);
    assert_int_equal(do_put(w, other, "/w/new", "1", REGISTRY_ANY, 0), ERR_OK);
    world_until(w, seen.synced == 2);
    world_until(w, seen.n >= n + 3);
    for (size_t i = n; i < seen.n; i++) {
        const struct seen_event *e = &seen.events[i];

        if (e->type == REGISTRY_REMOVE) {
            assert_string_equal(e->key, "/w/mine");
            removed++;
        } else if (e->type == REGISTRY_ADD) {
            assert_string_equal(e->key, "/w/new");
            added++;
        } else {
            assert_int_equal(e->type, REGISTRY_SYNCED);
        }
    }
    assert_int_equal(removed, 1);
    assert_int_equal(added, 1);
    seen_stop(&seen);
}

static void ten_thousand_keys_are_told_once_each(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen before = {0}, after = {0};
    char *told = mem_zalloc(10000);

    seen_start(w, r, &before, "/many");
    world_fill(w, r, "/many", 10000);
    seen_start(w, r, &after, "/many");
    world_until(w, before.n == 10001);
    assert_int_equal(after.n, 10001);
    assert_int_equal(after.events[10000].type, REGISTRY_SYNCED);
    for (size_t i = 0; i < 10000; i++) {
        long n = strtol(after.events[i].key + strlen("/many/"), NULL, 10);

        assert_int_equal(after.events[i].type, REGISTRY_ADD);
        assert_true(n >= 0 && n < 10000 && !told[n]);
        told[n] = 1;
    }
    mem_free(told);
    seen_stop(&before);
    seen_stop(&after);
}

int conformance_watch(void)
{
    const struct CMUnitTest tests[] = {
        CONFORMANCE_TEST(existing_keys_come_first_then_synced),
        CONFORMANCE_TEST(only_keys_below_the_prefix_are_told),
        CONFORMANCE_TEST(another_clients_changes_are_told),
        CONFORMANCE_TEST(changes_of_a_key_come_in_order),
        CONFORMANCE_TEST(a_key_made_again_is_remove_and_add),
        CONFORMANCE_TEST(a_write_of_the_same_value_is_an_update),
        CONFORMANCE_TEST(directories_are_not_told),
        CONFORMANCE_TEST(an_ended_watch_says_nothing),
        CONFORMANCE_TEST(a_watch_may_end_in_its_own_callback),
        CONFORMANCE_TEST(a_watch_may_begin_before_the_session),
        CONFORMANCE_TEST(after_a_lost_session_only_differences_are_told),
        CONFORMANCE_TEST(ten_thousand_keys_are_told_once_each),
    };

    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
