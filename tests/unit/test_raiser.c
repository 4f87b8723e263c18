/*
 * test_raiser.c - what a coordinator takes from processes: all of it raises
 * /pelorus/taken, many in one txn, and nobody is told what is not so.
 */
#include "base/log.h"
#include "base/mem.h"
#include "cluster/renewals/taken.h"
#include "coordinator/raiser.h"
#include "tests/lib/memory/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define N 400

struct one {
    char key[32], address[32];
    uint64_t version;
    unsigned times;
    enum err_code code;
    size_t failed_op;
};

struct world {
    struct clock clock;
    struct memory_store *store;
    struct registry *hand, *registry;
    struct raiser *raiser;
    struct one all[N];
    unsigned raises;  /* writes of `taken` */
    unsigned unnamed; /* keys that went without it in the same txn */
    uint64_t named;   /* as it stood last */
};

static void no_log(void *arg, enum log_level level, const char *line, size_t n)
{
    (void)arg, (void)level, (void)line, (void)n;
}

static void on_done(void *arg, const struct registry_reply *reply)
{
    struct one *o = arg;

    o->times++;
    o->code = reply->err.code;
    o->failed_op = reply->failed_op;
}

static void on_ok(void *arg, const struct registry_reply *reply)
{
    *(enum err_code *)arg = reply->err.code;
}

static void run(struct world *w, int64_t ms)
{
    for (mono_ms until = w->clock.mono + ms; w->clock.mono < until;) {
        memory_run(w->store, w->clock.mono + 10);
        if (w->raiser != NULL)
            raiser_tick(w->raiser);
    }
}

static void put(struct world *w, const char *key, const void *value, size_t len)
{
    enum err_code code = ERR_CANCELLED;

    registry_put(w->hand, key, value, len, REGISTRY_ANY, 0, false, on_ok,
                 &code);
    run(w, 50);
    assert_int_equal(code, ERR_OK);
}

static bool find(struct world *w, struct taken *t)
{
    const struct registry_entry *e = memory_find(w->store, TAKEN_KEY);

    return e != NULL && taken_read(t, e->value, e->value_len, NULL) == 0;
}

static void raise_by_hand(struct world *w, const char *address)
{
    struct taken t;
    struct buf b;

    if (!find(w, &t))
        taken_init(&t);
    taken_raise(&t, NODE_WORKER, address);
    buf_init(&b, TAKEN_BYTES_MAX);
    taken_write(&b, &t);
    put(w, TAKEN_KEY, b.data, b.len);
    buf_close(&b);
}

/* A txn's writes are told one after the other, `taken` first. */
static void on_write(void *arg, uint64_t writer,
                     const struct registry_entry *before,
                     const struct registry_entry *after)
{
    struct world *w = arg;
    struct taken t;

    (void)writer;
    if (after != NULL && strcmp(after->key, TAKEN_KEY) == 0) {
        w->raises++;
        if (taken_read(&t, after->value, after->value_len, NULL) == 0)
            w->named = t.named;
    } else if (before != NULL && after == NULL) {
        const struct registry_entry *e = memory_find(w->store, TAKEN_KEY);
        uint64_t since = 0;

        if (e == NULL || taken_read(&t, e->value, e->value_len, NULL) != 0 ||
            !taken_names(&t, since, NODE_WORKER, before->value))
            w->unnamed++;
    }
}

/* So many registrations, and a raiser. */
static void begin(struct world *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct one *o = &w->all[i];
        enum err_code code = ERR_CANCELLED;

        snprintf(o->key, sizeof(o->key), "/n/%zu", i);
        snprintf(o->address, sizeof(o->address), "w%zu:1", i);
        registry_put(w->hand, o->key, o->address, strlen(o->address),
                     REGISTRY_ANY, 0, false, on_ok, &code);
        run(w, 10);
        assert_int_equal(code, ERR_OK);
        o->version = memory_find(w->store, o->key)->version;
    }
    w->raises = 0;
    w->raiser = raiser_new(&w->clock, w->registry);
}

static void take(struct world *w, size_t i)
{
    struct one *o = &w->all[i];
    struct registry_op op = registry_op_at(REGISTRY_DELETE, o->key, o->version);

    raiser_add(w->raiser, NODE_WORKER, o->address, &op, 1, on_done, o);
    assert_int_equal(o->times, 0);
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    log_set_sink(no_log, NULL);
    w->clock.mono = 1000;
    w->store = memory_store_new(&w->clock, 5);
    memory_on_write(w->store, on_write, w);
    w->hand = memory_open(w->store, 60000);
    w->registry = memory_open(w->store, 6000);
    run(w, 100);
    *state = w;
    return 0;
}

