/*
 * ledger_learn.c - what a group's ledger learns from each report: how much of
 * the work an interval leaves, and how much of the cpu a task takes. Pure.
 *
 * A report says how many tasks there are; the ledger expected some, by its
 * coefficients (ledger.c). The difference moves them, along the slopes of what
 * was expected: a recursive prediction error method (Ljung and Söderström,
 * 1983, 3.3; Gauss-Newton), whose linear part is fit.c. So a queue, in which
 * nothing ends, and ends that were acknowledged teach nothing wrong.
 *
 * The cpu per slot in use is the slope of a line through (pool usage, cpu
 * usage) of all reports, and is only used where the line is close to them. Of
 * those that do not say their pool usage it is the gauge's, by which their
 * tasks are read (gauge.c).
 */
#include "balancer/ledger_priv.h"

#include <math.h>

/* At first four fifths of all survive an interval. Of grants at any time in it
 * (1 - .8)/ln(1/.8) are left at its end. */
#define LEFT_FIRST    0.8
#define GRANTED_FIRST 0.8963
#define LEFT_MIN      0.001
#define FADE_MAX      64.0 /* halvings per interval: nothing is left */

/* Reports that follow soon upon another (a change of BUSY) tell little. */
#define LEARN_FROM 0.5 /* intervals */
#define LEARN_TO   1.5

#define TOLD_KEEP 0.999 /* per report in the group */

#define EXCESS_KEEP 0.94 /* per report of a worker */

#define LAG_KEEP        0.999 /* likewise */
#define LAG_ERROR_MAX   4.0
#define LAG_SAMPLES_MIN 500U
#define LAG_BETTER      0.98 /* of the mean square error */

#define CPU_KEEP     0.998 /* likewise */
#define CPU_SEEN_MIN 100.0 /* reports */
#define CPU_CLOSE    0.8   /* of the variance is explained */
#define CPU_VARIANCE 1e-12 /* of slots in use, at least: else of rounding */

static double fade_of(double left)
{
    assert(left >= 0 && left <= 1);
    return fmax(log2(fmax(left, 1e-30)), -FADE_MAX);
}

/* Grants come at any time of an interval: when they fade by exp(-r) over one,
 * (1 - exp(-r))/r of them are left at its end. Its slope in r: */
static double granted_slope(double r)
{
    double e = exp(-r);

    assert(r >= 0);
    return r < 1e-3 ? -0.5 : (e * (r + 1) - 1) / (r * r);
}

/* Solved for r: a guess that is good to a tenth, and two of Newton's steps. */
static double fade_of_granted(double left)
{
    double r;

    assert(left >= 0 && left <= 1);
    if (left > 0.999)
        return 0;
    left = fmax(left, 1 / FADE_MAX);
    r = (1 / left - 1) * (1 + left);
    for (int i = 0; i < 2; i++)
        r = fmax(r - ((1 - exp(-r)) / r - left) / granted_slope(r), 1e-3);
    return fmax(-r * M_LOG2E, -FADE_MAX);
}

static void ledger_fades(struct group *g)
{
    const struct fit *f = &g->u.ledger.fit;

    g->u.ledger.fade_running = (float)fade_of(f->at[0]);
    g->u.ledger.fade_granted = (float)fade_of_granted(f->at[1]);
    assert(g->u.ledger.fade_running <= 0);
    assert(g->u.ledger.fade_granted <= 0);
}

void balancer_ledger_begin(struct group *g)
{
    static const double first[FIT_TERMS] = {LEFT_FIRST, GRANTED_FIRST, 0};

    if (g->u.ledger.fitted)
        return;
    balancer_fit_begin(&g->u.ledger.fit, first);
    g->u.ledger.fitted = true;
    ledger_fades(g);
    assert(g->u.ledger.fit.samples == 0);
}

/* By which lag are reports what was expected? `error` is the difference if
 * nothing is missing in them, and grows as the root of `n`. */
static void lag_learn(struct group *g, struct account *a, double error,
                      uint32_t bucket, double n)
{
    double *mean = g->u.ledger.lag_error;
    uint32_t best = g->lag;

    for (uint32_t i = 0; i <= LAG_BUCKETS; i++) {
        double e = error + balancer_account_kept(a, bucket, i);

        mean[i] += (fmin(e * e / n, LAG_ERROR_MAX) - mean[i]) * (1 - LAG_KEEP);
    }
    for (uint32_t i = 1; i <= LAG_BUCKETS; i++)
        if (mean[i] < mean[best])
            best = i;
    if (g->u.ledger.fit.samples >= LAG_SAMPLES_MIN &&
        mean[best] < mean[g->lag] * LAG_BETTER)
        g->lag = best;
    assert(g->lag >= 1 && g->lag <= LAG_BUCKETS);
}

