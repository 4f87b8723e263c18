/*
 * test_restore.c - a person believes a store that went back: each item is given
 * again above all that anybody had, and only then is the store opened, wherever
 * whoever does it is killed.
 * (Longer than 500 lines: what is found, what is done, and who lives.)
 */
#include "tests/unit/restore_fixture.h"

static struct scene s;

/* As a coordinator: its entry stands while it has a session, in which it waits
 * for the lock. */
struct live {
    struct registry *r;
    struct registry_listener *listener;
    struct registry_lock *lock;
    size_t granted;
    uint64_t fence, highest; /* of the last grant, and of all */
    enum err_code put;
};
static struct live live;

static void live_leave(void)
{
    registry_unlisten(&live.listener);
    registry_unlock(&live.lock);
    registry_close(&live.r, NULL, NULL);
    scene_run(&s, 2000);
}

static int setup(void **state)
{
    (void)state;
    scene_open(&s, 7);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    memory_set_faults(s.store, &(struct memory_faults){0});
    scene_leave(&s);
    if (live.r != NULL)
        live_leave();
    scene_close(&s);
    return 0;
}

#define MARK                                                                   \
    "{\"incarnation\":\"" OLD_ID "\",\"generation\":3,\"fence_base\":500,"     \
    "\"after\":[],\"went_back\":{\"by\":\"c1\",\"known\":\"" OLD_ID            \
    ":0:900\",\"now\":\"" OLD_ID ":0:100\",\"why\":\"its position fell\"}}"

static void gone_back(size_t items)
{
    scene_fill(&s, items);
    scene_put(&s, EPOCH_FLOOR_KEY, "7");
    scene_put(&s, HISTORY_KEY, MARK);
    scene_put(&s, HISTORY_SEEN_PREFIX "/c1",
              "{\"place\":\"" OLD_ID ":0:900\",\"highest_epoch\":41,"
              "\"highest_fence\":12}");
    scene_put(&s, HISTORY_SEEN_PREFIX "/c2",
              "{\"place\":\"" LOST_ID ":0:950\",\"highest_epoch\":40,"
              "\"highest_fence\":9000}");
    scene_put(&s, HISTORY_SEEN_PREFIX "/c3", "no JSON");
}

static void accepted(size_t items, uint64_t above)
{
    struct history_record h;
    struct work_item w;
    assert_true(scene_history(&s, &h));
    assert_false(h.went_back.is);
    assert_true(h.accepted.is);
    assert_string_equal(h.accepted.who, "ada at h");
    assert_string_not_equal(h.incarnation, OLD_ID);
    assert_true(registry_history_follows(&h, OLD_ID));
    assert_true(registry_history_follows(&h, LOST_ID));
    assert_true(h.fence_base >= 9000 + RESTORE_LIFT_FENCE);
    assert_true(h.accepted.epoch_floor >= above + RESTORE_LIFT_EPOCH);
    assert_int_equal(scene_count(&s, HISTORY_SEEN_PREFIX), 0);
    for (size_t i = 0; i < items; i++) {
        char id[32];
        enum work_state state = (enum work_state)(i % 5);
        (void)snprintf(id, sizeof(id), "a-%zu", i);
        struct work_item was = scene_work(id, state, 1 + i % 9);
        assert_true(scene_find(&s, id, &w));
        assert_int_equal(w.state, state);
        assert_string_equal(w.owner, was.owner);
        if (state == WORK_DONE || state == WORK_DROPPED) {
            assert_true(w.epoch == was.epoch);
        } else {
            assert_true(w.epoch == h.accepted.epoch_floor + 1);
            assert_int_equal(w.n_history, 0); /* nobody has left */
        }
        work_item_close(&w);
    }
    scene_agrees(&s);
}

