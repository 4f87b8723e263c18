/*
 * live.h - a real coordinator as a policy of the placement simulation.
 *
 * The workers, the tasks and the queues are simulated as ever
 * (tests/bench/placement), but in real time: each event waits until its
 * moment has come. What the policy is told and asked goes over HTTP to a
 * `pelorus serve` that was started for this run, on an embedded registry in
 * memory: a PUT for each heartbeat, a GET of workers/best for each task, a
 * POST for each acknowledgement, all on connections that are kept.
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
    /* what the coordinator counted */
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

/* ---- the coordinator (server.c) ------------------------------------------ */

struct server;

/* Starts it, and waits until it listens; ends the program if it does not. */
struct server *server_start(const struct live_option *option, double heartbeat);
uint16_t server_port(const struct server *s);
/* Stops it; the processor time that it took, s. */
double server_end(struct server **s);

#endif
