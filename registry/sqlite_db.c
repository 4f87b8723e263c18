/*
 * sqlite_db.c - the connection: cached statements, transactions, and the
 * engine's results in our terms.
 *
 * All writes of a group stand in one BEGIN IMMEDIATE ... COMMIT, so that many
 * small calls cost one fsync. The revision is counted in memory meanwhile and
 * stored once, at the commit.
 */
#include "registry/sqlite_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define FEED_SLACK 5000 /* prune in steps, not at every commit */

static const char *const stmt_texts[] = {
#define X(name, text) text,
    SQLITE_STMTS(X)
#undef X
};

/* secure_delete is on in Debian's build and would write every freed page. */
static const char settings[] = "PRAGMA synchronous = FULL;"
                               "PRAGMA secure_delete = OFF;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA cache_size = -32768;"
                               "PRAGMA trusted_schema = OFF;"
                               "PRAGMA wal_autocheckpoint = 4000;"
                               "PRAGMA journal_size_limit = 67108864;";

/*
 * Wait for another writer, in short steps: SQLite's own handler grows to 100
 * ms, and whoever comes often would starve the rest.
 */
static int on_busy(void *arg, int count)
{
    struct sqlite_db *db = arg;
    mono_ms now = clock_mono_ms();

    if (count == 0) {
        db->busy_since = now;
    }
    if (now - db->busy_since >= db->busy_ms) {
        return 0;
    }
    (void)poll(NULL, 0, count < 5 ? 1 : 3);
    return 1;
}

static enum err_code code_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_DENIED;
    case SQLITE_TOOBIG:
        return ERR_TOO_LARGE;
    default:
        return ERR_UNAVAILABLE;
    }
}

int sqlite_fail(struct sqlite_db *db, int rc, struct err *err)
{
    const char *hint = "";

    switch (rc & 0xff) {
    case SQLITE_BUSY:
        hint = "; another process holds the write lock";
        break;
    case SQLITE_FULL:
        hint = "; free some space, nothing has to be restarted";
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return sqlite_damaged(db, err, "%s (%d)", sqlite3_errmsg(db->handle),
                              rc);
    default:
        break;
    }
    assert((rc & 0xff) != SQLITE_MISUSE);
    return (int)err_set(err, code_of(rc), "%s: %s (%d)%s", db->path,
                        sqlite3_errmsg(db->handle), rc, hint);
}

/* --- statements ----------------------------------------------------------- */

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

    assert(rc == SQLITE_OK);
    (void)rc;
}

