/*
 * test_registry_diff.c - from looks to differences.
 *
 * The smallest backend there can be: it does nothing, and the test reports the
 * looks. What a watch is told is written down as one word per event: "+k" ADD,
 * "~k" UPDATE, "-k" REMOVE, "." SYNCED; "!k(reason)" what is unfit, "=k" that
 * it is gone.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "registry/registry_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct quiet {
    struct registry base;
    struct buf told;
    struct registry_watch *watch;
    bool leave_at_remove;
};

static void quiet_watch(struct registry *r, struct registry_watch *w)
{
    (void)r;
    (void)w;
}

static void quiet_unwatch(struct registry *r, struct registry_watch *w)
{
    (void)r;
    registry_watch_gone(w);
}

/* Time stands still here: timers are remembered and never fire. */
static void quiet_timer(struct registry *r, struct registry_timer *t,
                        int64_t delay_ms)
{
    (void)delay_ms;
    t->impl = r;
}

static void quiet_timer_stop(struct registry *r, struct registry_timer *t)
{
    (void)r;
    (void)t;
}

static const struct registry_ops quiet_ops = {
    .name = "quiet",
    .watch = quiet_watch,
    .unwatch = quiet_unwatch,
    .timer_start = quiet_timer,
    .timer_stop = quiet_timer_stop,
};

static void on_event(void *arg, const struct registry_event *event)
{
    static const char *const marks[] = {"+", "~", "-", "."};
    struct quiet *q = arg;

    buf_str(&q->told, marks[event->type]);
    if (event->type != REGISTRY_SYNCED)
        buf_printf(&q->told, "%s", event->entry.key + 1);
    if (event->type == REGISTRY_REMOVE && q->leave_at_remove)
        registry_unwatch(&q->watch);
}

static void on_unfit(void *arg, const char *key, const char *reason)
{
    struct quiet *q = arg;

    if (reason != NULL)
        buf_printf(&q->told, "!%s(%s)", key, reason);
    else
        buf_printf(&q->told, "=%s", key);
}

static int setup(void **state)
{
    struct quiet *q = mem_zalloc(sizeof(*q));

    registry_init(&q->base, &quiet_ops, NULL, 1000, 1, 1);
    buf_init(&q->told, 4096);
    registry_on_unfit(&q->base, on_unfit, q);
    q->watch = registry_watch(&q->base, "/", on_event, q);
    *state = q;
    return 0;
}

static int teardown(void **state)
{
    struct quiet *q = *state;

    registry_unwatch(&q->watch);
    registry_abandon(&q->base);
    buf_close(&q->told);
    mem_free(q);
    return 0;
}

static struct registry_entry entry(const char *key, uint64_t created,
                                   uint64_t version)
{
    return (struct registry_entry){.key = key,
                                   .value = "v",
                                   .value_len = 1,
                                   .created = created,
                                   .version = version};
}

static void seen(struct quiet *q, const char *key, uint64_t created,
                 uint64_t version, uint64_t revision)
{
    struct registry_entry e = entry(key, created, version);

    registry_diff_seen(q->watch, &e, revision, false);
}

static void listed(struct quiet *q, const char *key, uint64_t created,
                   uint64_t version, uint64_t revision)
{
    struct registry_entry e = entry(key, created, version);

    registry_diff_seen(q->watch, &e, revision, true);
}

/* What was told since the last time. */
static void expect(struct quiet *q, const char *words)
{
    assert_string_equal(buf_text(&q->told), words);
    buf_reset(&q->told);
}

static void repeated_looks_tell_nothing(void **state)
{
    struct quiet *q = *state;

    seen(q, "/a", 1, 1, 0);
    seen(q, "/a", 1, 1, 0);
    expect(q, "+a");
    seen(q, "/a", 1, 2, 0);
    seen(q, "/a", 1, 2, 0);
    expect(q, "~a");
    registry_diff_gone(q->watch, "/a", 0);
    registry_diff_gone(q->watch, "/a", 0);
    expect(q, "-a");
    assert_int_equal(q->watch->n_keys, 0);
}

/* A row of somebody's hand, an answer with holes: no reason to end. */
static void what_no_registry_can_have_made_is_no_key(void **state)
{
    struct quiet *q = *state;

    seen(q, "/a", 0, 1, 0);
    seen(q, "/b", 1, 0, 0);
    registry_diff_begin(q->watch);
    listed(q, "/a", 0, 1, 0);
    listed(q, "/c", 1, 1, 0);
    registry_diff_end(q->watch, 0, true);
    expect(q, "!/a(no registry made it: it has no version)"
              "!/b(no registry made it: it has no version)+c=/b.");
    assert_int_equal(q->watch->n_keys, 1);
    seen(q, "/a", 1, 1, 0);
    expect(q, "=/a+a");
}

