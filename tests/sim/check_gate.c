/*
 * check_gate.c - the rules about gates and failover records.
 *
 * A gate's process changes only by INTENT (a record `intent` in the same txn,
 * under the lock), by taking an INTENT back, or when a fenced gate whose
 * failover is done, or one whose process left and owns nothing, is opened for
 * a new process. A process leaves with its registration, and nobody but the
 * holder of the lock lets anybody in after it. A closed one that nobody needs
 * goes, and with it what it said of anybody.
 */
#include "tests/sim/check.h"

#include <inttypes.h>
#include <string.h>

/* The record of this node that the txn writes; NULL. */
static struct check_failover *record_of(struct check *c, int node)
{
    for (size_t i = 0; i < c->txn.n_failovers; i++) {
        struct check_failover *f = c->txn.failovers[i];

        if (f->now.node == node)
            return f;
    }
    return NULL;
}

/* INTENT for `process`, in this txn and under the lock. */
static bool is_intent(struct check *c, int node, const struct check_id *process)
{
    const struct check_failover *f = record_of(c, node);

    return f != NULL && f->now.phase == PHASE_INTENT &&
           f->before.phase != PHASE_INTENT &&
           check_same(&f->now.process, process) &&
           check_holds(c, c->kinds[node]);
}

static bool is_take_back(struct check *c, int node,
                         const struct check_id *process)
{
    const struct check_failover *f = record_of(c, node);

    return f != NULL && f->now.phase == PHASE_ABORTED &&
           f->before.phase == PHASE_INTENT &&
           check_same(&f->now.process, process) &&
           check_holds(c, c->kinds[node]);
}

/* The past only grows; it may lose its oldest, and who is let in again. */
static void check_past(struct check *c, int node,
                       const struct check_gate_record *was,
                       const struct check_gate_record *is)
{
    for (size_t i = 0; i < was->n_past; i++)
        if (!check_in_past(is, &was->past[i]) && is->n_past < CHECK_PAST &&
            !check_same(&is->process, &was->past[i]) &&
            !is_take_back(c, node, &was->past[i]))
            check_fail(c, "past-stays", "%s: %" PRId64 " left the gate's past",
                       c->names[node], was->past[i].startup);
}

/* A process that had no gate of its own: INTENT puts it into the past, and the
 * second read may take it out again. */
static void check_departed(struct check *c, int node,
                           const struct check_gate_record *was,
                           const struct check_gate_record *is)
{
    for (size_t i = 0; i < is->n_past; i++) {
        struct check_process *p = check_process(c, node, &is->past[i]);

        if (check_in_past(was, &is->past[i]) ||
            check_same(&was->process, &is->past[i]))
            continue;
        if (!is_intent(c, node, &is->past[i]))
            check_fail(c, "gate-process",
                       "%s: %" PRId64 " joined the past without INTENT",
                       c->names[node], is->past[i].startup);
        p->fenced = true;
        p->unbroken = p->registrations > 0;
    }
    for (size_t i = 0; i < was->n_past; i++) {
        struct check_process *p = check_process(c, node, &was->past[i]);

        if (!check_in_past(is, &was->past[i]) &&
            is_take_back(c, node, &was->past[i]))
            p->fenced = p->unbroken = p->moving = false;
    }
}

static void check_first(struct check *c, int node,
                        const struct check_gate_record *is)
{
    struct check_process *p = check_process(c, node, &is->process);
    static const struct check_gate_record none;

    check_departed(c, node, &none, is);
    if (is->state != GATE_IS_FENCED)
        return;
    /* by INTENT only: of a process that never had work of ours */
    if (!is_intent(c, node, &is->process))
        check_fail(c, "gate-process", "%s: a first gate is fenced",
                   c->names[node]);
    p->fenced = true;
    p->unbroken = p->registrations > 0;
}

