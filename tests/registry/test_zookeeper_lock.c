/*
 * test_zookeeper_lock.c - our locks beside Curator's InterProcessMutex: the
 * layout that both write, and nodes of others in the same queue.
 */
#include "tests/registry/zookeeper_store.h"

#include "base/clock.h"
#include "base/mem.h"
#include "registry/zookeeper/zookeeper_priv.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define KEY    "/lock/master-failover"
#define LAST   "_c_ffffffff-ffff-4fff-8fff-ffffffffffff-lock-"
#define FIRST  "_c_00000000-0000-4000-8000-000000000000-lock-"
#define LAYOUT "_c_hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh-lock-dddddddddd"

static void expect_layout(const char *name)
{
    static const char layout[] = LAYOUT;

    assert_int_equal(strlen(name), strlen(layout));
    for (size_t i = 0; layout[i] != '\0'; i++) {
        if (layout[i] == 'h' && i < 39) {
            assert_true(isdigit((unsigned char)name[i]) ||
                        (name[i] >= 'a' && name[i] <= 'f'));
        } else if (layout[i] == 'd' && i > 39) {
            assert_true(isdigit((unsigned char)name[i]));
        } else {
            assert_int_equal(name[i], layout[i]);
        }
    }
}

/* The names in the queue; how many. */
static size_t queue_of(struct world *w, struct raw *raw,
                       char names[8][RAW_PATH])
{
    struct String_vector v;
    size_t n;

    raw_children(raw, zktest_path(w, KEY), &v);
    n = (size_t)v.count;
    assert_true(n <= 8);
    for (size_t i = 0; i < n; i++)
        (void)snprintf(names[i], RAW_PATH, "%s", v.data[i]);
    (void)zkmt.deallocate_String_vector(&v);
    return n;
}

static void wait_for_queue(struct world *w, struct raw *raw, size_t n)
{
    char names[8][RAW_PATH];

    world_until(w, queue_of(w, raw, names) == n);
}

static const char *node_path(struct world *w, const char *name)
{
    char key[RAW_PATH / 2];

    (void)snprintf(key, sizeof(key), KEY "/%.256s", name);
    return zktest_path(w, key);
}

static void join_queue(struct world *w, struct raw *raw, const char *prefix,
                       char made[RAW_PATH])
{
    raw_create(raw, node_path(w, prefix), "10.0.0.9",
               *zkmt.ZOO_EPHEMERAL_SEQUENTIAL, made);
}

/* --- ours, as others see it ---------------------------------------------- */

static void a_lock_stands_in_curators_layout(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    char names[8][RAW_PATH];
    struct held mine, theirs;
    struct Stat stat;
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    assert_int_equal(queue_of(w, &raw, names), 1);
    expect_layout(names[0]);
    assert_true(raw_stat(&raw, node_path(w, names[0]), &stat));
    assert_int_equal(stat.ephemeralOwner, registry_session(a));
    assert_int_equal(stat.czxid, mine.fence);

    held_ask(b, &theirs, KEY, "b", -1);
    wait_for_queue(w, &raw, 2);
    (void)queue_of(w, &raw, names);
    expect_layout(names[0]);
    expect_layout(names[1]);
    assert_memory_not_equal(names[0], names[1], strlen("_c_") + 36);
    held_release(&mine);
    world_until(w, theirs.answers > 0);
    assert_int_equal(queue_of(w, &raw, names), 1);
    held_release(&theirs);
    /* The parents are containers: they go when the last lock is gone. */
    world_until(w, !raw_stat(&raw, zktest_path(w, "/lock"), NULL));
    raw_close(&raw);
}

static void a_parent_of_another_kind_will_do(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct held h;
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(&raw, zktest_path(w, KEY)); /* persistent */
    assert_int_equal(held_take(w, r, &h, KEY, "a", -1), ERR_OK);
    held_release(&h);
    wait_for_queue(w, &raw, 0);
    raw_close(&raw);
}