static void it_tells_what_is_known_and_writes_nothing(void **state)
{
    uint64_t before;
    (void)state;
    gone_back(50);
    scene_put_as(&s, "/pelorus/coordinators/c1:7077", "{}", true);
    scene_put_as(&s, "/nodes/master/m1:1", "{}", true);
    scene_put_as(&s, "/pelorus/nodes/worker/w1:1", "{}", true);
    before = memory_revision(s.store);
    scene_enter(&s, NULL, 0);
    assert_true(scene_look(&s));
    assert_true(s.summary.found);
    assert_int_equal(s.summary.history.generation, 3);
    assert_int_equal(s.summary.items, 50);
    assert_int_equal(s.summary.unfinished, 30);
    assert_int_equal(s.summary.unreadable, 0);
    assert_int_equal(s.summary.witnesses, 2);
    assert_int_equal(s.summary.epoch_found, 9);
    assert_int_equal(s.summary.epoch_shown, 41);
    assert_int_equal(s.summary.fence_shown, 9000);
    assert_string_equal(s.summary.known.incarnation, LOST_ID);
    assert_int_equal(s.summary.known.position, 950);
    assert_int_equal(s.summary.live, 3);
    assert_string_equal(s.summary.names[0], "/pelorus/coordinators/c1:7077");
    assert_true(memory_revision(s.store) == before);
}

static bool sampled(const char *text)
{
    for (size_t i = 0; i < s.summary.n_samples; i++)
        if (strcmp(s.summary.samples[i], text) == 0)
            return true;
    return false;
}

/* By what the views of coordinators still have. */
static void it_tells_the_items_that_were_lost(void **state)
{
    (void)state;
    gone_back(50); /* a-0 assigned at 1, a-1 waiting at 2, a-3 done at 4 */
    scene_delete(&s, HISTORY_SEEN_PREFIX "/c1");
    scene_delete(&s, HISTORY_SEEN_PREFIX "/c2");
    scene_put(&s, HISTORY_SEEN_PREFIX "/c4",
              "{\"items\":[[\"a-0\",5,\"worker/w1:1\"],[\"new\",77,"
              "\"master/m1:1\"],[\"a-1\",2,null],[\"a-5\",6],[\"bad id\",9],"
              "[7],8,[\"a-2\",\"x\"]],\"finished\":[[\"a-2\",3],"
              "[\"never\",5],[\"a-3\",4]]}");
    scene_put(&s, HISTORY_SEEN_PREFIX "/c5",
              "{\"items\":[[\"a-0\",4,\"worker/w9:1\"],[\"a-2\",2]],"
              "\"finished\":[[\"a-5\",6]]}");
    scene_enter(&s, NULL, 0);
    assert_true(scene_look(&s));
    assert_int_equal(s.summary.witnesses, 2);
    assert_int_equal(s.summary.epoch_shown, 77);
    assert_int_equal(s.summary.ahead, 1);
    assert_int_equal(s.summary.back, 2); /* a-2 and a-5 */
    assert_int_equal(s.summary.gone, 1);
    assert_int_equal(s.summary.n_samples, 4);
    assert_true(sampled("a-0: held by worker/w1:1 at epoch 5, in the registry "
                        "at 1"));
    assert_false(s.summary.cut);
}

/* Where no coordinator remembers, by what clients said to them. */
static void it_tells_the_items_that_clients_showed(void **state)
{
    (void)state;
    gone_back(50); /* a-2 held at 3, a-5 assigned at 6, a-6 waiting at 7 */
    scene_put(&s, HISTORY_SEEN_PREFIX "/c1",
              "{\"items\":[[\"a-6\",8,\"worker/w1:1\"]],\"shown\":["
              "[\"a-0\",5],[\"new\",77]],\"shown_finished\":[[\"a-2\",3],"
              "[\"a-5\",5],[\"a-6\",7],[\"gone\",9]],\"cut\":true}");
    scene_enter(&s, NULL, 0);
    assert_true(scene_look(&s));
    assert_int_equal(s.summary.epoch_shown, 77);
    assert_int_equal(s.summary.ahead, 2); /* a-0 and a-6 */
    assert_int_equal(s.summary.back, 1);  /* who ended a-5 had lost it */
    assert_int_equal(s.summary.gone, 1);
    assert_true(s.summary.cut);
    assert_true(sampled("a-2: came back; finished by somebody at epoch 3, in "
                        "the registry at 3"));
    assert_true(sampled("new: gone; it was had by somebody at epoch 77"));
}

