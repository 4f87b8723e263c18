/*
 * sqlite_priv.h - inside of struct sqlite_db, for this folder's files only.
 * Every statement of the program stands in one table here, is prepared once at
 * open and cached.
 */
#ifndef PELORUS_REGISTRY_SQLITE_SQLITE_PRIV_H
#define PELORUS_REGISTRY_SQLITE_SQLITE_PRIV_H

#include "registry/sqlite/db.h"

#include <sys/types.h>

/* name, text; ?1.. are bound by the callers */
#define SQLITE_STMTS(X)                                                        \
    X(BEGIN_WRITE, "BEGIN IMMEDIATE")                                          \
    X(BEGIN_READ, "BEGIN")                                                     \
    X(COMMIT, "COMMIT")                                                        \
    X(ROLLBACK, "ROLLBACK")                                                    \
    X(SAVEPOINT, "SAVEPOINT call")                                             \
    X(UNDO, "ROLLBACK TO call")                                                \
    X(RELEASE, "RELEASE call")                                                 \
    X(DATA_VERSION, "PRAGMA data_version")                                     \
    X(META, "SELECT revision, floor FROM meta")                                \
    X(META_SET, "UPDATE meta SET revision = ?1")                               \
    X(META_FLOOR, "UPDATE meta SET floor = ?1")                                \
    X(GET, "SELECT key, value, created, version, owner FROM node"              \
           " WHERE key = ?1")                                                  \
    X(LIST, "SELECT key, value, created, version, owner FROM node"             \
            " WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3")             \
    X(ANY_BELOW, "SELECT 1 FROM node WHERE key >= ?1 AND key < ?2 LIMIT 1")    \
    X(NEXT_KEY, "SELECT key FROM node WHERE key >= ?1 AND key < ?2"            \
                " ORDER BY key LIMIT 1")                                       \
    X(CHECK, "SELECT version, owner FROM node WHERE key = ?1")                 \
    X(INSERT, "INSERT INTO node(key, value, created, version, owner)"          \
              " VALUES(?1, ?2, ?3, ?3, ?4) ON CONFLICT DO NOTHING")            \
    X(UPDATE, "UPDATE node SET value = ?2, version = ?3"                       \
              " WHERE key = ?1 AND owner = ?4 AND version = ?5")               \
    X(UPDATE_ANY, "UPDATE node SET value = ?2, version = ?3"                   \
                  " WHERE key = ?1 AND owner = ?4")                            \
    X(DELETE, "DELETE FROM node WHERE key = ?1 AND version = ?2"               \
              " AND NOT EXISTS (SELECT 1 FROM node WHERE key >= ?3"            \
              " AND key < ?4)")                                                \
    X(CHANGE, "INSERT INTO change(rev, key) VALUES(?1, ?2)")                   \
    X(PRUNE, "DELETE FROM change WHERE rev <= ?1")                             \
    X(FEED, "SELECT c.key, n.value, n.created, n.version, n.owner, c.rev"      \
            " FROM change c LEFT JOIN node n ON n.key = c.key"                 \
            " WHERE (c.rev, c.key) > (?1, ?2)"                                 \
            " AND (n.version IS NULL OR n.version <= c.rev)"                   \
            " ORDER BY c.rev, c.key LIMIT ?3")                                 \
    X(SESSION_NEW, "INSERT INTO session(beat, timeout_ms, host, pid, started)" \
                   " VALUES(1, ?1, ?2, ?3, ?4)")                               \
    X(SESSION_CHECK, "SELECT beat, pid, started FROM session WHERE id = ?1")   \
    X(SESSION_LAST, "SELECT seq FROM sqlite_sequence WHERE name = 'session'")  \
    X(SESSION_GUARD, "SELECT 1 FROM session WHERE id = ?1 AND beat = ?2")      \
    X(SESSION_BEAT, "UPDATE session SET beat = beat + 1 WHERE id = ?1")        \
    X(SESSION_ALL, "SELECT id, beat, timeout_ms FROM session ORDER BY id")     \
    X(SESSION_DELETE, "DELETE FROM session WHERE id = ?1")                     \
    X(OWNED_CHANGE, "INSERT INTO change(rev, key)"                             \
                    " SELECT ?2, key FROM node"                                \
                    " WHERE owner = ?1 AND owner <> 0")                        \
    X(OWNED_DELETE, "DELETE FROM node WHERE owner = ?1 AND owner <> 0")        \
    X(LOCK_NEW, "INSERT INTO lock(key, session, owner) VALUES(?1, ?2, ?3)")    \
    X(LOCK_HEAD, "SELECT session, EXISTS(SELECT 1 FROM lock WHERE key = ?2"    \
                 " AND ticket < ?1), (SELECT owner FROM lock WHERE key = ?2"   \
                 " ORDER BY ticket LIMIT 1) FROM lock WHERE ticket = ?1")      \
    X(LOCK_LEAVE, "DELETE FROM lock WHERE ticket = ?1")                        \
    X(LOCK_LEAVE_ALL, "DELETE FROM lock WHERE session = ?1")

