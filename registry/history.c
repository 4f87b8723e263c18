/*
 * history.c - is this the store that we remember?
 *
 * Between a session at the store and a session for those above us lies this
 * check. The backend says where the store stands; that is compared, and
 * HISTORY_KEY is read by a call of our own, which is let through while those of
 * others are refused:
 *
 *   begin -> (lower than known: back) -> read the key
 *     none, and we remember none          make it, ready
 *     none, or no successor of ours       back (and what it said is written
 *                                         again, if we know it)
 *     bears the mark                      back
 *     ours, and we say back               write the mark
 *     ours, or its successor              ready
 *     ours, unmarked where we had marked
 *     or on a later line than we noticed,
 *     and not lower: the right one again  ready
 *
 * Within a session the key is watched, or read now and then: whoever is marked,
 * accepted or deleted it is a reason for another session, and its check.
 *
 * While it is back the key is read once a second. The session at the store goes
 * on meanwhile, without ephemerals or locks: nobody above was told of it.
 * (Longer than 500 lines: one verdict, and all that leads to it.)
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "registry/registry_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define AGAIN_MS      250  /* a read or a write that failed */
#define LOOK_AGAIN_MS 1000 /* has it been accepted? */
#define PEEK_MS       1500 /* has it been marked? */
#define FAILURES_MAX  20   /* in a row: then it is said whatever it was */
#define EVIDENCE_KEYS 8    /* of one process in one doubt have a key each */
/* A store that stands so much higher than it did was not written to: it was
 * lifted when it was restored (etcd's --bump-revision). */
#define LIFTED (UINT64_C(1) << 28)

struct registry_history {
    struct registry *r;
    char who[HISTORY_WHO_SIZE];
    bool accepts, watches;
    struct registry_place known; /* the highest */
    struct registry_place found; /* of the session that is being examined */
    bool damaged;
    bool contradicted;  /* that it is, by somebody: no position says it */
    struct err trouble; /* with the key; ERR_OK: none */
    unsigned failures;  /* of our own calls, and that it was said */
    bool logged;
    bool marked;                    /* it is, and the mark was seen to stand */
    struct registry_back back;      /* it did, and how that was noticed */
    struct history_record record;   /* the key as last read */
    struct history_record verified; /* of the last session that was ready */
    uint64_t version;
    char *evidence;
    bool evidence_due;
    unsigned evidence_key;       /* 1..EVIDENCE_KEYS: in its key */
    bool evidence_written;       /* that key is ours */
    struct registry_timer timer; /* to look again, or to leave */
};

static void read_key(void *arg);
static void write_evidence(struct registry_history *h);

/* --- calls of our own ---------------------------------------------------- */

static void cancel_work(struct registry_history *h)
{
    registry_forget(h->r, h);
    registry_timer_stop(&h->timer);
}

static void schedule(struct registry_history *h, int64_t ms)
{
    assert(ms > 0);
    registry_timer_stop(&h->timer);
    registry_timer_start(h->r, &h->timer, ms, read_key, h);
}

/* Without this call nobody gets a session, so it is tried for ever. */
static void failed(struct registry_history *h, const struct err *err,
                   const char *what)
{
    bool lasts = err->code == ERR_DENIED || err->code == ERR_INVALID ||
                 err->code == ERR_TOO_LARGE || err->code == ERR_IO;

    assert(err->code != ERR_OK);
    assert(!h->r->ready);
    h->trouble = *err;
    if (!h->logged && (lasts || ++h->failures == FAILURES_MAX)) {
        h->logged = true;
        log_error("!registry", LOG_S("key", HISTORY_KEY), LOG_S("what", what),
                  LOG_S("reason", err->msg),
                  LOG_S("advice", "nothing is done on the registry until this "
                                  "works: may we read and write there, is it "
                                  "read-only, or full?"));
    }
    schedule(h, h->logged ? LOOK_AGAIN_MS : AGAIN_MS);
}

/* The value is used up. */
static void put(struct registry_history *h, const char *key, struct buf *value,
                enum registry_expect expect, uint64_t version,
                registry_reply_f *done)
{
    assert(!h->r->inside);
    h->r->inside = true;
    registry_put(h->r, key, value->data, value->len, expect, version, false,
                 done, h);
    h->r->inside = false;
    buf_close(value);
}

