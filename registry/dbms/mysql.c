/*
 * mysql.c - the driver for MySQL and MariaDB: libmariadb.
 *
 * Its blocking calls take deadlines in whole seconds, for each wait on the
 * socket. The server's own limits (lock waits, transactions that rest) are set
 * with them. Several statements go in one request; rows are taken one by one.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/library/library.h"
#include "base/mem.h"

#include <errmsg.h>
#include <inttypes.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS 16

#define MARIADB(X)                                                             \
    X(mariadb_connection)                                                      \
    X(mariadb_get_infov)                                                       \
    X(mysql_close)                                                             \
    X(mysql_errno)                                                             \
    X(mysql_error)                                                             \
    X(mysql_fetch_lengths)                                                     \
    X(mysql_fetch_row)                                                         \
    X(mysql_free_result)                                                       \
    X(mysql_init)                                                              \
    X(mysql_next_result)                                                       \
    X(mysql_num_fields)                                                        \
    X(mysql_options)                                                           \
    X(mysql_optionsv)                                                          \
    X(mysql_real_connect)                                                      \
    X(mysql_real_query)                                                        \
    X(mysql_ssl_set)                                                           \
    X(mysql_stmt_attr_set)                                                     \
    X(mysql_stmt_bind_param)                                                   \
    X(mysql_stmt_close)                                                        \
    X(mysql_stmt_execute)                                                      \
    X(mysql_stmt_init)                                                         \
    X(mysql_stmt_prepare)                                                      \
    X(mysql_use_result)

static struct {
    MARIADB(LIBRARY_SLOT)
} libmariadb;

static struct library library =
    LIBRARY(MARIADB, libmariadb, "libmariadb.so.3", "libmariadb3");

static int load(struct err *err)
{
    return library_load(&library, err);
}
/* Some users may write where nobody should. */
#define READ_ONLY "SELECT 'W', @@global.read_only, @@global.innodb_read_only"
/* Of MySQL's, which MariaDB's header does not name. */
#define GROUP_REPLICATION_HOOK     3100
#define GROUP_REPLICATION_ROLLBACK 3101
#define NOT_WAITED_FOR_LOCK        3572
#define QUERY_TIMEOUT              3024
#define ACCOUNT_LOCKED             3118
#define SECURE_TRANSPORT_REQUIRED  3159

static const struct dbms_syntax syntax = {
    .now_ms = "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
    .bytes = "x'",
    .bytes_end = "'",
    .plain = "_binary'",
    .plain_end = "'",
    .base64 = "FROM_BASE64('",
    .base64_end = "')",
    .text = "CONVERT(x'",
    .text_end = "' USING utf8mb4)",
    .key_of = "CAST(data_key AS BINARY)",
    .list = "GROUP_CONCAT(id, ' ', ",
    .list_and = ", ' ', ",
    .list_end = ", ',' SEPARATOR '')",
    .data_mark = "CRC32(CONCAT(client_id, data_type, data_key,"
                 " COALESCE(data_value, '')))",
    .client_mark = "CRC32(COALESCE(connection_config, ''))",
    .share = " LOCK IN SHARE MODE",
    .fresh = " LOCK IN SHARE MODE",
    /* A row that is written as it was is not compared; nobody reads it. */
    .touch = " SET create_time = create_time + INTERVAL"
             " IF(SECOND(create_time) % 2 = 0, 1, -1) SECOND",
    .writes = " AND @@global.read_only = 0",
    .put = "REPLACE",
    .upsert = "",
    .ignore = "",
    .last_id = ";SELECT 'I', LAST_INSERT_ID()",
    .hint = "",
    .schema = dbms_schema_mysql,
    .hold = "SELECT id FROM pelorus_meta WHERE id = 1 FOR UPDATE",
    .hold_too = "SELECT id FROM pelorus_meta WHERE id = 1 FOR UPDATE NOWAIT",
    .patience = "SET SESSION innodb_lock_wait_timeout = 1",
    .narrow = "SELECT table_name, character_maximum_length FROM"
              " information_schema.columns WHERE table_schema = DATABASE()"
              " AND table_name IN ('pelorus_registry', 'pelorus_ephemeral',"
              " 'pelorus_lock') AND column_name = 'name'"
              " AND character_maximum_length < 767 ORDER BY table_name",
    .missing = "SELECT name FROM (SELECT '' AS name",
    .missing_end = ") AS wanted WHERE name <> '' AND name NOT IN (SELECT"
                   " table_name FROM information_schema.tables WHERE"
                   " table_schema = DATABASE())",
    .name = " UNION ALL SELECT '",
    .name_end = "'",
};

