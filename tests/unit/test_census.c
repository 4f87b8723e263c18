/*
 * test_census.c - the counts that are kept are those of a walk over all nodes,
 * in every snapshot, whatever came, changed and went in between.
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

#define NODES    300
#define ROUNDS   400
#define CHANGES  20
#define N_GROUPS 5

static const char *const names[N_GROUPS] = {"a", "b", "c", "default", "gpu"};

struct fixture {
    struct snapshot_slot *slot;
    struct snapshot_nodes nodes;
    struct coordinator_snapshot_group groups[2][N_GROUPS]; /* as of two lists */
    struct rand rand;
};

static size_t below(struct fixture *f, size_t n)
{
    return (size_t)rand_below(&f->rand, n);
}

static void put(struct fixture *f, enum node_kind kind, const char *address)
{
    const char *in[N_GROUPS];
    struct coordinator_snapshot_node is = {
        .kind = kind,
        .state = (enum node_state)below(f, NODE_STATES),
        .status = below(f, 2) == 0 ? NODE_BUSY : NODE_NORMAL,
        .address = address,
        .degraded = below(f, 3) == 0,
        .cordoned = below(f, 3) == 0,
        .owned = (uint32_t)below(f, 9),
        .report = (enum report_age)below(f, REPORT_STALE + 1),
        .load.slots = (int32_t)below(f, 100) - 10,
        .groups = in,
        .odd = &coordinator_snapshot_not_odd};

    for (size_t i = 0; kind == NODE_WORKER && i < N_GROUPS; i++)
        if (strcmp(names[i], "default") == 0 || below(f, 3) == 0)
            in[is.n_groups++] = names[i];
    coordinator_snapshot_nodes_put(&f->nodes,
                                   coordinator_snapshot_node_new(&is));
}

static void change(struct fixture *f)
{
    const struct coordinator_snapshot_node *n;
    enum node_kind kind = (enum node_kind)below(f, NODE_KINDS);
    char address[32];

    (void)snprintf(address, sizeof(address), "10.0.0.%zu:1", below(f, NODES));
    n = coordinator_snapshot_nodes_find(&f->nodes, kind, address);
    if (n != NULL && below(f, 3) == 0)
        coordinator_snapshot_nodes_remove(&f->nodes, n);
    else
        put(f, kind, address);
}

static void remove_all(struct fixture *f)
{
    char address[32];

    for (int kind = 0; kind < NODE_KINDS; kind++)
        for (size_t i = 0; i < NODES; i++) {
            const struct coordinator_snapshot_node *n;

            (void)snprintf(address, sizeof(address), "10.0.0.%zu:1", i);
            n = coordinator_snapshot_nodes_find(&f->nodes, (enum node_kind)kind,
                                                address);
            if (n != NULL)
                coordinator_snapshot_nodes_remove(&f->nodes, n);
        }
    assert_int_equal(f->nodes.n, 0);
    assert_null(f->nodes.groups);
}

static struct snapshot *publish(struct fixture *f)
{
    struct snapshot *s = coordinator_snapshot_new();

    s->groups = f->groups[below(f, 20) == 0];
    s->n_groups = N_GROUPS;
    coordinator_snapshot_nodes_show(&f->nodes, s);
    coordinator_snapshot_publish(f->slot, s);
    return coordinator_snapshot_acquire(f->slot);
}

static void walk(const struct snapshot *s, struct snapshot_census *c,
                 uint32_t *up_in)
{
    const struct coordinator_snapshot_node *n;
    struct snapshot_walk w;

    coordinator_snapshot_walk(&w, s, NODE_MASTER, "");
    while ((n = coordinator_snapshot_next(&w)) != NULL) {
        bool up = n->state == NODE_UP, worker = n->kind == NODE_WORKER;

        c->state[n->kind][n->state]++;
        c->busy[n->kind] += up && n->status == NODE_BUSY;
        c->degraded[n->kind] += up && n->degraded;
        c->cordoned[n->kind] += n->cordoned;
        c->owned[n->kind] += n->owned;
        c->slots += up && worker && n->load.slots > 0 ? n->load.slots : 0;
        c->late += up && worker && n->report == REPORT_LATE;
        c->stale += up && worker && n->report == REPORT_STALE;
        for (size_t i = 0; up && i < n->n_groups; i++)
            for (size_t k = 0; k < N_GROUPS; k++)
                up_in[k] += strcmp(n->groups[i], names[k]) == 0;
    }
}

static void same_as_a_walk(const struct snapshot *s)
{
    struct snapshot_census c = {0};
    uint32_t up_in[N_GROUPS] = {0};

    walk(s, &c, up_in);
    assert_memory_equal(&s->census, &c, sizeof(c));
    assert_memory_equal(s->group_up, up_in, sizeof(up_in));
}

static void counts_are_those_of_a_walk(void **state)
{
    struct fixture f = {.nodes.build = 1};
    struct snapshot *s, *old = NULL;

    (void)state;
    rand_seed(&f.rand, 7);
    f.slot = f.nodes.slot = coordinator_snapshot_slot_new();
    for (size_t i = 0; i < N_GROUPS; i++)
        f.groups[0][i].name = f.groups[1][i].name = names[i];
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = below(&f, CHANGES); i > 0; i--)
            change(&f);
        s = publish(&f);
        same_as_a_walk(s);
        if (old != NULL && below(&f, 10) == 0) {
            same_as_a_walk(old); /* as it was */
            coordinator_snapshot_release(&old);
        }
        if (old == NULL)
            old = s;
        else
            coordinator_snapshot_release(&s);
    }
    coordinator_snapshot_release(&old);
    remove_all(&f);
    s = publish(&f);
    same_as_a_walk(s);
    coordinator_snapshot_release(&s);
    coordinator_census_end(&f.nodes);
    coordinator_snapshot_slot_free(&f.slot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_those_of_a_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
