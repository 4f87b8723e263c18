/*
 * rings.c - see rings.h.
 *
 * Of a ring this is known: the last window that was applied, and of each slot
 * the number and version that it has. `applied` is moved on by apply() alone.
 * What is behind it and not applied yet stands in the store still, unless more
 * than WINDOW_SLOTS lie between it and the highest that was told: then it was
 * written over, and that is the gap.
 */
#include "cluster/renewals/rings.h"

#include "base/table.h"
#include "cluster/renewals/unknown.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct slot {
    uint64_t seq, version; /* as told; 0: nothing that can be read, nothing */
    char *waits;           /* its value, not applied yet; NULL: it is */
    size_t len;
};

struct ring {
    uint64_t session;
    uint64_t applied;
    int64_t watched_ms; /* the longest that it told */
    mono_ms final_at;
    bool ended, final;
    struct slot slots[WINDOW_SLOTS];
    UT_hash_handle hh;
};

struct rings {
    rings_renewal_f *renewal;
    rings_gap_f *gap;
    void *arg;
    struct ring *all;
    struct unknown unknown;
    bool synced;
};

struct rings *rings_new(rings_renewal_f *renewal, rings_gap_f *gap, void *arg)
{
    struct rings *r = mem_zalloc(sizeof(*r));

    r->renewal = renewal;
    r->gap = gap;
    r->arg = arg;
    unknown_init(&r->unknown);
    return r;
}

static struct ring *find(const struct rings *r, uint64_t session)
{
    struct ring *ring;

    HASH_FIND(hh, r->all, &session, sizeof(session), ring);
    return ring;
}

static struct ring *find_or_make(struct rings *r, uint64_t session)
{
    struct ring *ring = find(r, session);

    if (ring != NULL)
        return ring;
    ring = mem_zalloc(sizeof(*ring));
    ring->session = session;
    HASH_ADD(hh, r->all, session, sizeof(ring->session), ring);
    return ring;
}

static void let_go(struct slot *s)
{
    MEM_FREE(s->waits);
    s->len = 0;
}

static void ring_free(struct rings *r, struct ring *ring)
{
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        let_go(&ring->slots[i]);
    HASH_DELETE(hh, r->all, ring);
    mem_free(ring);
}

void rings_free(struct rings **rings)
{
    struct rings *r = *rings;
    struct ring *ring, *next;

    if (r == NULL)
        return;
    HASH_ITER (hh, r->all, ring, next)
        ring_free(r, ring);
    unknown_close(&r->unknown);
    MEM_FREE(*rings);
}

/* --- windows ------------------------------------------------------------- */

/* A window that was found whole, which none before it has to wait for. */
static void apply(struct rings *r, struct ring *ring, struct window_read *w,
                  mono_ms now)
{
    struct renewal renewal;

    assert(w->seq > ring->applied);
    while (window_next(w, &renewal)) {
        const struct rings_renewal told = {.renewal = &renewal, .seen = now};

        if (!r->renewal(r->arg, &told))
            unknown_keep(&r->unknown, &told);
    }
    ring->applied = w->seq;
}

static void apply_waiting(struct rings *r, struct ring *ring, struct slot *s,
                          mono_ms now)
{
    struct window_read w;
    int rc = window_open(&w, window_slot(s->seq), s->waits, s->len, NULL);

    assert(rc == 0); /* it was looked over when it came */
    apply(r, ring, &w, now);
    let_go(s);
}

/* Those that waited, as far as none is missing. */
static void go_on(struct rings *r, struct ring *ring, mono_ms now)
{
    for (;;) {
        struct slot *s = &ring->slots[window_slot(ring->applied + 1)];

        if (s->waits == NULL || s->seq != ring->applied + 1)
            return;
        apply_waiting(r, ring, s, now);
    }
}

