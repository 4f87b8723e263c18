/*
 * work_queue.c - where to look next. Design: what we remember is judged by
 * the same failover_decide() that judges a fresh read; only where it would do
 * something do we trouble the lock, and there everything is read again.
 */
#include "failover/engine/engine_priv.h"

#include "base/planted.h"

#include <stdio.h>
#include <string.h>

#define VISITED_MS       250  /* our caches lag this much behind our writes */
#define FRUITLESS_MS     1000 /* nothing could be done: not at once again */
#define FRUITLESS_MS_MAX (INT64_C(5) * 60 * 1000)

/* --- does an address want us? -------------------------------------------- */

static bool has_past_marker(struct engine *e, const char *address,
                            const struct gate *gate)
{
    const struct work_view_owner *o =
        work_view_owner(e->c.view, e->c.kind, address);
    const struct marker *m = NULL;
    assert(gate->n_past <= GATE_PAST_MAX);
    if (o == NULL || (o->n_foreign == 0 && gate->state != GATE_FENCED))
        return false; /* nearly always: no walk over all it owns */
    while ((m = work_view_marker_next(e->c.view, e->c.kind, address,
                                      m != NULL ? m->id : NULL)) != NULL)
        if (failover_plan_movable(gate, &m->process))
            return true;
    return false;
}

/* While our own session is in doubt we only observe; a record is written for
 * what had been told as DOWN before. */
static bool wants_hold(struct engine *e, const char *address,
                       const struct failover_seen *seen,
                       enum failover_cause cause)
{
    const struct node *n = membership_find(e->c.membership, e->c.kind, address);
    assert(cause != CAUSE_NONE);
    if (seen->record != NULL)
        return work_cause_of(seen->record->cause) != cause;
    /* the collector would take it away again: nothing is held back by it */
    if (!seen->owns && !e->hooked &&
        work_view_failovers(e->c.view) >= COLLECT_FAILOVERS_KEPT)
        return false;
    return cause != CAUSE_SESSION || (n != NULL && n->state == NODE_DOWN);
}

static const struct failover_task no_order; /* nobody ordered it */

/* A fenced process is there again, and may be let in. */
static bool readmits(const struct engine *e, const struct failover_seen *seen)
{
    return e->c.conf->readmit && seen->gate.state == GATE_FENCED &&
           seen->n_registered > 0 &&
           process_same(&seen->registered[0], &seen->gate.process);
}

/* Is there something to do for it, as `seen` is judged? `moved`: nothing of its
 * past is left, whatever our view still shows. */
static bool wants_as(struct engine *e, const char *address,
                     const struct failover_seen *seen, bool moved)
{
    enum failover_cause cause;
    switch (failover_decide(seen, &no_order, &cause)) {
    case FAILOVER_NOTHING:
    case FAILOVER_ALIVE:
    case FAILOVER_UNREADABLE:
        return false;
    case FAILOVER_TO_HOLD:
        return wants_hold(e, address, seen, cause);
    case FAILOVER_TO_LIST:
        return (!moved && has_past_marker(e, address, &seen->gate)) ||
               readmits(e, seen);
    default:
        return true;
    }
}

bool engine_queue_wants_more(struct engine *e, const char *address,
                             const struct gate *gate)
{
    struct failover_seen seen;
    if (!engine_remember(e, address, &seen))
        return false;
    seen.gate = *gate;
    seen.record = NULL; /* our view may not know yet that it is done */
    return wants_as(e, address, &seen, true);
}

static bool wants(struct engine *e, const char *address)
{
    struct failover_seen seen;
    return engine_remember(e, address, &seen) &&
           wants_as(e, address, &seen, false);
}

static struct queue_entry *entry_of(struct engine *e, const char *address)
{
    size_t len = strlen(address);
    struct queue_entry *a;
    assert(address[0] != '\0');
    assert(len <= NODE_ADDRESS_MAX);
    HASH_FIND_STR(e->work_queue, address, a);
    if (a == NULL) {
        a = slab_take(&e->entries);
        memcpy(a->address, address, len + 1);
        HASH_ADD_KEYPTR(hh, e->work_queue, a->address, len, a);
    }
    return a;
}

