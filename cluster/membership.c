/*
 * membership.c - the tables of nodes and keys, and the events that change
 * them. What a change means is decided in one place, membership_state.c.
 *
 * Longer than 500 lines: the tables and whoever looks into them are
 * one.
 */
#include "cluster/membership_priv.h"

#include "base/mem.h"
#include "base/planted.h"

#include <stdio.h>
#include <string.h>

#define TTL_MIN_MS 1000

void membership_emit(struct membership *m, const struct membership_event *ev)
{
    assert(!m->emitting);
    m->events++;
    m->emitting = true;
    m->fn(m->arg, ev);
    m->emitting = false;
}

/* --- members ------------------------------------------------------------- */

static const char *member_name(const struct roster_item *item)
{
    return CONTAINER_OF(item, struct member, item)->node.address;
}

static struct member *member_find(const struct membership *m,
                                  enum node_kind kind, const char *address)
{
    struct roster_item *item;
    struct member *e;

    assert(kind < NODE_KINDS);
    item = roster_find(&m->members[kind], address);
    e = item != NULL ? CONTAINER_OF(item, struct member, item) : NULL;
    assert(e == NULL || e->node.kind == kind);
    return e;
}

/* The registration in its block; it has one. */
static struct registration *member_own(struct member *e)
{
    assert(e->key_room > 0);
    return (struct registration *)(void *)(e + 1);
}

/* `key_room`: of the registration that comes with it; 0: none does. */
static struct member *member_make(struct membership *m, enum node_kind kind,
                                  const char *address, size_t key_room)
{
    size_t len = strlen(address);
    size_t own =
        key_room > 0 ? offsetof(struct registration, key) + key_room : 0;
    struct member *e = mem_zalloc(sizeof(*e) + own + len + 1);

    assert(len <= NODE_ADDRESS_MAX);
    assert(key_room <= REGISTRY_KEY_MAX + 1);
    e->node.kind = kind;
    e->node.address = memcpy((char *)(e + 1) + own, address, len + 1);
    e->node.gate = gates_find(m->config.gates, kind, address);
    e->node.load = heartbeat_no_load;
    e->key_room = (uint16_t)key_room;
    roster_add(&m->members[kind], &e->item);
    assert(e->node.gate != NULL);
    return e;
}

static void member_free(struct membership *m, struct member *e)
{
    assert(e->registrations == NULL);
    assert(!e->taken);
    windows_stop(&m->windows, &e->window);
    membership_uncount(m, e);
    roster_remove(&m->members[e->node.kind], &e->item);
    mem_free((void *)(uintptr_t)e->node.groups);
    mem_free(e->node.problems);
    mem_free(e);
}

static void member_forget(struct membership *m, struct member *e)
{
    struct membership_event ev = {
        .type = MEMBERSHIP_GONE, .node = &e->node, .process = e->node.process};

    assert(e->registrations == NULL);
    assert(!m->emitting);
    membership_emit(m, &ev);
    member_free(m, e);
}

/* Who left is not of this cluster: it needs no node to be missed. */
static void gate_changed(void *arg, const struct gate_known *known)
{
    struct membership *m = arg;
    struct member *e = member_find(m, known->kind, known->address);
    const struct gate *gate = &known->gate;

    assert(!m->emitting);
    if (e == NULL && (gate->state == GATE_ABSENT || gate->left))
        return;
    if (e == NULL)
        e = member_make(m, known->kind, known->address, 0);
    e->node.gate = gates_find(m->config.gates, known->kind, known->address);
    assert(e->node.gate->state == gate->state);
    if (gate->state == GATE_ABSENT && e->registrations == NULL &&
        (e->node.state == NODE_FENCED || e->node.state == NODE_LEFT))
        member_forget(m, e); /* it was dealt with: nobody to be missed */
    else
        membership_review(m, e, NULL);
}

/* The member that a key names, made with room for it. A gate bars whom it bars,
 * also at an address that was forgotten: whom it names is known before it is
 * told who is back. */
