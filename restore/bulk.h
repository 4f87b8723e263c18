/*
 * bulk.h - many changes under locks, in txns as large as the store takes and
 * several of them in flight: what is done to a whole registry at once, when a
 * person confirms that it went back or puts a backup into it.
 *
 * A change is one to BULK_OPS operations that belong together. What became of
 * a change whose txn met a conflict, or whose outcome is unknown, is not told
 * one by one: `again` says that there are some, and whoever gave them looks at
 * the store once more and gives what is still to be done.
 */
#ifndef PELORUS_RESTORE_BULK_H
#define PELORUS_RESTORE_BULK_H

#include "registry/registry.h"

#define BULK_OPS   2 /* of one change */
#define BULK_LOCKS 3

struct bulk;
struct bulk_sum {
    size_t applied; /* changes */
    size_t again;
};
/* err: the first failure after which nothing more was sent. */
typedef void bulk_done_f(void *arg, const struct err *err,
                         const struct bulk_sum *sum);

/* Each txn checks these locks, which are borrowed, before anything else. */
struct bulk *restore_bulk_new(struct registry *r,
                              struct registry_lock *const *locks,
                              size_t n_locks);
/* What is in flight may still be applied; nobody is told. The registry is
 * closed after this, not before. Fine with NULL inside. */
void restore_bulk_free(struct bulk **b);

/* One operation of the change that is being given. Key and value are copied.
 * `version` 0: it must be absent. */
void restore_bulk_put(struct bulk *b, const char *key, const struct buf *value,
                      uint64_t version);
void restore_bulk_delete(struct bulk *b, const char *key, uint64_t version);
/* The change is whole. */
void restore_bulk_add(struct bulk *b);

/* Send what is left and tell when all has been answered, never before this
 * returned unless nothing was given; the sum begins anew. */
void restore_bulk_wait(struct bulk *b, bulk_done_f *done, void *arg);

#endif
