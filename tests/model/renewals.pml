/* renewals.pml - renewals of HTTP nodes in groups: many in one write, which is
 * not the registration's.  A model of its own: one address, two coordinators,
 * one engine.  docs/design/renewals.md is the design that it proves.
 *
 * The design decision: what a process works by is the number of the renewal
 * whose 200 it has, in the order in which renewals were committed.  Time is
 * only this: when a coordinator's window is over that began at the n-th
 * renewal, every lease of the n-th and those before it is over as well, whether
 * the coordinator has seen them or not.  All else may take as long as it likes.
 *
 * A ring is one coordinator's key of renewals for one session.  Of what is in
 * it only this matters: does it hold a renewal of the standing registration that
 * coordinator c has not counted (`unseen`)?  Bit NRING there: the registration
 * itself was written.
 *
 * Threads, by "what I read is still there": 0,1 the PUTs of coordinator 0,1;
 * 2,3 its removals; 4 the engine.
 *
 * Longer than 500 lines: PUTs, removals and the engine are one world, and its
 * many switches stand where the rule is that they take out. */
#include "bounds.pml"

#ifndef NBEAT
#define NBEAT 2         /* renewals, each sent until it is answered */
#endif
#ifndef NOWN
#define NOWN 0          /* renewals that are a write of their own: another body */
#endif
#ifndef NBACK
#define NBACK 0         /* coordinators that start again */
#endif
#ifndef NREM
#define NREM 1          /* coordinators that take away what nobody renews: 1, or 0 and 1 */
#endif
#if NREM > 1
#define TELL(r) unseen[0] = unseen[0] | BIT(r); unseen[1] = unseen[1] | BIT(r)
#else
#define TELL(r) unseen[1] = unseen[1] | BIT(r)
#endif
#define NRING 3
#define SELF NRING
#define ENGINE 4
#define BIT(x) (1 << (x))
#define IN(set, p) (((set) >> (p)) & 1)

/* ---- the store ---- */
byte reg = 1, name = 1;         /* the registration: its process, 0 none; what renewals call it */
bit doubted, wide;              /* what it says beside that */
bit fenced;                     /* the gate: shut, or open for gproc */
byte gproc = 1, past;
bit entry[NRING], ring_there[NRING];    /* of the session that writes ring r */
/* the key that is raised whenever something is taken: only its version counts */
byte cur_reg, cur_gate, cur_taken;
#define RAISE cur_taken = 0

/* ---- nodes ---- */
byte alive = 2, started = 1, told;      /* told: sets; that its work is gone */
byte lease[3];                  /* of process p: by which renewal it works; 0: it rests */
bit owed;                       /* a renewal that is not answered */
byte tries, last = 9, beats = NBEAT;

/* ---- coordinators: PUTs ---- */
bit up[2];
byte ring[2];
byte put[2];                    /* whose request is being carried out */
byte pstep[2], r_proc[2], r_name[2];
bit r_doubted[2], own[2];
#ifdef LISTED
bit listed[2];                  /* a start's listing was begun, after taken was read */
#endif
byte vname[2], vproc[2];         /* verified: read since taken was, and not barred */
/* ---- coordinators: removals ---- */
byte unseen[2], start[2], final[2];
byte dstep[2], dring[2];
byte cseen[NRING];              /* a dead one's ring was read to its end, then */
#ifdef MEMORY
byte over;                      /* leases up to this renewal are over by now */
#define IS_OVER(k) over = (over > (k) -> over : (k));
byte mine[2];                   /* the last renewal of it that c committed itself */
bit vwide[2], known_wide[2], extended;  /* extended: by an answer from memory */
byte brings;                    /* the instance that the node brings along: of which name; 0 none */
#else
#define IS_OVER(k)
#endif

/* ---- the engine ---- */
byte estep, seen, rproc, bereft, ordered;
bit forced;

