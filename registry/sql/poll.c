/*
 * poll.c - what the worker does unasked: keep our session, end those of
 * the dead, grant locks and read the change feed.
 *
 * Runs on the worker's thread after every burst of jobs, so that our own
 * writes are seen at once, and every `poll_ms` of the core, when it costs one
 * cheap look (SQLite's `data_version`, a server's counter) unless somebody
 * else has written. Whoever has written once often writes again soon: where
 * looks are that cheap they then come closer, and further apart again while
 * nothing is seen.
 */
#include "registry/sql/backend.h"

#include "base/log.h"

#include <string.h>

#define FEED_BATCH       2000
#define NOTE_MS          100 /* at least between two commits that are told */
#define COMPARES         10  /* tries to meet the store standing still */
#define COMPARE_AGAIN_MS 300

/* --- the session --------------------------------------------------------- */

/* What says that our session is no more: its row is gone, or the store is older
 * than we have seen it. */
bool sql_session_over(int rc)
{
    return rc == ERR_SESSION_LOST || rc == ERR_WENT_BACK;
}

/* The loop hears it from the poll, behind the answers of the jobs under way. */
void sql_session_gone(struct sql *s, const struct err *why)
{
    if (!s->side.lost) { /* what was seen first says most */
        s->side.lost = true;
        s->side.why = *why;
    }
}

/* Is it still the session of whoever asks? */
bool sql_session_is(const struct sql *s, uint64_t session)
{
    const struct sql_side *side = &s->side;

    return session != 0 && session == side->session && !side->lost &&
           atomic_load(&s->abandoned) != session;
}

/* Nobody decides in a process whose loop is stuck: its session is not renewed
 * and ends, and with it its locks. */
bool sql_loop_turns(const struct sql *s)
{
    assert(s->side.timeout_ms > 0);
    return loop_busy_ms(s->base.loop) < s->side.timeout_ms / 3;
}

/* A write of ours was taken: others could write, too. */
static void proved(struct sql_side *side, mono_ms sent)
{
    struct sql_core *core = side->core;

    core->proved = side->renewed = side->noted = sent;
    (void)registry_pauses_tick(&core->answers, clock_mono_ms(),
                               sql_core_beat_ms(core));
    side->next_beat = sent + sql_core_beat_ms(core);
}

void sql_session_renewed(struct sql *s, mono_ms sent)
{
    struct sql_side *side = &s->side;

    assert(side->session != 0);
    proved(side, sent);
    if (side->failing) {
        side->failing = side->over = false;
        log_info("+registry", LOG_S("backend", s->base.ops->name),
                 LOG_U("session", side->session));
    }
    sql_note(s, SQL_RENEWED, side->session, sent, NULL);
}

/* A commit proves the same, and renews nothing: whoever writes much needs no
 * writes for that alone. */
void sql_session_wrote(struct sql *s, mono_ms sent)
{
    struct sql_side *side = &s->side;

    assert(side->session != 0);
    if (sent - side->noted < NOTE_MS)
        return;
    side->noted = side->core->proved = sent;
    (void)registry_pauses_tick(&side->core->answers, clock_mono_ms(),
                               sql_core_beat_ms(side->core));
    sql_note(s, SQL_WROTE, side->session, sent, NULL);
}

static void not_renewed(struct sql *s, mono_ms now, const struct err *err)
{
    struct sql_side *side = &s->side;
    bool over = sql_session_over((int)err->code);

    sql_report_trouble(s, err);
    side->next_beat =
        now + (side->timeout_ms / 24 < SQL_RETRY_MS ? side->timeout_ms / 24
                                                    : SQL_RETRY_MS);
    if (!side->failing || (over && !side->over)) {
        side->failing = true;
        side->over = over;
        if (strcmp(err->msg, side->why.msg) == 0)
            return; /* why the session ended: that was said */
        log_warn("-registry", LOG_S("backend", s->base.ops->name),
                 LOG_U("session", side->session),
                 LOG_S("error", err_name(err->code)),
                 LOG_S("reason", err->msg));
    }
    assert(side->failing);
}

static void session_renew(struct sql *s, mono_ms now)
{
    struct sql_side *side = &s->side;
    struct err err = {0};
    int rc = side->core->ops->session_renew(side->core, side->session, &err);

    assert(side->session != 0);
    if (rc == 0)
        sql_session_renewed(s, now);
    else if (sql_session_over(rc))
        sql_session_gone(s, &err);
    else
        not_renewed(s, now, &err);
}

