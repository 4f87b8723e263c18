/*
 * sync.c - does the registry tell us what happens, and up to when?
 *
 * It is asked for a sign of life several times per session and per heartbeat,
 * so that a silence is known long before SUSPENDED: what is shown is `stale`
 * from the first round trip on that it missed, reports do not grow old, and
 * nobody's time runs out (registry/pauses.h).
 */
#include "coordinator/coordinator_priv.h"

#include "base/log.h"

#define ANSWER_MS 250 /* it is asked no more often */

int64_t coordinator_answer_interval(const struct coordinator *c)
{
    int64_t session = registry_session_timeout(c->registry);
    int64_t heartbeat = c->conf->balancer.heartbeat_interval_ms;
    int64_t sixth = (session < heartbeat ? session : heartbeat) / 6;

    return sixth > ANSWER_MS ? sixth : ANSWER_MS;
}

/* Connected, and all of it is known. */
bool coordinator_synced(const struct coordinator *c)
{
    assert(c->view != NULL);
    return registry_state_is_up(registry_state(c->registry)) &&
           membership_synced(c->membership) && work_view_synced(c->view) &&
           c->groups_synced && c->renewals_synced;
}

/* Does the registry tell us what happens, now? Not from the first round trip
 * on that it missed. */
bool coordinator_is_current(const struct coordinator *c)
{
    return coordinator_synced(c) && !membership_silent(c->membership);
}

/* How far the present is known; and know more, if that is wanted. */
void coordinator_sync_tick(struct coordinator *c)
{
    assert(c->membership != NULL);
    registry_trouble_tick(c->registry);
    membership_answered(c->membership, registry_answered(c->registry));
    if (c->clock->mono >= membership_answer_due(c->membership))
        registry_prove(c->registry);
}

/* While nobody hears of the workers their last words do not grow old, from
 * when the registry was heard last. */
void coordinator_freeze_balancer(struct coordinator *c)
{
    assert(c->balancer != NULL);
    balancer_freeze(c->balancer, !coordinator_is_current(c),
                    membership_silent(c->membership)
                        ? membership_last_answer(c->membership)
                        : c->clock->mono);
}

/* The session's timeout is known now: the server may have raised it. */
void coordinator_check_timeout(const struct coordinator *c)
{
    int64_t timeout = registry_session_timeout(c->registry);

    if (c->conf->work_keep_ms <= 2 * timeout)
        log_error("!work.keep", LOG_I("keep_ms", c->conf->work_keep_ms),
                  LOG_I("session_timeout_ms", timeout),
                  LOG_S("reason",
                        "a late retry may miss the record of finished "
                        "work"),
                  LOG_S("advice", "raise it above twice the session's timeout "
                                  "that the registry gives"));
}
