/*
 * wire.c - writing: keys, base64 and the bodies of requests.
 *
 * Bodies go straight into a buffer. A body that does not fit overflows it and
 * is never sent; txns are bounded by registry.c before they come here.
 */
#include "registry/etcd/wire.h"

#include <inttypes.h>
#include <string.h>

/* --- keys ---------------------------------------------------------------- */

static void append(struct etcd_key *k, const char *s, size_t len)
{
    assert(len < sizeof(k->s) - k->len);
    memcpy(k->s + k->len, s, len);
    k->len += len;
    k->s[k->len] = '\0';
}

void etcd_key_add(struct etcd_key *k, const char *text)
{
    append(k, text, strlen(text));
}

void etcd_key_set(struct etcd_key *k, const char *ns, const char *key)
{
    assert(key[0] == '/');
    k->len = 0;
    etcd_key_add(k, ns);
    etcd_key_add(k, key);
}

void etcd_key_below(struct etcd_key *k, const char *ns, const char *key)
{
    etcd_key_set(k, ns, key);
    if (key[1] != '\0') /* not the root, which ends with one */
        append(k, "/", 1);
}

void etcd_key_end(struct etcd_key *end, const struct etcd_key *below)
{
    assert(below->len > 0 && below->s[below->len - 1] == '/');
    *end = *below;
    end->s[end->len - 1] = '/' + 1;
}

void etcd_key_past(struct etcd_key *k, const char *s, size_t len)
{
    bool fits = len < sizeof(k->s) - 1;

    k->len = 0;
    append(k, s, fits ? len : sizeof(k->s) - 2);
    append(k, fits ? "" : "\xff", 1);
}

/* --- base64 -------------------------------------------------------------- */

void etcd_put_base64(struct buf *b, const void *data, size_t len)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = data;
    char out[1024];
    size_t n = 0;

    while (len >= 3) {
        out[n++] = digits[in[0] >> 2];
        out[n++] = digits[(in[0] & 3) << 4 | in[1] >> 4];
        out[n++] = digits[(in[1] & 15) << 2 | in[2] >> 6];
        out[n++] = digits[in[2] & 63];
        in += 3;
        len -= 3;
        if (n == sizeof(out)) {
            buf_add(b, out, n);
            n = 0;
        }
    }
    if (len > 0) {
        unsigned second = len == 2 ? in[1] : 0;

        out[n++] = digits[in[0] >> 2];
        out[n++] = digits[(in[0] & 3u) << 4 | second >> 4];
        out[n++] = len == 2 ? digits[(second & 15u) << 2] : '=';
        out[n++] = '=';
    }
    buf_add(b, out, n);
}

/* --- parts of a request -------------------------------------------------- */

static void comma(struct buf *b)
{
    if (b->len > 0 && strchr("[{", b->data[b->len - 1]) == NULL)
        buf_char(b, ',');
}

static void put_key(struct buf *b, const char *name, const struct etcd_key *key)
{
    comma(b);
    buf_char(b, '"');
    buf_str(b, name);
    buf_str(b, "\":\"");
    etcd_put_base64(b, key->s, key->len);
    buf_char(b, '"');
}

static void put_number(struct buf *b, const char *name, uint64_t value)
{
    comma(b);
    buf_printf(b, "\"%s\":\"%" PRIu64 "\"", name, value);
}

void etcd_put_compare(struct buf *b, enum etcd_target target,
                      const struct etcd_key *key, const struct etcd_key *end,
                      uint64_t value)
{
    static const char *const names[] = {
        [ETCD_CREATE] = "CREATE", [ETCD_MOD] = "MOD", [ETCD_LEASE] = "LEASE"};
    static const char *const fields[] = {[ETCD_CREATE] = "create_revision",
                                         [ETCD_MOD] = "mod_revision",
                                         [ETCD_LEASE] = "lease"};

    comma(b);
    buf_str(b, "{\"target\":\"");
    buf_str(b, names[target]);
    buf_str(b, "\",\"result\":\"EQUAL\"");
    put_key(b, "key", key);
    if (end != NULL)
        put_key(b, "range_end", end);
    put_number(b, fields[target], value);
    buf_char(b, '}');
}

void etcd_put_compare_since(struct buf *b, const struct etcd_key *key,
                            uint64_t revision)
{
    assert(revision > 0);
    comma(b);
    buf_str(b, "{\"target\":\"MOD\",\"result\":\"GREATER\"");
    put_key(b, "key", key);
    put_number(b, "mod_revision", revision - 1);
    buf_char(b, '}');
}

void etcd_put_range(struct buf *b, const struct etcd_range *range)
{
    buf_char(b, '{');
    put_key(b, "key", range->key);
    if (range->end != NULL)
        put_key(b, "range_end", range->end);
    if (range->limit > 0)
        put_number(b, "limit", range->limit);
    if (range->revision > 0)
        put_number(b, "revision", range->revision);
    if (range->created_before > 0)
        put_number(b, "max_create_revision", range->created_before);
    if (range->keys_only)
        buf_str(b, ",\"keys_only\":true");
    if (range->newest_first)
        buf_str(b, ",\"sort_target\":\"CREATE\",\"sort_order\":\"DESCEND\"");
    buf_char(b, '}');
}

void etcd_put_op_range(struct buf *b, const struct etcd_range *range)
{
    comma(b);
    buf_str(b, "{\"request_range\":");
    etcd_put_range(b, range);
    buf_char(b, '}');
}

void etcd_put_op_put(struct buf *b, const struct etcd_key *key,
                     const char *value, size_t value_len, uint64_t lease)
{
    comma(b);
    buf_str(b, "{\"request_put\":{");
    put_key(b, "key", key);
    buf_str(b, ",\"value\":\"");
    etcd_put_base64(b, value, value_len);
    buf_char(b, '"');
    if (lease != 0)
        put_number(b, "lease", lease);
    buf_str(b, "}}");
}

void etcd_put_op_delete(struct buf *b, const struct etcd_key *key)
{
    comma(b);
    buf_str(b, "{\"request_delete_range\":{");
    put_key(b, "key", key);
    buf_str(b, "}}");
}

void etcd_put_op_leased(struct buf *b, const struct etcd_key *key,
                        uint64_t lease)
{
    comma(b);
    buf_str(b, "{\"request_txn\":");
    etcd_txn_begin(b);
    etcd_put_compare(b, ETCD_LEASE, key, NULL, lease);
    buf_str(b, "]}}");
}

void etcd_txn_begin(struct buf *b)
{
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

void etcd_put_watch(struct buf *b, unsigned id, const struct etcd_key *key,
                    const struct etcd_key *end, uint64_t from)
{
    buf_str(b, "{\"create_request\":{");
    put_key(b, "key", key);
    if (end != NULL)
        put_key(b, "range_end", end);
    if (from > 0)
        put_number(b, "start_revision", from);
    put_number(b, "watch_id", id);
    buf_str(b, ",\"progress_notify\":true,\"fragment\":true}}");
}
