/*
 * schema.c - the tables: the statements that make them, whether those that are
 * there hold what they must, and making them, on request only.
 *
 * Every statement is CREATE ... IF NOT EXISTS or an insert of a row that is
 * missing: it can be repeated, drops nothing, and leaves tables that
 * DolphinScheduler's own scripts have made as they are. They go to the first
 * host that writes.
 */
#include "registry/dbms/dbms_priv.h"

#include <string.h>

/* Names and values are bytes: no collation decides which of them are equal. */
const char dbms_schema_mysql[] =
    "CREATE TABLE IF NOT EXISTS pelorus_meta("
    "\n  id tinyint NOT NULL PRIMARY KEY, version int NOT NULL,"
    "\n  revision bigint NOT NULL, floor_rev bigint NOT NULL,"
    "\n  depth int NOT NULL) ENGINE = "
    "InnoDB;\n"
    "CREATE TABLE IF NOT EXISTS pelorus_registry("
    "\n  name varbinary(767) NOT NULL PRIMARY KEY, value mediumblob NOT NULL,"
    "\n  created bigint NOT NULL, version bigint NOT NULL,"
    "\n  owner bigint NOT NULL) ENGINE = InnoDB;\n"
    "CREATE TABLE IF NOT EXISTS pelorus_ephemeral("
    "\n  name varbinary(767) NOT NULL PRIMARY KEY, owner bigint NOT NULL,"
    "\n  KEY pelorus_ephemeral_owner(owner)) ENGINE = InnoDB;\n"
    "CREATE TABLE IF NOT EXISTS pelorus_change("
    "\n  rev bigint NOT NULL, part int NOT NULL, names mediumblob NOT NULL,"
    "\n  PRIMARY KEY(rev, part)) ENGINE = InnoDB;\n"
    "CREATE TABLE IF NOT EXISTS pelorus_session("
    "\n  id bigint NOT NULL PRIMARY KEY, beat bigint NOT NULL,"
    "\n  timeout_ms bigint NOT NULL, expires_ms bigint NOT NULL,"
    "\n  mark bigint NOT NULL, client varbinary(256) NOT NULL) ENGINE = "
    "InnoDB;\n"
    "CREATE TABLE IF NOT EXISTS pelorus_lock("
    "\n  ticket bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    "\n  session bigint NOT NULL, hold bigint NOT NULL,"
    "\n  name varbinary(767) NOT NULL, UNIQUE KEY pelorus_lock_hold(session, "
    "hold),"
    "\n  KEY pelorus_lock_name(name, ticket)) ENGINE = InnoDB;\n"
    "CREATE TABLE IF NOT EXISTS t_ds_jdbc_registry_data("
    "\n  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    "\n  data_key varchar(256) NOT NULL, data_value text NOT NULL,"
    "\n  data_type varchar(64) NOT NULL, client_id bigint NOT NULL,"
    "\n  create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,"
    "\n  last_update_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,"
    "\n  UNIQUE KEY uk_t_ds_jdbc_registry_dataKey(data_key))"
    "\n  ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;\n"
    "CREATE TABLE IF NOT EXISTS t_ds_jdbc_registry_lock("
    "\n  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    "\n  lock_key varchar(256) NOT NULL, lock_owner varchar(256) NOT NULL,"
    "\n  client_id bigint NOT NULL,"
    "\n  create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,"
    "\n  UNIQUE KEY uk_t_ds_jdbc_registry_lockKey(lock_key))"
    "\n  ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;\n"
    "CREATE TABLE IF NOT EXISTS t_ds_jdbc_registry_client_heartbeat("
    "\n  id bigint NOT NULL PRIMARY KEY, client_name varchar(256) NOT NULL,"
    "\n  last_heartbeat_time bigint NOT NULL, connection_config text NOT NULL,"
    "\n  create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)"
    "\n  ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;\n"
    "CREATE TABLE IF NOT EXISTS t_ds_jdbc_registry_data_change_event("
    "\n  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    "\n  event_type varchar(64) NOT NULL, jdbc_registry_data text NOT NULL,"
    "\n  create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)"
    "\n  ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;\n"
    "INSERT IGNORE INTO pelorus_meta(id, version, revision, floor_rev, depth)"
    "\n  VALUES(1, 1, 1, 0, 0);\n";

