/*
 * answer.c - what answers look like: problems, lists, times, indexes.
 *
 * Every code that the API can say stands in one table with its status and
 * title; openapi.yaml lists the same ones.
 */
#include "http/http_priv.h"

#include "base/log.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_AFTER_MS  1000 /* of a 503 that does not know better */
#define RETRY_PERSON_MS 5000 /* of one that waits for a person */

static const struct problem {
    const char *code;
    unsigned status;
    const char *title;
} problems[] = {
    {"invalid", 400, "The request is malformed"},
    {"invalid_json", 400, "The body is not the JSON that was expected"},
    {"bad_uri", 400, "The path or the query holds a NUL or a blank"},
    {"epoch_required", 400, "This needs the epoch of the work item"},
    {"not_found", 404, "There is no such thing"},
    {"work_not_found", 404, "There is no such work item"},
    {"group_not_found", 404, "There is no such group"},
    {"no_owner", 404, "Nobody is known at this address"},
    {"method_not_allowed", 405, "This resource does not know the method"},
    {"request_timeout", 408, "The request did not arrive in time"},
    {"conflict", 409, "It was changed by somebody else"},
    {"id_conflict", 409, "This id stands for other work"},
    {"owner_not_up", 409, "The owner is not up, or takes no work"},
    {"owned_elsewhere", 409, "Another process owns this work"},
    {"stale_epoch", 409, "The work item has another epoch by now"},
    {"not_assigned", 409, "The work item is not assigned"},
    {"not_held", 409, "The work item is not held"},
    {"fenced", 409, "The work of this process was taken over"},
    {"address_taken", 409, "Another process is registered at this address"},
    {"gate_conflict", 409, "The order does not fit the state of the node"},
    {"alive", 409, "The node is alive"},
    {"running", 409, "A failover of this node is running"},
    {"finished", 409, "The failover is over"},
    {"not_ordered", 409, "Nobody ordered this failover"},
    {"cursor_gone", 410, "What the cursor names is not kept any more"},
    {"plan_changed", 412, "The plan has changed since"},
    {"too_large", 413, "It is too large"},
    {"uri_too_long", 414, "Path and query are too long"},
    {"unsupported_media_type", 415, "The body must be application/json"},
    {"invalid_value", 422, "A value is well-formed but impossible"},
    {"head_too_large", 431, "The headers are too large"},
    {"damaged", 500, "What stands in the registry makes no sense"},
    {"unreadable", 500, "What the registry holds of the node is unreadable"},
    {"internal", 500, "This should not happen; the log says more"},
    {"busy", 503, "Too much is under way at once; try again"},
    {"group_empty", 503, "Nobody in the group is alive"},
    {"all_busy", 503,
     "Everybody alive in the group is busy, closed, of weight 0 or excluded"},
    {"reports_old", 503,
     "Everybody alive in the group reported last too long ago"},
    {"not_synced", 503, "The registry has not told everything since the start"},
    {"session_lost", 503, "The session with the registry was lost"},
    {"not_yet", 503, "The write of this index is not shown here yet"},
    {"too_late", 503, "The request waited for longer than its lease"},
    {"too_many_waiting", 503, "Too many requests are waiting"},
    {"leaving", 503, "This coordinator is shutting down"},
    {"cancelled", 503, "This coordinator is shutting down"},
    {"outcome_unknown", 504, "Whether it was written is not known"},
};

/* Why the registry does not serve: registry/trouble.h */
static const struct problem troubles[] = {
#define X(id, name, heals, title, advice) {"registry_" name, 503, title},
    TROUBLES(X)
#undef X
};

static const struct problem *problem_find(const char *code)
{
    enum trouble t = registry_trouble_of_code(code);

    for (size_t i = 0; i < ARRAY_LEN(problems); i++)
        if (strcmp(problems[i].code, code) == 0)
            return &problems[i];
    return t != TROUBLE_NONE ? &troubles[t] : NULL;
}

/* Does nobody but a person end it? */
static bool needs_person(const char *code)
{
    enum trouble t = registry_trouble_of_code(code);

    return t != TROUBLE_NONE && t != TROUBLE_UNREACHABLE &&
           t != TROUBLE_NO_QUORUM && t != TROUBLE_THROTTLED &&
           t != TROUBLE_LOCKED;
}

struct buf *http_json(struct http_request *r, unsigned status)
{
    r->status = status;
    r->content_type = "application/json";
    buf_reset(&r->out);
    return &r->out;
}

void http_problem_open(struct http_request *r, const char *code,
                       const char *detail)
{
    const struct problem *p = problem_find(code);
    struct buf *b;

    if (p == NULL) {
        log_error("!http", LOG_S("reason", "a code without a status"),
                  LOG_S("code", code));
        p = problem_find("internal");
    }
    if (p->status == MHD_HTTP_SERVICE_UNAVAILABLE && r->retry_after_ms == 0)
        r->retry_after_ms =
            needs_person(code) ? RETRY_PERSON_MS : RETRY_AFTER_MS;
    b = http_json(r, p->status);
    r->content_type = "application/problem+json";
    json_open(b, NULL, '{');
    json_put_str(b, "type", "about:blank");
    json_put_str(b, "title", p->title);
    json_put_int(b, "status", p->status);
    json_put_str(b, "code", code);
    if (detail != NULL && detail[0] != '\0')
        json_put_str(b, "detail", detail);
}

