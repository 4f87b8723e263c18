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
#define WANTED(c, a) (gate[a] != ABSENT && gate[a] != CLOSED && ( \
    ((gate[a] == OPEN || gate[a] == DRAINING) && CACHE(c, a) != gproc[a]) \
    || ADMITTABLE(c, a) || READMITTABLE(a, CACHE(c, a)) \
    || LEASE_OVER(a) || (gate[a] == RESTARTING && FRESH(a, CACHE(c, a))) \
    || (gate[a] != RESTARTING && PAST_LEFT(c, a)) || UNFINISHED(a) \
    || (gate[a] == DRAINING && ANY_MARKER(a)) || LEFT_WANTED(c, a)))
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

/* ---- which txns commit; k is the slot: an engine, or a txn in flight ---- */
#ifdef BUG_NO_LOCK_CHECK
#define LOCK_OK(k) 1
#else
#define LOCK_OK(k) cur_lock[2+(k)]
#endif
#ifdef BUG_NO_GATE_CHECK
#define TARGET_OK(k) 1
#else
#define TARGET_OK(k) (to[k] >= NA || IN(cur_gate[2+(k)], to[k]))
#endif
#ifdef BUG_NO_RECORD_CHECK
#define RECORD_OK(k, state) (rec[addr[k]] == state)
#else
#define RECORD_OK(k, state) (IN(cur_rec[2+(k)], addr[k]))
#endif
#define GATE_OK(k) IN(cur_gate[2+(k)], addr[k])
#if defined(ABSENCE_IN_TXN) && !defined(BUG_NO_ABSENCE)
#define ABSENCE_OK(k) (reg[addr[k]] == seen[k])
#else
#define ABSENCE_OK(k) 1
#endif
#define INTENT_OK(k) (LOCK_OK(k) && GATE_OK(k) && ABSENCE_OK(k))
#define TAKE_BACK_OK(k) (LOCK_OK(k) && GATE_OK(k) && RECORD_OK(k, R_INTENT))
#define SET_MOVING_OK(k) (LOCK_OK(k) && RECORD_OK(k, R_INTENT))
#define OPENING_OK(k) (LOCK_OK(k) && GATE_OK(k))
#define MOVING_OK(k) (LOCK_OK(k) && IN(cur_work[2+(k)], item[k]) && TARGET_OK(k))
#define CLOSING_OK(k) (LOCK_OK(k) && GATE_OK(k) && RECORD_OK(k, R_MOVING))

/* ---- the bodies of the txns ---- */
inline do_intent(k) {
    REACHED(intent);
    rproc[addr[k]] = gproc[addr[k]];
    rec[addr[k]] = R_INTENT;
#ifdef HOOK
    hooked[addr[k]] = 0;
#endif
#ifdef ABSENCE_IN_TXN
    rec[addr[k]] = R_MOVING;
#endif
    fenced[addr[k]] = fenced[addr[k]] | BIT(gproc[addr[k]]);
    if
    :: gate[addr[k]] == DRAINING && seen[k] == gproc[addr[k]] ->
        ordered[addr[k]] = ordered[addr[k]] | BIT(gproc[addr[k]])
    :: else ->
        if
        :: reg[addr[k]] == gproc[addr[k]] && gate[addr[k]] != FENCED ->
            unbroken[addr[k]] = unbroken[addr[k]] | BIT(gproc[addr[k]])
        :: else
        fi
    fi;
    heir_of[addr[k]] = 0; lease_to[addr[k]] = 0; lease_from[addr[k]] = 0;
    if
    :: FRESH(addr[k], seen[k]) ->       /* a new process stands there */
        REACHED(replaced);
        past[addr[k]] = past[addr[k]] | BIT(gproc[addr[k]]);
        if
        :: gate[addr[k]] == RESTARTING ->
            lease_to[addr[k]] = seen[k]; lease_from[addr[k]] = gproc[addr[k]];
#ifndef BUG_NO_HEIR
            heir_of[addr[k]] = gproc[addr[k]]
#endif
        :: else
        fi;
        gproc[addr[k]] = seen[k]; gate[addr[k]] = OPEN
    :: else -> gate[addr[k]] = FENCED
    fi;
    wrote_gate(addr[k]); wrote_rec(addr[k])
}
inline do_take_back(k) {
    REACHED(take_back);
    INV(STAYS_FENCED, !IN(bereft[addr[k]], rproc[addr[k]]));
    if
    :: gproc[addr[k]] != rproc[addr[k]] ->  /* the new process that INTENT put in leaves again */
        past[addr[k]] = past[addr[k]] | BIT(gproc[addr[k]]);
        fenced[addr[k]] = fenced[addr[k]] | BIT(gproc[addr[k]])
    :: else
    fi;
    past[addr[k]] = past[addr[k]] & ~BIT(rproc[addr[k]]);
    fenced[addr[k]] = fenced[addr[k]] & ~BIT(rproc[addr[k]]);
    unbroken[addr[k]] = unbroken[addr[k]] & ~BIT(rproc[addr[k]]);
    gproc[addr[k]] = rproc[addr[k]]; gate[addr[k]] = OPEN;
    heir_of[addr[k]] = 0; lease_to[addr[k]] = 0; lease_from[addr[k]] = 0;
    rec[addr[k]] = R_ENDED; rproc[addr[k]] = 0;
    wrote_gate(addr[k]); wrote_rec(addr[k])
}
/* The gate of a process that is not fenced by this: a new one at a fenced gate,
 * the same one after a restart lease, or a fenced one that is readmitted. */
