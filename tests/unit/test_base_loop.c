/*
 * test_base_loop.c - the loop, its mailbox and its timers, with real threads.
 * Waiting is always for a condition with a deadline, never for a time.
 */
#include "base/loop.h"
#include "base/mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
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

struct record {
    int seen[256];
    size_t n;
};
static struct record record;

struct numbered {
    struct loop_slot slot;
    int number;
};

static void note(void *arg)
{
    assert_true(record.n < ARRAY_LEN(record.seen));
    record.seen[record.n++] = ((struct numbered *)arg)->number;
}

static void posts_and_completions_keep_their_order(void **state)
{
    struct numbered items[20];
    bool done = false;

    (void)state;
    record.n = 0;
    for (int i = 0; i < 20; i++) {
        items[i].number = i;
        if (i % 3 == 0)
            loop_complete(loop, &items[i].slot, note, &items[i]);
        else
            assert_int_equal(loop_post(loop, note, &items[i]), 0);
    }
    assert_int_equal(loop_post(loop, set, &done), 0);
    assert_int_equal(record.n, 0); /* nothing runs inside the post */
    turn_until(&done);
    assert_int_equal(record.n, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(record.seen[i], i);
}

static void what_completes_quietly_waits_for_another_reason(void **state)
{
    struct numbered items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    mono_ms start = clock_mono_ms();

    (void)state;
    record.n = 0;
    loop_complete_quietly(loop, &items[0].slot, note, &items[0]);
    loop_turn(loop, 50);
    assert_true(clock_mono_ms() >= start + 49); /* nothing woke it */
    assert_int_equal(record.n, 1);
    loop_complete_quietly(loop, &items[1].slot, note, &items[1]);
    loop_complete(loop, &items[2].slot, note, &items[2]);
    for (int i = 0; i < 10 && record.n < 3; i++)
        loop_turn(loop, 10000);
    assert_true(clock_mono_ms() < start + 10000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(record.seen[i], i);
}

static struct numbered afterwards;

static void ask_for_afterwards(void *arg)
{
    if (afterwards.number == 0) {
        afterwards.number = 100;
        assert_true(
            loop_after_calls(loop, &afterwards.slot, note, &afterwards));
    }
    note(arg);
}

static void what_comes_after_the_calls_runs_behind_them_once(void **state)
{
    struct numbered items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    struct loop_slot slot;
    mono_ms end = clock_mono_ms() + DEADLINE_MS;

    (void)state;
    record.n = 0;
    afterwards.number = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(loop_post(loop, ask_for_afterwards, &items[i]), 0);
    while (record.n < 4 && clock_mono_ms() < end)
        loop_turn(loop, 100);
    assert_int_equal(record.n, 4);
    for (int i = 0; i < 3; i++)
        assert_int_equal(record.seen[i], i);
    assert_int_equal(record.seen[3], 100);
    assert_false(loop_after_calls(loop, &slot, note, &items[0]));
    loop_turn(loop, 0);
    assert_int_equal(record.n, 4);
}

static void a_full_mailbox_refuses_and_completions_still_go(void **state)
{
    static struct numbered item = {.number = 1}; /* the last outlives us */
    struct loop_slot slot;
    bool done = false;

    (void)state;
    record.n = 0;
    for (int i = 0; i < 64; i++)
        assert_int_equal(loop_post(loop, note, &item), 0);
    assert_int_equal(loop_post(loop, note, &item), ERR_FULL);
    loop_complete(loop, &slot, set, &done);
    turn_until(&done);
    assert_int_equal(record.n, 64);
    assert_int_equal(loop_post(loop, note, &item), 0);
}

static int posts_left;

static void post_again(void *arg)
{
    if (posts_left-- > 0)
        assert_int_equal(loop_post(loop, post_again, arg), 0);
    else
        set(arg);
}

static void a_call_that_posts_again_runs_in_a_later_turn(void **state)
{
    struct loop *small;
    bool done = false;

    (void)state;
    posts_left = 3;
    assert_int_equal(loop_post(loop, post_again, &done), 0);
    loop_turn(loop, 1000);
    assert_int_equal(posts_left, 2);
    turn_until(&done);

    /* Its own slot is free again while it runs. */
    assert_int_equal(loop_new(&small, 1, NULL), 0);
    loop_free(&loop);
    loop = small;
    posts_left = 5;
    done = false;
    assert_int_equal(loop_post(loop, post_again, &done), 0);
    turn_until(&done);
}

#define POSTERS 4
#define EACH    5000

struct poster {
    pthread_t thread;
    int next; /* loop thread: the number expected next */
};
static struct poster posters[POSTERS];
static int arrived;

struct message {
    struct poster *from;
    int number;
};

static void receive(void *arg)
{
    struct message *m = arg;

    assert_int_equal(m->number, m->from->next);
    m->from->next++;
    mem_free(m);
    if (++arrived == POSTERS * EACH)
        loop_stop(loop);
}

static void *post_many(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        struct message *m = mem_alloc(sizeof(*m));
        int rc;

        *m = (struct message){arg, i};
        do {
            rc = loop_post(loop, receive, m);
        } while (rc == ERR_FULL);
        assert_int_equal(rc, 0);
    }
    return NULL;
}

static void threads_post_without_loss_and_in_order(void **state)
{
    (void)state;
    arrived = 0;
    for (int i = 0; i < POSTERS; i++) {
        posters[i].next = 0;
        assert_int_equal(
            pthread_create(&posters[i].thread, NULL, post_many, &posters[i]),
            0);
    }
    loop_run(loop);
    for (int i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_join(posters[i].thread, NULL), 0);
        assert_int_equal(posters[i].next, EACH);
    }
}

