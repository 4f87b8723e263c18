/*
 * test_backup.c - a backup: its file, which is whole or refused; what is in it;
 * and a store that gets it back, wherever whoever does it is killed.
 */
#include "restore/backup.h"
#include "tests/unit/restore_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static struct scene s;
static char folder[64], path[96], tmp[112];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/backup_XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/b.json", folder);
    (void)snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    scene_open(&s, 7);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scene_close(&s);
    assert_int_equal(access(tmp, F_OK), -1); /* nothing is left behind */
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
    return 0;
}

/* --- the file ------------------------------------------------------------ */

static struct backup_facts facts_of(void)
{
    struct backup_facts facts = {
        .registry = "memory",
        .namespace_ = "n",
        .taken = "2026-11-27T00:00:00Z",
        .place = {.incarnation = OLD_ID, .line = 2, .position = UINT64_MAX},
        .has_history = true};
    memcpy(facts.history.incarnation, OLD_ID, sizeof(OLD_ID));
    facts.history.fence_base = 77;
    return facts;
}

static void add(struct backup_file *f, const char *key, const char *value,
                size_t len)
{
    assert_int_equal(restore_file_add(f, key, value, len, NULL), 0);
}

static void write_file(void)
{
    struct backup_facts facts = facts_of();
    struct backup_file *f;
    assert_int_equal(restore_file_new(&f, path, &facts, NULL), 0);
    add(f, "/pelorus/settings", "\"\\\n\t\x01 \xc3\xa9", 8);
    add(f, "/pelorus/groups/a", "a\0b", 3);
    add(f, "/pelorus/groups/b", "\xff\xfe", 2);
    add(f, EPOCH_FLOOR_KEY, "12", 2);
    assert_int_equal(access(path, F_OK), -1); /* not before it is whole */
    assert_int_equal(restore_file_end(&f, NULL), 0);
}

static void what_is_written_is_read(void **state)
{
    struct backup *b;
    (void)state;
    write_file();
    assert_int_equal(restore_backup_read(&b, path, &s.err), 0);
    assert_string_equal(b->facts.registry, "memory");
    assert_string_equal(b->facts.namespace_, "n");
    assert_int_equal(b->facts.place.line, 2);
    assert_true(b->facts.place.position == UINT64_MAX);
    assert_true(b->facts.has_history);
    assert_int_equal(b->facts.history.fence_base, 77);
    assert_int_equal(b->epoch, 12);
    assert_int_equal(b->n, 4);
    assert_string_equal(b->entries[1].key, "/pelorus/groups/a");
    assert_int_equal(b->entries[1].value_len, 3);
    assert_memory_equal(b->entries[1].value, "a\0b", 3);
    assert_memory_equal(b->entries[2].value, "\xff\xfe", 2);
    assert_memory_equal(b->entries[3].value, "\"\\\n\t\x01 \xc3\xa9", 8);
    restore_backup_free(&b);
}

static size_t load(char *text, size_t size)
{
    FILE *in = fopen(path, "re");
    assert_non_null(in);
    size_t n = fread(text, 1, size, in);
    (void)fclose(in);
    assert_true(n < size);
    return n;
}

static int read_text(const char *text, size_t len)
{
    struct backup *b;
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
    int rc = restore_backup_read(&b, path, &s.err);
    assert_true((rc == 0) == (b != NULL));
    restore_backup_free(&b);
    return rc;
}

static void one_that_is_cut_or_changed_anywhere_is_refused(void **state)
{
    char text[4096];
    (void)state;
    write_file();
    size_t n = load(text, sizeof(text));
    for (size_t i = 0; i < n; i++) {
        assert_int_not_equal(read_text(text, i), 0);
        assert_non_null(strstr(s.err.msg, path));
    }
    for (size_t i = 0; i < n; i++) {
        text[i] ^= 1;
        assert_int_not_equal(read_text(text, n), 0);
        text[i] ^= 1;
    }
    assert_int_equal(read_text(text, n), 0);
}

