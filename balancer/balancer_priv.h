/*
 * balancer_priv.h - the balancer's insides: accounts, groups, policies.
 *
 * One account per worker (its load is counted once), one group per name, and
 * a member for each account in a group. A policy sees groups and accounts,
 * reads no clock, takes no lock and allocates only where its group grows; it
 * is a table of functions, one file each. Everything here is under the lock
 * of the balancer (balancer.c says why there is one). (Longer than 500 lines:
 * half of it says what each field means, and all of it is one state.)
 */
#ifndef PELORUS_BALANCER_BALANCER_PRIV_H
#define PELORUS_BALANCER_BALANCER_PRIV_H

#include "balancer/event.h"
#include "balancer/fit_priv.h"
#include "balancer/gauge_priv.h"
#include "balancer/tree_priv.h"
#include "base/map/hash_index.h"
#include "base/rand.h"
#include "base/table.h"

#include <pthread.h>

/* ---- accounts (account.c) ---------------------------------------------- */

#define WEIGHT_DEFAULT 100.0

/* Grants and ends younger than the lag may be missing in a report that arrives
 * now: they stay counted across it. Grants are counted by when they were made,
 * in buckets of 8 ms (of a 125th of a short heartbeat interval); the lag is so
 * many of them, the current one included, as a group's reports show
 * (ledger_learn.c). At first it is a 250th of the interval. */
#define LAG_BUCKETS    8U
#define LAG_BUCKET_MS  8
#define LAG_BUCKETS_IN 125 /* an interval, at most */

enum standing { /* whether any policy may pick it */
                STANDING_OPEN,
                STANDING_DEAD,
                STANDING_CLOSED,
                STANDING_BUSY,
                STANDING_WEIGHT_ZERO,
                STANDING_STALE,   /* no report for three intervals */
                STANDING_REFUSED, /* it would not take a task a moment ago */
};

enum heat { /* why it is only picked when no cold one is left (ledger) */
            HEAT_COLD,
            HEAT_LATE,     /* no report for two intervals */
            HEAT_BUSY,     /* says so, where that is no reason to be closed */
            HEAT_DEGRADED, /* its last heartbeat could not be read */
            HEAT_CPU,
            HEAT_MEMORY,
            HEAT_DISK,
};

/* What a worker says of itself, and what is usual of those who do. */
enum usual { USUAL_CPU, USUAL_MEMORY, USUAL_DISK, USUAL_POOL, USUAL_CAPACITY };
#define USUALS 5

enum PACKED capacity_source {
    CAPACITY_SLOTS,
    CAPACITY_INFERRED,
    CAPACITY_WEIGHT
};

struct group;

struct seat {
    struct group *group;
    uint32_t member;
};

/*
 * Split by use. What a pick touches of a worker lies in three cache lines, side
 * by side with those of the others (account_at()), because with 100,000
 * workers each pick meets one that no cache holds: what is counted, where it
 * sits, and its address, which answers copy. The rest is the profile.
 */
#define ACCOUNT_HOME 2U
#define ACCOUNT_TEXT 64U

struct profile;

struct account {
    _Alignas(64) double granted; /* handed out since the report: A */
    double acked;                /* completions acknowledged since: D */
    int16_t recent[LAG_BUCKETS]; /* grants less ends per bucket, newest ones */
    uint32_t bucket;             /* the newest one's number */
    uint32_t slot;               /* place among the accounts */
    uint32_t life; /* tells successive holders of the slot apart */
    uint32_t n_in;
    uint32_t owned;      /* work items that are its own and not done */
    uint32_t length;     /* of the address */
    const char *address; /* `text`, or the profile's, which is then longer */
    struct seat *in;     /* every group it is in, "default" first */
    struct seat home[ACCOUNT_HOME]; /* `in`, while it suffices */
    double share;  /* what it should carry beside others: c * weight/100 */
    uint64_t hash; /* of the address */
    struct profile *profile; /* NULL: a free slot */
    char text[ACCOUNT_TEXT]; /* the address, if it finds room */
};
_Static_assert(sizeof(struct account) == 192, "three cache lines");
_Static_assert(offsetof(struct account, in) == 64, "what is counted: one");
_Static_assert(offsetof(struct account, text) == 128, "a line of its own");

