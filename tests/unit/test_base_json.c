/*
 * test_base_json.c - JSON from outside is judged byte by byte; what we write
 * reads back. (More than 500 lines: the texts of each kind stand beside it.)
 */
#include "base/json/json.h"
#include "base/mem.h"
#include "base/rand.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int parse(const char *text, struct err *err)
{
    const struct json *tree;
    int rc = json_parse(text, strlen(text), &tree, err);

    assert_true((rc == 0) == (tree != NULL));
    json_free(tree);
    return rc;
}

static void what_rfc_8259_allows_is_read(void **state)
{
    static const char *const good[] = {
        "{}",
        "[]",
        "0",
        "-0.5e+3",
        "\"\"",
        " true ",
        "null",
        "[1,2]",
        "[[],{}]",
        "1E5",
        "\"\\u00e9\"",
        "\"é\"",
        "\"\\ud83d\\ude00\"",
        "{\"a\":{\"b\":[{},null]},\"c\":1}",
        "\n\t[ 1 , \"a\\n\\\\\\\"\" ]\r\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct err err;

        if (parse(good[i], &err) != 0)
            fail_msg("%s: %s", good[i], err.msg);
    }
}

static void what_is_not_json_is_refused_with_its_byte(void **state)
{
    static const struct {
        const char *text;
        const char *message;
    } bad[] = {
        {"", "byte 0: it ends early"},
        {"{", "byte 1: expected a key in quotes"},
        {"{\"a\"}", "byte 4: expected ':'"},
        {"{\"a\":1,}", "byte 7: expected a key"},
        {"{\"a\":}", "byte 5: not a JSON value, at '}'"},
        {"[1,]", "byte 3: not a JSON value"},
        {"[1 2]", "byte 3: expected ',' or a closing bracket"},
        {"[1}", "byte 2: expected ','"},
        {"[1", "byte 2: it ends early"},
        {"01", "byte 1: a number with a leading zero"},
        {"1.", "byte 2: malformed number"},
        {"-", "byte 1: malformed number"},
        {"1e", "byte 2: malformed number"},
        {"NaN", "byte 0: not a JSON value"},
        {"tru", "byte 0: not a JSON value"},
        {"1 2", "byte 2: something follows"},
        {"\"a", "byte 2: a string without its closing quote"},
        {"\"\n\"", "byte 1: control character"},
        {"\"\\x\"", "byte 2: unknown escape"},
        {"\"\\u12g4\"", "\\u needs four"},
        {"\"\\u0000\"", "\\u0000 is not accepted"},
        {"\"\\ud800\"", "half a surrogate pair"},
        {"\"\\ud800\\u0041\"", "half a surrogate pair"},
        {"\"\\udc00\"", "half a surrogate pair"},
        {"\"\xff\"", "byte 1: invalid UTF-8"},
        {"\"\xc0\xaf\"", "byte 1: invalid UTF-8"},
        {"\"\xed\xa0\x80\"", "byte 1: invalid UTF-8"},
        {"\xef\xbb\xbf{}", "byte 0: not a JSON value"},
        {"//x\n1", "byte 0: not a JSON value"},
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(parse(bad[i].text, &err), ERR_INVALID);
        if (strstr(err.msg, bad[i].message) == NULL)
            fail_msg("%s: %s", bad[i].text, err.msg);
    }
}

static void nul_bytes_are_refused(void **state)
{
    const struct json *tree;
    struct err err;

    (void)state;
    assert_int_equal(json_parse("1\0", 2, &tree, &err), ERR_INVALID);
    assert_int_equal(json_parse("\"a\0b\"", 5, &tree, &err), ERR_INVALID);
    assert_int_equal(json_parse("\0", 1, &tree, &err), ERR_INVALID);
}

static void depth_is_bounded(void **state)
{
    char text[2 * JSON_DEPTH_MAX + 8];
    struct err err;

    (void)state;
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    text[(size_t)2 * JSON_DEPTH_MAX] = '\0';
    assert_int_equal(parse(text, &err), 0);
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    text[2 * JSON_DEPTH_MAX + 2] = '\0';
    assert_int_equal(parse(text, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "nested too deeply"));
}

static void every_cut_of_a_document_is_refused(void **state)
{
    static const char text[] =
        "{\"a\":[1.5e3,\"\\u00e9\xc3\xa9\",{\"b\":null}],"
        "\"c\":true}";
    const struct json *tree;

    (void)state;
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        /* In memory of its own, so that a read past the end is seen. */
        char *cut = mem_dup(text, n);

        assert_int_equal(json_parse(cut, n, &tree, NULL), ERR_INVALID);
        mem_free(cut);
    }
    assert_int_equal(parse(text, NULL), 0);
}

