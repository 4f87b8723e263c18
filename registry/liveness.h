/*
 * liveness.h - how long our session may still be believed in, by our own
 * clock: for backends whose loop hears of answers from elsewhere.
 *
 * SUSPENDED at 2/3 of the timeout since the last answered request was *sent*,
 * lost at 1x. A store may have answered a request and yet count our timeout
 * from one before it (`counted`): then SUSPENDED comes at 7/8 of that, if it is
 * sooner, and registry_session_until() is what it promises. One exception: when
 * the loop itself did not run (the process was stopped, the host slept) the age
 * of the last answer says nothing. Then it is SUSPENDED at once, and the store
 * is asked: it still knows the session (RECONNECTED), or it does not, or there
 * is no answer within a third of the timeout (lost). Loop thread.
 */
#ifndef PELORUS_REGISTRY_LIVENESS_H
#define PELORUS_REGISTRY_LIVENESS_H

#include "base/clock.h"
#include "registry/backend.h"

struct registry_liveness {
    struct registry *r;
    mono_ms answered; /* when the last answered request was sent */
    mono_ms counted;  /* the store counts our timeout from here or later */
    mono_ms looked;
    bool excused; /* a pause was forgiven since the last answer */
};

void registry_liveness_init(struct registry_liveness *l, struct registry *r);

/* A session stands, or stands again; the request that showed it was sent at
 * `sent`. Before registry_set_state(CONNECTED). */
void registry_liveness_begin(struct registry_liveness *l, mono_ms sent);

/* The store answered a request of this session that was sent at `sent`, and
 * counts our timeout from `counted` or later: the same moment or an earlier
 * one, 0 where the answer does not show it. May tell RECONNECTED. */
void registry_liveness_answered(struct registry_liveness *l, mono_ms sent,
                                mono_ms counted);

/* To be called several times per third of the timeout. May tell SUSPENDED;
 * true: the session is lost, and the backend says so and why. */
bool registry_liveness_over(struct registry_liveness *l) MUST_CHECK;

#endif
