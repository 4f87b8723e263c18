/*
 * coordinator.c - puts the parts together and makes them move.
 *
 * Events flow one way: the registry's watches feed membership and view, which
 * judge each node at once; what they tell goes on to the balancer in the same
 * turn, and for an engine it is noted which addresses it has to look at. Only
 * coordinator_tick() lets time pass (a grace that is over, an engine's work).
 * Long: every part is made, fed and ended here.
 */
#include "coordinator/coordinator_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "coordinator/removal/forget.h"
#include "coordinator/removal/removal.h"

#include <stdio.h>
#include <string.h>

#define BALANCER_TICK_MS 250 /* at most; a twentieth of a shorter heartbeat */
#define BALANCER_TICKS   20
#define SECOND_SOON_MS   50 /* leaves the loop most of its time */
#define FORGET_TICK_MS   10000
#define FORGET_AFTER_MS  (10 * 60 * 1000) /* a node gone and dealt with */

static void look(struct coordinator *c, const struct node *node)
{
    assert(node->kind < NODE_KINDS);
    if (c->engines[node->kind] != NULL)
        engine_look(c->engines[node->kind], node->address);
}

static void gone(struct coordinator *c, const struct membership_event *ev)
{
    assert(ev->type == MEMBERSHIP_DOWN || ev->type == MEMBERSHIP_REPLACED);
    if (c->engines[ev->node->kind] != NULL)
        engine_gone(c->engines[ev->node->kind], ev->node->address,
                    &ev->process);
}

static void count_node(struct coordinator *c, const struct membership_event *ev)
{
    struct snapshot_counts *n = &c->counts[ev->node->kind];

    n->downs += ev->type == MEMBERSHIP_DOWN || ev->type == MEMBERSHIP_REPLACED;
    n->flaps += ev->type == MEMBERSHIP_FLAP;
}

static void on_membership(void *arg, const struct membership_event *ev)
{
    struct coordinator *c = arg;

    assert(ev->node->gate != NULL);
    assert((ev->type == MEMBERSHIP_TTL_OVER) == (ev->key != NULL));
    count_node(c, ev);
    coordinator_lines_membership(c, ev);
    if (ev->type != MEMBERSHIP_GONE)
        coordinator_problems_node(c, ev->node,
                                  coordinator_node_extra(c, ev->node));
    switch (ev->type) {
    case MEMBERSHIP_GONE:
        coordinator_targets_forget(c, ev->node);
        c->dirty_soon = true;
        c->n_gone++;
        return;
    case MEMBERSHIP_TTL_OVER:
        removal_over(c->removal, ev, c->ranks[ev->node->kind]);
        return;
    case MEMBERSHIP_REPORT:
        c->dirty_late = true;
        break;
    case MEMBERSHIP_DOWN:
    case MEMBERSHIP_REPLACED:
        gone(c, ev);
        look(c, ev->node);
        c->dirty_soon = true;
        break;
    case MEMBERSHIP_UP:
    case MEMBERSHIP_FLAP:
    case MEMBERSHIP_FENCED:
    case MEMBERSHIP_LEFT:
        look(c, ev->node);
        c->dirty_soon = true;
        break;
    case MEMBERSHIP_SUSPECT:
        /* it may have left in order, which not every registry tells at once */
        if (ev->node->ours)
            gates_refresh(c->gates, ev->node->kind, ev->node->address);
        c->dirty_soon = true;
        break;
    }
    coordinator_targets_update(c, ev->node);
}

static void on_looked(void *arg, struct node *node)
{
    coordinator_node_changed(arg, node);
}

/* A key of a node was told. */
static void on_key(void *arg, const struct membership_key *told)
{
    struct coordinator *c = arg;

    assert(told->key != NULL || told->refused == NULL);
    assert(told->heartbeat == NULL || !told->removed);
    coordinator_written_wake(c);
    coordinator_renewals_told(c, told);
    if (told->heartbeat != NULL && told->ours)
        coordinator_place_reported(c, told->key, &told->heartbeat->seen);
    if (told->refused != NULL)
        coordinator_problems_key(c, told->key,
                                 told->removed ? NULL : told->refused);
}

