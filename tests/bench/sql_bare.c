/*
 * sql_bare.c - one connection, no threads, no feed, no sessions: what the
 * statements themselves cost. Literals are those of the core: the bytes that
 * go to the server are the same.
 */
#include "tests/bench/sql_bare.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bare {
    const struct dbms_driver *driver;
    struct dbms_link *link;
    struct buf sql;
    struct move_item *items;
    size_t n_rows; /* told */
};

static void count_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)cells;
    (void)n;
    ((struct bare *)arg)->n_rows++;
}

static void run(struct bare *b)
{
    struct err err = {0};

    if (b->sql.overflow || b->driver->run(b->link, b->sql.data, b->sql.len,
                                          count_row, b, &err) != DBMS_OK) {
        (void)fprintf(stderr, "sql_bare: %s\n", err.msg);
        exit(1);
    }
    buf_reset(&b->sql);
}

static void hex(struct bare *b, const char *s)
{
    static const char digits[] = "0123456789abcdef";
    char out[2 * MOVE_VALUE_MAX + 2];
    size_t n = 0;

    for (; *s != '\0' && n < sizeof(out) - 2; s++) {
        out[n++] = digits[(unsigned char)*s >> 4];
        out[n++] = digits[(unsigned char)*s & 15];
    }
    buf_add(&b->sql, out, n);
}

/* One of a list of `n`; the words around it. */
static void literal(struct bare *b, const char *s)
{
    const struct dbms_syntax *w = b->driver->syntax;

    buf_str(&b->sql, w->array != NULL ? "\"\\\\x" : w->bytes);
    hex(b, s);
    buf_str(&b->sql, w->array != NULL ? "\"" : w->bytes_end);
}

typedef const char *text_f(struct bare *b, size_t i, struct move_values *v);

static const char *record_key(struct bare *b, size_t i, struct move_values *v)
{
    (void)v;
    return b->items[i].record;
}

static const char *old_key(struct bare *b, size_t i, struct move_values *v)
{
    (void)v;
    return b->items[i].old_marker;
}

static const char *new_key(struct bare *b, size_t i, struct move_values *v)
{
    (void)v;
    return b->items[i].new_marker;
}

static const char *record_before(struct bare *b, size_t i,
                                 struct move_values *v)
{
    (void)b;
    move_before(i, v);
    return v->record;
}

static const char *marker_before(struct bare *b, size_t i,
                                 struct move_values *v)
{
    (void)b;
    move_before(i, v);
    return v->marker;
}

static const char *record_after(struct bare *b, size_t i, struct move_values *v)
{
    (void)b;
    move_after(i, v);
    return v->record;
}

static const char *marker_after(struct bare *b, size_t i, struct move_values *v)
{
    (void)b;
    move_after(i, v);
    return v->marker;
}

static void column(struct bare *b, text_f *text, size_t from, size_t to)
{
    struct move_values v;

    for (size_t i = from; i < to; i++) {
        buf_str(&b->sql, i > from ? "," : "");
        literal(b, text(b, i, &v));
    }
}

/* Rows of key, value and `version`; with `upsert` over those that are there. */
static void put(struct bare *b, text_f *key, text_f *value, size_t from,
                size_t to, int version, bool upsert)
{
    const struct dbms_syntax *w = b->driver->syntax;
    struct move_values v;

    if (w->array != NULL) {
        buf_printf(&b->sql,
                   "INSERT INTO bare(name, value, version) SELECT n, v, %d "
                   "FROM unnest(%s",
                   version, w->array);
        column(b, key, from, to);
        buf_printf(&b->sql, "%s,%s", w->array_bytes_end, w->array);
        column(b, value, from, to);
        buf_printf(&b->sql, "%s) AS t(n, v)%s", w->array_bytes_end,
                   upsert ? " ON CONFLICT (name) DO UPDATE SET value ="
                            " EXCLUDED.value, version = EXCLUDED.version"
                          : "");
    } else {
        buf_str(&b->sql, "INSERT INTO bare(name, value, version) VALUES ");
        for (size_t i = from; i < to; i++) {
            buf_str(&b->sql, i > from ? ",(" : "(");
            literal(b, key(b, i, &v));
            buf_char(&b->sql, ',');
            literal(b, value(b, i, &v));
            buf_printf(&b->sql, ",%d)", version);
        }
        buf_str(&b->sql, upsert ? " ON DUPLICATE KEY UPDATE value ="
                                  " VALUES(value), version = VALUES(version)"
                                : "");
    }
    run(b);
}

