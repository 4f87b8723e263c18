/*
 * gates.c - what is known of the gates, by kind and address.
 *
 * What is known of one may be pointed at for as long as it stands. Where none
 * does nothing is kept, but for a read that is under way: a hundred thousand
 * that came and went leave nothing behind.
 */
#include "cluster/gates.h"

#include "base/log.h"
#include "base/table.h"

#include <string.h>

#define REFRESHES_MAX 64

struct entry {
    struct gate_known known;
    struct gates *gates;
    bool refreshing;          /* a read of it is under way */
    uint64_t refreshing_from; /* the version that was known then */
    UT_hash_handle hh;
    char name[NODE_ADDRESS_MAX + 4]; /* "<kind>/<address>" */
};

struct gates {
    const struct clock *clock;
    struct registry *registry;
    struct registry_watch *watch;
    uint64_t synced; /* in this session; 0: not yet */
    struct entry *entries;
    size_t n_refreshes;
    struct {
        gates_changed_f *changed;
        void *arg;
    } listeners[GATES_LISTENERS_MAX];
    size_t n_listeners;
};

static const struct gate none = {.state = GATE_ABSENT};

static void make_name(char out[NODE_ADDRESS_MAX + 4], enum node_kind kind,
                      const char *address)
{
    size_t len = strnlen(address, NODE_ADDRESS_MAX); /* none is longer */

    assert(kind < NODE_KINDS);
    out[0] = (char)('0' + kind);
    out[1] = '/';
    memcpy(out + 2, address, len);
    out[2 + len] = '\0';
}

static struct entry *entry_find(const struct gates *g, enum node_kind kind,
                                const char *address)
{
    char name[NODE_ADDRESS_MAX + 4];
    struct entry *e;

    assert(kind < NODE_KINDS);
    make_name(name, kind, address);
    HASH_FIND_STR(g->entries, name, e);
    assert(e == NULL || e->known.kind == kind);
    return e;
}

static struct entry *entry_make(struct gates *g, enum node_kind kind,
                                const char *address)
{
    struct entry *e = entry_find(g, kind, address);

    assert(address[0] != '\0' && strlen(address) <= NODE_ADDRESS_MAX);
    if (e != NULL)
        return e;
    e = mem_zalloc(sizeof(*e));
    e->gates = g;
    e->known.kind = kind;
    memcpy(e->known.address, address, strlen(address) + 1);
    make_name(e->name, kind, address);
    HASH_ADD_STR(g->entries, name, e);
    assert(e->known.gate.state == GATE_ABSENT);
    return e;
}

static void entry_free(struct gates *g, struct entry *e)
{
    if (e->refreshing) {
        registry_forget(g->registry, e);
        assert(g->n_refreshes > 0);
        g->n_refreshes--;
    }
    mem_free(e);
}

static void tell(struct gates *g, const struct gate_known *known)
{
    for (size_t i = 0; i < g->n_listeners; i++)
        g->listeners[i].changed(g->listeners[i].arg, known);
}

/* Nobody points at it any more when all were told: gates_find() knows none. */
static void entry_gone(struct gates *g, struct entry *e)
{
    bool stood = e->known.gate.state != GATE_ABSENT;

    assert(entry_find(g, e->known.kind, e->known.address) == e);
    HASH_DEL(g->entries, e);
    e->known.gate = none;
    if (stood)
        tell(g, &e->known);
    entry_free(g, e);
}

/* --- learning ------------------------------------------------------------ */

/* Does the time of a drain or lease go on? Said again by a person it begins
 * anew; a cordon beside it, a leave, the end of an inheritance or another
 * process at the address are not the order. A registry that was put back gives
 * numbers and versions out again: an order of another length or of another
 * time is another one. (Gates of an older version have no number.) */
