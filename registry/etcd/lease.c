/*
 * lease.c - what is asked of a lease: grant, keepalive, revoke; and what an
 * answered keepalive is worth (struct etcd_renewal).
 */
#include "registry/etcd/etcd_priv.h"

#include <inttypes.h>

/* --- leases -------------------------------------------------------------- */

void etcd_send_lease(struct etcd *e, struct etcd_request **slot,
                     const char *path, uint64_t lease, unsigned flags,
                     etcd_result_f *done, void *arg)
{
    struct buf body;

    assert(lease != 0);
    buf_init(&body, ETCD_BODY_MAX);
    buf_printf(&body, "{\"ID\":\"%" PRIu64 "\"}", lease);
    etcd_send(e, slot, path, &body, ETCD_ONCE | ETCD_REPEATABLE | flags, done,
              arg);
}

void etcd_send_grant(struct etcd *e, struct etcd_request **slot,
                     etcd_result_f *done, void *arg)
{
    struct buf body;

    assert(e->ttl_s > 0);
    buf_init(&body, ETCD_BODY_MAX);
    buf_printf(&body, "{\"TTL\":\"%" PRId64 "\"}", e->ttl_s);
    etcd_send(e, slot, "/v3/lease/grant", &body, ETCD_ONCE | ETCD_REPEATABLE,
              done, arg);
}

bool etcd_granted(const struct etcd_result *result, uint64_t *lease,
                  int64_t *ttl_ms)
{
    uint64_t ttl_s = json_u64(result->root, "TTL", 0);

    *lease = json_u64(result->root, "ID", 0);
    *ttl_ms = ttl_s > INT32_MAX ? 0 : (int64_t)ttl_s * 1000;
    return result->verdict == ETCD_OK && *lease != 0 && *ttl_ms > 0;
}

bool etcd_is_revoked(const struct etcd_result *result)
{
    return result->verdict == ETCD_OK || result->verdict == ETCD_NO_LEASE;
}

/* --- what a keepalive is worth ------------------------------------------- */

bool etcd_renewal_answered(const struct etcd *e, struct etcd_renewal *renewal,
                           const struct etcd_result *result)
{
    if (result->verdict != ETCD_OK)
        return result->verdict != ETCD_NO_LEASE;
    assert(result->sent > 0);
    assert(e->sends > 0);
    if (json_u64(result->root, "TTL", 0) == 0)
        return false; /* the answer for a lease that is gone */
    renewal->sent = result->sent;
    renewal->term = result->term;
    renewal->after = e->sends;
    return true;
}

enum etcd_proof etcd_renewal_proof(const struct etcd *e,
                                   const struct etcd_renewal *renewal)
{
    assert(renewal->after <= e->sends);
    assert(e->quorum.no <= e->sends);
    if (renewal->sent == 0 || e->quorum.no <= renewal->after)
        return ETCD_UNPROVEN;
    return e->quorum.term > renewal->term ? ETCD_REFUTED : ETCD_PROVEN;
}