static void every_item_is_given_again_above_all_that_was_had(void **state)
{
    (void)state;
    gone_back(500);
    scene_enter(&s, NULL, 0);
    assert_true(scene_look(&s));
    assert_true(scene_go(&s));
    accepted(500, 41);
    assert_int_equal(s.result.items, 300);
    assert_true(s.result.epoch_floor == 41 + RESTORE_LIFT_EPOCH);
}

static void a_person_may_ask_for_a_higher_floor(void **state)
{
    (void)state;
    gone_back(10);
    scene_enter(&s, NULL, 123456789);
    assert_true(scene_go(&s));
    accepted(10, 123456789);
}

static void a_store_without_a_mark_may_be_accepted_too(void **state)
{
    struct history_record h;
    (void)state;
    scene_fill(&s, 20);
    scene_enter(&s, NULL, 0);
    assert_true(scene_look(&s));
    assert_false(s.summary.found);
    assert_true(scene_go(&s));
    assert_true(scene_history(&s, &h));
    assert_int_equal(h.generation, 1);
    assert_int_equal(h.n_after, 1); /* that of the mark */
    assert_true(scene_epoch(&s, "a-0") == 9 + RESTORE_LIFT_EPOCH + 1);
    scene_agrees(&s);
}

static void what_another_person_accepted_meanwhile_is_left_alone(void **state)
{
    struct history_record h;
    (void)state;
    gone_back(10);
    scene_enter(&s, NULL, 0);
    assert_true(scene_look(&s));
    struct restore *first = s.restore;
    struct restore_config config = {.registry = s.client,
                                    .clock = &s.clock,
                                    .locks = {"/lock/master-failover"},
                                    .n_locks = 1,
                                    .who = "bob at h"};
    s.restore = restore_new(&config);
    assert_true(scene_go(&s));
    restore_free(&s.restore);
    s.restore = first;
    s.done = false;
    assert_false(scene_go(&s));
    assert_non_null(strstr(s.err.msg, "bob at h"));
    assert_true(scene_history(&s, &h));
    assert_string_equal(h.accepted.who, "bob at h");
    assert_int_equal(h.generation, 4);
}

/* The mark stands until everything is given again, and who comes next does the
 * rest; an epoch that one run gave is never given by another. */
static void
killed_at_any_write_nothing_is_open_and_the_next_run_ends_it(void **state)
{
    struct history_record h;
    size_t n = 0;
    bool whole = false;
    (void)state;
    for (size_t k = 1; !whole; k++) {
        scene_close(&s);
        scene_open(&s, k);
        gone_back(200);
        scene_enter(&s, NULL, 0);
        s.kill_after = k;
        whole = scene_go(&s);
        n = k;
        assert_true(scene_history(&s, &h));
        assert_true(whole || h.went_back.is ||
                    scene_epoch(&s, "a-195") > RESTORE_LIFT_EPOCH);
        if (h.went_back.is)
            assert_int_equal(scene_count(&s, HISTORY_SEEN_PREFIX), 3);
        else
            scene_agrees(&s);
        s.kill_after = 0;
        scene_leave(&s);
        bool opened = !h.went_back.is;
        if (opened) /* all that was left is what was testified */
            continue;
        scene_run(&s, 7000); /* the locks of who was killed */
        scene_enter(&s, NULL, 0);
        assert_true(scene_go(&s));
        accepted(200, 41);
        scene_leave(&s);
    }
    assert_true(n > 240); /* a write for each item and marker, at least */
}

static const struct backup *gone_back_300(void)
{
    gone_back(300);
    return NULL;
}

