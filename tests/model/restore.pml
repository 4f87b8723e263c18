/* restore.pml - a store that is put back to what it was, and the people who
 * accept it.  A model of its own: one item, two coordinators that move it
 * between two owners, two people.
 *
 * The design decision: what owners were told is kept beside the store, as a set
 * of epochs for each, and survives what the store loses.  An engine's move is a
 * read and a txn; accepting is a lock, a floor, the item, the incarnation, each
 * a txn of its own, and whoever does it may be killed after any of them.  With
 * the floor goes a mark, if there is none, and then all are waited for: a fencing
 * number is the store's own above the base that was read when the session began,
 * so that a session from before must not get a lock after the store is open.
 *
 * Somebody remembers: a coordinator that saw something of what is lost, and
 * loses that memory only when it, or the other one, has written the mark.  And
 * he looks before anybody acts who does not: that is what `settle` is for, of
 * which time is not in the model.  LIFT is above all that was told since the
 * backup, as 2^20 is.  Positions are compared as long as they are lower: that
 * writes of others lift a store over what is remembered before anybody looks is
 * left out.  With UNSEEN nobody remembers, and a person accepts the store because
 * he knows: what is done before is nobody's fault, but once all have stopped
 * nothing is. */
#define LIFT 6
#define NOBODY 9
#ifndef NLOSE
#define NLOSE 1                 /* restarts without memory, each */
#endif
#ifndef NKILL
#define NKILL 1                 /* people killed */
#endif

/* the store, and its backup */
byte position = 1, incarnation = 1, floor, epoch = 1, owner, version = 1;
bit marked;
byte lock = NOBODY;
byte b_position, b_epoch, b_owner, b_version;
bit lost, opened;
bit quiet;                      /* all had stopped, who acted on it */

/* owners' ledger */
int told[2];
byte highest = 1;

/* coordinators */
byte known[2], at[2];           /* position, incarnation; 0: no memory */
bit session[2], back[2];
bit base[2];                    /* of the session's fencing numbers: the new one */
byte losses, kills, moves;

#define DOUBT (lost && !opened)
#ifdef UNSEEN
#define STILL (quiet && !opened)
#define NOTICED 1
#else
#define STILL DOUBT
#define NOTICED marked
#endif
#define LOWER(c) (at[c] == incarnation && known[c] > position)
/* would notice, and has not looked */
#define TO_LOOK(c) (LOWER(c) && !back[c])
#ifdef BUG_NO_COMPARE
#define FALLEN(c) 0
#else
#define FALLEN(c) LOWER(c)
#endif
#ifdef BUG_MARK_UNREAD
#define MARKED 0
#else
#define MARKED marked
#endif
#ifdef BUG_NO_SETTLE
#define SETTLED(c) 1
#else
#define SETTLED(c) !TO_LOOK(1-(c))
#endif
#ifdef BUG_NO_MARK
#define MARK skip
#else
#define MARK marked = 1
#endif
#ifdef BUG_NO_OWN_MARK
#define OWN_MARK skip
#else
#define OWN_MARK marked = 1
#endif
#define ABOVE(e) (((e) > floor -> (e) : floor) + 1)

inline tell() {
#ifdef UNSEEN
    assert(DOUBT || !((told[1-owner] >> epoch) & 1));
#else
    assert(!((told[1-owner] >> epoch) & 1));
#endif
    told[owner] = told[owner] | (1 << epoch);
    highest = (epoch > highest -> epoch : highest)
}
inline leave(c) {
    session[c] = 0;
    lock = (lock == c -> NOBODY : lock)
}
inline saw(c) {
    known[c] = position; at[c] = incarnation
}

