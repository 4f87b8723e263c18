/*
 * sqlite.c - the embedded registry: one SQLite file that any number of
 * processes of one host share.
 *
 * A limit of SQLite: a process that is stopped (not killed) in the middle of a
 * commit keeps the write lock. Then nobody can write, renew or be taken for
 * dead until it continues or is killed; nothing is decided wrongly meanwhile.
 */
#include "registry/sqlite/sqlite.h"
#include "registry/sql/backend.h"
#include "registry/sqlite/db.h"

#include "conf/conf.h"

#define POLL_MS 50
#define SOON_MS 5 /* others are writing: what they write is soon known here */

static const struct sql_kind kind = {
    .name = "sqlite", .max_ops = 3000, .max_bytes = 16u << 20};

/* The only place where the loop's thread touches the file: at start, so that
 * an unusable one ends the program with a clear message. */
int sqlite_open(struct registry **out, struct loop *loop,
                const struct conf_registry *conf, struct err *err)
{
    int64_t timeout = conf->session_timeout_ms, busy = timeout / 4;
    struct sql_core *core;
    int rc;

    assert(conf->path != NULL && conf->namespace_ != NULL);
    assert(timeout > 0);
    busy = busy < 20 ? 20 : busy > 2000 ? 2000 : busy;
    rc = sqlite_db_open(&core, conf->path, conf->namespace_, busy, err);
    if (rc != 0)
        return rc;
    core->ops = &sqlite_core_ops;
    core->poll_ms = POLL_MS;
    core->soon_ms = SOON_MS;
    core->beat_ms = timeout / 3;
    *out = sql_new(&kind, loop, core, NULL, timeout);
    return 0;
}
