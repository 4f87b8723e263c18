/*
 * nodes_list.c - nodes as they are shown, one or a page of them. A page costs
 * in proportion to what is on it, however many nodes there are.
 */
#include "http/http_priv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void put_ratio(struct buf *b, const char *key, double value)
{
    json_put_num(b, key, value < 0 ? (double)NAN : value);
}

static void put_gate(struct buf *b, const struct coordinator_snapshot_node *n)
{
    assert(n->address[0] != '\0');
    if (!http_put_object(b, "gate", n->gate != GATE_ABSENT))
        return;
    json_put_str(b, "state", gate_state_name(n->gate));
    json_put_bool(b, "cordoned", n->cordoned);
    json_put_bool(b, "left", n->gate_left);
    http_put_process(b, "process", &n->odd->gate.process);
    http_put_text(b, "who", n->odd->gate.who);
    http_put_text(b, "reason", n->odd->gate.reason);
    http_put_time(b, "since", n->odd->gate.since);
    http_put_time(b, "until", n->odd->gate.until);
    json_close(b, '}');
}

void http_show_node(struct buf *b, const struct coordinator_snapshot_node *n)
{
    assert(n->kind < NODE_KINDS);
    assert(n->n_groups == 0 || n->groups != NULL);
    json_put_str(b, "kind", node_kind_name(n->kind));
    json_put_str(b, "address", n->address);
    json_put_str(b, "state", node_state_name(n->state));
    json_put_str(b, "status", node_status_name(n->status));
    json_put_bool(b, "degraded", n->degraded);
    http_put_list(b, "groups", n->groups, n->n_groups);
    json_put_int(b, "weight", n->load.weight);
    http_put_u64(b, "slots", n->load.slots > 0 ? (uint64_t)n->load.slots : 0);
    put_ratio(b, "cpu", n->load.cpu);
    put_ratio(b, "memory", n->load.memory);
    put_ratio(b, "disk", n->load.disk);
    put_ratio(b, "pool", n->load.pool);
    json_put_int(b, "owned", n->owned);
    http_put_process(b, "process", &n->process);
    http_put_time(b, "last_report", n->last_report);
    json_put_str(b, "report", coordinator_report_name(n->report));
    json_put_int(b, "flaps", n->flaps);
    put_gate(b, n);
    http_put_list(b, "problems", n->odd->problems, n->odd->n_problems);
}

/* --- lists --------------------------------------------------------------- */

/* The order of a list: first who is there, then who is gone, each by kind and
 * address; so a part for each kind of the ones and of the others, in which the
 * filter's prefix, kind and state say where to look. A cursor names its part
 * and the last node that was looked at, which need not be there any more: it
 * stays where it is while others come and go. */
#define PARTS (2 * NODE_KINDS)
#define THERE (1U << NODE_UP | 1U << NODE_SUSPECT)
#define GONE  (1U << NODE_DOWN | 1U << NODE_FENCED | 1U << NODE_LEFT)

#define ADDRESS_CHARACTERS                                                     \
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:[]"

/* For a page of n: what few have is found without looking at all, but two
 * rare things together are not. The page is cut short there, its cursor goes
 * on; below the first figure that never happens. */
#define LOOK_LEAST 20000
#define LOOK_EACH  32

struct filter {
    int kind, state, status;
    char group[NODE_GROUP_MAX + 1]; /* "" any */
    const char *prefix;             /* of the address, "" any */
    const char *cursor;             /* "part/address"; NULL: from the start */
    int64_t limit;
};

static bool in_group(const struct coordinator_snapshot_node *n,
                     const char *group)
{
    assert(group[0] != '\0');
    for (size_t i = 0; i < n->n_groups; i++)
        if (strcmp(n->groups[i], group) == 0)
            return true;
    return false;
}

static bool has_prefix(const struct filter *f,
                       const struct coordinator_snapshot_node *n)
{
    assert(f->prefix != NULL);
    return strncmp(n->address, f->prefix, strlen(f->prefix)) == 0;
}

static const char *state_word(int value)
{
    assert(value >= 0);
    assert(value < NODE_STATES);
    return node_state_name((enum node_state)value);
}

static const char *status_word(int value)
{
    assert(value >= 0);
    assert(value <= (int)NODE_BUSY);
    return node_status_name((enum node_status)value);
}

