/*
 * op.c - reading afresh and writing once.
 *
 * All reads of one run go out together and are decoded as they come; the txn
 * that follows is not sent if the first of them is older than the session
 * timeout or of an earlier session: a version may repeat after a delete, but
 * never within that time.
 */
#include "work/work_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

/* --- reading ------------------------------------------------------------- */

void work_op_begin(struct work_op *op)
{
    struct registry *r = op->w->config.registry;

    assert(op->pending == 0 && !op->finished);
    op->session = registry_session(r);
    op->read_at = op->w->config.clock->mono;
    op->damaged = false;
    op->check_only = false;
    err_clear(&op->trouble);
}

static int read_record(struct work_op *op, const struct registry_entry *e,
                       struct err *err)
{
    int rc = work_item_read(&op->item, e->value, e->value_len, err);

    if (rc == 0 && strcmp(op->item.id, op->want.id) != 0) {
        rc = (int)err_set(err, ERR_INVALID, "%s: it says it is work %s", e->key,
                          op->item.id);
    }
    op->item.version = e->version;
    op->found = rc == 0;
    return rc;
}

static int read_entry(struct work_op *op, enum op_read what,
                      const struct registry_entry *e, struct err *err)
{
    int rc = 0;

    switch (what) {
    case READ_RECORD:
        return read_record(op, e, err);
    case READ_MARKER: /* its record says all; only the version counts */
        op->marker_version = e->version;
        return 0;
    case READ_GATE:
        rc = gate_read(&op->gate, e->value, e->value_len, err);
        op->gate.version = e->version;
        if (rc != 0)
            (void)err_wrap(err, "%s", e->key);
        return rc;
    case READ_FLOOR:
        op->floor_version = e->version;
        return work_epoch_floor_read(e->value, e->value_len, &op->floor, err);
    case OP_READS:
        break;
    }
    assert(what != OP_READS);
    return rc;
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

static void read_key(const struct work_op *op, enum op_read what, char *key)
{
    struct marker m;

    switch (what) {
    case READ_RECORD:
        (void)work_key(op->want.id, key);
        break;
    case READ_MARKER:
        work_marker_of(&m, &op->item);
        (void)work_marker_key(m.kind, m.address, m.id, key);
        break;
    case READ_GATE:
        if (op->type == OP_GATE) {
            (void)gate_key(op->order.kind, op->order_address, key,
                           REGISTRY_KEY_MAX + 1);
        } else {
            (void)gate_key(op->want.kind, op->target.address, key,
                           REGISTRY_KEY_MAX + 1);
        }
        break;
    case READ_FLOOR:
        memcpy(key, EPOCH_FLOOR_KEY, sizeof(EPOCH_FLOOR_KEY));
        break;
    case OP_READS:
        break;
    }
}

/* What is not found stays as it is forgotten here. */
static void forget(struct work_op *op, enum op_read what)
{
    switch (what) {
    case READ_RECORD:
        work_item_close(&op->item);
        op->found = false;
        break;
    case READ_MARKER:
        op->marker_version = 0;
        break;
    case READ_GATE:
        op->gate = (struct gate){.state = GATE_ABSENT};
        break;
    case READ_FLOOR:
        op->floor = 0;
        op->floor_version = 0;
        break;
    case OP_READS:
        break;
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
            forget(op, (enum op_read)i);
            read_key(op, (enum op_read)i, key);
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

static struct registry_op *add(struct op_txn *t, enum registry_op_type type,
                               uint64_t version, char **key, struct buf **value)
{
    struct registry_op *op = &t->ops[t->n];

    assert(t->n < WORK_TXN_OPS);
    *op = (struct registry_op){.type = type,
                               .expect = version == 0 ? REGISTRY_ABSENT
                                                      : REGISTRY_VERSION,
                               .version = version};
    *key = t->keys[t->n];
    *value = &t->values[t->n];
    op->key = *key;
    buf_init(*value, WORK_RECORD_MAX);
    t->n++;
    return op;
}

void work_txn_put_item(struct op_txn *t, const struct work_item *item,
                       uint64_t version)
{
    char *key;
    struct buf *value;

    (void)add(t, REGISTRY_PUT, version, &key, &value);
    (void)work_key(item->id, key);
    work_item_write(value, item);
}

void work_txn_put_marker(struct op_txn *t, const struct work_item *item,
                         uint64_t version)
{
    struct marker m;
    char *key;
    struct buf *value;

    (void)add(t, REGISTRY_PUT, version, &key, &value);
    work_marker_of(&m, item);
    (void)work_marker_key(m.kind, m.address, m.id, key);
    work_marker_write(value, &m);
}

void work_txn_delete_marker(struct op_txn *t, const struct work_item *item,
                            uint64_t version)
{
    struct marker m;
    char *key;
    struct buf *value;

    assert(version != 0);
    (void)add(t, REGISTRY_DELETE, version, &key, &value);
    work_marker_of(&m, item);
    (void)work_marker_key(m.kind, m.address, m.id, key);
}

void work_txn_put_gate(struct op_txn *t, enum node_kind kind,
                       const char *address, const struct gate *gate,
                       uint64_t version)
{
    char *key;
    struct buf *value;

    (void)add(t, REGISTRY_PUT, version, &key, &value);
    (void)gate_key(kind, address, key, REGISTRY_KEY_MAX + 1);
    gate_write(value, gate);
}

void work_txn_target_gate(struct op_txn *t, struct work_op *op)
{
    struct gate first = {.state = GATE_OPEN, .process = op->process};
    char *key;
    struct buf *value;

    assert(gate_takes(&op->gate, &op->process));
    if (op->gate.state == GATE_ABSENT) {
        work_txn_put_gate(t, op->want.kind, op->target.address, &first, 0);
        return;
    }
    (void)add(t, REGISTRY_CHECK, op->gate.version, &key, &value);
    (void)gate_key(op->want.kind, op->target.address, key,
                   REGISTRY_KEY_MAX + 1);
}

void work_txn_floor(struct op_txn *t, struct work_op *op)
{
    bool first = op->floor_version == 0;
    char *key;
    struct buf *value;

    (void)add(t, first ? REGISTRY_PUT : REGISTRY_CHECK, op->floor_version, &key,
              &value);
    memcpy(key, EPOCH_FLOOR_KEY, sizeof(EPOCH_FLOOR_KEY));
    if (first)
        work_epoch_floor_write(value, 0);
}

bool work_op_epoch_left(struct work_op *op, uint64_t epoch)
{
    struct err err = {0};

    if (work_epoch_left(epoch, op->floor))
        return true;
    (void)err_set(&err, ERR_INVALID,
                  "work %s: there is no epoch above %" PRIu64 " (floor %" PRIu64
                  " in " EPOCH_FLOOR_KEY ")",
                  op->want.id, epoch, op->floor);
    op->damaged = true;
    work_op_failed(op, &err);
    return false;
}

void work_txn_check_item(struct op_txn *t, const struct work_item *item)
{
    char *key;
    struct buf *value;

    (void)add(t, REGISTRY_CHECK, item->version, &key, &value);
    (void)work_key(item->id, key);
}

/* --- sending it ---------------------------------------------------------- */

static void on_txn(void *arg, const struct registry_reply *reply)
{
    struct work_op *op = arg;
    struct err err;

    if (!work_op_landed(op))
        return;
    assert(op->won != NULL && op->pending == 0);
    op->writing = false;
    switch (reply->err.code) {
    case ERR_OK:
        op->won(op);
        break;
    case ERR_CONFLICT:
        work_op_again(op);
        break;
    case ERR_UNKNOWN:
        if (op->check_only) {
            work_op_failed(op, &reply->err);
            break;
        }
        if (!op->doubt) {
            op->doubt = true;
            op->deadline = op->w->config.clock->mono + WORK_DEADLINE_MS;
        }
        work_op_later(op);
        break;
    default:
        err = reply->err;
        work_op_failed(op, &err);
        break;
    }
}

/* Whether what was read may still be written upon. */
static bool fresh(const struct work_op *op)
{
    struct registry *r = op->w->config.registry;

    return op->session != 0 && registry_session(r) == op->session &&
           op->w->config.clock->mono - op->read_at <
               registry_session_timeout(r);
}

/* For whoever waits to see them. */
static void note_keys(struct work_op *op, const struct op_txn *t)
{
    buf_reset(&op->wrote);
    for (size_t i = 0; i < t->n; i++)
        if (t->ops[i].type == REGISTRY_PUT || t->ops[i].type == REGISTRY_DELETE)
            buf_printf(&op->wrote, "%s\n", t->keys[i]);
}

void work_op_send(struct work_op *op, struct op_txn *t, op_step_f *won)
{
    bool old = !fresh(op);
    bool whole = true;

    assert(op->pending == 0 && t->n > 0);
    assert(won != NULL && !op->finished);
    for (size_t i = 0; i < t->n; i++) {
        t->ops[i].value = buf_text(&t->values[i]);
        t->ops[i].value_len = t->values[i].len;
        whole = whole && !t->values[i].overflow;
    }
    if (!whole) {
        struct err err = {0};

        (void)err_set(&err, ERR_TOO_LARGE, "work %s: the record is too large",
                      op->want.id);
        work_op_failed(op, &err);
    } else if (old && registry_session(op->w->config.registry) == 0) {
        struct err err = {0};

        (void)err_set(&err, ERR_UNAVAILABLE, "work %s: no registry session",
                      op->want.id);
        work_op_failed(op, &err);
    } else if (old) {
        work_op_again(op);
    } else {
        note_keys(op, t);
        op->won = won;
        op->writing = !op->check_only;
        op->pending++;
        registry_txn(op->w->config.registry, t->ops, t->n, on_txn, op);
    }
    /* By now the operation may be gone; the txn was copied. */
    for (size_t i = 0; i < t->n; i++)
        buf_close(&t->values[i]);
}
