/* statistics.c - what many seeds say together. Pure. */
#include "tests/bench/placement/placement.h"

#include <math.h>

/* Student's t, two-sided 95 %, by degrees of freedom. */
static double student(size_t freedom)
{
    static const double table[] = {
        0,     12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262,
        2.228, 2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
        2.086, 2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
    };

    assert(freedom >= 1);
    /* beyond the table: an expansion that is right to 0.1 % from 30 on */
    return freedom < ARRAY_LEN(table) ? table[freedom]
                                      : 1.96 + 2.4 / (double)freedom;
}

static double mean_of(const double *x, size_t n)
{
    double sum = 0;

    assert(n >= 1);
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

struct estimate estimate_mean(const double *x, size_t n)
{
    struct estimate e = {mean_of(x, n), INFINITY};
    double squares = 0;

    assert(n >= 1);
    if (n < 2)
        return e;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - e.value) * (x[i] - e.value);
    e.half = student(n - 1) * sqrt(squares / (double)(n - 1) / (double)n);
    return e;
}

struct estimate estimate_ratio(const double *x, const double *y, size_t n)
{
    double divisor = mean_of(y, n);
    struct estimate e = {-1, INFINITY};
    double squares = 0;

    assert(n >= 1);
    if (divisor <= 0)
        return e;
    e.value = mean_of(x, n) / divisor;
    if (n < 2)
        return e;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - e.value * y[i]) * (x[i] - e.value * y[i]);
    e.half =
        student(n - 1) * sqrt(squares / (double)(n - 1) / (double)n) / divisor;
    return e;
}

double erlang_c_wait(uint32_t servers, double rho)
{
    double load = rho * servers, blocked = 1;

    assert(servers >= 1);
    assert(rho > 0 && rho < 1);
    /* Erlang B by its recursion, then C from B. */
    for (uint32_t k = 1; k <= servers; k++)
        blocked = load * blocked / (k + load * blocked);
    return blocked / (1 - rho * (1 - blocked)) / (servers * (1 - rho));
}
