/*
 * test_base_values.c - the plain values of base/: errors, buffers, time, units
 * and random numbers. Each expected number was worked out by hand or comes
 * from the published reference.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/units.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void err_is_wrapped_outwards_and_keeps_its_code(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(err_set(&err, ERR_SESSION_LOST, "session %d lost", 7),
                     ERR_SESSION_LOST);
    assert_int_equal(err_wrap(&err, "lock %s", "/lock/a"), ERR_SESSION_LOST);
    assert_int_equal(err_wrap(&err, "reassign"), ERR_SESSION_LOST);
    assert_string_equal(err.msg, "reassign: lock /lock/a: session 7 lost");
    err_clear(&err);
    assert_int_equal(err.code, ERR_OK);
    assert_string_equal(err.msg, "");
}

static void err_may_quote_its_own_message(void **state)
{
    struct err err;

    (void)state;
    err_set(&err, ERR_INVALID, "inner");
    err_set(&err, ERR_IO, "outer (%s)", err.msg);
    assert_string_equal(err.msg, "outer (inner)");
    err_wrap(&err, "%s", err.msg);
    assert_string_equal(err.msg, "outer (inner): outer (inner)");
}

static void err_messages_are_cut_and_never_overrun(void **state)
{
    char blob[2 * ERR_MSG_MAX];
    struct err err;

    (void)state;
    memset(blob, 'x', sizeof(blob) - 1);
    blob[sizeof(blob) - 1] = '\0';
    err_set(&err, ERR_IO, "%s", blob);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
    for (size_t n = ERR_MSG_MAX - 8; n < ERR_MSG_MAX + 2; n++) {
        err_set(&err, ERR_IO, "short");
        assert_int_equal(err_wrap(&err, "%.*s", (int)n, blob), ERR_IO);
        assert_true(strlen(err.msg) < ERR_MSG_MAX);
    }
}

static void err_without_a_place_still_returns_the_code(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(err_set(NULL, ERR_FULL, "x"), ERR_FULL);
    assert_int_equal(err_errno(NULL, EACCES, "x"), ERR_DENIED);
    assert_int_equal(err_errno(&err, ENOSPC, "write %s", "f"), ERR_IO);
    assert_string_equal(err.msg, "write f: No space left on device");
    assert_string_equal(err_name(ERR_UNKNOWN), "outcome_unknown");
    assert_string_equal(err_text(ERR_OK), "done");
}

static void buf_grows_to_its_maximum_and_says_when_it_is_reached(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 300);
    assert_string_equal(buf_text(&b), "");
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%02d,", i);
    assert_int_equal(b.len, 300);
    assert_false(b.overflow);
    buf_char(&b, 'x');
    assert_true(b.overflow);
    assert_int_equal(strlen(buf_text(&b)), 300);
    buf_reset(&b);
    assert_false(b.overflow);
    assert_string_equal(buf_text(&b), "");
    buf_close(&b);
}

static void buf_has_no_hole_after_an_overflow(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 4);
    buf_str(&b, "abcdef");
    buf_str(&b, "g");
    assert_string_equal(buf_text(&b), "abcd");
    buf_reset(&b);
    buf_printf(&b, "%0300d", 7); /* longer than its small buffer as well */
    assert_string_equal(buf_text(&b), "0000");
    assert_true(b.overflow);
    buf_close(&b);
}

static void buf_hands_its_memory_over(void **state)
{
    struct buf b;
    char *text;

    (void)state;
    buf_init(&b, 1000);
    buf_printf(&b, "%0500d", 1);
    text = buf_take(&b);
    assert_int_equal(strlen(text), 500);
    mem_free(text);
    text = buf_take(&b);
    assert_string_equal(text, "");
    mem_free(text);
    buf_close(&b);
}

static void mem_copies_and_prints(void **state)
{
    char *s = mem_printf("%s-%d", "a", 3);
    char *t = mem_strndup("hello", 2);

    (void)state;
    assert_string_equal(s, "a-3");
    assert_string_equal(t, "he");
    assert_null(mem_strdup(NULL));
    MEM_FREE(s);
    assert_null(s);
    mem_free(t);
    t = mem_alloc(0);
    assert_non_null(t);
    mem_free(t);
}

