/*
 * watch.c - a watched prefix: list it at one revision, then follow it from
 * the next.
 *
 *   OFF --session--> LISTING --last page--> LISTED (a feed is open)
 *                       ^---- compacted, cancelled, every 45 s ----/
 *
 * All pages of a list are read at the revision of the first one, so together
 * they are one snapshot, and the feed begins right behind it. A broken
 * connection goes on where it was; what the server itself ended (compaction,
 * cancelled, nonsense) is listed again, told, and followed from there. And
 * every 45 s all is listed in silence whatever the feed said, because servers
 * up to 3.4.36 lose events in ways that no client can see.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"

#include <string.h>
#include <utlist.h>

#define PAGE        4000
#define SILENT_MS   45000
#define AGAIN_MS    1000
#define SILENT_COST 20 /* a list takes at most this part of the time */

static void look(struct registry_watch *w, bool tell);

static struct etcd *backend(const struct registry_watch *w)
{
    return etcd_of(w->r);
}

static void prefix_of(const struct registry_watch *w, struct etcd_key *from,
                      struct etcd_key *to)
{
    etcd_key_below(from, backend(w)->ns, w->prefix);
    etcd_key_end(to, from);
}

/* --- the feed ------------------------------------------------------------ */

/* Somebody else's hand. */
static void tell_unfit(struct registry_watch *w, bool gone,
                       const struct etcd_kv *kv)
{
    struct err why;
    size_t n;
    const char *key = etcd_unfit(kv, backend(w)->ns, &n, &why);

    if (key != NULL && gone)
        registry_view_unfit_gone(w, key, n);
    else if (key != NULL)
        registry_view_unfit(w, key, n, why.msg);
}

static void on_change(void *arg, bool gone, const struct etcd_kv *kv)
{
    struct registry_watch *w = arg;
    struct registry_entry entry;

    if (!etcd_entry(kv, backend(w)->ns, &entry)) {
        tell_unfit(w, gone, kv);
        return;
    }
    if (gone || (entry.owner == 0 && entry.value_len == 0)) {
        /* What became a directory is no key any more. */
        registry_view_gone(w, entry.key, kv->modified);
    } else {
        registry_view_seen(w, &entry, kv->modified);
    }
}

static void list_later(struct etcd_watch *ew, const struct etcd *e,
                       int64_t delay_ms)
{
    ew->failed = true;
    ew->due = etcd_now(e) + delay_ms;
}

static void on_feed_end(void *arg, bool lost, const char *why)
{
    struct registry_watch *w = arg;
    struct etcd_watch *ew = w->priv;
    struct etcd *e = backend(w);

    if (ew->feed.position > ew->position)
        ew->position = ew->feed.position;
    ew->feed_due = etcd_now(e) + e->retry_ms;
    ew->broken = e->sends;
    if (!lost || etcd_over(e))
        return;
    log_info("=etcd-watch", LOG_S("lists", w->prefix), LOG_S("reason", why));
    if (etcd_now(e) - ew->began > AGAIN_MS) {
        look(w, true);
    } else { /* cancelled right after the list: not in a circle */
        ew->state = ETCD_WATCH_LISTING;
        ew->tell = true;
        ew->listed = false;
        (void)etcd_ask_cancel(&ew->ask);
        list_later(ew, e, AGAIN_MS);
    }
}

static void open_feed(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;
    struct etcd_key from, to;

    prefix_of(w, &from, &to);
    ew->feed.change = on_change;
    ew->feed.end = on_feed_end;
    ew->feed.arg = w;
    etcd_feed_open(backend(w), &ew->feed, &from, &to, ew->position, true);
}

/* If it may be. The owner may have ended the watch just now. */
static void follow(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;
    struct etcd *e = backend(w);

    if (w->fn == NULL || !ew->listed || ew->feed.open || etcd_over(e) ||
        e->session.state != ETCD_SESSION_LIVE || !etcd_may_stream(e))
        return;
    if (etcd_may_follow(e, ew->broken))
        open_feed(w);
    else
        etcd_session_prove(e);
}

/* --- the list ------------------------------------------------------------ */

static void next_page(struct registry_watch *w);

/* The owner may end the watch in any of these. `past` is behind the last. */
static void tell_page(struct registry_watch *w, cJSON *kvs,
                      struct etcd_key *past)
{
    static const char unreadable[] = "(a key that cannot be read)";
    const struct etcd_watch *ew = w->priv;
    struct registry_entry entry;
    struct etcd_kv kv;

    for (cJSON *i = kvs == NULL ? NULL : kvs->child; i != NULL && w->fn != NULL;
         i = i->next) {
        if (!etcd_kv_read(i, &kv)) {
            registry_view_unfit(w, unreadable, strlen(unreadable),
                                "etcd answered no base64, or no revision");
            continue;
        }
        etcd_key_past(past, kv.key, kv.key_len);
        if (etcd_entry(&kv, backend(w)->ns, &entry))
            registry_view_listed(w, &entry, ew->begun);
        else
            tell_unfit(w, false, &kv);
    }
}

