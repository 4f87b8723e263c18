/*
 * fork.c - two primaries: a standby is promoted, and the old one comes back
 * beside it and takes writes, too.
 *
 * From then on each process reaches one of them or both, and finds its place
 * with every connection. Of those who know of the promotion some reach only the
 * old one, whose position may be the higher one: they notice, mark it and
 * stop, and no step is done there. Who reaches both goes on at the new one,
 * also when it begins without memory. Whoever remembers what was before the
 * promotion has no way to tell, and reaches the old one when it is marked;
 * whoever remembers nothing, then or beside the new one. DolphinScheduler's own
 * servers have one address that moves. It ends with one of them: with the old
 * one everybody goes on by himself; with the new one a store is left that lost
 * all since the promotion, and a person accepts it (back.c). In some runs the
 * standby had not got everything, and is accepted before the old one comes
 * back.
 */
#include "tests/sim/world.h"

#define NOTICED_MS  2000
#define SETTLED_MS  12000 /* at the new one, after a connection and a start */
#define PATIENCE_MS 20000 /* for those that the end needs */

static bool likely(struct world *w, double share)
{
    return rand_double(&w->fork.rand) < share;
}

static int64_t some(struct world *w, int64_t low, int64_t high)
{
    return low + (int64_t)rand_below(&w->fork.rand, (uint64_t)(high - low) + 1);
}

void fork_plan(struct world *w)
{
    struct sim_fork *f = &w->fork;
    double kind;

    rand_seed(&f->rand, w->seed ^ UINT64_C(0x666f726b));
    if (w->back.planned || !likely(w, 0.12))
        return;
    kind = rand_double(&f->rand);
    f->planned = true;
    f->ends_new = kind < 0.3;
    f->promote_at = w->clock.mono + some(w, 13000, 32000);
    f->away_ms = some(w, 500, 9000);
    memory_line(w->store, 1);
    if (kind > 0.8) {
        f->lost_tail = true;
        w->back.planned = true;
        w->back.restore_at = f->promote_at;
        w->back.backup_at = f->promote_at - some(w, 500, 4000);
    }
}

bool fork_exists(const struct world *w)
{
    return w->fork.returned != 0 && w->fork.ended == 0;
}

/* --- who reaches which --------------------------------------------------- */

/* Of the promotion. */
static bool knows(const struct registry *r)
{
    return registry_place(r)->line > 1;
}

static bool hears(const struct registry *r)
{
    return r != NULL && (registry_state(r) == REGISTRY_CONNECTED ||
                         registry_state(r) == REGISTRY_RECONNECTED);
}

static void seat(struct world *w, const char *who, struct registry *r,
                 bool compares)
{
    bool nothing = registry_place(r)->position == 0;
    /* whom a mark has stopped does not know yet that it was accepted */
    bool later = knows(r) && registry_went_back(r) == NULL;
    bool old = false, new = true;

    if (compares && (later || w->check.beside.marked)) {
        old = likely(w, 0.6);
        new = !old || ((later || nothing) && likely(w, 0.4));
    } else if (compares && nothing) {
        old = likely(w, 0.5);
    }
    trace(&w->trace, "%s reaches%s%s", who, old ? " the old one" : "",
          new ? " the new one" : "");
    memory_reach(r, old, new);
}

void fork_seat(struct world *w, const char *who, struct registry *r,
               bool compares)
{
    if (fork_exists(w))
        seat(w, who, r, compares);
}

static void seat_all(struct world *w, bool as_before)
{
    for (int i = 0; i < COORDS; i++)
        if (w->coords[i].registry != NULL && as_before)
            memory_reach(w->coords[i].registry, true, true);
        else if (w->coords[i].registry != NULL)
            seat(w, w->coords[i].self, w->coords[i].registry, true);
    for (int i = 0; i < NODES; i++) {
        struct sim_node *n = &w->nodes[i];

        if (n->registry != NULL && as_before)
            memory_reach(n->registry, true, true);
        else if (n->registry != NULL)
            seat(w, n->address, n->registry, n->compares);
    }
}

/* --- promoted, back, ended ----------------------------------------------- */

static void promote(struct world *w)
{
    struct sim_fork *f = &w->fork;

    trace(&w->trace, "PROMOTED");
    f->promoted = w->clock.mono;
    f->copy = check_copy(&w->check);
    memory_promote(w->store, NULL);
}

