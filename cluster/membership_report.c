/*
 * membership_report.c - what a heartbeat says of its registration's process and
 * load, and what of a node's keys and heartbeats is not used, and why; and
 * renewals that were written in groups, which find theirs by `created`.
 *
 * Hardly any node has problems, so nothing is allocated while there are none.
 */
#include "cluster/membership_priv.h"

#include "base/mem.h"
#include "base/rand.h"
#include "cluster/renewals/renewal.h"

#include <stdio.h>
#include <string.h>

/* --- what few have ------------------------------------------------------- */

struct registration_odd *membership_odd(struct registration *r)
{
    if (r->odd == NULL)
        r->odd = mem_zalloc(sizeof(*r->odd));
    return r->odd;
}

void membership_odd_end(struct registration *r)
{
    const struct registration_odd *odd = r->odd;

    if (odd != NULL && !odd->written.known && odd->path_problem == NULL &&
        odd->n_problems == 0)
        MEM_FREE(r->odd);
}

static void forget_written(struct registration *r)
{
    if (r->odd == NULL)
        return;
    r->odd->written.known = false;
    membership_odd_end(r);
}

const struct load *membership_load(const struct registration *r)
{
    return r->load != NULL ? r->load : &r->member->node.load;
}

void membership_keep_load(struct registration *r, const struct load *load)
{
    if (r->load == NULL)
        r->load = mem_alloc(sizeof(*r->load));
    *r->load = *load;
}

static bool same_load(const struct load *a, const struct load *b)
{
    _Static_assert(sizeof(*a) == 4 * sizeof(double) + 2 * sizeof(int32_t),
                   "nothing in between");
    return memcmp(a, b, sizeof(*a)) == 0;
}

void membership_show_load(struct member *e, const struct registration *r)
{
    const struct load now = *membership_load(r);

    assert(r->member == e);
    if (same_load(&now, &e->node.load))
        return;
    for (struct registration *o = e->registrations; o; o = o->next)
        if (o->load == NULL)
            membership_keep_load(o, &e->node.load);
    e->node.load = now;
}

void membership_share_loads(struct member *e)
{
    for (struct registration *r = e->registrations; r; r = r->next)
        if (r->load != NULL && same_load(r->load, &e->node.load))
            MEM_FREE(r->load);
}

/* --- heartbeats ---------------------------------------------------------- */

void membership_begin_key(struct registration *r, uint64_t created)
{
    r->process = (struct process){.created = created};
    forget_written(r);
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

    r->generation = hb->generation;
    r->process = hb->process;
    r->process.created = last.created;
    if (!hb->process.known) {
        if (last.known)
            membership_odd(r)->written = last;
        return;
    }
    if (process_differs(&last, &hb->process)) {
        r->rewritten = true;
        r->has_load = false;
    }
    forget_written(r);
    assert(registration_written(r)->known);
}

static void take_problems(struct registration *r, const struct heartbeat *hb)
{
    struct registration_odd *odd;

    if (hb->n_problems == 0 && r->odd == NULL)
        return;
    odd = membership_odd(r);
    MEM_FREE(odd->problems);
    odd->n_problems = hb->n_problems;
    if (hb->n_problems > 0)
        odd->problems =
            mem_dup(hb->problems, hb->n_problems * sizeof(hb->problems[0]));
    assert((odd->problems == NULL) == (odd->n_problems == 0));
    membership_odd_end(r);
}

/* Of what was refused the last good word stays for as long as a report would
 * count at all; then it is unknown. */
static void take_load(const struct membership *m, struct registration *r,
                      const struct heartbeat *hb)
{
    mono_ms now = m->config.clock->mono;
    struct load old = *membership_load(r), load = hb->load;
    unsigned keep = hb->refused;

    if (hb->refused == 0)
        r->load_whole = now;
    else if (now - r->load_whole >
             NODE_REPORT_STALE * m->config.heartbeat_interval_ms)
        keep = 0;
    if (!r->has_load)
        keep = 0;
    r->has_load = true;
    if (keep & LOAD_CPU)
        load.cpu = old.cpu;
    if (keep & LOAD_MEMORY)
        load.memory = old.memory;
    if (keep & LOAD_DISK)
        load.disk = old.disk;
    if (keep & LOAD_POOL)
        load.pool = old.pool;
    if (keep & LOAD_SLOTS)
        load.slots = old.slots;
    if (keep & LOAD_WEIGHT)
        load.weight = old.weight;
    membership_keep_load(r, &load);
    assert(r->has_load);
}

