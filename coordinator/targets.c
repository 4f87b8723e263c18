/*
 * targets.c - who takes an item of work.
 *
 * Workers: the balancer of the item's group. Masters: the least loaded live
 * one, by the work it owns, what we gave it that its markers do not show yet,
 * and its reported load. There are few masters and the walk is short, so
 * nothing is indexed.
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* What was given but has not shown up in the view after one to two of these
 * never will: its txn failed. Counted in periods, so that it is forgotten
 * under a steady load, too. */
#define PLANNED_PERIOD_MS 5000
#define NAMES_FEW         8 /* of groups, without memory of their own */

/* Those of a process that is gone run nowhere. */
static void markers_told(struct coordinator_node_extra *x,
                         const struct work_view_owner *owner)
{
    size_t owned = owner->n_markers - owner->n_foreign;

    assert(owner->n_foreign <= owner->n_markers);
    assert(owner->n_markers <= UINT32_MAX);
    x->markers = (uint32_t)owner->n_markers;
    x->owned = (uint32_t)owned;
    x->work_index = owner->index;
}

struct coordinator_node_extra *coordinator_node_extra(struct coordinator *c,
                                                      struct node *node)
{
    const struct work_view_owner *owner;
    struct coordinator_node_extra *x = node->user;

    if (x != NULL)
        return x;
    x = mem_zalloc(sizeof(*x));
    x->node = node;
    node->user = x;
    coordinator_node_changed(c, node);
    owner = work_view_owner(c->view, node->kind, node->address);
    if (owner != NULL) /* its markers may be known before it is */
        markers_told(x, owner);
    if (node->kind == NODE_WORKER)
        coordinator_groups_join(c, node, x);
    assert(node->user == x);
    return x;
}

static void master_add(struct coordinator *c, struct node *node)
{
    assert(node->kind == NODE_MASTER);
    for (size_t i = 0; i < c->n_masters; i++)
        if (c->masters[i] == node)
            return;
    c->masters = mem_regrow(c->masters, c->n_masters + 1, sizeof(*c->masters));
    c->masters[c->n_masters++] = node;
}

static void master_drop(struct coordinator *c, const struct node *node)
{
    for (size_t i = 0; i < c->n_masters; i++)
        if (c->masters[i] == node) {
            c->masters[i] = c->masters[--c->n_masters];
            return;
        }
}

/* The node is about to be freed. */
void coordinator_targets_forget(struct coordinator *c, struct node *node)
{
    struct coordinator_node_extra *x = node->user;

    if (node->kind == NODE_WORKER)
        balancer_remove(c->balancer, node->address);
    master_drop(c, node);
    coordinator_shown_forget(c, node);
    if (x == NULL)
        return;
    heap_remove(&c->suspects, &x->suspect);
    coordinator_group_list_close(c, &x->defined);
    coordinator_group_list_close(c, &x->groups);
    mem_free(x->logged);
    mem_free(x->verified);
    mem_free(x);
    node->user = NULL;
    assert(node->user == NULL);
}

void coordinator_targets_end(struct coordinator *c)
{
    for (struct node *n = membership_next(c->membership, NULL); n != NULL;
         n = membership_next(c->membership, n))
        coordinator_targets_forget(c, n);
    assert(c->n_masters == 0);
    MEM_FREE(c->masters);
    coordinator_shown_end(c);
    heap_close(&c->suspects);
}

/* May new work or picks go to it? */
static bool node_open(const struct node *n)
{
    assert(n->gate != NULL);
    return n->state == NODE_UP && n->process.known && !n->unidentified &&
           gate_takes(n->gate, &n->process) && !n->gate->cordoned;
}

/* Something about the node changed: tell the balancer what is known now. */
void coordinator_targets_update(struct coordinator *c, struct node *node)
{
    struct coordinator_node_extra *x = coordinator_node_extra(c, node);
    const char *few[NAMES_FEW], **names = few;
    struct balancer_worker w = {
        .busy = node->status == NODE_BUSY,
        .dead = node->state != NODE_UP,
        .closed = !node_open(node),
        .degraded = node->unreadable,
        .weight = node->load.weight,
        .slots = node->load.slots,
        .cpu = node->load.cpu,
        .memory = node->load.memory,
        .disk = node->load.disk,
        .pool = node->load.pool,
        .reported = node->last_report,
        .lease_ms = node->ttl_ms,
        .since = node->state_since,
        .incarnation = (uint64_t)node->process.startup_time * 31 +
                       (uint64_t)node->process.process_id,
    };

    assert(x == node->user);
    coordinator_node_changed(c, node);
    if (node->kind == NODE_MASTER)
        master_add(c, node);
    if (node->kind != NODE_WORKER)
        return;
    coordinator_groups_update(c, node, x);
    w.n_groups = x->groups == NULL ? 0 : x->groups->n;
    if (w.n_groups > NAMES_FEW)
        names = mem_array(w.n_groups, sizeof(*names));
    for (size_t i = 0; i < w.n_groups; i++)
        names[i] = x->groups->names[i]->text;
    snprintf(w.address, sizeof(w.address), "%s", node->address);
    w.groups = names;
    balancer_set(c->balancer, &w, c->clock->mono);
    balancer_own(c->balancer, node->address, x->owned, c->clock->mono);
    if (names != few)
        mem_free(names);
}

