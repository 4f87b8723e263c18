/* orders.pml - what people order and what outlives the moment: a drain with a
 * deadline, an ordered failover that waits for the lock, a pause.
 *
 * The design decision: each is a key that anybody may write without the lock,
 * at the version that he read; the engine decides by a fresh read and checks
 * that version in the txn in which it acts. */

/* ---- a drain belongs to the address until its time is over or it is taken
 * back; `drain_of` says who was to hand over, and only he is fenced for it.
 * Its time may be over at any moment, and counts on whatever becomes of the
 * gate. ---- */
#if NHUM > 0
#define DRAINS
byte drain_of[NA];      /* of the gate; 0: no drain stands */
bit due[NA];            /* its time is over */
bit over[4];            /* as slot k has read it */
byte drained[NA];       /* for the assertions: whom a person drains; 0: nobody */
#define OVER_SEEN(c) over[c] = due[addr[c]];
#define OVER_FORGOTTEN(k) over[k] = 0;
#define OVER_SENT(c) over[c+2] = over[c];
#define DRAIN_OVER(a) (gate[a] == DRAINING && due[a])
#ifdef BUG_DRAIN_ANYBODY
#define CAME_AFTER(a) 0
#else
#define CAME_AFTER(a) (drain_of[a] != gproc[a])
#endif
#define DRAIN_BROKEN(a) (drained[a] != 0 && !due[a] && gate[a] == OPEN)
inline end_drain(a) { drain_of[a] = 0; due[a] = 0; drained[a] = 0 }
/* the gate takes work again, or drains on */
inline reopen(a, k, drains_on) {
    if
    :: drains_on && drain_of[a] != 0 && !over[k] -> REACHED(drain_stays); gate[a] = DRAINING
    :: else ->
        gate[a] = OPEN; drain_of[a] = 0;
        if :: over[k] -> REACHED(drain_over); end_drain(a) :: else fi
    fi
}
#define DRAINED_BY(k) (gate[addr[k]] == DRAINING && seen[k] == gproc[addr[k]])
#else
#define OVER_SEEN(c)
#define OVER_FORGOTTEN(k)
#define OVER_SENT(c)
#define DRAIN_OVER(a) 0
#define CAME_AFTER(a) 0
#define DRAINED_BY(k) 0
inline reopen(a, k, drains_on) { gate[a] = OPEN }
#endif
#ifdef BUG_DRAIN_ONE_LIFE       /* it was the former process's */
#define DRAINS_NEXT 0
#else
#define DRAINS_NEXT 1
#endif
#ifdef BUG_DRAIN_LOST           /* who is taken back takes work */
#define DRAINS_BACK 0
#else
#define DRAINS_BACK 1
#endif

/* ---- an ordered failover of address 0 that waits for the lock: a record of
 * its own.  Whoever has the lock takes it up (then it is the failover's
 * record), holds it or ends it; a person may withdraw it before. ---- */
#if NORD > 0
#define O_NONE 0
#define O_QUEUED 1
#define O_HELD 2
#define O_TAKEN 3
#define O_ENDED 4       /* carried out, needless, or withdrawn */
byte nord = NORD;
byte ord, cur_ord;      /* the record; who has read it as it stands, by thread */
bit ord_force;          /* even if the process is registered */
bit with_ord[4];        /* slot k carries it out */
bit told_withdrawn;     /* for the assertions: a person was told so */
#define ORDER_WAITS (ord == O_QUEUED || ord == O_HELD)
#define ORDER_QUEUED (ord == O_QUEUED)
#define ORDERED(c) with_ord[c]
#define FORCED(c) (with_ord[c] && ord_force)
#ifdef BUG_ORDER_UNCHECKED
#define ORDER_OK(k) 1
#else
#define ORDER_OK(k) (!with_ord[k] || IN(cur_ord, 2+(k)))
#endif
#ifdef BUG_WITHDRAW_UNCHECKED
#define WITHDRAW_OK(t) 1
#else
#define WITHDRAW_OK(t) IN(cur_ord, t)
#endif
#define ORDER_SEEN(c) \
    if \
    :: addr[c] == 0 && ORDER_WAITS -> with_ord[c] = 1; cur_ord = cur_ord | BIT(2+c) \
    :: else -> with_ord[c] = 0; cur_ord = cur_ord & ~BIT(2+c) \
    fi;
#define ORDER_FORGOTTEN(k) with_ord[k] = 0; cur_ord = cur_ord & ~BIT(2+(k));
#define ORDER_SENT(c) \
    with_ord[c+2] = with_ord[c]; \
    cur_ord = cur_ord | (IN(cur_ord, 2+c) -> BIT(4+c) : 0);
#define ORDER_ENDS(a) if :: (a) == 0 && ord == O_TAKEN -> ord = O_ENDED; cur_ord = 0 :: else fi;
inline take_up_order(k) {
    if
    :: with_ord[k] ->
        REACHED(order_taken);
        INV(ORDERS, !told_withdrawn);
        if
        :: ord_force && seen[k] == gproc[addr[k]] ->
            ordered[addr[k]] = ordered[addr[k]] | BIT(gproc[addr[k]])
        :: else
        fi;
        ord = O_TAKEN; cur_ord = 0
    :: else
    fi
}
inline do_drop(k) { REACHED(order_dropped); ord = O_ENDED; cur_ord = 0 }
inline do_hold(k) { REACHED(order_held); ord = O_HELD; cur_ord = 0 }
#else
#define ORDER_WAITS 0
#define ORDER_QUEUED 0
#define ORDERED(c) 0
#define FORCED(c) 0
#define ORDER_OK(k) 1
#define ORDER_SEEN(c)
#define ORDER_FORGOTTEN(k)
#define ORDER_SENT(c)
#define ORDER_ENDS(a)
#endif

/* ---- a pause: no failover begins, and what INTENT has fenced waits.  The
 * settings are read with the rest, not checked: what was written before INTENT
 * binds it by the second read. ---- */
#if NPAUSE > 0
byte npause = NPAUSE;
bit paused;
bit paused_then[NA];    /* for the assertions: at INTENT, and ever since */
#ifdef BUG_PAUSE_IGNORED
#define PAUSED_AT_VERIFY 0
#else
#define PAUSED_AT_VERIFY paused
#endif
#define PAUSED_NOW paused
#define PAUSE_AT_INTENT(a) paused_then[a] = paused;
#define PAUSE_AT_MOVING(a) INV(PAUSES, rec[a] != R_INTENT || !paused_then[a]);
#else
#define PAUSED_AT_VERIFY 0
#define PAUSED_NOW 0
#define PAUSE_AT_INTENT(a)
#define PAUSE_AT_MOVING(a)
#endif
