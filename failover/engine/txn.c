/*
 * txn.c - a txn as it is put together. Design: it has the memory of its keys
 * and values until it is sent, so that whoever adds an operation keeps nothing.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"

#include <string.h>

void engine_txn_init(struct txn *t, size_t cap)
{
    assert(cap > 0);
    *t = (struct txn){.cap = cap};
    t->ops = mem_zalloc(cap * sizeof(*t->ops));
    t->keys = mem_zalloc(cap * sizeof(*t->keys));
    t->values = mem_zalloc(cap * sizeof(*t->values));
}

static struct registry_op *add(struct txn *t, enum registry_op_type type)
{
    assert(t->ops != NULL);
    assert(t->n < t->cap);
    struct registry_op *op = &t->ops[t->n];
    op->type = type;
    op->key = t->keys[t->n++];
    return op;
}

void engine_txn_check_lock(struct txn *t, const struct registry_lock *lock)
{
    assert(lock != NULL);
    add(t, REGISTRY_CHECK_LOCK)->lock = lock;
}

char *engine_txn_at(struct txn *t, enum registry_op_type type, uint64_t version)
{
    struct registry_op *op = add(t, type);
    assert(type == REGISTRY_PUT || version != 0);
    op->expect = version == 0 ? REGISTRY_ABSENT : REGISTRY_VERSION;
    op->version = version;
    return t->keys[t->n - 1];
}

char *engine_txn_put(struct txn *t, uint64_t version, struct buf *value)
{
    char *key = engine_txn_at(t, REGISTRY_PUT, version);
    t->ops[t->n - 1].value_len = value->len;
    t->values[t->n - 1] = buf_take(value);
    t->ops[t->n - 1].value = t->values[t->n - 1];
    return key;
}

void engine_txn_floor(struct txn *t, uint64_t version, uint64_t floor)
{
    struct buf value;
    buf_init(&value, 64);
    work_epoch_floor_write(&value, floor);
    memcpy(engine_txn_put(t, version, &value), EPOCH_FLOOR_KEY,
           sizeof(EPOCH_FLOOR_KEY));
}

void engine_txn_close(struct txn *t)
{
    assert(t->n <= t->cap);
    for (size_t i = 0; i < t->n && t->values != NULL; i++)
        mem_free(t->values[i]);
    MEM_FREE(t->ops);
    MEM_FREE(t->keys);
    MEM_FREE(t->values);
}

void engine_txn_send(struct txn *t, struct registry *r, registry_reply_f *done,
                     void *arg)
{
    assert(t->n > 0);
    registry_txn(r, t->ops, t->n, done, arg);
    engine_txn_close(t);
}
