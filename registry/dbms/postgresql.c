/*
 * postgresql.c - the PostgreSQL driver: libpq, never blocking for longer
 * than the deadline of a request.
 *
 * libpq's blocking calls know no deadline, so requests are sent and answers
 * read without blocking, with poll(2) between. Rows with values are taken one
 * by one: a table of any size costs the memory of a row.
 *
 * Nothing is set for a session, since behind a pooler it is everybody's:
 * settings end with their transaction, literals read alike under any of them,
 * and nobody LISTENs through one. What libpq would take from the environment
 * and could lead elsewhere (PGHOSTADDR, PGOPTIONS, PGSERVICE...) is given.
 * (Long: all that knows of libpq.)
 */
#include "registry/dbms/dbms_priv.h"

#include "base/clock.h"
#include "base/library/library.h"
#include "base/mem.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* the numbers of types */
#define BYTEA       17
#define INT8        20
#define BYTEA_ARRAY 1001
#define INT8_ARRAY  1016

#define COLUMNS 16

#define LIBPQ(X)                                                               \
    X(PQbackendPID)                                                            \
    X(PQclear)                                                                 \
    X(PQcmdStatus)                                                             \
    X(PQconnectPoll)                                                           \
    X(PQconnectStartParams)                                                    \
    X(PQconsumeInput)                                                          \
    X(PQerrorMessage)                                                          \
    X(PQfinish)                                                                \
    X(PQflush)                                                                 \
    X(PQfreemem)                                                               \
    X(PQftype)                                                                 \
    X(PQgetResult)                                                             \
    X(PQgetisnull)                                                             \
    X(PQgetlength)                                                             \
    X(PQgetvalue)                                                              \
    X(PQisBusy)                                                                \
    X(PQnfields)                                                               \
    X(PQnotifies)                                                              \
    X(PQntuples)                                                               \
    X(PQresultErrorField)                                                      \
    X(PQresultErrorMessage)                                                    \
    X(PQresultStatus)                                                          \
    X(PQsendQuery)                                                             \
    X(PQsendQueryParams)                                                       \
    X(PQsetErrorVerbosity)                                                     \
    X(PQsetNoticeReceiver)                                                     \
    X(PQsetSingleRowMode)                                                      \
    X(PQsetnonblocking)                                                        \
    X(PQsocket)                                                                \
    X(PQstatus)

static struct {
    LIBPQ(LIBRARY_SLOT)
} libpq;

static struct library library = LIBRARY(LIBPQ, libpq, "libpq.so.5", "libpq5");

static int load(struct err *err)
{
    return library_load(&library, err);
}

static const struct dbms_syntax syntax = {
    .now_ms = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    .bytes = "E'\\\\x",
    .bytes_end = "'::bytea",
    .text = "convert_from(E'\\\\x",
    .text_end = "', 'UTF8')",
    .array = "E'{",
    .array_item = "\"\\\\\\\\x",
    .array_bytes_end = "}'::bytea[]",
    .array_numbers_end = "}'::bigint[]",
    .key_of = "convert_to(data_key, 'UTF8')",
    .list = "string_agg(id || ' ' || ",
    .list_and = " || ' ' || ",
    .list_end = " || ',', '')",
    .data_mark = "hashtextextended(data_type, hashtextextended(data_key,"
                 " hashtextextended(coalesce(data_value, ''), client_id)))",
    .client_mark = "hashtextextended(coalesce(connection_config, ''), 0)",
    .share = " FOR SHARE",
    .fresh = "",
    .touch = "",
    .writes = "",
    .put = "INSERT",
    .upsert = " ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value,"
              " created = EXCLUDED.created, version = EXCLUDED.version,"
              " owner = EXCLUDED.owner",
    .ignore = " ON CONFLICT DO NOTHING RETURNING 'I', id",
    .last_id = "",
    .hint = ";NOTIFY pelorus",
    .schema = dbms_schema_postgresql,
    .missing = "SELECT name FROM (SELECT '' AS name",
    /* Where they would be made, not anywhere on the search path. */
    .missing_end = ") AS wanted WHERE name <> '' AND to_regclass("
                   "quote_ident(current_schema()) || '.' || name) IS NULL",
    .name = " UNION ALL SELECT '",
    .name_end = "'",
};

