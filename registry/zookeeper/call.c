/*
 * call.c - what callers ask for: taken, counted, answered once.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <stdarg.h>
#include <stdio.h>

static struct zookeeper *of(const struct registry *r)
{
    return (struct zookeeper *)(uintptr_t)r;
}

void zk_call_done(struct registry_call *call,
                  const struct registry_reply *reply)
{
    struct zookeeper *z = of(call->r);
    struct zk_call *c = call->priv;
    bool txn = call->type == REGISTRY_CALL_TXN;

    assert(z->n_calls > 0);
    z->n_calls--;
    z->call_bytes -= call->bytes;
    zk_forget_call(z, call);
    mem_free(c->set_at);
    zk_walk_close(&c->walk);
    registry_call_done(call, reply);
    if (txn)
        zk_holds_txn_done(z);
}

void zk_call_fail(struct registry_call *call, enum err_code code,
                  const char *fmt, ...)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX};
    va_list args;

    reply.err.code = code;
    va_start(args, fmt);
    (void)vsnprintf(reply.err.msg, sizeof(reply.err.msg), fmt, args);
    va_end(args);
    zk_call_done(call, &reply);
}

void zk_call_broken(struct registry_call *call, bool in_doubt, int rc)
{
    const struct zookeeper *z = of(call->r);

    if (in_doubt && rc != ZSESSIONMOVED) {
        zk_call_fail(call, ERR_UNKNOWN,
                     "in flight when the connection to "
                     "ZooKeeper broke: %s",
                     zk_error(rc));
    } else if (zk_stopping(z)) {
        zk_call_fail(call, ERR_CANCELLED, "the registry is being closed");
    } else if (z->ending && call->type == REGISTRY_CALL_TXN) {
        zk_call_fail(call, ERR_SESSION_LOST,
                     "the session ended before it was sent");
    } else {
        zk_call_fail(call, ERR_UNAVAILABLE, "ZooKeeper cannot be reached: %s",
                     zk_error(rc));
    }
}

void zk_submit(struct registry *r, struct registry_call *call)
{
    struct zookeeper *z = of(r);

    if (registry_call_refused(call, z->n_calls, z->call_bytes))
        return;
    if (!zk_usable(z)) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "the registry has no session any more");
        return;
    }
    z->n_calls++;
    z->call_bytes += call->bytes;
    switch (call->type) {
    case REGISTRY_CALL_TXN:
        if (!zk_txn(call)) {
            z->n_calls--;
            z->call_bytes -= call->bytes;
        }
        break;
    case REGISTRY_CALL_LIST:
        zk_list(call);
        break;
    case REGISTRY_CALL_GET:
    case REGISTRY_CALL_EXISTS:
    case REGISTRY_CALL_CHILDREN:
        zk_read(call);
        break;
    }
}
