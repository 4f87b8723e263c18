/*
 * sim.c - runs seeds, as many at a time as there are processors.
 *
 * Each worker is a process that takes the next seed from shared memory, so a
 * seed that ends its process (an assertion) is known and costs nobody else.
 * The last line is `N passed, N failed, N skipped`.
 */
#include "tests/sim/sim.h"

#include "base/clock.h"
#include "base/units.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 64
#define REPORTS_MAX 5  /* failures; then no more seeds are begun */
#define CPU_S_MAX   60 /* of one seed: it goes round in circles */

struct shared {
    _Atomic uint64_t next, passed, failed;
    _Atomic uint64_t writes, moves, failovers, leaves, forgotten, faults,
        virtual_ms;
    _Atomic uint64_t running[WORKERS_MAX]; /* seed + 1; 0: none */
    _Atomic bool stop;
};

struct options {
    uint64_t seeds, first;
    bool one, verbose, until_failure;
};

static void usage(void)
{
    fprintf(stderr, "usage: sim --seeds N [--first K] [--until-failure]\n"
                    "       sim --seed K [--verbose]\n"
                    "either with --renewals grouped|single, for all seeds\n");
    exit(2);
}

static uint64_t number(const char *text)
{
    uint64_t n = 0;

    if (text == NULL || units_uint(text, UINT64_MAX - 1, &n, NULL) != 0)
        usage();
    return n;
}

static void use_renewals(const char *how)
{
    if (how != NULL && strcmp(how, "grouped") == 0)
        sim_use_renewals(SIM_GROUPED);
    else if (how != NULL && strcmp(how, "single") == 0)
        sim_use_renewals(SIM_SINGLE);
    else
        usage();
}

static struct options parse(int argc, char **argv)
{
    struct options o = {0};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seeds") == 0) {
            o.seeds = number(argv[++i]);
        } else if (strcmp(argv[i], "--first") == 0) {
            o.first = number(argv[++i]);
        } else if (strcmp(argv[i], "--seed") == 0) {
            o.one = true;
            o.first = number(argv[++i]);
            o.seeds = 1;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            o.verbose = true;
        } else if (strcmp(argv[i], "--renewals") == 0) {
            use_renewals(argv[++i]);
        } else if (strcmp(argv[i], "--until-failure") == 0) {
            o.until_failure = true;
        } else {
            usage();
        }
    }
    if (o.seeds == 0)
        usage();
    return o;
}

static void count(struct shared *s, const struct sim_result *r)
{
    s->writes += r->writes;
    s->moves += r->moves;
    s->failovers += r->failovers;
    s->leaves += r->leaves;
    s->forgotten += r->forgotten;
    s->faults += r->faults;
    s->virtual_ms += (uint64_t)r->virtual_ms;
    if (r->failed)
        s->failed++;
    else
        s->passed++;
}

static void work(struct shared *s, const struct options *o, int me)
{
    static const struct itimerval limit = {.it_value.tv_sec = CPU_S_MAX};
    struct sim_result r;
    uint64_t n;

    while (!s->stop && (n = s->next++) < o->seeds) {
        s->running[me] = o->first + n + 1;
        setitimer(ITIMER_PROF, &limit, NULL); /* SIGPROF ends us */
        sim_run(o->first + n, o->verbose, &r);
        count(s, &r);
        if (r.failed && (o->until_failure || s->failed >= REPORTS_MAX))
            s->stop = true;
    }
    s->running[me] = 0;
}

static pid_t spawn(struct shared *s, const struct options *o, int me)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    if (pid == 0) {
        work(s, o, me);
        fflush(NULL);
        _exit(0);
    }
    return pid;
}

/* A worker ended; true: start another in its place. */
static bool ended(struct shared *s, const struct options *o, int me, int status)
{
    uint64_t seed = s->running[me];

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    s->running[me] = 0;
    s->failed++;
    fprintf(stderr, "\nseed %" PRIu64 ": %s %d%s\n", seed - 1,
            WIFSIGNALED(status) ? "ended by signal" : "exited with",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
            WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF
                ? ": it took too long"
                : "");
    fprintf(stderr, "replay it: make sim SEED=%" PRIu64 "\n", seed - 1);
    if (o->until_failure || s->failed >= REPORTS_MAX)
        s->stop = true;
    return !s->stop;
}

static void run_all(struct shared *s, const struct options *o)
{
    pid_t workers[WORKERS_MAX];
    int n = get_nprocs(), status, left;

    if (n > WORKERS_MAX)
        n = WORKERS_MAX;
    if ((uint64_t)n > o->seeds)
        n = (int)o->seeds;
    for (int i = 0; i < n; i++)
        workers[i] = spawn(s, o, i);
    for (left = n; left > 0;) {
        pid_t pid = wait(&status);

        for (int i = 0; i < n; i++) {
            if (workers[i] != pid)
                continue;
            left--;
            if (ended(s, o, i, status)) {
                workers[i] = spawn(s, o, i);
                left++;
            }
        }
    }
}

static void replay(const struct options *o)
{
    struct sim_result r;

    sim_run(o->first, o->verbose, &r);
    printf("seed %" PRIu64 ": transcript %016" PRIx64 ", %" PRIu64
           " writes, %" PRIu64 " failovers, %" PRIu64 " items moved, %" PRId64
           " ms of virtual time\n",
           o->first, r.hash, r.writes, r.failovers, r.moves, r.virtual_ms);
    printf("%d passed, %d failed, 0 skipped\n", !r.failed, r.failed);
    exit(r.failed);
}

int main(int argc, char **argv)
{
    struct options o = parse(argc, argv);
    struct shared *s;
    int64_t began = clock_mono_ms(), took;

    if (o.one)
        replay(&o);
    s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    run_all(s, &o);
    took = clock_mono_ms() - began;
    printf("%" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " faults, %" PRIu64
           " writes, %" PRIu64 " failovers, %" PRIu64 " leaves, %" PRIu64
           " gates forgotten, %" PRIu64 " items moved, %" PRIu64
           " s of virtual time in %" PRId64 ".%03" PRId64 " s\n",
           s->passed + s->failed, o.first, s->faults, s->writes, s->failovers,
           s->leaves, s->forgotten, s->moves, s->virtual_ms / 1000, took / 1000,
           took % 1000);
    printf("%" PRIu64 " passed, %" PRIu64 " failed, 0 skipped\n", s->passed,
           s->failed);
    return s->failed > 0;
}