struct dbms_link {
    PGconn *pg;
    int64_t call_ms;
    bool one_by_one;
    bool listening, pooled;
};

/* --- errors -------------------------------------------------------------- */

/* What a state means, by its first letters. */
struct meaning {
    const char *prefix;
    enum dbms_fault fault;
    enum trouble trouble;
};

static const struct meaning *meaning_of(const char *state)
{
    static const struct meaning meanings[] = {
        {"23505", DBMS_DUPLICATE, TROUBLE_NONE},
        {"40", DBMS_ROLLED_BACK, TROUBLE_NONE},
        {"55P03", DBMS_WAITED, TROUBLE_NONE},
        {"28", DBMS_DENIED, TROUBLE_AUTH_REFUSED},
        {"42501", DBMS_DENIED, TROUBLE_NONE},
        {"25006", DBMS_NOT_HERE, TROUBLE_NONE},
        {"42P01", DBMS_MISSING, TROUBLE_NONE},
        {"3D000", DBMS_MISSING, TROUBLE_NONE},
        {"3F000", DBMS_MISSING, TROUBLE_NONE},
        {"57P", DBMS_LOST, TROUBLE_NONE},
        {"57014", DBMS_REFUSED, TROUBLE_LIMIT},
        {"08", DBMS_LOST, TROUBLE_NONE},
        {"25P03", DBMS_LOST, TROUBLE_NONE},
        {"25P04", DBMS_LOST, TROUBLE_LIMIT},
        {"54", DBMS_TOO_LARGE, TROUBLE_NONE},
        {"53300", DBMS_REFUSED, TROUBLE_CONNECTIONS},
        {"53", DBMS_REFUSED, TROUBLE_FULL},
        {"", DBMS_REFUSED, TROUBLE_NONE}, /* any other */
    };
    const struct meaning *m = meanings;

    while (strncmp(state == NULL ? "" : state, m->prefix, strlen(m->prefix)) !=
           0)
        m++;
    assert(m < meanings + ARRAY_LEN(meanings));
    return m;
}

/* libpq's messages end with a line break. */
static void say(struct err *err, const char *what, const char *message)
{
    size_t len = strcspn(message, "\n");

    err_set(err, ERR_UNAVAILABLE, "postgresql: %s%.*s", what, (int)len,
            message);
}

/* --- waiting ------------------------------------------------------------- */

/* False: the deadline is over. */
static bool wait_for(PGconn *pg, short events, mono_ms until)
{
    struct pollfd fd = {.fd = libpq.PQsocket(pg), .events = events};
    int64_t left = until - clock_mono_ms();

    assert(events != 0);
    return left > 0 && fd.fd >= 0 && poll(&fd, 1, (int)left) > 0;
}

static enum dbms_fault too_late(struct err *err)
{
    err_set(err, ERR_UNAVAILABLE, "postgresql: no answer within the deadline");
    return DBMS_LOST;
}

static enum dbms_fault broken(struct dbms_link *link, struct err *err)
{
    assert(link->pg != NULL);
    say(err, "", libpq.PQerrorMessage(link->pg));
    return DBMS_LOST;
}

/* Send what libpq has queued, reading meanwhile: a server that waits for us to
 * read would wait for ever. */
static enum dbms_fault flush(struct dbms_link *link, mono_ms until,
                             struct err *err)
{
    int rc;

    assert(link->pg != NULL);
    while ((rc = libpq.PQflush(link->pg)) == 1) {
        if (!wait_for(link->pg, POLLIN | POLLOUT, until))
            return too_late(err);
        if (libpq.PQconsumeInput(link->pg) == 0)
            return broken(link, err);
    }
    return rc == 0 ? DBMS_OK : broken(link, err);
}

