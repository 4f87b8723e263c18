/*
 * nodes.c - nodes: lists and long polls from the snapshot, heartbeats and
 * orders through the loop.
 */
#include "http/http_priv.h"

#include "base/units.h"
#include "cluster/node_identity.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TTL_DEFAULT_MS 30000
#define TTL_MIN_MS     1000
#define TTL_MAX_MS     (INT64_C(60) * 60 * 1000)
#define FOR_MAX_MS     (INT64_C(30) * 24 * 60 * 60 * 1000)

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
    http_put_process(b, "process", &n->gate_says->process);
    http_put_text(b, "who", n->gate_says->who);
    http_put_text(b, "reason", n->gate_says->reason);
    http_put_time(b, "since", n->gate_says->since);
    http_put_time(b, "until", n->gate_says->until);
    json_close(b, '}');
}

static void put_fields(struct buf *b, const struct coordinator_snapshot_node *n)
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
    json_put_str(b, "report", n->report);
    json_put_int(b, "flaps", n->flaps);
    put_gate(b, n);
    http_put_list(b, "problems", n->problems, n->n_problems);
}

/* --- lists --------------------------------------------------------------- */

struct filter {
    int kind, state, status;
    char group[NODE_GROUP_MAX + 1]; /* "" any */
    const char *cursor;             /* "kind/address" of the last one shown */
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

static bool passes(const struct filter *f,
                   const struct coordinator_snapshot_node *n)
{
    assert(f->limit > 0);
    assert(n->kind < NODE_KINDS);
    return (f->kind < 0 || f->kind == (int)n->kind) &&
           (f->state < 0 || f->state == (int)n->state) &&
           (f->status < 0 || f->status == (int)n->status) &&
           (f->group[0] == '\0' || in_group(n, f->group));
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
    if (f->cursor != NULL &&
        (f->cursor[0] < '0' || f->cursor[0] >= '0' + NODE_KINDS ||
         f->cursor[1] != '/' || node_check_address(f->cursor + 2, NULL) != 0))
        return http_problem(r, PROBLEM_INVALID, HTTP_BAD_CURSOR);
    return http_query_kind(r, &f->kind) && http_query_group(r, f->group) &&
           http_query_word(r, "state", NODE_STATES - 1, state_word,
                           &f->state) &&
           http_query_word(r, "status", NODE_BUSY, status_word, &f->status) &&
           http_query_int(r, "limit", 1, HTTP_LIMIT_MAX, &f->limit);
}

/* From the first node that the filter may pass, and is behind its cursor. */
static void walk_from(struct snapshot_walk *w, const struct snapshot *s,
                      const struct filter *f)
{
    int from =
        f->cursor != NULL ? f->cursor[0] - '0' : 0; /* it was looked at */
    const char *address = f->cursor != NULL ? f->cursor + 2 : "";

    assert(from < NODE_KINDS);
    if (f->kind > from) {
        from = f->kind;
        address = "";
    }
    coordinator_snapshot_walk(w, s, (enum node_kind)from, address);
}

/* Is it the one that the cursor names? */
static bool at_cursor(const struct filter *f,
                      const struct coordinator_snapshot_node *n)
{
    return f->cursor != NULL && (int)n->kind == f->cursor[0] - '0' &&
           strcmp(n->address, f->cursor + 2) == 0;
}

static const char *watch_word(int value)
{
    assert(value >= 0);
    assert(value <= 1);
    return value == 0 ? "all" : "membership";
}

/* What its long poll waits for, and what its index is of. */
static bool read_watch(struct http_request *r)
{
    int watch;

    assert(r->method == HTTP_GET);
    if (!http_query_word(r, "watch", 1, watch_word, &watch))
        return false;
    r->topic = watch == 1 ? COORDINATOR_MEMBERSHIP : COORDINATOR_NODES;
    return true;
}

static void put_index(struct http_request *r, struct buf *b,
                      const struct snapshot *s, enum node_kind kind,
                      const char *address)
{
    assert(r->topic == COORDINATOR_MEMBERSHIP || r->topic == COORDINATOR_NODES);
    http_put_index(r, b,
                   coordinator_snapshot_index(
                       s, r->topic == COORDINATOR_MEMBERSHIP, kind, address));
}

static void list_nodes(struct http_request *r)
{
    char next[NODE_ADDRESS_MAX + 8] = "";
    const struct coordinator_snapshot_node *node, *last = NULL;
    struct snapshot_walk walk;
    struct snapshot *s;
    struct filter f = {.kind = -1};
    struct buf *b;
    int64_t n = 0;

    if (!read_filter(r, &f))
        return;
    s = coordinator_snapshot(r->h->coordinator);
    put_index(r, NULL, s, f.kind < 0 ? NODE_KINDS : (enum node_kind)f.kind,
              NULL);
    b = http_list(r, s);
    walk_from(&walk, s, &f);
    while ((node = coordinator_snapshot_next(&walk)) != NULL) {
        if (f.kind >= 0 && (int)node->kind > f.kind)
            break;
        if (!passes(&f, node) || at_cursor(&f, node))
            continue;
        if (n++ == f.limit) {
            assert(last != NULL);
            snprintf(next, sizeof(next), "%d/%s", (int)last->kind,
                     last->address);
            break;
        }
        json_open(b, NULL, '{');
        put_fields(b, node);
        json_close(b, '}');
        last = node;
    }
    json_close(b, ']');
    json_put_u64(b, "ignored_keys", s->problem_keys);
    http_list_close(r, next[0] ? next : NULL);
    coordinator_snapshot_release(&s);
}

/* --- one ----------------------------------------------------------------- */

static void get_node(struct http_request *r)
{
    enum node_kind kind = r->kind;
    const struct coordinator_snapshot_node *n;
    struct snapshot *s;
    struct buf *b;

    assert(r->kind < NODE_KINDS);
    s = coordinator_snapshot(r->h->coordinator);
    n = coordinator_snapshot_node(s, kind, r->param[1]);
    if (n == NULL) {
        http_problem(r, PROBLEM_NOT_FOUND, "no %s %s is known", r->param[0],
                     r->param[1]);
        put_index(r, NULL, s, kind, r->param[1]); /* to wait until it comes */
    } else {
        b = http_object(r, 200);
        put_fields(b, n);
        put_index(r, b, s, kind, r->param[1]);
        http_put_as_of(r->h, b, s);
        json_close(b, '}');
    }
    coordinator_snapshot_release(&s);
}

/* --- either, now or when it changes -------------------------------------- */

/* Does the path name one? */
static bool is_one(const struct http_request *r)
{
    return strchr(r->route->path, '{') != NULL;
}

static void show(struct http_request *r)
{
    if (is_one(r))
        get_node(r);
    else
        list_nodes(r);
}

static void show_then_answer(struct http_request *r)
{
    show(r);
    http_answer(r);
}

static void wait_for_change(struct http_request *r)
{
    int kind = (int)r->kind;

    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_GET);
    if (!is_one(r) && !http_query_kind(r, &kind))
        http_answer(r);
    else
        http_wait(r, r->topic, kind < 0 ? NODE_KINDS : (enum node_kind)kind,
                  is_one(r) ? r->param[1] : NULL, show_then_answer);
}

