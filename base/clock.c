/*
 * clock.c - the three reads of the system's clocks that the program makes.
 *
 * CLOCK_BOOTTIME rather than CLOCK_MONOTONIC: a host that slept must see that
 * its leases ran out meanwhile.
 */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);

    assert(rc == 0);
    (void)rc;
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

mono_ms clock_mono_ms(void)
{
    return read_ns(CLOCK_BOOTTIME) / 1000000;
}

uint64_t clock_mono_ns(void)
{
    return (uint64_t)read_ns(CLOCK_BOOTTIME);
}

wall_ms clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000;
}

void clock_read(struct clock *clock)
{
    clock->mono = clock_mono_ms();
    clock->wall = clock_wall_ms();
}

char *clock_rfc3339(wall_ms at, char out[CLOCK_RFC3339_SIZE])
{
    /* The years 0000 to 9999; a time from outside may be anything. */
    const wall_ms first = -62167219200000, last = 253402300799999;
    int64_t seconds, millis;
    struct tm tm;
    time_t t;

    if (at < first)
        at = first;
    else if (at > last)
        at = last;
    seconds = at / 1000;
    millis = at % 1000;
    if (millis < 0) {
        millis += 1000;
        seconds--;
    }
    t = (time_t)seconds;
    (void)gmtime_r(&t, &tm);
    (void)snprintf(
        out, CLOCK_RFC3339_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
        (unsigned)(tm.tm_year + 1900) % 10000u,
        (unsigned)(tm.tm_mon + 1) % 100u, (unsigned)tm.tm_mday % 100u,
        (unsigned)tm.tm_hour % 100u, (unsigned)tm.tm_min % 100u,
        (unsigned)tm.tm_sec % 100u, (unsigned)millis % 1000u);
    return out;
}

/* --- and read ------------------------------------------------------------ */

/* `n` digits at *s, which moves behind them; negative: not there. */
static int64_t digits(const char **s, int n)
{
    int64_t value = 0;

    for (int i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return -1;
        value = value * 10 + (**s - '0');
    }
    return value;
}

static bool expect(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar (Hinnant,
 * "chrono-compatible low-level date algorithms"). */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
    int64_t era, yoe, doy;

    y -= m <= 2;
    era = (y >= 0 ? y : y - 399) / 400;
    yoe = y - era * 400;
    doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

bool clock_parse_rfc3339(const char *s, wall_ms *out)
{
    int64_t part[6], ms = 0, scale = 100;
    static const char after[6] = {'-', '-', 'T', ':', ':', '\0'};

    for (int i = 0; i < 6; i++) {
        part[i] = digits(&s, i == 0 ? 4 : 2);
        if (part[i] < 0 || (after[i] != '\0' && !expect(&s, after[i])))
            return false;
    }
    if (part[1] < 1 || part[1] > 12 || part[2] < 1 || part[2] > 31 ||
        part[3] > 23 || part[4] > 59 || part[5] > 60)
        return false;
    if (expect(&s, '.')) {
        if (*s < '0' || *s > '9')
            return false;
        for (; *s >= '0' && *s <= '9'; s++, scale /= 10)
            ms += (*s - '0') * scale;
    }
    if (strcmp(s, "Z") != 0)
        return false;
    *out = (((days_from_civil(part[0], part[1], part[2]) * 24 + part[3]) * 60 +
             part[4]) *
                60 +
            part[5]) *
               1000 +
           ms;
    return true;
}