enum sqlite_stmt_id {
#define X(name, text) SQLITE_STMT_##name,
    SQLITE_STMTS(X)
#undef X
        SQLITE_STMT_COUNT
};

/* A file, whatever its name. */
struct sqlite_identity {
    bool known;
    dev_t device;
    ino_t inode;
};

/* How far checkpoints have come, of which log. */
struct sqlite_marks {
    uint32_t salt[2], done, begun;
};

/* When the file itself was written to, and the marks just before. */
struct sqlite_disk {
    int64_t size, mtime_s, mtime_ns;
    struct sqlite_marks marks;
};

/* Our session as we have committed it. */
struct sqlite_own {
    uint64_t id, beat;
    uint64_t beating; /* in the transaction under way */
    char started[CLOCK_RFC3339_SIZE];
};

/* A key as a check of the transaction under way found it, and as it stands
 * there: nobody else writes meanwhile. */
#define SQLITE_CHECKED_MAX 8
struct sqlite_checked {
    char key[SQL_FULL_KEY_MAX]; /* "": none */
    uint64_t version, owner;
};

/* What says whether its pages are read at all (cache.c). */
struct sqlite_cache {
    uint64_t used, seen; /* transactions, and those at the last look */
    mono_ms looked;
};

struct sqlite_db {
    struct sql_core core; /* first */
    sqlite3 *handle;
    struct sqlite_identity files[3]; /* file.c */
    struct sqlite_disk disk;         /* check.c */
    mono_ms foreign_write; /* when it was written to by who knows whom; 0 */
    char *damage;          /* what is wrong with it, or NULL */
    mono_ms looked_at;     /* then it was damaged */
    char *back;            /* why it is older than it was, or NULL */
    struct sqlite_own own;
    uint64_t highest; /* revision that our session has seen */
    uint64_t fed;     /* revision at the last look at the changes */
    sqlite3_stmt *stmts[SQLITE_STMT_COUNT];
    char *path;
    char prefix[SQL_NAMESPACE_MAX + 2]; /* "/dolphinscheduler" */
    size_t prefix_len;
    int64_t busy_ms;
    mono_ms busy_since; /* the wait under way began */
    uint64_t revision;  /* of the last write seen or made */
    uint64_t saved;     /* the same at the savepoint */
    uint64_t committed; /* the same as it stands in the file */
    uint64_t floor;     /* changes up to here were pruned */
    int64_t data_version;
    bool writing;
    struct sqlite_checked checked[SQLITE_CHECKED_MAX]; /* node.c */
    size_t next_checked;
    struct sqlite_cache cache;
};

static inline struct sqlite_db *sqlite_db_of(const struct sql_core *core)
{
    return (struct sqlite_db *)(uintptr_t)core;
}

/* What stands at the path was replaced: take what stands there now, if that is
 * a registry and whole (open.c). 0 also when nothing was replaced; otherwise
 * errors as of sqlite_file_check(), or why it cannot be used. */
int sqlite_db_reopen(struct sqlite_db *db, struct err *err) MUST_CHECK;

/* What stands at the path is still what was opened (file.c). ERR_SESSION_LOST:
 * another file does, or none, and nobody but us sees what we write; or the file
 * is damaged. ERR_WENT_BACK: it is older than our session has seen it.
 * ERR_UNAVAILABLE: it cannot be told, or not yet: another program wrote to it.
 */
int sqlite_file_check(struct sqlite_db *db, struct err *err) MUST_CHECK;

/* Begin a transaction that writes (db.c): sqlite_commit() or
 * sqlite_rollback() ends it. */
int sqlite_begin(struct sqlite_db *db, struct err *err) MUST_CHECK;

/* Inside a transaction (session.c). ERR_SESSION_LOST: the row is gone.
 * ERR_WENT_BACK: it stands as it was before we changed it, or is another's. */
int sqlite_session_check(struct sqlite_db *db, uint64_t id,
                         struct err *err) MUST_CHECK;
int sqlite_session_beat(struct sqlite_db *db, uint64_t id,
                        struct err *err) MUST_CHECK;

/* The file itself (file.c): checked, created when missing and wanted,
 * identified, opened. */
int sqlite_file_open(sqlite3 **out, const char *path, bool create,
                     struct err *err) MUST_CHECK;
