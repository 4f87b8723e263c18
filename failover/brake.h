/*
 * brake.h - when so many are missing that the likely cause is ourselves.
 *
 * Who counts, of one kind:
 *   missing   an address that owns work, was seen alive, or has a gate that a
 *             hook is yet to run for, and has no live process; whoever was
 *             fenced goes on to count for the whole window, with work or
 *             without
 *   doubtful  a key that is just gone (SUSPECT), or a lease of which two thirds
 *             are over without a renewal
 *   not       who left in order, who is away under a restart lease, who is
 *             forgotten or was never seen and owns nothing
 *
 * The brake falls when more than `share` of the kind and at least `min` became
 * missing within the window (`window`, or its lease if that is longer: leases
 * that end together end spread over a third of one), or when all of a kind of
 * more than one are missing. So fewer than `min` are a mass only where nobody
 * is left.
 *
 * It stays down, however long, while more than the share and more than one are
 * missing, whenever that began. Where all were missing and they were fewer than
 * `min`, it rises once somebody is there who has stood for `settle`: two that
 * were replaced by two others are no mass.
 *
 * Losses of one cause are seen one by one. So while those missing lately and
 * those in doubt would together make it fall, it is in doubt itself: nothing is
 * moved, and nothing is written, until the doubtful have reported or are
 * missing, which is a third of a lease away at most. One slow heartbeat is no
 * doubt: it takes as many as make a mass.
 *
 * Pure: fed with one sweep over everything that is known, at a time. One per
 * kind.
 */
#ifndef PELORUS_FAILOVER_BRAKE_H
#define PELORUS_FAILOVER_BRAKE_H

#include "base/clock.h"
#include "cluster/node.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct brake;

struct brake_config {
    int64_t window_ms;
    double share; /* 0..1 */
    uint32_t min;
};

enum brake_sight {
    BRAKE_SETTLED, /* alive, and has been for `settle` */
    BRAKE_NEW,     /* alive, but not for so long */
    BRAKE_DOUBTFUL,
    BRAKE_MISSING,
    BRAKE_FENCED, /* missing until its window is over, unknown then */
};

/* Copies the config. */
struct brake *failover_brake_new(const struct brake_config *config);
/* Other limits, from the next sweep on. */
void failover_brake_configure(struct brake *b,
                              const struct brake_config *config);
void failover_brake_free(struct brake **b);

/* A sweep: begin, see every address once, end. Only while absence may be
 * believed: connected, synced and settled. `recorded`: a record that says
 * `mass` stands in the registry, so the brake is down already; so many were
 * missing then (0: none stands). Who is not told of any more is forgotten. */
void failover_brake_begin(struct brake *b, mono_ms now, size_t recorded);
/* `lease_ms`: how long it may live without being heard of. `fenced_at`: of a
 * FENCED one that was not seen missing before; -1: it does not count then. */
void failover_brake_see(struct brake *b, const char *address,
                        enum brake_sight sight, int64_t lease_ms,
                        mono_ms fenced_at);
/* So many that are alive or in doubt, at once: nothing is kept of them. */
void failover_brake_count(struct brake *b, enum brake_sight sight, size_t n);
/* Is the brake down? */
bool failover_brake_end(struct brake *b);

/* What the last sweep came to; all zero before the first. */
struct brake_verdict {
    bool down;
    bool in_doubt; /* it is not down, but would be if the doubtful were
                      missing */
    size_t missing, known;
};
/* Follows the sweeps until failover_brake_free(). */
const struct brake_verdict *failover_brake(const struct brake *b);

#endif
