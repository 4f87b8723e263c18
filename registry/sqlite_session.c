/*
 * sqlite_session.c - sessions, and ending those of processes that died.
 *
 * A session is a row whose beat its owner raises. No clock stands in the file:
 * every process counts, by its own monotonic clock, how long it has seen a
 * beat unchanged, and only while it looked often enough itself. Whoever wakes
 * first after all were stopped has looked at nothing meanwhile, so that its
 * windows begin anew and nobody is taken for dead. The last word has the
 * transaction: it ends the session only if the beat is still the one watched.
 */
#include "registry/sqlite_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- our own ----------------------------------------------------------------
 */

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
    assert(id != 0);
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
    if (rc == 0) {
        return sqlite_commit(db, err);
    }
    sqlite_rollback(db);
    return rc;
}

int sqlite_session_begin(struct sqlite_db *db, uint64_t old, int64_t timeout_ms,
                         uint64_t *id, struct err *err)
{
    char host[256] = "", started[CLOCK_RFC3339_SIZE];
    sqlite3_stmt *stmt;
    int rc = sqlite_begin(db, err);

    assert(timeout_ms > 0);
    if (rc != 0) {
        return rc;
    }
    if (old != 0) {
        rc = end_session(db, old, err);
    }
    if (rc == 0) {
        (void)gethostname(host, sizeof(host) - 1);
        stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_NEW);
        sqlite_bind_u64(stmt, 1, (uint64_t)timeout_ms);
        sqlite_bind_text(stmt, 2, host);
        sqlite_bind_u64(stmt, 3, (uint64_t)getpid());
        sqlite_bind_text(stmt, 4, clock_rfc3339(clock_wall_ms(), started));
        rc = sqlite_run(db, stmt, err);
        *id = (uint64_t)sqlite3_last_insert_rowid(db->handle);
    }
    return finish(db, rc, err);
}

int sqlite_session_close(struct sqlite_db *db, uint64_t id, struct err *err)
{
    int rc = sqlite_begin(db, err);

    if (rc != 0) {
        return rc;
    }
    return finish(db, end_session(db, id, err), err);
}

static int lost(uint64_t id, struct err *err)
{
    return (int)err_set(err, ERR_SESSION_LOST,
                        "session %ju was ended by another process, which saw "
                        "no sign of life for the session timeout",
                        (uintmax_t)id);
}

int sqlite_session_check(struct sqlite_db *db, uint64_t id, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_CHECK);
    bool row;
    int rc;

    assert(id != 0);
    sqlite_bind_u64(stmt, 1, id);
    rc = sqlite_probe(db, stmt, &row, err);
    return rc == 0 && !row ? lost(id, err) : rc;
}

int sqlite_session_beat(struct sqlite_db *db, uint64_t id, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_BEAT);
    int rc;

    assert(db->writing);
    assert(id != 0);
    sqlite_bind_u64(stmt, 1, id);
    rc = sqlite_run(db, stmt, err);
    return rc == 0 && sqlite3_changes(db->handle) == 0 ? lost(id, err) : rc;
}

/* --- the others' -------------------------------------------------------------
 */

void sqlite_reaper_close(struct sqlite_reaper *reaper)
{
    mem_free(reaper->seen);
    memset(reaper, 0, sizeof(*reaper));
}

void sqlite_reaper_restart(struct sqlite_reaper *reaper, mono_ms now)
{
    for (size_t i = 0; i < reaper->n; i++) {
        reaper->seen[i].since = now;
    }
}

static void merge(const struct sqlite_reaper *reaper, size_t *at,
                  struct sqlite_seen *fresh)
{
    while (*at < reaper->n && reaper->seen[*at].id < fresh->id) {
        (*at)++; /* ended meanwhile */
    }
    if (*at < reaper->n && reaper->seen[*at].id == fresh->id &&
        reaper->seen[*at].beat == fresh->beat) {
        fresh->since = reaper->seen[*at].since;
    }
}

