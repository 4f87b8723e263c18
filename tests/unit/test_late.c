/*
 * test_late.c - the queue in which events wait to be decided again: what comes
 * out is what went in, in order, and a report is as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "balancer/second/second_priv.h"
#include "base/rand.h"

#define EVENTS 20000

/* The n-th: its number, then so many bytes of it. */
static size_t make(uint32_t n, char *out)
{
    size_t len = n % 1000 == 7 ? 100000 : n % 97;

    memset(out, (int)(n & 0xff), len + sizeof(n));
    memcpy(out, &n, sizeof(n));
    return len + sizeof(n);
}

static void assert_first(const struct late_queue *q, uint32_t n)
{
    static char expected[100100];
    const struct late *l = second_late_first(q);

    assert_non_null(l);
    assert_int_equal((uintptr_t)l % _Alignof(struct late), 0);
    assert_int_equal(l->len, make(n, expected));
    assert_memory_equal(l->data, expected, l->len);
    assert_null(l->later);
    assert_null(l->of);
}

static void queue_gives_back_in_order_what_it_was_given(void **state)
{
    static char data[100100];
    struct late_queue q = {0};
    uint32_t in = 0, out = 0;
    struct rand r;

    (void)state;
    rand_seed(&r, 1);
    while (out < EVENTS) {
        if (in < EVENTS && (in == out || rand_below(&r, 100) < 60)) {
            (void)second_late_add(&q, data, make(in, data));
            in++;
        } else {
            assert_first(&q, out++);
            second_late_drop(&q);
        }
        assert_int_equal(q.n, in - out);
    }
    assert_null(second_late_first(&q));
    assert_int_equal(q.bytes, 0);
    assert_null(q.first);
}

static void queue_frees_those_that_wait(void **state)
{
    struct late_queue q = {0};
    static char data[100100];

    (void)state;
    for (uint32_t i = 0; i < 5000; i++)
        (void)second_late_add(&q, data, make(i % 90, data));
    second_late_drop(&q);
    second_late_close(&q);
    assert_null(second_late_first(&q));
}

static const char *const groups[] = {"etl", "spark", "x"};

static struct balancer_worker any_worker(struct rand *r)
{
    struct balancer_worker w = {
        .busy = rand_below(r, 2) == 0,
        .dead = rand_below(r, 2) == 0,
        .closed = rand_below(r, 2) == 0,
        .degraded = rand_below(r, 2) == 0,
        .weight = (int32_t)rand_below(r, 10000),
        .slots = (int32_t)rand_below(r, 1000) - 1,
        .cpu = rand_double(r),
        .memory = -rand_double(r),
        .disk = 0.1 * (double)rand_below(r, 10),
        .pool = 100 * rand_double(r),
        .reported = (mono_ms)rand_below(r, 1u << 30),
        .lease_ms = (int64_t)rand_below(r, 100000),
        .since = (mono_ms)rand_below(r, 1u << 30) - 1000,
        .incarnation = rand_u64(r),
        .groups = groups,
        .n_groups = (size_t)rand_below(r, 4),
    };

    (void)snprintf(w.address, sizeof(w.address), "10.0.0.%u:1234",
                   (unsigned)rand_below(r, 256));
    return w;
}

static void assert_as_it_was(const struct balancer_worker *a,
                             const struct balancer_worker *b)
{
    assert_string_equal(a->address, b->address);
    assert_int_equal(a->busy, b->busy);
    assert_int_equal(a->dead, b->dead);
    assert_int_equal(a->closed, b->closed);
    assert_int_equal(a->degraded, b->degraded);
    assert_int_equal(a->weight, b->weight);
    assert_int_equal(a->slots, b->slots);
    assert_memory_equal(&a->cpu, &b->cpu, 4 * sizeof(double));
    assert_int_equal(a->reported, b->reported);
    assert_int_equal(a->lease_ms, b->lease_ms);
    assert_int_equal(a->since, b->since);
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->n_groups, b->n_groups);
    for (size_t i = 0; i < a->n_groups; i++)
        assert_string_equal(a->groups[i], b->groups[i]);
}

static void report_is_as_it_was(void **state)
{
    struct late_queue q = {0};
    struct feed_reader reader;
    struct buf out;
    struct rand r;

    (void)state;
    rand_seed(&r, 2);
    second_reader_init(&reader);
    buf_init(&out, 10000);
    for (int i = 0; i < 2000; i++) {
        struct balancer_worker w = any_worker(&r);
        mono_ms at = w.reported + (mono_ms)rand_below(&r, 100);
        struct balancer_event e = {.kind = BALANCER_EVENT_SET,
                                   .now = at - (mono_ms)rand_below(&r, 3),
                                   .u.set = &w};
        struct late *l;

        if (i == 0)
            w.cpu = NAN;
        buf_reset(&out);
        second_pack_report(&out, &e, at);
        l = second_late_add(&q, out.data, out.len);
        l->now = at;
        second_unpack_report(&reader, w.address, l);
        assert_int_equal(reader.event.kind, BALANCER_EVENT_SET);
        assert_int_equal(reader.event.now, e.now);
        assert_as_it_was(reader.event.u.set, &w);
        second_late_drop(&q);
    }
    second_reader_close(&reader);
    second_late_close(&q);
    buf_close(&out);
}

/* 20,000 of them wait of 10,000 workers. */
static void report_takes_few_bytes(void **state)
{
    struct balancer_worker w = {.weight = 100,
                                .slots = 16,
                                .cpu = 0.123,
                                .memory = 0.456,
                                .disk = 0.789,
                                .pool = 0.3,
                                .reported = 123456789,
                                .since = 123450000,
                                .incarnation = UINT64_C(1) << 40};
    struct balancer_event e = {
        .kind = BALANCER_EVENT_SET, .now = 123456789, .u.set = &w};
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    second_pack_report(&out, &e, 123456790);
    assert_true(sizeof(struct late) + out.len <= 96);
    buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_gives_back_in_order_what_it_was_given),
        cmocka_unit_test(queue_frees_those_that_wait),
        cmocka_unit_test(report_is_as_it_was),
        cmocka_unit_test(report_takes_few_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