static struct member *member_named(struct membership *m,
                                   const struct node_key *names,
                                   size_t key_room)
{
    struct member *e = member_find(m, names->kind, names->address);

    if (e != NULL)
        return e;
    e = member_make(m, names->kind, names->address, key_room);
    if (e->node.gate->state != GATE_ABSENT && !e->node.gate->left)
        membership_review(m, e, NULL);
    assert(e->node.kind == names->kind);
    return e;
}

/* --- registrations ------------------------------------------------------- */

/* Of our keys only one ends with the address as the member spells it. */
static bool registration_is(const struct registration *r, const char *key,
                            const struct node_key *names)
{
    if (r->key[0] != '\0')
        return strcmp(r->key, key) == 0;
    assert(r->ours);
    return names->ours &&
           strcmp(strrchr(key, '/') + 1, r->member->node.address) == 0;
}

static const char *registration_key(const struct registration *r,
                                    char out[REGISTRY_KEY_MAX + 1])
{
    if (r->key[0] != '\0')
        return memcpy(out, r->key, strlen(r->key) + 1);
    return node_key_ours(r->member->node.kind, r->member->node.address, out);
}

static struct registration *registration_find(const struct membership *m,
                                              const char *key,
                                              const struct node_key *names)
{
    const struct member *e = member_find(m, names->kind, names->address);
    struct registration *r = e != NULL ? e->registrations : NULL;

    while (r != NULL && !registration_is(r, key, names))
        r = r->next;
    assert(r == NULL || r->member == e);
    return r;
}

/* By the key alone: one that stands was parsed when it was made, and what it
 * says is a matter of its text. NULL: none does, or the address is spelt
 * otherwise than its member's. */
static struct registration *registration_standing(const struct membership *m,
                                                  const char *key)
{
    const char *rest, *address;
    struct registration *r;
    struct member *e;
    enum node_kind kind;
    bool ours;

    if (!node_key_begins(key, &kind, &ours, &rest))
        return NULL;
    address = strrchr(rest, '/');
    address = address == NULL ? rest : address + 1;
    e = member_find(m, kind, address);
    for (r = e != NULL ? e->registrations : NULL; r != NULL; r = r->next)
        if (r->key[0] != '\0' ? strcmp(r->key, key) == 0
                              : ours && address == rest)
            break;
    assert(r == NULL || r->ours == ours);
    return r;
}

/* Zeroed: of the member's block, if that is free and has room. */
static struct registration *registration_take(struct member *e, size_t key_room)
{
    size_t room = offsetof(struct registration, key) + key_room;
    struct registration *r;

    if (e->taken || e->key_room < key_room)
        return mem_zalloc(room > sizeof(*r) ? room : sizeof(*r));
    r = member_own(e);
    e->taken = true;
    return memset(r, 0, room);
}

static void registration_give(struct registration *r)
{
    struct member *e = r->member;

    if (e->taken && r == member_own(e))
        e->taken = false;
    else
        mem_free(r);
}

static void registration_free(struct membership *m, struct registration *r)
{
    struct registration **at = &r->member->registrations;

    assert(r->member != NULL);
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    membership_unname(m, r);
    windows_stop(&m->windows, &r->window);
    mem_free((void *)(uintptr_t)r->groups);
    mem_free(r->path_group);
    mem_free(r->load);
    if (r->odd != NULL) {
        mem_free(r->odd->problems);
        mem_free(r->odd->path_problem);
        mem_free(r->odd);
    }
    registration_give(r);
}

static struct registration *registration_make(struct membership *m,
                                              const char *key,
                                              const struct node_key *names)
{
    char usual[REGISTRY_KEY_MAX + 1];
    struct registration *r;
    struct member *e;
    size_t room;

    if (strcmp(key, node_key_ours(names->kind, names->address, usual)) == 0)
        key = "";
    room = strlen(key) + 1;
    e = member_named(m, names, room);
    r = registration_take(e, room);
    memcpy(r->key, key, room);
    r->member = e;
    r->ours = names->ours;
    if (names->group[0] != '\0')
        r->path_group = mem_strdup(names->group);
    if (names->problem[0] != '\0')
        membership_odd(r)->path_problem = mem_strdup(names->problem);
    r->next = r->member->registrations;
    r->member->registrations = r;
    assert(r->member->registrations == r);
    return r;
}

