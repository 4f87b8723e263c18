/*
 * account.c - what is known of one worker: its report, and what was counted
 * since. Pure: no I/O, no clock, no lock.
 *
 * Numbers come from other programs, so each is brought into its range here,
 * once; behind this file a load is finite, a capacity positive and an unknown
 * value negative.
 *
 * Leaving BUSY. A worker that says NORMAL again is `recovering` until it has
 * reported NORMAL twice and has been away for its dwell, 15 s at first and
 * doubled (to 160 s) each time it relapses within 160 s. A recovering worker
 * is hot, not closed: it is picked when nobody cold is left, for a worker that
 * says it can work is better than no answer.
 */
#include "balancer/balancer_priv.h"

#include <math.h>
#include <string.h>

#define DWELL_MIN_MS 15000
#define DWELL_MAX_MS 160000
#define GOOD_REPORTS 2U
#define WEIGHT_MAX   10000
#define SLOTS_MAX    1000000
#define POOL_MAX     100.0
#define HOME_FIRST   4U /* memberships, once they leave `home` */

/* A pool usage is k/c. Three different ones that one denominator explains make
 * it the capacity; beyond 1,024 anything would fit. */
#define DENOMINATOR_MAX   1024
#define FRACTIONS_NEEDED  3U
#define FRACTION_ACCURACY 1e-9

const char *balancer_standing_name(enum standing standing)
{
    static const char *const names[] = {
        [STANDING_OPEN] = "open",
        [STANDING_DEAD] = "not_up",
        [STANDING_CLOSED] = "closed",
        [STANDING_BUSY] = "busy",
        [STANDING_WEIGHT_ZERO] = "weight_zero",
        [STANDING_STALE] = "stale",
        [STANDING_REFUSED] = "refused",
    };

    assert((size_t)standing < ARRAY_LEN(names));
    return names[standing];
}

const char *balancer_heat_name(enum heat heat)
{
    static const char *const names[] = {
        [HEAT_COLD] = "cold",
        [HEAT_LATE] = "late",
        [HEAT_RECOVERING] = "recovering",
        [HEAT_DEGRADED] = "degraded",
        [HEAT_CPU] = "cpu",
        [HEAT_MEMORY] = "memory",
        [HEAT_DISK] = "disk",
    };

    assert((size_t)heat < ARRAY_LEN(names));
    return names[heat];
}

const char *balancer_capacity_source_name(enum capacity_source source)
{
    static const char *const names[] = {
        [CAPACITY_SLOTS] = "slots",
        [CAPACITY_INFERRED] = "inferred",
        [CAPACITY_WEIGHT] = "weight",
    };

    assert((size_t)source < ARRAY_LEN(names));
    return names[source];
}

static int32_t within(int32_t x, int32_t max)
{
    return x < 0 ? 0 : x > max ? max : x;
}

/* NaN and negative are unknown. */
static double ratio(double x, double max)
{
    return x >= 0 ? fmin(x, max) : -1.0;
}

void balancer_account_open(struct account *a, const char *address)
{
    size_t len = strlen(address);
    struct profile *p = mem_zalloc(sizeof(*p) + len + 1);

    assert(len > 0 && len <= BALANCER_ADDRESS_MAX);
    assert(a->profile == NULL);
    memcpy(p->address, address, len + 1);
    p->account = a;
    a->profile = p;
    a->address = p->address;
    a->hash = hash_str(address, 0);
    a->in = a->home;
    a->n_in = 0;
    balancer_account_reset(a);
}

void balancer_account_close(struct account *a)
{
    if (a->in != a->home)
        mem_free(a->in);
    a->in = NULL;
    MEM_FREE(a->profile);
}

void balancer_account_join(struct account *a, struct seat in)
{
    if (a->n_in == ACCOUNT_HOME && a->in == a->home) {
        a->in = mem_array(HOME_FIRST, sizeof(*a->in));
        memcpy(a->in, a->home, sizeof(a->home));
        a->profile->cap_in = HOME_FIRST;
    } else if (a->in != a->home && a->n_in == a->profile->cap_in) {
        a->profile->cap_in *= 2;
        a->in = mem_regrow(a->in, a->profile->cap_in, sizeof(*a->in));
    }
    a->in[a->n_in++] = in;
}

