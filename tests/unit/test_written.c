/*
 * test_written.c - waiting until what was written is shown: here, by the index
 * of the write in another coordinator, and not for ever.
 */
#include "tests/unit/coordinator_world.h"

#define ADDRESS "10.0.0.7:1234"
#define KEY     "/pelorus/nodes/worker/" ADDRESS

struct looked {
    unsigned times;
    bool seen;
    bool shown; /* the snapshot of then has the node */
    struct coordinator *c;
    struct write_index write;
};

static bool shows(struct coordinator *c)
{
    struct snapshot *s = coordinator_snapshot(c);
    bool found = coordinator_snapshot_node(s, NODE_WORKER, ADDRESS) != NULL;

    coordinator_snapshot_release(&s);
    return found;
}

static void on_looked(void *arg, bool seen, const struct write_index *write)
{
    struct looked *l = arg;

    l->times++;
    l->seen = seen;
    l->shown = shows(l->c);
    l->write = *write;
}

static void look(struct world *w, int i, const struct write_index *write,
                 bool ours, int64_t wait_ms, struct looked *l)
{
    *l = (struct looked){.c = w->c[i]};
    assert_int_equal(
        coordinator_await_write(w->c[i], write, ours, wait_ms, on_looked, l),
        0);
    assert_int_equal(l->times, 0); /* never before it returns */
}

static void an_index_is_text_and_back(void **state)
{
    struct write_index w = {0}, back;
    char text[WRITE_INDEX_SIZE], again[WRITE_INDEX_SIZE];

    (void)state;
    coordinator_index_add(&w, "/pelorus/groups/\xe6\xb5\x8b~ &,@%");
    coordinator_index_add_over(&w, KEY, UINT64_MAX, 7);
    coordinator_index_add(&w,
                          "/pelorus/work/w-1"); /* read whenever asked for */
    assert_int_equal(w.n, 2);
    coordinator_index_text(&w, text);
    assert_int_equal(strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789"
                                  "/:.,@~-"),
                     strlen(text));
    assert_true(coordinator_index_is(text));
    assert_true(coordinator_index_parse(&back, text));
    assert_int_equal(back.n, 2);
    assert_string_equal(back.keys[0].key, w.keys[0].key);
    assert_string_equal(back.keys[1].key, KEY);
    assert_true(back.keys[1].created == UINT64_MAX);
    assert_int_equal(back.keys[1].version, 8);
    assert_string_equal(coordinator_index_text(&back, again), text);
}

static void what_is_no_index_is_refused(void **state)
{
    static const char *const bad[] = {
        "w:",
        "w:@1.1",
        "w:" KEY,
        "w:" KEY "@",
        "w:" KEY "@1",
        "w:" KEY "@1.",
        "w:" KEY "@1.x",
        "w:" KEY "@1.1,",
        "w:" KEY "@1.1 ",
        "w:" KEY "@99999999999999999999.1",
        "w:" KEY "~0@1.1",
        "w:" KEY "~00@1.1",
        "w:" KEY "~@1.1",
        "w:/pelorus/nodes@1.1",
        "w:/pelorus/nodes/../groups/g@1.1",
        "w:/pelorus/epoch-floor@1.1",
        "w:/nodes/worker/" ADDRESS "@1.1",
        "w:" KEY "@1.1," KEY "@1.1," KEY "@1.1," KEY "@1.1," KEY "@1.1",
    };
    struct write_index w;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(coordinator_index_parse(&w, bad[i]));
    assert_false(coordinator_index_is("1f-7"));
}

static void what_was_written_is_shown_before_the_answer(void **state)
{
    struct world *w = *state;
    struct write_index write = {0};
    struct looked l;

    world_start(w, 1);
    world_run(w, 2 * SESSION_MS);
    assert_string_equal(put(w, NODE_WORKER, ADDRESS, "{}", 60000).code, "");
    coordinator_index_add(&write, KEY);
    look(w, 0, &write, true, 1000, &l);
    while (l.times == 0)
        world_run(w, 1);
    assert_true(l.seen && l.shown);
    assert_true(l.write.keys[0].created != 0);
    write = l.write;
    look(w, 1, &write, false, 1000, &l);
    while (l.times == 0)
        world_run(w, 1);
    assert_true(l.seen && l.shown);
    assert_string_equal(node_delete(w, NODE_WORKER, ADDRESS).code, "");
    look(w, 0, &write, true, 1000, &l); /* what became of it counts */
    world_run(w, 1100);
    assert_int_equal(l.times, 1);
    assert_true(l.seen);
}

static void a_write_that_never_was_is_not_waited_for_for_ever(void **state)
{
    struct world *w = *state;
    struct write_index write = {0};
    struct looked l;

    world_run(w, 2 * SESSION_MS);
    assert_string_equal(put(w, NODE_WORKER, ADDRESS, "{}", 60000).code, "");
    coordinator_index_add_over(&write, KEY, UINT64_MAX, 1);
    look(w, 0, &write, false, 500, &l);
    world_run(w, 400);
    assert_int_equal(l.times, 0);
    world_run(w, 200);
    assert_int_equal(l.times, 1);
    assert_false(l.seen);
}

static void
without_the_registry_the_answer_is_that_it_is_not_shown(void **state)
{
    struct world *w = *state;
    struct write_index write = {0};
    struct looked l;

    world_run(w, 2 * SESSION_MS);
    assert_string_equal(put(w, NODE_WORKER, ADDRESS, "{}", 60000).code, "");
    memory_cut(w->registry[0]);
    coordinator_index_add(&write, KEY);
    look(w, 0, &write, true, 500, &l);
    world_run(w, 600);
    assert_int_equal(l.times, 1);
    assert_false(l.seen);
    memory_heal(w->registry[0]);
    look(w, 0, &write, false, 10000, &l);
    world_run(w, 9000);
    assert_int_equal(l.times, 1);
    assert_true(l.seen && l.shown);
}

static void who_waits_is_answered_when_the_coordinator_goes(void **state)
{
    struct world *w = *state;
    struct write_index write = {0};
    struct looked l;

    world_run(w, 2 * SESSION_MS);
    assert_string_equal(put(w, NODE_WORKER, ADDRESS, "{}", 60000).code, "");
    coordinator_index_add_over(&write, KEY, UINT64_MAX, 1);
    look(w, 0, &write, false, 60000, &l);
    world_run(w, 500);
    assert_int_equal(l.times, 0);
    world_end(w, 0);
    assert_int_equal(l.times, 1);
    assert_false(l.seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_is_text_and_back),
        cmocka_unit_test(what_is_no_index_is_refused),
        WORLD_TEST(what_was_written_is_shown_before_the_answer),
        WORLD_TEST(a_write_that_never_was_is_not_waited_for_for_ever),
        WORLD_TEST(without_the_registry_the_answer_is_that_it_is_not_shown),
        WORLD_TEST(who_waits_is_answered_when_the_coordinator_goes),
    };

    return cmocka_run_group_tests_name("looks", tests, NULL, NULL);
}
