/*
 * move_compare.c - ours, bare, ours, bare; the ratio of the medians.
 */
#include "tests/bench/move.h"

#include "base/mem.h"
#include "tests/bench/row.h"

#include <stdio.h>
#include <stdlib.h>

#define FEW        10000
#define MANY       100000
#define WARM_UP    5000
#define FEW_PAIRS  5
#define MANY_PAIRS 2
#define RATIO_MAX  1.5
#define RATIO_GOOD 1.15

static void tell(const struct move_store *store, const char *how, size_t n,
                 const struct move_result *result)
{
    (void)printf("%s, %s: %zu items, read %.0f ms, move %.0f ms, together "
                 "%.0f ms (%zu txns of %zu items)\n",
                 store->name, how, n, result->read_ms, result->move_ms,
                 result->all_ms, result->txns, result->batch);
    (void)fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(values[0]), by_size);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static void run_bare(const struct move_store *store, struct move_item *items,
                     size_t n, struct move_result *result)
{
    *result = (struct move_result){.batch = result->batch};
    store->bare(store->arg, items, n, result);
}

/* A pair, as a row of `make bench`. */
static void tell_row(const struct move_store *store, size_t n, double ratio)
{
    char name[64];

    assert(n > 0);
    (void)snprintf(name, sizeof(name), n == FEW ? "moves-%s" : "moves-%s-%zu",
                   store->name, n);
    row_at_most(name, "x", ratio, RATIO_GOOD);
}

static double compare(const struct move_store *store, size_t n, size_t pairs)
{
    struct move_item *items = move_items(n);
    double ours[FEW_PAIRS], bare[FEW_PAIRS], ratio;
    struct move_result result;

    assert(pairs <= FEW_PAIRS);
    for (size_t i = 0; i < pairs; i++) {
        store->ours(store->arg, items, n, false, &result);
        tell(store, "registry", n, &result);
        ours[i] = result.all_ms;
        run_bare(store, items, n, &result);
        tell(store, "bare", n, &result);
        bare[i] = result.all_ms;
        tell_row(store, n, ours[i] / bare[i]);
    }
    store->ours(store->arg, items, n, true, &result);
    tell(store, "watching", n, &result);
    mem_free(items);
    ratio = median(ours, pairs) / median(bare, pairs);
    (void)printf("%s: %zu items move in %.0f ms, bare in %.0f ms (medians of "
                 "%zu): %.2f x bare (at most %.1f)\n",
                 store->name, n, median(ours, pairs), median(bare, pairs),
                 pairs, ratio, RATIO_MAX);
    return ratio;
}

static void warm_up(const struct move_store *store)
{
    struct move_item *items = move_items(WARM_UP);
    struct move_result result;

    store->ours(store->arg, items, WARM_UP, false, &result);
    run_bare(store, items, WARM_UP, &result);
    mem_free(items);
}

size_t move_compare(const struct move_store *store, size_t asked,
                    size_t *passed)
{
    const size_t numbers[] = {asked == 0 ? FEW : asked, MANY};
    size_t n = asked == 0 ? ARRAY_LEN(numbers) : 1, failed = 0;

    warm_up(store);
    for (size_t i = 0; i < n; i++) {
        size_t pairs = numbers[i] <= FEW ? FEW_PAIRS : MANY_PAIRS;
        bool ok = compare(store, numbers[i], pairs) <= RATIO_MAX;

        failed += !ok;
        *passed += ok;
    }
    return failed;
}
