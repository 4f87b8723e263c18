/*
 * units.c - numbers with units, read exactly.
 *
 * Everything is integer arithmetic on thousandths with overflow checks: 1.5s
 * is 1500 ms and not about that, and what cannot be said in whole
 * milliseconds is refused instead of rounded.
 */
#include "base/units.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DURATION_MAX_MS (3650 * (uint64_t)86400000)

/* Longest first, so that 1m30s can insist on falling units. */
static const struct {
    const char *name;
    uint64_t factor;
} time_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

/* A decimal number: value = whole + part / scale. */
struct number {
    uint64_t whole, part, scale;
};

/* Reads "12" or "12.5" at *text and moves past it; false: none there, or more
 * digits than any sensible value has. */
static bool read_number(const char **text, struct number *n)
{
    const char *s = *text;

    assert(s != NULL);
    *n = (struct number){0, 0, 1};
    if (!isdigit((unsigned char)*s))
        return false;
    for (; isdigit((unsigned char)*s); s++) {
        if (n->whole > UINT64_C(100000000000000000))
            return false;
        n->whole = n->whole * 10 + (uint64_t)(*s - '0');
    }
    if (*s == '.') {
        s++;
        if (!isdigit((unsigned char)*s))
            return false;
        for (; isdigit((unsigned char)*s); s++) {
            if (n->scale >= 1000000000)
                return false;
            n->part = n->part * 10 + (uint64_t)(*s - '0');
            n->scale *= 10;
        }
    }
    *text = s;
    return true;
}

static const char out_of_range[] = "not in whole milliseconds below 10 years";

/* *total += n * factor, exactly; false: not whole, or above the maximum. */
static bool add_scaled(uint64_t *total, const struct number *n, uint64_t factor)
{
    uint64_t whole, part;

    assert(n->scale > 0 && n->part < n->scale);
    assert(*total <= DURATION_MAX_MS);
    if (__builtin_mul_overflow(n->whole, factor, &whole) ||
        __builtin_mul_overflow(n->part, factor, &part) ||
        part % n->scale != 0 || whole > DURATION_MAX_MS ||
        part / n->scale > DURATION_MAX_MS ||
        whole + part / n->scale > DURATION_MAX_MS - *total)
        return false;
    *total += whole + part / n->scale;
    return true;
}

/* The unit of `len` letters at s, not before the from-th; or one too many. */
static size_t find_unit(const char *s, size_t len, size_t from)
{
    assert(from <= ARRAY_LEN(time_units));
    while (from < ARRAY_LEN(time_units) &&
           (strlen(time_units[from].name) != len ||
            strncasecmp(time_units[from].name, s, len) != 0))
        from++;
    return from;
}

/* "1DT2H3M4.5S", behind the 'P'. NULL, or why it is none. */
static const char *iso_duration(const char *s, uint64_t *total)
{
    size_t from = 0, end = 1; /* days; behind the T hours to seconds */
    bool any = false;

    while (*s != '\0') {
        struct number n;

        if (toupper((unsigned char)*s) == 'T' && end == 1) {
            from = 1;
            end = 4;
            any = false;
            s++;
            continue;
        }
        if (!read_number(&s, &n))
            return "not ISO-8601";
        from = find_unit(s, 1, from);
        if (from >= end)
            return "not ISO-8601";
        if (!add_scaled(total, &n, time_units[from++].factor))
            return out_of_range;
        any = true;
        s++;
    }
    return any ? NULL : "not ISO-8601";
}

/* Why no number could be read at s. */
static const char *why_no_number(const char *s)
{
    if (*s == '-')
        return "it is negative";
    if (isblank((unsigned char)*s))
        return "a blank in it";
    if (!isdigit((unsigned char)*s))
        return "no number";
    s += strspn(s, "0123456789");
    return *s != '.' || isdigit((unsigned char)s[1])
               ? "longer than 10 years, or finer than can be counted"
               : "no digits behind the point";
}

static const char *plain_duration(const char *text, uint64_t *total)
{
    const char *s = text + (text[0] == '+'); /* as Spring takes it */
    size_t from = 0;

    do {
        struct number n;
        size_t len = 0;

        if (!read_number(&s, &n))
            return *text == '\0' ? "it is empty" : why_no_number(s);
        while (isalpha((unsigned char)s[len]))
            len++;
        if (len == 0) {
            return *s == '\0'                   ? "the unit is missing"
                   : isblank((unsigned char)*s) ? "a blank in it"
                                                : "its unit is unknown";
        }
        from = find_unit(s, len, from);
        if (from == ARRAY_LEN(time_units))
            return "its unit is unknown or out of order";
        if (!add_scaled(total, &n, time_units[from++].factor))
            return out_of_range;
        s += len;
    } while (*s != '\0');
    return NULL;
}

