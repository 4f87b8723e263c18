/*
 * etcd.c - the etcd backend: opening, the tick, closing.
 *
 * It speaks the v3 JSON gateway of etcd 3.4 and newer over HTTP/1.1. There are
 * no threads: libcurl runs on the loop, and one tick, a few times per third of
 * the session's timeout, moves everything that waits for time. Two clocks
 * decide together: the store's, which ends the lease, and ours, which counts
 * from before each keepalive was sent and so ends first.
 */
#include "registry/etcd/etcd.h"
#include "registry/etcd/etcd_priv.h"

#include "base/library/curl.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Each operation may need two compares, and the session one. */
#define MAX_OPS   ((ETCD_TXN_OPS - 1) / 2)
#define MAX_BYTES (1u << 20) /* the server's limit is 1.5 MiB, keys and all */

#define STOP_TICK_MS 10
#define STOP_MAX_MS  3000

/* --- freeing ------------------------------------------------------------- */

static void release(struct registry *r)
{
    struct etcd *e = etcd_of(r);

    assert(e->requests == NULL);
    assert(e->feeds == NULL);
    for (size_t i = 0; i < e->n_endpoints; i++)
        mem_free(e->endpoints[i]);
    mem_free(e->endpoints);
    mem_free(e->none_writes);
    mem_free(e->ns);
    mem_free(e->user);
    mem_free(e->password);
    mem_free(e->token);
    mem_free(e);
}

static void on_http_closed(void *arg)
{
    struct etcd *e = arg;
    registry_closed_f *killed = e->killed;
    void *killed_arg = e->killed_arg;

    assert(e->http == NULL);
    assert(e->requests == NULL);
    if (!e->base.mute) {
        registry_closed(&e->base);
        return;
    }
    registry_abandon(&e->base);
    release(&e->base);
    if (killed != NULL)
        killed(killed_arg);
}

/* Nothing is sent or heard any more. */
static void hang_up(struct etcd *e)
{
    loop_timer_stop(&e->ticker);
    registry_timer_stop(&e->turn);
    etcd_watches_stop(e);
    etcd_holds_stop(e);
    (void)etcd_request_cancel(&e->session.request);
    (void)etcd_request_cancel(&e->revoke);
    etcd_requests_close(e);
    etcd_trouble_close(e);
    assert(e->feeds == NULL);
    assert(e->requests == NULL);
    etcd_http_close(&e->http, on_http_closed, e);
}

/* --- closing: answer what is under way, end our leases, hang up ---------- */

static void on_revoked(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    assert(etcd_is_closing(e));
    assert(e->revoke == NULL);
    if (etcd_is_revoked(result))
        e->session.lease = 0;
}

/* The lease of the session, then the one given up before. */
static void end_session(struct etcd *e)
{
    assert(e->revoking);
    if (e->revoke != NULL)
        return;
    if (e->session.lease == 0) {
        e->session.lease = e->session.old_lease;
        e->session.old_lease = 0;
    }
    if (e->session.lease != 0) {
        etcd_send_lease(e, &e->revoke, ETCD_REVOKE, e->session.lease,
                        ETCD_QUICK, on_revoked, e);
    }
}

static void on_stop_tick(void *arg)
{
    struct etcd *e = arg;
    bool late = etcd_now(e) >= e->stop_by;

    assert(e->base.closing);
    assert(e->http != NULL);
    etcd_requests_tick(e);
    if (e->n_running > 0 && !late)
        return;
    if (!e->revoking) {
        e->revoking = true;
        etcd_holds_stop(e);
        etcd_holds_revoke(e);
        end_session(e);
    } else if (!late && ((e->session.lease | e->session.old_lease) != 0 ||
                         e->revoke != NULL || etcd_holds_leaving(e))) {
        etcd_holds_revoke(e);
        end_session(e);
    } else {
        etcd_calls_abort(e, ERR_CANCELLED, "the registry was closed");
        hang_up(e);
    }
}

static void close_(struct registry *r)
{
    struct etcd *e = etcd_of(r);

    assert(r->closing);
    assert(!e->revoking);
    etcd_watches_stop(e);
    (void)etcd_request_cancel(&e->session.request);
    e->stop_by =
        etcd_now(e) + etcd_clamp(r->session_timeout_ms / 2, 0, STOP_MAX_MS);
    loop_timer_stop(&e->ticker);
    e->ticker = loop_timer(r->loop, 0, STOP_TICK_MS, on_stop_tick, e);
}

void etcd_kill(struct registry **r, registry_closed_f *gone, void *arg)
{
    struct etcd *e = etcd_of(*r);

    *r = NULL;
    e->base.mute = true;
    e->killed = gone;
    e->killed_arg = arg;
    etcd_calls_abort(e, ERR_CANCELLED, "the process is gone"); /* to nobody */
    hang_up(e);
}

