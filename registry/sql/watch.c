/*
 * watch.c - watches on the loop's side.
 *
 * A watch lists its prefix page by page, so that other calls find their turn
 * between the pages; changes come meanwhile from the feed. Pages and batches
 * of changes are read by one thread and arrive in the order of reading, so
 * each is newer than what was told before and diff.c needs no revisions.
 * At most one batch is under way: a slow loop slows the feed down.
 */
#include "registry/sql/backend.h"

#include "base/log.h"
#include "base/mem.h"

#include <utlist.h>

static void look(struct registry_watch *w);

static struct sql *backend(struct registry_watch *w)
{
    return (struct sql *)(void *)w->r;
}

/* --- listing ------------------------------------------------------------- */

static void on_unwatched(void *arg)
{
    struct sql_job *job = arg;
    struct registry_watch *w = job->of.watch;
    struct sql_watch *sw = w->priv;

    assert(job->type == SQL_JOB_UNWATCH);
    if (!sql_stopping(job->s)) {
        MEM_FREE(sw->from);
        registry_watch_gone(w);
    }
}

/* The worker forgets it first. */
static void forget(struct registry_watch *w)
{
    struct sql_watch *sw = w->priv;

    assert(w->fn == NULL);
    assert(!sw->busy);
    sw->busy = true;
    sql_submit_job(backend(w), &sw->job, SQL_JOB_UNWATCH, on_unwatched);
}

static void on_retry(void *arg)
{
    look(arg);
}

static void on_page(void *arg);

static void next_page(struct registry_watch *w)
{
    struct sql_watch *sw = w->priv;

    assert(!sw->busy);
    sw->busy = true;
    sql_submit_job(backend(w), &sw->job, SQL_JOB_LOOK, on_page);
}

/* The owner may end the watch in any of these. */
static void tell_page(struct registry_watch *w, const struct sql_rows *rows)
{
    for (size_t i = 0; i < rows->n && w->fn != NULL; i++)
        registry_diff_seen(w, &rows->entries[i], 0, true);
    if (rows->next == NULL && w->fn != NULL)
        registry_diff_end(w, 0, true);
}

static void on_page(void *arg)
{
    struct sql_job *job = arg;
    struct sql *s = job->s;
    struct registry_watch *w = job->of.watch;
    struct sql_watch *sw = w->priv;
    bool ok = job->err.code == ERR_OK, last = job->rows.next == NULL;

    assert(job->type == SQL_JOB_LOOK);
    assert(sw->busy);
    if (ok && !sw->again && !sql_stopping(s)) {
        tell_page(w, &job->rows);
        mem_free(sw->from);
        sw->from = job->rows.next;
        job->rows.next = NULL;
    }
    sql_rows_close(&job->rows);
    sw->busy = false;
    if (sql_stopping(s))
        return;
    if (w->fn == NULL)
        forget(w);
    else if (sw->again)
        look(w);
    else if (!ok)
        registry_timer_start(w->r, &sw->retry, SQL_RETRY_MS, on_retry, w);
    else if (!last)
        next_page(w);
}

/* From the beginning. */
static void look(struct registry_watch *w)
{
    struct sql_watch *sw = w->priv;

    assert(w->fn != NULL);
    sw->started = true;
    if (sw->busy) {
        sw->again = true;
        return;
    }
    registry_timer_stop(&sw->retry);
    sw->again = false;
    MEM_FREE(sw->from);
    registry_diff_begin(w);
    next_page(w);
}

void sql_watch_begin(struct registry *r, struct registry_watch *w)
{
    struct sql_watch *sw = w->priv;

    assert(!sw->busy);
    assert(!sw->started);
    sw->job.of.watch = w; /* the worker reads it, jobs or not */
    if (r->ready) {
        look(w);
    } /* else with the first session */
}

void sql_watch_end(struct registry *r, struct registry_watch *w)
{
    struct sql_watch *sw = w->priv;

    (void)r;
    assert(w->fn == NULL);
    registry_timer_stop(&sw->retry);
    if (!sw->busy)
        forget(w);
}

