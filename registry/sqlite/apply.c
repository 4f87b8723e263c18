/*
 * apply.c - applying the operations of a txn.
 *
 * Each operation is one guarded statement, and the number of rows that it
 * changed says whether its expectation held; why it did not is asked only
 * then. All operations of a txn share one revision.
 *
 * A savepoint has the engine keep a copy of each page that is changed after it.
 * So a call is looked through first, and has one only if it may be refused
 * when some of it is written.
 */
#include "registry/sqlite/sqlite_priv.h"

int sqlite_note_change(struct sqlite_db *db, const char *key, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_CHANGE);

    assert(db->writing);
    sqlite_bind_u64(stmt, 1, db->revision);
    sqlite_bind_text(stmt, 2, key);
    return sqlite_run(db, stmt, err);
}

/* The key as it stands in the file. */
static int find(struct sqlite_db *db, const char *full, struct sql_found *out,
                struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_CHECK);
    int rc;

    sqlite_bind_text(stmt, 1, full);
    rc = sqlite_step(db, stmt, &out->exists, err);
    if (rc == 0 && out->exists) {
        out->version = sqlite_column_u64(stmt, 0);
        out->owner = sqlite_column_u64(stmt, 1);
        (void)sqlite3_reset(stmt);
    }
    return rc;
}

/* Why did a guarded statement change nothing? `owner` is what a put needs. */
static int explain(struct sqlite_db *db, const struct registry_op *op,
                   const char *full, uint64_t owner, struct err *err)
{
    struct sql_found found = {.has_keys_below = true}; /* else it had done */
    int rc = find(db, full, &found, err);

    assert(op->type == REGISTRY_PUT || op->type == REGISTRY_DELETE);
    if (rc == 0)
        rc = sql_op_decide(op, &found, owner, err);
    return rc != 0 ? rc
                   : sqlite_damaged(db, err, "%s cannot be written", op->key);
}

/* INSERT, UPDATE or UPDATE_ANY. *done: it changed a row. */
static int write_row(struct sqlite_db *db, enum sqlite_stmt_id id,
                     const struct registry_op *op, const char *full,
                     uint64_t owner, bool *done, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, id);
    int rc =
        sqlite3_bind_blob64(stmt, 2, op->value, op->value_len, SQLITE_STATIC);

    assert(db->writing);
    assert(op->type == REGISTRY_PUT);
    assert(rc == SQLITE_OK);
    sqlite_bind_text(stmt, 1, full);
    sqlite_bind_u64(stmt, 3, db->revision);
    sqlite_bind_u64(stmt, 4, owner);
    if (id == SQLITE_STMT_UPDATE)
        sqlite_bind_u64(stmt, 5, op->version);
    rc = sqlite_run(db, stmt, err);
    *done = rc == 0 && sqlite3_changes(db->handle) > 0;
    return rc;
}

static int apply_put(struct sqlite_db *db, uint64_t session,
                     const struct registry_op *op, const char *full,
                     struct err *err)
{
    uint64_t owner = op->ephemeral ? session : 0;
    bool done = false;
    int rc = 0;

    assert(op->type == REGISTRY_PUT);
    assert(op->value != NULL); /* NULL would be stored as such */
    if (op->expect != REGISTRY_VERSION)
        rc = write_row(db, SQLITE_STMT_INSERT, op, full, owner, &done, err);
    if (rc == 0 && !done && op->expect != REGISTRY_ABSENT) {
        rc = write_row(db,
                       op->expect == REGISTRY_ANY ? SQLITE_STMT_UPDATE_ANY
                                                  : SQLITE_STMT_UPDATE,
                       op, full, owner, &done, err);
    }
    if (rc == 0 && !done)
        return explain(db, op, full, owner, err);
    return rc != 0 ? rc : sqlite_note_change(db, full, err);
}

