/*
 * informed.c - how much heartbeats alone can tell.
 *
 * A bound of practice, not of theory: it knows the distribution of lengths and
 * the mean of what others place, which nobody knows, and hears no
 * acknowledgement. A grant of age x still runs with probability S(x), the
 * survival function of lengths. A report that says R tasks changes that: each
 * grant's odds are multiplied by one factor, the same for all, with which the
 * expected number is R (the tilt of independent indicators by their sum; Chen,
 * Dempster and Liu, Weighted finite population sampling, 1994). From then on
 * each fades by S(x + age)/S(x), and others' work to its mean.
 *
 * A task given to a full worker begins to age when it is expected to start.
 */
#include "tests/bench/policies/known.h"
#include "tests/bench/policies/policies.h"

#include "base/mem.h"

#include <math.h>

#define STEPS      4096U /* of the survival function, to the longest task */
#define HALVINGS   14U
#define NEGLIGIBLE .005
#define RENEW      .05 /* of the mean length */

struct grant {
    double at;
    double fades; /* chance at the last report / S(age then); 1 since */
};

struct grants {
    struct grant *list;
    size_t n, cap;
    double others;   /* of the last report: tasks of others */
    double reported; /* s */
    double estimate; /* as of the last tick, and what was given since */
};

struct informed {
    struct known known;
    double survival[STEPS + 1]; /* S at multiples of step */
    double residual[STEPS + 1]; /* the same of a task met under way */
    double step;
    double renewed; /* s: when all were estimated last */
    struct grants of[WORKERS_MAX];
};

/* The tail of the world's lengths at x, by the formula of world.c. */
static double tail(const struct world *w, double x, double divide)
{
    const struct scenario *s = w->setting.scenario;
    double least = world_shortest(s) / divide;
    double all = 1 - pow(1 / s->ceiling, WORLD_PARETO);

    if (x <= least)
        return 1;
    return fmax(0, 1 - (1 - pow(least / x, WORLD_PARETO)) / all);
}

static void *informed_open(const struct policy *policy, const struct run *run,
                           uint32_t coordinator, uint64_t seed)
{
    struct informed *f = mem_zalloc(sizeof(*f));
    const struct world *w = run_world(run);
    const struct scenario *s = w->setting.scenario;
    double divide = w->divide, sum = 0;

    (void)policy;
    (void)coordinator;
    assert(s->ceiling > 1);
    known_init(&f->known, run, seed);
    f->step = world_shortest(s) * s->ceiling / divide / STEPS;
    for (uint32_t i = 0; i <= STEPS; i++)
        f->survival[i] = tail(w, f->step * i, divide);
    for (uint32_t i = STEPS + 1; i > 0; i--) {
        sum += f->survival[i - 1];
        f->residual[i - 1] = sum;
    }
    for (uint32_t i = 0; i <= STEPS; i++)
        f->residual[i] /= sum;
    return f;
}

static void informed_close(void *state)
{
    struct informed *f = state;

    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        mem_free(f->of[i].list);
    mem_free(f);
}

static double at_age(const struct informed *f, const double *curve, double age)
{
    double at = age / f->step;

    return at >= STEPS ? 0 : curve[at > 0 ? (size_t)at : 0];
}

static double chance(const struct informed *f, const struct grant *g,
                     double now)
{
    return g->fades * at_age(f, f->survival, now - g->at);
}

static double foreign(const struct informed *f, uint32_t worker)
{
    return run_world(f->known.run)->specs[worker].foreign;
}

/* Also forgets grants that are surely over. */
static void estimate(struct informed *f, uint32_t worker, double now)
{
    struct grants *g = &f->of[worker];
    double same = at_age(f, f->residual, now - g->reported);
    size_t kept = 0;

    g->estimate = g->others * same + foreign(f, worker) * (1 - same);
    for (size_t i = 0; i < g->n; i++) {
        double p = chance(f, &g->list[i], now);

        if (p < NEGLIGIBLE)
            continue;
        g->list[kept++] = g->list[i];
        g->estimate += p;
    }
    g->n = kept;
}