void sqlite_bind_text(sqlite3_stmt *stmt, int index, const char *text)
{
    int rc = sqlite3_bind_text(stmt, index, text, -1, SQLITE_STATIC);

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
    if (rc == SQLITE_ROW) {
        return 0;
    }
    if (rc != SQLITE_DONE) {
        rc = sqlite_fail(db, rc, err);
        (void)sqlite3_reset(stmt);
        return rc;
    }
    (void)sqlite3_reset(stmt);
    return 0;
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

/* --- opening and closing ---------------------------------------------------
 */

static int set_up(struct sqlite_db *db, struct err *err)
{
    sqlite3_stmt *mode = NULL;
    int rc;

    (void)sqlite3_busy_handler(db->handle, on_busy, db);
    rc = sqlite3_exec(db->handle, settings, NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(db->handle, "PRAGMA journal_mode = WAL", -1,
                                &mode, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(mode) == SQLITE_ROW ? SQLITE_OK
                                              : sqlite3_errcode(db->handle);
    }
    if (rc == SQLITE_OK &&
        strcmp((const char *)sqlite3_column_text(mode, 0), "wal") != 0) {
        (void)sqlite3_finalize(mode);
        return (int)err_set(err, ERR_IO,
                            "%s: this file system cannot hold a registry that "
                            "processes share; use a local disk",
                            db->path);
    }
    (void)sqlite3_finalize(mode);
    for (size_t i = 0; rc == SQLITE_OK && i < SQLITE_STMT_COUNT; i++) {
        rc = sqlite3_prepare_v3(db->handle, stmt_texts[i], -1,
                                SQLITE_PREPARE_PERSISTENT, &db->stmts[i], NULL);
    }
    if (rc != SQLITE_OK) {
        (void)sqlite_fail(db, rc, err);
        if (err != NULL && err->code == ERR_UNAVAILABLE) {
            err->code = ERR_IO;
        }
        return code_of(rc) == ERR_DENIED ? ERR_DENIED : ERR_IO;
    }
    return 0;
}

int sqlite_db_open(struct sqlite_db **out, const char *path,
                   const char *namespace_, int64_t busy_ms, struct err *err)
{
    struct sqlite_db *db;
    int rc;

    *out = NULL;
    if (strlen(namespace_) > SQL_NAMESPACE_MAX) {
        return (int)err_set(err, ERR_INVALID,
                            "registry.namespace is longer than %d bytes",
                            SQL_NAMESPACE_MAX);
    }
    db = mem_zalloc(sizeof(*db));
    db->path = mem_strdup(path);
    db->busy_ms = busy_ms;
    db->prefix_len =
        (size_t)snprintf(db->prefix, sizeof(db->prefix), "/%s", namespace_);
    rc = sqlite_file_open(&db->handle, path, err);
    if (rc == 0) {
        rc = set_up(db, err);
    }
    if (rc == 0) {
        rc = sqlite_read_meta(db, err);
    }
    if (rc == 0) {
        sqlite_file_note(db);
    }
    if (rc != 0) {
        (void)err_wrap(err, "open registry");
        sqlite_db_close(&db);
        return rc;
    }
    *out = db;
    return 0;
}

void sqlite_db_close(struct sqlite_db **db_ptr)
{
    struct sqlite_db *db = *db_ptr;
    int rc;

    if (db == NULL) {
        return;
    }
    for (size_t i = 0; i < SQLITE_STMT_COUNT; i++) {
        (void)sqlite3_finalize(db->stmts[i]);
    }
    rc = sqlite3_close(db->handle);
    assert(rc == SQLITE_OK);
    (void)rc;
    mem_free(db->path);
    mem_free(db->damage);
    mem_free(db->back);
    mem_free(db);
    *db_ptr = NULL;
}

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
}

uint64_t sqlite_revision(const struct sqlite_db *db)
{
    return db->revision;
}

uint64_t sqlite_position(const struct sqlite_db *db)
{
    return db->committed;
}

/* --- transactions ----------------------------------------------------------
 */

int sqlite_read_meta(struct sqlite_db *db, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_META);
    bool row;
    int rc = sqlite_step(db, stmt, &row, err);

    if (rc != 0) {
        return rc;
    }
    if (!row) {
        return sqlite_damaged(db, err, "its only meta row is missing");
    }
    db->revision = db->committed = sqlite_column_u64(stmt, 0);
    db->floor = sqlite_column_u64(stmt, 1);
    (void)sqlite3_reset(stmt);
    if (db->revision < db->highest) {
        return sqlite_went_back(db, err, "revision %ju, and it was %ju",
                                (uintmax_t)db->revision,
                                (uintmax_t)db->highest);
    }
    db->highest = db->revision;
    return 0;
}

int sqlite_read_begin(struct sqlite_db *db, struct err *err)
{
    assert(!db->writing);
    return sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_BEGIN_READ), err);
}

/* A ROLLBACK needs no space, and if it reports an error it has still ended
 * the transaction. */
static void roll_back(struct sqlite_db *db)
{
    if (!sqlite3_get_autocommit(db->handle)) {
        (void)sqlite3_step(sqlite_stmt(db, SQLITE_STMT_ROLLBACK));
        (void)sqlite3_reset(db->stmts[SQLITE_STMT_ROLLBACK]);
    }
    assert(sqlite3_get_autocommit(db->handle));
}

