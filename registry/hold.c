/*
 * hold.c - locks: many handles of one owner share one place in the queue.
 *
 * A `hold` is what the backend queues: one per (key, owner) in a session. A
 * `registry_lock` is what callers have: it waits with a deadline of its own.
 * Re-entrance, giving up, and telling each handle once are done here, so that
 * a backend knows only lock(hold) and unlock(hold).
 *
 *   PENDING --session--> WAITING --granted--> HELD --last handle--> LEAVING
 *                           |  refused, last handle gone, lost ------^   |
 *                                                                  GONE <+
 *
 * A hold that begins to leave is never found again: the same owner queues anew
 * behind it.
 */
#include "base/mem.h"
#include "registry/registry_priv.h"

#include <string.h>
#include <utlist.h>

#define OWNER_MAX 128

struct registry_lock {
    struct registry *r;
    struct registry_lock *prev, *next;
    struct registry_hold *hold; /* NULL: dead, or never queued */
    enum { LOCK_WAITING, LOCK_HELD, LOCK_DEAD } state;
    uint64_t id;
    bool try_once;
    uint64_t fence, native;
    mono_ms since;         /* when it was asked for */
    enum err_code refusal; /* what `due` says if it is not held by then */
    struct registry_timer due;
    registry_granted_f *granted;
    registry_lost_f *lost;
    void *arg;
};

/* --- holds --------------------------------------------------------------- */

static bool hold_live(const struct registry_hold *h)
{
    return h->state == HOLD_PENDING || h->state == HOLD_WAITING ||
           h->state == HOLD_HELD;
}

static struct registry_hold *hold_find(struct registry *r, const char *key,
                                       const char *owner)
{
    struct registry_hold *h;

    DL_FOREACH (r->holds, h)
        if (hold_live(h) && strcmp(h->key, key) == 0 &&
            strcmp(h->owner, owner) == 0)
            return h;
    return NULL;
}

static void hold_begin(struct registry_hold *h)
{
    struct registry *r = h->r;

    assert(r->ready);
    assert(!r->closing);
    assert(hold_live(h));
    h->state = HOLD_WAITING;
    h->session = r->session;
    r->ops->lock(r, h);
}

static struct registry_hold *hold_new(struct registry *r, const char *key,
                                      const char *owner, bool try_once)
{
    struct registry_hold *h = mem_zalloc(sizeof(*h));

    assert(owner[0] != '\0');
    h->r = r;
    h->key = mem_strdup(key);
    h->owner = mem_strdup(owner);
    h->id = ++r->last_id;
    h->try_once = try_once;
    h->priv = mem_zalloc(r->ops->hold_size);
    DL_APPEND(r->holds, h);
    return h;
}

/* Tell the backend that no handle is left; `known` if it was told of the hold.
 * While the registry closes, its session ends all of them. */
static void hold_leave(struct registry_hold *h, bool known)
{
    assert(h->state != HOLD_GONE);
    assert(h->n_locks == 0);
    h->state = HOLD_LEAVING;
    if (h->r->closing)
        return;
    if (known)
        h->r->ops->unlock(h->r, h);
    else
        registry_hold_gone(h);
}

static void hold_leave_if_unused(struct registry_hold *h)
{
    if (h != NULL && h->n_locks == 0 && hold_live(h))
        hold_leave(h, h->state != HOLD_PENDING);
}

void registry_hold_gone(struct registry_hold *h)
{
    assert(h->state == HOLD_LEAVING);
    assert(h->n_locks == 0);
    h->state = HOLD_GONE;
    DL_DELETE(h->r->holds, h);
    DL_APPEND(h->r->dead_holds, h);
    registry_free_later(h->r);
}

void registry_holds_free(struct registry_hold **list)
{
    struct registry_hold *h, *next;

    DL_FOREACH_SAFE (*list, h, next) {
        assert(h->n_locks == 0);
        DL_DELETE(*list, h);
        mem_free(h->key);
        mem_free(h->owner);
        mem_free(h->holder);
        mem_free(h->priv);
        mem_free(h);
    }
}

/* --- telling the handles ------------------------------------------------- */

static void lock_detach(struct registry_lock *l)
{
    if (l->hold != NULL) {
        assert(l->hold->n_locks > 0);
        l->hold->n_locks--;
        l->hold = NULL;
    }
    registry_timer_stop(&l->due);
}

/* The handle is dead after this; its owner may free it in the callback. */
static void lock_refuse(struct registry_lock *l, enum err_code code)
{
    assert(code != ERR_OK);
    assert(l->state == LOCK_WAITING);
    lock_detach(l);
    l->state = LOCK_DEAD;
    if (!l->r->mute)
        l->granted(l->arg, code);
}

