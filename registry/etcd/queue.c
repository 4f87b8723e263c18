/*
 * queue.c - waiting for the lock, as etcd's own lock service and jetcd lay
 * it out: one key per waiter below the lock's name, named by its lease in hex;
 * whoever's key was created first has the lock. So we contend with
 * DolphinScheduler and `etcdctl lock` alike.
 *
 *   IDLE -> (LOOKING: only a try) -> GRANTING a lease -> QUEUEING its key
 *        -> CHECKING <-> WAITING for the key before ours -> HELD -> LEAVING
 *
 * The service itself is not used: before 3.5 it answers 200 to a waiter whose
 * lease is gone. Here the lock is believed only when one txn found our own key
 * with the revision we know, and none before it. That revision is the fencing
 * number. Leaving revokes the lease, and the key goes with it, so a waiter
 * that gave up can never come to hold.
 *
 * Who counts as standing in the queue: place.c.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>
#include <utlist.h>

static void check(struct registry_hold *hold);

void etcd_hold_later(struct registry_hold *hold, int64_t delay_ms)
{
    assert(delay_ms >= 0);
    ((struct etcd_hold *)hold->priv)->due =
        etcd_now(etcd_of(hold->r)) + delay_ms;
}

static void own_key(const struct registry_hold *hold, struct etcd_key *key)
{
    const struct etcd_hold *h = hold->priv;

    etcd_key_below(key, etcd_of(hold->r)->ns, hold->key);
    etcd_key_add_lease(key, h->lease);
}

void etcd_hold_cancel(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    etcd_feed_close(&h->feed);
    (void)etcd_request_cancel(&h->request);
    (void)etcd_request_cancel(&h->keepalive);
    assert(!h->feed.open);
    assert(h->request == NULL && h->keepalive == NULL);
}

bool etcd_hold_key(const struct etcd *e, const char *key, uint64_t fence,
                   struct etcd_key *out)
{
    const struct registry_hold *hold;

    DL_FOREACH (e->base.holds, hold) {
        const struct etcd_hold *h = hold->priv;

        if (h->lease != 0 && hold->fence == fence &&
            strcmp(hold->key, key) == 0) {
            own_key(hold, out);
            return true;
        }
    }
    return false;
}

void etcd_hold_renewed(struct registry_hold *hold, mono_ms sent)
{
    struct etcd_hold *h = hold->priv;

    assert(h->lease != 0);
    assert(h->ttl_ms > 0);
    h->renewed = sent;
    hold->proven_until = sent + h->ttl_ms * 2 / 3;
}

bool etcd_holds_delay(const struct etcd *e, uint64_t seq)
{
    const struct registry_hold *hold;

    DL_FOREACH (e->base.holds, hold) {
        const struct etcd_hold *h = hold->priv;

        if (h->delays_calls && h->asked_at < seq)
            return true;
    }
    return false;
}

void etcd_hold_delays_none(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    if (h->delays_calls) {
        h->delays_calls = false;
        assert(h->asked_at <= etcd_of(hold->r)->last_seq);
        etcd_calls_wake(etcd_of(hold->r));
    }
}

/* Back to the beginning, with another lease: this one is of no use any more,
 * or in doubt. */
static void restart(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    assert(h->state != ETCD_HOLD_LEAVING);
    etcd_hold_cancel(hold);
    h->lease = 0;
    h->created = 0;
    h->renewal.sent = 0;
    h->state = ETCD_HOLD_IDLE;
    etcd_hold_later(hold, etcd_of(hold->r)->retry_ms);
    etcd_hold_delays_none(hold);
}

void etcd_hold_expired(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    bool held = h->state == ETCD_HOLD_HELD;

    assert(h->state != ETCD_HOLD_LEAVING);
    log_warn("-lock", LOG_S("key", hold->key), LOG_S("owner", hold->owner),
             LOG_S("reason", "its lease is gone"));
    restart(hold);
    assert(h->state == ETCD_HOLD_IDLE);
    if (held)
        registry_hold_lost(hold); /* unlock follows */
}

/* --- asking -------------------------------------------------------------- */

