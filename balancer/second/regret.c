/*
 * regret.c - the same policy, late, with the next reports in hand.
 *
 * What happens waits in a queue, in order. A report that comes is noted at the
 * one before of the same worker, if that waits still: when its turn comes it is
 * applied with the later one's figures. So each is looked at once when it comes
 * and once when it goes, and the balancer behind is an ordinary one.
 */
#include "balancer/second/second_priv.h"

#include "balancer/balancer_priv.h"
#include "base/map/hash_index.h"

#include <math.h>
#include <string.h>

#define WAIT_INTERVALS 2
#define ENDS           65536U /* picks whose end is looked for */
#define SLOTS_STEP     1024U
#define NO_SLOT        UINT32_MAX
#define KNOWN_STEP     1024U
#define REPORT_MAX     LATE_BYTES_MAX /* packed: its groups may be many */
#define LATE_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define WHOLE          0.01 /* so close to a whole number is one */

/* A worker that something in the queue is of, or the balancer has. */
struct known {
    struct late *last; /* its last report that waits; NULL: none does */
    double given;      /* granted since, and not ended */
    mono_ms told;      /* that report's `reported` */
    uint64_t incarnation;
    uint32_t no;      /* no other has it, ever */
    uint32_t at;      /* in `known` */
    uint32_t slot;    /* of the balancer, as its picks say */
    uint32_t waiting; /* events in the queue that are of it alone */
    bool gone;        /* removed since */
    bool applied;     /* the balancer was told of it by us */
    char address[];
};

struct pick_of {
    pick_id pick; /* 0: none, or it has ended */
    uint32_t slot, no;
};

struct regret {
    struct balancer *b;
    mono_ms wait;       /* so long everything waits */
    mono_ms judge_from; /* picks from then on */
    struct late_queue queue;
    mono_ms last; /* the latest time told */
    struct known **known;
    uint32_t n_known, cap_known;
    struct hash_index by_address; /* where they are in `known` */
    uint32_t no;                  /* the last one given */
    struct known **by_slot;
    uint32_t n_slots;
    struct pick_of *picks; /* ENDS, by the low bits of their number */
    double scale;          /* what one grant stands for */
    struct feed_reader reader, ahead;
    struct buf packed;
    struct balancer_pick *answer; /* BALANCER_COUNT_MAX */
};

struct regret *second_regret_new(struct balancer *b,
                                 int64_t heartbeat_interval_ms, mono_ms now)
{
    struct regret *r = mem_zalloc(sizeof(*r));

    assert(b != NULL);
    assert(heartbeat_interval_ms > 0);
    r->b = b;
    r->last = now;
    r->wait = WAIT_INTERVALS * heartbeat_interval_ms;
    if (r->wait > SECOND_WAIT_MAX_MS)
        r->wait = SECOND_WAIT_MAX_MS;
    r->judge_from = now + r->wait / WAIT_INTERVALS;
    r->scale = b->scale;
    r->picks = mem_zalloc(ENDS * sizeof(*r->picks));
    r->answer = mem_array(BALANCER_COUNT_MAX, sizeof(*r->answer));
    second_reader_init(&r->reader);
    second_reader_init(&r->ahead);
    buf_init(&r->packed, REPORT_MAX);
    return r;
}

static uint64_t hash_of(const char *address)
{
    return hash_quick(address, strlen(address));
}

/* A slot is of one worker at most, and a worker at one slot at most. */
static void leave_slot(struct regret *r, struct known *k)
{
    if (k->slot == NO_SLOT)
        return;
    assert(r->by_slot[k->slot] == k);
    r->by_slot[k->slot] = NULL;
    k->slot = NO_SLOT;
}

static void known_free(struct regret *r, struct known *k)
{
    struct known *last = r->known[r->n_known - 1];

    assert(r->known[k->at] == k);
    leave_slot(r, k);
    hash_index_remove(&r->by_address, hash_of(k->address), k->at);
    r->n_known--;
    if (last != k) {
        hash_index_remove(&r->by_address, hash_of(last->address), last->at);
        last->at = k->at;
        r->known[last->at] = last;
        hash_index_put(&r->by_address, hash_of(last->address), last->at);
    }
    mem_free(k);
}

void second_regret_free(struct regret **regret)
{
    struct regret *r = *regret;

    if (r == NULL)
        return;
    second_late_close(&r->queue);
    for (uint32_t i = 0; i < r->n_known; i++)
        mem_free(r->known[i]);
    mem_free(r->known);
    hash_index_close(&r->by_address);
    balancer_free(&r->b);
    mem_free(r->by_slot);
    mem_free(r->picks);
    mem_free(r->answer);
    second_reader_close(&r->reader);
    second_reader_close(&r->ahead);
    buf_close(&r->packed);
    MEM_FREE(*regret);
}

/* --- it comes ------------------------------------------------------------ */

static struct known *known_find(const struct regret *r, const char *address)
{
    struct hash_index_walk w =
        hash_index_walk(&r->by_address, hash_of(address));
    uint32_t at;

