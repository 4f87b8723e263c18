/*
 * membership_answer.c - what comes from the registry: the events of the nodes'
 * keys, which go straight into membership.c, and its signs of life. Were we
 * there, and was it? By the rule of pauses.h, for all windows and for `settle`.
 */
#include "cluster/membership_priv.h"

#define TURN_MS    100  /* see membership_tick() */
#define ANSWER_MS  250  /* nobody asks for answers more often */
#define ANSWER_SET 1000 /* how often it is worked out how often that is */
#define SILENT_MS  1000

/* `absent`: how long; 0: we were not. */
static void after_absence(struct membership *m, int64_t absent)
{
    mono_ms now = m->config.clock->mono;

    assert(absent >= 0);
    if (absent == 0)
        return;
    if (windows_late(&m->windows, now, absent))
        m->tally.recount = true;
    if (registry_pause_restarts(m->settle_since, m->config.settle_ms, now,
                                absent))
        m->settle_since = now;
}

/* Several times within the shortest window, or a silence would hide in it. */
static void set_answer_ms(struct membership *m)
{
    mono_ms now = m->config.clock->mono;
    int64_t third;

    if (now - m->answer_set_at < ANSWER_SET)
        return;
    m->answer_set_at = now;
    third = windows_span(&m->windows) / 3;
    m->answer_ms = third < m->config.answer_ms ? third : m->config.answer_ms;
    if (m->answer_ms < ANSWER_MS)
        m->answer_ms = ANSWER_MS;
    assert(m->answer_ms >= ANSWER_MS);
}

void membership_turn(struct membership *m)
{
    assert(!m->emitting);
    after_absence(
        m, registry_pauses_tick(&m->turns, m->config.clock->mono, TURN_MS));
    set_answer_ms(m);
}

void membership_answered(struct membership *m, mono_ms sent)
{
    mono_ms now = m->config.clock->mono;

    assert(!m->emitting);
    if (sent <= m->answered)
        return;
    m->answered = sent < now ? sent : now; /* another thread's clock */
    after_absence(m, registry_pauses_tick(&m->answers, now, m->answer_ms));
    assert(m->answered <= now);
}

mono_ms membership_answer_due(const struct membership *m)
{
    mono_ms at = m->answers.last + m->answer_ms;
    mono_ms end = windows_end(&m->windows);
    mono_ms settled = m->settle_since + m->config.settle_ms;

    if (end > m->answered && end < at)
        at = end;
    if (settled > m->answered && settled < at)
        at = settled;
    return at;
}

bool membership_silent(const struct membership *m)
{
    assert(m->answer_ms > 0);
    return registry_pauses_overdue(&m->answers, m->config.clock->mono,
                                   m->answer_ms, SILENT_MS);
}

mono_ms membership_last_answer(const struct membership *m)
{
    return m->answers.last;
}

bool membership_synced(const struct membership *m)
{
    return m->synced[MEMBERSHIP_NODES] && m->synced[MEMBERSHIP_OURS];
}

bool membership_settled(const struct membership *m)
{
    return membership_synced(m) && m->connected &&
           m->answered - m->settle_since >= m->config.settle_ms;
}

/* --- the watches --------------------------------------------------------- */

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