static void send_txn(struct registry_hold *hold, struct buf *body,
                     etcd_result_f *done)
{
    struct etcd_hold *h = hold->priv;

    assert(h->state != ETCD_HOLD_LEAVING);
    etcd_send_txn(etcd_of(hold->r), &h->request, body,
                  ETCD_ONCE | ETCD_REPEATABLE, done, hold);
}

/* True: the answer is none; the state's question is asked again soon. */
static bool unanswered(struct registry_hold *hold,
                       const struct etcd_result *result)
{
    assert(((struct etcd_hold *)hold->priv)->request == NULL);
    if (result->verdict == ETCD_OK)
        return false;
    etcd_hold_delays_none(hold);
    if (result->verdict == ETCD_NO_LEASE) {
        etcd_hold_expired(hold);
    } else {
        etcd_hold_later(hold, result->verdict == ETCD_DENIED
                                  ? 1000
                                  : etcd_of(hold->r)->retry_max_ms);
    }
    return true;
}

/* --- waiting ------------------------------------------------------------- */

static void on_change(void *arg, bool is_gone, const struct etcd_kv *kv)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;

    (void)kv;
    if (is_gone && h->state == ETCD_HOLD_WAITING) {
        etcd_feed_close(&h->feed);
        check(hold);
    }
}

/* Without it we look every third of the lease: often enough. */
static void on_feed_end(void *arg, bool lost, const char *why)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;

    (void)lost;
    (void)why;
    if (h->state == ETCD_HOLD_WAITING)
        etcd_hold_later(hold, etcd_of(hold->r)->retry_max_ms);
}

static void wait_for(struct registry_hold *hold, const struct etcd_kv *before,
                     uint64_t revision)
{
    struct etcd_hold *h = hold->priv;
    struct etcd *e = etcd_of(hold->r);
    struct etcd_key key;

    assert(h->state == ETCD_HOLD_CHECKING);
    h->state = ETCD_HOLD_WAITING;
    etcd_hold_later(hold, h->ttl_ms / 3);
    if (h->feed.open || !etcd_has_token(e) || before->key_len >= ETCD_KEY_MAX)
        return;
    memcpy(key.s, before->key, before->key_len);
    key.len = before->key_len;
    h->feed.change = on_change;
    h->feed.end = on_feed_end;
    h->feed.arg = hold;
    etcd_feed_open(e, &h->feed, &key, NULL, revision + 1, false);
}

static void first(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    assert(h->lease != 0);
    assert(h->created > 1);
    etcd_feed_close(&h->feed);
    h->state = ETCD_HOLD_HELD;
    etcd_hold_later(hold, h->ttl_ms / 3);
    if (hold->state == HOLD_WAITING)
        registry_hold_granted(hold, h->created);
}

/* Ours say who they are; jetcd's and etcdctl's keys have no value, only the
 * name of a lease. */
static void tell_holder(struct registry_hold *hold, const struct etcd_kv *kv)
{
    char *name = kv->value_len > 0 ? mem_strndup(kv->value, kv->value_len)
                 : kv->lease != 0
                     ? mem_printf("lease %" PRIx64, kv->lease)
                     : mem_printf("key %.*s", (int)kv->key_len, kv->key);

    registry_hold_waits(hold, name);
    mem_free(name);
}

static void on_checked(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;
    struct etcd_places q = {.n = 0}; /* nobody is before who holds it */

    assert(h->created > 1);
    if (unanswered(hold, result))
        return;
    if (!etcd_succeeded(result->root)) {
        etcd_hold_expired(hold);
    } else if (h->state != ETCD_HOLD_HELD &&
               !etcd_places_read(hold, result->root, &q)) {
        check(hold);
    } else if (q.n == 0) {
        first(hold);
    } else {
        tell_holder(hold, &q.oldest);
        wait_for(hold, &q.newest, result->revision);
        if (hold->try_once)
            registry_hold_refused(hold, ERR_TIMEOUT);
    }
}

