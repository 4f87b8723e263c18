/*
 * clock.c - the reads of the system's clocks that the program makes.
 *
 * CLOCK_BOOTTIME rather than CLOCK_MONOTONIC: a host that slept must see that
 * its leases ran out meanwhile.
 */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static struct timespec read_time(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);

    assert(rc == 0);
    (void)rc;
    assert(ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000);
    return ts;
}

static int64_t read_ns(clockid_t id)
{
    struct timespec ts = read_time(id);

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

int64_t clock_wall_s(void)
{
    return (int64_t)read_time(CLOCK_REALTIME_COARSE).tv_sec;
}

void clock_read(struct clock *clock)
{
    clock->mono = clock_mono_ms();
    clock->wall = clock_wall_ms();
    assert(clock->mono >= 0);
}

char *clock_rfc3339(wall_ms at, char out[CLOCK_RFC3339_SIZE])
{
    /* The years 0000 to 9999; a time from outside may be anything. */
    const wall_ms first = -62167219200000, last = 253402300799999;
    unsigned millis;
    struct tm tm;
    time_t t;

    at = at < first ? first : at > last ? last : at;
    millis = (unsigned)((at - first) % 1000);
    t = (time_t)((at - millis) / 1000);
    assert(t * 1000 + millis == at);
    (void)gmtime_r(&t, &tm);
    (void)snprintf(
        out, CLOCK_RFC3339_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
        (unsigned)(tm.tm_year + 1900) % 10000u,
        (unsigned)(tm.tm_mon + 1) % 100u, (unsigned)tm.tm_mday % 100u,
        (unsigned)tm.tm_hour % 100u, (unsigned)tm.tm_min % 100u,
        (unsigned)tm.tm_sec % 100u, millis % 1000u);
    return out;
}

/* --- and read ------------------------------------------------------------ */

/* `n` digits at *s, which moves behind them; negative: not there. */
static int64_t digits(const char **s, int n)
{
    int64_t value = 0;

    assert(n > 0 && n <= 4);
    for (int i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return -1;
        value = value * 10 + (**s - '0');
    }
    return value;
}

static bool expect(const char **s, char c)
{
    assert(c != '\0');
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

bool clock_parse_rfc3339(const char *s, wall_ms *out)
{
    int64_t part[6], ms = 0, scale = 100;
    static const char after[6] = {'-', '-', 'T', ':', ':', '\0'};

    assert(s != NULL);
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
    /* A 31st of a short month is the next month's first, a leap second the
     * next minute's. */
    *out = 1000 * timegm(&(struct tm){.tm_year = (int)part[0] - 1900,
                                      .tm_mon = (int)part[1] - 1,
                                      .tm_mday = (int)part[2],
                                      .tm_hour = (int)part[3],
                                      .tm_min = (int)part[4],
                                      .tm_sec = (int)part[5]}) +
           ms;
    return true;
}
