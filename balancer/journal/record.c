/*
 * record.c - see record.h.
 *
 * What is read is checked as far as the balancer's own functions assert it of
 * their callers.
 */
#include "balancer/journal/record.h"

#include "balancer/image.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

#define AFFINITY_MAX 65536
#define DELTA_MAX    1000000000
#define TEXT_MAX_    65536

enum pick_flag {
    PICK_PEEK = 1,
    PICK_STALE = 2,
    PICK_GROUP = 4,
    PICK_MANY = 8,
    PICK_AFFINITY = 16,
    PICK_EXCLUDE = 32,
    PICK_DEGRADED = 64,
    PICK_NOBODY = 128,
};

/* ---- out ---------------------------------------------------------------- */

static void put_time(struct record_state *s, mono_ms now, struct buf *out)
{
    pack_int(out, now - s->now);
    s->now = now;
}

static void put_set(const struct balancer_worker *w, mono_ms now,
                    struct buf *out)
{
    pack_text(out, w->address);
    balancer_worker_put(w, now, out);
}

static void put_pick_id(struct record_state *s, pick_id pick, struct buf *out)
{
    pack_int(out, (int64_t)(pick - s->next));
}

/* The ids of one answer follow on each other, but of peeks, which have none. */
static void put_answer(struct record_state *s, const struct balancer_answer *a,
                       bool peek, struct buf *out)
{
    if (a->code != BALANCER_OK) {
        pack_u8(out, (uint8_t)a->code);
        return;
    }
    assert(a->n_picks > 0);
    if (!peek) {
        put_pick_id(s, a->picks[0].pick, out);
        s->next = a->picks[a->n_picks - 1].pick + 1;
    }
    for (size_t i = 0; i < a->n_picks; i++) {
        pack_uint(out, a->picks[i].slot);
        pack_float(out, (float)a->picks[i].score);
    }
}

static void put_pick(struct record_state *s,
                     const struct balancer_request *request,
                     const struct balancer_answer *answer, struct buf *out)
{
    unsigned flags = (request->peek ? PICK_PEEK : 0U) |
                     (request->stale ? PICK_STALE : 0U) |
                     (request->group != NULL ? PICK_GROUP : 0U) |
                     (request->count > 1 ? PICK_MANY : 0U) |
                     (request->affinity != NULL ? PICK_AFFINITY : 0U) |
                     (request->n_exclude > 0 ? PICK_EXCLUDE : 0U) |
                     (answer->degraded ? PICK_DEGRADED : 0U) |
                     (answer->code != BALANCER_OK ? PICK_NOBODY : 0U);

    pack_u8(out, (uint8_t)flags);
    if ((flags & PICK_GROUP) != 0)
        pack_text(out, request->group);
    if ((flags & PICK_MANY) != 0)
        pack_uint(out, request->count);
    if ((flags & PICK_AFFINITY) != 0)
        pack_text(out, request->affinity);
    if ((flags & PICK_EXCLUDE) != 0)
        pack_uint(out, request->n_exclude);
    for (size_t i = 0; i < request->n_exclude; i++)
        pack_text(out, request->exclude[i]);
    put_answer(s, answer, request->peek, out);
}

static bool tells_time(enum balancer_event_kind kind)
{
    switch (kind) {
    case BALANCER_EVENT_REMOVE:
    case BALANCER_EVENT_DEFINE:
    case BALANCER_EVENT_HOLD:
    case BALANCER_EVENT_COORDINATORS:
    case BALANCER_EVENT_END:
        return false;
    default:
        return true;
    }
}

