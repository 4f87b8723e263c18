/*
 * forget.h - deletes the rings of coordinators that are gone
 * (docs/design/renewals.md, "What is forgotten, and when").
 *
 * A look every FORGETTER_EVERY_MS: the rings by name, then the coordinators'
 * entries. A ring whose session no entry stands in has ended: no txn that
 * checks its entry can be applied any more. It is read to its end, and due the
 * longest `watched` that it tells later; another FORGETTER_AFTER_MS later it
 * goes, slot by slot at the versions that were told, in one txn, so that by
 * then the others know as well that it has ended, and take it for no gap. Its
 * directory goes with the next look, where the registry has such things.
 *
 * While there is no ring but our own a look is one listing. Loop thread only.
 */
#ifndef PELORUS_COORDINATOR_REMOVAL_FORGET_H
#define PELORUS_COORDINATOR_REMOVAL_FORGET_H

#include "cluster/renewals/rings.h"

#define FORGETTER_EVERY_MS 30000
#define FORGETTER_AFTER_MS (3 * FORGETTER_EVERY_MS)

struct forgetter;

/* Borrowed for life; `entries`: the prefix of the coordinators' entries. */
struct forgetter *forgetter_new(const struct clock *clock,
                                struct registry *registry, const char *entries);
/* Not `told`: nothing of the registry is called. */
void forgetter_free(struct forgetter **f, bool told);

/* As removal_use_rings(). */
void forgetter_use_rings(struct forgetter *f, struct rings *rings);

/* Time passes: at least every second. */
void forgetter_tick(struct forgetter *f);

#endif
