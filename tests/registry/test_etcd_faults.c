/*
 * test_etcd_faults.c - one etcd and the network before it, broken: sessions
 * and writes when the server is stopped, killed or cut off.
 * (Longer than 500 lines: one server, and each way in which it deceives.)
 */
#include "base/mem.h"
#include "registry/etcd/etcd_priv.h"
#include "tests/registry/etcd_conformance.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 3000

static struct etcd_servers servers;

/* Whatever a test before it left broken. */
static int setup(void **state)
{
    etcd_servers_heal(&servers);
    *state = etcd_world(&servers);
    return 0;
}

/* --- the session --------------------------------------------------------- */

struct timed {
    struct registry_listener *listener;
    int64_t at[4]; /* by state */
    unsigned n[4];
};

static void on_state(void *arg, enum registry_state state)
{
    struct timed *t = arg;

    t->at[state] = clock_mono_ms();
    t->n[state]++;
}

static void a_stopped_server_is_suspended_and_lost_in_time(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS);
    struct timed t = {0};
    struct seen seen = {0};
    struct held h;
    int64_t stopped;

    assert_int_equal(do_put(w, a, "/w/k", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put_ephemeral(w, a, "/w/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(held_take(w, a, &h, "/lock/x", "me", -1), ERR_OK);
    seen_start(w, a, &seen, "/w");
    t.listener = registry_listen(a, on_state, &t);
    etcd_server_stop(&servers, 0);
    stopped = clock_mono_ms();
    world_until(w, t.n[REGISTRY_SUSPENDED] == 1);
    assert_int_equal(do_get(w, a, "/w/k", NULL), ERR_UNAVAILABLE);
    world_until(w, t.n[REGISTRY_DISCONNECTED] == 1);
    /* The last beat was answered up to a third before the stop. */
    assert_true(t.at[REGISTRY_SUSPENDED] - stopped >= TIMEOUT_MS / 3 - 200);
    assert_true(t.at[REGISTRY_SUSPENDED] - stopped <= TIMEOUT_MS * 2 / 3 + 500);
    assert_true(t.at[REGISTRY_DISCONNECTED] - stopped <= TIMEOUT_MS + 500);
    assert_true(t.at[REGISTRY_DISCONNECTED] - t.at[REGISTRY_SUSPENDED] >=
                TIMEOUT_MS / 3 - 500);
    assert_int_equal(h.losses, 1);
    assert_int_equal(seen.n, 3); /* silence is not absence */
    etcd_server_cont(&servers, 0);
    world_until(w, t.n[REGISTRY_CONNECTED] == 2 && seen.synced == 2);
    assert_true(etcd_told(&seen, "/w/e", NULL));
    assert_true(etcd_told(&seen, "/w/k", "1"));
    held_release(&h);
    registry_unlisten(&t.listener);
    seen_stop(&seen);
}

static void a_restarted_server_keeps_the_session(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, 10000);
    uint64_t session = registry_session(a);
    struct timed t = {0};
    struct seen seen = {0};
    struct held h;

    assert_int_equal(do_put_ephemeral(w, a, "/w/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(held_take(w, a, &h, "/lock/x", "me", -1), ERR_OK);
    seen_start(w, a, &seen, "/w");
    t.listener = registry_listen(a, on_state, &t);
    etcd_server_kill(&servers, 0);
    world_pass(w, 300);
    assert_int_equal(do_get(w, a, "/w/e", NULL), ERR_UNAVAILABLE);
    /* The proxy took it: who knows. */
    assert_int_equal(do_put(w, a, "/w/k", "1", REGISTRY_ABSENT, 0),
                     ERR_UNKNOWN);
    etcd_server_restart(&servers, 0);
    etcd_server_wait(&servers, 0);
    etcd_store_put(w->store, "/w/k", "2");
    world_until(w, etcd_told(&seen, "/w/k", "2"));
    assert_true(registry_session(a) == session);
    version_of(w, a, "/w/e", "1");
    assert_true(registry_lock_held(h.lock));
    assert_int_equal(t.n[REGISTRY_DISCONNECTED], 0);
    held_release(&h);
    registry_unlisten(&t.listener);
    seen_stop(&seen);
}

/* Servers before 3.4.38 answer keepalives of a lease that was revoked: only
 * the key tells. */
static void a_session_without_its_key_is_lost(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS);
    uint64_t session = registry_session(a);
    struct seen seen = {0};
    char key[64];

    seen_start(w, a, &seen, "/w");
    (void)snprintf(key, sizeof(key), "/pelorus//session/%llx",
                   (unsigned long long)session);
    assert_int_equal(etcd_store_count(w->store, "/pelorus//session"), 1);
    etcd_store_delete(w->store, key);
    world_until(w, registry_session(a) != 0 && registry_session(a) != session);
    world_until(w, seen.synced == 2);
    seen_stop(&seen);
}

static void closing_ends_although_nobody_answers(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, TIMEOUT_MS);
    struct got write = {0};
    int64_t began = w->backend->now(w->store);

    proxy_cut(etcd_proxy(w, a), PROXY_BOTH);
    registry_put(a, "/k", "1", 1, REGISTRY_ABSENT, 0, false, got_reply, &write);
    world_pass(w, 50);
    world_close(w, &a);
    assert_true(w->backend->now(w->store) - began < TIMEOUT_MS);
    assert_int_equal(write.code, ERR_UNKNOWN);
    got_free(&write);
}

/* --- writes whose answer is lost ----------------------------------------- */

static void a_write_is_applied_at_most_once(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, 20000), *b = etcd_client(w, 20000);
    size_t unknown = 0;

    for (int i = 0; i < 20; i++) {
        struct got g = {0};
        enum err_code code;
        char key[32];

        (void)snprintf(key, sizeof(key), "/once/%d", i);
        world_round_trip(w, a); /* a connection that is kept */
        proxy_cut(etcd_proxy(w, a), PROXY_TO_CLIENT);
        registry_put(a, key, "1", 1, REGISTRY_ABSENT, 0, false, got_reply, &g);
        if (i % 2 == 0)
            world_until(w, do_exists(w, b, key) == ERR_OK);
        (void)proxy_reset(etcd_proxy(w, a));
        proxy_cut(etcd_proxy(w, a), 0);
        world_until(w, g.answers > 0);
        code = do_exists(w, b, key);
        assert_true(g.code == ERR_OK || g.code == ERR_UNKNOWN ||
                    g.code == ERR_UNAVAILABLE);
        assert_true(g.code != ERR_OK || code == ERR_OK);
        assert_true(g.code != ERR_UNAVAILABLE || code == ERR_NOT_FOUND);
        unknown += g.code == ERR_UNKNOWN;
        got_free(&g);
    }
    assert_true(unknown >= 10);
}

