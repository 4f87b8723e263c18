/*
 * report.c - ten seconds of a cluster: each of 1,000 workers reports once, and
 * the coordinator takes it in, judges, publishes each second and ticks on. So
 * a report's count has its share of what a second costs, as it has in life.
 */
#include "tests/bench/guard/guard.h"
#include "tests/bench/guard/workers.h"

#include "cluster/heartbeat.h"

#include <stdlib.h>

static void on_put(void *arg, const struct registry_reply *reply)
{
    (void)arg;
    assert(reply->err.code == ERR_OK);
}

static void report(struct world *w, unsigned worker, unsigned round)
{
    char address[32], key[REGISTRY_KEY_MAX + 1];
    struct heartbeat hb = {
        .process = {.startup_time = 1, .process_id = worker, .known = true},
        .status = NODE_NORMAL,
        .has_status = true,
        .load = {.cpu = 0.2 + (double)((worker + round) % 5) / 50,
                 .memory = 0.3,
                 .disk = 0.1,
                 .pool = (double)((worker + round) % 7) / 16,
                 .slots = 8 << worker % 4,
                 .weight = 100},
    };
    struct buf value;

    (void)snprintf(address, sizeof(address), "10.0.%u.%u:1234", worker / 250,
                   worker % 250);
    if (!node_key(NODE_WORKER, address, "default", key))
        abort();
    buf_init(&value, REGISTRY_VALUE_MAX);
    heartbeat_write(&value, NODE_WORKER, address, &hb, w->clock.wall);
    registry_put(w->hand, key, buf_text(&value), value.len, REGISTRY_ANY, 0,
                 true, on_put, NULL);
    buf_close(&value);
}

void guard_reports(struct world *w, unsigned round)
{
    const unsigned steps = GUARD_PERIOD_MS / GUARD_STEP_MS;
    const unsigned each = GUARD_WORKERS / steps;

    assert(each * steps == GUARD_WORKERS);
    for (unsigned i = 0; i < steps; i++) {
        for (unsigned n = 0; n < each; n++)
            report(w, i * each + n, round);
        world_run(w, GUARD_STEP_MS);
        guard_set_time(w->clock.mono);
    }
}

static void second_round(void *arg)
{
    guard_reports(arg, 2);
}

size_t guard_report(void)
{
    void *state;
    struct snapshot *s;
    struct world *w;

    (void)world_open(&state);
    w = state;
    guard_reports(w, 0);
    guard_reports(w, 1);
    guard_measured(second_round, w);
    s = coordinator_snapshot(w->c[0]);
    assert(coordinator_snapshot_node(s, NODE_WORKER, "10.0.3.249:1234") !=
           NULL);
    coordinator_snapshot_release(&s);
    (void)world_close(&state);
    return GUARD_WORKERS;
}
