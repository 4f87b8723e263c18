/*
 * json.h - reading JSON that comes from outside, and writing it quickly.
 *
 * Reading is cJSON behind limits: depth at most JSON_DEPTH_MAX, the whole
 * input must be one value, duplicate keys: the first counts (json_unique()
 * refuses them). What must come back as it was sent, or is a number that must
 * not be rounded, is taken as text. Writing goes straight into a buffer,
 * because printing a tree per answer costs more than the answer. Any thread.
 */
#ifndef PELORUS_BASE_JSON_JSON_H
#define PELORUS_BASE_JSON_JSON_H

#include "base/buf.h"
#include "base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 32

/* Parse exactly one value of `len` bytes; *out is the caller's (cJSON_Delete).
 * ERR_INVALID says at which byte. Strictly RFC 8259; trailing text, NUL bytes
 * and "\u0000" are refused too. */
int json_parse(const char *text, size_t len, cJSON **out,
               struct err *err) MUST_CHECK;

/* Fields of an object, borrowed from it. Missing or of another type: NULL /
 * `otherwise`. json_int() takes whole numbers between -2^53 and 2^53 only
 * (those themselves may be others, rounded); json_u64() also takes a decimal
 * string, as we write numbers from 2^53 on. */
const char *json_str(const cJSON *object, const char *key);
double json_num(const cJSON *object, const char *key, double otherwise);
int64_t json_int(const cJSON *object, const char *key, int64_t otherwise);
uint64_t json_u64(const cJSON *object, const char *key, uint64_t otherwise);
bool json_bool(const cJSON *object, const char *key, bool otherwise);

/*
 * Reading as text (json_text.c). A span lies in text that json_parse() has
 * found to be JSON; reading moves `s` on.
 */
struct json_span {
    const char *s, *end;
};
void json_skip_blanks(struct json_span *t);
/* Over this byte, if it comes next behind blanks. */
bool json_take(struct json_span *t, char c);
/* Over one value, or over a string with both its quotes. */
bool json_skip_value(struct json_span *t);
bool json_skip_string(struct json_span *t);

/* One member of an object: its key with quotes and escapes, its value without
 * blanks around it. json_members() over the object's text, then json_member()
 * until it is false. */
struct json_member {
    struct json_span key, value;
};
void json_members(struct json_span *t, const char *object, size_t len);
bool json_member(struct json_span *t, struct json_member *m);
/* Is that its key, however it is escaped? */
bool json_member_is(const struct json_member *m, const char *key);
/* The value of the first member with this key; false: there is none. */
bool json_field(const char *object, size_t len, const char *key,
                struct json_span *value);

/* The number is exactly this whole one: "12", "12.0" and "1.2e1", but not
 * "1.2" or "9007199254740993.5". False: another value, or not in 64 bits. */
bool json_whole(struct json_span number, int64_t *out);

/* ERR_INVALID: a key stands twice in this object, and which. */
int json_unique(const cJSON *object, struct err *err) MUST_CHECK;

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

/* The length of the well-formed UTF-8 character at s, 0 if it is broken. */
size_t json_utf8(const char *s, size_t len);

#endif
