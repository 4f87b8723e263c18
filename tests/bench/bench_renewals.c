/*
 * bench_renewals.c - renewals in groups beside single ones: what the store
 * writes, keeps and spends for ten thousand nodes over HTTP that report every
 * ten seconds, and whether a lease is lost while a coordinator fails.
 *
 * Two real coordinators (SQLite: one, it has no more) on a store of its own;
 * this program is all the nodes (herd.h). First they have `renewals: single`,
 * then they are started again with `grouped`, on the same store: so a ratio is
 * of one run. With --faults all is grouped, and the second coordinator is
 * stopped for five seconds, killed, and, behind a proxy, cut off from the store
 * for longer than any lease.
 *
 *   bench_renewals [--registry sqlite|zookeeper|etcd|mysql|postgresql]
 *                  [--nodes N] [--seconds S] [--period S] [--ttl S]
 *                  [--connections N]         10,000, 30, 10, 30, 500
 *                  [--binlog row|mixed]      of MariaDB, else as it has it
 *                  [--faults]
 */
#include "base/clock.h"
#include "base/mem.h"
#include "tests/bench/herd.h"
#include "tests/bench/rig.h"
#include "tests/bench/row.h"
#include "tests/lib/proxy.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NS      UINT64_C(1000000000)
#define JOIN_S  120
#define READY_S 60
#define STOP_S  5
#define TOLD_S  3 /* until a coordinator has heard what was renewed */
#define LOG_MAX ((size_t)64 << 20)
/* Of MariaDB's binlog, for a single renewal, when they were the only ones and
 * its rows were dearer: b950823, measured so. */
#define BINLOG_BYTES 2507

struct bench {
    struct rig rig;
    struct rig_peer peer;
    const char *kind, *binlog;
    size_t nodes, seconds, period, ttl, connections, coordinators;
    bool faults;
    size_t lost; /* leases, while one of them failed */
    struct herd *herd;
    pid_t proxy;
    uint16_t proxy_port;
};

/* What one way of renewing cost. */
struct cost {
    double writes, bytes, store_us, ours_us; /* a second; of a renewal */
    struct herd_counts counts;
};

static struct bench bench;

/* --- coordinators -------------------------------------------------------- */

static void run_for(struct bench *b, double seconds)
{
    herd_run(b->herd, clock_mono_ns() + (uint64_t)(seconds * (double)NS));
}

/* All of a log. */
static char *log_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = mem_alloc(LOG_MAX);
    size_t n = f == NULL ? 0 : fread(text, 1, LOG_MAX - 1, f);

    if (f != NULL)
        (void)fclose(f);
    text[n] = '\0';
    return text;
}

/* How often it says so. */
static size_t said(const char *path, const char *what)
{
    char *text = log_text(path);
    size_t n = 0;

    for (const char *at = strstr(text, what); at != NULL;
         at = strstr(at + 1, what))
        n++;
    mem_free(text);
    return n;
}

/* Whoever has written that says so. */
static bool is_grouped(const struct bench *b)
{
    return said(b->rig.log, "mode=grouped") > 0 ||
           (b->coordinators > 1 && said(b->peer.log, "mode=grouped") > 0);
}

static void wait_ready(struct bench *b, double (*metric)(const struct rig *rig,
                                                         const char *sample))
{
    uint64_t end = clock_mono_ns() + READY_S * NS;

    while (metric(&b->rig, "\npelorus_ready ") != 1) {
        if (clock_mono_ns() > end)
            rig_die(&b->rig, "a coordinator does not get ready");
        if (b->herd != NULL)
            run_for(b, .05);
        else
            (void)usleep(20000);
    }
}

static void begin(struct bench *b, const char *renewals)
{
    char more[64];

    (void)snprintf(more, sizeof(more), "renewals: %s\n", renewals);
    rig_configure(&b->rig, more);
    rig_serve(&b->rig, "");
    if (b->coordinators > 1) {
        rig_peer_configure(&b->rig, &b->peer, more, 0);
        rig_peer_serve(&b->rig);
    }
    wait_ready(b, rig_metric);
    if (b->coordinators > 1)
        wait_ready(b, rig_peer_metric);
}

static void end(struct bench *b)
{
    daemon_quit(&b->rig.serve, SIGTERM);
    if (b->coordinators > 1)
        daemon_quit(&b->peer.serve, SIGTERM);
}

