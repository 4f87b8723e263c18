/*
 * planted.h - mistakes that can be compiled in, each the removal of one rule
 * of the protocol, so that the simulator can prove that it would notice.
 *
 *     cc -DPELORUS_BUG_NO_CHECK_LOCK ...
 *
 * In a normal build every planted() is a constant false and costs nothing.
 */
#ifndef PELORUS_FAILOVER_PLANTED_H
#define PELORUS_FAILOVER_PLANTED_H

#include <stdbool.h>

/*      switch               what is left out */
#define PLANTED_BUGS(X)                                                        \
    X(NO_CHECK_LOCK)       /* moves do not check that the lock is ours */      \
    X(NO_VERSION)          /* a conflicting record is overwritten blindly */   \
    X(NO_GATE_CHECK)       /* moves do not check the target's gate */          \
    X(NO_VERIFY)           /* no second read of the registrations */           \
    X(MOVE_ALL)            /* everything at the address moves */               \
    X(CACHED_REGISTRATION) /* registrations come from the cache */             \
    X(EPOCH_KEEPS)         /* the epoch is not raised */                       \
    X(NO_RESUME)           /* unfinished failovers are nobody's */

enum planted_bug {
#define X(bug) PLANTED_##bug,
    PLANTED_BUGS(X)
#undef X
};

static inline bool planted(enum planted_bug bug)
{
    switch (bug) {
#ifdef PELORUS_BUG_NO_CHECK_LOCK
    case PLANTED_NO_CHECK_LOCK:
        return true;
#endif
#ifdef PELORUS_BUG_NO_VERSION
    case PLANTED_NO_VERSION:
        return true;
#endif
#ifdef PELORUS_BUG_NO_GATE_CHECK
    case PLANTED_NO_GATE_CHECK:
        return true;
#endif
#ifdef PELORUS_BUG_NO_VERIFY
    case PLANTED_NO_VERIFY:
        return true;
#endif
#ifdef PELORUS_BUG_MOVE_ALL
    case PLANTED_MOVE_ALL:
        return true;
#endif
#ifdef PELORUS_BUG_CACHED_REGISTRATION
    case PLANTED_CACHED_REGISTRATION:
        return true;
#endif
#ifdef PELORUS_BUG_EPOCH_KEEPS
    case PLANTED_EPOCH_KEEPS:
        return true;
#endif
#ifdef PELORUS_BUG_NO_RESUME
    case PLANTED_NO_RESUME:
        return true;
#endif
    default:
        return false;
    }
}

#endif
