/*
 * membership_watch.c - the watches of the nodes' keys: what they tell goes
 * straight into membership.c.
 */
#include "cluster/membership_priv.h"

static void on_nodes(void *arg, const struct registry_event *event)
{
    membership_feed(arg, MEMBERSHIP_NODES, event);
}

static void on_ours(void *arg, const struct registry_event *event)
{
    membership_feed(arg, MEMBERSHIP_OURS, event);
}

void membership_watch(struct membership *m, struct registry *registry)
{
    struct registry_watch **watches = m->watches;

    assert(watches[MEMBERSHIP_NODES] == NULL);
    assert(watches[MEMBERSHIP_OURS] == NULL);
    watches[MEMBERSHIP_NODES] = registry_watch(registry, "/nodes", on_nodes, m);
    watches[MEMBERSHIP_OURS] =
        registry_watch(registry, "/pelorus/nodes", on_ours, m);
    m->fresh_ms = m->config.heartbeat_interval_ms;
    registry_watch_freshness(watches[MEMBERSHIP_NODES], m->fresh_ms);
    registry_watch_freshness(watches[MEMBERSHIP_OURS], m->fresh_ms);
}

void membership_unwatch(struct membership *m)
{
    registry_unwatch(&m->watches[MEMBERSHIP_NODES]);
    registry_unwatch(&m->watches[MEMBERSHIP_OURS]);
    assert(m->watches[MEMBERSHIP_NODES] == NULL);
    assert(m->watches[MEMBERSHIP_OURS] == NULL);
}

void membership_keep_fresh(struct membership *m, int64_t ttl_ms)
{
    int64_t third = ttl_ms / 3;

    assert(ttl_ms > 0);
    if (m->watches[MEMBERSHIP_OURS] == NULL || third == 0 ||
        third >= m->fresh_ms)
        return;
    m->fresh_ms = third;
    registry_watch_freshness(m->watches[MEMBERSHIP_OURS], third);
}
