/*
 * pack.c - see pack.h.
 *
 * Where there is room, and there nearly always is, bytes are put where they
 * belong without asking the buffer: an image is millions of small numbers,
 * while picks wait.
 */
#include "base/pack/pack.h"

#include <endian.h>
#include <string.h>

/* So many bytes may be written to the end; NULL: ask the buffer. */
static inline uint8_t *room(const struct buf *out, size_t n)
{
    return !out->overflow && out->len + n < out->cap
               ? (uint8_t *)out->data + out->len
               : NULL;
}

static inline void wrote(struct buf *out, size_t n)
{
    out->len += n;
    out->data[out->len] = '\0';
}

static inline void put(struct buf *out, const void *bytes, size_t n)
{
    uint8_t *to = room(out, n);

    if (to == NULL) {
        buf_add(out, bytes, n);
        return;
    }
    memcpy(to, bytes, n);
    wrote(out, n);
}

void pack_u8(struct buf *out, uint8_t v)
{
    put(out, &v, 1);
}

void pack_u32(struct buf *out, uint32_t v)
{
    uint32_t bytes = htole32(v);

    put(out, &bytes, sizeof(bytes));
}

void pack_u64(struct buf *out, uint64_t v)
{
    uint64_t bytes = htole64(v);

    put(out, &bytes, sizeof(bytes));
}

void pack_double(struct buf *out, double v)
{
    uint64_t bits;

    _Static_assert(sizeof(bits) == sizeof(v), "a double is 64 bits");
    memcpy(&bits, &v, sizeof(bits));
    pack_u64(out, bits);
}

void pack_float(struct buf *out, float v)
{
    uint32_t bits;

    _Static_assert(sizeof(bits) == sizeof(v), "a float is 32 bits");
    memcpy(&bits, &v, sizeof(bits));
    pack_u32(out, bits);
}

size_t pack_number(uint8_t out[PACK_VARINT_MAX], uint64_t v)
{
    size_t n = 0;

    do {
        out[n] = (uint8_t)(v & 0x7f) | (uint8_t)(v > 0x7f ? 0x80 : 0);
        n++;
        v >>= 7;
    } while (v > 0);
    assert(n <= PACK_VARINT_MAX);
    return n;
}

void pack_uint(struct buf *out, uint64_t v)
{
    uint8_t own[PACK_VARINT_MAX], *bytes = room(out, PACK_VARINT_MAX);

    if (bytes != NULL)
        wrote(out, pack_number(bytes, v));
    else
        buf_add(out, own, pack_number(own, v));
}

/* 0, -1, 1, -2 ... become 0, 1, 2, 3 ... */
void pack_int(struct buf *out, int64_t v)
{
    uint64_t u = (uint64_t)v;

    pack_uint(out, u << 1 ^ (v < 0 ? UINT64_MAX : 0));
}

void pack_bytes(struct buf *out, const void *data, size_t len)
{
    pack_uint(out, len);
    if (len > 0)
        buf_add(out, data, len);
}

void pack_str(struct buf *out, const char *s)
{
    pack_bytes(out, s, strlen(s));
}

void pack_text(struct buf *out, const char *s)
{
    size_t len = strlen(s);

    pack_uint(out, len);
    buf_add(out, s, len + 1);
}

struct unpack unpack_of(const void *data, size_t len)
{
    const uint8_t *bytes = data;

    assert(data != NULL || len == 0);
    return (struct unpack){bytes, len > 0 ? bytes + len : bytes, false};
}

size_t unpack_left(const struct unpack *in)
{
    assert(in->at <= in->end);
    return (size_t)(in->end - in->at);
}

/* Nothing is read after the first fault. */
void unpack_spoil(struct unpack *in)
{
    in->bad = true;
    in->at = in->end;
}

static uint64_t get_le(struct unpack *in, size_t n)
{
    uint64_t v = 0;

    if (unpack_left(in) < n) {
        unpack_spoil(in);
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)in->at[i] << 8 * i;
    in->at += n;
    return v;
}

uint8_t unpack_u8(struct unpack *in)
{
    return (uint8_t)get_le(in, 1);
}

uint32_t unpack_u32(struct unpack *in)
{
    return (uint32_t)get_le(in, 4);
}

uint64_t unpack_u64(struct unpack *in)
{
    return get_le(in, 8);
}

double unpack_double(struct unpack *in)
{
    uint64_t bits = unpack_u64(in);
    double v;

    memcpy(&v, &bits, sizeof(v));
    return v;
}

float unpack_float(struct unpack *in)
{
    uint32_t bits = unpack_u32(in);
    float v;

    memcpy(&v, &bits, sizeof(v));
    return v;
}

uint64_t unpack_uint(struct unpack *in)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 7 * PACK_VARINT_MAX; shift += 7) {
        uint8_t byte = unpack_u8(in);

        if (shift == 63 && byte > 1)
            break; /* beyond 64 bits */
        v |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return in->bad ? 0 : v;
    }
    unpack_spoil(in);
    return 0;
}

int64_t unpack_int(struct unpack *in)
{
    uint64_t u = unpack_uint(in);

    return (int64_t)(u >> 1 ^ (0 - (u & 1)));
}

uint64_t unpack_uint_max(struct unpack *in, uint64_t max)
{
    uint64_t v = unpack_uint(in);

    if (v <= max)
        return v;
    unpack_spoil(in);
    return 0;
}

int64_t unpack_int_within(struct unpack *in, int64_t min, int64_t max)
{
    int64_t v = unpack_int(in);

    assert(min <= max);
    if (v >= min && v <= max)
        return v;
    unpack_spoil(in);
    return min;
}

uint32_t unpack_count(struct unpack *in, uint32_t max, size_t each)
{
    uint64_t n = unpack_uint_max(in, max);

    assert(each > 0);
    if (n <= unpack_left(in) / each)
        return (uint32_t)n;
    unpack_spoil(in);
    return 0;
}

bool unpack_bool(struct unpack *in)
{
    uint8_t v = unpack_u8(in);

    if (v > 1)
        unpack_spoil(in);
    return v == 1;
}

const void *unpack_bytes(struct unpack *in, size_t max, size_t *len)
{
    uint64_t n = unpack_uint_max(in, max);
    const void *data = in->at;

    *len = 0;
    if (in->bad || n > unpack_left(in)) {
        unpack_spoil(in);
        return NULL;
    }
    in->at += n;
    *len = (size_t)n;
    return data;
}

const char *unpack_text(struct unpack *in, size_t min, size_t max)
{
    size_t len = (size_t)unpack_uint_max(in, max);
    const char *text = (const char *)in->at;

    if (in->bad || len < min || unpack_left(in) < len + 1 ||
        memchr(text, '\0', len + 1) != text + len) {
        unpack_spoil(in);
        return "";
    }
    in->at += len + 1;
    return text;
}

void unpack_str(struct unpack *in, char *out, size_t size)
{
    size_t len;

    assert(size > 0);
    const void *data = unpack_bytes(in, size - 1, &len);

    if (data == NULL || memchr(data, '\0', len) != NULL) {
        unpack_spoil(in);
        len = 0;
    }
    if (len > 0)
        memcpy(out, data, len);
    out[len] = '\0';
}

/* The usual table, four bits at a time: small, and worked out by hand. */
uint32_t pack_crc32(uint32_t before, const void *data, size_t len)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    const uint8_t *at = data;
    uint32_t crc = ~before;

    assert(data != NULL || len == 0);
    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}
