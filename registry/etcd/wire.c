/*
 * wire.c - writing: keys and the bodies of requests.
 *
 * Bodies go straight into a buffer. A body that does not fit overflows it and
 * is never sent; txns are bounded by registry.c before they come here.
 */
#include "registry/etcd/wire.h"

#include "base/pack/base64.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- keys ---------------------------------------------------------------- */

static void append(struct etcd_key *k, const char *s, size_t len)
{
    assert(k->len < sizeof(k->s));
    assert(len < sizeof(k->s) - k->len);
    memcpy(k->s + k->len, s, len);
    k->len += len;
    k->s[k->len] = '\0';
}

void etcd_key_add_lease(struct etcd_key *k, uint64_t lease)
{
    char text[32];

    assert(lease != 0);
    (void)snprintf(text, sizeof(text), "%" PRIx64, lease);
    append(k, text, strlen(text));
}

bool etcd_key_equal(const struct etcd_key *a, const struct etcd_key *b)
{
    return a->len == b->len && memcmp(a->s, b->s, a->len) == 0;
}

void etcd_key_set(struct etcd_key *k, const char *ns, const char *key)
{
    assert(key[0] == '/');
    k->len = 0;
    append(k, ns, strlen(ns));
    append(k, key, strlen(key));
}

void etcd_key_below(struct etcd_key *k, const char *ns, const char *key)
{
    etcd_key_set(k, ns, key);
    if (key[1] != '\0') /* not the root, which ends with one */
        append(k, "/", 1);
    assert(k->s[k->len - 1] == '/');
}

void etcd_key_range(struct etcd_key *below, struct etcd_key *end,
                    const char *ns, const char *key)
{
    etcd_key_below(below, ns, key);
    *end = *below;
    end->s[end->len - 1] = '/' + 1;
    assert(below->len == end->len);
}

void etcd_key_past(struct etcd_key *k, const char *s, size_t len)
{
    bool fits = len < sizeof(k->s) - 1;

    k->len = 0;
    append(k, s, fits ? len : sizeof(k->s) - 2);
    append(k, fits ? "" : "\xff", 1);
    assert(k->len > 0);
}

/* --- parts of a request -------------------------------------------------- */

static void put_bytes(struct buf *b, const char *name, const char *data,
                      size_t len)
{
    json_put_raw(b, name, "\"");
    base64_write(b, data, len);
    buf_char(b, '"');
}

static void put_key(struct buf *b, const char *name, const struct etcd_key *key)
{
    assert(key->len > 0);
    assert(key->len < sizeof(key->s));
    put_bytes(b, name, key->s, key->len);
}

static void put_number(struct buf *b, const char *name, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    json_put_str(b, name, text);
}

/* `end` NULL: the one key. */
static void put_keys(struct buf *b, const struct etcd_key *key,
                     const struct etcd_key *end)
{
    put_key(b, "key", key);
    if (end != NULL)
        put_key(b, "range_end", end);
}

void etcd_put_compare(struct buf *b, enum etcd_target target,
                      const struct etcd_key *key, const struct etcd_key *end,
                      uint64_t value)
{
    static const struct {
        const char *target, *result, *field;
    } forms[] = {
        [ETCD_CREATE] = {"CREATE", "EQUAL", "create_revision"},
        [ETCD_MOD] = {"MOD", "EQUAL", "mod_revision"},
        [ETCD_LEASE] = {"LEASE", "EQUAL", "lease"},
        [ETCD_SINCE] = {"MOD", "GREATER", "mod_revision"},
    };

    assert(target != ETCD_SINCE || value > 0);
    json_open(b, NULL, '{');
    json_put_str(b, "target", forms[target].target);
    json_put_str(b, "result", forms[target].result);
    put_keys(b, key, end);
    put_number(b, forms[target].field, value - (target == ETCD_SINCE ? 1 : 0));
    json_close(b, '}');
}

/* An operation: its name, and the bracket of what it asks. */
static void open_op(struct buf *b, const char *name)
{
    json_open(b, NULL, '{');
    json_open(b, name, '{');
}

static void close_op(struct buf *b)
{
    json_close(b, '}');
    json_close(b, '}');
}

void etcd_put_op_range(struct buf *b, const struct etcd_range *range)
{
    open_op(b, "request_range");
    put_keys(b, range->key, range->end);
    if (range->limit > 0)
        put_number(b, "limit", range->limit);
    if (range->revision > 0)
        put_number(b, "revision", range->revision);
    if (range->created_before > 0)
        put_number(b, "max_create_revision", range->created_before);
    if (range->keys_only)
        json_put_bool(b, "keys_only", true);
    if (range->newest_first) {
        json_put_str(b, "sort_target", "CREATE");
        json_put_str(b, "sort_order", "DESCEND");
    }
    close_op(b);
}

void etcd_put_op_put(struct buf *b, const struct etcd_key *key,
                     const char *value, size_t value_len, uint64_t lease)
{
    open_op(b, "request_put");
    put_key(b, "key", key);
    put_bytes(b, "value", value, value_len);
    if (lease != 0)
        put_number(b, "lease", lease);
    close_op(b);
}

void etcd_put_op_delete(struct buf *b, const struct etcd_key *key)
{
    open_op(b, "request_delete_range");
    put_key(b, "key", key);
    close_op(b);
}

void etcd_put_op_leased(struct buf *b, const struct etcd_key *key,
                        uint64_t lease)
{
    open_op(b, "request_txn");
    json_open(b, "compare", '[');
    etcd_put_compare(b, ETCD_LEASE, key, NULL, lease);
    json_close(b, ']');
    close_op(b);
}

void etcd_put_watch(struct buf *b, unsigned id, const struct etcd_key *key,
                    const struct etcd_key *end, uint64_t from)
{
    assert(id > 0);
    buf_str(b, "{\"create_request\":{");
    put_keys(b, key, end);
    if (from > 0)
        put_number(b, "start_revision", from);
    put_number(b, "watch_id", id);
    json_put_bool(b, "progress_notify", true);
    json_put_bool(b, "fragment", true);
    close_op(b);
}

void etcd_txn_begin(struct buf *b)
{
    buf_init(b, ETCD_BODY_MAX);
    buf_str(b, "{\"compare\":[");
}

void etcd_txn_then(struct buf *b)
{
    buf_str(b, "],\"success\":[");
}

void etcd_txn_otherwise(struct buf *b)
{
    buf_str(b, "],\"failure\":[");
}

void etcd_txn_close(struct buf *b)
{
    buf_str(b, "]}");
}
