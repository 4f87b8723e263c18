/*
 * apply.c - the calls of a group, applied to the slots in memory; why an
 * operation is refused, and undoing what a refused call has changed.
 */
#include "registry/dbms/txn.h"

#include <string.h>

#define ASSUME_MIN 64 /* keys; reading fewer costs nothing */

/* --- slots --------------------------------------------------------------- */

struct dbms_slot *dbms_slot_find(const struct dbms_txn *t, const char *key,
                                 size_t len)
{
    struct dbms_slot *slot;

    assert(key != NULL);
    HASH_FIND(hh, t->index, key, len, slot);
    return slot;
}

/* Is any key to be deleted higher up? */
static bool any_above(const struct dbms_txn *t, const char *key, size_t len)
{
    unsigned n = 0;

    for (size_t i = 0; i < len; i++)
        n += key[i] == '/';
    return t->highest > 0 && n > t->highest;
}

/* A key appeared or went: those above it count what is below them. */
void dbms_count_below(struct dbms_txn *t, const char *key, size_t len, int by)
{
    assert(by == 1 || by == -1);
    if (!any_above(t, key, len))
        return;
    while (len > 0) {
        struct dbms_slot *above;

        while (len > 0 && key[len - 1] != '/')
            len--;
        if (len <= 1)
            return;
        above = dbms_slot_find(t, key, --len);
        if (above != NULL)
            above->below += by;
    }
}

unsigned dbms_depth(const char *key)
{
    unsigned n = 0;

    for (; *key != '\0'; key++)
        n += *key == '/';
    return n;
}

/* --- what is not read ---------------------------------------------------- */

/* Could its write prove that the store is as `op` expects? */
bool dbms_is_provable(const struct dbms *d, const struct registry_op *op)
{
    if (registry_key_below(op->key, DBMS_NODES))
        return false;
    return op->type == REGISTRY_PUT
               ? op->expect == REGISTRY_ABSENT && !op->ephemeral
               : op->type == REGISTRY_DELETE && op->version != 0 &&
                     d->target.driver->returns != NULL &&
                     d->target.driver->returns(d->link);
}

/* What the keys that are not read are taken for. */
void dbms_assume(struct dbms *d)
{
    struct dbms_txn *t = &d->txn;

    assert(t->n_assumed == 0);
    if (d->careful > 0)
        d->careful--;
    else if (t->n_slots >= ASSUME_MIN && !d->certified) {
        for (size_t i = 0; i < t->n_slots; i++) {
            struct dbms_slot *slot = &t->slots[i];

            if (!slot->fit)
                continue;
            slot->assumed = true;
            slot->stored = slot->exists = slot->deleted;
            slot->version = slot->deleted ? slot->op->version : 0;
            t->n_assumed++;
        }
    }
}

/* --- undoing one call ---------------------------------------------------- */

int dbms_savepoint(struct sql_core *core, struct err *err)
{
    struct dbms_txn *t = &dbms_of(core)->txn;

    (void)err;
    assert(t->open);
    t->n_undo = 0;
    return 0;
}

static void change(struct dbms_txn *t, struct dbms_slot *slot)
{
    assert(t->open);
    assert(t->n_undo <= t->cap_undo);
    if (t->n_undo == t->cap_undo) {
        t->cap_undo = t->cap_undo == 0 ? 64 : t->cap_undo * 2;
        t->undo = mem_regrow(t->undo, t->cap_undo, sizeof(*t->undo));
    }
    t->undo[t->n_undo++] = (struct dbms_undo){.slot = slot, .was = slot->now};
    assert(t->n_undo <= t->cap_undo);
}

int dbms_release(struct sql_core *core, bool undo, struct err *err)
{
    struct dbms_txn *t = &dbms_of(core)->txn;

    (void)err;
    assert(t->open || t->slots == NULL);
    for (; undo && t->n_undo > 0; t->n_undo--) {
        const struct dbms_undo *u = &t->undo[t->n_undo - 1];
        struct dbms_slot *slot = u->slot;

        if (slot->exists != u->was.exists) {
            dbms_count_below(t, slot->key, strlen(slot->key),
                             u->was.exists ? 1 : -1);
        }
        slot->now = u->was;
    }
    assert(!undo || t->n_undo == 0);
    return 0;
}

