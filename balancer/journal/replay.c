/*
 * replay.c - see replay.h.
 *
 * A file that follows on the one before it needs no new start; its basis is
 * then a test: the balancer must have come to the same state, bit for bit.
 */
#include "balancer/journal/replay.h"

#include "balancer/balancer_priv.h"
#include "balancer/image.h"
#include "balancer/journal/record.h"

#include <stdlib.h>
#include <string.h>

#define IMAGE_MAX ((size_t)1 << 30)

struct share {
    struct replay_share share;
    UT_hash_handle hh;
    char address[];
};

struct replay {
    replay_change_f *change;
    void *arg;
    uint64_t stop;
    bool stopped;
    struct balancer *b;      /* NULL: before the first basis */
    enum conf_policy policy; /* as recorded */
    int64_t interval_ms;     /* likewise */
    uint64_t fingerprint;
    struct journal_head head; /* of the file before */
    bool follows;             /* that one was ended in order */
    struct record *record;
    struct record_state state;
    struct share *shares;
    struct replay_sum sum;
    struct replay_file *file;
    struct balancer_pick picks[BALANCER_COUNT_MAX];
};

struct replay *balancer_replay_new(replay_change_f *change, void *arg,
                                   uint64_t stop)
{
    struct replay *r = mem_zalloc(sizeof(*r));

    r->change = change;
    r->arg = arg;
    r->stop = stop;
    r->fingerprint = balancer_journal_fingerprint();
    r->record = balancer_record_new();
    return r;
}

void balancer_replay_free(struct replay **rp)
{
    struct replay *r = *rp;

    if (r == NULL)
        return;
    while (r->shares != NULL) {
        struct share *s = r->shares;

        HASH_DEL(r->shares, s);
        mem_free(s);
    }
    balancer_record_free(&r->record);
    balancer_free(&r->b);
    MEM_FREE(*rp);
}

/* ---- settings ----------------------------------------------------------- */

static struct balancer_group_conf *
own_copy(const struct balancer_group_conf *own, size_t n)
{
    struct balancer_group_conf *copy = mem_array(n + 1, sizeof(*copy));

    for (size_t i = 0; i < n; i++)
        copy[i] = own[i];
    return copy;
}

/* Whatever the policy changes to, the settings stay: who would judge anybody
 * anew for it, where the recorded one did not, had other estimates. */
static int policy_event(struct replay *r, const struct balancer_event *e,
                        struct err *err)
{
    struct replay_settings s = {.conf = balancer_settings(r->b)};
    int rc;

    r->policy = e->u.policy;
    s.conf.policy = r->policy;
    s.n = r->b->n_own;
    s.own = own_copy(r->b->own, s.n);
    rc = r->change(r->arg, &s, err);
    if (rc == 0)
        balancer_set_policy(r->b, s.conf.policy, e->now);
    mem_free(s.own);
    return rc;
}

static int configure_event(struct replay *r, const struct balancer_event *e,
                           struct err *err)
{
    struct replay_settings s = {.conf = *e->u.configure.conf,
                                .n = e->u.configure.n};
    int rc;

    s.own = own_copy(e->u.configure.own, s.n);
    s.conf.policy = r->policy;
    s.conf.heartbeat_interval_ms = r->interval_ms;
    rc = r->change(r->arg, &s, err);
    if (rc == 0)
        balancer_configure(r->b, &s.conf, s.own, s.n, e->now);
    mem_free(s.own);
    return rc;
}

static int settings_event(struct replay *r, const struct balancer_event *e,
                          struct err *err)
{
    if (r->change == NULL) {
        balancer_apply(r->b, e, NULL);
        return 0;
    }
    return e->kind == BALANCER_EVENT_POLICY ? policy_event(r, e, err)
                                            : configure_event(r, e, err);
}

/* ---- basis -------------------------------------------------------------- */

/* Its state is as the image says? */
static bool is_at(struct replay *r, const void *image, size_t len)
{
    struct buf own;
    bool same;

    buf_init(&own, IMAGE_MAX);
    balancer_image(r->b, &own);
    same = own.len == len && memcmp(own.data, image, len) == 0;
    buf_close(&own);
    return same;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct balancer_group_conf *)a)->name,
                  ((const struct balancer_group_conf *)b)->name);
}

/* Other settings from here on, without judging anybody anew: estimates are
 * worked out when they were then, and the next tick or report goes by the new
 * thresholds. Else the first decision that differs would be one between two
 * that are as good as each other. */
