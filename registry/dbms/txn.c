/*
 * txn.c - a group of writes on a server: read at once, decide in memory,
 * write at once.
 *
 * begin() locks the counter, so that nobody else writes, and reads version,
 * owner and `created` of every key that the group is about: a slot each. The
 * calls of the group change slots, one after the other, and what a refused
 * call changed is undone from a list (apply.c). Then the slots that differ
 * are written in statements of many rows (write.c). Values are borrowed
 * from the calls throughout.
 *
 * In a large group (a failover's moves) two keys of three are not read: one
 * that must be absent is inserted, and one that must have a version is deleted
 * by a statement that tells what it deleted. If the store refuses the one or
 * the other says something else, or if any call of the group was refused, the
 * transaction is rolled back and done again with everything read: so what is
 * answered, and which operation is to blame, is the same.
 */
#include "registry/dbms/txn.h"

#include "base/mem.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#define BELOW_IN_ONE 20
#define OWN_BYTES    (16u << 20) /* kept for our own feed */
#define CAREFUL      16          /* groups, after one that assumed too much */

/* --- slots --------------------------------------------------------------- */

static struct dbms_slot *find_or_add(struct dbms_txn *t, const char *key)
{
    size_t len = strlen(key);
    struct dbms_slot *slot;
    unsigned hash;

    assert(key[0] == '/');
    HASH_VALUE(key, len, hash);
    HASH_FIND_BYHASHVALUE(hh, t->index, key, len, hash, slot);
    if (slot == NULL) {
        slot = &t->slots[t->n_slots++];
        slot->key = key;
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, t->index, slot->key, len, hash, slot);
    }
    return slot;
}

static void add_guard(struct dbms_txn *t, const struct registry_op *op)
{
    assert(op->type == REGISTRY_CHECK_LOCK);
    for (size_t i = 0; i < t->n_guards; i++)
        if (t->guards[i].fence == op->version &&
            strcmp(t->guards[i].key, op->key) == 0)
            return;
    t->guards = mem_regrow(t->guards, t->n_guards + 1, sizeof(*t->guards));
    t->guards[t->n_guards++] =
        (struct dbms_guard){.key = op->key, .fence = op->version};
}

static void add_op(struct dbms *d, const struct registry_op *op)
{
    size_t before = d->txn.n_slots;
    struct dbms_slot *slot = find_or_add(&d->txn, op->key);
    bool first = d->txn.n_slots > before;

    if (op->type == REGISTRY_DELETE) {
        unsigned depth = dbms_depth(op->key);

        slot->deleted = true;
        if (d->txn.highest == 0 || depth < d->txn.highest)
            d->txn.highest = depth;
    }
    slot->fit = first && d->link != NULL && dbms_is_provable(d, op);
    if (first)
        slot->op = op;
}

/* Returns how far the counter goes up. */
static uint64_t collect(struct dbms *d, const struct sql_piece *pieces,
                        size_t n)
{
    struct dbms_txn *t = &d->txn;
    uint64_t revisions = 0;
    size_t n_ops = 0;

    assert(t->slots == NULL);
    assert(t->n_guards == 0);
    for (size_t i = 0; i < n; i++) {
        n_ops += pieces[i].n;
        revisions += pieces[i].n > 0 ? pieces[i].n : 1;
    }
    t->slots = mem_array(n_ops, sizeof(*t->slots));
    memset(t->slots, 0, n_ops * sizeof(*t->slots));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < pieces[i].n; k++) {
            const struct registry_op *op = &pieces[i].ops[k];

            if (op->type == REGISTRY_CHECK_LOCK)
                add_guard(t, op);
            else
                add_op(d, op);
        }
    }
    assert(t->n_slots <= n_ops);
    assert(revisions >= n);
    dbms_assume(d);
    return revisions;
}

static void forget(struct dbms_txn *t)
{
    HASH_CLEAR(hh, t->index);
    mem_free(t->slots);
    mem_free(t->guards);
    mem_free(t->undo);
    memset(t, 0, sizeof(*t));
}

/* --- reading them -------------------------------------------------------- */

