/*
 * view_records.c - failovers, finished items and settings, as the view keeps
 * them: whole records only of failovers that are not finished.
 */
#include "work/view_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>
#include <utlist.h>

#define SETTINGS_EVERY_MS 1000
#define SETTINGS_SOON_MS  100 /* in a new session */

/* --- failovers ----------------------------------------------------------- */

static int by_age(const struct work_view_failover *a,
                  const struct work_view_failover *b)
{
    if (a->began != b->began)
        return a->began < b->began ? -1 : 1;
    return strcmp(a->id, b->id);
}

static int newest_first(const struct work_view_failover *a,
                        const struct work_view_failover *b)
{
    return by_age(b, a);
}

/* Out of its owner's list of unfinished ones. */
static void finish(struct view *v, struct work_view_failover *f)
{
    struct owner *o = f->owner;

    MEM_FREE(f->full);
    if (o != NULL) {
        LL_DELETE(o->unfinished, f);
        f->owner = NULL;
        work_owner_changed(v, o);
    }
}

static void failover_gone(struct view *v, const char *id)
{
    struct work_view_failover *f;

    HASH_FIND_STR(v->failovers, id, f);
    if (f != NULL) {
        HASH_DEL(v->failovers, f);
        finish(v, f);
        mem_free(f);
        v->index++;
    }
}

static struct work_view_failover *failover_make(struct view *v,
                                                const struct failover_record *r)
{
    struct work_view_failover *f, *last;

    HASH_FIND_STR(v->failovers, r->id, f);
    if (f == NULL) {
        f = mem_zalloc(sizeof(*f));
        memcpy(f->id, r->id, sizeof(f->id));
        last = v->failovers == NULL ? NULL
                                    : ELMT_FROM_HH(v->failovers->hh.tbl,
                                                   v->failovers->hh.tbl->tail);
        f->began = r->began;
        v->failovers_unsorted |= last != NULL && by_age(f, last) < 0;
        HASH_ADD_STR(v->failovers, id, f);
    }
    return f;
}

/* The same rule as for who sees it go (sweep_node()): whoever had work, was
 * seen alive by the one who fenced it, or had a hook run for it. Who was forced
 * away, drained or replaced was there; of the rest only an old gate told. */
static wall_ms lost_at(const struct failover_record *r)
{
    bool lost = strcmp(r->cause, "down") == 0 || strcmp(r->cause, "order") == 0;
    bool took = (size_t)r->moved + r->held + r->dropped + r->waiting > 0;
    bool counts = took || r->last_heartbeat != 0 || r->hook_exit >= 0 ||
                  !failover_phase_final(r->phase);
    return lost && counts ? r->fenced_at : 0;
}

static void failover_stands(struct view *v, const struct failover_record *r)
{
    struct work_view_failover *f = failover_make(v, r);

    if (f->owner != NULL &&
        (f->kind != r->kind || strcmp(f->address, r->address) != 0))
        finish(v, f); /* another address: somebody edited it */
    f->kind = r->kind;
    f->phase = r->phase;
    memcpy(f->address, r->address, sizeof(f->address));
    v->failovers_unsorted |= f->began != r->began;
    f->began = r->began;
    f->lost = lost_at(r);
    if (r->fence > v->fence)
        v->fence = r->fence;
    f->version = r->version;
    if (failover_phase_final(r->phase)) {
        finish(v, f);
        v->index++;
        return;
    }
    if (f->full == NULL)
        f->full = mem_alloc(sizeof(*f->full));
    *f->full = *r;
    if (f->owner == NULL) {
        f->owner = work_owner_make(v, r->kind, r->address);
        LL_PREPEND(f->owner->unfinished, f);
    }
    LL_SORT(f->owner->unfinished, newest_first);
    work_owner_changed(v, f->owner);
}

void work_view_on_failover(void *arg, const struct registry_event *event)
{
    struct view_watch *w = arg;
    struct failover_record *r;
    struct err err = {0};

    if (event->type == REGISTRY_SYNCED) {
        work_view_watch_synced(w);
        return;
    }
    if (event->type == REGISTRY_REMOVE) {
        failover_gone(w->v, event->entry.key + strlen(FAILOVER_PREFIX "/"));
        return;
    }
    r = mem_alloc(sizeof(*r)); /* 10 KB: not on the stack of a callback */
    if (work_failover_read(r, event->entry.value, event->entry.value_len,
                           &err) != 0 ||
        strcmp(r->id, event->entry.key + strlen(FAILOVER_PREFIX "/")) != 0) {
        log_warn("!failover-record", LOG_S("key", event->entry.key),
                 LOG_S("why",
                       err.code != ERR_OK ? err.msg : "its id is not its key"));
    } else {
        r->version = event->entry.version;
        failover_stands(w->v, r);
    }
    mem_free(r);
}

