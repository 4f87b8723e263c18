/*
 * ledger.c - the policy `ledger`: the last report, plus what we handed out
 * since, minus what we know to be done.
 *
 * Heartbeats are about ten seconds old. Whoever sends every task to the least
 * loaded worker of the last report sends them all to one; counting one's own
 * grants is what spreads them. Per worker with capacity c, at the age x of its
 * report in heartbeat intervals (at most 1):
 *
 *     est   = max(O, max(left^x * R, O') + left^(x/2) * (A + P) - D)
 *     score = (est + 1) / (c * weight/100 * part)           the lowest wins
 *
 * R tasks ran at the report, A were granted since, D of all were acknowledged
 * as done. O items are the worker's own by the registry and O' of them were at
 * the report: whatever it reports, it runs them. P tasks must be there as it
 * would not take one more. `part`: it is new, or was BUSY (standing.c). What a
 * worker does not say is taken as usual in its group (typical.c), never as
 * better. Without acknowledgements a fifth of the work is taken to end per
 * interval (left = 0.8); a group that gets them counts and does not guess (1),
 * until none came for three intervals.
 *
 * Cold before hot, never blended: a hot member's key has the top bit set, so
 * that it can only win when no cold one is left. Hot ones then compete by the
 * same score, relative to capacity: by bare estimates a full small worker
 * would beat a half-empty large one.
 *
 * The powers change with age only, so they are worked out when a member is
 * placed (at a report and at each tick) and a pick is a multiplication.
 */
#include "balancer/balancer_priv.h"

#include "base/json/json.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define LOG2_LEFT       (-0.32192809F) /* log2(0.8) */
#define ACKED_INTERVALS 3
#define HOT_BIT         (UINT64_C(1) << 63)
#define OVERLOAD        1.25
/* A worker less than half full is not overloaded, however idle the rest. */
#define OVERLOAD_MEAN_MIN 0.4

/* How much of the old work survives an interval, as a logarithm, because the
 * exponent is what varies. */
static float ledger_log2_left(const struct group *g, mono_ms now)
{
    bool acked =
        g->acked != 0 &&
        now - g->acked <= ACKED_INTERVALS * g->conf->heartbeat_interval_ms;

    assert(g->conf->heartbeat_interval_ms > 0);
    return acked ? 0 : LOG2_LEFT;
}

struct terms {
    double carry, fade;
};

/* So many at least of those that were there at the report are there still:
 * what it owns, and all slots of who said BUSY. */
static double ledger_known(const struct group *g, const struct account *a)
{
    double owned = a->profile->owned_told;

    assert(owned >= 0);
    return a->profile->busy ? fmax(owned, balancer_typical_capacity(g, a))
                            : owned;
}

static struct terms ledger_terms(const struct group *g, const struct account *a,
                                 float log2_left, mono_ms now)
{
    mono_ms interval = g->conf->heartbeat_interval_ms;
    mono_ms age = now - a->profile->reported;
    float x = age <= 0 ? 0 : age >= interval ? 1 : (float)age / (float)interval;
    struct terms t = {balancer_typical_running(g, a), 1};

    if (log2_left < 0) {
        t.carry *= (double)exp2f(x * log2_left);
        t.fade = (double)exp2f(x * log2_left / 2);
    }
    t.carry = fmax(t.carry, ledger_known(g, a)) + t.fade * a->profile->presumed;
    assert(t.carry >= 0);
    assert(t.fade > 0);
    assert(t.fade <= 1);
    return t;
}

/* What it owns it runs, whatever it reports. */
static double estimate(struct terms t, const struct account *a)
{
    double est = t.carry + t.fade * a->granted - a->acked;

    assert(a->granted >= 0);
    return est > a->owned ? est : a->owned;
}

double balancer_ledger_estimate(const struct group *g, const struct account *a,
                                mono_ms now)
{
    return estimate(ledger_terms(g, a, ledger_log2_left(g, now), now), a);
}

void balancer_ledger_fill(const struct group *g, struct account *a, mono_ms now)
{
    struct terms t = ledger_terms(g, a, ledger_log2_left(g, now), now);
    double est = t.carry + t.fade * a->granted - a->acked;
    double lacking = balancer_typical_capacity(g, a) - est;

    if (lacking > 0)
        a->profile->presumed += lacking / t.fade;
    assert(a->profile->presumed >= 0);
}

/* The order of positive floats is that of their bits. */
static uint64_t ledger_key(const struct member *m)
{
    double score = (m->u.ledger.est + 1) * m->u.ledger.per_share;
    float narrow = score < (double)FLT_MAX ? (float)score : FLT_MAX;
    uint32_t bits;

    assert(score > 0);
    memcpy(&bits, &narrow, sizeof(bits));
    return (m->hot ? HOT_BIT : 0) | (uint64_t)bits << 32 | m->salt;
}

/* Take the member out of the group's totals, and enter it where it belongs
 * now. `capacity` 0: nowhere. */
