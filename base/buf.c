/*
 * buf.c - the growable buffer.
 *
 * It doubles, up to its maximum. Once something did not fit, all that follows
 * is dropped too: a hole in the middle would look like a whole document.
 */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_CAP 128

void buf_init(struct buf *b, size_t max)
{
    assert(max < SIZE_MAX / 2);
    *b = (struct buf){.max = max};
}

void buf_close(struct buf *b)
{
    assert((b->data == NULL) == (b->cap == 0));
    mem_free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b)
{
    assert(b->len <= b->max);
    b->len = 0;
    b->overflow = false;
    if (b->data != NULL)
        b->data[0] = '\0';
}

/* Make room for `more` bytes and the NUL; false (and overflow) if that would
 * be beyond the maximum. */
static bool reserve(struct buf *b, size_t more)
{
    size_t cap;

    assert(b->len <= b->max);
    if (b->overflow || more > b->max - b->len) {
        b->overflow = true;
        return false;
    }
    if (b->len + more + 1 <= b->cap)
        return true;
    cap = b->cap == 0 ? FIRST_CAP : b->cap;
    while (cap < b->len + more + 1)
        cap *= 2;
    if (cap > b->max + 1)
        cap = b->max + 1;
    b->data = mem_realloc(b->data, cap);
    b->cap = cap;
    assert(b->len + more < b->cap);
    return true;
}

char *buf_grow(struct buf *b, size_t len)
{
    if (b->overflow || len > b->max - b->len || !reserve(b, len))
        return NULL;
    return b->data + b->len;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    char *to;

    if (b->overflow || len == 0)
        return;
    if (len > b->max - b->len) {
        /* As much as fits, so that a cut message still says something. */
        if (b->max > b->len)
            buf_add(b, data, b->max - b->len);
        b->overflow = true;
        return;
    }
    to = buf_room(b, len);
    assert(to != NULL);
    memcpy(to, data, len);
    buf_wrote(b, to + len);
}

void buf_str(struct buf *b, const char *s)
{
    assert(s != NULL);
    buf_add(b, s, strlen(s));
}

void buf_char(struct buf *b, char c)
{
    char *to = buf_room(b, 1);

    if (to == NULL) {
        b->overflow = true;
        return;
    }
    *to = c;
    buf_wrote(b, to + 1);
}

char *buf_digits(char *end, uint64_t value)
{
    assert(end != NULL);
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return end;
}

void buf_u64(struct buf *b, uint64_t value)
{
    char digits[BUF_DIGITS], *end = digits + sizeof(digits);
    const char *begin = buf_digits(end, value);

    assert(begin >= digits);
    buf_add(b, begin, (size_t)(end - begin));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char small[256];
    va_list ap, again;
    char *text;
    int n;

    if (b->overflow)
        return;
    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    assert(n >= 0);
    if ((size_t)n < sizeof(small)) {
        buf_add(b, small, (size_t)n);
    } else if (reserve(b, (size_t)n)) {
        (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    } else {
        /* Too long for what is left: print it aside and add what fits. */
        b->overflow = false;
        text = mem_alloc((size_t)n + 1);
        (void)vsnprintf(text, (size_t)n + 1, fmt, again);
        buf_add(b, text, (size_t)n);
        mem_free(text);
    }
    va_end(again);
}

const char *buf_text(const struct buf *b)
{
    return b->data == NULL ? "" : b->data;
}

char *buf_take(struct buf *b)
{
    char *text = b->data == NULL ? mem_strdup("") : b->data;

    assert(b->data != NULL || b->len == 0);
    *b = (struct buf){.max = b->max};
    return text;
}