/* All that wait, whatever is missing between them. */
static void go_over(struct rings *r, struct ring *ring, mono_ms now)
{
    for (;;) {
        struct slot *first = NULL;

        for (unsigned i = 0; i < WINDOW_SLOTS; i++) {
            struct slot *s = &ring->slots[i];

            if (s->waits != NULL && (first == NULL || s->seq < first->seq))
                first = s;
        }
        if (first == NULL)
            return;
        apply_waiting(r, ring, first, now);
    }
}

static void tell_gap(struct rings *r, struct ring *ring, const char *why,
                     mono_ms now)
{
    r->gap(r->arg, ring->session, why);
    if (r->synced)
        go_over(r, ring, now);
}

/* What one value was. */
enum fed { FED, FED_OLD, FED_GAP };

static enum fed unreadable(struct rings *r, struct ring *ring, struct slot *s,
                           const char *why, mono_ms now)
{
    ring->watched_ms = WINDOW_WATCHED_MAX; /* for all we know */
    tell_gap(r, ring, why, now);
    let_go(s);
    s->seq = 0;
    return FED_GAP;
}

static enum fed feed(struct rings *r, struct ring *ring, unsigned slot,
                     const struct registry_entry *e, mono_ms now)
{
    struct slot *s = &ring->slots[slot];
    enum fed fed = FED;
    struct window_read w;
    struct err err;

    if (window_open(&w, slot, e->value, e->value_len, &err) != 0) {
        s->version = e->version;
        return unreadable(r, ring, s, err.msg, now);
    }
    if (w.watched_ms > ring->watched_ms)
        ring->watched_ms = w.watched_ms;
    if (w.seq < s->seq)
        return FED_OLD; /* an answer that the watch was ahead of */
    s->version = e->version;
    if (w.seq <= ring->applied) {
        s->seq = w.seq;
        return FED_OLD;
    }
    if (ring->final) { /* its entry came again: a person had removed it */
        tell_gap(r, ring, "it is written, and was read to its end", now);
        ring->final = ring->ended = false;
    }
    if (r->synced && w.seq - ring->applied > WINDOW_SLOTS) {
        char why[120];

        (void)snprintf(why, sizeof(why),
                       "window %ju is told, and those behind %ju are written "
                       "over",
                       (uintmax_t)w.seq, (uintmax_t)ring->applied);
        tell_gap(r, ring, why, now);
        assert(ring->applied < w.seq);
        ring->applied = w.seq - 1;
        fed = FED_GAP;
    }
    let_go(s);
    s->seq = w.seq;
    if (r->synced && w.seq == ring->applied + 1) {
        apply(r, ring, &w, now);
        go_on(r, ring, now);
    } else {
        s->waits = mem_dup(e->value, e->value_len);
        s->len = e->value_len;
    }
    return fed;
}

/* Of the first listing, which is not one moment. */
static void begin(struct rings *r, struct ring *ring, mono_ms now)
{
    uint64_t highest = 0, from;
    bool missed = false;

    assert(ring->applied == 0);
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        if (ring->slots[i].waits != NULL && ring->slots[i].seq > highest)
            highest = ring->slots[i].seq;
    from = highest > WINDOW_SLOTS ? highest - WINDOW_SLOTS : 0;
    for (uint64_t seq = from + 1; seq <= highest; seq++)
        missed |= ring->slots[window_slot(seq)].seq != seq;
    if (missed)
        tell_gap(r, ring, "it was written while it was listed", now);
    go_over(r, ring, now);
    assert(ring->applied == highest);
}

/* Only a ring that nobody needs is deleted. */
static void slot_gone(struct rings *r, struct ring *ring, unsigned slot,
                      mono_ms now)
{
    bool empty = true;

    if (!ring->ended)
        tell_gap(r, ring, "one of its keys is gone", now);
    let_go(&ring->slots[slot]);
    ring->slots[slot] = (struct slot){.seq = 0};
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        empty &= ring->slots[i].version == 0;
    if (empty)
        ring_free(r, ring);
}

