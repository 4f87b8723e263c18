/*
 * restore_fixture.h - a memory registry with work in it, and a person who runs
 * restore.h over it, for the tests of both its uses. Header only, so that each
 * test program stays one file.
 */
#ifndef PELORUS_TESTS_UNIT_RESTORE_FIXTURE_H
#define PELORUS_TESTS_UNIT_RESTORE_FIXTURE_H

#include "base/mem.h"
#include "restore/restore.h"
#include "tests/lib/memory/memory.h"
#include "work/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

#define FIXTURE __attribute__((unused)) static
#define OLD_ID  "00000000000000000000000000000001"
#define LOST_ID "00000000000000000000000000000002"

struct scene {
    struct clock clock;
    struct memory_store *store;
    struct registry *hand;   /* the test's own */
    struct registry *client; /* the person's */
    struct restore *restore;
    bool known, done;
    struct err err;
    struct restore_summary summary;
    struct restore_result result;
    /* the client is killed after so many written keys; 0: never */
    size_t kill_after, written;
    uint64_t session;
    enum err_code put;
};

static inline void scene_run(struct scene *s, int64_t ms)
{
    (void)memory_run(s->store, s->clock.mono + ms);
}

static inline void scene_written(void *arg, uint64_t writer,
                                 const struct registry_entry *before,
                                 const struct registry_entry *after)
{
    struct scene *s = arg;
    (void)before;
    (void)after;
    if (s->client == NULL || writer != s->session)
        return;
    if (++s->written == s->kill_after) {
        memory_kill(&s->client); /* first: it releases no lock */
        restore_free(&s->restore);
    }
}

FIXTURE void scene_open(struct scene *s, uint64_t seed)
{
    memset(s, 0, sizeof(*s));
    s->clock.mono = 1000;
    s->clock.wall = INT64_C(1790000000000);
    s->store = memory_store_new(&s->clock, seed);
    s->hand = memory_open(s->store, 6000);
    memory_on_write(s->store, scene_written, s);
    scene_run(s, 10);
}

static inline void scene_leave(struct scene *s)
{
    restore_free(&s->restore);
    registry_close(&s->client, NULL, NULL);
    scene_run(s, 50);
}

FIXTURE void scene_close(struct scene *s)
{
    scene_leave(s);
    registry_close(&s->hand, NULL, NULL);
    scene_run(s, 50);
    memory_store_free(&s->store);
}

/* --- by hand ------------------------------------------------------------- */

static inline void on_scene_put(void *arg, const struct registry_reply *reply)
{
    *(enum err_code *)arg = reply->err.code;
}

FIXTURE void scene_put_as(struct scene *s, const char *key, const char *value,
                          bool ephemeral)
{
    s->put = ERR_CANCELLED;
    registry_put(s->hand, key, value, strlen(value), REGISTRY_ANY, 0, ephemeral,
                 on_scene_put, &s->put);
    while (s->put == ERR_CANCELLED)
        scene_run(s, 1);
    assert_int_equal(s->put, ERR_OK);
}

FIXTURE void scene_put(struct scene *s, const char *key, const char *value)
{
    scene_put_as(s, key, value, false);
}

FIXTURE void scene_delete(struct scene *s, const char *key)
{
    const struct registry_entry *e = memory_find(s->store, key);
    assert_non_null(e);
    s->put = ERR_CANCELLED;
    registry_delete(s->hand, key, e->version, on_scene_put, &s->put);
    while (s->put == ERR_CANCELLED)
        scene_run(s, 1);
    assert_int_equal(s->put, ERR_OK);
}

FIXTURE void scene_item(struct scene *s, const struct work_item *w, bool marked)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct marker m;
    struct buf b;
    buf_init(&b, WORK_RECORD_MAX);
    work_item_write(&b, w);
    scene_put(s, work_key(w->id, key), buf_text(&b));
    if (marked) {
        work_marker_of(&m, w);
        buf_reset(&b);
        work_marker_write(&b, &m);
        scene_put(s, work_marker_key(m.kind, m.address, m.id, key),
                  buf_text(&b));
    }
    buf_close(&b);
}

FIXTURE struct work_item scene_work(const char *id, enum work_state state,
                                    uint64_t epoch)
{
    struct work_item w = {.kind = NODE_MASTER, .state = state, .epoch = epoch};
    (void)snprintf(w.id, sizeof(w.id), "%s", id);
    (void)snprintf(w.group, sizeof(w.group), "default");
    if (state == WORK_ASSIGNED || state == WORK_DONE || state == WORK_DROPPED)
        (void)snprintf(w.owner, sizeof(w.owner), "m%zu:1", strlen(id) % 3);
    if (state == WORK_ASSIGNED)
        w.process = (struct process){
            .startup_time = 77, .process_id = 1, .known = true};
    return w;
}

/* Items a-0 .. in each state, at epochs 1 .. 9. */
FIXTURE void scene_fill(struct scene *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char id[32];
        enum work_state state = (enum work_state)(i % 5);
        (void)snprintf(id, sizeof(id), "a-%zu", i);
        struct work_item w = scene_work(id, state, 1 + i % 9);
        if (i % 2 == 0)
            w.kind = NODE_WORKER;
        scene_item(s, &w, state != WORK_DONE && state != WORK_DROPPED);
    }
}

