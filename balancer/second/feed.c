/*
 * feed.c - events as bytes, and back.
 *
 * Written under the balancer's lock, so it copies and does nothing else. Texts
 * keep their NUL and are not copied when they are read. A worker is copied as
 * it is, but for its address and its groups, so that a new field of it comes
 * along by itself.
 */
#include "balancer/second/second_priv.h"

#include <stddef.h>
#include <string.h>

#define NO_TEXT UINT32_MAX

/* --- writing ------------------------------------------------------------- */

/* Of a length that the compiler knows, that is most of it. */
static inline void put(struct buf *out, const void *value, size_t len)
{
    char *to = buf_room(out, len);

    if (to == NULL) {
        out->overflow = true;
        return;
    }
    memcpy(to, value, len);
    buf_wrote(out, to + len);
}

#define PUT(out, value) put((out), &(value), sizeof(value))

static void put_text(struct buf *out, const char *text)
{
    uint32_t len = text != NULL ? (uint32_t)strlen(text) : NO_TEXT;

    PUT(out, len);
    if (text != NULL)
        buf_add(out, text, len + 1);
}

static void put_texts(struct buf *out, const char *const *texts, size_t n)
{
    uint32_t count = (uint32_t)n;

    assert(n <= UINT32_MAX);
    PUT(out, count);
    for (size_t i = 0; i < n; i++)
        put_text(out, texts[i]);
}

#define WORKER_REST offsetof(struct balancer_worker, busy)

static void put_worker(struct buf *out, const struct balancer_worker *w)
{
    put_text(out, w->address);
    buf_add(out, (const char *)w + WORKER_REST, sizeof(*w) - WORKER_REST);
    put_texts(out, w->groups, w->n_groups);
}

struct pick_head {
    uint32_t count, n;
    enum balancer_code code;
    bool peek, stale;
};

struct pick_one {
    pick_id pick;
    uint32_t slot;
};

static void put_pick(struct buf *out, const struct balancer_request *request,
                     const struct balancer_answer *answer)
{
    struct pick_head head = {
        .count = request->count,
        .n = (uint32_t)answer->n_picks,
        .code = answer->code,
        .peek = request->peek,
        .stale = request->stale,
    };

    assert(answer->n_picks <= BALANCER_COUNT_MAX);
    PUT(out, head);
    put_text(out, request->group);
    put_text(out, request->affinity);
    put_texts(out, request->exclude, request->n_exclude);
    for (uint32_t i = 0; i < head.n; i++) {
        const struct balancer_pick *p = &answer->picks[i];
        struct pick_one one = {p->pick, p->slot};

        PUT(out, one);
        put_text(out, p->address);
    }
}

static void put_configure(struct buf *out, const struct balancer_event *e)
{
    PUT(out, *e->u.configure.conf);
    PUT(out, e->u.configure.n);
    buf_add(out, e->u.configure.own,
            e->u.configure.n * sizeof(*e->u.configure.own));
}

void second_pack(struct buf *out, const struct balancer_event *e)
{
    PUT(out, e->kind);
    PUT(out, e->now);
    switch (e->kind) {
    case BALANCER_EVENT_BASIS: /* another way: second.c */
    case BALANCER_EVENT_CLOCK:
        break;
    case BALANCER_EVENT_SET:
        put_worker(out, e->u.set);
        break;
    case BALANCER_EVENT_REMOVE:
        put_text(out, e->u.remove);
        break;
    case BALANCER_EVENT_DEFINE:
        put_texts(out, e->u.define.names, e->u.define.n);
        break;
    case BALANCER_EVENT_CONFIGURE:
        put_configure(out, e);
        break;
    case BALANCER_EVENT_POLICY:
        PUT(out, e->u.policy);
        break;
    case BALANCER_EVENT_FREEZE:
        PUT(out, e->u.freeze);
        break;
    case BALANCER_EVENT_HOLD:
        PUT(out, e->u.hold);
        break;
    case BALANCER_EVENT_COORDINATORS:
        PUT(out, e->u.coordinators);
        break;
    case BALANCER_EVENT_SLICE:
        put_text(out, e->u.slice.group);
        PUT(out, e->u.slice.from);
        PUT(out, e->u.slice.to);
        break;
    case BALANCER_EVENT_RENEW:
        put_text(out, e->u.renew);
        break;
    case BALANCER_EVENT_PICK:
        put_pick(out, e->u.pick.request, e->u.pick.answer);
        break;
    case BALANCER_EVENT_END:
        PUT(out, e->u.end.pick);
        PUT(out, e->u.end.how);
        break;
    case BALANCER_EVENT_COUNT:
        put_text(out, e->u.count.address);
        PUT(out, e->u.count.delta);
        break;
    case BALANCER_EVENT_OWN:
        put_text(out, e->u.own.address);
        PUT(out, e->u.own.items);
        break;
    }
}

/* --- reading ------------------------------------------------------------- */

/* Ours, so that it is what we wrote: an end that comes too soon is a mistake
 * in this file. */
struct cursor {
    const char *at, *end;
};

static void get(struct cursor *c, void *to, size_t size)
{
    assert((size_t)(c->end - c->at) >= size);
    memcpy(to, c->at, size);
    c->at += size;
}

#define GET(cursor, field) get((cursor), &(field), sizeof(field))

