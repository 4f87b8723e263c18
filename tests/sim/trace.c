/*
 * trace.c - a ring of lines and a running hash.
 */
#include "tests/sim/trace.h"

#include "base/rand.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

void trace_init(struct trace *t, const struct clock *clock, bool verbose)
{
    t->clock = clock;
    t->verbose = verbose;
    t->hash = 0;
    t->n = 0;
}

void trace(struct trace *t, const char *fmt, ...)
{
    char *line = t->lines[t->n++ % TRACE_LINES];
    va_list args;
    int n;

    n = snprintf(line, TRACE_WIDTH, "%7" PRId64 " ", t->clock->mono);
    va_start(args, fmt);
    (void)vsnprintf(line + n, TRACE_WIDTH - (size_t)n, fmt, args);
    va_end(args);
    t->hash = hash_bytes(line, strlen(line), t->hash);
    if (t->verbose)
        puts(line);
}

void trace_tail(const struct trace *t, FILE *out, size_t n)
{
    uint64_t first = t->n > n ? t->n - n : 0;

    if (t->n > TRACE_LINES && first < t->n - TRACE_LINES)
        first = t->n - TRACE_LINES;
    for (uint64_t i = first; i < t->n; i++)
        fprintf(out, "%s\n", t->lines[i % TRACE_LINES]);
}
