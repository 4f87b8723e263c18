/*
 * facts.c - what there is to know of a MySQL, MariaDB or PostgreSQL server
 * before it hurts: logs that nobody expires, WAL that nobody reads, the size of
 * our tables, how many connections are left, what our user may not do.
 *
 * A table of questions for each kind, each a transaction of its own, so that
 * one that is refused spoils no other: the answers are rows of a name and a
 * number. Rights are asked for without using them: PostgreSQL has a function
 * for that, and EXPLAIN of a write needs what the write would need. (Longer
 * than 500 lines: the questions to two kinds of servers.)
 */
#include "registry/dbms/dbms.h"
#include "registry/dbms/dbms_priv.h"

#include "base/mem.h"
#include "conf/conf.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX   64
#define CALL_MS    3000
#define CROWDED    0.8
#define LOG_MANY   (10.0 * 1024 * 1024 * 1024)
#define DEAD_MANY  100000
#define DEAD_TIMES 10

struct row {
    char name[96], text[32];
    double value; /* NAN: no number */
};

struct visit {
    struct dbms_target *t;
    struct dbms_link *link;
    struct registry_facts *out;
    struct row rows[ROWS_MAX]; /* of the last question */
    size_t n;
    struct err err; /* why it was refused */
};

/* --- asking -------------------------------------------------------------- */

static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct visit *v = arg;
    struct row *row = &v->rows[v->n];
    char *end;

    assert(v->n <= ROWS_MAX);
    if (n < 2 || v->n == ROWS_MAX || cells[0].p == NULL || cells[1].p == NULL ||
        (cells[0].n == 1 && cells[0].p[0] == 'W'))
        return;
    (void)snprintf(row->name, sizeof(row->name), "%.*s", (int)cells[0].n,
                   cells[0].p);
    (void)snprintf(row->text, sizeof(row->text), "%.*s", (int)cells[1].n,
                   cells[1].p);
    row->value = strtod(row->text, &end);
    if (end == row->text)
        row->value = NAN;
    v->n++;
}

/* False: v->err says why it was refused. */
static enum dbms_fault ask(struct visit *v, const char *question)
{
    enum dbms_fault fault;
    struct buf sql;

    assert(v->link != NULL);
    v->n = 0;
    err_clear(&v->err);
    buf_init(&sql, 65536);
    v->t->driver->begin(v->t, &sql);
    buf_printf(&sql, ";%s;COMMIT", question);
    fault = v->t->driver->run(v->link, sql.data, sql.len, on_row, v, &v->err);
    buf_close(&sql);
    if (fault != DBMS_OK)
        (void)v->t->driver->run(v->link, "ROLLBACK", strlen("ROLLBACK"),
                                dbms_ignore_row, NULL, NULL);
    return fault;
}

static const struct row *find(const struct visit *v, const char *name)
{
    for (size_t i = 0; i < v->n; i++)
        if (strcasecmp(v->rows[i].name, name) == 0)
            return &v->rows[i];
    return NULL;
}

static double number_of(const struct visit *v, const char *name)
{
    const struct row *row = find(v, name);

    return row == NULL ? NAN : row->value;
}

static bool is_on(const struct visit *v, const char *name)
{
    const struct row *row = find(v, name);

    return row != NULL &&
           (strcasecmp(row->text, "on") == 0 || strcmp(row->text, "1") == 0);
}

static void say_unknown(struct visit *v, const char *name, const char *advice,
                        const char *what)
{
    registry_fact_say(v->out, FACT_UNKNOWN, name, advice, "not known: %s: %s",
                      what, v->err.msg);
}

/* --- what both tell ------------------------------------------------------ */

static void say_connections(struct visit *v, double used, double most)
{
    bool crowded = used > CROWDED * most;

    if (isnan(used + most))
        return;
    registry_fact_say(v->out, crowded ? FACT_WARNING : FACT_OK,
                      "sql_connections",
                      crowded ? "raise max_connections, or end others': "
                                "whoever finds none left loses his session"
                              : NULL,
                      "%.0f of %.0f connections are taken", used, most);
}

static void say_rights(struct visit *v, const struct buf *lacks, size_t n)
{
    if (n == 0)
        registry_fact_say(v->out, FACT_OK, "sql_rights", NULL,
                          "user %s may do what is needed",
                          v->t->url.user != NULL ? v->t->url.user : "?");
    else
        registry_fact_say(v->out, FACT_PROBLEM, "sql_rights",
                          "grant them: conf/mysql.yaml and "
                          "conf/postgresql.yaml list what is needed",
                          "user %s lacks %s",
                          v->t->url.user != NULL ? v->t->url.user : "?",
                          buf_text(lacks));
}

