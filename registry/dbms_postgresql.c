/*
 * dbms_postgresql.c - the PostgreSQL driver: libpq, never blocking for longer
 * than the deadline of a request.
 *
 * libpq's blocking calls know no deadline, so requests are sent and answers
 * read without blocking, with poll(2) between. Rows with values are taken one
 * by one: a table of any size costs the memory of a row.
 */
#include "registry/dbms.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <string.h>

#define BYTEA   17 /* its type's number */
#define COLUMNS 16

static const char schema[] =
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

static const struct dbms_words words = {
    .now_ms = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    .bytes = "'\\x",
    .bytes_end = "'::bytea",
    .text = "convert_from('\\x",
    .text_end = "', 'UTF8')",
    .array = "'{",
    .array_bytes_end = "}'::bytea[]",
    .array_numbers_end = "}'::bigint[]",
    .key_of = "convert_to(data_key, 'UTF8')",
    .share = " FOR SHARE",
    .upsert = " ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value,"
              " created = EXCLUDED.created, version = EXCLUDED.version,"
              " owner = EXCLUDED.owner",
    .ignore = " ON CONFLICT DO NOTHING RETURNING 'I', id",
    .last_id = "",
    .hint = ";NOTIFY pelorus",
    .schema = schema,
};

struct dbms_link {
    PGconn *pg;
    int64_t call_ms;
    bool one_by_one;
    bool listening;
};

/* --- errors --------------------------------------------------------------- */

static enum dbms_fault fault_of(const char *state)
{
    static const struct {
        const char *prefix;
        enum dbms_fault fault;
    } faults[] = {
        {"23505", DBMS_DUPLICATE}, {"40", DBMS_ROLLED_BACK},
        {"55P03", DBMS_WAITED},    {"28", DBMS_DENIED},
        {"42501", DBMS_DENIED},    {"25006", DBMS_DENIED},
        {"42P01", DBMS_MISSING},   {"3D000", DBMS_MISSING},
        {"3F000", DBMS_MISSING},   {"57P", DBMS_LOST},
        {"08", DBMS_LOST},         {"25P03", DBMS_LOST},
        {"54", DBMS_TOO_LARGE},
    };

    for (size_t i = 0; state != NULL && i < ARRAY_LEN(faults); i++) {
        if (strncmp(state, faults[i].prefix, strlen(faults[i].prefix)) == 0) {
            return faults[i].fault;
        }
    }
    return DBMS_REFUSED;
}

/* libpq's messages end with a line break. */
static void say(struct err *err, const char *what, const char *message)
{
    size_t len = strcspn(message, "\n");

    (void)err_set(err, ERR_UNAVAILABLE, "postgresql: %s%.*s", what, (int)len,
                  message);
}

/* --- waiting -------------------------------------------------------------- */

/* False: the deadline is over. */
static bool wait_for(PGconn *pg, short events, mono_ms until)
{
    struct pollfd fd = {.fd = PQsocket(pg), .events = events};
    int64_t left = until - clock_mono_ms();

    return left > 0 && fd.fd >= 0 && poll(&fd, 1, (int)left) > 0;
}

static enum dbms_fault too_late(struct err *err)
{
    (void)err_set(err, ERR_UNAVAILABLE,
                  "postgresql: no answer within the deadline");
    return DBMS_LOST;
}

static enum dbms_fault broken(struct dbms_link *link, struct err *err)
{
    say(err, "", PQerrorMessage(link->pg));
    return DBMS_LOST;
}

/* Send what libpq has queued, reading meanwhile: a server that waits for us to
 * read would wait for ever. */
static enum dbms_fault flush(struct dbms_link *link, mono_ms until,
                             struct err *err)
{
    int rc;

    while ((rc = PQflush(link->pg)) == 1) {
        if (!wait_for(link->pg, POLLIN | POLLOUT, until)) {
            return too_late(err);
        }
        if (PQconsumeInput(link->pg) == 0) {
            return broken(link, err);
        }
    }
    return rc == 0 ? DBMS_OK : broken(link, err);
}

/* --- requests ------------------------------------------------------------- */

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
    int columns = PQnfields(result);

    assert(columns <= COLUMNS);
    for (int r = 0; r < PQntuples(result); r++) {
        for (int c = 0; c < columns; c++) {
            char *text = PQgetvalue(result, r, c);
            size_t len = (size_t)PQgetlength(result, r, c);

            if (PQgetisnull(result, r, c)) {
                cells[c] = (struct dbms_cell){NULL, 0};
                continue;
            }
            if (PQftype(result, c) == BYTEA) {
                len = unhex(text, len);
            }
            cells[c] = (struct dbms_cell){text, len};
        }
        row(arg, cells, (unsigned)columns);
    }
}

