/*
 * position.c - where the store stands: how often our processes have
 * written one node.
 *
 * A zxid does not say it. After an ensemble was put back to an older copy the
 * next election lifts the upper half of all zxids above whatever was known,
 * and everybody's writes lift them. So what is written anyway as a sign of
 * life writes an empty node, whose version counts: it only grows, and nobody
 * else moves it. Only answers to these writes are compared, which a majority
 * has given: a server that lags cannot raise an alarm.
 *
 *   /pelorus/position       by who watches (coordinators): with each sign of
 *                           life, and with a write once a second; by others
 *                           once for each connection. This is the position.
 *   /pelorus/position/<xx>  by who does not (agents): with each sign of life.
 *                           Ten thousand of them would wear out one number,
 *                           so each has one of 256 to know the store by.
 *
 * A version has 32 bits: with three coordinators that are never idle they last
 * for 45 years, with ten thousand agents (a session of 30 s) for 35. Both
 * nodes have no value, which makes them directories to everybody: no list and
 * no watch tells of them.
 *
 * A store can go back only while we are not connected to it: a server ends its
 * clients' connections when it loses its leader. So a connection begins with
 * this write, and nothing else is sent before it was answered.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/log.h"
#include "base/rand.h"

#include <inttypes.h>

#define NODE     "/pelorus/position"
#define N_OWN    256
#define EVERY_MS 1000

void zk_position_init(struct zookeeper *z)
{
    struct zk_position *p = &z->position;
    unsigned char mine;

    assert(z->root != NULL);
    assert(z->position.counts[ZK_SHARED].path == NULL);
    rand_secret(&mine, sizeof(mine));
    p->counts[ZK_SHARED].path = mem_printf("%s" NODE, z->root);
    p->counts[ZK_OWN].path = mem_printf("%s" NODE "/%02x", z->root, mine);
}

void zk_position_connected(struct zookeeper *z)
{
    assert(z->connected);
    z->position.checked = z->base.history == NULL || z->position.refused;
    z->position.blocked = false;
}

/* --- writing ------------------------------------------------------------- */

static bool is_watcher(const struct zookeeper *z)
{
    return z->base.watches != NULL;
}

static unsigned bit(enum zk_count_of which)
{
    return 1U << which;
}

/* Which ones to write now. */
static unsigned due(const struct zookeeper *z)
{
    const struct zk_position *p = &z->position;

    if (z->base.history == NULL || p->making || p->refused)
        return 0;
    if (!p->checked)
        return bit(ZK_SHARED) | (is_watcher(z) ? 0 : bit(ZK_OWN));
    if (zk_now(z) - p->written < EVERY_MS)
        return 0;
    return bit(is_watcher(z) ? ZK_SHARED : ZK_OWN);
}

static void add(struct zk_request *q, unsigned what)
{
    struct zk_position *p = &q->z->position;

    assert(q->type == ZK_MULTI);
    assert(what != 0);
    assert(q->counts == 0);
    for (enum zk_count_of i = ZK_SHARED; i < ZK_N_COUNTS; i++) {
        if (what & bit(i)) {
            libzk.zoo_set_op_init(&q->ops[q->n_ops++], p->counts[i].path, "", 0,
                                  -1, &q->counted[i]);
        }
    }
    q->counts = what;
    p->written = zk_now(q->z);
}

/* The smallest write there is; it takes a majority. */
void zk_probe(struct zookeeper *z)
{
    struct zk_request *q = zk_request_new(z, ZK_MULTI, "/", NULL, NULL);
    unsigned what = due(z);

    assert(z->connected);
    q->ops = mem_zalloc(ZK_N_COUNTS * sizeof(*q->ops));
    q->results = mem_zalloc(ZK_N_COUNTS * sizeof(*q->results));
    if (what != 0)
        add(q, what);
    else /* it changes nothing */
        libzk.zoo_check_op_init(&q->ops[q->n_ops++], "/", -1);
    if (!zk_send_now(z, q))
        zk_request_free(q);
}

void zk_position_add(struct zk_request *q)
{
    if (is_watcher(q->z) && (due(q->z) & bit(ZK_SHARED)))
        add(q, bit(ZK_SHARED));
}

/* --- nodes that are missing ---------------------------------------------- */

/* Then the store has no position for us. */
static void refused(struct zookeeper *z, int rc)
{
    struct zk_position *p = &z->position;

    assert(rc != ZOK);
    if (!p->refused) {
        p->refused = true;
        log_error("!registry", LOG_S("node", p->counts[ZK_SHARED].path),
                  LOG_S("reason", zk_error(rc)),
                  LOG_S("advice", "it cannot be written: should the servers be "
                                  "put back to an older copy it may go "
                                  "unnoticed"));
    }
    p->checked = true;
}

