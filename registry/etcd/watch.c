/*
 * watch.c - a watched prefix: list it at one revision, then follow it from
 * the next.
 *
 *   session begins -> list, page by page -> follow (a feed is open)
 *                       ^---- compacted, cancelled, every 45 s ----/
 *
 * All pages of a list are read at the revision of the first one, so together
 * they are one snapshot, and the feed begins right behind it.
 *
 * A lost watch begins again in resume_watch(), whatever was lost: a broken
 * connection goes on where it was; what the server itself ended (compaction,
 * cancelled, nonsense) is listed again, told, and followed from there. And
 * at least every 45 s (or 20 times as long as a list takes) all is listed in
 * silence whatever the feed said, because servers
 * up to 3.4.36 lose events in ways that no client can see. After the end of a
 * session all begins with etcd_watches_look().
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"

#include <string.h>
#include <utlist.h>

/* Keys: 1 MB of JSON, 3 as a tree. With each page etcd counts all the keys
 * behind it, so that smaller ones take longer. */
#define PAGE        2000
#define SILENT_MS   45000
#define AGAIN_MS    1000
#define SILENT_COST 20 /* a list takes at most this part of the time */

static void resume_watch(struct registry_watch *w);

/* --- the feed ------------------------------------------------------------ */

/* Somebody else's hand. */
static void tell_unfit(struct registry_watch *w, bool gone,
                       const struct etcd_kv *kv)
{
    struct err why;
    size_t n;
    const char *key = etcd_unfit(kv, etcd_of(w->r)->ns, &n, &why);

    if (key != NULL)
        registry_diff_unfit(w, key, n, gone ? NULL : why.msg);
}

static void on_change(void *arg, bool gone, const struct etcd_kv *kv)
{
    struct registry_watch *w = arg;
    struct registry_entry entry;

    if (!etcd_entry(kv, etcd_of(w->r)->ns, &entry))
        tell_unfit(w, gone, kv);
    else if (gone || etcd_is_directory(&entry)) /* that is no key any more */
        registry_diff_gone(w, entry.key, kv->modified);
    else
        registry_diff_seen(w, &entry, kv->modified, false);
}

static void on_feed_end(void *arg, bool missed, const char *why)
{
    struct registry_watch *w = arg;
    struct etcd_watch *ew = w->priv;
    struct etcd *e = etcd_of(w->r);

    assert(ew->active);
    assert(!ew->feed.open);
    if (ew->feed.position > ew->position)
        ew->position = ew->feed.position;
    ew->feed_due = etcd_now(e) + e->retry_ms;
    ew->broken = e->sends;
    if (!missed || etcd_is_closing(e))
        return;
    log_info("=etcd-watch", LOG_S("lists", w->prefix), LOG_S("reason", why));
    (void)etcd_request_cancel(&ew->request);
    ew->tell = true;
    ew->listed = false;
    ew->list_due = etcd_now(e);
    if (etcd_now(e) - ew->began <= AGAIN_MS)
        ew->list_due += AGAIN_MS; /* right after the list: not in a circle */
    resume_watch(w);
}

static void open_feed(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;
    struct etcd_key from, to;

    assert(ew->listed);
    assert(ew->position > 0);
    etcd_key_range(&from, &to, etcd_of(w->r)->ns, w->prefix);
    ew->feed.change = on_change;
    ew->feed.end = on_feed_end;
    ew->feed.arg = w;
    etcd_feed_open(etcd_of(w->r), &ew->feed, &from, &to, ew->position, true);
    assert(ew->feed.open);
}

/* --- the list ------------------------------------------------------------ */

static void send_page(struct registry_watch *w);

/* The owner may end the watch in any of these. `past` is behind the last. */
static void tell_page(struct registry_watch *w, const struct json *kvs,
                      struct etcd_key *past)
{
    static const char unreadable[] = "(a key that cannot be read)";
    const struct etcd_watch *ew = w->priv;
    struct registry_entry entry;
    struct etcd_kv kv;

    for (const struct json *i = json_first(kvs); i != NULL && w->fn != NULL;
         i = i->next) {
        if (!etcd_kv_read(i, &kv)) {
            registry_diff_unfit(w, unreadable, strlen(unreadable),
                                "etcd answered no base64, or no revision");
            continue;
        }
        etcd_key_past(past, kv.key, kv.key_len);
        if (etcd_entry(&kv, etcd_of(w->r)->ns, &entry))
            registry_diff_seen(w, &entry, ew->begun, true);
        else
            tell_unfit(w, false, &kv);
    }
}

static void listed(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;
    struct etcd *e = etcd_of(w->r);
    int64_t took = etcd_now(e) - ew->began;
    bool told = ew->tell;

    assert(ew->active);
    assert(ew->request == NULL);
    ew->tell = false;
    ew->list_due =
        etcd_now(e) + etcd_clamp(took * SILENT_COST, SILENT_MS, INT64_MAX);
    if (ew->begun + 1 > ew->position)
        ew->position = ew->begun + 1;
    ew->listed = true;
    ew->feed_due = 0;
    registry_diff_end(w, ew->begun, told);
    resume_watch(w);
}