byte n = 1;                     /* renewals committed */
byte nfault = NFAULT, nstart = NSTART, ncrash = NCRASH, nexp = NEXP, nord = NORD, nown = NOWN, nback = NBACK, nlate = NLATE, nleave = NLEAVE;
bit calm;

#define BARS(p) ((fenced && gproc == (p)) || IN(past, p))
#define FRESH(p) ((p) != 0 && (p) != gproc && !IN(past, p))
#define CAN_ANSWER(c) (up[c] && entry[ring[c]])

/* ---- the 200 ---- */
inline grant(p) {
    if
    :: IN(alive, p) && !IN(told, p) ->
        INV(LEASED, !IN(bereft, p));
        INV(BARRED, !BARS(p));
        lease[p] = n; owed = 0; tries = 0;
#ifdef MEMORY
        extended = 0; brings = name
#endif
    :: else
    fi
}
inline forget(c) {
    r_proc[c] = 0; r_name[c] = 0; r_doubted[c] = 0;
    cur_reg = cur_reg & ~BIT(c); cur_gate = cur_gate & ~BIT(c)
}
inline put_ends(c) {
    forget(c); put[c] = 0; pstep[c] = 0; own[c] = 0;
    cur_taken = (vname[c] == 0 -> cur_taken & ~BIT(c) : cur_taken)
}
/* 409: its work is another's, or its address is */
inline refuse(c) {
    REACHED(put_told);
    if :: IN(alive, put[c]) -> told = told | BIT(put[c]); lease[put[c]] = 0; owed = 0 :: else fi;
    put_ends(c)
}

#define P_TAKEN 1
#define P_REG 2
#define P_GATE 3
#define P_OWN 4
#define P_GROUP 5
#define P_LISTED 6
#define P_LISTED_GATE 7
#ifdef BUG_OTHERS_RENEWAL       /* by the address alone */
#define VERIFIED(c) (vname[c] != 0)
#else
#define VERIFIED(c) (vname[c] != 0 && vproc[c] == put[c])
#endif
#ifdef BUG_DOUBT_UNHEEDED
#define HEEDS(c) 0
#else
#define HEEDS(c) (r_doubted[c])
#endif
#if defined(BUG_NAMED_BY_WRITE)
#define NEXT_NAME(p) (name + 1)
#else       /* one process in one life of the key */
#define NEXT_NAME(p) (reg == (p) -> name : name + 1)
#endif
#ifdef BUG_TAKEN_UNCHECKED
#define TAKEN_OK(c) 1
#else
#define TAKEN_OK(c) (IN(cur_taken, c))
#endif
#ifdef BUG_ENTRY_UNCHECKED
#define ENTRY_OK(c) 1
#else
#define ENTRY_OK(c) (entry[ring[c]])
#endif
#define GROUP_OK(c) (TAKEN_OK(c) && ENTRY_OK(c) && ring_there[ring[c]])

inline write_own(c) {
    REACHED(own_write);
    if
    :: NEXT_NAME(put[c]) != name -> name = NEXT_NAME(put[c]); unseen[0] = 0; unseen[1] = 0; wide = 0
    :: else
    fi;
    reg = put[c]; doubted = 0; cur_reg = 0; n++;
    TELL(SELF);
    vname[c] = name; vproc[c] = reg
#ifdef MEMORY
    ;
#ifdef BUG_WATCHED_SHRINKS
    wide = (own[c] -> 1 - wide : wide);
#else
    wide = wide | own[c];
#endif
    vwide[c] = wide; mine[c] = n
#endif
}
inline write_group(c) {
    n++;
    if
    :: reg != 0 && vname[c] == name ->
        REACHED(grouped);
        TELL(ring[c])
    :: else -> REACHED(renewal_void)    /* of a registration that is not there any more */
    fi
#ifdef MEMORY
    ;
    mine[c] = n
#endif
}
#ifdef LISTED
#define UNLISTED(c) listed[c] = 0;
#else
#define UNLISTED(c)
#endif
inline killed(c) {
    up[c] = 0; UNLISTED(c) vname[c] = 0; vproc[c] = 0; put_ends(c); dstep[c] = 0; dring[c] = 0;
    unseen[c] = 0; final[c] = 0;
    cur_reg = cur_reg & ~BIT(2+c); cur_taken = cur_taken & ~BIT(2+c)
#ifdef MEMORY
    ;
    mine[c] = 0; vwide[c] = 0; known_wide[c] = 0
#endif
}

