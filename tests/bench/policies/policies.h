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
    enum conf_busy busy;
};

/* pelorus.c: ours */
extern const struct policy policy_ledger, policy_ledger_last, policy_fixed,
    policy_dynamic, policy_dynamic_fair;
/* oracle.c: who knows all */
extern const struct policy policy_oracle, policy_oracle_busy;
/* weighted.c */
extern const struct policy policy_smooth_wrr;
/* stale.c */
extern const struct policy policy_least_stale, policy_p2c_stale,
    policy_p2c_inflight;
/* counting.c: nginx, Envoy */
extern const struct policy policy_least_connections, policy_least_request;
/* informed.c */
extern const struct policy policy_informed;
/* prequal.c */
extern const struct policy policy_prequal;
/* dolphin.c */
extern const struct policy policy_ds_random, policy_ds_round_robin,
    policy_ds_fixed, policy_ds_dynamic;

#endif
