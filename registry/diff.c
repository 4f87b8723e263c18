/*
 * diff.c - watches: from looks at keys to exact differences.
 *
 * What the owner of a watch was told is kept here (key -> created, version).
 * A backend reports looks in whatever order and as often as its store makes it
 * convenient; only what differs is told. So a backend needs no memory of its
 * own, a lost notification costs time and not truth, and a list after a gap is
 * the same code as the first one.
 *
 * A removed key stays as a tombstone (created 0) until the next full look, so
 * that a late look at its former self is recognised as stale.
 */
#include "base/map/packed_map.h"
#include "base/mem.h"
#include "registry/registry_priv.h"

#include <string.h>
#include <utlist.h>

/* Those above have no session: what is seen meanwhile may be of a store that
 * is not ours. A full look follows when they have one. */
static bool not_ready(const struct registry_watch *w)
{
    return w->r->history != NULL && !w->r->ready;
}

/* Made by somebody else: stores take longer ones, known.c does not. */
static bool is_too_long(const char *key)
{
    return strnlen(key, REGISTRY_KEY_MAX + 1) > REGISTRY_KEY_MAX;
}

static void emit(struct registry_watch *w, enum registry_event_type type,
                 const struct registry_entry *entry)
{
    struct registry_event event = {.type = type};

    assert((entry == NULL) == (type == REGISTRY_SYNCED));
    assert(!not_ready(w));
    if (w->fn == NULL || w->r->mute || w->r->closing)
        return;
    if (entry != NULL) {
        event.entry = *entry;
        if (entry->created > w->r->revision)
            w->r->revision = entry->created;
    }
    w->fn(w->arg, &event);
}

/* It is told as removed; its owner has made it a tombstone, or dropped it. */
static void emit_remove(struct registry_watch *w, const char *key,
                        uint64_t created)
{
    struct registry_entry entry = {.key = key, .created = created};

    assert(created != 0);
    assert(w->n_keys > 0);
    w->n_keys--;
    emit(w, REGISTRY_REMOVE, &entry);
}

static void make_tombstone(struct registry_watch *w, const char *key,
                           struct registry_known *k)
{
    uint64_t created = k->created;

    k->created = 0;
    k->version = 0;
    registry_known_put(w, key, k);
    if (created != 0)
        emit_remove(w, key, created);
}

/* The look is new: tell the difference and remember it. */
static void key_accept(struct registry_watch *w, struct registry_known *k,
                       const struct registry_entry *entry)
{
    bool update = k->created == entry->created;
    bool same = update && k->version == entry->version;

    assert(entry->created != 0);
    assert(entry->version != 0);
    if (!update && k->created != 0)
        make_tombstone(w, entry->key, k);
    if (!update)
        w->n_keys++;
    k->created = entry->created;
    k->version = entry->version;
    registry_known_put(w, entry->key, k);
    if (!same)
        emit(w, update ? REGISTRY_UPDATE : REGISTRY_ADD, entry);
}

void registry_diff_seen(struct registry_watch *w,
                        const struct registry_entry *entry, uint64_t revision,
                        bool listed)
{
    struct registry_known k;

    assert(!listed || w->looking || w->fn == NULL);
    if (w->fn == NULL || not_ready(w) ||
        !registry_key_below(entry->key, w->prefix) ||
        (entry->owner == 0 && entry->value_len == 0))
        return;
    if (entry->created == 0 || entry->version == 0) {
        registry_diff_unfit(w, entry->key, strlen(entry->key),
                            "no registry made it: it has no version");
        return;
    }
    if (is_too_long(entry->key)) {
        registry_diff_unfit(w, entry->key, strlen(entry->key),
                            "its key is longer than any that is used");
        return;
    }
    registry_diff_unfit(w, entry->key, strlen(entry->key), NULL);
    if (!registry_known_find(w, entry->key, &k) && revision != 0 &&
        revision <= w->floor)
        return; /* the last full look knew that it had gone */
    k.listed |= listed || (w->looking && revision == 0);
    if (revision == 0 || revision > k.revision) {
        k.revision = revision;
        key_accept(w, &k, entry);
    } else if (listed) {
        registry_known_put(w, entry->key, &k);
    }
}

void registry_diff_gone(struct registry_watch *w, const char *key,
                        uint64_t revision)
{
    struct registry_known k;
    bool known;

    if (w->fn == NULL || not_ready(w) || !registry_key_below(key, w->prefix))
        return;
    registry_diff_unfit(w, key, strlen(key), NULL);
    if (is_too_long(key))
        return;
    known = registry_known_find(w, key, &k);
    if (revision != 0 && revision <= (known ? k.revision : w->floor))
        return;
    if (revision != 0) {
        /* A later look at what was there before must not bring it back. */
        k.revision = revision;
        make_tombstone(w, key, &k);
    } else if (known) {
        registry_known_drop(w, key);
        if (k.created != 0)
            emit_remove(w, key, k.created);
    }
}

