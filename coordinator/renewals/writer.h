/*
 * writer.h - renewals of HTTP nodes that one coordinator writes together: the
 * windows of its ring, one write under way at a time.
 *
 * docs/design/renewals.md is the design.
 *
 *   - The txn checks our own entry, /pelorus/taken at the version that is known
 *     here, and puts the next slot. Its commit is what a 200 stands for.
 *   - `taken` moved: it is read, whom it names goes to the left (WRITER_LEFT:
 *     registration and gate are to be read, and it is judged as alone), the
 *     others go again at once.
 *   - Outcome unknown: the slot is read back, and as long as it does not hold
 *     the window the very same is put again, at the version read. Nothing else
 *     is written before one of the two is known to have been applied, or that
 *     neither can be (what they checked has moved, the session has ended).
 *   - Our entry gone: all of them go to the left, and whoever comes is judged
 *     alone, until that of the next session stands. It has a ring of its own.
 *
 * The first one goes at once if the last write began WRITER_WINDOW_MS ago. So
 * do WRITER_MANY: where ten thousand come in a second, no more than a thousand
 * of their connections wait at a time, and there are twenty writes.
 *
 * And where nobody came for WRITER_QUIET_MS those go who are likely to be all
 * that can come before they are answered: WRITER_SOME, as on the few hundred
 * connections of a proxy; or as many as were in the last window, if they came
 * within WRITER_AGAIN_MS of its answers, as from one client that renews many
 * nodes one after the other.
 *
 * Whoever verifies a registration notes writer_named() first, and reads
 * registration and gate then: who was named since stands in what is known here
 * before a window is written. After WENT_BACK a new one is made, and nobody
 * is verified. Loop thread only.
 */
#ifndef PELORUS_COORDINATOR_RENEWALS_WRITER_H
#define PELORUS_COORDINATOR_RENEWALS_WRITER_H

#include "cluster/renewals/taken.h"
#include "cluster/renewals/window.h"
#include "coordinator/renewals/counts.h"
#include "registry/registry.h"

#define WRITER_WINDOW_MS 200
#define WRITER_MANY      512
#define WRITER_SOME      8
#define WRITER_QUIET_MS  20
#define WRITER_AGAIN_MS  40

struct ring_writer;

struct writer_config {
    const struct clock *clock;
    struct registry *registry;
    const char *entry_key;    /* our own entry's. All are borrowed for life */
    void (*known)(void *arg); /* `taken` was read, the first time; or NULL */
    void *arg;
    struct renewal_counts *counts; /* counted further; borrowed for life */
};

enum writer_end {
    WRITER_COMMITTED,
    WRITER_LEFT,     /* it is to be verified anew; nothing was promised */
    WRITER_TOO_LATE, /* the lease that it asks for is over */
    WRITER_FAILED,   /* `err`: ERR_UNKNOWN, it may be renewed; else it is not */
};

struct writer_reply {
    enum writer_end end;
    struct err err;
    const char *key; /* COMMITTED: the slot, and what stands there then */
    uint64_t created, version;
};

/* One that waits: the caller's, lent until done(). */
struct writer_put {
    struct renewal renewal;
    enum node_kind kind;
    const char *address;
    uint64_t since;     /* writer_named() before it was verified */
    int64_t watched_ms; /* of its registration, 1 .. WINDOW_WATCHED_MAX */
    mono_ms expires;
    void (*done)(void *arg, const struct writer_reply *reply);
    void *arg;
    /* of writer.c */
    mono_ms deadline;
    struct writer_put *next, *prev;
};

/* Reads /pelorus/taken at once: before the watches of registrations and gates
 * begin, so that their first listing counts as read after it. */
struct ring_writer *writer_new(const struct writer_config *config);
/* `told`: those that wait end with ERR_CANCELLED, or ERR_UNKNOWN. Else nobody
 * is called, nor the registry. */
void writer_free(struct ring_writer **r, bool told);

/* `taken` may be another one: read it, unless a window is under way, which
 * finds out. */
void writer_look(struct ring_writer *r);
/* How many names `taken` had, as it is known here; false: it was not read in
 * this session, or our entry is not there. Whoever reads behind it, and in the
 * same session, sees all that those who were named before did. */
bool writer_named(const struct ring_writer *r, uint64_t *named);
/* Are renewals written in groups, as far as is known? */
bool writer_open(const struct ring_writer *r);

/* done() once, and never before this returns. False, and no call: it is to be
 * judged alone, because groups are not written, our entry is not there, or it
 * was named. */
bool writer_add(struct ring_writer *r, struct writer_put *put) MUST_CHECK;

/* Time passes: at least every 50 ms. */
void writer_tick(struct ring_writer *r);
/* The registry is there again: what waits for that goes at once. */
void writer_wake(struct ring_writer *r);
/* When it is wanted next; INT64_MAX: nobody waits. */
mono_ms writer_due(const struct ring_writer *r);

#endif
