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

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

int64_t etcd_beat_ms(const struct etcd *e)
{
    return clamp(e->base.session_timeout_ms / 6, 100, 5000);
}

int64_t etcd_call_ms(const struct etcd *e)
{
    return clamp(e->base.session_timeout_ms / 3, 5000, 10000);
}

void etcd_lease_body(struct buf *b, uint64_t lease)
{
    buf_init(b, ETCD_BODY_MAX);
    buf_printf(b, "{\"ID\":\"%" PRIu64 "\"}", lease);
}

/* --- beginning ----------------------------------------------------------- */

static void again(struct etcd *e, const struct etcd_result *result)
{
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

    if (result->verdict != ETCD_OK ||
        !json_bool(result->root, "succeeded", false)) {
        /* Perhaps it is there, perhaps not: with its lease it goes. */
        e->session.old_lease = e->session.lease;
        e->session.lease = 0;
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
    registry_begin(&e->base, e->session.lease, 0, result->revision);
}

static void make_key(struct etcd *e)
{
    struct buf body;
    char text[32];

    e->session.state = ETCD_SESSION_KEYING;
    etcd_key_set(&e->session.key, e->ns, "/pelorus//session/");
    (void)snprintf(text, sizeof(text), "%" PRIx64, e->session.lease);
    etcd_key_add(&e->session.key, text);
    (void)snprintf(text, sizeof(text), "%ld", (long)getpid());
    buf_init(&body, ETCD_BODY_MAX);
    etcd_txn_begin(&body);
    etcd_put_compare(&body, ETCD_CREATE, &e->session.key, NULL, 0);
    etcd_txn_then(&body);
    etcd_put_op_put(&body, &e->session.key, text, strlen(text),
                    e->session.lease);
    etcd_txn_close(&body);
    etcd_ask(e, &e->session.ask, "/v3/kv/txn", &body, ETCD_ONCE | ETCD_LINEAR,
             etcd_call_ms(e), on_keyed, e);
}

static void on_granted(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    if (result->verdict == ETCD_OK) {
        e->session.lease = json_u64(result->root, "ID", 0);
        e->session.ttl_ms = json_int(result->root, "TTL", 0) * 1000;
        if (e->session.ttl_ms == 0) { /* a decimal string */
            e->session.ttl_ms =
                (int64_t)json_u64(result->root, "TTL", 0) * 1000;
        }
        e->session.sent = result->sent;
    }
    if (result->verdict != ETCD_OK || e->session.lease == 0 ||
        e->session.ttl_ms <= 0) {
        again(e, result);
        return;
    }
    make_key(e);
}

static void grant(struct etcd *e)
{
    struct buf body;

    e->session.state = ETCD_SESSION_GRANTING;
    buf_init(&body, ETCD_BODY_MAX);
    buf_printf(&body, "{\"TTL\":\"%" PRId64 "\"}", e->ttl_s);
    etcd_ask(e, &e->session.ask, "/v3/lease/grant", &body,
             ETCD_ONCE | ETCD_REPEATABLE, etcd_call_ms(e), on_granted, e);
}

static void on_inquired(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    if (!etcd_inquiry_answered(e, result)) {
        again(e, result);
        return;
    }
    e->session.inquire = false;
    grant(e);
}

/* Does the store know when it was written? */
static void inquire(struct etcd *e)
{
    struct buf body;

    if (!e->session.inquire) {
        grant(e);
        return;
    }
    e->session.state = ETCD_SESSION_INQUIRING;
    buf_init(&body, ETCD_BODY_MAX);
    etcd_put_inquiry(e, &body);
    etcd_ask(e, &e->session.ask, "/v3/kv/range", &body,
             ETCD_ONCE | ETCD_REPEATABLE | ETCD_LINEAR, etcd_call_ms(e),
             on_inquired, e);
}

static void on_ended(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    if (result->verdict != ETCD_OK && result->verdict != ETCD_NO_LEASE) {
        again(e, result);
        return;
    }
    e->session.old_lease = 0;
    inquire(e);
}

static void begin(struct etcd *e)
{
    struct buf body;

    if (e->session.old_lease == 0) {
        inquire(e);
        return;
    }
    e->session.state = ETCD_SESSION_ENDING;
    etcd_lease_body(&body, e->session.old_lease);
    etcd_ask(e, &e->session.ask, "/v3/lease/revoke", &body,
             ETCD_ONCE | ETCD_REPEATABLE, etcd_call_ms(e), on_ended, e);
}

/* --- losing it ----------------------------------------------------------- */

void etcd_session_stop(struct etcd *e)
{
    (void)etcd_ask_cancel(&e->session.ask);
}

/* The store answers, so calls under way have an outcome; it is worth waiting
 * for. Nothing new begins. */
void etcd_session_lost(struct etcd *e, const char *why)
{
    if (e->session.state == ETCD_SESSION_LIVE && !etcd_over(e)) {
        e->session.state = ETCD_SESSION_LOSING;
        e->session.why = why;
        e->session.sudden = etcd_now(e) - e->base.answered < e->session.ttl_ms;
        etcd_session_stop(e);
    }
}

static void lose(struct etcd *e, const char *why)
{
    log_warn("-session", LOG_U("session", e->session.lease),
             LOG_S("reason", why));
    etcd_session_stop(e);
    e->session.old_lease = e->session.lease;
    e->session.lease = 0;
    e->session.state = ETCD_SESSION_NONE;
    e->session.due = etcd_now(e);
    e->session.newest_at = 0;
    e->session.inquire = e->base.history != NULL && e->session.modified != 0;
    etcd_watches_stop(e);
    etcd_calls_abort(e, ERR_SESSION_LOST, "the session was lost");
    registry_tell(&e->base, REGISTRY_DISCONNECTED);
}

void etcd_session_drop(struct etcd *e, const char *why)
{
    if (e->base.session != 0) {
        lose(e, why);
        return;
    }
    etcd_session_stop(e);
    if (e->session.lease != 0) {
        e->session.old_lease = e->session.lease;
        e->session.lease = 0;
    }
    e->session.state = ETCD_SESSION_NONE;
    e->session.due = etcd_now(e);
    e->session.inquire = e->session.inquire && e->session.modified != 0;
}

/* --- keeping it ---------------------------------------------------------- */

static void retry_soon(struct etcd *e)
{
    e->session.due = etcd_now(e) + e->retry_ms;
}

static void verify(struct etcd *e);

static void on_verified(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    if (result->verdict == ETCD_NO_LEASE) {
        etcd_session_lost(e, "its key is gone");
        return;
    }
    retry_soon(e);
    if (result->verdict == ETCD_NO_SPACE && !e->session.no_put) {
        e->session.no_put = true; /* a store that is full can be read */
        verify(e);
        return;
    }
    if (result->verdict != ETCD_OK)
        return;
    e->session.no_put = false;
    if (!json_bool(result->root, "succeeded", false)) {
        if (etcd_session_stands(e, result) && etcd_newest_stands(e, result))
            verify(e);
        return;
    }
    if (etcd_txn_put(result->root, 0)) {
        e->session.modified = result->revision;
        etcd_feeds_canary(e, result->revision);
    }
    if (etcd_renewal_proof(e, &e->session.renewal) == ETCD_PROVEN) {
        mono_ms sent = e->session.renewal.sent;

        e->session.renewal.sent = 0;
        e->session.due = sent + e->session.ttl_ms / 3;
        registry_liveness_answered(&e->liveness, sent);
    }
}

static void verify(struct etcd *e)
{
    struct etcd_range self = {.key = &e->session.key, .keys_only = true};
    struct etcd_range newest = {.key = &e->session.newest, .keys_only = true};
    struct buf body;
    char text[32];

    buf_init(&body, ETCD_BODY_MAX);
    etcd_txn_begin(&body);
    etcd_put_session_compare(e, &body);
    if (e->session.newest_at != 0)
        etcd_put_compare_since(&body, newest.key, e->session.newest_at);
    etcd_txn_then(&body);
    if (e->feeds != NULL && !e->session.no_put) {
        (void)snprintf(text, sizeof(text), "%ld", (long)getpid());
        etcd_put_op_put(&body, &e->session.key, text, strlen(text),
                        e->session.lease);
    } else {
        etcd_put_op_range(&body, &self);
    }
    etcd_txn_otherwise(&body);
    etcd_put_op_range(&body, &self);
    if (e->session.newest_at != 0)
        etcd_put_op_range(&body, &newest);
    etcd_txn_close(&body);
    etcd_ask(e, &e->session.ask, "/v3/kv/txn", &body,
             ETCD_ONCE | ETCD_REPEATABLE | ETCD_LINEAR | ETCD_GUARDED,
             etcd_beat_ms(e), on_verified, e);
}

static void on_beat(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;

    if (result->verdict == ETCD_OK) {
        /* Of a lease that is gone the answer has no TTL. */
        if (json_u64(result->root, "TTL", 0) == 0) {
            etcd_session_lost(e, "its lease is gone");
            return;
        }
        etcd_renewal_heard(e, &e->session.renewal, result);
        verify(e);
    } else if (result->verdict == ETCD_NO_LEASE) {
        etcd_session_lost(e, "its lease is gone");
    } else {
        retry_soon(e);
    }
}

static void beat(struct etcd *e)
{
    struct buf body;

    etcd_lease_body(&body, e->session.lease);
    etcd_ask(e, &e->session.ask, "/v3/lease/keepalive", &body,
             ETCD_ONCE | ETCD_REPEATABLE, etcd_beat_ms(e), on_beat, e);
}

/* What cannot be answered any more is said before SUSPENDED is. */
static void deadlines(struct etcd *e)
{
    int64_t age = etcd_now(e) - e->liveness.answered;

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

void etcd_session_prove(struct etcd *e)
{
    if (e->session.state == ETCD_SESSION_LIVE)
        e->session.due = etcd_now(e);
}

void etcd_session_tick(struct etcd *e)
{
    const char *strayed = e->strayed;

    if (strayed != NULL) {
        etcd_forget(e);
        etcd_session_drop(e, strayed);
    }
    if (e->base.session != 0)
        deadlines(e);
    if (etcd_over(e) || e->session.ask != NULL ||
        e->session.state == ETCD_SESSION_LOSING || etcd_now(e) < e->session.due)
        return;
    if (e->session.state == ETCD_SESSION_LIVE) {
        beat(e);
    } else {
        assert(e->session.state == ETCD_SESSION_NONE);
        begin(e);
    }
}
