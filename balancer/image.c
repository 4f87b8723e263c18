/*
 * image.c - a balancer's state out and in; image.h says what for.
 *
 * The tables come first: whoever adds a field to one of these structs adds a
 * line here, with the least and the most that it can be. An image comes from a
 * file, so nothing in it is believed: each number is within its bounds, and
 * what belongs together is compared (agree_*), before any policy sees it.
 * Keys of trees are kept and not worked out anew: a worker may have been
 * judged through another group since, and its key here is still the old one.
 * (Longer than 500 lines: it is one walk over all that there is, out and in.)
 */
#include "balancer/image.h"

#include "balancer/balancer_priv.h"
#include "base/pack/fields.h"

#include <string.h>

#define TIME      1e15 /* ms, either way: 30,000 years */
#define TASKS     1e15 /* more than anybody counts */
#define U32       4294967295.0
#define U64       18446744073709551615.0
#define TURN_MAX  ((UINT64_C(1) << 62) + (UINT64_C(1) << 53))
#define DWELL_MAX 16.0
#define DWELL_MIN 1.5

/* ---- what there is ------------------------------------------------------ */

static const struct field conf_fields[] = {
    FIELD(struct conf_balancer, policy, 0, CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN),
    FIELD(struct conf_balancer, heartbeat_interval_ms, 1, 3600e3),
    FIELD(struct conf_balancer, cpu_max, 0, 1),
    FIELD(struct conf_balancer, memory_max, 0, 1),
    FIELD(struct conf_balancer, disk_max, 0, 1),
    FIELD(struct conf_balancer, busy, 0, CONF_BUSY_LAST),
    FIELD(struct conf_balancer, warm_up_ms, 0, 3600e3),
    FIELD(struct conf_balancer, warm_up_aggression, 0.1, 10),
    FIELD(struct conf_balancer, cpu_usage_weight, 0, 100),
    FIELD(struct conf_balancer, memory_usage_weight, 0, 100),
    FIELD(struct conf_balancer, pool_usage_weight, 0, 100),
};
FIELDS_OF(struct conf_balancer, 88);

static const struct field balancer_fields[] = {
    FIELD_ARRAY(struct balancer, rand.s, 0, U64),
    FIELD(struct balancer, scale, 1, U32),
    FIELD(struct balancer, now, -TIME, TIME),
    FIELD(struct balancer, unheard, 0, TIME),
    FIELD(struct balancer, frozen_at, -TIME, TIME),
    FIELD(struct balancer, frozen, 0, 1),
    FIELD(struct balancer, held, 0, 1),
    FIELD(struct balancer, stats.picks, 0, U64),
    FIELD(struct balancer, stats.refused, 0, U64),
    FIELD(struct balancer, stats.done, 0, U64),
    FIELD(struct balancer, stats.unknown_picks, 0, U64),
    FIELD(struct balancer, stats.empty, 0, U64),
    FIELD_ARRAY(struct balancer, stats.why_empty, 0, U64),
    FIELD(struct balancer, receipts.next, 1, TURN_MAX),
    FIELD(struct balancer, receipts.instance, 1, U64),
};
/* Elsewhere: conf, own, ops, groups, everyone, accounts with by_address,
 * the receipts. Not state: lock, holds, undo, taps. */
FIELDS_OF(struct balancer, 824);

static const struct field account_fields[] = {
    FIELD(struct account, granted, 0, TASKS),
    FIELD(struct account, acked, 0, TASKS),
    FIELD_ARRAY(struct account, recent, INT16_MIN, INT16_MAX),
    FIELD(struct account, bucket, 0, U32),
    FIELD(struct account, owned, 0, U32),
    FIELD(struct account, share, 1e-9, TASKS),
};
/* Elsewhere: life, in, the address. Worked out: slot, hash, length. */
FIELDS_OF(struct account, 192);

