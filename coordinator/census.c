/*
 * census.c - how many nodes there are of what: kept as they change, so that
 * saying it costs the same for ten and for a hundred thousand.
 *
 * Counted is what the snapshots show, where it takes its place and leaves it:
 * so the counts are of the same moment as the nodes beside them. A report
 * changes neither state nor groups, and then the groups are not touched.
 */
#include "coordinator/snapshot.h"

#include "base/mem.h"
#include "base/table.h"

#include <string.h>

struct snapshot_group_count {
    UT_hash_handle hh;
    uint32_t up;
    char name[];
};

static void count(struct snapshot_census *c,
                  const struct coordinator_snapshot_node *n, int by)
{
    bool up = n->state == NODE_UP;

    assert(n->kind < NODE_KINDS && n->state < NODE_STATES);
    c->state[n->kind][n->state] += by;
    c->busy[n->kind] += up && n->status == NODE_BUSY ? by : 0;
    c->degraded[n->kind] += up && n->degraded ? by : 0;
    c->cordoned[n->kind] += n->cordoned ? by : 0;
    c->owned[n->kind] += (int64_t)n->owned * by;
    if (!up || n->kind != NODE_WORKER)
        return;
    c->slots += n->load.slots > 0 ? (int64_t)n->load.slots * by : 0;
    c->late += n->report == REPORT_LATE ? by : 0;
    c->stale += n->report == REPORT_STALE ? by : 0;
}

/* --- groups -------------------------------------------------------------- */

static bool counts_in_groups(const struct coordinator_snapshot_node *n)
{
    return n != NULL && n->state == NODE_UP && n->kind == NODE_WORKER;
}

static bool same_groups(const struct coordinator_snapshot_node *a,
                        const struct coordinator_snapshot_node *b)
{
    if (a->n_groups != b->n_groups)
        return false;
    for (size_t i = 0; i < a->n_groups && a->groups != b->groups; i++)
        if (strcmp(a->groups[i], b->groups[i]) != 0)
            return false;
    return true;
}

static void count_group(struct snapshot_nodes *t, const char *name, bool more)
{
    struct snapshot_group_count *g;
    size_t len = strlen(name);

    HASH_FIND(hh, t->groups, name, len, g);
    if (g == NULL) {
        g = mem_zalloc(sizeof(*g) + len + 1);
        memcpy(g->name, name, len + 1);
        HASH_ADD_KEYPTR(hh, t->groups, g->name, len, g);
    }
    assert(more || g->up > 0);
    g->up += more ? 1 : UINT32_MAX;
    if (g->up > 0)
        return;
    HASH_DEL(t->groups, g);
    mem_free(g);
}

static void count_groups(struct snapshot_nodes *t,
                         const struct coordinator_snapshot_node *n, bool more)
{
    if (!counts_in_groups(n))
        return;
    for (size_t i = 0; i < n->n_groups; i++)
        count_group(t, n->groups[i], more);
    t->groups_changed = true;
}

void coordinator_census_change(struct snapshot_nodes *t,
                               const struct coordinator_snapshot_node *was,
                               const struct coordinator_snapshot_node *is)
{
    assert(was != NULL || is != NULL);
    if (was != NULL)
        count(&t->census, was, -1);
    if (is != NULL)
        count(&t->census, is, 1);
    if (counts_in_groups(was) && counts_in_groups(is) && same_groups(was, is))
        return;
    count_groups(t, is, true);
    count_groups(t, was, false);
}

/* --- shown --------------------------------------------------------------- */

static uint32_t up_in(const struct snapshot_nodes *t, const char *name)
{
    struct snapshot_group_count *g;

    HASH_FIND_STR(t->groups, name, g);
    return g != NULL ? g->up : 0;
}

/* They stay the same for many snapshots: one list is of all these. */
static void list_groups(struct snapshot_nodes *t, const struct snapshot *s)
{
    uint32_t *up = mem_array(s->n_groups, sizeof(*up));

    for (size_t i = 0; i < s->n_groups; i++)
        up[i] = up_in(t, s->groups[i].name);
    coordinator_census_end(t);
    t->group_up = up;
    t->counted = s->groups;
    t->groups_changed = false;
}

void coordinator_census_show(struct snapshot_nodes *t, struct snapshot *s)
{
    assert(s->group_up == NULL);
    s->census = t->census;
    if (s->n_groups == 0)
        return;
    if (t->group_up == NULL || t->groups_changed || t->counted != s->groups)
        list_groups(t, s);
    s->group_up = t->group_up;
}

void coordinator_census_end(struct snapshot_nodes *t)
{
    if (t->group_up != NULL)
        coordinator_snapshot_retire(t->slot, t->group_up);
    t->group_up = NULL;
}
