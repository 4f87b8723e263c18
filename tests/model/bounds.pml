/* bounds.pml - the size of the world that is searched, and what is switched on
 * in it.  Every bound is a -D flag; the defaults are the ones most cases use.
 * The switches that take one rule of the protocol out (BUG_x) and the variants
 * (ABSENCE_IN_TXN, COLLECTION, ...) are listed in README.md. */

#define NA 2            /* addresses */
#ifndef NI
#define NI 1            /* work items, 1 or 2 */
#endif
#define NP 2            /* processes that may ever start at one address: 1..NP */
#ifndef MAXINC
#define MAXINC 1        /* times that one id is submitted */
#endif
#ifndef NFAULT
#define NFAULT 1        /* node faults: a crash, or a live node loses its registration */
#endif
#ifndef NEXP
#define NEXP 0          /* lock sessions that expire although the holder runs: it was paused */
#endif
#ifndef NCRASH
#define NCRASH 0        /* engine crashes */
#endif
#ifndef NUNK
#define NUNK 0          /* engine txns whose outcome stays unknown to the engine */
#endif
#ifndef NSTART
#define NSTART 0        /* new processes that start where another one was */
#endif
#ifndef NHUM
#define NHUM 0          /* orders of people: drain, restart lease */
#endif
#ifndef NORD
#define NORD 0          /* ordered failovers of address 0 that wait for the lock */
#endif
#ifndef NPAUSE
#define NPAUSE 0        /* times that a person pauses all failovers */
#endif
#ifndef NFORGET
#define NFORGET 1       /* with GATES_GO: gates that are forgotten */
#endif
#ifndef NINTER
#define NINTER 0        /* with HOOK: engines that give up while their hook runs */
#endif
#ifndef NLATE
#define NLATE 0         /* with LEASES: requests that are read when their sender is dead */
#endif
#ifndef NLEAVE
#define NLEAVE 1        /* with LEAVE: processes that leave in order */
#endif
#ifndef NENG
#define NENG 1          /* coordinators whose engine runs, 1 or 2 */
#endif
#ifndef NAPI
#define NAPI 1          /* coordinators whose API runs, 1 or 2 */
#endif
#ifndef HOLDITEM
#define HOLDITEM 9      /* the item whose policy is `hold`; 9: none */
#endif

/* What each assertion is about.  The number is in the text that the checker
 * prints, so that the runner can tell that a hole was found for its own
 * reason and not for another one. */
#define ONE_OWNER 1     /* one owner or none; marker and record agree; no work to a closed gate */
#define TAKEN_RIGHTLY 2 /* taken from a process only after INTENT, only under the lock */
#define EPOCHS 3        /* epochs of an id only grow; a stale one completes nothing */
#define FINISHED 4      /* when nothing can happen any more, nothing is left half done */
#define UNBROKEN 5      /* registered from INTENT to the second read: nothing is taken */
#define STAYS_FENCED 6  /* whom a failover fenced gets no work and does not get its gate back */
#define LEASE_KEPT 7    /* who consumed a restart lease gets the old process's work */
#define LEASED 8        /* nobody's work is taken while he has a lease, nor has he one afterwards */
#define HOOKS 9         /* one hook at a time under one lock */
#define DRAIN_KEPT 10   /* a drain stands until it is over; then only its own process is fenced */
#define ONCE 11         /* whom INTENT has fenced it does not fence again */
#define ORDERS 12       /* what was told as withdrawn is not done, what is done not told so */
#define PAUSES 13       /* who was fenced after a pause keeps his work while it lasts */
#define BARRED 14       /* nobody's renewal is accepted whom INTENT has barred */
#define RENEWED 15      /* a registration goes only when no accepted renewal of it is in force */
#define ANSWERED 16     /* a coordinator's end costs a renewal one retry */
#define INV(n, cond) assert((cond) || (n) == 0)

/* With -DREACH the checker counts how often the search came to each of these,
 * so that the runner can tell a protocol that holds from one that never got
 * there.  The counters are no part of a state. */
#define REACHABLE(X) \
    X(intent) X(replaced) X(take_back) X(set_moving) X(moved) X(to_waiting) X(from_waiting) \
    X(to_held) X(to_heir) X(closed) X(lock_lost) X(intent_refused) X(move_refused) X(opening_refused) \
    X(intent_late) X(take_back_late) X(set_moving_late) X(move_late) X(close_late) \
    X(admitted) X(readmitted) X(lease_over) X(opening_late) X(submitted) X(resubmitted) X(done) X(done_late) \
    X(handed_over) X(released) X(collected) X(forgotten) X(forget_refused) X(forget_kept) X(forgot_late) \
    X(leased) X(put_refused) X(late_put) X(left) X(leave_refused) X(hooked) X(hook_ended) \
    X(drain_stays) X(drain_over) X(first_gate) X(gate_ahead) X(departed) X(departed_back) \
    X(order_taken) X(order_dropped) X(order_held) X(order_refused) X(withdrawn) X(withdraw_refused) X(hook_stopped) X(pause_waited) \
    X(grouped) X(own_write) X(group_refused) X(entry_refused) X(entry_alone) X(told_verified) X(renewal_void) X(put_told) X(from_memory) \
    X(doubt) X(doubt_refused) X(still_alive) X(expired) X(delete_refused) X(ring_forgotten)
#ifdef REACH
#define REACH_DECLARE(x) static unsigned long reached_##x;
#define REACH_PRINT(x) printf("reached %s %lu\n", #x, reached_##x);
c_decl {
    REACHABLE(REACH_DECLARE)
    static void print_reached(void) { REACHABLE(REACH_PRINT) }
}
#define REACHED(x) c_code { reached_##x++; }
#define REACH_BEGIN c_code { atexit(print_reached); }
#else
#define REACHED(x) skip
#define REACH_BEGIN skip
#endif
