/*
 * server.c - the daemon: requests in, answers out, suspension, and leaving.
 *
 * libmicrohttpd calls serve() several times a request: first with the head,
 * then with pieces of the body, then to be answered, and once more after a
 * suspended connection was resumed. A normal answer is never queued in the
 * first call: libmicrohttpd would close the connection after it, and a client
 * would pay a new one for every request.
 *
 * Counting: `in_flight` goes up when a request begins and down when
 * libmicrohttpd says it is complete, so that leaving knows when all are
 * answered.
 */
#include "http/http_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define TICK_MS       100
#define REAP_MS       1000
#define IDLE_S        15
#define HEAD_MAX      (32 * 1024)
#define BACKLOG       1024

static const char *const method_names[HTTP_METHODS] = {"GET", "PUT", "POST",
                                                       "DELETE", "PATCH"};

/* --- one request ------------------------------------------------------------------ */

static struct http_request *request_new(struct http *h,
                                        struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_request *r = mem_zalloc(sizeof(*r));

    r->h = h;
    r->connection = connection;
    r->conn = info->socket_context;
    r->status = MHD_HTTP_OK;
    buf_init(&r->body, HTTP_BODY_MAX);
    buf_init(&r->out, HTTP_ANSWER_MAX);
    __atomic_add_fetch(&h->in_flight, 1, __ATOMIC_ACQ_REL);
    __atomic_add_fetch(&h->requests, 1, __ATOMIC_RELAXED);
    return r;
}

static void request_free(struct http_request *r)
{
    cJSON_Delete(r->json);
    buf_close(&r->body);
    buf_close(&r->out);
    __atomic_sub_fetch(&r->h->in_flight, 1, __ATOMIC_ACQ_REL);
    mem_free(r);
}

static bool read_method(struct http_request *r, const char *method)
{
    r->head = strcmp(method, "HEAD") == 0;
    if (r->head)
        return true; /* HTTP_GET, and no body is sent */
    for (int i = 0; i < HTTP_METHODS; i++)
        if (strcmp(method, method_names[i]) == 0) {
            r->method = (enum http_method)i;
            return true;
        }
    return false;
}

/* Find who answers it, or fill in the problem. */
static void route(struct http_request *r, const char *path, const char *method)
{
    const struct http_route *found = http_route_find(path, r->param);
    bool known = read_method(r, method);

    if (found == NULL) {
        http_problem(r, "not_found", "no such path; /openapi.yaml lists them");
        return;
    }
    if (known)
        r->handler = found->handler[r->method];
    if (r->handler != NULL)
        return;
    for (unsigned i = 0; i < HTTP_METHODS; i++)
        if (found->handler[i] != NULL)
            r->allow |= 1u << i;
    http_problem(r, "method_not_allowed", NULL);
}

/* --- answers -------------------------------------------------------------------------- */

static void header(struct MHD_Response *response, const char *name,
                   const char *value)
{
    enum MHD_Result rc = MHD_add_response_header(response, name, value);

    assert(rc == MHD_YES);
    (void)rc;
}

static void rare_headers(struct http_request *r, struct MHD_Response *response)
{
    char text[64] = "";

    if (r->location[0] != '\0')
        header(response, MHD_HTTP_HEADER_LOCATION, r->location);
    if (r->etag[0] != '\0')
        header(response, MHD_HTTP_HEADER_ETAG, r->etag);
    if (r->index[0] != '\0')
        header(response, "X-Pelorus-Index", r->index);
    if (r->retry_after_ms > 0) {
        snprintf(text, sizeof(text), "%lld",
                 (long long)(r->retry_after_ms + 999) / 1000);
        header(response, MHD_HTTP_HEADER_RETRY_AFTER, text);
    }
    for (unsigned i = 0, n = 0; r->allow != 0 && i < HTTP_METHODS; i++)
        if ((r->allow >> i & 1u) != 0)
            n += (unsigned)snprintf(text + n, sizeof(text) - n, "%s%s",
                                    n > 0 ? ", " : "", method_names[i]);
    if (r->allow != 0)
        header(response, MHD_HTTP_HEADER_ALLOW, text);
    if (r->close || __atomic_load_n(&r->h->stopping, __ATOMIC_ACQUIRE) != 0)
        header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}

static enum MHD_Result send_answer(struct http_request *r)
{
    struct MHD_Response *response;
    enum MHD_Result rc;
    size_t len;

    if (r->out.overflow)
        http_problem(r, "internal", "the answer is too large; ask for less");
    len = r->out.len;
    response = MHD_create_response_from_buffer_with_free_callback(
        len, len > 0 ? buf_take(&r->out) : NULL, mem_free);
    assert(response != NULL);
    if (r->content_type != NULL)
        header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->content_type);
    header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    header(response, "X-Content-Type-Options", "nosniff");
    rare_headers(r, response);
    http_guard_phase(r->h->guard, r->conn, HTTP_PHASE_ANSWER);
    rc = MHD_queue_response(r->connection, r->status, response);
    MHD_destroy_response(response);
    return rc;
}