    while (hash_index_next(&w, &at))
        if (strcmp(r->known[at]->address, address) == 0)
            return r->known[at];
    return NULL;
}

static struct known *known_make(struct regret *r, const char *address)
{
    struct known *k = known_find(r, address);
    size_t len = strlen(address);

    assert(len <= BALANCER_ADDRESS_MAX);
    if (k != NULL)
        return k;
    k = mem_zalloc(sizeof(*k) + len + 1);
    memcpy(k->address, address, len + 1);
    k->gone = true; /* it has not reported to us */
    k->no = ++r->no;
    k->slot = NO_SLOT;
    if (r->n_known == r->cap_known) {
        r->cap_known += KNOWN_STEP;
        r->known = mem_regrow(r->known, r->cap_known, sizeof(*r->known));
    }
    k->at = r->n_known;
    r->known[r->n_known++] = k;
    hash_index_put(&r->by_address, hash_of(address), k->at);
    return k;
}

static void told(struct regret *r, const struct balancer_worker *w,
                 struct late *l)
{
    struct known *k = known_make(r, w->address);
    bool same = !k->gone && k->incarnation == w->incarnation;

    l->of = k;
    k->waiting++;
    if (same && k->told == w->reported)
        return; /* no report: something else about it changed */
    if (same && k->last != NULL) {
        k->last->later = l;
        l->given = k->given;
    }
    k->last = l;
    k->given = 0;
    k->told = w->reported;
    k->incarnation = w->incarnation;
    k->gone = false;
}

static void removed(struct regret *r, const char *address)
{
    struct known *k = known_make(r, address);

    k->waiting++;
    k->last = NULL;
    k->given = 0;
    k->gone = true;
}

static struct pick_of *place_of(const struct regret *r, pick_id pick)
{
    return &r->picks[pick % ENDS];
}

static void seen_at(struct regret *r, struct known *k, uint32_t slot)
{
    leave_slot(r, k);
    while (slot >= r->n_slots) {
        uint32_t n = r->n_slots + SLOTS_STEP;

        r->by_slot = mem_regrow(r->by_slot, n, sizeof(struct known *));
        while (r->n_slots < n)
            r->by_slot[r->n_slots++] = NULL;
    }
    if (r->by_slot[slot] != NULL)
        leave_slot(r, r->by_slot[slot]);
    r->by_slot[slot] = k;
    k->slot = slot;
}

/* Mostly whoever had that slot at the last pick: then nothing is hashed. */
static struct known *known_at(const struct regret *r, uint32_t slot,
                              const char *address)
{
    struct known *k = slot < r->n_slots ? r->by_slot[slot] : NULL;

    assert(address[0] != '\0');
    return k != NULL && strcmp(k->address, address) == 0
               ? k
               : known_find(r, address);
}

static void granted(struct regret *r, const struct balancer_answer *answer)
{
    assert(answer->n_picks <= BALANCER_COUNT_MAX);
    for (size_t i = 0; i < answer->n_picks; i++) {
        const struct balancer_pick *pick = &answer->picks[i];
        struct known *k = known_at(r, pick->slot, pick->address);

        if (k == NULL)
            continue;
        if (k->slot != pick->slot)
            seen_at(r, k, pick->slot);
        k->given += r->scale;
        *place_of(r, pick->pick) =
            (struct pick_of){pick->pick, pick->slot, k->no};
    }
}

static void ended(struct regret *r, pick_id pick)
{
    struct pick_of *p = place_of(r, pick);
    struct known *k;

    if (p->pick != pick || p->slot >= r->n_slots)
        return;
    k = r->by_slot[p->slot];
    p->pick = 0;
    if (k != NULL && k->no == p->no)
        k->given -= r->scale;
}

static void counted(struct regret *r, const char *address, int delta)
{
    struct known *k = known_find(r, address);

    if (k != NULL)
        k->given += delta;
}

static struct late *add(struct regret *r, const struct balancer_event *event,
                        const char *data, size_t len)
{
    struct late *l;

    if (event->kind == BALANCER_EVENT_SET) {
        buf_reset(&r->packed);
        second_pack_report(&r->packed, event, r->last);
        assert(!r->packed.overflow);
        l = second_late_add(&r->queue, r->packed.data, r->packed.len);
    } else {
        l = second_late_add(&r->queue, data, len);
    }
    l->now = r->last;
    return l;
}

void second_regret_event(struct regret *r, const struct balancer_event *event,
                         const char *data, size_t len)
{
    struct late *l;

    if (event->kind == BALANCER_EVENT_SLICE)
        return; /* it has ticks of its own */
    if (event->now > r->last)
        r->last = event->now;
    l = add(r, event, data, len);
    if (event->kind == BALANCER_EVENT_SET)
        told(r, event->u.set, l);
    else if (event->kind == BALANCER_EVENT_REMOVE)
        removed(r, event->u.remove);
    else if (event->kind == BALANCER_EVENT_PICK && !event->u.pick.request->peek)
        granted(r, event->u.pick.answer);
    else if (event->kind == BALANCER_EVENT_END)
        ended(r, event->u.end.pick);
    else if (event->kind == BALANCER_EVENT_COUNT)
        counted(r, event->u.count.address, event->u.count.delta);
    else if (event->kind == BALANCER_EVENT_COORDINATORS)
        r->scale = event->u.coordinators;
}

