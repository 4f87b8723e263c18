/*
 * sqlite.c - the embedded registry: one SQLite file that any number of
 * processes of one host share. This is the loop's side of it.
 *
 * Nothing here touches the file: jobs go to the worker and come back, and the
 * worker's notes say when the session was renewed. By these the loop keeps the
 * session's deadlines (liveness_priv.h), with a clock of its own, so that a
 * worker that hangs in a system call does not hide the loss.
 *
 * A limit of SQLite: a process that is stopped (not killed) in the middle of a
 * commit keeps the write lock. Then nobody can write, renew or be taken for
 * dead until it continues or is killed; nothing is decided wrongly meanwhile.
 */
#include "registry/sqlite_backend.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"

#define MAX_OPS     3000
#define MAX_BYTES   (16u << 20)
#define QUEUE_MAX   4096 /* calls */
#define QUEUE_BYTES (64u << 20)

static struct sqlite *of(struct registry *r)
{
    return (struct sqlite *)(void *)r;
}

bool sqlite_stopping(const struct sqlite *s)
{
    return s->base.closing || s->base.mute;
}

void sqlite_submit_job(struct sqlite *s, struct sqlite_job *job,
                       enum sqlite_job_type type, loop_f *done)
{
    int rc;

    job->s = s;
    job->type = type;
    err_clear(&job->err);
    rc = worker_submit(s->worker, &job->job, sqlite_worker_run, done, job);
    /* The worker's own bound is out of reach: calls are counted here, and a
     * hold or a watch has one job. */
    assert(rc == 0);
    (void)rc;
}

/* --- calls ------------------------------------------------------------------
 */

static void call_done(void *arg)
{
    struct sqlite_job *job = arg;
    struct sqlite *s = job->s;
    struct registry_reply reply = {.err = job->err,
                                   .failed_op = job->failed_op,
                                   .revision = job->revision,
                                   .entries = job->rows.entries,
                                   .n_entries = job->rows.n,
                                   .next = job->rows.next};
    struct sqlite_rows rows = job->rows;

    assert(s->queued > 0);
    s->queued--;
    s->queued_bytes -= job->of.call->bytes;
    registry_call_done(job->of.call, &reply); /* frees the job, too */
    sqlite_rows_close(&rows);
}

static void submit(struct registry *r, struct registry_call *call)
{
    struct sqlite *s = of(r);
    struct sqlite_call *c = call->priv;

    if (r->session == 0) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "the registry has no session yet");
        return;
    }
    if (r->state == REGISTRY_SUSPENDED) {
        /* Reads would work while only writers are kept out; but what is read
         * is meant for deciding, and nothing may be decided now. */
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "suspended: the session could not be renewed "
                                 "for 2/3 of its timeout");
        return;
    }
    if (s->queued >= QUEUE_MAX ||
        (s->queued > 0 && s->queued_bytes + call->bytes > QUEUE_BYTES)) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "busy: %zu calls wait for the registry",
                                 s->queued);
        return;
    }
    s->queued++;
    s->queued_bytes += call->bytes;
    c->job.of.call = call;
    c->job.failed_op = SIZE_MAX;
    sqlite_submit_job(s, &c->job,
                      call->type == REGISTRY_CALL_TXN ? SQLITE_JOB_TXN
                                                      : SQLITE_JOB_READ,
                      call_done);
}

/* --- the session, as the loop sees it ----------------------------------------
 */

static void disconnected(struct sqlite *s)
{
    /* The worker gives it up before it writes anything else. */
    atomic_store(&s->abandoned, s->base.session);
    registry_tell(&s->base, REGISTRY_DISCONNECTED, 0);
}

static void on_tick(void *arg)
{
    struct sqlite *s = arg;

    if (registry_liveness_over(&s->liveness)) {
        log_warn("-session", LOG_U("session", s->base.session),
                 LOG_S("reason", "not renewed for its timeout"));
        disconnected(s);
    }
}

struct note {
    struct loop_slot slot;
    struct sqlite *s;
    enum sqlite_note_type type;
    uint64_t session;
    mono_ms sent;
};

