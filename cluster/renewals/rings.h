/*
 * rings.h - reads every ring of renewals: what was renewed, and what may have
 * been missed. Pure: it is fed with a watch of WINDOW_PREFIX and with answers,
 * reads nothing itself, and is told the time. Loop thread only.
 *
 * docs/design/renewals.md is the design; what will use it: window.h.
 *
 *   - Windows of a ring are applied in the order of their numbers, each once.
 *     Values of different slots are told in any order: one that comes too early
 *     waits for those before it.
 *   - A *gap* says that it does not know who lives: more windows were written
 *     than the ring holds since it looked, a value cannot be read, or a slot
 *     of a ring that has not ended is gone. All windows of time of nodes begin
 *     again then, also those of nodes that were never seen in this ring.
 *   - What of a ring was read to its end by rings_ask() after its coordinator's
 *     entry was read as gone is *final*: nobody can write it any more. Longest
 *     `watched` later no lease from it is in force, and it is due to be
 *     deleted.
 *
 * Of its first listing what stands is applied in order at SYNCED, however old.
 *
 * After WENT_BACK a new one is made. It holds the windows that wait: at most
 * WINDOW_SLOTS a ring, as a rule none; and as many rings as there are.
 */
#ifndef PELORUS_CLUSTER_RENEWALS_RINGS_H
#define PELORUS_CLUSTER_RENEWALS_RINGS_H

#include "base/clock.h"
#include "cluster/renewals/window.h"
#include "registry/registry.h"

/* How long a renewal of a name that nobody knows is kept, and how many at most:
 * the watch of the registrations may be so far behind. */
#define RINGS_UNKNOWN_MS  13000
#define RINGS_UNKNOWN_MAX 131072

struct rings;

struct rings_renewal {
    const struct renewal *renewal; /* borrowed */
    mono_ms seen; /* when this process saw it: for one that was kept, then */
};

/*
 * A sign of life and a report. False: no registration with this `created` is
 * known; it is kept for rings_known(). True: it was taken, or dropped because
 * its generation is not the one that stands.
 */
typedef bool rings_renewal_f(void *arg, const struct rings_renewal *r);
/* See above; told before what of the ring can still be applied. `why` is for
 * people, borrowed. */
typedef void rings_gap_f(void *arg, uint64_t session, const char *why);

/* Both are called from inside the functions below and call none of them. */
struct rings *rings_new(rings_renewal_f *renewal, rings_gap_f *gap, void *arg);
void rings_free(struct rings **r);

/* An event of a watch of WINDOW_PREFIX. Keys that are no slot's are left
 * alone. */
void rings_feed(struct rings *r, const struct registry_event *event,
                mono_ms now);
/* All that stood was told, once: what it knows from here on is whole. */
bool rings_synced(const struct rings *r);

/* A registration with this `created` is told, the first time: its renewals that
 * were kept are told again. What the callback does not take now goes. */
void rings_known(struct rings *r, uint64_t created, mono_ms now);
/* Is there one that was kept, as far as is known? */
bool rings_wait(const struct rings *r);
/* Time passes: what was kept for long enough goes. At least every second. */
void rings_tick(struct rings *r, mono_ms now);

/* The last window of this session's that was applied; 0: none. */
uint64_t rings_applied(const struct rings *r, uint64_t session);

/* --- reading afresh ------------------------------------------------------ */

/*
 * All that was committed before is read like this, after SYNCED:
 *
 *   registry_children(WINDOW_PREFIX): for each name (window_ring_parse()),
 *       rings_ask() == true:  registry_get(ask.key), then
 *           rings_answer() == RINGS_MORE: from rings_ask() again
 *
 * Several rings at once, and whatever comes through the watch in between, are
 * fine. A ring that is not among the names any more has no lease in force.
 */
struct rings_ask {
    char key[WINDOW_KEY_SIZE];
    /* of rings.c */
    uint64_t session, seq;
    bool ended; /* its entry was gone before this was asked */
};
/* False: this ring is final, it need not be read. */
bool rings_ask(struct rings *r, uint64_t session,
               struct rings_ask *out) MUST_CHECK;

enum rings_answer {
    RINGS_MORE, /* there was a window: ask for the next one */
    RINGS_END,  /* all that was committed when it was asked was applied */
    RINGS_GAP,  /* told as one, too: nobody knows who lives */
};
/* What registry_get() said; NULL: ERR_NOT_FOUND. Any other error is no answer:
 * ask again. */
enum rings_answer rings_answer(struct rings *r, const struct rings_ask *ask,
                               const struct registry_entry *entry, mono_ms now);

/* --- what is forgotten --------------------------------------------------- */

/* The rings that are known, by their sessions, ascending: the first behind
 * `after` (0: of all); 0: none. */
uint64_t rings_next(const struct rings *r, uint64_t after);

/* The entry of the coordinator that had this session was read as gone: the
 * session writes no more. Of a ring that is not known nothing is kept, so it is
 * told for each of rings_next(), again and again. */
void rings_ended(struct rings *r, uint64_t session);

/* Is it final, and no lease from it in force any more? Then it may be deleted,
 * slot by slot, the directory last. False too if it is not known. */
bool rings_due(const struct rings *r, uint64_t session, mono_ms now);
/* The version of a slot, as it was told last; 0: nothing stands there. */
uint64_t rings_version(const struct rings *r, uint64_t session, unsigned slot);

#endif