proctype Puts(byte c) {
end: do
#ifdef BUG_ACK_FIRST    /* answered when it is taken into the group */
    :: d_step { pstep[c] == 0 && put[c] != 0 && VERIFIED(c) -> grant(put[c]); lease[put[c]] = (lease[put[c]] == 0 -> 0 : n + 1); pstep[c] = P_GROUP }
#else
    :: d_step { pstep[c] == 0 && put[c] != 0 && VERIFIED(c) -> pstep[c] = P_GROUP }
#endif
    :: d_step { pstep[c] == 0 && put[c] != 0 && !VERIFIED(c) -> pstep[c] = P_TAKEN }
    :: d_step { pstep[c] == 0 && put[c] != 0 && nown > 0 && !calm -> nown--; own[c] = 1; pstep[c] = P_TAKEN }
#ifdef MEMORY   /* younger than a third of the ttl, and watched for that much longer */
#ifdef BUG_MEMORY_NARROW
#define MAY_REMEMBER(c) 1
#elif defined(BUG_MEMORY_UNNAMED)
#define MAY_REMEMBER(c) (vwide[c])
#else   /* who left begins anew, without it */
#define MAY_REMEMBER(c) (vwide[c] && brings == vname[c])
#endif
    :: d_step { pstep[c] == 0 && put[c] != 0 && VERIFIED(c) && MAY_REMEMBER(c) && mine[c] > over ->
        REACHED(from_memory);
        if
        :: IN(alive, put[c]) && !IN(told, put[c]) ->
            INV(LEASED, !IN(bereft, put[c]) || IN(ordered, put[c]));
            lease[put[c]] = (lease[put[c]] > mine[c] -> lease[put[c]] : mine[c]);
            extended = 1; owed = 0; tries = 0
        :: else
        fi;
        put_ends(c) }
#endif

#ifdef LISTED   /* at a start: taken, then the watches; what they tell counts as read */
    :: d_step { pstep[c] == 0 && put[c] == 0 && up[c] && !listed[c] ->
        listed[c] = 1; vname[c] = 0; vproc[c] = 0;
#ifndef BUG_LISTED_BEFORE
        cur_taken = cur_taken | BIT(c);
#endif
        pstep[c] = P_LISTED }
    :: d_step { pstep[c] == P_LISTED ->
        r_proc[c] = reg; r_name[c] = name; r_doubted[c] = doubted;
#ifdef MEMORY
        vwide[c] = wide;
#endif
        pstep[c] = P_LISTED_GATE }
    :: d_step { pstep[c] == P_LISTED_GATE ->
#ifdef BUG_LISTED_BEFORE
        cur_taken = cur_taken | BIT(c);
#endif
        if
        :: r_proc[c] != 0 && !r_doubted[c] && !BARS(r_proc[c]) ->
            REACHED(told_verified); vname[c] = r_name[c]; vproc[c] = r_proc[c]
        :: else -> cur_taken = cur_taken & ~BIT(c)
        fi;
        forget(c); pstep[c] = 0 }
#endif

    /* read afresh: first what is taken, then the registration, then the gate */
    :: d_step { pstep[c] == P_TAKEN ->
        vname[c] = 0; vproc[c] = 0;
#ifndef BUG_TAKEN_LAST
        cur_taken = cur_taken | BIT(c);
#endif
        pstep[c] = P_REG }
    :: d_step { pstep[c] == P_REG ->
        r_proc[c] = reg; r_name[c] = name; r_doubted[c] = doubted; cur_reg = cur_reg | BIT(c);
#ifdef MEMORY
        vwide[c] = wide; mine[c] = (reg == put[c] -> mine[c] : 0);
#endif
        pstep[c] = P_GATE }
    :: d_step { pstep[c] == P_GATE ->
        cur_gate = cur_gate | BIT(c);
#ifdef BUG_TAKEN_LAST
        cur_taken = cur_taken | BIT(c);
#endif
        if
        :: BARS(put[c]) || r_proc[c] > put[c] -> refuse(c)
        :: !(BARS(put[c]) || r_proc[c] > put[c]) && r_proc[c] == put[c] && !HEEDS(c) && !own[c] ->
            vname[c] = r_name[c]; vproc[c] = put[c]; forget(c); pstep[c] = P_GROUP
        :: else -> pstep[c] = P_OWN
        fi }

    /* a write of its own: registration and gate at the versions read */
    :: d_step { pstep[c] == P_OWN ->
        if
        :: IN(cur_reg, c) && IN(cur_gate, c) -> write_own(c); grant(put[c]); put_ends(c)
        :: else -> REACHED(put_refused); forget(c); pstep[c] = P_TAKEN
        fi }
    /* the window's write: what is taken, and the own entry */
    :: d_step { pstep[c] == P_GROUP && GROUP_OK(c) ->
        write_group(c);
#ifndef BUG_ACK_FIRST
        grant(put[c]);
#endif
        put_ends(c) }
    :: d_step { pstep[c] == P_GROUP && GROUP_OK(c) && ncrash > 0 && !calm ->    /* killed before it answers */
        ncrash--; write_group(c); killed(c) }
    :: d_step { pstep[c] == P_GROUP && !TAKEN_OK(c) ->
        REACHED(group_refused);
#ifdef BUG_VERIFIED_FOR_EVER    /* the new version is enough */
        cur_taken = cur_taken | BIT(c)
#else
        pstep[c] = P_TAKEN
#endif
        }
    :: d_step { pstep[c] == P_GROUP && TAKEN_OK(c) && !GROUP_OK(c) ->   /* 503: another one, please */
        REACHED(entry_refused); vname[c] = 0; vproc[c] = 0; put_ends(c) }
    :: d_step { pstep[c] == P_GROUP && TAKEN_OK(c) && !GROUP_OK(c) ->   /* it writes itself instead */
        REACHED(entry_alone); vname[c] = 0; vproc[c] = 0; own[c] = 1; pstep[c] = P_TAKEN }
    od
}

