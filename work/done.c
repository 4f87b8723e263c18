/*
 * done.c - looking an item up, checking an epoch, and finishing it.
 *
 * The epoch is the fencing token: whoever brings an older one learns who has
 * the item now, and changes nothing. An owner that was fenced still has the
 * present epoch until its item is moved, and its `done` counts until then.
 */
#include "work/work_priv.h"

#include "base/log.h"

/* --- get ----------------------------------------------------------------- */

static void reply_item(struct work_op *op)
{
    assert(op->found);
    work_op_reply(op, PROBLEM_NONE, &op->item);
}

void work_get(struct work *w, const char *id, work_reply_f *done, void *arg)
{
    static const struct op_verb verb = {
        .reads = READ(READ_RECORD), .of_item = true, .then = reply_item};

    work_op_ask(w, &verb, id, 0, done, arg);
}

/* --- fence check --------------------------------------------------------- */

static void fence_won(struct work_op *op)
{
    assert(op->check_only);
    assert(op->item.epoch == op->epoch && op->item.state == WORK_ASSIGNED);
    reply_item(op);
}

/* A read may be of a moment ago; a txn is not. A refusal needs no proof: an
 * epoch that was seen to be over never comes back. (One that is yet to come is
 * another matter.) */
static void fence_read(struct work_op *op)
{
    struct op_txn t;

    assert(op->found);
    assert(op->check_only);
    if (op->item.epoch != op->epoch || op->item.state != WORK_ASSIGNED) {
        work_op_refuse(op, PROBLEM_STALE_EPOCH);
        return;
    }
    work_txn_init(&t);
    work_txn_check_item(&t, &op->item);
    work_op_send(op, &t, fence_won);
}

void work_fence_check(struct work *w, const char *id, uint64_t epoch,
                      work_reply_f *done, void *arg)
{
    static const struct op_verb verb = {.reads = READ(READ_RECORD),
                                        .of_item = true,
                                        .check_only = true,
                                        .then = fence_read};

    work_op_ask(w, &verb, id, epoch, done, arg);
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

/* Work that is done must be possible to finish even without its marker. */
static void done_marked(struct work_op *op)
{
    struct work_item *item = &op->next_item;
    struct op_txn t;

    assert(!work_state_final(op->item.state));
    assert(op->found && op->item.epoch == op->epoch);
    if (work_op_between_writes(op))
        return;
    work_item_copy(item, &op->item);
    item->state = WORK_DONE;
    item->finished_at = op->w->config.clock->wall;
    item->cause[0] = '\0';
    work_txn_init(&t);
    work_txn_put_item(&t, item, op->item.version);
    if (op->marker_version != 0)
        work_txn_delete_marker(&t, &op->item, op->marker_version);
    else
        log_error("!marker-missing", LOG_S("work", item->id),
                  LOG_S("owner", item->owner));
    work_op_send(op, &t, done_won);
}

/*
 * An item and its marker are written by one txn, so they are of one version, or
 * the marker of the first where each key counts its own: it need not be read.
 * If it is of another after all, or is missing, the txn is refused and the next
 * run reads it.
 */
static bool done_presumes(struct work_op *op)
{
    uint64_t first = registry_first_version(op->w->config.registry);

    if (op->attempt.conflicts > 0 || op->attempt.doubt)
        return false;
    op->marker_version = first != 0 ? first : op->item.version;
    assert(op->marker_version != 0);
    return true;
}

static void done_read(struct work_op *op)
{
    assert(op->found);
    assert(op->verb->ends);
    if (op->item.epoch != op->epoch || op->item.state == WORK_DROPPED)
        work_op_refuse(op, PROBLEM_STALE_EPOCH);
    else if (op->item.state == WORK_DONE)
        reply_item(op);
    else if (done_presumes(op))
        done_marked(op);
    else
        work_op_gather(op, READ(READ_MARKER), done_marked);
}

void work_done(struct work *w, const char *id, uint64_t epoch,
               work_reply_f *done, void *arg)
{
    static const struct op_verb verb = {.reads = READ(READ_RECORD),
                                        .of_item = true,
                                        .ends = true,
                                        .then = done_read};

    work_op_ask(w, &verb, id, epoch, done, arg);
}
