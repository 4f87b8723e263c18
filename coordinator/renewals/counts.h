/*
 * counts.h - how this coordinator renewed HTTP nodes since its start: what
 * /metrics says. Written on the loop thread, and copied into each snapshot.
 */
#ifndef PELORUS_COORDINATOR_RENEWALS_COUNTS_H
#define PELORUS_COORDINATOR_RENEWALS_COUNTS_H

#include <stdint.h>

/* Of the time that a window's write took: bucket i has those of up to
 * RENEWAL_TOOK_MS(i), the last one all others. */
#define RENEWAL_TOOKS      11
#define RENEWAL_TOOK_MS(i) (INT64_C(5) << (i))

struct renewal_counts {
    uint64_t alone;    /* renewals that were a write of their own */
    uint64_t memory;   /* that were answered from memory */
    uint64_t windowed; /* that were in a window that was committed */
    uint64_t named;    /* that were let out of one, since something was taken
                          from who is at the address, and judged again */
    uint64_t failed;   /* that waited for a window in vain: 503, 504 */
    uint64_t windows;  /* committed */
    uint64_t took[RENEWAL_TOOKS]; /* of these, from their making to the commit:
                                     windows */
    uint64_t took_ms;             /* and all of it */
};

#endif
