/*
 * test_base_worker.c - workers: order, group commit, bounds and polling.
 * Waiting is always for a condition with a deadline, never for a time.
 */
#include "base/loop.h"
#include "base/worker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEADLINE_MS 60000

static struct loop *loop;

static int setup(void **state)
{
    (void)state;
    return loop_new(&loop, 64, NULL);
}

static int teardown(void **state)
{
    (void)state;
    loop_free(&loop);
    assert_null(loop);
    return 0;
}

/* Turns the loop until *done, or fails. */
static void turn_until(const bool *done)
{
    mono_ms end = clock_mono_ms() + DEADLINE_MS;

    while (!*done) {
        loop_turn(loop, 100);
        assert_true(clock_mono_ms() < end);
    }
}

static void set(void *arg)
{
    *(bool *)arg = true;
}

static int seen[64];
static size_t n_seen;

struct job {
    struct worker_job job;
    int number;
    pthread_t ran_on;
    int group; /* jobs taken along by its run() */
};
static struct worker *worker;
static atomic_int gate; /* jobs wait until it is open */

static void run_job(void *arg)
{
    ((struct job *)arg)->ran_on = pthread_self();
}

static void job_done(void *arg)
{
    assert_true(n_seen < ARRAY_LEN(seen));
    seen[n_seen++] = ((struct job *)arg)->number;
}

static void run_group(void *arg)
{
    struct job *job = arg;

    while (!atomic_load(&gate)) {
    }
    while (worker_take_next(worker) != NULL)
        job->group++;
}

static void stop_worker(void)
{
    struct worker *copy = worker; /* run_group() still reads the original */
    bool stopped = false;

    worker_stop(&copy, set, &stopped);
    assert_null(copy);
    turn_until(&stopped);
}

static void jobs_run_in_order_on_one_other_thread(void **state)
{
    struct job jobs[50];

    (void)state;
    n_seen = 0;
    worker = worker_new(loop, 100, NULL, NULL, 0);
    for (int i = 0; i < 50; i++) {
        jobs[i].number = i;
        assert_int_equal(
            worker_submit(worker, &jobs[i].job, run_job, job_done, &jobs[i]),
            0);
    }
    stop_worker(); /* those that wait are still run */
    assert_int_equal(n_seen, 50);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(seen[i], i);
        assert_false(pthread_equal(jobs[i].ran_on, pthread_self()));
        assert_true(pthread_equal(jobs[i].ran_on, jobs[0].ran_on));
    }
}

static void a_job_takes_the_waiting_ones_along(void **state)
{
    struct job jobs[6];

    (void)state;
    n_seen = 0;
    atomic_store(&gate, 0);
    worker = worker_new(loop, 6, NULL, NULL, 0);
    for (int i = 0; i < 6; i++) {
        jobs[i].number = i;
        jobs[i].group = 0;
        assert_int_equal(
            worker_submit(worker, &jobs[i].job, run_group, job_done, &jobs[i]),
            0);
    }
    atomic_store(&gate, 1);
    stop_worker();
    assert_int_equal(jobs[0].group, 5);
    assert_int_equal(n_seen, 6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(seen[i], i);
}

static size_t awaited;
struct crowd {
    struct job jobs[40];
    int n;
};

/* Called by the loop, for what was posted. */
static void submit_crowd(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < c->n; i++)
        assert_int_equal(worker_submit(worker, &c->jobs[i].job, run_job,
                                       job_done, &c->jobs[i]),
                         0);
}

/* However many come at one moment: the thread that sleeps is woken for them. */
static void jobs_of_one_moment_wake_the_worker(void **state)
{
    static const int crowds[] = {1, 2, 15, 16, 17, 40, 1};
    mono_ms end = clock_mono_ms() + DEADLINE_MS;
    struct crowd c = {0};

    (void)state;
    worker = worker_new(loop, 40, NULL, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(crowds); i++) {
        n_seen = 0;
        c.n = crowds[i];
        for (int k = 0; k < c.n; k++)
            c.jobs[k].number = k;
        assert_int_equal(loop_post(loop, submit_crowd, &c), 0);
        while (n_seen < (size_t)c.n && clock_mono_ms() < end)
            loop_turn(loop, 100);
        assert_int_equal(n_seen, c.n);
        for (int k = 0; k < c.n; k++)
            assert_int_equal(seen[k], k);
    }
    stop_worker();
}

static int64_t quiet_us;

static void run_await(void *arg)
{
    atomic_store(&gate, 1);
    awaited = worker_await(worker, 3, quiet_us, (int64_t)DEADLINE_MS * 1000);
    while (worker_take_next(worker) != NULL)
        ((struct job *)arg)->group++;
}

static void begin_awaiting(struct job jobs[4])
{
    n_seen = 0;
    awaited = SIZE_MAX;
    atomic_store(&gate, 0);
    worker = worker_new(loop, 4, NULL, NULL, 0);
    for (int i = 0; i < 4; i++)
        jobs[i] = (struct job){.number = i};
    assert_int_equal(
        worker_submit(worker, &jobs[0].job, run_await, job_done, &jobs[0]), 0);
    while (atomic_load(&gate) == 0) {
    }
}