static void lock_grant(struct registry_lock *l)
{
    assert(l->state == LOCK_WAITING);
    assert(l->hold->state == HOLD_HELD);
    registry_timer_stop(&l->due);
    l->state = LOCK_HELD;
    l->native = l->hold->fence;
    assert(l->native != 0);
    l->fence = l->native + l->r->fence_base;
    if (!l->r->mute && !l->r->closing)
        l->granted(l->arg, ERR_OK);
}

enum which { ANY, WAITING, TRYING }; /* each is among those before */

/* Callbacks change the list of handles, so every walk begins anew at its head:
 * the first handle of `h` (NULL: of any), not younger than `last`. Owners have
 * few. */
static struct registry_lock *lock_find(const struct registry *r,
                                       const struct registry_hold *h,
                                       uint64_t last, enum which which)
{
    struct registry_lock *l;

    DL_FOREACH (r->locks, l)
        if ((h == NULL || l->hold == h) && l->id <= last &&
            (which == ANY || l->state == LOCK_WAITING) &&
            (which != TRYING || l->try_once))
            return l;
    return NULL;
}

/* `h` is over for all its handles. It leaves first, so that whoever is called
 * finds none of them held and queues anew. */
static void hold_lose(struct registry_hold *h, enum err_code code)
{
    struct registry_lock *l;

    assert(code != ERR_OK);
    assert(h->state == HOLD_WAITING || h->state == HOLD_HELD);
    h->state = HOLD_LEAVING;
    while ((l = lock_find(h->r, h, UINT64_MAX, ANY)) != NULL) {
        if (l->state == LOCK_WAITING) {
            lock_refuse(l, code);
            continue;
        }
        lock_detach(l);
        l->state = LOCK_DEAD;
        if (l->lost != NULL && !l->r->mute && !l->r->closing)
            l->lost(l->arg);
    }
    hold_leave(h, true);
}

/* --- what backends say --------------------------------------------------- */

void registry_hold_granted(struct registry_hold *h, uint64_t fence)
{
    uint64_t last = h->r->last_id;
    struct registry_lock *l;

    assert(fence != 0);
    if (h->state != HOLD_WAITING || h->r->closing)
        return;
    assert(h->session == h->r->session);
    h->state = HOLD_HELD;
    h->fence = fence;
    while ((l = lock_find(h->r, h, last, WAITING)) != NULL)
        lock_grant(l);
}

void registry_hold_refused(struct registry_hold *h, enum err_code code)
{
    uint64_t last = h->r->last_id;
    struct registry_lock *l;

    assert(code != ERR_OK);
    assert(code != ERR_TIMEOUT || h->try_once);
    if (h->state != HOLD_WAITING || h->r->closing)
        return;
    if (code != ERR_TIMEOUT) {
        hold_lose(h, code);
        return;
    }
    /* Others may have joined that are ready to wait: for them it queues. */
    while ((l = lock_find(h->r, h, last, TRYING)) != NULL) {
        bool last_one = h->n_locks == 1;

        if (last_one) { /* leave before it is told */
            lock_detach(l);
            hold_leave(h, true);
        }
        lock_refuse(l, ERR_TIMEOUT);
        if (last_one)
            return;
    }
    if (h->state == HOLD_WAITING && !h->r->closing) {
        h->try_once = false;
        hold_begin(h);
    }
}

void registry_hold_waits(struct registry_hold *h, const char *holder)
{
    char text[OWNER_MAX + 1] = "";

    for (size_t i = 0; holder != NULL && i < OWNER_MAX && holder[i]; i++)
        text[i] = holder[i] >= ' ' && holder[i] <= '~' ? holder[i] : '?';
    if (h->holder == NULL || strcmp(text, h->holder) != 0) {
        mem_free(h->holder);
        h->holder = mem_strdup(text);
    }
}

void registry_hold_lost(struct registry_hold *h)
{
    if (h->state == HOLD_HELD && !h->r->closing)
        hold_lose(h, ERR_SESSION_LOST);
}

void registry_holds_disconnected(struct registry *r)
{
    struct registry_hold *h = r->holds;

    assert(!r->ready);
    /* Callbacks may add holds; those wait for the next session. */
    while (h != NULL && !r->closing) {
        bool known = h->state == HOLD_WAITING || h->state == HOLD_HELD;

        if (known)
            hold_lose(h, ERR_SESSION_LOST);
        h = known ? r->holds : h->next;
    }
}

void registry_holds_connected(struct registry *r)
{
    struct registry_hold *h;

    assert(r->ready);
    DL_FOREACH (r->holds, h)
        if (h->state == HOLD_PENDING)
            hold_begin(h);
}

/* --- handles ------------------------------------------------------------- */

/* A waiter's time is over, or the answer that was known at once is due. */
static void lock_due(void *arg)
{
    struct registry_lock *l = arg;
    struct registry_hold *h = l->hold;

    assert(l->state == LOCK_WAITING);
    if (h != NULL && h->state == HOLD_HELD) {
        lock_grant(l);
        return;
    }
    lock_detach(l);
    hold_leave_if_unused(h);
    lock_refuse(l, l->refusal);
}