/* Whole by its checksum, and still nothing that may be put back. */
static void what_no_backup_has_is_refused(void **state)
{
    static const char *const keys[] = {
        "/nodes/master/a:1",           HISTORY_KEY, "/pelorus/nodes/master",
        "/pelorus/owned/master/a:1/x", "/pelorus",  "/pelorus/../x",
        "/pelorus/coordinators/a"};
    struct backup_facts facts = facts_of();
    struct backup_file *f;
    struct backup *b;
    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_int_equal(restore_file_new(&f, path, &facts, NULL), 0);
        add(f, keys[i], "1", 1);
        assert_int_equal(restore_file_end(&f, NULL), 0);
        assert_int_not_equal(restore_backup_read(&b, path, &s.err), 0);
        assert_null(b);
    }
    assert_int_equal(restore_file_new(&f, path, &facts, NULL), 0);
    add(f, "/pelorus/settings", "1", 1);
    add(f, "/pelorus/settings", "2", 1);
    assert_int_equal(restore_file_end(&f, NULL), 0);
    assert_int_not_equal(restore_backup_read(&b, path, &s.err), 0);
    assert_non_null(strstr(s.err.msg, "twice"));
    assert_int_not_equal(restore_backup_read(&b, "/nowhere/b", &s.err), 0);
    assert_int_not_equal(restore_file_new(&f, "/nowhere/b", &facts, &s.err), 0);
    assert_non_null(strstr(s.err.msg, "/nowhere/b.tmp"));
}

/* --- taking one ---------------------------------------------------------- */

static struct backup_take *taking;
static bool taken;
static size_t keys_taken, items_taken;

static void on_taken(void *arg, const struct err *err, size_t keys,
                     size_t items)
{
    (void)arg;
    taken = true;
    s.err = *err;
    keys_taken = keys;
    items_taken = items;
}

static void begin_taking(void)
{
    struct backup_facts facts = facts_of();
    taken = false;
    taking = restore_take_new(s.hand, &s.clock, path, &facts, on_taken, NULL);
}

static void take(void)
{
    begin_taking();
    for (int i = 0; i < 10000 && !taken; i++) {
        scene_run(&s, 10);
        restore_take_tick(taking);
    }
    assert_true(taken);
    restore_take_free(&taking);
}

#define HISTORY                                                                \
    "{\"incarnation\":\"" OLD_ID "\",\"generation\":3,\"fence_base\":500,"     \
    "\"after\":[\"00000000000000000000000000000009\"]}"

static void cluster(void)
{
    scene_fill(&s, 60);
    scene_put(&s, EPOCH_FLOOR_KEY, "20");
    scene_put(&s, HISTORY_KEY, HISTORY);
    scene_put(&s, "/pelorus/owners/master/m1:1", "{\"state\":\"open\"}");
    scene_put(&s, "/pelorus/settings", "{\"paused\":true}");
    scene_put(&s, "/pelorus/nodes/master/m1:1", "{\"ttl\":1}");
    scene_put(&s, "/pelorus/later/kind/of", "key");
    scene_put_as(&s, "/pelorus/coordinators/c1", "{}", true);
}

static void it_has_what_lasts_and_nothing_else(void **state)
{
    struct backup *b;
    (void)state;
    cluster();
    take();
    assert_int_equal(s.err.code, ERR_OK);
    assert_int_equal(items_taken, 60);
    assert_int_equal(keys_taken, 64);
    assert_int_equal(restore_backup_read(&b, path, &s.err), 0);
    assert_int_equal(b->n, 64);
    assert_int_equal(b->items, 60);
    assert_int_equal(b->unfinished, 36);
    assert_int_equal(b->epoch, 20);
    assert_true(b->facts.has_history);
    assert_int_equal(b->facts.history.generation, 3);
    for (size_t i = 0; i < b->n; i++)
        assert_true(restore_backup_has(b->entries[i].key));
    restore_backup_free(&b);
}

