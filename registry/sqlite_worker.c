/*
 * sqlite_worker.c - the worker's side: jobs, and group commit.
 *
 * Everything here runs on the worker's thread. A running job takes the jobs
 * that wait behind it along: their writes go into one transaction, one
 * savepoint each, and are done together or fail together; reads follow when it
 * is committed, so that they see what was written before them and nothing that
 * was rolled back. Every transaction begins by asking whether our session is
 * still there, so a process that slept past its end can not write.
 */
#include "registry/sqlite_backend.h"

#include "base/log.h"

#define GROUP_OPS   6000
#define GROUP_BYTES (16u << 20)
#define LOOK_PAGE   500

/* --- group commit
 * ---------------------------------------------------------------- */

struct group {
    struct sqlite_job *jobs; /* in order; ->next */
    struct sqlite_job **tail;
    size_t ops, bytes;
};

static bool is_write(const struct sqlite_job *job)
{
    return job->type == SQLITE_JOB_TXN || job->type == SQLITE_JOB_LOCK ||
           job->type == SQLITE_JOB_UNLOCK;
}

/* Roughly, in operations: what bounds a group bounds how long the answers of
 * its first jobs and the poll must wait. */
static size_t job_ops(const struct sqlite_job *job)
{
    switch (job->type) {
    case SQLITE_JOB_TXN:
        return job->of.call->n_ops;
    case SQLITE_JOB_LOOK:
        return LOOK_PAGE;
    case SQLITE_JOB_READ:
        return job->of.call->type == REGISTRY_CALL_LIST ? job->of.call->limit
               : job->of.call->type == REGISTRY_CALL_CHILDREN
                   ? REGISTRY_PAGE_MAX
                   : 1;
    default:
        return 1;
    }
}

static size_t job_bytes(const struct sqlite_job *job)
{
    return job->type == SQLITE_JOB_TXN ? job->of.call->bytes : 0;
}

static void group_add(struct group *g, struct sqlite_job *job)
{
    job->next = NULL;
    *g->tail = job;
    g->tail = &job->next;
    g->ops += job_ops(job);
    g->bytes += job_bytes(job);
}

static uint64_t job_session(const struct sqlite_job *job)
{
    return job->type == SQLITE_JOB_TXN ? job->of.call->session
                                       : job->of.hold->session;
}

static void fail(struct sqlite_job *job, enum err_code code, const char *msg)
{
    (void)err_set(&job->err, code, "%s", msg);
    job->failed_op = SIZE_MAX;
}

static void waiting_remove(struct sqlite_side *side, struct sqlite_hold *h)
{
    struct sqlite_hold **at = &side->waiting;

    while (*at != NULL && *at != h) {
        at = &(*at)->next_waiting;
    }
    if (*at != NULL) {
        *at = h->next_waiting;
    }
}

/* May it be tried? If not, it is answered. */
static bool admit(struct sqlite *s, struct sqlite_job *job)
{
    if (job->type == SQLITE_JOB_UNLOCK) {
        waiting_remove(&s->side, job->of.hold->priv);
    }
    if (atomic_load(&s->closing)) {
        fail(job, ERR_CANCELLED, "the registry was closed");
        return false;
    }
    if (!sqlite_session_is(s, job_session(job))) {
        fail(job, ERR_SESSION_LOST, "the session of this call has ended");
        return false;
    }
    return true;
}

static int apply_lock(struct sqlite_side *side, struct sqlite_job *job)
{
    struct registry_hold *hold = job->of.hold;
    struct sqlite_hold *h = hold->priv;
    uint64_t ticket;
    int rc = sqlite_lock_enqueue(side->db, side->session, hold->key,
                                 hold->owner, &ticket, &job->err);

    if (rc != 0) {
        return rc;
    }
    rc =
        sqlite_lock_head(side->db, side->session, hold->key, ticket, &job->err);
    if (rc == ERR_CONFLICT && hold->try_once) {
        return ERR_TIMEOUT;
    }
    h->granted = rc == 0;
    h->ticket = ticket;
    return rc == ERR_CONFLICT ? 0 : rc;
}

static int apply(struct sqlite_side *side, struct sqlite_job *job)
{
    struct sqlite_hold *h;

    switch (job->type) {
    case SQLITE_JOB_TXN:
        return sqlite_apply(side->db, side->session, job->of.call->ops,
                            job->of.call->n_ops, &job->failed_op, &job->err);
    case SQLITE_JOB_LOCK:
        return apply_lock(side, job);
    default:
        h = job->of.hold->priv;
        assert(job->type == SQLITE_JOB_UNLOCK);
        return sqlite_lock_leave(side->db, h->ticket, &job->err);
    }
}