static void on_slot(struct dbms *d, const struct dbms_cell *cells)
{
    size_t len;
    const char *key = dbms_strip(d, &cells[1], &len);
    struct dbms_slot *slot =
        key == NULL ? NULL : dbms_slot_find(&d->txn, key, len);

    if (slot != NULL) {
        slot->stored = slot->exists = true;
        slot->created = dbms_u64(&cells[2]);
        slot->version = dbms_u64(&cells[3]);
        slot->owner = dbms_u64(&cells[4]);
        slot->lease = slot->owner != 0;
    }
}

static void on_foreign(struct dbms *d, const struct dbms_cell *cells)
{
    struct dbms_data data;
    struct dbms_slot *slot;

    dbms_data_parse(cells, &data);
    slot = dbms_slot_find(&d->txn, data.key, data.key_len);
    if (slot != NULL) {
        slot->foreign = slot->exists = true;
        slot->created = data.id;
        slot->version = data.version;
        slot->owner = data.ephemeral ? data.client : 0;
    }
}

static void on_guard(struct dbms_txn *t, uint64_t id)
{
    for (size_t i = 0; i < t->n_guards; i++)
        t->guards[i].ours |= t->guards[i].fence == id;
}

static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct dbms *d = arg;
    struct dbms_txn *t = &d->txn;
    const char *key;
    size_t len;

    assert(n >= 2 && cells[0].p != NULL);
    (void)n;
    switch (cells[0].p[0]) {
    case 'M':
        t->last = dbms_u64(&cells[1]);
        d->floor = dbms_u64(&cells[2]);
        t->depth = dbms_u64(&cells[3]);
        break;
    case 'S':
        t->session_seen = true;
        break;
    case 'H':
        t->heartbeat_seen = true;
        break;
    case 'G':
        on_guard(t, dbms_u64(&cells[1]));
        break;
    case 'K':
        on_slot(d, cells);
        break;
    case 'B':
        t->n_below++;
        key = dbms_strip(d, &cells[1], &len);
        if (key != NULL)
            dbms_count_below(t, key, len, 1);
        break;
    case 'D':
        on_foreign(d, cells);
        break;
    default:
        break;
    }
}

static void add_guard_row(struct dbms *d, const struct dbms_guard *guard)
{
    assert(d->txn.session != 0);
    buf_printf(&d->sql,
               " WHERE id = %" PRIu64 " AND client_id = %" PRIu64
               " AND lock_key = ",
               guard->fence, d->txn.session);
    dbms_text(d, guard->key);
}

/* Every guarded transaction locks the row that guards it in share mode:
 * whoever takes the lock away waits for its end. Another node of Galera would
 * not, and is compared with what is written. (Nobody else guards with that
 * row, so nobody is in the way of anybody.) */
static void add_guards(struct dbms *d)
{
    const struct dbms_syntax *w = d->target.driver->syntax;

    assert(d->opens);
    for (size_t i = 0; i < d->txn.n_guards; i++) {
        if (d->certified) {
            buf_printf(&d->sql, ";UPDATE t_ds_jdbc_registry_lock%s", w->touch);
            add_guard_row(d, &d->txn.guards[i]);
        }
        buf_str(&d->sql, ";SELECT 'G', id FROM t_ds_jdbc_registry_lock");
        add_guard_row(d, &d->txn.guards[i]);
        buf_str(&d->sql, w->share);
    }
}

static void add_slots(struct dbms *d)
{
    const struct dbms_txn *t = &d->txn;
    size_t n = 0;

    assert(d->opens);
    for (size_t i = 0; i < t->n_slots; i++) {
        if (t->slots[i].assumed)
            continue;
        if (n % DBMS_IN_MAX == 0) {
            if (n > 0)
                dbms_in_end(d);
            buf_str(&d->sql, ";SELECT 'K', name, created, version, owner"
                             " FROM pelorus_registry WHERE");
        }
        dbms_in_next(d, n++ % DBMS_IN_MAX, t->slots[i].key);
    }
    if (n > 0)
        dbms_in_end(d);
}