inline do_open(k) {
    if
    :: to_proc[k] != gproc[addr[k]] -> REACHED(admitted); past[addr[k]] = past[addr[k]] | BIT(gproc[addr[k]])
    :: to_proc[k] == gproc[addr[k]] && gate[addr[k]] == FENCED ->
        REACHED(readmitted);
        fenced[addr[k]] = fenced[addr[k]] & ~BIT(to_proc[k]);
        unbroken[addr[k]] = unbroken[addr[k]] & ~BIT(to_proc[k]);
        bereft[addr[k]] = bereft[addr[k]] & ~BIT(to_proc[k])
    :: else -> REACHED(lease_over)
    fi;
    gproc[addr[k]] = to_proc[k]; gate[addr[k]] = OPEN;
    heir_of[addr[k]] = 0; lease_to[addr[k]] = 0; lease_from[addr[k]] = 0;
    wrote_gate(addr[k])
}
inline do_set_moving(k) { REACHED(set_moving); rec[addr[k]] = R_MOVING; wrote_rec(addr[k]) }
inline do_move(k) {
    if
    :: wstate[item[k]] == ASSIGNED ->
        REACHED(moved);
        INV(TAKEN_RIGHTLY, lock_holder == (k % 2) + 1 && cur_lock[2+k]);
        INV(TAKEN_RIGHTLY, IN(fenced[wowner[item[k]]], wproc[item[k]]));
        INV(TAKEN_RIGHTLY, !(gate[wowner[item[k]]] == OPEN && gproc[wowner[item[k]]] == wproc[item[k]]));
#ifdef LEASES
        INV(LEASED, !IN(lease[wowner[item[k]]], wproc[item[k]])
            || IN(ordered[wowner[item[k]]], wproc[item[k]]));
#endif
        INV(UNBROKEN, !IN(unbroken[wowner[item[k]]], wproc[item[k]])
            || IN(ordered[wowner[item[k]]], wproc[item[k]]));
        INV(LEASE_KEPT, !(lease_to[wowner[item[k]]] != 0 && gate[wowner[item[k]]] == OPEN
            && gproc[wowner[item[k]]] == lease_to[wowner[item[k]]]
            && wproc[item[k]] == lease_from[wowner[item[k]]] && to[k] != wowner[item[k]]));
        bereft[wowner[item[k]]] = bereft[wowner[item[k]]] | BIT(wproc[item[k]])
    :: else -> REACHED(from_waiting)
    fi;
    if
    :: to[k] == TO_WAIT -> REACHED(to_waiting)
    :: to[k] == TO_HOLD -> REACHED(to_held)
    :: to[k] < NA && to[k] == addr[k] && heir_of[to[k]] != 0 -> REACHED(to_heir)
    :: else
    fi;
    place(item[k], to[k], to_proc[k])
}
inline do_close(k) {
    REACHED(closed);
    INV(FINISHED, !ANY_MOVABLE(addr[k]));
    rec[addr[k]] = R_ENDED; rproc[addr[k]] = 0; wrote_rec(addr[k]);
    if
    :: heir_of[addr[k]] != 0 ->
        heir_of[addr[k]] = 0; lease_to[addr[k]] = 0; lease_from[addr[k]] = 0; wrote_gate(addr[k])
    :: else
    fi
}

/* what slot k read and chose is gone: nothing is ever decided on it again */
inline forget_reads(k) {
    item[k] = 0; to[k] = 0; to_proc[k] = 0; seen[k] = 0;
    cur_gate[2+k] = 0; cur_work[2+k] = 0; cur_rec[2+k] = 0
}
/* the txn that engine c has just sent lives on by itself */
inline leave_in_flight(c) {
    step[c+2] = step[c]; addr[c+2] = addr[c]; item[c+2] = item[c];
    to[c+2] = to[c]; to_proc[c+2] = to_proc[c]; seen[c+2] = seen[c];
    cur_gate[4+c] = cur_gate[2+c]; cur_work[4+c] = cur_work[2+c];
    cur_rec[4+c] = cur_rec[2+c]; cur_lock[4+c] = cur_lock[2+c]
}
inline forget_gate(c) { as_state[c] = 0; as_proc[c] = 0; as_past[c] = 0 }
#define SETTLE(c) forget_reads(c); forget_gate(c); addr[c] = 0; step[c] = HAVE_LOCK
#define READ_AGAIN(c) forget_reads(c); forget_gate(c); step[c] = (cur_lock[2+c] -> READING : RELEASE)

/* The ways in which a txn ends besides `committed`: refused; applied, with its
 * reply lost; still on the way.  All of them lead back to READING: what is read
 * there decides, nothing is repeated. */
