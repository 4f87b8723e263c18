/*
 * failpoint.h - places where a real process can be made to stop or die, so
 * that tests meet the worst line of a failover and not a random one.
 *
 *     PELORUS_FAILPOINT=engine-after-intent:stop     SIGSTOP to itself
 *     PELORUS_FAILPOINT=engine-mid-move:kill@5000    SIGKILL, at 5,000 moved
 *
 * Several are separated by commas; the first that is met fires, once. The
 * environment is read once, at the first use. Names: engine-after-intent,
 * engine-after-verify, engine-before-batch, engine-mid-move (its number: items
 * moved so far), engine-before-close; node-before-write (a PUT of a node that
 * has read what it stands on). Without the variable a failpoint is one
 * comparison.
 */
#ifndef PELORUS_FAILOVER_FAILPOINT_H
#define PELORUS_FAILOVER_FAILPOINT_H

#include "base/compiler.h"

#include <stdint.h>

/* Loop thread. Fires when `n` has reached the number after '@' (1 without). */
void failover_failpoint(const char *name, uint64_t n);

/* What would happen: 0 nothing, otherwise the signal. Pure; for tests. */
int failover_failpoint_match(const char *spec, const char *name, uint64_t n);

#endif
