/*
 * peers.c - DolphinScheduler's clients: who of them lives. Pure: what a
 * look read is told here, and when it counts says pauses.h.
 *
 * A client lives while the value of its heartbeat row changes. It is dead when
 * that stood still for the timeout that it states itself; whether its rows
 * were purged, how its clock or anybody's stands, plays no part.
 *
 * A client without a heartbeat row was purged. Its plugin never makes the row
 * again, yet it goes on to write its data, and every process of
 * DolphinScheduler lists it and gives it work: so do we, for as long as its
 * data changes. That comes every max-heartbeat-interval, however short its
 * session's timeout; where it takes longer, what was seen counts. To be dead
 * and alive in turn would be worse than either. Whether its work has moved
 * meanwhile is not asked here: the gate bars the process then.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/log.h"
#include "base/table.h"

#define DATA_MS 30000 /* three of DolphinScheduler's heartbeats */

struct dbms_peer {
    UT_hash_handle hh;
    uint64_t id;
    uint64_t beat; /* last_heartbeat_time; 0: no such row */
    int64_t timeout_ms;
    uint64_t config;   /* a hash of what says so; 0: nothing did */
    mono_ms since;     /* the last sign of life, or when it begins anew */
    mono_ms wrote;     /* when its data changed last; 0 never */
    int64_t every_ms;  /* the longest time between two changes of it */
    uint32_t look;     /* the last one that saw the client */
    bool dead, purged; /* purged: and that was said */
};

static struct dbms_peer *find(const struct dbms_dolphin *o, uint64_t id)
{
    struct dbms_peer *peer = o->next_peer; /* as a rule it is this one */

    if (peer == NULL || peer->id != id)
        HASH_FIND(hh, o->peers, &id, sizeof(id), peer);
    return peer;
}

static void drop(struct dbms_dolphin *o, struct dbms_peer *peer)
{
    assert(o->next_peer == NULL);
    HASH_DEL(o->peers, peer);
    mem_free(peer);
}

static void mark_alive(struct dbms_peer *peer, mono_ms now)
{
    peer->since = now;
    if (peer->dead) {
        peer->dead = false;
        log_info("+client", LOG_U("client", peer->id));
    }
}

static struct dbms_peer *find_or_add(struct dbms_dolphin *o, uint64_t id,
                                     uint64_t beat, mono_ms now)
{
    struct dbms_peer *peer = find(o, id);

    if (peer == NULL) {
        peer = mem_zalloc(sizeof(*peer));
        peer->id = id;
        peer->timeout_ms = o->timeout_ms;
        peer->since = now;
        HASH_ADD(hh, o->peers, id, sizeof(peer->id), peer);
    } else if (peer->beat != beat && beat != 0) {
        mark_alive(peer, now);
    } /* to lose the row is no sign of life */
    peer->beat = beat;
    peer->look = o->look;
    o->next_peer = peer->hh.next;
    assert(peer->id == id);
    return peer;
}

void dbms_peer_beat(struct dbms_dolphin *o, uint64_t id, uint64_t beat,
                    int64_t timeout_ms, uint64_t config, mono_ms now)
{
    struct dbms_peer *peer = find_or_add(o, id, beat, now);

    assert(timeout_ms > 0);
    peer->timeout_ms = timeout_ms;
    peer->config = config;
}

bool dbms_peer_again(struct dbms_dolphin *o, uint64_t id, uint64_t beat,
                     uint64_t config, mono_ms now)
{
    const struct dbms_peer *peer = find(o, id);

    if (peer == NULL || peer->beat == 0 || peer->config != config)
        return false;
    (void)find_or_add(o, id, beat, now);
    assert(peer->look == o->look);
    return true;
}

bool dbms_peer_met(const struct dbms_dolphin *o, uint64_t id)
{
    const struct dbms_peer *peer = find(o, id);

    return peer != NULL && (peer->look == o->look || peer->beat == 0);
}

static void say_purged(struct dbms_peer *peer)
{
    assert(peer->beat == 0);
    if (!peer->purged) {
        log_warn("=client", LOG_U("client", peer->id),
                 LOG_S("reason", "its heartbeat row was purged, and it goes on "
                                 "to write its data"),
                 LOG_S("advice", "restart that process of DolphinScheduler: "
                                 "the others may have taken its work over, "
                                 "and it never makes the row again"));
    }
    peer->purged = true;
}

struct dbms_peer *dbms_peer_data(struct dbms_dolphin *o, struct dbms_peer *peer,
                                 uint64_t id, bool changed, mono_ms now)
{
    if (peer == NULL)
        peer = find(o, id);
    assert(peer == NULL || peer->id == id);
    if (peer == NULL || peer->look != o->look)
        peer = find_or_add(o, id, 0, now);
    if (!changed)
        return peer;
    if (peer->wrote != 0 && now - peer->wrote > peer->every_ms)
        peer->every_ms = now - peer->wrote;
    peer->wrote = now;
    if (peer->beat == 0) {
        say_purged(peer);
        mark_alive(peer, now);
    }
    assert(peer->look == o->look);
    return peer;
}

/* How long it may be silent. */
static int64_t span_of(const struct dbms_peer *peer)
{
    int64_t span = peer->timeout_ms;

    assert(peer->timeout_ms > 0);
    if (peer->beat == 0 && span < DATA_MS)
        span = DATA_MS;
    if (peer->beat == 0 && span < 3 * peer->every_ms)
        span = 3 * peer->every_ms;
    assert(span >= peer->timeout_ms);
    return span;
}

static void mark_dead(struct dbms_peer *peer)
{
    assert(!peer->dead);
    peer->dead = true;
    log_warn("-client", LOG_U("client", peer->id),
             LOG_S("reason", peer->beat == 0
                                 ? "no heartbeat row, and its data unchanged"
                                 : "heartbeat unchanged for its timeout"),
             LOG_I("timeout_ms", span_of(peer)));
}

void dbms_peers_judge(struct dbms_dolphin *o, struct sql_core *core,
                      mono_ms now)
{
    struct dbms_peer *peer, *next;

    core->client_span = INT64_MAX;
    o->next_peer = NULL;
    HASH_ITER (hh, o->peers, peer, next) {
        int64_t span = span_of(peer);

        if (peer->look != o->look) {
            drop(o, peer);
            continue;
        }
        if (peer->timeout_ms < core->client_span && !peer->dead)
            core->client_span = peer->timeout_ms;
        if (!peer->dead && sql_core_silent(core, &peer->since, span, span, now))
            mark_dead(peer);
    }
    assert(core->client_span > 0);
}

bool dbms_peer_is_dead(const struct dbms_peer *peer)
{
    return peer != NULL && peer->dead;
}

bool dbms_peer_dead(const struct dbms_dolphin *o, uint64_t id)
{
    return dbms_peer_is_dead(find(o, id));
}

void dbms_peers_forget(struct dbms_dolphin *o)
{
    struct dbms_peer *peer, *next;

    o->next_peer = NULL;
    HASH_ITER (hh, o->peers, peer, next)
        drop(o, peer);
    assert(o->peers == NULL);
}
