/*
 * txn.c - the server of the memory registry: writing.
 *
 * All operations are checked against what stands, then all are applied under
 * one revision, then the observer of the store sees each change, then watchers
 * are told: nobody ever sees half a txn. Versions of a key begin at 1 again
 * after a delete and only `created` tells two lives of a key apart, because
 * ZooKeeper is like that and code above must not rely on more.
 */
#include "base/mem.h"
#include "tests/lib/memory/memory_priv.h"

#include <string.h>
#include <utlist.h>

struct verdict {
    enum err_code code;
    const char *text;
};

#define PASSED                                                                 \
    (struct verdict)                                                           \
    {                                                                          \
        ERR_OK, ""                                                             \
    }
#define FAILED(code, text)                                                     \
    (struct verdict)                                                           \
    {                                                                          \
        (code), (text)                                                         \
    }

/* An ephemeral key has no children. */
static bool below_ephemeral(const struct memory_store *s, const char *key)
{
    char parent[REGISTRY_KEY_MAX + 1];
    char *slash;

    memcpy(parent, key, strlen(key) + 1);
    while ((slash = strrchr(parent, '/')) != parent) {
        const struct memory_node *node;

        *slash = '\0';
        node = memory_tree_find(&s->side->tree, parent);
        if (node != NULL && node->entry.owner != 0)
            return true;
    }
    return false;
}

static struct verdict check_create(const struct memory_store *s,
                                   const struct registry_op *op)
{
    if (op->expect == REGISTRY_VERSION)
        return FAILED(ERR_NOT_FOUND, "no such key");
    if (below_ephemeral(s, op->key))
        return FAILED(ERR_CONFLICT, "an ephemeral key has no children");
    if (op->ephemeral && memory_tree_has_below(&s->side->tree, op->key))
        return FAILED(ERR_CONFLICT, "a key with children cannot be ephemeral");
    return PASSED;
}

static struct verdict check_put(const struct memory_store *s,
                                const struct registry_op *op,
                                const struct registry_entry *entry,
                                uint64_t session)
{
    if (entry == NULL)
        return check_create(s, op);
    if (op->expect == REGISTRY_ABSENT)
        return FAILED(ERR_CONFLICT, "the key exists");
    if (op->expect == REGISTRY_VERSION && entry->version != op->version)
        return FAILED(ERR_CONFLICT, "the key has another version");
    if (entry->owner != (op->ephemeral ? session : 0)) {
        return FAILED(ERR_CONFLICT, "the key is of another kind: ephemeral, "
                                    "persistent, or another session's");
    }
    return PASSED;
}

static struct verdict check_op(const struct memory_store *s,
                               const struct registry_op *op, uint64_t session)
{
    const struct registry_entry *entry;

    if (op->type == REGISTRY_CHECK_LOCK) {
        return memory_lock_is(s, op->key, session, op->version)
                   ? PASSED
                   : FAILED(ERR_CONFLICT, "the lock is not ours");
    }
    entry = memory_find(s, op->key);
    if (op->type == REGISTRY_PUT)
        return check_put(s, op, entry, session);
    if (entry == NULL)
        return FAILED(ERR_NOT_FOUND, "no such key");
    if (entry->version != op->version)
        return FAILED(ERR_CONFLICT, "the key has another version");
    if (op->type == REGISTRY_DELETE &&
        memory_tree_has_below(&s->side->tree, op->key))
        return FAILED(ERR_CONFLICT, "the key has children");
    return PASSED;
}

static void count_ephemeral(struct memory_store *s, uint64_t owner, bool more)
{
    struct memory_session *session =
        owner == 0 ? NULL : memory_session_find(s, owner);

    if (session != NULL) {
        assert(more || session->ephemerals > 0);
        session->ephemerals += more ? 1 : (size_t)-1;
    }
}

/* Takes both references. */
static void record(struct memory_store *s, struct memory_node *before,
                   struct memory_node *after)
{
    if (s->n_changes == s->changes_cap) {
        s->changes_cap = s->changes_cap == 0 ? 16 : 2 * s->changes_cap;
        s->changes = mem_regrow(s->changes, s->changes_cap,
                                sizeof(struct memory_change));
    }
    s->changes[s->n_changes++] = (struct memory_change){before, after};
}

