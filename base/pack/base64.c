/*
 * base64.c - see base64.h.
 */
#include "base/pack/base64.h"

void base64_write(struct buf *b, const void *data, size_t len)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = data;
    char out[1024];
    size_t n = 0;

    assert(data != NULL || len == 0);
    for (size_t i = 0; i < len; i += 3) {
        unsigned second = i + 1 < len ? in[i + 1] : 0;
        unsigned third = i + 2 < len ? in[i + 2] : 0;

        out[n++] = digits[in[i] >> 2];
        out[n++] = digits[(in[i] & 3u) << 4 | second >> 4];
        out[n++] = i + 1 < len ? digits[(second & 15u) << 2 | third >> 6] : '=';
        out[n++] = i + 2 < len ? digits[third & 63u] : '=';
        if (n == sizeof(out)) {
            buf_add(b, out, n);
            n = 0;
        }
    }
    assert(n < sizeof(out));
    buf_add(b, out, n);
}
