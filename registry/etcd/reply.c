/*
 * reply.c - reading: base64, keys with their values, refusals, and the
 * messages of a watch.
 *
 * No number is ever taken from a double: json_u64()
 * reads the decimal strings that etcd writes. Keys and values are decoded in
 * place, inside the tree's own strings, which are longer than what they hold.
 */
#include "registry/etcd/http.h"
#include "registry/etcd/wire.h"

#include <stdio.h>
#include <string.h>

/* --- base64 -------------------------------------------------------------- */

/* 0..63; of what is no digit 0xff. */
static const uint8_t digits[256] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3e, 0xff, 0xff, 0xff, 0x3f,
    0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06,
    0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12,
    0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24,
    0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x30,
    0x31, 0x32, 0x33, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff,
};

/* Every four digits are three bytes, which never stand behind the digits that
 * they come from. */
bool etcd_base64_decode(char *text, size_t *len)
{
    const unsigned char *in = (const unsigned char *)text;
    size_t n = *len, padding = 0, out = 0, i = 0;
    unsigned bits = 0, wrong = 0;

    if (n % 4 != 0)
        return false;
    for (; padding < 2 && n > 0 && text[n - 1] == '='; n--)
        padding++;
    for (; i + 4 <= n; i += 4) {
        unsigned a = digits[in[i]], b = digits[in[i + 1]];
        unsigned c = digits[in[i + 2]], d = digits[in[i + 3]];

        wrong |= a | b | c | d;
        text[out++] = (char)(a << 2 | b >> 4);
        text[out++] = (char)(b << 4 | c >> 2);
        text[out++] = (char)(c << 6 | d);
    }
    for (size_t begun = i; i < n; i++) { /* two or three, before the padding */
        unsigned value = digits[in[i]];

        wrong |= value;
        bits = bits << 6 | (value & 63);
        if (i > begun)
            text[out++] = (char)(bits >> (6 - 2 * (i - begun)) & 0xff);
    }
    if (wrong > 63)
        return false;
    assert(out == *len / 4 * 3 - padding);
    text[out] = '\0';
    *len = out;
    return (bits & ((1u << 2 * padding) - 1)) == 0; /* what is padded is 0 */
}

/* --- keys with values ---------------------------------------------------- */

/* The field `name`, decoded; a missing one is empty. */
static bool read_bytes(const struct json *object, const char *name,
                       const char **out, size_t *len)
{
    const struct json *item = json_get(object, name);

    *out = "";
    *len = 0;
    if (item == NULL)
        return true;
    if (!json_is(item, JSON_STRING))
        return false;
    *len = strlen(item->string);
    *out = item->string;
    return etcd_base64_decode(item->string, len);
}

bool etcd_kv_read(const struct json *item, struct etcd_kv *out)
{
    memset(out, 0, sizeof(*out));
    if (!json_is(item, JSON_OBJECT) ||
        !read_bytes(item, "key", &out->key, &out->key_len) ||
        !read_bytes(item, "value", &out->value, &out->value_len))
        return false;
    out->created = json_u64(item, "create_revision", 0);
    out->modified = json_u64(item, "mod_revision", 0);
    out->lease = json_u64(item, "lease", 0);
    assert(out->key != NULL && out->value != NULL);
    return out->key_len > 0 && out->modified != 0;
}

/* Of what is not below `ns`: the whole key. */
const char *etcd_unfit(const struct etcd_kv *kv, const char *ns, size_t *n,
                       struct err *why)
{
    size_t len = strlen(ns);

    if (kv->key_len <= len || memcmp(kv->key, ns, len) != 0) {
        *n = kv->key_len;
        err_set(why, ERR_INVALID, "it is not below %s", ns);
        return kv->key;
    }
    *n = kv->key_len - len;
    if (memchr(kv->key, '\0', kv->key_len) != NULL) {
        err_set(why, ERR_INVALID, "key: a zero byte");
        return kv->key + len;
    }
    return registry_check_key(kv->key + len, why) != 0 ? kv->key + len : NULL;
}

bool etcd_entry(const struct etcd_kv *kv, const char *ns,
                struct registry_entry *out)
{
    size_t len = strlen(ns), n;

    if (etcd_unfit(kv, ns, &n, NULL) != NULL)
        return false;
    *out = (struct registry_entry){.key = kv->key + len,
                                   .value = kv->value,
                                   .value_len = kv->value_len,
                                   .created = kv->created,
                                   .version = kv->modified,
                                   .owner = kv->lease};
    return true;
}

struct etcd_header etcd_header_read(const struct json *reply)
{
    const struct json *header = json_get(reply, "header");

    return (struct etcd_header){.cluster = json_u64(header, "cluster_id", 0),
                                .revision = json_u64(header, "revision", 0),
                                .term = json_u64(header, "raft_term", 0)};
}

static const struct json *array_of(const struct json *object, const char *name)
{
    const struct json *array = json_get(object, name);

    return json_is(array, JSON_ARRAY) ? array : NULL;
}

const struct json *etcd_kvs(const struct json *range)
{
    return array_of(range, "kvs");
}

