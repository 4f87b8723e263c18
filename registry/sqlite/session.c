/*
 * session.c - sessions, and ending those of processes that died.
 *
 * A session is a row whose beat its owner raises; no clock stands in the file.
 * How the others find out that it stands still: registry/sql/reaper.c.
 */
#include "registry/sqlite/sqlite_priv.h"

#include "base/mem.h"

#include <string.h>
#include <unistd.h>

/* --- our own ------------------------------------------------------------- */

/* Ephemeral keys with their changes, locks, and the row; inside a
 * transaction. */
static int end_session(struct sqlite_db *db, uint64_t id, struct err *err)
{
    static const enum sqlite_stmt_id deletes[] = {SQLITE_STMT_OWNED_DELETE,
                                                  SQLITE_STMT_LOCK_LEAVE_ALL,
                                                  SQLITE_STMT_SESSION_DELETE};
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_OWNED_CHANGE);
    int rc;

    assert(db->writing);
    db->revision++;
    sqlite_bind_u64(stmt, 1, id);
    sqlite_bind_u64(stmt, 2, db->revision);
    rc = sqlite_run(db, stmt, err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(deletes); i++) {
        stmt = sqlite_stmt(db, deletes[i]);
        sqlite_bind_u64(stmt, 1, id);
        rc = sqlite_run(db, stmt, err);
    }
    return rc;
}

/* Commit if all went well, else roll back. */
static int finish(struct sqlite_db *db, int rc, struct err *err)
{
    assert(db->writing);
    if (rc == 0)
        return sqlite_commit(&db->core, err);
    sqlite_rollback(&db->core);
    assert(!db->writing);
    return rc;
}

/* The row is gone: ended by another, or never made in this past. */
static int gone(struct sqlite_db *db, uint64_t id, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_LAST);
    uint64_t last = 0;
    bool row;
    int rc = sqlite_step(db, stmt, &row, err);

    assert(id != 0);
    if (rc != 0)
        return rc;
    if (row)
        last = sqlite_column_u64(stmt, 0);
    (void)sqlite3_reset(stmt);
    if (last < id) {
        return sqlite_went_back(db, err, "session %ju was never begun",
                                (uintmax_t)id);
    }
    return err_set(err, ERR_SESSION_LOST,
                   "session %ju was ended by another process, which saw "
                   "no sign of life for the session timeout",
                   (uintmax_t)id);
}

/* Numbers are given again where the sessions that had them were lost. */
static bool is_ours(const struct sqlite_db *db, sqlite3_stmt *stmt)
{
    const char *started = (const char *)sqlite3_column_text(stmt, 2);

    return sqlite3_column_int64(stmt, 1) == (sqlite3_int64)getpid() &&
           started != NULL && strcmp(started, db->own.started) == 0;
}

/* *beat: 0 without a row; *ours: of the session that this handle began last,
 * or of another one that is asked about. */
static int find(struct sqlite_db *db, uint64_t id, uint64_t *beat, bool *ours,
                struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_CHECK);
    bool row;
    int rc;

    assert(id != 0);
    *beat = 0;
    *ours = true;
    sqlite_bind_u64(stmt, 1, id);
    rc = sqlite_step(db, stmt, &row, err);
    if (rc == 0 && row) {
        *beat = sqlite_column_u64(stmt, 0);
        *ours = id != db->own.id || is_ours(db, stmt);
        (void)sqlite3_reset(stmt);
    }
    return rc;
}

static int check(struct sqlite_db *db, uint64_t id, uint64_t *beat,
                 struct err *err)
{
    bool ours;
    int rc = find(db, id, beat, &ours, err);

    assert(id != 0);
    if (rc != 0)
        return rc;
    if (*beat == 0)
        return gone(db, id, err);
    if (!ours) {
        return sqlite_went_back(db, err, "session %ju is another's",
                                (uintmax_t)id);
    }
    if (id == db->own.id && *beat < db->own.beat) {
        return sqlite_went_back(db, err,
                                "session %ju stands at beat %ju, and it was "
                                "%ju",
                                (uintmax_t)id, (uintmax_t)*beat,
                                (uintmax_t)db->own.beat);
    }
    return 0;
}

/* Of ours that is over. In a past that was put back its number may be
 * another's. */
static int end_ours(struct sqlite_db *db, uint64_t id, struct err *err)
{
    uint64_t beat;
    bool ours;
    int rc = find(db, id, &beat, &ours, err);

    assert(id != 0);
    assert(db->writing);
    return rc == 0 && ours ? end_session(db, id, err) : rc;
}

