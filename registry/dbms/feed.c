/*
 * feed.c - what changed since we last looked: our own feed, and what
 * differs in DolphinScheduler's tables.
 *
 * A row of the feed holds the names of the keys that a transaction changed;
 * the reader takes the present state of those that it wants. Revisions are
 * given in the order of commits, so whoever has read up to one has missed
 * nothing below it. What we wrote ourselves we know without reading.
 */
#include "registry/backend.h"
#include "registry/dbms/dbms_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct feed {
    struct dbms *d;
    struct sql_feed *at;
    sql_wanted_f *wanted;
    const void *arg;
    struct sql_rows *rows;
    uint64_t revision;
    struct sql_rows names;       /* of keys that changed and are wanted */
    size_t n, max;               /* names met */
    uint64_t last;               /* revision of the last row taken */
    char name[SQL_FULL_KEY_MAX]; /* the last one of the row being read */
    size_t len;
    bool full;
};

static void on_name(struct feed *f, const char *full, size_t len)
{
    const struct dbms_cell cell = {full, len};
    char name[REGISTRY_KEY_MAX + 1];
    const char *key = dbms_strip(f->d, &cell, &len);

    assert(len <= sizeof(f->name));
    f->n++;
    if (key == NULL || len > REGISTRY_KEY_MAX)
        return;
    memcpy(name, key, len);
    name[len] = '\0';
    if (f->wanted(f->arg, name) && !dbms_dolphin_has(f->d, name))
        (void)sql_rows_push(&f->names, name, len, NULL, 0);
}

/* See DBMS_SHARE_MAX. What is malformed is skipped: somebody else's hand. */
static void on_entry(struct feed *f, const char *entry, size_t len)
{
    char digits[3] = {0};
    size_t shared;

    assert(f->len <= sizeof(f->name));
    if (len < 2)
        return;
    memcpy(digits, entry, 2);
    shared = strtoul(digits, NULL, 16);
    if (shared > f->len || shared + len - 2 > sizeof(f->name))
        return;
    memcpy(f->name + shared, entry + 2, len - 2);
    f->len = shared + len - 2;
    on_name(f, f->name, f->len);
    assert(f->len <= sizeof(f->name));
}

/* A part of what one transaction changed. Its other parts belong to it: the
 * limit ends between transactions. */
static void on_change(struct feed *f, const struct dbms_cell *cells)
{
    const char *at = cells[2].p;
    size_t left = cells[2].n;
    uint64_t rev = dbms_u64(&cells[1]);

    assert(f->max > 0);
    f->full |= f->n >= f->max && rev != f->last;
    if (f->full)
        return;
    f->last = rev;
    f->len = 0;
    while (left > 0) {
        const char *end = memchr(at, DBMS_BREAK, left);
        size_t len = end == NULL ? left : (size_t)(end - at);

        on_entry(f, at, len);
        len += end != NULL;
        at += len;
        left -= len;
    }
}

