/*
 * fork.c - two of it: a standby is promoted, and the old primary comes
 * back beside it and takes writes, too.
 *
 * Both have what stood when they parted: keys, sessions, locks and counters,
 * so that each may give the same numbers. A client is connected to one of those
 * that it reaches, as registry/dbms/connect.c finds it: one that stands before
 * what is known is not the one, and the other is asked; if there is none it is
 * taken all the same, and left for a better one. Who knows nothing asks both
 * and takes the one that stands higher.
 */
#include "base/mem.h"
#include "base/planted.h"
#include "tests/lib/memory/memory_priv.h"

#include <utlist.h>

static struct memory_side *side_of(struct memory_store *s,
                                   enum memory_which which)
{
    return &s->sides[which];
}

/* --- which of them ------------------------------------------------------- */

static struct registry_place place_of(const struct memory_side *side)
{
    return (struct registry_place){.line = side->line,
                                   .position = side->revision};
}

static bool is_reached(const struct memory_client *c,
                       const struct memory_side *side)
{
    return !side->down && c->reaches[side - c->store->sides];
}

static bool is_behind(const struct memory_client *c,
                      const struct memory_side *side)
{
    return registry_is_behind(&c->base, side->line, side->revision);
}

bool memory_client_reaches(const struct memory_client *c)
{
    return is_reached(c, c->side);
}

static struct memory_side *best_of(const struct memory_client *c)
{
    struct memory_store *s = c->store;
    bool knows = registry_place(&c->base)->position != 0;
    uint64_t first = rand_below(&s->rand, 2);
    struct memory_side *best = NULL;

    for (uint64_t i = 0; i < 2; i++) {
        struct memory_side *side = &s->sides[(first + i) % 2];
        struct registry_place at = place_of(side), other;

        if (!is_reached(c, side))
            continue;
        if ((knows || planted(PLANTED_FIRST_IS_TAKEN)) && !is_behind(c, side))
            return side;
        other = best != NULL ? place_of(best) : at;
        if (best == NULL || registry_place_before(&other, &at))
            best = side;
    }
    return best;
}

bool memory_client_choose(struct memory_client *c)
{
    struct memory_side *best;

    if (!c->store->two || (c->base.session != 0 && is_reached(c, c->side) &&
                           !is_behind(c, c->side)))
        return false;
    best = best_of(c);
    if (best == NULL || best == c->side)
        return false;
    c->side = best;
    memory_past_unref(c->past);
    c->past = NULL;
    return true;
}

/* --- the world ----------------------------------------------------------- */

static void stop(struct memory_store *s, struct memory_side *side)
{
    struct memory_subscription *sub;
    struct memory_session *session;

    side->down = true;
    side->generation++;
    DL_FOREACH (side->sessions, session)
        memory_unschedule(s, &session->expiry);
    while ((sub = side->subscriptions) != NULL) {
        DL_DELETE(side->subscriptions, sub);
        mem_free(sub);
    }
}

void memory_promote(struct memory_store *s, const struct memory_backup *b)
{
    struct memory_backup *all = b == NULL ? memory_backup(s) : NULL;
    struct memory_side *old = s->present;
    struct memory_client *c;

    assert(!s->two);
    s->two = true;
    stop(s, old);
    s->side = s->present = side_of(s, MEMORY_NEW);
    s->side->line = old->line + 1;
    DL_FOREACH (s->clients, c)
        c->side = s->side;
    memory_restore(s, all != NULL ? all : b);
    memory_backup_free(&all);
}

void memory_down(struct memory_store *s, enum memory_which which)
{
    struct memory_side *side = side_of(s, which);
    struct memory_client *c;

    stop(s, side);
    DL_FOREACH (s->clients, c)
        if (c->side == side && !c->cut)
            memory_client_reset(c);
}

void memory_up(struct memory_store *s, enum memory_which which)
{
    struct memory_side *side = side_of(s, which);
    struct memory_session *session;

    side->down = false;
    DL_FOREACH (side->sessions, session) {
        session->heard = s->clock->mono;
        memory_schedule(s, &session->expiry,
                        session->heard + session->timeout_ms + 1);
    }
}

void memory_look_into(struct memory_store *s, enum memory_which which)
{
    s->side = s->present = side_of(s, which);
}

void memory_reach(struct registry *client, bool old, bool new)
{
    struct memory_client *c = memory_client_of(client);

    c->reaches[MEMORY_OLD] = old;
    c->reaches[MEMORY_NEW] = new;
    if (c->store->two && !c->cut && !is_reached(c, c->side))
        memory_client_reset(c);
}

bool memory_reaches(struct registry *client, enum memory_which which)
{
    const struct memory_client *c = memory_client_of(client);

    return is_reached(c, side_of(c->store, which));
}

enum memory_which memory_at(struct registry *client)
{
    const struct memory_client *c = memory_client_of(client);

    return c->side == &c->store->sides[MEMORY_OLD] ? MEMORY_OLD : MEMORY_NEW;
}

void memory_line(struct memory_store *s, uint64_t line)
{
    s->present->line = line;
}

void memory_on_write_beside(struct memory_store *s, memory_write_f *fn)
{
    s->on_write_beside = fn;
}
