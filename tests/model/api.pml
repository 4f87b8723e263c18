/* api.pml - what clients and people ask of coordinator t: work/work.c.
 *
 * The design decision: a request is two steps, what it reads and the txn that
 * it writes on that; whoever retries is another request.  People's orders are
 * one step, because they are a put at the version just read. */
#define A_SUBMIT 1      /* or a claim: the same checks, the same txn */
#define A_DONE 2
#define A_HANDOVER 3
#define A_RELEASE 4
#define A_ADMIT 6
#define A_WITHDRAW 7
#ifdef NOAPI
#define ASKS(t) 0
#else
#define ASKS(t) (!calm && api_step[t] == 0)
#endif
#define PERSON(t) (!calm && api_step[t] == 0)
#define UNFINISHED_ITEM(i) (wstate[i] != NONE && wstate[i] != DONE)

#define READ_SUBMIT(t, i, b) \
    :: atomic { ASKS(t) && wstate[i] == NONE && ninc[i] < MAXINC && CANDIDATE(t, b) -> \
        api_item[t] = i; api_to[t] = b; api_proc[t] = CACHE(t, b); \
        cur_floor[t] = 1; cur_gate[t] = BIT(b); api_step[t] = A_SUBMIT }
/* over an item that is done while it is kept: its epochs go on */
#define READ_RESUBMIT(t, i, b) \
    :: atomic { ASKS(t) && wstate[i] == DONE && ninc[i] < MAXINC && CANDIDATE(t, b) -> \
        api_item[t] = i; api_to[t] = b; api_proc[t] = CACHE(t, b); \
        cur_work[t] = BIT(i); cur_gate[t] = BIT(b); api_step[t] = A_SUBMIT }
/* with the epoch that some client remembers, for the first time or again */
#define READ_DONE(t, i) \
    :: atomic { ASKS(t) && kept_epoch[i] != 0 && UNFINISHED_ITEM(i) && wepoch[i] == kept_epoch[i] -> \
        api_item[t] = i; cur_work[t] = BIT(i); api_step[t] = A_DONE }
inline choose(t) {
    if
    :: CANDIDATE(t, 0) -> api_to[t] = 0; api_proc[t] = CACHE(t, 0); cur_gate[t] = BIT(0)
    :: CANDIDATE(t, 1) -> api_to[t] = 1; api_proc[t] = CACHE(t, 1); cur_gate[t] = BIT(1)
    :: !ANY_CANDIDATE(t) -> api_to[t] = TO_WAIT
    fi
}
inline answered(t) {
    api_step[t] = 0; api_item[t] = 0; api_to[t] = 0; api_proc[t] = 0;
    cur_gate[t] = 0; cur_work[t] = 0; cur_floor[t] = 0
}
#ifdef BUG_NO_GATE_CHECK
#define CREATE_OK(t) (wstate[api_item[t]] == NONE)
#elif defined(BUG_NO_FLOOR_CHECK)
#define CREATE_OK(t) (IN(cur_gate[t], api_to[t]) && wstate[api_item[t]] == NONE)
#else
#define CREATE_OK(t) (IN(cur_gate[t], api_to[t]) && ( \
    (wstate[api_item[t]] == NONE && cur_floor[t]) \
    || (wstate[api_item[t]] == DONE && IN(cur_work[t], api_item[t]))))
#endif

