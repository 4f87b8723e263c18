/*
 * http.c - libcurl on libuv.
 *
 * libcurl says which sockets it waits for and when it wants to be woken; both
 * are libuv handles here. Its own callbacks only copy: they may not call back
 * into it, and whoever gets an answer will. So everything that arrived is
 * handed out after libcurl has returned (drain()).
 *
 * A body is handed to libcurl piece by piece and not as a string. So it is
 * known whether any byte of it may have left (`sent`), and libcurl cannot send
 * it twice by itself: when a kept connection turns out to be dead it would,
 * and a txn that is applied twice reports a conflict with itself. Only what is
 * repeatable may be rewound.
 *
 * Each running transfer has a connection of its own (HTTP/1.1; on shared h2
 * connections watches starve), kept for the next when it is over. (A few lines
 * more than 500: how a member is reached stands beside how it is asked.)
 */
#include "registry/etcd/http.h"

#include "base/library/curl.h"
#include "base/mem.h"
#include "conf/conf.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

struct etcd_transfer {
    struct etcd_http *http;
    struct etcd_transfer *prev, *next;
    struct etcd_post post;
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    size_t taken;     /* bytes of the body that libcurl has */
    bool sent;        /* it had some, now or before a rewind */
    struct buf reply; /* a stream: what was not handed out yet */
    bool too_large;
    struct etcd_socket *socket; /* a stream's, while libcurl waits for it */
    char problem[CURL_ERROR_SIZE];
};

struct etcd_http {
    struct loop *loop;
    struct etcd_reach reach; /* its own */
    CURLM *multi;
    uv_timer_t timer;
    struct etcd_transfer *transfers;
    size_t n_handles; /* sockets and the timer, not closed yet */
    size_t received;  /* bytes of all bodies, modulo */
    loop_f *closed;   /* closing */
    void *closed_arg;
};

/* --- sockets and the timer ----------------------------------------------- */

static void drain(struct etcd_http *http);

/* A handle of libuv's. */
static void one_closed(void *arg)
{
    struct etcd_http *http = arg;
    loop_f *closed = http->closed;
    void *closed_arg = http->closed_arg;

    assert(http->n_handles > 0);
    if (--http->n_handles > 0)
        return;
    assert(closed != NULL);
    mem_free(http->reach.authority);
    mem_free(http->reach.ca_file);
    mem_free(http->reach.cert_file);
    mem_free(http->reach.key_file);
    mem_free(http);
    libcurl.curl_global_cleanup();
    closed(closed_arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    one_closed(handle->data);
}

static void act(struct etcd_http *http, curl_socket_t fd, int what)
{
    int running;

    (void)libcurl.curl_multi_socket_action(http->multi, fd, what, &running);
    drain(http);
}

static size_t on_events(void *arg, uv_os_sock_t fd, int status, int events)
{
    struct etcd_http *http = arg;
    size_t before = http->received;
    int what = 0;

    if (status < 0)
        what = CURL_CSELECT_ERR;
    if ((events & UV_READABLE) != 0)
        what |= CURL_CSELECT_IN;
    if ((events & UV_WRITABLE) != 0)
        what |= CURL_CSELECT_OUT;
    act(http, fd, what);
    return http->received - before;
}

/* NULL: it is none. */
static struct etcd_transfer *stream_of(CURL *easy)
{
    struct etcd_transfer *t = NULL;

    (void)libcurl.curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
    return t != NULL && t->post.piece != NULL ? t : NULL;
}

static void socket_gone(struct etcd_http *http, struct etcd_socket **s)
{
    struct etcd_transfer *t;

    DL_FOREACH (http->transfers, t)
        if (t->socket == *s)
            t->socket = NULL;
    etcd_socket_close(s, one_closed, http);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
                     void *socket)
{
    struct etcd_http *http = arg;
    struct etcd_socket *s = socket;
    struct etcd_transfer *stream;
    int events = 0;

    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) {
            (void)libcurl.curl_multi_assign(http->multi, fd, NULL);
            socket_gone(http, &s);
        }
        return 0;
    }
    stream = stream_of(easy);
    if (s == NULL) {
        s = etcd_socket_new(http->loop, fd, stream != NULL, on_events, http);
        if (s == NULL)
            return -1; /* the transfer fails */
        http->n_handles++;
        (void)libcurl.curl_multi_assign(http->multi, fd, s);
    }
    if ((what & CURL_POLL_IN) != 0)
        events |= UV_READABLE;
    if ((what & CURL_POLL_OUT) != 0)
        events |= UV_WRITABLE;
    if (stream != NULL)
        stream->socket = s;
    return etcd_socket_wait(s, stream != NULL, events) ? 0 : -1;
}

