/*
 * worker.c - the worker's side: jobs, and group commit.
 *
 * Everything here runs on the worker's thread. A running job takes the jobs
 * that wait behind it along: their writes go into one transaction, one
 * savepoint each, and are done together or fail together; reads follow when it
 * is committed, so that they see what was written before them and nothing that
 * was rolled back. Every transaction begins by asking whether our session is
 * still there, so a process that slept past its end can not write.
 */
#include "registry/sql/backend.h"

#include "base/log.h"
#include "base/mem.h"

#include <utlist.h>

#define GROUP_OPS   6000
#define GROUP_BYTES (16u << 20)
#define LOOK_PAGE   500
#define GETS_MAX    1000

/* --- group commit -------------------------------------------------------- */

struct group {
    struct sql_job *jobs; /* in order; ->next */
    struct sql_job **tail;
    size_t ops, bytes, writes;
};

static bool is_write(const struct sql_job *job)
{
    return job->type == SQL_JOB_TXN || job->type == SQL_JOB_LOCK ||
           job->type == SQL_JOB_UNLOCK;
}

/* Roughly, in operations: what bounds a group bounds how long the answers of
 * its first jobs and the poll must wait. */
static size_t job_ops(const struct sql_job *job)
{
    const struct registry_call *call = job->of.call;

    if (job->type == SQL_JOB_LOOK)
        return LOOK_PAGE;
    if (job->type == SQL_JOB_TXN)
        return call->n_ops;
    if (job->type != SQL_JOB_READ)
        return 1;
    return call->type == REGISTRY_CALL_LIST       ? call->limit
           : call->type == REGISTRY_CALL_CHILDREN ? REGISTRY_PAGE_MAX
                                                  : 1;
}

static size_t job_bytes(const struct sql_job *job)
{
    return job->type == SQL_JOB_TXN ? job->of.call->bytes : 0;
}

static void group_add(struct group *g, struct sql_job *job)
{
    assert(*g->tail == NULL);
    job->next = NULL;
    *g->tail = job;
    g->tail = &job->next;
    g->ops += job_ops(job);
    g->bytes += job_bytes(job);
    g->writes += is_write(job);
    assert(g->jobs != NULL);
}

static uint64_t job_session(const struct sql_job *job)
{
    assert(is_write(job));
    return job->type == SQL_JOB_TXN ? job->of.call->session
                                    : job->of.hold->session;
}

static void fail(struct sql_job *job, enum err_code code, const char *msg)
{
    assert(code != ERR_OK);
    err_set(&job->err, code, "%s", msg);
    job->failed_op = SIZE_MAX;
}