/* --- it went back -------------------------------------------------------- */

static void on_session_end(void *arg)
{
    struct registry *r = ((struct registry_history *)arg)->r;

    assert(!r->ready);
    if (r->session != 0 && !r->closing && !r->mute)
        r->ops->end(r, "the registry is not what it was");
}

/* Within a session that was ready: it is over for those above at once,
 * and ended in the next turn: we may be in the middle of an answer. */
static void end_session(struct registry_history *h)
{
    struct registry *r = h->r;

    assert(r->ready);
    cancel_work(h);
    registry_timer_start(r, &h->timer, 0, on_session_end, h);
    registry_session_lost(r);
    assert(!r->ready);
}

/* Once: false if that is known already, or is no obstacle to us. */
static bool went_back(struct registry_history *h,
                      const struct registry_place *known, const char *by,
                      const char *why)
{
    char was[HISTORY_PLACE_SIZE], now[HISTORY_PLACE_SIZE];

    if (h->back.is || h->accepts)
        return false;
    h->back = (struct registry_back){.is = true,
                                     .known = *known,
                                     .now = h->found,
                                     .since = h->r->clock->mono};
    if (h->back.now.incarnation[0] == '\0')
        memcpy(h->back.now.incarnation, h->record.incarnation, HISTORY_ID_SIZE);
    (void)snprintf(h->back.by, sizeof(h->back.by), "%s", by);
    (void)snprintf(h->back.why, sizeof(h->back.why), "%s", why);
    log_error("registry_went_back",
              LOG_S("known", registry_place_text(&h->back.known, was)),
              LOG_S("now", registry_place_text(&h->back.now, now)),
              LOG_S("by", h->back.by), LOG_S("reason", h->back.why),
              LOG_S("advice", "nothing is decided until a person has looked: "
                              "put the right store back, or see 'pelorus "
                              "registry accept-restore'"));
    if (h->r->ready)
        end_session(h);
    else
        registry_set_state(h->r, REGISTRY_WENT_BACK);
    assert(!h->r->ready);
    return true;
}

/* --- writing the mark, and what we know ---------------------------------- */

static void on_put(void *arg, const struct registry_reply *reply)
{
    struct registry_history *h = arg;
    enum err_code code = reply->err.code;

    assert(h->r->history == h);
    if (code == ERR_OK || code == ERR_CONFLICT || code == ERR_UNKNOWN) {
        read_key(h); /* whatever became of it, the key shows */
    } else {
        failed(h, &reply->err,
               h->back.is ? "the mark that it went back is not written"
                          : "it has none, and none can be made");
    }
}

static void put_record(struct registry_history *h,
                       const struct history_record *record)
{
    struct buf value;

    assert(record->incarnation[0] != '\0');
    buf_init(&value, REGISTRY_VALUE_MAX);
    registry_history_write(&value, record);
    put(h, HISTORY_KEY, &value,
        h->version == 0 ? REGISTRY_ABSENT : REGISTRY_VERSION, h->version,
        on_put);
}

static void put_mark(struct registry_history *h)
{
    struct history_record record = h->record;

    assert(h->back.is);
    if (record.incarnation[0] == '\0')
        registry_history_new_id(record.incarnation);
    if (record.fence_base < h->verified.fence_base)
        record.fence_base = h->verified.fence_base;
    record.went_back = h->back;
    put_record(h, &record);
}

/* An earlier life of ours may have written what we know no more. */
static void on_evidence_written(void *arg, const struct registry_reply *reply)
{
    struct registry_history *h = arg;

    assert(h->back.is);
    if (reply->err.code == ERR_CONFLICT && h->evidence_key < EVIDENCE_KEYS) {
        h->evidence_key++;
        write_evidence(h);
        return;
    }
    if (reply->err.code == ERR_OK)
        h->evidence_written = true;
    else if (reply->err.code == ERR_UNAVAILABLE ||
             reply->err.code == ERR_UNKNOWN)
        h->evidence_due = true;
    schedule(h, LOOK_AGAIN_MS);
}