/* COMMIT of a transaction that had failed says ROLLBACK, without an error. */
static enum dbms_fault judge(PGresult *result, bool commit, dbms_row_f *row,
                             void *arg, struct err *err)
{
    enum dbms_fault fault;

    switch (PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
    case PGRES_TUPLES_OK:
        tell(result, row, arg);
        return DBMS_OK;
    case PGRES_COMMAND_OK:
        if (commit && strcmp(PQcmdStatus(result), "ROLLBACK") == 0) {
            (void)err_set(err, ERR_UNAVAILABLE,
                          "postgresql: the transaction was rolled back");
            return DBMS_ROLLED_BACK;
        }
        return DBMS_OK;
    case PGRES_EMPTY_QUERY:
        return DBMS_OK;
    default:
        say(err, "", PQresultErrorMessage(result));
        fault = fault_of(PQresultErrorField(result, PG_DIAG_SQLSTATE));
        if (fault == DBMS_MISSING && err != NULL) {
            size_t len = strlen(err->msg);

            (void)snprintf(err->msg + len, sizeof(err->msg) - len,
                           "; make the tables with: pelorus registry init");
        }
        return fault;
    }
}

/* All results, to the end: the first fault counts. */
static enum dbms_fault read_results(struct dbms_link *link, bool commit,
                                    mono_ms until, dbms_row_f *row, void *arg,
                                    struct err *err)
{
    enum dbms_fault fault = DBMS_OK;

    for (;;) {
        PGresult *result;

        while (PQisBusy(link->pg)) {
            if (!wait_for(link->pg, POLLIN, until)) {
                return too_late(err);
            }
            if (PQconsumeInput(link->pg) == 0) {
                return broken(link, err);
            }
        }
        result = PQgetResult(link->pg);
        if (result == NULL) {
            break;
        }
        if (fault == DBMS_OK) {
            fault = judge(result, commit, row, arg, err);
        }
        PQclear(result);
        if (PQstatus(link->pg) == CONNECTION_BAD) {
            return fault == DBMS_OK ? broken(link, err) : DBMS_LOST;
        }
    }
    return fault;
}

static enum dbms_fault run(struct dbms_link *link, const char *sql, size_t len,
                           dbms_row_f *row, void *arg, struct err *err)
{
    mono_ms until = clock_mono_ms() + link->call_ms;
    enum dbms_fault fault;

    assert(strlen(sql) == len);
    if (PQsendQuery(link->pg, sql) == 0 ||
        (link->one_by_one && PQsetSingleRowMode(link->pg) == 0)) {
        return broken(link, err);
    }
    fault = flush(link, until, err);
    return fault != DBMS_OK ? fault
                            : read_results(link, strcmp(sql, "COMMIT") == 0,
                                           until, row, arg, err);
}

static void stream(struct dbms_link *link, bool one_by_one)
{
    link->one_by_one = one_by_one;
}

/* --- connecting ----------------------------------------------------------- */

static void close_(struct dbms_link **link)
{
    PQfinish((*link)->pg);
    mem_free(*link);
    *link = NULL;
}

static enum dbms_fault finish_connect(PGconn *pg, mono_ms until,
                                      struct err *err)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    const char *message;

    while (PQstatus(pg) != CONNECTION_BAD && status != PGRES_POLLING_OK &&
           status != PGRES_POLLING_FAILED) {
        if (!wait_for(pg, status == PGRES_POLLING_READING ? POLLIN : POLLOUT,
                      until)) {
            (void)err_set(err, ERR_UNAVAILABLE,
                          "postgresql: could not connect in time");
            return DBMS_LOST;
        }
        status = PQconnectPoll(pg);
    }
    if (status == PGRES_POLLING_OK) {
        return DBMS_OK;
    }
    message = PQerrorMessage(pg);
    say(err, "", message);
    return strstr(message, "authentication failed") != NULL ||
                   strstr(message, "no pg_hba.conf entry") != NULL
               ? DBMS_DENIED
               : DBMS_LOST;
}

