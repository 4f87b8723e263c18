/*
 * event.c - events to and from a balancer.
 */
#include "balancer/balancer_priv.h"

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
