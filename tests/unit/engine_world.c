/*
 * engine_world.c - see engine_world.h. Design: nothing here knows how the
 * engine works; it starts, kills and looks into the registry.
 */
#include "tests/unit/engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above */
#include <cmocka.h>

#define STEP_MS 20

struct process process_of(int64_t startup)
{
    return (struct process){
        .startup_time = startup, .process_id = startup % 1000, .known = true};
}

/* --- coordinators -------------------------------------------------------- */

static void on_nodes(void *arg, const struct registry_event *ev)
{
    struct world_coordinator *c = arg;
    membership_feed(c->membership, MEMBERSHIP_NODES, ev);
}

static void on_ours(void *arg, const struct registry_event *ev)
{
    struct world_coordinator *c = arg;
    membership_feed(c->membership, MEMBERSHIP_OURS, ev);
}

static void on_removed(void *arg, const struct registry_reply *reply)
{
    (void)arg;
    (void)reply;
}

static void on_member(void *arg, const struct membership_event *ev)
{
    struct world_coordinator *c = arg;
    if (ev->type == MEMBERSHIP_TTL_OVER)
        registry_delete(c->registry, ev->key, ev->version, on_removed, NULL);
    if (c->engine != NULL && ev->node->kind == c->world->kind &&
        (ev->type == MEMBERSHIP_DOWN || ev->type == MEMBERSHIP_REPLACED))
        engine_gone(c->engine, ev->node->address, &ev->process);
    if (c->engine != NULL && ev->node->kind == c->world->kind &&
        (ev->type == MEMBERSHIP_DOWN || ev->type == MEMBERSHIP_REPLACED ||
         ev->type == MEMBERSHIP_UP))
        engine_look(c->engine, ev->node->address);
}

static void on_state(void *arg, enum registry_state state)
{
    struct world_coordinator *c = arg;
    membership_connection(c->membership, state);
    if (c->engine != NULL)
        engine_connection(c->engine, state);
}

static void on_changed(void *arg, const struct work_view_owner *owner)
{
    struct world_coordinator *c = arg;
    if (c->engine != NULL && owner->kind == c->world->kind)
        engine_look(c->engine, owner->address);
}

static void on_event(void *arg, const struct engine_event *ev)
{
    static const char *const names[] = {
        [ENGINE_STATE] = "state",       [ENGINE_INTENT] = "intent",
        [ENGINE_RESUMED] = "resumed",   [ENGINE_TAKEN_BACK] = "taken-back",
        [ENGINE_OPENED] = "opened",     [ENGINE_MOVED] = "moved",
        [ENGINE_DONE] = "done",         [ENGINE_HELD] = "held",
        [ENGINE_LIFTED] = "lifted",     [ENGINE_LOCKED] = "locked",
        [ENGINE_UNLOCKED] = "unlocked", [ENGINE_LOCK_LOST] = "lock-lost",
    };
    struct world_coordinator *c = arg;
    size_t len = strlen(c->log);
    if (getenv("WORLD_LOG") != NULL)
        print_message("%8lld %s %s %s %s %s %zu\n",
                      (long long)c->world->clock.mono, c->self, names[ev->type],
                      ev->address, ev->failover, ev->word, ev->n);
    if (ev->type == ENGINE_STATE)
        return;
    (void)snprintf(c->log + len, sizeof(c->log) - len, "%s:%s:%s ",
                   names[ev->type], ev->address, ev->word);
}

/* The next open node in turn, by our cache, as a balancer would. */
static void pick(void *arg, enum node_kind kind, const char *group,
                 const char *const *exclude, size_t n_exclude,
                 struct work_target *out)
{
    struct world_coordinator *c = arg;
    struct node *list[WORLD_NODES], *n = NULL;
    size_t count = 0;
    if (c->world->closed_group != NULL &&
        strcmp(c->world->closed_group, group) == 0) {
        out->code = PROBLEM_GROUP_EMPTY;
        return;
    }
    while ((n = membership_next(c->membership, n)) != NULL) {
        bool no = n->kind != kind || n->state != NODE_UP ||
                  !gate_takes(n->gate, &n->process);
        for (size_t i = 0; i < n_exclude; i++)
            no = no || strcmp(exclude[i], n->address) == 0;
        if (!no && count < WORLD_NODES)
            list[count++] = n;
    }
    if (count == 0) {
        out->code = PROBLEM_GROUP_EMPTY;
        return;
    }
    (void)snprintf(out->address, sizeof(out->address), "%s",
                   list[c->picks++ % count]->address);
    out->counted = true;
    c->counted++;
}

