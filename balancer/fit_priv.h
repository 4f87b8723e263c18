/*
 * fit_priv.h - what survives of a group's work, learned from its reports.
 *
 * Three coefficients, fitted by recursive least squares with exponential
 * forgetting (Ljung and Söderström, Theory and Practice of Recursive
 * Identification, 1983, 2.2 and 5.6):
 *
 *     y = at[0] * x[0] + at[1] * x[1] + at[2] * x[2] + noise
 *
 * They stay within their limits. One odd sample moves them little: what is
 * beyond three times the usual error is cut down to that (Huber, Robust
 * Estimation of a Location Parameter, 1964). When samples keep missing by more
 * than they used to, which a cumulative sum tells (Page, Continuous Inspection
 * Schemes, 1954), the past is forgotten and the fit learns as at first.
 *
 * Plain numbers, no pointers: a fit is copied by assignment. Pure; under the
 * balancer's lock as all of its group.
 */
#ifndef PELORUS_BALANCER_FIT_PRIV_H
#define PELORUS_BALANCER_FIT_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#define FIT_TERMS 3

struct fit {
    double at[FIT_TERMS];                /* the coefficients */
    double unsure[FIT_TERMS][FIT_TERMS]; /* their covariance, in units of the
                                          noise's variance; symmetric */
    double error;     /* usual |error| of a sample of weight 1; 0: none yet */
    double surprise;  /* cumulative sum of errors beyond the usual */
    uint32_t samples; /* since it began or was reset; stays at its maximum */
    uint32_t resets;
};

/* Start from these coefficients, each within 0 .. the limit below. */
void balancer_fit_begin(struct fit *f, const double at[FIT_TERMS]);

/* The most that each may be; the least is 0. */
extern const double balancer_fit_limit[FIT_TERMS];

/* Take in one sample. `weight` > 0: the inverse of its noise's variance, beside
 * others'. A sample that is not finite, or says nothing (all x are 0), changes
 * nothing. True: the group has changed its character and the past was
 * forgotten. O(1). */
bool balancer_fit_learn(struct fit *f, const double x[FIT_TERMS], double y,
                        double weight);

/* What it expects. */
double balancer_fit_expect(const struct fit *f, const double x[FIT_TERMS]);

#endif
