/*
 * test_cli_table.c - how the command line shows what came from elsewhere.
 */
#include "base/json.h"
#include "base/mem.h"
#include "coordinator/cli_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct cli_column columns[] = {
    {"NAME", "name", false, CLI_TEXT},
    {"CPU", "load.cpu", true, CLI_PERCENT},
    {"GROUPS", "groups", false, CLI_TEXT},
};

/* What cli_table() prints of these items; the caller frees it. */
static char *table(const char *items)
{
    FILE *out = stdout;
    cJSON *json = NULL;
    char *text = NULL;
    size_t n = 0;

    assert_int_equal(json_parse(items, strlen(items), &json, NULL), 0);
    stdout = open_memstream(&text, &n);
    assert_non_null(stdout);
    cli_table(json, columns, ARRAY_LEN(columns), "nothing");
    fclose(stdout);
    stdout = out;
    cJSON_Delete(json);
    return text;
}

static void shows(const char *items, const char *wanted)
{
    char *text = table(items);

    assert_string_equal(text, wanted);
    free(text); // NOLINT: of open_memstream()
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

static void a_long_cell_ends_in_dots_at_a_character(void **state)
{
    struct buf items;
    char *text, *end;

    (void)state;
    buf_init(&items, 4096);
    buf_str(&items, "[{\"name\":\"");
    for (int i = 0; i < 200; i++)
        buf_str(&items, "機");
    buf_str(&items, "\"}]");
    text = table(buf_text(&items));
    end = strstr(text, "...");
    assert_non_null(end);
    assert_int_equal(json_utf8(end - 3, 3), 3);
    for (const char *p = text; *p != '\0'; p += json_utf8(p, strlen(p)))
        assert_int_not_equal(json_utf8(p, strlen(p)), 0);
    free(text); // NOLINT
    buf_close(&items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned_and_the_unknown_is_a_dash),
        cmocka_unit_test(wide_and_combining_characters_keep_the_columns),
        cmocka_unit_test(nothing_steers_the_terminal),
        cmocka_unit_test(a_long_cell_ends_in_dots_at_a_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
