/*
 * write.c - the gate and the record that a state of the step puts. Design: each
 * works on both as they were just read, so that the write at their versions
 * changes what was looked at and nothing else.
 */
#include "failover/failover_priv.h"

#include "base/planted.h"

#include <string.h>

#define SAY(field, text)                                                       \
    do {                                                                       \
        size_t say_len_ = strnlen((text), sizeof(field) - 1);                  \
        memmove((field), (text), say_len_);                                    \
        (field)[say_len_] = '\0';                                              \
    } while (0)

static void end_drain(struct gate *gate)
{
    memset(&gate->drain_of, 0, sizeof(gate->drain_of));
    gate->for_ms = 0;
}

/* A cordon belongs to the address: whatever process the gate opens for, and
 * also one that a person ordered since INTENT. So does a drain, until it is
 * `over`: people drain a host to stop its process. */
static void reopen(struct gate *gate, const struct process *p, bool over)
{
    gate->cordoned = gate->cordoned || gate->state == GATE_CORDONED;
    gate->process = *p;
    gate->left = false;
    memset(&gate->heir_of, 0, sizeof(gate->heir_of));
    if (gate->drain_of.known && !over && !planted(PLANTED_DRAIN_LOST)) {
        gate->state = GATE_DRAINING;
        return;
    }
    gate->state = gate->cordoned ? GATE_CORDONED : GATE_OPEN;
    end_drain(gate);
    if (!gate->cordoned) {
        gate->who[0] = '\0';
        gate->reason[0] = '\0';
        gate->ordered = 0;
    }
    assert(gate->state != GATE_FENCED && !gate->left);
}

static void new_record(struct failover *f, wall_ms wall)
{
    struct failover_record *r = &f->record;
    assert(!f->has_record);
    assert(f->new_id[0] != '\0');
    memset(r, 0, sizeof(*r));
    SAY(r->id, f->new_id);
    r->kind = f->config.kind;
    SAY(r->address, f->task.address);
    r->began = wall;
    r->hook_exit = -1;
    SAY(r->who, f->task.who);
    SAY(r->reason, f->task.reason);
    f->has_record = true;
}

static void note_seen(struct failover *f, const struct failover_seen *seen)
{
    struct failover_record *r = &f->record;
    assert(f->has_record);
    assert(f->locked);
    r->process = *failover_subject(seen, &f->task);
    r->gate_version = f->gate.version;
    r->registry_revision = seen->revision;
    r->session = seen->session;
    r->last_heartbeat = seen->last_heartbeat;
    SAY(r->coordinator, f->config.self);
    r->fence = f->fence;
}

void failover_write_intent(struct failover *f, const struct failover_seen *seen,
                           enum failover_cause cause, wall_ms wall)
{
    struct gate *gate = &f->gate;
    assert(cause != CAUSE_NONE);
    assert(f->locked);
    if (!f->has_record)
        new_record(f, wall);
    struct failover_record *r = &f->record;
    note_seen(f, seen);
    r->phase = FAILOVER_INTENT;
    SAY(r->cause, failover_cause_name(cause));
    r->then[0] = '\0';
    r->if_match[0] = '\0';
    if (cause == CAUSE_DRAIN) {
        SAY(r->who, gate->who);
        SAY(r->reason, gate->reason);
    }
    r->fenced_at = wall;

    const struct process old = r->process;
    const struct process *fresh =
        failover_is_registered(seen, &old) ? NULL : failover_fresh(seen);
    SAY(gate->failover, r->id);
    if (cause == CAUSE_DEPARTED) {
        gate_retire(gate, &old); /* who the gate names stays */
        return;
    }
    assert(gate->state != GATE_FENCED);
    gate->process = old; /* of a first gate */
    bool lease = gate->state == GATE_RESTARTING;
    gate->left = false;
    gate->cordoned = gate->cordoned || gate->state == GATE_CORDONED;
    if (fresh != NULL) {
        gate_retire(gate, &old);
        reopen(gate, fresh, seen->over);
        if (lease)
            gate->heir_of = old;
    } else {
        /* an heir that is fenced first leaves nothing to inherit: what it was
         * to have is of the past already and moves normally */
        memset(&gate->heir_of, 0, sizeof(gate->heir_of));
        if (seen->over || !gate->drain_of.known)
            end_drain(gate);
        gate->state = GATE_FENCED;
    }
}

