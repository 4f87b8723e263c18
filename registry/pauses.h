/*
 * pauses.h - were we there? For whoever takes another's silence for its
 * absence: membership (ttl, grace, settle), the reapers of sessions in a
 * database, the clients of DolphinScheduler's tables.
 *
 * The rule, once for all of them. A sign of life was seen at `since`, and
 * nothing after it for `span`. That says something only about time at which
 * the sign could have come and we would have heard it: our own turns came, and
 * round trips to the registry came back. So
 *
 *   - the window is over when a request that was *sent* at its end or later
 *     has been answered by the registry itself (registry_answered()), and a
 *     look after that shows no change: never before, so nobody is dead before
 *     its time;
 *   - after a pause of more than a third of its span it begins anew: who
 *     wakes first after a common pause, or hears first from a registry that
 *     was silent, reaps nobody;
 *   - a pause is the time between two of our own turns (or two answers
 *     *received*) if that is more than twice what is usual. Usual
 *     is what was planned, or, where all goes slower, the shortest of the last
 *     four. So an interval that is longer than a third of the span, because a
 *     client states a short timeout or a server is slow, is no pause by
 *     itself: death is seen within the span and two looks, never not at all.
 *
 * Pure; whoever owns one uses it on one thread.
 */
#ifndef PELORUS_REGISTRY_PAUSES_H
#define PELORUS_REGISTRY_PAUSES_H

#include "base/clock.h"

#include <stdbool.h>

#define REGISTRY_PAUSES_GAPS 4
#define REGISTRY_PAUSES_MAX  8

struct registry_pauses {
    mono_ms last; /* when we were there last */
    int64_t gaps[REGISTRY_PAUSES_GAPS];
    unsigned n_gaps; /* all in all */
    /* Pauses that still matter: each is shorter than the one before. */
    struct {
        mono_ms began, over;
    } pauses[REGISTRY_PAUSES_MAX];
    unsigned n_pauses;
};

/* No pause so far. All times are of one clock, in milliseconds, and never go
 * back from call to call. */
void registry_pauses_init(struct registry_pauses *p, mono_ms now);

/* We are there, and meant to be so every `planned_ms`. Returns how many
 * milliseconds the pause took that ends now; 0: there was none. */
int64_t registry_pauses_tick(struct registry_pauses *p, mono_ms now,
                             int64_t planned_ms);

/* Twice what is usual is over since we were there last, and `least_ms`: a pause
 * is under way. */
bool registry_pauses_overdue(const struct registry_pauses *p, mono_ms now,
                             int64_t planned_ms, int64_t least_ms);

/* Of a pause of `paused` ms that is over at `now`: does a window of `span` ms
 * that began at `since` begin anew? */
bool registry_pause_restarts(mono_ms since, int64_t span, mono_ms now,
                             int64_t paused);

/* The same for all pauses so far: when the window of `span` ms that was begun
 * at `since` really began, `since` or later. */
mono_ms registry_pauses_window_start(const struct registry_pauses *p,
                                     mono_ms since, int64_t span);

#endif