proctype Api(byte t) {
end: do
    READ_SUBMIT(t, 0, 0)
    READ_SUBMIT(t, 0, 1)
#if NI > 1
    READ_SUBMIT(t, 1, 0)
    READ_SUBMIT(t, 1, 1)
#endif
#ifdef RESUBMIT
    READ_RESUBMIT(t, 0, 0)
    READ_RESUBMIT(t, 0, 1)
#endif
#ifndef NODONE
    READ_DONE(t, 0)
#if NI > 1
    READ_DONE(t, 1)
#endif
#endif
    :: d_step { api_step[t] == A_SUBMIT ->
        if
        :: CREATE_OK(t) ->
            if :: wstate[api_item[t]] == DONE -> REACHED(resubmitted) :: else -> REACHED(submitted) fi;
            ninc[api_item[t]]++;
#ifdef BUG_NO_FLOOR_CHECK
            if :: !cur_floor[t] -> floor_epoch = 0 :: else fi;  /* as it was read, long ago */
#endif
            place(api_item[t], api_to[t], api_proc[t]);
            winc[api_item[t]] = ninc[api_item[t]]
        :: else
        fi;
        answered(t) }
    :: d_step { api_step[t] == A_DONE ->
        if
        :: IN(cur_work[t], api_item[t]) ->
            REACHED(done);
            if
            :: wstate[api_item[t]] == ASSIGNED && IN(fenced[wowner[api_item[t]]], wproc[api_item[t]]) ->
                REACHED(done_late)  /* of a fenced process, before its item moved: it counts */
            :: else
            fi;
            INV(EPOCHS, winc[api_item[t]] == kept_inc[api_item[t]]);
            MPROC((wstate[api_item[t]] == ASSIGNED -> wowner[api_item[t]] : NA), api_item[t]) = 0;
            MEPOCH((wstate[api_item[t]] == ASSIGNED -> wowner[api_item[t]] : NA), api_item[t]) = 0;
            wstate[api_item[t]] = DONE; wowner[api_item[t]] = 0; wproc[api_item[t]] = 0;
            wrote_work(api_item[t])
        :: else
        fi;
        answered(t) }

#if NHUM > 0
    /* the owner lets its item go while it drains */
    :: atomic { ASKS(t) && wstate[0] == ASSIGNED && gate[wowner[0]] == DRAINING ->
        api_item[t] = 0; cur_work[t] = BIT(0); api_step[t] = A_HANDOVER; choose(t) }
    /* people: drain, restart, undo */
    :: d_step { PERSON(t) && nhum > 0 && (gate[0] == OPEN || gate[0] == DRAINING) ->
        nhum--; gate[0] = DRAINING;
        drain_of[0] = gproc[0]; drained[0] = gproc[0]; due[0] = 0; wrote_gate(0);
        lease_to[0] = 0; lease_from[0] = 0 }    /* an heir that drains need not inherit */
    :: d_step { PERSON(t) && nhum > 0 && gate[0] == OPEN -> nhum--; gate[0] = RESTARTING; wrote_gate(0) }
    :: d_step { PERSON(t) && drain_of[0] != 0 ->
        gate[0] = (gate[0] == DRAINING -> OPEN : gate[0]); end_drain(0); wrote_gate(0) }
#endif
#if NORD > 0
    :: d_step { PERSON(t) && nord > 0 && !ORDER_WAITS && ord != O_TAKEN ->
        nord--; ord = O_QUEUED; ord_force = 1; cur_ord = 0; told_withdrawn = 0 }
    :: d_step { PERSON(t) && nord > 0 && !ORDER_WAITS && ord != O_TAKEN ->
        nord--; ord = O_QUEUED; ord_force = 0; cur_ord = 0; told_withdrawn = 0 }
    :: d_step { PERSON(t) && ORDER_WAITS -> cur_ord = cur_ord | BIT(t); api_step[t] = A_WITHDRAW }
    :: d_step { api_step[t] == A_WITHDRAW ->
        if
        :: WITHDRAW_OK(t) ->
            REACHED(withdrawn);
            INV(ORDERS, ORDER_WAITS);
            ord = O_ENDED; cur_ord = 0; told_withdrawn = 1
        :: else -> REACHED(withdraw_refused)
        fi;
        cur_ord = cur_ord & ~BIT(t); answered(t) }
#endif
#if NPAUSE > 0
    :: d_step { PERSON(t) && npause > 0 && !paused -> npause--; paused = 1 }
    :: d_step { paused -> paused = 0; paused_then[0] = 0; paused_then[1] = 0 }
#endif
#ifdef BUG_ORDER_FENCED     /* a cordon, and its end, written over `fenced` */
    :: d_step { gate[0] == FENCED && nhum > 0 && !calm -> nhum--; gate[0] = OPEN; wrote_gate(0) }
#endif
#if HOLDITEM < 9
    :: atomic { ASKS(t) && wstate[HOLDITEM] == HELD && wepoch[HOLDITEM] < 6 ->
        api_item[t] = HOLDITEM; cur_work[t] = BIT(HOLDITEM); api_step[t] = A_RELEASE; choose(t) }
#endif
    :: d_step { api_step[t] == A_HANDOVER || api_step[t] == A_RELEASE ->
        if
        :: IN(cur_work[t], api_item[t]) && (api_to[t] >= NA || IN(cur_gate[t], api_to[t])) ->
            if :: api_step[t] == A_RELEASE -> REACHED(released) :: else -> REACHED(handed_over) fi;
            place(api_item[t], api_to[t], api_proc[t])
        :: else
        fi;
        answered(t) }

#ifdef LOCKFREE_ADMIT   /* failover done, a new process registered: opened without the lock */
    :: d_step { api_step[t] == 0 && gate[0] == FENCED && rec[0] == R_ENDED && FRESH(0, reg[0]) ->
        api_to[t] = 0; api_proc[t] = reg[0]; cur_gate[t] = BIT(0); api_step[t] = A_ADMIT }
    :: d_step { api_step[t] == A_ADMIT ->
        if
        :: IN(cur_gate[t], 0) ->
            REACHED(admitted); past[0] = past[0] | BIT(gproc[0]); gproc[0] = api_proc[t]; gate[0] = OPEN;
            heir_of[0] = 0; lease_to[0] = 0; lease_from[0] = 0; wrote_gate(0)
        :: else
        fi;
        answered(t) }
#endif
    od
}
