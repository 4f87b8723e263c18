/*
 * bulk.c - see bulk.h. Design: a change is put into the txn that is being
 * filled, or, if it does not fit, that one is closed and the next one begun. A
 * closed txn is sent as soon as fewer than BULK_FLIGHT are on their way.
 */
#include "restore/bulk.h"

#include "base/mem.h"

#include <string.h>
#include <utlist.h>

#define BULK_FLIGHT 8
#define OP_OVERHEAD 64 /* bytes, beside key and value */

struct txn {
    struct txn *next;
    struct bulk *bulk;
    struct registry_op *ops;
    size_t n, cap, bytes;
    size_t changes;
};

struct bulk {
    struct registry *registry;
    struct registry_lock *locks[BULK_LOCKS];
    size_t n_locks;
    size_t ops_max, bytes_max;
    struct registry_op change[BULK_OPS];
    size_t n_change, change_bytes;
    struct txn *filling;
    struct txn *waiting; /* to be sent */
    struct txn *flying;  /* sent, not answered; their operations are gone */
    size_t n_flying;
    struct bulk_sum sum;
    struct err err;
    bulk_done_f *done;
    void *arg;
};

static void op_free(struct registry_op *op)
{
    mem_free((char *)(uintptr_t)op->key);
    mem_free((char *)(uintptr_t)op->value);
}

static void ops_free(struct txn *t)
{
    for (size_t i = 0; i < t->n; i++)
        op_free(&t->ops[i]);
    MEM_FREE(t->ops);
    t->n = 0;
}

static void txn_free(struct txn *t)
{
    assert(t->bulk != NULL);
    ops_free(t);
    mem_free(t);
}

struct bulk *restore_bulk_new(struct registry *r,
                              struct registry_lock *const *locks,
                              size_t n_locks)
{
    struct bulk *b = mem_zalloc(sizeof(*b));
    assert(r != NULL);
    assert(n_locks <= BULK_LOCKS);
    assert(registry_max_ops(r) >= n_locks + BULK_OPS);
    b->registry = r;
    for (size_t i = 0; i < n_locks; i++)
        b->locks[i] = locks[i];
    b->n_locks = n_locks;
    b->ops_max = registry_max_ops(r);
    b->bytes_max = registry_max_bytes(r);
    return b;
}

void restore_bulk_free(struct bulk **out)
{
    struct bulk *b = *out;
    struct txn *t, *next;

    if (b == NULL)
        return;
    LL_FOREACH_SAFE (b->flying, t, next) {
        registry_forget(b->registry, t);
        txn_free(t);
    }
    LL_FOREACH_SAFE (b->waiting, t, next)
        txn_free(t);
    if (b->filling != NULL)
        txn_free(b->filling);
    for (size_t i = 0; i < b->n_change; i++)
        op_free(&b->change[i]);
    MEM_FREE(*out);
}

/* --- sending ------------------------------------------------------------- */

static void pump(struct bulk *b);

/* What cannot be had now is looked at again; what never can be ends it. */
static bool passes(enum err_code code)
{
    return code == ERR_CONFLICT || code == ERR_NOT_FOUND ||
           code == ERR_UNKNOWN || code == ERR_UNAVAILABLE || code == ERR_FULL;
}

static void judge(struct bulk *b, size_t changes,
                  const struct registry_reply *reply)
{
    enum err_code code = reply->err.code;
    bool lock = code == ERR_CONFLICT && reply->failed_op < b->n_locks;
    assert(changes > 0);
    if (code == ERR_OK) {
        b->sum.applied += changes;
    } else if (passes(code) && !lock) {
        b->sum.again += changes;
    } else if (code == ERR_TOO_LARGE && changes > 1) {
        b->sum.again += changes;
        b->bytes_max /= 2;
    } else if (b->err.code == ERR_OK) {
        b->err = reply->err;
        if (lock)
            err_set(&b->err, ERR_SESSION_LOST, "the lock is not ours");
    }
}

