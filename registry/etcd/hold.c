/*
 * hold.c - keeping a place in a lock's queue, and leaving it.
 *
 * Each hold has a lease of its own, because two owners in one session exclude
 * each other and the key bears the lease's name. It is kept alive and believed
 * in like the session's: by the store's word, once that is proven
 * (etcd_renewal), and by our own clock, which ends first. Whoever leaves
 * revokes the lease, and the key goes with it.
 */
#include "registry/etcd/etcd_priv.h"

#include <string.h>
#include <utlist.h>

static struct etcd *backend(const struct registry_hold *hold)
{
    return etcd_of(hold->r);
}

bool etcd_hold_key(const struct etcd *e, const char *key, uint64_t fence,
                   struct etcd_key *out)
{
    const struct registry_hold *hold;

    DL_FOREACH(e->base.holds, hold)
    {
        if (hold->fence == fence && strcmp(hold->key, key) == 0) {
            etcd_hold_self(hold, out);
            return true;
        }
    }
    return false;
}

/* --- keeping the lease --------------------------------------------------- */

void etcd_hold_renewed(struct registry_hold *hold, mono_ms sent)
{
    struct etcd_hold *h = hold->priv;

    h->renewed = sent;
    hold->proven_until = sent + h->ttl_ms * 2 / 3;
}

static void on_beat(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;

    if (result->verdict == ETCD_NO_LEASE) {
        etcd_hold_gone(hold);
    } else if (result->verdict != ETCD_OK) {
        h->next_beat = etcd_now(backend(hold)) + backend(hold)->retry_ms;
    } else {
        if (json_u64(result->root, "TTL", 0) == 0) {
            etcd_hold_gone(hold);
            return;
        }
        etcd_renewal_heard(backend(hold), &h->renewal, result);
        h->next_beat = result->sent + h->ttl_ms / 3;
        if (h->ask == NULL &&
            (h->state == ETCD_HOLD_WAITING || h->state == ETCD_HOLD_HELD))
            etcd_hold_step(hold); /* its place is its proof */
    }
}

/* Other answers than its own may have proven it. */
static void prove(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    const struct etcd *e = backend(hold);

    switch (etcd_renewal_proof(e, &h->renewal)) {
    case ETCD_UNPROVEN:
        break;
    case ETCD_PROVEN:
        etcd_hold_renewed(hold, h->renewal.sent);
        h->renewal.sent = 0;
        break;
    case ETCD_REFUTED:
        h->renewal.sent = 0;
        h->next_beat = etcd_now(e);
        break;
    }
}

static void keep(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd *e = backend(hold);
    struct buf body;

    if (h->lease == 0 || h->beat != NULL || etcd_now(e) < h->next_beat)
        return;
    etcd_lease_body(&body, h->lease);
    etcd_ask(e, &h->beat, "/v3/lease/keepalive", &body,
             ETCD_ONCE | ETCD_REPEATABLE, etcd_beat_ms(e), on_beat, hold);
}

/* --- leaving ------------------------------------------------------------- */

static void on_revoked(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;

    if (result->verdict == ETCD_OK || result->verdict == ETCD_NO_LEASE) {
        h->lease = 0;
        if (!etcd_over(backend(hold))) {
            registry_hold_gone(hold);
            etcd_pump(backend(hold));
        }
        return;
    }
    etcd_hold_settled(hold);
    etcd_hold_later(hold, backend(hold)->retry_max_ms);
}

/* Once the txns that were asked for before are answered. A lease that nobody
 * renews ends by itself: two TTLs later there is nothing to tell any more. */
static void leave(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd *e = backend(hold);
    struct buf body;

    if (etcd_calls_before(e, h->leave_after) && !etcd_over(e)) {
        e->leave_waits = true;
        return;
    }
    if (!etcd_over(e) && etcd_now(e) - h->renewed > 2 * h->ttl_ms) {
        h->lease = 0;
        registry_hold_gone(hold);
        return;
    }
    etcd_lease_body(&body, h->lease);
    etcd_ask(e, &h->ask, "/v3/lease/revoke", &body, ETCD_ONCE | ETCD_REPEATABLE,
             etcd_call_ms(e), on_revoked, hold);
}

/* --- the slots ----------------------------------------------------------- */