static bool same_order(const struct gate *was, const struct gate *is)
{
    if (was->order > 0 && is->order > 0)
        return was->order == is->order && was->version <= is->version &&
               (is->for_ms == 0 ||
                (was->for_ms == is->for_ms && was->ordered == is->ordered));
    bool beside = was->cordoned != is->cordoned ||
                  was->heir_of.known != is->heir_of.known ||
                  was->left != is->left;

    return beside && was->state == is->state && was->for_ms == is->for_ms &&
           process_same(&was->process, &is->process) &&
           strcmp(was->who, is->who) == 0 &&
           strcmp(was->reason, is->reason) == 0;
}

/* The same state of the same version; of a registry that was put back that
 * alone says little. */
static bool told_twice(const struct gate *was, const struct gate *is)
{
    return was->state == is->state && gate_is_same(was, is) &&
           was->order == is->order && was->for_ms == is->for_ms &&
           was->ordered == is->ordered && was->cordoned == is->cordoned &&
           was->left == is->left && was->n_past == is->n_past &&
           was->heir_of.known == is->heir_of.known &&
           was->process.known == is->process.known &&
           !process_differs(&was->process, &is->process) &&
           strcmp(was->failover, is->failover) == 0;
}

void gates_learn(struct gates *g, enum node_kind kind, const char *address,
                 const struct gate *gate)
{
    struct entry *e = entry_find(g, kind, address);
    struct gate_known *known;

    if (gate->state == GATE_ABSENT) {
        if (e != NULL)
            entry_gone(g, e);
        return;
    }
    if (e == NULL)
        e = entry_make(g, kind, address);
    known = &e->known;
    if (told_twice(&known->gate, gate))
        return;
    known->seen = g->clock->mono;
    if (!same_order(&known->gate, gate))
        known->order_seen = g->clock->mono;
    known->gate = *gate;
    tell(g, known);
    assert(known->gate.version == gate->version);
}

static void on_event(void *arg, const struct registry_event *event)
{
    struct gates *g = arg;
    char address[NODE_ADDRESS_MAX + 1];
    struct gate gate = none;
    enum node_kind kind;
    struct err err = {0};

    if (event->type == REGISTRY_SYNCED) {
        g->synced = registry_session(g->registry);
        return;
    }
    if (gate_key_parse(event->entry.key, &kind, address) != 0)
        return; /* not ours to judge */
    if (event->type != REGISTRY_REMOVE) {
        if (gate_read(&gate, event->entry.value, event->entry.value_len,
                      &err) != 0) {
            log_warn("!gate", LOG_S("key", event->entry.key),
                     LOG_S("why", err.msg));
            return; /* whoever acts reads it and refuses */
        }
        gate.version = event->entry.version;
        gate.created = event->entry.created;
    }
    gates_learn(g, kind, address, &gate);
}

static void on_refreshed(void *arg, const struct registry_reply *reply)
{
    struct entry *e = arg;
    struct gate gate;

    assert(e->refreshing && e->gates->n_refreshes > 0);
    e->refreshing = false;
    e->gates->n_refreshes--;
    if (reply->err.code == ERR_OK &&
        e->known.gate.version == e->refreshing_from &&
        gates_take(&gate, reply, NULL) == 0)
        gates_learn(e->gates, e->known.kind, e->known.address, &gate);
    else if (e->known.gate.state == GATE_ABSENT)
        entry_gone(e->gates, e);
}

void gates_refresh(struct gates *g, enum node_kind kind, const char *address)
{
    struct entry *e;

    if (g->n_refreshes == REFRESHES_MAX || !gates_synced(g))
        return;
    e = entry_make(g, kind, address);
    if (e->refreshing)
        return;
    e->refreshing = true;
    e->refreshing_from = e->known.gate.version;
    g->n_refreshes++;
    assert(g->n_refreshes <= REFRESHES_MAX);
    gates_get(g->registry, kind, address, on_refreshed, e);
}

/* --- asking -------------------------------------------------------------- */

const struct gate *gates_find(const struct gates *g, enum node_kind kind,
                              const char *address)
{
    const struct entry *e = entry_find(g, kind, address);

    return e != NULL && e->known.gate.state != GATE_ABSENT ? &e->known.gate
                                                           : &none;
}

