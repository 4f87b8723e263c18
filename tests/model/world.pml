/* world.pml - nodes, sessions, time and faults, and what must hold whatever
 * they do.
 *
 * The design decision: time is not modelled.  A grace, a session timeout or a
 * lease may be over at any moment, so the search covers every setting of them.
 * Faults and requests come from small budgets and stop for good when `calm` is
 * set; what is true when then nothing can happen any more is what the protocol
 * promises to reach. */

#define REGISTERED_ALIVE(a) (reg[a] != 0 && IN(alive[a], reg[a]))
#ifndef LEASES
#define NODE(a) \
    /* a live process loses its session */ \
    :: d_step { REGISTERED_ALIVE(a) && nfault > 0 && !calm -> nfault--; register(a, 0) } \
    /* a crash, and in its own time the end of the dead one's session */ \
    :: d_step { REGISTERED_ALIVE(a) && nfault > 0 && !calm -> \
        nfault--; alive[a] = alive[a] & ~BIT(reg[a]) } \
    :: d_step { reg[a] != 0 && !IN(alive[a], reg[a]) -> register(a, 0) } \
    /* back again: a flap, or the return of an old process; right after the loss \
     * of the new one's key it is the old one's heartbeat that overwrites it */ \
    :: d_step { reg[a] == 0 && IN(alive[a], 1) -> register(a, 1) } \
    :: d_step { reg[a] == 0 && IN(alive[a], 2) -> register(a, 2) } \
    /* a new process at the address */ \
    :: d_step { started[a] < NP && nstart > 0 && !calm -> \
        nstart--; started[a]++; alive[a] = alive[a] | BIT(started[a]); register(a, started[a]) }
#endif
#define BELIEF(c, a) :: d_step { CACHE(c, a) != reg[a] -> NOTE(c, a) CACHE(c, a) = reg[a] }

/* a hook's guard ends it before the lock can be another's */
#ifdef HOOK
#ifdef BUG_HOOK_RUNS_ON
#define HOOK_ENDED 1
#else
#define HOOK_ENDED (!IN(hook_runs, lock_holder - 1))
#endif
#else
#define HOOK_ENDED 1
#endif
/* the lock's session ends: its holder is dead, or was paused and does not know */
#define LOCK_LOST \
    REACHED(lock_lost); \
    cur_lock[3+lock_holder] = 0; cur_lock[1+lock_holder] = 0; lock_holder = 0
/* engine c is killed and starts again with nothing; what it has sent may still arrive */
#define SENDING(c) (step[c] == OPENING || step[c] == INTENT || step[c] == TAKE_BACK || step[c] == SET_MOVING \
    || step[c] == MOVING || step[c] == CLOSING || step[c] == FORGETTING)
#define CRASH(c) \
    :: d_step { ncrash > 0 && !calm && step[c] > IDLE -> \
        ncrash--; \
        if :: SENDING(c) && SLOT_FREE(c) -> leave_in_flight(c) :: else fi; \
        HOOK_DIES(c) NOTES_DIE(c) \
        cur_lock[2+c] = 0; forget_reads(c); forget_gate(c); addr[c] = 0; step[c] = IDLE }
/* a txn in flight: applied late if its checks still hold, or lost */
#define LANDED(k) forget_reads(k); addr[k] = 0; step[k] = IDLE; cur_lock[2+k] = 0
#define LATE(k, state, ok, body, mark) \
    :: d_step { step[k] == state && ok(k) -> REACHED(mark); body(k); LANDED(k) }
#ifdef GATES_GO
#define FORGOTTEN_LATE(k) LATE(k, FORGETTING, FORGET_OK, do_forget, forgot_late)
#else
#define FORGOTTEN_LATE(k)
#endif
#define IN_FLIGHT(k) \
    LATE(k, OPENING, OPENING_OK, do_open, opening_late) \
    LATE(k, INTENT, INTENT_OK, do_intent, intent_late) \
    LATE(k, TAKE_BACK, TAKE_BACK_OK, do_take_back, take_back_late) \
    LATE(k, SET_MOVING, SET_MOVING_OK, do_set_moving, set_moving_late) \
    LATE(k, MOVING, MOVING_OK, do_move, move_late) \
    LATE(k, CLOSING, CLOSING_OK, do_close, close_late) \
    FORGOTTEN_LATE(k) \
    :: d_step { step[k] != IDLE -> LANDED(k) }

/* a client remembers what it was given, to say `done` once, twice, much later */
#define REMEMBER(i) \
    :: d_step { !calm && wstate[i] == ASSIGNED \
            && (kept_epoch[i] != wepoch[i] || kept_inc[i] != winc[i]) -> \
        kept_epoch[i] = wepoch[i]; kept_inc[i] = winc[i] }

