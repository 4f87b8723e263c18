/*
 * move_compare.c - ours, bare, ours, bare; the median of their ratios.
 */
#include "tests/bench/move.h"

#include "base/mem.h"
#include "tests/bench/median.h"
#include "tests/bench/row.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define FEW        10000
#define MANY       100000
#define WARM_UP    5000
#define FEW_PAIRS  7
#define MANY_PAIRS 2
#define RATIO_MAX  1.5
#define RATIO_GOOD 1.15

static int server; /* 0: not known */

void move_cpu_of(int pid)
{
    server = pid;
}

/* Ticks of one process; with those of its children that have ended, if it is
 * the server itself. */
static unsigned long ticks_of(const char *pid)
{
    unsigned long user = 0, system = 0, ended_user = 0, ended_system = 0;
    char path[64];
    int parent = 0;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
    f = fopen(path, "r");
    if (f == NULL)
        return 0;
    if (fscanf(f,
               "%*d (%*[^)]) %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu"
               " %lu %lu %lu",
               &parent, &user, &system, &ended_user, &ended_system) != 5)
        parent = 0;
    (void)fclose(f);
    if (atoi(pid) == server)
        return user + system + ended_user + ended_system;
    return parent == server ? user + system : 0;
}

static double seconds(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

double move_cpu_ms(void)
{
    DIR *all = server != 0 ? opendir("/proc") : NULL;
    unsigned long ticks = 0;
    struct dirent *entry;
    struct rusage own;

    (void)getrusage(RUSAGE_SELF, &own);
    while (all != NULL && (entry = readdir(all)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            ticks += ticks_of(entry->d_name);
    if (all != NULL)
        (void)closedir(all);
    return (seconds(&own.ru_utime) + seconds(&own.ru_stime)) * 1e3 +
           (double)ticks * 1e3 / (double)sysconf(_SC_CLK_TCK);
}

static void tell(const struct move_store *store, const char *how, size_t n,
                 const struct move_result *result)
{
    (void)printf("%s, %s: %zu items, read %.0f ms, move %.0f ms, together "
                 "%.0f ms (%zu txns of %zu items), processors %.0f ms\n",
                 store->name, how, n, result->read_ms, result->move_ms,
                 result->all_ms, result->txns, result->batch, result->cpu_ms);
    (void)fflush(stdout);
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

static bool compare(const struct move_store *store, size_t n, size_t pairs)
{
    double max = store->ratio_max > 0 ? store->ratio_max : RATIO_MAX;
    double ours[FEW_PAIRS], bare[FEW_PAIRS], time[FEW_PAIRS], cpu[FEW_PAIRS];
    struct move_item *items = move_items(n);
    struct move_result result;
    bool ok;

    assert(pairs <= FEW_PAIRS);
    for (size_t i = 0; i < pairs; i++) {
        store->ours(store->arg, items, n, false, &result);
        tell(store, "registry", n, &result);
        ours[i] = result.all_ms;
        cpu[i] = result.cpu_ms;
        run_bare(store, items, n, &result);
        tell(store, "bare", n, &result);
        bare[i] = result.all_ms;
        tell_row(store, n, ours[i] / bare[i]);
        time[i] = ours[i] / bare[i];
        cpu[i] = result.cpu_ms > 0 ? cpu[i] / result.cpu_ms : time[i];
    }
    store->ours(store->arg, items, n, true, &result);
    tell(store, "watching", n, &result);
    mem_free(items);
    ok = median_of(time, pairs) <= max ||
         (server != 0 && median_of(cpu, pairs) <= max);
    (void)printf("%s: %zu items move in %.0f ms, bare in %.0f ms; %.2f x bare, "
                 "processors %.2f x (medians of %zu; at most %.2f)\n",
                 store->name, n, median_of(ours, pairs), median_of(bare, pairs),
                 median_of(time, pairs), median_of(cpu, pairs), pairs, max);
    return ok;
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
        bool ok = compare(store, numbers[i], pairs);

        failed += !ok;
        *passed += ok;
    }
    return failed;
}
