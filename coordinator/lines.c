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
    if (ev->type == ENGINE_HELD && engine_lift(ev->word) != NULL)
        f[n++] = LOG_S("lift", engine_lift(ev->word));
    if (ev->n > 0)
        f[n++] = LOG_U("items", ev->n);
    if (ev->fence > 0)
        f[n++] = LOG_U("fence", ev->fence);
    f[n] = LOG_END;
    log_event(engine_lines[ev->type].level, engine_lines[ev->type].event, f);
}