void balancer_record_put(struct record_state *s, const struct balancer_event *e,
                         struct buf *out)
{
    assert(e->kind > BALANCER_EVENT_BASIS);
    assert((int)e->kind < BALANCER_EVENTS);
    pack_u8(out, (uint8_t)e->kind);
    if (tells_time(e->kind))
        put_time(s, e->now, out);
    switch (e->kind) {
    case BALANCER_EVENT_BASIS:
    case BALANCER_EVENT_CLOCK:
        break;
    case BALANCER_EVENT_SET:
        put_set(e->u.set, e->now, out);
        break;
    case BALANCER_EVENT_REMOVE:
        pack_text(out, e->u.remove);
        break;
    case BALANCER_EVENT_DEFINE:
        pack_uint(out, e->u.define.n);
        for (size_t i = 0; i < e->u.define.n; i++)
            pack_text(out, e->u.define.names[i]);
        break;
    case BALANCER_EVENT_CONFIGURE:
        balancer_settings_pack(e->u.configure.conf, e->u.configure.own,
                               e->u.configure.n, out);
        break;
    case BALANCER_EVENT_POLICY:
        pack_uint(out, e->u.policy);
        break;
    case BALANCER_EVENT_FREEZE:
        pack_u8(out, e->u.freeze);
        break;
    case BALANCER_EVENT_HOLD:
        pack_u8(out, e->u.hold);
        break;
    case BALANCER_EVENT_COORDINATORS:
        pack_uint(out, e->u.coordinators);
        break;
    case BALANCER_EVENT_SLICE:
        pack_text(out, e->u.slice.group);
        pack_uint(out, e->u.slice.from);
        pack_uint(out, e->u.slice.to);
        break;
    case BALANCER_EVENT_RENEW:
        pack_text(out, e->u.renew != NULL ? e->u.renew : "");
        break;
    case BALANCER_EVENT_PICK:
        put_pick(s, e->u.pick.request, e->u.pick.answer, out);
        break;
    case BALANCER_EVENT_END:
        put_pick_id(s, e->u.end.pick, out);
        pack_u8(out, (uint8_t)e->u.end.how);
        break;
    case BALANCER_EVENT_COUNT:
        pack_text(out, e->u.count.address);
        pack_int(out, e->u.count.delta);
        break;
    case BALANCER_EVENT_OWN:
        pack_text(out, e->u.own.address);
        pack_uint(out, e->u.own.items);
        break;
    }
}

/* ---- in ----------------------------------------------------------------- */

struct record *balancer_record_new(void)
{
    return mem_zalloc(sizeof(struct record));
}

void balancer_record_free(struct record **r)
{
    if (*r != NULL) {
        mem_free((*r)->names);
        mem_free((*r)->own);
    }
    MEM_FREE(*r);
}

static mono_ms get_delta(struct unpack *in, mono_ms from)
{
    int64_t delta = unpack_int(in);

    if (delta > 2 * PACKED_TIME_MAX || delta < -2 * PACKED_TIME_MAX ||
        from + delta > PACKED_TIME_MAX || from + delta < -PACKED_TIME_MAX) {
        unpack_spoil(in);
        return from;
    }
    return from + delta;
}

static void get_names(struct unpack *in, struct record *r)
{
    r->n_names = balancer_names_get(in, &r->names, &r->cap_names);
}

static void get_set(struct unpack *in, struct record *r)
{
    const char *address = unpack_text(in, 1, BALANCER_ADDRESS_MAX);

    memcpy(r->worker.address, address, strlen(address) + 1);
    balancer_worker_get(&r->worker, r->event.now, in, &r->names, &r->cap_names);
    r->event.u.set = &r->worker;
}

static void get_answer(struct record_state *s, struct unpack *in,
                       struct record *r, bool nobody)
{
    struct balancer_answer *a = &r->answer;
    pick_id pick = s->next;

    a->picks = r->picks;
    a->n_picks = a->n_alternates = 0;
    a->code = BALANCER_OK;
    if (nobody) {
        a->code = (enum balancer_code)unpack_u8(in);
        if (a->code == BALANCER_OK || a->code > BALANCER_NOT_SYNCED)
            unpack_spoil(in);
        return;
    }
    a->n_picks = r->request.count;
    if (!r->request.peek) {
        pick += (uint64_t)unpack_int(in);
        s->next = pick + a->n_picks;
    }
    for (size_t i = 0; i < a->n_picks; i++) {
        struct balancer_pick *p = &r->picks[i];

        p->address[0] = '\0';
        p->pick = r->request.peek ? 0 : pick + i;
        p->slot = (uint32_t)unpack_uint_max(in, UINT32_MAX);
        p->score = (double)unpack_float(in);
    }
}

static void get_pick(struct record_state *s, struct unpack *in,
                     struct record *r)
{
    struct balancer_request *request = &r->request;
    uint8_t flags = unpack_u8(in);

    request->now = r->event.now;
    request->peek = (flags & PICK_PEEK) != 0;
    request->stale = (flags & PICK_STALE) != 0;
    request->group =
        (flags & PICK_GROUP) != 0 ? unpack_text(in, 0, TEXT_MAX_) : NULL;
    request->count = (flags & PICK_MANY) != 0
                         ? (uint32_t)unpack_uint_max(in, BALANCER_COUNT_MAX)
                         : 1;
    request->affinity =
        (flags & PICK_AFFINITY) != 0 ? unpack_text(in, 0, AFFINITY_MAX) : NULL;
    request->n_exclude = (flags & PICK_EXCLUDE) != 0
                             ? (size_t)unpack_uint_max(in, BALANCER_EXCLUDE_MAX)
                             : 0;
    if (request->count == 0)
        unpack_spoil(in);
    for (size_t i = 0; i < request->n_exclude; i++)
        request->exclude[i] = unpack_text(in, 0, TEXT_MAX_);
    r->answer.degraded = (flags & PICK_DEGRADED) != 0;
    get_answer(s, in, r, (flags & PICK_NOBODY) != 0);
    r->event.u.pick.request = request;
    r->event.u.pick.answer = &r->answer;
}

