/*
 * json.c - reading JSON from outside: our own strict check, then cJSON.
 *
 * cJSON takes more than RFC 8259 allows (01, "\u0000", broken UTF-8, control
 * characters) and some of that changes meaning later, so a pass of our own
 * decides what is JSON and says at which byte it is not. cJSON then only
 * builds the tree. A \u0000 is refused: C strings would silently end there.
 */
#include "base/json/json.h"

#include "base/units.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* 2^53: a double that reads as this may have been 2^53 + 1. */
#define JSON_INT_END INT64_C(9007199254740992)

struct scan {
    const char *s;
    size_t at, len;
    const char *why; /* the first problem, or NULL */
};

static bool bad(struct scan *j, const char *why)
{
    if (j->why == NULL)
        j->why = why;
    return false;
}

static unsigned char peek(const struct scan *j)
{
    return j->at < j->len ? (unsigned char)j->s[j->at] : 0;
}

static void skip_blanks(struct scan *j)
{
    while (j->at < j->len && strchr(" \t\r\n", j->s[j->at]) != NULL &&
           j->s[j->at] != '\0')
        j->at++;
}

/* Four hexadecimal digits; negative: not there. */
static int32_t hex4(struct scan *j)
{
    int32_t value = 0;

    if (j->len - j->at < 4)
        return -1;
    for (size_t end = j->at + 4; j->at < end; j->at++) {
        int c = tolower((unsigned char)j->s[j->at]);

        if (!isxdigit(c))
            return -1;
        value = value * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
}

static bool scan_escape(struct scan *j)
{
    int32_t c;

    j->at++; /* the backslash */
    if (peek(j) != 'u') {
        if (j->at >= j->len || peek(j) == 0 ||
            strchr("\"\\/bfnrt", peek(j)) == NULL)
            return bad(j, "unknown escape in a string");
        j->at++;
        return true;
    }
    j->at++;
    c = hex4(j);
    if (c < 0)
        return bad(j, "\\u needs four hexadecimal digits");
    if (c == 0)
        return bad(j, "\\u0000 is not accepted");
    if (c >= 0xd800 && c <= 0xdfff) {
        bool pair = c <= 0xdbff && j->len - j->at > 2 && j->s[j->at] == '\\' &&
                    j->s[j->at + 1] == 'u';

        if (!pair)
            return bad(j, "half a surrogate pair");
        j->at += 2;
        c = hex4(j);
        if (c < 0xdc00 || c > 0xdfff)
            return bad(j, "half a surrogate pair");
    }
    return true;
}

static bool scan_string(struct scan *j)
{
    j->at++; /* the quote */
    while (j->at < j->len && j->s[j->at] != '"') {
        size_t n;

        if (j->s[j->at] == '\\') {
            if (!scan_escape(j))
                return false;
            continue;
        }
        if ((unsigned char)j->s[j->at] < 0x20)
            return bad(j, "control character in a string");
        n = json_utf8(j->s + j->at, j->len - j->at);
        if (n == 0)
            return bad(j, "invalid UTF-8");
        j->at += n;
    }
    if (j->at >= j->len)
        return bad(j, "a string without its closing quote");
    j->at++;
    return true;
}

static bool scan_digits(struct scan *j)
{
    if (!isdigit(peek(j)))
        return bad(j, "malformed number");
    while (isdigit(peek(j)))
        j->at++;
    return true;
}

static bool scan_number(struct scan *j)
{
    if (peek(j) == '-')
        j->at++;
    if (peek(j) == '0') {
        j->at++;
        if (isdigit(peek(j)))
            return bad(j, "a number with a leading zero");
    } else if (!scan_digits(j)) {
        return false;
    }
    if (peek(j) == '.') {
        j->at++;
        if (!scan_digits(j))
            return false;
    }
    if (peek(j) == 'e' || peek(j) == 'E') {
        j->at++;
        if (peek(j) == '+' || peek(j) == '-')
            j->at++;
        return scan_digits(j);
    }
    return true;
}

static bool scan_word(struct scan *j, const char *word)
{
    size_t n = strlen(word);

    if (j->len - j->at < n || memcmp(j->s + j->at, word, n) != 0)
        return bad(j, "not a JSON value");
    j->at += n;
    return true;
}

static bool scan_scalar(struct scan *j)
{
    switch (peek(j)) {
    case '"':
        return scan_string(j);
    case 't':
        return scan_word(j, "true");
    case 'f':
        return scan_word(j, "false");
    case 'n':
        return scan_word(j, "null");
    default:
        if (peek(j) == '-' || isdigit(peek(j)))
            return scan_number(j);
        return bad(j, j->at < j->len ? "not a JSON value" : "it ends early");
    }
}

static bool scan_key(struct scan *j)
{
    skip_blanks(j);
    if (peek(j) != '"')
        return bad(j, "expected a key in quotes");
    if (!scan_string(j))
        return false;
    skip_blanks(j);
    if (peek(j) != ':')
        return bad(j, "expected ':' after a key");
    j->at++;
    return true;
}

/* After a value at `depth`: closes what ends, up to the next comma. */
static bool scan_after(struct scan *j, const char *open, size_t *depth)
{
    while (*depth > 0) {
        skip_blanks(j);
        if (peek(j) == ',') {
            j->at++;
            return open[*depth - 1] == '[' || scan_key(j);
        }
        if (peek(j) != (open[*depth - 1] == '[' ? ']' : '}')) {
            return bad(j, j->at < j->len ? "expected ',' or a closing bracket"
                                         : "it ends early");
        }
        j->at++;
        (*depth)--;
    }
    return true;
}

/* One value with all that is in it; no recursion. */
static bool scan_value(struct scan *j)
{
    char open[JSON_DEPTH_MAX];
    size_t depth = 0;

    do {
        skip_blanks(j);
        if (peek(j) == '[' || peek(j) == '{') {
            char bracket = j->s[j->at];

            if (depth == JSON_DEPTH_MAX)
                return bad(j, "nested too deeply");
            open[depth++] = bracket;
            j->at++;
            skip_blanks(j);
            if (peek(j) != (bracket == '[' ? ']' : '}')) {
                if (bracket == '{' && !scan_key(j))
                    return false;
                continue;
            }
        } else if (!scan_scalar(j)) {
            return false;
        }
        if (!scan_after(j, open, &depth))
            return false;
    } while (depth > 0);
    return true;
}

int json_parse(const char *text, size_t len, cJSON **out, struct err *err)
{
    struct scan j = {.s = text, .len = len};

    *out = NULL;
    if (scan_value(&j)) {
        skip_blanks(&j);
        if (j.at < j.len)
            (void)bad(&j, "something follows the value");
    }
    if (j.why != NULL) {
        size_t n = 0;

        while (j.at + n < len && n < 16 &&
               isprint((unsigned char)text[j.at + n]))
            n++;
        return (int)err_set(err, ERR_INVALID, "JSON, byte %zu: %s%s%.*s%s",
                            j.at, j.why, n > 0 ? ", at '" : "", (int)n,
                            text + j.at, n > 0 ? "'" : "");
    }
    *out = cJSON_ParseWithLength(text, len);
    if (*out == NULL)
        return (int)err_set(err, ERR_INVALID, "JSON: cannot be read");
    return 0;
}

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_IsObject(object)
               ? cJSON_GetObjectItemCaseSensitive(object, key)
               : NULL;
}

const char *json_str(const cJSON *object, const char *key)
{
    return cJSON_GetStringValue(get(object, key));
}

double json_num(const cJSON *object, const char *key, double otherwise)
{
    const cJSON *item = get(object, key);

    return cJSON_IsNumber(item) ? item->valuedouble : otherwise;
}

int64_t json_int(const cJSON *object, const char *key, int64_t otherwise)
{
    const cJSON *item = get(object, key);

    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble) ||
        fabs(item->valuedouble) >= (double)JSON_INT_END ||
        trunc(item->valuedouble) != item->valuedouble)
        return otherwise;
    return (int64_t)item->valuedouble;
}

uint64_t json_u64(const cJSON *object, const char *key, uint64_t otherwise)
{
    const char *text = json_str(object, key);
    int64_t number = json_int(object, key, -1);
    uint64_t value;

    if (text != NULL && units_uint(text, UINT64_MAX, &value, NULL) == 0)
        return value;
    return number >= 0 ? (uint64_t)number : otherwise;
}

bool json_bool(const cJSON *object, const char *key, bool otherwise)
{
    const cJSON *item = get(object, key);

    return cJSON_IsBool(item) ? cJSON_IsTrue(item) != 0 : otherwise;
}
