/*
 * place.c - finding a node that takes an item.
 *
 * The port chooses by load, from memory; the gate, read afresh, decides. Only
 * the process that the gate names may take work, and its version goes into
 * the txn. A node whose gate does not match is left out and another is chosen:
 * whoever assigns never writes another process into a gate.
 */
#include "work/work_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

void work_op_unpick(struct work_op *op)
{
    if (op->target.counted && op->w->config.unused != NULL) {
        op->w->config.unused(op->w->config.target_arg, op->want.kind,
                             &op->target);
    }
    work_op_used(op);
    assert(!op->target.counted);
}

void work_op_used(struct work_op *op)
{
    op->target.pick = 0;
    op->target.counted = false;
}

static bool excluded(const struct work_op *op, const char *address)
{
    assert(op->n_exclude <= WORK_EXCLUDE_MAX);
    for (size_t i = 0; i < op->n_exclude; i++)
        if (strcmp(op->exclude[i], address) == 0)
            return true;
    return false;
}

void work_op_exclude(struct work_op *op, const char *address)
{
    assert(address[0] != '\0');
    if (op->n_exclude < WORK_EXCLUDE_MAX && !excluded(op, address))
        op->exclude[op->n_exclude++] = mem_strdup(address);
}

const struct process *work_op_process(const struct work_op *op,
                                      enum node_kind kind, const char *address)
{
    const struct node *node =
        membership_find(op->w->config.membership, kind, address);

    if (node == NULL || node->state != NODE_UP || !node->registered ||
        !node->process.known)
        return NULL;
    return &node->process;
}

static void choose(struct work_op *op);

static void nobody(struct work_op *op)
{
    assert(op->nobody != NULL);
    op->target.address[0] = '\0';
    assert(!op->target.counted);
    if (op->target.code == PROBLEM_NONE) {
        op->target.code = PROBLEM_ALL_BUSY;
        op->target.retry_after_ms = 1000;
    }
    op->nobody(op);
}

static void on_gate(struct work_op *op)
{
    assert(op->pending == 0);
    assert(op->process.known);
    if (gate_takes(&op->gate, &op->process)) {
        op->chosen(op);
        return;
    }
    log_debug("=gate-closed", LOG_S("kind", node_kind_name(op->want.kind)),
              LOG_S("address", op->target.address),
              LOG_S("state", gate_state_name(op->gate.state)));
    work_op_exclude(op, op->target.address);
    choose(op);
}

static void choose(struct work_op *op)
{
    const struct process *p;

    assert(op->n_exclude <= WORK_EXCLUDE_MAX);
    assert(op->pending == 0);
    for (;;) {
        work_op_unpick(op);
        op->target = (struct work_target){.code = PROBLEM_NONE};
        if (op->n_exclude == WORK_EXCLUDE_MAX) {
            nobody(op);
            return;
        }
        op->w->config.target(op->w->config.target_arg, op->want.kind,
                             op->want.group, (const char *const *)op->exclude,
                             op->n_exclude, &op->target);
        if (op->target.code != PROBLEM_NONE ||
            excluded(op, op->target.address)) {
            work_op_unpick(op);
            nobody(op);
            return;
        }
        p = work_op_process(op, op->want.kind, op->target.address);
        if (p != NULL)
            break;
        work_op_exclude(op, op->target.address);
    }
    op->process = *p;
    work_op_gather(op, READ(READ_GATE), on_gate);
}

void work_op_choose(struct work_op *op, op_step_f *chosen, op_step_f *no)
{
    assert(chosen != NULL);
    assert(no != NULL);
    op->chosen = chosen;
    op->nobody = no;
    choose(op);
}
