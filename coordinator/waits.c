/*
 * waits.c - long polls: who waits for which index, in one list.
 *
 * The list is walked once per tick. Ten thousand waits are a walk of about a
 * millisecond, and a tick is every 50 ms, so there is nothing to index.
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"

#include <stdio.h>
#include <utlist.h>

#define WAIT_MAX_MS (10 * 60 * 1000)

uint64_t coordinator_index(const struct coordinator *c,
                           enum coordinator_topic topic, enum node_kind kind,
                           const char *address)
{
    const struct work_view_owner *owner;

    assert(kind < NODE_KINDS || address == NULL);
    if (topic != COORDINATOR_WORK) {
        struct snapshot *s = coordinator_snapshot_acquire(c->slot);
        uint64_t index = coordinator_snapshot_index(
            s, topic == COORDINATOR_MEMBERSHIP, kind, address);

        coordinator_snapshot_release(&s);
        return index;
    }
    if (address == NULL)
        return work_view_index(c->view);
    owner = work_view_owner(c->view, kind, address);
    return owner != NULL ? owner->index : 0;
}

static uint64_t wait_index(const struct coordinator *c,
                           const struct coordinator_wait *w)
{
    return coordinator_index(c, w->topic, w->kind,
                             w->anybody ? NULL : w->address);
}

int coordinator_wait(struct coordinator *c, enum coordinator_topic topic,
                     enum node_kind kind, const char *address, uint64_t seen,
                     int64_t wait_ms, coordinator_woken_f *woken, void *arg,
                     struct coordinator_wait **out)
{
    struct coordinator_wait *w;

    assert(wait_ms >= 0 && woken != NULL);
    if (c->n_waits >= COORDINATOR_WAITS_MAX || c->leaving)
        return ERR_FULL;
    w = mem_zalloc(sizeof(*w));
    w->topic = topic;
    w->kind = kind;
    w->anybody = address == NULL;
    if (address != NULL)
        snprintf(w->address, sizeof(w->address), "%s", address);
    w->seen = seen;
    w->until = c->clock->mono + (wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS);
    w->woken = woken;
    w->arg = arg;
    DL_APPEND(c->waits, w);
    c->n_waits++;
    *out = w;
    return 0;
}

void coordinator_unwait(struct coordinator *c, struct coordinator_wait **wait)
{
    struct coordinator_wait *w = *wait;

    if (w == NULL)
        return;
    assert(c->n_waits > 0);
    DL_DELETE(c->waits, w);
    c->n_waits--;
    MEM_FREE(*wait);
}

static void wait_wake(struct coordinator *c, struct coordinator_wait *w)
{
    assert(c->n_waits > 0);
    coordinator_woken_f *woken = w->woken;
    void *arg = w->arg;
    uint64_t index = wait_index(c, w);

    coordinator_unwait(c, &w);
    woken(arg, index);
}

/* Nodes are compared once per snapshot. */
static bool changed(const struct coordinator *c, struct coordinator_wait *w)
{
    assert(w->compared <= c->index);
    if (w->topic != COORDINATOR_WORK && w->compared == c->index)
        return false;
    w->compared = c->index;
    return wait_index(c, w) != w->seen;
}

void coordinator_waits_tick(struct coordinator *c)
{
    struct coordinator_wait *w, *tmp;

    assert((c->waits == NULL) == (c->n_waits == 0));
    assert(c->n_waits <= COORDINATOR_WAITS_MAX);
    DL_FOREACH_SAFE (c->waits, w, tmp)
        if (c->leaving || c->clock->mono >= w->until || changed(c, w))
            wait_wake(c, w);
}

void coordinator_waits_end(struct coordinator *c, bool told)
{
    struct coordinator_wait *w;

    assert(c->leaving);
    while ((w = c->waits) != NULL)
        if (told)
            wait_wake(c, w);
        else
            coordinator_unwait(c, &w);
    assert(c->n_waits == 0);
}