/* The server removes the container of a lock that nobody wants any more. */
static void a_parent_that_was_removed_is_made_again(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t last = 0;
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    for (int i = 0; i < 3; i++) {
        struct held h;

        assert_int_equal(held_take(w, r, &h, KEY, "a", -1), ERR_OK);
        assert_true(h.fence > last); /* though the sequence begins again */
        last = h.fence;
        held_release(&h);
        world_until(w, !raw_stat(&raw, zktest_path(w, KEY), NULL));
    }
    raw_close(&raw);
}

/* --- others in the queue ------------------------------------------------- */

static void a_foreign_node_before_ours_keeps_us_waiting(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char before[RAW_PATH], after[RAW_PATH], names[8][RAW_PATH];
    struct held h, try;
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(&raw, zktest_path(w, KEY));
    join_queue(w, &raw, LAST, before); /* by its name the last one */
    assert_int_equal(held_take(w, r, &try, KEY, "try", 0), ERR_TIMEOUT);
    held_release(&try);
    wait_for_queue(w, &raw, 1); /* who gives up leaves nothing */
    held_ask(r, &h, KEY, "a", -1);
    wait_for_queue(w, &raw, 2);
    join_queue(w, &raw, FIRST, after); /* and by its name the first one */
    world_pass(w, 300);
    assert_int_equal(h.answers, 0);
    raw_delete(&raw, before);
    world_until(w, h.answers > 0);
    assert_int_equal(h.code, ERR_OK);
    assert_int_equal(queue_of(w, &raw, names), 2);
    held_release(&h);
    wait_for_queue(w, &raw, 1); /* the foreign one is not ours to remove */
    raw_delete(&raw, after);
    raw_close(&raw);
}

static void a_foreign_node_goes_with_its_session(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char made[RAW_PATH];
    struct raw holder, raw;
    struct held h;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    zktest_raw(&holder, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(&raw, zktest_path(w, KEY));
    join_queue(w, &holder, FIRST, made);
    held_ask(r, &h, KEY, "a", -1);
    wait_for_queue(w, &raw, 2);
    assert_int_equal(h.answers, 0);
    raw_close(&holder);
    world_until(w, h.answers > 0);
    assert_int_equal(h.code, ERR_OK);
    held_release(&h);
    raw_close(&raw);
}

/* A waiter is not woken by every departure, and never served out of turn. */
static void one_that_leaves_the_middle_of_the_queue_grants_nothing(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char first[RAW_PATH], second[RAW_PATH];
    struct held h;
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(&raw, zktest_path(w, KEY));
    join_queue(w, &raw, FIRST, first);
    join_queue(w, &raw, LAST, second);
    held_ask(r, &h, KEY, "a", -1);
    wait_for_queue(w, &raw, 3);
    raw_delete(&raw, second);
    world_pass(w, 300);
    assert_int_equal(h.answers, 0);
    raw_delete(&raw, first);
    world_until(w, h.answers > 0);
    assert_int_equal(h.code, ERR_OK);
    held_release(&h);
    raw_close(&raw);
}

/* A foreign client that will have crashed: behind a proxy, so that no call of
 * its library may wait. */
struct victim {
    struct proxy *proxy;
    zhandle_t *zh;
    atomic_bool connected, created;
    bool closed;
};

static void on_victim_session(zhandle_t *zh, int type, int state,
                              const char *path, void *arg)
{
    (void)zh;
    (void)path;
    if (type == *zkmt.ZOO_SESSION_EVENT && state == *zkmt.ZOO_CONNECTED_STATE)
        atomic_store(&((struct victim *)arg)->connected, true);
}

static void on_victim_created(int rc, const char *path, const void *arg)
{
    (void)path;
    if (rc == ZOK)
        atomic_store((atomic_bool *)(uintptr_t)arg, true);
}

static void on_victim_closed(void *arg)
{
    ((struct victim *)arg)->closed = true;
}

static void victim_join_queue(struct world *w, struct victim *v)
{
    char address[32];
    struct err err;

    assert_int_equal(proxy_open(&v->proxy, zktest_loop(w),
                                zookeeper_server_port(zktest_server), &err),
                     0);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u",
                   proxy_port(v->proxy));
    v->zh =
        zkmt.zookeeper_init2(address, on_victim_session, ZOOKEEPER_TIMEOUT_MS,
                             NULL, v, 0, raw_drop_log);
    assert_non_null(v->zh);
    world_until(w, atomic_load(&v->connected));
    assert_int_equal(zkmt.zoo_acreate(v->zh, node_path(w, FIRST), "10.0.0.9", 8,
                                      zkmt.ZOO_OPEN_ACL_UNSAFE,
                                      *zkmt.ZOO_EPHEMERAL_SEQUENTIAL,
                                      on_victim_created, &v->created),
                     ZOK);
    world_until(w, atomic_load(&v->created));
}