int units_duration(const char *text, int64_t *ms, struct err *err)
{
    uint64_t total = 0;
    const char *why;

    assert(text != NULL && ms != NULL);
    why = text[0] == 'P' || text[0] == 'p' ? iso_duration(text + 1, &total)
                                           : plain_duration(text, &total);
    if (why != NULL) {
        return err_set(err, ERR_INVALID,
                       "\"%.40s\" is no duration: %s; write one like 250ms, "
                       "30s, 10m or 2h",
                       text, why);
    }
    assert(total <= DURATION_MAX_MS);
    *ms = (int64_t)total;
    return 0;
}

char *units_format_duration(int64_t ms, char out[UNITS_DURATION_SIZE])
{
    size_t i = ms == 0 ? 3 : 0; /* "0s" */

    while (ms % (int64_t)time_units[i].factor != 0)
        i++;
    assert(i < ARRAY_LEN(time_units));
    (void)snprintf(out, UNITS_DURATION_SIZE, "%" PRId64 "%s",
                   ms / (int64_t)time_units[i].factor, time_units[i].name);
    return out;
}

/* Digits only, at least one; false when there is anything else or it is above
 * UINT64_MAX. */
static bool read_digits(const char *s, uint64_t *out)
{
    uint64_t value = 0;

    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++)
        if (!isdigit((unsigned char)*s) ||
            __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
            return false;
    *out = value;
    return true;
}

int units_int(const char *text, int64_t min, int64_t max, int64_t *out,
              struct err *err)
{
    bool negative = text[0] == '-';
    uint64_t digits;
    int64_t value;

    assert(min <= max);
    if (!read_digits(text + (negative ? 1 : 0), &digits) ||
        digits > (uint64_t)INT64_MAX)
        return err_set(err, ERR_INVALID, "\"%.40s\" is no whole number", text);
    value = negative ? -(int64_t)digits : (int64_t)digits;
    if (value < min || value > max) {
        return err_set(err, ERR_INVALID,
                       "%" PRId64 " is outside %" PRId64 " to %" PRId64, value,
                       min, max);
    }
    *out = value;
    return 0;
}

int units_uint(const char *text, uint64_t max, uint64_t *out, struct err *err)
{
    uint64_t value;

    if (!read_digits(text, &value)) {
        return err_set(err, ERR_INVALID,
                       "\"%.40s\" is no whole number of 0 or more", text);
    }
    if (value > max) {
        return err_set(err, ERR_INVALID, "%" PRIu64 " is outside 0 to %" PRIu64,
                       value, max);
    }
    *out = value;
    return 0;
}

static const struct {
    const char *name;
    uint64_t factor;
} size_units[] = {
    {"GiB", UINT64_C(1) << 30},
    {"GB", 1000000000},
    {"MiB", 1U << 20},
    {"MB", 1000000},
    {"KiB", 1U << 10},
    {"KB", 1000},
    {"B", 1},
};

int units_size(const char *text, uint64_t *bytes, struct err *err)
{
    const char *s = text;
    struct number n;
    uint64_t whole, part;
    size_t i = 0;

    assert(text != NULL);
    if (!read_number(&s, &n))
        return err_set(err, ERR_INVALID,
                       "\"%.40s\" is no size; write one like 64MB", text);
    while (i < ARRAY_LEN(size_units) && strcasecmp(size_units[i].name, s) != 0)
        i++;
    if (i == ARRAY_LEN(size_units))
        return err_set(err, ERR_INVALID,
                       *s == '\0' ? "%.40s has no unit; write one like 64MB"
                                  : "\"%.40s\" has an unknown unit; write KB, "
                                    "MB, GB, KiB, MiB or GiB",
                       text);
    if (__builtin_mul_overflow(n.whole, size_units[i].factor, &whole) ||
        __builtin_mul_overflow(n.part, size_units[i].factor, &part) ||
        part % n.scale != 0 ||
        __builtin_add_overflow(whole, part / n.scale, &whole) ||
        whole > INT64_MAX)
        return err_set(err, ERR_INVALID, "%.40s is not in whole bytes", text);
    *bytes = whole;
    return 0;
}

char *units_format_size(uint64_t bytes, char out[UNITS_SIZE_SIZE])
{
    size_t best = ARRAY_LEN(size_units) - 1;

    for (size_t i = 0; i < ARRAY_LEN(size_units); i++)
        if (bytes > 0 && bytes % size_units[i].factor == 0 &&
            size_units[i].factor > size_units[best].factor)
            best = i;
    (void)snprintf(out, UNITS_SIZE_SIZE, "%" PRIu64 "%s",
                   bytes / size_units[best].factor, size_units[best].name);
    return out;
}