static void time_is_written_in_rfc3339(void **state)
{
    char out[CLOCK_RFC3339_SIZE];

    (void)state;
    assert_string_equal(clock_rfc3339(0, out), "1970-01-01T00:00:00.000Z");
    assert_string_equal(clock_rfc3339(1795348487123, out),
                        "2026-11-22T11:54:47.123Z");
    assert_string_equal(clock_rfc3339(951782400000, out),
                        "2000-02-29T00:00:00.000Z");
    assert_string_equal(clock_rfc3339(-1, out), "1969-12-31T23:59:59.999Z");
    assert_string_equal(clock_rfc3339(INT64_MAX, out),
                        "9999-12-31T23:59:59.999Z");
    assert_string_equal(clock_rfc3339(INT64_MIN, out),
                        "0000-01-01T00:00:00.000Z");
}

static void monotonic_time_does_not_go_back(void **state)
{
    mono_ms a = clock_mono_ms();
    uint64_t ns = clock_mono_ns();

    (void)state;
    assert_true(clock_mono_ms() >= a);
    assert_true(clock_mono_ns() >= ns);
    assert_true((int64_t)(ns / 1000000) >= a);
}

static void durations_are_read_exactly(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"0s", 0},           {"250ms", 250},
        {"30s", 30000},      {"1.5s", 1500},
        {"10m", 600000},     {"2h", 7200000},
        {"1d", 86400000},    {"1m30s", 90000},
        {"1h0.5s", 3600500}, {"60S", 60000},
        {"PT60S", 60000},    {"PT1H2M3.5S", 3723500},
        {"P1D", 86400000},   {"P1DT1S", 86401000},
        {"0.001s", 1},       {"3650d", 315360000000},
    };
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ms = -1;
        assert_int_equal(units_duration(good[i].text, &ms, NULL), 0);
        assert_int_equal(ms, good[i].ms);
    }
}

static void durations_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "",      "30",
        "s",     "30 s",
        "-1s",   "1.s",
        ".5s",   "1w",
        "30s1m", "1s1s",
        "0.5ms", "3651d",
        "1e3s",  "PT",
        "P",     "P1S",
        "PT1D",  "P1DT",
        "1s ",   " 1s",
        "1,5s",  "99999999999999999999s",
        "PT1.S", "NaNs",
        "1µs",
    };
    struct err err;
    int64_t ms = 7;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(units_duration(bad[i], &ms, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "is no duration"));
    }
    assert_int_equal(ms, 7);
    assert_int_equal(units_duration("30", &ms, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "the unit is missing"));
}

static void durations_are_written_in_the_shortest_exact_form(void **state)
{
    char out[UNITS_DURATION_SIZE];
    int64_t back;

    (void)state;
    assert_string_equal(units_format_duration(0, out), "0s");
    assert_string_equal(units_format_duration(1500, out), "1500ms");
    assert_string_equal(units_format_duration(30000, out), "30s");
    assert_string_equal(units_format_duration(90000, out), "90s");
    assert_string_equal(units_format_duration(600000, out), "10m");
    assert_string_equal(units_format_duration(172800000, out), "2d");
    for (int64_t ms = 1; ms < 400000000; ms = ms * 3 + 1) {
        assert_int_equal(
            units_duration(units_format_duration(ms, out), &back, NULL), 0);
        assert_int_equal(back, ms);
    }
}

