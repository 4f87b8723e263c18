/*
 * bench_memory.c - how much memory does a coordinator hold for each work item,
 * and for each node?
 *
 * A real `pelorus serve` on a store of its own. Its resident memory is taken
 * with only the owners there, then with all of it written by another process
 * while it watched, then in a fresh process that found it there: what a
 * restart makes of it. What is written stands straight in the registry, in the
 * shape that the coordinators give it; items it does not move (failover.enabled
 * is false).
 *
 *   bench_memory [--registry sqlite|zookeeper|etcd|mysql|postgresql]
 *                [--items N | --nodes N] [--ids code|uuid]
 *                [--settle SECONDS]   before each measuring; by default 3
 *                [--prefix COMMAND]   e.g. "valgrind --tool=massif": run under
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "cluster/gate.h"
#include "tests/bench/rig.h"
#include "tests/bench/row.h"
#include "work/record.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OWNERS        100
#define ITEM_MAX      200  /* bytes of one item, of 100,000 */
#define NODES_MAX_MIB 24   /* all of the process, of 10,000 nodes */
#define SETTLE_MS     3000 /* after it knows everything, if not told */
#define WAIT_MS       600000
#define FLIGHT        4 /* txns of the writer */

#define RESTARTS 3

struct bench {
    const char *kind, *prefix;
    size_t items, nodes;
    int64_t settle_ms;
    bool uuid;
    struct rig rig;
};

static struct bench bench;

/* --- the coordinator ----------------------------------------------------- */

/* The writer's session lives on meanwhile. */
static void pause_ms(const struct bench *b, int64_t ms)
{
    mono_ms until = clock_mono_ms() + ms;

    for (mono_ms now; (now = clock_mono_ms()) < until;)
        loop_turn(b->rig.loop, (int)(until - now));
}

static bool knows(const struct bench *b, size_t items, size_t nodes)
{
    return rig_metric(&b->rig, "\npelorus_ready ") == 1 &&
           rig_metric(&b->rig,
                      "\npelorus_work_items_owned{kind=\"master\"} ") ==
               (double)items &&
           rig_metric(&b->rig,
                      "\npelorus_nodes{kind=\"worker\",state=\"up\"} ") ==
               (double)nodes &&
           rig_metric(&b->rig,
                      "\npelorus_nodes{kind=\"master\",state=\"up\"} ") ==
               OWNERS;
}

/* Until it knows so many; how long it took. */
static double await_known(const struct bench *b, size_t items, size_t nodes)
{
    mono_ms start = clock_mono_ms();

    while (!knows(b, items, nodes)) {
        if (clock_mono_ms() - start > WAIT_MS)
            rig_die(&b->rig,
                    "the coordinator does not get to know what is there");
        pause_ms(b, 5);
    }
    return (double)(clock_mono_ms() - start) / 1000;
}

struct memory {
    size_t resident, anonymous; /* bytes */
};

static size_t kib_line(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at == NULL ? 0 : strtoul(at + strlen(name), NULL, 10) * 1024;
}

/* At rest; the process that was started may be valgrind's. */
static struct memory measure(const struct bench *b, const char *when, size_t n,
                             const struct memory *empty)
{
    struct memory m;
    char path[64], text[4096];
    size_t len;
    FILE *f;

    pause_ms(b, b->settle_ms);
    (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup",
                   (int)b->rig.serve.pid);
    f = fopen(path, "r");
    if (f == NULL)
        rig_die(&b->rig, "the coordinator has gone");
    len = fread(text, 1, sizeof(text) - 1, f);
    text[len] = '\0';
    (void)fclose(f);
    m.resident = kib_line(text, "\nRss:");
    m.anonymous = kib_line(text, "\nAnonymous:");
    (void)printf("%-24s resident %7.1f MiB, anonymous %7.1f MiB", when,
                 (double)m.resident / 1048576, (double)m.anonymous / 1048576);
    if (empty != NULL) {
        (void)printf(", %.0f bytes each (anonymous %.0f)",
                     ((double)m.resident - (double)empty->resident) / (double)n,
                     ((double)m.anonymous - (double)empty->anonymous) /
                         (double)n);
    }
    (void)printf("\n");
    (void)fflush(stdout);
    return m;
}

