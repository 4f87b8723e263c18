/* engine.pml - the failover engine of coordinator c, one option per state of
 * failover_step() (README.md has the table).
 *
 * The design decision: everything that the engine reads is a step of its own
 * wherever the moment matters, and every txn is one step that commits or not
 * by the bits of registry.pml.  Whatever happens between two steps is the rest
 * of the world's. */
#define IDLE 0
#define WANT_LOCK 1
#define HAVE_LOCK 2
#define READING 3           /* the gate and the record ... */
#define READING_NODES 4     /* ... and then the registrations */
#define OPENING 5
#define INTENT 6
#define VERIFY 7
#define TAKE_BACK 8
#define SET_MOVING 9
#define LISTING 10
#define MOVING 11
#define CLOSING 12
#define COLLECTING 13
#define RELEASE 14
#define HOOKING 15
#define DROPPING 16
#define HOLDING 17
#define FORGET_READING 18   /* the gate ... */
#define FORGET_LOOKING 19   /* ... then record and registrations ... */
#define FORGET_LISTING 20   /* ... then the markers */
#define FORGETTING 21
#ifdef HOOK
#define AFTER_MOVING(c) (hooked[addr[c]] -> LISTING : HOOKING)
#else
#define AFTER_MOVING(c) LISTING
#endif

/* ---- what makes an engine look: reconcile (a) to (e) ---- */
#ifdef BUG_RECONCILE
#define PAST_LEFT(c, a) (ANY_FOREIGN(c, a))
#else
#define PAST_LEFT(c, a) (ANY_MOVABLE(a))
#endif
#ifdef BUG_RECORDS
#define UNFINISHED(a) 0
#else
#define UNFINISHED(a) (UNFINISHED_RECORD(a))
#endif
#ifdef BUG_LEASE_STAYS
#define LEASE_OVER(a) 0
#else
#define LEASE_OVER(a) (gate[a] == RESTARTING)   /* by some coordinator's clock, at any moment */
#endif
#ifdef READMIT
#define READMITTABLE(a, p) (gate[a] == FENCED && gproc[a] == (p))
#else
#define READMITTABLE(a, p) 0
#endif
#if defined(BUG_NO_ADMIT)
#define ADMITTABLE(c, a) 0
#elif defined(BUG_RESTLESS)
#define ADMITTABLE(c, a) (gate[a] == FENCED && CACHE(c, a) != gproc[a])
#else
#define ADMITTABLE(c, a) (gate[a] == FENCED && FRESH(a, CACHE(c, a)))
#endif
#ifdef BUG_LEFT_FORGOTTEN
#define LEFT_BEHIND(a) 0
#else
#define LEFT_BEHIND(a) (ANY_MARKER(a))
#endif
#define LEFT_WANTED(c, a) (gate[a] == LEFT \
    && (LEFT_BEHIND(a) || CACHE(c, a) == gproc[a] || FRESH(a, CACHE(c, a))))
#define WANTED(c, a) (GONE_WANTED(c, a) || ((a) == 0 && ORDER_WAITS) || OF_THE_GATE(c, a))
#define OF_THE_GATE(c, a) (gate[a] != ABSENT && ( \
    ((gate[a] == OPEN || gate[a] == DRAINING) && CACHE(c, a) != gproc[a]) \
    || ADMITTABLE(c, a) || READMITTABLE(a, CACHE(c, a)) \
    || LEASE_OVER(a) || (gate[a] == RESTARTING && FRESH(a, CACHE(c, a))) \
    || (gate[a] != RESTARTING && PAST_LEFT(c, a)) || UNFINISHED(a) \
    || DRAIN_OVER(a) || LEFT_WANTED(c, a)))
#ifdef BUG_WAITING
#define WAITING_WANTED(c) 0
#else
#define WAITING_WANTED(c) (ANY_WAITING && ANY_CANDIDATE(c))
#endif
#ifdef COLLECTION
#define COLLECTABLE (!calm && wstate[0] == DONE)
#else
#define COLLECTABLE 0
#endif
/* by people, or when a day is over: at any moment. Nothing that was written in
 * this hold of the lock may still be on its way */
