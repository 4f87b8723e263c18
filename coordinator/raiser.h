/*
 * raiser.h - what this coordinator takes from processes: leaves, and the marks
 * before registrations are removed. Each is part of a txn that raises
 * /pelorus/taken with its address (docs/design/renewals.md).
 *
 * One key is raised by all of them, so they would be in each other's way: one
 * txn is under way at a time, and what comes meanwhile goes together with the
 * next one. After each of several it rests for three times as long as that one
 * took, so that an INTENT (read, write) and the windows of the others come
 * between. The first one does not wait.
 *
 *   - `taken` moved: it is read, and the same goes again.
 *   - An op of one of them conflicts: that one is told, the others go again;
 *     after a few all of them are told ERR_CONFLICT, to read anew what they
 *     rest on.
 *   - All else is told to all of the txn, as it is: what is of unknown outcome
 *     may be applied later, too, at the versions that it was sent with.
 *
 * A value that nobody can read is left as it is, and is checked: no window is
 * written upon it (taken.h). Loop thread only.
 */
#ifndef PELORUS_COORDINATOR_RAISER_H
#define PELORUS_COORDINATOR_RAISER_H

#include "cluster/node.h"
#include "registry/registry.h"

#define RAISER_OPS_MAX       3
#define RAISER_NAMES_MAX     256 /* in a txn, and as its ops and bytes allow */
#define RAISER_CONFLICTS_MAX 3
#define RAISER_MS            10000 /* then it ends, with ERR_UNAVAILABLE */
#define RAISER_REST_MAX_MS   200

struct raiser;

/* Both are borrowed for life. */
struct raiser *raiser_new(const struct clock *clock, struct registry *registry);
/* `told`: whoever waits is told ERR_CANCELLED, or ERR_UNKNOWN. Else nobody is
 * called, nor the registry. */
void raiser_free(struct raiser **r, bool told);

/* Somebody is about to take something: `taken` is read meanwhile. */
void raiser_expect(struct raiser *r);

/*
 * Copies all. 1 .. RAISER_OPS_MAX operations; done() once, never before this
 * returns, from a later turn: ERR_OK with `written`, or the first failure, with
 * `failed_op` among these operations.
 */
void raiser_add(struct raiser *r, enum node_kind kind, const char *address,
                const struct registry_op *ops, size_t n, registry_reply_f *done,
                void *arg);

/* As registry_forget(). */
void raiser_forget(struct raiser *r, const void *arg);

/* Time passes: at least every 50 ms. */
void raiser_tick(struct raiser *r);

#endif