static void victim_free(struct world *w, struct victim *v)
{
    proxy_refuse(v->proxy, true);
    (void)proxy_reset(v->proxy);
    (void)zkmt.zookeeper_close(v->zh);
    proxy_close(&v->proxy, on_victim_closed, v);
    world_until(w, v->closed);
}

static void a_crashed_holder_keeps_it_until_its_session_is_over(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct victim victim = {0};
    int64_t begin;
    struct held h;
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(&raw, zktest_path(w, KEY));
    victim_join_queue(w, &victim);
    begin = clock_mono_ms();
    proxy_cut(victim.proxy, PROXY_BOTH);
    assert_int_equal(held_take(w, r, &h, KEY, "a", 300), ERR_TIMEOUT);
    held_release(&h);
    wait_for_queue(w, &raw, 1); /* who gives up leaves nothing */
    assert_int_equal(held_take(w, r, &h, KEY, "a", -1), ERR_OK);
    assert_true(clock_mono_ms() - begin >= ZOOKEEPER_TIMEOUT_MS / 2);
    held_release(&h);
    wait_for_queue(w, &raw, 0);
    victim_free(w, &victim);
    raw_close(&raw);
}

/* Curator's rule for whatever else a session put there; what is no session's
 * is passed over. */
static void names_without_a_number_are_ordered_as_curator_does(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char path[RAW_PATH];
    struct held h;
    struct raw raw;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(&raw, zktest_path(w, KEY));
    raw_create(&raw, node_path(w, "zzz"), "1", *zkmt.ZOO_PERSISTENT, NULL);
    assert_int_equal(held_take(w, r, &h, KEY, "a", 2000), ERR_OK);
    held_release(&h);
    (void)snprintf(path, sizeof(path), "%s", node_path(w, "-first"));
    raw_create(&raw, path, "1", *zkmt.ZOO_PERSISTENT, NULL);
    assert_int_equal(held_take(w, r, &h, KEY, "a", 0), ERR_OK);
    held_release(&h);
    raw_delete(&raw, path);
    raw_create(&raw, path, "1", *zkmt.ZOO_EPHEMERAL, NULL);
    assert_int_equal(held_take(w, r, &h, KEY, "a", 0), ERR_TIMEOUT);
    held_release(&h);
    held_ask(r, &h, KEY, "a", -1);
    wait_for_queue(w, &raw, 3);
    raw_delete(&raw, path);
    world_until(w, h.answers > 0);
    assert_int_equal(h.code, ERR_OK);
    held_release(&h);
    raw_close(&raw);
}

/* --- when somebody removes ours ------------------------------------------ */

static char *our_node(struct world *w, struct raw *raw,
                      const struct registry *r)
{
    char names[8][RAW_PATH];
    size_t n = queue_of(w, raw, names);

    for (size_t i = 0; i < n; i++) {
        struct Stat stat;

        if (raw_stat(raw, node_path(w, names[i]), &stat) &&
            stat.ephemeralOwner == (int64_t)registry_session(r))
            return mem_strdup(node_path(w, names[i]));
    }
    fail_msg("no node of ours among %zu", n);
    return NULL;
}

static void a_waiter_whose_node_was_removed_still_gets_it(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct held mine, theirs;
    struct raw raw;
    char *node;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    held_ask(b, &theirs, KEY, "b", -1);
    wait_for_queue(w, &raw, 2);
    node = our_node(w, &raw, b);
    raw_delete(&raw, node);
    mem_free(node);
    world_pass(w, 300);
    assert_int_equal(theirs.answers, 0);
    held_release(&mine);
    world_until(w, theirs.answers > 0);
    assert_int_equal(theirs.code, ERR_OK);
    assert_true(theirs.fence > mine.fence);
    held_release(&theirs);
    wait_for_queue(w, &raw, 0);
    raw_close(&raw);
}

