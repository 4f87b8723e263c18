/*
 * event.c - events to and from a balancer, and reports as bytes.
 */
#include "balancer/balancer_priv.h"
#include "base/mem.h"

#define NAMES_MAX 100000U

void balancer_tell(struct balancer *b, const struct balancer_event *event)
{
    assert(b->n_taps <= BALANCER_TAPS_MAX);
    for (uint32_t i = 0; i < b->n_taps; i++)
        b->taps[i].tap(b->taps[i].arg, event);
}

static uint32_t tap_find(const struct balancer *b, balancer_tap_f *tap,
                         const void *arg)
{
    uint32_t i = 0;

    assert(tap != NULL);
    while (i < b->n_taps && (b->taps[i].tap != tap || b->taps[i].arg != arg))
        i++;
    return i;
}

static void basis_tell(struct balancer *b, uint32_t i)
{
    assert(i < b->n_taps);
    b->taps[i].tap(
        b->taps[i].arg,
        &(struct balancer_event){.kind = BALANCER_EVENT_BASIS, .u.basis = b});
}

void balancer_tap(struct balancer *b, balancer_tap_f *tap, void *arg)
{
    balancer_lock(b);
    assert(b->n_taps < BALANCER_TAPS_MAX);
    assert(tap_find(b, tap, arg) == b->n_taps);
    b->taps[b->n_taps] = (struct tap){tap, arg};
    b->n_taps++;
    basis_tell(b, b->n_taps - 1);
    balancer_unlock(b);
}

void balancer_untap(struct balancer *b, balancer_tap_f *tap, void *arg)
{
    balancer_lock(b);
    uint32_t i = tap_find(b, tap, arg);

    if (i < b->n_taps) {
        b->n_taps--;
        for (; i < b->n_taps; i++)
            b->taps[i] = b->taps[i + 1];
    }
    balancer_unlock(b);
}

void balancer_tap_basis(struct balancer *b, balancer_tap_f *tap, void *arg)
{
    balancer_lock(b);
    uint32_t i = tap_find(b, tap, arg);

    if (i < b->n_taps)
        basis_tell(b, i);
    balancer_unlock(b);
}

static void end_apply(struct balancer *b, pick_id pick, enum balancer_end how)
{
    switch (how) {
    case BALANCER_DONE:
        (void)balancer_done(b, pick);
        break;
    case BALANCER_REFUSED:
        (void)balancer_refused(b, pick);
        break;
    case BALANCER_UNUSED:
        (void)balancer_unused(b, pick);
        break;
    }
}

void balancer_apply(struct balancer *b, const struct balancer_event *e,
                    struct balancer_answer *answer)
{
    assert(e->kind != BALANCER_EVENT_BASIS);
    assert((e->kind == BALANCER_EVENT_PICK) == (answer != NULL));
    switch (e->kind) {
    case BALANCER_EVENT_BASIS:
        break;
    case BALANCER_EVENT_SET:
        balancer_set(b, e->u.set, e->now);
        break;
    case BALANCER_EVENT_REMOVE:
        balancer_remove(b, e->u.remove);
        break;
    case BALANCER_EVENT_DEFINE:
        balancer_define(b, e->u.define.names, e->u.define.n);
        break;
    case BALANCER_EVENT_CONFIGURE:
        balancer_configure(b, e->u.configure.conf, e->u.configure.own,
                           e->u.configure.n, e->now);
        break;
    case BALANCER_EVENT_POLICY:
        balancer_set_policy(b, e->u.policy, e->now);
        break;
    case BALANCER_EVENT_FREEZE:
        balancer_freeze(b, e->u.freeze, e->now);
        break;
    case BALANCER_EVENT_HOLD:
        balancer_hold(b, e->u.hold);
        break;
    case BALANCER_EVENT_COORDINATORS:
        balancer_set_coordinators(b, e->u.coordinators);
        break;
    case BALANCER_EVENT_CLOCK:
        (void)balancer_clock(b, e->now);
        break;
    case BALANCER_EVENT_SLICE:
        balancer_slice(b, e->u.slice.group, e->u.slice.from, e->u.slice.to,
                       e->now);
        break;
    case BALANCER_EVENT_RENEW:
        balancer_renew(b, e->u.renew, e->now);
        break;
    case BALANCER_EVENT_PICK:
        balancer_pick(b, e->u.pick.request, answer);
        break;
    case BALANCER_EVENT_END:
        end_apply(b, e->u.end.pick, e->u.end.how);
        break;
    case BALANCER_EVENT_COUNT:
        balancer_count(b, e->u.count.address, e->u.count.delta, e->now);
        break;
    case BALANCER_EVENT_OWN:
        balancer_own(b, e->u.own.address, e->u.own.items, e->now);
        break;
    }
}

