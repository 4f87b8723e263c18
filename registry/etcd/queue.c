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
#include <stdio.h>
#include <string.h>
#include <utlist.h>

static void check(struct registry_hold *hold);

static struct etcd *backend(const struct registry_hold *hold)
{
    return etcd_of(hold->r);
}

void etcd_hold_later(struct registry_hold *hold, int64_t delay_ms)
{
    ((struct etcd_hold *)hold->priv)->due = etcd_now(backend(hold)) + delay_ms;
}

void etcd_hold_self(const struct registry_hold *hold, struct etcd_key *key)
{
    const struct etcd_hold *h = hold->priv;
    char name[32];

    (void)snprintf(name, sizeof(name), "%" PRIx64, h->lease);
    etcd_key_below(key, backend(hold)->ns, hold->key);
    etcd_key_add(key, name);
}

/* Back to the beginning, with another lease: this one is of no use any more,
 * or in doubt. */
static void restart(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    etcd_feed_close(&h->feed);
    (void)etcd_ask_cancel(&h->ask);
    (void)etcd_ask_cancel(&h->beat);
    h->lease = 0;
    h->created = 0;
    h->renewal.sent = 0;
    h->state = ETCD_HOLD_IDLE;
    etcd_hold_later(hold, backend(hold)->retry_ms);
    etcd_hold_settled(hold);
}

/* The store says that lease or key is gone. */
void etcd_hold_gone(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    bool held = h->state == ETCD_HOLD_HELD;

    log_warn("-lock", LOG_S("key", hold->key), LOG_S("owner", hold->owner),
             LOG_S("reason", "its lease is gone"));
    restart(hold);
    if (held)
        registry_hold_lost(hold); /* unlock follows */
}

/* --- asking -------------------------------------------------------------- */

static void ask(struct registry_hold *hold, const char *path, struct buf *body,
                unsigned flags, etcd_result_f *done)
{
    struct etcd *e = backend(hold);
    struct etcd_hold *h = hold->priv;

    etcd_ask(e, &h->ask, path, body, flags | ETCD_ONCE | ETCD_REPEATABLE,
             etcd_call_ms(e), done, hold);
}

