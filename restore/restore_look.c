/*
 * restore_look.c - what is in the store, and what is testified. Design: read
 * only, a page at a time; the numbers are the highest that anybody shows,
 * because all of them speak of one lost future.
 */
#include "restore/restore_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- who knows of a later incarnation or position ------------------------ */

static void note_place(struct restore *r, const struct registry_place *p)
{
    struct restore_summary *s = &r->s;
    assert(r->phase == PHASE_LOOK || r->phase == PHASE_LOOK_AGAIN);
    if (p->incarnation[0] == '\0')
        return;
    registry_history_after(&r->others, p->incarnation);
    /* of incarnations that the store does not know nothing can be said but
     * that somebody has seen them */
    bool stranger = strcmp(p->incarnation, s->history.incarnation) != 0;
    bool before = strcmp(s->known.incarnation, s->history.incarnation) == 0;
    if (s->known.incarnation[0] == '\0' || (stranger && before) ||
        (strcmp(p->incarnation, s->known.incarnation) == 0 &&
         registry_place_before(&s->known, p)))
        s->known = *p;
}

/* --- testimonies --------------------------------------------------------- */

static void note_evidence(struct restore *r, const struct json *o)
{
    struct restore_summary *s = &r->s;
    struct registry_place place;
    const char *text = json_str(o, "place");
    assert(json_is(o, JSON_OBJECT));
    s->witnesses++;
    keep_highest(&s->epoch_shown, json_u64(o, "highest_epoch", 0));
    keep_highest(&s->fence_shown, json_u64(o, "highest_fence", 0));
    s->cut |= json_true(json_get(o, "cut"));
    restore_shown_note(r, o);
    if (text != NULL && registry_place_parse(text, &place, NULL) == 0)
        note_place(r, &place);
}

static void seen_found(struct restore *r, const struct registry_entry *e)
{
    const struct json *o = NULL;
    if (json_parse(e->value, e->value_len, &o, NULL) == 0 &&
        json_is(o, JSON_OBJECT))
        note_evidence(r, o);
    json_free(o);
}

/* --- work ---------------------------------------------------------------- */

static void work_found(struct restore *r, const struct registry_entry *e)
{
    struct restore_summary *s = &r->work;
    struct work_item w;
    assert(!r->counted);
    if (work_item_read(&w, e->value, e->value_len, NULL) != 0) {
        s->unreadable++;
        return;
    }
    s->items++;
    s->unfinished += !work_state_final(w.state);
    keep_highest(&s->epoch_found, w.epoch);
    restore_stored_note(r, &w);
    work_item_close(&w);
}

/* --- who lives ----------------------------------------------------------- */

static void live_found(struct restore *r, const struct registry_entry *e)
{
    struct restore_summary *s = &r->s;
    assert(r->s.n_names <= RESTORE_NAMES);
    if (e->owner == 0 || e->owner == registry_session(r->c.registry))
        return;
    s->live++;
    if (s->n_names < RESTORE_NAMES)
        (void)snprintf(s->names[s->n_names++], sizeof(s->names[0]), "%s",
                       e->key);
}

/* --- the end ------------------------------------------------------------- */

static int judge(struct restore *r, struct err *err)
{
    struct restore_summary *s = &r->s;
    assert(r->phase == PHASE_LOOK || r->phase == PHASE_LOOK_AGAIN);
    r->evidence = s->epoch_shown;
    keep_highest(&r->evidence, s->epoch_found);
    keep_highest(&r->evidence, r->c.epoch_floor);
    if (r->evidence > EPOCH_MAX - 2 * RESTORE_LIFT_EPOCH)
        return err_set(
            err, ERR_INVALID,
            "the highest epoch, %" PRIu64 ", leaves none above it: it is "
            "somebody's mistake; see what stands below " HISTORY_SEEN_PREFIX
            " and in " EPOCH_FLOOR_KEY,
            r->evidence);
    if (s->fence_shown > UINT64_MAX / 4 ||
        s->history.fence_base > UINT64_MAX / 4)
        return err_set(
            err, ERR_INVALID,
            "the highest fencing number leaves none above it: it is "
            "somebody's mistake; see what stands below " HISTORY_PREFIX);
    if (r->phase == PHASE_LOOK_AGAIN && r->told[0] != '\0' &&
        strcmp(r->told, s->history.incarnation) != 0)
        return err_set(err, ERR_CONFLICT,
                       "it is another incarnation by now, accepted by "
                       "\"%s\": look what is there",
                       s->history.accepted.who);
    if (s->history.went_back.is && r->c.backup == NULL &&
        strcmp(s->history.went_back.by, RESTORE_MARK) == 0)
        return err_set(
            err, ERR_CONFLICT,
            "a backup is being put back and is not complete (%s): run that "
            "command again, to its end; if its file is lost, put another "
            "backup into it ('pelorus registry restore FILE')",
            s->history.went_back.why);
    return 0;
}

