/*
 * bench_beats.c - what do 10,000 workers that report every ten seconds cost a
 * coordinator?
 *
 * A real `pelorus serve` on a store of its own, and this program in the place
 * of the workers: their reports stand straight in the registry, as agents
 * write them, each put for itself. The processor time
 * of the coordinator is taken from /proc, of all its threads, when it knows all
 * of them and a round of reports is over.
 *
 * Of ZooKeeper, etcd and the SQL servers tests/integration prints the same row,
 * with workers that are closer to DolphinScheduler's.
 *
 *   bench_beats [--registry sqlite|zookeeper|etcd|mysql|postgresql]
 *               [--nodes N] [--seconds S]     10,000 and 60
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"
#include "registry/registry.h"
#include "tests/bench/row.h"
#include "tests/bench/store.h"
#include "tests/lib/daemon.h"

#include <curl/curl.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PERIOD_MS  10000
#define STEP_MS    100
#define GROUP      50 /* keys of a txn, where the registry takes as many */
#define WAIT_MS    600000
#define LIMIT      2 /* % of a core, of 10,000 */
#define SESSION_MS 30000

struct bench {
    const char *kind;
    size_t nodes, seconds;
    struct store store;
    char dir[64], conf[96], log[96];
    uint16_t port;
    struct daemon serve;
    struct loop *loop;
    struct registry *r;
    size_t sent, answered, reports;
    bool connected, closed;
};

static struct bench bench;

static NORETURN void die(const char *what)
{
    (void)fprintf(stderr, "bench_beats: %s\n", what);
    exit(1);
}

static void must(int rc, const struct err *err)
{
    if (rc != 0)
        die(err->msg);
}

static void clean_up(void)
{
    daemon_kill(&bench.serve);
    daemon_dir_remove(bench.dir);
}

/* --- the coordinator ----------------------------------------------------- */

static void start_serve(struct bench *b)
{
    const char *named = getenv("PELORUS");
    const char *argv[] = {named == NULL ? "build/pelorus" : named, "serve",
                          "-c", b->conf, NULL};
    struct err err = {0};
    FILE *f = fopen(b->conf, "w");

    if (f == NULL ||
        fprintf(f,
                "listen: 127.0.0.1:%u\nregistry:\n  namespace: %s\n"
                "  session-timeout: %ds\n%s",
                b->port, b->store.conf.namespace_, SESSION_MS / 1000,
                b->store.yaml) < 0 ||
        fclose(f) != 0)
        die("the configuration cannot be written");
    b->serve = (struct daemon){.name = "pelorus", .log = b->log};
    must(daemon_start(&b->serve, argv, &err), &err);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    buf_add(arg, data, size * n);
    return size * n;
}

/* How many workers it says are up; -1: no answer. */
static double workers_up(const struct bench *b)
{
    static const char sample[] =
        "\npelorus_nodes{kind=\"worker\",state=\"up\"} ";
    CURL *easy = curl_easy_init();
    const char *at = NULL;
    struct buf body;
    double value = -1;
    char url[64];

    buf_init(&body, (size_t)8 << 20);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/metrics", b->port);
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
    if (curl_easy_perform(easy) == CURLE_OK)
        at = strstr(buf_text(&body), sample);
    if (at != NULL)
        value = strtod(at + strlen(sample), NULL);
    curl_easy_cleanup(easy);
    buf_close(&body);
    return value;
}

/* What all its threads have spent, in nanoseconds. */
static double spent_ns(const struct bench *b)
{
    char path[300];
    double sum = 0, ns;
    struct dirent *e;
    DIR *d;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)b->serve.pid);
    d = opendir(path);
    if (d == NULL)
        die("the coordinator has gone");
    while ((e = readdir(d)) != NULL) {
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat",
                       (int)b->serve.pid, e->d_name);
        f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (f != NULL && fscanf(f, "%lf", &ns) == 1)
            sum += ns;
        if (f != NULL)
            (void)fclose(f);
    }
    (void)closedir(d);
    return sum;
}

/* --- the workers --------------------------------------------------------- */

static void on_state(void *arg, enum registry_state state)
{
    ((struct bench *)arg)->connected = state == REGISTRY_CONNECTED;
}

static void on_closed(void *arg)
{
    ((struct bench *)arg)->closed = true;
}

static void on_written(void *arg, const struct registry_reply *reply)
{
    struct bench *b = arg;

    if (reply->err.code != ERR_OK)
        die(reply->err.msg);
    b->answered++;
}

static void open_writer(struct bench *b)
{
    struct err err = {0};

    must(loop_new(&b->loop, 64, &err), &err);
    must(registry_open(&b->r, b->loop, &b->store.conf, &err), &err);
    (void)registry_listen(b->r, on_state, b);
    while (!b->connected)
        loop_turn(b->loop, 100);
}

static void close_writer(struct bench *b)
{
    registry_close(&b->r, on_closed, b);
    while (!b->closed)
        loop_turn(b->loop, 100);
    loop_free(&b->loop);
}

/* As DolphinScheduler 3.2 reports. */
static void value_of(struct buf *out, size_t worker, size_t round)
{
    buf_init(out, 1024);
    buf_printf(out,
               "{\"processId\":%zu,\"startupTime\":1763812500000,"
               "\"reportTime\":%" PRId64 ",\"jvmCpuUsage\":0.03,"
               "\"cpuUsage\":0.%zu,\"jvmMemoryUsage\":0.4,"
               "\"memoryUsage\":0.5,\"diskUsage\":0.0,"
               "\"serverStatus\":\"NORMAL\",\"workerHostWeight\":100,"
               "\"threadPoolUsage\":0.25}",
               worker + 1, 1763812500000 + clock_mono_ms(), 1 + round % 8);
}