void rings_feed(struct rings *r, const struct registry_event *event,
                mono_ms now)
{
    struct ring *ring, *next;
    uint64_t session;
    unsigned slot;

    if (event->type == REGISTRY_SYNCED) {
        if (r->synced)
            return;
        HASH_ITER (hh, r->all, ring, next)
            begin(r, ring, now);
        r->synced = true;
        return;
    }
    if (!window_key_parse(event->entry.key, &session, &slot))
        return;
    if (event->type != REGISTRY_REMOVE) {
        (void)feed(r, find_or_make(r, session), slot, &event->entry, now);
        return;
    }
    ring = find(r, session);
    if (ring != NULL)
        slot_gone(r, ring, slot, now);
}

bool rings_synced(const struct rings *r)
{
    return r->synced;
}

void rings_known(struct rings *r, uint64_t created, mono_ms now)
{
    unknown_tick(&r->unknown, now);
    unknown_tell(&r->unknown, created, r->renewal, r->arg);
}

bool rings_wait(const struct rings *r)
{
    return r->unknown.sweep != 0;
}

void rings_tick(struct rings *r, mono_ms now)
{
    unknown_tick(&r->unknown, now);
}

uint64_t rings_applied(const struct rings *r, uint64_t session)
{
    const struct ring *ring = find(r, session);

    return ring != NULL ? ring->applied : 0;
}

/* --- reading afresh ------------------------------------------------------ */

bool rings_ask(struct rings *r, uint64_t session, struct rings_ask *out)
{
    const struct ring *ring = find(r, session);

    assert(r->synced);
    if (ring != NULL && ring->final)
        return false;
    *out = (struct rings_ask){
        .session = session,
        .seq = (ring != NULL ? ring->applied : 0) + 1,
        .ended = ring != NULL && ring->ended,
    };
    (void)window_key(session, window_slot(out->seq), out->key);
    return true;
}

/* What was asked when it had ended is all that it will ever hold. */
static void read_to_its_end(struct ring *ring, const struct rings_ask *ask,
                            mono_ms now)
{
    if (!ask->ended || ring->final || ring->applied + 1 != ask->seq)
        return;
    ring->final = true;
    ring->final_at = now;
}

enum rings_answer rings_answer(struct rings *r, const struct rings_ask *ask,
                               const struct registry_entry *entry, mono_ms now)
{
    unsigned slot = window_slot(ask->seq);
    struct ring *ring = find(r, ask->session);

    assert(r->synced);
    if (entry != NULL) {
        if (ring == NULL)
            ring = find_or_make(r, ask->session);
        if (feed(r, ring, slot, entry, now) == FED_GAP) {
            if (ring->slots[slot].seq == 0) /* nobody will ever read it */
                read_to_its_end(ring, ask, now);
            return RINGS_GAP;
        }
        if (ring->slots[slot].seq >= ask->seq)
            return RINGS_MORE;
    }
    if (ring != NULL)
        read_to_its_end(ring, ask, now);
    return RINGS_END;
}

/* --- what is forgotten --------------------------------------------------- */

uint64_t rings_next(const struct rings *r, uint64_t after)
{
    const struct ring *ring;
    uint64_t next = 0;

    for (ring = r->all; ring != NULL; ring = ring->hh.next)
        if (ring->session > after && (next == 0 || ring->session < next))
            next = ring->session;
    return next;
}

void rings_ended(struct rings *r, uint64_t session)
{
    struct ring *ring = find(r, session);

    if (ring != NULL)
        ring->ended = true;
}

bool rings_due(const struct rings *r, uint64_t session, mono_ms now)
{
    const struct ring *ring = find(r, session);

    return ring != NULL && ring->final &&
           now - ring->final_at >= ring->watched_ms;
}

uint64_t rings_version(const struct rings *r, uint64_t session, unsigned slot)
{
    const struct ring *ring = find(r, session);

    assert(slot < WINDOW_SLOTS);
    return ring != NULL ? ring->slots[slot].version : 0;
}