static void fields_are_taken_only_in_their_type(void **state)
{
    static const char text[] =
        "{\"s\":\"x\",\"i\":7,\"d\":0.5,\"b\":true,\"n\":null,"
        "\"big\":\"18446744073709551615\",\"neg\":-3,\"huge\":1e300,"
        "\"i\":9,\"wide\":9007199254740994}";
    const struct json *o;

    (void)state;
    assert_int_equal(json_parse(text, sizeof(text) - 1, &o, NULL), 0);
    assert_string_equal(json_str(o, "s"), "x");
    assert_null(json_str(o, "i"));
    assert_null(json_str(o, "missing"));
    assert_int_equal(json_int(o, "i", 1), 7); /* the first counts */
    assert_int_equal(json_int(o, "d", -1), -1);
    assert_int_equal(json_int(o, "huge", -1), -1);
    assert_int_equal(json_int(o, "wide", -1), -1);
    assert_int_equal(json_int(o, "neg", 0), -3);
    assert_int_equal(json_u64(o, "neg", 5), 5);
    assert_true(json_u64(o, "big", 5) == UINT64_MAX);
    assert_true(json_num(o, "d", 0) > 0.49 && json_num(o, "d", 0) < 0.51);
    assert_true(json_bool(o, "b", false));
    assert_true(json_bool(o, "n", true));
    json_free(o);
    assert_int_equal(json_int(NULL, "x", 4), 4);
}

static void writing_places_its_own_commas(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    json_open(&b, NULL, '{');
    json_put_str(&b, "s", "a\"b\\c\n\x01\x7f");
    json_put_str(&b, "none", NULL);
    json_put_int(&b, "i", INT64_MIN);
    json_put_u64(&b, "u", 9007199254740991u);
    json_put_u64(&b, "w", UINT64_MAX);
    json_put_bool(&b, "t", true);
    json_put_bool(&b, "f", false);
    json_open(&b, "a", '[');
    json_put_num(&b, NULL, 0.1);
    json_put_num(&b, NULL, -3);
    json_put_num(&b, NULL, (double)NAN);
    json_put_num(&b, NULL, (double)INFINITY);
    json_open(&b, NULL, '{');
    json_close(&b, '}');
    json_put_raw(&b, NULL, "[1]");
    json_close(&b, ']');
    json_put_null(&b, "z");
    json_close(&b, '}');
    assert_string_equal(buf_text(&b),
                        "{\"s\":\"a\\\"b\\\\c\\n\\u0001\\u007f\",\"none\":null,"
                        "\"i\":-9223372036854775808,\"u\":9007199254740991,"
                        "\"w\":\"18446744073709551615\",\"t\":true,\"f\":false,"
                        "\"a\":[0.1,-3,null,null,{},[1]],\"z\":null}");
    assert_int_equal(parse(buf_text(&b), NULL), 0);
    buf_close(&b);
}

static void numbers_read_back_the_same(void **state)
{
    static const double values[] = {
        0.1 + 0.2, 1e-7, 123456.789, 1e300, -2.2250738585072014e-308,
        1e15,      0.8};
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        const struct json *o;
        double back;

        buf_reset(&b);
        json_open(&b, NULL, '{');
        json_put_num(&b, "x", values[i]);
        json_close(&b, '}');
        assert_int_equal(json_parse(b.data, b.len, &o, NULL), 0);
        back = json_num(o, "x", 0);
        assert_false(back < values[i] || back > values[i]);
        json_free(o);
    }
    buf_close(&b);
}

/* Whichever way they are written. */
static void numbers_are_written_as_by_printf(void **state)
{
    struct rand rand;
    char text[64];
    struct buf b;

    (void)state;
    rand_seed(&rand, 15);
    buf_init(&b, 4096);
    for (size_t i = 0; i < 200000; i++) {
        double value = (double)(int64_t)(rand_below(&rand, 2000000) - 1000000) /
                       pow(10, (double)rand_below(&rand, 9));

        value += i % 3 == 0 ? (double)rand_below(&rand, 1u << 31) : 0;
        if (i % 5 == 0)
            value = nextafter(value, 1e9);
        (void)snprintf(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) < value || strtod(text, NULL) > value)
            (void)snprintf(text, sizeof(text), "%.17g", value);
        if (fabs(value) < 1e15 && trunc(value) == value)
            (void)snprintf(text, sizeof(text), "%.0f", value + 0.0);
        buf_reset(&b);
        json_put_num(&b, NULL, value);
        assert_string_equal(buf_text(&b), text);
    }
    buf_close(&b);
}

