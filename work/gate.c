/*
 * gate.c - a person's orders at a gate: cordon, drain, restart.
 *
 * An order applies to the process that the gate names now, by one put at the
 * version that was read, and of the floor: a gate that was forgotten meanwhile
 * is not written anew. It never touches a fenced gate, which only a failover
 * may open. A cordon belongs to the address: beside another state it is kept as
 * a flag, so that it is there again when that state ends. So does a drain,
 * until its time is over: it always has one, of 10 minutes unless it is said.
 */
#include "work/work_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ORDER_DEFAULT_MS (INT64_C(10) * 60 * 1000)
#define ORDER_MAX_MS     (INT64_C(30) * 24 * 3600 * 1000)

static bool same(const struct gate *a, const struct gate *b)
{
    return a->state == b->state && a->cordoned == b->cordoned &&
           a->for_ms == b->for_ms && strcmp(a->who, b->who) == 0 &&
           strcmp(a->reason, b->reason) == 0 &&
           process_same(&a->process, &b->process) &&
           a->drain_of.known == b->drain_of.known;
}

static void note_order(struct gate *gate, const struct gate_order *order,
                       wall_ms now)
{
    assert(order->who != NULL);
    assert(order->reason != NULL);
    (void)snprintf(gate->who, sizeof(gate->who), "%s", order->who);
    (void)snprintf(gate->reason, sizeof(gate->reason), "%s", order->reason);
    gate->ordered = now;
}

static void clear_order(struct gate *gate)
{
    gate->who[0] = gate->reason[0] = '\0';
    gate->ordered = 0;
}

/* The state that is left when a drain or a restart lease ends. */
static void resume(struct gate *gate)
{
    assert(gate->state != GATE_ABSENT);
    if (gate->state != GATE_FENCED) {
        gate->state = gate->cordoned ? GATE_CORDONED : GATE_OPEN;
        gate->cordoned = false;
    }
    gate->drain_of = (struct process){0};
    gate->for_ms = 0;
    clear_order(gate);
}

static bool cordon(struct gate *gate, const struct gate_order *order,
                   wall_ms now)
{
    assert(order->what == GATE_ORDER_CORDON);
    switch (gate->state) {
    case GATE_OPEN:
    case GATE_CORDONED:
        gate->state = order->undo ? GATE_OPEN : GATE_CORDONED;
        gate->cordoned = false;
        if (order->undo)
            clear_order(gate);
        else
            note_order(gate, order, now);
        return true;
    case GATE_DRAINING:
    case GATE_RESTARTING:
        gate->cordoned = !order->undo; /* the other order's words stay */
        return true;
    default:
        return false;
    }
}

/* Drain, or a restart lease: `to`. One does not replace the other. A drain that
 * waits beside FENCED for the next process can be taken back, too. */
static bool limit(struct gate *gate, enum gate_state to,
                  const struct gate_order *order, wall_ms now)
{
    bool kept = to == GATE_DRAINING && gate->drain_of.known;

    assert(to == GATE_DRAINING || to == GATE_RESTARTING);
    assert(order->for_ms > 0);
    if (gate->state == GATE_FENCED && !(order->undo && kept))
        return false;
    if (order->undo) {
        if (gate->state == to || kept)
            resume(gate);
        return true;
    }
    if (gate->state == GATE_OPEN || gate->state == GATE_CORDONED) {
        gate->cordoned = gate->state == GATE_CORDONED;
        gate->state = to;
    }
    if (gate->state != to)
        return false;
    if (gate->left && to == GATE_RESTARTING)
        return false; /* nobody is there who could come back to its work */
    gate->for_ms = order->for_ms;
    gate->order++;
    if (to == GATE_DRAINING)
        gate->drain_of = gate->process;
    note_order(gate, order, now);
    return true;
}

static bool apply(struct gate *gate, const struct gate_order *order,
                  wall_ms now)
{
    assert(gate->state != GATE_ABSENT);
    if (order->what == GATE_ORDER_CORDON)
        return cordon(gate, order, now);
    return limit(
        gate, order->what == GATE_ORDER_DRAIN ? GATE_DRAINING : GATE_RESTARTING,
        order, now);
}

static void gate_won(struct work_op *op)
{
    assert(op->next_gate.state != GATE_ABSENT);
    op->gate = op->next_gate;
    work_op_reply(op, PROBLEM_NONE, NULL);
}