static void session_begin(struct sql *s, mono_ms now)
{
    struct sql_side *side = &s->side;
    struct err err = {0};
    uint64_t id;

    assert(side->session == 0);
    if (side->core->ops->session_begin(side->core, side->old, side->timeout_ms,
                                       &id, &err) != 0) {
        not_renewed(s, now, &err);
        return;
    }
    side->session = id;
    side->old = 0;
    side->failing = side->over = false;
    side->dirty = true;
    side->looked = false;
    proved(side, now);
    sql_reaper_restart(&side->reaper, now);
    sql_note(s, SQL_OPENED, id, now, NULL);
}

/* Sooner than planned: somebody asked, or somebody's window waits for it. */
static bool must_prove(struct sql *s, mono_ms now)
{
    const struct sql_core *core = s->side.core;

    assert(s->side.session != 0);
    return atomic_exchange(&s->proving, false) || core->wanted > core->proved ||
           (!s->side.failing && now - core->proved >= sql_core_beat_ms(core));
}

static void session_poll(struct sql *s, mono_ms now)
{
    struct sql_side *side = &s->side;

    if (side->lost)
        sql_note(s, SQL_LOST, side->session, now, &side->why);
    if (side->session != 0 && !sql_session_is(s, side->session)) {
        side->lost = false; /* or the loop gave it up: its row may stand */
        side->old = side->session; /* what may be left of it */
        side->session = 0;
        side->next_beat = now;
    }
    if (side->session != 0 && must_prove(s, now))
        side->next_beat = now;
    if (now < side->next_beat || !sql_loop_turns(s))
        return;
    if (side->session == 0)
        session_begin(s, now);
    else
        session_renew(s, now);
}

/* --- the poll ------------------------------------------------------------ */

/*
 * A session is taken for dead only by a process that is well itself: it looks
 * in time (sql_reaper_look) and its own renewals succeed. Where nobody can
 * write, nobody's silence means anything; nor in a store that is not ours yet
 * for.
 */
static void reap(struct sql *s, mono_ms now)
{
    struct sql_side *side = &s->side;
    struct err err = {0};
    size_t reaped = 0;

    assert(side->timeout_ms > 0);
    if (side->session == 0 || atomic_load(&s->ready) != side->session ||
        now - side->renewed > side->timeout_ms / 2)
        sql_reaper_restart(&side->reaper, now);
    if (side->core->look_ms > 0) {
        if (now < side->next_look)
            return;
        side->next_look = now + side->core->look_ms;
        side->looked = false;
    }
    if (sql_reaper_look(&side->reaper, side->core, side->session, now,
                        !side->looked, &err) != 0) {
        sql_report_trouble(s, &err);
        return; /* not looked: a gap for the next one */
    }
    side->looked = true;
    if (side->session == 0 || atomic_load(&s->ready) != side->session)
        return;
    if (sql_session_over(sql_reaper_reap(&side->reaper, side->core,
                                         side->session, now, &reaped, &err)))
        sql_session_gone(s, &err);
    if (reaped > 0) {
        side->dirty = true;
        side->looked = false;
    }
}

static void grant_locks(struct sql *s)
{
    struct sql_side *side = &s->side;
    struct sql_hold **at = &side->waiting, *h;

    assert(side->waiting != NULL);
    while ((h = *at) != NULL) {
        struct registry_hold *hold = h->job.of.hold;
        int rc;

        if (!sql_session_is(s, hold->session)) {
            at = &h->next_waiting; /* until the loop lets it leave */
            continue;
        }
        rc = side->core->ops->lock_head(side->core, &h->place, NULL);
        if (rc == 0) {
            *at = h->next_waiting;
            sql_hold_grant(s, h);
            continue;
        }
        if (rc == ERR_SESSION_LOST)
            side->next_beat = 0; /* find out at once */
        else if (rc == ERR_CONFLICT)
            sql_hold_waits(s, h);
        at = &h->next_waiting;
    }
}

static bool watched(const void *arg, const char *key)
{
    const struct sql_side *side = arg;
    const struct sql_watch *sw;

    assert(key[0] == '/');
    for (sw = side->attached; sw != NULL; sw = sw->next_attached)
        if (registry_key_below(key, sw->job.of.watch->prefix))
            return true;
    return false;
}

/* Returns whether all was read. */
static bool read_feed(struct sql *s)
{
    struct sql_side *side = &s->side;
    bool missed = false, more = false;
    struct sql_rows rows = {0};
    struct err err = {0};

    assert(!side->feed_valid || side->attached != NULL);
    if (!side->feed_valid)
        return true;
    atomic_store(&s->feed_wanted, true); /* first: the loop looks last */
    if (atomic_load(&s->feed_busy))
        return false;
    atomic_store(&s->feed_wanted, false);
    if (side->core->ops->feed_read(side->core, &side->feed, FEED_BATCH, watched,
                                   side, &rows, &missed, &more, &err) != 0) {
        sql_report_trouble(s, &err);
        sql_rows_close(&rows);
        return false;
    }
    if (rows.n > 0 || missed || more) {
        s->batch.rows = rows;
        s->batch.missed = missed;
        s->batch.more = more;
        atomic_store(&s->feed_busy, true);
        loop_complete(s->base.loop, &s->batch.slot, sql_feed_deliver, s);
    }
    return !more;
}

