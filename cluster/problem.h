/*
 * problem.h - what a request can be refused with: one enum, and one table with
 * the code of the API, its HTTP status, its title and whether to send the same
 * request again. Answers over HTTP, http/openapi.yaml, the command line and
 * the agent all go by it (RFC 9457: problem details).
 *
 * It stands here because this is the lowest room that sees all of them: why
 * the registry does not serve is the registry's own table (trouble.h), and the
 * rooms above this one decide the rest. The balancer has reasons of its own,
 * which the coordinator translates.
 *
 * Codes are a contract and stay. Pure; any thread.
 */
#ifndef PELORUS_CLUSTER_PROBLEM_H
#define PELORUS_CLUSTER_PROBLEM_H

#include "registry/trouble.h"

/* May the same request be sent again, to this coordinator or to another? */
enum problem_retry {
    PROBLEM_RETRY_NEVER,  /* something in it has to change first */
    PROBLEM_RETRY_SOON,   /* certainly nothing was done; it ends by itself */
    PROBLEM_RETRY_PERSON, /* nor was it, but a person has to end it */
};

/* X(id, code, HTTP status, title, retry: NEVER or SOON) */
#define PROBLEMS(X)                                                            \
    X(INVALID, "invalid", 400, "The request is malformed", NEVER)              \
    X(INVALID_JSON, "invalid_json", 400,                                       \
      "The body is not the JSON that was expected", NEVER)                     \
    X(BAD_URI, "bad_uri", 400, "The path or the query holds a NUL or a blank", \
      NEVER)                                                                   \
    X(EPOCH_REQUIRED, "epoch_required", 400,                                   \
      "This needs the epoch of the work item", NEVER)                          \
    X(NOT_FOUND, "not_found", 404, "There is no such thing", NEVER)            \
    X(WORK_NOT_FOUND, "work_not_found", 404, "There is no such work item",     \
      NEVER)                                                                   \
    X(GROUP_NOT_FOUND, "group_not_found", 404, "There is no such group",       \
      NEVER)                                                                   \
    X(NO_OWNER, "no_owner", 404, "Nobody is known at this address", NEVER)     \
    X(METHOD_NOT_ALLOWED, "method_not_allowed", 405,                           \
      "This resource does not know the method", NEVER)                         \
    X(REQUEST_TIMEOUT, "request_timeout", 408,                                 \
      "The request did not arrive in time", NEVER)                             \
    X(CONFLICT, "conflict", 409, "It was changed by somebody else", NEVER)     \
    X(ID_CONFLICT, "id_conflict", 409, "This id stands for other work", NEVER) \
    X(OWNER_NOT_UP, "owner_not_up", 409,                                       \
      "The owner is not up, or takes no work", NEVER)                          \
    X(OWNED_ELSEWHERE, "owned_elsewhere", 409,                                 \
      "Another process owns this work", NEVER)                                 \
    X(STALE_EPOCH, "stale_epoch", 409,                                         \
      "The work item has another epoch by now", NEVER)                         \
    X(NOT_ASSIGNED, "not_assigned", 409, "The work item is not assigned",      \
      NEVER)                                                                   \
    X(NOT_HELD, "not_held", 409, "The work item is not held", NEVER)           \
    X(FENCED, "fenced", 409, "The work of this process was taken over", NEVER) \
    X(ADDRESS_TAKEN, "address_taken", 409,                                     \
      "Another process is registered at this address", NEVER)                  \
    X(GATE_CONFLICT, "gate_conflict", 409,                                     \
      "The order does not fit the state of the node", NEVER)                   \
    X(ALIVE, "alive", 409, "The node is alive", NEVER)                         \
    X(RUNNING, "running", 409, "A failover of this node is running", NEVER)    \
    X(FINISHED, "finished", 409, "The failover is over", NEVER)                \
    X(NOT_ORDERED, "not_ordered", 409, "Nobody ordered this failover", NEVER)  \
    X(CURSOR_GONE, "cursor_gone", 410,                                         \
      "What the cursor names is not kept any more", NEVER)                     \
    X(PLAN_CHANGED, "plan_changed", 412, "The plan has changed since", NEVER)  \
    X(TOO_LARGE, "too_large", 413, "It is too large", NEVER)                   \
    X(URI_TOO_LONG, "uri_too_long", 414, "Path and query are too long", NEVER) \
    X(UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415,                   \
      "The body must be application/json", NEVER)                              \
    X(INVALID_VALUE, "invalid_value", 422,                                     \
      "A value is well-formed but impossible", NEVER)                          \
    X(HEAD_TOO_LARGE, "head_too_large", 431, "The headers are too large",      \
      NEVER)                                                                   \
    X(DAMAGED, "damaged", 500, "What stands in the registry makes no sense",   \
      NEVER)                                                                   \
    X(UNREADABLE, "unreadable", 500,                                           \
      "What the registry holds of the node is unreadable", NEVER)              \
    X(INTERNAL, "internal", 500, "This should not happen; the log says more",  \
      NEVER)                                                                   \
    X(BUSY, "busy", 503, "Too much is under way at once; try again", SOON)     \
    X(GROUP_EMPTY, "group_empty", 503, "Nobody in the group is alive", SOON)   \
    X(ALL_BUSY, "all_busy", 503,                                               \
      "Everybody alive in the group is busy, closed, of weight 0 or excluded", \
      SOON)                                                                    \
    X(REPORTS_OLD, "reports_old", 503,                                         \
      "Everybody alive in the group reported last too long ago", SOON)         \
    X(NOT_SYNCED, "not_synced", 503,                                           \
      "The registry has not told everything since the start", SOON)            \
    X(SESSION_LOST, "session_lost", 503,                                       \
      "The session with the registry was lost", SOON)                          \
    X(NOT_YET, "not_yet", 503,                                                 \
      "The write of this index is not shown here yet", SOON)                   \
    X(TOO_LATE, "too_late", 503,                                               \
      "The request waited for longer than its lease", SOON)                    \
    X(TOO_MANY_WAITING, "too_many_waiting", 503,                               \
      "Too many requests are waiting", SOON)                                   \
    X(LEAVING, "leaving", 503, "This coordinator is shutting down", SOON)      \
    X(CANCELLED, "cancelled", 503, "This coordinator is shutting down", SOON)  \
    X(OUTCOME_UNKNOWN, "outcome_unknown", 504,                                 \
      "Whether it was written is not known", NEVER)

/* The registry's troubles come first and in their order: PROBLEM_ and the
 * trouble's id, so that none is none in both. */
enum problem {
#define X(id, ...) PROBLEM_##id,
    TROUBLES(X) PROBLEMS(X)
#undef X
        PROBLEM_N,
    PROBLEM_NONE = PROBLEM_TROUBLE_NONE
};

/* "work_not_found"; "" of none. Static. */
const char *problem_code(enum problem p);
/* By the code that an answer bears. None: NULL, or a code that this release
 * does not know. */
enum problem problem_of_code(const char *code);
/* Not of none: 400 .. 504, and a sentence for people. Static. */
unsigned problem_status(enum problem p);
const char *problem_title(enum problem p);
enum problem_retry problem_retry(enum problem p);

/* Why the registry does not serve us, as a problem: 503, "registry_quota". */
enum problem problem_of_trouble(enum trouble t);
/* Of what a registry call said; ERR_OK: none. */
enum problem problem_of_err(enum err_code code);

#endif
