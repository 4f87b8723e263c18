/*
 * fuzz_etcd_reply.c - any bytes as an answer of the gateway: read in every way
 * that the backend reads answers.
 */
#include "base/mem.h"
#include "registry/etcd/wire.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void read_kvs(const struct json *kvs)
{
    struct registry_entry entry;
    struct etcd_key past;
    struct etcd_kv kv;

    for (const struct json *i = json_first(kvs); i != NULL; i = i->next) {
        if (!etcd_kv_read(i, &kv))
            continue;
        assert(kv.key_len > 0 && kv.key[kv.key_len] == '\0');
        assert(kv.value[kv.value_len] == '\0');
        etcd_key_past(&past, kv.key, kv.key_len);
        assert(past.len > 0 && past.len < sizeof(past.s));
        if (etcd_entry(&kv, "dolphinscheduler", &entry))
            assert(registry_check_key(entry.key, NULL) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    char why[ETCD_WHY_MAX];
    const struct json *root = NULL;

    (void)etcd_refusal(size > 0 ? 400 + data[0] % 105 : 503, text, size, why);
    assert(memchr(why, '\0', sizeof(why)) != NULL);
    if (json_parse(text, size, &root, NULL) != 0)
        return 0;
    (void)etcd_header_read(root);
    for (size_t i = 0; i < 3; i++)
        read_kvs(etcd_txn_kvs(root, i));
    read_kvs(etcd_kvs(root));
    json_free(root);
    return 0;
}
