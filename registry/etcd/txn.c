/*
 * txn.c - txns: each operation becomes compares and, if it writes, an
 * operation of etcd's.
 *
 * What an operation compares:
 *   check            MOD(key) = version
 *   check-lock       CREATE(the lock's key) = fencing number
 *   put, absent      CREATE(key) = 0
 *   put, version     MOD(key) = version, LEASE(key) = its kind
 *   put, any         LEASE(key) = 0: absent, or persistent, which may be
 *                    written over; ephemeral: LEASE(key) = ours (and of the
 *                    one that we wrote last MOD(key) >= that revision), and
 *                    where there is no key, once more with CREATE(key) = 0
 *   delete           MOD(key) = version, CREATE(all below key) = 0
 * and each txn: MOD(our session's key) >= the revision that we know, so that
 * nothing is applied once the session has ended, or by a store that went back.
 *
 * A key at a version has the lease it was written with, for ever. Where we read
 * (or wrote) that version, its kind is known and not compared again: a fifth of
 * what a failover's txns would compare.
 *
 * The server takes 128 compares, so a txn of ours has half as many operations.
 * Its answer to a failed txn does not say which compare failed. The branch
 * that reads what was compared would double every request for the sake of the
 * rare one: txns of several operations are sent without it, and again with it
 * when they failed. Should the second succeed, then that is the outcome.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/rand.h"

#include <string.h>

#define TRIES_MAX 8

/* The key that an operation is about; false: the lock is not ours any more. */
static bool key_of(const struct etcd_call *c, const struct registry_op *op,
                   struct etcd_key *out)
{
    if (op->type == REGISTRY_CHECK_LOCK)
        return etcd_hold_key(etcd_of(c->call->r), op->key, op->version, out);
    etcd_key_set(out, etcd_of(c->call->r)->ns, op->key);
    return true;
}

/* The lease that the key of a put has, 0: persistent. */
static uint64_t kind_of(const struct etcd_call *c, const struct registry_op *op)
{
    return op->ephemeral ? c->call->session : 0;
}

/* --- what is known ------------------------------------------------------- */

/* Where it is noted that a key at a version is persistent, and by which number;
 * 0 is nobody's. */
static uint64_t *note_of(struct etcd *e, const char *key, uint64_t version,
                         uint64_t *mark)
{
    *mark = hash_str(key, version) | 1u;
    assert(*mark != 0);
    return &e->persistent[(*mark >> 8) % ETCD_KNOWN];
}

void etcd_know_persistent(struct etcd *e, const char *key, uint64_t version)
{
    uint64_t mark, *note = note_of(e, key, version, &mark);

    *note = mark;
}

static bool is_known(const struct etcd_call *c, const struct registry_op *op)
{
    uint64_t mark;
    const uint64_t *note =
        note_of(etcd_of(c->call->r), op->key, op->version, &mark);

    return !op->ephemeral && *note == mark;
}

static void know_written(struct etcd_call *c, uint64_t revision)
{
    const struct registry_call *call = c->call;

    assert(call->type == REGISTRY_CALL_TXN);
    for (size_t i = 0; i < call->n_ops; i++) {
        if (call->ops[i].type != REGISTRY_PUT)
            continue;
        if (call->ops[i].ephemeral)
            etcd_wrote_ephemeral(etcd_of(call->r), call->ops[i].key, revision);
        else
            etcd_know_persistent(etcd_of(call->r), call->ops[i].key, revision);
    }
}

/* --- writing the request ------------------------------------------------- */

static void compare_put(struct etcd_call *c, struct buf *b,
                        const struct registry_op *op,
                        const struct etcd_key *key)
{
    assert(op->type == REGISTRY_PUT);
    if (op->expect == REGISTRY_ABSENT ||
        (op->expect == REGISTRY_ANY && c->create)) {
        etcd_put_compare(b, ETCD_CREATE, key, NULL, 0);
        return;
    }
    if (op->expect == REGISTRY_VERSION) {
        etcd_put_compare(b, ETCD_MOD, key, NULL, op->version);
        if (is_known(c, op))
            return;
    }
    etcd_put_compare(b, ETCD_LEASE, key, NULL, kind_of(c, op));
    if (op->ephemeral && etcd_is_newest(etcd_of(c->call->r), key->s, key->len))
        etcd_put_compare(b, ETCD_SINCE, key, NULL,
                         etcd_of(c->call->r)->session.newest_at);
}

