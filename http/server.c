/*
 * server.c - the daemon: listening, watching connections, and leaving.
 *
 * Leaving in order: the listening socket refuses, long polls are answered at
 * once, everything else goes on being served and closes its connection; when
 * nothing is in flight any more, or at the deadline, nothing is handed to the
 * loop any more, what the loop still has is refused, and the daemon ends. Its
 * threads wait for nobody, so joining them takes a moment only.
 */
#include "http/http_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS 50
#define LOOK_MS 1000
#define LAST_MS 200 /* for refusals to reach their clients */

/* --- connections come and go --------------------------------------------- */

static enum MHD_Result on_accept(void *arg, const struct sockaddr *from,
                                 socklen_t len)
{
    struct http *h = arg;

    assert(h->listener.n > 0);
    (void)len;
    if (h->listener.n > 1 && !http_conns_room(h->conns))
        return MHD_NO;
    return http_conns_admit(h->conns, from) ? MHD_YES : MHD_NO;
}

static void on_connection(void *arg, struct MHD_Connection *connection,
                          void **slot, enum MHD_ConnectionNotificationCode what)
{
    struct http *h = arg;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *fd = MHD_get_connection_info(
            connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        int number = fd->connect_fd;
        const union MHD_ConnectionInfo *from = MHD_get_connection_info(
            connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

        *slot = http_conns_add(h->conns, number, from->client_addr,
                               h->conf->request_timeout_ms);
    } else if (*slot != NULL) {
        http_conns_remove(h->conns, *slot);
        *slot = NULL;
    }
}

static void on_mhd_log(void *arg, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));
static void on_mhd_log(void *arg, const char *fmt, va_list args)
{
    char text[256];
    int n = vsnprintf(text, sizeof(text), fmt, args);

    (void)arg;
    if (n > 0 && n < (int)sizeof(text) && text[n - 1] == '\n')
        text[n - 1] = '\0';
    log_debug("=http", LOG_S("text", text));
}

/* --- starting and leaving ------------------------------------------------ */

static void on_tick(void *arg);

static struct MHD_Daemon *start_daemon(struct http *h, int fd)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = h->conf->threads;

    assert(fd >= 0);
    assert(h->conf->max_connections > 0);
    if (threads == 0)
        threads = cores > 0 ? (unsigned)cores : 1;
    if (threads > h->conf->max_connections)
        threads = h->conf->max_connections; /* each has its share of them */
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
            MHD_USE_TURBO | MHD_USE_ERROR_LOG | MHD_USE_ITC,
        0, on_accept, h, http_serve, h, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log,
        h, MHD_OPTION_LISTEN_SOCKET, fd,
        /* a pool of one is the daemon's own thread */
        MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? threads : 0,
        MHD_OPTION_CONNECTION_LIMIT, h->conf->max_connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_MEMORY,
        MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_URI_LOG_CALLBACK, http_line,
        h, MHD_OPTION_NOTIFY_COMPLETED, http_completed, h,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
}

/* Its threads are gone, so nobody accepts on it. */
static void stop_daemons(struct http *h)
{
    assert(h->listener.n <= HTTP_LISTEN_MAX);
    for (size_t i = 0; i < h->listener.n; i++) {
        if (h->daemons[i] == NULL)
            continue;
        MHD_stop_daemon(h->daemons[i]);
        h->daemons[i] = NULL;
        close(h->listener.fds[i]);
    }
}

static bool start_daemons(struct http *h)
{
    assert(h->listener.n > 0);
    assert(h->conns != NULL);
    for (size_t i = 0; i < h->listener.n; i++) {
        h->daemons[i] = start_daemon(h, h->listener.fds[i]);
        if (h->daemons[i] == NULL) /* and it may have closed the socket */
            return false;
    }
    return true;
}

int http_start(struct http **out, const struct http_config *config,
               struct err *err)
{
    struct http *h = mem_zalloc(sizeof(*h));

    assert(config->conf != NULL && config->coordinator != NULL);
    assert(config->listener.n > 0);
    h->listener = config->listener;
    h->conf = &config->conf->http;
    h->loop = config->loop;
    h->coordinator = config->coordinator;
    h->balancer = coordinator_balancer(config->coordinator);
    h->journal = config->journal;
    h->facts = config->facts;
    h->conns = http_conns_new(h->conf->max_connections,
                              h->conf->max_connections_per_address);
    if (!start_daemons(h)) {
        for (size_t i = 0; i < h->listener.n; i++)
            if (h->daemons[i] != NULL)
                (void)MHD_quiesce_daemon(h->daemons[i]);
        stop_daemons(h);
        http_threads_free(h);
        http_conns_free(&h->conns);
        mem_free(h);
        return err_set(err, ERR_IO,
                       "listen: the HTTP server does not start; "
                       "http.threads and http.max-connections may be "
                       "beyond what the system allows");
    }
    h->timer = loop_timer(h->loop, TICK_MS, TICK_MS, on_tick, h);
    *out = h;
    return 0;
}

/* --- leaving ------------------------------------------------------------- */

static void finish(struct http *h)
{
    assert(h->stopped != NULL);
    assert(h->on_loop == NULL);
    loop_timer_stop(&h->timer);
    stop_daemons(h);
    h->stopped(h->stopped_arg);
}

static int count(const int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void leave(struct http *h, mono_ms now)
{
    bool late = now >= h->stop_by;

    assert(h->stopped != NULL);
    if (!late && http_in_flight(h) > 0)
        return;
    __atomic_store_n(&h->closed, 1, __ATOMIC_SEQ_CST);
    if (late)
        http_refuse_all(h);
    if (count(&h->suspended) > 0)
        return; /* on their way to the loop, which sends them back */
    if (http_in_flight(h) == 0 || now >= h->stop_by + LAST_MS)
        finish(h);
}

static void on_tick(void *arg)
{
    struct http *h = arg;
    mono_ms now = loop_clock(h->loop)->mono;

    assert(h->timer != NULL);
    if (now - h->looked >= LOOK_MS) {
        h->looked = now;
        http_conns_reap(h->conns, now);
        http_end_gone(h);
    }
    if (h->stopped != NULL)
        leave(h, now);
}

void http_stop(struct http *h, int64_t deadline_ms, void (*stopped)(void *arg),
               void *arg)
{
    assert(deadline_ms >= 0);
    assert(h->stopped == NULL && stopped != NULL);
    h->stopped = stopped;
    h->stopped_arg = arg;
    h->stop_by = loop_clock(h->loop)->mono + deadline_ms;
    __atomic_store_n(&h->stopping, 1, __ATOMIC_RELEASE);
    for (size_t i = 0; i < h->listener.n; i++) {
        (void)MHD_quiesce_daemon(h->daemons[i]);
        /* refuse at once instead of leaving new ones in the backlog; the
         * descriptor stays ours until no thread can use it */
        (void)shutdown(h->listener.fds[i], SHUT_RDWR);
    }
    http_end_waits(h);
}

void http_free(struct http **http)
{
    struct http *h = *http;

    if (h == NULL)
        return;
    assert(h->daemons[0] == NULL && h->on_loop == NULL);
    http_threads_free(h);
    http_conns_free(&h->conns);
    MEM_FREE(*http);
}
