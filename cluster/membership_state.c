/*
 * membership_state.c - from the registrations and the gate of one address to
 * the state of its node: one function, run after every change, from what
 * stands now. What happened in between does not matter, so lost, repeated and
 * reordered events do not either.
 *
 * Which registration counts, when several stand at one address (a worker's
 * groups, two processes that share an address by mistake or in passing):
 *   - not one whose ttl is over, nor one whose process the gate bars;
 *   - a readable identity before an unreadable one, then the latest
 *     startupTime, then the newest `created`;
 *   - while the process that counted last is UP or SUSPECT, not an earlier
 *     one: the present one has its grace before an earlier one that still
 *     stands comes forward. A key that an earlier one wrote over (a late
 *     request of a dead process, or two at one address by mistake) says
 *     nothing of the present one: its lease runs on, and its next heartbeat
 *     puts it right.
 */
#include "cluster/membership_priv.h"

#include "base/mem.h"

#include <string.h>

/* How long a node that never owned work is remembered as DOWN: well beyond
 * the brake's window, in which it counts as missing. */
#define FORGET_MS (INT64_C(10) * 60 * 1000)

static void tell(struct membership *m, struct member *e,
                 enum membership_event_type type, const struct process *p)
{
    struct membership_event ev = {
        .type = type, .node = &e->node, .process = *p};

    assert(e->told);
    membership_emit(m, &ev);
}

static void enter(struct membership *m, struct member *e, enum node_state state)
{
    e->told = true;
    e->node.state = state;
    e->node.state_since = m->config.clock->mono;
    windows_stop(&m->windows, &e->window);
    assert(!window_runs(&e->window));
}

/* --- the registration that counts ---------------------------------------- */

/* Earlier than the process that counted last? */
static bool is_earlier(const struct member *e, const struct registration *r)
{
    int64_t mine = r->process.startup_time;
    int64_t present = e->node.process.startup_time;

    return process_differs(&r->process, &e->node.process) &&
           (mine < present ||
            (mine == present && r->process.created < e->winner));
}

static bool counts(const struct member *e, const struct registration *r)
{
    bool standing =
        e->told && (e->node.state == NODE_UP || e->node.state == NODE_SUSPECT);

    assert(r->member == e);
    if (r->stale || gate_bars(e->node.gate, &r->process))
        return false;
    return !(standing && is_earlier(e, r));
}

static bool goes_before(const struct registration *r,
                        const struct registration *best)
{
    if (best == NULL || r->process.known != best->process.known)
        return best == NULL || r->process.known;
    if (r->process.startup_time != best->process.startup_time)
        return r->process.startup_time > best->process.startup_time;
    return r->process.created > best->process.created;
}

static const struct registration *winner(const struct member *e)
{
    const struct registration *best = NULL;

    for (const struct registration *r = e->registrations; r; r = r->next)
        if (counts(e, r) && goes_before(r, best))
            best = r;
    assert(best == NULL || !best->stale);
    return best;
}

const struct process *membership_standing(const struct node *node, size_t i)
{
    const struct member *e = CONTAINER_OF(node, struct member, node);
    const struct registration *r = e->registrations;

    while (r != NULL && (r->stale || i-- > 0))
        r = r->next;
    return r != NULL ? &r->process : NULL;
}

/* --- what the node shows ------------------------------------------------- */

/* The groups of one node while they are put together. */
struct names {
    char name[HEARTBEAT_GROUPS_MAX][NODE_GROUP_MAX + 1];
    size_t n;
    bool full; /* and there were more */
};

const char *const *membership_names(const char (*names)[NODE_GROUP_MAX + 1],
                                    size_t n)
{
    size_t room = n * sizeof(char *);
    const char **list;
    char *at;

    assert(n <= HEARTBEAT_GROUPS_MAX);
    if (n == 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        room += strlen(names[i]) + 1;
    list = mem_alloc(room);
    at = (char *)(list + n);
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(names[i]) + 1;

        list[i] = memcpy(at, names[i], len);
        at += len;
    }
    return list;
}

static void add_group(struct names *to, const char *name)
{
    if (!heartbeat_group_add(to->name, &to->n, name))
        to->full = true;
}

/* One unreadable heartbeat does not take a key from its process. */
static bool of_present(const struct member *e, const struct registration *r,
                       const struct registration *w)
{
    return r == w || (!r->stale &&
                      process_same(registration_written(r), &e->node.process));
}

static bool has_present_key(const struct member *e,
                            const struct registration *w)
{
    assert(w == NULL || w->member == e);
    for (const struct registration *r = e->registrations; r; r = r->next)
        if (of_present(e, r, w))
            return true;
    return false;
}

