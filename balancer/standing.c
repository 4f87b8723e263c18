/*
 * standing.c - whether a worker may be picked at all (standing), and whether
 * it only may when no better one is left (heat). Pure: no I/O, no clock, no
 * lock.
 *
 * Leaving BUSY. A worker that says NORMAL again is `recovering` until it has
 * reported NORMAL twice and has been away for its dwell, 15 s at first and
 * doubled (to 160 s) each time it relapses within 160 s. A recovering worker
 * is hot, not closed: it is picked when nobody cold is left, for a worker that
 * says it can work is better than no answer.
 */
#include "balancer/balancer_priv.h"

#define DWELL_MIN_MS 15000
#define DWELL_MAX_MS 160000
#define GOOD_REPORTS 2U

static void enter_busy(struct profile *p, mono_ms now)
{
    bool relapse =
        p->recovering || (p->dwell > 0 && now - p->left_at < DWELL_MAX_MS);

    assert(p->dwell >= 0);
    p->dwell = relapse ? p->dwell * 2 : DWELL_MIN_MS;
    if (p->dwell > DWELL_MAX_MS)
        p->dwell = DWELL_MAX_MS;
    p->recovering = true;
    p->busy_at = now;
    assert(p->dwell >= DWELL_MIN_MS);
    assert(p->dwell <= DWELL_MAX_MS);
}

void balancer_standing_told(struct profile *p, const struct balancer_worker *w,
                            bool report, mono_ms now)
{
    assert(p->account != NULL);
    if (w->busy && !(p->busy && p->recovering))
        enter_busy(p, now);
    if (w->busy)
        p->good_reports = 0;
    else if (report && p->recovering && !w->degraded)
        p->good_reports++;
    assert(!w->busy || p->recovering);
}

int64_t balancer_account_interval(const struct account *a,
                                  const struct conf_balancer *conf)
{
    assert(conf->heartbeat_interval_ms > 0);
    return node_report_interval(a->profile->lease_ms,
                                conf->heartbeat_interval_ms);
}

void balancer_account_recover(struct account *a, mono_ms now)
{
    struct profile *p = a->profile;

    assert(p->account == a);
    assert(!p->recovering || p->dwell >= DWELL_MIN_MS);
    if (p->recovering && !p->busy && p->good_reports >= GOOD_REPORTS &&
        now - p->busy_at >= p->dwell) {
        p->recovering = false;
        p->left_at = now;
    }
}

static enum heat member_heat(const struct member *m,
                             const struct conf_balancer *conf, mono_ms age)
{
    const struct profile *p = m->account->profile;

    assert(p != NULL);
    if (age > NODE_REPORT_LATE * balancer_account_interval(m->account, conf))
        return HEAT_LATE;
    if (p->recovering)
        return HEAT_RECOVERING;
    if (p->degraded)
        return HEAT_DEGRADED;
    for (int i = 0; i <= USUAL_DISK; i++)
        if (p->usage[i] >= balancer_typical_hot_from(conf, (enum usual)i))
            return (enum heat)((int)HEAT_CPU + i);
    return HEAT_COLD;
}

static enum standing member_standing(const struct member *m,
                                     const struct conf_balancer *conf,
                                     mono_ms age)
{
    const struct profile *p = m->account->profile;

    assert(p != NULL);
    if (p->dead)
        return STANDING_DEAD;
    if (p->closed)
        return STANDING_CLOSED;
    if (p->weight == 0)
        return STANDING_WEIGHT_ZERO;
    if (p->busy)
        return STANDING_BUSY;
    if (age > NODE_REPORT_STALE * balancer_account_interval(m->account, conf))
        return STANDING_STALE;
    return p->refused ? STANDING_REFUSED : STANDING_OPEN;
}

void balancer_member_judge(struct member *m, const struct conf_balancer *conf,
                           mono_ms now)
{
    mono_ms age = now - m->account->profile->reported;

    assert(m->account->profile->account == m->account);
    m->heat = (uint8_t)member_heat(m, conf, age);
    m->standing = (uint8_t)member_standing(m, conf, age);
}
