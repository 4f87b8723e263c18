/*
 * call.c - the interface's calls, in order.
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

#include <string.h>

#define REQUESTS_MAX 16
#define GETS_MAX     4   /* requests that get */
#define GROUP_MAX    100 /* gets in one */

#define WRITTEN 1u /* in etcd_call.keys */

/* --- order --------------------------------------------------------------- */

static uint64_t key_hash(const char *key, bool written)
{
    return (hash_str(key, 0) & ~(uint64_t)WRITTEN) | (written ? WRITTEN : 0);
}

static void note_keys(struct etcd_call *c)
{
    const struct registry_call *call = c->call;

    if (call->type == REGISTRY_CALL_GET) {
        c->keys = mem_array(1, sizeof(*c->keys));
        c->keys[c->n_keys++] = key_hash(call->key, false);
    } else if (call->type == REGISTRY_CALL_TXN) {
        c->keys = mem_array(call->n_ops, sizeof(*c->keys));
        for (size_t i = 0; i < call->n_ops; i++) {
            bool written = call->ops[i].type == REGISTRY_PUT ||
                           call->ops[i].type == REGISTRY_DELETE;

            c->writes = c->writes || written;
            c->keys[c->n_keys++] = key_hash(call->ops[i].key, written);
        }
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

    if (etcd_holds_settling(e, c->seq))
        return true;
    for (r = e->running; r != NULL; r = r->next)
        if (c->keys == NULL ? r->writes : keys_meet(c, r))
            return true;
    return false;
}

bool etcd_calls_before(const struct etcd *e, uint64_t seq)
{
    const struct etcd_call *c;

    for (c = e->running; c != NULL; c = c->next)
        if (c->seq <= seq)
            return true;
    return e->queue != NULL && e->queue->seq <= seq;
}

/* --- answering ----------------------------------------------------------- */

static void call_close(struct etcd_call *c)
{
    (void)etcd_ask_cancel(&c->ask);
    MEM_FREE(c->keys);
    buf_close(&c->names);
}

static void take_off(struct etcd *e, struct etcd_call *c)
{
    struct etcd_call **at = &e->running;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    e->n_running--;
    e->n_requests -= c->is_member ? 0 : 1;
    e->queued--;
    e->queued_bytes -= c->call->bytes;
}

void etcd_call_answer(struct etcd_call *c, const struct registry_reply *reply)
{
    struct etcd *e = etcd_of(c->call->r);

    take_off(e, c);
    call_close(c);
    registry_call_done(c->call, reply);
    etcd_pump(e);
    if (e->leave_waits && !etcd_over(e))
        etcd_holds_revoke(e);
}

void etcd_call_refuse(struct etcd_call *c, size_t failed_op)
{
    struct registry_call *call = c->call;

    take_off(etcd_of(call->r), c);
    call_close(c);
    call->limit = failed_op;
    registry_call_fail_later(call, ERR_CONFLICT,
                             "operation %zu: the lock is not ours", failed_op);
}

static enum err_code code_of(const struct etcd_call *c,
                             enum etcd_verdict verdict)
{
    switch (verdict) {
    case ETCD_BROKEN:
        return c->writes ? ERR_UNKNOWN : ERR_UNAVAILABLE;
    case ETCD_TOKEN:
    case ETCD_DENIED:
        return ERR_DENIED;
    case ETCD_NO_LEASE:
        return ERR_SESSION_LOST;
    case ETCD_TOO_LARGE:
        return ERR_TOO_LARGE;
    case ETCD_MALFORMED:
        return ERR_INVALID;
    case ETCD_OK:
    case ETCD_UNREACHED:
    case ETCD_NOT_HERE:
    case ETCD_COMPACTED:
    case ETCD_NO_SPACE:
        break;
    }
    return ERR_UNAVAILABLE;
}

void etcd_call_failed(struct etcd_call *c, const struct etcd_result *result)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX};

    (void)err_set(&reply.err, code_of(c, result->verdict), "etcd: %s",
                  result->why);
    etcd_call_answer(c, &reply);
}

