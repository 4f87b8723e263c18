/*
 * dbms_lock.c - the global locks: DolphinScheduler's unique row, and a queue
 * of our own before it.
 *
 * Who holds the row of a key in t_ds_jdbc_registry_lock holds the lock, for us
 * and for DolphinScheduler's processes alike, and the row's number is the
 * fencing number. Among ourselves a queue keeps the order: only the first in
 * it tries for the row, the others look at the queue.
 *
 * A row of ours says in lock_owner which hold it is for, so that a try whose
 * answer was lost is recognised and not made twice.
 */
#include "registry/dbms.h"

#include <inttypes.h>
#include <string.h>

#define OWNER_SIZE 160
#define RETRY_MS   100 /* between looks at a row that is held, half to 1.5 x */

struct heard {
    const struct dbms *d;
    const char *owner; /* ours, as it stands in lock_owner */
    uint64_t session;
    uint64_t ticket, first;       /* inserted; at the head of the queue */
    uint64_t id;                  /* of the row inserted */
    uint64_t mine;                /* a row that is ours */
    bool taken;                   /* somebody's row stands there */
    char holder[SQL_HOLDER_SIZE]; /* as that row says */
    bool alive;
};

static void on_heard(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct heard *h = arg;
    uint64_t value;

    if (n < 2 || cells[0].p == NULL) {
        return;
    }
    value = dbms_u64(&cells[1]);
    switch (cells[0].p[0]) {
    case 'S':
        h->alive = true;
        break;
    case 'T':
        h->ticket = value;
        break;
    case 'Q':
        h->first = value;
        break;
    case 'I':
        h->id = value;
        break;
    case 'R':
        h->taken = true;
        if (n == 4 && cells[3].p != NULL) {
            (void)snprintf(h->holder, sizeof(h->holder), "%.*s",
                           (int)cells[3].n, cells[3].p);
        }
        if (n == 4 && dbms_u64(&cells[2]) == h->session && cells[3].p != NULL &&
            cells[3].n == strlen(h->owner) &&
            memcmp(cells[3].p, h->owner, cells[3].n) == 0) {
            h->mine = value;
        }
        break;
    default:
        break;
    }
}

static void owner_text(const struct dbms *d, const struct sql_place *place,
                       char out[OWNER_SIZE])
{
    (void)snprintf(out, OWNER_SIZE, "%s_%" PRIu64, d->client, place->hold);
}

static int conflict(const struct sql_place *place, struct err *err)
{
    return (int)err_set(err, ERR_CONFLICT, "%s: held by another", place->key);
}

/* Who is first, and whose row stands there? */
static void add_look(struct dbms *d, const char *key)
{
    buf_str(&d->sql, "SELECT 'Q', ticket FROM pelorus_lock WHERE name = ");
    dbms_bytes(d, key, strlen(key));
    buf_str(&d->sql, " ORDER BY ticket LIMIT 1;"
                     "SELECT 'R', id, client_id, lock_owner"
                     " FROM t_ds_jdbc_registry_lock WHERE lock_key = ");
    dbms_text(d, key);
}

/* Insert the row; whoever else has just done so keeps it. */
static int take_row(struct dbms *d, const struct sql_place *place,
                    struct heard *h, struct err *err)
{
    const struct dbms_words *w = d->target.driver->words;
    enum dbms_fault fault;
    int rc;

    dbms_start(d);
    buf_str(&d->sql, "INSERT INTO t_ds_jdbc_registry_lock(lock_key, lock_owner,"
                     " client_id, create_time) VALUES(");
    dbms_text(d, place->key);
    buf_str(&d->sql, ", ");
    dbms_text(d, h->owner);
    buf_printf(&d->sql, ", %" PRIu64 ", CURRENT_TIMESTAMP)%s%s", place->session,
               w->ignore, w->last_id);
    h->id = 0;
    rc = dbms_run(d, on_heard, h, &fault, err);
    if (fault == DBMS_DUPLICATE || (rc == 0 && h->id == 0)) {
        return conflict(place, err);
    }
    return rc;
}

/* --- inside a group ------------------------------------------------------- */

static int join_queue(struct dbms *d, const struct sql_place *place,
                      struct heard *h, struct err *err)
{
    dbms_start(d);
    buf_printf(&d->sql,
               "DELETE FROM pelorus_lock WHERE session = %" PRIu64
               " AND hold = %" PRIu64 ";"
               "INSERT INTO pelorus_lock(session, hold, name) VALUES(%" PRIu64
               ", %" PRIu64 ", ",
               place->session, place->hold, place->session, place->hold);
    dbms_bytes(d, place->key, strlen(place->key));
    buf_printf(&d->sql,
               ");SELECT 'T', ticket FROM pelorus_lock WHERE session = %" PRIu64
               " AND hold = %" PRIu64 ";",
               place->session, place->hold);
    add_look(d, place->key);
    return dbms_run(d, on_heard, h, NULL, err);
}

