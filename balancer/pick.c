/*
 * pick.c - picks and their ends: what any thread may ask. (Longer than 500
 * lines: whoever follows another's picks chooses by the same steps.)
 *
 * A request's exclusions are taken out of the group, the picks made one after
 * the other so that each counts for the next, and the exclusions put back, all
 * under the lock: a policy never hears of requests. A peek picks in the same
 * way and undoes it.
 */
#include "balancer/balancer_priv.h"

#include <string.h>

/* The loop ticks at least every 250 ms; a group that it left alone is renewed
 * here. */
#define REFRESH_MAX_MS 500

/* In so large a group a batch looks at those who come next; for RANDOM that is
 * a draw, and so it decides on what comes after it. */
#define AHEAD     8U
#define AHEAD_MIN 32768U /* members */

/* One request while it is being answered. */
struct picking {
    struct balancer *b;
    struct group *g;
    const struct balancer_request *request;
    const struct balancer_answer *was; /* followed; NULL: what is chosen is
                                          done */
    mono_ms now;
    uint32_t bucket; /* of now: balancer_account_bucket() */
    uint32_t preferred[AFFINITY_TOP];
    uint32_t n_preferred;
    uint32_t held[BALANCER_EXCLUDE_MAX];
    size_t n_held;
    uint32_t candidates[1 + BALANCER_ALTERNATES];
    uint32_t n_candidates;
};

/* The account's grants or acknowledgements changed: in all of its groups. */
static inline void account_recount(const struct balancer *b,
                                   const struct account *a)
{
    assert(a->n_in >= 1);
    if (b->ops->recount == NULL)
        return;
    for (size_t i = 0; i < a->n_in; i++)
        b->ops->recount(a->in[i].group, a->in[i].member);
}

static uint32_t bucket_of(const struct balancer *b, mono_ms now)
{
    return balancer_account_bucket(&b->conf, now);
}

static void copy_address(char out[BALANCER_ADDRESS_MAX + 1],
                         const struct account *a)
{
    if (a->length < ACCOUNT_TEXT)
        memcpy(out, a->text, ACCOUNT_TEXT);
    else
        memcpy(out, a->address, a->length + 1);
}

static void hold(struct picking *p, const char *address)
{
    const struct account *a = balancer_account(p->b, address);

    if (a == NULL)
        return;
    for (size_t i = 0; i < a->n_in; i++) {
        uint32_t member = a->in[i].member;

        if (a->in[i].group != p->g || p->g->members[member].held)
            continue;
        p->g->members[member].held = true;
        balancer_affinity_open(p->g, member);
        p->g->ops->place(p->g, member, member + 1, p->now);
        assert(p->n_held < BALANCER_EXCLUDE_MAX);
        p->held[p->n_held++] = member;
    }
}

static void let_go(struct picking *p)
{
    for (size_t i = 0; i < p->n_held; i++) {
        uint32_t member = p->held[i];

        assert(p->g->members[member].held);
        p->g->members[member].held = false;
        balancer_affinity_open(p->g, member);
        p->g->ops->place(p->g, member, member + 1, p->now);
    }
}

/* Groups with a tree look ahead by themselves: group.c. */
static void look_ahead(const struct picking *p)
{
    const struct policy_ops *ops = p->g->ops;
    uint32_t next[AHEAD];

    if (ops->choose != balancer_group_tree_choose)
        (void)ops->choose(p->g, &p->b->rand, AHEAD, next);
}

static inline bool choose(struct picking *p, uint32_t *chosen)
{
    const struct policy_ops *ops = p->g->ops;
    uint32_t want = p->request->count == 1 ? ARRAY_LEN(p->candidates) : 1;

    p->n_candidates = ops->choose(p->g, &p->b->rand, want, p->candidates);
    assert(p->n_candidates <= want);
    if (p->n_candidates == 0)
        return false;
    *chosen = p->candidates[0];
    for (uint32_t i = 0; i < p->n_preferred; i++) {
        if (ops->overloaded == NULL ||
            !ops->overloaded(p->g, p->preferred[i])) {
            *chosen = p->preferred[i];
            break;
        }
    }
    return true;
}

static void take(struct picking *p, uint32_t member, struct balancer_pick *out,
                 struct undo *undo)
{
    struct balancer *b = p->b;
    const struct member *m = &p->g->members[member];
    struct account *a = m->account;

