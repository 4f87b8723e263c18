/*
 * worker.h - one thread that runs blocking jobs in order and completes them on
 * a loop. For a database connection that only one thread may use.
 */
#ifndef PELORUS_BASE_WORKER_H
#define PELORUS_BASE_WORKER_H

#include "base/loop.h"

struct worker;

/* Embedded in the caller's job; the worker never allocates. */
struct worker_job {
    struct worker_job *next;
    loop_f *run;  /* on the worker's thread */
    loop_f *done; /* then on the loop; may free the job */
    void *arg;
    struct loop_slot slot;
};

/* Returns in how many milliseconds it wants to be called again; 0: as ever. */
typedef int64_t worker_idle_f(void *arg);

/* Loop thread. `idle` is called on the worker's thread about every `idle_ms`
 * and after each burst of jobs: the place to poll. NULL: none. */
struct worker *worker_new(struct loop *loop, size_t queue_max,
                          worker_idle_f *idle, void *idle_arg, int64_t idle_ms);

/* Loop thread. ERR_FULL when `queue_max` jobs wait. */
int worker_submit(struct worker *w, struct worker_job *job, loop_f *run,
                  loop_f *done, void *arg) MUST_CHECK;

/* Worker thread, inside run(): the next job waiting, taken off the queue for
 * this run() to do as well (group commit), or NULL: there is none. Its done()
 * is called after that of the job running. */
struct worker_job *worker_take_next(struct worker *w);

/* Worker thread: how many jobs wait. Inside run(): sleep, without a wake-up for
 * each, until `n` of them do, or none came for `quiet_us` microseconds, or
 * `most_us` are over; 0: not at all. */
size_t worker_await(struct worker *w, size_t n, int64_t quiet_us,
                    int64_t most_us);

/*
 * Loop thread: no new jobs; *w is NULL from here on. Those that wait are still
 * run, their done() is called by later turns of the loop, then stopped(arg).
 * Jobs that read the caller's pointer on the worker's thread (to take the next
 * one) may still run: then pass the address of a copy.
 */
void worker_stop(struct worker **w, loop_f *stopped, void *arg);

#endif