static void settings_slip_in(struct balancer *b,
                             const struct replay_settings *s)
{
    balancer_set_policy(b, s->conf.policy, b->now + b->unheard);
    b->conf = s->conf;
    mem_free(b->own);
    b->own = own_copy(s->own, s->n);
    b->n_own = s->n;
    for (size_t i = 0; i < s->n; i++) {
        b->own[i].conf.policy = s->conf.policy;
        b->own[i].conf.heartbeat_interval_ms = s->conf.heartbeat_interval_ms;
    }
    qsort(b->own, b->n_own, sizeof(*b->own), by_name);
    for (struct group *g = b->groups; g != NULL; g = g->hh.next)
        g->conf = balancer_conf_of(b, g->name);
}

static int restore(struct replay *r, const void *image, size_t len,
                   struct err *err)
{
    struct replay_settings s;
    int rc;

    balancer_free(&r->b);
    r->b = balancer_restore(image, len, err);
    if (r->b == NULL)
        return err_wrap(err, "its basis");
    s.conf = balancer_settings(r->b);
    r->policy = s.conf.policy;
    r->interval_ms = s.conf.heartbeat_interval_ms;
    if (r->change == NULL)
        return 0;
    s.n = r->b->n_own;
    s.own = own_copy(r->b->own, s.n);
    rc = r->change(r->arg, &s, err);
    if (rc == 0)
        settings_slip_in(r->b, &s);
    mem_free(s.own);
    return rc;
}

static int apply_basis(struct replay *r, const struct journal_contents *block,
                       bool first, struct err *err)
{
    struct unpack in = unpack_of(block->data, block->len);
    uint64_t missing = unpack_uint(&in);
    bool goes_on = first && r->follows && missing == 0 && r->b != NULL &&
                   r->file->head.run == r->head.run &&
                   r->file->head.sequence == r->head.sequence + 1;

    r->state = (struct record_state){.now = 0};
    r->file->missing += missing;
    if (goes_on && r->change != NULL)
        return 0;
    if (goes_on && is_at(r, in.at, unpack_left(&in)))
        return 0;
    r->file->basis_differs |= goes_on;
    return restore(r, in.at, unpack_left(&in), err);
}

/* ---- picks -------------------------------------------------------------- */

static struct share *share_of(struct replay *r, const char *address)
{
    size_t len = strlen(address);
    struct share *s;

    HASH_FIND(hh, r->shares, address, len, s);
    if (s == NULL) {
        s = mem_zalloc(sizeof(*s) + len + 1);
        memcpy(s->address, address, len + 1);
        s->share.address = s->address;
        HASH_ADD_KEYPTR(hh, r->shares, s->address, len, s);
    }
    return s;
}

/* Who holds the slot; "" if nobody does. */
static const char *address_at(const struct replay *r, uint32_t slot)
{
    const struct account *a;

    if (slot >= r->b->accounts.n)
        return "";
    a = account_at(&r->b->accounts, slot);
    return a->profile != NULL ? a->address : "";
}

static void hash_decision(uint64_t *file, uint64_t *all, const char *address)
{
    *file = hash_str(address, *file);
    *all = hash_str(address, *all);
}

static void note_first(struct replay *r, uint32_t which, const char *was,
                       const char *then)
{
    const struct balancer_request *request = &r->record->request;
    struct replay_difference *d = &r->sum.first;

    if (d->number != 0)
        return;
    d->number = r->sum.requests;
    d->which = which;
    d->now = request->now;
    d->wall = r->file->head.wall + (request->now - r->file->head.mono);
    memcpy(d->was, was, strlen(was) + 1);
    memcpy(d->then, then, strlen(then) + 1);
    if (request->group != NULL && strlen(request->group) < sizeof(d->group))
        memcpy(d->group, request->group, strlen(request->group) + 1);
    else if (request->group == NULL)
        memcpy(d->group, "default", sizeof("default"));
}

/* One pick of it; a request without an answer counts as one for nobody. */
static void compare(struct replay *r, uint32_t i, const char *was,
                    const char *then)
{
    hash_decision(&r->file->recorded, &r->sum.recorded, was);
    hash_decision(&r->file->replayed, &r->sum.replayed, then);
    r->sum.picks++;
    r->file->picks++;
    if (was[0] != '\0')
        share_of(r, was)->share.was++;
    if (then[0] != '\0')
        share_of(r, then)->share.then++;
    if (strcmp(was, then) == 0)
        return;
    r->sum.differ++;
    note_first(r, i, was, then);
}

