/*
 * dir.c - one directory that a watch knows: the names in it, what a new list
 * of them changes, and which of them are to be read again now.
 *
 * Both lists are sorted, so the differences are one pass over the two. A name
 * that is gone takes everything below it along: a node with children cannot go
 * before them, and whatever stood there in between was told, or never was.
 *
 * Each key is read once per period, which is long enough that all watches
 * together make READS_MAX reads a second, but at least a second and at most
 * the watch's freshness. A cursor goes round through the directories, so that
 * the reads of a period are spread over it. Directories are looked at in
 * passing: those whose children nothing else tells of, and now and then the
 * others, because an event is a hint and the list is the truth.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define GAP_MS        200   /* between two lists of one directory */
#define GAP_SHORT_MS  5     /* and if somebody waits for what is in it */
#define READS_MAX     1000  /* a second */
#define PERIOD_MIN_MS 1000  /* between two reads of a key */
#define LIST_MS       30000 /* between two lists without an event */

static struct zk_watch *watch_of(const struct registry_watch *w)
{
    return w->priv;
}

struct zk_dir *zk_dir_find(const struct registry_watch *w, const char *key)
{
    struct zk_dir *d;

    HASH_FIND_STR(watch_of(w)->dirs, key, d);
    return d;
}

struct zk_dir *zk_dir_make(struct registry_watch *w, const char *key)
{
    struct zk_dir *d = zk_dir_find(w, key);
    size_t n = strlen(key);

    assert(key[0] == '/');
    if (d != NULL)
        return d;
    d = mem_zalloc(sizeof(*d) + n + 1);
    memcpy(d->key, key, n + 1);
    d->w = w;
    HASH_ADD_KEYPTR(hh, watch_of(w)->dirs, d->key, n, d);
    return d;
}

/* --- when it is its turn ------------------------------------------------- */

bool zk_dir_is_unlisted(const struct zk_dir *d)
{
    return watch_of(d->w)->looking && d->look != watch_of(d->w)->look;
}

/* A large one less often: a list costs in proportion. */
bool zk_dir_due(const struct zk_dir *d)
{
    int64_t gap = d->urgent ? GAP_SHORT_MS + (int64_t)(d->n / 500)
                            : GAP_MS + (int64_t)(d->n / 25);

    return d->dirty && !d->listing &&
           (d->listed_at == 0 || zk_dir_is_unlisted(d) ||
            zk_now(zk_of(d->w->r)) - d->listed_at >= gap);
}

static void move(struct zk_dir *d, enum zk_dir_list list)
{
    struct zk_dir **lists = watch_of(d->w)->lists;

    assert(d->n_unread <= d->n);
    if (d->list != ZK_DIR_IDLE)
        DL_DELETE(lists[d->list], d);
    d->list = list;
    if (list != ZK_DIR_IDLE)
        DL_APPEND(lists[list], d);
}

void zk_dir_place(struct zk_dir *d)
{
    enum zk_dir_list list = d->n_unread > 0 || zk_dir_due(d) ? ZK_DIR_READY
                            : d->dirty                       ? ZK_DIR_WAITING
                                                             : ZK_DIR_IDLE;

    assert(d->n_unread <= d->n);
    if (list != d->list || list == ZK_DIR_READY) /* others have their turn */
        move(d, list);
}

void zk_dir_mark_dirty(struct zk_dir *d)
{
    d->dirty = true;
    zk_dir_place(d);
}

void zk_dir_disarm(struct zk_dir *d)
{
    struct zookeeper *z = zk_of(d->w->r);

    assert(z->armed_bytes >= d->armed);
    z->armed_bytes -= d->armed;
    d->armed = 0;
}

/* --- names --------------------------------------------------------------- */

/* The directory itself, without a word about what was in it. */
static void drop(struct zk_dir *d)
{
    struct zk_watch *zw = watch_of(d->w);

    assert(zw->n_keys >= d->n);
    move(d, ZK_DIR_IDLE);
    zk_dir_disarm(d);
    if (zw->cursor == d) {
        zw->cursor = d->hh.next;
        zw->cursor_at = 0;
    }
    zw->n_keys -= d->n;
    HASH_DEL(zw->dirs, d);
    zk_names_close(&d->block);
    mem_free(d->children);
    mem_free(d);
}

static void child_gone(struct zk_dir *d, const char *name, bool tell)
{
    struct registry_watch *w = d->w;
    char *key = zk_child_key(d->key, name);
    struct zk_dir *below = zk_dir_find(w, key);

    if (below != NULL)
        zk_dir_remove(below, tell);
    if (tell)
        registry_diff_gone(w, key, 0);
    mem_free(key);
}