void sql_watches_look(struct sql *s)
{
    struct registry_watch *w;

    DL_FOREACH (s->base.watches, w)
        if (w->fn != NULL)
            look(w);
}

void sql_watches_stop(struct sql *s)
{
    struct registry_watch *w;

    DL_FOREACH (s->base.watches, w)
        registry_timer_stop(&((struct sql_watch *)w->priv)->retry);
}

void sql_watches_free(struct sql *s)
{
    struct registry_watch *w;

    assert(s->running == 0);
    DL_FOREACH (s->base.watches, w) {
        struct sql_watch *sw = w->priv;

        MEM_FREE(sw->from);
        sql_rows_close(&sw->job.rows);
    }
}

/* --- comparing ----------------------------------------------------------- */

struct comparison {
    struct loop_slot slot;
    struct sql *s;
    struct registry_watch *w;
    bool known;
    struct registry_diff_sums sums;
};

/* Behind all that was read before the sums, and before the watch is gone. */
static void on_sums(void *arg)
{
    struct comparison *c = arg, copy = *c;
    struct registry_watch *w = copy.w;
    struct registry_diff_sums told;

    assert(w->priv != NULL);
    mem_free(c);
    if (sql_stopping(copy.s) || w->fn == NULL || !w->r->ready ||
        ((struct sql_watch *)w->priv)->busy || w->looking)
        return; /* a look is under way, or comes */
    registry_diff_sums(w, &told);
    if (copy.known && told.keys == copy.sums.keys &&
        told.created == copy.sums.created && told.version == copy.sums.version)
        return;
    if (copy.known) {
        log_warn("!watch", LOG_S("prefix", w->prefix), LOG_U("told", told.keys),
                 LOG_U("keys", copy.sums.keys),
                 LOG_S("reason", "what was told is not what stands in the "
                                 "database, where somebody wrote by hand or a "
                                 "change was lost: all is listed again"));
    }
    look(w);
}

void sql_watch_compare(struct sql *s, struct sql_watch *sw,
                       const struct registry_diff_sums *sums)
{
    struct comparison *c = mem_zalloc(sizeof(*c));

    assert(sw->attached);
    c->s = s;
    c->w = sw->job.of.watch;
    c->known = sums != NULL;
    if (sums != NULL)
        c->sums = *sums;
    loop_complete(s->base.loop, &c->slot, on_sums, c);
}

/* --- the feed ------------------------------------------------------------ */

static void tell_change(struct sql *s, const struct registry_entry *entry)
{
    struct registry_watch *w;

    assert(entry->key[0] == '/');
    /* A watch that ends in a callback stays in the list: see forget(). */
    DL_FOREACH (s->base.watches, w) {
        if (!((struct sql_watch *)w->priv)->started)
            continue;
        if (entry->version == 0)
            registry_diff_gone(w, entry->key, 0);
        else
            registry_diff_seen(w, entry, 0, false);
    }
}

static void on_nudged(void *arg)
{
    struct sql_job *job = arg;

    assert(job->s->nudging);
    job->s->nudging = false; /* the worker polls after its jobs */
}

void sql_nudge(struct sql *s)
{
    if (!s->nudging && !sql_stopping(s)) {
        s->nudging = true;
        sql_submit_job(s, &s->nudge, SQL_JOB_NUDGE, on_nudged);
    }
}

void sql_feed_deliver(void *arg)
{
    struct sql *s = arg;
    bool more = s->batch.more;

    assert(atomic_load(&s->feed_busy));
    for (size_t i = 0; i < s->batch.rows.n && !sql_stopping(s); i++)
        tell_change(s, &s->batch.rows.entries[i]);
    if (s->batch.missed && !sql_stopping(s))
        sql_watches_look(s);
    sql_rows_close(&s->batch.rows);
    atomic_store(&s->feed_busy, false);
    if (atomic_exchange(&s->feed_wanted, false) || more)
        sql_nudge(s);
}