static void say_size(struct visit *v)
{
    double size = number_of(v, "size"), unused = number_of(v, "free");
    char text[FACT_SIZE];

    if (isnan(size))
        return;
    v->out->figures[FIGURE_SIZE] = size;
    if (isfinite(unused) && unused <= size)
        v->out->figures[FIGURE_USED] = v->out->sample.used = size - unused;
    registry_fact_say(v->out, FACT_OK, "sql_tables", NULL,
                      "the registry's tables have %s",
                      registry_fact_bytes(size, text));
}

static void say_now(struct visit *v)
{
    struct buf question;
    wall_ms before = clock_wall_ms(), after;

    buf_init(&question, 1024);
    buf_printf(&question, "SELECT 'now', %s", v->t->driver->syntax->now_ms);
    if (ask(v, buf_text(&question)) == DBMS_OK &&
        isfinite(number_of(v, "now"))) {
        after = clock_wall_ms();
        registry_fact_clock(
            v->out, (number_of(v, "now") - (double)(before + after) / 2) / 1000,
            (double)(after - before) / 2000);
    }
    buf_close(&question);
}

static void say_layout(struct visit *v, const struct registry_sample *before)
{
    enum dbms_fault fault =
        ask(v, "SELECT 'version', version, 1 FROM pelorus_meta");
    double version = number_of(v, "version");

    if (fault == DBMS_MISSING)
        registry_fact_say(v->out, FACT_PROBLEM, "sql_layout",
                          "pelorus registry init --apply -c FILE",
                          "our tables are missing");
    else if (fault != DBMS_OK)
        say_unknown(v, "sql_layout", NULL, "our tables");
    else if (version != 1)
        registry_fact_say(v->out, FACT_PROBLEM, "sql_layout",
                          "use the release of pelorus that made them",
                          "our tables are of layout %.0f, and this release "
                          "knows 1",
                          version);
    else
        registry_fact_say(v->out, FACT_OK, "sql_layout", NULL,
                          "our tables are of layout 1");
    if (ask(v, "SELECT 'revision', revision FROM pelorus_meta") == DBMS_OK &&
        v->n == 1) {
        v->out->sample.position = strtoull(v->rows[0].text, NULL, 10);
        registry_facts_rates(v->out, before);
    }
}

/* --- MySQL and MariaDB --------------------------------------------------- */

/* Each with a column that is changed. */
static const struct {
    const char *name, *column;
} own[] = {{"pelorus_meta", "revision"},
           {"pelorus_registry", "value"},
           {"pelorus_ephemeral", "owner"},
           {"pelorus_change", "names"},
           {"pelorus_session", "beat"},
           {"pelorus_lock", "name"},
           {"t_ds_jdbc_registry_lock", "lock_owner"},
           {"t_ds_jdbc_registry_client_heartbeat", "client_name"}};
static const char *const read_only[] = {"t_ds_jdbc_registry_data",
                                        "t_ds_jdbc_registry_data_change_event"};

struct lacking {
    struct buf text;
    size_t n;
};

static void try_right(struct visit *v, struct lacking *l, const char *right,
                      const char *question, const char *table)
{
    if (ask(v, question) == DBMS_DENIED)
        buf_printf(&l->text, "%s%s on %s", l->n++ > 0 ? ", " : "", right,
                   table);
}

static void try_rights(struct visit *v, struct lacking *l, size_t i)
{
    const char *table = own[i].name;
    struct buf sql;

    buf_init(&sql, 1024);
    buf_printf(&sql, "EXPLAIN SELECT 1 FROM %s WHERE 1=0", table);
    try_right(v, l, "SELECT", buf_text(&sql), table);
    buf_reset(&sql);
    buf_printf(&sql, "EXPLAIN INSERT INTO %s VALUES()", table);
    try_right(v, l, "INSERT", buf_text(&sql), table);
    buf_reset(&sql);
    buf_printf(&sql, "EXPLAIN UPDATE %s SET %s = '' WHERE 1=0", table,
               own[i].column);
    try_right(v, l, "UPDATE", buf_text(&sql), table);
    buf_reset(&sql);
    buf_printf(&sql, "EXPLAIN DELETE FROM %s WHERE 1=0", table);
    try_right(v, l, "DELETE", buf_text(&sql), table);
    buf_close(&sql);
}

