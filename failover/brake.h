/*
 * brake.h - when so many are missing that the likely cause is ourselves.
 *
 * Missing is an address that owns work or is known, and has no live process.
 * If within `window` more than `share` of a kind, and at least `min`, became
 * missing, or all of a kind of more than one are, the brake falls. It stays
 * down, however long, until the share of all that are missing is back below, or
 * only one is: a cluster that stays half gone is not less doubtful after a
 * minute.
 *
 * Pure: fed with one sweep over everything that is known, at a time. One per
 * kind.
 */
#ifndef PELORUS_FAILOVER_BRAKE_H
#define PELORUS_FAILOVER_BRAKE_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

struct brake;

struct brake_config {
    int64_t window_ms;
    double share; /* 0..1 */
    uint32_t min;
};

struct brake *brake_new(const struct brake_config *config);
void brake_free(struct brake **b);

/* A sweep: begin, see every address once, end. Only while absence may be
 * believed: connected, synced and settled. `standing`: a record that says
 * `mass` stands in the registry, so the brake is down already. */
void brake_begin(struct brake *b, mono_ms now, bool standing);
void brake_see(struct brake *b, const char *address, bool missing);
/* Instead of brake_see(): it was missing, and that has been dealt with. */
void brake_settled(struct brake *b, const char *address);
/* Is the brake down? While it is, an address that was missing and is not told
 * of any more still counts. */
bool brake_end(struct brake *b);

bool brake_down(const struct brake *b);
size_t brake_missing(const struct brake *b); /* of the last sweep */
size_t brake_known(const struct brake *b);

#endif