static void on_written(void *arg, struct node *node,
                       const struct registry_entry *entry)
{
    coordinator_node_renew_told(arg, node, entry);
}

/* Its gate, a marker or its failover changed. */
static void on_owner(void *arg, const struct work_view_owner *owner)
{
    struct coordinator *c = arg;
    struct node *node =
        membership_find(c->membership, owner->kind, owner->address);

    assert(owner->kind < NODE_KINDS);
    assert(owner->address[0] != '\0');
    if (node != NULL)
        coordinator_targets_markers(c, node, owner);
    if (c->engines[owner->kind] != NULL)
        engine_look(c->engines[owner->kind], owner->address);
    c->dirty_late = true; /* how much it owns is load */
    coordinator_written_wake(c);
}

/* Membership and the view were told before. */
static void on_gate(void *arg, const struct gate_known *known)
{
    struct coordinator *c = arg;
    struct node *node =
        membership_find(c->membership, known->kind, known->address);

    assert(node == NULL || node->gate->state == known->gate.state);
    if (node == NULL)
        return;
    coordinator_targets_update(c, node);
    c->dirty_soon = true;
}

/* The configured policy, unless a person set another one. */
static void use_policy(struct coordinator *c, const struct settings *s)
{
    enum conf_policy policy = c->conf->balancer.policy;

    assert(c->balancer != NULL);
    if (s->policy[0] != '\0' &&
        conf_policy_parse(s->policy, &policy, NULL) != 0)
        log_warn("!settings", LOG_S("policy", s->policy),
                 LOG_S("reason", "no such policy; the configured one is used"));
    balancer_set_policy(c->balancer, policy, c->clock->mono);
    c->policy = policy;
}

/* The same of what is tried beside it. */
static void use_second(struct coordinator *c, const struct settings *s)
{
    const struct conf_second *conf = &c->conf->second;
    bool on = conf->shadow != CONF_SHADOW_OFF;
    enum conf_policy shadow =
        on ? (enum conf_policy)(conf->shadow - CONF_SHADOW_OF) : CONF_LEDGER;

    if (s->shadow[0] != '\0' &&
        conf_shadow_parse(s->shadow, &on, &shadow, NULL) != 0)
        log_warn("!settings", LOG_S("shadow", s->shadow),
                 LOG_S("reason", "no such policy; the configured one is used"));
    second_shadow(c->second, on, shadow);
    second_regret(c->second, conf->regret,
                  c->conf->balancer.heartbeat_interval_ms);
}

static void on_settings(void *arg, const struct settings *s)
{
    struct coordinator *c = arg;

    use_policy(c, s);
    use_second(c, s);
    log_info("=settings", LOG_B("paused", s->paused), LOG_S("who", s->who),
             LOG_S("policy", s->policy), LOG_S("shadow", s->shadow));
    c->dirty_soon = true;
}

static void on_state(void *arg, enum registry_state state)
{
    struct coordinator *c = arg;

    if (state == REGISTRY_CONNECTED)
        coordinator_check_timeout(c);
    log_event(state == REGISTRY_CONNECTED ? LOG_INFO : LOG_WARN, "=registry",
              (const struct log_field[]){
                  LOG_S("backend", registry_backend_name(c->registry)),
                  LOG_S("state", registry_state_name(state)),
                  LOG_U("session", registry_session(c->registry)), LOG_END});
    if (state == REGISTRY_WENT_BACK)
        coordinator_place_went_back(c);
    coordinator_renewals_state(c, state);
    if (state == REGISTRY_DISCONNECTED) {
        c->entry_session = 0;
        c->peers_synced = false;
        c->groups_synced = false; /* as the others, until listed again */
    }
    membership_answered(c->membership, registry_answered(c->registry));
    membership_connection(c->membership, state);
    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL)
            engine_connection(c->engines[k], state);
    c->dirty_soon = true;
}