    assert(member < p->g->n);
    assert(p->was != NULL || member_eligible(m));
    copy_address(out->address, a);
    out->slot = a->slot;
    out->score = p->g->ops->score(p->g, member);
    if (p->request->peek) {
        out->pick = 0;
        *undo = (struct undo){member, m->turn, a->granted};
        a->granted += b->scale;
    } else {
        out->pick =
            balancer_receipts_add(&b->receipts, a->slot, a->life, p->bucket);
        balancer_account_grant(a, b->scale, p->bucket);
        b->stats.picks++;
    }
    /* Who was followed to may have no turn here. */
    if (p->g->ops->take != NULL && (p->was == NULL || member_eligible(m)))
        p->g->ops->take(p->g, member);
    account_recount(b, a);
}

/* Alternates are the best others, also when affinity chose. */
static void alternates(const struct picking *p, uint32_t chosen,
                       struct balancer_answer *answer)
{
    assert(answer->n_alternates == 0);
    for (uint32_t i = 0; i < p->n_candidates; i++) {
        const struct account *a = p->g->members[p->candidates[i]].account;

        if (p->candidates[i] == chosen ||
            answer->n_alternates == BALANCER_ALTERNATES)
            continue;
        copy_address(answer->alternates[answer->n_alternates++], a);
    }
}

static void pick_all(struct picking *p, struct balancer_answer *answer)
{
    uint32_t count = p->request->count;
    uint32_t chosen;

    assert(answer->n_picks == 0);
    assert(count <= BALANCER_COUNT_MAX);
    if (p->request->affinity != NULL)
        p->n_preferred = balancer_affinity_top(p->g, p->request->affinity,
                                               p->preferred, p->now);
    while (answer->n_picks < count) {
        size_t i = answer->n_picks;

        if (count > AHEAD && i % AHEAD == 0 && p->g->n >= AHEAD_MIN)
            look_ahead(p);
        if (!choose(p, &chosen))
            break;
        answer->n_picks++;
        answer->degraded |= p->g->members[chosen].hot;
        take(p, chosen, &answer->picks[i], &p->b->undo[i]);
        if (count == 1)
            alternates(p, chosen, answer);
    }
    /* Picking makes nobody ineligible: all or none. */
    assert(answer->n_picks == 0 || answer->n_picks == count);
}

/* The place in the group of whoever got that pick; false: it is not there. */
static bool place_of(const struct picking *p, const struct balancer_pick *was,
                     uint32_t *member)
{
    const struct account *a;

    if (was->slot >= p->b->accounts.n)
        return false;
    a = account_at(&p->b->accounts, was->slot);
    for (uint32_t i = 0; a->profile != NULL && i < a->n_in; i++)
        if (a->in[i].group == p->g) {
            *member = a->in[i].member;
            return true;
        }
    return false;
}

/* Choose as pick_all() does, and do what was done. */
static void follow_all(struct picking *p, struct balancer_answer *answer)
{
    uint32_t chosen, member;
    struct balancer_pick done;

    assert(p->was->n_picks == p->request->count);
    if (p->request->affinity != NULL)
        p->n_preferred = balancer_affinity_top(p->g, p->request->affinity,
                                               p->preferred, p->now);
    for (size_t i = 0; i < p->was->n_picks; i++) {
        struct balancer_pick *to = &answer->picks[i];

        if (p->request->count > AHEAD && i % AHEAD == 0 && p->g->n >= AHEAD_MIN)
            look_ahead(p); /* which is a draw of RANDOM's */
        *to = (struct balancer_pick){.slot = UINT32_MAX};
        if (choose(p, &chosen)) {
            const struct account *a = p->g->members[chosen].account;

            copy_address(to->address, a);
            to->slot = a->slot;
            to->score = p->g->ops->score(p->g, chosen);
            answer->degraded |= p->g->members[chosen].hot;
            answer->n_picks++;
        }
        if (place_of(p, &p->was->picks[i], &member))
            take(p, member, &done, &p->b->undo[i]);
    }
}

/* Put everything back, the newest first: a worker may be in it twice. Nobody is
 * judged anew, so that a pick after a peek is what it would have been without.
 */
static void undo_all(struct picking *p, size_t n, uint64_t turn)
{
    struct group *g = p->g;

    assert(p->request->peek);
    assert(n <= BALANCER_COUNT_MAX);
    g->turn = turn;
    while (n-- > 0) {
        const struct undo *undo = &p->b->undo[n];
        struct member *m = &g->members[undo->member];

        m->turn = undo->turn;
        m->account->granted = undo->granted;
        if (g->ops->recount == NULL) /* its key goes by its turn */
            g->ops->place(g, undo->member, undo->member + 1, p->now);
        account_recount(p->b, m->account);
    }
}