struct dbms_link {
    MYSQL *my;
    bool galera;
    bool by_statement; /* its binlog holds the text of what writes */
};

/* --- errors -------------------------------------------------------------- */

/* What a number means; its text may say more. */
static const struct meaning {
    unsigned number;
    enum dbms_fault fault;
    enum trouble trouble;
} meanings[] = {
    {ER_DUP_ENTRY, DBMS_DUPLICATE, TROUBLE_NONE},
    {ER_LOCK_DEADLOCK, DBMS_ROLLED_BACK, TROUBLE_NONE},
    {ER_CHECKREAD, DBMS_ROLLED_BACK, TROUBLE_NONE}, /* changed since it began */
    {GROUP_REPLICATION_ROLLBACK, DBMS_ROLLED_BACK, TROUBLE_NONE},
    {NOT_WAITED_FOR_LOCK, DBMS_WAITED, TROUBLE_NONE},
    {ER_LOCK_WAIT_TIMEOUT, DBMS_WAITED, TROUBLE_NONE}, /* undoes the statement
                                                          only */
    {ER_ACCESS_DENIED_ERROR, DBMS_DENIED, TROUBLE_AUTH_REFUSED},
    {ER_ACCESS_DENIED_NO_PASSWORD_ERROR, DBMS_DENIED, TROUBLE_AUTH_REFUSED},
    {ER_ACCOUNT_HAS_BEEN_LOCKED, DBMS_DENIED, TROUBLE_AUTH_REFUSED},
    {ACCOUNT_LOCKED, DBMS_DENIED, TROUBLE_AUTH_REFUSED},
    {ER_MUST_CHANGE_PASSWORD, DBMS_REFUSED, TROUBLE_AUTH_REFUSED},
    {ER_MUST_CHANGE_PASSWORD_LOGIN, DBMS_REFUSED, TROUBLE_AUTH_REFUSED},
    {CR_AUTH_PLUGIN_CANNOT_LOAD, DBMS_LOST, TROUBLE_AUTH_REFUSED},
    {CR_AUTH_PLUGIN_ERR, DBMS_LOST, TROUBLE_AUTH_REFUSED},
    {ER_DBACCESS_DENIED_ERROR, DBMS_DENIED, TROUBLE_NONE},
    {ER_TABLEACCESS_DENIED_ERROR, DBMS_DENIED, TROUBLE_NONE},
    {ER_COLUMNACCESS_DENIED_ERROR, DBMS_DENIED, TROUBLE_NONE},
    {ER_HOST_NOT_PRIVILEGED, DBMS_DENIED, TROUBLE_FORBIDDEN},
    {ER_HOST_IS_BLOCKED, DBMS_REFUSED, TROUBLE_FORBIDDEN},
    {ER_SPECIFIC_ACCESS_DENIED_ERROR, DBMS_REFUSED, TROUBLE_FORBIDDEN},
    {SECURE_TRANSPORT_REQUIRED, DBMS_REFUSED, TROUBLE_TLS_REQUIRED},
    {CR_SSL_CONNECTION_ERROR, DBMS_LOST, TROUBLE_TLS_FAILED},
    {ER_OPTION_PREVENTS_STATEMENT, DBMS_NOT_HERE, TROUBLE_NONE}, /* --read-only
                                                                  */
    {ER_READ_ONLY_MODE, DBMS_NOT_HERE, TROUBLE_NONE},
    {ER_INNODB_READ_ONLY, DBMS_NOT_HERE, TROUBLE_NONE},
    {ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, DBMS_NOT_HERE, TROUBLE_NONE},
    /* Galera: outside the primary component, and as it left it; likewise
     * MySQL's own replication. */
    {ER_UNKNOWN_COM_ERROR, DBMS_NOT_HERE, TROUBLE_NO_QUORUM},
    {ER_ERROR_DURING_COMMIT, DBMS_NOT_HERE, TROUBLE_NONE},
    {GROUP_REPLICATION_HOOK, DBMS_NOT_HERE, TROUBLE_NO_QUORUM},
    {ER_NO_SUCH_TABLE, DBMS_MISSING, TROUBLE_NONE},
    {ER_BAD_DB_ERROR, DBMS_MISSING, TROUBLE_NONE},
    {ER_NET_PACKET_TOO_LARGE, DBMS_TOO_LARGE, TROUBLE_NONE},
    /* A key, in tables that an earlier release made. */
    {ER_DATA_TOO_LONG, DBMS_TOO_LARGE, TROUBLE_NONE},
    {ER_SERVER_SHUTDOWN, DBMS_LOST, TROUBLE_NONE},
    {ER_QUERY_INTERRUPTED, DBMS_LOST, TROUBLE_NONE},
    {ER_CONNECTION_KILLED, DBMS_LOST, TROUBLE_NONE},
    {ER_CON_COUNT_ERROR, DBMS_REFUSED, TROUBLE_CONNECTIONS},
    {ER_TOO_MANY_USER_CONNECTIONS, DBMS_REFUSED, TROUBLE_CONNECTIONS},
    {ER_USER_LIMIT_REACHED, DBMS_REFUSED, TROUBLE_THROTTLED},
    {ER_STATEMENT_TIMEOUT, DBMS_REFUSED, TROUBLE_LIMIT},
    {QUERY_TIMEOUT, DBMS_REFUSED, TROUBLE_LIMIT},
    {ER_DISK_FULL, DBMS_REFUSED, TROUBLE_FULL},
    {ER_RECORD_FILE_FULL, DBMS_REFUSED, TROUBLE_FULL},
};

