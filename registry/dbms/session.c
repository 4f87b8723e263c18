/*
 * session.c - sessions, and ending those of processes that died.
 *
 * A session is two rows of one number: ours (a beat, and by the server's clock
 * the time when it is over) and a client's heartbeat row for DolphinScheduler,
 * without which its processes would sweep our lock away. Both are renewed
 * together; where either is gone, so is the session.
 *
 * The reaper needs both clocks to agree: the server's says that the session is
 * over, and ours that its beat stood still for more than a third of the
 * timeout while we looked. So neither a server whose clock jumps nor a pause
 * of everybody ends a session. Only sessions that missed a beat are read. Where
 * another server's clock may have written the times (Galera, a connection
 * younger than the timeout) a beat must stand still for the whole of it.
 */
#include "registry/dbms/dbms_priv.h"

#include <inttypes.h>
#include <string.h>

/* What the rows of a request said. */
struct rows {
    const struct dbms *d;
    bool session, heartbeat, guard;
    uint64_t revision, now_ms;
    struct sql_rows names;
};

static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct rows *h = arg;
    const char *key;
    size_t len;

    if (n < 2 || cells[0].p == NULL)
        return;
    switch (cells[0].p[0]) {
    case 'S':
        h->session = true;
        break;
    case 'H':
        h->heartbeat = true;
        break;
    case 'M':
        h->revision = dbms_u64(&cells[1]);
        break;
    case 'G':
        h->guard = true;
        break;
    case 'N':
        h->now_ms = dbms_u64(&cells[1]);
        break;
    case 'E':
        key = dbms_strip(h->d, &cells[1], &len);
        if (key != NULL && len <= REGISTRY_KEY_MAX) /* else none of ours */
            (void)sql_rows_push(&h->names, key, len, NULL, 0);
        break;
    default:
        break;
    }
}

int dbms_session_renew(struct sql_core *core, uint64_t id, struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct rows h = {.d = d};
    int rc;

    assert(id != 0);
    assert(!d->inside);
    dbms_place_look_again(d);
    dbms_start(d);
    buf_str(&d->sql, "SELECT 'M', revision FROM pelorus_meta WHERE id = 1");
    dbms_add_history(&d->target, &d->sql);
    dbms_add_session(d, id, 0, true);
    rc = dbms_run(d, on_row, &h, NULL, err);
    if (rc == 0) { /* what was seen before a commit of ours stands with it */
        d->left = false;
        dbms_place_sure(d, h.revision);
    }
    if (rc == 0 && (!h.session || !h.heartbeat))
        rc = dbms_session_lost(id, err);
    return rc;
}

/* Everything of a session goes, its keys with a note in the feed. Inside a
 * transaction whose first request told their names (add_names). */
static void add_names(struct dbms *d, uint64_t id)
{
    assert(d->opens);
    buf_printf(
        &d->sql,
        ";SELECT 'E', name FROM pelorus_ephemeral WHERE owner = %" PRIu64, id);
}

static void add_end(struct dbms *d, uint64_t id)
{
    assert(d->inside);
    buf_printf(&d->sql,
               "DELETE FROM pelorus_ephemeral WHERE owner = %" PRIu64 ";"
               "DELETE FROM pelorus_lock WHERE session = %" PRIu64 ";"
               "DELETE FROM t_ds_jdbc_registry_lock WHERE client_id = %" PRIu64
               ";DELETE FROM t_ds_jdbc_registry_client_heartbeat"
               " WHERE id = %" PRIu64
               ";DELETE FROM pelorus_session WHERE id = %" PRIu64,
               id, id, id, id, id);
    buf_str(&d->sql, d->target.driver->syntax->hint);
}

/* The first thousand names: the keys, and their note. */
static void add_keys(struct dbms *d, const struct rows *h, size_t from,
                     size_t to)
{
    struct buf names;

    assert(from < to);
    assert(to <= h->names.n);
    assert(to - from <= DBMS_IN_MAX);
    buf_init(&names, DBMS_IN_MAX * (SQL_FULL_KEY_MAX + 4));
    for (size_t i = from; i < to; i++)
        dbms_feed_name(d, &names, "", h->names.entries[i].key);
    dbms_feed_row(d, h->revision, from, &names);
    buf_close(&names);
    buf_str(&d->sql, ";DELETE FROM pelorus_registry WHERE");
    for (size_t i = from; i < to; i++)
        dbms_in_next(d, i - from, h->names.entries[i].key);
    dbms_in_end(d);
}

static int write_end(struct dbms *d, uint64_t id, struct rows *h,
                     struct err *err)
{
    int rc = 0;

    assert(d->inside);
    for (size_t from = 0; rc == 0 && from < h->names.n; from += DBMS_IN_MAX) {
        size_t to = from + DBMS_IN_MAX;

        dbms_start(d);
        add_keys(d, h, from, to < h->names.n ? to : h->names.n);
        rc = dbms_run(d, on_row, h, NULL, err);
    }
    if (rc == 0) {
        dbms_start(d);
        add_end(d, id);
        rc = dbms_run(d, on_row, h, NULL, err);
    }
    return rc;
}

/* Commit if all went well, else roll back. */
static int finish(struct dbms *d, int rc, struct err *err)
{
    assert(rc != 0 || d->inside);
    if (rc == 0)
        return dbms_commit(d, 0, 0, err);
    dbms_rollback(d);
    assert(!d->inside);
    return rc;
}

static int end_session(struct dbms *d, uint64_t id, struct err *err)
{
    struct rows h = {.d = d};
    int rc;

    assert(id != 0);
    assert(!d->inside);
    dbms_start_txn(d, 1);
    add_names(d, id);
    rc = dbms_run(d, on_row, &h, NULL, err);
    if (rc == 0)
        rc = write_end(d, id, &h, err);
    sql_rows_close(&h.names);
    return finish(d, rc, err);
}

