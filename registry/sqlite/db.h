/*
 * db.h - the registry as tables in one SQLite file: the synchronous core
 * below sqlite.c.
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

/* Open or create the file (open.c), for a core without its ops. ERR_INVALID,
 * ERR_DENIED, ERR_IO with what is wrong and what to do; a file that is not ours
 * is not written to. Wait at most `busy_ms` for other writers. *out is the
 * caller's, NULL after an error. */
int sqlite_db_open(struct sql_core **out, const char *path,
                   const char *namespace_, int64_t busy_ms,
                   struct err *err) MUST_CHECK;

/* The slots, whose contracts stand in registry/sql/core.h. */
extern const struct sql_core_ops sqlite_core_ops; /* core.c */

sql_core_close_f sqlite_db_close; /* open.c; *core may be NULL */
/* db.c */
sql_commit_f sqlite_commit;
sql_rollback_f sqlite_rollback;
sql_savepoint_f sqlite_savepoint;
sql_release_f sqlite_release;
sql_revision_f sqlite_revision;
sql_changed_f sqlite_changed;
/* node.c: reads are of one snapshot each, whose revision is looked at first. */
sql_apply_f sqlite_apply;
sql_get_f sqlite_get;
sql_get_many_f sqlite_get_many;
sql_exists_f sqlite_exists;
sql_children_f sqlite_children;
sql_list_f sqlite_list;
/* session.c */
sql_session_begin_f sqlite_session_begin;
sql_session_close_f sqlite_session_close;
sql_sessions_f sqlite_sessions;
sql_reap_f sqlite_reap;
/* lock.c; the head may also be asked inside a transaction */
sql_lock_enqueue_f sqlite_lock_enqueue;
sql_lock_head_f sqlite_lock_head;
sql_lock_leave_f sqlite_lock_leave;
/* feed.c */
sql_feed_read_f sqlite_feed_read;
sql_feed_skip_f sqlite_feed_skip;

#endif
