/* gone.pml - with -DGONE: a process that was registered, and is gone, without
 * that the gate ever named it.  A command (the hook) may know of work of its
 * own elsewhere, so it is failed over as well, once.
 *
 * The design decision: what coordinator c has seen go is its memory and dies
 * with it; from INTENT on the gate tells it to all.  INTENT is about
 *
 *   the gate's process   where nothing is said (how 0)
 *   a first gate         FIRST: put if absent; FENCED with it, or open for the
 *                        process that has come since, and it of the past
 *   one of the past      DEPARTED: the gate's process and state stay */
#ifdef GONE
#define FIRST 1
#define DEPARTED 2
byte noted[2*NA];       /* set: coordinator c saw them registered, and saw them go */
byte how[4], about[4];  /* of the INTENT that slot k writes */
bit departed[NA];       /* the record's cause */
#define NOTED(c, a) noted[(c)*NA+(a)]
#define NOTE(c, a) \
    NOTED(c, a) = (NOTED(c, a) | BIT(CACHE(c, a))) & ~(BIT(0) | BIT(reg[a]));
#define NOTES_DIE(c) NOTED(c, 0) = 0; NOTED(c, 1) = 0;
/* of these, who is not there as p says, and whom no gate accounts for */
#define LOST(c, a, p) (NOTED(c, a) & ~(past[a] | BIT(p) \
    | (gate[a] == ABSENT -> 0 : BIT(gproc[a]))))
#ifdef BUG_NO_FIRST
#define GONE_WANTED(c, a) 0
#else
#define GONE_WANTED(c, a) (LOST(c, a, CACHE(c, a)) != 0)
#endif
#define NOBODY_LOST(c) (LOST(c, 0, reg[0]) == 0 && LOST(c, 1, reg[1]) == 0)
#define ABOUT_FORGOTTEN(k) how[k] = 0; about[k] = 0;
#define ABOUT_SENT(c) how[c+2] = how[c]; about[c+2] = about[c];
#define ABOUT_CHOSEN(c, a) \
    if \
    :: LOST(c, a, seen[c]) != 0 && (step[c] == LISTING || step[c] == HAVE_LOCK) -> \
        about[c] = (IN(LOST(c, a, seen[c]), 1) -> 1 : 2); \
        how[c] = (as_state[c] == ABSENT -> FIRST : DEPARTED); \
        step[c] = INTENT \
    :: else \
    fi;
#ifdef BUG_FIRST_BLIND
#define FIRST_OK(k) (how[k] == FIRST)
#else
#define FIRST_OK(k) 0
#endif

inline begin_departed(a, k) {
    REACHED(departed);
    INV(ONCE, !IN(fenced[a], about[k]));
    departed[a] = 1;
    rproc[a] = about[k]; rec[a] = R_INTENT;
    fenced[a] = fenced[a] | BIT(about[k]);
    unbroken[a] = unbroken[a] | (reg[a] == about[k] -> BIT(about[k]) : 0);
#ifdef BUG_DEPARTED_REPLACES
    gproc[a] = about[k]; gate[a] = FENCED
#else
    past[a] = past[a] | BIT(about[k])
#endif
}
/* then as if it had been open */
inline begin_first(a, k) {
    if
    :: how[k] == FIRST ->
        REACHED(first_gate); gproc[a] = about[k]; gate[a] = OPEN; past[a] = 0
    :: else
    fi;
    INV(ONCE, !IN(fenced[a], gproc[a]));
    departed[a] = 0
}
inline take_back_departed(a) {
    REACHED(departed_back);
#ifdef BUG_TAKE_BACK_RESETS
    past[a] = past[a] | BIT(gproc[a]); gproc[a] = rproc[a]; gate[a] = OPEN;
#endif
    past[a] = past[a] & ~BIT(rproc[a]);
    fenced[a] = fenced[a] & ~BIT(rproc[a]);
    unbroken[a] = unbroken[a] & ~BIT(rproc[a]);
    rec[a] = R_ENDED; rproc[a] = 0;
    wrote_gate(a); wrote_rec(a)
}
/* from `moving` on its work elsewhere may be taken: by the hook */
#ifdef LEASES
#define HAS_LEASE(a, p) IN(lease[a], p)
#else
#define HAS_LEASE(a, p) 0
#endif
inline taken_elsewhere(a) {
    if
    :: rec[a] == R_INTENT ->
        INV(UNBROKEN, !IN(unbroken[a], rproc[a]));
        INV(LEASED, !HAS_LEASE(a, rproc[a]));
        bereft[a] = bereft[a] | BIT(rproc[a])
    :: else
    fi
}
/* who stands there, as c believes, and nobody went before him: a gate for him,
 * without the lock, where none is; so that it remembers for all */
#define GATE_AHEAD(c, a) \
    :: d_step { gate[a] == ABSENT && CACHE(c, a) != 0 && LOST(c, a, CACHE(c, a)) == 0 -> \
        REACHED(gate_ahead); gate[a] = OPEN; gproc[a] = CACHE(c, a); wrote_gate(a) }
#else
#define NOTE(c, a)
#define NOTES_DIE(c)
#define GONE_WANTED(c, a) 0
#define ABOUT_FORGOTTEN(k)
#define ABOUT_SENT(c)
#define ABOUT_CHOSEN(c, a)
#define FIRST_OK(k) 0
#endif
