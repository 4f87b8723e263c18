/*
 * planted.h - mistakes that can be compiled in, each the removal of one rule,
 * so that the simulator can prove that it would notice.
 *
 *     cc -DPELORUS_PLANTED=PLANTED_NO_CHECK_LOCK ...
 *
 * In a normal build every planted() is a constant false and costs nothing.
 */
#ifndef PELORUS_BASE_PLANTED_H
#define PELORUS_BASE_PLANTED_H

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
    X(FLOOR_FORGOTTEN)     /* a move counts one up, whatever the floor */      \
    X(NO_RESUME)           /* unfinished failovers are nobody's */             \
    X(HEARSAY_IS_LIFE)     /* a stranded server's answer keeps a session */    \
    X(RENEWED_BESIDE)      /* a session lives on while the loop is stuck */    \
    X(LAGGING_MARK)        /* a lagging server's word ends a doubt */          \
    X(LEFT_IS_MISSING)     /* the brake counts who left in order */            \
    X(LEFT_TAKES)          /* who left is given work */                        \
    X(LEFT_FORGOTTEN)      /* what somebody left behind is nobody's */         \
    X(LEASE_UNGATED)       /* a PUT's write checks the gate no more */         \
    X(OLDER_OVERWRITES)    /* a late PUT of an earlier process is written */   \
    X(ONE_LIFE)            /* a PUT's write takes any life of its key */       \
    X(FENCED_IS_SETTLED)   /* the brake does not count who was fenced */       \
    X(HOOK_RUNS_ON)        /* a hook is not ended with its lock */             \
    X(SILENCE_COUNTS)      /* windows go on while nothing is answered */       \
    X(DRAIN_LOST)          /* a drain ends with the process that it met */     \
    X(ORDER_UNCHECKED)     /* an order is taken up though withdrawn */         \
    X(FIRST_BLIND)         /* a first gate is put over one that came */        \
    X(PLACE_UNCOMPARED)    /* where the store stands is not compared */        \
    X(LINE_UNCOMPARED)     /* the higher position wins, whatever the line */   \
    X(FIRST_IS_TAKEN)      /* who knows nothing asks one host of several */    \
    X(MARK_UNREAD)         /* who begins does not look for the mark */         \
    X(ANSWER_BELIEVED)     /* an answer that comes in doubt is told */         \
    X(ORDER_KEPT)          /* views keep the order of what was lost */         \
    X(OPENED_FIRST)        /* a store is opened, then its items lifted */      \
    X(ACCEPT_COUNTS_UP)    /* they are given again without the floor */        \
    X(FENCE_KEPT)          /* fencing numbers go on as the store has them */

/* Those that only show where renewals are written in groups: test_removal finds
 * them. */
#define PLANTED_IN_GROUPS(Y)                                                   \
    Y(UNMARKED)     /* a registration goes without a mark */                   \
    Y(RINGS_UNREAD) /* and without the fresh read of the rings */              \
    Y(MARK_SILENT)  /* a mark raises nothing */

/* Likewise: test_coordinator_renewals finds them. */
#define PLANTED_IN_PUTS(W)                                                     \
    W(RETURN_SILENT) /* nor does who comes where nobody could be named */      \
    W(MEMORY_NARROW) /* answered from memory though others wait no longer */   \
    W(LISTED_BEFORE) /* verified by what was told before `taken` was read */

/* Those of forgetting a gate: test_forget finds them. */
#define PLANTED_FORGETTING(Z)                                                  \
    Z(FORGET_FLOORLESS)   /* the floor stays */                                \
    Z(FORGET_OPEN_RECORD) /* also where a record is open */                    \
    Z(FORGET_UNVERSIONED) /* as it stands, not as it was looked at */

enum planted_bug {
#define X(bug) PLANTED_##bug,
    PLANTED_BUGS(X) PLANTED_IN_GROUPS(X) PLANTED_IN_PUTS(X)
        PLANTED_FORGETTING(X)
#undef X
};

static inline bool planted(enum planted_bug bug)
{
#ifdef PELORUS_PLANTED
    return bug == PELORUS_PLANTED;
#else
    (void)bug;
    return false;
#endif
}

#endif
