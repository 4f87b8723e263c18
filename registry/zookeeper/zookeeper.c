/*
 * zookeeper.c - the ZooKeeper registry: opening, closing, the session.
 *
 * The session's state is ours to judge. The client library does not learn that
 * its session expired while it is cut off, and a connection that stands proves
 * nothing (a server may hang, a reconnection may loop, a follower may have lost
 * its leader). What counts is an answered write (life.c): a small one
 * is sent when none was for a fifth of the timeout, and the deadlines of
 * liveness.h run from when the last answered one was sent.
 *
 * A session that is over, by the server's word or by ours, is never taken up
 * again. By ours, the server may not know yet, and its keys and locks stand: it
 * is ended there first (old.c), then the next handle begins the new
 * session. So what DISCONNECTED says is true when CONNECTED is told. (Longer
 * than 500 lines: the session is one state machine.)
 */
#include "registry/zookeeper/zookeeper.h"
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/log.h"
#include "base/units.h"
#include "conf/conf.h"

#include <string.h>

#define MAX_OPS      512
#define PACKET_MAX   0xfffff /* the server's jute.maxbuffer */
#define OP_OVERHEAD  128     /* of an operation in a packet, beside the path */
#define CLOSE_MS_MAX 1000
#define REFUSED_MS   3000

/* --- the end of a session, and the next one ------------------------------ */

static void stop_workers(struct zookeeper *z);

static void on_closed(struct zookeeper *z)
{
    if (zk_stopping(z) && z->n_handles == 0 && !z->ending)
        stop_workers(z);
}

/* Let the handle go; everything that waits for it is answered in here. */
static void end_handle(struct zookeeper *z)
{
    assert(!z->ending);
    assert(z->handle != NULL);
    z->ending = true;
    zk_handle_close(z);
    zk_walks_close(z);
    if (!zk_stopping(z)) {
        zk_holds_lost(z);
        zk_watches_lost(z);
    }
    z->ending = false;
    assert(z->handle == NULL);
    assert(z->n_in_flight == 0);
}

/* Each failure in a row doubles the pause, between the configured bounds. */
static void pause_longer(struct zookeeper *z)
{
    assert(z->retry_base_ms <= z->retry_max_ms);
    z->pause_ms = zk_clamp(z->pause_ms * 2, z->retry_base_ms, z->retry_max_ms);
    z->began = zk_now(z);
}

static void session_lost(struct zookeeper *z, const char *reason)
{
    bool expired = z->handle->state == *libzk.ZOO_EXPIRED_SESSION_STATE;

    assert(z->handle != NULL);
    assert(!z->ending);
    if (z->base.session != 0) {
        log_warn("-session", LOG_U("session", z->base.session),
                 LOG_S("reason", reason));
        if (!expired || z->handle->guard_ended)
            zk_old_close(z, &z->handle->id);
    }
    end_handle(z);
    registry_set_state(&z->base, REGISTRY_DISCONNECTED);
    if (zk_stopping(z)) { /* somebody who was told closed us */
        if (z->n_handles == 0)
            stop_workers(z);
    } else if (z->pause_ms == 0 && z->old.id.client_id == 0) {
        zk_handle_open(z);
    } else {
        z->began = zk_now(z);
    }
}

/* Whoever is not let in does not knock ten times a second. */
static void session_refused(struct zookeeper *z, const char *reason)
{
    pause_longer(z);
    if (z->pause_ms < REFUSED_MS)
        z->pause_ms = REFUSED_MS;
    session_lost(z, reason);
}

static void on_state(struct zookeeper *z)
{
    struct zk_handle *h = z->handle;

    assert(h != NULL);
    if (zk_stopping(z))
        return;
    if (h->state == *libzk.ZOO_CONNECTED_STATE) {
        if (!z->connected) {
            z->connected = true;
            zk_life_connected(z);
            zk_pump(z);
        }
        return;
    }
    z->connected = false;
    if (h->state == *libzk.ZOO_EXPIRED_SESSION_STATE) {
        session_lost(z, h->guard_ended
                            ? "ended because the loop did not turn for its "
                              "timeout"
                            : "expired at the server");
    } else if (h->state == *libzk.ZOO_AUTH_FAILED_STATE) {
        registry_record_trouble(&z->base, TROUBLE_AUTH_REFUSED,
                                "the server refuses our digest; check "
                                "registry.zookeeper.digest");
        session_refused(z, "authentication failed");
    }
}

