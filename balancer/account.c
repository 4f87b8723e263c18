/*
 * account.c - what is known of one worker: its report, and what was counted
 * since. Pure: no I/O, no clock, no lock.
 *
 * Numbers come from other programs, so each is brought into its range here,
 * once; behind this file a load is finite, a capacity positive and an unknown
 * value negative.
 */
#include "balancer/balancer_priv.h"

#include <math.h>
#include <string.h>

#define WEIGHT_MAX 10000
#define SLOTS_MAX  1000000
#define POOL_MAX   100.0
#define HOME_FIRST 4U   /* memberships, once they leave `home` */
#define TOLD_KEEP  0.95 /* per report, of what ended and was acknowledged */

/* A pool usage is k/c. Three different ones that one denominator explains make
 * it the capacity; beyond 1,024 anything would fit. */
#define DENOMINATOR_MAX   1024
#define FRACTIONS_NEEDED  3U
#define FRACTION_ACCURACY 1e-9

static int32_t within(int32_t x, int32_t max)
{
    assert(max > 0);
    return x < 0 ? 0 : x > max ? max : x;
}

/* NaN and negative are unknown. */
static double ratio(double x, double max)
{
    assert(max > 0);
    return x >= 0 ? fmin(x, max) : -1.0;
}

void balancer_account_open(struct account *a, const char *address)
{
    size_t len = strlen(address);
    bool is_long = len >= ACCOUNT_TEXT;
    struct profile *p = mem_zalloc(sizeof(*p) + (is_long ? len + 1 : 0));
    char *text = is_long ? p->address : a->text;

    assert(len > 0 && len <= BALANCER_ADDRESS_MAX);
    assert(a->profile == NULL);
    memset(a->text, 0, sizeof(a->text));
    memcpy(text, address, len + 1);
    a->profile = p;
    a->address = text;
    a->length = (uint32_t)len;
    a->hash = hash_str(address, 0);
    a->in = a->home;
    a->n_in = 0;
    a->owned = 0; /* whoever had the slot before */
    balancer_account_reset(a);
    assert(a->n_in == 0);
}

void balancer_account_close(struct account *a)
{
    assert(a->profile != NULL);
    if (a->in != a->home)
        mem_free(a->in);
    a->in = NULL;
    MEM_FREE(a->profile);
}

void balancer_account_join(struct account *a, struct seat in)
{
    assert(in.group != NULL);
    assert(a->profile != NULL);
    if (a->n_in == ACCOUNT_HOME && a->in == a->home) {
        a->in = mem_array(HOME_FIRST, sizeof(*a->in));
        memcpy(a->in, a->home, sizeof(a->home));
        a->profile->cap_in = HOME_FIRST;
    } else if (a->in != a->home && a->n_in == a->profile->cap_in) {
        a->profile->cap_in *= 2;
        a->in = mem_regrow(a->in, a->profile->cap_in, sizeof(*a->in));
    }
    a->in[a->n_in++] = in;
    assert(a->in == a->home ? a->n_in <= ACCOUNT_HOME
                            : a->n_in <= a->profile->cap_in);
}

void balancer_account_reset(struct account *a)
{
    struct profile *p = a->profile;

    assert(a->profile != NULL);
    p->running = a->granted = a->acked = 0;
    p->ended_sum = p->acked_sum = p->excess = 0;
    p->settled_cpu = -1;
    p->gauged = false;
    memset(a->recent, 0, sizeof(a->recent));
    p->owned_told = a->owned;
    p->presumed = 0;
    balancer_standing_reset(p);
    p->denominator = 1;
    p->fractions = 0;
    p->last_pool = -1;
}

static void account_infer(struct profile *p)
{
    double pool = p->usage[USUAL_POOL];

    assert(p->denominator >= 1);
    assert(p->denominator <= DENOMINATOR_MAX);
    if (pool <= 0 || pool == floor(pool) || pool == p->last_pool)
        return; /* 0 and 1 fit every denominator */
    p->last_pool = pool;
    for (int32_t d = p->denominator; d <= DENOMINATOR_MAX;
         d += p->denominator) {
        double tasks = pool * d;

        if (fabs(tasks - nearbyint(tasks)) <= FRACTION_ACCURACY * d) {
            p->denominator = (int16_t)d;
            if (p->fractions < FRACTIONS_NEEDED)
                p->fractions++;
            return;
        }
    }
    p->denominator = 1; /* no fraction, or its capacity changed: start over */
    p->fractions = 0;
}

static void account_size(struct account *a)
{
    struct profile *p = a->profile;
    double weight = p->weight > 0 ? p->weight : 1;

    if (p->slots > 0) {
        p->source = CAPACITY_SLOTS;
        p->capacity = p->slots;
    } else if (p->fractions >= FRACTIONS_NEEDED) {
        p->source = CAPACITY_INFERRED;
        p->capacity = p->denominator;
    } else {
        p->source = CAPACITY_WEIGHT;
        p->capacity = weight;
    }
    a->share = p->source == CAPACITY_WEIGHT
                   ? weight
                   : p->capacity * weight / WEIGHT_DEFAULT;
    assert(p->capacity > 0);
    assert(a->share > 0);
}

/* What it says of itself, each within its range. */
static void account_copy(struct profile *p, const struct balancer_worker *w)
{
    p->dead = w->dead;
    p->closed = w->closed;
    p->degraded = w->degraded;
    p->weight = within(w->weight, WEIGHT_MAX);
    p->slots = within(w->slots, SLOTS_MAX);
    p->lease_ms = w->lease_ms;
    p->usage[USUAL_CPU] = ratio(w->cpu, 1);
    p->usage[USUAL_MEMORY] = ratio(w->memory, 1);
    p->usage[USUAL_DISK] = ratio(w->disk, 1);
    p->usage[USUAL_POOL] = ratio(w->pool, POOL_MAX);
    p->incarnation = w->incarnation;
    assert(p->weight >= 0);
    assert(p->slots >= 0);
}