static PGconn *start(const struct dbms_target *t)
{
    static const char *const modes[] = {[DBMS_TLS_OFF] = "disable",
                                        [DBMS_TLS_PREFER] = "prefer",
                                        [DBMS_TLS_ON] = "require",
                                        [DBMS_TLS_CA] = "verify-ca",
                                        [DBMS_TLS_HOST] = "verify-full"};
    const struct dbms_host *host = &t->hosts[t->at];
    char port[8], patience[24];

    (void)snprintf(port, sizeof(port), "%u", host->port);
    (void)snprintf(patience, sizeof(patience), "%" PRId64, t->call_ms);
    /* What is NULL is as if it were not there. */
    const char *const names[] = {"host",
                                 "port",
                                 "dbname",
                                 "user",
                                 "password",
                                 "sslmode",
                                 "sslrootcert",
                                 "sslcert",
                                 "sslkey",
                                 "keepalives_idle",
                                 "tcp_user_timeout",
                                 "application_name",
                                 "gssencmode",
                                 "client_encoding",
                                 NULL};
    const char *const values[] = {
        host->name,    port,      t->database, t->user, t->password,
        modes[t->tls], t->ca,     t->cert,     t->key,  "10",
        patience,      "pelorus", "disable",   "UTF8",  NULL};

    return PQconnectStartParams(names, values, 0);
}

static void ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

/* What a stopped process holds must not be held for ever. */
static enum dbms_fault set_up(struct dbms_link *link,
                              const struct dbms_target *t, struct err *err)
{
    char sql[768], quoted[256] = "", *name;

    if (t->schema != NULL) {
        name = PQescapeIdentifier(link->pg, t->schema, strlen(t->schema));
        if (name == NULL) {
            return broken(link, err);
        }
        (void)snprintf(quoted, sizeof(quoted), ";SET search_path = %s", name);
        PQfreemem(name);
    }
    (void)snprintf(sql, sizeof(sql),
                   "SET statement_timeout = %" PRId64
                   ";SET lock_timeout = %" PRId64
                   ";SET idle_in_transaction_session_timeout = %" PRId64
                   ";SET default_transaction_isolation = 'read committed'"
                   ";SET standard_conforming_strings = on"
                   ";SET bytea_output = hex;SET client_min_messages = error%s",
                   t->call_ms, t->call_ms * 2 / 3, t->idle_ms, quoted);
    return run(link, sql, strlen(sql), ignore_row, NULL, err);
}

static enum dbms_fault connect_(struct dbms_link **out,
                                const struct dbms_target *t, struct err *err)
{
    PGconn *pg = start(t);
    enum dbms_fault fault;
    struct dbms_link *link;

    if (pg == NULL) {
        (void)err_set(err, ERR_UNAVAILABLE, "postgresql: out of memory");
        return DBMS_LOST;
    }
    link = mem_zalloc(sizeof(*link));
    link->pg = pg;
    link->call_ms = t->call_ms;
    fault = finish_connect(pg, clock_mono_ms() + t->connect_ms, err);
    if (fault == DBMS_OK) {
        fault = PQsetnonblocking(pg, 1) == 0 ? set_up(link, t, err)
                                             : broken(link, err);
    }
    if (fault != DBMS_OK) {
        close_(&link);
        return fault;
    }
    *out = link;
    return DBMS_OK;
}

/* --- hints ---------------------------------------------------------------- */

static enum dbms_fault wait_(struct dbms_link *link, int64_t ms, bool *hinted)
{
    static const char listen[] = "LISTEN pelorus";
    PGnotify *note;

    *hinted = false;
    if (!link->listening) {
        enum dbms_fault fault =
            run(link, listen, strlen(listen), ignore_row, NULL, NULL);

        if (fault != DBMS_OK) {
            return fault;
        }
        link->listening = true;
        *hinted = true; /* what came before is not told */
    }
    if (!*hinted) {
        (void)wait_for(link->pg, POLLIN, clock_mono_ms() + ms);
    }
    if (PQconsumeInput(link->pg) == 0) {
        return DBMS_LOST;
    }
    while ((note = PQnotifies(link->pg)) != NULL) {
        *hinted = true;
        PQfreemem(note);
    }
    return DBMS_OK;
}

const struct dbms_driver dbms_postgresql = {.name = "postgresql",
                                            .words = &words,
                                            .connect = connect_,
                                            .run = run,
                                            .stream = stream,
                                            .wait = wait_,
                                            .close = close_};