/* Again for the same hold after a refused try: it may stand in the queue
 * already, and then goes on waiting there. */
void etcd_lock(struct registry *r, struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    assert(h->state != ETCD_HOLD_HELD && h->state != ETCD_HOLD_LEAVING);
    if (h->state == ETCD_HOLD_IDLE) {
        h->settling = true;
        h->asked_at = etcd_of(r)->last_seq;
        etcd_hold_step(hold);
    }
}

bool etcd_holds_settling(const struct etcd *e, uint64_t seq)
{
    const struct registry_hold *hold;

    DL_FOREACH(e->base.holds, hold)
    {
        const struct etcd_hold *h = hold->priv;

        if (h->settling && h->asked_at < seq)
            return true;
    }
    return false;
}

void etcd_hold_settled(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    if (h->settling) {
        h->settling = false;
        etcd_pump(backend(hold));
    }
}

void etcd_unlock(struct registry *r, struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    assert(h->state != ETCD_HOLD_LEAVING);
    etcd_feed_close(&h->feed);
    (void)etcd_ask_cancel(&h->ask);
    (void)etcd_ask_cancel(&h->beat);
    h->state = ETCD_HOLD_LEAVING;
    h->settling = false;
    if (h->lease == 0) { /* a lease on its way has no key, and runs out */
        registry_hold_gone(hold);
        etcd_pump(etcd_of(r));
        return;
    }
    h->leave_after = etcd_of(r)->last_seq;
    h->settling = true;
    h->asked_at = h->leave_after;
    h->due = 0;
    leave(hold);
}

/* How old the last proof may be. While the session is in doubt nobody acts on
 * the lock, and its loss is told with the session's; else a sixth is left to
 * whoever has to end what it does. */
static int64_t patience(const struct etcd_hold *h, const struct etcd *e)
{
    return e->base.state == REGISTRY_SUSPENDED ? h->ttl_ms : h->ttl_ms / 6 * 5;
}

/* True: it may have changed the list. */
static bool tick(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd *e = backend(hold);

    if (h->state == ETCD_HOLD_LEAVING) {
        if (h->ask != NULL || h->lease == 0 || etcd_now(e) < h->due)
            return false;
        etcd_hold_later(hold, e->retry_ms);
        leave(hold);
        return hold->state == HOLD_GONE;
    }
    if (hold->state != HOLD_WAITING && hold->state != HOLD_HELD)
        return false;
    prove(hold);
    if (h->lease != 0 && etcd_now(e) - h->renewed >= patience(h, e)) {
        etcd_hold_gone(hold); /* by our own clock */
        return true;
    }
    keep(hold);
    if (h->ask == NULL && etcd_now(e) >= h->due) {
        etcd_hold_later(hold, e->retry_ms);
        etcd_hold_step(hold);
    }
    return false;
}

void etcd_holds_tick(struct etcd *e)
{
    struct registry_hold *hold;

    do {
        DL_FOREACH(e->base.holds, hold)
        {
            if (tick(hold))
                break;
        }
    } while (hold != NULL && !etcd_over(e));
}

void etcd_holds_revoke(struct etcd *e)
{
    struct registry_hold *hold, *next;

    e->leave_waits = false;
    DL_FOREACH_SAFE(e->base.holds, hold, next)
    {
        struct etcd_hold *h = hold->priv;

        if (h->lease != 0 && h->ask == NULL && etcd_now(e) >= h->due &&
            (h->state == ETCD_HOLD_LEAVING || etcd_over(e)))
            leave(hold);
    }
}

void etcd_holds_stop(struct etcd *e, bool revoke)
{
    struct registry_hold *hold;

    DL_FOREACH(e->base.holds, hold)
    {
        struct etcd_hold *h = hold->priv;

        etcd_feed_close(&h->feed);
        (void)etcd_ask_cancel(&h->ask);
        (void)etcd_ask_cancel(&h->beat);
        h->due = 0;
    }
    if (revoke)
        etcd_holds_revoke(e);
}

bool etcd_holds_leaving(const struct etcd *e)
{
    const struct registry_hold *hold;

    DL_FOREACH(e->base.holds, hold)
    {
        if (((const struct etcd_hold *)hold->priv)->lease != 0)
            return true;
    }
    return false;
}
