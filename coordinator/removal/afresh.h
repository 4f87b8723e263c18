/*
 * afresh.h - reads every ring of renewals as it stands now: all that was
 * committed before is told to the reader of rings (cluster/renewals/rings.h),
 * whatever its watch has told so far. Loop thread only.
 */
#ifndef PELORUS_COORDINATOR_REMOVAL_AFRESH_H
#define PELORUS_COORDINATOR_REMOVAL_AFRESH_H

#include "cluster/renewals/rings.h"

/* `whole`: nothing that stood was missed, but what was told as a gap. Not from
 * inside afresh_begin(). */
typedef void afresh_done_f(void *arg, bool whole);

/* One reading; zero: none goes on. Lies still while it does. */
struct afresh {
    struct registry *registry;
    const struct clock *clock;
    struct rings *rings;
    afresh_done_f *done;
    void *arg;
    struct afresh_ring *all; /* that are read */
    uint64_t session;        /* what it reads goes only forward in it */
    size_t outstanding;
    bool missed;
};

/*
 * All borrowed until done(). `rings` may be NULL: then it is whole if there is
 * no ring, as it is while nothing is written in groups. A ring that is final is
 * not read.
 */
void afresh_begin(struct afresh *a, struct registry *registry,
                  const struct clock *clock, struct rings *rings,
                  afresh_done_f *done, void *arg);
/* `rings` is about to go: its answers are dropped, and it is not whole. */
void afresh_lose(struct afresh *a);
/* done() is not called any more; not `told`: nor is the registry. */
void afresh_end(struct afresh *a, bool told);

static inline bool afresh_goes_on(const struct afresh *a)
{
    return a->outstanding > 0;
}

#endif
