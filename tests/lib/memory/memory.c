/*
 * memory.c - the memory registry as a whole: its time, its faults, and looking
 * into it.
 *
 * Time is a heap of events and moves only in memory_run(). Events of one
 * millisecond run in an order drawn from the seed, except that messages of one
 * connection keep theirs. Nothing reads a clock or another source of chance,
 * so a seed replays a whole cluster.
 */
#include "tests/lib/memory/memory.h"
#include "base/mem.h"
#include "base/planted.h"
#include "tests/lib/memory/memory_priv.h"

#include <string.h>
#include <utlist.h>

/* Ties of what is scheduled afresh lie above this; of what a thawed process
 * finds waiting, below. */
#define TIE_FRESH ((uint64_t)1 << 40)
#define TIE_RANGE ((uint64_t)1 << 30)

/* --- the heap ------------------------------------------------------------ */

static bool before(const struct memory_event *a, const struct memory_event *b)
{
    if (a->due != b->due)
        return a->due < b->due;
    return a->tie != b->tie ? a->tie < b->tie : a->seq < b->seq;
}

static void heap_set(struct memory_store *s, size_t pos, struct memory_event *e)
{
    s->heap[pos] = e;
    e->pos = pos;
}

static void heap_up(struct memory_store *s, size_t pos, struct memory_event *e)
{
    while (pos > 0 && before(e, s->heap[(pos - 1) / 2])) {
        heap_set(s, pos, s->heap[(pos - 1) / 2]);
        pos = (pos - 1) / 2;
    }
    heap_set(s, pos, e);
}

static void heap_down(struct memory_store *s, size_t pos,
                      struct memory_event *e)
{
    for (;;) {
        size_t child = 2 * pos + 1;

        if (child + 1 < s->n_heap && before(s->heap[child + 1], s->heap[child]))
            child++;
        if (child >= s->n_heap || !before(s->heap[child], e))
            break;
        heap_set(s, pos, s->heap[child]);
        pos = child;
    }
    heap_set(s, pos, e);
}

uint64_t memory_tie(struct memory_store *s)
{
    return TIE_FRESH + rand_below(&s->rand, TIE_RANGE);
}

void memory_schedule_tie(struct memory_store *s, struct memory_event *e,
                         mono_ms due, uint64_t tie)
{
    assert(e->where == EVENT_IDLE && e->fn != NULL);
    if (s->n_heap == s->heap_cap) {
        s->heap_cap = s->heap_cap == 0 ? 64 : 2 * s->heap_cap;
        s->heap =
            mem_regrow(s->heap, s->heap_cap, sizeof(struct memory_event *));
    }
    e->due = due;
    e->tie = tie;
    e->seq = ++s->seq;
    e->where = EVENT_HEAP;
    heap_up(s, s->n_heap++, e);
}

void memory_schedule(struct memory_store *s, struct memory_event *e,
                     mono_ms due)
{
    memory_schedule_tie(s, e, due, memory_tie(s));
}

static void heap_remove(struct memory_store *s, struct memory_event *e)
{
    struct memory_event *last = s->heap[--s->n_heap];

    assert(s->heap[e->pos] == e || last == e);
    if (last != e) {
        if (e->pos > 0 && before(last, s->heap[(e->pos - 1) / 2]))
            heap_up(s, e->pos, last);
        else
            heap_down(s, e->pos, last);
    }
    e->where = EVENT_IDLE;
}

void memory_unschedule(struct memory_store *s, struct memory_event *e)
{
    switch (e->where) {
    case EVENT_IDLE:
        break;
    case EVENT_HEAP:
        heap_remove(s, e);
        break;
    case EVENT_FROZEN:
        DL_DELETE(e->process->piled, e);
        e->where = EVENT_IDLE;
        break;
    }
}

/* --- the store ----------------------------------------------------------- */