/* The registry's answer, as opposed to the engine's trouble. */
static bool is_refusal(int rc)
{
    return rc == ERR_CONFLICT || rc == ERR_NOT_FOUND || rc == ERR_TIMEOUT;
}

/* One call in its savepoint. Nonzero: the whole group fails. */
static int apply_undoable(struct sqlite_side *side, struct sqlite_job *job,
                          struct err *err)
{
    int rc = sqlite_savepoint(side->db, err);

    if (rc != 0) {
        return rc;
    }
    rc = apply(side, job);
    if (rc != 0 && !is_refusal(rc)) {
        *err = job->err;
        return rc;
    }
    job->revision = sqlite_revision(side->db);
    if (rc != 0) {
        job->err.code = (enum err_code)rc;
    } else {
        err_clear(&job->err); /* "held by another" of a lock that waits */
    }
    return sqlite_release(side->db, rc != 0, err);
}

static int apply_all(struct sqlite_side *side, struct sqlite_job *jobs,
                     struct err *err)
{
    int rc = 0;

    for (; rc == 0 && jobs != NULL; jobs = jobs->next) {
        rc = apply_undoable(side, jobs, err);
    }
    return rc;
}

/* After the commit, or its failure. What was refused inside a transaction
 * that failed was refused by writes that never were: it fails, too. */
static void answer_all(struct sqlite_side *side, struct sqlite_job *jobs,
                       const struct err *err)
{
    for (; jobs != NULL; jobs = jobs->next) {
        struct sqlite_hold *h;

        if (err->code != ERR_OK) {
            fail(jobs, err->code, err->msg);
        }
        if (jobs->type != SQLITE_JOB_LOCK) {
            continue;
        }
        h = jobs->of.hold->priv;
        if (jobs->err.code != ERR_OK) {
            h->ticket = 0;
        } else if (!h->granted) {
            h->next_waiting = side->waiting;
            side->waiting = h;
        }
    }
}

/* Inside a fresh transaction: is it there, and if due, renew it along. */
static int session_enter(struct sqlite_side *side, mono_ms now, bool *beat,
                         struct err *err)
{
    *beat = now >= side->next_beat;
    return *beat ? sqlite_session_beat(side->db, side->session, err)
                 : sqlite_session_check(side->db, side->session, err);
}

static void write_jobs(struct sqlite *s, struct sqlite_job *jobs)
{
    struct sqlite_side *side = &s->side;
    mono_ms now = clock_mono_ms();
    struct err err = {0};
    bool beat = false;
    int rc = sqlite_begin(side->db, &err);

    if (rc == 0) {
        rc = session_enter(side, now, &beat, &err);
        if (rc == 0) {
            rc = apply_all(side, jobs, &err);
        }
        if (rc == 0) {
            rc = sqlite_commit(side->db, &err);
        } else {
            sqlite_rollback(side->db);
        }
    }
    err.code = (enum err_code)rc;
    if (rc == 0) {
        side->dirty = true;
        if (beat) {
            sqlite_session_renewed(s, now);
        }
    } else if (rc == ERR_SESSION_LOST) {
        sqlite_session_gone(s);
    }
    answer_all(side, jobs, &err);
}

/* --- reading
 * ------------------------------------------------------------------------ */

static void read_call(struct sqlite *s, struct sqlite_job *job)
{
    const struct registry_call *call = job->of.call;
    struct sqlite_db *db = s->side.db;
    int rc = 0;

    if (atomic_load(&s->closing)) {
        fail(job, ERR_CANCELLED, "the registry was closed");
        return;
    }
    switch (call->type) {
    case REGISTRY_CALL_GET:
        rc = sqlite_get(db, call->key, &job->rows, &job->err);
        break;
    case REGISTRY_CALL_EXISTS:
        rc = sqlite_exists(db, call->key, &job->err);
        break;
    case REGISTRY_CALL_CHILDREN:
        rc = sqlite_children(db, call->key, &job->rows, &job->err);
        break;
    case REGISTRY_CALL_LIST:
        rc = sqlite_list(db, call->key, call->from, call->limit, &job->rows,
                         &job->err);
        break;
    case REGISTRY_CALL_TXN:
        assert(call->type != REGISTRY_CALL_TXN);
        break;
    }
    job->err.code = (enum err_code)rc;
    if (rc != 0) {
        sqlite_rows_close(&job->rows); /* what came before the error */
    }
    job->revision = sqlite_revision(db);
}

