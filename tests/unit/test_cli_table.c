/*
 * test_cli_table.c - how the command line shows what came from elsewhere.
 */
#include "base/json/json.h"
#include "base/mem.h"
#include "cli/cli_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct cli_column columns[] = {
    {.title = "NAME", .field = "name"},
    {.title = "CPU", .field = "load.cpu", .as = CLI_PERCENT},
    {.title = "GROUPS", .field = "groups"},
};

#define NOW INT64_C(1764324000000) /* 2025-11-28T10:00:00Z */

/* What cli_table() prints of these items on a terminal of so many columns (0:
 * into a pipe); the caller frees it. */
static char *print(const char *items, const struct cli_column *of, size_t n,
                   size_t width)
{
    struct cli_paper paper = {.width = width, .now = NOW};
    FILE *out = stdout;
    const struct json *json = NULL;
    char *text = NULL;
    size_t size = 0;

    assert_int_equal(json_parse(items, strlen(items), &json, NULL), 0);
    stdout = open_memstream(&text, &size);
    assert_non_null(stdout);
    cli_table(json, of, n, "nothing", &paper);
    fclose(stdout);
    stdout = out;
    json_free(json);
    return text;
}

static char *table(const char *items)
{
    return print(items, columns, ARRAY_LEN(columns), 0);
}

static void shows(const char *items, const char *wanted)
{
    char *text = table(items);

    assert_string_equal(text, wanted);
    free(text); // NOLINT: of open_memstream()
}

/* The widest line. */
static size_t widest(const char *text)
{
    size_t most = 0;

    while (*text != '\0') {
        char *line = mem_strndup(text, strcspn(text, "\n"));

        if (cli_width(line) > most)
            most = cli_width(line);
        text += strlen(line);
        text += *text == '\n';
        mem_free(line);
    }
    return most;
}

static void columns_are_aligned_and_the_unknown_is_a_dash(void **state)
{
    (void)state;
    shows("[{\"name\":\"a\",\"load\":{\"cpu\":0.5},\"groups\":[\"x\",\"y\"]},"
          "{\"name\":\"longer\",\"load\":{\"cpu\":null},\"groups\":[]}]",
          "NAME    CPU  GROUPS\n"
          "a       50%  x,y\n"
          "longer    -  -\n");
    shows("[]", "nothing\n");
    shows("[{}]", "NAME  CPU  GROUPS\n"
                  "-       -  -\n");
}

static void wide_and_combining_characters_keep_the_columns(void **state)
{
    (void)state;
    shows("[{\"name\":\"機械\"},{\"name\":\"e\\u0301e\"},{\"name\":\"über\"}]",
          "NAME  CPU  GROUPS\n"
          "機械    -  -\n"
          "e\xcc\x81"
          "e      -  -\n"
          "über    -  -\n");
    assert_int_equal(cli_width("機械"), 4);
    assert_int_equal(cli_width("e\xcc\x81"), 1);
    assert_int_equal(cli_width(""), 0);
}

static void nothing_steers_the_terminal(void **state)
{
    /* an escape, a CSI in one character, right to left, broken ones */
    static const char *const bad[] = {"\x1b[2J",      "\x7f", "\xc2\x9bm",
                                      "\xe2\x80\xae", "\r",   "\xff",
                                      "\xe2\x80"};
    struct buf b;

    (void)state;
    buf_init(&b, 64);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        buf_reset(&b);
        cli_clean(&b, bad[i]);
        assert_int_equal(b.data[0], '?');
        for (size_t k = 0; k < b.len; k++)
            assert_in_range(b.data[k], 0x20, 0x7e);
    }
    buf_reset(&b);
    cli_clean(&b, "größer 機械");
    assert_string_equal(buf_text(&b), "größer 機械");
    buf_close(&b);
}

#define LONG                                                                   \
    "worker-0.workers-headless.dolphinscheduler-production-eu-central-1.svc."  \
    "cluster.local.example.company.internal:1234"

