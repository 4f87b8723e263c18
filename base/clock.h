/*
 * clock.h - time as everybody sees it in one turn of the loop.
 *
 * The owner of a loop reads the system once per turn into a `struct clock`;
 * all other code reads that through a const pointer, so that one turn has one
 * time and the simulator can write any time it likes. Monotonic time counts
 * while the host sleeps (CLOCK_BOOTTIME). Wall time is for logs and API
 * fields only. Clocks of two hosts are never compared.
 */
#ifndef PELORUS_BASE_CLOCK_H
#define PELORUS_BASE_CLOCK_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

typedef int64_t mono_ms; /* milliseconds since boot, never steps */
typedef int64_t wall_ms; /* milliseconds since 1970-01-01 UTC */

struct clock {
    mono_ms mono;
    wall_ms wall;
};

/* Read the system's clocks. Any thread. */
mono_ms clock_mono_ms(void);
uint64_t clock_mono_ns(void);
wall_ms clock_wall_ms(void);
/* Seconds since 1970-01-01 UTC, of the last tick of the kernel: for less. */
int64_t clock_wall_s(void);
void clock_read(struct clock *clock);

/* RFC 3339 in UTC with milliseconds: "2026-11-22T11:54:47.123Z". */
#define CLOCK_RFC3339_SIZE 32
char *clock_rfc3339(wall_ms at, char out[CLOCK_RFC3339_SIZE]);
/* The same back; the fraction may be missing or longer. */
bool clock_parse_rfc3339(const char *text, wall_ms *out);

#endif