void http_nodes_get(struct http_request *r)
{
    bool waits;

    assert(r->method == HTTP_GET);
    if (!read_watch(r) || !http_query_waits(r, &waits))
        return;
    if (waits)
        http_on_loop(r, wait_for_change);
    else
        show(r);
}

/* --- heartbeats ---------------------------------------------------------- */

static void put_done(void *arg, const struct coordinator_reply *reply)
{
    struct http_request *r = http_ended(arg);
    char ttl[UNITS_DURATION_SIZE];
    struct buf *b;

    if (r == NULL)
        return;
    if (reply->code != PROBLEM_NONE) {
        http_refuse(r, reply->code, &reply->err, 0);
    } else {
        b = http_object(r, reply->created ? 201 : 200);
        json_put_str(b, "ttl", units_format_duration(r->ttl_ms, ttl));
        json_put_int(b, "ttl_ms", r->ttl_ms);
        json_put_int(b, "renew_after_ms", reply->renew_after_ms);
        json_put_str(b, "state", reply->waits ? "waiting" : "up");
        if (reply->waits)
            json_put_str(b, "reason", "address_fenced");
        http_put_process(b, "process", &reply->process);
        json_put_str(b, "instance", reply->instance);
        if (reply->place[0] != '\0')
            json_put_str(b, "place", reply->place);
        http_put_work_index(r, b, reply->work_index);
        http_put_list(b, "warnings", reply->warnings, reply->n_warnings);
        json_close(b, '}');
    }
    http_answer_write(r, &reply->wrote);
}

static void put_node(struct http_request *r)
{
    struct node_put put = {.kind = r->kind,
                           .address = r->param[1],
                           .body = buf_text(&r->body),
                           .len = r->body.len,
                           .ttl_ms = r->ttl_ms,
                           .instance = http_query(r, "instance"),
                           .age_ms = http_conn_waited_ms(r->conn)};

    assert(r->handed);
    assert(r->method == HTTP_PUT);
    assert(r->ttl_ms >= TTL_MIN_MS);
    assert(r->ttl_ms <= TTL_MAX_MS);
    (void)http_query_flag(r, "takeover", &put.takeover); /* is good */
    coordinator_node_put(r->h->coordinator, &put, put_done, r);
}

