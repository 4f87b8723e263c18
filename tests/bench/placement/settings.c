/* settings.c - the scenarios and variants that are measured. */
#include "tests/bench/placement/placement.h"

#include <stdio.h>
#include <string.h>

#define TENTH_NAME  "tenth"
#define TENTH_TITLE "heartbeats of 1 s, times divided by ten"

/* Of tasks that are short beside a heartbeat interval the oracle lets none
 * wait: a ratio to it says nothing. */
const struct scenario placement_scenarios[] = {
    {.name = "bursts85",
     .title = "rho .85, bursts",
     .rho = .85,
     .mean = 6,
     .burst = 40,
     .foreign = .15,
     .ceiling = 100,
     .reference = "oracle",
     .settle = 180,
     .measured = 1200},
    {.name = "bursts92",
     .title = "rho .92, bursts",
     .rho = .92,
     .mean = 6,
     .burst = 40,
     .foreign = .15,
     .ceiling = 100,
     .reference = "oracle",
     .settle = 240,
     .measured = 1200},
    {.name = "short85",
     .title = "rho .85, short tasks",
     .rho = .85,
     .mean = .5,
     .burst = 1,
     .foreign = .15,
     .ceiling = 100,
     .reference = "smooth-wrr",
     .settle = 60,
     .measured = 120},
    {.name = "long85",
     .title = "rho .85, bursts of long tasks",
     .rho = .85,
     .mean = 60,
     .burst = 40,
     .foreign = .15,
     .ceiling = 100,
     .reference = "oracle",
     .settle = 1800,
     .measured = 12000},
    {.name = "cpu85",
     .title = "rho .85, bursts, tasks load the cpu",
     .rho = .85,
     .mean = 6,
     .burst = 40,
     .foreign = .15,
     .ceiling = 100,
     .load = LOAD_CPU,
     .reference = "oracle",
     .settle = 180,
     .measured = 1200},
    {.name = "busy85",
     .title = "rho .85, bursts, full workers say BUSY",
     .rho = .85,
     .mean = 6,
     .burst = 40,
     .foreign = .15,
     .ceiling = 100,
     .says_busy = true,
     .reference = "oracle-busy",
     .settle = 180,
     .measured = 1200},
    {.name = "refuse85",
     .title = "rho .85, bursts, full workers refuse",
     .rho = .85,
     .mean = 6,
     .burst = 40,
     .foreign = .15,
     .ceiling = 100,
     .refuses = true,
     .reference = "oracle",
     .settle = 180,
     .measured = 1200},
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
};
const size_t placement_n_variants = ARRAY_LEN(placement_variants);

bool setting_is_plain(const struct setting *s)
{
    return s->variant == placement_variants && !s->tenth;
}

const char *setting_name(const struct setting *s, char out[SETTING_NAME])
{
    bool plain = s->variant == placement_variants;
    int n = snprintf(out, SETTING_NAME, "%s%s%s", s->tenth ? TENTH_NAME : "",
                     s->tenth && !plain ? "-" : "",
                     s->tenth && plain ? "" : s->variant->name);

    assert(n > 0 && n < (int)SETTING_NAME);
    return out;
}

const char *setting_title(const struct setting *s, char out[SETTING_TITLE])
{
    bool plain = s->variant == placement_variants;
    int n =
        snprintf(out, SETTING_TITLE, "%s%s%s",
                 s->tenth && plain ? "" : s->variant->title,
                 s->tenth && !plain ? "; " : "", s->tenth ? TENTH_TITLE : "");

    assert(n > 0 && n < (int)SETTING_TITLE);
    return out;
}

bool setting_vary(struct setting *s, const char *name)
{
    size_t prefix = strlen(TENTH_NAME);
    bool tenth = strncmp(name, TENTH_NAME, prefix) == 0 &&
                 (name[prefix] == '-' || name[prefix] == '\0');

    if (tenth)
        name = name[prefix] == '-' ? name + prefix + 1 : "plain";
    for (size_t i = 0; i < placement_n_variants; i++)
        if (strcmp(placement_variants[i].name, name) == 0) {
            s->variant = &placement_variants[i];
            s->tenth = tenth;
            return true;
        }
    return false;
}
