/*
 * test_trouble.c - why the store does not serve: what is present, what heals
 * it, and how often it is said (registry/trouble.h), over the memory registry,
 * whose time is virtual.
 */
#include "base/log.h"
#include "base/mem.h"
#include "registry/registry_priv.h"
#include "tests/lib/memory/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT 4000
#define MINUTE  60000

struct world {
    struct clock clock;
    struct memory_store *store;
    struct registry *r;
    unsigned said, over; /* lines of the log */
    char last[1024];
};

static void on_line(void *arg, enum log_level level, const char *line,
                    size_t len)
{
    struct world *w = arg;

    (void)level;
    if (memmem(line, len, " !store ", 8) != NULL) {
        w->said++;
        (void)snprintf(w->last, sizeof(w->last), "%.*s", (int)len, line);
    }
    w->over += memmem(line, len, " +store ", 8) != NULL;
}

static void run(struct world *w, int64_t ms)
{
    for (; ms > 0; ms -= 100) {
        (void)memory_run(w->store, w->clock.mono + (ms < 100 ? ms : 100));
        registry_trouble_tick(w->r);
    }
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->clock.mono = 1000000;
    w->clock.wall = INT64_C(1790000000000);
    w->store = memory_store_new(&w->clock, 1);
    w->r = memory_open(w->store, TIMEOUT);
    log_set_sink(on_line, w);
    *state = w;
    return 0;
}

static void on_closed(void *arg)
{
    (void)arg;
}

static int teardown(void **state)
{
    struct world *w = *state;

    log_set_sink(NULL, NULL);
    registry_close(&w->r, on_closed, NULL);
    (void)memory_run(w->store, w->clock.mono + 3 * (int64_t)TIMEOUT);
    memory_store_free(&w->store);
    mem_free(w);
    return 0;
}

static enum trouble present(const struct world *w)
{
    struct registry_trouble t;

    return registry_trouble(w->r, &t) ? t.what : TROUBLE_NONE;
}

static void a_start_is_no_news_and_a_session_is_no_trouble(void **state)
{
    struct world *w = *state;

    assert_int_equal(present(w), TROUBLE_UNREACHABLE); /* no session yet */
    run(w, 1000);
    assert_true(registry_state_is_up(registry_state(w->r)));
    assert_int_equal(present(w), TROUBLE_NONE);
    assert_int_equal(w->said, 0);
}

static void
a_refusal_is_present_at_once_and_until_it_does_not_come_again(void **state)
{
    struct world *w = *state;
    struct registry_trouble t;

    run(w, 1000);
    registry_record_trouble(w->r, TROUBLE_QUOTA, "/a: used up");
    assert_true(registry_trouble(w->r, &t));
    assert_int_equal(t.what, TROUBLE_QUOTA);
    assert_string_equal(t.detail, "/a: used up");
    run(w, 5000); /* renewals of the session are no cure for a quota */
    assert_int_equal(present(w), TROUBLE_QUOTA);
    assert_int_equal(w->said, 1);
    assert_non_null(strstr(w->last, "trouble=quota"));
    assert_non_null(strstr(w->last, "advice="));
    registry_record_trouble(w->r, TROUBLE_QUOTA, "/b: used up");
    assert_true(registry_trouble(w->r, &t));
    assert_int_equal(t.times, 2);
    run(w, 9000);
    assert_int_equal(present(w), TROUBLE_QUOTA);
    run(w, 2000);
    assert_int_equal(present(w), TROUBLE_NONE);
    assert_int_equal(w->over, 1);
}

static void what_is_about_all_heals_with_the_next_sign_of_life(void **state)
{
    struct world *w = *state;

    run(w, 1000);
    registry_record_trouble(w->r, TROUBLE_READ_ONLY, "a standby");
    assert_int_equal(present(w), TROUBLE_READ_ONLY);
    registry_record_answer(w->r, w->clock.mono);
    assert_int_equal(present(w), TROUBLE_NONE);
    registry_trouble_tick(w->r);
    /* while we are not up again it is still the reason */
    memory_cut(w->r);
    run(w, TIMEOUT);
    registry_record_trouble(w->r, TROUBLE_DESCRIPTORS, "none is left");
    registry_record_answer(w->r, w->clock.mono);
    assert_int_equal(present(w), TROUBLE_DESCRIPTORS);
    memory_heal(w->r);
    run(w, 1000);
    assert_int_equal(present(w), TROUBLE_NONE);
}

static void
a_server_that_is_lost_is_no_trouble_while_the_session_stands(void **state)
{
    struct world *w = *state;

    run(w, 1000);
    registry_record_trouble(w->r, TROUBLE_UNREACHABLE, "one of three");
    assert_int_equal(present(w), TROUBLE_NONE);
    memory_cut(w->r);
    run(w, TIMEOUT);
    assert_int_equal(present(w), TROUBLE_UNREACHABLE);
    registry_record_trouble(w->r, TROUBLE_NO_QUORUM, "none writes");
    assert_int_equal(present(w), TROUBLE_NO_QUORUM);
    run(w, 1);
    registry_record_trouble(w->r, TROUBLE_TLS_REQUIRED,
                            "the newest word counts");
    assert_int_equal(present(w), TROUBLE_TLS_REQUIRED);
}

static void an_outage_that_lasts_is_said_again_and_ever_rarer(void **state)
{
    struct world *w = *state;
    unsigned after_an_hour;

    run(w, 1000);
    memory_cut(w->r);
    run(w, TIMEOUT + 3000);
    assert_int_equal(w->said, 1);
    run(w, MINUTE);
    assert_int_equal(w->said, 2);
    run(w, 59 * MINUTE);
    after_an_hour = w->said;
    assert_in_range(after_an_hour, 4, 5);
    run(w, 61 * MINUTE); /* at least hourly */
    assert_in_range(w->said - after_an_hour, 1, 2);
    memory_heal(w->r);
    run(w, 3 * TIMEOUT);
    assert_int_equal(w->over, 1);
    assert_int_equal(present(w), TROUBLE_NONE);
}

static void what_comes_and_goes_is_not_said_each_time(void **state)
{
    struct world *w = *state;

    run(w, 1000);
    for (int i = 0; i < 30; i++) {
        registry_record_trouble(w->r, TROUBLE_THROTTLED, "again");
        run(w, 20000);
    }
    assert_in_range(w->said, 2, 3); /* in ten minutes */
}

static void each_has_a_name_a_title_and_advice(void **state)
{
    (void)state;
    for (enum trouble t = TROUBLE_NONE + 1; t < TROUBLE_N; t++) {
        assert_true(strlen(registry_trouble_texts[t].title) > 0);
        assert_true(strlen(registry_trouble_texts[t].advice) > 0);
        assert_int_equal(
            strncmp(registry_trouble_texts[t].code, "registry_", 9), 0);
        assert_string_equal(registry_trouble_texts[t].name,
                            registry_trouble_texts[t].code + 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_start_is_no_news_and_a_session_is_no_trouble, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_refusal_is_present_at_once_and_until_it_does_not_come_again,
            setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_is_about_all_heals_with_the_next_sign_of_life, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            a_server_that_is_lost_is_no_trouble_while_the_session_stands, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            an_outage_that_lasts_is_said_again_and_ever_rarer, setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_comes_and_goes_is_not_said_each_time, setup, teardown),
        cmocka_unit_test(each_has_a_name_a_title_and_advice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