/* Of any other: the client's own errors are about the connection. */
static enum dbms_fault fault_of(unsigned number)
{
    for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
        if (meanings[i].number == number)
            return meanings[i].fault;
    return number >= CR_MIN_ERROR && number <= CR_MAX_ERROR ? DBMS_LOST
                                                            : DBMS_REFUSED;
}

static enum trouble trouble_of(unsigned number, const char *text)
{
    if (number == ER_USER_LIMIT_REACHED && strstr(text, "connections") != NULL)
        return TROUBLE_CONNECTIONS; /* not of what they ask */
    for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
        if (meanings[i].number == number)
            return meanings[i].trouble;
    /* "Got error 28 ... from storage engine" */
    return (number == ER_GET_ERRNO || number == ER_ERROR_ON_WRITE) &&
                   (strstr(text, " 28 ") != NULL ||
                    strstr(text, ": 28") != NULL)
               ? TROUBLE_FULL
               : TROUBLE_NONE;
}

static enum dbms_fault failed(MYSQL *my, struct err *err)
{
    enum dbms_fault fault = fault_of(libmariadb.mysql_errno(my));

    err_set(err, ERR_UNAVAILABLE, "mysql: %s (%u)%s",
            libmariadb.mysql_error(my), libmariadb.mysql_errno(my),
            libmariadb.mysql_errno(my) == ER_BAD_DB_ERROR
                ? "; " DBMS_NO_DATABASE
            : fault == DBMS_MISSING
                ? "; make the tables with: pelorus registry init"
                : "");
    err_set_trouble(err, trouble_of(libmariadb.mysql_errno(my),
                                    libmariadb.mysql_error(my)));
    return fault;
}

/* --- requests ------------------------------------------------------------ */

static enum dbms_fault tell(MYSQL *my, MYSQL_RES *result, dbms_row_f *row,
                            void *arg, struct err *err)
{
    unsigned columns = libmariadb.mysql_num_fields(result);
    struct dbms_cell cells[COLUMNS];
    MYSQL_ROW texts;

    assert(result != NULL);
    assert(columns <= COLUMNS);
    while ((texts = libmariadb.mysql_fetch_row(result)) != NULL) {
        const unsigned long *lengths = libmariadb.mysql_fetch_lengths(result);

        for (unsigned c = 0; c < columns; c++) {
            cells[c] =
                (struct dbms_cell){texts[c], texts[c] == NULL ? 0 : lengths[c]};
        }
        row(arg, cells, columns);
    }
    return libmariadb.mysql_errno(my) == 0 ? DBMS_OK : failed(my, err);
}