/* Addresses are of before the pick: it changes none. */
static void apply_pick(struct replay *r)
{
    const struct balancer_answer *was = &r->record->answer;
    struct balancer_answer then = {.picks = r->picks};
    uint32_t n = r->record->request.count;

    for (uint32_t i = 0; i < n; i++)
        r->picks[i].address[0] = '\0';
    balancer_follow(r->b, &r->record->request, was, &then);
    if (was->n_picks == 0 && then.n_picks == 0) {
        compare(r, 0, "", "");
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        compare(r, i, was->n_picks > 0 ? address_at(r, was->picks[i].slot) : "",
                r->picks[i].address);
}

/* ---- records ------------------------------------------------------------ */

static int apply_event(struct replay *r, struct err *err)
{
    const struct balancer_event *e = &r->record->event;

    r->file->records++;
    if (e->now != 0) {
        if (r->file->first == 0)
            r->file->first = e->now;
        r->file->last = e->now;
    }
    switch (e->kind) {
    case BALANCER_EVENT_PICK:
        r->file->requests++;
        r->sum.requests++;
        apply_pick(r);
        return 0;
    case BALANCER_EVENT_CONFIGURE:
    case BALANCER_EVENT_POLICY:
        return settings_event(r, e, err);
    case BALANCER_EVENT_SET:
        r->file->reports++;
        break;
    case BALANCER_EVENT_END:
        r->file->ends++;
        break;
    default:
        break;
    }
    balancer_apply(r->b, e, NULL);
    return 0;
}

static int apply_records(struct replay *r, const struct journal_contents *block,
                         struct err *err)
{
    struct unpack in = unpack_of(block->data, block->len);
    int rc = 0;

    while (rc == 0 && !r->stopped && unpack_left(&in) > 0) {
        rc = balancer_record_get(&r->state, &in, r->record, err);
        if (rc != 0)
            break;
        r->stopped = r->stop != 0 &&
                     r->record->event.kind == BALANCER_EVENT_PICK &&
                     r->sum.requests + 1 == r->stop;
        if (!r->stopped)
            rc = apply_event(r, err);
    }
    return rc;
}

static int apply_blocks(struct replay *r, struct unpack *in, struct err *err)
{
    struct journal_contents block;
    bool first = true;
    int rc = 0, more;

    while (rc == 0 && !r->stopped &&
           (more = balancer_journal_block_get(in, &block)) > 0) {
        if (block.kind == JOURNAL_END) {
            r->file->ended = true;
        } else if (block.kind == JOURNAL_BASIS) {
            rc = apply_basis(r, &block, first, err);
            first = false;
        } else if (first) {
            rc = err_set(err, ERR_INVALID, "it does not begin with a basis");
        } else {
            rc = apply_records(r, &block, err);
        }
    }
    r->file->torn = rc == 0 && !r->stopped && unpack_left(in) > 0;
    if (rc == 0 && first)
        rc = err_set(err, ERR_INVALID, "it ends before its basis");
    return rc;
}

int balancer_replay_apply(struct replay *r, const void *data, size_t len,
                          struct replay_file *file, struct err *err)
{
    struct unpack in = unpack_of(data, len);
    int rc;

    *file = (struct replay_file){.ended = false};
    r->file = file;
    rc = balancer_journal_head_get(&file->head, &in, err);
    if (rc == 0 && file->head.layout != balancer_image_layout())
        rc = err_set(err, ERR_INVALID,
                     "it was written by another build (version %s), whose "
                     "balancer keeps other things; use that one's replay",
                     file->head.version);
    if (rc != 0)
        return rc;
    file->other_algorithm = file->head.fingerprint != r->fingerprint;
    rc = apply_blocks(r, &in, err);
    file->torn_at = (uint64_t)(in.at - (const uint8_t *)data);
    r->follows = rc == 0 && file->ended && !file->torn;
    r->head = file->head;
    r->file = NULL;
    return rc;
}

bool balancer_replay_stopped(const struct replay *r)
{
    return r->stopped;
}

struct replay_sum balancer_replay_sum(const struct replay *r)
{
    return r->sum;
}

static int by_address(const void *a, const void *b)
{
    return strcmp(((const struct replay_share *)a)->address,
                  ((const struct replay_share *)b)->address);
}

struct replay_share *balancer_replay_shares(const struct replay *r, size_t *n)
{
    struct replay_share *list =
        mem_array(HASH_COUNT(r->shares) + 1, sizeof(*list));

    *n = 0;
    for (const struct share *s = r->shares; s != NULL; s = s->hh.next)
        list[(*n)++] = s->share;
    qsort(list, *n, sizeof(*list), by_address);
    return list;
}

void balancer_replay_explain(struct replay *r, struct buf *out)
{
    assert(r->stopped && r->b != NULL);
    balancer_explain(r->b, &r->record->request, out);
}
