/*
 * conns.c - the connections: how many come from one address, and which of them
 * are slow on purpose.
 *
 * libmicrohttpd's own timeout starts again with every byte, so a byte every
 * few seconds would keep a connection for days; it also reads the clock and
 * takes a lock with every piece that comes or goes. So there is none, and each
 * connection has a time by which it must have finished what it is doing:
 * sending a request, or taking an answer. A walk once a second shuts down the
 * late ones. One that waits for us has no such time; a request that begins on a
 * connection that was idle gets its own when the idle one's is over. List and
 * counts are under one mutex ("sockets"), taken when a connection comes or goes
 * and for that walk.
 *
 * Who has sent a part of a request is told 408 first. The library has nothing
 * for that, and would not send for us: the walk writes to the socket itself.
 * Nobody else may then, so a time that is over is exchanged for CUT in one
 * step, and an answer begins with the like step: one of the two finds that it
 * comes too late.
 *
 * libmicrohttpd can count connections per address too, but makes no exception
 * for loopback, where all clients of a proxy or of one host look the same. An
 * IPv6 client has a whole /64 to itself, so that is what counts as an address.
 */
#include "http/http_priv.h"

#include "base/locks.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/tcp_priv.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <uthash.h>
#include <utlist.h>

#define LOG_EVERY_MS      10000
#define FULL_LOG_EVERY_MS 60000
#define CUT               INT64_MIN
/* Bytes of the last request may look so much later than its answer: the
 * kernel's clock ticks. */
#define TICKS_MS 20

/* How many connections an address has. */
struct peer_count {
    uint8_t key[16];
    uint32_t n;
    UT_hash_handle hh;
};

struct http_conn {
    int fd;
    mono_ms until;              /* atomic; 0: no deadline */
    mono_ms since;              /* atomic: of the deadline */
    int phase;                  /* atomic: enum http_phase */
    bool used;                  /* atomic: it has had an answer */
    bool idle;                  /* atomic: since then, by its deadline */
    struct peer_count *counted; /* NULL: loopback */
    struct http_conn *next, *prev;
};

struct http_conns {
    pthread_mutex_t mutex; /* "sockets" in base/locks.h */
    struct http_conn *list;
    struct peer_count *peers;
    uint32_t n, max, max_per_address;
    mono_ms logged, full_logged; /* full_logged 0: there is room */
    bool full;                   /* atomic: at the last walk */
};

struct http_conns *http_conns_new(uint32_t max, uint32_t max_per_address)
{
    struct http_conns *c = mem_zalloc(sizeof(*c));
    int rc = pthread_mutex_init(&c->mutex, NULL);

    assert(rc == 0 && max > 0 && max_per_address > 0);
    (void)rc;
    c->max = max;
    c->max_per_address = max_per_address;
    c->logged = -LOG_EVERY_MS;
    return c;
}

void http_conns_free(struct http_conns **conns)
{
    struct http_conns *c = *conns;

    if (c == NULL)
        return;
    assert(c->list == NULL && c->peers == NULL);
    pthread_mutex_destroy(&c->mutex);
    MEM_FREE(*conns);
}

/* --- per address --------------------------------------------------------- */

/* The address as a key; false: not to be counted. */
static bool peer_key(const struct sockaddr *from, uint8_t key[16])
{
    const struct sockaddr_in6 *v6 = (const void *)from;
    const struct sockaddr_in *v4 = (const void *)from;

    memset(key, 0, 16);
    if (from->sa_family == AF_INET) {
        key[10] = key[11] = 0xff; /* as ::ffff:a.b.c.d */
        memcpy(key + 12, &v4->sin_addr, 4);
    } else if (from->sa_family == AF_INET6) {
        memcpy(key, &v6->sin6_addr, 16);
        if (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr))
            return false;
        if (!IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
            memset(key + 8, 0, 8);
    } else {
        return false; /* a socket of this host */
    }
    return key[10] != 0xff || key[12] != 127;
}

static void log_refused(const struct http_conns *c, const uint8_t key[16])
{
    char text[INET6_ADDRSTRLEN] = "?";

    assert(c->max_per_address > 0);
    inet_ntop(AF_INET6, key, text, sizeof(text));
    log_warn("!connection", LOG_S("address", text),
             LOG_S("reason", "http.max-connections-per-address"),
             LOG_U("max", c->max_per_address));
}

