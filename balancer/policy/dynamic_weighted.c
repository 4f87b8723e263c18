/*
 * dynamic_weighted.c - the policy DYNAMIC_WEIGHTED_ROUND_ROBIN: turns in
 * proportion to what the last report left free, times the worker's weight.
 *
 * 100 - (30 cpu + 30 memory + 40 pool), percentages configurable, so that an
 * idle worker counts 100 and a full one the floor: it must still be asked now
 * and then. A pool usage above 1 is a queue and counts as such: with it cut off
 * at 1 small workers keep a share that they cannot work off. A usage that is
 * not known is what is usual in the group, and half where nobody says: neither
 * hiding one's load nor reporting it is an advantage.
 */
#include "balancer/policy/stride_priv.h"

#include "base/json/json.h"

#include <math.h>

#define WEIGHT_FLOOR 1.0 /* of 100 */
#define UNKNOWN      0.5

static double usage(const struct group *g, const struct account *a,
                    enum usual what)
{
    double own = a->profile->usage[what];

    assert(what <= USUAL_POOL);
    own = own < 0 ? balancer_typical_of(g, what, UNKNOWN) : own;
    return what == USUAL_POOL ? own : fmin(own, 1);
}

static double dynamic_weight(const struct group *g, const struct account *a)
{
    const struct conf_balancer *c = g->conf;
    double left = 100 - (c->cpu_usage_weight * usage(g, a, USUAL_CPU) +
                         c->memory_usage_weight * usage(g, a, USUAL_MEMORY) +
                         c->pool_usage_weight * usage(g, a, USUAL_POOL));

    assert(a->profile->weight > 0); /* weight 0 is not eligible */
    return fmax(left, WEIGHT_FLOOR) * a->profile->weight / 100;
}

static void dynamic_explain(const struct group *g, uint32_t member, mono_ms now,
                            struct buf *out)
{
    const struct account *a = g->members[member].account;

    assert(a != NULL);
    (void)now;
    if (a->profile->weight > 0)
        json_put_num(out, "dynamic_weight", dynamic_weight(g, a));
}

const struct policy_ops balancer_policy_dynamic_weighted = {
    .resize = balancer_group_tree_resize,
    .close = balancer_group_tree_close,
    .place = balancer_stride_place,
    .choose = balancer_group_tree_choose,
    .take = balancer_stride_take,
    .score = balancer_stride_score,
    .weight = dynamic_weight,
    .explain = dynamic_explain,
};
