/*
 * evidence.c - an epoch that the registry cannot have given.
 *
 * Whoever names an epoch was told it, and epochs only grow. So one above the
 * item's and the floor proves that the registry is not what it was
 * (registry/history.h); one up to the floor may be of a lost future that a
 * person has accepted since. It stops the cluster until a person has looked, so
 * it has to be certain: a read may be of a moment ago, a committed txn is not,
 * and what is read after one is not older than it. And it has to be evidence:
 * what lies further above than all that could have been given is somebody's
 * mistake.
 *
 *   above -> floor -> check of the item: proven
 *                  -> check of the floor -> item, still none -> floor: proven
 */
#include "work/work_priv.h"

#include "base/json/json.h"
#include "base/mem.h"
#include "registry/history.h"

#include <inttypes.h>
#include <string.h>

static uint64_t highest(const struct work_op *op)
{
    uint64_t epoch = op->found ? op->item.epoch : 0;

    return epoch > op->floor ? epoch : op->floor;
}

/* What was known of before: in a store that is not believed nothing is read. */
static bool credible(const struct work *w, uint64_t epoch)
{
    uint64_t known = w->shown;

    if (w->config.view != NULL && work_view_epoch(w->config.view) > known)
        known = work_view_epoch(w->config.view);
    return epoch <= known || epoch - known <= WORK_EPOCH_BEYOND;
}

/* --- what was shown, for the one who accepts ----------------------------- */

/* A doubt is over when the next one begins: what was shown then speaks of a
 * future that was given up. */
static struct work_shown *shown_in(struct work *w, mono_ms doubt)
{
    assert(w->shown_items == NULL || w->shown_items->n <= WORK_SHOWN_MAX);
    if (w->shown_items == NULL) {
        w->shown_items = mem_zalloc(sizeof(*w->shown_items));
    } else if (w->shown_items->doubt != doubt) {
        w->shown_items->n = 0;
        w->shown_items->cut = false;
    }
    w->shown_items->doubt = doubt;
    return w->shown_items;
}

static void note_item(struct work_shown *s, const struct work_op *op)
{
    struct work_shown_item *it = s->items;

    assert(s->n <= WORK_SHOWN_MAX);
    while (it < s->items + s->n && strcmp(it->id, op->want.id) != 0)
        it++;
    if (it == s->items + WORK_SHOWN_MAX) {
        s->cut = true;
        return;
    }
    if (it == s->items + s->n) {
        s->n++;
        memset(it, 0, sizeof(*it));
        memcpy(it->id, op->want.id, sizeof(it->id));
    }
    if (op->epoch > it->epoch || (op->epoch == it->epoch && op->verb->ends)) {
        s->changes += op->epoch > it->epoch || !it->finished;
        it->epoch = op->epoch;
        it->finished = op->verb->ends;
    }
}

static void note(struct work_op *op)
{
    struct work *w = op->w;
    const struct registry_back *back = registry_went_back(w->config.registry);

    assert(op->epoch != 0);
    if (op->epoch > w->shown)
        w->shown = op->epoch;
    if (back != NULL)
        note_item(shown_in(w, back->since), op);
}

void work_op_shown(struct work_op *op)
{
    if (op->epoch != 0 && credible(op->w, op->epoch))
        note(op);
}

uint64_t work_shown(const struct work *w)
{
    return w->shown;
}

uint64_t work_shown_changes(const struct work *w)
{
    return w->shown_items != NULL ? w->shown_items->changes : 0;
}

static void put_rows(struct buf *out, const char *name,
                     const struct work_shown *s, bool finished)
{
    assert(s->n <= WORK_SHOWN_MAX);
    json_open(out, name, '[');
    for (size_t i = 0; i < s->n; i++) {
        if (s->items[i].finished == finished) {
            json_open(out, NULL, '[');
            json_put_str(out, NULL, s->items[i].id);
            json_put_u64(out, NULL, s->items[i].epoch);
            json_close(out, ']');
        }
    }
    json_close(out, ']');
}

bool work_put_evidence(struct work *w, struct buf *out)
{
    const struct registry_back *back = registry_went_back(w->config.registry);
    const struct work_shown *s;

    if (back == NULL || w->shown_items == NULL)
        return true;
    s = shown_in(w, back->since);
    put_rows(out, "shown", s, false);
    put_rows(out, "shown_finished", s, true);
    return !s->cut;
}

/* --- evidence ------------------------------------------------------------ */

static void proven(struct work_op *op)
{
    struct registry *r = op->w->config.registry;

    assert(op->epoch > highest(op));
    op->check_only = false;
    if (op->epoch > op->w->shown)
        op->w->shown = op->epoch; /* first: it is in the evidence at once */
    registry_report_contradiction(
        r, NULL,
        "work %s: epoch %" PRIu64 " was told to somebody, and "
        "the registry has %s %" PRIu64,
        op->want.id, op->epoch,
        op->found ? "it at" : "no such work, nor any above", highest(op));
    note(op);
    err_set(&op->trouble, ERR_WENT_BACK,
            "work %s: the registry cannot have given epoch %" PRIu64
            ": it went back in time. Nothing is done on it until a "
            "person has accepted it (pelorus registry accept-restore)",
            op->want.id, op->epoch);
    work_op_reply_unless_doubt(op, PROBLEM_TROUBLE_WENT_BACK);
}

static void not_there(struct work_op *op)
{
    assert(!op->found);
    op->check_only = false;
    work_op_reply(op, PROBLEM_WORK_NOT_FOUND, NULL);
}

static void floor_again(struct work_op *op)
{
    assert(!op->found);
    if (op->epoch <= op->floor)
        not_there(op); /* it was collected */
    else
        proven(op);
}

/* The floor only after it: whoever removes an item raises the floor. */
static void record_again(struct work_op *op)
{
    assert(op->epoch != 0);
    if (op->found)
        work_op_again(op);
    else
        work_op_gather(op, READ(READ_FLOOR), floor_again);
}

static void caught_up(struct work_op *op)
{
    assert(!op->found);
    assert(op->check_only);
    work_op_gather(op, READ(READ_RECORD), record_again);
}

static void floor_read(struct work_op *op)
{
    struct op_txn t;

    assert(op->epoch != 0);
    if (op->epoch <= highest(op)) {
        if (op->found)
            work_op_refuse(op, PROBLEM_STALE_EPOCH);
        else
            not_there(op);
        return;
    }
    if (op->epoch - highest(op) > WORK_EPOCH_BEYOND) {
        err_set(&op->trouble, ERR_INVALID,
                "epoch %" PRIu64 " was never given to work %s: the "
                "highest is %" PRIu64,
                op->epoch, op->want.id, highest(op));
        work_op_reply(op, PROBLEM_INVALID, NULL);
        return;
    }
    op->check_only = true;
    work_txn_init(&t);
    if (op->found)
        work_txn_check_item(&t, &op->item);
    else
        work_txn_floor(&t, op);
    work_op_send(op, &t, op->found ? proven : caught_up);
}

bool work_op_evidence(struct work_op *op)
{
    assert(op->pending == 0);
    assert(!op->finished);
    if (op->epoch == 0 || (op->found && op->epoch <= op->item.epoch))
        return false;
    work_op_gather(op, READ(READ_FLOOR), floor_read);
    return true;
}
