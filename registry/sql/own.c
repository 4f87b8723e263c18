/*
 * own.c - what a group has written is told to our own watches with its answers.
 *
 * Who wrote waits until this coordinator would show it, and the worker knows
 * what it wrote: to read it from the store again would cost a look, and the
 * loop a second wake-up. Only what the feed would say is told, in its place:
 * all before was read, no batch is under way, and of each key what stands there
 * is known. In every other case the feed is read. It is posted before anything
 * that is read after the commit.
 */
#include "registry/sql/backend.h"

#include <string.h>

#define ROWS_MAX 2000 /* as of a batch of the feed */

/* Of a put over another `created` is not known. */
static bool is_plain(const struct registry_op *op)
{
    return op->type != REGISTRY_PUT || op->expect == REGISTRY_ABSENT;
}

static const struct registry_call *txn_done(const struct sql_job *job)
{
    return job->type == SQL_JOB_TXN && job->err.code == ERR_OK ? job->of.call
                                                               : NULL;
}

static bool may_tell(const struct sql_write *w)
{
    size_t n = 0, bytes = 0;

    for (const struct sql_job *job = w->jobs; job != NULL; job = job->next) {
        const struct registry_call *call = txn_done(job);

        for (size_t i = 0; call != NULL && i < call->n_ops; i++)
            if (!is_plain(&call->ops[i]))
                return false;
        n += call != NULL ? call->n_ops : 0;
        bytes += call != NULL ? call->bytes : 0;
    }
    return n <= ROWS_MAX && bytes <= SQL_PAGE_BYTES;
}

static void add_op(struct sql_side *side, struct sql_rows *rows,
                   const struct sql_job *job, const struct registry_op *op)
{
    bool put = op->type == REGISTRY_PUT;
    struct registry_entry *entry;

    if ((!put && op->type != REGISTRY_DELETE) || !sql_watched(side, op->key))
        return;
    entry = sql_rows_push(rows, op->key, strlen(op->key), op->value,
                          put ? op->value_len : 0);
    if (put) {
        entry->created = entry->version = job->revision;
        entry->owner = op->ephemeral ? side->session : 0;
    }
}

bool sql_tell_own(struct sql *s, const struct sql_write *w)
{
    struct sql_side *side = &s->side;
    const struct sql_core_ops *ops = side->core->ops;
    struct sql_rows rows = {0};

    assert(w->jobs != NULL);
    if (ops->feed_told == NULL || !side->feed_valid || side->changed ||
        side->unread || atomic_load(&s->feed_busy) || !may_tell(w) ||
        !ops->feed_told(side->core, &side->feed, side->began))
        return false;
    for (const struct sql_job *job = w->jobs; job != NULL; job = job->next) {
        const struct registry_call *call = txn_done(job);

        for (size_t i = 0; call != NULL && i < call->n_ops; i++)
            add_op(side, &rows, job, &call->ops[i]);
    }
    if (rows.n == 0)
        return true;
    s->batch.rows = rows;
    s->batch.missed = s->batch.more = false;
    atomic_store(&s->feed_busy, true);
    loop_complete_quietly(s->base.loop, &s->batch.slot, sql_feed_deliver, s);
    return true;
}
