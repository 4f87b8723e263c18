/*
 * lock_wait.c - for whom the engines wait: told in the log once, when it takes
 * long, and in each snapshot. A lock that a dead process holds in a store that
 * nobody sweeps looks like nothing at all otherwise.
 */
#include "coordinator/coordinator_priv.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define LONG_MS 10000

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

void lock_wait_tick(struct coordinator *c)
{
    struct registry_lock_wait w;

    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL && engine_waits_for(c->engines[k], &w) &&
            c->clock->mono - w.since >= LONG_MS)
            say(&c->lock_waits[k], (enum node_kind)k, &w,
                c->clock->mono - w.since);
}

void lock_wait_fill(struct coordinator *c, struct snapshot *s, int kind)
{
    struct registry_lock_wait w;

    if (!engine_waits_for(c->engines[kind], &w))
        return;
    s->lock_holder[kind] = snapshot_str(s, w.holder);
    s->lock_since[kind] = c->clock->wall - (c->clock->mono - w.since);
}