static void write_evidence(struct registry_history *h)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct buf value;
    size_t len;

    assert(h->evidence != NULL);
    assert(h->back.is);
    assert(h->evidence_key >= 1);
    assert(h->evidence_key <= EVIDENCE_KEYS);
    h->evidence_due = false;
    buf_init(&value, REGISTRY_VALUE_MAX);
    buf_str(&value, h->evidence);
    len = (size_t)snprintf(key, sizeof(key), HISTORY_SEEN_PREFIX "/%s", h->who);
    if (h->evidence_key > 1)
        (void)snprintf(key + len, sizeof(key) - len, ".%u", h->evidence_key);
    put(h, key, &value,
        h->evidence_written || h->evidence_key == EVIDENCE_KEYS
            ? REGISTRY_ANY
            : REGISTRY_ABSENT,
        0, on_evidence_written);
}

/* It is back, and the key says so. */
static void retry(struct registry_history *h)
{
    assert(!h->r->ready);
    if (h->evidence_due && !h->accepts)
        write_evidence(h);
    else
        schedule(h, LOOK_AGAIN_MS);
}

/* --- the verdict --------------------------------------------------------- */

/* The order of all that was seen is that of the lost future. */
static void forget_order(struct registry *r)
{
    struct registry_watch *w;

    DL_FOREACH (r->watches, w)
        registry_diff_reorder(w);
    r->revision = 0;
}

/* Where a watch tells late of a value, or there is none. */
static void schedule_peek(struct registry_history *h)
{
    if (!h->accepts && (!h->watches || h->r->ops->late_values))
        schedule(h, PEEK_MS);
}

static void begin_session(struct registry_history *h)
{
    bool same = strcmp(h->known.incarnation, h->record.incarnation) == 0;
    char now[HISTORY_PLACE_SIZE];

    assert(!h->r->ready);
    assert(h->r->session != 0);
    memcpy(h->found.incarnation, h->record.incarnation, HISTORY_ID_SIZE);
    if (h->back.is || !same || h->accepts) {
        if (!planted(PLANTED_ORDER_KEPT))
            forget_order(h->r);
        h->known = h->found;
    } else if (registry_place_before(&h->known, &h->found)) {
        h->known = h->found;
    }
    if (h->back.is) {
        log_info(same ? "registry_returned" : "registry_accepted",
                 LOG_S("now", registry_place_text(&h->found, now)),
                 LOG_S("who", h->record.accepted.who));
    }
    h->back.is = h->contradicted = h->marked = h->logged = h->evidence_written =
        false;
    h->evidence_key = 1;
    h->verified = h->record;
    h->r->fence_base = h->record.fence_base;
    schedule_peek(h);
    registry_session_ready(h->r);
}

static void on_mark(struct registry_history *h)
{
    assert(h->record.went_back.is);
    h->marked = true;
    (void)went_back(h, &h->record.went_back.known, h->record.went_back.by,
                    h->record.went_back.why);
    retry(h);
}

/* What we noticed was an old primary, with whatever we know on a later line. */
static bool was_old_primary(const struct registry_history *h)
{
    return h->back.now.line != 0 && h->back.now.line < h->back.known.line;
}

/* The mark goes only with the incarnation. One that stood and stands no more,
 * where nothing is lost, is another copy: the right store was put back. So is
 * one on the line that we know after an old primary, which we may have left
 * before it bore the mark. */
static bool is_right_again(const struct registry_history *h)
{
    return (h->marked || was_old_primary(h)) && h->found.position != 0 &&
           !h->r->ops->bumped &&
           !registry_place_fell(&h->found, &h->back.known) &&
           h->found.position - h->back.known.position < LIFTED;
}

/* Whoever began before a mark knows of the incarnation what the mark says. */
static const char *our_incarnation(const struct registry_history *h)
{
    return h->known.incarnation[0] == '\0' && h->back.is
               ? h->back.known.incarnation
               : h->known.incarnation;
}

static void judge(struct registry_history *h)
{
    const char *ours = our_incarnation(h);
    bool same = ours[0] == '\0' || strcmp(h->record.incarnation, ours) == 0;
    bool next = !same && registry_history_follows(&h->record, ours);
    bool marked = h->record.went_back.is && !planted(PLANTED_MARK_UNREAD);
    bool right = next || (same && (!h->back.is || is_right_again(h)));

    if (h->accepts || (!marked && right)) {
        begin_session(h);
    } else if (marked) {
        on_mark(h);
    } else {
        (void)went_back(h, &h->known, h->who,
                        "it is another incarnation, which does not follow "
                        "ours");
        put_mark(h);
    }
}

