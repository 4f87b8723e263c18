/*
 * worker.c - the worker's side: jobs.
 *
 * Everything here runs on the worker's thread. A running job takes the jobs
 * that wait behind it along: their writes go into one transaction (write.c);
 * reads follow when it is committed, so that they see what was written before
 * them and nothing that was rolled back.
 */
#include "registry/sql/backend.h"

#include "base/log.h"
#include "base/mem.h"

#include <utlist.h>

#define GROUP_OPS   6000
#define GROUP_BYTES (16u << 20)
#define LOOK_PAGE   500
#define GETS_MAX    1000

/* --- groups -------------------------------------------------------------- */

struct group {
    struct sql_write writes;
    struct sql_job *others; /* in order; ->next */
    struct sql_job **tail;
    size_t ops, bytes;
    bool waited; /* for more, in vain */
};

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

static void group_add(struct sql *s, struct group *g, struct sql_job *job)
{
    assert(*g->tail == NULL);
    g->ops += job_ops(job);
    g->bytes += job_bytes(job);
    sql_gather_add(&s->side.gather, sql_job_writes(job));
    if (sql_job_writes(job)) {
        sql_write_add(&g->writes, job);
        return;
    }
    job->next = NULL;
    *g->tail = job;
    g->tail = &job->next;
}

/* --- reading ------------------------------------------------------------- */

static void read_call(struct sql *s, struct sql_job *job)
{
    const struct registry_call *call = job->of.call;
    struct sql_core *core = s->side.core;
    int rc = 0;

    assert(job->type == SQL_JOB_READ);
    if (atomic_load(&s->closing)) {
        sql_job_fail(job, ERR_CANCELLED, "the registry was closed");
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
        sql_job_fail(job, ERR_CANCELLED, "the registry was closed");
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
    assert(!sql_job_writes(job));
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
    struct sql_job *job;

    sql_write_end(s, &g->writes);
    read_together(s, g->others);
    for (job = g->others; job != NULL; job = job->next)
        run_others(s, job);
}

/* NULL: there is none, and no reason to wait for one. */
static struct sql_job *take_next(struct sql *s, struct group *g, uint64_t begun)
{
    struct worker_job *next = worker_take_next(s->worker);
    size_t wants = sql_gather_wants(&s->side.gather, g->writes.n);
    int64_t quiet_us, most_us;

    if (next == NULL && wants > 0 && !g->waited) {
        sql_gather_patience(&s->side.gather, begun, &quiet_us, &most_us);
        g->waited = worker_await(s->worker, wants, quiet_us, most_us) < wants;
        next = worker_take_next(s->worker);
    }
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
    struct group g = {.tail = &g.others};
    struct group rest = {.tail = &rest.others};
    uint64_t begun = clock_mono_ns();

    do {
        group_add(s, &g, job);
        job = take_next(s, &g, begun);
    } while (job != NULL && group_has_room(&g, job));
    run_group(s, &g);
    if (job != NULL) {
        group_add(s, &rest, job);
        run_group(s, &rest);
    }
}