struct peak {
    double usage; /* negative unknown */
    mono_ms at;
};

struct profile {
    double running;  /* tasks at the last report: R */
    double capacity; /* tasks it runs at once, > 0: c */
    mono_ms told;    /* of the last report, by the coordinator's clock */
    mono_ms reported, since; /* by ours, which stands still when frozen */
    mono_ms settled;         /* when that report was taken in */
    uint32_t settled_from;   /* last bucket that is in that report */
    uint32_t settles;        /* how often; wraps: names the period since */

    /* How many of its tasks' ends are acknowledged, over the last twenty
     * intervals or so: balancer_account_told(). Tasks. */
    double ended_sum, acked_sum;
    double excess; /* tasks that others add in an interval, beyond the usual of
                      `default`: by the reports of the last sixteen or so */

    /* What it said last. */
    bool dead, closed, busy, degraded, refused;
    bool recovering; /* standing.c */
    bool gauged;     /* `running` was read from it: gauge_priv.h */
    enum capacity_source source;
    int32_t weight, slots;
    int64_t lease_ms;
    double usage[USUAL_POOL + 1]; /* negative unknown */
    uint64_t incarnation;

    /* What we know of its tasks beside that: of `owned`, those that R must
     * hold; tasks that must have been there when it refused one. */
    double owned_told, presumed;
    mono_ms refused_at;

    /* Standing: see standing.c. */
    struct peak peak[USUAL_DISK + 1]; /* the highest of an interval */
    mono_ms left_at;                  /* when it ceased to be BUSY */
    double dwell;                     /* intervals from then on */
    uint32_t good_reports;            /* since it was */

    /* Capacity from the denominators of pool usages. */
    int16_t denominator;
    uint8_t fractions; /* distinct usages that it explains */
    double last_pool;

    double settled_cpu; /* cpu usage when it settled last; negative unknown */
    uint32_t cap_in;    /* of the account's `in`, when it is not `home` */
    char address[];     /* one that is too long for the account; else nothing */
};

/* Give a free slot's account to a worker (1 .. BALANCER_ADDRESS_MAX bytes,
 * copied), in no group yet, and end it; `life` and `slot` stay the caller's. */
void balancer_account_open(struct account *a, const char *address);
void balancer_account_close(struct account *a);
/* It is in that group now, at that place; not twice in one. */
void balancer_account_join(struct account *a, struct seat in);

/* Take over what the coordinator knows; `w` is copied. `unheard`: milliseconds
 * that our time is behind the coordinator's, as it stood still when frozen.
 * True if it is a new report; the caller then settles:
 * balancer_account_settle(). */
bool balancer_account_update(struct account *a, const struct balancer_worker *w,
                             const struct conf_balancer *conf, mono_ms now,
                             mono_ms unheard);

/* Begin a new period with so many tasks as of the report, and of the grants and
 * ends only those younger than `lag` buckets. `bucket`: of `now`. */
void balancer_account_settle(struct account *a, double tasks, mono_ms now,
                             uint32_t bucket, uint32_t lag);

/* Tasks granted less those ended in the last `lag` buckets. `bucket`: of now.
 */
double balancer_account_kept(struct account *a, uint32_t bucket, uint32_t lag);

/* Forget all that was counted: another process stands there. Its groups stay.
 */
void balancer_account_reset(struct account *a);

/* Which bucket a grant at `now` goes into; the numbers wrap. */
uint32_t balancer_account_bucket(const struct conf_balancer *conf, mono_ms now);
/* `tasks` (>= 0) were handed out in `bucket`, now. O(1). */
void balancer_account_grant(struct account *a, double tasks, uint32_t bucket);

/* A grant of `bucket` ended / was refused or never used; `current`: the bucket
 * of now. O(1). */
