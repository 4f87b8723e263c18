/*
 * groups.c - which groups a worker belongs to, from what is true now.
 *
 * Configuration, /pelorus/groups, the path form of its key and its own
 * heartbeat all count; "default" holds every worker and is never stored.
 * Definitions are kept by name; a worker's effective list is computed when it
 * reports and when a definition changes, so a late worker joins at once.
 */
#include "coordinator/coordinator_priv.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
}

static struct group_def *def_find(struct coordinator *c, const char *name)
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
        g->name = mem_strdup(name);
        HASH_ADD_KEYPTR(hh, c->groups, g->name, strlen(g->name), g);
    }
    return g;
}

static void def_drop(struct coordinator *c, struct group_def *g)
{
    HASH_DEL(c->groups, g);
    def_clear(g);
    mem_free(g->name);
    mem_free(g);
}

static void def_fill(struct group_def *g, const char *const *addresses,
                     size_t n)
{
    def_clear(g);
    g->addresses = mem_array(n > 0 ? n : 1, sizeof(*g->addresses));
    for (size_t i = 0; i < n; i++)
        g->addresses[i] = mem_strdup(addresses[i]);
    g->n_addresses = n;
    qsort(g->addresses, n, sizeof(*g->addresses), compare);
}

static const struct conf_group *conf_group(const struct coordinator *c,
                                           const char *name)
{
    for (size_t i = 0; i < c->conf->n_groups; i++)
        if (strcmp(c->conf->groups[i].name, name) == 0)
            return &c->conf->groups[i];
    return NULL;
}

static void def_from_conf(struct coordinator *c, const struct conf_group *from)
{
    struct group_def *g = def_make(c, from->name);

    g->by_api = false;
    def_fill(g, (const char *const *)from->addresses, from->n_addresses);
}

void groups_begin(struct coordinator *c)
{
    for (size_t i = 0; i < c->conf->n_groups; i++)
        def_from_conf(c, &c->conf->groups[i]);
    c->groups_changed = true;
}

/* A definition by API stands in front of the configured one of its name. */
static void def_from_json(struct coordinator *c, const char *name,
                          const struct registry_entry *e)
{
    const char **addresses;
    const cJSON *list, *item;
    cJSON *json = NULL;
    struct err err;
    size_t n = 0;

    if (json_parse(e->value, e->value_len, &json, &err) != 0) {
        log_warn("!group", LOG_S("group", name), LOG_S("reason", err.msg));
        return;
    }
    list = cJSON_GetObjectItemCaseSensitive(json, "addresses");
    addresses = mem_array(GROUP_ADDRESSES_MAX, sizeof(*addresses));
    cJSON_ArrayForEach(item, list)
        if (cJSON_IsString(item) && n < GROUP_ADDRESSES_MAX &&
            node_check_address(item->valuestring, NULL) == 0)
            addresses[n++] = item->valuestring;
    def_fill(def_make(c, name), addresses, n);
    def_find(c, name)->by_api = true;
    mem_free(addresses);
    cJSON_Delete(json);
}

void groups_event(void *arg, const struct registry_event *ev)
{
    struct coordinator *c = arg;
    char clean[NODE_GROUP_MAX + 1];
    const struct conf_group *configured;
    struct group_def *g;
    const char *name;

    if (ev->type == REGISTRY_SYNCED) {
        c->groups_synced = true;
        return;
    }
    name = ev->entry.key + strlen(GROUPS_PREFIX) + 1;
    if (node_clean_group(name, clean, NULL) != 0)
        return;
    if (ev->type == REGISTRY_REMOVE) {
        configured = conf_group(c, clean);
        g = def_find(c, clean);
        if (configured != NULL)
            def_from_conf(c, configured);
        else if (g != NULL)
            def_drop(c, g);
    } else {
        def_from_json(c, clean, &ev->entry);
    }
    c->groups_changed = true;
}

static bool def_holds(const struct group_def *g, const char *address)
{
    return bsearch(&address, g->addresses, g->n_addresses,
                   sizeof(*g->addresses), compare) != NULL;
}

static void extra_clear_groups(struct node_extra *x)
{
    for (size_t i = 0; i < x->n_groups; i++)
        mem_free(x->groups[i]);
    MEM_FREE(x->groups);
    x->n_groups = 0;
}

static void extra_add_group(struct node_extra *x, const char *name)
{
    if (strcmp(name, "default") == 0)
        return;
    for (size_t i = 0; i < x->n_groups; i++)
        if (strcmp(x->groups[i], name) == 0)
            return;
    x->groups = mem_regrow(x->groups, x->n_groups + 1, sizeof(*x->groups));
    x->groups[x->n_groups++] = mem_strdup(name);
}

void groups_of(struct coordinator *c, struct node *node)
{
    struct node_extra *x = node_extra(node);
    struct group_def *g, *tmp;

    extra_clear_groups(x);
    if (node->kind != NODE_WORKER)
        return;
    for (size_t i = 0; i < node->n_groups; i++)
        extra_add_group(x, node->groups[i]);
    HASH_ITER (hh, c->groups, g, tmp)
        if (def_holds(g, node->address))
            extra_add_group(x, g->name);
    if (x->n_groups > 1)
        qsort(x->groups, x->n_groups, sizeof(*x->groups), compare);
}

bool groups_by_api(const struct coordinator *c, const char *name)
{
    const struct group_def *g;

    HASH_FIND_STR(c->groups, name, g);
    return g != NULL && g->by_api;
}

void groups_tick(struct coordinator *c)
{
    struct group_def *g, *tmp;
    const char **names;
    size_t n = 0;

    if (!c->groups_changed)
        return;
    c->groups_changed = false;
    names = mem_array(HASH_COUNT(c->groups) + 1, sizeof(*names));
    HASH_ITER (hh, c->groups, g, tmp)
        names[n++] = g->name;
    balancer_define(c->balancer, names, n);
    mem_free(names);
    for (struct node *node = membership_next(c->membership, NULL);
         node != NULL; node = membership_next(c->membership, node))
        if (node->kind == NODE_WORKER)
            targets_update(c, node);
    c->dirty_soon = true;
}

void groups_end(struct coordinator *c)
{
    struct group_def *g, *tmp;

    HASH_ITER (hh, c->groups, g, tmp)
        def_drop(c, g);
}