struct instant {
    bool done;
    mono_ms seen;
    mono_ms real;
};

static void look_at_clock(void *arg)
{
    struct instant *at = arg;

    at->seen = loop_clock(loop)->mono;
    at->real = clock_mono_ms();
    at->done = true;
}

static void *post_late(void *arg)
{
    mono_ms end = clock_mono_ms() + 60;

    while (clock_mono_ms() < end) {
    }
    assert_int_equal(loop_post(loop, look_at_clock, arg), 0);
    return NULL;
}

static void a_call_sees_the_time_after_the_wait(void **state)
{
    struct instant at = {0};
    mono_ms start = clock_mono_ms();
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, post_late, &at), 0);
    turn_until(&at.done);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(at.seen >= start + 60);
    assert_true(at.seen <= at.real);
}

static struct instant posted_in_turn;
static mono_ms posted_at;

/* As if it were stopped, and woke with a request that came meanwhile. */
static void dawdle_and_post(uv_async_t *handle)
{
    mono_ms end = clock_mono_ms() + 20;

    (void)handle;
    loop_enter(loop);
    while (clock_mono_ms() < end) {
    }
    posted_at = clock_mono_ms();
    assert_int_equal(loop_post(loop, look_at_clock, &posted_in_turn), 0);
}

static void a_call_is_not_older_than_its_post(void **state)
{
    uv_async_t early;

    (void)state;
    posted_in_turn = (struct instant){0};
    assert_int_equal(uv_async_init(loop_uv(loop), &early, dawdle_and_post), 0);
    assert_int_equal(uv_async_send(&early), 0);
    turn_until(&posted_in_turn.done);
    assert_true(posted_in_turn.seen >= posted_at);
    uv_close((uv_handle_t *)&early, NULL);
    loop_turn(loop, 0);
}

static mono_ms turn_times[2];
static size_t n_turn_times;

static void dawdle(void *arg)
{
    mono_ms end = clock_mono_ms() + 20;

    (void)arg;
    turn_times[n_turn_times++] = loop_clock(loop)->mono;
    while (clock_mono_ms() < end) {
    }
}

static void one_turn_has_one_time(void **state)
{
    (void)state;
    n_turn_times = 0;
    assert_int_equal(loop_post(loop, dawdle, NULL), 0);
    assert_int_equal(loop_post(loop, dawdle, NULL), 0);
    loop_turn(loop, 1000);
    assert_int_equal(n_turn_times, 2);
    assert_int_equal(turn_times[0], turn_times[1]);
}

static int ticks;
static struct loop_timer *ticking;

static void tick(void *arg)
{
    if (++ticks == 3) {
        loop_timer_stop(&ticking); /* from inside itself */
        set(arg);
    }
}