/* --- requests ------------------------------------------------------------ */

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* \x6162 in place. */
static size_t unhex(char *text, size_t len)
{
    size_t n = len < 2 ? 0 : (len - 2) / 2;

    for (size_t i = 0; i < n; i++) {
        text[i] = (char)(hex_digit(text[2 + 2 * i]) << 4 |
                         hex_digit(text[3 + 2 * i]));
    }
    text[n] = '\0';
    return n;
}

static void tell(PGresult *result, dbms_row_f *row, void *arg)
{
    struct dbms_cell cells[COLUMNS];
    int columns = libpq.PQnfields(result);

    assert(columns <= COLUMNS);
    for (int r = 0; r < libpq.PQntuples(result); r++) {
        for (int c = 0; c < columns; c++) {
            char *text = libpq.PQgetvalue(result, r, c);
            size_t len = (size_t)libpq.PQgetlength(result, r, c);

            if (libpq.PQgetisnull(result, r, c)) {
                cells[c] = (struct dbms_cell){NULL, 0};
                continue;
            }
            if (libpq.PQftype(result, c) == BYTEA)
                len = unhex(text, len);
            cells[c] = (struct dbms_cell){text, len};
        }
        row(arg, cells, (unsigned)columns);
    }
}

static const char *hint_of(const PGresult *result)
{
    const char *state = libpq.PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return strcmp(state, "3F000") == 0
               ? "make that schema, or correct currentSchema in jdbc-url"
           : strcmp(state, "3D000") == 0
               ? DBMS_NO_DATABASE
               : "make the tables with: pelorus registry init";
}

/* COMMIT of a transaction that had failed says ROLLBACK, without an error. */
static enum dbms_fault judge(PGresult *result, bool commit, dbms_row_f *row,
                             void *arg, struct err *err)
{
    const struct meaning *m;

    switch (libpq.PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
    case PGRES_TUPLES_OK:
        tell(result, row, arg);
        return DBMS_OK;
    case PGRES_COMMAND_OK:
        if (commit && strcmp(libpq.PQcmdStatus(result), "ROLLBACK") == 0) {
            err_set(err, ERR_UNAVAILABLE,
                    "postgresql: the transaction was rolled back");
            return DBMS_ROLLED_BACK;
        }
        return DBMS_OK;
    case PGRES_EMPTY_QUERY:
        return DBMS_OK;
    default:
        say(err, "", libpq.PQresultErrorMessage(result));
        m = meaning_of(libpq.PQresultErrorField(result, PG_DIAG_SQLSTATE));
        err_set_trouble(err, m->trouble);
        if (m->fault == DBMS_MISSING)
            err_add(err, "; %s", hint_of(result));
        return m->fault;
    }
}

/* All results, to the end: the first fault counts. */
static enum dbms_fault read_results(struct dbms_link *link, bool commit,
                                    mono_ms until, dbms_row_f *row, void *arg,
                                    struct err *err)
{
    enum dbms_fault fault = DBMS_OK;

    assert(link->pg != NULL);
    for (;;) {
        PGresult *result;

        while (libpq.PQisBusy(link->pg)) {
            if (!wait_for(link->pg, POLLIN, until))
                return too_late(err);
            if (libpq.PQconsumeInput(link->pg) == 0)
                return broken(link, err);
        }
        result = libpq.PQgetResult(link->pg);
        if (result == NULL)
            break;
        if (fault == DBMS_OK)
            fault = judge(result, commit, row, arg, err);
        libpq.PQclear(result);
        if (libpq.PQstatus(link->pg) == CONNECTION_BAD)
            return fault == DBMS_OK ? broken(link, err) : DBMS_LOST;
    }
    return fault;
}

