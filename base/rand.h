/*
 * rand.h - repeatable random numbers, and hashes that agree on every host.
 *
 * The generator is xoshiro256** seeded by splitmix64 (Blackman and Vigna,
 * "Scrambled linear pseudorandom number generators", 2018). Not for secrets:
 * those come from getrandom(2) through rand_secret(). The hash is FNV-1a 64
 * with a splitmix64 finish; rendezvous hashing needs only that it is well
 * mixed and the same everywhere.
 */
#ifndef PELORUS_BASE_RAND_H
#define PELORUS_BASE_RAND_H

#include "base/compiler.h"

#include <stdint.h>

struct rand {
    uint64_t s[4];
};

void rand_seed(struct rand *r, uint64_t seed);
uint64_t rand_u64(struct rand *r);
uint64_t rand_below(struct rand *r, uint64_t n); /* 0 .. n-1, unbiased; n > 0 */
double rand_double(struct rand *r);              /* [0, 1) */

/* `len` bytes from the kernel; ends the process if there are none. */
void rand_secret(void *out, size_t len);

/* The finish of splitmix64: spreads every bit over all. */
static inline uint64_t hash_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);
uint64_t hash_str(const char *s, uint64_t seed);
/* Quicker, but not for what is kept or sent: it is of the machine's byte
 * order. */
uint64_t hash_quick(const void *data, size_t len);

/*
 * Rendezvous (highest random weight) rank: how good `node` is for `key`. The
 * node with the highest value is the owner (Thaler and Ravishankar, 1998).
 */
uint64_t hash_rendezvous(const char *key, const char *node);

#endif
