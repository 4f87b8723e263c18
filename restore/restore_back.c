/*
 * restore_back.c - the keys of a backup into a store. Design: as restore_pass.c
 * does: what stands is listed, and what differs from what shall stand is
 * written, until that was applied as a whole. The items are put as they shall
 * be found when it is opened: given again, above the floor.
 */
#include "restore/restore_priv.h"

#include "base/mem.h"
#include "restore/backup.h"

#include <string.h>

#define AT_A_TIME 1000 /* entries between two waits */

/* Who remembers what the backup was taken from takes the new incarnation for
 * its successor; who remembers a later one does not, and says so. */
void restore_back_evidence(struct restore *r)
{
    const struct backup *b = r->c.backup;
    const struct history_record *h = &b->facts.history;
    assert(r->c.backup != NULL);
    keep_highest(&r->s.epoch_found, b->epoch);
    keep_highest(&r->s.fence_shown, b->fence);
    if (!b->facts.has_history)
        return;
    keep_highest(&r->s.fence_shown, h->fence_base);
    keep_highest(&r->s.history.generation, h->generation);
    for (size_t i = h->n_after; i > 0; i--)
        registry_history_after(&r->others, h->after[i - 1]);
    registry_history_after(&r->others, h->incarnation);
}

/* --- what shall stand ---------------------------------------------------- */

static void put_item(struct restore *r, struct work_item *w)
{
    assert(w->version == 0);
    if (!work_state_final(w->state)) {
        work_item_give_again(w, r->floor);
        r->result.items++;
    }
    restore_put_item(r, w, false);
}

static void put_other(struct restore *r, const struct backup_entry *e)
{
    struct buf value;
    uint64_t version;
    assert(r->bulk != NULL);
    buf_init(&value, REGISTRY_VALUE_MAX);
    buf_add(&value, e->value, e->value_len);
    if (!restore_is_current(r, e->key, &value, &version)) {
        restore_bulk_put(r->bulk, e->key, &value, version);
        restore_bulk_add(r->bulk);
    }
    buf_close(&value);
}

static void put_entry(struct restore *r, const struct backup_entry *e)
{
    struct work_item w;
    assert(r->phase == PHASE_PASS);
    if (strcmp(e->key, EPOCH_FLOOR_KEY) == 0)
        return; /* ours is higher */
    r->result.keys++;
    if (registry_key_below(e->key, WORK_PREFIX) &&
        work_item_read(&w, e->value, e->value_len, NULL) == 0) {
        put_item(r, &w);
        work_item_close(&w);
    } else {
        put_other(r, e);
    }
}

/* --- the pass ------------------------------------------------------------ */

static void put_some(struct restore *r);

static void on_some(void *arg, const struct err *err,
                    const struct bulk_sum *sum)
{
    struct restore *r = arg;
    assert(r->phase == PHASE_PASS);
    r->again += sum->again;
    if (err->code != ERR_OK) {
        restore_retry(r, err);
        return;
    }
    r->progress = r->c.clock->mono;
    put_some(r);
}

/* A key that others stand below cannot be deleted. */
static void tell_parents(struct restore *r, const struct listed *s)
{
    assert(s->key[0] == '/');
    for (size_t len = strlen(s->key); len > 1; len--) {
        struct listed *parent;
        if (s->key[len - 1] != '/')
            continue;
        HASH_FIND(hh, r->listed, s->key, len - 1, parent);
        if (parent == NULL)
            continue;
        parent->below = true;
        parent->below_wanted |= s->wanted;
    }
}

/* What the backup does not know goes: in one pass what nothing stands below,
 * in the next what stood above that. */
static void remove_others(struct restore *r)
{
    struct listed *s, *next;
    assert(r->at == r->c.backup->n);
    HASH_ITER (hh, r->listed, s, next)
        tell_parents(r, s);
    HASH_ITER (hh, r->listed, s, next) {
        if (s->wanted || s->below_wanted)
            continue;
        if (s->below) {
            r->again++;
            continue;
        }
        restore_bulk_delete(r->bulk, s->key, s->version);
        restore_bulk_add(r->bulk);
    }
    restore_bulk_wait(r->bulk, restore_pass_over, r);
}

static void put_some(struct restore *r)
{
    const struct backup *b = r->c.backup;
    size_t end = b->n - r->at > AT_A_TIME ? r->at + AT_A_TIME : b->n;
    assert(r->at <= r->c.backup->n);
    assert(r->bulk != NULL);
    if (r->at == b->n) {
        remove_others(r);
        return;
    }
    while (r->at < end)
        put_entry(r, &b->entries[r->at++]);
    restore_bulk_wait(r->bulk, on_some, r);
}

static void note_ours(struct restore *r, const struct registry_entry *e)
{
    bool has =
        restore_backup_has(e->key) && strcmp(e->key, EPOCH_FLOOR_KEY) != 0;
    assert(r->phase == PHASE_PASS);
    if (e->owner == 0 && (has || registry_key_below(e->key, MARKER_PREFIX)))
        restore_listed_note(r, e);
}

void restore_back_pass_begin(struct restore *r)
{
    assert(r->c.backup != NULL && r->listed == NULL);
    r->at = 0;
    restore_walk(r, "/pelorus", note_ours, put_some);
}
