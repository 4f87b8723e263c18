/*
 * worker.c - the thread behind a connection that only one thread may use.
 *
 * Jobs and their completions are embedded in the caller's objects: a queue
 * that allocates could not promise to complete what it accepted. The thread
 * takes no signals, so that no blocking call is broken by ours.
 */
#include "base/worker.h"

#include "base/locks.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

struct worker {
    struct loop *loop;
    loop_f *idle;
    void *idle_arg;
    int64_t idle_ms;
    size_t queue_max;
    pthread_t thread;

    /* Worker thread only: taken by worker_take_next() for the running job. */
    struct worker_job *taken, **taken_tail;
    bool running;

    /* Written before the thread ends, read on the loop after it. */
    struct loop_slot stopped_slot;
    loop_f *stopped;
    void *stopped_arg;

    /* Mutex "worker" protects the rest. */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct worker_job *head, **tail;
    size_t waiting;
    bool stopping;
};

static int64_t now_ms(void)
{
    struct timespec ts;
    int rc = clock_gettime(CLOCK_MONOTONIC, &ts);

    assert(rc == 0);
    (void)rc;
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Mutex "worker" is held. */
static struct worker_job *pop(struct worker *w)
{
    struct worker_job *job = w->head;

    if (job != NULL) {
        w->head = job->next;
        if (w->head == NULL)
            w->tail = &w->head;
        w->waiting--;
        job->next = NULL;
    }
    return job;
}

/*
 * Takes mutex "worker". Waits for a job until `deadline` (CLOCK_MONOTONIC, ms;
 * negative: for ever). NULL: the deadline passed, or *end and nothing waits.
 */
static struct worker_job *next_job(struct worker *w, int64_t deadline,
                                   bool *end)
{
    struct timespec until = {.tv_sec = (time_t)(deadline / 1000),
                             .tv_nsec = (long)(deadline % 1000) * 1000000};
    struct worker_job *job;
    int rc = 0;

    lock_acquire(&w->mutex);
    while (w->head == NULL && !w->stopping && rc != ETIMEDOUT) {
        if (deadline < 0)
            rc = pthread_cond_wait(&w->wake, &w->mutex);
        else
            rc = pthread_cond_timedwait(&w->wake, &w->mutex, &until);
        assert(rc == 0 || rc == ETIMEDOUT);
    }
    job = pop(w);
    *end = w->stopping && job == NULL;
    lock_release(&w->mutex);
    return job;
}

static void run_job(struct worker *w, struct worker_job *job)
{
    struct worker_job *next;

    assert(w->taken == NULL);
    w->taken_tail = &w->taken;
    w->running = true;
    job->run(job->arg);
    w->running = false;
    /* A job belongs to its owner again as soon as it is completed. */
    loop_complete(w->loop, &job->slot, job->done, job->arg);
    for (job = w->taken; job != NULL; job = next) {
        next = job->next;
        loop_complete(w->loop, &job->slot, job->done, job->arg);
    }
    w->taken = NULL;
}

/* On the loop, after the last job's done(): the thread is at its end. */
static void on_stopped(void *arg)
{
    struct worker *w = arg;
    loop_f *stopped = w->stopped;
    void *stopped_arg = w->stopped_arg;
    int rc = pthread_join(w->thread, NULL);

    assert(rc == 0);
    assert(w->head == NULL && w->waiting == 0);
    rc = pthread_cond_destroy(&w->wake);
    assert(rc == 0);
    rc = pthread_mutex_destroy(&w->mutex);
    assert(rc == 0);
    mem_free(w);
    if (stopped != NULL)
        stopped(stopped_arg);
}

static void *thread_main(void *arg)
{
    struct worker *w = arg;
    bool polls = w->idle != NULL;
    int64_t deadline = polls ? now_ms() + w->idle_ms : -1;
    bool end = false, burst = false;

    while (!end) {
        /* After a job: look without waiting, so that a burst's end shows. */
        struct worker_job *job =
            next_job(w, burst && polls ? 0 : deadline, &end);

        if (job != NULL) {
            run_job(w, job);
            burst = true;
        }
        if (!end && polls && (job == NULL || now_ms() >= deadline)) {
            w->idle(w->idle_arg);
            deadline = now_ms() + w->idle_ms;
            burst = false;
        }
    }
    loop_complete(w->loop, &w->stopped_slot, on_stopped, w);
    return NULL;
}

struct worker *worker_new(struct loop *loop, size_t queue_max, loop_f *idle,
                          void *idle_arg, int64_t idle_ms)
{
    struct worker *w = mem_zalloc(sizeof(*w));
    pthread_condattr_t attr;
    sigset_t all, before;
    int rc;

    assert(queue_max > 0);
    assert(idle == NULL || idle_ms > 0);
    w->loop = loop;
    w->idle = idle;
    w->idle_arg = idle_arg;
    w->idle_ms = idle_ms;
    w->queue_max = queue_max;
    w->tail = &w->head;
    rc = pthread_mutex_init(&w->mutex, NULL);
    assert(rc == 0);
    (void)pthread_condattr_init(&attr);
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    assert(rc == 0);
    rc = pthread_cond_init(&w->wake, &attr);
    assert(rc == 0);
    (void)pthread_condattr_destroy(&attr);

    /* The new thread inherits the mask. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&w->thread, NULL, thread_main, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    /* As with memory: at start, and nothing can be done without it. */
    assert(rc == 0);
    return w;
}

/* Takes mutex "worker". */
int worker_submit(struct worker *w, struct worker_job *job, loop_f *run,
                  loop_f *done, void *arg)
{
    enum err_code code = ERR_OK;

    assert(run != NULL && done != NULL);
    lock_acquire(&w->mutex);
    assert(!w->stopping);
    if (w->waiting >= w->queue_max) {
        code = ERR_FULL;
    } else {
        job->next = NULL;
        job->run = run;
        job->done = done;
        job->arg = arg;
        *w->tail = job;
        w->tail = &job->next;
        w->waiting++;
        (void)pthread_cond_signal(&w->wake);
    }
    lock_release(&w->mutex);
    return (int)code;
}

/* Takes mutex "worker". */
struct worker_job *worker_take_next(struct worker *w)
{
    struct worker_job *job;

    assert(w->running);
    lock_acquire(&w->mutex);
    job = pop(w);
    lock_release(&w->mutex);
    if (job != NULL) {
        *w->taken_tail = job;
        w->taken_tail = &job->next;
    }
    return job;
}

/* Takes mutex "worker". */
void worker_stop(struct worker **w_ptr, loop_f *stopped, void *arg)
{
    struct worker *w = *w_ptr;

    *w_ptr = NULL;
    lock_acquire(&w->mutex);
    assert(!w->stopping);
    w->stopping = true;
    w->stopped = stopped;
    w->stopped_arg = arg;
    (void)pthread_cond_signal(&w->wake);
    lock_release(&w->mutex);
}