/* --- the writer ---------------------------------------------------------- */

/* The next ids that a workflow engine's clock and counter give, or UUIDs. */
static void make_id(const struct bench *b, size_t i, char *out, size_t size)
{
    uint64_t x = hash_mix(2 * i + 1), y = hash_mix(2 * i + 2);

    if (b->uuid) {
        (void)snprintf(out, size,
                       "%08" PRIx64 "-%04" PRIx64 "-4%03" PRIx64 "-%04" PRIx64
                       "-%012" PRIx64,
                       x >> 32, x >> 16 & 0xffff, x & 0xfff,
                       0x8000 | (y >> 48 & 0x3fff), y & 0xffffffffffff);
    } else {
        (void)snprintf(out, size, "%" PRIu64,
                       UINT64_C(12009087230208) + i * 1024 + x % 1024);
    }
}

static void make_item(const struct bench *b, size_t i, struct work_item *w)
{
    *w = (struct work_item){.kind = NODE_MASTER,
                            .group = "default",
                            .state = WORK_ASSIGNED,
                            .process = {.created = 17,
                                        .startup_time = 1763812500000,
                                        .process_id = 4711,
                                        .known = true},
                            .epoch = 1,
                            .attempts = 1,
                            .assigned_at = 1763812500123};
    make_id(b, i, w->id, sizeof(w->id));
    (void)snprintf(w->owner, sizeof(w->owner), "10.0.0.%zu:5678",
                   1 + i % OWNERS);
    w->payload = mem_printf("{\"workflow\":%zu}", i);
}

static void send_items(struct bench *b, size_t from, size_t n)
{
    struct registry_op *ops = mem_array(2 * n, sizeof(*ops));
    char(*keys)[REGISTRY_KEY_MAX + 1] = mem_array(2 * n, sizeof(*keys));
    struct buf *values = mem_array(2 * n, sizeof(*values));

    for (size_t i = 0; i < n; i++) {
        struct buf *record = &values[2 * i], *mark = &values[2 * i + 1];
        struct work_item w;
        struct marker m;

        make_item(b, from + i, &w);
        work_marker_of(&m, &w);
        buf_init(record, WORK_RECORD_MAX);
        buf_init(mark, 1024);
        work_item_write(record, &w);
        work_marker_write(mark, &m);
        rig_put(&ops[2 * i], work_key(w.id, keys[2 * i]), record, false);
        rig_put(&ops[2 * i + 1],
                work_marker_key(m.kind, m.address, m.id, keys[2 * i + 1]), mark,
                false);
        work_item_close(&w);
    }
    registry_txn(b->rig.r, ops, 2 * n, rig_written, &b->rig);
    b->rig.sent++;
    for (size_t i = 0; i < 2 * n; i++)
        buf_close(&values[i]);
    mem_free(values);
    mem_free(keys);
    mem_free(ops);
}

/* As DolphinScheduler 3.2 reports. */
static void send_node(struct bench *b, const char *kind, const char *host,
                      unsigned port)
{
    char key[REGISTRY_KEY_MAX + 1], value[512];

    (void)snprintf(key, sizeof(key), "/pelorus/nodes/%s/%s:%u", kind, host,
                   port);
    (void)snprintf(
        value, sizeof(value),
        "{\"processId\":4711,\"startupTime\":1763812500000,\"reportTime\":"
        "1763812500000,\"jvmCpuUsage\":0.03,\"cpuUsage\":0.2,"
        "\"jvmMemoryUsage\":0.4,\"memoryUsage\":0.5,\"diskUsage\":0.0,"
        "\"serverStatus\":\"NORMAL\",\"host\":\"%s\",\"port\":%u,"
        "\"workerHostWeight\":100,\"threadPoolUsage\":0.25}",
        host, port);
    registry_put(b->rig.r, key, value, strlen(value), REGISTRY_ABSENT, 0, true,
                 rig_written, &b->rig);
    b->rig.sent++;
}