/* --- applying ------------------------------------------------------------ */

static int check(const struct registry_op *op, const struct dbms_slot *slot,
                 uint64_t owner, struct err *err)
{
    const struct sql_found found = {.exists = slot->exists,
                                    .foreign = slot->foreign,
                                    .has_keys_below = slot->below > 0,
                                    .version = slot->version,
                                    .owner = slot->owner};

    return sql_op_decide(op, &found, owner, err);
}

static int apply_put(struct dbms_txn *t, uint64_t session,
                     const struct registry_op *op, struct dbms_slot *slot,
                     struct err *err)
{
    uint64_t owner = op->ephemeral ? session : 0;
    bool fresh = !slot->exists;
    int rc = check(op, slot, owner, err);

    assert(op->type == REGISTRY_PUT);
    assert(op->value != NULL);
    if (rc != 0)
        return rc;
    change(t, slot);
    if (fresh) {
        slot->exists = true;
        slot->created = t->rev;
        slot->owner = owner;
        dbms_count_below(t, slot->key, strlen(slot->key), 1);
    }
    slot->version = t->rev;
    slot->value = op->value;
    slot->value_len = op->value_len;
    slot->dirty = true;
    return 0;
}

static int apply_delete(struct dbms_txn *t, const struct registry_op *op,
                        struct dbms_slot *slot, struct err *err)
{
    int rc = check(op, slot, 0, err);

    assert(op->type == REGISTRY_DELETE);
    if (rc != 0)
        return rc;
    change(t, slot);
    slot->exists = false;
    slot->version = t->rev;
    slot->dirty = true;
    dbms_count_below(t, slot->key, strlen(slot->key), -1);
    return 0;
}

static int apply_check_lock(const struct dbms_txn *t,
                            const struct registry_op *op, struct err *err)
{
    assert(op->type == REGISTRY_CHECK_LOCK);
    for (size_t i = 0; i < t->n_guards; i++)
        if (t->guards[i].fence == op->version &&
            strcmp(t->guards[i].key, op->key) == 0 && t->guards[i].ours)
            return 0;
    return sql_op_lock_not_ours(op, err);
}

/* Mostly they come in the order in which they were collected. */
static struct dbms_slot *slot_of(struct dbms_txn *t,
                                 const struct registry_op *op)
{
    struct dbms_slot *slot;

    if (t->cursor < t->n_slots && t->slots[t->cursor].op == op)
        return &t->slots[t->cursor++];
    slot = dbms_slot_find(t, op->key, strlen(op->key));
    assert(slot != NULL);
    t->cursor = (size_t)(slot - t->slots) + 1;
    return slot;
}

static int apply_op(struct dbms_txn *t, uint64_t session,
                    const struct registry_op *op, struct err *err)
{
    struct dbms_slot *slot;

    assert(t->open);
    if (op->type == REGISTRY_CHECK_LOCK)
        return apply_check_lock(t, op, err);
    slot = slot_of(t, op);
    switch (op->type) {
    case REGISTRY_PUT:
        return apply_put(t, session, op, slot, err);
    case REGISTRY_DELETE:
        return apply_delete(t, op, slot, err);
    default:
        return check(op, slot, 0, err);
    }
}

int dbms_apply(struct sql_core *core, uint64_t session,
               const struct registry_op *ops, size_t n, size_t *failed,
               struct err *err)
{
    struct dbms_txn *t = &dbms_of(core)->txn;
    int rc = 0;

    assert(t->open && n > 0);
    *failed = SIZE_MAX;
    t->rev += n;
    assert(t->rev <= t->last);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = apply_op(t, session, &ops[i], err);
        if (rc != 0)
            *failed = i;
    }
    t->doubtful |= rc != 0 && t->n_assumed > 0;
    return rc;
}
