/*
 * lock.c - the global locks: DolphinScheduler's unique row, and a queue
 * of our own before it.
 *
 * Who holds the row of a key in t_ds_jdbc_registry_lock holds the lock, for us
 * and for DolphinScheduler's processes alike, and the row's number is the
 * fencing number. Among ourselves a queue keeps the order: only the first in
 * it tries for the row, the others look at the queue.
 *
 * A row of ours says in lock_owner which hold it is for, so that a try whose
 * answer was lost is recognised and not made twice.
 *
 * The row of a dead process of DolphinScheduler's is deleted by the next of
 * them that lives. Where none does we do it: that row, of that client, whose
 * heartbeat stood still for its timeout (pauses.h) and still does. A living
 * one waits by inserting without a pause; beside such, who would take the row
 * each time that it is free before we look, we do the same for a part of the
 * time.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/log.h"

#include <inttypes.h>
#include <string.h>

#define OWNER_SIZE   160
#define TRY_MS       60   /* of tries without a pause, in a poll */
#define OVERTAKEN_MS 1000 /* after the row has gone to another one */
#define RETRY_MS     100 /* between looks at a row that is held, half to 1.5 x */

struct rows {
    const struct dbms *d;
    const char *owner;      /* ours, as it stands in lock_owner */
    uint64_t session_id;    /* ours */
    uint64_t ticket, first; /* inserted; at the head of the queue */
    uint64_t id;            /* of the row inserted */
    uint64_t mine;          /* a row that is ours */
    uint64_t row, client;   /* the row that stands there, and whose it is */
    uint64_t beat;          /* of that client's heartbeat; 0: it has none */
    int64_t timeout_ms;     /* as it states it */
    bool session;           /* it is one of ours: the reaper judges it */
    bool taken;             /* somebody's row stands there */
    char holder[SQL_HOLDER_SIZE]; /* as that row says */
    bool alive;
};

static void on_lock_row(struct rows *h, const struct dbms_cell *cells)
{
    assert(h->taken);
    h->client = dbms_u64(&cells[2]);
    h->holder[0] = '\0';
    if (cells[3].p != NULL) {
        (void)snprintf(h->holder, sizeof(h->holder), "%.*s", (int)cells[3].n,
                       cells[3].p);
    }
    if (h->client == h->session_id && strcmp(h->holder, h->owner) == 0)
        h->mine = h->row;
    h->beat = cells[4].p == NULL ? 0 : dbms_u64(&cells[4]);
    h->timeout_ms = dbms_config_timeout(h->d, &cells[5]);
    h->session = cells[6].p != NULL;
}

static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct rows *h = arg;
    uint64_t value;

    if (n < 2 || cells[0].p == NULL)
        return;
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
    case 'B':
        h->beat = value;
        break;
    case 'R':
        h->taken = true;
        h->row = value;
        if (n == 7)
            on_lock_row(h, cells);
        break;
    default:
        break;
    }
}

static void owner_text(const struct dbms *d, const struct sql_place *place,
                       char out[OWNER_SIZE])
{
    assert(d->client[0] != 0);
    (void)snprintf(out, OWNER_SIZE, "%s_%" PRIu64, d->client, place->hold);
}

/* Who is first, and whose row stands there? */
static void add_look(struct dbms *d, const char *key)
{
    assert(d->sql.len > 0);
    assert(key[0] == '/');
    buf_str(&d->sql, "SELECT 'Q', ticket FROM pelorus_lock WHERE name = ");
    dbms_bytes(d, key, strlen(key));
    buf_str(&d->sql, " ORDER BY ticket LIMIT 1;"
                     "SELECT 'R', l.id, l.client_id, l.lock_owner,"
                     " h.last_heartbeat_time, h.connection_config, s.id"
                     " FROM t_ds_jdbc_registry_lock l"
                     " LEFT JOIN t_ds_jdbc_registry_client_heartbeat h"
                     " ON h.id = l.client_id"
                     " LEFT JOIN pelorus_session s ON s.id = l.client_id"
                     " WHERE l.lock_key = ");
    dbms_text(d, key);
}

static void add_insert(struct dbms *d, const char *values,
                       const struct sql_place *place, const struct rows *h)
{
    assert(place->session != 0);
    assert(h->owner != NULL);
    buf_printf(&d->sql,
               "INSERT INTO t_ds_jdbc_registry_lock(lock_key, lock_owner,"
               " client_id, create_time) %s",
               values);
    dbms_text(d, place->key);
    buf_str(&d->sql, ", ");
    dbms_text(d, h->owner);
    buf_printf(&d->sql, ", %" PRIu64 ", CURRENT_TIMESTAMP", place->session);
}

/* Insert the row; whoever else has just done so keeps it. */
static int take_row(struct dbms *d, const struct sql_place *place,
                    struct rows *h, struct err *err)
{
    const struct dbms_syntax *w = d->target.driver->syntax;
    enum dbms_fault fault;
    int rc;

