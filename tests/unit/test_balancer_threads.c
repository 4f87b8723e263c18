/*
 * test_balancer_threads.c - picks, ends and explanations from several threads
 * while the loop reports, adds and removes workers. Run under the thread
 * sanitizer it shows that the one lock covers everything; the sums show that
 * nothing is lost.
 */
#include "tests/unit/test_balancer.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS  2000
#define WORKERS 64

struct job {
    struct balancer *b;
    unsigned picks, done, empty;
};

static void *ask_and_end(void *arg)
{
    struct job *job = arg;
    struct balancer_pick picks[16];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {.now = START};
    struct buf out;

    buf_init(&out, 1 << 20);
    for (unsigned i = 0; i < ROUNDS; i++) {
        request.count = 1 + i % 16;
        request.peek = i % 7 == 0;
        request.group = i % 3 == 0 ? "odd" : NULL;
        request.affinity = i % 5 == 0 ? "key" : NULL;
        request.exclude[0] = "w3:1";
        request.n_exclude = i % 2;
        request.now = START + i;
        balancer_pick(job->b, &request, &answer);
        if (answer.code != BALANCER_OK)
            job->empty++;
        for (size_t n = 0; n < answer.n_picks && !request.peek; n++) {
            job->picks++;
            job->done += balancer_done(job->b, picks[n].pick);
        }
        if (i % 100 == 0) {
            buf_reset(&out);
            balancer_explain(job->b, &request, &out);
        }
    }
    buf_close(&out);
    return NULL;
}

static void set_worker(struct balancer *b, int i, mono_ms now)
{
    static const char *const odd[] = {"odd"};
    struct balancer_worker w = idle("", 16, now);

    snprintf(w.address, sizeof(w.address), "w%d:1", i);
    w.groups = odd;
    w.n_groups = (size_t)(i % 2);
    set(b, w, now);
}

static void threads_lose_no_pick(void **state)
{
    (void)state;
    for (int policy = CONF_LEDGER; policy <= CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN;
         policy++) {
        struct balancer *b = balancer_of((enum conf_policy)policy);
        struct job jobs[THREADS] = {0};
        pthread_t threads[THREADS];
        unsigned picks = 0, empty = 0;

        for (int i = 0; i < WORKERS; i++)
            set_worker(b, i, START);
        for (int i = 0; i < THREADS; i++) {
            jobs[i].b = b;
            assert_int_equal(
                pthread_create(&threads[i], NULL, ask_and_end, &jobs[i]), 0);
        }
        for (int i = 0; i < ROUNDS; i++) { /* this thread is the loop */
            char address[32];

            set_worker(b, i % WORKERS, START + i);
            snprintf(address, sizeof(address), "w%d:1", i * 7 % WORKERS);
            balancer_remove(b, address);
            set_worker(b, i * 7 % WORKERS, START + i);
            balancer_tick(b, START + i);
        }
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_int_equal(jobs[i].picks, jobs[i].done);
            picks += jobs[i].picks;
            empty += jobs[i].empty;
        }
        assert_int_equal(balancer_stats(b).picks, picks);
        assert_int_equal(balancer_stats(b).done, picks);
        assert_int_equal(balancer_stats(b).empty, empty);
        assert_int_equal(balancer_stats(b).unknown_picks, 0);
        balancer_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_lose_no_pick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
