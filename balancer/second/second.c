/*
 * second.c - hears what happens to a balancer, and hands it on in turns.
 *
 * The tap runs under the balancer's lock and writes into `filling`; a turn
 * takes that away and leaves an empty one. The mutex "second" is held for that
 * exchange, and while one event is written. When there is no room, nothing is
 * heard any more until the state of the balancer was asked for anew: an event
 * that is missing makes all that follow it mean something else. What comes
 * often (picks, ends) has less room than what comes rarely, so that a flood of
 * picks meets its limit before ten thousand workers do who report at once.
 */
#include "balancer/second/second_priv.h"

#include "balancer/image.h"
#include "base/locks.h"
#include "base/log.h"

#include <string.h>

#define OFTEN_MAX   ((size_t)2 * 1024 * 1024)
#define RARE_MAX    ((size_t)32 * 1024 * 1024)
#define FEED_MAX    ((size_t)512 * 1024 * 1024) /* with an image in it */
#define FEED_KEEP   ((size_t)512 * 1024)        /* between two turns */
#define TURN_EVENTS 1000
/* An image takes the balancer's lock for a few ms. */
#define BEGIN_AGAIN_MS 30000
/* Events lost in a second, on average since then, that are a flood still. */
#define FLOOD_A_SECOND 5000

struct second {
    struct balancer *b;
    bool tapped;
    /* begun from the next state that comes */
    bool wants_shadow, wants_regret;
    bool dormant;        /* regret: until the first pick */
    bool woken;          /* that was it */
    uint64_t picks_from; /* made before it was dormant */
    enum conf_policy policy;
    int64_t interval_ms;
    struct shadow *shadow; /* NULL: none, or not yet */
    struct regret *regret;
    struct buf draining;
    size_t at;     /* read so far */
    mono_ms begun; /* when the state was asked for last, or a flood rested from
                      then on; 0: never */
    bool useless;  /* regret: it was lost before it could judge a pick */
    bool resting;  /* an event is missing, as of the last turn */
    uint64_t lost_before; /* at `begun` */
    struct feed_reader reader;
    struct second_stats stats;

    pthread_mutex_t lock; /* "second" of the table in base/locks.h */
    struct buf filling;
    size_t basis; /* where a state ends in it, which takes nobody's room; 0 */
    bool deaf; /* an event is missing: changed under the balancer's lock, too */
    uint64_t lost;            /* atomic, changed under the balancer's lock */
    struct second_stats told; /* `stats` as of the last turn */
};

struct second *second_new(struct balancer *b)
{
    struct second *s = mem_zalloc(sizeof(*s));

    lock_init(&s->lock);
    s->b = b;
    buf_init(&s->filling, FEED_MAX);
    buf_init(&s->draining, FEED_MAX);
    second_reader_init(&s->reader);
    return s;
}

/* --- what happens -------------------------------------------------------- */

static size_t room_of(enum balancer_event_kind kind)
{
    return kind == BALANCER_EVENT_PICK || kind == BALANCER_EVENT_END ||
                   kind == BALANCER_EVENT_COUNT || kind == BALANCER_EVENT_RENEW
               ? OFTEN_MAX
               : RARE_MAX;
}

/* One event, its length before it. `gap`: those before a basis are not all
 * there. */
static void put_event(struct buf *out, const struct balancer_event *e, bool gap)
{
    size_t from = out->len;
    uint32_t len = 0;

    buf_add(out, &len, sizeof(len));
    second_pack(out, e);
    if (e->kind == BALANCER_EVENT_BASIS) {
        buf_add(out, &gap, sizeof(gap));
        balancer_image_locked(e->u.basis, out);
    }
    if (out->overflow)
        return;
    len = (uint32_t)(out->len - from - sizeof(len));
    memcpy(out->data + from, &len, sizeof(len));
}

/* Under the balancer's lock, so that nobody else writes. */
static void count_lost(struct second *s)
{
    __atomic_store_n(&s->lost, s->lost + 1, __ATOMIC_RELAXED);
}

static uint64_t lost(const struct second *s)
{
    return __atomic_load_n(&s->lost, __ATOMIC_RELAXED);
}