static enum err_code check_lock(const char *key, const char *owner)
{
    enum err_code code = (enum err_code)registry_check_key(key, NULL);

    if (code != ERR_OK)
        return code;
    return owner[0] == '\0'            ? ERR_INVALID
           : strlen(owner) > OWNER_MAX ? ERR_TOO_LARGE
                                       : ERR_OK;
}

/* Find or make the hold; how long until `due`, negative for never. */
static int64_t lock_join(struct registry_lock *l, const char *key,
                         const char *owner, int64_t timeout_ms)
{
    struct registry *r = l->r;
    struct registry_hold *h = hold_find(r, key, owner);
    bool joined = h != NULL;

    assert(l->hold == NULL);
    if (h == NULL && l->try_once && !r->ready)
        return 0;
    if (h == NULL)
        h = hold_new(r, key, owner, l->try_once);
    l->hold = h;
    h->n_locks++;
    if (!joined && r->ready)
        hold_begin(h);
    if (joined && (h->state == HOLD_HELD || l->try_once))
        return 0;
    return l->try_once ? -1 : timeout_ms; /* a try is answered by the backend */
}

struct registry_lock *registry_lock(struct registry *r, const char *key,
                                    const char *owner, int64_t timeout_ms,
                                    registry_granted_f *granted,
                                    registry_lost_f *lost, void *arg)
{
    struct registry_lock *l = mem_zalloc(sizeof(*l));
    int64_t due = 0;

    assert(granted != NULL);
    assert(!r->closing);
    l->r = r;
    l->id = ++r->last_id;
    l->granted = granted;
    l->lost = lost;
    l->arg = arg;
    l->since = r->clock->mono;
    l->try_once = timeout_ms == 0;
    DL_APPEND(r->locks, l);
    l->refusal = check_lock(key, owner);
    if (l->refusal == ERR_OK) {
        l->refusal = ERR_TIMEOUT;
        due = lock_join(l, key, owner, timeout_ms);
    }
    if (due >= 0)
        registry_timer_start(r, &l->due, due, lock_due, l);
    return l;
}

static void lock_free(struct registry_lock *l)
{
    lock_detach(l);
    assert(l->due.impl == NULL);
    DL_DELETE(l->r->locks, l);
    mem_free(l);
}

void registry_unlock(struct registry_lock **l_ptr)
{
    struct registry_lock *l = *l_ptr;
    struct registry_hold *h;

    if (l == NULL)
        return;
    *l_ptr = NULL;
    h = l->hold;
    lock_free(l);
    hold_leave_if_unused(h);
}

bool registry_lock_held(const struct registry_lock *l)
{
    return l->state == LOCK_HELD && l->hold != NULL &&
           l->hold->state == HOLD_HELD && !l->r->closing &&
           l->hold->session == l->r->session;
}

mono_ms registry_lock_proven_until(const struct registry_lock *l)
{
    const struct registry *r = l->r;
    mono_ms until = r->answered + r->session_timeout_ms * 2 / 3;
    mono_ms least = r->counted + r->session_timeout_ms * 5 / 6;

    until = until < least ? until : least; /* a sixth is left in any case */
    if (!registry_lock_held(l))
        return 0;
    return l->hold->proven_until != 0 && l->hold->proven_until < until
               ? l->hold->proven_until
               : until;
}

uint64_t registry_lock_fence(const struct registry_lock *l)
{
    return l->fence;
}

bool registry_lock_waits_for(const struct registry_lock *l,
                             struct registry_lock_wait *out)
{
    bool waits = l->state == LOCK_WAITING && !l->r->closing;

    *out = (struct registry_lock_wait){.holder = "", .since = l->since};
    if (waits && l->hold != NULL && l->hold->state == HOLD_WAITING &&
        l->hold->holder != NULL)
        out->holder = l->hold->holder;
    return waits;
}

bool registry_lock_check(const struct registry_lock *l,
                         struct registry_op *check)
{
    assert(check->type == REGISTRY_CHECK_LOCK);
    assert(check->lock == l);
    check->key = l->hold != NULL ? l->hold->key : "";
    check->version = l->native;
    check->lock = NULL;
    return registry_lock_held(l);
}

void registry_locks_cancel(struct registry *r)
{
    struct registry_lock *l;

    assert(r->closing);
    while ((l = lock_find(r, NULL, UINT64_MAX, WAITING)) != NULL)
        lock_refuse(l, ERR_CANCELLED);
}

void registry_locks_free(struct registry *r)
{
    struct registry_lock *l, *next;

    DL_FOREACH_SAFE (r->locks, l, next)
        lock_free(l);
    registry_holds_free(&r->holds);
    assert(r->locks == NULL);
    assert(r->holds == NULL);
}
