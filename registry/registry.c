/*
 * registry.c - the half of a registry that is the same on every backend.
 *
 * Arguments are checked and copied once, here, into a `struct registry_call`
 * that lives until it is answered; a backend never sees a malformed one. What
 * fails here is answered through a timer, so that no completion comes before
 * its call has returned.
 */
#include "base/mem.h"
#include "registry/registry_priv.h"

#include <string.h>
#include <utlist.h>

#define PROVE_MS 250

/* --- timers -------------------------------------------------------------- */

void registry_timer_start(struct registry *r, struct registry_timer *t,
                          int64_t delay_ms, loop_f *fn, void *arg)
{
    assert(fn != NULL);
    assert(t->impl == NULL);
    assert(delay_ms >= 0);
    t->r = r;
    t->fn = fn;
    t->arg = arg;
    if (r->ops->timer_start != NULL)
        r->ops->timer_start(r, t, delay_ms);
    else
        t->impl = loop_timer(r->loop, delay_ms, 0, registry_timer_fire, t);
    assert(t->impl != NULL);
}

void registry_timer_stop(struct registry_timer *t)
{
    struct loop_timer *timer = t->impl;

    if (timer == NULL)
        return;
    assert(t->fn != NULL);
    if (t->r->ops->timer_stop != NULL)
        t->r->ops->timer_stop(t->r, t);
    else
        loop_timer_stop(&timer);
    t->impl = NULL;
}

void registry_timer_fire(void *timer)
{
    struct registry_timer *t = timer;

    assert(t->impl != NULL);
    registry_timer_stop(t);
    t->fn(t->arg);
}

/* --- the base ------------------------------------------------------------ */

void registry_init(struct registry *r, const struct registry_ops *ops,
                   struct loop *loop, int64_t session_timeout_ms,
                   size_t max_ops, size_t max_bytes)
{
    assert(loop != NULL || ops->timer_start != NULL);
    assert((ops->timer_start == NULL) == (ops->timer_stop == NULL));
    assert(session_timeout_ms > 0);
    assert(max_ops > 0);
    assert(max_bytes > 0);
    memset(r, 0, sizeof(*r));
    r->ops = ops;
    r->loop = loop;
    r->clock = loop != NULL ? loop_clock(loop) : NULL;
    r->session_timeout_ms = session_timeout_ms;
    r->max_ops = max_ops;
    r->max_bytes = max_bytes;
    r->state = REGISTRY_DISCONNECTED;
}

void registry_session_ready(struct registry *r)
{
    uint64_t session = r->session;

    assert(session != 0);
    assert(!r->ready);
    assert(!r->closing);
    r->ready = true;
    r->state = REGISTRY_CONNECTED;
    registry_holds_connected(r);
    registry_listeners_tell(r, REGISTRY_CONNECTED);
    if (r->ready && r->session == session && !r->closing && !r->mute)
        r->ops->look(r);
}

void registry_session_lost(struct registry *r)
{
    assert(r->ready);
    r->ready = false;
    r->state = REGISTRY_DISCONNECTED;
    registry_holds_disconnected(r);
    registry_listeners_tell(r, REGISTRY_DISCONNECTED);
    if (registry_went_back(r) != NULL)
        registry_set_state(r, REGISTRY_WENT_BACK);
}

void registry_set_state(struct registry *r, enum registry_state state)
{
    assert(state != REGISTRY_CONNECTED);
    if (r->closing || r->mute)
        return;
    if (state == REGISTRY_DISCONNECTED) {
        r->session = 0;
        registry_history_lost(r);
        if (r->ready)
            registry_session_lost(r);
        return;
    }
    /* What becomes of a session that is not for them is not told to those
     * above; nor the end of a break that began before it was. */
    if (state == r->state || r->ready == (state == REGISTRY_WENT_BACK) ||
        (state == REGISTRY_RECONNECTED && r->state != REGISTRY_SUSPENDED))
        return;
    assert(!r->ready || r->session != 0);
    r->state = state;
    registry_listeners_tell(r, state);
}

static void free_ended(void *arg)
{
    struct registry *r = arg;

    assert(r->free_timer.impl == NULL);
    registry_watches_free(&r->dead_watches);
    registry_holds_free(&r->dead_holds);
    assert(r->dead_watches == NULL);
    assert(r->dead_holds == NULL);
}

void registry_free_later(struct registry *r)
{
    if (r->free_timer.impl == NULL)
        registry_timer_start(r, &r->free_timer, 0, free_ended, r);
    assert(r->free_timer.impl != NULL);
}

/* Free what the base holds. No callback. */
static void dispose(struct registry *r)
{
    struct registry_listener *l;

    assert(r->calls == NULL);
    assert(r->telling == 0);
    registry_timer_stop(&r->free_timer);
    registry_history_free(r);
    registry_troubles_free(r);
    free_ended(r);
    registry_locks_free(r);
    registry_watches_free(&r->watches);
    while ((l = r->listeners) != NULL)
        registry_unlisten(&l);
    assert(r->listeners == NULL);
}

void registry_closed(struct registry *r)
{
    static const struct registry_reply cancelled = {
        .err = {.code = ERR_CANCELLED, .msg = "the registry was closed"},
        .failed_op = SIZE_MAX};
    registry_closed_f *closed = r->closed;
    void *arg = r->closed_arg;

    assert(r->closing);
    assert(!r->mute);
    while (r->calls != NULL) {
        struct registry_call *call = r->calls;

        if (call->refusal != NULL) /* its own answer was only not due yet */
            registry_timer_fire(&call->timer);
        else
            registry_call_done(call, &cancelled);
    }
    registry_locks_cancel(r);
    if (closed != NULL)
        closed(arg);
    dispose(r);
    r->ops->free(r);
}

