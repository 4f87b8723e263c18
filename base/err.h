/*
 * err.h - how a function says that it failed.
 *
 * A function that can fail returns 0 or an `enum err_code`, carries MUST_CHECK
 * and takes a `struct err *` last (NULL: the caller wants the code only). The
 * message starts at the place that failed and is wrapped outwards:
 * "open registry: pelorus.db: not a Pelorus registry".
 *
 * FAILED, OUTCOME UNKNOWN and SESSION LOST are three different things to the
 * callers of a registry. Nothing may merge them.
 */
#ifndef PELORUS_BASE_ERR_H
#define PELORUS_BASE_ERR_H

#include "base/compiler.h"

/*      code               name              what it means */
#define ERR_CODES(X)                                                           \
    X(ERR_OK, "ok", "done")                                                    \
    X(ERR_NOT_FOUND, "not_found", "no such thing")                             \
    X(ERR_CONFLICT, "conflict", "it exists already or was changed since")      \
    X(ERR_UNAVAILABLE, "unavailable", "certainly not applied; try again")      \
    X(ERR_UNKNOWN, "outcome_unknown", "in flight when the connection broke")   \
    X(ERR_SESSION_LOST, "session_lost", "ephemerals and locks are gone")       \
    X(ERR_DENIED, "denied", "the registry or the system refuses us")           \
    X(ERR_TOO_LARGE, "too_large", "beyond a documented limit")                 \
    X(ERR_INVALID, "invalid", "malformed or against a stated rule")            \
    X(ERR_TIMEOUT, "timeout", "not within the time given")                     \
    X(ERR_CANCELLED, "cancelled", "given up by the caller or at close")        \
    X(ERR_WENT_BACK, "went_back", "the registry is not what it was")           \
    X(ERR_FULL, "full", "a bounded queue or table has no room")                \
    X(ERR_IO, "io", "the operating system reported an error")

enum err_code {
#define X(code, name, text) code,
    ERR_CODES(X)
#undef X
};

#define ERR_MSG_MAX 384

struct err {
    enum err_code code;
    char msg[ERR_MSG_MAX]; /* always NUL-terminated, cut at the end */
    unsigned trouble;      /* of a registry: which (registry/trouble.h), 0: no
                              word about it; set after the rest */
};

/* The stable lower-case name of a code: "session_lost". Static. */
const char *err_name(enum err_code code);

/* What a code means, for people. Static. */
const char *err_text(enum err_code code);

/*
 * Set code and message; returns `code`, so that a function can end with
 * `return err_set(err, ERR_INVALID, "port %d is above 65535", port);`.
 * `err` may be NULL.
 */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/*
 * Put "what: " before the message, keep the code; returns the code. With NULL
 * it cannot know the code and says ERR_UNKNOWN, the most careful reading: a
 * function whose caller may pass NULL returns the code it got from below.
 */
int err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Put more behind the message: what to do. `err` may be NULL. */
void err_add(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* As err_set(ERR_IO or ERR_DENIED for EACCES/EPERM) with strerror(errnum). */
int err_errno(struct err *err, int errnum, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Say which trouble of a registry it is. `err` may be NULL. */
static inline void err_set_trouble(struct err *err, unsigned trouble)
{
    if (err)
        err->trouble = trouble;
}

/* Back to ERR_OK and an empty message. */
void err_clear(struct err *err);

#endif