static int insert(struct sqlite_db *db, int64_t timeout_ms, uint64_t *id,
                  char started[static CLOCK_RFC3339_SIZE], struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_NEW);
    char host[256] = "";
    int rc;

    assert(db->writing);
    assert(timeout_ms > 0);
    (void)gethostname(host, sizeof(host) - 1);
    sqlite_bind_u64(stmt, 1, (uint64_t)timeout_ms);
    sqlite_bind_text(stmt, 2, host);
    sqlite_bind_u64(stmt, 3, (uint64_t)getpid());
    sqlite_bind_text(stmt, 4, clock_rfc3339(clock_wall_ms(), started));
    rc = sqlite_run(db, stmt, err);
    *id = (uint64_t)sqlite3_last_insert_rowid(db->handle);
    return rc;
}

int sqlite_session_begin(struct sql_core *core, uint64_t old,
                         int64_t timeout_ms, uint64_t *id, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    char started[CLOCK_RFC3339_SIZE];
    int rc;

    assert(!db->writing);
    assert(timeout_ms > 0);
    MEM_FREE(db->back);
    db->highest = 0;
    rc = sqlite_begin(db, err);
    if (rc != 0)
        return rc;
    if (old != 0)
        rc = end_ours(db, old, err);
    if (rc == 0) {
        rc = insert(db, timeout_ms, id, started, err);
        db->revision++; /* the number of a session is never lost unseen */
    }
    rc = finish(db, rc, err);
    if (rc == 0) {
        db->own.id = *id;
        db->own.beat = 1;
        memcpy(db->own.started, started, sizeof(started));
    }
    assert(!db->writing);
    return rc;
}

int sqlite_session_close(struct sql_core *core, uint64_t id, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = sqlite_begin(db, err);

    assert(id != 0);
    if (rc != 0)
        return rc;
    return finish(db, end_ours(db, id, err), err);
}

int sqlite_session_check(struct sqlite_db *db, uint64_t id, struct err *err)
{
    uint64_t beat;

    assert(db->writing);
    assert(id != 0);
    return check(db, id, &beat, err);
}

int sqlite_session_beat(struct sqlite_db *db, uint64_t id, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_BEAT);
    uint64_t beat = 0;
    int rc;

    assert(id != 0);
    assert(db->writing);
    rc = check(db, id, &beat, err);
    if (rc != 0)
        return rc;
    sqlite_bind_u64(stmt, 1, id);
    rc = sqlite_run(db, stmt, err);
    if (rc == 0 && id == db->own.id)
        db->own.beating = beat + 1;
    return rc;
}

/* --- the others' --------------------------------------------------------- */

int sqlite_sessions(struct sql_core *core, uint64_t self,
                    struct sql_reaper *reaper, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_ALL);
    bool row = true;
    int rc = 0;

    assert(reaper->n == 0);
    while (rc == 0 && row) {
        rc = sqlite_step(db, stmt, &row, err);
        if (rc == 0 && row && sqlite_column_u64(stmt, 0) != self) {
            struct sql_seen seen = {.id = sqlite_column_u64(stmt, 0),
                                    .beat = sqlite_column_u64(stmt, 1),
                                    .timeout_ms =
                                        sqlite3_column_int64(stmt, 2)};

            seen.window_ms = seen.timeout_ms;
            sql_reaper_add(reaper, &seen);
        }
    }
    (void)sqlite3_reset(stmt);
    return rc;
}

int sqlite_reap(struct sql_core *core, const struct sql_seen *victim,
                uint64_t self, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    sqlite3_stmt *stmt;
    bool row = false;
    int rc = sqlite_begin(db, err);

    assert(self != 0);
    assert(victim->id != self);
    if (rc != 0)
        return rc;
    /* A process that is dead to the others does not judge. */
    rc = sqlite_session_check(db, self, err);
    if (rc == 0) {
        stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_GUARD);
        sqlite_bind_u64(stmt, 1, victim->id);
        sqlite_bind_u64(stmt, 2, victim->beat);
        rc = sqlite_probe(db, stmt, &row, err);
    }
    if (rc == 0 && !row)
        rc = err_set(err, ERR_NOT_FOUND, "it lives, or is gone already");
    if (rc == 0)
        rc = end_session(db, victim->id, err);
    return finish(db, rc, err);
}
