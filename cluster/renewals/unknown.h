/*
 * unknown.h - renewals of registrations that are not known yet, or not any
 * more: each name once, what came later over the earlier, for RINGS_UNKNOWN_MS
 * (up to a second longer) and at most RINGS_UNKNOWN_MAX of them. What has no
 * room is dropped: its registration is told later, and begins a window of time
 * of its own then. Of rings.c.
 */
#ifndef PELORUS_CLUSTER_RENEWALS_UNKNOWN_H
#define PELORUS_CLUSTER_RENEWALS_UNKNOWN_H

#include "cluster/renewals/rings.h"

struct unknown {
    struct packed_map *map; /* by created, generation */
    mono_ms sweep;          /* nothing of it is old before; 0: it is empty */
};

void unknown_init(struct unknown *u);
void unknown_close(struct unknown *u);

void unknown_keep(struct unknown *u, const struct rings_renewal *r);
/* Tell and forget those of this registration, the earliest process first. */
void unknown_tell(struct unknown *u, uint64_t created, rings_renewal_f *fn,
                  void *arg);
void unknown_tick(struct unknown *u, mono_ms now);

#endif
