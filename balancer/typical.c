/*
 * typical.c - how loaded a worker of this group usually is: what one that does
 * not say is taken for. Pure.
 *
 * Whoever says nothing of its load must not look better than one that does, or
 * the silent ones take every pick while those that report are hot: of three on
 * one busy host the only one that reported got none of 81. So the unknown is
 * the mean of the known, and hot where more than half of the known are. A
 * group in which nobody says anything, or everybody everything, is judged as
 * if this file were not there.
 *
 * The sums are made anew with each walk over the group. A report in a group
 * that has unknown ones asks for a walk before the next pick, unless the group
 * is so large that its tick has to do.
 */
#include "balancer/balancer_priv.h"

#define SOON_MAX 1024U /* members */

static bool has_capacity(const struct account *a)
{
    return a->profile->source != CAPACITY_WEIGHT;
}

static double value(const struct account *a, enum usual what)
{
    assert(what <= USUAL_CAPACITY);
    if (what != USUAL_CAPACITY)
        return a->profile->usage[what];
    return has_capacity(a) ? a->profile->capacity : -1;
}

double balancer_typical_hot_from(const struct conf_balancer *conf,
                                 enum usual what)
{
    assert(what <= USUAL_DISK);
    return what == USUAL_CPU      ? conf->cpu_max
           : what == USUAL_MEMORY ? conf->memory_max
                                  : conf->disk_max;
}

/* Whoever is away, closed or not heard of is not typical. */
static bool is_typical(const struct group *g, const struct account *a,
                       mono_ms now)
{
    assert(a->profile != NULL);
    return !a->profile->dead && !a->profile->closed &&
           now - a->profile->reported <=
               NODE_REPORT_STALE * balancer_account_interval(a, g->conf);
}

static void add(struct group *g, const struct member *m)
{
    struct typical *t = &g->walked;

    assert(m->account->profile != NULL);
    for (int i = 0; i < USUALS; i++) {
        double v = value(m->account, (enum usual)i);

        if (v < 0) {
            t->silent = true;
            continue;
        }
        t->n[i]++;
        t->sum[i] += v;
        if (i <= USUAL_DISK &&
            (v >= balancer_typical_hot_from(g->conf, (enum usual)i) ||
             (m->over >> i & 1) != 0)) /* not cold again yet */
            t->hot[i]++;
    }
}

void balancer_typical_walk(struct group *g, uint32_t from, uint32_t to,
                           mono_ms now)
{
    assert(from <= to && to <= g->n);
    if (from == 0)
        g->walked = (struct typical){.silent = false};
    for (uint32_t i = from; i < to; i++) {
        const struct account *a = g->members[i].account;

        if (a != NULL && is_typical(g, a, now))
            add(g, &g->members[i]);
    }
    if (to < g->n)
        return;
    g->typical = g->walked;
    g->typical_due = false;
}

void balancer_typical_told(struct group *g, const struct account *a)
{
    assert(a->profile != NULL);
    if (g->n > SOON_MAX)
        return;
    for (int i = 0; i < USUALS && !g->typical_due; i++)
        g->typical_due = g->typical.silent || value(a, (enum usual)i) < 0;
}

void balancer_typical_left(struct group *g)
{
    if (g->n <= SOON_MAX && g->typical.silent)
        g->typical_due = true;
}

double balancer_typical_of(const struct group *g, enum usual what,
                           double otherwise)
{
    const struct typical *t = &g->typical;

    assert(what < USUALS);
    assert(otherwise >= 0);
    return t->n[what] > 0 ? t->sum[what] / t->n[what] : otherwise;
}

enum heat balancer_typical_heat(const struct group *g, const struct account *a)
{
    const struct typical *t = &g->typical;

    for (int i = 0; i <= USUAL_DISK; i++)
        if (value(a, (enum usual)i) < 0 && t->hot[i] * 2 > t->n[i])
            return (enum heat)((int)HEAT_CPU + i);
    return HEAT_COLD;
}

double balancer_typical_capacity(const struct group *g, const struct account *a)
{
    double own = a->profile->capacity;

    assert(own > 0);
    return has_capacity(a) ? own : balancer_typical_of(g, USUAL_CAPACITY, own);
}

double balancer_typical_share(const struct group *g, const struct account *a)
{
    double weight = a->profile->weight > 0 ? a->profile->weight : 1;

    if (has_capacity(a) || g->typical.n[USUAL_CAPACITY] == 0)
        return a->share;
    return balancer_typical_capacity(g, a) * weight / WEIGHT_DEFAULT;
}

double balancer_typical_running(const struct group *g, const struct account *a)
{
    double capacity = balancer_typical_capacity(g, a);
    double pool = a->profile->usage[USUAL_POOL], usual;

    assert(capacity > 0);
    if (pool >= 0)
        return has_capacity(a) ? a->profile->running : pool * capacity;
    if (a->profile->gauged)
        return a->profile->running;
    usual = balancer_typical_of(g, USUAL_POOL, 0) * capacity;
    return a->profile->running > usual ? a->profile->running : usual;
}
