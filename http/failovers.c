/*
 * failovers.c - history and evidence, a person's own failover, and a gate
 * that he has forgotten.
 */
#include "http/http_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- reading ------------------------------------------------------------- */

/* Whom this coordinator waits for with the lock, as /v1/cluster says it. */
static void put_waits(struct buf *b, bool waits,
                      const struct registry_lock_wait *w)
{
    assert(!waits || w->holder != NULL);
    if (waits)
        http_put_waits(b, w->holder,
                       clock_wall_ms() - (clock_mono_ms() - w->since));
    else
        http_put_waits(b, NULL, 0);
}

/* What a person can do about one that stands still, or null. */
static void put_lift(struct buf *b, enum failover_phase phase,
                     const char *cause, const char *id)
{
    char text[FAILOVER_ID_MAX + 64];

    assert(id != NULL || phase != FAILOVER_QUEUED);
    if (phase == FAILOVER_QUEUED) {
        snprintf(text, sizeof(text), "pelorus failover withdraw %s", id);
        json_put_str(b, "lift", text);
    } else {
        json_put_str(b, "lift",
                     phase == FAILOVER_HELD
                         ? work_cause(work_cause_of(cause))->lift
                         : NULL);
    }
}

static void put_record(struct http_request *r, struct buf *b,
                       const struct failover_record *record)
{
    const struct engine *e =
        coordinator_engine(r->h->coordinator, record->kind);
    struct registry_lock_wait w;

    assert(r->handed);
    assert(record->id[0] != '\0');
    work_failover_open(b, record);
    put_lift(b, record->phase, record->cause, record->id);
    if (record->phase == FAILOVER_QUEUED)
        put_waits(b, e != NULL && engine_waits_for(e, &w), &w);
    json_close(b, '}');
}

static void got(void *arg, const struct coordinator_reply *reply)
{
    struct http_request *r = http_ended(arg);

    if (r == NULL)
        return;
    if (reply->code == PROBLEM_NOT_FOUND)
        http_problem(r, PROBLEM_NOT_FOUND, "no failover %s is kept",
                     r->param[0]);
    else if (reply->code != PROBLEM_NONE)
        http_refuse(r, reply->code, &reply->err, 0);
    else
        put_record(r, http_json(r, 200), &reply->failovers[0]);
    http_answer_write(r, &reply->wrote);
}

void http_failover_withdraw(struct http_request *r)
{
    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_DELETE);
    coordinator_failover_withdraw(r->h->coordinator, r->param[0], got, r);
}

void http_failover_get(struct http_request *r)
{
    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_GET);
    coordinator_failover_get(r->h->coordinator, r->param[0], got, r);
}

/* The cursor is the id of the last one shown. */
static void write_page(struct http_request *r,
                       const struct failover_record *all, size_t n,
                       int64_t limit)
{
    const char *cursor = http_query(r, "cursor"), *next = NULL;
    size_t i = 0;
    int64_t shown = 0;
    struct buf *b;

    assert(r->handed);
    assert(limit > 0);
    while (cursor != NULL && i < n && strcmp(all[i].id, cursor) != 0)
        i++;
    if (cursor != NULL && i++ == n) {
        http_problem(r, PROBLEM_CURSOR_GONE,
                     "failover %.64s is not kept any more: begin again without "
                     "a cursor; the newest come first",
                     cursor);
        return;
    }
    b = http_list(r, NULL);
    for (; i < n; i++) {
        if (shown == limit) {
            next = all[i - 1].id;
            break;
        }
        if (shown++ > 0)
            buf_char(b, ',');
        put_record(r, b, &all[i]);
    }
    http_list_end(r, next);
}

static void listed(void *arg, const struct coordinator_reply *reply)
{
    struct http_request *r = http_ended(arg);

    if (r == NULL)
        return;
    if (reply->code != PROBLEM_NONE)
        http_refuse(r, reply->code, &reply->err, 0);
    else
        write_page(r, reply->failovers, reply->n_failovers, r->limit);
    http_answer(r);
}

static void list_failovers(struct http_request *r)
{
    coordinator_failover_list(r->h->coordinator, listed, r);
}

void http_failovers_list(struct http_request *r)
{
    const char *cursor = http_query(r, "cursor");
    struct err err;

    r->limit = HTTP_LIMIT;
    if (cursor != NULL && work_check_id(cursor, &err) != 0)
        http_problem(r, PROBLEM_INVALID, HTTP_BAD_CURSOR);
    else if (http_query_int(r, "limit", 1, HTTP_LIMIT_MAX, &r->limit))
        http_on_loop(r, list_failovers);
}

/* --- starting one -------------------------------------------------------- */

/* The plan and its ETag: of a dry run, or as it is now instead of then. */
static void put_plan(struct http_request *r, const struct engine_reply *reply)
{
    struct buf *b = &r->out;

    assert(reply->etag != NULL);
    assert(reply->n_plan == 0 || reply->plan != NULL);
    snprintf(r->etag, sizeof(r->etag), "%s", reply->etag);
    json_put_str(b, "etag", reply->etag);
    json_open(b, "plan", '[');
    for (size_t i = 0; i < reply->n_plan; i++) {
        const struct engine_plan_item *p = &reply->plan[i];

        json_open(b, NULL, '{');
        json_put_str(b, "id", p->id);
        json_put_str(b, "action", p->action);
        http_put_text(b, "target", p->target);
        json_close(b, '}');
    }
    json_close(b, ']');
}

