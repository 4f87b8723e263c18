/*
 * request.c - one request, as libmicrohttpd brings it and takes its answer.
 *
 * It calls http_line() with the first line, then http_serve() several times:
 * with the head, with pieces of the body, to be answered, and once more after
 * a suspended connection was resumed. A normal answer is never queued in the
 * call for the head: libmicrohttpd would close the connection after it, and a
 * client would pay a new one for every request.
 *
 * The memory of a request is used again for the next one of its thread; the
 * body of an answer that is not kept is sent from it, uncopied.
 */
#include "http/http_priv.h"

#include "base/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define KEEP_MAX    4096 /* bytes of a buffer that a spare request keeps */
#define SEND_PER_MS 64   /* bytes a client must take at least */

const char *const http_method_names[HTTP_METHODS] = {"GET", "PUT", "POST",
                                                     "DELETE", "PATCH"};

/* --- its memory ---------------------------------------------------------- */

static struct http_request *request_new(struct http *h,
                                        struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *conn = info->socket_context;
    struct http_thread *thread = http_thread(h);
    struct http_request *r = http_take_spare(thread);

    if (r == NULL) {
        r = mem_alloc(sizeof(*r));
        buf_init(&r->body, HTTP_BODY_MAX);
        buf_init(&r->out, HTTP_ANSWER_MAX);
    }
    memset(r, 0, offsetof(struct http_request, body));
    r->location[0] = r->etag[0] = r->index[0] = '\0';
    r->h = h;
    r->connection = connection;
    r->conn = conn;
    r->thread = thread;
    r->refs = 1;
    r->status = MHD_HTTP_OK;
    return r;
}

static void request_free(struct http_request *r)
{
    assert(r->kept == NULL);
    json_free(r->json);
    buf_close(&r->body);
    buf_close(&r->out);
    mem_free(r);
}

void http_release(struct http_request *r)
{
    if (__atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) == 0)
        request_free(r);
}

static void buf_keep(struct buf *b)
{
    if (b->cap > KEEP_MAX)
        buf_close(b);
    else
        buf_reset(b);
}

/* Its connection is done with it: keep the memory if nobody else has it. */
static void request_park(struct http_request *r)
{
    assert(r->thread != NULL);
    if (__atomic_load_n(&r->refs, __ATOMIC_ACQUIRE) > 1) {
        http_release(r);
        return;
    }
    json_free(r->json);
    r->json = NULL;
    buf_keep(&r->body);
    buf_keep(&r->out);
    if (!http_give_spare(r->thread, r))
        request_free(r);
}

/* --- its answer ---------------------------------------------------------- */

static void header(struct MHD_Response *response, const char *name,
                   const char *value)
{
    enum MHD_Result rc = MHD_add_response_header(response, name, value);

    assert(name != NULL);
    assert(value != NULL);
    assert(rc == MHD_YES);
    (void)rc;
}

static void header_allow(struct http_request *r, struct MHD_Response *response)
{
    char names[HTTP_METHODS_SIZE], text[sizeof(names) + 16];
    const char *rest = http_methods_text(r->allow, names);
    bool get = strncmp(rest, "GET", 3) == 0; /* the first of all */

    assert(get == ((r->allow >> HTTP_GET & 1u) != 0));
    snprintf(text, sizeof(text), "%s%s, OPTIONS", get ? "GET, HEAD" : "",
             get ? rest + 3 : rest);
    header(response, MHD_HTTP_HEADER_ALLOW, text);
}

static void rare_headers(struct http_request *r, struct MHD_Response *response)
{
    char text[32];

    assert(r->retry_after_ms >= 0);
    if (r->location[0] != '\0')
        header(response, MHD_HTTP_HEADER_LOCATION, r->location);
    if (r->etag[0] != '\0')
        header(response, MHD_HTTP_HEADER_ETAG, r->etag);
    if (r->index[0] != '\0')
        header(response, "X-Pelorus-Index", r->index);
    if (r->invisible)
        header(response, "X-Pelorus-Visible", "0");
    if (r->retry_after_ms > 0) {
        snprintf(text, sizeof(text), "%lld",
                 (long long)(r->retry_after_ms + 999) / 1000);
        header(response, MHD_HTTP_HEADER_RETRY_AFTER, text);
    }
    if (r->allow != 0)
        header_allow(r, response);
    if (r->close || __atomic_load_n(&r->h->stopping, __ATOMIC_ACQUIRE) != 0)
        header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}

void http_plain_headers(struct MHD_Response *response, const char *type)
{
    if (type != NULL)
        header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    header(response, "X-Content-Type-Options", "nosniff");
}

/* Has it the plain headers alone? */
static bool is_plain(const struct http_request *r)
{
    return r->content_type == http_type_json && r->location[0] == '\0' &&
           r->etag[0] == '\0' && r->index[0] == '\0' && !r->invisible &&
           r->retry_after_ms == 0 && r->allow == 0 && !r->close &&
           __atomic_load_n(&r->h->stopping, __ATOMIC_ACQUIRE) == 0;
}

