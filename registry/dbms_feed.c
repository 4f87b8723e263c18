/*
 * dbms_feed.c - what changed since we last looked: our own feed, and what
 * differs in DolphinScheduler's tables.
 *
 * A row of the feed says only which key changed; the reader takes the key's
 * present state. Revisions are given in the order of commits, so whoever has
 * read up to one has missed nothing below it.
 */
#include "registry/dbms.h"

#include <inttypes.h>
#include <string.h>

struct feed {
    struct dbms *d;
    struct sql_feed *at;
    sql_wanted_f *wanted;
    const void *arg;
    struct sql_rows *rows;
    uint64_t revision;
    size_t n;
    bool full;
};

/* (rev, "\xff...") would be the end of a revision; (rev + 1, "") is the same
 * and needs no greatest key: no key is empty. */
static void advance_past(struct sql_feed *feed, uint64_t rev)
{
    feed->rev = rev + 1;
    feed->key[0] = '\0';
}

static void on_change(struct feed *f, const struct dbms_cell *cells)
{
    size_t len;
    const char *key = dbms_strip(f->d, &cells[1], &len);
    char name[REGISTRY_KEY_MAX + 1];

    f->full |= f->rows->bytes >= SQL_PAGE_BYTES;
    if (f->full || cells[1].n >= sizeof(f->at->key)) {
        return;
    }
    f->n++;
    f->at->rev = dbms_u64(&cells[6]);
    memcpy(f->at->key, cells[1].p, cells[1].n);
    f->at->key[cells[1].n] = '\0';
    if (key == NULL || len > REGISTRY_KEY_MAX) {
        return;
    }
    memcpy(name, key, len);
    name[len] = '\0';
    if (f->wanted(f->arg, name) && !dbms_dolphin_has(f->d, name)) {
        dbms_push(f->d, f->rows, cells);
    }
}

static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct feed *f = arg;

    assert(n >= 2 && cells[0].p != NULL);
    (void)n;
    if (cells[0].p[0] == 'M') {
        f->revision = dbms_u64(&cells[1]);
        f->d->floor = dbms_u64(&cells[2]);
    } else {
        on_change(f, cells);
    }
}

static void add_meta(struct dbms *d)
{
    dbms_start_stream(d);
    buf_str(&d->sql,
            "SELECT 'M', revision, floor_rev FROM pelorus_meta WHERE id = 1");
}

static int read_own(struct feed *f, size_t max, bool *more, struct err *err)
{
    struct dbms *d = f->d;
    int rc;

    add_meta(d);
    buf_printf(&d->sql,
               ";SELECT 'F', c.name, n.value, n.created, n.version, n.owner,"
               " c.rev FROM pelorus_change c LEFT JOIN pelorus_registry n"
               " ON n.name = c.name WHERE c.rev >= %" PRIu64
               " AND (c.rev > %" PRIu64 " OR c.name > ",
               f->at->rev, f->at->rev);
    dbms_bytes(d, f->at->key, strlen(f->at->key));
    buf_printf(&d->sql,
               ") AND (n.version IS NULL OR n.version <= c.rev)"
               " ORDER BY c.rev, c.name LIMIT %zu",
               max);
    rc = dbms_run(d, on_row, f, NULL, err);
    if (rc != 0) {
        return rc;
    }
    *more = f->full || f->n == max;
    if (!*more) {
        /* The second statement may have seen more than the first. */
        advance_past(f->at, f->n > 0 && f->at->rev > f->revision ? f->at->rev
                                                                 : f->revision);
    }
    return 0;
}

int dbms_feed_read(struct sql_core *core, struct sql_feed *feed, size_t max,
                   sql_wanted_f *wanted, const void *arg, struct sql_rows *rows,
                   bool *missed, bool *more, struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct sql_feed before = *feed;
    struct feed f = {
        .d = d, .at = feed, .wanted = wanted, .arg = arg, .rows = rows};
    int rc = read_own(&f, max, more, err);

    *missed = rc == 0 && before.rev <= d->floor;
    if (*missed) {
        sql_rows_close(rows);
        advance_past(feed, f.revision);
        *more = false;
    }
    if (rc == 0) {
        rc = dbms_dolphin_read(d, clock_mono_ms(), wanted, arg, rows, missed,
                               err);
    }
    if (rc != 0) { /* the rows are dropped: they will be read again */
        *feed = before;
    }
    return rc;
}

int dbms_feed_skip(struct sql_core *core, struct sql_feed *feed,
                   struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct feed f = {.d = d, .at = feed};
    int rc;

    add_meta(d);
    rc = dbms_run(d, on_row, &f, NULL, err);
    if (rc == 0) {
        advance_past(feed, f.revision);
        dbms_dolphin_forget(d);
    }
    return rc;
}

int dbms_changed(struct sql_core *core, bool interested, bool *changed,
                 struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct feed f = {.d = d};
    bool due = false;
    int rc;

    *changed = false;
    if (!interested) {
        return 0;
    }
    add_meta(d);
    rc = dbms_run(d, on_row, &f, NULL, err);
    if (rc == 0) {
        rc = dbms_dolphin_due(d, clock_mono_ms(), &due, err);
    }
    if (rc == 0) {
        *changed = due || f.revision != d->polled;
        d->polled = f.revision;
        d->revision = f.revision;
    }
    return rc;
}
