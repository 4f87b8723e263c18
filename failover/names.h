/*
 * names.h - how a visit of a task can end, and what whoever ordered a failover
 * is answered. Each kind is one table, of which the enum is made, with what
 * belongs to each name. Pure; any thread.
 */
#ifndef PELORUS_FAILOVER_NAMES_H
#define PELORUS_FAILOVER_NAMES_H

#include "cluster/problem.h"
#include "work/cause.h"

/* How a visit of a task ended. X(name, word for tests, is it in vain to come
 * again before something looks different) */
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

enum failover_outcome { FAILOVER_OUTCOMES(FAILOVER_ENUM_NAME) };
enum failover_answer { FAILOVER_ANSWERS(FAILOVER_ENUM_NAME) };

struct failover_answer_facts {
    enum problem code; /* NONE: accepted */
    const char *text;
};

/* What stands above of each; all static. */
const struct failover_answer_facts *
failover_answer_facts(enum failover_answer a);
bool failover_outcome_is_in_vain(enum failover_outcome o);

#endif