/* The first fault ends the request; the server runs no further either. */
static enum dbms_fault run_packet(struct dbms_link *link, const char *sql,
                                  size_t len, dbms_row_f *row, void *arg,
                                  struct err *err)
{
    enum dbms_fault fault;
    int more;

    assert(link->my != NULL);
    assert(len > 0);
    if (libmariadb.mysql_real_query(link->my, sql, len) != 0)
        return failed(link->my, err);
    do {
        MYSQL_RES *result = libmariadb.mysql_use_result(link->my);

        if (result != NULL) {
            fault = tell(link->my, result, row, arg, err);
            libmariadb.mysql_free_result(result);
        } else {
            fault = libmariadb.mysql_errno(link->my) == 0
                        ? DBMS_OK
                        : failed(link->my, err);
        }
        more = fault == DBMS_OK ? libmariadb.mysql_next_result(link->my) : -1;
    } while (more == 0);
    return more > 0 ? failed(link->my, err) : fault;
}

/*
 * A node of Galera that gives way to another one's transaction in the middle of
 * several statements that came together (MariaDB 10.11) rolls back, says so to
 * nobody, and carries out the rest, each statement for itself: no counter that
 * is ours, no guard, and no way back. After one that came alone it does say so.
 * (What may hold a semicolon is a hexadecimal literal.)
 */
static enum dbms_fault run(struct dbms_link *link, const char *sql, size_t len,
                           dbms_row_f *row, void *arg, struct err *err)
{
    const char *end = sql + len;
    enum dbms_fault fault = DBMS_OK;

    if (!link->galera)
        return run_packet(link, sql, len, row, arg, err);
    while (fault == DBMS_OK && sql < end) {
        const char *stop = memchr(sql, ';', (size_t)(end - sql));

        stop = stop == NULL ? end : stop;
        if (stop > sql)
            fault = run_packet(link, sql, (size_t)(stop - sql), row, arg, err);
        sql = stop + 1;
    }
    return fault;
}

/* --- connecting ---------------------------------------------------------- */

static void close_(struct dbms_link **link)
{
    assert((*link)->my != NULL);
    libmariadb.mysql_close((*link)->my);
    mem_free(*link);
    *link = NULL;
}

static unsigned seconds(int64_t ms)
{
    assert(ms > 0);
    return (unsigned)((ms + 999) / 1000);
}

