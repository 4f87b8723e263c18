/*
 * sql_reaper.c - ending the sessions of processes that died.
 *
 * Every process counts, by its own monotonic clock, how long it has seen a
 * beat unchanged, and only while it looked often enough itself. Whoever wakes
 * first after all were stopped has looked at nothing meanwhile, so that its
 * windows begin anew and nobody is taken for dead. The last word has the
 * transaction: it ends the session only if the beat is still the one watched.
 */
#include "registry/sql_core.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

void sql_reaper_close(struct sql_reaper *reaper)
{
    mem_free(reaper->seen);
    memset(reaper, 0, sizeof(*reaper));
}

void sql_reaper_add(struct sql_reaper *reaper, const struct sql_seen *seen)
{
    assert(reaper->n == 0 || reaper->seen[reaper->n - 1].id < seen->id);
    if (reaper->n == reaper->cap) {
        reaper->cap = reaper->cap == 0 ? 16 : reaper->cap * 2;
        reaper->seen =
            mem_regrow(reaper->seen, reaper->cap, sizeof(*reaper->seen));
    }
    reaper->seen[reaper->n++] = *seen;
}

/* After a gap everybody gets a whole timeout to show up, however short the
 * window otherwise is. */
static void begin_anew(struct sql_seen *s, mono_ms now)
{
    s->since = now + s->timeout_ms - s->window_ms;
}

void sql_reaper_restart(struct sql_reaper *reaper, mono_ms now)
{
    for (size_t i = 0; i < reaper->n; i++) {
        begin_anew(&reaper->seen[i], now);
    }
}

/* Both lists are in the order of ids. */
static void merge(const struct sql_reaper *reaper, size_t *at,
                  struct sql_seen *fresh)
{
    while (*at < reaper->n && reaper->seen[*at].id < fresh->id) {
        (*at)++; /* ended meanwhile */
    }
    if (*at < reaper->n && reaper->seen[*at].id == fresh->id &&
        reaper->seen[*at].beat == fresh->beat) {
        fresh->since = reaper->seen[*at].since;
    }
}

static int reread_sessions(struct sql_reaper *reaper, struct sql_core *core,
                           uint64_t self, mono_ms now, struct err *err)
{
    struct sql_reaper next = {.last_look = reaper->last_look};
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
    int64_t gap = now - reaper->last_look;

    assert(gap >= 0);
    if (reread) {
        int rc = reread_sessions(reaper, core, self, now, err);

        if (rc != 0) {
            return rc;
        }
    }
    for (size_t i = 0; i < reaper->n; i++) {
        if (gap > reaper->seen[i].timeout_ms / 3) {
            begin_anew(&reaper->seen[i], now);
        }
    }
    reaper->last_look = now;
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

        if (now - s->since < s->window_ms) {
            continue;
        }
        rc = core->ops->reap(core, s, self, err);
        s->since = now; /* the next look drops it, or it lives */
        if (rc == 0) {
            (*reaped)++;
            log_warn("-session", LOG_U("session", s->id),
                     LOG_S("reason", "unchanged for its timeout"),
                     LOG_I("timeout_ms", s->timeout_ms));
        }
        if (rc == ERR_NOT_FOUND) {
            rc = 0;
        }
    }
    return rc;
}
