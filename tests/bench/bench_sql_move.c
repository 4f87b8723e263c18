/*
 * bench_sql_move.c - how long do 10,000 and 100,000 items of one dead master
 * take to move on MariaDB and on PostgreSQL, and how far is that from batched
 * statements written by hand?
 *
 * Both halves run on one server that is started here, in turn; what counts is
 * the ratio of the medians, after a warm-up of both. --items N moves only as
 * many. The last line is that of a suite: each number of items on each server
 * is a test, passed at no more than 1.5 x raw.
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

#define FEW        10000
#define MANY       100000
#define WARM_UP    5000
#define PAIRS_MAX  5
#define SESSION_MS 30000
#define RATIO_MAX  1.5

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
    b->target.user = mem_strdup(b->server->kind->admin);
    b->target.connect_ms = b->target.call_ms = b->target.idle_ms = 60000;
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

static void registry_run(struct bench *b, struct move_item *items, size_t n,
                         bool watched, struct move_result *result)
{
    char space[] = "ours";
    struct conf_registry conf = {.type = CONF_JDBC,
                                 .namespace_ = space,
                                 .jdbc_url = b->url,
                                 .user = b->target.user,
                                 .session_timeout_ms = SESSION_MS,
                                 .connect_timeout_ms = 10000,
                                 .heartbeat_refresh_ms = 3000,
                                 .pool_size = 5};

    move_through_registry(&conf, items, n, watched, result);
    run_sql(b, "TRUNCATE TABLE pelorus_registry;TRUNCATE TABLE pelorus_change");
}

static void tell(const char *who, size_t n, const struct move_result *result)
{
    (void)printf("%s: %zu items, read %.0f ms, move %.0f ms, together %.0f ms "
                 "(%zu txns of %zu items)\n",
                 who, n, result->read_ms, result->move_ms, result->all_ms,
                 result->txns, result->batch);
    (void)fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(values[0]), by_size);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/* The ratio of the medians of `pairs` runs of each. */
static double compare(struct bench *b, size_t n, size_t pairs)
{
    struct move_item *items = move_items(n);
    double ours[PAIRS_MAX], raw[PAIRS_MAX], ratio;
    struct move_result result;

    assert(pairs > 0 && pairs <= PAIRS_MAX);
    for (size_t i = 0; i < pairs; i++) {
        registry_run(b, items, n, false, &result);
        tell("registry", n, &result);
        ours[i] = result.all_ms;
        result = (struct move_result){.batch = result.batch};
        sql_bare_move(&b->target, items, n, &result);
        tell("raw     ", n, &result);
        raw[i] = result.all_ms;
    }
    registry_run(b, items, n, true, &result);
    tell("watching", n, &result);
    mem_free(items);
    ratio = median(ours, pairs) / median(raw, pairs);
    (void)printf("%s: %zu items move in %.0f ms, raw in %.0f ms (medians of "
                 "%zu): %.2f x raw (at most %.1f)\n",
                 b->server->kind->name, n, median(ours, pairs),
                 median(raw, pairs), pairs, ratio, RATIO_MAX);
    return ratio;
}

int main(int argc, char **argv)
{
    static const struct sql_server_kind *const kinds[] = {&mysql_server,
                                                          &postgresql_server};
    size_t asked = move_items_asked(argc, argv, 0);
    size_t numbers[] = {asked == 0 ? FEW : asked, MANY};
    size_t passed = 0, failed = 0;

    log_configure(LOG_WARN, LOG_TEXT);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct bench b;
        struct move_item *items = move_items(WARM_UP);
        struct move_result result;

        start(&b, kinds[k]);
        registry_run(&b, items, WARM_UP, false, &result);
        result = (struct move_result){.batch = result.batch};
        sql_bare_move(&b.target, items, WARM_UP, &result);
        mem_free(items);
        for (size_t i = 0; i < (asked == 0 ? ARRAY_LEN(numbers) : 1); i++) {
            double ratio =
                compare(&b, numbers[i], numbers[i] <= FEW ? PAIRS_MAX : 2);

            passed += ratio <= RATIO_MAX;
            failed += ratio > RATIO_MAX;
        }
        dbms_target_close(&b.target);
        sql_server_free(&b.server);
    }
    (void)printf("%zu passed, %zu failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