static void closed(void *arg)
{
    ++*(int *)arg;
}

static int teardown(void **state)
{
    struct world *w = *state;
    int n = 0;

    raiser_free(&w->raiser, true);
    registry_close(&w->hand, closed, &n);
    registry_close(&w->registry, closed, &n);
    while (n < 2)
        memory_run(w->store, w->clock.mono + 1);
    memory_store_free(&w->store);
    log_set_sink(NULL, NULL);
    mem_free(w);
    return 0;
}

/* --- ---------------------------------------------------------------------- */

static void what_is_taken_is_named_in_the_same_txn(void **state)
{
    struct world *w = *state;
    struct taken t;

    begin(w, 2);
    take(w, 0);
    run(w, 200);
    assert_int_equal(w->all[0].times, 1);
    assert_int_equal(w->all[0].code, ERR_OK);
    assert_null(memory_find(w->store, w->all[0].key));
    assert_true(find(w, &t));
    assert_int_equal(t.named, 1);
    assert_false(t.grouped);
    assert_true(taken_names(&t, 0, NODE_WORKER, w->all[0].address));
    assert_false(taken_names(&t, 0, NODE_WORKER, w->all[1].address));
    assert_int_equal(w->unnamed, 0);
}

static void many_go_in_a_few_txns(void **state)
{
    struct world *w = *state;

    begin(w, N);
    for (size_t i = 0; i < N; i++)
        take(w, i);
    run(w, 3000);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(w->all[i].times, 1);
        assert_int_equal(w->all[i].code, ERR_OK);
        assert_null(memory_find(w->store, w->all[i].key));
    }
    assert_int_equal(w->named, N);
    assert_true(w->raises <= 1 + (N + 126) / 127);
}

static void who_is_overtaken_is_told_and_the_others_go(void **state)
{
    struct world *w = *state;

    begin(w, 4);
    put(w, w->all[2].key, "w2:1", 4);
    for (size_t i = 0; i < 4; i++)
        take(w, i);
    run(w, 500);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(w->all[i].times, 1);
        assert_int_equal(w->all[i].code, i == 2 ? ERR_CONFLICT : ERR_OK);
    }
    assert_int_equal(w->all[2].failed_op, 0);
    assert_non_null(memory_find(w->store, w->all[2].key));
    assert_int_equal(w->named, 3);
}

static void after_a_few_of_them_all_are_told(void **state)
{
    struct world *w = *state;

    begin(w, 10);
    for (size_t i = 0; i < 5; i++)
        put(w, w->all[i].key, "x", 1);
    for (size_t i = 0; i < 10; i++)
        take(w, i);
    run(w, 500);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(w->all[i].times, 1);
        assert_int_equal(w->all[i].code, ERR_CONFLICT);
    }
    w->all[8].times = 0;
    take(w, 8);
    run(w, 500);
    assert_int_equal(w->all[8].code, ERR_OK);
}

static void others_raise_between(void **state)
{
    struct world *w = *state;
    struct taken t;

    begin(w, 3);
    take(w, 0);
    run(w, 200);
    raise_by_hand(w, "other:1");
    take(w, 1);
    run(w, 200);
    raise_by_hand(w, "another:1");
    raiser_expect(w->raiser);
    run(w, 50);
    take(w, 2);
    run(w, 200);
    assert_int_equal(w->all[1].code, ERR_OK);
    assert_int_equal(w->all[2].code, ERR_OK);
    assert_true(find(w, &t));
    assert_int_equal(t.named, 5);
    assert_true(taken_names(&t, 1, NODE_WORKER, "other:1"));
}

/* INTENT reads, and writes a round trip later: it comes through. */
static void between_two_of_ours_others_find_time(void **state)
{
    struct world *w = *state;
    unsigned lost = 0;

    begin(w, N);
    memory_set_faults(w->store, &(struct memory_faults){.delay_max_ms = 5});
    for (size_t i = 0; i < N; i++)
        take(w, i);
    for (unsigned i = 0; i < 10; i++) {
        enum err_code code = ERR_CANCELLED;
        const struct registry_entry *e = memory_find(w->store, TAKEN_KEY);
        struct taken t;
        struct buf b;

        run(w, 20);
        if (e == NULL || !find(w, &t))
            continue;
        buf_init(&b, TAKEN_BYTES_MAX);
        taken_write(&b, &t);
        registry_put(w->hand, TAKEN_KEY, b.data, b.len, REGISTRY_VERSION,
                     memory_find(w->store, TAKEN_KEY)->version, false, on_ok,
                     &code);
        run(w, 20);
        buf_close(&b);
        lost += code != ERR_OK;
    }
    assert_true(lost <= 5);
    run(w, 3000);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(w->all[i].code, ERR_OK);
}

