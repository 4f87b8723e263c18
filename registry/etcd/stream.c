/*
 * stream.c - pieces in, messages out.
 *
 * A piece may hold a part of a message or many. What was handed out is dropped
 * at the next feed, so that a burst is moved once and not once a message.
 */
#include "registry/etcd/wire.h"

#include <string.h>

void etcd_stream_init(struct etcd_stream *s, size_t max)
{
    buf_init(&s->buf, max);
    s->taken = s->scanned = 0;
}

void etcd_stream_close(struct etcd_stream *s)
{
    buf_close(&s->buf);
    s->taken = s->scanned = 0;
}

static void drop_taken(struct etcd_stream *s)
{
    size_t left = s->buf.len - s->taken;

    assert(s->taken <= s->scanned);
    assert(s->scanned <= s->buf.len);
    if (s->taken == 0)
        return;
    memmove(s->buf.data, s->buf.data + s->taken, left);
    s->buf.len = left;
    s->buf.data[left] = '\0';
    s->scanned -= s->taken;
    s->taken = 0;
}

bool etcd_stream_feed(struct etcd_stream *s, const char *data, size_t len)
{
    drop_taken(s);
    buf_add(&s->buf, data, len);
    return !s->buf.overflow;
}

#define BLANKS " \t\r" /* the buffer ends with a NUL */

bool etcd_stream_next(struct etcd_stream *s, bool ended, const char **text,
                      size_t *len)
{
    assert(s->taken <= s->scanned && s->scanned <= s->buf.len);
    while (s->scanned < s->buf.len) {
        const char *from = s->buf.data + s->taken;
        const char *end =
            memchr(s->buf.data + s->scanned, '\n', s->buf.len - s->scanned);

        if (end == NULL) {
            s->scanned = s->buf.len;
            break;
        }
        *text = from;
        *len = (size_t)(end - from);
        s->taken = s->scanned = (size_t)(end + 1 - s->buf.data);
        if (strspn(*text, BLANKS) < *len)
            return true;
    }
    if (!ended || s->taken == s->buf.len)
        return false;
    *text = s->buf.data + s->taken;
    *len = s->buf.len - s->taken;
    s->taken = s->buf.len;
    return strspn(*text, BLANKS) < *len;
}
