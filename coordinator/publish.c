/*
 * publish.c - builds the snapshot that every reader sees.
 *
 * A change of who is there is published within PUBLISH_SOON_MS, a change of
 * load within PUBLISH_LATE_MS: ten thousand workers that report every ten
 * seconds must not cost a copy of the cluster a thousand times a second. What
 * hardly ever changes (the order of the nodes, the names of the groups) is kept
 * between two of them.
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"
#include "registry/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORDER_STEP 1024 /* nodes that room is made for at once */

static int node_order(const void *a, const void *b)
{
    const struct node *x = *(const struct node *const *)a;
    const struct node *y = *(const struct node *const *)b;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return strcmp(x->address, y->address);
}

static void order_nodes(struct coordinator *c)
{
    if (!c->order_stale)
        return;
    c->order_stale = false;
    c->n_order = 0;
    for (struct node *node = membership_next(c->membership, NULL); node != NULL;
         node = membership_next(c->membership, node)) {
        if (c->n_order % ORDER_STEP == 0)
            c->order = mem_regrow(c->order, c->n_order + ORDER_STEP,
                                  sizeof(struct node *));
        c->order[c->n_order++] = node;
    }
    if (c->n_order > 0)
        qsort(c->order, c->n_order, sizeof(struct node *), node_order);
    assert(c->n_order == 0 || c->order != NULL);
}

/* Its groups, with "default" in its place. */
static void fill_groups(struct coordinator *c, struct snapshot *s,
                        struct coordinator_snapshot_node *to, struct node *node)
{
    const struct group_list *l = &coordinator_node_extra(c, node)->groups;
    const char **names;
    size_t i = 0;

    assert(to->n_groups == 0);
    if (node->kind != NODE_WORKER)
        return;
    names = coordinator_snapshot_alloc(s, (l->n + 1) * sizeof(*names));
    while (i < l->n && strcmp(l->names[i]->text, "default") < 0)
        names[to->n_groups++] = s->groups[l->names[i++]->place].name;
    names[to->n_groups++] = "default";
    while (i < l->n)
        names[to->n_groups++] = s->groups[l->names[i++]->place].name;
    to->groups = names;
    assert(to->n_groups == l->n + 1);
}

/* As the balancer judges it. */
static const char *report_age(const struct coordinator *c,
                              const struct node *node)
{
    int64_t interval = node_report_interval(
        node->ttl_ms, c->conf->balancer.heartbeat_interval_ms);
    bool current = !membership_silent(c->membership);
    mono_ms now =
        current ? c->clock->mono : membership_last_answer(c->membership);
    int64_t age = now - node->last_report;

    return age > NODE_REPORT_STALE * interval  ? "stale"
           : age > NODE_REPORT_LATE * interval ? "late"
                                               : "fresh";
}

/* When that was, by the clock of answers. */
static wall_ms wall_at(const struct coordinator *c, mono_ms at)
{
    return c->clock->wall - (c->clock->mono - at);
}

static void fill_node(struct coordinator *c, struct snapshot *s,
                      struct coordinator_snapshot_node *to, struct node *node)
{
    const struct coordinator_node_extra *x = coordinator_node_extra(c, node);
    const struct gate *gate = node->gate;

    assert(gate != NULL);
    assert(node->state < NODE_STATES);
    to->kind = node->kind;
    to->state = node->state;
    to->status = node->status;
    to->degraded = node->degraded;
    to->address = coordinator_snapshot_str(s, node->address);
    to->load = node->load;
    to->owned = (uint32_t)x->markers;
    to->work_index = x->work_index;
    to->process = node->process;
    to->last_report = node->last_report_wall;
    to->report = report_age(c, node);
    to->flaps = node->flaps;
    to->gate = gate->state;
    to->cordoned = gate->cordoned || gate->state == GATE_CORDONED;
    to->gate_left = gate->left;
    to->gate_process = gate->process;
    to->gate_who = coordinator_snapshot_str(s, gate->who);
    to->gate_reason = coordinator_snapshot_str(s, gate->reason);
    to->gate_since = gate->ordered;
    if (gate->for_ms > 0) /* as the engine counts it */
        to->gate_until =
            gate->for_ms +
            wall_at(c, gates_order_seen(c->gates, node->kind, node->address));
    fill_groups(c, s, to, node);
    coordinator_problems_fill_node(s, to, node);
}

