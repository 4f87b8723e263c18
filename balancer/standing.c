/*
 * standing.c - whether a worker may be picked at all (standing), whether it
 * only may when no better one is left (heat), and how much less than others
 * it is given for a while (part). Pure: no I/O, no clock, no lock.
 *
 * The rules, in heartbeat intervals T of the worker:
 *
 * - A report older than 2 T: hot; older than 3 T: not picked.
 * - Hot by cpu, memory or disk from the threshold on; cold again once it says
 *   less than the threshold minus HYSTERESIS and the highest that it said is a
 *   T ago. So a load that swings about the threshold does not flap.
 * - BUSY is a node's own word. `exclude`: it is not picked; `last`: it is hot,
 *   and taken to be full (ledger.c).
 * - Coming back from BUSY lowers its part, and makes it neither closed nor
 *   hot: were it hot, most picks would go to the few that never were BUSY
 *   (11.9 times the oracle's wait, measured). It is RECOVER_PART until the
 *   second good report, then what is over of its dwell, at least that. The
 *   dwell begins when it says NORMAL; it is 1.5 T, and twice the last one (at
 *   most 16 T) when it is BUSY again while it recovers or within 16 T
 *   thereafter. At T = 10 s: 15 s to 160 s.
 * - A new worker's part is (t / warm-up)^(1 / aggression), a tenth at least:
 *   Envoy's slow start.
 * - A refusal closes a worker for T/400 (25 ms at 10 s), or until an end is
 *   acknowledged there or it reports. To ask again costs little, and among many
 *   slots one is free soon: of workers that refuse when full, without
 *   acknowledgements, the wait is 1.13 times the oracle's; closed for T/40 it
 *   is 1.5 times, and until the next report it was 240 times (measured).
 */
#include "balancer/balancer_priv.h"

#include <math.h>

#define DWELL_MIN     1.5  /* intervals */
#define DWELL_MAX     16.0 /* likewise */
#define GOOD_REPORTS  2U
#define RECOVER_PART  0.5
#define HYSTERESIS    0.05
#define REFUSED_SHARE 400 /* of an interval */
#define WARM_UP_MIN   0.1

int64_t balancer_account_interval(const struct account *a,
                                  const struct conf_balancer *conf)
{
    assert(conf->heartbeat_interval_ms > 0);
    return node_report_interval(a->profile->lease_ms,
                                conf->heartbeat_interval_ms);
}

/* ---- what it says -------------------------------------------------------- */

static void busy_begins(struct profile *p, mono_ms interval, mono_ms now)
{
    bool relapse =
        p->dwell > 0 &&
        (double)(now - p->left_at) < (p->dwell + DWELL_MAX) * (double)interval;

    assert(interval > 0);
    p->dwell = relapse ? fmin(p->dwell * 2, DWELL_MAX) : DWELL_MIN;
    p->recovering = true;
    assert(p->dwell >= DWELL_MIN);
    assert(p->dwell <= DWELL_MAX);
}

/* Keep the highest of about an interval. */
static void peaks_told(struct profile *p, mono_ms interval)
{
    for (int i = 0; i <= USUAL_DISK; i++) {
        struct peak *peak = &p->peak[i];

        if (p->usage[i] >= peak->usage || p->reported - peak->at >= interval)
            *peak = (struct peak){p->usage[i], p->reported};
    }
}

void balancer_standing_busy(struct account *a, bool busy,
                            const struct conf_balancer *conf, mono_ms now)
{
    struct profile *p = a->profile;

    if (busy && !p->busy)
        busy_begins(p, balancer_account_interval(a, conf), now);
    if (busy)
        p->good_reports = 0;
    else if (p->busy)
        p->left_at = now;
    p->busy = busy;
    assert(!busy || p->recovering);
}

void balancer_standing_report(struct account *a,
                              const struct conf_balancer *conf)
{
    struct profile *p = a->profile;

    assert(p->reported <= p->told);
    if (!p->busy && !p->degraded && p->recovering &&
        p->good_reports < GOOD_REPORTS)
        p->good_reports++;
    p->refused = false;
    peaks_told(p, balancer_account_interval(a, conf));
}

void balancer_standing_reset(struct profile *p)
{
    assert(p != NULL);
    p->busy = p->recovering = false;
    p->refused = false;
    p->good_reports = 0;
    p->dwell = 0;
    for (int i = 0; i <= USUAL_DISK; i++)
        p->peak[i] = (struct peak){.usage = -1};
}

/* ---- what follows -------------------------------------------------------- */

static bool is_recovered(const struct profile *p, mono_ms interval, mono_ms now)
{
    return !p->busy && p->good_reports >= GOOD_REPORTS &&
           (double)(now - p->left_at) >= p->dwell * (double)interval;
}

void balancer_account_recover(struct account *a,
                              const struct conf_balancer *conf, mono_ms now)
{
    struct profile *p = a->profile;

    assert(p != NULL);
    assert(!p->recovering || p->dwell >= DWELL_MIN);
    if (p->recovering &&
        is_recovered(p, balancer_account_interval(a, conf), now))
        p->recovering = false;
}

