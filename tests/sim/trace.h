/*
 * trace.h - the transcript of a run: every line is hashed, the last ones are
 * kept for a failure, all of them are printed when somebody wants to read.
 */
#ifndef PELORUS_TESTS_SIM_TRACE_H
#define PELORUS_TESTS_SIM_TRACE_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>

#define TRACE_LINES 256
#define TRACE_WIDTH 200

struct trace {
    const struct clock *clock;
    bool verbose;
    uint64_t hash, n;
    char lines[TRACE_LINES][TRACE_WIDTH];
};

void trace_init(struct trace *t, const struct clock *clock, bool verbose);
void trace(struct trace *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The last `n` lines. */
void trace_tail(const struct trace *t, FILE *out, size_t n);

#endif