/* Ours is there, and who is before it? One look at both. */
static void check(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd_key self;
    struct buf body;

    assert(h->created > 1);
    if (h->request != NULL)
        return;
    if (h->state != ETCD_HOLD_HELD)
        h->state = ETCD_HOLD_CHECKING;
    own_key(hold, &self);
    etcd_txn_begin(&body);
    etcd_put_compare(&body, ETCD_CREATE, &self, NULL, h->created);
    etcd_txn_then(&body);
    etcd_places_ask(hold, &body, h->created - 1);
    send_txn(hold, &body, on_checked);
}

/* --- queueing ------------------------------------------------------------ */

static void on_queued(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;
    struct etcd_kv kv;

    assert(h->state == ETCD_HOLD_QUEUEING);
    if (unanswered(hold, result))
        return;
    if (etcd_succeeded(result->root) && result->revision > 1) {
        h->created = result->revision;
    } else {
        /* The session's key is gone, or ours is there from a try whose answer
         * was lost. */
        if (!etcd_txn_kv(result->root, 0, &kv) || kv.created < 2) {
            etcd_hold_delays_none(hold);
            etcd_session_lost(etcd_of(hold->r), "its key is gone");
            etcd_hold_later(hold, etcd_of(hold->r)->retry_max_ms);
            return;
        }
        h->created = kv.created;
    }
    etcd_hold_delays_none(hold);
    check(hold);
}

static void queue(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd_key self;
    struct etcd_range range = {.key = &self, .keys_only = true};
    struct buf body;

    assert(h->lease != 0);
    assert(h->created == 0);
    h->state = ETCD_HOLD_QUEUEING;
    own_key(hold, &self);
    etcd_txn_begin(&body);
    etcd_put_session_compare(etcd_of(hold->r), &body);
    etcd_put_compare(&body, ETCD_CREATE, &self, NULL, 0);
    etcd_txn_then(&body);
    etcd_put_op_put(&body, &self, hold->owner, strlen(hold->owner), h->lease);
    etcd_txn_otherwise(&body);
    etcd_put_op_range(&body, &range);
    send_txn(hold, &body, on_queued);
}

static void on_granted(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;

    assert(h->state == ETCD_HOLD_GRANTING);
    if (unanswered(hold, result))
        return;
    if (etcd_granted(result, &h->lease, &h->ttl_ms)) {
        etcd_hold_renewed(hold, result->sent);
        h->keepalive_due = result->sent + h->ttl_ms / 3;
        queue(hold);
    } else {
        restart(hold);
    }
}

static void grant(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    assert(h->created == 0);
    h->state = ETCD_HOLD_GRANTING;
    etcd_send_grant(etcd_of(hold->r), &h->request, on_granted, hold);
}

static void begin(struct registry_hold *hold);

static void on_looked(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;
    struct etcd_places q;

    assert(h->state == ETCD_HOLD_LOOKING);
    assert(h->lease == 0);
    if (unanswered(hold, result))
        return;
    if (!etcd_places_read(hold, result->root, &q)) {
        begin(hold);
    } else if (q.n == 0) {
        grant(hold);
    } else {
        h->state = ETCD_HOLD_IDLE;
        etcd_hold_later(hold, etcd_of(hold->r)->retry_ms);
        etcd_hold_delays_none(hold);
        registry_hold_refused(hold, ERR_TIMEOUT);
    }
}

static void begin(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct buf body;

    if (!hold->try_once) {
        grant(hold);
        return;
    }
    h->state = ETCD_HOLD_LOOKING;
    etcd_txn_begin(&body);
    etcd_txn_then(&body);
    etcd_places_ask(hold, &body, 0);
    send_txn(hold, &body, on_looked);
}

/* --- the next question --------------------------------------------------- */

void etcd_hold_step(struct registry_hold *hold)
{
    static void (*const steps[])(struct registry_hold *) = {
        [ETCD_HOLD_IDLE] = begin,     [ETCD_HOLD_LOOKING] = begin,
        [ETCD_HOLD_GRANTING] = grant, [ETCD_HOLD_QUEUEING] = queue,
        [ETCD_HOLD_CHECKING] = check, [ETCD_HOLD_WAITING] = check,
        [ETCD_HOLD_HELD] = check,
    };
    const struct etcd_hold *h = hold->priv;

    assert(h->request == NULL);
    assert(h->state != ETCD_HOLD_LEAVING);
    steps[h->state](hold);
}
