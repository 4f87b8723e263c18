/*
 * units.h - durations, sizes and whole numbers as people write them.
 *
 * Durations: "250ms", "30s", "1.5s", "10m", "2h", "1d", "1m30s" and ISO-8601
 * "PT60S". A bare number is no duration: the missing unit is an error. Any
 * thread.
 */
#ifndef PELORUS_BASE_UNITS_H
#define PELORUS_BASE_UNITS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Milliseconds, 0 .. 10 years. ERR_INVALID: no number, no or unknown unit,
 * out of range. */
int units_duration(const char *text, int64_t *ms, struct err *err) MUST_CHECK;

/* The shortest exact form: "1500ms", "30s", "10m". */
#define UNITS_DURATION_SIZE 24
char *units_format_duration(int64_t ms, char out[UNITS_DURATION_SIZE]);

/* Bytes: "64MB", "1.5GB", "512KiB"; KB, MB and GB count by thousands, KiB, MiB
 * and GiB by 1,024; at most 8 EiB. ERR_INVALID as above. */
int units_size(const char *text, uint64_t *bytes, struct err *err) MUST_CHECK;
/* The shortest exact form: "64MB", "100B". */
#define UNITS_SIZE_SIZE 24
char *units_format_size(uint64_t bytes, char out[UNITS_SIZE_SIZE]);

/* Whole decimal numbers in a range, nothing before or after them. */
int units_int(const char *text, int64_t min, int64_t max, int64_t *out,
              struct err *err) MUST_CHECK;
int units_uint(const char *text, uint64_t max, uint64_t *out,
               struct err *err) MUST_CHECK;

#endif
