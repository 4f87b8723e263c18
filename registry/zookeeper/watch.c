/*
 * watch.c - watches: which directories are listed and which keys are
 * read, and when.
 *
 * The C client knows one-shot watches only, and re-arms all of them in one
 * packet when it reconnects: more than about a megabyte of paths, and it never
 * gets through again. So there is one child watch per directory and none per
 * key, and beyond ARMED_MAX bytes of paths directories are listed in turn
 * instead. An event about a directory's children is a reason to list it; the
 * list is the truth, and is made again now and then without an event, too.
 *
 * Values are polled (dir.c). Reads for watches stand behind the callers'
 * requests.
 *
 * All reads of one session are answered in order and never from an older state
 * than the one before, so diff.c needs no revisions. (Long: whatever makes a
 * watch look is here.)
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/log.h"

#include <string.h>
#include <utlist.h>

#define ARMED_MAX                                                              \
    (512u << 10)        /* bytes of watched paths; a packet takes 1 MiB */
#define SMALL      100  /* children: on an event all are read again */
#define BUSY_SHARE 4    /* while callers are busy others are polled slower */
#define TURN       16   /* reads of one watch before it is another's turn */
#define DENIED_MS  5000 /* before what was denied is tried again */

static void work(struct zookeeper *z);

static struct zk_watch *watch_of(const struct registry_watch *w)
{
    return w->priv;
}

/* --- a full look --------------------------------------------------------- */

static void look(struct registry_watch *w)
{
    struct zk_watch *zw = watch_of(w);

    assert(w->fn != NULL);
    assert(zw->started);
    zw->looking = true;
    zw->failed_at = 0;
    zw->look++;
    registry_diff_begin(w);
    zk_dir_mark_dirty(zk_dir_make(w, w->prefix));
}

static bool look_over(const struct zk_watch *zw)
{
    const struct zk_dir *d;

    if (!zw->looking || zw->outstanding > 0)
        return false;
    DL_FOREACH (zw->lists[ZK_DIR_READY], d)
        if (d->n_unread > 0 || d->look != zw->look)
            return false;
    return true;
}

/* Everything there is has been listed and read: what was not is gone. */
static void end_look(struct registry_watch *w)
{
    struct zk_watch *zw = watch_of(w);
    struct zk_dir *d, *next;

    if (w->fn == NULL || !look_over(zw))
        return;
    zw->looking = false;
    zw->cursor = NULL;
    for (d = zw->dirs; d != NULL; d = next) {
        next = d->hh.next;
        if (d->look != zw->look) {
            zk_dir_remove(d, false);
            next = zw->dirs; /* others may have gone with it */
        }
    }
    registry_diff_end(w, 0, true);
}

/* --- values -------------------------------------------------------------- */

/* What ACLs hide is not absent: nothing is told of it, and a look that met it
 * does not end. */
static void denied(struct registry_watch *w, const char *path, int rc)
{
    assert(rc != ZOK);
    assert(rc != ZNONODE);
    if (watch_of(w)->looking) {
        watch_of(w)->looking = false;
        watch_of(w)->failed_at = zk_now(zk_of(w->r));
        log_error("!watch", LOG_S("prefix", w->prefix), LOG_S("path", path),
                  LOG_S("reason", zk_error(rc)));
    }
}

static void found_directory(struct registry_watch *w, const char *key)
{
    struct zk_dir *d = zk_dir_find(w, key);

    if (d == NULL || zk_dir_is_unlisted(d))
        zk_dir_mark_dirty(zk_dir_make(w, key));
}

static void value(struct registry_watch *w, const char *key,
                  const struct zk_request *q)
{
    struct registry_entry entry;

    if (q->rc == ZNONODE || zk_is_directory(&q->stat)) {
        registry_diff_gone(w, key, 0); /* it may have been a key */
    } else {
        entry = zk_entry(key, &q->stat, q->data, q->data_len);
        registry_diff_seen(w, &entry, 0, false);
    }
    if (w->fn != NULL && q->rc == ZOK &&
        (zk_is_directory(&q->stat) || q->stat.numChildren > 0))
        found_directory(w, key);
}

static void on_answer(void *arg, struct zk_request *q);

static void read_for(struct registry_watch *w, enum zk_request_type type,
                     const char *key, bool watch, bool patient)
{
    struct zk_request *q = zk_request_for(zk_of(w->r), type, key, on_answer, w);

    assert(w->fn != NULL);
    q->background = true;
    q->watch = watch;
    q->patient = patient && !watch_of(w)->looking;
    watch_of(w)->outstanding++;
    zk_send(q);
}

