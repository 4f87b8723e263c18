/*
 * groups.c - which groups a worker belongs to, from what is true now.
 *
 * Configuration, /pelorus/groups, the path form of its key and its own
 * heartbeat all count; "default" holds every worker and is never stored.
 * Definitions are kept by name, and each worker carries the list of those that
 * name it: a report looks at no definition, and a definition that changes
 * concerns only the workers in it.
 */
#include "coordinator/coordinator_priv.h"

#include "base/json/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- names ----------------------------------------------------------------
 *
 * A name is shared by the definitions and the workers that carry it and goes
 * with the last of them, so that comparing two is comparing pointers and a
 * snapshot of ten thousand workers need not sort their groups' names.
 * name_get() adds a reference, name_put() drops one.
 */
static struct group_name *name_get(struct coordinator *c, const char *text)
{
    size_t len = strlen(text);
    struct group_name *n;

    HASH_FIND(hh, c->names, text, len, n);
    if (n == NULL) {
        n = mem_zalloc(sizeof(*n) + len + 1);
        memcpy(n->text, text, len + 1);
        n->configured = conf_own_of(c->conf, text);
        HASH_ADD(hh, c->names, text[0], len, n);
        c->groups_stale = true;
    }
    n->refs++;
    assert(n->refs > 0);
    return n;
}

static void name_put(struct coordinator *c, struct group_name *n)
{
    assert(n->refs > 0);
    if (--n->refs > 0)
        return;
    assert(c->names != NULL);
    HASH_DEL(c->names, n);
    mem_free(n);
    c->groups_stale = true;
}

static size_t list_n(const struct group_list *l)
{
    return l == NULL ? 0 : l->n;
}