static double tilted(double p, double factor)
{
    return p * factor / (1 - p + p * factor);
}

static double expected(const struct informed *f, uint32_t worker, double factor,
                       double now)
{
    const struct grants *g = &f->of[worker];
    double sum = foreign(f, worker) * factor;

    for (size_t i = 0; i < g->n; i++)
        sum += tilted(fmin(1, chance(f, &g->list[i], now)), factor);
    return sum;
}

static void informed_report(void *state, uint32_t worker,
                            const struct report *r, double now)
{
    struct informed *f = state;
    struct grants *g = &f->of[worker];
    double low = -12, high = 12, factor; /* powers of two */

    (void)known_report(&f->known, worker, r, now);
    double tasks = known_usage(&f->known, worker) *
                   run_world(f->known.run)->specs[worker].slots;

    for (uint32_t i = 0; i < HALVINGS; i++) {
        factor = exp2((low + high) / 2);
        if (expected(f, worker, factor, now) < tasks)
            low = (low + high) / 2;
        else
            high = (low + high) / 2;
    }
    factor = exp2(low);
    for (size_t i = 0; i < g->n; i++) {
        double s = at_age(f, f->survival, now - g->list[i].at);
        double p = tilted(fmin(1, chance(f, &g->list[i], now)), factor);

        g->list[i].fades = s > 0 ? p / s : 0;
    }
    g->others = foreign(f, worker) * factor;
    g->reported = now;
    estimate(f, worker, now);
}

static void informed_leave(void *state, uint32_t worker)
{
    struct informed *f = state;

    known_leave(&f->known, worker);
    f->of[worker].n = 0;
}

/* Until a task that comes now would start: each of the slots frees up once per
 * mean length. */
static double wait_at(const struct informed *f, uint32_t worker)
{
    const struct world *w = run_world(f->known.run);
    double slots = w->specs[worker].slots;
    double mean = w->setting.scenario->mean * w->heartbeat / HEARTBEAT_S;

    return fmax(0, f->of[worker].estimate + 1 - slots) * mean / slots;
}

static uint32_t informed_pick(void *state, double now, uint64_t *id)
{
    struct informed *f = state;
    const struct known *k = &f->known;
    uint32_t best = NOBODY;
    double least = 0;

    (void)id;
    for (uint32_t i = 0; i < k->n_open; i++) {
        uint32_t w = k->open[i];
        double load =
            (f->of[w].estimate + 1) / run_world(k->run)->specs[w].slots;

        if (best == NOBODY || load < least) {
            best = w;
            least = load;
        }
    }
    if (best == NOBODY)
        return NOBODY;
    struct grants *g = &f->of[best];

    if (g->n == g->cap) {
        g->cap = g->cap > 0 ? 2 * g->cap : 256;
        g->list = mem_regrow(g->list, g->cap, sizeof(*g->list));
    }
    g->list[g->n++] = (struct grant){.at = now + wait_at(f, best), .fades = 1};
    g->estimate++;
    return best;
}

static void informed_tick(void *state, double now)
{
    struct informed *f = state;
    const struct world *w = run_world(f->known.run);
    double divide = HEARTBEAT_S / w->heartbeat;

    if (now - f->renewed < w->setting.scenario->mean / divide * RENEW)
        return;
    f->renewed = now;
    for (uint32_t i = 0; i < f->known.n_open; i++)
        estimate(f, f->known.open[i], now);
}

const struct policy policy_informed = {
    .name = "informed",
    .repeats = true,
    .title = "heartbeats, lengths known",
    .plain_only = true,
    .open = informed_open,
    .close = informed_close,
    .report = informed_report,
    .leave = informed_leave,
    .pick = informed_pick,
    .tick = informed_tick,
};