static void
another_created_is_remove_and_add_even_at_the_same_version(void **state)
{
    struct quiet *q = *state;

    seen(q, "/a", 1, 1, 0);
    seen(q, "/a", 5, 1, 0);
    expect(q, "+a-a+a");
    assert_int_equal(q->watch->n_keys, 1);
}

static void a_full_look_removes_what_it_does_not_list(void **state)
{
    struct quiet *q = *state;

    registry_diff_begin(q->watch);
    listed(q, "/a", 1, 1, 0);
    listed(q, "/b", 2, 1, 0);
    registry_diff_end(q->watch, 0, true);
    expect(q, "+a+b.");
    registry_diff_begin(q->watch);
    listed(q, "/b", 2, 2, 0);
    listed(q, "/c", 3, 1, 0);
    registry_diff_end(q->watch, 0, false);
    expect(q, "~b+c-a");
}

static void a_look_begun_again_forgets_the_first(void **state)
{
    struct quiet *q = *state;

    seen(q, "/a", 1, 1, 0);
    registry_diff_begin(q->watch);
    listed(q, "/a", 1, 1, 0);
    registry_diff_begin(q->watch);
    registry_diff_end(q->watch, 0, true);
    expect(q, "+a-a.");
}

static void an_event_between_the_pages_of_a_look_counts(void **state)
{
    struct quiet *q = *state;

    registry_diff_begin(q->watch); /* the store stands at 10 */
    listed(q, "/b", 2, 1, 2);
    seen(q, "/a", 11, 1, 11); /* made behind the page's back */
    registry_diff_gone(q->watch, "/b", 12);
    seen(q, "/z", 3, 2, 9); /* and one that the list would have shown */
    registry_diff_end(q->watch, 10, true);
    expect(q, "+b+a-b+z-z.");
}

static void stale_looks_are_dropped(void **state)
{
    struct quiet *q = *state;

    seen(q, "/a", 1, 3, 9);
    seen(q, "/a", 1, 2, 8); /* late */
    registry_diff_gone(q->watch, "/a", 0 + 7);
    expect(q, "+a");
    registry_diff_gone(q->watch, "/a", 10);
    seen(q, "/a", 1, 3, 9); /* repeated, after its end */
    expect(q, "-a");
    registry_diff_gone(q->watch, "/b", 12);
    seen(q, "/b", 11, 1, 11); /* overtaken by its own removal */
    expect(q, "");
}

static void a_look_older_than_the_last_full_one_is_dropped(void **state)
{
    struct quiet *q = *state;

    seen(q, "/a", 1, 1, 1);
    registry_diff_gone(q->watch, "/a", 2);
    registry_diff_begin(q->watch);
    registry_diff_end(q->watch, 5, true);
    expect(q, "+a-a.");
    seen(q, "/a", 1, 1, 1); /* its tombstone is gone: the full look knows */
    registry_diff_gone(q->watch, "/a", 2);
    expect(q, "");
    seen(q, "/a", 6, 1, 6);
    expect(q, "+a");
}

static void directories_and_keys_elsewhere_are_ignored(void **state)
{
    struct quiet *q = *state;
    struct registry_watch *all = q->watch;
    struct registry_entry directory = {
        .key = "/n/d", .value = "", .created = 1, .version = 1};

    q->watch = registry_watch(&q->base, "/n", on_event, q);
    registry_diff_seen(q->watch, &directory, 0, false);
    seen(q, "/nn", 1, 1, 0);
    seen(q, "/n", 1, 1, 0);
    registry_diff_gone(q->watch, "/nn", 0);
    expect(q, "");
    seen(q, "/n/a", 1, 1, 0);
    expect(q, "+n/a");
    directory.owner = 7; /* an empty ephemeral key is a key */
    registry_diff_seen(q->watch, &directory, 0, false);
    expect(q, "+n/d");
    registry_unwatch(&q->watch);
    q->watch = all;
}

static void a_watch_that_ends_in_the_middle_hears_no_more(void **state)
{
    struct quiet *q = *state;
    struct registry_watch *w = q->watch;
    struct registry_entry e = entry("/c", 9, 1);

    seen(q, "/a", 1, 1, 0);
    seen(q, "/b", 2, 1, 0);
    q->leave_at_remove = true;
    registry_diff_begin(w);
    registry_diff_end(w, 0, true); /* both are gone; it leaves at the first */
    registry_diff_seen(w, &e, 0, false);
    registry_diff_gone(w, "/b", 0);
    expect(q, "+a+b-a");
    assert_null(q->watch);
}

static void a_key_made_again_and_left_in_between_is_one_remove(void **state)
{
    struct quiet *q = *state;

    seen(q, "/a", 1, 1, 0);
    q->leave_at_remove = true;
    seen(q, "/a", 2, 1, 0);
    expect(q, "+a-a");
}

