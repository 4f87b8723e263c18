/*
 * dynamic_weighted.c - the policy DYNAMIC_WEIGHTED_ROUND_ROBIN: turns in
 * proportion to what the last report left free, times the worker's weight.
 *
 * 100 - (30 cpu + 30 memory + 40 pool), percentages configurable, so that an
 * idle worker counts 100 and a full one the floor: it must still be asked now
 * and then. A usage that is not known is what is usual in the group, and half
 * where nobody says: neither hiding one's load nor reporting it is an
 * advantage.
 */
#include "balancer/stride_priv.h"

#include "base/json/json.h"

#include <math.h>

#define WEIGHT_FLOOR 1.0 /* of 100 */
#define UNKNOWN      0.5

static double usage(const struct group *g, enum usual what, double ratio)
{
    return fmin(ratio < 0 ? balancer_typical_of(g, what, UNKNOWN) : ratio, 1);
}

static double dynamic_weight(const struct group *g, const struct account *a)
{
    const struct conf_balancer *c = g->conf;
    double left =
        100 -
        (c->cpu_usage_weight * usage(g, USUAL_CPU, a->profile->cpu) +
         c->memory_usage_weight * usage(g, USUAL_MEMORY, a->profile->memory) +
         c->pool_usage_weight * usage(g, USUAL_POOL, a->profile->pool));

    assert(a->profile->weight > 0); /* weight 0 is not eligible */
    return fmax(left, WEIGHT_FLOOR) * a->profile->weight / 100;
}

static void dynamic_place(struct group *g, uint32_t from, uint32_t to,
                          mono_ms now)
{
    (void)now;
    balancer_stride_place(g, from, to, dynamic_weight);
}

static void dynamic_explain(const struct group *g, uint32_t member, mono_ms now,
                            struct buf *out)
{
    const struct account *a = g->members[member].account;

    (void)now;
    if (a->profile->weight > 0)
        json_put_num(out, "dynamic_weight", dynamic_weight(g, a));
}

const struct policy_ops balancer_policy_dynamic_weighted = {
    .name = "DYNAMIC_WEIGHTED_ROUND_ROBIN",
    .resize = balancer_stride_resize,
    .close = balancer_stride_close,
    .place = dynamic_place,
    .choose = balancer_stride_choose,
    .take = balancer_stride_take,
    .score = balancer_stride_score,
    .explain = dynamic_explain,
};