static void unused(void *arg, enum node_kind kind,
                   const struct work_target *target)
{
    struct world_coordinator *c = arg;
    assert_int_equal(kind, c->world->kind);
    assert_true(target->counted && c->counted > 0);
    c->counted--;
}

/* As pick() would find it. */
static bool takes(void *arg, enum node_kind kind, const char *group)
{
    struct world_coordinator *c = arg;
    struct work_target out = {.code = PROBLEM_NONE};
    unsigned picks = c->picks;
    pick(c, kind, group, NULL, 0, &out);
    c->picks = picks;
    return out.code == PROBLEM_NONE || c->world->takes_all;
}

void world_start(struct world *w, size_t i)
{
    struct world_coordinator *c = &w->c[i];
    assert_null(c->registry);
    memset(c, 0, sizeof(*c));
    c->world = w;
    (void)snprintf(c->self, sizeof(c->self), "c%zu:7077", i);
    c->registry = memory_open(w->store, WORLD_SESSION_MS);
    c->gates = gates_new(&w->clock, c->registry);
    struct membership_config mc = {.clock = &w->clock,
                                   .gates = c->gates,
                                   .grace_ms = w->conf.grace_ms,
                                   .settle_ms = w->conf.settle_ms,
                                   .heartbeat_interval_ms = 500,
                                   .session_timeout_ms = WORLD_SESSION_MS,
                                   .answer_ms = WORLD_SESSION_MS / 6};
    c->membership = membership_new(&mc, on_member, c);
    c->nodes = registry_watch(c->registry, "/nodes", on_nodes, c);
    c->ours = registry_watch(c->registry, "/pelorus/nodes", on_ours, c);
    struct view_config vc = {.clock = &w->clock,
                             .registry = c->registry,
                             .gates = c->gates,
                             .changed = on_changed,
                             .arg = c};
    c->view = work_view_new(&vc);
    struct engine_hooks hooks = world_hooks(w);
    struct engine_config ec = {
        .clock = &w->clock,
        .conf = &w->conf,
        .kind = w->kind,
        .lock_key =
            w->kind == NODE_MASTER ? w->conf.master_lock : w->conf.worker_lock,
        .self = c->self,
        .registry = c->registry,
        .membership = c->membership,
        .gates = c->gates,
        .view = c->view,
        .target = pick,
        .unused = unused,
        .takes = takes,
        .target_arg = c,
        .event = on_event,
        .event_arg = c,
        .work_keep_ms = w->keep_ms,
        .forget_after_ms = w->forget_ms > 0 ? w->forget_ms : 86400000,
        .collect_interval_ms = w->forget_ms > 0 ? 1000 : 10000,
        .seed = 7 + i,
        .hooks = &hooks,
    };
    c->engine = engine_new(&ec);
    engine_set_rank(c->engine, (uint32_t)i);
    c->listener = registry_listen(c->registry, on_state, c);
}

void world_kill(struct world *w, size_t i)
{
    struct world_coordinator *c = &w->c[i];
    assert_non_null(c->registry);
    memory_kill(&c->registry);
    engine_abandon(&c->engine);
    work_view_abandon(&c->view);
    membership_free(&c->membership);
    gates_free(&c->gates);
}

static void stop(struct world_coordinator *c)
{
    if (c->registry == NULL)
        return;
    engine_free(&c->engine);
    work_view_free(&c->view);
    gates_unwatch(c->gates);
    registry_unwatch(&c->nodes);
    registry_unwatch(&c->ours);
    registry_unlisten(&c->listener);
    membership_free(&c->membership);
    gates_free(&c->gates);
    registry_close(&c->registry, NULL, NULL);
}

