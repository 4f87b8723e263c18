/*
 * test_zookeeper_dial.c - a talk with a server that hangs up, in whatever order
 * the end of the connection and our own steps come.
 *
 * Each way to hang up is tried with a pause before each step of ours, in which
 * the server's end has surely arrived. For that the three calls of the system
 * are wrapped here, and call it directly.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define WITHIN_MS 60000 /* far more than any of these talks takes */
#define SILENT_MS 200
#define PAUSE_MS  30

/* --- our own steps, held up ----------------------------------------------- */

enum step { NO_STEP, CONNECTED, SEND, RECEIVE, STEPS };

static enum step paused; /* before this one; of the test's thread */

static void hold_up(enum step now)
{
    if (now == paused)
        (void)poll(NULL, 0, PAUSE_MS);
}

int getsockopt(int fd, int level, int name, void *restrict value,
               socklen_t *restrict len)
{
    hold_up(CONNECTED);
    return (int)syscall(SYS_getsockopt, fd, level, name, value, len);
}

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
    hold_up(SEND);
    return syscall(SYS_sendto, fd, bytes, n, flags, NULL, 0);
}

ssize_t recv(int fd, void *bytes, size_t n, int flags)
{
    hold_up(RECEIVE);
    return syscall(SYS_recvfrom, fd, bytes, n, flags, NULL, NULL);
}

/* --- a server that takes one connection ---------------------------------- */

enum manner {
    CLOSES,           /* with an end of stream */
    RESETS,           /* as ZooKeeper does with one too many */
    ENDS_AND_RESETS,  /* as a JVM may do it: both at once */
    READS_AND_CLOSES, /* the question, and answers nothing */
    READS_AND_RESETS,
    MANNERS, /* those above hang up without an answer */
    ANSWERS_AND_RESETS,
    SPEAKS_FIRST, /* unasked */
    KEEPS_SILENT
};

struct server {
    int listening;
    enum manner manner;
    char name[32]; /* host:port */
    pthread_t thread;
};

static void reset(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void *serve(void *arg)
{
    const struct server *s = arg;
    char question[16];
    int fd = accept(s->listening, NULL, NULL);

    if (s->manner == SPEAKS_FIRST)
        (void)!write(fd, "imok", 4);
    else if (s->manner >= READS_AND_CLOSES)
        (void)!read(fd, question, sizeof(question));
    if (s->manner == ANSWERS_AND_RESETS) {
        (void)!write(fd, "imok", 4);
        (void)poll(NULL, 0, PAUSE_MS); /* a reset would overtake it */
    }
    if (s->manner == KEEPS_SILENT || s->manner == SPEAKS_FIRST)
        while (read(fd, question, sizeof(question)) > 0) /* until he goes */
            ;
    if (s->manner == ENDS_AND_RESETS)
        (void)shutdown(fd, SHUT_WR);
    if (s->manner == RESETS || s->manner == ENDS_AND_RESETS ||
        s->manner == READS_AND_RESETS || s->manner == ANSWERS_AND_RESETS)
        reset(fd);
    (void)close(fd);
    return NULL;
}

static void open_server(struct server *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);

    s->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listening >= 0);
    assert_int_equal(bind(s->listening, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(s->listening, (struct sockaddr *)&at, &len),
                     0);
    (void)snprintf(s->name, sizeof(s->name), "127.0.0.1:%u",
                   ntohs(at.sin_port));
}

static bool is_whole(const char *answer, size_t len)
{
    (void)answer;
    return len >= 4;
}

static ssize_t ask(const char *server, int64_t within_ms, char answer[16])
{
    const atomic_bool never = false;

    return zk_dial(server, "ruok", 4, within_ms, &never, is_whole, answer, 16);
}

