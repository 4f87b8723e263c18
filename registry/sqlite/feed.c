/*
 * feed.c - what changed since we last looked.
 *
 * A change row says only which key changed; the reader takes the key's present
 * state, so that a reader who is late sees the truth at once instead of its
 * history. A key written several times shows up at its newest change only.
 * Rows older than SQL_FEED_KEEP revisions are pruned; meta.floor tells a
 * reader who was away for longer that only a full list helps.
 */
#include "registry/sqlite/sqlite_priv.h"

#include <stdio.h>
#include <string.h>

static void advance(struct sql_feed *feed, uint64_t rev, const char *full)
{
    assert(strlen(full) < sizeof(feed->key));
    feed->rev = rev;
    (void)snprintf(feed->key, sizeof(feed->key), "%s", full);
}

static int read_rows(struct sqlite_db *db, struct sql_feed *feed, size_t max,
                     sql_wanted_f *wanted, const void *arg,
                     struct sql_rows *rows, bool *missed, bool *more,
                     struct err *err)
{
    sqlite3_stmt *stmt = sqlite_stmt(db, SQLITE_STMT_FEED);
    char after[SQL_FULL_KEY_MAX];
    uint64_t past = 0;
    size_t n = 0;
    bool row = true;
    int rc = 0;

    assert(max > 0);
    assert(rows->n == 0);
    memcpy(after, feed->key, sizeof(after));
    sqlite_bind_u64(stmt, 1, feed->rev);
    sqlite_bind_text(stmt, 2, after);
    sqlite_bind_u64(stmt, 3, max);
    while (rc == 0 && row && rows->bytes < SQL_PAGE_BYTES) {
        rc = sqlite_step(db, stmt, &row, err);
        if (rc == 0 && row) {
            const char *full = (const char *)sqlite3_column_text(stmt, 0);

            n++;
            if (full == NULL || strlen(full) >= sizeof(feed->key)) {
                *missed = true; /* none of us wrote this: past all of it */
                past = sqlite_column_u64(stmt, 5);
                break;
            }
            advance(feed, sqlite_column_u64(stmt, 5), full);
            if (strncmp(full, db->prefix, db->prefix_len) == 0 &&
                full[db->prefix_len] == '/' &&
                wanted(arg, full + db->prefix_len))
                sqlite_rows_add(rows, full + db->prefix_len, stmt);
        }
    }
    (void)sqlite3_reset(stmt);
    if (*missed) {
        sql_feed_advance(feed, past > db->revision ? past : db->revision);
        return rc;
    }
    *more = rc == 0 && row;
    if (rc == 0 && !row && n == max)
        *more = true; /* the statement's limit ended it */
    else if (rc == 0 && !row)
        sql_feed_advance(feed, db->revision);
    return rc;
}

int sqlite_feed_read(struct sql_core *core, struct sql_feed *feed, size_t max,
                     sql_wanted_f *wanted, const void *arg,
                     struct sql_rows *rows, bool *missed, bool *more,
                     struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = sqlite_read_begin(db, err);

    assert(!db->writing);
    assert(rows->n == 0);
    assert(max > 0);
    *missed = *more = false;
    if (rc == 0)
        rc = sqlite_read_meta(db, err);
    /* Pruned before it was read; or the file stands lower than it did. */
    if (rc == 0 && (feed->rev <= db->floor || db->revision < db->fed)) {
        *missed = true;
        db->fed = db->revision;
        sql_feed_advance(feed, db->revision);
    } else if (rc == 0) {
        db->fed = db->revision;
        rc = read_rows(db, feed, max, wanted, arg, rows, missed, more, err);
    }
    sqlite_read_end(db);
    return rc;
}

int sqlite_feed_skip(struct sql_core *core, struct sql_feed *feed,
                     struct err *err)
{
    struct sqlite_db *db = sqlite_db_of(core);
    int rc = sqlite_read_meta(db, err);

    assert(!db->writing);
    if (rc == 0) {
        db->fed = db->revision;
        sql_feed_advance(feed, db->revision);
    }
    return rc;
}