static void on_page(void *arg, const struct etcd_result *answer)
{
    struct etcd_result found = *answer, *result = &found;
    struct registry_watch *w = arg;
    struct etcd_watch *ew = w->priv;
    struct etcd *e = etcd_of(w->r);
    struct etcd_key before = ew->at;
    bool more;

    assert(ew->active);
    assert(ew->request == NULL);
    if (result->verdict == ETCD_TOO_LARGE && ew->limit > 1) {
        ew->limit /= 2;
        send_page(w);
        return;
    }
    if (!etcd_guard_held(e, result)) { /* from the beginning, soon */
        ew->list_due = etcd_now(e) + e->retry_max_ms;
        return;
    }
    if (ew->begun == 0)
        ew->begun = result->revision;
    tell_page(w, etcd_txn_kvs(result->root, 0), &ew->at);
    if (w->fn == NULL || etcd_is_closing(e) || !ew->active)
        return; /* ended by its owner, or the session by a callback */
    more = etcd_txn_more(result->root, 0);
    if (more && etcd_key_equal(&ew->at, &before))
        ew->list_due = etcd_now(e) + AGAIN_MS; /* a page that we cannot read */
    else if (more)
        send_page(w);
    else
        listed(w);
}

static void send_page(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;
    struct etcd_key from, to;
    struct etcd_range range = {
        .key = &ew->at, .end = &to, .limit = ew->limit, .revision = ew->begun};
    struct etcd *e = etcd_of(w->r);
    struct buf body;

    assert(ew->limit > 0);
    etcd_key_range(&from, &to, e->ns, w->prefix);
    etcd_put_guarded(e, &body, &range);
    etcd_send_txn(e, &ew->request, &body, ETCD_REPEATABLE | ETCD_GUARDED,
                  on_page, w);
}

/* From the beginning. */
static void begin_list(struct registry_watch *w, bool tell)
{
    struct etcd_watch *ew = w->priv;
    struct etcd_key to;

    assert(ew->request == NULL);
    assert(w->fn != NULL);
    ew->active = true;
    ew->tell = ew->tell || tell;
    ew->begun = 0;
    ew->limit = PAGE;
    ew->began = etcd_now(etcd_of(w->r));
    etcd_key_range(&ew->at, &to, etcd_of(w->r)->ns, w->prefix);
    registry_diff_begin(w);
    send_page(w);
}

/* --- where a lost watch begins again ------------------------------------- */

/* The only place within a session, whatever was lost: the feed, from where it
 * broke, if the endpoint has shown since then that it is the store we know; the
 * list, if what happened meanwhile is history no more, if the last one failed,
 * or in silence after 45 s. Called at every tick: does what is due. */
static void resume_watch(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;
    struct etcd *e = etcd_of(w->r);
    mono_ms now = etcd_now(e);

    if (w->fn == NULL || !ew->active || etcd_is_closing(e) ||
        e->session.state != ETCD_SESSION_LIVE)
        return;
    if (ew->listed && !ew->feed.open && now >= ew->feed_due &&
        etcd_has_token(e)) {
        if (etcd_is_confirmed(e, ew->broken))
            open_feed(w);
        else
            etcd_session_prove(w->r);
    }
    if (ew->request == NULL && now >= ew->list_due)
        begin_list(w, false);
    assert(ew->request != NULL || ew->list_due > now);
}

/* --- the slots ----------------------------------------------------------- */

void etcd_watch_begin(struct registry *r, struct registry_watch *w)
{
    if (r->ready && etcd_of(r)->session.state == ETCD_SESSION_LIVE) {
        begin_list(w, true);
    } /* else with the next session */
}

static void stop(struct registry_watch *w)
{
    struct etcd_watch *ew = w->priv;

    (void)etcd_request_cancel(&ew->request);
    etcd_feed_close(&ew->feed);
    ew->active = ew->listed = false;
    ew->position = ew->broken = 0;
    assert(ew->request == NULL);
    assert(!ew->feed.open);
}

void etcd_watch_end(struct registry *r, struct registry_watch *w)
{
    assert(w->r == r);
    stop(w);
    registry_watch_gone(w);
}

void etcd_watches_look(struct registry *r)
{
    struct registry_watch *w;

    assert(r->session != 0);
    etcd_of(r)->lowered = false; /* what stands now is what the base knows */
    DL_FOREACH (r->watches, w)
        if (w->fn != NULL && !((struct etcd_watch *)w->priv)->active)
            begin_list(w, true);
}

void etcd_watches_hurry(struct registry *r, const char *key)
{
    struct registry_watch *w;

    DL_FOREACH (r->watches, w)
        if (w->fn != NULL && registry_key_below(key, w->prefix))
            etcd_feed_hurry(&((struct etcd_watch *)w->priv)->feed);
}

void etcd_watches_stop(struct etcd *e)
{
    struct registry_watch *w;

    DL_FOREACH (e->base.watches, w)
        stop(w);
}

void etcd_watches_tick(struct etcd *e)
{
    struct registry_watch *w;

    DL_FOREACH (e->base.watches, w)
        resume_watch(w);
}
