/*
 * registry_priv.h - between the files of this folder: the half of a registry
 * that is the same for all backends. All on the loop's thread.
 */
#ifndef PELORUS_REGISTRY_REGISTRY_PRIV_H
#define PELORUS_REGISTRY_REGISTRY_PRIV_H

#include "registry/backend.h"

/* --- registry.c ---------------------------------------------------------- */

/* The session that stands at the store is for those above: CONNECTED, the
 * holds that wait for one, and a first look. There was none for them before. */
void registry_session_ready(struct registry *r);
/* It is not for them any more: holds are lost, DISCONNECTED (and WENT_BACK)
 * told. There was one for them. */
void registry_session_lost(struct registry *r);
/* Tell every listener that was there before; one that ends another, or
 * changes the state, is fine. */
void registry_listeners_tell(struct registry *r, enum registry_state state);
/* Free the watches and holds that ended, in the next turn. */
void registry_free_later(struct registry *r);

/* --- known.c ------------------------------------------------------------- */

/* What a watch knows of one key. */
struct registry_known {
    uint64_t created; /* 0: a tombstone */
    uint64_t version;
    uint64_t revision; /* of the last look */
    bool listed;       /* in the full look that began last */
};

/* Of a key it does not know: false, and all zero. */
bool registry_known_find(const struct registry_watch *w, const char *key,
                         struct registry_known *out);
void registry_known_put(struct registry_watch *w, const char *key,
                        const struct registry_known *k);
void registry_known_drop(struct registry_watch *w, const char *key);
/* A full look begins: nothing is listed yet. */
void registry_known_begin(struct registry_watch *w);

/* All in order, what changes meanwhile included: see packed_map.h. */
struct packed_cursor;
bool registry_known_first(const struct registry_watch *w,
                          struct packed_cursor *c, struct registry_known *out);
bool registry_known_next(const struct registry_watch *w,
                         struct packed_cursor *c, struct registry_known *out);

/* --- diff.c, unfit.c ----------------------------------------------------- */

/* Free them all, told or not; the list is empty then. */
void registry_watches_free(struct registry_watch **list);
/* What the watch told and no full look has seen since is gone: told as such.
 * With `all` everything is dropped, and nothing told. */
void registry_unfit_sweep(struct registry_watch *w, bool all);

/* --- hold.c -------------------------------------------------------------- */

/* A REGISTRY_CHECK_LOCK of `lock` as the backend is given it: the lock's key
 * (borrowed from its hold) and the store's own fencing number. False: it is
 * not ours (any more). */
bool registry_lock_check(const struct registry_lock *lock,
                         struct registry_op *check);
/* There is a session for those above: lock is called for the holds that wait
 * for one. / There is none: all that the backend knows are lost or refused. */
void registry_holds_connected(struct registry *r);
void registry_holds_disconnected(struct registry *r);
/* Free them all; no handle refers to them; the list is empty then. */
void registry_holds_free(struct registry_hold **list);
/* While closing: whoever still waits is told ERR_CANCELLED. */
void registry_locks_cancel(struct registry *r);
/* Free handles and holds, without a callback. */
void registry_locks_free(struct registry *r);

/* --- history.c ----------------------------------------------------------- */

/* The session at the store ended: what history.c asked in it is forgotten. */
void registry_history_lost(struct registry *r);
void registry_history_free(struct registry *r); /* fine without one */

/* --- trouble.c ----------------------------------------------------------- */

/* There was a sign of life: what such a sign ends is over. */
void registry_troubles_heal(struct registry *r);
void registry_troubles_free(struct registry *r); /* fine without any */

#endif
