/*
 * liveness.c - the two deadlines of a session, kept by our own clock.
 *
 * The age is counted from before the send, so whoever holds the session at the
 * store counts later than we do: we stop acting first.
 */
#include "registry/liveness.h"

static mono_ms now(const struct registry_liveness *l)
{
    return l->r->clock->mono;
}

void registry_liveness_init(struct registry_liveness *l, struct registry *r)
{
    assert(r->session_timeout_ms > 0);
    l->r = r;
    l->answered = 0;
    l->looked = now(l);
    l->excused = false;
}

/* The loop, or a message to it, was late by a pause: once until the next
 * answer, begin again at SUSPENDED. */
static void excuse(struct registry_liveness *l)
{
    mono_ms least = now(l) - l->r->session_timeout_ms * 2 / 3;

    if (!l->excused) {
        l->excused = true;
        l->answered = l->answered < least ? least : l->answered;
        l->counted = l->counted < least ? least : l->counted;
        assert(l->answered >= least);
        assert(l->counted >= least);
    }
}

void registry_liveness_begin(struct registry_liveness *l, mono_ms sent)
{
    registry_record_answer(l->r, sent);
    registry_record_renewal(l->r, sent);
    l->answered = l->counted = sent;
    l->excused = false;
    if (now(l) - sent > l->r->session_timeout_ms / 3)
        excuse(l);
    assert(l->excused || l->answered == sent);
}

/* For so long that nothing may be decided. */
static bool doubtful(const struct registry_liveness *l)
{
    int64_t timeout = l->r->session_timeout_ms;

    return now(l) - l->answered >= timeout * 2 / 3 ||
           now(l) - l->counted >= timeout * 7 / 8;
}

void registry_liveness_answered(struct registry_liveness *l, mono_ms sent,
                                mono_ms counted)
{
    struct registry *r = l->r;

    assert(counted <= sent);
    registry_record_answer(r, sent);
    registry_record_renewal(r, counted);
    if (counted > l->counted)
        l->counted = counted;
    if (sent <= l->answered)
        return; /* from before a pause: it says nothing about now */
    l->answered = sent;
    l->excused = false;
    if (r->state == REGISTRY_SUSPENDED && !doubtful(l))
        registry_set_state(r, REGISTRY_RECONNECTED);
}

bool registry_liveness_over(struct registry_liveness *l)
{
    int64_t timeout = l->r->session_timeout_ms;
    int64_t gap = now(l) - l->looked;

    assert(gap >= 0);
    l->looked = now(l);
    if (l->r->session == 0)
        return false;
    if (gap > timeout / 3)
        excuse(l);
    if (now(l) - l->answered >= timeout)
        return true;
    if (doubtful(l))
        registry_set_state(l->r, REGISTRY_SUSPENDED);
    return false;
}
