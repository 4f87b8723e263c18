/*
 * bench_zookeeper_move.c - how long do 10,000 and 100,000 items of one dead
 * master take to move on ZooKeeper, and how far is that from the bare client?
 *
 * Both halves run on one server that is started here, in turn, on trees of
 * their own that are taken away again: registry, raw, registry, raw. What
 * counts is the ratio of the medians; a warm-up before them, of both, is not
 * counted, nor is a last run with the watches that every coordinator has, which
 * nothing raw stands beside. --items N moves only as many. The last line is
 * that of a suite: each number of items is a test, passed at no more than 1.5 x
 * raw.
 */
#include "tests/bench/move.h"
#include "tests/bench/zookeeper_bare.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "tests/registry/zookeeper_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW        10000
#define MANY       100000
#define WARM_UP    5000
#define PAIRS_MAX  3
#define SESSION_MS 30000
#define RATIO_MAX  1.5
/* The tests' server is made to start quickly, in little memory; this one is
 * made to run. HotSpot reads these after its command line. */
#define JAVA_OPTIONS "-Xms1g -Xmx1g -XX:TieredStopAtLevel=4"

static struct zookeeper_server *server;

static void registry_run(char *hosts, struct move_item *items, size_t n,
                         bool watched, struct move_result *result)
{
    char space[] = "ours";
    struct conf_registry conf = {.type = CONF_ZOOKEEPER,
                                 .namespace_ = space,
                                 .connect_string = hosts,
                                 .session_timeout_ms = SESSION_MS,
                                 .connect_timeout_ms = 10000,
                                 .block_until_connected_ms = 10000,
                                 .retry_base_sleep_ms = 60,
                                 .retry_max_sleep_ms = 300,
                                 .retry_max_retries = 5};

    move_through_registry(&conf, items, n, watched, result);
    zookeeper_bare_clear(hosts, space);
}

static void raw_run(const char *hosts, struct move_item *items, size_t n,
                    size_t batch, struct move_result *result)
{
    *result = (struct move_result){.batch = batch};
    zookeeper_bare_move(hosts, "raw", items, n, result);
    zookeeper_bare_clear(hosts, "raw");
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
static double compare(char *hosts, size_t n, size_t pairs)
{
    struct move_item *items = move_items(n);
    double ours[PAIRS_MAX], raw[PAIRS_MAX];
    struct move_result result;

    assert(pairs > 0 && pairs <= PAIRS_MAX);
    for (size_t i = 0; i < pairs; i++) {
        registry_run(hosts, items, n, false, &result);
        tell("registry", n, &result);
        ours[i] = result.all_ms;
        raw_run(hosts, items, n, result.batch, &result);
        tell("raw     ", n, &result);
        raw[i] = result.all_ms;
    }
    registry_run(hosts, items, n, true, &result);
    tell("watching", n, &result);
    mem_free(items);
    (void)printf("%zu items move in %.0f ms, raw in %.0f ms (medians of %zu): "
                 "%.2f x raw (at most %.1f)\n",
                 n, median(ours, pairs), median(raw, pairs), pairs,
                 median(ours, pairs) / median(raw, pairs), RATIO_MAX);
    return median(ours, pairs) / median(raw, pairs);
}

static void warm_up(char *hosts)
{
    struct move_item *items = move_items(WARM_UP);
    struct move_result result;

    registry_run(hosts, items, WARM_UP, false, &result);
    raw_run(hosts, items, WARM_UP, result.batch, &result);
    mem_free(items);
}

static void stop_server(void)
{
    zookeeper_server_free(&server);
}

/* It goes at exit, whoever calls that. */
static char *start_server(void)
{
    struct err err = {0};

    if (setenv("_JAVA_OPTIONS", JAVA_OPTIONS, 1) != 0 ||
        atexit(stop_server) != 0 || zookeeper_server_new(&server, &err) != 0) {
        (void)fprintf(stderr, "bench_zookeeper_move: %s\n", err.msg);
        exit(1);
    }
    return mem_printf("127.0.0.1:%d", zookeeper_server_port(server));
}

int main(int argc, char **argv)
{
    size_t asked = move_items_asked(argc, argv, 0);
    size_t numbers[] = {asked == 0 ? FEW : asked, MANY};
    size_t passed = 0, failed = 0;
    char *hosts = start_server();

    log_configure(LOG_WARN, LOG_TEXT);
    warm_up(hosts);
    for (size_t i = 0; i < (asked == 0 ? ARRAY_LEN(numbers) : 1); i++) {
        size_t pairs = numbers[i] <= FEW ? 3 : 2;

        if (compare(hosts, numbers[i], pairs) <= RATIO_MAX) {
            passed++;
        } else {
            failed++;
        }
    }
    mem_free(hosts);
    (void)printf("%zu passed, %zu failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