/* The feed begins where the first list does: what changed before is in it. */
static void look(struct sqlite *s, struct sqlite_job *job)
{
    struct registry_watch *w = job->of.watch;
    struct sqlite_watch *sw = w->priv;
    struct sqlite_side *side = &s->side;
    int rc = 0;

    if (atomic_load(&s->closing)) {
        fail(job, ERR_CANCELLED, "the registry was closed");
        return;
    }
    if (!side->feed_valid) {
        rc = sqlite_feed_skip(side->db, &side->feed, &job->err);
        side->feed_valid = rc == 0;
    }
    if (!sw->attached) {
        sw->attached = true;
        sw->next_attached = side->attached;
        side->attached = sw;
    }
    if (rc == 0) {
        rc = sqlite_list(side->db, w->prefix, sw->from, LOOK_PAGE, &job->rows,
                         &job->err);
    }
    job->err.code = (enum err_code)rc;
    if (rc != 0) {
        sqlite_rows_close(&job->rows);
    }
}

static void unwatch(struct sqlite_side *side, struct sqlite_watch *sw)
{
    struct sqlite_watch **at = &side->attached;

    while (*at != NULL && *at != sw) {
        at = &(*at)->next_attached;
    }
    if (*at != NULL) {
        *at = sw->next_attached;
    }
    if (side->attached == NULL) {
        side->feed_valid = false;
    }
}

/* The end of the session and of the connection. Two tries: the second for a
 * writer who held the file for all of the first. */
static void shut(struct sqlite *s)
{
    struct sqlite_side *side = &s->side;
    uint64_t session = side->session != 0 ? side->session : side->old;
    struct err err = {0};

    if (session != 0 && !side->lost && !atomic_load(&s->killing) &&
        sqlite_session_close(side->db, session, &err) != 0 &&
        sqlite_session_close(side->db, session, &err) != 0) {
        log_warn("!session-close", LOG_U("session", session),
                 LOG_S("reason", err.msg));
    }
    sqlite_reaper_close(&side->reaper);
    sqlite_db_close(&side->db);
}

static void run_others(struct sqlite *s, struct sqlite_job *job)
{
    switch (job->type) {
    case SQLITE_JOB_READ:
        read_call(s, job);
        break;
    case SQLITE_JOB_LOOK:
        look(s, job);
        break;
    case SQLITE_JOB_UNWATCH:
        unwatch(&s->side, job->of.watch->priv);
        break;
    case SQLITE_JOB_CLOSE:
        shut(s);
        break;
    case SQLITE_JOB_TXN:
    case SQLITE_JOB_LOCK:
    case SQLITE_JOB_UNLOCK:
    case SQLITE_JOB_NUDGE:
        break;
    }
}

static void run_group(struct sqlite *s, struct group *g)
{
    struct sqlite_job *writes = NULL, **tail = &writes;
    struct sqlite_job *others = NULL, **others_tail = &others;
    struct sqlite_job *job, *next;

    for (job = g->jobs; job != NULL; job = next) {
        next = job->next;
        job->next = NULL;
        if (!is_write(job)) {
            *others_tail = job;
            others_tail = &job->next;
        } else if (admit(s, job)) {
            *tail = job;
            tail = &job->next;
        }
    }
    if (writes != NULL) {
        write_jobs(s, writes);
    }
    for (job = others; job != NULL; job = job->next) {
        run_others(s, job);
    }
}

static struct sqlite_job *take_next(struct sqlite *s)
{
    struct worker_job *next = worker_take_next(s->worker);

    return next == NULL ? NULL : CONTAINER_OF(next, struct sqlite_job, job);
}

static bool group_has_room(const struct group *g, const struct sqlite_job *job)
{
    return g->ops + job_ops(job) <= GROUP_OPS &&
           g->bytes + job_bytes(job) <= GROUP_BYTES;
}

/* One group, and the job that turned out too large for it: then back to the
 * worker, which completes them and lets the poll have its turn. */
void sqlite_worker_run(void *arg)
{
    struct sqlite_job *job = arg;
    struct sqlite *s = job->s;
    struct group g = {.tail = &g.jobs};
    struct group rest = {.tail = &rest.jobs};

    do {
        group_add(&g, job);
        job = take_next(s);
    } while (job != NULL && group_has_room(&g, job));
    run_group(s, &g);
    if (job != NULL) {
        group_add(&rest, job);
        run_group(s, &rest);
    }
}
