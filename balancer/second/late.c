/*
 * late.c - a queue of events that wait, in order, as bytes.
 *
 * Ten thousand workers have twenty thousand reports wait at any time, so each
 * is written as short as it can be, and they lie one behind the other in
 * chunks, which are freed as a whole: no block of malloc's for each of them,
 * nor the holes that those would leave.
 */
#include "balancer/second/second_priv.h"

#include "base/pack/pack.h"

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

enum { BUSY = 1, DEAD = 2, CLOSED = 4, DEGRADED = 8 };

_Static_assert(sizeof(void *) != 8 ||
                   sizeof(struct balancer_worker) -
                           offsetof(struct balancer_worker, busy) ==
                       92,
               "struct balancer_worker changed: write and read the field here");

void second_pack_report(struct buf *out, const struct balancer_event *event,
                        mono_ms at)
{
    const struct balancer_worker *w = event->u.set;

    assert(event->kind == BALANCER_EVENT_SET);
    pack_int(out, at - event->now);
    pack_u8(out,
            (uint8_t)((w->busy ? BUSY : 0) | (w->dead ? DEAD : 0) |
                      (w->closed ? CLOSED : 0) | (w->degraded ? DEGRADED : 0)));
    pack_int(out, w->weight);
    pack_int(out, w->slots);
    pack_double(out, w->cpu);
    pack_double(out, w->memory);
    pack_double(out, w->disk);
    pack_double(out, w->pool);
    pack_int(out, at - w->reported);
    pack_int(out, w->lease_ms);
    pack_int(out, w->reported - w->since);
    pack_uint(out, w->incarnation);
    pack_uint(out, w->n_groups);
    for (size_t i = 0; i < w->n_groups; i++)
        pack_bytes(out, w->groups[i], strlen(w->groups[i]) + 1);
}

static void get_groups(struct feed_reader *r, struct unpack *in)
{
    size_t n = (size_t)unpack_uint(in), len;

    if (n > r->n_names) {
        r->names = mem_regrow(r->names, n, sizeof(*r->names));
        r->n_names = n;
    }
    for (size_t i = 0; i < n; i++)
        r->names[i] = unpack_bytes(in, UINT32_MAX, &len);
    r->worker.groups = r->names;
    r->worker.n_groups = n;
}

void second_unpack_report(struct feed_reader *r, const char *address,
                          const struct late *l)
{
    struct unpack in = unpack_of(l->data, l->len);
    struct balancer_worker *w = &r->worker;
    size_t address_len = strlen(address);
    mono_ms now = l->now - unpack_int(&in);
    uint8_t flags = unpack_u8(&in);

    assert(address_len <= BALANCER_ADDRESS_MAX);
    memcpy(w->address, address, address_len + 1);
    w->busy = (flags & BUSY) != 0;
    w->dead = (flags & DEAD) != 0;
    w->closed = (flags & CLOSED) != 0;
    w->degraded = (flags & DEGRADED) != 0;
    w->weight = (int32_t)unpack_int(&in);
    w->slots = (int32_t)unpack_int(&in);
    w->cpu = unpack_double(&in);
    w->memory = unpack_double(&in);
    w->disk = unpack_double(&in);
    w->pool = unpack_double(&in);
    w->reported = l->now - unpack_int(&in);
    w->lease_ms = unpack_int(&in);
    w->since = w->reported - unpack_int(&in);
    w->incarnation = unpack_uint(&in);
    get_groups(r, &in);
    assert(!in.bad && unpack_left(&in) == 0); /* ours: what we wrote */
    r->event = (struct balancer_event){
        .kind = BALANCER_EVENT_SET, .now = now, .u.set = w};
}
