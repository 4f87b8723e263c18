/*
 * decide.c - what should happen to an address. Design: one verdict from
 * what was read of it (freshly, before anything is written; what was told, to
 * see whether a visit is worth it); whoever asks twice about the same facts
 * gets the same answer, so that a resumed failover needs no memory of the
 * coordinator that began it.
 */
#include "failover/failover_priv.h"

#include "base/planted.h"

#include <string.h>

bool failover_is_registered(const struct failover_seen *seen,
                            const struct process *p)
{
    assert(seen->n_registered <= FAILOVER_PROCESSES_MAX);
    for (size_t i = 0; i < seen->n_registered; i++)
        if (process_same(&seen->registered[i], p))
            return true;
    return false;
}

bool failover_present(const struct failover_seen *seen)
{
    const struct gate *gate = &seen->gate;
    if (!gate->left)
        return failover_is_registered(seen, &gate->process);
    for (size_t i = 0; i < seen->n_registered; i++)
        if (gate_returned(gate, &seen->registered[i]))
            return true;
    return false;
}

/* Than the one that the gate names, or that a first gate would name. */
static bool is_other(const struct failover_seen *seen, const struct process *p)
{
    return seen->gate.state == GATE_ABSENT
               ? process_differs(p, &seen->gone)
               : process_differs(p, &seen->gate.process);
}

const struct process *failover_fresh(const struct failover_seen *seen)
{
    const struct process *fresh = NULL;
    assert(seen->n_registered <= FAILOVER_PROCESSES_MAX);
    for (size_t i = 0; i < seen->n_registered; i++) {
        const struct process *p = &seen->registered[i];
        /* a process of the past counts as absent, or two processes that take
         * turns at one key would fence each other for ever */
        if (is_other(seen, p) && !gate_bars(&seen->gate, p) &&
            (fresh == NULL || p->startup_time > fresh->startup_time))
            fresh = p;
    }
    return fresh;
}

/* An earlier process than the gate's: that it stands there says nothing of the
 * gate's own, whose key it may have written over. Membership says when that one
 * is gone. */
static bool comes_late(const struct failover_seen *seen,
                       const struct process *fresh)
{
    assert(seen->gate.state != GATE_ABSENT);
    return fresh->startup_time < seen->gate.process.startup_time &&
           !seen->yielded;
}

/* --- the verdict --------------------------------------------------------- */

/* The process that was to hand over is gone: who stands here now was never
 * given work, and the drain's end lets it be. */
static bool came_after(const struct gate *gate)
{
    return gate->drain_of.known &&
           process_differs(&gate->drain_of, &gate->process);
}

/* Would a failover begin here if nothing held it back? Its cause, or NONE. */
static enum failover_cause begins(const struct failover_seen *seen,
                                  bool ordered, bool force)
{
    const struct gate *gate = &seen->gate;
    assert(seen->gate.state != GATE_ABSENT);
    assert(seen->gate.state != GATE_FENCED);
    if (failover_present(seen)) {
        if (force)
            return CAUSE_FORCED;
        if (gate->state == GATE_DRAINING && seen->over && !came_after(gate))
            return CAUSE_DRAIN;
        return CAUSE_NONE;
    }
    const struct process *fresh = failover_fresh(seen);
    if (fresh != NULL && !comes_late(seen, fresh))
        return gate->state == GATE_RESTARTING ? CAUSE_RESTART : CAUSE_REPLACED;
    if (seen->unknown)
        return CAUSE_NONE; /* it may be the very process: wait until it
                                       can be read */
    if (ordered)
        return force ? CAUSE_FORCED : CAUSE_ORDER;
    if (gate->state == GATE_RESTARTING)
        return CAUSE_NONE; /* the lease promises that it comes back */
    if (gate->left)
        return seen->owns && !planted(PLANTED_LEFT_FORGOTTEN) ? CAUSE_LEFT
                                                              : CAUSE_NONE;
    return seen->down ? CAUSE_DOWN : CAUSE_NONE;
}

