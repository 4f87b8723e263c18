/*
 * handle.c - handles of the client library: opened, listened to, closed.
 *
 * One function and one context serve all watches of a handle: the library
 * merges session events per distinct pair, by a search through all of them.
 * Events are copied on its thread and handed to the loop, which knows by the
 * handle whether they still matter.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/locks.h"
#include "base/log.h"
#include "base/rand.h"

#include <errno.h>
#include <string.h>

/* --- the library's own lines in our log ---------------------------------- */

/* A client that cannot connect says so at every try, many times a second: the
 * same place is logged once in ten seconds. */
#define QUIET_MS 10000
#define PLACES   64 /* by hash; two that share one are logged less often */

static struct {
    _Atomic uint64_t place;
    _Atomic int64_t logged_at;
} places[PLACES];

/* Any of the library's threads. */
static bool logged_lately(const char *place, size_t len)
{
    uint64_t hash = hash_bytes(place, len, 0);
    int64_t now = clock_mono_ms(), before;
    size_t i = hash % PLACES;

    before = atomic_load(&places[i].logged_at);
    if (atomic_load(&places[i].place) == hash && before != 0 &&
        now - before < QUIET_MS)
        return true;
    atomic_store(&places[i].place, hash);
    atomic_store(&places[i].logged_at, now);
    return false;
}

/* "2026-11-22 11:54:47,123:4711(0x7f..):ZOO_ERROR@function@1234: text": the
 * level and the text are kept. Any of the library's threads. */
static void on_line(const char *message)
{
    const char *level = strstr(message, ":ZOO_");
    const char *text = level == NULL ? NULL : strstr(level, ": ");

    if (text == NULL || (strncmp(level, ":ZOO_ERROR", 10) != 0 &&
                         strncmp(level, ":ZOO_WARN", 9) != 0))
        log_debug("=zookeeper-client",
                  LOG_S("text", text == NULL ? message : text + 2));
    else if (!logged_lately(level, (size_t)(text - level)))
        log_info("!zookeeper-client", LOG_S("text", text + 2));
}

/* --- events -------------------------------------------------------------- */

static void on_auth(int rc, const void *data)
{
    (void)rc; /* a refusal is a state of the session: AUTH_FAILED */
    (void)data;
}

struct event {
    struct loop_slot slot;
    struct zk_handle *handle;
    int type, state, timeout_ms;
    clientid_t id;
    mono_ms at;
    struct sockaddr_storage server;
    char path[];
};

static void on_event(void *arg);

/* Session events, and each child watch's one event: bounded by what was
 * armed. The session's number is copied here, where it cannot change. */
static void watcher(zhandle_t *zh, int type, int state, const char *path,
                    void *ctx)
{
    struct zk_handle *h = ctx;
    size_t len = path == NULL ? 0 : strlen(path);
    struct event *e = mem_zalloc(sizeof(*e) + len + 1);

    assert(h != NULL);
    assert(h->z != NULL);
    h->drive.told++;
    e->handle = h;
    e->type = type;
    e->state = state;
    if (len > 0)
        memcpy(e->path, path, len);
    if (state == *libzk.ZOO_CONNECTED_STATE) {
        socklen_t size = sizeof(e->server);

        e->at = clock_mono_ms();
        e->id = *libzk.zoo_client_id(zh);
        e->timeout_ms = libzk.zoo_recv_timeout(zh);
        (void)libzk.zookeeper_get_connected_host(
            zh, (struct sockaddr *)&e->server, &size);
    }
    loop_complete(h->z->base.loop, &e->slot, on_event, e);
}

static void on_lost(zhandle_t *zh, void *arg)
{
    watcher(zh, *libzk.ZOO_SESSION_EVENT, *libzk.ZOO_CONNECTING_STATE, NULL,
            arg);
}

static void on_event(void *arg)
{
    struct event *e = arg;
    struct zk_handle *h = e->handle;
    struct zookeeper *z = h->z;
    bool current = h == z->handle && !zk_stopping(z);

    assert(z->n_handles > 0);
    if (e->type == *libzk.ZOO_SESSION_EVENT) {
        h->state = e->state;
        if (e->state == *libzk.ZOO_CONNECTED_STATE) {
            h->id = e->id;
            h->timeout_ms = e->timeout_ms;
            h->server = e->server;
            h->connected_at = e->at;
        }
        if (h == z->handle && h->opened)
            z->events->state(z);
    } else if (current) {
        z->events->changed(z, e->type, e->path);
    }
    mem_free(e);
}

/* --- opening and closing ------------------------------------------------- */

static void run_close(void *arg)
{
    struct zk_handle *h = arg;

    assert(h->closing);
    zk_drive_stop(&h->drive);
    if (h->zh != NULL)
        zk_library_close(h->zh);
}

/* The library's thread is gone, and all that they handed over came before.
 * What it forgot to answer is freed here. */