void balancer_account_reset(struct account *a)
{
    a->profile->running = a->granted = a->acked = 0;
    memset(a->recent, 0, sizeof(a->recent));
    a->profile->refused = a->profile->recovering = false;
    a->profile->good_reports = 0;
    a->profile->dwell = 0;
    a->profile->denominator = 1;
    a->profile->fractions = 0;
    a->profile->last_pool = -1;
}

static void account_infer(struct account *a)
{
    double pool = a->profile->pool;

    if (pool <= 0 || pool == floor(pool) || pool == a->profile->last_pool)
        return; /* 0 and 1 fit every denominator */
    a->profile->last_pool = pool;
    for (int32_t d = a->profile->denominator; d <= DENOMINATOR_MAX;
         d += a->profile->denominator) {
        double tasks = pool * d;

        if (fabs(tasks - nearbyint(tasks)) <= FRACTION_ACCURACY * d) {
            a->profile->denominator = d;
            if (a->profile->fractions < FRACTIONS_NEEDED)
                a->profile->fractions++;
            return;
        }
    }
    a->profile->denominator =
        1; /* no fraction, or its capacity changed: start over */
    a->profile->fractions = 0;
}

static void account_size(struct account *a)
{
    double weight = a->profile->weight > 0 ? a->profile->weight : 1;

    if (a->profile->slots > 0) {
        a->profile->source = CAPACITY_SLOTS;
        a->profile->capacity = a->profile->slots;
    } else if (a->profile->fractions >= FRACTIONS_NEEDED) {
        a->profile->source = CAPACITY_INFERRED;
        a->profile->capacity = a->profile->denominator;
    } else {
        a->profile->source = CAPACITY_WEIGHT;
        a->profile->capacity = weight;
    }
    a->share = a->profile->source == CAPACITY_WEIGHT
                   ? weight
                   : a->profile->capacity * weight / WEIGHT_DEFAULT;
    assert(a->profile->capacity > 0 && a->share > 0);
}

static void account_enter_busy(struct account *a, mono_ms now)
{
    bool relapse =
        a->profile->recovering ||
        (a->profile->dwell > 0 && now - a->profile->left_at < DWELL_MAX_MS);

    a->profile->dwell = relapse ? a->profile->dwell * 2 : DWELL_MIN_MS;
    if (a->profile->dwell > DWELL_MAX_MS)
        a->profile->dwell = DWELL_MAX_MS;
    a->profile->recovering = true;
    a->profile->busy_at = now;
}

bool balancer_account_update(struct account *a, const struct balancer_worker *w,
                             mono_ms now, mono_ms unheard)
{
    bool fresh = a->n_in == 0; /* in no group yet: the first word of it */
    bool report = fresh || a->profile->incarnation != w->incarnation ||
                  a->profile->told != w->reported;

    if (a->profile->incarnation != w->incarnation)
        balancer_account_reset(a);
    if (w->busy && !(a->profile->busy && a->profile->recovering))
        account_enter_busy(a, now);
    if (w->busy)
        a->profile->good_reports = 0;
    else if (report && a->profile->recovering && !w->degraded)
        a->profile->good_reports++;
    a->profile->dead = w->dead;
    a->profile->closed = w->closed;
    a->profile->busy = w->busy;
    a->profile->degraded = w->degraded;
    a->profile->weight = within(w->weight, WEIGHT_MAX);
    a->profile->slots = within(w->slots, SLOTS_MAX);
    a->profile->lease_ms = w->lease_ms;
    a->profile->cpu = ratio(w->cpu, 1);
    a->profile->memory = ratio(w->memory, 1);
    a->profile->disk = ratio(w->disk, 1);
    a->profile->pool = ratio(w->pool, POOL_MAX);
    if (report) {
        a->profile->told = w->reported;
        a->profile->reported = w->reported - unheard;
        a->profile->since = w->since - unheard;
    }
    a->profile->incarnation = w->incarnation;
    if (report)
        account_infer(a);
    account_size(a);
    return report;
}

void balancer_account_settle(struct account *a, double estimate, mono_ms now)
{
    double kept = 0;

    assert(estimate >= 0);
    balancer_account_grant(a, 0, now); /* ages the buckets */
    for (uint32_t i = 0; i < LAG_BUCKETS; i++)
        kept += (double)a->recent[i];
    a->profile->running = a->profile->pool >= 0
                              ? a->profile->pool * a->profile->capacity
                              : fmax(0, estimate - kept);
    a->granted = kept;
    a->acked = 0;
    a->profile->settled = now;
    a->profile->refused = false;
}

