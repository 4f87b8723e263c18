/*
 * group.c - the workers of one name, in places that never move.
 *
 * A member keeps its place for life and a freed place is used again, so that
 * trees, cursors and lists index by place and a worker that comes or goes
 * costs one place, not a rebuild.
 */
#include "balancer/balancer_priv.h"

#include <string.h>

/* Inlined by force: gcc takes a function that only prefetches to be pure and
 * drops the call. */
#define FETCHES static inline __attribute__((always_inline)) void

#define CAP_FIRST      8U
#define RETRY_MIN_MS   1000
#define RETRY_SCAN_MAX 1024U

struct group *balancer_group_new(const char *name, const struct policy_ops *ops,
                                 const struct conf_balancer *conf)
{
    struct group *g = mem_zalloc(sizeof(*g));
    size_t len = strlen(name);

    assert(len > 0 && len <= BALANCER_GROUP_MAX);
    memcpy(g->name, name, len + 1);
    g->ops = ops;
    g->conf = conf;
    g->lag = balancer_account_bucket(conf, conf->heartbeat_interval_ms / 250);
    g->lag = g->lag < 1 ? 1 : g->lag > LAG_BUCKETS ? LAG_BUCKETS : g->lag;
    g->ops->resize(g, 0);
    return g;
}

void balancer_group_free(struct group *g)
{
    assert(g->n_free <= g->n);
    g->ops->close(g);
    balancer_affinity_drop(g);
    mem_free(g->members);
    mem_free(g->free);
    mem_free(g);
}

/* What a policy keeps is its own: the next one begins with none of it. */
void balancer_group_set_policy(struct group *g, const struct policy_ops *ops,
                               mono_ms now)
{
    uint32_t n = g->n;

    assert(ops != NULL);
    assert(g->n <= g->cap);
    g->ops->close(g);
    memset(&g->u, 0, sizeof(g->u));
    g->turn = 0;
    for (uint32_t i = 0; i < n; i++)
        g->members[i] = (struct member){.account = g->members[i].account,
                                        .salt = g->members[i].salt};
    memset(g->standing_n, 0, sizeof(g->standing_n));
    g->standing_n[STANDING_OPEN] = n - g->n_free;
    g->ops = ops;
    g->n = 0; /* as for the first member: nothing is to be carried over */
    g->ops->resize(g, g->cap);
    g->n = n;
    balancer_group_refresh(g, 0, n, now);
}

/* One member is one cache line, if it starts at one. */
static void members_grow(struct group *g)
{
    struct member *grown = mem_huge(g->cap * sizeof(*g->members));

    assert(g->n <= g->cap);
    if (g->n > 0)
        memcpy(grown, g->members, g->n * sizeof(*g->members));
    mem_free(g->members);
    g->members = grown;
}

static void group_grow(struct group *g)
{
    assert(g->cap < TREE_SLOTS_MAX / 2);
    g->cap = g->cap > 0 ? g->cap * 2 : CAP_FIRST;
    members_grow(g);
    g->free = mem_regrow(g->free, g->cap, sizeof(*g->free));
    g->ops->resize(g, g->cap);
    balancer_affinity_resize(g);
}

void balancer_group_reserve(struct group *g, uint32_t n)
{
    assert(g->n == 0);
    while (g->cap < n)
        group_grow(g);
}

uint32_t balancer_group_add(struct group *g, struct account *a, uint32_t salt,
                            mono_ms now)
{
    uint32_t i;

    assert(a->profile != NULL);
    if (g->n_free > 0) {
        i = g->free[--g->n_free];
    } else {
        if (g->n == g->cap)
            group_grow(g);
        i = g->n++;
    }
    g->members[i] = (struct member){.account = a, .salt = salt};
    g->standing_n[STANDING_OPEN]++;
    balancer_affinity_enter(g, i);
    balancer_group_refresh(g, i, i + 1, now);
    assert(i < g->n);
    assert(g->n <= g->cap);
    return i;
}

void balancer_group_remove(struct group *g, uint32_t member, mono_ms now)
{
    assert(g->n_free < g->n);
    assert(member < g->n);
    assert(g->members[member].account != NULL);
    g->standing_n[g->members[member].standing]--;
    balancer_affinity_leave(g, member);
    g->members[member].account = NULL;
    g->ops->place(g, member, member + 1, now);
    g->free[g->n_free++] = member;
}

static void reopens_by(struct group *g, mono_ms at)
{
    assert(at > 0);
    if (g->reopens == 0 || at < g->reopens)
        g->reopens = at;
}

/* What judging a member reads lies in three places, of which one names the
 * next: ask for it some members before. */
#define FETCH_JUDGED 4U

FETCHES fetch_judged(const struct group *g, uint32_t i, uint32_t to)
{
    const struct account *a;

    if (i + 2 * FETCH_JUDGED < to)
        __builtin_prefetch(
            (const char *)g->members[i + 2 * FETCH_JUDGED].account + MEM_LINE);
    if (i + FETCH_JUDGED >= to)
        return;
    a = g->members[i + FETCH_JUDGED].account;
    for (size_t at = 0; a != NULL && at < sizeof(*a->profile); at += MEM_LINE)
        __builtin_prefetch((const char *)a->profile + at);
}