#define UNKNOWN (nunk > 0 && !calm)
#define SLOT_FREE(c) (step[c+2] == IDLE)
#if NUNK > 0
#define OTHER_OUTCOMES(c, ok, body, mark) \
    :: d_step { ok && UNKNOWN -> nunk--; body; READ_AGAIN(c) } \
    :: d_step { UNKNOWN && SLOT_FREE(c) -> nunk--; leave_in_flight(c); READ_AGAIN(c) } \
    :: d_step { !(ok) -> REACHED(mark); READ_AGAIN(c) }
#else
#define OTHER_OUTCOMES(c, ok, body, mark) \
    :: d_step { !(ok) -> REACHED(mark); READ_AGAIN(c) }
#endif
/* an opening on the way would open a gate whose items are listed as fenced */
#ifdef BUG_KEEP_LOCK
#define OPENING_UNKNOWN(c) READ_AGAIN(c)
#else
#define OPENING_UNKNOWN(c) step[c] = RELEASE
#endif

proctype Engine(byte c) {
end: do
    :: d_step { step[c] == IDLE && ANYTHING_WANTED(c) -> step[c] = WANT_LOCK }
    :: d_step { step[c] == WANT_LOCK && lock_holder == 0 ->
        lock_holder = c + 1; cur_lock[2+c] = 1; step[c] = HAVE_LOCK }

    /* the next task, by what is believed */
    :: d_step { step[c] == HAVE_LOCK && WANTED(c, 0) -> addr[c] = 0; step[c] = READING }
    :: d_step { step[c] == HAVE_LOCK && WANTED(c, 1) -> addr[c] = 1; step[c] = READING }
    :: d_step { step[c] == HAVE_LOCK && WAITING_WANTED(c) -> addr[c] = NA; step[c] = LISTING }
#ifdef COLLECTION
    :: d_step { step[c] == HAVE_LOCK && COLLECTABLE -> step[c] = COLLECTING }
#endif
    :: d_step { step[c] == HAVE_LOCK && !ANYTHING_WANTED(c) -> step[c] = RELEASE }
#ifdef ROTATE       /* its 10 s are over: others first */
    :: d_step { (step[c] == HAVE_LOCK || step[c] == LISTING) && !calm -> step[c] = RELEASE }
#endif

    /* afresh and under the lock: gate and record, then the registrations; decide */
    :: d_step { step[c] == READING ->
        cur_gate[2+c] = BIT(addr[c]); cur_rec[2+c] = BIT(addr[c]);
        as_state[c] = gate[addr[c]]; as_proc[c] = gproc[addr[c]]; as_past[c] = past[addr[c]];
        step[c] = READING_NODES }
    :: d_step { step[c] == READING_NODES ->
        seen[c] = reg[addr[c]];
#ifdef BUG_STALE
        seen[c] = CACHE(c, addr[c]);
#endif
        if
        :: !IN(cur_rec[2+c], addr[c]) -> step[c] = READING
        :: IN(cur_rec[2+c], addr[c]) && rec[addr[c]] == R_INTENT -> step[c] = VERIFY    /* inherited */
        :: IN(cur_rec[2+c], addr[c]) && rec[addr[c]] == R_MOVING -> step[c] = AFTER_MOVING(c)   /* resumed */
        :: IN(cur_rec[2+c], addr[c]) && !UNFINISHED_RECORD(addr[c]) ->
            if
            :: as_state[c] == OPEN -> step[c] = (seen[c] != as_proc[c] -> INTENT : LISTING)
            :: as_state[c] == DRAINING -> step[c] = INTENT  /* gone, replaced, or its time is over */
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
            fi
        fi;
        if
        :: step[c] == HAVE_LOCK -> SETTLE(c)
        :: step[c] == INTENT -> forget_gate(c)
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
        cur_rec[2+c] = BIT(addr[c]);
        if
        :: seen[c] == rproc[addr[c]] && !IN(ordered[addr[c]], rproc[addr[c]]) ->
            cur_gate[2+c] = BIT(addr[c]); step[c] = TAKE_BACK
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

#ifdef HOOK     /* under the lock, as far as it is proven */
    :: d_step { step[c] == HOOKING && !IN(hook_runs, c) && cur_lock[2+c] ->
        INV(HOOKS, hook_runs == 0); hook_runs = hook_runs | BIT(c) }
    :: d_step { step[c] == HOOKING && IN(hook_runs, c) ->
        REACHED(hooked); hook_runs = hook_runs & ~BIT(c);
        if :: cur_lock[2+c] -> hooked[addr[c]] = 1; step[c] = LISTING :: else -> step[c] = RELEASE fi }
    :: d_step { step[c] == HOOKING && !IN(hook_runs, c) && !cur_lock[2+c] -> step[c] = RELEASE }
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

    /* the one exit */
    :: d_step { step[c] == RELEASE ->
        if :: cur_lock[2+c] -> lock_holder = 0 :: else fi;
        cur_lock[2+c] = 0; cur_lock[4+c] = 0;
        forget_reads(c); forget_gate(c); addr[c] = 0; step[c] = IDLE }
    od
}
