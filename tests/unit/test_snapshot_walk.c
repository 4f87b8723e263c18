/*
 * test_snapshot_walk.c - walks for some of the nodes: they miss nobody, cost
 * what they find, and end when they have long looked in vain. Costs are counted
 * in nodes and branches looked at.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "base/table.h"
#include "coordinator/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MANY   10000
#define CHANGE 50
#define MARKED 400
#define ROUNDS 200
#define CROWD  100000
#define FEW    10

struct fixture {
    struct snapshot_slot *slot;
    struct snapshot_nodes nodes;
};

static void publish(struct fixture *f)
{
    struct snapshot *s = coordinator_snapshot_new();

    coordinator_snapshot_nodes_show(&f->nodes, s);
    coordinator_snapshot_publish(f->slot, s);
}

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->slot = coordinator_snapshot_slot_new();
    f->nodes.slot = f->slot;
    f->nodes.build = 1;
    publish(f);
}

static const char *name_of(size_t i, char out[32])
{
    (void)snprintf(out, 32, "10.0.%zu.%zu:1234", i / 256, i % 256);
    return out;
}

static void drop(struct fixture *f, size_t i)
{
    char name[32];

    coordinator_snapshot_nodes_remove(
        &f->nodes, coordinator_snapshot_nodes_find(&f->nodes, NODE_WORKER,
                                                   name_of(i, name)));
}

static void end(struct fixture *f)
{
    const struct coordinator_snapshot_node *n;
    struct snapshot_walk w;

    do {
        struct snapshot all = {.nodes = f->nodes.root};

        coordinator_snapshot_walk(&w, &all, NODE_MASTER, "");
        n = coordinator_snapshot_next(&w);
        if (n != NULL)
            coordinator_snapshot_nodes_remove(&f->nodes, n);
    } while (n != NULL);
    coordinator_snapshot_slot_free(&f->slot);
}

struct look {
    enum node_state state;
    enum node_status status;
    const char *group; /* NULL: none but "default" */
};

static void put_look(struct fixture *f, size_t i, const struct look *l)
{
    const char *groups[] = {"default", l->group};
    char name[32];
    struct coordinator_snapshot_node is = {.kind = NODE_WORKER,
                                           .state = l->state,
                                           .status = l->status,
                                           .address = name_of(i, name),
                                           .groups = groups,
                                           .n_groups = l->group != NULL ? 2 : 1,
                                           .odd =
                                               &coordinator_snapshot_not_odd};

    coordinator_snapshot_nodes_put(&f->nodes,
                                   coordinator_snapshot_node_new(&is));
}

static bool is_in(const struct coordinator_snapshot_node *n, const char *group)
{
    for (size_t i = 0; i < n->n_groups; i++)
        if (strcmp(n->groups[i], group) == 0)
            return true;
    return false;
}

/* Whoever passes is met, in order; of other groups somebody may be. */
static void only_misses_nobody(const struct snapshot *s, unsigned states,
                               unsigned statuses, const char *group)
{
    const struct coordinator_snapshot_node *n, *m;
    struct snapshot_walk all, some;

    coordinator_snapshot_walk(&all, s, NODE_MASTER, "");
    coordinator_snapshot_walk(&some, s, NODE_MASTER, "");
    coordinator_snapshot_only(&some, states, statuses, group);
    m = coordinator_snapshot_next(&some);
    while ((n = coordinator_snapshot_next(&all)) != NULL) {
        bool fits =
            (states & 1U << n->state) != 0 && (statuses & 1U << n->status) != 0;

        assert_true(m == n || !fits || !is_in(n, group));
        if (m == n) {
            assert_true(fits);
            m = coordinator_snapshot_next(&some);
        }
    }
    assert_null(m);
}

