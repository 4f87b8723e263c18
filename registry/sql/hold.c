/*
 * hold.c - locks on the loop's side: one job under way per hold.
 *
 * A job enqueues the hold and may find it granted; if not, the worker watches
 * the queue and says when our turn has come. Leaving deletes the row and is
 * tried until the store has taken it or the session is over: then the row goes
 * with the session. The worker forgets the hold before it is gone.
 */
#include "registry/sql/backend.h"

#include "base/mem.h"

#include <string.h>
#include <utlist.h>

static void leave(struct registry_hold *hold);

static void on_retry(void *arg)
{
    struct registry_hold *hold = arg;
    struct sql_hold *h = hold->priv;

    assert(!h->busy);
    if (h->leaving)
        leave(hold);
    else if (hold->session == hold->r->session)
        sql_lock(hold->r, hold);
}

static void retry(struct registry_hold *hold)
{
    struct sql_hold *h = hold->priv;

    assert(!h->busy);
    registry_timer_start(hold->r, &h->retry, SQL_RETRY_MS, on_retry, hold);
}

/* The hold whose job is done, or NULL: nothing is to be answered. */
static struct registry_hold *hold_of_done(const struct sql_job *job)
{
    struct sql_hold *h = job->of.hold->priv;

    assert(h->busy);
    h->busy = false;
    return sql_stopping(job->s) ? NULL : job->of.hold;
}

static void on_left(void *arg)
{
    struct sql_job *job = arg;
    struct registry_hold *hold = hold_of_done(job);

    assert(job->type == SQL_JOB_UNLOCK);
    if (hold == NULL)
        return;
    if (job->err.code == ERR_OK || job->err.code == ERR_SESSION_LOST ||
        hold->session != hold->r->session)
        registry_hold_gone(hold);
    else
        retry(hold);
}

static void leave(struct registry_hold *hold)
{
    struct sql_hold *h = hold->priv;

    assert(!h->busy && h->leaving);
    if (h->place.ticket == 0 && !h->unsure) {
        registry_hold_gone(hold);
        return;
    }
    h->busy = true;
    sql_submit_job((struct sql *)(void *)hold->r, &h->job, SQL_JOB_UNLOCK,
                   on_left);
}

/*
 * A try whose outcome is unknown is made again, too: should the first row come
 * to light after all, then in SQLite's file after all processes died, and with
 * its session; a server's core finds it by the hold's number.
 */
static void on_enqueued(void *arg)
{
    struct sql_job *job = arg;
    struct registry_hold *hold = hold_of_done(job);
    const struct sql_hold *h = job->of.hold->priv;

    assert(job->type == SQL_JOB_LOCK);
    if (hold == NULL)
        return;
    if (h->leaving) {
        leave(hold);
        return;
    }
    switch (job->err.code) {
    case ERR_OK:
        /* Not place.fence: the worker may have set it since, and its grant
         * comes by itself. */
        if (h->at_once != 0)
            registry_hold_granted(hold, h->at_once);
        break;
    case ERR_TIMEOUT:
        registry_hold_refused(hold, ERR_TIMEOUT);
        break;
    case ERR_SESSION_LOST: /* DISCONNECTED follows and ends the hold */
        break;
    default:
        retry(hold);
        break;
    }
}

void sql_lock(struct registry *r, struct registry_hold *hold)
{
    struct sql_hold *h = hold->priv;

    assert(hold->session == r->session);
    assert(!h->busy && !h->leaving);
    assert(h->place.ticket == 0);
    h->busy = true;
    h->job.of.hold = hold;
    sql_submit_job((struct sql *)(void *)r, &h->job, SQL_JOB_LOCK, on_enqueued);
}

static void on_grant(void *arg)
{
    struct registry_hold *hold = arg;
    struct sql_hold *h = hold->priv;

    if (!h->leaving && !h->busy)
        registry_hold_granted(hold, h->place.fence);
}

/* Worker thread. The slot is free again before the hold can be gone: what the
 * worker posts arrives in order. */
void sql_hold_grant(struct sql *s, struct sql_hold *h)
{
    assert(h->place.fence != 0);
    assert(h->place.ticket != 0);
    loop_complete(s->base.loop, &h->grant, on_grant, h->job.of.hold);
}

struct waits {
    struct loop_slot slot;
    struct registry_hold *hold;
    char holder[SQL_HOLDER_SIZE];
};

static void on_waits(void *arg)
{
    struct waits *note = arg;

    assert(note->hold != NULL);
    registry_hold_waits(note->hold, note->holder);
    mem_free(note);
}

/* Worker thread, when another one has the lock than was told. What the worker
 * posts arrives in order, so the hold is still there. */
void sql_hold_waits(struct sql *s, struct sql_hold *h)
{
    struct waits *note;

    assert(h->place.fence == 0);
    if (strcmp(h->told, h->place.holder) == 0)
        return;
    memcpy(h->told, h->place.holder, sizeof(h->told));
    note = mem_zalloc(sizeof(*note));
    note->hold = h->job.of.hold;
    memcpy(note->holder, h->told, sizeof(note->holder));
    loop_complete(s->base.loop, &note->slot, on_waits, note);
}

void sql_unlock(struct registry *r, struct registry_hold *hold)
{
    struct sql_hold *h = hold->priv;

    (void)r;
    assert(!h->leaving);
    h->leaving = true;
    registry_timer_stop(&h->retry);
    if (!h->busy)
        leave(hold);
}

void sql_holds_stop(struct sql *s)
{
    struct registry_hold *hold;

    DL_FOREACH (s->base.holds, hold)
        registry_timer_stop(&((struct sql_hold *)hold->priv)->retry);
}
