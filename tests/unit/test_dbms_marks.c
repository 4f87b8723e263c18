/*
 * test_dbms_marks.c - the numbers of all rows of a table as one text: all of
 * them, or it is said that some are missing.
 */
#include "registry/dbms/dbms_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TEST(f) cmocka_unit_test(f)

struct read {
    uint64_t numbers[8];
    unsigned each;
    size_t n;
};

static void on_mark(void *arg, const uint64_t *numbers)
{
    struct read *r = arg;

    for (unsigned i = 0; i < r->each; i++) {
        assert_in_range(r->n, 0, 7);
        r->numbers[r->n++] = numbers[i];
    }
}

static bool read_text(struct read *r, unsigned each, const char *rows,
                      const char *text)
{
    const struct dbms_cell cells[] = {
        {"d", 1}, {rows, strlen(rows)}, {text, text ? strlen(text) : 0}};

    *r = (struct read){.each = each};
    return dbms_marks_each(cells, each, on_mark, r);
}

static void all_rows_are_told_in_their_order(void **state)
{
    struct read r;

    (void)state;
    assert_true(read_text(&r, 2, "2", "7 18446744073709551615,1 -1,"));
    assert_int_equal(r.n, 4);
    assert_true(r.numbers[0] == 7 && r.numbers[1] == UINT64_MAX);
    assert_true(r.numbers[2] == 1 && r.numbers[3] == UINT64_MAX);
    assert_true(read_text(&r, 3, "1", "1 2 -9223372036854775808,"));
    assert_int_equal(r.n, 3);
    assert_true(r.numbers[2] == UINT64_C(1) << 63);
}

static void an_empty_table_has_none(void **state)
{
    struct read r;

    (void)state;
    assert_true(read_text(&r, 2, "0", NULL));
    assert_true(read_text(&r, 2, "0", ""));
    assert_int_equal(r.n, 0);
}

/* Of two rows; a server ends a text where it is too long for it. */
static void what_is_missing_is_noticed(void **state)
{
    static const char text[] = "12 345,67 890,";
    char cut[sizeof(text)];
    struct read r;

    (void)state;
    assert_true(read_text(&r, 2, "2", text));
    for (size_t len = 0; len < strlen(text); len++) {
        memcpy(cut, text, len);
        cut[len] = '\0';
        assert_false(read_text(&r, 2, "2", cut));
    }
    assert_false(read_text(&r, 2, "2", NULL));
    assert_false(read_text(&r, 2, "3", text)); /* a NULL among them */
    assert_false(read_text(&r, 2, "1", text));
}

static void what_is_no_number_is_noticed(void **state)
{
    static const char *const texts[] = {
        "1 2 3,", "1,",   "1 ,",  " 1 2,", "1 2,,",
        "a 1,",   "1 -,", "1 2;", "1  2,",
    };
    struct read r;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(read_text(&r, 2, "1", texts[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_rows_are_told_in_their_order),
        TEST(an_empty_table_has_none),
        TEST(what_is_missing_is_noticed),
        TEST(what_is_no_number_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