FIXTURE bool scene_find(struct scene *s, const char *id, struct work_item *out)
{
    char key[REGISTRY_KEY_MAX + 1];
    const struct registry_entry *e = memory_find(s->store, work_key(id, key));
    if (e == NULL)
        return false;
    assert_int_equal(work_item_read(out, e->value, e->value_len, NULL), 0);
    out->version = e->version;
    return true;
}

FIXTURE uint64_t scene_epoch(struct scene *s, const char *id)
{
    struct work_item w;
    assert_true(scene_find(s, id, &w));
    uint64_t epoch = w.epoch;
    work_item_close(&w);
    return epoch;
}

FIXTURE bool scene_history(struct scene *s, struct history_record *out)
{
    const struct registry_entry *e = memory_find(s->store, HISTORY_KEY);
    memset(out, 0, sizeof(*out));
    if (e == NULL)
        return false;
    assert_int_equal(registry_history_read(out, e->value, e->value_len, NULL),
                     0);
    return true;
}

static inline void count_entry(void *arg, const struct registry_entry *entry)
{
    (void)entry;
    ++*(size_t *)arg;
}

FIXTURE size_t scene_count(struct scene *s, const char *prefix)
{
    size_t n = 0;
    memory_each(s->store, prefix, count_entry, &n);
    return n;
}

static inline void check_item(void *arg, const struct registry_entry *entry)
{
    struct scene *s = arg;
    char key[REGISTRY_KEY_MAX + 1];
    struct work_item w;
    struct marker want, m;
    if (work_item_read(&w, entry->value, entry->value_len, NULL) != 0)
        return;
    if (w.state != WORK_DONE && w.state != WORK_DROPPED) {
        work_marker_of(&want, &w);
        const struct registry_entry *e = memory_find(
            s->store, work_marker_key(want.kind, want.address, want.id, key));
        assert_non_null(e);
        assert_int_equal(work_marker_read(&m, e, NULL), 0);
        assert_true(m.epoch == w.epoch);
        assert_true(m.held == want.held);
        assert_true(w.state != WORK_ASSIGNED ||
                    process_same(&m.process, &w.process));
    }
    work_item_close(&w);
}

/* Marker and record of every item agree. */
FIXTURE void scene_agrees(struct scene *s)
{
    memory_each(s->store, WORK_PREFIX, check_item, s);
}

/* --- the person ---------------------------------------------------------- */

static inline void on_scene_known(void *arg, const struct err *err,
                                  const struct restore_summary *summary)
{
    struct scene *s = arg;
    assert_false(s->known);
    s->known = true;
    s->err = *err;
    if (summary != NULL)
        s->summary = *summary;
}

static inline void on_scene_done(void *arg, const struct err *err,
                                 const struct restore_result *result)
{
    struct scene *s = arg;
    assert_false(s->done);
    s->done = true;
    s->err = *err;
    if (result != NULL)
        s->result = *result;
}

/* Until `what` is told, the client is killed, or two minutes have passed. */
static inline bool scene_until(struct scene *s, const bool *what)
{
    for (int i = 0; i < 12000 && !*what && s->client != NULL; i++) {
        scene_run(s, 10);
        if (s->restore != NULL)
            restore_tick(s->restore);
    }
    return *what;
}

FIXTURE void scene_enter(struct scene *s, const struct backup *backup,
                         uint64_t epoch_floor)
{
    s->client = memory_open(s->store, 6000);
    for (int i = 0; i < 1000 && registry_session(s->client) == 0; i++)
        scene_run(s, 10);
    s->session = registry_session(s->client);
    assert_true(s->session != 0);
    s->written = 0;
    struct restore_config config = {
        .registry = s->client,
        .clock = &s->clock,
        .locks = {"/lock/master-failover", "/lock/worker-failover"},
        .n_locks = 2,
        .who = "ada at h",
        .epoch_floor = epoch_floor,
        .backup = backup,
    };
    s->restore = restore_new(&config);
    s->known = s->done = false;
    err_clear(&s->err);
}

FIXTURE bool scene_look(struct scene *s)
{
    restore_look(s->restore, on_scene_known, s);
    return scene_until(s, &s->known) && s->err.code == ERR_OK;
}

FIXTURE bool scene_go(struct scene *s)
{
    restore_go(s->restore, on_scene_done, s);
    return scene_until(s, &s->done) && s->err.code == ERR_OK;
}

/* A fifth of the answers is lost, a fifth of the calls fails: it is done all
 * the same, and `item` is given again. `begin` makes what stands there, and
 * returns what is to be put back, or NULL. */
FIXTURE void scene_with_lost_answers(struct scene *s,
                                     const struct backup *(*begin)(void),
                                     const char *item)
{
    const struct memory_faults faults = {
        .delay_max_ms = 5, .unknown_share = 0.2, .unavailable_share = 0.2};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct history_record h;
        scene_close(s);
        scene_open(s, seed);
        const struct backup *backup = begin();
        memory_set_faults(s->store, &faults);
        scene_enter(s, backup, 0);
        assert_true(scene_go(s));
        memory_set_faults(s->store, &(struct memory_faults){0});
        scene_leave(s);
        scene_run(s, 1000);
        assert_true(scene_history(s, &h));
        assert_false(h.went_back.is);
        assert_true(scene_epoch(s, item) > RESTORE_LIFT_EPOCH);
        scene_agrees(s);
    }
}

#endif