/* --- suspended: the loop has it --------------------------------------------------------- */

static void begin_on_loop(void *arg)
{
    struct http_request *r = arg;

    DL_APPEND(r->h->on_loop, r);
    if (r->h->stopped != NULL) {
        http_problem(r, "leaving", NULL);
        http_answer(r);
        return;
    }
    r->on_loop(r);
}

void http_on_loop(struct http_request *r, loop_f *fn)
{
    assert(!r->handed);
    r->on_loop = fn;
    r->handed = true;
    MHD_suspend_connection(r->connection);
    if (loop_post(r->h->loop, begin_on_loop, r) != 0) {
        http_problem(r, "too_many_waiting", NULL);
        r->retry_after_ms = 1000;
        MHD_resume_connection(r->connection);
    }
}

void http_answer(struct http_request *r)
{
    assert(r->handed);
    coordinator_unwait(r->h->coordinator, &r->wait);
    DL_DELETE(r->h->on_loop, r);
    MHD_resume_connection(r->connection);
}

/* --- long polls ---------------------------------------------------------------------------- */

bool http_waits(const struct http_request *r)
{
    return http_query(r, "index") != NULL && http_query(r, "wait") != NULL;
}

static void on_woken(void *arg, uint64_t index)
{
    struct http_request *r = arg;

    (void)index;
    r->wait = NULL; /* it is over and freed */
    r->on_loop(r);
}

void http_wait(struct http_request *r, enum coordinator_topic topic,
               enum node_kind kind, const char *address, loop_f *then)
{
    struct coordinator *c = r->h->coordinator;
    const char *text = http_query(r, "index");
    int64_t wait_ms = 0;
    uint64_t seen;

    if (!http_query_duration(r, "wait", 0, INT64_MAX, &wait_ms)) {
        http_answer(r);
        return;
    }
    r->on_loop = then;
    if (text == NULL || wait_ms == 0 || !http_read_index(r, text, &seen) ||
        coordinator_index(c, topic, kind, address) != seen) {
        then(r);
        return;
    }
    if (wait_ms > HTTP_WAIT_MAX_MS)
        wait_ms = HTTP_WAIT_MAX_MS;
    if (coordinator_wait(c, topic, kind, address, seen, wait_ms, on_woken, r,
                         &r->wait) != 0) {
        http_problem(r, "too_many_waiting", NULL);
        r->retry_after_ms = 1000;
        http_answer(r);
    }
}

/* --- libmicrohttpd's calls -------------------------------------------------------------------- */

static enum MHD_Result begin(struct http *h, struct MHD_Connection *connection,
                             const char *path, const char *method, void **slot)
{
    struct http_request *r = request_new(h, connection);

    *slot = r;
    http_guard_phase(h->guard, r->conn, HTTP_PHASE_BODY);
    route(r, path, method);
    if (http_guard_head(r))
        return MHD_YES;
    r->close = true; /* nothing after this can be trusted */
    return send_answer(r);
}

static void answer_or_hand_over(struct http_request *r)
{
    if (r->body.overflow) {
        http_problem(r, "too_large", "a body takes at most %d bytes",
                     HTTP_BODY_MAX);
        r->close = true;
    } else if (r->handler != NULL) {
        http_guard_phase(r->h->guard, r->conn, HTTP_PHASE_ANSWER);
        r->handler(r);
    }
}

