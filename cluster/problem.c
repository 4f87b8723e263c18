/*
 * problem.c - see problem.h.
 */
#include "cluster/problem.h"

#include <string.h>

static const struct {
    const char *code, *title;
    unsigned status;
    enum problem_retry retry;
} problems[PROBLEM_N] = {
#define X(id, name, heals, title, advice)                                      \
    [PROBLEM_##id] = {"registry_" name, title, 503, PROBLEM_RETRY_PERSON},
    TROUBLES(X)
#undef X
#define X(id, code, status, title, retry)                                      \
    [PROBLEM_##id] = {code, title, status, PROBLEM_RETRY_##retry},
        PROBLEMS(X)
#undef X
};

const char *problem_code(enum problem p)
{
    assert(p < PROBLEM_N);
    return p == PROBLEM_NONE ? "" : problems[p].code;
}

enum problem problem_of_code(const char *code)
{
    enum problem p = PROBLEM_N;

    if (code == NULL)
        return PROBLEM_NONE;
    while (--p != PROBLEM_NONE && strcmp(problems[p].code, code) != 0)
        continue;
    return p;
}

unsigned problem_status(enum problem p)
{
    assert(p != PROBLEM_NONE);
    assert(p < PROBLEM_N);
    return problems[p].status;
}

const char *problem_title(enum problem p)
{
    assert(p != PROBLEM_NONE);
    assert(p < PROBLEM_N);
    return problems[p].title;
}

enum problem_retry problem_retry(enum problem p)
{
    assert(p != PROBLEM_NONE);
    assert(p < PROBLEM_N);
    /* the troubles that end by themselves */
    if (p == PROBLEM_TROUBLE_UNREACHABLE || p == PROBLEM_TROUBLE_NO_QUORUM ||
        p == PROBLEM_TROUBLE_THROTTLED || p == PROBLEM_TROUBLE_LOCKED)
        return PROBLEM_RETRY_SOON;
    return problems[p].retry;
}

enum problem problem_of_trouble(enum trouble t)
{
    assert(t < TROUBLE_N);
    return (enum problem)t;
}

enum problem problem_of_err(enum err_code code)
{
    switch (code) {
    case ERR_OK:
        return PROBLEM_NONE;
    case ERR_NOT_FOUND:
        return PROBLEM_NOT_FOUND;
    case ERR_CONFLICT:
        return PROBLEM_CONFLICT;
    case ERR_UNKNOWN:
        return PROBLEM_OUTCOME_UNKNOWN;
    case ERR_SESSION_LOST:
        return PROBLEM_SESSION_LOST;
    case ERR_DENIED:
        return PROBLEM_TROUBLE_FORBIDDEN;
    case ERR_TOO_LARGE:
        return PROBLEM_TOO_LARGE;
    case ERR_INVALID:
        return PROBLEM_INVALID;
    case ERR_CANCELLED:
        return PROBLEM_CANCELLED;
    case ERR_WENT_BACK:
        return PROBLEM_TROUBLE_WENT_BACK;
    default:
        return PROBLEM_TROUBLE_UNREACHABLE;
    }
}
