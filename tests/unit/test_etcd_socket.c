/*
 * test_etcd_socket.c - a socket that is crowded rests between two reads, loses
 * nothing by it, and never lets the first piece after a silence wait.
 */
#include "registry/etcd/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TEST(f)     cmocka_unit_test(f)
#define DEADLINE_MS 20000

struct place {
    struct loop *loop;
    struct etcd_socket *socket;
    int ours, theirs;
    size_t calls, bytes;
    bool closed, close_in_call, hurry_in_call;
};

static void on_closed(void *arg)
{
    ((struct place *)arg)->closed = true;
}

static size_t on_events(void *arg, uv_os_sock_t fd, int status, int events)
{
    struct place *p = arg;
    char piece[64 * 1024];
    ssize_t n;

    assert_int_equal(status, 0);
    assert_int_equal(events, UV_READABLE);
    n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
    p->calls++;
    p->bytes += n > 0 ? (size_t)n : 0;
    if (p->close_in_call && p->socket != NULL)
        etcd_socket_close(&p->socket, on_closed, p);
    if (p->hurry_in_call)
        etcd_socket_hurry(p->socket);
    return n > 0 ? (size_t)n : 0;
}

static void place_open(struct place *p, bool rests)
{
    int fds[2];

    *p = (struct place){0};
    assert_int_equal(loop_new(&p->loop, 16, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    p->ours = fds[0];
    p->theirs = fds[1];
    p->socket = etcd_socket_new(p->loop, p->ours, rests, on_events, p);
    assert_non_null(p->socket);
    assert_true(etcd_socket_wait(p->socket, rests, UV_READABLE));
}

static void place_close(struct place *p)
{
    if (p->socket != NULL)
        etcd_socket_close(&p->socket, on_closed, p);
    while (!p->closed)
        loop_turn(p->loop, 100);
    loop_free(&p->loop);
    (void)close(p->ours);
    (void)close(p->theirs);
}

static void send_piece(struct place *p, size_t n)
{
    static const char piece[64 * 1024];

    assert_int_equal(send(p->theirs, piece, n, 0), (ssize_t)n);
}

static void until_read(struct place *p, size_t bytes)
{
    mono_ms until = clock_mono_ms() + DEADLINE_MS;

    while (p->bytes < bytes && clock_mono_ms() < until)
        loop_turn(p->loop, 100);
    assert_int_equal(p->bytes, bytes);
}

/* Pieces of `n` bytes, one after the other, each read before the next. Does it
 * begin to rest? A machine that is too slow to crowd it may try again. */
static bool crowd(struct place *p, size_t n, unsigned pieces)
{
    for (unsigned i = 0; i < pieces; i++) {
        size_t calls = p->calls;

        send_piece(p, n);
        loop_turn(p->loop, 0);
        if (p->calls == calls)
            return true; /* it is there, and nobody was called */
    }
    return false;
}

/* Open, and at rest. */
static void place_crowded(struct place *p)
{
    place_open(p, true);
    while (!crowd(p, 100, 1000)) {
    }
}

static void one_that_is_crowded_rests_and_loses_nothing(void **state)
{
    struct place p;
    size_t calls;

    (void)state;
    place_crowded(&p);
    calls = p.calls;
    for (int i = 0; i < 50; i++)
        send_piece(&p, 100);
    until_read(&p, (calls + 51) * 100);
    assert_in_range(p.calls - calls, 1, 5); /* for 51 pieces */
    place_close(&p);
}

static void the_first_after_a_silence_is_read_at_once(void **state)
{
    mono_ms silent;
    struct place p;
    size_t calls;

    (void)state;
    place_crowded(&p);
    until_read(&p, (p.calls + 1) * 100);
    silent = clock_mono_ms() + 5 * SOCKET_REST_MS;
    do { /* the rest is over when it brought nothing */
        loop_turn(p.loop, SOCKET_REST_MS);
        loop_turn(p.loop, SOCKET_REST_MS);
    } while (clock_mono_ms() < silent);
    calls = p.calls;
    send_piece(&p, 100);
    loop_turn(p.loop, 0);
    assert_int_equal(p.calls, calls + 1);
    place_close(&p);
}

/* More bytes while it rests than a crowd brings; then few: the next comes at
 * once again. */
static void what_brings_little_is_no_crowd_any_more(void **state)
{
    struct place p;
    size_t calls, bytes;

    (void)state;
    place_crowded(&p);
    bytes = (p.calls + 1) * 100;
    send_piece(&p, 4000);
    until_read(&p, bytes += 4000);
    send_piece(&p, 1000);
    calls = p.calls;
    loop_turn(p.loop, 0);
    assert_int_equal(p.calls, calls); /* it rests still */
    until_read(&p, bytes += 1000);
    send_piece(&p, 100);
    calls = p.calls;
    loop_turn(p.loop, 0);
    assert_int_equal(p.calls, calls + 1);
    place_close(&p);
}

static void who_waits_ends_the_rest(void **state)
{
    struct place p;
    size_t calls;

    (void)state;
    place_crowded(&p);
    calls = p.calls;
    etcd_socket_hurry(p.socket);
    loop_turn(p.loop, 0);
    assert_int_equal(p.calls, calls + 1);
    assert_false(crowd(&p, 100, 2)); /* nor does it rest again at once */
    etcd_socket_hurry(p.socket);     /* one that does not rest */
    assert_false(crowd(&p, 100, 2));
    place_close(&p);
}

/* What was read makes somebody wait for the next. */
static void who_waits_since_it_was_read_ends_the_rest(void **state)
{
    struct place p;
    size_t calls;

    (void)state;
    place_crowded(&p);
    p.hurry_in_call = true;
    send_piece(&p, 4000);
    until_read(&p, (p.calls + 1) * 100 + 4000);
    calls = p.calls;
    send_piece(&p, 100);
    loop_turn(p.loop, 0);
    assert_int_equal(p.calls, calls + 1);
    place_close(&p);
}

static void others_never_rest(void **state)
{
    struct place p;

    (void)state;
    place_open(&p, false);
    assert_false(crowd(&p, 100, 200));
    place_close(&p);
    place_open(&p, true);
    assert_false(crowd(&p, 60 * 1024, 200)); /* it brings much at once */
    place_close(&p);
}

static void it_may_be_closed_while_it_rests_and_when_it_is_read(void **state)
{
    struct place p;

    (void)state;
    place_crowded(&p);
    place_close(&p);
    place_crowded(&p);
    p.close_in_call = true;
    for (mono_ms until = clock_mono_ms() + DEADLINE_MS;
         !p.closed && clock_mono_ms() < until;)
        loop_turn(p.loop, 100);
    assert_true(p.closed);
    place_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_that_is_crowded_rests_and_loses_nothing),
        TEST(the_first_after_a_silence_is_read_at_once),
        TEST(what_brings_little_is_no_crowd_any_more),
        TEST(who_waits_ends_the_rest),
        TEST(who_waits_since_it_was_read_ends_the_rest),
        TEST(others_never_rest),
        TEST(it_may_be_closed_while_it_rests_and_when_it_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
