/*
 * txn.c - writes: each is one multi, all or nothing at the server.
 *
 * What a multi cannot say is found out before or after it, and never decided
 * on what may have changed since:
 *   - a missing parent refuses the multi: directories are made, it goes again;
 *   - a create refused because the node exists may have met a directory, which
 *     becomes a key by a set at the version that was seen;
 *   - put with any, and an ephemeral put at a version, look at the node first:
 *     the set then is at the version seen, and so of the kind seen.
 * Nothing of this repeats a write whose outcome is unknown.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <string.h>

#define TRIES_MAX  16 /* whatever it was that changed each time */
#define ZK_AS_SAID (-1)

static void go(struct registry_call *call, size_t from);

static void conflict(struct registry_call *call, size_t at, enum err_code code,
                     const char *why)
{
    struct registry_reply reply = {.failed_op = at};

    assert(at < call->n_ops);
    err_set(&reply.err, code, "operation %zu: %s: %s", at, call->ops[at].key,
            why);
    zk_call_done(call, &reply);
}

/* --- the multi ----------------------------------------------------------- */

static bool is_set(const struct registry_call *call, size_t i)
{
    const struct zk_call *c = call->priv;

    assert(i < call->n_ops);
    return call->ops[i].expect == REGISTRY_VERSION ||
           (c->set_at != NULL && c->set_at[i] != ZK_AS_SAID);
}

static int32_t version_at(const struct registry_call *call, size_t i)
{
    const struct zk_call *c = call->priv;

    assert(i < call->n_ops);
    const struct registry_op *op = &call->ops[i];

    if (c->set_at != NULL && c->set_at[i] != ZK_AS_SAID)
        return c->set_at[i];
    if (op->type == REGISTRY_PUT &&
        op->ephemeral != zk_version_ephemeral(op->version))
        return ZK_NO_VERSION; /* it cannot change its kind */
    return zk_data_version(op->version);
}

static void put_op(const struct registry_call *call, size_t i, zoo_op_t *op,
                   const char *path)
{
    const struct registry_op *from = &call->ops[i];
    int len = (int)from->value_len;

    assert(from->type == REGISTRY_PUT);
    if (is_set(call, i)) {
        libzk.zoo_set_op_init(op, path, from->value, len, version_at(call, i),
                              NULL);
    } else {
        libzk.zoo_create_op_init(
            op, path, from->value, len, zk_of(call->r)->acl,
            from->ephemeral ? *libzk.ZOO_EPHEMERAL : *libzk.ZOO_PERSISTENT,
            NULL, 0);
    }
}

static void fill_op(const struct registry_call *call, size_t i, zoo_op_t *op,
                    const char *path)
{
    switch (call->ops[i].type) {
    case REGISTRY_CHECK:
        libzk.zoo_check_op_init(op, path, version_at(call, i));
        break;
    case REGISTRY_CHECK_LOCK:
        libzk.zoo_check_op_init(op, path, -1);
        break;
    case REGISTRY_PUT:
        put_op(call, i, op, path);
        break;
    case REGISTRY_DELETE:
        libzk.zoo_delete_op_init(op, path, version_at(call, i));
        break;
    }
}

static const char *add_text(char **at, const char *a, const char *b)
{
    char *begin = *at;

    *at = stpcpy(stpcpy(begin, a), b) + 1;
    return begin;
}

static void on_multi(void *arg, struct zk_request *q);

/* All locks that it checks are known to be ours. */
static struct zk_request *build(struct registry_call *call)
{
    struct zookeeper *z = zk_of(call->r);
    struct zk_request *q = zk_request_new(z, ZK_MULTI, z->root, on_multi, call);
    size_t text = 0;
    char *at;

    assert(call->type == REGISTRY_CALL_TXN);
    assert(call->n_ops > 0);
    for (size_t i = 0; i < call->n_ops; i++)
        text += strlen(z->root) + REGISTRY_KEY_MAX + 64; /* a lock's node */
    q->call = call;
    q->n_ops = (int)call->n_ops;
    q->ops = mem_zalloc((call->n_ops + 1) * sizeof(*q->ops));
    q->results = mem_zalloc((call->n_ops + 1) * sizeof(*q->results));
    at = q->text = mem_alloc(text);
    for (size_t i = 0; i < call->n_ops; i++) {
        const struct registry_op *op = &call->ops[i];
        const char *path =
            op->type == REGISTRY_CHECK_LOCK
                ? add_text(&at, "", zk_lock_path(z, op->key, op->version))
                : add_text(&at, z->root, op->key);

        fill_op(call, i, &q->ops[i], path);
    }
    assert(at <= q->text + text);
    zk_position_add(q);
    return q;
}

