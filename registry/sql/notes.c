/*
 * notes.c - between the two threads: jobs to the worker, and its notes to the
 * loop. The bottom of the asynchronous half: all that is above calls it.
 */
#include "registry/sql/backend.h"

#include "base/log.h"
#include "base/mem.h"

#define TROUBLE_MS 500 /* between two notes of one trouble */

/* --- to the worker ------------------------------------------------------- */

bool sql_stopping(const struct sql *s)
{
    return s->base.closing || s->base.mute;
}

void sql_submit_job(struct sql *s, struct sql_job *job, enum sql_job_type type,
                    loop_f *done)
{
    int rc;

    assert(s->run_job != NULL);
    assert(done != NULL);
    job->s = s;
    job->type = type;
    err_clear(&job->err);
    rc = worker_submit(s->worker, &job->job, s->run_job, done, job);
    /* The worker's own bound is out of reach: calls are counted here, and a
     * hold or a watch has one job. */
    assert(rc == 0);
    (void)rc;
}

/* --- to the loop --------------------------------------------------------- */

void sql_disconnected(struct sql *s)
{
    /* The worker gives it up before it writes anything else. */
    atomic_store(&s->abandoned, s->base.session);
    registry_set_state(&s->base, REGISTRY_DISCONNECTED);
}

/* For a core that has to choose among servers. */
void sql_publish_known(struct sql *s)
{
    const struct registry_place *known = registry_place(&s->base);

    atomic_store(&s->side.core->known_line, known->line);
    atomic_store(&s->side.core->known_position, known->position);
}

struct note {
    struct loop_slot slot;
    struct sql *s;
    enum sql_note_type type;
    uint64_t session;
    mono_ms sent;
    uint64_t line, position; /* where the store stood */
    struct err why;          /* SQL_LOST, SQL_TROUBLE */
};

/* The core has seen that the store is not what its session knew; by its
 * position, or, where others have lifted that since, by what it lacks. */
static void lost(struct sql *s, const struct note *n)
{
    assert(n->type == SQL_LOST);
    assert(n->session == s->base.session);
    assert(n->why.code != ERR_OK);
    log_warn("-session", LOG_U("session", n->session),
             LOG_S("reason", n->why.msg));
    registry_record_error(&s->base, &n->why);
    if (n->why.code == ERR_WENT_BACK &&
        registry_report_position(&s->base, n->line, n->position))
        registry_report_contradiction(&s->base, NULL, "%s", n->why.msg);
    sql_disconnected(s);
}

static void on_note(void *arg)
{
    struct note *note = arg, n = *note;
    struct sql *s = n.s;

    assert(n.s != NULL);
    mem_free(note);
    if (sql_stopping(s) || (n.type != SQL_OPENED && n.type != SQL_TROUBLE &&
                            n.session != s->base.session))
        return;
    switch (n.type) {
    case SQL_TROUBLE:
        registry_record_error(&s->base, &n.why);
        return;
    case SQL_OPENED:
        registry_liveness_begin(&s->liveness, n.sent);
        registry_session_begin(&s->base, n.session, n.line, n.position);
        return;
    case SQL_LOST:
        lost(s, &n);
        return;
    case SQL_RENEWED:
        registry_liveness_answered(&s->liveness, n.sent, n.sent);
        break;
    case SQL_WROTE:
        registry_record_answer(&s->base, n.sent);
        break;
    case SQL_MOVED:
        break;
    }
    if (registry_report_position(&s->base, n.line, n.position)) {
        sql_publish_known(s);
    } /* else `end` comes */
}

/* A few per session timeout, and at most one a poll. */
void sql_note(struct sql *s, enum sql_note_type type, uint64_t session,
              mono_ms sent, const struct err *why)
{
    struct note *note = mem_zalloc(sizeof(*note));

    assert(session != 0 || type == SQL_TROUBLE);
    assert((why != NULL) == (type == SQL_LOST || type == SQL_TROUBLE));
    assert(why == NULL || why->code != ERR_OK);
    note->s = s;
    note->type = type;
    note->session = session;
    note->sent = sent;
    note->line = s->side.core->line;
    note->position = s->side.core->position;
    s->side.told = note->position;
    if (why != NULL)
        note->why = *why;
    loop_complete(s->base.loop, &note->slot, on_note, note);
}

/* Tries come ten times a second, and more often where many poll. */
void sql_report_trouble(struct sql *s, const struct err *err)
{
    struct sql_side *side = &s->side;
    mono_ms now = clock_mono_ms();

    if (err->code == ERR_OK || err->trouble == 0 ||
        (err->trouble == side->trouble && now - side->trouble_at < TROUBLE_MS))
        return;
    side->trouble = err->trouble;
    side->trouble_at = now;
    if (s->waker != NULL && err->trouble == TROUBLE_CONNECTIONS)
        atomic_store(&s->waker->crowded, true);
    sql_note(s, SQL_TROUBLE, side->session, 0, err);
}
