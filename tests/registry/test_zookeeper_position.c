/*
 * test_zookeeper_position.c - what our processes count on ZooKeeper, and what
 * they do when it falls. That it does so when servers are put back to an older
 * copy is tests/integration/test_restore_zookeeper.py; here the node is put
 * back by hand.
 */
#include "tests/registry/zookeeper_store.h"

#include "base/clock.h"
#include "registry/history.h"

#include <stdio.h>
#include <string.h>

#define NODE "/pelorus/position"

/* As a coordinator, which watches, or as an agent. */
static struct registry *open_comparing(struct world *w, const char *who,
                                       bool watch)
{
    struct conf_registry conf = zktest_conf(w);
    struct registry *r = zktest_open(w, &conf, NULL);

    registry_compare(r, who, NULL, watch);
    world_until(w, registry_session(r) != 0);
    return r;
}

static int32_t version(struct world *w, struct raw *raw)
{
    struct Stat stat;

    assert_true(raw_stat(raw, zktest_path(w, NODE), &stat));
    return stat.version;
}

static void remove_node(void *arg, const char *path)
{
    char(*paths)[RAW_PATH] = arg;
    size_t i = 0;

    while (paths[i][0] != '\0')
        i++;
    assert_true(i < 7);
    (void)snprintf(paths[i], RAW_PATH, "%s", path);
}

/* As a copy from before any of us came. */
static void remove_all(struct world *w, struct raw *raw)
{
    static char paths[8][RAW_PATH];

    memset(paths, 0, sizeof(paths));
    raw_walk(raw, zktest_path(w, NODE), remove_node, paths);
    for (size_t i = 8; i-- > 0;)
        if (paths[i][0] != '\0')
            raw_delete(raw, paths[i]);
}

/* As a copy in which it stood lower. */
static void put_back(struct world *w, struct raw *raw)
{
    remove_all(w, raw);
    raw_create(raw, zktest_path(w, NODE), NULL, *zkmt.ZOO_PERSISTENT, NULL);
}

static void expect_back(struct world *w, struct registry *r)
{
    world_until(w, registry_went_back(r) != NULL);
    assert_int_equal(registry_session(r), 0);
    assert_int_equal(registry_state(r), REGISTRY_WENT_BACK);
    assert_int_equal(do_put(w, r, "/late", "1", REGISTRY_ANY, 0),
                     ERR_WENT_BACK);
    assert_int_equal(do_get(w, r, "/early", NULL), ERR_WENT_BACK);
}

/* --- counting ------------------------------------------------------------ */

static void every_sign_of_life_of_who_watches_counts(void **state)
{
    struct world *w = *state;
    struct registry *r = open_comparing(w, "a", true);
    struct raw raw;
    uint64_t before;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    for (int i = 0; i < 3; i++) {
        before = registry_place(r)->position;
        world_until(w, registry_place(r)->position > before);
        assert_true((uint64_t)version(w, &raw) >= registry_place(r)->position);
    }
    assert_true(registry_place(r)->incarnation[0] != '\0');
    raw_close(&raw);
}

/* A busy one gives no other sign: its writes count, and all are applied. */
static void writes_count_once_a_second(void **state)
{
    struct world *w = *state;
    struct registry *r = open_comparing(w, "a", true);
    uint64_t before = registry_place(r)->position;
    int64_t began = clock_mono_ms();
    char key[32];

    for (int i = 0; clock_mono_ms() - began < 2500; i++) {
        (void)snprintf(key, sizeof(key), "/k/%d", i % 50);
        assert_int_equal(do_put(w, r, key, "1", REGISTRY_ANY, 0), ERR_OK);
        assert_int_equal(do_put(w, r, key, "2", REGISTRY_ABSENT, 0),
                         ERR_CONFLICT);
    }
    assert_true(registry_place(r)->position >= before + 2);
    assert_true(registry_place(r)->position <=
                before + 2 + (uint64_t)(clock_mono_ms() - began) / 300);
}

static void who_does_not_watch_counts_by_itself(void **state)
{
    struct world *w = *state;
    struct registry *r = open_comparing(w, "agent", false);
    struct String_vector names;
    struct Stat stat;
    struct raw raw;
    char path[RAW_PATH];
    int32_t shared, own;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_children(&raw, zktest_path(w, NODE), &names);
    assert_int_equal(names.count, 1);
    (void)snprintf(path, sizeof(path), "%s/%s", zktest_path(w, NODE),
                   names.data[0]);
    (void)zkmt.deallocate_String_vector(&names);
    shared = version(w, &raw);
    assert_true(raw_stat(&raw, path, &stat));
    own = stat.version;
    world_pass(w, 2 * ZOOKEEPER_TIMEOUT_MS);
    assert_int_equal(version(w, &raw), shared);
    assert_true(raw_stat(&raw, path, &stat));
    assert_true(stat.version > own);
    assert_true(registry_place(r)->position == (uint64_t)shared);
    raw_close(&raw);
}

static void nobody_sees_it_as_a_key(void **state)
{
    struct world *w = *state;
    struct registry *r = open_comparing(w, "a", true);
    struct registry *agent = open_comparing(w, "agent", false);
    struct seen seen = {0};
    struct got got = {0};

    (void)agent;
    seen_start(w, r, &seen, "/");
    assert_int_equal(do_list(w, r, "/", NULL, 100, &got), ERR_OK);
    assert_int_equal(got.n_entries, 1);
    assert_string_equal(got.entries[0].key, HISTORY_KEY);
    assert_int_equal(seen.n, 2);
    world_pass(w, ZOOKEEPER_TIMEOUT_MS);
    assert_int_equal(seen.n, 2);
    seen_stop(&seen);
    got_free(&got);
}