static void answers_that_are_lost_are_no_obstacle(void **state)
{
    (void)state;
    scene_with_lost_answers(&s, gone_back_300, "a-0");
}

/* Reads and a bulk's txns are under way; their answers come to nobody. */
static void who_goes_away_at_any_moment_is_told_nothing(void **state)
{
    const struct memory_faults slow = {.delay_max_ms = 40};
    bool begun = false;
    (void)state;
    for (unsigned after = 0; after < 900; after += 17) {
        scene_close(&s);
        scene_open(&s, 7 + after);
        gone_back(300);
        memory_set_faults(s.store, &slow);
        scene_enter(&s, NULL, 0);
        if (after % 2 == 0)
            restore_look(s.restore, on_scene_known, &s);
        else
            restore_go(s.restore, on_scene_done, &s);
        scene_run(&s, after);
        bool over = s.done || s.known;
        restore_free(&s.restore);
        assert_null(s.restore);
        scene_run(&s, 3000);
        assert_true(over == (s.done || s.known));
        begun = begun || s.written > 0;
        memory_set_faults(s.store, &(struct memory_faults){0});
        scene_leave(&s);
    }
    assert_true(begun);
}

static void markers_that_disagree_are_mended(void **state)
{
    struct work_item w = scene_work("lost", WORK_ASSIGNED, 3);
    (void)state;
    gone_back(10);
    scene_item(&s, &w, false); /* without its marker */
    scene_put(&s, "/pelorus/owned/master/m9:1/lost",
              "{\"epoch\":2,\"process\":{\"startupTime\":5,\"processId\":5}}");
    scene_put(&s, "/pelorus/owned/master/m9:1/nothing",
              "{\"epoch\":2,\"process\":{\"startupTime\":5,\"processId\":5}}");
    scene_put(&s, "/pelorus/work/broken", "{");
    scene_put(&s, "/pelorus/owned/master/m9:1/broken",
              "{\"epoch\":2,\"process\":{\"startupTime\":5,\"processId\":5}}");
    scene_enter(&s, NULL, 0);
    assert_true(scene_look(&s));
    assert_int_equal(s.summary.unreadable, 1);
    assert_true(scene_go(&s));
    accepted(10, 41);
    assert_null(memory_find(s.store, "/pelorus/owned/master/m9:1/lost"));
    assert_null(memory_find(s.store, "/pelorus/owned/master/m9:1/nothing"));
    assert_non_null(memory_find(s.store, "/pelorus/owned/master/m9:1/broken"));
    assert_non_null(memory_find(s.store, "/pelorus/work/broken"));
}

static void what_leaves_no_epoch_is_refused(void **state)
{
    (void)state;
    gone_back(10);
    scene_put(&s, HISTORY_SEEN_PREFIX "/liar",
              "{\"highest_epoch\":\"9223372036854775807\"}");
    scene_enter(&s, NULL, 0);
    assert_false(scene_look(&s));
    assert_non_null(strstr(s.err.msg, HISTORY_SEEN_PREFIX));
    scene_delete(&s, HISTORY_SEEN_PREFIX "/liar");
    scene_put(&s, EPOCH_FLOOR_KEY, "many");
    s.known = false;
    assert_false(scene_look(&s));
    assert_non_null(strstr(s.err.msg, "--epoch-floor"));
    scene_leave(&s);
    scene_enter(&s, NULL, 5000);
    assert_true(scene_go(&s));
    accepted(10, 5000);
}

static void a_backup_that_is_being_put_back_is_not_accepted(void **state)
{
    (void)state;
    scene_fill(&s, 10);
    scene_put(&s, HISTORY_KEY,
              "{\"incarnation\":\"" OLD_ID "\",\"went_back\":{\"by\":"
              "\"" RESTORE_MARK "\",\"why\":\"by bob\"}}");
    scene_enter(&s, NULL, 0);
    assert_false(scene_look(&s));
    assert_non_null(strstr(s.err.msg, "by bob"));
    assert_non_null(strstr(s.err.msg, "put another backup into it"));
    assert_int_equal(scene_epoch(&s, "a-0"), 1);
}

