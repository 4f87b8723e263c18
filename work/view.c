/*
 * view.c - owners: their gates, their markers, and whether they want the
 * engine.
 *
 * Counts that the reconcile loop asks for (markers of a process that is not
 * the gate's) are kept up to date event by event, so that asking all 10,000
 * owners every few seconds costs nothing.
 */
#include "work/view_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define VALUES_FRESH_MS 60000

/* --- owners -------------------------------------------------------------- */

static void make_name(char out[OWNER_NAME_SIZE], enum node_kind kind,
                      const char *address)
{
    size_t len = strnlen(address, NODE_ADDRESS_MAX); /* none is longer */

    assert(kind < NODE_KINDS);
    out[0] = (char)('0' + kind); /* looked for all the time: no printf */
    out[1] = '/';
    memcpy(out + 2, address, len);
    out[2 + len] = '\0';
}

struct owner *work_owner_find(const struct view *v, enum node_kind kind,
                              const char *address)
{
    char name[OWNER_NAME_SIZE];
    struct owner *o;

    if (work_is_nobody(address))
        return (struct owner *)&v->nobody[kind];
    make_name(name, kind, address);
    HASH_FIND_STR(v->owners, name, o);
    return o;
}

struct owner *work_owner_make(struct view *v, enum node_kind kind,
                              const char *address)
{
    struct owner *o = work_owner_find(v, kind, address);
    size_t n = strlen(address);

    if (o != NULL)
        return o;
    assert(n > 0 && n <= NODE_ADDRESS_MAX);
    o = mem_zalloc(sizeof(*o));
    o->pub.kind = kind;
    memcpy(o->pub.address, address, n + 1);
    o->pub.gate = gates_find(v->config.gates, kind, address);
    make_name(o->name, kind, address);
    HASH_ADD_STR(v->owners, name, o);
    return o;
}

void work_owner_changed(struct view *v, struct owner *o)
{
    bool nobody = o == &v->nobody[o->pub.kind];

    assert(o->pub.n_foreign <= o->n_marks);
    o->pub.n_markers = o->n_marks;
    o->pub.index = ++v->index;
    if (v->config.changed != NULL)
        v->config.changed(v->config.arg, &o->pub);
    if (!nobody && o->n_marks == 0 && o->pub.gate->state == GATE_ABSENT &&
        o->unfinished == NULL) {
        HASH_DEL(v->owners, o);
        mem_free(o);
    }
}

const struct work_view_owner *
work_view_owner(const struct view *v, enum node_kind kind, const char *address)
{
    struct owner *o = work_owner_find(v, kind, address);

    return o == NULL ? NULL : &o->pub;
}

const struct work_view_owner *work_view_next(const struct view *v,
                                             const struct work_view_owner *it)
{
    struct owner *o;

    if (it == NULL)
        return v->owners == NULL ? NULL : &v->owners->pub;
    o = CONTAINER_OF(it, struct owner, pub)->hh.next;
    return o == NULL ? NULL : &o->pub;
}

void work_view_watch_synced(struct view_watch *w)
{
    assert(w >= w->v->watches && w < w->v->watches + WATCHES);
    w->synced = registry_session(w->v->config.registry);
}

/* --- gates --------------------------------------------------------------- */

static bool foreign(const struct owner *o, const struct mark *m)
{
    return o->pub.gate->state != GATE_ABSENT &&
           !process_same(&m->process, &o->pub.gate->process);
}

static void gate_changed(void *arg, const struct gate_known *known)
{
    struct view *v = arg;
    struct owner *o = work_owner_make(v, known->kind, known->address);
    struct mark_cursor c;

    o->pub.gate = gates_find(v->config.gates, known->kind, known->address);
    o->pub.n_foreign = 0;
    for (bool on = work_mark_first(v, o, NULL, &c); on; on = work_mark_next(&c))
        o->pub.n_foreign += foreign(o, &c.mark);
    assert(o->pub.n_foreign <= o->n_marks);
    work_owner_changed(v, o);
}

/* --- markers ------------------------------------------------------------- */

static void marker_gone(struct view *v, const struct marker *key)
{
    struct owner *o = work_owner_find(v, key->kind, key->address);
    struct mark m;

    if (o == NULL || !work_mark_find(v, o, key->id, &m))
        return;
    assert(o->pub.n_foreign >= foreign(o, &m));
    o->pub.n_foreign -= foreign(o, &m);
    work_mark_remove(v, o, key->id);
    work_owner_changed(v, o);
}

static void marker_put(struct view *v, const struct marker *marker)
{
    struct owner *o = work_owner_make(v, marker->kind, marker->address);
    const struct mark m = {.epoch = marker->epoch,
                           .version = marker->version,
                           .process = marker->process,
                           .held = marker->held};
    struct mark old;

    assert(marker->epoch > 0);
    if (work_mark_find(v, o, marker->id, &old)) {
        if (old.version == m.version && old.epoch == m.epoch)
            return;
        o->pub.n_foreign -= foreign(o, &old);
    }
    keep_highest(&v->epoch, marker->epoch);
    work_mark_put(v, o, marker->id, &m);
    o->pub.n_foreign += foreign(o, &m);
    work_owner_changed(v, o);
}

