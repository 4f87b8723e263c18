/* test_work_list.c - lists of work by owner, by state and over all records. */
#include "tests/unit/work_ask.h"

static void fill(struct side *s, struct ended *e, size_t n)
{
    char id[32];

    for (size_t i = 0; i < n; i++) {
        (void)snprintf(id, sizeof(id), "i%03zu", i);
        assert_string_equal(submit(s, e, id, NULL), "");
    }
    pass(s->world, 200); /* the view has seen it */
}

static void pages_of_an_owner_hold_each_item_once_in_order(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct work_list what = {
        .kind = -1, .state = -1, .owner = "m:1", .limit = 30};
    char after[WORK_ID_MAX + 1], last[WORK_ID_MAX + 1] = "";
    size_t seen = 0, pages = 0;

    (void)state;
    s->only = "m:1";
    fill(s, e, 100);
    do {
        assert_string_equal(list(s, e, &what), "");
        assert_true(e->n <= 30);
        for (size_t i = 0; i < e->n; i++, seen++) {
            assert_true(strcmp(last, e->ids[i]) < 0);
            memcpy(last, e->ids[i], sizeof(last));
        }
        memcpy(after, e->next, sizeof(after));
        what.after = after;
        pages++;
    } while (after[0] != '\0');
    assert_int_equal(seen, 100);
    assert_int_equal(pages, 4);
    what = (struct work_list){
        .kind = -1, .state = -1, .owner = "m:1", .limit = 100};
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 100); /* more than one window */
    assert_string_equal(e->next, "");
    what.owner = "m:2";
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 0);
    what.owner = "m:1";
    what.kind = NODE_WORKER;
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 0);
    ended_free(e);
    world_free(w);
}

static void finished_items_are_found_by_their_state(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct work_list what = {.kind = NODE_MASTER, .state = -1, .limit = 1000};
    char id[32];

    (void)state;
    s->only = "m:2";
    fill(s, e, 40);
    for (size_t i = 0; i < 40; i += 4) {
        (void)snprintf(id, sizeof(id), "i%03zu", i);
        assert_string_equal(at_epoch(s, e, work_done, id, 1), "");
    }
    pass(w, 200);
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 40);
    what.state = WORK_DONE;
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 10);
    assert_string_equal(e->ids[1], "i004");
    what.owner = "m:2";
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 10);
    what.state = -1; /* what it owns now */
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 30);
    what.state = WORK_ASSIGNED;
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 30);
    ended_free(e);
    world_free(w);
}

static void waiting_items_are_found_by_their_markers(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct work_list what = {.kind = -1, .state = WORK_WAITING, .limit = 10};

    (void)state;
    s->only = "m:1";
    fill(s, e, 3);
    assert_string_equal(at_epoch(s, e, work_handover, "i001", 1), "");
    pass(w, 200);
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 1);
    assert_string_equal(e->ids[0], "i001");
    what.state = WORK_HELD;
    assert_string_equal(list(s, e, &what), "");
    assert_int_equal(e->n, 0);
    assert_int_equal(work_view_marker_count(s->view, NODE_MASTER, WORK_NOBODY),
                     1);
    ended_free(e);
    world_free(w);
}

/* A cursor stays right although items before and behind it go. */
static void a_scan_goes_on_where_it_stopped(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct work_list what = {.kind = -1, .state = -1, .limit = 7};
    char after[WORK_ID_MAX + 1];
    size_t seen = 0;

    (void)state;
    fill(s, e, 50);
    assert_int_equal(hand_put(w, "/pelorus/work/i010x", "damaged"), ERR_OK);
    do {
        assert_string_equal(list(s, e, &what), "");
        seen += e->n;
        memcpy(after, e->next, sizeof(after));
        what.after = after;
        if (seen == 14) { /* the cursor's own record goes */
            char key[REGISTRY_KEY_MAX + 1];
            int code = -1;

            work_key(after, key);
            registry_delete(w->hand, key, memory_find(w->store, key)->version,
                            note_code, &code);
            pass(w, 100);
            assert_int_equal(code, ERR_OK);
        }
    } while (after[0] != '\0');
    assert_int_equal(seen, 50);
    ended_free(e);
    world_free(w);
}

static void lists_say_what_is_wrong(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct work_list what = {.kind = -1, .state = -1, .limit = 1001};

    (void)state;
    assert_string_equal(list(s, e, &what), "invalid");
    what.limit = 10;
    what.after = "a/b";
    assert_string_equal(list(s, e, &what), "invalid");
    what.after = NULL;
    what.owner = "nonsense";
    assert_string_equal(list(s, e, &what), "invalid");
    what.owner = NULL;
    memory_cut(s->registry);
    assert_string_equal(list(s, e, &what), "registry_unavailable");
    what.owner = "m:1";
    assert_string_equal(list(s, e, &what), "registry_unavailable");
    memory_heal(s->registry);
    ended_free(e);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_an_owner_hold_each_item_once_in_order),
        cmocka_unit_test(finished_items_are_found_by_their_state),
        cmocka_unit_test(waiting_items_are_found_by_their_markers),
        cmocka_unit_test(a_scan_goes_on_where_it_stopped),
        cmocka_unit_test(lists_say_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
