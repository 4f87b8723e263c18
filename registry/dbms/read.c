/*
 * read.c - reading keys: our own table, and below /nodes
 * DolphinScheduler's as well. Of a key that stands in both, DolphinScheduler's
 * row is told.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

/* Rows of ours (tag K) and of DolphinScheduler's (tag D), until a page is
 * full; the rest only flows by. */
struct page {
    struct dbms *d;
    size_t limit;
    struct sql_rows own, theirs;
};

static void on_page_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct page *p = arg;
    struct dbms_data data;
    const char *key;
    size_t len;

    assert(p->limit > 0);
    assert(n >= 2 && cells[0].p != NULL);
    (void)n;
    switch (cells[0].p[0]) {
    case 'M':
        p->d->revision = dbms_u64(&cells[1]);
        break;
    case 'K':
        key = dbms_strip(p->d, &cells[1], &len);
        if (key != NULL && !sql_rows_full(&p->own, p->limit, key, len))
            dbms_push(p->d, &p->own, cells);
        break;
    default:
        dbms_data_parse(cells, &data);
        if (dbms_data_alive(p->d, &data) &&
            !sql_rows_full(&p->theirs, p->limit, data.key, data.key_len))
            dbms_data_push(&p->theirs, &data);
        break;
    }
}

static void page_close(struct page *p)
{
    sql_rows_close(&p->own);
    sql_rows_close(&p->theirs);
}

/* With the revision first: what is seen is at least as new. */
static void start_page(struct dbms *d)
{
    dbms_start_stream(d);
    buf_str(&d->sql, "SELECT 'M', revision FROM pelorus_meta WHERE id = 1;");
}

/* --- one key ------------------------------------------------------------- */

int dbms_get(struct sql_core *core, const char *key, struct sql_rows *rows,
             struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct page p = {.d = d, .limit = 1};
    struct sql_rows *found;
    int rc;

    assert(key[0] == '/');
    assert(rows->n == 0);
    start_page(d);
    buf_str(&d->sql, DBMS_ENTRIES "name = ");
    dbms_key(d, key);
    if (registry_key_below(key, DBMS_NODES)) {
        buf_str(&d->sql, ";SELECT 'D', " DBMS_DATA_COLUMNS
                         " FROM t_ds_jdbc_registry_data WHERE data_key = ");
        dbms_text(d, key);
    }
    rc = dbms_run(d, on_page_row, &p, NULL, err);
    found = p.theirs.n > 0 && strcmp(p.theirs.entries[0].key, key) == 0
                ? &p.theirs
                : &p.own;
    if (rc == 0 && found->n == 0)
        rc = sql_no_key(key, err);
    if (rc == 0) {
        *rows = *found;
        memset(found, 0, sizeof(*found));
    }
    page_close(&p);
    return rc;
}

/* Of ours only; those below /nodes are asked for one by one. */
int dbms_get_many(struct sql_core *core, const char *const *keys, size_t n,
                  struct sql_rows *rows, struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct page p = {.d = d, .limit = SIZE_MAX};
    size_t asked = 0;
    int rc;

    assert(n > 0);
    assert(rows->n == 0);
    start_page(d);
    buf_str(&d->sql, DBMS_ENTRIES);
    for (size_t i = 0; i < n; i++)
        if (!registry_key_below(keys[i], DBMS_NODES))
            dbms_in_next(d, asked++, keys[i]);
    dbms_in_end(d);
    rc = asked == 0 ? 0 : dbms_run(d, on_page_row, &p, NULL, err);
    if (rc == 0 && p.own.next == NULL) {
        *rows = p.own;
        memset(&p.own, 0, sizeof(p.own));
        sql_rows_sort(rows);
    } else if (rc == 0) { /* a page was full: one by one */
        rc = err_set(err, ERR_TOO_LARGE, "too much at once");
    }
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct sql_rows one = {0};

        if (registry_key_below(keys[i], DBMS_NODES)) {
            rc = dbms_get(core, keys[i], &one, err);
            rc = rc == ERR_NOT_FOUND ? 0 : rc;
            if (one.n > 0)
                sql_rows_copy(rows, &one.entries[0]);
            sql_rows_close(&one);
        }
    }
    sql_rows_sort(rows);
    page_close(&p);
    return rc;
}

int dbms_exists(struct sql_core *core, const char *key, struct err *err)
{
    struct dbms *d = dbms_of(core);
    const char *key_of = d->target.driver->syntax->key_of;
    bool found = false;
    int rc;

    assert(key[0] == '/');
    dbms_start(d);
    buf_str(&d->sql, "SELECT 1 FROM pelorus_registry WHERE name = ");
    dbms_key(d, key);
    buf_str(&d->sql, ";SELECT 1 FROM pelorus_registry WHERE ");
    dbms_range(d, "name", key, true);
    buf_str(&d->sql, " LIMIT 1");
    if (dbms_is_nodes(key)) {
        buf_printf(
            &d->sql,
            ";SELECT 1 FROM t_ds_jdbc_registry_data WHERE %s = ", key_of);
        dbms_bytes(d, key, strlen(key));
        buf_str(&d->sql, " OR ");
        dbms_range(d, key_of, key, false);
        buf_str(&d->sql, " LIMIT 1");
    }
    rc = dbms_run(d, dbms_any_row, &found, NULL, err);
    if (rc == 0 && !found)
        rc = sql_no_key(key, err);
    return rc;
}

