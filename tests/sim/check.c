/*
 * check.c - collects the writes of a txn, keeps who is registered, and lets
 * the rules (check_gate.c, check_item.c) judge when the txn is complete.
 */
#include "tests/sim/check.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void check_fail(struct check *c, const char *invariant, const char *fmt, ...)
{
    struct sim_result *r = c->result;
    va_list args;

    if (r->failed)
        return;
    r->failed = true;
    snprintf(r->invariant, sizeof(r->invariant), "%s", invariant);
    va_start(args, fmt);
    (void)vsnprintf(r->what, sizeof(r->what), fmt, args);
    va_end(args);
    trace(c->trace, "FAILED %s: %s", r->invariant, r->what);
    c->failed(c->arg);
}

bool check_failed(const struct check *c)
{
    return c->result->failed;
}

bool check_same(const struct check_id *a, const struct check_id *b)
{
    return a->known && b->known && a->startup == b->startup && a->pid == b->pid;
}

struct check_process *check_process(struct check *c, int node,
                                    const struct check_id *id)
{
    struct check_node *n = &c->nodes[node];
    struct check_process *p;

    assert(id->known);
    for (p = n->processes; p != NULL; p = p->next)
        if (check_same(&p->id, id))
            return p;
    p = mem_zalloc(sizeof(*p));
    p->id = *id;
    p->next = n->processes;
    n->processes = p;
    return p;
}

const struct check_gate_record *check_gate(const struct check *c, int node)
{
    return &c->nodes[node].gate;
}

bool check_registered(const struct check *c, int node)
{
    const struct check_process *p;

    for (p = c->nodes[node].processes; p != NULL; p = p->next)
        if (p->registrations > 0)
            return true;
    return false;
}

bool check_in_past(const struct check_gate_record *g, const struct check_id *id)
{
    for (size_t i = 0; i < g->n_past; i++)
        if (check_same(&g->past[i], id))
            return true;
    return false;
}

bool check_holds(const struct check *c, enum node_kind kind)
{
    const struct check_txn *t = &c->txn;

    return t->holder[kind] != 0 && t->holder[kind] == t->writer &&
           t->checked[kind] == t->fence[kind];
}

/* --- registrations ------------------------------------------------------- */

/* "/nodes/<kind>/[<group>/]<address>", "/pelorus/nodes/<kind>/<address>". */
static int registration_node(struct check *c, const char *key)
{
    const char *address = strrchr(key, '/');

    if (strstr(key, "nodes/master/") != NULL)
        return c->node_of(c->arg, NODE_MASTER, address + 1);
    if (strstr(key, "nodes/worker/") != NULL)
        return c->node_of(c->arg, NODE_WORKER, address + 1);
    return CHECK_NOBODY;
}

static void count_registration(struct check *c, int node,
                               const struct check_id *id, bool more)
{
    struct check_process *p;

    if (!id->known)
        return;
    p = check_process(c, node, id);
    p->registrations += more ? 1 : (unsigned)-1;
    if (p->registrations == 0)
        p->unbroken = false;
}