proctype Coordinator(byte c) {
    byte read;                  /* version of the item; 0: not read */
end:
    do
    /* a session: position, then the key */
    :: atomic { !session[c] && !back[c] && (FALLEN(c) || (at[c] != 0 && incarnation < at[c])) ->
        back[c] = 1; MARK }
    :: atomic { !session[c] && !back[c] && MARKED -> back[c] = 1 }
    :: atomic { !session[c] && !back[c] && !FALLEN(c) && !MARKED && SETTLED(c) ->
        session[c] = 1; base[c] = opened; read = 0; saw(c) }
    /* it asks again: a successor of what it knew */
    :: atomic { back[c] && !marked && opened && incarnation > at[c] ->
        back[c] = 0; session[c] = 1; base[c] = opened; read = 0; saw(c) }
    /* its watch */
    :: atomic { session[c] && MARKED -> leave(c); back[c] = 1 }
    :: atomic { session[c] && at[c] != incarnation -> leave(c) }
    /* the engine */
    :: atomic { session[c] && lock == NOBODY && moves < 4 ->
        assert(base[c] == opened);
        lock = c; read = 0 }
    :: atomic { session[c] && lock == c && read == 0 -> read = version; saw(c) }
    :: atomic { session[c] && lock == c && read != 0 ->
        if
        :: read == version && moves < 4 ->
            assert(!STILL);
            moves++; epoch = ABOVE(epoch); owner = 1 - owner; version++;
            position++; saw(c); tell();
#ifdef USED_AGAIN
            assert(!opened)
#endif
        :: else
        fi;
        read = 0; lock = NOBODY }
    /* killed; it begins again with what it remembers, or without */
    :: atomic { losses < NLOSE && (!DOUBT || back[0] || back[1] || TO_LOOK(1-c)) ->
        losses++; leave(c); back[c] = 0; known[c] = 0; at[c] = 0 }
    :: atomic { losses < NLOSE && !DOUBT -> losses++; leave(c); back[c] = 0 }
    od
}

proctype World() {
    atomic { b_position = position; b_epoch = epoch; b_owner = owner; b_version = version };
end:
    atomic { (known[0] > b_position || known[1] > b_position) ->
        lost = 1; position = b_position; epoch = b_epoch; owner = b_owner; version = b_version;
#ifdef UNSEEN
        known[0] = 0; at[0] = 0; known[1] = 0; at[1] = 0;
#endif
        lock = NOBODY; session[0] = 0; session[1] = 0 }
}

/* Each step is a txn that checks the lock; whoever is killed loses it. */
#define STEP(what) \
    if \
    :: atomic { lock == me -> what } \
    :: lock != me -> goto again \
    :: atomic { kills < NKILL -> kills++; lock = (lock == me -> NOBODY : lock); goto again } \
    fi

inline lift_floor() {
    floor = (epoch > floor -> epoch : floor) + LIFT; position++;
    OWN_MARK
}
inline give_again() {
#ifdef BUG_NO_FLOOR
    epoch++; version++; position++
#else
    if
    :: epoch <= floor -> epoch = floor + 1; version++; position++
    :: else
    fi
#endif
}
inline open() {
    if
    :: incarnation == looked ->
        incarnation++; marked = 0; position++; opened = 1;
        assert(epoch > highest);
        tell()
    :: else
    fi
}

proctype Person(byte me) {
    byte looked;
end:
again:
    atomic { DOUBT && NOTICED -> looked = incarnation };
    if
    :: atomic { lock == NOBODY && incarnation == looked -> lock = me }
    :: incarnation != looked -> goto again
    fi;
#ifdef BUG_INCARNATION_FIRST
    STEP(open());
    STEP(lift_floor());
    STEP(give_again());
#else
    STEP(lift_floor());
#ifndef BUG_NO_QUIET
    if                          /* or waits */
    :: atomic { lock == me && !session[0] && !session[1] -> quiet = 1 }
    :: lock != me -> goto again
    :: atomic { kills < NKILL && lock == me -> kills++; lock = NOBODY; goto again }
    fi;
#endif
    STEP(give_again());
    STEP(open());
#endif
    atomic { lock = (lock == me -> NOBODY : lock) }
}

init {
    atomic {
        told[0] = 2;            /* epoch 1 */
        run World(); run Coordinator(0); run Coordinator(1);
        run Person(2); run Person(3) }
}
