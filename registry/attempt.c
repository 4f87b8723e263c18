/*
 * attempt.c - see attempt.h.
 */
#include "registry/attempt.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS   1000

void attempt_init(struct attempt *a, mono_ms now)
{
    assert(now >= 0);
    *a = (struct attempt){.deadline = now + ATTEMPT_MS,
                          .wake = -1,
                          .backoff_ms = BACKOFF_FIRST_MS};
}

void attempt_begin(struct attempt *a, const struct registry *r, mono_ms now)
{
    assert(a->backoff_ms > 0);
    a->session = registry_session(r);
    a->read_at = now;
    a->wake = -1;
}

bool attempt_is_fresh(const struct attempt *a, const struct registry *r,
                      mono_ms now)
{
    return a->session != 0 && registry_session(r) == a->session &&
           now - a->read_at < registry_session_timeout(r);
}

enum attempt_next attempt_failed(struct attempt *a, mono_ms now)
{
    assert(a->conflicts <= ATTEMPT_CONFLICTS_MAX);
    assert(a->backoff_ms > 0 && a->backoff_ms <= BACKOFF_MAX_MS);
    if (!a->doubt)
        return ATTEMPT_FAILED;
    if (now >= a->deadline)
        return ATTEMPT_UNKNOWN;
    a->wake = now + a->backoff_ms;
    a->backoff_ms =
        a->backoff_ms * 2 < BACKOFF_MAX_MS ? a->backoff_ms * 2 : BACKOFF_MAX_MS;
    return ATTEMPT_LATER;
}

enum attempt_next attempt_write_failed(struct attempt *a, enum err_code code,
                                       mono_ms now)
{
    assert(code != ERR_OK);
    if (code == ERR_CONFLICT && a->conflicts < ATTEMPT_CONFLICTS_MAX &&
        ++a->conflicts < ATTEMPT_CONFLICTS_MAX)
        return ATTEMPT_NOW;
    if (code == ERR_UNKNOWN)
        attempt_doubt(a, now);
    return attempt_failed(a, now);
}

void attempt_doubt(struct attempt *a, mono_ms now)
{
    if (!a->doubt)
        a->deadline = now + ATTEMPT_MS;
    a->doubt = true;
}

bool attempt_is_due(struct attempt *a, mono_ms now)
{
    if (a->wake < 0 || now < a->wake)
        return false;
    a->wake = -1;
    return true;
}
