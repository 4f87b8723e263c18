/*
 * proxy.c - links of two sockets, and for each link two flows of chunks.
 *
 * A flow is one queue in which bytes, the end of the stream and a reset all
 * wait for their turn: pump() passes on what is due and not cut, whoever calls
 * it. A link is freed when libuv has let go of both its sockets.
 */
#include "tests/lib/proxy.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <utlist.h>

#define LINKS_MAX 256
#define HELD_MAX  (256 * 1024) /* bytes of one flow, then it is read no more */
#define BACKLOG   64

struct chunk {
    struct chunk *prev, *next;
    struct flow *flow;
    uv_write_t write;
    enum chunk_type { CHUNK_BYTES, CHUNK_END, CHUNK_RESET } type;
    mono_ms due;
    size_t len;
    char bytes[];
};

struct flow {
    struct link *link;
    unsigned way; /* PROXY_TO_SERVER or PROXY_TO_CLIENT */
    uv_tcp_t *from, *to;
    struct chunk *chunks; /* read, and not given to libuv yet */
    size_t held;          /* bytes of those, and of writes under way */
    bool reading;
    bool ended; /* nothing more will be read */
    bool deaf;  /* the receiver is gone: bytes are dropped */
    bool done;  /* the end has been passed on */
    uv_shutdown_t shutdown;
    struct loop_timer *timer; /* until the first chunk is due */
};

struct link {
    struct link *prev, *next;
    struct proxy *proxy;
    uv_tcp_t client, server;
    uv_connect_t connect;
    bool connecting, connected, closing;
    unsigned handles; /* open ones of the two */
    struct flow to_server, to_client;
};

struct proxy {
    struct loop *loop;
    uv_tcp_t listener;
    bool listening; /* its handle is open */
    bool closing;
    uint16_t port, server_port;
    unsigned cut;
    bool refuse;
    int64_t delay_ms;
    struct link *links;
    size_t n_links;
    uint64_t accepted;
    loop_f *closed;
    void *closed_arg;
    char scratch[65536]; /* what one read gives */
};

static void pump(struct flow *flow);

/* --- the end of things --------------------------------------------------- */

static void proxy_free_if_done(struct proxy *p)
{
    loop_f *closed = p->closed;
    void *arg = p->closed_arg;

    if (!p->closing || p->listening || p->n_links > 0)
        return;
    mem_free(p);
    if (closed != NULL)
        closed(arg);
}

static void flow_clear(struct flow *flow)
{
    struct chunk *chunk, *next;

    loop_timer_stop(&flow->timer);
    DL_FOREACH_SAFE (flow->chunks, chunk, next) {
        DL_DELETE(flow->chunks, chunk);
        flow->held -= chunk->len;
        mem_free(chunk);
    }
}

static void on_link_handle_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;
    struct proxy *p = link->proxy;

    loop_enter(p->loop);
    if (--link->handles > 0)
        return;
    assert(link->to_server.held == 0 && link->to_client.held == 0);
    DL_DELETE(p->links, link);
    p->n_links--;
    mem_free(link);
    proxy_free_if_done(p);
}

static void socket_close(uv_tcp_t *socket, bool reset)
{
    /* A socket that is being shut down, or never was one, takes no reset. */
    if (!reset || uv_tcp_close_reset(socket, on_link_handle_closed) != 0)
        uv_close((uv_handle_t *)socket, on_link_handle_closed);
}

static void link_close(struct link *link, bool reset)
{
    if (link->closing)
        return;
    link->closing = true;
    flow_clear(&link->to_server);
    flow_clear(&link->to_client);
    socket_close(&link->client, reset);
    socket_close(&link->server, reset);
}