static void fill_settings(const struct coordinator *c, struct snapshot *s)
{
    const struct settings *set = work_view_settings(c->view);
    wall_ms now = c->clock->wall;

    assert(s->settings_who == NULL);
    s->paused = work_settings_paused(set, now);
    s->paused_until = s->paused ? set->paused_until : 0;
    s->brake_override_until =
        work_settings_overridden(set, now) ? set->brake_override_until : 0;
    s->settings_who = coordinator_snapshot_str(s, set->who);
    s->settings_reason = coordinator_snapshot_str(s, set->reason);
}

static void fill_nodes(struct coordinator *c, struct snapshot *s)
{
    assert(s->nodes == NULL);
    s->n_nodes = c->n_order;
    s->nodes =
        coordinator_snapshot_alloc(s, (s->n_nodes + 1) * sizeof(*s->nodes));
    for (size_t i = 0; i < s->n_nodes; i++)
        fill_node(c, s, &s->nodes[i], c->order[i]);
}

/* --- groups: every name that is defined or that a worker carries --------- */

static int name_order(const void *a, const void *b)
{
    return strcmp((*(const struct group_name *const *)a)->text,
                  (*(const struct group_name *const *)b)->text);
}

static void fill_group_def(struct coordinator *c, struct snapshot *s,
                           struct coordinator_snapshot_group *to)
{
    struct group_def *g;
    const char **addresses;

    assert(to->name != NULL);
    assert(to->addresses == NULL);
    HASH_FIND_STR(c->groups, to->name, g);
    if (g == NULL)
        return;
    addresses = coordinator_snapshot_alloc(s, (g->n_addresses + 1) *
                                                  sizeof(*addresses));
    for (size_t i = 0; i < g->n_addresses; i++)
        addresses[i] = coordinator_snapshot_str(s, g->addresses[i]);
    to->addresses = addresses;
    to->n_addresses = g->n_addresses;
    to->defined_by_api = g->by_api;
}

static struct group_settings *put_settings(struct coordinator *c,
                                           struct snapshot *s, const char *name)
{
    struct group_settings *to = coordinator_snapshot_alloc(s, sizeof(*to));

    coordinator_groups_settings(c, name, NULL, to);
    return to;
}

/* Most groups have none of their own, and share one copy. */
static void fill_group_settings(struct coordinator *c, struct snapshot *s,
                                const struct group_name *name,
                                struct coordinator_snapshot_group *to)
{
    const struct coordinator_snapshot_group *everyone = &s->groups[0];
    struct group_def *g;

    assert(everyone->settings != NULL);
    HASH_FIND_STR(c->groups, to->name, g);
    to->settings = name->configured != NULL || (g != NULL && g->own.given != 0)
                       ? put_settings(c, s, to->name)
                       : everyone->settings;
}

/* Two walks over the nodes: count who is alive in each group, then list them.
 */
static void fill_alive(struct coordinator *c, struct snapshot *s)
{
    const char ***alive = mem_array(s->n_groups, sizeof(*alive));

    assert(s->n_groups > 0);
    assert(s->n_nodes == c->n_order);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; pass == 1 && i < s->n_groups; i++) {
            struct coordinator_snapshot_group *g = &s->groups[i];

            alive[i] = coordinator_snapshot_alloc(s, (g->n_alive + 1) *
                                                         sizeof(**alive));
            g->alive = alive[i];
            g->n_alive = 0;
        }
        for (size_t i = 0; i < s->n_nodes; i++) {
            const struct group_list *l =
                &coordinator_node_extra(c, c->order[i])->groups;

            if (s->nodes[i].state != NODE_UP || s->nodes[i].kind != NODE_WORKER)
                continue;
            for (size_t k = 0; k <= l->n; k++) {
                size_t at = k < l->n ? l->names[k]->place : 0; /* default */

                if (pass == 1)
                    alive[at][s->groups[at].n_alive] = s->nodes[i].address;
                s->groups[at].n_alive++;
            }
        }
    }
    mem_free(alive);
}