void world_open_kind(struct world *w, size_t coordinators, enum node_kind kind)
{
    static char master_lock[] = "/lock/master-failover";
    static char worker_lock[] = "/lock/worker-failover";
    memset(w, 0, sizeof(*w));
    w->kind = kind;
    w->keep_ms = 10000;
    w->clock.mono = 1000;
    w->clock.wall = 1700000000000;
    w->store = memory_store_new(&w->clock, 42);
    w->conf = (struct conf_failover){.enabled = true,
                                     .grace_ms = 200,
                                     .settle_ms = 500,
                                     .reconcile_interval_ms = 1000,
                                     .master_lock = master_lock,
                                     .worker_lock = worker_lock,
                                     .poison_limit = 3,
                                     .poison_window_ms = 600000,
                                     .brake_window_ms = 60000,
                                     .brake_share = 0.3,
                                     .brake_min = 3,
                                     .hook_timeout_ms = 1000};
    w->admin = memory_open(w->store, 3600000);
    for (size_t i = 0; i < coordinators; i++)
        world_start(w, i);
    world_run(w, 100);
}

void world_open(struct world *w, size_t coordinators)
{
    world_open_kind(w, coordinators, NODE_MASTER);
}

void world_close(struct world *w)
{
    for (size_t i = 0; i < WORLD_COORDINATORS; i++)
        stop(&w->c[i]);
    for (size_t i = 0; i < WORLD_NODES; i++)
        if (w->nodes[i].used && w->nodes[i].registry != NULL)
            registry_close(&w->nodes[i].registry, NULL, NULL);
    registry_close(&w->admin, NULL, NULL);
    (void)memory_run(w->store, w->clock.mono + 10000);
    memory_store_free(&w->store);
}

/* --- time ---------------------------------------------------------------- */

static void step(struct world *w)
{
    mono_ms before = w->clock.mono;
    if (w->between != NULL)
        w->between(w);
    wall_ms wall = w->clock.wall;
    (void)memory_run(w->store, before + STEP_MS);
    w->clock.wall = wall + STEP_MS;
    for (size_t i = 0; i < WORLD_COORDINATORS; i++) {
        struct world_coordinator *c = &w->c[i];
        if (c->registry == NULL || c->frozen)
            continue;
        membership_answered(c->membership, registry_answered(c->registry));
        if (w->clock.mono >= membership_answer_due(c->membership))
            registry_prove(c->registry);
        membership_tick(c->membership);
        work_view_tick(c->view);
        engine_tick(c->engine);
    }
}

void world_run(struct world *w, int64_t ms)
{
    for (int64_t t = 0; t < ms; t += STEP_MS)
        step(w);
}

bool world_until(struct world *w, int64_t ms, bool (*done)(struct world *w))
{
    for (int64_t t = 0; t < ms; t += STEP_MS) {
        step(w);
        if (done(w))
            return true;
    }
    return false;
}

bool engines_idle(struct world *w)
{
    for (size_t i = 0; i < WORLD_COORDINATORS; i++)
        if (w->c[i].registry != NULL &&
            strcmp(engine_state_name(w->c[i].engine), "idle") != 0)
            return false;
    return true;
}

/* --- writing ------------------------------------------------------------- */

static void on_put(void *arg, const struct registry_reply *reply)
{
    enum err_code *code = arg;
    if (reply->err.code != ERR_OK)
        print_message("put: %s\n", reply->err.msg);
    *code = reply->err.code;
}

static void put(struct world *w, struct registry *r, const char *key,
                const char *value, size_t len, bool ephemeral)
{
    enum err_code code = ERR_CANCELLED;
    mono_ms until = w->clock.mono;
    wall_ms wall = w->clock.wall;
    while (registry_session(r) == 0 && until < w->clock.mono + 2000)
        (void)memory_run(w->store, ++until);
    registry_put(r, key, value, len, REGISTRY_ANY, 0, ephemeral, on_put, &code);
    while (code == ERR_CANCELLED && until < w->clock.mono + 2000)
        (void)memory_run(w->store, ++until);
    w->clock.wall = wall;
    assert_int_equal(code, ERR_OK);
}

void put_key(struct world *w, const char *key, const struct buf *value)
{
    put(w, w->admin, key, value->data, value->len, false);
}

void put_gate(struct world *w, const char *address, const struct gate *gate)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;
    buf_init(&b, REGISTRY_VALUE_MAX);
    gate_write(&b, gate);
    put(w, w->admin, gate_key(w->kind, address, key, sizeof(key)), buf_text(&b),
        b.len, false);
    buf_close(&b);
}