static void mysql_rights(struct visit *v)
{
    struct lacking l = {.n = 0};

    buf_init(&l.text, 8192);
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        try_rights(v, &l, i);
    for (size_t i = 0; i < ARRAY_LEN(read_only); i++) {
        struct buf sql;

        buf_init(&sql, 1024);
        buf_printf(&sql, "EXPLAIN SELECT 1 FROM %s WHERE 1=0", read_only[i]);
        try_right(v, &l, "SELECT", buf_text(&sql), read_only[i]);
        buf_close(&sql);
    }
    say_rights(v, &l.text, l.n);
    buf_close(&l.text);
}

/* Seconds after which a log goes; 0: never. */
static double expiry(const struct visit *v)
{
    double seconds = number_of(v, "binlog_expire_logs_seconds");
    double days = number_of(v, "expire_logs_days");
    const struct row *automatic = find(v, "binlog_expire_logs_auto_purge");

    if (automatic != NULL && !is_on(v, "binlog_expire_logs_auto_purge"))
        return 0;
    return seconds > 0 ? seconds : days > 0 ? days * 86400 : 0;
}

static void say_binlog(struct visit *v, double keeps, double at_most)
{
    char size[FACT_SIZE] = "", time[FACT_SIZE];
    double sum = 0;

    if (ask(v, "SHOW BINARY LOGS") == DBMS_OK) {
        for (size_t i = 0; i < v->n; i++)
            sum += isfinite(v->rows[i].value) ? v->rows[i].value : 0;
        v->out->figures[FIGURE_LOG] = sum;
        (void)registry_fact_bytes(sum, size);
    } else {
        say_unknown(v, "mysql_binlog_size",
                    "grant it BINLOG MONITOR (MariaDB) or REPLICATION CLIENT "
                    "(MySQL), if its size is to be told",
                    "the binlog's size");
    }
    if (keeps > 0)
        registry_fact_say(v->out, FACT_OK, "mysql_binlog_expiry", NULL,
                          "the binlog%s%s is kept for %s",
                          size[0] != '\0' ? " of " : "", size,
                          registry_fact_time(keeps, time));
    else if (at_most > 0)
        registry_fact_say(v->out, FACT_OK, "mysql_binlog_expiry", NULL,
                          "the binlog%s%s is at most %s",
                          size[0] != '\0' ? " of " : "", size,
                          registry_fact_bytes(at_most, time));
    else
        registry_fact_say(v->out, FACT_WARNING, "mysql_binlog_expiry",
                          "SET GLOBAL binlog_expire_logs_seconds = 86400 (or "
                          "expire_logs_days = 1), and the same in the "
                          "server's configuration",
                          "the binlog%s%s never expires: every write stays in "
                          "it",
                          size[0] != '\0' ? " of " : "", size);
}

static void mysql_questions(struct visit *v)
{
    double most, keeps, at_most;
    bool binlog;

    if (ask(v, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin',"
               "'expire_logs_days','binlog_expire_logs_seconds',"
               "'binlog_expire_logs_auto_purge','max_binlog_total_size',"
               "'max_connections')") != DBMS_OK) {
        say_unknown(v, "mysql_binlog_expiry", NULL, "the server's settings");
        return;
    }
    binlog = is_on(v, "log_bin");
    keeps = expiry(v);
    at_most = number_of(v, "max_binlog_total_size");
    most = number_of(v, "max_connections");
    if (binlog)
        say_binlog(v, keeps, at_most);
    else
        registry_fact_say(v->out, FACT_OK, "mysql_binlog_expiry", NULL,
                          "no binlog is written");
    if (ask(v, "SHOW GLOBAL STATUS LIKE 'Threads_connected'") == DBMS_OK)
        say_connections(v, number_of(v, "Threads_connected"), most);
    if (ask(v, "SELECT 'size', SUM(data_length + index_length + data_free)"
               " FROM information_schema.tables WHERE table_schema ="
               " DATABASE() AND (table_name LIKE 'pelorus\\_%' OR table_name"
               " LIKE 't\\_ds\\_jdbc\\_%') UNION ALL SELECT 'free',"
               " SUM(data_free) FROM information_schema.tables WHERE"
               " table_schema = DATABASE() AND (table_name LIKE 'pelorus\\_%'"
               " OR table_name LIKE 't\\_ds\\_jdbc\\_%')") == DBMS_OK)
        say_size(v);
    mysql_rights(v);
}

