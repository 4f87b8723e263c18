/*
 * answer.c - what answers look like: problems, lists, times, indexes.
 * What can be wrong stands with status and title in cluster/problem.h.
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

const char http_type_json[] = "application/json";

struct buf *http_json(struct http_request *r, unsigned status)
{
    assert(status >= 200);
    assert(status < 600);
    r->status = status;
    r->content_type = http_type_json;
    buf_reset(&r->out);
    return &r->out;
}

struct buf *http_object(struct http_request *r, unsigned status)
{
    struct buf *b = http_json(r, status);

    json_open(b, NULL, '{');
    return b;
}

void http_problem_open(struct http_request *r, enum problem code,
                       const char *detail)
{
    enum problem_retry retry = problem_retry(code);
    struct buf *b = http_object(r, problem_status(code));

    assert(code != PROBLEM_NONE);
    if (retry != PROBLEM_RETRY_NEVER && r->retry_after_ms == 0)
        r->retry_after_ms =
            retry == PROBLEM_RETRY_PERSON ? RETRY_PERSON_MS : RETRY_AFTER_MS;
    r->content_type = "application/problem+json";
    json_put_str(b, "type", "about:blank");
    json_put_str(b, "title", problem_title(code));
    json_put_int(b, "status", r->status);
    json_put_str(b, "code", problem_code(code));
    if (detail != NULL && detail[0] != '\0')
        json_put_str(b, "detail", detail);
}

bool http_problem(struct http_request *r, enum problem code, const char *fmt,
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
    return false;
}

/* Does it say of the registry no more than that it cannot be had? */
static bool is_vague(enum problem code)
{
    return code == PROBLEM_TROUBLE_UNREACHABLE ||
           code == PROBLEM_TROUBLE_FORBIDDEN || code == PROBLEM_SESSION_LOST;
}

void http_refuse_open(struct http_request *r, enum problem code,
                      const char *msg)
{
    struct registry_trouble t;
    char detail[2 * ERR_MSG_MAX];

    assert(code != PROBLEM_NONE);
    assert(msg != NULL);
    if (!is_vague(code) || !coordinator_trouble(r->h->coordinator, &t)) {
        http_problem_open(r, code, msg);
        return;
    }
    if (strstr(msg, t.detail) != NULL)
        snprintf(detail, sizeof(detail), "%s; %s", msg,
                 registry_trouble_texts[t.what].advice);
    else
        snprintf(detail, sizeof(detail), "%s (%s); %s", msg, t.detail,
                 registry_trouble_texts[t.what].advice);
    if (t.what != TROUBLE_UNREACHABLE)
        code = problem_of_trouble(t.what);
    http_problem_open(r, code, detail);
}

void http_refuse(struct http_request *r, enum problem code,
                 const struct err *err, int64_t retry_after_ms)
{
    assert(code != PROBLEM_NONE);
    assert(retry_after_ms >= 0);
    /* an argument got here, so it was well-formed */
    if (code == PROBLEM_INVALID)
        code = PROBLEM_INVALID_VALUE;
    r->retry_after_ms = retry_after_ms;
    http_refuse_open(r, code, err->msg);
    json_close(&r->out, '}');
}

struct buf *http_list(struct http_request *r, const struct snapshot *s)
{
    struct buf *b = http_object(r, 200);

    if (s != NULL)
        http_put_as_of(r->h, b, s);
    else
        http_put_as_of_now(r, b);
    json_open(b, "items", '[');
    return b;
}

void http_list_end(struct http_request *r, const char *next)
{
    assert(r->out.len > 0 || r->out.overflow);
    assert(r->status == 200);
    json_close(&r->out, ']');
    http_list_close(r, next);
}

void http_list_close(struct http_request *r, const char *next)
{
    assert(r->status == 200);
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

void http_put_text(struct buf *b, const char *key, const char *text)
{
    json_put_str(b, key, text != NULL && text[0] != '\0' ? text : NULL);
}

void http_put_list(struct buf *b, const char *key, const char *const *texts,
                   size_t n)
{
    assert(n == 0 || texts != NULL);
    json_open(b, key, '[');
    for (size_t i = 0; i < n; i++)
        json_put_str(b, NULL, texts[i]);
    json_close(b, ']');
}

bool http_stale(const struct http *h, const struct snapshot *s)
{
    return s->stale || loop_busy_ms(h->loop) > HTTP_LOOP_LATE_MS;
}

#define RFC3339_LEN 24 /* of the years up to 9999 */

/* They are in nearly every answer: in one piece. NULL: there is none yet. */
static void put_as_of(struct buf *b, const char *text, bool stale)
{
    static const char key[] = "\"as_of\":\"", next[] = "\",\"stale\":";
    const size_t n = sizeof(key) - 1, t = RFC3339_LEN;
    char *to = buf_room(b, n + t + sizeof(next) + 8);

    if (to == NULL || text == NULL) {
        json_put_str(b, "as_of", text);
        json_put_bool(b, "stale", stale);
        return;
    }
    assert(text[t - 1] == 'Z');
    if (b->len > 0 && to[-1] != '{')
        *to++ = ',';
    memcpy(to, key, n);
    memcpy(to + n, text, t);
    memcpy(to + n + t, next, sizeof(next) - 1);
    to += n + t + sizeof(next) - 1;
    memcpy(to, stale ? "true" : "false", 5);
    buf_wrote(b, to + (stale ? 4 : 5));
}

void http_put_as_of(const struct http *h, struct buf *b,
                    const struct snapshot *s)
{
    put_as_of(b, s->as_of > 0 ? s->as_of_text : NULL, http_stale(h, s));
}

void http_put_as_of_now(const struct http_request *r, struct buf *b)
{
    const struct http *h = r->h;
    char own[CLOCK_RFC3339_SIZE];
    bool stale;
    wall_ms as_of = coordinator_as_of(h->coordinator, &stale);
    const char *text = as_of <= 0  ? NULL
                       : r->handed ? clock_rfc3339(as_of, own)
                                   : http_as_of_text(r->thread, as_of);

    stale |= loop_late_ms(h->loop, r->handed ? clock_mono_ms() : r->now) >
             HTTP_LOOP_LATE_MS;
    put_as_of(b, text, stale);
}

void http_put_u64(struct buf *b, const char *key, uint64_t value)
{
    if (value != 0)
        json_put_u64(b, key, value);
    else
        json_put_null(b, key);
}

bool http_put_object(struct buf *b, const char *key, bool there)
{
    if (there)
        json_open(b, key, '{');
    else
        json_put_null(b, key);
    return there;
}

void http_put_waits(struct buf *b, const char *holder, wall_ms since)
{
    bool unnamed = holder != NULL && holder[0] == '\0';

    json_put_str(b, "waits_for", unnamed ? "unknown" : holder);
    http_put_time(b, "waits_since", holder != NULL ? since : 0);
}

void http_put_process(struct buf *b, const char *key, const struct process *p)
{
    if (!http_put_object(b, key, p->known))
        return;
    http_put_u64(b, "created", p->created); /* 0: not seen yet */
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

    assert(text != NULL);
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