static void whole_numbers_keep_to_their_range(void **state)
{
    uint64_t u;
    int64_t i;

    (void)state;
    assert_int_equal(units_int("-5", -5, 5, &i, NULL), 0);
    assert_int_equal(i, -5);
    assert_int_equal(units_int("6", -5, 5, &i, NULL), ERR_INVALID);
    assert_int_equal(units_int("1x", -5, 5, &i, NULL), ERR_INVALID);
    assert_int_equal(units_int("", -5, 5, &i, NULL), ERR_INVALID);
    assert_int_equal(units_int("-", -5, 5, &i, NULL), ERR_INVALID);
    assert_int_equal(units_int("+1", -5, 5, &i, NULL), ERR_INVALID);
    assert_int_equal(units_uint("18446744073709551615", UINT64_MAX, &u, NULL),
                     0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(units_uint("18446744073709551616", UINT64_MAX, &u, NULL),
                     ERR_INVALID);
    assert_int_equal(units_uint("-1", 9, &u, NULL), ERR_INVALID);
}

static void splitmix64_seeds_as_published(void **state)
{
    struct rand r;

    (void)state;
    /* splitmix64 from seed 1234567, from its reference implementation. */
    rand_seed(&r, 1234567);
    assert_true(r.s[0] == UINT64_C(6457827717110365317));
    assert_true(r.s[1] == UINT64_C(3203168211198807973));
    assert_true(r.s[2] == UINT64_C(9817491932198370423));
    assert_true(r.s[3] == UINT64_C(4593380528125082431));
    /* xoshiro256** from the state {1, 2, 3, 4}, likewise. */
    r = (struct rand){{1, 2, 3, 4}};
    assert_true(rand_u64(&r) == 11520);
    assert_true(rand_u64(&r) == 0);
    assert_true(rand_u64(&r) == 1509978240);
    assert_true(rand_u64(&r) == UINT64_C(1215971899390074240));
}

static void random_numbers_are_uniform_and_repeatable(void **state)
{
    unsigned count[7] = {0};
    struct rand a, b;

    (void)state;
    rand_seed(&a, 42);
    rand_seed(&b, 42);
    for (int i = 0; i < 70000; i++) {
        uint64_t x = rand_below(&a, 7);

        assert_true(x == rand_below(&b, 7));
        count[x]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(count[i], 9600, 10400); /* over four deviations */
    for (int i = 0; i < 1000; i++) {
        double d = rand_double(&a);

        assert_true(d >= 0 && d < 1);
    }
    assert_int_equal(rand_below(&a, 1), 0);
}

static void rendezvous_moves_only_what_the_lost_node_owned(void **state)
{
    static const char *const nodes[] = {"a:1", "b:1", "c:1", "d:1"};
    unsigned owned[4] = {0};
    char key[16];

    (void)state;
    for (int k = 0; k < 4000; k++) {
        size_t best = 0, best_of_three = 0;

        (void)snprintf(key, sizeof(key), "k%d", k);
        for (size_t n = 1; n < 4; n++) {
            uint64_t rank = hash_rendezvous(key, nodes[n]);

            if (rank > hash_rendezvous(key, nodes[best]))
                best = n;
            if (n < 3 && rank > hash_rendezvous(key, nodes[best_of_three]))
                best_of_three = n;
        }
        owned[best]++;
        assert_true(best == 3 || best == best_of_three);
    }
    for (int n = 0; n < 4; n++)
        assert_in_range(owned[n], 850, 1150);
}

static void secrets_differ(void **state)
{
    unsigned char a[32] = {0}, b[32] = {0};

    (void)state;
    rand_secret(a, sizeof(a));
    rand_secret(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_is_wrapped_outwards_and_keeps_its_code),
        cmocka_unit_test(err_may_quote_its_own_message),
        cmocka_unit_test(err_messages_are_cut_and_never_overrun),
        cmocka_unit_test(err_without_a_place_still_returns_the_code),
        cmocka_unit_test(buf_grows_to_its_maximum_and_says_when_it_is_reached),
        cmocka_unit_test(buf_has_no_hole_after_an_overflow),
        cmocka_unit_test(buf_hands_its_memory_over),
        cmocka_unit_test(mem_copies_and_prints),
        cmocka_unit_test(time_is_written_in_rfc3339),
        cmocka_unit_test(monotonic_time_does_not_go_back),
        cmocka_unit_test(durations_are_read_exactly),
        cmocka_unit_test(durations_that_are_none_are_refused),
        cmocka_unit_test(durations_are_written_in_the_shortest_exact_form),
        cmocka_unit_test(whole_numbers_keep_to_their_range),
        cmocka_unit_test(splitmix64_seeds_as_published),
        cmocka_unit_test(random_numbers_are_uniform_and_repeatable),
        cmocka_unit_test(rendezvous_moves_only_what_the_lost_node_owned),
        cmocka_unit_test(secrets_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