static void ledger_total(struct group *g, struct member *m, double est,
                         double capacity, bool hot)
{
    assert(capacity >= 0);
    assert(est >= 0);
    if (m->u.ledger.counted > 0) {
        g->u.ledger.est[m->hot] -= m->u.ledger.est;
        g->u.ledger.capacity[m->hot] -= m->u.ledger.counted;
    }
    m->u.ledger.est = est;
    m->u.ledger.counted = capacity;
    m->hot = hot;
    if (capacity > 0) {
        g->u.ledger.est[hot] += est;
        g->u.ledger.capacity[hot] += capacity;
    }
}

/* What it does not say of itself is as with the others. */
static enum heat ledger_heat(const struct group *g, const struct member *m)
{
    return m->heat != HEAT_COLD ? (enum heat)m->heat
                                : balancer_typical_heat(g, m->account);
}

static uint64_t ledger_judge(struct group *g, struct member *m, float log2_left,
                             mono_ms now)
{
    const struct account *a = m->account;

    if (!member_eligible(m)) {
        ledger_total(g, m, 0, 0, m->hot);
        return TREE_NONE;
    }
    struct terms t = ledger_terms(g, a, log2_left, now);

    struct standing_part part = balancer_standing_part(a, g->conf, now);

    m->u.ledger.carry = t.carry;
    m->u.ledger.fade = t.fade;
    m->u.ledger.per_share =
        1 / (balancer_typical_share(g, a) * part.warm_up * part.recovery);
    assert(m->u.ledger.per_share > 0);
    ledger_total(g, m, estimate(t, a), balancer_typical_capacity(g, a),
                 ledger_heat(g, m) != HEAT_COLD);
    return ledger_key(m);
}

static void ledger_place(struct group *g, uint32_t from, uint32_t to,
                         mono_ms now)
{
    float log2_left = ledger_log2_left(g, now);

    assert(from < to);
    assert(to <= g->n);
    for (uint32_t i = from; i < to; i++)
        tree_put(&g->tree, i, ledger_judge(g, &g->members[i], log2_left, now));
    balancer_tree_repair(&g->tree, from, to);
}

static void ledger_recount(struct group *g, uint32_t member)
{
    struct member *m = &g->members[member];
    struct terms t = {m->u.ledger.carry, m->u.ledger.fade};

    assert(member < g->n);
    if (!member_eligible(m))
        return;
    ledger_total(g, m, estimate(t, m->account), m->u.ledger.counted, m->hot);
    balancer_tree_set(&g->tree, member, ledger_key(m));
}

/* Beside those of its own class; a hot one is left for a cold one, if there is
 * any. */
static bool ledger_overloaded(const struct group *g, uint32_t member)
{
    const struct member *m = &g->members[member];
    double mean = 0;

    assert(member < g->n);
    assert(m->account != NULL);
    if (m->hot && g->u.ledger.capacity[false] > 0)
        return true;
    if (g->u.ledger.capacity[m->hot] > 0)
        mean = g->u.ledger.est[m->hot] / g->u.ledger.capacity[m->hot];
    return m->u.ledger.est / balancer_typical_capacity(g, m->account) >
           OVERLOAD * fmax(mean, OVERLOAD_MEAN_MIN);
}

static double ledger_score(const struct group *g, uint32_t member)
{
    const struct member *m = &g->members[member];

    assert(member < g->n);
    return (m->u.ledger.est + 1) * m->u.ledger.per_share;
}

static void ledger_explain(const struct group *g, uint32_t member, mono_ms now,
                           struct buf *out)
{
    static const char *const names[] = {
        [HEAT_COLD] = NULL,   [HEAT_LATE] = "late",
        [HEAT_BUSY] = "busy", [HEAT_DEGRADED] = "degraded",
        [HEAT_CPU] = "cpu",   [HEAT_MEMORY] = "memory",
        [HEAT_DISK] = "disk",
    };
    const struct member *m = &g->members[member];
    const struct account *a = m->account;
    enum heat heat = ledger_heat(g, m);
    struct standing_part part = balancer_standing_part(a, g->conf, now);

    assert((size_t)heat < ARRAY_LEN(names));
    json_put_num(out, "est", balancer_ledger_estimate(g, a, now));
    json_put_num(out, "running", balancer_typical_running(g, a));
    json_put_num(out, "granted", a->granted);
    json_put_num(out, "acknowledged", a->acked);
    json_put_int(out, "owned", a->owned);
    json_put_num(out, "presumed", a->profile->presumed);
    json_put_num(out, "warm_up", part.warm_up);
    json_put_num(out, "recovery", part.recovery);
    json_put_str(out, "hot", names[heat]);
    json_put_bool(out, "hot_by_others", heat != (enum heat)m->heat);
}

const struct policy_ops balancer_policy_ledger = {
    .by_heat = true,
    .resize = balancer_group_tree_resize,
    .close = balancer_group_tree_close,
    .place = ledger_place,
    .choose = balancer_group_tree_choose,
    .recount = ledger_recount,
    .overloaded = ledger_overloaded,
    .score = ledger_score,
    .explain = ledger_explain,
};