/* --- opening ------------------------------------------------------------- */

static void on_tick(void *arg)
{
    static void (*const ticks[])(struct etcd *) = {
        etcd_requests_tick, etcd_session_tick, etcd_holds_tick, etcd_feeds_tick,
        etcd_watches_tick};
    struct etcd *e = arg;

    assert(!etcd_is_closing(e));
    for (size_t i = 0; i < ARRAY_LEN(ticks) && !etcd_is_closing(e); i++)
        ticks[i](e);
}

static void end(struct registry *r, const char *why)
{
    struct etcd *e = etcd_of(r);

    if (registry_went_back(r) != NULL)
        etcd_forget_store(e);
    etcd_session_drop(e, why);
}

static const struct registry_ops ops = {
    .name = "etcd",
    .call_size = sizeof(struct etcd_call),
    .hold_size = sizeof(struct etcd_hold),
    .watch_size = sizeof(struct etcd_watch),
    .submit = etcd_submit,
    .watch = etcd_watch_begin,
    .unwatch = etcd_watch_end,
    .lock = etcd_lock,
    .unlock = etcd_unlock,
    .prove = etcd_session_prove,
    .look = etcd_watches_look,
    .poll_now = etcd_watches_hurry,
    .end = end,
    .close = close_,
    .free = release,
    .bumped = true,
};

/* libcurl would say so only at the first connection, and then for ever. */
static int check_files(const struct conf_registry *conf, struct err *err)
{
    const struct {
        const char *key, *path;
    } files[] = {{"cert-file", conf->cert_file},
                 {"key-cert-chain-file", conf->key_cert_chain_file},
                 {"key-file", conf->key_file}};

    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (files[i].path != NULL && access(files[i].path, R_OK) != 0)
            return err_errno(err, errno, "registry.%s: %s", files[i].key,
                             files[i].path);
    return 0;
}

char *etcd_endpoint_of(const struct conf_registry *conf, size_t i)
{
    const char *text = conf->endpoints.items[i];
    bool tls = conf->cert_file != NULL && conf->key_file != NULL &&
               conf->key_cert_chain_file != NULL;

    return tls && strncmp(text, "http://", 7) == 0
               ? mem_printf("https://%s", text + 7)
               : mem_strdup(text);
}

static struct etcd *configure(struct loop *loop,
                              const struct conf_registry *conf)
{
    struct etcd *e = mem_zalloc(sizeof(*e));

    /* A lease has whole seconds. */
    e->ttl_s = (conf->session_timeout_ms + 999) / 1000;
    registry_init(&e->base, &ops, loop, e->ttl_s * 1000, MAX_OPS, MAX_BYTES);
    registry_liveness_init(&e->liveness, &e->base);
    e->ns = mem_strdup(conf->namespace_);
    e->user = mem_strdup(conf->user);
    e->password = mem_strdup(conf->password);
    e->connect_ms = conf->connect_timeout_ms;
    e->retry_ms = conf->retry_delay_ms;
    e->retry_max_ms = conf->retry_max_delay_ms;
    e->retry_for_ms = conf->retry_max_duration_ms;
    e->endpoints = mem_array(conf->endpoints.n, sizeof(*e->endpoints));
    for (size_t i = 0; i < conf->endpoints.n; i++)
        e->endpoints[e->n_endpoints++] = etcd_endpoint_of(conf, i);
    e->none_writes = mem_printf("none of %zu member%s writes", e->n_endpoints,
                                e->n_endpoints == 1 ? "" : "s");
    e->dispatch = etcd_dispatch_turn;
    return e;
}

int etcd_open(struct registry **out, struct loop *loop,
              const struct conf_registry *conf, struct err *err)
{
    struct etcd *e;
    int rc = libcurl_load(err);

    assert(conf->endpoints.n > 0);
    assert(conf->namespace_ != NULL);
    assert(conf->session_timeout_ms > 0);
    if (rc != 0)
        return err_wrap(err, "registry.type: etcd");
    rc = check_files(conf, err);
    if (rc != 0)
        return rc;
    e = configure(loop, conf);
    rc = etcd_http_new(&e->http, loop, conf, err);
    if (rc != 0) {
        release(&e->base);
        return rc;
    }
    /* Several clients do not all begin at the same member. */
    e->generation = (uint64_t)getpid();
    e->ticker = loop_timer(loop, 0,
                           etcd_clamp(e->base.session_timeout_ms / 24, 20, 250),
                           on_tick, e);
    *out = &e->base;
    return 0;
}