#ifdef GATES_GO
#ifdef BUG_FORGET_OPEN
#define MAY_FORGET(a) (gate[a] == FENCED || gate[a] == LEFT || gate[a] == OPEN)
#else
#define MAY_FORGET(a) (gate[a] == FENCED || gate[a] == LEFT)
#endif
#ifdef DRAINS
#define FORGETTABLE(a) (nforget > 0 && !calm && MAY_FORGET(a) && drain_of[a] == 0)
#else
#define FORGETTABLE(a) (nforget > 0 && !calm && MAY_FORGET(a))
#endif
#define FORGET_WANTED (FORGETTABLE(0) || FORGETTABLE(1))
#ifdef BUG_FORGET_RECORD
#define FORGET_RECORD_OK(a) 1
#else
#define FORGET_RECORD_OK(a) (!UNFINISHED_RECORD(a))
#endif
#else
#define FORGET_WANTED 0
#endif
#define ANYTHING_WANTED(c) \
    (WANTED(c, 0) || WANTED(c, 1) || WAITING_WANTED(c) || COLLECTABLE)

/* ---- what is listed: judged by the gate as it was read, not as it is now;
 * address NA stands for `-` ---- */
#ifdef BUG_NO_FILTER
#define OF_THE_PAST(c, i) (MPROC(addr[c], i) != 0)
#else
#define OF_THE_PAST(c, i) (MPROC(addr[c], i) != 0 \
    && (MPROC(addr[c], i) != as_proc[c] || as_state[c] == FENCED))
#endif
#define LISTED(c, i) ((addr[c] < NA && OF_THE_PAST(c, i)) \
    || (addr[c] == NA && wstate[i] == WAITING && ANY_CANDIDATE(c)))
#if NI == 1
#define MORE(c) (LISTED(c, 0))
#else
#define MORE(c) (LISTED(c, 0) || LISTED(c, 1))
#endif
/* work is moved from an address only while a record says so */
#define RECORDED(c) (addr[c] == NA || (rec[addr[c]] == R_MOVING && IN(cur_rec[2+c], addr[c])))
/* the heir of a restart lease keeps the old process's work */
#define TO_HEIR(c) (addr[c] < NA && (gate[addr[c]] == OPEN || gate[addr[c]] == LEFT) && heir_of[addr[c]] != 0 \
    && heir_of[addr[c]] == MPROC(addr[c], item[c]))
#define HOLDS(c) (addr[c] < NA && item[c] == HOLDITEM)

