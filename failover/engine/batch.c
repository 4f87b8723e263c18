/*
 * batch.c - moves in txns as large as the backend takes, several in
 * flight. Each checks the lock, every target's gate and every item's version;
 * so it applies as a whole or not at all, and never after somebody else acted.
 */
#include "failover/engine/engine_priv.h"
#include "failover/failpoint.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"

#include <stdio.h>
#include <string.h>

#define OPS_PER_ITEM 3  /* record, old marker, new marker */
#define OP_OVERHEAD  64 /* bytes, beside key and value */

struct batch {
    struct round *round;
    struct registry_op *ops;
    char (*keys)[REGISTRY_KEY_MAX + 1]; /* one per op */
    char **values;                      /* one per op, or NULL */
    /* whose an op is: an item, a target, or nobody's (the lock) */
    struct item **op_item;
    struct target **op_target;
    size_t n_ops, cap;
    size_t bytes;
    struct item **items;
    size_t n_items;
};

static void batch_free(struct batch *b)
{
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

static struct batch *batch_new(struct round *r, size_t n_items)
{
    struct batch *b = mem_zalloc(sizeof(*b));
    size_t all = 1 + n_items * (OPS_PER_ITEM + 1);
    b->round = r;
    b->cap = all < r->ops_max ? all : r->ops_max;
    b->ops = mem_zalloc(b->cap * sizeof(*b->ops));
    b->keys = mem_zalloc(b->cap * sizeof(*b->keys));
    b->values = mem_zalloc(b->cap * sizeof(*b->values));
    b->op_item = mem_zalloc(b->cap * sizeof(struct item *));
    b->op_target = mem_zalloc(b->cap * sizeof(struct target *));
    b->items = mem_zalloc(n_items * sizeof(struct item *));
    return b;
}

void batches_close(struct round *r)
{
    for (size_t i = 0; i < ENGINE_BATCHES; i++) {
        if (r->batches[i] != NULL)
            batch_free(r->batches[i]);
        r->batches[i] = NULL;
    }
    r->n_batches = 0;
}

/* The item as it shall stand; shares the payload of it->work. */
static void project(const struct round *r, const struct item *it,
                    struct work_item *after)
{
    struct plan_rules rules;
    round_rules(r, &rules);
    *after = it->work;
    switch (it->action) {
    case PLAN_MOVE:
    case PLAN_HEIR:
        if (it->target != NULL)
            plan_apply_move(after, &rules, r->failover, it->target->address,
                            &it->target->gate.process);
        else
            plan_apply_wait(after, &rules, r->failover);
        return;
    case PLAN_HOLD:
        plan_apply_hold(after, &rules, r->failover, it->cause);
        return;
    case PLAN_DROP:
        plan_apply_drop(after, &rules, r->failover);
        return;
    }
}

/* --- building ------------------------------------------------------------ */

static struct registry_op *add_op(struct batch *b, enum registry_op_type type,
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
    struct registry_op *op = add_op(b, REGISTRY_PUT, it, NULL);
    op->expect = version == 0 ? REGISTRY_ABSENT : REGISTRY_VERSION;
    op->version = version;
    op->value_len = value->len;
    b->values[b->n_ops - 1] = buf_take(value);
    op->value = b->values[b->n_ops - 1];
}

static bool has_target(const struct batch *b, const struct target *t)
{
    for (size_t i = 0; i < b->n_ops; i++) {
        if (b->op_target[i] == t)
            return true;
    }
    return false;
}

static void add_gate(struct batch *b, struct target *t)
{
    enum node_kind kind = b->round->e->c.kind;
    if (planted(PLANTED_NO_GATE_CHECK))
        return;
    struct registry_op *op = add_op(b, REGISTRY_CHECK, NULL, t);
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
    if (!finished)
        marker_of(&m, after);
    bool same = !finished && strcmp(m.address, from) == 0;
    if (!same && !(planted(PLANTED_NO_VERSION) && it->tries > 0)) {
        struct registry_op *op = add_op(b, REGISTRY_DELETE, it, NULL);
        op->version = it->marker.version;
        marker_key(after->kind, strcmp(from, "-") == 0 ? NULL : from, after->id,
                   b->keys[b->n_ops - 1]);
    }
    if (finished)
        return;
    buf_init(&value, REGISTRY_VALUE_MAX);
    marker_write(&value, &m);
    b->bytes += value.len;
    add_put(b, it, same ? it->marker.version : 0, &value);
    marker_key(after->kind, strcmp(m.address, "-") == 0 ? NULL : m.address,
               after->id, b->keys[b->n_ops - 1]);
    buf_close(&value);
}

/* False: no room for it in this batch. */
static bool batch_add(struct batch *b, struct item *it)
{
    struct round *r = b->round;
    struct work_item after;
    struct buf value;
    bool gate = it->target != NULL && !has_target(b, it->target);
    size_t ops = OPS_PER_ITEM + (gate ? 1 : 0);
    project(r, it, &after);
    buf_init(&value, REGISTRY_VALUE_MAX);
    work_item_write(&value, &after);
    size_t bytes = value.len + (ops + 1) * (OP_OVERHEAD + REGISTRY_KEY_MAX);
    if (b->n_ops + ops > b->cap ||
        (b->n_items > 0 && b->bytes + bytes > r->bytes_max)) {
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

/* --- answers ------------------------------------------------------------- */

static void back_to(struct batch *b, enum item_state state, bool doubt)
{
    for (size_t i = 0; i < b->n_items; i++) {
        b->items[i]->state = state;
        b->items[i]->doubt = b->items[i]->doubt || doubt;
    }
}

static void applied(struct batch *b)
{
    struct round *r = b->round;
    struct work_item after;
    for (size_t i = 0; i < b->n_items; i++) {
        struct item *it = b->items[i];
        project(r, it, &after);
        plan_count(&r->counts, &after, it->action);
        it->given.counted = false; /* it has it */
        it->state = ITEM_SETTLED;
    }
    r->total += b->n_items;
    failpoint_at("engine-mid-move", r->total);
}

/* The whole batch was refused because of one operation. What conflicted is
 * read again and decided anew; the others stand as they were. */
static void conflicted(struct batch *b, size_t op)
{
    struct round *r = b->round;
    back_to(b, ITEM_PLANNED, false);
    if (op >= b->n_ops) { /* not told which one: all of them */
        back_to(b, ITEM_UNREAD, false);
        return;
    }
    if (b->op_item[op] != NULL) {
        b->op_item[op]->state = ITEM_UNREAD;
    } else if (b->op_target[op] != NULL) {
        if (b->op_target[op]->state == TARGET_OPEN)
            b->op_target[op]->state = TARGET_UNREAD;
    } else {
        struct err lost;
        (void)err_set(&lost, ERR_SESSION_LOST, "the lock is not ours");
        round_fail(r, &lost);
    }
}

static void too_large(struct batch *b)
{
    struct round *r = b->round;
    back_to(b, ITEM_PLANNED, false);
    if (b->n_items > 1) {
        r->bytes_max = b->bytes / 2;
        return;
    }
    log_error("!work-too-large", LOG_S("id", b->items[0]->marker.id),
              LOG_U("bytes", b->bytes));
    b->items[0]->state = ITEM_SETTLED;
    r->counts.stuck++;
}

static void on_batch(void *part, size_t index,
                     const struct registry_reply *reply)
{
    struct round *r = part;
    struct batch *b = r->batches[index];
    assert(b != NULL && r->n_batches > 0);
    r->batches[index] = NULL;
    r->n_batches--;
    switch (reply->err.code) {
    case ERR_OK:
        applied(b);
        break;
    case ERR_CONFLICT:
    case ERR_NOT_FOUND:
        conflicted(b, reply->failed_op);
        break;
    case ERR_UNKNOWN: /* it may have been applied, or still be */
        back_to(b, ITEM_UNREAD, true);
        break;
    case ERR_TOO_LARGE:
        too_large(b);
        break;
    default:
        back_to(b, ITEM_PLANNED, false);
        round_fail(r, &reply->err);
        break;
    }
    batch_free(b);
    round_pump(r);
}

/* --- sending ------------------------------------------------------------- */

/* A txn on a read older than the session's timeout, or of an earlier session,
 * is not sent: read again. */
static bool ready(struct round *r, struct item *it)
{
    struct engine *e = r->e;
    if (it->state != ITEM_PLANNED)
        return false;
    if (it->target != NULL && it->target->state != TARGET_OPEN)
        return false;
    if (!engine_is_fresh(e, it->read_at, r->session)) {
        it->state = ITEM_UNREAD;
        return false;
    }
    if (it->target != NULL &&
        !engine_is_fresh(e, it->target->read_at, r->session)) {
        it->target->state = TARGET_UNREAD;
        return false;
    }
    return true;
}

static void send(struct round *r, struct batch *b)
{
    size_t slot = 0;
    while (r->batches[slot] != NULL)
        slot++;
    assert(slot < ENGINE_BATCHES);
    r->batches[slot] = b;
    r->n_batches++;
    failpoint("engine-before-batch");
    registry_txn(r->e->c.registry, b->ops, b->n_ops, call_done,
                 call_new(&r->e->calls, on_batch, r, slot));
    for (size_t i = 0; i < b->cap; i++)
        MEM_FREE(b->values[i]); /* the registry has copied them */
}

/* One more batch; false: nothing is ready. */
static bool send_one(struct round *r, size_t *from)
{
    size_t n = 0;
    for (size_t i = *from; i < r->n_items; i++)
        n += ready(r, &r->items[i]);
    if (n == 0)
        return false;
    struct batch *b = batch_new(r, n);
    if (!planted(PLANTED_NO_CHECK_LOCK))
        add_op(b, REGISTRY_CHECK_LOCK, NULL, NULL)->lock = r->lock;
    for (; *from < r->n_items; (*from)++) {
        if (ready(r, &r->items[*from]) && !batch_add(b, &r->items[*from]))
            break;
    }
    if (b->n_items == 0) { /* one item alone does not fit a txn */
        struct item *it = &r->items[*from];
        log_error("!work-too-large", LOG_S("id", it->marker.id));
        it->state = ITEM_SETTLED;
        r->counts.stuck++;
        batch_free(b);
        return true;
    }
    send(r, b);
    return true;
}

void batch_send(struct round *r)
{
    size_t from = 0;
    /* while targets or items are being read a batch would be a small one */
    if (r->n_busy + r->reading > 0 ||
        !engine_is_fresh(r->e, r->e->c.clock->mono, r->session))
        return;
    while (r->n_batches < ENGINE_BATCHES && send_one(r, &from))
        ;
}
