/*
 * request.c - requests: sent, their failures in our terms, and COMMIT with
 * what became of one whose answer was lost.
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
#include <string.h>

#define ASK_MS            50 /* between questions that nobody answered */
#define RECONNECT_MS      100
#define RETRIES_CERTIFIED 80 /* whoever else writes meanwhile is in the way */

/* --- building a request -------------------------------------------------- */

void dbms_start(struct dbms *d)
{
    assert(d->begin != NULL);
    buf_reset(&d->sql);
    d->raised = 0;
    d->stream = d->opens = false;
    d->alone = !d->inside;
    if (d->alone) {
        buf_str(&d->sql, d->begin);
        buf_char(&d->sql, ';');
    }
}

void dbms_start_stream(struct dbms *d)
{
    dbms_start(d);
    d->stream = true;
}

/* --- parts of many requests ---------------------------------------------- */

int dbms_session_lost(uint64_t session, struct err *err)
{
    assert(session != 0);
    return err_set(err, ERR_SESSION_LOST,
                   "session %" PRIu64 " is gone from the database: no "
                   "sign of life was seen for its timeout, or "
                   "DolphinScheduler swept its heartbeat away",
                   session);
}

void dbms_add_session(struct dbms *d, uint64_t session, uint64_t mark,
                      bool beat)
{
    const struct dbms_syntax *w = d->target.driver->syntax;
    /* Elsewhere it is seen that a server is read only before COMMIT is sent. */
    const char *writes = d->alone ? w->writes : "";

    assert(session != 0);
    if (d->marked != 0 && session == d->session) {
        buf_printf(&d->sql,
                   ";SELECT 'O', mark FROM pelorus_session WHERE id = %" PRIu64,
                   session);
    }
    buf_str(&d->sql, ";UPDATE pelorus_session SET mark = ");
    if (mark == 0)
        buf_str(&d->sql, "mark");
    else
        buf_printf(&d->sql, "%" PRIu64, mark);
    if (beat) {
        buf_printf(&d->sql, ", beat = beat + 1, expires_ms = %s + %" PRId64,
                   w->now_ms, d->timeout_ms);
    }
    buf_printf(&d->sql,
               " WHERE id = %" PRIu64 "%s;SELECT 'S', id FROM pelorus_session"
               " WHERE id = %" PRIu64 "%s",
               session, writes, session, w->fresh);
    if (beat) {
        buf_printf(&d->sql,
                   ";UPDATE t_ds_jdbc_registry_client_heartbeat"
                   " SET last_heartbeat_time = %s WHERE id = %" PRIu64
                   "%s;SELECT 'H', id FROM t_ds_jdbc_registry_client_heartbeat"
                   " WHERE id = %" PRIu64 "%s",
                   w->now_ms, session, writes, session, w->fresh);
    }
}

void dbms_add_counter(struct dbms *d, uint64_t n)
{
    assert(n > 0);
    d->raised = n;
    buf_printf(&d->sql,
               "UPDATE pelorus_meta SET revision = revision + %" PRIu64
               " WHERE id = 1;"
               "SELECT 'M', revision, floor_rev, depth FROM pelorus_meta"
               " WHERE id = 1",
               n);
}

void dbms_start_txn(struct dbms *d, uint64_t raised)
{
    assert(d->begin != NULL);
    assert(!d->inside);
    buf_reset(&d->sql);
    d->raised = 0;
    buf_str(&d->sql, d->begin);
    d->stream = d->alone = false;
    d->opens = true;
    if (raised > 0) {
        buf_char(&d->sql, ';');
        dbms_add_counter(d, raised);
    }
}

/* --- the connection ------------------------------------------------------ */

void dbms_disconnect(struct dbms *d)
{
    if (d->link != NULL)
        d->target.driver->close(&d->link);
    d->txn.open = d->inside = false;
    assert(d->link == NULL);
}

enum dbms_fault dbms_run_alone(struct dbms *d, const char *sql)
{
    assert(d->link != NULL);
    return d->target.driver->run(d->link, sql, strlen(sql), dbms_ignore_row,
                                 NULL, NULL);
}

