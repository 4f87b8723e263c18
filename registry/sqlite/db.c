/*
 * db.c - cached statements, transactions, and the engine's results in
 * our terms.
 *
 * All writes of a group stand in one BEGIN IMMEDIATE ... COMMIT, so that many
 * small calls cost one fsync. The revision is counted in memory meanwhile and
 * stored once, at the commit.
 */
#include "registry/sqlite/sqlite_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FEED_SLACK 5000 /* prune in steps, not at every commit */

/* What the engine's results mean to us; the last one is any other. */
static const struct meaning {
    int rc;
    enum err_code code;
    enum trouble trouble;
    const char *hint;
} meanings[] = {
    {SQLITE_BUSY, ERR_UNAVAILABLE, TROUBLE_LOCKED,
     "; another process holds the write lock"},
    {SQLITE_LOCKED, ERR_UNAVAILABLE, TROUBLE_LOCKED, ""},
    {SQLITE_FULL, ERR_UNAVAILABLE, TROUBLE_FULL,
     "; free some space, nothing has to be restarted"},
    {SQLITE_READONLY, ERR_DENIED, TROUBLE_READ_ONLY, ""},
    {SQLITE_CANTOPEN, ERR_UNAVAILABLE, TROUBLE_FORBIDDEN, ""},
    {SQLITE_PERM, ERR_DENIED, TROUBLE_FORBIDDEN, ""},
    {SQLITE_AUTH, ERR_DENIED, TROUBLE_FORBIDDEN, ""},
    /* The value is, and nothing is wrong with the file. */
    {SQLITE_TOOBIG, ERR_TOO_LARGE, TROUBLE_NONE, ""},
    {SQLITE_ERROR, ERR_UNAVAILABLE, TROUBLE_REFUSED, ""},
};
static const struct meaning no_descriptors = {
    SQLITE_CANTOPEN, ERR_UNAVAILABLE, TROUBLE_DESCRIPTORS,
    "; this process has no file descriptors left"};

/* `errnum`: what the system said last. */
static const struct meaning *meaning_of(int rc, int errnum)
{
    size_t i = 0;

    if (rc == SQLITE_CANTOPEN && (errnum == EMFILE || errnum == ENFILE))
        return &no_descriptors;
    while (i + 1 < ARRAY_LEN(meanings) && meanings[i].rc != rc)
        i++;
    return &meanings[i];
}

int sqlite_fail(struct sqlite_db *db, int rc, struct err *err)
{
    const struct meaning *m =
        meaning_of(rc & 0xff, sqlite3_system_errno(db->handle));
    const char *said = sqlite3_errmsg(db->handle);

    assert(rc != SQLITE_OK);
    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB)
        return sqlite_damaged(db, err, "%s (%d)", said, rc);
    assert((rc & 0xff) != SQLITE_MISUSE);
    err_set(err, m->code, "%s: %s (%d)%s", db->path, said, rc, m->hint);
    err_set_trouble(err, m->trouble);
    return (int)m->code;
}

/* --- statements ---------------------------------------------------------- */

sqlite3_stmt *sqlite_stmt(struct sqlite_db *db, enum sqlite_stmt_id id)
{
    sqlite3_stmt *stmt = db->stmts[id];

    assert(id < SQLITE_STMT_COUNT && stmt != NULL);
    (void)sqlite3_reset(stmt);
    return stmt;
}

void sqlite_bind_u64(sqlite3_stmt *stmt, int index, uint64_t value)
{
    int rc = sqlite3_bind_int64(stmt, index, (sqlite3_int64)value);

    assert(index > 0);
    assert(rc == SQLITE_OK);
    (void)rc;
}

void sqlite_bind_text(sqlite3_stmt *stmt, int index, const char *text)
{
    int rc = sqlite3_bind_text(stmt, index, text, -1, SQLITE_STATIC);

    assert(index > 0);
    assert(text != NULL);
    assert(rc == SQLITE_OK);
    (void)rc;
}

