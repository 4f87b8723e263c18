/*
 * test_etcd_lock.c - the lock on etcd beside what others put there, and after
 * somebody took a key away.
 */
#include "registry/etcd/etcd_priv.h"
#include "tests/registry/etcd_conformance.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 3000

static struct etcd_servers servers;

static int setup(void **state)
{
    etcd_servers_heal(&servers);
    *state = etcd_world(&servers);
    return 0;
}

static void lock_key(struct world *w, struct registry *r, size_t at,
                     char out[128])
{
    struct got g = {0};

    assert_int_equal(do_children(w, r, "/lock/x", &g), ERR_OK);
    assert_true(g.n_entries > at);
    (void)snprintf(out, 128, "/lock/x/%s", g.entries[at].key);
    got_free(&g);
}

static void a_lock_whose_key_is_gone_is_lost(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS),
                    *b = etcd_client(w, TIMEOUT_MS);
    struct held mine, theirs;
    char key[128];

    assert_int_equal(held_take(w, a, &mine, "/lock/x", "a", -1), ERR_OK);
    lock_key(w, b, 0, key);
    held_ask(b, &theirs, "/lock/x", "b", -1);
    world_round_trip(w, b);
    etcd_store_delete(w->store, key);
    world_until(w, theirs.answers > 0 && mine.losses == 1);
    assert_int_equal(theirs.code, ERR_OK);
    assert_true(theirs.fence > mine.fence);
    assert_true(registry_session(a) != 0);
    held_release(&mine);
    held_release(&theirs);
}

/* Somebody holds it in a layout of his own. */
static void what_stood_there_before_with_a_lease_is_waited_for(void **state)
{
    static const char *const theirs[] = {"/lock/x", "/lock/x/holder-0000000001",
                                         "/lock/x/readers/7"};
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS),
                    *b = etcd_client(w, TIMEOUT_MS);

    for (size_t i = 0; i < ARRAY_LEN(theirs); i++) {
        struct registry_lock_wait wait = {.holder = ""};
        struct held mine, tried;

        assert_int_equal(
            do_put_ephemeral(w, b, theirs[i], "them", REGISTRY_ANY, 0), ERR_OK);
        assert_int_equal(held_take(w, a, &tried, "/lock/x", "a", 0),
                         ERR_TIMEOUT);
        held_release(&tried);
        held_ask(a, &mine, "/lock/x", "a", -1);
        world_until(w, mine.answers > 0 ||
                           (registry_lock_waits_for(mine.lock, &wait) &&
                            wait.holder[0] != '\0'));
        assert_int_equal(mine.answers, 0);
        assert_string_equal(wait.holder, "them");
        assert_true(etcd_of(a)->foreign != 0); /* told */
        etcd_store_delete(w->store, theirs[i]);
        world_until(w, mine.answers > 0);
        assert_int_equal(mine.code, ERR_OK);
        /* Who comes later has to wait. */
        assert_int_equal(
            do_put_ephemeral(w, b, theirs[i], "them", REGISTRY_ANY, 0), ERR_OK);
        world_pass(w, TIMEOUT_MS / 2);
        assert_true(registry_lock_held(mine.lock) && mine.losses == 0);
        etcd_store_delete(w->store, theirs[i]);
        held_release(&mine);
    }
}

static void what_is_no_part_of_a_lock_is_not_waited_for(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS);
    struct held deeper, mine;
    char key[64];

    etcd_store_put(w->store, "/lock/x", "a note");
    assert_int_equal(held_take(w, a, &deeper, "/lock/x/1", "b", -1), ERR_OK);
    for (int i = 0; i < 120; i++) { /* more than one look shows */
        (void)snprintf(key, sizeof(key), "/lock/x/notes/%d", i);
        etcd_store_put(w->store, key, "1");
    }
    assert_int_equal(held_take(w, a, &mine, "/lock/x", "a", 0), ERR_OK);
    held_release(&mine);
    held_release(&deeper);
}

/* Behind many keys that do not count. */
static void a_holder_is_found_among_what_does_not_count(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS),
                    *b = etcd_client(w, TIMEOUT_MS);
    struct held theirs, mine;
    char key[64];

    assert_int_equal(held_take(w, b, &theirs, "/lock/x", "b", -1), ERR_OK);
    for (int i = 0; i < 120; i++) {
        (void)snprintf(key, sizeof(key), "/lock/x/notes/%d", i);
        etcd_store_put(w->store, key, "1");
    }
    assert_int_equal(held_take(w, a, &mine, "/lock/x", "a", 0), ERR_TIMEOUT);
    held_release(&mine);
    assert_int_equal(held_take(w, a, &mine, "/lock/x", "a", 300), ERR_TIMEOUT);
    held_release(&mine);
    held_release(&theirs);
}

static void a_waiter_whose_key_is_gone_queues_again(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS),
                    *b = etcd_client(w, TIMEOUT_MS);
    struct held mine, theirs;
    char key[128];

    assert_int_equal(held_take(w, a, &mine, "/lock/x", "a", -1), ERR_OK);
    lock_key(w, a, 0, key);
    held_ask(b, &theirs, "/lock/x", "b", -1);
    world_until(w, etcd_store_count(w->store, "/lock/x") == 2);
    { /* the other of the two */
        char first[128], second[128];

        lock_key(w, a, 0, first);
        lock_key(w, a, 1, second);
        etcd_store_delete(w->store, strcmp(first, key) == 0 ? second : first);
    }
    world_until(w, etcd_store_count(w->store, "/lock/x") == 2);
    assert_int_equal(theirs.answers, 0);
    held_release(&mine);
    world_until(w, theirs.answers > 0);
    assert_int_equal(theirs.code, ERR_OK);
    held_release(&theirs);
    world_until(w, etcd_store_count(w->store, "/lock/x") == 0);
}

static void a_lock_survives_short_breaks(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, 10000), *b = etcd_client(w, 10000);
    struct held mine, theirs;

    assert_int_equal(held_take(w, a, &mine, "/lock/x", "a", -1), ERR_OK);
    proxy_refuse(etcd_proxy(w, b), true);
    (void)proxy_reset(etcd_proxy(w, b));
    held_ask(b, &theirs, "/lock/x", "b", -1);
    world_pass(w, 500);
    proxy_refuse(etcd_proxy(w, b), false);
    world_until(w, etcd_store_count(w->store, "/lock/x") == 2);
    (void)proxy_reset(etcd_proxy(w, b)); /* the stream it waits on, too */
    held_release(&mine);
    world_until(w, theirs.answers > 0);
    assert_int_equal(theirs.code, ERR_OK);
    held_release(&theirs);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_lock_whose_key_is_gone_is_lost),
        TEST(what_stood_there_before_with_a_lease_is_waited_for),
        TEST(what_is_no_part_of_a_lock_is_not_waited_for),
        TEST(a_holder_is_found_among_what_does_not_count),
        TEST(a_waiter_whose_key_is_gone_queues_again),
        TEST(a_lock_survives_short_breaks),
    };
    int failed;

    etcd_servers_start(&servers, 1, false);
    failed = cmocka_run_group_tests_name("etcd lock", tests, NULL, NULL);
    etcd_servers_stop(&servers);
    return failed;
}
