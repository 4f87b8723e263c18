/*
 * names.h - the names of causes, outcomes and answers, as a failover is told:
 * in records, in the log and over the API. Each kind is one table, of which the
 * enum is made; what else belongs to a word stands beside it. Pure; any thread.
 */
#ifndef PELORUS_FAILOVER_NAMES_H
#define PELORUS_FAILOVER_NAMES_H

#include "cluster/problem.h"

/* Why a failover began, or is held back. X(name, word of the record, did the
 * owner die, was it a person's: such a one is not taken back, what lifts what
 * it holds, for people: the command, or when it lifts by itself; NULL: nothing
 * is held by it) */
#define FAILOVER_CAUSES(X)                                                     \
    X(CAUSE_NONE, "", true, false, NULL)                                       \
    X(CAUSE_DOWN, "down", true, false, NULL)                                   \
    X(CAUSE_LEFT, "left", false, false, NULL)                                  \
    X(CAUSE_REPLACED, "replaced", true, false, NULL)                           \
    X(CAUSE_DEPARTED, "departed", true, false, NULL)                           \
    X(CAUSE_RESTART, "restart", false, false, NULL)                            \
    X(CAUSE_DRAIN, "drain", false, true, NULL)                                 \
    X(CAUSE_ORDER, "order", true, false, NULL)                                 \
    X(CAUSE_FORCED, "forced", true, true, NULL)                                \
    X(CAUSE_RECONCILE, "reconcile", true, false, NULL)                         \
    X(CAUSE_MASS, "mass", true, false, "pelorus brake --for 10m")              \
    X(CAUSE_SESSION, "session", true, false,                                   \
      "by itself, when the session with the registry has stood for "           \
      "failover.settle")                                                       \
    X(CAUSE_OWN_ENTRY, "own-entry", true, false,                               \
      "by itself, when this coordinator's own entry is in the registry "       \
      "again")                                                                 \
    X(CAUSE_PAUSED, "paused", true, false, "pelorus resume")

/* How a visit of a task ended. X(name, word, is it in vain to come again before
 * something looks different) */
#define FAILOVER_OUTCOMES(X)                                                   \
    X(FAILOVER_WAS_NOTHING, "nothing", true)                                   \
    X(FAILOVER_WAS_ALIVE, "alive", true)                                       \
    X(FAILOVER_WAS_STUCK, "stuck", true)                                       \
    X(FAILOVER_WAS_HELD, "held", true)                                         \
    X(FAILOVER_WAS_UNREADABLE, "unreadable", true)                             \
    X(FAILOVER_WAS_DONE, "done", false)                                        \
    X(FAILOVER_WAS_TAKEN_BACK, "taken-back", false)                            \
    X(FAILOVER_WAS_PLAN_CHANGED, "plan-changed", false)                        \
    X(FAILOVER_WAS_PAUSED, "paused", false)                                    \
    X(FAILOVER_WAS_CONTENDED, "contended", false)                              \
    X(FAILOVER_WAS_OVERTAKEN, "overtaken", false)                              \
    X(FAILOVER_WAS_ROTATED, "rotated", false)                                  \
    X(FAILOVER_WAS_INTERRUPTED, "interrupted", false)                          \
    X(FAILOVER_WAS_ASSIGNED, "assigned", false)                                \
    X(FAILOVER_WAS_COLLECTED, "collected", false)

/* What a person's order is answered. X(name, problem, text) */
#define FAILOVER_ANSWERS(X)                                                    \
    X(FAILOVER_ACCEPTED, PROBLEM_NONE, "accepted")                             \
    X(FAILOVER_IS_ALIVE, PROBLEM_ALIVE,                                        \
      "the node is registered; force takes its work regardless")               \
    X(FAILOVER_IS_RUNNING, PROBLEM_RUNNING,                                    \
      "a failover of this address is under way")                               \
    X(FAILOVER_NOT_FOUND, PROBLEM_NOT_FOUND,                                   \
      "no work was ever given to this address, and no process of it was seen " \
      "here that is gone")                                                     \
    X(FAILOVER_NOT_READABLE, PROBLEM_UNREADABLE,                               \
      "the gate, the failover or the registration of this address cannot be "  \
      "read; see the log")                                                     \
    X(FAILOVER_PLAN_CHANGED, PROBLEM_PLAN_CHANGED,                             \
      "the plan is not the one that was approved any more")                    \
    X(FAILOVER_BUSY, PROBLEM_BUSY,                                             \
      "others changed the address all the time; try again")                    \
    X(FAILOVER_NO_REGISTRY, PROBLEM_TROUBLE_UNREACHABLE,                       \
      "the registry could not be had in time; nothing was begun")              \
    X(FAILOVER_WENT_BACK, PROBLEM_TROUBLE_WENT_BACK,                           \
      "the registry is not what it was; nothing was begun, and nothing is "    \
      "until a person has accepted it")                                        \
    X(FAILOVER_OUTCOME_UNKNOWN, PROBLEM_OUTCOME_UNKNOWN,                       \
      "the failover may have begun; ask for its record")                       \
    X(FAILOVER_CANCELLED, PROBLEM_CANCELLED, "this coordinator is stopping")

#define FAILOVER_ENUM_NAME(name, ...) name,
enum failover_cause { FAILOVER_CAUSES(FAILOVER_ENUM_NAME) };
enum failover_outcome { FAILOVER_OUTCOMES(FAILOVER_ENUM_NAME) };
enum failover_answer { FAILOVER_ANSWERS(FAILOVER_ENUM_NAME) };

struct failover_cause_facts {
    const char *word;
    bool death, person;
    const char *lift;
};
struct failover_answer_facts {
    enum problem code; /* NONE: accepted */
    const char *text;
};

/* What stands above of each; all static. */
const struct failover_cause_facts *failover_cause_facts(enum failover_cause c);
const struct failover_answer_facts *
failover_answer_facts(enum failover_answer a);
bool failover_outcome_is_in_vain(enum failover_outcome o);
/* Of a record's `cause` or `then`. NONE: "", or a word that nobody knows. */
enum failover_cause failover_cause_of(const char *word);

#endif
