/*
 * json_write.c - writing JSON straight into a buffer.
 *
 * No state besides the text itself: a comma is due exactly when the last byte
 * ends a value, and only the bytes " } ] digits e (true, false) and l (null)
 * do. So a writer can be handed from function to function.
 */
#include "base/json/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many bytes the well-formed UTF-8 character at s takes; 0: broken
 * (overlong, surrogate, above U+10FFFF, cut). */
size_t json_utf8(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xbf;
    size_t n;

    assert(text != NULL || len == 0);
    if (len == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : low;
    high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : high;
    if (n > len || s[1] < low || s[1] > high)
        return 0;
    assert(n >= 2 && n <= 4);
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

void json_quote(struct buf *b, const char *s, size_t len)
{
    size_t plain = 0, i = 0, n;

    assert(s != NULL || len == 0);
    buf_char(b, '"');
    /* Runs of plain characters go in one piece. */
    while (i < len) {
        unsigned char c = (unsigned char)s[i];

        n = json_utf8(s + i, len - i);
        if (n > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            i += n;
            continue;
        }
        buf_add(b, s + plain, i - plain);
        if (n == 0) {
            buf_add(b, "\xef\xbf\xbd", 3);
        } else if (c == '"' || c == '\\') {
            buf_char(b, '\\');
            buf_char(b, (char)c);
        } else if (c == '\n') {
            buf_add(b, "\\n", 2);
        } else {
            buf_printf(b, "\\u%04x", c);
        }
        i++;
        plain = i;
    }
    assert(i == len);
    assert(plain <= len);
    buf_add(b, s + plain, len - plain);
    buf_char(b, '"');
}

static void start_value(struct buf *b, const char *key)
{
    if (b->len > 0) {
        char last = b->data[b->len - 1];

        if (last == '"' || last == '}' || last == ']' || last == 'e' ||
            last == 'l' || (last >= '0' && last <= '9'))
            buf_char(b, ',');
    }
    if (key != NULL) {
        json_quote(b, key, strlen(key));
        buf_char(b, ':');
    }
}

void json_open(struct buf *b, const char *key, char bracket)
{
    assert(bracket == '{' || bracket == '[');
    start_value(b, key);
    buf_char(b, bracket);
}

void json_close(struct buf *b, char bracket)
{
    assert(bracket == '}' || bracket == ']');
    assert(b->len > 0);
    buf_char(b, bracket);
}

void json_put_str(struct buf *b, const char *key, const char *value)
{
    start_value(b, key);
    if (value == NULL)
        buf_add(b, "null", 4);
    else
        json_quote(b, value, strlen(value));
}

static void put_digits(struct buf *b, uint64_t value, bool negative)
{
    char text[24];
    size_t at = sizeof(text);

    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    assert(at > 0);
    if (negative)
        text[--at] = '-';
    buf_add(b, text + at, sizeof(text) - at);
}

void json_put_int(struct buf *b, const char *key, int64_t value)
{
    start_value(b, key);
    /* Negated as unsigned: INT64_MIN has no positive twin. */
    put_digits(b, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, value < 0);
}

void json_put_u64(struct buf *b, const char *key, uint64_t value)
{
    bool quoted = value >= (UINT64_C(1) << 53);

    start_value(b, key);
    if (quoted)
        buf_char(b, '"');
    put_digits(b, value, false);
    if (quoted)
        buf_char(b, '"');
}

void json_put_num(struct buf *b, const char *key, double value)
{
    char text[40];
    int n;

    if (!isfinite(value)) {
        json_put_null(b, key);
        return;
    }
    if (fabs(value) < 1e15 && trunc(value) == value) {
        json_put_int(b, key, (int64_t)value);
        return;
    }
    /* The short form if it reads back the same, else all digits. */
    n = snprintf(text, sizeof(text), "%.15g", value);
    if (strtod(text, NULL) < value || strtod(text, NULL) > value)
        n = snprintf(text, sizeof(text), "%.17g", value);
    assert(n > 0 && (size_t)n < sizeof(text));
    start_value(b, key);
    buf_str(b, text);
}

void json_put_bool(struct buf *b, const char *key, bool value)
{
    start_value(b, key);
    buf_str(b, value ? "true" : "false");
}

void json_put_null(struct buf *b, const char *key)
{
    start_value(b, key);
    buf_add(b, "null", 4);
}

void json_put_raw(struct buf *b, const char *key, const char *text)
{
    assert(text != NULL);
    start_value(b, key);
    buf_str(b, text);
}