static void key_of(char key[64], size_t worker)
{
    (void)snprintf(key, 64, "/pelorus/nodes/worker/10.%zu.%zu.%zu:1234",
                   worker >> 16, worker >> 8 & 255, worker & 255);
}

/* `n` workers come, in one txn. */
static void send_first(struct bench *b, size_t from, size_t n)
{
    struct registry_op *ops = mem_array(n, sizeof(*ops));
    char(*keys)[64] = mem_array(n, sizeof(*keys));
    struct buf *values = mem_array(n, sizeof(*values));

    for (size_t i = 0; i < n; i++) {
        value_of(&values[i], from + i, 0);
        key_of(keys[i], from + i);
        ops[i] = (struct registry_op){.type = REGISTRY_PUT,
                                      .expect = REGISTRY_ABSENT,
                                      .key = keys[i],
                                      .value = buf_text(&values[i]),
                                      .value_len = values[i].len,
                                      .ephemeral = true};
    }
    registry_txn(b->r, ops, n, on_written, b);
    b->sent++;
    for (size_t i = 0; i < n; i++)
        buf_close(&values[i]);
    mem_free(values);
    mem_free(keys);
    mem_free(ops);
}

static void send_report(struct bench *b, size_t worker, size_t round)
{
    struct buf value;
    char key[64];

    value_of(&value, worker, round);
    key_of(key, worker);
    registry_put(b->r, key, buf_text(&value), value.len, REGISTRY_ANY, 0, true,
                 on_written, b);
    buf_close(&value);
    b->sent++;
    b->reports++;
}

static void fill(struct bench *b)
{
    size_t group = registry_max_ops(b->r);

    group = group < GROUP ? group : GROUP;
    for (size_t i = 0; i < b->nodes; i += group) {
        size_t left = b->nodes - i;

        send_first(b, i, left < group ? left : group);
        while (b->sent - b->answered > 4)
            loop_turn(b->loop, 100);
    }
    while (b->sent > b->answered)
        loop_turn(b->loop, 100);
}

/* For so long, each worker once in a period, evenly. Those that are behind are
 * left out: how many came is said. */
static void report(struct bench *b, int64_t ms)
{
    static size_t sent;
    mono_ms began = clock_mono_ms(), next = began;
    size_t each = b->nodes * STEP_MS / PERIOD_MS;

    for (mono_ms now; (now = clock_mono_ms()) < began + ms;) {
        if (now < next) {
            loop_turn(b->loop, next - now);
            continue;
        }
        next += STEP_MS;
        if (b->sent - b->answered > each)
            continue;
        for (size_t i = 0; i < each; i++, sent++)
            send_report(b, sent % b->nodes, 1 + sent / b->nodes);
    }
}

/* --- the whole ----------------------------------------------------------- */

static void read_arguments(struct bench *b, int argc, char **argv)
{
    *b = (struct bench){.kind = "sqlite", .nodes = 10000, .seconds = 60};
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];

        if (value == NULL)
            die("an option without its value: see the head of the source");
        if (strcmp(name, "--registry") == 0)
            b->kind = value;
        else if (strcmp(name, "--nodes") == 0)
            b->nodes = strtoul(value, NULL, 10);
        else if (strcmp(name, "--seconds") == 0)
            b->seconds = strtoul(value, NULL, 10);
        else
            die("an unknown option: see the head of the source");
    }
    if (b->nodes < PERIOD_MS / STEP_MS || b->seconds == 0)
        die("a hundred nodes at least, and a second");
}

static void prepare(struct bench *b)
{
    struct err err = {0};

    if (atexit(clean_up) != 0)
        exit(1);
    must(daemon_dir(b->dir, sizeof(b->dir), "beats", &err), &err);
    (void)snprintf(b->conf, sizeof(b->conf), "%s/pelorus.yaml", b->dir);
    (void)snprintf(b->log, sizeof(b->log), "%s/pelorus.log", b->dir);
    store_start(&b->store, b->kind, b->dir);
    b->port = daemon_port();
}

int main(int argc, char **argv)
{
    struct bench *b = &bench;
    char name[64];
    mono_ms began;
    double spent, ms, share, rate;
    size_t reports;

    read_arguments(b, argc, argv);
    prepare(b);
    open_writer(b);
    fill(b);
    start_serve(b);
    began = clock_mono_ms();
    while ((size_t)workers_up(b) != b->nodes) {
        if (clock_mono_ms() - began > WAIT_MS)
            die("the coordinator does not get to know all of them");
        report(b, STEP_MS);
    }
    report(b, PERIOD_MS);
    spent = spent_ns(b);
    began = clock_mono_ms();
    reports = b->reports;
    report(b, (int64_t)b->seconds * 1000);
    ms = (double)(clock_mono_ms() - began);
    rate = (double)(b->reports - reports) / ms * 1000;
    share = (spent_ns(b) - spent) / ms / 1e6 * 100;
    if ((size_t)workers_up(b) != b->nodes)
        die("not all of them are up");
    (void)printf("%s, %zu workers: %.2f %% of a core for %.0f reports/s\n",
                 b->kind, b->nodes, share, rate);
    /* A busy machine may not write all of them in time. */
    share *= (double)b->nodes * 1000 / PERIOD_MS / rate;
    (void)snprintf(name, sizeof(name), "heartbeats-%s", b->kind);
    row_at_most(name, "%", share, LIMIT * (double)b->nodes / 10000);
    close_writer(b);
    return 0;
}