static bool same_groups(const struct node *n, const struct names *now)
{
    assert(now->n <= HEARTBEAT_GROUPS_MAX);
    if (n->n_groups != now->n)
        return false;
    for (size_t i = 0; i < now->n; i++)
        if (strcmp(n->groups[i], now->name[i]) != 0)
            return false;
    return true;
}

/* Returns whether the groups are other ones now. Of a node that is away the
 * last ones stay: its group is empty then, not unheard of. */
static bool show_groups(struct member *e, const struct registration *w)
{
    struct node *n = &e->node;
    struct names now;

    if (!has_present_key(e, w))
        return false;
    now.n = 0;
    now.full = false;
    for (const struct registration *r = e->registrations; r; r = r->next) {
        if (!of_present(e, r, w))
            continue;
        if (r->path_group != NULL)
            add_group(&now, r->path_group);
        for (size_t i = 0; i < r->n_groups; i++)
            add_group(&now, r->groups[i]);
    }
    e->crowded = now.full;
    if (same_groups(n, &now))
        return false;
    mem_free((void *)(uintptr_t)n->groups);
    n->n_groups = (uint16_t)now.n;
    n->groups = membership_names(now.name, now.n);
    assert((n->groups == NULL) == (n->n_groups == 0));
    return true;
}

static void show_report(struct membership *m, struct member *e,
                        const struct registration *r)
{
    struct node *n = &e->node;

    assert(r->member == e);
    n->status = r->status;
    n->degraded = r->refused;
    n->unreadable = r->unreadable;
    if (r->has_load)
        membership_show_load(e, r);
    /* DolphinScheduler's worker writes the same heartbeat once for each of its
     * groups; who speaks HTTP may say whatever it likes to be its time. */
    if (!r->ours && r->report_time != 0 && r->report_time == e->report_time)
        return;
    e->report_time = r->report_time;
    n->last_report = m->config.clock->mono;
    n->last_report_wall = m->config.clock->wall;
}

static void show_keys(struct member *e, const struct registration *w)
{
    struct node *n = &e->node;

    n->registered = false;
    n->registrations = 0;
    for (const struct registration *r = e->registrations; r; r = r->next) {
        n->registrations++;
        if (!r->stale && !process_differs(&r->process, &n->process))
            n->registered = true;
    }
    n->unidentified = w != NULL && !w->process.known;
    if (w != NULL) {
        n->ours = w->ours;
        n->ttl_ms = w->ttl_ms;
        n->watched_ms = w->ttl_ms > 0 ? w->window.span : 0;
    }
    assert(!n->registered || n->registrations > 0);
}

/* --- rules --------------------------------------------------------------- */

/* A process stands here by its own word. */
static void present(struct membership *m, struct member *e,
                    const struct registration *w)
{
    struct node *n = &e->node;
    struct process old = n->process;
    bool other = process_differs(&old, &w->process);
    bool back = process_same(&old, &w->process) && e->seen;
    bool was_up = e->told && n->state == NODE_UP;
    bool over = e->told && (n->state == NODE_FENCED || n->state == NODE_LEFT);
    bool ended = over || (e->told && n->state == NODE_DOWN);

    assert(w->process.known);
    assert(w->member == e);
    if (other || !e->seen)
        membership_show_load(e, w);
    n->process = w->process;
    e->seen = true;
    e->winner = w->process.created;
    if (other || !was_up)
        show_report(m, e, w);
    (void)show_groups(e, w);
    if (was_up && !other)
        return;
    enter(m, e, NODE_UP);
    if (other && !ended) {
        tell(m, e, MEMBERSHIP_REPLACED, &old);
    } else if (back && !over) {
        n->flaps++;
        tell(m, e, MEMBERSHIP_FLAP, &n->process);
    } else {
        tell(m, e, MEMBERSHIP_UP, &n->process);
    }
    assert(n->state == NODE_UP);
}

static bool is_fenced(const struct node *n)
{
    return n->gate->state == GATE_FENCED &&
           (!n->process.known || gate_bars(n->gate, &n->process));
}

static void fence(struct membership *m, struct member *e)
{
    struct node *n = &e->node;

    assert(is_fenced(n));
    if (!n->process.known)
        n->process = n->gate->process;
    if (e->told && n->state == NODE_FENCED)
        return;
    enter(m, e, NODE_FENCED);
    tell(m, e, MEMBERSHIP_FENCED, &n->process);
    assert(n->state == NODE_FENCED);
}