/* True: the answer is none; the state's question is asked again soon. */
static bool unanswered(struct registry_hold *hold,
                       const struct etcd_result *result)
{
    if (result->verdict == ETCD_OK)
        return false;
    etcd_hold_settled(hold);
    if (result->verdict == ETCD_NO_LEASE) {
        etcd_hold_gone(hold);
    } else {
        etcd_hold_later(hold, result->verdict == ETCD_DENIED
                                  ? 1000
                                  : backend(hold)->retry_max_ms);
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
        etcd_hold_later(hold, backend(hold)->retry_max_ms);
}

static void wait_for(struct registry_hold *hold, const struct etcd_kv *before,
                     uint64_t revision)
{
    struct etcd_hold *h = hold->priv;
    struct etcd *e = backend(hold);
    struct etcd_key key;

    h->state = ETCD_HOLD_WAITING;
    etcd_hold_later(hold, h->ttl_ms / 3);
    if (h->feed.open || !etcd_may_stream(e) || before->key_len >= ETCD_KEY_MAX)
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
    struct etcd_places q;

    if (unanswered(hold, result))
        return;
    if (!json_bool(result->root, "succeeded", false)) {
        etcd_hold_gone(hold);
        return;
    }
    if (h->state == ETCD_HOLD_HELD) {
        first(hold);
        return;
    }
    if (!etcd_places_read(hold, result->root, &q)) {
        check(hold);
        return;
    }
    if (q.n == 0) {
        first(hold);
        return;
    }
    tell_holder(hold, &q.oldest);
    wait_for(hold, &q.newest, result->revision);
    if (hold->try_once)
        registry_hold_refused(hold, ERR_TIMEOUT);
}

/* Ours is there, and who is before it? One look at both. */
static void check(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd_key self;
    struct buf body;

    assert(h->created > 1);
    if (h->ask != NULL)
        return;
    if (h->state != ETCD_HOLD_HELD)
        h->state = ETCD_HOLD_CHECKING;
    etcd_hold_self(hold, &self);
    buf_init(&body, ETCD_BODY_MAX);
    etcd_txn_begin(&body);
    etcd_put_compare(&body, ETCD_CREATE, &self, NULL, h->created);
    etcd_txn_then(&body);
    etcd_places_ask(hold, &body, h->created - 1);
    etcd_txn_close(&body);
    ask(hold, "/v3/kv/txn", &body, ETCD_LINEAR, on_checked);
}

/* --- queueing ------------------------------------------------------------ */

static void on_queued(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;
    struct etcd_kv kv;
    cJSON *kvs;

    if (unanswered(hold, result))
        return;
    if (json_bool(result->root, "succeeded", false) && result->revision > 1) {
        h->created = result->revision;
    } else {
        /* The session's key is gone, or ours is there from a try whose answer
         * was lost. */
        kvs = etcd_txn_kvs(result->root, 0);
        if (kvs == NULL || !etcd_kv_read(kvs->child, &kv) || kv.created < 2) {
            etcd_hold_settled(hold);
            etcd_session_lost(backend(hold), "its key is gone");
            etcd_hold_later(hold, backend(hold)->retry_max_ms);
            return;
        }
        h->created = kv.created;
    }
    etcd_hold_settled(hold);
    check(hold);
}

static void queue(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd_key self;
    struct etcd_range range = {.key = &self, .keys_only = true};
    struct buf body;

    h->state = ETCD_HOLD_QUEUEING;
    etcd_hold_self(hold, &self);
    buf_init(&body, ETCD_BODY_MAX);
    etcd_txn_begin(&body);
    etcd_put_session_compare(backend(hold), &body);
    etcd_put_compare(&body, ETCD_CREATE, &self, NULL, 0);
    etcd_txn_then(&body);
    etcd_put_op_put(&body, &self, hold->owner, strlen(hold->owner), h->lease);
    etcd_txn_otherwise(&body);
    etcd_put_op_range(&body, &range);
    etcd_txn_close(&body);
    ask(hold, "/v3/kv/txn", &body, ETCD_LINEAR, on_queued);
}

static void on_granted(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;

    if (unanswered(hold, result))
        return;
    h->lease = json_u64(result->root, "ID", 0);
    h->ttl_ms = (int64_t)json_u64(result->root, "TTL", 0) * 1000;
    if (h->lease == 0 || h->ttl_ms <= 0) {
        restart(hold);
        return;
    }
    etcd_hold_renewed(hold, result->sent);
    h->next_beat = result->sent + h->ttl_ms / 3;
    queue(hold);
}

static void grant(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct buf body;

    h->state = ETCD_HOLD_GRANTING;
    buf_init(&body, ETCD_BODY_MAX);
    buf_printf(&body, "{\"TTL\":\"%" PRId64 "\"}", backend(hold)->ttl_s);
    ask(hold, "/v3/lease/grant", &body, 0, on_granted);
}

static void begin(struct registry_hold *hold);

static void on_looked(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;
    struct etcd_places q;

    if (unanswered(hold, result))
        return;
    if (!etcd_places_read(hold, result->root, &q)) {
        begin(hold);
        return;
    }
    if (q.n == 0) {
        grant(hold);
        return;
    }
    h->state = ETCD_HOLD_IDLE;
    etcd_hold_later(hold, backend(hold)->retry_ms);
    etcd_hold_settled(hold);
    registry_hold_refused(hold, ERR_TIMEOUT);
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
    buf_init(&body, ETCD_BODY_MAX);
    etcd_txn_begin(&body);
    etcd_txn_then(&body);
    etcd_places_ask(hold, &body, 0);
    etcd_txn_close(&body);
    ask(hold, "/v3/kv/txn", &body, ETCD_LINEAR, on_looked);
}

/* --- the next question --------------------------------------------------- */

void etcd_hold_step(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    switch (h->state) {
    case ETCD_HOLD_IDLE:
    case ETCD_HOLD_LOOKING:
        begin(hold);
        break;
    case ETCD_HOLD_GRANTING:
        grant(hold);
        break;
    case ETCD_HOLD_QUEUEING:
        queue(hold);
        break;
    case ETCD_HOLD_CHECKING:
    case ETCD_HOLD_WAITING:
    case ETCD_HOLD_HELD:
        check(hold);
        break;
    case ETCD_HOLD_LEAVING:
        assert(false);
        break;
    }
}
