/*
 * test_zookeeper_tree.c - what stands in ZooKeeper's tree: our nodes as other
 * programs see them, other programs' nodes as we see them, and the packets
 * that hold them. Looked at by a plain client of the library.
 */
#include "tests/registry/zookeeper_store.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct registry_op put(const char *key, const char *value, size_t len)
{
    return (struct registry_op){.type = REGISTRY_PUT,
                                .expect = REGISTRY_ABSENT,
                                .key = key,
                                .value = value,
                                .value_len = len};
}

static struct registry *
open_connected(struct world *w, struct conf_registry *conf, const char *hosts)
{
    struct registry *r = zktest_open(w, conf, hosts);

    world_until(w, registry_session(r) != 0);
    return r;
}

/* --- numbers ------------------------------------------------------------- */

static void expect_as_in_stat(struct world *w, struct registry *r,
                              const char *key, uint64_t owner)
{
    struct got g = {0};
    struct Stat stat;
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    assert_true(raw_stat(&raw, zktest_path(w, key), &stat));
    raw_close(&raw);
    assert_int_equal(do_get(w, r, key, &g), ERR_OK);
    assert_int_equal(g.entries[0].created, stat.czxid);
    assert_int_equal(g.entries[0].owner, owner);
    assert_int_equal(stat.ephemeralOwner, owner);
    assert_true(g.revision <= (uint64_t)stat.mzxid || g.revision == 0 ||
                registry_revision(r) >= g.revision);
    assert_true(registry_revision(r) >= (uint64_t)stat.mzxid);
    got_free(&g);
}

static void created_is_the_czxid_and_owner_the_session(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);

    assert_int_equal(do_put(w, r, "/p", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/p", "2", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put_ephemeral(w, r, "/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    expect_as_in_stat(w, r, "/p", 0);
    expect_as_in_stat(w, r, "/e", registry_session(r));
}

static void the_negotiated_timeout_is_in_force(void **state)
{
    struct world *w = *state;
    struct conf_registry conf = zktest_conf(w);
    struct registry *r;

    conf.session_timeout_ms = 10 * ZOOKEEPER_TIMEOUT_MAX_MS;
    r = open_connected(w, &conf, NULL);
    assert_int_equal(registry_session_timeout(r), ZOOKEEPER_TIMEOUT_MAX_MS);
}

/* --- other programs' nodes ----------------------------------------------- */

static void
empty_persistent_nodes_are_directories_and_ephemeral_ones_keys(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got g = {0};
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(&raw, zktest_path(w, "/x"));
    raw_create(&raw, zktest_path(w, "/x/null"), NULL, *zkmt.ZOO_PERSISTENT,
               NULL);
    raw_create(&raw, zktest_path(w, "/x/empty"), "", *zkmt.ZOO_PERSISTENT,
               NULL);
    raw_create(&raw, zktest_path(w, "/x/e-null"), NULL, *zkmt.ZOO_EPHEMERAL,
               NULL);
    raw_create(&raw, zktest_path(w, "/x/e-empty"), "", *zkmt.ZOO_EPHEMERAL,
               NULL);
    raw_create(&raw, zktest_path(w, "/x/e-full"), "1", *zkmt.ZOO_EPHEMERAL,
               NULL);
    assert_int_equal(do_get(w, r, "/x/null", NULL), ERR_NOT_FOUND);
    assert_int_equal(do_get(w, r, "/x/empty", NULL), ERR_NOT_FOUND);
    assert_int_equal(do_exists(w, r, "/x/null"), ERR_OK);
    version_of(w, r, "/x/e-null", "");
    version_of(w, r, "/x/e-empty", "");
    assert_int_equal(do_list(w, r, "/", NULL, 100, &g), ERR_OK);
    assert_int_equal(g.n_entries, 3);
    assert_string_equal(g.entries[0].key, "/x/e-empty");
    assert_string_equal(g.entries[1].key, "/x/e-full");
    assert_string_equal(g.entries[2].key, "/x/e-null");
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(g.entries[i].owner, raw_session(&raw));
    assert_int_equal(do_children(w, r, "/x", &g), ERR_OK);
    assert_int_equal(g.n_entries, 5);
    raw_close(&raw);
    got_free(&g);
}

/* Curator makes parents so. */
static void a_container_is_a_directory_and_with_a_value_a_key(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct seen seen = {0};
    struct got g = {0};
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(&raw, zktest_path(w, "/c"));
    raw_create(&raw, zktest_path(w, "/c/dir"), NULL, *zkmt.ZOO_CONTAINER, NULL);
    raw_create(&raw, zktest_path(w, "/c/dir/k"), "1", *zkmt.ZOO_PERSISTENT,
               NULL);
    raw_create(&raw, zktest_path(w, "/c/key"), "1", *zkmt.ZOO_CONTAINER, NULL);
    assert_int_equal(do_get(w, r, "/c/dir", NULL), ERR_NOT_FOUND);
    seen_start(w, r, &seen, "/c");
    assert_int_equal(seen.n, 3);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(seen.events[i].type, REGISTRY_ADD);
        assert_int_equal(seen.events[i].owner, 0);
    }
    assert_int_equal(do_get(w, r, "/c/key", &g), ERR_OK);
    assert_int_equal(g.entries[0].owner, 0);
    assert_int_equal(
        do_put(w, r, "/c/key", "2", REGISTRY_VERSION, g.entries[0].version),
        ERR_OK);
    assert_int_equal(do_put(w, r, "/c/dir/l", "1", REGISTRY_ABSENT, 0), ERR_OK);
    seen_stop(&seen);
    raw_close(&raw);
    got_free(&g);
}

