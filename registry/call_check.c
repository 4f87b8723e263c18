/*
 * call_check.c - what callers hand over, checked before any backend sees it.
 */
#include "base/mem.h"
#include "registry/registry_priv.h"

#include <stdlib.h>
#include <string.h>

int registry_check_prefix(const char *prefix, struct err *err)
{
    return prefix != NULL && strcmp(prefix, "/") == 0
               ? 0
               : registry_check_key(prefix, err);
}

static int check_value(const struct registry_op *op, struct err *err)
{
    assert(op->type == REGISTRY_PUT);
    if (op->value_len > REGISTRY_VALUE_MAX) {
        return err_set(err, ERR_TOO_LARGE, "%s: value of %zu bytes; at most %d",
                       op->key, op->value_len, REGISTRY_VALUE_MAX);
    }
    if (op->value_len == 0 && !op->ephemeral) {
        return err_set(err, ERR_INVALID, "%s: a persistent key needs a value",
                       op->key);
    }
    return 0;
}

static int check_op(const struct registry_op *op, bool single, struct err *err)
{
    bool versioned =
        op->type == REGISTRY_CHECK || op->type == REGISTRY_DELETE ||
        (op->type == REGISTRY_PUT && op->expect == REGISTRY_VERSION);
    int rc;

    if (op->type == REGISTRY_CHECK_LOCK) {
        return op->lock != NULL
                   ? 0
                   : err_set(err, ERR_INVALID, "check-lock without lock");
    }
    rc = registry_check_key(op->key, err);
    if (rc == 0 && op->type == REGISTRY_PUT)
        rc = check_value(op, err);
    if (rc == 0 && versioned && op->version == 0)
        rc = err_set(err, ERR_INVALID, "%s: version 0 is no version", op->key);
    if (rc == 0 && op->type == REGISTRY_PUT && op->expect == REGISTRY_ANY &&
        !single) {
        rc = err_set(err, ERR_INVALID,
                     "%s: a txn says what it expects: absent or a version",
                     op->key);
    }
    return rc;
}

static size_t op_bytes(const struct registry_op *op)
{
    size_t n = op->type == REGISTRY_CHECK_LOCK ? 0 : strlen(op->key);

    assert(op->type == REGISTRY_CHECK_LOCK || op->key != NULL);
    return n + (op->type == REGISTRY_PUT ? op->value_len : 0);
}

static int by_key(const void *a, const void *b)
{
    const struct registry_op *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

/* At most one operation a key. */
static int check_twice(const struct registry_op *ops, size_t n, struct err *err)
{
    const struct registry_op **sorted; /* n pointers into `ops` */
    size_t m = 0;
    int rc = 0;

    assert(n > 0);
    if (n == 1)
        return 0;
    sorted = mem_array(n, sizeof(const struct registry_op *));
    for (size_t i = 0; i < n; i++)
        if (ops[i].type != REGISTRY_CHECK_LOCK)
            sorted[m++] = &ops[i];
    qsort(sorted, m, sizeof(const struct registry_op *), by_key);
    for (size_t i = 1; i < m && rc == 0; i++) {
        if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0) {
            rc = err_set(err, ERR_INVALID,
                         "%s: two operations on one key in a txn",
                         sorted[i]->key);
        }
    }
    mem_free(sorted);
    assert(m <= n);
    return rc;
}

int registry_check_txn(const struct registry *r, const struct registry_op *ops,
                       size_t n, bool single, size_t *bytes, struct err *err)
{
    assert(r->max_ops > 0);
    assert(r->max_bytes > 0);
    *bytes = 0;
    if (n == 0)
        return err_set(err, ERR_INVALID, "a txn without operations");
    if (n > r->max_ops) {
        return err_set(err, ERR_TOO_LARGE,
                       "txn of %zu operations; %s takes %zu", n, r->ops->name,
                       r->max_ops);
    }
    for (size_t i = 0; i < n; i++) {
        int rc = check_op(&ops[i], single, err);

        if (rc != 0) {
            if (n > 1)
                err_wrap(err, "operation %zu", i);
            return rc;
        }
        *bytes += op_bytes(&ops[i]);
    }
    if (*bytes > r->max_bytes) {
        return err_set(err, ERR_TOO_LARGE, "txn of %zu bytes; %s takes %zu",
                       *bytes, r->ops->name, r->max_bytes);
    }
    return check_twice(ops, n, err);
}
