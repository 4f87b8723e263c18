/* policies.c - the list of all policies, in the order of the table. */
#include "tests/bench/placement/policies.h"

#include <string.h>

const struct policy *const placement_policies[] = {
    &policy_oracle, &policy_oracle_busy, &policy_ledger,
    &policy_fixed,  &policy_smooth_wrr,
};
const size_t placement_n_policies = ARRAY_LEN(placement_policies);

const struct policy *placement_policy(const char *name)
{
    for (size_t i = 0; i < placement_n_policies; i++)
        if (strcmp(placement_policies[i]->name, name) == 0)
            return placement_policies[i];
    return NULL;
}