static void on_opened(struct zookeeper *z)
{
    struct zk_handle *h = z->handle;

    assert(h != NULL);
    assert(h->opened);
    if (h->zh != NULL) {
        on_state(z); /* what its threads said meanwhile */
        return;
    }
    pause_longer(z);
    session_lost(z, "no handle");
}

static void negotiated(struct zookeeper *z, int64_t timeout_ms)
{
    char asked[UNITS_DURATION_SIZE], given[UNITS_DURATION_SIZE];

    if (timeout_ms <= 0 || timeout_ms == z->base.session_timeout_ms)
        return;
    z->base.session_timeout_ms = timeout_ms;
    log_warn("=session-timeout",
             LOG_S("asked", units_format_duration(z->asked_timeout_ms, asked)),
             LOG_S("given", units_format_duration(timeout_ms, given)),
             LOG_S("reason", "the server allows 2 to 20 of its ticks "
                             "(minSessionTimeout, maxSessionTimeout)"));
}

static void begin_session(struct zookeeper *z, mono_ms sent_at)
{
    const struct zk_handle *h = z->handle;
    char server[ZK_SERVER_SIZE];

    assert(z->base.session == 0);
    assert(h->id.client_id != 0);
    z->pause_ms = 0;
    z->announced = false;
    negotiated(z, h->timeout_ms);
    registry_liveness_begin(&z->liveness, sent_at);
    log_info("+session", LOG_U("session", (uint64_t)h->id.client_id),
             LOG_S("server", zk_server_text(&h->server, server)),
             LOG_I("timeout_ms", z->base.session_timeout_ms));
    zk_position_begin(z, (uint64_t)h->id.client_id);
}

static bool on_answered(struct zookeeper *z, struct zk_request *q)
{
    const struct zk_handle *h = z->handle;
    bool committed = zk_committed(q);

    assert(h != NULL);
    assert(!zk_broken(q->rc));
    if (zk_stopping(z))
        return true;
    if (q->rc == ZSESSIONCLOSEDREQUIRESASLAUTH) {
        session_refused(z, "the server demands that we authenticate");
        return false;
    }
    zk_life_answered(z, q->sent_at, committed);
    if (!zk_position_answered(z, q))
        return false;
    if (z->base.session == 0 && committed && z->position.checked &&
        h->state == *libzk.ZOO_CONNECTED_STATE && h->id.client_id != 0)
        begin_session(z, q->sent_at);
    return true;
}

/* --- time ---------------------------------------------------------------- */

/* No session yet: the client tries one server after the other by itself, but
 * names are worth resolving again, and people want to know. */
static void connecting_tick(struct zookeeper *z)
{
    assert(z->base.session == 0);
    if (z->old.id.client_id != 0) {
        zk_old_tick(z);
        return;
    }
    if (z->handle == NULL) {
        if (zk_now(z) - z->began >= z->pause_ms)
            zk_handle_open(z);
        return;
    }
    if (!z->announced && zk_now(z) - z->opened >= z->block_until_connected_ms) {
        z->announced = true;
        log_error("!registry", LOG_S("servers", z->hosts),
                  LOG_S("reason", "none of them gives us a session yet; still "
                                  "trying"),
                  LOG_S("advice", "is ZooKeeper up, with a majority of its "
                                  "servers (one alone is read-only at best), "
                                  "and are the addresses in "
                                  "registry.zookeeper.connect-string right?"));
    }
    if (z->handle->opened && zk_now(z) - z->began >= z->connect_timeout_ms) {
        pause_longer(z);
        session_lost(z, "not connected in time");
    }
}

static void session_tick(struct zookeeper *z)
{
    enum registry_state before = z->base.state;

    assert(z->base.session != 0);
    if (registry_liveness_over(&z->liveness)) {
        session_lost(z, "no answer from the server for its timeout");
        return;
    }
    if (z->base.state != before && z->base.state == REGISTRY_SUSPENDED) {
        zk_calls_refuse_unsent(
            z, ERR_UNAVAILABLE,
            "suspended: no answer from ZooKeeper for 2/3 of the "
            "session's timeout");
    }
    zk_life_tick(z);
    if (zk_usable(z) && z->base.ready)
        zk_watches_tick(z);
}

static void closing_tick(struct zookeeper *z)
{
    assert(zk_stopping(z));
    if (z->handle != NULL && !z->ending &&
        (z->n_in_flight == 0 || zk_now(z) >= z->close_by))
        end_handle(z);
}

