/*
 * check_item.c - the rules about work.
 */
#include "tests/sim/check.h"

#include <inttypes.h>
#include <string.h>

static bool asked(const struct check_asked *a, uint64_t epoch)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->epochs[i] == epoch)
            return true;
    return false;
}

static const char *owner_name(const struct check *c,
                              const struct check_record *r)
{
    return r->owner >= 0 ? c->names[r->owner] : "-";
}

/* (1) one marker where the record says, and nowhere else. */
static void check_agreement(struct check *c, int i)
{
    const struct check_item *item = &c->items[i];
    const struct check_record *r = &item->now;
    const struct check_marker *m = &item->markers[0];
    bool owned = r->state == ITEM_ASSIGNED;
    bool marked = owned || r->state == ITEM_WAITING || r->state == ITEM_HELD;

    if (item->n_markers != (marked ? 1u : 0u)) {
        check_fail(c, "record-and-marker", "w-%d is %s and has %zu markers", i,
                   check_state_name(r->state), item->n_markers);
        return;
    }
    if (!marked)
        return;
    if (m->epoch != r->epoch || m->kind != r->kind ||
        m->node != (owned ? r->owner : CHECK_NOBODY) ||
        (owned && !check_same(&m->process, &r->process)))
        check_fail(c, "record-and-marker",
                   "w-%d: %s at %s, epoch %" PRIu64
                   "; its marker is at %s, epoch %" PRIu64,
                   i, check_state_name(r->state), owner_name(c, r), r->epoch,
                   m->node >= 0 ? c->names[m->node] : "-", m->epoch);
}

/* An heir gets what its predecessor owned, even under a cordon: that is no new
 * work for the address. */
static bool inherits(const struct check_item *item,
                     const struct check_gate_record *g)
{
    return item->before.state == ITEM_ASSIGNED &&
           item->before.owner == item->now.owner &&
           check_same(&item->before.process, &g->heir) &&
           (g->state == GATE_IS_OPEN || g->state == GATE_IS_CORDONED);
}

/* Work is given only to the process of an open gate. */
static void check_given(struct check *c, int i)
{
    const struct check_record *r = &c->items[i].now;
    const struct check_gate_record *g = check_gate(c, r->owner);
    bool open = g->state == GATE_IS_OPEN && !g->cordoned;

    if ((!open && !inherits(&c->items[i], g)) ||
        !check_same(&g->process, &r->process))
        check_fail(c, "open-gate",
                   "w-%d was given to %s %" PRId64 ", whose gate is %s with "
                   "%" PRId64,
                   i, owner_name(c, r), r->process.startup,
                   check_gate_name(g->state), g->process.startup);
    if (check_process(c, r->owner, &r->process)->fenced)
        check_fail(c, "fenced-stays-out",
                   "w-%d was given to %s %" PRId64 ", which was fenced", i,
                   owner_name(c, r), r->process.startup);
}

static void check_under_lock(struct check *c, int i, const char *what)
{
    enum node_kind kind = c->items[i].now.kind;

    if (!check_holds(c, kind))
        check_fail(c, "under-the-lock",
                   "w-%d was %s by %" PRIu64 " with fence %" PRIu64
                   "; the lock is held by %" PRIu64 " with %" PRIu64,
                   i, what, c->txn.writer, c->txn.checked[kind],
                   c->txn.holder[kind], c->txn.fence[kind]);
}

/* (2) taken from its process. */
static void check_taken(struct check *c, int i)
{
    const struct check_record *was = &c->items[i].before;
    const struct check_record *is = &c->items[i].now;
    struct check_process *p = check_process(c, was->owner, &was->process);

    if (!is->last_failover && asked(&c->items[i].handover, was->epoch))
        return;
    c->result->moves++;
    check_under_lock(c, i, "taken from its owner");
    if (!p->fenced)
        check_fail(c, "taken-after-intent",
                   "w-%d was taken from %s %" PRId64 ", which is not fenced", i,
                   owner_name(c, was), was->process.startup);
    if (!p->moving)
        check_fail(c, "taken-after-intent",
                   "w-%d was taken from %s %" PRId64 " before the second read",
                   i, owner_name(c, was), was->process.startup);
    if (!p->ordered && !p->bereft) {
        p->bereft = true;
        c->taken[was->kind]++;
    }
    if (!p->ordered && c->works != NULL &&
        c->works(c->arg, was->owner, &was->process))
        check_fail(c, "two-owners",
                   "w-%d was taken from %s %" PRId64 ", which works on it", i,
                   owner_name(c, was), was->process.startup);
}

static void check_created(struct check *c, int i)
{
    const struct check_item *item = &c->items[i];

    if (item->now.state != ITEM_ASSIGNED)
        check_fail(c, "one-owner", "w-%d begins as %s", i,
                   check_state_name(item->now.state));
    if (item->now.epoch <= item->top || item->now.epoch <= c->floor)
        check_fail(c, "epochs-grow",
                   "w-%d begins at %" PRIu64 ", it had %" PRIu64
                   ", the floor is %" PRIu64,
                   i, item->now.epoch, item->top, c->floor);
}

