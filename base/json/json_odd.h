/*
 * json_odd.h - which bytes of a string do not stand for themselves.
 */
#ifndef PELORUS_BASE_JSON_JSON_ODD_H
#define PELORUS_BASE_JSON_JSON_ODD_H

#include <stddef.h>
#include <stdint.h>

/* Of eight bytes at once: is one of them no printable ASCII, a quote or a
 * backslash? (Less, equal and zero of bytes in a word: Warren, Hacker's
 * Delight, 6-1. A borrow from a byte below may say yes wrongly, but only where
 * that byte itself is one.) */
#define JSON_ONES  UINT64_C(0x0101010101010101)
#define JSON_HIGHS UINT64_C(0x8080808080808080)

static inline uint64_t json_odd_ones(uint64_t w)
{
    uint64_t quote = w ^ JSON_ONES * '"', back = w ^ JSON_ONES * '\\';

    return (((w - JSON_ONES * 0x20) & ~w) | ((quote - JSON_ONES) & ~quote) |
            ((back - JSON_ONES) & ~back) | (w + JSON_ONES) | w) &
           JSON_HIGHS;
}

/* Of the answer: how many bytes before the first of them are none, as far as
 * that is told at once. */
static inline size_t json_first_odd(uint64_t ones)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (size_t)__builtin_ctzll(ones) / 8;
#else
    (void)ones;
    return 0;
#endif
}

#endif
