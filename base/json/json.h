/*
 * json.h - reading JSON that comes from outside, and writing it quickly.
 *
 * There is one way into JSON text: json_parse(). It is strict (RFC 8259, depth
 * at most JSON_DEPTH_MAX, the whole input is one value) and exact: each value
 * knows its text, so that a payload comes back byte for byte and a number is
 * never rounded unseen. Of keys that stand twice the first counts
 * (json_unique() refuses them). Writing goes straight into a buffer, because
 * printing a tree per answer costs more than the answer. Any thread.
 */
#ifndef PELORUS_BASE_JSON_JSON_H
#define PELORUS_BASE_JSON_JSON_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 32

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

/* A value. `text` and `from` point into the text that was parsed: valid as
 * long as that is; all else is the tree's, and lives until json_free(). */
struct json {
    const struct json *next; /* behind it in the same array or object */
    const char *key;         /* of a member, without escapes; or NULL */
    const char *text;        /* the value as it was sent, without blanks */
    const char *from;        /* of a member: its key as sent; else `text` */
    size_t len;              /* of `text` */
    enum json_type type;
    bool truth;    /* JSON_BOOL */
    bool is_whole; /* JSON_NUMBER: it is exactly `whole` */
    size_t count;  /* how many are in it */
    union {
        const struct json *child; /* JSON_ARRAY, JSON_OBJECT: the first in it */
        char *string;             /* JSON_STRING, without escapes */
        double number;            /* JSON_NUMBER; may be infinite: 1e400 */
    };
    int64_t whole; /* 0 unless is_whole */
};

/* Parse exactly one value of `len` bytes; *out is the caller's (json_free).
 * ERR_INVALID says at which byte and what stands there. Trailing text, NUL
 * bytes and "\u0000" are refused, too. */
int json_parse(const char *text, size_t len, const struct json **out,
               struct err *err) MUST_CHECK;

/* The whole tree, by its root; NULL is fine. */
void json_free(const struct json *root);

/* Of this type; false for NULL, as everything here takes what is missing. */
bool json_is(const struct json *v, enum json_type type);
/* The member of an object, borrowed; NULL: there is none, or no object.
 * json_given(): nor if it is null. */
const struct json *json_get(const struct json *object, const char *key);
const struct json *json_given(const struct json *object, const char *key);
/* The string, borrowed; NULL: it is none. */
const char *json_string(const struct json *v);
/* It is the word true. */
bool json_true(const struct json *v);
/* The number is exactly this whole one: "12", "12.0" and "1.2e1", but not
 * "1.2" or "9007199254740993.5". False: another value, or not in 64 bits. */
bool json_whole(const struct json *v, int64_t *out);

/* Over what is in an array or object; nothing, if it is neither. */
#define json_each(item, list)                                                  \
    for ((item) = json_first(list); (item) != NULL; (item) = (item)->next)
const struct json *json_first(const struct json *list);
/* How many are in it; 0, if it is neither. */
size_t json_count(const struct json *list);

/* Fields of an object, borrowed from it. Missing or of another type: NULL /
 * `otherwise`. json_int() takes whole numbers within 2^53 - 1 only (beyond, a
 * client's own JSON may have rounded); json_u64() also takes a decimal string,
 * as we write numbers from 2^53 on. */
const char *json_str(const struct json *object, const char *key);
double json_num(const struct json *object, const char *key, double otherwise);
int64_t json_int(const struct json *object, const char *key, int64_t otherwise);
uint64_t json_u64(const struct json *object, const char *key,
                  uint64_t otherwise);
bool json_bool(const struct json *object, const char *key, bool otherwise);

/* ERR_INVALID: a key stands twice in this object, and which. */
int json_unique(const struct json *object, struct err *err) MUST_CHECK;

/*
 * Writing: a stateless set of helpers. Commas are placed by looking at the
 * last byte written, so that fields can be added without counting:
 *     json_open(b, '{'); json_put_str(b, "id", id); json_close(b, '}');
 * A NULL key writes a bare array element. NaN and infinite numbers are null.
 */
void json_open(struct buf *b, const char *key, char bracket);
void json_close(struct buf *b, char bracket);
void json_put_str(struct buf *b, const char *key, const char *value);
void json_put_int(struct buf *b, const char *key, int64_t value);
/* From 2^53 on, where a JavaScript number is no longer exact: as a string. */
void json_put_u64(struct buf *b, const char *key, uint64_t value);
void json_put_num(struct buf *b, const char *key, double value);
void json_put_bool(struct buf *b, const char *key, bool value);
void json_put_null(struct buf *b, const char *key);
/* `text` is JSON already and trusted to be. */
void json_put_raw(struct buf *b, const char *key, const char *text);

/* A string with its quotes, escaped; invalid UTF-8 becomes U+FFFD. */
void json_quote(struct buf *b, const char *s, size_t len);

/* For writers of whole answers: `len` bytes copied to where they fit, and the
 * place behind them; NULL: there is one among them that a string shows
 * otherwise, and nothing of use is written. */
char *json_plain(char *to, const char *s, size_t len);

/* The length of the well-formed UTF-8 character at s, 0 if it is broken. */
size_t json_utf8(const char *s, size_t len);

#endif