static void begin_herd(struct bench *b)
{
    const struct herd_config config = {.nodes = b->nodes,
                                       .period_s = b->period,
                                       .ttl_s = b->ttl,
                                       .connections = b->connections,
                                       .port = {b->rig.port, b->peer.port},
                                       .n_ports = b->coordinators};
    uint64_t began = clock_mono_ns();

    b->herd = herd_new(&config);
    herd_count(b->herd);
    if (!herd_join(b->herd, JOIN_S))
        rig_die(&b->rig, "they do not join in time");
    (void)printf("joined in %.1f s\n", (double)(clock_mono_ns() - began) / NS);
}

static void await_groups(struct bench *b)
{
    uint64_t limit = clock_mono_ns() + READY_S * NS;

    while (!is_grouped(b)) {
        if (clock_mono_ns() > limit)
            rig_die(&b->rig, "nothing is written in groups");
        run_for(b, .2);
    }
}

/* --- costs --------------------------------------------------------------- */

static uint64_t ours_us(const struct bench *b)
{
    const struct store first = {.pid = b->rig.serve.pid};
    const struct store second = {.pid = b->peer.serve.pid};

    return store_cpu_us(&first) +
           (b->coordinators > 1 ? store_cpu_us(&second) : 0);
}

static bool has_server(const struct bench *b)
{
    return b->rig.store.pid != 0;
}

/* Steady: each has renewed once through each coordinator. */
static struct cost measure(struct bench *b, const char *how)
{
    const struct store *s = &b->rig.store;
    struct cost c = {0};
    uint64_t began, writes, bytes = 0, cpu = 0, ours;
    double seconds, n;

    run_for(b, (double)(b->period * b->coordinators) + 1);
    herd_count(b->herd);
    ours = ours_us(b);
    writes = store_changes(s);
    if (has_server(b)) {
        bytes = store_written(s);
        cpu = store_cpu_us(s);
    }
    began = clock_mono_ns();
    run_for(b, (double)b->seconds);
    seconds = (double)(clock_mono_ns() - began) / NS;
    c.counts = herd_counted(b->herd);
    n = (double)c.counts.accepted;
    c.writes = (double)(store_changes(s) - writes) / seconds;
    if (has_server(b)) {
        c.bytes = (double)(store_written(s) - bytes) / n;
        c.store_us = (double)(store_cpu_us(s) - cpu) / n;
    }
    c.ours_us = (double)(ours_us(b) - ours) / n;
    (void)printf("%s, %s: %.0f renewals/s, %.1f writes/s at the store, %.1f "
                 "bytes and %.1f us of it a renewal, %.1f us of ours; p50 %.0f "
                 "ms, p99 %.0f, at most %.0f; %zu again, %zu refused, %zu "
                 "leases lost\n",
                 b->kind, how, n / seconds, c.writes, c.bytes, c.store_us,
                 c.ours_us, c.counts.p50, c.counts.p99, c.counts.most,
                 c.counts.again, c.counts.refused, c.counts.lost);
    (void)fflush(stdout);
    return c;
}

static const char *row_name(const struct bench *b, const char *what)
{
    static char text[80];

    (void)snprintf(text, sizeof(text), "renewals-%s-%s%s%s", b->kind, what,
                   b->binlog == NULL ? "" : "-",
                   b->binlog == NULL ? "" : b->binlog);
    return text;
}

/* `wanted` 0: nothing is wanted of it here. */
static void tell_share(const struct bench *b, const char *what, double grouped,
                       double single, double wanted)
{
    if (wanted > 0)
        row_at_most(row_name(b, what), "share", grouped / single, wanted);
    else
        row_beside(row_name(b, what), "share", grouped / single);
}

