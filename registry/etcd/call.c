/*
 * call.c - one call under way, and its answer.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/mem.h"

#include <utlist.h>

bool etcd_calls_before(const struct etcd *e, uint64_t seq)
{
    const struct etcd_call *c;

    assert(seq <= e->last_seq);
    for (c = e->running; c != NULL; c = c->next)
        if (c->seq <= seq)
            return true;
    return e->queue != NULL && e->queue->seq <= seq;
}

void etcd_calls_wake(struct etcd *e)
{
    assert(e->dispatch != NULL);
    if (e->turn.impl == NULL && !etcd_is_closing(e))
        registry_timer_start(&e->base, &e->turn, 0, e->dispatch, e);
}

bool etcd_call_close(struct etcd_call *c)
{
    bool sent = etcd_request_cancel(&c->request);

    MEM_FREE(c->keys);
    buf_close(&c->names);
    assert(c->request == NULL);
    return sent;
}

static void take_off(struct etcd *e, struct etcd_call *c)
{
    assert(e->n_running > 0);
    assert(e->queued >= e->n_running);
    assert(e->queued_bytes >= c->call->bytes);
    assert(c->is_member || e->n_requests > 0);
    DL_DELETE(e->running, c);
    e->n_running--;
    e->n_requests -= c->is_member ? 0 : 1;
    e->queued--;
    e->queued_bytes -= c->call->bytes;
    assert(e->n_requests <= e->n_running);
}

void etcd_call_answer(struct etcd_call *c, const struct registry_reply *reply)
{
    struct etcd *e = etcd_of(c->call->r);

    assert(c->request == NULL);
    take_off(e, c);
    (void)etcd_call_close(c);
    registry_call_done(c->call, reply);
    etcd_calls_wake(e);
}

void etcd_call_refuse(struct etcd_call *c, size_t failed_op)
{
    struct registry_call *call = c->call;

    assert(failed_op < call->n_ops);
    take_off(etcd_of(call->r), c);
    (void)etcd_call_close(c);
    call->limit = failed_op;
    registry_call_fail_later(call, ERR_CONFLICT,
                             "operation %zu: the lock is not ours", failed_op);
}

static enum err_code code_of(const struct etcd_call *c,
                             enum etcd_verdict verdict)
{
    static const enum err_code codes[] = {
        [ETCD_TOKEN] = ERR_DENIED,          [ETCD_DENIED] = ERR_DENIED,
        [ETCD_NO_LEASE] = ERR_SESSION_LOST, [ETCD_TOO_LARGE] = ERR_TOO_LARGE,
        [ETCD_MALFORMED] = ERR_INVALID, /* the last of the verdicts */
    };

    assert(verdict > ETCD_OK && verdict <= ETCD_MALFORMED);
    if (verdict == ETCD_BROKEN && c->writes)
        return ERR_UNKNOWN;
    return codes[verdict] != ERR_OK ? codes[verdict] : ERR_UNAVAILABLE;
}

void etcd_call_failed(struct etcd_call *c, enum etcd_verdict verdict,
                      const char *why)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX};

    assert(verdict != ETCD_OK);
    assert(why != NULL);
    err_set(&reply.err, code_of(c, verdict), "etcd: %s", why);
    etcd_call_answer(c, &reply);
}
