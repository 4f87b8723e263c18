/*
 * fixed_weighted.c - the policy FIXED_WEIGHTED_ROUND_ROBIN: turns in
 * proportion to the worker's own weight, whatever its load.
 */
#include "balancer/stride_priv.h"

static double fixed_weight(const struct group *g, const struct account *a)
{
    (void)g;
    assert(a->profile->weight > 0); /* weight 0 is not eligible */
    return a->profile->weight;
}

static void fixed_place(struct group *g, uint32_t from, uint32_t to,
                        mono_ms now)
{
    (void)now;
    balancer_stride_place(g, from, to, fixed_weight);
}

const struct policy_ops balancer_policy_fixed_weighted = {
    .name = "FIXED_WEIGHTED_ROUND_ROBIN",
    .resize = balancer_stride_resize,
    .close = balancer_stride_close,
    .place = fixed_place,
    .choose = balancer_stride_choose,
    .take = balancer_stride_take,
    .score = balancer_stride_score,
};