static void on_registration(struct check *c, uint64_t writer,
                            const struct registry_entry *before,
                            const struct registry_entry *after)
{
    const char *key = after != NULL ? after->key : before->key;
    int node = registration_node(c, key);
    struct check_registration *r;
    struct check_id id;

    if (strncmp(key, "/nodes", 6) == 0 && c->is_coordinator(c->arg, writer))
        check_fail(c, "nodes-are-read-only", "a coordinator wrote %s", key);
    if (node < 0)
        return;
    HASH_FIND_STR(c->registrations, key, r);
    if (after == NULL) {
        assert(r != NULL);
        trace(c->trace, "  - %s", key);
        if (c->silent && c->is_coordinator(c->arg, writer))
            check_fail(c, "an-outage-moves-nothing",
                       "%s was removed by a coordinator that had heard "
                       "nothing",
                       key);
        count_registration(c, node, &r->id, false);
        HASH_DEL(c->registrations, r);
        mem_free(r);
        return;
    }
    check_read_heartbeat(&id, after);
    if (r == NULL) {
        r = mem_zalloc(sizeof(*r));
        snprintf(r->key, sizeof(r->key), "%s", key);
        r->node = node;
        HASH_ADD_STR(c->registrations, key, r);
        trace(c->trace, "  + %s %" PRId64, key, id.startup);
    } else if (!id.known) {
        return; /* the same registration, it only cannot be read now */
    } else if (check_same(&id, &r->id)) {
        return;
    }
    if (r->id.known && id.startup < r->id.startup &&
        c->is_coordinator(c->arg, writer))
        check_fail(c, "a-late-put",
                   "%s: %" PRId64 " was overwritten by %" PRId64
                   ", which is older",
                   key, r->id.startup, id.startup);
    count_registration(c, node, &id, true);
    count_registration(c, node, &r->id, false);
    r->id = id;
    r->created = after->created;
}

void check_registrations_gone(struct check *c)
{
    struct check_registration *r, *next;

    HASH_ITER (hh, c->registrations, r, next) {
        if (memory_find(c->store, r->key) != NULL)
            continue;
        count_registration(c, r->node, &r->id, false);
        HASH_DEL(c->registrations, r);
        mem_free(r);
    }
}

/* --- collecting a txn ---------------------------------------------------- */

static struct check_item *touch_item(struct check *c, int i)
{
    struct check_item *item = &c->items[i];

    if (!item->touched) {
        item->touched = true;
        item->before = item->now;
        c->txn.items[c->txn.n_items++] = i;
    }
    return item;
}

/* "w-17" */
static int item_of(struct check *c, const char *id)
{
    char *end;
    long i = strncmp(id, "w-", 2) == 0 ? strtol(id + 2, &end, 10) : -1;

    if (i >= 0 && i < CHECK_ITEMS && *end == '\0')
        return (int)i;
    check_fail(c, "one-owner", "work nobody asked for: %s", id);
    return -1;
}

static void on_item(struct check *c, const struct registry_entry *before,
                    const struct registry_entry *after)
{
    const char *key = after != NULL ? after->key : before->key;
    int i = item_of(c, strrchr(key, '/') + 1);
    struct check_item *item;

    if (i < 0)
        return;
    item = touch_item(c, i);
    if (after == NULL)
        item->now =
            (struct check_record){.state = ITEM_NONE, .owner = CHECK_NOBODY};
    else if (!check_read_item(c, &item->now, after))
        check_fail(c, "readable", "%s: %s", key, after->value);
}

static void add_marker(struct check *c, struct check_item *item,
                       const struct check_marker *m)
{
    if (item->n_markers == CHECK_MARKERS) {
        check_fail(c, "one-owner", "w-%d has too many markers",
                   (int)(item - c->items));
        return;
    }
    item->markers[item->n_markers++] = *m;
    if (m->node == CHECK_NOBODY)
        c->nobody[m->kind]++;
    else
        c->nodes[m->node].markers++;
}

static void drop_marker(struct check *c, struct check_item *item, int node,
                        enum node_kind kind)
{
    for (size_t i = 0; i < item->n_markers; i++) {
        if (item->markers[i].node != node || item->markers[i].kind != kind)
            continue;
        item->markers[i] = item->markers[--item->n_markers];
        if (node == CHECK_NOBODY)
            c->nobody[kind]--;
        else
            c->nodes[node].markers--;
        return;
    }
}

