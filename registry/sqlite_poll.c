/*
 * sqlite_poll.c - what the worker does unasked: keep our session, end those of
 * the dead, grant locks and read the change feed.
 *
 * Runs on the worker's thread after every burst of jobs, so that our own
 * writes are seen at once, and every SQLITE_POLL_MS, when it costs one look at
 * `data_version` unless somebody else has written.
 */
#include "registry/sqlite_backend.h"

#include "base/log.h"

#define FEED_BATCH 2000

/* --- the session
 * -------------------------------------------------------------- */

/* The row is gone. The loop hears it from the poll, behind the answers of the
 * jobs under way. */
void sqlite_session_gone(struct sqlite *s)
{
    s->side.lost = true;
}

/* Is it still the session of whoever asks? */
bool sqlite_session_is(const struct sqlite *s, uint64_t session)
{
    const struct sqlite_side *side = &s->side;

    return session != 0 && session == side->session && !side->lost &&
           atomic_load(&s->abandoned) != session;
}

void sqlite_session_renewed(struct sqlite *s, mono_ms sent)
{
    struct sqlite_side *side = &s->side;

    side->renewed = sent;
    side->next_beat = sent + side->timeout_ms / 3;
    if (side->failing) {
        side->failing = false;
        log_info("+registry", LOG_S("backend", "sqlite"),
                 LOG_U("session", side->session));
    }
    sqlite_note(s, SQLITE_RENEWED, side->session, sent);
}

static void not_renewed(struct sqlite_side *side, mono_ms now,
                        const struct err *err)
{
    side->next_beat =
        now + (side->timeout_ms / 24 < SQLITE_RETRY_MS ? side->timeout_ms / 24
                                                       : SQLITE_RETRY_MS);
    if (!side->failing) {
        side->failing = true;
        log_warn("-registry", LOG_S("backend", "sqlite"),
                 LOG_U("session", side->session),
                 LOG_S("error", err_name(err->code)),
                 LOG_S("reason", err->msg));
    }
}

static void session_renew(struct sqlite *s, mono_ms now)
{
    struct sqlite_side *side = &s->side;
    struct err err = {0};
    int rc = sqlite_begin(side->db, &err);

    if (rc == 0) {
        rc = sqlite_session_beat(side->db, side->session, &err);
        if (rc == 0) {
            rc = sqlite_commit(side->db, &err);
        } else {
            sqlite_rollback(side->db);
        }
    }
    if (rc == 0) {
        sqlite_session_renewed(s, now);
    } else if (rc == ERR_SESSION_LOST) {
        sqlite_session_gone(s);
    } else {
        not_renewed(side, now, &err);
    }
}

static void session_begin(struct sqlite *s, mono_ms now)
{
    struct sqlite_side *side = &s->side;
    struct err err = {0};
    uint64_t id;

    if (sqlite_session_begin(side->db, side->old, side->timeout_ms, &id,
                             &err) != 0) {
        not_renewed(side, now, &err);
        return;
    }
    side->session = id;
    side->old = 0;
    side->failing = false;
    side->dirty = true;
    side->looked = false;
    side->renewed = now;
    side->next_beat = now + side->timeout_ms / 3;
    sqlite_reaper_restart(&side->reaper, now);
    sqlite_note(s, SQLITE_OPENED, id, now);
}

static void session_poll(struct sqlite *s, mono_ms now)
{
    struct sqlite_side *side = &s->side;

    if (side->lost) {
        sqlite_note(s, SQLITE_LOST, side->session, now);
        side->lost = false;
        side->session = 0;
        side->next_beat = now;
    } else if (side->session != 0 && !sqlite_session_is(s, side->session)) {
        side->old = side->session; /* the loop gave it up; its row may stand */
        side->session = 0;
        side->next_beat = now;
    }
    if (now < side->next_beat) {
        return;
    }
    if (side->session == 0) {
        session_begin(s, now);
    } else {
        session_renew(s, now);
    }
}

/* --- the poll
 * -------------------------------------------------------------------------- */

/*
 * A session is taken for dead only by a process that is well itself: it looks
 * in time (sqlite_reaper_look) and its own renewals succeed. Where nobody can
 * write, nobody's silence means anything.
 */
static void reap(struct sqlite *s, mono_ms now)
{
    struct sqlite_side *side = &s->side;
    struct err err;
    size_t reaped = 0;

    if (side->session == 0 || now - side->renewed > side->timeout_ms / 2) {
        sqlite_reaper_restart(&side->reaper, now);
    }
    if (sqlite_reaper_look(&side->reaper, side->db, side->session, now,
                           !side->looked, &err) != 0) {
        return; /* not looked: a gap for the next one */
    }
    side->looked = true;
    if (side->session == 0) {
        return;
    }
    if (sqlite_reaper_reap(&side->reaper, side->db, side->session, now, &reaped,
                           &err) == ERR_SESSION_LOST) {
        sqlite_session_gone(s);
    }
    if (reaped > 0) {
        side->dirty = true;
        side->looked = false;
    }
}

static void grant_locks(struct sqlite *s)
{
    struct sqlite_side *side = &s->side;
    struct sqlite_hold **at = &side->waiting, *h;

    while ((h = *at) != NULL) {
        struct registry_hold *hold = h->job.of.hold;
        int rc;

        if (!sqlite_session_is(s, hold->session)) {
            at = &h->next_waiting; /* until the loop lets it leave */
            continue;
        }
        rc = sqlite_lock_head(side->db, hold->session, hold->key, h->ticket,
                              NULL);
        if (rc == 0) {
            *at = h->next_waiting;
            sqlite_hold_grant(s, h);
            continue;
        }
        if (rc == ERR_SESSION_LOST) {
            side->next_beat = 0; /* find out at once */
        }
        at = &h->next_waiting;
    }
}

static bool watched(const void *arg, const char *key)
{
    const struct sqlite_side *side = arg;
    const struct sqlite_watch *sw;

    for (sw = side->attached; sw != NULL; sw = sw->next_attached) {
        if (registry_key_below(key, sw->job.of.watch->prefix)) {
            return true;
        }
    }
    return false;
}

/* Returns whether all was read. */
static bool read_feed(struct sqlite *s)
{
    struct sqlite_side *side = &s->side;
    bool missed = false, more = false;
    struct sqlite_rows rows = {0};
    struct err err;

    if (!side->feed_valid) {
        return true;
    }
    if (atomic_load(&s->feed_busy)) {
        return false;
    }
    if (sqlite_feed_read(side->db, &side->feed, FEED_BATCH, watched, side,
                         &rows, &missed, &more, &err) != 0) {
        sqlite_rows_close(&rows);
        return false;
    }
    if (rows.n > 0 || missed || more) {
        s->batch.rows = rows;
        s->batch.missed = missed;
        s->batch.more = more;
        atomic_store(&s->feed_busy, true);
        loop_complete(s->base.loop, &s->batch.slot, sqlite_feed_deliver, s);
    }
    return !more;
}

void sqlite_worker_poll(void *arg)
{
    struct sqlite *s = arg;
    struct sqlite_side *side = &s->side;
    mono_ms now = clock_mono_ms();
    bool changed = false;

    if (atomic_load(&s->closing)) {
        return;
    }
    session_poll(s, now);
    if (sqlite_changed(side->db, &changed, NULL) != 0) {
        return; /* not looked at anything: next time */
    }
    if (changed) {
        side->looked = false;
    }
    reap(s, now);
    if (changed || side->dirty || side->changed) {
        side->dirty = false;
        grant_locks(s);
        side->changed = !read_feed(s);
    }
}
