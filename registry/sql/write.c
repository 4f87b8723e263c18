/*
 * write.c - the worker's side: group commit.
 *
 * The writes of a group go into one transaction, one savepoint each, and are
 * done together or fail together. Every transaction begins by asking whether
 * our session is still there, so a process that slept past its end can not
 * write. It begins when the group is complete: as long as it lasts, others of
 * the same file or row wait. Nothing is answered before the commit.
 */
#include "registry/sql/backend.h"

#include "base/mem.h"

#include <utlist.h>

bool sql_job_writes(const struct sql_job *job)
{
    return job->type == SQL_JOB_TXN || job->type == SQL_JOB_LOCK ||
           job->type == SQL_JOB_UNLOCK;
}

static uint64_t job_session(const struct sql_job *job)
{
    assert(sql_job_writes(job));
    return job->type == SQL_JOB_TXN ? job->of.call->session
                                    : job->of.hold->session;
}

void sql_job_fail(struct sql_job *job, enum err_code code, const char *msg)
{
    assert(code != ERR_OK);
    err_set(&job->err, code, "%s", msg);
    job->failed_op = SIZE_MAX;
}

/* May it be tried? If not, it is answered. */
static bool admit(struct sql *s, struct sql_job *job)
{
    struct sql_hold *h = job->type == SQL_JOB_TXN ? NULL : job->of.hold->priv;

    assert(sql_job_writes(job));
    if (job->type == SQL_JOB_UNLOCK && s->side.waiting != NULL)
        LL_DELETE2(s->side.waiting, h, next_waiting);
    if (atomic_load(&s->closing)) {
        sql_job_fail(job, ERR_CANCELLED, "the registry was closed");
        return false;
    }
    if (!sql_session_is(s, job_session(job))) {
        sql_job_fail(job, ERR_SESSION_LOST,
                     "the session of this call has ended");
        return false;
    }
    return true;
}

static int apply_lock(struct sql_side *side, struct sql_job *job)
{
    const struct registry_hold *hold = job->of.hold;
    struct sql_hold *h = hold->priv;

    assert(job->type == SQL_JOB_LOCK);
    assert(hold->session == side->session);
    h->place = (struct sql_place){.session = side->session,
                                  .hold = hold->id,
                                  .key = hold->key,
                                  .owner = hold->owner};
    return side->core->ops->lock_enqueue(side->core, &h->place, hold->try_once,
                                         &job->err);
}

static int apply(struct sql_side *side, struct sql_job *job)
{
    struct sql_hold *h;

    assert(sql_job_writes(job));
    assert(side->session != 0);
    switch (job->type) {
    case SQL_JOB_TXN:
        return side->core->ops->apply(side->core, side->session,
                                      job->of.call->ops, job->of.call->n_ops,
                                      &job->failed_op, &job->err);
    case SQL_JOB_LOCK:
        return apply_lock(side, job);
    default:
        h = job->of.hold->priv;
        assert(job->type == SQL_JOB_UNLOCK);
        return side->core->ops->lock_leave(side->core, &h->place, &job->err);
    }
}

/* The registry's answer, as opposed to the engine's trouble. */
static bool is_refusal(int rc)
{
    return rc == ERR_CONFLICT || rc == ERR_NOT_FOUND || rc == ERR_TIMEOUT;
}

/* One call in its savepoint. Nonzero: the whole group fails. */
static int apply_undoable(struct sql_side *side, struct sql_job *job,
                          struct err *err)
{
    int rc = side->core->ops->savepoint(side->core, err);

    assert(sql_job_writes(job));
    if (rc != 0)
        return rc;
    err_clear(&job->err);
    rc = apply(side, job);
    if (rc != 0 && !is_refusal(rc)) {
        *err = job->err;
        return rc;
    }
    job->revision = side->core->ops->revision(side->core);
    if (rc != 0)
        job->err.code = (enum err_code)rc;
    else
        err_clear(&job->err); /* "held by another" of a lock that waits */
    return side->core->ops->release(side->core, rc != 0, err);
}

static int apply_all(struct sql_side *side, struct sql_job *jobs,
                     struct err *err)
{
    int rc = 0;

    for (; rc == 0 && jobs != NULL; jobs = jobs->next)
        rc = apply_undoable(side, jobs, err);
    return rc;
}

