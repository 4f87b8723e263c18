/*
 * core.c - a server as a core of the SQL registries: the table of slots, and
 * opening and closing. The top of this folder, besides jdbc.c.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/mem.h"

#include <string.h>
#include <unistd.h>

#define LOCK_MS    100
#define POLL_MS    100
#define COMPARE_MS 20000 /* on average, from half to one and a half */

static void close_(struct sql_core **core)
{
    struct dbms *d = dbms_of(*core);

    assert(!d->txn.open || d->inside);
    dbms_abandon(&d->core);
    dbms_disconnect(d);
    dbms_dolphin_forget(d);
    sql_rows_close(&d->own.rows);
    dbms_target_close(&d->target);
    mem_free(d->begin);
    buf_close(&d->sql);
    mem_free(d);
    *core = NULL;
}

static const struct sql_core_ops ops = {
    .begin = dbms_begin,
    .commit = dbms_end,
    .rollback = dbms_abandon,
    .savepoint = dbms_savepoint,
    .release = dbms_release,
    .revision = dbms_revision,
    .apply = dbms_apply,
    .get = dbms_get,
    .get_many = dbms_get_many,
    .exists = dbms_exists,
    .children = dbms_children,
    .list = dbms_list,
    .session_begin = dbms_session_begin,
    .session_renew = dbms_session_renew,
    .session_close = dbms_session_close,
    .sessions = dbms_sessions,
    .reap = dbms_reap,
    .lock_enqueue = dbms_lock_enqueue,
    .lock_head = dbms_lock_head,
    .lock_leave = dbms_lock_leave,
    .changed = dbms_changed,
    .feed_read = dbms_feed_read,
    .feed_skip = dbms_feed_skip,
    .sums = dbms_sums,
    .close = close_,
};

struct sql_core *dbms_core_new(struct dbms_target *target,
                               const char *namespace_, int64_t timeout_ms,
                               int64_t beat_ms)
{
    struct dbms *d = mem_zalloc(sizeof(*d));
    char host[64] = "";
    uint64_t seed;

    assert(timeout_ms > 0);
    assert(target->driver != NULL);
    assert(strlen(namespace_) <= SQL_NAMESPACE_MAX);
    d->core.ops = &ops;
    d->core.poll_ms = POLL_MS;
    d->core.compare_ms = COMPARE_MS;
    d->core.beat_ms = beat_ms < timeout_ms / 3 ? beat_ms : timeout_ms / 3;
    d->core.look_ms = timeout_ms / 12 < 1000 ? timeout_ms / 12 + 1 : 1000;
    d->core.lock_ms = LOCK_MS;
    d->core.retries = DBMS_RETRIES;
    d->target = *target;
    memset(target, 0, sizeof(*target));
    d->prefix_len =
        (size_t)snprintf(d->prefix, sizeof(d->prefix), "/%s", namespace_);
    memcpy(d->target.prefix, d->prefix, sizeof(d->prefix));
    d->target.all = true;
    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(d->client, sizeof(d->client), "%s_%ld", host,
                   (long)getpid());
    d->timeout_ms = timeout_ms;
    rand_secret(&seed, sizeof(seed));
    rand_seed(&d->rand, seed);
    buf_init(&d->sql, DBMS_SQL_MAX);
    (void)dbms_begin_anew(d);
    d->dolphin.poll_ms = beat_ms;
    d->dolphin.timeout_ms = timeout_ms;
    assert(d->begin != NULL);
    return &d->core;
}
