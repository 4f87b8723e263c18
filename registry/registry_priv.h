/*
 * registry_priv.h - between the files of this folder: the half of a registry
 * that is the same for all backends.
 */
#ifndef PELORUS_REGISTRY_REGISTRY_PRIV_H
#define PELORUS_REGISTRY_REGISTRY_PRIV_H

#include "registry/backend.h"

/* What the watch told and no full look has seen since is gone: told as such.
 * With `all` everything is dropped, and nothing told. */
void registry_unfit_sweep(struct registry_watch *w, bool all);
void registry_bury(struct registry *r); /* dead watches and holds, next turn */
/* Free them all; the list is empty then. */
void registry_holds_free(struct registry_hold **list);
void registry_watches_free(struct registry_watch **list);
/* A REGISTRY_CHECK_LOCK of `lock` as the backend is given it: the lock's key
 * and the store's own fencing number. False: it is not ours (any more). */
bool registry_lock_check(const struct registry_lock *lock,
                         struct registry_op *check);
void registry_vouch(struct registry *r); /* the session is for all */
void registry_lose(struct registry *r);  /* not for those above any more */
void registry_history_lost(struct registry *r);
void registry_history_free(struct registry *r);
void registry_troubles_heal(struct registry *r); /* a sign of life */
void registry_troubles_free(struct registry *r);
void registry_holds_connected(struct registry *r);
void registry_holds_disconnected(struct registry *r);
void registry_locks_cancel(struct registry *r);
void registry_locks_free(struct registry *r);
void registry_listeners_tell(struct registry *r, enum registry_state state);

#endif