#define D_READ 1
#define D_DOUBT 2
#define D_RING 3
#define D_DELETE 4
#ifdef MEMORY
#define OUTLIVES(c) (extended && !known_wide[c])
#else
#define OUTLIVES(c) 0
#endif
/* its window, which began at renewal start[c], may be over */
#define WINDOW_OVER(c) (reg != 0 && (lease[reg] == 0 || lease[reg] > start[c] || OUTLIVES(c)))
#define LIFE(c) start[c] = n; dstep[c] = 0; dring[c] = 0; cur_reg = cur_reg & ~BIT(2+c); cur_taken = cur_taken & ~BIT(2+c)
#ifdef BUG_WATCH_BESIDE
#define COUNTED(c) start[c] = n
#else
#define COUNTED(c) LIFE(c)
#endif
#if defined(BUG_NO_DOUBT)
#define MARK
#else
#define MARK doubted = 1; cur_reg = BIT(2+c);
#endif
#ifdef BUG_DOUBT_SILENT
#define RAISE_AT_DOUBT
#else
#define RAISE_AT_DOUBT RAISE;
#endif
#define SEES(c, r) \
    :: d_step { up[c] && IN(unseen[c], r) -> \
        unseen[c] = unseen[c] & ~BIT(r); COUNTED(c) }