/* "/pelorus/owned/<kind>/<address>/<id>" */
static void on_marker(struct check *c, const struct registry_entry *before,
                      const struct registry_entry *after)
{
    const char *key = after != NULL ? after->key : before->key;
    const char *kind = key + strlen("/pelorus/owned/");
    const char *address = strchr(kind, '/') + 1;
    const char *id = strchr(address, '/') + 1;
    struct check_marker m = {.kind = kind[0] == 'm' ? NODE_MASTER : NODE_WORKER,
                             .node = CHECK_NOBODY};
    int i = item_of(c, id);
    char name[160];

    if (i < 0)
        return;
    snprintf(name, sizeof(name), "%.*s", (int)(id - 1 - address), address);
    if (strcmp(name, "-") != 0)
        m.node = c->node_of(c->arg, m.kind, name);
    (void)touch_item(c, i);
    if (before != NULL)
        drop_marker(c, &c->items[i], m.node, m.kind);
    if (after == NULL)
        return;
    if (!check_read_marker(&m, after))
        check_fail(c, "readable", "%s: %s", key, after->value);
    add_marker(c, &c->items[i], &m);
}

static void on_gate(struct check *c, const struct registry_entry *before,
                    const struct registry_entry *after)
{
    const char *key = after != NULL ? after->key : before->key;
    const char *kind = key + strlen("/pelorus/owners/");
    int node = c->node_of(c->arg, kind[0] == 'm' ? NODE_MASTER : NODE_WORKER,
                          strchr(kind, '/') + 1);
    struct check_node *n = &c->nodes[node];

    assert(node >= 0);
    if (!n->touched) {
        n->touched = true;
        n->gate_before = n->gate;
        c->txn.nodes[c->txn.n_nodes++] = node;
    }
    if (after == NULL)
        n->gate = (struct check_gate_record){.state = GATE_IS_ABSENT};
    else if (!check_read_gate(&n->gate, after))
        check_fail(c, "readable", "%s: %s", key, after->value);
}

static void on_failover(struct check *c, const struct registry_entry *before,
                        const struct registry_entry *after)
{
    const char *key = after != NULL ? after->key : before->key;
    struct check_failover read = {0}, *f;

    HASH_FIND_STR(c->failovers, strrchr(key, '/') + 1, f);
    if (after != NULL && !check_read_failover(c, &read, after)) {
        check_fail(c, "readable", "%s: %s", key, after->value);
        return;
    }
    if (f == NULL) {
        f = mem_zalloc(sizeof(*f));
        snprintf(f->id, sizeof(f->id), "%s", strrchr(key, '/') + 1);
        f->kind = read.kind;
        HASH_ADD_STR(c->failovers, id, f);
    }
    if (!f->touched) {
        f->touched = true;
        f->before = f->now;
        assert(c->txn.n_failovers < ARRAY_LEN(c->txn.failovers));
        c->txn.failovers[c->txn.n_failovers++] = f;
    }
    f->now = read.now;
    if (after == NULL)
        f->now = (struct check_failover_record){.phase = PHASE_NONE,
                                                .node = f->before.node};
}

static void on_floor(struct check *c, const struct registry_entry *after)
{
    c->txn.floor = true;
    c->floor_before = c->floor;
    c->floor = after != NULL ? strtoull(after->value, NULL, 10) : 0;
}

/* --- judging ------------------------------------------------------------- */

static void judge_floor(struct check *c)
{
    if (!c->txn.floor)
        return;
    if (c->floor < c->floor_before)
        check_fail(c, "epochs-grow",
                   "the floor fell from %" PRIu64 " to %" PRIu64,
                   c->floor_before, c->floor);
    if (c->floor > c->floor_before && !check_holds(c, NODE_MASTER) &&
        !check_holds(c, NODE_WORKER))
        check_fail(c, "under-the-lock", "the floor was raised without a lock");
}

void check_flush(struct check *c)
{
    struct check_txn *t = &c->txn;

    if (!t->open)
        return;
    for (size_t i = 0; i < t->n_nodes; i++)
        check_gate_change(c, t->nodes[i]);
    for (size_t i = 0; i < t->n_failovers; i++)
        check_failover_change(c, t->failovers[i]);
    judge_floor(c);
    for (size_t i = 0; i < t->n_items; i++)
        check_item_change(c, t->items[i]);
    for (size_t i = 0; i < t->n_nodes; i++)
        c->nodes[t->nodes[i]].touched = false;
    for (size_t i = 0; i < t->n_failovers; i++)
        t->failovers[i]->touched = false;
    for (size_t i = 0; i < t->n_items; i++)
        c->items[t->items[i]].touched = false;
    memset(t, 0, sizeof(*t));
}