void balancer_account_ack(struct account *a, double tasks, uint32_t bucket,
                          uint32_t current);
void balancer_account_ungrant(struct account *a, double tasks, uint32_t bucket,
                              uint32_t current);

/* So many items are its own by now. O(1). */
void balancer_account_own(struct account *a, uint32_t items);

/* ---- standing and heat (standing.c) ------------------------------------ */

/* What it says of BUSY, and at a new report (when all of it was copied into
 * the profile) what follows from the rest. */
void balancer_standing_busy(struct account *a, bool busy,
                            const struct conf_balancer *conf, mono_ms now);
void balancer_standing_report(struct account *a,
                              const struct conf_balancer *conf);
/* Another process stands there. */
void balancer_standing_reset(struct profile *p);

/* node_report_interval() of this one, milliseconds. */
int64_t balancer_account_interval(const struct account *a,
                                  const struct conf_balancer *conf);

/* Has it been away from BUSY for long enough? Then it recovers no more. */
void balancer_account_recover(struct account *a,
                              const struct conf_balancer *conf, mono_ms now);
/* Work out standing and heat of a worker in one group, by that group's
 * settings: one that is hot there may be cold in another. */
struct group;
struct member;
void balancer_member_judge(const struct group *g, struct member *m,
                           mono_ms now);

/* How much of its share it is given, each in (0, 1]: as it is new, and as it
 * was BUSY not long ago. */
struct standing_part {
    double warm_up, recovery;
};
struct standing_part balancer_standing_part(const struct account *a,
                                            const struct conf_balancer *conf,
                                            mono_ms now);

/* When a worker that refused is open again. */
mono_ms balancer_standing_reopens(const struct account *a,
                                  const struct conf_balancer *conf);

/* ---- what a group's workers usually say (typical.c) --------------------- */

struct typical {
    uint32_t n[USUALS]; /* of those who say so */
    double sum[USUALS];
    uint32_t hot[USUAL_DISK + 1]; /* beyond the threshold */
    bool silent;                  /* somebody does not say something */
};

/* A line through (used, cpu) of a group's reports: moving means, variances and
 * covariance. `used` is the share of slots in use, `cpu` the usage of it. */
struct cpu_line {
    double n; /* reports, those long ago less */
    double used, cpu, uu, uc, cc;
    double per_slot; /* cpu from all slots free to all in use; 0: not known */
};

/* ---- groups (group.c) -------------------------------------------------- */

struct member {
    struct account *account; /* NULL: a free place */
    uint32_t salt;           /* random: breaks ties differently in each
                                coordinator */
    bool held : 1;           /* excluded from the request being answered */
    bool hot : 1;            /* only picked when no other is left */
    bool heated : 1;  /* by its heat or that of others; else it is full */
    uint8_t standing; /* enum standing: by the settings of this group, */
    uint8_t heat : 5; /* enum heat: likewise; balancer_member_judge() */
    uint8_t over : 3; /* bit i: hot by usage i, or not cold again yet */
    uint64_t turn;    /* stride: when it is due in virtual time */
    union {
        struct {
            float est;       /* tasks now; counted > 0: in the totals */
            float counted;   /* capacity, if it can be picked; else 0 */
            float per_share; /* 1 / (share * warm-up) */
            float told;      /* share of ends that are acknowledged, 0..1 */
            float carry;     /* tasks: of the report those left, and others' */
            float work;      /* intervals that its tasks ran since the report;
                                less than passed if some wait */
            float alive;     /* of `seen` those left, if no end were told */
            float seen;      /* the account's `granted` that is in `alive` */
            uint32_t at;     /* ms, wraps: when they were worked out */
            uint32_t period; /* the account's `settles` that they are of */
        } ledger;
        struct {
            uint64_t period;
            bool waiting; /* could not be picked: no credit meanwhile */
        } stride;
        uint32_t position; /* random */
    } u;
};

struct policy_ops;

