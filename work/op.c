/*
 * op.c - reading afresh and writing once.
 *
 * All reads of one run go out together and are decoded as they come; the txn
 * that follows is not sent if the first of them is older than the session
 * timeout or of an earlier session: a version may repeat after a delete, but
 * never within that time.
 */
#include "work/work_priv.h"

#include <inttypes.h>
#include <string.h>

#define UNMARKED_MAX 3 /* reads of a record without its marker */

/* --- reading ------------------------------------------------------------- */

static void item_read(struct work_op *op)
{
    assert(op->verb->of_item);
    assert(op->pending == 0);
    if (work_op_evidence(op))
        return;
    if (op->found)
        op->verb->then(op);
    else
        work_op_reply(op, PROBLEM_WORK_NOT_FOUND, NULL);
}

void work_op_run(struct work_op *op)
{
    const struct op_verb *verb = op->verb;

    assert(op->pending == 0 && !op->finished);
    assert(!verb->of_item || verb->reads == READ(READ_RECORD));
    attempt_begin(&op->attempt, op->w->config.registry,
                  op->w->config.clock->mono);
    op->damaged = false;
    op->check_only = verb->check_only;
    err_clear(&op->trouble);
    if (verb->reads == 0)
        verb->then(op);
    else if (verb->ahead != NULL && work_take_known_floor(op))
        verb->ahead(op);
    else
        work_op_gather(op, verb->reads, verb->of_item ? item_read : verb->then);
}

static int read_record(struct work_op *op, const struct registry_entry *e,
                       struct err *err)
{
    int rc = work_item_read(&op->item, e->value, e->value_len, err);

    assert(!op->found);
    if (rc == 0 && strcmp(op->item.id, op->want.id) != 0) {
        rc = err_set(err, ERR_INVALID, "%s: it says it is work %s", e->key,
                     op->item.id);
    }
    op->item.version = e->version;
    op->found = rc == 0;
    return rc;
}

static int read_entry(struct work_op *op, enum op_read what,
                      const struct registry_entry *e, struct err *err)
{
    int rc;

    switch (what) {
    case READ_RECORD:
        return read_record(op, e, err);
    case READ_MARKER: /* its record says all; only the version counts */
        op->marker_version = e->version;
        return 0;
    case READ_GATE:
        rc = gate_read(&op->gate, e->value, e->value_len, err);
        op->gate.version = e->version;
        op->gate.created = e->created;
        if (rc != 0)
            err_wrap(err, "%s", e->key);
        return rc;
    default:
        assert(what == READ_FLOOR);
        op->floor_version = e->version;
        return work_epoch_floor_read(e->value, e->value_len, &op->floor, err);
    }
}

static void on_read(void *arg, const struct registry_reply *reply)
{
    struct op_slot *slot = arg;
    struct work_op *op = slot->op;
    struct err err = reply->err;

    assert(op->step != NULL);
    if (!work_op_landed(op))
        return;
    if (err.code == ERR_OK) {
        assert(reply->n_entries == 1);
        if (read_entry(op, slot->what, &reply->entries[0], &err) != 0) {
            err.code = ERR_INVALID;
            op->damaged = true;
        }
    } else if (err.code == ERR_NOT_FOUND) {
        err_clear(&err);
    }
    if (err.code != ERR_OK && op->trouble.code == ERR_OK)
        op->trouble = err;
    if (op->pending > 0)
        return;
    if (op->trouble.code != ERR_OK) {
        err = op->trouble;
        work_op_failed(op, &err);
        return;
    }
    op->step(op);
}

/* The key to read. What is not found there stays as it is forgotten here. */
static void forget(struct work_op *op, enum op_read what, char *key)
{
    struct marker m;
    bool order = op->type == OP_GATE;

    assert(what < OP_READS);
    switch (what) {
    case READ_RECORD:
        work_item_close(&op->item);
        op->found = false;
        (void)work_key(op->want.id, key);
        break;
    case READ_MARKER:
        op->marker_version = 0;
        work_marker_of(&m, &op->item);
        (void)work_marker_key(m.kind, m.address, m.id, key);
        break;
    case READ_GATE:
        op->gate = (struct gate){.state = GATE_ABSENT};
        (void)gate_key(order ? op->order.kind : op->want.kind,
                       order ? op->order_address : op->target.address, key,
                       REGISTRY_KEY_MAX + 1);
        break;
    default:
        assert(what == READ_FLOOR);
        op->floor = op->floor_version = 0;
        memcpy(key, EPOCH_FLOOR_KEY, sizeof(EPOCH_FLOOR_KEY));
    }
}

void work_op_gather(struct work_op *op, unsigned reads, op_step_f *step)
{
    char key[REGISTRY_KEY_MAX + 1];

    assert(op->pending == 0 && reads != 0);
    assert(step != NULL && !op->finished);
    op->step = step;
    for (unsigned i = 0; i < OP_READS; i++) {
        if ((reads & READ(i)) != 0) {
            forget(op, (enum op_read)i, key);
            op->pending++;
            registry_get(op->w->config.registry, key, on_read, &op->slots[i]);
        }
    }
}

/* --- building a txn ------------------------------------------------------ */

void work_txn_init(struct op_txn *t)
{
    t->n = 0;
}

/* Where its key belongs; where its value does. */
static char *add(struct op_txn *t, enum registry_op_type type, uint64_t version)
{
    char *key = t->keys[t->n];

    assert(version != 0 || type == REGISTRY_PUT);
    assert(t->n < WORK_TXN_OPS);
    buf_init(&t->values[t->n], WORK_RECORD_MAX);
    t->ops[t->n++] = registry_op_at(type, key, version);
    return key;
}

