/*
 * What snapshots share: the tree of nodes against a plain table, what one
 * change copies, and readers of old ones while new ones are published. (More than
 * 500 lines: the plain table and the walks that are counted stand beside it.)
 */
#include "coordinator/snapshot.h"

#include "base/locks.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NAMES  3000
#define KEPT   16
#define MANY   10000
#define CHANGE 50

/* A place to publish at, and the table that is true. */
struct fixture {
    struct snapshot_slot *slot;
    struct snapshot_nodes nodes;
    uint64_t owned[NODE_KINDS][NAMES]; /* 0: it is not there */
};

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->slot = coordinator_snapshot_slot_new();
    f->nodes.slot = f->slot;
    f->nodes.build = 1;
}

static void publish(struct fixture *f)
{
    struct snapshot *s = coordinator_snapshot_new();

    coordinator_snapshot_nodes_show(&f->nodes, s);
    coordinator_snapshot_publish(f->slot, s);
}

static const char *name_of(size_t i, char out[32])
{
    (void)snprintf(out, 32, "10.0.%zu.%zu:1234", i / 256, i % 256);
    return out;
}

static void put(struct fixture *f, enum node_kind kind, size_t i,
                uint32_t owned)
{
    struct coordinator_snapshot_node *n;
    char name[32];
    size_t len = strlen(name_of(i, name)) + 1;

    n = mem_zalloc(sizeof(*n) + len);
    n->kind = kind;
    n->owned = owned;
    n->address = memcpy(n + 1, name, len);
    coordinator_snapshot_nodes_put(&f->nodes, n);
    if (i < NAMES)
        f->owned[kind][i] = owned;
}

static void drop(struct fixture *f, enum node_kind kind, size_t i)
{
    const struct coordinator_snapshot_node *n;
    char name[32];

    n = coordinator_snapshot_nodes_find(&f->nodes, kind, name_of(i, name));
    assert_non_null(n);
    coordinator_snapshot_nodes_remove(&f->nodes, n);
    if (i < NAMES)
        f->owned[kind][i] = 0;
}

static void end(struct fixture *f)
{
    const struct coordinator_snapshot_node *n;
    struct snapshot_walk w;
    struct snapshot all = {.nodes = f->nodes.root};

    for (;;) {
        all.nodes = f->nodes.root;
        coordinator_snapshot_walk(&w, &all, NODE_MASTER, "");
        if ((n = coordinator_snapshot_next(&w)) == NULL)
            break;
        coordinator_snapshot_nodes_remove(&f->nodes, n);
    }
    assert_null(f->nodes.root);
    coordinator_snapshot_slot_free(&f->slot);
}

/* In order, each once, and as the table says. */
static void is_as(const struct snapshot *s, uint64_t owned[NODE_KINDS][NAMES])
{
    const struct coordinator_snapshot_node *n, *before = NULL;
    struct snapshot_walk w;
    size_t count = 0;

    coordinator_snapshot_walk(&w, s, NODE_MASTER, "");
    for (; (n = coordinator_snapshot_next(&w)) != NULL; before = n) {
        if (before != NULL)
            assert_true(before->kind < n->kind ||
                        (before->kind == n->kind &&
                         strcmp(before->address, n->address) < 0));
        count++;
    }
    assert_int_equal(count, s->n_nodes);
    for (int k = 0; k < NODE_KINDS; k++)
        for (size_t i = 0; i < NAMES; i++) {
            char name[32];

            n = coordinator_snapshot_node(s, (enum node_kind)k,
                                          name_of(i, name));
            assert_int_equal(n != NULL ? n->owned : 0, owned[k][i]);
            count -= n != NULL;
        }
    assert_int_equal(count, 0);
}

/* From any name on a walk gives the first at or behind it. */
static void walks_from_anywhere(const struct snapshot *s, struct rand *rand)
{
    const struct coordinator_snapshot_node *n, *first = NULL, *found;
    enum node_kind kind = (enum node_kind)rand_below(rand, NODE_KINDS);
    struct snapshot_walk w;
    char name[32];

    name_of(rand_below(rand, NAMES), name);
    coordinator_snapshot_walk(&w, s, NODE_MASTER, "");
    while ((n = coordinator_snapshot_next(&w)) != NULL && first == NULL)
        if (n->kind > kind ||
            (n->kind == kind && strcmp(n->address, name) >= 0))
            first = n;
    coordinator_snapshot_walk(&w, s, kind, name);
    found = coordinator_snapshot_next(&w);
    assert_ptr_equal(found, first);
}

static void old_ones_stay_as_they_were(void **state)
{
    static uint64_t then[KEPT][NODE_KINDS][NAMES];
    static struct fixture f;
    struct snapshot *kept[KEPT] = {0};
    struct rand rand;

    (void)state;
    rand_seed(&rand, 11);
    begin(&f);
    for (size_t round = 0; round < 400; round++) {
        size_t at = rand_below(&rand, KEPT);
        bool grows = round % 200 < 120;

        for (size_t i = 0; i < CHANGE; i++) {
            enum node_kind k = (enum node_kind)rand_below(&rand, NODE_KINDS);
            size_t name = rand_below(&rand, NAMES);

            if (grows || f.owned[k][name] == 0)
                put(&f, k, name, 1 + (uint32_t)rand_below(&rand, 1000));
            else
                drop(&f, k, name);
        }
        publish(&f);
        if (kept[at] != NULL && round % 8 == 0)
            is_as(kept[at], then[at]);
        coordinator_snapshot_release(&kept[at]);
        kept[at] = coordinator_snapshot_acquire(f.slot);
        memcpy(then[at], f.owned, sizeof(f.owned));
        walks_from_anywhere(kept[at], &rand);
    }
    for (size_t i = 0; i < KEPT / 2; i++) {
        is_as(kept[i], then[i]);
        coordinator_snapshot_release(&kept[i]);
    }
    end(&f);
    for (size_t i = KEPT / 2; i < KEPT; i++) { /* they outlive the slot */
        is_as(kept[i], then[i]);
        coordinator_snapshot_release(&kept[i]);
    }
}