static void count_failover(struct coordinator *c, const struct engine_event *ev)
{
    struct snapshot_counts *n = &c->counts[ev->kind];

    n->failovers_begun += ev->type == ENGINE_INTENT;
    n->failovers_done += ev->type == ENGINE_DONE;
    n->failovers_aborted += ev->type == ENGINE_TAKEN_BACK;
    n->failovers_held += ev->type == ENGINE_HELD;
    n->items_moved += ev->type == ENGINE_MOVED ? ev->n : 0;
    n->locks_lost += ev->type == ENGINE_LOCK_LOST;
}

static void on_engine(void *arg, const struct engine_event *ev)
{
    struct coordinator *c = arg;

    assert(ev->kind < NODE_KINDS);
    count_failover(c, ev);
    if ((ev->type == ENGINE_LOCKED || ev->type == ENGINE_UNLOCKED ||
         ev->type == ENGINE_LOCK_LOST) &&
        strcmp(ev->word, ENGINE_TO_COLLECT) != 0)
        c->entry_stale = true; /* a txn's time is not worth a write */
    if (ev->type != ENGINE_STATE)
        c->dirty_soon = true;
    coordinator_lines_engine(ev);
    if (c->config.event != NULL)
        c->config.event(c->config.event_arg, ev);
}

/* An item ended: its worker has room again before it says so itself. */
static void on_ended(void *arg, const struct work_item *item)
{
    struct coordinator *c = arg;

    if (item->kind == NODE_WORKER && item->owner[0] != '\0')
        balancer_count(c->balancer, item->owner, -1, c->clock->mono);
}

static void make_membership(struct coordinator *c)
{
    struct membership_config config = {
        .clock = c->clock,
        .gates = c->gates,
        .key = on_key,
        .written = on_written,
        .looked = on_looked,
        .grace_ms = c->conf->failover.grace_ms,
        .settle_ms = c->conf->failover.settle_ms,
        .heartbeat_interval_ms = c->conf->balancer.heartbeat_interval_ms,
        .session_timeout_ms = registry_session_timeout(c->registry),
        .answer_ms = coordinator_answer_interval(c),
    };

    assert(c->gates != NULL);
    assert(c->membership == NULL);
    c->membership = membership_new(&config, on_membership, c);
}

static void make_removal(struct coordinator *c)
{
    const struct removal_config config = {.clock = c->clock,
                                          .registry = c->registry,
                                          .membership = c->membership,
                                          .raiser = c->raiser};

    assert(c->removal == NULL);
    c->removal = removal_new(&config);
    c->forgetter = forgetter_new(c->clock, c->registry, COORDINATORS_PREFIX);
}

void coordinator_use_rings(struct coordinator *c, struct rings *rings)
{
    assert(c->removal != NULL);
    removal_use_rings(c->removal, rings);
    forgetter_use_rings(c->forgetter, rings);
}

static void make_work(struct coordinator *c)
{
    struct view_config view = {
        .clock = c->clock,
        .registry = c->registry,
        .gates = c->gates,
        .changed = on_owner,
        .settings_changed = on_settings,
        .arg = c,
    };
    struct work_config work = {
        .clock = c->clock,
        .registry = c->registry,
        .membership = c->membership,
        .target = coordinator_targets_choose,
        .unused = coordinator_targets_unused,
        .target_arg = c,
        .ended = on_ended,
        .ended_arg = c,
        .seed = rand_u64(&c->rand),
    };

    assert(c->membership != NULL);
    assert(c->work == NULL);
    c->view = work_view_new(&view);
    work.view = c->view;
    c->work = work_new(&work);
}