void failover_write_take_back(struct failover *f, wall_ms wall)
{
    struct gate *gate = &f->gate;
    const struct process back = f->record.process;
    assert(f->has_record && f->record.phase == FAILOVER_INTENT);
    gate_unretire(gate, &back); /* first: nobody falls out of a full past */
    if (work_cause_of(f->record.cause) != CAUSE_DEPARTED) {
        if (process_differs(&gate->process, &back))
            gate_retire(gate, &gate->process);
        reopen(gate, &back, f->over);
    }
    f->record.phase = FAILOVER_ABORTED;
    f->record.finished = wall;
    failover_take_over(f);
}

void failover_write_hold(struct failover *f, const struct failover_seen *seen,
                         enum failover_cause cause, wall_ms wall)
{
    assert(cause != CAUSE_NONE);
    assert(f->locked);
    if (!f->has_record) {
        new_record(f, wall);
        SAY(f->record.then,
            failover_cause_name(f->task.force     ? CAUSE_FORCED
                                : f->task.ordered ? CAUSE_ORDER
                                                  : CAUSE_NONE));
    }
    note_seen(f, seen);
    f->record.phase = FAILOVER_HELD;
    bool mass = cause == CAUSE_MASS;
    f->record.missing = mass ? seen->missing : 0;
    f->record.known = mass ? seen->known : 0;
    SAY(f->record.cause, failover_cause_name(cause));
}

void failover_write_open(struct failover *f, const struct process *fresh)
{
    struct gate *gate = &f->gate;
    const struct process old = gate->process;
    assert(f->gate.state != GATE_ABSENT);
    if (process_differs(fresh, &old))
        gate_retire(gate, &old);
    gate_unretire(gate, fresh);
    reopen(gate, fresh, f->over);
}

/* Another hold of ours in the same session only carries on. */
void failover_take_over(struct failover *f)
{
    struct failover_record *r = &f->record;
    assert(f->has_record);
    assert(f->locked);
    if (r->fence == f->fence)
        return;
    if (strcmp(r->coordinator, f->config.self) != 0 || r->session != f->session)
        r->resumed++;
    SAY(r->coordinator, f->config.self);
    r->session = f->session;
    r->fence = f->fence;
}

void failover_write_moving(struct failover *f, wall_ms wall)
{
    assert(f->has_record && f->record.phase == FAILOVER_INTENT);
    f->record.phase = FAILOVER_MOVING;
    if (f->record.fenced_at == 0)
        f->record.fenced_at = wall;
    failover_take_over(f);
}

void failover_write_reconcile(struct failover *f, wall_ms wall)
{
    assert(!f->has_record);
    new_record(f, wall);
    struct failover_record *r = &f->record;
    r->process = f->gate.state != GATE_FENCED && f->gate.n_past > 0
                     ? f->gate.past[0]
                     : f->gate.process;
    r->gate_version = f->gate.version;
    r->phase = FAILOVER_MOVING;
    SAY(r->cause, failover_cause_name(CAUSE_RECONCILE));
    SAY(r->coordinator, f->config.self);
    r->session = f->session;
    r->fence = f->fence;
    r->fenced_at = wall;
}

static void add_target(struct failover_record *r,
                       const struct failover_target *t)
{
    assert(r->n_targets <= FAILOVER_TARGETS_MAX);
    for (size_t i = 0; i < r->n_targets; i++) {
        if (strcmp(r->targets[i].address, t->address) == 0) {
            r->targets[i].items += t->items;
            return;
        }
    }
    if (r->n_targets < FAILOVER_TARGETS_MAX)
        r->targets[r->n_targets++] = *t;
}

void failover_add_counts(struct failover_record *r,
                         const struct failover_counts *c)
{
    assert(c->n_targets <= FAILOVER_TARGETS_MAX);
    r->moved += c->moved;
    r->held += c->held;
    r->dropped += c->dropped;
    r->waiting += c->waiting;
    r->digest += c->digest; /* order-independent: batches overtake each other */
    for (size_t i = 0; i < c->n_targets; i++)
        add_target(r, &c->targets[i]);
}