/* All that could make us see an address with other eyes. */
static uint64_t fingerprint(struct engine *e, const char *address)
{
    const struct work_view_owner *o =
        work_view_owner(e->c.view, e->c.kind, address);
    const struct node *n = membership_find(e->c.membership, e->c.kind, address);
    const struct failover_record *r =
        work_view_failover(e->c.view, e->c.kind, address);
    uint64_t sum = work_view_settings(e->c.view)->version;
    struct failover_seen seen;
    enum failover_cause cause = CAUSE_NONE;
    if (engine_remember(e, address, &seen))
        sum = sum * 31 + (uint64_t)failover_decide(&seen, &no_order, &cause);
    sum = sum * 31 + cause;
    sum = sum * 31 + (o != NULL ? o->index : 0);
    sum = sum * 31 + (r != NULL ? r->version : 0);
    sum = sum * 31 + failover_brake(e->brake)->down;
    sum = sum * 31 + failover_brake(e->brake)->in_doubt;
    if (n != NULL)
        sum = sum * 31 + n->process.created * 8 + (uint64_t)n->state * 2 +
              n->registered;
    return sum;
}

static void forget(struct engine *e, struct queue_entry *a)
{
    HASH_DEL(e->work_queue, a);
    slab_give(&e->entries, a);
}

void engine_queue_close(struct engine *e)
{
    struct queue_entry *a, *next;
    HASH_ITER (hh, e->work_queue, a, next)
        forget(e, a);
}

void engine_look(struct engine *e, const char *address)
{
    if (work_is_nobody(address))
        return;
    (void)entry_of(e, address);
    engine_sweep_look(e, address);
}

/* Reconcile: every owner that wants something, however it came to that. */
static void scan(struct engine *e)
{
    const struct work_view_owner *o = NULL;
    assert(work_view_synced(e->c.view));
    assert(membership_synced(e->c.membership));
    while ((o = work_view_next(e->c.view, o)) != NULL)
        if (o->kind == e->c.kind && wants(e, o->address))
            engine_look(e, o->address);
    engine_gone_look(e);
}

void engine_queue_tick(struct engine *e)
{
    mono_ms now = e->c.clock->mono;
    bool known =
        work_view_synced(e->c.view) && membership_synced(e->c.membership);
    bool due =
        known && (e->scanned_at < 0 ||
                  now - e->scanned_at >= e->c.conf->reconcile_interval_ms);
    if (due)
        engine_sweep_reconcile(e);
    engine_sweep(e);
    if (due && e->c.conf->enabled) {
        e->scanned_at = now;
        scan(e);
    }
}

/* --- finished work ------------------------------------------------------- */

/* One kind collects for both: the floor is common to them. One txn a hold, so
 * that nobody waits for the lock for longer. */
static bool collecting_wanted(struct engine *e, bool this_hold)
{
    return e->c.kind == NODE_MASTER &&
           !(this_hold && e->collect_hold == e->hold) &&
           engine_collect_wanted(e->collect);
}

/* In a hold in which nothing else was written (forget.h), once. */
static bool forgetting_wanted(struct engine *e, bool this_hold)
{
    if (this_hold && (e->used_hold == e->hold || e->collect_hold == e->hold))
        return false;
    return engine_forgetting_wanted(e->forgetting);
}

/* --- the queue ----------------------------------------------------------- */

/* A person's failover goes on where none begins by itself. */
static bool is_ordered(struct engine *e, const char *address)
{
    const struct failover_record *r =
        work_view_failover(e->c.view, e->c.kind, address);
    return r != NULL && (r->phase == FAILOVER_QUEUED || r->who[0] != '\0');
}

/* The first address that still wants us; entries that do not are dropped. */
static struct queue_entry *first_wanting(struct engine *e, bool this_hold)
{
    struct queue_entry *a, *next;
    mono_ms now = e->c.clock->mono;
    HASH_ITER (hh, e->work_queue, a, next) {
        if (!e->c.conf->enabled && !is_ordered(e, a->address)) {
            if (now >= a->not_before && !wants(e, a->address))
                forget(e, a);
            continue;
        }
        if (this_hold && a->hold == e->hold)
            continue;
        if (now < a->not_before &&
            (a->in_vain == 0 || fingerprint(e, a->address) == a->why))
            continue;
        if (wants(e, a->address))
            return a;
        forget(e, a);
    }
    return NULL;
}

