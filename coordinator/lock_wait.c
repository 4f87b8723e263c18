/*
 * lock_wait.c - for whom the engines wait: told in the log once, when it takes
 * long, and in each snapshot. A lock that a dead process holds in a store that
 * nobody sweeps looks like nothing at all otherwise.
 */
#include "coordinator/coordinator_priv.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define LONG_MS  10000
#define COUNT_MS 1000

static void say(struct lock_wait *said, enum node_kind kind,
                const struct registry_lock_wait *w, int64_t waited_ms)
{
    const char *holder = w->holder[0] != '\0' ? w->holder : "unknown";

    /* A try that has just begun does not know yet, which is no news. */
    if (said->since == w->since &&
        (w->holder[0] == '\0' || strcmp(said->holder, holder) == 0))
        return;
    said->since = w->since;
    snprintf(said->holder, sizeof(said->holder), "%s", holder);
    log_warn("=lock-wait", LOG_S("kind", node_kind_name(kind)),
             LOG_S("holder", holder), LOG_I("waited_ms", waited_ms),
             LOG_S("reason", "the failover lock is another's; nothing is moved "
                             "until it is ours"));
}

/* A failover that cannot begin, because the store refuses what it takes, says
 * so: at once, and then ever rarer. */
static void count_pending(struct coordinator *c, int k)
{
    struct lock_wait *l = &c->lock_waits[k];
    mono_ms now = c->clock->mono;
    struct registry_trouble t;

    if (!registry_trouble(c->registry, &t)) {
        l->pending = 0;
        return;
    }
    if (now - l->counted < COUNT_MS)
        return;
    l->counted = now;
    l->pending = engine_pending(c->engines[k]);
    if (l->pending == 0 || !registry_trouble_pace_due(&l->said, now))
        return;
    log_error("!failover-waits",
              LOG_S("kind", node_kind_name((enum node_kind)k)),
              LOG_U("nodes", l->pending),
              LOG_S("trouble", registry_trouble_name(t.what)),
              LOG_S("reason", t.detail),
              LOG_S("advice", registry_trouble_advice(t.what)));
}

void coordinator_lock_wait_tick(struct coordinator *c)
{
    struct registry_lock_wait w;

    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL)
            count_pending(c, k);

    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL && engine_waits_for(c->engines[k], &w) &&
            c->clock->mono - w.since >= LONG_MS)
            say(&c->lock_waits[k], (enum node_kind)k, &w,
                c->clock->mono - w.since);
}

void coordinator_lock_wait_fill(struct coordinator *c, struct snapshot *s,
                                int kind)
{
    struct registry_lock_wait w;

    s->pending[kind] = (uint32_t)c->lock_waits[kind].pending;
    if (!engine_waits_for(c->engines[kind], &w))
        return;
    s->lock_holder[kind] = coordinator_snapshot_str(s, w.holder);
    s->lock_since[kind] = c->clock->wall - (c->clock->mono - w.since);
}