/* May it be tried? If not, it is answered. */
static bool admit(struct sql *s, struct sql_job *job)
{
    struct sql_hold *h = job->type == SQL_JOB_TXN ? NULL : job->of.hold->priv;

    assert(is_write(job));
    if (job->type == SQL_JOB_UNLOCK && s->side.waiting != NULL)
        LL_DELETE2(s->side.waiting, h, next_waiting);
    if (atomic_load(&s->closing)) {
        fail(job, ERR_CANCELLED, "the registry was closed");
        return false;
    }
    if (!sql_session_is(s, job_session(job))) {
        fail(job, ERR_SESSION_LOST, "the session of this call has ended");
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

    assert(is_write(job));
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

    assert(is_write(job));
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

static void write_jobs(struct sql *s, struct sql_job *jobs)
{
    struct sql_side *side = &s->side;
    mono_ms now = clock_mono_ms();
    bool beat = now >= side->next_beat && sql_loop_turns(s);
    struct err err = {0};
    unsigned tries = 0;
    int rc = 0;

    assert(side->session != 0);
    assert(jobs != NULL);
    do {
        side->core->again = false;
        rc = write_once(side, jobs, beat, &err);
    } while (rc != 0 && side->core->again && tries++ < side->core->retries);
    err.code = (enum err_code)rc;
    if (rc == 0) {
        side->dirty = true;
        if (beat)
            sql_session_renewed(s, now);
        else
            sql_session_wrote(s, now);
    } else if (sql_session_over(rc)) {
        sql_session_gone(s, &err);
    } else {
        sql_report_trouble(s, &err); /* of locks nobody is answered */
    }
    answer_all(side, jobs, &err);
}

/* --- reading ------------------------------------------------------------- */

static void read_call(struct sql *s, struct sql_job *job)
{
    const struct registry_call *call = job->of.call;
    struct sql_core *core = s->side.core;
    int rc = 0;

    assert(job->type == SQL_JOB_READ);
    if (atomic_load(&s->closing)) {
        fail(job, ERR_CANCELLED, "the registry was closed");
        return;
    }
    switch (call->type) {
    case REGISTRY_CALL_GET:
        rc = core->ops->get(core, call->key, &job->rows, &job->err);
        break;
    case REGISTRY_CALL_EXISTS:
        rc = core->ops->exists(core, call->key, &job->err);
        break;
    case REGISTRY_CALL_CHILDREN:
        rc = core->ops->children(core, call->key, &job->rows, &job->err);
        break;
    case REGISTRY_CALL_LIST:
        rc = core->ops->list(core, call->key, call->from, call->limit,
                             &job->rows, &job->err);
        break;
    case REGISTRY_CALL_TXN:
        assert(call->type != REGISTRY_CALL_TXN);
        break;
    }
    job->err.code = (enum err_code)rc;
    if (rc != 0)
        sql_rows_close(&job->rows); /* what came before the error */
    job->revision = core->ops->revision(core);
}

static bool is_get(const struct sql_job *job)
{
    return job->type == SQL_JOB_READ && job->of.call->type == REGISTRY_CALL_GET;
}

/* All gets of a group as one request, where the core knows how. What it does
 * not answer is read by itself. */
static void read_together(struct sql *s, struct sql_job *jobs)
{
    struct sql_core *core = s->side.core;
    const char *keys[GETS_MAX];
    struct sql_rows rows = {0};
    struct sql_job *job;
    size_t n = 0;
    bool done;

    for (job = jobs; job != NULL && n < GETS_MAX; job = job->next)
        if (is_get(job))
            keys[n++] = job->of.call->key;
    done = n > 1 && core->ops->get_many != NULL && !atomic_load(&s->closing) &&
           core->ops->get_many(core, keys, n, &rows, NULL) == 0;
    for (job = jobs; done && job != NULL && n > 0; job = job->next) {
        const struct registry_entry *found;

        if (!is_get(job))
            continue;
        n--;
        found = sql_rows_find(&rows, job->of.call->key);
        if (found != NULL) {
            sql_rows_copy(&job->rows, found);
        } else {
            err_set(&job->err, ERR_NOT_FOUND, "%s: no such key",
                    job->of.call->key);
        }
        job->revision = core->ops->revision(core);
        job->type = SQL_JOB_NUDGE; /* answered */
    }
    sql_rows_close(&rows);
}

/* The feed begins where the first list does: what changed before is in it. */
static void look(struct sql *s, struct sql_job *job)
{
    struct registry_watch *w = job->of.watch;
    struct sql_watch *sw = w->priv;
    struct sql_side *side = &s->side;
    int rc = 0;

    assert(job->type == SQL_JOB_LOOK);
    assert(sw->attached || sw->next_attached == NULL);
    if (atomic_load(&s->closing)) {
        fail(job, ERR_CANCELLED, "the registry was closed");
        return;
    }
    if (!side->feed_valid) {
        rc = side->core->ops->feed_skip(side->core, &side->feed, &job->err);
        side->feed_valid = rc == 0;
    }
    if (!sw->attached) {
        sw->attached = true;
        LL_PREPEND2(side->attached, sw, next_attached);
    }
    if (rc == 0) {
        rc = side->core->ops->list(side->core, w->prefix, sw->from, LOOK_PAGE,
                                   &job->rows, &job->err);
    }
    job->err.code = (enum err_code)rc;
    if (rc != 0) {
        sql_report_trouble(s, &job->err);
        sql_rows_close(&job->rows);
    }
}

static void unwatch(struct sql_side *side, struct sql_watch *sw)
{
    assert(sw != NULL);
    if (side->attached != NULL)
        LL_DELETE2(side->attached, sw, next_attached);
    if (side->attached == NULL)
        side->feed_valid = false;
}

/* The end of the session and of the connection. Two tries: the second for a
 * writer who held the file for all of the first. */
static void shut(struct sql *s)
{
    struct sql_side *side = &s->side;
    uint64_t session = side->session != 0 ? side->session : side->old;
    struct err err = {0};

    assert(atomic_load(&s->closing));
    if (session != 0 && !side->lost && !atomic_load(&s->killing) &&
        side->core->ops->session_close(side->core, session, &err) != 0 &&
        side->core->ops->session_close(side->core, session, &err) != 0) {
        log_warn("!session-close", LOG_U("session", session),
                 LOG_S("reason", err.msg));
    }
    sql_reaper_close(&side->reaper);
    side->core->ops->close(&side->core);
}

static void run_others(struct sql *s, struct sql_job *job)
{
    assert(!is_write(job));
    switch (job->type) {
    case SQL_JOB_READ:
        read_call(s, job);
        break;
    case SQL_JOB_LOOK:
        look(s, job);
        break;
    case SQL_JOB_UNWATCH:
        unwatch(&s->side, job->of.watch->priv);
        break;
    case SQL_JOB_CLOSE:
        shut(s);
        break;
    case SQL_JOB_TXN:
    case SQL_JOB_LOCK:
    case SQL_JOB_UNLOCK:
    case SQL_JOB_NUDGE:
        break;
    }
}

static void run_group(struct sql *s, struct group *g)
{
    struct group writes = {.tail = &writes.jobs};
    struct group others = {.tail = &others.jobs};
    struct sql_job *job, *next;

    assert(g->jobs != NULL);
    for (job = g->jobs; job != NULL; job = next) {
        next = job->next;
        if (!is_write(job))
            group_add(&others, job);
        else if (admit(s, job))
            group_add(&writes, job);
    }
    if (writes.jobs != NULL) {
        sql_gather_begin(&s->side.gather);
        write_jobs(s, writes.jobs);
        sql_gather_done(&s->side.gather, writes.writes);
    }
    read_together(s, others.jobs);
    for (job = others.jobs; job != NULL; job = job->next)
        run_others(s, job);
}

/* NULL: there is none, and no reason to wait for one. */
static struct sql_job *take_next(struct sql *s, const struct group *g,
                                 uint64_t begun)
{
    struct worker_job *next = worker_take_next(
        s->worker, sql_gather_us(&s->side.gather, g->writes, begun));

    return next == NULL ? NULL : CONTAINER_OF(next, struct sql_job, job);
}

static bool group_has_room(const struct group *g, const struct sql_job *job)
{
    return g->ops + job_ops(job) <= GROUP_OPS &&
           g->bytes + job_bytes(job) <= GROUP_BYTES;
}

/* One group, and the job that turned out too large for it: then back to the
 * worker, which completes them and lets the poll have its turn. */
void sql_worker_run(void *arg)
{
    struct sql_job *job = arg;
    struct sql *s = job->s;
    struct group g = {.tail = &g.jobs};
    struct group rest = {.tail = &rest.jobs};
    uint64_t begun = clock_mono_ns();

    do {
        group_add(&g, job);
        job = take_next(s, &g, begun);
    } while (job != NULL && group_has_room(&g, job));
    run_group(s, &g);
    if (job != NULL) {
        group_add(&rest, job);
        run_group(s, &rest);
    }
}