static void read_child(struct zk_dir *d, struct zk_child *c)
{
    char *key = zk_child_key(d->key, c->name);

    assert(c->unread);
    assert(d->n_unread > 0);
    c->unread = false;
    d->n_unread--;
    read_for(d->w, ZK_GET, key, false, c->patient);
    mem_free(key);
}

/* --- directories --------------------------------------------------------- */

/* Only the watch's own prefix is waited for; a directory below one that is
 * listed is told by that one. */
static void missing(struct zk_dir *d)
{
    struct registry_watch *w = d->w;

    if (strcmp(d->key, w->prefix) != 0) {
        zk_dir_remove(d, true);
        return;
    }
    zk_dir_update(d, &(struct zk_names){0}, false);
    d->look = watch_of(w)->look;
    zk_dir_place(d);
    if (zk_usable(zk_of(w->r)) && w->fn != NULL)
        read_for(w, ZK_EXISTS, d->key, true, false);
}

static void listed(struct zk_dir *d, struct zk_request *q)
{
    const struct zk_watch *zw = watch_of(d->w);

    assert(q->type == ZK_CHILDREN);
    d->listing = false;
    d->listed_at = zk_now(zk_of(d->w->r));
    if (q->rc != ZOK)
        zk_dir_disarm(d);
    if (q->rc == ZNONODE) {
        missing(d);
    } else if (q->rc == ZOK) {
        zk_dir_update(d, &q->names,
                      zk_dir_is_unlisted(d) ||
                          (d->event && q->names.n <= SMALL));
        d->event = false;
        d->look = zw->look;
        zk_dir_place(d);
    }
}

static void on_answer(void *arg, struct zk_request *q)
{
    struct registry_watch *w = arg;
    const char *key = zk_key(zk_of(w->r), q->path);
    struct zk_dir *d = zk_dir_find(w, key);

    assert(watch_of(w)->outstanding > 0);
    watch_of(w)->outstanding--;
    if (zk_broken(q->rc))
        return; /* the session is over, and the next one looks anew */
    if (q->rc != ZOK && q->rc != ZNONODE &&
        (q->type != ZK_CHILDREN || d != NULL))
        denied(w, q->path, q->rc);
    else if (q->type == ZK_GET)
        value(w, key, q);
    if (q->type == ZK_CHILDREN && d != NULL) /* else it went with its parent */
        listed(d, q);
    if (q->type == ZK_EXISTS && d != NULL) {
        d->awaited = q->rc == ZNONODE;
        if (q->rc == ZOK) /* it has come since */
            zk_dir_mark_dirty(d);
    }
    end_look(w);
    work(zk_of(w->r));
}

static void list(struct zk_dir *d)
{
    struct zookeeper *z = zk_of(d->w->r);
    size_t bytes = strlen(z->root) + strlen(d->key) + 8;

    assert(!d->listing);
    zk_dir_disarm(d);
    d->awaited = false;
    if (z->armed_bytes + bytes <= ARMED_MAX) {
        d->armed = bytes;
        z->armed_bytes += bytes;
    }
    d->dirty = d->urgent = false;
    d->listing = true;
    read_for(d->w, ZK_CHILDREN, d->key, d->armed > 0, false);
}

/* --- doing it ------------------------------------------------------------ */

static bool full(const struct zookeeper *z)
{
    assert(z->n_background_in_flight <= z->n_in_flight);
    return !z->connected || z->background != NULL ||
           z->n_background_in_flight >= zk_watch_window(z);
}

static void work_on(struct zookeeper *z, struct zk_dir *d)
{
    assert(d->list == ZK_DIR_READY);
    if (zk_dir_due(d))
        list(d);
    for (size_t i = 0; i < TURN && d->n_unread > 0 && !full(z); i++) {
        while (!d->children[d->at].unread)
            d->at = d->at + 1 == d->n ? 0 : d->at + 1;
        read_child(d, &d->children[d->at]);
    }
    zk_dir_place(d);
}

/* Fill the window; every watch has its turns, and its directories theirs. */
static void work(struct zookeeper *z)
{
    struct registry_watch *w;
    bool any = zk_usable(z);

    while (any) {
        any = false;
        DL_FOREACH (z->base.watches, w) {
            struct zk_dir *d = watch_of(w)->lists[ZK_DIR_READY];

            if (full(z))
                return;
            if (d != NULL && w->fn != NULL) {
                work_on(z, d);
                any = true;
            }
        }
    }
}