static bool read_filter(struct http_request *r, struct filter *f)
{
    assert(r->method == HTTP_GET);
    f->limit = HTTP_LIMIT;
    f->cursor = http_query(r, "cursor");
    f->prefix = http_query(r, "prefix");
    if (f->cursor != NULL &&
        (f->cursor[0] < '0' || f->cursor[0] >= '0' + PARTS ||
         f->cursor[1] != '/' || node_check_address(f->cursor + 2, NULL) != 0))
        return http_problem(r, PROBLEM_INVALID, HTTP_BAD_CURSOR);
    if (f->prefix == NULL)
        f->prefix = "";
    if (strlen(f->prefix) > NODE_ADDRESS_MAX ||
        f->prefix[strspn(f->prefix, ADDRESS_CHARACTERS)] != '\0')
        return http_problem(r, PROBLEM_INVALID,
                            "query parameter prefix: no address begins so");
    return http_query_kind(r, &f->kind) && http_query_group(r, f->group) &&
           http_query_word(r, "state", NODE_STATES - 1, state_word,
                           &f->state) &&
           http_query_word(r, "status", NODE_BUSY, status_word, &f->status) &&
           http_query_int(r, "limit", 1, HTTP_LIMIT_MAX, &f->limit);
}

/* Which states it is about; 0: nobody here passes. */
static unsigned states_of(const struct filter *f, int part)
{
    unsigned states = part < NODE_KINDS ? THERE : GONE;
    int kind = part % NODE_KINDS;

    assert(part < PARTS);
    if ((f->kind >= 0 && f->kind != kind) ||
        (f->group[0] != '\0' && kind != NODE_WORKER))
        return 0;
    return f->state >= 0 ? states & 1U << f->state : states;
}

/* From the first node that may pass, and stands at its cursor or behind it. */
static void walk_from(struct snapshot_walk *w, const struct snapshot *s,
                      const struct filter *f, int part, unsigned states)
{
    const char *from = f->prefix;

    assert(states != 0);
    if (f->cursor != NULL && part == f->cursor[0] - '0' &&
        strcmp(f->cursor + 2, from) > 0)
        from = f->cursor + 2;
    coordinator_snapshot_walk(w, s, (enum node_kind)(part % NODE_KINDS), from);
    coordinator_snapshot_only(w, states, f->status >= 0 ? 1U << f->status : 0,
                              f->group);
}

/* Is it the one that the cursor names? */
static bool at_cursor(const struct filter *f, int part, const char *address)
{
    return f->cursor != NULL && part == f->cursor[0] - '0' &&
           strcmp(address, f->cursor + 2) == 0;
}

/* A page while it is made. */
struct page {
    struct buf *b;
    const struct filter *f;
    int64_t n;
    size_t looked, most;
    int part;            /* of the last one that was looked at */
    const char *address; /* its; "": nobody was */
    bool more;
};

/* One part of the list, until it ends or the page does. */
static void put_part(struct page *p, const struct snapshot *s, int part,
                     unsigned states)
{
    const struct filter *f = p->f;
    const struct coordinator_snapshot_node *node;
    struct snapshot_walk w;

    assert(p->most > 0);
    walk_from(&w, s, f, part, states);
    w.most = p->most > p->looked ? p->most - p->looked : 1;
    while ((node = coordinator_snapshot_next(&w)) != NULL &&
           (int)node->kind == part % NODE_KINDS && has_prefix(f, node)) {
        bool passes = (f->group[0] == '\0' || in_group(node, f->group)) &&
                      !at_cursor(f, part, node->address);

        p->more = passes && p->n == f->limit;
        if (p->more)
            return;
        p->part = part;
        p->address = node->address;
        p->more = !passes && w.looked >= w.most;
        if (p->more)
            return;
        if (!passes)
            continue;
        p->n++;
        json_open(p->b, NULL, '{');
        http_show_node(p->b, node);
        json_close(p->b, '}');
    }
    p->looked += w.looked;
    if (node != NULL || (node = w.cut) == NULL ||
        (int)node->kind != part % NODE_KINDS)
        return;
    p->part = part;
    p->address = node->address;
    p->more = true;
}

void http_nodes_list(struct http_request *r)
{
    char next[NODE_ADDRESS_MAX + 8];
    struct filter f = {.kind = -1};
    struct snapshot *s;
    struct page page;

    if (!read_filter(r, &f))
        return;
    s = coordinator_snapshot(r->h->coordinator);
    http_put_nodes_index(
        r, NULL, s, f.kind < 0 ? NODE_KINDS : (enum node_kind)f.kind, NULL);
    page = (struct page){.b = http_list(r, s),
                         .f = &f,
                         .most = LOOK_LEAST + LOOK_EACH * (size_t)f.limit,
                         .address = ""};
    for (int part = f.cursor != NULL ? f.cursor[0] - '0' : 0;
         part < PARTS && !page.more; part++) {
        unsigned states = states_of(&f, part);

        if (states != 0)
            put_part(&page, s, part, states);
    }
    assert(!page.more || page.address[0] != '\0');
    (void)snprintf(next, sizeof(next), "%d/%s", page.part, page.address);
    json_close(page.b, ']');
    json_put_u64(page.b, "ignored_keys", s->problem_keys);
    http_list_close(r, page.more ? next : NULL);
    coordinator_snapshot_release(&s);
}
