/*
 * trust.c - is it the store that we know?
 *
 * A store that was restored is not always seen by its revision: others lift it
 * again, or it was lifted on purpose (etcdutl --bump-revision). So there are
 * three signs, all of them in what is asked anyway:
 *
 *   - an answer through the quorum bears a lower revision than was known when
 *     it was asked for, or the id of another cluster: that endpoint is left. If
 *     all that answer are so, the store went back;
 *   - our session's key. Every txn and every read compares that it was written
 *     at the revision that we know, or later: a store that lost that change
 *     does not do what it is asked, and says why;
 *   - when that key is gone, the next session begins with a look at the
 *     revision at which it was written. Who revokes a lease changes nothing in
 *     the past.
 *
 * A stream is not asked anything, so it is opened only where an answer of this
 * kind came after the one before it broke.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"

#include <string.h>

static const char foreign[] = "it belongs to another cluster";
static const char behind[] = "its revision is behind what we have seen: a "
                             "member left behind, or a backup restored";
static const char forgot[] = "it does not know a change that it confirmed";

uint64_t etcd_floor(const struct etcd *e)
{
    uint64_t known = registry_place(&e->base)->position;

    return e->lowered || known < e->revision ? e->revision : known;
}

void etcd_saw_revision(struct etcd *e, uint64_t revision)
{
    if (revision > e->revision)
        e->revision = revision;
}

/* --- endpoints that are astray ------------------------------------------- */

/* Every endpoint that answers is: there is no better one. */
static void all_are(struct etcd *e, const struct etcd_header *h,
                    const char *why)
{
    if (e->strayed == NULL) {
        e->strayed = why; /* the session ends at the next tick */
        registry_fell(&e->base, 0, h->revision, why);
    }
}

const char *etcd_astray(struct etcd *e, const struct etcd_header *h,
                        uint64_t floor, uint64_t generation)
{
    const char *why = e->cluster != 0 && h->cluster != e->cluster ? foreign
                      : h->revision < floor                       ? behind
                                                                  : NULL;

    if (why == NULL) {
        e->cluster = h->cluster;
        return NULL;
    }
    if (!e->astray) {
        e->astray = true;
        e->astray_from = e->given_up;
    }
    etcd_rotate(e, generation, why);
    if (e->given_up - e->astray_from >= e->n_endpoints)
        all_are(e, h, why);
    return why;
}

void etcd_trusts(struct etcd *e, uint64_t no, uint64_t generation,
                 uint64_t revision)
{
    e->trusted.no = no > e->trusted.no ? no : e->trusted.no;
    e->trusted.generation = generation;
    /* Answers overtake each other: only what is higher is news. */
    if (!registry_vouched(&e->base) ||
        revision > registry_place(&e->base)->position)
        (void)registry_at(&e->base, 0, revision);
}

bool etcd_may_follow(const struct etcd *e, uint64_t since)
{
    return e->trusted.generation == e->generation && e->trusted.no > since;
}

void etcd_forget(struct etcd *e)
{
    e->cluster = 0;
    e->revision = 0;
    e->lowered = true;
    e->astray = false;
    e->strayed = NULL;
    e->canary = 0;
    e->foreign = 0;
    e->session.modified = 0;
    memset(e->persistent, 0, sizeof(e->persistent));
}

/* --- our session's key --------------------------------------------------- */

void etcd_put_session_compare(const struct etcd *e, struct buf *b)
{
    etcd_put_compare_since(b, &e->session.key, e->session.modified);
}

static void contradicted(struct etcd *e, const struct etcd_result *result)
{
    registry_fell(&e->base, 0, result->revision, forgot);
    etcd_session_lost(e, forgot);
}

/* The n-th operation looked at a key: was it written before `revision`? 0: it
 * is not there. */
static bool is_older(const cJSON *root, size_t n, uint64_t revision,
                     bool *exists)
{
    cJSON *kvs = etcd_txn_kvs(root, n);
    struct etcd_kv kv;

    *exists =
        kvs != NULL && kvs->child != NULL && etcd_kv_read(kvs->child, &kv);
    return *exists && kv.modified < revision;
}

bool etcd_session_stands(struct etcd *e, const struct etcd_result *result)
{
    bool exists;

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

bool etcd_newest_stands(struct etcd *e, const struct etcd_result *result)
{
    bool exists;

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

static bool is_newest(const struct etcd *e, const char *key, size_t len)
{
    return e->session.newest_at != 0 && len == e->session.newest.len &&
           memcmp(key, e->session.newest.s, len) == 0;
}

bool etcd_is_newest(const struct etcd *e, const struct etcd_key *key)
{
    return is_newest(e, key->s, key->len);
}

bool etcd_is_newest_lost(struct etcd *e, const struct etcd_kv *kv,
                         const struct etcd_result *result)
{
    if (result->newest_at == 0 || result->newest_at != e->session.newest_at ||
        kv->modified >= result->newest_at ||
        !is_newest(e, kv->key, kv->key_len))
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
    etcd_put_session_compare(e, b);
    etcd_txn_then(b);
}

void etcd_guard_close(const struct etcd *e, struct buf *b)
{
    struct etcd_range self = {.key = &e->session.key, .keys_only = true};

    etcd_txn_otherwise(b);
    etcd_put_op_range(b, &self);
    etcd_txn_close(b);
}

bool etcd_guard_held(struct etcd *e, struct etcd_result *result)
{
    if (result->verdict != ETCD_OK ||
        json_bool(result->root, "succeeded", false))
        return result->verdict == ETCD_OK;
    (void)etcd_session_stands(e, result);
    result->verdict = ETCD_UNREACHED;
    result->why = "the session has ended";
    return false;
}

/* --- when it is gone ----------------------------------------------------- */

void etcd_put_inquiry(const struct etcd *e, struct buf *b)
{
    struct etcd_range then = {.key = &e->session.key,
                              .revision = e->session.modified,
                              .keys_only = true};

    etcd_put_range(b, &then);
}

/* At that revision, not before. */
static bool was_written(const struct etcd *e, cJSON *kvs)
{
    struct etcd_kv kv;

    return kvs != NULL && kvs->child != NULL && etcd_kv_read(kvs->child, &kv) &&
           kv.modified == e->session.modified;
}

bool etcd_inquiry_answered(struct etcd *e, const struct etcd_result *result)
{
    switch (result->verdict) {
    case ETCD_OK:
        if (!was_written(e, etcd_kvs(result->root)))
            registry_fell(&e->base, 0, result->revision, forgot);
        return true;
    case ETCD_COMPACTED:
        /* Nobody compacts what was written a moment ago, but who restores with
         * --mark-compacted. */
        if (e->session.sudden) {
            registry_fell(&e->base, 0, registry_place(&e->base)->position,
                          forgot);
        }
        return true;
    case ETCD_MALFORMED: /* a revision to come: the next answer shows it */
        return true;
    default:
        return false;
    }
}
