/*
 * sweep.c - who is missing, for the brake. Design: the many who stand are
 * counted where they change (membership_tally()), and those alone who do not
 * are looked at, each at each sweep: what they count as rests on gates, records
 * and work, on our configuration and on the time, and they are few.
 *
 * Missing, too, are owners of work of which no node is known. An owner of whom
 * something changed, or who was looked at for any other reason, is noted if he
 * may be one, and looked at until he is none; with each reconcile all owners
 * are gone through, whatever was noted.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"
#include "base/planted.h"

#include <string.h>

#define SWEEP_MS 250 /* between two looks at who is missing */

struct orphan {
    UT_hash_handle hh;
    char address[];
};

/* --- nodes that do not stand --------------------------------------------- */

static enum brake_sight sight_of(const struct node *n)
{
    assert(!n->registered);
    return n->state == NODE_SUSPECT ? BRAKE_DOUBTFUL : BRAKE_MISSING;
}

/* When a process that is fenced by now was lost, by the record: whoever looks
 * only since then knows of it, too. -1: it was no loss. */
static mono_ms fenced_at(struct engine *e, const struct node *n)
{
    wall_ms at = work_view_lost_at(e->c.view, n->gate->failover);
    int64_t age = e->c.clock->wall - at;
    assert(n->gate->state == GATE_FENCED);
    if (at == 0)
        return -1;
    return e->c.clock->mono - (age > 0 ? age : 0);
}

static void sweep_node(struct engine *e, const struct node *n)
{
    bool left = n->gate->left && !planted(PLANTED_LEFT_IS_MISSING);
    bool owns =
        !left && work_view_marker_count(e->c.view, e->c.kind, n->address) > 0;
    bool told =
        left || n->gate->state == GATE_RESTARTING; /* by it, by people */
    bool hook = e->c.hooks != NULL && e->c.conf->hook != NULL;
    assert(n->kind == e->c.kind && !n->registered);
    /* else only an old gate tells of it; one that a hook is yet to run for is
     * no old one */
    bool seen = n->last_report != 0 || (hook && n->gate->state != GATE_ABSENT &&
                                        n->gate->state != GATE_FENCED);
    int64_t lease = membership_lease(e->c.membership, n);

    /* whoever came to a closed gate and was not let in yet had nothing to lose,
     * and may have left: what counts is whom the gate is closed to */
    if (!owns && !told && n->gate->state == GATE_FENCED)
        failover_brake_see(e->brake, n->address, BRAKE_FENCED, lease,
                           fenced_at(e, n));
    else if (owns || (!told && seen))
        failover_brake_see(e->brake, n->address, sight_of(n), lease, -1);
}

static void sweep_nodes(struct engine *e)
{
    struct membership_tally t = membership_tally(e->c.membership, e->c.kind);
    const struct node *n;
    failover_brake_count(e->brake, BRAKE_SETTLED, t.settled);
    failover_brake_count(e->brake, BRAKE_NEW, t.fresh);
    failover_brake_count(e->brake, BRAKE_DOUBTFUL, t.late);
    for (size_t i = 0;
         (n = membership_absent(e->c.membership, e->c.kind, i)) != NULL; i++)
        sweep_node(e, n);
}

/* --- owners of whom no node is known ------------------------------------- */

/* Where his node does not stand it may be forgotten at any time. */
static bool may_be_orphan(struct engine *e, const struct work_view_owner *o,
                          const struct node **n)
{
    *n = NULL;
    if (o == NULL || o->n_markers == 0 || o->gate->left)
        return false;
    *n = membership_find(e->c.membership, e->c.kind, o->address);
    return *n == NULL || !(*n)->registered;
}

static void note(struct engine *e, const struct work_view_owner *o)
{
    size_t len = strlen(o->address);
    struct orphan *p;
    assert(o->kind == e->c.kind);
    HASH_FIND(hh, e->orphans, o->address, len, p);
    if (p != NULL)
        return;
    p = mem_zalloc(sizeof(*p) + len + 1);
    memcpy(p->address, o->address, len + 1);
    HASH_ADD_KEYPTR(hh, e->orphans, p->address, len, p);
}

static void drop(struct engine *e, struct orphan *p)
{
    assert(e->orphans != NULL);
    HASH_DEL(e->orphans, p);
    mem_free(p);
}

void engine_sweep_look(struct engine *e, const char *address)
{
    const struct work_view_owner *o =
        work_view_owner(e->c.view, e->c.kind, address);
    const struct node *n;
    assert(!work_is_nobody(address));
    if (may_be_orphan(e, o, &n))
        note(e, o);
}

static void sweep_owners(struct engine *e)
{
    struct orphan *p, *next;
    HASH_ITER (hh, e->orphans, p, next) {
        const struct node *n;
        if (!may_be_orphan(e, work_view_owner(e->c.view, e->c.kind, p->address),
                           &n))
            drop(e, p);
        else if (n == NULL)
            failover_brake_see(e->brake, p->address, BRAKE_MISSING, 0, -1);
    }
}

void engine_sweep_close(struct engine *e)
{
    while (e->orphans != NULL)
        drop(e, e->orphans);
}

/* --- all owners, now and then -------------------------------------------- */

/* Does a record of this owner say that the mass brake is down? So many were
 * missing then; 0: it does not say so. */
static size_t mass_recorded(struct engine *e, const struct work_view_owner *o)
{
    const struct failover_record *r =
        work_view_failover(e->c.view, o->kind, o->address);
    if (r == NULL || r->phase != FAILOVER_HELD ||
        work_cause_of(r->cause) != CAUSE_MASS)
        return 0;
    return r->missing > 0 ? r->missing : e->c.conf->brake_min;
}

void engine_sweep_reconcile(struct engine *e)
{
    const struct work_view_owner *o = NULL;
    const struct node *n;
    e->mass_recorded = 0;
    while ((o = work_view_next(e->c.view, o)) != NULL) {
        if (o->kind != e->c.kind)
            continue;
        size_t missing = mass_recorded(e, o);
        if (missing > e->mass_recorded)
            e->mass_recorded = missing;
        if (may_be_orphan(e, o, &n))
            note(e, o);
    }
}

/* --- the sweep ----------------------------------------------------------- */

void engine_sweep_now(struct engine *e)
{
    bool unsure = failover_brake(e->brake)->in_doubt;
    if (!membership_settled(e->c.membership) || !work_view_synced(e->c.view))
        return;
    e->swept_at = e->c.clock->mono;
    failover_brake_begin(e->brake, e->swept_at, e->mass_recorded);
    sweep_nodes(e);
    sweep_owners(e);
    (void)failover_brake_end(e->brake);
    assert(failover_brake(e->brake)->missing <=
           failover_brake(e->brake)->known);
    if (unsure && !failover_brake(e->brake)->in_doubt)
        e->scanned_at = -1; /* whoever waited for that may go on at once */
}

void engine_sweep(struct engine *e)
{
    const struct settings *s = work_view_settings(e->c.view);
    wall_ms wall = e->c.clock->wall;
    if (e->swept_at < 0 || e->c.clock->mono - e->swept_at >= SWEEP_MS)
        engine_sweep_now(e);
    e->braked = engine_doubt(e);
    if (work_settings_paused(s, wall))
        e->braked = CAUSE_PAUSED;
    else if (e->braked == CAUSE_NONE && failover_brake(e->brake)->down &&
             !work_settings_overridden(s, wall))
        e->braked = CAUSE_MASS;
}