static struct buf *value_of(struct op_txn *t)
{
    assert(t->n > 0);
    return &t->values[t->n - 1];
}

void work_txn_put_item(struct op_txn *t, const struct work_item *item,
                       uint64_t version)
{
    assert(item->epoch > 0);
    (void)work_key(item->id, add(t, REGISTRY_PUT, version));
    work_item_write(value_of(t), item);
}

void work_txn_check_item(struct op_txn *t, const struct work_item *item)
{
    assert(item->version != 0);
    (void)work_key(item->id, add(t, REGISTRY_CHECK, item->version));
}

void work_txn_put_marker(struct op_txn *t, const struct work_item *item,
                         uint64_t version)
{
    struct marker m;

    work_marker_of(&m, item);
    (void)work_marker_key(m.kind, m.address, m.id,
                          add(t, REGISTRY_PUT, version));
    work_marker_write(value_of(t), &m);
}

void work_txn_delete_marker(struct op_txn *t, const struct work_item *item,
                            uint64_t version)
{
    struct marker m;

    assert(version != 0);
    work_marker_of(&m, item);
    (void)work_marker_key(m.kind, m.address, m.id,
                          add(t, REGISTRY_DELETE, version));
}

void work_txn_put_gate(struct op_txn *t, enum node_kind kind,
                       const char *address, const struct gate *gate,
                       uint64_t version)
{
    assert(gate->state != GATE_ABSENT);
    (void)gate_key(kind, address, add(t, REGISTRY_PUT, version),
                   REGISTRY_KEY_MAX + 1);
    gate_write(value_of(t), gate);
}

void work_txn_target_gate(struct op_txn *t, const struct work_op *op)
{
    struct gate first = {.state = GATE_OPEN, .process = op->process};

    assert(gate_takes(&op->gate, &op->process));
    if (op->gate.state == GATE_ABSENT)
        work_txn_put_gate(t, op->want.kind, op->target.address, &first, 0);
    else
        (void)gate_key(op->want.kind, op->target.address,
                       add(t, REGISTRY_CHECK, op->gate.version),
                       REGISTRY_KEY_MAX + 1);
}

void work_txn_floor(struct op_txn *t, const struct work_op *op)
{
    bool first = op->floor_version == 0;

    assert(op->floor_version != 0 || op->floor == 0);
    memcpy(add(t, first ? REGISTRY_PUT : REGISTRY_CHECK, op->floor_version),
           EPOCH_FLOOR_KEY, sizeof(EPOCH_FLOOR_KEY));
    if (first)
        work_epoch_floor_write(value_of(t), 0);
}

bool work_op_between_writes(struct work_op *op)
{
    bool again;

    assert(op->found);
    again = op->marker_version == 0 && ++op->unmarked < UNMARKED_MAX;
    if (again)
        work_op_again(op);
    return again;
}

bool work_op_epoch_left(struct work_op *op, uint64_t epoch)
{
    struct err err = {0};

    assert(op->pending == 0);
    assert(!op->finished);
    if (work_epoch_left(epoch, op->floor))
        return true;
    err_set(&err, ERR_INVALID,
            "work %s: there is no epoch above %" PRIu64 " (floor %" PRIu64
            " in " EPOCH_FLOOR_KEY ")",
            op->want.id, epoch, op->floor);
    op->damaged = true;
    work_op_failed(op, &err);
    return false;
}

/* --- sending it ---------------------------------------------------------- */

static void on_txn(void *arg, const struct registry_reply *reply)
{
    struct work_op *op = arg;
    enum err_code code = reply->err.code;

    if (!work_op_landed(op))
        return;
    assert(op->won != NULL && op->pending == 0);
    op->writing = false;
    op->made = reply->written;
    if (code == ERR_OK) {
        op->won(op);
    } else if (code == ERR_CONFLICT) {
        work_known_forget(op);
        work_op_again(op);
    } else if (code == ERR_UNKNOWN && !op->check_only) {
        work_op_unknown(op);
    } else {
        work_op_failed(op, &reply->err);
    }
}

/* For whoever waits to see them. */
static void note_keys(struct work_op *op, const struct op_txn *t)
{
    assert(t->n > 0 && t->n <= WORK_TXN_OPS);
    buf_reset(&op->wrote);
    for (size_t i = 0; i < t->n; i++)
        if (t->ops[i].type == REGISTRY_PUT || t->ops[i].type == REGISTRY_DELETE)
            buf_printf(&op->wrote, "%s\n", t->keys[i]);
}

void work_op_send(struct work_op *op, struct op_txn *t, op_step_f *won)
{
    struct registry *r = op->w->config.registry;
    struct err err = {0};

    assert(op->pending == 0 && t->n > 0);
    assert(won != NULL && !op->finished);
    for (size_t i = 0; i < t->n; i++) {
        t->ops[i].value = buf_text(&t->values[i]);
        t->ops[i].value_len = t->values[i].len;
        if (t->values[i].overflow)
            err_set(&err, ERR_TOO_LARGE, "work %s: the record is too large",
                    op->want.id);
    }
    if (err.code == ERR_OK && registry_session(r) == 0)
        err_set(&err, ERR_UNAVAILABLE, "work %s: no registry session",
                op->want.id);
    if (err.code != ERR_OK) {
        work_op_failed(op, &err);
    } else if (!attempt_is_fresh(&op->attempt, r, op->w->config.clock->mono)) {
        work_op_again(op);
    } else {
        note_keys(op, t);
        op->won = won;
        op->writing = !op->check_only;
        op->pending++;
        registry_txn(r, t->ops, t->n, on_txn, op);
    }
    /* By now the operation may be gone; the txn was copied. */
    for (size_t i = 0; i < t->n; i++)
        buf_close(&t->values[i]);
}
