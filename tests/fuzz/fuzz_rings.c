/*
 * fuzz_rings.c - the reader of rings: the input is what happens, a byte each.
 * A writer commits, a watch tells any slot, answers come late, keys go, values
 * are broken. In order always, each window once; without a gap none is left
 * out; what was read to its end leaves nothing out.
 */
#include "base/mem.h"
#include "cluster/renewals/rings.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define SESSION 7

struct world {
    struct rings *rings;
    struct buf slots[WINDOW_SLOTS];
    uint64_t seq, last; /* committed; told last */
    size_t gaps, gaps_before;
    mono_ms now;
};

static bool on_renewal(void *arg, const struct rings_renewal *r)
{
    struct world *w = arg;
    uint64_t seq = r->renewal->created;

    assert(seq > w->last && seq <= w->seq);
    assert(seq == w->last + 1 || w->gaps > w->gaps_before);
    assert(r->seen <= w->now);
    w->last = seq;
    return seq % 3 != 0;
}

static void on_gap(void *arg, uint64_t session, const char *why)
{
    struct world *w = arg;

    assert(session == SESSION && why[0] != '\0');
    w->gaps++;
}

static void commit(struct world *w, bool broken)
{
    const struct renewal r = {.created = w->seq + 1, .generation = 1};
    struct buf *slot = &w->slots[window_slot(++w->seq)];
    struct window window;
    bool added;

    window_init(&window);
    added = window_add(&window, &r);
    assert(added);
    buf_reset(slot);
    window_write(slot, &window, w->seq, 30000);
    if (broken)
        slot->data[0] = 9;
    window_close(&window);
}

static struct registry_entry entry_of(const struct world *w, unsigned slot,
                                      char key[WINDOW_KEY_SIZE])
{
    return (struct registry_entry){.key = window_key(SESSION, slot, key),
                                   .value = buf_text(&w->slots[slot]),
                                   .value_len = w->slots[slot].len,
                                   .version = w->seq};
}

static void tell(struct world *w, enum registry_event_type type, unsigned slot)
{
    char key[WINDOW_KEY_SIZE];
    struct registry_event e = {.type = type};

    if (type != REGISTRY_SYNCED)
        e.entry = entry_of(w, slot, key);
    if (type == REGISTRY_SYNCED || w->slots[slot].len > 0)
        rings_feed(w->rings, &e, w->now);
}

static void read_afresh(struct world *w)
{
    enum rings_answer answer = RINGS_MORE;
    struct rings_ask ask;
    char key[WINDOW_KEY_SIZE];

    if (!rings_synced(w->rings))
        return;
    for (size_t i = 0; answer == RINGS_MORE; i++) {
        struct registry_entry e;
        uint64_t session;
        unsigned slot;
        bool parsed;

        assert(i <= WINDOW_SLOTS);
        if (!rings_ask(w->rings, SESSION, &ask))
            return;
        parsed = window_key_parse(ask.key, &session, &slot);
        assert(parsed && session == SESSION);
        e = entry_of(w, slot, key);
        answer =
            rings_answer(w->rings, &ask, e.value_len > 0 ? &e : NULL, w->now);
    }
    assert(answer == RINGS_GAP || rings_applied(w->rings, SESSION) == w->seq);
}

static void happen(struct world *w, uint8_t what, bool ended)
{
    unsigned slot = what % WINDOW_SLOTS;

    w->gaps_before = w->gaps;
    w->now += 20;
    if (what >= 192)
        tell(w, REGISTRY_UPDATE, slot);
    else if (what >= 128)
        tell(w, REGISTRY_UPDATE, window_slot(w->seq - slot % 4));
    else if (what >= 16 && !ended)
        commit(w, false);
    else if (what >= 12 && !ended)
        commit(w, true);
    else if (what >= 8)
        read_afresh(w);
    else if (what >= 6)
        tell(w, REGISTRY_SYNCED, 0);
    else if (what >= 4)
        rings_tick(w->rings, w->now);
    else if (what >= 2)
        rings_ended(w->rings, ended ? SESSION : SESSION + 1);
    assert(rings_applied(w->rings, SESSION) <= w->seq);
}

/* From `end` on the session writes no more: half of the input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.seq = 0};
    size_t end = size > 0 && data[0] % 2 == 1 ? size / 2 : size;

    w.rings = rings_new(on_renewal, on_gap, &w);
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        buf_init(&w.slots[i], 256);
    for (size_t i = 1; i < size && i < 4096; i++)
        happen(&w, data[i], i >= end);
    rings_free(&w.rings);
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        buf_close(&w.slots[i]);
    return 0;
}
