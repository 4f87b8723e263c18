/*
 * cause.h - the words of a failover's record: why it began or is held back, and
 * why it ended before INTENT. Each kind is one table, of which the enum is
 * made. A record keeps the word itself, so that one of a later version goes
 * through us unchanged. Pure; any thread.
 */
#ifndef PELORUS_WORK_CAUSE_H
#define PELORUS_WORK_CAUSE_H

#include "work/record.h"

/* Of `cause` and `then`. X(name, word, did the owner die, was it a person's:
 * such a one is not taken back, does its process count as lost) */
#define FAILOVER_CAUSES(X)                                                     \
    X(CAUSE_NONE, "", true, false, false)                                      \
    X(CAUSE_DOWN, "down", true, false, true)                                   \
    X(CAUSE_LEFT, "left", false, false, false)                                 \
    X(CAUSE_REPLACED, "replaced", true, false, false)                          \
    X(CAUSE_DEPARTED, "departed", true, false, false)                          \
    X(CAUSE_RESTART, "restart", false, false, false)                           \
    X(CAUSE_DRAIN, "drain", false, true, false)                                \
    X(CAUSE_ORDER, "order", true, false, true)                                 \
    X(CAUSE_FORCED, "forced", true, true, false)                               \
    X(CAUSE_RECONCILE, "reconcile", true, false, false)                        \
    X(CAUSE_MASS, "mass", true, false, false)                                  \
    X(CAUSE_SESSION, "session", true, false, false)                            \
    X(CAUSE_OWN_ENTRY, "own-entry", true, false, false)                        \
    X(CAUSE_PAUSED, "paused", true, false, false)

/* Of `why`. X(name, word) */
#define FAILOVER_WHYS(X)                                                       \
    X(WHY_NONE, "")                                                            \
    X(WHY_ALIVE, "alive")                                                      \
    X(WHY_WITHDRAWN, "withdrawn")                                              \
    X(WHY_PLAN_CHANGED, "plan_changed")                                        \
    X(WHY_DONE, "done") /* its work was moved already */                       \
    X(WHY_NOT_FOUND, "not_found")                                              \
    X(WHY_NEEDLESS, "needless")

#define FAILOVER_ENUM_NAME(name, ...) name,
enum failover_cause { FAILOVER_CAUSES(FAILOVER_ENUM_NAME) };
enum failover_why { FAILOVER_WHYS(FAILOVER_ENUM_NAME) };

/* Of a record's `cause` or `then`. NONE: "", or a word that nobody knows. */
enum failover_cause work_cause_of(const char *word);
bool work_cause_is_loss(enum failover_cause c);
void work_failover_set_why(struct failover_record *r, enum failover_why why);
bool work_failover_is_withdrawn(const struct failover_record *r);

#endif
