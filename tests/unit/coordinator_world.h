/*
 * coordinator_world.h - whole coordinators on a memory registry in virtual
 * time, for the tests of coordinator/. Everything is the real code; nothing
 * sleeps. Header only, so that each test program stays one file.
 */
#ifndef PELORUS_TESTS_COORDINATOR_WORLD_H
#define PELORUS_TESTS_COORDINATOR_WORLD_H

#include "base/log.h"
#include "base/mem.h"
#include "coordinator/coordinator.h"
#include "registry/history.h"
#include "tests/lib/memory/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SESSION_MS 6000
#define TICK_MS    50
#define WORLD      __attribute__((unused)) static

struct world {
    struct clock clock;
    struct memory_store *store;
    struct registry *hand; /* the test's own client */
    struct conf conf;
    struct registry *registry[2];
    struct coordinator *c[2];
};

/* How a request was answered; the texts are copied. */
struct got {
    unsigned times;
    char code[32]; /* "" it succeeded */
    struct err err;
    bool created;
    struct process process;
    char instance[65];
    char place[HISTORY_PLACE_SIZE];
    bool waits;
    uint64_t work_index;
    int64_t renew_after_ms;
    size_t n_warnings;
    char warnings[1024]; /* one per line */
    struct settings settings;
    size_t n_failovers;
};

WORLD void got(void *arg, const struct coordinator_reply *reply)
{
    struct got *g = arg;

    g->times++;
    snprintf(g->code, sizeof(g->code), "%s", problem_code(reply->code));
    g->err = reply->err;
    g->created = reply->created;
    g->process = reply->process;
    g->renew_after_ms = reply->renew_after_ms;
    g->n_warnings = reply->n_warnings;
    for (size_t i = 0, at = 0; i < g->n_warnings && at < sizeof(g->warnings);
         i++)
        at += (size_t)snprintf(g->warnings + at, sizeof(g->warnings) - at,
                               "%s\n", reply->warnings[i]);
    snprintf(g->instance, sizeof(g->instance), "%s",
             reply->instance != NULL ? reply->instance : "");
    snprintf(g->place, sizeof(g->place), "%s",
             reply->place != NULL ? reply->place : "");
    g->waits = reply->waits;
    g->work_index = reply->work_index;
    g->n_failovers = reply->n_failovers;
    if (reply->settings != NULL)
        g->settings = *reply->settings;
}

WORLD void no_log(void *arg, enum log_level level, const char *line, size_t n)
{
    (void)arg;
    (void)level;
    (void)line;
    (void)n;
}

WORLD void world_start(struct world *w, int i)
{
    char self[32];
    struct coordinator_config config = {.conf = &w->conf,
                                        .clock = &w->clock,
                                        .self = self,
                                        .seed = 7 + (uint64_t)i};

    snprintf(self, sizeof(self), "127.0.0.1:%d", 7077 + i);
    w->registry[i] = memory_open(w->store, SESSION_MS);
    registry_compare(w->registry[i], self, NULL, true);
    config.registry = w->registry[i];
    w->c[i] = coordinator_new(&config);
}

/* Time passes, every coordinator ticking. */
WORLD void world_run(struct world *w, int64_t ms)
{
    mono_ms until = w->clock.mono + ms;

    while (w->clock.mono < until) {
        mono_ms next = w->clock.mono + TICK_MS;

        memory_run(w->store, next < until ? next : until);
        w->clock.wall = 1700000000000 + w->clock.mono;
        for (int i = 0; i < 2; i++)
            if (w->c[i] != NULL)
                coordinator_tick(w->c[i]);
    }
}

WORLD int world_open(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    log_set_sink(no_log, NULL);
    w->clock.mono = 1000;
    w->clock.wall = 1700000001000;
    w->store = memory_store_new(&w->clock, 1);
    conf_defaults(&w->conf);
    w->conf.failover.settle_ms = 1000;
    w->hand = memory_open(w->store, SESSION_MS);
    world_start(w, 0);
    world_run(w, 2000);
    *state = w;
    return 0;
}

WORLD void world_closed(void *arg)
{
    ++*(int *)arg;
}

WORLD void world_end(struct world *w, int i)
{
    int closed = 0;

    coordinator_free(&w->c[i]);
    registry_close(&w->registry[i], world_closed, &closed);
    while (closed == 0)
        memory_run(w->store, w->clock.mono + 1);
}

WORLD int world_close(void **state)
{
    struct world *w = *state;
    int closed = 0;

    for (int i = 0; i < 2; i++)
        if (w->c[i] != NULL)
            world_end(w, i);
    registry_close(&w->hand, world_closed, &closed);
    while (closed == 0)
        memory_run(w->store, w->clock.mono + 1);
    memory_store_free(&w->store);
    conf_close(&w->conf);
    log_set_sink(NULL, NULL);
    mem_free(w);
    return 0;
}

#define WORLD_TEST(name)                                                       \
    cmocka_unit_test_setup_teardown(name, world_open, world_close)

/* --- by hand ------------------------------------------------------------- */

WORLD void hand_done(void *arg, const struct registry_reply *reply)
{
    *(enum err_code *)arg = reply->err.code;
}

WORLD void hand_put(struct world *w, const char *key, const char *value,
                    bool ephemeral)
{
    enum err_code code = ERR_CANCELLED;

    registry_put(w->hand, key, value, strlen(value), REGISTRY_ANY, 0, ephemeral,
                 hand_done, &code);
    world_run(w, 100);
    assert_int_equal(code, ERR_OK);
}

WORLD void hand_delete(struct world *w, const char *key)
{
    const struct registry_entry *e = memory_find(w->store, key);
    enum err_code code = ERR_CANCELLED;

    assert_non_null(e);
    registry_delete(w->hand, key, e->version, hand_done, &code);
    world_run(w, 100);
    assert_int_equal(code, ERR_OK);
}

/* --- asked and answered -------------------------------------------------- */

WORLD struct got answered(struct world *w, struct got *g)
{
    for (int i = 0; i < 400 && g->times == 0; i++)
        world_run(w, TICK_MS);
    assert_int_equal(g->times, 1);
    return *g;
}

WORLD struct got node_put(struct world *w, const struct node_put *put)
{
    struct got g = {0};

    coordinator_node_put(w->c[0], put, got, &g);
    return answered(w, &g);
}

WORLD struct got put(struct world *w, enum node_kind kind, const char *address,
                     const char *body, int64_t ttl_ms)
{
    return node_put(w, &(struct node_put){.kind = kind,
                                          .address = address,
                                          .body = body,
                                          .len = strlen(body),
                                          .ttl_ms = ttl_ms});
}

WORLD struct got node_delete(struct world *w, enum node_kind kind,
                             const char *address)
{
    struct got g = {0};

    coordinator_node_delete(
        w->c[0], &(struct node_leave){.kind = kind, .address = address}, got,
        &g);
    return answered(w, &g);
}

WORLD struct got patch(struct world *w, int i, struct settings_patch p)
{
    struct got g = {0};

    coordinator_settings_patch(w->c[i], &p, got, &g);
    return answered(w, &g);
}

#endif