static void who_does_not_compare_leaves_nothing(void **state)
{
    struct world *w = *state;
    struct registry *r = zktest_open_timeout(w, ZOOKEEPER_TIMEOUT_MS);
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    world_pass(w, ZOOKEEPER_TIMEOUT_MS);
    assert_false(raw_stat(&raw, zktest_path(w, "/pelorus"), NULL));
    raw_close(&raw);
}

static void set_acl(struct world *w, struct raw *raw, struct ACL_vector *acl)
{
    assert_int_equal(zkmt.zoo_set_acl(raw->zh, zktest_path(w, NODE), -1, acl),
                     ZOK);
}

/* From the beginning, and in the middle of a session. */
static void a_node_that_is_denied_to_us_stops_nothing(void **state)
{
    struct world *w = *state;
    struct registry *r = open_comparing(w, "a", true), *late;
    int64_t began;
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    set_acl(w, &raw, zkmt.ZOO_READ_ACL_UNSAFE);
    began = clock_mono_ms();
    do {
        assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    } while (clock_mono_ms() - began < 1500);
    late = open_comparing(w, "b", true);
    assert_int_equal(do_put(w, late, "/k", "2", REGISTRY_ANY, 0), ERR_OK);
    assert_true(registry_place(late)->position == 0);
    assert_null(registry_went_back(r));
    assert_null(registry_went_back(late));
    raw_close(&raw);
}

/* --- and it falls -------------------------------------------------------- */

static void a_node_that_is_gone_is_noticed(void **state)
{
    static const bool watches[] = {true, false};

    for (size_t i = 0; i < 2; i++) {
        struct world *w = *state;
        struct registry *r = open_comparing(w, "a", watches[i]);
        struct raw raw;

        zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
        remove_all(w, &raw);
        expect_back(w, r);
        world_until(w, raw_stat(&raw, zktest_path(w, NODE), NULL));
        raw_delete(&raw, zktest_path(w, HISTORY_KEY));
        world_close(w, &r);
        raw_close(&raw);
    }
}

/* The mark is there for all: who begins later knows of it. */
static void a_node_that_fell_is_noticed_and_marked(void **state)
{
    struct world *w = *state;
    struct registry *r = open_comparing(w, "a", true), *late;
    struct conf_registry conf = zktest_conf(w);
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    put_back(w, &raw);
    expect_back(w, r);
    late = zktest_open(w, &conf, NULL);
    registry_compare(late, "b", NULL, true);
    expect_back(w, late);
    assert_string_equal(registry_went_back(late)->by, "a");
    raw_close(&raw);
}

/* It may have gone back while we were away: what waits is not sent. */
static void nothing_is_sent_before_it_is_known(void **state)
{
    struct world *w = *state;
    struct registry *r = open_comparing(w, "a", true);
    struct proxy *proxy = zktest_proxy(w, r);
    uint64_t session = registry_session(r);
    struct got got[20];
    struct raw raw;

    memset(got, 0, sizeof(got));
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    assert_int_equal(do_put(w, r, "/early", "1", REGISTRY_ANY, 0), ERR_OK);
    proxy_refuse(proxy, true);
    (void)proxy_reset(proxy);
    world_pass(w, 200);
    put_back(w, &raw);
    assert_true(registry_session(r) == session);
    for (size_t i = 0; i < 20; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "/waits/%zu", i);
        registry_put(r, key, "1", 1, REGISTRY_ABSENT, 0, false, got_reply,
                     &got[i]);
    }
    proxy_refuse(proxy, false);
    expect_back(w, r);
    for (size_t i = 0; i < 20; i++) {
        world_until(w, got[i].answers == 1);
        assert_true(got[i].code != ERR_OK && got[i].code != ERR_UNKNOWN);
        got_free(&got[i]);
    }
    assert_false(raw_stat(&raw, zktest_path(w, "/waits"), NULL));
    raw_close(&raw);
}

/* No connection that breaks, and no server that restarts, makes it fall. */
static void what_only_broke_did_not_fall(void **state)
{
    struct world *w = *state;
    struct registry *r[] = {open_comparing(w, "a", true),
                            open_comparing(w, "b", true),
                            open_comparing(w, "agent", false)};
    struct err err;

    for (int i = 0; i < 30; i++) {
        if (i % 10 == 9) {
            zookeeper_server_kill(zktest_server);
            assert_int_equal(zookeeper_server_restart(zktest_server, &err), 0);
        } else {
            (void)proxy_reset(zktest_proxy(w, r[i % 3]));
        }
        for (size_t k = 0; k < 3; k++) {
            world_until(w,
                        do_put(w, r[k], "/k", "1", REGISTRY_ANY, 0) == ERR_OK);
            assert_null(registry_went_back(r[k]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ZKTEST(every_sign_of_life_of_who_watches_counts),
        ZKTEST(writes_count_once_a_second),
        ZKTEST(who_does_not_watch_counts_by_itself),
        ZKTEST(nobody_sees_it_as_a_key),
        ZKTEST(who_does_not_compare_leaves_nothing),
        ZKTEST(a_node_that_is_denied_to_us_stops_nothing),
        ZKTEST(a_node_that_is_gone_is_noticed),
        ZKTEST(a_node_that_fell_is_noticed_and_marked),
        ZKTEST(nothing_is_sent_before_it_is_known),
        ZKTEST(what_only_broke_did_not_fall),
    };
    int failed;

    if (zktest_begin() != 0)
        return 1;
    failed =
        cmocka_run_group_tests_name("zookeeper_position", tests, NULL, NULL);
    zktest_end();
    return failed;
}
