/*
 * check.c - a file that is not what it should be: damaged, older than
 * it was, or written to by somebody who is not SQLite.
 *
 * A copy over a file in use leaves its log, and the log wins: what is read is
 * then the copy's pages where the log has none. If the log holds every page
 * that the copy lacks, the copy has no effect at all; if not, the file is of
 * two times, whether its pages still fit together or not. Only checkpoints
 * write to the file itself, and each says in the log's index that it begins
 * before it writes and that it has ended afterwards (sqlite.org/walformat.html,
 * "The WAL-Index"); so a write that no checkpoint accounts for is somebody
 * else's. Nothing is done on the file until it has been read as a whole.
 */
#include "registry/sqlite/sqlite_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "registry/history.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define QUIET_MS      100  /* so long nobody has written: look at it */
#define LOOK_AGAIN_MS 2000 /* at a damaged file */

/* In the log's index. */
#define INDEX_REGION 32768
#define AT_SALT      32
#define AT_DONE      96
#define AT_BEGUN     128

/* --- what is known ------------------------------------------------------- */

PRINTF_LIKE(2, 0)
static void keep(char **text, const char *fmt, va_list args)
{
    char buf[ERR_MSG_MAX];

    if (*text == NULL) { /* what was seen first says most */
        (void)vsnprintf(buf, sizeof(buf), fmt, args);
        *text = mem_strdup(buf);
    }
    assert(*text != NULL);
}

int sqlite_damaged(struct sqlite_db *db, struct err *err, const char *fmt, ...)
{
    va_list args;
    int rc;

    va_start(args, fmt);
    keep(&db->damage, fmt, args);
    va_end(args);
    db->looked_at = clock_mono_ms();
    rc = sqlite_usable(db, err);
    assert(rc == ERR_SESSION_LOST);
    (void)rc;
    if (err != NULL)
        err->code = ERR_UNAVAILABLE;
    return ERR_UNAVAILABLE;
}

/* A page of another time says the same as an older state: only what is whole is
 * believed. */
int sqlite_went_back(struct sqlite_db *db, struct err *err, const char *fmt,
                     ...)
{
    char wrong[SQLITE_WRONG_SIZE];
    bool busy;
    va_list args;

    if (db->back == NULL && !sqlite_whole(db, wrong, &busy) && !busy)
        return sqlite_damaged(db, err, "%s", wrong);
    va_start(args, fmt);
    keep(&db->back, fmt, args);
    va_end(args);
    assert(db->back != NULL);
    return sqlite_usable(db, err);
}

int sqlite_usable(const struct sqlite_db *db, struct err *err)
{
    if (db->damage != NULL) {
        err_set(err, ERR_SESSION_LOST,
                "%s: the file is damaged (%s): nothing is read or "
                "written any more; stop all members and put a "
                "backup in its place, without -wal and -shm",
                db->path, db->damage);
        err_set_trouble(err, TROUBLE_DAMAGED);
        return ERR_SESSION_LOST;
    }
    if (db->back != NULL) {
        return err_set(err, ERR_WENT_BACK,
                       "%s: an older state was put back: %s", db->path,
                       db->back);
    }
    return 0;
}

/* --- who wrote to it ----------------------------------------------------- */

static uint32_t word_at(const volatile unsigned char *index, size_t at)
{
    return *(const volatile uint32_t *)(const volatile void *)(index + at);
}

/* The mapping is the engine's own and stands as long as its log is open. */
void sqlite_marks(struct sqlite_db *db, struct sqlite_marks *out)
{
    sqlite3_file *file = NULL;
    void volatile *index = NULL;

    memset(out, 0, sizeof(*out));
    (void)sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER,
                               &file);
    if (file == NULL || file->pMethods == NULL ||
        file->pMethods->iVersion < 2 ||
        file->pMethods->xShmMap(file, 0, INDEX_REGION, 0, &index) !=
            SQLITE_OK ||
        index == NULL)
        return;
    out->salt[0] = word_at(index, AT_SALT);
    out->salt[1] = word_at(index, AT_SALT + 4);
    out->begun = word_at(index, AT_BEGUN);
    out->done = word_at(index, AT_DONE);
}

/* Whoever writes has said before that he begins, and says afterwards that he
 * has ended: both are looked at around the time of the file. */
static bool by_checkpoint(const struct sqlite_marks *was,
                          const struct sqlite_marks *is)
{
    return was->done != was->begun || is->done != is->begun ||
           was->begun != is->begun || was->salt[0] != is->salt[0] ||
           was->salt[1] != is->salt[1];
}