static void refuse(struct work_op *op)
{
    bool fenced = op->gate.state == GATE_FENCED;
    bool left = op->gate.left && op->order.what == GATE_ORDER_RESTART;

    assert(op->gate.state != GATE_ABSENT);
    err_set(&op->trouble, ERR_CONFLICT, "%s %s %s%s: %s",
            node_kind_name(op->order.kind), op->order_address,
            left ? "has " : "is ",
            left ? "left" : gate_state_name(op->gate.state),
            fenced ? "its work is being or was moved; start it anew"
            : left ? "it has no work to come back to; whoever comes next "
                     "is let in"
                   : "take that back first");
    work_op_reply(op, PROBLEM_GATE_CONFLICT, NULL);
}

/* The gate to change; a first one for the process that is registered. */
static bool present(struct work_op *op)
{
    const struct process *p;

    op->next_gate = op->gate;
    if (op->gate.state != GATE_ABSENT)
        return true;
    p = work_op_process(op, op->order.kind, op->order_address);
    if (p == NULL)
        return false;
    op->next_gate = (struct gate){.state = GATE_OPEN, .process = *p};
    assert(op->next_gate.state == GATE_OPEN);
    return true;
}

static void gate_read_step(struct work_op *op)
{
    struct op_txn t;
    bool absent = op->gate.state == GATE_ABSENT;
    assert(op->type == OP_GATE);
    assert(op->pending == 0);
    /* A drain or lease said again begins anew: its time counts from then. Our
     * own, from before an unknown outcome, is recognised instead. */
    bool renew = !op->order.undo && !op->attempt.doubt &&
                 op->order.what != GATE_ORDER_CORDON;

    if (absent && op->order.undo) {
        work_op_reply(op, PROBLEM_NONE,
                      NULL); /* there is nothing to take back */
        return;
    }
    if (!present(op)) {
        err_set(&op->trouble, ERR_NOT_FOUND,
                "%s %s: never had work and is not up",
                node_kind_name(op->order.kind), op->order_address);
        work_op_reply_unless_doubt(op, PROBLEM_NO_OWNER);
        return;
    }
    if (!apply(&op->next_gate, &op->order, op->w->config.clock->wall)) {
        refuse(op);
        return;
    }
    if (!absent && !renew && same(&op->gate, &op->next_gate)) {
        work_op_reply(op, PROBLEM_NONE, NULL);
        return;
    }
    work_txn_init(&t);
    work_txn_floor(&t, op);
    work_txn_put_gate(&t, op->order.kind, op->order_address, &op->next_gate,
                      op->gate.version);
    work_op_send(op, &t, gate_won);
}

/* A copy whose strings are the operation's own. */
static int take(struct work_op *op, const struct gate_order *order,
                struct err *err)
{
    int rc = node_check_address(order->address, err);

    op->order = *order;
    op->order.who = op->order_who;
    op->order.reason = op->order_reason;
    (void)snprintf(op->order_who, sizeof(op->order_who), "%s",
                   order->who == NULL ? "" : order->who);
    (void)snprintf(op->order_reason, sizeof(op->order_reason), "%s",
                   order->reason == NULL ? "" : order->reason);
    if (rc == 0 && (order->for_ms < 0 || order->for_ms > ORDER_MAX_MS)) {
        rc = err_set(err, ERR_INVALID, "for: up to 30 days, not %" PRId64 " ms",
                     order->for_ms);
    }
    if (rc == 0 && order->what == GATE_ORDER_CORDON && order->for_ms != 0) {
        rc = err_set(err, ERR_INVALID,
                     "for: a cordon stands until it is taken back");
    }
    if (rc == 0) {
        (void)node_canonical(order->address, op->order_address);
        op->order.address = op->order_address;
    }
    if (order->for_ms == 0)
        op->order.for_ms = ORDER_DEFAULT_MS;
    return rc;
}

void work_gate_order(struct work *w, const struct gate_order *order,
                     gate_reply_f *done, void *arg)
{
    static const struct op_verb verb = {
        .reads = READ(READ_FLOOR) | READ(READ_GATE), .then = gate_read_step};
    struct work_op *op = work_op_new(w, &verb);
    int rc;

    assert(done != NULL && order->address != NULL);
    op->type = OP_GATE;
    op->gate_done = done;
    op->arg = arg;
    rc = take(op, order, &op->trouble);
    work_op_start(op, rc == 0 ? PROBLEM_NONE : PROBLEM_INVALID);
}
