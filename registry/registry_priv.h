/*
 * registry_priv.h - between the files of this folder: the half of a registry
 * that is the same for all backends.
 */
#ifndef PELORUS_REGISTRY_REGISTRY_PRIV_H
#define PELORUS_REGISTRY_REGISTRY_PRIV_H

#include "registry/backend.h"

void registry_view_free(struct registry_watch *w);
void registry_unfit_end(struct registry_watch *w); /* of a full look */
void registry_unfit_free(struct registry_watch *w);
void registry_bury(struct registry *r); /* dead watches and holds, next turn */
void registry_hold_free(struct registry_hold *hold);
const char *registry_lock_key(const struct registry_lock *lock);
/* The store's own fencing number: the one to check. */
uint64_t registry_lock_native(const struct registry_lock *lock);
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
void registry_watch_free(struct registry_watch *w);
void registry_watches_free(struct registry *r);

#endif