mono_ms gates_since(const struct gates *g, enum node_kind kind,
                    const char *address)
{
    const struct entry *e = entry_find(g, kind, address);

    return e != NULL ? e->known.seen : g->clock->mono;
}

void gates_keep(struct gates *g, enum node_kind kind, const char *address)
{
    struct entry *e = entry_find(g, kind, address);

    if (e != NULL)
        e->known.seen = g->clock->mono;
}

mono_ms gates_order_seen(const struct gates *g, enum node_kind kind,
                         const char *address)
{
    const struct entry *e = entry_find(g, kind, address);

    return e != NULL ? e->known.order_seen : 0;
}

bool gates_order_is_over(const struct gates *g, enum node_kind kind,
                         const char *address, const struct gate *read)
{
    const struct entry *e = entry_find(g, kind, address);

    assert(read != NULL);
    if (read->for_ms <= 0 ||
        (!read->drain_of.known && read->state != GATE_DRAINING &&
         read->state != GATE_RESTARTING))
        return false;
    return e != NULL && gate_is_same(&e->known.gate, read) &&
           g->clock->mono - e->known.order_seen >= read->for_ms;
}

bool gates_synced(const struct gates *g)
{
    return g->synced != 0 && g->synced == registry_session(g->registry);
}

void gates_get(struct registry *registry, enum node_kind kind,
               const char *address, registry_reply_f *done, void *arg)
{
    char key[REGISTRY_KEY_MAX + 1];

    assert(done != NULL);
    registry_get(registry, gate_key(kind, address, key, sizeof(key)), done,
                 arg);
}

int gates_take(struct gate *out, const struct registry_reply *reply,
               struct err *err)
{
    const struct registry_entry *entry = reply->entries;
    int rc;

    *out = none;
    if (reply->err.code == ERR_NOT_FOUND)
        return 0;
    if (reply->err.code != ERR_OK) {
        if (err != NULL)
            *err = reply->err;
        return (int)reply->err.code;
    }
    rc = gate_read(out, entry->value, entry->value_len, err);
    out->version = entry->version;
    out->created = entry->created;
    assert(rc != 0 || out->state != GATE_ABSENT);
    return rc;
}

/* --- life ---------------------------------------------------------------- */

void gates_listen(struct gates *g, gates_changed_f *changed, void *arg)
{
    assert(changed != NULL);
    assert(g->n_listeners < GATES_LISTENERS_MAX);
    g->listeners[g->n_listeners].changed = changed;
    g->listeners[g->n_listeners++].arg = arg;
}

struct gates *gates_new_idle(const struct clock *clock,
                             struct registry *registry)
{
    struct gates *g = mem_zalloc(sizeof(*g));

    assert(clock != NULL);
    g->clock = clock;
    g->registry = registry;
    return g;
}

void gates_watch(struct gates *g)
{
    assert(g->registry != NULL && g->watch == NULL);
    g->watch = registry_watch(g->registry, GATE_PREFIX, on_event, g);
    registry_watch_freshness(g->watch, REGISTRY_FRESH_MS);
}

struct gates *gates_new(const struct clock *clock, struct registry *registry)
{
    struct gates *g = gates_new_idle(clock, registry);

    if (registry != NULL)
        gates_watch(g);
    return g;
}

void gates_unwatch(struct gates *g)
{
    struct entry *e, *next;

    registry_unwatch(&g->watch);
    HASH_ITER (hh, g->entries, e, next)
        if (e->refreshing)
            registry_forget(g->registry, e);
    assert(g->watch == NULL);
    g->n_listeners = 0;
}

void gates_free(struct gates **gates)
{
    struct gates *g = *gates;
    struct entry *e, *next;

    if (g == NULL)
        return;
    HASH_ITER (hh, g->entries, e, next) {
        HASH_DEL(g->entries, e);
        mem_free(e);
    }
    MEM_FREE(*gates);
}