/* coordinator c takes away a registration that nobody renews */
proctype Removal(byte c) {
end: do
    /* what its watch tells, whenever it does */
    SEES(c, 0)
    SEES(c, 1)
#if NBACK > 0
    SEES(c, 2)
#endif
    :: d_step { up[c] && IN(unseen[c], SELF) ->
        unseen[c] = unseen[c] & ~BIT(SELF);
#ifdef MEMORY
        known_wide[c] = wide;
#endif
        COUNTED(c) }
#ifdef BUG_GAP_IGNORED      /* a ring goes round before it looks, and it does not mind */
    :: d_step { up[c] && (unseen[c] & 7) != 0 && !calm -> unseen[c] = unseen[c] & BIT(SELF) }
#endif

    :: d_step { dstep[c] == 0 && up[c] && WINDOW_OVER(c) ->
        IS_OVER(start[c]) dstep[c] = D_READ }
    :: d_step { dstep[c] == D_READ ->
        if
        :: reg == 0 -> dstep[c] = 0
        :: reg != 0 && IN(unseen[c], SELF) ->
            unseen[c] = unseen[c] & ~BIT(SELF);
#ifdef MEMORY
            known_wide[c] = wide;
#endif
            LIFE(c)
        :: else ->
            cur_reg = cur_reg | BIT(2+c); cur_taken = cur_taken | BIT(2+c);
            dstep[c] = (doubted -> D_RING : D_DOUBT)
        fi }
    /* one txn: the registration is marked at its version, taken is raised */
    :: d_step { dstep[c] == D_DOUBT ->
        if
        :: IN(cur_reg, 2+c) && IN(cur_taken, 2+c) ->
            REACHED(doubt); MARK RAISE_AT_DOUBT
            dstep[c] = D_RING
        :: else -> REACHED(doubt_refused); cur_reg = cur_reg & ~BIT(2+c); cur_taken = cur_taken & ~BIT(2+c); dstep[c] = 0
        fi }
    /* from here on no group takes it: every ring, afresh, but those whose end
     * was read when nobody could write them any more */
#ifdef BUG_NOT_AFRESH
    :: d_step { dstep[c] == D_RING -> dstep[c] = D_DELETE }
#else
    :: d_step { dstep[c] == D_RING && dring[c] < NRING ->
        if
        :: IN(final[c], dring[c]) || !ring_there[dring[c]] -> dring[c]++
        :: !IN(final[c], dring[c]) && ring_there[dring[c]] && IN(unseen[c], dring[c]) ->
            REACHED(still_alive);
            unseen[c] = unseen[c] & ~BIT(dring[c]); LIFE(c)
        :: else ->
            if :: !entry[dring[c]] -> final[c] = final[c] | BIT(dring[c]) :: else fi;
            dring[c]++
        fi }
    :: d_step { dstep[c] == D_RING && dring[c] == NRING -> dring[c] = 0; dstep[c] = D_DELETE }
#endif
    :: d_step { dstep[c] == D_DELETE ->
        if
        :: IN(cur_reg, 2+c) ->
            REACHED(expired);
            INV(RENEWED, lease[reg] == 0);
            reg = 0; doubted = 0; cur_reg = 0; unseen[0] = 0; unseen[1] = 0
        :: else -> REACHED(delete_refused)
        fi;
        cur_reg = cur_reg & ~BIT(2+c); cur_taken = cur_taken & ~BIT(2+c); dstep[c] = 0 }
    od
}

#define E_READ 1
#define E_NODES 2
#define E_INTENT 3
#define E_VERIFY 4
#define E_MOVE 5
#define E_OPEN 6
#define TAKEN_READ cur_taken = cur_taken | BIT(ENGINE)
#ifdef BUG_INTENT_SILENT
#define INTENT_OK (IN(cur_gate, ENGINE))
#define RAISE_AT_INTENT
#else
#define INTENT_OK (IN(cur_gate, ENGINE) && IN(cur_taken, ENGINE))
#define RAISE_AT_INTENT RAISE;
#endif
#define REST cur_gate = cur_gate & ~BIT(ENGINE); cur_taken = cur_taken & ~BIT(ENGINE); seen = 0; forced = 0; estep = 0

