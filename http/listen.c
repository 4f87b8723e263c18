/*
 * listen.c - the sockets that `listen:` means.
 *
 * A name may have several addresses (localhost has 127.0.0.1 and ::1), and a
 * client may try any of them: all are bound, to the same port. One that this
 * host does not have, as ::1 where IPv6 is switched off, nobody here can try
 * either: it is said, and the others serve. Any other failure of one is a
 * failure: half of a name is not what was asked for.
 */
#include "http/http_priv.h"

#include "base/log.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESS_SIZE 80 /* with port, for people */
#define BACKLOG      1024
#define PORT_TRIES   32 /* a port that is free on all addresses */

struct addresses {
    struct addrinfo *found;
    const struct addrinfo *each[HTTP_LISTEN_MAX]; /* none twice */
    size_t n;
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* "127.0.0.1:7077" or "[::1]:7077". */
static const char *address_text(const struct addrinfo *a, uint16_t port,
                                char out[ADDRESS_SIZE])
{
    char host[ADDRESS_SIZE - 10] = "?";

    (void)getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), NULL, 0,
                      NI_NUMERICHOST);
    snprintf(out, ADDRESS_SIZE, a->ai_family == AF_INET6 ? "[%s]:%u" : "%s:%u",
             host, port);
    return out;
}

static bool is_there(const struct addresses *a, const struct addrinfo *other)
{
    assert(a->n <= HTTP_LISTEN_MAX);
    for (size_t i = 0; i < a->n; i++)
        if (a->each[i]->ai_addrlen == other->ai_addrlen &&
            memcmp(a->each[i]->ai_addr, other->ai_addr, other->ai_addrlen) == 0)
            return true;
    return false;
}

static int resolve(const struct conf *conf, struct addresses *out,
                   struct err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int rc;

    assert(conf->listen_host != NULL);
    *out = (struct addresses){.n = 0};
    rc = getaddrinfo(conf->listen_host, "0", &hints, &out->found);
    if (rc != 0)
        return err_set(err, ERR_IO,
                       "listen: %s: %s (`listen:` takes an address of "
                       "this host, or a name of one)",
                       conf->listen_host, gai_strerror(rc));
    for (const struct addrinfo *a = out->found; a != NULL; a = a->ai_next) {
        if (is_there(out, a))
            continue;
        if (out->n == HTTP_LISTEN_MAX) {
            freeaddrinfo(out->found);
            return err_set(err, ERR_IO,
                           "listen: %s has more than %d addresses; write "
                           "one of them",
                           conf->listen_host, HTTP_LISTEN_MAX);
        }
        out->each[out->n++] = a;
    }
    return 0;
}

/* What to do about it. */
static const char *why_not_bound(int error)
{
    switch (error) {
    case EADDRINUSE:
        return " (is another coordinator running there? `listen:` names "
               "another address)";
    case EADDRNOTAVAIL:
        return " (no address of this host; `listen:` takes one of its own, or "
               "0.0.0.0 for all)";
    case EACCES:
    case EPERM:
        return " (ports below 1024 need a privilege; `listen:` takes a higher "
               "one)";
    default:
        return "";
    }
}

/* This host has no such address, now. */
static bool is_absent(int error)
{
    return error == EADDRNOTAVAIL || error == EAFNOSUPPORT ||
           error == EPROTONOSUPPORT;
}

/* They are closed, and errno stays. */
static void close_all(int *fds, size_t n)
{
    int error = errno;

    assert(n <= HTTP_LISTEN_MAX);
    while (n > 0)
        close(fds[--n]);
    errno = error;
}

/* A socket bound there, or -1 with errno. */
static int bind_one(const struct addrinfo *a, uint16_t port, bool only)
{
    union address at = {.v6 = {0}};
    int one = 1, fd;

    assert(a->ai_family == AF_INET || a->ai_family == AF_INET6);
    assert(a->ai_addrlen <= sizeof(at));
    memcpy(&at, a->ai_addr, a->ai_addrlen);
    if (a->ai_family == AF_INET6)
        at.v6.sin6_port = htons(port);
    else
        at.v4.sin_port = htons(port);
    fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (only && a->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, &at.any, a->ai_addrlen) == 0)
        return fd;
    close_all(&fd, 1);
    return -1;
}