    assert(d->inside);
    dbms_start(d);
    add_insert(d, "VALUES(", place, h);
    buf_printf(&d->sql, ")%s%s", w->ignore, w->last_id);
    h->id = 0;
    rc = dbms_run(d, on_row, h, &fault, err);
    if (fault == DBMS_DUPLICATE || (rc == 0 && h->id == 0))
        return sql_place_waits(place, err);
    return rc;
}

/* --- inside a group ------------------------------------------------------ */

static int join_queue(struct dbms *d, const struct sql_place *place,
                      struct rows *h, struct err *err)
{
    assert(d->inside);
    assert(place->session != 0);
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
    return dbms_run(d, on_row, h, NULL, err);
}

static int leave_queue(struct dbms *d, uint64_t ticket, struct err *err)
{
    assert(d->inside);
    dbms_start(d);
    buf_printf(&d->sql, "DELETE FROM pelorus_lock WHERE ticket = %" PRIu64,
               ticket);
    return dbms_run(d, dbms_ignore_row, NULL, NULL, err);
}

int dbms_lock_enqueue(struct sql_core *core, struct sql_place *place,
                      bool try_once, struct err *err)
{
    struct dbms *d = dbms_of(core);
    char owner[OWNER_SIZE];
    struct rows h = {.d = d, .owner = owner, .session_id = place->session};
    int rc;

    assert(place->session != 0);
    assert(d->inside);
    assert(d->txn.open);
    owner_text(d, place, owner);
    rc = join_queue(d, place, &h, err);
    if (rc != 0)
        return rc;
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
    if (rc != ERR_CONFLICT)
        return rc;
    if (!try_once)
        return 0;
    place->ticket = 0;
    rc = leave_queue(d, h.ticket, err);
    return rc != 0
               ? rc
               : err_set(err, ERR_TIMEOUT, "%s: held by another", place->key);
}

int dbms_lock_leave(struct sql_core *core, const struct sql_place *place,
                    struct err *err)
{
    struct dbms *d = dbms_of(core);
    char owner[OWNER_SIZE];

    assert(place->session != 0);
    assert(d->inside);
    assert(d->txn.open);
    owner_text(d, place, owner);
    d->txn.locks = true;
    for (size_t i = 0; i < d->txn.n_guards; i++)
        d->txn.guards[i].ours &= d->txn.guards[i].fence != place->fence;
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
    return dbms_run(d, dbms_ignore_row, NULL, NULL, err);
}

/* --- waiting ------------------------------------------------------------- */

/*
 * Our turn: insert the row, in one statement that also sees that our session
 * stands, and keeps it from being ended meanwhile. Whose row stands then is
 * read along: the id of an insert that found no session would be an old one.
 */
static int try_row(struct dbms *d, const struct sql_place *place,
                   struct rows *h, struct err *err)
{
    const struct dbms_syntax *w = d->target.driver->syntax;
    enum dbms_fault fault;
    int rc;

    assert(!d->inside);
    assert(place->ticket != 0);
    dbms_start(d);
    add_insert(d, "(SELECT ", place, h);
    buf_printf(&d->sql, " FROM pelorus_session WHERE id = %" PRIu64 "%s)%s;",
               place->session, w->share, w->ignore);
    add_look(d, place->key);
    h->mine = 0;
    rc = dbms_run(d, on_row, h, &fault, err);
    if (fault == DBMS_DUPLICATE || fault == DBMS_ROLLED_BACK ||
        (rc == 0 && h->mine == 0))
        return sql_place_waits(place, err);
    return rc;
}

/* --- whose holder died --------------------------------------------------- */

/* Since when the heartbeat of whoever has the row stands still. */
static struct dbms_holder *holder_of(struct dbms *d, const struct rows *h,
                                     mono_ms now)
{
    struct dbms_holder *found = &d->holders[0];

    assert(h->taken);
    for (size_t i = 0; i < DBMS_HOLDERS; i++) {
        struct dbms_holder *at = &d->holders[i];

        if (at->row == h->row && at->client == h->client) {
            found = at;
            break;
        }
        if (at->seen < found->seen)
            found = at;
    }
    if (found->row != h->row || found->client != h->client ||
        found->beat != h->beat) {
        *found = (struct dbms_holder){
            .row = h->row, .client = h->client, .beat = h->beat, .since = now};
    }
    found->seen = now;
    return found;
}

static bool holder_died(struct dbms *d, const struct rows *h)
{
    mono_ms now = clock_mono_ms();

    return h->taken && !h->session &&
           sql_core_silent(&d->core, &holder_of(d, h, now)->since,
                           h->timeout_ms, h->timeout_ms, now);
}

/* Its heartbeat row stays locked until the lock's row is gone: it beats before
 * or after that. */
static int add_guard(struct dbms *d, const struct sql_place *place,
                     const struct rows *h, struct rows *now, struct err *err)
{
    assert(!d->inside);
    assert(h->taken);
    dbms_start_txn(d, 0);
    dbms_add_session(d, place->session, 0, false);
    buf_printf(&d->sql,
               ";SELECT 'B', last_heartbeat_time FROM"
               " t_ds_jdbc_registry_client_heartbeat WHERE id = %" PRIu64
               " FOR UPDATE",
               h->client);
    return dbms_run(d, on_row, now, NULL, err);
}

