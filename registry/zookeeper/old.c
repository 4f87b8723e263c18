/*
 * old.c - the end of a session that we gave up, by hand.
 *
 * The server may still keep it, and with it locks and keys that stop others.
 * Whoever offers a session's number renews it, whether or not he hears the
 * answer, and the client library can close only a session that it has taken up
 * again: where nothing but the answers are lost it would renew it for ever.
 * So the number and the wish to close it go out as one: the server hears both
 * or neither, and an answer is wanted only to know that it is over.
 *
 * That is two packets of ZooKeeper's protocol, which have been the same since
 * 3.4. Tried at one address after the other, until an answer says that it is
 * over, or its timeout has passed since the loss. Blocks; on the opener's
 * thread.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRY_MS_MIN 200
#define TRY_MS_MAX 1000
#define PAUSE_MS   200 /* more with each try */
#define XID        1
#define CLOSE      (-11) /* ZooDefs.OpCode.closeSession */
#define ANSWER_MAX 256   /* each of the two is below 64 bytes */

/* --- packets ------------------------------------------------------------- */

struct packet {
    unsigned char bytes[96];
    size_t len;
};

static void add(struct packet *p, uint64_t value, size_t size)
{
    assert(p->len + size <= sizeof(p->bytes));
    while (size-- > 0)
        p->bytes[p->len++] = (unsigned char)(value >> (8 * size));
}

static uint32_t get32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
           (uint32_t)at[2] << 8 | at[3];
}

/* Having seen nothing (a zxid of 0) every server takes us. */
static void fill(struct packet *p, const clientid_t *old, int64_t timeout_ms)
{
    p->len = 0;
    add(p, 4 + 8 + 4 + 8 + 4 + sizeof(old->passwd) + 1, 4);
    add(p, 0, 4); /* the protocol's version */
    add(p, 0, 8); /* the last zxid seen */
    add(p, (uint64_t)timeout_ms, 4);
    add(p, (uint64_t)old->client_id, 8);
    add(p, sizeof(old->passwd), 4);
    memcpy(p->bytes + p->len, old->passwd, sizeof(old->passwd));
    p->len += sizeof(old->passwd);
    add(p, 0, 1); /* a server that only reads will not do */
    add(p, 4 + 4, 4);
    add(p, XID, 4);
    add(p, (uint32_t)CLOSE, 4);
}

/* A connect answered without a session: there is none. Else the answer to the
 * closing follows: xid, zxid, error. */
static bool says_over(const unsigned char *in, size_t len)
{
    uint64_t size, session;

    if (len < 4 + 16)
        return false;
    size = get32(in);
    session = (uint64_t)get32(in + 12) << 32 | get32(in + 16);
    if (session == 0)
        return true;
    if (size > ANSWER_MAX || len < 4 + size + 4 + 16)
        return false;
    in += 4 + size + 4;
    return get32(in) == XID && get32(in + 12) == 0;
}

/* --- one try ------------------------------------------------------------- */

static bool wait_for(int fd, short events, mono_ms by)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t left;

    while ((left = by - clock_mono_ms()) > 0) {
        int rc = poll(&p, 1, (int)left);

        if (rc > 0)
            return true;
        if (rc < 0 && errno != EINTR)
            return false;
    }
    return false;
}

static bool talk(int fd, const struct packet *p, mono_ms by)
{
    unsigned char in[ANSWER_MAX * 2];
    size_t got = 0;
    ssize_t n;

    /* An empty buffer takes so little as a whole. */
    if (!wait_for(fd, POLLOUT, by) ||
        send(fd, p->bytes, p->len, MSG_NOSIGNAL) != (ssize_t)p->len)
        return false;
    while (got < sizeof(in) && wait_for(fd, POLLIN, by)) {
        n = recv(fd, in + got, sizeof(in) - got, 0);
        if (n <= 0)
            return false;
        got += (size_t)n;
        if (says_over(in, got))
            return true;
    }
    return false;
}

static bool try_address(const struct addrinfo *a, const struct packet *p,
                        int64_t patience_ms)
{
    mono_ms by = clock_mono_ms() + patience_ms;
    int fd =
        socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool over = false;

    if (fd < 0)
        return false;
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS)
        over = talk(fd, p, by);
    (void)close(fd);
    return over;
}

/* "host:port" by numbers, as zk_servers() writes it. */
static bool try_server(char *server, const struct packet *p,
                       int64_t patience_ms)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *address = NULL;
    char *colon = strrchr(server, ':');
    bool over = false;

    assert(colon != NULL);
    *colon = '\0';
    if (getaddrinfo(server, colon + 1, &hints, &address) == 0) {
        over = try_address(address, p, patience_ms);
        freeaddrinfo(address);
    }
    return over;
}

static void run(void *arg)
{
    struct zk_old *o = arg;
    int64_t patience = o->timeout_ms / 12;
    char *all = zk_servers(o->z->hosts, &o->n_servers);
    char *at = all, *server = NULL;
    struct packet p;

    o->over = false;
    o->tries++;
    if (all == NULL)
        return; /* and said so */
    patience = patience < TRY_MS_MIN   ? TRY_MS_MIN
               : patience > TRY_MS_MAX ? TRY_MS_MAX
                                       : patience;
    for (size_t i = (o->tries - 1) % o->n_servers + 1; i > 0; i--)
        server = strsep(&at, ",");
    fill(&p, &o->id, o->timeout_ms);
    o->over = try_server(server, &p, patience);
    mem_free(all);
}

/* --- on the loop --------------------------------------------------------- */

static mono_ms now(const struct zk_old *o)
{
    return loop_clock(o->z->base.loop)->mono;
}

static void on_tried(void *arg)
{
    struct zk_old *o = arg;

    o->trying = false;
    o->again = now(o) + PAUSE_MS * (int64_t)o->tries;
    if (o->over || now(o) >= o->by) {
        o->id.client_id = 0;
    } /* else with a later tick */
}

void zk_old_keep(struct zookeeper *z, const clientid_t *id)
{
    struct zk_old *o = &z->old;

    assert(!o->trying && o->id.client_id == 0);
    o->z = z;
    o->id = *id;
    o->timeout_ms = z->base.session_timeout_ms;
    o->by = now(o) + o->timeout_ms;
    o->again = 0;
    o->tries = 0;
    zk_old_tick(z);
}

void zk_old_tick(struct zookeeper *z)
{
    struct zk_old *o = &z->old;
    int rc;

    if (o->id.client_id == 0 || o->trying)
        return;
    if (now(o) >= o->by) {
        o->id.client_id = 0;
        return;
    }
    if (now(o) < o->again)
        return;
    o->trying = true;
    zk_diagnosis_yield(z);
    rc = worker_submit(z->opener, &o->job, run, on_tried, o);
    assert(rc == 0); /* one job */
    (void)rc;
}

bool zk_old_stands(const struct zookeeper *z)
{
    return z->old.id.client_id != 0;
}