struct memory_store *memory_store_new(struct clock *clock, uint64_t seed)
{
    struct memory_store *s = mem_zalloc(sizeof(*s));

    assert(clock != NULL);
    s->clock = clock;
    s->side = s->present = &s->sides[0];
    rand_seed(&s->rand, seed);
    return s;
}

static void free_killed(struct memory_store *s)
{
    while (s->killed != NULL)
        memory_client_free_killed(s->killed);
}

void memory_store_free(struct memory_store **s_ptr)
{
    struct memory_store *s = *s_ptr;

    if (s == NULL)
        return;
    *s_ptr = NULL;
    assert(!s->running && s->clients == NULL);
    free_killed(s);
    memory_server_close(s);
    while (s->n_heap > 0) {
        struct memory_event *e = s->heap[s->n_heap - 1];

        heap_remove(s, e);
        assert(e->is_message); /* clients and sessions took theirs along */
        memory_message_free(CONTAINER_OF(e, struct memory_message, event));
    }
    memory_tree_close(&s->sides[0].tree);
    memory_tree_close(&s->sides[1].tree);
    mem_free(s->heap);
    mem_free(s->changes);
    mem_free(s);
}

static void move_clock(struct memory_store *s, mono_ms to)
{
    if (to > s->clock->mono) {
        s->clock->wall += to - s->clock->mono;
        s->clock->mono = to;
    }
}

/* May this process run now? If it is stopped the event waits; if it is dead
 * its timers are dropped (messages to it free themselves). */
static bool run_in(struct memory_client *c, struct memory_event *e)
{
    if (c->dead)
        return e->is_message;
    if (c->stuck && e == &c->beat && planted(PLANTED_RENEWED_BESIDE))
        return true;
    if (c->frozen) {
        e->where = EVENT_FROZEN;
        DL_APPEND(c->piled, e);
        return false;
    }
    return true;
}

size_t memory_run(struct memory_store *s, mono_ms until)
{
    size_t n = 0;

    assert(!s->running);
    free_killed(s);
    while (s->n_heap > 0 && s->heap[0]->due <= until) {
        struct memory_event *e = s->heap[0];

        heap_remove(s, e);
        move_clock(s, e->due);
        if (e->process != NULL && !run_in(e->process, e))
            continue;
        s->running = true;
        e->fn(e);
        s->running = false;
        n++;
    }
    move_clock(s, until);
    return n;
}

mono_ms memory_next(const struct memory_store *s)
{
    return s->n_heap > 0 ? s->heap[0]->due : -1;
}

/* --- faults -------------------------------------------------------------- */

static bool is_share(double share)
{
    return share >= 0.0 && share <= 1.0;
}

void memory_set_faults(struct memory_store *s, const struct memory_faults *f)
{
    struct memory_client *c;

    assert(f->delay_max_ms >= 0 && f->resync_ms >= 0);
    assert(is_share(f->unknown_share) && is_share(f->unavailable_share));
    assert(is_share(f->event_drop_share) && is_share(f->event_dup_share));
    assert(is_share(f->event_late_share));
    /* What is dropped must be found again. */
    assert(f->event_drop_share == 0.0 || f->resync_ms > 0);
    s->faults = *f;
    DL_FOREACH (s->clients, c) {
        memory_unschedule(s, &c->resync);
        if (f->resync_ms > 0)
            memory_schedule(s, &c->resync, s->clock->mono + f->resync_ms);
    }
}

void memory_cut(struct registry *client)
{
    struct memory_client *c = memory_client_of(client);

    if (!c->cut) {
        c->cut = true;
        c->connection++;
    }
}

void memory_heal(struct registry *client)
{
    struct memory_client *c = memory_client_of(client);

    if (c->cut || c->past != NULL) {
        c->cut = false;
        memory_past_unref(c->past);
        c->past = NULL;
        memory_client_reset(c);
    }
}