/* --- a store that nobody marked, and who believes it --------------------- */

static void on_live_lost(void *arg)
{
    (void)arg;
}

static void on_live_granted(void *arg, enum err_code code)
{
    struct live *l = arg;
    if (code != ERR_OK)
        return;
    l->granted++;
    l->fence = registry_lock_fence(l->lock);
    l->highest = l->fence > l->highest ? l->fence : l->highest;
}

static void on_live_state(void *arg, enum registry_state state)
{
    struct live *l = arg;
    if (state != REGISTRY_CONNECTED)
        return;
    registry_put(l->r, "/pelorus/coordinators/c9", "{}", 2, REGISTRY_ANY, 0,
                 true, on_scene_put, &l->put);
    registry_unlock(&l->lock);
    l->lock = registry_lock(l->r, "/lock/master-failover", "c9", -1,
                            on_live_granted, on_live_lost, l);
}

static void live_enter(void)
{
    struct live *l = &live;
    memset(l, 0, sizeof(*l));
    l->put = ERR_CANCELLED;
    l->r = memory_open(s.store, 6000);
    registry_compare(l->r, "c9", NULL, true);
    l->listener = registry_listen(l->r, on_live_state, l);
    for (int i = 0; i < 1000 && (l->put != ERR_OK || l->granted == 0); i++)
        scene_run(&s, 10);
    assert_int_equal(l->put, ERR_OK);
    assert_int_equal(l->granted, 1);
    l->granted = 0;
}

/* It is about to do the next thing under the lock. */
static void live_wants_it_again(void)
{
    struct live *l = &live;
    registry_unlock(&l->lock);
    l->lock = registry_lock(l->r, "/lock/master-failover", "c9", -1,
                            on_live_granted, on_live_lost, l);
}

/* Watches are late, as they may be: the lock comes before the news. */
static void who_lives_gets_no_lock_by_the_old_numbers(void **state)
{
    struct memory_faults late = {.delay_max_ms = 150, .event_late_share = 1};
    struct history_record h;
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        scene_close(&s);
        scene_open(&s, seed);
        scene_fill(&s, 20);
        live_enter();
        memory_set_faults(s.store, &late);
        scene_enter(&s, NULL, 0);
        restore_go(s.restore, on_scene_done, &s);
        scene_run(&s, 500); /* it waits for the lock that the other has */
        live_wants_it_again();
        assert_true(scene_until(&s, &s.done));
        assert_int_equal(s.err.code, ERR_OK);
        for (int i = 0; i < 1000 && live.granted == 0; i++)
            scene_run(&s, 10);
        assert_int_equal(live.granted, 1);
        assert_true(live.fence > s.result.fence_base);
        assert_true(scene_history(&s, &h));
        assert_false(h.went_back.is);
        assert_true(scene_epoch(&s, "a-0") == s.result.epoch_floor + 1);
        memory_set_faults(s.store, &(struct memory_faults){0});
        live_leave();
    }
}

/* Killed anywhere: who lives either goes on as if nothing had been, or has
 * stopped, and goes on when somebody has ended it. */