static enum dbms_fault run(struct dbms_link *link, const char *sql, size_t len,
                           dbms_row_f *row, void *arg, struct err *err)
{
    mono_ms until = clock_mono_ms() + link->call_ms;
    enum dbms_fault fault;

    assert(link->call_ms > 0);
    assert(strlen(sql) == len);
    if (libpq.PQsendQuery(link->pg, sql) == 0 ||
        (link->one_by_one && libpq.PQsetSingleRowMode(link->pg) == 0))
        return broken(link, err);
    fault = flush(link, until, err);
    return fault != DBMS_OK ? fault
                            : read_results(link, strcmp(sql, "COMMIT") == 0,
                                           until, row, arg, err);
}

/* --- columns as arrays --------------------------------------------------- */

static void add_i32(struct buf *b, uint64_t value)
{
    char bytes[4] = {(char)(value >> 24), (char)(value >> 16),
                     (char)(value >> 8), (char)value};

    buf_add(b, bytes, sizeof(bytes));
}

/* The binary form of an array of one dimension: how many there are of it,
 * whether it has NULLs, the type; its length, its first index; each with its
 * length before it (array_recv() of PostgreSQL). */
static void add_array(struct buf *b, const struct dbms_column *column,
                      size_t rows)
{
    bool bytes = column->p != NULL;

    add_i32(b, 1);
    add_i32(b, 0);
    add_i32(b, bytes ? BYTEA : INT8);
    add_i32(b, rows);
    add_i32(b, 1);
    for (size_t i = 0; i < rows; i++) {
        add_i32(b, bytes ? column->len[i] : 8);
        if (bytes) {
            buf_add(b, column->p[i], column->len[i]);
        } else {
            add_i32(b, column->numbers[i] >> 32);
            add_i32(b, column->numbers[i]);
        }
    }
}

/* "VALUES(?,?)" becomes "SELECT * FROM unnest($1,$2)". */
static void add_unnest(struct buf *b, const char *sql, unsigned n)
{
    const char *values = strstr(sql, "VALUES(?"), *end;

    assert(values != NULL);
    end = strchr(values, ')');
    assert(end != NULL);
    buf_add(b, sql, (size_t)(values - sql));
    for (unsigned c = 0; c < n; c++)
        buf_printf(b, "%s$%u", c == 0 ? " SELECT * FROM unnest(" : ",", c + 1);
    buf_str(b, end);
}

static bool inserts(const struct dbms_link *link, bool over)
{
    (void)over;
    return link != NULL;
}

/* As parameters: neither the server nor we go through them letter by letter,
 * as through a text. (Without a name, so that a pooler need not know of it.) */
static enum dbms_fault insert(struct dbms_link *link, const char *sql,
                              const struct dbms_column *columns, unsigned n,
                              size_t rows, struct err *err)
{
    mono_ms until = clock_mono_ms() + link->call_ms;
    const char *values[DBMS_COLUMNS];
    int lens[DBMS_COLUMNS], formats[DBMS_COLUMNS];
    size_t starts[DBMS_COLUMNS];
    Oid types[DBMS_COLUMNS];
    struct buf text, data;
    enum dbms_fault fault;

    assert(n > 0 && n <= DBMS_COLUMNS);
    assert(rows > 0);
    buf_init(&text, 4096);
    buf_init(&data, DBMS_SQL_MAX);
    add_unnest(&text, sql, n);
    for (unsigned c = 0; c < n; c++) {
        starts[c] = data.len;
        add_array(&data, &columns[c], rows);
        lens[c] = (int)(data.len - starts[c]);
        formats[c] = 1;
        types[c] = columns[c].p != NULL ? BYTEA_ARRAY : INT8_ARRAY;
    }
    assert(!text.overflow && !data.overflow);
    for (unsigned c = 0; c < n; c++)
        values[c] = data.data + starts[c];
    fault = libpq.PQsendQueryParams(link->pg, buf_text(&text), (int)n, types,
                                    values, lens, formats, 0) == 0
                ? broken(link, err)
                : flush(link, until, err);
    buf_close(&data);
    buf_close(&text);
    return fault != DBMS_OK
               ? fault
               : read_results(link, false, until, dbms_ignore_row, NULL, err);
}

