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

#define HUSH_MS 1000

static void log_node(const char *event, enum log_level level,
                     const struct membership_event *ev)
{
    char process[PROCESS_TEXT_SIZE];

    if (!log_enabled(level))
        return;
    log_event(level, event,
              (const struct log_field[]){
                  LOG_S("kind", node_kind_name(ev->node->kind)),
                  LOG_S("address", ev->node->address),
                  LOG_S("process", process_text(&ev->process, process)),
                  LOG_END});
}

static void say(const struct membership_event *ev)
{
    switch (ev->type) {
    case MEMBERSHIP_UP:
        log_node("+node-up", LOG_INFO, ev);
        break;
    case MEMBERSHIP_SUSPECT:
        log_node("!node-suspect", LOG_WARN, ev);
        break;
    case MEMBERSHIP_FLAP:
        log_node("+node-back", LOG_WARN, ev);
        break;
    case MEMBERSHIP_DOWN:
        log_node("-node-down", LOG_WARN, ev);
        break;
    case MEMBERSHIP_REPLACED:
        log_node("=node-replaced", LOG_WARN, ev);
        break;
    case MEMBERSHIP_FENCED:
        log_node("!node-fenced", LOG_WARN, ev);
        break;
    case MEMBERSHIP_LEFT:
        log_node("-node-left", LOG_INFO, ev);
        break;
    case MEMBERSHIP_GONE:
        if (ev->node->state == NODE_LEFT)
            break; /* all is said */
        log_node("-node-gone", LOG_INFO, ev);
        break;
    case MEMBERSHIP_REPORT:
    case MEMBERSHIP_TTL_OVER:
        break;
    }
}

static void say_suspect(struct coordinator *c, struct node *n)
{
    struct membership_event ev = {
        .type = MEMBERSHIP_SUSPECT, .node = n, .process = n->process};

    say(&ev);
    coordinator_node_extra(c, n)->hushed = 0;
    c->hushed--;
}

void coordinator_lines_membership(struct coordinator *c,
                                  const struct membership_event *ev)
{
    struct coordinator_node_extra *x = coordinator_node_extra(c, ev->node);

    if (ev->type == MEMBERSHIP_SUSPECT) {
        c->hushed += x->hushed == 0;
        x->hushed = c->clock->mono > 0 ? c->clock->mono : 1;
        return;
    }
    /* UP of one in doubt: it was not known yet. */
    if (x->hushed != 0 &&
        (ev->type == MEMBERSHIP_LEFT || ev->type == MEMBERSHIP_UP)) {
        x->hushed = 0;
        c->hushed--;
    } else if (x->hushed != 0 && ev->type != MEMBERSHIP_REPORT) {
        struct membership_event before = {.type = MEMBERSHIP_SUSPECT,
                                          .node = ev->node,
                                          .process = ev->process};

        say(&before);
        x->hushed = 0;
        c->hushed--;
    }
    say(ev);
}

void coordinator_lines_tick(struct coordinator *c)
{
    struct node *n = NULL;

    if (!membership_synced(c->membership))
        return;
    while (c->hushed > 0 && (n = membership_next(c->membership, n)) != NULL) {
        struct coordinator_node_extra *x = n->user;

        if (x != NULL && x->hushed != 0 &&
            c->clock->mono - x->hushed >= HUSH_MS)
            say_suspect(c, n);
    }
}

static const struct {
    const char *event;
    enum log_level level;
} engine_lines[] = {
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

/* Fields that an event does not have are left out. */
void coordinator_lines_engine(const struct engine_event *ev)
{
    struct log_field f[8] = {LOG_S("kind", node_kind_name(ev->kind))};
    size_t n = 1;

    if (!log_enabled(engine_lines[ev->type].level))
        return;
    if (ev->address[0] != '\0')
        f[n++] = LOG_S("address", ev->address);
    if (ev->failover[0] != '\0')
        f[n++] = LOG_S("failover", ev->failover);
    if (ev->word != NULL && ev->word[0] != '\0')
        f[n++] = LOG_S("word", ev->word);
    enum failover_cause held =
        ev->type == ENGINE_HELD ? work_cause_of(ev->word) : CAUSE_NONE;
    if (work_cause(held)->lift != NULL)
        f[n++] = LOG_S("lift", work_cause(held)->lift);
    if (ev->n > 0)
        f[n++] = LOG_U("items", ev->n);
    if (ev->fence > 0)
        f[n++] = LOG_U("fence", ev->fence);
    f[n] = LOG_END;
    log_event(engine_lines[ev->type].level, engine_lines[ev->type].event, f);
}

/* --- waiting for a lock -------------------------------------------------- */

#define LOCK_LONG_MS     10000
#define PENDING_COUNT_MS 1000

static void say_lock_wait(struct lock_wait *said, enum node_kind kind,
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
    if (now - l->counted < PENDING_COUNT_MS)
        return;
    l->counted = now;
    l->pending = engine_pending(c->engines[k]);
    if (l->pending == 0 || !registry_trouble_pace_due(&l->said, now))
        return;
    log_error("!failover-waits",
              LOG_S("kind", node_kind_name((enum node_kind)k)),
              LOG_U("nodes", l->pending),
              LOG_S("trouble", registry_trouble_texts[t.what].name),
              LOG_S("reason", t.detail),
              LOG_S("advice", registry_trouble_texts[t.what].advice));
}

void coordinator_lock_wait_tick(struct coordinator *c)
{
    struct registry_lock_wait w;

    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL)
            count_pending(c, k);

    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL && engine_waits_for(c->engines[k], &w) &&
            c->clock->mono - w.since >= LOCK_LONG_MS)
            say_lock_wait(&c->lock_waits[k], (enum node_kind)k, &w,
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