static void make_owners(struct bench *b)
{
    for (size_t i = 0; i < OWNERS; i++) {
        char host[32];

        (void)snprintf(host, sizeof(host), "10.0.0.%zu", 1 + i);
        send_node(b, "master", host, 5678);
    }
    rig_drain(&b->rig, 0);
}

static void fill(struct bench *b)
{
    size_t group = registry_max_ops(b->rig.r) / 2;

    group = group < RIG_GROUP ? group : RIG_GROUP;
    for (size_t i = 0; i < b->items; i += group) {
        size_t left = b->items - i;

        send_items(b, i, left < group ? left : group);
        rig_drain(&b->rig, FLIGHT);
    }
    for (size_t i = 0; i < b->nodes; i++) {
        char host[32];

        (void)snprintf(host, sizeof(host), "10.1.%zu.%zu", i >> 8, i & 255);
        send_node(b, "worker", host, 1234);
        rig_drain(&b->rig, 64);
    }
    rig_drain(&b->rig, 0);
}

/* --- the whole ----------------------------------------------------------- */

static void read_arguments(struct bench *b, int argc, char **argv)
{
    *b = (struct bench){.rig = {.name = "bench_memory"},
                        .kind = "sqlite",
                        .prefix = "",
                        .settle_ms = SETTLE_MS};
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];

        if (value == NULL)
            rig_die(&b->rig,
                    "an option without its value: see the head of the source");
        if (strcmp(name, "--registry") == 0)
            b->kind = value;
        else if (strcmp(name, "--items") == 0)
            b->items = strtoul(value, NULL, 10);
        else if (strcmp(name, "--nodes") == 0)
            b->nodes = strtoul(value, NULL, 10);
        else if (strcmp(name, "--settle") == 0)
            b->settle_ms = (int64_t)strtoul(value, NULL, 10) * 1000;
        else if (strcmp(name, "--ids") == 0)
            b->uuid = strcmp(value, "uuid") == 0;
        else if (strcmp(name, "--prefix") == 0)
            b->prefix = value;
        else
            rig_die(&b->rig,
                    "an option that is none: see the head of the source");
    }
    if (b->items + b->nodes == 0)
        b->items = 100000;
    if (b->items > 0 && b->nodes > 0)
        rig_die(&b->rig, "items or nodes, not both");
}

/* On another registry than SQLite it is a row of its own. */
static const char *row_name(const struct bench *b, const char *name)
{
    static char text[64];

    (void)snprintf(text, sizeof(text), "%s%s%s", name,
                   strcmp(b->kind, "sqlite") == 0 ? "" : "-",
                   strcmp(b->kind, "sqlite") == 0 ? "" : b->kind);
    return text;
}

int main(int argc, char **argv)
{
    struct bench *b = &bench;
    struct memory empty, full;
    double each;
    size_t n;

    read_arguments(b, argc, argv);
    rig_make(&b->rig, b->kind,
             b->items > 0 ? "failover:\n  enabled: false\n" : "");
    n = b->items + b->nodes;
    (void)printf("%s, %zu %s\n", b->kind, n, b->items > 0 ? "items" : "nodes");
    rig_open_writer(&b->rig);
    make_owners(b);
    rig_serve(&b->rig, b->prefix);
    (void)await_known(b, 0, 0);
    empty = measure(b, "empty", 0, NULL);
    fill(b);
    (void)await_known(b, b->items, b->nodes);
    (void)measure(b, "filled as it watched", n, &empty);
    for (int i = 0; i < RESTARTS; i++) {
        daemon_quit(&b->rig.serve, SIGTERM);
        rig_serve(&b->rig, b->prefix);
        row_beside(row_name(b, b->items > 0 ? "ready-items" : "ready-nodes"),
                   "s", await_known(b, b->items, b->nodes));
    }
    full = measure(b, "restarted", n, &empty);
    rig_close_writer(&b->rig);
    each = ((double)full.resident - (double)empty.resident) / (double)n;
    if (b->items > 0)
        row_at_most(row_name(b, "memory-item"), "bytes", each, ITEM_MAX);
    else
        row_at_most(row_name(b, "memory-nodes"), "MiB",
                    (double)full.resident / 1048576,
                    NODES_MAX_MIB * (double)n / 10000);
    return 0;
}
