/*
 * decide.c - what should happen to an address. Design: one verdict from one
 * fresh read; whoever asks twice about the same facts gets the same answer, so
 * that a resumed failover needs no memory of the coordinator that began it.
 */
#include "failover/failover_priv.h"

#include "base/planted.h"

#include <string.h>

static bool of_the_past(const struct gate *gate, const struct process *p)
{
    for (size_t i = 0; i < gate->n_past; i++) {
        if (process_same(&gate->past[i], p))
            return true;
    }
    return false;
}

bool failover_stands(const struct failover_seen *seen, const struct process *p)
{
    for (size_t i = 0; i < seen->n_standing; i++) {
        if (process_same(&seen->standing[i], p))
            return true;
    }
    return false;
}

bool failover_present(const struct failover_seen *seen)
{
    const struct gate *gate = &seen->gate;
    if (!gate->left)
        return failover_stands(seen, &gate->process);
    for (size_t i = 0; i < seen->n_standing; i++) {
        if (gate_returned(gate, &seen->standing[i]))
            return true;
    }
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
    for (size_t i = 0; i < seen->n_standing; i++) {
        const struct process *p = &seen->standing[i];
        /* a process of the past counts as absent, or two processes that take
         * turns at one key would fence each other for ever */
        if (is_other(seen, p) && !of_the_past(&seen->gate, p) &&
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

/* Would a failover begin here if nothing held it back? Its cause, or NULL. */
static const char *begins(const struct failover_seen *seen, bool ordered,
                          bool force)
{
    const struct gate *gate = &seen->gate;
    if (failover_present(seen)) {
        if (force)
            return "forced";
        if (gate->state == GATE_DRAINING && seen->over && !came_after(gate))
            return "drain";
        return NULL;
    }
    const struct process *fresh = failover_fresh(seen);
    if (fresh != NULL && !comes_late(seen, fresh))
        return gate->state == GATE_RESTARTING ? "restart" : "replaced";
    if (seen->unknown)
        return NULL; /* it may be the very process: wait until it can be read */
    if (ordered)
        return force ? "forced" : "order";
    if (gate->state == GATE_RESTARTING)
        return NULL; /* the lease promises that it comes back */
    if (gate->left)
        return seen->owns && !planted(PLANTED_LEFT_FORGOTTEN) ? "left" : NULL;
    return seen->down ? "down" : NULL;
}

/* Nobody stands there, as far as we can see. */
static bool absent(const struct failover_seen *seen)
{
    return seen->gate.state == GATE_ABSENT
               ? seen->n_standing == 0
               : !failover_present(seen) && failover_fresh(seen) == NULL;
}

/* What holds a failover back that would begin. The mass brake guards against
 * believing in an absence that is our own blindness; a new process that stands
 * at the address, a drain's deadline, or the word of one that left, needs no
 * such belief. */
static const char *held_back(const struct failover_seen *seen)
{
    if (seen->paused)
        return "paused";
    if (seen->doubt != NULL)
        return seen->doubt;
    if (absent(seen) && seen->mass && !seen->gate.left)
        return "mass";
    return NULL;
}

static enum failover_verdict held_or_begun(const struct failover_seen *seen,
                                           bool ordered, const char *why,
                                           const char **cause)
{
    const char *held = held_back(seen);
    if (held == NULL && seen->unsure && absent(seen) && !seen->gate.left &&
        !ordered)
        return FAILOVER_NOTHING; /* observe, do not act */
    *cause = held != NULL ? held : why;
    return held != NULL ? FAILOVER_TO_HOLD : FAILOVER_TO_INTENT;
}

static enum failover_verdict decide_fenced(const struct failover_seen *seen)
{
    if (failover_fresh(seen) != NULL)
        return FAILOVER_TO_ADMIT;
    return seen->record != NULL ? FAILOVER_TO_DROP : FAILOVER_TO_LIST;
}

static enum failover_verdict decide_quiet(const struct failover_seen *seen,
                                          bool ordered)
{
    const struct gate *gate = &seen->gate;
    bool stands = failover_present(seen);
    if (ordered && stands)
        return FAILOVER_ALIVE;
    if (ordered && seen->unknown)
        return FAILOVER_UNREADABLE;
    if (gate->state == GATE_RESTARTING && seen->over && !gate->left)
        return FAILOVER_TO_LEASE_END;
    if (gate->state == GATE_DRAINING && seen->over && came_after(gate) &&
        !gate->left)
        return FAILOVER_TO_LEASE_END;
    if (seen->record != NULL)
        return stands || gate->left ? FAILOVER_TO_DROP : FAILOVER_NOTHING;
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
static const char *departed(const struct failover_seen *seen)
{
    const struct failover_record *r = seen->record;
    if (!seen->gone.known || !seen->hooked || seen->unknown ||
        (r != NULL && !process_same(&r->process, &seen->gone)))
        return NULL;
    return seen->down || seen->n_standing > 0 ? "departed" : NULL;
}

/* The same where no gate was ever made. */
static const char *begins_first(const struct failover_seen *seen, bool ordered,
                                bool force)
{
    if (force && seen->n_standing > 0)
        return "forced";
    if (!seen->gone.known || seen->unknown)
        return NULL;
    if (seen->n_standing > 0)
        return seen->hooked ? "replaced" : NULL;
    if (ordered)
        return force ? "forced" : "order";
    return seen->hooked && seen->down ? "down" : NULL;
}

static enum failover_verdict
decide_quiet_first(const struct failover_seen *seen, bool ordered)
{
    const struct failover_record *r = seen->record;
    if (ordered && seen->n_standing > 0)
        return FAILOVER_ALIVE;
    if (ordered && seen->unknown)
        return FAILOVER_UNREADABLE;
    if (r != NULL && (failover_stands(seen, &r->process) || !seen->gone.known ||
                      !seen->hooked))
        return FAILOVER_TO_DROP;
    return FAILOVER_NOTHING;
}

const struct process *failover_subject(const struct failover_seen *seen,
                                       const struct failover_task *task)
{
    const struct failover_record *r = seen->record;
    bool force = task->force || (r != NULL && strcmp(r->then, "forced") == 0);
    bool ordered =
        force || task->ordered || (r != NULL && strcmp(r->then, "order") == 0);
    if (seen->gate.state == GATE_ABSENT)
        return force && seen->n_standing > 0 ? &seen->standing[0] : &seen->gone;
    if (seen->gate.state == GATE_FENCED || begins(seen, ordered, force) == NULL)
        return &seen->gone;
    return &seen->gate.process;
}

/* An order that waited for the lock and has it now, and nothing to do with it:
 * it ends with that, but for an identity that will be readable soon. */
static enum failover_verdict decide_queued(const struct failover_seen *seen)
{
    return seen->unknown ? FAILOVER_NOTHING : FAILOVER_TO_DROP;
}

enum failover_verdict failover_decide(const struct failover_seen *seen,
                                      const struct failover_task *task,
                                      const char **cause)
{
    const struct failover_record *r = seen->record;
    assert(r == NULL || !failover_phase_final(r->phase));
    *cause = "";
    if (r != NULL && !planted(PLANTED_NO_RESUME)) {
        if (r->phase == FAILOVER_INTENT)
            return FAILOVER_TO_VERIFY;
        if (r->phase == FAILOVER_MOVING)
            return FAILOVER_TO_RESUME;
    }
    /* a held record remembers what a person ordered */
    bool forced = r != NULL && strcmp(r->then, "forced") == 0;
    bool ordered = forced || (r != NULL && strcmp(r->then, "order") == 0);
    ordered = ordered || task->ordered;
    forced = forced || task->force;
    bool queued = r != NULL && r->phase == FAILOVER_QUEUED;
    if (seen->gate.state == GATE_ABSENT) {
        const char *why = begins_first(seen, ordered, forced);
        if (why == NULL && queued)
            return decide_queued(seen);
        return why != NULL ? held_or_begun(seen, ordered, why, cause)
                           : decide_quiet_first(seen, task->ordered);
    }
    const char *gone = departed(seen);
    if (seen->gate.state == GATE_FENCED) {
        enum failover_verdict v = decide_fenced(seen);
        return gone != NULL && v != FAILOVER_TO_ADMIT
                   ? held_or_begun(seen, ordered, gone, cause)
                   : v;
    }
    if (admits(seen))
        return FAILOVER_TO_ADMIT;
    const char *why = begins(seen, ordered, forced);
    if (why == NULL && queued && !task->ordered)
        return decide_queued(seen);
    if (why == NULL && !task->ordered)
        why = gone;
    return why != NULL ? held_or_begun(seen, ordered, why, cause)
                       : decide_quiet(seen, task->ordered);
}
