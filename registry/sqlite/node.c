/*
 * node.c - reading keys, and applying the operations of a txn.
 *
 * Each operation is one guarded statement, and the number of rows that it
 * changed says whether its expectation held; why it did not is asked only
 * then. All operations of a txn share one revision. Directories are not
 * stored: a key is one while there are keys below it. The calls of a group
 * check the same few keys, which are looked up once.
 */
#include "registry/sqlite/sqlite_priv.h"

#include "base/mem.h"

#include <string.h>

/* --- rows ---------------------------------------------------------------- */

void sqlite_rows_add(struct sql_rows *rows, const char *key, sqlite3_stmt *stmt)
{
    const void *value = sqlite3_column_blob(stmt, 1);
    size_t value_len = (size_t)sqlite3_column_bytes(stmt, 1);
    struct registry_entry *entry =
        sql_rows_push(rows, key, strlen(key), value, value_len);

    entry->created = sqlite_column_u64(stmt, 2);
    entry->version = sqlite_column_u64(stmt, 3);
    entry->owner = sqlite_column_u64(stmt, 4);
}

/* --- reading ------------------------------------------------------------- */

/* NULL: what stands there is none of ours, in a range of ours. */
static const char *column_key(const struct sqlite_db *db, sqlite3_stmt *stmt)
{
    const char *full = (const char *)sqlite3_column_text(stmt, 0);

    return full != NULL && strncmp(full, db->prefix, db->prefix_len) == 0
               ? full + db->prefix_len
               : NULL;
}

static int add_row(struct sqlite_db *db, sqlite3_stmt *stmt,
                   struct sql_rows *rows, struct err *err)
{
    const char *key = column_key(db, stmt);

    if (key == NULL)
        return sqlite_damaged(db, err, "a row is in another's place");
    sqlite_rows_add(rows, key, stmt);
    return 0;
}

/* One snapshot, and its revision: what is read is at least as new. A
 * transaction under way is one. What is read is what others write; and only a
 * renewal ends the session. */
static int begin_read(struct sqlite_db *db, struct err *err)
{
    int rc;

    if (db->writing)
        return 0;
    rc = sqlite_file_check(db, err);
    if (rc == ERR_SESSION_LOST) {
        rc = ERR_UNAVAILABLE;
        if (err != NULL)
            err->code = ERR_UNAVAILABLE;
    }
    if (rc == 0)
        rc = sqlite_read_begin(db, err);
    return rc != 0 ? rc : sqlite_read_meta(db, err);
}

static void end_read(struct sqlite_db *db)
{
    assert(db->handle != NULL);
    if (!db->writing)
        sqlite_read_end(db);
}

static int get(struct sqlite_db *db, const char *key, struct sql_rows *rows,
               struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_GET);
    char full[SQL_FULL_KEY_MAX];
    bool row;
    int rc;

    assert(key[0] == '/');
    sqlite_full_key(db, key, full);
    sqlite_bind_text(stmt, 1, full);
    rc = sqlite_step(db, stmt, &row, err);
    if (rc == 0 && !row)
        rc = sql_no_key(key, err);
    else if (rc == 0)
        rc = add_row(db, stmt, rows, err);
    (void)sqlite3_reset(stmt);
    return rc;
}

int sqlite_get(struct sql_core *core, const char *key, struct sql_rows *rows,
               struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = begin_read(db, err);

    assert(key[0] == '/');
    assert(rows->n == 0);
    if (rc == 0)
        rc = get(db, key, rows, err);
    end_read(db);
    return rc;
}

int sqlite_get_many(struct sql_core *core, const char *const *keys, size_t n,
                    struct sql_rows *rows, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = begin_read(db, err);

    assert(rows->n == 0);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = get(db, keys[i], rows, err);
        rc = rc == ERR_NOT_FOUND ? 0 : rc;
    }
    end_read(db);
    sql_rows_sort(rows);
    assert(rows->n <= n);
    return rc;
}

static int exists(struct sqlite_db *db, const char *key, struct err *err)
{
    char from[SQL_FULL_KEY_MAX], to[SQL_FULL_KEY_MAX];
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_CHECK);
    bool row;
    int rc;

    assert(key[0] == '/');
    sqlite_full_key(db, key, from);
    sqlite_bind_text(stmt, 1, from);
    rc = sqlite_probe(db, stmt, &row, err);
    if (rc == 0 && !row) {
        sqlite_range_below(db, key, from, to);
        stmt = sqlite_stmt(db, SQLITE_STMT_ANY_BELOW);
        sqlite_bind_text(stmt, 1, from);
        sqlite_bind_text(stmt, 2, to);
        rc = sqlite_probe(db, stmt, &row, err);
    }
    if (rc == 0 && !row)
        rc = sql_no_key(key, err);
    return rc;
}

int sqlite_exists(struct sql_core *core, const char *key, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = begin_read(db, err);

    assert(key[0] == '/');
    if (rc == 0)
        rc = exists(db, key, err);
    end_read(db);
    return rc;
}

/* One seek a name: from each key found, jump behind all that is below it. */
static int walk_children(struct sqlite_db *db, const char *key,
                         struct sql_rows *rows, struct err *err)
{
    char from[SQL_FULL_KEY_MAX], to[SQL_FULL_KEY_MAX];
    sqlite3_stmt *stmt;
    size_t parent_len;
    bool row = true;
    int rc = 0;

