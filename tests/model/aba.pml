/* aba.pml - versions that repeat.  In failover.pml a version is never seen
 * twice; a registry that counts a key's writes from 1 gives a key that was
 * deleted and made again the versions of the old one.  This model has real
 * numbers, and a writer that stops between its read and its commit while a key
 * goes and comes back.
 *
 * -DGATE: a submit has read a gate; that one is forgotten, and another process
 * gets one at the same version.  Holds because forgetting raises the floor, which
 * the submit has read before the gate and checks.  -DBUG_GATE_REMOVED: the gate
 * goes, closed first and with nobody's work lost by that, and the floor stays.
 * -DBUG_FLOOR_LAST: the floor is read after the gate.  An engine's move checks
 * its lock instead: it is forgotten in a hold in which nothing was written
 * before.  -DBUG_SAME_HOLD: it is not.
 *
 * -DPUT: a heartbeat has read a gate that does not bar its sender; that one is
 * forgotten, and the next one bars him at the same version.  Holds because the
 * gate is looked at again behind the write, and INTENT reads the registrations
 * behind its own.  -DBUG_NO_LOOK: it is not.
 *
 * -DRECORD: a `done` has read an item; another one ends it, it is collected,
 * and its id is used again.  Holds because a finished item is kept longer than
 * a session lasts, and nothing is sent on a read of an earlier session.
 * -DBUG_SHORT_KEEP: it is collected while that session still lives.
 *
 * -DREGISTRATION: a PUT, a leave or a removal has read a node's registration;
 * that one goes, and another process registers and renews until the version is
 * the same.  Holds because a second key, whose name is never used again, comes
 * and goes with the registration, and every write checks it.
 * -DBUG_ONE_LIFE: nothing but the registration's own version is checked. */
#define OPEN 1
#define CLOSED 2

#ifdef GATE
byte version, state, process;       /* of the gate; version 0: absent */
byte owner;                         /* the process that the item was given to */
byte floor, hold;                   /* versions that never repeat: of the floor, of the lock */

active proctype Submit() {
    byte v, p, f;
#ifdef BUG_FLOOR_LAST
end: atomic { version != 0 && state == OPEN -> v = version; p = process };
    f = floor;
#else
    f = floor;
end: atomic { version != 0 && state == OPEN -> v = version; p = process };
#endif
    atomic {
        if
        :: version == v && floor == f -> owner = p; assert(state == OPEN && process == p)
        :: else
        fi }
}

active proctype Move() {
    byte v, p, h;
    h = hold;
end: atomic { version != 0 && state == OPEN -> v = version; p = process };
    atomic {
        if
        :: version == v && hold == h -> owner = p; assert(state == OPEN && process == p)
        :: else
        fi }
}

active proctype Gate() {
    atomic { version = 1; state = OPEN; process = 1 };
    atomic { version++; state = CLOSED };
#ifndef BUG_SAME_HOLD
    hold++;
#endif
#ifdef BUG_GATE_REMOVED
    version = 0;
#else
    atomic { version = 0; floor++ };
#endif
    atomic { version = 1; state = OPEN; process = 2 }
}
#endif

#ifdef PUT
byte version;                       /* of the gate; version 0: absent */
bit bars, registered, lease, moved;

active proctype Put() {
    byte v;
end: atomic { version != 0 && !bars -> v = version };
    if
    :: atomic { version == v -> registered = 1 };
#ifndef BUG_NO_LOOK
        if
        :: version == 0 || !bars -> lease = 1
        :: else
        fi
#else
        lease = 1
#endif
    :: atomic { version != v -> skip }
    fi;
    assert(!(lease && moved))
}

active proctype Gate() {
    version = 1;                    /* closed for somebody else */
endgate: atomic { !registered -> version = 0 };
    atomic { version = 1; bars = 1 };
    if                              /* INTENT's second read */
    :: atomic { !registered -> moved = 1 }
    :: atomic { registered -> bars = 0; version++ }
    fi;
    assert(!(lease && moved))
}
#endif

#ifdef RECORD
byte version, incarnation;          /* of the item; version 0: absent */
bool finished;
bool session = true;                /* the one in which the late `done` was prepared */

active proctype Done() {
    byte v, i;
end: atomic { version != 0 && !finished -> v = version; i = incarnation };
    atomic {
        if
        :: version == v && session -> assert(incarnation == i); finished = true; version++
        :: else
        fi }
}

active proctype Item() {
    atomic { version = 1; incarnation = 1 };
end: atomic { !finished -> finished = true; version++ };
#ifndef BUG_SHORT_KEEP
    session = false;
#endif
    atomic { version = 0; finished = false };
    atomic { version = 1; incarnation = 2 }
}
#endif

#ifdef REGISTRATION
byte version, life;                 /* of the registration; version 0: absent */
byte second;                        /* whose second key stands; 0: none does */

active proctype Late() {
    byte v, l;
end: atomic { version != 0 -> v = version; l = life };
    atomic {
        if
#ifdef BUG_ONE_LIFE
        :: version == v -> assert(life == l); version++
#else
        :: version == v && second == l -> assert(life == l); version++
#endif
        :: else
        fi }
}

active proctype Address() {
    atomic { version = 1; life = 1; second = 1 };
    version++;
    atomic { version = 0; second = 0 };
    atomic { version = 1; life = 2; second = 2 };
    version++
}
#endif
