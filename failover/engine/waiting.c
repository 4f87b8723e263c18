/*
 * waiting.c - is there somebody for the work that waits? Design: asked
 * before the lock is, by the groups of the waiting items. A marker does not
 * tell its item's group, which never changes, so each record is read once.
 *
 * What was tried in vain under the lock is not tried again before something
 * changed: the items that wait, or those who might take them.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"
#include "base/rand.h"

#include <stdio.h>
#include <string.h>

#define READS_MAX  256
#define AGAIN_MS   250   /* for those that there was no room to read */
#define DAMAGED_MS 10000 /* until one that cannot be read is read again */
/* In vain, and nothing changed that we can see: once more after this. */
#define ANYWAY_MS (INT64_C(5) * 60 * 1000)

struct waiting_item {
    UT_hash_handle hh;
    struct waiting *all;            /* of which it is one */
    uint64_t look;                  /* of the look that saw its marker last */
    char group[NODE_GROUP_MAX + 1]; /* "": not known */
    bool reading;
    mono_ms not_before; /* it could not be read */
    char id[WORK_ID_MAX + 1];
};

struct waiting_group {
    struct waiting_group *next;
    char name[NODE_GROUP_MAX + 1];
};

static void drop_groups(struct waiting *w)
{
    while (w->groups != NULL) {
        struct waiting_group *g = w->groups;
        w->groups = g->next;
        mem_free(g);
    }
}

static void drop(struct waiting *w, struct waiting_item *it)
{
    assert(it->all == w);
    HASH_DEL(w->items, it);
    mem_free(it);
}

void engine_waiting_close(struct engine *e)
{
    struct waiting_item *it, *next;
    HASH_ITER (hh, e->waiting.items, it, next) {
        if (it->reading)
            registry_forget(e->c.registry, it);
        drop(&e->waiting, it);
    }
    drop_groups(&e->waiting);
}

/* --- which groups wait --------------------------------------------------- */

static void add_group(struct waiting *w, const char *name)
{
    struct waiting_group *g = w->groups;
    assert(strlen(name) <= NODE_GROUP_MAX);
    while (g != NULL && strcmp(g->name, name) != 0)
        g = g->next;
    if (g != NULL || name[0] == '\0')
        return;
    g = mem_zalloc(sizeof(*g));
    (void)snprintf(g->name, sizeof(g->name), "%s", name);
    g->next = w->groups;
    w->groups = g;
}

static void on_item(void *arg, const struct registry_reply *reply)
{
    struct waiting_item *it = arg;
    struct waiting *w = it->all;
    struct work_item item;
    assert(it->reading && w->reading > 0);
    it->reading = false;
    w->reading--;
    it->not_before = w->looked + DAMAGED_MS;
    if (reply->err.code != ERR_OK ||
        work_item_read(&item, reply->entries[0].value,
                       reply->entries[0].value_len, NULL) != 0)
        return; /* gone by now, or read again later */
    (void)snprintf(it->group, sizeof(it->group), "%s", item.group);
    add_group(w, it->group);
    work_item_close(&item);
}

static void ask(struct engine *e, struct waiting_item *it)
{
    char key[REGISTRY_KEY_MAX + 1];
    assert(!it->reading);
    assert(it->all->reading < READS_MAX);
    it->reading = true;
    it->all->reading++;
    registry_get(e->c.registry, work_key(it->id, key), on_item, it);
}

static struct waiting_item *item_of(struct waiting *w, const char *id)
{
    struct waiting_item *it;
    assert(id[0] != '\0');
    HASH_FIND_STR(w->items, id, it);
    if (it == NULL) {
        it = mem_zalloc(sizeof(*it));
        it->all = w;
        (void)snprintf(it->id, sizeof(it->id), "%s", id);
        HASH_ADD_STR(w->items, id, it);
    }
    assert(it->all == w);
    return it;
}

static void look(struct engine *e)
{
    struct waiting *w = &e->waiting;
    struct waiting_item *it, *next;
    const struct marker *m = NULL;
    assert(w->reading <= READS_MAX);
    w->looks++;
    w->unknown = false;
    drop_groups(w);
    while ((m = work_view_marker_next(e->c.view, e->c.kind, WORK_NOBODY,
                                      m != NULL ? m->id : NULL)) != NULL) {
        if (m->held)
            continue;
        it = item_of(w, m->id);
        it->look = w->looks;
        add_group(w, it->group);
        if (it->group[0] != '\0')
            continue;
        w->unknown = true;
        if (!it->reading && w->reading < READS_MAX &&
            w->looked >= it->not_before)
            ask(e, it);
    }
    HASH_ITER (hh, w->items, it, next)
        if (it->look != w->looks && !it->reading)
            drop(w, it);
}

static void refresh(struct engine *e)
{
    struct waiting *w = &e->waiting;
    const struct work_view_owner *o =
        work_view_owner(e->c.view, e->c.kind, WORK_NOBODY);
    mono_ms now = e->c.clock->mono;
    bool again = w->unknown && now - w->looked >= AGAIN_MS;
    assert(o != NULL);
    assert(o->index >= w->index);
    if (o->index == w->index && !again)
        return;
    w->index = o->index;
    w->looked = now;
    look(e);
}

/* --- who might take them ------------------------------------------------- */

/* Changes whenever somebody comes, goes, opens or closes, or the work does. */
static uint64_t signature(struct engine *e)
{
    uint64_t sum = e->waiting.index;
    struct node *n = NULL;
    while ((n = membership_next(e->c.membership, n)) != NULL) {
        if (n->kind == e->c.kind && n->state == NODE_UP)
            sum += hash_str(n->address, n->gate->version + n->process.created +
                                            (uint64_t)n->status);
    }
    return sum;
}

bool engine_waiting_wanted(struct engine *e)
{
    struct waiting *w = &e->waiting;
    mono_ms now = e->c.clock->mono;
    if (!e->c.conf->enabled || now < w->not_before)
        return false;
    refresh(e);
    if (w->groups == NULL)
        return false;
    if (w->in_vain && now - w->tried < ANYWAY_MS && w->why == signature(e))
        return false;
    for (const struct waiting_group *g = w->groups; g != NULL; g = g->next)
        if (e->c.takes(e->c.target_arg, e->c.kind, g->name))
            return true;
    return false;
}

void engine_waiting_settled(struct engine *e, bool in_vain)
{
    struct waiting *w = &e->waiting;
    assert(e->lock != NULL);
    w->in_vain = in_vain;
    w->tried = e->c.clock->mono;
    w->why = in_vain ? signature(e) : 0;
}
