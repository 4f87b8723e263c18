/*
 * socket.c - libuv's poll of a socket, and a timer instead of it while the
 * socket rests.
 *
 * Crowded: CROWD reads, each within CLOSE_MS of the one before, until a rest
 * brings less than LITTLE, which is what a crowd brings in that time. What
 * brings MUCH at once is read again before it rests: libcurl takes no more than
 * its buffer (64 KiB) at a time.
 */
#include "registry/etcd/http.h"

#include "base/mem.h"

#define CROWD    8
#define CLOSE_MS 10
#define LITTLE   ((size_t)2 * 1024)
#define MUCH     ((size_t)48 * 1024)

struct etcd_socket {
    uv_poll_t poll;
    uv_timer_t timer;
    struct loop *loop;
    uv_os_sock_t fd;
    etcd_socket_f *fn;
    void *arg;
    loop_f *closed; /* it is being closed */
    void *closed_arg;
    mono_ms last; /* when it was read */
    unsigned row; /* so many reads close together */
    unsigned n_handles;
    int events;
    bool rests;   /* it may */
    bool resting; /* the timer runs, the poll does not */
};

static void on_poll(uv_poll_t *handle, int status, int events);
static void on_rested(uv_timer_t *handle);

static void rest(struct etcd_socket *s)
{
    assert(!s->resting && s->events == UV_READABLE);
    s->resting = true;
    (void)uv_poll_stop(&s->poll);
    (void)uv_timer_start(&s->timer, on_rested, SOCKET_REST_MS, 0);
}

static bool may_rest(const struct etcd_socket *s, size_t n)
{
    return s->rests && s->closed == NULL && s->events == UV_READABLE && n > 0 &&
           n < MUCH;
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct etcd_socket *s = handle->data;
    mono_ms now;
    size_t n;

    loop_enter(s->loop);
    now = loop_clock(s->loop)->mono;
    n = s->fn(s->arg, s->fd, status, events);
    s->row = now - s->last <= CLOSE_MS ? s->row + 1 : 0;
    s->last = now;
    if (s->row >= CROWD && may_rest(s, n) && !s->resting)
        rest(s);
}

static void on_rested(uv_timer_t *handle)
{
    struct etcd_socket *s = handle->data;
    size_t n;

    assert(s->resting && s->closed == NULL);
    loop_enter(s->loop);
    s->resting = false;
    n = s->fn(s->arg, s->fd, 0, UV_READABLE);
    if (s->closed != NULL)
        return;
    s->last = loop_clock(s->loop)->mono;
    if (n >= LITTLE && s->row >= CROWD && may_rest(s, n)) {
        rest(s);
        return;
    }
    if (n < LITTLE)
        s->row = 0;
    (void)etcd_socket_wait(s, s->rests, s->events);
}

void etcd_socket_hurry(struct etcd_socket *s)
{
    assert(s->closed == NULL);
    s->row = 0;
    if (!s->resting)
        return;
    (void)uv_timer_stop(&s->timer);
    s->resting = false;
    (void)uv_poll_start(&s->poll, s->events, on_poll); /* as it was before */
}

struct etcd_socket *etcd_socket_new(struct loop *loop, uv_os_sock_t fd,
                                    bool rests, etcd_socket_f *fn, void *arg)
{
    struct etcd_socket *s = mem_zalloc(sizeof(*s));

    assert(fn != NULL);
    if (uv_poll_init_socket(loop_uv(loop), &s->poll, fd) != 0) {
        mem_free(s);
        return NULL; /* no descriptors left */
    }
    (void)uv_timer_init(loop_uv(loop), &s->timer);
    s->poll.data = s->timer.data = s;
    s->n_handles = 2;
    s->loop = loop;
    s->fd = fd;
    s->rests = rests;
    s->fn = fn;
    s->arg = arg;
    return s;
}

bool etcd_socket_wait(struct etcd_socket *s, bool rests, int events)
{
    assert(s->closed == NULL);
    s->rests = rests;
    s->events = events;
    if (s->resting && rests && events == UV_READABLE)
        return true;
    if (s->resting)
        (void)uv_timer_stop(&s->timer);
    s->resting = false;
    return uv_poll_start(&s->poll, events, on_poll) == 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct etcd_socket *s = handle->data;
    loop_f *closed = s->closed;
    void *arg = s->closed_arg;

    assert(s->n_handles > 0);
    if (--s->n_handles > 0)
        return;
    mem_free(s);
    closed(arg);
}

void etcd_socket_close(struct etcd_socket **s_ptr, loop_f *closed, void *arg)
{
    struct etcd_socket *s = *s_ptr;

    assert(s->closed == NULL && closed != NULL);
    *s_ptr = NULL;
    s->closed = closed;
    s->closed_arg = arg;
    uv_close((uv_handle_t *)&s->poll, on_closed); /* stops it */
    uv_close((uv_handle_t *)&s->timer, on_closed);
}