static void planned_age(const struct coordinator *c,
                        struct coordinator_node_extra *x)
{
    mono_ms age = c->clock->mono - x->planned_since;

    assert(x->planned_since <= c->clock->mono);
    if (age < PLANNED_PERIOD_MS)
        return;
    x->planned[1] = age < 2 * PLANNED_PERIOD_MS ? x->planned[0] : 0;
    x->planned[0] = 0;
    x->planned_since = c->clock->mono;
}

/* What we gave it begins to show: the oldest first. */
static void planned_shown(struct coordinator_node_extra *x, size_t shown)
{
    for (int i = 1; i >= 0; i--) {
        uint32_t n = shown < x->planned[i] ? (uint32_t)shown : x->planned[i];

        x->planned[i] -= n;
        shown -= n;
    }
}

/* It gets nothing after all; the newest is meant. */
static void planned_back(struct coordinator_node_extra *x)
{
    if (x->planned[0] > 0)
        x->planned[0]--;
    else if (x->planned[1] > 0)
        x->planned[1]--;
}

void coordinator_targets_markers(struct coordinator *c, struct node *node,
                                 const struct work_view_owner *owner)
{
    struct coordinator_node_extra *x = coordinator_node_extra(c, node);

    assert(owner->kind == node->kind);
    if (owner->n_markers > x->markers)
        planned_shown(x, owner->n_markers - x->markers);
    markers_told(x, owner);
    coordinator_node_changed(c, node);
    if (node->kind == NODE_WORKER)
        balancer_own(c->balancer, node->address, x->owned, c->clock->mono);
    assert(x->markers == owner->n_markers);
}

static bool excluded(const char *address, const char *const *exclude, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(address, exclude[i]) == 0)
            return true;
    return false;
}

/* What masters usually say of themselves: one that does not is taken for one
 * like the others, never for a better one. */
struct usual_master {
    double cpu, memory, slots;
};

static struct usual_master usual_master(const struct coordinator *c)
{
    struct usual_master u = {0};
    double n_cpu = 0, n_memory = 0, n_slots = 0;

    for (size_t i = 0; i < c->n_masters; i++) {
        const struct node *n = c->masters[i];

        if (!node_open(n))
            continue;
        if (n->load.cpu >= 0)
            u.cpu += (n->load.cpu - u.cpu) / ++n_cpu;
        if (n->load.memory >= 0)
            u.memory += (n->load.memory - u.memory) / ++n_memory;
        if (n->load.slots > 0)
            u.slots += (n->load.slots - u.slots) / ++n_slots;
    }
    if (n_slots == 0)
        u.slots = 1;
    assert(u.slots > 0);
    return u;
}

/* Work per capacity: the item it would own next, over what it has to give. */
static double master_score(struct coordinator *c, struct node *n,
                           const struct usual_master *usual)
{
    struct coordinator_node_extra *x = coordinator_node_extra(c, n);
    double slots = n->load.slots > 0 ? n->load.slots : usual->slots;
    double cpu = n->load.cpu >= 0 ? n->load.cpu : usual->cpu;
    double memory = n->load.memory >= 0 ? n->load.memory : usual->memory;
    double free_share = 1.0 - cpu / 2 - memory / 2;
    double owned;

    assert(slots > 0);
    planned_age(c, x);
    owned = (double)x->markers + x->planned[0] + x->planned[1];
    if (n->status == NODE_BUSY)
        free_share /= 4; /* its word limits it; it is not absent */
    if (free_share < 0.05)
        free_share = 0.05;
    return (owned + 1) / (slots * free_share);
}