/* Is the registered process, which nobody has called dead, written over by an
 * earlier one? Its lease does not end by that. */
static void keep_lease(const struct membership *m, struct registration *r,
                       const struct heartbeat *hb)
{
    struct member *e = r->member;

    if (!process_same(&r->process, &e->node.process) ||
        !process_differs(&r->process, &hb->process) ||
        hb->process.startup_time >= r->process.startup_time)
        return;
    e->lease_ms =
        r->ttl_ms > 0 ? r->window.span : 2 * m->config.heartbeat_interval_ms;
}

/* Only a persistent key of ours lives by its ttl; without a readable one it
 * gets the session's timeout, so that it does not stand for ever. */
static void take_ttl(struct membership *m, struct registration *r,
                     const struct heartbeat *hb, uint64_t owner)
{
    int64_t watched = r->window.span;

    r->stale = false;
    if (!r->ours || owner != 0) {
        membership_unname(m, r);
        windows_stop(&m->windows, &r->window);
        r->ttl_ms = 0;
        return;
    }
    if (r->ttl_ms == 0)
        membership_name(m, r);
    if (hb->ttl_ms > 0) {
        r->ttl_ms = hb->ttl_ms;
        watched = hb->watched_ms;
    } else if (r->ttl_ms == 0) {
        r->ttl_ms = watched = m->config.session_timeout_ms > TTL_MIN_MS
                                  ? m->config.session_timeout_ms
                                  : TTL_MIN_MS;
    }
    windows_start(&m->windows, &r->window, WINDOW_TTL, m->config.clock->mono,
                  watched);
    membership_keep_fresh(m, r->ttl_ms);
    assert(r->ttl_ms > 0 && watched >= r->ttl_ms);
    assert(window_runs(&r->window));
}

/* --- what the registry tells --------------------------------------------- */

static void tell_key(struct membership *m, const struct membership_key *key)
{
    if (m->config.key != NULL)
        m->config.key(m->arg, key);
}

/* `r` is its registration, or NULL and `names` says whose it will be. */
static void key_written(struct membership *m,
                        const struct registry_entry *entry,
                        struct registration *r, const struct node_key *names)
{
    struct membership_key told = {.key = entry->key,
                                  .ours = r != NULL ? r->ours : names->ours,
                                  .created = entry->created};
    struct heartbeat hb;

    assert(!m->emitting);
    if (r != NULL && r->process.created == entry->created &&
        r->version == entry->version && !r->anew) {
        tell_key(m, &told); /* told twice */
        return;
    }
    heartbeat_read(&hb, entry->value, entry->value_len);
    told.heartbeat = &hb;
    tell_key(m, &told);
    if (r != NULL && membership_only_marked(r, entry, &hb)) {
        r->version = entry->version;
        r->doubted = true;
        membership_review(m, r->member, NULL);
        return;
    }
    if (r == NULL)
        r = registration_make(m, entry->key, names);
    if (r->process.created != entry->created) {
        membership_unname(m, r);
        membership_begin_key(r, entry->created);
    }
    r->version = entry->version;
    r->anew = false;
    r->doubted = hb.doubted;
    r->gap = r->written_at >= 0 ? m->config.clock->mono - r->written_at : 0;
    r->written_at = m->config.clock->mono;
    keep_lease(m, r, &hb);
    membership_take_identity(r, &hb);
    membership_take_report(m, r, &hb);
    take_ttl(m, r, &hb, entry->owner);
    membership_review(m, r->member, r);
    assert(r->member->registrations != NULL);
    if (r->ours && m->config.written != NULL)
        m->config.written(m->arg, &r->member->node, entry);
}

static void key_removed(struct membership *m,
                        const struct registry_entry *entry,
                        const struct node_key *names)
{
    struct membership_key told = {.key = entry->key, .removed = true};
    struct registration *r;
    struct member *e;

    assert(!m->emitting);
    tell_key(m, &told);
    r = registration_find(m, entry->key, names);
    /* The end of an earlier one of the same name is no news. */
    if (r == NULL || entry->created < r->process.created)
        return;
    e = r->member;
    e->long_grace = r->rewritten;
    registration_free(m, r);
    membership_review(m, e, NULL);
}

