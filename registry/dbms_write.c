/*
 * dbms_write.c - writing the outcome of a group: statements of many rows, in
 * requests of about a megabyte.
 */
#include "registry/dbms_txn.h"

#include <inttypes.h>
#include <string.h>

#define FEED_KEEP  200000 /* revisions; one of ours is one key at least */
#define FEED_SLACK 5000   /* prune in steps, not at every commit */

static void ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

/* A statement of many rows that is sent when it has grown large. */
struct batch {
    struct dbms *d;
    const char *head, *tail;
    size_t n;
};

static int batch_end(struct batch *b, struct err *err)
{
    if (b->n == 0) {
        return 0;
    }
    b->n = 0;
    buf_str(&b->d->sql, b->tail);
    return dbms_run(b->d, ignore_row, NULL, NULL, err);
}

/* Room for one more row. */
static int batch_next(struct batch *b, struct err *err)
{
    int rc = b->d->sql.len > DBMS_SQL_FULL ? batch_end(b, err) : 0;

    if (b->n++ == 0) {
        dbms_start(b->d);
        buf_str(&b->d->sql, b->head);
    } else {
        buf_char(&b->d->sql, ',');
    }
    return rc;
}

static int write_rows(struct dbms *d, struct err *err)
{
    struct batch b = {.d = d,
                      .head = "INSERT INTO pelorus_registry(name, value,"
                              " created, version, owner) VALUES ",
                      .tail = d->target.driver->words->upsert};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < d->txn.n_slots; i++) {
        const struct dbms_slot *slot = &d->txn.slots[i];

        if (!slot->dirty || !slot->exists) {
            continue;
        }
        rc = batch_next(&b, err);
        buf_char(&d->sql, '(');
        dbms_key(d, slot->key);
        buf_char(&d->sql, ',');
        dbms_bytes(d, slot->value, slot->value_len);
        buf_printf(&d->sql, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ")",
                   slot->created, slot->version, slot->owner);
    }
    return rc != 0 ? rc : batch_end(&b, err);
}

static int write_deletions(struct dbms *d, struct err *err)
{
    struct batch b = {.d = d,
                      .head = "DELETE FROM pelorus_registry WHERE name IN (",
                      .tail = ")"};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < d->txn.n_slots; i++) {
        const struct dbms_slot *slot = &d->txn.slots[i];

        if (!slot->dirty || slot->exists || !slot->stored) {
            continue;
        }
        if (b.n >= DBMS_IN_MAX) {
            rc = batch_end(&b, err);
        }
        rc = rc != 0 ? rc : batch_next(&b, err);
        dbms_key(d, slot->key);
    }
    return rc != 0 ? rc : batch_end(&b, err);
}

static int write_changes(struct dbms *d, struct err *err)
{
    struct batch b = {.d = d,
                      .head = "INSERT INTO pelorus_change(rev, name) VALUES ",
                      .tail = ""};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < d->txn.n_slots; i++) {
        const struct dbms_slot *slot = &d->txn.slots[i];

        if (slot->dirty) {
            rc = batch_next(&b, err);
            buf_printf(&d->sql, "(%" PRIu64 ",", slot->version);
            dbms_key(d, slot->key);
            buf_char(&d->sql, ')');
        }
    }
    return rc != 0 ? rc : batch_end(&b, err);
}

/* Prune the feed now and then, and wake the others up. */
static int write_rest(struct dbms *d, struct err *err)
{
    uint64_t floor = d->txn.last - FEED_KEEP;

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
    buf_str(&d->sql, d->target.driver->words->hint);
    return d->sql.len > strlen("SELECT 1")
               ? dbms_run(d, ignore_row, NULL, NULL, err)
               : 0;
}

int dbms_write(struct dbms *d, struct err *err)
{
    int rc = write_rows(d, err);

    if (rc == 0) {
        rc = write_deletions(d, err);
    }
    if (rc == 0) {
        rc = write_changes(d, err);
    }
    return rc != 0 ? rc : write_rest(d, err);
}