/* How the tasks expected at a report depend on the fit's coefficients. */
static void ledger_slopes(const struct group *g, const struct member *m,
                          double age, double slope[FIT_TERMS])
{
    const struct account *a = m->account;
    const struct fit *f = &g->u.ledger.fit;
    double untold = 1 - (double)m->u.ledger.told;
    double work = (double)m->u.ledger.work;
    double rate = -(double)g->u.ledger.fade_granted / M_LOG2E;
    double alive = fmin((double)m->u.ledger.alive, a->granted), old = work / 2;

    if (rate > 0.01 && alive > 0)
        old = fmin(log(a->granted / alive) / rate, work);
    slope[0] = untold * a->profile->running * work *
               pow(fmax(f->at[0], LEFT_MIN), work - 1);
    slope[1] = untold * alive * old / -granted_slope(rate);
    slope[2] = a->profile->capacity * balancer_ledger_added(g, age);
}

/* The cpu of the report, by its tasks. */
static void cpu_learn(struct cpu_line *l, double used, double cpu)
{
    double du, dc;

    if (cpu < 0 || used > 1)
        return; /* of those that wait the cpu says nothing */
    l->n = l->n * CPU_KEEP + 1;
    du = used - l->used;
    dc = cpu - l->cpu;
    l->used += du / l->n;
    l->cpu += dc / l->n;
    l->uu += (du * (used - l->used) - l->uu) / l->n;
    l->cc += (dc * (cpu - l->cpu) - l->cc) / l->n;
    l->uc += (du * (cpu - l->cpu) - l->uc) / l->n;
    l->per_slot = 0;
    if (l->n >= CPU_SEEN_MIN && l->uu >= CPU_VARIANCE && l->uc > 0 &&
        l->uc * l->uc >= CPU_CLOSE * l->uu * l->cc)
        l->per_slot = l->uc / l->uu;
    assert(isfinite(l->per_slot));
}

/* Others' work differs by worker, and lasts. */
static void excess_learn(struct profile *p, double error)
{
    double to = p->excess * EXCESS_KEEP + error * (1 - EXCESS_KEEP);

    p->excess = fmin(fmax(to, -p->capacity), p->capacity);
    assert(fabs(p->excess) <= p->capacity);
}

/* What the report says beside what was known. A sum of n independent tasks has
 * a variance that grows as n. */
void balancer_ledger_report(struct group *g, uint32_t member, double tasks,
                            uint32_t bucket, mono_ms now)
{
    struct member *m = &g->members[member];
    const struct account *a = m->account;
    const struct profile *p = a->profile;
    double x =
        (double)(now - p->settled) / (double)g->conf->heartbeat_interval_ms;
    double slope[FIT_TERMS], kept, error, told, n;

    assert(member < g->n);
    balancer_ledger_begin(g);
    if (x < LEARN_FROM || x > LEARN_TO || p->source == CAPACITY_WEIGHT)
        return;
    if (p->usage[USUAL_POOL] >= 0)
        cpu_learn(&g->u.ledger.cpu, p->usage[USUAL_POOL], p->usage[USUAL_CPU]);
    else if (p->gauged)
        cpu_learn(&g->u.ledger.cpu, tasks / p->capacity, p->usage[USUAL_CPU]);
    balancer_ledger_fade(g, m, now);
    ledger_slopes(g, m, fmin(x, 1), slope);
    n = p->running + a->granted;
    told = (double)m->u.ledger.told;
    kept = balancer_account_kept(m->account, bucket, g->lag);
    error = tasks + kept + a->acked - balancer_ledger_left(g, m) * p->running -
            told * a->granted - (1 - told) * (double)m->u.ledger.alive -
            g->u.ledger.fit.at[2] * slope[2];
    if (g == a->in[0].group)
        excess_learn(m->account->profile, error);
    error -= p->excess;
    g->u.ledger.ended_sum =
        g->u.ledger.ended_sum * TOLD_KEEP + fmax(0, n - tasks - fmax(0, kept));
    g->u.ledger.acked_sum =
        g->u.ledger.acked_sum * TOLD_KEEP + fmax(0, a->acked - fmax(0, -kept));
    lag_learn(g, m->account, error - kept, bucket, fmax(p->capacity, n));
    (void)balancer_fit_learn(&g->u.ledger.fit, slope,
                             error +
                                 balancer_fit_expect(&g->u.ledger.fit, slope),
                             x / fmax(p->capacity, n));
    ledger_fades(g);
}
