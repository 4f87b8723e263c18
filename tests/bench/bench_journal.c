/*
 * bench_journal.c - what a journal costs: a pick and its end without one and
 * with one, the bytes that they take, the processor time of the thread that
 * writes, at a steady pace and as fast as can be, and how long the balancer
 * stands still for a basis. The journal is in the working directory's build/.
 *
 * Each figure is the median of seven runs, with and without in turn.
 */
#include "balancer/image.h"
#include "base/mem.h"
#include "coordinator/journal/journal.h"
#include "tests/bench/median.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RUNS     7U
#define PICKS    200000U
#define START    1000000
#define INTERVAL 10000
#define FILE_    "build/bench-journal"
#define PACE     20000 /* picks a second */

static struct balancer *make(uint32_t n)
{
    struct conf conf;
    struct balancer *b;

    conf_defaults(&conf);
    b = balancer_new(&conf.balancer, 1, 1);
    conf_close(&conf);
    for (uint32_t i = 0; i < n; i++) {
        struct balancer_worker w = {
            .weight = 100,
            .slots = 8 << i % 4,
            .cpu = 0.3,
            .memory = 0.4,
            .disk = 0.1,
            .pool = (double)(i % 7) / 16,
            .reported = START,
            .incarnation = 1,
        };

        snprintf(w.address, sizeof(w.address), "10.%u.%u.%u:1234", i >> 16,
                 i >> 8 & 255, i & 255);
        balancer_set(b, &w, START);
    }
    return b;
}

/* Processor time of this thread: others may use the machine, too. */
static uint64_t spent_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static pick_id pick_one(struct balancer *b, mono_ms now)
{
    struct balancer_pick pick;
    struct balancer_answer answer = {.picks = &pick};
    struct balancer_request request = {.count = 1, .now = now};

    balancer_pick(b, &request, &answer);
    assert(answer.code == BALANCER_OK);
    return pick.pick;
}

/* Nanoseconds of a pick, and of its end, without waiting. */
static void run(struct balancer *b, double *pick, double *end)
{
    pick_id *picks = mem_array(PICKS, sizeof(*picks));
    uint64_t began = spent_ns(), half;

    for (uint32_t i = 0; i < PICKS; i++)
        picks[i] = pick_one(b, START + i / 1000);
    half = spent_ns();
    for (uint32_t i = 0; i < PICKS; i++)
        (void)balancer_done(b, picks[i]);
    *pick = (double)(half - began) / PICKS;
    *end = (double)(spent_ns() - half) / PICKS;
    mem_free(picks);
}

/* Processor time of the thread with this name, in ticks of the system. */
static double thread_seconds(const char *name)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    double seconds = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[300], line[512] = "", *at;
        unsigned long long ns = 0;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        f = fopen(path, "r");
        at = f != NULL ? fgets(line, sizeof(line), f) : NULL;
        if (f != NULL)
            (void)fclose(f);
        if (at == NULL || strncmp(line, name, strlen(name)) != 0)
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat",
                 entry->d_name);
        f = fopen(path, "r");
        if (f != NULL) {
            if (fscanf(f, "%llu", &ns) == 1)
                seconds += (double)ns / 1e9;
            (void)fclose(f);
        }
    }
    if (dir != NULL)
        (void)closedir(dir);
    return seconds;
}

static struct journal *begin(struct balancer *b)
{
    struct journal_config config = {
        .path = FILE_, .size = UINT64_C(64) << 20, .files = 2, .run = 1};
    struct journal *j;
    struct err err;

    if (journal_start(&j, b, &config, &err) != 0) {
        fprintf(stderr, "bench_journal: %s\n", err.msg);
        exit(1);
    }
    return j;
}

static void settle(struct journal *j)
{
    while (journal_figures(j).waiting > 0 || !journal_figures(j).complete)
        (void)usleep(20000);
}

static void costs(uint32_t n)
{
    struct balancer *plain = make(n), *kept = make(n);
    struct journal *j = begin(kept);
    double pick[2][RUNS], end[2][RUNS], busy = 0, wall = 0;
    struct journal_figures before, after;

    settle(j);
    before = journal_figures(j);
    for (uint32_t i = 0; i < RUNS; i++) {
        double cpu = thread_seconds("journal");
        uint64_t began = clock_mono_ns();

        run(plain, &pick[0][i], &end[0][i]);
        began = clock_mono_ns();
        run(kept, &pick[1][i], &end[1][i]);
        wall += (double)(clock_mono_ns() - began) / 1e9;
        settle(j);
        busy += thread_seconds("journal") - cpu;
    }
    after = journal_figures(j);
    printf("%8u %8.0f %8.0f %8.0f %8.0f %9.1f %9.0f%% %8llu\n", n,
           median_of(pick[0], RUNS), median_of(pick[1], RUNS),
           median_of(end[0], RUNS), median_of(end[1], RUNS),
           (double)(after.bytes - before.bytes) / (RUNS * PICKS),
           100 * busy / wall,
           (unsigned long long)(after.dropped - before.dropped));
    journal_stop(&j, 5000);
    balancer_free(&plain);
    balancer_free(&kept);
}

static void pace(void)
{
    struct balancer *b = make(1000);
    struct journal *j = begin(b);
    uint64_t began = clock_mono_ns();
    double cpu = thread_seconds("journal"), wall;

    for (int i = 0; i < 3 * PACE; i++) {
        (void)balancer_done(b, pick_one(b, START + i / (PACE / 1000)));
        if (i % (PACE / 100) == 0)
            (void)usleep(10000);
    }
    wall = (double)(clock_mono_ns() - began) / 1e9;
    printf("at %.0f picks and ends a second the thread takes %.2f %% of a "
           "core\n",
           3 * PACE / wall, 100 * (thread_seconds("journal") - cpu) / wall);
    journal_stop(&j, 5000);
    balancer_free(&b);
}

static void basis(uint32_t n)
{
    struct balancer *b = make(n);
    struct buf image;
    double took[RUNS];

    for (uint32_t i = 0; i < PICKS; i++)
        (void)pick_one(b, START + i / 1000);
    buf_init(&image, (size_t)1 << 30);
    for (uint32_t i = 0; i < RUNS; i++) {
        uint64_t began = spent_ns();

        buf_reset(&image);
        balancer_image(b, &image);
        took[i] = (double)(spent_ns() - began) / 1e6;
    }
    printf("a basis of %u workers and %u picks under way: %.2f MB, the "
           "balancer stands still for %.1f ms of processor time\n",
           n, PICKS, (double)image.len / 1e6, median_of(took, RUNS));
    buf_close(&image);
    balancer_free(&b);
}

int main(void)
{
    printf("%8s %8s %8s %8s %8s %9s %10s %8s\n", "workers", "pick ns", "kept",
           "end ns", "kept", "B/pick+end", "thread", "left out");
    for (uint32_t n = 100; n <= 10000; n *= 10)
        costs(n);
    pace();
    basis(100);
    basis(10000);
    (void)unlink(FILE_);
    (void)unlink(FILE_ ".1");
    (void)unlink(FILE_ ".lock");
    return 0;
}
