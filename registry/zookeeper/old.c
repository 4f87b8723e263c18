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
 * over, or its timeout has ignored since the loss. Blocks; on the opener's
 * thread.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <string.h>

#define TRY_MS_MIN 400
#define TRY_MS_MAX 2000
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
static bool says_over(const char *answer, size_t len)
{
    const unsigned char *in = (const unsigned char *)answer;
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

static void run(void *arg)
{
    struct zk_old *o = arg;
    int64_t patience = zk_clamp(o->timeout_ms / 6, TRY_MS_MIN, TRY_MS_MAX);
    const atomic_bool never = false;
    char answer[ANSWER_MAX * 2];
    char *all = zk_servers(o->z->hosts, &o->n_servers);
    char *at = all, *server = NULL;
    struct packet p;
    ssize_t got;

    assert(o->trying);
    assert(o->timeout_ms > 0);
    o->over = false;
    o->tries++;
    if (all == NULL)
        return; /* and said so */
    for (size_t i = (o->tries - 1) % o->n_servers + 1; i > 0; i--)
        server = strsep(&at, ",");
    fill(&p, &o->id, o->timeout_ms);
    got = zk_dial(server, p.bytes, p.len, patience, &never, says_over, answer,
                  sizeof(answer));
    mem_free(all);
    o->over = got > 0 && says_over(answer, (size_t)got);
}

/* --- on the loop --------------------------------------------------------- */

static void on_tried(void *arg)
{
    struct zk_old *o = arg;

    assert(o->trying);
    o->trying = false;
    o->again = zk_now(o->z) + PAUSE_MS * (int64_t)o->tries;
    if (o->over || zk_now(o->z) >= o->by)
        o->id.client_id = 0; /* else with a later tick */
}

void zk_old_close(struct zookeeper *z, const clientid_t *id)
{
    struct zk_old *o = &z->old;

    assert(!o->trying);
    assert(o->id.client_id == 0);
    assert(id->client_id != 0);
    o->z = z;
    o->id = *id;
    o->timeout_ms = z->base.session_timeout_ms;
    o->by = zk_now(o->z) + o->timeout_ms;
    o->again = 0;
    o->tries = 0;
    zk_old_tick(z);
}

void zk_old_tick(struct zookeeper *z)
{
    struct zk_old *o = &z->old;

    assert(o->id.client_id == 0 || o->z == z);
    if (o->id.client_id == 0 || o->trying)
        return;
    if (zk_now(o->z) >= o->by) {
        o->id.client_id = 0;
    } else if (zk_now(o->z) >= o->again) {
        o->trying = true;
        atomic_store(&z->diagnosis.cancelled, true);
        zk_work(z->opener, &o->job, run, on_tried, o);
    }
}
