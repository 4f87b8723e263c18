/*
 * shadow.c - another policy, asked for each pick and never obeyed.
 */
#include "balancer/second/second_priv.h"

struct shadow {
    struct balancer *b;
    enum conf_policy policy;
    struct balancer_pick *picks; /* BALANCER_COUNT_MAX */
};

struct shadow *second_shadow_new(struct balancer *b, enum conf_policy policy)
{
    struct shadow *s = mem_zalloc(sizeof(*s));

    assert(b != NULL);
    assert(policy < CONF_POLICIES);
    s->b = b;
    s->picks = mem_array(BALANCER_COUNT_MAX, sizeof(*s->picks));
    s->policy = policy;
    balancer_set_policy(b, policy, 0); /* no later than it knows already */
    return s;
}

void second_shadow_free(struct shadow **shadow)
{
    struct shadow *s = *shadow;

    if (s == NULL)
        return;
    balancer_free(&s->b);
    mem_free(s->picks);
    MEM_FREE(*shadow);
}

static void shadow_pick(struct shadow *s, const struct balancer_event *e,
                        struct second_stats *stats)
{
    size_t nobody, n = e->u.pick.answer->n_picks;
    size_t same = second_follow(s->b, e, s->picks, &nobody);

    if (e->u.pick.request->peek)
        return;
    assert(same + nobody <= n);
    stats->by[s->policy].agreed += same;
    stats->by[s->policy].differed += n - same;
    stats->by[s->policy].nobody += nobody;
}

void second_shadow_event(struct shadow *s, const struct balancer_event *event,
                         struct second_stats *stats)
{
    assert(event->kind != BALANCER_EVENT_BASIS);
    if (event->kind == BALANCER_EVENT_PICK)
        shadow_pick(s, event, stats);
    else if (event->kind != BALANCER_EVENT_POLICY)
        balancer_apply(s->b, event, NULL);
}