static void stream(struct dbms_link *link, bool one_by_one)
{
    link->one_by_one = one_by_one;
}

/* --- connecting ---------------------------------------------------------- */

static void close_(struct dbms_link **link)
{
    assert((*link)->pg != NULL);
    libpq.PQfinish((*link)->pg);
    mem_free(*link);
    *link = NULL;
}

/* ":  28P01: " in "FATAL:  28P01: password authentication failed ...". What
 * libpq says by itself has none. */
static bool state_in(const char *message, char out[6])
{
    const char *at = message;

    while ((at = strstr(at, ":  ")) != NULL) {
        at += 3;
        if (strspn(at, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 &&
            at[5] == ':') {
            memcpy(out, at, 5);
            out[5] = '\0';
            return true;
        }
    }
    return false;
}

/* The server's words may be in any language, and libpq's are in English: we
 * set no locale. */
static enum dbms_fault not_connected(const char *message, enum jdbc_tls tls,
                                     struct err *err)
{
    char state[6] = "";
    enum trouble trouble;

    say(err, "", message);
    if (!state_in(message, state)) {
        trouble = strstr(message, "SSL") != NULL ||
                          strstr(message, "certificate") != NULL
                      ? TROUBLE_TLS_FAILED
                  : strstr(message, "no password supplied") != NULL
                      ? TROUBLE_AUTH_DEMANDED
                      : TROUBLE_NONE;
    } else if (strcmp(state, "28000") == 0 &&
               strstr(message, "pg_hba.conf") != NULL) {
        /* It may want to be asked with encryption, and we never would. */
        trouble =
            tls == JDBC_TLS_OFF ? TROUBLE_TLS_REQUIRED : TROUBLE_FORBIDDEN;
    } else {
        trouble = meaning_of(state)->trouble;
    }
    if (strcmp(state, "3D000") == 0)
        err_add(err, "; " DBMS_NO_DATABASE);
    err_set_trouble(err, trouble);
    return strncmp(state, "28", 2) == 0  ? DBMS_DENIED
           : strcmp(state, "3D000") == 0 ? DBMS_MISSING
                                         : DBMS_LOST;
}

static enum dbms_fault finish_connect(PGconn *pg, mono_ms until,
                                      enum jdbc_tls tls, struct err *err)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    assert(pg != NULL);
    while (libpq.PQstatus(pg) != CONNECTION_BAD && status != PGRES_POLLING_OK &&
           status != PGRES_POLLING_FAILED) {
        if (!wait_for(pg, status == PGRES_POLLING_READING ? POLLIN : POLLOUT,
                      until)) {
            err_set(err, ERR_UNAVAILABLE,
                    "postgresql: could not connect in time");
            return DBMS_LOST;
        }
        status = libpq.PQconnectPoll(pg);
    }
    if (status == PGRES_POLLING_OK)
        return DBMS_OK;
    return not_connected(libpq.PQerrorMessage(pg), tls, err);
}

/* What libpq is not given it takes from the environment; PGOPTIONS and the
 * service of PGSERVICE are such. Of `options` an empty text counts as nothing,
 * and poolers refuse them: so only against those. */
static const char *options(void)
{
    return getenv("PGOPTIONS") == NULL && getenv("PGSERVICE") == NULL
               ? NULL
               : "-c application_name=pelorus";
}