/* Longer keys and larger values than we allow ourselves. */
static void nodes_beyond_our_limits_do_not_hide_the_others(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char *value = mem_zalloc(REGISTRY_VALUE_MAX + 2);
    char name[300] = "/x/";
    struct seen seen = {0};
    struct got g = {0};
    bool listed = false, told = false;
    struct raw raw;

    memset(value, 'v', REGISTRY_VALUE_MAX + 1);
    memset(name + 3, 'n', sizeof(name) - 4);
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(&raw, zktest_path(w, "/x"));
    raw_create(&raw, zktest_path(w, name), "1", *zkmt.ZOO_PERSISTENT, NULL);
    raw_create(&raw, zktest_path(w, "/x/large"), value, *zkmt.ZOO_PERSISTENT,
               NULL);
    raw_create(&raw, zktest_path(w, "/x/z"), "1", *zkmt.ZOO_PERSISTENT, NULL);
    raw_close(&raw);
    assert_int_equal(do_list(w, r, "/x", NULL, 100, &g), ERR_OK);
    for (size_t i = 0; i < g.n_entries; i++)
        listed |= strcmp(g.entries[i].key, "/x/z") == 0;
    assert_true(listed);
    seen_start(w, r, &seen, "/x");
    for (size_t i = 0; i < seen.n; i++) {
        told |= seen.events[i].key != NULL &&
                strcmp(seen.events[i].key, "/x/z") == 0;
    }
    assert_true(told);
    seen_stop(&seen);
    got_free(&g);
    mem_free(value);
}

/* --- permissions --------------------------------------------------------- */

#define DIGEST "pelorus:it's a secret"

struct acls {
    struct raw *raw;
    size_t n;
};

static void expect_ours_alone(void *arg, const char *path)
{
    struct acls *acls = arg;
    struct ACL_vector acl;
    struct Stat stat;

    assert_int_equal(zkmt.zoo_get_acl(acls->raw->zh, path, &acl, &stat), ZOK);
    assert_int_equal(acl.count, 1);
    assert_int_equal(acl.data[0].perms, *zkmt.ZOO_PERM_ALL);
    assert_string_equal(acl.data[0].id.scheme, "digest");
    assert_int_equal(strncmp(acl.data[0].id.id, "pelorus:", 8), 0);
    (void)zkmt.deallocate_ACL_vector(&acl);
    acls->n++;
}