/* Its answer, with a reference that is the caller's; NULL: no memory. */
static struct MHD_Response *response_new(struct http_request *r)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        r->out.len, r->out.len > 0 ? r->out.data : NULL,
        MHD_RESPMEM_PERSISTENT);

    assert(r->kept == NULL);
    if (response != NULL) {
        http_plain_headers(response, r->content_type);
        rare_headers(r, response);
    }
    return response;
}

static enum MHD_Result send_answer(struct http_request *r)
{
    struct MHD_Response *kept, *response = NULL;
    enum MHD_Result rc = MHD_NO;

    assert(r->status >= 200);
    assert(r->status < 600);
    if (r->out.overflow) {
        r->out.overflow = false;
        http_problem(r, PROBLEM_INTERNAL,
                     "the answer is too large; ask for less");
    }
    kept = is_plain(r) ? http_keep(r) : NULL;
    if (kept == NULL && (response = response_new(r)) == NULL)
        return MHD_NO;
    if (http_conn_deadline(r->conn, HTTP_SENDS, r->now,
                           r->h->conf->request_timeout_ms +
                               (int64_t)(r->out.len / SEND_PER_MS)))
        rc = MHD_queue_response(r->connection, r->status,
                                kept != NULL ? kept : response);
    if (rc == MHD_YES)
        http_count_answer(r->thread, r->status);
    MHD_destroy_response(response);
    return rc;
}

/* --- libmicrohttpd's calls ----------------------------------------------- */

void *http_line(void *arg, const char *uri, struct MHD_Connection *connection)
{
    struct http_request *r = request_new(arg, connection);

    r->fault = http_uri_fault(uri, &r->asks);
    http_conn_begins(r->conn);
    return r;
}

static enum MHD_Result begin(struct http_request *r, const char *path,
                             const char *method, const char *version)
{
    assert(!r->begun);
    r->begun = true;
    r->now = clock_mono_ms();
    http_count_in_flight(r->thread, 1);
    http_route(r, path, method);
    if (http_head_fits(r, version))
        return MHD_YES;
    r->close = true; /* nothing after this can be trusted */
    return send_answer(r);
}

/* The body comes in pieces. One that is too large is read to its end, within
 * reason: a client that still sends would not see the answer. */
static enum MHD_Result take_piece(struct http_request *r, const char *data,
                                  size_t size)
{
    assert(r->begun);
    assert(!r->handed);
    if (r->action != NULL && !r->body.overflow)
        buf_add(&r->body, data, size);
    if (r->action == NULL || r->body.overflow)
        r->drained += size;
    return r->drained > HTTP_BODY_DRAIN ? MHD_NO : MHD_YES;
}

void http_act(struct http_request *r)
{
    const struct http_action *a = r->action;

    assert(a != NULL);
    assert(!r->handed || r->passed_on != NULL);
    if (!http_params(r))
        return;
    if (a->members != NULL && a->members[0] != '\0' &&
        (!http_body(r, false) || !http_members(r, a->members)))
        return;
    if (a->handler != NULL)
        a->handler(r);
    else
        http_on_loop(r, a->on_loop);
}

static void handle(struct http_request *r)
{
    assert(r->begun);
    assert(!r->handed);
    assert(r->passed_on == NULL);
    if (r->has_body) { /* else that is said already */
        r->now = clock_mono_ms();
        (void)http_conn_deadline(r->conn, HTTP_SENDS, r->now, 0);
    }
    if (r->body.overflow) {
        http_problem(r, PROBLEM_TOO_LARGE, "a body takes at most %zu bytes",
                     HTTP_BODY_MAX);
        r->close = true;
    } else if (r->action != NULL && http_query_sound(r) &&
               (r->action->members != NULL || http_body_none(r)) &&
               !http_settles(r)) {
        http_act(r);
    }
}

enum MHD_Result http_serve(void *arg, struct MHD_Connection *connection,
                           const char *path, const char *method,
                           const char *version, const char *data, size_t *size,
                           void **slot)
{
    struct http_request *r = *slot;

    (void)arg;
    (void)connection;
    assert(r != NULL);
    if (!r->begun)
        return begin(r, path, method, version);
    if (*size > 0) {
        size_t n = *size;

        *size = 0;
        return take_piece(r, data, n);
    }
    if (!r->handed) {
        handle(r);
        if (r->handed)
            return MHD_YES; /* the loop has it: nothing of it is ours now */
    } else {
        r->now = clock_mono_ms();
    }
    return send_answer(r);
}

void http_completed(void *arg, struct MHD_Connection *connection, void **slot,
                    enum MHD_RequestTerminationCode why)
{
    struct http_request *r = *slot;
    struct http *h = arg;

    (void)connection;
    (void)why;
    if (r == NULL)
        return;
    *slot = NULL;
    (void)http_conn_deadline(r->conn, HTTP_ANSWERED, clock_mono_ms(),
                             h->conf->request_timeout_ms);
    if (r->begun)
        http_count_in_flight(r->thread, -1);
    http_keep_ended(r);
    request_park(r);
}
