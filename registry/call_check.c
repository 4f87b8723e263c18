/*
 * call_check.c - what callers hand over, checked before any backend sees it;
 * and what a key is, by the rules of the strictest of them.
 */
#include "base/mem.h"
#include "registry/registry_priv.h"

#include <stdlib.h>
#include <string.h>

/* --- keys ---------------------------------------------------------------- */

static int check_segment(const char *key, const char *begin, size_t len,
                         struct err *err)
{
    assert(begin > key);
    if (len == 0) {
        return err_set(err, ERR_INVALID,
                       "key \"%.64s\": empty name between slashes or at "
                       "the end",
                       key);
    }
    if ((len == 1 && begin[0] == '.') ||
        (len == 2 && begin[0] == '.' && begin[1] == '.')) {
        return err_set(err, ERR_INVALID,
                       "key \"%.64s\": \".\" and \"..\" are no names", key);
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)begin[i];

        if (c < 0x20 || c == 0x7f) {
            return err_set(err, ERR_INVALID,
                           "key: control character 0x%02x at byte %zu", c,
                           (size_t)(begin + i - key));
        }
    }
    return 0;
}

int registry_check_key(const char *key, struct err *err)
{
    const char *begin, *end;
    size_t len;
    int rc;

    if (key == NULL || key[0] != '/') {
        return err_set(err, ERR_INVALID,
                       "key \"%.64s\": must begin with a slash",
                       key == NULL ? "" : key);
    }
    len = strnlen(key, REGISTRY_KEY_MAX + 1);
    if (len > REGISTRY_KEY_MAX) {
        return err_set(err, ERR_TOO_LARGE,
                       "key \"%.64s...\": more than %d bytes", key,
                       REGISTRY_KEY_MAX);
    }
    for (begin = key + 1;; begin = end + 1) {
        end = strchrnul(begin, '/');
        rc = check_segment(key, begin, (size_t)(end - begin), err);
        if (rc != 0 || *end == '\0')
            return rc;
    }
}

bool registry_key_below(const char *key, const char *prefix)
{
    size_t len = strlen(prefix);

    assert(prefix[0] == '/');
    if (len == 1 && prefix[0] == '/')
        return key[0] == '/' && key[1] != '\0';
    return strncmp(key, prefix, len) == 0 && key[len] == '/';
}

/* --- calls --------------------------------------------------------------- */

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
