/*
 * sql_compare.c - a change that leaves no trace is found by comparing what was
 * told with what stands there, and nothing is listed where both are the same.
 */
#include "tests/registry/sql_compare.h"

#include "tests/registry/sql_store.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define COMPARE_MS 200
#define SESSION_MS 10000
#define PREFIX     "/pelorus/work"

struct event_counts {
    unsigned added, updated, removed, synced;
};

static void on_event(void *arg, const struct registry_event *event)
{
    struct event_counts *t = arg;

    t->added += event->type == REGISTRY_ADD;
    t->updated += event->type == REGISTRY_UPDATE;
    t->removed += event->type == REGISTRY_REMOVE;
    t->synced += event->type == REGISTRY_SYNCED;
}

/* It compares a hundred times as often as a program does. */
static struct registry *open_often(struct sql_store *s)
{
    static const struct sql_kind kind = {
        .name = "compare", .max_ops = 3000, .max_bytes = 16u << 20};
    struct dbms_target t;
    struct sql_core *core;
    struct registry *r;

    sql_store_aim(s, &t);
    core = dbms_core_new(&t, "dolphinscheduler", SESSION_MS, SESSION_MS / 3);
    core->compare_ms = COMPARE_MS;
    r = sql_new(&kind, s->loop, core, NULL, SESSION_MS);
    sql_store_until(s, registry_session(r) != 0);
    return r;
}

static void on_done(void *arg, const struct registry_reply *reply)
{
    if (reply->err.code != ERR_OK)
        fail_msg("%s", reply->err.msg);
    ++*(unsigned *)arg;
}

static void write_keys(struct sql_store *s, struct registry *r, unsigned n)
{
    unsigned done = 0;

    for (unsigned i = 0; i < n; i++) {
        char key[64];

        (void)snprintf(key, sizeof(key), PREFIX "/%u", i);
        registry_put(r, key, "1", 1, REGISTRY_ANY, 0, false, on_done, &done);
    }
    sql_store_until(s, done == n);
}

static void a_change_without_a_trace_is_found(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = open_often(s);
    struct event_counts t = {0};
    struct registry_watch *w = registry_watch(r, PREFIX, on_event, &t);

    write_keys(s, r, 20);
    sql_store_until(s, t.added == 20);
    (void)sql_store_run(s, "UPDATE pelorus_registry SET version = version + 1 "
                           "WHERE created = (SELECT c FROM (SELECT "
                           "max(created) AS c FROM pelorus_registry) AS x)");
    sql_store_until(s, t.updated == 1);
    (void)sql_store_run(s, "DELETE FROM pelorus_registry WHERE created = "
                           "(SELECT c FROM (SELECT max(created) AS c FROM "
                           "pelorus_registry) AS x)");
    sql_store_until(s, t.removed == 1);
    assert_int_equal(t.added, 20);
    /* What is no key is none of the view's either, and nobody looks again and
     * again. */
    sql_store_until(s, t.synced >= 3);
    registry_unwatch(&w);
    sql_store_close(s, &r);
}

static void nothing_is_listed_where_nothing_was_missed(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = open_often(s), *other = sql_store_open(s, SESSION_MS);
    struct event_counts t = {0};
    struct registry_watch *w = registry_watch(r, PREFIX, on_event, &t);

    sql_store_until(s, t.synced == 1);
    for (unsigned i = 0; i < 12; i++) {
        mono_ms until = clock_mono_ms() + COMPARE_MS;

        write_keys(s, i % 2 == 0 ? r : other, 10 + i);
        while (clock_mono_ms() < until)
            loop_turn(s->loop, 10);
    }
    assert_int_equal(t.synced, 1);
    sql_store_until(s, t.added == 21);
    registry_unwatch(&w);
    sql_store_close(s, &other);
    sql_store_close(s, &r);
}

int sql_compare_tests(void)
{
    const struct CMUnitTest tests[] = {
        SQL_STORE_TEST(a_change_without_a_trace_is_found),
        SQL_STORE_TEST(nothing_is_listed_where_nothing_was_missed),
    };

    return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
