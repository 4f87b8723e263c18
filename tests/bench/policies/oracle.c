/*
 * oracle.c - who knows every worker's true number of tasks at every
 * moment, those on the way included, and takes the lowest in proportion to
 * slots (join the shortest queue). It does not know how long tasks are.
 *
 * The bound one does not pick whom the last report called BUSY, as
 * `balancer.busy: exclude` and DolphinScheduler's masters do not.
 */
#include "tests/bench/policies/policies.h"

#include "base/mem.h"

struct oracle {
    const struct run *run;
    const bool *bound;
    struct rand rand;
};

static void *oracle_open(const struct policy *policy, const struct run *run,
                         uint32_t coordinator, uint64_t seed)
{
    struct oracle *o = mem_alloc(sizeof(*o));

    (void)coordinator;
    o->run = run;
    o->bound = policy->option;
    rand_seed(&o->rand, seed);
    return o;
}

static void oracle_report(void *state, uint32_t worker, const struct report *r,
                          double now)
{
    (void)state;
    (void)worker;
    (void)r;
    (void)now;
}

static void oracle_leave(void *state, uint32_t worker)
{
    (void)state;
    (void)worker;
}

static bool is_one_of(uint32_t worker, const uint32_t *of, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (of[i] == worker)
            return true;
    return false;
}

/* Equal ones with equal chances; nobody, if all that are left would refuse. */
static uint32_t oracle_other(void *state, double now, const uint32_t *refused,
                             uint32_t n_refused, uint64_t *id)
{
    struct oracle *o = state;
    const struct world *w = run_world(o->run);
    uint32_t best = NOBODY, equal = 0;
    double least = 0;

    (void)now;
    (void)id;
    for (uint32_t i = 0; i < w->n_workers; i++) {
        if (!run_present(o->run, i) || !run_works(o->run, i) ||
            (*o->bound && run_said_busy(o->run, i)) ||
            is_one_of(i, refused, n_refused))
            continue;
        double load = (run_tasks(o->run, i) + 1.0) / w->specs[i].slots;

        if (best == NOBODY || load < least) {
            best = i;
            least = load;
            equal = 1;
        } else if (load == least && rand_below(&o->rand, ++equal) == 0) {
            best = i;
        }
    }
    return w->setting.scenario->refuses && least > 1 ? NOBODY : best;
}

static uint32_t oracle_pick(void *state, double now, uint64_t *id)
{
    return oracle_other(state, now, NULL, 0, id);
}

#define ORACLE                                                                 \
    .open = oracle_open, .close = mem_free, .report = oracle_report,           \
    .leave = oracle_leave, .pick = oracle_pick, .other = oracle_other,         \
    .knows_all = true

static const bool unbound = false, bound = true;

const struct policy policy_oracle = {
    .name = "oracle", .title = "omniscient oracle", .option = &unbound, ORACLE};
const struct policy policy_oracle_busy = {.name = "oracle-busy",
                                          .title = "oracle bound by BUSY",
                                          .option = &bound,
                                          .of_busy = true,
                                          ORACLE};