/* Nobody stands there, as far as we can see. */
static bool absent(const struct failover_seen *seen)
{
    return seen->gate.state == GATE_ABSENT
               ? seen->n_registered == 0
               : !failover_present(seen) && failover_fresh(seen) == NULL;
}

/* What holds a failover back that would begin. The mass brake guards against
 * believing in an absence that is our own blindness; a new process that stands
 * at the address, a drain's deadline, or the word of one that left, needs no
 * such belief. */
static enum failover_cause held_back(const struct failover_seen *seen)
{
    if (seen->paused)
        return CAUSE_PAUSED;
    if (seen->doubt != CAUSE_NONE)
        return seen->doubt;
    if (absent(seen) && seen->mass && !seen->gate.left)
        return CAUSE_MASS;
    return CAUSE_NONE;
}

static enum failover_verdict held_or_begun(const struct failover_seen *seen,
                                           bool ordered,
                                           enum failover_cause why,
                                           enum failover_cause *cause)
{
    enum failover_cause held = held_back(seen);
    assert(why != CAUSE_NONE);
    if (held == CAUSE_NONE && seen->unsure && absent(seen) &&
        !seen->gate.left && !ordered)
        return FAILOVER_NOTHING; /* observe, do not act */
    *cause = held != CAUSE_NONE ? held : why;
    return held != CAUSE_NONE ? FAILOVER_TO_HOLD : FAILOVER_TO_INTENT;
}

static enum failover_verdict decide_fenced(const struct failover_seen *seen)
{
    assert(seen->gate.state == GATE_FENCED);
    if (failover_fresh(seen) != NULL)
        return FAILOVER_TO_ADMIT;
    return seen->record != NULL ? FAILOVER_TO_DROP : FAILOVER_TO_LIST;
}

static enum failover_verdict decide_quiet(const struct failover_seen *seen,
                                          bool ordered)
{
    const struct gate *gate = &seen->gate;
    bool present = failover_present(seen);
    assert(seen->gate.state != GATE_ABSENT);
    assert(seen->gate.state != GATE_FENCED);
    if (ordered && present)
        return FAILOVER_ALIVE;
    if (ordered && seen->unknown)
        return FAILOVER_UNREADABLE;
    if (gate->state == GATE_RESTARTING && seen->over && !gate->left)
        return FAILOVER_TO_LEASE_END;
    if (gate->state == GATE_DRAINING && seen->over && came_after(gate) &&
        !gate->left)
        return FAILOVER_TO_LEASE_END;
    if (seen->record != NULL)
        return present || gate->left ? FAILOVER_TO_DROP : FAILOVER_NOTHING;
    return gate->left ? FAILOVER_NOTHING : FAILOVER_TO_LIST;
}

/* Somebody is there again and nothing is to be moved first: the gate opens for
 * him. */
static bool admits(const struct failover_seen *seen)
{
    return seen->gate.left && (failover_present(seen) ||
                               (!seen->owns && failover_fresh(seen) != NULL));
}

/* A process that went without a gate of its own. */
static enum failover_cause departed(const struct failover_seen *seen)
{
    const struct failover_record *r = seen->record;
    assert(seen->gate.state != GATE_ABSENT);
    if (!seen->gone.known || !seen->hooked || seen->unknown ||
        (r != NULL && !process_same(&r->process, &seen->gone)))
        return CAUSE_NONE;
    return seen->down || seen->n_registered > 0 ? CAUSE_DEPARTED : CAUSE_NONE;
}

/* The same where no gate was ever made. */
static enum failover_cause begins_first(const struct failover_seen *seen,
                                        bool ordered, bool force)
{
    assert(seen->gate.state == GATE_ABSENT);
    if (force && seen->n_registered > 0)
        return CAUSE_FORCED;
    if (!seen->gone.known || seen->unknown)
        return CAUSE_NONE;
    if (seen->n_registered > 0)
        return seen->hooked ? CAUSE_REPLACED : CAUSE_NONE;
    if (ordered)
        return force ? CAUSE_FORCED : CAUSE_ORDER;
    return seen->hooked && seen->down ? CAUSE_DOWN : CAUSE_NONE;
}

