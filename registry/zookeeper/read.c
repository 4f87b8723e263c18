/*
 * read.c - get, exists, children: one request each, behind a sync.
 *
 * A server may be behind the others for as long as it answers by itself: it
 * would tell of an item that it does not exist, and of an epoch that it is not
 * yet. So it catches up with the leader first. One sync serves all reads that
 * wait behind it. (A leader that is cut off still answers both for a while:
 * only a txn proves.)
 */
#include "registry/zookeeper/zookeeper_priv.h"

static void on_get(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX};
    struct registry_entry entry;

    assert(call->type == REGISTRY_CALL_GET);
    if (q->rc == ZNONODE || (q->rc == ZOK && zk_is_directory(&q->stat))) {
        zk_call_fail(call, ERR_NOT_FOUND, "%s: no such key", call->key);
        return;
    }
    if (q->rc != ZOK) {
        zk_call_refused(call, call->key, q->rc);
        return;
    }
    entry = zk_entry(call->key, &q->stat, q->data, q->data_len);
    reply.entries = &entry;
    reply.n_entries = 1;
    reply.revision = (uint64_t)q->stat.mzxid;
    zk_call_done(call, &reply);
}

static void on_exists(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX};

    assert(call->type == REGISTRY_CALL_EXISTS);
    if (q->rc == ZNONODE)
        zk_call_fail(call, ERR_NOT_FOUND, "%s: no such key", call->key);
    else if (q->rc != ZOK)
        zk_call_refused(call, call->key, q->rc);
    else
        zk_call_done(call, &reply);
}

static void on_children(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX};
    struct registry_entry *names;

    assert(call->type == REGISTRY_CALL_CHILDREN);
    if (q->rc != ZOK && q->rc != ZNONODE) {
        zk_call_refused(call, call->key, q->rc);
        return;
    }
    names = mem_zalloc(q->names.n * sizeof(*names));
    for (size_t i = 0; i < q->names.n; i++)
        names[i].key = q->names.items[i];
    reply.entries = names;
    reply.n_entries = q->names.n;
    zk_call_done(call, &reply);
    mem_free(names);
}

void zk_read(struct registry_call *call)
{
    static const struct {
        enum zk_request_type type;
        zk_done_f *done;
    } how[] = {
        [REGISTRY_CALL_GET] = {ZK_GET, on_get},
        [REGISTRY_CALL_EXISTS] = {ZK_EXISTS, on_exists},
        [REGISTRY_CALL_CHILDREN] = {ZK_CHILDREN, on_children},
    };
    struct zookeeper *z = zk_of(call->r);
    struct zk_request *q;

    assert(call->type < ARRAY_LEN(how));
    assert(zk_usable(z));
    q = zk_request_for(z, how[call->type].type, call->key, how[call->type].done,
                       call);
    zk_catch_up(z);
    q->call = call;
    zk_send(q);
}