static const struct field profile_fields[] = {
    FIELD(struct profile, running, 0, TASKS),
    FIELD(struct profile, capacity, 1, U32),
    FIELD(struct profile, told, -TIME, TIME),
    FIELD(struct profile, reported, -TIME, TIME),
    FIELD(struct profile, since, -TIME, TIME),
    FIELD(struct profile, settled, -TIME, TIME),
    FIELD(struct profile, settled_from, 0, U32),
    FIELD(struct profile, settles, 0, U32),
    FIELD(struct profile, ended_sum, 0, TASKS),
    FIELD(struct profile, acked_sum, 0, TASKS),
    FIELD(struct profile, excess, -TASKS, TASKS),
    FIELD(struct profile, dead, 0, 1),
    FIELD(struct profile, closed, 0, 1),
    FIELD(struct profile, busy, 0, 1),
    FIELD(struct profile, degraded, 0, 1),
    FIELD(struct profile, refused, 0, 1),
    FIELD(struct profile, weight, 0, 1e9),
    FIELD(struct profile, slots, 0, 1e9),
    FIELD(struct profile, lease_ms, 0, TIME),
    FIELD_ARRAY(struct profile, usage, -1, 1e9),
    FIELD(struct profile, incarnation, 0, U64),
    FIELD(struct profile, recovering, 0, 1),
    FIELD(struct profile, good_reports, 0, U32),
    FIELD(struct profile, left_at, -TIME, TIME),
    FIELD(struct profile, dwell, 0, DWELL_MAX),
    FIELD(struct profile, owned_told, 0, TASKS),
    FIELD(struct profile, presumed, 0, TASKS),
    FIELD(struct profile, refused_at, 0, TIME),
    FIELD(struct profile, peak[USUAL_CPU].usage, -1, 1e9),
    FIELD(struct profile, peak[USUAL_CPU].at, -TIME, TIME),
    FIELD(struct profile, peak[USUAL_MEMORY].usage, -1, 1e9),
    FIELD(struct profile, peak[USUAL_MEMORY].at, -TIME, TIME),
    FIELD(struct profile, peak[USUAL_DISK].usage, -1, 1e9),
    FIELD(struct profile, peak[USUAL_DISK].at, -TIME, TIME),
    FIELD(struct profile, source, 0, CAPACITY_WEIGHT),
    FIELD(struct profile, denominator, 1, 1024),
    FIELD(struct profile, fractions, 0, 3),
    FIELD(struct profile, last_pool, -1, 1e9),
    FIELD(struct profile, settled_cpu, -1, 1e9),
    FIELD(struct profile, gauged, 0, 1),
};
/* Elsewhere: the address. Not state: cap_in. */
FIELDS_OF(struct profile, 264);

static const struct field group_fields[] = {
    FIELD(struct group, defined, 0, 1),
    FIELD(struct group, typical_due, 0, 1),
    FIELD(struct group, refreshed, -TIME, TIME),
    FIELD(struct group, used, -TIME, TIME),
    FIELD(struct group, reopens, -TIME, TIME),
    FIELD(struct group, lag, 1, LAG_BUCKETS),
    FIELD(struct group, turn, 0, TURN_MAX),
};
/* Elsewhere: name, members, n, free, typical, walked, tree, u. Worked out: cap,
 * affinity, standing_n.
 * Not state: ops, conf, peeking (only within a call), hh. */
FIELDS_OF(struct group, 1672);

static const struct field typical_fields[] = {
    FIELD_ARRAY(struct typical, n, 0, U32),
    FIELD_ARRAY(struct typical, sum, 0, TASKS),
    FIELD_ARRAY(struct typical, hot, 0, U32),
    FIELD(struct typical, silent, 0, 1),
};
FIELDS_OF(struct typical, 80);

static const struct field member_fields[] = {
    FIELD(struct member, salt, 0, U32),
    FIELD(struct member, standing, 0, STANDING_REFUSED),
    FIELD(struct member, turn, 0, U64),
};
/* Elsewhere: account, u; hot, heated, heat and over, which are parts of bytes.
 * Not state: held (only within a call). */
FIELDS_OF(struct member, 64);

static const struct field receipt_fields[] = {
    FIELD(struct receipt, holder, 1, U32),
    FIELD(struct receipt, life, 0, U32),
};
/* Elsewhere: bucket. Worked out: lap, of its number. */
FIELDS_OF(struct receipt, 16);

static const struct field fit_fields[] = {
    FIELD_ARRAY(struct fit, at, 0, 1),  FIELD_GRID(struct fit, unsure, -1, 1),
    FIELD(struct fit, error, 0, TASKS), FIELD(struct fit, surprise, 0, TASKS),
    FIELD(struct fit, samples, 0, 1e6), FIELD(struct fit, resets, 0, U32),
};
FIELDS_OF(struct fit, 120);

static const struct field gauge_fields[] = {
    FIELD(struct gauge, granted_sum, 0, TASKS),
    FIELD(struct gauge, acked_sum, 0, TASKS),
    FIELD(struct gauge, low, -2, 1e9),
    FIELD(struct gauge, high, -2, 1e9),
    FIELD(struct gauge, seen, 0, U32),
};
/* Elsewhere: fit. */
FIELDS_OF(struct gauge, 160);

