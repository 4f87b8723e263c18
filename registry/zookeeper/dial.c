/*
 * dial.c - a short talk with one server past the client library, for what the
 * library cannot do or does not tell. Blocks; for the opener's thread.
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

/* A socket; -1, and why not in words. */
static int dial_address(const struct addrinfo *a, mono_ms by,
                        const atomic_bool *cancelled, char *why, size_t size)
{
    int fd =
        socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = fd < 0 ? errno : reach(fd, a, by, cancelled);

    if (error == 0)
        return fd;
    (void)snprintf(why, size, "%s", strerror(error));
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static int dial(const char *server, mono_ms by, const atomic_bool *cancelled,
                char *why, size_t size)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    const char *colon = strrchr(server, ':');
    struct addrinfo *address = NULL;
    char *host;
    int rc = EAI_NONAME, fd;

    assert(size > 0);
    if (colon != NULL) {
        host = mem_strndup(server, (size_t)(colon - server));
        rc = getaddrinfo(host, colon + 1, &hints, &address);
        mem_free(host);
    }
    if (rc != 0) {
        (void)snprintf(why, size, "%s", gai_strerror(rc));
        return -1;
    }
    fd = dial_address(address, by, cancelled, why, size);
    freeaddrinfo(address);
    return fd;
}

ssize_t zk_dial(const char *server, const void *question, size_t n,
                int64_t step_ms, const atomic_bool *cancelled,
                zk_dial_enough_f *enough, char *answer, size_t size)
{
    int fd = dial(server, clock_mono_ms() + step_ms, cancelled, answer, size);
    mono_ms by = clock_mono_ms() + step_ms;
    size_t got = 0;
    ssize_t last;

    assert(size > 1);
    if (fd < 0)
        return ZK_DIAL_UNREACHED;
    last = send(fd, question, n, MSG_NOSIGNAL);
    while (last > 0 && got < size - 1 &&
           (enough == NULL || !enough(answer, got)) &&
           wait_for(fd, POLLIN, by, cancelled)) {
        last = recv(fd, answer + got, size - 1 - got, 0);
        got += last > 0 ? (size_t)last : 0;
    }
    (void)close(fd);
    assert(got < size);
    answer[got] = '\0';
    return got == 0 && last <= 0 ? ZK_DIAL_HUNG_UP : (ssize_t)got;
}
