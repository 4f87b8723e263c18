/*
 * fuzz_etcd_stream.c - a watch's stream in pieces of every size: the messages
 * are the same as from one piece, and each is read.
 */
#include "base/mem.h"
#include "registry/etcd/wire.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void read_message(const char *text, size_t len)
{
    struct etcd_message m;
    const struct json *root = NULL;
    struct etcd_kv kv;
    bool gone;

    if (json_parse(text, len, &root, NULL) == 0 &&
        etcd_message_read(root, &m) && m.events != NULL) {
        for (const struct json *i = json_first(m.events); i != NULL;
             i = i->next) {
            if (etcd_event_read(i, &gone, &kv)) {
                assert(kv.key_len > 0 && kv.modified != 0);
                assert(gone || kv.created != 0);
            }
        }
    }
    json_free(root);
}

/* All messages, each with a line end behind it. */
static void split(const char *data, size_t size, size_t piece, struct buf *out)
{
    struct etcd_stream s;
    const char *text;
    size_t len;

    etcd_stream_init(&s, size + 1);
    for (size_t at = 0; at < size; at += piece) {
        size_t n = size - at < piece ? size - at : piece;

        assert(etcd_stream_feed(&s, data + at, n));
        while (etcd_stream_next(&s, false, &text, &len)) {
            buf_add(out, text, len);
            buf_char(out, '\n');
        }
    }
    while (etcd_stream_next(&s, true, &text, &len)) {
        buf_add(out, text, len);
        buf_char(out, '\n');
    }
    etcd_stream_close(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, pieces;
    size_t piece = size > 0 ? 1 + data[0] % 97 : 1;
    const char *end;

    buf_init(&whole, 2 * size + 2);
    buf_init(&pieces, 2 * size + 2);
    split((const char *)data, size, size + 1, &whole);
    split((const char *)data, size, piece, &pieces);
    assert(whole.len == pieces.len);
    assert(whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0);
    for (const char *at = buf_text(&whole); *at != '\0'; at = end + 1) {
        end = strchrnul(at, '\n');
        read_message(at, (size_t)(end - at));
        if (*end == '\0') /* a message that holds a NUL */
            break;
    }
    buf_close(&whole);
    buf_close(&pieces);
    return 0;
}