static void a_walk_for_some_misses_nobody(void **state)
{
    static const char *const groups[] = {"default", "a", "b", "c", "gpu"};
    bool there[MARKED] = {false};
    struct fixture f;
    struct rand rand;

    (void)state;
    rand_seed(&rand, 7);
    begin(&f);
    for (int round = 0; round < ROUNDS; round++) {
        struct snapshot *s;

        for (int k = 0; k < CHANGE; k++) {
            size_t i = (size_t)rand_below(&rand, MARKED);
            size_t g = (size_t)rand_below(&rand, ARRAY_LEN(groups));
            struct look l = {
                .state = (enum node_state)rand_below(&rand, NODE_STATES),
                .status = (enum node_status)rand_below(&rand, NODE_BUSY + 1),
                .group = g > 0 ? groups[g] : NULL};

            if (there[i] && rand_below(&rand, 3) == 0)
                drop(&f, i);
            else
                put_look(&f, i, &l);
            there[i] =
                coordinator_snapshot_nodes_find(
                    &f.nodes, NODE_WORKER, name_of(i, (char[32]){0})) != NULL;
        }
        publish(&f);
        s = coordinator_snapshot_acquire(f.slot);
        for (int k = 0; k < 4; k++)
            only_misses_nobody(
                s, 1U + (unsigned)rand_below(&rand, (1U << NODE_STATES) - 1),
                1U + (unsigned)rand_below(&rand, 3),
                groups[rand_below(&rand, ARRAY_LEN(groups))]);
        coordinator_snapshot_release(&s);
    }
    end(&f);
}

/* How much a walk for so many of them looks at. */
static size_t looks(const struct snapshot *s, unsigned states, size_t most,
                    size_t expected)
{
    struct snapshot_walk w;
    size_t n = 0;

    coordinator_snapshot_walk(&w, s, NODE_WORKER, "");
    coordinator_snapshot_only(&w, states, 0, NULL);
    while (n < most && coordinator_snapshot_next(&w) != NULL)
        n++;
    assert_int_equal(n, expected);
    return w.looked;
}

/* A page costs what is on it, whoever else is there. */
static void a_few_are_found_in_a_crowd(void **state)
{
    const unsigned up = 1U << NODE_UP, down = 1U << NODE_DOWN;
    struct look l = {.state = NODE_DOWN};
    struct fixture f;
    struct snapshot *s;

    (void)state;
    begin(&f);
    for (size_t i = 0; i < CROWD; i++)
        put_look(&f, i, &(struct look){.state = NODE_UP});
    publish(&f);
    s = coordinator_snapshot_acquire(f.slot);
    assert_true(looks(s, down, SIZE_MAX, 0) <= 4 * 32);
    coordinator_snapshot_release(&s);
    for (size_t i = 0; i < FEW; i++)
        put_look(&f, i * (CROWD / FEW) + 77, &l);
    publish(&f);
    s = coordinator_snapshot_acquire(f.slot);
    assert_true(looks(s, down, SIZE_MAX, FEW) <= (FEW + 1) * 4 * 32);
    assert_true(looks(s, up, 1000, 1000) <= 1100);
    coordinator_snapshot_release(&s);
    l.state = NODE_UP; /* they are back: nothing of them is left */
    for (size_t i = 0; i < FEW; i++)
        put_look(&f, i * (CROWD / FEW) + 77, &l);
    publish(&f);
    s = coordinator_snapshot_acquire(f.slot);
    assert_true(looks(s, down, SIZE_MAX, 0) <= 4 * 32);
    coordinator_snapshot_release(&s);
    end(&f);
}

/* One that has looked for long in vain says how far it came. */
static void a_walk_in_vain_ends(void **state)
{
    const struct look down = {.state = NODE_DOWN, .status = NODE_NORMAL};
    const struct look busy = {.state = NODE_UP, .status = NODE_BUSY};
    const char *last = "";
    struct snapshot_walk w;
    struct fixture f;
    struct snapshot *s;
    size_t calls = 0;

    (void)state;
    begin(&f);
    for (size_t i = 0; i < MANY; i++)
        put_look(&f, i, i % 2 == 0 ? &down : &busy);
    publish(&f);
    s = coordinator_snapshot_acquire(f.slot);
    do {
        coordinator_snapshot_walk(&w, s, NODE_WORKER, last);
        coordinator_snapshot_only(&w, 1U << NODE_DOWN, 1U << NODE_BUSY, NULL);
        w.most = 1000;
        assert_null(coordinator_snapshot_next(&w));
        assert_true(w.looked <= 1000);
        assert_true(w.cut == NULL || strcmp(w.cut->address, last) > 0);
        last = w.cut != NULL ? w.cut->address : "";
        calls++;
    } while (w.cut != NULL);
    assert_in_range(calls, MANY / 1000, 2 * MANY / 1000);
    coordinator_snapshot_release(&s);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_for_some_misses_nobody),
        cmocka_unit_test(a_few_are_found_in_a_crowd),
        cmocka_unit_test(a_walk_in_vain_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
