/*
 * balancer.c - the balancer's state and what the coordinator's loop does with
 * it: workers, groups, the tick. (Longer than 500 lines: all of it is what one
 * lock and one clock belong to.)
 *
 * One lock. A worker is in `default` and often in a group of its own, and its
 * load is counted once: a grant in one group changes its score in all of
 * them. With a lock per group every pick would take default's as well, and two
 * groups' locks would need an order; one lock that is held for 150 ns is
 * simpler and not slower (balancer.h says why). The tick takes longer and is
 * cut into slices, with the lock let go in between: only the loop adds or
 * removes workers and groups, so they stay as they are meanwhile.
 *
 * The tick renews only groups that were used lately; a pick in another renews
 * it first, if it is small. Large ones the tick renews now and then also when
 * nobody uses them, so that no request goes through a large group: once in a
 * heartbeat interval, since each member is placed anew by its own report.
 */
#include "balancer/balancer_priv.h"

#include "base/locks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TICK_SLICE   256U /* members per hold of the lock */
#define KEEP_WARM_MS 10000

/* A clock is read for one hold in HOLD_SAMPLE, and decides nothing. */
void balancer_lock(struct balancer *b)
{
    lock_acquire(&b->lock);
    if (b->holds.n++ % HOLD_SAMPLE == 0)
        b->holds.since = clock_mono_ns();
}

static void hold_ended(struct balancer *b)
{
    uint64_t ns = clock_mono_ns() - b->holds.since;
    uint32_t i = 0;

    while (i < BALANCER_HOLDS - 1 && ns >> (i + 6) != 0)
        i++;
    b->holds.timed.n[i]++;
    b->holds.timed.sum_ns += ns;
    b->holds.since = 0;
}

void balancer_unlock(struct balancer *b)
{
    if (b->holds.since != 0)
        hold_ended(b);
    lock_release(&b->lock);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct balancer_group_conf *)a)->name,
                  ((const struct balancer_group_conf *)b)->name);
}

static int is_named(const void *name, const void *own)
{
    return strcmp(name, ((const struct balancer_group_conf *)own)->name);
}

const struct conf_balancer *balancer_conf_of(const struct balancer *b,
                                             const char *name)
{
    const struct balancer_group_conf *own = NULL;

    assert(b->n_own == 0 || b->own != NULL);
    if (b->n_own > 0)
        own = bsearch(name, b->own, b->n_own, sizeof(*own), is_named);
    return own != NULL ? &own->conf : &b->conf;
}

struct group *balancer_group_make(struct balancer *b, const char *name)
{
    struct group *g =
        balancer_group_new(name, b->ops, balancer_conf_of(b, name));

    HASH_ADD_STR(b->groups, name, g);
    return g;
}

struct group *balancer_group(const struct balancer *b, const char *name)
{
    struct group *g = NULL;

    assert(b->everyone != NULL);
    if (name == NULL || strcmp(name, b->everyone->name) == 0)
        return b->everyone;
    HASH_FIND_STR(b->groups, name, g);
    return g;
}

struct account *balancer_account(const struct balancer *b, const char *address)
{
    size_t len = strlen(address);
    struct hash_index_walk w =
        hash_index_walk(&b->by_address, hash_quick(address, len));
    uint32_t slot;

    while (hash_index_next(&w, &slot)) {
        struct account *a = account_at(&b->accounts, slot);

        assert(a->profile != NULL);
        if (a->length == len && memcmp(a->address, address, len) == 0)
            return a;
    }
    return NULL;
}

const struct policy_ops *balancer_policy_of(enum conf_policy policy)
{
    static const struct policy_ops *const policies[] = {
        [CONF_LEDGER] = &balancer_policy_ledger,
        [CONF_RANDOM] = &balancer_policy_random,
        [CONF_ROUND_ROBIN] = &balancer_policy_round_robin,
        [CONF_FIXED_WEIGHTED_ROUND_ROBIN] = &balancer_policy_fixed_weighted,
        [CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN] = &balancer_policy_dynamic_weighted,
    };

    assert((size_t)policy < ARRAY_LEN(policies));
    return policies[policy];
}

struct balancer *balancer_new(const struct conf_balancer *conf, uint64_t seed,
                              uint64_t instance)
{
    struct balancer *b = mem_zalloc(sizeof(*b));

    lock_init(&b->lock);
    assert(conf->heartbeat_interval_ms > 0);
    assert(instance != 0);
    b->conf = *conf;
    b->ops = balancer_policy_of(conf->policy);
    b->scale = 1;
    balancer_gauge_begin(&b->gauge);
    b->undo = mem_array(BALANCER_COUNT_MAX, sizeof(*b->undo));
    rand_seed(&b->rand, seed);
    balancer_receipts_init(&b->receipts, instance);
    b->everyone = balancer_group_make(b, "default");
    assert(b->everyone != NULL);
    assert(group_size(b->everyone) == 0);
    return b;
}