/* What policies keep in the unions. */
static const struct field ledger_group_fields[] = {
    FIELD_ARRAY(struct group, u.ledger.est, -TASKS, TASKS),
    FIELD_ARRAY(struct group, u.ledger.capacity, -TASKS, TASKS),
    FIELD(struct group, u.ledger.fitted, 0, 1),
    FIELD(struct group, u.ledger.fade_running, -64, 0),
    FIELD(struct group, u.ledger.fade_granted, -64, 0),
    FIELD(struct group, u.ledger.ended_sum, 0, TASKS),
    FIELD(struct group, u.ledger.acked_sum, 0, TASKS),
    FIELD(struct group, u.ledger.cpu.n, 0, TASKS),
    FIELD(struct group, u.ledger.cpu.used, 0, 1),
    FIELD(struct group, u.ledger.cpu.cpu, 0, 1),
    FIELD(struct group, u.ledger.cpu.uu, 0, 1),
    FIELD(struct group, u.ledger.cpu.uc, -1, 1),
    FIELD(struct group, u.ledger.cpu.cc, 0, 1),
    FIELD(struct group, u.ledger.cpu.per_slot, 0, TASKS),
    FIELD_ARRAY(struct group, u.ledger.lag_error, 0, TASKS),
};
static const struct field ledger_member_fields[] = {
    FIELD(struct member, u.ledger.est, 0, TASKS),
    FIELD(struct member, u.ledger.counted, 0, TASKS),
    FIELD(struct member, u.ledger.per_share, 0, TASKS),
    FIELD(struct member, u.ledger.told, 0, 1),
    FIELD(struct member, u.ledger.carry, 0, TASKS),
    FIELD(struct member, u.ledger.work, 0, TASKS),
    FIELD(struct member, u.ledger.alive, 0, TASKS),
    FIELD(struct member, u.ledger.seen, 0, TASKS),
    FIELD(struct member, u.ledger.at, 0, U32),
    FIELD(struct member, u.ledger.period, 0, U32),
};
static const struct field stride_member_fields[] = {
    FIELD(struct member, u.stride.period, 0, 1e16),
    FIELD(struct member, u.stride.waiting, 0, 1),
};
static const struct field random_member_fields[] = {
    FIELD(struct member, u.position, 0, U32),
};

static const struct fields image_fields[] = {
    {"settings", conf_fields, ARRAY_LEN(conf_fields)},
    {"balancer", balancer_fields, ARRAY_LEN(balancer_fields)},
    {"worker", account_fields, ARRAY_LEN(account_fields)},
    {"worker", profile_fields, ARRAY_LEN(profile_fields)},
    {"group", group_fields, ARRAY_LEN(group_fields)},
    {"group", typical_fields, ARRAY_LEN(typical_fields)},
    {"member", member_fields, ARRAY_LEN(member_fields)},
    {"fit", fit_fields, ARRAY_LEN(fit_fields)},
    {"gauge", gauge_fields, ARRAY_LEN(gauge_fields)},
    {"pick", receipt_fields, ARRAY_LEN(receipt_fields)},
    {"group", ledger_group_fields, ARRAY_LEN(ledger_group_fields)},
    {"member", ledger_member_fields, ARRAY_LEN(ledger_member_fields)},
    {"member", stride_member_fields, ARRAY_LEN(stride_member_fields)},
    {"member", random_member_fields, ARRAY_LEN(random_member_fields)},
};
enum {
    OF_CONF,
    OF_BALANCER,
    OF_ACCOUNT,
    OF_PROFILE,
    OF_GROUP,
    OF_TYPICAL,
    OF_MEMBER,
    OF_FIT,
    OF_GAUGE,
    OF_RECEIPT,
    OF_LEDGER_GROUP,
    OF_LEDGER_MEMBER,
    OF_STRIDE_MEMBER,
    OF_RANDOM_MEMBER,
    OF_ALL
};
_Static_assert(ARRAY_LEN(image_fields) == OF_ALL, "one name for each table");

uint64_t balancer_image_layout(void)
{
    uint64_t hash = 2; /* raise it when the walk below changes */

    for (size_t i = 0; i < OF_ALL; i++)
        hash = fields_hash(&image_fields[i], hash);
    return hash;
}

static void put(int table, const void *from, struct buf *out)
{
    fields_pack(&image_fields[table], from, out);
}

/* Not that of `conf`, which it began with. */
static enum conf_policy policy_number(const struct policy_ops *ops)
{
    enum conf_policy policy = CONF_LEDGER;

    while (balancer_policy_of(policy) != ops)
        policy++;
    return policy;
}

static bool has_policy(const struct group *g, enum conf_policy policy)
{
    return g->ops == balancer_policy_of(policy);
}

