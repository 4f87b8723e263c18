/*
 * pack.h - numbers and texts as bytes, little endian, for files of ours.
 *
 * Writing goes into a struct buf, which knows its maximum. Reading never goes
 * past the end and never trusts a length: the first thing that is not there
 * sets `bad`, everything after it reads as zero, and the reader checks once.
 * Small numbers take few bytes: 7 bits each, the lowest first (LEB128; signed
 * ones zigzag). Any thread, each with its own buffer.
 */
#ifndef PELORUS_BASE_PACK_PACK_H
#define PELORUS_BASE_PACK_PACK_H

#include "base/buf.h"

#define PACK_VARINT_MAX 10 /* bytes */

void pack_u8(struct buf *out, uint8_t v);
void pack_u32(struct buf *out, uint32_t v);
void pack_u64(struct buf *out, uint64_t v);
void pack_double(struct buf *out, double v); /* its bits */
void pack_float(struct buf *out, float v);
void pack_uint(struct buf *out, uint64_t v); /* 1 .. 10 bytes */
void pack_int(struct buf *out, int64_t v);
void pack_bytes(struct buf *out, const void *data, size_t len); /* and len */
void pack_str(struct buf *out, const char *s);
/* The same with a NUL behind it that does not count, so that who reads it
 * borrows it where it is. */
void pack_text(struct buf *out, const char *s);

/* What pack_uint() writes, without a buffer; how many bytes. */
size_t pack_number(uint8_t out[PACK_VARINT_MAX], uint64_t v);

struct unpack {
    const uint8_t *at, *end; /* borrowed */
    bool bad;                /* something was not there */
};

struct unpack unpack_of(const void *data, size_t len);
/* What was there cannot be: the rest is bad. */
void unpack_spoil(struct unpack *in);
size_t unpack_left(const struct unpack *in);

uint8_t unpack_u8(struct unpack *in);
uint32_t unpack_u32(struct unpack *in);
uint64_t unpack_u64(struct unpack *in);
double unpack_double(struct unpack *in);
float unpack_float(struct unpack *in);
uint64_t unpack_uint(struct unpack *in);
int64_t unpack_int(struct unpack *in);
/* At most `max`, or it is bad. */
uint64_t unpack_uint_max(struct unpack *in, uint64_t max);
/* Of unpack_int(): from `min` to `max`, or it is bad, and `min`. */
int64_t unpack_int_within(struct unpack *in, int64_t min, int64_t max);
/* A number of things that take at least `each` (> 0) bytes each: more than are
 * left is bad. */
uint32_t unpack_count(struct unpack *in, uint32_t max, size_t each);
bool unpack_bool(struct unpack *in);
/* What pack_bytes() wrote, borrowed from the input; *len at most `max`. NULL:
 * bad. */
const void *unpack_bytes(struct unpack *in, size_t max, size_t *len);
/* What pack_text() wrote, of min .. max bytes, borrowed; "" if it is bad. */
const char *unpack_text(struct unpack *in, size_t min, size_t max);
/* A text of at most size-1 bytes without NUL; "" if it is bad. */
void unpack_str(struct unpack *in, char *out, size_t size);

/* CRC-32 (IEEE 802.3, as in zlib and gzip); `before`: of what precedes it, 0
 * for the first. */
uint32_t pack_crc32(uint32_t before, const void *data, size_t len);

#endif