static void set_options(MYSQL *my, const struct dbms_target *t)
{
    unsigned to_connect = seconds(t->url.connect_ms),
             to_wait = seconds(t->url.call_ms);
    unsigned tcp = MYSQL_PROTOCOL_TCP, none = 0;
    my_bool yes = 1, no = 0;

    assert(t->url.connect_ms > 0);
    assert(t->url.call_ms > 0);
    (void)libmariadb.mysql_options(my, MYSQL_OPT_PROTOCOL, &tcp);
    (void)libmariadb.mysql_options(my, MYSQL_OPT_LOCAL_INFILE, &none);
    (void)libmariadb.mysql_options(my, MYSQL_OPT_CONNECT_TIMEOUT, &to_connect);
    (void)libmariadb.mysql_options(my, MYSQL_OPT_READ_TIMEOUT, &to_wait);
    (void)libmariadb.mysql_options(my, MYSQL_OPT_WRITE_TIMEOUT, &to_wait);
    (void)libmariadb.mysql_options(my, MYSQL_OPT_RECONNECT, &no);
    (void)libmariadb.mysql_options(my, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    (void)libmariadb.mysql_optionsv(my, MYSQL_OPT_CONNECT_ATTR_ADD,
                                    "program_name", "pelorus");
    if (t->url.tls >= JDBC_TLS_ON)
        (void)libmariadb.mysql_optionsv(my, MYSQL_OPT_SSL_ENFORCE, &yes);
    if (t->url.tls != JDBC_TLS_OFF) {
        (void)libmariadb.mysql_ssl_set(my, t->url.key, t->url.cert, t->url.ca,
                                       NULL, NULL);
        (void)libmariadb.mysql_optionsv(my, MYSQL_OPT_SSL_VERIFY_SERVER_CERT,
                                        t->url.tls >= JDBC_TLS_CA ? &yes : &no);
    }
}

struct setup {
    bool read_only, galera, log, by_row;
};

static void on_variable(struct setup *s, const struct dbms_cell *name,
                        const struct dbms_cell *value)
{
    if (name->n == 8 && memcmp(name->p, "wsrep_on", 8) == 0)
        s->galera = !dbms_is_off(value);
    else if (name->n == 7 && memcmp(name->p, "log_bin", 7) == 0)
        s->log = !dbms_is_off(value);
    else
        s->by_row = value->n == 3 && memcmp(value->p, "ROW", 3) == 0;
}

static void on_setup(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct setup *s = arg;

    if (n < 2 || cells[0].p == NULL)
        return; /* not as MySQL answers */
    if (cells[0].n == 1 && cells[0].p[0] == 'W')
        s->read_only = !dbms_is_off(&cells[1]) || !dbms_is_off(&cells[n - 1]);
    else
        on_variable(s, &cells[0], &cells[1]);
}

/* What a stopped process holds must not be held for ever. The comments are
 * for MariaDB alone. */
static enum dbms_fault set_up(struct dbms_link *link,
                              const struct dbms_target *t, struct err *err)
{
    static const char waits[] =
        "SET SESSION wsrep_sync_wait = 7, wsrep_dirty_reads = 0";
    unsigned idle = seconds(t->idle_ms), lock = seconds(t->url.call_ms * 2 / 3);
    struct setup setup = {0};
    enum dbms_fault fault;
    char sql[768];

    assert(!link->galera);
    assert(!t->bare);
    assert(t->idle_ms > 0);
    (void)snprintf(sql, sizeof(sql),
                   "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;"
                   "SET SESSION sql_mode = 'STRICT_ALL_TABLES', autocommit = 1,"
                   " innodb_lock_wait_timeout = %u, wait_timeout = %u,"
                   " group_concat_max_len = 67108864"
                   " /*M! , idle_write_transaction_timeout = %u,"
                   " in_predicate_conversion_threshold = 0 */;"
                   "BEGIN;" READ_ONLY ";ROLLBACK;"
                   "SHOW VARIABLES WHERE Variable_name IN"
                   " ('wsrep_on', 'log_bin', 'binlog_format')",
                   lock, idle * 4 + 1, idle);
    fault = run(link, sql, strlen(sql), on_setup, &setup, err);
    if (fault == DBMS_OK && setup.read_only) {
        err_set(err, ERR_UNAVAILABLE,
                "mysql: this server is read only; is it a replica?");
        return DBMS_NOT_HERE;
    }
    link->galera = setup.galera;
    link->by_statement = setup.log && !setup.by_row;
    if (fault == DBMS_OK && setup.galera) /* no read is older than it began */
        fault = run(link, waits, strlen(waits), on_setup, &setup, err);
    return fault;
}

/* Who verifies certificates compares them with the name: then it is looked up
 * by libmariadb, and its first address that answers is the one. libmariadb
 * reads a password that is missing from the environment, and takes a socket
 * for localhost. */
static enum dbms_fault connect_(struct dbms_link **out,
                                const struct dbms_target *t, struct err *err)
{
    const struct jdbc_host *host = &t->url.hosts[t->at];
    bool by_name = t->address[0] == '\0' || t->url.tls >= JDBC_TLS_CA;
    const char *user = host->user != NULL ? host->user : t->url.user;
    const char *password =
        host->password != NULL ? host->password : t->url.password;
    MYSQL *my = libmariadb.mysql_init(NULL);
    struct dbms_link *link;
    enum dbms_fault fault;

    assert(t->at < t->url.n_hosts);
    if (my == NULL) {
        err_set(err, ERR_UNAVAILABLE, "mysql: out of memory");
        return DBMS_LOST;
    }
    set_options(my, t);
    if (libmariadb.mysql_real_connect(my, by_name ? host->name : t->address,
                                      user, password != NULL ? password : "",
                                      t->url.database, host->port, NULL,
                                      CLIENT_MULTI_STATEMENTS) == NULL) {
        fault = failed(my, err);
        /* MariaDB refuses whoever comes without TLS by the same number as a
         * password that is wrong. */
        if (t->url.tls == JDBC_TLS_OFF &&
            libmariadb.mysql_errno(my) == ER_ACCESS_DENIED_ERROR) {
            err_add(err,
                    "; or it demands TLS (require_secure_transport, REQUIRE "
                    "SSL), which useSSL=true or sslMode=REQUIRED switches on");
        }
        libmariadb.mysql_close(my);
        return fault;
    }
    link = mem_zalloc(sizeof(*link));
    link->my = my;
    fault = t->bare ? DBMS_OK : set_up(link, t, err);
    if (fault != DBMS_OK) {
        close_(&link);
        return fault;
    }
    *out = link;
    return DBMS_OK;
}

/* --- a transaction ------------------------------------------------------- */

/* BEGIN first: proxies that part reads from writes send the rest after it. */
static void begin(const struct dbms_target *t, struct buf *sql)
{
    (void)t;
    buf_str(sql, "BEGIN;" READ_ONLY);
}

static bool certifies(const struct dbms_link *link)
{
    return link->galera;
}

/* MariaDB since 10.0.5; MySQL does not. */
static bool returns(const struct dbms_link *link)
{
    assert(link->my != NULL);
    return libmariadb.mariadb_connection(link->my) != 0;
}

/* MariaDB since 10.2. Its binlog takes rows that came so as rows, those that
 * are written over with the old ones, too. */
static bool inserts(const struct dbms_link *link, bool over)
{
    unsigned long can = 0;

    return !link->galera && !(over && link->by_statement) &&
           libmariadb.mariadb_connection(link->my) != 0 &&
           libmariadb.mariadb_get_infov(
               link->my, MARIADB_CONNECTION_EXTENDED_SERVER_CAPABILITIES,
               &can) == 0 &&
           (can & (MARIADB_CLIENT_STMT_BULK_OPERATIONS >> 32)) != 0;
}

/* Rows as bytes and numbers, column by column, which nobody has to parse. It is
 * prepared each time: another server may stand behind the connection by now. */
static enum dbms_fault insert(struct dbms_link *link, const char *sql,
                              const struct dbms_column *columns, unsigned n,
                              size_t rows, struct err *err)
{
    MYSQL_STMT *stmt = libmariadb.mysql_stmt_init(link->my);
    MYSQL_BIND bind[DBMS_COLUMNS] = {0};
    unsigned size = (unsigned)rows;
    enum dbms_fault fault = DBMS_OK;

    assert(n <= DBMS_COLUMNS);
    assert(rows > 0);
    for (unsigned i = 0; i < n; i++) {
        bool bytes = columns[i].p != NULL;

        bind[i].buffer_type = bytes ? MYSQL_TYPE_BLOB : MYSQL_TYPE_LONGLONG;
        bind[i].buffer = bytes ? (void *)columns[i].p
                               : (void *)(uintptr_t)columns[i].numbers;
        bind[i].length = (unsigned long *)(uintptr_t)columns[i].len;
        bind[i].is_unsigned = 1;
    }
    if (stmt == NULL ||
        libmariadb.mysql_stmt_prepare(stmt, sql, (unsigned long)strlen(sql)) !=
            0 ||
        libmariadb.mysql_stmt_attr_set(stmt, STMT_ATTR_ARRAY_SIZE, &size) !=
            0 ||
        libmariadb.mysql_stmt_bind_param(stmt, bind) != 0 ||
        libmariadb.mysql_stmt_execute(stmt) != 0)
        fault = failed(link->my, err);
    if (stmt != NULL)
        (void)libmariadb.mysql_stmt_close(stmt);
    return fault;
}

const struct dbms_driver dbms_mysql = {.name = "mysql",
                                       .load = load,
                                       .syntax = &syntax,
                                       .connect = connect_,
                                       .begin = begin,
                                       .certifies = certifies,
                                       .returns = returns,
                                       .run = run,
                                       .inserts = inserts,
                                       .insert = insert,
                                       .close = close_};
