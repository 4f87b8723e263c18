/*
 * live.h - a real coordinator as a policy of the placement simulation.
 *
 * The workers, the tasks and the queues are simulated as ever
 * (tests/bench/placement), but in real time: each event waits until its
 * moment has come. What the policy is told and asked goes over HTTP to a
 * `pelorus serve` that was started for this run, on an embedded registry in
 * memory: a PUT for each heartbeat, a GET of workers/best for each task, a
 * POST for each acknowledgement, a DELETE for each worker that leaves, all on
 * connections that are kept. Of several coordinators, which share the
 * registry, each task is asked of the one that the simulation would ask; a
 * worker sends its heartbeats to one of them, and the others hear of it from
 * the registry.
 *
 * The answer to a question is needed when its task would be at the worker,
 * 5 ms later (DISPATCH_S). Whatever comes later stops the simulated clock
 * until it is there, and is counted: a run in which that is more than one in
 * a hundred says so, and is not valid.
 */
#ifndef PELORUS_BENCH_LIVE_H
#define PELORUS_BENCH_LIVE_H

#include "tests/bench/placement/placement.h"

#include <stdio.h>

/* What a run was like; times in s. */
struct live_stats {
    uint64_t asked, none; /* questions, and answers that named nobody */
    uint64_t acks, reports, refusals;
    uint64_t failed;                     /* answers that no client wants */
    uint64_t answered;                   /* acknowledgements, with 204 */
    char failure[256];                   /* the first of them */
    double behind_p99, behind_max;       /* the driver: asked after its time */
    double pick_p50, pick_p99, pick_max; /* from its time to the answer */
    double report_p99, report_max;       /* from its time to the answer */
    double seconds, server_cpu;
    /* what the coordinators counted */
    uint64_t server_picks, server_done, server_unknown;
};

struct live_option {
    const char *program; /* build/pelorus */
    const char *more;    /* lines for its configuration, or "" */
    struct live_stats *stats;
};

/* A policy with such an option; set by the caller, with `stats` filled when
 * the run has ended. */
extern const struct policy policy_http;

/* NULL: it was in time. Otherwise what was not, in a static text. */
const char *live_late(const struct live_stats *s);
void live_print(const struct live_stats *s, FILE *out);

/* ---- the coordinators (server.c) ----------------------------------------- */

struct servers;

/* A new worker is given less for so long, s. */
double servers_warm_up(const struct world *w);
/* Starts the world's coordinators on one registry, and waits until all listen;
 * ends the program if one does not. */
struct servers *servers_start(const struct live_option *option,
                              const struct world *w);
uint16_t servers_port(const struct servers *s, uint32_t coordinator);
/* Stops them; the processor time that they took, s. */
double servers_end(struct servers **s);

#endif
