/*
 * restore_back.c - the keys of a backup into a store. Design: as restore_pass.c
 * does: what stands is listed, and what differs from what shall stand is
 * written, until that was applied as a whole. The items are put as they shall
 * be found when it is opened: given again, above the floor.
 */
#include "restore/restore_priv.h"

#include "base/mem.h"
#include "base/rand.h"
#include "restore/backup.h"

#include <stdio.h>
#include <string.h>

#define AT_A_TIME 1000 /* entries between two waits */

/* Who remembers what the backup was taken from takes the new incarnation for
 * its successor; who remembers a later one does not, and says so. */
void restore_back_evidence(struct restore *r)
{
    const struct backup *b = r->c.backup;
    const struct history_record *h = &b->facts.history;
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

/* --- what stands --------------------------------------------------------- */

void restore_standing_free(struct restore *r)
{
    struct standing *s, *next;
    HASH_ITER(hh, r->standing, s, next)
    {
        HASH_DEL(r->standing, s);
        mem_free(s);
    }
}

static bool is_ours(const char *key)
{
    return (restore_backup_has(key) && strcmp(key, EPOCH_FLOOR_KEY) != 0) ||
           registry_key_below(key, MARKER_PREFIX);
}

static void standing_page(struct restore *r, const struct registry_reply *page)
{
    for (size_t i = 0; i < page->n_entries; i++) {
        const struct registry_entry *e = &page->entries[i];
        size_t len = strlen(e->key);
        struct standing *s;
        if (e->owner != 0 || !is_ours(e->key))
            continue;
        HASH_FIND(hh, r->standing, e->key, len, s);
        if (s != NULL)
            continue;
        s = mem_zalloc(sizeof(*s) + len + 1);
        memcpy(s->key, e->key, len + 1);
        s->version = e->version;
        s->hash = hash_bytes(e->value, e->value_len, 0);
        HASH_ADD_KEYPTR(hh, r->standing, s->key, len, s);
    }
}

/* --- what shall stand ---------------------------------------------------- */

struct wish {
    char key[REGISTRY_KEY_MAX + 1];
    struct buf value;
    struct standing *old;
    bool done; /* it stands already */
};

static void wish(struct restore *r, struct wish *w)
{
    HASH_FIND(hh, r->standing, w->key, strlen(w->key), w->old);
    w->done = false;
    if (w->old == NULL)
        return;
    w->old->wanted = true;
    w->done = w->old->hash == hash_bytes(w->value.data, w->value.len, 0);
}

static void give(struct restore *r, const struct wish *w)
{
    restore_bulk_put(r->bulk, w->key, buf_text(&w->value), w->value.len,
                     w->old != NULL ? w->old->version : 0);
}

static void put_item(struct restore *r, struct work_item *w)
{
    struct wish item, marker;
    struct marker m;
    bool finished = w->state == WORK_DONE || w->state == WORK_DROPPED;
    buf_init(&item.value, WORK_RECORD_MAX);
    buf_init(&marker.value, WORK_RECORD_MAX);
    if (!finished) {
        work_item_give_again(w, r->floor);
        r->result.items++;
    }
    work_key(w->id, item.key);
    work_item_write(&item.value, w);
    wish(r, &item);
    marker.done = true;
    if (!finished) {
        work_marker_of(&m, w);
        work_marker_key(m.kind, m.address, m.id, marker.key);
        work_marker_write(&marker.value, &m);
        wish(r, &marker);
    }
    if (!item.done || !marker.done) {
        give(r, &item);
        if (!finished)
            give(r, &marker);
        restore_bulk_add(r->bulk);
    }
    buf_close(&item.value);
    buf_close(&marker.value);
}

static void put_other(struct restore *r, const struct backup_entry *e)
{
    struct wish w;
    buf_init(&w.value, REGISTRY_VALUE_MAX);
    (void)snprintf(w.key, sizeof(w.key), "%s", e->key);
    buf_add(&w.value, e->value, e->value_len);
    wish(r, &w);
    if (!w.done) {
        give(r, &w);
        restore_bulk_add(r->bulk);
    }
    buf_close(&w.value);
}

static void put_entry(struct restore *r, const struct backup_entry *e)
{
    struct work_item w;
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
    r->again += sum->again;
    if (err->code != ERR_OK) {
        restore_retry(r, err);
        return;
    }
    r->progress = r->c.clock->mono;
    put_some(r);
}

/* A key that others stand below cannot be deleted. */
static void tell_parents(struct restore *r, const struct standing *s)
{
    for (size_t len = strlen(s->key); len > 1; len--) {
        struct standing *parent;
        if (s->key[len - 1] != '/')
            continue;
        HASH_FIND(hh, r->standing, s->key, len - 1, parent);
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
    struct standing *s, *next;
    HASH_ITER(hh, r->standing, s, next)
    {
        tell_parents(r, s);
    }
    HASH_ITER(hh, r->standing, s, next)
    {
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
    if (r->at == b->n) {
        remove_others(r);
        return;
    }
    while (r->at < end)
        put_entry(r, &b->entries[r->at++]);
    restore_bulk_wait(r->bulk, on_some, r);
}

static void standing_walked(struct restore *r)
{
    r->at = 0;
    put_some(r);
}

void restore_back_pass_begin(struct restore *r)
{
    r->passes++;
    r->result.items = r->result.keys = 0;
    restore_walk(r, "/pelorus", standing_page, standing_walked);
}
