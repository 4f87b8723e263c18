/*
 * sql.c - the loop's side of a registry that stands behind one connection:
 * SQLite's file, a MySQL or a PostgreSQL server.
 *
 * Nothing here touches the connection: jobs go to the worker and come back,
 * and the worker's notes say when the session was renewed. By these the loop
 * keeps the session's deadlines (liveness.h), with a clock of its own, so
 * that a worker that hangs in a call does not hide the loss.
 */
#include "registry/sql/backend.h"

#include "base/log.h"
#include "base/mem.h"

#define LISTEN_MS 200 /* so long the listener may keep us from closing */

static struct sql *sql_of(struct registry *r)
{
    return (struct sql *)(void *)r;
}

/* --- calls --------------------------------------------------------------- */

static void on_call_done(void *arg)
{
    struct sql_job *job = arg;
    struct sql *s = job->s;
    struct registry_reply reply = {.err = job->err,
                                   .failed_op = job->failed_op,
                                   .revision = job->revision,
                                   .entries = job->rows.entries,
                                   .n_entries = job->rows.n,
                                   .next = job->rows.next};
    struct sql_rows rows = job->rows;

    assert(s->queued_bytes >= job->of.call->bytes);
    assert(s->queued > 0);
    if (job->type == SQL_JOB_TXN && job->err.code == ERR_OK)
        reply.written = job->revision;
    s->queued--;
    s->queued_bytes -= job->of.call->bytes;
    registry_call_done(job->of.call, &reply); /* frees the job, too */
    sql_rows_close(&rows);
}

static void submit(struct registry *r, struct registry_call *call)
{
    struct sql *s = sql_of(r);
    struct sql_call *c = call->priv;

    if (registry_call_refused(call, s->queued, s->queued_bytes))
        return;
    s->queued++;
    s->queued_bytes += call->bytes;
    c->job.of.call = call;
    c->job.failed_op = SIZE_MAX;
    sql_submit_job(s, &c->job,
                   call->type == REGISTRY_CALL_TXN ? SQL_JOB_TXN : SQL_JOB_READ,
                   on_call_done);
}

/* --- the session, as the loop sees it ------------------------------------ */

static void look(struct registry *r)
{
    struct sql *s = sql_of(r);

    sql_publish_known(s); /* also when it was accepted that it is lower */
    atomic_store(&s->ready, r->session);
    sql_watches_look(s);
}

static void end(struct registry *r, const char *why)
{
    log_warn("-session", LOG_U("session", r->session), LOG_S("reason", why));
    sql_disconnected(sql_of(r));
}

static void on_tick(void *arg)
{
    struct sql *s = arg;

    if (registry_liveness_over(&s->liveness)) {
        log_warn("-session", LOG_U("session", s->base.session),
                 LOG_S("reason", "not renewed for its timeout"));
        sql_disconnected(s);
    }
}

/* --- waking up ----------------------------------------------------------- */

static void on_wake(void *arg)
{
    struct sql *s = arg;

    atomic_store(&s->waking, false);
    sql_nudge(s);
}

/* The listener's thread, again and again. */
static int64_t listen_for_others(void *arg)
{
    struct sql *s = arg;

    if (!atomic_load(&s->closing) && s->waker->wait(s->waker, LISTEN_MS) &&
        !atomic_exchange(&s->waking, true))
        loop_complete(s->base.loop, &s->wake, on_wake, s);
    return 0;
}

/* --- opening and closing ------------------------------------------------- */

static void release(struct registry *r)
{
    mem_free(sql_of(r));
}

/* One of the workers has ended; with the last one all is over. */
static void on_stopped(void *arg)
{
    struct sql *s = arg;
    registry_closed_f *killed = s->killed;
    void *killed_arg = s->killed_arg;

    assert(s->running <= 2);
    assert(s->running > 0);
    if (--s->running > 0)
        return;
    if (s->waker != NULL)
        s->waker->close(&s->waker);
    sql_rows_close(&s->batch.rows);
    sql_watches_free(s);
    if (!s->base.mute) {
        registry_closed(&s->base);
        return;
    }
    registry_abandon(&s->base);
    release(&s->base);
    if (killed != NULL)
        killed(killed_arg);
}

static void on_close_done(void *arg)
{
    (void)arg;
}

static void close_(struct registry *r)
{
    struct sql *s = sql_of(r);
    struct worker *worker = s->worker; /* the worker's thread still reads it */
    struct worker *listener = s->listener;

    loop_timer_stop(&s->ticker);
    sql_holds_stop(s);
    sql_watches_stop(s);
    atomic_store(&s->closing, true);
    sql_submit_job(s, &s->close_job, SQL_JOB_CLOSE, on_close_done);
    worker_stop(&worker, on_stopped, s);
    if (listener != NULL)
        worker_stop(&listener, on_stopped, s);
    assert(atomic_load(&s->closing));
}

void sql_kill(struct registry **r, registry_closed_f *gone, void *arg)
{
    struct sql *s = sql_of(*r);

    *r = NULL;
    s->base.mute = true;
    s->killed = gone;
    s->killed_arg = arg;
    atomic_store(&s->killing, true);
    close_(&s->base);
}

static void prove(struct registry *r)
{
    struct sql *s = sql_of(r);

    atomic_store(&s->proving, true);
    sql_nudge(s);
}

static void poll_now(struct registry *r, const char *key)
{
    (void)key; /* the feed tells of all */
    sql_nudge(sql_of(r));
}

static const struct registry_ops base_ops = {
    .call_size = sizeof(struct sql_call),
    .hold_size = sizeof(struct sql_hold),
    .watch_size = sizeof(struct sql_watch),
    .submit = submit,
    .watch = sql_watch_begin,
    .unwatch = sql_watch_end,
    .lock = sql_lock,
    .unlock = sql_unlock,
    .prove = prove,
    .poll_now = poll_now,
    .look = look,
    .end = end,
    .close = close_,
    .free = release,
};

struct registry *sql_new(const struct sql_kind *kind, struct loop *loop,
                         struct sql_core *core, struct sql_waker *waker,
                         int64_t timeout_ms)
{
    struct sql *s = mem_zalloc(sizeof(*s));
    uint64_t seed;

    assert(core->ops != NULL);
    assert(core->poll_ms > 0);
    assert(timeout_ms > 0);
    assert(core->beat_ms > 0 && core->beat_ms <= timeout_ms / 3);
    s->run_job = sql_worker_run;
    s->ops = base_ops;
    s->ops.name = kind->name;
    registry_init(&s->base, &s->ops, loop, timeout_ms, kind->max_ops,
                  kind->max_bytes);
    s->side.core = core;
    s->side.timeout_ms = timeout_ms;
    rand_secret(&seed, sizeof(seed));
    rand_seed(&s->side.rand, seed);
    sql_core_init(core, clock_mono_ms());
    registry_liveness_init(&s->liveness, &s->base);
    s->ticker =
        loop_timer(loop, 0, sql_clamp(timeout_ms / 24, 5, 1000), on_tick, s);
    s->waker = waker;
    s->running = waker != NULL ? 2 : 1;
    /* Last: they begin at once. */
    s->worker = worker_new(loop, SIZE_MAX, sql_worker_poll, s, core->poll_ms);
    if (waker != NULL)
        s->listener = worker_new(loop, 1, listen_for_others, s, 1);
    assert(s->running > 0);
    return &s->base;
}
