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

static void know(struct restore *r, const struct registry_place *p)
{
    struct restore_summary *s = &r->s;
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

static void witness(struct restore *r, const struct json *o)
{
    struct restore_summary *s = &r->s;
    struct registry_place place;
    const char *text = json_str(o, "place");
    s->witnesses++;
    keep_highest(&s->epoch_shown, json_u64(o, "highest_epoch", 0));
    keep_highest(&s->fence_shown, json_u64(o, "highest_fence", 0));
    s->cut |= json_true(json_get(o, "cut"));
    restore_shown_note(r, o);
    if (text != NULL && registry_place_parse(text, &place, NULL) == 0)
        know(r, &place);
}

static void seen_page(struct restore *r, const struct registry_reply *page)
{
    for (size_t i = 0; i < page->n_entries; i++) {
        const struct json *o = NULL;
        if (json_parse(page->entries[i].value, page->entries[i].value_len, &o,
                       NULL) == 0 &&
            json_is(o, JSON_OBJECT))
            witness(r, o);
        json_free(o);
    }
}

/* --- work ---------------------------------------------------------------- */

static void work_page(struct restore *r, const struct registry_reply *page)
{
    struct restore_summary *s = &r->work;
    for (size_t i = 0; i < page->n_entries; i++) {
        const struct registry_entry *e = &page->entries[i];
        struct work_item w;
        if (work_item_read(&w, e->value, e->value_len, NULL) != 0) {
            s->unreadable++;
            continue;
        }
        s->items++;
        s->unfinished += w.state != WORK_DONE && w.state != WORK_DROPPED;
        keep_highest(&s->epoch_found, w.epoch);
        restore_stored_note(r, &w);
        work_item_close(&w);
    }
}

/* --- who lives ----------------------------------------------------------- */

static void live_page(struct restore *r, const struct registry_reply *page)
{
    struct restore_summary *s = &r->s;
    uint64_t ours = registry_session(r->c.registry);
    for (size_t i = 0; i < page->n_entries; i++) {
        const struct registry_entry *e = &page->entries[i];
        if (e->owner == 0 || e->owner == ours)
            continue;
        s->live++;
        if (s->n_names < RESTORE_NAMES)
            (void)snprintf(s->names[s->n_names++], sizeof(s->names[0]), "%s",
                           e->key);
    }
}

/* --- the end ------------------------------------------------------------- */

static int judge(struct restore *r, struct err *err)
{
    struct restore_summary *s = &r->s;
    r->evidence = s->epoch_shown;
    keep_highest(&r->evidence, s->epoch_found);
    keep_highest(&r->evidence, r->c.epoch_floor);
    if (r->evidence > EPOCH_MAX - 2 * RESTORE_LIFT_EPOCH)
        return (int)err_set(
            err, ERR_INVALID,
            "the highest epoch, %" PRIu64 ", leaves none above it: it is "
            "somebody's mistake; see what stands below " HISTORY_SEEN_PREFIX
            " and in " EPOCH_FLOOR_KEY,
            r->evidence);
    if (s->fence_shown > UINT64_MAX / 4 ||
        s->history.fence_base > UINT64_MAX / 4)
        return (int)err_set(
            err, ERR_INVALID,
            "the highest fencing number leaves none above it: it is "
            "somebody's mistake; see what stands below " HISTORY_PREFIX);
    if (r->phase == PHASE_LOOK_AGAIN && r->told[0] != '\0' &&
        strcmp(r->told, s->history.incarnation) != 0)
        return (int)err_set(err, ERR_CONFLICT,
                            "it is another incarnation by now, accepted by "
                            "\"%s\": look what is there",
                            s->history.accepted.who);
    if (s->history.went_back.is && r->c.backup == NULL &&
        strcmp(s->history.went_back.by, RESTORE_MARK) == 0)
        return (int)err_set(
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

static void nodes_walked(struct restore *r)
{
    if (r->c.backup != NULL)
        restore_back_evidence(r);
    looked(r);
}

static void own_walked(struct restore *r)
{
    restore_walk(r, "/nodes", live_page, nodes_walked);
}

/* Agents, and then DolphinScheduler's. */
static void coordinators_walked(struct restore *r)
{
    restore_walk(r, "/pelorus/nodes", live_page, own_walked);
}

static void live_look(struct restore *r)
{
    struct restore_summary *s = &r->s;
    keep_highest(&s->epoch_found, r->work.epoch_found);
    s->items = r->work.items;
    s->unfinished = r->work.unfinished;
    s->unreadable = r->work.unreadable;
    restore_shown_compare(r);
    restore_walk(r, "/pelorus/coordinators", live_page, coordinators_walked);
}

static void work_walked(struct restore *r)
{
    assert(!r->counted);
    r->counted = true;
    live_look(r);
}

/* Once. What the items come to while a person thinks about it, the lift of the
 * floor has room for. */
static void seen_walked(struct restore *r)
{
    if (r->counted) {
        live_look(r);
    } else {
        memset(&r->work, 0, sizeof(r->work));
        restore_known_free(&r->stored);
        restore_walk(r, WORK_PREFIX, work_page, work_walked);
    }
}

/* --- the two keys -------------------------------------------------------- */

/* What both keys have in common; false: it is not one that can be used. */
static bool key_is_usable(struct restore *r, const struct err *err)
{
    assert(r->outstanding > 0 && r->outstanding <= 2);
    if (err->code == ERR_OK || err->code == ERR_NOT_FOUND)
        return true;
    restore_retry(r, err);
    return false;
}

static void key_was_read(struct restore *r)
{
    assert(r->outstanding > 0);
    if (--r->outstanding > 0)
        return;
    r->progress = r->c.clock->mono;
    r->others = r->s.history;
    if (r->s.history.went_back.is)
        know(r, &r->s.history.went_back.known);
    restore_walk(r, HISTORY_SEEN_PREFIX, seen_page, seen_walked);
}

static void on_floor(void *arg, const struct registry_reply *reply)
{
    struct restore *r = arg;
    const struct registry_entry *e = reply->entries;
    struct err err = reply->err;

    if (!key_is_usable(r, &err))
        return;
    if (err.code == ERR_OK) {
        r->floor_version = e->version;
        r->floor_now = 0;
        if (work_epoch_floor_read(e->value, e->value_len, &r->floor_now,
                                  &err) != 0 &&
            r->c.epoch_floor == 0) {
            (void)err_wrap(&err, "it cannot be told which epochs were given; "
                                 "say what is above all of them with "
                                 "--epoch-floor");
            restore_fail(r, &err);
            return;
        }
        keep_highest(&r->s.epoch_found, r->floor_now);
    }
    key_was_read(r);
}

static void on_history(void *arg, const struct registry_reply *reply)
{
    struct restore *r = arg;
    const struct registry_entry *e = reply->entries;
    struct err err = reply->err;

    if (!key_is_usable(r, &err))
        return;
    if (err.code == ERR_OK) {
        r->history_version = e->version;
        r->s.found = true;
        if (registry_history_read(&r->s.history, e->value, e->value_len,
                                  &err) != 0) {
            restore_fail(r, &err);
            return;
        }
    }
    key_was_read(r);
}

void restore_look_begin(struct restore *r)
{
    assert(r->phase == PHASE_LOOK || r->phase == PHASE_LOOK_AGAIN);
    memset(&r->s, 0, sizeof(r->s));
    restore_known_free(&r->shown);
    memset(&r->others, 0, sizeof(r->others));
    r->history_version = 0;
    r->floor_version = r->floor_now = 0;
    r->outstanding = 2;
    registry_get(r->c.registry, HISTORY_KEY, on_history, r);
    registry_get(r->c.registry, EPOCH_FLOOR_KEY, on_floor, r);
}