/* Which of them a policy's members have; OF_ALL: none. */
static int member_table(const struct group *g)
{
    if (has_policy(g, CONF_LEDGER))
        return OF_LEDGER_MEMBER;
    if (has_policy(g, CONF_RANDOM))
        return OF_RANDOM_MEMBER;
    return g->ops->weight != NULL ? OF_STRIDE_MEMBER : OF_ALL;
}

/* Its members stand in the group's tree. */
static bool has_tree(const struct group *g)
{
    return g->ops->choose == balancer_group_tree_choose;
}

/* ---- out ---------------------------------------------------------------- */

static void put_account(const struct account *a, struct buf *out)
{
    pack_uint(out, a->life);
    pack_u8(out, a->profile != NULL);
    if (a->profile == NULL)
        return;
    pack_str(out, a->address);
    put(OF_PROFILE, a->profile, out);
    put(OF_ACCOUNT, a, out);
}

static void put_accounts(const struct accounts *all, struct buf *out)
{
    pack_uint(out, all->n);
    for (uint32_t i = 0; i < all->n; i++)
        put_account(account_at(all, i), out);
    /* In their order: the last one is taken first. */
    for (uint32_t i = 0; i < all->n_free; i++)
        pack_uint(out, all->free[i]);
}

static void put_member(const struct group *g, uint32_t i, struct buf *out)
{
    const struct member *m = &g->members[i];
    int table = member_table(g);

    assert(!m->held);
    pack_uint(out, m->account != NULL ? m->account->slot + 1 : 0);
    if (m->account == NULL)
        return; /* whoever takes the place begins anew */
    put(OF_MEMBER, m, out);
    pack_u8(out, (uint8_t)(m->hot | m->heated << 1));
    pack_u8(out, m->heat);
    pack_u8(out, m->over);
    if (table != OF_ALL)
        put(table, m, out);
    if (has_tree(g))
        pack_u64(out, balancer_tree_key(&g->tree, i));
}

static void put_policy(const struct group *g, struct buf *out)
{
    if (has_policy(g, CONF_LEDGER)) {
        put(OF_LEDGER_GROUP, g, out);
        if (g->u.ledger.fitted)
            put(OF_FIT, &g->u.ledger.fit, out);
    }
    if (has_policy(g, CONF_RANDOM)) {
        pack_uint(out, g->u.random.n);
        for (uint32_t i = 0; i < g->u.random.n; i++)
            pack_uint(out, g->u.random.list[i]);
    }
    if (has_policy(g, CONF_ROUND_ROBIN))
        for (uint32_t i = 0; i < g->n; i += 64)
            pack_u64(out, g->u.round_robin.bits[i / 64]);
}

static void put_group(const struct group *g, struct buf *out)
{
    assert(!g->peeking);
    pack_str(out, g->name);
    put(OF_GROUP, g, out);
    put(OF_TYPICAL, &g->typical, out);
    put(OF_TYPICAL, &g->walked, out);
    pack_uint(out, g->n);
    for (uint32_t i = 0; i < g->n; i++)
        put_member(g, i, out);
    for (uint32_t i = 0; i < g->n_free; i++)
        pack_uint(out, g->free[i]);
    put_policy(g, out);
}

/* Which one of the list it is. */
struct place {
    const struct group *group;
    uint32_t number;
    UT_hash_handle hh;
};

static void put_seats(const struct balancer *b, struct buf *out)
{
    struct place *places = NULL, *all, *at;
    uint32_t n = 0;

    all = mem_array(HASH_COUNT(b->groups), sizeof(*all));
    for (const struct group *g = b->groups; g != NULL; g = g->hh.next) {
        all[n] = (struct place){.group = g, .number = n};
        HASH_ADD_PTR(places, group, &all[n]);
        n++;
    }
    for (uint32_t i = 0; i < b->accounts.n; i++) {
        const struct account *a = account_at(&b->accounts, i);

        for (uint32_t j = 0; a->profile != NULL && j < a->n_in; j++) {
            HASH_FIND_PTR(places, &a->in[j].group, at);
            assert(at != NULL);
            pack_uint(out, at->number + 1);
            pack_uint(out, a->in[j].member);
        }
        if (a->profile != NULL)
            pack_uint(out, 0);
    }
    HASH_CLEAR(hh, places);
    mem_free(all);
}

/* The picks that have not ended, by number. */
static void put_receipts(const struct receipts *r, struct buf *out)
{
    uint64_t from = r->next > RECEIPTS_MAX ? r->next - RECEIPTS_MAX : 0;
    uint64_t last = from;
    uint32_t bucket = 0;

    for (uint64_t i = from; i < r->next; i++) {
        const struct receipt *one = balancer_receipts_at(r, i);

        if (one == NULL)
            continue;
        pack_uint(out, i - last + 1);
        put(OF_RECEIPT, one, out);
        pack_int(out, (int32_t)(one->bucket - bucket));
        bucket = one->bucket;
        last = i;
    }
    pack_uint(out, 0);
}