size_t engine_pending(struct engine *e)
{
    struct queue_entry *a, *next;
    size_t n = 0;
    HASH_ITER (hh, e->work_queue, a, next) {
        n += (e->c.conf->enabled || is_ordered(e, a->address)) &&
             wants(e, a->address);
    }
    return n;
}

bool engine_queue_wanted(struct engine *e)
{
    if (engine_orders_next(e) != NULL || engine_orders_queueing(e))
        return true;
    if (!work_view_synced(e->c.view) || !membership_synced(e->c.membership))
        return false;
    return first_wanting(e, false) != NULL || engine_waiting_wanted(e) ||
           forgetting_wanted(e, false) || collecting_wanted(e, false);
}

bool engine_queue_collects(struct engine *e)
{
    return engine_orders_next(e) == NULL && first_wanting(e, true) == NULL &&
           !engine_waiting_wanted(e);
}

static void take(struct failover_task *task, enum failover_task_type type,
                 const char *address)
{
    *task = (struct failover_task){.type = type};
    (void)snprintf(task->address, sizeof(task->address), "%s", address);
}

bool engine_queue_next(struct engine *e, struct failover_task *task)
{
    struct order *o = engine_orders_next(e);
    assert(e->lock != NULL);
    assert(e->current == NULL);
    if (o != NULL) {
        assert(!o->queueing);
        o->taken = true;
        e->current = o;
        *task = o->task;
        e->used_hold = e->hold;
        return true;
    }
    engine_sweep_now(e); /* who was lost since the last one counts already */
    struct queue_entry *a = first_wanting(e, true);
    if (a != NULL) {
        a->hold = e->used_hold = e->hold;
        take(task, FAILOVER_TASK_ADDRESS, a->address);
        return true;
    }
    if (engine_waiting_wanted(e)) {
        e->waiting.not_before = e->c.clock->mono + VISITED_MS;
        take(task, FAILOVER_TASK_WAITING, WORK_NOBODY);
        e->used_hold = e->hold;
        return true;
    }
    if (forgetting_wanted(e, true)) {
        e->collect_hold = e->hold;
        e->forgets = true;
        take(task, FAILOVER_TASK_COLLECT, "");
        return true;
    }
    if (collecting_wanted(e, true)) {
        e->collect_hold = e->hold;
        e->forgets = false;
        take(task, FAILOVER_TASK_COLLECT, "");
        return true;
    }
    return false;
}

/* The lock is not taken twice for the same reason: what was visited in vain is
 * visited again when it looks different, else after a time that doubles. */
static mono_ms pause_after(struct engine *e, struct queue_entry *a,
                           bool in_vain)
{
    int64_t ms = FRUITLESS_MS;
    a->in_vain = in_vain ? a->in_vain + 1 : 0;
    a->why = fingerprint(e, a->address);
    if (!in_vain)
        return VISITED_MS;
    for (unsigned i = 1; i < a->in_vain && ms < FRUITLESS_MS_MAX; i++)
        ms *= 2;
    return ms < FRUITLESS_MS_MAX ? ms : FRUITLESS_MS_MAX;
}

void engine_queue_settled(struct engine *e, const struct failover_task *task,
                          enum failover_outcome outcome)
{
    mono_ms now = e->c.clock->mono;
    bool in_vain = failover_outcome_is_in_vain(outcome);
    assert(e->lock != NULL);
    switch (task->type) {
    case FAILOVER_TASK_ADDRESS: {
        struct queue_entry *a = entry_of(e, task->address);
        a->not_before = now + pause_after(e, a, in_vain);
        /* interrupted, rotated: the next hold goes on with it */
        a->hold = e->hold;
        return;
    }
    case FAILOVER_TASK_WAITING:
        e->waiting.not_before = now + VISITED_MS;
        engine_waiting_settled(e, in_vain);
        return;
    case FAILOVER_TASK_COLLECT:
        return;
    }
}
