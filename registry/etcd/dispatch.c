/*
 * dispatch.c - the interface's calls, in order.
 *
 * HTTP/1.1 gives no order between connections, and one connection would take
 * one call at a time. So calls wait in a queue and begin in its order, many at
 * a time; the first that touches what an earlier one under way writes (or
 * writes what an earlier one looks at) waits for it, and those behind it with
 * it. A list waits for all writes, and everything for a lock that was asked for
 * before until it stands in its queue, or was released, until it is free. To
 * the caller all is as if calls were done one by one in the order in which they
 * were made.
 *
 * A request costs the server much more than a key. So few gets are under way at
 * a time, and those that wait meanwhile are asked together, in one txn.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/mem.h"
#include "base/rand.h"

#include <utlist.h>

#define REQUESTS_MAX 16
#define GETS_MAX     4   /* requests that get */
#define GROUP_MAX    100 /* gets in one */

#define WRITTEN 1u /* in etcd_call.keys */

/* --- order --------------------------------------------------------------- */

static uint64_t key_hash(const char *key, bool written)
{
    return (hash_str(key, 0) & ~(uint64_t)WRITTEN) | (written ? WRITTEN : 0);
}

/* None of a call that meets every write. */
static void note_keys(struct etcd_call *c)
{
    const struct registry_call *call = c->call;
    bool get = call->type == REGISTRY_CALL_GET;
    size_t n = get ? 1 : call->n_ops;

    assert(c->keys == NULL && c->n_keys == 0);
    c->keys = n == 0 ? NULL : mem_array(n, sizeof(*c->keys));
    for (c->n_keys = 0; c->n_keys < n; c->n_keys++) {
        const struct registry_op *op = get ? NULL : &call->ops[c->n_keys];
        bool written = op != NULL && (op->type == REGISTRY_PUT ||
                                      op->type == REGISTRY_DELETE);

        c->writes = c->writes || written;
        c->keys[c->n_keys] =
            key_hash(op == NULL ? call->key : op->key, written);
    }
}

/* Same key, and one of the two writes it. */
static bool keys_meet(const struct etcd_call *a, const struct etcd_call *b)
{
    for (size_t i = 0; i < a->n_keys; i++) {
        for (size_t k = 0; k < b->n_keys; k++) {
            uint64_t x = a->keys[i], y = b->keys[k];

            if (((x ^ y) & ~(uint64_t)WRITTEN) == 0 && ((x | y) & WRITTEN) != 0)
                return true;
        }
    }
    return false;
}

static bool must_wait(const struct etcd *e, const struct etcd_call *c)
{
    const struct etcd_call *r;

    assert(c->seq > 0 && c->seq <= e->last_seq);
    if (etcd_holds_delay(e, c->seq))
        return true;
    for (r = e->running; r != NULL; r = r->next)
        if (c->keys == NULL ? r->writes : keys_meet(c, r))
            return true;
    return false;
}

/* --- ending all ---------------------------------------------------------- */

static void abort_one(struct etcd_call *c, enum err_code unsent,
                      const char *why)
{
    bool sent = etcd_call_close(c);
    struct registry_call *call = c->call;

    if (call->type != REGISTRY_CALL_TXN && unsent == ERR_SESSION_LOST)
        unsent = ERR_UNAVAILABLE; /* reading needs no session */
    if (sent && c->writes)
        registry_call_fail(call, ERR_UNKNOWN, "sent, and then %s", why);
    else
        registry_call_fail(call, unsent, "%s", why);
}

/* Those under way first, then the queue: in the order they were made, as far
 * as that can be known. What callers ask meanwhile is refused or queued
 * behind. */
void etcd_calls_abort(struct etcd *e, enum err_code unsent, const char *why)
{
    struct etcd_call *all = e->running, *c, *next;

    assert(unsent != ERR_OK);
    assert(e->n_running <= e->queued);
    DL_CONCAT(all, e->queue);
    e->running = e->queue = NULL;
    e->n_running = e->n_requests = e->queued = e->queued_bytes = 0;
    DL_FOREACH_SAFE (all, c, next)
        abort_one(c, unsent, why);
}

/* --- the queue ----------------------------------------------------------- */

static bool is_get(const struct etcd_call *c)
{
    return c->call->type == REGISTRY_CALL_GET;
}

/* Not before the turn after it was asked: gets come in bursts, and a burst is
 * one request. */
static bool may_get(struct etcd *e)
{
    const struct etcd_call *c;
    size_t requests = 0; /* that get */

    if (!e->gathered)
        etcd_calls_wake(e);
    for (c = e->running; c != NULL; c = c->next)
        requests += is_get(c) && !c->is_member;
    assert(requests <= e->n_requests);
    return e->gathered && requests < GETS_MAX;
}

/* The first in the queue, which is under way from now on. */
static struct etcd_call *take_first(struct etcd *e)
{
    struct etcd_call *c = e->queue;

    assert(c != NULL);
    assert(e->n_running < e->queued);
    DL_DELETE(e->queue, c);
    DL_PREPEND(e->running, c);
    e->n_running++;
    return c;
}

static void start_gets(struct etcd *e, struct etcd_call *first)
{
    struct etcd_call *last = first;

    assert(first->with == NULL && !first->is_member);
    for (size_t n = 1; n < GROUP_MAX && e->queue != NULL && is_get(e->queue) &&
                       !must_wait(e, e->queue);
         n++) {
        last->with = take_first(e);
        last = last->with;
        last->is_member = true;
    }
    etcd_read_start(first);
}

static void dispatch(struct etcd *e)
{
    struct etcd_call *c;

    while ((c = e->queue) != NULL && e->n_requests < REQUESTS_MAX &&
           e->session.state == ETCD_SESSION_LIVE && !etcd_is_closing(e) &&
           !must_wait(e, c)) {
        if (is_get(c) && !may_get(e))
            return;
        e->n_requests++;
        (void)take_first(e);
        assert(e->n_requests <= e->n_running);
        if (is_get(c))
            start_gets(e, c);
        else if (c->call->type == REGISTRY_CALL_TXN)
            etcd_txn_start(c);
        else
            etcd_read_start(c);
    }
}

void etcd_dispatch_turn(void *arg)
{
    struct etcd *e = arg;

    assert(!e->gathered);
    assert(e->turn.impl == NULL);
    e->gathered = true;
    dispatch(e);
    e->gathered = false;
    if (e->leave_waits && !etcd_is_closing(e))
        etcd_holds_revoke(e);
}

void etcd_submit(struct registry *r, struct registry_call *call)
{
    struct etcd *e = etcd_of(r);
    struct etcd_call *c = call->priv;

    if (registry_call_refused(call, e->queued, e->queued_bytes))
        return;
    c->call = call;
    c->seq = ++e->last_seq;
    note_keys(c);
    assert(e->n_running <= e->queued);
    e->queued++;
    e->queued_bytes += call->bytes;
    DL_APPEND(e->queue, c);
    dispatch(e);
}
