/*
 * prequal.c - Prequal (Wydrowski, Kleinberg, Rumble and Archer, "Load is
 * not what you should balance", NSDI 2024, arXiv 2312.10172), from the paper.
 *
 * Each query probes three random replicas; the answers come later and wait in a
 * pool of 16, for at most a second and a few uses. A probe says how many
 * requests are in flight there and how long requests took lately that met as
 * many. A replica is hot above the .84 quantile of what recent probes say is in
 * flight; of the cold ones the lowest latency is taken, or, if all are hot,
 * the fewest in flight. Whoever is taken counts one more in the pool; at each
 * query one probe goes, in turn the oldest and the worst.
 *
 * Replicas there are alike and workers here differ eightfold, so a worker
 * stands for as many replicas as it has slots: requests in flight are taken per
 * slot, and chance goes by perfect weights. Probes are answered at once and
 * arrive PROBE_S later; they see all work, others' too, and hear no
 * acknowledgement.
 */
#include "tests/bench/policies/known.h"
#include "tests/bench/policies/policies.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

#define PROBE_S  0.010 /* there and back */
#define PROBES   3U    /* per query: r_probe */
#define POOL     16U   /* m */
#define AGE_S    1.0
#define REMOVE   1.0 /* per query: r_remove */
#define DELTA    1.0
#define QUANTILE .8409 /* 2^-.25 */
#define RECENT   128U  /* probes whose load makes the quantile */
#define COMING   4096U /* probes on the way back */
#define MIN_POOL 2U

struct probe {
    double at; /* when it comes back */
    uint32_t worker;
    double load, latency;
    uint32_t uses; /* left */
};

struct prequal {
    struct known known;
    struct probe coming[COMING]; /* a ring */
    uint64_t first, last;
    struct probe pool[POOL]; /* the oldest first */
    uint32_t n;
    double recent[RECENT]; /* a ring */
    double sorted[RECENT]; /* the same */
    uint64_t n_recent;
    bool remove_worst;
    double hot; /* from this load */
};

static void *prequal_open(const struct policy *policy, const struct run *run,
                          uint32_t coordinator, uint64_t seed)
{
    struct prequal *p = mem_zalloc(sizeof(*p));

    (void)policy;
    (void)coordinator;
    known_init(&p->known, run, seed);
    return p;
}

static void prequal_report(void *state, uint32_t worker, const struct report *r,
                           double now)
{
    struct prequal *p = state;

    (void)known_report(&p->known, worker, r, now);
}

static void pool_drop(struct prequal *p, uint32_t i)
{
    assert(i < p->n);
    p->n--;
    memmove(&p->pool[i], &p->pool[i + 1], (p->n - i) * sizeof(*p->pool));
}

static void prequal_leave(void *state, uint32_t worker)
{
    struct prequal *p = state;

    known_leave(&p->known, worker);
    for (uint32_t i = p->n; i > 0; i--)
        if (p->pool[i - 1].worker == worker)
            pool_drop(p, i - 1);
}