static void what_changes_meanwhile_is_read_again(void **state)
{
    struct memory_faults slow = {.delay_max_ms = 20};
    struct backup *b;
    (void)state;
    cluster();
    memory_set_faults(s.store, &slow);
    begin_taking();
    for (int i = 0; i < 40; i++) {
        char value[32];
        (void)snprintf(value, sizeof(value), "{\"n\":%d}", i);
        scene_put(&s, "/pelorus/owners/master/m1:1", value);
        restore_take_tick(taking);
        assert_false(taken);
    }
    for (int i = 0; i < 10000 && !taken; i++) {
        scene_run(&s, 10);
        restore_take_tick(taking);
    }
    restore_take_free(&taking);
    assert_int_equal(s.err.code, ERR_OK);
    assert_int_equal(restore_backup_read(&b, path, &s.err), 0);
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->entries[i].key, "/pelorus/owners/master/m1:1") == 0)
            assert_string_equal(b->entries[i].value, "{\"n\":39}");
    restore_backup_free(&b);
}

static void who_stops_taking_one_is_told_nothing(void **state)
{
    const struct memory_faults slow = {.delay_max_ms = 20};
    (void)state;
    cluster();
    memory_set_faults(s.store, &slow);
    for (unsigned after = 0; after < 120; after += 7) {
        begin_taking();
        scene_run(&s, after);
        bool over = taken;
        restore_take_free(&taking);
        assert_null(taking);
        scene_run(&s, 500);
        assert_true(taken == over);
    }
}

/* --- putting it back ----------------------------------------------------- */

static struct backup *backup;

static void backed_up(void)
{
    cluster();
    take();
    assert_int_equal(s.err.code, ERR_OK);
    assert_int_equal(restore_backup_read(&backup, path, &s.err), 0);
    scene_delete(&s, "/pelorus/coordinators/c1");
}

/* Another incarnation, a higher epoch, work that the backup does not know. */
static void live_on(void)
{
    struct work_item w = scene_work("new", WORK_ASSIGNED, 70);
    scene_item(&s, &w, true);
    scene_put(&s, HISTORY_KEY,
              "{\"incarnation\":\"" LOST_ID "\",\"generation\":5,"
              "\"fence_base\":9000,\"after\":[\"" OLD_ID "\"]}");
    w = scene_work("a-0", WORK_DONE, 66);
    w.kind = NODE_WORKER;
    scene_item(&s, &w, false);
    scene_delete(&s, "/pelorus/later/kind/of");
    scene_put(&s, "/pelorus/settings", "{}");
    scene_put(&s, "/pelorus/groups/x", "{}");
    scene_put(&s, "/pelorus/groups/x/below", "{}");
    scene_put(&s, HISTORY_SEEN_PREFIX "/c1", "{\"highest_epoch\":99}");
}

static void check_value(const char *key, const char *value)
{
    const struct registry_entry *e = memory_find(s.store, key);
    assert_non_null(e);
    assert_string_equal(e->value, value);
}

static void put_back(uint64_t above)
{
    struct history_record h;
    assert_true(scene_history(&s, &h));
    assert_false(h.went_back.is);
    assert_true(registry_history_follows(&h, OLD_ID));
    assert_true(registry_history_follows(&h, LOST_ID));
    assert_int_equal(h.generation, 6);
    assert_true(h.fence_base >= 9000 + RESTORE_LIFT_FENCE);
    assert_true(h.accepted.epoch_floor >= above + RESTORE_LIFT_EPOCH);
    assert_int_equal(scene_count(&s, WORK_PREFIX), 60);
    assert_int_equal(scene_count(&s, MARKER_PREFIX), 36);
    assert_null(memory_find(s.store, "/pelorus/groups/x"));
    check_value("/pelorus/settings", "{\"paused\":true}");
    check_value("/pelorus/later/kind/of", "key");
    check_value("/pelorus/nodes/master/m1:1", "{\"ttl\":1}"); /* as it was */
    for (size_t i = 0; i < 60; i++) {
        char id[32];
        struct work_item w;
        (void)snprintf(id, sizeof(id), "a-%zu", i);
        assert_true(scene_find(&s, id, &w));
        assert_int_equal(w.state, i % 5);
        if (w.state != WORK_DONE && w.state != WORK_DROPPED)
            assert_true(w.epoch == h.accepted.epoch_floor + 1);
        else
            assert_true(w.epoch == 1 + i % 9);
        work_item_close(&w);
    }
    scene_agrees(&s);
}