void balancer_free(struct balancer **bp)
{
    struct balancer *b = *bp;

    if (b == NULL)
        return;
    for (uint32_t i = 0; i < b->accounts.n; i++)
        if (account_at(&b->accounts, i)->profile != NULL)
            balancer_account_close(account_at(&b->accounts, i));
    hash_index_close(&b->by_address);
    while (b->groups != NULL) {
        struct group *g = b->groups;

        HASH_DEL(b->groups, g);
        balancer_group_free(g);
    }
    balancer_receipts_close(&b->receipts);
    mem_free(b->own);
    mem_free(b->undo);
    balancer_accounts_close(&b->accounts);
    pthread_mutex_destroy(&b->lock);
    MEM_FREE(*bp);
}

/* What does not change while it runs stays as it is `now`. */
static void settle_on(struct conf_balancer *conf,
                      const struct conf_balancer *now)
{
    assert(now->heartbeat_interval_ms > 0);
    conf->policy = now->policy;
    conf->heartbeat_interval_ms = now->heartbeat_interval_ms;
}

void balancer_configure(struct balancer *b, const struct conf_balancer *conf,
                        const struct balancer_group_conf *own, size_t n,
                        mono_ms now)
{
    struct conf_balancer next = *conf;
    mono_ms told = now;

    assert(n == 0 || own != NULL);
    balancer_lock(b);
    now = balancer_now(b, now);
    settle_on(&next, &b->conf);
    b->conf = next;
    mem_free(b->own);
    b->own = mem_array(n + 1, sizeof(*own));
    b->n_own = n;
    for (size_t i = 0; i < n; i++) {
        b->own[i] = own[i];
        settle_on(&b->own[i].conf, &b->conf);
    }
    qsort(b->own, n, sizeof(*own), by_name);
    for (struct group *g = b->groups; g != NULL; g = g->hh.next)
        balancer_group_configure(g, balancer_conf_of(b, g->name), now);
    BALANCER_TELL(b, .kind = BALANCER_EVENT_CONFIGURE, .now = told,
                  .u.configure = {conf, own, n});
    balancer_unlock(b);
}

void balancer_set_policy(struct balancer *b, enum conf_policy policy,
                         mono_ms now)
{
    const struct policy_ops *ops = balancer_policy_of(policy);
    mono_ms told = now;

    balancer_lock(b);
    now = balancer_now(b, now);
    for (struct group *g = b->groups; g != NULL && b->ops != ops;
         g = g->hh.next)
        balancer_group_set_policy(g, ops, now);
    b->ops = ops;
    BALANCER_TELL(b, .kind = BALANCER_EVENT_POLICY, .now = told,
                  .u.policy = policy);
    balancer_unlock(b);
}

static struct account *add_account(struct balancer *b, const char *address)
{
    struct account *a = balancer_accounts_take(&b->accounts);

    balancer_account_open(a, address);
    a->bucket = balancer_account_bucket(&b->conf, b->now); /* however late */
    hash_index_put(&b->by_address, hash_quick(a->address, a->length), a->slot);
    assert(a->n_in == 0);
    return a;
}

/* A group is there while it is defined or has workers. */
static void group_drop_if_unused(struct balancer *b, struct group *g)
{
    assert(g->n_free <= g->n);
    assert(b->groups != NULL); /* default at least */
    if (g == b->everyone || g->defined || group_size(g) > 0)
        return;
    HASH_DEL(b->groups, g);
    balancer_group_free(g);
}

static void leave(struct balancer *b, struct seat in)
{
    assert(in.group != NULL);
    assert(in.member < in.group->n);
    balancer_typical_left(in.group);
    balancer_group_remove(in.group, in.member, b->now);
    group_drop_if_unused(b, in.group);
}

static bool names_group(const struct balancer_worker *w, const char *name)
{
    for (size_t i = 0; i < w->n_groups; i++)
        if (strcmp(w->groups[i], name) == 0)
            return true;
    return false;
}

static bool is_in(const struct account *a, const char *name)
{
    for (size_t i = 0; i < a->n_in; i++)
        if (strcmp(a->in[i].group->name, name) == 0)
            return true;
    return false;
}

static void join(struct balancer *b, struct account *a, struct group *g)
{
    uint32_t salt = (uint32_t)(rand_u64(&b->rand) >> 32);

    assert(g != NULL);
    balancer_account_join(
        a, (struct seat){g, balancer_group_add(g, a, salt, b->now)});
}

