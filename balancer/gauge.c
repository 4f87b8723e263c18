/* gauge.c - see gauge_priv.h. */
#include "balancer/gauge_priv.h"

#include "base/compiler.h"

#include <math.h>

#define SUMS_KEEP      0.999
#define SAMPLES_MIN    60U
#define SURELY         4.0  /* standard errors */
#define SLOPE_MIN      0.05 /* cpu from no task to all slots taken */
#define EXTREME        0.05
#define STEP           0.005
#define EXTREMES_FIRST 100U /* reports */
#define SEEN_MAX       1000000U
#define MARGIN         0.01
#define LEFT_MIN       0.01
#define LEFT_MAX       0.999
#define REST_BELOW     0.8
#define FULL_FROM      0.97 /* of the slots */
#define MILLS_FROM     20.0 /* deviations: the rest is z + 1/z */
#define ENDED_MIN      1.0  /* tasks */

void balancer_gauge_begin(struct gauge *g)
{
    static const double first[FIT_TERMS] = {0.5, 0.5, 0};

    balancer_fit_begin(&g->fit, first);
    g->granted_sum = g->acked_sum = 0;
    g->low = 1;
    g->high = 0;
}

/* Follow the value that a share of all is below (Robbins and Monro, A
 * Stochastic Approximation Method, 1951). */
static double quantile(double q, double x, double share)
{
    return q + STEP * (x > q ? share : share - 1);
}

/* The lowest and highest at first: steps from afar would take twenty intervals,
 * and full workers would be taken for half full as long. */
static void extremes_learn(struct gauge *g, double cpu)
{
    if (g->seen < EXTREMES_FIRST) {
        g->low = fmin(g->low, cpu);
        g->high = fmax(g->high, cpu);
    } else {
        g->low = quantile(g->low, cpu, EXTREME);
        g->high = quantile(g->high, cpu, 1 - EXTREME);
    }
    g->seen += g->seen < SEEN_MAX; /* or it wraps, after some days of many */
}

/* A share of a worker's slots is the surer the more slots it has. */
void balancer_gauge_learn(struct gauge *g, const struct gauge_sample *s)
{
    double x[FIT_TERMS] = {s->was, (s->granted - s->acked) / s->capacity, 1};

    assert(s->capacity > 0);
    assert(s->granted >= 0 && s->acked >= 0);
    g->granted_sum = g->granted_sum * SUMS_KEEP + s->granted;
    g->acked_sum = g->acked_sum * SUMS_KEEP + s->acked;
    extremes_learn(g, s->is);
    if (fmax(s->was, s->is) > g->high - MARGIN)
        return; /* tasks may wait, which it does not show */
    (void)balancer_fit_learn(&g->fit, x, s->is, s->capacity);
}

/* Of tasks that came at any time of an interval, when acknowledged ones are
 * counted and of the others `left` would be left of old ones. */
static double new_left(const struct gauge *g)
{
    double told = g->granted_sum > 0 ? g->acked_sum / g->granted_sum : 0;
    double left = g->fit.at[0];

    told = fmin(told, 1);
    if (told > LEFT_MAX)
        return 1;
    left = fmin(fmax((left - told) / (1 - told), LEFT_MIN), LEFT_MAX);
    return told + (1 - told) * (1 - left) / -log(left);
}

/* The cpu without tasks. Where nearly all of an interval is left, or counted,
 * its course does not tell: then the highest is taken for that of full
 * workers, by which there may be too many tasks on all of them alike. */
static double at_rest(const struct gauge *g, double slope)
{
    const struct fit *f = &g->fit;
    double rest =
        f->at[0] < REST_BELOW ? f->at[2] / (1 - f->at[0]) : g->high - slope;

    return fmax(0, fmin(rest, g->low));
}

double balancer_gauge_read(const struct gauge *g, double cpu, bool *full)
{
    const struct fit *f = &g->fit;
    double slope, rest, used;

    if (full != NULL)
        *full = false;
    if (f->samples < SAMPLES_MIN ||
        f->at[1] < SURELY * f->error * sqrt(f->unsure[1][1]))
        return -1;
    slope = f->at[1] / new_left(g);
    rest = at_rest(g, slope);
    /* Nobody has more than all slots in use, so it is not flatter than that;
     * where tasks wait the fit says so. */
    slope = fmax(slope, g->high - rest);
    if (slope < SLOPE_MIN)
        return -1;
    used = fmax(0, (cpu - rest) / slope);
    if (full != NULL)
        *full = used >= FULL_FROM;
    assert(isfinite(used));
    return used;
}

/* phi(z)/(1 - Phi(z)) of the normal distribution. */
static double mills(double z)
{
    if (z > MILLS_FROM)
        return z + 1 / z;
    return exp(-z * z / 2) * M_2_SQRTPI * M_SQRT1_2 / erfc(z * M_SQRT1_2);
}

double balancer_gauge_full(double capacity, double expected, double ended)
{
    double deviation = sqrt(fmax(ended, ENDED_MIN));

    assert(capacity > 0);
    assert(expected >= 0);
    return expected + deviation * mills((capacity - expected) / deviation);
}
