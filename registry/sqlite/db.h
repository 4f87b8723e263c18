/*
 * db.h - the registry as tables in one SQLite file: the synchronous
 * core below sqlite.c, for the sqlite_*.c files of this folder. (Longer than
 * 150 lines: one header for six small files, each slot with its contract.)
 *
 * A handle belongs to one thread at a time (the worker of sqlite.c). Calls
 * that change something stand between sqlite_begin() and sqlite_commit(); an
 * engine's error (anything but ERR_CONFLICT, ERR_NOT_FOUND, ERR_SESSION_LOST,
 * ERR_WENT_BACK) inside calls for sqlite_rollback(). Keys come and go without
 * the namespace, which this core puts before them in the file.
 *
 * Errors of the engine: ERR_UNAVAILABLE (busy, full, input/output: certainly
 * not applied), ERR_DENIED (read-only), ERR_UNKNOWN (sqlite_commit() only).
 */
#ifndef PELORUS_REGISTRY_SQLITE_DB_H
#define PELORUS_REGISTRY_SQLITE_DB_H

#include "registry/sql/core.h"

#include <sqlite3.h>

struct sqlite_db;

/* Open or create the file (file.c). ERR_INVALID, ERR_DENIED, ERR_IO
 * with what is wrong and what to do; a file that is not ours is not written
 * to. Wait at most `busy_ms` for other writers. */
int sqlite_db_open(struct sqlite_db **out, const char *path,
                   const char *namespace_, int64_t busy_ms,
                   struct err *err) MUST_CHECK;
void sqlite_db_close(struct sqlite_db **db);
/* What stands at the path was replaced: take what stands there now, if that is
 * a registry and whole. 0 also when nothing was replaced; otherwise errors as
 * of sqlite_file_check(), or why it cannot be used. */
int sqlite_db_reopen(struct sqlite_db *db, struct err *err) MUST_CHECK;

/* What stands at the path is still what was opened. ERR_SESSION_LOST: another
 * file does, or none, and nobody but us sees what we write; or the file is
 * damaged. ERR_WENT_BACK: it is older than our session has seen it.
 * ERR_UNAVAILABLE: it cannot be told, or not yet: another program wrote to it.
 */
int sqlite_file_check(struct sqlite_db *db, struct err *err) MUST_CHECK;

/* --- transactions --------------------------------------------------------- */

int sqlite_begin(struct sqlite_db *db, struct err *err) MUST_CHECK;
int sqlite_commit(struct sqlite_db *db, struct err *err) MUST_CHECK;
void sqlite_rollback(struct sqlite_db *db);

/* One call among several in a transaction, undone alone. */
int sqlite_savepoint(struct sqlite_db *db, struct err *err) MUST_CHECK;
int sqlite_release(struct sqlite_db *db, bool undo, struct err *err) MUST_CHECK;

/* The revision of the last write seen or made by this handle. */
uint64_t sqlite_revision(const struct sqlite_db *db);
/* As the file has it, when it was looked at last; never 0 with a session. */
uint64_t sqlite_position(const struct sqlite_db *db);

/* Did another connection commit since the last call? Cheap. */
int sqlite_changed(struct sqlite_db *db, bool *changed,
                   struct err *err) MUST_CHECK;

/* --- reading and writing keys (node.c) ------------------------------
 */

/* Inside a transaction. ERR_CONFLICT, ERR_NOT_FOUND (a key that must exist
 * does not): *failed is the operation's index, and what came before it is not
 * undone, see sqlite_release(). CHECK_LOCK: `key` is the lock's, `version` the
 * ticket. */
int sqlite_apply(struct sqlite_db *db, uint64_t session,
                 const struct registry_op *ops, size_t n, size_t *failed,
                 struct err *err) MUST_CHECK;

/* Reads are of one snapshot each, whose revision is looked at first. */
int sqlite_get(struct sqlite_db *db, const char *key, struct sql_rows *rows,
               struct err *err) MUST_CHECK;
int sqlite_get_many(struct sqlite_db *db, const char *const *keys, size_t n,
                    struct sql_rows *rows, struct err *err) MUST_CHECK;
int sqlite_exists(struct sqlite_db *db, const char *key,
                  struct err *err) MUST_CHECK;
int sqlite_children(struct sqlite_db *db, const char *key,
                    struct sql_rows *rows, struct err *err) MUST_CHECK;
int sqlite_list(struct sqlite_db *db, const char *prefix, const char *from,
                size_t limit, struct sql_rows *rows,
                struct err *err) MUST_CHECK;

/* --- sessions (session.c) ------------------------------------------ */

/* A transaction each. begin: `old` (or 0) was ours and is ended with it. */
int sqlite_session_begin(struct sqlite_db *db, uint64_t old, int64_t timeout_ms,
                         uint64_t *id, struct err *err) MUST_CHECK;
int sqlite_session_close(struct sqlite_db *db, uint64_t id,
                         struct err *err) MUST_CHECK;

/* Inside a transaction. ERR_SESSION_LOST: the row is gone. ERR_WENT_BACK: it
 * stands as it was before we changed it, or is another's. */
int sqlite_session_check(struct sqlite_db *db, uint64_t id,
                         struct err *err) MUST_CHECK;
int sqlite_session_beat(struct sqlite_db *db, uint64_t id,
                        struct err *err) MUST_CHECK;

/* For registry/sql/reaper.c: see registry/sql/core.h. */
int sqlite_sessions(struct sqlite_db *db, uint64_t self,
                    struct sql_reaper *reaper, struct err *err) MUST_CHECK;
int sqlite_session_reap(struct sqlite_db *db, const struct sql_seen *victim,
                        uint64_t self, struct err *err) MUST_CHECK;

/* --- locks (sql_lock.c), inside a transaction, but for _head ------------
 */

/* `ticket` is the place in the queue and, once granted, the fencing number. */
int sqlite_lock_enqueue(struct sqlite_db *db, uint64_t session, const char *key,
                        const char *owner, uint64_t *ticket,
                        struct err *err) MUST_CHECK;
/* Is it our turn? ERR_CONFLICT: somebody else's, place->holder says whose;
 * ERR_SESSION_LOST: the row is gone. */
int sqlite_lock_head(struct sqlite_db *db, struct sql_place *place,
                     struct err *err) MUST_CHECK;
int sqlite_lock_leave(struct sqlite_db *db, uint64_t ticket,
                      struct err *err) MUST_CHECK;

/* --- the change feed (sql_feed.c) ---------------------------------------
 */

/* See registry/sql/core.h. */
int sqlite_feed_read(struct sqlite_db *db, struct sql_feed *feed, size_t max,
                     sql_wanted_f *wanted, const void *arg,
                     struct sql_rows *rows, bool *missed, bool *more,
                     struct err *err) MUST_CHECK;
/* Forget what changed until now. */
int sqlite_feed_skip(struct sqlite_db *db, struct sql_feed *feed,
                     struct err *err) MUST_CHECK;

/* The core over it takes the handle (core.c). */
struct sql_core *sqlite_core_new(struct sqlite_db *db, int64_t timeout_ms);

#endif