struct group {
    char name[BALANCER_GROUP_MAX + 1];
    const struct policy_ops *ops;
    const struct conf_balancer *conf; /* the balancer's, or its own there */
    struct member *members;           /* at a cache line */
    uint32_t n; /* places in use or freed: members[0 .. n-1] */
    uint32_t cap;
    uint32_t *free; /* places to use again, room for `cap` */
    uint32_t n_free;
    bool defined;
    bool peeking;           /* what is picked now will be undone */
    struct typical typical; /* as of the last walk over all members */
    struct typical walked;  /* of the one that is under way */
    bool typical_due;       /* before the next pick */
    mono_ms refreshed;      /* when all members were judged last */
    mono_ms used;           /* last pick */
    uint32_t standing_n[STANDING_REFUSED + 1]; /* how many members have it */
    mono_ms reopens;  /* a member that refused is open then; 0: none */
    uint32_t lag;     /* of its reports, in buckets: what may be missing */
    uint64_t turn;    /* stride: virtual time; round robin: the cursor */
    struct tree tree; /* of policies that choose the smallest key */
    struct affinity *affinity; /* NULL: no key was asked for lately */
    union {
        struct {
            double est[2], capacity[2]; /* totals: cold members, hot ones */
            struct fit fit; /* of what an interval leaves: `running`,
                               `granted`, and what others add per slot */
            bool fitted;    /* `fit` has begun */
            float fade_running, fade_granted; /* log2 per interval, <= 0 */
            double ended_sum, acked_sum;      /* as its accounts', over all */
            struct cpu_line cpu;
            double lag_error[LAG_BUCKETS + 1]; /* mean square, by lag, of what
                                                  was expected; tasks */
        } ledger;
        struct {
            uint32_t *list;
            uint32_t n;
        } random;
        struct {
            uint64_t *bits;
        } round_robin;
    } u;
    UT_hash_handle hh;
};

/* A request renews a group of so many places at most. */
#define GROUP_RENEW_MAX 1024U

static inline uint32_t group_size(const struct group *g)
{
    return g->n - g->n_free;
}

/* May this place be picked for the request being answered? */
static inline bool member_eligible(const struct member *m)
{
    return m->account != NULL && !m->held && m->standing == STANDING_OPEN;
}

/* An empty group; copies `name` (1 .. BALANCER_GROUP_MAX bytes), borrows `ops`
 * and `conf` for its life. */
struct group *balancer_group_new(const char *name, const struct policy_ops *ops,
                                 const struct conf_balancer *conf);
/* The accounts of its members are the caller's. */
void balancer_group_free(struct group *g);
/* Members stay at their places; turns begin anew. O(members). */
void balancer_group_set_policy(struct group *g, const struct policy_ops *ops,
                               mono_ms now);
/* Borrows `a` until it is removed; returns its place, which is good till then.
 * `salt`: random, to break ties. O(log members), but for a group that grows. */
uint32_t balancer_group_add(struct group *g, struct account *a, uint32_t salt,
                            mono_ms now);
void balancer_group_remove(struct group *g, uint32_t member, mono_ms now);
/* Room for `n` members in an empty group, as if so many had come. */
void balancer_group_reserve(struct group *g, uint32_t n);

/* Judge and place the members from .. to-1 anew; freed places among them are
 * passed over. */
void balancer_group_refresh(struct group *g, uint32_t from, uint32_t to,
                            mono_ms now);

/* Go by other settings, borrowed as in balancer_group_new(). O(members). */
void balancer_group_configure(struct group *g, const struct conf_balancer *conf,
                              mono_ms now);

/* A part of the same for all of them, with what is typical of them; the parts
 * follow upon each other from the first member to the last. */
void balancer_group_walk(struct group *g, uint32_t from, uint32_t to,
                         mono_ms now);
/* All of it. */
void balancer_group_refresh_all(struct group *g, mono_ms now);

/* typical.c: take the members from .. to-1 into the sums of a walk, which
 * begins with the first member and ends with the last. */
void balancer_typical_walk(struct group *g, uint32_t from, uint32_t to,
                           mono_ms now);
