/*
 * commit.c - COMMIT, and what became of one whose answer was lost.
 *
 * Each transaction leaves a mark of its own in its session's row. Who wants to
 * know whether one stands raises the counter himself, as it did, and commits.
 * On one server he waits at the counter's row until the other has ended. Of
 * two nodes of Galera the two are compared: either the lost one was first, and
 * then the question is rolled back until the mark is to be seen; or the
 * question was first, and then the lost one can never be carried out any more.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/log.h"

#include <inttypes.h>
#include <poll.h>

#define ASK_MS 50 /* between questions that nobody answered */

static void ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

struct verdict {
    bool session, committed;
    uint64_t mark;
};

static void on_verdict(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct verdict *v = arg;

    if (n == 2 && cells[0].p[0] == 'T') {
        v->session = true;
        v->committed = dbms_u64(&cells[1]) == v->mark;
    }
}

static int send_commit(struct dbms *d, enum dbms_fault *fault, struct err *err)
{
    int rc;

    assert(d->inside);
    dbms_start(d);
    buf_str(&d->sql, "COMMIT");
    rc = dbms_run(d, ignore_row, NULL, fault, err);
    if (rc == 0) {
        d->rolled_back = 0;
        d->left = false;
    }
    d->inside = false;
    return rc;
}

/* 0 or ERR_UNAVAILABLE: it is known. ERR_TIMEOUT: no answer yet. */
static int ask(struct dbms *d, uint64_t session, uint64_t mark, struct err *err)
{
    struct verdict v = {.mark = mark};
    int rc;

    dbms_start_txn(d);
    buf_char(&d->sql, ';');
    dbms_add_counter(d, 1);
    buf_printf(&d->sql,
               ";SELECT 'T', mark FROM pelorus_session WHERE id = %" PRIu64,
               session);
    rc = dbms_run(d, on_verdict, &v, NULL, err);
    if (rc == 0)
        rc = send_commit(d, NULL, err);
    if (rc != 0) {
        dbms_rollback(d);
        return rc == ERR_WENT_BACK ? ERR_UNKNOWN : ERR_TIMEOUT;
    }
    if (!v.session) { /* ended meanwhile, and its mark with it */
        return (int)err_set(err, ERR_UNKNOWN,
                            "the connection broke in COMMIT, and our session "
                            "was ended meanwhile");
    }
    return v.committed ? 0
                       : (int)err_set(err, ERR_UNAVAILABLE,
                                      "the connection broke in COMMIT; it was "
                                      "not carried out");
}

static int find_out(struct dbms *d, uint64_t session, uint64_t mark,
                    struct err *err)
{
    mono_ms until = clock_mono_ms() + d->target.url.call_ms;
    int rc;

    for (;;) {
        d->next_connect = 0;
        rc = ask(d, session, mark, err);
        if (rc != ERR_TIMEOUT || clock_mono_ms() >= until)
            break;
        (void)poll(NULL, 0, ASK_MS);
    }
    rc = rc == ERR_TIMEOUT ? ERR_UNKNOWN : rc;
    log_info("=commit", LOG_S("backend", d->target.driver->name),
             LOG_U("session", session),
             LOG_S("outcome", rc == 0                 ? "committed"
                              : rc == ERR_UNAVAILABLE ? "rolled back"
                                                      : "unknown"));
    if (err != NULL)
        err->code = (enum err_code)rc;
    return rc;
}

int dbms_commit(struct dbms *d, uint64_t session, uint64_t mark,
                struct err *err)
{
    enum dbms_fault fault;
    int rc = send_commit(d, &fault, err);

    if (rc == 0)
        return 0;
    if (fault == DBMS_ROLLED_BACK)
        return ERR_UNAVAILABLE;
    dbms_disconnect(d);
    d->core.again = false;
    if (session == 0)
        return ERR_UNKNOWN;
    rc = find_out(d, session, mark, err);
    d->core.again = false;
    return rc;
}