static int apply_delete(struct sqlite_db *db, const struct registry_op *op,
                        const char *full, struct err *err)
{
    char from[SQL_FULL_KEY_MAX], to[SQL_FULL_KEY_MAX];
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_DELETE);
    int rc;

    assert(op->type == REGISTRY_DELETE);
    sqlite_range_below(db, op->key, from, to);
    sqlite_bind_text(stmt, 1, full);
    sqlite_bind_u64(stmt, 2, op->version);
    sqlite_bind_text(stmt, 3, from);
    sqlite_bind_text(stmt, 4, to);
    rc = sqlite_run(db, stmt, err);
    if (rc == 0 && sqlite3_changes(db->handle) == 0)
        return explain(db, op, full, 0, err);
    return rc != 0 ? rc : sqlite_note_change(db, full, err);
}

static int apply_check(struct sqlite_db *db, const struct registry_op *op,
                       const char *full, struct err *err)
{
    struct sql_found found = {0};
    int rc = find(db, full, &found, err);

    assert(op->type == REGISTRY_CHECK);
    return rc != 0 ? rc : sql_op_decide(op, &found, 0, err);
}

static int apply_op(struct sqlite_db *db, uint64_t session,
                    const struct registry_op *op, struct err *err)
{
    char full[SQL_FULL_KEY_MAX];
    struct sql_place place = {
        .session = session, .key = op->key, .ticket = op->version};
    int rc;

    assert(op->key[0] == '/');
    sqlite_full_key(db, op->key, full);
    switch (op->type) {
    case REGISTRY_CHECK:
        return apply_check(db, op, full, err);
    case REGISTRY_PUT:
        return apply_put(db, session, op, full, err);
    case REGISTRY_DELETE:
        return apply_delete(db, op, full, err);
    case REGISTRY_CHECK_LOCK:
        rc = sqlite_lock_head(&db->core, &place, err);
        return rc == ERR_SESSION_LOST ? sql_op_lock_not_ours(op, err) : rc;
    }
    return err_set(err, ERR_INVALID, "%s: no such operation", op->key);
}

static bool is_write(const struct registry_op *op)
{
    return op->type == REGISTRY_PUT || op->type == REGISTRY_DELETE;
}

/* As the file is: may it be carried out? A put may whatever stands at other
 * keys, and its own is not written before; a delete depends on those below. */
static bool will_do(struct sqlite_db *db, uint64_t session,
                    const struct registry_op *op)
{
    struct sql_found found = {0};
    char full[SQL_FULL_KEY_MAX];

    if (op->type == REGISTRY_DELETE)
        return false;
    if (op->type == REGISTRY_CHECK_LOCK)
        return apply_op(db, session, op, NULL) == 0;
    sqlite_full_key(db, op->key, full);
    return find(db, full, &found, NULL) == 0 &&
           sql_op_decide(op, &found, op->ephemeral ? session : 0, NULL) == 0;
}

/* Before the first write, ops[0]: if what stands behind it may be refused, it
 * must be undone then. */
static int look_ahead(struct sqlite_db *db, uint64_t session,
                      const struct registry_op *ops, size_t n, struct err *err)
{
    assert(n > 0 && is_write(&ops[0]));
    for (size_t i = 1; i < n; i++)
        if (!will_do(db, session, &ops[i]))
            return sqlite_undoable(db, err);
    return 0;
}

int sqlite_apply(struct sql_core *core, uint64_t session,
                 const struct registry_op *ops, size_t n, size_t *failed,
                 struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    size_t writes = 0;
    int rc = 0;

    assert(session != 0);
    assert(db->writing);
    assert(n > 0);
    *failed = SIZE_MAX;
    db->revision++;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (is_write(&ops[i]) && writes++ == 0)
            rc = look_ahead(db, session, ops + i, n - i, err);
        if (rc == 0)
            rc = apply_op(db, session, &ops[i], err);
        if (rc != 0)
            *failed = i;
    }
    if (writes == 0)
        db->revision--; /* nothing to store: no fsync for checks alone */
    if ((rc == ERR_CONFLICT || rc == ERR_NOT_FOUND) && writes > 1 &&
        !db->undoable)
        rc = sqlite_damaged(db, err, "a key was and was not there");
    return rc;
}
