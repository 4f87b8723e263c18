/*
 * move.c - work that goes on elsewhere without a failover: its owner
 * hands it over, or a person releases what was held.
 *
 * Neither takes work from a process against its will, so neither needs the
 * lock: the record's version and the target's gate are enough. Without a node
 * that takes it the item waits, and the engine assigns it later.
 */
#include "work/work_priv.h"

#include <string.h>

static void move_won(struct work_op *op)
{
    assert(op->next_item.epoch > op->item.epoch);
    work_op_used(op);
    work_op_reply(op, PROBLEM_NONE, &op->next_item);
}

/* Record and markers in one txn; the marker may stand where it stood. */
static void move(struct work_op *op)
{
    struct marker from, to;
    struct op_txn t;

    assert(op->marker_version != 0);
    assert(op->next_item.epoch > op->item.epoch);
    work_marker_of(&from, &op->item);
    work_marker_of(&to, &op->next_item);
    work_txn_init(&t);
    if (op->next_item.state == WORK_ASSIGNED) {
        work_txn_target_gate(&t, op);
        work_txn_floor(&t, op);
    }
    work_txn_put_item(&t, &op->next_item, op->item.version);
    if (strcmp(from.address, to.address) == 0) {
        work_txn_put_marker(&t, &op->next_item, op->marker_version);
    } else {
        work_txn_delete_marker(&t, &op->item, op->marker_version);
        work_txn_put_marker(&t, &op->next_item, 0);
    }
    work_op_send(op, &t, move_won);
}

static void leave(struct work_op *op)
{
    assert(op->found);
    work_item_copy(&op->next_item, &op->item);
    work_item_leave(&op->next_item, op->w->config.clock->wall, false, NULL);
}

static void move_to_target(struct work_op *op)
{
    assert(op->target.address[0] != '\0');
    leave(op);
    work_item_assign(&op->next_item, op->target.address, &op->process,
                     op->floor, op->w->config.clock->wall);
    move(op);
}

static void move_to_wait(struct work_op *op)
{
    assert(op->target.code != PROBLEM_NONE);
    assert(!op->target.counted);
    leave(op);
    work_item_unassign(&op->next_item, WORK_WAITING, "", op->floor);
    op->target.code = PROBLEM_NONE;
    move(op);
}

static void marked(struct work_op *op)
{
    struct err err;

    assert(op->found);
    if (!work_op_epoch_left(op, op->item.epoch) || work_op_between_writes(op))
        return;
    if (op->marker_version != 0) {
        work_op_choose(op, move_to_target, move_to_wait);
        return;
    }
    err_set(&err, ERR_INVALID,
            "work %s: its marker is missing below " MARKER_PREFIX, op->item.id);
    op->damaged = true;
    work_op_failed(op, &err);
}

static void go_on(struct work_op *op)
{
    assert(op->found);
    op->want.kind = op->item.kind;
    memcpy(op->want.group, op->item.group, sizeof(op->want.group));
    work_op_gather(op, READ(READ_MARKER) | READ(READ_FLOOR), marked);
}

/* --- handover ------------------------------------------------------------ */

/* The owner at that epoch let it go already: a request said twice, or our own
 * from before an unknown outcome. */
static bool handed_over(const struct work_item *item, uint64_t epoch)
{
    for (size_t i = 0; i < item->n_history; i++)
        if (item->history[i].epoch == epoch)
            return !item->history[i].died;
    return false;
}

static void handover_read(struct work_op *op)
{
    assert(op->found);
    if (handed_over(&op->item, op->epoch)) {
        work_op_reply(op, PROBLEM_NONE, &op->item);
    } else if (op->item.epoch != op->epoch) {
        work_op_refuse(op, PROBLEM_STALE_EPOCH);
    } else if (op->item.state != WORK_ASSIGNED) {
        work_op_refuse(op, PROBLEM_NOT_ASSIGNED);
    } else {
        work_op_exclude(op, op->item.owner);
        go_on(op);
    }
}

void work_handover(struct work *w, const char *id, uint64_t epoch,
                   work_reply_f *done, void *arg)
{
    static const struct op_verb verb = {
        .reads = READ(READ_RECORD), .of_item = true, .then = handover_read};

    work_op_ask(w, &verb, id, epoch, done, arg);
}

/* --- release ------------------------------------------------------------- */

static void release_read(struct work_op *op)
{
    assert(op->found);
    if (op->attempt.doubt && op->item.epoch == op->next_item.epoch &&
        op->item.state != WORK_HELD)
        work_op_reply(op, PROBLEM_NONE, &op->item); /* ours */
    else if (op->epoch != 0 && op->item.epoch != op->epoch)
        work_op_refuse(op, PROBLEM_STALE_EPOCH);
    else if (op->item.state != WORK_HELD)
        work_op_refuse(op, PROBLEM_NOT_HELD);
    else
        go_on(op);
}

void work_release(struct work *w, const char *id, uint64_t epoch,
                  work_reply_f *done, void *arg)
{
    static const struct op_verb verb = {
        .reads = READ(READ_RECORD), .of_item = true, .then = release_read};

    work_op_ask(w, &verb, id, epoch, done, arg);
}
