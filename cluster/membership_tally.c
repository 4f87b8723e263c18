/*
 * membership_tally.c - how many of a kind stand, how many of them are late, and
 * who is absent, without going through all of them.
 *
 * A member is judged when something of it changes, and when time alone may have
 * changed the judgement: it is late, or not new any more. A heap has the moment
 * of that. A report nearly always makes the moment later, and then the heap is
 * not touched: when the earlier moment has come the member is looked at, and
 * goes on with the later one. So ten thousand that report on time cost one look
 * each in two and a half intervals, whoever asks how often. Only when all
 * leases begin anew, of which no member is told, all of them are judged.
 */
#include "cluster/membership_priv.h"

#include "base/mem.h"

#include <string.h>

#define STEP 64 /* absent ones that room is made for at once */

/* --- late ---------------------------------------------------------------- */

/* A lease shows that it may not be renewed when two thirds of it are over. Of
 * a session we see the reports only: they are late when two in a row are
 * missing, and say nothing any more once a session that ended with the last of
 * them would have been told as gone. So it is late after `from` and until `to`,
 * both in milliseconds since `since`. */
struct lateness {
    mono_ms since;
    int64_t from, to;
};

static struct lateness lateness(const struct membership *m,
                                const struct registration *r)
{
    bool lease = window_runs(&r->window);
    int64_t interval = m->config.heartbeat_interval_ms;
    int64_t usual = r->gap * 3 / 2; /* who always comes late is not known to
                                       be */
    struct lateness l = {
        .since = lease ? r->window.since : r->written_at,
        .from = lease ? r->window.span * 2 / 3 : interval * 5 / 2,
        .to = lease ? INT64_MAX : interval + m->config.session_timeout_ms};

    assert(!lease || r->ttl_ms > 0);
    if (l.from < usual)
        l.from = usual;
    return l;
}

static bool of_node(const struct registration *r, const struct node *node)
{
    return !r->stale && !process_differs(&r->process, &node->process);
}

bool membership_overdue(const struct membership *m, const struct node *node)
{
    const struct member *e = CONTAINER_OF(node, struct member, node);
    mono_ms now = m->config.clock->mono;
    bool any = false;

    for (const struct registration *r = e->registrations; r; r = r->next) {
        struct lateness l;

        if (!of_node(r, node))
            continue;
        l = lateness(m, r);
        if (now - l.since <= l.from || now - l.since > l.to)
            return false;
        any = true;
    }
    return any;
}

int64_t membership_lease(const struct membership *m, const struct node *node)
{
    return node->watched_ms > 0 ? node->watched_ms
                                : m->config.session_timeout_ms;
}

/* --- who counts as what -------------------------------------------------- */

static enum counted judge(const struct membership *m, const struct member *e)
{
    const struct node *n = &e->node;

    if (!n->registered)
        return COUNTED_ABSENT;
    if (membership_overdue(m, n))
        return COUNTED_LATE;
    return m->config.clock->mono - n->state_since >= m->config.settle_ms
               ? COUNTED_SETTLED
               : COUNTED_FRESH;
}

/* The first moment at which it may count as another without an event;
 * INT64_MAX: never. */
static mono_ms changes_at(const struct membership *m, const struct member *e)
{
    mono_ms now = m->config.clock->mono;
    mono_ms first = e->node.state_since + m->config.settle_ms;

    if (!e->node.registered)
        return INT64_MAX;
    if (first <= now)
        first = INT64_MAX;
    for (const struct registration *r = e->registrations; r; r = r->next) {
        struct lateness l;
        mono_ms at;

        if (!of_node(r, &e->node))
            continue;
        l = lateness(m, r);
        if (l.from >= l.to || now - l.since > l.to)
            continue; /* never late, or not any more */
        if (now - l.since > l.from && l.to == INT64_MAX)
            continue;
        at = l.since + (now - l.since <= l.from ? l.from : l.to) + 1;
        first = at < first ? at : first;
    }
    assert(first > now);
    return first;
}

