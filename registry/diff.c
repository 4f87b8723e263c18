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
#include "base/table.h"
#include "registry/registry_priv.h"

#include <string.h>
#include <utlist.h>

struct registry_diff_key {
    UT_hash_handle hh;
    uint64_t created; /* 0: a tombstone */
    uint64_t version;
    uint64_t revision; /* of the last look */
    uint32_t look;     /* the last full look that listed it */
    char key[];
};

static struct registry_diff_key *key_find(const struct registry_watch *w,
                                          const char *key)
{
    struct registry_diff_key *k;

    HASH_FIND_STR(w->keys, key, k);
    return k;
}

static struct registry_diff_key *key_add(struct registry_watch *w,
                                         const char *key)
{
    size_t len = strlen(key);
    struct registry_diff_key *k = mem_zalloc(sizeof(*k) + len + 1);

    memcpy(k->key, key, len + 1);
    HASH_ADD_KEYPTR(hh, w->keys, k->key, len, k);
    return k;
}

static void key_drop(struct registry_watch *w, struct registry_diff_key *k)
{
    assert(w->keys != NULL);
    HASH_DEL(w->keys, k);
    mem_free(k);
}

/* Those above have no session: what is seen meanwhile may be of a store that
 * is not ours. A full look follows when they have one. */
static bool not_ready(const struct registry_watch *w)
{
    return w->r->history != NULL && !w->r->ready;
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

/* `k` becomes a tombstone and is told as removed. */
static void emit_remove(struct registry_watch *w, struct registry_diff_key *k)
{
    struct registry_entry entry = {.key = k->key, .created = k->created};

    assert(k->created != 0);
    assert(w->n_keys > 0);
    k->created = 0;
    k->version = 0;
    w->n_keys--;
    emit(w, REGISTRY_REMOVE, &entry);
}

/* The look is new: tell the difference and remember it. */
static void key_accept(struct registry_watch *w, struct registry_diff_key *k,
                       const struct registry_entry *entry)
{
    bool update = k->created == entry->created;

    assert(entry->created != 0);
    assert(entry->version != 0);
    if (update && k->version == entry->version)
        return;
    if (!update && k->created != 0)
        emit_remove(w, k);
    if (!update)
        w->n_keys++;
    k->created = entry->created;
    k->version = entry->version;
    emit(w, update ? REGISTRY_UPDATE : REGISTRY_ADD, entry);
}

void registry_diff_seen(struct registry_watch *w,
                        const struct registry_entry *entry, uint64_t revision,
                        bool listed)
{
    struct registry_diff_key *k;

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
    registry_diff_unfit(w, entry->key, strlen(entry->key), NULL);
    k = key_find(w, entry->key);
    if (k == NULL) {
        if (revision != 0 && revision <= w->floor)
            return; /* the last full look knew that it had gone */
        k = key_add(w, entry->key);
    }
    if (listed || (w->looking && revision == 0))
        k->look = w->look;
    if (revision == 0 || revision > k->revision) {
        k->revision = revision;
        key_accept(w, k, entry);
    }
}

void registry_diff_gone(struct registry_watch *w, const char *key,
                        uint64_t revision)
{
    struct registry_diff_key *k = key_find(w, key);

    if (w->fn == NULL || not_ready(w) || !registry_key_below(key, w->prefix))
        return;
    registry_diff_unfit(w, key, strlen(key), NULL);
    if (k == NULL) {
        /* A later look at what was there before must not bring it back. */
        if (revision > w->floor)
            key_add(w, key)->revision = revision;
        return;
    }
    if (revision != 0 && revision <= k->revision)
        return;
    k->revision = revision;
    if (k->created != 0)
        emit_remove(w, k);
    if (revision == 0)
        key_drop(w, k);
}

void registry_diff_begin(struct registry_watch *w)
{
    w->looking = true;
    w->look++;
}

void registry_diff_end(struct registry_watch *w, uint64_t revision, bool tell)
{
    struct registry_diff_key *k, *next;

    assert(w->looking || w->fn == NULL);
    w->looking = false;
    if (not_ready(w))
        return;
    for (k = w->keys; k != NULL && w->fn != NULL && !not_ready(w); k = next) {
        next = k->hh.next;
        if (k->look != w->look && k->created != 0 && k->revision <= revision)
            emit_remove(w, k);
        if (k->created == 0 && k->revision <= revision)
            key_drop(w, k);
    }
    if (revision > w->floor)
        w->floor = revision;
    registry_unfit_sweep(w, false);
    if (tell && !not_ready(w))
        emit(w, REGISTRY_SYNCED, NULL);
}

void registry_diff_reorder(struct registry_watch *w)
{
    struct registry_diff_key *k;

    w->floor = 0;
    w->looking = false;
    for (k = w->keys; k != NULL; k = k->hh.next) {
        k->revision = 0;
        k->version = 0; /* it may have been given twice: all is told again */
    }
}

void registry_diff_sums(const struct registry_watch *w,
                        struct registry_diff_sums *out)
{
    const struct registry_diff_key *k;

    *out = (struct registry_diff_sums){.keys = w->n_keys};
    for (k = w->keys; k != NULL; k = k->hh.next) {
        if (k->created != 0) {
            out->created += k->created;
            out->version += k->version;
        }
    }
}

static bool told_by(const struct registry_watch *w, const char *key,
                    uint64_t created, uint64_t version)
{
    const struct registry_diff_key *k = key_find(w, key);

    if (created == 0) /* not yet told is not gone */
        return !w->looking && !not_ready(w) && (k == NULL || k->created == 0);
    return k != NULL && (k->created > created ||
                         (k->created == created && k->version >= version));
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
        while (w->keys != NULL)
            key_drop(w, w->keys);
        registry_unfit_sweep(w, true);
        mem_free(w->prefix);
        mem_free(w->priv);
        mem_free(w);
    }
    assert(*list == NULL);
}