/* The first lock that it checks and that is not ours; n_ops: all are. */
static size_t lock_lost(const struct registry_call *call)
{
    size_t i = 0;

    while (i < call->n_ops && (call->ops[i].type != REGISTRY_CHECK_LOCK ||
                               zk_lock_path(zk_of(call->r), call->ops[i].key,
                                            call->ops[i].version) != NULL))
        i++;
    return i;
}

/* --- its answer ---------------------------------------------------------- */

static void again(struct registry_call *call)
{
    struct zookeeper *z = zk_of(call->r);
    struct zk_call *c = call->priv;

    assert(c->tries <= TRIES_MAX);
    if (!zk_usable(z) || call->session != z->base.session) {
        zk_call_broken(call, false, ZSESSIONEXPIRED);
    } else if (++c->tries > TRIES_MAX) {
        zk_call_fail(call, ERR_UNAVAILABLE,
                     "%s changed while it was looked at, %d times over",
                     call->ops[c->at].key, TRIES_MAX);
    } else {
        go(call, 0);
    }
}

/* Before anything was written. */
static void refused(struct registry_call *call, int rc)
{
    const struct zk_call *c = call->priv;

    assert(c->at < call->n_ops);
    zk_call_refused(call, call->ops[c->at].key, rc);
}

static void final(struct registry_call *call, size_t at, int rc)
{
    switch (rc) {
    case ZNONODE:
        conflict(call, at, ERR_NOT_FOUND, "it does not exist");
        break;
    case ZBADVERSION:
        conflict(call, at, ERR_CONFLICT, "it is at another version");
        break;
    case ZNOTEMPTY:
        conflict(call, at, ERR_CONFLICT, "it has children");
        break;
    case ZNOCHILDRENFOREPHEMERALS:
        conflict(call, at, ERR_CONFLICT, "an ephemeral key has no children");
        break;
    default:
        refused(call, rc);
    }
}

static void on_parents(void *arg, int rc)
{
    struct registry_call *call = arg;

    if (rc == ZOK)
        again(call);
    else if (rc == ZNOCHILDRENFOREPHEMERALS)
        final(call, ((struct zk_call *)call->priv)->at, rc);
    else
        refused(call, rc);
}

/* The directories of all keys that it creates, in one go. */
static void make_parents(struct registry_call *call)
{
    struct zookeeper *z = zk_of(call->r);
    char **dirs = mem_array(call->n_ops, sizeof(char *));
    size_t n = 0;

    for (size_t i = 0; i < call->n_ops; i++) {
        const struct registry_op *op = &call->ops[i];

        if (op->type == REGISTRY_PUT && !is_set(call, i)) {
            dirs[n] = zk_path(z, op->key);
            *strrchr(dirs[n++], '/') = '\0';
        }
    }
    zk_make_dirs(z, dirs, n, *libzk.ZOO_PERSISTENT, on_parents, call);
    for (size_t i = 0; i < n; i++)
        mem_free(dirs[i]);
    mem_free(dirs);
}

static void set_at(struct registry_call *call, size_t i, int32_t version)
{
    struct zk_call *c = call->priv;

    assert(i < call->n_ops);
    if (c->set_at == NULL) {
        c->set_at = mem_array(call->n_ops, sizeof(*c->set_at));
        memset(c->set_at, ZK_AS_SAID, call->n_ops * sizeof(*c->set_at));
    }
    c->set_at[i] = version;
}

/* A create met a node: a key is a conflict, a directory becomes the key. */
static void on_obstacle(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    const struct zk_call *c = call->priv;

    assert(call->ops[c->at].type == REGISTRY_PUT);
    if (q->rc == ZNONODE) {
        again(call);
    } else if (q->rc != ZOK) {
        refused(call, q->rc);
    } else if (!zk_is_directory(&q->stat) || call->ops[c->at].ephemeral) {
        conflict(call, c->at, ERR_CONFLICT, "it exists already");
    } else {
        set_at(call, c->at, q->stat.version);
        again(call);
    }
}