static void abort_one(struct etcd_call *c, enum err_code unsent,
                      const char *why)
{
    bool sent = etcd_ask_cancel(&c->ask);
    struct registry_call *call = c->call;
    bool writes = c->writes;

    call_close(c);
    if (call->type != REGISTRY_CALL_TXN && unsent == ERR_SESSION_LOST)
        unsent = ERR_UNAVAILABLE; /* reading needs no session */
    if (sent && writes)
        registry_call_fail(call, ERR_UNKNOWN, "sent, and then %s", why);
    else
        registry_call_fail(call, unsent, "%s", why);
}

/* Those under way first, then the queue: in the order they were made, as far
 * as that can be known. What callers ask meanwhile is refused or queued
 * behind. */
void etcd_calls_abort(struct etcd *e, enum err_code unsent, const char *why)
{
    struct etcd_call *running = e->running, *queue = e->queue, *c;

    e->running = e->queue = NULL;
    e->queue_tail = &e->queue;
    e->n_running = e->n_requests = e->queued = e->queued_bytes = 0;
    while ((c = running) != NULL) {
        running = c->next;
        abort_one(c, unsent, why);
    }
    while ((c = queue) != NULL) {
        queue = c->next;
        abort_one(c, unsent, why);
    }
}

void etcd_calls_drop(struct etcd *e)
{
    struct etcd_call *c;

    for (c = e->running; c != NULL; c = c->next)
        call_close(c);
    for (c = e->queue; c != NULL; c = c->next)
        call_close(c);
    e->running = e->queue = NULL;
}

/* --- the queue ----------------------------------------------------------- */

static bool is_get(const struct etcd_call *c)
{
    return c->call->type == REGISTRY_CALL_GET;
}

static size_t requests_that_get(const struct etcd *e)
{
    const struct etcd_call *c;
    size_t n = 0;

    for (c = e->running; c != NULL; c = c->next)
        n += is_get(c) && !c->is_member;
    return n;
}

static void on_turn(void *arg)
{
    struct etcd *e = arg;

    e->gather = ETCD_GATHERED;
    etcd_pump(e);
    if (e->gather == ETCD_GATHERED)
        e->gather = ETCD_GATHER_NONE;
}

/* The next turn at the earliest: gets come in bursts, and a burst is one
 * request. */
static bool may_get(struct etcd *e)
{
    if (e->gather == ETCD_GATHER_NONE) {
        e->gather = ETCD_GATHERING;
        registry_timer_start(&e->base, &e->gather_turn, 0, on_turn, e);
    }
    return e->gather == ETCD_GATHERED && requests_that_get(e) < GETS_MAX;
}

/* The first in the queue, which is under way from now on. */
static struct etcd_call *take_first(struct etcd *e)
{
    struct etcd_call *c = e->queue;

    e->queue = c->next;
    if (e->queue == NULL)
        e->queue_tail = &e->queue;
    c->next = e->running;
    e->running = c;
    e->n_running++;
    return c;
}

static void start_gets(struct etcd *e, struct etcd_call *first)
{
    struct etcd_call *last = first;

    for (size_t n = 1; n < GROUP_MAX && e->queue != NULL && is_get(e->queue) &&
                       !must_wait(e, e->queue);
         n++) {
        last->with = take_first(e);
        last = last->with;
        last->is_member = true;
    }
    etcd_read_start(first);
}

void etcd_pump(struct etcd *e)
{
    struct etcd_call *c;

    while ((c = e->queue) != NULL && e->n_requests < REQUESTS_MAX &&
           e->session.state == ETCD_SESSION_LIVE && !etcd_over(e) &&
           !must_wait(e, c)) {
        if (is_get(c) && !may_get(e))
            return;
        e->n_requests++;
        (void)take_first(e);
        if (is_get(c))
            start_gets(e, c);
        else if (c->call->type == REGISTRY_CALL_TXN)
            etcd_txn_start(c);
        else
            etcd_read_start(c);
    }
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
    e->queued++;
    e->queued_bytes += call->bytes;
    c->next = NULL;
    *e->queue_tail = c;
    e->queue_tail = &c->next;
    etcd_pump(e);
}
