/*
 * best.c - GET /v1/workers/best, and what became of a pick.
 *
 * The hot path: a pick and a body formatted straight into a buffer, no loop,
 * no snapshot but for `stale`, no JSON tree.
 */
#include "http/http_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXCLUDE_TEXT_MAX 8192

static void put_pick(struct buf *b, const char *key, pick_id pick)
{
    char text[24];

    if (pick == 0) {
        json_put_null(b, key);
        return;
    }
    snprintf(text, sizeof(text), "%016" PRIx64, pick);
    json_put_str(b, key, text);
}

/* Repeated or separated by commas: exclude=a,b&exclude=c. */
struct excluded {
    struct balancer_request *to;
    char text[EXCLUDE_TEXT_MAX];
    size_t used;
    bool too_many;
};

static enum MHD_Result add_excluded(void *arg, enum MHD_ValueKind kind,
                                    const char *name, const char *value)
{
    struct excluded *e = arg;

    (void)kind;
    if (value == NULL || strcmp(name, "exclude") != 0)
        return MHD_YES;
    while (*value != '\0') {
        size_t n = strcspn(value, ",");

        if (n > 0 && (e->to->n_exclude == BALANCER_EXCLUDE_MAX ||
                      e->used + n + 1 > sizeof(e->text))) {
            e->too_many = true;
            return MHD_NO;
        }
        if (n > 0) {
            memcpy(e->text + e->used, value, n);
            e->text[e->used + n] = '\0';
            e->to->exclude[e->to->n_exclude++] = e->text + e->used;
            e->used += n + 1;
        }
        value += n + (value[n] == ',');
    }
    return MHD_YES;
}

static void put_stale(struct http_request *r, struct buf *b)
{
    struct snapshot *s = coordinator_snapshot(r->h->coordinator);

    http_put_as_of(b, s);
    snapshot_release(&s);
}

static void answer_one(struct http_request *r, const char *group,
                       const struct balancer_request *ask,
                       const struct balancer_answer *got)
{
    struct buf *b = http_json(r, 200);

    json_open(b, NULL, '{');
    json_put_str(b, "group", group);
    json_put_str(b, "address", got->picks[0].address);
    put_pick(b, "pick", got->picks[0].pick);
    json_put_num(b, "score", got->picks[0].score);
    json_open(b, "alternates", '[');
    for (size_t i = 0; i < got->n_alternates; i++)
        json_put_str(b, NULL, got->alternates[i]);
    json_close(b, ']');
    if (got->degraded)
        json_put_bool(b, "degraded", true);
    if (http_flag(r, "explain")) {
        struct buf why;

        buf_init(&why, HTTP_ANSWER_MAX);
        balancer_explain(r->h->balancer, ask, &why);
        json_put_raw(b, "candidates", buf_text(&why));
        buf_close(&why);
    }
    put_stale(r, b);
    json_close(b, '}');
}

static void answer_many(struct http_request *r, const char *group,
                        const struct balancer_answer *got)
{
    struct buf *b = http_json(r, 200);

    json_open(b, NULL, '{');
    json_put_str(b, "group", group);
    json_open(b, "picks", '[');
    for (size_t i = 0; i < got->n_picks; i++) {
        json_open(b, NULL, '{');
        json_put_str(b, "address", got->picks[i].address);
        put_pick(b, "pick", got->picks[i].pick);
        json_put_num(b, "score", got->picks[i].score);
        json_close(b, '}');
    }
    json_close(b, ']');
    if (got->degraded)
        json_put_bool(b, "degraded", true);
    put_stale(r, b);
    json_close(b, '}');
}

/* An empty answer says why, and per worker too. */
static void answer_none(struct http_request *r, const char *group,
                        const struct balancer_request *ask,
                        const struct balancer_answer *got)
{
    struct buf why;
    char detail[192];

    if (got->code == BALANCER_GROUP_NOT_FOUND)
        snprintf(detail, sizeof(detail), "no group %s; GET /v1/groups lists "
                 "them", group);
    else if (got->code == BALANCER_GROUP_EMPTY)
        snprintf(detail, sizeof(detail), "no live worker in group %s", group);
    else
        snprintf(detail, sizeof(detail),
                 "every worker of group %s is busy, closed or excluded; "
                 "`candidates` says why", group);
    http_problem_open(r, balancer_code_name(got->code), detail);
    if (got->code == BALANCER_ALL_BUSY) {
        buf_init(&why, HTTP_ANSWER_MAX);
        balancer_explain(r->h->balancer, ask, &why);
        json_put_raw(&r->out, "candidates", buf_text(&why));
        buf_close(&why);
    }
    if (r->status == 503)
        r->retry_after_ms =
            got->retry_after_ms > 0 ? got->retry_after_ms : 1000;
    put_stale(r, &r->out);
    json_close(&r->out, '}');
}

static void pick_into(struct http_request *r, struct balancer_request *ask,
                      struct balancer_pick *picks, bool many)
{
    const char *group = ask->group != NULL ? ask->group : "default";
    struct balancer_answer got = {.picks = picks};

    balancer_pick(r->h->balancer, ask, &got);
    if (got.code != BALANCER_OK)
        answer_none(r, group, ask, &got);
    else if (many)
        answer_many(r, group, &got);
    else
        answer_one(r, group, ask, &got);
}

void http_best_get(struct http_request *r)
{
    struct balancer_request ask = {.count = 1, .now = clock_mono_ms()};
    const char *group = http_query(r, "group");
    char clean[NODE_GROUP_MAX + 1];
    struct balancer_pick one, *many;
    struct excluded excluded;
    int64_t count = 0;
    struct err err;

    if (!http_query_int(r, "count", 1, BALANCER_COUNT_MAX, &count))
        return;
    if (group != NULL && node_clean_group(group, clean, &err) != 0) {
        http_problem(r, "invalid", "query parameter group: %s", err.msg);
        return;
    }
    ask.group = group != NULL ? clean : NULL;
    ask.affinity = http_query(r, "affinity");
    ask.peek = r->head || http_flag(r, "peek");
    if (http_query(r, "exclude") != NULL) {
        excluded.to = &ask;
        excluded.used = 0;
        excluded.too_many = false;
        MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND,
                                  add_excluded, &excluded);
        if (excluded.too_many) {
            http_problem(r, "invalid",
                         "query parameter exclude: at most %d addresses",
                         BALANCER_EXCLUDE_MAX);
            return;
        }
    }
    if (count == 0) {
        pick_into(r, &ask, &one, false);
        return;
    }
    ask.count = (uint32_t)count;
    many = mem_array((size_t)count, sizeof(*many));
    pick_into(r, &ask, many, true);
    mem_free(many);
}

/* 204 always: a pick that nobody remembers is counted, not complained about. */
static void pick_ended(struct http_request *r,
                       bool (*tell)(struct balancer *b, pick_id pick))
{
    char *end;
    uint64_t pick = strtoull(r->param[0], &end, 16);

    if (*end != '\0' || pick == 0 || strlen(r->param[0]) > 16) {
        http_problem(r, "invalid", "a pick is what workers/best said in `pick`");
        return;
    }
    (void)tell(r->h->balancer, pick);
    http_json(r, 204);
    r->content_type = NULL;
}

void http_pick_done(struct http_request *r)
{
    pick_ended(r, balancer_done);
}

void http_pick_refused(struct http_request *r)
{
    pick_ended(r, balancer_refused);
}
