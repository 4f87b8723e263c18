/*
 * json.h - reading JSON that comes from outside, and writing it quickly.
 *
 * Reading is cJSON behind limits: depth at most JSON_DEPTH_MAX, the whole
 * input must be one value, duplicate keys: the first counts. Writing goes
 * straight into a buffer, because printing a tree per answer costs more than
 * the answer. Any thread.
 */
#ifndef PELORUS_BASE_JSON_H
#define PELORUS_BASE_JSON_H

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
 * `otherwise`. json_int() takes whole numbers within +-2^53 only; json_u64()
 * also takes a decimal string, as we write numbers beyond 2^53. */
const char *json_str(const cJSON *object, const char *key);
double json_num(const cJSON *object, const char *key, double otherwise);
int64_t json_int(const cJSON *object, const char *key, int64_t otherwise);
uint64_t json_u64(const cJSON *object, const char *key, uint64_t otherwise);
bool json_bool(const cJSON *object, const char *key, bool otherwise);

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
/* Beyond 2^53, where a JavaScript number is no longer exact: as a string. */
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
