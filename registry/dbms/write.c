/*
 * write.c - writing the outcome of a group: statements of many rows, in
 * requests of about a megabyte.
 */
#include "registry/dbms/txn.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FEED_KEEP  200000 /* revisions; one of ours is one key at least */
#define FEED_SLACK 5000   /* prune in steps, not at every commit */

/* Slots for one statement. */
struct batch {
    const struct dbms_slot *slots[DBMS_IN_MAX];
    size_t n, bytes;
};

/* In this order. */
enum step {
    INSERTS,
    UPDATES,
    DELETIONS,
    OLD_LEASES,
    NEW_LEASES,
    CHANGES,
    STEPS
};

static bool is_chosen(const struct dbms *d, const struct dbms_slot *slot,
                      enum step step)
{
    bool fresh = dbms_is_new(d, slot);

    switch (step) {
    case INSERTS:
        return slot->exists && !slot->stored;
    case UPDATES:
        return slot->exists && slot->stored;
    case DELETIONS:
        return !slot->exists && slot->stored;
    case OLD_LEASES:
        return slot->lease && (!slot->exists || fresh);
    case NEW_LEASES:
        return slot->owner != 0 && fresh;
    default:
        return true;
    }
}

static int write_batch(struct dbms *d, const struct batch *b, enum step step,
                       struct err *err);

/* All slots of a step, a batch at a time. */
static int in_batches(struct dbms *d, enum step step, struct err *err)
{
    struct batch b = {.n = 0};
    int rc = 0;

    assert(d->txn.open);
    assert(d->inside);
    for (size_t i = 0; rc == 0 && i < d->txn.n_slots; i++) {
        const struct dbms_slot *slot = &d->txn.slots[i];

        if (!slot->dirty || !is_chosen(d, slot, step))
            continue;
        b.slots[b.n++] = slot;
        b.bytes += slot->value_len;
        if (b.n == DBMS_IN_MAX || b.bytes > DBMS_SQL_FULL / 2) {
            rc = write_batch(d, &b, step, err);
            b.n = b.bytes = 0;
        }
    }
    return rc == 0 && b.n > 0 ? write_batch(d, &b, step, err) : rc;
}

/* --- as rows, or as columns where the server takes arrays ---------------- */

enum column { NAME, VALUE, CREATED, VERSION, OWNER };

static bool is_bytes(enum column column)
{
    return column == NAME || column == VALUE;
}

/* Bytes as hex digits between `begin` and `end`, or a number. */
static void add_cell(struct dbms *d, const struct dbms_slot *slot,
                     enum column column, const char *begin, const char *end)
{
    if (!is_bytes(column)) {
        buf_printf(&d->sql, "%" PRIu64,
                   column == CREATED   ? slot->created
                   : column == VERSION ? slot->version
                                       : slot->owner);
        return;
    }
    buf_str(&d->sql, begin);
    if (column == NAME) {
        dbms_hex(&d->sql, d->prefix, d->prefix_len);
        dbms_hex(&d->sql, slot->key, strlen(slot->key));
    } else {
        dbms_hex(&d->sql, slot->value, slot->value_len);
    }
    buf_str(&d->sql, end);
}

static void add_as_rows(struct dbms *d, const struct batch *b,
                        const enum column *columns, size_t n)
{
    const struct dbms_syntax *w = d->target.driver->syntax;

    assert(b->n > 0);
    assert(n > 0);
    assert(w->array == NULL);
    buf_str(&d->sql, " VALUES ");
    for (size_t i = 0; i < b->n; i++) {
        for (size_t c = 0; c < n; c++) {
            buf_str(&d->sql, c > 0 ? "," : i > 0 ? ",(" : "(");
            add_cell(d, b->slots[i], columns[c], w->bytes, w->bytes_end);
        }
        buf_char(&d->sql, ')');
    }
}

static void add_as_columns(struct dbms *d, const struct batch *b,
                           const enum column *columns, size_t n)
{
    const struct dbms_syntax *w = d->target.driver->syntax;

    assert(b->n > 0);
    assert(n > 0);
    assert(w->array != NULL);
    buf_str(&d->sql, " SELECT * FROM unnest(");
    for (size_t c = 0; c < n; c++) {
        buf_printf(&d->sql, "%s%s", c > 0 ? "," : "", w->array);
        for (size_t i = 0; i < b->n; i++) {
            buf_str(&d->sql, i > 0 ? "," : "");
            add_cell(d, b->slots[i], columns[c], w->array_item, "\"");
        }
        buf_str(&d->sql, is_bytes(columns[c]) ? w->array_bytes_end
                                              : w->array_numbers_end);
    }
    buf_char(&d->sql, ')');
}

static void add_batch(struct dbms *d, const struct batch *b,
                      const enum column *columns, size_t n)
{
    if (d->target.driver->syntax->array != NULL)
        add_as_columns(d, b, columns, n);
    else
        add_as_rows(d, b, columns, n);
}

/* --- what is written ----------------------------------------------------- */

static int write_rows(struct dbms *d, const struct batch *b, const char *end,
                      struct err *err)
{
    static const enum column columns[] = {NAME, VALUE, CREATED, VERSION, OWNER};