static void a_kept_connection_that_died_is_no_conflict(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, 20000);

    for (int i = 0; i < 20; i++) {
        enum err_code code;
        char key[32];

        (void)snprintf(key, sizeof(key), "/kept/%d", i);
        world_round_trip(w, a);
        (void)proxy_reset(etcd_proxy(w, a));
        if (i % 2 == 0)
            world_pass(w, 20);
        code = do_put(w, a, key, "1", REGISTRY_ABSENT, 0);
        assert_true(code == ERR_OK || code == ERR_UNKNOWN ||
                    code == ERR_UNAVAILABLE);
    }
}

/* Kinds are remembered by version: another version is another kind. */
static void a_key_made_again_has_another_kind(void **state)
{
    struct world *w = *state;
    struct registry *a = etcd_client(w, 20000), *b = etcd_client(w, 20000);
    uint64_t old, new;

    assert_int_equal(do_put(w, a, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    old = version_of(w, a, "/k", "1");
    assert_int_equal(do_put(w, a, "/k", "2", REGISTRY_VERSION, old), ERR_OK);
    old = version_of(w, a, "/k", "2");
    assert_int_equal(do_delete(w, b, "/k", old), ERR_OK);
    assert_int_equal(do_put_ephemeral(w, b, "/k", "3", REGISTRY_ABSENT, 0),
                     ERR_OK);
    new = version_of(w, a, "/k", "3");
    assert_int_equal(do_put(w, a, "/k", "4", REGISTRY_VERSION, old),
                     ERR_CONFLICT);
    assert_int_equal(do_put(w, a, "/k", "4", REGISTRY_VERSION, new),
                     ERR_CONFLICT);
    assert_int_equal(do_put_ephemeral(w, a, "/k", "4", REGISTRY_VERSION, new),
                     ERR_CONFLICT);
    version_of(w, a, "/k", "3");
}

/* More than one answer may hold: asked for in halves, each in its order. */
static void many_large_values_are_read_in_parts(void **state)
{
    enum { N = 60 };
    struct world *w = *state;
    struct registry *r = etcd_client(w, 30000);
    char *value = mem_zalloc(REGISTRY_VALUE_MAX + 1);
    struct got g[N], page = {0};
    char key[32];

    memset(value, 'v', REGISTRY_VALUE_MAX);
    memset(g, 0, sizeof(g));
    for (int i = 0; i < N; i++) {
        (void)snprintf(key, sizeof(key), "/large/%02d", i);
        (void)snprintf(value, 8, "%06d", i);
        value[6] = 'v';
        assert_int_equal(do_put(w, r, key, value, REGISTRY_ANY, 0), ERR_OK);
    }
    for (int i = 0; i < N; i++) {
        (void)snprintf(key, sizeof(key), "/large/%02d", i);
        registry_get(r, key, got_reply, &g[i]);
    }
    for (int i = 0; i < N; i++) {
        world_until(w, g[i].answers > 0);
        assert_int_equal(g[i].code, ERR_OK);
        assert_int_equal(g[i].entries[0].value_len, REGISTRY_VALUE_MAX);
        assert_int_equal(strtol(g[i].entries[0].value, NULL, 10), i);
        got_free(&g[i]);
    }
    assert_int_equal(do_list(w, r, "/large", NULL, 1000, &page), ERR_OK);
    assert_true(page.n_entries > 0 && page.n_entries < N);
    assert_string_equal(page.next, page.entries[page.n_entries - 1].key);
    got_free(&page);
    mem_free(value);
}

/* One that remembers where the store stood. */
static struct registry *comparing(struct world *w, int64_t timeout_ms)
{
    struct registry *r = etcd_store_open(w->store, timeout_ms);

    registry_compare(r, "a test", NULL, false);
    w->clients[w->n_clients++] = r;
    world_until(w, registry_session(r) != 0);
    return r;
}

static void is_back(struct world *w, struct registry *r)
{
    world_until(w, registry_went_back(r) != NULL);
    assert_true(registry_session(r) == 0);
    assert_int_equal(do_get(w, r, "/k", NULL), ERR_WENT_BACK);
    assert_int_equal(do_put(w, r, "/k", "2", REGISTRY_ANY, 0), ERR_WENT_BACK);
    version_of(w, w->clients[0], "/k", "1");
}

static void a_store_that_goes_back_is_not_believed(void **state)
{
    struct world *w = *state;
    struct registry *plain = etcd_client(w, 20000);
    struct registry *r = comparing(w, 20000);
    uint64_t before = registry_session(plain);

    assert_int_equal(do_put(w, plain, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    etcd_of(r)->revision += 1000; /* another member told us more */
    assert_true(do_put(w, r, "/k", "1", REGISTRY_ANY, 0) != ERR_OK);
    is_back(w, r);
    /* Who does not compare begins again with what is there. */
    etcd_of(plain)->revision += 1000;
    assert_int_equal(do_get(w, plain, "/k", NULL), ERR_UNAVAILABLE);
    world_until(w, registry_session(plain) != 0 &&
                       registry_session(plain) != before);
    version_of(w, plain, "/k", "1");
}

static void all_endpoints_of_another_cluster_are_not_believed(void **state)
{
    struct world *w = *state;
    struct registry *plain = etcd_client(w, 20000);
    struct registry *r = comparing(w, 20000);

    assert_int_equal(do_put(w, plain, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    etcd_of(r)->cluster++;
    assert_true(do_put(w, r, "/k", "1", REGISTRY_ANY, 0) != ERR_OK);
    is_back(w, r);
}

/* Whatever the revision is now. The server is what it was; we know more. */
static void a_session_key_older_than_we_wrote_it_is_a_lost_tail(void **state)
{
    struct world *w = *state;
    struct registry *plain = etcd_client(w, 20000);
    struct registry *r = comparing(w, 20000);

    assert_int_equal(do_put(w, plain, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    etcd_of(r)->session.modified++;
    assert_int_equal(do_get(w, r, "/k", NULL), ERR_UNAVAILABLE);
    is_back(w, r);
}

static bool marked(struct world *w, struct registry *r,
                   struct history_record *h)
{
    struct got g = {0};

    assert_int_equal(do_get(w, r, HISTORY_KEY, &g), ERR_OK);
    assert_int_equal(registry_history_read(h, g.entries[0].value,
                                           g.entries[0].value_len, NULL),
                     0);
    got_free(&g);
    return h->went_back.is;
}

/* A second backup that was lifted by as much as was lost: it stands no lower,
 * and knows of no mark. */
static void a_store_without_its_mark_is_not_the_right_one(void **state)
{
    struct world *w = *state;
    struct registry *plain = etcd_client(w, 20000);
    struct registry *r = comparing(w, 20000);
    struct history_record h;
    struct buf text;

    registry_report_contradiction(r, NULL, "a client shows it");
    world_until(w, marked(w, plain, &h));
    world_pass(w, 2500); /* it has seen that it stands */
    h.went_back.is = false;
    buf_init(&text, REGISTRY_VALUE_MAX);
    registry_history_write(&text, &h);
    assert_int_equal(
        do_put(w, plain, HISTORY_KEY, buf_text(&text), REGISTRY_ANY, 0),
        ERR_OK);
    buf_close(&text);
    world_until(w, marked(w, plain, &h) || registry_session(r) != 0);
    assert_true(registry_session(r) == 0);
    assert_non_null(registry_went_back(r));
}

static void an_ephemeral_older_than_we_wrote_it_is_a_lost_tail(void **state)
{
    struct world *w = *state;
    struct registry *plain = etcd_client(w, 20000);
    struct registry *r = comparing(w, 20000), *s = comparing(w, 3000);

    assert_int_equal(do_put(w, plain, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put_ephemeral(w, r, "/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(do_put_ephemeral(w, s, "/f", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    /* One that somebody deletes is none. */
    etcd_store_delete(w->store, "/e");
    assert_int_equal(do_put_ephemeral(w, r, "/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    etcd_store_delete(w->store, "/f");
    world_until(w, etcd_of(s)->session.newest_at == 0);
    assert_int_equal(do_put_ephemeral(w, s, "/f", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_true(registry_went_back(r) == NULL && registry_went_back(s) == NULL);
    /* Seen when it is written again, and by the beat. */
    etcd_of(r)->session.newest_at++;
    assert_int_equal(do_put_ephemeral(w, r, "/e", "2", REGISTRY_ANY, 0),
                     ERR_SESSION_LOST);
    is_back(w, r);
}

static void the_beat_sees_an_older_ephemeral(void **state)
{
    struct world *w = *state;
    struct registry *plain = etcd_client(w, 20000);
    struct registry *s = comparing(w, 3000);

    assert_int_equal(do_put(w, plain, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put_ephemeral(w, s, "/f", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    etcd_of(s)->session.newest_at++;
    is_back(w, s);
}

/* By a person, say: that is a lost session. A write that the store does not
 * know of is more. */
static void a_session_that_is_gone_is_asked_for_in_the_past(void **state)
{
    struct world *w = *state;
    struct registry *plain = etcd_client(w, 20000);
    struct registry *r = comparing(w, 20000);
    uint64_t before = registry_session(r);

    assert_int_equal(do_put(w, plain, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    etcd_store_expire(w->store, r);
    assert_true(do_put(w, r, "/k", "1", REGISTRY_ANY, 0) != ERR_OK);
    world_until(w, registry_session(r) != 0 && registry_session(r) != before);
    assert_true(registry_went_back(r) == NULL);
    etcd_store_expire(w->store, r);
    etcd_of(r)->session.modified -= 1; /* when it did not stand there */
    assert_true(do_put(w, r, "/k", "1", REGISTRY_ANY, 0) != ERR_OK);
    is_back(w, r);
}

/* It stood there, but not as we wrote it then: others wrote since. */
static void one_that_was_older_in_the_past_is_a_lost_tail(void **state)
{
    struct world *w = *state;
    struct registry *plain = etcd_client(w, 20000);
    struct registry *r = comparing(w, 20000);

    etcd_of(r)->session.modified++; /* a change that it does not know */
    assert_int_equal(do_put(w, plain, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    etcd_store_expire(w->store, r);
    assert_true(do_put(w, r, "/k", "1", REGISTRY_ANY, 0) != ERR_OK);
    is_back(w, r);
}

static void one_that_is_gone_and_compacted_at_once_is_a_lost_tail(void **state)
{
    struct world *w = *state;
    struct registry *plain = etcd_client(w, 20000);
    struct registry *r = comparing(w, 20000);

    assert_int_equal(do_put(w, plain, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    etcd_store_expire(w->store, r);
    etcd_store_compact(w->store);
    assert_true(do_put(w, r, "/k", "1", REGISTRY_ANY, 0) != ERR_OK);
    is_back(w, r);
}

/* --- what is left -------------------------------------------------------- */

static size_t open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n;
}

static size_t leases(void)
{
    const struct json *reply =
        etcd_server_post(&servers, 0, "/v3/lease/leases", "{}");
    size_t n;

    assert_non_null(reply);
    n = (size_t)json_count(json_get(reply, "leases"));
    json_free(reply);
    return n;
}

static void nothing_is_left_behind(void **state)
{
    struct world *w = *state;
    size_t files = 0, before = leases();

    for (int round = 0; round < 4; round++) {
        struct world *inner = etcd_world(&servers);
        struct registry *a = etcd_client(inner, TIMEOUT_MS);
        struct registry *b = etcd_client(inner, TIMEOUT_MS);
        struct seen seen = {0};
        struct held mine, theirs;
        void *as_state = inner;

        seen_start(inner, a, &seen, "/");
        assert_int_equal(held_take(inner, a, &mine, "/lock/x", "a", -1), 0);
        held_ask(b, &theirs, "/lock/x", "b", -1);
        (void)proxy_reset(etcd_proxy(inner, a));
        world_round_trip(inner, b);
        seen_stop(&seen);
        (void)world_teardown(&as_state);
        if (round == 0)
            files = open_files();
    }
    assert_int_equal(open_files(), files);
    world_until(w, leases() <= before);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_stopped_server_is_suspended_and_lost_in_time),
        TEST(a_restarted_server_keeps_the_session),
        TEST(a_session_without_its_key_is_lost),
        TEST(closing_ends_although_nobody_answers),
        TEST(a_write_is_applied_at_most_once),
        TEST(a_kept_connection_that_died_is_no_conflict),
        TEST(a_key_made_again_has_another_kind),
        TEST(many_large_values_are_read_in_parts),
        TEST(a_store_that_goes_back_is_not_believed),
        TEST(all_endpoints_of_another_cluster_are_not_believed),
        TEST(a_session_key_older_than_we_wrote_it_is_a_lost_tail),
        TEST(a_store_without_its_mark_is_not_the_right_one),
        TEST(an_ephemeral_older_than_we_wrote_it_is_a_lost_tail),
        TEST(the_beat_sees_an_older_ephemeral),
        TEST(a_session_that_is_gone_is_asked_for_in_the_past),
        TEST(one_that_was_older_in_the_past_is_a_lost_tail),
        TEST(one_that_is_gone_and_compacted_at_once_is_a_lost_tail),
        TEST(nothing_is_left_behind),
    };
    int failed;

    etcd_servers_start(&servers, 1, false);
    failed = cmocka_run_group_tests_name("etcd faults", tests, NULL, NULL);
    etcd_servers_stop(&servers);
    return failed;
}
