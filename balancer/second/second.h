/*
 * second.h - balancers beside the one that serves: what would another policy
 * have said, and what would the same one have said had it known more.
 *
 * Both are balancers of their own, fed with what happens to the first one
 * (balancer/event.h), in order, and have no effect on it. It only copies its
 * events, under its lock, into a buffer of a bounded size; the rest is done in
 * second_turn(), on the loop, for a few hundredths of its time. When more
 * happens than that can follow (about 20,000 picks and ends a second) the
 * buffer fills: events are lost, and counted, and both rest for half a minute
 * and begin again from the first one's present state. So a flood costs picks
 * next to nothing. Regret alone rests on while the flood lasts, if it had been
 * lost before it could judge anything.
 *
 * The SHADOW goes by another policy. It decides on each pick of the first one,
 * and then what the first one chose is counted in it instead, with its end. So
 * it always decides on what really happened, never on what would have come of
 * its own advice; also within a request for many picks, which agree one by one.
 * It goes by the settings of the first one, and by the same draws: a shadow of
 * the policy that the first one goes by when it begins agrees always.
 *
 * The REGRET is of the same policy and runs late. In it each report of a worker
 * counts from the worker's report before on: a pick in between is decided again
 * with the later report's figures in hand. What is said in a report, but for
 * the worker's slots and weight, is taken from the later one: usages and the
 * word BUSY. The tasks running are those of the later one less what was granted
 * in between and not ended, so that they and the grants meet in what it says.
 * `judged` counts picks that were decided again, `elsewhere` those that would
 * have gone to another worker, or to nobody. Their ratio is what the age of the
 * reports costs: 0 means that no newer report would have changed anything.
 * It begins with the first pick after it was asked for, peeks apart: where
 * nobody asks for picks it costs neither memory nor time.
 * Its limits: it waits for reports for two heartbeat intervals, at most
 * SECOND_WAIT_MAX_MS, and for SECOND_LATE_MAX events or 64 MB of them: a worker
 * that has not reported by then is taken as it was known, and picks that must
 * go because there are too many events are counted as not judged, as are those
 * of the first interval after a beginning and those that it began with. Where a
 * worker tells no slots its running tasks are taken as reported. Of those that
 * end without a word no policy knows when, and so neither does it.
 *
 * Threads: the loop's, but for second_stats(). Longer than the code needs:
 * what is counted stands here and nowhere else.
 */
#ifndef PELORUS_BALANCER_SECOND_SECOND_H
#define PELORUS_BALANCER_SECOND_SECOND_H

#include "balancer/event.h"

#define SECOND_WAIT_MAX_MS 60000
#define SECOND_LATE_MAX    100000

struct second;

/* Neither shadow nor regret yet: costs `b` nothing. `b` is borrowed until
 * second_free(). */
struct second *second_new(struct balancer *b);
void second_free(struct second **s); /* NULL in it is fine */

/* Have a shadow of this policy, or none. Another policy is another shadow. What
 * was counted stays. */
void second_shadow(struct second *s, bool on, enum conf_policy policy);
/* Count regret, or not. `heartbeat_interval_ms` as the balancer has it. */
void second_regret(struct second *s, bool on, int64_t heartbeat_interval_ms);

/* Work off what has happened: at most about 5 ms, often about 1 us an event.
 * True: there is more, for a turn in 50 ms. At least every 100 ms. */
bool second_turn(struct second *s, mono_ms now);

/* Since the start. Any thread. */
struct second_stats {
    bool shadowed;
    enum conf_policy shadow; /* if so */
    struct {
        uint64_t agreed, differed; /* picks */
        uint64_t nobody; /* of these that differed: it had nobody to name */
    } by[CONF_POLICIES]; /* that the shadow had */
    bool regrets;
    uint64_t judged, elsewhere, unjudged; /* picks */
    uint64_t lost; /* events, as there was no room, and until begun again */
};
struct second_stats second_stats(struct second *s);

#endif