/* --- names --------------------------------------------------------------- */

struct names {
    const struct dbms *d;
    struct sql_rows *rows;
    size_t parent_len; /* with its slash */
};

static void on_name(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct names *names = arg;
    const char *key = cells[1].p;
    size_t len = cells[1].n;
    const struct registry_entry *last;

    assert(names->parent_len > 0);
    assert(n == 2 && key != NULL);
    (void)n;
    if (cells[0].p[0] == 'K')
        key = dbms_strip(names->d, &cells[1], &len);
    else if (!registry_key_below(key, DBMS_NODES))
        return;
    if (key == NULL || len <= names->parent_len)
        return;
    key += names->parent_len;
    len = strcspn(key, "/");
    last =
        names->rows->n == 0 ? NULL : &names->rows->entries[names->rows->n - 1];
    if (last == NULL || strlen(last->key) != len ||
        memcmp(last->key, key, len) != 0)
        (void)sql_rows_push(names->rows, key, len, NULL, 0);
}

int dbms_children(struct sql_core *core, const char *key, struct sql_rows *rows,
                  struct err *err)
{
    struct dbms *d = dbms_of(core);
    const char *key_of = d->target.driver->syntax->key_of;
    struct names names = {.d = d, .rows = rows};
    int rc;

    assert(key[0] == '/');
    assert(rows->n == 0);
    names.parent_len = strlen(key) + (strcmp(key, "/") == 0 ? 0 : 1);
    dbms_start(d);
    buf_str(&d->sql, "SELECT 'K', name FROM pelorus_registry WHERE ");
    dbms_range(d, "name", key, true);
    buf_str(&d->sql, " ORDER BY name");
    if (dbms_is_nodes(key)) {
        buf_printf(&d->sql,
                   ";SELECT 'D', %s FROM t_ds_jdbc_registry_data WHERE ",
                   key_of);
        dbms_range(d, key_of, key, false);
    }
    rc = dbms_run(d, on_name, &names, NULL, err);
    sql_rows_sort(rows);
    return rc;
}

/* --- pages --------------------------------------------------------------- */

/* The smaller of two keys, either of which may be missing. */
static const char *first_of(const char *a, const char *b)
{
    return a == NULL || (b != NULL && strcmp(b, a) < 0) ? b : a;
}

/* Take the first `limit` of both, in order, up to where both are known. */
static void merge(struct page *p, struct sql_rows *rows)
{
    const char *end = first_of(p->own.next, p->theirs.next), *next;
    size_t a = 0, b = 0;

    assert(rows->n == 0);
    assert(p->limit > 0);
    for (;;) {
        struct registry_entry *x = a < p->own.n ? &p->own.entries[a] : NULL;
        struct registry_entry *y =
            b < p->theirs.n ? &p->theirs.entries[b] : NULL;
        int order = x == NULL ? 1 : y == NULL ? -1 : strcmp(x->key, y->key);
        struct registry_entry *e = order < 0 ? x : y;

        next = e == NULL ? end : e->key;
        if (e == NULL || rows->n == p->limit ||
            (end != NULL && strcmp(e->key, end) >= 0))
            break;
        sql_rows_copy(rows, e);
        a += order <= 0;
        b += order >= 0;
    }
    rows->next = mem_strdup(first_of(next, end));
    assert(rows->n <= p->limit);
}

static void add_page(struct dbms *d, const char *prefix, const char *from,
                     size_t limit)
{
    const char *key_of = d->target.driver->syntax->key_of;

    assert(limit > 0);
    assert(prefix[0] == '/');
    start_page(d);
    buf_str(&d->sql, DBMS_ENTRIES);
    dbms_range(d, "name", prefix, true);
    if (from != NULL) {
        buf_str(&d->sql, " AND name >= ");
        dbms_key(d, from);
    }
    buf_printf(&d->sql, " ORDER BY name LIMIT %zu", limit + 1);
    if (!dbms_is_nodes(prefix))
        return;
    buf_printf(&d->sql, ";SELECT 'D', " DBMS_DATA_COLUMNS
                        " FROM t_ds_jdbc_registry_data WHERE ");
    dbms_range(d, key_of,
               registry_key_below(prefix, DBMS_NODES) ? prefix : DBMS_NODES,
               false);
    if (from != NULL) {
        buf_printf(&d->sql, " AND %s >= ", key_of);
        dbms_bytes(d, from, strlen(from));
    }
    buf_printf(&d->sql, " ORDER BY %s", key_of);
}

int dbms_list(struct sql_core *core, const char *prefix, const char *from,
              size_t limit, struct sql_rows *rows, struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct page p = {.d = d, .limit = limit};
    int rc;

    assert(rows->n == 0);
    assert(prefix[0] == '/');
    assert(limit > 0);
    rc = dbms_is_nodes(prefix) ? dbms_dolphin_follow(d, err) : 0;
    if (rc == 0) {
        add_page(d, prefix, from, limit);
        rc = dbms_run(d, on_page_row, &p, NULL, err);
    }
    if (rc == 0 && p.theirs.n == 0) {
        *rows = p.own;
        memset(&p.own, 0, sizeof(p.own));
    } else if (rc == 0) {
        merge(&p, rows);
    }
    page_close(&p);
    assert(rows->n <= limit);
    return rc;
}