    assert(rows->n == 0);
    sqlite_range_below(db, key, from, to);
    parent_len = strlen(from);
    while (rc == 0 && row) {
        stmt = sqlite_stmt(db, SQLITE_STMT_NEXT_KEY);
        sqlite_bind_text(stmt, 1, from);
        sqlite_bind_text(stmt, 2, to);
        rc = sqlite_step(db, stmt, &row, err);
        if (rc == 0 && row) {
            const char *found = (const char *)sqlite3_column_text(stmt, 0);
            const char *name;
            size_t len, total;

            if (found == NULL || strcmp(found, from) < 0 ||
                strncmp(found, from, parent_len) != 0 ||
                strlen(found) + 2 > sizeof(from)) {
                rc = sqlite_damaged(db, err, "a row is in another's place");
                break;
            }
            name = found + parent_len;
            len = strcspn(name, "/");
            total = parent_len + len;
            (void)sql_rows_push(rows, name, len, NULL, 0);
            memcpy(from, found, total);
            /* Behind "a/...": "a0". Behind the key "a" itself: "a\1". */
            from[total] = name[len] == '/' ? '/' + 1 : '\1';
            from[total + 1] = '\0';
        }
        (void)sqlite3_reset(stmt);
    }
    return rc;
}

int sqlite_children(struct sql_core *core, const char *key,
                    struct sql_rows *rows, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = begin_read(db, err);

    assert(key[0] == '/');
    assert(rows->n == 0);
    if (rc == 0)
        rc = walk_children(db, key, rows, err);
    end_read(db);
    sql_rows_sort(rows);
    return rc;
}

static int read_page(struct sqlite_db *db, sqlite3_stmt *stmt, size_t limit,
                     struct sql_rows *rows, struct err *err)
{
    bool row = true;
    int rc = 0;

    assert(limit > 0);
    while (rc == 0 && row) {
        rc = sqlite_step(db, stmt, &row, err);
        if (rc == 0 && row) {
            const char *key = column_key(db, stmt);

            if (key != NULL && sql_rows_full(rows, limit, key, strlen(key)))
                break;
            rc = add_row(db, stmt, rows, err);
        }
    }
    (void)sqlite3_reset(stmt);
    assert(rows->n <= limit);
    return rc;
}

int sqlite_list(struct sql_core *core, const char *prefix, const char *from,
                size_t limit, struct sql_rows *rows, struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    char low[SQL_FULL_KEY_MAX], high[SQL_FULL_KEY_MAX];
    char *start = NULL; /* a key of the file, of whatever length */
    sqlite3_stmt *stmt;
    int rc;

    assert(rows->n == 0);
    assert(prefix[0] == '/');
    assert(limit > 0);
    if (from != NULL && from[0] != '/')
        return err_set(err, ERR_INVALID, "list: %s: no such page", from);
    sqlite_range_below(db, prefix, low, high);
    if (from != NULL)
        start = mem_printf("%s%s", db->prefix, from);
    rc = begin_read(db, err);
    if (rc == 0) {
        stmt = sqlite_stmt(db, SQLITE_STMT_LIST);
        sqlite_bind_text(stmt, 1,
                         from != NULL && strcmp(start, low) > 0 ? start : low);
        sqlite_bind_text(stmt, 2, high);
        sqlite_bind_u64(stmt, 3, limit + 1);
        rc = read_page(db, stmt, limit, rows, err);
    }
    end_read(db);
    if (from != NULL && rows->next == NULL) /* the end of a long list: */
        (void)sqlite3_db_release_memory(db->handle); /* its pages are cached */
    mem_free(start);
    return rc;
}

/* --- writing ------------------------------------------------------------- */

void sqlite_forget_checked(struct sqlite_db *db)
{
    for (size_t i = 0; i < SQLITE_CHECKED_MAX; i++)
        db->checked[i].key[0] = '\0';
}

static struct sqlite_checked *checked(struct sqlite_db *db, const char *full)
{
    for (size_t i = 0; i < SQLITE_CHECKED_MAX; i++)
        if (strcmp(db->checked[i].key, full) == 0)
            return &db->checked[i];
    return NULL;
}

int sqlite_note_change(struct sqlite_db *db, const char *key, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_CHANGE);
    struct sqlite_checked *c = checked(db, key);

    assert(db->writing);
    if (c != NULL)
        c->key[0] = '\0';
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

static void note_checked(struct sqlite_db *db, const char *full,
                         const struct sql_found *found)
{
    struct sqlite_checked *c =
        &db->checked[db->next_checked++ % SQLITE_CHECKED_MAX];

    assert(found->exists);
    memcpy(c->key, full, strlen(full) + 1);
    c->version = found->version;
    c->owner = found->owner;
}

static int apply_check(struct sqlite_db *db, const struct registry_op *op,
                       const char *full, struct err *err)
{
    struct sqlite_checked *c = checked(db, full);
    struct sql_found found = {0};
    int rc = 0;

    assert(op->type == REGISTRY_CHECK);
    assert(db->writing);
    if (c != NULL) {
        found.exists = true;
        found.version = c->version;
        found.owner = c->owner;
    } else {
        rc = find(db, full, &found, err);
        if (rc == 0 && found.exists)
            note_checked(db, full, &found);
    }
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

int sqlite_apply(struct sql_core *core, uint64_t session,
                 const struct registry_op *ops, size_t n, size_t *failed,
                 struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    bool writes = false;
    int rc = 0;

    assert(session != 0);
    assert(db->writing);
    assert(n > 0);
    *failed = SIZE_MAX;
    db->revision++;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        writes |= ops[i].type == REGISTRY_PUT || ops[i].type == REGISTRY_DELETE;
        rc = apply_op(db, session, &ops[i], err);
        if (rc != 0)
            *failed = i;
    }
    if (!writes)
        db->revision--; /* nothing to store: no fsync for checks alone */
    return rc;
}
