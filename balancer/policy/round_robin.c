/*
 * round_robin.c - the policy ROUND_ROBIN: one after the other, each group with
 * a cursor of its own.
 *
 * The eligible places are a bit set: the next one is found 64 at a time, so
 * that a group in which nearly everybody is busy still answers at once.
 */
#include "balancer/balancer_priv.h"

#define WORD_BITS 64U

static uint32_t words(uint32_t places)
{
    return (places + WORD_BITS - 1) / WORD_BITS;
}

static void round_robin_place(struct group *g, uint32_t from, uint32_t to,
                              mono_ms now)
{
    assert(from < to);
    assert(to <= g->n);
    (void)now;
    for (uint32_t i = from; i < to; i++) {
        uint64_t bit = UINT64_C(1) << (i % WORD_BITS);
        uint64_t *word = &g->u.round_robin.bits[i / WORD_BITS];

        *word = member_eligible(&g->members[i]) ? *word | bit : *word & ~bit;
    }
}

/* The first eligible place in from .. to-1, or `to`. */
static uint32_t next_eligible(const struct group *g, uint32_t from, uint32_t to)
{
    uint32_t i = from;

    assert(to <= g->n);
    while (i < to) {
        uint64_t word = g->u.round_robin.bits[i / WORD_BITS];

        word >>= i % WORD_BITS;
        if (word != 0) {
            i += (uint32_t)__builtin_ctzll(word);
            return i < to ? i : to;
        }
        i = (i / WORD_BITS + 1) * WORD_BITS;
    }
    return to;
}

static uint32_t round_robin_choose(struct group *g, struct rand *rand,
                                   uint32_t want, uint32_t *out)
{
    uint32_t cursor = g->turn < g->n ? (uint32_t)g->turn : 0;
    uint32_t found = 0;
    uint32_t i = cursor;

    assert(cursor <= g->n);
    (void)rand;
    while (found < want && (i = next_eligible(g, i, g->n)) < g->n)
        out[found++] = i++;
    i = 0;
    while (found < want && (i = next_eligible(g, i, cursor)) < cursor)
        out[found++] = i++;
    return found;
}

static void round_robin_take(struct group *g, uint32_t member)
{
    assert(member < g->n);
    g->turn = member + 1;
}

/* How many places it is away from its turn. */
static double round_robin_score(const struct group *g, uint32_t member)
{
    uint32_t cursor = g->turn < g->n ? (uint32_t)g->turn : 0;

    assert(member < g->n);
    return member >= cursor ? member - cursor : g->n - cursor + member;
}

static void round_robin_resize(struct group *g, uint32_t cap)
{
    uint32_t n = words(cap);

    assert(cap >= g->n);
    g->u.round_robin.bits =
        mem_regrow(g->u.round_robin.bits, n, sizeof(uint64_t));
    for (uint32_t i = words(g->n); i < n; i++)
        g->u.round_robin.bits[i] = 0;
}

static void round_robin_close(struct group *g)
{
    mem_free(g->u.round_robin.bits);
}

const struct policy_ops balancer_policy_round_robin = {
    .resize = round_robin_resize,
    .close = round_robin_close,
    .place = round_robin_place,
    .choose = round_robin_choose,
    .take = round_robin_take,
    .score = round_robin_score,
};