/* as in engine.pml, of whoever has the lock */
proctype Engine() {
end: do
    :: d_step { estep == 0 && ((!fenced && reg != gproc) || (fenced && FRESH(reg))) -> estep = E_READ }
    :: d_step { estep == 0 && nord > 0 && !calm && !fenced -> nord--; forced = 1; estep = E_READ }
    :: d_step { estep == E_READ ->
        cur_gate = cur_gate | BIT(ENGINE); TAKEN_READ; estep = E_NODES }
    :: d_step { estep == E_NODES ->
        seen = reg;
        if
        :: !fenced && (seen != gproc || forced) -> estep = E_INTENT
        :: fenced && FRESH(seen) -> estep = E_OPEN
        :: else -> REST
        fi }
    :: d_step { estep == E_INTENT ->
        if
        :: INTENT_OK ->
            REACHED(intent);
            rproc = gproc;
            if :: forced -> ordered = ordered | BIT(gproc) :: else fi;
            if
            :: FRESH(seen) -> REACHED(replaced); past = past | BIT(gproc); gproc = seen
            :: else -> fenced = 1
            fi;
            cur_gate = 0; RAISE_AT_INTENT
            seen = 0; forced = 0; estep = E_VERIFY
        :: else -> REACHED(intent_refused); REST
        fi }
    :: d_step { estep == E_VERIFY ->
        if
        :: reg == rproc && !IN(ordered, rproc) ->
            REACHED(take_back);
            fenced = 0; gproc = rproc; past = past & ~BIT(rproc); cur_gate = 0; rproc = 0; REST
        :: else -> estep = E_MOVE
        fi }
    :: d_step { estep == E_MOVE ->
        REACHED(moved);
        INV(LEASED, lease[rproc] == 0 || IN(ordered, rproc));
        bereft = bereft | BIT(rproc); rproc = 0; REST }
    :: d_step { estep == E_OPEN ->
        if
        :: IN(cur_gate, ENGINE) -> REACHED(admitted); past = past | BIT(gproc); gproc = seen; fenced = 0; cur_gate = 0
        :: else -> REACHED(opening_refused)
        fi;
        REST }
    od
}

/* ---- nodes, faults ---- */
#define SENDS(c) \
    :: d_step { owed && put[c] == 0 && last != c && (CAN_ANSWER(0) || CAN_ANSWER(1)) \
            && (put[1-(c)] != started || (nlate > 0 && !calm)) -> \
        if :: put[1-(c)] == started -> nlate-- :: else fi; \
        last = c; tries++; \
        ONE_RETRY_OK \
        if :: up[c] -> put[c] = started :: else fi }
#ifdef ONE_RETRY
#define ONE_RETRY_OK INV(ANSWERED, tries <= 2);
#else
#define ONE_RETRY_OK
#endif
#ifdef MEMORY
#define KNOWS(c) known_wide[c] = wide
#else
#define KNOWS(c)
#endif
#define COORDINATOR(c) \
    :: d_step { up[c] && ncrash > 0 && !calm -> ncrash--; killed(c) } \
    :: d_step { !up[c] && nback > 0 && !calm && !ring_there[2] -> \
        nback--; up[c] = 1; ring[c] = 2; ring_there[2] = 1; entry[2] = 1; start[c] = n; KNOWS(c) }