static void choose_master(struct coordinator *c, const char *const *exclude,
                          size_t n_exclude, struct work_target *out)
{
    struct usual_master usual;
    struct node *best = NULL;
    double best_score = 0;
    bool any = false;

    assert(out->address[0] == '\0');
    if (!c->known) {
        out->code = PROBLEM_NOT_SYNCED;
        out->retry_after_ms = BALANCER_SYNC_RETRY_MS;
        return;
    }
    usual = usual_master(c);
    for (size_t i = 0; i < c->n_masters; i++) {
        struct node *n = c->masters[i];
        double score;

        any = any || n->state == NODE_UP;
        if (!node_open(n) || excluded(n->address, exclude, n_exclude))
            continue;
        score = master_score(c, n, &usual);
        if (best == NULL || score < best_score) {
            best = n;
            best_score = score;
        }
    }
    if (best == NULL) {
        out->code = any ? PROBLEM_ALL_BUSY : PROBLEM_GROUP_EMPTY;
        out->retry_after_ms = c->conf->balancer.heartbeat_interval_ms;
        return;
    }
    coordinator_node_extra(c, best)->planned[0]++;
    out->counted = true;
    snprintf(out->address, sizeof(out->address), "%s", best->address);
    assert(best->kind == NODE_MASTER);
}

enum problem coordinator_pick_problem(enum balancer_code code)
{
    static const enum problem problems[] = {
        [BALANCER_OK] = PROBLEM_NONE,
        [BALANCER_GROUP_NOT_FOUND] = PROBLEM_GROUP_NOT_FOUND,
        [BALANCER_GROUP_EMPTY] = PROBLEM_GROUP_EMPTY,
        [BALANCER_ALL_BUSY] = PROBLEM_ALL_BUSY,
        [BALANCER_REPORTS_OLD] = PROBLEM_REPORTS_OLD,
        [BALANCER_NOT_SYNCED] = PROBLEM_NOT_SYNCED,
    };

    assert((size_t)code < ARRAY_LEN(problems));
    return problems[code];
}

static void choose_worker(struct coordinator *c, const char *group,
                          const char *const *exclude, size_t n_exclude,
                          struct work_target *out)
{
    struct balancer_pick pick = {0};
    struct balancer_request request = {
        .group = group, .count = 1, .now = c->clock->mono};
    struct balancer_answer answer = {.picks = &pick};

    assert(out->address[0] == '\0');
    for (size_t i = 0; i < n_exclude && i < BALANCER_EXCLUDE_MAX; i++)
        request.exclude[request.n_exclude++] = exclude[i];
    balancer_pick(c->balancer, &request, &answer);
    if (answer.code != BALANCER_OK) {
        out->code = coordinator_pick_problem(answer.code);
        out->retry_after_ms = answer.retry_after_ms;
        return;
    }
    snprintf(out->address, sizeof(out->address), "%s", pick.address);
    out->pick = pick.pick;
    out->counted = true;
    assert(answer.code == BALANCER_OK);
    assert(out->address[0] != '\0');
}

void coordinator_targets_choose(void *arg, enum node_kind kind,
                                const char *group, const char *const *exclude,
                                size_t n_exclude, struct work_target *out)
{
    struct coordinator *c = arg;

    memset(out, 0, sizeof(*out));
    if (kind == NODE_MASTER)
        choose_master(c, exclude, n_exclude, out);
    else
        choose_worker(c, group, exclude, n_exclude, out);
    assert((out->code == PROBLEM_NONE) == (out->address[0] != '\0'));
}

void coordinator_targets_unused(void *arg, enum node_kind kind,
                                const struct work_target *target)
{
    struct coordinator *c = arg;
    struct node *n;

    assert(target->counted);
    if (kind == NODE_WORKER) {
        (void)balancer_unused(c->balancer, target->pick);
        return;
    }
    n = membership_find(c->membership, kind, target->address);
    if (n != NULL)
        planned_back(coordinator_node_extra(c, n));
}

bool coordinator_targets_any(void *arg, enum node_kind kind, const char *group)
{
    struct coordinator *c = arg;
    struct balancer_pick pick = {0};
    struct balancer_request request = {
        .group = group, .count = 1, .peek = true, .now = c->clock->mono};
    struct balancer_answer answer = {.picks = &pick};

    if (kind == NODE_WORKER) {
        balancer_pick(c->balancer, &request, &answer);
        return answer.code == BALANCER_OK;
    }
    for (size_t i = 0; i < c->n_masters; i++)
        if (node_open(c->masters[i]))
            return true;
    return false;
}
