/* fit.c - see fit_priv.h. */
#include "balancer/fit_priv.h"

#include "base/compiler.h"

#include <math.h>
#include <string.h>

/* Five hundred samples weigh: of sixty workers the reports of 80 s. */
#define KEEP        0.998
#define UNSURE      0.25 /* of a coefficient at first, as a variance */
#define UNSURE_MIN  1e-9
#define HUBER       3.0 /* usual errors */
#define ERROR_KEEP  0.98
#define ERROR_MIN   0.01 /* else one that fits exactly would learn no more */
#define SAMPLES_MAX 1000000U

/* The sum grows by a sample's error in usual ones less SLACK. Errors that are
 * as usual average 1, so that it stays near 0; twice as large they reach ALARM
 * within a hundred samples. Before SETTLED it is not known what is usual. */
#define SLACK   1.5
#define ALARM   40.0
#define SETTLED 200U

const double balancer_fit_limit[FIT_TERMS] = {1, 1, 1};

static void forget(struct fit *f)
{
    memset(f->unsure, 0, sizeof(f->unsure));
    for (int i = 0; i < FIT_TERMS; i++)
        f->unsure[i][i] = UNSURE;
    f->surprise = 0;
    f->samples = 0;
    f->error = 0;
    assert(f->unsure[0][0] > 0);
}

void balancer_fit_begin(struct fit *f, const double at[FIT_TERMS])
{
    memset(f, 0, sizeof(*f));
    for (int i = 0; i < FIT_TERMS; i++) {
        assert(at[i] >= 0 && at[i] <= balancer_fit_limit[i]);
        f->at[i] = at[i];
    }
    forget(f);
}

double balancer_fit_expect(const struct fit *f, const double x[FIT_TERMS])
{
    double y = 0;

    for (int i = 0; i < FIT_TERMS; i++)
        y += f->at[i] * x[i];
    return y;
}

/* The sample counts like one of weight 1 with its x and y times the root. */
static bool scaled(const double x[FIT_TERMS], double y, double weight,
                   double out[FIT_TERMS], double *out_y)
{
    double root = sqrt(weight), size = 0;

    *out_y = y * root;
    for (int i = 0; i < FIT_TERMS; i++) {
        out[i] = x[i] * root;
        size += out[i] * out[i];
    }
    return isfinite(size) && isfinite(*out_y) && size > 0;
}

/* Forgetting widens what is not heard of; it never gets wider than at first. */
static void widen(struct fit *f)
{
    for (int i = 0; i < FIT_TERMS; i++) {
        double by = fmin(1 / KEEP, UNSURE / f->unsure[i][i]);
        double root = sqrt(fmax(by, 1));

        for (int j = 0; j < FIT_TERMS; j++) {
            f->unsure[i][j] *= root;
            f->unsure[j][i] *= root;
        }
        assert(f->unsure[i][i] > 0);
    }
}

static double within(double x, int i)
{
    return fmin(fmax(x, 0), balancer_fit_limit[i]);
}

/* What lies beyond a limit is taken back, and the others go where they are
 * likeliest then (a projection in the metric of the covariance; Goodwin and
 * Sin, Adaptive Filtering Prediction and Control, 1984, 3.7): by cutting off
 * alone they would stay where the sum with what was cut off is right. */
static void project(struct fit *f)
{
    for (int pass = 0; pass < FIT_TERMS; pass++)
        for (int i = 0; i < FIT_TERMS; i++) {
            double beyond = f->at[i] - within(f->at[i], i);

            for (int j = 0; j < FIT_TERMS && beyond != 0; j++)
                f->at[j] -= f->unsure[j][i] / f->unsure[i][i] * beyond;
        }
    for (int i = 0; i < FIT_TERMS; i++)
        f->at[i] = within(f->at[i], i);
}

/* unsure * x; returns x * unsure * x + 1. */
static double spread_of(const struct fit *f, const double x[FIT_TERMS],
                        double towards[FIT_TERMS])
{
    double spread = 1;

    for (int i = 0; i < FIT_TERMS; i++) {
        towards[i] = 0;
        for (int j = 0; j < FIT_TERMS; j++)
            towards[i] += f->unsure[i][j] * x[j];
        spread += towards[i] * x[i];
    }
    return spread;
}

/* No two coefficients are more alike than one is to itself. */
static void bound(struct fit *f)
{
    for (int i = 0; i < FIT_TERMS; i++)
        f->unsure[i][i] = fmax(f->unsure[i][i], UNSURE_MIN);
    for (int i = 0; i < FIT_TERMS; i++)
        for (int j = 0; j < FIT_TERMS; j++) {
            double most = sqrt(f->unsure[i][i] * f->unsure[j][j]);

            if (i != j)
                f->unsure[i][j] = fmin(fmax(f->unsure[i][j], -most), most);
        }
}

static void update(struct fit *f, const double x[FIT_TERMS], double error)
{
    double towards[FIT_TERMS], spread = spread_of(f, x, towards);

    if (!(spread >= 1)) { /* no covariance any more: of rounding */
        forget(f);
        spread = spread_of(f, x, towards);
    }
    assert(spread >= 1);
    for (int i = 0; i < FIT_TERMS; i++) {
        f->at[i] += towards[i] / spread * error;
        for (int j = 0; j < FIT_TERMS; j++)
            f->unsure[i][j] -= towards[i] * towards[j] / spread;
    }
    bound(f);
    project(f);
}

bool balancer_fit_learn(struct fit *f, const double x[FIT_TERMS], double y,
                        double weight)
{
    double sx[FIT_TERMS], sy, error, size;
    bool changed = false;

    assert(weight > 0);
    if (!scaled(x, y, weight, sx, &sy))
        return false;
    error = sy - balancer_fit_expect(f, sx);
    size = fabs(error);
    if (f->samples >= SETTLED && f->error > 0) {
        f->surprise =
            fmax(0, f->surprise + fmin(size / f->error, HUBER) - SLACK);
        changed = f->surprise > ALARM;
    }
    if (changed) {
        forget(f);
        f->resets++;
    }
    if (f->samples > FIT_TERMS && size > HUBER * f->error) {
        error = copysign(HUBER * f->error, error);
        size = HUBER * f->error;
    }
    /* A plain mean at first, then one that forgets. */
    f->samples += f->samples < SAMPLES_MAX;
    f->error += (size - f->error) * fmax(1.0 / f->samples, 1 - ERROR_KEEP);
    f->error = fmax(f->error, ERROR_MIN);
    widen(f);
    update(f, sx, error);
    return changed;
}
