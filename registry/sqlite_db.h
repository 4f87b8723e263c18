/*
 * sqlite_db.h - the registry as tables in one SQLite file: the synchronous
 * core below sqlite.c, for the sqlite_*.c files of this folder. (Longer than
 * 150 lines: one header for six small files, each slot with its contract.)
 *
 * A handle belongs to one thread at a time (the worker of sqlite.c). Calls
 * that change something stand between sqlite_begin() and sqlite_commit(); an
 * engine's error (anything but ERR_CONFLICT, ERR_NOT_FOUND, ERR_SESSION_LOST)
 * inside calls for sqlite_rollback(). Keys come and go without the namespace,
 * which this core puts before them in the file.
 *
 * Errors of the engine: ERR_UNAVAILABLE (busy, full, input/output: certainly
 * not applied), ERR_DENIED (read-only), ERR_UNKNOWN (sqlite_commit() only).
 */
#ifndef PELORUS_REGISTRY_SQLITE_DB_H
#define PELORUS_REGISTRY_SQLITE_DB_H

#include "base/clock.h"
#include "registry/registry.h"

#include <sqlite3.h>

#define SQLITE_NAMESPACE_MAX 128
#define SQLITE_FULL_KEY_MAX  (SQLITE_NAMESPACE_MAX + REGISTRY_KEY_MAX + 4)
#define SQLITE_FEED_KEEP     50000      /* change rows that stay readable */
#define SQLITE_PAGE_BYTES    (4u << 20) /* of values in one list page */

struct sqlite_db;

/* Rows copied out of the file. Zero-initialised is empty. A row with version
 * 0 is a key that is gone. */
struct sqlite_rows {
    struct registry_entry *entries;
    size_t n, cap;
    size_t bytes;
    char *next; /* list: see registry_reply */
};
void sqlite_rows_close(struct sqlite_rows *rows);

/* Open or create the file (sqlite_file.c). ERR_INVALID, ERR_DENIED, ERR_IO
 * with what is wrong and what to do; a file that is not ours is not written
 * to. Wait at most `busy_ms` for other writers. */
int sqlite_db_open(struct sqlite_db **out, const char *path,
                   const char *namespace_, int64_t busy_ms,
                   struct err *err) MUST_CHECK;
void sqlite_db_close(struct sqlite_db **db);

/* --- transactions --------------------------------------------------------- */

int sqlite_begin(struct sqlite_db *db, struct err *err) MUST_CHECK;
int sqlite_commit(struct sqlite_db *db, struct err *err) MUST_CHECK;
void sqlite_rollback(struct sqlite_db *db);

/* One call among several in a transaction, undone alone. */
int sqlite_savepoint(struct sqlite_db *db, struct err *err) MUST_CHECK;
int sqlite_release(struct sqlite_db *db, bool undo, struct err *err) MUST_CHECK;

/* The revision of the last write seen or made by this handle. */
uint64_t sqlite_revision(const struct sqlite_db *db);

/* Did another connection commit since the last call? Cheap. */
int sqlite_changed(struct sqlite_db *db, bool *changed,
                   struct err *err) MUST_CHECK;

/* --- reading and writing keys (sqlite_node.c) ------------------------------
 */

/* Inside a transaction. ERR_CONFLICT, ERR_NOT_FOUND (a key that must exist
 * does not): *failed is the operation's index, and what came before it is not
 * undone, see sqlite_release(). CHECK_LOCK: `key` is the lock's, `version` the
 * ticket. */
int sqlite_apply(struct sqlite_db *db, uint64_t session,
                 const struct registry_op *ops, size_t n, size_t *failed,
                 struct err *err) MUST_CHECK;

int sqlite_get(struct sqlite_db *db, const char *key, struct sqlite_rows *rows,
               struct err *err) MUST_CHECK;
int sqlite_exists(struct sqlite_db *db, const char *key,
                  struct err *err) MUST_CHECK;
int sqlite_children(struct sqlite_db *db, const char *key,
                    struct sqlite_rows *rows, struct err *err) MUST_CHECK;