/* Something stands here that does not say who it is. It may be the process
 * that we know: nothing moves. It may be the fenced one: it gets nothing. */
static void unidentified(struct membership *m, struct member *e,
                         const struct registration *w)
{
    struct node *n = &e->node;

    assert(!w->process.known);
    e->winner = w->process.created;
    n->degraded = n->unreadable = true;
    n->status = w->status;
    (void)show_groups(e, w);
    if (is_fenced(n)) {
        fence(m, e);
    } else if (!e->told || n->state != NODE_UP) {
        enter(m, e, NODE_UP);
        tell(m, e, MEMBERSHIP_UP, &n->process);
    }
    assert(n->state == NODE_UP || n->state == NODE_FENCED);
}

static void suspect(struct membership *m, struct member *e)
{
    int64_t grace = m->config.grace_ms;

    if (e->long_grace && grace < 2 * m->config.heartbeat_interval_ms)
        grace = 2 * m->config.heartbeat_interval_ms;
    if (grace < e->lease_ms)
        grace = e->lease_ms;
    e->long_grace = false;
    e->lease_ms = 0;
    enter(m, e, NODE_SUSPECT);
    windows_start(&m->windows, &e->window, WINDOW_GRACE, m->config.clock->mono,
                  grace);
    tell(m, e, MEMBERSHIP_SUSPECT, &e->node.process);
    assert(e->node.state == NODE_SUSPECT);
    assert(e->lease_ms == 0);
}

/* By the word of the process that stood here last. */
static bool has_left(const struct node *n)
{
    return n->gate->left &&
           (!n->process.known || process_same(&n->process, &n->gate->process));
}

static void left(struct membership *m, struct member *e)
{
    assert(has_left(&e->node));
    e->long_grace = false;
    if (e->told && e->node.state == NODE_LEFT)
        return;
    enter(m, e, NODE_LEFT);
    tell(m, e, MEMBERSHIP_LEFT, &e->node.process);
    assert(e->node.state == NODE_LEFT);
}

/* Nobody stands here who may. */
static void absent(struct membership *m, struct member *e)
{
    struct node *n = &e->node;
    bool unknown = !n->process.known || gate_bars(n->gate, &n->process);

    if (is_fenced(n)) {
        fence(m, e);
        return;
    }
    if (has_left(n)) {
        left(m, e);
        return;
    }
    /* Another coordinator has let a process in that we have not seen yet. */
    if (unknown && n->gate->process.known &&
        !process_same(&n->process, &n->gate->process)) {
        n->process = n->gate->process;
        e->seen = false;
        suspect(m, e);
    } else if (!e->told || n->state == NODE_UP || n->state == NODE_FENCED ||
               n->state == NODE_LEFT) {
        suspect(m, e);
    } else {
        e->long_grace = false;
        e->lease_ms = 0;
    }
}

void membership_review(struct membership *m, struct member *e,
                       const struct registration *reported)
{
    const struct registration *w = winner(e);
    uint64_t events = m->events;
    bool report = false;

    assert(reported == NULL || reported->member == e);
    show_keys(e, w);
    if (w != NULL && reported != NULL && w->process.known &&
        of_present(e, reported, w) &&
        !process_differs(&w->process, &e->node.process)) {
        show_report(m, e, reported);
        report = true;
    } else if (w != NULL) {
        report = reported == w;
    }
    report = show_groups(e, w) || report;
    membership_show_problems(e);
    if (w == NULL)
        absent(m, e);
    else if (w->process.known)
        present(m, e, w);
    else
        unidentified(m, e, w);
    show_keys(e, w);
    if (report && events == m->events && e->node.state == NODE_UP)
        tell(m, e, MEMBERSHIP_REPORT, &e->node.process);
    if (e->node.state == NODE_DOWN && e->node.gate->state == GATE_ABSENT &&
        e->registrations == NULL && !window_runs(&e->window))
        windows_start(&m->windows, &e->window, WINDOW_FORGET,
                      m->config.clock->mono, FORGET_MS);
    membership_share_loads(e);
    membership_count(m, e);
    if (m->config.looked != NULL)
        m->config.looked(m->arg, &e->node);
    assert(e->told);
    assert(e->node.gate != NULL);
}

void membership_grace_over(struct membership *m, struct member *e)
{
    assert(e->node.state == NODE_SUSPECT);
    enter(m, e, NODE_DOWN);
    e->winner = 0;
    tell(m, e, MEMBERSHIP_DOWN, &e->node.process);
    membership_review(m, e, NULL);
}
