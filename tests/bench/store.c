/*
 * store.c - one function for each kind; each server is that of the conformance
 * suite or of the move benchmark.
 */
#include "tests/bench/store.h"

#include "base/mem.h"
#include "registry/dbms/dbms_priv.h"
#include "tests/bench/etcd_bare.h"
#include "tests/lib/daemon.h"
#include "tests/registry/sql_server.h"
#include "tests/registry/zookeeper_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSION_MS 30000
#define SPACE      "bench"

static struct zookeeper_server *zookeeper;
static struct sql_server *sql;
static bool logged;
static const char *logged_as; /* NULL: as the server has it by itself */

static void must(int rc, const struct err *err)
{
    if (rc != 0) {
        (void)fprintf(stderr, "store: %s\n", err->msg);
        exit(1);
    }
}

static void start_sqlite(struct store *s, const char *dir)
{
    s->conf.type = CONF_SQLITE;
    s->conf.path = mem_printf("%s/registry.db", dir);
    s->yaml = mem_printf("  type: sqlite\n  path: %s\n", s->conf.path);
    s->data = mem_strdup(dir);
}

/* --- ZooKeeper, etcd ----------------------------------------------------- */

static void stop_zookeeper(void)
{
    zookeeper_server_free(&zookeeper);
}

static void start_zookeeper(struct store *s)
{
    struct err err = {0};

    /* The tests' server is made to start quickly, in little memory. */
    if (setenv("_JAVA_OPTIONS", "-Xms1g -Xmx1g", 1) != 0 ||
        atexit(stop_zookeeper) != 0)
        exit(1);
    must(zookeeper_server_new(&zookeeper, &err), &err);
    s->conf.type = CONF_ZOOKEEPER;
    s->conf.connect_string =
        mem_printf("127.0.0.1:%d", zookeeper_server_port(zookeeper));
    s->pid = zookeeper_server_pid(zookeeper);
    s->data = zookeeper_server_dir(zookeeper);
    s->conf.block_until_connected_ms = 10000;
    s->conf.retry_base_sleep_ms = 60;
    s->conf.retry_max_sleep_ms = 300;
    s->conf.retry_max_retries = 5;
    s->yaml = mem_printf("  type: zookeeper\n  zookeeper:\n"
                         "    connect-string: %s\n",
                         s->conf.connect_string);
}

static struct {
    struct daemon daemon;
    char dir[48], log[56], url[48];
} etcd;

static void stop_etcd(void)
{
    daemon_kill(&etcd.daemon);
    daemon_dir_remove(etcd.dir);
}

static void run_etcd(void)
{
    char data[64], peer[48], cluster[80];
    const char *named = getenv("ETCD");
    const char *program = named != NULL && named[0] != '\0' ? named : "etcd";
    const char *const argv[] = {program,      "--data-dir",
                                data,         "--logger",
                                "zap",        "--log-level",
                                "error",      "--listen-client-urls",
                                etcd.url,     "--advertise-client-urls",
                                etcd.url,     "--listen-peer-urls",
                                peer,         "--initial-advertise-peer-urls",
                                peer,         "--initial-cluster",
                                cluster,      "--quota-backend-bytes",
                                "8589934592", NULL};
    struct err err = {0};

    if (atexit(stop_etcd) != 0)
        exit(1);
    must(daemon_dir(etcd.dir, sizeof(etcd.dir), "etcd", &err), &err);
    (void)snprintf(etcd.log, sizeof(etcd.log), "%s/log", etcd.dir);
    (void)snprintf(data, sizeof(data), "%s/data", etcd.dir);
    (void)snprintf(etcd.url, sizeof(etcd.url), "http://127.0.0.1:%u",
                   daemon_port());
    (void)snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", daemon_port());
    (void)snprintf(cluster, sizeof(cluster), "default=%s", peer);
    etcd.daemon = (struct daemon){.name = "etcd", .log = etcd.log};
    must(daemon_start(&etcd.daemon, argv, &err), &err);
    etcd_bare_wait(etcd.url);
}