void sqlite_read_end(struct sqlite_db *db)
{
    roll_back(db);
}

int sqlite_begin(struct sqlite_db *db, struct err *err)
{
    int rc = sqlite_file_check(db, err);

    assert(!db->writing);
    if (rc == 0) {
        rc = sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_BEGIN_WRITE), err);
    }
    if (rc != 0) {
        return rc;
    }
    db->writing = true;
    db->own.beating = 0;
    rc = sqlite_read_meta(db, err);
    if (rc != 0) {
        sqlite_rollback(db);
    }
    return rc;
}

void sqlite_rollback(struct sqlite_db *db)
{
    assert(db->writing);
    db->writing = false;
    db->revision = db->committed;
    roll_back(db); /* a full disk and its like have done so already */
}

static int prune(struct sqlite_db *db, struct err *err)
{
    uint64_t floor = db->revision - SQL_FEED_KEEP;
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_PRUNE);
    int rc;

    sqlite_bind_u64(stmt, 1, floor);
    rc = sqlite_run(db, stmt, err);
    if (rc != 0) {
        return rc;
    }
    stmt = sqlite_stmt(db, SQLITE_STMT_META_FLOOR);
    sqlite_bind_u64(stmt, 1, floor);
    return sqlite_run(db, stmt, err);
}

static int store_revision(struct sqlite_db *db, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_META_SET);
    int rc;

    sqlite_bind_u64(stmt, 1, db->revision);
    rc = sqlite_run(db, stmt, err);
    if (rc == 0 && db->revision > db->floor + SQL_FEED_KEEP + FEED_SLACK) {
        rc = prune(db, err);
    }
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
int sqlite_commit(struct sqlite_db *db, struct err *err)
{
    int rc = 0;

    assert(db->writing);
    if (db->revision != db->committed) {
        rc = store_revision(db, err);
    }
    if (rc == 0) {
        int step = sqlite3_step(sqlite_stmt(db, SQLITE_STMT_COMMIT));

        if (step != SQLITE_DONE) {
            rc = sqlite_fail(db, step, err);
            if ((step & 0xff) != SQLITE_BUSY && (step & 0xff) != SQLITE_FULL) {
                rc = ERR_UNKNOWN;
                if (err != NULL) {
                    err->code = ERR_UNKNOWN;
                }
            }
        }
        (void)sqlite3_reset(db->stmts[SQLITE_STMT_COMMIT]);
    }
    if (rc != 0) {
        sqlite_rollback(db);
        return rc;
    }
    db->writing = false;
    db->committed = db->highest = db->revision;
    if (db->own.beating != 0) {
        db->own.beat = db->own.beating;
    }
    return 0;
}

int sqlite_savepoint(struct sqlite_db *db, struct err *err)
{
    assert(db->writing);
    db->saved = db->revision;
    return sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_SAVEPOINT), err);
}

int sqlite_release(struct sqlite_db *db, bool undo, struct err *err)
{
    int rc = 0;

    assert(db->writing);
    if (undo) {
        db->revision = db->saved;
        rc = sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_UNDO), err);
    }
    if (rc == 0) {
        rc = sqlite_run(db, sqlite_stmt(db, SQLITE_STMT_RELEASE), err);
    }
    return rc;
}

int sqlite_changed(struct sqlite_db *db, bool *changed, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_DATA_VERSION);
    int64_t version;
    bool row;
    int rc;

    sqlite_look_closer(db);
    rc = sqlite_file_check(db, err);
    if (rc == 0) {
        rc = sqlite_step(db, stmt, &row, err);
    }
    if (rc != 0) {
        return rc;
    }
    assert(row);
    version = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_reset(stmt);
    *changed = version != db->data_version;
    if (*changed) { /* by whom, and to what? */
        rc = sqlite_read_meta(db, err);
    }
    if (rc == 0) {
        db->data_version = version;
    }
    return rc;
}
