/*
 * test_history_fork.c - two primaries: an old one that comes back beside the
 * new one is not believed, wherever its position is, and does no harm to what
 * is known of the new one (registry/history.h, over the memory registry).
 */
#include "base/mem.h"
#include "registry/history.h"
#include "tests/lib/memory/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT 4000
#define SOON    3000
#define PEOPLE  8

struct world {
    struct clock clock;
    struct memory_store *store;
    struct registry *r[PEOPLE];
    size_t n;
    enum err_code code;
};

static void run(struct world *w, int64_t ms)
{
    (void)memory_run(w->store, w->clock.mono + ms);
}

static struct registry *begin(struct world *w)
{
    struct registry *r = memory_open(w->store, TIMEOUT);
    char who[16];

    assert_true(w->n < PEOPLE);
    w->r[w->n++] = r;
    (void)snprintf(who, sizeof(who), "h%zu:1", w->n);
    registry_compare(r, who, NULL, true);
    return r;
}

static void on_put(void *arg, const struct registry_reply *reply)
{
    ((struct world *)arg)->code = reply->err.code;
}

static enum err_code put(struct world *w, struct registry *r)
{
    w->code = ERR_TIMEOUT;
    registry_put(r, "/a/1", "v", 1, REGISTRY_ANY, 0, false, on_put, w);
    run(w, SOON);
    return w->code;
}

static void on_closed(void *arg)
{
    (void)arg;
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->clock.mono = 1000;
    w->store = memory_store_new(&w->clock, 7);
    memory_line(w->store, 1);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < w->n; i++)
        registry_close(&w->r[i], on_closed, NULL);
    run(w, 3 * TIMEOUT);
    memory_store_free(&w->store);
    mem_free(w);
    return 0;
}

/* Somebody has used the new one; the old one is back, and stands higher. */
static struct registry *two_primaries(struct world *w)
{
    struct registry *r = begin(w);

    run(w, SOON);
    assert_int_equal(put(w, r), ERR_OK);
    memory_promote(w->store, NULL);
    run(w, SOON);
    assert_int_equal(put(w, r), ERR_OK);
    assert_int_equal(registry_place(r)->line, 2);
    memory_look_into(w->store, MEMORY_OLD);
    memory_lift(w->store, 1000);
    memory_look_into(w->store, MEMORY_NEW);
    memory_up(w->store, MEMORY_OLD);
    return r;
}

static bool is_marked(struct world *w, enum memory_which which)
{
    const struct registry_entry *e;
    bool marked;

    memory_look_into(w->store, which);
    e = memory_find(w->store, HISTORY_KEY);
    assert_non_null(e);
    marked = strstr(e->value, "\"went_back\"") != NULL;
    memory_look_into(w->store, MEMORY_NEW);
    return marked;
}

static void break_connection(struct world *w, struct registry *r)
{
    memory_cut(r);
    memory_heal(r);
    run(w, SOON);
}

static void a_promotion_loses_nothing(void **state)
{
    struct world *w = *state;
    struct registry *r = begin(w);
    uint64_t session;

    run(w, SOON);
    session = registry_session(r);
    assert_int_not_equal(session, 0);
    memory_promote(w->store, NULL);
    run(w, SOON);
    assert_int_equal(registry_session(r), session);
    assert_int_equal(put(w, r), ERR_OK);
    assert_null(registry_went_back(r));
}

static void an_old_primary_is_not_believed(void **state)
{
    struct world *w = *state;
    struct registry *r = two_primaries(w);

    memory_reach(r, true, false);
    run(w, SOON);
    assert_int_equal(memory_at(r), MEMORY_OLD);
    assert_int_equal(registry_session(r), 0);
    assert_non_null(registry_went_back(r));
    assert_true(is_marked(w, MEMORY_OLD));
    assert_false(is_marked(w, MEMORY_NEW));
}

static void the_other_host_is_asked(void **state)
{
    struct world *w = *state;
    struct registry *r = two_primaries(w);

    for (int i = 0; i < 10; i++) {
        break_connection(w, r);
        assert_int_equal(memory_at(r), MEMORY_NEW);
    }
    assert_null(registry_went_back(r));
    assert_int_equal(put(w, r), ERR_OK);
}

static void who_knows_nothing_takes_the_later_line(void **state)
{
    struct world *w = *state;

    (void)two_primaries(w);
    while (w->n < PEOPLE)
        (void)begin(w);
    run(w, SOON);
    for (size_t i = 0; i < w->n; i++) {
        assert_int_equal(memory_at(w->r[i]), MEMORY_NEW);
        assert_int_not_equal(registry_session(w->r[i]), 0);
    }
    assert_false(is_marked(w, MEMORY_OLD));
}

static void who_has_no_memory_is_told_by_the_mark(void **state)
{
    struct world *w = *state;
    struct registry *r = two_primaries(w), *later;

    memory_reach(r, true, false);
    run(w, SOON);
    later = begin(w);
    memory_reach(later, true, false);
    run(w, SOON);
    assert_int_equal(registry_session(later), 0);
    assert_non_null(registry_went_back(later));
}

static void the_right_one_is_believed_again(void **state)
{
    struct world *w = *state;
    struct registry *r = two_primaries(w);

    memory_reach(r, true, false);
    run(w, SOON);
    memory_reach(r, true, true);
    run(w, SOON);
    assert_int_equal(memory_at(r), MEMORY_NEW);
    assert_null(registry_went_back(r));
    assert_int_equal(put(w, r), ERR_OK);
}

/* It notices, and can neither read nor write the key there. */
static void
who_could_not_mark_the_old_one_does_not_mark_the_right_one(void **state)
{
    struct world *w = *state;
    struct registry *r = two_primaries(w);
    struct memory_faults faults = {.unavailable_share = 1.0};

    memory_set_faults(w->store, &faults);
    memory_reach(r, true, false);
    run(w, SOON);
    assert_non_null(registry_went_back(r));
    assert_false(is_marked(w, MEMORY_OLD));
    faults.unavailable_share = 0.0;
    memory_down(w->store, MEMORY_OLD);
    memory_reach(r, true, true);
    run(w, 100);
    memory_set_faults(w->store, &faults);
    run(w, SOON);
    assert_false(is_marked(w, MEMORY_NEW));
    assert_null(registry_went_back(r));
    assert_int_equal(put(w, r), ERR_OK);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_promotion_loses_nothing),
        TEST(an_old_primary_is_not_believed),
        TEST(the_other_host_is_asked),
        TEST(who_knows_nothing_takes_the_later_line),
        TEST(who_has_no_memory_is_told_by_the_mark),
        TEST(the_right_one_is_believed_again),
        TEST(who_could_not_mark_the_old_one_does_not_mark_the_right_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
