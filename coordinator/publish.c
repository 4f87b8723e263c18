/*
 * publish.c - builds the snapshot that every reader sees.
 *
 * A change of who is there is published within PUBLISH_SOON_MS, a change of
 * load within PUBLISH_LATE_MS: ten thousand workers that report every ten
 * seconds must not cost a copy of the cluster a thousand times a second.
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static int node_order(const void *a, const void *b)
{
    const struct snapshot_node *x = a, *y = b;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return strcmp(x->address, y->address);
}

static int text_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void fill_groups(struct snapshot *s, struct snapshot_node *to,
                        struct node *node)
{
    const struct node_extra *x = node_extra(node);
    const char **names;

    if (node->kind != NODE_WORKER)
        return;
    names = snapshot_alloc(s, (x->n_groups + 1) * sizeof(*names));
    names[to->n_groups++] = "default";
    for (size_t i = 0; i < x->n_groups; i++)
        names[to->n_groups++] = snapshot_str(s, x->groups[i]);
    qsort(names, to->n_groups, sizeof(*names), text_order);
    to->groups = names;
}

static void fill_node(struct coordinator *c, struct snapshot *s,
                      struct snapshot_node *to, struct node *node)
{
    const struct view_owner *owner =
        view_owner(c->view, node->kind, node->address);

    to->kind = node->kind;
    to->state = node->state;
    to->status = node->status;
    to->degraded = node->degraded;
    to->address = snapshot_str(s, node->address);
    to->load = node->load;
    to->owned = owner != NULL ? (uint32_t)owner->n_markers : 0;
    to->work_index = owner != NULL ? owner->index : 0;
    to->process = node->process;
    to->last_report = node->last_report_wall;
    to->flaps = node->flaps;
    to->gate = node->gate.state;
    to->cordoned =
        node->gate.cordoned || node->gate.state == GATE_CORDONED;
    to->gate_process = node->gate.process;
    to->gate_who = node->gate.who[0] ? snapshot_str(s, node->gate.who) : "";
    to->gate_reason =
        node->gate.reason[0] ? snapshot_str(s, node->gate.reason) : "";
    fill_groups(s, to, node);
}

static void fill_nodes(struct coordinator *c, struct snapshot *s)
{
    size_t n = 0;
    struct node *node;

    for (node = membership_next(c->membership, NULL); node != NULL;
         node = membership_next(c->membership, node))
        n++;
    s->nodes = snapshot_alloc(s, (n + 1) * sizeof(*s->nodes));
    for (node = membership_next(c->membership, NULL); node != NULL;
         node = membership_next(c->membership, node))
        fill_node(c, s, &s->nodes[s->n_nodes++], node);
    assert(s->n_nodes == n);
    if (n > 1)
        qsort(s->nodes, n, sizeof(*s->nodes), node_order);
}

/* --- groups: every name that is defined or that a live worker carries -------- */

static size_t group_names(struct coordinator *c, const struct snapshot *s,
                          const char ***out)
{
    struct group_def *g, *tmp;
    size_t n = 0, max = HASH_COUNT(c->groups), unique = 0;
    const char **names;

    for (size_t i = 0; i < s->n_nodes; i++)
        max += s->nodes[i].n_groups;
    names = mem_array(max + 1, sizeof(*names));
    HASH_ITER (hh, c->groups, g, tmp)
        names[n++] = g->name;
    for (size_t i = 0; i < s->n_nodes; i++)
        for (size_t k = 0; k < s->nodes[i].n_groups; k++)
            if (strcmp(s->nodes[i].groups[k], "default") != 0)
                names[n++] = s->nodes[i].groups[k];
    if (n > 1)
        qsort(names, n, sizeof(*names), text_order);
    for (size_t i = 0; i < n; i++)
        if (unique == 0 || strcmp(names[unique - 1], names[i]) != 0)
            names[unique++] = names[i];
    *out = names;
    return unique;
}

static struct snapshot_group *group_at(struct snapshot *s, const char *name)
{
    size_t low = 1, high = s->n_groups; /* [0] is "default" */

    if (strcmp(name, "default") == 0)
        return &s->groups[0];
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(s->groups[mid].name, name);