static bool same_groups(const struct registration *r,
                        const struct heartbeat *hb)
{
    if (r->n_groups != hb->n_groups)
        return false;
    for (size_t i = 0; i < hb->n_groups; i++)
        if (strcmp(r->groups[i], hb->groups[i]) != 0)
            return false;
    return true;
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
        membership_keep_load(r, &heartbeat_no_load);
    if (hb->has_status)
        r->status = hb->status;
    else if (hb->readable && !hb->status_refused)
        r->status = NODE_NORMAL;
    if (!hb->readable)
        return;
    if (same_groups(r, hb))
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
        const struct registration_odd *odd = r->odd;

        if (odd == NULL)
            continue;
        if (odd->path_problem != NULL)
            show_text(n, "key", odd->path_problem);
        for (size_t i = 0; i < odd->n_problems; i++)
            show(n, &odd->problems[i]);
    }
    if (e->crowded)
        show_text(n, "groups", "it is in more than 32; the others are ignored");
    assert((n->problems == NULL) == (n->n_problems == 0));
}

/* --- renewals in groups -------------------------------------------------- */

static uint64_t created_hash(uint64_t created)
{
    return hash_quick(&created, sizeof(created));
}

static struct registration *by_created(const struct membership *m,
                                       uint64_t created, uint32_t *place)
{
    const struct by_created *b = &m->by_created;
    struct hash_index_walk w =
        hash_index_walk(&b->index, created_hash(created));

    while (hash_index_next(&w, place)) {
        assert(*place < b->n);
        if (b->all[*place]->process.created == created)
            return b->all[*place];
    }
    return NULL;
}

static void put_name(struct by_created *b, struct registration *r)
{
    if (b->n == b->cap) {
        b->cap = b->cap == 0 ? 64 : b->cap + b->cap / 2;
        b->all = mem_regrow(b->all, b->cap, sizeof(struct registration *));
    }
    b->all[b->n] = r;
    hash_index_put(&b->index, created_hash(r->process.created), b->n++);
    assert(b->n <= b->cap);
}

void membership_name(struct membership *m, struct registration *r)
{
    uint32_t place;

    assert(r->ours && r->process.created != 0);
    if (m->by_created.made && by_created(m, r->process.created, &place) == NULL)
        put_name(&m->by_created, r);
}

/* The last one takes its place. */
void membership_unname(struct membership *m, struct registration *r)
{
    struct by_created *b = &m->by_created;
    struct registration *last;
    uint32_t place;

    if (!b->made || by_created(m, r->process.created, &place) != r)
        return;
    hash_index_remove(&b->index, created_hash(r->process.created), place);
    last = b->all[--b->n];
    if (last == r)
        return;
    hash_index_remove(&b->index, created_hash(last->process.created), b->n);
    hash_index_put(&b->index, created_hash(last->process.created), place);
    b->all[place] = last;
    assert(place < b->n);
}

/* As long as nobody renews in a group it costs nothing. */
static void make_names(struct membership *m)
{
    m->by_created.made = true;
    for (struct node *n = membership_next(m, NULL); n != NULL;
         n = membership_next(m, n)) {
        struct member *e = CONTAINER_OF(n, struct member, node);

        for (struct registration *r = e->registrations; r; r = r->next)
            if (r->ttl_ms > 0)
                membership_name(m, r);
    }
}

bool membership_only_marked(const struct registration *r,
                            const struct registry_entry *entry,
                            const struct heartbeat *hb)
{
    return hb->doubted && r->process.created == entry->created &&
           r->ttl_ms > 0 && entry->owner == 0 &&
           r->generation == hb->generation &&
           process_same(&r->process, &hb->process);
}

bool membership_renewed(struct membership *m, const struct renewal *renewal,
                        mono_ms seen)
{
    struct registration *r;
    struct load load;
    uint32_t place;

    assert(!m->emitting);
    assert(seen <= m->config.clock->mono);
    if (!m->by_created.made)
        make_names(m);
    r = by_created(m, renewal->created, &place);
    if (r == NULL)
        return false;
    if (r->generation != renewal->generation || r->window.since > seen)
        return true;
    assert(r->ttl_ms > 0);
    r->gap =
        r->written_at >= 0 && r->written_at <= seen ? seen - r->written_at : 0;
    r->written_at = seen;
    load = !r->has_load && renewal->told != 0 ? heartbeat_no_load
                                              : *membership_load(r);
    r->has_load = r->has_load || renewal->told != 0;
    renewal_apply(renewal, &load);
    membership_keep_load(r, &load);
    r->status = renewal->busy ? NODE_BUSY : NODE_NORMAL;
    r->load_whole = seen;
    r->stale = false;
    windows_start(&m->windows, &r->window, WINDOW_TTL, seen, r->window.span);
    membership_review(m, r->member, r);
    return true;
}

void membership_gap(struct membership *m)
{
    assert(!m->emitting);
    windows_restart(&m->windows, m->config.clock->mono);
    m->tally.recount = true;
}