/* --- one way ------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct link *link = handle->data;

    (void)suggested;
    *buf = uv_buf_init(link->proxy->scratch,
                       (unsigned)sizeof(link->proxy->scratch));
}

static void flow_append(struct flow *flow, enum chunk_type type,
                        const char *bytes, size_t len)
{
    struct proxy *p = flow->link->proxy;
    struct chunk *chunk = mem_zalloc(sizeof(*chunk) + len);

    chunk->flow = flow;
    chunk->type = type;
    chunk->due = loop_clock(p->loop)->mono + p->delay_ms;
    chunk->len = len;
    if (len > 0)
        memcpy(chunk->bytes, bytes, len);
    flow->held += len;
    DL_APPEND(flow->chunks, chunk);
}

static void flow_stop_reading(struct flow *flow)
{
    (void)uv_read_stop((uv_stream_t *)flow->from);
    flow->reading = false;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *link = stream->data;
    struct flow *flow = stream == (uv_stream_t *)&link->client
                            ? &link->to_server
                            : &link->to_client;

    loop_enter(link->proxy->loop);
    if (n == 0)
        return;
    if (n < 0) {
        flow->ended = true;
        flow_append(flow, n == UV_EOF ? CHUNK_END : CHUNK_RESET, NULL, 0);
    } else if (!flow->deaf) {
        flow_append(flow, CHUNK_BYTES, buf->base, (size_t)n);
    }
    if (flow->ended || flow->held >= HELD_MAX)
        flow_stop_reading(flow);
    pump(flow);
}

/* Only from a socket that is connected. */
static void flow_read_on(struct flow *flow)
{
    if (flow->reading || flow->ended || flow->link->closing ||
        flow->held >= HELD_MAX)
        return;
    if (uv_read_start((uv_stream_t *)flow->from, on_alloc, on_read) != 0) {
        link_close(flow->link, true);
        return;
    }
    flow->reading = true;
}

static void on_written(uv_write_t *write, int status)
{
    struct chunk *chunk = write->data;
    struct flow *flow = chunk->flow;

    loop_enter(flow->link->proxy->loop);
    flow->held -= chunk->len;
    mem_free(chunk);
    flow->deaf |= status != 0;
    flow_read_on(flow);
}

static void on_shut_down(uv_shutdown_t *shutdown, int status)
{
    struct flow *flow = shutdown->data;
    struct link *link = flow->link;

    (void)status;
    loop_enter(link->proxy->loop);
    flow->done = true;
    if (link->to_server.done && link->to_client.done)
        link_close(link, false);
}

/* Takes the chunk over; libuv keeps it until it is written. */
static void pass_bytes(struct flow *flow, struct chunk *chunk)
{
    uv_buf_t buf = uv_buf_init(chunk->bytes, (unsigned)chunk->len);

    chunk->write.data = chunk;
    if (flow->deaf || uv_write(&chunk->write, (uv_stream_t *)flow->to, &buf, 1,
                               on_written) != 0) {
        flow->held -= chunk->len;
        flow->deaf = true;
        mem_free(chunk);
    }
}

static void pass_end(struct flow *flow)
{
    flow->shutdown.data = flow;
    if (uv_shutdown(&flow->shutdown, (uv_stream_t *)flow->to, on_shut_down) !=
        0)
        on_shut_down(&flow->shutdown, UV_ENOTCONN);
}

static void on_due(void *arg)
{
    struct flow *flow = arg;

    loop_timer_stop(&flow->timer);
    pump(flow);
}

static void pump(struct flow *flow)
{
    struct link *link = flow->link;
    struct proxy *p = link->proxy;
    mono_ms now = loop_clock(p->loop)->mono;
    struct chunk *chunk;

    while (!link->closing && link->connected && (p->cut & flow->way) == 0 &&
           (chunk = flow->chunks) != NULL) {
        enum chunk_type type = chunk->type;

        if (chunk->due > now) {
            if (flow->timer == NULL) {
                flow->timer =
                    loop_timer(p->loop, chunk->due - now, 0, on_due, flow);
            }
            return;
        }
        DL_DELETE(flow->chunks, chunk);
        if (type == CHUNK_BYTES) {
            pass_bytes(flow, chunk);
            continue;
        }
        mem_free(chunk);
        if (type == CHUNK_RESET)
            link_close(link, true);
        else
            pass_end(flow);
    }
    if (link->connected)
        flow_read_on(flow);
}

/* --- links --------------------------------------------------------------- */

static void on_connected(uv_connect_t *connect, int status)
{
    struct link *link = connect->data;

    loop_enter(link->proxy->loop);
    if (link->closing)
        return;
    if (status != 0) { /* the server is down, and so is the connection */
        link_close(link, true);
        return;
    }
    link->connected = true;
    (void)uv_tcp_nodelay(&link->server, 1);
    flow_read_on(&link->to_client);
    pump(&link->to_server);
}

