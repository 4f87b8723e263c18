/*
 * membership_report.c - what a heartbeat says of its registration's process and
 * load, and what of a node's keys and heartbeats is not used, and why.
 *
 * Hardly any node has problems, so nothing is allocated while there are none.
 */
#include "cluster/membership_priv.h"

#include <stdio.h>
#include <string.h>

void membership_begin_key(struct registration *r, uint64_t created)
{
    r->process = (struct process){.created = created};
    MEM_FREE(r->written);
    r->rewritten = false;
    r->has_load = false;
    r->status = NODE_NORMAL;
    r->written_at = -1;
    r->gap = 0;
    r->ttl_ms = 0;
    r->n_groups = 0;
    assert(!r->process.known);
}

void membership_take_identity(struct registration *r,
                              const struct heartbeat *hb)
{
    struct process last = *registration_written(r);

    r->process = hb->process;
    r->process.created = last.created;
    if (!hb->process.known) {
        if (last.known && r->written == NULL)
            r->written = mem_dup(&last, sizeof(last));
        return;
    }
    if (process_differs(&last, &hb->process)) {
        r->rewritten = true;
        r->has_load = false;
    }
    MEM_FREE(r->written);
    assert(registration_written(r)->known);
}

static void take_problems(struct registration *r, const struct heartbeat *hb)
{
    mem_free(r->problems);
    r->problems = NULL;
    r->n_problems = (uint16_t)hb->n_problems;
    if (hb->n_problems > 0)
        r->problems =
            mem_dup(hb->problems, hb->n_problems * sizeof(hb->problems[0]));
    assert((r->problems == NULL) == (r->n_problems == 0));
}

/* Of what was refused the last good word stays for as long as a report would
 * count at all; then it is unknown. */
static void take_load(const struct membership *m, struct registration *r,
                      const struct heartbeat *hb)
{
    mono_ms now = m->config.clock->mono;
    struct load old = r->load;
    unsigned keep = hb->refused;

    if (hb->refused == 0)
        r->load_whole = now;
    else if (now - r->load_whole >
             NODE_REPORT_STALE * m->config.heartbeat_interval_ms)
        keep = 0;
    if (!r->has_load)
        keep = 0;
    r->load = hb->load;
    r->has_load = true;
    if (keep & LOAD_CPU)
        r->load.cpu = old.cpu;
    if (keep & LOAD_MEMORY)
        r->load.memory = old.memory;
    if (keep & LOAD_DISK)
        r->load.disk = old.disk;
    if (keep & LOAD_POOL)
        r->load.pool = old.pool;
    if (keep & LOAD_SLOTS)
        r->load.slots = old.slots;
    if (keep & LOAD_WEIGHT)
        r->load.weight = old.weight;
    assert(r->has_load);
}

void membership_take_report(const struct membership *m, struct registration *r,
                            const struct heartbeat *hb)
{
    assert(hb->readable || hb->n_problems > 0);
    r->refused = hb->n_problems > 0;
    r->unreadable = !hb->readable || !hb->process.known;
    r->report_time = hb->report_time;
    take_problems(r, hb);
    if (!r->unreadable)
        take_load(m, r, hb);
    else if (!r->has_load)
        r->load = heartbeat_no_load;
    if (hb->has_status)
        r->status = hb->status;
    else if (hb->readable && !hb->status_refused)
        r->status = NODE_NORMAL;
    if (!hb->readable)
        return;
    mem_free((void *)(uintptr_t)r->groups);
    r->n_groups = (uint16_t)hb->n_groups;
    r->groups = membership_names(hb->groups, hb->n_groups);
    assert((r->groups == NULL) == (r->n_groups == 0));
}

/* A worker writes the same heartbeat once for each of its groups. */
static void show(struct node *n, const struct heartbeat_problem *p)
{
    assert(n->n_problems <= NODE_PROBLEMS_MAX);
    for (size_t i = 0; i < n->n_problems; i++)
        if (strcmp(n->problems[i].text, p->text) == 0)
            return;
    if (n->n_problems == NODE_PROBLEMS_MAX)
        return;
    n->problems =
        mem_regrow(n->problems, n->n_problems + 1, sizeof(*n->problems));
    n->problems[n->n_problems++] = *p;
}

static void show_text(struct node *n, const char *field, const char *text)
{
    struct heartbeat_problem p = {.reason = HEARTBEAT_OUT_OF_RANGE,
                                  .field = field};

    assert(text != NULL);
    snprintf(p.text, sizeof(p.text), "%s: %s", field, text);
    show(n, &p);
}

void membership_show_problems(struct member *e)
{
    struct node *n = &e->node;

    MEM_FREE(n->problems);
    n->n_problems = 0;
    for (const struct registration *r = e->registrations; r; r = r->next) {
        if (r->path_problem != NULL)
            show_text(n, "key", r->path_problem);
        for (size_t i = 0; i < r->n_problems; i++)
            show(n, &r->problems[i]);
    }
    if (e->crowded)
        show_text(n, "groups", "it is in more than 32; the others are ignored");
    assert((n->problems == NULL) == (n->n_problems == 0));
}
