/*
 * engine.c - the engine's life, and the loop of events and effects around the
 * step. Design: the step is fed by one function, one event after the other,
 * however an effect comes to its answer.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define LOCK_HOLD_MS 10000
#define RANK_MS      500
#define RETRY_MS     500

static struct brake_config brake_limits(const struct conf_failover *conf)
{
    return (struct brake_config){conf->brake_window_ms, conf->brake_share,
                                 conf->brake_min};
}

void engine_reload(struct engine *e)
{
    struct brake_config bc = brake_limits(e->c.conf);
    failover_brake_configure(e->brake, &bc);
}

bool engine_hooked(const struct engine_config *config)
{
    const struct conf_list *kinds = &config->conf->hook_kinds;
    enum node_kind kind;
    assert(config->kind < NODE_KINDS);
    for (size_t i = 0; i < kinds->n; i++)
        if (node_kind_parse(kinds->items[i], &kind) == 0 &&
            kind == config->kind)
            return config->hooks != NULL && config->conf->hook != NULL;
    return false;
}

struct engine *engine_new(const struct engine_config *config)
{
    struct engine *e = mem_zalloc(sizeof(*e));
    const struct conf_failover *conf = config->conf;
    assert(config->view != NULL && config->membership != NULL);
    assert(config->target != NULL && config->takes != NULL);
    assert(config->registry != NULL);
    e->c = *config;
    e->entries.size = sizeof(struct queue_entry);
    if (config->hooks != NULL) {
        e->hooks = *config->hooks;
        e->c.hooks = &e->hooks;
    }
    e->hooked = engine_hooked(config);
    e->lock_key = mem_strdup(config->lock_key);
    e->self = mem_strdup(config->self);
    /* re-entrance is for one owner: the two kinds are two, even on one key */
    (void)snprintf(e->owner, sizeof(e->owner), "%.1s:%s",
                   node_kind_name(config->kind), config->self);
    rand_seed(&e->rand, config->seed);
    struct failover_config fc = {
        .kind = config->kind,
        .hook_ms = conf->hook != NULL && config->hooks != NULL
                       ? conf->hook_timeout_ms
                       : 0,
        .readmit = conf->readmit,
        .hold_ms_max = LOCK_HOLD_MS,
        .rank_ms = RANK_MS,
        .retry_ms = RETRY_MS,
    };
    (void)snprintf(fc.self, sizeof(fc.self), "%s", config->self);
    e->f = failover_new(&fc);
    e->pass.e = e;
    struct brake_config bc = brake_limits(conf);
    e->brake = failover_brake_new(&bc);
    struct collect_config cc = {config->clock,
                                config->registry,
                                config->view,
                                config->work_keep_ms,
                                config->collect_interval_ms,
                                conf->hook != NULL};
    e->collect = engine_collect_new(&cc);
    e->forgetting = engine_forgetting_new(e);
    e->connected = registry_session(config->registry) != 0 &&
                   registry_state_is_up(registry_state(config->registry));
    e->own_entry = true;
    e->scanned_at = -1;
    e->swept_at = -1;
    return e;
}

static void engine_close(struct engine *e)
{
    assert(e->lock == NULL);
    assert(e->hook_lock == NULL);
    engine_reader_forget(&e->reader);
    registry_forget(e->c.registry, &e->counter);
    registry_forget(e->c.registry, &e->first);
    registry_forget(e->c.registry, e);
    engine_orders_close(e);
    assert(e->n_orders == 0);
    engine_pass_reset(&e->pass);
    engine_dry_run_free(&e->matching);
    while (e->dry_runs != NULL) {
        struct dry_run *s = e->dry_runs;
        engine_dry_run_free(&s);
    }
    engine_queue_close(e);
    engine_sweep_close(e);
    engine_gone_close(e);
    engine_waiting_close(e);
    engine_counter_close(&e->counter);
    mem_free(e->cut_off.next);
    failover_brake_free(&e->brake);
    failover_free(&e->f);
    mem_free(e->lock_key);
    mem_free(e->self);
    mem_free(e);
}

void engine_free(struct engine **e)
{
    if (*e == NULL)
        return;
    assert(!(*e)->feeding);
    engine_hook_close(*e);
    if ((*e)->lock != NULL)
        registry_unlock(&(*e)->lock);
    engine_collect_free(&(*e)->collect);
    engine_forgetting_free(&(*e)->forgetting);
    engine_close(*e);
    *e = NULL;
}

void engine_abandon(struct engine **e)
{
    if (*e == NULL)
        return;
    assert(!(*e)->feeding);
    engine_collect_free(&(*e)->collect);
    engine_forgetting_free(&(*e)->forgetting);
    (*e)->lock = (*e)->hook_lock = NULL; /* went with the registry's client */
    mem_free((*e)->hook);
    mem_free((*e)->hook_stops);
    engine_close(*e);
    *e = NULL;
}

void engine_tick(struct engine *e)
{
    assert(!e->feeding);
    engine_orders_tick(e);
    engine_forgetting_tick(e->forgetting);
    if (!e->connected)
        return;
    engine_queue_tick(e);
    engine_first_tick(e);
    engine_hook_tick(e);
    struct failover_event ev = engine_event_of(e, FAILOVER_TICK, ERR_OK);
    ev.wanted = e->hook_stops == NULL && engine_queue_wanted(e);
    engine_feed(e, ev);
}

void engine_connection(struct engine *e, enum registry_state state)
{
    e->connected = registry_state_is_up(state);
    if (e->connected)
        return;
    if (failover_state(e->f) != FAILOVER_IDLE)
        engine_tell(e, ENGINE_LOCK_LOST, "", "", registry_state_name(state), 0);
    engine_feed(e, engine_event_of(e, FAILOVER_LOST, ERR_SESSION_LOST));
}

void engine_set_rank(struct engine *e, uint32_t rank)
{
    failover_set_rank(e->f, rank);
}

void engine_set_own_entry(struct engine *e, bool exists)
{
    e->own_entry = exists;
}

void engine_forget(struct engine *e, const struct engine_forget *what,
                   engine_forgot_f *done, void *arg)
{
    engine_forgetting_ask(e->forgetting, what, done, arg);
}

const char *engine_state_name(const struct engine *e)
{
    return failover_state_name(failover_state(e->f));
}

enum failover_cause engine_brake(const struct engine *e)
{
    return e->braked;
}
