/*
 * affinity.c - which workers a key prefers: weighted rendezvous hashing.
 *
 * Each worker draws u in (0,1) from the hash of key and address and scores
 * -share/ln(u); the highest wins with a probability in proportion to its
 * share, and a worker that comes or goes moves only its own keys (Schindelhauer
 * and Schomaker, "Weighted distributed hash tables", 2005). The logarithm is
 * taken only of draws that could still reach the top, so that going through
 * all members costs little more than their hashes.
 */
#include "balancer/balancer_priv.h"

#include <math.h>

/* (0,1), never 0 or 1. */
static double unit(uint64_t hash)
{
    return ((double)(hash >> 12) + 0.5) * 0x1.0p-52;
}

struct ranking {
    double score[AFFINITY_TOP];
    uint32_t *member;
    uint32_t n;
};

static void ranking_add(struct ranking *r, uint32_t member, double score)
{
    uint32_t i = r->n;

    assert(r->n <= AFFINITY_TOP);
    if (i == AFFINITY_TOP && score <= r->score[i - 1])
        return;
    if (i == AFFINITY_TOP)
        i--;
    else
        r->n++;
    for (; i > 0 && r->score[i - 1] < score; i--) {
        r->score[i] = r->score[i - 1];
        r->member[i] = r->member[i - 1];
    }
    r->score[i] = score;
    r->member[i] = member;
    assert(r->n >= 1);
    assert(r->n <= AFFINITY_TOP);
}

uint32_t balancer_affinity_top(const struct group *g, const char *key,
                               uint32_t *out)
{
    struct ranking r = {.member = out, .n = 0};
    uint64_t seed = hash_str(key, 0);
    double enough = 0; /* below it not even the largest share could win */

    assert(key != NULL);
    assert(out != NULL);
    for (uint32_t i = 0; i < g->n; i++) {
        const struct member *m = &g->members[i];

        if (!member_eligible(m))
            continue;
        double u = unit(hash_mix(seed ^ m->account->hash));

        if (u < enough)
            continue;
        ranking_add(&r, i, -m->account->share / log(u));
        if (r.n == AFFINITY_TOP)
            enough = exp(-g->share_max / r.score[AFFINITY_TOP - 1]);
    }
    return r.n;
}