void registry_abandon(struct registry *r)
{
    static const struct registry_reply nothing = {.failed_op = SIZE_MAX};

    r->mute = true;
    while (r->calls != NULL)
        registry_call_done(r->calls, &nothing);
    dispose(r);
}

void registry_close(struct registry **r_ptr, registry_closed_f *closed,
                    void *arg)
{
    struct registry *r = *r_ptr;

    if (r == NULL)
        return;
    *r_ptr = NULL;
    if (r->mute)
        return; /* its process is gone: there is nobody to say goodbye */
    assert(!r->closing);
    r->closing = true;
    r->closed = closed;
    r->closed_arg = arg;
    r->ops->close(r);
}

const char *registry_backend_name(const struct registry *r)
{
    return r->ops->name;
}

uint64_t registry_first_version(const struct registry *r)
{
    return r->first_version;
}

size_t registry_max_ops(const struct registry *r)
{
    return r->max_ops;
}

size_t registry_max_bytes(const struct registry *r)
{
    return r->max_bytes;
}

int64_t registry_session_timeout(const struct registry *r)
{
    return r->session_timeout_ms;
}

uint64_t registry_session(const struct registry *r)
{
    return r->ready ? r->session : 0;
}

uint64_t registry_revision(const struct registry *r)
{
    return r->revision;
}

void registry_record_answer(struct registry *r, mono_ms sent)
{
    if (sent > r->answered) {
        r->answered = sent;
        registry_troubles_heal(r);
    }
    assert(r->answered >= sent);
}

void registry_record_renewal(struct registry *r, mono_ms from)
{
    if (from > r->counted)
        r->counted = from;
    assert(r->counted >= from);
}

mono_ms registry_session_until(const struct registry *r)
{
    return !r->ready ? 0 : r->counted + r->session_timeout_ms;
}

mono_ms registry_answered(const struct registry *r)
{
    return r->answered;
}

void registry_prove(struct registry *r)
{
    mono_ms now = r->clock->mono;

    if (!r->ready || r->closing || r->mute)
        return;
    /* The one before has no answer yet: it may be lost, and is not repeated at
     * every turn. */
    if (r->answered < r->proved && now - r->proved < PROVE_MS)
        return;
    assert(r->session != 0);
    r->proved = now;
    r->ops->prove(r);
}

enum registry_state registry_state(const struct registry *r)
{
    return r->state;
}

/* --- listeners ----------------------------------------------------------- */

struct registry_listener {
    struct registry *r;
    struct registry_listener *prev, *next;
    registry_state_f *fn; /* NULL: ended during a walk */
    void *arg;
    struct registry_timer first; /* tells the state it found */
    uint64_t id;
};

const char *registry_state_name(enum registry_state state)
{
    static const char *const names[] = {
        [REGISTRY_CONNECTED] = "connected",
        [REGISTRY_SUSPENDED] = "suspended",
        [REGISTRY_RECONNECTED] = "reconnected",
        [REGISTRY_DISCONNECTED] = "disconnected",
        [REGISTRY_WENT_BACK] = "went_back",
    };

    assert((size_t)state < ARRAY_LEN(names));
    return names[state];
}

static void listener_free(struct registry_listener *l)
{
    assert(l->r->telling == 0);
    registry_timer_stop(&l->first);
    DL_DELETE(l->r->listeners, l);
    mem_free(l);
}

static void listener_first(void *arg)
{
    struct registry_listener *l = arg;

    assert(l->fn != NULL);
    if (!l->r->closing)
        l->fn(l->arg, l->r->state);
}

void registry_listeners_tell(struct registry *r, enum registry_state state)
{
    struct registry_listener *l, *next;
    uint64_t last = r->last_id;

    r->telling++;
    DL_FOREACH (r->listeners, l) {
        /* A callback may have changed the state again; it was told then. */
        if (r->mute || r->closing || r->state != state || l->id > last)
            break;
        if (l->fn != NULL) {
            registry_timer_stop(&l->first);
            l->fn(l->arg, state);
        }
    }
    if (--r->telling > 0)
        return;
    DL_FOREACH_SAFE (r->listeners, l, next)
        if (l->fn == NULL)
            listener_free(l);
}

struct registry_listener *registry_listen(struct registry *r,
                                          registry_state_f *fn, void *arg)
{
    struct registry_listener *l = mem_zalloc(sizeof(*l));

    assert(fn != NULL);
    assert(!r->closing);
    l->r = r;
    l->fn = fn;
    l->arg = arg;
    l->id = ++r->last_id;
    DL_APPEND(r->listeners, l);
    if (r->state != REGISTRY_DISCONNECTED)
        registry_timer_start(r, &l->first, 0, listener_first, l);
    return l;
}

void registry_unlisten(struct registry_listener **l_ptr)
{
    struct registry_listener *l = *l_ptr;

    if (l == NULL)
        return;
    *l_ptr = NULL;
    assert(l->fn != NULL);
    if (l->r->telling > 0) {
        registry_timer_stop(&l->first);
        l->fn = NULL;
    } else {
        listener_free(l);
    }
}