static void through_a_pipe_every_name_is_whole(void **state)
{
    struct buf items;
    char *text;

    (void)state;
    buf_init(&items, 65536);
    buf_str(&items, "[{\"name\":\"");
    for (int i = 0; i < 2000; i++)
        buf_str(&items, "機");
    buf_str(&items, "end\",\"groups\":[\"" LONG "\"]}]");
    text = table(buf_text(&items));
    assert_non_null(strstr(text, "機end    -  " LONG "\n"));
    assert_null(strstr(text, "..."));
    free(text); // NOLINT
    buf_close(&items);
}

static const struct cli_column rich[] = {
    {.title = "KIND", .field = "kind", .spare = 2},
    {.title = "ADDRESS", .field = "address"},
    {.title = "EMPTY", .field = "nothing"},
    {.title = "SEEN", .field = "seen", .as = CLI_AGE},
    {.title = "LEFT", .field = "until", .as = CLI_LEFT},
    {.title = "SLOTS", .field = "slots", .as = CLI_NUMBER, .spare = 1},
    {.title = "REASON", .field = "reason", .below = true},
};

static const char two[] =
    "[{\"kind\":\"worker\",\"address\":\"" LONG "\",\"slots\":8,"
    "\"seen\":\"2025-11-28T09:59:48.000Z\",\"until\":\"2025-11-28T10:09:30Z\","
    "\"reason\":\"the rack is moved to the other hall\"},"
    "{\"kind\":\"worker\",\"address\":\"10.0.0.9:1234\",\"slots\":16,"
    "\"seen\":\"2025-11-28T07:00:00.000Z\"}]";

static void one_long_name_does_not_widen_every_row(void **state)
{
    (void)state;
    for (size_t width = 40; width <= 220; width++) {
        char *text = print(two, rich, ARRAY_LEN(rich), width);

        if (widest(text) > width)
            fail_msg("%zu columns on a terminal of %zu:\n%s", widest(text),
                     width, text);
        assert_non_null(strstr(text, "10.0.0.9:1234"));
        assert_non_null(strstr(text, ":1234  ")); /* the end of the long one */
        free(text);                               // NOLINT
    }
}

static void what_has_no_room_goes_below_or_is_named(void **state)
{
    char *text = print(two, rich, ARRAY_LEN(rich), 60);

    (void)state;
    assert_string_equal(
        text, "KIND    ADDRESS                            SEEN  LEFT  SLOTS\n"
              "worker  worker-0.worker...y.internal:1234   12s   10m      8\n"
              "    reason: the rack is moved to the other hall\n"
              "worker  10.0.0.9:1234                        3h     -     16\n");
    free(text); // NOLINT
    text = print(two, rich, ARRAY_LEN(rich), 40);
    assert_string_equal(text, "ADDRESS                       SEEN  LEFT\n"
                              "worker-0.work...nternal:1234   12s   10m\n"
                              "    reason: the rack is moved to the\n"
                              "      other hall\n"
                              "10.0.0.9:1234                   3h     -\n"
                              "(left out: KIND, SLOTS; a wider\n"
                              " terminal, a pipe or --json shows them)\n");
    free(text); // NOLINT
}

static void ages_have_the_largest_unit(void **state)
{
    static const struct {
        int64_t ms;
        const char *age;
    } cases[] = {{-5, "0s"},          {0, "0s"},         {12999, "12s"},
                 {59999, "59s"},      {60000, "1m"},     {3599999, "59m"},
                 {3600000, "1h"},     {86399999, "23h"}, {86400000, "1d"},
                 {8640000000, "100d"}};
    static const struct cli_column left[] = {
        {.title = "LEFT", .field = "t", .as = CLI_LEFT}};
    struct buf b;
    char *text;

    (void)state;
    buf_init(&b, 64);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_reset(&b);
        cli_put_age(&b, cases[i].ms);
        assert_string_equal(buf_text(&b), cases[i].age);
    }
    buf_close(&b);
    text = print("[{\"t\":\"2025-11-28T10:10:00.050Z\"},"
                 "{\"t\":\"2025-11-28T10:00:00.001Z\"},"
                 "{\"t\":\"2025-11-28T10:00:00Z\"},"
                 "{\"t\":\"2025-11-28T10:01:01Z\"},{\"t\":\"soon\"},{}]",
                 left, 1, 0);
    assert_string_equal(text, "LEFT\n 10m\n  1s\nover\n  2m\nsoon\n   -\n");
    free(text); // NOLINT
}

