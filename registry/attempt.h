/*
 * attempt.h - one change of what others change, too: read, write at the
 * versions that were read, again after a conflict, read back after an unknown
 * outcome.
 *
 *     begin -> read -> write -> applied
 *       ^       |        |
 *       +-------+--------+-- conflict: now, ATTEMPT_CONFLICTS_MAX times at most
 *       +-- in doubt: after a while that grows, ATTEMPT_MS at most
 *
 * Right for whoever recognises his own write when he reads it, and whose
 * writes are bound to versions or to absence: however often one is sent, it
 * applies once. After an unknown outcome the attempt is in doubt: it cannot be
 * said any more that nothing was written. This counts and says what is next;
 * the caller reads, writes and answers. Pure but for the registry's session;
 * any thread, the caller's lock.
 */
#ifndef PELORUS_REGISTRY_ATTEMPT_H
#define PELORUS_REGISTRY_ATTEMPT_H

#include "registry/registry.h"

#define ATTEMPT_CONFLICTS_MAX 8
#define ATTEMPT_MS            10000

/* Made by attempt_init(). */
struct attempt {
    uint64_t session; /* in which it was read; 0: in none */
    mono_ms read_at;  /* when the reads were sent */
    unsigned conflicts;
    bool doubt;       /* a write has an unknown outcome */
    mono_ms deadline; /* of reading back; before a doubt, of everything */
    mono_ms wake;     /* begin again then; -1: not waiting */
    int64_t backoff_ms;
};

enum attempt_next {
    ATTEMPT_NOW,     /* begin again */
    ATTEMPT_LATER,   /* when attempt_is_due() */
    ATTEMPT_FAILED,  /* it ends; certainly nothing was written */
    ATTEMPT_UNKNOWN, /* it ends, and what was written cannot be read back */
};

void attempt_init(struct attempt *a, mono_ms now);
/* Before its reads are sent. */
void attempt_begin(struct attempt *a, const struct registry *r, mono_ms now);
/* May what was read be written upon? Not in another session, and not when it
 * is as old as the session's timeout: versions may repeat after a delete, but
 * never within that time. */
bool attempt_is_fresh(const struct attempt *a, const struct registry *r,
                      mono_ms now);

/* A read failed, or a txn that changes nothing; or what was read cannot be
 * written upon. Never NOW. */
enum attempt_next attempt_failed(struct attempt *a, mono_ms now);
/* The write failed with this code. */
enum attempt_next attempt_write_failed(struct attempt *a, enum err_code code,
                                       mono_ms now);
/* From here on it is in doubt, if it was not. */
void attempt_doubt(struct attempt *a, mono_ms now);
/* Is it in time that passes before it begins again? */
static inline bool attempt_waits(const struct attempt *a)
{
    return a->wake >= 0;
}
/* True once: the time has come to begin again. */
bool attempt_is_due(struct attempt *a, mono_ms now);

#endif
