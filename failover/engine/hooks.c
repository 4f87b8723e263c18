/*
 * hooks.c - the hook under the lock. Design: it runs only while the lock
 * is proven to be ours, and the lock is let go only when it has ended.
 */
#include "failover/engine/engine_priv.h"

#include "base/planted.h"

/* Of the lock that it runs under. */
static mono_ms proven_until(const struct engine *e)
{
    return planted(PLANTED_HOOK_RUNS_ON) ? INT64_MAX
                                         : registry_lock_proven_until(e->lock);
}

static void on_hook_ended(void *arg, int exit_code, const char *tail)
{
    void *part;
    if (!call_take(arg, &part))
        return;
    struct engine *e = part;
    bool unproven = exit_code < 0;
    struct failover_event ev =
        engine_event_of(e, unproven ? FAILOVER_LOST : FAILOVER_HOOKED);
    e->hook = NULL;
    /* ended for its lock, which we may still have: it did not run */
    ev.code = unproven ? ERR_SESSION_LOST : ERR_OK;
    ev.hook_exit = exit_code;
    ev.hook_tail = tail;
    engine_feed(e, ev);
}

static void never(void *part, size_t index, const struct registry_reply *reply)
{
    (void)part;
    (void)index;
    (void)reply;
    assert(false); /* a hook's end does not come from the registry */
}

void engine_hook_run(struct engine *e, int64_t time_ms)
{
    const struct failover_record *r = failover_record(e->f);
    const struct engine_hooks *h = e->c.hooks;
    assert(r != NULL && h != NULL && e->hook == NULL);
    e->hook = call_new(&e->calls, never, e, 0);
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
    if (!call_take(arg, &part))
        return;
    struct engine *e = CONTAINER_OF(part, struct engine, hook_stops);
    e->hook_stops = NULL;
    registry_unlock(&e->hook_lock);
}

/* The hook is not wanted any more, and its lock is kept until it has ended. */
void engine_hook_stop(struct engine *e)
{
    const struct engine_hooks *h = e->c.hooks;
    struct call *run = e->hook;
    void *part;
    assert(e->hook_stops == NULL && e->hook_lock == NULL);
    e->hook = NULL;
    e->hook_lock = e->lock;
    e->lock = NULL;
    e->hook_stops = call_new(&e->calls, never, &e->hook_stops, 0);
    h->stop(h->arg, run, on_hook_stopped, e->hook_stops);
    (void)call_take(run, &part);
}

/* The engine goes away: whoever runs hooks has ended them before, or else does
 * it now, and the lock goes first. */
void engine_hook_close(struct engine *e)
{
    const struct engine_hooks *h = e->c.hooks;
    void *part;
    if (e->hook != NULL) {
        h->stop(h->arg, e->hook, NULL, NULL);
        (void)call_take(e->hook, &part);
        e->hook = NULL;
    }
    registry_unlock(&e->hook_lock);
}
