/*
 * session.c - our session: a lease, and one key that hangs on it.
 *
 *   NONE -> (ENDING the one before) -> GRANTING -> KEYING -> LIVE
 *    ^------------------------------------------ (LOSING) <----/
 *
 * The lease is kept alive every third of the TTL that the server returned (it
 * may be more than was asked for); the deadlines of liveness.h count from
 * before the send. That a keepalive is answered is no proof (etcd_renewal):
 * the one who answers may have lost its place, and servers before 3.4.38
 * answer it for a lease that was revoked. So each one is followed by a look,
 * through the quorum, at our key, which every txn of ours compares, too: once
 * it is gone, nothing of this session can be applied any more. Only both
 * together are a sign of life. A session that we gave up by our own clock is
 * ended at the store before the next one begins, for the same reason.
 *
 * While there are watches, the look writes the key: the canary that every
 * watch stream has to bring back (feed.c). A store that is full refuses
 * that, and lets us keep what we have: then every other look only reads. The
 * key contains "//" and so can be no key of the interface; nobody sees it.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- beginning ----------------------------------------------------------- */

static void begin(struct etcd *e);

/* A lease that we gave up is ended before the next session begins. */
static void give_up_lease(struct etcd *e)
{
    if (e->session.lease != 0)
        e->session.old_lease = e->session.lease;
    e->session.lease = 0;
    e->session.state = ETCD_SESSION_NONE;
    e->session.due = etcd_now(e);
}

/* Again, soon: the step to a session did not succeed. */
static void again(struct etcd *e, const struct etcd_result *result)
{
    assert(e->session.request == NULL);
    assert(e->base.session == 0);
    if (!e->session.failing) {
        e->session.failing = true;
        log_warn("!registry", LOG_S("endpoint", etcd_endpoint(e)),
                 LOG_S("reason", result->why));
    }
    e->session.state = ETCD_SESSION_NONE;
    e->session.due =
        etcd_now(e) + (result->verdict == ETCD_DENIED ? 1000 : e->retry_max_ms);
}

static void on_keyed(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    assert(e->session.state == ETCD_SESSION_KEYING);
    assert(e->session.lease != 0);
    if (result->verdict != ETCD_OK || !etcd_succeeded(result->root) ||
        result->revision == 0) {
        /* Perhaps it is there, perhaps not: with its lease it goes. */
        give_up_lease(e);
        again(e, result);
        return;
    }
    e->session.state = ETCD_SESSION_LIVE;
    e->session.modified = result->revision;
    e->session.due = e->session.sent + e->session.ttl_ms / 3;
    e->session.renewal.sent = 0;
    e->session.failing = false;
    e->base.session_timeout_ms = e->session.ttl_ms;
    registry_liveness_begin(&e->liveness, e->session.sent);
    log_info("+session", LOG_U("session", e->session.lease),
             LOG_S("endpoint", etcd_endpoint(e)),
             LOG_I("ttl_ms", e->session.ttl_ms));
    registry_session_begin(&e->base, e->session.lease, 0, result->revision);
}

/* Our key's value is the process id, for people. */
static void put_session_key(const struct etcd *e, struct buf *b)
{
    char text[32];

    assert(e->session.lease != 0);
    (void)snprintf(text, sizeof(text), "%ld", (long)getpid());
    etcd_put_op_put(b, &e->session.key, text, strlen(text), e->session.lease);
}

static void make_key(struct etcd *e)
{
    struct buf body;

    assert(e->session.ttl_ms > 0);
    e->session.state = ETCD_SESSION_KEYING;
    etcd_key_set(&e->session.key, e->ns, "/pelorus//session/");
    etcd_key_add_lease(&e->session.key, e->session.lease);
    etcd_txn_begin(&body);
    etcd_put_compare(&body, ETCD_CREATE, &e->session.key, NULL, 0);
    etcd_txn_then(&body);
    put_session_key(e, &body);
    etcd_send_txn(e, &e->session.request, &body, ETCD_ONCE, on_keyed, e);
}

static void on_granted(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    assert(e->session.state == ETCD_SESSION_GRANTING);
    e->session.sent = result->sent;
    if (etcd_granted(result, &e->session.lease, &e->session.ttl_ms)) {
        make_key(e);
        return;
    }
    give_up_lease(e);
    again(e, result);
}

static void on_inquired(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    assert(e->session.state == ETCD_SESSION_INQUIRING);
    if (etcd_inquiry_answered(e, result)) {
        e->session.inquire = false;
        begin(e);
    } else {
        again(e, result);
    }
}

static void on_ended(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    assert(e->session.state == ETCD_SESSION_ENDING);
    assert(e->session.old_lease != 0);
    if (etcd_is_revoked(result)) {
        e->session.old_lease = 0;
        begin(e);
    } else {
        again(e, result);
    }
}

/* The next step to a session: the one before is ended; does the store know
 * when its key was written? Then a lease. */
static void begin(struct etcd *e)
{
    struct etcd_request **slot = &e->session.request;
    struct buf body;

    assert(e->base.session == 0);
    assert(e->session.lease == 0);
    if (e->session.old_lease != 0) {
        e->session.state = ETCD_SESSION_ENDING;
        etcd_send_lease(e, slot, ETCD_REVOKE, e->session.old_lease, 0, on_ended,
                        e);
    } else if (e->session.inquire) {
        e->session.state = ETCD_SESSION_INQUIRING;
        etcd_put_inquiry(e, &body);
        etcd_send_txn(e, slot, &body, ETCD_ONCE | ETCD_REPEATABLE, on_inquired,
                      e);
    } else {
        e->session.state = ETCD_SESSION_GRANTING;
        etcd_send_grant(e, slot, on_granted, e);
    }
}