void registry_diff_begin(struct registry_watch *w)
{
    w->looking = true;
    registry_known_begin(w);
}

/* What the look has not listed is gone, unless a later event saw it; and no
 * older look at a tombstone can come any more. */
static void sweep(struct registry_watch *w, uint64_t revision)
{
    struct packed_cursor c;
    struct registry_known k;

    for (bool on = registry_known_first(w, &c, &k);
         on && w->fn != NULL && !not_ready(w);
         on = registry_known_next(w, &c, &k)) {
        if (k.revision > revision || (k.created != 0 && k.listed))
            continue;
        registry_known_drop(w, c.key);
        if (k.created != 0)
            emit_remove(w, c.key, k.created);
    }
}

void registry_diff_end(struct registry_watch *w, uint64_t revision, bool tell)
{
    assert(w->looking || w->fn == NULL);
    w->looking = false;
    if (not_ready(w))
        return;
    sweep(w, revision);
    if (revision > w->floor)
        w->floor = revision;
    registry_unfit_sweep(w, false);
    if (tell && !not_ready(w))
        emit(w, REGISTRY_SYNCED, NULL);
}

void registry_diff_reorder(struct registry_watch *w)
{
    struct packed_cursor c;
    struct registry_known k;

    w->floor = 0;
    w->looking = false;
    for (bool on = registry_known_first(w, &c, &k); on;
         on = registry_known_next(w, &c, &k)) {
        k.revision = 0;
        k.version = 0; /* it may have been given twice: all is told again */
        registry_known_put(w, c.key, &k);
    }
}

void registry_diff_sums(const struct registry_watch *w,
                        struct registry_diff_sums *out)
{
    struct packed_cursor c;
    struct registry_known k;

    *out = (struct registry_diff_sums){.keys = w->n_keys};
    for (bool on = registry_known_first(w, &c, &k); on;
         on = registry_known_next(w, &c, &k)) {
        if (k.created != 0) {
            out->created += k.created;
            out->version += k.version;
        }
    }
}

static bool told_by(const struct registry_watch *w, const char *key,
                    uint64_t created, uint64_t version)
{
    struct registry_known k;

    (void)registry_known_find(w, key, &k);
    if (created == 0) /* not yet told is not gone */
        return !w->looking && !not_ready(w) && k.created == 0;
    return k.created > created ||
           (k.created == created && k.version >= version);
}

bool registry_watches_caught_up(const struct registry *r, const char *key,
                                uint64_t created, uint64_t version)
{
    const struct registry_watch *w;

    DL_FOREACH (r->watches, w)
        if (w->fn != NULL && registry_key_below(key, w->prefix) &&
            !told_by(w, key, created, version))
            return false;
    return true;
}

void registry_poll_now(struct registry *r, const char *key)
{
    if (r->ops->poll_now != NULL && r->ready && !r->closing && !r->mute)
        r->ops->poll_now(r, key);
}

/* --- watches ------------------------------------------------------------- */

struct registry_watch *registry_watch(struct registry *r, const char *prefix,
                                      registry_event_f *fn, void *arg)
{
    struct registry_watch *w;

    assert(fn != NULL);
    assert(!r->closing);
    assert(strcmp(prefix, "/") == 0 || registry_check_key(prefix, NULL) == 0);
    w = mem_zalloc(sizeof(*w));
    w->r = r;
    w->prefix = mem_strdup(prefix);
    w->fn = fn;
    w->arg = arg;
    w->fresh_ms = REGISTRY_FRESH_MS;
    w->keys = packed_map_new();
    w->priv = mem_zalloc(r->ops->watch_size);
    DL_APPEND(r->watches, w);
    r->ops->watch(r, w);
    return w;
}

void registry_watch_freshness(struct registry_watch *w, int64_t fresh_ms)
{
    assert(fresh_ms > 0);
    w->fresh_ms = fresh_ms;
}

void registry_unwatch(struct registry_watch **w_ptr)
{
    struct registry_watch *w = *w_ptr;

    if (w == NULL)
        return;
    assert(w->fn != NULL);
    *w_ptr = NULL;
    w->fn = NULL;
    if (!w->r->closing)
        w->r->ops->unwatch(w->r, w);
}

void registry_watch_gone(struct registry_watch *w)
{
    assert(w->fn == NULL);
    assert(!w->gone);
    w->gone = true;
    DL_DELETE(w->r->watches, w);
    DL_APPEND(w->r->dead_watches, w);
    registry_free_later(w->r);
}

void registry_watches_free(struct registry_watch **list)
{
    struct registry_watch *w, *next;

    DL_FOREACH_SAFE (*list, w, next) {
        DL_DELETE(*list, w);
        packed_map_free(&w->keys);
        registry_unfit_sweep(w, true);
        mem_free(w->prefix);
        mem_free(w->priv);
        mem_free(w);
    }
    assert(*list == NULL);
}