const char dbms_schema_postgresql[] =
    "CREATE TABLE IF NOT EXISTS pelorus_meta("
    "\n  id smallint PRIMARY KEY, version int NOT NULL,"
    "\n  revision bigint NOT NULL, floor_rev bigint NOT NULL,"
    "\n  depth int NOT NULL);\n"
    "CREATE TABLE IF NOT EXISTS pelorus_registry("
    "\n  name bytea PRIMARY KEY, value bytea NOT NULL, created bigint NOT NULL,"
    "\n  version bigint NOT NULL, owner bigint NOT NULL);\n"
    "CREATE TABLE IF NOT EXISTS pelorus_ephemeral("
    "\n  name bytea PRIMARY KEY, owner bigint NOT NULL);\n"
    "CREATE INDEX IF NOT EXISTS pelorus_ephemeral_owner"
    "\n  ON pelorus_ephemeral(owner);\n"
    "CREATE TABLE IF NOT EXISTS pelorus_change("
    "\n  rev bigint NOT NULL, part int NOT NULL, names bytea NOT NULL,"
    "\n  PRIMARY KEY(rev, part));\n"
    "CREATE TABLE IF NOT EXISTS pelorus_session("
    "\n  id bigint PRIMARY KEY, beat bigint NOT NULL, timeout_ms bigint NOT "
    "NULL,"
    "\n  expires_ms bigint NOT NULL, mark bigint NOT NULL,"
    "\n  client bytea NOT NULL);\n"
    "CREATE TABLE IF NOT EXISTS pelorus_lock("
    "\n  ticket bigserial PRIMARY KEY, session bigint NOT NULL,"
    "\n  hold bigint NOT NULL, name bytea NOT NULL, UNIQUE(session, hold));\n"
    "CREATE INDEX IF NOT EXISTS pelorus_lock_name"
    "\n  ON pelorus_lock(name, ticket);\n"
    "CREATE TABLE IF NOT EXISTS t_ds_jdbc_registry_data("
    "\n  id bigserial PRIMARY KEY, data_key varchar(256) NOT NULL UNIQUE,"
    "\n  data_value text NOT NULL, data_type varchar(64) NOT NULL,"
    "\n  client_id bigint NOT NULL,"
    "\n  create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,"
    "\n  last_update_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);\n"
    "CREATE TABLE IF NOT EXISTS t_ds_jdbc_registry_lock("
    "\n  id bigserial PRIMARY KEY, lock_key varchar(256) NOT NULL UNIQUE,"
    "\n  lock_owner varchar(256) NOT NULL, client_id bigint NOT NULL,"
    "\n  create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);\n"
    "CREATE TABLE IF NOT EXISTS t_ds_jdbc_registry_client_heartbeat("
    "\n  id bigint PRIMARY KEY, client_name varchar(256) NOT NULL,"
    "\n  last_heartbeat_time bigint NOT NULL, connection_config text NOT NULL,"
    "\n  create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);\n"
    "CREATE TABLE IF NOT EXISTS t_ds_jdbc_registry_data_change_event("
    "\n  id bigserial PRIMARY KEY, event_type varchar(65) NOT NULL,"
    "\n  jdbc_registry_data text NOT NULL,"
    "\n  create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);\n"
    "INSERT INTO pelorus_meta(id, version, revision, floor_rev, depth)"
    "\n  VALUES(1, 1, 1, 0, 0) ON CONFLICT DO NOTHING;\n";

/* MySQL's limit of an index is 767 bytes where it is lowest. */
_Static_assert(SQL_FULL_KEY_MAX <= 767, "every key fits in varbinary(767)");

enum dbms_fault dbms_schema_counter(struct dbms_link *link,
                                    const struct dbms_target *t)
{
    const char *schema = t->driver->syntax->schema;
    const char *row = strstr(schema, "INSERT");
    enum dbms_fault fault;

    assert(link != NULL);
    assert(row != NULL);
    assert(strstr(schema, "pelorus_meta") < strchr(schema, ';'));
    fault = t->driver->run(link, schema, strcspn(schema, ";"), dbms_ignore_row,
                           NULL, NULL);
    return fault != DBMS_OK ? fault
                            : t->driver->run(link, row, strcspn(row, ";"),
                                             dbms_ignore_row, NULL, NULL);
}

/* --- what is too narrow -------------------------------------------------- */

static void on_narrow(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct buf *out = arg;

    assert(n == 2);
    (void)n;
    if (cells[0].p != NULL && cells[1].p != NULL) {
        buf_printf(out,
                   "%sALTER TABLE %.*s MODIFY name varbinary(767) NOT NULL",
                   out->len > 0 ? "; " : "", (int)cells[0].n, cells[0].p);
        if (strstr(buf_text(out), " bytes") == NULL) {
            buf_printf(out, " /* now %.*s bytes */", (int)cells[1].n,
                       cells[1].p);
        }
    }
}

enum dbms_fault dbms_schema_check(struct dbms_link *link,
                                  const struct dbms_target *t, struct err *err)
{
    const char *narrow = t->driver->syntax->narrow;
    enum dbms_fault fault;
    struct buf alter;

    assert(link != NULL);
    if (narrow == NULL)
        return DBMS_OK;
    buf_init(&alter, 4096);
    fault =
        t->driver->run(link, narrow, strlen(narrow), on_narrow, &alter, err);
    if (fault == DBMS_REFUSED && (err == NULL || err->trouble == 0))
        fault = DBMS_OK; /* it cannot tell */
    if (fault == DBMS_OK && alter.len > 0) {
        fault = DBMS_REFUSED;
        err_set(err, ERR_UNAVAILABLE,
                "%s: tables of an earlier release, too narrow for keys: "
                "%s",
                t->driver->name, buf_text(&alter));
        err_set_trouble(err, TROUBLE_OLD_TABLES);
    }
    buf_close(&alter);
    return fault;
}

/* --- making them --------------------------------------------------------- */

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