/* What is made of a server of that manner, with a pause of ours. */
static ssize_t talk(enum manner manner, enum step pause, int64_t within_ms,
                    char answer[16])
{
    struct server s = {.manner = manner};
    ssize_t got;

    open_server(&s);
    assert_int_equal(listen(s.listening, 1), 0);
    assert_int_equal(pthread_create(&s.thread, NULL, serve, &s), 0);
    paused = pause;
    got = ask(s.name, within_ms, answer);
    paused = NO_STEP;
    assert_int_equal(pthread_join(s.thread, NULL), 0);
    (void)close(s.listening);
    return got;
}

/* --- tests --------------------------------------------------------------- */

static void who_hangs_up_was_reached_in_whatever_order(void **state)
{
    char answer[16];

    (void)state;
    for (int manner = 0; manner < MANNERS; manner++)
        for (int step = NO_STEP; step < STEPS; step++) {
            ssize_t got =
                talk((enum manner)manner, (enum step)step, WITHIN_MS, answer);

            if (got != ZK_DIAL_HUNG_UP)
                fail_msg("manner %d, held up before step %d: %zd (%s)", manner,
                         step, got, answer);
            assert_string_equal(answer, "");
        }
}

/* By chance, without a pause, the orders that no pause brings about. */
static void and_many_times_in_a_row(void **state)
{
    char answer[16];

    (void)state;
    for (int i = 0; i < 200; i++)
        assert_int_equal(
            talk((enum manner)(i % MANNERS), NO_STEP, WITHIN_MS, answer),
            ZK_DIAL_HUNG_UP);
}

static void what_was_said_before_it_hung_up_counts(void **state)
{
    char answer[16];

    (void)state;
    assert_int_equal(talk(ANSWERS_AND_RESETS, NO_STEP, WITHIN_MS, answer), 4);
    assert_string_equal(answer, "imok");
}

static void where_nobody_listens_nobody_is_reached(void **state)
{
    struct server s;
    char answer[16];

    (void)state;
    open_server(&s); /* the port is ours, and it does not listen */
    assert_int_equal(ask(s.name, WITHIN_MS, answer), ZK_DIAL_UNREACHED);
    assert_memory_equal(answer, "Connection refu", 15);
    assert_int_equal(ask("nowhere", WITHIN_MS, answer), ZK_DIAL_UNREACHED);
    assert_true(answer[0] != '\0');
    (void)close(s.listening);
}

static void a_silent_server_takes_the_whole_time(void **state)
{
    mono_ms began = clock_mono_ms();
    char answer[16];

    (void)state;
    assert_int_equal(talk(KEEPS_SILENT, NO_STEP, SILENT_MS, answer), 0);
    assert_true(clock_mono_ms() - began >= SILENT_MS);
    assert_string_equal(answer, "");
}

/* The answer is there, and the time was over with the connecting. */
static void connecting_takes_its_time_from_the_answer(void **state)
{
    char answer[16];

    (void)state;
    assert_true(talk(SPEAKS_FIRST, CONNECTED, PAUSE_MS / 3, answer) <= 0);
    assert_int_equal(talk(SPEAKS_FIRST, CONNECTED, WITHIN_MS, answer), 4);
}

static void who_is_not_wanted_any_more_ends_at_once(void **state)
{
    struct server s = {.manner = KEEPS_SILENT};
    const atomic_bool cancelled = true;
    char answer[16];

    (void)state;
    open_server(&s);
    assert_int_equal(listen(s.listening, 1), 0);
    assert_true(zk_dial(s.name, "ruok", 4, WITHIN_MS, &cancelled, is_whole,
                        answer, sizeof(answer)) <= 0);
    (void)close(s.listening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_hangs_up_was_reached_in_whatever_order),
        cmocka_unit_test(and_many_times_in_a_row),
        cmocka_unit_test(what_was_said_before_it_hung_up_counts),
        cmocka_unit_test(where_nobody_listens_nobody_is_reached),
        cmocka_unit_test(a_silent_server_takes_the_whole_time),
        cmocka_unit_test(connecting_takes_its_time_from_the_answer),
        cmocka_unit_test(who_is_not_wanted_any_more_ends_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
