/*
 * restore_shown.c - what those testify who remember the lost future, item by
 * item, beside what is in the store. Design: all testimonies speak of one
 * future, so the highest epoch of an item counts, and being finished at it is
 * the end of it.
 *
 *   {"items":[["<id>",<epoch>,"<owner>"],…],"finished":[["<id>",<epoch>],…],
 *    "shown":[["<id>",<epoch>],…],"shown_finished":[["<id>",<epoch>],…]}
 *
 * The first two are what coordinators saw, the others what clients said since.
 */
#include "restore/restore_priv.h"

#include "base/mem.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void restore_known_free(struct known **list)
{
    struct known *k, *next;
    HASH_ITER (hh, *list, k, next) {
        HASH_DEL(*list, k);
        mem_free(k);
    }
}

static struct known *known_get(struct known **list, const char *id)
{
    struct known *k;
    size_t len = strlen(id);
    assert(id[0] != '\0');
    HASH_FIND(hh, *list, id, len, k);
    if (k == NULL) {
        k = mem_zalloc(sizeof(*k) + len + 1);
        memcpy(k->id, id, len + 1);
        HASH_ADD_KEYPTR(hh, *list, k->id, len, k);
    }
    return k;
}

void restore_stored_note(struct restore *r, const struct work_item *w)
{
    struct known *k = known_get(&r->stored, w->id);
    assert(!r->counted);
    k->epoch = w->epoch;
    k->finished = work_state_final(w->state);
}

/* A number of ours: from 2^53 on it is a string. */
static uint64_t number(const struct json *o)
{
    uint64_t n = 0;
    int64_t whole;
    if (o != NULL && json_is(o, JSON_STRING))
        return units_uint(o->string, EPOCH_MAX, &n, NULL) == 0 ? n : 0;
    return json_whole(o, &whole) && whole > 0 ? (uint64_t)whole : 0;
}

static void note_rows(struct restore *r, const struct json *rows, bool finished)
{
    const struct json *row;
    json_each (row, rows) {
        const struct json *id = json_first(row);
        const struct json *epoch = id != NULL ? id->next : NULL;
        const struct json *owner = epoch != NULL ? epoch->next : NULL;
        uint64_t n = number(epoch);
        if (id == NULL || !json_is(id, JSON_STRING) || n == 0 ||
            work_check_id(id->string, NULL) != 0)
            continue;
        struct known *k = known_get(&r->shown, id->string);
        if (n > r->s.epoch_shown)
            r->s.epoch_shown = n;
        if (n < k->epoch)
            continue;
        if (n > k->epoch) {
            k->finished = false;
            k->owner[0] = '\0';
        }
        k->finished |= finished;
        k->epoch = n;
        if (owner != NULL && json_is(owner, JSON_STRING))
            (void)snprintf(k->owner, sizeof(k->owner), "%s", owner->string);
    }
}

void restore_shown_note(struct restore *r, const struct json *o)
{
    note_rows(r, json_get(o, "items"), false);
    note_rows(r, json_get(o, "finished"), true);
    note_rows(r, json_get(o, "shown"), false);
    note_rows(r, json_get(o, "shown_finished"), true);
}

/* The first few of each kind, of which this is the n-th. */
static void sample(struct restore *r, uint64_t n, const char *what,
                   const struct known *k, uint64_t now)
{
    struct restore_summary *s = &r->s;
    assert(n > 0);
    if (n > RESTORE_SAMPLES / 3)
        return;
    char *out = s->samples[s->n_samples++];
    const char *who = k->owner[0] != '\0' ? k->owner : "somebody";
    if (now > 0)
        (void)snprintf(out, sizeof(s->samples[0]),
                       "%s: %s %s at epoch %" PRIu64
                       ", in the registry at %" PRIu64,
                       k->id, what, who, k->epoch, now);
    else
        (void)snprintf(out, sizeof(s->samples[0]),
                       "%s: %s %s at epoch %" PRIu64, k->id, what, who,
                       k->epoch);
}

void restore_shown_compare(struct restore *r)
{
    uint64_t ahead = 0, back = 0, gone = 0;
    struct known *k, *next;
    assert(r->s.n_samples == 0);
    HASH_ITER (hh, r->shown, k, next) {
        struct known *is;
        HASH_FIND(hh, r->stored, k->id, strlen(k->id), is);
        if (is == NULL && !k->finished)
            sample(r, ++gone, "gone; it was had by", k, 0);
        else if (is != NULL && !is->finished && k->finished &&
                 k->epoch >= is->epoch)
            sample(r, ++back, "came back; finished by", k, is->epoch);
        else if (is != NULL && !is->finished && k->epoch > is->epoch)
            sample(r, ++ahead, "held by", k, is->epoch);
    }
    struct restore_summary *s = &r->s;
    s->ahead = ahead;
    s->back = back;
    s->gone = gone;
    restore_known_free(&r->shown);
    assert(r->s.n_samples <= RESTORE_SAMPLES);
}