static size_t *count_of(struct membership *m, const struct member *e)
{
    struct membership_tally *t = &m->tally.counts[e->node.kind];

    assert(e->node.kind < NODE_KINDS);
    switch (e->counted) {
    case COUNTED_FRESH:
        return &t->fresh;
    case COUNTED_SETTLED:
        return &t->settled;
    case COUNTED_LATE:
        return &t->late;
    default:
        return NULL;
    }
}

static void absent_add(struct membership *m, struct member *e)
{
    size_t *n = &m->tally.n_absent[e->node.kind];
    struct member ***list = &m->tally.absent[e->node.kind];

    assert(e->absent_place == 0);
    if (*n % STEP == 0)
        *list = mem_regrow(*list, *n + STEP, sizeof(struct member *));
    (*list)[(*n)++] = e;
    e->absent_place = (uint32_t)*n;
}

static void absent_drop(struct membership *m, struct member *e)
{
    struct member **list = m->tally.absent[e->node.kind];
    struct member *last;

    assert(e->absent_place > 0);
    assert(list[e->absent_place - 1] == e);
    last = list[--m->tally.n_absent[e->node.kind]];
    list[e->absent_place - 1] = last;
    last->absent_place = e->absent_place;
    e->absent_place = 0;
}

static void count_as(struct membership *m, struct member *e, enum counted as)
{
    size_t *n = count_of(m, e);

    if (e->counted == as)
        return;
    assert(n == NULL || *n > 0);
    if (n != NULL)
        --*n;
    if (e->counted == COUNTED_ABSENT)
        absent_drop(m, e);
    e->counted = (uint8_t)as;
    n = count_of(m, e);
    if (n != NULL)
        ++*n;
    if (as == COUNTED_ABSENT)
        absent_add(m, e);
}

/* Judged now, and again at that moment, or when the heap says so before. */
static void count_until(struct membership *m, struct member *e, bool sooner)
{
    struct heap *due = &m->tally.due;
    mono_ms at = changes_at(m, e);

    count_as(m, e, judge(m, e));
    if (at == INT64_MAX)
        heap_remove(due, &e->recount);
    else if (!heap_has(&e->recount) || !sooner ||
             at < heap_due_of(due, &e->recount))
        heap_set(due, &e->recount, at);
}

void membership_count(struct membership *m, struct member *e)
{
    count_until(m, e, true);
    assert(e->counted != COUNTED_NOT);
}

void membership_uncount(struct membership *m, struct member *e)
{
    count_as(m, e, COUNTED_NOT);
    heap_remove(&m->tally.due, &e->recount);
    assert(e->absent_place == 0);
}

/* --- asked --------------------------------------------------------------- */

static void recount(struct membership *m)
{
    m->tally.recount = false;
    for (struct node *n = membership_next(m, NULL); n != NULL;
         n = membership_next(m, n))
        membership_count(m, CONTAINER_OF(n, struct member, node));
}

struct membership_tally membership_tally(struct membership *m,
                                         enum node_kind kind)
{
    struct heap *due = &m->tally.due;

    assert(kind < NODE_KINDS);
    if (m->tally.recount)
        recount(m);
    while (heap_due(due) <= m->config.clock->mono)
        count_until(m, CONTAINER_OF(heap_first(due), struct member, recount),
                    false);
    return m->tally.counts[kind];
}

struct node *membership_absent(const struct membership *m, enum node_kind kind,
                               size_t i)
{
    assert(kind < NODE_KINDS);
    return i < m->tally.n_absent[kind] ? &m->tally.absent[kind][i]->node : NULL;
}

void membership_tally_close(struct membership *m)
{
    assert(m->tally.due.n == 0);
    heap_close(&m->tally.due);
    for (int k = 0; k < NODE_KINDS; k++) {
        assert(m->tally.n_absent[k] == 0);
        mem_free(m->tally.absent[k]);
    }
}
