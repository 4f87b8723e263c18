/*
 * test_zookeeper_load.c - many of everything: directories whose watches do not
 * fit into one packet, calls at the moment of closing, sessions one after the
 * other without a descriptor or a thread left behind.
 */
#include "tests/registry/zookeeper_store.h"

#include "base/clock.h"
#include "base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- closing ------------------------------------------------------------- */

static void on_flag(void *arg)
{
    *(bool *)arg = true;
}

static void closing_ends_in_time_without_the_server(void **state)
{
    enum { N = 600 }; /* more than go out at a time */
    struct world *w = *state;
    struct registry *r = world_open(w), *other = world_open(w);
    struct got *g = mem_array(N, sizeof(*g));
    size_t cancelled = 0;
    bool closed = false;
    int64_t begin;

    memset(g, 0, N * sizeof(*g));
    proxy_cut(zktest_proxy(w, r), PROXY_BOTH);
    for (size_t i = 0; i < N; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "/k/%zu", i);
        registry_put(r, key, "1", 1, REGISTRY_ABSENT, 0, false, got_reply,
                     &g[i]);
    }
    world_round_trip(w, other);
    begin = clock_mono_ms();
    w->clients[0] = other;
    w->n_clients = 1;
    registry_close(&r, on_flag, &closed);
    world_until(w, closed);
    assert_true(clock_mono_ms() - begin <= CONFORMANCE_TIMEOUT_MS * 5 / 4);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(g[i].answers, 1);
        assert_true(g[i].code == ERR_UNKNOWN || g[i].code == ERR_CANCELLED);
        cancelled += g[i].code == ERR_CANCELLED;
        got_free(&g[i]);
    }
    assert_true(cancelled > 0);
    assert_int_equal(do_exists(w, other, "/k/0"), ERR_NOT_FOUND);
    mem_free(g);
}

static size_t entries_in(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    (void)closedir(dir);
    return n;
}

/* Without a proxy, whose sockets would count. */
static struct registry *open_direct(struct world *w)
{
    struct conf_registry conf = zktest_conf(w);
    struct registry *r = NULL;
    char address[32];
    struct err err;

    (void)snprintf(address, sizeof(address), "127.0.0.1:%u",
                   zookeeper_server_port(zktest_server));
    conf.connect_string = address;
    assert_int_equal(registry_open(&r, zktest_loop(w), &conf, &err), 0);
    return r;
}

static void open_and_close(struct world *w, size_t n, bool connected)
{
    for (size_t i = 0; i < n; i++) {
        struct registry *r = open_direct(w);
        bool closed = false;

        world_until(w, !connected || registry_session(r) != 0);
        registry_close(&r, on_flag, &closed);
        world_until(w, closed);
    }
}

static void new_session(struct world *w, struct registry *r)
{
    uint64_t session = registry_session(r);

    w->backend->expire(w->store, r);
    world_until(w, registry_session(r) != session && registry_session(r) != 0);
}

static void no_descriptor_and_no_thread_is_left_behind(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    size_t fds, threads;

    new_session(w, r);
    open_and_close(w, 1, true);
    world_pass(w, 100);
    fds = entries_in("/proc/self/fd");
    threads = entries_in("/proc/self/task");
    open_and_close(w, 15, true);
    open_and_close(w, 5, false);
    for (size_t i = 0; i < 5; i++)
        new_session(w, r);
    world_until(w, entries_in("/proc/self/task") == threads);
    world_until(w, entries_in("/proc/self/fd") == fds);
}

/* --- many directories ---------------------------------------------------- */

#define DIRS      12000
#define DIR_FMT   "/many/directory-with-a-long-name-%063zu"
#define BATCH     250
#define PATH_SIZE 160

/* Two nodes a directory, `BATCH` directories a packet. */
static void make_directories(struct world *w)
{
    zoo_op_t *ops = mem_array(2 * BATCH, sizeof(*ops));
    zoo_op_result_t *results = mem_array(2 * BATCH, sizeof(*results));
    char(*paths)[PATH_SIZE] = mem_array(2 * BATCH, sizeof(*paths));
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MAX_MS);
    raw_create_parents(&raw, zktest_path(w, "/many"));
    for (size_t i = 0; i < DIRS; i += BATCH) {
        for (size_t k = 0; k < BATCH; k++) {
            char *dir = paths[2 * k], *child = paths[2 * k + 1], key[128];

            (void)snprintf(key, sizeof(key), DIR_FMT, i + k);
            (void)snprintf(dir, PATH_SIZE, "%s", zktest_path(w, key));
            assert_true(strlen(dir) * DIRS > 0xfffff); /* jute.maxbuffer */
            (void)snprintf(key, sizeof(key), DIR_FMT "/k", i + k);
            (void)snprintf(child, PATH_SIZE, "%s", zktest_path(w, key));
            zkmt.zoo_create_op_init(&ops[2 * k], dir, NULL, -1,
                                    zkmt.ZOO_OPEN_ACL_UNSAFE,
                                    *zkmt.ZOO_PERSISTENT, NULL, 0);
            zkmt.zoo_create_op_init(&ops[2 * k + 1], child, "0", 1,
                                    zkmt.ZOO_OPEN_ACL_UNSAFE,
                                    *zkmt.ZOO_PERSISTENT, NULL, 0);
        }
        assert_int_equal(zkmt.zoo_multi(raw.zh, 2 * BATCH, ops, results), ZOK);
    }
    raw_close(&raw);
    mem_free(paths);
    mem_free(results);
    mem_free(ops);
}

