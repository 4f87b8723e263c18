/*
 * shown.c - what a snapshot says of each node.
 *
 * Whatever changes something of a node says so: coordinator_node_changed().
 * When a snapshot is due, those nodes are looked at once, however often they
 * changed; one that is shown otherwise than before gets an entry of its own
 * size, and all others keep theirs. So no event needs to know who may be
 * waiting for it, and a snapshot costs in proportion to what changed.
 *
 * One thing changes without an event: a report grows old. A heap has the time
 * at which each does; a report only makes that later, so it is looked at when
 * the earlier time has come, and a report does not touch the heap.
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"

#include <string.h>

#define STEP 1024 /* nodes that room is made for at once */

/* --- who changed --------------------------------------------------------- */

void coordinator_node_changed(struct coordinator *c, struct node *node)
{
    struct coordinator_node_extra *x = coordinator_node_extra(c, node);
    struct shown *sh = &c->shown;

    if (x->changed_place > 0)
        return;
    if (sh->n_changed % STEP == 0)
        sh->changed = mem_regrow(sh->changed, sh->n_changed + STEP,
                                 sizeof(struct node *));
    sh->changed[sh->n_changed++] = node;
    x->changed_place = (uint32_t)sh->n_changed;
    assert(x->changed_place > 0);
}

void coordinator_nodes_changed(struct coordinator *c)
{
    assert(c->membership != NULL);
    for (struct node *n = membership_next(c->membership, NULL); n != NULL;
         n = membership_next(c->membership, n))
        coordinator_node_changed(c, n);
}

static void changed_drop(struct shown *sh, struct coordinator_node_extra *x)
{
    struct coordinator_node_extra *last;

    assert(x->changed_place <= sh->n_changed);
    if (x->changed_place == 0)
        return;
    last = sh->changed[sh->n_changed - 1]->user;
    sh->changed[x->changed_place - 1] = sh->changed[sh->n_changed - 1];
    last->changed_place = x->changed_place;
    x->changed_place = 0;
    sh->n_changed--;
}

/* --- how old its report is ----------------------------------------------- */

/* As far as the registry tells us anything. */
static mono_ms heard_until(const struct coordinator *c)
{
    return membership_silent(c->membership)
               ? membership_last_answer(c->membership)
               : c->clock->mono;
}

static int64_t interval_of(const struct coordinator *c, const struct node *node)
{
    return node_report_interval(node->ttl_ms,
                                c->conf->balancer.heartbeat_interval_ms);
}

/* As the balancer judges it. */
static enum report_age report_age(const struct coordinator *c,
                                  const struct node *node)
{
    int64_t interval = interval_of(c, node);
    int64_t age = heard_until(c) - node->last_report;

    return age > NODE_REPORT_STALE * interval  ? REPORT_STALE
           : age > NODE_REPORT_LATE * interval ? REPORT_LATE
                                               : REPORT_FRESH;
}

/* When that is another word; INT64_MAX: never, without a report. */
static mono_ms ages_at(const struct coordinator *c, const struct node *node)
{
    int64_t interval = interval_of(c, node);
    int64_t age = heard_until(c) - node->last_report;

    return age > NODE_REPORT_STALE * interval
               ? INT64_MAX
               : node->last_report + 1 +
                     (age > NODE_REPORT_LATE * interval ? NODE_REPORT_STALE
                                                        : NODE_REPORT_LATE) *
                         interval;
}

/* It is shown now: it is to be looked at again at that time at the latest. */
static void age_set(struct coordinator *c, struct node *node)
{
    struct coordinator_node_extra *x = node->user;
    struct heap *ages = &c->shown.ages;
    mono_ms due = ages_at(c, node);

    assert(x != NULL);
    if (due < (heap_has(&x->age) ? heap_due_of(ages, &x->age) : INT64_MAX))
        heap_set(ages, &x->age, due);
}

/* Those whose reports may have grown old have changed. */
static void grow_old(struct coordinator *c)
{
    struct heap *ages = &c->shown.ages;
    mono_ms now = heard_until(c);

    while (heap_due(ages) <= now) {
        struct coordinator_node_extra *x =
            CONTAINER_OF(heap_first(ages), struct coordinator_node_extra, age);
        mono_ms due = ages_at(c, x->node);

        coordinator_node_changed(c, x->node);
        if (due == INT64_MAX)
            heap_remove(ages, &x->age);
        else
            heap_set(ages, &x->age, due);
        assert(due > now);
    }
}

/* --- what it says -------------------------------------------------------- */