/* It counts when it is added, so threads that ask at the same moment may let
 * in one each too many. */
bool http_conns_admit(struct http_conns *c, const struct sockaddr *from)
{
    struct peer_count *p;
    bool fits, tell = false;
    uint8_t key[16];

    assert(c->max_per_address > 0);
    if (!peer_key(from, key))
        return true;
    lock_acquire(&c->mutex);
    HASH_FIND(hh, c->peers, key, sizeof(key), p);
    fits = p == NULL || p->n < c->max_per_address;
    if (!fits && clock_mono_ms() - c->logged >= LOG_EVERY_MS) {
        c->logged = clock_mono_ms();
        tell = true;
    }
    lock_release(&c->mutex);
    if (tell)
        log_refused(c, key);
    return fits;
}

bool http_conns_room(struct http_conns *c)
{
    assert(c->max > 0);
    return http_conns_count(c) < c->max;
}

/* --- each one ------------------------------------------------------------ */

struct http_conn *http_conns_add(struct http_conns *c, int fd,
                                 const struct sockaddr *from, int64_t ms)
{
    struct http_conn *conn = mem_lines(sizeof(*conn)); /* one of its own */
    uint8_t key[16];
    bool counts = peer_key(from, key);

    assert(ms >= 0);
    memset(conn, 0, sizeof(*conn));
    conn->fd = fd;
    conn->since = clock_mono_ms();
    conn->phase = HTTP_ANSWERED;
    conn->until = ms > 0 ? conn->since + ms : 0;
    lock_acquire(&c->mutex);
    DL_APPEND(c->list, conn);
    c->n++;
    if (counts) {
        struct peer_count *p;

        HASH_FIND(hh, c->peers, key, sizeof(key), p);
        if (p == NULL) {
            p = mem_zalloc(sizeof(*p));
            memcpy(p->key, key, sizeof(p->key));
            HASH_ADD(hh, c->peers, key, sizeof(p->key), p);
        }
        p->n++;
        conn->counted = p;
    }
    lock_release(&c->mutex);
    return conn;
}

void http_conns_remove(struct http_conns *c, struct http_conn *conn)
{
    struct peer_count *p = conn->counted;

    lock_acquire(&c->mutex);
    assert(p == NULL || p->n > 0);
    DL_DELETE(c->list, conn);
    c->n--;
    if (p != NULL && --p->n == 0) {
        HASH_DEL(c->peers, p);
        mem_free(p);
    }
    lock_release(&c->mutex);
    mem_free(conn);
}

bool http_conn_deadline(struct http_conn *conn, enum http_phase phase,
                        mono_ms now, int64_t ms)
{
    mono_ms old;

    assert(phase <= HTTP_SENDS);
    assert(ms >= 0);
    __atomic_store_n(&conn->since, now, __ATOMIC_RELAXED);
    if (phase == HTTP_ANSWERED)
        __atomic_store_n(&conn->used, true, __ATOMIC_RELAXED);
    __atomic_store_n(&conn->idle, phase == HTTP_ANSWERED, __ATOMIC_RELAXED);
    __atomic_store_n(&conn->phase, (int)phase, __ATOMIC_RELAXED);
    old = __atomic_exchange_n(&conn->until, ms > 0 ? now + ms : 0,
                              __ATOMIC_ACQ_REL);
    if (old != CUT)
        return true;
    __atomic_store_n(&conn->until, CUT, __ATOMIC_RELEASE);
    return false;
}

void http_conn_begins(struct http_conn *conn)
{
    __atomic_store_n(&conn->phase, (int)HTTP_RECEIVES, __ATOMIC_RELAXED);
}

int http_conn_fd(const struct http_conn *conn)
{
    return conn->fd;
}

int64_t http_conn_waited_ms(const struct http_conn *conn)
{
    struct http_tcp tcp;

    return http_tcp(conn->fd, &tcp) ? tcp.silence_ms : 0;
}

/* Has it sent a part of a request? Of one that was idle, or did not get to the
 * end of the first line, only the kernel knows whether any bytes came. */