/* Whoever is closed or excluded says nothing about the others. Before the
 * exclusions are let go. */
static enum balancer_code why_nobody(const struct picking *p)
{
    const uint32_t *n = p->g->standing_n;
    uint32_t old = n[STANDING_STALE];
    uint32_t busy = n[STANDING_BUSY] + n[STANDING_REFUSED];

    assert(p->n_candidates == 0);
    for (size_t i = 0; i < p->n_held; i++) {
        uint8_t standing = p->g->members[p->held[i]].standing;

        old -= standing == STANDING_STALE;
        busy -= standing == STANDING_BUSY || standing == STANDING_REFUSED;
    }
    if (n[STANDING_DEAD] == group_size(p->g))
        return BALANCER_GROUP_EMPTY;
    return old > 0 && busy == 0 ? BALANCER_REPORTS_OLD : BALANCER_ALL_BUSY;
}

static void group_renew(struct group *g, mono_ms now)
{
    assert(g->name[0] != '\0');
    if (g->n > GROUP_RENEW_MAX)
        return; /* by the tick alone */
    if (now - g->refreshed > REFRESH_MAX_MS || g->typical_due ||
        (g->reopens != 0 && now >= g->reopens))
        balancer_group_refresh_all(g, now);
}

static void pick_in_group(struct picking *p, struct balancer_answer *answer)
{
    const struct balancer_request *request = p->request;
    struct group *g = p->g;
    uint64_t turn = g->turn;

    assert(group_size(g) > 0);
    assert(!g->peeking);
    g->used = p->now;
    group_renew(g, p->now);
    for (size_t i = 0; i < request->n_exclude; i++)
        hold(p, request->exclude[i]);
    g->peeking = request->peek;
    if (p->was != NULL)
        follow_all(p, answer);
    else
        pick_all(p, answer);
    if (request->peek)
        undo_all(p, answer->n_picks, turn);
    g->peeking = false;
    if (answer->n_picks == 0) {
        answer->code = why_nobody(p);
        if (answer->code != BALANCER_GROUP_EMPTY)
            answer->retry_after_ms = balancer_group_retry_after(g, p->now);
    }
    let_go(p);
}

static void answer_request(struct balancer *b,
                           const struct balancer_request *request,
                           const struct balancer_answer *was,
                           struct balancer_answer *answer)
{
    struct picking p;

    p.b = b; /* one by one: the lists are long, and their lengths say enough */
    p.request = request;
    p.was = was;
    p.n_preferred = p.n_candidates = 0;
    p.n_held = 0;
    assert(request->count >= 1 && request->count <= BALANCER_COUNT_MAX);
    assert(request->n_exclude <= BALANCER_EXCLUDE_MAX);
    assert(answer->picks != NULL);
    answer->code = BALANCER_OK;
    answer->degraded = false;
    answer->n_picks = answer->n_alternates = 0;
    answer->retry_after_ms = 0;
    balancer_lock(b);
    p.g = request->group == NULL ? b->everyone
                                 : balancer_group(b, request->group);
    p.now = balancer_now(b, request->now);
    p.bucket = bucket_of(b, p.now);
    if (b->held && !request->stale) {
        answer->code = BALANCER_NOT_SYNCED;
        answer->retry_after_ms = BALANCER_SYNC_RETRY_MS;
    } else if (p.g == NULL)
        answer->code = BALANCER_GROUP_NOT_FOUND;
    else if (group_size(p.g) == 0)
        answer->code = BALANCER_GROUP_EMPTY;
    else
        pick_in_group(&p, answer);
    if (answer->code != BALANCER_OK) {
        b->stats.empty++;
        b->stats.why_empty[answer->code]++;
    }
    BALANCER_TELL(b, .kind = BALANCER_EVENT_PICK, .now = request->now,
                  .u.pick = {request, answer});
    balancer_unlock(b);
}

static void account_refresh(const struct balancer *b, const struct account *a)
{
    assert(a->n_in >= 1);
    for (size_t i = 0; i < a->n_in; i++)
        balancer_group_refresh(a->in[i].group, a->in[i].member,
                               a->in[i].member + 1, b->now);
}

static void account_ack(struct balancer *b, struct account *a, double tasks,
                        uint32_t bucket)
{
    assert(tasks > 0);
    balancer_account_ack(a, tasks, bucket, bucket_of(b, b->now));
    if (a->profile->refused) {
        a->profile->refused = false; /* there is room again */
        account_refresh(b, a);
    } else {
        account_recount(b, a);
    }
}

