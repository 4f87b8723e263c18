/*
 * row.h - a figure of `make bench`, as a line that it reads:
 *
 *     row NAME UNIT VALUE [LIMIT <=|>=] [# note]
 *
 * One line for each run: the table shows the median of all lines of a name.
 * NAME and UNIT hold no blanks; the names that are to be reached stand in
 * bench.py, any other is shown below them. LIMIT is what is to be reached, in
 * UNIT, and the sign says on which side of it; without both it is a figure to
 * read the others by. Scripts print the same.
 */
#ifndef PELORUS_TESTS_BENCH_ROW_H
#define PELORUS_TESTS_BENCH_ROW_H

#include <stdio.h>

static inline void row_at_most(const char *name, const char *unit, double value,
                               double limit)
{
    (void)printf("row %s %s %.6g %.6g <=\n", name, unit, value, limit);
    (void)fflush(stdout);
}

static inline void row_at_least(const char *name, const char *unit,
                                double value, double limit)
{
    (void)printf("row %s %s %.6g %.6g >=\n", name, unit, value, limit);
    (void)fflush(stdout);
}

/* Beside the others: nothing is wanted of it. */
static inline void row_beside(const char *name, const char *unit, double value)
{
    (void)printf("row %s %s %.6g\n", name, unit, value);
    (void)fflush(stdout);
}

#endif