static void put_own(const struct balancer_group_conf *own, size_t n,
                    struct buf *out)
{
    pack_uint(out, n);
    for (size_t i = 0; i < n; i++) {
        pack_str(out, own[i].name);
        put(OF_CONF, &own[i].conf, out);
    }
}

void balancer_settings_pack(const struct conf_balancer *conf,
                            const struct balancer_group_conf *own, size_t n,
                            struct buf *out)
{
    put(OF_CONF, conf, out);
    put_own(own, n, out);
}

/* Sorted, if they were; each name once. */
static int get_own(struct unpack *in, struct balancer_group_conf **own,
                   size_t *n, struct err *err)
{
    const struct fields *table = &image_fields[OF_CONF];
    int rc = 0;

    *n = unpack_count(in, UINT32_MAX, 1 + fields_least(table));
    *own = mem_zalloc((*n + 1) * sizeof(**own));
    for (size_t i = 0; i < *n && rc == 0; i++) {
        struct balancer_group_conf *one = &(*own)[i];

        unpack_str(in, one->name, sizeof(one->name));
        if (one->name[0] == '\0')
            rc = err_set(err, ERR_INVALID, "settings of a group without name");
        else
            rc = fields_unpack(table, &one->conf, in, err);
    }
    if (rc == 0 && in->bad)
        rc = err_set(err, ERR_INVALID, "groups' settings: it ends there");
    if (rc != 0)
        MEM_FREE(*own);
    return rc;
}

int balancer_settings_unpack(struct conf_balancer *conf,
                             struct balancer_group_conf **own, size_t *n,
                             struct unpack *in, struct err *err)
{
    int rc = fields_unpack(&image_fields[OF_CONF], conf, in, err);

    *own = NULL;
    return rc != 0 ? rc : get_own(in, own, n, err);
}

struct conf_balancer balancer_settings(const struct balancer *b)
{
    struct conf_balancer conf = b->conf;

    conf.policy = policy_number(b->ops);
    return conf;
}

void balancer_image_locked(const struct balancer *b, struct buf *out)
{
    assert(b->everyone == b->groups);
    pack_u64(out, balancer_image_layout());
    put(OF_CONF, &b->conf, out);
    pack_uint(out, policy_number(b->ops));
    put_own(b->own, b->n_own, out);
    put(OF_BALANCER, b, out);
    put(OF_FIT, &b->gauge.fit, out);
    put(OF_GAUGE, &b->gauge, out);
    put_accounts(&b->accounts, out);
    pack_uint(out, HASH_COUNT(b->groups));
    for (const struct group *g = b->groups; g != NULL; g = g->hh.next)
        put_group(g, out);
    put_seats(b, out);
    put_receipts(&b->receipts, out);
}

void balancer_image(struct balancer *b, struct buf *out)
{
    balancer_lock(b);
    balancer_image_locked(b, out);
    balancer_unlock(b);
}

/* ---- in ----------------------------------------------------------------- */

struct restoring {
    struct balancer *b;
    struct unpack in;
    struct err *err;
};

static int refuse(struct restoring *r, const char *what)
{
    if (r->in.bad)
        return err_set(r->err, ERR_INVALID, "%s: it ends there, or no number",
                       what);
    return err_set(r->err, ERR_INVALID, "%s does not agree with the rest",
                   what);
}

static int get(struct restoring *r, int table, void *to)
{
    return fields_unpack(&image_fields[table], to, &r->in, r->err);
}

/* `n` free places of a list of `of`, each once, and none that is in use. */
static int get_free(struct restoring *r, uint32_t *to, uint32_t n, uint32_t of,
                    uint8_t *used)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = (uint32_t)unpack_uint_max(&r->in, UINT32_MAX);

        if (r->in.bad || place >= of || used[place])
            return refuse(r, "a free place");
        used[place] = 1;
        to[i] = place;
    }
    return 0;
}

/* What account.c asserts of it. */
static bool agree_account(const struct account *a)
{
    const struct profile *p = a->profile;

    return (p->dwell == 0 || p->dwell >= DWELL_MIN) &&
           (!p->recovering || p->dwell > 0) && (!p->busy || p->recovering) &&
           p->reported <= p->told;
}