void dbms_rollback(struct dbms *d)
{
    assert(d->link != NULL || !d->inside);
    if (d->link != NULL && d->inside &&
        dbms_run_alone(d, "ROLLBACK") != DBMS_OK)
        dbms_disconnect(d); /* then the server does it */
    d->inside = false;
}

/* One line when a server is left, and one when another is found. */
static void leave(struct dbms *d, const char *why)
{
    const struct jdbc_host *host = &d->target.url.hosts[d->target.at];

    assert(d->target.at < d->target.url.n_hosts);
    if (!d->left) {
        d->left = true;
        log_warn("-server", LOG_S("backend", d->target.driver->name),
                 LOG_S("host", host->name), LOG_I("port", host->port),
                 LOG_S("address", d->target.address), LOG_S("reason", why));
    }
    dbms_disconnect(d);
    dbms_connect_next(&d->target);
    assert(d->link == NULL);
}

static void linked(struct dbms *d)
{
    const struct dbms_target *t = &d->target;

    assert(d->link != NULL);
    assert(t->at < t->url.n_hosts);
    d->linked = clock_mono_ms();
    d->certified =
        t->driver->certifies != NULL && t->driver->certifies(d->link);
    d->core.retries = d->certified ? RETRIES_CERTIFIED : DBMS_RETRIES;
    if (d->left || d->was_at != t->at || d->was_nth != t->nth) {
        log_info("+server", LOG_S("backend", t->driver->name),
                 LOG_S("host", t->url.hosts[t->at].name),
                 LOG_I("port", t->url.hosts[t->at].port),
                 LOG_S("address", t->address));
    }
    d->was_at = t->at;
    d->was_nth = t->nth;
}

/* Servers that can not be reached are not asked by each of a thousand calls
 * that wait. */
static int ensure_link(struct dbms *d, enum dbms_fault *fault, struct err *err)
{
    assert(d->link != NULL || !d->inside);
    if (d->link != NULL)
        return 0;
    *fault = DBMS_LOST;
    if (clock_mono_ms() >= d->next_connect) {
        err_clear(&d->down);
        dbms_place_known(d);
        *fault = dbms_connect(&d->link, &d->target, &d->down);
        if (*fault == DBMS_OK) {
            linked(d);
            if (!dbms_begin_anew(d))
                return 0;
            *fault = DBMS_ROLLED_BACK;
            d->core.again = true;
            return err_set(err, ERR_UNAVAILABLE,
                           "another kind of server: once more");
        }
        d->next_connect = clock_mono_ms() + RECONNECT_MS;
    }
    if (err != NULL)
        *err = d->down;
    return (int)d->down.code;
}

/* --- requests ------------------------------------------------------------ */

static enum err_code code_of(enum dbms_fault fault)
{
    return fault == DBMS_OK          ? ERR_OK
           : fault == DBMS_DENIED    ? ERR_DENIED
           : fault == DBMS_TOO_LARGE ? ERR_TOO_LARGE
           : fault == DBMS_WENT_BACK ? ERR_WENT_BACK
                                     : ERR_UNAVAILABLE;
}

/* Between the driver and whoever reads the rows. */
struct answer {
    dbms_row_f *row;
    void *arg;
    bool begins; /* the row of `begin` is due */
    struct dbms_reply reply;
};

static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct answer *h = arg;

    dbms_reply_row(&h->reply, cells, n);
    if (h->begins) {
        assert(n >= 3);
        h->begins = false;
    } else if (!h->reply.read_only) {
        h->row(h->arg, cells, n);
    }
}

static enum dbms_fault send(struct dbms *d, dbms_row_f *row, void *arg,
                            struct err *err)
{
    const struct dbms_driver *driver = d->target.driver;
    struct answer h = {.row = row,
                       .arg = arg,
                       .begins = d->opens || d->alone,
                       .reply = {.raised = d->raised}};
    enum dbms_fault fault;

