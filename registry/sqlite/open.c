/*
 * open.c - the connection: opened, set up, closed, and opened anew where
 * another file was put in the place of ours.
 */
#include "registry/sqlite/sqlite_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define REOPEN_MS 1000 /* between two tries */

static const char *const stmt_texts[] = {
#define X(name, text) text,
    SQLITE_STMTS(X)
#undef X
};

/* secure_delete is on in Debian's build and would write every freed page. */
static const char settings[] = "PRAGMA synchronous = FULL;"
                               "PRAGMA secure_delete = OFF;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA cache_size = -4096;"
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

    assert(count >= 0);
    if (count == 0)
        db->busy_since = now;
    if (now - db->busy_since >= db->busy_ms)
        return 0;
    (void)poll(NULL, 0, count < 5 ? 1 : 3);
    return 1;
}

static int set_up(struct sqlite_db *db, struct err *err)
{
    sqlite3_stmt *mode = NULL;
    int rc;

    assert(db->handle != NULL);
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
        return err_set(err, ERR_IO,
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
        rc = sqlite_fail(db, rc, err);
        if (err != NULL && err->code == ERR_UNAVAILABLE)
            err->code = ERR_IO;
        return rc == ERR_DENIED ? ERR_DENIED : ERR_IO;
    }
    return 0;
}

/* Whoever begins has seen nothing of what befell it: a copy over a file in use,
 * or beside whose log it stood, is of two times. (An eighth of a second for
 * 100,000 keys.) */
static int examine(struct sqlite_db *db, struct err *err)
{
    char wrong[SQLITE_WRONG_SIZE];
    bool busy = false;

    assert(db->path != NULL);
    if (sqlite_whole(db, wrong, &busy))
        return 0;
    if (busy) { /* later, and nothing before */
        db->foreign_write = clock_mono_ms();
        return 0;
    }
    err_set(err, ERR_IO,
            "%s: the file is damaged (%s); put a backup in its place, "
            "without -wal and -shm beside it",
            db->path, wrong);
    err_set_trouble(err, TROUBLE_DAMAGED);
    return ERR_IO;
}

/* `create`: make the file if there is none. */
static int attach(struct sqlite_db *db, bool create, struct err *err)
{
    int rc = sqlite_file_open(&db->handle, db->path, create, err);

    assert(db->path != NULL);
    if (rc == 0)
        rc = set_up(db, err);
    if (rc == 0)
        rc = sqlite_read_meta(db, err);
    if (rc == 0)
        rc = examine(db, err);
    if (rc == 0)
        sqlite_file_note(db);
    if (rc != 0)
        err_wrap(err, "open registry");
    return rc;
}

int sqlite_db_open(struct sql_core **out, const char *path,
                   const char *namespace_, int64_t busy_ms, struct err *err)
{
    struct sqlite_db *db;
    int rc;

    assert(busy_ms >= 0);
    *out = NULL;
    if (strlen(namespace_) > SQL_NAMESPACE_MAX) {
        return err_set(err, ERR_INVALID,
                       "registry.namespace is longer than %d bytes",
                       SQL_NAMESPACE_MAX);
    }
    db = mem_zalloc(sizeof(*db));
    db->path = mem_strdup(path);
    db->busy_ms = busy_ms;
    db->prefix_len =
        (size_t)snprintf(db->prefix, sizeof(db->prefix), "/%s", namespace_);
    *out = &db->core;
    rc = attach(db, true, err);
    if (rc != 0)
        sqlite_db_close(out);
    assert((rc == 0) == (*out != NULL));
    return rc;
}

/* The last one to close a file removes its log, by name: not one that is
 * another's by now. */
static void detach(struct sqlite_db *db)
{
    int keep = 1, rc;

    assert(!db->writing);
    for (size_t i = 0; i < SQLITE_STMT_COUNT; i++)
        (void)sqlite3_finalize(db->stmts[i]);
    if (db->handle != NULL && sqlite_file_replaced(db)) {
        (void)sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_PERSIST_WAL,
                                   &keep);
    }
    rc = sqlite3_close(db->handle);
    assert(rc == SQLITE_OK);
    (void)rc;
    mem_free(db->path);
    mem_free(db->damage);
    mem_free(db->back);
}

void sqlite_db_close(struct sql_core **core)
{
    struct sqlite_db *db = *core == NULL ? NULL : sqlite_db_of(*core);

    if (db != NULL) {
        detach(db);
        mem_free(db);
        *core = NULL;
    }
}

/*
 * Another file stands where ours stood: a backup that was put in its place. If
 * it is a registry, and whole, it is the one from now on; whether it is what it
 * should be the position tells. Not while our log stands beside it: the engine
 * would take it for the log of that one.
 */
int sqlite_db_reopen(struct sqlite_db *db, struct err *err)
{
    mono_ms now = clock_mono_ms();
    struct sqlite_db fresh;
    int rc = sqlite_file_check(db, err);

    assert(!db->writing);
    if (rc != ERR_SESSION_LOST || db->damage != NULL || !sqlite_file_left(db) ||
        now - db->looked_at < REOPEN_MS)
        return rc;
    db->looked_at = now;
    fresh = (struct sqlite_db){.path = mem_strdup(db->path),
                               .prefix_len = db->prefix_len,
                               .busy_ms = db->busy_ms,
                               .own = db->own,
                               .fed = db->fed,
                               .looked_at = now};
    memcpy(fresh.prefix, db->prefix, sizeof(fresh.prefix));
    rc = attach(&fresh, false, err);
    if (rc != 0) {
        detach(&fresh);
        return rc;
    }
    detach(db);
    /* All but the core, to which the loop writes meanwhile. */
    memcpy((char *)db + sizeof(db->core), (char *)&fresh + sizeof(fresh.core),
           sizeof(fresh) - sizeof(fresh.core));
    db->core.position = db->committed;
    (void)sqlite3_busy_handler(db->handle, on_busy, db); /* it was fresh's */
    log_warn("+registry-file", LOG_S("path", db->path),
             LOG_S("reason", "another file was put there, and is used now"));
    return 0;
}
