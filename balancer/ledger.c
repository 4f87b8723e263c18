/*
 * ledger.c - the policy `ledger`: the last report, plus what we handed out
 * since, minus what has ended.
 *
 * Heartbeats are about ten seconds old. Whoever sends every task to the least
 * loaded worker of the last report sends them all to one (Mitzenmacher, How
 * useful is old information?, 2000); a dispatcher that counts its own grants
 * since each report does not (van der Boor, Borst and van Leeuwaarden,
 * Hyper-scalable JSQ, arXiv 1903.02337; Vargaftik, Keslassy and Orda, LSQ,
 * arXiv 2003.02368). Per worker with capacity c, at the age x of its report in
 * heartbeat intervals (at most 1):
 *
 *     est   = max(O, max(R', O') + A' + P' - D)
 *     R'    = (q + (1 - q) alpha^w) R + (gamma c + e) * a(x)
 *     A'    = sum of (q + (1 - q) beta^age), each grant of its own age
 *     score = (est + 1) / (c * weight/100 * part)           the lowest wins
 *
 * R tasks ran at the report, A were granted since, D of all were acknowledged
 * as done. alpha, beta and gamma are what an interval leaves of the old and of
 * the new and what others add per slot, and e is what they add to this worker
 * beyond that; a(x) is the part of it that is there by then. The group learns
 * them from its reports (ledger_learn.c). q is the share of the worker's ends
 * that is acknowledged: so far they are counted and not guessed, and one that
 * is lost counts no longer than until the next report. w is x, but slower while
 * tasks wait: these do not end. O items are the worker's own by the registry
 * and O' of them were at the report: whatever it reports, it runs them. P tasks
 * must be there as it would not take one more (as far as its ends are told:
 * else there may be room again at any time). `part`: it is new, or was BUSY
 * (standing.c). What a worker does not say is read from its cpu (gauge.c) or
 * taken as usual in its group (typical.c), never as better.
 *
 * Two classes, never blended: a member that is hot, or full by our own count
 * (est + 1 > c), has the top bit of its key set, so that it can only win when
 * nobody open is left. Without the count every pick would go to whoever last
 * reported below the threshold, until its next report. Hot and full ones
 * compete by the same score, relative to capacity: by bare estimates a full
 * small worker would beat a half-empty large one.
 *
 * Where tasks are much shorter than an interval all but e and gamma fades soon,
 * and what is left is to give each its share at even distances: measured, it
 * waits no longer than smooth weighted round robin with perfect weights.
 *
 * What depends on time is worked out when a member is placed (at a report and
 * at each tick); a pick adds to it.
 */
#include "balancer/ledger_priv.h"

#include "base/json/json.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define HOT_BIT    (UINT64_C(1) << 63)
#define OVERLOAD   1.25
#define FULL_SLACK 0.01 /* tasks: of rounding */
#define COOLED     0.05 /* of a cpu, below the threshold */
/* A worker less than half full is not overloaded, however idle the rest. */
#define OVERLOAD_MEAN_MIN 0.4

#define LEFT_FIRST 0.8 /* as ledger_learn.c begins */
#define LEFT_MIN   0.001

/* What a group's ratio of acknowledged ends counts in a worker's, tasks. */
#define TOLD_PRIOR 8.0

/* The share of this worker's ends that is acknowledged; of one that is not
 * well known, as usual in its group. */
static double ledger_told(const struct group *g, const struct account *a)
{
    const struct profile *p = a->profile;
    double usual = g->u.ledger.ended_sum > 0
                       ? g->u.ledger.acked_sum / g->u.ledger.ended_sum
                       : 0;
    double told = (p->acked_sum + TOLD_PRIOR * fmin(usual, 1)) /
                  (p->ended_sum + TOLD_PRIOR);

    assert(told >= 0);
    return fmin(told, 1);
}

/* Age of the report in intervals, at most 1: a worker that is late may have
 * stopped, and then nothing ends. */
