/* policies.c - the list of all policies, in the order of the table. */
#include "tests/bench/policies/policies.h"

#include <string.h>

const struct policy *const placement_policies[] = {
    &policy_oracle,         &policy_oracle_busy,
    &policy_informed,       &policy_ledger,
    &policy_ledger_last,    &policy_fixed,
    &policy_dynamic,        &policy_dynamic_fair,
    &policy_smooth_wrr,     &policy_least_connections,
    &policy_least_request,  &policy_prequal,
    &policy_p2c_inflight,   &policy_p2c_stale,
    &policy_least_stale,    &policy_ds_random,
    &policy_ds_round_robin, &policy_ds_fixed,
    &policy_ds_dynamic,
};
const size_t placement_n_policies = ARRAY_LEN(placement_policies);

const struct policy *placement_policy(const char *name)
{
    for (size_t i = 0; i < placement_n_policies; i++)
        if (strcmp(placement_policies[i]->name, name) == 0)
            return placement_policies[i];
    return NULL;
}
