/*
 * policies.h - the policies, for the list of them (policies.c).
 */
#ifndef PELORUS_BENCH_POLICIES_H
#define PELORUS_BENCH_POLICIES_H

#include "conf/conf.h"
#include "tests/bench/placement/placement.h"

struct pelorus_option {
    enum conf_policy policy;
    bool perfect_weights;
};

/* policy_pelorus.c: ours */
extern const struct policy policy_ledger, policy_fixed;
/* policy_oracle.c: who knows all */
extern const struct policy policy_oracle, policy_oracle_busy;
/* policy_weighted.c */
extern const struct policy policy_smooth_wrr;

#endif
