/*
 * coord.c - the real coordinators of a simulated cluster, as processes: they
 * start, tick, stop (SIGSTOP), are cut off and die (SIGKILL).
 */
#include "tests/sim/world.h"

#include <string.h>
#include <utlist.h>

static void on_engine(void *arg, const struct engine_event *ev)
{
    static const char *const words[] = {
        [ENGINE_STATE] = "state",       [ENGINE_INTENT] = "intent",
        [ENGINE_RESUMED] = "resumed",   [ENGINE_TAKEN_BACK] = "taken back",
        [ENGINE_OPENED] = "opened",     [ENGINE_MOVED] = "moved",
        [ENGINE_DONE] = "done",         [ENGINE_HELD] = "held",
        [ENGINE_LIFTED] = "lifted",     [ENGINE_LOCKED] = "locked",
        [ENGINE_UNLOCKED] = "unlocked", [ENGINE_LOCK_LOST] = "lock lost",
    };
    struct coord *k = arg;

    if (ev->type == ENGINE_STATE)
        return;
    trace(&k->w->trace, "%s %s engine: %s %s %s %s n=%zu fence=%llu", k->self,
          ev->kind == NODE_MASTER ? "master" : "worker", words[ev->type],
          ev->address, ev->failover, ev->word != NULL ? ev->word : "", ev->n,
          (unsigned long long)ev->fence);
}

void coord_init(struct world *w, int i)
{
    struct coord *k = &w->coords[i];

    k->w = w;
    snprintf(k->self, sizeof(k->self), "c%d:7077", i);
}

void coord_start(struct coord *k)
{
    struct world *w = k->w;
    struct coordinator_config config = {
        .conf = &w->conf,
        .clock = &w->clock,
        .self = k->self,
        .seed = rand_u64(&w->rand),
        .event = on_engine,
        .event_arg = k,
    };

    assert(k->c == NULL && k->registry == NULL);
    k->run_hooks = sim_hooks(k);
    if (w->conf.failover.hook != NULL)
        config.hooks = &k->run_hooks;
    k->registry = memory_open(w->store, TIMEOUT_MS);
    registry_compare(k->registry, k->self, back_remembers(w) ? &k->state : NULL,
                     true);
    fork_seat(w, k->self, k->registry, true);
    k->well_since = w->clock.mono;
    config.registry = k->registry;
    k->c = coordinator_new(&config);
    k->restart_at = k->frozen_until = k->cut_until = 0;
    trace(&w->trace, "START %s", k->self);
}

void coord_call(struct coord *k, struct sim_call *call,
                void (*lost)(struct sim_call *call))
{
    call->k = k;
    call->lost = lost;
    DL_APPEND(k->calls, call);
    k->w->in_flight += !call->renewal;
}

void coord_answered(struct sim_call *call)
{
    assert(call->renewal || call->k->w->in_flight > 0);
    DL_DELETE(call->k->calls, call);
    call->k->w->in_flight -= !call->renewal;
}

void coord_kill(struct coord *k)
{
    struct sim_call *call, *next;

    if (k->c == NULL)
        return;
    trace(&k->w->trace, "KILL %s", k->self);
    coord_note_sessions(k->w);
    memory_kill(&k->registry);
    coordinator_abandon(&k->c);
    sim_hooks_die(k);
    DL_FOREACH_SAFE (k->calls, call, next) {
        coord_answered(call);
        call->lost(call);
    }
    k->restart_at = 0;
}

bool coord_runs(const struct coord *k)
{
    return k->c != NULL && k->frozen_until == 0;
}

void coord_freeze(struct coord *k, int64_t ms)
{
    if (!coord_runs(k))
        return;
    trace(&k->w->trace, "FREEZE %s for %lld ms", k->self, (long long)ms);
    memory_freeze(k->registry);
    k->frozen_since = k->w->clock.mono;
    k->frozen_until = k->w->clock.mono + ms;
}

/* Its loop alone: it writes to a pipe that nobody reads, say. */
void coord_stick(struct coord *k, int64_t ms)
{
    if (!coord_runs(k))
        return;
    trace(&k->w->trace, "STUCK %s for %lld ms", k->self, (long long)ms);
    memory_stick(k->registry);
    k->frozen_since = k->w->clock.mono;
    k->frozen_until = k->w->clock.mono + ms;
}

/* Whoever is stuck or stopped does not keep a lock; nor does a session that
 * stood in the copy of a store that was put back, a timeout after it was. */