/* Be in default, the groups named, and no others. */
static void account_regroup(struct balancer *b, struct account *a,
                            const struct balancer_worker *w)
{
    uint32_t kept = 0;

    if (a->n_in == 0)
        join(b, a, b->everyone);
    for (size_t i = 0; i < a->n_in; i++)
        if (a->in[i].group == b->everyone ||
            names_group(w, a->in[i].group->name))
            a->in[kept++] = a->in[i];
        else
            leave(b, a->in[i]);
    a->n_in = kept;
    for (size_t i = 0; i < w->n_groups; i++) {
        if (is_in(a, w->groups[i]))
            continue;
        struct group *g = balancer_group(b, w->groups[i]);

        join(b, a, g != NULL ? g : balancer_group_make(b, w->groups[i]));
    }
    assert(a->n_in >= 1);
    assert(a->in[0].group == b->everyone);
}

mono_ms balancer_now(struct balancer *b, mono_ms told)
{
    assert(b->unheard >= 0);
    if (!b->frozen && told - b->unheard > b->now)
        b->now = told - b->unheard;
    return b->now;
}

void balancer_hold(struct balancer *b, bool hold)
{
    balancer_lock(b);
    b->held = hold;
    BALANCER_TELL(b, .kind = BALANCER_EVENT_HOLD, .u.hold = hold);
    balancer_unlock(b);
}

/* How long it stands still by now; a clock that is behind says nothing. */
static mono_ms frozen_for(const struct balancer *b, mono_ms now)
{
    assert(b->unheard >= 0);
    return b->frozen && now > b->frozen_at ? now - b->frozen_at : 0;
}

void balancer_freeze(struct balancer *b, bool frozen, mono_ms now)
{
    balancer_lock(b);
    if (frozen && !b->frozen) {
        (void)balancer_now(b, now);
        b->frozen_at = now;
    } else if (!frozen && b->frozen) {
        b->unheard += frozen_for(b, now);
    }
    b->frozen = frozen;
    BALANCER_TELL(b, .kind = BALANCER_EVENT_FREEZE, .now = now,
                  .u.freeze = frozen);
    balancer_unlock(b);
}

/* Tasks of a worker that does not say them, by its cpu usage; else what was
 * thought before. */
static double gauge(struct balancer *b, struct account *a, double estimate)
{
    struct profile *p = a->profile;
    double cpu = p->usage[USUAL_CPU], used;
    bool full;

    p->gauged = false;
    if (cpu < 0 || p->source == CAPACITY_WEIGHT)
        return estimate;
    if (p->settled_cpu >= 0 &&
        (b->now - p->settled) * 2 > b->conf.heartbeat_interval_ms)
        balancer_gauge_learn(&b->gauge, &(struct gauge_sample){
                                            .was = p->settled_cpu,
                                            .is = cpu,
                                            .granted = a->granted,
                                            .acked = a->acked,
                                            .capacity = p->capacity,
                                        });
    used = balancer_gauge_read(&b->gauge, cpu, &full) * p->capacity;
    if (used < 0)
        return estimate;
    p->gauged = true;
    if (!full)
        return used;
    return balancer_gauge_full(p->capacity, estimate,
                               p->running + a->granted - a->acked - estimate);
}

/* A report came: begin a new period with the tasks that it says. Its groups
 * may learn from them beside what they expected. */
static void settle(struct balancer *b, struct account *a, bool same,
                   double estimate)
{
    const struct profile *p = a->profile;
    uint32_t bucket = balancer_account_bucket(&b->conf, b->now);
    uint32_t lag = b->everyone->lag;
    double kept = balancer_account_kept(a, bucket, lag), tasks;
    bool known = p->usage[USUAL_POOL] >= 0;

    assert(p->capacity > 0);
    tasks = known ? p->usage[USUAL_POOL] * p->capacity
                  : gauge(b, a, fmax(0, estimate - kept));
    for (size_t i = 0; i < a->n_in && same && (known || p->gauged); i++)
        if (a->in[i].group->ops->report != NULL)
            a->in[i].group->ops->report(a->in[i].group, a->in[i].member, tasks,
                                        bucket, b->now);
    balancer_account_settle(a, tasks, b->now, bucket, lag);
}