static void check_other_process(struct check *c, int node,
                                const struct check_gate_record *was,
                                const struct check_gate_record *is)
{
    struct check_process *old = check_process(c, node, &was->process);
    struct check_process *new = check_process(c, node, &is->process);
    bool exception = was->state == GATE_IS_FENCED &&
                     is->state != GATE_IS_FENCED &&
                     c->nodes[node].unfinished == 0;

    exception = exception ||
                (was->state == GATE_IS_LEFT && c->nodes[node].markers == 0);
    if (is_take_back(c, node, &is->process)) {
        new->fenced = new->unbroken = new->moving = false;
        /* whom INTENT had put in leaves again, by the same second read */
        old->fenced = old->moving = true;
        return;
    }
    if (!is_intent(c, node, &was->process) && !exception)
        check_fail(c, "gate-process",
                   "%s: the gate went from %" PRId64 " (%s) to %" PRId64
                   " (%s) without INTENT",
                   c->names[node], was->process.startup,
                   check_gate_name(was->state), is->process.startup,
                   check_gate_name(is->state));
    if (!check_in_past(is, &was->process))
        check_fail(c, "gate-process", "%s: %" PRId64 " did not join the past",
                   c->names[node], was->process.startup);
    if (check_in_past(was, &is->process) || new->fenced)
        check_fail(c, "fenced-stays-out",
                   "%s: the gate was given to %" PRId64 ", which was fenced",
                   c->names[node], is->process.startup);
    if (!old->fenced)
        old->unbroken = old->registrations > 0;
    old->fenced = true;
}

static void check_left(struct check *c, int node,
                       const struct check_gate_record *was,
                       const struct check_gate_record *is)
{
    bool was_left = was->state == GATE_IS_LEFT;
    bool is_left = is->state == GATE_IS_LEFT;

    if (is_left && !was_left &&
        check_process(c, node, &is->process)->registrations > 0)
        check_fail(c, "leaves-with-its-key",
                   "%s: %" PRId64 " left and is registered", c->names[node],
                   is->process.startup);
    if (was_left && !is_left && !check_holds(c, c->kinds[node]))
        check_fail(c, "under-the-lock",
                   "%s: the gate of who left went to %s without the lock",
                   c->names[node], check_gate_name(is->state));
    c->result->leaves += is_left && !was_left;
}

static void check_same_process(struct check *c, int node,
                               const struct check_gate_record *was,
                               const struct check_gate_record *is)
{
    struct check_process *p = check_process(c, node, &is->process);
    bool was_fenced = was->state == GATE_IS_FENCED;
    bool is_fenced = is->state == GATE_IS_FENCED;

    if (is_fenced && !was_fenced) {
        if (!is_intent(c, node, &is->process))
            check_fail(c, "gate-process",
                       "%s: %" PRId64
                       " was fenced without INTENT under the lock",
                       c->names[node], is->process.startup);
        p->fenced = true;
        p->unbroken = p->registrations > 0;
    } else if (was_fenced && !is_fenced) {
        if (!is_take_back(c, node, &is->process) &&
            !(c->readmit && c->nodes[node].unfinished == 0 &&
              c->nodes[node].markers == 0))
            check_fail(c, "fenced-stays-out",
                       "%s: %" PRId64 " was let in again", c->names[node],
                       is->process.startup);
        p->fenced = p->unbroken = p->moving = false;
    }
}

/* A drain stands until its time is over, or until a person takes it back,
 * whoever comes and goes. Its time counts from when it was given. */
static void check_drain(struct check *c, int node,
                        const struct check_gate_record *was,
                        const struct check_gate_record *is)
{
    struct check_node *n = &c->nodes[node];
    bool engine = check_holds(c, c->kinds[node]);

    if (is->drain_of.known && is->state != GATE_IS_DRAINING &&
        is->state != GATE_IS_FENCED && is->state != GATE_IS_LEFT)
        check_fail(c, "drain-stands", "%s is drained and %s", c->names[node],
                   check_gate_name(is->state));
    if (is->drain_of.known && is->order != was->order) {
        n->drain_until = c->txn.at + is->for_ms;
        return;
    }
    if (is->drain_of.known && !check_same(&is->drain_of, &was->drain_of))
        check_fail(c, "drain-stands",
                   "%s: a drain of %" PRId64 " became one of %" PRId64,
                   c->names[node], was->drain_of.startup, is->drain_of.startup);
    if (!was->drain_of.known || is->drain_of.known)
        return;
    if (engine && c->txn.at < n->drain_until)
        check_fail(
            c, "drain-stands",
            "%s: the drain of %" PRId64 " ended %" PRId64 " ms before its time",
            c->names[node], was->drain_of.startup, n->drain_until - c->txn.at);
    if (!engine && !n->undrain_asked)
        check_fail(c, "drain-stands",
                   "%s: the drain of %" PRId64
                   " was taken back, which nobody asked for",
                   c->names[node], was->drain_of.startup);
}