static enum MHD_Result serve(void *arg, struct MHD_Connection *connection,
                             const char *path, const char *method,
                             const char *version, const char *data,
                             size_t *size, void **slot)
{
    struct http_request *r = *slot;

    (void)version;
    if (r == NULL)
        return begin(arg, connection, path, method, slot);
    if (*size > 0) {
        buf_add(&r->body, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (!r->handed) {
        answer_or_hand_over(r);
        if (r->handed)
            return MHD_YES; /* the loop has it: nothing of it is ours now */
    }
    return send_answer(r);
}

static void on_completed(void *arg, struct MHD_Connection *connection,
                         void **slot, enum MHD_RequestTerminationCode why)
{
    struct http_request *r = *slot;

    (void)arg;
    (void)connection;
    (void)why;
    if (r == NULL)
        return;
    http_guard_phase(r->h->guard, r->conn, HTTP_PHASE_HEAD);
    request_free(r);
    *slot = NULL;
}

static void on_connection(void *arg, struct MHD_Connection *connection,
                          void **slot, enum MHD_ConnectionNotificationCode what)
{
    struct http *h = arg;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(
            connection, MHD_CONNECTION_INFO_CONNECTION_FD);

        *slot = http_guard_add(h->guard, info->connect_fd);
    } else if (*slot != NULL) {
        http_guard_remove(h->guard, *slot);
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

/* --- starting and leaving -------------------------------------------------------------------------- */

static int listen_on(struct http *h, struct err *err)
{
    const struct conf *conf = h->conf;
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    char port[8];
    int one = 1, rc;

    snprintf(port, sizeof(port), "%u", conf->listen_port);
    rc = getaddrinfo(conf->listen_host, port, &hints, &found);
    if (rc != 0)
        return (int)err_set(err, ERR_IO, "listen: %s: %s", conf->listen_host,
                            gai_strerror(rc));
    h->listen_fd = socket(found->ai_family,
                          SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (h->listen_fd >= 0)
        (void)setsockopt(h->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one,
                         sizeof(one));
    if (h->listen_fd < 0 ||
        bind(h->listen_fd, found->ai_addr, found->ai_addrlen) != 0 ||
        listen(h->listen_fd, BACKLOG) != 0 ||
        getsockname(h->listen_fd, (struct sockaddr *)&bound, &len) != 0) {
        freeaddrinfo(found);
        return (int)err_errno(err, errno,
                              "listen: %s:%s (is another coordinator running "
                              "there? `listen:` names another address)",
                              conf->listen_host, port);
    }
    freeaddrinfo(found);
    h->port = ntohs(bound.ss_family == AF_INET6
                        ? ((struct sockaddr_in6 *)&bound)->sin6_port
                        : ((struct sockaddr_in *)&bound)->sin_port);
    return 0;
}

static void on_tick(void *arg);

static struct MHD_Daemon *start_daemon(struct http *h)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = h->conf->http.threads;

    if (threads == 0)
        threads = cores > 0 ? (unsigned)cores : 1;
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
            MHD_USE_TURBO | MHD_USE_ERROR_LOG | MHD_USE_ITC,
        0, NULL, NULL, serve, h, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, h,
        MHD_OPTION_LISTEN_SOCKET, h->listen_fd,
        /* a pool of one is the daemon's own thread */
        MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? threads : 0,
        MHD_OPTION_CONNECTION_LIMIT, h->conf->http.max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_MAX,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
        MHD_OPTION_END);
}

int http_start(struct http **out, const struct http_config *config,
               struct err *err)
{
    struct http *h = mem_zalloc(sizeof(*h));
    int rc;

    assert(config->conf != NULL && config->coordinator != NULL);
    h->conf = config->conf;
    h->loop = config->loop;
    h->coordinator = config->coordinator;
    h->balancer = coordinator_balancer(config->coordinator);
    rc = listen_on(h, err);
    if (rc != 0) {
        if (h->listen_fd >= 0)
            close(h->listen_fd);
        mem_free(h);
        return rc;
    }
    h->guard = http_guard_new();
    h->daemon = start_daemon(h);
    if (h->daemon == NULL) {
        close(h->listen_fd);
        http_guard_free(&h->guard);
        mem_free(h);
        return (int)err_set(err, ERR_IO,
                            "listen: the HTTP server does not start; "
                            "http.threads and http.max-connections may be "
                            "beyond what the system allows");
    }
    h->timer = loop_timer(h->loop, TICK_MS, TICK_MS, on_tick, h);
    *out = h;
    return 0;
}

uint16_t http_port(const struct http *h)
{
    return h->port;
}

/* Everything is answered, or it is time: end the daemon. Its threads wait for
 * nobody, so joining them takes a moment only. */
static void finish(struct http *h)
{
    loop_timer_stop(&h->timer);
    MHD_stop_daemon(h->daemon);
    h->daemon = NULL;
    close(h->listen_fd);
    h->listen_fd = -1;
    h->stopped(h->stopped_arg);
}

static void refuse_all(struct http *h)
{
    while (h->on_loop != NULL) {
        struct http_request *r = h->on_loop;

        http_problem(r, "leaving", NULL);
        http_answer(r);
    }
}

static void on_tick(void *arg)
{
    struct http *h = arg;
    mono_ms now = loop_clock(h->loop)->mono;

    if (now - h->reaped >= REAP_MS) {
        h->reaped = now;
        http_guard_reap(h->guard);
    }
    if (h->stopped == NULL)
        return;
    if (now >= h->stop_by)
        refuse_all(h);
    if (now >= h->stop_by ||
        __atomic_load_n(&h->in_flight, __ATOMIC_ACQUIRE) == 0)
        finish(h);
}

/* Long polls are answered at once with what there is; everything else the loop
 * has goes on until it is done or the time is over. */
void http_stop(struct http *h, int64_t deadline_ms, void (*stopped)(void *arg),
               void *arg)
{
    struct http_request *r, *tmp;

    assert(h->stopped == NULL && stopped != NULL);
    h->stopped = stopped;
    h->stopped_arg = arg;
    h->stop_by = loop_clock(h->loop)->mono + deadline_ms;
    __atomic_store_n(&h->stopping, 1, __ATOMIC_RELEASE);
    (void)MHD_quiesce_daemon(h->daemon);
    DL_FOREACH_SAFE (h->on_loop, r, tmp)
        if (r->wait != NULL) {
            coordinator_unwait(h->coordinator, &r->wait);
            r->on_loop(r);
        }
}

void http_free(struct http **http)
{
    struct http *h = *http;

    if (h == NULL)
        return;
    assert(h->daemon == NULL && h->on_loop == NULL);
    http_guard_free(&h->guard);
    MEM_FREE(*http);
}