/* Keys of /nodes that stand in DolphinScheduler's table are not ours to write,
 * and can be checked. */
static void add_foreign(struct dbms *d)
{
    assert(d->opens);
    for (size_t i = 0; i < d->txn.n_slots; i++) {
        if (registry_key_below(d->txn.slots[i].key, DBMS_NODES)) {
            buf_str(&d->sql, ";SELECT 'D', " DBMS_DATA_COLUMNS
                             " FROM t_ds_jdbc_registry_data WHERE data_key = ");
            dbms_text(d, d->txn.slots[i].key);
        }
    }
}

/* What is below the keys to be deleted: normally nothing, and all of it at
 * most that a group could delete, too. Nothing is below the deepest keys, and
 * those are most. (A handful of ranges in a statement: planning it takes time
 * that grows with their square.) */
static void add_below(struct dbms *d, size_t from, size_t to)
{
    size_t n = 0;

    assert(from <= to);
    assert(to <= d->txn.n_slots);
    for (size_t i = from; i < to; i++) {
        if (!d->txn.slots[i].deleted ||
            dbms_depth(d->txn.slots[i].key) >= d->depth)
            continue;
        if (n % BELOW_IN_ONE == 0) {
            buf_printf(&d->sql,
                       "%s;SELECT 'B', name FROM pelorus_registry"
                       " WHERE (",
                       n == 0 ? "" : ") LIMIT " DBMS_BELOW_TEXT);
        } else {
            buf_str(&d->sql, ") OR (");
        }
        dbms_range(d, "name", d->txn.slots[i].key, true);
        n++;
    }
    if (n > 0)
        buf_str(&d->sql, ") LIMIT " DBMS_BELOW_TEXT);
}

static void clear_below(struct dbms_txn *t)
{
    t->n_below = 0;
    for (size_t i = 0; i < t->n_slots; i++)
        t->slots[i].below = 0;
}

/* One by one. */
static int read_below_again(struct dbms *d, struct err *err)
{
    struct dbms_txn *t = &d->txn;
    int rc = 0;

    assert(d->inside);
    clear_below(t);
    for (size_t i = 0; rc == 0 && i < t->n_slots; i++) {
        if (t->slots[i].deleted) {
            dbms_start(d);
            buf_str(&d->sql, "SELECT 'N', 0");
            add_below(d, i, i + 1);
            rc = dbms_run(d, on_row, d, NULL, err);
        }
    }
    return rc;
}

static int read_all(struct dbms *d, uint64_t revisions, struct err *err)
{
    struct dbms_txn *t = &d->txn;
    int rc;

    assert(t->session != 0);
    assert(!d->inside);
    dbms_start_txn(d, revisions);
    dbms_add_session(d, t->session, t->mark, t->beat);
    add_guards(d);
    add_slots(d);
    add_foreign(d);
    add_below(d, 0, t->n_slots);
    rc = dbms_run(d, on_row, d, NULL, err);
    if (rc == 0 && (!t->session_seen || (t->beat && !t->heartbeat_seen)))
        rc = dbms_session_lost(t->session, err);
    if (rc == 0 && t->last < revisions) {
        rc = err_set(err, ERR_UNAVAILABLE,
                     "pelorus_meta has lost its row; make it with: "
                     "pelorus registry init");
    }
    /* The limit was reached: somebody deletes a key with thousands below it,
     * and what is below the others may not have been told. Or somebody made
     * deeper keys than we knew. */
    if (rc == 0 && (t->n_below >= DBMS_BELOW_MAX || t->depth > d->depth)) {
        d->depth = t->depth > d->depth ? t->depth : d->depth;
        rc = read_below_again(d, err);
    }
    t->base = t->rev = t->last - revisions;
    return rc;
}

/* Whoever was rolled back for another's sake gives him time, more and more, but
 * never much: the more he rests, the more others are first. */
static void rest(struct dbms *d)
{
    size_t steps = d->rolled_back < 4 ? d->rolled_back : 4;

    if (steps > 0)
        (void)poll(NULL, 0, (int)rand_below(&d->rand, 2u << steps));
}