/* The present state of a name; what is not told is gone. */
static void on_state(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct feed *f = arg;

    assert(n == 6);
    (void)n;
    dbms_push(f->d, f->rows, cells);
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

static int read_meta(struct dbms *d, uint64_t *revision, struct err *err)
{
    struct feed f = {.d = d};
    int rc;

    assert(!d->inside);
    add_meta(d);
    rc = dbms_run(d, on_row, &f, NULL, err);
    *revision = f.revision;
    return rc;
}

/* Both are in order. */
static void push_gone(struct feed *f, size_t from, size_t to, size_t found)
{
    size_t end = f->rows->n, at = found;

    assert(from <= to);
    assert(to <= f->names.n);
    assert(found <= f->rows->n);
    for (size_t i = from; i < to; i++) {
        const char *name = f->names.entries[i].key;

        if (at < end && strcmp(f->rows->entries[at].key, name) == 0)
            at++;
        else
            (void)sql_rows_push(f->rows, name, strlen(name), NULL, 0);
    }
}

static int read_states(struct feed *f, struct err *err)
{
    struct dbms *d = f->d;
    int rc = 0;

    assert(f->rows != NULL);
    sql_rows_sort(&f->names);
    for (size_t from = 0; rc == 0 && from < f->names.n; from += DBMS_IN_MAX) {
        size_t to = from + DBMS_IN_MAX, found = f->rows->n;

        to = to < f->names.n ? to : f->names.n;
        dbms_start_stream(d);
        buf_str(&d->sql, DBMS_ENTRIES);
        for (size_t i = from; i < to; i++)
            dbms_in_next(d, i - from, f->names.entries[i].key);
        dbms_in_end(d);
        rc = dbms_run(d, on_state, f, NULL, err);
        if (rc == 0 && f->rows->n > found) {
            qsort(f->rows->entries + found, f->rows->n - found,
                  sizeof(*f->rows->entries), sql_rows_compare);
        }
        if (rc == 0)
            push_gone(f, from, to, found);
    }
    return rc;
}

/* *missed: what we have not read was pruned, or the store stands before what
 * we have read. */
static int read_stored(struct feed *f, size_t max, bool *missed, bool *more,
                       struct err *err)
{
    struct dbms *d = f->d;
    uint64_t from = f->at->rev;
    int rc;

    assert(max > 0);
    assert(f->names.n == 0);
    f->max = max;
    add_meta(d);
    buf_printf(
        &d->sql,
        ";SELECT 'F', rev, names FROM pelorus_change WHERE rev >= %" PRIu64
        " ORDER BY rev, part",
        f->at->rev);
    rc = dbms_run(d, on_row, f, NULL, err);
    if (rc == 0)
        rc = read_states(f, err);
    sql_rows_close(&f->names);
    if (rc == 0) {
        *more = f->full;
        *missed = from <= d->floor || f->revision + 1 < from;
        /* The second statement may have seen more than the first. */
        sql_feed_advance(f->at, f->full || f->last > f->revision ? f->last
                                                                 : f->revision);
    }
    assert(f->names.n == 0);
    return rc;
}

/* What comes next we may have written ourselves. */
static bool read_own_memory(struct feed *f, bool *more)
{
    struct dbms *d = f->d;
    struct dbms_own *own = &d->own;
    bool ours =
        own->wanted && f->at->rev == own->base + 1 && own->last > own->base;

    assert(own->base <= own->last);
    for (size_t i = 0; ours && i < own->rows.n; i++) {
        const struct registry_entry *e = &own->rows.entries[i];

        if (f->wanted(f->arg, e->key) && !dbms_dolphin_has(d, e->key))
            sql_rows_copy(f->rows, e);
    }
    if (ours) {
        sql_feed_advance(f->at, own->last);
        *more = d->polled > own->last;
    }
    sql_rows_close(&own->rows);
    own->base = own->last;
    own->wanted = true;
    return ours;
}

int dbms_feed_read(struct sql_core *core, struct sql_feed *feed, size_t max,
                   sql_wanted_f *wanted, const void *arg, struct sql_rows *rows,
                   bool *missed, bool *more, struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct sql_feed before = *feed;
    struct feed f = {
        .d = d, .at = feed, .wanted = wanted, .arg = arg, .rows = rows};
    int rc = 0;

    assert(max > 0);
    assert(!d->inside);
    *missed = *more = false;
    if (!read_own_memory(&f, more))
        rc = read_stored(&f, max, missed, more, err);
    if (*missed) {
        sql_rows_close(rows);
        sql_feed_advance(feed, f.revision);
        *more = false;
    }
    if (rc == 0) {
        rc = dbms_dolphin_read(d, clock_mono_ms(), wanted, arg, rows, missed,
                               err);
    }
    if (rc != 0) /* the rows are dropped: they will be read again */
        *feed = before;
    return rc;
}

int dbms_feed_skip(struct sql_core *core, struct sql_feed *feed,
                   struct err *err)
{
    struct dbms *d = dbms_of(core);
    uint64_t revision;
    int rc = read_meta(d, &revision, err);

    if (rc == 0) {
        sql_feed_advance(feed, revision);
        dbms_dolphin_forget(d);
    }
    return rc;
}

/* --- what there is, in three numbers ------------------------------------- */

struct sums {
    struct registry_diff_sums *out;
    uint64_t revision;
};

static void on_sums(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct sums *s = arg;

    assert(n == 5 && cells[1].p != NULL);
    (void)n;
    s->out->keys = dbms_u64(&cells[1]);
    s->out->created = dbms_u64(&cells[2]);
    s->out->version = dbms_u64(&cells[3]);
    s->revision = dbms_u64(&cells[4]);
}

int dbms_sums(struct sql_core *core, const char *prefix,
              const struct sql_feed *feed, struct registry_diff_sums *out,
              struct err *err)
{
    static const char counter[] =
        "(SELECT revision FROM pelorus_meta WHERE id = 1)";
    struct dbms *d = dbms_of(core);
    struct sums s = {.out = out};
    int rc;

    assert(!d->inside);
    if (dbms_is_nodes(prefix))
        return err_set(err, ERR_INVALID, "not of ours alone");
    dbms_start(d);
    /* One statement: one moment. If it is not the right one nothing is read. */
    buf_printf(&d->sql,
               "SELECT 'S', count(*), coalesce(sum(created), 0),"
               " coalesce(sum(version), 0), %s FROM pelorus_registry WHERE %s"
               " = %" PRIu64 " AND ",
               counter, counter, feed->rev - 1);
    dbms_range(d, "name", prefix, true);
    /* As diff.c has it: what is persistent and empty, or too long, is no
     * key. */
    buf_printf(&d->sql,
               " AND (owner <> 0 OR octet_length(value) > 0)"
               " AND octet_length(name) <= %zu",
               d->prefix_len + REGISTRY_KEY_MAX);
    rc = dbms_run(d, on_sums, &s, NULL, err);
    if (rc == 0 && s.revision != feed->rev - 1)
        rc = err_set(err, ERR_CONFLICT, "others write");
    return rc;
}

/* --- did anything change? ------------------------------------------------ */

int dbms_changed(struct sql_core *core, bool interested, bool *changed,
                 struct err *err)
{
    struct dbms *d = dbms_of(core);
    uint64_t revision = 0;
    bool due = false;
    int rc;

    assert(!d->inside);
    *changed = false;
    if (!interested) {
        sql_rows_close(&d->own.rows);
        d->own.wanted = false;
        return 0;
    }
    rc = read_meta(d, &revision, err);
    if (rc == 0)
        rc = dbms_dolphin_due(d, clock_mono_ms(), &due, err);
    if (rc == 0) {
        *changed = due || revision != d->polled;
        d->polled = d->revision = revision;
    }
    return rc;
}