/* "... WHERE name IN (...)" */
static void by_name(struct bare *b, const char *verb, text_f *key, size_t from,
                    size_t to)
{
    const struct dbms_syntax *w = b->driver->syntax;

    buf_printf(&b->sql, "%s FROM bare WHERE name %s", verb,
               w->array != NULL ? "= ANY(" : "IN (");
    buf_str(&b->sql, w->array != NULL ? w->array : "");
    column(b, key, from, to);
    buf_printf(&b->sql, "%s)", w->array != NULL ? w->array_bytes_end : "");
    run(b);
}

static void fill(struct bare *b, size_t n)
{
    bool arrays = b->driver->syntax->array != NULL;

    buf_printf(&b->sql,
               "DROP TABLE IF EXISTS bare;CREATE TABLE bare(name %s NOT NULL "
               "PRIMARY KEY, value %s NOT NULL, version bigint NOT NULL)",
               arrays ? "bytea" : "varbinary(400)",
               arrays ? "bytea" : "mediumblob");
    run(b);
    for (size_t i = 0; i < n; i += MOVE_PAGE) {
        size_t to = i + MOVE_PAGE < n ? i + MOVE_PAGE : n;

        put(b, record_key, record_before, i, to, 1, false);
        put(b, old_key, marker_before, i, to, 1, false);
    }
}

void sql_bare_move(const struct dbms_target *target, struct move_item *items,
                   size_t n, struct move_result *result)
{
    struct bare b = {.driver = target->driver, .items = items};
    uint64_t start;
    struct err err;

    if (b.driver->connect(&b.link, target, &err) != DBMS_OK) {
        (void)fprintf(stderr, "sql_bare: %s\n", err.msg);
        exit(1);
    }
    buf_init(&b.sql, 64u << 20);
    fill(&b, n);
    result->cpu_ms = -move_cpu_ms();
    start = clock_mono_ns();
    for (size_t i = 0; i < n; i += MOVE_PAGE) {
        size_t to = i + MOVE_PAGE < n ? i + MOVE_PAGE : n;

        by_name(&b, "SELECT name, value, version", old_key, i, to);
        by_name(&b, "SELECT name, value, version", record_key, i, to);
    }
    result->read_ms = move_ms_since(start);
    for (size_t i = 0; i < n; i += result->batch) {
        size_t to = i + result->batch < n ? i + result->batch : n;

        buf_str(&b.sql, "BEGIN;SELECT id FROM t_ds_jdbc_registry_lock WHERE "
                        "id = 1");
        buf_str(&b.sql, b.driver->syntax->share);
        run(&b);
        by_name(&b, "SELECT name, version", record_key, i, to);
        put(&b, record_key, record_after, i, to, 2, true);
        by_name(&b, "DELETE", old_key, i, to);
        put(&b, new_key, marker_after, i, to, 2, false);
        buf_str(&b.sql, "COMMIT");
        run(&b);
        result->txns++;
    }
    result->all_ms = move_ms_since(start);
    result->move_ms = result->all_ms - result->read_ms;
    result->cpu_ms += move_cpu_ms();
    buf_str(&b.sql, "DROP TABLE bare");
    run(&b);
    buf_close(&b.sql);
    b.driver->close(&b.link);
}