/* Alert servers own nothing of ours: only a hook fails them over. */
static void make_engine(struct coordinator *c, enum node_kind kind,
                        const char *lock_key)
{
    struct engine_config config = {
        .clock = c->clock,
        .conf = &c->conf->failover,
        .kind = kind,
        .lock_key = lock_key,
        .self = c->self,
        .registry = c->registry,
        .membership = c->membership,
        .gates = c->gates,
        .view = c->view,
        .target = coordinator_targets_choose,
        .unused = coordinator_targets_unused,
        .takes = coordinator_targets_any,
        .target_arg = c,
        .event = on_engine,
        .event_arg = c,
        .work_keep_ms = c->conf->work_keep_ms,
        .forget_after_ms = c->conf->forget_after_ms,
        .collect_interval_ms = c->conf->collect_interval_ms,
        .hooks = c->config.hooks,
    };

    assert(c->engines[kind] == NULL);
    assert(c->view != NULL);
    if (kind == NODE_ALERT_SERVER && !engine_hooked(&config))
        return;
    config.seed = rand_u64(&c->rand);
    c->engines[kind] = engine_new(&config);
}

void coordinator_reload(struct coordinator *c)
{
    assert(c->view != NULL);
    c->entry_stale = true;
    coordinator_groups_reload(c); /* and the balancer's settings */
    use_policy(c, work_view_settings(c->view));
    use_second(c, work_view_settings(c->view));
    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL)
            engine_reload(c->engines[k]);
    coordinator_nodes_changed(c); /* the age of a report, by other settings */
    c->dirty_soon = true;
}

void coordinator_watch_nodes(struct coordinator *c)
{
    gates_watch(c->gates);
    membership_watch(c->membership, c->registry);
}

/* Nodes and their gates too, but in groups after what they rest on was read:
 * coordinator_renewals_begin(). */
static void begin_watching(struct coordinator *c)
{
    struct registry *r = c->registry;

    assert(c->watch_peers == NULL);
    assert(c->watch_groups == NULL);
    assert(c->listener == NULL);
    registry_on_unfit(r, coordinator_problems_key, c);
    c->watch_peers =
        registry_watch(r, COORDINATORS_PREFIX, coordinator_entry_event, c);
    c->watch_groups =
        registry_watch(r, GROUPS_PREFIX, coordinator_groups_event, c);
    coordinator_renewals_begin(c);
    c->listener = registry_listen(r, on_state, c);
}

struct coordinator *coordinator_new(const struct coordinator_config *from)
{
    struct coordinator *c = mem_zalloc(sizeof(*c));

    assert(from->conf != NULL && from->clock != NULL);
    assert(from->registry != NULL && from->self != NULL);
    c->config = *from;
    c->conf = from->conf;
    c->clock = from->clock;
    c->registry = from->registry;
    snprintf(c->self, sizeof(c->self), "%s", from->self);
    rand_seed(&c->rand, from->seed);
    c->instance = (rand_u64(&c->rand) & ((UINT64_C(1) << 40) - 1)) | 1;
    c->index = 1;
    c->slot = coordinator_snapshot_slot_new();
    coordinator_shown_begin(c);
    c->balancer =
        balancer_new(&c->conf->balancer, rand_u64(&c->rand), c->instance);
    c->policy = c->conf->balancer.policy;
    c->second = second_new(c->balancer);
    balancer_hold(c->balancer, true);
    c->gates = gates_new_idle(c->clock, c->registry);
    c->raiser = raiser_new(c->clock, c->registry);
    make_membership(c);
    make_removal(c);
    make_work(c);
    gates_listen(c->gates, on_gate, c);
    make_engine(c, NODE_MASTER, c->conf->failover.master_lock);
    make_engine(c, NODE_WORKER, c->conf->failover.worker_lock);
    make_engine(c, NODE_ALERT_SERVER, c->conf->failover.alert_server_lock);
    coordinator_groups_reload(c);
    use_second(c, work_view_settings(c->view));
    c->started = c->clock->wall;
    c->entry_retry = c->clock->mono;
    begin_watching(c);
    coordinator_publish_now(c);
    return c;
}

