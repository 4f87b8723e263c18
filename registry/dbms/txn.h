/*
 * txn.h - the slots of a transaction: for txn.c, which reads them,
 * apply.c, which decides, and write.c, which writes.
 */
#ifndef PELORUS_REGISTRY_DBMS_TXN_H
#define PELORUS_REGISTRY_DBMS_TXN_H

#include "registry/dbms/dbms_priv.h"

#include "base/table.h"

#define DBMS_BELOW_MAX  6001 /* more than a group can delete */
#define DBMS_BELOW_TEXT "6001"

struct dbms_slot {
    UT_hash_handle hh;
    const char *key;              /* a call's */
    const struct registry_op *op; /* the first */
    bool stored;  /* our table had it when the transaction began */
    bool lease;   /* as a session's */
    bool foreign; /* it stands in DolphinScheduler's */
    bool deleted; /* some operation wants to delete it */
    bool assumed; /* not read: it stands as its only operation expects */
    bool fit;     /* it may be; so far it has one operation */
    bool proved;  /* the write has found it so */
    int below;    /* keys below it; counted if `deleted` */
    /* As it would be after a commit. */
    union {
        struct dbms_state {
            bool exists, dirty;
            uint64_t created, version, owner;
            const char *value; /* if dirty: the call's */
            size_t value_len;
        } now;
        struct {
            bool exists, dirty;
            uint64_t created, version, owner;
            const char *value;
            size_t value_len;
        };
    };
};

struct dbms_undo {
    struct dbms_slot *slot;
    struct dbms_state was;
};

/* The slot of a key, or NULL. */
struct dbms_slot *dbms_slot_find(const struct dbms_txn *t, const char *key,
                                 size_t len);
/* A key appeared (1) or went (-1): those above it count. */
void dbms_count_below(struct dbms_txn *t, const char *key, size_t len, int by);

/* Could the write of `op` prove that the store is as it expects? */
bool dbms_is_provable(const struct dbms *d, const struct registry_op *op);
/* Choose the slots that are not read, see txn.c. */
void dbms_assume(struct dbms *d);

/* How deep a key stands: its slashes. */
unsigned dbms_depth(const char *key);

/* It is not what was stored under its name. */
static inline bool dbms_is_new(const struct dbms *d,
                               const struct dbms_slot *slot)
{
    return slot->exists && slot->created > d->txn.base;
}

/* Everything that is dirty, with its notes in the feed. Counts the deletions
 * that were assumed and do not prove right: txn.n_unproved. */
int dbms_write(struct dbms *d, enum dbms_fault *fault,
               struct err *err) MUST_CHECK;

#endif
