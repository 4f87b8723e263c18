/*
 * json_text.c - JSON read as text.
 *
 * A tree of doubles rounds 2^53+1 and makes 1.10 of 1.1. What belongs to a
 * client, and numbers that count, are therefore taken from the text itself,
 * which json_parse() has found to be JSON before.
 */
#include "base/json/json.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void json_skip_blanks(struct json_span *t)
{
    while (t->s < t->end &&
           (*t->s == ' ' || *t->s == '\t' || *t->s == '\r' || *t->s == '\n'))
        t->s++;
}

bool json_take(struct json_span *t, char c)
{
    json_skip_blanks(t);
    if (t->s >= t->end || *t->s != c)
        return false;
    t->s++;
    return true;
}

bool json_skip_string(struct json_span *t)
{
    if (!json_take(t, '"'))
        return false;
    while (t->s < t->end && *t->s != '"')
        t->s += *t->s == '\\' && t->end - t->s > 1 ? 2 : 1;
    if (t->s >= t->end)
        return false;
    t->s++;
    return true;
}

static bool skip_word(struct json_span *t)
{
    const char *from = t->s;

    while (t->s < t->end && strchr(",]} \t\r\n", *t->s) == NULL)
        t->s++;
    return t->s > from;
}

bool json_skip_value(struct json_span *t)
{
    size_t depth = 0;

    json_skip_blanks(t);
    do {
        if (t->s >= t->end)
            return false;
        if (*t->s == '"') {
            if (!json_skip_string(t))
                return false;
        } else if (*t->s == '{' || *t->s == '[') {
            depth++;
            t->s++;
        } else if (*t->s == '}' || *t->s == ']') {
            if (depth == 0)
                return false;
            depth--;
            t->s++;
        } else if (depth > 0) {
            t->s++;
        } else {
            return skip_word(t);
        }
    } while (depth > 0);
    return true;
}

/* --- members -------------------------------------------------------------- */

void json_members(struct json_span *t, const char *object, size_t len)
{
    *t = (struct json_span){.s = object, .end = object + len};
    (void)json_take(t, '{');
}

bool json_member(struct json_span *t, struct json_member *m)
{
    (void)json_take(t, ',');
    json_skip_blanks(t);
    m->key.s = t->s;
    if (!json_skip_string(t))
        return false; /* the closing bracket */
    m->key.end = t->s;
    if (!json_take(t, ':'))
        return false;
    json_skip_blanks(t);
    m->value.s = t->s;
    if (!json_skip_value(t))
        return false;
    m->value.end = t->s;
    return true;
}

bool json_member_is(const struct json_member *m, const char *key)
{
    size_t n = (size_t)(m->key.end - m->key.s);
    cJSON *name;
    bool same;

    assert(n >= 2);
    if (memchr(m->key.s, '\\', n) == NULL)
        return n - 2 == strlen(key) && memcmp(m->key.s + 1, key, n - 2) == 0;
    name = cJSON_ParseWithLength(m->key.s, n);
    same = cJSON_IsString(name) && strcmp(name->valuestring, key) == 0;
    cJSON_Delete(name);
    return same;
}

bool json_field(const char *object, size_t len, const char *key,
                struct json_span *value)
{
    struct json_member m;
    struct json_span t;

    json_members(&t, object, len);
    while (json_member(&t, &m)) {
        if (json_member_is(&m, key)) {
            *value = m.value;
            return true;
        }
    }
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int json_unique(const cJSON *object, struct err *err)
{
    size_t n = 0, i = 0;
    const cJSON *item;
    const char **names;
    int rc = 0;

    cJSON_ArrayForEach(item, object)
    {
        n++;
    }
    names = mem_array(n + 1, sizeof(*names));
    cJSON_ArrayForEach(item, object)
    {
        names[i++] = item->string;
    }
    qsort(names, n, sizeof(*names), by_name);
    for (i = 1; i < n && rc == 0; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            rc = (int)err_set(err, ERR_INVALID, "%.64s: it stands twice",
                              names[i]);
        }
    }
    mem_free(names);
    return rc;
}

/* --- whole numbers -------------------------------------------------------- */

#define DIGITS_MAX   40
#define EXPONENT_MAX 1000

/* Its digits without the point, and how many of them stand behind it. */
static size_t read_digits(struct json_span *t, char digits[DIGITS_MAX],
                          int64_t *behind)
{
    bool fraction = false;
    size_t n = 0;

    *behind = 0;
    for (; t->s < t->end; t->s++) {
        if (*t->s == '.') {
            fraction = true;
            continue;
        }
        if (*t->s < '0' || *t->s > '9')
            break;
        if (n > 0 || *t->s != '0') {
            if (n < DIGITS_MAX)
                digits[n] = *t->s;
            n++;
        }
        *behind += fraction;
    }
    return n;
}

static int64_t read_exponent(struct json_span *t)
{
    bool negative;
    int64_t e = 0;

    if (t->s >= t->end)
        return 0;
    t->s++; /* the e */
    negative = t->s < t->end && *t->s == '-';
    if (negative || (t->s < t->end && *t->s == '+'))
        t->s++;
    for (; t->s < t->end && e < EXPONENT_MAX; t->s++)
        e = e * 10 + (*t->s - '0');
    return negative ? -e : e;
}

bool json_whole(struct json_span number, int64_t *out)
{
    char digits[DIGITS_MAX];
    bool negative = json_take(&number, '-');
    int64_t behind, zeros, value = 0;
    size_t n;

    if (number.s >= number.end || *number.s < '0' || *number.s > '9')
        return false; /* not a number */
    n = read_digits(&number, digits, &behind);
    zeros = read_exponent(&number) - behind;
    if (n == 0) {
        *out = 0;
        return true;
    }
    if (n > DIGITS_MAX)
        return false;
    for (; zeros < 0 && n > 0 && digits[n - 1] == '0'; zeros++)
        n--;
    if (zeros < 0 || zeros > 18 || n > 19)
        return false;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digits[i] - '0', &value))
            return false;
    for (; zeros > 0; zeros--)
        if (__builtin_mul_overflow(value, 10, &value))
            return false;
    if (!negative && value == INT64_MIN)
        return false;
    *out = negative ? value : -value; /* counted down: INT64_MIN has no twin */
    return true;
}