static void on_note(void *arg)
{
    struct note *note = arg, n = *note;
    struct sqlite *s = n.s;

    mem_free(note);
    if (sqlite_stopping(s)) {
        return;
    }
    switch (n.type) {
    case SQLITE_OPENED:
        registry_liveness_begin(&s->liveness, n.sent);
        registry_tell(&s->base, REGISTRY_CONNECTED, n.session);
        if (!sqlite_stopping(s)) {
            sqlite_watches_look(s);
        }
        break;
    case SQLITE_RENEWED:
        if (n.session == s->base.session) {
            registry_liveness_answered(&s->liveness, n.sent);
        }
        break;
    case SQLITE_LOST:
        if (n.session == s->base.session) {
            log_warn("-session", LOG_U("session", n.session),
                     LOG_S("reason", "ended by another process, which saw no "
                                     "sign of life for its timeout"));
            disconnected(s);
        }
        break;
    }
}

/* A few per session timeout. */
void sqlite_note(struct sqlite *s, enum sqlite_note_type type, uint64_t session,
                 mono_ms sent)
{
    struct note *note = mem_zalloc(sizeof(*note));

    assert(session != 0);
    note->s = s;
    note->type = type;
    note->session = session;
    note->sent = sent;
    loop_complete(s->base.loop, &note->slot, on_note, note);
}

/* --- opening and closing
 * ------------------------------------------------------ */

static void release(struct registry *r)
{
    mem_free(of(r));
}

static void on_stopped(void *arg)
{
    struct sqlite *s = arg;
    registry_closed_f *killed = s->killed;
    void *killed_arg = s->killed_arg;

    sqlite_rows_close(&s->batch.rows);
    sqlite_watches_free(s);
    if (!s->base.mute) {
        registry_closed(&s->base);
        return;
    }
    registry_abandon(&s->base);
    release(&s->base);
    if (killed != NULL) {
        killed(killed_arg);
    }
}

static void on_close_done(void *arg)
{
    (void)arg;
}

static void stop(struct sqlite *s)
{
    struct worker *worker = s->worker; /* the worker's thread still reads it */

    loop_timer_stop(&s->ticker);
    sqlite_holds_stop(s);
    sqlite_watches_stop(s);
    atomic_store(&s->closing, true);
    sqlite_submit_job(s, &s->close_job, SQLITE_JOB_CLOSE, on_close_done);
    worker_stop(&worker, on_stopped, s);
}

static void close_(struct registry *r)
{
    stop(of(r));
}

void sqlite_kill(struct registry **r, registry_closed_f *gone, void *arg)
{
    struct sqlite *s = of(*r);

    *r = NULL;
    s->base.mute = true;
    s->killed = gone;
    s->killed_arg = arg;
    atomic_store(&s->killing, true);
    stop(s);
}

static const struct registry_ops ops = {
    .name = "sqlite",
    .call_size = sizeof(struct sqlite_call),
    .hold_size = sizeof(struct sqlite_hold),
    .watch_size = sizeof(struct sqlite_watch),
    .submit = submit,
    .watch = sqlite_watch_begin,
    .unwatch = sqlite_watch_end,
    .lock = sqlite_lock,
    .unlock = sqlite_unlock,
    .close = close_,
    .free = release,
};

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* The only place where the loop's thread touches the file: at start, so that
 * an unusable one ends the program with a clear message. */
int sqlite_open(struct registry **out, struct loop *loop,
                const struct conf_registry *conf, struct err *err)
{
    int64_t timeout = conf->session_timeout_ms;
    struct sqlite_db *db;
    struct sqlite *s;
    int rc;

    assert(conf->path != NULL && conf->namespace_ != NULL);
    assert(timeout > 0);
    rc = sqlite_db_open(&db, conf->path, conf->namespace_,
                        clamp(timeout / 4, 20, 2000), err);
    if (rc != 0) {
        return rc;
    }
    s = mem_zalloc(sizeof(*s));
    registry_init(&s->base, &ops, loop, timeout, MAX_OPS, MAX_BYTES);
    s->side.db = db;
    s->side.timeout_ms = timeout;
    s->side.reaper.last_look = clock_mono_ms();
    registry_liveness_init(&s->liveness, &s->base);
    s->ticker = loop_timer(loop, 0, clamp(timeout / 24, 5, 1000), on_tick, s);
    /* Last: it polls at once. */
    s->worker =
        worker_new(loop, SIZE_MAX, sqlite_worker_poll, s, SQLITE_POLL_MS);
    *out = &s->base;
    return 0;
}