static const char *get_text(struct cursor *c)
{
    const char *text;
    uint32_t len;

    GET(c, len);
    if (len == NO_TEXT)
        return NULL;
    text = c->at;
    assert((size_t)(c->end - c->at) > len);
    assert(text[len] == '\0');
    c->at += len + 1;
    return text;
}

static size_t get_texts(struct feed_reader *r, struct cursor *c)
{
    uint32_t n;

    GET(c, n);
    if (n > r->n_names) {
        r->names = mem_regrow(r->names, n, sizeof(*r->names));
        r->n_names = n;
    }
    for (uint32_t i = 0; i < n; i++)
        r->names[i] = get_text(c);
    return n;
}

static void get_address(struct cursor *c, char out[BALANCER_ADDRESS_MAX + 1])
{
    const char *text = get_text(c);
    size_t len = strlen(text);

    assert(len <= BALANCER_ADDRESS_MAX);
    memcpy(out, text, len + 1);
}

static void get_worker(struct feed_reader *r, struct cursor *c)
{
    struct balancer_worker *w = &r->worker;

    get_address(c, w->address);
    get(c, (char *)w + WORKER_REST, sizeof(*w) - WORKER_REST);
    w->n_groups = get_texts(r, c);
    w->groups = r->names;
}

static void get_pick(struct feed_reader *r, struct cursor *c)
{
    struct balancer_request *q = &r->request;
    struct balancer_answer *a = &r->answer;
    struct pick_head head;
    struct pick_one one;

    memset(q, 0, offsetof(struct balancer_request, exclude));
    GET(c, head);
    q->now = r->event.now;
    q->count = head.count;
    q->peek = head.peek;
    q->stale = head.stale;
    q->group = get_text(c);
    q->affinity = get_text(c);
    q->n_exclude = get_texts(r, c);
    assert(q->n_exclude <= BALANCER_EXCLUDE_MAX);
    for (size_t i = 0; i < q->n_exclude; i++)
        q->exclude[i] = r->names[i];
    assert(head.n <= BALANCER_COUNT_MAX);
    a->code = head.code;
    a->picks = r->picks;
    a->n_picks = head.n;
    for (uint32_t i = 0; i < head.n; i++) {
        GET(c, one);
        a->picks[i].pick = one.pick;
        a->picks[i].slot = one.slot;
        get_address(c, a->picks[i].address);
    }
}

static void get_slice(struct balancer_event *e, struct cursor *c)
{
    e->u.slice.group = get_text(c);
    GET(c, e->u.slice.from);
    GET(c, e->u.slice.to);
}

static void get_configure(struct feed_reader *r, struct cursor *c)
{
    size_t n;

    GET(c, r->conf);
    GET(c, n);
    r->own = mem_regrow(r->own, n, sizeof(*r->own));
    get(c, r->own, n * sizeof(*r->own));
    r->event.u.configure.conf = &r->conf;
    r->event.u.configure.own = r->own;
    r->event.u.configure.n = n;
}

/* The kinds that are more than one number. */
static void get_rest(struct feed_reader *r, struct cursor *c)
{
    struct balancer_event *e = &r->event;

    switch (e->kind) {
    case BALANCER_EVENT_SET:
        get_worker(r, c);
        e->u.set = &r->worker;
        break;
    case BALANCER_EVENT_REMOVE:
        e->u.remove = get_text(c);
        break;
    case BALANCER_EVENT_DEFINE:
        e->u.define.n = get_texts(r, c);
        e->u.define.names = r->names;
        break;
    case BALANCER_EVENT_CONFIGURE:
        get_configure(r, c);
        break;
    case BALANCER_EVENT_SLICE:
        get_slice(e, c);
        break;
    case BALANCER_EVENT_RENEW:
        e->u.renew = get_text(c);
        break;
    case BALANCER_EVENT_PICK:
        get_pick(r, c);
        e->u.pick.request = &r->request;
        e->u.pick.answer = &r->answer;
        break;
    case BALANCER_EVENT_END:
        GET(c, e->u.end.pick);
        GET(c, e->u.end.how);
        break;
    case BALANCER_EVENT_COUNT:
        e->u.count.address = get_text(c);
        GET(c, e->u.count.delta);
        break;
    case BALANCER_EVENT_OWN:
        e->u.own.address = get_text(c);
        GET(c, e->u.own.items);
        break;
    default:
        break;
    }
}

void second_unpack(struct feed_reader *r, const char *data, size_t len)
{
    struct cursor c = {data, data + len};
    struct balancer_event *e = &r->event;

    memset(e, 0, sizeof(*e));
    GET(&c, e->kind);
    GET(&c, e->now);
    if (e->kind == BALANCER_EVENT_POLICY)
        GET(&c, e->u.policy);
    else if (e->kind == BALANCER_EVENT_FREEZE)
        GET(&c, e->u.freeze);
    else if (e->kind == BALANCER_EVENT_HOLD)
        GET(&c, e->u.hold);
    else if (e->kind == BALANCER_EVENT_COORDINATORS)
        GET(&c, e->u.coordinators);
    else
        get_rest(r, &c);
    assert(c.at == c.end || e->kind == BALANCER_EVENT_BASIS);
}

void second_reader_init(struct feed_reader *r)
{
    memset(r, 0, sizeof(*r));
    r->picks = mem_array(BALANCER_COUNT_MAX, sizeof(*r->picks));
}

void second_reader_close(struct feed_reader *r)
{
    mem_free(r->picks);
    mem_free(r->names);
    mem_free(r->own);
    memset(r, 0, sizeof(*r));
}