/* Both lists are in the order of ids. */
static int reread_sessions(struct sqlite_reaper *reaper, struct sqlite_db *db,
                           uint64_t self, mono_ms now, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_ALL);
    struct sqlite_reaper next = {.last_look = reaper->last_look};
    size_t at = 0;
    bool row = true;
    int rc = 0;

    while (rc == 0 && row) {
        rc = sqlite_step(db, stmt, &row, err);
        if (rc == 0 && row && sqlite_column_u64(stmt, 0) != self) {
            if (next.n == next.cap) {
                next.cap = next.cap == 0 ? 16 : next.cap * 2;
                next.seen = mem_regrow(next.seen, next.cap, sizeof(*next.seen));
            }
            next.seen[next.n] = (struct sqlite_seen){
                .id = sqlite_column_u64(stmt, 0),
                .beat = sqlite_column_u64(stmt, 1),
                .timeout_ms = sqlite3_column_int64(stmt, 2),
                .since = now};
            merge(reaper, &at, &next.seen[next.n++]);
        }
    }
    (void)sqlite3_reset(stmt);
    if (rc != 0) {
        sqlite_reaper_close(&next);
        return rc;
    }
    mem_free(reaper->seen);
    *reaper = next;
    return 0;
}

int sqlite_reaper_look(struct sqlite_reaper *reaper, struct sqlite_db *db,
                       uint64_t self, mono_ms now, bool reread, struct err *err)
{
    int64_t gap = now - reaper->last_look;

    assert(gap >= 0);
    if (reread) {
        int rc = reread_sessions(reaper, db, self, now, err);

        if (rc != 0) {
            return rc;
        }
    }
    for (size_t i = 0; i < reaper->n; i++) {
        if (gap > reaper->seen[i].timeout_ms / 3) {
            reaper->seen[i].since = now;
        }
    }
    reaper->last_look = now;
    return 0;
}

/* ERR_NOT_FOUND: it lives, or somebody else was faster. */
static int reap(struct sqlite_db *db, const struct sqlite_seen *victim,
                uint64_t self, struct err *err)
{
    sqlite3_stmt *stmt;
    bool row = false;
    int rc = sqlite_begin(db, err);

    if (rc != 0) {
        return rc;
    }
    /* A process that is dead to the others does not judge. */
    rc = sqlite_session_check(db, self, err);
    if (rc == 0) {
        stmt = sqlite_stmt(db, SQLITE_STMT_SESSION_GUARD);
        sqlite_bind_u64(stmt, 1, victim->id);
        sqlite_bind_u64(stmt, 2, victim->beat);
        rc = sqlite_probe(db, stmt, &row, err);
    }
    if (rc == 0 && !row) {
        rc = (int)err_set(err, ERR_NOT_FOUND, "it lives, or is gone already");
    }
    if (rc == 0) {
        rc = end_session(db, victim->id, err);
    }
    return finish(db, rc, err);
}

int sqlite_reaper_reap(struct sqlite_reaper *reaper, struct sqlite_db *db,
                       uint64_t self, mono_ms now, size_t *reaped,
                       struct err *err)
{
    int rc = 0;

    assert(self != 0);
    *reaped = 0;
    for (size_t i = 0; rc == 0 && i < reaper->n; i++) {
        struct sqlite_seen *s = &reaper->seen[i];

        if (now - s->since < s->timeout_ms) {
            continue;
        }
        rc = reap(db, s, self, err);
        s->since = now; /* the next look drops it, or it lives */
        if (rc == 0) {
            (*reaped)++;
            log_warn("-session", LOG_U("session", s->id),
                     LOG_S("reason", "unchanged for its timeout"),
                     LOG_I("timeout_ms", s->timeout_ms));
        }
        if (rc == ERR_NOT_FOUND) {
            rc = 0;
        }
    }
    return rc;
}