static void start_etcd(struct store *s)
{
    static char *url = etcd.url;

    run_etcd();
    s->pid = etcd.daemon.pid;
    s->data = etcd.dir;
    s->url = etcd.url;
    s->conf.type = CONF_ETCD;
    s->conf.endpoints.items = &url;
    s->conf.endpoints.n = 1;
    s->conf.retry_delay_ms = 60;
    s->conf.retry_max_delay_ms = 300;
    s->conf.retry_max_duration_ms = 1500;
    s->yaml = mem_printf("  type: etcd\n  endpoints: %s\n", url);
}

/* --- MariaDB, PostgreSQL ------------------------------------------------- */

static void stop_sql(void)
{
    sql_server_free(&sql);
}

static void ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

static void aim(struct dbms_target *target, const char *database,
                char url[SQL_URL_SIZE])
{
    struct err err = {0};

    dbms_target_close(target);
    sql_server_url(sql, sql->port, database, url);
    must(dbms_target_parse(target, url, &err), &err);
    target->url.user = mem_strdup(sql->kind->admin);
    target->url.connect_ms = target->url.call_ms = target->idle_ms = 60000;
}

static void make_database(char url[SQL_URL_SIZE])
{
    static const char create[] = "CREATE DATABASE " SPACE;
    struct dbms_target target = {0};
    struct dbms_link *link = NULL;
    struct err err = {0};

    aim(&target, sql->kind->system, url);
    must((int)target.driver->connect(&link, &target, &err), &err);
    must((int)target.driver->run(link, create, strlen(create), ignore_row, NULL,
                                 &err),
         &err);
    target.driver->close(&link);
    aim(&target, SPACE, url);
    must(dbms_schema_apply(&target, &err), &err);
    dbms_target_close(&target);
}

/* As in production, where replicas and backups live by it. */
static void run_logged(const struct sql_server *server,
                       const char *argv[SQL_SERVER_ARGS])
{
    size_t n = 0;

    mysql_server.run(server, argv);
    while (argv[n] != NULL)
        n++;
    argv[n++] = "--log-bin=binlog";
    argv[n++] = "--server-id=1";
    if (logged_as != NULL)
        argv[n++] = sql_server_arg("--binlog-format=%s", logged_as);
    argv[n] = NULL;
}

static void start_sql(struct store *s, const struct sql_server_kind *kind)
{
    char url[SQL_URL_SIZE];
    struct err err = {0};

    if (atexit(stop_sql) != 0)
        exit(1);
    must(sql_server_new(&sql, kind, &err), &err);
    make_database(url);
    s->pid = sql->daemon.pid;
    s->data = sql->data;
    s->conf.type = CONF_JDBC;
    s->conf.jdbc_url = mem_strdup(url);
    s->url = s->conf.jdbc_url;
    s->conf.user = mem_strdup(kind->admin);
    s->conf.heartbeat_refresh_ms = 3000;
    s->conf.pool_size = 5;
    s->yaml = mem_printf("  type: jdbc\n  hikari-config:\n    jdbc-url: %s\n"
                         "    username: %s\n",
                         url, kind->admin);
}

void store_keep_log(const char *format)
{
    logged = true;
    logged_as = format;
}

void store_start(struct store *s, const char *kind, const char *dir)
{
    static char space[] = SPACE;
    static struct sql_server_kind with_log;

    *s = (struct store){.kind = kind,
                        .conf = {.namespace_ = space,
                                 .session_timeout_ms = SESSION_MS,
                                 .connect_timeout_ms = 10000}};
    with_log = mysql_server;
    with_log.run = run_logged;
    if (strcmp(kind, "sqlite") == 0)
        start_sqlite(s, dir);
    else if (strcmp(kind, "zookeeper") == 0)
        start_zookeeper(s);
    else if (strcmp(kind, "etcd") == 0)
        start_etcd(s);
    else if (strcmp(kind, "mysql") == 0)
        start_sql(s, logged ? &with_log : &mysql_server);
    else if (strcmp(kind, "postgresql") == 0)
        start_sql(s, &postgresql_server);
    else {
        (void)fprintf(stderr, "a registry is %s, not %s\n", STORE_KINDS, kind);
        exit(2);
    }
}