static void timers_fire_repeat_and_stop_themselves(void **state)
{
    mono_ms start = clock_mono_ms();
    struct loop_timer *once, *never;
    bool done = false, fired = false, wrong = false;

    (void)state;
    ticks = 0;
    once = loop_timer(loop, 1, 0, set, &fired);
    never = loop_timer(loop, 1, 0, set, &wrong);
    loop_timer_stop(&never);
    assert_null(never);
    loop_timer_stop(&never);
    ticking = loop_timer(loop, 20, 10, tick, &done);
    turn_until(&done);
    assert_null(ticking);
    assert_true(fired);
    assert_false(wrong);
    assert_true(clock_mono_ms() >= start + 40 - 3); /* 1 ms rounding each */
    loop_timer_stop(&once);
}

static void a_turn_ends_after_its_timeout(void **state)
{
    mono_ms start = clock_mono_ms();

    (void)state;
    loop_turn(loop, 0);
    loop_turn(loop, 30);
    assert_true(clock_mono_ms() >= start + 29);
    assert_true(loop_clock(loop)->mono >= start + 29);
}

/* A timer that takes so long that others have become due meanwhile. */
static void take_long(void *arg)
{
    mono_ms end = clock_mono_ms() + 20;

    *(bool *)arg = true;
    while (clock_mono_ms() <= end) {
    }
    uv_update_time(loop_uv(loop));
}

/* Its own timer may be due before it waits: on a busy machine 1 ms is soon
 * over. It ends nevertheless. */
static void a_turn_that_begins_late_ends_too(void **state)
{
    bool took_long = false, hung = false;
    struct loop_timer *slow = loop_timer(loop, 0, 0, take_long, &took_long);
    struct loop_timer *guard = loop_timer(loop, 20000, 0, set, &hung);

    (void)state;
    loop_turn(loop, 1);
    assert_true(took_long);
    assert_false(hung);
    loop_timer_stop(&slow);
    loop_timer_stop(&guard);
}

static void freeing_calls_what_was_posted(void **state)
{
    struct loop_slot slot;
    bool posted = false, completed = false;
    struct loop *other;

    (void)state;
    assert_int_equal(loop_new(&other, 4, NULL), 0);
    assert_int_equal(loop_post(other, set, &posted), 0);
    loop_complete(other, &slot, set, &completed);
    loop_stop(other);
    loop_free(&other);
    assert_true(posted);
    assert_true(completed);
    loop_free(&other);
}

/* --- a loop that is stuck ------------------------------------------------ */

static pthread_barrier_t barrier;

static void *watch_it(void *arg)
{
    int64_t *busy_ms = arg;

    (void)pthread_barrier_wait(&barrier); /* the loop is in our callback */
    while ((busy_ms[0] = loop_busy_ms(loop)) < 20) {
    }
    (void)pthread_barrier_wait(&barrier); /* and goes on */
    while ((busy_ms[1] = loop_busy_ms(loop)) != 0) {
    }
    return NULL;
}

static void get_stuck(void *arg)
{
    (void)arg;
    (void)pthread_barrier_wait(&barrier);
    (void)pthread_barrier_wait(&barrier);
}

static void a_loop_that_does_not_turn_shows(void **state)
{
    int64_t busy_ms[2] = {0};
    struct loop_timer *idle;
    bool done = false, ticked = false;
    pthread_t thread;

    (void)state;
    assert_int_equal(loop_busy_ms(loop), 0);
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, watch_it, busy_ms), 0);
    assert_int_equal(loop_post(loop, get_stuck, NULL), 0);
    assert_int_equal(loop_post(loop, set, &done), 0);
    turn_until(&done);
    idle = loop_timer(loop, 100, 0, set, &ticked);
    turn_until(&ticked);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(busy_ms[0] >= 20);
    assert_int_equal(busy_ms[1], 0);
    loop_timer_stop(&idle);
    (void)pthread_barrier_destroy(&barrier);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(posts_and_completions_keep_their_order),
        TEST(what_completes_quietly_waits_for_another_reason),
        TEST(what_comes_after_the_calls_runs_behind_them_once),
        TEST(a_full_mailbox_refuses_and_completions_still_go),
        TEST(a_call_that_posts_again_runs_in_a_later_turn),
        TEST(threads_post_without_loss_and_in_order),
        TEST(a_call_sees_the_time_after_the_wait),
        TEST(a_call_is_not_older_than_its_post),
        TEST(one_turn_has_one_time),
        TEST(timers_fire_repeat_and_stop_themselves),
        TEST(a_turn_ends_after_its_timeout),
        TEST(a_turn_that_begins_late_ends_too),
        TEST(freeing_calls_what_was_posted),
        TEST(a_loop_that_does_not_turn_shows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
