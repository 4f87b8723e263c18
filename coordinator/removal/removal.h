/*
 * removal.h - takes away the registrations of HTTP nodes that nobody renews.
 *
 * Renewals that were written in groups stand in rings, not in the registration,
 * so that its version says nothing of them. It goes in three steps
 * (docs/design/renewals.md, "A registration goes"):
 *
 *   1 mark    at the version read, in a txn that raises /pelorus/taken with its
 *             address (raiser.h): no group renews it from there on
 *   2 read    every ring afresh (rings.h): what was renewed before is a sign of
 *             life, and a gap may have been one
 *   3 delete  at the version of the mark: a write of its own would be later
 *
 * Between all of them it has to be over still (membership_still_over()).
 * Whatever ends one of them leaves at most a mark, which costs the node a write
 * of its own, or which this coordinator or another one goes on from: what reads
 * as marked was raised for. One whose text nobody can read is not marked but
 * checked, and raised for all the same.
 *
 * All that are over at one time take the steps together, as many in a txn as it
 * holds: a *pass*, one at a time. What fails for a reason that may pass is
 * tried again with the next one, for as long as it is over. Where versions
 * repeat a registration's second key is checked by the mark and goes with it
 * (coordinator/nodes/nodes_priv.h). Loop thread only.
 */
#ifndef PELORUS_COORDINATOR_REMOVAL_REMOVAL_H
#define PELORUS_COORDINATOR_REMOVAL_REMOVAL_H

#include "cluster/membership.h"
#include "cluster/renewals/rings.h"
#include "coordinator/raiser.h"

#define REMOVAL_RANK_MS  500  /* a later rank waits so much longer */
#define REMOVAL_RANK_MAX 2    /* ranks beyond wait no longer than this one */
#define REMOVAL_RETRY_MS 500  /* after a failure */
#define REMOVAL_SOON_MS  100  /* the watch is a little behind */
#define REMOVAL_PASS_MAX 1000 /* registrations */

struct removal;

struct removal_config {
    const struct clock *clock;
    struct registry *registry;
    struct membership *membership;
    struct raiser *raiser; /* all borrowed for life */
};

struct removal *removal_new(const struct removal_config *config);
/* Before the raiser. Not `told`: nothing of registry and raiser is called. */
void removal_free(struct removal **r, bool told);

/* Who reads the rings: it is asked for what to read, and told the answers.
 * Borrowed until another one is set. NULL, as at first: nobody does, and
 * nothing goes while there is a ring. */
void removal_use_rings(struct removal *r, struct rings *rings);

/* TTL_OVER was told; `rank` of this coordinator for its kind, from 0. May be
 * called by membership's events. */
void removal_over(struct removal *r, const struct membership_event *ev,
                  unsigned rank);

/* Time passes: at least every 50 ms. */
void removal_tick(struct removal *r);

/* Is anything on its way? */
bool removal_busy(const struct removal *r);

#endif
