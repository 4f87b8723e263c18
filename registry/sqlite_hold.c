/*
 * sqlite_hold.c - locks on the loop's side: one job under way per hold.
 *
 * A job enqueues the hold and may find it granted; if not, the worker watches
 * the queue and says when our turn has come. Leaving deletes the row and is
 * tried until the file has taken it or the session is over: then the row goes
 * with the session. The worker forgets the hold before it is gone.
 */
#include "registry/sqlite_backend.h"

#include <utlist.h>

static void enqueue(struct registry_hold *hold);
static void leave(struct registry_hold *hold);

static void on_retry(void *arg)
{
    struct registry_hold *hold = arg;
    struct sqlite_hold *h = hold->priv;

    assert(!h->busy);
    if (h->leaving) {
        leave(hold);
    } else if (hold->session == hold->r->session) {
        enqueue(hold);
    }
}

static void retry(struct registry_hold *hold)
{
    struct sqlite_hold *h = hold->priv;

    registry_timer_start(hold->r, &h->retry, SQLITE_RETRY_MS, on_retry, hold);
}

static void on_left(void *arg)
{
    struct sqlite_job *job = arg;
    struct registry_hold *hold = job->of.hold;
    struct sqlite_hold *h = hold->priv;

    h->busy = false;
    if (sqlite_stopping(job->s)) {
        return;
    }
    if (job->err.code == ERR_OK || job->err.code == ERR_SESSION_LOST ||
        hold->session != hold->r->session) {
        registry_hold_gone(hold);
    } else {
        retry(hold);
    }
}

static void leave(struct registry_hold *hold)
{
    struct sqlite_hold *h = hold->priv;

    assert(!h->busy && h->leaving);
    if (h->ticket == 0) {
        registry_hold_gone(hold);
        return;
    }
    h->busy = true;
    sqlite_submit_job((struct sqlite *)(void *)hold->r, &h->job,
                      SQLITE_JOB_UNLOCK, on_left);
}

/*
 * A try whose outcome is unknown is made again, too: should the first row come
 * to light after all, then after all processes died, and with its session.
 */
static void on_enqueued(void *arg)
{
    struct sqlite_job *job = arg;
    struct registry_hold *hold = job->of.hold;
    struct sqlite_hold *h = hold->priv;

    h->busy = false;
    if (sqlite_stopping(job->s)) {
        return;
    }
    if (h->leaving) {
        leave(hold);
        return;
    }
    switch (job->err.code) {
    case ERR_OK:
        if (h->granted) {
            registry_hold_granted(hold, h->ticket);
        }
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

static void enqueue(struct registry_hold *hold)
{
    struct sqlite_hold *h = hold->priv;

    assert(!h->busy && !h->leaving);
    assert(h->ticket == 0);
    h->busy = true;
    h->granted = false;
    h->job.of.hold = hold;
    sqlite_submit_job((struct sqlite *)(void *)hold->r, &h->job,
                      SQLITE_JOB_LOCK, on_enqueued);
}

static void on_grant(void *arg)
{
    struct registry_hold *hold = arg;
    struct sqlite_hold *h = hold->priv;

    if (!h->leaving && !h->busy) {
        registry_hold_granted(hold, h->ticket);
    }
}

/* Worker thread. The slot is free again before the hold can be gone: what the
 * worker posts arrives in order. */
void sqlite_hold_grant(struct sqlite *s, struct sqlite_hold *h)
{
    loop_complete(s->base.loop, &h->grant, on_grant, h->job.of.hold);
}

void sqlite_lock(struct registry *r, struct registry_hold *hold)
{
    assert(hold->session == r->session);
    (void)r;
    enqueue(hold);
}

void sqlite_unlock(struct registry *r, struct registry_hold *hold)
{
    struct sqlite_hold *h = hold->priv;

    (void)r;
    assert(!h->leaving);
    h->leaving = true;
    registry_timer_stop(&h->retry);
    if (!h->busy) {
        leave(hold);
    }
}

void sqlite_holds_stop(struct sqlite *s)
{
    struct registry_hold *hold;

    DL_FOREACH(s->base.holds, hold)
    {
        registry_timer_stop(&((struct sqlite_hold *)hold->priv)->retry);
    }
}