proctype World() {
end: do
    NODE(0)
    NODE(1)
    BELIEF(0, 0)
    BELIEF(0, 1)
#ifdef GONE
    GATE_AHEAD(0, 0)
    GATE_AHEAD(0, 1)
#if NENG > 1
    GATE_AHEAD(1, 0)
    GATE_AHEAD(1, 1)
#endif
#endif
#if NENG > 1 || NAPI > 1
    BELIEF(1, 0)
    BELIEF(1, 1)
#endif
#if !defined(NODONE) && !defined(NOAPI)
    REMEMBER(0)
#if NI > 1
    REMEMBER(1)
#endif
#endif
    :: d_step { lock_holder != 0 && !cur_lock[1+lock_holder] -> LOCK_LOST }
    :: d_step { lock_holder != 0 && cur_lock[1+lock_holder] && nexp > 0 && !calm && HOOK_ENDED -> \
        nexp--; LOCK_LOST }
#ifdef HOOK
    :: d_step { lock_holder != 0 && IN(hook_runs, lock_holder - 1) && nexp > 0 && !calm -> \
        REACHED(hook_ended); HOOK_DIES(lock_holder - 1) }
#endif
#if NCRASH > 0
    CRASH(0)
#if NENG > 1
    CRASH(1)
#endif
#endif
#if NCRASH > 0 || NUNK > 0
    IN_FLIGHT(2)
#if NENG > 1
    IN_FLIGHT(3)
#endif
#endif
#ifdef DRAINS
    :: d_step { drained[0] != 0 && !due[0] -> due[0] = 1 }
#endif
    :: !calm -> calm = 1
    od
}

/* ---- in every state: record and marker agree ---- */
#define AGREE(i) ( \
    (wstate[i] == ASSIGNED && MPROC(wowner[i], i) == wproc[i] && MEPOCH(wowner[i], i) == wepoch[i] \
        && MPROC(1 - wowner[i], i) == 0 && MPROC(NA, i) == 0) \
    || ((wstate[i] == WAITING || wstate[i] == HELD) && MPROC(0, i) == 0 && MPROC(1, i) == 0 \
        && MPROC(NA, i) == 1 && MEPOCH(NA, i) == wepoch[i]) \
    || ((wstate[i] == NONE || wstate[i] == DONE) && MPROC(0, i) == 0 && MPROC(1, i) == 0 \
        && MPROC(NA, i) == 0))
/* ---- when nothing can happen any more ---- */
#define USABLE(a) (reg[a] != 0 && !IN(fenced[a], reg[a]))
#define SETTLED(i) (wstate[i] == NONE || wstate[i] == DONE || wstate[i] == HELD \
    || (wstate[i] == ASSIGNED && reg[wowner[i]] == wproc[i] && gproc[wowner[i]] == wproc[i] \
        && gate[wowner[i]] != FENCED) \
    || (wstate[i] == WAITING && !USABLE(0) && !USABLE(1)))
#define GATE_SETTLED(a) (gate[a] == ABSENT || !USABLE(a) \
    || (gproc[a] == reg[a] && gate[a] == OPEN))
/* registered, and shut out with nothing that would ever let it in again */
#define SHUT_OUT(a) (reg[a] != 0 && IN(fenced[a], reg[a]) && gate[a] == FENCED)

proctype Monitor() {
end: do
    :: timeout -> atomic {
        assert(calm);
        INV(FINISHED, SETTLED(0));
#if NI > 1
        INV(FINISHED, SETTLED(1));
#endif
        INV(FINISHED, GATE_SETTLED(0) && GATE_SETTLED(1));
#ifndef RECORDS_MAY_STAY
        INV(FINISHED, !UNFINISHED_RECORD(0) && !UNFINISHED_RECORD(1));
#endif
        INV(FINISHED, lock_holder == 0 && gate[0] != RESTARTING && gate[0] != DRAINING);
#ifdef GONE
        INV(FINISHED, NOBODY_LOST(0));
#if NENG > 1
        INV(FINISHED, NOBODY_LOST(1));
#endif
#endif
        INV(FINISHED, !ORDER_WAITS);
#ifdef NOBODY_SHUT_OUT
        INV(FINISHED, !SHUT_OUT(0) && !SHUT_OUT(1));
#endif
        break }
    :: !(AGREE(0)) -> INV(ONE_OWNER, AGREE(0))
#if NI > 1
    :: !(AGREE(1)) -> INV(ONE_OWNER, AGREE(1))
#endif
#ifdef DRAINS
    :: DRAIN_BROKEN(0) -> INV(DRAIN_KEPT, !DRAIN_BROKEN(0))
#endif
    od
}

/* with -DLIVE and pan -l -f: a cycle that is left once calm is a livelock */
proctype Progress() {
progress: calm
}
