/*
 * life.c - what shows that we live, and servers that cannot show it.
 *
 * The leader ends our session, so only what the leader has heard keeps it. A
 * follower that is cut off answers reads and pings by itself until it notices,
 * syncLimit ticks later, and a leader that is cut off from its followers
 * answers its own clients' reads, pings and syncs for as long. A write is
 * answered only when a majority has it: no such answer comes after another
 * leader began, and that one gives every session its whole timeout anew.
 *
 * And a follower does not hand on when we spoke with what we ask for, but with
 * its next answer to the leader's pings, two a tick. A write that was answered
 * may be the last thing that reached the leader: then our timeout counts from
 * what the follower had heard before the ping before. (Seen: a session of 4 s
 * on ticks of 2 s ended 3.6 s after a committed write was sent.) So a write
 * shows that the leader counts what this connection's server had heard, and
 * answered, GAP before the write was sent, and no more. GAP is half a tick of
 * ZooKeeper's default, but no more than an eighth of the timeout: of a session
 * of less than four ticks an eighth stays unproven.
 *
 * A server that takes our connection and commits nothing is the wrong server,
 * whatever it answers: after a third of the timeout the connection is broken,
 * and the library takes the session to the next one.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/log.h"

#include <string.h>
#include <utlist.h>

#define GAP_MS 1000

/* Done by the leader with a majority behind it, also when it is refused. */
bool zk_commits(enum zk_request_type type)
{
    return type == ZK_CREATE || type == ZK_DELETE || type == ZK_MULTI;
}

/* Only what the leader says of a write; other things a server, or the library,
 * may say by itself. */
bool zk_committed(const struct zk_request *q)
{
    switch (q->rc) {
    case ZOK:
    case ZNONODE:
    case ZNODEEXISTS:
    case ZBADVERSION:
    case ZNOTEMPTY:
    case ZNOCHILDRENFOREPHEMERALS:
    case ZNOAUTH:
        return zk_commits(q->type);
    default:
        return false;
    }
}

static mono_ms now(const struct zookeeper *z)
{
    return loop_clock(z->base.loop)->mono;
}

static int64_t gap(const struct zookeeper *z)
{
    int64_t eighth = z->base.session_timeout_ms / 8;

    return eighth < GAP_MS ? eighth : GAP_MS;
}

/* --- what the leader counts ---------------------------------------------- */

/* A few are enough: those within a third of the timeout. */
static void remember(struct zookeeper *z, mono_ms sent_at)
{
    struct zk_life *l = &z->life;
    int64_t apart = z->base.session_timeout_ms / (3 * ZK_HEARD);

    if (l->n > 0 && sent_at - l->heard[l->n - 1].sent < apart)
        return;
    if (l->n == ZK_HEARD) {
        l->n--;
        memmove(&l->heard[0], &l->heard[1], l->n * sizeof(l->heard[0]));
    }
    l->heard[l->n].sent = sent_at;
    l->heard[l->n].answered = now(z);
    l->n++;
}

/* By the word of a write that was sent then. The leader itself is asked about
 * the session when a connection takes it up, and the library gives an attempt
 * to connect a third of the timeout. */
static mono_ms counted(const struct zookeeper *z, mono_ms sent_at)
{
    const struct zk_life *l = &z->life;

    for (size_t i = l->n; i-- > 0;)
        if (l->heard[i].answered <= sent_at - gap(z))
            return l->heard[i].sent;
    return z->handle->connected_at - z->base.session_timeout_ms / 3;
}

void zk_life_connected(struct zookeeper *z)
{
    z->life.n = 0;
    z->life.committed = now(z);
    zk_position_connected(z);
    zk_probe(z);
}

/* --- servers that do not write ------------------------------------------- */

static void speaks(struct zookeeper *z)
{
    char server[ZK_SERVER_SIZE];

    if (z->silence.told) {
        log_info("+registry",
                 LOG_S("server", zk_server_text(&z->handle->server, server)),
                 LOG_S("reason", "it writes"));
    }
    memset(&z->silence, 0, sizeof(z->silence));
}

/* It is said of each once, and of all once, until one writes. */
static void leave_server(struct zookeeper *z)
{
    struct zk_silence *s = &z->silence;
    const struct zk_handle *h = z->handle;
    bool round = h->n_servers == 1 || zk_server_same(&s->first, &h->server);
    char text[ZK_SERVER_SIZE];

    if (round) {
        registry_met(&z->base, TROUBLE_NO_QUORUM,
                     "the servers answer, and none of them writes");
    }
    if (round && !s->told) {
        s->told = true;
        log_error("!registry", LOG_S("servers", z->hosts),
                  LOG_U("addresses", h->n_servers),
                  LOG_S("reason", "none of them writes"),
                  LOG_S("advice", "have the servers of the ensemble a "
                                  "majority, and room on their disks?"));
    } else if (!s->told) {
        log_warn("!server", LOG_S("server", zk_server_text(&h->server, text)),
                 LOG_S("reason", "it answers and does not write: it may have "
                                 "lost its leader; on to the next one"));
    }
    if (s->first.ss_family == AF_UNSPEC)
        s->first = h->server;
    zk_server_drop(&h->server);
    z->life.committed = now(z); /* it takes a moment until we hear of it */
}

/* When the oldest write was sent that has no answer; INT64_MAX: all have. */
static mono_ms unanswered(const struct zookeeper *z)
{
    const struct zk_request *q;

    DL_FOREACH(z->handle->in_flight, q)
    {
        if (zk_commits(q->type))
            return q->sent_at;
    }
    return INT64_MAX;
}

/* A single one is not left while what is under way may still be answered. */
static bool is_silent(const struct zookeeper *z)
{
    int64_t third = z->base.session_timeout_ms / 3;
    mono_ms since = unanswered(z);

    if (since == INT64_MAX)
        return false;
    since = since > z->life.committed ? since : z->life.committed;
    return now(z) - since >= (z->handle->n_servers == 1 ? 2 * third : third);
}

/* --- for the session ----------------------------------------------------- */

void zk_life_answered(struct zookeeper *z, mono_ms sent_at, bool committed)
{
    mono_ms from;

    if (committed) {
        from = counted(z, sent_at);
        from = from < sent_at ? from : sent_at;
        z->life.committed = now(z);
        speaks(z);
        if (z->base.session != 0)
            registry_liveness_counted(&z->liveness, sent_at, from);
    }
    remember(z, sent_at);
}

/* Once between two heartbeats, which are at most a third of the timeout apart:
 * they are writes themselves. More often where answers take long. */
void zk_life_tick(struct zookeeper *z)
{
    int64_t timeout = z->base.session_timeout_ms;
    bool late = now(z) - z->liveness.counted > timeout * 5 / 8;
    int64_t every = late ? gap(z) : timeout * 3 / 16;

    if (!z->connected)
        return;
    if (is_silent(z))
        leave_server(z);
    else if (now(z) - z->committed_at >= every)
        zk_probe(z);
}
