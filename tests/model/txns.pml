/* txns.pml - what the engine writes: which txns commit, and what they do.
 *
 * The design decision: a txn is a macro that says whether its checks hold and
 * a body, both for a slot k, so that the same one is applied at once by its
 * engine, with its reply lost, or late when nobody waits for it any more. */

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
#define INTENT_OK(k) (LOCK_OK(k) && (GATE_OK(k) || FIRST_OK(k)) && ABSENCE_OK(k) && ORDER_OK(k))
#define ORDER_ONLY_OK(k) (LOCK_OK(k) && ORDER_OK(k))
#define TAKE_BACK_OK(k) (LOCK_OK(k) && GATE_OK(k) && RECORD_OK(k, R_INTENT))
#define SET_MOVING_OK(k) (LOCK_OK(k) && RECORD_OK(k, R_INTENT))
#define OPENING_OK(k) (LOCK_OK(k) && GATE_OK(k))
#define MOVING_OK(k) (LOCK_OK(k) && IN(cur_work[2+(k)], item[k]) && TARGET_OK(k))
#define CLOSING_OK(k) (LOCK_OK(k) && GATE_OK(k) && RECORD_OK(k, R_MOVING))

#ifdef GATES_GO
#ifdef BUG_FORGET_UNVERSIONED
#define FORGET_OK(k) (LOCK_OK(k) && gate[addr[k]] != ABSENT)
#else
#define FORGET_OK(k) (LOCK_OK(k) && GATE_OK(k))
#endif
#endif

/* ---- the bodies of the txns ---- */
inline do_intent(k) {
    REACHED(intent);
    PAUSE_AT_INTENT(addr[k])
#ifdef HOOK
    hooked[addr[k]] = 0;
#endif
#ifdef GONE
    if
    :: how[k] == DEPARTED -> begin_departed(addr[k], k)
    :: else -> begin_first(addr[k], k); fence(k)
    fi;
#else
    fence(k);
#endif
    wrote_gate(addr[k]); wrote_rec(addr[k])
}
/* the gate's process is fenced or replaced; the record says so */
inline fence(k) {
#if NORD > 0
    take_up_order(k);
#endif
    rproc[addr[k]] = gproc[addr[k]];
    rec[addr[k]] = R_INTENT;
#ifdef ABSENCE_IN_TXN
    rec[addr[k]] = R_MOVING;
#endif
    fenced[addr[k]] = fenced[addr[k]] | BIT(gproc[addr[k]]);
    if
#ifdef DRAINS
    :: DRAINED_BY(k) ->
        INV(DRAIN_KEPT, gproc[addr[k]] == drained[addr[k]]);
        ordered[addr[k]] = ordered[addr[k]] | BIT(gproc[addr[k]])
#endif
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
        gproc[addr[k]] = seen[k]; reopen(addr[k], k, DRAINS_NEXT)
    :: else ->
        gate[addr[k]] = FENCED;
#ifdef DRAINS
        if :: over[k] -> end_drain(addr[k]) :: else fi
#endif
    fi
}
inline do_take_back(k) {
    REACHED(take_back);
    INV(STAYS_FENCED, !IN(bereft[addr[k]], rproc[addr[k]]));
    ORDER_ENDS(addr[k])
#ifdef GONE
    if
    :: departed[addr[k]] -> take_back_departed(addr[k])
    :: else -> unfence(k)
    fi
#else
    unfence(k)
#endif
}
inline unfence(k) {
    if
    :: gproc[addr[k]] != rproc[addr[k]] ->  /* the new process that INTENT put in leaves again */
        past[addr[k]] = past[addr[k]] | BIT(gproc[addr[k]]);
        fenced[addr[k]] = fenced[addr[k]] | BIT(gproc[addr[k]])
    :: else
    fi;
    past[addr[k]] = past[addr[k]] & ~BIT(rproc[addr[k]]);
    fenced[addr[k]] = fenced[addr[k]] & ~BIT(rproc[addr[k]]);
    unbroken[addr[k]] = unbroken[addr[k]] & ~BIT(rproc[addr[k]]);
    gproc[addr[k]] = rproc[addr[k]]; reopen(addr[k], k, DRAINS_BACK);
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
    :: else -> if :: gate[addr[k]] == RESTARTING -> REACHED(lease_over) :: else fi
    fi;
    gproc[addr[k]] = to_proc[k]; reopen(addr[k], k, DRAINS_NEXT);
    heir_of[addr[k]] = 0; lease_to[addr[k]] = 0; lease_from[addr[k]] = 0;
    wrote_gate(addr[k])
}
inline do_set_moving(k) {
    REACHED(set_moving);
    PAUSE_AT_MOVING(addr[k])
#ifdef GONE
    taken_elsewhere(addr[k]);
#endif
    rec[addr[k]] = R_MOVING; wrote_rec(addr[k])
}
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
    ORDER_ENDS(addr[k])
    rec[addr[k]] = R_ENDED; rproc[addr[k]] = 0; wrote_rec(addr[k]);
    if
    :: heir_of[addr[k]] != 0 ->
        heir_of[addr[k]] = 0; lease_to[addr[k]] = 0; lease_from[addr[k]] = 0; wrote_gate(addr[k])
    :: else
    fi
}

#ifdef GATES_GO
/* whoever comes next at the address is a new life, who was fenced there, too */
inline do_forget(k) {
    REACHED(forgotten);
    INV(ONE_OWNER, !ANY_MARKER(addr[k]));
    gate[addr[k]] = ABSENT; gproc[addr[k]] = 0; past[addr[k]] = 0;
    heir_of[addr[k]] = 0; lease_to[addr[k]] = 0; lease_from[addr[k]] = 0;
    fenced[addr[k]] = 0; unbroken[addr[k]] = 0; ordered[addr[k]] = 0; bereft[addr[k]] = 0;
    life_floor[addr[k]] = epoch_max[0];
#if NI > 1
    if :: epoch_max[1] > epoch_max[0] -> life_floor[addr[k]] = epoch_max[1] :: else fi;
#endif
#ifndef BUG_FORGET_FLOORLESS
    floor_epoch = life_floor[addr[k]]; cur_floor[0] = 0; cur_floor[1] = 0;
#endif
    wrote_gate(addr[k])
}
#endif

/* what slot k read and chose is gone: nothing is ever decided on it again */
inline forget_reads(k) {
    item[k] = 0; to[k] = 0; to_proc[k] = 0; seen[k] = 0;
    OVER_FORGOTTEN(k) ABOUT_FORGOTTEN(k) ORDER_FORGOTTEN(k)
    cur_gate[2+k] = 0; cur_work[2+k] = 0; cur_rec[2+k] = 0
}
/* the txn that engine c has just sent lives on by itself */
inline leave_in_flight(c) {
    step[c+2] = step[c]; addr[c+2] = addr[c]; item[c+2] = item[c];
    to[c+2] = to[c]; to_proc[c+2] = to_proc[c]; seen[c+2] = seen[c];
    OVER_SENT(c) ABOUT_SENT(c) ORDER_SENT(c)
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