static void on_timer(uv_timer_t *handle)
{
    struct etcd_http *http = handle->data;

    loop_enter(http->loop);
    if (http->closed == NULL) {
        act(http, CURL_SOCKET_TIMEOUT, 0);
        return;
    }
    (void)libcurl.curl_multi_cleanup(http->multi);
    uv_close((uv_handle_t *)&http->timer, on_timer_closed);
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
    struct etcd_http *http = arg;

    (void)multi;
    if (http->closed != NULL)
        return 0;
    if (timeout_ms < 0)
        (void)uv_timer_stop(&http->timer);
    else
        (void)uv_timer_start(&http->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* --- what libcurl asks of a transfer ------------------------------------- */

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
    struct etcd_transfer *t = arg;
    size_t left = t->post.body->len - t->taken, len = size * n;

    assert(t->taken <= t->post.body->len);
    if (len > left)
        len = left;
    memcpy(to, t->post.body->data + t->taken, len);
    t->taken += len;
    t->sent = t->sent || len > 0;
    return len;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct etcd_transfer *t = arg;

    if (!t->post.repeatable || origin != SEEK_SET || offset < 0 ||
        (size_t)offset > t->post.body->len)
        return CURL_SEEKFUNC_FAIL;
    t->taken = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *data, size_t size, size_t n, void *arg)
{
    struct etcd_transfer *t = arg;

    t->http->received += size * n;
    buf_add(&t->reply, data, size * n);
    t->too_large = t->reply.overflow;
    return t->too_large ? 0 : size * n;
}

/* --- handing out --------------------------------------------------------- */

/* Off libcurl and off the list. */
static void detach(struct etcd_transfer *t)
{
    struct etcd_http *http = t->http;

    assert(http->transfers != NULL);
    assert(http->closed == NULL);
    (void)libcurl.curl_multi_remove_handle(http->multi, t->easy);
    libcurl.curl_easy_cleanup(t->easy);
    libcurl.curl_slist_free_all(t->headers);
    libcurl.curl_slist_free_all(t->connect_to);
    DL_DELETE(http->transfers, t);
}

static void transfer_free(struct etcd_transfer *t)
{
    buf_close(&t->reply);
    mem_free(t);
}

bool etcd_transfer_cancel(struct etcd_transfer **t_ptr)
{
    struct etcd_transfer *t = *t_ptr;
    bool sent = t != NULL && t->sent;

    if (t != NULL) {
        *t_ptr = NULL;
        detach(t);
        transfer_free(t);
    }
    return sent;
}

void etcd_transfer_hurry(struct etcd_transfer *t)
{
    assert(t->post.piece != NULL);
    if (t->socket != NULL)
        etcd_socket_hurry(t->socket);
}

void etcd_transfer_pause(struct etcd_transfer *t)
{
    (void)libcurl.curl_easy_pause(t->easy, CURLPAUSE_RECV);
}

static long status_of(const struct etcd_transfer *t)
{
    long status = 0;

    (void)libcurl.curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* False: nothing waits. The callback may end this transfer or any other. */
static bool hand_out_piece(struct etcd_http *http)
{
    struct etcd_transfer *t;
    struct buf piece;

    DL_FOREACH (http->transfers, t)
        if (t->post.piece != NULL && t->reply.len > 0 && status_of(t) == 200)
            break;
    if (t == NULL)
        return false;
    assert(t->post.piece != NULL);
    piece = t->reply;
    buf_init(&t->reply, piece.max);
    t->post.piece(t->post.arg, piece.data, piece.len);
    buf_close(&piece);
    return true;
}

static bool is_tls(CURLcode result, const char *text)
{
    switch (result) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_USE_SSL_FAILED:
        return true;
    default: /* a server of TLS 1.3 refuses our certificate when we read */
        return strstr(text, "SSL_") != NULL || strstr(text, "alert") != NULL;
    }
}

static void hand_out_answer(struct etcd_transfer *t, CURLcode result)
{
    const char *text =
        t->problem[0] != '\0' ? t->problem : libcurl.curl_easy_strerror(result);
    char problem[sizeof(ETCD_TLS) + CURL_ERROR_SIZE];
    struct etcd_answer answer = {
        .sent = t->sent, .too_large = t->too_large, .problem = problem};

    if (result == CURLE_OK)
        answer.status = status_of(t);
    (void)snprintf(problem, sizeof(problem), "%s%s",
                   is_tls(result, text) ? ETCD_TLS : "", text);
    answer.body = buf_text(&t->reply);
    answer.len = t->reply.len;
    detach(t);
    t->post.done(t->post.arg, &answer);
    transfer_free(t);
}

static void drain(struct etcd_http *http)
{
    struct etcd_transfer *t;
    CURLMsg *msg;
    int left;

    for (;;) {
        while (http->closed == NULL && hand_out_piece(http)) {
        }
        msg = http->closed != NULL
                  ? NULL
                  : libcurl.curl_multi_info_read(http->multi, &left);
        if (msg == NULL)
            return;
        if (msg->msg == CURLMSG_DONE) {
            CURLcode result = msg->data.result;

            (void)libcurl.curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE,
                                            (char **)&t);
            hand_out_answer(t, result);
        }
    }
}