static void on_made(void *arg, int rc)
{
    struct zookeeper *z = arg;
    struct zk_position *p = &z->position;

    assert(p->making);
    p->making = false;
    if (zk_stopping(z) || z->handle == NULL || zk_broken(rc))
        return; /* the next connection begins with it */
    if (rc != ZOK)
        refused(z, rc);
    if (z->connected)
        zk_probe(z);
}

static void make(struct zookeeper *z)
{
    struct zk_position *p = &z->position;
    char *path = mem_strdup(p->counts[is_watcher(z) ? ZK_SHARED : ZK_OWN].path);

    assert(!p->making);
    p->making = true;
    zk_make_dirs(z, &path, 1, *libzk.ZOO_PERSISTENT, on_made, z);
    mem_free(path);
}

/* --- comparing ----------------------------------------------------------- */

/* What it says now is what is known from here on: went_back is given once. */
static bool went_back(struct zk_count *c, const struct Stat *now,
                      struct err *why)
{
    struct zk_count was = *c;

    c->czxid = now->czxid;
    c->mzxid = now->mzxid;
    c->version = (uint32_t)now->version;
    if (was.czxid == 0 || (now->czxid == was.czxid &&
                           c->version > was.version && now->mzxid > was.mzxid))
        return false;
    err_set(why, ERR_WENT_BACK,
            "%s was made by %#" PRIx64 " and at version %" PRIu32
            " by %#" PRIx64 ", and now is of %#" PRIx64 ", at version %" PRIu32
            " by %#" PRIx64,
            was.path, (uint64_t)was.czxid, was.version, (uint64_t)was.mzxid,
            (uint64_t)c->czxid, c->version, (uint64_t)c->mzxid);
    return true;
}

/* The first of its own operations that failed, and whose; ZOK: none did. They
 * are the last ones of the multi, in the order of the counts. */
static int failure(const struct zk_request *q, enum zk_count_of *which)
{
    int n = (q->counts & bit(ZK_SHARED) ? 1 : 0) +
            (q->counts & bit(ZK_OWN) ? 1 : 0);
    int at, rc = zk_first_failed(q, q->n_ops - n, &at);

    assert(n > 0);
    *which =
        q->counts & bit(ZK_SHARED) && at == q->n_ops - n ? ZK_SHARED : ZK_OWN;
    return rc;
}

/* Nothing was applied. */
static bool compare_failed(struct zookeeper *z, struct zk_request *q,
                           struct err *why)
{
    struct zk_position *p = &z->position;
    enum zk_count_of which = ZK_SHARED;
    int rc = failure(q, &which);
    bool known = p->counts[which].czxid != 0;

    assert(q->rc != ZOK);
    p->written = 0; /* it was not */
    if (rc == ZNONODE) {
        p->counts[which].czxid = 0;
        if (known)
            err_set(why, ERR_WENT_BACK, "%s is gone", p->counts[which].path);
        if (!p->making)
            make(z);
        return !known;
    }
    if (rc != ZOK && zk_committed(q))
        refused(z, rc);
    return true;
}

/* False: it went back, and `why` says how it shows. */
static bool compare(struct zookeeper *z, struct zk_request *q, struct err *why)
{
    bool back = false;

    assert(q->counts != 0);
    assert(q->type == ZK_MULTI);
    if (q->rc != ZOK)
        return compare_failed(z, q, why);
    for (enum zk_count_of i = ZK_SHARED; i < ZK_N_COUNTS; i++)
        if (q->counts & bit(i))
            back =
                went_back(&z->position.counts[i], &q->counted[i], why) || back;
    z->position.checked = true;
    return !back;
}

/* 0: it cannot be told. */
static uint64_t position(const struct zookeeper *z)
{
    const struct zk_count *c = &z->position.counts[ZK_SHARED];

    return c->czxid == 0 || z->position.refused ? 0 : c->version;
}

bool zk_position_answered(struct zookeeper *z, struct zk_request *q)
{
    struct zk_position *p = &z->position;
    bool was_ready = z->base.ready, holds;
    struct err why;

    assert(z == q->z);
    if (q->counts == 0)
        return true;
    holds = compare(z, q, &why);
    if (z->base.session == 0) {
        if (!holds)
            p->went_back = why; /* said when it begins */
        return true;
    }
    if (q->rc == ZOK && (q->counts & bit(ZK_SHARED)) &&
        !registry_report_position(&z->base, 0, position(z))) {
        p->blocked = true;
    } else if (!holds) {
        registry_report_contradiction(&z->base, NULL, "%s", why.msg);
        p->blocked = was_ready && !z->base.ready;
    }
    return !p->blocked;
}

void zk_position_begin(struct zookeeper *z, uint64_t session)
{
    struct zk_position *p = &z->position;
    struct err why = p->went_back;

    assert(session != 0);
    assert(z->base.session == 0);
    p->went_back.code = ERR_OK;
    registry_session_begin(&z->base, session, 0, position(z));
    if (why.code != ERR_OK && z->base.session == session)
        registry_report_contradiction(&z->base, NULL, "%s", why.msg);
}