static void on_tick(void *arg)
{
    struct zookeeper *z = arg;

    if (!zk_stopping(z))
        zk_watches_drop_ended(z);
    if (!zk_stopping(z))
        zk_diagnose(z);
    if (zk_stopping(z)) {
        closing_tick(z);
    } else if (z->base.session != 0) {
        session_tick(z);
    } else {
        z->liveness.looked = zk_now(z);
        connecting_tick(z);
    }
}

/* --- closing ------------------------------------------------------------- */

static void release(struct registry *r)
{
    struct zookeeper *z = zk_of(r);
    int rc = pthread_mutex_destroy(&z->mutex);

    assert(z->handle == NULL);
    assert(z->n_handles == 0);
    assert(rc == 0);
    (void)rc;
    mem_free(z->position.counts[ZK_SHARED].path);
    mem_free(z->position.counts[ZK_OWN].path);
    mem_free(z->hosts);
    mem_free(z->root);
    mem_free(z->digest);
    mem_free(z);
}

static void on_stopped(void *arg)
{
    struct zookeeper *z = arg;
    registry_closed_f *killed = z->killed;
    void *killed_arg = z->killed_arg;

    assert(z->stopped);
    assert(z->n_handles == 0);
    if (z->closer != NULL) { /* one after the other */
        struct worker *closer = z->closer;

        z->closer = NULL;
        worker_stop(&closer, on_stopped, z);
        return;
    }
    zk_holds_lost(z);
    zk_watches_close(z);
    if (!z->base.mute) {
        registry_closed(&z->base);
        return;
    }
    registry_abandon(&z->base);
    release(&z->base);
    if (killed != NULL)
        killed(killed_arg);
}

static void stop_workers(struct zookeeper *z)
{
    struct worker *opener = z->opener;

    assert(z->handle == NULL);
    assert(z->n_handles == 0);
    if (z->stopped)
        return;
    z->stopped = true;
    atomic_store(&z->diagnosis.cancelled, true);
    loop_timer_stop(&z->ticker);
    z->opener = NULL;
    worker_stop(&opener, on_stopped, z);
}

/* What is in flight is answered first, if the server does that soon: closing
 * the handle would leave its outcome unknown. */
static void close_(struct registry *r)
{
    struct zookeeper *z = zk_of(r);
    int64_t wait = r->session_timeout_ms / 6; /* the library waits 1.5 s more */

    assert(r->closing);
    if (r->session != 0 && z->handle != NULL && !z->connected && !z->ending)
        zk_old_close(z, &z->handle->id); /* the library would not close it */
    z->connected = false;                /* send nothing more */
    z->close_by = zk_now(z) + (wait < CLOSE_MS_MAX ? wait : CLOSE_MS_MAX);
    if (z->ending)
        return; /* in the middle of session_lost() */
    if (z->handle == NULL) {
        if (z->n_handles == 0)
            stop_workers(z);
    } else if (z->n_in_flight == 0) {
        end_handle(z);
    } /* else the ticks go on */
}

void zookeeper_kill(struct registry **r, registry_closed_f *gone, void *arg)
{
    struct zookeeper *z = zk_of(*r);

    *r = NULL;
    z->base.mute = true;
    z->killed = gone;
    z->killed_arg = arg;
    if (z->handle != NULL)
        end_handle(z);
    else if (z->n_handles == 0)
        stop_workers(z);
}

bool zookeeper_session_of(const struct registry *r, clientid_t *out)
{
    const struct zookeeper *z = zk_of(r);

    if (r->session == 0 || z->handle == NULL)
        return false;
    *out = z->handle->id;
    return true;
}

/* --- opening ------------------------------------------------------------- */

static void prove(struct registry *r)
{
    struct zookeeper *z = zk_of(r);

    if (z->connected && !zk_stopping(z))
        zk_probe(z);
}

static void end(struct registry *r, const char *why)
{
    struct zookeeper *z = zk_of(r);

    if (z->handle != NULL && !z->ending) {
        z->position.counts[ZK_SHARED].czxid = 0; /* it is compared anew */
        z->position.counts[ZK_OWN].czxid = 0;
        session_lost(z, why);
    }
}

