/*
 * batch.c - a txn of moves as it is put together, as large as the backend
 * takes: the checks and writes, and whose each of them is. move.c sends it.
 */
#include "failover/engine/engine_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"

#include <stdio.h>
#include <string.h>

#define OPS_PER_ITEM 3  /* record, old marker, new marker */
#define OP_OVERHEAD  64 /* bytes, beside key and value */

void engine_batch_free(struct batch *b)
{
    assert(b->n_ops <= b->cap);
    for (size_t i = 0; i < b->cap; i++)
        mem_free(b->values[i]);
    mem_free(b->ops);
    mem_free(b->keys);
    mem_free(b->values);
    mem_free(b->op_item);
    mem_free(b->op_target);
    mem_free(b->items);
    mem_free(b);
}

struct batch *engine_batch_new(struct move_pass *pass, size_t n_items)
{
    struct batch *b = mem_zalloc(sizeof(*b));
    size_t all = 1 + n_items * (OPS_PER_ITEM + 1);
    assert(n_items > 0);
    b->pass = pass;
    b->cap = all < pass->ops_max ? all : pass->ops_max;
    b->ops = mem_zalloc(b->cap * sizeof(*b->ops));
    b->keys = mem_zalloc(b->cap * sizeof(*b->keys));
    b->values = mem_zalloc(b->cap * sizeof(*b->values));
    b->op_item = mem_zalloc(b->cap * sizeof(struct item *));
    b->op_target = mem_zalloc(b->cap * sizeof(struct target *));
    b->items = mem_zalloc(n_items * sizeof(struct item *));
    return b;
}

/* The item as it shall stand; shares the payload of it->work. */
void engine_batch_project(const struct move_pass *pass, const struct item *it,
                          const struct plan_rules *rules,
                          struct work_item *after)
{
    *after = it->work;
    switch (it->action) {
    case PLAN_MOVE:
    case PLAN_HEIR:
        if (it->target != NULL)
            failover_plan_apply_move(after, rules, pass->failover,
                                     it->target->address,
                                     &it->target->gate.process);
        else
            failover_plan_apply_wait(after, rules, pass->failover);
        return;
    case PLAN_HOLD:
        failover_plan_apply_hold(after, rules, pass->failover, it->cause);
        return;
    case PLAN_DROP:
        failover_plan_apply_drop(after, rules, pass->failover);
        return;
    }
}

/* --- building ------------------------------------------------------------ */

struct registry_op *engine_batch_op(struct batch *b, enum registry_op_type type,
                                    struct item *it, struct target *t)
{
    assert(b->n_ops < b->cap);
    b->op_item[b->n_ops] = it;
    b->op_target[b->n_ops] = t;
    struct registry_op *op = &b->ops[b->n_ops++];
    op->type = type;
    op->expect = REGISTRY_VERSION;
    op->key = b->keys[b->n_ops - 1];
    return op;
}

/* Takes `value`'s memory. */
static void add_put(struct batch *b, struct item *it, uint64_t version,
                    struct buf *value)
{
    struct registry_op *op = engine_batch_op(b, REGISTRY_PUT, it, NULL);
    op->expect = version == 0 ? REGISTRY_ABSENT : REGISTRY_VERSION;
    op->version = version;
    op->value_len = value->len;
    b->values[b->n_ops - 1] = buf_take(value);
    op->value = b->values[b->n_ops - 1];
}

static bool has_target(const struct batch *b, const struct target *t)
{
    for (size_t i = 0; i < b->n_ops; i++)
        if (b->op_target[i] == t)
            return true;
    return false;
}

static void add_gate(struct batch *b, struct target *t)
{
    enum node_kind kind = b->pass->e->c.kind;
    assert(t->state == TARGET_OPEN);
    assert(t->gate.version != 0);
    if (planted(PLANTED_NO_GATE_CHECK))
        return;
    struct registry_op *op = engine_batch_op(b, REGISTRY_CHECK, NULL, t);
    op->version = t->gate.version;
    gate_key(kind, t->address, b->keys[b->n_ops - 1], REGISTRY_KEY_MAX + 1);
    b->bytes += REGISTRY_KEY_MAX;
}

/* Its marker: moved, or written over where the address stays the same, since
 * a key stands in a txn at most once. */
static void add_marker(struct batch *b, struct item *it,
                       const struct work_item *after)
{
    const char *from = it->marker.address;
    struct marker m;
    struct buf value;
    bool finished = after->state == WORK_DROPPED;
    assert(it->state == ITEM_PLANNED);
    assert(it->marker.version != 0);
    if (!finished)
        work_marker_of(&m, after);
    bool same = !finished && strcmp(m.address, from) == 0;
    if (!same && !(planted(PLANTED_NO_VERSION) && it->tries > 0)) {
        struct registry_op *op = engine_batch_op(b, REGISTRY_DELETE, it, NULL);
        op->version = it->marker.version;
        work_marker_key(after->kind, strcmp(from, "-") == 0 ? NULL : from,
                        after->id, b->keys[b->n_ops - 1]);
    }
    if (finished)
        return;
    buf_init(&value, REGISTRY_VALUE_MAX);
    work_marker_write(&value, &m);
    b->bytes += value.len;
    add_put(b, it, same ? it->marker.version : 0, &value);
    work_marker_key(after->kind, strcmp(m.address, "-") == 0 ? NULL : m.address,
                    after->id, b->keys[b->n_ops - 1]);
    buf_close(&value);
}

/* False: no room for it in this batch. */
bool engine_batch_add(struct batch *b, struct item *it,
                      const struct plan_rules *rules)
{
    struct move_pass *pass = b->pass;
    struct work_item after;
    struct buf value;
    bool gate = it->target != NULL && !has_target(b, it->target);
    assert(it->state == ITEM_PLANNED);
    size_t ops = OPS_PER_ITEM + (gate ? 1 : 0);
    engine_batch_project(pass, it, rules, &after);
    buf_init(&value, REGISTRY_VALUE_MAX);
    work_item_write(&value, &after);
    size_t bytes = value.len + (ops + 1) * (OP_OVERHEAD + REGISTRY_KEY_MAX);
    if (b->n_ops + ops > b->cap ||
        (b->n_items > 0 && b->bytes + bytes > pass->bytes_max)) {
        buf_close(&value);
        return false;
    }
    b->bytes += bytes;
    if (gate)
        add_gate(b, it->target);
    add_put(b, it, it->work.version, &value);
    work_key(after.id, b->keys[b->n_ops - 1]);
    add_marker(b, it, &after);
    buf_close(&value);
    it->state = ITEM_SENT;
    b->items[b->n_items++] = it;
    return true;
}
