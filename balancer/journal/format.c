/*
 * format.c - heads and blocks; see format.h.
 */
#include "balancer/journal/format.h"

#include <string.h>

#define HEAD_MAX 4096U

static void head_fields(const struct journal_head *h, struct buf *out)
{
    pack_uint(out, h->format);
    pack_str(out, h->version);
    pack_u64(out, h->fingerprint);
    pack_u64(out, h->layout);
    pack_u64(out, h->seed);
    pack_u64(out, h->run);
    pack_uint(out, h->sequence);
    pack_int(out, h->wall);
    pack_int(out, h->mono);
    pack_str(out, h->policy);
}

void balancer_journal_head_put(const struct journal_head *head, struct buf *out)
{
    struct buf fields;

    assert(head->format == JOURNAL_FORMAT);
    buf_init(&fields, HEAD_MAX);
    head_fields(head, &fields);
    buf_add(out, JOURNAL_MAGIC, JOURNAL_MAGIC_LEN);
    pack_u32(out, (uint32_t)fields.len);
    pack_u32(out, pack_crc32(0, fields.data, fields.len));
    buf_add(out, fields.data, fields.len);
    buf_close(&fields);
}

static bool sane_time(int64_t ms)
{
    return ms > -(INT64_C(1) << 53) && ms < INT64_C(1) << 53;
}

int balancer_journal_head_get(struct journal_head *head, struct unpack *in,
                              struct err *err)
{
    struct unpack fields;
    uint32_t len, crc;

    if (unpack_left(in) < JOURNAL_MAGIC_LEN ||
        memcmp(in->at, JOURNAL_MAGIC, JOURNAL_MAGIC_LEN) != 0)
        return err_set(err, ERR_INVALID, "it is no journal");
    in->at += JOURNAL_MAGIC_LEN;
    len = unpack_u32(in);
    crc = unpack_u32(in);
    if (in->bad || len > HEAD_MAX || len > unpack_left(in) ||
        pack_crc32(0, in->at, len) != crc)
        return err_set(err, ERR_INVALID, "its head is damaged");
    fields = unpack_of(in->at, len);
    in->at += len;
    head->format = (uint32_t)unpack_uint_max(&fields, UINT32_MAX);
    if (!fields.bad && head->format != JOURNAL_FORMAT)
        return err_set(err, ERR_TOO_LARGE,
                       "its format is %u, and this program reads %u",
                       head->format, JOURNAL_FORMAT);
    unpack_str(&fields, head->version, sizeof(head->version));
    head->fingerprint = unpack_u64(&fields);
    head->layout = unpack_u64(&fields);
    head->seed = unpack_u64(&fields);
    head->run = unpack_u64(&fields);
    head->sequence = unpack_uint(&fields);
    head->wall = unpack_int(&fields);
    head->mono = unpack_int(&fields);
    unpack_str(&fields, head->policy, sizeof(head->policy));
    if (fields.bad || !sane_time(head->wall) || !sane_time(head->mono))
        return err_set(err, ERR_INVALID, "its head is damaged");
    return 0;
}

static void put_u32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> 8 * i);
}

void balancer_journal_block_put(enum journal_block kind, const void *a,
                                size_t n, const void *b, size_t m,
                                uint8_t head[JOURNAL_BLOCK_HEAD])
{
    uint8_t k = (uint8_t)kind;
    uint32_t crc = pack_crc32(0, &k, 1);

    assert(n + m <= UINT32_MAX);
    crc = pack_crc32(crc, a, n);
    crc = pack_crc32(crc, b, m);
    put_u32(head, (uint32_t)(n + m));
    put_u32(head + 4, crc);
    head[8] = k;
}

int balancer_journal_block_get(struct unpack *in, struct journal_contents *out)
{
    struct unpack at = *in;
    uint32_t len, crc;
    uint8_t kind;

    if (unpack_left(in) == 0)
        return 0;
    len = unpack_u32(&at);
    crc = unpack_u32(&at);
    if (at.bad || unpack_left(&at) < 1 + (size_t)len ||
        pack_crc32(0, at.at, 1 + (size_t)len) != crc)
        return -1;
    kind = unpack_u8(&at);
    if (kind != JOURNAL_BASIS && kind != JOURNAL_RECORDS && kind != JOURNAL_END)
        return -1;
    *out = (struct journal_contents){(enum journal_block)kind, at.at, len};
    at.at += len;
    *in = at;
    return 1;
}