static void submit(struct registry *r, struct registry_call *call)
{
    assert(call->r == r);
    if (!zk_call_accept(call))
        return;
    switch (call->type) {
    case REGISTRY_CALL_TXN:
        zk_txn(call);
        break;
    case REGISTRY_CALL_LIST:
        zk_list(call);
        break;
    case REGISTRY_CALL_GET:
    case REGISTRY_CALL_EXISTS:
    case REGISTRY_CALL_CHILDREN:
        zk_read(call);
        break;
    }
}

static void on_changed(struct zookeeper *z, int type, const char *path)
{
    assert(!zk_stopping(z));
    zk_holds_event(z, type, path);
    zk_watches_event(z, path);
}

static const struct zk_events events = {
    .opened = on_opened,
    .state = on_state,
    .closed = on_closed,
    .answered = on_answered,
    .changed = on_changed,
};

static const struct registry_ops ops = {
    .name = "zookeeper",
    .call_size = sizeof(struct zk_call),
    .hold_size = sizeof(struct zk_hold),
    .watch_size = sizeof(struct zk_watch),
    .submit = submit,
    .watch = zk_watch_begin,
    .unwatch = zk_watch_end,
    .lock = zk_lock,
    .unlock = zk_unlock,
    .prove = prove,
    .look = zk_watches_look,
    .poll_now = zk_watches_refresh_key,
    .end = end,
    .close = close_,
    .free = release,
    .late_values = true,
};

/* "h:1,h:2/chroot": the chroot becomes a part of our paths, so that it is made
 * where it is missing like every other directory. */
static void take_servers(struct zookeeper *z, const struct conf_registry *conf)
{
    const char *slash = strchrnul(conf->connect_string, '/');
    size_t n = strlen(slash);

    assert(z->hosts == NULL);
    while (n > 0 && slash[n - 1] == '/')
        n--;
    z->hosts = mem_strndup(conf->connect_string,
                           (size_t)(slash - conf->connect_string));
    z->root = mem_printf("%.*s/%s", (int)n, slash, conf->namespace_);
}

int zookeeper_open(struct registry **out, struct loop *loop,
                   const struct conf_registry *conf, struct err *err)
{
    int64_t timeout = conf->session_timeout_ms;
    struct zookeeper *z;
    size_t overhead;
    int rc = zk_library_load(err);

    assert(conf->connect_string != NULL);
    assert(conf->namespace_ != NULL);
    assert(timeout > 0);
    assert(timeout <= INT32_MAX);
    if (rc != 0)
        return err_wrap(err, "registry.type: zookeeper");
    z = mem_zalloc(sizeof(*z));
    z->events = &events;
    take_servers(z, conf);
    zk_position_init(z);
    overhead = (MAX_OPS + 1) * (OP_OVERHEAD + strlen(z->root));
    assert(overhead < PACKET_MAX / 3);
    registry_init(&z->base, &ops, loop, timeout, MAX_OPS,
                  PACKET_MAX - overhead);
    z->base.first_version = zk_version(&(struct Stat){.version = 0});
    registry_liveness_init(&z->liveness, &z->base);
    rc = pthread_mutex_init(&z->mutex, NULL);
    assert(rc == 0);
    z->digest = mem_strdup(conf->digest);
    z->acl = z->digest == NULL ? libzk.ZOO_OPEN_ACL_UNSAFE
                               : libzk.ZOO_CREATOR_ALL_ACL;
    z->asked_timeout_ms = timeout;
    z->connect_timeout_ms = zk_clamp(conf->connect_timeout_ms, 1000, INT64_MAX);
    z->block_until_connected_ms =
        zk_clamp(conf->block_until_connected_ms, 1000, INT64_MAX);
    z->retry_base_ms = zk_clamp(conf->retry_base_sleep_ms, 100, INT64_MAX);
    z->retry_max_ms =
        zk_clamp(conf->retry_max_sleep_ms, z->retry_base_ms, INT64_MAX);
    z->opened = z->polled_at = zk_now(z);
    libzk.zoo_set_debug_level(ZOO_LOG_LEVEL_WARN); /* of the whole process */
    z->opener = worker_new(loop, SIZE_MAX, NULL, NULL, 0);
    z->closer = worker_new(loop, SIZE_MAX, zk_guard, z,
                           zk_clamp(timeout / 12, 20, ZK_GUARD_MS));
    z->ticker =
        loop_timer(loop, 0, zk_clamp(timeout / 24, 5, ZK_TICK_MS), on_tick, z);
    zk_handle_open(z);
    *out = &z->base;
    return 0;
}
