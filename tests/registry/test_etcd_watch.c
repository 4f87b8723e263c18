/*
 * test_etcd_watch.c - watches when streams break, hang or are cancelled, and
 * when other programs write keys that are none of ours.
 */
#include "registry/etcd/etcd_priv.h"
#include "tests/registry/etcd_conformance.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 5000

static struct etcd_servers servers;

/* Whatever a test before it left broken. */
static int setup(void **state)
{
    etcd_servers_heal(&servers);
    *state = etcd_world(&servers);
    return 0;
}

static struct etcd_watch *watch_of(const struct seen *s)
{
    return s->watch->priv;
}

static void a_broken_stream_goes_on_where_it_was(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS),
                    *b = etcd_client(w, TIMEOUT_MS);
    struct seen seen = {0};

    seen_start(w, a, &seen, "/w");
    for (int i = 1; i <= 30; i++) {
        char value[16];

        (void)snprintf(value, sizeof(value), "%d", i);
        assert_int_equal(do_put(w, b, "/w/k", value, REGISTRY_ANY, 0), ERR_OK);
        if (i % 3 == 0)
            (void)proxy_reset(etcd_proxy(w, a));
    }
    world_until(w, etcd_told(&seen, "/w/k", "30"));
    assert_int_equal(seen.synced, 1); /* nothing had to be listed again */
    seen_stop(&seen);
}

static void a_compaction_behind_our_back_is_listed_again(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS);
    struct seen seen = {0};

    etcd_store_put(w->store, "/w/stays", "1");
    etcd_store_put(w->store, "/w/goes", "1");
    seen_start(w, a, &seen, "/w");
    proxy_refuse(etcd_proxy(w, a), true);
    (void)proxy_reset(etcd_proxy(w, a));
    etcd_store_put(w->store, "/w/comes", "1");
    etcd_store_delete(w->store, "/w/goes");
    etcd_store_put(w->store, "/w/other", "1");
    etcd_store_compact(w->store);
    proxy_refuse(etcd_proxy(w, a), false);
    world_until(w, seen.synced == 2);
    assert_true(etcd_told(&seen, "/w/comes", "1"));
    assert_true(etcd_told(&seen, "/w/goes", NULL));
    assert_true(etcd_told(&seen, "/w/stays", "1"));
    etcd_store_put(w->store, "/w/after", "1");
    world_until(w, etcd_told(&seen, "/w/after", "1"));
    seen_stop(&seen);
}

static void a_silent_stream_is_found_out_by_the_canary(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS);
    struct seen seen = {0};
    struct told states = {0};
    int64_t began;

    states.listener = registry_listen(a, told_state, &states);
    seen_start(w, a, &seen, "/w");
    world_until(w, watch_of(&seen)->feed.canary_seen != 0);
    etcd_transfer_pause(watch_of(&seen)->feed.transfer);
    etcd_store_put(w->store, "/w/k", "1");
    began = w->backend->now(w->store);
    world_until(w, etcd_told(&seen, "/w/k", "1"));
    assert_true(w->backend->now(w->store) - began <= TIMEOUT_MS * 3 / 2);
    assert_int_equal(seen.synced, 1);
    assert_int_equal(states.n, 1); /* the session noticed nothing */
    registry_unlisten(&states.listener);
    seen_stop(&seen);
}

static void an_event_that_never_comes_is_found_by_the_list(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, 60000);
    struct seen seen = {0};

    etcd_store_put(w->store, "/w/goes", "1");
    seen_start(w, a, &seen, "/w");
    etcd_transfer_pause(watch_of(&seen)->feed.transfer);
    etcd_store_put(w->store, "/w/comes", "1");
    etcd_store_delete(w->store, "/w/goes");
    watch_of(&seen)->list_due = 0; /* the 45 s are over */
    world_until(w, etcd_told(&seen, "/w/comes", "1"));
    world_until(w, etcd_told(&seen, "/w/goes", NULL));
    assert_int_equal(seen.synced, 1);
    seen_stop(&seen);
}

static void foreign_keys_are_passed_over(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS);
    struct seen seen = {0};
    struct got g = {0};

    etcd_store_put(w->store, "/w/a", "1");
    seen_start(w, a, &seen, "/w");
    etcd_store_put(w->store, "/w//b", "1");
    etcd_store_put(w->store, "/w/c/", "1");
    etcd_store_put(w->store, "/w/\x01", "1");
    etcd_store_put(w->store, "/w/d", "");
    etcd_store_put(w->store, "/w/e", "1");
    world_until(w, etcd_told(&seen, "/w/e", "1"));
    assert_int_equal(seen.n, 3);
    for (size_t page = 1; page <= 2; page++) {
        assert_int_equal(do_list(w, a, "/w", NULL, page, &g), ERR_OK);
        assert_string_equal(g.entries[0].key, "/w/a");
        assert_int_equal(do_list(w, a, "/w", "/w/a", page, &g), ERR_OK);
        assert_int_equal(g.n_entries, 1);
        assert_string_equal(g.entries[0].key, "/w/e");
    }
    assert_int_equal(do_get(w, a, "/w/d", NULL), ERR_NOT_FOUND);
    assert_int_equal(do_exists(w, a, "/w/d"), ERR_OK);
    etcd_store_put(w->store, "/w/e", ""); /* becomes a directory */
    world_until(w, etcd_told(&seen, "/w/e", NULL));
    got_free(&g);
    seen_stop(&seen);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_broken_stream_goes_on_where_it_was),
        TEST(a_compaction_behind_our_back_is_listed_again),
        TEST(a_silent_stream_is_found_out_by_the_canary),
        TEST(an_event_that_never_comes_is_found_by_the_list),
        TEST(foreign_keys_are_passed_over),
    };
    int failed;

    etcd_servers_start(&servers, 1, false);
    failed = cmocka_run_group_tests_name("etcd watch", tests, NULL, NULL);
    etcd_servers_stop(&servers);
    return failed;
}