static void unfit(struct quiet *q, const char *key, size_t len)
{
    registry_diff_unfit(q->watch, key, len, "no");
}

static void what_is_unfit_is_told_once_and_when_it_is_gone(void **state)
{
    struct quiet *q = *state;

    unfit(q, "/a\0\x7f\n\\", 6);
    unfit(q, "/a\0\x7f\n\\", 6);
    expect(q, "!/a\\x00\\x7f\\x0a\\x5c(no)");
    registry_diff_unfit(q->watch, "/b", 2, "no");
    registry_diff_unfit(q->watch, "/b", 2, "never");
    expect(q, "!/b(no)!/b(never)");
    registry_diff_begin(q->watch);
    unfit(q, "/c", 2);
    unfit(q, "/a\0\x7f\n\\", 6);
    registry_diff_end(q->watch, 0, true);
    expect(q, "!/c(no)=/b.");
    registry_diff_unfit(q->watch, "/c", 2, NULL);
    registry_diff_unfit(q->watch, "/c", 2, NULL);
    expect(q, "=/c");
    seen(q, "/z", 0, 1, 0);
    registry_diff_gone(q->watch, "/z", 0);
    expect(q, "!/z(no registry made it: it has no version)=/z");
}

static void long_names_that_are_unfit_are_cut_and_are_not_one(void **state)
{
    char name[2][900];
    struct quiet *q = *state;

    memset(name, 'x', sizeof(name));
    name[0][0] = name[1][0] = '/';
    name[1][899] = 'y';
    unfit(q, name[0], sizeof(name[0]));
    unfit(q, name[0], sizeof(name[0]));
    unfit(q, name[1], sizeof(name[1]));
    assert_true(q->told.len < 600);
    assert_non_null(strstr(buf_text(&q->told), "... (900 bytes, hash "));
    assert_non_null(strchr(strchr(buf_text(&q->told), '!') + 1, '!'));
    assert_null(strchr(strrchr(buf_text(&q->told), '!') + 1, '!'));
    buf_reset(&q->told);
    for (unsigned i = 0; i < 2000; i++) { /* not without end */
        unfit(q, (const char *)&i, sizeof(i));
        buf_reset(&q->told);
    }
    unfit(q, "/one-more", 9);
    expect(q, "");
}

static void a_key_longer_than_ours_is_unfit(void **state)
{
    static const size_t too_long[] = {REGISTRY_KEY_MAX + 1, 1024, 1025, 100000};
    struct quiet *q = *state;

    for (size_t i = 0; i < ARRAY_LEN(too_long); i++) {
        char *key = mem_zalloc(too_long[i] + 1);

        memset(key, '/', 1);
        memset(key + 1, 'k', too_long[i] - 1);
        seen(q, key, 1, 1, 0);
        assert_non_null(strstr(buf_text(&q->told), "(its key is longer than"));
        buf_reset(&q->told);
        registry_diff_gone(q->watch, key, 0);
        assert_int_equal(buf_text(&q->told)[0], '=');
        buf_reset(&q->told);
        key[REGISTRY_KEY_MAX] = '\0'; /* the longest there can be */
        seen(q, key, 1, 1, 0);
        assert_int_equal(buf_text(&q->told)[0], '+');
        buf_reset(&q->told);
        registry_diff_gone(q->watch, key, 0);
        assert_int_equal(buf_text(&q->told)[0], '-');
        buf_reset(&q->told);
        mem_free(key);
    }
}

#define VIEW_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        VIEW_TEST(repeated_looks_tell_nothing),
        VIEW_TEST(what_no_registry_can_have_made_is_no_key),
        VIEW_TEST(another_created_is_remove_and_add_even_at_the_same_version),
        VIEW_TEST(a_full_look_removes_what_it_does_not_list),
        VIEW_TEST(a_look_begun_again_forgets_the_first),
        VIEW_TEST(an_event_between_the_pages_of_a_look_counts),
        VIEW_TEST(stale_looks_are_dropped),
        VIEW_TEST(a_look_older_than_the_last_full_one_is_dropped),
        VIEW_TEST(directories_and_keys_elsewhere_are_ignored),
        VIEW_TEST(a_watch_that_ends_in_the_middle_hears_no_more),
        VIEW_TEST(a_key_made_again_and_left_in_between_is_one_remove),
        VIEW_TEST(a_key_longer_than_ours_is_unfit),
        VIEW_TEST(what_is_unfit_is_told_once_and_when_it_is_gone),
        VIEW_TEST(long_names_that_are_unfit_are_cut_and_are_not_one),
    };

    return cmocka_run_group_tests_name("registry view", tests, NULL, NULL);
}
