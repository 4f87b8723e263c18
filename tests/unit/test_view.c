/* test_view.c - what a coordinator remembers: owners, markers in order, what
 * wants the engine, failovers, finished items, settings. */
#include "tests/unit/work_ask.h"

#include "base/rand.h"
#include "work/view_priv.h"

#include <malloc.h>

static void put_marker(struct world *w, const char *address, const char *id,
                       int process)
{
    struct marker m = {.kind = NODE_MASTER, .epoch = 1};
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;

    m.process = process_of(process);
    buf_init(&b, 4096);
    work_marker_write(&b, &m);
    assert_int_equal(hand_put(w, work_marker_key(NODE_MASTER, address, id, key),
                              buf_text(&b)),
                     ERR_OK);
    buf_close(&b);
}

static void remove_key(struct world *w, const char *key)
{
    int code = -1;

    registry_delete(w->hand, key, memory_find(w->store, key)->version,
                    note_code, &code);
    pass(w, 100);
    assert_int_equal(code, ERR_OK);
}

static void owners_follow_gates_and_markers(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    const struct work_view_owner *o;
    uint64_t index;

    (void)state;
    assert_null(work_view_next(s->view, NULL));
    put_marker(w, "m:1", "b", 1);
    put_marker(w, "m:1", "a", 1);
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
    pass(w, 100);
    o = work_view_owner(s->view, NODE_MASTER, "m:1");
    assert_ptr_equal(work_view_next(s->view, NULL), o);
    assert_null(work_view_next(s->view, o));
    assert_int_equal(o->n_markers, 2);
    assert_int_equal(o->gate->state, GATE_OPEN);
    assert_true(gates_order_seen(s->gates, NODE_MASTER, "m:1") > 1000);
    assert_true(gates_order_seen(s->gates, NODE_MASTER, "m:1") <=
                w->clock.mono);
    assert_int_equal(
        membership_find(s->membership, NODE_MASTER, "m:1")->gate->state,
        GATE_OPEN);
    index = work_view_index(s->view);
    remove_key(w, "/pelorus/owned/master/m:1/a");
    assert_int_equal(work_view_marker_count(s->view, NODE_MASTER, "m:1"), 1);
    assert_true(work_view_index(s->view) > index);
    assert_string_equal(
        work_view_marker_next(s->view, NODE_MASTER, "m:1", NULL)->id, "b");
    assert_null(work_view_marker_next(s->view, NODE_MASTER, "m:1", "b"));
    /* an address is forgotten when nothing names it any more */
    put_marker(w, "m:7", "x", 1);
    pass(w, 100);
    assert_non_null(work_view_owner(s->view, NODE_MASTER, "m:7"));
    remove_key(w, "/pelorus/owned/master/m:7/x");
    assert_null(work_view_owner(s->view, NODE_MASTER, "m:7"));
    assert_true(s->changes >= 6);
    world_free(w);
}

static void markers_that_are_not_the_gates_are_counted(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    const struct work_view_owner *o;

    (void)state;
    put_marker(w, "m:1", "a", 1);
    put_marker(w, "m:1", "b", 9);
    pass(w, 100);
    o = work_view_owner(s->view, NODE_MASTER, "m:1");
    assert_int_equal(o->n_foreign, 0); /* there is no gate to judge by */
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
    pass(w, 100);
    assert_int_equal(o->n_foreign, 1);
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 3);
    pass(w, 100);
    assert_int_equal(o->n_foreign, 2);
    remove_key(w, "/pelorus/owned/master/m:1/b");
    assert_int_equal(o->n_foreign, 1);
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
    pass(w, 100);
    assert_int_equal(o->n_foreign, 0);
    world_free(w);
}

/* --- failovers ----------------------------------------------------------- */

static void put_failover(struct world *w, const char *id, const char *address,
                         enum failover_phase phase, wall_ms began)
{
    struct failover_record *r = mem_zalloc(sizeof(*r));
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;

    (void)snprintf(r->id, sizeof(r->id), "%s", id);
    (void)snprintf(r->address, sizeof(r->address), "%s", address);
    r->phase = phase;
    r->began = began;
    r->hook_exit = -1;
    buf_init(&b, 65536);
    work_failover_write(&b, r);
    assert_int_equal(hand_put(w, work_failover_key(id, key), buf_text(&b)),
                     ERR_OK);
    buf_close(&b);
    mem_free(r);
}