void http_problem(struct http_request *r, const char *code, const char *fmt,
                  ...)
{
    char detail[512] = "";
    va_list args;

    va_start(args, fmt);
    if (fmt != NULL)
        (void)vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);
    http_problem_open(r, code, detail);
    json_close(&r->out, '}');
}

/* By the name that the registry's present trouble has, if it has more to say
 * than that it cannot be had. Loop. */
void http_refuse_open(struct http_request *r, const char *code, const char *msg)
{
    const char *const vague[] = {"registry_unavailable",
                                 registry_trouble_code(TROUBLE_FORBIDDEN),
                                 "session_lost"};
    struct registry_trouble t;
    char detail[2 * ERR_MSG_MAX];
    size_t i = 0;

    while (i < ARRAY_LEN(vague) && strcmp(vague[i], code) != 0)
        i++;
    if (i == ARRAY_LEN(vague) || !coordinator_trouble(r->h->coordinator, &t)) {
        http_problem_open(r, code, msg);
        return;
    }
    if (strstr(msg, t.detail) != NULL)
        snprintf(detail, sizeof(detail), "%s; %s", msg,
                 registry_trouble_advice(t.what));
    else
        snprintf(detail, sizeof(detail), "%s (%s); %s", msg, t.detail,
                 registry_trouble_advice(t.what));
    http_problem_open(
        r, t.what == TROUBLE_UNREACHABLE ? code : registry_trouble_code(t.what),
        detail);
}

void http_refuse(struct http_request *r, const char *code,
                 const struct err *err, int64_t retry_after_ms)
{
    /* an argument got here, so it was well-formed */
    if (strcmp(code, "invalid") == 0)
        code = "invalid_value";
    r->retry_after_ms = retry_after_ms;
    http_refuse_open(r, code, err->msg);
    json_close(&r->out, '}');
}

struct buf *http_list(struct http_request *r, const struct snapshot *s)
{
    struct buf *b = http_json(r, 200);

    json_open(b, NULL, '{');
    http_put_as_of(r->h, b, s);
    json_open(b, "items", '[');
    return b;
}

void http_list_end(struct http_request *r, const char *next)
{
    json_close(&r->out, ']');
    http_list_close(r, next);
}

void http_list_close(struct http_request *r, const char *next)
{
    json_put_str(&r->out, "next", next);
    if (r->index[0] != '\0')
        json_put_str(&r->out, "index", r->index);
    json_close(&r->out, '}');
}

void http_put_time(struct buf *b, const char *key, wall_ms at)
{
    char text[CLOCK_RFC3339_SIZE];

    json_put_str(b, key, at > 0 ? clock_rfc3339(at, text) : NULL);
}

bool http_stale(const struct http *h, const struct snapshot *s)
{
    return s->stale || loop_busy_ms(h->loop) > HTTP_LOOP_LATE_MS;
}

void http_put_as_of(const struct http *h, struct buf *b,
                    const struct snapshot *s)
{
    json_put_str(b, "as_of", s->as_of > 0 ? s->as_of_text : NULL);
    json_put_bool(b, "stale", http_stale(h, s));
}

void http_put_process(struct buf *b, const char *key, const struct process *p)
{
    if (!p->known) {
        json_put_null(b, key);
        return;
    }
    json_open(b, key, '{');
    if (p->created != 0)
        json_put_u64(b, "created", p->created);
    else
        json_put_null(b, "created"); /* its registration is not seen yet */
    json_put_int(b, "startupTime", p->startup_time);
    json_put_int(b, "processId", p->process_id);
    json_close(b, '}');
}

static void index_text(const struct http_request *r, uint64_t index,
                       char out[40])
{
    snprintf(out, 40, "%" PRIx64 "-%" PRIu64,
             coordinator_instance(r->h->coordinator), index);
}

void http_put_index(struct http_request *r, struct buf *b, uint64_t index)
{
    index_text(r, index, r->index);
    if (b != NULL)
        json_put_str(b, "index", r->index);
}

void http_put_work_index(struct http_request *r, struct buf *b, uint64_t index)
{
    char text[40];

    index_text(r, index, text);
    json_put_str(b, "work_index", text);
}

bool http_read_index(const struct http_request *r, const char *text,
                     uint64_t *out)
{
    const char *number = strchr(text, '-');
    uint64_t instance;
    char *end;

    if (number == NULL || text + strspn(text, "0123456789abcdef") != number)
        return false;
    instance = strtoull(text, &end, 16);
    return end == number &&
           instance == coordinator_instance(r->h->coordinator) &&
           units_uint(number + 1, UINT64_MAX, out, NULL) == 0;
}

void http_no_content(struct http_request *r)
{
    http_json(r, MHD_HTTP_NO_CONTENT);
    r->content_type = NULL;
}
