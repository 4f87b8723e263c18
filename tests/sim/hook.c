/*
 * hook.c - the hooks of a simulated coordinator.
 *
 * Each has a guard of its own that goes by the deadline it was last told,
 * whether the coordinator runs or not, and ends it when the coordinator dies;
 * the coordinator hears of an end when it runs. While one runs nobody else may
 * have its lock.
 */
#include "tests/sim/world.h"

#include "base/mem.h"
#include "failover/engine/hook.h"

#include <inttypes.h>
#include <utlist.h>

struct sim_hook {
    struct sim_hook *prev, *next;
    enum node_kind kind;
    uint64_t session;    /* that has its lock */
    mono_ms over, until; /* by itself or its timeout; by its guard */
    bool timed_out;
    hook_ended_f *ended;
    void *call; /* NULL: nobody waits for its end */
    void (*stopped)(void *arg);
    void *stop_arg;
};

static void run(void *arg, const struct failover_record *r, int64_t timeout_ms,
                mono_ms until, hook_ended_f *ended, void *call)
{
    struct coord *k = arg;
    struct world *w = k->w;
    struct sim_hook *h = mem_zalloc(sizeof(*h));
    int64_t takes = between(w, 0, 200);

    if (!w->healed && chance(w, 0.3))
        takes = between(w, 0, 3 * TIMEOUT_MS);
    h->kind = r->kind;
    h->session = registry_session(k->registry);
    h->timed_out = takes > timeout_ms;
    h->over = w->clock.mono + (h->timed_out ? timeout_ms : takes);
    h->until = until;
    h->ended = ended;
    h->call = call;
    DL_APPEND(k->hooks, h);
    trace(&w->trace, "%s hook for %s takes %lld ms", k->self, r->address,
          (long long)(h->over - w->clock.mono));
}

static struct sim_hook *find(struct coord *k, const void *call)
{
    struct sim_hook *h;

    DL_SEARCH_SCALAR(k->hooks, h, call, call);
    assert(h != NULL);
    return h;
}

static void until(void *arg, const void *call, mono_ms deadline)
{
    find(arg, call)->until = deadline;
}

static void stop(void *arg, const void *call, void (*stopped)(void *stop_arg),
                 void *stop_arg)
{
    struct coord *k = arg;
    struct sim_hook *h = find(k, call);

    h->call = NULL;
    h->stopped = stopped;
    h->stop_arg = stop_arg;
    if (h->over > k->w->clock.mono)
        h->over = k->w->clock.mono;
}

struct engine_hooks sim_hooks(struct coord *k)
{
    return (struct engine_hooks){run, until, stop, k};
}

/* The coordinator runs and hears of what has ended. */
static void end(struct coord *k, struct sim_hook *h)
{
    bool unproven = h->until < h->over;

    DL_DELETE(k->hooks, h);
    trace(&k->w->trace, "%s hook ended%s", k->self,
          unproven ? ", its lock is not proven" : "");
    if (h->call != NULL)
        h->ended(h->call,
                 unproven       ? HOOK_UNPROVEN
                 : h->timed_out ? HOOK_TIMED_OUT
                                : 0,
                 "");
    else if (h->stopped != NULL)
        h->stopped(h->stop_arg);
    mem_free(h);
}

static void check_lock(struct coord *k, const struct sim_hook *h)
{
    struct world *w = k->w;
    uint64_t holder =
        memory_lock_holder(w->store, w->check.locks[h->kind], NULL);

    /* whom a store in doubt calls the holder believes nothing itself */
    if (w->check.back.doubt)
        return;
    if (h->over > w->clock.mono && h->until > w->clock.mono && holder != 0 &&
        holder != h->session && k->expired != h->session)
        check_fail(&w->check, "hooks-under-their-lock",
                   "%s runs a hook under %s, which %" PRIu64 " has by now",
                   k->self, w->check.locks[h->kind], holder);
}

void sim_hooks_step(struct coord *k)
{
    struct sim_hook *h, *next;

    DL_FOREACH_SAFE (k->hooks, h, next) {
        check_lock(k, h);
        if (coord_runs(k) &&
            (h->over <= k->w->clock.mono || h->until <= k->w->clock.mono))
            end(k, h);
    }
}

/* The coordinator is dead, and its hooks with it. */
void sim_hooks_die(struct coord *k)
{
    struct sim_hook *h, *next;

    DL_FOREACH_SAFE (k->hooks, h, next) {
        DL_DELETE(k->hooks, h);
        mem_free(h);
    }
}
