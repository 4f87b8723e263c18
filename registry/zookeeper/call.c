/*
 * call.c - what callers ask for: taken, counted, answered once.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <utlist.h>

void zk_call_done(struct registry_call *call,
                  const struct registry_reply *reply)
{
    struct zookeeper *z = zk_of(call->r);
    struct zk_call *c = call->priv;
    bool txn = call->type == REGISTRY_CALL_TXN;

    assert(z->call_bytes >= call->bytes);
    assert(z->n_calls > 0);
    z->n_calls--;
    z->call_bytes -= call->bytes;
    if (c->asked > 0)
        zk_forget(z, call);
    mem_free(c->set_at);
    if (c->release != NULL)
        c->release(c);
    registry_call_done(call, reply);
    if (txn)
        zk_holds_txn_done(z);
}

void zk_call_fail(struct registry_call *call, enum err_code code,
                  const char *fmt, ...)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX};
    va_list args;

    assert(code != ERR_OK);
    assert(code != ERR_CONFLICT);
    reply.err.code = code;
    va_start(args, fmt);
    (void)vsnprintf(reply.err.msg, sizeof(reply.err.msg), fmt, args);
    va_end(args);
    zk_call_done(call, &reply);
}

void zk_call_broken(struct registry_call *call, bool in_doubt, int rc)
{
    const struct zookeeper *z = zk_of(call->r);

    assert(zk_broken(rc));
    if (in_doubt && rc != ZSESSIONMOVED) {
        zk_call_fail(call, ERR_UNKNOWN,
                     "in flight when the connection to ZooKeeper broke: %s",
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

void zk_call_refused(struct registry_call *call, const char *key, int rc)
{
    assert(rc != ZOK);
    if (zk_broken(rc)) {
        zk_call_broken(call, false, rc);
    } else {
        zk_call_fail(call,
                     rc == ZNOAUTH         ? ERR_DENIED
                     : rc == ZBADARGUMENTS ? ERR_INVALID
                                           : ERR_UNAVAILABLE,
                     "%s: %s", key, zk_error(rc));
    }
}

bool zk_call_accept(struct registry_call *call)
{
    struct zookeeper *z = zk_of(call->r);

    if (registry_call_refused(call, z->n_calls, z->call_bytes))
        return false;
    if (!zk_usable(z)) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "the registry has no session any more");
        return false;
    }
    z->n_calls++;
    z->call_bytes += call->bytes;
    return true;
}

/* Answering forgets the call's requests: every walk begins anew. */
void zk_calls_refuse_unsent(struct zookeeper *z, enum err_code code,
                            const char *why)
{
    struct zk_request *q;

    do {
        DL_FOREACH (z->queue, q)
            if (q->call != NULL)
                break;
        if (q != NULL)
            zk_call_fail(q->call, code, "%s", why);
    } while (q != NULL);
}
