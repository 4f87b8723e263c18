/*
 * live.c - liveness: what must be true once nothing goes wrong any more.
 *
 * Work is with somebody who lives, or waits because nobody takes it, or is
 * held for a person; no failover is unfinished; the locks are free; and what
 * each coordinator remembers is what stands in the registry.
 */
#include "coordinator/coordinator_priv.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <string.h>

#define NOT_YET(...)                                                           \
    do {                                                                       \
        (void)snprintf(why, size, __VA_ARGS__);                                \
        return false;                                                          \
    } while (0)

static struct check_process *process_of(struct world *w,
                                        const struct sim_node *n)
{
    return check_process(&w->check, n->index, &n->process);
}

/* Alive, registered, and never fenced. */
static bool usable(struct world *w, const struct sim_node *n)
{
    struct check_process *p;

    if (!n->alive)
        return false;
    p = process_of(w, n);
    return p->registrations == (unsigned)n->n_keys && !p->fenced;
}

static bool takes(struct world *w, const struct sim_node *n)
{
    const struct check_gate_record *g = check_gate(&w->check, n->index);

    return usable(w, n) && (g->state == GATE_IS_ABSENT ||
                            (g->state == GATE_IS_OPEN && !g->cordoned &&
                             check_same(&g->process, &n->process)));
}

static bool in_group(struct world *w, const struct sim_node *n,
                     const char *group)
{
    const struct registry_entry *e;
    char quoted[48];

    if (strcmp(group, "default") == 0)
        return true;
    if (strcmp(group, "gpu") == 0)
        return strstr(n->keys[n->n_keys - 1], "/gpu/") != NULL;
    e = memory_find(w->store, "/pelorus/groups/api");
    snprintf(quoted, sizeof(quoted), "\"%s\"", n->address);
    return e != NULL && strstr(e->value, quoted) != NULL;
}

static bool owner_live(struct world *w, int i, char *why, size_t size)
{
    const struct check_record *r = &w->check.items[i].now;
    const struct sim_node *n = &w->nodes[r->owner];
    const struct check_gate_record *g = check_gate(&w->check, r->owner);

    if (!usable(w, n) || !check_same(&n->process, &r->process))
        NOT_YET("w-%d is with %s %" PRId64 ", which is not alive", i,
                n->address, r->process.startup);
    if (!check_same(&g->process, &r->process) ||
        (g->state != GATE_IS_OPEN && g->state != GATE_IS_CORDONED))
        NOT_YET("w-%d is with %s, whose gate is %s with %" PRId64, i,
                n->address, check_gate_name(g->state), g->process.startup);
    return true;
}

static bool nobody_takes(struct world *w, int i, char *why, size_t size)
{
    const struct check_record *r = &w->check.items[i].now;

    for (int k = 0; k < NODES; k++)
        if (w->nodes[k].kind == r->kind && takes(w, &w->nodes[k]) &&
            (r->kind == NODE_MASTER || in_group(w, &w->nodes[k], r->group)))
            NOT_YET("w-%d (%s) waits although %s takes work", i, r->group,
                    w->nodes[k].address);
    return true;
}

static bool items_live(struct world *w, char *why, size_t size)
{
    for (int i = 0; i < CHECK_ITEMS; i++) {
        const struct check_record *r = &w->check.items[i].now;

        if (r->state == ITEM_ASSIGNED && !owner_live(w, i, why, size))
            return false;
        if (r->state == ITEM_WAITING && !nobody_takes(w, i, why, size))
            return false;
        if (r->state == ITEM_HELD && strcmp(r->cause, "poison") != 0 &&
            strcmp(r->policy, "hold") != 0)
            NOT_YET("w-%d is held without a reason", i);
    }
    return true;
}