uint64_t sqlite_column_u64(sqlite3_stmt *stmt, int column)
{
    return (uint64_t)sqlite3_column_int64(stmt, column);
}

int sqlite_step(struct sqlite_db *db, sqlite3_stmt *stmt, bool *row,
                struct err *err)
{
    int rc = sqlite3_step(stmt);

    *row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW)
        return 0;
    rc = rc == SQLITE_DONE ? 0 : sqlite_fail(db, rc, err);
    (void)sqlite3_reset(stmt);
    return rc;
}

int sqlite_run(struct sqlite_db *db, sqlite3_stmt *stmt, struct err *err)
{
    bool row;
    int rc = sqlite_step(db, stmt, &row, err);

    assert(rc != 0 || !row);
    return rc;
}

int sqlite_probe(struct sqlite_db *db, sqlite3_stmt *stmt, bool *row,
                 struct err *err)
{
    int rc = sqlite_step(db, stmt, row, err);

    (void)sqlite3_reset(stmt);
    return rc;
}

/* --- keys ---------------------------------------------------------------- */

void sqlite_full_key(const struct sqlite_db *db, const char *key, char *out)
{
    size_t len = strlen(key);

    assert(key[0] == '/');
    assert(len <= REGISTRY_KEY_MAX);
    memcpy(out, db->prefix, db->prefix_len);
    memcpy(out + db->prefix_len, key, len + 1);
}

void sqlite_range_below(const struct sqlite_db *db, const char *key, char *from,
                        char *to)
{
    size_t len;

    sqlite_full_key(db, key, from);
    len = strlen(from);
    if (from[len - 1] != '/') { /* "/" is the namespace itself */
        from[len++] = '/';
        from[len] = '\0';
    }
    memcpy(to, from, len + 1);
    to[len - 1] = '/' + 1;
    assert(strcmp(from, to) < 0);
}

uint64_t sqlite_revision(const struct sql_core *core)
{
    return sqlite_db_of(core)->revision;
}

/* --- transactions -------------------------------------------------------- */

int sqlite_read_meta(struct sqlite_db *db, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_META);
    uint64_t revision, floor;
    bool row;
    int rc = sqlite_step(db, stmt, &row, err);

    if (rc != 0)
        return rc;
    if (!row)
        return sqlite_damaged(db, err, "its only meta row is missing");
    revision = sqlite_column_u64(stmt, 0);
    floor = sqlite_column_u64(stmt, 1);
    (void)sqlite3_reset(stmt);
    if (revision < db->highest) {
        rc = sqlite_went_back(db, err, "revision %ju, and it was %ju",
                              (uintmax_t)revision, (uintmax_t)db->highest);
    } else {
        db->highest = revision;
    }
    if (rc == 0 || rc == ERR_WENT_BACK) { /* else nothing of it is believed */
        db->revision = db->committed = db->core.position = revision;
        db->floor = floor;
    }
    return rc;
}

int sqlite_read_begin(struct sqlite_db *db, struct err *err)
{
    assert(!db->writing);
    db->cache.used++;
    return sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_BEGIN_READ), err);
}

/* A ROLLBACK needs no space, and if it reports an error it has still ended
 * the transaction. */
void sqlite_read_end(struct sqlite_db *db)
{
    assert(!db->writing);
    if (!sqlite3_get_autocommit(db->handle)) {
        (void)sqlite3_step(sqlite_stmt(db, SQLITE_STMT_ROLLBACK));
        (void)sqlite3_reset(db->stmts[SQLITE_STMT_ROLLBACK]);
    }
    assert(sqlite3_get_autocommit(db->handle));
}

int sqlite_begin(struct sqlite_db *db, struct err *err)
{
    int rc = sqlite_file_check(db, err);

    assert(!db->writing);
    if (rc == 0)
        rc = sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_BEGIN_WRITE), err);
    if (rc != 0)
        return rc;
    db->writing = true;
    db->cache.used++;
    sqlite_forget_checked(db);
    db->own.beating = 0;
    rc = sqlite_read_meta(db, err);
    if (rc != 0)
        sqlite_rollback(&db->core);
    assert((rc == 0) == db->writing);
    return rc;
}