static void begin_txn(struct check *c, uint64_t revision, uint64_t writer)
{
    struct check_txn *t = &c->txn;
    uint64_t told;

    check_flush(c);
    t->open = true;
    t->revision = revision;
    t->writer = writer;
    t->at = c->trace->clock->mono;
    for (int k = 0; k < 2; k++) {
        t->holder[k] = memory_lock_holder(c->store, c->locks[k], &t->fence[k]);
        t->checked[k] = memory_checked_fence(c->store, c->locks[k]);
        told = t->fence[k] + c->back.fence_base;
        if (t->holder[k] == 0 || c->back.doubt)
            continue;
        if (told < c->fence[k])
            check_fail(c, "fences-grow", "lock %s: %" PRIu64 " after %" PRIu64,
                       c->locks[k], told, c->fence[k]);
        if (told > c->fence[k])
            c->hold_floor[k] = c->floor;
        c->fence[k] = told;
    }
}

static bool below(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

static void on_write(void *arg, uint64_t writer,
                     const struct registry_entry *before,
                     const struct registry_entry *after)
{
    struct check *c = arg;
    const char *key = after != NULL ? after->key : before->key;
    uint64_t revision = memory_revision(c->store);

    if (check_failed(c))
        return;
    c->result->writes++;
    if (!c->txn.open || c->txn.revision != revision)
        begin_txn(c, revision, writer);
    if (below(key, "/pelorus/work/") || below(key, "/pelorus/owned/") ||
        below(key, "/pelorus/owners/") || below(key, "/pelorus/failovers/") ||
        strcmp(key, "/pelorus/epoch-floor") == 0)
        check_doubt(c, key, writer);
    if (below(key, "/nodes/") || below(key, "/pelorus/nodes/"))
        on_registration(c, writer, before, after);
    else if (below(key, "/pelorus/work/"))
        on_item(c, before, after);
    else if (below(key, "/pelorus/owned/"))
        on_marker(c, before, after);
    else if (below(key, "/pelorus/owners/"))
        on_gate(c, before, after);
    else if (below(key, "/pelorus/failovers/"))
        on_failover(c, before, after);
    else if (strcmp(key, "/pelorus/epoch-floor") == 0)
        on_floor(c, after);
    else if (strcmp(key, "/pelorus/history/incarnation") == 0)
        check_history_change(c, after);
}

/* --- life ---------------------------------------------------------------- */

void check_begin(struct check *c, struct memory_store *store)
{
    c->store = store;
    memory_on_write(store, on_write, c);
    memory_on_write_beside(store, check_beside);
    for (int i = 0; i < CHECK_ITEMS; i++)
        c->items[i].now.owner = CHECK_NOBODY;
}

void check_lists_free(struct check *c)
{
    struct check_failover *f, *f_next;
    struct check_registration *r, *r_next;

    for (int i = 0; i < CHECK_NODES; i++)
        while (c->nodes[i].processes != NULL) {
            struct check_process *p = c->nodes[i].processes;

            c->nodes[i].processes = p->next;
            mem_free(p);
        }
    HASH_ITER (hh, c->failovers, f, f_next) {
        HASH_DEL(c->failovers, f);
        mem_free(f);
    }
    HASH_ITER (hh, c->registrations, r, r_next) {
        HASH_DEL(c->registrations, r);
        mem_free(r);
    }
}

void check_end(struct check *c)
{
    for (int i = 0; i < CHECK_ITEMS; i++) {
        mem_free(c->items[i].done.epochs);
        mem_free(c->items[i].handover.epochs);
        mem_free(c->items[i].release.epochs);
        mem_free(c->items[i].had);
    }
    check_lists_free(c);
}
