/*
 * head.c - heads that two parsers could read differently are refused, and so
 * are those beyond the limits.
 *
 * libmicrohttpd takes Transfer-Encoding beside Content-Length, repeated
 * Content-Length or Host, and blanks before a colon; a proxy in front may see
 * another request in the same bytes. What it refuses itself (a line that is
 * none, more than its memory) it answers with a page of its own, and some of
 * it with the head twice: what is asked here comes before that (no Host), and
 * our limits are below its memory, so that such answers of ours are problems
 * like all others.
 */
#include "http/http_priv.h"

#include <stdlib.h>
#include <string.h>

enum { HOST, AUTHORIZATION, LENGTH, ENCODING, ONCE };
static const struct {
    const char *name;
    size_t len;
} once[ONCE] = {{"Host", 4},
                {"Authorization", 13},
                {"Content-Length", 14},
                {"Transfer-Encoding", 17}};

struct head {
    unsigned times[ONCE];
    const char *value[ONCE]; /* NULL: it is not there, or without one */
    bool bad_name, needs_host;
    size_t size;
};

static enum MHD_Result look_at(void *arg, enum MHD_ValueKind kind,
                               const char *name, const char *value)
{
    struct head *head = arg;
    size_t n = strlen(name);

    (void)kind;
    head->size += n + (value != NULL ? strlen(value) : 0) + 4;
    if (n == 0 || name[n - 1] == ' ' || name[n - 1] == '\t')
        head->bad_name = true;
    for (int i = 0; i < ONCE; i++)
        if (n == once[i].len && strcasecmp(name, once[i].name) == 0) {
            head->times[i]++;
            head->value[i] = value;
        }
    return MHD_YES;
}

static const char *head_fault(const struct head *h)
{
    if (h->bad_name)
        return "a header's name is empty or ends with a blank";
    if (h->times[HOST] == 0 && h->needs_host)
        return "a request of HTTP/1.1 has a Host";
    for (int i = 0; i < ONCE; i++)
        if (h->times[i] > 1)
            return "Host, Content-Length, Transfer-Encoding and Authorization "
                   "may stand once";
    if (h->times[ENCODING] > 0 && h->times[LENGTH] > 0)
        return "Transfer-Encoding and Content-Length exclude each other";
    if (h->times[ENCODING] > 0 &&
        (h->value[ENCODING] == NULL ||
         strcasecmp(h->value[ENCODING], "chunked") != 0))
        return "the only Transfer-Encoding taken is chunked";
    return NULL;
}

bool http_head_fits(struct http_request *r, const char *version)
{
    struct head head = {.needs_host =
                            strcmp(version, MHD_HTTP_VERSION_1_0) != 0};
    const char *fault, *said;
    uint64_t length;
    bool body;

    assert(r->begun);
    assert(!r->handed);
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, look_at, &head);
    fault = head_fault(&head);
    said = head.value[LENGTH]; /* libmicrohttpd made sure: a number */
    length = said != NULL ? strtoull(said, NULL, 10) : 0;
    body = head.times[ENCODING] > 0 || length > 0;
    if (fault == NULL && r->action != NULL && r->bodiless && body)
        fault = "this method takes no body";
    if (r->fault != PROBLEM_NONE)
        return http_problem(r, r->fault, NULL);
    if (fault != NULL)
        return http_problem(r, PROBLEM_INVALID, "%s", fault);
    if (head.size > HTTP_HEAD_MAX)
        return http_problem(r, PROBLEM_HEAD_TOO_LARGE,
                            "headers take at most %zu bytes", HTTP_HEAD_MAX);
    if (length > HTTP_BODY_DRAIN)
        return http_problem(r, PROBLEM_TOO_LARGE,
                            "a body takes at most %zu bytes", HTTP_BODY_MAX);
    /* without a body the answer follows at once */
    r->has_body = body;
    (void)http_conn_deadline(r->conn, body ? HTTP_RECEIVES : HTTP_SENDS, r->now,
                             body ? r->h->conf->request_timeout_ms : 0);
    return true;
}

/* A NUL would end the path for us, and not for others; a blank ends the target
 * for others, and not for the library. */
enum problem http_uri_fault(const char *uri, bool *asks)
{
    const size_t n = strnlen(uri, HTTP_URI_MAX + 1);
    unsigned bad = 0;

    for (size_t i = 0; i < n; i++)
        bad |= (unsigned)((unsigned char)uri[i] <= ' ') |
               (unsigned)(uri[i] == '\177');
    *asks = memchr(uri, '?', n) != NULL;
    if (n > HTTP_URI_MAX)
        return PROBLEM_URI_TOO_LONG;
    return bad != 0 ||
                   (memchr(uri, '%', n) != NULL && strstr(uri, "%00") != NULL)
               ? PROBLEM_BAD_URI
               : PROBLEM_NONE;
}