/* To the last bit, on whichever way they are read. */
static void numbers_are_read_as_by_strtod(void **state)
{
    struct rand r;

    (void)state;
    rand_seed(&r, 1);
    for (int i = 0; i < 200000; i++) {
        const struct json *v;
        char text[64];
        double want;
        int n = snprintf(text, sizeof(text), "%s%" PRIu64 ".%0*" PRIu64,
                         rand_below(&r, 2) ? "-" : "",
                         rand_u64(&r) >> (64 - rand_below(&r, 40) - 1),
                         (int)rand_below(&r, 12),
                         rand_u64(&r) >> (64 - rand_below(&r, 40) - 1));

        if (rand_below(&r, 4) == 0)
            n += snprintf(text + n, sizeof(text) - (size_t)n, "e%d",
                          (int)rand_below(&r, 60) - 30);
        want = strtod(text, NULL);
        assert_int_equal(json_parse(text, (size_t)n, &v, NULL), 0);
        if (memcmp(&v->number, &want, sizeof(want)) != 0 && !v->is_whole)
            fail_msg("%s is read as %.17g", text, v->number);
        json_free(v);
    }
}

static void broken_utf8_is_replaced_when_written(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    json_quote(&b,
               "a\xff"
               "b\xe2\x82",
               5);
    assert_string_equal(buf_text(&b), "\"a\xef\xbf\xbd"
                                      "b\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_int_equal(parse(buf_text(&b), NULL), 0);
    buf_close(&b);
}

/* It is written in words that may overlap: every length, with every place of
 * what needs an escape. */
static void strings_of_every_length_come_back(void **state)
{
    static const char odd[] = {'"', '\\', '\n', 0x1f, 0x7f};
    char text[40];

    (void)state;
    for (size_t len = 0; len < sizeof(text); len++)
        for (size_t at = 0; at <= len; at++) { /* at the end: none is odd */
            const struct json *o;
            struct buf b;

            for (size_t i = 0; i < len; i++)
                text[i] = (char)('a' + (i * 7 + len) % 26);
            text[len] = '\0';
            if (at < len)
                text[at] = odd[(at + len) % sizeof(odd)];
            buf_init(&b, 4096);
            json_open(&b, NULL, '{');
            json_put_str(&b, "x", text);
            json_close(&b, '}');
            assert_int_equal(json_parse(b.data, b.len, &o, NULL), 0);
            assert_string_equal(json_str(o, "x"), text);
            assert_true((strchr(b.data, '\\') != NULL) == (at < len));
            json_free(o);
            buf_close(&b);
        }
}

/* --- as text ------------------------------------------------------------- */

/* Eight bytes are looked at together: each byte in each of their places. */
static void a_byte_means_the_same_wherever_it_stands(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool whole = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';

        for (size_t at = 0; at < 24; at++) {
            const struct json *root = NULL;
            char text[32];

            memset(text, 'x', sizeof(text));
            text[0] = text[25] = '"';
            text[1 + at] = (char)byte;
            /* "xx"xx" and "xx\\xx" are none, nor half a letter */
            assert_int_equal(json_parse(text, 26, &root, NULL) == 0, whole);
            if (whole) {
                assert_int_equal(strlen(root->string), 24);
                assert_memory_equal(root->string, text + 1, 24);
            }
            json_free(root);
        }
    }
}

static void whole_numbers_are_exact_or_refused(void **state)
{
    static const struct {
        const char *text;
        bool whole;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-0.0e5", true, 0},
        {"12", true, 12},
        {"-12.000", true, -12},
        {"1.2e1", true, 12},
        {"1200e-2", true, 12},
        {"1.732e+12", true, 1732000000000},
        {"9007199254740993", true, 9007199254740993},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"1e19", false, 0},
        {"1e400", false, 0},
        {"1.2", false, 0},
        {"12e-1", false, 0},
        {"1732000000000.00000001", false, 0},
        {"9007199254740993.5", false, 0},
        {"null", false, 0},
        {"\"5\"", false, 0},
        {"{}", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *s = rows[i].text;
        int64_t value = -1;
        const struct json *v;
        bool whole;

        assert_int_equal(json_parse(s, strlen(s), &v, NULL), 0);
        whole = json_whole(v, &value);
        json_free(v);

        if (whole != rows[i].whole || (whole && value != rows[i].value))
            fail_msg("%s: %d %lld", s, whole, (long long)value);
    }
}

