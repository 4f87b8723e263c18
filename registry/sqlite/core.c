/*
 * core.c - one SQLite file as a core of the SQL registries: the slots, and
 * what stands above all of them.
 *
 * Here every statement is cheap, so that a group is worked through operation
 * by operation, each call under a savepoint of its own. Tickets order the
 * queue and are the fencing numbers as well.
 */
#include "registry/sqlite/sqlite_priv.h"

static int begin(struct sql_core *core, uint64_t session, bool beat,
                 const struct sql_piece *pieces, size_t n, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = sqlite_begin(db, err);

    (void)pieces;
    (void)n;
    assert(session != 0);
    if (rc != 0)
        return rc;
    rc = beat ? sqlite_session_beat(db, session, err)
              : sqlite_session_check(db, session, err);
    if (rc != 0)
        sqlite_rollback(core);
    assert(db->writing == (rc == 0));
    return rc;
}

static int session_begin(struct sql_core *core, uint64_t old,
                         int64_t timeout_ms, uint64_t *id, struct err *err)
{
    int rc = sqlite_db_reopen(sqlite_db_of(core), err);

    if (rc == 0 || rc == ERR_WENT_BACK)
        rc = sqlite_session_begin(core, old, timeout_ms, id, err);
    return rc;
}

static int session_renew(struct sql_core *core, uint64_t id, struct err *err)
{
    int rc = begin(core, id, true, NULL, 0, err);

    return rc != 0 ? rc : sqlite_commit(core, err);
}

const struct sql_core_ops sqlite_core_ops = {
    .begin = begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .savepoint = sqlite_savepoint,
    .release = sqlite_release,
    .revision = sqlite_revision,
    .apply = sqlite_apply,
    .get = sqlite_get,
    .get_many = sqlite_get_many,
    .exists = sqlite_exists,
    .children = sqlite_children,
    .list = sqlite_list,
    .session_begin = session_begin,
    .session_renew = session_renew,
    .session_close = sqlite_session_close,
    .sessions = sqlite_sessions,
    .reap = sqlite_reap,
    .lock_enqueue = sqlite_lock_enqueue,
    .lock_head = sqlite_lock_head,
    .lock_leave = sqlite_lock_leave,
    .changed = sqlite_changed,
    .feed_read = sqlite_feed_read,
    .feed_skip = sqlite_feed_skip,
    .close = sqlite_db_close,
};
