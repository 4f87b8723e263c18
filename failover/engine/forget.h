/*
 * forget.h - the gates of those who are gone are removed: of an address that
 * nobody is registered at, that owns nothing, has no open record and is bound
 * by no order, once that has been so for a day, or when a person says so.
 *
 * A gate that goes takes its memory of the fenced along: whoever comes next at
 * its address is a new life, whoever it is. What must not happen is that
 * something decided on the gate's former life is written upon the next one:
 *
 *   - Only a closed gate goes (fenced, or left). It takes no work, so that once
 *     its address was seen to own nothing it owns nothing as long as the gate
 *     stands at that version, at which it is deleted. An open one would take
 *     some between the look and the delete, and no version would tell.
 *   - The same txn checks the lock of its kind, and raises /pelorus/epoch-floor
 *     to at least the highest epoch that was ever seen: what the next life gets
 *     lies above all that any life before it had.
 *   - Versions repeat after a delete (ZooKeeper; absence does everywhere). So
 *     whoever gives work, or writes a gate by a person's order, without the
 *     lock, checks the floor at a version that he read before he read the
 *     gate. The engine checks its lock, and forgets only in a hold in which
 *     it has written nothing yet: what may still be under way of its own is of
 *     an earlier hold. A heartbeat that met a closed gate, or none of its own,
 *     looks at the gate again behind its write; a leave writes over no gate
 *     that was closed.
 *
 * Before its gate the directory of an address's markers goes, where the store
 * has such a thing. Internal to the engine. Loop thread.
 */
#ifndef PELORUS_FAILOVER_ENGINE_FORGET_H
#define PELORUS_FAILOVER_ENGINE_FORGET_H

#include "failover/engine/engine.h"

struct forgetting;

/* `e` is borrowed for life. */
struct forgetting *engine_forgetting_new(struct engine *e);
/* Answers whoever waits as cancelled. No completion afterwards. */
void engine_forgetting_free(struct forgetting **f);

/* A person's. As engine_forget() of engine.h. */
void engine_forgetting_ask(struct forgetting *f,
                           const struct engine_forget *what,
                           engine_forgot_f *done, void *arg);
/* Answers those whose time is over. */
void engine_forgetting_tick(struct forgetting *f);

/* Is there enough to take the lock for: somebody who waits, or one that is due
 * once an interval, or more that are due than one txn takes. */
bool engine_forgetting_wanted(struct forgetting *f);

/* One txn's worth, with the lock given; done() on the loop, exactly once unless
 * engine_forgetting_stop() comes first. */
typedef void forgetting_done_f(void *arg, const struct err *err, size_t gates);
void engine_forgetting_run(struct forgetting *f,
                           const struct registry_lock *lock,
                           forgetting_done_f *done, void *arg);
void engine_forgetting_stop(struct forgetting *f);

#endif