static void compare(struct etcd_call *c, struct buf *b,
                    const struct registry_op *op, const struct etcd_key *key)
{
    struct etcd_key below, end;

    switch (op->type) {
    case REGISTRY_CHECK:
        etcd_put_compare(b, ETCD_MOD, key, NULL, op->version);
        break;
    case REGISTRY_CHECK_LOCK:
        etcd_put_compare(b, ETCD_CREATE, key, NULL, op->version);
        break;
    case REGISTRY_PUT:
        compare_put(c, b, op, key);
        break;
    case REGISTRY_DELETE:
        etcd_key_range(&below, &end, etcd_of(c->call->r)->ns, op->key);
        etcd_put_compare(b, ETCD_MOD, key, NULL, op->version);
        etcd_put_compare(b, ETCD_CREATE, &below, &end, 0);
        break;
    }
}

static void apply(struct etcd_call *c, struct buf *b,
                  const struct registry_op *op, const struct etcd_key *key)
{
    if (op->type == REGISTRY_PUT)
        etcd_put_op_put(b, key, op->value, op->value_len, kind_of(c, op));
    else if (op->type == REGISTRY_DELETE)
        etcd_put_op_delete(b, key);
}

/* Does it matter which kind the key is? */
static bool wants_kind(const struct registry_op *op)
{
    return op->type == REGISTRY_PUT && op->expect != REGISTRY_ABSENT;
}

/* A range, and for a delete another or for a put its kind: what its compares
 * looked at. */
static void look(struct etcd_call *c, struct buf *b,
                 const struct registry_op *op, const struct etcd_key *key)
{
    struct etcd_range self = {.key = key, .keys_only = true};
    struct etcd_key below, end;
    struct etcd_range any = {
        .key = &below, .end = &end, .limit = 1, .keys_only = true};

    etcd_put_op_range(b, &self);
    if (op->type == REGISTRY_DELETE) {
        etcd_key_range(&below, &end, etcd_of(c->call->r)->ns, op->key);
        etcd_put_op_range(b, &any);
    } else if (wants_kind(op)) {
        etcd_put_op_leased(b, key, kind_of(c, op));
    }
}

typedef void part_f(struct etcd_call *c, struct buf *b,
                    const struct registry_op *op, const struct etcd_key *key);

/* SIZE_MAX, or the index of a check-lock whose lock is gone. */
static size_t each(struct etcd_call *c, struct buf *b, part_f *part)
{
    const struct registry_call *call = c->call;
    struct etcd_key key;

    for (size_t i = 0; i < call->n_ops; i++) {
        if (!key_of(c, &call->ops[i], &key))
            return i;
        part(c, b, &call->ops[i], &key);
    }
    return SIZE_MAX;
}

/* --- which operation, and why -------------------------------------------- */

static enum err_code judge_put(struct etcd_call *c,
                               const struct registry_op *op, bool exists,
                               bool same_kind, const struct etcd_kv *kv)
{
    assert(op->type == REGISTRY_PUT);
    assert(exists || !same_kind);
    switch (op->expect) {
    case REGISTRY_ABSENT:
        return exists ? ERR_CONFLICT : ERR_OK;
    case REGISTRY_VERSION:
        return !exists                       ? ERR_NOT_FOUND
               : kv->modified != op->version ? ERR_CONFLICT
               : same_kind                   ? ERR_OK
                                             : ERR_CONFLICT;
    case REGISTRY_ANY:
        break;
    }
    c->create = !exists; /* for the next try */
    return !exists || same_kind ? ERR_OK : ERR_CONFLICT;
}