static void on_marker(void *arg, const struct registry_event *event)
{
    struct view_watch *w = arg;
    struct marker marker;
    struct err err = {0};

    if (event->type == REGISTRY_SYNCED) {
        work_view_watch_synced(w);
        return;
    }
    if (event->type == REGISTRY_REMOVE) {
        if (work_marker_key_parse(event->entry.key, &marker) == 0)
            marker_gone(w->v, &marker);
    } else if (work_marker_read(&marker, &event->entry, &err) == 0) {
        marker_put(w->v, &marker);
    } else {
        log_warn("!marker", LOG_S("why", err.msg));
    }
}

const struct marker *work_view_marker_next(const struct view *v,
                                           enum node_kind kind,
                                           const char *address,
                                           const char *after)
{
    struct owner *o = work_owner_find(v, kind, address);
    struct marker *lent = &((struct view *)v)->lent;
    struct mark_cursor c;

    if (o == NULL || !work_mark_first(v, o, after, &c))
        return NULL;
    assert(c.mark.epoch > 0);
    *lent = (struct marker){.kind = kind,
                            .epoch = c.mark.epoch,
                            .process = c.mark.process,
                            .held = c.mark.held,
                            .version = c.mark.version};
    (void)snprintf(lent->address, sizeof(lent->address), "%s", address);
    (void)snprintf(lent->id, sizeof(lent->id), "%s", c.id);
    return lent;
}

size_t work_view_marker_count(const struct view *v, enum node_kind kind,
                              const char *address)
{
    struct owner *o = work_owner_find(v, kind, address);

    return o == NULL ? 0 : o->n_marks;
}

/* --- life ---------------------------------------------------------------- */

static void forget(struct view *v)
{
    struct owner *o, *tmp;

    work_view_records_close(v);
    HASH_ITER (hh, v->owners, o, tmp) {
        HASH_DEL(v->owners, o);
        mem_free(o);
    }
    packed_map_free(&v->marks);
    assert(v->owners == NULL);
    assert(v->failovers == NULL && v->finished == NULL);
}

struct view *work_view_new(const struct view_config *config)
{
    /* Markers and items may be many, and the view hints at them only: their
     * values need not be looked at more often than the collector wants to. */
    static const struct {
        const char *prefix;
        registry_event_f *fn;
        int64_t fresh_ms;
    } watches[WATCHES] = {
        [WATCH_MARKERS] = {MARKER_PREFIX, on_marker, VALUES_FRESH_MS},
        [WATCH_FAILOVERS] = {FAILOVER_PREFIX, work_view_on_failover,
                             REGISTRY_FRESH_MS},
        [WATCH_WORK] = {WORK_PREFIX, work_view_on_work, VALUES_FRESH_MS},
    };
    struct view *v = mem_zalloc(sizeof(*v));

    assert(config->clock != NULL && config->registry != NULL);
    assert(config->gates != NULL);
    v->config = *config;
    v->marks = packed_map_new();
    gates_listen(config->gates, gate_changed, v);
    for (size_t i = 0; i < NODE_KINDS; i++) {
        v->nobody[i].pub.kind = (enum node_kind)i;
        v->nobody[i].pub.gate =
            gates_find(config->gates, (enum node_kind)i, WORK_NOBODY);
        memcpy(v->nobody[i].pub.address, WORK_NOBODY, sizeof(WORK_NOBODY));
        make_name(v->nobody[i].name, (enum node_kind)i, WORK_NOBODY);
    }
    for (size_t i = 0; i < WATCHES; i++) {
        v->watches[i].v = v;
        v->watches[i].watch = registry_watch(
            config->registry, watches[i].prefix, watches[i].fn, &v->watches[i]);
        registry_watch_freshness(v->watches[i].watch, watches[i].fresh_ms);
    }
    work_view_ask_settings(v);
    return v;
}

void work_view_free(struct view **v)
{
    if (*v == NULL)
        return;
    for (size_t i = 0; i < WATCHES; i++)
        registry_unwatch(&(*v)->watches[i].watch);
    work_view_settings_forget(*v);
    forget(*v);
    MEM_FREE(*v);
}

void work_view_abandon(struct view **v)
{
    if (*v == NULL)
        return;
    forget(*v);
    MEM_FREE(*v);
}

/* What was known in an earlier session says nothing of what happened since. */
bool work_view_synced(const struct view *v)
{
    uint64_t session = registry_session(v->config.registry);

    for (size_t i = 0; i < WATCHES; i++)
        if (session == 0 || v->watches[i].synced != session)
            return false;
    return v->settings_session == session && gates_synced(v->config.gates);
}

uint64_t work_view_index(const struct view *v)
{
    return v->index;
}
