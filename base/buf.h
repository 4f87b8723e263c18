/*
 * buf.h - a growable byte buffer that knows its maximum.
 *
 * Writing past the maximum sets `overflow` and drops the rest; the writer
 * checks once at the end. The contents are always followed by a NUL that does
 * not count. Not for two threads at once.
 */
#ifndef PELORUS_BASE_BUF_H
#define PELORUS_BASE_BUF_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct buf {
    char *data; /* NULL until the first write */
    size_t len;
    size_t cap;
    size_t max; /* len never exceeds it */
    bool overflow;
};

void buf_init(struct buf *b, size_t max);
void buf_close(struct buf *b);
void buf_reset(struct buf *b); /* empty again, memory kept */

void buf_add(struct buf *b, const void *data, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* In decimal, as PRIu64 would be, sooner. */
void buf_u64(struct buf *b, uint64_t value);

/* For those who put more around them: the digits of `value`, the last one right
 * before `end`; where they begin. At most BUF_DIGITS. */
#define BUF_DIGITS 20
char *buf_digits(char *end, uint64_t value);

/* For writers who know how much at most comes: where `len` bytes may be
 * written, to be followed by buf_wrote(). NULL: beyond the maximum; nothing is
 * dropped yet. */
char *buf_grow(struct buf *b, size_t len);
static inline char *buf_room(struct buf *b, size_t len)
{
    /* cap is at most max + 1 */
    return b->cap - b->len > len && !b->overflow ? b->data + b->len
                                                 : buf_grow(b, len);
}
/* So many of them are written, up to `end`. */
static inline void buf_wrote(struct buf *b, char *end)
{
    assert(end >= b->data + b->len && end < b->data + b->cap);
    *end = '\0';
    b->len = (size_t)(end - b->data);
}

/* The contents as a string; "" when empty. Borrowed until the next write. */
const char *buf_text(const struct buf *b);

/* Hand the memory over to the caller (mem_free) and start empty. */
char *buf_take(struct buf *b);

#endif