static void
killed_at_any_write_who_lives_gets_no_lock_by_the_old_numbers(void **state)
{
    struct memory_faults late = {.delay_max_ms = 50, .event_late_share = 1};
    struct history_record h;
    bool whole = false;
    size_t stopped = 0;
    (void)state;
    for (size_t k = 1; !whole; k++) {
        scene_close(&s);
        scene_open(&s, k);
        scene_fill(&s, 10);
        live_enter();
        uint64_t before = live.highest;
        memory_set_faults(s.store, &late);
        scene_enter(&s, NULL, 0);
        s.kill_after = k;
        restore_go(s.restore, on_scene_done, &s);
        scene_run(&s, 200);
        live_wants_it_again();
        whole = scene_until(&s, &s.done);
        s.kill_after = 0;
        scene_leave(&s);
        scene_run(&s, 15000);
        assert_true(scene_history(&s, &h));
        uint64_t opened = h.went_back.is ? 0 : h.fence_base;
        if (h.went_back.is) {
            stopped++;
            assert_string_equal(h.went_back.by, ACCEPT_MARK);
            assert_true(live.highest <= before); /* no grant */
            scene_enter(&s, NULL, 0);
            assert_true(scene_look(&s));
            assert_true(scene_go(&s));
            opened = s.result.fence_base;
            scene_leave(&s);
            scene_run(&s, 15000);
        }
        assert_true(opened > 0);
        assert_true(live.fence > opened);
        scene_agrees(&s);
        memory_set_faults(s.store, &(struct memory_faults){0});
        live_leave();
    }
    assert_true(stopped > 10);
}

/* One that does not know the mark is told of, and nothing is opened. */
static void who_does_not_stop_is_told(void **state)
{
    struct history_record h;
    (void)state;
    scene_fill(&s, 10);
    scene_put_as(&s, "/pelorus/coordinators/c2", "{}", true);
    scene_enter(&s, NULL, 0);
    assert_false(scene_go(&s));
    assert_int_equal(s.err.code, ERR_TIMEOUT);
    assert_non_null(strstr(s.err.msg, "/pelorus/coordinators/c2"));
    assert_int_equal(scene_epoch(&s, "a-0"), 1);
    assert_true(scene_history(&s, &h));
    assert_string_equal(h.went_back.by, ACCEPT_MARK);
    scene_delete(&s, "/pelorus/coordinators/c2");
    s.done = false;
    assert_true(scene_go(&s));
    assert_true(scene_epoch(&s, "a-0") == s.result.epoch_floor + 1);
}

static void on_granted(void *arg, enum err_code code)
{
    *(bool *)arg = code == ERR_OK;
}

static void on_lost(void *arg)
{
    *(bool *)arg = false;
}

static void who_holds_a_lock_is_waited_for_and_told(void **state)
{
    struct registry_lock *lock;
    bool ours = false;
    (void)state;
    gone_back(10);
    lock = registry_lock(s.hand, "/lock/worker-failover", "m:h:1", -1,
                         on_granted, on_lost, &ours);
    scene_run(&s, 100);
    assert_true(ours);
    scene_enter(&s, NULL, 0);
    assert_false(scene_go(&s));
    assert_true(s.done);
    assert_int_equal(s.err.code, ERR_TIMEOUT);
    assert_non_null(strstr(s.err.msg, "/lock/worker-failover"));
    assert_int_equal(scene_epoch(&s, "a-0"), 1);
    registry_unlock(&lock);
    s.done = false;
    assert_true(scene_go(&s));
    accepted(10, 41);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_tells_what_is_known_and_writes_nothing),
        TEST(it_tells_the_items_that_were_lost),
        TEST(it_tells_the_items_that_clients_showed),
        TEST(every_item_is_given_again_above_all_that_was_had),
        TEST(a_person_may_ask_for_a_higher_floor),
        TEST(a_store_without_a_mark_may_be_accepted_too),
        TEST(what_another_person_accepted_meanwhile_is_left_alone),
        TEST(killed_at_any_write_nothing_is_open_and_the_next_run_ends_it),
        TEST(answers_that_are_lost_are_no_obstacle),
        TEST(who_goes_away_at_any_moment_is_told_nothing),
        TEST(markers_that_disagree_are_mended),
        TEST(what_leaves_no_epoch_is_refused),
        TEST(a_backup_that_is_being_put_back_is_not_accepted),
        TEST(who_lives_gets_no_lock_by_the_old_numbers),
        TEST(killed_at_any_write_who_lives_gets_no_lock_by_the_old_numbers),
        TEST(who_does_not_stop_is_told),
        TEST(who_holds_a_lock_is_waited_for_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
