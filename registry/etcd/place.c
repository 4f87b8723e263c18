/*
 * place.c - who stands in a lock's queue.
 *
 * A waiter's key stands directly below the lock's and bears the name of its
 * lease. Keys that stand deeper and bear theirs belong to other locks
 * ("lock/x/1/2040" is no waiter of "lock/x"). What else was there before us is
 * somebody's whose layout we do not know, and is waited for, too: a key of any
 * name directly below the lock, as etcd's own service does; one with a lease
 * deeper, or at the lock's very path. That is said once.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOOK_FIRST 100 /* keys */

enum place { PLACE_NONE, PLACE_WAITER, PLACE_FOREIGN };

static enum place place_of(const struct registry_hold *hold,
                           const struct etcd_kv *kv)
{
    struct etcd_key below;
    const char *name, *last;
    char lease[32];
    size_t len;

    etcd_key_below(&below, etcd_of(hold->r)->ns, hold->key);
    if (kv->key_len <= below.len) /* the lock's own path */
        return kv->lease != 0 ? PLACE_FOREIGN : PLACE_NONE;
    name = kv->key + below.len;
    len = kv->key_len - below.len;
    last = memrchr(name, '/', len);
    last = last == NULL ? name : last + 1;
    len -= (size_t)(last - name);
    (void)snprintf(lease, sizeof(lease), "%" PRIx64, kv->lease);
    if (kv->lease != 0 && strlen(lease) == len && memcmp(lease, last, len) == 0)
        return last == name ? PLACE_WAITER : PLACE_NONE;
    return last == name || kv->lease != 0 ? PLACE_FOREIGN : PLACE_NONE;
}

static void add(const struct registry_hold *hold, const struct json *kvs,
                struct etcd_places *q)
{
    struct etcd_kv kv;

    for (const struct json *i = json_first(kvs); i != NULL; i = i->next) {
        enum place place =
            etcd_kv_read(i, &kv) ? place_of(hold, &kv) : PLACE_NONE;

        if (place == PLACE_NONE)
            continue;
        q->newest =
            q->n == 0 || kv.created > q->newest.created ? kv : q->newest;
        q->oldest =
            q->n == 0 || kv.created < q->oldest.created ? kv : q->oldest;
        q->foreign = place == PLACE_FOREIGN ? kv : q->foreign;
        q->n++;
        assert(q->oldest.created <= q->newest.created);
    }
}

static void tell_foreign(struct etcd *e, const struct registry_hold *hold,
                         const struct etcd_kv *kv)
{
    char key[ETCD_KEY_MAX];

    if (kv->created == 0 || kv->created == e->foreign)
        return;
    e->foreign = kv->created;
    (void)snprintf(key, sizeof(key), "%.*s", (int)kv->key_len, kv->key);
    log_warn("!lock", LOG_S("key", hold->key), LOG_S("stands_there", key),
             LOG_S("reason",
                   kv->lease != 0
                       ? "a key of unknown layout, created before ours: we "
                         "wait until it is gone"
                       : "a key without a lease, which no end of a process "
                         "removes: delete it if nobody means it"));
}

/* Sorted, so that a part is the newest part. */
void etcd_places_ask(const struct registry_hold *hold, struct buf *b,
                     uint64_t created_before)
{
    struct etcd_hold *h = hold->priv;
    struct etcd_key self, below, end;
    struct etcd_range all = {.key = &below,
                             .end = &end,
                             .limit = h->look_max,
                             .created_before = created_before,
                             .newest_first = true};
    struct etcd_range one = {.key = &self, .created_before = created_before};

    if (h->look_max == 0)
        h->look_max = all.limit = LOOK_FIRST;
    assert(all.limit > 0);
    etcd_key_set(&self, etcd_of(hold->r)->ns, hold->key);
    etcd_key_range(&below, &end, etcd_of(hold->r)->ns, hold->key);
    etcd_put_op_range(b, &all);
    etcd_put_op_range(b, &one);
}

bool etcd_places_read(struct registry_hold *hold, const struct json *root,
                      struct etcd_places *q)
{
    struct etcd_hold *h = hold->priv;

    assert(h->look_max > 0);
    memset(q, 0, sizeof(*q));
    add(hold, etcd_txn_kvs(root, 0), q);
    if (q->n == 0 && etcd_txn_more(root, 0)) {
        h->look_max *= 2;
        return false;
    }
    add(hold, etcd_txn_kvs(root, 1), q);
    tell_foreign(etcd_of(hold->r), hold, &q->foreign);
    return true;
}