/* Its own tail, which nobody got, may be longer than what the new one has
 * written meanwhile. */
static void come_back(struct world *w)
{
    struct sim_fork *f = &w->fork;
    uint64_t new = memory_revision(w->store), old;

    memory_look_into(w->store, MEMORY_OLD);
    old = memory_revision(w->store);
    if (likely(w, 0.5))
        memory_lift(w->store,
                    (old > new ? old : new) + (uint64_t)some(w, 200, 2000));
    memory_look_into(w->store, MEMORY_NEW);
    trace(&w->trace, "THE OLD ONE IS BACK");
    memory_up(w->store, MEMORY_OLD);
    f->returned = w->clock.mono;
    f->end_at = f->returned + some(w, 3000, 20000);
    seat_all(w, false);
}

/* Whoever does not know of the promotion would take the old one for what he
 * remembers. */
static bool may_end_new(struct world *w)
{
    bool remembered = w->check.beside.marked;

    for (int i = 0; i < COORDS; i++) {
        const struct coord *k = &w->coords[i];

        if (k->c != NULL && !knows(k->registry))
            return false;
        remembered |= coord_runs(k) && k->cut_until == 0 && hears(k->registry);
    }
    return remembered;
}

static void end(struct world *w)
{
    struct sim_fork *f = &w->fork;

    if (f->ends_new && !may_end_new(w)) {
        if (w->clock.mono < f->end_at + PATIENCE_MS)
            return;
        f->ends_new = false;
    }
    trace(&w->trace, "THE %s ONE ENDS", f->ends_new ? "NEW" : "OLD");
    f->ended = w->clock.mono;
    memory_down(w->store, f->ends_new ? MEMORY_NEW : MEMORY_OLD);
    if (f->ends_new) {
        memory_look_into(w->store, MEMORY_OLD);
        back_lost(w, f->copy);
    }
    seat_all(w, true);
}

/* --- what must be meanwhile ---------------------------------------------- */

static void check_coord(struct world *w, int i)
{
    const struct coord *k = &w->coords[i];
    mono_ms *since = &w->fork.since[i];
    bool old = k->registry != NULL && memory_at(k->registry) == MEMORY_OLD;
    bool well = coord_runs(k) && k->cut_until == 0;
    mono_ms for_ms;

    if (!well || old != w->fork.at_old[i] || k->well_since > *since)
        *since = w->clock.mono;
    w->fork.at_old[i] = old;
    for_ms = w->clock.mono - *since;
    if (well && old && hears(k->registry) && for_ms > NOTICED_MS)
        check_fail(&w->check, "an-old-primary-is-noticed",
                   "%s believes the old one since %lld ms", k->self,
                   (long long)for_ms);
    if (well && !old && for_ms > SETTLED_MS && !w->check.back.doubt &&
        registry_went_back(k->registry) != NULL)
        check_fail(&w->check, "who-returns-goes-on",
                   "%s is at the new one since %lld ms, and says: %s", k->self,
                   (long long)for_ms, registry_went_back(k->registry)->why);
    if (well && old && for_ms > SETTLED_MS &&
        memory_reaches(k->registry, MEMORY_NEW))
        check_fail(&w->check, "the-next-host-is-asked",
                   "%s reaches both, and is at the old one since %lld ms",
                   k->self, (long long)for_ms);
}

bool fork_step(struct world *w)
{
    struct sim_fork *f = &w->fork;
    bool may = !w->healed && !w->check.back.doubt && w->back.person == NULL;

    if (fork_exists(w)) {
        for (int i = 0; i < COORDS; i++)
            check_coord(w, i);
        if (w->clock.mono >= f->end_at)
            end(w);
        return true;
    }
    if (f->planned && f->promoted == 0 && !f->lost_tail && !w->healed &&
        w->clock.mono >= f->promote_at)
        promote(w);
    if (f->promoted != 0 && f->ended == 0 && may &&
        w->clock.mono >= f->promoted + f->away_ms)
        come_back(w);
    return false;
}

bool fork_is_over(const struct world *w, char *why, size_t size)
{
    if (fork_exists(w)) {
        (void)snprintf(why, size, "there are two primaries");
        return false;
    }
    return true;
}

void fork_end(struct world *w)
{
    check_copy_free(&w->fork.copy);
}