const struct failover_record *work_view_failover(const struct view *v,
                                                 enum node_kind kind,
                                                 const char *address)
{
    struct owner *o = work_owner_find(v, kind, address);

    return o == NULL || o->unfinished == NULL ? NULL : o->unfinished->full;
}

wall_ms work_view_lost_at(const struct view *v, const char *id)
{
    struct work_view_failover *f;

    HASH_FIND_STR(v->failovers, id, f);
    return f == NULL ? 0 : f->lost;
}

/* Up to `max` final ones beyond the newest `keep`, oldest first. */
static size_t surplus(const struct view *v, size_t keep,
                      struct work_view_failover **list, size_t max)
{
    struct view *mine = (struct view *)v;
    size_t n = HASH_COUNT(v->failovers), found = 0;
    struct work_view_failover *f;

    if (n <= keep)
        return 0;
    if (mine->failovers_unsorted) {
        HASH_SORT(mine->failovers, by_age);
        mine->failovers_unsorted = false;
    }
    f = v->failovers;
    for (n -= keep; n > 0 && found < max; n--, f = f->hh.next)
        if (failover_phase_final(f->phase))
            list[found++] = f;
    return found;
}

const struct failover_record *work_view_surplus(const struct view *v,
                                                size_t keep)
{
    struct failover_record *lent = &((struct view *)v)->lent_record;
    struct work_view_failover *f;

    if (surplus(v, keep, &f, 1) == 0)
        return NULL;
    *lent = (struct failover_record){.kind = f->kind,
                                     .phase = f->phase,
                                     .began = f->began,
                                     .version = f->version,
                                     .hook_exit = -1};
    memcpy(lent->id, f->id, sizeof(lent->id));
    memcpy(lent->address, f->address, sizeof(lent->address));
    return lent;
}

size_t work_view_surplus_list(const struct view *v, size_t keep,
                              struct view_old *list, size_t n)
{
    struct work_view_failover **found =
        mem_array(n + 1, sizeof(struct work_view_failover *));
    size_t count = surplus(v, keep, found, n);

    for (size_t i = 0; i < count; i++) {
        memcpy(list[i].id, found[i]->id, sizeof(list[i].id));
        list[i].version = found[i]->version;
    }
    mem_free(found);
    return count;
}

void work_view_collected_failover(struct view *v, const char *id)
{
    failover_gone(v, id);
}

/* --- finished items ------------------------------------------------------ */

static int finished_first(const struct view_finished *a,
                          const struct view_finished *b)
{
    return (a->seen > b->seen) - (a->seen < b->seen);
}

/* What happens now ended now, by our own clock. What is listed ended when its
 * record says: else each restart would keep it for the whole time again. */
static mono_ms finished_since(const struct view_watch *w,
                              const struct work_glance *item)
{
    const struct clock *clock = w->v->config.clock;

    if (w->synced == registry_session(w->v->config.registry) ||
        !item->has_finished_at || item->finished_at > clock->wall)
        return clock->mono;
    return clock->mono - (clock->wall - item->finished_at);
}

void work_view_on_work(void *arg, const struct registry_event *event)
{
    struct view_watch *w = arg;
    struct view *v = w->v;
    struct view_finished *f;
    struct work_glance item;
    const char *id;
    bool final;

    if (event->type == REGISTRY_SYNCED) {
        HASH_SORT(v->finished, finished_first);
        work_view_watch_synced(w);
        return;
    }
    id = event->entry.key + strlen(WORK_PREFIX "/");
    HASH_FIND_STR(v->finished, id, f);
    /* A damaged record is not ours to collect. */
    final = event->type != REGISTRY_REMOVE &&
            work_item_glance(&item, event->entry.value,
                             event->entry.value_len) == 0 &&
            (item.state == WORK_DONE || item.state == WORK_DROPPED);
    if (f != NULL && !final) {
        HASH_DEL(v->finished, f);
        mem_free(f);
    } else if (f == NULL && final && work_check_id(id, NULL) == 0) {
        size_t len = strlen(id) + 1;

        f = mem_zalloc(sizeof(*f) + len);
        f->seen = finished_since(w, &item);
        f->epoch = item.epoch;
        if (f->epoch > v->epoch)
            v->epoch = f->epoch;
        memcpy(f->id, id, len);
        HASH_ADD_STR(v->finished, id, f);
    }
}