static void unfinished_failovers_want_the_engine(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];

    (void)state;
    assert_null(work_view_failover(s->view, NODE_MASTER, "m:1"));
    put_failover(w, "f1", "m:1", FAILOVER_DONE, 100);
    pass(w, 100);
    assert_null(work_view_failover(s->view, NODE_MASTER, "m:1"));
    put_failover(w, "f2", "m:1", FAILOVER_INTENT, 200);
    put_failover(w, "f3", "m:1", FAILOVER_HELD, 150);
    pass(w, 100);
    assert_string_equal(work_view_failover(s->view, NODE_MASTER, "m:1")->id,
                        "f2");
    put_failover(w, "f2", "m:1", FAILOVER_ABORTED, 200);
    pass(w, 100);
    assert_string_equal(work_view_failover(s->view, NODE_MASTER, "m:1")->id,
                        "f3");
    remove_key(w, "/pelorus/failovers/f3");
    assert_null(work_view_failover(s->view, NODE_MASTER, "m:1"));
    /* damage changes nothing */
    assert_int_equal(hand_put(w, "/pelorus/failovers/f9", "{}"), ERR_OK);
    assert_int_equal(hand_put(w, "/pelorus/failovers/f8", "oops"), ERR_OK);
    pass(w, 100);
    assert_int_equal(work_view_surplus(s->view, 2, false, NULL, 1), 0);
    world_free(w);
}

static void surplus_failovers_are_the_oldest_final_ones(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct view_old old;
    static const char *const expected[] = {"f7", "f3", "f5"};

    (void)state;
    put_failover(w, "f5", "m:1", FAILOVER_DONE, 500);
    put_failover(w, "f3", "m:2", FAILOVER_ABORTED, 300);
    put_failover(w, "f4", "m:2", FAILOVER_MOVING, 400);
    put_failover(w, "f7", "m:2", FAILOVER_DONE, 50);
    put_failover(w, "f6", "m:2", FAILOVER_DONE, 600);
    pass(w, 100);
    assert_int_equal(work_view_surplus(s->view, 5, false, NULL, 9), 0);
    assert_int_equal(work_view_surplus(s->view, 1, false, NULL, 9), 3);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        char key[REGISTRY_KEY_MAX + 1];

        assert_int_equal(work_view_surplus(s->view, 1, false, &old, 1), 1);
        assert_string_equal(old.id, expected[i]);
        assert_true(
            memory_find(w->store, work_failover_key(old.id, key))->version ==
            old.version);
        remove_key(w, key);
    }
    /* f4 is not final, f6 is kept */
    assert_int_equal(work_view_surplus(s->view, 1, false, &old, 1), 0);
    world_free(w);
}

/* --- finished items ------------------------------------------------------ */

static void finished_items_are_collectable_after_a_while(void **state)
{
    struct world *w = world_new(2, 1);
    struct ended *e = ended_new();
    char ids[4][WORK_ID_MAX + 1];

    (void)state;
    assert_string_equal(submit(&w->sides[0], e, "a", NULL), "");
    assert_string_equal(submit(&w->sides[0], e, "b", NULL), "");
    assert_string_equal(submit(&w->sides[0], e, "c", NULL), "");
    assert_string_equal(at_epoch(&w->sides[0], e, work_done, "b", 1), "");
    pass(w, 5000);
    assert_string_equal(at_epoch(&w->sides[0], e, work_done, "a", 1), "");
    pass(w, 6000);
    for (size_t i = 0; i < 2; i++) { /* whoever finished it */
        assert_int_equal(work_view_collectable(w->sides[i].view, 10000, ids, 4),
                         1);
        assert_string_equal(ids[0], "b");
        assert_int_equal(work_view_collectable(w->sides[i].view, 1000, ids, 4),
                         2);
        assert_int_equal(work_view_collectable(w->sides[i].view, 1000, ids, 1),
                         1);
    }
    /* a coordinator that starts now goes by their records: one that starts
     * again and again would collect nothing */
    side_close(&w->sides[1]);
    side_open(w, &w->sides[1], 9);
    pass(w, 500);
    assert_int_equal(work_view_collectable(w->sides[1].view, 20000, ids, 4), 0);
    assert_int_equal(work_view_collectable(w->sides[1].view, 10000, ids, 4), 1);
    assert_string_equal(ids[0], "b");
    assert_int_equal(work_view_collectable(w->sides[1].view, 1000, ids, 4), 2);
    remove_key(w, "/pelorus/work/b");
    assert_int_equal(work_view_collectable(w->sides[1].view, 1000, ids, 4), 1);
    assert_string_equal(ids[0], "a");
    ended_free(e);
    world_free(w);
}