static int64_t compare_in(struct sql_side *side)
{
    int64_t every = side->core->compare_ms;

    assert(every > 0);
    return every / 2 + (int64_t)rand_below(&side->rand, (uint64_t)every);
}

/* Each watch once in a round; false: not all yet. If the store never stands
 * still for so long, all is listed. */
static bool compare_watches(struct sql *s)
{
    struct sql_side *side = &s->side;
    struct sql_watch *sw;

    assert(side->feed_valid);
    assert(side->core->compare_ms > 0);
    for (sw = side->attached; sw != NULL; sw = sw->next_attached) {
        struct registry_diff_sums sums;
        struct err err = {0};
        int rc = 0;

        if (sw->compared)
            continue;
        rc = side->core->ops->sums(side->core, sw->job.of.watch->prefix,
                                   &side->feed, &sums, &err);
        if (rc == 0 || (rc == ERR_CONFLICT && side->compares >= COMPARES)) {
            sql_watch_compare(s, sw, rc == 0 ? &sums : NULL);
        } else if (rc != ERR_INVALID) {
            if (sql_session_over(rc))
                sql_session_gone(s, &err);
            else if (rc != ERR_CONFLICT)
                sql_report_trouble(s, &err);
            return false;
        }
        sw->compared = true;
    }
    return true;
}

/* Hints may be lost, and whoever writes by hand leaves none: the truth is the
 * whole list. Its sums say from time to time whether it is due. */
static void compare(struct sql *s, mono_ms now)
{
    struct sql_side *side = &s->side;
    struct sql_watch *sw;

    if (side->core->compare_ms == 0 || side->core->ops->sums == NULL ||
        !side->feed_valid || side->changed ||
        !sql_session_is(s, side->session) ||
        atomic_load(&s->ready) != side->session || now < side->next_compare)
        return;
    if (side->next_compare == 0) { /* the first: it has just listed all */
        side->next_compare = now + compare_in(side);
        return;
    }
    side->compares++;
    if (!compare_watches(s)) {
        side->next_compare = now + COMPARE_AGAIN_MS;
        return;
    }
    for (sw = side->attached; sw != NULL; sw = sw->next_attached)
        sw->compared = false;
    side->compares = 0;
    side->next_compare = now + compare_in(side);
}

/* After a look. */
static void poll_again(struct sql_side *side, bool changed)
{
    const struct sql_core *core = side->core;

    if (changed)
        side->soon_ms = core->soon_ms;
    else if (side->soon_ms > 0)
        side->soon_ms =
            side->soon_ms * 2 < core->poll_ms ? side->soon_ms * 2 : 0;
    assert(side->soon_ms >= 0 && side->soon_ms <= core->poll_ms);
}

static void look(struct sql *s)
{
    struct sql_side *side = &s->side;
    mono_ms now = clock_mono_ms();
    bool changed = false;
    struct err err = {0};
    int rc;

    if (atomic_load(&s->closing))
        return;
    (void)registry_pauses_tick(&side->core->turns, now, side->core->poll_ms);
    session_poll(s, now);
    rc = side->core->ops->changed(
        side->core, side->feed_valid || side->waiting != NULL, &changed, &err);
    if (sql_session_over(rc) && side->session != 0)
        sql_session_gone(s, &err);
    if (rc != 0) {
        side->soon_ms = 0;
        sql_report_trouble(s, &err);
        return; /* not looked at anything: next time */
    }
    poll_again(side, changed);
    if (changed)
        side->looked = false;
    if (side->session != 0 && !side->lost && side->core->position != side->told)
        sql_note(s, SQL_MOVED, side->session, now, NULL);
    reap(s, now);
    if (changed || side->dirty || side->changed) {
        side->dirty = false;
        side->next_try = now;
        side->changed = !read_feed(s);
    }
    compare(s, now);
    if (side->waiting != NULL && now >= side->next_try) {
        side->next_try = side->core->lock_ms == 0
                             ? INT64_MAX
                             : now + 1 + side->core->lock_ms;
        grant_locks(s);
    }
}

int64_t sql_worker_poll(void *arg)
{
    struct sql *s = arg;

    look(s);
    if (s->waker != NULL)
        atomic_store(&s->waker->wanted,
                     s->side.feed_valid || s->side.waiting != NULL);
    return s->side.soon_ms;
}