/* Only people end a cordon, and they need no lock. */
static void check_cordon(struct check *c, int node,
                         const struct check_gate_record *was,
                         const struct check_gate_record *is)
{
    bool cordoned = is->cordoned || is->state == GATE_IS_CORDONED ||
                    is->state == GATE_IS_LEFT; /* whose state is not kept */

    if ((was->cordoned || was->state == GATE_IS_CORDONED) && !cordoned &&
        check_holds(c, c->kinds[node]))
        check_fail(c, "cordon-stays", "%s: a failover ended its cordon",
                   c->names[node]);
}

/* A gate goes when nobody needs it, under the lock, and the floor above all
 * that its address ever had. Whoever comes there next is a new life. */
static void check_forgotten(struct check *c, int node,
                            const struct check_gate_record *was)
{
    const struct check_node *n = &c->nodes[node];
    bool closed = was->state == GATE_IS_FENCED || was->state == GATE_IS_LEFT;
    bool bound = was->cordoned || was->drain_of.known || was->heir.known;

    if (!check_holds(c, c->kinds[node]))
        check_fail(c, "under-the-lock", "the gate of %s went without the lock",
                   c->names[node]);
    if (!closed || bound || n->markers > 0 || n->unfinished > 0)
        check_fail(c, "gate-stays",
                   "the gate of %s was removed: %s, %s, %zu markers, %u open "
                   "failovers",
                   c->names[node], check_gate_name(was->state),
                   bound ? "bound" : "not bound", n->markers, n->unfinished);
    if (n->top > c->floor)
        check_fail(c, "epochs-grow",
                   "the gate of %s was removed, it had %" PRIu64
                   " and the floor is %" PRIu64,
                   c->names[node], n->top, c->floor);
    for (struct check_process *p = n->processes; p != NULL; p = p->next)
        p->fenced = p->moving = p->unbroken = p->ordered = p->bereft = false;
    c->result->forgotten++;
}

void check_gate_change(struct check *c, int node)
{
    const struct check_gate_record *was = &c->nodes[node].gate_before;
    const struct check_gate_record *is = &c->nodes[node].gate;

    trace(c->trace,
          "  gate %s %s %" PRId64 " v%" PRIu64 " (was %s %" PRId64
          ") by %" PRIu64,
          c->names[node], check_gate_name(is->state), is->process.startup,
          is->version, check_gate_name(was->state), was->process.startup,
          c->txn.writer);
    if (is->state == GATE_IS_ABSENT) {
        check_forgotten(c, node, was);
        return;
    }
    check_left(c, node, was, is);
    check_drain(c, node, was, is);
    check_cordon(c, node, was, is);
    if (was->state == GATE_IS_ABSENT) {
        check_first(c, node, is);
        return;
    }
    check_past(c, node, was, is);
    if (!check_same(&was->process, &is->process)) {
        check_other_process(c, node, was, is);
        return;
    }
    check_departed(c, node, was, is);
    check_same_process(c, node, was, is);
}

/* --- records ------------------------------------------------------------- */

static bool may_follow(enum check_phase was, enum check_phase is)
{
    switch (was) {
    case PHASE_NONE: /* `moving` at once: for what was fenced before */
        return is == PHASE_HELD || is == PHASE_INTENT || is == PHASE_MOVING ||
               is == PHASE_QUEUED;
    case PHASE_QUEUED:
        return is != PHASE_MOVING && is != PHASE_DONE;
    case PHASE_HELD:
        return is != PHASE_MOVING;
    case PHASE_INTENT:
        return is == PHASE_INTENT || is == PHASE_MOVING || is == PHASE_ABORTED;
    case PHASE_MOVING:
        return is == PHASE_MOVING || is == PHASE_DONE;
    case PHASE_DONE:
    case PHASE_ABORTED:
        return is == PHASE_NONE;
    }
    return false;
}