/* --- settings ------------------------------------------------------------ */

static void settings_are_seen_within_a_second_or_so(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];

    (void)state;
    assert_false(work_view_settings(s->view)->paused);
    assert_int_equal(hand_put(w, SETTINGS_KEY, "{\"paused\":true}"), ERR_OK);
    pass(w, 1200);
    assert_true(work_view_settings(s->view)->paused);
    assert_true(work_view_settings(s->view)->version != 0);
    assert_int_equal(hand_put(w, SETTINGS_KEY, "{\"paused\":0}"), ERR_OK);
    pass(w, 1200);
    assert_true(work_view_settings(s->view)->paused); /* damaged: as it was */
    remove_key(w, SETTINGS_KEY);
    pass(w, 1200);
    assert_false(work_view_settings(s->view)->paused);
    world_free(w);
}

/* --- damage and disorder ------------------------------------------------- */

static void damaged_keys_are_passed_over(void **state)
{
    static const char *const keys[] = {"/pelorus/owned/master/m:1/bad id",
                                       "/pelorus/owned/master/m:1/a/b",
                                       "/pelorus/owned/ship/m:1/a",
                                       "/pelorus/owners/master/nowhere",
                                       "/pelorus/owners/master/m:1",
                                       "/pelorus/owned/master/m:1/a",
                                       "/pelorus/work/bad id"};
    struct world *w = world_new(1, 1);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_int_equal(hand_put(w, keys[i], "{\"state\":\"done\"}"), ERR_OK);
    pass(w, 200);
    assert_null(work_view_next(w->sides[0].view, NULL));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcmp(keys[i], "/pelorus/owned/master/m:1/a") != 0)
            remove_key(w, keys[i]);
    assert_null(work_view_next(w->sides[0].view, NULL));
    world_free(w);
}

static void a_view_agrees_after_lost_doubled_and_late_events(void **state)
{
    struct memory_faults bad = {.delay_max_ms = 20,
                                .event_drop_share = 0.3,
                                .event_dup_share = 0.3,
                                .event_late_share = 0.3,
                                .resync_ms = 1000};
    struct world *w = world_new(1, 5);
    struct side *s = &w->sides[0];
    struct rand rand;
    struct audit a;
    size_t seen = 0;

    (void)state;
    rand_seed(&rand, 5);
    memory_set_faults(w->store, &bad);
    for (int i = 0; i < 400; i++) {
        char id[16], key[REGISTRY_KEY_MAX + 1];
        const struct registry_entry *e;

        (void)snprintf(id, sizeof(id), "i%u", (unsigned)rand_below(&rand, 60));
        e = memory_find(w->store, work_marker_key(NODE_MASTER, "m:1", id, key));
        if (e != NULL && rand_below(&rand, 2) == 0) {
            int code = -1;

            registry_delete(w->hand, key, e->version, note_code, &code);
            pass(w, 50);
        } else {
            put_marker(w, "m:1", id, (int)rand_below(&rand, 3));
        }
    }
    pass(w, 5000);
    a = (struct audit){.w = w};
    memory_each(w->store, MARKER_PREFIX, audit_marker, &a);
    for (const struct marker *m =
             work_view_marker_next(s->view, NODE_MASTER, "m:1", NULL);
         m != NULL; seen++) {
        char key[REGISTRY_KEY_MAX + 1];
        const struct registry_entry *e = memory_find(
            w->store, work_marker_key(NODE_MASTER, "m:1", m->id, key));

        assert_non_null(e);
        assert_true(e->version == m->version);
        m = work_view_marker_next(s->view, NODE_MASTER, "m:1", m->id);
    }
    assert_int_equal(seen, a.markers);
    world_free(w);
}

/* --- size ---------------------------------------------------------------- */

#define MANY 100000

static void shuffle(uint32_t *order, struct rand *rand)
{
    for (uint32_t i = 0; i < MANY; i++)
        order[i] = i;
    for (uint32_t i = MANY - 1; i > 0; i--) {
        uint32_t j = (uint32_t)rand_below(rand, i + 1);
        uint32_t t = order[i];

        order[i] = order[j];
        order[j] = t;
    }
}

