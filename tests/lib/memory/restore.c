/*
 * restore.c - a store put back to what it was: as if the server had been
 * stopped, its data replaced by an older copy, and started again.
 *
 * All connections break and what was on its way up is lost; answers that had
 * left may still arrive. Sessions of the copy stand, with their whole timeout
 * again: those whose clients have them still are theirs, the others run out.
 * Counters (revision, fencing numbers) go on from the copy, so that numbers are
 * given twice; those of sessions are not, as real ones are drawn.
 */
#include "base/mem.h"
#include "tests/lib/memory/memory_priv.h"

#include <string.h>
#include <utlist.h>

struct kept_session {
    uint64_t id;
    int64_t timeout_ms;
    size_t ephemerals;
};

struct memory_backup {
    struct memory_tree tree;
    uint64_t revision, last_fence;
    struct kept_session *sessions;
    size_t n_sessions;
    struct memory_lock *locks;
};

/* --- locks --------------------------------------------------------------- */

static void locks_copy(struct memory_lock **to, const struct memory_lock *from)
{
    const struct memory_lock *l;

    DL_FOREACH (from, l) {
        size_t len = strlen(l->key);
        struct memory_lock *copy = mem_zalloc(sizeof(*copy) + len + 1);
        const struct memory_waiter *w;

        memcpy(copy->key, l->key, len + 1);
        DL_FOREACH (l->queue, w) {
            struct memory_waiter *place = mem_alloc(sizeof(*place));

            *place = *w;
            DL_APPEND(copy->queue, place);
        }
        DL_APPEND(*to, copy);
    }
}

static void locks_free(struct memory_lock **locks)
{
    struct memory_lock *l;
    struct memory_waiter *w;

    while ((l = *locks) != NULL) {
        while ((w = l->queue) != NULL) {
            DL_DELETE(l->queue, w);
            mem_free(w);
        }
        DL_DELETE(*locks, l);
        mem_free(l);
    }
}

/* --- the copy ------------------------------------------------------------ */

struct memory_backup *memory_backup(const struct memory_store *s)
{
    struct memory_backup *b = mem_zalloc(sizeof(*b));
    const struct memory_session *session;
    size_t n;

    memory_tree_copy(&b->tree, &s->side->tree);
    b->revision = s->side->revision;
    b->last_fence = s->side->last_fence;
    DL_COUNT(s->side->sessions, session, n);
    b->sessions = mem_zalloc((n + 1) * sizeof(*b->sessions));
    DL_FOREACH (s->side->sessions, session) {
        b->sessions[b->n_sessions++] =
            (struct kept_session){.id = session->id,
                                  .timeout_ms = session->timeout_ms,
                                  .ephemerals = session->ephemerals};
    }
    locks_copy(&b->locks, s->side->locks);
    return b;
}

void memory_backup_free(struct memory_backup **b_ptr)
{
    struct memory_backup *b = *b_ptr;

    if (b != NULL) {
        *b_ptr = NULL;
        memory_tree_close(&b->tree);
        locks_free(&b->locks);
        mem_free(b->sessions);
        mem_free(b);
    }
}

/* --- back ---------------------------------------------------------------- */

/* Of the sessions that stand now: whose client goes on in one of the copy. */
static struct memory_client *client_of(const struct memory_store *s,
                                       uint64_t session)
{
    struct memory_client *c;

    DL_FOREACH (s->clients, c)
        if (c->base.session == session)
            return c;
    return NULL;
}

static void restore_sessions(struct memory_store *s,
                             const struct memory_backup *b)
{
    struct memory_session *now = s->side->sessions, *session, *next;

    s->side->sessions = NULL;
    for (size_t i = 0; i < b->n_sessions; i++) {
        session = memory_session_new(s, b->sessions[i].id,
                                     client_of(s, b->sessions[i].id),
                                     b->sessions[i].timeout_ms);
        session->ephemerals = b->sessions[i].ephemerals;
    }
    DL_FOREACH_SAFE (now, session, next) {
        DL_DELETE(now, session);
        memory_unschedule(s, &session->expiry);
        mem_free(session); /* its client learns it when it asks */
    }
}

void memory_restore(struct memory_store *s, const struct memory_backup *b)
{
    struct memory_subscription *sub;
    struct memory_client *c;

    assert(s->n_changes == 0);
    s->side->generation++;
    memory_tree_close(&s->side->tree);
    memory_tree_copy(&s->side->tree, &b->tree);
    s->side->revision = b->revision;
    s->side->last_fence = b->last_fence;
    locks_free(&s->side->locks);
    locks_copy(&s->side->locks, b->locks);
    restore_sessions(s, b);
    while ((sub = s->side->subscriptions) != NULL) {
        DL_DELETE(s->side->subscriptions, sub);
        mem_free(sub);
    }
    DL_FOREACH (s->clients, c) {
        if (!c->cut) {
            memory_cut(&c->base);
            memory_heal(&c->base);
        }
    }
}

void memory_lift(struct memory_store *s, uint64_t revision)
{
    assert(revision >= s->side->revision);
    s->side->revision = revision;
}