void sqlite_rollback(struct sql_core *core)
{
    struct sqlite_db *db = sqlite_db_of(core);

    assert(db->writing);
    db->writing = false;
    db->revision = db->committed;
    sqlite_read_end(db); /* a full disk and its like have done so already */
}

static int prune(struct sqlite_db *db, struct err *err)
{
    uint64_t floor = db->revision - SQL_FEED_KEEP;
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_PRUNE);
    int rc;

    assert(db->writing);
    sqlite_bind_u64(stmt, 1, floor);
    rc = sqlite_run(db, stmt, err);
    if (rc != 0)
        return rc;
    stmt = sqlite_stmt(db, SQLITE_STMT_META_FLOOR);
    sqlite_bind_u64(stmt, 1, floor);
    return sqlite_run(db, stmt, err);
}

static int store_revision(struct sqlite_db *db, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_META_SET);
    int rc;

    assert(db->writing);
    sqlite_bind_u64(stmt, 1, db->revision);
    rc = sqlite_run(db, stmt, err);
    if (rc == 0 && db->revision > db->floor + SQL_FEED_KEEP + FEED_SLACK)
        rc = prune(db, err);
    return rc;
}

/*
 * When is a failed COMMIT certain? BUSY and FULL come before the commit frame
 * is complete in the write-ahead log: nobody will ever see the transaction.
 * Any other error may come after it (fsync failed, or the log's index could
 * not be extended): this connection rolls back and everybody goes on without
 * the transaction, but if all processes die before the frame is written over,
 * recovery finds it complete and applies it. That is an unknown outcome.
 */
int sqlite_commit(struct sql_core *core, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = 0;

    assert(db->writing);
    if (db->revision != db->committed)
        rc = store_revision(db, err);
    if (rc == 0) {
        int step = sqlite3_step(sqlite_stmt(db, SQLITE_STMT_COMMIT));

        if (step != SQLITE_DONE) {
            rc = sqlite_fail(db, step, err);
            if ((step & 0xff) != SQLITE_BUSY && (step & 0xff) != SQLITE_FULL) {
                rc = ERR_UNKNOWN;
                if (err != NULL)
                    err->code = ERR_UNKNOWN;
            }
        }
        (void)sqlite3_reset(db->stmts[SQLITE_STMT_COMMIT]);
    }
    if (rc != 0) {
        sqlite_rollback(&db->core);
        return rc;
    }
    db->writing = false;
    db->committed = db->highest = core->position = db->revision;
    if (db->own.beating != 0)
        db->own.beat = db->own.beating;
    assert(db->own.beat > 0 || db->own.id == 0);
    return 0;
}

int sqlite_savepoint(struct sql_core *core, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);

    assert(db->writing);
    db->saved = db->revision;
    return sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_SAVEPOINT), err);
}

int sqlite_release(struct sql_core *core, bool undo, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = 0;

    assert(db->writing);
    if (undo) {
        db->revision = db->saved;
        sqlite_forget_checked(db);
        rc = sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_UNDO), err);
    }
    if (rc == 0)
        rc = sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_RELEASE), err);
    return rc;
}

int sqlite_changed(struct sql_core *core, bool interested, bool *changed,
                   struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_DATA_VERSION);
    int64_t version;
    bool row;
    int rc;

    assert(!db->writing);
    (void)interested; /* it costs next to nothing */
    sqlite_look_closer(db);
    sqlite_cache_tick(db);
    rc = sqlite_file_check(db, err);
    if (rc == 0)
        rc = sqlite_step(db, stmt, &row, err);
    if (rc != 0)
        return rc;
    assert(row);
    version = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_reset(stmt);
    *changed = version != db->data_version;
    if (*changed) /* by whom, and to what? */
        rc = sqlite_read_meta(db, err);
    if (rc == 0)
        db->data_version = version;
    return rc;
}