uint32_t balancer_account_bucket(mono_ms now)
{
    return (uint32_t)((uint64_t)now >> LAG_BUCKET_SHIFT);
}

/* Unsigned distance, so that bucket numbers may wrap. */
static bool account_recent(const struct account *a, uint32_t bucket)
{
    return a->bucket - bucket < LAG_BUCKETS;
}

void balancer_account_grant(struct account *a, double tasks, mono_ms now)
{
    uint32_t bucket = balancer_account_bucket(now);
    uint32_t steps = bucket - a->bucket;

    if (steps != 0 && steps < UINT32_MAX / 2) {
        if (steps > LAG_BUCKETS)
            steps = LAG_BUCKETS;
        while (steps > 0)
            a->recent[(bucket - --steps) % LAG_BUCKETS] = 0;
        a->bucket = bucket;
    }
    a->recent[a->bucket % LAG_BUCKETS] += (float)tasks;
    a->granted += tasks;
}

static void account_forget(struct account *a, double tasks, uint32_t bucket)
{
    float *recent = &a->recent[bucket % LAG_BUCKETS];

    *recent = fmaxf(0, *recent - (float)tasks);
}

void balancer_account_ack(struct account *a, double tasks, uint32_t bucket,
                          mono_ms now)
{
    balancer_account_grant(a, 0, now);
    if (account_recent(a, bucket))
        account_forget(a, tasks, bucket);
    a->acked += tasks;
}

void balancer_account_refuse(struct account *a, double tasks, uint32_t bucket,
                             mono_ms now)
{
    a->profile->refused = true;
    balancer_account_ungrant(a, tasks, bucket, now);
}

void balancer_account_ungrant(struct account *a, double tasks, uint32_t bucket,
                              mono_ms now)
{
    balancer_account_grant(a, 0, now);
    if (account_recent(a, bucket))
        account_forget(a, tasks, bucket);
    /* Granted before the last report and not kept: it is not counted now. */
    if (account_recent(a, bucket) ||
        bucket - balancer_account_bucket(a->profile->settled) < UINT32_MAX / 2)
        a->granted = fmax(0, a->granted - tasks);
}

int64_t balancer_account_interval(const struct account *a,
                                  const struct conf_balancer *conf)
{
    return node_report_interval(a->profile->lease_ms,
                                conf->heartbeat_interval_ms);
}

static enum heat account_heat(const struct account *a,
                              const struct conf_balancer *conf, mono_ms age)
{
    if (age > NODE_REPORT_LATE * balancer_account_interval(a, conf))
        return HEAT_LATE;
    if (a->profile->recovering)
        return HEAT_RECOVERING;
    if (a->profile->degraded)
        return HEAT_DEGRADED;
    if (a->profile->cpu >= conf->cpu_max)
        return HEAT_CPU;
    if (a->profile->memory >= conf->memory_max)
        return HEAT_MEMORY;
    if (a->profile->disk >= conf->disk_max)
        return HEAT_DISK;
    return HEAT_COLD;
}

void balancer_account_judge(struct account *a, const struct conf_balancer *conf,
                            mono_ms now)
{
    mono_ms age = now - a->profile->reported;

    if (a->profile->recovering && !a->profile->busy &&
        a->profile->good_reports >= GOOD_REPORTS &&
        now - a->profile->busy_at >= a->profile->dwell) {
        a->profile->recovering = false;
        a->profile->left_at = now;
    }
    a->heat = account_heat(a, conf, age);
    if (a->profile->dead)
        a->standing = STANDING_DEAD;
    else if (a->profile->closed)
        a->standing = STANDING_CLOSED;
    else if (a->profile->weight == 0)
        a->standing = STANDING_WEIGHT_ZERO;
    else if (a->profile->busy)
        a->standing = STANDING_BUSY;
    else if (age > NODE_REPORT_STALE * balancer_account_interval(a, conf))
        a->standing = STANDING_STALE;
    else if (a->profile->refused)
        a->standing = STANDING_REFUSED;
    else
        a->standing = STANDING_OPEN;
}
