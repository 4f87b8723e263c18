/*
 * median.h - of a figure that was measured several times.
 */
#ifndef PELORUS_TESTS_BENCH_MEDIAN_H
#define PELORUS_TESTS_BENCH_MEDIAN_H

#include <stdlib.h>

static inline int median_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts them; n is 1 and more. */
static inline double median_of(double *values, size_t n)
{
    qsort(values, n, sizeof(values[0]), median_order);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

#endif