void zk_watches_event(struct zookeeper *z, const char *path)
{
    struct registry_watch *w;

    if (strncmp(path, z->root, strlen(z->root)) != 0)
        return;
    DL_FOREACH (z->base.watches, w) {
        struct zk_dir *d =
            w->fn == NULL ? NULL : zk_dir_find(w, zk_key(z, path));

        if (d != NULL) {
            zk_dir_disarm(d);
            d->event = true;
            zk_dir_mark_dirty(d);
        }
    }
    work(z);
}

static void refresh_key(struct registry *r, const char *key, bool awaited)
{
    struct registry_watch *w;

    DL_FOREACH (r->watches, w)
        if (w->fn != NULL && registry_key_below(key, w->prefix))
            zk_dir_refresh_key(w, key, awaited);
}

void zk_watches_wrote(struct zookeeper *z, const struct registry_call *txn)
{
    assert(txn->type == REGISTRY_CALL_TXN);
    for (size_t i = 0; i < txn->n_ops; i++)
        if (txn->ops[i].type == REGISTRY_PUT)
            refresh_key(&z->base, txn->ops[i].key, false);
    work(z);
}

void zk_watches_refresh_key(struct registry *r, const char *key)
{
    refresh_key(r, key, true);
    work(zk_of(r));
}

/* --- time passes --------------------------------------------------------- */

/* Whose values others wait for: nodes and what decides about them. */
static bool urgent(const struct registry_watch *w)
{
    return w->fresh_ms <= REGISTRY_FRESH_MS;
}

void zk_watches_tick(struct zookeeper *z)
{
    mono_ms at = zk_now(z);
    int64_t passed = at - z->polled_at;
    struct registry_watch *w;
    size_t total = 0;

    assert(passed >= 0);
    DL_FOREACH (z->base.watches, w)
        total += watch_of(w)->n_keys + HASH_COUNT(watch_of(w)->dirs);
    z->polled_at = at;
    DL_FOREACH (z->base.watches, w) {
        struct zk_watch *zw = watch_of(w);
        struct zk_dir *d, *next;

        if (w->fn == NULL || !zw->started)
            continue;
        DL_FOREACH_SAFE (zw->lists[ZK_DIR_WAITING], d, next)
            zk_dir_place(d);
        if (zw->failed_at != 0 && at - zw->failed_at >= DENIED_MS) {
            look(w);
        } else if (!zw->looking) {
            zk_poll(w,
                    zk_watch_window(z) == ZK_WATCH_FEW && !urgent(w)
                        ? passed / BUSY_SHARE
                        : passed,
                    total);
        }
    }
    work(z);
}

/* --- the life of a watch ------------------------------------------------- */

void zk_watch_begin(struct registry *r, struct registry_watch *w)
{
    struct zookeeper *z = zk_of(r);

    assert(w->fn != NULL);
    if (zk_usable(z) && r->ready) {
        watch_of(w)->started = true;
        look(w);
        work(z);
    } /* else with the first session */
}

static void forget_dirs(struct registry_watch *w)
{
    while (watch_of(w)->dirs != NULL)
        zk_dir_remove(watch_of(w)->dirs, false);
}

void zk_watch_end(struct registry *r, struct registry_watch *w)
{
    (void)r;
    assert(w->fn == NULL);
    (void)w; /* whoever called may be in the middle of its directories */
}

void zk_watches_drop_ended(struct zookeeper *z)
{
    struct registry_watch *w, *next;

    DL_FOREACH_SAFE (z->base.watches, w, next) {
        if (w->fn == NULL) {
            zk_forget(z, w);
            forget_dirs(w);
            registry_watch_gone(w);
        }
    }
}

void zk_watches_look(struct registry *r)
{
    struct zookeeper *z = zk_of(r);
    struct registry_watch *w;

    if (!zk_usable(z))
        return;
    z->polled_at = zk_now(z);
    DL_FOREACH (z->base.watches, w) {
        if (w->fn != NULL) {
            watch_of(w)->started = true;
            look(w);
        }
    }
    work(z);
}

/* Watches and requests went with the session; what was told stays told. */
void zk_watches_lost(struct zookeeper *z)
{
    struct registry_watch *w;

    assert(z->handle == NULL);
    DL_FOREACH (z->base.watches, w) {
        struct zk_dir *d;

        for (d = watch_of(w)->dirs; d != NULL; d = d->hh.next) {
            zk_dir_disarm(d);
            d->listing = d->dirty = d->awaited = false;
            d->n_unread = 0;
            zk_dir_place(d);
        }
        watch_of(w)->outstanding = 0;
        watch_of(w)->looking = false;
    }
    assert(z->armed_bytes == 0);
}

void zk_watches_close(struct zookeeper *z)
{
    struct registry_watch *w;

    assert(z->handle == NULL);
    DL_FOREACH (z->base.watches, w)
        forget_dirs(w);
}