static void fill_group_list(struct coordinator *c, struct snapshot *s)
{
    size_t n = HASH_COUNT(c->names), i = 0;
    struct group_name **names = mem_array(n + 1, sizeof(struct group_name *));
    struct group_name *name, *tmp;

    HASH_ITER (hh, c->names, name, tmp)
        names[i++] = name;
    qsort(names, n, sizeof(struct group_name *), name_order);
    s->groups = coordinator_snapshot_alloc(s, (n + 1) * sizeof(*s->groups));
    s->groups[s->n_groups++].name = "default";
    s->groups[0].settings = put_settings(c, s, "default");
    for (i = 0; i < n; i++) {
        struct coordinator_snapshot_group *g = &s->groups[s->n_groups];

        names[i]->place = (uint32_t)s->n_groups++;
        g->name = coordinator_snapshot_str(s, names[i]->text);
        fill_group_def(c, s, g);
        fill_group_settings(c, s, names[i], g);
    }
    mem_free(names);
    assert(s->n_groups == n + 1);
}

static void fill_peers(struct coordinator *c, struct snapshot *s)
{
    size_t n = HASH_COUNT(c->peers);
    struct peer *p, *tmp;

    s->coordinators =
        coordinator_snapshot_alloc(s, (n + 1) * sizeof(*s->coordinators));
    HASH_ITER (hh, c->peers, p, tmp)
        s->coordinators[s->n_coordinators++] = p->entry;
    assert(s->n_coordinators == n);
}

/* --- the cluster --------------------------------------------------------- */

static uint32_t count_markers(struct coordinator *c)
{
    size_t n = 0;

    for (int k = 0; k < NODE_KINDS; k++)
        n += work_view_marker_count(c->view, (enum node_kind)k, WORK_NOBODY);
    return (uint32_t)n;
}

/* Not whether our own entry stands, which only the engines need: after a quick
 * restart that of the process before is there until its session ends. */
static bool is_ready(const struct coordinator *c)
{
    struct registry_trouble trouble;

    return coordinator_synced(c) && !c->leaving &&
           !registry_trouble(c->registry, &trouble);
}

static void fill_trouble(struct coordinator *c, struct snapshot *s)
{
    struct registry_trouble trouble, *to;

    assert(s->trouble == NULL);
    if (!registry_trouble(c->registry, &trouble))
        return;
    s->trouble = to = coordinator_snapshot_alloc(s, sizeof(*to));
    *to = trouble;
    to->detail = coordinator_snapshot_str(s, trouble.detail);
    s->trouble_since = wall_at(c, trouble.since);
}

/* The first thing that is missing. */
static void fill_unready(struct coordinator *c, struct snapshot *s)
{
    char text[ERR_MSG_MAX + 256];

    assert(s->unready == NULL);
    if (s->ready)
        return;
    if (s->trouble != NULL)
        snprintf(text, sizeof(text), "%s: %s: %s; %s",
                 registry_trouble_texts[s->trouble->what].code,
                 registry_trouble_texts[s->trouble->what].title,
                 s->trouble->detail,
                 registry_trouble_texts[s->trouble->what].advice);
    else if (c->leaving)
        snprintf(text, sizeof(text),
                 "leaving: this coordinator is shutting "
                 "down");
    else
        snprintf(text, sizeof(text),
                 "reading: the registry is still being read:%s%s%s",
                 membership_synced(c->membership) ? "" : " nodes",
                 work_view_synced(c->view) ? "" : " work",
                 c->groups_synced ? "" : " groups");
    s->unready = coordinator_snapshot_str(s, text);
}