static void on_no_key(struct registry_history *h)
{
    assert(!h->r->ready);
    h->record = h->verified; /* as it was, or nothing */
    h->version = 0;
    if (h->accepts) {
        begin_session(h);
        return;
    }
    if (h->known.incarnation[0] == '\0' && !h->back.is) {
        struct history_record record = {0};

        registry_history_new_id(record.incarnation);
        put_record(h, &record);
        return;
    }
    (void)went_back(h, &h->known, h->who,
                    "it has no incarnation: it was emptied, "
                    "or is another store");
    put_mark(h);
}

static void on_key(void *arg, const struct registry_reply *reply)
{
    struct registry_history *h = arg;
    struct err err = reply->err;

    if (h->r->closing)
        return; /* nobody is told of a session any more */
    assert(!h->r->ready);
    err_clear(&h->trouble);
    if (err.code == ERR_NOT_FOUND) {
        on_no_key(h);
        return;
    }
    if (err.code == ERR_OK &&
        registry_history_read(&h->record, reply->entries[0].value,
                              reply->entries[0].value_len, &err) == 0) {
        h->version = reply->entries[0].version;
        h->damaged = false;
        judge(h);
        return;
    }
    if (err.code != ERR_INVALID) {
        failed(h, &err, "it cannot be read");
        return;
    }
    h->trouble = err;
    if (!h->damaged) {
        h->damaged = true;
        log_error("!registry", LOG_S("reason", err.msg),
                  LOG_S("advice", "nothing is done on it: restore the key, or "
                                  "delete it if you know why it is damaged"));
    }
    schedule(h, LOOK_AGAIN_MS);
}

/* --- within a session ---------------------------------------------------- */

/* Somebody marked or accepted it while we have a session. */
static void on_record(struct registry_history *h,
                      const struct registry_entry *e)
{
    struct history_record at;

    assert(h->r->ready);
    if (registry_history_read(&at, e->value, e->value_len, NULL) != 0)
        return;
    h->found = h->known;
    if (at.went_back.is) {
        h->record = at;
        (void)went_back(h, &at.went_back.known, at.went_back.by,
                        at.went_back.why);
    } else if (strcmp(at.incarnation, h->known.incarnation) != 0) {
        end_session(h); /* the next session's check says what it is */
    }
}

static void on_event(void *arg, const struct registry_event *ev)
{
    struct registry_history *h = arg;

    if (ev->type == REGISTRY_SYNCED || !h->r->ready || h->accepts ||
        strcmp(ev->entry.key, HISTORY_KEY) != 0)
        return;
    if (ev->type == REGISTRY_REMOVE)
        read_key(h); /* or was it another one, which was made anew? */
    else
        on_record(h, &ev->entry);
}

static void on_peek(void *arg, const struct registry_reply *reply)
{
    struct registry_history *h = arg;

    if (reply->err.code == ERR_NOT_FOUND) {
        end_session(h);
        return;
    }
    schedule_peek(h);
    if (reply->err.code == ERR_OK)
        on_record(h, &reply->entries[0]);
}

static void read_key(void *arg)
{
    struct registry_history *h = arg;
    struct registry *r = h->r;

    assert(!r->inside);
    if (r->session == 0 || r->closing)
        return;
    r->inside = true;
    registry_get(r, HISTORY_KEY, r->ready ? on_peek : on_key, h);
    r->inside = false;
}

static bool fell(const struct registry_place *now,
                 const struct registry_place *known)
{
    return registry_place_fell(now, known) &&
           !planted(PLANTED_PLACE_UNCOMPARED);
}

/* --- what backends say --------------------------------------------------- */

