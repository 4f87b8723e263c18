/*
 * test_zookeeper_drive.c - connections that break where the client library does
 * not look for it, and the thread that drives it has to.
 *
 * The library is the real one, and the server takes connections and says
 * nothing. Who holds the mutex keeps the library's thread from hearing of an
 * end before he has sent.
 */
#include "base/locks.h"
#include "registry/zookeeper/zookeeper_priv.h"

#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000

/* --- a server ------------------------------------------------------------ */

static bool ready(int fd, int64_t ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, (int)ms) == 1;
}

static bool take(int fd, void *bytes, size_t n)
{
    return ready(fd, DEADLINE_MS) &&
           recv(fd, bytes, n, MSG_WAITALL) == (ssize_t)n;
}

/* The next that speaks: the first after a break is broken itself. The answer
 * states the timeout, and a session with a password of zeros. */
static int take_client(int listening, uint32_t timeout_ms)
{
    unsigned char answer[4 + 37] = {[3] = 37, [19] = 7, [23] = 16}, asked[64];
    uint32_t n;

    for (;;) {
        int fd;

        assert_true(ready(listening, DEADLINE_MS));
        fd = accept(listening, NULL, NULL);
        assert_true(fd >= 0);
        if (take(fd, &n, sizeof(n)) && ntohl(n) <= sizeof(asked) &&
            take(fd, asked, ntohl(n))) {
            timeout_ms = htonl(timeout_ms);
            memcpy(&answer[8], &timeout_ms, sizeof(timeout_ms));
            assert_int_equal(send(fd, answer, sizeof(answer), MSG_NOSIGNAL),
                             sizeof(answer));
            return fd;
        }
        (void)close(fd);
    }
}

static void reset(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)),
                     0);
    (void)close(fd);
}

/* --- a client ------------------------------------------------------------ */

struct client {
    struct zk_drive drive;
    pthread_mutex_t mutex;
    zhandle_t *zh;
    int listening, fd;
    atomic_int connected, lost, answered; /* so often */
    atomic_bool timed_out;                /* so the library said */
};

static struct client client;

static void on_event(zhandle_t *zh, int type, int state, const char *path,
                     void *ctx)
{
    (void)zh;
    (void)path;
    assert_ptr_equal(ctx, &client);
    if (type != *libzk.ZOO_SESSION_EVENT)
        return;
    if (state == *libzk.ZOO_CONNECTED_STATE)
        atomic_fetch_add(&client.connected, 1);
    else if (state == *libzk.ZOO_CONNECTING_STATE)
        atomic_fetch_add(&client.lost, 1);
}

static void on_lost(zhandle_t *zh, void *arg)
{
    on_event(zh, *libzk.ZOO_SESSION_EVENT, *libzk.ZOO_CONNECTING_STATE, NULL,
             arg);
}

static void on_data(int rc, const char *value, int len, const struct Stat *stat,
                    const void *data)
{
    (void)value;
    (void)len;
    (void)stat;
    (void)data;
    if (zk_drive_answer(&client.drive, rc, false) == ZCONNECTIONLOSS)
        atomic_fetch_add(&client.answered, 1);
}

static void on_line(const char *line)
{
    if (strstr(line, "timed out (exceeded") != NULL)
        atomic_store(&client.timed_out, true);
}

static void await(const atomic_int *count, int n)
{
    mono_ms until = clock_mono_ms() + DEADLINE_MS;

    while (atomic_load(count) < n && clock_mono_ms() < until)
        (void)poll(NULL, 0, 1);
    assert_int_equal(atomic_load(count), n);
}

static void client_open(uint32_t timeout_ms)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    char server[32];
    struct err err;

    memset(&client, 0, sizeof(client));
    assert_int_equal(zk_library_load(&err), 0);
    assert_int_equal(pthread_mutex_init(&client.mutex, NULL), 0);
    client.listening = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(client.listening, (struct sockaddr *)&at, sizeof(at)),
                     0);
    assert_int_equal(listen(client.listening, 16), 0);
    assert_int_equal(
        getsockname(client.listening, (struct sockaddr *)&at, &size), 0);
    (void)snprintf(server, sizeof(server), "127.0.0.1:%u", ntohs(at.sin_port));
    client.zh = libzk.zookeeper_init2(server, on_event, (int)timeout_ms, NULL,
                                      &client, 0, on_line);
    assert_non_null(client.zh);
    assert_int_equal(zk_drive_start(&client.drive, client.zh, &client.mutex,
                                    on_lost, &client),
                     0);
    client.fd = take_client(client.listening, timeout_ms);
    await(&client.connected, 1);
}

static void client_close(void)
{
    zk_drive_stop(&client.drive);
    (void)close(client.fd); /* the library need not wait for its answer */
    (void)libzk.zookeeper_close(client.zh);
    (void)close(client.listening);
}

/* --- tests --------------------------------------------------------------- */

/* What cannot be sent ends the connection. Who sends hears of that although
 * there is no descriptor for another one, and not that a server refused it. */
static void a_lost_connection_is_told_before_there_is_another(void **state)
{
    const struct rlimit *before = *state;
    struct rlimit few = *before;
    int sent = 0;

    client_open(30000);
    few.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    lock_acquire(&client.mutex);
    reset(client.fd);
    do {
        assert_int_equal(libzk.zoo_aget(client.zh, "/a", 0, on_data, NULL),
                         ZOK);
        zk_drive_sent(&client.drive, false, false);
        sent++;
    } while (libzk.zoo_state(client.zh) == *libzk.ZOO_CONNECTED_STATE);
    lock_release(&client.mutex);
    await(&client.answered, sent);
    assert_int_equal(atomic_load(&client.lost), 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, before), 0);
    client.fd = take_client(client.listening, 30000);
    await(&client.connected, 2);
    assert_int_equal(atomic_load(&client.lost), 1);
    client_close();
}

/* The library's thread has waited for its socket until a ping is due, and waits
 * for the mutex: then the connection ends. */
static void a_ping_that_cannot_be_sent_ends_the_connection(void **state)
{
    mono_ms due;

    (void)state;
    client_open(3000);
    due = clock_mono_ms() + 1000;
    lock_acquire(&client.mutex);
    while (clock_mono_ms() < due + 200)
        (void)poll(NULL, 0, 10);
    reset(client.fd);
    lock_release(&client.mutex);
    await(&client.lost, 1);
    assert_false(atomic_load(&client.timed_out));
    client.fd = take_client(client.listening, 3000);
    await(&client.connected, 2);
    client_close();
}

static int restore(void **state)
{
    return setrlimit(RLIMIT_NOFILE, *state);
}

int main(void)
{
    struct rlimit before;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate_setup_teardown(
            a_lost_connection_is_told_before_there_is_another, NULL, restore,
            &before),
        cmocka_unit_test(a_ping_that_cannot_be_sent_ends_the_connection),
    };

    if (getrlimit(RLIMIT_NOFILE, &before) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
