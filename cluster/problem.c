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
    static const enum problem of[] = {
        [ERR_NOT_FOUND] = PROBLEM_NOT_FOUND,
        [ERR_CONFLICT] = PROBLEM_CONFLICT,
        [ERR_UNAVAILABLE] = PROBLEM_TROUBLE_UNREACHABLE,
        [ERR_UNKNOWN] = PROBLEM_OUTCOME_UNKNOWN,
        [ERR_SESSION_LOST] = PROBLEM_SESSION_LOST,
        [ERR_DENIED] = PROBLEM_TROUBLE_FORBIDDEN,
        [ERR_TOO_LARGE] = PROBLEM_TOO_LARGE,
        [ERR_INVALID] = PROBLEM_INVALID,
        [ERR_TIMEOUT] = PROBLEM_TROUBLE_UNREACHABLE,
        [ERR_CANCELLED] = PROBLEM_CANCELLED,
        [ERR_WENT_BACK] = PROBLEM_TROUBLE_WENT_BACK,
        [ERR_FULL] = PROBLEM_TROUBLE_UNREACHABLE,
        [ERR_IO] = PROBLEM_TROUBLE_UNREACHABLE,
    };

    assert((size_t)code < ARRAY_LEN(of));
    return code == ERR_OK ? PROBLEM_NONE : of[code];
}
