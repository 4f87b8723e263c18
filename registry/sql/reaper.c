/*
 * reaper.c - ending the sessions of processes that died.
 *
 * Every process counts, by its own monotonic clock, how long it has seen a
 * beat unchanged, and only while it was there itself and the store took writes
 * (pauses.h). Whoever wakes first after all were stopped begins anew, so
 * that nobody is taken for dead. The last word has the transaction: it ends
 * the session only if the beat is still the one watched.
 */
#include "registry/sql/core.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

#define PROVE_MS 250 /* at least between two writes for that alone */

void sql_core_init(struct sql_core *core, mono_ms now)
{
    registry_pauses_init(&core->turns, now);
    registry_pauses_init(&core->answers, now);
    core->session_span = core->client_span = INT64_MAX;

    assert(now >= 0);
}

int64_t sql_core_beat_ms(const struct sql_core *core)
{
    int64_t span = core->session_span < core->client_span ? core->session_span
                                                          : core->client_span;
    int64_t third = span / 3 > PROVE_MS ? span / 3 : PROVE_MS;

    assert(core->beat_ms > 0);
    return third < core->beat_ms ? third : core->beat_ms;
}

bool sql_core_silent(struct sql_core *core, mono_ms *since, int64_t span,
                     int64_t window, mono_ms now)
{
    mono_ms began = registry_pauses_window_start(&core->turns, *since, span);
    mono_ms answered =
        registry_pauses_window_start(&core->answers, *since, span);

    began = began > answered ? began : answered;
    if (began > *since) /* a whole span to show up, however short `window` */
        *since = began + span - window;
    if (now < *since + window)
        return false;
    if (core->proved >= *since + window)
        return true;
    core->wanted = now;
    return false;
}

void sql_reaper_close(struct sql_reaper *reaper)
{
    assert(reaper->n <= reaper->cap);
    mem_free(reaper->seen);
    memset(reaper, 0, sizeof(*reaper));
}

void sql_reaper_add(struct sql_reaper *reaper, const struct sql_seen *seen)
{
    if (reaper->n == reaper->cap) {
        reaper->cap = reaper->cap == 0 ? 16 : reaper->cap * 2;
        reaper->seen =
            mem_regrow(reaper->seen, reaper->cap, sizeof(*reaper->seen));
    }
    reaper->seen[reaper->n++] = *seen;
    assert(reaper->n <= reaper->cap);
}

/* After a gap everybody gets a whole timeout to show up, however short the
 * window otherwise is. */
static void begin_anew(struct sql_seen *s, mono_ms now)
{
    s->since = now + s->timeout_ms - s->window_ms;
}

void sql_reaper_restart(struct sql_reaper *reaper, mono_ms now)
{
    for (size_t i = 0; i < reaper->n; i++)
        begin_anew(&reaper->seen[i], now);
}

/* Both lists are in the order of ids. */
static void merge(const struct sql_reaper *reaper, size_t *at,
                  struct sql_seen *fresh)
{
    assert(*at <= reaper->n);
    while (*at < reaper->n && reaper->seen[*at].id < fresh->id)
        (*at)++; /* ended meanwhile */
    if (*at < reaper->n && reaper->seen[*at].id == fresh->id &&
        reaper->seen[*at].beat == fresh->beat)
        fresh->since = reaper->seen[*at].since;
}

static int reread_sessions(struct sql_reaper *reaper, struct sql_core *core,
                           uint64_t self, mono_ms now, struct err *err)
{
    struct sql_reaper next = {0};
    size_t at = 0;
    int rc = core->ops->sessions(core, self, &next, err);

    if (rc != 0) {
        sql_reaper_close(&next);
        return rc;
    }
    for (size_t i = 0; i < next.n; i++) {
        next.seen[i].since = now;
        merge(reaper, &at, &next.seen[i]);
    }
    mem_free(reaper->seen);
    *reaper = next;
    return 0;
}

int sql_reaper_look(struct sql_reaper *reaper, struct sql_core *core,
                    uint64_t self, mono_ms now, bool reread, struct err *err)
{
    if (reread) {
        int rc = reread_sessions(reaper, core, self, now, err);

        if (rc != 0)
            return rc;
    }
    core->session_span = INT64_MAX;
    for (size_t i = 0; i < reaper->n; i++)
        if (reaper->seen[i].timeout_ms < core->session_span)
            core->session_span = reaper->seen[i].timeout_ms;
    return 0;
}

int sql_reaper_reap(struct sql_reaper *reaper, struct sql_core *core,
                    uint64_t self, mono_ms now, size_t *reaped, struct err *err)
{
    int rc = 0;

    assert(self != 0);
    *reaped = 0;
    for (size_t i = 0; rc == 0 && i < reaper->n; i++) {
        struct sql_seen *s = &reaper->seen[i];

        if (!sql_core_silent(core, &s->since, s->timeout_ms, s->window_ms, now))
            continue;
        rc = core->ops->reap(core, s, self, err);
        s->since = now; /* the next look drops it, or it lives */
        if (rc == 0) {
            (*reaped)++;
            log_warn("-session", LOG_U("session", s->id),
                     LOG_S("reason", "unchanged for its timeout"),
                     LOG_I("timeout_ms", s->timeout_ms));
        }
        if (rc == ERR_NOT_FOUND)
            rc = 0;
    }
    return rc;
}
