/*
 * write.c - writing the outcome of a group: statements of many rows, in
 * requests of about a megabyte.
 */
#include "registry/dbms/txn.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FEED_KEEP  200000 /* revisions; one of ours is one key at least */
#define BULK_MIN   32     /* rows; fewer are sooner written as text */
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
    ASSUMED, /* deletions */
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
        return !slot->exists && slot->stored && !slot->assumed;
    case ASSUMED:
        return !slot->exists && slot->stored && slot->assumed;
    case OLD_LEASES:
        return slot->lease && (!slot->exists || fresh);
    case NEW_LEASES:
        return slot->owner != 0 && fresh;
    default:
        return true;
    }
}

static void add_statement(struct dbms *d, const struct batch *b,
                          enum step step);

/* --- requests ------------------------------------------------------------ */

/* What is deleted upon an assumption says how it stood. */
static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct dbms *d = arg;
    struct dbms_slot *slot;
    const char *key;
    size_t len;

    if (n != 4 || cells[0].p == NULL || cells[0].p[0] != 'A')
        return;
    key = dbms_strip(d, &cells[1], &len);
    slot = key == NULL ? NULL : dbms_slot_find(&d->txn, key, len);
    if (slot == NULL || !slot->assumed || slot->proved ||
        dbms_u64(&cells[2]) != slot->op->version || dbms_u64(&cells[3]) != 0)
        return;
    assert(d->txn.n_unproved > 0);
    slot->proved = true;
    d->txn.n_unproved--;
}

static int run(struct dbms *d, enum dbms_fault *fault, struct err *err)
{
    int rc = d->sql.len > 0 ? dbms_run(d, on_row, d, fault, err) : 0;

    dbms_start(d);
    return rc;
}

/* Another statement, or another request if this one is full. */
static int begin_statement(struct dbms *d, enum dbms_fault *fault,
                           struct err *err)
{
    assert(d->inside);
    if (d->sql.len > DBMS_SQL_FULL / 2)
        return run(d, fault, err);
    if (d->sql.len > 0)
        buf_char(&d->sql, ';');
    return 0;
}

#define COLUMNS " INTO pelorus_registry(name,value,created,version,owner)"

static const char *verb_of(const struct dbms *d, enum step step)
{
    return step == INSERTS ? "INSERT" : d->target.driver->syntax->put;
}

static const char *end_of(const struct dbms *d, enum step step)
{
    return step == INSERTS ? "" : d->target.driver->syntax->upsert;
}

/* INSERTS and UPDATES as columns, where the driver can. */
static int insert_batch(struct dbms *d, const struct batch *b, enum step step,
                        enum dbms_fault *fault, struct err *err)
{
    const char *names[DBMS_IN_MAX], *values[DBMS_IN_MAX];
    unsigned long name_lens[DBMS_IN_MAX], value_lens[DBMS_IN_MAX];
    uint64_t created[DBMS_IN_MAX], version[DBMS_IN_MAX], owner[DBMS_IN_MAX];
    const struct dbms_column columns[] = {{.p = names, .len = name_lens},
                                          {.p = values, .len = value_lens},
                                          {.numbers = created},
                                          {.numbers = version},
                                          {.numbers = owner}};
    struct buf text, sql;
    int rc;

    buf_init(&text, DBMS_IN_MAX * SQL_FULL_KEY_MAX);
    for (size_t i = 0; i < b->n; i++) {
        const struct dbms_slot *slot = b->slots[i];

        name_lens[i] = d->prefix_len + strlen(slot->key);
        buf_add(&text, d->prefix, d->prefix_len);
        buf_str(&text, slot->key);
        values[i] = slot->value;
        value_lens[i] = slot->value_len;
        created[i] = slot->created;
        version[i] = slot->version;
        owner[i] = slot->owner;
    }
    assert(!text.overflow);
    for (size_t i = 0, at = 0; i < b->n; at += name_lens[i++])
        names[i] = text.data + at;
    buf_init(&sql, 1024);
    buf_printf(&sql, "%s" COLUMNS "VALUES(?,?,?,?,?)%s", verb_of(d, step),
               end_of(d, step));
    rc = dbms_insert(d, buf_text(&sql), columns, ARRAY_LEN(columns), b->n,
                     fault, err);
    buf_close(&text);
    buf_close(&sql);
    return rc;
}

static bool goes_as_columns(const struct dbms *d, const struct batch *b,
                            enum step step)
{
    const struct dbms_driver *driver = d->target.driver;

    return (step == INSERTS || step == UPDATES) && b->n >= BULK_MIN &&
           driver->inserts != NULL && driver->inserts(d->link, step == UPDATES);
}

static int write_batch(struct dbms *d, const struct batch *b, enum step step,
                       enum dbms_fault *fault, struct err *err)
{
    int rc;

    assert(b->n > 0);
    assert(b->n <= DBMS_IN_MAX);
    if (goes_as_columns(d, b, step))
        return insert_batch(d, b, step, fault, err);
    rc = begin_statement(d, fault, err);
    if (rc == 0)
        add_statement(d, b, step);
    if (step == ASSUMED)
        d->txn.n_unproved += b->n;
    return rc;
}

/* All slots of a step, a batch at a time. */
static int in_batches(struct dbms *d, enum step step, enum dbms_fault *fault,
                      struct err *err)
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
            rc = write_batch(d, &b, step, fault, err);
            b.n = b.bytes = 0;
        }
    }
    return rc == 0 && b.n > 0 ? write_batch(d, &b, step, fault, err) : rc;
}

/* --- as rows, or as columns where the server takes arrays ---------------- */

enum column { NAME, VALUE, CREATED, VERSION, OWNER };

