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

#include <utlist.h>

/* --- keeping the lease --------------------------------------------------- */

static void on_keepalive(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;
    const struct etcd *e = etcd_of(hold->r);
    bool answered = result->verdict == ETCD_OK;

    assert(h->lease != 0);
    assert(h->keepalive == NULL);
    if (!etcd_renewal_answered(e, &h->renewal, result)) {
        etcd_hold_expired(hold);
        return;
    }
    h->keepalive_due =
        answered ? result->sent + h->ttl_ms / 3 : etcd_now(e) + e->retry_ms;
    if (answered && h->request == NULL &&
        (h->state == ETCD_HOLD_WAITING || h->state == ETCD_HOLD_HELD))
        etcd_hold_step(hold); /* its place is its proof */
}

/* Other answers than its own may have proven it. */
static void prove(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    const struct etcd *e = etcd_of(hold->r);
    enum etcd_proof proof = etcd_renewal_proof(e, &h->renewal);

    if (proof == ETCD_UNPROVEN)
        return;
    assert(h->renewal.sent > 0);
    if (proof == ETCD_PROVEN)
        etcd_hold_renewed(hold, h->renewal.sent);
    else
        h->keepalive_due = etcd_now(e);
    h->renewal.sent = 0;
}

static void keep(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd *e = etcd_of(hold->r);

    assert(hold->state == HOLD_WAITING || hold->state == HOLD_HELD);
    if (h->lease == 0 || h->keepalive != NULL || etcd_now(e) < h->keepalive_due)
        return;
    etcd_send_lease(e, &h->keepalive, ETCD_KEEPALIVE, h->lease, ETCD_QUICK,
                    on_keepalive, hold);
}

/* --- leaving ------------------------------------------------------------- */

static void on_revoked(void *arg, const struct etcd_result *result)
{
    struct registry_hold *hold = arg;
    struct etcd_hold *h = hold->priv;

    assert(h->lease != 0);
    assert(h->request == NULL);
    if (etcd_is_revoked(result)) {
        h->lease = 0;
        if (!etcd_is_closing(etcd_of(hold->r))) {
            registry_hold_gone(hold);
            etcd_calls_wake(etcd_of(hold->r));
        }
        return;
    }
    etcd_hold_delays_none(hold);
    etcd_hold_later(hold, etcd_of(hold->r)->retry_max_ms);
}

/* Once the txns that were asked for before are answered. A lease that nobody
 * renews ends by itself: two TTLs later there is nothing to tell any more. */
static void leave(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd *e = etcd_of(hold->r);

    assert(h->lease != 0);
    assert(h->request == NULL);
    if (etcd_calls_before(e, h->leave_after) && !etcd_is_closing(e)) {
        e->leave_waits = true;
    } else if (!etcd_is_closing(e) &&
               etcd_now(e) - h->renewed > 2 * h->ttl_ms) {
        h->lease = 0;
        registry_hold_gone(hold);
    } else {
        etcd_send_lease(e, &h->request, ETCD_REVOKE, h->lease, 0, on_revoked,
                        hold);
    }
}

/* --- the slots ----------------------------------------------------------- */

/* Again for the same hold after a refused try: it may stand in the queue
 * already, and then goes on waiting there. */
void etcd_lock(struct registry *r, struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    assert(h->state != ETCD_HOLD_HELD && h->state != ETCD_HOLD_LEAVING);
    if (h->state == ETCD_HOLD_IDLE) {
        assert(h->request == NULL);
        h->delays_calls = true;
        h->asked_at = etcd_of(r)->last_seq;
        etcd_hold_step(hold);
    }
}

void etcd_unlock(struct registry *r, struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;

    assert(h->state != ETCD_HOLD_LEAVING);
    etcd_hold_cancel(hold);
    h->state = ETCD_HOLD_LEAVING;
    h->delays_calls = false;
    if (h->lease == 0) { /* a lease on its way has no key, and runs out */
        registry_hold_gone(hold);
        etcd_calls_wake(etcd_of(r));
        return;
    }
    h->leave_after = etcd_of(r)->last_seq;
    h->delays_calls = true;
    h->asked_at = h->leave_after;
    h->due = 0;
    leave(hold);
}

/* How old the last proof may be. While the session is in doubt nobody acts on
 * the lock, and its loss is told with the session's; else a sixth is left to
 * whoever has to end what it does. */
static int64_t patience(const struct etcd_hold *h, const struct etcd *e)
{
    assert(h->ttl_ms > 0);
    return e->base.state == REGISTRY_SUSPENDED ? h->ttl_ms : h->ttl_ms / 6 * 5;
}

/* True: it may have changed the list. */
static bool tick(struct registry_hold *hold)
{
    struct etcd_hold *h = hold->priv;
    struct etcd *e = etcd_of(hold->r);

    if (h->state == ETCD_HOLD_LEAVING) {
        if (h->request != NULL || h->lease == 0 || etcd_now(e) < h->due)
            return false;
        etcd_hold_later(hold, e->retry_ms);
        leave(hold);
        return hold->state == HOLD_GONE;
    }
    if (hold->state != HOLD_WAITING && hold->state != HOLD_HELD)
        return false;
    prove(hold);
    if (h->lease != 0 && etcd_now(e) - h->renewed >= patience(h, e)) {
        etcd_hold_expired(hold); /* by our own clock */
        return true;
    }
    keep(hold);
    if (h->request == NULL && etcd_now(e) >= h->due) {
        etcd_hold_later(hold, e->retry_ms);
        etcd_hold_step(hold);
    }
    return false;
}

void etcd_holds_tick(struct etcd *e)
{
    struct registry_hold *hold;

    do {
        DL_FOREACH (e->base.holds, hold)
            if (tick(hold))
                break;
    } while (hold != NULL && !etcd_is_closing(e));
}

void etcd_holds_revoke(struct etcd *e)
{
    struct registry_hold *hold, *next;

    assert(e->http != NULL);
    e->leave_waits = false;
    DL_FOREACH_SAFE (e->base.holds, hold, next) {
        struct etcd_hold *h = hold->priv;

        if (h->lease != 0 && h->request == NULL && etcd_now(e) >= h->due &&
            (h->state == ETCD_HOLD_LEAVING || etcd_is_closing(e)))
            leave(hold);
    }
}

void etcd_holds_stop(struct etcd *e)
{
    struct registry_hold *hold;

    DL_FOREACH (e->base.holds, hold) {
        etcd_hold_cancel(hold);
        ((struct etcd_hold *)hold->priv)->due = 0;
    }
}

bool etcd_holds_leaving(const struct etcd *e)
{
    const struct registry_hold *hold;

    DL_FOREACH (e->base.holds, hold)
        if (((const struct etcd_hold *)hold->priv)->lease != 0)
            return true;
    return false;
}
