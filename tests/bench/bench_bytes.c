/*
 * bench_bytes.c - what does one heartbeat cost a store, in bytes on its disk
 * and in processor time of its server?
 *
 * A store of its own, and this program as a client of it, as agents and
 * coordinators are: a put of about 320 bytes at one of 200 keys, each for
 * itself ("alone": the next is sent when the last was answered) and 64 under
 * way at a time ("group": as they come from many nodes through one
 * coordinator). What the bytes are: store.h. MariaDB runs with its binlog, as
 * in production; PostgreSQL without pages written whole after a checkpoint,
 * which cost as much as what else is at work there.
 *
 *   bench_bytes --registry sqlite|zookeeper|etcd|mysql|postgresql
 *               [--beats N]               2,000 alone, ten times that in groups
 *               [--binlog row|mixed]      of MariaDB, else as it has it
 */
#include "base/buf.h"
#include "base/clock.h"
#include "tests/bench/rig.h"
#include "tests/bench/row.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES 200
#define GROUP 64

static void send_beat(struct rig *rig, size_t i)
{
    struct buf value;
    char key[64];

    (void)snprintf(key, sizeof(key), "/pelorus/nodes/worker/10.0.%zu.%zu:1234",
                   i % NODES / 100, i % 100);
    buf_init(&value, 1024);
    buf_printf(&value,
               "{\"processId\":%zu,\"startupTime\":1763812500000,"
               "\"reportTime\":%" PRId64 ",\"jvmCpuUsage\":0.031415,"
               "\"cpuUsage\":0.2%zu,\"jvmMemoryUsage\":0.412345,"
               "\"memoryUsage\":0.512345,\"diskUsage\":0.300000,"
               "\"serverStatus\":\"NORMAL\",\"host\":\"10.0.%zu.%zu\","
               "\"port\":1234,\"workerHostWeight\":100,"
               "\"workerGroups\":[\"default\"],\"threadPoolUsage\":0.25}",
               i % NODES + 1, 1763812500000 + clock_mono_ms(), i % 8,
               i % NODES / 100, i % 100);
    registry_put(rig->r, key, buf_text(&value), value.len, REGISTRY_ANY, 0,
                 true, rig_written, rig);
    rig->sent++;
    buf_close(&value);
}

static void beat(struct rig *rig, size_t beats, size_t in_flight)
{
    for (size_t i = 0; i < beats; i++) {
        rig_drain(rig, in_flight - 1);
        send_beat(rig, i);
    }
    rig_drain(rig, 0);
}

static void measure(struct rig *rig, size_t beats, size_t in_flight,
                    const char *how, const char *binlog)
{
    const struct store *s = &rig->store;
    uint64_t bytes = store_written(s), cpu_us = store_cpu_us(s);
    mono_ms began = clock_mono_ms();
    char name[64];

    beat(rig, beats, in_flight);
    cpu_us = store_cpu_us(s) - cpu_us;
    bytes = store_written(s) - bytes;
    (void)printf("%s, %s: %zu beats in %" PRId64 " ms\n", s->kind, how, beats,
                 clock_mono_ms() - began);
    (void)snprintf(name, sizeof(name), "beat-bytes-%s-%s%s%s", s->kind, how,
                   binlog == NULL ? "" : "-", binlog == NULL ? "" : binlog);
    row_beside(name, "B", (double)bytes / (double)beats);
    (void)snprintf(name, sizeof(name), "beat-cpu-%s-%s%s%s", s->kind, how,
                   binlog == NULL ? "" : "-", binlog == NULL ? "" : binlog);
    row_beside(name, "us", (double)cpu_us / (double)beats);
}

int main(int argc, char **argv)
{
    static struct rig rig = {.name = "bench_bytes"};
    const char *kind = NULL, *binlog = NULL;
    size_t beats = 2000;

    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--registry") == 0)
            kind = argv[i + 1];
        else if (strcmp(argv[i], "--beats") == 0)
            beats = strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--binlog") == 0)
            binlog = argv[i + 1];
    if (kind == NULL || beats < NODES || argc % 2 == 0)
        rig_die(&rig, "--registry is missing: see the head of the source");
    store_keep_log(binlog);
    rig_make(&rig, kind, "");
    rig_open_writer(&rig);
    beat(&rig, NODES, GROUP); /* they join */
    beat(&rig, beats * 5, GROUP);
    measure(&rig, beats, 1, "alone", binlog);
    measure(&rig, beats * 10, GROUP, "group", binlog);
    rig_close_writer(&rig);
    return 0;
}