static float ledger_age(const struct group *g, const struct account *a,
                        mono_ms now)
{
    mono_ms interval = g->conf->heartbeat_interval_ms;
    mono_ms age = now - a->profile->settled;

    assert(interval > 0);
    return age <= 0 ? 0 : age >= interval ? 1 : (float)age / (float)interval;
}

static double expected(const struct member *m)
{
    double told = (double)m->u.ledger.told;

    return (double)m->u.ledger.carry + told * m->account->granted +
           (1 - told) * (double)m->u.ledger.alive - m->account->acked;
}

/* What it owns it runs, whatever it reports. (Not by fmax(), nor below: each
 * pick comes by, and there is no NaN.) */
static double estimate(const struct member *m)
{
    double owned = m->account->owned, tasks = expected(m);

    return owned > tasks ? owned : tasks;
}

/* Grants of the account that came since through any group are new. */
static void absorb(struct member *m)
{
    float granted = (float)m->account->granted;
    float alive = m->u.ledger.alive + granted - m->u.ledger.seen;

    m->u.ledger.alive = alive > 0 ? alive : 0;
    m->u.ledger.seen = granted;
    assert(m->u.ledger.seen >= 0);
}

/* Let the report's tasks and the grants since, each from its own time, fade to
 * `now`. What waits does not end: on a worker with more tasks than slots time
 * passes as much more slowly. */
void balancer_ledger_fade(const struct group *g, struct member *m, mono_ms now)
{
    const struct account *a = m->account;
    const struct profile *p = a->profile;
    mono_ms end = p->settled + g->conf->heartbeat_interval_ms;
    uint32_t until = (uint32_t)(now < end ? now : end);
    double capacity = balancer_typical_capacity(g, a);

    if (m->u.ledger.period != p->settles) {
        m->u.ledger.period = p->settles;
        m->u.ledger.work = 0;
        m->u.ledger.alive = m->u.ledger.seen = (float)a->granted;
        m->u.ledger.at = (uint32_t)p->settled;
    }
    absorb(m);
    if (until - m->u.ledger.at > UINT32_MAX / 2)
        return;
    float x =
        (float)(until - m->u.ledger.at) / (float)g->conf->heartbeat_interval_ms;
    double est = estimate(m);

    if (est > capacity)
        x *= (float)(capacity / est);
    m->u.ledger.work += x;
    m->u.ledger.alive *= exp2f(x * g->u.ledger.fade_granted);
    m->u.ledger.at = until;
}

/* The share of the report's tasks that is left, as far as their ends are not
 * counted as acknowledged. */
double balancer_ledger_left(const struct group *g, const struct member *m)
{
    double told = (double)m->u.ledger.told;

    return told + (1 - told) * (double)exp2f(m->u.ledger.work *
                                             g->u.ledger.fade_running);
}

double balancer_ledger_added(const struct group *g, double x)
{
    double fade = (double)g->u.ledger.fade_running;

    assert(x >= 0 && x <= 1);
    return fade > -0.01 ? x : (1 - exp2(fade * x)) / (1 - exp2(fade));
}

/* So many at least of those that were there at the report are there still:
 * what it owns, and all slots of who said BUSY. */
static double ledger_known(const struct group *g, const struct account *a)
{
    double owned = a->profile->owned_told;

    assert(owned >= 0);
    return a->profile->busy ? fmax(owned, balancer_typical_capacity(g, a))
                            : owned;
}

/* Work out all that depends on time. */
static void ledger_terms(const struct group *g, struct member *m, mono_ms now)
{
    const struct account *a = m->account;
    double others = g->u.ledger.fit.at[2] * balancer_typical_capacity(g, a) +
                    a->profile->excess;
    double left;

    m->u.ledger.told = (float)ledger_told(g, a);
    balancer_ledger_fade(g, m, now);
    left = balancer_ledger_left(g, m);
    m->u.ledger.carry = (float)(fmax(left * balancer_typical_running(g, a) +
                                         others * balancer_ledger_added(
                                                      g, ledger_age(g, a, now)),
                                     ledger_known(g, a)) +
                                left * a->profile->presumed);
    assert(m->u.ledger.carry >= 0);
}

