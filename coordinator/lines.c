/*
 * lines.c - what the log says of the cluster: one line for each change of a
 * node and each step of a failover, with the words that people search for.
 *
 * That a node leaves in order is told by two keys, its own and its gate, and
 * some registries tell of the one a little before the other: a suspicion is
 * said when it lasts, or when something comes of it. Likewise at a start, and
 * where another coordinator let a process in: a gate may be heard of before the
 * key of its node, and a node that is there was never in doubt.
 */
#include "coordinator/coordinator_priv.h"

#include "base/log.h"

#include <string.h>

#define SUSPECT_QUIET_MS 1000

struct line {
    const char *event; /* NULL: nothing is said */
    enum log_level level;
};

static const struct line node_lines[] = {
    [MEMBERSHIP_UP] = {"+node-up", LOG_INFO},
    [MEMBERSHIP_REPORT] = {NULL, LOG_INFO},
    [MEMBERSHIP_SUSPECT] = {"!node-suspect", LOG_WARN},
    [MEMBERSHIP_FLAP] = {"+node-back", LOG_WARN},
    [MEMBERSHIP_DOWN] = {"-node-down", LOG_WARN},
    [MEMBERSHIP_REPLACED] = {"=node-replaced", LOG_WARN},
    [MEMBERSHIP_FENCED] = {"!node-fenced", LOG_WARN},
    [MEMBERSHIP_LEFT] = {"-node-left", LOG_INFO},
    [MEMBERSHIP_GONE] = {"-node-gone", LOG_INFO},
    [MEMBERSHIP_TTL_OVER] = {NULL, LOG_INFO},
};

static void log_node(enum membership_event_type type, const struct node *node,
                     const struct process *process)
{
    const struct line *line = &node_lines[type];
    char text[PROCESS_TEXT_SIZE];

    enum log_level level = line->level;

    assert((size_t)type < ARRAY_LEN(node_lines));
    if (type == MEMBERSHIP_GONE && node->state == NODE_LEFT)
        level = LOG_DEBUG; /* it was said when it left */
    if (line->event == NULL || !log_enabled(level))
        return;
    log_event(level, line->event,
              (const struct log_field[]){
                  LOG_S("kind", node_kind_name(node->kind)),
                  LOG_S("address", node->address),
                  LOG_S("process", process_text(process, text)), LOG_END});
}

/* What was held back is said now, or never. */
static void suspect_end(struct coordinator *c, struct node *n,
                        const struct process *process, bool log)
{
    struct coordinator_node_extra *x = coordinator_node_extra(c, n);

    if (!heap_has(&x->suspect))
        return;
    heap_remove(&c->suspects, &x->suspect);
    assert(!heap_has(&x->suspect));
    if (log)
        log_node(MEMBERSHIP_SUSPECT, n, process);
}

void coordinator_lines_membership(struct coordinator *c,
                                  const struct membership_event *ev)
{
    struct coordinator_node_extra *x = coordinator_node_extra(c, ev->node);

    assert(x == ev->node->user);
    if (ev->type == MEMBERSHIP_SUSPECT) {
        heap_set(&c->suspects, &x->suspect, c->clock->mono + SUSPECT_QUIET_MS);
        return;
    }
    /* UP of one in doubt: it was not known yet. */
    if (ev->type != MEMBERSHIP_REPORT)
        suspect_end(c, ev->node, &ev->process,
                    ev->type != MEMBERSHIP_LEFT && ev->type != MEMBERSHIP_UP);
    if (ev->type != MEMBERSHIP_GONE || ev->node->state != NODE_LEFT)
        log_node(ev->type, ev->node, &ev->process);
}

/* However many nodes there are, only the suspects are looked at. */
void coordinator_lines_tick(struct coordinator *c)
{
    if (!membership_synced(c->membership))
        return;
    while (heap_due(&c->suspects) <= c->clock->mono) {
        struct coordinator_node_extra *x = CONTAINER_OF(
            heap_first(&c->suspects), struct coordinator_node_extra, suspect);

        assert(heap_has(&x->suspect));
        suspect_end(c, x->node, &x->node->process, true);
    }
}

