/* nodes.pml - with -DLEASES: what a process is told itself, and by what it
 * works.
 *
 * The design decision: a process has a lease, by its own clock, or it rests.
 * It may be over at any moment; what registers a process and what gives it its
 * lease are steps of their own, so that a coordinator can stop between any two
 * of them.  One process at an address at a time: whoever starts finds the
 * former one dead, but for its requests, which may wait in a socket.
 *
 *   registration over HTTP   read registration and gate; one txn that checks
 *                            both; its answer is the lease.  Where no gate
 *                            stands, a txn cannot check that: the registration,
 *                            then a look at the gate, then the lease
 *   -DAGENTS                 the registration, then a look at the gate, then
 *                            the lease
 *   -DLEAVE                  one txn: the registration goes, the gate says so */
#ifdef LEASES
#define P_PUT 1
#define P_LOOK 2
#define P_LEAVE 3
#define P_BLIND 4
/* may p have a lease, by its gate? */
#define BARS(a, p) ((gate[a] == FENCED && gproc[a] == (p)) || IN(past[a], p))
#ifdef BUG_OLDER_OVERWRITES
#define EARLIER(a, p) 0
#else
#define EARLIER(a, p) (reg[a] > (p))
#endif
#ifdef BUG_LEASE_UNGATED
#define PUT_GATE_OK 1
#else
#define PUT_GATE_OK put_gate
#endif
#ifdef BUG_LEAVE_UNCHECKED
#define LEAVE_OK put_reg
#else
#define LEAVE_OK (put_reg && put_gate)
#endif
inline put_ends() { put_step = 0; put_a = 0; put_p = 0; put_reg = 0; put_gate = 0 }
inline grant(a, p) {
    if
    :: IN(alive[a], p) ->
        REACHED(leased);
        INV(LEASED, !IN(bereft[a], p));
        lease[a] = lease[a] | BIT(p)
    :: else -> REACHED(late_put)
    fi
}
#ifdef AGENTS
#define REGISTERS(a, p) \
    :: d_step { put_step == 0 && IN(alive[a], p) && reg[a] == 0 -> \
        register(a, p); put_a = a; put_p = p; \
        AGENT_LEASED \
        put_step = P_LOOK }
#ifdef BUG_LEASE_BEFORE_LOOK    /* the registration alone is the lease */
#define AGENT_LEASED grant(put_a, put_p);
#else
#define AGENT_LEASED
#endif
#else
/* by a process, or long after it was sent: then it may be dead */
#define SENDS(a, p) ((IN(alive[a], p) && !IN(lease[a], p)) \
    || (p <= started[a] && !IN(alive[a], p) && nlate > 0 && !calm))
#define REGISTERS(a, p) \
    :: d_step { put_step == 0 && SENDS(a, p) && !BARS(a, p) && !EARLIER(a, p) -> \
        if :: IN(alive[a], p) :: else -> nlate-- fi; \
        put_a = a; put_p = p; put_reg = 1; put_gate = 1; \
        put_step = (gate[a] == ABSENT -> P_BLIND : P_PUT) }
#endif
#ifdef LEAVE
#define LEAVES(a, p) \
    :: d_step { put_step == 0 && nleave > 0 && !calm && reg[a] == p && IN(alive[a], p) \
            && ((gate[a] == OPEN || gate[a] == DRAINING) && gproc[a] == p) -> \
        nleave--; put_a = a; put_p = p; put_reg = 1; put_gate = 1; put_step = P_LEAVE }
#else
#define LEAVES(a, p)
#endif

/* a coordinator that carries out what nodes ask for, one request at a time */
proctype Nodes() {
end: do
    REGISTERS(0, 1)
    REGISTERS(0, 2)
    REGISTERS(1, 1)
    REGISTERS(1, 2)
    LEAVES(0, 1)
    LEAVES(0, 2)
    LEAVES(1, 1)
    :: d_step { put_step == P_PUT ->
        if
        :: put_reg && PUT_GATE_OK -> register(put_a, put_p); grant(put_a, put_p)
        :: else -> REACHED(put_refused)
        fi;
        put_ends() }
    :: d_step { put_step == P_BLIND ->
        if
        :: put_reg ->
            register(put_a, put_p);
#ifdef BUG_BLIND_LEASE      /* no gate was there: that is the lease */
            grant(put_a, put_p); put_ends()
#else
            put_step = P_LOOK
#endif
        :: else -> REACHED(put_refused); put_ends()
        fi }
    :: d_step { put_step == P_LOOK ->
        if
        :: reg[put_a] == put_p && !BARS(put_a, put_p) -> grant(put_a, put_p)
        :: else -> REACHED(put_refused)
        fi;
        put_ends() }
#ifdef LEAVE
    :: d_step { put_step == P_LEAVE ->
        if
        :: LEAVE_OK ->
            REACHED(left);
            lease[put_a] = lease[put_a] & ~BIT(put_p);
            register(put_a, 0);
            gate[put_a] = LEFT; wrote_gate(put_a);
#ifndef BUG_LEAVER_INHERITS
            heir_of[put_a] = 0; lease_to[put_a] = 0; lease_from[put_a] = 0
#endif
        :: else -> nleave++; REACHED(leave_refused)
        fi;
        put_ends() }
#endif
    od
}

/* ---- what time and faults do to a node ---- */
#ifdef BUG_HEARSAY      /* it believes in a session that the registry has ended */
#define MAY_END(a) (!IN(lease[a], reg[a]) || (nfault > 0 && !calm))
#else
#define MAY_END(a) (!IN(lease[a], reg[a]))
#endif
#define NODE(a) \
    /* its lease is over by its own clock: it rests */ \
    :: d_step { lease[a] != 0 && nfault > 0 && !calm -> nfault--; lease[a] = 0 } \
    :: d_step { alive[a] != 0 && nfault > 0 && !calm -> nfault--; alive[a] = 0; lease[a] = 0 } \
    /* later the registry ends what nobody has renewed */ \
    :: d_step { reg[a] != 0 && MAY_END(a) && (!calm || !IN(alive[a], reg[a])) -> register(a, 0) } \
    :: d_step { started[a] < NP && nstart > 0 && !calm -> \
        nstart--; started[a]++; alive[a] = BIT(started[a]); lease[a] = 0 }
#endif
