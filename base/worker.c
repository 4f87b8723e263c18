/*
 * worker.c - the thread behind a connection that only one thread may use.
 *
 * Jobs and their completions are embedded in the caller's objects: a queue
 * that allocates could not promise to complete what it accepted.
 */
#include "base/worker.h"

#include "base/locks.h"
#include "base/mem.h"

#define WAKE_AT 16 /* jobs: the thread is woken before the loop has done */

struct worker {
    struct loop *loop;
    worker_idle_f *idle;
    void *idle_arg;
    int64_t idle_ms;
    size_t queue_max;
    pthread_t thread;

    /* Worker thread only: taken by worker_take_next() for the running job. */
    struct worker_job *taken, **taken_tail;
    bool running;

    /* Loop only: it wakes the thread when it has called what waits. */
    bool waking;
    struct loop_slot wake_slot;

    /* Written before the thread ends, read on the loop after it. */
    struct loop_slot stopped_slot;
    loop_f *stopped;
    void *stopped_arg;

    /* Mutex "worker" protects the rest. */
    pthread_mutex_t mutex;
    uv_cond_t wake;
    struct worker_job *head, **tail;
    size_t waiting;
    size_t wanted; /* so many waiting wake the thread */
    bool stopping;
};

/* CLOCK_MONOTONIC: poll intervals do not count the host's sleep. */
static int64_t now_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000);
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
    struct worker_job *job;

    lock_acquire(&w->mutex);
    while (w->head == NULL && !w->stopping) {
        int64_t left = deadline < 0 ? 0 : deadline - now_ms();

        if (deadline < 0)
            uv_cond_wait(&w->wake, &w->mutex);
        else if (left <= 0 || uv_cond_timedwait(&w->wake, &w->mutex,
                                                (uint64_t)left * 1000000) != 0)
            break;
    }
    job = pop(w);
    *end = w->stopping && job == NULL;
    lock_release(&w->mutex);
    return job;
}

static void set_slot(struct worker_job *job)
{
    job->slot = (struct loop_slot){.fn = job->done, .arg = job->arg};
}

static void run_job(struct worker *w, struct worker_job *job)
{
    struct worker_job *last = job;

    assert(w->taken == NULL);
    w->taken_tail = &w->taken;
    w->running = true;
    job->run(job->arg);
    w->running = false;
    /* A job belongs to its owner again as soon as it is completed: they are
     * all of one chain, and the loop gets that at once. */
    set_slot(job);
    for (job->next = w->taken; last->next != NULL; last = last->next) {
        set_slot(last->next);
        last->slot.next = &last->next->slot;
    }
    w->taken = NULL;
    loop_complete_chain(w->loop, &job->slot);
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
    uv_cond_destroy(&w->wake);
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
            int64_t again_ms = w->idle(w->idle_arg);

            assert(again_ms >= 0);
            deadline = now_ms() + (again_ms > 0 ? again_ms : w->idle_ms);
            burst = false;
        }
    }
    loop_complete(w->loop, &w->stopped_slot, on_stopped, w);
    return NULL;
}

struct worker *worker_new(struct loop *loop, size_t queue_max,
                          worker_idle_f *idle, void *idle_arg, int64_t idle_ms)
{
    struct worker *w = mem_zalloc(sizeof(*w));
    int rc;

    assert(queue_max > 0);
    assert(idle == NULL || idle_ms > 0);
    w->loop = loop;
    w->idle = idle;
    w->idle_arg = idle_arg;
    w->idle_ms = idle_ms;
    w->queue_max = queue_max;
    w->tail = &w->head;
    w->wanted = 1;
    rc = pthread_mutex_init(&w->mutex, NULL);
    assert(rc == 0);
    rc = uv_cond_init(&w->wake);
    assert(rc == 0);
    lock_start_thread(&w->thread, thread_main, w);
    return w;
}

/* Takes mutex "worker". */
static void wake_now(void *arg)
{
    struct worker *w = arg;

    w->waking = false;
    lock_acquire(&w->mutex);
    if (w->waiting >= w->wanted)
        uv_cond_signal(&w->wake);
    lock_release(&w->mutex);
}

/*
 * Mutex "worker" is held. Jobs of one moment wake the thread once, when the
 * last of them has come: a wake-up costs the loop more than most jobs do, and
 * the thread, that would go back to sleep until it has them all, another. True:
 * now.
 */
static bool wakes(struct worker *w)
{
    if (w->waiting < w->wanted || (w->waking && w->waiting < WAKE_AT))
        return false;
    if (!w->waking && w->waiting < WAKE_AT)
        w->waking = loop_after_calls(w->loop, &w->wake_slot, wake_now, w);
    return !w->waking || w->waiting >= WAKE_AT;
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
        if (wakes(w))
            uv_cond_signal(&w->wake);
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
size_t worker_await(struct worker *w, size_t n, int64_t quiet_us,
                    int64_t most_us)
{
    uint64_t now = uv_hrtime(), end = now + (uint64_t)most_us * 1000;
    uint64_t quiet = (uint64_t)quiet_us * 1000;
    size_t before = SIZE_MAX;

    assert(quiet_us >= 0 && most_us >= 0);
    lock_acquire(&w->mutex);
    w->wanted = n;
    while (w->waiting < n && w->waiting != before && !w->stopping &&
           now < end) {
        before = w->waiting;
        (void)uv_cond_timedwait(&w->wake, &w->mutex,
                                quiet < end - now ? quiet : end - now);
        now = uv_hrtime();
    }
    w->wanted = 1;
    n = w->waiting;
    lock_release(&w->mutex);
    return n;
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
    uv_cond_signal(&w->wake);
    lock_release(&w->mutex);
}
