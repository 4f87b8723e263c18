/*
 * late.c - a queue of events that wait, in order, as bytes.
 *
 * Ten thousand workers have twenty thousand reports wait at any time, so each
 * is written as short as it can be, and they lie one behind the other in
 * chunks, which are freed as a whole: no block of malloc's for each of them,
 * nor the holes that those would leave.
 */
#include "balancer/second/second_priv.h"

#include <string.h>

#define CHUNK ((size_t)64 * 1024 - 64) /* bytes, with what malloc adds */

struct late_chunk {
    struct late_chunk *next;
    size_t at, end, size; /* of data: the first that waits, behind the last */
    max_align_t data[];
};

static struct late *late_at(struct late_chunk *c, size_t at)
{
    assert(at % _Alignof(struct late) == 0);
    return (struct late *)(void *)((char *)c->data + at);
}

static size_t room_of(size_t len)
{
    size_t align = _Alignof(struct late);

    return (sizeof(struct late) + len + align - 1) / align * align;
}

static struct late_chunk *chunk_add(struct late_queue *q, size_t needed)
{
    size_t size = CHUNK - sizeof(struct late_chunk);
    struct late_chunk *c;

    if (size < needed)
        size = needed;
    c = mem_alloc(sizeof(*c) + size);
    *c = (struct late_chunk){.size = size};
    if (q->last != NULL)
        q->last->next = c;
    else
        q->first = c;
    q->last = c;
    return c;
}

struct late *second_late_add(struct late_queue *q, const void *data, size_t len)
{
    struct late_chunk *c = q->last;
    size_t room = room_of(len);
    struct late *l;

    assert(len <= UINT32_MAX);
    if (c == NULL || c->size - c->end < room)
        c = chunk_add(q, room);
    l = late_at(c, c->end);
    *l = (struct late){.len = (uint32_t)len};
    memcpy(l->data, data, len);
    c->end += room;
    q->n++;
    q->bytes += len;
    return l;
}

struct late *second_late_first(const struct late_queue *q)
{
    assert((q->first == NULL) == (q->n == 0));
    return q->n == 0 ? NULL : late_at(q->first, q->first->at);
}

void second_late_drop(struct late_queue *q)
{
    struct late_chunk *c = q->first;
    struct late *l = second_late_first(q);

    assert(l != NULL);
    q->n--;
    q->bytes -= l->len;
    c->at += room_of(l->len);
    assert(c->at <= c->end);
    if (c->at < c->end)
        return;
    q->first = c->next;
    if (q->first == NULL)
        q->last = NULL;
    mem_free(c);
}

void second_late_close(struct late_queue *q)
{
    while (q->first != NULL) {
        struct late_chunk *c = q->first;

        q->first = c->next;
        mem_free(c);
    }
    *q = (struct late_queue){0};
}

/* --- reports ------------------------------------------------------------- */

void second_pack_report(struct buf *out, const struct balancer_event *event,
                        mono_ms at)
{
    assert(event->kind == BALANCER_EVENT_SET);
    pack_int(out, at - event->now);
    balancer_worker_put(event->u.set, at, out);
}

void second_unpack_report(struct feed_reader *r, const char *address,
                          const struct late *l)
{
    struct unpack in = unpack_of(l->data, l->len);
    size_t len = strlen(address);
    mono_ms now = l->now - unpack_int(&in);

    assert(len <= BALANCER_ADDRESS_MAX);
    memcpy(r->worker.address, address, len + 1);
    balancer_worker_get(&r->worker, l->now, &in, &r->names, &r->n_names);
    assert(!in.bad && unpack_left(&in) == 0); /* ours: what we wrote */
    r->event = (struct balancer_event){
        .kind = BALANCER_EVENT_SET, .now = now, .u.set = &r->worker};
}
