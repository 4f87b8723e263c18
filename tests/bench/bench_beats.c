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
#include "base/mem.h"
#include "tests/bench/rig.h"
#include "tests/bench/row.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PERIOD_MS 10000
#define STEP_MS   100
#define WAIT_MS   600000
#define LIMIT     2 /* % of a core, of 10,000 */

struct bench {
    const char *kind;
    size_t nodes, seconds;
    size_t reports;
    struct rig rig;
};

static struct bench bench;

/* --- the coordinator ----------------------------------------------------- */

/* How many workers it says are up; -1: no answer. */
static double workers_up(const struct bench *b)
{
    return rig_metric(&b->rig,
                      "\npelorus_nodes{kind=\"worker\",state=\"up\"} ");
}

/* What all its threads have spent, in nanoseconds. */
static double spent_ns(const struct bench *b)
{
    char path[300];
    double sum = 0, ns;
    struct dirent *e;
    DIR *d;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)b->rig.serve.pid);
    d = opendir(path);
    if (d == NULL)
        rig_die(&b->rig, "the coordinator has gone");
    while ((e = readdir(d)) != NULL) {
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat",
                       (int)b->rig.serve.pid, e->d_name);
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
        rig_put(&ops[i], keys[i], &values[i], true);
    }
    registry_txn(b->rig.r, ops, n, rig_written, &b->rig);
    b->rig.sent++;
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
    registry_put(b->rig.r, key, buf_text(&value), value.len, REGISTRY_ANY, 0,
                 true, rig_written, &b->rig);
    buf_close(&value);
    b->rig.sent++;
    b->reports++;
}

static void fill(struct bench *b)
{
    size_t group = registry_max_ops(b->rig.r);

    group = group < RIG_GROUP ? group : RIG_GROUP;
    for (size_t i = 0; i < b->nodes; i += group) {
        size_t left = b->nodes - i;

        send_first(b, i, left < group ? left : group);
        rig_drain(&b->rig, 4);
    }
    rig_drain(&b->rig, 0);
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
            loop_turn(b->rig.loop, next - now);
            continue;
        }
        next += STEP_MS;
        if (b->rig.sent - b->rig.answered > each)
            continue;
        for (size_t i = 0; i < each; i++, sent++)
            send_report(b, sent % b->nodes, 1 + sent / b->nodes);
    }
}

/* --- the whole ----------------------------------------------------------- */

static void read_arguments(struct bench *b, int argc, char **argv)
{
    *b = (struct bench){.rig = {.name = "bench_beats"},
                        .kind = "sqlite",
                        .nodes = 10000,
                        .seconds = 60};
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];

        if (value == NULL)
            rig_die(&b->rig,
                    "an option without its value: see the head of the source");
        if (strcmp(name, "--registry") == 0)
            b->kind = value;
        else if (strcmp(name, "--nodes") == 0)
            b->nodes = strtoul(value, NULL, 10);
        else if (strcmp(name, "--seconds") == 0)
            b->seconds = strtoul(value, NULL, 10);
        else
            rig_die(&b->rig, "an unknown option: see the head of the source");
    }
    if (b->nodes < PERIOD_MS / STEP_MS || b->seconds == 0)
        rig_die(&b->rig, "a hundred nodes at least, and a second");
}

int main(int argc, char **argv)
{
    struct bench *b = &bench;
    char name[64];
    mono_ms began;
    double spent, ms, share, rate;
    size_t reports;

    read_arguments(b, argc, argv);
    rig_make(&b->rig, b->kind, "");
    rig_open_writer(&b->rig);
    fill(b);
    rig_serve(&b->rig, "");
    began = clock_mono_ms();
    while ((size_t)workers_up(b) != b->nodes) {
        if (clock_mono_ms() - began > WAIT_MS)
            rig_die(&b->rig,
                    "the coordinator does not get to know all of them");
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
        rig_die(&b->rig, "not all of them are up");
    (void)printf("%s, %zu workers: %.2f %% of a core for %.0f reports/s\n",
                 b->kind, b->nodes, share, rate);
    /* A busy machine may not write all of them in time. */
    share *= (double)b->nodes * 1000 / PERIOD_MS / rate;
    (void)snprintf(name, sizeof(name), "heartbeats-%s", b->kind);
    row_at_most(name, "%", share, LIMIT * (double)b->nodes / 10000);
    rig_close_writer(&b->rig);
    return 0;
}