struct counts {
    size_t added, updated, removed, synced;
};

static void on_counted(void *arg, const struct registry_event *event)
{
    struct counts *c = arg;

    c->added += event->type == REGISTRY_ADD;
    c->updated += event->type == REGISTRY_UPDATE;
    c->removed += event->type == REGISTRY_REMOVE;
    c->synced += event->type == REGISTRY_SYNCED;
}

/* Everything is looked at in turn, 1,000 nodes a second. */
#define ALL_LOOKED_AT_MS (3 * 2 * DIRS)

#define until_told(w, cond)                                                    \
    do {                                                                       \
        int64_t until_ = clock_mono_ms() + ALL_LOOKED_AT_MS;                   \
        while (!(cond)) {                                                      \
            if (clock_mono_ms() >= until_)                                     \
                fail_msg("waited in vain for: %s", #cond);                     \
            (w)->backend->turn((w)->store, 20);                                \
        }                                                                      \
    } while (0)

static void change_some(struct world *w, struct registry *r)
{
    char key[128];

    (void)snprintf(key, sizeof(key), DIR_FMT "/new", (size_t)0);
    assert_int_equal(do_put(w, r, key, "1", REGISTRY_ABSENT, 0), ERR_OK);
    (void)snprintf(key, sizeof(key), DIR_FMT "/k", (size_t)DIRS / 2);
    assert_int_equal(do_put(w, r, key, "1", REGISTRY_ANY, 0), ERR_OK);
    (void)snprintf(key, sizeof(key), DIR_FMT "/k", (size_t)DIRS - 1);
    assert_int_equal(do_delete(w, r, key, version_of(w, r, key, "0")), ERR_OK);
    assert_int_equal(do_put(w, r, "/many/dir/new", "1", REGISTRY_ABSENT, 0),
                     ERR_OK);
}

/*
 * The C client restores all its watches in one packet. Above the server's
 * 1 MB it would be thrown out and connect again, for ever.
 */
static void a_client_with_many_directories_reconnects(void **state)
{
    struct world *w = *state;
    struct registry *r, *other;
    struct proxy *proxy;
    uint64_t session, accepted;
    struct counts c = {0};
    struct registry_watch *watch;
    struct story story;

    make_directories(w);
    r = world_open(w);
    other = world_open(w);
    proxy = zktest_proxy(w, r);
    watch = registry_watch(r, "/many", on_counted, &c);
    until_told(w, c.synced > 0);
    assert_int_equal(c.added, DIRS);
    session = registry_session(r);
    story_begin(w, r, &story);
    for (int i = 0; i < 3; i++) {
        assert_true(proxy_reset(proxy) > 0);
        world_until(w, do_exists(w, r, "/many") == ERR_OK);
    }
    accepted = proxy_accepted(proxy);
    world_pass(w, ZOOKEEPER_TIMEOUT_MS);
    assert_true(proxy_accepted(proxy) <= accepted + 1);
    assert_int_equal(proxy_open_links(proxy), 1);
    assert_true(registry_session(r) == session);
    assert_int_equal(story_count(&story, REGISTRY_DISCONNECTED), 0);

    change_some(w, other);
    until_told(w, c.added == DIRS + 2 && c.updated == 1 && c.removed == 1);
    w->backend->expire(w->store, r);
    world_until(w, story_count(&story, REGISTRY_DISCONNECTED) == 1);
    until_told(w, c.synced == 2);
    assert_true(registry_session(r) != session);
    assert_int_equal(c.added, DIRS + 2);
    assert_int_equal(c.updated + c.removed, 2);
    story_end(&story);
    registry_unwatch(&watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ZKTEST(closing_ends_in_time_without_the_server),
        ZKTEST(no_descriptor_and_no_thread_is_left_behind),
        ZKTEST(a_client_with_many_directories_reconnects),
    };
    int failed;

    if (zktest_begin() != 0)
        return 1;
    failed = cmocka_run_group_tests_name("zookeeper_load", tests, NULL, NULL);
    zktest_end();
    return failed;
}
