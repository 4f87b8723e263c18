/*
 * wire.h - etcd's v3 JSON gateway as bytes: what is written into a
 * request, what is read from a reply, and how a watch's stream falls into
 * messages. Pure: no I/O, no clock, no state but the caller's. Any thread.
 *
 * Keys and values are base64, 64-bit integers decimal strings, and what is
 * zero is left out (no `kvs`, no `succeeded`; an event without a type is a
 * PUT). Everything that is read here comes from outside and may be anything.
 *
 * Longer than 150 lines: every form on the wire stands here once.
 */
#ifndef PELORUS_REGISTRY_ETCD_WIRE_H
#define PELORUS_REGISTRY_ETCD_WIRE_H

#include "base/buf.h"
#include "base/json/json.h"
#include "registry/registry.h"
#include "registry/trouble.h"

#define ETCD_BODY_MAX (8u << 20) /* of a request */

/* namespace (64), key, "/" and a lease in hex, or one byte behind it */
#define ETCD_KEY_MAX (REGISTRY_KEY_MAX + 96)

/* A key as it stands in etcd. Not NUL-terminated text in general: the key just
 * behind "a" is "a\0". */
struct etcd_key {
    char s[ETCD_KEY_MAX];
    size_t len;
};

/* namespace + key: "dolphinscheduler" + "/nodes/master/h:1". */
void etcd_key_set(struct etcd_key *k, const char *ns, const char *key);
/* The same with "/" behind it: the first that can be below it. */
void etcd_key_below(struct etcd_key *k, const char *ns, const char *key);
/* All that is below `key`: from `below`, "key/", to before `end`, "key0". */
void etcd_key_range(struct etcd_key *below, struct etcd_key *end,
                    const char *ns, const char *key);
/* The lease in hex, as jetcd and etcd's own lock service name keys. */
void etcd_key_add_lease(struct etcd_key *k, uint64_t lease);
bool etcd_key_equal(const struct etcd_key *a, const struct etcd_key *b);
/* The very next key behind one that was read. One that is longer than any of
 * ours takes its neighbours with it. */
void etcd_key_past(struct etcd_key *k, const char *s, size_t len);

/* --- writing ------------------------------------------------------------- */

enum etcd_target {
    ETCD_CREATE, /* created at this revision; 0: there is none */
    ETCD_MOD,    /* written at this revision */
    ETCD_LEASE,
    ETCD_SINCE, /* written at this revision, which is not 0, or later */
};

struct etcd_range {
    const struct etcd_key *key, *end; /* end NULL: this one key */
    size_t limit;                     /* 0: none */
    uint64_t revision;                /* 0: now */
    uint64_t created_before;          /* created at this revision or earlier */
    bool keys_only;
    bool newest_first; /* by creation */
};

/*
 * Elements and objects; commas are placed by looking at the last byte. `end`
 * may be NULL; with it all keys in the range are compared, and an empty range
 * compares as zero.
 */
void etcd_put_compare(struct buf *b, enum etcd_target target,
                      const struct etcd_key *key, const struct etcd_key *end,
                      uint64_t value);
/* Operations of a txn. */
void etcd_put_op_range(struct buf *b, const struct etcd_range *range);
void etcd_put_op_put(struct buf *b, const struct etcd_key *key,
                     const char *value, size_t value_len, uint64_t lease);
void etcd_put_op_delete(struct buf *b, const struct etcd_key *key);
/* Has it this lease, or is it not there and `lease` 0? Asked as a txn within
 * the txn: from 3.7 on a range that gives keys only gives no leases. */
void etcd_put_op_leased(struct buf *b, const struct etcd_key *key,
                        uint64_t lease);
/* Parts of a txn: begin (of an empty body, which it initialises), compares,
 * then, operations, otherwise, operations, close. */
void etcd_txn_begin(struct buf *b);
void etcd_txn_then(struct buf *b);
void etcd_txn_otherwise(struct buf *b);
void etcd_txn_close(struct buf *b);
/* A request to create one watch; a body may hold several. */
void etcd_put_watch(struct buf *b, unsigned id, const struct etcd_key *key,
                    const struct etcd_key *end, uint64_t from);

/* --- reading ------------------------------------------------------------- */

/* Decode in place; false: not base64 with its padding. What was decoded is
 * followed by a NUL. */
bool etcd_base64_decode(char *text, size_t *len);

/* A key and its value, inside the tree it was read from. */
struct etcd_kv {
    const char *key, *value;
    size_t key_len, value_len;
    uint64_t created, modified, lease;
};

/* Once for each item: it is decoded in place. */
bool etcd_kv_read(const struct json *item, struct etcd_kv *out);

/* As ours: false if it stands outside the namespace or is no key of ours (a
 * name between slashes is empty, and so on). */