static int free_row(struct dbms *d, const struct sql_place *place,
                    const struct rows *h, struct err *err)
{
    struct rows now = {.d = d, .owner = h->owner};
    int rc = add_guard(d, place, h, &now, err);

    assert(h->taken);
    assert(!h->session);
    if (rc == 0 && !now.alive)
        rc = dbms_session_lost(place->session, err);
    else if (rc == 0 && now.beat != h->beat)
        rc = sql_place_waits(place, err);
    if (rc == 0) {
        dbms_start(d);
        buf_printf(&d->sql,
                   "DELETE FROM t_ds_jdbc_registry_lock WHERE id = %" PRIu64
                   " AND client_id = %" PRIu64 " AND lock_key = ",
                   h->row, h->client);
        dbms_text(d, place->key);
        rc = dbms_run(d, on_row, &now, NULL, err);
    }
    if (rc == 0)
        rc = dbms_commit(d, 0, 0, err);
    else
        dbms_rollback(d);
    if (rc == 0) {
        log_warn(
            "-lock-row", LOG_S("key", place->key), LOG_S("holder", h->holder),
            LOG_U("client", h->client), LOG_I("timeout_ms", h->timeout_ms),
            LOG_S("reason", h->beat == 0
                                ? "its client has no heartbeat row any more"
                                : "its client's heartbeat stood still for its "
                                  "timeout"),
            LOG_S("advice", "deleted, as a living process of "
                            "DolphinScheduler would have done"));
    }
    assert(!d->inside);
    return rc;
}

/* --- beside those who insert without a pause ----------------------------- */

/* Has the row gone from one to another of them while it was our turn? */
static bool was_overtaken(struct sql_place *place, const struct rows *h,
                          mono_ms now)
{
    assert(h->taken);
    if (h->row != place->passed) {
        place->passed_at = place->passed == 0 ? 0 : now;
        place->passed = h->row;
    }
    return place->passed_at != 0 && now - place->passed_at < OVERTAKEN_MS;
}

static int try_for_a_while(struct dbms *d, const struct sql_place *place,
                           struct rows *h, struct err *err)
{
    mono_ms end = clock_mono_ms() + TRY_MS;
    int rc;

    assert(!d->inside);
    assert(h->taken);
    do {
        rc = try_row(d, place, h, err);
    } while (rc == ERR_CONFLICT && clock_mono_ms() < end);
    return rc;
}

static int take_turn(struct dbms *d, struct sql_place *place, struct rows *h,
                     struct err *err)
{
    int rc = 0;

    assert(place->ticket != 0);
    assert(place->fence == 0);
    if (h->taken && holder_died(d, h)) {
        rc = free_row(d, place, h, err);
    } else if (h->taken) {
        return was_overtaken(place, h, clock_mono_ms())
                   ? try_for_a_while(d, place, h, err)
                   : sql_place_waits(place, err);
    }
    return rc == 0 ? try_row(d, place, h, err) : rc;
}

/* Whoever holds a lock may show its number to others before he writes
 * anything. So that it is not lost unseen with a server's tail the counter goes
 * up, as it does for a lock that was free (in the group). */
static int grant(struct dbms *d, struct sql_place *place, uint64_t fence,
                 struct err *err)
{
    int rc;

    assert(fence != 0);
    assert(place->fence == 0);
    dbms_start(d);
    dbms_add_counter(d, 1);
    rc = dbms_run(d, dbms_ignore_row, NULL, NULL, err);
    place->fence = rc == 0 ? fence : 0;
    return rc;
}

int dbms_lock_head(struct sql_core *core, struct sql_place *place,
                   struct err *err)
{
    struct dbms *d = dbms_of(core);
    char owner[OWNER_SIZE];
    struct rows h = {.d = d, .owner = owner, .session_id = place->session};
    int rc;

    assert(place->session != 0);
    assert(place->fence == 0);
    assert(!d->inside);
    assert(place->ticket != 0);
    /* Not in step with whoever else waits for the row. */
    d->core.lock_ms = RETRY_MS / 2 + (int64_t)rand_below(&d->rand, RETRY_MS);
    owner_text(d, place, owner);
    dbms_start(d);
    add_look(d, place->key);
    rc = dbms_run(d, on_row, &h, NULL, err);
    if (rc != 0)
        return rc;
    if (h.mine != 0)
        return grant(d, place, h.mine, err);
    if (h.first == 0 || h.first > place->ticket)
        return sql_place_gone(place, err);
    memcpy(place->holder, h.holder, sizeof(place->holder));
    if (h.first != place->ticket)
        return sql_place_waits(place, err);
    rc = take_turn(d, place, &h, err);
    return rc == 0 ? grant(d, place, h.mine, err) : rc;
}
