/*
 * bench_etcd_move.c - how long do 10,000 and 100,000 items of one dead master
 * take to move on etcd, and how far is that from the bare gateway?
 *
 * Both halves run on one server that is started here, on keys of their own that
 * are taken away again (move_compare()). --items N moves only as many. The last
 * line is that of a suite: each number of items is a test.
 */
#include "tests/bench/etcd_bare.h"
#include "tests/bench/move.h"

#include "base/log.h"
#include "conf/conf.h"
#include "tests/lib/daemon.h"

#include <stdio.h>
#include <stdlib.h>

#define SESSION_MS 30000

static struct {
    struct daemon daemon;
    char dir[48], log[56], url[48];
} server;

/* --- the server ---------------------------------------------------------- */

static void must(int rc, const struct err *err)
{
    if (rc != 0) {
        (void)fprintf(stderr, "bench_etcd_move: %s\n", err->msg);
        exit(1);
    }
}

/* At exit, whoever calls that. */
static void stop_server(void)
{
    daemon_kill(&server.daemon);
    daemon_dir_remove(server.dir);
}

static void start_server(void)
{
    char data[64], peer[48], cluster[80];
    const char *named = getenv("ETCD");
    const char *etcd = named != NULL && named[0] != '\0' ? named : "etcd";
    const char *const argv[] = {etcd,         "--data-dir",
                                data,         "--logger",
                                "zap",        "--log-level",
                                "error",      "--listen-client-urls",
                                server.url,   "--advertise-client-urls",
                                server.url,   "--listen-peer-urls",
                                peer,         "--initial-advertise-peer-urls",
                                peer,         "--initial-cluster",
                                cluster,      "--quota-backend-bytes",
                                "8589934592", NULL};
    struct err err = {0};

    if (atexit(stop_server) != 0)
        exit(1);
    must(daemon_dir(server.dir, sizeof(server.dir), "etcd", &err), &err);
    (void)snprintf(server.log, sizeof(server.log), "%s/log", server.dir);
    (void)snprintf(data, sizeof(data), "%s/data", server.dir);
    (void)snprintf(server.url, sizeof(server.url), "http://127.0.0.1:%u",
                   daemon_port());
    (void)snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", daemon_port());
    (void)snprintf(cluster, sizeof(cluster), "default=%s", peer);
    server.daemon = (struct daemon){.name = "etcd", .log = server.log};
    must(daemon_start(&server.daemon, argv, &err), &err);
    etcd_bare_wait(server.url);
}

/* --- the two halves ------------------------------------------------------ */

static void ours(void *arg, struct move_item *items, size_t n, bool watched,
                 struct move_result *result)
{
    char space[] = "ours", *url = server.url;
    struct conf_registry conf = {.type = CONF_ETCD,
                                 .namespace_ = space,
                                 .session_timeout_ms = SESSION_MS,
                                 .connect_timeout_ms = 9000,
                                 .endpoints = {.items = &url, .n = 1},
                                 .retry_delay_ms = 60,
                                 .retry_max_delay_ms = 300,
                                 .retry_max_duration_ms = 1500};

    (void)arg;
    move_through_registry(&conf, items, n, watched, result);
    etcd_bare_clear(server.url, space);
}

static void bare(void *arg, struct move_item *items, size_t n,
                 struct move_result *result)
{
    (void)arg;
    etcd_bare_move(server.url, "bare", items, n, result);
    etcd_bare_clear(server.url, "bare");
}

int main(int argc, char **argv)
{
    static const struct move_store store = {
        .name = "etcd", .ours = ours, .bare = bare};
    size_t asked = move_items_asked(argc, argv, 0), passed = 0, failed;

    log_configure(LOG_WARN, LOG_TEXT);
    start_server();
    failed = move_compare(&store, asked, &passed);
    (void)printf("%zu passed, %zu failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