/* While it is put together: all borrowed from the node. */
struct draft {
    struct coordinator_snapshot_node is;
    struct coordinator_snapshot_odd odd;
    const char *problems[NODE_PROBLEMS_MAX];
    const char **groups; /* to be freed; NULL: none but "default" */
};

/* Its groups, with "default" in its place. */
static void draft_groups(struct draft *d, const struct group_list *l)
{
    size_t own = l == NULL ? 0 : l->n, i = 0, n = 0;

    assert(d->is.kind == NODE_WORKER);
    d->is.n_groups = (uint16_t)(own + 1);
    d->is.groups = coordinator_snapshot_only_default;
    if (own == 0)
        return;
    d->groups = mem_array(own + 1, sizeof(*d->groups));
    while (i < own && strcmp(l->names[i]->text, "default") < 0)
        d->groups[n++] = l->names[i++]->text;
    d->groups[n++] = "default";
    while (i < own)
        d->groups[n++] = l->names[i++]->text;
    d->is.groups = d->groups;
    assert(n == own + 1);
}

static void draft_gate(struct coordinator *c, struct draft *d,
                       const struct node *node)
{
    const struct gate *gate = node->gate;

    assert(gate != NULL);
    d->is.gate = gate->state;
    d->is.cordoned = gate->cordoned || gate->state == GATE_CORDONED;
    d->is.gate_left = gate->left;
    if (gate->state == GATE_ABSENT)
        return;
    d->is.odd = &d->odd;
    d->odd.gate = (struct coordinator_snapshot_gate){.process = gate->process,
                                                     .who = gate->who,
                                                     .reason = gate->reason,
                                                     .since = gate->ordered};
    if (gate->for_ms > 0) /* as the engine counts it */
        d->odd.gate.until =
            gate->for_ms +
            coordinator_wall_at(
                c, gates_order_seen(c->gates, node->kind, node->address));
}

static void draft_problems(struct draft *d, const struct node *node)
{
    assert(node->n_problems <= NODE_PROBLEMS_MAX);
    if (node->n_problems == 0)
        return;
    for (size_t i = 0; i < node->n_problems; i++)
        d->problems[i] = node->problems[i].text;
    d->odd.problems = d->problems;
    d->odd.n_problems = node->n_problems;
    d->is.odd = &d->odd;
}

static void draft_make(struct coordinator *c, struct draft *d,
                       const struct node *node)
{
    const struct coordinator_node_extra *x = node->user;

    assert(node->state < NODE_STATES);
    d->groups = NULL;
    d->odd = coordinator_snapshot_not_odd;
    d->is = (struct coordinator_snapshot_node){
        .kind = node->kind,
        .state = node->state,
        .status = node->status,
        .degraded = node->degraded,
        .address = node->address,
        .load = node->load,
        .owned = x->markers,
        .work_index = x->work_index,
        .process = node->process,
        .last_report = node->last_report_wall,
        .report = report_age(c, node),
        .flaps = node->flaps,
        .odd = &coordinator_snapshot_not_odd,
    };
    draft_gate(c, d, node);
    if (node->kind == NODE_WORKER)
        draft_groups(d, x->groups);
    draft_problems(d, node);
}

/* --- what is new --------------------------------------------------------- */