/* A person's word goes before invariant 5. */
static bool by_a_person(const struct check_failover_record *r)
{
    return strcmp(r->cause, "forced") == 0 || strcmp(r->cause, "drain") == 0;
}

static void count_unfinished(struct check *c, const struct check_failover *f)
{
    bool was =
        f->before.phase == PHASE_INTENT || f->before.phase == PHASE_MOVING;
    bool is = f->now.phase == PHASE_INTENT || f->now.phase == PHASE_MOVING;
    struct check_node *n = &c->nodes[f->now.node];

    n->unfinished += (unsigned)is - (unsigned)was;
    if (n->unfinished > 1)
        check_fail(c, "one-failover", "%s has %u unfinished failovers",
                   c->names[f->now.node], n->unfinished);
}

static void check_moving(struct check *c, struct check_failover *f)
{
    struct check_process *p = check_process(c, f->now.node, &f->now.process);

    if (!p->fenced)
        check_fail(c, "taken-after-intent",
                   "%s moves the work of %s %" PRId64 ", which is not fenced",
                   f->id, c->names[f->now.node], f->now.process.startup);
    if (p->unbroken && f->before.phase == PHASE_INTENT && !by_a_person(&f->now))
        check_fail(c, "registered-loses-nothing",
                   "%s: %" PRId64 " was registered without a break from "
                   "INTENT on, and %s (%s) moves its work",
                   c->names[f->now.node], f->now.process.startup, f->id,
                   f->now.cause);
    p->moving = true;
    p->ordered = by_a_person(&f->now);
}

/* The deadline is that of the process which was to hand over. */
static void check_whose_drain(struct check *c, const struct check_failover *f)
{
    const struct check_node *n = &c->nodes[f->now.node];

    if (strcmp(f->now.cause, "drain") == 0 &&
        !check_same(&n->gate_before.drain_of, &f->now.process))
        check_fail(c, "drain-stands",
                   "%s: %" PRId64 " was fenced at the deadline of %" PRId64,
                   c->names[f->now.node], f->now.process.startup,
                   n->gate_before.drain_of.startup);
}

void check_failover_change(struct check *c, struct check_failover *f)
{
    enum check_phase was = f->before.phase, is = f->now.phase;

    trace(c->trace,
          "  failover %s %s %s (was %s) of %" PRId64 " fence %" PRIu64
          " %s by %" PRIu64,
          f->id, c->names[f->now.node], check_phase_name(is),
          check_phase_name(was), f->now.process.startup, f->now.fence,
          f->now.cause, c->txn.writer);
    if (!may_follow(was, is))
        check_fail(c, "record-once", "%s went from %s to %s", f->id,
                   check_phase_name(was), check_phase_name(is));
    if (f->finished && is != PHASE_NONE)
        check_fail(c, "record-once", "%s was finished and lives again", f->id);
    bool withdrawn = (was == PHASE_QUEUED || was == PHASE_HELD) &&
                     is == PHASE_ABORTED && f->withdraw_asked;
    bool order = is == PHASE_QUEUED || withdrawn;
    if (!order && !check_holds(c, f->kind) &&
        (is != PHASE_NONE || !check_holds(c, 1 - f->kind)))
        check_fail(c, "under-the-lock",
                   "%s: written by %" PRIu64 ", the lock is held by %" PRIu64,
                   f->id, c->txn.writer, c->txn.holder[f->kind]);
    if (is != PHASE_NONE &&
        f->now.fence != c->txn.fence[f->kind] + c->back.fence_base &&
        is != PHASE_HELD && !order)
        check_fail(c, "fences-grow",
                   "%s says fence %" PRIu64 ", the lock has %" PRIu64, f->id,
                   f->now.fence, c->txn.fence[f->kind]);
    count_unfinished(c, f);
    if (is == PHASE_MOVING && was != PHASE_MOVING)
        check_moving(c, f);
    if (is == PHASE_INTENT && was != PHASE_INTENT)
        check_whose_drain(c, f);
    if (is == PHASE_INTENT && was != PHASE_INTENT)
        check_process(c, f->now.node, &f->now.process)->moving = false;
    if (is == PHASE_DONE || is == PHASE_ABORTED) {
        f->finished = true;
        c->result->failovers += is == PHASE_DONE;
    }
}