static double recovery(const struct account *a,
                       const struct conf_balancer *conf, mono_ms now)
{
    const struct profile *p = a->profile;
    double dwell = p->dwell * (double)balancer_account_interval(a, conf);

    if (!p->recovering)
        return 1;
    assert(dwell > 0);
    if (p->busy || p->good_reports < GOOD_REPORTS)
        return RECOVER_PART;
    return fmin(1, fmax(RECOVER_PART, (double)(now - p->left_at) / dwell));
}

static double warm_up(const struct account *a, const struct conf_balancer *conf,
                      mono_ms now)
{
    mono_ms up = now - a->profile->since;
    double grown;

    assert(conf->warm_up_ms >= 0);
    assert(conf->warm_up_aggression > 0);
    if (up >= conf->warm_up_ms || conf->warm_up_ms == 0)
        return 1;
    grown = fmax(0, (double)up) / (double)conf->warm_up_ms;
    if (conf->warm_up_aggression != 1)
        grown = pow(grown, 1 / conf->warm_up_aggression);
    return fmax(WARM_UP_MIN, grown);
}

struct standing_part balancer_standing_part(const struct account *a,
                                            const struct conf_balancer *conf,
                                            mono_ms now)
{
    struct standing_part part = {warm_up(a, conf, now), recovery(a, conf, now)};

    assert(part.warm_up > 0);
    assert(part.warm_up <= 1);
    assert(part.recovery > 0);
    assert(part.recovery <= 1);
    return part;
}

/* Once over the threshold it is until it has been well below for a while. */
static bool is_over(const struct profile *p, enum usual what, double from,
                    bool was, mono_ms interval, mono_ms now)
{
    double usage = p->usage[what];
    const struct peak *peak = &p->peak[what];

    assert(what <= USUAL_DISK);
    if (usage < 0)
        return false;
    if (usage >= from)
        return true;
    return was && (usage >= from - HYSTERESIS ||
                   (peak->usage >= from && now - peak->at < interval));
}

static void judge_usage(struct member *m, const struct conf_balancer *conf,
                        mono_ms now)
{
    mono_ms interval = balancer_account_interval(m->account, conf);
    unsigned over = 0;

    for (int i = 0; i <= USUAL_DISK; i++)
        if (is_over(m->account->profile, (enum usual)i,
                    balancer_typical_hot_from(conf, (enum usual)i),
                    (m->over >> i & 1) != 0, interval, now))
            over |= 1U << i;
    m->over = over & 7U;
    assert(over < 1U << (USUAL_DISK + 1));
}

static enum heat member_heat(const struct member *m,
                             const struct conf_balancer *conf, mono_ms age)
{
    const struct profile *p = m->account->profile;

    assert(p != NULL);
    if (age > NODE_REPORT_LATE * balancer_account_interval(m->account, conf))
        return HEAT_LATE;
    if (p->busy)
        return HEAT_BUSY;
    if (p->degraded)
        return HEAT_DEGRADED;
    for (int i = 0; i <= USUAL_DISK; i++)
        if ((m->over >> i & 1) != 0)
            return (enum heat)((int)HEAT_CPU + i);
    return HEAT_COLD;
}

mono_ms balancer_standing_reopens(const struct account *a,
                                  const struct conf_balancer *conf)
{
    mono_ms closed = balancer_account_interval(a, conf) / REFUSED_SHARE;

    assert(a->profile->refused);
    return a->profile->refused_at + (closed > 0 ? closed : 1);
}

static bool is_refused(const struct account *a,
                       const struct conf_balancer *conf, mono_ms now)
{
    return a->profile->refused && now < balancer_standing_reopens(a, conf);
}

static enum standing member_standing(const struct group *g,
                                     const struct member *m, mono_ms now)
{
    const struct profile *p = m->account->profile;

    assert(p != NULL);
    if (p->dead)
        return STANDING_DEAD;
    if (p->closed)
        return STANDING_CLOSED;
    if (p->weight == 0)
        return STANDING_WEIGHT_ZERO;
    if (p->busy && (g->conf->busy == CONF_BUSY_EXCLUDE || !g->ops->by_heat))
        return STANDING_BUSY;
    if (now - p->reported >
        NODE_REPORT_STALE * balancer_account_interval(m->account, g->conf))
        return STANDING_STALE;
    return is_refused(m->account, g->conf, now) ? STANDING_REFUSED
                                                : STANDING_OPEN;
}

void balancer_member_judge(const struct group *g, struct member *m, mono_ms now)
{
    const struct profile *p = m->account->profile;

    assert(p != NULL);
    judge_usage(m, g->conf, now);
    m->heat = (unsigned)member_heat(m, g->conf, now - p->reported) & 31U;
    m->standing = (uint8_t)member_standing(g, m, now);
}