/* Of a worker in a group by another policy nothing was learned. */
static double guess(const struct group *g, const struct account *a, mono_ms now)
{
    double left = pow(LEFT_FIRST, (double)ledger_age(g, a, now));

    return left * (balancer_typical_running(g, a) + a->profile->presumed +
                   a->granted) -
           a->acked;
}

/* Its member as of now, if that group goes by this policy. */
static bool ledger_look(const struct group *g, const struct account *a,
                        mono_ms now, struct member *out)
{
    if (g->ops != &balancer_policy_ledger)
        return false;
    for (uint32_t i = 0; i < a->n_in; i++) {
        if (a->in[i].group != g)
            continue;
        *out = g->members[a->in[i].member];
        ledger_terms(g, out, now);
        return true;
    }
    return false;
}

double balancer_ledger_estimate(const struct group *g, const struct account *a,
                                mono_ms now)
{
    struct member m;

    if (ledger_look(g, a, now, &m))
        return estimate(&m);
    return fmax(a->owned, guess(g, a, now));
}

void balancer_ledger_fill(const struct group *g, struct account *a, mono_ms now)
{
    struct member m;
    bool looked = ledger_look(g, a, now, &m);
    double est = looked ? expected(&m) : guess(g, a, now);
    double left = looked ? balancer_ledger_left(g, &m) : 1;
    double told = looked ? (double)m.u.ledger.told : 0;
    double lacking = balancer_typical_capacity(g, a) - est;

    if (lacking > 0)
        a->profile->presumed += told * lacking / fmax(left, LEFT_MIN);
    assert(a->profile->presumed >= 0);
}

/* The order of positive floats is that of their bits. */
static uint64_t ledger_key(const struct member *m)
{
    double score =
        ((double)m->u.ledger.est + 1) * (double)m->u.ledger.per_share;
    float narrow = score < (double)FLT_MAX ? (float)score : FLT_MAX;
    uint32_t bits;

    assert(score > 0);
    memcpy(&bits, &narrow, sizeof(bits));
    return (m->hot ? HOT_BIT : 0) | (uint64_t)bits << 32 | m->salt;
}

static bool is_full(double est, double capacity)
{
    return est + 1 > capacity + FULL_SLACK;
}

/* Take the member out of the group's totals, and enter it where it belongs
 * now. `capacity` 0: nowhere, and `est` is 0. A full one ranks with the hot: at
 * best it makes the task wait. */
static inline void ledger_total(struct group *g, struct member *m, double est,
                                double capacity)
{
    bool hot = m->heated || is_full(est, capacity);
    float counted = (float)capacity;

    assert(capacity >= 0);
    assert(capacity > 0 ? est >= 0 : est == 0);
    g->u.ledger.est[m->hot] -= (double)m->u.ledger.est;
    m->u.ledger.est = (float)est;
    g->u.ledger.est[hot] += (double)m->u.ledger.est;
    if (hot == m->hot && counted == m->u.ledger.counted)
        return;
    g->u.ledger.capacity[m->hot] -= (double)m->u.ledger.counted;
    g->u.ledger.capacity[hot] += (double)counted;
    m->u.ledger.counted = counted;
    m->hot = hot;
}

/* What it does not say of itself is as with the others. */
static enum heat ledger_heat(const struct group *g, const struct member *m)
{
    return m->heat != HEAT_COLD ? (enum heat)m->heat
                                : balancer_typical_heat(g, m->account);
}

/* Where tasks are what loads the cpu, it has gone down with them since the
 * report said that it is hot. */
static bool has_cooled(const struct group *g, const struct member *m)
{
    const struct profile *p = m->account->profile;
    double ended = p->running - estimate(m), cpu = p->usage[USUAL_CPU];
    double per_slot = g->u.ledger.cpu.per_slot;

    assert(p->capacity > 0);
    if (m->heat != HEAT_CPU || per_slot <= 0 ||
        (p->usage[USUAL_POOL] < 0 && !p->gauged))
        return false;
    return cpu - per_slot * ended / p->capacity <
           balancer_typical_hot_from(g->conf, USUAL_CPU) - COOLED;
}