static int get_account(struct restoring *r, struct account *a)
{
    char address[BALANCER_ADDRESS_MAX + 1];
    int rc;

    unpack_str(&r->in, address, sizeof(address));
    if (r->in.bad || address[0] == '\0' ||
        balancer_account(r->b, address) != NULL)
        return refuse(r, "a worker's address");
    balancer_account_open(a, address);
    hash_index_put(&r->b->by_address, hash_quick(a->address, a->length),
                   a->slot);
    rc = get(r, OF_PROFILE, a->profile);
    if (rc == 0)
        rc = get(r, OF_ACCOUNT, a);
    if (rc != 0)
        return rc;
    return agree_account(a) ? 0 : refuse(r, "a worker");
}

static int get_accounts(struct restoring *r)
{
    struct accounts *all = &r->b->accounts;
    uint32_t n = unpack_count(&r->in, TREE_SLOTS_MAX / 2, 2);
    uint32_t n_free = 0;
    uint8_t *used = mem_zalloc(n + 1);
    int rc = 0;

    for (uint32_t i = 0; i < n && rc == 0; i++) {
        struct account *a = balancer_accounts_take(all);

        a->life = (uint32_t)unpack_uint_max(&r->in, UINT32_MAX);
        used[i] = unpack_bool(&r->in);
        n_free += used[i] == 0;
        if (r->in.bad)
            rc = refuse(r, "a worker");
        else if (used[i])
            rc = get_account(r, a);
    }
    if (rc == 0 && r->in.bad)
        rc = refuse(r, "the workers");
    if (rc == 0 && n > 0)
        rc = get_free(r, all->free, n_free, n, used);
    if (rc == 0)
        all->n_free = n_free;
    mem_free(used);
    return rc;
}

/* What a policy asserts of a member that can be picked. */
static bool agree_member(const struct group *g, const struct member *m,
                         uint64_t key)
{
    int table = member_table(g);

    if (m->standing == STANDING_OPEN && m->account->profile->weight == 0)
        return false;
    if (has_tree(g) && (m->standing == STANDING_OPEN) != (key != TREE_NONE))
        return false;
    if (table == OF_STRIDE_MEMBER) {
        if (key != TREE_NONE &&
            (m->u.stride.period == 0 || m->u.stride.waiting))
            return false;
        return m->u.stride.waiting || m->turn <= g->turn + m->u.stride.period;
    }
    return table != OF_LEDGER_MEMBER || key == TREE_NONE ||
           m->u.ledger.per_share > 0;
}

static int get_member(struct restoring *r, struct group *g, uint32_t i,
                      uint8_t *used)
{
    struct accounts *all = &r->b->accounts;
    struct member *m = &g->members[i];
    uint32_t slot = (uint32_t)unpack_uint_max(&r->in, all->n);
    uint64_t key = TREE_NONE;
    int table = member_table(g), rc;

    *m = (struct member){.account = NULL};
    if (r->in.bad)
        return refuse(r, "a group's member");
    if (slot == 0)
        return 0;
    m->account = account_at(all, slot - 1);
    *used = 1;
    if (m->account->profile == NULL)
        return refuse(r, "a group's member");
    rc = get(r, OF_MEMBER, m);
    uint8_t flags = (uint8_t)unpack_uint_max(&r->in, 3);

    m->hot = (flags & 1) != 0;
    m->heated = (flags & 2) != 0;
    m->heat = unpack_uint_max(&r->in, HEAT_DISK) & 31U;
    m->over = unpack_uint_max(&r->in, 7) & 7U;
    if (rc == 0 && table != OF_ALL)
        rc = get(r, table, m);
    if (rc != 0)
        return rc;
    if (has_tree(g)) {
        key = unpack_u64(&r->in);
        tree_put(&g->tree, i, key);
    }
    if (r->in.bad || !agree_member(g, m, key))
        return refuse(r, "a group's member");
    g->standing_n[m->standing]++;
    return 0;
}

static int get_random(struct restoring *r, struct group *g)
{
    uint32_t listed = 0;

    g->u.random.n = unpack_count(&r->in, g->n, 1);
    for (uint32_t i = 0; i < g->u.random.n; i++) {
        uint32_t member = (uint32_t)unpack_uint_max(&r->in, UINT32_MAX);

        if (r->in.bad || member >= g->n || g->members[member].account == NULL ||
            g->members[member].standing != STANDING_OPEN ||
            g->members[member].u.position != i + 1)
            return refuse(r, "who can be picked");
        g->u.random.list[i] = member;
    }
    for (uint32_t i = 0; i < g->n; i++)
        listed += g->members[i].u.position != 0;
    return !r->in.bad && listed == g->u.random.n
               ? 0
               : refuse(r, "who can be picked");
}

