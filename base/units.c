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

#define DURATION_MAX_MS (3650 * (int64_t)86400000)
#define SIZE_MAX_BYTES  ((uint64_t)1 << 50)

struct unit {
    const char *name;
    uint64_t factor;
};

/* Longest first, so that 1m30s can insist on falling units. */
static const struct unit time_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"KiB", (uint64_t)1 << 10},
    {"MiB", (uint64_t)1 << 20},
    {"GiB", (uint64_t)1 << 30},
    {"TiB", (uint64_t)1 << 40},
    {"kB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
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

/* *total += n * factor, exactly; false: not whole, or above max. */
static bool add_scaled(uint64_t *total, const struct number *n, uint64_t factor,
                       uint64_t max)
{
    uint64_t whole, part;

    if (__builtin_mul_overflow(n->whole, factor, &whole) ||
        __builtin_mul_overflow(n->part, factor, &part) ||
        part % n->scale != 0 || whole > max || part / n->scale > max)
        return false;
    if (whole + part / n->scale > max - *total)
        return false;
    *total += whole + part / n->scale;
    return true;
}

static int duration_error(struct err *err, const char *text, const char *why)
{
    return (int)err_set(err, ERR_INVALID,
                        "\"%.40s\" is no duration: %s; write one like 250ms, "
                        "30s, 10m or 2h",
                        text, why);
}

/* "P1DT2H3M4.5S", the 'P' already seen. */
static int iso_duration(const char *text, uint64_t *total, struct err *err)
{
    static const struct unit day[] = {{"D", 86400000}};
    static const struct unit clock[] = {
        {"H", 3600000}, {"M", 60000}, {"S", 1000}};
    const struct unit *units = day;
    size_t n_units = ARRAY_LEN(day), from = 0, i;
    const char *s = text + 1;
    bool any = false;
    struct number n;

    while (*s != '\0') {
        if ((*s == 'T' || *s == 't') && units == day) {
            units = clock;
            n_units = ARRAY_LEN(clock);
            from = 0;
            any = false;
            s++;
            continue;
        }
        if (!read_number(&s, &n))
            return duration_error(err, text, "not ISO-8601");
        for (i = from; i < n_units; i++)
            if (toupper((unsigned char)*s) == units[i].name[0])
                break;
        if (i == n_units)
            return duration_error(err, text, "not ISO-8601");
        if (!add_scaled(total, &n, units[i].factor, DURATION_MAX_MS)) {
            return duration_error(err, text,
                                  "not in whole milliseconds below 10 years");
        }
        from = i + 1;
        any = true;
        s++;
    }
    return any ? 0 : duration_error(err, text, "not ISO-8601");
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

static int plain_duration(const char *text, uint64_t *total, struct err *err)
{
    const char *s = text + (text[0] == '+'); /* as Spring takes it */
    size_t from = 0, len, i;
    struct number n;

    do {
        if (!read_number(&s, &n)) {
            return duration_error(
                err, text, *text == '\0' ? "it is empty" : why_no_number(s));
        }
        len = 0;
        while (isalpha((unsigned char)s[len]))
            len++;
        if (len == 0) {
            return duration_error(err, text,
                                  *s == '\0' ? "the unit is missing"
                                  : isblank((unsigned char)*s)
                                      ? "a blank in it"
                                      : "its unit is unknown");
        }
        for (i = from; i < ARRAY_LEN(time_units); i++)
            if (strlen(time_units[i].name) == len &&
                strncasecmp(time_units[i].name, s, len) == 0)
                break;
        if (i == ARRAY_LEN(time_units)) {
            return duration_error(err, text,
                                  "its unit is unknown or out of order");
        }
        if (!add_scaled(total, &n, time_units[i].factor, DURATION_MAX_MS)) {
            return duration_error(err, text,
                                  "not in whole milliseconds below 10 years");
        }
        from = i + 1;
        s += len;
    } while (*s != '\0');
    return 0;
}

int units_duration(const char *text, int64_t *ms, struct err *err)
{
    uint64_t total = 0;
    int rc;

    assert(text != NULL && ms != NULL);
    if (text[0] == 'P' || text[0] == 'p')
        rc = iso_duration(text, &total, err);
    else
        rc = plain_duration(text, &total, err);
    if (rc == 0)
        *ms = (int64_t)total;
    return rc;
}

int units_size(const char *text, uint64_t *bytes, struct err *err)
{
    const char *s = text;
    uint64_t total = 0;
    struct number n;
    size_t i;

    assert(text != NULL && bytes != NULL);
    if (!read_number(&s, &n)) {
        return (int)err_set(err, ERR_INVALID,
                            "\"%.40s\" is no size: no number; write one like "
                            "512, 64KiB or 1MiB",
                            text);
    }
    for (i = 0; i < ARRAY_LEN(size_units); i++)
        if (strcmp(size_units[i].name, s) == 0)
            break;
    if (i == ARRAY_LEN(size_units)) {
        return (int)err_set(err, ERR_INVALID,
                            "\"%.40s\" is no size: its unit is unknown; use "
                            "B, kB, MB, GB, TB, KiB, MiB, GiB or TiB",
                            text);
    }
    if (!add_scaled(&total, &n, size_units[i].factor, SIZE_MAX_BYTES)) {
        return (int)err_set(err, ERR_INVALID,
                            "\"%.40s\" is no size: not in whole bytes up to "
                            "1024TiB",
                            text);
    }
    *bytes = total;
    return 0;
}

char *units_format_duration(int64_t ms, char out[UNITS_DURATION_SIZE])
{
    size_t i = 0;

    if (ms == 0)
        i = 3; /* "0s" */
    else
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
        digits > (uint64_t)INT64_MAX) {
        return (int)err_set(err, ERR_INVALID, "\"%.40s\" is no whole number",
                            text);
    }
    value = negative ? -(int64_t)digits : (int64_t)digits;
    if (value < min || value > max) {
        return (int)err_set(err, ERR_INVALID,
                            "%" PRId64 " is outside %" PRId64 " to %" PRId64,
                            value, min, max);
    }
    *out = value;
    return 0;
}

int units_uint(const char *text, uint64_t max, uint64_t *out, struct err *err)
{
    uint64_t value;

    if (!read_digits(text, &value)) {
        return (int)err_set(err, ERR_INVALID,
                            "\"%.40s\" is no whole number of 0 or more", text);
    }
    if (value > max) {
        return (int)err_set(err, ERR_INVALID,
                            "%" PRIu64 " is outside 0 to %" PRIu64, value, max);
    }
    *out = value;
    return 0;
}