static const struct json *response(const struct json *txn, size_t n,
                                   const char *type)
{
    const struct json *item = json_first(array_of(txn, "responses"));

    for (; n > 0 && item != NULL; n--)
        item = item->next;
    return json_get(item, type);
}

const struct json *etcd_txn_kvs(const struct json *txn, size_t n)
{
    return etcd_kvs(response(txn, n, "response_range"));
}

bool etcd_txn_kv(const struct json *txn, size_t n, struct etcd_kv *out)
{
    return etcd_kv_read(json_first(etcd_txn_kvs(txn, n)), out);
}

bool etcd_succeeded(const struct json *txn)
{
    return json_bool(txn, "succeeded", false);
}

size_t etcd_txn_answers(const struct json *txn)
{
    return json_count(array_of(txn, "responses"));
}

bool etcd_txn_more(const struct json *txn, size_t n)
{
    return json_bool(response(txn, n, "response_range"), "more", false);
}

bool etcd_txn_put(const struct json *txn, size_t n)
{
    return response(txn, n, "response_put") != NULL;
}

bool etcd_txn_leased(const struct json *txn, size_t n)
{
    return etcd_succeeded(response(txn, n, "response_txn"));
}

/* --- refusals ------------------------------------------------------------ */

/* The texts that say more than their code (a verdict), or more than their
 * verdict (a trouble). In order: the first that is found and has what is asked
 * for counts; ETCD_OK, NONE: it has none. */
static const struct {
    const char *text;
    enum etcd_verdict verdict;
    enum trouble trouble;
} texts[] = {
    {"lease not found", ETCD_NO_LEASE, TROUBLE_NONE},
    {"user name is empty", ETCD_TOKEN, TROUBLE_NONE},
    {"invalid auth token", ETCD_TOKEN, TROUBLE_NONE},
    {"revision in header is old", ETCD_TOKEN, TROUBLE_NONE},
    {"revision of auth store is old", ETCD_TOKEN, TROUBLE_NONE},
    {"permission denied", ETCD_DENIED, TROUBLE_NONE},
    {"authentication failed", ETCD_DENIED, TROUBLE_AUTH_REFUSED},
    {"authentication is not enabled", ETCD_DENIED, TROUBLE_AUTH_REFUSED},
    {"CommonName of client", ETCD_DENIED, TROUBLE_AUTH_REFUSED},
    {"has been compacted", ETCD_COMPACTED, TROUBLE_NONE},
    {"too large", ETCD_TOO_LARGE, TROUBLE_NONE},
    {"larger than max", ETCD_TOO_LARGE, TROUBLE_NONE},
    {"too many operations", ETCD_TOO_LARGE, TROUBLE_NONE},
    {"space exceeded", ETCD_NO_SPACE, TROUBLE_FULL},
    {"too many requests", ETCD_NO_SPACE, TROUBLE_NONE},
    {"HTTP request to an HTTPS server", ETCD_OK, TROUBLE_TLS_REQUIRED},
    {ETCD_TLS, ETCD_OK, TROUBLE_TLS_FAILED},
    {"HTTP 404", ETCD_OK, TROUBLE_GATEWAY_OFF}, /* else it answers in JSON */
    {"HTTP 421", ETCD_OK, TROUBLE_FORBIDDEN}, /* our Host is not on its list */
    /* Said before a request is looked at: by a member without its leader (we
     * ask every one to say so), by one that may not vote, by one that has not
     * joined yet. */
    {"etcdserver: no leader", ETCD_NOT_HERE, TROUBLE_NO_QUORUM},
    {"no leader", ETCD_OK, TROUBLE_NO_QUORUM},
    {"etcdserver: request timed out", ETCD_OK, TROUBLE_NO_QUORUM},
    {"not supported for learner", ETCD_NOT_HERE, TROUBLE_NONE},
    {"etcdserver: not capable", ETCD_NOT_HERE, TROUBLE_NONE},
};

enum etcd_verdict etcd_verdict_of(int64_t code, const char *text)
{
    static const struct {
        int64_t code;
        enum etcd_verdict verdict;
    } codes[] = {
        {3, ETCD_MALFORMED},  /* InvalidArgument */
        {9, ETCD_MALFORMED},  /* FailedPrecondition */
        {11, ETCD_MALFORMED}, /* OutOfRange: a future revision */
        /* NotFound: no such path, for no member or lease is asked for */
        {5, ETCD_NOT_HERE},
        {12, ETCD_NOT_HERE}, /* Unimplemented: no etcd, or an older one */
        {7, ETCD_DENIED},
        {8, ETCD_NO_SPACE},
        {16, ETCD_TOKEN},
    };

    assert(text != NULL);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].verdict != ETCD_OK && strstr(text, texts[i].text) != NULL)
            return texts[i].verdict;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (codes[i].code == code)
            return codes[i].verdict;
    return ETCD_BROKEN; /* 14 unavailable, 4 deadline, 1, 2, 13, 15: who knows
                         */
}

