/*
 * nodes.c - nodes: one and long polls from the snapshot (lists: nodes_list.c),
 * heartbeats and orders through the loop.
 */
#include "http/http_priv.h"

#include "base/units.h"
#include "cluster/node_identity.h"

#include <stdio.h>
#include <string.h>

#define TTL_DEFAULT_MS 30000
#define TTL_MIN_MS     1000
#define TTL_MAX_MS     (INT64_C(60) * 60 * 1000)
#define FOR_MAX_MS     (INT64_C(30) * 24 * 60 * 60 * 1000)

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

void http_put_nodes_index(struct http_request *r, struct buf *b,
                          const struct snapshot *s, enum node_kind kind,
                          const char *address)
{
    assert(r->topic == COORDINATOR_MEMBERSHIP || r->topic == COORDINATOR_NODES);
    http_put_index(r, b,
                   coordinator_snapshot_index(
                       s, r->topic == COORDINATOR_MEMBERSHIP, kind, address));
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
        http_put_nodes_index(r, NULL, s, kind,
                             r->param[1]); /* to wait until it comes */
    } else {
        b = http_object(r, 200);
        http_show_node(b, n);
        http_put_nodes_index(r, b, s, kind, r->param[1]);
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
        http_nodes_list(r);
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
