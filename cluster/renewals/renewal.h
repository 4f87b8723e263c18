/*
 * renewal.h - one node's renewal, as it goes into a window (window.h). Pure;
 * any thread.
 */
#ifndef PELORUS_CLUSTER_RENEWALS_RENEWAL_H
#define PELORUS_CLUSTER_RENEWALS_RENEWAL_H

#include "cluster/heartbeat.h"

/* One node's renewal, and what of its load is told with it. */
struct renewal {
    /* its name: one process in one life of a registration's key */
    uint64_t created;    /* revision of the key's creation */
    uint32_t generation; /* from 1: another process took the key over */
    uint8_t told;        /* LOAD_CPU .. LOAD_POOL: which of these are told */
    bool busy;           /* always told */
    uint16_t load[4];    /* cpu, memory, disk, pool; what is not told is 0 */
};

/*
 * What this load tells beside that one: in *r, `told` and `load`. `before` is
 * what whoever reads the ring knows already; NULL: nothing, so all is told. Two
 * that are one in steps of 1/50,000 are the same.
 */
void renewal_tell(struct renewal *r, const struct load *now,
                  const struct load *before);
/* The other way round: what is told is put into *load, the rest stays. */
void renewal_apply(const struct renewal *r, struct load *load);
/* What came later of the same name goes over the earlier: its load where it
 * tells any, its status. */
void renewal_join(struct renewal *earlier, const struct renewal *later);

#endif