static void on_closed(void *arg)
{
    struct zk_handle *h = arg;
    struct zookeeper *z = h->z;

    assert(z->n_handles > 0);
    assert(z->handle != h);
    assert(h->closing);
    zk_requests_free(h);
    mem_free(h);
    z->n_handles--;
    z->events->closed(z);
}

static void submit_close(struct zk_handle *h)
{
    assert(h->opened);
    assert(h->closing);
    zk_work(h->z->closer, &h->job, run_close, on_closed, h);
}

static void run_open(void *arg)
{
    struct zk_handle *h = arg;
    struct zookeeper *z = h->z;
    char *servers = zk_servers(z->hosts, &h->n_servers);

    assert(h->zh == NULL);
    if (servers == NULL)
        return; /* and said so */
    h->zh = libzk.zookeeper_init2(servers, watcher, (int)z->asked_timeout_ms,
                                  NULL, h, 0, on_line);
    mem_free(servers);
    if (h->zh == NULL) {
        log_warn("!registry", LOG_S("reason", strerror(errno)));
        return;
    }
    /* The addresses are no names: nothing is to be looked up again. */
    (void)libzk.zoo_set_servers_resolution_delay(h->zh, -1);
    if (z->digest != NULL) {
        (void)libzk.zoo_add_auth(h->zh, "digest", z->digest,
                                 (int)strlen(z->digest), on_auth, NULL);
    }
    if (zk_drive_start(&h->drive, h->zh, &z->mutex, on_lost, h) != 0) {
        log_warn("!registry", LOG_S("reason", strerror(errno)));
        zk_library_close(h->zh);
        h->zh = NULL;
    }
}

/* --- a loop that is stuck ------------------------------------------------ */

/* Takes mutex "handle". */
static void set_guarded(struct zookeeper *z, struct zk_handle *h)
{
    assert(h == NULL || h->opened);
    lock_acquire(&z->mutex);
    z->guarded = h;
    lock_release(&z->mutex);
}

static void on_guard_ended(void *arg)
{
    struct zk_handle *h = arg;

    assert(!h->guard_ended);
    h->guard_ended = true;
    h->state = *libzk.ZOO_EXPIRED_SESSION_STATE;
    if (h == h->z->handle)
        h->z->events->state(h->z);
}

/* Seen twice: after a pause of the whole process the loop gets its chance to
 * turn first. Mutex "handle" is held. */
static bool stuck(struct zookeeper *z, int64_t busy_ms)
{
    struct zk_handle *h = z->guarded;
    int timeout_ms = h == NULL ? 0 : atomic_load(&h->timeout_ms);
    bool now = h != NULL && h->zh != NULL &&
               busy_ms >= (timeout_ms > 0 ? timeout_ms : z->asked_timeout_ms);
    bool again = now && z->seen_stuck;

    assert(h == NULL || h->z == z);
    z->seen_stuck = now;
    return again;
}

/* The closer's thread, which closes all handles: what was guarded when we
 * looked stays until we return. Takes mutex "handle". */
int64_t zk_guard(void *arg)
{
    struct zookeeper *z = arg;
    int64_t busy_ms = loop_busy_ms(z->base.loop);
    struct zk_handle *h = NULL;
    zhandle_t *zh = NULL;

    lock_acquire(&z->mutex);
    if (stuck(z, busy_ms)) {
        h = z->guarded;
        zh = h->zh;
        h->zh = NULL;
    }
    lock_release(&z->mutex);
    if (zh != NULL) {
        log_error("!loop", LOG_I("stuck_ms", busy_ms),
                  LOG_S("reason", "the loop does not turn; the session is "
                                  "ended so that others can go on"));
        zk_drive_stop(&h->drive);
        zk_library_close(zh);
        loop_complete(z->base.loop, &h->guard_slot, on_guard_ended, h);
    }
    return 0;
}

static void on_opened(void *arg)
{
    struct zk_handle *h = arg;

    assert(!h->opened);
    assert(h->closing == (h != h->z->handle));
    h->opened = true;
    if (h->closing) { /* given up meanwhile */
        submit_close(h);
    } else {
        set_guarded(h->z, h);
        h->z->events->opened(h->z);
    }
}

void zk_handle_open(struct zookeeper *z)
{
    struct zk_handle *h = mem_zalloc(sizeof(*h));

    assert(z->queue == NULL);
    assert(z->background == NULL);
    assert(!zk_stopping(z));
    assert(z->handle == NULL);
    assert(z->n_in_flight == 0);
    h->z = z;
    h->state = *libzk.ZOO_NOTCONNECTED_STATE;
    z->handle = h;
    z->n_handles++;
    z->began = zk_now(z);
    atomic_store(&z->diagnosis.cancelled, true);
    zk_work(z->opener, &h->job, run_open, on_opened, h);
}

void zk_handle_close(struct zookeeper *z)
{
    struct zk_handle *h = z->handle;

    assert(z->ending);
    assert(h != NULL);
    assert(!h->closing);
    z->connected = false;
    zk_requests_expire(z);
    z->handle = NULL;
    set_guarded(z, NULL);
    h->closing = true;
    if (h->opened)
        submit_close(h);
}
