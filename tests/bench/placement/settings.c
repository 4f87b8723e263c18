/* settings.c - the scenarios and variants that are measured. */
#include "tests/bench/placement/placement.h"

const struct scenario placement_scenarios[] = {
    {"bursts85", "rho .85, bursts", .85, 6, 40, 100, LOAD_LIGHT, false, 180,
     1200},
    {"bursts92", "rho .92, bursts", .92, 6, 40, 100, LOAD_LIGHT, false, 240,
     1200},
    {"short85", "rho .85, short tasks", .85, .5, 1, 100, LOAD_LIGHT, false, 60,
     120},
    {"long85", "rho .85, bursts of long tasks", .85, 60, 40, 100, LOAD_LIGHT,
     false, 1800, 12000},
    {"cpu85", "rho .85, bursts, tasks load the cpu", .85, 6, 40, 100, LOAD_CPU,
     false, 180, 1200},
    {"busy85", "rho .85, bursts, workers say BUSY", .85, 6, 40, 100, LOAD_LIGHT,
     true, 180, 1200},
};
const size_t placement_n_scenarios = ARRAY_LEN(placement_scenarios);

const struct variant placement_variants[] = {
    {.name = "plain", .title = "one coordinator"},
    {.name = "coordinators3", .title = "3 coordinators", .coordinators = 3},
    {.name = "coordinators10", .title = "10 coordinators", .coordinators = 10},
    {.name = "weights", .title = "wrong weights", .wrong_weights = true},
    {.name = "hung", .title = "a worker that hangs", .hung = true},
    {.name = "lost5", .title = "5 % of acknowledgements lost", .acked = .95},
    {.name = "told1", .title = "1 % of ends acknowledged", .acked = .01},
    {.name = "churn", .title = "workers join and leave", .churn = true},
    {.name = "slots-cpu",
     .title = "heartbeats say slots and cpu only",
     .form = REPORT_SLOTS_CPU},
    {.name = "no-slots",
     .title = "heartbeats do not say slots",
     .form = REPORT_NO_SLOTS},
    {.name = "tenth",
     .title = "heartbeats of 1 s, times divided by ten",
     .divide = 10},
};
const size_t placement_n_variants = ARRAY_LEN(placement_variants);
