/*
 * bench_etcd_move.c - how long do 10,000 and 100,000 items of one dead master
 * take to move on etcd, and how far is that from the bare gateway?
 *
 * Both halves run on one server that is started here, in turn, on keys of their
 * own that are taken away again: registry, raw, registry, raw. What counts is
 * the ratio of the medians; a warm-up before them, of both, is not counted, nor
 * is a last run with the watches that every coordinator has, which nothing raw
 * stands beside. --items N moves only as many. The last line is that of a
 * suite: each number of items is a test, passed at no more than 1.5 x raw.
 */
#include "tests/bench/etcd_bare.h"
#include "tests/bench/move.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FEW        10000
#define MANY       100000
#define WARM_UP    3000
#define PAIRS_MAX  3
#define SESSION_MS 30000
#define RATIO_MAX  1.5

static struct {
    pid_t pid;
    char dir[40], url[48];
} server;

/* --- the server ---------------------------------------------------------- */

static void die(const char *what)
{
    (void)fprintf(stderr, "bench_etcd_move: %s\n", what);
    exit(1);
}

static unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&a, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0) {
        die("no free port");
    }
    (void)close(fd);
    return ntohs(a.sin_port);
}

static void run_server(const char *peer)
{
    char data[64], cluster[80];

    (void)snprintf(data, sizeof(data), "%s/data", server.dir);
    (void)snprintf(cluster, sizeof(cluster), "default=%s", peer);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)execlp("etcd", "etcd", "--data-dir", data, "--logger", "zap",
                 "--log-level", "error", "--listen-client-urls", server.url,
                 "--advertise-client-urls", server.url, "--listen-peer-urls",
                 peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", cluster, "--quota-backend-bytes",
                 "8589934592", (char *)NULL);
    _exit(127);
}

/* It goes at exit, whoever calls that. */
static void stop_server(void)
{
    char command[64];

    (void)kill(server.pid, SIGKILL);
    (void)waitpid(server.pid, NULL, 0);
    (void)snprintf(command, sizeof(command), "rm -rf %s", server.dir);
    if (system(command) != 0) { /* NOLINT(cert-env33-c): our own words */
        (void)fprintf(stderr, "%s is left behind\n", server.dir);
    }
}

static void start_server(void)
{
    char peer[48];

    (void)snprintf(server.dir, sizeof(server.dir), "/tmp/bench_etcd_XXXXXX");
    if (mkdtemp(server.dir) == NULL) {
        die("no temporary directory");
    }
    (void)snprintf(server.url, sizeof(server.url), "http://127.0.0.1:%u",
                   free_port());
    (void)snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", free_port());
    server.pid = fork();
    if (server.pid == 0) {
        run_server(peer);
    }
    if (atexit(stop_server) != 0) {
        die("atexit");
    }
    etcd_bare_wait(server.url);
}

/* --- the two halves ------------------------------------------------------ */

static void registry_run(struct move_item *items, size_t n, bool watched,
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

    move_through_registry(&conf, items, n, watched, result);
    etcd_bare_clear(server.url, space);
}

static void raw_run(struct move_item *items, size_t n, size_t batch,
                    struct move_result *result)
{
    *result = (struct move_result){.batch = batch};
    etcd_bare_move(server.url, "raw", items, n, result);
    etcd_bare_clear(server.url, "raw");
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
static double compare(size_t n, size_t pairs)
{
    struct move_item *items = move_items(n);
    double ours[PAIRS_MAX], raw[PAIRS_MAX];
    struct move_result result;

    assert(pairs > 0 && pairs <= PAIRS_MAX);
    for (size_t i = 0; i < pairs; i++) {
        registry_run(items, n, false, &result);
        tell("registry", n, &result);
        ours[i] = result.all_ms;
        raw_run(items, n, result.batch, &result);
        tell("raw     ", n, &result);
        raw[i] = result.all_ms;
    }
    registry_run(items, n, true, &result);
    tell("watching", n, &result);
    mem_free(items);
    (void)printf("%zu items move in %.0f ms, raw in %.0f ms (medians of %zu): "
                 "%.2f x raw (at most %.1f)\n",
                 n, median(ours, pairs), median(raw, pairs), pairs,
                 median(ours, pairs) / median(raw, pairs), RATIO_MAX);
    return median(ours, pairs) / median(raw, pairs);
}

int main(int argc, char **argv)
{
    size_t asked = move_items_asked(argc, argv, 0);
    size_t numbers[] = {asked == 0 ? FEW : asked, MANY};
    struct move_item *items = move_items(WARM_UP);
    struct move_result result;
    size_t passed = 0, failed = 0;

    log_configure(LOG_WARN, LOG_TEXT);
    start_server();
    registry_run(items, WARM_UP, false, &result);
    raw_run(items, WARM_UP, result.batch, &result);
    mem_free(items);
    for (size_t i = 0; i < (asked == 0 ? ARRAY_LEN(numbers) : 1); i++) {
        if (compare(numbers[i], numbers[i] <= FEW ? 3 : 2) <= RATIO_MAX) {
            passed++;
        } else {
            failed++;
        }
    }
    (void)printf("%zu passed, %zu failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
