/* wire.c - see wire.h. */
#include "tests/bench/live/wire.h"

#include "base/clock.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define IN_SIZE   ((size_t)1 << 20) /* the longest answer */
#define OUT_FIRST 4096U
#define BATCH     16384U /* bytes: flushed without being asked */
#define LENGTH    "content-length:"

struct asked {
    int kind;
    uint32_t of;
    uint64_t sent;
};

struct wire {
    int fd; /* -1: there is none */
    uint16_t port;
    char *out, *in;
    size_t out_n, out_cap, in_n;
    struct asked *asked; /* a ring: first, and n of them */
    size_t first, n, cap;
    bool listed; /* in `full` */
};

struct wires {
    int epoll;
    wire_answer_f *answer;
    void *arg;
    struct wire *wires;
    size_t n;
    size_t *full; /* connections with something to send */
    size_t n_full;
    size_t open; /* requests */
    bool forgiving;
};

void wire_die(const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

/* No connection if it is refused and forgiven. */
static void wire_dial(struct wires *ws, size_t i)
{
    struct wire *w = &ws->wires[i];
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(w->port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct epoll_event e = {.events = EPOLLIN, .data = {.u64 = i}};
    int on = 1;

    assert(w->fd < 0);
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->fd >= 0 && ws->forgiving &&
        connect(w->fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        close(w->fd);
        w->fd = -1;
        return;
    }
    if (w->fd < 0 || (!ws->forgiving &&
                      connect(w->fd, (struct sockaddr *)&to, sizeof(to)) != 0))
        wire_die("port %u: %s", w->port, strerror(errno));
    (void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (epoll_ctl(ws->epoll, EPOLL_CTL_ADD, w->fd, &e) != 0)
        wire_die("epoll: %s", strerror(errno));
}

static void wire_connect(struct wires *ws, size_t i, uint16_t port)
{
    struct wire *w = &ws->wires[i];

    *w = (struct wire){.fd = -1, .port = port, .out_cap = OUT_FIRST, .cap = 64};
    w->out = mem_array(w->out_cap, 1);
    w->in = mem_array(IN_SIZE + 1, 1);
    w->asked = mem_array(w->cap, sizeof(*w->asked));
    wire_dial(ws, i);
}

struct wires *wires_open(const uint16_t *ports, size_t n, wire_answer_f *answer,
                         void *arg)
{
    struct wires *ws = mem_zalloc(sizeof(*ws));

    assert(n >= 1);
    ws->answer = answer;
    ws->arg = arg;
    ws->n = n;
    ws->wires = mem_array(n, sizeof(*ws->wires));
    ws->full = mem_array(n, sizeof(*ws->full));
    ws->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (ws->epoll < 0)
        wire_die("epoll: %s", strerror(errno));
    for (size_t i = 0; i < n; i++)
        wire_connect(ws, i, ports[i]);
    return ws;
}

void wires_close(struct wires **pointer)
{
    struct wires *ws = *pointer;

    *pointer = NULL;
    if (ws == NULL)
        return;
    for (size_t i = 0; i < ws->n; i++) {
        if (ws->wires[i].fd >= 0)
            close(ws->wires[i].fd);
        mem_free(ws->wires[i].out);
        mem_free(ws->wires[i].in);
        mem_free(ws->wires[i].asked);
    }
    close(ws->epoll);
    mem_free(ws->wires);
    mem_free(ws->full);
    mem_free(ws);
}

size_t wires_open_requests(const struct wires *ws)
{
    return ws->open;
}

/* ---- what is lost -------------------------------------------------------- */

void wires_forgive(struct wires *ws)
{
    ws->forgiving = true;
}

bool wire_is_idle(const struct wires *ws, size_t connection)
{
    assert(connection < ws->n);
    return ws->wires[connection].n == 0;
}

/* Whoever is told may ask there again at once. */
static void wire_lose(struct wires *ws, struct wire *w)
{
    struct wire_answer a = {.came = clock_mono_ns(), .body = ""};
    struct asked *asked = w->asked;
    size_t first = w->first, n = w->n, cap = w->cap;

    assert(ws->forgiving);
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    w->out_n = w->in_n = w->first = w->n = 0;
    w->asked = mem_array(w->cap, sizeof(*w->asked));
    ws->open -= n;
    for (size_t i = 0; i < n; i++) {
        a.kind = asked[(first + i) % cap].kind;
        a.of = asked[(first + i) % cap].of;
        a.sent = asked[(first + i) % cap].sent;
        ws->answer(ws->arg, &a);
    }
    mem_free(asked);
}

void wires_drop(struct wires *ws, uint64_t sent_before)
{
    for (size_t i = 0; i < ws->n; i++) {
        struct wire *w = &ws->wires[i];

        if (w->n > 0 && w->asked[w->first].sent < sent_before)
            wire_lose(ws, w);
    }
}

/* Those that could not be made. */
static void lose_refused(struct wires *ws)
{
    for (size_t i = 0; ws->forgiving && i < ws->n; i++)
        if (ws->wires[i].n > 0 && ws->wires[i].fd < 0)
            wire_lose(ws, &ws->wires[i]);
}

/* ---- out ----------------------------------------------------------------- */

/* False: the socket takes no more now. */
static bool wire_flush(const struct wires *ws, struct wire *w)
{
    ssize_t n = send(w->fd, w->out, w->out_n, MSG_NOSIGNAL | MSG_DONTWAIT);

    assert(w->out_n > 0);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        if (!ws->forgiving)
            wire_die("the coordinator hung up: %s", strerror(errno));
        w->out_n = 0; /* reading tells */
    }
    if (n > 0) {
        w->out_n -= (size_t)n;
        memmove(w->out, w->out + n, w->out_n);
    }
    return w->out_n == 0;
}

void wires_flush(struct wires *ws)
{
    size_t left = 0;

    for (size_t i = 0; i < ws->n_full; i++) {
        struct wire *w = &ws->wires[ws->full[i]];

        w->listed = w->out_n > 0 && !wire_flush(ws, w);
        if (w->listed)
            ws->full[left++] = ws->full[i];
    }
    ws->n_full = left;
}

static void asked_add(struct wire *w, struct asked a)
{
    if (w->n == w->cap) {
        struct asked *more = mem_array(w->cap * 2, sizeof(*more));

        for (size_t i = 0; i < w->n; i++)
            more[i] = w->asked[(w->first + i) % w->cap];
        mem_free(w->asked);
        w->asked = more;
        w->first = 0;
        w->cap *= 2;
    }
    assert(w->n < w->cap);
    w->asked[(w->first + w->n++) % w->cap] = a;
}

void wire_send(struct wires *ws, size_t connection, int kind, uint32_t of,
               const char *text, size_t len)
{
    struct wire *w = &ws->wires[connection];

    assert(connection < ws->n);
    if (w->fd < 0)
        wire_dial(ws, connection);
    if (w->fd < 0) { /* told by wires_wait() */
        asked_add(w, (struct asked){kind, of, clock_mono_ns()});
        ws->open++;
        return;
    }
    while (w->out_n + len > w->out_cap) {
        w->out_cap *= 2;
        w->out = mem_regrow(w->out, w->out_cap, 1);
    }
    memcpy(w->out + w->out_n, text, len);
    w->out_n += len;
    asked_add(w, (struct asked){kind, of, clock_mono_ns()});
    ws->open++;
    if (!w->listed)
        ws->full[ws->n_full++] = connection;
    w->listed = true;
    assert(ws->n_full <= ws->n);
    if (w->out_n >= BATCH)
        (void)wire_flush(ws, w);
}

/* ---- in ------------------------------------------------------------------ */

/* Of the body; SIZE_MAX: the header does not say. */
static size_t length_of(const char *head, int status)
{
    for (const char *line = head; (line = strchr(line, '\n')) != NULL;)
        if (strncasecmp(++line, LENGTH, sizeof(LENGTH) - 1) == 0)
            return (size_t)strtoul(line + sizeof(LENGTH) - 1, NULL, 10);
    return status == 204 || status < 200 ? 0 : SIZE_MAX;
}

/* The first answer at `at`; its length, 0: not all of it is there. */
static size_t wire_parse(struct wires *ws, struct wire *w, char *at)
{
    char *end = strstr(at, "\r\n\r\n"), after;
    struct wire_answer a = {.came = clock_mono_ns()};
    size_t head, all;

    if (end == NULL)
        return 0;
    *end = '\0';
    a.status =
        strncmp(at, "HTTP/1.1 ", 9) == 0 ? (int)strtol(at + 9, NULL, 10) : 0;
    a.len = length_of(at, a.status);
    *end = '\r';
    if (a.status == 0 || a.len == SIZE_MAX)
        wire_die("this is no answer: %.200s", at);
    head = (size_t)(end - at) + 4;
    all = head + a.len;
    if (all > w->in_n - (size_t)(at - w->in))
        return 0;
    if (w->n == 0)
        wire_die("nothing was asked: %.200s", at);
    a.kind = w->asked[w->first].kind;
    a.of = w->asked[w->first].of;
    a.sent = w->asked[w->first].sent;
    w->first = (w->first + 1) % w->cap;
    w->n--;
    ws->open--;
    a.body = at + head;
    after = at[all];
    at[all] = '\0';
    ws->answer(ws->arg, &a);
    at[all] = after;
    return all;
}

static void wire_read(struct wires *ws, struct wire *w)
{
    ssize_t n = recv(w->fd, w->in + w->in_n, IN_SIZE - w->in_n, MSG_DONTWAIT);
    size_t used = 0, one;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 && ws->forgiving) {
        wire_lose(ws, w);
        return;
    }
    if (n <= 0)
        wire_die("the coordinator hung up%s%s", n < 0 ? ": " : "",
                 n < 0 ? strerror(errno) : "");
    w->in_n += (size_t)n;
    w->in[w->in_n] = '\0';
    while (used < w->in_n && (one = wire_parse(ws, w, w->in + used)) > 0)
        used += one;
    w->in_n -= used;
    memmove(w->in, w->in + used, w->in_n);
    if (w->in_n == IN_SIZE)
        wire_die("an answer of more than %zu bytes", IN_SIZE);
}

/* epoll_wait() itself knows milliseconds only. */
static void sleep_until(int epoll, uint64_t until, bool unsent)
{
    struct pollfd fd = {.fd = epoll, .events = POLLIN};
    uint64_t now = clock_mono_ns(), ns = until > now ? until - now : 0;

    if (unsent && ns > 100000)
        ns = 100000;
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

    (void)ppoll(&fd, 1, &t, NULL);
}

void wires_wait(struct wires *ws, uint64_t until)
{
    struct epoll_event events[64];
    int n;

    lose_refused(ws);
    wires_flush(ws);
    sleep_until(ws->epoll, until, ws->n_full > 0);
    n = epoll_wait(ws->epoll, events, ARRAY_LEN(events), 0);
    for (int i = 0; i < n; i++)
        wire_read(ws, &ws->wires[events[i].data.u64]);
}

void wire_instance(const char *body, char *out, size_t size)
{
    static const char name[] = "\"instance\":\"";
    const char *at = strstr(body, name);

    if (at == NULL)
        wire_die("no instance: %.200s", body);
    at += sizeof(name) - 1;
    (void)snprintf(out, size, "%.*s", (int)strcspn(at, "\""), at);
}
