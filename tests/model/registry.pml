/* registry.pml - the keys, what a reader knows about them, and the one way in
 * which work changes hands.
 *
 * The design decision: a version is one bit.  check(key at version v) holds
 * exactly if nobody wrote the key since the reader read it; so instead of
 * counters every thread has one bit per key, "what I read is still what is
 * there", and each write of the key clears the bit of all threads.  A txn
 * commits exactly if its bits still stand.  A thread may stop between its read
 * and its commit for as long as it likes: that is a paused coordinator, a txn
 * delayed in the network and a request that outlived its sender, all in one.
 * (Versions that repeat after a delete are aba.pml's subject.)
 *
 * Threads: 0,1 the API of coordinator 0,1; 2,3 the engine of coordinator 0,1;
 * 4,5 a txn of engine 0,1 that was sent, whose outcome is not known, and that
 * may be applied at any later time.  Engine arrays have four slots: the two
 * engines and, two further on, their txns in flight. */

/* the gate, /pelorus/owners/<address> */
#define ABSENT 0
#define OPEN 1
#define FENCED 2
#define DRAINING 3
#define RESTARTING 4
#define LEFT 6          /* open, and its process has left in order */
/* a work item, /pelorus/work/<id> */
#define NONE 0
#define ASSIGNED 1
#define WAITING 2
#define HELD 3
#define DONE 4
/* the failover record of an address */
#define R_NONE 0
#define R_INTENT 1
#define R_MOVING 2
#define R_ENDED 3       /* done, or aborted: taken back */
#define UNFINISHED_RECORD(a) (rec[a] == R_INTENT || rec[a] == R_MOVING)
/* where an item may go besides an address */
#define TO_WAIT NA
#define TO_HOLD (NA+1)

/* ---- the keys ---- */
byte reg[NA];           /* the process whose registration stands at the address; 0 none */
byte gate[NA], gproc[NA], past[NA], heir_of[NA];  /* the gate; past is a set */
byte wstate[NI], wowner[NI], wproc[NI], wepoch[NI];
byte mproc[(NA+1)*NI], mepoch[(NA+1)*NI];   /* marker owned/<address>/<id>; address NA is `-` */
byte rec[NA], rproc[NA];                    /* the record: its state, the process it is about */
byte lock_holder;                           /* 0 nobody, else coordinator + 1 */
byte floor_epoch;                           /* the highest epoch of any collected item */

/* ---- "what I read is still there", one bit per key ---- */
byte cur_gate[6], cur_work[6], cur_rec[6];
bit cur_lock[6], cur_floor[2];

/* ---- the nodes; what coordinator c believes of them ---- */
byte started[NA], alive[NA];
byte cache[2*NA];

/* ---- the engines, their txns in flight, the API's requests ---- */
byte step[4], addr[4], item[4], to[4], to_proc[4], seen[4];
byte as_state[2], as_proc[2], as_past[2];   /* the gate of addr[c] as engine c has read it */
byte api_step[2], api_item[2], api_to[2], api_proc[2];

#ifdef LEASES           /* who may work by his own clock; the request of a node */
byte lease[NA];
byte put_step, put_a, put_p, nlate = NLATE, nleave = NLEAVE;
bit put_reg, put_gate;  /* what it read is still there */
#define PUT_FORGETS(bit, a) bit = (put_a == (a) -> 0 : bit)
#else
#define PUT_FORGETS(bit, a) skip
#endif
#ifdef HOOK
byte hook_runs;         /* engines whose hook runs */
bit hooked[NA];         /* it has run for this failover */
byte ninter = NINTER;
#define HOOK_DIES(c) hook_runs = hook_runs & ~BIT(c);
#else
#define HOOK_DIES(c)
#endif

#ifdef GATES_GO           /* the highest epoch that was given when its gate was forgotten last */
byte life_floor[NA], nforget = NFORGET;
#define ABOVE_FORMER_LIFE(b, i) INV(EPOCHS, wepoch[i] > life_floor[b]);
#else
#define ABOVE_FORMER_LIFE(b, i)
#endif

/* ---- what may still happen ---- */
byte nfault = NFAULT, nexp = NEXP, ncrash = NCRASH, nunk = NUNK, nhum = NHUM, nstart = NSTART;
bit calm;               /* no more faults, no more requests */

/* ---- bookkeeping that the protocol does not see: for the assertions only ---- */
byte ninc[NI], winc[NI];            /* submissions of the id so far; the one in the record */
byte epoch_max[NI];                 /* the highest epoch that the id ever had */
byte kept_epoch[NI], kept_inc[NI];  /* a `done` that some client may send, or send again */
byte fenced[NA];                    /* processes that INTENT fenced or replaced */
byte unbroken[NA];                  /* of these: registered at INTENT and not gone before the second read */
byte ordered[NA];                   /* fenced in a person's name: the deadline of a drain */
byte bereft[NA];                    /* processes from which a failover took work */
byte lease_to[NA], lease_from[NA];  /* who consumed a restart lease, and whose work is owed to it */

#define BIT(x) (1 << (x))
#define IN(set, p) (((set) >> (p)) & 1)
#define CACHE(c, a) cache[(c)*NA+(a)]
#define MPROC(a, i) mproc[(a)*NI+(i)]
#define MEPOCH(a, i) mepoch[(a)*NI+(i)]