/* A member reported. */
void balancer_typical_told(struct group *g, const struct account *a);
/* A member leaves. */
void balancer_typical_left(struct group *g);
/* From which usage on a worker is hot: of the CPU, memory and disk. */
double balancer_typical_hot_from(const struct conf_balancer *conf,
                                 enum usual what);
/* The mean of those who say so. */
double balancer_typical_of(const struct group *g, enum usual what,
                           double otherwise);
/* What it would be hot for if what it does not say is as usual. */
enum heat balancer_typical_heat(const struct group *g, const struct account *a);
/* Capacity, share and tasks at the last report, as far as it says so. */
double balancer_typical_capacity(const struct group *g,
                                 const struct account *a);
double balancer_typical_share(const struct group *g, const struct account *a);
double balancer_typical_running(const struct group *g, const struct account *a);

/* Milliseconds until the next report of a worker that could reopen is due; at
 * least 1,000. Looks at the first 1,024 places. */
int64_t balancer_group_retry_after(const struct group *g, mono_ms now);

/* ---- policies ---------------------------------------------------------- */

/* The group has room for `cap` members now (never fewer than before). */
typedef void policy_resize_f(struct group *g, uint32_t cap);
typedef void policy_close_f(struct group *g);

/* Members from .. to-1 came, went, were judged anew, held or let go: put them
 * where they belong. */
typedef void policy_place_f(struct group *g, uint32_t from, uint32_t to,
                            mono_ms now);

/* Up to `want` different eligible members, the best first. Counts nothing. */
typedef uint32_t policy_choose_f(struct group *g, struct rand *rand,
                                 uint32_t want, uint32_t *out);

/* Optional: the member was picked in this group; its turn is over. Changes
 * only `turn` of both, so that a peek can put them back (and place). */
typedef void policy_take_f(struct group *g, uint32_t member);

/* Optional: grants or acknowledgements of the member's account changed, here
 * or through another group. */
typedef void policy_recount_f(struct group *g, uint32_t member);

/* Optional: a member reported `tasks` now; its account still says what was
 * known before. `bucket`: of `now`. */
typedef void policy_report_f(struct group *g, uint32_t member, double tasks,
                             uint32_t bucket, mono_ms now);

/* Optional: too loaded beside the others to be kept for affinity's sake. */
typedef bool policy_overloaded_f(const struct group *g, uint32_t member);

/* What it went by, lower is better; and the terms of it as JSON fields
 * (optional). */
typedef double policy_score_f(const struct group *g, uint32_t member);
typedef void policy_explain_f(const struct group *g, uint32_t member,
                              mono_ms now, struct buf *out);

/* Of the weighted round robins (stride_priv.h): how many turns a member gets
 * beside others. Always positive and finite. */
typedef double policy_weight_f(const struct group *g, const struct account *a);

struct policy_ops {
    bool by_heat; /* it takes hot members last */
    policy_resize_f *resize;
    policy_close_f *close;
    policy_place_f *place;
    policy_choose_f *choose;
    policy_take_f *take;
    policy_recount_f *recount;
    policy_report_f *report;
    policy_overloaded_f *overloaded;
    policy_score_f *score;
    policy_explain_f *explain;
    policy_weight_f *weight;
};

/* The slots of a policy whose members stand in the group's tree by a key, the
 * smallest first. */
policy_resize_f balancer_group_tree_resize;
policy_close_f balancer_group_tree_close;
policy_choose_f balancer_group_tree_choose;

const struct policy_ops *balancer_policy_of(enum conf_policy policy);
extern const struct policy_ops balancer_policy_ledger;
extern const struct policy_ops balancer_policy_random;
extern const struct policy_ops balancer_policy_round_robin;
extern const struct policy_ops balancer_policy_fixed_weighted;
extern const struct policy_ops balancer_policy_dynamic_weighted;

/* ledger.c: the tasks thought to be on a worker at `now`, by what the group
 * has learned. Also the answer when a report does not say. */
double balancer_ledger_estimate(const struct group *g, const struct account *a,
                                mono_ms now);