static void ordered(void *arg, const struct engine_reply *reply)
{
    struct http_request *r = http_ended(arg);
    char key[REGISTRY_KEY_MAX + 1];
    struct write_index wrote = {0};

    if (r == NULL)
        return;
    if (reply->code != PROBLEM_NONE) {
        http_refuse_open(r, reply->code, reply->err.msg);
    } else {
        (void)http_object(r, reply->etag != NULL ? 200 : 202);
        if (reply->etag == NULL) {
            enum failover_phase phase = reply->queued ? FAILOVER_QUEUED
                                        : reply->held ? FAILOVER_HELD
                                                      : FAILOVER_INTENT;

            json_put_str(&r->out, "id", reply->failover);
            json_put_str(&r->out, "state",
                         phase == FAILOVER_INTENT
                             ? "accepted"
                             : work_failover_phase_name(phase));
            json_put_str(&r->out, "cause", reply->cause);
            put_lift(&r->out, phase, reply->cause, reply->failover);
            if (reply->queued)
                put_waits(&r->out, reply->waits, &reply->wait);
            snprintf(r->location, sizeof(r->location), "/v1/failovers/%s",
                     reply->failover);
            coordinator_index_add(&wrote,
                                  work_failover_key(reply->failover, key));
        }
    }
    if (reply->etag != NULL)
        put_plan(r, reply);
    json_close(&r->out, '}');
    http_answer_write(r, &wrote);
}

/* With its quotes, as the engine writes it: "abc", W/"abc" or abc. */
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
    snprintf(out, 40, "\"%.*s\"", (int)(n < 37 ? n : 37), text);
    return out;
}

/* kind and address of the body, which say which node. */
static bool read_target(struct http_request *r, const char **address)
{
    const char *kind;

    assert(r->json != NULL);
    assert(!r->handed);
    if (!http_member(r, "kind", &kind) || !http_member(r, "address", address))
        return false;
    if (kind == NULL || *address == NULL)
        return http_problem(r, PROBLEM_INVALID_JSON,
                            "kind and address are expected");
    if (node_kind_parse(kind, &r->kind) != 0)
        return http_problem(r, PROBLEM_INVALID_VALUE,
                            "kind: %.64s: no such kind; there are master, "
                            "worker and alert-server",
                            kind);
    return http_address(r, PROBLEM_INVALID_VALUE, *address);
}

static void start_failover(struct http_request *r)
{
    struct engine *engine = coordinator_engine(r->h->coordinator, r->kind);
    const char *who = json_str(r->json, "who");
    const char *reason = json_str(r->json, "reason");
    char etag[40];
    /* all were there and good when the handler looked */
    struct engine_order order = {
        .address = json_str(r->json, "address"),
        .dry_run = json_bool(r->json, "dry_run", false),
        .force = json_bool(r->json, "force", false),
        .who = who != NULL ? who : "api",
        .reason = reason != NULL ? reason : "",
        .if_match = read_etag(r, etag),
    };

    assert(r->handed);
    assert(r->json != NULL);
    assert(r->kind < NODE_KINDS);
    if (engine == NULL) {
        http_problem(r, PROBLEM_INVALID_VALUE,
                     "kind: %s; it owns no work, and no hook of "
                     "failover.hook-kinds fails it over",
                     node_kind_name(r->kind));
        http_answer(r);
        return;
    }
    engine_order(engine, &order, ordered, r);
}

void http_failovers_post(struct http_request *r)
{
    const char *address, *who, *reason;
    bool dry_run, force;

    assert(r->method == HTTP_POST);
    assert(!r->handed);
    if (read_target(r, &address) && http_member_bool(r, "dry_run", &dry_run) &&
        http_member_bool(r, "force", &force) && http_member(r, "who", &who) &&
        http_member(r, "reason", &reason))
        http_on_loop(r, start_failover);
}

/* --- a gate that nobody needs --------------------------------------------- */

static void forgotten(void *arg, enum problem code, const struct err *err)
{
    char address[NODE_ADDRESS_MAX + 1], key[REGISTRY_KEY_MAX + 1];
    struct http_request *r = http_ended(arg);
    struct write_index wrote = {0};

    if (r == NULL)
        return;
    if (code != PROBLEM_NONE) {
        http_refuse(r, code, err, 0);
    } else {
        http_no_content(r);
        (void)node_canonical(r->param[1], address);
        coordinator_index_add(&wrote,
                              gate_key(r->kind, address, key, sizeof(key)));
    }
    http_answer_write(r, &wrote);
}

/* Nobody needs the gate any more: it goes now, not when its time is over. */
void http_forget(struct http_request *r)
{
    const char *reason = http_query(r, "reason"), *who = http_query(r, "who");
    const struct engine_forget forget = {.address = r->param[1],
                                         .who = who != NULL ? who : "api",
                                         .reason =
                                             reason != NULL ? reason : ""};

    assert(r->handed);
    assert(r->kind != NODE_ALERT_SERVER);
    engine_forget(coordinator_engine(r->h->coordinator, r->kind), &forget,
                  forgotten, r);
}