/* --- PostgreSQL ---------------------------------------------------------- */

static void say_slots(struct visit *v)
{
    char text[FACT_SIZE];
    struct buf names;
    double held = 0;

    if (ask(v, "SELECT slot_name, coalesce(pg_wal_lsn_diff("
               "pg_current_wal_lsn(), restart_lsn), 0)"
               " FROM pg_replication_slots WHERE NOT active"
               " ORDER BY 2 DESC LIMIT 32") != DBMS_OK) {
        say_unknown(v, "postgresql_idle_slots", NULL, "replication slots");
        return;
    }
    buf_init(&names, 8192);
    for (size_t i = 0; i < v->n; i++) {
        held = fmax(held, v->rows[i].value); /* they hold the same WAL */
        if (i < 3)
            buf_printf(&names, "%s%s (%s)", i > 0 ? ", " : "", v->rows[i].name,
                       registry_fact_bytes(fmax(0, v->rows[i].value), text));
    }
    v->out->figures[FIGURE_HELD] = held;
    if (v->n == 0)
        registry_fact_say(v->out, FACT_OK, "postgresql_idle_slots", NULL,
                          "no replication slot is idle");
    else
        registry_fact_say(
            v->out, FACT_WARNING, "postgresql_idle_slots",
            "let its reader run, or drop it: SELECT "
            "pg_drop_replication_slot('NAME'); max_slot_wal_keep_size bounds "
            "what slots hold",
            "%zu replication slots are read by nobody, and hold WAL for ever: "
            "%s%s",
            v->n, buf_text(&names), v->n > 3 ? ", ..." : "");
    buf_close(&names);
}

static void say_wal(struct visit *v)
{
    char text[FACT_SIZE];
    double size;

    if (ask(v, "SELECT 'failing', (last_failed_time IS NOT NULL AND"
               " last_failed_time > coalesce(last_archived_time,"
               " '-infinity'))::int FROM pg_stat_archiver WHERE"
               " current_setting('archive_mode') <> 'off'") == DBMS_OK &&
        number_of(v, "failing") == 1)
        registry_fact_say(v->out, FACT_WARNING, "postgresql_archive",
                          "mend archive_command; until then WAL stays",
                          "archiving WAL fails, and none of it is removed");
    if (ask(v, "SELECT 'size', sum(size) FROM pg_ls_waldir()") != DBMS_OK) {
        say_unknown(v, "postgresql_wal",
                    "grant it pg_monitor, if its size is to be told",
                    "the WAL's size");
        return;
    }
    size = number_of(v, "size");
    if (isnan(size))
        return;
    v->out->figures[FIGURE_LOG] = size;
    registry_fact_say(v->out, size > LOG_MANY ? FACT_WARNING : FACT_OK,
                      "postgresql_wal",
                      size > LOG_MANY ? "who holds it: a slot, an archive that "
                                        "fails, max_wal_size, wal_keep_size?"
                                      : NULL,
                      "the WAL has %s", registry_fact_bytes(size, text));
}

static void say_dead(struct visit *v)
{
    double dead, live;
    bool many;

    if (ask(v, "SELECT 'dead', sum(n_dead_tup) FROM pg_stat_user_tables WHERE"
               " relname LIKE 'pelorus\\_%' UNION ALL SELECT 'live',"
               " sum(n_live_tup) FROM pg_stat_user_tables WHERE relname LIKE"
               " 'pelorus\\_%' UNION ALL SELECT 'autovacuum',"
               " (current_setting('autovacuum') = 'on')::int") != DBMS_OK)
        return;
    dead = number_of(v, "dead");
    live = number_of(v, "live");
    many = dead > DEAD_MANY && dead > DEAD_TIMES * live;
    if (number_of(v, "autovacuum") == 0)
        registry_fact_say(v->out, FACT_WARNING, "postgresql_autovacuum",
                          "autovacuum = on",
                          "autovacuum is off: every write of ours leaves a "
                          "dead row, and none is cleared away");
    else if (many)
        registry_fact_say(v->out, FACT_WARNING, "postgresql_autovacuum",
                          "does a transaction stay open (pg_stat_activity, "
                          "xact_start)? end it",
                          "our tables have %.0f dead rows beside %.0f, and "
                          "autovacuum does not clear them away",
                          dead, live);
    else
        registry_fact_say(v->out, FACT_OK, "postgresql_autovacuum", NULL,
                          "autovacuum is on; %.0f dead rows",
                          isnan(dead) ? 0 : dead);
}

