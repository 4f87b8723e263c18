/*
 * changes.c - which nodes a snapshot shows otherwise than the one before it.
 *
 * What a long poll waits for is a difference that its client can see, so it is
 * found by comparing what two snapshots say, and no event needs to know who may
 * be waiting for it. A node that goes leaves its mark on its kind.
 */
#include "coordinator/coordinator_priv.h"

#include <string.h>

static bool same_texts(const char *const *a, size_t n_a, const char *const *b,
                       size_t n_b)
{
    if (n_a != n_b)
        return false;
    for (size_t i = 0; i < n_a; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return true;
}

static bool same_process(const struct process *a, const struct process *b)
{
    return a->known == b->known && a->created == b->created &&
           a->startup_time == b->startup_time && a->process_id == b->process_id;
}

/* Who it is, and whether it may be given work. */
static bool same_member(const struct snapshot_node *a,
                        const struct snapshot_node *b)
{
    return a->state == b->state && same_process(&a->process, &b->process) &&
           same_texts(a->groups, a->n_groups, b->groups, b->n_groups) &&
           a->gate == b->gate && a->cordoned == b->cordoned &&
           a->gate_left == b->gate_left &&
           same_process(&a->gate_process, &b->gate_process) &&
           strcmp(a->gate_who, b->gate_who) == 0 &&
           strcmp(a->gate_reason, b->gate_reason) == 0;
}

static bool same_load(const struct load *a, const struct load *b)
{
    return a->cpu == b->cpu && a->memory == b->memory && a->disk == b->disk &&
           a->pool == b->pool && a->slots == b->slots && a->weight == b->weight;
}

static bool same_report(const struct snapshot_node *a,
                        const struct snapshot_node *b)
{
    return a->status == b->status && a->degraded == b->degraded &&
           same_load(&a->load, &b->load) && a->owned == b->owned &&
           a->last_report == b->last_report &&
           strcmp(a->report, b->report) == 0 && a->flaps == b->flaps &&
           same_texts(a->problems, a->n_problems, b->problems, b->n_problems);
}

static int order(const struct snapshot_node *a, const struct snapshot_node *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return strcmp(a->address, b->address);
}

/* `b`: the same node before, or NULL. */
static void mark(struct snapshot *s, struct snapshot_node *n,
                 const struct snapshot_node *b, uint64_t index)
{
    struct snapshot_seen *kind = &s->seen[n->kind];
    bool member = b != NULL && same_member(n, b);
    bool all = member && same_report(n, b);

    n->seen.membership = member ? b->seen.membership : index;
    n->seen.all = all ? b->seen.all : index;
    if (!member)
        kind->membership = index;
    if (!all)
        kind->all = index;
}

bool changes_mark(struct snapshot *s, const struct snapshot *before,
                  uint64_t index)
{
    size_t n_before = before != NULL ? before->n_nodes : 0, i = 0, j = 0;
    bool any = false;

    for (int k = 0; k < NODE_KINDS; k++)
        s->seen[k] = before != NULL ? before->seen[k]
                                    : (struct snapshot_seen){index, index};
    while (i < s->n_nodes || j < n_before) {
        int c = i == s->n_nodes ? 1
                : j == n_before ? -1
                                : order(&s->nodes[i], &before->nodes[j]);

        if (c <= 0)
            mark(s, &s->nodes[i++], c == 0 ? &before->nodes[j++] : NULL, index);
        else
            s->seen[before->nodes[j++].kind] =
                (struct snapshot_seen){index, index};
    }
    for (int k = 0; k < NODE_KINDS; k++)
        any |= s->seen[k].all == index;
    return any;
}
