/*
 * journal.h - keeps what happens to a balancer in files
 * (balancer/journal/format.h), without anybody waiting for the disk.
 *
 * Under the balancer's lock an event becomes a dozen bytes in a ring of
 * JOURNAL_RING bytes; a thread of the journal's own writes them, about every
 * JOURNAL_WRITE_MS. When the ring is full, or a disk is full or hangs, events
 * are left out and counted until the balancer's whole state can be written
 * again: a file says where something is missing, and is right before and
 * behind it.
 */
#ifndef PELORUS_COORDINATOR_JOURNAL_JOURNAL_H
#define PELORUS_COORDINATOR_JOURNAL_JOURNAL_H

#include "balancer/balancer.h"
#include "base/err.h"

#define JOURNAL_RING     ((size_t)8 << 20)
#define JOURNAL_WRITE_MS 50

struct journal;

struct journal_config {
    const char *path;
    uint64_t size; /* of a file, about */
    uint32_t files;
    uint64_t seed; /* from which the balancer's comes; it is noted */
    uint64_t run;  /* a name for this process's files */
};

/* Borrows `b` until journal_stop(), copies the rest. Errors: that of the files
 * (files.h). Loop, or before it runs. */
int journal_start(struct journal **out, struct balancer *b,
                  const struct journal_config *config,
                  struct err *err) MUST_CHECK;

/* Says what went wrong, or that it is over: once each. Loop. */
void journal_tick(struct journal *j);

/* A FILE that was moved away is begun anew. Soon; loop. */
void journal_reopen(struct journal *j);

/* Write all there is and end; waits at most `at_most_ms` for the disk, and
 * leaves the thread to itself if that does not do. *j is NULL then. NULL in it
 * is fine. Loop. */
void journal_stop(struct journal **j, int64_t at_most_ms);

struct journal_figures {
    uint64_t records; /* written, */
    uint64_t bytes;   /* with all that is around them */
    uint64_t dropped; /* events left out */
    uint64_t files;   /* begun */
    uint64_t gaps;    /* times that something was left out */
    uint64_t errors;  /* of the disk */
    uint64_t waiting; /* bytes in the ring */
    bool complete;    /* nothing is being left out */
};
struct journal_figures journal_figures(const struct journal *j); /* any thread
                                                                  */

#endif