/* Absent for long, owning nothing, and no failover of it under way: nobody
 * asks for it any more. Its gate stays in the registry. */
static bool forgettable(const struct coordinator *c, const struct node *n)
{
    assert(n->gate != NULL);
    return (n->state == NODE_DOWN || n->state == NODE_FENCED ||
            n->state == NODE_LEFT) &&
           !n->registered &&
           c->clock->mono - n->state_since >= FORGET_AFTER_MS &&
           work_view_marker_count(c->view, n->kind, n->address) == 0 &&
           work_view_failover(c->view, n->kind, n->address) == NULL;
}

/* Estimates decay from one heartbeat to the next: what is seen of that must not
 * be in steps that are long beside it. */
static bool balancer_is_due(const struct coordinator *c)
{
    int64_t every = c->conf->balancer.heartbeat_interval_ms / BALANCER_TICKS;

    return c->clock->mono - c->balancer_ticked >=
           (every < BALANCER_TICK_MS ? every : BALANCER_TICK_MS);
}

static void forget_tick(struct coordinator *c)
{
    struct node *n, *next;

    assert(c->forgot <= c->clock->mono);
    if (c->clock->mono - c->forgot < FORGET_TICK_MS)
        return;
    c->forgot = c->clock->mono;
    for (n = membership_next(c->membership, NULL); n != NULL; n = next) {
        next = membership_next(c->membership, n);
        if (forgettable(c, n))
            membership_forget(c->membership, n);
    }
}

/* All that stands was read at once; what was shown of it first, and what was
 * built upon it, waited a while for its turn (second.h). And many have gone. */
static void tidy(struct coordinator *c)
{
    static const int64_t again[] = {TIDY_SOON_MS, TIDY_AGAIN_MS};

    if (c->tidy == 0 && c->n_gone >= TIDY_GONE) {
        c->tidy = c->clock->mono + TIDY_GONE_MS;
        c->n_gone = 0;
    }
    if (c->tidy == 0 || c->clock->mono < c->tidy)
        return;
    c->tidy =
        c->tidied < ARRAY_LEN(again) ? c->clock->mono + again[c->tidied++] : 0;
    mem_give_back();
}

void coordinator_tick(struct coordinator *c)
{
    bool exists = coordinator_entry_exists(c);

    assert(c->published <= c->clock->mono);
    assert(c->index > 0);
    coordinator_sync_tick(c);
    coordinator_place_tick(c);
    coordinator_renewals_tick(c);
    membership_tick(c->membership);
    coordinator_lines_tick(c);
    coordinator_groups_tick(c);
    coordinator_requests_tick(c);
    if (!c->leaving) {
        removal_tick(c->removal);
        forgetter_tick(c->forgetter);
    }
    raiser_tick(c->raiser);
    work_tick(c->work);
    coordinator_entry_tick(c);
    for (int k = 0; k < NODE_KINDS; k++) {
        if (c->engines[k] == NULL || c->leaving)
            continue;
        engine_set_own_entry(c->engines[k], exists);
        engine_tick(c->engines[k]);
    }
    forget_tick(c);
    coordinator_lock_wait_tick(c);
    coordinator_freeze_balancer(c);
    if (!c->known && coordinator_synced(c)) {
        c->known = true;
        balancer_hold(c->balancer, false);
        c->tidy = c->clock->mono;
    }
    tidy(c);
    if (balancer_is_due(c)) {
        balancer_tick(c->balancer, c->clock->mono);
        c->balancer_ticked = c->clock->mono;
    }
    if (second_turn(c->second, c->clock->mono) && c->config.soon != NULL)
        c->config.soon(c->config.soon_arg, SECOND_SOON_MS);
    coordinator_written_tick(c);
    coordinator_publish_tick(c);
    coordinator_written_answer(c);
    coordinator_waits_tick(c);
}