void balancer_set(struct balancer *b, const struct balancer_worker *w,
                  mono_ms now)
{
    double estimate = 0;
    mono_ms unheard, told = now;
    bool same = false; /* process as before */

    assert(w->n_groups == 0 || w->groups != NULL);
    balancer_lock(b);
    unheard = b->unheard + frozen_for(b, now);
    now = balancer_now(b, now);
    struct account *a = balancer_account(b, w->address);

    if (a == NULL)
        a = add_account(b, w->address);
    else if (a->profile->incarnation != w->incarnation)
        a->life++; /* its picks mean nothing now */
    else {
        same = true;
        estimate = balancer_ledger_estimate(b->everyone, a, b->now);
    }
    if (balancer_account_update(a, w, &b->conf, now, unheard))
        settle(b, a, same, estimate);
    account_regroup(b, a, w);
    for (size_t i = 0; i < a->n_in; i++) {
        balancer_typical_told(a->in[i].group, a);
        balancer_affinity_enter(a->in[i].group, a->in[i].member);
        balancer_group_refresh(a->in[i].group, a->in[i].member,
                               a->in[i].member + 1, b->now);
    }
    BALANCER_TELL(b, .kind = BALANCER_EVENT_SET, .now = told, .u.set = w);
    balancer_unlock(b);
}

void balancer_remove(struct balancer *b, const char *address)
{
    balancer_lock(b);
    struct account *a = balancer_account(b, address);

    if (a != NULL) {
        for (size_t i = 0; i < a->n_in; i++)
            leave(b, a->in[i]);
        hash_index_remove(&b->by_address, hash_quick(a->address, a->length),
                          a->slot);
        balancer_account_close(a);
        balancer_accounts_give_back(&b->accounts, a);
        BALANCER_TELL(b, .kind = BALANCER_EVENT_REMOVE, .u.remove = address);
    }
    balancer_unlock(b);
}

void balancer_define(struct balancer *b, const char *const *names, size_t n)
{
    struct group *g, *next;

    assert(n == 0 || names != NULL);
    balancer_lock(b);
    for (g = b->groups; g != NULL; g = g->hh.next)
        g->defined = false;
    for (size_t i = 0; i < n; i++) {
        g = balancer_group(b, names[i]);
        if (g == NULL)
            g = balancer_group_make(b, names[i]);
        g->defined = true;
    }
    for (g = b->groups; g != NULL; g = next) {
        next = g->hh.next;
        group_drop_if_unused(b, g);
    }
    BALANCER_TELL(b, .kind = BALANCER_EVENT_DEFINE, .u.define = {names, n});
    balancer_unlock(b);
    assert(b->groups != NULL);
}

void balancer_set_coordinators(struct balancer *b, uint32_t n)
{
    assert(n >= 1);
    balancer_lock(b);
    b->scale = n;
    BALANCER_TELL(b, .kind = BALANCER_EVENT_COORDINATORS, .u.coordinators = n);
    balancer_unlock(b);
}

/* Under the lock. */
static void slice(struct balancer *b, struct group *g, uint32_t from,
                  uint32_t to, mono_ms now)
{
    assert(from <= to && to <= g->n);
    balancer_group_walk(g, from, to, now);
    BALANCER_TELL(b, .kind = BALANCER_EVENT_SLICE, .now = now,
                  .u.slice = {g->name, from, to});
}

void balancer_slice(struct balancer *b, const char *group, uint32_t from,
                    uint32_t to, mono_ms now)
{
    balancer_lock(b);
    struct group *g = balancer_group(b, group);

    if (g != NULL && from <= to && to <= g->n)
        slice(b, g, from, to, now);
    balancer_unlock(b);
}

/* Nobody picks in it, and no pick may renew it. */
static bool is_neglected(const struct group *g, mono_ms now)
{
    return g->n > GROUP_RENEW_MAX &&
           now - g->refreshed >= g->conf->heartbeat_interval_ms;
}

static void group_tick(struct balancer *b, struct group *g, mono_ms now)
{
    uint32_t from = 0;
    bool more;

    do {
        balancer_lock(b);
        more = now - g->used <= KEEP_WARM_MS || is_neglected(g, now);
        if (more) {
            uint32_t to = g->n - from > TICK_SLICE ? from + TICK_SLICE : g->n;

            slice(b, g, from, to, now);
            from = to;
            more = to < g->n;
        }
        balancer_unlock(b);
    } while (more);
}

mono_ms balancer_clock(struct balancer *b, mono_ms now)
{
    balancer_lock(b);
    mono_ms ours = balancer_now(b, now);

    BALANCER_TELL(b, .kind = BALANCER_EVENT_CLOCK, .now = now);
    balancer_unlock(b);
    return ours;
}

void balancer_tick(struct balancer *b, mono_ms now)
{
    now = balancer_clock(b, now);
    for (struct group *g = b->groups; g != NULL; g = g->hh.next)
        group_tick(b, g, now);
}

struct balancer_holds balancer_holds(struct balancer *b)
{
    balancer_lock(b);
    struct balancer_holds holds = b->holds.timed;
    balancer_unlock(b);
    return holds;
}

struct balancer_stats balancer_stats(struct balancer *b)
{
    balancer_lock(b);
    struct balancer_stats stats = b->stats;
    balancer_unlock(b);
    return stats;
}
