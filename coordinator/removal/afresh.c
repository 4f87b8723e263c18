/*
 * afresh.c - see afresh.h. Rings are read side by side, and of each one slot
 * after the other: as a rule one, which still holds what is WINDOW_SLOTS old.
 */
#include "coordinator/removal/afresh.h"

#include "base/mem.h"

#include <utlist.h>

struct afresh_ring {
    struct afresh_ring *next, *prev;
    struct afresh *of;
    struct rings_ask ask;
};

static void came_back(struct afresh *a)
{
    assert(a->outstanding > 0);
    if (--a->outstanding > 0)
        return;
    assert(a->all == NULL);
    a->done(a->arg, !a->missed && a->session == registry_session(a->registry));
}

static void ring_end(struct afresh_ring *ring)
{
    struct afresh *a = ring->of;

    DL_DELETE(a->all, ring);
    mem_free(ring);
    came_back(a);
}

static void ask(struct afresh_ring *ring);

/* After a gap nobody is over any more. */
static void on_slot(void *arg, const struct registry_reply *reply)
{
    struct afresh_ring *ring = arg;
    struct afresh *a = ring->of;
    const struct registry_entry *e =
        reply->err.code == ERR_OK ? reply->entries : NULL;

    if (a->missed || (e == NULL && reply->err.code != ERR_NOT_FOUND)) {
        a->missed = true;
        ring_end(ring);
    } else if (rings_answer(a->rings, &ring->ask, e, a->clock->mono) ==
               RINGS_MORE) {
        ask(ring);
    } else {
        ring_end(ring);
    }
}

static void ask(struct afresh_ring *ring)
{
    struct afresh *a = ring->of;

    if (rings_ask(a->rings, ring->ask.session, &ring->ask))
        registry_get(a->registry, ring->ask.key, on_slot, ring);
    else
        ring_end(ring);
}

static void on_names(void *arg, const struct registry_reply *reply)
{
    struct afresh *a = arg;
    uint64_t session;

    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND)
        a->missed = true;
    for (size_t i = 0; i < reply->n_entries && !a->missed; i++) {
        struct afresh_ring *ring;

        if (!window_ring_parse(reply->entries[i].key, &session))
            continue;
        if (a->rings == NULL || !rings_synced(a->rings)) {
            a->missed = true;
            break;
        }
        ring = mem_zalloc(sizeof(*ring));
        ring->of = a;
        ring->ask.session = session;
        DL_APPEND(a->all, ring);
        a->outstanding++;
        ask(ring);
    }
    came_back(a);
}

void afresh_begin(struct afresh *a, struct registry *registry,
                  const struct clock *clock, struct rings *rings,
                  afresh_done_f *done, void *arg)
{
    assert(!afresh_goes_on(a) && done != NULL);
    *a = (struct afresh){.registry = registry,
                         .clock = clock,
                         .rings = rings,
                         .done = done,
                         .arg = arg,
                         .session = registry_session(registry),
                         .outstanding = 1};
    registry_children(registry, WINDOW_PREFIX, on_names, a);
}

void afresh_lose(struct afresh *a)
{
    a->rings = NULL;
    a->missed = true;
}

void afresh_end(struct afresh *a, bool told)
{
    struct afresh_ring *ring, *next;

    if (!afresh_goes_on(a))
        return;
    if (told)
        registry_forget(a->registry, a);
    DL_FOREACH_SAFE (a->all, ring, next) {
        if (told)
            registry_forget(a->registry, ring);
        DL_DELETE(a->all, ring);
        mem_free(ring);
    }
    a->outstanding = 0;
}
