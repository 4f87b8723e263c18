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

static void unreadable(struct registry_call *call, int rc)
{
    if (zk_broken(rc)) {
        zk_call_broken(call, false, rc);
    } else {
        zk_call_fail(call, rc == ZNOAUTH ? ERR_DENIED : ERR_UNAVAILABLE,
                     "%s: %s", call->key, zk_error(rc));
    }
}

static void on_get(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX};
    struct registry_entry entry;

    if (q->rc == ZNONODE || (q->rc == ZOK && zk_is_directory(&q->stat))) {
        zk_call_fail(call, ERR_NOT_FOUND, "%s: no such key", call->key);
        return;
    }
    if (q->rc != ZOK) {
        unreadable(call, q->rc);
        return;
    }
    zk_entry(&entry, call->key, q);
    reply.entries = &entry;
    reply.n_entries = 1;
    reply.revision = (uint64_t)q->stat.mzxid;
    zk_call_done(call, &reply);
}

static void on_exists(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX};

    if (q->rc == ZNONODE)
        zk_call_fail(call, ERR_NOT_FOUND, "%s: no such key", call->key);
    else if (q->rc != ZOK)
        unreadable(call, q->rc);
    else
        zk_call_done(call, &reply);
}

static void on_children(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX};
    struct registry_entry *names;

    if (q->rc != ZOK && q->rc != ZNONODE) {
        unreadable(call, q->rc);
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
    struct zookeeper *z = (struct zookeeper *)(void *)call->r;
    char *path = zk_path(z, call->key);
    struct zk_request *q = NULL;

    switch (call->type) {
    case REGISTRY_CALL_GET:
        q = zk_request_new(z, ZK_GET, path, on_get, call);
        break;
    case REGISTRY_CALL_EXISTS:
        q = zk_request_new(z, ZK_EXISTS, path, on_exists, call);
        break;
    case REGISTRY_CALL_CHILDREN:
        q = zk_request_new(z, ZK_CHILDREN, path, on_children, call);
        break;
    case REGISTRY_CALL_LIST:
    case REGISTRY_CALL_TXN:
        break;
    }
    assert(q != NULL);
    zk_catch_up(z);
    q->call = call;
    mem_free(path);
    zk_send(q);
}
