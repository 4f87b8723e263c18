/*
 * bench_zookeeper_move.c - how long do 10,000 and 100,000 items of one dead
 * master take to move on ZooKeeper, and how far is that from the bare client?
 *
 * Both halves run on one server that is started here, on trees of their own
 * that are taken away again (move_compare()). --items N moves only as many. The
 * last line is that of a suite: each number of items is a test.
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

#define SESSION_MS 30000
/* The tests' server is made to start quickly, in little memory; this one is
 * made to run. HotSpot reads these after its command line. */
#define JAVA_OPTIONS "-Xms1g -Xmx1g -XX:TieredStopAtLevel=4"

static struct zookeeper_server *server;

static void ours(void *arg, struct move_item *items, size_t n, bool watched,
                 struct move_result *result)
{
    char *hosts = arg;
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

static void bare(void *arg, struct move_item *items, size_t n,
                 struct move_result *result)
{
    zookeeper_bare_move(arg, "bare", items, n, result);
    zookeeper_bare_clear(arg, "bare");
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
    size_t asked = move_items_asked(argc, argv, 0), passed = 0, failed;
    char *hosts = start_server();
    struct move_store store = {
        .name = "zookeeper", .arg = hosts, .ours = ours, .bare = bare};

    log_configure(LOG_WARN, LOG_TEXT);
    failed = move_compare(&store, asked, &passed);
    mem_free(hosts);
    (void)printf("%zu passed, %zu failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