int dbms_begin(struct sql_core *core, uint64_t session, bool beat,
               const struct sql_piece *pieces, size_t n, struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct dbms_txn *t = &d->txn;
    uint64_t revisions;
    int rc;

    assert(n == 0 || pieces != NULL);
    assert(!d->inside);
    assert(!t->open && t->slots == NULL);
    assert(session != 0);
    t->session = session;
    t->beat = beat;
    rest(d);
    t->mark = rand_u64(&d->rand) >> 1 | 1;
    revisions = collect(d, pieces, n);
    rc = read_all(d, revisions, err);
    if (rc != 0) {
        dbms_rollback(d);
        forget(t);
        return rc;
    }
    t->open = true;
    assert(d->inside);
    return 0;
}

void dbms_abandon(struct sql_core *core)
{
    struct dbms *d = dbms_of(core);

    if (d->txn.slots != NULL)
        dbms_rollback(d);
    forget(&d->txn);
    assert(!d->txn.open);
    assert(d->txn.slots == NULL);
}

uint64_t dbms_revision(const struct sql_core *core)
{
    const struct dbms *d = (const struct dbms *)(const void *)core;

    return d->txn.open ? d->txn.rev : d->revision;
}

/* Committed: our own feed need not read it back. */
static void remember(struct dbms *d)
{
    const struct dbms_txn *t = &d->txn;
    struct dbms_own *own = &d->own;

    assert(own->base <= own->last);
    if (own->last != t->base || own->rows.bytes > OWN_BYTES) {
        sql_rows_close(&own->rows);
        own->base = t->base;
    }
    own->last = t->last;
    for (size_t i = 0; own->wanted && i < t->n_slots; i++) {
        const struct dbms_slot *slot = &t->slots[i];
        struct registry_entry *e;

        if (slot->dirty) {
            e = sql_rows_push(&own->rows, slot->key, strlen(slot->key),
                              slot->value, slot->exists ? slot->value_len : 0);
            e->created = slot->created;
            e->version = slot->exists ? slot->version : 0;
            e->owner = slot->owner;
        }
    }
}

/* Something is not as it was assumed, or may not be: all is done again. */
static int assumed_too_much(struct dbms *d, struct err *err)
{
    assert(d->txn.n_assumed > 0);
    d->careful = CAREFUL;
    d->core.again = true;
    return err_set(err, ERR_UNAVAILABLE, "others have written: once more");
}

static int write_and_prove(struct dbms *d, struct err *err)
{
    enum dbms_fault fault = DBMS_OK;
    int rc =
        d->txn.doubtful ? assumed_too_much(d, err) : dbms_write(d, &fault, err);

    assert(d->inside || rc != 0);
    if (d->txn.n_assumed > 0 &&
        (rc == 0 ? d->txn.n_unproved > 0 : fault == DBMS_DUPLICATE))
        rc = assumed_too_much(d, err);
    return rc;
}

int dbms_end(struct sql_core *core, struct err *err)
{
    struct dbms *d = dbms_of(core);
    struct dbms_txn *t = &d->txn;
    uint64_t before = d->marked;
    bool dirty = t->locks || t->doubtful;
    int rc = 0;

    assert(d->inside);
    assert(t->base <= t->last);
    assert(t->open);
    for (size_t i = 0; !dirty && i < t->n_slots; i++)
        dirty = t->slots[i].dirty;
    /* Checks alone were true while the counter was ours; among nodes it is
     * ours when it is committed. */
    if (!dirty && !t->beat && !d->certified) {
        dbms_abandon(core);
        return 0;
    }
    rc = write_and_prove(d, err);
    if (rc == 0) {
        d->marked = 0;
        rc = dbms_commit(d, t->session, t->mark, err);
        d->marked = rc == 0 ? t->mark : rc == ERR_UNAVAILABLE ? before : 0;
    } else {
        dbms_rollback(d);
    }
    if (rc == 0) {
        dbms_place_sure(d, t->last);
        d->revision = t->last > d->revision ? t->last : d->revision;
        remember(d);
    }
    forget(t);
    assert(!t->open);
    assert(!d->inside);
    return rc;
}
