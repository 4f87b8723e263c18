/*
 * place.c - finding a node that takes an item.
 *
 * The port chooses by load, from memory; the gate decides. Only the process
 * that the gate names may take work, and its version goes into the txn. A node
 * whose gate does not match is left out and another is chosen: whoever assigns
 * never writes another process into a gate.
 *
 * A gate that was open when it was read not long ago, and the floor, need not
 * be read again: a txn that is bound to their versions applies exactly if they
 * still stand as they were. If not, what is known is forgotten and the next run
 * reads all afresh. What is known of a gate that is closed is never believed.
 */
#include "work/work_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
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

/* --- what is known ------------------------------------------------------- */

static const char *known_key(const struct work_op *op,
                             char key[NODE_ADDRESS_MAX + 2])
{
    assert(op->target.address[0] != '\0');
    key[0] = (char)('0' + op->want.kind);
    (void)snprintf(key + 1, NODE_ADDRESS_MAX + 1, "%s", op->target.address);
    return key;
}

static struct work_known *find_gate(const struct work_op *op)
{
    char key[NODE_ADDRESS_MAX + 2];
    struct work_known *k;

    HASH_FIND_STR(op->w->gates, known_key(op, key), k);
    return k;
}

void work_known_free(struct work *w)
{
    struct work_known *k, *next;

    HASH_ITER (hh, w->gates, k, next) {
        HASH_DEL(w->gates, k);
        mem_free(k);
    }
    assert(w->gates == NULL);
}

static void note(const struct work_op *op, struct work_known *k,
                 uint64_t version)
{
    k->version = version;
    k->session = op->attempt.session;
    k->read_at = op->attempt.read_at;
}

void work_known_gate(struct work_op *op)
{
    struct work *w = op->w;
    struct work_known *k = find_gate(op);

    if (op->gate.version == 0 || op->gate.state == GATE_ABSENT ||
        !gate_takes(&op->gate, &op->process))
        return;
    if (k == NULL) {
        if (HASH_COUNT(w->gates) >= WORK_KNOWN_MAX)
            work_known_free(w);
        k = mem_zalloc(sizeof(*k));
        (void)known_key(op, k->key);
        HASH_ADD_STR(w->gates, key, k);
    }
    k->process = op->gate.process;
    k->floor = op->floor_version;
    note(op, k, op->gate.version);
}

void work_known_floor(struct work_op *op)
{
    if (op->floor_version == 0)
        return;
    op->w->floor.floor = op->floor;
    note(op, &op->w->floor, op->floor_version);
}

/* For half of the time for which it may be written upon: it is on its way for
 * some of it. */
static bool take(struct work_op *op, const struct work_known *k)
{
    const struct work_config *c = &op->w->config;

    if (op->attempt.conflicts > 0 || op->attempt.doubt || k == NULL ||
        k->version == 0 || k->session != op->attempt.session ||
        registry_session(c->registry) != k->session || k->session == 0 ||
        c->clock->mono - k->read_at >=
            registry_session_timeout(c->registry) / 2)
        return false;
    if (k->read_at < op->attempt.read_at)
        op->attempt.read_at = k->read_at;
    return true;
}

bool work_take_known_gate(struct work_op *op)
{
    const struct work_known *k = find_gate(op);

    if (k == NULL || k->floor != op->floor_version ||
        !process_same(&k->process, &op->process) || !take(op, k))
        return false;
    op->gate = (struct gate){.state = GATE_OPEN, .process = k->process};
    op->gate.version = k->version;
    assert(gate_takes(&op->gate, &op->process));
    return true;
}

bool work_take_known_floor(struct work_op *op)
{
    const struct work_known *k = &op->w->floor;

    if (!take(op, k))
        return false;
    op->floor = k->floor;
    op->floor_version = k->version;
    return true;
}

void work_known_forget(struct work_op *op)
{
    struct work_known *k = op->target.address[0] != '\0' ? find_gate(op) : NULL;

    if (op->floor_version != 0)
        op->w->floor.version = 0;
    if (k != NULL) {
        HASH_DEL(op->w->gates, k);
        mem_free(k);
    }
}

/* --- choosing ------------------------------------------------------------ */

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
    work_known_gate(op);
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
    if (work_take_known_gate(op))
        op->chosen(op);
    else
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
