/*
 * lock.c - the lock, and the hook that runs under it. Design: a hook runs only
 * while the lock is proven to be ours, and the lock is let go only when the
 * hook has ended.
 */
#include "failover/engine/engine_priv.h"

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
    void *part;
    if (!registry_calls_take(arg, &part))
        return;
    struct engine *e = part;
    e->hook = NULL;
    e->hook_done(e, exit_code, tail);
}

static void no_reply_comes(void *part, size_t index,
                           const struct registry_reply *reply)
{
    (void)part;
    (void)index;
    (void)reply;
    assert(false); /* a hook's end does not come from the registry */
}

void engine_hook_run(struct engine *e, int64_t time_ms, hook_ended_f *done)
{
    const struct failover_record *r = failover_record(e->f);
    const struct engine_hooks *h = e->c.hooks;
    assert(r != NULL && h != NULL && e->hook == NULL);
    e->hook = registry_calls_new(&e->calls, no_reply_comes, e, 0);
    e->hook_done = done;
    h->run(h->arg, r, time_ms, proven_until(e), on_hook_ended, e->hook);
}

void engine_hook_tick(struct engine *e)
{
    if (e->hook != NULL)
        e->c.hooks->until(e->c.hooks->arg, e->hook, proven_until(e));
}

/* Nothing of it runs any more: now the lock may be another's. */
static void on_hook_stopped(void *arg)
{
    void *part;
    if (!registry_calls_take(arg, &part))
        return;
    struct engine *e = CONTAINER_OF(part, struct engine, hook_stops);
    e->hook_stops = NULL;
    registry_unlock(&e->hook_lock);
}

/* The hook is not wanted any more, and its lock is kept until it has ended. */
static void hook_stop(struct engine *e)
{
    const struct engine_hooks *h = e->c.hooks;
    struct call *run = e->hook;
    void *part;
    assert(e->hook_stops == NULL && e->hook_lock == NULL);
    e->hook = NULL;
    e->hook_lock = e->lock;
    e->lock = NULL;
    e->hook_stops =
        registry_calls_new(&e->calls, no_reply_comes, &e->hook_stops, 0);
    h->stop(h->arg, run, on_hook_stopped, e->hook_stops);
    (void)registry_calls_take(run, &part);
}

/* The engine goes away: whoever runs hooks has ended them before, or else does
 * it now, and the lock goes first. */
void engine_hook_close(struct engine *e)
{
    const struct engine_hooks *h = e->c.hooks;
    void *part;
    if (e->hook != NULL) {
        h->stop(h->arg, e->hook, NULL, NULL);
        (void)registry_calls_take(e->hook, &part);
        e->hook = NULL;
    }
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
