/*
 * window.h - many renewals of HTTP nodes in one value: the slot of a ring.
 *
 * docs/design/renewals.md is the design. coordinator/renewals/ writes windows,
 * and nothing uses that yet: the reader of rings here (rings.h) is to be fed by
 * coordinator/, and removals are to read and raise `taken` (taken.h). All of it
 * is pure: no I/O, times are given. Any thread, each with its own.
 *
 * A ring is WINDOW_SLOTS keys, and belongs to one session of one coordinator.
 * Its windows are numbered from 1 and put one after the other: number `seq`
 * stands in slot seq mod WINDOW_SLOTS, over the one that is so many older.
 *
 *   /pelorus/renewals/<session, hex>/<slot, two hex digits>
 *
 * The value, binary; numbers are varints as in pack.h unless it says how long:
 *
 *   format    1 byte: 1
 *   seq       from 1
 *   watched   milliseconds: the longest of all that this ring ever renewed
 *   count     1 .. WINDOW_MAX
 *   renewals  by created, then generation, ascending:
 *     created   less that of the one before it (the first: less 0)
 *     flags     1 byte: 1 cpu, 2 memory, 4 disk, 8 pool follow; 16 the
 *               generation follows (else 1); 32 BUSY; the others 0
 *     generation
 *     cpu, memory, disk, pool
 *               2 bytes each, lowest first: of 50,000, which is 1 (pool: 100);
 *               65,535: not told by the node
 *
 * A number has one form, its shortest, so that one window is one text.
 */
#ifndef PELORUS_CLUSTER_RENEWALS_WINDOW_H
#define PELORUS_CLUSTER_RENEWALS_WINDOW_H

#include "base/buf.h"
#include "cluster/renewals/renewal.h"

#define WINDOW_SLOTS       64
#define WINDOW_MAX         5000 /* renewals: what is left goes with the next */
#define WINDOW_WATCHED_MAX INT64_C(4800000) /* an hour's ttl and a third */
/* At most: a head, and so much for each. */
#define WINDOW_HEAD_MAX    32
#define WINDOW_RENEWAL_MAX 24
#define WINDOW_BYTES_MAX   (WINDOW_HEAD_MAX + WINDOW_MAX * WINDOW_RENEWAL_MAX)

/* --- writing ------------------------------------------------------------- */

/* Renewals that wait for their window. */
struct window {
    struct window_item *items; /* in the order in which they came */
    size_t n, cap;
};

void window_init(struct window *w);
void window_close(struct window *w); /* as after init */

/* False: there are WINDOW_MAX, it is to wait for the next window. Copies. A
 * second one of a name joins the first when it is written, and counts. */
bool window_add(struct window *w, const struct renewal *r);

/* The value of slot seq mod WINDOW_SLOTS, appended to `out`, which has room for
 * WINDOW_BYTES_MAX. At least one was added; `w` keeps them, in another order,
 * until window_close(). `watched_ms`: 1 .. WINDOW_WATCHED_MAX. */
void window_write(struct buf *out, struct window *w, uint64_t seq,
                  int64_t watched_ms);

/* --- reading ------------------------------------------------------------- */

/* A value that was found whole. */
struct window_read {
    uint64_t seq;
    int64_t watched_ms;
    uint32_t count;
    /* of window.c */
    const uint8_t *at, *end;
    uint64_t created; /* of the last one given, as is its generation */
    uint32_t generation, next;
};

/*
 * Look all of it over; borrows `value` until the last window_next(). `slot` is
 * that of its key. ERR_INVALID: what is wrong, and at which byte or renewal;
 * nothing of it may be used then.
 */
int window_open(struct window_read *w, unsigned slot, const void *value,
                size_t len, struct err *err) MUST_CHECK;
/* One after the other, by their names. False: that was the last. */
bool window_next(struct window_read *w, struct renewal *out);

/* --- keys ---------------------------------------------------------------- */

#define WINDOW_PREFIX   "/pelorus/renewals"
#define WINDOW_KEY_SIZE 48

static inline unsigned window_slot(uint64_t seq)
{
    return (unsigned)(seq % WINDOW_SLOTS);
}

/* Session and slot; only the directory, with slot WINDOW_SLOTS. */
char *window_key(uint64_t session, unsigned slot, char out[WINDOW_KEY_SIZE]);
/* False: it is none of ours. */
bool window_key_parse(const char *key, uint64_t *session,
                      unsigned *slot) MUST_CHECK;
/* The bare name of a ring, as registry_children() tells it. */
bool window_ring_parse(const char *name, uint64_t *session) MUST_CHECK;

#endif