        if (order == 0)
            return &s->groups[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static void fill_group_def(struct coordinator *c, struct snapshot *s,
                           struct snapshot_group *to)
{
    struct group_def *g;
    const char **addresses;

    HASH_FIND_STR(c->groups, to->name, g);
    if (g == NULL)
        return;
    addresses = snapshot_alloc(s, (g->n_addresses + 1) * sizeof(*addresses));
    for (size_t i = 0; i < g->n_addresses; i++)
        addresses[i] = snapshot_str(s, g->addresses[i]);
    to->addresses = addresses;
    to->n_addresses = g->n_addresses;
    to->defined_by_api = g->by_api;
}

/* Two walks over the nodes: count who is alive in each group, then list them. */
static void fill_alive(struct snapshot *s)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; pass == 1 && i < s->n_groups; i++) {
            struct snapshot_group *g = &s->groups[i];

            g->alive =
                snapshot_alloc(s, (g->n_alive + 1) * sizeof(*g->alive));
            g->n_alive = 0;
        }
        for (size_t i = 0; i < s->n_nodes; i++) {
            const struct snapshot_node *n = &s->nodes[i];

            for (size_t k = 0; n->state == NODE_UP && k < n->n_groups; k++) {
                struct snapshot_group *g = group_at(s, n->groups[k]);

                if (pass == 1)
                    ((const char **)(uintptr_t)g->alive)[g->n_alive] =
                        n->address;
                g->n_alive++;
            }
        }
    }
}

static void fill_group_list(struct coordinator *c, struct snapshot *s)
{
    const char **names;
    size_t n = group_names(c, s, &names);

    s->groups = snapshot_alloc(s, (n + 1) * sizeof(*s->groups));
    s->groups[s->n_groups++].name = "default";
    for (size_t i = 0; i < n; i++) {
        struct snapshot_group *g = &s->groups[s->n_groups++];

        g->name = snapshot_str(s, names[i]);
        fill_group_def(c, s, g);
    }
    mem_free(names);
    fill_alive(s);
}

static int coordinator_order(const void *a, const void *b)
{
    const struct snapshot_coordinator *x = a, *y = b;

    return strcmp(x->address, y->address);
}

static void fill_peers(struct coordinator *c, struct snapshot *s)
{
    size_t n = HASH_COUNT(c->peers);
    struct peer *p, *tmp;

    s->coordinators = snapshot_alloc(s, (n + 1) * sizeof(*s->coordinators));
    HASH_ITER (hh, c->peers, p, tmp) {
        struct snapshot_coordinator *to = &s->coordinators[s->n_coordinators++];

        to->address = snapshot_str(s, p->address);
        to->version = snapshot_str(s, p->version);
        to->locks = snapshot_str(s, p->locks);
        to->started = p->started;
    }
    if (n > 1)
        qsort(s->coordinators, n, sizeof(*s->coordinators), coordinator_order);
}

/* --- the cluster ------------------------------------------------------------- */

static uint32_t count_markers(struct coordinator *c)
{
    size_t n = 0;

    for (int k = 0; k < NODE_KINDS; k++)
        n += view_marker_count(c->view, (enum node_kind)k, "-");
    return (uint32_t)n;
}

static bool is_stale(const struct coordinator *c)
{
    enum registry_state state = registry_state(c->registry);

    return (state != REGISTRY_CONNECTED && state != REGISTRY_RECONNECTED) ||
           !membership_synced(c->membership) || !view_synced(c->view);
}

static bool is_ready(const struct coordinator *c)
{
    return !is_stale(c) && entry_stands(c) && !c->leaving;
}

static void fill_cluster(struct coordinator *c, struct snapshot *s)
{
    s->registry_state = registry_state(c->registry);
    s->stale = is_stale(c);
    s->ready = is_ready(c);
    c->ready = s->ready;
    if (!s->stale)
        c->as_of = c->clock->wall;
    s->as_of = c->as_of;
    clock_rfc3339(s->as_of, s->as_of_text);
    s->self = snapshot_str(s, c->self);
    s->registry_backend = registry_backend_name(c->registry);
    s->session_timeout_ms = registry_session_timeout(c->registry);
    s->registry_revision = c->registry_revision;
    s->paused = view_settings(c->view)->paused;
    s->unassigned = count_markers(c);
    for (int k = 0; k < NODE_KINDS; k++) {
        if (c->engines[k] == NULL)
            continue;
        s->brake[k] = engine_brake(c->engines[k]);
        s->engine[k] = engine_state_name(c->engines[k]);
        if (!engine_holds_lock(c->engines[k], &s->fence[k]))
            s->fence[k] = 0;
    }
}

void publish_now(struct coordinator *c)
{
    struct snapshot *s = snapshot_new();

    if (c->dirty_soon || c->dirty_late)
        c->index++;
    fill_nodes(c, s);
    fill_group_list(c, s);
    fill_peers(c, s);
    fill_cluster(c, s);
    s->index = c->index;
    c->dirty_soon = c->dirty_late = false;
    c->published = c->clock->mono;
    snapshot_publish(c->slot, s);
}

void publish_tick(struct coordinator *c)
{
    mono_ms age = c->clock->mono - c->published;

    if (is_ready(c) != c->ready)
        c->dirty_soon = true; /* whoever asks readyz is waiting for it */
    if ((c->dirty_soon && age >= PUBLISH_SOON_MS / 2) || age >= PUBLISH_LATE_MS)
        publish_now(c);
}
