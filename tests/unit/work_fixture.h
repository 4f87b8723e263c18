/*
 * work_fixture.h - a cluster in one process for the tests of failover/: a
 * memory registry in virtual time, nodes that are registered in it, and one or
 * two coordinators' views and work operations on clients of their own.
 *
 * Everything is the real code; only time and the choice of a target are the
 * test's. Header only, so that each test program stays one file.
 */
#ifndef PELORUS_TESTS_WORK_FIXTURE_H
#define PELORUS_TESTS_WORK_FIXTURE_H

#include "base/log.h"
#include "base/mem.h"
#include "registry/history.h"
#include "tests/lib/memory/memory.h"
#include "work/work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SESSION_MS 6000
#define STEP_MS    10
#define FIXTURE    __attribute__((unused)) static

struct world;

/* One coordinator, without an engine. */
struct side {
    struct world *world;
    struct registry *registry;
    struct gates *gates;
    struct membership *membership;
    struct registry_watch *nodes, *ours;
    struct registry_listener *listener;
    struct view *view;
    struct work *work;
    size_t picks, unused, ended;
    size_t changes;
    const char *only; /* the target port gives only this address */
};

struct world {
    struct clock clock;
    struct memory_store *store;
    struct registry *hand; /* the test's own client: nodes, gates, damage */
    struct side sides[2];
    size_t n_sides;
};

static inline void ignore_membership(void *arg,
                                     const struct membership_event *ev)
{
    (void)arg;
    (void)ev;
}

static inline void feed_nodes(void *arg, const struct registry_event *ev)
{
    membership_feed(((struct side *)arg)->membership, MEMBERSHIP_NODES, ev);
}

static inline void feed_ours(void *arg, const struct registry_event *ev)
{
    membership_feed(((struct side *)arg)->membership, MEMBERSHIP_OURS, ev);
}

static inline void feed_state(void *arg, enum registry_state state)
{
    membership_connection(((struct side *)arg)->membership, state);
}

static inline void count_ended(void *arg, const struct work_item *item)
{
    assert_int_equal(item->state, WORK_DONE);
    ((struct side *)arg)->ended++;
}

static inline void count_unused(void *arg, enum node_kind kind,
                                const struct work_target *target)
{
    (void)kind;
    assert_true(target->counted && target->pick > 0);
    ((struct side *)arg)->unused++;
}

static inline void count_change(void *arg, const struct work_view_owner *owner)
{
    (void)owner;
    ((struct side *)arg)->changes++;
}

static inline bool is_excluded(const char *address, const char *const *list,
                               size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], address) == 0)
            return true;
    return false;
}

/* The live node with the fewest markers, in stable order. */
static inline void fewest(void *arg, enum node_kind kind, const char *group,
                          const char *const *exclude, size_t n_exclude,
                          struct work_target *out)
{
    struct side *s = arg;
    size_t best = SIZE_MAX;

    *out = (struct work_target){.code = PROBLEM_GROUP_EMPTY,
                                .retry_after_ms = 2000};
    if (strcmp(group, "nowhere") == 0) {
        out->code = PROBLEM_GROUP_NOT_FOUND;
        return;
    }
    for (struct node *n = membership_next(s->membership, NULL); n != NULL;
         n = membership_next(s->membership, n)) {
        size_t has = work_view_marker_count(s->view, kind, n->address);

        if (n->kind == kind && n->state == NODE_UP && has < best &&
            (s->only == NULL || strcmp(s->only, n->address) == 0) &&
            !is_excluded(n->address, exclude, n_exclude)) {
            best = has;
            (void)snprintf(out->address, sizeof(out->address), "%s",
                           n->address);
            out->code = PROBLEM_NONE;
        }
    }
    if (out->code == PROBLEM_NONE) {
        out->pick = ++s->picks;
        out->counted = true;
    }
}

