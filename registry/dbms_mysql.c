/*
 * dbms_mysql.c - the driver for MySQL and MariaDB: libmariadb.
 *
 * Its blocking calls take deadlines in whole seconds, for each wait on the
 * socket. The server's own limits (lock waits, transactions that rest) are set
 * with them. Several statements go in one request; rows are taken one by one.
 */
#include "registry/dbms.h"

#include "base/mem.h"

#include <errmsg.h>
#include <inttypes.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <string.h>

#define COLUMNS 16

/* Names and values are bytes: no collation decides which of them are equal. */
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS pelorus_meta("
    "\n  id tinyint NOT NULL PRIMARY KEY, version int NOT NULL,"
    "\n  revision bigint NOT NULL, floor_rev bigint NOT NULL,"
    "\n  depth int NOT NULL) ENGINE = "
    "InnoDB;\n"
    "CREATE TABLE IF NOT EXISTS pelorus_registry("
    "\n  name varbinary(400) NOT NULL PRIMARY KEY, value mediumblob NOT NULL,"
    "\n  created bigint NOT NULL, version bigint NOT NULL,"
    "\n  owner bigint NOT NULL) ENGINE = InnoDB;\n"
    "CREATE TABLE IF NOT EXISTS pelorus_ephemeral("
    "\n  name varbinary(400) NOT NULL PRIMARY KEY, owner bigint NOT NULL,"
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
    "\n  name varbinary(400) NOT NULL, UNIQUE KEY pelorus_lock_hold(session, "
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

static const struct dbms_words words = {
    .now_ms = "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
    .bytes = "x'",
    .bytes_end = "'",
    .text = "CONVERT(x'",
    .text_end = "' USING utf8mb4)",
    .key_of = "CAST(data_key AS BINARY)",
    .share = " LOCK IN SHARE MODE",
    .upsert = " ON DUPLICATE KEY UPDATE value = VALUES(value),"
              " created = VALUES(created), version = VALUES(version),"
              " owner = VALUES(owner)",
    .ignore = "",
    .last_id = ";SELECT 'I', LAST_INSERT_ID()",
    .hint = "",
    .schema = schema,
};

struct dbms_link {
    MYSQL *my;
};

/* --- errors --------------------------------------------------------------- */

static enum dbms_fault fault_of(unsigned number)
{
    switch (number) {
    case ER_DUP_ENTRY:
        return DBMS_DUPLICATE;
    case ER_LOCK_DEADLOCK:
        return DBMS_ROLLED_BACK;
    case ER_LOCK_WAIT_TIMEOUT: /* undoes the statement only */
        return DBMS_WAITED;
    case ER_ACCESS_DENIED_ERROR:
    case ER_DBACCESS_DENIED_ERROR:
    case ER_TABLEACCESS_DENIED_ERROR:
    case ER_COLUMNACCESS_DENIED_ERROR:
    case ER_OPTION_PREVENTS_STATEMENT: /* read only */
    case ER_HOST_NOT_PRIVILEGED:
        return DBMS_DENIED;
    case ER_NO_SUCH_TABLE:
    case ER_BAD_DB_ERROR:
        return DBMS_MISSING;
    case ER_NET_PACKET_TOO_LARGE:
        return DBMS_TOO_LARGE;
    case ER_SERVER_SHUTDOWN:
    case ER_QUERY_INTERRUPTED:
    case ER_CONNECTION_KILLED:
        return DBMS_LOST;
    default:
        /* The client's own errors are about the connection. */
        return number >= CR_MIN_ERROR && number <= CR_MAX_ERROR ? DBMS_LOST
                                                                : DBMS_REFUSED;
    }
}

static enum dbms_fault failed(MYSQL *my, struct err *err)
{
    enum dbms_fault fault = fault_of(mysql_errno(my));

    (void)err_set(err, ERR_UNAVAILABLE, "mysql: %s (%u)%s", mysql_error(my),
                  mysql_errno(my),
                  fault == DBMS_MISSING
                      ? "; make the tables with: pelorus registry init"
                      : "");
    return fault;
}

/* --- requests ------------------------------------------------------------- */

static enum dbms_fault tell(MYSQL *my, MYSQL_RES *result, dbms_row_f *row,
                            void *arg, struct err *err)
{
    unsigned columns = mysql_num_fields(result);
    struct dbms_cell cells[COLUMNS];
    MYSQL_ROW texts;

    assert(columns <= COLUMNS);
    while ((texts = mysql_fetch_row(result)) != NULL) {
        const unsigned long *lengths = mysql_fetch_lengths(result);

        for (unsigned c = 0; c < columns; c++) {
            cells[c] =
                (struct dbms_cell){texts[c], texts[c] == NULL ? 0 : lengths[c]};
        }
        row(arg, cells, columns);
    }
    return mysql_errno(my) == 0 ? DBMS_OK : failed(my, err);
}

/* The first fault ends the request; the server runs no further either. */
static enum dbms_fault run(struct dbms_link *link, const char *sql, size_t len,
                           dbms_row_f *row, void *arg, struct err *err)
{
    enum dbms_fault fault;
    int more;

    if (mysql_real_query(link->my, sql, len) != 0) {
        return failed(link->my, err);
    }
    do {
        MYSQL_RES *result = mysql_use_result(link->my);

        if (result != NULL) {
            fault = tell(link->my, result, row, arg, err);
            mysql_free_result(result);
        } else {
            fault =
                mysql_errno(link->my) == 0 ? DBMS_OK : failed(link->my, err);
        }
        more = fault == DBMS_OK ? mysql_next_result(link->my) : -1;
    } while (more == 0);
    return more > 0 ? failed(link->my, err) : fault;
}

/* --- connecting ----------------------------------------------------------- */

static void close_(struct dbms_link **link)
{
    mysql_close((*link)->my);
    mem_free(*link);
    *link = NULL;
}

static unsigned seconds(int64_t ms)
{
    return (unsigned)((ms + 999) / 1000);
}

static void set_options(MYSQL *my, const struct dbms_target *t)
{
    unsigned to_connect = seconds(t->connect_ms), to_wait = seconds(t->call_ms);
    my_bool yes = 1, no = 0;

    (void)mysql_options(my, MYSQL_OPT_CONNECT_TIMEOUT, &to_connect);
    (void)mysql_options(my, MYSQL_OPT_READ_TIMEOUT, &to_wait);
    (void)mysql_options(my, MYSQL_OPT_WRITE_TIMEOUT, &to_wait);
    (void)mysql_options(my, MYSQL_OPT_RECONNECT, &no);
    (void)mysql_options(my, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    (void)mysql_optionsv(my, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name",
                         "pelorus");
    if (t->tls >= DBMS_TLS_ON) {
        (void)mysql_optionsv(my, MYSQL_OPT_SSL_ENFORCE, &yes);
    }
    if (t->tls != DBMS_TLS_OFF) {
        (void)mysql_ssl_set(my, t->key, t->cert, t->ca, NULL, NULL);
        (void)mysql_optionsv(my, MYSQL_OPT_SSL_VERIFY_SERVER_CERT,
                             t->tls >= DBMS_TLS_CA ? &yes : &no);
    }
}

static void ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

/* What a stopped process holds must not be held for ever. The comments are
 * for MariaDB alone. */
static enum dbms_fault set_up(struct dbms_link *link,
                              const struct dbms_target *t, struct err *err)
{
    unsigned idle = seconds(t->idle_ms), lock = seconds(t->call_ms * 2 / 3);
    char sql[512];

    (void)snprintf(sql, sizeof(sql),
                   "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;"
                   "SET SESSION sql_mode = 'STRICT_ALL_TABLES', autocommit = 1,"
                   " innodb_lock_wait_timeout = %u, wait_timeout = %u"
                   " /*M! , idle_write_transaction_timeout = %u,"
                   " in_predicate_conversion_threshold = 0 */",
                   lock, idle * 4 + 1, idle);
    return run(link, sql, strlen(sql), ignore_row, NULL, err);
}

static enum dbms_fault connect_(struct dbms_link **out,
                                const struct dbms_target *t, struct err *err)
{
    const struct dbms_host *host = &t->hosts[t->at];
    MYSQL *my = mysql_init(NULL);
    struct dbms_link *link;
    enum dbms_fault fault;

    if (my == NULL) {
        (void)err_set(err, ERR_UNAVAILABLE, "mysql: out of memory");
        return DBMS_LOST;
    }
    set_options(my, t);
    if (mysql_real_connect(my, host->name, t->user, t->password, t->database,
                           host->port, NULL, CLIENT_MULTI_STATEMENTS) == NULL) {
        fault = failed(my, err);
        mysql_close(my);
        return fault;
    }
    link = mem_zalloc(sizeof(*link));
    link->my = my;
    fault = set_up(link, t, err);
    if (fault != DBMS_OK) {
        close_(&link);
        return fault;
    }
    *out = link;
    return DBMS_OK;
}

const struct dbms_driver dbms_mysql = {.name = "mysql",
                                       .words = &words,
                                       .connect = connect_,
                                       .run = run,
                                       .close = close_};
