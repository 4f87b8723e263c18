/*
 * bench_publish.c - what does a snapshot cost after one node has changed,
 * beside one in which all of them are new?
 *
 * A coordinator on the memory registry knows N workers (10,000 if not told).
 * The first snapshot that shows them is timed, and then those after a single
 * report each, in turn of different workers.
 *
 *   bench_publish [N]
 */
#include "coordinator/coordinator_priv.h"
#include "tests/bench/median.h"
#include "tests/bench/row.h"
#include "tests/lib/memory/memory.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS    10000
#define SESSION_MS 60000
#define TURN_MS    50
#define ROUNDS     1000
#define SHARE_MAX  0.01 /* a hundred would be in proportion to the change */

struct world {
    struct clock clock;
    struct memory_store *store;
    struct registry *hand, *registry;
    struct conf conf;
    struct coordinator *c;
    size_t answered;
};

static void no_log(void *arg, enum log_level level, const char *line, size_t n)
{
    (void)arg;
    (void)level;
    (void)line;
    (void)n;
}

static void on_put(void *arg, const struct registry_reply *reply)
{
    struct world *w = arg;

    if (reply->err.code != ERR_OK) {
        (void)fprintf(stderr, "bench_publish: %s\n", reply->err.msg);
        exit(1);
    }
    w->answered++;
}

static void report(struct world *w, size_t worker, size_t round)
{
    char key[64], value[256];

    (void)snprintf(key, sizeof(key), "/nodes/worker/10.%zu.%zu.%zu:1234",
                   worker >> 16, worker >> 8 & 255, worker & 255);
    (void)snprintf(value, sizeof(value),
                   "{\"startupTime\":1763812500000,\"processId\":%zu,"
                   "\"reportTime\":%zu,\"cpuUsage\":0.%zu,"
                   "\"memoryUsage\":0.5,\"threadPoolUsage\":0.25}",
                   worker + 1, 1763812500000 + round, 1 + round % 8);
    registry_put(w->hand, key, value, strlen(value), REGISTRY_ANY, 0, true,
                 on_put, w);
}

/* What was sent arrives; `ticks`: and the coordinator goes on. */
static void run(struct world *w, int64_t ms, bool ticks)
{
    for (mono_ms end = w->clock.mono + ms; w->clock.mono < end;) {
        (void)memory_run(w->store, w->clock.mono + TURN_MS);
        w->clock.wall = 1763812500000 + w->clock.mono;
        if (ticks)
            coordinator_tick(w->c);
    }
}

static void begin(struct world *w)
{
    struct coordinator_config config = {
        .clock = &w->clock, .self = "127.0.0.1:7077", .seed = 1};

    log_set_sink(no_log, NULL);
    w->clock.mono = 1000;
    w->clock.wall = 1763812500000;
    w->store = memory_store_new(&w->clock, 1);
    conf_defaults(&w->conf);
    w->hand = memory_open(w->store, SESSION_MS);
    w->registry = memory_open(w->store, SESSION_MS);
    config.conf = &w->conf;
    config.registry = w->registry;
    w->c = coordinator_new(&config);
    run(w, 2000, true);
}

static double publish_us(struct world *w)
{
    uint64_t began = clock_mono_ns();

    coordinator_publish_now(w->c);
    return (double)(clock_mono_ns() - began) / 1000;
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : WORKERS;
    struct world w = {.answered = 0};
    static double one[ROUNDS];
    struct snapshot *s;
    double whole;

    begin(&w);
    for (size_t i = 0; i < n; i++)
        report(&w, i, 0);
    run(&w, 500, false);
    whole = publish_us(&w);
    s = coordinator_snapshot(w.c);
    if (w.answered != n || s->n_nodes != n) {
        (void)fprintf(stderr, "bench_publish: %zu nodes of %zu\n", s->n_nodes,
                      n);
        return 1;
    }
    coordinator_snapshot_release(&s);
    for (size_t i = 0; i < ROUNDS; i++) {
        report(&w, i * 7919 % n, 1 + i);
        run(&w, TURN_MS * 2, false);
        one[i] = publish_us(&w);
    }
    (void)printf("%zu workers: %.0f us for all, %.2f us after one report\n", n,
                 whole, median_of(one, ROUNDS));
    row_at_most("publish-one", "share", median_of(one, ROUNDS) / whole,
                SHARE_MAX);
    row_beside("publish-one-us", "us", median_of(one, ROUNDS));
    return 0;
}