FIXTURE void side_open(struct world *w, struct side *s, uint64_t seed)
{
    struct membership_config members = {.clock = &w->clock,
                                        .grace_ms = 1000,
                                        .settle_ms = 1000,
                                        .heartbeat_interval_ms = 10000,
                                        .session_timeout_ms = SESSION_MS,
                                        .answer_ms = 500};
    struct view_config view = {
        .clock = &w->clock, .changed = count_change, .arg = s};
    struct work_config work = {.clock = &w->clock,
                               .target = fewest,
                               .target_arg = s,
                               .ended = count_ended,
                               .unused = count_unused,
                               .ended_arg = s,
                               .seed = seed};
    char who[16];

    *s = (struct side){.world = w};
    s->registry = memory_open(w->store, SESSION_MS);
    (void)snprintf(who, sizeof(who), "side-%d", (int)(s - w->sides));
    registry_compare(s->registry, who, NULL, true);
    s->gates = gates_new(&w->clock, s->registry);
    members.gates = view.gates = s->gates;
    s->membership = membership_new(&members, ignore_membership, s);
    s->listener = registry_listen(s->registry, feed_state, s);
    s->nodes = registry_watch(s->registry, "/nodes", feed_nodes, s);
    s->ours = registry_watch(s->registry, "/pelorus/nodes", feed_ours, s);
    view.registry = work.registry = s->registry;
    work.membership = s->membership;
    s->view = work_view_new(&view);
    work.view = s->view;
    s->work = work_new(&work);
}

static inline void is_closed(void *arg)
{
    *(bool *)arg = true;
}

FIXTURE void close_registry(struct world *w, struct registry **r)
{
    bool closed = false;

    registry_close(r, is_closed, &closed);
    for (int i = 0; i < 10000 && !closed; i++)
        memory_run(w->store, w->clock.mono + STEP_MS);
    assert_true(closed);
}

FIXTURE void side_close(struct side *s)
{
    work_free(&s->work);
    work_view_free(&s->view);
    gates_unwatch(s->gates);
    registry_unwatch(&s->nodes);
    registry_unwatch(&s->ours);
    registry_unlisten(&s->listener);
    membership_free(&s->membership);
    gates_free(&s->gates);
    close_registry(s->world, &s->registry);
}

/* Its process dies without a word. */
FIXTURE void side_kill(struct side *s)
{
    work_abandon(&s->work);
    work_view_abandon(&s->view);
    memory_kill(&s->registry);
    membership_free(&s->membership);
    gates_free(&s->gates);
}

/* Time passes, everything runs. */
FIXTURE void pass(struct world *w, int64_t ms)
{
    mono_ms until = w->clock.mono + ms;

    while (w->clock.mono < until) {
        memory_run(w->store, w->clock.mono + STEP_MS);
        for (size_t i = 0; i < w->n_sides; i++) {
            if (w->sides[i].registry != NULL) {
                membership_answered(w->sides[i].membership,
                                    registry_answered(w->sides[i].registry));
                membership_tick(w->sides[i].membership);
                work_tick(w->sides[i].work);
            }
        }
    }
}

static inline void note_code(void *arg, const struct registry_reply *reply)
{
    *(int *)arg = (int)reply->err.code;
}

FIXTURE int hand_write(struct world *w, const char *key, const char *value,
                       bool ephemeral)
{
    int code = -1;

    registry_put(w->hand, key, value, strlen(value), REGISTRY_ANY, 0, ephemeral,
                 note_code, &code);
    for (int i = 0; i < 1000 && code < 0; i++)
        pass(w, STEP_MS);
    return code;
}

FIXTURE int hand_put(struct world *w, const char *key, const char *value)
{
    return hand_write(w, key, value, false);
}

/* A master or worker with this process; again with another: a restart. */
FIXTURE void node_up(struct world *w, const char *kind, const char *address,
                     int process)
{
    char *key = mem_printf("/nodes/%s/%s", kind, address);
    char *value = mem_printf(
        "{\"startupTime\":%d,\"processId\":%d,\"serverStatus\":\"NORMAL\","
        "\"cpuUsage\":0.1,\"memoryUsage\":0.1,\"diskUsage\":0.1}",
        1000000 + process, process);

    assert_int_equal(hand_write(w, key, value, true), ERR_OK);
    mem_free(key);
    mem_free(value);
}