static bool same_texts(const char *const *a, size_t n_a, const char *const *b,
                       size_t n_b)
{
    assert(n_a == 0 || a != NULL);
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
static bool same_member(const struct coordinator_snapshot_node *a,
                        const struct coordinator_snapshot_node *b)
{
    assert(a->kind == b->kind);
    return a->state == b->state && same_process(&a->process, &b->process) &&
           same_texts(a->groups, a->n_groups, b->groups, b->n_groups) &&
           a->gate == b->gate && a->cordoned == b->cordoned &&
           a->gate_left == b->gate_left &&
           same_process(&a->odd->gate.process, &b->odd->gate.process) &&
           strcmp(a->odd->gate.who, b->odd->gate.who) == 0 &&
           strcmp(a->odd->gate.reason, b->odd->gate.reason) == 0;
}

static bool same_load(const struct load *a, const struct load *b)
{
    return a->cpu == b->cpu && a->memory == b->memory && a->disk == b->disk &&
           a->pool == b->pool && a->slots == b->slots && a->weight == b->weight;
}

static bool same_report(const struct coordinator_snapshot_node *a,
                        const struct coordinator_snapshot_node *b)
{
    assert(a->kind == b->kind);
    return a->status == b->status && a->degraded == b->degraded &&
           same_load(&a->load, &b->load) && a->owned == b->owned &&
           a->last_report == b->last_report && a->report == b->report &&
           a->flaps == b->flaps &&
           same_texts(a->odd->problems, a->odd->n_problems, b->odd->problems,
                      b->odd->n_problems);
}

/* Shown, and no news for a long poll. */
static bool same_rest(const struct coordinator_snapshot_node *a,
                      const struct coordinator_snapshot_node *b)
{
    return a->work_index == b->work_index &&
           a->odd->gate.since == b->odd->gate.since &&
           a->odd->gate.until == b->odd->gate.until;
}

static void show(struct coordinator *c, struct node *node, uint64_t index)
{
    const struct coordinator_snapshot_node *before =
        coordinator_snapshot_nodes_find(&c->shown.nodes, node->kind,
                                        node->address);
    struct snapshot_seen *kind = &c->shown.seen[node->kind];
    bool member, all;
    struct draft d;

    draft_make(c, &d, node);
    member = before != NULL && same_member(&d.is, before);
    all = member && same_report(&d.is, before);
    if (!member)
        kind->membership = index;
    if (!all)
        kind->all = index;
    if (!all || !same_rest(&d.is, before)) {
        d.is.seen.membership = member ? before->seen.membership : index;
        d.is.seen.all = all ? before->seen.all : index;
        c->shown.n_problems += (d.is.odd->n_problems > 0);
        c->shown.n_problems -= (before != NULL && before->odd->n_problems > 0);
        coordinator_snapshot_nodes_put(&c->shown.nodes,
                                       coordinator_snapshot_node_new(&d.is));
    }
    mem_free(d.groups);
    age_set(c, node);
    assert(kind->all >= kind->membership);
}

/* A node that goes leaves its mark on its kind. */
static void show_gone(struct shown *sh, uint64_t index)
{
    assert(index > 0);
    for (int k = 0; k < NODE_KINDS; k++) {
        if (sh->gone[k])
            sh->seen[k] = (struct snapshot_seen){index, index};
        sh->gone[k] = false;
    }
}

/* By another clock, or with the registry silent, all of them look otherwise. */
static void look_at_all(struct coordinator *c)
{
    struct shown *sh = &c->shown;
    int64_t offset = c->clock->wall - c->clock->mono;
    bool silent = membership_silent(c->membership);

    if (silent != sh->silent || offset > sh->wall_offset + 1000 ||
        offset < sh->wall_offset - 1000) {
        sh->silent = silent;
        sh->wall_offset = offset;
        coordinator_nodes_changed(c);
    }
}

bool coordinator_shown_fill(struct coordinator *c, struct snapshot *s,
                            uint64_t index)
{
    struct shown *sh = &c->shown;
    bool any = false;

    look_at_all(c);
    grow_old(c);
    show_gone(sh, index);
    for (size_t i = 0; i < sh->n_changed; i++) {
        struct coordinator_node_extra *x = sh->changed[i]->user;

        assert(x->changed_place == i + 1);
        x->changed_place = 0;
        show(c, sh->changed[i], index);
    }
    sh->n_changed = 0;
    for (int k = 0; k < NODE_KINDS; k++)
        any |= sh->seen[k].all == index;
    memcpy(s->seen, sh->seen, sizeof(s->seen));
    s->problem_nodes = sh->n_problems;
    coordinator_snapshot_nodes_show(&sh->nodes, s);
    return any;
}

void coordinator_shown_forget(struct coordinator *c, const struct node *node)
{
    const struct coordinator_snapshot_node *n = coordinator_snapshot_nodes_find(
        &c->shown.nodes, node->kind, node->address);
    struct coordinator_node_extra *x = node->user;

    if (x != NULL) {
        changed_drop(&c->shown, x);
        heap_remove(&c->shown.ages, &x->age);
    }
    if (n == NULL)
        return;
    c->shown.gone[node->kind] = true;
    c->shown.n_problems -= (n->odd->n_problems > 0);
    coordinator_snapshot_nodes_remove(&c->shown.nodes, n);
}

void coordinator_shown_begin(struct coordinator *c)
{
    assert(c->slot != NULL);
    c->shown.nodes.slot = c->slot;
    c->shown.nodes.build = 1;
    for (int k = 0; k < NODE_KINDS; k++)
        c->shown.gone[k] = true; /* so the first index is of all */
}

void coordinator_shown_end(struct coordinator *c)
{
    assert(c->shown.nodes.n == 0);
    assert(c->shown.n_changed == 0);
    assert(c->shown.ages.n == 0);
    MEM_FREE(c->shown.changed);
    heap_close(&c->shown.ages);
}
