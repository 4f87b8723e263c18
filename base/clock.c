/*
 * clock.c - the three reads of the system's clocks that the program makes.
 *
 * CLOCK_BOOTTIME rather than CLOCK_MONOTONIC: a host that slept must see that
 * its leases ran out meanwhile.
 */
#include "base/clock.h"

#include <stdio.h>
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

    if (at < first) {
        at = first;
    } else if (at > last) {
        at = last;
    }
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