/* Note what was opened: the file, its log and the log's index. */
void sqlite_file_note(struct sqlite_db *db);
/* Any of the three is not what was opened; another file stands there, and none
 * of the other two is ours. */
bool sqlite_file_replaced(const struct sqlite_db *db);
bool sqlite_file_left(const struct sqlite_db *db);

/* --- what cannot be (check.c) -------------------------------------------- */

/* The file is damaged: it is not used any more. ERR_UNAVAILABLE. */
int sqlite_damaged(struct sqlite_db *db, struct err *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* It is older than our session has seen it: ERR_WENT_BACK, until
 * sqlite_session_begin(). If it is whole; else it is damaged. */
int sqlite_went_back(struct sqlite_db *db, struct err *err, const char *fmt,
                     ...) PRINTF_LIKE(3, 4);
/* Neither is known: else ERR_SESSION_LOST, ERR_WENT_BACK. */
int sqlite_usable(const struct sqlite_db *db, struct err *err) MUST_CHECK;

/* Was the file, which looks like `st`, written to by checkpoints alone?
 * `before` are the marks of before that look.
 * ERR_UNAVAILABLE: no, and sqlite_look_closer() says what became of it. */
struct stat;
void sqlite_marks(struct sqlite_db *db, struct sqlite_marks *out);
void sqlite_disk_note(struct sqlite_db *db, const struct stat *st,
                      const struct sqlite_marks *before);
int sqlite_disk_check(struct sqlite_db *db, const struct stat *st,
                      const struct sqlite_marks *before,
                      struct err *err) MUST_CHECK;
/* Read all of a file that was written to, once the writing has ended, and
 * again from time to time one that was damaged. */
void sqlite_look_closer(struct sqlite_db *db);
/* Read it all, on a connection of its own, which has read nothing before.
 * False, with what is wrong, also when it cannot be read; *busy: not now. */
#define SQLITE_WRONG_SIZE 160
bool sqlite_whole(struct sqlite_db *db, char *wrong, bool *busy);

/* Give back what is cached, if next to nothing was read or written for some
 * seconds (cache.c); between two transactions. */
void sqlite_cache_tick(struct sqlite_db *db);

/* A cached statement, reset and without bindings. */
sqlite3_stmt *sqlite_stmt(struct sqlite_db *db, enum sqlite_stmt_id id);

/* Bindings that cannot fail: the index is in range and the text is borrowed
 * until the statement's next use. */
void sqlite_bind_u64(sqlite3_stmt *stmt, int index, uint64_t value);
void sqlite_bind_text(sqlite3_stmt *stmt, int index, const char *text);
uint64_t sqlite_column_u64(sqlite3_stmt *stmt, int column);

/* Step. *row says whether there is one; without one the statement is reset. */
int sqlite_step(struct sqlite_db *db, sqlite3_stmt *stmt, bool *row,
                struct err *err) MUST_CHECK;
/* Step a statement that gives no rows, and reset it. */
int sqlite_run(struct sqlite_db *db, sqlite3_stmt *stmt,
               struct err *err) MUST_CHECK;
/* Step and reset: does it give a row? */
int sqlite_probe(struct sqlite_db *db, sqlite3_stmt *stmt, bool *row,
                 struct err *err) MUST_CHECK;

/* The engine's last error as ours. */
int sqlite_fail(struct sqlite_db *db, int rc, struct err *err);

/* A read transaction around several statements; ended always. */
int sqlite_read_begin(struct sqlite_db *db, struct err *err) MUST_CHECK;
void sqlite_read_end(struct sqlite_db *db);
/* Revision and floor as the file has them now. */
int sqlite_read_meta(struct sqlite_db *db, struct err *err) MUST_CHECK;

/* A change of `key` at the revision of this transaction. */
int sqlite_note_change(struct sqlite_db *db, const char *key,
                       struct err *err) MUST_CHECK;

/* What checks have found is no longer so: another transaction, or an undo. */
void sqlite_forget_checked(struct sqlite_db *db);

/* The key as it stands in the file; `out` holds SQL_FULL_KEY_MAX bytes. */
void sqlite_full_key(const struct sqlite_db *db, const char *key, char *out);

/* All keys below `key` are in [from, to): SQL_FULL_KEY_MAX bytes each. */
void sqlite_range_below(const struct sqlite_db *db, const char *key, char *from,
                        char *to);

/* Copy key (without the namespace) and the columns value, created, version,
 * owner from 1 on; a NULL version is a key that is gone. */
void sqlite_rows_add(struct sql_rows *rows, const char *key,
                     sqlite3_stmt *stmt);

#endif