static bool failovers_ended(struct world *w, char *why, size_t size)
{
    struct check_failover *f, *next;

    HASH_ITER (hh, w->check.failovers, f, next) {
        enum check_phase p = f->now.phase;

        if (p == PHASE_HELD || p == PHASE_QUEUED || p == PHASE_INTENT ||
            p == PHASE_MOVING)
            NOT_YET("%s of %s is %s (%s)", f->id, w->nodes[f->now.node].address,
                    check_phase_name(p), f->now.cause);
    }
    for (int k = 0; k < 2; k++)
        if (memory_lock_holder(w->store, w->check.locks[k], NULL) != 0)
            NOT_YET("the lock %s is held", w->check.locks[k]);
    return true;
}

/* A new process at an address is let in. */
static bool gates_live(struct world *w, char *why, size_t size)
{
    for (int i = 0; i < NODES; i++) {
        const struct check_gate_record *g = check_gate(&w->check, i);
        const struct sim_node *n = &w->nodes[i];

        if (g->state == GATE_IS_ABSENT || !usable(w, n))
            continue;
        if (!check_same(&g->process, &n->process) ||
            (g->state != GATE_IS_OPEN && g->state != GATE_IS_CORDONED))
            NOT_YET("%s is %" PRId64 ", its gate is %s with %" PRId64,
                    n->address, n->process.startup, check_gate_name(g->state),
                    g->process.startup);
        if (g->heir.known)
            NOT_YET("%s is still an heir", n->address);
    }
    return true;
}

static bool node_known(struct world *w, struct coord *k, int i, char *why,
                       size_t size)
{
    const struct sim_node *n = &w->nodes[i];
    const struct check_gate_record *g = check_gate(&w->check, i);
    const struct node *m =
        membership_find(k->c->membership, n->kind, n->address);
    bool up = m != NULL && m->state == NODE_UP;

    if (up != usable(w, n))
        NOT_YET("%s thinks that %s is %s", k->self, n->address,
                m != NULL ? node_state_name(m->state) : "unknown");
    if (up && (m->process.startup_time != n->process.startup || m->degraded))
        NOT_YET("%s takes %s for %" PRId64 "%s", k->self, n->address,
                m->process.startup_time, m->degraded ? ", degraded" : "");
    if (m != NULL && m->gate->version != g->version)
        NOT_YET("%s knows gate %" PRIu64 " of %s, it is %" PRIu64, k->self,
                m->gate->version, n->address, g->version);
    if (work_view_marker_count(k->c->view, n->kind, n->address) !=
        w->check.nodes[i].markers)
        NOT_YET("%s counts %zu markers at %s, there are %zu", k->self,
                work_view_marker_count(k->c->view, n->kind, n->address),
                n->address, w->check.nodes[i].markers);
    return true;
}

static bool caches_true(struct world *w, char *why, size_t size)
{
    for (int c = 0; c < COORDS; c++) {
        struct coord *k = &w->coords[c];
        struct view *v;

        if (k->c == NULL)
            NOT_YET("%s does not run", k->self);
        v = k->c->view;
        for (int i = 0; i < NODES; i++)
            if (!node_known(w, k, i, why, size))
                return false;
        for (int kind = 0; kind < 2; kind++)
            if (work_view_marker_count(v, (enum node_kind)kind, WORK_NOBODY) !=
                w->check.nobody[kind])
                NOT_YET("%s counts %zu items of nobody, there are %zu", k->self,
                        work_view_marker_count(v, (enum node_kind)kind,
                                               WORK_NOBODY),
                        w->check.nobody[kind]);
    }
    return true;
}

static bool nodes_back(struct world *w, char *why, size_t size)
{
    for (int i = 0; i < NODES; i++) {
        const struct sim_node *n = &w->nodes[i];

        if (!n->alive ? n->restart_at != 0
                      : process_of(w, n)->registrations != (unsigned)n->n_keys)
            NOT_YET("%s is not back yet", n->address);
    }
    return true;
}

bool live_check(struct world *w, char *why, size_t size)
{
    if (w->in_flight > 0)
        NOT_YET("%zu requests are not answered", w->in_flight);
    return back_is_over(w, why, size) && nodes_back(w, why, size) &&
           items_live(w, why, size) && failovers_ended(w, why, size) &&
           gates_live(w, why, size) && caches_true(w, why, size);
}