static void the_mode_is_kept(void **state)
{
    struct world *w = *state;
    struct taken t;
    struct buf b;

    begin(w, 1);
    taken_init(&t);
    t.grouped = true;
    buf_init(&b, TAKEN_BYTES_MAX);
    taken_write(&b, &t);
    put(w, TAKEN_KEY, b.data, b.len);
    buf_close(&b);
    take(w, 0);
    run(w, 200);
    assert_true(find(w, &t));
    assert_true(t.grouped);
    assert_int_equal(t.named, 1);
}

static void what_nobody_can_read_stays_and_holds_nobody_up(void **state)
{
    struct world *w = *state;
    const struct registry_entry *e;

    begin(w, 2);
    put(w, TAKEN_KEY, "?", 1);
    take(w, 0);
    run(w, 200);
    take(w, 1);
    run(w, 200);
    assert_int_equal(w->all[0].code, ERR_OK);
    assert_int_equal(w->all[1].code, ERR_OK);
    e = memory_find(w->store, TAKEN_KEY);
    assert_non_null(e);
    assert_int_equal(e->value_len, 1);
}

static void what_is_unknown_is_told_as_that(void **state)
{
    struct world *w = *state;
    unsigned unknown = 0;

    begin(w, 40);
    memory_set_faults(w->store, &(struct memory_faults){.unknown_share = 0.5});
    for (size_t i = 0; i < 40; i++) {
        take(w, i);
        run(w, 100);
    }
    memory_set_faults(w->store, &(struct memory_faults){0});
    run(w, 3000);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(w->all[i].times, 1);
        assert_true(w->all[i].code == ERR_OK || w->all[i].code == ERR_UNKNOWN);
        unknown += w->all[i].code == ERR_UNKNOWN;
        if (w->all[i].code == ERR_OK)
            assert_null(memory_find(w->store, w->all[i].key));
    }
    assert_true(unknown > 5);
    assert_int_equal(w->unnamed, 0);
}

static void what_was_read_in_another_session_is_not_written(void **state)
{
    struct world *w = *state;

    begin(w, 1);
    memory_cut(w->registry);
    run(w, 100);
    take(w, 0);
    run(w, 8000);
    memory_heal(w->registry);
    run(w, 8000);
    assert_int_equal(w->all[0].times, 1);
    assert_int_not_equal(w->all[0].code, ERR_OK);
    run(w, 5000);
    assert_non_null(memory_find(w->store, w->all[0].key));
}

static void who_is_forgotten_is_not_told(void **state)
{
    struct world *w = *state;

    begin(w, 3);
    take(w, 0);
    take(w, 1);
    take(w, 2);
    raiser_forget(w->raiser, &w->all[1]);
    run(w, 500);
    assert_int_equal(w->all[0].times, 1);
    assert_int_equal(w->all[1].times, 0);
    assert_int_equal(w->all[2].times, 1);
}

static void who_waits_at_the_end_is_told(void **state)
{
    struct world *w = *state;

    begin(w, 2);
    take(w, 0);
    take(w, 1);
    raiser_free(&w->raiser, true);
    assert_int_equal(w->all[0].times, 1);
    assert_int_equal(w->all[1].times, 1);
    assert_int_not_equal(w->all[0].code, ERR_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_taken_is_named_in_the_same_txn),
        TEST(many_go_in_a_few_txns),
        TEST(who_is_overtaken_is_told_and_the_others_go),
        TEST(after_a_few_of_them_all_are_told),
        TEST(others_raise_between),
        TEST(between_two_of_ours_others_find_time),
        TEST(the_mode_is_kept),
        TEST(what_nobody_can_read_stays_and_holds_nobody_up),
        TEST(what_is_unknown_is_told_as_that),
        TEST(what_was_read_in_another_session_is_not_written),
        TEST(who_is_forgotten_is_not_told),
        TEST(who_waits_at_the_end_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
