/*
 * schema.c - making the tables, on request only.
 *
 * Every statement is CREATE ... IF NOT EXISTS or an insert of a row that is
 * missing: it can be repeated, drops nothing, and leaves tables that
 * DolphinScheduler's own scripts have made as they are. They go to the first
 * host that writes.
 */
#include "registry/dbms/dbms_priv.h"

#include <string.h>

static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    bool *writes = arg;

    assert(n >= 3);
    (void)n;
    *writes = dbms_is_off(&cells[1]) && dbms_is_off(&cells[2]);
}

/* --- what is missing ----------------------------------------------------- */

static void on_missing(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct buf *missing = arg;

    if (n == 1 && cells[0].p != NULL) {
        buf_str(missing, missing->len > 0 ? ", " : "");
        buf_add(missing, cells[0].p, cells[0].n);
    }
}

/* Ask for every name behind an IF NOT EXISTS of the schema. */
static enum dbms_fault look(struct dbms_link *link, const struct dbms_target *t,
                            struct buf *missing, struct err *err)
{
    static const char mark[] = "IF NOT EXISTS ";
    const struct dbms_syntax *syntax = t->driver->syntax;
    enum dbms_fault fault;
    struct buf sql;

    assert(link != NULL);
    assert(missing->len == 0);
    buf_init(&sql, DBMS_SQL_MAX);
    buf_str(&sql, syntax->missing);
    for (const char *at = strstr(syntax->schema, mark); at != NULL;
         at = strstr(at, mark)) {
        at += strlen(mark);
        buf_str(&sql, syntax->name);
        buf_add(&sql, at, strcspn(at, "(\n "));
        buf_str(&sql, syntax->name_end);
    }
    buf_str(&sql, syntax->missing_end);
    fault = t->driver->run(link, sql.data, sql.len, on_missing, missing, err);
    buf_close(&sql);
    return fault;
}

/* Who may not make tables needs to make none if all are there. */
static const char *what_to_run(const struct dbms_target *t,
                               const struct buf *missing)
{
    const char *schema = t->driver->syntax->schema;
    const char *row = strstr(schema, "INSERT");

    assert(row != NULL);
    return missing->len > 0 ? schema : row;
}

static enum dbms_fault make_them(struct dbms_link *link,
                                 const struct dbms_target *t, struct err *err)
{
    struct buf missing, sql;
    enum dbms_fault fault;
    bool writes;

    assert(link != NULL);
    buf_init(&missing, 4096);
    buf_init(&sql, DBMS_SQL_MAX);
    fault = look(link, t, &missing, err);
    if (fault == DBMS_OK) {
        buf_printf(&sql, "%sCOMMIT", what_to_run(t, &missing));
        fault = t->driver->run(link, sql.data, sql.len, on_row, &writes, err);
    }
    if (fault == DBMS_DENIED && missing.len > 0 && err != NULL) {
        err_wrap(err, "missing: %s; let somebody make them who may",
                 buf_text(&missing));
    }
    buf_close(&sql);
    buf_close(&missing);
    return fault;
}

static enum dbms_fault make(struct dbms_link *link, struct dbms_target *t,
                            struct err *err)
{
    enum dbms_fault fault;
    bool writes = false;
    struct buf sql;

    assert(link != NULL);
    assert(t->making);
    buf_init(&sql, DBMS_SQL_MAX);
    t->driver->begin(t, &sql);
    fault = t->driver->run(link, sql.data, sql.len, on_row, &writes, err);
    if (fault == DBMS_OK && !writes) {
        fault = DBMS_NOT_HERE;
        err_set(err, ERR_UNAVAILABLE, "%s: this server is read only",
                t->driver->name);
    }
    buf_close(&sql);
    if (fault == DBMS_OK)
        fault = make_them(link, t, err);
    /* The row to be probed may only now be there. */
    return fault == DBMS_OK ? dbms_probe(link, t, err) : fault;
}

int dbms_schema_apply(struct dbms_target *t, struct err *err)
{
    const struct dbms_driver *driver = t->driver;
    struct dbms_link *link = NULL;
    enum dbms_fault fault;

    assert(driver != NULL);
    t->making = true;
    fault = dbms_connect(&link, t, err);
    if (fault == DBMS_OK) {
        fault = make(link, t, err);
        driver->close(&link);
    }
    if (fault != DBMS_OK && err != NULL)
        err->code = fault == DBMS_DENIED ? ERR_DENIED : ERR_UNAVAILABLE;
    assert(link == NULL);
    return fault == DBMS_OK       ? 0
           : fault == DBMS_DENIED ? ERR_DENIED
                                  : ERR_UNAVAILABLE;
}