static void check_removed(struct check *c, int i)
{
    const struct check_item *item = &c->items[i];

    if (item->before.state != ITEM_DONE && item->before.state != ITEM_DROPPED)
        check_fail(c, "none-lost", "w-%d was removed while %s", i,
                   check_state_name(item->before.state));
    if (!check_holds(c, NODE_MASTER) && !check_holds(c, NODE_WORKER))
        check_fail(c, "under-the-lock", "w-%d was collected without a lock", i);
    if (c->floor < item->top)
        check_fail(c, "epochs-grow",
                   "w-%d was collected at %" PRIu64 ", the floor is %" PRIu64,
                   i, item->top, c->floor);
}

static void check_finished(struct check *c, int i)
{
    const struct check_item *item = &c->items[i];

    if (item->now.state == ITEM_DROPPED) {
        if (item->before.state == ITEM_ASSIGNED)
            check_taken(c, i);
        if (strcmp(item->now.policy, "drop") != 0)
            check_fail(c, "none-lost", "w-%d (%s) was dropped", i,
                       item->now.policy);
    } else if (!asked(&item->done, item->before.epoch)) {
        check_fail(c, "stale-epoch",
                   "w-%d was finished at %" PRIu64 ", which nobody asked for",
                   i, item->before.epoch);
    }
}

/* From nobody to somebody, or from waiting to held. */
static void check_left_nobody(struct check *c, int i)
{
    const struct check_item *item = &c->items[i];

    if (item->before.state == ITEM_WAITING)
        check_under_lock(c, i, "assigned from waiting");
    else if (!asked(&item->release, item->before.epoch))
        check_fail(c, "held-is-held", "w-%d was held and is %s", i,
                   check_state_name(item->now.state));
}

/* One above its own, or above a floor as it may have been read: at the lock's
 * grant or later; without the lock (a handover, a release), at any time. */
static bool epoch_follows(const struct check *c, const struct check_record *was,
                          const struct check_record *is)
{
    bool locked = was->state == ITEM_WAITING ||
                  (was->state == ITEM_ASSIGNED && is->last_failover);
    uint64_t floor = locked ? c->hold_floor[is->kind] : 0;
    uint64_t most = c->floor > was->epoch ? c->floor : was->epoch;

    return is->epoch > was->epoch && is->epoch > floor && is->epoch <= most + 1;
}

static void check_moved(struct check *c, int i)
{
    const struct check_item *item = &c->items[i];
    const struct check_record *was = &item->before, *is = &item->now;

    if (!epoch_follows(c, was, is))
        check_fail(c, "epochs-grow",
                   "w-%d went from %s %s to %s %s, its epoch from %" PRIu64
                   " to %" PRIu64,
                   i, check_state_name(was->state), owner_name(c, was),
                   check_state_name(is->state), owner_name(c, is), was->epoch,
                   is->epoch);
    if (was->state == ITEM_ASSIGNED)
        check_taken(c, i);
    else
        check_left_nobody(c, i);
}

/* The same owner, or none, as before: the epoch must say so, too. */
static bool stayed(const struct check_record *was,
                   const struct check_record *is)
{
    return was->state == is->state && was->owner == is->owner &&
           (was->state != ITEM_ASSIGNED ||
            check_same(&was->process, &is->process)) &&
           was->epoch == is->epoch;
}

static void check_transition(struct check *c, int i)
{
    const struct check_record *was = &c->items[i].before;
    const struct check_record *is = &c->items[i].now;

    if (is->epoch < was->epoch) {
        check_fail(c, "epochs-grow", "w-%d: from %" PRIu64 " to %" PRIu64, i,
                   was->epoch, is->epoch);
    } else if (was->state == ITEM_DONE || was->state == ITEM_DROPPED) {
        if (!stayed(was, is))
            check_fail(c, "one-owner", "w-%d was %s and is %s", i,
                       check_state_name(was->state),
                       check_state_name(is->state));
    } else if (is->state == ITEM_DONE || is->state == ITEM_DROPPED) {
        check_finished(c, i);
    } else if (!stayed(was, is)) {
        check_moved(c, i);
    }
}

void check_item_change(struct check *c, int i)
{
    struct check_item *item = &c->items[i];
    const struct check_record *was = &item->before, *is = &item->now;

    trace(c->trace,
          "  w-%d %s %s %" PRId64 " e%" PRIu64 " (was %s %s e%" PRIu64
          ") by %" PRIu64,
          i, check_state_name(is->state), owner_name(c, is),
          is->process.startup, is->epoch, check_state_name(was->state),
          owner_name(c, was), was->epoch, c->txn.writer);
    check_agreement(c, i);
    if (check_by_person(c))
        check_given_again(c, i);
    if (is->state == ITEM_ASSIGNED) {
        struct check_node *n = &c->nodes[is->owner];

        check_ledger(c, i, is->owner, &is->process, is->epoch);
        n->top = is->epoch > n->top ? is->epoch : n->top;
    }
    if (check_by_person(c)) {
        item->top = is->epoch;
        return;
    }
    if (is->state == ITEM_NONE)
        check_removed(c, i);
    else if (was->state == ITEM_NONE)
        check_created(c, i);
    else
        check_transition(c, i);
    if (is->state == ITEM_ASSIGNED &&
        (was->state != ITEM_ASSIGNED || !stayed(was, is)))
        check_given(c, i);
    if (is->epoch > item->top)
        item->top = is->epoch;
}
