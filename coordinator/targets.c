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

/* What was given but has not shown up in the view for this long never will:
 * its txn failed. */
#define PLANNED_FORGOTTEN_MS 5000

struct node_extra *node_extra(struct node *node)
{
    struct node_extra *x = node->user;

    if (x == NULL) {
        x = mem_zalloc(sizeof(*x));
        node->user = x;
    }
    return x;
}

static void master_add(struct coordinator *c, struct node *node)
{
    for (size_t i = 0; i < c->n_masters; i++)
        if (c->masters[i] == node)
            return;
    c->masters =
        mem_regrow(c->masters, c->n_masters + 1, sizeof(*c->masters));
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
void targets_forget(struct coordinator *c, struct node *node)
{
    struct node_extra *x = node->user;

    if (node->kind == NODE_WORKER)
        balancer_remove(c->balancer, node->address);
    master_drop(c, node);
    if (x == NULL)
        return;
    for (size_t i = 0; i < x->n_groups; i++)
        mem_free(x->groups[i]);
    mem_free(x->groups);
    mem_free(x);
    node->user = NULL;
}

void targets_end(struct coordinator *c)
{
    for (struct node *n = membership_next(c->membership, NULL); n != NULL;
         n = membership_next(c->membership, n))
        targets_forget(c, n);
    MEM_FREE(c->masters);
}

/* May new work or picks go to it? */
static bool node_open(const struct node *n)
{
    return n->state == NODE_UP && n->process.known && !n->unidentified &&
           gate_takes(&n->gate, &n->process) && !n->gate.cordoned;
}

/* Something about the node changed: tell the balancer what is known now. */
void targets_update(struct coordinator *c, struct node *node)
{
    struct node_extra *x = node_extra(node);
    struct balancer_worker w = {
        .busy = node->status == NODE_BUSY,
        .closed = !node_open(node),
        .degraded = node->degraded,
        .weight = node->load.weight,
        .slots = node->load.slots,
        .cpu = node->load.cpu,
        .memory = node->load.memory,
        .disk = node->load.disk,
        .pool = node->load.pool,
        .reported = node->last_report,
        .since = node->state_since,
        .incarnation = (uint64_t)node->process.startup_time * 31 +
                       (uint64_t)node->process.process_id,
    };

    x->gate_version = node->gate.version;
    if (node->kind == NODE_MASTER)
        master_add(c, node);
    if (node->kind != NODE_WORKER)
        return;
    groups_of(c, node);
    snprintf(w.address, sizeof(w.address), "%s", node->address);
    w.groups = (const char *const *)x->groups;
    w.n_groups = x->n_groups;
    balancer_set(c->balancer, &w, c->clock->mono);
}

/* A node's markers changed: what we gave it begins to show. */
void targets_seen(struct coordinator *c, enum node_kind kind,
                  const char *address, size_t markers)
{
    struct node *node = membership_find(c->membership, kind, address);
    struct node_extra *x;

    if (node == NULL)
        return;
    x = node_extra(node);
    if (markers > x->markers) {
        size_t shown = markers - x->markers;

        x->planned -= shown < x->planned ? (uint32_t)shown : x->planned;
    }
    x->markers = markers;
}

static bool excluded(const char *address, const char *const *exclude, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(address, exclude[i]) == 0)
            return true;
    return false;
}

/* Work per capacity: the item it would own next, over what it has to give. */
static double master_score(const struct coordinator *c, struct node *n)
{
    struct node_extra *x = node_extra(n);
    double free_share = 1.0, slots = n->load.slots > 0 ? n->load.slots : 1.0;

    if (x->planned > 0 && c->clock->mono - x->planned_at > PLANNED_FORGOTTEN_MS)
        x->planned = 0;
    if (n->load.cpu >= 0)
        free_share -= n->load.cpu / 2;
    if (n->load.memory >= 0)
        free_share -= n->load.memory / 2;
    if (n->status == NODE_BUSY)
        free_share /= 4; /* its word limits it; it is not absent */
    if (free_share < 0.05)
        free_share = 0.05;
    return ((double)x->markers + x->planned + 1) / (slots * free_share);
}

static void choose_master(struct coordinator *c, const char *const *exclude,
                          size_t n_exclude, struct work_target *out)
{
    struct node *best = NULL;
    double best_score = 0;
    bool any = false;

    for (size_t i = 0; i < c->n_masters; i++) {
        struct node *n = c->masters[i];
        double score;

        any = any || n->state == NODE_UP;
        if (!node_open(n) || excluded(n->address, exclude, n_exclude))
            continue;
        score = master_score(c, n);
        if (best == NULL || score < best_score) {
            best = n;
            best_score = score;
        }
    }
    if (best == NULL) {
        out->code = any ? "all_busy" : "group_empty";
        out->retry_after_ms = c->conf->balancer.heartbeat_interval_ms;
        return;
    }
    node_extra(best)->planned++;
    node_extra(best)->planned_at = c->clock->mono;
    snprintf(out->address, sizeof(out->address), "%s", best->address);
}

static void choose_worker(struct coordinator *c, const char *group,
                          const char *const *exclude, size_t n_exclude,
                          struct work_target *out)
{
    struct balancer_pick pick;
    struct balancer_request request = {
        .group = group, .count = 1, .now = c->clock->mono};
    struct balancer_answer answer = {.picks = &pick};

    for (size_t i = 0; i < n_exclude && i < BALANCER_EXCLUDE_MAX; i++)
        request.exclude[request.n_exclude++] = exclude[i];
    balancer_pick(c->balancer, &request, &answer);
    if (answer.code != BALANCER_OK) {
        out->code = balancer_code_name(answer.code);
        out->retry_after_ms = answer.retry_after_ms;
        return;
    }
    snprintf(out->address, sizeof(out->address), "%s", pick.address);
    out->pick = pick.pick;
}

void targets_choose(void *arg, enum node_kind kind, const char *group,
                    const char *const *exclude, size_t n_exclude,
                    struct work_target *out)
{
    struct coordinator *c = arg;

    memset(out, 0, sizeof(*out));
    if (kind == NODE_MASTER)
        choose_master(c, exclude, n_exclude, out);
    else
        choose_worker(c, group, exclude, n_exclude, out);
    assert((out->code == NULL) == (out->address[0] != '\0'));
}