void memory_strand(struct registry *client)
{
    struct memory_client *c = memory_client_of(client), *other;

    if (c->past != NULL)
        return;
    DL_FOREACH (c->store->clients, other) {
        if (other->past != NULL && other->past->side == c->side &&
            other->past->revision == c->side->revision) {
            c->past = other->past;
            c->past->refs++;
            return;
        }
    }
    c->past = mem_zalloc(sizeof(*c->past));
    c->past->refs = 1;
    c->past->side = c->side;
    c->past->revision = c->side->revision;
    memory_tree_copy(&c->past->tree, &c->side->tree);
}

void memory_past_unref(struct memory_past *past)
{
    if (past != NULL && --past->refs == 0) {
        memory_tree_close(&past->tree);
        mem_free(past);
    }
}

void memory_freeze(struct registry *client)
{
    memory_client_of(client)->frozen = true;
}

void memory_stick(struct registry *client)
{
    memory_client_of(client)->frozen = true;
    memory_client_of(client)->stuck = true;
}

/* Messages keep their order; timers that came due meanwhile run anywhere
 * between them. */
void memory_thaw(struct registry *client)
{
    struct memory_client *c = memory_client_of(client);
    struct memory_store *s = c->store;
    struct memory_event *e, *next;
    uint64_t tie = 0, n = 1;

    if (!c->frozen)
        return;
    c->frozen = c->stuck = false;
    DL_COUNT(c->piled, e, n);
    DL_FOREACH_SAFE (c->piled, e, next) {
        DL_DELETE(c->piled, e);
        e->where = EVENT_IDLE;
        tie += 2;
        memory_schedule_tie(s, e, s->clock->mono,
                            e->is_message ? tie
                                          : rand_below(&s->rand, 2 * n + 2));
    }
}

void memory_expire(struct registry *client)
{
    struct memory_client *c = memory_client_of(client);
    struct memory_side *was = memory_serve(c->store, c->side);
    struct memory_session *session =
        memory_session_find(c->store, c->base.session);

    if (session != NULL)
        memory_session_end(c->store, session);
    (void)memory_serve(c->store, was);
}

void memory_kill(struct registry **client)
{
    struct memory_client *c = memory_client_of(*client);
    struct memory_store *s = c->store;

    *client = NULL;
    assert(!c->dead);
    c->dead = true;
    c->connection++; /* what is on its way to it is lost */
    c->base.mute = true;
    memory_client_stop(c);
    DL_DELETE(s->clients, c);
    DL_APPEND(s->killed, c);
}

/* --- looking in ---------------------------------------------------------- */

const struct registry_entry *memory_find(const struct memory_store *s,
                                         const char *key)
{
    const struct memory_node *node = memory_tree_find(&s->side->tree, key);

    return node == NULL ? NULL : &node->entry;
}

void memory_each(const struct memory_store *s, const char *prefix,
                 memory_each_f *fn, void *arg)
{
    struct memory_pos pos = memory_tree_below(&s->side->tree, prefix);
    struct memory_node *node;

    while ((node = memory_tree_next(&s->side->tree, &pos)) != NULL &&
           registry_key_below(node->text, prefix))
        fn(arg, &node->entry);
}

uint64_t memory_revision(const struct memory_store *s)
{
    return s->side->revision;
}

void memory_on_write(struct memory_store *s, memory_write_f *fn, void *arg)
{
    s->on_write = fn;
    s->on_write_beside = NULL;
    s->on_write_arg = arg;
}

uint64_t memory_lock_holder(const struct memory_store *s, const char *key,
                            uint64_t *fence)
{
    const struct memory_lock *lock;

    DL_FOREACH (s->side->locks, lock) {
        if (strcmp(lock->key, key) == 0 && lock->queue != NULL) {
            if (fence != NULL)
                *fence = lock->queue->fence;
            return lock->queue->session;
        }
    }
    if (fence != NULL)
        *fence = 0;
    return 0;
}