    assert(d->link != NULL);
    assert(d->sql.len > 0);
    assert(!(d->opens && d->alone));
    if (driver->stream != NULL)
        driver->stream(d->link, d->stream);
    d->inside |= d->opens;
    fault = driver->run(d->link, d->sql.data, d->sql.len, on_row, &h, err);
    if (fault == DBMS_OK && h.reply.read_only) {
        err_set(err, ERR_UNAVAILABLE, "%s: this server is read only",
                driver->name);
        return DBMS_NOT_HERE;
    }
    return fault == DBMS_OK ? dbms_place_check(d, &h.reply, err) : fault;
}

static void after(struct dbms *d, enum dbms_fault fault, const char *why)
{
    switch (fault) {
    case DBMS_OK:
        break;
    case DBMS_NOT_HERE:
        d->core.again = true;
        leave(d, why);
        break;
    case DBMS_LOST:
        dbms_disconnect(d);
        dbms_connect_next(&d->target);
        break;
    case DBMS_WAITED: /* among Galera's nodes, for one that lags behind */
        if (d->certified)
            leave(d, why);
        break;
    case DBMS_ROLLED_BACK:
        d->core.again = true;
        d->rolled_back++;
        break;
    default:
        break;
    }
    if (fault != DBMS_OK && d->alone && d->link != NULL &&
        dbms_run_alone(d, "ROLLBACK") != DBMS_OK)
        dbms_disconnect(d);
}

static int answered(struct dbms *d, enum dbms_fault fault, struct err *err)
{
    int rc = (int)code_of(fault);

    err->code = (enum err_code)rc;
    /* one that does not write is left: the search says if all are so */
    err->trouble = fault == DBMS_NOT_HERE ? 0 : dbms_trouble(fault, err);
    after(d, fault, err->msg);
    return rc;
}

int dbms_insert(struct dbms *d, const char *sql,
                const struct dbms_column *columns, unsigned n, size_t rows,
                enum dbms_fault *fault_out, struct err *err)
{
    struct err unwanted = {0};

    err = err != NULL ? err : &unwanted;
    assert(d->inside);
    assert(d->link != NULL && !d->alone);
    *fault_out = d->target.driver->insert(d->link, sql, columns, n, rows, err);
    return answered(d, *fault_out, err);
}

int dbms_run(struct dbms *d, dbms_row_f *row, void *arg,
             enum dbms_fault *fault_out, struct err *err)
{
    enum dbms_fault fault = DBMS_OK;
    struct err unwanted = {0};
    int rc;

    err = err != NULL ? err : &unwanted;
    assert(d->sql.len > 0);
    if (fault_out != NULL)
        *fault_out = DBMS_LOST;
    if (d->alone)
        buf_str(&d->sql, ";COMMIT");
    if (d->sql.overflow) {
        return err_set(err, ERR_TOO_LARGE, "a request of more than %u bytes",
                       DBMS_SQL_MAX);
    }
    rc = ensure_link(d, &fault, err);
    if (rc == 0) {
        fault = send(d, row, arg, err);
        rc = answered(d, fault, err);
    }
    if (fault_out != NULL)
        *fault_out = fault;
    assert(d->link != NULL || !d->inside);
    return rc;
}

/* --- COMMIT -------------------------------------------------------------- */

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
    rc = dbms_run(d, dbms_ignore_row, NULL, fault, err);
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

    assert(session != 0);
    assert(mark != 0);
    assert(!d->inside);
    dbms_start_txn(d, 1);
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
        return err_set(err, ERR_UNKNOWN,
                       "the connection broke in COMMIT, and our session "
                       "was ended meanwhile");
    }
    return v.committed ? 0
                       : err_set(err, ERR_UNAVAILABLE,
                                 "the connection broke in COMMIT; it was "
                                 "not carried out");
}

static int find_out(struct dbms *d, uint64_t session, uint64_t mark,
                    struct err *err)
{
    mono_ms until = clock_mono_ms() + d->target.url.call_ms;
    int rc;

    assert(session != 0);
    assert(mark != 0);
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
    assert(rc != ERR_TIMEOUT);
    return rc;
}

int dbms_commit(struct dbms *d, uint64_t session, uint64_t mark,
                struct err *err)
{
    enum dbms_fault fault;
    int rc = send_commit(d, &fault, err);

    assert(session == 0 || mark != 0);
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
    assert(!d->inside);
    assert(!d->core.again);
    return rc;
}
