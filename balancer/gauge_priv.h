/*
 * gauge_priv.h - tasks read from the cpu, of workers that do not say how many
 * they run.
 *
 * A worker's cpu usage is taken for a + b * tasks/slots, with a and b alike on
 * all workers. What the tasks are is not known either, but what was added to
 * them is: from one report to the next
 *
 *     cpu' = p0 * cpu + p1 * (A - D)/slots + p2
 *
 * with A tasks granted and D of all acknowledged between them. p0 is what an
 * interval leaves of the old tasks; of the new ones, when all fade alike, so
 * much is left that b follows from p1, and a from p2. The same recursive least
 * squares as elsewhere (fit_priv.h). It is only read while p1 is surely not 0:
 * where the cpu says nothing of the tasks, nothing is made of it.
 *
 * Pure; under the balancer's lock.
 */
#ifndef PELORUS_BALANCER_GAUGE_PRIV_H
#define PELORUS_BALANCER_GAUGE_PRIV_H

#include "balancer/fit_priv.h"

struct gauge {
    struct fit fit;                /* p0, p1, p2 */
    double granted_sum, acked_sum; /* tasks; of the last thousand reports */
    double low, high; /* cpu usage that one in 20 reports is below, above */
    uint32_t seen;    /* reports */
};

struct gauge_sample {
    double was, is;        /* cpu usage at two successive reports, 0..1 */
    double granted, acked; /* tasks between them */
    double capacity;       /* slots, > 0 */
};

void balancer_gauge_begin(struct gauge *g);
void balancer_gauge_learn(struct gauge *g, const struct gauge_sample *s);

/* Tasks per slot at that cpu usage, 0 or more; negative: it does not tell.
 * `full`, if not NULL: whether all slots may be taken, so that there can be
 * more tasks than that. */
double balancer_gauge_read(const struct gauge *g, double cpu, bool *full);

/* Tasks of a worker whose slots are all taken, when `expected` were expected
 * and so many ended since they were known, which is about the variance of that
 * (ends are Poisson). How many wait the cpu does not show, only that there are
 * no fewer than slots: the mean of what was expected, cut off below them
 * (Tobin, Estimation of Relationships for Limited Dependent Variables, 1958).
 * More than `capacity` (> 0) and than `expected`, which would be met with new
 * tasks as if nothing waited, so that what waits would stay for ever. */
double balancer_gauge_full(double capacity, double expected, double ended);

#endif