/* Where a load stands, or would, among the n sorted ones. */
static size_t rank_of(const struct prequal *p, size_t n, double load)
{
    size_t low = 0, high = n;

    assert(n <= RECENT);
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (p->sorted[middle] < load)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void recent_add(struct prequal *p, double load)
{
    double *slot = &p->recent[p->n_recent % RECENT];
    size_t n = p->n_recent < RECENT ? (size_t)p->n_recent : RECENT, i;

    if (n == RECENT) {
        i = rank_of(p, n, *slot);
        assert(p->sorted[i] <= *slot && p->sorted[i] >= *slot);
        n--;
        memmove(&p->sorted[i], &p->sorted[i + 1], (n - i) * sizeof(double));
    }
    i = rank_of(p, n, load);
    memmove(&p->sorted[i + 1], &p->sorted[i], (n - i) * sizeof(double));
    p->sorted[i] = load;
    *slot = load;
    p->n_recent++;
    p->hot = p->sorted[(size_t)(QUANTILE * (double)n)];
}

/* (1 + delta) / ((1 - m/n) r_probe - r_remove), rounded by chance to a whole
 * number of uses. */
static uint32_t uses(struct prequal *p)
{
    double n = p->known.n_open;
    double rate = (1 - POOL / n) * PROBES - REMOVE;
    double exact = rate > 0 ? fmax(1, (1 + DELTA) / rate) : POOL;

    exact = fmin(exact, POOL);
    return (uint32_t)(exact + rand_double(&p->known.rand));
}

static void probes_receive(struct prequal *p, double now)
{
    for (; p->first < p->last && p->coming[p->first % COMING].at <= now;
         p->first++) {
        struct probe *probe = &p->coming[p->first % COMING];

        if (!p->known.here[probe->worker])
            continue;
        if (p->n == POOL)
            pool_drop(p, 0);
        probe->uses = uses(p);
        p->pool[p->n++] = *probe;
        recent_add(p, probe->load);
    }
    while (p->n > 0 && p->pool[0].at + AGE_S < now)
        pool_drop(p, 0);
}

static void probes_send(struct prequal *p, double now)
{
    const struct run *run = p->known.run;

    for (uint32_t i = 0; i < PROBES && p->last - p->first < COMING; i++) {
        uint32_t w = known_any_weighted(&p->known);

        if (!run_works(run, w))
            continue; /* nobody answers */
        p->coming[p->last++ % COMING] = (struct probe){
            .at = now + PROBE_S,
            .worker = w,
            .load =
                (double)run_at_worker(run, w) / run_world(run)->specs[w].slots,
            .latency = run_latency(run, w),
        };
    }
}

/* Is a to be preferred to b? */
static bool better(const struct prequal *p, const struct probe *a,
                   const struct probe *b)
{
    bool a_hot = a->load > p->hot, b_hot = b->load > p->hot;

    if (a_hot != b_hot)
        return b_hot;
    return a_hot ? a->load < b->load : a->latency < b->latency;
}

static void pool_wear(struct prequal *p)
{
    uint32_t worst = 0;

    if (p->n == 0)
        return;
    for (uint32_t i = 1; i < p->n && p->remove_worst; i++)
        if (better(p, &p->pool[worst], &p->pool[i]))
            worst = i;
    pool_drop(p, worst);
    p->remove_worst = !p->remove_worst;
}

static uint32_t pool_take(struct prequal *p)
{
    uint32_t best = NOBODY;

    for (uint32_t i = 0; i < p->n; i++)
        if (!p->known.last[p->pool[i].worker].busy &&
            (best == NOBODY || better(p, &p->pool[i], &p->pool[best])))
            best = i;
    if (best == NOBODY)
        return NOBODY;
    uint32_t worker = p->pool[best].worker;

    for (uint32_t i = 0; i < p->n; i++)
        if (p->pool[i].worker == worker)
            p->pool[i].load +=
                1.0 / run_world(p->known.run)->specs[worker].slots;
    if (--p->pool[best].uses == 0)
        pool_drop(p, best);
    return worker;
}

static uint32_t prequal_pick(void *state, double now, uint64_t *id)
{
    struct prequal *p = state;
    uint32_t worker = NOBODY;

    (void)id;
    if (p->known.n_open == 0)
        return NOBODY;
    probes_receive(p, now);
    probes_send(p, now);
    if (p->n >= MIN_POOL)
        worker = pool_take(p);
    pool_wear(p);
    return worker != NOBODY ? worker : known_any_weighted(&p->known);
}

const struct policy policy_prequal = {
    .name = "prequal",
    .title = "Prequal",
    .open = prequal_open,
    .close = mem_free,
    .report = prequal_report,
    .leave = prequal_leave,
    .pick = prequal_pick,
};