static void postgresql_rights(struct visit *v)
{
    struct buf sql, lacks;

    buf_init(&sql, 8192);
    buf_init(&lacks, 8192);
    buf_str(&sql, "SELECT r || ' on ' || t, 0 FROM (VALUES ");
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        for (size_t j = 0; j < 4; j++)
            buf_printf(&sql, "%s('%s','%s')", i + j > 0 ? "," : "", own[i].name,
                       (const char *const[]){"SELECT", "INSERT", "UPDATE",
                                             "DELETE"}[j]);
    for (size_t i = 0; i < ARRAY_LEN(read_only); i++)
        buf_printf(&sql, ",('%s','SELECT')", read_only[i]);
    buf_str(&sql, ") AS w(t, r) WHERE to_regclass(t) IS NOT NULL AND NOT"
                  " has_table_privilege(to_regclass(t), r) UNION ALL SELECT"
                  " 'USAGE on ' || s, 0 FROM (VALUES ('pelorus_lock_ticket_seq'"
                  "), ('t_ds_jdbc_registry_lock_id_seq')) AS w(s) WHERE"
                  " to_regclass(s) IS NOT NULL AND NOT"
                  " has_sequence_privilege(to_regclass(s), 'USAGE')");
    if (ask(v, buf_text(&sql)) == DBMS_OK) {
        for (size_t i = 0; i < v->n; i++)
            buf_printf(&lacks, "%s%s", i > 0 ? ", " : "", v->rows[i].name);
        say_rights(v, &lacks, v->n);
    } else {
        say_unknown(v, "sql_rights", NULL, "what our user may do");
    }
    buf_close(&lacks);
    buf_close(&sql);
}

static void postgresql_questions(struct visit *v)
{
    say_slots(v);
    say_wal(v);
    say_dead(v);
    if (ask(v, "SELECT 'used', count(*) FROM pg_stat_activity WHERE"
               " backend_type = 'client backend' UNION ALL SELECT 'most',"
               " current_setting('max_connections')::int") == DBMS_OK)
        say_connections(v, number_of(v, "used"), number_of(v, "most"));
    if (ask(v, "SELECT 'size', sum(pg_total_relation_size(oid)) FROM pg_class"
               " WHERE relkind = 'r' AND (relname LIKE 'pelorus\\_%' OR relname"
               " LIKE 't\\_ds\\_jdbc\\_%') AND pg_table_is_visible(oid)") ==
        DBMS_OK)
        say_size(v);
    postgresql_rights(v);
}

/* --- which server -------------------------------------------------------- */

/* The first of the hosts that writes: without the search and the trials of
 * connect.c, whom nobody needs to ask where it stands. */
static enum dbms_fault reach(struct visit *v)
{
    struct dbms_target *t = v->t;
    enum dbms_fault fault = DBMS_LOST;

    if (t->url.connect_ms > CALL_MS)
        t->url.connect_ms = CALL_MS;
    if (t->url.call_ms > CALL_MS)
        t->url.call_ms = CALL_MS;
    t->lineless = true;
    for (t->at = 0; t->at < t->url.n_hosts; t->at++) {
        fault = t->driver->connect(&v->link, t, &v->err);
        if (fault == DBMS_OK)
            break;
    }
    return fault;
}

void dbms_facts(const struct conf_registry *conf,
                const struct registry_sample *before,
                struct registry_facts *out)
{
    struct dbms_target target;
    struct visit *v = mem_zalloc(sizeof(*v));

    v->t = &target;
    v->out = out;
    if (dbms_target_of(&target, conf, false, &v->err) != 0) {
        registry_fact_say(out, FACT_PROBLEM, "sql_server", NULL, "%s",
                          v->err.msg);
        mem_free(v);
        return;
    }
    if (reach(v) != DBMS_OK) {
        say_unknown(v, "sql_server", NULL, "no server that writes is reached");
    } else {
        (void)snprintf(out->where, sizeof(out->where), "%s %s:%u",
                       target.driver->name, target.url.hosts[target.at].name,
                       target.url.hosts[target.at].port);
        if (target.driver == &dbms_mysql)
            mysql_questions(v);
        else
            postgresql_questions(v);
        say_layout(v, before);
        say_now(v);
        target.driver->close(&v->link);
    }
    dbms_target_close(&target);
    mem_free(v);
}