static void key_changed(struct membership *m, const struct registry_event *ev)
{
    struct membership_key told = {.key = ev->entry.key,
                                  .removed = ev->type == REGISTRY_REMOVE};
    struct registration *r;
    struct node_key names;
    struct err why;

    if (!told.removed &&
        (r = registration_standing(m, ev->entry.key)) != NULL) {
        key_written(m, &ev->entry, r, NULL);
    } else if (node_key_parse(ev->entry.key, &names, &why) != 0) {
        told.refused = why.msg;
        tell_key(m, &told);
    } else if (told.removed) {
        key_removed(m, &ev->entry, &names);
    } else {
        key_written(m, &ev->entry, registration_find(m, ev->entry.key, &names),
                    &names);
    }
}

void membership_feed(struct membership *m, enum membership_source source,
                     const struct registry_event *event)
{
    static const struct membership_key synced = {.key = NULL};

    assert(!m->emitting);
    assert(source == MEMBERSHIP_NODES || source == MEMBERSHIP_OURS);
    if (event->type != REGISTRY_SYNCED) {
        key_changed(m, event);
        return;
    }
    m->synced[source] = true;
    tell_key(m, &synced);
}

/* What is told from here on is news, whatever its version. */
static void doubt_versions(struct membership *m)
{
    for (struct node *n = membership_next(m, NULL); n != NULL;
         n = membership_next(m, n)) {
        struct member *e = CONTAINER_OF(n, struct member, node);

        for (struct registration *r = e->registrations; r; r = r->next)
            r->anew = true;
    }
}

void membership_connection(struct membership *m, enum registry_state state)
{
    mono_ms now = m->config.clock->mono;

    assert(!m->emitting);
    m->connected = registry_state_is_up(state);
    if (state == REGISTRY_DISCONNECTED || state == REGISTRY_WENT_BACK)
        doubt_versions(m);
    if (state == REGISTRY_DISCONNECTED)
        m->synced[MEMBERSHIP_NODES] = m->synced[MEMBERSHIP_OURS] = false;
    if (state == REGISTRY_CONNECTED)
        m->settle_since = now;
    /* What happened while we could not see is told from now on. */
    if (m->connected) {
        windows_restart(&m->windows, now);
        m->tally.recount = true;
    }
    assert(!m->connected || state != REGISTRY_DISCONNECTED);
}

/* --- time ---------------------------------------------------------------- */

static void ttl_over(struct membership *m, struct registration *r)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct membership_event ev = {.type = MEMBERSHIP_TTL_OVER,
                                  .node = &r->member->node,
                                  .process = r->process,
                                  .key = registration_key(r, key),
                                  .version = r->version,
                                  .doubted = r->doubted,
                                  .over = {.created = r->process.created,
                                           .began = m->windows.began,
                                           .heard = r->written_at}};
    bool first = !r->stale;

    assert(r->ours);
    assert(r->ttl_ms > 0);
    r->stale = true;
    /* Told again for as long as it stands: a removal may fail. */
    windows_start(&m->windows, &r->window, WINDOW_TTL, m->config.clock->mono,
                  r->window.span);
    membership_emit(m, &ev);
    if (first)
        membership_review(m, r->member, NULL);
}

static void window_over(struct membership *m, struct window *w)
{
    struct member *e = CONTAINER_OF(w, struct member, window);

    assert(window_runs(w));
    switch (w->type) {
    case WINDOW_TTL:
        ttl_over(m, CONTAINER_OF(w, struct registration, window));
        break;
    case WINDOW_GRACE:
        membership_grace_over(m, e);
        break;
    case WINDOW_FORGET:
        windows_stop(&m->windows, w);
        if (e->node.gate->state == GATE_ABSENT)
            (void)membership_forget(m, &e->node);
        break;
    }
}