void put_settings(struct world *w, const struct settings *s)
{
    struct buf b;
    buf_init(&b, REGISTRY_VALUE_MAX);
    work_settings_write(&b, s);
    put(w, w->admin, SETTINGS_KEY, buf_text(&b), b.len, false);
    buf_close(&b);
}

void put_item(struct world *w, const struct work_item *item)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct marker m;
    struct buf b;
    buf_init(&b, REGISTRY_VALUE_MAX);
    work_item_write(&b, item);
    put(w, w->admin, work_key(item->id, key), buf_text(&b), b.len, false);
    buf_reset(&b);
    if (item->state != WORK_DONE && item->state != WORK_DROPPED) {
        work_marker_of(&m, item);
        work_marker_write(&b, &m);
        work_marker_key(item->kind,
                        strcmp(m.address, "-") == 0 ? NULL : m.address,
                        item->id, key);
        put(w, w->admin, key, buf_text(&b), b.len, false);
    }
    buf_close(&b);
}

void give_policy(struct world *w, const char *address, int64_t startup,
                 const char *id, enum work_policy policy)
{
    struct gate gate;
    struct work_item item;
    if (!find_gate(w, address, &gate)) {
        memset(&gate, 0, sizeof(gate));
        gate.state = GATE_OPEN;
        gate.process = process_of(startup);
        put_gate(w, address, &gate);
    }
    memset(&item, 0, sizeof(item));
    (void)snprintf(item.id, sizeof(item.id), "%s", id);
    (void)snprintf(item.group, sizeof(item.group), "default");
    (void)snprintf(item.owner, sizeof(item.owner), "%s", address);
    item.kind = w->kind;
    item.state = WORK_ASSIGNED;
    item.process = process_of(startup);
    item.epoch = 1;
    item.policy = policy;
    item.attempts = 1;
    item.assigned_at = w->clock.wall;
    put_item(w, &item);
}

void give(struct world *w, const char *address, int64_t startup,
          const char *prefix, size_t n)
{
    char id[64];
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(id, sizeof(id), "%s-%zu", prefix, i);
        give_policy(w, address, startup, id, WORK_REASSIGN);
    }
}

/* --- nodes --------------------------------------------------------------- */

void node_start_at(struct world *w, enum node_kind kind, const char *address,
                   int64_t startup, const char *key)
{
    char value[256];
    struct world_node *n = NULL;
    for (size_t i = 0; i < WORLD_NODES && n == NULL; i++)
        if (!w->nodes[i].used)
            n = &w->nodes[i];
    assert_non_null(n);
    n->used = true;
    n->kind = kind;
    n->startup = startup;
    (void)snprintf(n->address, sizeof(n->address), "%s", address);
    n->registry = memory_open(w->store, WORLD_SESSION_MS);
    (void)snprintf(value, sizeof(value),
                   "{\"startupTime\":%lld,\"processId\":%lld,"
                   "\"cpuUsage\":0.1,\"memoryUsage\":0.1}",
                   (long long)startup, (long long)(startup % 1000));
    put(w, n->registry, key, value, strlen(value), true);
}

void node_start_kind(struct world *w, enum node_kind kind, const char *address,
                     int64_t startup)
{
    char key[128];
    (void)snprintf(key, sizeof(key), "/nodes/%s/%s", node_kind_name(kind),
                   address);
    node_start_at(w, kind, address, startup, key);
}

void node_start(struct world *w, const char *address, int64_t startup)
{
    node_start_kind(w, NODE_MASTER, address, startup);
}

static struct world_node *node_of(struct world *w, const char *address)
{
    for (size_t i = 0; i < WORLD_NODES; i++)
        if (w->nodes[i].used && strcmp(w->nodes[i].address, address) == 0)
            return &w->nodes[i];
    fail_msg("no node %s", address);
    return NULL;
}

void node_kill(struct world *w, const char *address)
{
    struct world_node *n = node_of(w, address);
    memory_kill(&n->registry);
    memset(n, 0, sizeof(*n));
}

void node_leave(struct world *w, const char *address)
{
    struct world_node *n = node_of(w, address);
    registry_close(&n->registry, NULL, NULL);
    memset(n, 0, sizeof(*n));
}