void sqlite_disk_note(struct sqlite_db *db, const struct stat *st,
                      const struct sqlite_marks *before)
{
    db->disk = (struct sqlite_disk){.size = st->st_size,
                                    .mtime_s = st->st_mtim.tv_sec,
                                    .mtime_ns = st->st_mtim.tv_nsec,
                                    .marks = *before};
}

int sqlite_disk_check(struct sqlite_db *db, const struct stat *st,
                      const struct sqlite_marks *before, struct err *err)
{
    const struct sqlite_disk *was = &db->disk;

    if (st->st_size != was->size || st->st_mtim.tv_sec != was->mtime_s ||
        st->st_mtim.tv_nsec != was->mtime_ns) {
        struct sqlite_marks after;

        sqlite_marks(db, &after);
        if (db->foreign_write != 0 || !by_checkpoint(&was->marks, &after))
            db->foreign_write = clock_mono_ms();
    }
    sqlite_disk_note(db, st, before);
    if (db->foreign_write == 0)
        return 0;
    return err_set(err, ERR_UNAVAILABLE,
                   "%s was written to by another program, and is read as "
                   "a whole first",
                   db->path);
}

/* --- is it whole? -------------------------------------------------------- */

/* The last two: a key's last change is its version, if both are of one time.
 * HISTORY_KEY may have been mended by hand, which leaves no change. */
#define BUT_ONE " AND n.key NOT LIKE '%" HISTORY_KEY "'"
static const char *const questions[] = {
    "PRAGMA integrity_check(1)",
    "SELECT 'key ' || n.key || ' is of another time than its last change'"
    " FROM node n JOIN (SELECT key, max(rev) AS rev FROM change GROUP BY key) c"
    " ON c.key = n.key WHERE c.rev <> n.version" BUT_ONE " LIMIT 1",
    "SELECT 'key ' || n.key || ' is of another time than the changes'"
    " FROM node n, meta m WHERE (n.version > m.revision OR (n.version > m.floor"
    " AND NOT EXISTS (SELECT 1 FROM change c WHERE c.rev = n.version"
    " AND c.key = n.key)))" BUT_ONE " LIMIT 1"};

static int ask(sqlite3 *handle, const char *question, char *answer, size_t size)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(handle, question, -1, &stmt, NULL);

    assert(size > 0);
    answer[0] = '\0';
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);

        (void)snprintf(answer, size, "%s", text == NULL ? "" : text);
    }
    (void)sqlite3_finalize(stmt);
    return rc;
}

bool sqlite_whole(struct sqlite_db *db, char *wrong, bool *busy)
{
    sqlite3 *handle = NULL;
    int rc = sqlite3_open_v2(db->path, &handle,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    bool ok = rc == SQLITE_OK;

    assert(db->path != NULL);
    (void)sqlite3_busy_timeout(handle, (int)db->busy_ms);
    for (size_t i = 0; ok && i < ARRAY_LEN(questions); i++) {
        rc = ask(handle, questions[i], wrong, SQLITE_WRONG_SIZE);
        ok =
            rc == SQLITE_DONE || (rc == SQLITE_ROW && strcmp(wrong, "ok") == 0);
    }
    *busy = rc == SQLITE_BUSY || rc == SQLITE_NOMEM;
    if (!ok && rc != SQLITE_ROW)
        (void)snprintf(wrong, SQLITE_WRONG_SIZE, "%s", sqlite3_errstr(rc));
    (void)sqlite3_close(handle);
    assert(!ok || !*busy);
    return ok;
}

void sqlite_look_closer(struct sqlite_db *db)
{
    mono_ms now = clock_mono_ms();
    char wrong[SQLITE_WRONG_SIZE];
    bool busy, ok;

    assert(!db->writing);
    if (db->damage != NULL
            ? now - db->looked_at < LOOK_AGAIN_MS
            : db->foreign_write == 0 || now - db->foreign_write < QUIET_MS)
        return;
    ok = sqlite_whole(db, wrong, &busy);
    if (busy)
        return;
    (void)sqlite3_db_release_memory(db->handle); /* pages read before */
    db->looked_at = now;
    if (!ok) {
        (void)sqlite_damaged(db, NULL, "%s", wrong);
    } else if (db->damage != NULL) {
        log_info("+registry-file", LOG_S("path", db->path),
                 LOG_S("reason", "it is whole again"));
        MEM_FREE(db->damage);
    } else {
        log_warn("!registry-file", LOG_S("path", db->path),
                 LOG_S("reason", "another program wrote to it, to no effect: "
                                 "its log outweighs it"),
                 LOG_S("advice", "a copy over a file in use restores nothing: "
                                 "stop all members, or use '.restore' of the "
                                 "sqlite3 program"));
    }
    if (ok)
        db->foreign_write = 0;
    assert(ok == (db->damage == NULL));
}