/* Is our client asking whether a node of the lock's exists? */
static bool looks_for_its_node(struct world *w, const struct registry *r)
{
    const struct zookeeper *z = (const void *)r;
    const struct zk_request *q;

    if (z->handle == NULL)
        return false;
    DL_SEARCH_SCALAR(z->handle->in_flight, q, type, ZK_EXISTS);
    return q != NULL && strstr(q->path, zktest_path(w, KEY)) == q->path;
}

/* The answer to its making was lost, it was let go of, found again, and goes
 * before it was looked at: there is nothing to be made any more. */
static void a_node_that_goes_while_it_is_looked_for_is_let_go(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct proxy *proxy = zktest_proxy(w, r);
    struct held h;
    struct raw raw;
    char *node;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    assert_int_equal(held_take(w, r, &h, KEY, "a", -1), ERR_OK);
    held_release(&h); /* the directory stands */
    wait_for_queue(w, &raw, 0);
    proxy_cut(proxy, PROXY_TO_CLIENT);
    held_ask(r, &h, KEY, "a", -1);
    wait_for_queue(w, &raw, 1);
    held_release(&h);
    (void)proxy_reset(proxy);
    proxy_cut(proxy, 0);
    proxy_delay(proxy, 100); /* what it asks is with us for that long */
    world_until(w, looks_for_its_node(w, r));
    node = our_node(w, &raw, r);
    raw_delete(&raw, node);
    mem_free(node);
    proxy_delay(proxy, 0);
    world_until(w, r->holds == NULL);
    wait_for_queue(w, &raw, 0);
    assert_int_equal(held_take(w, r, &h, KEY, "a", -1), ERR_OK);
    held_release(&h);
    raw_close(&raw);
}

/* Nobody but the server can say whether we hold it. */
static void check_lock_refuses_when_the_node_is_gone(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct registry_op ops[] = {{.type = REGISTRY_CHECK_LOCK},
                                {.type = REGISTRY_PUT,
                                 .expect = REGISTRY_ABSENT,
                                 .key = "/late",
                                 .value = "1",
                                 .value_len = 1}};
    struct held mine, theirs;
    struct got g = {0};
    struct raw raw;
    char *node;

    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    assert_int_equal(held_take(w, a, &mine, KEY, "a", -1), ERR_OK);
    node = our_node(w, &raw, a);
    raw_delete(&raw, node);
    mem_free(node);
    assert_int_equal(held_take(w, b, &theirs, KEY, "b", -1), ERR_OK);
    assert_true(theirs.fence > mine.fence);
    ops[0].lock = mine.lock;
    assert_int_equal(do_txn(w, a, ops, 2, &g), ERR_CONFLICT);
    assert_int_equal(g.failed_op, 0);
    ops[0].lock = theirs.lock;
    assert_int_equal(do_txn(w, b, ops, 2, &g), ERR_OK);
    held_release(&mine);
    held_release(&theirs);
    wait_for_queue(w, &raw, 0);
    raw_close(&raw);
    got_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ZKTEST(a_lock_stands_in_curators_layout),
        ZKTEST(a_parent_of_another_kind_will_do),
        ZKTEST(a_parent_that_was_removed_is_made_again),
        ZKTEST(a_foreign_node_before_ours_keeps_us_waiting),
        ZKTEST(a_foreign_node_goes_with_its_session),
        ZKTEST(one_that_leaves_the_middle_of_the_queue_grants_nothing),
        ZKTEST(a_crashed_holder_keeps_it_until_its_session_is_over),
        ZKTEST(names_without_a_number_are_ordered_as_curator_does),
        ZKTEST(a_waiter_whose_node_was_removed_still_gets_it),
        ZKTEST(a_node_that_goes_while_it_is_looked_for_is_let_go),
        ZKTEST(check_lock_refuses_when_the_node_is_gone),
        cmocka_unit_test(zktest_nothing_stands_outside_the_namespaces),
    };
    int failed;

    if (zktest_begin() != 0)
        return 1;
    failed = cmocka_run_group_tests_name("zookeeper_lock", tests, NULL, NULL);
    zktest_end();
    return failed;
}