#define FORGET(cur, x) \
    cur[0] = cur[0] & ~BIT(x); cur[1] = cur[1] & ~BIT(x); cur[2] = cur[2] & ~BIT(x); \
    cur[3] = cur[3] & ~BIT(x); cur[4] = cur[4] & ~BIT(x); cur[5] = cur[5] & ~BIT(x)
inline wrote_gate(a) { FORGET(cur_gate, a); PUT_FORGETS(put_gate, a) }
inline wrote_work(i) { FORGET(cur_work, i) }
inline wrote_rec(a) { FORGET(cur_rec, a) }

/* A registration that changes between INTENT and the second read was not
 * unbroken: the process may lose its work. */
inline register(a, p) {
    if
    :: reg[a] != 0 && reg[a] != p && rec[a] == R_INTENT && rproc[a] == reg[a] ->
        unbroken[a] = unbroken[a] & ~BIT(reg[a])
    :: else
    fi;
    reg[a] = p;
    PUT_FORGETS(put_reg, a)
}

/* may the process p, registered at an address, be given its gate? */
#ifdef BUG_NO_PAST
#define IS_FRESH(p, proc, gone) ((p) != 0 && (p) != (proc))
#else
#define IS_FRESH(p, proc, gone) ((p) != 0 && (p) != (proc) && !IN(gone, p))
#endif
#define FRESH(a, p) IS_FRESH(p, gproc[a], past[a])

/* a marker under a whose process may not own any more: only the past moves,
 * and nothing of a process about which the record still says `intent` */
#define MOVABLE(a, i) (MPROC(a, i) != 0 && (MPROC(a, i) != gproc[a] || gate[a] == FENCED) \
    && !(rec[a] == R_INTENT && rproc[a] == MPROC(a, i)))
#if NI == 1
#define ANY_MOVABLE(a) (MOVABLE(a, 0))
#define ANY_MARKER(a) (MPROC(a, 0) != 0)
#define ANY_FOREIGN(c, a) (MPROC(a, 0) != 0 && MPROC(a, 0) != CACHE(c, a))
#define ANY_WAITING (wstate[0] == WAITING)
#else
#define ANY_MOVABLE(a) (MOVABLE(a, 0) || MOVABLE(a, 1))
#define ANY_MARKER(a) (MPROC(a, 0) != 0 || MPROC(a, 1) != 0)
#define ANY_FOREIGN(c, a) ((MPROC(a, 0) != 0 && MPROC(a, 0) != CACHE(c, a)) \
    || (MPROC(a, 1) != 0 && MPROC(a, 1) != CACHE(c, a)))
#define ANY_WAITING (wstate[0] == WAITING || wstate[1] == WAITING)
#endif

/* may b be given work, as coordinator c sees it? */
#ifdef BUG_SWITCH
#define CANDIDATE(c, b) (CACHE(c, b) != 0 && (gate[b] == OPEN || gate[b] == ABSENT))
#elif defined(BUG_LEFT_TAKES)
#define CANDIDATE(c, b) (CACHE(c, b) != 0 \
    && (gate[b] == ABSENT || ((gate[b] == OPEN || gate[b] == LEFT) && gproc[b] == CACHE(c, b))))
#else
#define CANDIDATE(c, b) (CACHE(c, b) != 0 \
    && (gate[b] == ABSENT || (gate[b] == OPEN && gproc[b] == CACHE(c, b))))
#endif
#define ANY_CANDIDATE(c) (CANDIDATE(c, 0) || CANDIDATE(c, 1))

/* The body of every txn that gives item i to process p at address b, or to
 * `waiting` or `held`: record and marker in one; a gate that does not exist
 * is put as absent.  The caller has checked the versions. */
inline place(i, b, p) {
    if
    :: wstate[i] == ASSIGNED -> MPROC(wowner[i], i) = 0; MEPOCH(wowner[i], i) = 0
    :: wstate[i] == WAITING || wstate[i] == HELD -> MPROC(NA, i) = 0; MEPOCH(NA, i) = 0
    :: else
    fi;
    if
    :: wstate[i] == NONE || wstate[i] == DONE ->
#ifdef BUG_EPOCH_ONE
        wepoch[i] = 1
#else
        wepoch[i] = (wstate[i] == DONE -> wepoch[i] + 1 : floor_epoch + 1)
#endif
    :: else -> wepoch[i] = (wepoch[i] > floor_epoch -> wepoch[i] : floor_epoch) + 1
    fi;
    INV(EPOCHS, wepoch[i] > epoch_max[i]);
    epoch_max[i] = wepoch[i];
    if
    :: b < NA ->
        if
        :: gate[b] == ABSENT -> gate[b] = OPEN; gproc[b] = p; wrote_gate(b)
#ifdef BUG_SWITCH
        :: gate[b] != ABSENT && gproc[b] != p ->
            past[b] = past[b] | BIT(gproc[b]); gproc[b] = p; wrote_gate(b)
#endif
        :: else
        fi;
        INV(ONE_OWNER, gate[b] == OPEN && gproc[b] == p);
        INV(STAYS_FENCED, !IN(fenced[b], p));
        ABOVE_FORMER_LIFE(b, i)
        wstate[i] = ASSIGNED; wowner[i] = b; wproc[i] = p;
        MPROC(b, i) = p; MEPOCH(b, i) = wepoch[i]
    :: else ->
        wstate[i] = (b == TO_WAIT -> WAITING : HELD); wowner[i] = 0; wproc[i] = 0;
        MPROC(NA, i) = 1; MEPOCH(NA, i) = wepoch[i]
    fi;
    wrote_work(i)
}
