/*
 * rand.c - xoshiro256**, splitmix64 and FNV-1a, as published.
 *
 * Nothing here depends on the host's byte order or word size: a seed gives the
 * same numbers and a key the same owner everywhere.
 */
#include "base/rand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FNV_OFFSET 0xcbf29ce484222325u
#define FNV_PRIME  0x00000100000001b3u

static uint64_t rotl(uint64_t x, int k)
{
    assert(k > 0 && k < 64);
    return (x << k) | (x >> (64 - k));
}

void rand_seed(struct rand *r, uint64_t seed)
{
    for (size_t i = 0; i < ARRAY_LEN(r->s); i++) {
        seed += 0x9e3779b97f4a7c15u;
        r->s[i] = hash_mix(seed);
    }
    assert((r->s[0] | r->s[1] | r->s[2] | r->s[3]) != 0);
}

uint64_t rand_u64(struct rand *r)
{
    uint64_t result = rotl(r->s[1] * 5, 7) * 9;
    uint64_t t = r->s[1] << 17;

    /* All zero is the one state it never leaves. */
    assert((r->s[0] | r->s[1] | r->s[2] | r->s[3]) != 0);
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t rand_below(struct rand *r, uint64_t n)
{
    uint64_t x, least;

    assert(n > 0);
    /* 2^64 mod n values at the bottom are thrown away: no bias. */
    least = (0 - n) % n;
    do {
        x = rand_u64(r);
    } while (x < least);
    assert(least < n);
    return x % n;
}

double rand_double(struct rand *r)
{
    return (double)(rand_u64(r) >> 11) * 0x1.0p-53;
}

void rand_secret(void *out, size_t len)
{
    unsigned char *p = out;

    assert(out != NULL);
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort(); /* a guessable secret is worse than none */
        assert((size_t)n <= len);
        p += n;
        len -= (size_t)n;
    }
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = FNV_OFFSET ^ hash_mix(seed);

    assert(data != NULL || len == 0);
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * FNV_PRIME;
    return hash_mix(h);
}

uint64_t hash_str(const char *s, uint64_t seed)
{
    return hash_bytes(s, strlen(s), seed);
}

/* Eight bytes at a time, and where there are many in four lanes: each mix waits
 * for the one before it. */
uint64_t hash_quick(const void *data, size_t len)
{
    const char *from = data;
    uint64_t hash = len, word, lane[4];

    assert(data != NULL || len == 0);
    if (len >= 2 * sizeof(lane)) {
        memcpy(lane, from, sizeof(lane));
        for (len -= sizeof(lane), from += sizeof(lane); len >= sizeof(lane);
             len -= sizeof(lane), from += sizeof(lane))
            for (size_t i = 0; i < ARRAY_LEN(lane); i++) {
                memcpy(&word, from + i * sizeof(word), sizeof(word));
                lane[i] = hash_mix(lane[i]) ^ word;
            }
        for (size_t i = 0; i < ARRAY_LEN(lane); i++)
            hash = hash_mix(hash ^ lane[i]);
    }
    for (; len >= sizeof(word); len -= sizeof(word), from += sizeof(word)) {
        memcpy(&word, from, sizeof(word));
        hash = hash_mix(hash ^ word);
    }
    word = 0;
    if (len > 0)
        memcpy(&word, from, len);
    return hash_mix(hash ^ word);
}

uint64_t hash_rendezvous(const char *key, const char *node)
{
    return hash_str(node, hash_str(key, 0));
}