void coord_check_locks(struct world *w)
{
    for (int i = 0; i < COORDS; i++) {
        const struct coord *k = &w->coords[i];
        mono_ms since = k->frozen_since > w->back.restored ? k->frozen_since
                                                           : w->back.restored;

        if (k->c == NULL || k->frozen_until == 0 ||
            w->clock.mono - since < 3 * TIMEOUT_MS)
            continue;
        for (int kind = 0; kind < 2; kind++)
            if (registry_session(k->registry) != 0 &&
                memory_lock_holder(w->store, w->check.locks[kind], NULL) ==
                    registry_session(k->registry))
                check_fail(&w->check, "locks-become-free",
                           "%s has not run for %lld ms and holds %s", k->self,
                           (long long)(w->clock.mono - since),
                           w->check.locks[kind]);
    }
}

static void thaw(struct coord *k)
{
    struct sim_call *call, *next;

    trace(&k->w->trace, "THAW %s", k->self);
    memory_thaw(k->registry);
    k->well_since = k->w->clock.mono;
    k->frozen_until = 0;
    DL_FOREACH_SAFE (k->calls, call, next) {
        void (*arrive)(struct sim_call *) = call->arrive;

        call->arrive = NULL;
        if (arrive != NULL)
            arrive(call);
    }
}

/* The registry ends its session: no deadline of its own tells it. */
void coord_expire(struct coord *k)
{
    if (k->c == NULL)
        return;
    trace(&k->w->trace, "EXPIRE %s", k->self);
    k->expired = registry_session(k->registry);
    memory_expire(k->registry);
}

void coord_cut(struct coord *k, int64_t ms)
{
    if (k->c == NULL || k->cut_until != 0)
        return;
    trace(&k->w->trace, "CUT %s for %lld ms", k->self, (long long)ms);
    memory_cut(k->registry);
    k->cut_until = k->w->clock.mono + ms;
}

/* The registry's server that it is connected to loses the others. */
void coord_strand(struct coord *k, int64_t ms)
{
    if (k->c == NULL || k->cut_until != 0)
        return;
    trace(&k->w->trace, "STRAND %s for %lld ms", k->self, (long long)ms);
    memory_strand(k->registry);
    k->cut_until = k->w->clock.mono + ms;
}

static void uncut(struct coord *k)
{
    trace(&k->w->trace, "UNCUT %s", k->self);
    memory_heal(k->registry);
    k->well_since = k->w->clock.mono;
    k->cut_until = 0;
}

void coord_step(struct coord *k)
{
    mono_ms now = k->w->clock.mono;

    if (k->c == NULL) {
        if (k->restart_at != 0 && now >= k->restart_at && back_may_begin(k->w))
            coord_start(k);
        return;
    }
    if (k->cut_until != 0 && now >= k->cut_until)
        uncut(k);
    if (k->frozen_until != 0 && now >= k->frozen_until)
        thaw(k);
    sim_hooks_step(k);
    if (coord_runs(k)) {
        coordinator_tick(k->c);
        k->state = *registry_place(k->registry);
    }
}

void coord_heal(struct coord *k)
{
    if (k->c == NULL) {
        k->restart_at = k->w->clock.mono;
        return;
    }
    if (k->cut_until != 0)
        uncut(k);
    if (k->frozen_until != 0)
        thaw(k);
}

struct coord *coord_any(struct world *w)
{
    uint64_t first = rand_below(&w->rand, COORDS);

    for (uint64_t i = 0; i < COORDS; i++) {
        struct coord *k = &w->coords[(first + i) % COORDS];

        if (coord_runs(k))
            return k;
    }
    return NULL;
}

/* --- whose sessions were whose ------------------------------------------- */

bool coord_is_session(void *arg, uint64_t session)
{
    struct world *w = arg;

    coord_note_sessions(w);
    for (size_t i = 0; i < w->n_sessions; i++)
        if (w->sessions[i] == session)
            return true;
    return false;
}

static void note(struct world *w, uint64_t session)
{
    for (size_t i = w->n_sessions; i > 0; i--)
        if (w->sessions[i - 1] == session)
            return;
    assert(w->n_sessions < CHECK_SESSIONS);
    w->sessions[w->n_sessions++] = session;
}

void coord_note_sessions(struct world *w)
{
    for (int i = 0; i < COORDS; i++) {
        const struct coord *k = &w->coords[i];

        if (k->registry != NULL && registry_session(k->registry) != 0)
            note(w, registry_session(k->registry));
    }
}