/* --- starting ------------------------------------------------------------ */

struct etcd_reach etcd_reach_of(const struct conf_registry *conf)
{
    return (struct etcd_reach){
        .authority = conf->authority,
        .ca_file = conf->cert_file, /* jetcd's names of them */
        .cert_file = conf->key_cert_chain_file,
        .key_file = conf->key_file,
    };
}

/* The endpoint under the name of the authority: curl connects to the one and
 * speaks to the other. */
static struct curl_slist *set_url(CURL *c, const char *authority,
                                  const char *endpoint, const char *path)
{
    const char *host = strstr(endpoint, "://");
    const char *port = strrchr(endpoint, ':');
    struct curl_slist *connect_to = NULL;
    char *url, *via;

    assert(host != NULL && port != NULL);
    host += 3;
    if (authority == NULL) {
        url = mem_printf("%s%s", endpoint, path);
    } else {
        if (strchr(authority, ':') != NULL) /* it names a port, too */
            port = "";
        url = mem_printf("%.*s%s%s%s", (int)(host - endpoint), endpoint,
                         authority, port, path);
        via = mem_printf("::%s", host); /* whatever the URL says */
        connect_to = libcurl.curl_slist_append(NULL, via);
        mem_free(via);
        (void)libcurl.curl_easy_setopt(c, CURLOPT_CONNECT_TO, connect_to);
    }
    (void)libcurl.curl_easy_setopt(c, CURLOPT_URL, url); /* copied */
    mem_free(url);
    return connect_to;
}

struct curl_slist *etcd_http_aim(void *easy, const struct etcd_reach *reach,
                                 const char *endpoint, const char *path)
{
    CURL *c = easy;

    (void)libcurl.curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)libcurl.curl_easy_setopt(c, CURLOPT_NOPROXY,
                                   "*"); /* of the environment */
    if (reach->ca_file != NULL) {
        (void)libcurl.curl_easy_setopt(c, CURLOPT_CAINFO, reach->ca_file);
        (void)libcurl.curl_easy_setopt(c, CURLOPT_CAPATH,
                                       NULL); /* nobody else */
    }
    if (reach->cert_file != NULL) {
        (void)libcurl.curl_easy_setopt(c, CURLOPT_SSLCERT, reach->cert_file);
        (void)libcurl.curl_easy_setopt(c, CURLOPT_SSLKEY, reach->key_file);
    }
    return set_url(c, reach->authority, endpoint, path);
}

