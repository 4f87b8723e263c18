/*
 * sim.h - whole clusters in one process and in virtual time, from one seed.
 *
 * The coordinators are the real ones, over the memory registry. Nodes, clients
 * and people are simulated; a checker (check.h) watches every write that the
 * registry applies. A seed decides everything: the same seed is the same run.
 */
#ifndef PELORUS_TESTS_SIM_SIM_H
#define PELORUS_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_result {
    bool failed;
    char invariant[64]; /* the rule that was broken; "" */
    char what[512];     /* how */
    uint64_t hash;      /* over the whole transcript */
    uint64_t writes;    /* applied by the registry */
    uint64_t moves;     /* items taken from a process by a failover */
    uint64_t failovers; /* that reached `done` */
    uint64_t leaves;    /* in order, over HTTP */
    uint64_t forgotten; /* gates */
    uint64_t faults;
    int64_t virtual_ms;
};

/* `verbose`: the whole transcript goes to standard output. A failure prints
 * the end of the transcript to standard error. */
void sim_run(uint64_t seed, bool verbose, struct sim_result *result);

/* How coordinators are told to write renewals, from the next run on: the seed
 * says it, at first (every third: grouped). */
enum sim_renewals { SIM_BY_SEED, SIM_SINGLE, SIM_GROUPED };
void sim_use_renewals(enum sim_renewals how);

#endif