int sqlite_list(struct sqlite_db *db, const char *prefix, const char *from,
                size_t limit, struct sqlite_rows *rows,
                struct err *err) MUST_CHECK;

/* --- sessions (sqlite_session.c) ------------------------------------------ */

/* A transaction each. begin: `old` (or 0) was ours and is ended with it. */
int sqlite_session_begin(struct sqlite_db *db, uint64_t old, int64_t timeout_ms,
                         uint64_t *id, struct err *err) MUST_CHECK;
int sqlite_session_close(struct sqlite_db *db, uint64_t id,
                         struct err *err) MUST_CHECK;

/* Inside a transaction. ERR_SESSION_LOST: the row is gone. */
int sqlite_session_check(struct sqlite_db *db, uint64_t id,
                         struct err *err) MUST_CHECK;
int sqlite_session_beat(struct sqlite_db *db, uint64_t id,
                        struct err *err) MUST_CHECK;

/* Other processes' sessions, and since when each has been unchanged. */
struct sqlite_reaper {
    struct sqlite_seen {
        uint64_t id, beat;
        int64_t timeout_ms;
        mono_ms since; /* when we saw `beat` first, or began anew */
    } * seen;
    size_t n, cap;
    mono_ms last_look;
};
void sqlite_reaper_close(struct sqlite_reaper *reaper);

/* Every window begins again: we were not able to look or to write in time. */
void sqlite_reaper_restart(struct sqlite_reaper *reaper, mono_ms now);

/* Look at all sessions; `reread` false: nothing was committed since the last
 * look. A window counts only while looks are at most a third of that session's
 * timeout apart. */
int sqlite_reaper_look(struct sqlite_reaper *reaper, struct sqlite_db *db,
                       uint64_t self, mono_ms now, bool reread,
                       struct err *err) MUST_CHECK;

/* End the sessions whose window is full, a transaction each, guarded by the
 * beat unchanged. *reaped counts them. */
int sqlite_reaper_reap(struct sqlite_reaper *reaper, struct sqlite_db *db,
                       uint64_t self, mono_ms now, size_t *reaped,
                       struct err *err) MUST_CHECK;

/* --- locks (sqlite_lock.c), inside a transaction, but for _head ------------
 */

/* `ticket` is the place in the queue and, once granted, the fencing number. */
int sqlite_lock_enqueue(struct sqlite_db *db, uint64_t session, const char *key,
                        const char *owner, uint64_t *ticket,
                        struct err *err) MUST_CHECK;
/* ERR_CONFLICT: somebody else's turn; ERR_SESSION_LOST: the row is gone. */
int sqlite_lock_head(struct sqlite_db *db, uint64_t session, const char *key,
                     uint64_t ticket, struct err *err) MUST_CHECK;
int sqlite_lock_leave(struct sqlite_db *db, uint64_t ticket,
                      struct err *err) MUST_CHECK;

/* --- the change feed (sqlite_feed.c) ---------------------------------------
 */

struct sqlite_feed {
    uint64_t rev;                  /* everything up to (rev, key) was read */
    char key[SQLITE_FULL_KEY_MAX]; /* "" : all of rev was */
};

/* Present state of keys changed after the position and wanted, from at most
 * `max` changes and about SQLITE_PAGE_BYTES; the position moves on. *missed:
 * rows were pruned before we read them, so that only a list tells; the
 * position is the present then. *more: call again. */
typedef bool sqlite_wanted_f(const void *arg, const char *key);
int sqlite_feed_read(struct sqlite_db *db, struct sqlite_feed *feed, size_t max,
                     sqlite_wanted_f *wanted, const void *arg,
                     struct sqlite_rows *rows, bool *missed, bool *more,
                     struct err *err) MUST_CHECK;
/* Forget what changed until now. */
int sqlite_feed_skip(struct sqlite_db *db, struct sqlite_feed *feed,
                     struct err *err) MUST_CHECK;

#endif