proctype Engine(byte c) {
end: do
    :: d_step { step[c] == IDLE && (ANYTHING_WANTED(c) || FORGET_WANTED) -> step[c] = WANT_LOCK }
    :: d_step { step[c] == WANT_LOCK && lock_holder == 0 ->
        lock_holder = c + 1; cur_lock[2+c] = 1; step[c] = HAVE_LOCK }

    /* the next task, by what is believed */
    :: d_step { step[c] == HAVE_LOCK && WANTED(c, 0) -> addr[c] = 0; step[c] = READING }
    :: d_step { step[c] == HAVE_LOCK && WANTED(c, 1) -> addr[c] = 1; step[c] = READING }
    :: d_step { step[c] == HAVE_LOCK && WAITING_WANTED(c) -> addr[c] = NA; step[c] = LISTING }
#ifdef COLLECTION
    :: d_step { step[c] == HAVE_LOCK && COLLECTABLE -> step[c] = COLLECTING }
#endif
#ifdef GATES_GO
    :: d_step { step[c] == HAVE_LOCK && FORGETTABLE(0) && SLOT_FREE(c) -> addr[c] = 0; step[c] = FORGET_READING }
    :: d_step { step[c] == HAVE_LOCK && FORGETTABLE(1) && SLOT_FREE(c) -> addr[c] = 1; step[c] = FORGET_READING }
#endif
    :: d_step { step[c] == HAVE_LOCK && !ANYTHING_WANTED(c) -> step[c] = RELEASE }
#ifdef ROTATE       /* its 10 s are over: others first */
    :: d_step { (step[c] == HAVE_LOCK || step[c] == LISTING) && !calm -> step[c] = RELEASE }
#endif

    /* afresh and under the lock: gate and record, then the registrations; decide */
    :: d_step { step[c] == READING ->
        cur_gate[2+c] = BIT(addr[c]); cur_rec[2+c] = BIT(addr[c]);
        as_state[c] = gate[addr[c]]; as_proc[c] = gproc[addr[c]]; as_past[c] = past[addr[c]];
        ORDER_SEEN(c)
        step[c] = READING_NODES }
    :: d_step { step[c] == READING_NODES ->
        seen[c] = reg[addr[c]];
#ifdef BUG_STALE
        seen[c] = CACHE(c, addr[c]);
#endif
        OVER_SEEN(c)
        if
        :: !IN(cur_rec[2+c], addr[c]) -> step[c] = READING
        :: IN(cur_rec[2+c], addr[c]) && rec[addr[c]] == R_INTENT -> step[c] = VERIFY    /* inherited */
        :: IN(cur_rec[2+c], addr[c]) && rec[addr[c]] == R_MOVING -> step[c] = AFTER_MOVING(c)   /* resumed */
        :: IN(cur_rec[2+c], addr[c]) && !UNFINISHED_RECORD(addr[c]) ->
            if
            :: as_state[c] == OPEN -> step[c] = (seen[c] != as_proc[c] || FORCED(c) -> INTENT : LISTING)
            :: as_state[c] == DRAINING ->
                if
                :: seen[c] != as_proc[c] || FORCED(c) -> step[c] = INTENT
                :: seen[c] == as_proc[c] && !FORCED(c) && DRAIN_OVER(addr[c]) ->
                    if
                    :: !CAME_AFTER(addr[c]) -> step[c] = INTENT
                    :: else -> step[c] = OPENING; to_proc[c] = as_proc[c]
                    fi
                :: else -> step[c] = LISTING
                fi
            :: as_state[c] == RESTARTING && IS_FRESH(seen[c], as_proc[c], as_past[c]) -> step[c] = INTENT
            :: as_state[c] == RESTARTING && !IS_FRESH(seen[c], as_proc[c], as_past[c]) ->
#ifdef BUG_LEASE_STAYS
                step[c] = LISTING
#else
                step[c] = OPENING; to_proc[c] = as_proc[c]
#endif
            :: as_state[c] == FENCED && IS_FRESH(seen[c], as_proc[c], as_past[c]) ->
#if defined(BUG_NO_ADMIT)
                step[c] = LISTING
#elif defined(BUG_FENCED_BACK)
                step[c] = INTENT
#else
                step[c] = OPENING; to_proc[c] = seen[c]
#endif
            :: as_state[c] == FENCED && !IS_FRESH(seen[c], as_proc[c], as_past[c]) -> step[c] = LISTING
#ifdef LEAVE    /* nothing is given to who left: what does not stand now never will */
            :: as_state[c] == LEFT ->
                if
                :: seen[c] != 0 && (seen[c] == as_proc[c]
                    || (!ANY_MARKER(addr[c]) && IS_FRESH(seen[c], as_proc[c], as_past[c]))) ->
                    step[c] = OPENING; to_proc[c] = seen[c]
                :: else -> step[c] = (LEFT_BEHIND(addr[c]) -> INTENT : HAVE_LOCK)
                fi
#endif
            :: else -> step[c] = HAVE_LOCK
            fi;
            ABOUT_CHOSEN(c, addr[c])
            if  /* a pause holds; an order with nothing to do ends with that */
            :: step[c] == INTENT && PAUSED_NOW ->
                step[c] = (ORDERED(c) && ORDER_QUEUED -> HOLDING : HAVE_LOCK)
            :: step[c] == LISTING && ORDERED(c) -> step[c] = DROPPING
            :: else
            fi
        fi;
        if
        :: step[c] == HAVE_LOCK -> SETTLE(c)
        :: step[c] == INTENT -> forget_gate(c)
        :: step[c] == DROPPING || step[c] == HOLDING -> forget_gate(c); seen[c] = 0; cur_gate[2+c] = 0; cur_rec[2+c] = 0
        :: step[c] == OPENING -> forget_gate(c); seen[c] = 0; cur_rec[2+c] = 0
        :: step[c] == VERIFY || step[c] == READING -> forget_reads(c); forget_gate(c)
        :: else ->
#ifdef READMIT
            if :: as_state[c] == FENCED && seen[c] == as_proc[c] :: else -> seen[c] = 0; cur_gate[2+c] = 0 fi
#else
            seen[c] = 0; cur_gate[2+c] = 0
#endif
        fi }

    :: atomic { step[c] == OPENING ->
        if
        :: d_step { OPENING_OK(c) -> do_open(c); READ_AGAIN(c) }
#if NUNK > 0
        :: d_step { OPENING_OK(c) && UNKNOWN -> nunk--; do_open(c); OPENING_UNKNOWN(c) }
        :: d_step { UNKNOWN && SLOT_FREE(c) -> nunk--; leave_in_flight(c); OPENING_UNKNOWN(c) }
#endif
        :: d_step { !OPENING_OK(c) -> REACHED(opening_refused); READ_AGAIN(c) }
        fi }

    :: atomic { step[c] == INTENT ->
        if
        :: d_step { INTENT_OK(c) ->
            do_intent(c); forget_reads(c);
#ifdef ABSENCE_IN_TXN
            step[c] = READING
#else
            step[c] = VERIFY
#endif
            }
        OTHER_OUTCOMES(c, INTENT_OK(c), do_intent(c), intent_refused)
        fi }

    /* the second read, of everything: nothing has moved yet */
    :: d_step { step[c] == VERIFY && rec[addr[c]] != R_INTENT -> READ_AGAIN(c) }
    :: d_step { step[c] == VERIFY && rec[addr[c]] == R_INTENT ->
        seen[c] = reg[addr[c]];
#ifdef BUG_STALE
        seen[c] = CACHE(c, addr[c]);
#endif
#ifdef BUG_NO_ABSENCE
        seen[c] = 0;
#endif
        OVER_SEEN(c)
        cur_rec[2+c] = BIT(addr[c]);
        if
        :: seen[c] == rproc[addr[c]] && !IN(ordered[addr[c]], rproc[addr[c]]) ->
            cur_gate[2+c] = BIT(addr[c]); step[c] = TAKE_BACK
#if NPAUSE > 0
        :: !(seen[c] == rproc[addr[c]] && !IN(ordered[addr[c]], rproc[addr[c]])) && PAUSED_AT_VERIFY ->
            REACHED(pause_waited); SETTLE(c)
#endif
        :: else ->
            as_state[c] = gate[addr[c]]; as_proc[c] = gproc[addr[c]]; as_past[c] = past[addr[c]];
            step[c] = SET_MOVING
        fi;
        seen[c] = 0 }
    :: atomic { step[c] == TAKE_BACK ->
        if
        :: d_step { TAKE_BACK_OK(c) -> do_take_back(c); SETTLE(c) }
        OTHER_OUTCOMES(c, TAKE_BACK_OK(c), do_take_back(c), lock_lost)
        fi }
    :: atomic { step[c] == SET_MOVING ->
        if
        :: d_step { SET_MOVING_OK(c) ->
            do_set_moving(c); cur_rec[2+c] = BIT(addr[c]); step[c] = AFTER_MOVING(c) }
        OTHER_OUTCOMES(c, SET_MOVING_OK(c), do_set_moving(c), lock_lost)
        fi }

#if NORD > 0
    :: atomic { step[c] == DROPPING ->
        if
        :: d_step { ORDER_ONLY_OK(c) -> do_drop(c); READ_AGAIN(c) }
        OTHER_OUTCOMES(c, ORDER_ONLY_OK(c), do_drop(c), order_refused)
        fi }
    :: atomic { step[c] == HOLDING ->
        if
        :: d_step { ORDER_ONLY_OK(c) -> do_hold(c); SETTLE(c) }
        OTHER_OUTCOMES(c, ORDER_ONLY_OK(c), do_hold(c), order_refused)
        fi }
#endif

#ifdef HOOK     /* under the lock, as far as it is proven */
    :: d_step { step[c] == HOOKING && !IN(hook_runs, c) && cur_lock[2+c] ->
        INV(HOOKS, hook_runs == 0); hook_runs = hook_runs | BIT(c) }
    :: d_step { step[c] == HOOKING && IN(hook_runs, c) ->
        REACHED(hooked); hook_runs = hook_runs & ~BIT(c);
        if :: cur_lock[2+c] -> hooked[addr[c]] = 1; step[c] = LISTING :: else -> step[c] = RELEASE fi }
    :: d_step { step[c] == HOOKING && !IN(hook_runs, c) && !cur_lock[2+c] -> step[c] = RELEASE }
    /* given up while it runs: the lock is let go when nothing of it runs */
    :: d_step { step[c] == HOOKING && IN(hook_runs, c) && ninter > 0 && !calm ->
        ninter--; REACHED(hook_stopped);
#ifndef BUG_UNLOCK_FIRST
        HOOK_DIES(c)
#endif
        step[c] = RELEASE }
#endif

    /* the past left something and no record says so: one is written first */
    :: d_step { step[c] == LISTING && MORE(c) && !RECORDED(c) -> step[c] = SET_MOVING }
    /* list, take one item (a batch of one), read its record, choose, read the target's gate */
    :: atomic { step[c] == LISTING && MORE(c) && RECORDED(c) ->
        if
        :: LISTED(c, 0) -> item[c] = 0
#if NI > 1
        :: LISTED(c, 1) -> item[c] = 1
#endif
        fi;
        if
        :: TO_HEIR(c) -> to[c] = addr[c]; to_proc[c] = gproc[addr[c]]
        :: !TO_HEIR(c) && HOLDS(c) -> to[c] = TO_HOLD
        :: !TO_HEIR(c) && !HOLDS(c) && CANDIDATE(c, 0) -> to[c] = 0; to_proc[c] = CACHE(c, 0)
        :: !TO_HEIR(c) && !HOLDS(c) && CANDIDATE(c, 1) -> to[c] = 1; to_proc[c] = CACHE(c, 1)
        :: !TO_HEIR(c) && !HOLDS(c) && !ANY_CANDIDATE(c) -> to[c] = TO_WAIT
        fi;
        d_step {
            cur_work[2+c] = BIT(item[c]);
            if :: to[c] < NA -> cur_gate[2+c] = BIT(to[c]) :: else fi;
            step[c] = MOVING } }
    :: d_step { step[c] == LISTING && !MORE(c) ->
        if
        :: addr[c] == NA -> SETTLE(c)
        :: addr[c] < NA && rec[addr[c]] == R_MOVING ->
            cur_gate[2+c] = BIT(addr[c]); step[c] = CLOSING
        :: addr[c] < NA && rec[addr[c]] == R_INTENT -> READ_AGAIN(c)
        :: addr[c] < NA && !UNFINISHED_RECORD(addr[c]) ->
#ifdef READMIT      /* nothing names it any more, and it is registered */
            if
            :: seen[c] != 0 ->
                to_proc[c] = as_proc[c]; seen[c] = 0; cur_rec[2+c] = 0; forget_gate(c); step[c] = OPENING
            :: else -> SETTLE(c)
            fi
#else
            SETTLE(c)
#endif
        fi }
    :: atomic { step[c] == MOVING ->
        if
        :: d_step { MOVING_OK(c) -> do_move(c); step[c] = LISTING }
#if NUNK > 0
        :: d_step { MOVING_OK(c) && UNKNOWN -> nunk--; do_move(c); step[c] = LISTING }
        :: d_step { UNKNOWN && SLOT_FREE(c) -> nunk--; leave_in_flight(c); step[c] = LISTING }
#endif
        :: d_step { !MOVING_OK(c) -> REACHED(move_refused); step[c] = (cur_lock[2+c] -> LISTING : RELEASE) }
        fi;
        d_step { item[c] = 0; to[c] = 0; to_proc[c] = 0; cur_gate[2+c] = 0; cur_work[2+c] = 0 } }

    :: atomic { step[c] == CLOSING ->
        if
        :: d_step { CLOSING_OK(c) -> do_close(c); READ_AGAIN(c) }   /* a new process may wait outside */
        :: d_step { CLOSING_OK(c) -> do_close(c); SETTLE(c) }       /* none is seen: the next look finds it */
        OTHER_OUTCOMES(c, CLOSING_OK(c), do_close(c), lock_lost)
        fi }

#ifdef COLLECTION
    /* one txn: lock, the finished item goes, the floor rises above its epoch */
    :: d_step { step[c] == COLLECTING ->
        if
        :: LOCK_OK(c) && wstate[0] == DONE ->
            REACHED(collected);
            floor_epoch = (floor_epoch > wepoch[0] -> floor_epoch : wepoch[0]);
            cur_floor[0] = 0; cur_floor[1] = 0;
            wstate[0] = NONE; wepoch[0] = 0; winc[0] = 0; wrote_work(0)
#ifdef BUG_EPOCH_ONE
            ; epoch_max[0] = 0  /* without a floor the id's epochs end here */
#endif
        :: else
        fi;
        step[c] = (cur_lock[2+c] -> HAVE_LOCK : RELEASE) }
#endif

#ifdef GATES_GO
    /* one txn: lock, the closed gate goes at its version, the floor rises */
    :: d_step { step[c] == FORGET_READING ->
        cur_gate[2+c] = BIT(addr[c]);
        if
        :: MAY_FORGET(addr[c]) -> step[c] = FORGET_LOOKING
        :: else -> SETTLE(c)
        fi }
    :: d_step { step[c] == FORGET_LOOKING ->
        if
        :: reg[addr[c]] == 0 && FORGET_RECORD_OK(addr[c]) -> step[c] = FORGET_LISTING
        :: else -> REACHED(forget_kept); SETTLE(c)
        fi }
    :: d_step { step[c] == FORGET_LISTING ->
        if
        :: !ANY_MARKER(addr[c]) -> step[c] = FORGETTING
        :: else -> SETTLE(c)
        fi }
    :: atomic { step[c] == FORGETTING ->
        nforget--;
        if
        :: d_step { FORGET_OK(c) -> do_forget(c); SETTLE(c) }
#if NUNK > 0
        :: d_step { FORGET_OK(c) && UNKNOWN -> nunk--; do_forget(c); SETTLE(c) }
        :: d_step { UNKNOWN && SLOT_FREE(c) -> nunk--; leave_in_flight(c); SETTLE(c) }
#endif
        :: d_step { !FORGET_OK(c) -> REACHED(forget_refused); SETTLE(c) }
        fi }
#endif

    /* the one exit */
    :: d_step { step[c] == RELEASE ->
        if :: cur_lock[2+c] -> lock_holder = 0 :: else fi;
        cur_lock[2+c] = 0; cur_lock[4+c] = 0;
        forget_reads(c); forget_gate(c); addr[c] = 0; step[c] = IDLE }
    od
}