static enum failover_verdict
decide_quiet_first(const struct failover_seen *seen, bool ordered)
{
    const struct failover_record *r = seen->record;
    if (ordered && seen->n_registered > 0)
        return FAILOVER_ALIVE;
    if (ordered && seen->unknown)
        return FAILOVER_UNREADABLE;
    if (r != NULL && (failover_is_registered(seen, &r->process) ||
                      !seen->gone.known || !seen->hooked))
        return FAILOVER_TO_DROP;
    return FAILOVER_NOTHING;
}

/* What people want of it: a held record remembers what one ordered. */
static void orders(const struct failover_seen *seen,
                   const struct failover_task *task, bool *ordered,
                   bool *forced)
{
    enum failover_cause then =
        seen->record != NULL ? work_cause_of(seen->record->then) : CAUSE_NONE;
    *forced = task->force || then == CAUSE_FORCED;
    *ordered = task->ordered || then == CAUSE_FORCED || then == CAUSE_ORDER;
}

const struct process *failover_subject(const struct failover_seen *seen,
                                       const struct failover_task *task)
{
    bool ordered, force;
    orders(seen, task, &ordered, &force);
    ordered = ordered || force;
    if (seen->gate.state == GATE_ABSENT)
        return force && seen->n_registered > 0 ? &seen->registered[0]
                                               : &seen->gone;
    if (seen->gate.state == GATE_FENCED ||
        begins(seen, ordered, force) == CAUSE_NONE)
        return &seen->gone;
    return &seen->gate.process;
}

/* An order that waited for the lock and has it now, and nothing to do with it:
 * it ends with that, but for an identity that will be readable soon. */
static enum failover_verdict decide_queued(const struct failover_seen *seen)
{
    assert(seen->record != NULL);
    assert(seen->record->phase == FAILOVER_QUEUED);
    return seen->unknown ? FAILOVER_NOTHING : FAILOVER_TO_DROP;
}

enum failover_verdict failover_decide(const struct failover_seen *seen,
                                      const struct failover_task *task,
                                      enum failover_cause *cause)
{
    const struct failover_record *r = seen->record;
    assert(r == NULL || !failover_phase_final(r->phase));
    *cause = CAUSE_NONE;
    if (r != NULL && !planted(PLANTED_NO_RESUME)) {
        if (r->phase == FAILOVER_INTENT)
            return FAILOVER_TO_VERIFY;
        if (r->phase == FAILOVER_MOVING)
            return FAILOVER_TO_RESUME;
    }
    bool ordered, forced;
    orders(seen, task, &ordered, &forced);
    bool queued = r != NULL && r->phase == FAILOVER_QUEUED;
    if (seen->gate.state == GATE_ABSENT) {
        enum failover_cause why = begins_first(seen, ordered, forced);
        if (why == CAUSE_NONE && queued)
            return decide_queued(seen);
        return why != CAUSE_NONE ? held_or_begun(seen, ordered, why, cause)
                                 : decide_quiet_first(seen, task->ordered);
    }
    enum failover_cause gone = departed(seen);
    if (seen->gate.state == GATE_FENCED) {
        enum failover_verdict v = decide_fenced(seen);
        return gone != CAUSE_NONE && v != FAILOVER_TO_ADMIT
                   ? held_or_begun(seen, ordered, gone, cause)
                   : v;
    }
    if (admits(seen))
        return FAILOVER_TO_ADMIT;
    enum failover_cause why = begins(seen, ordered, forced);
    if (why == CAUSE_NONE && queued && !task->ordered)
        return decide_queued(seen);
    if (why == CAUSE_NONE && !task->ordered)
        why = gone;
    return why != CAUSE_NONE ? held_or_begun(seen, ordered, why, cause)
                             : decide_quiet(seen, task->ordered);
}