static void look(struct registry_call *call, size_t at, zk_done_f *done)
{
    struct zookeeper *z = zk_of(call->r);
    struct zk_request *q =
        zk_request_for(z, ZK_EXISTS, call->ops[at].key, done, call);

    assert(at < call->n_ops);
    ((struct zk_call *)call->priv)->at = at;
    q->call = call;
    zk_send(q);
}

/* One operation was refused, and so all were. */
static void on_refusal(struct registry_call *call, size_t at, int rc)
{
    struct zk_call *c = call->priv;
    const struct registry_op *op = &call->ops[at];
    bool put = op->type == REGISTRY_PUT;
    bool found_out = put && op->expect != REGISTRY_VERSION && is_set(call, at);

    assert(rc != ZOK);
    assert(at < call->n_ops);
    c->at = at;
    if (found_out && (rc == ZBADVERSION || rc == ZNONODE)) {
        set_at(call, at, ZK_AS_SAID); /* it changed since: look again */
        again(call);
    } else if (put && !is_set(call, at) && rc == ZNONODE) {
        make_parents(call);
    } else if (put && !is_set(call, at) && rc == ZNODEEXISTS) {
        if (op->expect == REGISTRY_ANY)
            again(call);
        else
            look(call, at, on_obstacle);
    } else if (op->type == REGISTRY_CHECK_LOCK && rc == ZNONODE) {
        conflict(call, at, ERR_CONFLICT, "the lock is not ours any more");
    } else {
        final(call, at, rc);
    }
}

static void on_multi(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    struct zk_call *c = call->priv;
    struct registry_reply ok = {.failed_op = SIZE_MAX};
    int rc, at;

    assert(q->type == ZK_MULTI);
    if (q->rc == ZOK) {
        zk_watches_wrote(zk_of(call->r), call);
        zk_call_done(call, &ok);
    } else if (zk_broken(q->rc)) {
        zk_call_broken(call, q->sent, q->rc);
    } else {
        rc = zk_first_failed(q, 0, &at);
        c->at = 0;
        if (rc != ZOK && (size_t)at < call->n_ops)
            on_refusal(call, (size_t)at, rc);
        else if (rc != ZOK)
            again(call); /* without the position's operation, which failed */
        else
            refused(call, q->rc);
    }
}

/* --- what is looked at before -------------------------------------------- */

static void on_looked(void *arg, struct zk_request *q)
{
    struct registry_call *call = arg;
    size_t at = ((struct zk_call *)call->priv)->at;
    const struct registry_op *op = &call->ops[at];
    uint64_t owner = q->rc == ZOK ? zk_owner(&q->stat) : 0;

    assert(op->type == REGISTRY_PUT);
    if (q->rc != ZOK && q->rc != ZNONODE) {
        refused(call, q->rc);
    } else if (q->rc == ZOK && owner != (op->ephemeral ? call->session : 0)) {
        conflict(call, at, ERR_CONFLICT,
                 owner == 0 ? "a persistent key stands there"
                            : "an ephemeral key of a session stands there");
    } else {
        if (q->rc == ZOK && op->expect == REGISTRY_ANY)
            set_at(call, at, q->stat.version);
        go(call, at + 1);
    }
}

/* Ephemeral keys that are put at a version must be ours; what is put with any
 * is at the version that it has. From operation `from` on. */
static void go(struct registry_call *call, size_t from)
{
    size_t lost;

    assert(call->n_ops > 0);
    assert(from <= call->n_ops);
    for (size_t i = from; i < call->n_ops; i++) {
        const struct registry_op *op = &call->ops[i];

        if (op->type == REGISTRY_PUT &&
            (op->expect == REGISTRY_ANY ||
             (op->ephemeral && op->expect == REGISTRY_VERSION))) {
            look(call, i, on_looked);
            return;
        }
    }
    lost = lock_lost(call);
    if (lost < call->n_ops)
        conflict(call, lost, ERR_CONFLICT, "the lock is not ours any more");
    else
        zk_send(build(call));
}

void zk_txn(struct registry_call *call)
{
    struct zookeeper *z = zk_of(call->r);
    size_t lost = lock_lost(call);

    assert(call->n_ops > 0);
    if (lost < call->n_ops) { /* not counted: this answers it */
        z->n_calls--;
        z->call_bytes -= call->bytes;
        call->limit = lost;
        registry_call_fail_later(call, ERR_CONFLICT,
                                 "operation %zu: %s: the lock is not ours",
                                 lost, call->ops[lost].key);
    } else {
        go(call, 0);
    }
}
