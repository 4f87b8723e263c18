/*
 * explain.c - every candidate of a group, its terms, and why not: what a pick
 * goes by at that moment.
 */
#include "balancer/balancer_priv.h"

#include "base/json/json.h"
#include <string.h>

#define EXPLAIN_SLICE 64U /* members per hold of the lock */

bool balancer_excludes(const struct balancer_request *request,
                       const char *address)
{
    assert(request->n_exclude <= BALANCER_EXCLUDE_MAX);
    for (size_t i = 0; i < request->n_exclude; i++)
        if (strcmp(request->exclude[i], address) == 0)
            return true;
    return false;
}

static const char *const usages[] = {
    [USUAL_CPU] = "cpu",
    [USUAL_MEMORY] = "memory",
    [USUAL_DISK] = "disk",
    [USUAL_POOL] = "pool",
};

/* -1 is unknown: null. */
static void put_known(struct buf *out, const char *key, double value)
{
    if (value < 0)
        json_put_null(out, key);
    else
        json_put_num(out, key, value);
}

static const char *why_not(const struct member *m,
                           const struct balancer_request *request)
{
    static const char *const names[] = {
        [STANDING_DEAD] = "not_up",
        [STANDING_CLOSED] = "closed",
        [STANDING_BUSY] = "busy",
        [STANDING_STALE] = "stale",
        [STANDING_WEIGHT_ZERO] = "weight_zero",
        [STANDING_REFUSED] = "refused",
    };

    if (m->standing != STANDING_OPEN)
        return names[m->standing];
    return balancer_excludes(request, m->account->address) ? "excluded" : NULL;
}

static const char *capacity_from(const struct group *g, const struct account *a)
{
    static const char *const names[] = {
        [CAPACITY_SLOTS] = "slots",
        [CAPACITY_INFERRED] = "inferred",
        [CAPACITY_WEIGHT] = "weight",
    };
    enum capacity_source source = a->profile->source;

    assert((size_t)source < ARRAY_LEN(names));
    return source == CAPACITY_WEIGHT && g->typical.n[USUAL_CAPACITY] > 0
               ? "typical"
               : names[source];
}

static void explain_member(const struct group *g, uint32_t member,
                           const struct balancer_request *request, mono_ms now,
                           struct buf *out)
{
    const struct member *m = &g->members[member];
    const struct account *a = m->account;
    const struct profile *p = a->profile;

    assert(member < g->n);
    json_open(out, NULL, '{');
    json_put_str(out, "address", a->address);
    if (m->standing == STANDING_OPEN)
        json_put_num(out, "score", g->ops->score(g, member));
    else
        json_put_null(out, "score");
    if (g->ops->explain != NULL)
        g->ops->explain(g, member, now, out);
    json_put_int(out, "weight", p->weight);
    json_put_num(out, "capacity", balancer_typical_capacity(g, a));
    json_put_str(out, "capacity_from", capacity_from(g, a));
    for (int i = 0; i <= USUAL_POOL; i++)
        put_known(out, usages[i], p->usage[i]);
    json_put_int(out, "age_ms", now > p->reported ? now - p->reported : 0);
    json_put_str(out, "why_not", why_not(m, request));
    json_close(out, '}');
}

/* The group is looked up again for each slice: it may go in between. What is
 * told is what a pick goes by at that moment; being asked changes nothing. */
void balancer_explain(struct balancer *b,
                      const struct balancer_request *request, struct buf *out)
{
    uint32_t from = 0;
    bool more;

    balancer_renew(b, request->group, request->now);
    json_open(out, NULL, '[');
    do {
        balancer_lock(b);
        const struct group *g = balancer_group(b, request->group);
        uint32_t end = g != NULL ? g->n : 0;
        uint32_t to = end - from > EXPLAIN_SLICE && end > from
                          ? from + EXPLAIN_SLICE
                          : end;

        for (; from < to; from++)
            if (g->members[from].account != NULL)
                explain_member(g, from, request, b->now, out);
        more = from < end && !out->overflow;
        balancer_unlock(b);
    } while (more);
    json_close(out, ']');
}