static const struct line engine_lines[] = {
    [ENGINE_STATE] = {"=failover-state", LOG_DEBUG},
    [ENGINE_INTENT] = {"+failover", LOG_WARN},
    [ENGINE_RESUMED] = {"=failover-resumed", LOG_WARN},
    [ENGINE_OPENED] = {"=gate-opened", LOG_INFO},
    [ENGINE_TAKEN_BACK] = {"-failover-aborted", LOG_WARN},
    [ENGINE_MOVED] = {"=failover-moved", LOG_INFO},
    [ENGINE_DONE] = {"-failover", LOG_WARN},
    [ENGINE_QUEUED] = {"=failover-queued", LOG_WARN},
    [ENGINE_HELD] = {"!failover-held", LOG_ERROR},
    [ENGINE_LIFTED] = {"=failover-lifted", LOG_WARN},
    [ENGINE_LOCKED] = {"+lock", LOG_INFO},
    [ENGINE_UNLOCKED] = {"-lock", LOG_INFO},
    [ENGINE_LOCK_LOST] = {"!lock-lost", LOG_WARN},
};

/* A lock that was taken to collect is nobody's news. */
static enum log_level level_of(const struct engine_event *ev)
{
    bool collects =
        ev->word != NULL && strcmp(ev->word, ENGINE_TO_COLLECT) == 0;

    return collects ? LOG_DEBUG : engine_lines[ev->type].level;
}

/* Fields that an event does not have are left out. */
void coordinator_lines_engine(const struct engine_event *ev)
{
    struct log_field f[8] = {LOG_S("kind", node_kind_name(ev->kind))};
    const struct line *line = &engine_lines[ev->type];
    size_t n = 1;

    assert((size_t)ev->type < ARRAY_LEN(engine_lines));
    if (!log_enabled(level_of(ev)))
        return;
    if (ev->address[0] != '\0')
        f[n++] = LOG_S("address", ev->address);
    if (ev->failover[0] != '\0')
        f[n++] = LOG_S("failover", ev->failover);
    if (ev->word != NULL && ev->word[0] != '\0')
        f[n++] = LOG_S("word", ev->word);
    if (work_cause(ev->cause)->lift != NULL)
        f[n++] = LOG_S("lift", work_cause(ev->cause)->lift);
    if (ev->n > 0)
        f[n++] = LOG_U("items", ev->n);
    if (ev->fence > 0)
        f[n++] = LOG_U("fence", ev->fence);
    assert(n < ARRAY_LEN(f));
    f[n] = LOG_END;
    log_event(level_of(ev), line->event, f);
}

/* --- waiting for a lock -------------------------------------------------- */

#define LOCK_LONG_MS     10000
#define PENDING_COUNT_MS 1000

static void log_lock_wait(struct lock_wait *said, enum node_kind kind,
                          const struct registry_lock_wait *w, int64_t waited_ms)
{
    const char *holder = w->holder[0] != '\0' ? w->holder : "unknown";

    assert(waited_ms >= LOCK_LONG_MS);
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

    assert(c->engines[k] != NULL);
    if (!registry_trouble(c->registry, &t)) {
        l->pending = 0;
        return;
    }
    if (now - l->counted < PENDING_COUNT_MS)
        return;
    l->counted = now;
    l->pending = engine_pending(c->engines[k]);
    if (l->pending == 0 || !registry_trouble_pace_due(&l->pace, now))
        return;
    log_error("!failover-waits",
              LOG_S("kind", node_kind_name((enum node_kind)k)),
              LOG_U("nodes", l->pending),
              LOG_S("trouble", registry_trouble_texts[t.what].name),
              LOG_S("reason", t.detail),
              LOG_S("advice", registry_trouble_texts[t.what].advice));
}

static void lock_wait_tick(struct coordinator *c, int kind)
{
    struct registry_lock_wait w;

    assert(c->engines[kind] != NULL);
    count_pending(c, kind);
    if (engine_waits_for(c->engines[kind], &w) &&
        c->clock->mono - w.since >= LOCK_LONG_MS)
        log_lock_wait(&c->lock_waits[kind], (enum node_kind)kind, &w,
                      c->clock->mono - w.since);
}

void coordinator_lock_wait_tick(struct coordinator *c)
{
    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL)
            lock_wait_tick(c, k);
}

void coordinator_lock_wait_fill(struct coordinator *c, struct snapshot *s,
                                int kind)
{
    struct registry_lock_wait w;

    assert(c->engines[kind] != NULL);
    assert(s->lock_holder[kind] == NULL);
    s->pending[kind] = (uint32_t)c->lock_waits[kind].pending;
    if (!engine_waits_for(c->engines[kind], &w))
        return;
    s->lock_holder[kind] = coordinator_snapshot_str(s, w.holder);
    s->lock_since[kind] = c->clock->wall - (c->clock->mono - w.since);
}