/* It is full, as it says: presume tasks, so that it is by that estimate, too,
 * as far as its ends are told. Else nobody knows when there is room again, and
 * it would be left out for too long. */
void balancer_ledger_fill(const struct group *g, struct account *a,
                          mono_ms now);

/* ---- affinity (affinity.c) ---------------------------------------------- */

struct affinity; /* which keys prefer whom, in one group */

/* A group has none (NULL) until balancer_affinity_top() is first asked, which
 * builds it, and again when AFFINITY_KEEP_MS nobody asked. It follows from the
 * members and their shares alone, so answers do not depend on when that was.
 * It is built under the lock, in about 1.5 ms of a group of 10,000 and 15 ms of
 * one of 100,000, as long as a tick goes through all of it: to look at each
 * member instead, until another thread or later turns had built it, would cost
 * every pick in between a good part of that.
 * All else does nothing where there is none. */
#define AFFINITY_KEEP_MS 600000

void balancer_affinity_drop(struct group *g);
/* Drop it if nobody asked for so long. */
void balancer_affinity_rest(struct group *g, mono_ms now);
/* Room for as many places as the group has, never fewer than before. */
void balancer_affinity_resize(struct group *g);
/* An account is at that place, with the share that it has now; nothing but a
 * comparison if that is known. O(1), spread over many calls. */
void balancer_affinity_enter(struct group *g, uint32_t place);
/* Whoever is there may be picked now, or not any more. */
void balancer_affinity_open(struct group *g, uint32_t place);
/* The account there is about to leave. O(1), likewise. */
void balancer_affinity_leave(struct group *g, uint32_t place);

/* Writes the up to AFFINITY_TOP eligible members that a key prefers to `out`,
 * the most preferred first; returns how many. O(1) on average, however large
 * the group, but for the first time. Where fewer than one in thirty takes work
 * some or all may not be found. */
#define AFFINITY_TOP 3U
uint32_t balancer_affinity_top(struct group *g, const char *key, uint32_t *out,
                               mono_ms now);

/* ---- pick ids (receipts.c) --------------------------------------------- */

struct receipt {
    uint32_t lap;    /* which of the ids that share this place */
    uint32_t holder; /* slot + 1; 0: none, or settled */
    uint32_t life;   /* of the slot then */
    uint32_t bucket; /* when */
};

struct receipts {
    struct receipt *ring; /* RECEIPTS_MAX */
    uint64_t next;
    uint64_t instance; /* already shifted */
};

#define RECEIPTS_NUMBER_BITS 40
#define RECEIPTS_BITS        19
#define RECEIPTS_MAX         (1U << RECEIPTS_BITS)

/* `instance` is folded: balancer_pick_instance_of(). */
void balancer_receipts_init(struct receipts *r, uint64_t instance);
void balancer_receipts_close(struct receipts *r);
/* The id of a pick for that life of that slot; `bucket`: when it was counted.
 */
pick_id balancer_receipts_add(struct receipts *r, uint32_t slot, uint32_t life,
                              uint32_t bucket);

/* For images: of the pick with that number, which is below `next`, by no more
 * than RECEIPTS_MAX: NULL if it has ended. And put it there (but its lap). */
const struct receipt *balancer_receipts_at(const struct receipts *r,
                                           uint64_t number);
void balancer_receipts_put(struct receipts *r, uint64_t number,
                           const struct receipt *receipt);

/* Hand out the receipt of an id once. False: unknown. */
bool balancer_receipts_settle(struct receipts *r, pick_id id,
                              struct receipt *out);

/* ---- the balancer ------------------------------------------------------ */

struct undo { /* of one pick of a peek */
    uint32_t member;
    uint64_t turn;
    double granted;
};

/* All accounts, in blocks that never move. */
#define ACCOUNTS_PER_BLOCK 32768U /* three huge pages */

struct accounts {
    struct account **block; /* each begins at a cache line */
    uint32_t n_blocks;
    uint32_t n; /* slots in use or freed */
    uint32_t *free;
    uint32_t n_free;
};