static void tell(const struct bench *b, const struct cost *single,
                 const struct cost *grouped)
{
    bool etcd = strcmp(b->kind, "etcd") == 0;
    bool mysql = strcmp(b->kind, "mysql") == 0;

    row_at_most(row_name(b, "writes"), "writes/s", grouped->writes, 20);
    row_beside(row_name(b, "writes-single"), "writes/s", single->writes);
    row_at_most(row_name(b, "p99"), "ms", grouped->counts.p99, 300);
    row_beside(row_name(b, "p99-single"), "ms", single->counts.p99);
    row_at_most(row_name(b, "refused"), "renewals",
                (double)(grouped->counts.lost + grouped->counts.refused), 0);
    tell_share(b, "ours", grouped->ours_us, single->ours_us, 0);
    if (!has_server(b))
        return;
    tell_share(b, "bytes", grouped->bytes, single->bytes, etcd ? 1. / 15 : 0);
    tell_share(b, "cpu", grouped->store_us, single->store_us, etcd ? .125 : 0);
    row_beside(row_name(b, "bytes-single"), "B", single->bytes);
    if (mysql)
        row_at_most(row_name(b, "bytes-grouped"), "B", grouped->bytes,
                    BINLOG_BYTES / 40.);
    else
        row_beside(row_name(b, "bytes-grouped"), "B", grouped->bytes);
    row_beside(row_name(b, "cpu-single"), "us", single->store_us);
    row_beside(row_name(b, "cpu-grouped"), "us", grouped->store_us);
}

static void compare(struct bench *b)
{
    struct cost single, grouped;

    begin(b, "single");
    begin_herd(b);
    single = measure(b, "single");
    herd_pause(b->herd);
    end(b);
    begin(b, "grouped");
    herd_resume(b->herd);
    await_groups(b);
    grouped = measure(b, "grouped");
    tell(b, &single, &grouped);
    herd_pause(b->herd);
    end(b);
}

/* --- cut off ------------------------------------------------------------- */

static volatile sig_atomic_t cut;

static void on_signal(int number)
{
    cut = number == SIGUSR1;
}

static uint16_t store_port(const struct bench *b)
{
    const char *at = strstr(b->rig.store.yaml, "127.0.0.1:");

    if (at == NULL)
        rig_die(&b->rig, "this store has no port");
    return (uint16_t)strtoul(strchr(at, ':') + 1, NULL, 10);
}

/* A process of its own, as this one is busy. It never ends by itself. */
static NORETURN void be_proxy(const struct bench *b, int tell_fd)
{
    struct err err = {0};
    struct loop *loop = NULL;
    struct proxy *proxy = NULL;
    bool is_cut = false;
    uint16_t port;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (signal(SIGUSR1, on_signal) == SIG_ERR ||
        signal(SIGUSR2, on_signal) == SIG_ERR ||
        loop_new(&loop, 64, &err) != 0 ||
        proxy_open(&proxy, loop, store_port(b), &err) != 0)
        _exit(1);
    port = proxy_port(proxy);
    if (write(tell_fd, &port, sizeof(port)) != (ssize_t)sizeof(port))
        _exit(1);
    for (;;) {
        loop_turn(loop, 20);
        if ((cut != 0) != is_cut) {
            is_cut = cut != 0;
            proxy_cut(proxy, is_cut ? PROXY_BOTH : 0);
        }
    }
}

static void begin_proxy(struct bench *b)
{
    int fds[2];

    if (pipe(fds) != 0)
        rig_die(&b->rig, "no pipe");
    (void)fflush(stdout);
    b->proxy = fork();
    if (b->proxy == 0)
        be_proxy(b, fds[1]);
    (void)close(fds[1]);
    if (b->proxy < 0 || read(fds[0], &b->proxy_port, sizeof(b->proxy_port)) !=
                            (ssize_t)sizeof(b->proxy_port))
        rig_die(&b->rig, "no proxy");
    (void)close(fds[0]);
}

/* --- faults -------------------------------------------------------------- */

static size_t missed(const struct bench *b)
{
    static const char *const lines[] = {"-registration ", "~node-suspect ",
                                        "-node-down "};
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        n += said(b->rig.log, lines[i]);
    return n;
}

static void judge(struct bench *b, const char *what)
{
    struct herd_counts c = herd_counted(b->herd);
    char name[32];

    (void)snprintf(name, sizeof(name), "lost-%s", what);
    (void)printf("%s, %s: %zu renewals, %zu told 503 and %zu lost were sent "
                 "again, p99 %.0f ms, at most %.0f; by whoever went on in "
                 "%.0f\n",
                 b->kind, what, c.accepted, c.busy, c.again - c.busy, c.p99,
                 c.most, c.answer_p99[0]);
    row_beside(row_name(b, name), "leases", (double)c.lost);
    b->lost += c.lost + c.refused;
    (void)snprintf(name, sizeof(name), "p99-%s", what);
    row_beside(row_name(b, name), "ms", c.p99);
    if (b->coordinators > 1) {
        (void)snprintf(name, sizeof(name), "p99-beside-%s", what);
        row_at_most(row_name(b, name), "ms", c.answer_p99[0], 300);
    }
    row_at_least(
        row_name(b, "up"), "nodes",
        rig_metric(&b->rig, "\npelorus_nodes{kind=\"worker\",state=\"up\"} "),
        (double)b->nodes);
    herd_count(b->herd);
}