static void all_of_them_may_go(void **state)
{
    static struct fixture f;
    struct snapshot *s;

    (void)state;
    begin(&f);
    publish(&f);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < NAMES; i++)
            put(&f, NODE_WORKER, round == 1 ? NAMES - 1 - i : i, 1);
        if (round != 2)
            publish(&f);
        for (size_t i = 0; i < NAMES; i++)
            drop(&f, NODE_WORKER, round == 2 ? NAMES - 1 - i : i);
        publish(&f);
        s = coordinator_snapshot_acquire(f.slot);
        assert_int_equal(s->n_nodes, 0);
        assert_null(s->nodes);
        assert_null(coordinator_snapshot_node(s, NODE_WORKER, "a:1"));
        coordinator_snapshot_release(&s);
    }
    end(&f);
}

/* What is copied, in branches: a path for one change, whatever the number of
 * nodes, and not a path for each of many that lie side by side. */
static void one_change_copies_one_path(void **state)
{
    static struct fixture f;
    size_t before;

    (void)state;
    begin(&f);
    for (size_t i = 0; i < MANY; i++)
        put(&f, NODE_WORKER, i, 1);
    publish(&f);
    assert_true(f.nodes.made < MANY / 8);
    before = f.nodes.made;
    publish(&f);
    assert_int_equal(f.nodes.made, before); /* nothing changed */
    for (size_t i = 0; i < 100; i++) {
        before = f.nodes.made;
        put(&f, NODE_WORKER, i * 97, 2);
        publish(&f);
        assert_true(f.nodes.made - before <= 4);
    }
    before = f.nodes.made;
    for (size_t i = 0; i < MANY; i++)
        put(&f, NODE_WORKER, i, 3);
    assert_true(f.nodes.made - before < MANY / 8);
    publish(&f);
    end(&f);
}

/* --- readers ------------------------------------------------------------- */

struct readers {
    struct fixture f;
    bool over;
    unsigned wrong, read;
};

/* In each snapshot all nodes say the same: those of one build. */
static void *reader(void *arg)
{
    struct readers *r = arg;

    while (!__atomic_load_n(&r->over, __ATOMIC_ACQUIRE)) {
        struct snapshot *s = coordinator_snapshot_acquire(r->f.slot);
        const struct coordinator_snapshot_node *n;
        struct snapshot_walk w;
        size_t count = 0, first = 0;

        coordinator_snapshot_walk(&w, s, NODE_MASTER, "");
        while ((n = coordinator_snapshot_next(&w)) != NULL) {
            first = count++ == 0 ? n->owned : first;
            if (n->owned != first || n->address[0] != '1')
                __atomic_add_fetch(&r->wrong, 1, __ATOMIC_RELAXED);
        }
        if (count != s->n_nodes)
            __atomic_add_fetch(&r->wrong, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&r->read, 1, __ATOMIC_RELAXED);
        coordinator_snapshot_release(&s);
    }
    return NULL;
}

static void readers_see_one_moment_each(void **state)
{
    static struct readers r;
    pthread_t threads[4];
    size_t n = 0;

    (void)state;
    begin(&r.f);
    publish(&r.f);
    for (size_t i = 0; i < 4; i++)
        lock_start_thread(&threads[i], reader, &r);
    for (uint32_t round = 1;
         round < 300 || __atomic_load_n(&r.read, __ATOMIC_RELAXED) < 300;
         round++) {
        size_t now = 200 + round * 37 % 100;

        for (; n > now; n--)
            drop(&r.f, NODE_WORKER, n - 1);
        for (n = 0; n < now; n++)
            put(&r.f, NODE_WORKER, n, round);
        publish(&r.f);
    }
    __atomic_store_n(&r.over, true, __ATOMIC_RELEASE);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    end(&r.f);
    assert_int_equal(r.wrong, 0);
}

/* Asked without a reference: as the one that was published last says. */
static void the_last_ones_time_is_known_without_it(void **state)
{
    static const struct {
        wall_ms as_of;
        bool stale;
    } rows[] = {{0, true},
                {1795910400123, false},
                {1795910400123, true},
                {1795910400124, false}};
    struct fixture f;
    bool stale;

    (void)state;
    begin(&f);
    assert_int_equal(coordinator_snapshot_as_of(f.slot, &stale), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct snapshot *s = coordinator_snapshot_new();

        s->as_of = rows[i].as_of;
        s->stale = rows[i].stale;
        coordinator_snapshot_nodes_show(&f.nodes, s);
        coordinator_snapshot_publish(f.slot, s);
        assert_int_equal(coordinator_snapshot_as_of(f.slot, &stale),
                         rows[i].as_of);
        assert_int_equal(stale, rows[i].stale);
    }
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_ones_stay_as_they_were),
        cmocka_unit_test(all_of_them_may_go),
        cmocka_unit_test(one_change_copies_one_path),
        cmocka_unit_test(readers_see_one_moment_each),
        cmocka_unit_test(the_last_ones_time_is_known_without_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