static void with_a_digest_all_nodes_are_ours_alone(void **state)
{
    struct world *w = *state;
    struct conf_registry conf = zktest_conf(w);
    struct registry *r;
    struct acls acls = {0};
    struct held h;
    struct raw raw;

    conf.digest = (char *)(uintptr_t)DIGEST;
    r = open_connected(w, &conf, NULL);
    assert_int_equal(do_put(w, r, "/a/b", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_put_ephemeral(w, r, "/e", "1", REGISTRY_ABSENT, 0),
                     ERR_OK);
    assert_int_equal(held_take(w, r, &h, "/lock/x", "me", -1), ERR_OK);
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_auth(&raw, DIGEST);
    acls.raw = &raw;
    raw_walk(&raw, zktest_path(w, "/"), expect_ours_alone, &acls);
    assert_int_equal(acls.n,
                     7); /* namespace a a/b e lock lock/x and its node */
    raw_close(&raw);
    held_release(&h);
}

static void expect_denied(struct world *w, struct registry *r)
{
    struct got g = {0};
    struct held h;

    assert_int_equal(do_get(w, r, "/a/b", &g), ERR_DENIED);
    assert_non_null(strstr(g.msg, "digest")); /* what to do about it */
    assert_null(strstr(g.msg, "secret"));
    assert_int_equal(do_list(w, r, "/", NULL, 10, NULL), ERR_DENIED);
    assert_int_equal(do_children(w, r, "/a", NULL), ERR_DENIED);
    assert_int_equal(do_put(w, r, "/a/b", "2", REGISTRY_ANY, 0), ERR_DENIED);
    assert_int_equal(do_put(w, r, "/a/c", "2", REGISTRY_ABSENT, 0), ERR_DENIED);
    assert_int_equal(do_put(w, r, "/n/c", "2", REGISTRY_ABSENT, 0), ERR_DENIED);
    assert_int_equal(held_take(w, r, &h, "/lock/x", "me", -1), ERR_DENIED);
    held_release(&h);
    got_free(&g);
}

static void without_the_digest_a_client_is_denied_and_told_why(void **state)
{
    struct world *w = *state;
    struct conf_registry conf = zktest_conf(w);
    struct registry *ours, *none, *other;

    conf.digest = (char *)(uintptr_t)DIGEST;
    ours = open_connected(w, &conf, NULL);
    conf.digest = NULL;
    none = open_connected(w, &conf, NULL);
    conf.digest = (char *)(uintptr_t) "pelorus:another";
    other = open_connected(w, &conf, NULL);
    assert_int_equal(do_put(w, ours, "/a/b", "1", REGISTRY_ABSENT, 0), ERR_OK);
    expect_denied(w, none);
    expect_denied(w, other);
    version_of(w, ours, "/a/b", "1");
}

static void a_digest_holds_after_a_reset_and_in_a_new_session(void **state)
{
    struct world *w = *state;
    struct conf_registry conf = zktest_conf(w);
    struct registry *r;
    uint64_t session;

    conf.digest = (char *)(uintptr_t)DIGEST;
    r = open_connected(w, &conf, NULL);
    session = registry_session(r);
    assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_true(proxy_reset(zktest_proxy(w, r)) > 0);
    world_until(w, do_get(w, r, "/k", NULL) == ERR_OK);
    assert_true(registry_session(r) == session);
    w->backend->expire(w->store, r);
    world_until(w, registry_session(r) != session && registry_session(r) != 0);
    version_of(w, r, "/k", "1");
}

/* --- where it stands ----------------------------------------------------- */

static void a_chroot_that_does_not_exist_is_made(void **state)
{
    struct world *w = *state;
    struct conf_registry conf = zktest_conf(w);
    struct String_vector names;
    char chroot[128], path[256];
    struct registry *a, *b;
    struct seen seen = {0};
    struct held h;
    struct raw raw;
    char *hosts;

    (void)snprintf(chroot, sizeof(chroot), "/chroot-%s/deep",
                   zktest_namespace(w));
    hosts = mem_printf("127.0.0.1:%%u%s", chroot);
    a = open_connected(w, &conf, hosts);
    b = open_connected(w, &conf, hosts);
    mem_free(hosts);
    seen_start(w, b, &seen, "/");
    assert_int_equal(do_put(w, a, "/k/l", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(held_take(w, b, &h, "/lock/x", "me", -1), ERR_OK);
    seen_expect(w, &seen, 1, REGISTRY_ADD, "/k/l", "1");
    held_release(&h);
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    (void)snprintf(path, sizeof(path), "%s/%s/k/l", chroot,
                   zktest_namespace(w));
    assert_true(raw_stat(&raw, path, NULL));
    raw_children(&raw, chroot, &names);
    assert_int_equal(names.count, 1);
    assert_string_equal(names.data[0], zktest_namespace(w));
    (void)zkmt.deallocate_String_vector(&names);
    *strrchr(chroot, '/') = '\0';
    raw_children(&raw, chroot, &names);
    assert_int_equal(names.count, 1);
    (void)zkmt.deallocate_String_vector(&names);
    assert_false(raw_stat(&raw, zktest_path(w, "/"), NULL));
    raw_close(&raw);
    seen_stop(&seen);
}

static void one_of_two_servers_may_be_dead(void **state)
{
    struct world *w = *state;
    struct conf_registry conf = zktest_conf(w);
    struct registry *r[2];

    r[0] = open_connected(w, &conf, "127.0.0.1:1,127.0.0.1:%u");
    r[1] = open_connected(w, &conf, "127.0.0.1:%u,127.0.0.1:1");
    for (size_t i = 0; i < 2; i++) {
        uint64_t session = registry_session(r[i]);

        assert_int_equal(do_put(w, r[i], "/k", "1", REGISTRY_ANY, 0), ERR_OK);
        for (int n = 0; n < 3; n++) {
            assert_true(proxy_reset(zktest_proxy(w, r[i])) > 0);
            world_until(w, do_get(w, r[i], "/k", NULL) == ERR_OK);
        }
        assert_true(registry_session(r[i]) == session);
    }
}

/* --- packets ------------------------------------------------------------- */

/* `n` puts whose keys and values have `bytes` bytes together, in a namespace
 * and below directories that are missing. */
static void expect_to_pass(struct world *w, struct registry *r, size_t n,
                           size_t bytes, size_t round)
{
    struct registry_op *ops = mem_array(n, sizeof(*ops));
    char(*keys)[REGISTRY_KEY_MAX + 1] = mem_array(n, sizeof(*keys));
    char *value = mem_alloc(REGISTRY_VALUE_MAX);
    struct got g = {0};

    memset(value, 'v', REGISTRY_VALUE_MAX);
    for (size_t i = 0; i < n; i++) {
        size_t share = bytes / (n - i), len;

        len = (size_t)snprintf(keys[i], sizeof(keys[i]), "/t%zu/%0*zu", round,
                               n > 10 ? 200 : 10, i);
        assert_true(share > len && share - len <= REGISTRY_VALUE_MAX);
        ops[i] = put(keys[i], value, share - len);
        bytes -= share;
    }
    assert_int_equal(bytes, 0);
    if (do_txn(w, r, ops, n, &g) != ERR_OK)
        fail_msg("%zu operations: %s", n, g.msg);
    assert_int_equal(do_get(w, r, keys[n - 1], &g), ERR_OK);
    assert_int_equal(g.entries[0].value_len, ops[n - 1].value_len);
    got_free(&g);
    mem_free(value);
    mem_free(keys);
    mem_free(ops);
}

static void txns_at_their_limits_pass_the_servers_buffer(void **state)
{
    struct world *w = *state;
    struct conf_registry conf = zktest_conf(w);
    struct registry *r;
    char namespace[160];

    (void)snprintf(namespace, sizeof(namespace), "%s-%0120d",
                   zktest_namespace(w), 0);
    conf.namespace_ = namespace;
    conf.digest = (char *)(uintptr_t)DIGEST; /* longer permissions */
    r = open_connected(w, &conf, NULL);
    expect_to_pass(w, r, registry_max_ops(r), registry_max_bytes(r), 1);
    expect_to_pass(w, r, registry_max_bytes(r) / REGISTRY_VALUE_MAX + 1,
                   registry_max_bytes(r), 2);
    expect_to_pass(w, r, 10, registry_max_bytes(r), 3);
}

static void the_largest_values_are_listed_and_told(void **state)
{
    enum { N = 5 };
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    char *value = mem_zalloc(REGISTRY_VALUE_MAX + 1);
    struct seen seen = {0};
    struct got g = {0};

    seen_start(w, b, &seen, "/big");
    for (size_t i = 0; i < N; i++) {
        char key[] = {'/', 'b', 'i', 'g', '/', (char)('a' + i), '\0'};

        memset(value, 'a' + (int)i, REGISTRY_VALUE_MAX);
        assert_int_equal(do_put(w, a, key, value, REGISTRY_ABSENT, 0), ERR_OK);
    }
    assert_int_equal(do_list(w, b, "/big", NULL, 100, &g), ERR_OK);
    assert_int_equal(g.n_entries, N);
    world_until(w, seen.n == 1 + N);
    for (size_t i = 0; i < N; i++) {
        memset(value, 'a' + (int)i, REGISTRY_VALUE_MAX);
        assert_string_equal(g.entries[i].value, value);
        value[0] = seen.events[1 + i].value[0];
        memset(value, value[0], REGISTRY_VALUE_MAX);
        assert_string_equal(seen.events[1 + i].value, value);
    }
    seen_stop(&seen);
    got_free(&g);
    mem_free(value);
}

struct tally {
    size_t answers, ok, busy;
};

static void on_tallied(void *arg, const struct registry_reply *reply)
{
    struct tally *t = arg;

    t->answers++;
    t->ok += reply->err.code == ERR_OK;
    t->busy += reply->err.code == ERR_UNAVAILABLE &&
               strstr(reply->err.msg, "busy") != NULL;
}

static void a_full_queue_is_busy_and_certainly_not_applied(void **state)
{
    enum { N = 10000 };
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct tally t = {0};
    struct got g = {0};

    for (size_t i = 0; i < N; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "/many/%05zu", i);
        registry_put(r, key, "value", 5, REGISTRY_ABSENT, 0, false, on_tallied,
                     &t);
    }
    assert_int_equal(t.answers, 0);
    world_until(w, t.answers == N);
    assert_true(t.busy > 0);
    assert_int_equal(t.ok + t.busy, N);
    assert_int_equal(do_children(w, r, "/many", &g), ERR_OK);
    assert_int_equal(g.n_entries, t.ok);
    got_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ZKTEST(created_is_the_czxid_and_owner_the_session),
        ZKTEST(the_negotiated_timeout_is_in_force),
        ZKTEST(empty_persistent_nodes_are_directories_and_ephemeral_ones_keys),
        ZKTEST(a_container_is_a_directory_and_with_a_value_a_key),
        ZKTEST(nodes_beyond_our_limits_do_not_hide_the_others),
        ZKTEST(with_a_digest_all_nodes_are_ours_alone),
        ZKTEST(without_the_digest_a_client_is_denied_and_told_why),
        ZKTEST(a_digest_holds_after_a_reset_and_in_a_new_session),
        ZKTEST(a_chroot_that_does_not_exist_is_made),
        ZKTEST(one_of_two_servers_may_be_dead),
        ZKTEST(txns_at_their_limits_pass_the_servers_buffer),
        ZKTEST(the_largest_values_are_listed_and_told),
        ZKTEST(a_full_queue_is_busy_and_certainly_not_applied),
        cmocka_unit_test(zktest_nothing_stands_outside_the_namespaces),
    };
    int failed;

    if (zktest_begin() != 0)
        return 1;
    failed = cmocka_run_group_tests_name("zookeeper_tree", tests, NULL, NULL);
    zktest_end();
    return failed;
}