#ifdef BUG_FORGOTTEN_EARLY
#define OUTLIVED(p, r) 1
#else
#define OUTLIVED(p, r) (lease[p] == 0 || lease[p] >= cseen[r])
#endif
#define RING(r) \
    /* whoever is dead has no session at last; who lives may lose his, and not know */ \
    :: d_step { entry[r] && !(up[0] && ring[0] == r) && !(up[1] && ring[1] == r) -> entry[r] = 0 } \
    :: d_step { entry[r] && nexp > 0 && !calm -> nexp--; entry[r] = 0 } \
    /* a dead one's ring is read to its end; the longest ttl of it later it is forgotten */ \
    :: d_step { ring_there[r] && !entry[r] && cseen[r] == 0 -> cseen[r] = n + 1 } \
    :: d_step { ring_there[r] && cseen[r] != 0 && OUTLIVED(1, r) && OUTLIVED(2, r) -> \
        REACHED(ring_forgotten); \
        IS_OVER(cseen[r] - 1) \
        ring_there[r] = 0; cseen[r] = 0; \
        unseen[0] = unseen[0] & ~BIT(r); unseen[1] = unseen[1] & ~BIT(r) }

#ifdef MEMORY
#define NAMELESS brings = 0;
#else
#define NAMELESS
#endif
#ifdef BUG_LEAVE_SILENT
#define RAISE_AT_LEAVE
#else
#define RAISE_AT_LEAVE RAISE
#endif
proctype World() {
end: do
    #ifdef LEAVE    /* in order; it may come again, by any coordinator */
    :: d_step { nleave > 0 && !calm && !owed && reg == started && IN(alive, reg) ->
        REACHED(left);
        nleave--; lease[reg] = 0; NAMELESS reg = 0; doubted = 0; wide = 0; cur_reg = 0; unseen[0] = 0; unseen[1] = 0; RAISE_AT_LEAVE }
#endif
    /* it renews, by any coordinator in turn, until it is answered */
    :: d_step { !owed && beats > 0 && !calm && IN(alive, started) && !IN(told, started) -> beats--; owed = 1; tries = 0; last = 9 }
    SENDS(0)
    SENDS(1)
    /* its lease is over by its own clock; it dies; another one starts there */
    :: d_step { lease[started] != 0 && nfault > 0 && !calm -> nfault--; lease[started] = 0 }
    :: d_step { alive != 0 && nfault > 0 && !calm -> nfault--; alive = 0; lease[started] = 0; owed = 0; tries = 0 }
    :: d_step { alive == 0 && nstart > 0 && !calm -> nstart--; started++; alive = BIT(started); beats++ }
    COORDINATOR(0)
    COORDINATOR(1)
    RING(0)
    RING(1)
#if NBACK > 0
    RING(2)
#endif
    :: !calm -> calm = 1
    od
}

#if NREM > 1
#define REMOVER_UP (up[0] || up[1])
#else
#define REMOVER_UP (up[1])
#endif
proctype Monitor() {
end: do
    :: timeout -> atomic {
        assert(calm);
        INV(FINISHED, put[0] == 0 && put[1] == 0);
        INV(ANSWERED, !owed || (!CAN_ANSWER(0) && !CAN_ANSWER(1)));
        INV(FINISHED, reg == 0 || lease[reg] != 0 || !REMOVER_UP);
        INV(FINISHED, estep == 0 && (fenced || reg == gproc) && !(fenced && FRESH(reg)));
        break }
    od
}

/* with -DLIVE and pan -l -f: a cycle that is left once calm is a livelock */
proctype Progress() {
progress: calm
}

init { atomic {
    REACH_BEGIN;
    up[0] = 1; up[1] = 1; ring[1] = 1;
    entry[0] = 1; entry[1] = 1; ring_there[0] = 1; ring_there[1] = 1;
    lease[1] = 1; start[0] = 1; start[1] = 1;
    run Puts(0); run Puts(1);
#if NREM > 1
    run Removal(0);
#endif
    run Removal(1);
    run Engine(); run World();
#ifdef LIVE
    run Progress()
#else
    run Monitor()
#endif
} }