/* --- leaving ------------------------------------------------------------- */

static void end_engines(struct coordinator *c, bool told)
{
    for (int k = 0; k < NODE_KINDS; k++) {
        if (c->engines[k] == NULL)
            continue;
        if (told)
            engine_free(&c->engines[k]);
        else
            engine_abandon(&c->engines[k]);
    }
}

/* No waits any more; not `told`: whoever waits is not answered. */
static void end_clients(struct coordinator *c, bool told)
{
    c->leaving = true;
    coordinator_waits_end(c, told);
    coordinator_written_end(c, told);
    assert(c->n_waits == 0);
    assert(c->n_write_waits == 0);
}

void coordinator_leave(struct coordinator *c, void (*left)(void *arg),
                       void *arg)
{
    assert(!c->leaving);
    log_info("-coordinator", LOG_S("address", c->self));
    end_clients(c, true);
    end_engines(c, true);
    c->left = left;
    c->left_arg = arg;
    if (coordinator_entry_exists(c))
        coordinator_entry_remove(c);
    else
        left(arg);
}

/* All ends; not `told`: without a call to the registry or to a client. */
static void coordinator_close(struct coordinator **coordinator, bool told)
{
    struct coordinator *c = *coordinator;

    if (c == NULL)
        return;
    end_clients(c, told);
    coordinator_renewals_end(c, told);
    coordinator_requests_end(c, told);
    removal_free(&c->removal, told);
    forgetter_free(&c->forgetter, told);
    raiser_free(&c->raiser, told);
    if (told) {
        registry_unlisten(&c->listener);
        membership_unwatch(c->membership);
        registry_unwatch(&c->watch_groups);
        registry_unwatch(&c->watch_peers);
        gates_unwatch(c->gates);
        registry_forget(c->registry, c);
    }
    end_engines(c, told);
    if (told) {
        work_free(&c->work);
        work_view_free(&c->view);
    } else {
        work_abandon(&c->work);
        work_view_abandon(&c->view);
    }
    assert(c->requests == NULL);
    coordinator_targets_end(c);
    coordinator_groups_end(c);
    coordinator_problems_end(c);
    coordinator_entry_end(c);
    second_free(&c->second);
    balancer_free(&c->balancer);
    membership_free(&c->membership);
    gates_free(&c->gates);
    coordinator_publish_end(c);
    coordinator_snapshot_slot_free(&c->slot);
    MEM_FREE(*coordinator);
}

void coordinator_free(struct coordinator **c)
{
    coordinator_close(c, true);
}

void coordinator_abandon(struct coordinator **c)
{
    coordinator_close(c, false);
}

/* --- who is where -------------------------------------------------------- */

uint64_t coordinator_instance(const struct coordinator *c)
{
    assert(c->instance != 0);
    return c->instance;
}

bool coordinator_trouble(const struct coordinator *c,
                         struct registry_trouble *out)
{
    return registry_trouble(c->registry, out);
}

struct balancer *coordinator_balancer(struct coordinator *c)
{
    return c->balancer;
}

struct second *coordinator_second(struct coordinator *c)
{
    return c->second;
}

struct snapshot *coordinator_snapshot(struct coordinator *c)
{
    struct snapshot *s = coordinator_snapshot_acquire(c->slot);

    assert(s != NULL);
    return s;
}

wall_ms coordinator_as_of(const struct coordinator *c, bool *stale)
{
    return coordinator_snapshot_as_of(c->slot, stale);
}

struct work *coordinator_work(struct coordinator *c)
{
    return c->work;
}

struct engine *coordinator_engine(struct coordinator *c, enum node_kind kind)
{
    assert(kind < NODE_KINDS);
    return c->engines[kind];
}