static inline struct account *account_at(const struct accounts *all,
                                         uint32_t slot)
{
    assert(slot < all->n);
    return &all->block[slot / ACCOUNTS_PER_BLOCK][slot % ACCOUNTS_PER_BLOCK];
}

/* A free slot, which stays where it is; give_back ends its life, and it is
 * taken again. Its account is closed then: balancer_account_close(). */
struct account *balancer_accounts_take(struct accounts *all);
void balancer_accounts_give_back(struct accounts *all, struct account *a);
void balancer_accounts_close(struct accounts *all); /* all are closed */

/* One hold of the lock in HOLD_SAMPLE is timed. */
#define HOLD_SAMPLE 64U

struct holds {
    uint32_t n;     /* holds; wraps */
    uint64_t since; /* ns, of the one being timed; 0: it is not */
    struct balancer_holds timed;
};

struct tap {
    balancer_tap_f *tap;
    void *arg;
};

struct balancer {
    pthread_mutex_t lock; /* "balancer" of the table in base/locks.h */
    struct holds holds;
    struct conf_balancer conf;
    struct balancer_group_conf *own; /* sorted by name */
    size_t n_own;
    const struct policy_ops *ops;
    struct rand rand;
    struct group *groups;   /* by name */
    struct group *everyone; /* "default" */
    struct accounts accounts;
    struct hash_index by_address; /* their slots */
    struct gauge gauge;           /* of those who do not say their tasks */
    double scale;    /* coordinators: what one grant of ours stands for */
    mono_ms now;     /* the latest time that anybody told us, less `unheard` */
    mono_ms unheard; /* how long it was frozen so far */
    mono_ms frozen_at; /* by the clock of those who tell us */
    bool frozen;
    bool held; /* not all is known yet */
    struct receipts receipts;
    struct undo *undo; /* BALANCER_COUNT_MAX */
    struct balancer_stats stats;
    struct tap taps[BALANCER_TAPS_MAX];
    uint32_t n_taps;
};

/* balancer.c: hold the lock, and let it go. */
void balancer_lock(struct balancer *b);
void balancer_unlock(struct balancer *b);

/* event.c: an event took effect; the macro takes members of it. Under the
 * lock. */
void balancer_tell(struct balancer *b, const struct balancer_event *event);
#define BALANCER_TELL(b, ...)                                                  \
    do {                                                                       \
        if ((b)->n_taps > 0)                                                   \
            balancer_tell((b), &(struct balancer_event){__VA_ARGS__});         \
    } while (0)

/* The parts of a tick, each with one hold of the lock. Loop.
 * It is that late at least; what time that is for us. */
mono_ms balancer_clock(struct balancer *b, mono_ms now);
/* Judge the members from .. to-1 of a group anew, at `now` by the balancer's
 * own time; nothing if there is no such group. */
void balancer_slice(struct balancer *b, const char *group, uint32_t from,
                    uint32_t to, mono_ms now);
/* explain.c: is it among the request's `exclude`? */
bool balancer_excludes(const struct balancer_request *request,
                       const char *address);
/* pick.c: judge all of a group (NULL: "default") anew if that is due, as a pick
 * in it does first. Any thread. */
void balancer_renew(struct balancer *b, const char *group, mono_ms now);

/* By its name (NULL: "default"), borrowed until it is dropped; NULL: there is
 * none. Under the lock. */
struct group *balancer_group(const struct balancer *b, const char *name);
/* What the group of this name goes by; good until the next
 * balancer_configure(). Under the lock. */
const struct conf_balancer *balancer_conf_of(const struct balancer *b,
                                             const char *name);
/* A new one, the last of the list. Under the lock. */
struct group *balancer_group_make(struct balancer *b, const char *name);
/* Somebody told the time; what it is for us. Under the lock. */
mono_ms balancer_now(struct balancer *b, mono_ms told);

/* Of the worker at that address, borrowed until it is removed; NULL: there is
 * none. Under the lock. */
struct account *balancer_account(const struct balancer *b, const char *address);

#endif