static size_t list_place(const struct group_list *l, const char *text)
{
    size_t low = 0, high = list_n(l);

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (strcmp(l->names[mid]->text, text) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    assert(low <= list_n(l));
    return low;
}

static void list_add(struct coordinator *c, struct group_list **at,
                     const char *text)
{
    size_t n = list_n(*at), i = list_place(*at, text);
    struct group_list *l;

    if (i < n && strcmp((*at)->names[i]->text, text) == 0)
        return;
    l = *at = mem_realloc(*at, sizeof(*l) + (n + 1) * sizeof(l->names[0]));
    memmove(&l->names[i + 1], &l->names[i], (n - i) * sizeof(l->names[0]));
    l->names[i] = name_get(c, text);
    l->n = n + 1;
    assert(i < l->n);
}

static void list_remove(struct coordinator *c, struct group_list *l,
                        const char *text)
{
    size_t at = list_place(l, text);

    if (at == list_n(l) || strcmp(l->names[at]->text, text) != 0)
        return;
    name_put(c, l->names[at]);
    l->n--;
    memmove(&l->names[at], &l->names[at + 1],
            (l->n - at) * sizeof(l->names[0]));
    assert(at <= l->n);
}

void coordinator_group_list_close(struct coordinator *c, struct group_list **l)
{
    for (size_t i = 0; i < list_n(*l); i++)
        name_put(c, (*l)->names[i]);
    MEM_FREE(*l);
    assert(*l == NULL);
}

/* --- definitions --------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void def_clear(struct group_def *g)
{
    for (size_t i = 0; i < g->n_addresses; i++)
        mem_free(g->addresses[i]);
    MEM_FREE(g->addresses);
    g->n_addresses = 0;
    assert(g->addresses == NULL);
}

static struct group_def *def_find(const struct coordinator *c, const char *name)
{
    struct group_def *g;

    HASH_FIND_STR(c->groups, name, g);
    return g;
}

static struct group_def *def_make(struct coordinator *c, const char *name)
{
    struct group_def *g = def_find(c, name);

    if (g == NULL) {
        g = mem_zalloc(sizeof(*g));
        g->name = name_get(c, name);
        HASH_ADD_KEYPTR(hh, c->groups, g->name->text, strlen(name), g);
    }
    assert(g->name != NULL);
    return g;
}

/* The workers of a definition join its group, or leave it. */
static void def_apply(struct coordinator *c, const struct group_def *g,
                      bool join)
{
    assert(g->n_addresses == 0 || g->addresses != NULL);
    for (size_t i = 0; i < g->n_addresses; i++) {
        struct node *node =
            membership_find(c->membership, NODE_WORKER, g->addresses[i]);
        struct coordinator_node_extra *x;

        if (node == NULL)
            continue;
        x = coordinator_node_extra(c, node);
        if (join)
            list_add(c, &x->defined, g->name->text);
        else
            list_remove(c, x->defined, g->name->text);
        x->groups_due = true;
    }
}

static void def_free(struct coordinator *c, struct group_def *g)
{
    assert(g->name->refs > 0);
    HASH_DEL(c->groups, g);
    def_clear(g);
    c->own_changed |= g->own.given != 0;
    c->groups_stale = true;
    name_put(c, g->name);
    mem_free(g);
}

static void def_drop(struct coordinator *c, struct group_def *g)
{
    assert(g->name->refs > 0);
    def_apply(c, g, false);
    def_free(c, g);
    c->groups_changed = true;
}

static void def_set(struct coordinator *c, const char *name, bool by_api,
                    const char *const *addresses, size_t n)
{
    struct group_def *g = def_make(c, name);
    char canonical[NODE_ADDRESS_MAX + 1];

    assert(addresses != NULL || n == 0);
    def_apply(c, g, false);
    def_clear(g);
    g->by_api = by_api;
    g->addresses = mem_array(n > 0 ? n : 1, sizeof(*g->addresses));
    for (size_t i = 0; i < n; i++)
        g->addresses[i] = mem_strdup(node_canonical(addresses[i], canonical));
    g->n_addresses = n;
    qsort(g->addresses, n, sizeof(*g->addresses), compare);
    def_apply(c, g, true);
    c->groups_changed = c->groups_stale = true;
    assert(g->n_addresses == n);
    assert(g->by_api == by_api);
}

const struct conf_group *
coordinator_groups_configured(const struct coordinator *c, const char *name)
{
    for (size_t i = 0; i < c->conf->n_groups; i++)
        if (strcmp(c->conf->groups[i].name, name) == 0)
            return &c->conf->groups[i];
    return NULL;
}

/* As configured; with no address if it is not. */
static void def_from_conf(struct coordinator *c, const char *name)
{
    const struct conf_group *from = coordinator_groups_configured(c, name);

    if (from == NULL)
        def_set(c, name, false, NULL, 0);
    else
        def_set(c, name, false, (const char *const *)from->addresses.items,
                from->addresses.n);
}

static void def_set_own(struct coordinator *c, struct group_def *g,
                        const struct conf_own *own)
{
    assert(g != NULL);
    c->own_changed |= own->given != 0 || g->own.given != 0;
    g->own = *own;
    c->groups_stale = true;
}

/* Those by API stay in front. */
void coordinator_groups_reload(struct coordinator *c)
{
    struct group_name *name, *next;
    struct group_def *g, *tmp;

    assert(c->membership != NULL);
    HASH_ITER (hh, c->groups, g, tmp) {
        bool configured =
            coordinator_groups_configured(c, g->name->text) != NULL;

        if (!g->stored && !configured)
            def_drop(c, g);
        else if (!g->by_api && !configured)
            def_from_conf(c, g->name->text);
    }
    for (size_t i = 0; i < c->conf->n_groups; i++) {
        g = def_find(c, c->conf->groups[i].name);
        if (g == NULL || !g->by_api)
            def_from_conf(c, c->conf->groups[i].name);
    }
    HASH_ITER (hh, c->names, name, next)
        name->configured = conf_own_of(c->conf, name->text);
    coordinator_groups_configure(c);
}

/* The addresses of a definition, borrowed from `json`. ERR_INVALID: it is none,
 * or only a part of it can be used, and why. */
static int def_read(const struct json *json, const char **addresses, size_t *n,
                    struct err *err)
{
    const struct json *item, *list = json_get(json, "addresses");

    err_clear(err);
    *n = 0;
    if (!json_is(list, JSON_ARRAY))
        return err_set(err, ERR_INVALID,
                       "addresses: a list of host:port is expected");
    json_each (item, list) {
        struct err why;

        if (*n == GROUP_ADDRESSES_MAX)
            return err_set(err, ERR_INVALID,
                           "more than %d addresses; the others are "
                           "ignored",
                           GROUP_ADDRESSES_MAX);
        if (!json_is(item, JSON_STRING))
            err_set(err, ERR_INVALID, "addresses: only strings");
        else if (node_check_address(item->string, &why) != 0)
            *err = why;
        else
            addresses[(*n)++] = item->string;
    }
    assert(*n <= GROUP_ADDRESSES_MAX);
    return (int)err->code;
}

/* Either half by API stands in front of what is configured; what of one cannot
 * be used is a problem and the rest counts. Nothing that makes sense: as it
 * was. */
static void def_from_json(struct coordinator *c, const char *name,
                          const struct registry_entry *e)
{
    const char **addresses = mem_array(GROUP_ADDRESSES_MAX, sizeof(*addresses));
    struct group_settings_change change = {0};
    const struct json *json = NULL, *list, *balancer;
    struct err err, why;
    size_t n = 0;
    int rc = json_parse(e->value, e->value_len, &json, &err);

    list = json_get(json, "addresses");
    balancer = json_get(json, "balancer");
    if (rc == 0 && (list != NULL || balancer == NULL))
        rc = def_read(json, addresses, &n, &err);
    if (balancer != NULL &&
        group_settings_read(balancer, &change, &why) != PROBLEM_NONE &&
        rc == 0) {
        rc = (int)why.code;
        err = why;
    }
    coordinator_problems_key(c, e->key, rc == 0 ? NULL : err.msg);
    if (json_is(list, JSON_ARRAY))
        def_set(c, name, true, addresses, n);
    else if (balancer != NULL)
        def_from_conf(c, name);
    if (json_is(list, JSON_ARRAY) || balancer != NULL) {
        def_find(c, name)->stored = true;
        def_set_own(c, def_find(c, name), &change.own);
    }
    mem_free(addresses);
    json_free(json);
}

static void def_unstore(struct coordinator *c, const char *name)
{
    static const struct conf_own none;
    struct group_def *g = def_find(c, name);

    if (g == NULL)
        return;
    if (coordinator_groups_configured(c, name) == NULL) {
        def_drop(c, g);
        return;
    }
    g->stored = false;
    def_set_own(c, g, &none);
    def_from_conf(c, name);
    assert(!g->by_api);
}

int coordinator_group_check(const char *name, char clean[NODE_GROUP_MAX + 1],
                            struct err *err)
{
    int rc = node_clean_group(name, clean, err);

    if (rc == 0 && strcmp(clean, "default") == 0)
        rc = err_set(err, ERR_INVALID,
                     "group default holds every worker and cannot be defined");
    assert(rc != 0 || clean[0] != '\0');
    return rc;
}

void coordinator_groups_event(void *arg, const struct registry_event *ev)
{
    struct coordinator *c = arg;
    char clean[NODE_GROUP_MAX + 1];
    struct err err;
    int rc;

    coordinator_written_wake(c);
    if (ev->type == REGISTRY_SYNCED) {
        c->groups_synced = c->dirty_soon = true;
        return;
    }
    rc = coordinator_group_check(ev->entry.key + strlen(GROUPS_PREFIX) + 1,
                                 clean, &err);
    if (ev->type != REGISTRY_REMOVE) {
        if (rc == 0)
            def_from_json(c, clean, &ev->entry);
        else
            coordinator_problems_key(c, ev->entry.key, err.msg);
        return;
    }
    coordinator_problems_key(c, ev->entry.key, NULL);
    if (rc == 0)
        def_unstore(c, clean);
}

/* --- settings ------------------------------------------------------------ */

void coordinator_groups_settings(const struct coordinator *c, const char *name,
                                 const struct conf_own *own,
                                 struct group_settings *out)
{
    const struct group_def *g = def_find(c, name);
    struct group_name *n;

    HASH_FIND_STR(c->names, name, n);
    group_settings_merge(out, &c->conf->balancer,
                         n != NULL ? n->configured : conf_own_of(c->conf, name),
                         own != NULL ? own
                         : g != NULL ? &g->own
                                     : NULL);
}

static void add_own(const struct coordinator *c, const char *name,
                    struct balancer_group_conf *out)
{
    struct group_settings settings;

    assert(strlen(name) <= BALANCER_GROUP_MAX);
    coordinator_groups_settings(c, name, NULL, &settings);
    (void)snprintf(out->name, sizeof(out->name), "%s", name);
    out->conf = settings.values;
}

/* By API, and those that are only configured. */
void coordinator_groups_configure(struct coordinator *c)
{
    size_t most = HASH_COUNT(c->groups) + c->conf->n_owns, n = 0;
    struct balancer_group_conf *own = mem_array(most + 1, sizeof(*own));
    struct group_def *g, *tmp;

    HASH_ITER (hh, c->groups, g, tmp)
        if (g->own.given != 0)
            add_own(c, g->name->text, &own[n++]);
    for (size_t i = 0; i < c->conf->n_owns; i++) {
        g = def_find(c, c->conf->owns[i].name);
        if (g == NULL || g->own.given == 0)
            add_own(c, c->conf->owns[i].name, &own[n++]);
    }
    assert(n <= most);
    balancer_configure(c->balancer, &c->conf->balancer, own, n, c->clock->mono);
    c->own_changed = false;
    c->groups_stale = true;
    mem_free(own);
}

static bool def_holds(const struct group_def *g, const char *address)
{
    assert(g->n_addresses == 0 || g->addresses != NULL);
    return bsearch(&address, g->addresses, g->n_addresses,
                   sizeof(*g->addresses), compare) != NULL;
}

void coordinator_groups_join(struct coordinator *c, struct node *node,
                             struct coordinator_node_extra *x)
{
    struct group_def *g, *tmp;

    assert(node->kind == NODE_WORKER && list_n(x->defined) == 0);
    HASH_ITER (hh, c->groups, g, tmp)
        if (def_holds(g, node->address))
            list_add(c, &x->defined, g->name->text);
}

void coordinator_groups_update(struct coordinator *c, struct node *node,
                               struct coordinator_node_extra *x)
{
    struct group_list *before = x->groups;

    assert(node->kind == NODE_WORKER);
    x->groups = NULL;
    for (size_t i = 0; i < list_n(x->defined); i++)
        list_add(c, &x->groups, x->defined->names[i]->text);
    for (size_t i = 0; i < node->n_groups; i++)
        if (strcmp(node->groups[i], "default") != 0)
            list_add(c, &x->groups, node->groups[i]);
    coordinator_group_list_close(c,
                                 &before); /* last: names that stay are kept */
    x->groups_due = false;
    assert(list_n(x->groups) <= list_n(x->defined) + node->n_groups);
}

void coordinator_groups_tick(struct coordinator *c)
{
    struct group_def *g, *tmp;
    const char **names;
    size_t n = 0;

    if (c->own_changed) {
        coordinator_groups_configure(c);
        c->dirty_soon = true;
    }
    if (!c->groups_changed)
        return;
    c->groups_changed = false;
    names = mem_array(HASH_COUNT(c->groups) + 1, sizeof(*names));
    HASH_ITER (hh, c->groups, g, tmp)
        names[n++] = g->name->text;
    assert(n == HASH_COUNT(c->groups));
    balancer_define(c->balancer, names, n);
    mem_free(names);
    for (struct node *node = membership_next(c->membership, NULL); node != NULL;
         node = membership_next(c->membership, node))
        if (node->kind == NODE_WORKER &&
            coordinator_node_extra(c, node)->groups_due)
            coordinator_targets_update(c, node);
    c->dirty_soon = true;
}

void coordinator_groups_end(struct coordinator *c)
{
    struct group_def *g, *tmp;

    HASH_ITER (hh, c->groups, g, tmp)
        def_free(c, g);
    assert(c->names == NULL); /* the workers that carried them are gone */
}