/* To the server, unless nothing gets there. */
static void link_connect(struct link *link)
{
    struct proxy *p = link->proxy;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(p->server_port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};

    if (link->closing || link->connecting || (p->cut & PROXY_TO_SERVER) != 0)
        return;
    link->connecting = true;
    link->connect.data = link;
    if (uv_tcp_connect(&link->connect, &link->server,
                       (const struct sockaddr *)&address, on_connected) != 0)
        link_close(link, true);
}

static void flow_init(struct flow *flow, struct link *link, unsigned way)
{
    flow->link = link;
    flow->way = way;
    flow->from = way == PROXY_TO_SERVER ? &link->client : &link->server;
    flow->to = way == PROXY_TO_SERVER ? &link->server : &link->client;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct proxy *p = listener->data;
    struct link *link;

    loop_enter(p->loop);
    if (status != 0)
        return;
    link = mem_zalloc(sizeof(*link));
    link->proxy = p;
    /* Both touch memory only. */
    (void)uv_tcp_init(loop_uv(p->loop), &link->client);
    (void)uv_tcp_init(loop_uv(p->loop), &link->server);
    link->client.data = link;
    link->server.data = link;
    link->handles = 2;
    flow_init(&link->to_server, link, PROXY_TO_SERVER);
    flow_init(&link->to_client, link, PROXY_TO_CLIENT);
    DL_APPEND(p->links, link);
    p->n_links++;
    p->accepted++;
    if (uv_accept(listener, (uv_stream_t *)&link->client) != 0 || p->refuse ||
        p->n_links > LINKS_MAX) {
        link_close(link, true);
        return;
    }
    (void)uv_tcp_nodelay(&link->client, 1);
    flow_read_on(&link->to_server);
    link_connect(link);
}

/* --- the proxy (links are freed in a later turn, not in its loops) ------- */

static void on_listener_closed(uv_handle_t *handle)
{
    struct proxy *p = handle->data;

    loop_enter(p->loop);
    p->listening = false;
    proxy_free_if_done(p);
}

int proxy_open(struct proxy **out, struct loop *loop, uint16_t server_port,
               struct err *err)
{
    struct proxy *p = mem_zalloc(sizeof(*p));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int len = (int)sizeof(address), rc;

    (void)signal(SIGPIPE, SIG_IGN); /* a link that broke is not our end */
    p->loop = loop;
    p->server_port = server_port;
    p->listening = true;
    (void)uv_tcp_init(loop_uv(loop), &p->listener);
    p->listener.data = p;
    rc = uv_tcp_bind(&p->listener, (const struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&p->listener, BACKLOG, on_connection);
    if (rc == 0) {
        rc =
            uv_tcp_getsockname(&p->listener, (struct sockaddr *)&address, &len);
    }
    if (rc != 0) {
        proxy_close(&p, NULL, NULL);
        return err_set(err, ERR_IO, "proxy: %s", uv_strerror(rc));
    }
    p->port = ntohs(address.sin_port);
    *out = p;
    return 0;
}

void proxy_close(struct proxy **proxy, loop_f *closed, void *arg)
{
    struct proxy *p = *proxy;
    struct link *link;

    if (p == NULL)
        return;
    *proxy = NULL;
    assert(!p->closing);
    p->closing = true;
    p->closed = closed;
    p->closed_arg = arg;
    uv_close((uv_handle_t *)&p->listener, on_listener_closed);
    DL_FOREACH (p->links, link)
        link_close(link, true);
}

uint16_t proxy_port(const struct proxy *p)
{
    return p->port;
}

void proxy_cut(struct proxy *p, unsigned ways)
{
    struct link *link;

    p->cut = ways;
    DL_FOREACH (p->links, link) {
        link_connect(link);
        pump(&link->to_server);
        pump(&link->to_client);
    }
}

size_t proxy_reset(struct proxy *p)
{
    struct link *link;
    size_t n = 0;

    DL_FOREACH (p->links, link) {
        n += !link->closing;
        link_close(link, true);
    }
    return n;
}

void proxy_refuse(struct proxy *p, bool refuse)
{
    p->refuse = refuse;
}

void proxy_delay(struct proxy *p, int64_t ms)
{
    assert(ms >= 0);
    p->delay_ms = ms;
}

size_t proxy_open_links(const struct proxy *p)
{
    const struct link *link;
    size_t n = 0;

    DL_FOREACH (p->links, link)
        n += !link->closing;
    return n;
}

uint64_t proxy_accepted(const struct proxy *p)
{
    return p->accepted;
}
