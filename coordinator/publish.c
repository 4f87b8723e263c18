/*
 * publish.c - builds the snapshot that every reader sees.
 *
 * A change of who is there is published within PUBLISH_SOON_MS, a change of
 * load within PUBLISH_LATE_MS, all that came until then at once. The nodes
 * (shown.c) and the groups are those of the snapshot before, but for what
 * changed; the rest is a handful of fields.
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"
#include "registry/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

wall_ms coordinator_wall_at(const struct coordinator *c, mono_ms at)
{
    assert(c->clock != NULL);
    return c->clock->wall - (c->clock->mono - at);
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

/* --- groups: every name that is defined or that a worker carries --------- */

static int name_order(const void *a, const void *b)
{
    return strcmp((*(const struct group_name *const *)a)->text,
                  (*(const struct group_name *const *)b)->text);
}

static void fill_group_def(struct coordinator *c,
                           struct coordinator_snapshot_group *to)
{
    struct group_def *g;
    const char **addresses;

    assert(to->name != NULL);
    assert(to->addresses == NULL);
    HASH_FIND_STR(c->groups, to->name, g);
    if (g == NULL)
        return;
    addresses = coordinator_snapshot_arena_alloc(
        &c->groups_arena, (g->n_addresses + 1) * sizeof(*addresses));
    for (size_t i = 0; i < g->n_addresses; i++)
        addresses[i] =
            coordinator_snapshot_arena_str(&c->groups_arena, g->addresses[i]);
    to->addresses = addresses;
    to->n_addresses = g->n_addresses;
    to->defined_by_api = g->by_api;
}

static struct group_settings *put_settings(struct coordinator *c,
                                           const char *name)
{
    struct group_settings *to =
        coordinator_snapshot_arena_alloc(&c->groups_arena, sizeof(*to));

    coordinator_groups_settings(c, name, NULL, to);
    return to;
}

/* Most groups have none of their own, and share one copy. */
static void fill_group_settings(struct coordinator *c,
                                const struct group_name *name,
                                struct coordinator_snapshot_group *to)
{
    const struct coordinator_snapshot_group *everyone = &c->groups_list[0];
    struct group_def *g;

    assert(everyone->settings != NULL);
    HASH_FIND_STR(c->groups, to->name, g);
    to->settings = name->configured != NULL || (g != NULL && g->own.given != 0)
                       ? put_settings(c, to->name)
                       : everyone->settings;
}

static void make_group_list(struct coordinator *c)
{
    size_t n = HASH_COUNT(c->names), i = 0;
    struct group_name **names = mem_array(n + 1, sizeof(struct group_name *));
    struct coordinator_snapshot_group *list;
    struct group_name *name, *tmp;

    HASH_ITER (hh, c->names, name, tmp)
        names[i++] = name;
    qsort(names, n, sizeof(struct group_name *), name_order);
    c->groups_list = list = coordinator_snapshot_arena_alloc(
        &c->groups_arena, (n + 1) * sizeof(*list));
    c->n_groups_list = n + 1;
    list[0].name = "default";
    list[0].settings = put_settings(c, "default");
    for (i = 0; i < n; i++) {
        list[i + 1].name =
            coordinator_snapshot_arena_str(&c->groups_arena, names[i]->text);
        fill_group_def(c, &list[i + 1]);
        fill_group_settings(c, names[i], &list[i + 1]);
    }
    mem_free(names);
}

static void fill_groups(struct coordinator *c, struct snapshot *s)
{
    if (c->groups_stale || c->groups_list == NULL) {
        c->groups_stale = false;
        coordinator_snapshot_retire_arena(c->slot, &c->groups_arena);
        make_group_list(c);
    }
    s->groups = c->groups_list;
    s->n_groups = c->n_groups_list;
    assert(s->n_groups > 0);
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
    s->trouble_since = coordinator_wall_at(c, trouble.since);
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
    s->back_since = coordinator_wall_at(c, back->since);
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
    s->grouped = c->grouped;
    s->renewals = c->renewal_counts;
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
    struct snapshot *s = coordinator_snapshot_new();

    assert(c->slot != NULL);
    fill_groups(c, s);
    if (coordinator_shown_fill(c, s, c->index + 1) || c->dirty_soon ||
        c->dirty_late)
        c->index++;
    fill_peers(c, s);
    coordinator_problems_fill(c, s);
    fill_cluster(c, s);
    s->index = c->index;
    c->dirty_soon = c->dirty_late = false;
    c->publishes = c->published == c->clock->mono ? c->publishes + 1 : 1;
    c->published = c->clock->mono;
    coordinator_snapshot_publish(c->slot, s);
    assert(!c->dirty_soon);
    assert(!c->dirty_late);
}

/* With the last snapshot, all that it has goes. */
void coordinator_publish_end(struct coordinator *c)
{
    assert(c->shown.nodes.root == NULL);
    coordinator_census_end(&c->shown.nodes);
    coordinator_snapshot_retire_arena(c->slot, &c->groups_arena);
    c->groups_list = NULL;
}

int64_t coordinator_publish_gap_ms(const struct coordinator *c)
{
    assert(c->publishes > 0);
    return c->clock->mono == c->published && c->publishes >= PUBLISHES_A_MS;
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
        (c->awaited && dirty && coordinator_publish_gap_ms(c) == 0))
        coordinator_publish_now(c);
}