static void names_are_shortened_at_characters(void **state)
{
    static const char *const names[] = {"測試組測試組測試組",
                                        "e\xcc\x81"
                                        "e\xcc\x81"
                                        "e\xcc\x81"
                                        "e\xcc\x81"
                                        "e\xcc\x81"
                                        "e\xcc\x81"
                                        "e\xcc\x81"
                                        "e\xcc\x81"
                                        "e\xcc\x81",
                                        LONG, "a測b試c組d"};
    struct buf b;

    (void)state;
    buf_init(&b, 1024);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        for (size_t width = 1; width < 20; width++) {
            const char *p;

            buf_reset(&b);
            cli_shorten(&b, names[i], width);
            assert_true(cli_width(buf_text(&b)) <= width);
            for (p = buf_text(&b); *p != '\0'; p += json_utf8(p, strlen(p)))
                assert_int_not_equal(json_utf8(p, strlen(p)), 0);
            if (cli_width(names[i]) <= width)
                assert_string_equal(buf_text(&b), names[i]);
        }
    buf_reset(&b);
    cli_shorten(&b, "worker-17.example.org:1234", 13);
    assert_string_equal(buf_text(&b), "worke...:1234");
    buf_close(&b);
}

static void names_that_are_shortened_stay_apart(void **state)
{
    static const char items[] =
        "[{\"name\":\"dolphinscheduler-worker-1.worker-headless.svc:1234\"},"
        "{\"name\":\"dolphinscheduler-worker-2.worker-headless.svc:1234\"},"
        "{\"name\":\"dolphinscheduler-worker-13.worker-headless.svc:1234\"},"
        "{\"name\":\"short:1\"}]";
    char *text, *rest = NULL;

    (void)state;
    for (size_t width = 40; width <= 60; width++) {
        text = print(items, columns, ARRAY_LEN(columns), width);
        assert_true(widest(text) <= width);
        assert_non_null(strstr(text, "short:1"));
        for (char *a = strtok_r(text, "\n", &rest), *b; a != NULL; a = b) {
            b = strtok_r(NULL, "\n", &rest);
            assert_true(b == NULL || strcmp(a, b) != 0);
        }
        free(text); // NOLINT
    }
    /* The same name twice is the same name. */
    text = print("[{\"name\":\"dolphinscheduler-worker-1.worker.svc:1234\"},"
                 "{\"name\":\"dolphinscheduler-worker-1.worker.svc:1234\"}]",
                 columns, ARRAY_LEN(columns), 30);
    assert_non_null(strstr(text, "dolphin"));
    free(text); // NOLINT
}

static void text_is_wrapped_at_blanks_and_commas(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1024);
    buf_str(&b, "alive: ");
    cli_wrap(&b, "a:1,b:2,c:3 and more", 2, 16);
    assert_string_equal(buf_text(&b), "alive: a:1,b:2,\n  c:3 and more");
    buf_reset(&b);
    cli_wrap(&b, "abcdefghijklmnopqrst", 2, 12);
    assert_string_equal(buf_text(&b), "abcdefghijkl\n  mnopqrst");
    buf_reset(&b);
    cli_wrap(&b, "as it is, whole", 2, 0);
    assert_string_equal(buf_text(&b), "as it is, whole");
    buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned_and_the_unknown_is_a_dash),
        cmocka_unit_test(wide_and_combining_characters_keep_the_columns),
        cmocka_unit_test(nothing_steers_the_terminal),
        cmocka_unit_test(through_a_pipe_every_name_is_whole),
        cmocka_unit_test(one_long_name_does_not_widen_every_row),
        cmocka_unit_test(what_has_no_room_goes_below_or_is_named),
        cmocka_unit_test(ages_have_the_largest_unit),
        cmocka_unit_test(names_are_shortened_at_characters),
        cmocka_unit_test(names_that_are_shortened_stay_apart),
        cmocka_unit_test(text_is_wrapped_at_blanks_and_commas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