static int get_round_robin(struct restoring *r, struct group *g)
{
    for (uint32_t i = 0; i < g->n; i += 64)
        g->u.round_robin.bits[i / 64] = unpack_u64(&r->in);
    for (uint32_t i = 0; i < (g->n + 63) / 64 * 64; i++)
        if ((g->u.round_robin.bits[i / 64] >> i % 64 & 1) != 0 &&
            (i >= g->n || !member_eligible(&g->members[i])))
            return refuse(r, "who can be picked");
    return r->in.bad ? refuse(r, "who can be picked") : 0;
}

/* A covariance has a variance for each, and none is surer of two than of one.
 */
static int get_fit(struct restoring *r, struct fit *f)
{
    int rc = get(r, OF_FIT, f);

    for (int i = 0; i < FIT_TERMS && rc == 0; i++)
        for (int j = 0; j < FIT_TERMS && rc == 0; j++)
            if (f->unsure[i][i] <= 0 || f->at[i] > balancer_fit_limit[i] ||
                f->unsure[i][j] * f->unsure[i][j] >
                    f->unsure[i][i] * f->unsure[j][j] * 1.001)
                rc = refuse(r, "what was fitted");
    return rc;
}

static int get_policy(struct restoring *r, struct group *g)
{
    if (has_policy(g, CONF_LEDGER)) {
        int rc = get(r, OF_LEDGER_GROUP, g);

        return rc != 0 || !g->u.ledger.fitted ? rc
                                              : get_fit(r, &g->u.ledger.fit);
    }
    if (has_policy(g, CONF_RANDOM))
        return get_random(r, g);
    return has_policy(g, CONF_ROUND_ROBIN) ? get_round_robin(r, g) : 0;
}

/* Members at their places, and the tree above them. */
static int get_members(struct restoring *r, struct group *g)
{
    uint32_t n = unpack_count(&r->in, TREE_SLOTS_MAX / 4, 1);
    uint32_t n_free = 0;
    uint8_t *used = mem_zalloc(n + 1);
    int rc = r->in.bad ? refuse(r, "a group's members") : 0;

    balancer_group_reserve(g, n);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        g->n = i + 1;
        rc = get_member(r, g, i, &used[i]);
        n_free += used[i] == 0;
    }
    if (rc == 0)
        rc = get_free(r, g->free, n_free, n, used);
    if (rc == 0)
        g->n_free = n_free;
    if (rc == 0 && n > 0 && has_tree(g))
        balancer_tree_repair(&g->tree, 0, n);
    mem_free(used);
    return rc;
}

static bool agree_typical(const struct typical *t)
{
    for (int i = 0; i <= USUAL_DISK; i++)
        if (t->hot[i] > t->n[i])
            return false;
    return t->sum[USUAL_CAPACITY] >= t->n[USUAL_CAPACITY];
}

/* `first`: it is "default", and only it. */
static int get_group(struct restoring *r, bool first)
{
    char name[BALANCER_GROUP_MAX + 1];
    struct group *g;
    int rc;

    unpack_str(&r->in, name, sizeof(name));
    g = balancer_group(r->b, name);
    if (r->in.bad || name[0] == '\0' || g != (first ? r->b->everyone : NULL))
        return refuse(r, "a group's name");
    if (!first)
        g = balancer_group_make(r->b, name);
    rc = get(r, OF_GROUP, g);
    if (rc == 0)
        rc = get(r, OF_TYPICAL, &g->typical);
    if (rc == 0)
        rc = get(r, OF_TYPICAL, &g->walked);
    if (rc != 0)
        return rc;
    if (!agree_typical(&g->typical) || !agree_typical(&g->walked))
        return refuse(r, "what is typical of a group");
    g->conf = balancer_conf_of(r->b, name);
    rc = get_members(r, g);
    return rc != 0 ? rc : get_policy(r, g);
}

/* An account's groups, default first, none twice; who sits there is the one
 * that the group says. */
static int get_seat(struct restoring *r, struct account *a,
                    struct group *const *groups, uint32_t number,
                    uint32_t *seen)
{
    struct group *g = groups[number];
    uint32_t member = (uint32_t)unpack_uint_max(&r->in, UINT32_MAX);

    if (r->in.bad || member >= g->n || g->members[member].account != a ||
        seen[number] == a->slot + 1 || (a->n_in == 0) != (number == 0))
        return refuse(r, "a worker's group");
    seen[number] = a->slot + 1;
    balancer_account_join(a, (struct seat){g, member});
    return 0;
}

