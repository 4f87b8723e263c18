/*
 * poll.c - which keys of a watch are to be read again now.
 *
 * Each is read once per period, which is long enough that all watches together
 * make READS_MAX reads a second, but at least a second and at most the watch's
 * freshness. A cursor goes round through the directories, so that the reads of
 * a period are spread over it. Directories are looked at in passing: those
 * whose children nothing else tells of, and now and then the others, because
 * an event is a hint and the list is the truth.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#define READS_MAX     1000  /* a second */
#define PERIOD_MIN_MS 1000  /* between two reads of a key */
#define LIST_MS       30000 /* between two lists without an event */

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
    struct zk_watch *zw = w->priv;
    size_t units = zw->n_keys + HASH_COUNT(zw->dirs);
    double period = (double)total * 1000 / READS_MAX;

    assert(passed_ms >= 0);
    assert(w->fn != NULL);
    assert(zw->started);
    assert(!zw->looking);
    period = period > (double)w->fresh_ms ? (double)w->fresh_ms : period;
    period = period < PERIOD_MIN_MS ? PERIOD_MIN_MS : period;
    zw->budget += (double)units * (double)passed_ms / period;
    zw->budget = zw->budget > (double)units ? (double)units : zw->budget;
    while (zw->budget >= 1 && zw->dirs != NULL) {
        struct zk_dir *d = zw->cursor == NULL ? zw->dirs : zw->cursor;

        zw->budget -= 1;
        if (zw->cursor == NULL || zw->cursor_at == 0)
            enter(d);
        zw->cursor = d;
        if (zw->cursor_at < d->n)
            zk_dir_mark_unread(d, &d->children[zw->cursor_at]);
        if (++zw->cursor_at > d->n) {
            zw->cursor = d->hh.next;
            zw->cursor_at = 0;
        }
    }
}
