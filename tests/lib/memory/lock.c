/*
 * lock.c - the server's queues for locks.
 *
 * First come, first served; the head of a queue holds the lock. Fencing
 * numbers come from one counter of the store, so they grow for every lock and
 * survive an empty queue. Requests are idempotent by (session, hold): after a
 * broken connection a client simply asks again.
 */
#include "base/mem.h"
#include "tests/lib/memory/memory_priv.h"

#include <string.h>
#include <utlist.h>

static struct memory_lock *find(const struct memory_store *s, const char *key)
{
    struct memory_lock *lock;

    DL_FOREACH (s->side->locks, lock)
        if (strcmp(lock->key, key) == 0)
            return lock;
    return NULL;
}

static struct memory_lock *find_or_make(struct memory_store *s, const char *key)
{
    struct memory_lock *lock = find(s, key);

    if (lock == NULL) {
        size_t len = strlen(key);

        lock = mem_zalloc(sizeof(*lock) + len + 1);
        memcpy(lock->key, key, len + 1);
        DL_APPEND(s->side->locks, lock);
    }
    return lock;
}

/* Tell a hold's client; nobody, if its process is gone. */
static void tell(struct memory_store *s, const struct memory_waiter *w,
                 enum memory_kind kind)
{
    struct memory_session *session = memory_session_find(s, w->session);
    struct memory_message *m;

    if (session == NULL || session->client == NULL)
        return;
    m = memory_message_new(session->client, kind);
    m->session = w->session;
    m->number = w->hold;
    m->fence = w->fence;
    memory_send_down(m);
}

/* Tell a waiter who has the lock. */
static void tell_holder(struct memory_store *s, const struct memory_lock *lock,
                        const struct memory_waiter *w)
{
    struct memory_session *session = memory_session_find(s, w->session);
    struct memory_message *m;

    if (session == NULL || session->client == NULL)
        return;
    m = memory_message_new(session->client, MEMORY_BEHIND);
    m->session = w->session;
    m->number = w->hold;
    m->revision = lock->queue->session;
    memory_send_down(m);
}

/* The head of the queue holds the lock; an empty queue goes. */
static void advance(struct memory_store *s, struct memory_lock *lock)
{
    const struct memory_waiter *w;

    if (lock->queue == NULL) {
        DL_DELETE(s->side->locks, lock);
        mem_free(lock);
    } else if (lock->queue->fence == 0) {
        lock->queue->fence = ++s->side->last_fence;
        tell(s, lock->queue, MEMORY_GRANTED);
        DL_FOREACH (lock->queue->next, w)
            tell_holder(s, lock, w);
    }
}

void memory_lock_request(struct memory_store *s, struct memory_message *m,
                         struct memory_session *session)
{
    struct memory_lock *lock = find_or_make(s, m->key);
    struct memory_waiter *w;

    DL_FOREACH (lock->queue, w)
        if (w->session == session->id && w->hold == m->number)
            break;
    if (w != NULL) { /* asked again: the answer may have been lost */
        if (w->fence != 0)
            tell(s, w, MEMORY_GRANTED);
        else
            tell_holder(s, lock, w);
    } else if (m->try_once && lock->queue != NULL) {
        const struct memory_waiter nobody = {.session = session->id,
                                             .hold = m->number};

        tell(s, &nobody, MEMORY_REFUSED);
    } else {
        w = mem_zalloc(sizeof(*w));
        w->session = session->id;
        w->hold = m->number;
        DL_APPEND(lock->queue, w);
        advance(s, lock);
        if (w->fence == 0)
            tell_holder(s, lock, w);
    }
    memory_message_free(m);
}

/* Take `w` out; the lock may be gone afterwards. */
static void leave(struct memory_store *s, struct memory_lock *lock,
                  struct memory_waiter *w)
{
    DL_DELETE(lock->queue, w);
    mem_free(w);
    advance(s, lock);
}

void memory_lock_release(struct memory_store *s, struct memory_message *m,
                         struct memory_session *session)
{
    const struct memory_waiter released = {.session = session->id,
                                           .hold = m->number};
    struct memory_lock *lock = find(s, m->key);
    struct memory_waiter *w = NULL;

    if (lock != NULL) {
        DL_FOREACH (lock->queue, w)
            if (w->session == session->id && w->hold == m->number)
                break;
    }
    if (w != NULL)
        leave(s, lock, w);
    tell(s, &released, MEMORY_RELEASED);
    memory_message_free(m);
}

void memory_lock_reap(struct memory_store *s, uint64_t session)
{
    struct memory_lock *lock, *next;
    struct memory_waiter *w, *w_next;

    DL_FOREACH_SAFE (s->side->locks, lock, next) {
        bool left = false;

        DL_FOREACH_SAFE (lock->queue, w, w_next) {
            if (w->session == session) {
                DL_DELETE(lock->queue, w);
                mem_free(w);
                left = true;
            }
        }
        if (left)
            advance(s, lock);
    }
}

bool memory_lock_is(const struct memory_store *s, const char *key,
                    uint64_t session, uint64_t fence)
{
    const struct memory_lock *lock = find(s, key);

    return lock != NULL && fence != 0 && lock->queue->session == session &&
           lock->queue->fence == fence;
}
