/*
 * fuzz_etcd_base64.c - what was encoded is decoded again; what is decoded is
 * encoded to the same text, or was refused.
 */
#include "base/mem.h"
#include "base/pack/base64.h"
#include "registry/etcd/wire.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf text;
    char *copy = mem_alloc(size + 1);
    size_t len = size;

    buf_init(&text, size * 2 + 8);
    base64_write(&text, data, size);
    len = text.len;
    if (size > 0) {
        assert(etcd_base64_decode(text.data, &len));
        assert(len == size && memcmp(text.data, data, size) == 0);
    }
    memcpy(copy, data, size);
    copy[size] = '\0';
    len = size;
    if (etcd_base64_decode(copy, &len)) {
        buf_reset(&text);
        base64_write(&text, copy, len);
        assert(text.len == size);
        assert(size == 0 || memcmp(text.data, data, size) == 0);
    }
    buf_close(&text);
    mem_free(copy);
    return 0;
}
