/*
 * lock.c - the lock, and the hook that runs under it. Design: a hook runs only
 * while the lock is proven to be ours, and the lock is let go only when the
 * hook has ended.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"
#include "base/planted.h"

#define LOCK_WAIT_MS 30000

/* Of the lock that it runs under. */
static mono_ms proven_until(const struct engine *e)
{
    return planted(PLANTED_HOOK_RUNS_ON) ? INT64_MAX
                                         : registry_lock_proven_until(e->lock);
}

static void on_hook_ended(void *arg, int exit_code, const char *tail)
{
    struct hook_run *run = arg;
    struct engine *e = run->e;
    assert(e->lock != NULL);
    assert(e->hook == run);
    MEM_FREE(e->hook);
    e->hook_done(e, exit_code, tail);
}

void engine_hook_run(struct engine *e, int64_t time_ms, hook_ended_f *done)
{
    const struct failover_record *r = failover_record(e->f);
    const struct engine_hooks *h = e->c.hooks;
    assert(r != NULL && h != NULL && e->hook == NULL);
    e->hook = mem_zalloc(sizeof(*e->hook));
    e->hook->e = e;
    e->hook_done = done;
    h->run(h->arg, r, time_ms, proven_until(e), on_hook_ended, e->hook);
}

void engine_hook_tick(struct engine *e)
{
    assert(e->hook == NULL || e->lock != NULL);
    if (e->hook != NULL)
        e->c.hooks->until(e->c.hooks->arg, e->hook, proven_until(e));
}

/* Nothing of it runs any more: now the lock may be another's. */
static void on_hook_stopped(void *arg)
{
    struct hook_run *run = arg;
    struct engine *e = run->e;
    mem_free(run);
    if (e == NULL)
        return;
    assert(e->hook_stops == run && e->hook_lock != NULL);
    e->hook_stops = NULL;
    registry_unlock(&e->hook_lock);
}

/* The hook is not wanted any more, and its lock is kept until it has ended. */
static void hook_stop(struct engine *e)
{
    const struct engine_hooks *h = e->c.hooks;
    assert(e->hook_stops == NULL && e->hook_lock == NULL);
    assert(e->lock != NULL);
    e->hook_stops = e->hook;
    e->hook_lock = e->lock;
    e->hook = NULL;
    e->lock = NULL;
    h->stop(h->arg, e->hook_stops, on_hook_stopped, e->hook_stops);
}

/* The engine goes away: whoever runs hooks has ended them before, or else does
 * it now, and the lock goes first. */
void engine_hook_close(struct engine *e)
{
    const struct engine_hooks *h = e->c.hooks;
    if (e->hook != NULL) {
        h->stop(h->arg, e->hook, NULL, NULL);
        MEM_FREE(e->hook);
    }
    if (e->hook_stops != NULL)
        e->hook_stops->e = NULL;
    registry_unlock(&e->hook_lock);
}

/* --- the lock ------------------------------------------------------------ */

void engine_lock_ask(struct engine *e, registry_granted_f *granted,
                     registry_lost_f *lost)
{
    mono_ms now = e->c.clock->mono;

    assert(e->lock == NULL && e->hook_stops == NULL);
    if (e->lock_since == 0 || now - e->lock_left > LOCK_WAIT_MS)
        e->lock_since = now; /* else it is asked for again */
    e->lock = registry_lock(e->c.registry, e->lock_key, e->owner, LOCK_WAIT_MS,
                            granted, lost, e);
}

void engine_lock_let_go(struct engine *e)
{
    if (e->hook != NULL)
        hook_stop(e);
    if (e->lock != NULL)
        registry_unlock(&e->lock);
    e->lock_left = e->c.clock->mono;
    assert(e->lock == NULL && e->hook == NULL);
}

bool engine_holds_lock(const struct engine *e, uint64_t *fence)
{
    bool held = e->lock != NULL && registry_lock_held(e->lock);
    if (fence != NULL)
        *fence = held ? registry_lock_fence(e->lock) : 0;
    return held;
}

bool engine_waits_for(const struct engine *e, struct registry_lock_wait *out)
{
    if (e->lock == NULL || !registry_lock_waits_for(e->lock, out))
        return false;
    out->since = e->lock_since;
    return true;
}
