/* many.c - see many.h. */
#include "tests/bench/live/many.h"
#include "tests/bench/live/wire.h"

#include "base/mem.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NICER 5 /* than what is measured */

struct turn { /* one run of one block */
    struct many_block *block;
    size_t seed;
};

static void *shared(size_t n, size_t size)
{
    void *p = mmap(NULL, n * size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert(n > 0 && size > 0);
    if (p == MAP_FAILED)
        wire_die("mmap: %s", strerror(errno));
    return p; /* zeroes */
}

static size_t outcomes_of(const struct many_block *b)
{
    return b->block.n_policies * b->block.n_seeds;
}

void many_block_init(struct many_block *b)
{
    assert(b->block.n_policies >= 1);
    assert(strcmp(b->policies[0]->name, policy_http.name) == 0);
    b->block.policies = b->policies;
    b->block.setting.scenario = &b->scenario;
    b->block.outcomes = shared(outcomes_of(b), sizeof(*b->block.outcomes));
    b->runs = shared(b->block.n_seeds, sizeof(*b->runs));
}

void many_block_close(struct many_block *b)
{
    munmap(b->block.outcomes, outcomes_of(b) * sizeof(*b->block.outcomes));
    munmap(b->runs, b->block.n_seeds * sizeof(*b->runs));
    b->block.outcomes = NULL;
    b->runs = NULL;
}

bool many_run_is_valid(const struct many_run *r)
{
    return r->complete && live_late(&r->stats) == NULL;
}

/* ---- in the process of one run ------------------------------------------- */

static void be_nicer(void)
{
    const struct sched_param p = {.sched_priority = 0};

    (void)sched_setscheduler(0, SCHED_OTHER, &p);
    (void)!nice(NICER);
}

static void measure(const struct many *m, const struct turn *t)
{
    struct block *b = &t->block->block;
    struct many_run *r = &t->block->runs[t->seed];
    struct live_option option = {m->program, m->more, &r->stats};
    struct policy http = policy_http;
    struct world *w = mem_alloc(sizeof(*w));

    http.option = &option;
    world_init(w, &b->setting, m->first + t->seed);
    run_policy(w, &http, &b->outcomes[t->seed]);
    be_nicer();
    if (live_late(&r->stats) == NULL || r->tries == MANY_TRIES) {
        for (size_t p = 1; p < b->n_policies; p++)
            run_policy(w, b->policies[p],
                       &b->outcomes[p * b->n_seeds + t->seed]);
        r->complete = true;
    }
    world_close(w);
    mem_free(w);
}

/* ---- in ours ------------------------------------------------------------- */

static void turn_start(const struct many *m, const struct turn *t)
{
    struct many_run *r = &t->block->runs[t->seed];
    pid_t parent = getpid(), pid;

    assert(r->state == MANY_WAITS);
    r->tries++;
    r->stats = (struct live_stats){.asked = 0};
    r->state = MANY_RUNS;
    (void)fflush(NULL);
    pid = fork();
    if (pid < 0)
        wire_die("fork: %s", strerror(errno));
    if (pid > 0) {
        r->pid = pid;
        return;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    measure(m, t);
    exit(0);
}

static bool turn_next(struct many_block *blocks, size_t n, struct turn *out)
{
    for (size_t i = 0; i < n; i++)
        for (size_t s = 0; s < blocks[i].block.n_seeds; s++)
            if (blocks[i].runs[s].state == MANY_WAITS) {
                *out = (struct turn){&blocks[i], s};
                return true;
            }
    return false;
}

static bool turn_of(struct many_block *blocks, size_t n, pid_t pid,
                    struct turn *out)
{
    for (size_t i = 0; i < n; i++)
        for (size_t s = 0; s < blocks[i].block.n_seeds; s++)
            if (blocks[i].runs[s].state == MANY_RUNS &&
                blocks[i].runs[s].pid == pid) {
                *out = (struct turn){&blocks[i], s};
                return true;
            }
    return false;
}

/* Wait for the end of one. */
static void turn_await(const struct many *m, struct many_block *blocks,
                       size_t n)
{
    struct turn t;
    int status;
    pid_t pid = waitpid(-1, &status, 0);

    if (pid < 0 && errno == EINTR)
        return;
    if (pid < 0 || !turn_of(blocks, n, pid, &t))
        wire_die("a run is lost: %s", strerror(errno));
    struct many_run *r = &t.block->runs[t.seed];

    if (status != 0 && r->stats.failed++ == 0)
        snprintf(r->stats.failure, sizeof(r->stats.failure),
                 "the run ended with status %d", status);
    r->state = many_run_is_valid(r) || r->tries == MANY_TRIES ? MANY_ENDED
                                                              : MANY_WAITS;
    m->tried(t.block, m->first + t.seed, r);
}

/* Its seeds have no run left. */
static bool block_is_over(const struct many_block *b)
{
    for (size_t s = 0; s < b->block.n_seeds; s++)
        if (b->runs[s].state != MANY_ENDED)
            return false;
    return true;
}

static bool block_is_valid(const struct many_block *b)
{
    for (size_t s = 0; s < b->block.n_seeds; s++)
        if (!many_run_is_valid(&b->runs[s]))
            return false;
    return true;
}

bool many_measure(const struct many *m, struct many_block *blocks, size_t n)
{
    size_t told = 0;
    uint32_t running = 0;
    bool valid = true;
    struct turn t;

    assert(m->jobs >= 1);
    while (told < n) {
        while (running < m->jobs && turn_next(blocks, n, &t)) {
            turn_start(m, &t);
            running++;
        }
        turn_await(m, blocks, n);
        running--;
        for (; told < n && block_is_over(&blocks[told]); told++) {
            valid = valid && block_is_valid(&blocks[told]);
            m->ended(m->arg, &blocks[told]);
        }
    }
    return valid;
}
