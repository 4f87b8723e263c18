/*
 * guard.c - the session's key: what every request compares, and what it means
 * when that comparison fails.
 *
 * Two signs that the store is not the one we know (the other is in trust.c):
 *
 *   - every txn and every read compares that our session's key was written at
 *     the revision that we know, or later: a store that lost that change does
 *     not do what it is asked, and says why;
 *   - when that key is gone, the next session begins with a look at the
 *     revision at which it was written. Who revokes a lease changes nothing in
 *     the past.
 *
 * The ephemeral key that we wrote last is looked at likewise.
 */
#include "registry/etcd/etcd_priv.h"

#include <string.h>

static const char forgot[] = "it does not know a change that it confirmed";

/* --- the end of a session ------------------------------------------------ */

/* The store answers, so calls under way have an outcome; it is worth waiting
 * for. Nothing new begins. */
void etcd_session_lost(struct etcd *e, const char *why)
{
    assert(why != NULL);
    if (e->session.state == ETCD_SESSION_LIVE && !etcd_is_closing(e)) {
        assert(e->session.lease != 0);
        e->session.state = ETCD_SESSION_LOSING;
        e->session.why = why;
        e->session.sudden = etcd_now(e) - e->base.answered < e->session.ttl_ms;
        (void)etcd_request_cancel(&e->session.request);
        assert(e->session.request == NULL);
    }
}

void etcd_session_prove(struct registry *r)
{
    struct etcd *e = etcd_of(r);

    if (e->session.state == ETCD_SESSION_LIVE)
        e->session.due = etcd_now(e);
}

/* --- our session's key --------------------------------------------------- */

void etcd_put_session_compare(const struct etcd *e, struct buf *b)
{
    etcd_put_compare(b, ETCD_SINCE, &e->session.key, NULL, e->session.modified);
}

static void contradicted(struct etcd *e, const struct etcd_result *result)
{
    assert(result->verdict == ETCD_OK);
    registry_report_rollback(&e->base, 0, result->revision, forgot);
    etcd_session_lost(e, forgot);
}

/* The n-th operation looked at a key: was it written before `revision`? */
static bool is_older(const struct json *root, size_t n, uint64_t revision,
                     bool *exists)
{
    struct etcd_kv kv;

    assert(revision > 0);
    *exists = etcd_txn_kv(root, n, &kv);
    return *exists && kv.modified < revision;
}

bool etcd_session_key_exists(struct etcd *e, const struct etcd_result *result)
{
    bool exists;

    assert(result->verdict == ETCD_OK);
    if (e->session.state != ETCD_SESSION_LIVE)
        return false; /* known already */
    if (is_older(result->root, 0, result->modified, &exists)) {
        contradicted(e, result);
        return false;
    }
    if (!exists)
        etcd_session_lost(e, "its key is gone");
    return exists;
}

bool etcd_newest_is_known(struct etcd *e, const struct etcd_result *result)
{
    bool exists;

    assert(result->verdict == ETCD_OK);
    if (result->newest_at == 0)
        return true;
    if (is_older(result->root, 1, result->newest_at, &exists)) {
        contradicted(e, result);
        return false;
    }
    if (result->newest_at == e->session.newest_at)
        e->session.newest_at = 0; /* somebody deleted it, as is their right */
    return true;
}

bool etcd_is_newest(const struct etcd *e, const char *key, size_t len)
{
    return e->session.newest_at != 0 && len == e->session.newest.len &&
           memcmp(key, e->session.newest.s, len) == 0;
}

bool etcd_newest_went_back(struct etcd *e, const struct etcd_kv *kv,
                           const struct etcd_result *result)
{
    if (result->newest_at == 0 || result->newest_at != e->session.newest_at ||
        kv->modified >= result->newest_at ||
        !etcd_is_newest(e, kv->key, kv->key_len))
        return false;
    contradicted(e, result);
    return true;
}

void etcd_wrote_ephemeral(struct etcd *e, const char *key, uint64_t revision)
{
    if (revision > e->session.newest_at) {
        etcd_key_set(&e->session.newest, e->ns, key);
        e->session.newest_at = revision;
    }
    assert(e->session.newest_at >= revision);
}

void etcd_put_guarded(const struct etcd *e, struct buf *b,
                      const struct etcd_range *range)
{
    etcd_guard_begin(e, b);
    etcd_put_op_range(b, range);
    etcd_guard_close(e, b);
}

void etcd_guard_begin(const struct etcd *e, struct buf *b)
{
    etcd_txn_begin(b);
    assert(e->session.key.len > 0);
    etcd_put_session_compare(e, b);
    etcd_txn_then(b);
}

void etcd_guard_close(const struct etcd *e, struct buf *b)
{
    struct etcd_range self = {.key = &e->session.key, .keys_only = true};

    etcd_txn_otherwise(b);
    etcd_put_op_range(b, &self);
}

bool etcd_guard_held(struct etcd *e, struct etcd_result *result)
{
    if (result->verdict != ETCD_OK || etcd_succeeded(result->root))
        return result->verdict == ETCD_OK;
    (void)etcd_session_key_exists(e, result);
    result->verdict = ETCD_UNREACHED;
    result->why = "the session has ended";
    assert(result->verdict != ETCD_OK);
    return false;
}

/* --- when it is gone ----------------------------------------------------- */

void etcd_put_inquiry(const struct etcd *e, struct buf *b)
{
    struct etcd_range then = {.key = &e->session.key,
                              .revision = e->session.modified,
                              .keys_only = true};

    assert(e->session.modified > 0);
    etcd_txn_begin(b);
    etcd_txn_then(b);
    etcd_put_op_range(b, &then);
}

/* At that revision, not before. */
static bool was_written(const struct etcd *e, const struct json *txn)
{
    struct etcd_kv kv;

    assert(e->session.modified > 0);
    return etcd_txn_kv(txn, 0, &kv) && kv.modified == e->session.modified;
}

bool etcd_inquiry_answered(struct etcd *e, const struct etcd_result *result)
{
    bool compacted = result->verdict == ETCD_COMPACTED;

    if (result->verdict == ETCD_OK && !was_written(e, result->root)) {
        registry_report_rollback(&e->base, 0, result->revision, forgot);
    } else if (compacted && e->session.sudden) {
        /* Nobody compacts what was written a moment ago, but who restores with
         * --mark-compacted. */
        registry_report_rollback(&e->base, 0,
                                 registry_place(&e->base)->position, forgot);
    }
    /* Malformed is a revision to come: the next answer shows it. */
    return result->verdict == ETCD_OK || compacted ||
           result->verdict == ETCD_MALFORMED;
}