static void values_keep_the_text_they_were_sent_as(void **state)
{
    const char *text = "{ \"a\\\"b\" : [1, {\"x\":2}] ,\"\\u0078\":  3.10 }";
    const struct json *o, *a, *x;

    (void)state;
    assert_int_equal(json_parse(text, strlen(text), &o, NULL), 0);
    assert_int_equal(json_count(o), 2);
    a = json_first(o);
    assert_string_equal(a->key, "a\"b");
    assert_int_equal(a->len, strlen("[1, {\"x\":2}]"));
    assert_memory_equal(a->text, "[1, {\"x\":2}]", a->len);
    assert_int_equal(json_count(a), 2);
    assert_ptr_equal(json_get(o, "a\"b"), a);
    x = json_get(o, "x");
    assert_ptr_equal(x, a->next);
    assert_null(x->next);
    assert_int_equal(x->len, 4);
    assert_memory_equal(x->text, "3.10", 4);
    assert_memory_equal(x->from, "\"\\u0078\":  3.10", 15);
    assert_null(json_get(o, "y"));
    json_free(o);
}

static void strings_lose_their_escapes(void **state)
{
    static const struct {
        const char *text, *string;
    } rows[] = {
        {"\"\"", ""},
        {"\"a\\/b\\\\\\\"\"", "a/b\\\""},
        {"\"\\b\\f\\n\\r\\t\"", "\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20AC\"", "A\xc3\xa9\xe2\x82\xac"},
        {"\"\\ud83d\\uDE00!\"", "\xf0\x9f\x98\x80!"},
        {"\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct json *v;

        assert_int_equal(
            json_parse(rows[i].text, strlen(rows[i].text), &v, NULL), 0);
        assert_string_equal(json_string(v), rows[i].string);
        json_free(v);
    }
}

static void what_no_64_bits_hold_is_kept_as_text(void **state)
{
    static const char text[] =
        "[1e400, 123456789012345678901234567890, -1e-400]";
    const struct json *list, *v;

    (void)state;
    assert_int_equal(json_parse(text, sizeof(text) - 1, &list, NULL), 0);
    v = json_first(list);
    assert_true(isinf(v->number) && !v->is_whole);
    assert_memory_equal(v->text, "1e400", v->len);
    v = v->next;
    assert_true(v->number > 1.2e29 && v->number < 1.3e29 && !v->is_whole);
    assert_int_equal(v->len, 30);
    assert_false(v->next->is_whole);
    json_free(list);
}

static void a_key_that_stands_twice_is_found(void **state)
{
    static const struct {
        const char *text;
        bool unique;
    } rows[] = {
        {"{}", true},
        {"{\"a\":1,\"b\":2}", true},
        {"{\"a\":{\"b\":1},\"b\":2}", true},
        {"{\"a\":1,\"b\":2,\"a\":1}", false},
        {"{\"a\":1,\"\\u0061\":1}", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        const struct json *o;

        assert_int_equal(
            json_parse(rows[i].text, strlen(rows[i].text), &o, &err), 0);
        assert_int_equal(json_unique(o, &err) == 0, rows[i].unique);
        if (!rows[i].unique)
            assert_string_equal(err.msg, "a: it stands twice");
        json_free(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rfc_8259_allows_is_read),
        cmocka_unit_test(what_is_not_json_is_refused_with_its_byte),
        cmocka_unit_test(nul_bytes_are_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(every_cut_of_a_document_is_refused),
        cmocka_unit_test(fields_are_taken_only_in_their_type),
        cmocka_unit_test(writing_places_its_own_commas),
        cmocka_unit_test(numbers_read_back_the_same),
        cmocka_unit_test(numbers_are_written_as_by_printf),
        cmocka_unit_test(numbers_are_read_as_by_strtod),
        cmocka_unit_test(broken_utf8_is_replaced_when_written),
        cmocka_unit_test(strings_of_every_length_come_back),
        cmocka_unit_test(a_byte_means_the_same_wherever_it_stands),
        cmocka_unit_test(whole_numbers_are_exact_or_refused),
        cmocka_unit_test(values_keep_the_text_they_were_sent_as),
        cmocka_unit_test(strings_lose_their_escapes),
        cmocka_unit_test(what_no_64_bits_hold_is_kept_as_text),
        cmocka_unit_test(a_key_that_stands_twice_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
