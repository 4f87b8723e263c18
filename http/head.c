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

#include <string.h>

struct head {
    unsigned host, length, encoding, authorization;
    bool chunked_only, bad_name, needs_host;
    const char *length_text;
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
    switch (n) {
    case 4:
        head->host += strcasecmp(name, "Host") == 0;
        break;
    case 13:
        head->authorization += strcasecmp(name, "Authorization") == 0;
        break;
    case 14:
        if (strcasecmp(name, "Content-Length") == 0) {
            head->length++;
            head->length_text = value;
        }
        break;
    case 17:
        if (strcasecmp(name, "Transfer-Encoding") == 0) {
            head->encoding++;
            head->chunked_only =
                value != NULL && strcasecmp(value, "chunked") == 0;
        }
        break;
    default:
        break;
    }
    return MHD_YES;
}

static const char *head_fault(const struct head *h)
{
    if (h->bad_name)
        return "a header's name is empty or ends with a blank";
    if (h->host == 0 && h->needs_host)
        return "a request of HTTP/1.1 has a Host";
    if (h->host > 1 || h->length > 1 || h->encoding > 1 || h->authorization > 1)
        return "Host, Content-Length, Transfer-Encoding and Authorization may "
               "stand once";
    if (h->encoding > 0 && h->length > 0)
        return "Transfer-Encoding and Content-Length exclude each other";
    if (h->encoding > 0 && !h->chunked_only)
        return "the only Transfer-Encoding taken is chunked";
    return NULL;
}

/* libmicrohttpd made sure that it is a number. */
static uint64_t body_length(const struct head *h)
{
    const char *p = h->length_text != NULL ? h->length_text : "0";
    uint64_t n = 0;

    assert(h->length_text == NULL || h->length > 0);
    for (; *p >= '0' && *p <= '9'; p++)
        n = n < UINT64_MAX / 100 ? n * 10 + (uint64_t)(*p - '0') : n;
    return n;
}

bool http_head_fits(struct http_request *r, const char *version)
{
    struct head head = {.needs_host =
                            strcmp(version, MHD_HTTP_VERSION_1_0) != 0};
    const char *fault;
    uint64_t length;

    assert(r->begun);
    assert(!r->handed);
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, look_at, &head);
    fault = head_fault(&head);
    length = body_length(&head);
    if (fault == NULL && r->handler != NULL && r->bodiless &&
        (head.encoding > 0 || length > 0))
        fault = "this method takes no body";
    if (r->fault != PROBLEM_NONE)
        http_problem(r, r->fault, NULL);
    else if (fault != NULL)
        http_problem(r, PROBLEM_INVALID, "%s", fault);
    else if (head.size > HTTP_HEAD_MAX)
        http_problem(r, PROBLEM_HEAD_TOO_LARGE,
                     "headers take at most %zu bytes", HTTP_HEAD_MAX);
    else if (length > HTTP_BODY_DRAIN)
        http_problem(r, PROBLEM_TOO_LARGE, "a body takes at most %zu bytes",
                     HTTP_BODY_MAX);
    else {
        bool body = head.encoding > 0 || length > 0;

        /* without a body the answer follows at once */
        (void)http_conn_deadline(r->conn, body ? HTTP_RECEIVES : HTTP_SENDS,
                                 body ? r->h->conf->request_timeout_ms : 0);
        return true;
    }
    return false;
}

/* A NUL would end the path for us, and not for others; a blank ends the target
 * for others, and not for the library. */
enum problem http_uri_fault(const char *uri)
{
    if (strnlen(uri, HTTP_URI_MAX + 1) > HTTP_URI_MAX)
        return PROBLEM_URI_TOO_LONG;
    for (const char *p = uri; *p != '\0'; p++)
        if ((unsigned char)*p <= ' ' || *p == '\177')
            return PROBLEM_BAD_URI;
    return strstr(uri, "%00") != NULL ? PROBLEM_BAD_URI : PROBLEM_NONE;
}