static PGconn *start(const struct dbms_target *t)
{
    static const char *const modes[] = {[JDBC_TLS_OFF] = "disable",
                                        [JDBC_TLS_PREFER] = "prefer",
                                        [JDBC_TLS_ON] = "require",
                                        [JDBC_TLS_CA] = "verify-ca",
                                        [JDBC_TLS_HOST] = "verify-full"};
    const struct jdbc_host *host = &t->url.hosts[t->at];
    const char *address = t->address[0] != '\0' ? t->address : NULL;
    char port[8], patience[24];

    assert(t->at < t->url.n_hosts);
    assert(t->url.call_ms > 0);
    (void)snprintf(port, sizeof(port), "%u", host->port);
    (void)snprintf(patience, sizeof(patience), "%" PRId64, t->url.call_ms);
    /* What is NULL is as if it were not there. No name is expanded. */
    const struct {
        const char *name, *value;
    } given[] = {
        {"host", host->name},
        {"hostaddr", address},
        {"port", port},
        {"dbname", t->url.database},
        {"user", t->url.user},
        {"password", t->url.password},
        {"options", t->url.options != NULL ? t->url.options : options()},
        {"sslmode", modes[t->url.tls]},
        {"sslrootcert", t->url.ca},
        {"sslcert", t->url.cert},
        {"sslkey", t->url.key},
        {"sslpassword", t->url.key_password},
        {"keepalives_idle", "10"},
        {"tcp_user_timeout", patience},
        {"application_name",
         t->url.application != NULL ? t->url.application : "pelorus"},
        {"gssencmode", "disable"},
        {"client_encoding", "UTF8"},
        {"target_session_attrs", "any"}, /* we ask ourselves */
    };
    const char *names[ARRAY_LEN(given) + 1], *values[ARRAY_LEN(given) + 1];

    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        names[i] = given[i].name;
        values[i] = given[i].value;
    }
    names[ARRAY_LEN(given)] = values[ARRAY_LEN(given)] = NULL;
    return libpq.PQconnectStartParams(names, values, 0);
}

static void no_notice(void *arg, const PGresult *notice)
{
    (void)arg;
    (void)notice;
}

static enum dbms_fault connect_(struct dbms_link **out,
                                const struct dbms_target *t, struct err *err)
{
    PGconn *pg = start(t);
    enum dbms_fault fault;
    struct dbms_link *link;

    assert(t->at < t->url.n_hosts);
    assert(t->url.connect_ms > 0);
    if (pg == NULL) {
        err_set(err, ERR_UNAVAILABLE, "postgresql: out of memory");
        return DBMS_LOST;
    }
    (void)libpq.PQsetNoticeReceiver(pg, no_notice, NULL);
    link = mem_zalloc(sizeof(*link));
    link->pg = pg;
    link->call_ms = t->url.call_ms;
    (void)libpq.PQsetErrorVerbosity(pg,
                                    PQERRORS_VERBOSE); /* with the SQLSTATE */
    fault = finish_connect(pg, clock_mono_ms() + t->url.connect_ms, t->url.tls,
                           err);
    (void)libpq.PQsetErrorVerbosity(pg, PQERRORS_DEFAULT);
    if (fault == DBMS_OK && libpq.PQsetnonblocking(pg, 1) != 0)
        fault = broken(link, err);
    if (fault != DBMS_OK) {
        close_(&link);
        return fault;
    }
    *out = link;
    return DBMS_OK;
}

/* --- a transaction ------------------------------------------------------- */

/* The timeline after a promotion: pg_control_checkpoint() tells the old one
 * until the next checkpoint, and a standby has no place to write. */
#define TIMELINE                                                               \
    "CASE WHEN pg_is_in_recovery() THEN NULL"                                  \
    " ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"

/* One statement, for it is run often. What a stopped process holds must not be
 * held for ever. currentSchema is what the JDBC driver makes of it, a search
 * path; without one it is the user's. */
static void begin(const struct dbms_target *t, struct buf *sql)
{
    assert(t->url.call_ms > 0);
    assert(t->idle_ms > 0);
    buf_printf(sql,
               "BEGIN ISOLATION LEVEL READ COMMITTED;"
               "SELECT 'W', current_setting('transaction_read_only'), 0, %s,"
               " set_config('statement_timeout', '%" PRId64 "', true),"
               " set_config('lock_timeout', '%" PRId64 "', true),"
               " set_config('idle_in_transaction_session_timeout', '%" PRId64
               "', true), set_config('bytea_output', 'hex', true)",
               t->lineless ? "NULL" : TIMELINE, t->url.call_ms,
               t->url.call_ms * 2 / 3, t->idle_ms);
    if (t->url.schema == NULL) {
        buf_str(sql, ";SET LOCAL search_path TO DEFAULT");
        return;
    }
    buf_str(sql, ", set_config('search_path', convert_from(decode('");
    dbms_hex(sql, t->url.schema, strlen(t->url.schema));
    buf_str(sql, "', 'hex'), 'UTF8'), true)");
}