static uint64_t ledger_judge(struct group *g, struct member *m, mono_ms now)
{
    const struct account *a = m->account;
    struct standing_part part;

    if (a != NULL)
        ledger_terms(g, m, now);
    if (!member_eligible(m)) {
        ledger_total(g, m, 0, 0);
        return TREE_NONE;
    }
    part = balancer_standing_part(a, g->conf, now);
    m->heated = ledger_heat(g, m) != HEAT_COLD && !has_cooled(g, m);
    m->u.ledger.per_share = (float)(1 / (balancer_typical_share(g, a) *
                                         part.warm_up * part.recovery));
    assert(m->u.ledger.per_share > 0);
    ledger_total(g, m, estimate(m), balancer_typical_capacity(g, a));
    return ledger_key(m);
}

static void ledger_place(struct group *g, uint32_t from, uint32_t to,
                         mono_ms now)
{
    assert(from < to);
    assert(to <= g->n);
    balancer_ledger_begin(g);
    for (uint32_t i = from; i < to; i++)
        tree_put(&g->tree, i, ledger_judge(g, &g->members[i], now));
    balancer_tree_repair(&g->tree, from, to);
}

static void ledger_recount(struct group *g, uint32_t member)
{
    struct member *m = &g->members[member];

    assert(member < g->n);
    absorb(m);
    if (!member_eligible(m))
        return;
    ledger_total(g, m, estimate(m), (double)m->u.ledger.counted);
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
    return (double)m->u.ledger.est / balancer_typical_capacity(g, m->account) >
           OVERLOAD * fmax(mean, OVERLOAD_MEAN_MIN);
}

static double ledger_score(const struct group *g, uint32_t member)
{
    const struct member *m = &g->members[member];

    assert(member < g->n);
    return ((double)m->u.ledger.est + 1) * (double)m->u.ledger.per_share;
}

static const char *running_from(const struct account *a)
{
    const struct profile *p = a->profile;

    return p->usage[USUAL_POOL] >= 0 ? "pool" : p->gauged ? "cpu" : "count";
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
    struct member m = g->members[member]; /* it is not changed by a question */
    const struct account *a = m.account;
    enum heat heat = ledger_heat(g, &m);
    struct standing_part part = balancer_standing_part(a, g->conf, now);

    assert((size_t)heat < ARRAY_LEN(names));
    ledger_terms(g, &m, now);
    json_put_num(out, "est", estimate(&m));
    json_put_num(out, "running", balancer_typical_running(g, a));
    json_put_num(out, "carried", (double)m.u.ledger.carry);
    json_put_num(out, "granted", a->granted);
    json_put_num(out, "alive", (double)m.u.ledger.alive);
    json_put_num(out, "told", (double)m.u.ledger.told);
    json_put_num(out, "acknowledged", a->acked);
    json_put_int(out, "owned", a->owned);
    json_put_num(out, "presumed", a->profile->presumed);
    json_put_num(out, "alpha", g->u.ledger.fit.at[0]);
    json_put_num(out, "beta", (double)exp2f(g->u.ledger.fade_granted));
    json_put_num(out, "gamma", g->u.ledger.fit.at[2]);
    json_put_num(out, "excess", a->profile->excess);
    json_put_str(out, "running_from", running_from(a));
    json_put_num(out, "share", balancer_typical_share(g, a));
    json_put_num(out, "warm_up", part.warm_up);
    json_put_num(out, "recovery", part.recovery);
    json_put_str(out, "hot", names[heat]);
    json_put_bool(out, "hot_by_others", heat != (enum heat)m.heat);
    json_put_bool(out, "full",
                  is_full(estimate(&m), balancer_typical_capacity(g, a)));
}

const struct policy_ops balancer_policy_ledger = {
    .by_heat = true,
    .resize = balancer_group_tree_resize,
    .close = balancer_group_tree_close,
    .place = ledger_place,
    .choose = balancer_group_tree_choose,
    .recount = ledger_recount,
    .report = balancer_ledger_report,
    .overloaded = ledger_overloaded,
    .score = ledger_score,
    .explain = ledger_explain,
};
