/*
 * batch.c - a txn of moves as it is put together, as large as the backend
 * takes: the checks and writes, and whose each of them is. move.c sends it.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"
#include "base/planted.h"

#include <string.h>

#define OPS_PER_ITEM 3  /* record, old marker, new marker */
#define OP_OVERHEAD  64 /* bytes, beside key and value */

void engine_batch_free(struct batch *b)
{
    assert(b->n_items <= b->txn.cap);
    engine_txn_close(&b->txn);
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
    engine_txn_init(&b->txn, all < pass->ops_max ? all : pass->ops_max);
    b->op_item = mem_zalloc(b->txn.cap * sizeof(struct item *));
    b->op_target = mem_zalloc(b->txn.cap * sizeof(struct target *));
    b->items = mem_zalloc(n_items * sizeof(struct item *));
    if (!planted(PLANTED_NO_CHECK_LOCK))
        engine_txn_check_lock(&b->txn, pass->lock);
    return b;
}

void engine_batch_project(const struct item *it, const struct plan_rules *rules,
                          struct work_item *after)
{
    const struct target *t = it->target;
    assert(it->loaded);
    *after = it->work;
    failover_plan_apply(after, rules, it->action,
                        it->action == PLAN_HOLD ? it->cause
                        : t != NULL             ? t->address
                                                : NULL,
                        t != NULL ? &t->gate.process : NULL);
}

/* --- building ------------------------------------------------------------ */

static bool has_target(const struct batch *b, const struct target *t)
{
    for (size_t i = 0; i < b->txn.n; i++)
        if (b->op_target[i] == t)
            return true;
    return false;
}

static void add_gate(struct batch *b, struct target *t)
{
    assert(t->state == TARGET_OPEN);
    assert(t->gate.version != 0);
    if (planted(PLANTED_NO_GATE_CHECK))
        return;
    b->op_target[b->txn.n] = t;
    gate_key(b->pass->e->c.kind, t->address,
             engine_txn_at(&b->txn, REGISTRY_CHECK, t->gate.version),
             REGISTRY_KEY_MAX + 1);
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
        b->op_item[b->txn.n] = it;
        work_marker_key(
            after->kind, from, after->id,
            engine_txn_at(&b->txn, REGISTRY_DELETE, it->marker.version));
    }
    if (finished)
        return;
    buf_init(&value, REGISTRY_VALUE_MAX);
    work_marker_write(&value, &m);
    b->bytes += value.len;
    b->op_item[b->txn.n] = it;
    work_marker_key(
        after->kind, m.address, after->id,
        engine_txn_put(&b->txn, same ? it->marker.version : 0, &value));
}

bool engine_batch_add(struct batch *b, struct item *it,
                      const struct plan_rules *rules)
{
    struct work_item after;
    struct buf value;
    bool gate = it->target != NULL && !has_target(b, it->target);
    assert(it->state == ITEM_PLANNED);
    size_t ops = OPS_PER_ITEM + (gate ? 1 : 0);
    engine_batch_project(it, rules, &after);
    buf_init(&value, REGISTRY_VALUE_MAX);
    work_item_write(&value, &after);
    size_t bytes = value.len + (ops + 1) * (OP_OVERHEAD + REGISTRY_KEY_MAX);
    if (b->txn.n + ops > b->txn.cap ||
        (b->n_items > 0 && b->bytes + bytes > b->pass->bytes_max)) {
        buf_close(&value);
        return false;
    }
    b->bytes += bytes;
    if (gate)
        add_gate(b, it->target);
    b->op_item[b->txn.n] = it;
    work_key(after.id, engine_txn_put(&b->txn, it->work.version, &value));
    add_marker(b, it, &after);
    it->state = ITEM_SENT;
    b->items[b->n_items++] = it;
    return true;
}