static bool sent_a_part(const struct http_conn *conn, mono_ms now)
{
    struct http_tcp tcp;
    int phase = __atomic_load_n(&conn->phase, __ATOMIC_RELAXED);

    if (phase != (int)HTTP_ANSWERED)
        return phase == (int)HTTP_RECEIVES;
    if (!http_tcp(conn->fd, &tcp))
        return false;
    if (!__atomic_load_n(&conn->used, __ATOMIC_RELAXED))
        return tcp.received > 0;
    return now - tcp.silence_ms >
           __atomic_load_n(&conn->since, __ATOMIC_RELAXED) + TICKS_MS;
}

static void say_late(const struct http_conn *conn)
{
    char body[256], text[sizeof(body) + 192];
    int n = snprintf(body, sizeof(body),
                     "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,"
                     "\"code\":\"%s\",\"detail\":\"a request arrives within "
                     "http.request-timeout\"}",
                     problem_title(PROBLEM_REQUEST_TIMEOUT),
                     problem_status(PROBLEM_REQUEST_TIMEOUT),
                     problem_code(PROBLEM_REQUEST_TIMEOUT));

    assert(n > 0 && (size_t)n < sizeof(body));
    n = snprintf(text, sizeof(text),
                 "HTTP/1.1 408 Request Timeout\r\n"
                 "Content-Type: application/problem+json\r\n"
                 "Content-Length: %d\r\nCache-Control: no-store\r\n"
                 "Connection: close\r\n\r\n%s",
                 n, body);
    assert(n > 0 && (size_t)n < sizeof(text));
    (void)!send(conn->fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Whoever comes now waits in the kernel's queue and hears nothing. */
static void tell_full(struct http_conns *c, bool full, mono_ms now)
{
    assert(c->max > 0);
    if (full &&
        (c->full_logged == 0 || now - c->full_logged >= FULL_LOG_EVERY_MS)) {
        log_warn("!connections", LOG_U("max", c->max),
                 LOG_S("reason", "all are taken: new clients wait until one "
                                 "of them closes"),
                 LOG_S("advice", "raise http.max-connections, or find who "
                                 "keeps them open"));
        c->full_logged = now;
    } else if (!full && c->full_logged != 0) {
        log_info("=connections", LOG_S("reason", "there is room again"));
        c->full_logged = 0;
    }
}

/* It is late, and `half` a request has come: one that began while it was idle
 * has as long as any other, once. */
static mono_ms more_time(struct http_conn *conn, bool half, mono_ms until,
                         mono_ms now)
{
    mono_ms since = __atomic_load_n(&conn->since, __ATOMIC_RELAXED);

    assert(until <= now);
    if (!half || !__atomic_exchange_n(&conn->idle, false, __ATOMIC_RELAXED))
        return CUT;
    /* unless its thread gives it another one in this moment */
    return now + (until > since ? until - since : 1);
}

/* The descriptor is still open: libmicrohttpd closes it only after the
 * connection was removed here. */
void http_conns_reap(struct http_conns *c, mono_ms now)
{
    struct http_conn *conn;
    bool full;

    lock_acquire(&c->mutex);
    DL_FOREACH (c->list, conn) {
        mono_ms until = __atomic_load_n(&conn->until, __ATOMIC_RELAXED), next;
        bool half;

        if (until == CUT || until == 0 || now < until)
            continue;
        half = sent_a_part(conn, now);
        next = more_time(conn, half, until, now);
        if (!__atomic_compare_exchange_n(&conn->until, &until, next, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED) ||
            next != CUT)
            continue;
        if (half)
            say_late(conn);
        (void)shutdown(conn->fd, SHUT_RDWR);
    }
    full = c->n >= c->max;
    lock_release(&c->mutex);
    __atomic_store_n(&c->full, full, __ATOMIC_RELAXED);
    tell_full(c, full, now);
}

bool http_conns_full(const struct http_conns *c)
{
    return __atomic_load_n(&c->full, __ATOMIC_RELAXED);
}

uint32_t http_conns_count(struct http_conns *c)
{
    uint32_t n;

    lock_acquire(&c->mutex);
    n = c->n;
    lock_release(&c->mutex);
    return n;
}