static void get_configure(struct unpack *in, struct record *r)
{
    size_t n = 0;

    MEM_FREE(r->own);
    if (balancer_settings_unpack(&r->conf, &r->own, &n, in, NULL) != 0)
        unpack_spoil(in);
    r->event.u.configure.conf = &r->conf;
    r->event.u.configure.own = r->own;
    r->event.u.configure.n = n;
}

static void get_end(const struct record_state *s, struct unpack *in,
                    struct balancer_event *e)
{
    e->u.end.pick = s->next + (uint64_t)unpack_int(in);
    e->u.end.how = (enum balancer_end)unpack_uint_max(in, BALANCER_UNUSED);
}

static void get_slice(struct unpack *in, struct balancer_event *e)
{
    e->u.slice.group = unpack_text(in, 1, BALANCER_GROUP_MAX);
    e->u.slice.from = (uint32_t)unpack_uint_max(in, UINT32_MAX);
    e->u.slice.to = (uint32_t)unpack_uint_max(in, UINT32_MAX);
}

static void get_one(struct record_state *s, struct unpack *in, struct record *r)
{
    struct balancer_event *e = &r->event;

    switch (e->kind) {
    case BALANCER_EVENT_BASIS:
    case BALANCER_EVENT_CLOCK:
        break;
    case BALANCER_EVENT_SET:
        get_set(in, r);
        break;
    case BALANCER_EVENT_REMOVE:
        e->u.remove = unpack_text(in, 1, BALANCER_ADDRESS_MAX);
        break;
    case BALANCER_EVENT_DEFINE:
        get_names(in, r);
        e->u.define.names = r->names;
        e->u.define.n = r->n_names;
        break;
    case BALANCER_EVENT_CONFIGURE:
        get_configure(in, r);
        break;
    case BALANCER_EVENT_POLICY:
        e->u.policy = (enum conf_policy)unpack_uint_max(
            in, CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
        break;
    case BALANCER_EVENT_FREEZE:
        e->u.freeze = unpack_bool(in);
        break;
    case BALANCER_EVENT_HOLD:
        e->u.hold = unpack_bool(in);
        break;
    case BALANCER_EVENT_COORDINATORS:
        e->u.coordinators = (uint32_t)unpack_uint_max(in, UINT32_MAX);
        if (e->u.coordinators == 0)
            unpack_spoil(in);
        break;
    case BALANCER_EVENT_SLICE:
        get_slice(in, e);
        break;
    case BALANCER_EVENT_RENEW:
        e->u.renew = unpack_text(in, 0, TEXT_MAX_);
        if (e->u.renew[0] == '\0')
            e->u.renew = NULL;
        break;
    case BALANCER_EVENT_PICK:
        get_pick(s, in, r);
        break;
    case BALANCER_EVENT_END:
        get_end(s, in, e);
        break;
    case BALANCER_EVENT_COUNT:
        e->u.count.address = unpack_text(in, 1, BALANCER_ADDRESS_MAX);
        e->u.count.delta = (int)unpack_int_within(in, -DELTA_MAX, DELTA_MAX);
        break;
    case BALANCER_EVENT_OWN:
        e->u.own.address = unpack_text(in, 1, BALANCER_ADDRESS_MAX);
        e->u.own.items = (uint32_t)unpack_uint_max(in, UINT32_MAX);
        break;
    }
}

int balancer_record_get(struct record_state *s, struct unpack *in,
                        struct record *r, struct err *err)
{
    uint8_t kind = unpack_u8(in);

    if (in->bad || kind == BALANCER_EVENT_BASIS || kind >= BALANCER_EVENTS)
        return err_set(err, ERR_INVALID, "a record of no known kind");
    r->event = (struct balancer_event){
        .kind = (enum balancer_event_kind)kind,
    };
    if (tells_time(r->event.kind)) {
        s->now = get_delta(in, s->now);
        r->event.now = s->now;
    }
    get_one(s, in, r);
    return in->bad ? err_set(err, ERR_INVALID,
                             "a record is not what a balancer writes")
                   : 0;
}
