/*
 * write.c - the gate and the record that a state of the step puts. Design: each
 * works on both as they were just read, so that the write at their versions
 * changes what was looked at and nothing else.
 */
#include "failover/failover_priv.h"

#include "base/planted.h"

#include <string.h>

#define COPY_TEXT(field, text)                                                 \
    do {                                                                       \
        size_t copy_len_ = strnlen((text), sizeof(field) - 1);                 \
        memmove((field), (text), copy_len_);                                   \
        (field)[copy_len_] = '\0';                                             \
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

void failover_fence(struct gate *gate, const struct process *old,
                    const struct process *fresh, bool over)
{
    bool lease = gate->state == GATE_RESTARTING;
    gate->process = *old; /* of a first gate */
    gate->left = false;
    gate->cordoned = gate->cordoned || gate->state == GATE_CORDONED;
    if (fresh != NULL) {
        gate_retire(gate, old);
        reopen(gate, fresh, over);
        if (lease)
            gate->heir_of = *old;
        return;
    }
    /* an heir that is fenced first leaves nothing to inherit: what it was to
     * have is of the past already and moves normally */
    memset(&gate->heir_of, 0, sizeof(gate->heir_of));
    if (over || !gate->drain_of.known)
        end_drain(gate);
    gate->state = GATE_FENCED;
}

static void new_record(struct failover *f)
{
    struct failover_record *r = &f->record;
    assert(!f->has_record);
    assert(f->new_id[0] != '\0');
    memset(r, 0, sizeof(*r));
    COPY_TEXT(r->id, f->new_id);
    r->kind = f->config.kind;
    COPY_TEXT(r->address, f->task.address);
    r->began = f->ev->wall;
    r->hook_exit = -1;
    COPY_TEXT(r->who, f->task.who);
    COPY_TEXT(r->reason, f->task.reason);
    f->has_record = true;
}

static void note_seen(struct failover *f)
{
    const struct failover_seen *seen = f->ev->seen;
    struct failover_record *r = &f->record;
    assert(f->has_record);
    assert(f->locked);
    r->process = *failover_subject(seen, &f->task);
    r->gate_version = f->gate.version;
    r->registry_revision = seen->revision;
    r->session = seen->session;
    r->last_heartbeat = seen->last_heartbeat;
    COPY_TEXT(r->coordinator, f->config.self);
    r->fence = f->fence;
}

void failover_write_intent(struct failover *f, enum failover_cause cause)
{
    const struct failover_seen *seen = f->ev->seen;
    struct gate *gate = &f->gate;
    assert(cause != CAUSE_NONE);
    assert(f->locked);
    if (!f->has_record)
        new_record(f);
    struct failover_record *r = &f->record;
    note_seen(f);
    r->phase = FAILOVER_INTENT;
    COPY_TEXT(r->cause, work_cause(cause)->word);
    r->then[0] = '\0';
    r->if_match[0] = '\0';
    if (cause == CAUSE_DRAIN) {
        COPY_TEXT(r->who, gate->who);
        COPY_TEXT(r->reason, gate->reason);
    }
    r->fenced_at = f->ev->wall;

    const struct process old = r->process;
    const struct process *fresh =
        failover_is_registered(seen, &old) ? NULL : failover_fresh(seen);
    COPY_TEXT(gate->failover, r->id);
    if (cause == CAUSE_DEPARTED) {
        gate_retire(gate, &old); /* who the gate names stays */
        return;
    }
    assert(gate->state != GATE_FENCED);
    failover_fence(gate, &old, fresh, seen->over);
}

void failover_write_take_back(struct failover *f)
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
    f->record.finished = f->ev->wall;
    failover_take_over(f);
}

void failover_write_hold(struct failover *f, enum failover_cause cause)
{
    const struct failover_seen *seen = f->ev->seen;
    assert(cause != CAUSE_NONE);
    assert(f->locked);
    if (!f->has_record) {
        new_record(f);
        COPY_TEXT(f->record.then, work_cause(f->task.force     ? CAUSE_FORCED
                                             : f->task.ordered ? CAUSE_ORDER
                                                               : CAUSE_NONE)
                                      ->word);
    }
    note_seen(f);
    f->record.phase = FAILOVER_HELD;
    bool mass = cause == CAUSE_MASS;
    f->record.missing = mass ? seen->missing : 0;
    f->record.known = mass ? seen->known : 0;
    COPY_TEXT(f->record.cause, work_cause(cause)->word);
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
    COPY_TEXT(r->coordinator, f->config.self);
    r->session = f->session;
    r->fence = f->fence;
}

void failover_write_moving(struct failover *f)
{
    assert(f->has_record && f->record.phase == FAILOVER_INTENT);
    f->record.phase = FAILOVER_MOVING;
    if (f->record.fenced_at == 0)
        f->record.fenced_at = f->ev->wall;
    failover_take_over(f);
}

void failover_write_reconcile(struct failover *f)
{
    assert(!f->has_record);
    new_record(f);
    struct failover_record *r = &f->record;
    r->process = f->gate.state != GATE_FENCED && f->gate.n_past > 0
                     ? f->gate.past[0]
                     : f->gate.process;
    r->gate_version = f->gate.version;
    r->phase = FAILOVER_MOVING;
    COPY_TEXT(r->cause, work_cause(CAUSE_RECONCILE)->word);
    COPY_TEXT(r->coordinator, f->config.self);
    r->session = f->session;
    r->fence = f->fence;
    r->fenced_at = f->ev->wall;
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
