/*
 * core.c - one SQLite file as a core of the SQL registries.
 *
 * Here every statement is cheap, so that a group is worked through operation
 * by operation, each call under a savepoint of its own. Tickets order the
 * queue and are the fencing numbers as well.
 */
#include "registry/sqlite/db.h"

#include "base/mem.h"

#define POLL_MS 50

struct core {
    struct sql_core core; /* first */
    struct sqlite_db *db;
};

/* Where it stands, as seen last. */
static void note_place(struct sql_core *core)
{
    struct core *c = (struct core *)(void *)core;

    core->position = sqlite_position(c->db);
}

static struct sqlite_db *db_of(const struct sql_core *core)
{
    return ((const struct core *)(const void *)core)->db;
}

static int begin(struct sql_core *core, uint64_t session, bool beat,
                 const struct sql_piece *pieces, size_t n, struct err *err)
{
    struct sqlite_db *db = db_of(core);
    int rc = sqlite_begin(db, err);

    (void)pieces;
    (void)n;
    note_place(core);
    if (rc != 0)
        return rc;
    rc = beat ? sqlite_session_beat(db, session, err)
              : sqlite_session_check(db, session, err);
    if (rc != 0)
        sqlite_rollback(db);
    return rc;
}

static int commit(struct sql_core *core, struct err *err)
{
    int rc = sqlite_commit(db_of(core), err);

    note_place(core);
    return rc;
}

static void rollback(struct sql_core *core)
{
    sqlite_rollback(db_of(core));
}

static int savepoint(struct sql_core *core, struct err *err)
{
    return sqlite_savepoint(db_of(core), err);
}

static int release(struct sql_core *core, bool undo, struct err *err)
{
    return sqlite_release(db_of(core), undo, err);
}

static uint64_t revision(const struct sql_core *core)
{
    return sqlite_revision(db_of(core));
}

static int apply(struct sql_core *core, uint64_t session,
                 const struct registry_op *ops, size_t n, size_t *failed,
                 struct err *err)
{
    return sqlite_apply(db_of(core), session, ops, n, failed, err);
}

/* What is read is what others write. Only a beat ends the session. */
static int sees_all(struct sql_core *core, struct err *err)
{
    int rc = sqlite_file_check(db_of(core), err);

    if (rc != ERR_SESSION_LOST)
        return rc;
    if (err != NULL)
        err->code = ERR_UNAVAILABLE;
    return ERR_UNAVAILABLE;
}

static int get(struct sql_core *core, const char *key, struct sql_rows *rows,
               struct err *err)
{
    int rc = sees_all(core, err);

    return rc != 0 ? rc : sqlite_get(db_of(core), key, rows, err);
}

/* One look at the file and one snapshot for all of them. */
static int get_many(struct sql_core *core, const char *const *keys, size_t n,
                    struct sql_rows *rows, struct err *err)
{
    int rc = sees_all(core, err);

    return rc != 0 ? rc : sqlite_get_many(db_of(core), keys, n, rows, err);
}

static int exists(struct sql_core *core, const char *key, struct err *err)
{
    int rc = sees_all(core, err);

    return rc != 0 ? rc : sqlite_exists(db_of(core), key, err);
}

static int children(struct sql_core *core, const char *key,
                    struct sql_rows *rows, struct err *err)
{
    int rc = sees_all(core, err);

    return rc != 0 ? rc : sqlite_children(db_of(core), key, rows, err);
}

static int list(struct sql_core *core, const char *prefix, const char *from,
                size_t limit, struct sql_rows *rows, struct err *err)
{
    int rc = sees_all(core, err);

    return rc != 0 ? rc
                   : sqlite_list(db_of(core), prefix, from, limit, rows, err);
}

static int session_begin(struct sql_core *core, uint64_t old,
                         int64_t timeout_ms, uint64_t *id, struct err *err)
{
    int rc = sqlite_db_reopen(db_of(core), err);

    if (rc == 0 || rc == ERR_WENT_BACK)
        rc = sqlite_session_begin(db_of(core), old, timeout_ms, id, err);
    note_place(core);
    return rc;
}

static int session_renew(struct sql_core *core, uint64_t id, struct err *err)
{
    int rc = begin(core, id, true, NULL, 0, err);

    return rc != 0 ? rc : commit(core, err);
}

static int session_close(struct sql_core *core, uint64_t id, struct err *err)
{
    return sqlite_session_close(db_of(core), id, err);
}

static int sessions(struct sql_core *core, uint64_t self,
                    struct sql_reaper *reaper, struct err *err)
{
    return sqlite_sessions(db_of(core), self, reaper, err);
}

static int reap(struct sql_core *core, const struct sql_seen *victim,
                uint64_t self, struct err *err)
{
    return sqlite_session_reap(db_of(core), victim, self, err);
}

static int lock_head(struct sql_core *core, struct sql_place *place,
                     struct err *err)
{
    int rc = sqlite_lock_head(db_of(core), place, err);

    place->fence = rc == 0 ? place->ticket : 0;
    return rc;
}

static int lock_enqueue(struct sql_core *core, struct sql_place *place,
                        bool try_once, struct err *err)
{
    int rc = sqlite_lock_enqueue(db_of(core), place->session, place->key,
                                 place->owner, &place->ticket, err);

    if (rc != 0)
        return rc;
    rc = lock_head(core, place, err);
    if (rc == ERR_CONFLICT)
        return try_once ? ERR_TIMEOUT : 0; /* the caller undoes, or waits */
    return rc;
}

static int lock_leave(struct sql_core *core, const struct sql_place *place,
                      struct err *err)
{
    return sqlite_lock_leave(db_of(core), place->ticket, err);
}

static int changed(struct sql_core *core, bool interested, bool *yes,
                   struct err *err)
{
    int rc;

    (void)interested; /* it costs next to nothing */
    rc = sqlite_changed(db_of(core), yes, err);
    note_place(core);
    return rc;
}

static int feed_read(struct sql_core *core, struct sql_feed *feed, size_t max,
                     sql_wanted_f *wanted, const void *arg,
                     struct sql_rows *rows, bool *missed, bool *more,
                     struct err *err)
{
    return sqlite_feed_read(db_of(core), feed, max, wanted, arg, rows, missed,
                            more, err);
}

static int feed_skip(struct sql_core *core, struct sql_feed *feed,
                     struct err *err)
{
    return sqlite_feed_skip(db_of(core), feed, err);
}

static void close_(struct sql_core **core)
{
    struct core *c = (struct core *)(void *)*core;

    sqlite_db_close(&c->db);
    mem_free(c);
    *core = NULL;
}

static const struct sql_core_ops ops = {
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .savepoint = savepoint,
    .release = release,
    .revision = revision,
    .apply = apply,
    .get = get,
    .get_many = get_many,
    .exists = exists,
    .children = children,
    .list = list,
    .session_begin = session_begin,
    .session_renew = session_renew,
    .session_close = session_close,
    .sessions = sessions,
    .reap = reap,
    .lock_enqueue = lock_enqueue,
    .lock_head = lock_head,
    .lock_leave = lock_leave,
    .changed = changed,
    .feed_read = feed_read,
    .feed_skip = feed_skip,
    .close = close_,
};

struct sql_core *sqlite_core_new(struct sqlite_db *db, int64_t timeout_ms)
{
    struct core *c = mem_zalloc(sizeof(*c));

    c->core.ops = &ops;
    c->core.poll_ms = POLL_MS;
    c->core.beat_ms = timeout_ms / 3;
    c->db = db;
    return &c->core;
}
