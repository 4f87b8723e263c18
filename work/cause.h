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
 * such a one is not taken back, does its process count as lost, what lifts what
 * it holds, for people: the command, or when it lifts by itself; NULL: nothing
 * is held by it) */
#define FAILOVER_CAUSES(X)                                                     \
    X(CAUSE_NONE, "", true, false, false, NULL)                                \
    X(CAUSE_DOWN, "down", true, false, true, NULL)                             \
    X(CAUSE_LEFT, "left", false, false, false, NULL)                           \
    X(CAUSE_REPLACED, "replaced", true, false, false, NULL)                    \
    X(CAUSE_DEPARTED, "departed", true, false, false, NULL)                    \
    X(CAUSE_RESTART, "restart", false, false, false, NULL)                     \
    X(CAUSE_DRAIN, "drain", false, true, false, NULL)                          \
    X(CAUSE_ORDER, "order", true, false, true, NULL)                           \
    X(CAUSE_FORCED, "forced", true, true, false, NULL)                         \
    X(CAUSE_RECONCILE, "reconcile", true, false, false, NULL)                  \
    X(CAUSE_MASS, "mass", true, false, false, "pelorus brake --for 10m")       \
    X(CAUSE_SESSION, "session", true, false, false,                            \
      "by itself, when the session with the registry has stood for "           \
      "failover.settle")                                                       \
    X(CAUSE_OWN_ENTRY, "own-entry", true, false, false,                        \
      "by itself, when this coordinator's own entry is in the registry "       \
      "again")                                                                 \
    X(CAUSE_PAUSED, "paused", true, false, false, "pelorus resume")

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

struct work_cause {
    const char *word;
    bool death, person, loss;
    const char *lift;
};

/* What stands above of it; static. */
const struct work_cause *work_cause(enum failover_cause c);
/* Of a record's `cause` or `then`. NONE: "", or a word that nobody knows. */
enum failover_cause work_cause_of(const char *word);

/* The record ends before INTENT, in ABORTED. */
void work_failover_abort(struct failover_record *r, enum failover_why why,
                         wall_ms now);
bool work_failover_aborted(const struct failover_record *r,
                           enum failover_why why);

#endif