static void looked(struct restore *r)
{
    struct err err;
    assert(r->phase == PHASE_LOOK || r->phase == PHASE_LOOK_AGAIN);
    err_clear(&err);
    if (judge(r, &err) != 0) {
        restore_fail(r, &err);
    } else if (r->phase == PHASE_LOOK_AGAIN) {
        restore_begin(r, PHASE_FLOOR);
    } else {
        restore_known_f *known = r->known;
        memcpy(r->told, r->s.history.incarnation, sizeof(r->told));
        r->phase = PHASE_IDLE;
        r->known = NULL;
        known(r->arg, &err, &r->s);
    }
}

static void walked_all(struct restore *r)
{
    struct restore_summary *s = &r->s;
    assert(r->counted);
    keep_highest(&s->epoch_found, r->work.epoch_found);
    s->items = r->work.items;
    s->unfinished = r->work.unfinished;
    s->unreadable = r->work.unreadable;
    restore_shown_compare(r);
    if (r->c.backup != NULL)
        restore_back_evidence(r);
    looked(r);
}

/* The items only once: what they come to while a person thinks about it, the
 * lift of the floor has room for. Who lives: coordinators, agents, and
 * DolphinScheduler's nodes. */
static void next_walk(struct restore *r)
{
    static const struct {
        const char *prefix;
        restore_entry_f *found;
    } walks[] = {{HISTORY_SEEN_PREFIX, seen_found},
                 {WORK_PREFIX, work_found},
                 {"/pelorus/coordinators", live_found},
                 {"/pelorus/nodes", live_found},
                 {"/nodes", live_found}};
    assert(r->walk <= ARRAY_LEN(walks));
    if (r->walk > 1)
        r->counted = true;
    if (r->walk == ARRAY_LEN(walks)) {
        walked_all(r);
        return;
    }
    size_t i = r->walk++;
    if (walks[i].found == work_found && r->counted) {
        next_walk(r);
        return;
    }
    restore_walk(r, walks[i].prefix, walks[i].found, next_walk);
}

/* --- the two keys -------------------------------------------------------- */

static void on_floor(void *arg, const struct registry_reply *reply)
{
    struct restore *r = arg;
    const struct registry_entry *e = reply->entries;
    struct err err = reply->err;

    assert(r->phase == PHASE_LOOK || r->phase == PHASE_LOOK_AGAIN);
    assert(r->walk == 0);
    if (err.code == ERR_OK) {
        r->floor_version = e->version;
        if (work_epoch_floor_read(e->value, e->value_len, &r->floor_now,
                                  &err) != 0 &&
            r->c.epoch_floor == 0) {
            err_wrap(&err, "it cannot be told which epochs were given; "
                           "say what is above all of them with "
                           "--epoch-floor");
            restore_fail(r, &err);
            return;
        }
        keep_highest(&r->s.epoch_found, r->floor_now);
    } else if (err.code != ERR_NOT_FOUND) {
        restore_retry(r, &err);
        return;
    }
    r->progress = r->c.clock->mono;
    r->others = r->s.history;
    if (r->s.history.went_back.is)
        note_place(r, &r->s.history.went_back.known);
    next_walk(r);
}

static void on_history(void *arg, const struct registry_reply *reply)
{
    struct restore *r = arg;
    const struct registry_entry *e = reply->entries;
    struct err err = reply->err;

    assert(r->phase == PHASE_LOOK || r->phase == PHASE_LOOK_AGAIN);
    assert(r->history_version == 0);
    r->s.found = err.code == ERR_OK;
    if (r->s.found) {
        r->history_version = e->version;
        if (registry_history_read(&r->s.history, e->value, e->value_len,
                                  &err) != 0) {
            restore_fail(r, &err);
            return;
        }
    } else if (err.code != ERR_NOT_FOUND) {
        restore_retry(r, &err);
        return;
    }
    registry_get(r->c.registry, EPOCH_FLOOR_KEY, on_floor, r);
}

void restore_look_begin(struct restore *r)
{
    assert(r->phase == PHASE_LOOK || r->phase == PHASE_LOOK_AGAIN);
    memset(&r->s, 0, sizeof(r->s));
    restore_known_free(&r->shown);
    memset(&r->others, 0, sizeof(r->others));
    r->history_version = r->floor_version = r->floor_now = 0;
    r->walk = 0;
    if (!r->counted) {
        memset(&r->work, 0, sizeof(r->work));
        restore_known_free(&r->stored);
    }
    registry_get(r->c.registry, HISTORY_KEY, on_history, r);
}
