/*
 * collect.h - removes what has been kept long enough: finished work, and
 * failover records beyond the newest 1,000. Under the lock, which others want,
 * too: so what is due is read before it is asked for, and under it there is one
 * txn, for as many as are gone in 50 ms. It is asked for when as many are due
 * as a txn takes, or once an interval for fewer; never while nothing is.
 *
 * An id that was collected may be used again, so the txn that deletes an item
 * raises /pelorus/epoch-floor to at least its epoch: a new item starts above
 * it, and a late `done` of the old one can never meet its namesake.
 */
#ifndef PELORUS_FAILOVER_ENGINE_COLLECT_H
#define PELORUS_FAILOVER_ENGINE_COLLECT_H

#include "work/view.h"

#define COLLECT_FAILOVERS_KEPT 1000

struct collect;

struct collect_config {
    const struct clock *clock;
    struct registry *registry;
    struct view *view;
    int64_t keep_ms, interval_ms;
    bool hooked; /* a held record may be all that is known of somebody */
};
struct collect *engine_collect_new(const struct collect_config *config);
/* No completion afterwards. */
void engine_collect_free(struct collect **c);

#define COLLECT_MANY_FAILOVERS 100

/* Is there something to take the lock for? Begins to read what is due. */
bool engine_collect_wanted(struct collect *c);
/* The same without waiting for more, or for the interval. */
void engine_collect_look(struct collect *c);

/* What was read goes, with the lock given; done() on the loop, exactly once
 * unless engine_collect_stop() comes first. */
typedef void collect_done_f(void *arg, const struct err *err, size_t items,
                            size_t failovers);
void engine_collect_run(struct collect *c, const struct registry_lock *lock,
                        collect_done_f *done, void *arg);
void engine_collect_stop(struct collect *c);

#endif