static void apply_put(struct memory_store *s, const struct registry_op *op,
                      uint64_t session)
{
    struct memory_node *node =
        memory_node_new(op->key, op->value, op->value_len);
    const struct registry_entry *entry = memory_find(s, op->key);

    node->revision = s->side->revision;
    node->entry.created = entry != NULL ? entry->created : s->side->revision;
    node->entry.version = entry != NULL ? entry->version + 1 : 1;
    node->entry.owner = op->ephemeral ? session : 0;
    if (entry == NULL)
        count_ephemeral(s, node->entry.owner, true);
    record(s, memory_tree_put(&s->side->tree, node), memory_node_ref(node));
}

static void apply_delete(struct memory_store *s, const char *key)
{
    struct memory_node *node = memory_tree_remove(&s->side->tree, key);

    count_ephemeral(s, node->entry.owner, false);
    record(s, node, NULL);
}

/* The observer first, then the watchers. */
static void publish(struct memory_store *s, uint64_t writer)
{
    memory_write_f *on_write =
        s->side == s->present ? s->on_write : s->on_write_beside;

    for (size_t i = 0; i < s->n_changes && on_write != NULL; i++) {
        const struct memory_change *c = &s->changes[i];

        on_write(s->on_write_arg, writer,
                 c->before != NULL ? &c->before->entry : NULL,
                 c->after != NULL ? &c->after->entry : NULL);
    }
    for (size_t i = 0; i < s->n_changes; i++) {
        memory_notify(s, &s->changes[i]);
        memory_node_unref(s->changes[i].before);
        memory_node_unref(s->changes[i].after);
    }
    s->n_changes = 0;
}

void memory_txn_apply(struct memory_store *s, struct memory_message *m,
                      struct memory_session *session)
{
    const struct registry_call *call = m->call;
    bool writes = false;

    assert(s->n_changes == 0);
    for (size_t i = 0; i < call->n_ops; i++) {
        const struct registry_op *op = &call->ops[i];
        struct verdict verdict = check_op(s, op, session->id);

        if (verdict.code != ERR_OK) {
            m->code = verdict.code;
            m->text = verdict.text;
            m->failed_op = i;
            m->revision = s->side->revision;
            return;
        }
        writes |= op->type == REGISTRY_PUT || op->type == REGISTRY_DELETE;
    }
    s->side->revision += writes;
    m->revision = s->side->revision;
    for (size_t i = 0; i < call->n_ops; i++) {
        const struct registry_op *op = &call->ops[i];

        if (op->type == REGISTRY_PUT)
            apply_put(s, op, session->id);
        else if (op->type == REGISTRY_DELETE)
            apply_delete(s, op->key);
    }
    s->applying = call;
    publish(s, session->id);
    s->applying = NULL;
}

uint64_t memory_checked_fence(const struct memory_store *s, const char *key)
{
    const struct registry_call *call = s->applying;

    for (size_t i = 0; call != NULL && i < call->n_ops; i++) {
        const struct registry_op *op = &call->ops[i];

        if (op->type == REGISTRY_CHECK_LOCK && strcmp(op->key, key) == 0)
            return op->version;
    }
    return 0;
}

void memory_txn_reap(struct memory_store *s, struct memory_session *session)
{
    struct memory_pos pos = {0, 0};
    struct memory_node *node;
    size_t found = 0;

    assert(s->n_changes == 0);
    if (session->ephemerals == 0)
        return;
    s->side->revision++;
    while (found < session->ephemerals &&
           (node = memory_tree_next(&s->side->tree, &pos)) != NULL) {
        if (node->entry.owner == session->id) {
            record(s, memory_node_ref(node), NULL);
            found++;
        }
    }
    assert(found == session->ephemerals);
    session->ephemerals = 0;
    for (size_t i = 0; i < s->n_changes; i++) {
        memory_node_unref(
            memory_tree_remove(&s->side->tree, s->changes[i].before->text));
    }
    publish(s, session->id);
}