/* ---- reports as bytes ---------------------------------------------------- */

enum report_flag {
    BUSY = 1,
    DEAD = 2,
    CLOSED = 4,
    DEGRADED = 8,
};

_Static_assert(sizeof(void *) != 8 ||
                   sizeof(struct balancer_worker) -
                           offsetof(struct balancer_worker, busy) ==
                       92,
               "struct balancer_worker changed: write and read the field here");

void balancer_worker_put(const struct balancer_worker *w, mono_ms now,
                         struct buf *out)
{
    assert(w->groups != NULL || w->n_groups == 0);
    pack_u8(out,
            (uint8_t)((w->busy ? BUSY : 0) | (w->dead ? DEAD : 0) |
                      (w->closed ? CLOSED : 0) | (w->degraded ? DEGRADED : 0)));
    pack_int(out, w->weight);
    pack_int(out, w->slots);
    pack_double(out, w->cpu);
    pack_double(out, w->memory);
    pack_double(out, w->disk);
    pack_double(out, w->pool);
    pack_int(out, now - w->reported);
    pack_int(out, w->lease_ms);
    pack_int(out, now - w->since);
    pack_uint(out, w->incarnation);
    pack_uint(out, w->n_groups);
    for (size_t i = 0; i < w->n_groups; i++)
        pack_text(out, w->groups[i]);
}

size_t balancer_names_get(struct unpack *in, const char ***list, size_t *cap)
{
    size_t n = unpack_count(in, NAMES_MAX, 2);

    if (n > *cap) {
        *cap = n;
        *list = mem_regrow(*list, n, sizeof(**list));
    }
    for (size_t i = 0; i < n; i++)
        (*list)[i] = unpack_text(in, 1, BALANCER_GROUP_MAX);
    return n;
}

void balancer_worker_get(struct balancer_worker *w, mono_ms now,
                         struct unpack *in, const char ***list, size_t *cap)
{
    uint8_t flags = unpack_u8(in);

    w->busy = (flags & BUSY) != 0;
    w->dead = (flags & DEAD) != 0;
    w->closed = (flags & CLOSED) != 0;
    w->degraded = (flags & DEGRADED) != 0;
    w->weight = (int32_t)unpack_int_within(in, INT32_MIN, INT32_MAX);
    w->slots = (int32_t)unpack_int_within(in, INT32_MIN, INT32_MAX);
    w->cpu = unpack_double(in);
    w->memory = unpack_double(in);
    w->disk = unpack_double(in);
    w->pool = unpack_double(in);
    w->reported =
        now - unpack_int_within(in, -PACKED_TIME_MAX, PACKED_TIME_MAX);
    w->lease_ms = unpack_int_within(in, 0, PACKED_TIME_MAX);
    w->since = now - unpack_int_within(in, -PACKED_TIME_MAX, PACKED_TIME_MAX);
    w->incarnation = unpack_uint(in);
    w->n_groups = balancer_names_get(in, list, cap);
    w->groups = *list;
}
