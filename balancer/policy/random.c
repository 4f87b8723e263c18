/*
 * random.c - the policy RANDOM: every eligible worker with equal probability.
 *
 * The eligible places stand in a dense list, each member knowing its position;
 * the order of the list means nothing, so a draw without repetition shuffles
 * its front in place (Fisher-Yates) and costs as much as it draws.
 */
#include "balancer/balancer_priv.h"

static void random_move(struct group *g, uint32_t position, uint32_t member)
{
    assert(member < g->n);
    assert(position < g->n);
    g->u.random.list[position] = member;
    g->members[member].u.position = position + 1; /* 0: not listed */
}

static void random_place(struct group *g, uint32_t from, uint32_t to,
                         mono_ms now)
{
    assert(from < to);
    (void)now;
    for (uint32_t i = from; i < to; i++) {
        struct member *m = &g->members[i];
        bool listed = m->u.position != 0;

        if (member_eligible(m) == listed)
            continue;
        if (listed) {
            uint32_t last = g->u.random.list[--g->u.random.n];

            random_move(g, m->u.position - 1, last);
            m->u.position = 0;
        } else {
            random_move(g, g->u.random.n++, i);
        }
    }
    assert(g->u.random.n <= g->n);
}

static uint32_t random_choose(struct group *g, struct rand *rand, uint32_t want,
                              uint32_t *out)
{
    uint32_t n = g->u.random.n;
    uint32_t found = 0;

    assert(n <= g->n);
    for (; found < want && found < n; found++) {
        uint32_t drawn = found + (uint32_t)rand_below(rand, n - found);
        uint32_t member = g->u.random.list[drawn];

        random_move(g, drawn, g->u.random.list[found]);
        random_move(g, found, member);
        out[found] = member;
    }
    return found;
}

static double random_score(const struct group *g, uint32_t member)
{
    (void)g;
    (void)member;
    return 0; /* nobody is better than another */
}

static void random_resize(struct group *g, uint32_t cap)
{
    assert(cap >= g->n);
    g->u.random.list = mem_regrow(g->u.random.list, cap, sizeof(uint32_t));
}

static void random_close(struct group *g)
{
    mem_free(g->u.random.list);
}

const struct policy_ops balancer_policy_random = {
    .resize = random_resize,
    .close = random_close,
    .place = random_place,
    .choose = random_choose,
    .score = random_score,
};