/* --- its turn comes ------------------------------------------------------ */

static void take_figures(struct balancer_worker *to,
                         const struct balancer_worker *from)
{
    to->busy = from->busy;
    to->degraded = from->degraded;
    to->cpu = from->cpu;
    to->memory = from->memory;
    to->disk = from->disk;
    to->pool = from->pool;
}

/* What the balancer was told last, if it is the same report. */
static void take_told(struct balancer_worker *to, const struct account *a)
{
    const struct profile *p = a->profile;

    if (p->incarnation != to->incarnation || p->told != to->reported)
        return;
    to->busy = p->busy;
    to->degraded = p->degraded;
    to->cpu = p->usage[USUAL_CPU];
    to->memory = p->usage[USUAL_MEMORY];
    to->disk = p->usage[USUAL_DISK];
    to->pool = p->usage[USUAL_POOL];
}

/* What was running before what was granted since: at the later report, grants
 * and all, it is what that says. */
static double pool_before(const struct balancer_worker *w,
                          const struct balancer_worker *later, double given)
{
    double running = later->pool * later->slots;

    assert(w->slots > 0);
    if (fabs(running - nearbyint(running)) < WHOLE)
        running = nearbyint(running);
    return fmax(0, running - given) / w->slots;
}

static void with_later(struct regret *r, struct balancer_worker *w,
                       const struct late *later)
{
    const struct balancer_worker *next = &r->ahead.worker;

    assert(later->of != NULL);
    second_unpack_report(&r->ahead, later->of->address, later);
    take_figures(w, next);
    if (next->pool >= 0 && w->slots > 0 && next->slots > 0)
        w->pool = pool_before(w, next, later->given);
}

static void apply_set(struct regret *r, const struct late *l)
{
    struct balancer_worker *w = &r->reader.worker;
    struct known *k = l->of;
    const struct account *a;

    assert(k->waiting > 0);
    k->waiting--;
    if (k->last == l)
        k->last = NULL;
    if (l->later != NULL)
        with_later(r, w, l->later);
    else if (k->applied && (a = balancer_account(r->b, k->address)) != NULL)
        take_told(w, a);
    k->applied = true;
    balancer_apply(r->b, &r->reader.event, NULL);
}

static void apply_remove(struct regret *r)
{
    struct known *k = known_find(r, r->reader.event.u.remove);

    balancer_apply(r->b, &r->reader.event, NULL);
    assert(k != NULL);
    assert(k->waiting > 0);
    k->applied = false;
    if (--k->waiting == 0)
        known_free(r, k);
}

static void apply_pick(struct regret *r, bool early, struct second_stats *stats)
{
    size_t nobody, n = r->reader.answer.n_picks;
    size_t same = second_follow(r->b, &r->reader.event, r->answer, &nobody);

    if (r->reader.request.peek)
        return;
    if (early || r->reader.event.now < r->judge_from) {
        stats->unjudged += n;
    } else {
        stats->judged += n;
        stats->elsewhere += n - same;
    }
}

/* Returns what it took, about, in events. */
static size_t apply(struct regret *r, const struct late *l, bool early,
                    struct second_stats *stats)
{
    const struct balancer_event *e = &r->reader.event;

    if (l->of != NULL)
        second_unpack_report(&r->reader, l->of->address, l);
    else
        second_unpack(&r->reader, l->data, l->len);
    switch (e->kind) {
    case BALANCER_EVENT_SET:
        apply_set(r, l);
        return 1;
    case BALANCER_EVENT_REMOVE:
        apply_remove(r);
        return 1;
    case BALANCER_EVENT_PICK:
        apply_pick(r, early, stats);
        return r->reader.request.count;
    case BALANCER_EVENT_CLOCK:
        balancer_tick(r->b, e->now);
        return 1 + r->n_known / MEMBERS_AN_EVENT;
    default:
        balancer_apply(r->b, e, NULL);
        return second_cost(e);
    }
}

size_t second_regret_turn(struct regret *r, mono_ms now, size_t at_most,
                          struct second_stats *stats)
{
    struct late *l;
    size_t took = 0;

    while (took < at_most && (l = second_late_first(&r->queue)) != NULL) {
        bool early = now - l->now < r->wait;

        if (early && r->queue.n <= SECOND_LATE_MAX &&
            r->queue.bytes <= LATE_BYTES_MAX)
            break;
        took += apply(r, l, early, stats);
        second_late_drop(&r->queue);
    }
    return took;
}
