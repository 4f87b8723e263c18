/*
 * bench_sql_move.c - how long do 10,000 and 100,000 items of one dead master
 * take to move on MariaDB and on PostgreSQL, and how far is that from batched
 * statements written by hand?
 *
 * Both halves run on one server that is started here (move_compare()). --items
 * N moves only as many. The last line is that of a suite: each number of items
 * on each server is a test.
 */
#include "tests/bench/move.h"
#include "tests/bench/sql_bare.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "tests/registry/sql_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSION_MS 30000
#define RATIO_MAX  1.15

struct bench {
    struct sql_server *server;
    struct dbms_target target;
    char url[SQL_URL_SIZE];
};

static void must(int rc, const struct err *err)
{
    if (rc != 0) {
        (void)fprintf(stderr, "bench_sql_move: %s\n", err->msg);
        exit(1);
    }
}

static void ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

static void run_sql(const struct bench *b, const char *sql)
{
    const struct dbms_driver *driver = b->target.driver;
    struct dbms_link *link = NULL;
    struct err err = {0};

    must((int)driver->connect(&link, &b->target, &err), &err);
    must((int)driver->run(link, sql, strlen(sql), ignore_row, NULL, &err),
         &err);
    driver->close(&link);
}

static void aim(struct bench *b, const char *database)
{
    struct err err = {0};

    dbms_target_close(&b->target);
    sql_server_url(b->server, b->server->port, database, b->url);
    must(dbms_target_parse(&b->target, b->url, &err), &err);
    b->target.url.user = mem_strdup(b->server->kind->admin);
    b->target.url.connect_ms = b->target.url.call_ms = b->target.idle_ms =
        60000;
}

static void start(struct bench *b, const struct sql_server_kind *kind)
{
    struct err err = {0};

    memset(b, 0, sizeof(*b));
    must(sql_server_new(&b->server, kind, &err), &err);
    aim(b, kind->system);
    run_sql(b, "CREATE DATABASE bench");
    aim(b, "bench");
    must(dbms_schema_apply(&b->target, &err), &err);
}

static void ours(void *arg, struct move_item *items, size_t n, bool watched,
                 struct move_result *result)
{
    struct bench *b = arg;
    char space[] = "ours";
    struct conf_registry conf = {.type = CONF_JDBC,
                                 .namespace_ = space,
                                 .jdbc_url = b->url,
                                 .user = b->target.url.user,
                                 .session_timeout_ms = SESSION_MS,
                                 .connect_timeout_ms = 10000,
                                 .heartbeat_refresh_ms = 3000,
                                 .pool_size = 5};

    move_through_registry(&conf, items, n, watched, result);
    run_sql(b, "TRUNCATE TABLE pelorus_registry;TRUNCATE TABLE pelorus_change");
}

static void bare(void *arg, struct move_item *items, size_t n,
                 struct move_result *result)
{
    struct bench *b = arg;

    sql_bare_move(&b->target, items, n, result);
}

int main(int argc, char **argv)
{
    static const struct sql_server_kind *const kinds[] = {&mysql_server,
                                                          &postgresql_server};
    size_t asked = move_items_asked(argc, argv, 0), passed = 0, failed = 0;

    log_configure(LOG_WARN, LOG_TEXT);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct bench b;
        struct move_store store = {.name = kinds[k]->name,
                                   .ratio_max = RATIO_MAX,
                                   .arg = &b,
                                   .ours = ours,
                                   .bare = bare};

        start(&b, kinds[k]);
        move_cpu_of((int)b.server->daemon.pid);
        failed += move_compare(&store, asked, &passed);
        dbms_target_close(&b.target);
        sql_server_free(&b.server);
    }
    (void)printf("%zu passed, %zu failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