/* --- hints --------------------------------------------------------------- */

static void on_pid(void *arg, const struct dbms_cell *cells, unsigned n)
{
    assert(n == 1);
    (void)n;
    *(int *)arg = (int)dbms_u64(&cells[0]);
}

/* A pooler tells a number of its own. In its sessions we must leave nothing. */
static enum dbms_fault listen_for_hints(struct dbms_link *link)
{
    static const char ask[] = "SELECT pg_backend_pid()";
    static const char listen[] = "LISTEN pelorus";
    int pid = 0;
    enum dbms_fault fault = run(link, ask, strlen(ask), on_pid, &pid, NULL);

    assert(!link->listening);
    link->pooled = pid != libpq.PQbackendPID(link->pg);
    if (fault == DBMS_OK && !link->pooled)
        fault = run(link, listen, strlen(listen), dbms_ignore_row, NULL, NULL);
    link->listening = fault == DBMS_OK;
    return fault;
}

static enum dbms_fault wait_(struct dbms_link *link, int64_t ms, bool *hinted)
{
    PGnotify *note;

    assert(ms >= 0);
    *hinted = false;
    if (!link->listening) {
        enum dbms_fault fault = listen_for_hints(link);

        if (fault != DBMS_OK)
            return fault;
        *hinted = true; /* what came before is not told */
    }
    if (!*hinted)
        (void)wait_for(link->pg, POLLIN, clock_mono_ms() + ms);
    if (libpq.PQconsumeInput(link->pg) == 0)
        return DBMS_LOST;
    while ((note = libpq.PQnotifies(link->pg)) != NULL) {
        *hinted = true;
        libpq.PQfreemem(note);
    }
    return DBMS_OK;
}

/* What is left for users of no rank, by the server's, the database's and the
 * user's limit. */
static const char room[] =
    "SELECT least(current_setting('max_connections')::bigint"
    " - current_setting('superuser_reserved_connections')::bigint"
    " - coalesce(current_setting('reserved_connections', true), '0')::bigint"
    " - (SELECT count(*) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend'),"
    " (SELECT nullif(datconnlimit, -1) - (SELECT count(*) FROM"
    " pg_stat_activity WHERE datname = current_database())"
    " FROM pg_database WHERE datname = current_database()),"
    " (SELECT nullif(rolconnlimit, -1) - (SELECT count(*) FROM"
    " pg_stat_activity WHERE usename = session_user)"
    " FROM pg_roles WHERE rolname = session_user))";

static void on_room(void *arg, const struct dbms_cell *cells, unsigned n)
{
    assert(n == 1);
    (void)n;
    if (cells[0].p != NULL)
        *(int64_t *)arg = strtoll(cells[0].p, NULL, 10);
}

static bool has_room(struct dbms_link *link)
{
    int64_t left = 1;

    assert(link->pg != NULL);
    return run(link, room, strlen(room), on_room, &left, NULL) != DBMS_OK ||
           left > 0;
}

static bool returns(const struct dbms_link *link)
{
    return link != NULL;
}

const struct dbms_driver dbms_postgresql = {.name = "postgresql",
                                            .load = load,
                                            .syntax = &syntax,
                                            .connect = connect_,
                                            .begin = begin,
                                            .returns = returns,
                                            .run = run,
                                            .inserts = inserts,
                                            .insert = insert,
                                            .stream = stream,
                                            .wait = wait_,
                                            .has_room = has_room,
                                            .close = close_};