static void on_txn(void *arg, const struct registry_reply *reply)
{
    struct txn *t = arg;
    struct bulk *b = t->bulk;

    assert(b->n_flying > 0 && b->n_flying <= BULK_FLIGHT);
    assert(t->changes > 0);
    b->n_flying--;
    LL_DELETE(b->flying, t);
    judge(b, t->changes, reply);
    txn_free(t);
    pump(b);
}

static void send(struct bulk *b, struct txn *t)
{
    assert(t->changes > 0 && b->n_flying < BULK_FLIGHT);
    b->n_flying++;
    LL_PREPEND(b->flying, t);
    registry_txn(b->registry, t->ops, t->n, on_txn, t);
    ops_free(t); /* the registry has copied them */
}

static void pump(struct bulk *b)
{
    while (b->waiting != NULL && b->n_flying < BULK_FLIGHT) {
        struct txn *t = b->waiting;
        LL_DELETE(b->waiting, t);
        if (b->err.code == ERR_OK)
            send(b, t);
        else
            txn_free(t);
    }
    assert(b->n_flying <= BULK_FLIGHT);
    if (b->n_flying > 0 || b->waiting != NULL || b->done == NULL)
        return;
    bulk_done_f *done = b->done;
    struct bulk_sum sum = b->sum;
    struct err err = b->err;
    b->done = NULL;
    b->sum = (struct bulk_sum){0};
    err_clear(&b->err);
    done(b->arg, &err, &sum);
}

/* --- filling ------------------------------------------------------------- */

static void begin(struct bulk *b)
{
    struct txn *t = mem_zalloc(sizeof(*t));
    assert(b->filling == NULL);
    t->cap = b->ops_max < 256 ? b->ops_max : 256;
    t->ops = mem_array(t->cap, sizeof(*t->ops));
    for (; t->n < b->n_locks; t->n++)
        t->ops[t->n] = registry_op_lock(b->locks[t->n]);
    t->bulk = b;
    b->filling = t;
}

static void close_txn(struct bulk *b)
{
    if (b->filling == NULL)
        return;
    assert(b->filling->changes > 0);
    LL_APPEND(b->waiting, b->filling);
    b->filling = NULL;
    pump(b);
}

static struct registry_op *add_op(struct bulk *b, enum registry_op_type type,
                                  const char *key, uint64_t version)
{
    assert(b->n_change < BULK_OPS);
    struct registry_op *op = &b->change[b->n_change++];
    *op = registry_op_at(type, mem_strdup(key), version);
    b->change_bytes += OP_OVERHEAD + strlen(key);
    return op;
}

void restore_bulk_put(struct bulk *b, const char *key, const struct buf *value,
                      uint64_t version)
{
    assert(value->len > 0 && !value->overflow);
    struct registry_op *op = add_op(b, REGISTRY_PUT, key, version);
    op->value = mem_dup(value->data, value->len);
    op->value_len = value->len;
    b->change_bytes += value->len;
}

void restore_bulk_delete(struct bulk *b, const char *key, uint64_t version)
{
    assert(version != 0);
    (void)add_op(b, REGISTRY_DELETE, key, version);
}

void restore_bulk_add(struct bulk *b)
{
    assert(b->done == NULL && b->n_change > 0);
    struct txn *t = b->filling;
    if (t != NULL && (t->n + b->n_change > b->ops_max ||
                      t->bytes + b->change_bytes > b->bytes_max))
        close_txn(b);
    if (b->filling == NULL)
        begin(b);
    t = b->filling;
    while (t->n + b->n_change > t->cap) {
        t->cap = t->cap * 2 < b->ops_max ? t->cap * 2 : b->ops_max;
        t->ops = mem_regrow(t->ops, t->cap, sizeof(*t->ops));
    }
    memcpy(&t->ops[t->n], b->change, b->n_change * sizeof(*t->ops));
    t->n += b->n_change;
    t->bytes += b->change_bytes;
    assert(t->n <= t->cap && t->cap <= b->ops_max);
    t->changes++;
    b->n_change = 0;
    b->change_bytes = 0;
}

void restore_bulk_wait(struct bulk *b, bulk_done_f *done, void *arg)
{
    assert(done != NULL);
    assert(b->done == NULL && b->n_change == 0);
    close_txn(b);
    b->done = done;
    b->arg = arg;
    pump(b);
}