bool balancer_account_update(struct account *a, const struct balancer_worker *w,
                             const struct conf_balancer *conf, mono_ms now,
                             mono_ms unheard)
{
    struct profile *p = a->profile;
    bool fresh = a->n_in == 0; /* in no group yet: the first word of it */
    bool report =
        fresh || p->incarnation != w->incarnation || p->told != w->reported;

    assert(p != NULL);
    assert(unheard >= 0);
    if (p->incarnation != w->incarnation)
        balancer_account_reset(a);
    account_copy(p, w);
    balancer_standing_busy(a, w->busy, conf, now);
    if (report) {
        p->told = w->reported;
        p->reported = w->reported - unheard;
        p->since = w->since - unheard;
        account_infer(p);
        balancer_standing_report(a, conf);
    }
    account_size(a);
    assert(p->reported <= p->told);
    return report;
}

double balancer_account_kept(struct account *a, uint32_t bucket, uint32_t lag)
{
    double kept = 0;

    assert(lag <= LAG_BUCKETS);
    balancer_account_grant(a, 0, bucket); /* ages the buckets */
    for (uint32_t i = 0; i < lag; i++)
        kept += a->recent[(bucket - i) % LAG_BUCKETS];
    return kept;
}

/* What ended since the last report, and how much of that we were told. Ends
 * cannot be seen where the report does not say its tasks: grants then, which
 * end sooner or later. */
static void account_told(struct account *a, double running, double kept)
{
    struct profile *p = a->profile;
    double ended = a->granted - fmax(0, kept) + p->running - running;
    double acked = a->acked - fmax(0, -kept);

    p->ended_sum = p->ended_sum * TOLD_KEEP + fmax(0, ended);
    p->acked_sum = p->acked_sum * TOLD_KEEP + fmax(0, acked);
}

void balancer_account_settle(struct account *a, double tasks, mono_ms now,
                             uint32_t bucket, uint32_t lag)
{
    struct profile *p = a->profile;
    double kept = balancer_account_kept(a, bucket, lag);

    assert(tasks >= 0);
    account_told(a, tasks, kept);
    p->running = tasks;
    p->settled_cpu = p->usage[USUAL_CPU];
    a->granted = fmax(0, kept);
    a->acked = fmax(0, -kept);
    p->settled = now;
    p->owned_told = fmax(0, a->owned - a->granted);
    p->presumed = 0;
    p->settled_from = bucket - lag;
    p->settles++;
    assert(p->running >= 0);
}

uint32_t balancer_account_bucket(const struct conf_balancer *conf, mono_ms now)
{
    int64_t ms = conf->heartbeat_interval_ms / LAG_BUCKETS_IN;

    if (ms >= LAG_BUCKET_MS) /* mostly, and it is no division */
        return (uint32_t)((uint64_t)now / LAG_BUCKET_MS);
    ms = ms < 1 ? 1 : ms;
    return (uint32_t)((uint64_t)now / (uint64_t)ms);
}

/* Unsigned distance, so that bucket numbers may wrap. */
static bool account_recent(const struct account *a, uint32_t bucket)
{
    return a->bucket - bucket < LAG_BUCKETS;
}

static inline void recent_add(struct account *a, double tasks, uint32_t bucket)
{
    int16_t *recent = &a->recent[bucket % LAG_BUCKETS];
    double sum = *recent + tasks;

    assert(account_recent(a, bucket));
    *recent = sum < INT16_MIN   ? INT16_MIN
              : sum > INT16_MAX ? INT16_MAX
                                : (int16_t)sum;
}

void balancer_account_grant(struct account *a, double tasks, uint32_t bucket)
{
    uint32_t steps = bucket - a->bucket; /* our time never goes back */

    assert(tasks >= 0);
    if (steps != 0) {
        if (steps > LAG_BUCKETS)
            steps = LAG_BUCKETS;
        while (steps > 0)
            a->recent[(bucket - --steps) % LAG_BUCKETS] = 0;
        a->bucket = bucket;
    }
    recent_add(a, tasks, a->bucket);
    a->granted += tasks;
}

void balancer_account_ack(struct account *a, double tasks, uint32_t bucket,
                          uint32_t current)
{
    assert(tasks >= 0);
    balancer_account_grant(a, 0, current);
    recent_add(a, -tasks, account_recent(a, bucket) ? bucket : a->bucket);
    a->acked += tasks;
}

void balancer_account_ungrant(struct account *a, double tasks, uint32_t bucket,
                              uint32_t current)
{
    assert(tasks >= 0);
    balancer_account_grant(a, 0, current);
    if (account_recent(a, bucket))
        recent_add(a, -tasks, bucket);
    /* Granted before the last report and not kept: it is not counted now. */
    if (bucket - a->profile->settled_from - 1 < UINT32_MAX / 2)
        a->granted = fmax(0, a->granted - tasks);
    assert(a->granted >= 0);
}

/* Grants of ours become items, and are not counted twice; more than were
 * granted come from elsewhere. Fewer items than there were at the report have
 * ended: we were told so (D), or others were. */
void balancer_account_own(struct account *a, uint32_t items)
{
    struct profile *p = a->profile;
    double granted = fmax(0, a->granted - a->acked);

    a->owned = items;
    p->owned_told = fmin(p->owned_told, items + a->acked);
    p->owned_told = fmax(p->owned_told, items - granted);
    assert(p->owned_told >= 0);
    assert(p->owned_told <= items + a->acked);
}
