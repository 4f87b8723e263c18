/*
 * stride.c - due times in virtual time; stride_priv.h says why.
 *
 * Times are whole numbers that start over (all due times are moved back
 * together) long before they could overflow.
 */
#include "balancer/policy/stride_priv.h"

/* lcm(1 .. 30): the usual weights divide it, so that a cycle is exact. */
#define CYCLE      UINT64_C(2329089562800)
#define TIME_MAX   (UINT64_C(1) << 62)
#define WEIGHT_MIN 0.001

/* Where in its first period a newcomer is due: between a quarter and three
 * quarters, different in each coordinator, so that they do not start alike. */
static uint64_t stride_phase(const struct member *m, uint64_t period)
{
    double drawn = (double)m->salt / 4294967296.0; /* [0,1) */

    assert(period > 0);
    return period / 4 + (uint64_t)((double)period * drawn / 2);
}

static void stride_judge(const struct group *g, struct member *m)
{
    uint64_t time = g->turn;
    uint64_t old = m->u.stride.period;

    if (m->account == NULL || m->standing != STANDING_OPEN) {
        m->u.stride.waiting = true;
        return;
    }
    double w = g->ops->weight(g, m->account);

    assert(w >= WEIGHT_MIN);
    uint64_t period = (uint64_t)((double)CYCLE / w);

    if (m->u.stride.waiting || old == 0) {
        m->turn = time + stride_phase(m, period);
    } else if (period != old && m->turn > time) {
        /* As far from its turn as before, in the new measure. */
        double ahead = (double)(m->turn - time) / (double)old;

        m->turn = time + (uint64_t)(ahead * (double)period);
    }
    assert(period > 0);
    m->u.stride.period = period;
    m->u.stride.waiting = false;
}

static uint64_t stride_key(const struct member *m)
{
    return member_eligible(m) ? m->turn : TREE_NONE;
}

void balancer_stride_place(struct group *g, uint32_t from, uint32_t to,
                           mono_ms now)
{
    assert(g->ops->weight != NULL);
    assert(from < to);
    (void)now;
    for (uint32_t i = from; i < to; i++) {
        struct member *m = &g->members[i];

        if (!g->peeking) /* else it is put back as it was */
            stride_judge(g, m);
        tree_put(&g->tree, i, stride_key(m));
    }
    balancer_tree_repair(&g->tree, from, to);
}

static void stride_start_over(struct group *g)
{
    uint64_t back = g->turn;

    assert(!g->peeking);
    for (uint32_t i = 0; i < g->n; i++) {
        struct member *m = &g->members[i];

        m->turn -= back < m->turn ? back : m->turn;
        tree_put(&g->tree, i, stride_key(m));
    }
    balancer_tree_repair(&g->tree, 0, g->n);
    g->turn = 0;
}

void balancer_stride_take(struct group *g, uint32_t member)
{
    struct member *m = &g->members[member];
    uint64_t *time = &g->turn;

    assert(member < g->n);
    assert(m->u.stride.period > 0);
    if (m->turn > *time)
        *time = m->turn;
    m->turn += m->u.stride.period;
    if (m->turn < *time)
        m->turn = *time;
    balancer_tree_set(&g->tree, member, stride_key(m));
    if (*time > TIME_MAX && !g->peeking)
        stride_start_over(g);
}

/* Turns of an average weight of 1 until it is due. */
double balancer_stride_score(const struct group *g, uint32_t member)
{
    uint64_t due = g->members[member].turn;
    uint64_t time = g->turn;

    assert(member < g->n);
    return due > time ? (double)(due - time) / (double)CYCLE : 0;
}
