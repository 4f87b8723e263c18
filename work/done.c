/*
 * done.c - looking an item up, checking an epoch, and finishing it.
 *
 * The epoch is the fencing token: whoever brings an older one learns who has
 * the item now, and changes nothing. An owner that was fenced still has the
 * present epoch until its item is moved, and its `done` counts until then.
 */
#include "work/work_priv.h"

#include "base/log.h"

#include <inttypes.h>

/* --- get ----------------------------------------------------------------- */

static void get_read(struct work_op *op)
{
    work_op_reply(op, op->found ? PROBLEM_NONE : PROBLEM_WORK_NOT_FOUND,
                  op->found ? &op->item : NULL);
}

static void get_run(struct work_op *op)
{
    work_op_begin(op);
    work_op_gather(op, READ(READ_RECORD), get_read);
}

void work_get(struct work *w, const char *id, work_reply_f *done, void *arg)
{
    work_op_ask(w, get_run, id, 0, done, arg);
}

static void reply_stale(struct work_op *op)
{
    assert(op->found);
    (void)err_set(&op->trouble, ERR_CONFLICT,
                  "work %s is %s%s%s at epoch %" PRIu64
                  ", not yours at %" PRIu64,
                  op->item.id, work_state_name(op->item.state),
                  op->item.owner[0] == '\0' ? "" : " by ", op->item.owner,
                  op->item.epoch, op->epoch);
    work_op_reply(op, PROBLEM_STALE_EPOCH, &op->item);
}

/* --- fence check --------------------------------------------------------- */

static void fence_won(struct work_op *op)
{
    assert(op->check_only);
    assert(op->item.epoch == op->epoch && op->item.state == WORK_ASSIGNED);
    work_op_reply(op, PROBLEM_NONE, &op->item);
}

/* A read may be of a moment ago; a txn is not. A refusal needs no proof: an
 * epoch that was seen to be over never comes back. (One that is yet to come is
 * another matter.) */
static void fence_read(struct work_op *op)
{
    struct op_txn t;

    if (work_op_evidence(op))
        return;
    if (!op->found) {
        work_op_reply(op, PROBLEM_WORK_NOT_FOUND, NULL);
    } else if (op->item.epoch != op->epoch || op->item.state != WORK_ASSIGNED) {
        reply_stale(op);
    } else {
        work_txn_init(&t);
        work_txn_check_item(&t, &op->item);
        work_op_send(op, &t, fence_won);
    }
}

static void fence_run(struct work_op *op)
{
    work_op_begin(op);
    op->check_only = true;
    work_op_gather(op, READ(READ_RECORD), fence_read);
}

void work_fence_check(struct work *w, const char *id, uint64_t epoch,
                      work_reply_f *done, void *arg)
{
    work_op_ask(w, fence_run, id, epoch, done, arg);
}

/* --- done ---------------------------------------------------------------- */

static void done_won(struct work_op *op)
{
    assert(op->next_item.state == WORK_DONE);
    assert(op->next_item.epoch == op->epoch);
    if (op->w->config.ended != NULL)
        op->w->config.ended(op->w->config.ended_arg, &op->next_item);
    work_op_reply(op, PROBLEM_NONE, &op->next_item);
}

/* A record without its marker was read between two writes, or is damaged: one
 * txn writes both. Work that is done must be possible to finish even then. */
static bool marker_missing(struct work_op *op)
{
    if (op->marker_version != 0)
        return false;
    if (++op->unmarked < 3) {
        work_op_again(op);
        return true;
    }
    log_error("!marker-missing", LOG_S("work", op->item.id),
              LOG_S("owner", op->item.owner));
    return false;
}

static void done_marked(struct work_op *op)
{
    struct work_item *item = &op->next_item;
    struct op_txn t;

    assert(op->found && op->item.epoch == op->epoch);
    if (marker_missing(op))
        return;
    work_item_copy(item, &op->item);
    item->state = WORK_DONE;
    item->finished_at = op->w->config.clock->wall;
    item->cause[0] = '\0';
    work_txn_init(&t);
    work_txn_put_item(&t, item, op->item.version);
    if (op->marker_version != 0)
        work_txn_delete_marker(&t, &op->item, op->marker_version);
    work_op_send(op, &t, done_won);
}

static void done_read(struct work_op *op)
{
    if (work_op_evidence(op))
        return;
    if (!op->found)
        work_op_reply(op, PROBLEM_WORK_NOT_FOUND, NULL);
    else if (op->item.epoch != op->epoch || op->item.state == WORK_DROPPED)
        reply_stale(op);
    else if (op->item.state == WORK_DONE)
        work_op_reply(op, PROBLEM_NONE, &op->item);
    else
        work_op_gather(op, READ(READ_MARKER), done_marked);
}

static void done_run(struct work_op *op)
{
    work_op_begin(op);
    op->ends = true;
    work_op_gather(op, READ(READ_RECORD), done_read);
}

void work_done(struct work *w, const char *id, uint64_t epoch,
               work_reply_f *done, void *arg)
{
    work_op_ask(w, done_run, id, epoch, done, arg);
}
