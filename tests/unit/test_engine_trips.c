/*
 * test_engine_trips.c - what a failover asks of the registry, counted: how many
 * requests of which sort, and how often it waits for an answer before it can
 * ask for the next (a trip). The numbers are exact, so that none comes to it
 * unseen. A master's failover, in order:
 *
 *    1 the lock
 *    2 READING: gate, settings, both registrations and `taken`, at once
 *    3 INTENT: lock, gate, record, `taken`
 *    4 VERIFY: the same without `taken`, and the record, at once
 *    5 SET_MOVING: lock, record
 *    6 the first page of markers; beside it the floor of the epochs, once
 *      (each page: a trip; its items' records and its batches)
 *    7 the targets' gates, at once, when they are given the first of the work
 *    8 a page that shows that nothing is left
 *    9 CLOSING: lock, record
 *   10 the lock is released
 */
#include "tests/unit/engine_world.h"

#include "base/mem.h"
#include "registry/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static struct world w;

/* What was asked for since the lock was. */
static struct {
    size_t locks;
    size_t reads;   /* of gates, records, registrations, settings, the floor */
    size_t targets; /* likewise, of targets' gates */
    size_t writes;  /* of gates and records */
    size_t pages;   /* of markers */
    size_t items;   /* read */
    size_t batches;
    size_t chain; /* the longest, the lock's included */
} told;

static const struct registry_ops *plain;
static struct registry_ops counting;
static size_t depth; /* of the answer that is being told */
static bool counts;

struct asked {
    registry_reply_f *done;
    void *arg;
    size_t depth;
};

static void on_answer(void *arg, const struct registry_reply *reply)
{
    struct asked *a = arg;
    size_t before = depth;
    depth = a->depth;
    a->done(a->arg, reply);
    depth = before;
    mem_free(a);
}

static bool below(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

static const char *sort_of(const struct registry_call *call)
{
    if (call->type == REGISTRY_CALL_TXN) {
        bool batch = false;
        for (size_t i = 0; i < call->n_ops; i++)
            batch = batch || below(call->ops[i].key, "/pelorus/work/");
        told.batches += batch;
        told.writes += !batch;
        return batch ? "batch" : "write";
    }
    if (call->type == REGISTRY_CALL_LIST) {
        told.pages++;
        return "page";
    }
    if (below(call->key, "/pelorus/work/")) {
        told.items++;
        return "item";
    }
    if (below(call->key, "/pelorus/owners/") &&
        strstr(call->key, "/m1:1") == NULL) {
        told.targets++;
        return "target";
    }
    told.reads++;
    return "read";
}

static void submit(struct registry *r, struct registry_call *call)
{
    if (counts) {
        struct asked *a = mem_zalloc(sizeof(*a));
        const char *sort = sort_of(call);
        *a = (struct asked){call->done, call->arg, depth + 1};
        call->done = on_answer;
        call->arg = a;
        if (a->depth + 1 > told.chain)
            told.chain = a->depth + 1; /* the lock came before */
        if (getenv("WORLD_LOG") != NULL && strcmp(sort, "item") != 0)
            print_message(
                "%8lld %zu %s %s\n", (long long)w.clock.mono, a->depth, sort,
                call->type == REGISTRY_CALL_TXN ? call->ops[1].key : call->key);
    }
    plain->submit(r, call);
}

static void lock(struct registry *r, struct registry_hold *hold)
{
    told.locks++;
    counts = true;
    plain->lock(r, hold);
}

static void unlock(struct registry *r, struct registry_hold *hold)
{
    counts = false;
    plain->unlock(r, hold);
}

static int open_world(void **state)
{
    struct registry *r;
    (void)state;
    world_open(&w, 1);
    r = w.c[0].registry;
    plain = r->ops;
    counting = *plain;
    counting.submit = submit;
    counting.lock = lock;
    counting.unlock = unlock;
    r->ops = &counting;
    counts = false;
    memset(&told, 0, sizeof(told));
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    check_agreement(&w);
    w.c[0].registry->ops = plain;
    world_close(&w);
    return 0;
}

static bool one_done_and_idle(struct world *world)
{
    return records(world, FAILOVER_DONE) == 1 && engines_idle(world);
}

static void move(size_t n)
{
    node_start(&w, "m1:1", 1001);
    node_start(&w, "m2:1", 1002);
    node_start(&w, "m3:1", 1003);
    node_start(&w, "m4:1", 1004);
    world_run(&w, 1000); /* settle */
    give(&w, "m1:1", 1001, "a", n);
    give(&w, "m2:1", 1002, "b", 1);
    give(&w, "m3:1", 1003, "c", 1);
    give(&w, "m4:1", 1004, "d", 1);
    world_run(&w, 2000);
    node_kill(&w, "m1:1");
    assert_true(world_until(&w, 10000, one_done_and_idle));
    assert_int_equal(owned_by(&w, "m1:1"), 0);
    assert_int_equal(told.locks, 1);
    assert_int_equal(told.reads, 5 + 5 + 1); /* READING, VERIFY, the floor */
    assert_int_equal(told.targets, 3);       /* once in a hold of the lock */
    assert_int_equal(told.writes, 3);        /* INTENT, SET_MOVING, CLOSING */
    assert_int_equal(told.items, n);
}

static void a_failover_of_one_page(void **state)
{
    (void)state;
    move(30);
    assert_int_equal(told.pages, 1 + 1); /* one shows that nothing is left */
    assert_int_equal(told.batches, 1);
    /* the nine above, the items' records, and the batch */
    assert_int_equal(told.chain, 9 + 2);
    world_run(&w, 3000); /* nothing comes after it */
    assert_int_equal(told.locks, 1);
}

static void a_failover_of_ten_thousand_items(void **state)
{
    (void)state;
    move(10000);
    assert_int_equal(told.pages, 10 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_failover_of_one_page, open_world,
                                        close_world),
        cmocka_unit_test_setup_teardown(a_failover_of_ten_thousand_items,
                                        open_world, close_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
