/*
 * bench_bare_http.c - the bare library: libmicrohttpd with one prebuilt answer,
 * and nothing else. What workers/best is measured against.
 *
 * What costs both sides the same is the same: threads, epoll, a connection's
 * memory (the library clears one and a half times as much for each request),
 * no timeout of the library's, headers, and the size of the body. It calls
 * nobody but for the answer, and nothing can be suspended: that is our cost.
 *
 *     bench_bare_http PORT THREADS FILE      FILE holds the answer's body
 */
#include "base/mem.h"

#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct MHD_Response *response;

static enum MHD_Result serve(void *arg, struct MHD_Connection *connection,
                             const char *path, const char *method,
                             const char *version, const char *data,
                             size_t *size, void **slot)
{
    (void)arg;
    (void)path;
    (void)method;
    (void)version;
    (void)data;
    (void)size;
    if (*slot == NULL) { /* never answer in the first call: keep-alive */
        *slot = &response;
        return MHD_YES;
    }
    return MHD_queue_response(connection, MHD_HTTP_OK, response);
}

int main(int argc, char **argv)
{
    struct MHD_Daemon *daemon;
    char body[4096];
    sigset_t set;
    size_t n;
    FILE *f;
    int got;

    if (argc != 4 || (f = fopen(argv[3], "rb")) == NULL) {
        fprintf(stderr, "usage: bench_bare_http PORT THREADS FILE\n");
        return 2;
    }
    n = fread(body, 1, sizeof(body), f);
    fclose(f);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    response = MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                            "application/json");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
                            "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO,
        (uint16_t)strtoul(argv[1], NULL, 10), NULL, NULL, serve, NULL,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)strtoul(argv[2], NULL, 10),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)32768, MHD_OPTION_END);
    if (daemon == NULL) {
        fprintf(stderr, "bench_bare_http: port %s cannot be used\n", argv[1]);
        return 1;
    }
    sigwait(&set, &got);
    MHD_stop_daemon(daemon);
    MHD_destroy_response(response);
    return 0;
}