static int64_t code_of_status(long status)
{
    static const struct {
        long status;
        int64_t code;
    } codes[] = {
        {400, 3},  {401, 16}, {403, 7},
        {429, 8},  {404, 12}, /* no such path:
                                 this is no etcd */
        {421, 12},            /* the host is not on its list */
    };

    assert(status != 0);
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (codes[i].status == status)
            return codes[i].code;
    return 14;
}

/* {"error":"text","code":N}, in a stream {"error":{"grpc_code":N,"message":
 * "text"}}; from 3.6 on {"message":"text","code":N} and {"error":{"code":N,
 * "message":"text"}}. */
static int64_t read_error(const struct json *root, int64_t otherwise,
                          char why[ETCD_WHY_MAX])
{
    const struct json *error = json_get(root, "error");
    bool nested = json_is(error, JSON_OBJECT);
    const char *text =
        nested ? json_str(error, "message") : json_str(root, "error");
    int64_t code = json_int(nested ? error : root, "code", otherwise);

    code = nested ? json_int(error, "grpc_code", code) : code;
    if (text == NULL)
        text = json_str(root, "message");
    (void)snprintf(why, ETCD_WHY_MAX, "%s", text == NULL ? "no reason" : text);
    return code;
}

enum etcd_verdict etcd_refusal(long status, const char *body, size_t len,
                               char why[ETCD_WHY_MAX])
{
    int64_t code = code_of_status(status);
    const struct json *root = NULL;

    assert(body != NULL);
    if (json_parse(body, len, &root, NULL) == 0 && json_is(root, JSON_OBJECT)) {
        code = read_error(root, code, why);
    } else {
        (void)snprintf(why, ETCD_WHY_MAX, "HTTP %ld: %.*s", status,
                       (int)(len < 100 ? len : 100), body);
    }
    json_free(root);
    return etcd_verdict_of(code, why);
}

enum trouble etcd_trouble(enum etcd_verdict verdict, const char *why,
                          bool authenticates)
{
    static const enum trouble by_verdict[] = {
        /* of the others NONE */
        [ETCD_UNREACHED] = TROUBLE_UNREACHABLE,
        [ETCD_BROKEN] = TROUBLE_UNREACHABLE,
        [ETCD_NOT_HERE] = TROUBLE_NO_QUORUM,
        [ETCD_TOKEN] = TROUBLE_AUTH_DEMANDED,
        [ETCD_DENIED] = TROUBLE_FORBIDDEN,
        [ETCD_NO_SPACE] = TROUBLE_THROTTLED,
        [ETCD_MALFORMED] = TROUBLE_REFUSED,
    };
    enum trouble otherwise = by_verdict[verdict];

    assert(verdict > ETCD_OK && verdict <= ETCD_MALFORMED);
    assert(why != NULL);
    if (verdict == ETCD_TOKEN && authenticates)
        return TROUBLE_NONE; /* ours may be too old, which is nothing */
    for (size_t i = 0; otherwise != TROUBLE_NONE && i < ARRAY_LEN(texts); i++)
        if (texts[i].trouble != TROUBLE_NONE &&
            strstr(why, texts[i].text) != NULL)
            return texts[i].trouble;
    return otherwise;
}

/* --- messages of a watch ------------------------------------------------- */

bool etcd_message_read(const struct json *root, struct etcd_message *out)
{
    const struct json *result = json_get(root, "result");
    const char *reason;

    memset(out, 0, sizeof(*out));
    if (json_get(root, "error") != NULL) {
        out->type = ETCD_MESSAGE_ERROR;
        out->verdict =
            etcd_verdict_of(read_error(root, 14, out->why), out->why);
        return true;
    }
    if (!json_is(result, JSON_OBJECT))
        return false;
    out->cluster = etcd_header_read(result).cluster;
    out->revision = etcd_header_read(result).revision;
    out->watch_id = json_u64(result, "watch_id", 0); /* "-1": 0, too */
    out->fragment = json_bool(result, "fragment", false);
    out->events = array_of(result, "events");
    if (json_bool(result, "canceled", false)) {
        out->type = ETCD_MESSAGE_CANCELED;
        out->compacted = json_u64(result, "compact_revision", 0);
        reason = json_str(result, "cancel_reason");
        (void)snprintf(out->why, sizeof(out->why), "%s",
                       reason != NULL        ? reason
                       : out->compacted != 0 ? "compacted"
                                             : "cancelled by the server");
        out->verdict = out->compacted != 0 ? ETCD_COMPACTED
                                           : etcd_verdict_of(14, out->why);
    } else if (json_bool(result, "created", false)) {
        out->type = ETCD_MESSAGE_CREATED;
    } else {
        out->type =
            out->events == NULL ? ETCD_MESSAGE_PROGRESS : ETCD_MESSAGE_EVENTS;
    }
    return true;
}

bool etcd_event_read(const struct json *item, bool *gone, struct etcd_kv *out)
{
    const char *type = json_str(item, "type");

    *gone = type != NULL && strcmp(type, "DELETE") == 0;
    if (type != NULL && !*gone && strcmp(type, "PUT") != 0)
        return false;
    return etcd_kv_read(json_get(item, "kv"), out) &&
           (*gone || out->created != 0);
}