static void group_judge(struct group *g, uint32_t from, uint32_t to,
                        mono_ms now)
{
    assert(from <= to && to <= g->n);
    for (uint32_t i = from; i < to; i++) {
        struct account *a = g->members[i].account;

        fetch_judged(g, i, to);
        if (a == NULL)
            continue;
        balancer_account_recover(a, g->conf, now);
        g->standing_n[g->members[i].standing]--;
        balancer_member_judge(g, &g->members[i], now);
        g->standing_n[g->members[i].standing]++;
        balancer_affinity_open(g, i);
        if (g->members[i].standing == STANDING_REFUSED)
            reopens_by(g, balancer_standing_reopens(a, g->conf));
    }
}

void balancer_group_refresh(struct group *g, uint32_t from, uint32_t to,
                            mono_ms now)
{
    group_judge(g, from, to, now);
    if (from < to)
        g->ops->place(g, from, to, now);
}

/* What is typical follows from the judgement, and decides on the place. */
void balancer_group_walk(struct group *g, uint32_t from, uint32_t to,
                         mono_ms now)
{
    if (from == 0 && now >= g->reopens)
        g->reopens = 0; /* found anew, if there are others */
    group_judge(g, from, to, now);
    balancer_typical_walk(g, from, to, now);
    if (from < to)
        g->ops->place(g, from, to, now);
    if (to < g->n)
        return;
    g->refreshed = now;
    balancer_affinity_rest(g, now);
}

void balancer_group_refresh_all(struct group *g, mono_ms now)
{
    struct typical walked = g->walked; /* the tick's may be under way */

    balancer_group_walk(g, 0, g->n, now);
    g->walked = walked;
    assert(g->refreshed == now);
}

/* Who was hot by another threshold has nothing to wait for. */
void balancer_group_configure(struct group *g, const struct conf_balancer *conf,
                              mono_ms now)
{
    assert(conf->heartbeat_interval_ms > 0);
    g->conf = conf;
    for (uint32_t i = 0; i < g->n; i++)
        g->members[i].over = 0;
    balancer_group_refresh_all(g, now);
}

void balancer_group_tree_resize(struct group *g, uint32_t cap)
{
    balancer_tree_resize(&g->tree, cap);
    assert(g->tree.n_levels > 0);
}

void balancer_group_tree_close(struct group *g)
{
    balancer_tree_close(&g->tree);
    assert(g->tree.n_levels == 0);
}

/*
 * In a large group each pick meets a worker whose lines no cache holds, and
 * one is found by way of another: the member, its account, its places in other
 * groups. So each is asked for some picks before it is needed, one step at a
 * time, as the worker moves up in the front: the member when FETCH_MEMBER
 * others stand before it, and so on. An alternate's address is read when two
 * stand before it.
 */
#define FETCH_MEMBER  10U
#define FETCH_ACCOUNT 7U
#define FETCH_REST    4U

FETCHES fetch_account(const struct group *g, uint32_t member)
{
    const char *a = (const char *)g->members[member].account;

    __builtin_prefetch(a, 1);
    __builtin_prefetch(a + MEM_LINE);
    __builtin_prefetch(a + 2 * MEM_LINE);
}

FETCHES fetch_rest(const struct group *g, uint32_t member)
{
    const struct account *a = g->members[member].account;

    for (uint32_t i = 0; i < a->n_in; i++) {
        const struct group *in = a->in[i].group;
        uint32_t place = a->in[i].member;

        __builtin_prefetch(&in->members[place], 1);
        __builtin_prefetch(&in->tree.level[0][place], 1);
    }
}

/* Whoever stands at that place now, or came to stand before it: `old` of the
 * front were there the last time. */
static inline uint32_t first_due(uint32_t old, uint32_t place)
{
    return old < place ? old : place;
}

FETCHES fetch_ahead(const struct group *g, const struct tree_front *f,
                    uint32_t old)
{
    const uint32_t *next = f->slot + f->at;
    uint32_t i;

    for (i = first_due(old, FETCH_MEMBER); i < f->n && i <= FETCH_MEMBER; i++)
        __builtin_prefetch(&g->members[next[i]], 1);
    for (i = first_due(old, FETCH_ACCOUNT); i < f->n && i <= FETCH_ACCOUNT; i++)
        fetch_account(g, next[i]);
    for (i = first_due(old, FETCH_REST); i < f->n && i <= FETCH_REST; i++)
        fetch_rest(g, next[i]);
}

uint32_t balancer_group_tree_choose(struct group *g, struct rand *rand,
                                    uint32_t want, uint32_t *out)
{
    uint32_t old = g->tree.front.n;
    const struct tree_front *f =
        balancer_tree_front(&g->tree, FETCH_MEMBER + 1);
    uint32_t n = f->n < want ? f->n : want;

    assert(want <= FETCH_MEMBER);
    (void)rand;
    fetch_ahead(g, f, old);
    for (uint32_t i = 0; i < n; i++)
        out[i] = f->slot[f->at + i];
    return n;
}

/* Of a thousand workers some report is due about as soon as of all. */
int64_t balancer_group_retry_after(const struct group *g, mono_ms now)
{
    int64_t soonest = g->conf->heartbeat_interval_ms;
    uint32_t n = g->n < RETRY_SCAN_MAX ? g->n : RETRY_SCAN_MAX;

    assert(g->conf->heartbeat_interval_ms > 0);
    for (uint32_t i = 0; i < n; i++) {
        const struct account *a = g->members[i].account;

        if (a == NULL || a->profile->dead || a->profile->closed ||
            a->profile->weight == 0)
            continue;
        int64_t due =
            a->profile->reported + balancer_account_interval(a, g->conf) - now;

        if (due >= 0 && due < soonest)
            soonest = due;
        if (soonest <= RETRY_MIN_MS)
            break;
    }
    return soonest < RETRY_MIN_MS ? RETRY_MIN_MS : soonest;
}