FIXTURE void node_remove(struct world *w, const char *kind, const char *address)
{
    char *key = mem_printf("/nodes/%s/%s", kind, address);
    const struct registry_entry *e = memory_find(w->store, key);
    int code = -1;

    assert_non_null(e);
    registry_delete(w->hand, key, e->version, note_code, &code);
    pass(w, 200);
    assert_int_equal(code, ERR_OK);
    mem_free(key);
}

FIXTURE struct process process_of(int process)
{
    return (struct process){.startup_time = 1000000 + process,
                            .process_id = process,
                            .known = true};
}

FIXTURE void put_gate(struct world *w, enum node_kind kind, const char *address,
                      enum gate_state state, int process)
{
    struct gate gate = {.state = state, .process = process_of(process)};
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;

    buf_init(&b, 4096);
    gate_write(&b, &gate);
    assert_int_equal(
        hand_put(w, gate_key(kind, address, key, sizeof(key)), buf_text(&b)),
        ERR_OK);
    buf_close(&b);
}

FIXTURE struct gate gate_at(struct world *w, enum node_kind kind,
                            const char *address)
{
    char key[REGISTRY_KEY_MAX + 1];
    const struct registry_entry *e =
        memory_find(w->store, gate_key(kind, address, key, sizeof(key)));
    struct gate gate = {.state = GATE_ABSENT};

    if (e != NULL)
        assert_int_equal(gate_read(&gate, e->value, e->value_len, NULL), 0);
    return gate;
}

static inline void quiet(void *arg, enum log_level level, const char *line,
                         size_t len)
{
    (void)arg;
    (void)level;
    (void)line;
    (void)len;
}

/*
 * Whenever an item gets an owner, its gate is open with that process at that
 * very moment; and a new item begins right above the floor as it then is. The
 * hand's own writes are the test's business.
 */
static inline void check_write(void *arg, uint64_t writer,
                               const struct registry_entry *before,
                               const struct registry_entry *after)
{
    struct world *w = arg;
    const struct registry_entry *floor_entry;
    struct work_item item;
    struct gate gate;
    uint64_t floor = 0;

    if (after == NULL || writer == registry_session(w->hand) ||
        !registry_key_below(after->key, WORK_PREFIX))
        return;
    assert_int_equal(
        work_item_read(&item, after->value, after->value_len, NULL), 0);
    if (item.state == WORK_ASSIGNED) {
        gate = gate_at(w, item.kind, item.owner);
        assert_int_equal(gate.state, GATE_OPEN);
        assert_true(process_same(&gate.process, &item.process));
    }
    if (before == NULL) {
        floor_entry = memory_find(w->store, EPOCH_FLOOR_KEY);
        assert_non_null(floor_entry);
        assert_int_equal(work_epoch_floor_read(floor_entry->value,
                                               floor_entry->value_len, &floor,
                                               NULL),
                         0);
        assert_true(item.epoch == floor + 1);
    }
    work_item_close(&item);
}

/* `n` coordinators; masters m:1 and m:2, worker w:1, all up. */
FIXTURE struct world *world_new(size_t n, uint64_t seed)
{
    struct world *w = mem_zalloc(sizeof(*w));

    log_set_sink(quiet, NULL);
    w->clock = (struct clock){.mono = 1000, .wall = INT64_C(1790000000000)};
    w->store = memory_store_new(&w->clock, seed);
    memory_on_write(w->store, check_write, w);
    w->hand = memory_open(w->store, SESSION_MS);
    w->n_sides = n;
    for (size_t i = 0; i < n; i++)
        side_open(w, &w->sides[i], seed + i);
    pass(w, 500);
    node_up(w, "master", "m:1", 1);
    node_up(w, "master", "m:2", 1);
    node_up(w, "worker", "w:1", 1);
    pass(w, 500);
    assert_true(work_view_synced(w->sides[0].view));
    return w;
}

FIXTURE void world_free(struct world *w)
{
    for (size_t i = 0; i < w->n_sides; i++)
        if (w->sides[i].registry != NULL)
            side_close(&w->sides[i]);
    close_registry(w, &w->hand);
    memory_store_free(&w->store);
    log_set_sink(NULL, NULL);
    mem_free(w);
}

#endif
