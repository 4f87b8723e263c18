/*
 * decide.c - what the SQL registries decide alike, whatever asked the store:
 * whether an operation may be carried out, and what is said if not.
 */
#include "registry/sql/core.h"

#include <string.h>

static int refuse(const struct registry_op *op, enum err_code code,
                  const char *why, struct err *err)
{
    return err_set(err, code, "%s: %s", op->key, why);
}

int sql_op_decide(const struct registry_op *op, const struct sql_found *found,
                  uint64_t owner, struct err *err)
{
    bool put = op->type == REGISTRY_PUT;

    assert(op->type != REGISTRY_CHECK_LOCK);
    if (!found->exists) {
        return put && op->expect != REGISTRY_VERSION
                   ? 0
                   : refuse(op, ERR_NOT_FOUND, "no such key", err);
    }
    if (put && op->expect == REGISTRY_ABSENT)
        return refuse(op, ERR_CONFLICT, "exists already", err);
    if (!(put && op->expect == REGISTRY_ANY) && found->version != op->version)
        return refuse(op, ERR_CONFLICT, "was changed since it was read", err);
    if (op->type != REGISTRY_CHECK && found->foreign) {
        return refuse(op, ERR_CONFLICT,
                      "belongs to DolphinScheduler; it is read only", err);
    }
    if (op->type == REGISTRY_DELETE && found->has_keys_below)
        return refuse(op, ERR_CONFLICT, "has keys below it", err);
    if (put && found->owner != owner) {
        return refuse(op, ERR_CONFLICT,
                      found->owner == 0 ? "is persistent, not ephemeral"
                      : owner == 0      ? "is ephemeral, not persistent"
                                        : "is another session's ephemeral key",
                      err);
    }
    return 0;
}

int sql_op_lock_not_ours(const struct registry_op *op, struct err *err)
{
    assert(op->type == REGISTRY_CHECK_LOCK);
    return refuse(op, ERR_CONFLICT, "the lock is not ours", err);
}

int sql_no_key(const char *key, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "%s: no such key", key);
}

int sql_place_waits(const struct sql_place *place, struct err *err)
{
    assert(place->fence == 0);
    return err_set(err, ERR_CONFLICT, "%s: held by another", place->key);
}

int sql_place_gone(const struct sql_place *place, struct err *err)
{
    assert(place->fence == 0);
    return err_set(err, ERR_SESSION_LOST, "%s: our place in the queue is gone",
                   place->key);
}

void sql_feed_advance(struct sql_feed *feed, uint64_t rev)
{
    feed->rev = rev + 1;
    feed->key[0] = '\0';
}