static void on_event(void *arg, const struct balancer_event *e)
{
    struct second *s = arg;
    bool basis = e->kind == BALANCER_EVENT_BASIS;

    if (s->deaf && !basis) { /* a flood is to cost little: no lock for that */
        count_lost(s);
        return;
    }
    lock_acquire(&s->lock);
    size_t from = s->filling.len;
    bool gap = s->deaf;

    s->deaf = !basis && from - s->basis > room_of(e->kind);
    if (!s->deaf)
        put_event(&s->filling, e, gap);
    if (s->filling.overflow) {
        s->filling.overflow = false;
        s->filling.len = from;
        s->deaf = true;
    }
    if (basis)
        s->basis = s->filling.len;
    if (s->deaf)
        count_lost(s);
    lock_release(&s->lock);
}

/* For whoever asks from another thread. */
static void tell(struct second *s)
{
    lock_acquire(&s->lock);
    s->told = s->stats;
    s->told.lost = lost(s);
    lock_release(&s->lock);
}

/* --- beginning and ending ------------------------------------------------ */

/* Have the state of the balancer come, and from then on what happens. */
static void begin(struct second *s)
{
    if (s->tapped)
        balancer_tap_basis(s->b, on_event, s);
    else
        balancer_tap(s->b, on_event, s);
    s->tapped = true;
}

static void end(struct second *s)
{
    if (!s->tapped || s->shadow != NULL || s->regret != NULL ||
        s->wants_shadow || s->wants_regret)
        return;
    balancer_untap(s->b, on_event, s);
    s->tapped = false;
    buf_close(&s->filling);
    buf_close(&s->draining);
    s->at = s->basis = 0;
    s->deaf = false;
}

void second_free(struct second **second)
{
    struct second *s = *second;

    if (s == NULL)
        return;
    if (s->tapped)
        balancer_untap(s->b, on_event, s);
    second_shadow_free(&s->shadow);
    second_regret_free(&s->regret);
    second_reader_close(&s->reader);
    buf_close(&s->filling);
    buf_close(&s->draining);
    pthread_mutex_destroy(&s->lock);
    MEM_FREE(*second);
}

/* Another policy begins from what is now: what the first one has learned is in
 * it, if it goes by that one. */
void second_shadow(struct second *s, bool on, enum conf_policy policy)
{
    assert(policy < CONF_POLICIES);
    if (!on || s->policy != policy)
        second_shadow_free(&s->shadow);
    s->policy = policy;
    if (!on) {
        s->wants_shadow = false;
        end(s);
    } else if (s->shadow == NULL && !s->wants_shadow) {
        s->wants_shadow = true;
        begin(s);
    }
    s->stats.shadowed = on;
    s->stats.shadow = policy;
    tell(s);
}

/* Who is never asked for a pick has nothing to regret, and no second copy of
 * all workers. */
static void wake(struct second *s)
{
    if (!s->dormant || balancer_stats(s->b).picks == s->picks_from)
        return;
    assert(s->regret == NULL && !s->wants_regret);
    s->dormant = false;
    s->woken = s->wants_regret = true;
    begin(s);
}

void second_regret(struct second *s, bool on, int64_t heartbeat_interval_ms)
{
    assert(heartbeat_interval_ms > 0);
    s->interval_ms = heartbeat_interval_ms;
    if (!on) {
        s->wants_regret = s->dormant = s->woken = false;
        second_regret_free(&s->regret);
        end(s);
    } else if (s->regret == NULL && !s->wants_regret && !s->dormant) {
        s->dormant = true;
        s->picks_from = balancer_stats(s->b).picks;
    }
    s->stats.regrets = on;
    tell(s);
}

/* --- turns --------------------------------------------------------------- */

static struct balancer *restore(const char *image, size_t len)
{
    struct err err;
    struct balancer *b = balancer_restore(image, len, &err);

    if (b == NULL) /* it is our own: the mistake is ours */
        log_error("!balancer-second", LOG_S("reason", err.msg));
    return b;
}

/* The picks that woke it: those it did not hear of. None, where the state that
 * it begins with was asked for earlier. */
static void too_early(struct second *s, struct balancer *begun)
{
    uint64_t picks = balancer_stats(begun).picks;

    if (s->woken && picks > s->picks_from)
        s->stats.unjudged += picks - s->picks_from;
    s->woken = false;
}