static enum err_code judge(struct etcd_call *c, const struct registry_op *op,
                           const struct etcd_result *result, size_t *at)
{
    const struct json *root = result->root;
    struct etcd_kv kv, child;
    bool exists = etcd_txn_kv(root, (*at)++, &kv);
    bool parent = false, same_kind = false;

    assert(*at > 1); /* the first looks at the session's key */
    if (op->type == REGISTRY_DELETE)
        parent = etcd_txn_kv(root, (*at)++, &child);
    else if (wants_kind(op))
        same_kind = etcd_txn_leased(root, (*at)++) && exists;
    if (exists && etcd_newest_went_back(etcd_of(c->call->r), &kv, result))
        return ERR_SESSION_LOST;
    switch (op->type) {
    case REGISTRY_PUT:
        return judge_put(c, op, exists, same_kind, &kv);
    case REGISTRY_CHECK_LOCK:
        return exists && kv.created == op->version ? ERR_OK : ERR_CONFLICT;
    case REGISTRY_CHECK:
    case REGISTRY_DELETE:
        break;
    }
    return !exists                                ? ERR_NOT_FOUND
           : kv.modified != op->version || parent ? ERR_CONFLICT
                                                  : ERR_OK;
}

static void answer(struct etcd_call *c, enum err_code code, size_t failed_op,
                   uint64_t revision, const char *why)
{
    struct registry_reply reply = {.failed_op = failed_op,
                                   .revision = revision,
                                   .written = code == ERR_OK ? revision : 0};

    assert((code == ERR_OK) == (why == NULL));
    if (failed_op != SIZE_MAX)
        err_set(&reply.err, code, "operation %zu: %s", failed_op, why);
    else if (code != ERR_OK)
        err_set(&reply.err, code, "%s", why);
    etcd_call_answer(c, &reply);
}

/* True: answered. */
static bool diagnose(struct etcd_call *c, const struct etcd_result *result)
{
    const struct registry_call *call = c->call;
    bool live = etcd_session_key_exists(etcd_of(call->r), result);
    enum err_code code = ERR_OK;
    size_t at = 1, i; /* behind the session's key */

    assert(c->diagnose);
    assert(call->n_ops > 0);
    for (i = 0; i < call->n_ops && live && code == ERR_OK; i++)
        code = judge(c, &call->ops[i], result, &at);
    if (!live || code == ERR_SESSION_LOST) {
        answer(c, ERR_SESSION_LOST, SIZE_MAX, 0, "the session has ended");
    } else if (code != ERR_OK) {
        answer(c, code, i - 1, result->revision,
               code == ERR_NOT_FOUND ? "there is no such key"
                                     : "it was changed since");
    }
    return !live || code != ERR_OK;
}

/* --- the way of a txn ---------------------------------------------------- */

static void on_txn(void *arg, const struct etcd_result *result)
{
    struct etcd_call *c = arg;

    assert(c->request == NULL);
    if (result->verdict == ETCD_NO_LEASE)
        etcd_session_lost(etcd_of(c->call->r), "its lease is gone");
    if (result->verdict != ETCD_OK) {
        etcd_call_failed(c, result->verdict, result->why);
    } else if (etcd_succeeded(result->root)) {
        know_written(c, result->revision);
        answer(c, ERR_OK, SIZE_MAX, result->revision, NULL);
    } else if (c->diagnose && diagnose(c, result)) {
        return;
    } else if (++c->tries >= TRIES_MAX) {
        etcd_call_failed(c, ETCD_UNREACHED, "its key changes all the time");
    } else {
        c->diagnose = true;
        etcd_txn_start(c);
    }
}

void etcd_txn_start(struct etcd_call *c)
{
    struct etcd *e = etcd_of(c->call->r);
    struct etcd_range self = {.key = &e->session.key, .keys_only = true};
    struct buf body;
    size_t lost;

    assert(c->call->type == REGISTRY_CALL_TXN);
    assert(c->request == NULL);
    assert(c->tries < TRIES_MAX);
    c->diagnose = c->diagnose || c->call->n_ops == 1;
    etcd_txn_begin(&body);
    etcd_put_session_compare(e, &body);
    lost = each(c, &body, compare);
    if (lost != SIZE_MAX) {
        buf_close(&body);
        etcd_call_refuse(c, lost);
        return;
    }
    etcd_txn_then(&body);
    (void)each(c, &body, apply);
    if (c->diagnose) {
        etcd_txn_otherwise(&body);
        etcd_put_op_range(&body, &self);
        (void)each(c, &body, look);
    }
    etcd_send_txn(e, &c->request, &body,
                  ETCD_GUARDED | (c->writes ? 0 : (unsigned)ETCD_REPEATABLE),
                  on_txn, c);
}