static void account_refuse(struct balancer *b, struct account *a, double tasks,
                           uint32_t bucket)
{
    a->profile->refused = true;
    a->profile->refused_at = b->now;
    balancer_account_ungrant(a, tasks, bucket, bucket_of(b, b->now));
    balancer_ledger_fill(b->everyone, a, b->now);
    account_refresh(b, a);
}

static void account_ungrant(struct balancer *b, struct account *a, double tasks,
                            uint32_t bucket)
{
    balancer_account_ungrant(a, tasks, bucket, bucket_of(b, b->now));
    account_recount(b, a);
}

/* Whoever it was for hears of it, unless that process is gone. */
static bool pick_ended(struct balancer *b, pick_id pick, enum balancer_end how)
{
    static void (*const ended[])(struct balancer * b, struct account * a,
                                 double tasks, uint32_t bucket) = {
        [BALANCER_DONE] = account_ack,
        [BALANCER_REFUSED] = account_refuse,
        [BALANCER_UNUSED] = account_ungrant,
    };
    struct receipt receipt;
    bool known;

    assert((size_t)how < ARRAY_LEN(ended));
    balancer_lock(b);
    known = balancer_receipts_settle(&b->receipts, pick, &receipt);
    if (known) {
        struct account *a = account_at(&b->accounts, receipt.holder - 1);

        if (a->life == receipt.life)
            ended[how](b, a, b->scale, receipt.bucket);
    }
    b->stats.done += known && how == BALANCER_DONE;
    b->stats.refused += known && how == BALANCER_REFUSED;
    b->stats.unknown_picks += !known;
    BALANCER_TELL(b, .kind = BALANCER_EVENT_END, .u.end = {pick, how});
    balancer_unlock(b);
    return known;
}

bool balancer_done(struct balancer *b, pick_id pick)
{
    return pick_ended(b, pick, BALANCER_DONE);
}

bool balancer_refused(struct balancer *b, pick_id pick)
{
    return pick_ended(b, pick, BALANCER_REFUSED);
}

bool balancer_unused(struct balancer *b, pick_id pick)
{
    return pick_ended(b, pick, BALANCER_UNUSED);
}

void balancer_own(struct balancer *b, const char *address, uint32_t items,
                  mono_ms now)
{
    balancer_lock(b);
    struct account *a = balancer_account(b, address);

    if (a != NULL && a->owned != items) {
        (void)balancer_now(b, now);
        balancer_account_own(a, items);
        account_refresh(b, a);
        BALANCER_TELL(b, .kind = BALANCER_EVENT_OWN, .now = now,
                      .u.own = {address, items});
    }
    balancer_unlock(b);
}

void balancer_count(struct balancer *b, const char *address, int delta,
                    mono_ms now)
{
    balancer_lock(b);
    struct account *a = balancer_account(b, address);
    mono_ms told = now;

    now = balancer_now(b, now);
    if (a != NULL && delta > 0) {
        balancer_account_grant(a, delta, bucket_of(b, now));
        account_recount(b, a);
    } else if (a != NULL && delta < 0) {
        /* When it was granted is not known: not lately. */
        account_ack(b, a, -(double)delta, bucket_of(b, now) - LAG_BUCKETS);
    }
    BALANCER_TELL(b, .kind = BALANCER_EVENT_COUNT, .now = told,
                  .u.count = {address, delta});
    balancer_unlock(b);
}

void balancer_pick(struct balancer *b, const struct balancer_request *request,
                   struct balancer_answer *answer)
{
    answer_request(b, request, NULL, answer);
}

/* Nothing came of a peek, nor of what nobody was picked for: then it is only
 * looked who would be. */
void balancer_follow(struct balancer *b, const struct balancer_request *request,
                     const struct balancer_answer *was,
                     struct balancer_answer *answer)
{
    struct balancer_request look = *request;

    look.peek = true;
    if (request->peek || was->code != BALANCER_OK)
        answer_request(b, &look, NULL, answer);
    else
        answer_request(b, request, was, answer);
}

void balancer_renew(struct balancer *b, const char *group, mono_ms now)
{
    balancer_lock(b);
    struct group *g = balancer_group(b, group);
    mono_ms ours = balancer_now(b, now);

    if (g != NULL)
        group_renew(g, ours);
    BALANCER_TELL(b, .kind = BALANCER_EVENT_RENEW, .now = now,
                  .u.renew = group);
    balancer_unlock(b);
}