static bool is_bytes(enum column column)
{
    return column == NAME || column == VALUE;
}

static uint64_t number_of(const struct dbms_slot *slot, enum column column)
{
    return column == CREATED   ? slot->created
           : column == VERSION ? slot->version
                               : slot->owner;
}

/* Of a row. */
static void add_cell(struct dbms *d, const struct dbms_slot *slot,
                     enum column column)
{
    if (column == NAME)
        dbms_key(d, slot->key);
    else if (column == VALUE)
        dbms_bytes(d, slot->value, slot->value_len);
    else
        buf_u64(&d->sql, number_of(slot, column));
}

/* Of an array: bytes as hex digits between `begin` and `end`, or a number. */
static void add_item(struct dbms *d, const struct dbms_slot *slot,
                     enum column column, const char *begin, const char *end)
{
    if (!is_bytes(column)) {
        buf_u64(&d->sql, number_of(slot, column));
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
    assert(b->n > 0);
    assert(n > 0);
    assert(d->target.driver->syntax->array == NULL);
    buf_str(&d->sql, "VALUES");
    for (size_t i = 0; i < b->n; i++) {
        for (size_t c = 0; c < n; c++) {
            buf_str(&d->sql, c > 0 ? "," : i > 0 ? ",(" : "(");
            add_cell(d, b->slots[i], columns[c]);
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
            add_item(d, b->slots[i], columns[c], w->array_item, "\"");
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

static void add_rows(struct dbms *d, const struct batch *b, enum step step)
{
    static const enum column columns[] = {NAME, VALUE, CREATED, VERSION, OWNER};

    buf_printf(&d->sql, "%s" COLUMNS, verb_of(d, step));
    add_batch(d, b, columns, ARRAY_LEN(columns));
    buf_str(&d->sql, end_of(d, step));
}

static void add_delete(struct dbms *d, const char *table, const struct batch *b,
                       const char *end)
{
    buf_printf(&d->sql, "DELETE FROM %s WHERE", table);
    for (size_t i = 0; i < b->n; i++)
        dbms_in_next(d, i, b->slots[i]->key);
    dbms_in_end(d);
    buf_str(&d->sql, end);
}

static void add_new_leases(struct dbms *d, const struct batch *b)
{
    static const enum column columns[] = {NAME, OWNER};

    buf_str(&d->sql, "INSERT INTO pelorus_ephemeral(name,owner)");
    add_batch(d, b, columns, ARRAY_LEN(columns));
}

static int by_key(const void *a, const void *b)
{
    const struct dbms_slot *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

/* One row of names for all of a batch: a row for each would cost as much as
 * the keys themselves. */
static void add_changes(struct dbms *d, const struct batch *b)
{
    const struct dbms_slot *sorted[DBMS_IN_MAX];
    struct buf names;

    buf_init(&names, DBMS_IN_MAX * (SQL_FULL_KEY_MAX + 4));
    memcpy(sorted, b->slots, b->n * sizeof(sorted[0]));
    qsort(sorted, b->n, sizeof(sorted[0]), by_key);
    for (size_t i = 0; i < b->n; i++)
        dbms_feed_name(d, &names, i == 0 ? "" : sorted[i - 1]->key,
                       sorted[i]->key);
    dbms_feed_row(d, d->txn.last, ++d->txn.parts, &names);
    buf_close(&names);
}

/* Nobody else can have made meanwhile what is inserted: the counter is ours. */
static void add_statement(struct dbms *d, const struct batch *b, enum step step)
{
    switch (step) {
    case INSERTS:
    case UPDATES:
        add_rows(d, b, step);
        break;
    case DELETIONS:
        add_delete(d, "pelorus_registry", b, "");
        break;
    case ASSUMED:
        add_delete(d, "pelorus_registry", b,
                   " RETURNING 'A', name, version, owner");
        break;
    case OLD_LEASES:
        add_delete(d, "pelorus_ephemeral", b, "");
        break;
    case NEW_LEASES:
        add_new_leases(d, b);
        break;
    case CHANGES:
        add_changes(d, b);
        break;
    case STEPS:
        assert(step != STEPS);
        break;
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
static int write_rest(struct dbms *d, enum dbms_fault *fault, struct err *err)
{
    uint64_t floor = d->txn.last - FEED_KEEP;
    unsigned depth = deepest(&d->txn);
    int rc = 0;

    assert(d->inside);
    if (depth > d->txn.depth) {
        rc = begin_statement(d, fault, err);
        buf_printf(&d->sql, "UPDATE pelorus_meta SET depth = %u WHERE id = 1",
                   depth);
    }
    if (rc == 0 && d->txn.last > d->floor + FEED_KEEP + FEED_SLACK) {
        rc = begin_statement(d, fault, err);
        buf_printf(&d->sql,
                   "UPDATE pelorus_meta SET floor_rev = %" PRIu64
                   " WHERE id = 1;DELETE FROM pelorus_change WHERE rev <= "
                   "%" PRIu64,
                   floor, floor);
    }
    if (d->target.driver->syntax->hint[0] != '\0')
        buf_printf(&d->sql, "%s%s", d->sql.len > 0 ? "" : "SELECT 1",
                   d->target.driver->syntax->hint);
    return rc != 0 ? rc : run(d, fault, err);
}

int dbms_write(struct dbms *d, enum dbms_fault *fault, struct err *err)
{
    int rc = 0;

    assert(d->txn.open);
    assert(d->inside);
    dbms_start(d);
    d->txn.n_unproved = 0;
    for (int step = INSERTS; rc == 0 && step < STEPS; step++)
        rc = in_batches(d, (enum step)step, fault, err);
    return rc != 0 ? rc : write_rest(d, fault, err);
}