    assert(b->n > 0);
    assert(b->n <= DBMS_IN_MAX);
    dbms_start(d);
    buf_str(&d->sql, "INSERT INTO pelorus_registry(name, value, created,"
                     " version, owner)");
    add_batch(d, b, columns, ARRAY_LEN(columns));
    buf_str(&d->sql, end);
    return dbms_run(d, dbms_ignore_row, NULL, NULL, err);
}

static int delete_from(struct dbms *d, const char *table, const struct batch *b,
                       struct err *err)
{
    assert(b->n > 0);
    assert(b->n <= DBMS_IN_MAX);
    dbms_start(d);
    buf_printf(&d->sql, "DELETE FROM %s WHERE", table);
    for (size_t i = 0; i < b->n; i++)
        dbms_in_next(d, i, b->slots[i]->key);
    dbms_in_end(d);
    return dbms_run(d, dbms_ignore_row, NULL, NULL, err);
}

static int write_new_leases(struct dbms *d, const struct batch *b,
                            struct err *err)
{
    static const enum column columns[] = {NAME, OWNER};

    assert(b->n > 0);
    assert(b->n <= DBMS_IN_MAX);
    dbms_start(d);
    buf_str(&d->sql, "INSERT INTO pelorus_ephemeral(name, owner)");
    add_batch(d, b, columns, ARRAY_LEN(columns));
    return dbms_run(d, dbms_ignore_row, NULL, NULL, err);
}

static int by_key(const void *a, const void *b)
{
    const struct dbms_slot *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

/* One row of names for all of a batch: a row for each would cost as much as
 * the keys themselves. */
static int write_changes(struct dbms *d, const struct batch *b, struct err *err)
{
    const struct dbms_syntax *w = d->target.driver->syntax;
    const struct dbms_slot *sorted[DBMS_IN_MAX];

    assert(b->n > 0);
    assert(b->n <= DBMS_IN_MAX);
    dbms_start(d);
    buf_printf(&d->sql,
               "INSERT INTO pelorus_change(rev, part, names) VALUES(%" PRIu64
               ", %u, %s",
               d->txn.last, ++d->txn.parts, w->bytes);
    memcpy(sorted, b->slots, b->n * sizeof(sorted[0]));
    qsort(sorted, b->n, sizeof(sorted[0]), by_key);
    for (size_t i = 0; i < b->n; i++)
        dbms_feed_name(d, i == 0 ? "" : sorted[i - 1]->key, sorted[i]->key);
    buf_printf(&d->sql, "%s)", w->bytes_end);
    return dbms_run(d, dbms_ignore_row, NULL, NULL, err);
}

/* Nobody else can have made meanwhile what is inserted: the counter is ours. */
static int write_batch(struct dbms *d, const struct batch *b, enum step step,
                       struct err *err)
{
    assert(b->n > 0);
    assert(b->n <= DBMS_IN_MAX);
    switch (step) {
    case INSERTS:
        return write_rows(d, b, "", err);
    case UPDATES:
        return write_rows(d, b, d->target.driver->syntax->upsert, err);
    case DELETIONS:
        return delete_from(d, "pelorus_registry", b, err);
    case OLD_LEASES:
        return delete_from(d, "pelorus_ephemeral", b, err);
    case NEW_LEASES:
        return write_new_leases(d, b, err);
    default:
        return write_changes(d, b, err);
    }
}

static unsigned deepest(const struct dbms_txn *t)
{
    unsigned deepest = 0;

    for (size_t i = 0; i < t->n_slots; i++) {
        unsigned depth = t->slots[i].dirty ? dbms_depth(t->slots[i].key) : 0;

        deepest = depth > deepest ? depth : deepest;
    }
    return deepest;
}

/* Prune the feed now and then, and wake the others up. */
static int write_rest(struct dbms *d, struct err *err)
{
    uint64_t floor = d->txn.last - FEED_KEEP;
    unsigned depth = deepest(&d->txn);

    assert(d->inside);
    if (depth > d->txn.depth) {
        int rc;

        dbms_start(d);
        buf_printf(&d->sql, "UPDATE pelorus_meta SET depth = %u WHERE id = 1",
                   depth);
        rc = dbms_run(d, dbms_ignore_row, NULL, NULL, err);
        if (rc != 0)
            return rc;
    }
    dbms_start(d);
    if (d->txn.last > d->floor + FEED_KEEP + FEED_SLACK) {
        buf_printf(&d->sql,
                   "UPDATE pelorus_meta SET floor_rev = %" PRIu64
                   " WHERE id = 1;DELETE FROM pelorus_change WHERE rev <= "
                   "%" PRIu64,
                   floor, floor);
    } else {
        buf_str(&d->sql, "SELECT 1");
    }
    buf_str(&d->sql, d->target.driver->syntax->hint);
    return d->sql.len > strlen("SELECT 1")
               ? dbms_run(d, dbms_ignore_row, NULL, NULL, err)
               : 0;
}

int dbms_write(struct dbms *d, struct err *err)
{
    int rc = 0;

    assert(d->txn.open);
    assert(d->inside);
    for (int step = INSERTS; rc == 0 && step < STEPS; step++)
        rc = in_batches(d, (enum step)step, err);
    return rc != 0 ? rc : write_rest(d, err);
}
