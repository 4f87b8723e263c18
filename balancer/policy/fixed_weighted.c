/*
 * fixed_weighted.c - the policy FIXED_WEIGHTED_ROUND_ROBIN: turns in
 * proportion to the worker's own weight, whatever its load.
 */
#include "balancer/policy/stride_priv.h"

static double fixed_weight(const struct group *g, const struct account *a)
{
    (void)g;
    assert(a->profile->weight > 0); /* weight 0 is not eligible */
    return a->profile->weight;
}

const struct policy_ops balancer_policy_fixed_weighted = {
    .resize = balancer_group_tree_resize,
    .close = balancer_group_tree_close,
    .place = balancer_stride_place,
    .choose = balancer_group_tree_choose,
    .take = balancer_stride_take,
    .score = balancer_stride_score,
    .weight = fixed_weight,
};