void http_node_put(struct http_request *r)
{
    const char *instance;
    bool takeover;

    assert(r->method == HTTP_PUT);
    assert(!r->handed);
    r->ttl_ms = TTL_DEFAULT_MS;
    if (http_query_duration(r, "ttl", TTL_MIN_MS, TTL_MAX_MS, &r->ttl_ms) &&
        http_query_instance(r, &instance) &&
        http_query_flag(r, "takeover", &takeover) && http_body(r, true))
        http_on_loop(r, put_node);
}

static void delete_done(void *arg, const struct coordinator_reply *reply)
{
    struct http_request *r = http_ended(arg);

    if (r == NULL)
        return;
    if (reply->code == PROBLEM_NONE)
        http_no_content(r);
    else if (reply->code == PROBLEM_NOT_FOUND)
        http_problem(r, PROBLEM_NOT_FOUND, "%s %s is not registered over HTTP",
                     r->param[0], r->param[1]);
    else
        http_refuse(r, reply->code, &reply->err, 0);
    http_answer_write(r, &reply->wrote);
}

static void delete_node(struct http_request *r)
{
    struct node_leave leave = {.kind = r->kind,
                               .address = r->param[1],
                               .instance = http_query(r, "instance"),
                               .age_ms = http_conn_waited_ms(r->conn)};

    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_DELETE);
    /* is good */
    (void)http_query_int(r, "startupTime", 1, NODE_STARTUP_MAX,
                         &leave.startup_time);
    coordinator_node_delete(r->h->coordinator, &leave, delete_done, r);
}

void http_node_delete(struct http_request *r)
{
    const char *instance;
    int64_t startup;

    assert(r->method == HTTP_DELETE);
    assert(!r->handed);
    if (http_query_int(r, "startupTime", 1, NODE_STARTUP_MAX, &startup) &&
        http_query_instance(r, &instance))
        http_on_loop(r, delete_node);
}

/* --- orders at the gate -------------------------------------------------- */

static void order_done(void *arg, enum problem code, const struct err *err,
                       const struct gate *gate)
{
    char address[NODE_ADDRESS_MAX + 1], key[REGISTRY_KEY_MAX + 1];
    struct http_request *r = http_ended(arg);
    struct write_index wrote = {0};
    struct buf *b;

    if (r == NULL)
        return;
    if (code != PROBLEM_NONE) {
        http_refuse(r, code, err, 0);
    } else {
        b = http_object(r, 200);
        json_put_str(b, "kind", r->param[0]);
        json_put_str(b, "address", r->param[1]);
        json_put_str(b, "state", gate_state_name(gate->state));
        json_put_bool(b, "cordoned",
                      gate->cordoned || gate->state == GATE_CORDONED);
        http_put_process(b, "process", &gate->process);
        http_put_text(b, "who", gate->who);
        http_put_text(b, "reason", gate->reason);
        http_put_time(b, "since", gate->ordered);
        http_put_time(b, "until",
                      gate->for_ms > 0 ? clock_wall_ms() + gate->for_ms : 0);
        json_close(b, '}');
        (void)node_canonical(r->param[1], address);
        coordinator_index_add(&wrote,
                              gate_key(r->kind, address, key, sizeof(key)));
    }
    http_answer_write(r, &wrote);
}

static void give_order(struct http_request *r, enum gate_order_what what)
{
    const char *reason = http_query(r, "reason"), *who = http_query(r, "who");
    struct gate_order order = {.what = what,
                               .undo = r->method == HTTP_DELETE,
                               .kind = r->kind,
                               .address = r->param[1],
                               .for_ms = r->ttl_ms,
                               .who = who != NULL ? who : "api",
                               .reason = reason != NULL ? reason : ""};

    assert(r->handed);
    assert(r->kind != NODE_ALERT_SERVER);
    assert(r->ttl_ms >= 0);
    assert(r->ttl_ms <= FOR_MAX_MS);
    work_gate_order(coordinator_work(r->h->coordinator), &order, order_done, r);
}

void http_cordon(struct http_request *r)
{
    give_order(r, GATE_ORDER_CORDON);
}

void http_drain(struct http_request *r)
{
    give_order(r, GATE_ORDER_DRAIN);
}

void http_restart(struct http_request *r)
{
    give_order(r, GATE_ORDER_RESTART);
}

void http_gate_order(struct http_request *r)
{
    assert(r->method == HTTP_PUT || r->method == HTTP_DELETE);
    assert(!r->handed);
    if (!http_query_duration(r, "for", 1000, FOR_MAX_MS, &r->ttl_ms))
        return;
    if (r->kind == NODE_ALERT_SERVER)
        http_problem(r, PROBLEM_INVALID_VALUE, "an alert-server owns no work");
    else
        http_on_loop(r, r->action->on_loop);
}