static void fill_history(struct coordinator *c, struct snapshot *s)
{
    const struct registry_back *back = registry_went_back(c->registry);
    char text[HISTORY_PLACE_SIZE];

    assert(s->went_back == NULL);
    s->registry_place = coordinator_snapshot_str(
        s, registry_place_token(registry_place(c->registry), text));
    if (back == NULL)
        return;
    s->went_back = memcpy(coordinator_snapshot_alloc(s, sizeof(*back)), back,
                          sizeof(*back));
    s->back_since = wall_at(c, back->since);
}

static void fill_cluster(struct coordinator *c, struct snapshot *s)
{
    assert(s->self == NULL);
    s->registry_state = registry_state(c->registry);
    s->stale = !coordinator_is_current(c);
    s->ready = is_ready(c);
    c->ready = s->ready;
    c->stale = s->stale;
    if (!s->stale)
        c->as_of = c->clock->wall;
    s->as_of = c->as_of;
    clock_rfc3339(s->as_of, s->as_of_text);
    s->self = coordinator_snapshot_str(s, c->self);
    s->registry_backend = registry_backend_name(c->registry);
    s->session_timeout_ms = registry_session_timeout(c->registry);
    s->registry_revision = registry_revision(c->registry);
    fill_history(c, s);
    fill_trouble(c, s);
    fill_unready(c, s);
    fill_settings(c, s);
    s->unassigned = count_markers(c);
    s->policy = conf_policy_name(c->policy);
    memcpy(s->counts, c->counts, sizeof(s->counts));
    for (int k = 0; k < NODE_KINDS; k++) {
        if (c->engines[k] == NULL)
            continue;
        s->brake[k] = engine_brake(c->engines[k]);
        s->engine[k] = engine_state_name(c->engines[k]);
        coordinator_lock_wait_fill(c, s, k);
        if (!engine_holds_lock(c->engines[k], &s->fence[k]))
            s->fence[k] = 0;
    }
    assert(s->ready == (s->unready == NULL));
    assert(c->ready == s->ready);
}

void coordinator_publish_now(struct coordinator *c)
{
    struct snapshot *s = coordinator_snapshot_new(), *before;

    assert(c->slot != NULL);
    order_nodes(c);
    fill_group_list(c, s);
    fill_nodes(c, s);
    fill_alive(c, s);
    fill_peers(c, s);
    coordinator_problems_fill(c, s);
    fill_cluster(c, s);
    before = coordinator_snapshot_acquire(c->slot);
    if (coordinator_snapshot_mark_changes(s, before, c->index + 1) ||
        c->dirty_soon || c->dirty_late)
        c->index++;
    coordinator_snapshot_release(&before);
    s->index = c->index;
    c->dirty_soon = c->dirty_late = false;
    c->published = c->clock->mono;
    coordinator_snapshot_publish(c->slot, s);
    assert(!c->dirty_soon);
    assert(!c->dirty_late);
}

/* Between two for those who wait for what they wrote. One of 10,000 nodes
 * takes some ms: it shall not be all that is done. */
int64_t coordinator_publish_gap(const struct coordinator *c)
{
    return PUBLISH_GAP_MS + (int64_t)(c->n_order / PUBLISH_NODES_PER_MS);
}

void coordinator_publish_tick(struct coordinator *c)
{
    mono_ms age = c->clock->mono - c->published;
    bool dirty = c->dirty_soon || c->dirty_late;

    assert(age >= 0);
    if (is_ready(c) != c->ready || coordinator_is_current(c) == c->stale)
        c->dirty_soon = true; /* whoever asks for it is waiting */
    if ((c->dirty_soon && age >= PUBLISH_SOON_MS / 2) ||
        age >= PUBLISH_LATE_MS ||
        (c->awaited && dirty && age >= coordinator_publish_gap(c)))
        coordinator_publish_now(c);
}
