/* aba.pml - versions that repeat.  In failover.pml a version is never seen
 * twice; a registry that counts a key's writes from 1 gives a key that was
 * deleted and made again the versions of the old one.  This model has real
 * numbers, and a writer that stops between its read and its commit while a key
 * goes and comes back.
 *
 * -DGATE: a submit has read a gate; the gate leaves its process behind.  Holds
 * because a gate is never removed.  -DBUG_GATE_REMOVED: it is, correctly
 * closed first and with nobody's work lost by that, and is made again.
 *
 * -DRECORD: a `done` has read an item; another one ends it, it is collected,
 * and its id is used again.  Holds because a finished item is kept longer than
 * a session lasts, and nothing is sent on a read of an earlier session.
 * -DBUG_SHORT_KEEP: it is collected while that session still lives. */
#define OPEN 1
#define CLOSED 2

#ifdef GATE
byte version, state, process;       /* of the gate; version 0: absent */
byte owner;                         /* the process that the item was given to */

active proctype Submit() {
    byte v, p;
end: atomic { version != 0 && state == OPEN -> v = version; p = process };
    atomic {
        if
        :: version == v -> owner = p; assert(state == OPEN && process == p)
        :: else
        fi }
}

active proctype Gate() {
    atomic { version = 1; state = OPEN; process = 1 };
    atomic { version++; state = CLOSED };
#ifdef BUG_GATE_REMOVED
    version = 0;
    atomic { version = 1; state = OPEN; process = 2 }
#else
    atomic { version++; state = OPEN; process = 2 }
#endif
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
