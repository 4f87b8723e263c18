/*
 * servers.c - the servers of a connect string, by their addresses.
 *
 * The client library (3.8.0) is given numbers, never names. With names it
 * resolves all of them before each attempt to connect, and while a single one
 * has no address (a server that is gone for good, or not yet up in a cluster
 * with a name per pod) it connects to none. And it steps on twice for each
 * attempt that failed: of an even number of addresses it tries every other one
 * only, for ever and without a pause. So their number is made odd.
 *
 * Names are resolved anew for each handle. Blocks; for the opener's thread.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/buf.h"
#include "base/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 65536
#define LAST_MAX 128

/* Adds every address of one server; returns how many. */
static size_t add_server(struct buf *out, char *server, char last[LAST_MAX])
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    const char *port = "2181"; /* ZooKeeper's own, if there is none */
    char *colon = strrchr(server, ':');
    size_t n = 0, len;
    int rc;

    if (colon != NULL) {
        *colon = '\0';
        port = colon + 1;
    }
    len = strlen(server);
    if (len > 1 && server[0] == '[' && server[len - 1] == ']') {
        server[len - 1] = '\0';
        server++;
    }
    rc = getaddrinfo(server, NULL, &hints, &all);
    if (rc != 0) {
        log_warn("!registry", LOG_S("server", server),
                 LOG_S("reason", gai_strerror(rc)));
        return 0;
    }
    for (struct addrinfo *a = all; a != NULL; a = a->ai_next) {
        char number[NI_MAXHOST];

        if (getnameinfo(a->ai_addr, a->ai_addrlen, number, sizeof(number), NULL,
                        0, NI_NUMERICHOST) == 0 &&
            strlen(number) + strlen(port) + 2 <= LAST_MAX) {
            (void)stpcpy(stpcpy(stpcpy(last, number), ":"), port);
            buf_printf(out, "%s%s", out->len == 0 ? "" : ",", last);
            n++;
        }
    }
    freeaddrinfo(all);
    return n;
}

char *zk_servers(const char *hosts, size_t *count)
{
    char *copy = mem_strdup(hosts), *at = copy, *server;
    char last[LAST_MAX] = "";
    struct buf out;
    size_t n = 0;

    buf_init(&out, TEXT_MAX);
    while ((server = strsep(&at, ",")) != NULL) {
        server += strspn(server, " ");
        if (*server != '\0')
            n += add_server(&out, server, last);
    }
    *count = n;
    if (n > 0 && n % 2 == 0)
        buf_printf(&out, ",%s", last);
    mem_free(copy);
    if (n == 0 || out.overflow) {
        buf_close(&out);
        return NULL;
    }
    return buf_take(&out);
}

const char *zk_server_text(const struct sockaddr_storage *server,
                           char out[ZK_SERVER_SIZE])
{
    char host[ZK_SERVER_SIZE - 8], port[8];
    socklen_t size = server->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                   : sizeof(struct sockaddr_in);

    if (getnameinfo((const struct sockaddr *)server, size, host, sizeof(host),
                    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return "unknown";
    (void)stpcpy(stpcpy(stpcpy(out, host), ":"), port);
    return out;
}

bool zk_server_same(const struct sockaddr_storage *a,
                    const struct sockaddr_storage *b)
{
    char x[ZK_SERVER_SIZE], y[ZK_SERVER_SIZE];

    return a->ss_family == b->ss_family && a->ss_family != AF_UNSPEC &&
           strcmp(zk_server_text(a, x), zk_server_text(b, y)) == 0;
}

/* --- breaking a connection ----------------------------------------------- */

static bool leads_to(int fd, const struct sockaddr_storage *server)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(peer);

    return getpeername(fd, (struct sockaddr *)&peer, &size) == 0 &&
           zk_server_same(&peer, server);
}

/* The library has no call for it, and does not tell its socket. So it is found
 * among ours by where it leads. Its number may be another's by the time that
 * we speak of it: a copy stays what it is. */
void zk_server_drop(const struct sockaddr_storage *server)
{
    DIR *all = opendir("/proc/self/fd");
    struct dirent *e;

    while (all != NULL && (e = readdir(all)) != NULL) {
        int fd = (int)strtol(e->d_name, NULL, 10);
        int copy = leads_to(fd, server) ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

        if (copy >= 0) {
            if (leads_to(copy, server))
                (void)shutdown(copy, SHUT_RDWR);
            (void)close(copy);
        }
    }
    if (all != NULL)
        (void)closedir(all);
}
