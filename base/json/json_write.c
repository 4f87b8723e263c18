/*
 * json_write.c - writing JSON straight into a buffer.
 *
 * No state besides the text itself: a comma is due exactly when the last byte
 * ends a value, and only the bytes " } ] digits e (true, false) and l (null)
 * do. So a writer can be handed from function to function.
 */
#include "base/json/json.h"

#include "base/json/json_odd.h"

#include <float.h>
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

static uint64_t copy_word(char *to, const char *s)
{
    uint64_t w;

    memcpy(&w, s, sizeof(w));
    memcpy(to, &w, sizeof(w));
    return json_odd_ones(w);
}

char *json_plain(char *to, const char *s, size_t len)
{
    const size_t word = sizeof(uint64_t);
    uint64_t odd = 0;

    if (len >= word) { /* the last one may begin within the one before */
        for (size_t at = 0; at + word < len; at += word)
            odd |= copy_word(to + at, s + at);
        odd |= copy_word(to + len - word, s + len - word);
        return odd == 0 ? to + len : NULL;
    }
    if (len >= word / 2) { /* the two halves likewise */
        uint32_t first, last;

        memcpy(&first, s, sizeof(first));
        memcpy(&last, s + len - sizeof(last), sizeof(last));
        memcpy(to, &first, sizeof(first));
        memcpy(to + len - sizeof(last), &last, sizeof(last));
        odd = json_odd_ones(first | (uint64_t)last << 32);
        return odd == 0 ? to + len : NULL;
    }
    for (; len > 0; len--) {
        unsigned char c = (unsigned char)*s++;

        *to++ = (char)c;
        odd |= c < 0x20 || c == '"' || c == '\\' || c >= 0x7f;
    }
    return odd == 0 ? to : NULL;
}

static void quote_odd(struct buf *b, const char *s, size_t len)
{
    size_t plain = 0, i = 0, n;

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

void json_quote(struct buf *b, const char *s, size_t len)
{
    char *to;

    assert(s != NULL || len == 0);
    to = buf_room(b, len + 2);
    if (to == NULL || json_plain(to + 1, s, len) == NULL) {
        quote_odd(b, s, len);
        return;
    }
    to[0] = to[len + 1] = '"';
    buf_wrote(b, to + len + 2);
}

static bool comma_is_due(const struct buf *b)
{
    char last;

    if (b->len == 0)
        return false;
    last = b->data[b->len - 1];
    return last == '"' || last == '}' || last == ']' || last == 'e' ||
           last == 'l' || (last >= '0' && last <= '9');
}

static void start_value(struct buf *b, const char *key)
{
    if (comma_is_due(b))
        buf_char(b, ',');
    if (key != NULL) {
        json_quote(b, key, strlen(key));
        buf_char(b, ':');
    }
}

/* The value's text with comma and key in one piece; false: it takes the long
 * way. */
static bool put_plain(struct buf *b, const char *key, const char *text,
                      size_t len, bool quoted)
{
    size_t n = key != NULL ? strlen(key) : 0;
    char *to = buf_room(b, n + len + 6);

    if (to == NULL)
        return false;
    if (comma_is_due(b))
        *to++ = ',';
    if (key != NULL) {
        *to++ = '"';
        if ((to = json_plain(to, key, n)) == NULL)
            return false;
        *to++ = '"';
        *to++ = ':';
    }
    if (!quoted) {
        memcpy(to, text, len);
        to += len;
    } else {
        *to++ = '"';
        if ((to = json_plain(to, text, len)) == NULL)
            return false;
        *to++ = '"';
    }
    buf_wrote(b, to);
    return true;
}

/* Of no more than ASCII. */
static void put_raw(struct buf *b, const char *key, const char *text,
                    size_t len)
{
    if (put_plain(b, key, text, len, false))
        return;
    start_value(b, key);
    buf_add(b, text, len);
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
    size_t len;

    if (value == NULL) {
        json_put_null(b, key);
        return;
    }
    len = strlen(value);
    if (put_plain(b, key, value, len, true))
        return;
    start_value(b, key);
    json_quote(b, value, len);
}

void json_put_int(struct buf *b, const char *key, int64_t value)
{
    char text[24], *end = text + sizeof(text);
    /* Negated as unsigned: INT64_MIN has no positive twin. */
    char *p =
        buf_digits(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);

    if (value < 0)
        *--p = '-';
    put_raw(b, key, p, (size_t)(end - p));
}

void json_put_u64(struct buf *b, const char *key, uint64_t value)
{
    bool quoted = value >= (UINT64_C(1) << 53);
    char text[24], *end = text + sizeof(text);
    char *p;

    end[-1] = '"';
    p = buf_digits(end - 1, value);
    *--p = '"';
    put_raw(b, key, quoted ? p : p + 1, (size_t)(end - p) - (quoted ? 0 : 2));
}

/* The text of the few decimals that most numbers have, before `end`; NULL: it
 * is not such a one. As "%.15g" writes it: what has at most 15 digits and reads
 * back the same is the only one of so many that does. Both are exact as
 * doubles, so that the division rounds as reading does. */
static char *few_decimals(char *end, double value)
{
    static const double powers[] = {1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
    double size = fabs(value), whole;
    size_t n = 0;
    char *p, *point;

    if (FLT_EVAL_METHOD != 0 || size < 1e-4 || size >= 1e8)
        return NULL;
    do {
        whole = nearbyint(size * powers[n]);
        if (whole / powers[n] >= size && whole / powers[n] <= size)
            break;
    } while (++n < ARRAY_LEN(powers));
    if (n == ARRAY_LEN(powers))
        return NULL;
    p = buf_digits(end, (uint64_t)whole);
    while (end - p <= (ptrdiff_t)n + 1)
        *--p = '0';
    point = end - (n + 1) - 1;
    memmove(p - 1, p, (size_t)(point + 1 - p));
    *point = '.';
    p--;
    if (value < 0)
        *--p = '-';
    return p;
}

void json_put_num(struct buf *b, const char *key, double value)
{
    char text[40], *p;
    int n;

    if (!isfinite(value)) {
        json_put_null(b, key);
        return;
    }
    if (fabs(value) < 1e15 && trunc(value) == value) {
        json_put_int(b, key, (int64_t)value);
        return;
    }
    p = few_decimals(text + sizeof(text), value);
    if (p != NULL) {
        put_raw(b, key, p, (size_t)(text + sizeof(text) - p));
        return;
    }
    /* The short form if it reads back the same, else all digits. */
    n = snprintf(text, sizeof(text), "%.15g", value);
    if (strtod(text, NULL) < value || strtod(text, NULL) > value)
        n = snprintf(text, sizeof(text), "%.17g", value);
    assert(n > 0 && (size_t)n < sizeof(text));
    put_raw(b, key, text, (size_t)n);
}

void json_put_bool(struct buf *b, const char *key, bool value)
{
    put_raw(b, key, value ? "true" : "false", value ? 4 : 5);
}

void json_put_null(struct buf *b, const char *key)
{
    put_raw(b, key, "null", 4);
}

void json_put_raw(struct buf *b, const char *key, const char *text)
{
    assert(text != NULL);
    put_raw(b, key, text, strlen(text));
}