static int leave_queue(struct dbms *d, uint64_t ticket, struct err *err)
{
    struct heard h = {0};

    dbms_start(d);
    buf_printf(&d->sql, "DELETE FROM pelorus_lock WHERE ticket = %" PRIu64,
               ticket);
    return dbms_run(d, on_heard, &h, NULL, err);
}

int dbms_lock_enqueue(struct sql_core *core, struct sql_place *place,
                      bool try_once, struct err *err)
{
    struct dbms *d = dbms_of(core);
    char owner[OWNER_SIZE];
    struct heard h = {.d = d, .owner = owner, .session = place->session};
    int rc;

    assert(d->txn.open);
    owner_text(d, place, owner);
    rc = join_queue(d, place, &h, err);
    if (rc != 0) {
        return rc;
    }
    place->ticket = h.ticket;
    place->fence = h.mine;
    d->txn.locks = true;
    rc = ERR_CONFLICT;
    if (h.mine != 0) {
        rc = 0;
    } else if (h.first == h.ticket && !h.taken) {
        rc = take_row(d, place, &h, err);
        place->fence = rc == 0 ? h.id : 0;
    }
    if (rc != ERR_CONFLICT) {
        return rc;
    }
    if (!try_once) {
        return 0;
    }
    place->ticket = 0;
    rc = leave_queue(d, h.ticket, err);
    return rc != 0 ? rc
                   : (int)err_set(err, ERR_TIMEOUT, "%s: held by another",
                                  place->key);
}

int dbms_lock_leave(struct sql_core *core, const struct sql_place *place,
                    struct err *err)
{
    struct dbms *d = dbms_of(core);
    char owner[OWNER_SIZE];
    struct heard h = {0};

    assert(d->txn.open);
    owner_text(d, place, owner);
    d->txn.locks = true;
    for (size_t i = 0; i < d->txn.n_guards; i++) {
        d->txn.guards[i].ours &= d->txn.guards[i].fence != place->fence;
    }
    dbms_start(d);
    buf_printf(&d->sql,
               "DELETE FROM t_ds_jdbc_registry_lock WHERE client_id = %" PRIu64
               " AND lock_key = ",
               place->session);
    dbms_text(d, place->key);
    buf_str(&d->sql, " AND lock_owner = ");
    dbms_text(d, owner);
    buf_printf(&d->sql,
               ";DELETE FROM pelorus_lock WHERE session = %" PRIu64
               " AND hold = %" PRIu64,
               place->session, place->hold);
    return dbms_run(d, on_heard, &h, NULL, err);
}

/* --- waiting -------------------------------------------------------------- */

/* Our turn, and the row is free: in a transaction of its own, in which nobody
 * can end our session. */
static int try_row(struct dbms *d, struct sql_place *place, struct heard *h,
                   struct err *err)
{
    int rc;

    dbms_start_txn(d);
    dbms_add_session(d, place->session, 0, false);
    buf_char(&d->sql, ';');
    add_look(d, place->key);
    h->alive = h->taken = false;
    h->first = 0;
    rc = dbms_run(d, on_heard, h, NULL, err);
    if (rc == 0 && !h->alive) {
        rc = dbms_session_lost(place->session, err);
    } else if (rc == 0 && (h->taken || h->first != place->ticket)) {
        rc = conflict(place, err);
    }
    if (rc == 0) {
        rc = take_row(d, place, h, err);
    }
    if (rc == 0) {
        rc = dbms_commit(d, 0, 0, err);
        if (rc != 0) { /* if it stands after all, the next look finds it */
            rc = conflict(place, err);
        }
    } else {
        dbms_rollback(d);
    }
    return rc;
}

int dbms_lock_head(struct sql_core *core, struct sql_place *place,
                   struct err *err)
{
    struct dbms *d = dbms_of(core);
    char owner[OWNER_SIZE];
    struct heard h = {.d = d, .owner = owner, .session = place->session};
    int rc;

    assert(place->ticket != 0);
    /* Not in step with whoever else waits for the row. */
    d->core.lock_ms = RETRY_MS / 2 + (int64_t)rand_below(&d->rand, RETRY_MS);
    owner_text(d, place, owner);
    dbms_start(d);
    add_look(d, place->key);
    rc = dbms_run(d, on_heard, &h, NULL, err);
    if (rc != 0) {
        return rc;
    }
    if (h.mine != 0) {
        place->fence = h.mine;
        return 0;
    }
    if (h.first == 0 || h.first > place->ticket) {
        return (int)err_set(err, ERR_SESSION_LOST,
                            "%s: our place in the queue is gone", place->key);
    }
    if (h.taken || h.first != place->ticket) {
        memcpy(place->holder, h.holder, sizeof(place->holder));
        return conflict(place, err);
    }
    rc = try_row(d, place, &h, err);
    memcpy(place->holder, h.holder, sizeof(place->holder));
    place->fence = rc == 0 ? h.id : 0;
    return rc;
}