void registry_session_begin(struct registry *r, uint64_t session, uint64_t line,
                            uint64_t position)
{
    struct registry_history *h = r->history;

    if (r->closing || r->mute)
        return;
    assert(session != 0);
    assert(!r->ready);
    r->session = session;
    if (h == NULL) {
        registry_session_ready(r);
        return;
    }
    h->found = (struct registry_place){.line = line, .position = position};
    if (position != 0 && fell(&h->found, &h->known))
        (void)went_back(h, &h->known, h->who, "its position fell");
    cancel_work(h);
    h->failures = 0;
    h->evidence_due = h->evidence != NULL; /* it may be another store */
    read_key(h);
}

bool registry_is_behind(const struct registry *r, uint64_t line,
                        uint64_t position)
{
    struct registry_place at = {.line = line, .position = position};

    return r->history != NULL && position != 0 &&
           registry_place_before(&at, &r->history->known);
}

bool registry_report_position(struct registry *r, uint64_t line,
                              uint64_t position)
{
    struct registry_history *h = r->history;
    struct registry_place at = {.line = line, .position = position};

    if (h == NULL || position == 0 || r->closing || r->mute)
        return true;
    memcpy(at.incarnation, h->known.incarnation, HISTORY_ID_SIZE);
    if (!r->ready) {
        h->found.line = line;
        h->found.position = position;
        return true;
    }
    if (!fell(&at, &h->known)) {
        h->known = at;
        return true;
    }
    h->found = at;
    if (!went_back(h, &h->known, h->who, "its position fell"))
        end_session(h); /* it is accepted, but was not when we began */
    return false;
}

void registry_report_rollback(struct registry *r, uint64_t line,
                              uint64_t position, const char *why)
{
    struct registry_history *h = r->history;

    if (h == NULL || r->closing || r->mute)
        return;
    h->found = (struct registry_place){.line = line, .position = position};
    (void)went_back(h, &h->known, h->who, why);
}

void registry_history_lost(struct registry *r)
{
    if (r->history != NULL)
        cancel_work(r->history);
}

void registry_history_free(struct registry *r)
{
    struct registry_history *h = r->history;

    if (h != NULL) {
        cancel_work(h);
        r->history = NULL;
        mem_free(h->evidence);
        mem_free(h);
    }
}

/* --- for those above ----------------------------------------------------- */

void registry_compare(struct registry *r, const char *who,
                      const struct registry_place *remembered, bool watch)
{
    struct registry_history *h = mem_zalloc(sizeof(*h));

    assert(r->history == NULL);
    assert(r->session == 0);
    assert(who[0] != '\0');
    r->history = h;
    h->r = r;
    h->evidence_key = 1;
    (void)snprintf(h->who, sizeof(h->who), "%s", who);
    if (remembered != NULL)
        h->known = *remembered;
    h->watches = watch;
    if (watch)
        (void)registry_watch(r, HISTORY_PREFIX, on_event, h); /* r ends it */
}

void registry_accepting(struct registry *r)
{
    assert(r->history != NULL);
    r->history->accepts = true;
}

const struct registry_place *registry_place(const struct registry *r)
{
    static const struct registry_place nowhere;

    return r->history == NULL ? &nowhere : &r->history->known;
}

const struct registry_back *registry_went_back(const struct registry *r)
{
    return r->history != NULL && r->history->back.is ? &r->history->back : NULL;
}

const char *registry_unmarked(const struct registry *r)
{
    const struct registry_back *back = registry_went_back(r);
    bool known =
        back == NULL || r->history->marked || !r->history->contradicted;

    return known ? NULL : back->why;
}

const struct err *registry_key_trouble(const struct registry *r)
{
    return r->history != NULL && r->history->trouble.code != ERR_OK
               ? &r->history->trouble
               : NULL;
}

void registry_report_contradiction(struct registry *r,
                                   const struct registry_place *known,
                                   const char *fmt, ...)
{
    struct registry_history *h = r->history;
    char why[HISTORY_WHY_SIZE];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    if (h == NULL || r->closing || r->mute)
        return;
    if (r->ready)
        h->found = h->known;
    if (went_back(h, known != NULL ? known : &h->known, h->who, why))
        h->contradicted = true;
}

void registry_set_evidence(struct registry *r, const char *json)
{
    struct registry_history *h = r->history;

    assert(json != NULL);
    if (h != NULL) {
        mem_free(h->evidence);
        h->evidence = mem_strdup(json);
        h->evidence_due = true;
    }
}