int dbms_session_close(struct sql_core *core, uint64_t id, struct err *err)
{
    assert(id != 0);
    assert(!dbms_of(core)->inside);
    dbms_place_forget(dbms_of(core));
    return end_session(dbms_of(core), id, err);
}

/* As DolphinScheduler's clients make theirs: milliseconds since 2021, and ten
 * bits to tell those of one of them apart. By the server's clock. */
static uint64_t new_id(struct dbms *d, uint64_t now_ms)
{
    return (now_ms - 1609430400000u) << 10 | rand_below(&d->rand, 1024);
}

/* By this the session is judged. Of a node of Galera it holds only if what is
 * built on it can be committed. */
static void add_position(struct dbms *d)
{
    if (d->certified)
        dbms_add_counter(d, 1);
    else
        buf_str(&d->sql, "SELECT 'M', revision FROM pelorus_meta WHERE id = 1");
}

int dbms_session_begin(struct sql_core *core, uint64_t old, int64_t timeout_ms,
                       uint64_t *id, struct err *err)
{
    struct dbms *d = dbms_of(core);
    const char *now = d->target.driver->syntax->now_ms;
    struct rows h = {.d = d};
    char config[64];
    int rc = 0;

    assert(timeout_ms > 0);
    assert(!d->inside);
    dbms_place_forget(d);
    if (old != 0)
        rc = end_session(d, old, err);
    if (rc == 0) {
        dbms_start_txn(d, 0);
        buf_printf(&d->sql, ";SELECT 'N', %s;", now);
        add_position(d);
        rc = dbms_run(d, on_row, &h, NULL, err);
    }
    if (rc != 0) {
        dbms_rollback(d);
        return rc;
    }
    *id = new_id(d, h.now_ms);
    (void)snprintf(config, sizeof(config), "{\"sessionTimeout\":%" PRId64 "}",
                   timeout_ms);
    dbms_start(d);
    buf_printf(&d->sql,
               "INSERT INTO pelorus_session(id, beat, timeout_ms, expires_ms,"
               " mark, client) VALUES(%" PRIu64 ", 1, %" PRId64
               ", %s + %" PRId64 ", 0, ",
               *id, timeout_ms, now, timeout_ms);
    dbms_bytes(d, d->client, strlen(d->client));
    buf_printf(&d->sql,
               ");INSERT INTO t_ds_jdbc_registry_client_heartbeat(id,"
               " client_name, last_heartbeat_time, connection_config,"
               " create_time) VALUES(%" PRIu64 ", ",
               *id);
    dbms_text(d, d->client);
    buf_printf(&d->sql, ", %s, ", now);
    dbms_text(d, config);
    buf_str(&d->sql, ", CURRENT_TIMESTAMP)");
    rc = finish(d, dbms_run(d, on_row, &h, NULL, err), err);
    if (rc == 0) {
        d->session = *id;
        dbms_place_sure(d, h.revision);
    }
    assert(!d->inside);
    return rc;
}

/* --- the others' --------------------------------------------------------- */

struct look {
    const struct dbms *d;
    struct sql_reaper *reaper;
};

/* Were the sessions' times written by another server's clock than the one that
 * they are compared with now? Then only our own clock counts. */
static bool clocks_differ(const struct dbms *d, int64_t timeout_ms)
{
    return d->certified || clock_mono_ms() - d->linked <= timeout_ms;
}

static void on_session(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct look *look = arg;
    struct sql_seen seen;

    assert(look->reaper != NULL);
    assert(n == 3);
    (void)n;
    seen = (struct sql_seen){.id = dbms_u64(&cells[0]),
                             .beat = dbms_u64(&cells[1]),
                             .timeout_ms = (int64_t)dbms_u64(&cells[2])};
    seen.window_ms = clocks_differ(look->d, seen.timeout_ms)
                         ? seen.timeout_ms
                         : seen.timeout_ms / 2;
    sql_reaper_add(look->reaper, &seen);
}

/* A healthy session is never further than a third from its last beat. */
int dbms_sessions(struct sql_core *core, uint64_t self,
                  struct sql_reaper *reaper, struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct look look = {.d = d, .reaper = reaper};

    dbms_start(d);
    buf_printf(&d->sql,
               "SELECT id, beat, timeout_ms FROM pelorus_session"
               " WHERE expires_ms - timeout_ms / 2 < %s AND id <> %" PRIu64
               " ORDER BY id",
               d->target.driver->syntax->now_ms, self);
    return dbms_run(d, on_session, &look, NULL, err);
}

int dbms_reap(struct sql_core *core, const struct sql_seen *victim,
              uint64_t self, struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct rows h = {.d = d};
    int rc;

    assert(self != 0);
    assert(victim->id != self);
    assert(!d->inside);
    dbms_start_txn(d, 1);
    dbms_add_session(d, self, 0, false);
    buf_printf(&d->sql,
               ";SELECT 'G', id FROM pelorus_session WHERE id = %" PRIu64
               " AND beat = %" PRIu64 " AND expires_ms < %s FOR UPDATE",
               victim->id, victim->beat, d->target.driver->syntax->now_ms);
    add_names(d, victim->id);
    rc = dbms_run(d, on_row, &h, NULL, err);
    if (rc == 0 && !h.session) /* who is dead to the others does not judge */
        rc = dbms_session_lost(self, err);
    else if (rc == 0 && !h.guard)
        rc = err_set(err, ERR_NOT_FOUND, "it lives, or is gone already");
    if (rc == 0)
        rc = write_end(d, victim->id, &h, err);
    sql_rows_close(&h.names);
    return finish(d, rc, err);
}