/* --- losing it ----------------------------------------------------------- */

static void lose(struct etcd *e, const char *why)
{
    assert(e->base.session != 0);
    assert(e->session.lease != 0);
    log_warn("-session", LOG_U("session", e->session.lease),
             LOG_S("reason", why));
    (void)etcd_request_cancel(&e->session.request);
    give_up_lease(e);
    e->session.newest_at = 0;
    e->session.inquire = e->base.history != NULL && e->session.modified != 0;
    etcd_watches_stop(e);
    etcd_calls_abort(e, ERR_SESSION_LOST, "the session was lost");
    registry_set_state(&e->base, REGISTRY_DISCONNECTED);
}

void etcd_session_drop(struct etcd *e, const char *why)
{
    if (e->base.session != 0) {
        lose(e, why);
        return;
    }
    (void)etcd_request_cancel(&e->session.request);
    give_up_lease(e);
    e->session.inquire = e->session.inquire && e->session.modified != 0;
    assert(e->session.lease == 0 && e->session.request == NULL);
}

/* --- keeping it ---------------------------------------------------------- */

static void verify(struct etcd *e);

static void on_verified(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    assert(e->session.state == ETCD_SESSION_LIVE);
    assert(e->session.request == NULL);
    if (result->verdict == ETCD_NO_LEASE) {
        etcd_session_lost(e, "its key is gone");
        return;
    }
    e->session.due = etcd_now(e) + e->retry_ms;
    if (result->verdict == ETCD_NO_SPACE && !e->session.no_put) {
        e->session.no_put = true; /* a store that is full can be read */
        verify(e);
        return;
    }
    if (result->verdict != ETCD_OK)
        return;
    e->session.no_put = false;
    if (!etcd_succeeded(result->root)) {
        if (etcd_session_key_exists(e, result) &&
            etcd_newest_is_known(e, result))
            verify(e);
        return;
    }
    if (etcd_txn_put(result->root, 0)) {
        e->session.modified = result->revision;
        etcd_feeds_expect_canary(e, result->revision);
    }
    if (etcd_renewal_proof(e, &e->session.renewal) == ETCD_PROVEN) {
        mono_ms sent = e->session.renewal.sent;

        e->session.renewal.sent = 0;
        e->session.due = sent + e->session.ttl_ms / 3;
        registry_liveness_answered(&e->liveness, sent, sent);
    }
}

static void verify(struct etcd *e)
{
    struct etcd_range self = {.key = &e->session.key, .keys_only = true};
    struct etcd_range newest = {.key = &e->session.newest, .keys_only = true};
    struct buf body;

    assert(e->session.state == ETCD_SESSION_LIVE);
    etcd_txn_begin(&body);
    etcd_put_session_compare(e, &body);
    if (e->session.newest_at != 0)
        etcd_put_compare(&body, ETCD_SINCE, newest.key, NULL,
                         e->session.newest_at);
    etcd_txn_then(&body);
    if (e->feeds != NULL && !e->session.no_put)
        put_session_key(e, &body);
    else
        etcd_put_op_range(&body, &self);
    etcd_txn_otherwise(&body);
    etcd_put_op_range(&body, &self);
    if (e->session.newest_at != 0)
        etcd_put_op_range(&body, &newest);
    etcd_send_txn(e, &e->session.request, &body,
                  ETCD_ONCE | ETCD_REPEATABLE | ETCD_GUARDED | ETCD_QUICK,
                  on_verified, e);
}

static void on_keepalive(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    assert(e->session.state == ETCD_SESSION_LIVE);
    assert(e->session.request == NULL);
    if (!etcd_renewal_answered(e, &e->session.renewal, result))
        etcd_session_lost(e, "its lease is gone");
    else if (result->verdict == ETCD_OK)
        verify(e);
    else
        e->session.due = etcd_now(e) + e->retry_ms;
}

/* What cannot be answered any more is said before SUSPENDED is. */
static void deadlines(struct etcd *e)
{
    int64_t age = etcd_now(e) - e->liveness.answered;

    assert(e->session.state == ETCD_SESSION_LIVE ||
           e->session.state == ETCD_SESSION_LOSING);
    assert(e->session.lease == e->base.session);
    if (e->base.state != REGISTRY_SUSPENDED &&
        age >= e->base.session_timeout_ms * 2 / 3) {
        etcd_calls_abort(e, ERR_UNAVAILABLE,
                         "no answer from the registry for 2/3 of the "
                         "session's timeout");
    }
    if (registry_liveness_over(&e->liveness))
        lose(e, "not renewed for its timeout");
    else if (e->session.state == ETCD_SESSION_LOSING && e->n_running == 0)
        lose(e, e->session.why);
}

void etcd_session_tick(struct etcd *e)
{
    const char *mismatch = e->all_mismatch;

    if (mismatch != NULL) {
        etcd_forget_store(e);
        etcd_session_drop(e, mismatch);
    }
    if (e->base.session != 0)
        deadlines(e);
    if (etcd_is_closing(e) || e->session.request != NULL ||
        e->session.state == ETCD_SESSION_LOSING || etcd_now(e) < e->session.due)
        return;
    if (e->session.state == ETCD_SESSION_LIVE) {
        etcd_send_lease(e, &e->session.request, ETCD_KEEPALIVE,
                        e->session.lease, ETCD_QUICK, on_keepalive, e);
    } else {
        begin(e);
    }
}
