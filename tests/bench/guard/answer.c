/*
 * answer.c - GET /v1/workers/best by the real server over one connection. What
 * http_serve() does is counted, on the server's thread: all that happens
 * between the library's having read a request and its sending the answer.
 */
#include "tests/bench/guard/guard.h"
#include "tests/bench/guard/workers.h"

#include "http/http.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUESTS 500U

static int dial(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int rc = connect(fd, (const struct sockaddr *)&to, sizeof(to));

    assert(fd >= 0);
    assert(rc == 0);
    (void)rc;
    return fd;
}

/* An answer is complete with the brace that ends its line-less body. */
static void ask(int fd)
{
    static const char request[] = "GET /v1/workers/best HTTP/1.1\r\n"
                                  "Host: localhost\r\n\r\n";
    char answer[4096];
    size_t n = 0;

    if (write(fd, request, sizeof(request) - 1) != sizeof(request) - 1)
        abort();
    do {
        ssize_t got = read(fd, answer + n, sizeof(answer) - 1 - n);

        if (got <= 0)
            abort();
        n += (size_t)got;
        answer[n] = '\0';
    } while (answer[n - 1] != '}');
    if (strncmp(answer, "HTTP/1.1 200", 12) != 0 ||
        strstr(answer, "\"pick\":\"") == NULL)
        abort();
}

size_t guard_answer(void)
{
    struct http_config config = {0};
    void *state;
    struct world *w;
    struct http *h;
    struct err err;
    int fd;

    (void)world_open(&state);
    w = state;
    guard_reports(w, 0);
    guard_reports(w, 1);
    w->conf.listen_port = 0;
    w->conf.http.threads = 1;
    config.conf = &w->conf;
    config.coordinator = w->c[0];
    if (loop_new(&config.loop, 16, &err) != 0 ||
        http_listen(&w->conf, &config.listener, &err) != 0)
        abort();
    uint16_t port = config.listener.port;

    if (http_start(&h, &config, &err) != 0)
        abort();
    fd = dial(port);
    for (unsigned i = 0; i < REQUESTS; i++)
        ask(fd);
    (void)close(fd);
    return REQUESTS; /* the server ends with its process */
}
