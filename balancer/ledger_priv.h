/*
 * ledger_priv.h - between ledger.c, which ranks by what a group has learned,
 * and ledger_learn.c, which learns it.
 */
#ifndef PELORUS_BALANCER_LEDGER_PRIV_H
#define PELORUS_BALANCER_LEDGER_PRIV_H

#include "balancer/balancer_priv.h"

/* Nothing was learned yet, if this is the group's first use. */
void balancer_ledger_begin(struct group *g);

/* The policy's `report`. */
policy_report_f balancer_ledger_report;

/* Let what was there at the report and what was granted since fade to `now`,
 * each grant from its own time. */
void balancer_ledger_fade(const struct group *g, struct member *m, mono_ms now);

/* The share of the report's tasks that is left then, 0..1, as far as their
 * ends are not counted as acknowledged. */
double balancer_ledger_left(const struct group *g, const struct member *m);

/* So much of what others add in an interval is there after `x` (0..1) of it: it
 * comes evenly, and fades like the rest. 0..1. */
double balancer_ledger_added(const struct group *g, double x);

#endif