static void a_job_waits_until_so_many_have_come(void **state)
{
    struct job jobs[4];

    (void)state;
    quiet_us = (int64_t)DEADLINE_MS * 1000;
    begin_awaiting(jobs);
    for (int i = 1; i < 4; i++)
        assert_int_equal(
            worker_submit(worker, &jobs[i].job, run_job, job_done, &jobs[i]),
            0);
    while (n_seen < 4)
        loop_turn(loop, 100);
    assert_int_equal(awaited, 3);
    assert_int_equal(jobs[0].group, 3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(seen[i], i); /* one chain, in order */
    stop_worker();
}

static void a_job_waits_no_longer_than_they_come(void **state)
{
    mono_ms end = clock_mono_ms() + DEADLINE_MS / 2;
    struct job jobs[4];

    (void)state;
    quiet_us = 2000;
    begin_awaiting(jobs);
    while (n_seen < 1)
        loop_turn(loop, 100);
    assert_true(clock_mono_ms() < end);
    assert_int_equal(awaited, 0);
    stop_worker();
}

static void nobody_is_awaited_by_a_worker_that_ends(void **state)
{
    mono_ms end = clock_mono_ms() + DEADLINE_MS / 2;
    struct job jobs[4];

    (void)state;
    quiet_us = (int64_t)DEADLINE_MS * 1000;
    begin_awaiting(jobs);
    stop_worker();
    assert_true(clock_mono_ms() < end);
    assert_int_equal(awaited, 0);
    assert_int_equal(n_seen, 1);
}

static void a_full_worker_refuses(void **state)
{
    struct job jobs[4];
    int accepted = 0, refused = 0;

    (void)state;
    n_seen = 0;
    atomic_store(&gate, 0);
    worker = worker_new(loop, 2, NULL, NULL, 0);
    for (int i = 0; i < 4; i++) {
        int rc;

        jobs[i].number = i;
        rc = worker_submit(worker, &jobs[i].job, run_group, job_done, &jobs[i]);
        accepted += rc == 0;
        refused += rc == ERR_FULL;
    }
    /* One may have left the queue already: it waits at the gate. */
    assert_in_range(accepted, 2, 3);
    assert_int_equal(accepted + refused, 4);
    atomic_store(&gate, 1);
    stop_worker();
    assert_int_equal(n_seen, accepted);
}

static atomic_int polls;

static int64_t count_poll(void *arg)
{
    (void)arg;
    atomic_fetch_add(&polls, 1);
    return 0;
}

static int64_t count_poll_and_want_more(void *arg)
{
    (void)arg;
    return atomic_fetch_add(&polls, 1) < 4 ? 1 : 0;
}

static void wait_for_polls(int n)
{
    mono_ms end = clock_mono_ms() + DEADLINE_MS;

    while (atomic_load(&polls) < n) {
        loop_turn(loop, 1);
        assert_true(clock_mono_ms() < end);
    }
}

static void an_idle_worker_polls(void **state)
{
    (void)state;
    atomic_store(&polls, 0);
    worker = worker_new(loop, 2, count_poll, NULL, 5);
    wait_for_polls(3);
    stop_worker();
}

static void a_worker_polls_after_a_burst(void **state)
{
    struct job job = {.number = 1};

    (void)state;
    n_seen = 0;
    atomic_store(&polls, 0);
    /* So long that only the burst can be the reason. */
    worker = worker_new(loop, 2, count_poll, NULL, 3600000);
    assert_int_equal(worker_submit(worker, &job.job, run_job, job_done, &job),
                     0);
    wait_for_polls(1);
    stop_worker();
    assert_int_equal(n_seen, 1);
}

static void a_poll_says_when_it_wants_the_next(void **state)
{
    struct job job = {.number = 1};

    (void)state;
    n_seen = 0;
    atomic_store(&polls, 0);
    worker = worker_new(loop, 2, count_poll_and_want_more, NULL, 3600000);
    assert_int_equal(worker_submit(worker, &job.job, run_job, job_done, &job),
                     0);
    wait_for_polls(5);
    stop_worker();
    assert_int_equal(atomic_load(&polls), 5); /* and then as ever */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(jobs_run_in_order_on_one_other_thread),
        TEST(a_job_takes_the_waiting_ones_along),
        TEST(jobs_of_one_moment_wake_the_worker),
        TEST(a_job_waits_until_so_many_have_come),
        TEST(a_job_waits_no_longer_than_they_come),
        TEST(nobody_is_awaited_by_a_worker_that_ends),
        TEST(a_full_worker_refuses),
        TEST(an_idle_worker_polls),
        TEST(a_poll_says_when_it_wants_the_next),
        TEST(a_worker_polls_after_a_burst),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