bool etcd_entry(const struct etcd_kv *kv, const char *ns,
                struct registry_entry *out);
/* Why not: the name as bytes, lent, with `*n` of them; NULL: it is one. */
const char *etcd_unfit(const struct etcd_kv *kv, const char *ns, size_t *n,
                       struct err *why);

struct etcd_header {
    uint64_t cluster, revision; /* 0: not given */
    uint64_t term;              /* of the last change that the member applied */
};
struct etcd_header etcd_header_read(const struct json *reply);

/* `kvs` of a range, or of the n-th operation of a txn, NULL if there are
 * none. */
const struct json *etcd_kvs(const struct json *range);
const struct json *etcd_txn_kvs(const struct json *txn, size_t n);
/* The first of these; false: there is none, and it is all zero. Once for each,
 * as etcd_kv_read(). */
bool etcd_txn_kv(const struct json *txn, size_t n, struct etcd_kv *out);
/* Did all its compares hold? */
bool etcd_succeeded(const struct json *txn);
/* How many operations it answers. */
size_t etcd_txn_answers(const struct json *txn);
/* Had that range more than its limit? */
bool etcd_txn_more(const struct json *txn, size_t n);
/* Did that operation put? */
bool etcd_txn_put(const struct json *txn, size_t n);
/* Of etcd_put_op_leased(). */
bool etcd_txn_leased(const struct json *txn, size_t n);

/* What a refusal means for whoever asked. */
enum etcd_verdict {
    ETCD_OK,
    ETCD_UNREACHED, /* certainly not received or not applied: try elsewhere */
    ETCD_NOT_HERE,  /* received and not applied: this one cannot, another may */
    ETCD_BROKEN,    /* the outcome of a write is unknown */
    ETCD_TOKEN,     /* not applied: authenticate (again) */
    ETCD_DENIED,    /* not applied, and will not be */
    ETCD_NO_LEASE,  /* not applied: the lease is gone */
    ETCD_COMPACTED, /* that revision is history no more */
    ETCD_TOO_LARGE, /* not applied */
    ETCD_NO_SPACE,  /* not applied: the store is full or too busy */
    ETCD_MALFORMED, /* not applied: we asked for nonsense */
};

/* From the HTTP status and the body of an answer that is not 200: the shapes
 * of 3.4 to 3.7, unary and stream. `why` is what the server says. */
#define ETCD_WHY_MAX 256
enum etcd_verdict etcd_refusal(long status, const char *body, size_t len,
                               char why[ETCD_WHY_MAX]);
/* From a gRPC code and the text. */
enum etcd_verdict etcd_verdict_of(int64_t code, const char *text);
/* Of what did not succeed, which trouble it is; `authenticates`: we have a
 * user. TROUBLE_NONE: nothing is wrong with the store. */
enum trouble etcd_trouble(enum etcd_verdict verdict, const char *why,
                          bool authenticates);

/* --- a watch's stream ---------------------------------------------------- */

/* Pieces in, messages out: one a line, and the last may come without its line
 * end. Bounded by `max` bytes. */
struct etcd_stream {
    struct buf buf;
    size_t taken;   /* bytes handed out */
    size_t scanned; /* no line end before this */
};

void etcd_stream_init(struct etcd_stream *s, size_t max);
void etcd_stream_close(struct etcd_stream *s);
/* False: a message of more than `max` bytes. */
bool etcd_stream_feed(struct etcd_stream *s, const char *data,
                      size_t len) MUST_CHECK;
/* The next whole message, borrowed until the next feed; blank lines are
 * skipped. `ended`: what is left counts as whole. */
bool etcd_stream_next(struct etcd_stream *s, bool ended, const char **text,
                      size_t *len);

struct etcd_message {
    enum {
        ETCD_MESSAGE_CREATED,
        ETCD_MESSAGE_EVENTS,
        ETCD_MESSAGE_PROGRESS, /* nothing happened up to `revision` */
        ETCD_MESSAGE_CANCELED,
        ETCD_MESSAGE_ERROR, /* the stream is over */
    } type;
    uint64_t watch_id;
    uint64_t cluster; /* 0: not given */
    uint64_t revision;
    uint64_t compacted;        /* canceled: the first revision that is left */
    bool fragment;             /* the rest of it is in the next message */
    const struct json *events; /* an array */
    enum etcd_verdict verdict;
    char why[ETCD_WHY_MAX];
};

/* False: not a message at all. Reads from `root`, which must stay. */
bool etcd_message_read(const struct json *root, struct etcd_message *out);

/* One element of `events`; once for each, as etcd_kv_read(). */
bool etcd_event_read(const struct json *item, bool *gone, struct etcd_kv *out);

#endif