static void listed(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;
    struct etcd *e = backend(w);
    int64_t took = etcd_now(e) - ew->began;
    bool told = ew->tell;

    ew->state = ETCD_WATCH_LISTED;
    ew->tell = false;
    ew->due = etcd_now(e) +
              (took * SILENT_COST > SILENT_MS ? took * SILENT_COST : SILENT_MS);
    if (ew->begun + 1 > ew->position)
        ew->position = ew->begun + 1;
    ew->listed = true;
    registry_view_end(w, ew->begun, told);
    follow(w);
}

static void on_page(void *arg, const struct etcd_result *answer)
{
    struct etcd_result found = *answer, *result = &found;
    struct registry_watch *w = arg;
    struct etcd_watch *ew = w->priv;
    struct etcd *e = backend(w);
    struct etcd_key before = ew->at;
    bool more;

    if (result->verdict == ETCD_TOO_LARGE && ew->limit > 1) {
        ew->limit /= 2;
        next_page(w);
        return;
    }
    if (!etcd_guard_held(e, result)) { /* from the beginning, soon */
        list_later(ew, e, e->retry_max_ms);
        return;
    }
    if (ew->begun == 0)
        ew->begun = result->revision;
    tell_page(w, etcd_txn_kvs(result->root, 0), &ew->at);
    if (w->fn == NULL || etcd_over(e) || ew->state != ETCD_WATCH_LISTING)
        return; /* ended by its owner, or the session by a callback */
    more = etcd_txn_more(result->root, 0);
    if (more && ew->at.len == before.len &&
        memcmp(ew->at.s, before.s, before.len) == 0)
        list_later(ew, e, AGAIN_MS); /* a page that we cannot read */
    else if (more)
        next_page(w);
    else
        listed(w);
}

static void next_page(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;
    struct etcd_key from, to;
    struct etcd_range range = {
        .key = &ew->at, .end = &to, .limit = ew->limit, .revision = ew->begun};
    struct etcd *e = backend(w);
    struct buf body;

    prefix_of(w, &from, &to);
    buf_init(&body, ETCD_BODY_MAX);
    etcd_put_guarded(e, &body, &range);
    etcd_ask(e, &ew->ask, "/v3/kv/txn", &body,
             ETCD_REPEATABLE | ETCD_LINEAR | ETCD_GUARDED, etcd_call_ms(e),
             on_page, w);
}

/* From the beginning. A list under way is given up. */
static void look(struct registry_watch *w, bool tell)
{
    struct etcd_watch *ew = w->priv;
    struct etcd_key to;

    (void)etcd_ask_cancel(&ew->ask);
    ew->state = ETCD_WATCH_LISTING;
    ew->tell = ew->tell || tell;
    ew->failed = false;
    ew->begun = 0;
    ew->limit = PAGE;
    ew->began = etcd_now(backend(w));
    prefix_of(w, &ew->at, &to);
    registry_view_begin(w);
    next_page(w);
}

/* --- the slots ----------------------------------------------------------- */

void etcd_watch_begin(struct registry *r, struct registry_watch *w)
{
    if (registry_vouched(r)) {
        look(w, true);
    } /* else with the first session */
}

static void stop(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;

    (void)etcd_ask_cancel(&ew->ask);
    etcd_feed_close(&ew->feed);
    ew->state = ETCD_WATCH_OFF;
    ew->listed = false;
    ew->position = ew->broken = 0;
}

void etcd_watch_end(struct registry *r, struct registry_watch *w)
{
    (void)r;
    stop(w);
    registry_watch_gone(w);
}

void etcd_watches_look(struct etcd *e)
{
    struct registry_watch *w;

    DL_FOREACH(e->base.watches, w)
    {
        if (w->fn != NULL &&
            ((struct etcd_watch *)w->priv)->state == ETCD_WATCH_OFF)
            look(w, true);
    }
}

void etcd_watches_stop(struct etcd *e)
{
    struct registry_watch *w;

    DL_FOREACH(e->base.watches, w)
    {
        stop(w);
    }
}

static void tick(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;
    struct etcd *e = backend(w);
    mono_ms now = etcd_now(e);

    if (now >= ew->feed_due)
        follow(w);
    if (ew->ask == NULL && now >= ew->due &&
        (ew->state == ETCD_WATCH_LISTED ||
         (ew->state == ETCD_WATCH_LISTING && ew->failed)))
        look(w, false);
}

void etcd_watches_tick(struct etcd *e)
{
    struct registry_watch *w;

    if (e->session.state != ETCD_SESSION_LIVE)
        return;
    DL_FOREACH(e->base.watches, w)
    {
        if (w->fn != NULL)
            tick(w);
    }
}
