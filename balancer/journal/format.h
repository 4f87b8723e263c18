/*
 * format.h - a journal's file: a head, then blocks.
 *
 *   head    "PELORUSJ", the length of what follows (4 bytes), its CRC-32 (4),
 *           and struct journal_head as bytes
 *   block   the length of what it holds (4 bytes), the CRC-32 of kind and
 *           contents (4), its kind (1), the contents
 *
 * All numbers are little endian. The first block is a basis: the image of a
 * balancer, so that each file stands alone. Records (record.h) follow in blocks
 * of their own, whole ones in each. Another basis in the middle says that what
 * happened before it is missing. A file that does not end with an end block was
 * cut off: its last block may be torn, and what stands before it is good.
 * Pure; any thread, each with its own buffers.
 */
#ifndef PELORUS_BALANCER_JOURNAL_FORMAT_H
#define PELORUS_BALANCER_JOURNAL_FORMAT_H

#include "base/clock.h"
#include "base/err.h"
#include "base/pack/pack.h"

#define JOURNAL_MAGIC      "PELORUSJ"
#define JOURNAL_MAGIC_LEN  8U
#define JOURNAL_FORMAT     1U
#define JOURNAL_BLOCK_HEAD 9U

enum journal_block {
    JOURNAL_BASIS = 'B', /* number of events missing before it, then the
                            image */
    JOURNAL_RECORDS = 'R',
    JOURNAL_END = 'E', /* journal_end: why */
};
enum journal_end { JOURNAL_ROTATED, JOURNAL_STOPPED };

struct journal_head {
    uint32_t format;
    char version[32];     /* of the program */
    uint64_t fingerprint; /* balancer_journal_fingerprint() */
    uint64_t layout;      /* balancer_image_layout() */
    uint64_t seed;        /* from which the balancer's came */
    uint64_t run;         /* one process's files, */
    uint64_t sequence;    /* and which of them: 0, 1, 2 ... */
    wall_ms wall;         /* when it was begun, by the two clocks */
    mono_ms mono;
    char policy[64]; /* for people: the settings are in the image */
};

/* How this program's balancer decides: a number that changes with it, from
 * what each policy answers to a fixed course of events. A few milliseconds. */
uint64_t balancer_journal_fingerprint(void);

void balancer_journal_head_put(const struct journal_head *head,
                               struct buf *out);
/* ERR_INVALID: no journal, or damaged; ERR_TOO_LARGE: of a newer format. */
int balancer_journal_head_get(struct journal_head *head, struct unpack *in,
                              struct err *err) MUST_CHECK;

/* What stands before a block's contents, which are `a` and then `b`. */
void balancer_journal_block_put(enum journal_block kind, const void *a,
                                size_t n, const void *b, size_t m,
                                uint8_t head[JOURNAL_BLOCK_HEAD]);

struct journal_contents {
    enum journal_block kind;
    const void *data; /* in the input */
    size_t len;
};
/* The next block: 1 there is one, 0 nothing follows, -1 what follows is torn or
 * damaged, and `in` is where it was. */
int balancer_journal_block_get(struct unpack *in, struct journal_contents *out);

#endif
