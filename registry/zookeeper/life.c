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
    int64_t apart = z->base.session_timeout_ms / (3 * ZK_ANSWERS_KEPT);

    assert(l->n <= ZK_ANSWERS_KEPT);
    if (l->n > 0 && sent_at - l->answers[l->n - 1].sent < apart)
        return;
    if (l->n == ZK_ANSWERS_KEPT) {
        l->n--;
        memmove(&l->answers[0], &l->answers[1], l->n * sizeof(l->answers[0]));
    }
    l->answers[l->n].sent = sent_at;
    l->answers[l->n].answered = zk_now(z);
    l->n++;
    assert(l->n <= ZK_ANSWERS_KEPT);
}

/* By the word of a write that was sent then. The leader itself is asked about
 * the session when a connection takes it up, and the library gives an attempt
 * to connect a third of the timeout. */
static mono_ms counted(const struct zookeeper *z, mono_ms sent_at)
{
    const struct zk_life *l = &z->life;

    assert(z->handle != NULL);
    assert(l->n <= ZK_ANSWERS_KEPT);
    for (size_t i = l->n; i-- > 0;)
        if (l->answers[i].answered <= sent_at - gap(z))
            return l->answers[i].sent;
    return z->handle->connected_at - z->base.session_timeout_ms / 3;
}

void zk_life_connected(struct zookeeper *z)
{
    assert(z->connected);
    assert(z->handle != NULL);
    z->life.n = 0;
    z->life.committed = zk_now(z);
    zk_position_connected(z);
    zk_probe(z);
}

/* --- servers that do not write ------------------------------------------- */

static void server_writes(struct zookeeper *z)
{
    char server[ZK_SERVER_SIZE];

    assert(z->handle != NULL);
    if (z->silence.reported) {
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
    bool all_tried = h->n_servers == 1 || zk_server_same(&s->first, &h->server);
    char text[ZK_SERVER_SIZE];

    assert(h->opened);
    assert(h->n_servers > 0);
    if (all_tried) {
        registry_record_trouble(&z->base, TROUBLE_NO_QUORUM,
                                "the servers answer, and none of them writes");
    }
    if (all_tried && !s->reported) {
        s->reported = true;
        log_error("!registry", LOG_S("servers", z->hosts),
                  LOG_U("addresses", h->n_servers),
                  LOG_S("reason", "none of them writes"),
                  LOG_S("advice", "have the servers of the ensemble a "
                                  "majority, and room on their disks?"));
    } else if (!s->reported) {
        log_warn("!server", LOG_S("server", zk_server_text(&h->server, text)),
                 LOG_S("reason", "it answers and does not write: it may have "
                                 "lost its leader; on to the next one"));
    }
    if (s->first.ss_family == AF_UNSPEC)
        s->first = h->server;
    zk_server_drop(&h->server);
    z->life.committed = zk_now(z); /* it takes a moment until we hear of it */
}

/* When the oldest write was sent that has no answer; INT64_MAX: all have. */
static mono_ms unanswered(const struct zookeeper *z)
{
    const struct zk_request *q;

    assert(z->handle != NULL);
    DL_FOREACH (z->handle->in_flight, q)
        if (zk_commits(q->type))
            return q->sent_at;
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
    return zk_now(z) - since >= (z->handle->n_servers == 1 ? 2 * third : third);
}

/* --- for the session ----------------------------------------------------- */

void zk_life_answered(struct zookeeper *z, mono_ms sent_at, bool committed)
{
    mono_ms from;

    assert(z->handle != NULL);
    assert(sent_at <= zk_now(z));
    if (committed) {
        from = counted(z, sent_at);
        from = from < sent_at ? from : sent_at;
        z->life.committed = zk_now(z);
        server_writes(z);
        if (z->base.session != 0)
            registry_liveness_answered(&z->liveness, sent_at, from);
    }
    remember(z, sent_at);
}

/* Once between two heartbeats, which are at most a third of the timeout apart:
 * they are writes themselves. More often where answers take long. */
void zk_life_tick(struct zookeeper *z)
{
    int64_t timeout = z->base.session_timeout_ms;
    bool late = zk_now(z) - z->liveness.counted > timeout * 5 / 8;
    int64_t every = late ? gap(z) : timeout * 3 / 16;

    assert(!z->connected || z->handle != NULL);
    if (!z->connected)
        return;
    if (is_silent(z))
        leave_server(z);
    else if (zk_now(z) - z->committed_at >= every)
        zk_probe(z);
}
