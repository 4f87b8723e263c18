/*
 * dial.c - a short talk with one server past the client library, for what the
 * library cannot do or does not tell. Blocks; for the opener's thread.
 *
 * Who hangs up has been reached. When that shows is a matter of chance: the end
 * or the reset of a connection that the server accepted may be there before
 * connect() has returned, when we send, or when we read. So ECONNRESET and
 * EPIPE mean the same everywhere.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SLICE_MS 50 /* so soon a talk that is not wanted any more ends */

static bool wait_for(int fd, short events, mono_ms by,
                     const atomic_bool *cancelled)
{
    struct pollfd p = {.fd = fd, .events = events};

    assert(fd >= 0);
    while (!atomic_load(cancelled) && clock_mono_ms() < by)
        if (poll(&p, 1, SLICE_MS) == 1)
            return true;
    return false;
}

/* 0, or an errno. */
static int reach(int fd, const struct addrinfo *a, mono_ms by,
                 const atomic_bool *cancelled)
{
    int error = 0;
    socklen_t len = sizeof(error);

    assert(fd >= 0 && a->ai_addr != NULL);
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (!wait_for(fd, POLLOUT, by, cancelled))
        return ETIMEDOUT;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        return errno;
    return error;
}

static bool is_hanging_up(int error)
{
    return error == ECONNRESET || error == EPIPE;
}

/* 0 and a socket in *fd; or one of the two, and why not in words. */
static int dial_address(const struct addrinfo *a, mono_ms by,
                        const atomic_bool *cancelled, int *fd, char *why,
                        size_t size)
{
    int error;

    assert(a != NULL && size > 0);
    *fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    error = *fd < 0 ? errno : reach(*fd, a, by, cancelled);
    if (error == 0)
        return 0;
    if (*fd >= 0)
        (void)close(*fd);
    if (is_hanging_up(error))
        return ZK_DIAL_HUNG_UP;
    (void)snprintf(why, size, "%s", strerror(error));
    return ZK_DIAL_UNREACHED;
}

static int dial(const char *server, mono_ms by, const atomic_bool *cancelled,
                int *fd, char *why, size_t size)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    const char *colon = strrchr(server, ':');
    struct addrinfo *address = NULL;
    char *host;
    int rc = EAI_NONAME, result;

    assert(size > 0);
    if (colon != NULL) {
        host = mem_strndup(server, (size_t)(colon - server));
        rc = getaddrinfo(host, colon + 1, &hints, &address);
        mem_free(host);
    }
    if (rc != 0) {
        (void)snprintf(why, size, "%s", gai_strerror(rc));
        return ZK_DIAL_UNREACHED;
    }
    result = dial_address(address, by, cancelled, fd, why, size);
    freeaddrinfo(address);
    return result;
}

/* How many bytes of an answer there are when it is enough, over, or time. */
static ssize_t listen_to(int fd, mono_ms by, const atomic_bool *cancelled,
                         zk_dial_enough_f *enough, char *answer, size_t size)
{
    size_t got = 0;
    ssize_t n;

    assert(fd >= 0 && size > 1);
    while (got < size - 1 && (enough == NULL || !enough(answer, got)) &&
           wait_for(fd, POLLIN, by, cancelled)) {
        n = recv(fd, answer + got, size - 1 - got, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return got == 0 ? ZK_DIAL_HUNG_UP : (ssize_t)got;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

ssize_t zk_dial(const char *server, const void *question, size_t n,
                int64_t within_ms, const atomic_bool *cancelled,
                zk_dial_enough_f *enough, char *answer, size_t size)
{
    mono_ms by = clock_mono_ms() + within_ms;
    int fd = -1;
    ssize_t got;

    assert(size > 1);
    assert(n > 0);
    answer[0] = '\0';
    got = dial(server, by, cancelled, &fd, answer, size);
    if (got < 0)
        return got;
    got = send(fd, question, n, MSG_NOSIGNAL) == (ssize_t)n
              ? listen_to(fd, by, cancelled, enough, answer, size)
              : ZK_DIAL_HUNG_UP;
    (void)close(fd);
    assert(got < (ssize_t)size);
    answer[got > 0 ? got : 0] = '\0';
    return got;
}