size_t work_view_collectable(const struct view *v, int64_t keep_ms,
                             char (*ids)[WORK_ID_MAX + 1], size_t n)
{
    size_t found = 0;

    /* Sorted, the oldest first: the first young one ends it. */
    for (struct view_finished *f = v->finished; f != NULL && found < n;
         f = f->hh.next) {
        if (v->config.clock->mono - f->seen < keep_ms)
            break;
        memcpy(ids[found++], f->id, strlen(f->id) + 1);
    }
    return found;
}

size_t work_view_collectable_count(const struct view *v, int64_t keep_ms,
                                   size_t max)
{
    const struct view_finished *f = v->finished;
    size_t n = 0;

    while (f != NULL && n < max && v->config.clock->mono - f->seen >= keep_ms) {
        f = f->hh.next;
        n++;
    }
    return n;
}

void work_view_collected_item(struct view *v, const char *id)
{
    struct view_finished *f;

    HASH_FIND_STR(v->finished, id, f);
    if (f != NULL) {
        HASH_DEL(v->finished, f);
        mem_free(f);
    }
}

/* --- settings ------------------------------------------------------------ */

/* A get under way; it outlives the view when that is freed first. */
static void settings_are(struct view *v, const struct settings *s)
{
    bool changed = !v->settings_known || v->settings.version != s->version;

    v->settings = *s;
    v->settings_known = true;
    if (changed && v->config.settings_changed != NULL)
        v->config.settings_changed(v->config.arg, &v->settings);
}

/* One that cannot be read changes nothing. */
static void settings_found(struct view *v, const struct registry_entry *e)
{
    struct settings s = {0};
    struct err err = {0};

    if (v->settings_known && v->settings.version == e->version)
        return;
    if (work_settings_read(&s, e->value, e->value_len, &err) != 0) {
        log_warn("!settings", LOG_S("why", err.msg));
        s = v->settings; /* what was known goes on */
    }
    s.version = e->version;
    settings_are(v, &s);
}

void work_view_show_settings(struct view *v, const struct registry_entry *e)
{
    static const struct settings none;

    work_view_settings_forget(v); /* what is being asked for may be older */
    v->settings_session = registry_session(v->config.registry);
    v->settings_asked = v->config.clock->mono;
    if (e == NULL)
        settings_are(v, &none);
    else
        settings_found(v, e);
}

static void on_settings(void *arg, const struct registry_reply *reply)
{
    struct view *v = arg;
    static const struct settings none;

    assert(v->asking);
    v->asking = false;
    if (reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND) {
        v->settings_session = v->asked_in != 0
                                  ? v->asked_in
                                  : registry_session(v->config.registry);
    }
    if (reply->err.code == ERR_NOT_FOUND)
        settings_are(v, &none);
    else if (reply->err.code == ERR_OK)
        settings_found(v, &reply->entries[0]);
}

void work_view_ask_settings(struct view *v)
{
    assert(!v->asking);
    v->asking = true;
    v->asked_in = registry_session(v->config.registry);
    v->settings_asked = v->config.clock->mono;
    registry_get(v->config.registry, SETTINGS_KEY, on_settings, v);
}

void work_view_settings_forget(struct view *v)
{
    assert(v->config.registry != NULL);
    registry_forget(v->config.registry, v);
    v->asking = false;
}

void work_view_tick(struct view *v)
{
    bool known = v->settings_session == registry_session(v->config.registry);
    mono_ms age = v->config.clock->mono - v->settings_asked;

    if (!v->asking && age >= (known ? SETTINGS_EVERY_MS : SETTINGS_SOON_MS))
        work_view_ask_settings(v);
}

const struct settings *work_view_settings(const struct view *v)
{
    return &v->settings;
}

/* --- life ---------------------------------------------------------------- */

void work_view_records_close(struct view *v)
{
    struct work_view_failover *f, *ftmp;
    struct view_finished *d, *dtmp;

    HASH_ITER(hh, v->failovers, f, ftmp)
    {
        HASH_DEL(v->failovers, f);
        mem_free(f->full);
        mem_free(f);
    }
    HASH_ITER(hh, v->finished, d, dtmp)
    {
        HASH_DEL(v->finished, d);
        mem_free(d);
    }
}
