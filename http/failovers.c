/*
 * failovers.c - history and evidence, and a person's own failover.
 */
#include "http/http_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- reading ------------------------------------------------------------------ */

static void got(void *arg, const struct coordinator_reply *reply)
{
    struct http_request *r = arg;

    if (reply->code != NULL)
        http_refuse(r, reply->code, &reply->err, 0);
    else
        failover_record_write(http_json(r, 200), &reply->failovers[0]);
    http_answer(r);
}

static void get_failover(void *arg)
{
    struct http_request *r = arg;

    coordinator_failover_get(r->h->coordinator, r->param[0], got, r);
}

void http_failover_get(struct http_request *r)
{
    http_on_loop(r, get_failover);
}

/* The cursor is the id of the last one shown. */
static void write_page(struct http_request *r, const struct failover_record *all,
                       size_t n, int64_t limit)
{
    const char *cursor = http_query(r, "cursor"), *next = NULL;
    struct snapshot *s = coordinator_snapshot(r->h->coordinator);
    struct buf *b = http_list(r, s);
    size_t i = 0;
    int64_t shown = 0;

    if (cursor != NULL) {
        while (i < n && strcmp(all[i].id, cursor) != 0)
            i++;
        i++;
    }
    for (; i < n; i++) {
        if (shown == limit) {
            next = all[i - 1].id;
            break;
        }
        if (shown++ > 0)
            buf_char(b, ',');
        failover_record_write(b, &all[i]);
    }
    http_list_end(r, next);
    snapshot_release(&s);
}

static void listed(void *arg, const struct coordinator_reply *reply)
{
    struct http_request *r = arg;
    int64_t limit = HTTP_LIMIT;

    if (reply->code != NULL)
        http_refuse(r, reply->code, &reply->err, 0);
    else if (http_query_int(r, "limit", 1, HTTP_LIMIT_MAX, &limit))
        write_page(r, reply->failovers, reply->n_failovers, limit);
    http_answer(r);
}

static void list_failovers(void *arg)
{
    struct http_request *r = arg;

    coordinator_failover_list(r->h->coordinator, listed, r);
}

void http_failovers_list(struct http_request *r)
{
    http_on_loop(r, list_failovers);
}

/* --- starting one ---------------------------------------------------------------- */

static void write_plan(struct http_request *r, const struct engine_reply *reply)
{
    struct buf *b = http_json(r, 200);

    snprintf(r->etag, sizeof(r->etag), "\"%.36s\"", reply->etag);
    json_open(b, NULL, '{');
    json_put_str(b, "etag", reply->etag);
    json_open(b, "plan", '[');
    for (size_t i = 0; i < reply->n_plan; i++) {
        const struct engine_plan_item *p = &reply->plan[i];

        json_open(b, NULL, '{');
        json_put_str(b, "id", p->id);
        json_put_str(b, "action", p->action);
        json_put_str(b, "target",
                     p->target != NULL && p->target[0] ? p->target : NULL);
        json_close(b, '}');
    }
    json_close(b, ']');
    json_close(b, '}');
}

static void ordered(void *arg, const struct engine_reply *reply)
{
    struct http_request *r = arg;
    struct buf *b;

    if (reply->code != NULL) {
        http_refuse(r, reply->code, &reply->err, 0);
    } else if (reply->etag != NULL && reply->failover == NULL) {
        write_plan(r, reply);
    } else {
        b = http_json(r, 202);
        json_open(b, NULL, '{');
        json_put_str(b, "id", reply->failover);
        json_put_str(b, "state", reply->held ? "held" : "accepted");
        json_close(b, '}');
        snprintf(r->location, sizeof(r->location), "/v1/failovers/%s",
                 reply->failover);
    }
    http_answer(r);
}

/* "abc" and W/"abc" and abc. */
static const char *read_etag(struct http_request *r, char out[40])
{
    const char *text = MHD_lookup_connection_value(
        r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_MATCH);
    size_t n;

    if (text == NULL)
        return NULL;
    if (strncmp(text, "W/", 2) == 0)
        text += 2;
    text += text[0] == '"';
    n = strcspn(text, "\"");
    snprintf(out, 40, "%.*s", (int)(n < 39 ? n : 39), text);
    return out;
}

static void start_failover(void *arg)
{
    struct http_request *r = arg;
    const char *kind_text, *address, *reason, *who;
    enum node_kind kind = NODE_MASTER;
    struct engine_order order = {0};
    char etag[40];

    if (!http_member(r, "kind", &kind_text) ||
        !http_member(r, "address", &address) ||
        !http_member(r, "reason", &reason) || !http_member(r, "who", &who)) {
        http_answer(r);
        return;
    }
    if (kind_text == NULL || address == NULL ||
        node_kind_parse(kind_text, &kind) != 0 || kind == NODE_ALERT_SERVER ||
        node_check_address(address, NULL) != 0) {
        http_problem(r, "invalid_value",
                     "kind (master or worker) and address (host:port) are "
                     "expected");
        http_answer(r);
        return;
    }
    order.address = address;
    order.dry_run = json_bool(r->json, "dry_run", false);
    order.force = json_bool(r->json, "force", false);
    order.who = who != NULL ? who : "api";
    order.reason = reason != NULL ? reason : "";
    order.if_match = read_etag(r, etag);
    engine_order(coordinator_engine(r->h->coordinator, kind), &order, ordered,
                 r);
}

void http_failovers_post(struct http_request *r)
{
    if (http_body(r, false))
        http_on_loop(r, start_failover);
}