static void set_headers(struct etcd_transfer *t)
{
    struct curl_slist *h =
        libcurl.curl_slist_append(NULL, "Content-Type: application/json");

    h = libcurl.curl_slist_append(h, "Expect:");
    /* A member that lost its leader says so at once, and ends streams. */
    h = libcurl.curl_slist_append(h, "Grpc-Metadata-hasleader: true");
    if (t->post.token != NULL) {
        char *line = mem_printf("Authorization: %s", t->post.token);

        h = libcurl.curl_slist_append(h, line);
        mem_free(line);
    }
    t->headers = h;
    (void)libcurl.curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, h);
}

/* Not one of these can fail but for want of memory. */
static void set_options(struct etcd_transfer *t)
{
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_QUICK_EXIT, 1}, /* no wait for DNS */
        {CURLOPT_CONNECTTIMEOUT_MS, (long)t->post.connect_ms},
        {CURLOPT_TCP_KEEPALIVE, 1},
        {CURLOPT_TCP_KEEPIDLE, 10},
        {CURLOPT_TCP_KEEPINTVL, 5},
        {CURLOPT_POST, 1},
        {CURLOPT_POSTFIELDSIZE, (long)t->post.body->len},
        {CURLOPT_BUFFERSIZE, 65536},
    };
    CURL *c = t->easy;

    assert(t->post.body->len <= LONG_MAX);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        (void)libcurl.curl_easy_setopt(c, numbers[i].option, numbers[i].value);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->problem);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_READDATA, t);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_write);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
}

struct etcd_transfer *etcd_http_post(struct etcd_http *http,
                                     const struct etcd_post *post)
{
    struct etcd_transfer *t = mem_zalloc(sizeof(*t));
    CURLMcode rc;

    assert(http->closed == NULL);
    assert(!post->body->overflow);
    assert(post->done != NULL);
    assert(post->max_reply > 0);
    t->http = http;
    t->post = *post;
    t->easy = libcurl.curl_easy_init();
    assert(t->easy != NULL);
    buf_init(&t->reply, post->max_reply);
    t->connect_to =
        etcd_http_aim(t->easy, &http->reach, post->endpoint, post->path);
    set_headers(t);
    set_options(t);
    DL_APPEND(http->transfers, t);
    rc = libcurl.curl_multi_add_handle(http->multi, t->easy);
    assert(rc == CURLM_OK);
    (void)rc;
    return t;
}

int etcd_http_new(struct etcd_http **out, struct loop *loop,
                  const struct conf_registry *conf, struct err *err)
{
    bool ready = libcurl.curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    CURLM *multi = ready ? libcurl.curl_multi_init() : NULL;
    struct etcd_http *http;

    if (multi == NULL)
        return err_set(err, ERR_IO, "libcurl cannot be initialised");
    http = mem_zalloc(sizeof(*http));
    http->loop = loop;
    http->reach = etcd_reach_of(conf);
    http->reach.authority = mem_strdup(http->reach.authority);
    http->reach.ca_file = mem_strdup(http->reach.ca_file);
    http->reach.cert_file = mem_strdup(http->reach.cert_file);
    http->reach.key_file = mem_strdup(http->reach.key_file);
    http->multi = multi;
    (void)uv_timer_init(loop_uv(loop), &http->timer);
    http->timer.data = http;
    http->n_handles = 1;
    (void)libcurl.curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION,
                                    on_socket);
    (void)libcurl.curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    (void)libcurl.curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION,
                                    on_timeout);
    (void)libcurl.curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    *out = http;
    return 0;
}

/* Not at once: this may be called from within a callback of a transfer. */
void etcd_http_close(struct etcd_http **http_ptr, loop_f *closed, void *arg)
{
    struct etcd_http *http = *http_ptr;

    *http_ptr = NULL;
    assert(http->transfers == NULL && closed != NULL);
    http->closed = closed;
    http->closed_arg = arg;
    (void)uv_timer_start(&http->timer, on_timer, 0, 0);
}