static void a_store_gets_it_back(void **state)
{
    (void)state;
    backed_up();
    live_on();
    scene_enter(&s, backup, 0);
    assert_true(scene_look(&s));
    assert_int_equal(s.summary.items, 61);
    assert_true(scene_go(&s));
    put_back(99);
    assert_int_equal(s.result.items, 36);
    assert_int_equal(scene_count(&s, HISTORY_SEEN_PREFIX), 0);
    restore_backup_free(&backup);
}

static void an_empty_store_gets_it(void **state)
{
    struct history_record h;
    (void)state;
    backed_up();
    scene_close(&s);
    scene_open(&s, 8);
    scene_enter(&s, backup, 0);
    assert_true(scene_go(&s));
    assert_true(scene_history(&s, &h));
    assert_true(registry_history_follows(&h, OLD_ID));
    assert_int_equal(h.generation, 4);
    assert_true(h.fence_base >= 500 + RESTORE_LIFT_FENCE);
    assert_true(scene_epoch(&s, "a-0") == 20 + RESTORE_LIFT_EPOCH + 1);
    scene_agrees(&s);
    restore_backup_free(&backup);
}

static void
killed_at_any_write_the_store_is_closed_and_the_next_run_ends_it(void **state)
{
    struct history_record h;
    bool whole = false;
    size_t n = 0;
    (void)state;
    for (size_t k = 1; !whole; k++, n++) {
        scene_close(&s);
        scene_open(&s, k);
        restore_backup_free(&backup);
        backed_up();
        live_on();
        scene_enter(&s, backup, 0);
        s.kill_after = k;
        whole = scene_go(&s);
        s.kill_after = 0;
        scene_leave(&s);
        assert_true(scene_history(&s, &h));
        if (!h.went_back.is) {
            put_back(99);
            continue;
        }
        assert_string_equal(h.went_back.by, RESTORE_MARK);
        scene_run(&s, 7000);
        scene_enter(&s, NULL, 0); /* nobody takes half of it for a store */
        assert_false(scene_look(&s));
        scene_leave(&s);
        scene_enter(&s, backup, 0);
        assert_true(scene_go(&s));
        put_back(99);
        scene_leave(&s);
    }
    assert_true(n > 70);
    restore_backup_free(&backup);
}

static const struct backup *backed_up_and_lived_on(void)
{
    restore_backup_free(&backup);
    backed_up();
    live_on();
    return backup;
}

static void answers_that_are_lost_are_no_obstacle(void **state)
{
    (void)state;
    scene_with_lost_answers(&s, backed_up_and_lived_on, "a-1");
    restore_backup_free(&backup);
}

/* Whoever lives has seen the mark before the first key changes. */
static void it_waits_until_the_coordinators_have_stopped(void **state)
{
    struct history_record h;
    (void)state;
    backed_up();
    live_on();
    scene_put_as(&s, "/pelorus/coordinators/c2", "{}", true);
    scene_enter(&s, backup, 0);
    assert_true(scene_look(&s));
    assert_int_equal(s.summary.live, 1);
    restore_go(s.restore, on_scene_done, &s);
    for (int i = 0; i < 500; i++) {
        scene_run(&s, 10);
        restore_tick(s.restore);
    }
    assert_false(s.done);
    assert_true(scene_history(&s, &h));
    assert_true(h.went_back.is);
    assert_int_equal(scene_epoch(&s, "new"), 70);
    scene_delete(&s, "/pelorus/coordinators/c2");
    assert_true(scene_until(&s, &s.done));
    assert_int_equal(s.err.code, ERR_OK);
    put_back(99);
    restore_backup_free(&backup);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read),
        TEST(one_that_is_cut_or_changed_anywhere_is_refused),
        TEST(what_no_backup_has_is_refused),
        TEST(it_has_what_lasts_and_nothing_else),
        TEST(what_changes_meanwhile_is_read_again),
        TEST(who_stops_taking_one_is_told_nothing),
        TEST(a_store_gets_it_back),
        TEST(an_empty_store_gets_it),
        TEST(killed_at_any_write_the_store_is_closed_and_the_next_run_ends_it),
        TEST(answers_that_are_lost_are_no_obstacle),
        TEST(it_waits_until_the_coordinators_have_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