static void on_basis(struct second *s, const char *image, size_t len,
                     mono_ms now)
{
    struct balancer *b;

    if (s->wants_shadow && (b = restore(image, len)) != NULL) {
        s->wants_shadow = false;
        s->shadow = second_shadow_new(b, s->policy);
    }
    if (s->wants_regret && (b = restore(image, len)) != NULL) {
        s->wants_regret = false;
        too_early(s, b);
        s->regret = second_regret_new(b, s->interval_ms, now);
    }
}

/* Whoever is there missed something: it begins anew. */
static void drop(struct second *s)
{
    s->wants_shadow |= s->shadow != NULL;
    s->wants_regret |= s->regret != NULL;
    second_shadow_free(&s->shadow);
    second_regret_free(&s->regret);
}

/* Returns what it took, about, in events. */
static size_t on_record(struct second *s, const char *data, size_t len,
                        mono_ms now)
{
    const struct balancer_event *e = &s->reader.event;
    size_t head;

    second_unpack(&s->reader, data, len);
    if (e->kind == BALANCER_EVENT_BASIS) {
        bool gap;

        head = sizeof(e->kind) + sizeof(e->now);
        memcpy(&gap, data + head, sizeof(gap));
        head += sizeof(gap);
        if (gap)
            drop(s);
        on_basis(s, data + head, len - head, now);
        return 1;
    }
    if (s->shadow != NULL)
        second_shadow_event(s->shadow, e, &s->stats);
    if (s->regret != NULL)
        second_regret_event(s->regret, e, data, len);
    return second_cost(e);
}

/* What was written meanwhile, in exchange for what has been read. */
static bool exchange(struct second *s)
{
    struct buf empty = s->draining;
    bool deaf;

    assert(s->at == s->draining.len);
    buf_reset(&empty);
    if (empty.cap > FEED_KEEP)
        buf_close(&empty);
    s->at = 0;
    lock_acquire(&s->lock);
    deaf = s->deaf;
    s->draining = s->filling;
    s->filling = empty;
    s->basis = 0;
    lock_release(&s->lock);
    return deaf;
}

/* Is it only going to be lost again? A shadow counts from its first pick on,
 * regret not before an interval has passed. */
static bool is_flood(const struct second *s, mono_ms now)
{
    uint64_t missed = lost(s) - s->lost_before;

    assert(now >= s->begun);
    return s->useless && s->shadow == NULL && !s->wants_shadow &&
           missed * 1000 > (uint64_t)(now - s->begun) * FLOOD_A_SECOND;
}

/* Events are missing: all begins again from what is now, after a rest, or when
 * fewer come. */
static void begin_again(struct second *s, mono_ms now)
{
    bool first = s->begun == 0, rests;

    if (!s->resting)
        s->useless = !first && now - s->begun < s->interval_ms;
    s->resting = true;
    if (!first && now - s->begun < BEGIN_AGAIN_MS)
        return;
    rests = !first && is_flood(s, now);
    s->begun = now;
    s->lost_before = lost(s);
    if (rests)
        return;
    s->resting = false;
    drop(s);
    begin(s);
}

bool second_turn(struct second *s, mono_ms now)
{
    size_t took = 0;

    wake(s);
    if (!s->tapped)
        return false;
    while (took < TURN_EVENTS) {
        uint32_t len;

        if (s->at == s->draining.len) {
            bool deaf = exchange(s);

            if (s->draining.len == 0) {
                if (deaf)
                    begin_again(s, now);
                break;
            }
        }
        memcpy(&len, s->draining.data + s->at, sizeof(len));
        s->at += sizeof(len);
        assert(len <= s->draining.len - s->at);
        took += on_record(s, s->draining.data + s->at, len, now);
        s->at += len;
    }
    if (s->regret != NULL)
        took += second_regret_turn(s->regret, now, TURN_EVENTS, &s->stats);
    tell(s);
    return took >= TURN_EVENTS;
}

struct second_stats second_stats(struct second *s)
{
    struct second_stats stats;

    lock_acquire(&s->lock);
    stats = s->told;
    lock_release(&s->lock);
    return stats;
}