static int get_seats(struct restoring *r)
{
    struct accounts *all = &r->b->accounts;
    uint32_t n = HASH_COUNT(r->b->groups), i = 0;
    struct group **groups = mem_array(n, sizeof(struct group *));
    uint32_t *seen = mem_zalloc(n * sizeof(*seen));
    uint64_t seats = 0, taken = 0;
    int rc = 0;

    for (struct group *g = r->b->groups; g != NULL; g = g->hh.next) {
        groups[i++] = g;
        seats += group_size(g);
    }
    for (i = 0; i < all->n && rc == 0; i++) {
        struct account *a = account_at(all, i);
        uint32_t number;

        if (a->profile == NULL)
            continue;
        while (rc == 0 &&
               (number = (uint32_t)unpack_uint_max(&r->in, n)) != 0) {
            rc = get_seat(r, a, groups, number - 1, seen);
            taken++;
        }
        if (rc == 0 && (r->in.bad || a->n_in == 0))
            rc = refuse(r, "a worker's group");
    }
    if (rc == 0 && taken != seats)
        rc = refuse(r, "a group's members");
    mem_free(seen);
    mem_free(groups);
    return rc;
}

static int get_receipts(struct restoring *r)
{
    struct receipts *receipts = &r->b->receipts;
    uint64_t from =
        receipts->next > RECEIPTS_MAX ? receipts->next - RECEIPTS_MAX : 0;
    uint64_t at = from, step;
    uint32_t bucket = 0;
    bool first = true;

    while ((step = unpack_uint(&r->in)) != 0) {
        struct receipt one = {.lap = 0};
        const struct account *a;

        if (step - 1 >= receipts->next - at || (step == 1 && !first))
            return refuse(r, "a pick's number");
        first = false;
        at += step - 1;
        int rc = get(r, OF_RECEIPT, &one);

        if (rc != 0)
            return rc;
        bucket += (uint32_t)unpack_int(&r->in);
        one.bucket = bucket;
        if (one.holder > r->b->accounts.n)
            return refuse(r, "a pick's worker");
        a = account_at(&r->b->accounts, one.holder - 1);
        if (a->profile == NULL && a->life == one.life)
            return refuse(r, "a pick's worker");
        balancer_receipts_put(receipts, at, &one);
    }
    return r->in.bad || unpack_left(&r->in) > 0 ? refuse(r, "the end") : 0;
}

/* They are looked up by halving. */
static bool agree_own(const struct balancer *b)
{
    for (size_t i = 0; i < b->n_own; i++)
        if (b->own[i].conf.heartbeat_interval_ms !=
                b->conf.heartbeat_interval_ms ||
            (i > 0 && strcmp(b->own[i - 1].name, b->own[i].name) >= 0))
            return false;
    return true;
}

static int get_all(struct restoring *r)
{
    uint32_t n;
    int rc = get(r, OF_BALANCER, r->b);

    if (rc == 0)
        rc = get_fit(r, &r->b->gauge.fit);
    if (rc == 0)
        rc = get(r, OF_GAUGE, &r->b->gauge);

    if (rc == 0 && (r->b->receipts.instance &
                    ((UINT64_C(1) << RECEIPTS_NUMBER_BITS) - 1)) != 0)
        rc = refuse(r, "the coordinator");
    if (rc == 0 && !agree_own(r->b))
        rc = refuse(r, "the groups' settings");
    if (rc == 0)
        rc = get_accounts(r);
    if (rc != 0)
        return rc;
    n = unpack_count(&r->in, UINT32_MAX, fields_least(&image_fields[OF_GROUP]));
    if (n == 0)
        return refuse(r, "the groups");
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = get_group(r, i == 0);
    if (rc == 0)
        rc = get_seats(r);
    return rc != 0 ? rc : get_receipts(r);
}

/* Whatever stands in it until then: its members' accounts may be in no group
 * yet. */
struct balancer *balancer_restore(const void *data, size_t len, struct err *err)
{
    struct restoring r = {.in = unpack_of(data, len), .err = err};
    struct conf_balancer conf = {.heartbeat_interval_ms = 1};
    struct balancer_group_conf *own;
    enum conf_policy began;
    size_t n;

    if (unpack_u64(&r.in) != balancer_image_layout()) {
        (void)err_set(err, ERR_INVALID, "%s",
                      r.in.bad
                          ? "it ends at its beginning"
                          : "it was made by another build of the balancer, "
                            "or is none");
        return NULL;
    }
    if (get(&r, OF_CONF, &conf) != 0)
        return NULL;
    began = conf.policy;
    conf.policy = (enum conf_policy)unpack_uint_max(
        &r.in, CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    if (get_own(&r.in, &own, &n, err) != 0)
        return NULL;
    r.b = balancer_new(&conf, 0, 1);
    r.b->conf.policy = began;
    r.b->own = own;
    r.b->n_own = n;
    if (get_all(&r) != 0)
        balancer_free(&r.b);
    return r.b;
}
