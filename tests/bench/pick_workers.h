/*
 * pick_workers.h - a group whose picks are measured: workers of four sizes with
 * some load, every other one also in a second group.
 */
#ifndef PELORUS_TESTS_BENCH_PICK_WORKERS_H
#define PELORUS_TESTS_BENCH_PICK_WORKERS_H

#include "balancer/balancer.h"

#define PICK_INTERVAL 10000 /* ms between reports */

static const struct conf_balancer pick_conf = {
    .policy = CONF_LEDGER,
    .heartbeat_interval_ms = PICK_INTERVAL,
    .cpu_max = 0.9,
    .memory_max = 0.9,
    .disk_max = 0.95,
    .warm_up_ms = 60000,
    .warm_up_aggression = 1,
    .cpu_usage_weight = 30,
    .memory_usage_weight = 30,
    .pool_usage_weight = 40,
};

/* The i-th, all but its address. */
static inline struct balancer_worker pick_worker(uint32_t i, mono_ms reported)
{
    static const char *const groups[] = {"etl"};
    static const int32_t slots[] = {8, 16, 32, 64};

    return (struct balancer_worker){.weight = 100,
                                    .slots = slots[i % 4],
                                    .cpu = 0.3,
                                    .memory = 0.4,
                                    .disk = 0.1,
                                    .pool = (double)(i % 7) / 16,
                                    .reported = reported,
                                    .incarnation = 1,
                                    .groups = groups,
                                    .n_groups = i % 2};
}

#endif