/* After the commit, or its failure. What was refused inside a transaction
 * that failed was refused by writes that never were: it fails, too. */
static void answer_all(struct sql_side *side, struct sql_job *jobs,
                       const struct err *err)
{
    for (; jobs != NULL; jobs = jobs->next) {
        struct sql_hold *h;

        if (err->code != ERR_OK) {
            jobs->err = *err;
            jobs->failed_op = SIZE_MAX;
        }
        if (jobs->type != SQL_JOB_LOCK)
            continue;
        h = jobs->of.hold->priv;
        if (jobs->err.code != ERR_OK) {
            h->place.ticket = h->place.fence = 0;
            h->unsure |= jobs->err.code == ERR_UNKNOWN;
        } else if (h->place.fence == 0) {
            LL_PREPEND2(side->waiting, h, next_waiting);
        }
        h->at_once = h->place.fence;
    }
}

/* What the group will ask for, so that a core may read it all at once. The
 * pieces borrow from the jobs. */
static struct sql_piece *pieces_of(struct sql_job *jobs, size_t *n)
{
    struct sql_piece *pieces;
    struct sql_job *job;
    size_t i = 0;

    assert(jobs != NULL);
    *n = 0;
    for (job = jobs; job != NULL; job = job->next)
        (*n)++;
    pieces = mem_array(*n, sizeof(*pieces));
    for (job = jobs; job != NULL; job = job->next) {
        pieces[i++] =
            job->type == SQL_JOB_TXN
                ? (struct sql_piece){job->of.call->ops, job->of.call->n_ops}
                : (struct sql_piece){NULL, 0};
    }
    assert(i == *n);
    return pieces;
}

/* The whole group in one transaction. */
static int write_once(struct sql_side *side, struct sql_job *jobs, bool beat,
                      struct err *err)
{
    struct sql_core *core = side->core;
    size_t n;
    struct sql_piece *pieces = pieces_of(jobs, &n);
    int rc = core->ops->begin(core, side->session, beat, pieces, n, err);

    assert(side->session != 0);
    assert(!side->lost);
    if (rc == 0) {
        rc = apply_all(side, jobs, err);
        if (rc == 0)
            rc = core->ops->commit(core, err);
        else
            core->ops->rollback(core);
    }
    mem_free(pieces);
    return rc;
}

/* The whole group, again where the store undid it by its own choice. */
static int write_all(struct sql_side *side, struct sql_job *jobs, bool beat,
                     struct err *err)
{
    struct sql_core *core = side->core;
    unsigned tries = 0;
    int rc;

    assert(side->session != 0);
    do {
        core->again = false;
        rc = write_once(side, jobs, beat, err);
    } while (rc != 0 && core->again && tries++ < core->retries);
    return rc;
}

/* --- the group ----------------------------------------------------------- */

void sql_write_add(struct sql_write *w, struct sql_job *job)
{
    struct sql_job **end = w->jobs == NULL ? &w->jobs : &w->last->next;

    assert(sql_job_writes(job));
    job->next = NULL;
    *end = w->last = job;
    w->n++;
}

static void admit_all(struct sql *s, struct sql_write *w)
{
    struct sql_job *job = w->jobs, *next;

    for (*w = (struct sql_write){0}; job != NULL; job = next) {
        next = job->next;
        if (admit(s, job))
            sql_write_add(w, job);
    }
}

void sql_write_end(struct sql *s, struct sql_write *w)
{
    struct sql_side *side = &s->side;
    mono_ms sent = clock_mono_ms();
    bool beat = sent >= side->next_beat && sql_loop_turns(s);
    struct err err = {0};
    int rc;

    admit_all(s, w);
    if (w->jobs == NULL)
        return;
    sql_gather_begin(&side->gather);
    rc = write_all(side, w->jobs, beat, &err);
    err.code = (enum err_code)rc;
    if (rc == 0) {
        side->dirty = true;
        if (beat)
            sql_session_renewed(s, sent);
        else
            sql_session_wrote(s, sent);
    } else if (sql_session_over(rc)) {
        sql_session_gone(s, &err);
    } else {
        sql_report_trouble(s, &err); /* of locks nobody is answered */
    }
    answer_all(side, w->jobs, &err);
    sql_gather_done(&side->gather, w->n, worker_await(s->worker, 0, 0, 0));
}