static double seconds(void)
{
    return (double)clock_mono_ns() / 1e9;
}

static void a_hundred_thousand_markers_are_cheap(void **state)
{
    uint32_t *order = mem_array(MANY, sizeof(*order));
    struct view v = {.marks = packed_map_new()};
    struct owner owner = {.name = "0/10.0.0.1:5678"};
    struct owner others[2] = {{.name = "0/10.0.0.1:567"},
                              {.name = "0/10.0.0.1:56789"}};
    struct mark mark = {
        .epoch = 1, .version = 123456, .process = process_of(3)};
    struct mark_cursor c;
    struct mark found;
    struct rand rand;
    double began = seconds();
    size_t bytes = mallinfo2().uordblks, n = 0;
    char id[32];

    (void)state;
    rand_seed(&rand, 1);
    shuffle(order, &rand);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        work_mark_put(&v, &others[i], "somebody-elses", &mark);
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(id, sizeof(id), "workflow-instance-%08u", order[i]);
        mark.epoch = order[i] + 1;
        work_mark_put(&v, &owner, id, &mark);
        assert_int_equal(owner.n_marks, i + 1);
    }
    bytes = mallinfo2().uordblks - bytes;
    for (bool on = work_mark_first(&v, &owner, NULL, &c); on;
         on = work_mark_next(&c)) {
        (void)snprintf(id, sizeof(id), "workflow-instance-%08zu", n++);
        assert_string_equal(c.id, id);
        assert_int_equal(c.mark.epoch, n);
        assert_int_equal(c.mark.version, 123456);
        assert_true(process_same(&c.mark.process, &mark.process));
    }
    assert_int_equal(n, MANY);
    shuffle(order, &rand);
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(id, sizeof(id), "workflow-instance-%08u", order[i]);
        assert_true(work_mark_find(&v, &owner, id, &found));
        assert_int_equal(found.epoch, order[i] + 1);
        work_mark_remove(&v, &owner, id);
        assert_false(work_mark_find(&v, &owner, id, &found));
    }
    assert_int_equal(owner.n_marks, 0);
    assert_false(work_mark_first(&v, &owner, NULL, &c));
    assert_true(work_mark_first(&v, &others[0], NULL, &c));
    assert_false(work_mark_first(&v, &others[0], "somebody-elses", &c));
    assert_true(work_mark_first(&v, &others[1], "", &c));
    assert_false(work_mark_next(&c));
    /* 0 bytes where a sanitizer brings its own allocator */
    print_message("%d markers: %zu bytes each; put, walk, find and remove took "
                  "%.2f s\n",
                  MANY, bytes / MANY, seconds() - began);
    assert_true(bytes / MANY < 50);
    packed_map_free(&v.marks);
    mem_free(order);
}

/* What was known before says nothing of what happened since. */
static void a_lost_session_is_to_be_synced_again(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    uint64_t session = registry_session(s->registry);
    bool doubted = false;

    (void)state;
    assert_true(work_view_synced(s->view));
    memory_expire(s->registry);
    for (int i = 0; i < 1000 && !(doubted && work_view_synced(s->view)); i++) {
        pass(w, STEP_MS);
        if (registry_session(s->registry) != session) {
            doubted = doubted || !work_view_synced(s->view);
            assert_true(doubted); /* from the first moment */
        } else {
            assert_true(work_view_synced(s->view));
        }
    }
    assert_true(doubted && work_view_synced(s->view));
    assert_true(registry_session(s->registry) != session);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_follow_gates_and_markers),
        cmocka_unit_test(markers_that_are_not_the_gates_are_counted),
        cmocka_unit_test(unfinished_failovers_want_the_engine),
        cmocka_unit_test(surplus_failovers_are_the_oldest_final_ones),
        cmocka_unit_test(finished_items_are_collectable_after_a_while),
        cmocka_unit_test(settings_are_seen_within_a_second_or_so),
        cmocka_unit_test(damaged_keys_are_passed_over),
        cmocka_unit_test(a_lost_session_is_to_be_synced_again),
        cmocka_unit_test(a_view_agrees_after_lost_doubled_and_late_events),
        cmocka_unit_test(a_hundred_thousand_markers_are_cheap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
