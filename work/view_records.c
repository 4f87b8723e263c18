/*
 * view_records.c - failovers, finished items and settings, as the view keeps
 * them: whole records only of failovers that are not finished.
 */
#include "work/view_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "work/cause.h"

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

    assert((f->full == NULL) == (o == NULL));
    MEM_FREE(f->full);
    if (o != NULL) {
        LL_DELETE(o->unfinished, f);
        f->owner = NULL;
        work_owner_changed(v, o);
    }
    assert(f->full == NULL && f->owner == NULL);
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
    bool lost = work_cause(work_cause_of(r->cause))->loss;
    bool took = (size_t)r->moved + r->held + r->dropped + r->waiting > 0;
    bool counts = took || r->last_heartbeat != 0 || r->hook_exit >= 0 ||
                  !failover_phase_final(r->phase);
    return lost && counts ? r->fenced_at : 0;
}

static void failover_put(struct view *v, const struct failover_record *r)
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
    keep_highest(&v->fence, r->fence);
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
    assert(f->full != NULL && f->owner->unfinished != NULL);
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
        failover_put(w->v, r);
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

/* An address that owns nothing is not held back from anything. */
static bool is_idle_hold(const struct work_view_failover *f)
{
    return f->phase == FAILOVER_HELD && f->owner != NULL &&
           f->owner->n_marks == 0;
}

size_t work_view_failovers(const struct view *v)
{
    return HASH_COUNT(v->failovers);
}

size_t work_view_surplus(struct view *v, size_t keep, bool held,
                         struct view_old *list, size_t n)
{
    size_t all = HASH_COUNT(v->failovers), found = 0;
    struct work_view_failover *f;

    if (v->failovers_unsorted && all > keep)
        HASH_SORT(v->failovers, by_age);
    v->failovers_unsorted = v->failovers_unsorted && all <= keep;
    for (f = v->failovers; all > keep && found < n; all--, f = f->hh.next) {
        if (!failover_phase_final(f->phase) && !(held && is_idle_hold(f)))
            continue;
        if (list != NULL) {
            memcpy(list[found].id, f->id, sizeof(f->id));
            list[found].version = f->version;
        }
        found++;
    }
    assert(found <= n);
    return found;
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
static mono_ms finished_since(const struct view_watch *w, wall_ms at)
{
    const struct clock *clock = w->v->config.clock;

    return w->synced == registry_session(w->v->config.registry) || at == 0 ||
                   at > clock->wall
               ? clock->mono
               : clock->mono - (clock->wall - at);
}

void work_view_on_work(void *arg, const struct registry_event *event)
{
    struct view_watch *w = arg;
    struct view *v = w->v;
    const struct registry_entry *e = &event->entry;
    struct view_finished *f;
    struct work_summary item;
    const char *id;
    bool final;

    if (event->type == REGISTRY_SYNCED) {
        HASH_SORT(v->finished, finished_first);
        work_view_watch_synced(w);
        return;
    }
    id = e->key + strlen(WORK_PREFIX "/");
    HASH_FIND_STR(v->finished, id, f);
    /* A damaged record is not ours to collect. */
    final = event->type != REGISTRY_REMOVE &&
            work_summary_read(&item, e->value, e->value_len) == 0 &&
            work_state_final(item.state);
    if (f != NULL && !final) {
        work_view_collected_item(v, id);
    } else if (f == NULL && final && work_check_id(id, NULL) == 0) {
        size_t len = strlen(id) + 1;

        f = mem_zalloc(sizeof(*f) + len);
        f->seen = finished_since(w, item.finished_at);
        f->epoch = item.epoch;
        keep_highest(&v->epoch, f->epoch);
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
        if (ids != NULL)
            memcpy(ids[found], f->id, strlen(f->id) + 1);
        found++;
    }
    assert(found <= n);
    return found;
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

/* What is known of them from now on. */
static void settings_set(struct view *v, const struct settings *s)
{
    bool changed = !v->settings_known || v->settings.version != s->version;

    v->settings = *s;
    v->settings_known = true;
    assert(!v->asking);
    if (changed && v->config.settings_changed != NULL)
        v->config.settings_changed(v->config.arg, &v->settings);
}

/* What a get has answered in this session; NULL: there are none. One that
 * cannot be read changes nothing. */
static void settings_read(struct view *v, const struct registry_entry *e,
                          uint64_t session)
{
    struct settings s = {0};
    struct err err = {0};

    v->settings_session = session;
    if (e != NULL && v->settings_known && v->settings.version == e->version)
        return;
    if (e != NULL &&
        work_settings_read(&s, e->value, e->value_len, &err) != 0) {
        log_warn("!settings", LOG_S("why", err.msg));
        s = v->settings; /* what was known goes on */
    }
    s.version = e == NULL ? 0 : e->version;
    settings_set(v, &s);
}

void work_view_show_settings(struct view *v, const struct registry_entry *e)
{
    work_view_settings_forget(v); /* what is being asked for may be older */
    v->settings_asked = v->config.clock->mono;
    settings_read(v, e, registry_session(v->config.registry));
}

static void on_settings(void *arg, const struct registry_reply *reply)
{
    struct view *v = arg;
    uint64_t session =
        v->asked_in != 0 ? v->asked_in : registry_session(v->config.registry);

    assert(v->asking);
    v->asking = false;
    if (reply->err.code == ERR_OK)
        settings_read(v, &reply->entries[0], session);
    else if (reply->err.code == ERR_NOT_FOUND)
        settings_read(v, NULL, session);
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

    HASH_ITER (hh, v->failovers, f, ftmp) {
        HASH_DEL(v->failovers, f);
        mem_free(f->full);
        mem_free(f);
    }
    HASH_ITER (hh, v->finished, d, dtmp) {
        HASH_DEL(v->finished, d);
        mem_free(d);
    }
}
