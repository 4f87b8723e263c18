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

static void answer_get(struct registry_call *call, const struct zk_request *q)
{
    struct registry_entry entry =
        zk_entry(call->key, &q->stat, q->data, q->data_len);
    struct registry_reply reply = {.failed_op = SIZE_MAX,
                                   .entries = &entry,
                                   .n_entries = 1,
                                   .revision = (uint64_t)q->stat.mzxid};

    assert(q->rc == ZOK);
    zk_call_done(call, &reply);
}

/* Of children; none where the node is missing, or was asked for alone. */
static void answer_names(struct registry_call *call, const struct zk_names *n)
{
    struct registry_entry *names = mem_array(n->n, sizeof(*names));
    struct registry_reply reply = {
        .failed_op = SIZE_MAX, .entries = names, .n_entries = n->n};

    assert(n->n == 0 || call->type == REGISTRY_CALL_CHILDREN);
    for (size_t i = 0; i < n->n; i++)
        names[i] = (struct registry_entry){.key = n->items[i]};
    zk_call_done(call, &reply);
    mem_free(names);
}

static void on_answer(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    bool get = call->type == REGISTRY_CALL_GET;
    bool missing =
        q->rc == ZNONODE || (get && q->rc == ZOK && zk_is_directory(&q->stat));

    if (q->rc != ZOK && q->rc != ZNONODE)
        zk_call_refused(call, call->key, q->rc);
    else if (missing && call->type != REGISTRY_CALL_CHILDREN)
        zk_call_fail(call, ERR_NOT_FOUND, "%s: no such key", call->key);
    else if (get)
        answer_get(call, q);
    else
        answer_names(call, &q->names);
}

void zk_read(struct registry_call *call)
{
    static const enum zk_request_type types[] = {
        [REGISTRY_CALL_GET] = ZK_GET,
        [REGISTRY_CALL_EXISTS] = ZK_EXISTS,
        [REGISTRY_CALL_CHILDREN] = ZK_CHILDREN,
    };
    struct zookeeper *z = zk_of(call->r);
    struct zk_request *q;

    assert(call->type < ARRAY_LEN(types));
    assert(zk_usable(z));
    q = zk_request_for(z, types[call->type], call->key, on_answer, call);
    zk_catch_up(z);
    q->call = call;
    zk_send(q);
}