void membership_tick(struct membership *m)
{
    struct window *w;

    assert(!m->emitting);
    if (planted(PLANTED_SILENCE_COUNTS))
        membership_answered(m, m->config.clock->mono);
    membership_turn(m);
    /* A window that is over is acted on only when absence may be believed. */
    while (membership_settled(m) &&
           (w = windows_due(&m->windows, m->answered)) != NULL)
        window_over(m, w);
}

bool membership_forget(struct membership *m, struct node *node)
{
    struct member *e = CONTAINER_OF(node, struct member, node);

    assert(!m->emitting);
    if (e->registrations != NULL ||
        (node->state != NODE_DOWN && node->state != NODE_FENCED &&
         node->state != NODE_LEFT))
        return false;
    member_forget(m, e);
    return true;
}

/* --- looking ------------------------------------------------------------- */

struct node *membership_find(const struct membership *m, enum node_kind kind,
                             const char *address)
{
    struct member *e = member_find(m, kind, address);

    return e != NULL ? &e->node : NULL;
}

struct node *membership_next(const struct membership *m, struct node *it)
{
    int k = it == NULL ? 0 : (int)it->kind;
    const struct roster_item *last =
        it == NULL ? NULL : &CONTAINER_OF(it, struct member, node)->item;

    for (; k < NODE_KINDS; k++, last = NULL) {
        struct roster_item *next = roster_next(&m->members[k], last);

        if (next != NULL)
            return &CONTAINER_OF(next, struct member, item)->node;
    }
    return NULL;
}

const char *membership_key(const struct node *node, size_t i,
                           char out[REGISTRY_KEY_MAX + 1])
{
    const struct member *e = CONTAINER_OF(node, struct member, node);
    const struct registration *r = e->registrations;

    while (r != NULL && i-- > 0)
        r = r->next;
    return r != NULL ? registration_key(r, out) : NULL;
}

bool membership_still_over(const struct membership *m, const char *key,
                           const struct membership_over *over,
                           uint64_t *version)
{
    const struct registration *r = NULL;
    struct node_key names;

    assert(over->created != 0);
    if (m->windows.began == over->began &&
        node_key_parse(key, &names, NULL) == 0)
        r = registration_find(m, key, &names);
    if (r == NULL || !r->stale || r->process.created != over->created ||
        r->written_at != over->heard)
        return false;
    *version = r->version;
    return true;
}

bool membership_has_key(const struct membership *m, const char *key)
{
    struct node_key names;

    return node_key_parse(key, &names, NULL) == 0 &&
           registration_find(m, key, &names) != NULL;
}

struct membership *membership_new(const struct membership_config *config,
                                  membership_event_f *fn, void *arg)
{
    struct membership *m = mem_zalloc(sizeof(*m));

    assert(config->clock != NULL && fn != NULL);
    assert(config->gates != NULL);
    assert(config->grace_ms >= 0 && config->settle_ms >= 0);
    m->config = *config;
    for (int k = 0; k < NODE_KINDS; k++)
        m->members[k].name = member_name;
    m->fn = fn;
    gates_listen(config->gates, gate_changed, m);
    m->arg = arg;
    assert(config->answer_ms > 0);
    m->answer_ms = config->answer_ms;
    m->answered = config->clock->mono;
    registry_pauses_init(&m->turns, config->clock->mono);
    registry_pauses_init(&m->answers, config->clock->mono);
    return m;
}

void membership_free(struct membership **m)
{
    struct node *n, *next;

    if (*m == NULL)
        return;
    for (n = membership_next(*m, NULL); n != NULL; n = next) {
        struct member *e = CONTAINER_OF(n, struct member, node);

        next = membership_next(*m, n);
        while (e->registrations != NULL)
            registration_free(*m, e->registrations);
        member_free(*m, e);
    }
    for (int k = 0; k < NODE_KINDS; k++)
        roster_close(&(*m)->members[k]);
    assert((*m)->windows.heap.n == 0);
    heap_close(&(*m)->windows.heap);
    membership_tally_close(*m);
    hash_index_close(&(*m)->by_created.index);
    mem_free((*m)->by_created.all);
    MEM_FREE(*m);
}