static void be_cut_off(struct bench *b)
{
    begin_proxy(b);
    rig_peer_configure(&b->rig, &b->peer, "renewals: grouped\n", b->proxy_port);
    rig_peer_serve(&b->rig);
    wait_ready(b, rig_peer_metric);
    run_for(b, (double)b->period);
    herd_count(b->herd);
    (void)kill(b->proxy, SIGUSR1);
    run_for(b, (double)b->ttl + STOP_S);
    (void)kill(b->proxy, SIGUSR2);
    run_for(b, (double)b->period);
    judge(b, "cut-off");
    (void)kill(b->proxy, SIGKILL);
}

/* Whoever went on all the time has missed nobody either. */
static void tell_lost(const struct bench *b)
{
    row_at_most(row_name(b, "lost"), "leases", (double)(b->lost + missed(b)),
                0);
}

static void break_one(struct bench *b)
{
    begin(b, "grouped");
    begin_herd(b);
    await_groups(b);
    run_for(b, (double)(b->period * b->coordinators) + 1);
    herd_count(b->herd);
    daemon_stop(b->coordinators > 1 ? &b->peer.serve : &b->rig.serve);
    run_for(b, STOP_S);
    daemon_cont(b->coordinators > 1 ? &b->peer.serve : &b->rig.serve);
    run_for(b, (double)b->ttl);
    judge(b, "stopped");
    if (b->coordinators > 1) {
        daemon_kill(&b->peer.serve);
        run_for(b, (double)b->ttl + TOLD_S);
        judge(b, "killed");
        be_cut_off(b);
    }
    tell_lost(b);
}

/* --- the whole ----------------------------------------------------------- */

static void read_arguments(struct bench *b, int argc, char **argv)
{
    *b = (struct bench){.rig = {.name = "bench_renewals"},
                        .kind = "sqlite",
                        .nodes = 10000,
                        .seconds = 30,
                        .period = 10,
                        .ttl = 30,
                        .connections = 500};
    for (int i = 1; i < argc; i++) {
        const struct {
            const char *name;
            size_t *number;
            const char **text;
        } options[] = {{"--nodes", &b->nodes, NULL},
                       {"--seconds", &b->seconds, NULL},
                       {"--period", &b->period, NULL},
                       {"--ttl", &b->ttl, NULL},
                       {"--connections", &b->connections, NULL},
                       {"--registry", NULL, &b->kind},
                       {"--binlog", NULL, &b->binlog}};
        size_t k = 0;

        if (strcmp(argv[i], "--faults") == 0) {
            b->faults = true;
            continue;
        }
        while (k < ARRAY_LEN(options) && strcmp(argv[i], options[k].name) != 0)
            k++;
        if (k == ARRAY_LEN(options) || argv[i + 1] == NULL)
            rig_die(&b->rig, "the head of the source says what it takes");
        if (options[k].text != NULL)
            *options[k].text = argv[++i];
        else
            *options[k].number = strtoul(argv[++i], NULL, 10);
    }
    if (b->nodes < 20 || b->seconds == 0 || b->period == 0 ||
        b->ttl <= b->period || b->connections == 0)
        rig_die(&b->rig, "20 nodes at least, everything more than 0, and a ttl "
                         "above the period");
    b->coordinators = strcmp(b->kind, "sqlite") == 0 ? 1 : 2;
}

int main(int argc, char **argv)
{
    struct bench *b = &bench;

    read_arguments(b, argc, argv);
    store_keep_log(b->binlog);
    rig_make(&b->rig, b->kind, "");
    (void)printf("%s, %zu nodes, each every %zu s\n", b->kind, b->nodes,
                 b->period);
    if (b->faults)
        break_one(b);
    else
        compare(b);
    herd_free(&b->herd);
    return 0;
}