void zk_dir_remove(struct zk_dir *d, bool tell)
{
    for (size_t i = 0; i < d->n; i++)
        child_gone(d, d->children[i].name, tell);
    drop(d);
}

void zk_dir_update(struct zk_dir *d, struct zk_names *names, bool all)
{
    struct zk_watch *zw = watch_of(d->w);
    struct zk_child *old = d->children;
    struct zk_names block = d->block;
    size_t n_old = d->n, at = 0;

    assert(!d->listing);
    assert(zw->n_keys >= n_old);
    d->children = mem_zalloc(names->n * sizeof(*d->children));
    d->n = names->n;
    d->n_unread = 0;
    d->at = 0;
    d->block = *names;
    names->items = NULL;
    names->n = 0;
    zw->n_keys += d->n;
    zw->n_keys -= n_old;
    for (size_t i = 0; i < d->n; i++) {
        struct zk_child *c = &d->children[i];
        int order = 1;

        c->name = d->block.items[i];
        while (at < n_old && (order = strcmp(old[at].name, c->name)) < 0)
            child_gone(d, old[at++].name, true);
        c->unread = all || at == n_old || order != 0 || old[at].unread;
        at += at < n_old && order == 0;
        d->n_unread += c->unread;
    }
    while (at < n_old)
        child_gone(d, old[at++].name, true);
    mem_free(old);
    zk_names_close(&block);
    assert(at == n_old);
    assert(d->n_unread <= d->n);
}

static int by_name(const void *name, const void *child)
{
    return strcmp(name, ((const struct zk_child *)child)->name);
}

/* The child of a directory whose names are sorted, or NULL. */
static struct zk_child *find_child(const struct zk_dir *d, const char *name)
{
    return d->n == 0 ? NULL
                     : bsearch(name, d->children, d->n, sizeof(*d->children),
                               by_name);
}

static char *parent_of(const char *key)
{
    const char *slash = strrchr(key, '/');

    assert(slash != NULL);
    return slash == key ? mem_strdup("/")
                        : mem_strndup(key, (size_t)(slash - key));
}

void zk_dir_mark_unread(struct zk_dir *d, struct zk_child *c, bool patient)
{
    assert(c >= d->children && c < d->children + d->n);
    c->patient = patient && (!c->unread || c->patient);
    d->n_unread += !c->unread;
    c->unread = true;
    zk_dir_place(d);
}

/* What is awaited goes by the lowest directory on its way that is known: the
 * name is read, or if it is new the directory is listed. */
void zk_dir_refresh_key(const struct registry_watch *w, const char *key,
                        bool awaited)
{
    char *parent = parent_of(key);
    struct zk_dir *d = zk_dir_find(w, parent);
    struct zk_child *c =
        d == NULL ? NULL : find_child(d, strrchr(key, '/') + 1);

    if (c != NULL) {
        zk_dir_mark_unread(d, c, false);
    } else if (awaited && d != NULL) {
        d->urgent = true;
        zk_dir_mark_dirty(d);
    } else if (awaited && strcmp(parent, "/") != 0 &&
               registry_key_below(parent, w->prefix)) {
        zk_dir_refresh_key(w, parent, true);
    }
    mem_free(parent);
}

/* --- what is read again without a word ----------------------------------- */

/* The cursor enters a directory: its list is looked at again, too, if nothing
 * else would tell, or has not for long. */
static void enter(struct zk_dir *d)
{
    assert(d->n_unread <= d->n);
    if ((d->armed == 0 && !d->awaited) ||
        zk_now(zk_of(d->w->r)) - d->listed_at >= LIST_MS)
        zk_dir_mark_dirty(d);
}

void zk_poll(struct registry_watch *w, int64_t passed_ms, size_t total)
{
    struct zk_watch *zw = watch_of(w);
    size_t units = zw->n_keys + HASH_COUNT(zw->dirs);
    double period = (double)total * 1000 / READS_MAX;

    assert(passed_ms >= 0);
    assert(w->fn != NULL);
    assert(zw->started);
    assert(!zw->looking);
    period = fmax(fmin(period, (double)w->fresh_ms), PERIOD_MIN_MS);
    zw->budget += (double)units * (double)passed_ms / period;
    zw->budget = fmin(zw->budget, (double)units);
    while (zw->budget >= 1 && zw->dirs != NULL) {
        struct zk_dir *d = zw->cursor == NULL ? zw->dirs : zw->cursor;

        zw->budget -= 1;
        if (zw->cursor == NULL || zw->cursor_at == 0)
            enter(d);
        zw->cursor = d;
        if (zw->cursor_at < d->n)
            zk_dir_mark_unread(d, &d->children[zw->cursor_at], true);
        if (++zw->cursor_at > d->n) {
            zw->cursor = d->hh.next;
            zw->cursor_at = 0;
        }
    }
}
