/*
 * test_etcd_members.c - three members of which some die or stop, and a server
 * that forgets our token.
 */
#include "registry/etcd/etcd_priv.h"
#include "tests/registry/etcd_conformance.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 6000

static struct etcd_servers servers;

static int setup(void **state)
{
    etcd_servers_heal(&servers);
    *state = etcd_world(&servers);
    return 0;
}

/* A client with all that can be lost. */
struct whole {
    struct registry *r;
    uint64_t session;
    struct seen seen;
    struct held held;
    struct told told;
};

static void whole_open(struct world *w, struct whole *c)
{
    memset(c, 0, sizeof(*c));
    c->r = etcd_store_open(w->store, TIMEOUT_MS);
    w->clients[w->n_clients++] = c->r;
    world_until(w, registry_session(c->r) != 0);
    c->session = registry_session(c->r);
    assert_int_equal(do_put_ephemeral(w, c->r, "/w/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(held_take(w, c->r, &c->held, "/lock/x", "me", -1), ERR_OK);
    seen_start(w, c->r, &c->seen, "/w");
    c->told.listener = registry_listen(c->r, told_state, &c->told);
}

static void whole_close(struct whole *c)
{
    held_release(&c->held);
    registry_unlisten(&c->told.listener);
    seen_stop(&c->seen);
}

/* The member that it speaks to. */
static size_t member_of(const struct whole *c)
{
    const struct etcd *e = etcd_of(c->r);

    return (size_t)(e->generation % e->n_endpoints);
}

/* Everything still works, and nobody noticed more than SUSPENDED. */
static void works_as_before(struct world *w, struct whole *c)
{
    size_t n = c->seen.n;
    enum err_code code;

    for (int tries = 0;; tries++) {
        code = do_put(w, c->r, "/w/k", "1", REGISTRY_ANY, 0);
        if (code == ERR_OK)
            break;
        assert_true(code == ERR_UNKNOWN || code == ERR_UNAVAILABLE);
        assert_true(tries < 20);
        world_pass(w, 100);
    }
    world_until(w, c->seen.n > n);
    assert_string_equal(c->seen.events[c->seen.n - 1].key, "/w/k");
    assert_true(registry_session(c->r) == c->session);
    assert_true(registry_lock_held(c->held.lock));
    version_of(w, c->r, "/w/e", "1");
    for (size_t i = 0; i < c->seen.n; i++)
        assert_true(c->seen.events[i].type != REGISTRY_REMOVE);
}

static void a_member_that_dies_is_not_missed(void **state)
{
    struct world *w = *state;
    struct whole c;
    size_t victim;

    whole_open(w, &c);
    victim = member_of(&c);
    etcd_server_kill(&servers, victim);
    works_as_before(w, &c);
    assert_true(member_of(&c) != victim);
    world_pass(w, TIMEOUT_MS);
    works_as_before(w, &c);
    assert_int_equal(c.told.n, 1);
    whole_close(&c);
}

/* It still accepts connections. */
static void a_member_that_stops_is_left_before_suspended(void **state)
{
    struct world *w = *state;
    struct whole c;
    size_t victim;

    whole_open(w, &c);
    victim = member_of(&c);
    etcd_server_stop(&servers, victim);
    world_until(w, member_of(&c) != victim);
    works_as_before(w, &c);
    world_pass(w, TIMEOUT_MS);
    works_as_before(w, &c);
    assert_int_equal(c.told.n, 1);
    etcd_server_cont(&servers, victim);
    whole_close(&c);
}

static void without_a_quorum_nothing_is_decided(void **state)
{
    struct world *w = *state;
    struct whole c;
    size_t mine, told;

    whole_open(w, &c);
    mine = member_of(&c);
    told = c.seen.n;
    for (size_t i = 0; i < servers.n; i++)
        if (i != mine)
            etcd_server_kill(&servers, i);
    world_until(w, c.held.losses == 1);
    assert_int_equal(c.told.n, 3);
    assert_int_equal(c.told.states[1], REGISTRY_SUSPENDED);
    assert_int_equal(c.told.states[2], REGISTRY_DISCONNECTED);
    assert_int_equal(c.seen.n, told); /* silence is not absence */
    for (size_t i = 0; i < servers.n; i++)
        if (i != mine)
            etcd_server_restart(&servers, i);
    world_until(w, c.told.n == 4 && c.seen.synced == 2);
    assert_int_equal(c.told.states[3], REGISTRY_CONNECTED);
    assert_true(registry_session(c.r) != c.session);
    assert_int_equal(do_exists(w, c.r, "/w/e"), ERR_NOT_FOUND);
    whole_close(&c);
}

/* --- users --------------------------------------------------------------- */

static void a_forgotten_token_is_renewed(void **state)
{
    struct world *w = *state;
    struct whole c;

    whole_open(w, &c);
    etcd_server_kill(&servers, 0);
    etcd_server_restart(&servers, 0);
    etcd_server_wait(&servers, 0);
    works_as_before(w, &c);
    /* And one that was never any good. */
    for (size_t i = 0; etcd_of(c.r)->token[i] != '\0'; i++)
        etcd_of(c.r)->token[i] = 'x';
    (void)proxy_reset(etcd_store_proxy(w->store, c.r, 0)); /* the stream, too */
    works_as_before(w, &c);
    whole_close(&c);
}

static void a_wrong_password_is_told_and_nothing_begins(void **state)
{
    struct world *w = *state;
    struct registry *r = etcd_store_open(w->store, TIMEOUT_MS);

    w->clients[w->n_clients++] = r;
    etcd_of(r)->password[0]++;
    world_until(w, etcd_of(r)->denied);
    assert_true(registry_session(r) == 0);
    etcd_of(r)->password[0]--;
    world_until(w, registry_session(r) != 0);
    assert_false(etcd_of(r)->denied);
}

/* Whom nobody has judged is not refused, and waits. */
static void an_authenticate_that_is_not_answered_is_no_refusal(void **state)
{
    struct world *w = *state;
    struct registry *r = etcd_client(w, TIMEOUT_MS);
    struct proxy *p = etcd_store_proxy(w->store, r, 0);
    struct etcd *e = etcd_of(r);

    assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    proxy_refuse(p, true);
    (void)proxy_reset(p);
    e->authenticate_at = 0;
    etcd_token_refused(e, e->token_generation);
    world_until(w, e->authenticate_at != 0);
    assert_false(e->denied);
    proxy_refuse(p, false);
    version_of(w, r, "/k", "1");
}

static void keys_that_are_not_ours_are_denied(void **state)
{
    struct world *w = *state;
    struct registry *r = etcd_store_open(w->store, TIMEOUT_MS);
    struct got g = {0};

    w->clients[w->n_clients++] = r;
    world_until(w, registry_session(r) != 0);
    etcd_of(r)->ns[0] = 'e'; /* "eolphinscheduler": no right to it */
    assert_int_equal(do_get(w, r, "/k", &g), ERR_DENIED);
    assert_non_null(strstr(g.msg, "permission denied"));
    etcd_of(r)->ns[0] = 'd';
    got_free(&g);
}

static void the_authority_is_the_name_in_the_certificate(void **state)
{
    struct world *w = *state;
    struct etcd_store *store = w->store;
    struct registry *other;

    store->authority = "another.test";
    other = etcd_store_open(store, TIMEOUT_MS);
    w->clients[w->n_clients++] = other;
    store->authority = "etcd.test";
    (void)etcd_client(w, TIMEOUT_MS);
    world_pass(w, 200);
    assert_true(registry_session(other) == 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
    const struct CMUnitTest members[] = {
        TEST(a_member_that_dies_is_not_missed),
        TEST(a_member_that_stops_is_left_before_suspended),
        TEST(without_a_quorum_nothing_is_decided),
    };
    const struct CMUnitTest users[] = {
        TEST(a_forgotten_token_is_renewed),
        TEST(a_wrong_password_is_told_and_nothing_begins),
        TEST(an_authenticate_that_is_not_answered_is_no_refusal),
        TEST(keys_that_are_not_ours_are_denied),
        TEST(the_authority_is_the_name_in_the_certificate),
    };
    int failed;

    etcd_servers_start(&servers, 3, false);
    failed = cmocka_run_group_tests_name("members", members, NULL, NULL);
    etcd_servers_stop(&servers);
    etcd_servers_start(&servers, 1, true);
    failed += cmocka_run_group_tests_name("users", users, NULL, NULL);
    etcd_servers_stop(&servers);
    return failed;
}