static uint16_t port_of(int fd)
{
    union address at = {.v6 = {0}};
    socklen_t len = sizeof(at);

    assert(fd >= 0);
    if (getsockname(fd, &at.any, &len) != 0)
        return 0;
    return ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port
                                              : at.v4.sin_port);
}

/* All of them at one port; those that are not here are left out and counted in
 * `absent`. -1: errno is why, *failed which. */
static int bind_all(const struct addresses *a, uint16_t port,
                    struct http_listener *out, size_t *failed, size_t *absent)
{
    assert(a->n > 0);
    assert(a->n <= HTTP_LISTEN_MAX);
    *absent = 0;
    out->n = 0;
    out->port = port;
    for (size_t i = 0; i < a->n; i++) {
        int fd = bind_one(a->each[i], out->port, a->n > 1);

        if (fd >= 0) {
            out->fds[out->n++] = fd;
            if (listen(fd, BACKLOG) == 0 && (out->port = port_of(fd)) != 0)
                continue;
        } else if (is_absent(errno) && *absent + 1 < a->n) {
            ++*absent;
            continue;
        }
        *failed = i;
        close_all(out->fds, out->n);
        out->n = 0;
        return -1;
    }
    return 0;
}

static void say_absent(const struct conf *conf, const struct addresses *a,
                       uint16_t port)
{
    char text[ADDRESS_SIZE];

    assert(a->n > 1);
    assert(port != 0);
    for (size_t i = 0; i < a->n; i++) {
        int fd = bind_one(a->each[i], 0, true);

        if (fd >= 0)
            close(fd);
        else
            log_warn("!listen", LOG_S("name", conf->listen_host),
                     LOG_S("address", address_text(a->each[i], port, text)),
                     LOG_S("reason", strerror(errno)),
                     LOG_S("advice", "clients reach the other addresses; write "
                                     "one of those, or give this host this "
                                     "one"));
    }
}

int http_listen(const struct conf *conf, struct http_listener *out,
                struct err *err)
{
    char text[ADDRESS_SIZE], of[300] = "";
    size_t failed = 0, absent = 0;
    struct addresses a;
    int rc = resolve(conf, &a, err);

    out->n = 0;
    if (rc != 0)
        return rc;
    for (int i = 0; i < PORT_TRIES; i++) {
        rc = bind_all(&a, conf->listen_port, out, &failed, &absent);
        if (rc == 0 || conf->listen_port != 0 || errno != EADDRINUSE)
            break;
    }
    if (rc != 0) {
        if (a.n > 1)
            snprintf(of, sizeof(of), ", one of the %zu addresses of %.200s,",
                     a.n, conf->listen_host);
        rc = err_errno(err, errno, "listen: %s%s%s",
                       address_text(a.each[failed], conf->listen_port, text),
                       of, why_not_bound(errno));
    } else if (absent > 0) {
        say_absent(conf, &a, out->port);
    }
    freeaddrinfo(a.found);
    return rc;
}

void http_listen_remarks(const struct conf *conf, struct buf *out)
{
    char text[ADDRESS_SIZE];
    size_t taken = 0, n = 0;
    struct addresses a;
    struct err err;

    if (resolve(conf, &a, &err) != 0) {
        buf_printf(out, "%s: %s\n", conf->file, err.msg);
        return;
    }
    for (size_t i = 0; i < a.n; i++) {
        int fd = bind_one(a.each[i], conf->listen_port, a.n > 1);

        if (fd >= 0) {
            close(fd);
            n++;
            continue;
        }
        taken += errno == EADDRINUSE;
        if (errno != EADDRINUSE)
            buf_printf(out, "%s: listen: %s: %s%s\n", conf->file,
                       address_text(a.each[i], conf->listen_port, text),
                       strerror(errno), why_not_bound(errno));
    }
    /* all taken: most likely by the coordinator that runs with this file */
    if (taken > 0 && n > 0)
        buf_printf(out,
                   "%s: listen: %s: of its %zu addresses %zu are taken at port "
                   "%u; it will not start with the others alone\n",
                   conf->file, conf->listen_host, a.n, taken,
                   conf->listen_port);
    freeaddrinfo(a.found);
}
