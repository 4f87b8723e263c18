/*
 * sql_lock.c - the global locks: one row a waiter, ordered by a ticket.
 *
 * Whoever has the oldest ticket of a key holds its lock; the order of tickets
 * is the order of commits, so that the queue is fair, and a ticket is never
 * used twice, so that it is the fencing number as well. A row goes when its
 * owner leaves or its session ends, never by a clock of its own.
 */
#include "registry/sqlite/sqlite_priv.h"

#include <stdio.h>

int sqlite_lock_head(struct sql_core *core, struct sql_place *place,
                     struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_LOCK_HEAD);
    char full[SQL_FULL_KEY_MAX];
    const char *name;
    uint64_t owner;
    bool row, older;
    int rc;

    assert(place->session != 0 && place->ticket != 0);
    sqlite_full_key(db, place->key, full);
    sqlite_bind_u64(stmt, 1, place->ticket);
    sqlite_bind_text(stmt, 2, full);
    rc = sqlite_step(db, stmt, &row, err);
    place->fence = 0;
    if (rc != 0)
        return rc;
    if (!row)
        return sql_place_gone(place, err);
    owner = sqlite_column_u64(stmt, 0);
    older = sqlite3_column_int(stmt, 1) != 0;
    name = (const char *)sqlite3_column_text(stmt, 2);
    (void)snprintf(place->holder, sizeof(place->holder), "%s",
                   name == NULL ? "" : name);
    (void)sqlite3_reset(stmt);
    if (owner != place->session || older)
        return sql_place_waits(place, err);
    place->fence = place->ticket;
    return 0;
}

int sqlite_lock_enqueue(struct sql_core *core, struct sql_place *place,
                        bool try_once, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_LOCK_NEW);
    char full[SQL_FULL_KEY_MAX];
    int rc;

    assert(place->fence == 0);
    assert(db->writing);
    assert(place->session != 0);
    sqlite_full_key(db, place->key, full);
    sqlite_bind_text(stmt, 1, full);
    sqlite_bind_u64(stmt, 2, place->session);
    sqlite_bind_text(stmt, 3, place->owner);
    rc = sqlite_run(db, stmt, err);
    if (rc != 0)
        return rc;
    place->ticket = (uint64_t)sqlite3_last_insert_rowid(db->handle);
    db->revision++; /* a fencing number is never lost unseen */
    rc = sqlite_lock_head(core, place, err);
    if (rc == ERR_CONFLICT)
        return try_once ? ERR_TIMEOUT : 0; /* the caller undoes, or waits */
    return rc;
}

int sqlite_lock_leave(struct sql_core *core, const struct sql_place *place,
                      struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_LOCK_LEAVE);

    assert(db->writing);
    sqlite_bind_u64(stmt, 1, place->ticket);
    return sqlite_run(db, stmt, err);
}
