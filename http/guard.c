/*
 * guard.c - what keeps bad clients out: heads that two parsers could read
 * differently, and connections that are slow on purpose.
 *
 * libmicrohttpd's timeout starts again with every byte, so a byte every few
 * seconds would keep a connection for days. Here each connection has a time by
 * which it must have finished what it is doing; a walk once a second shuts
 * down the late ones. A connection that waits for us has no such time. The
 * list is under one mutex ("sockets"), held for a few loads.
 */
#include "http/http_priv.h"

#include "base/locks.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#define HEAD_MS 30000 /* idle and head together; MHD ends idle ones earlier */
#define BODY_MS 30000

struct http_conn {
    int fd;
    mono_ms since;
    enum http_phase phase;
    bool shut;
    struct http_conn *next, *prev;
};

struct http_guard {
    pthread_mutex_t mutex; /* "sockets" in base/locks.h */
    struct http_conn *list;
};

struct http_guard *http_guard_new(void)
{
    struct http_guard *g = mem_zalloc(sizeof(*g));
    int rc = pthread_mutex_init(&g->mutex, NULL);

    assert(rc == 0);
    (void)rc;
    return g;
}

void http_guard_free(struct http_guard **g)
{
    if (*g == NULL)
        return;
    assert((*g)->list == NULL);
    pthread_mutex_destroy(&(*g)->mutex);
    MEM_FREE(*g);
}

struct http_conn *http_guard_add(struct http_guard *g, int fd)
{
    struct http_conn *conn = mem_zalloc(sizeof(*conn));

    conn->fd = fd;
    conn->since = clock_mono_ms();
    lock_acquire(&g->mutex);
    DL_APPEND(g->list, conn);
    lock_release(&g->mutex);
    return conn;
}

void http_guard_remove(struct http_guard *g, struct http_conn *conn)
{
    lock_acquire(&g->mutex);
    DL_DELETE(g->list, conn);
    lock_release(&g->mutex);
    mem_free(conn);
}

/* The two fields are read by the reaper only as a hint of when to look; a
 * stale one costs a client a second, so plain atomics do. */
void http_guard_phase(struct http_guard *g, struct http_conn *conn,
                      enum http_phase phase)
{
    (void)g;
    if (phase != HTTP_PHASE_ANSWER)
        __atomic_store_n(&conn->since, clock_mono_ms(), __ATOMIC_RELAXED);
    __atomic_store_n(&conn->phase, phase, __ATOMIC_RELEASE);
}

void http_guard_reap(struct http_guard *g)
{
    mono_ms now = clock_mono_ms();
    struct http_conn *conn;

    lock_acquire(&g->mutex);
    DL_FOREACH (g->list, conn) {
        enum http_phase phase = __atomic_load_n(&conn->phase, __ATOMIC_ACQUIRE);
        mono_ms age = now - __atomic_load_n(&conn->since, __ATOMIC_RELAXED);

        if (conn->shut || phase == HTTP_PHASE_ANSWER)
            continue;
        if (age > (phase == HTTP_PHASE_HEAD ? HEAD_MS : BODY_MS)) {
            conn->shut = true;
            (void)shutdown(conn->fd, SHUT_RDWR);
        }
    }
    lock_release(&g->mutex);
}

/* --- heads --------------------------------------------------------------------- */

struct head {
    unsigned host, length, encoding, authorization;
    bool chunked_only, blank_name;
};

static enum MHD_Result look_at(void *arg, enum MHD_ValueKind kind,
                               const char *name, const char *value)
{
    struct head *head = arg;
    size_t n = strlen(name);

    (void)kind;
    if (n > 0 && (name[n - 1] == ' ' || name[n - 1] == '\t'))
        head->blank_name = true;
    switch (n) {
    case 4:
        head->host += strcasecmp(name, "Host") == 0;
        break;
    case 13:
        head->authorization += strcasecmp(name, "Authorization") == 0;
        break;
    case 14:
        head->length += strcasecmp(name, "Content-Length") == 0;
        break;
    case 17:
        if (strcasecmp(name, "Transfer-Encoding") == 0) {
            head->encoding++;
            head->chunked_only = strcasecmp(value, "chunked") == 0;
        }
        break;
    default:
        break;
    }
    return MHD_YES;
}

static const char *head_fault(const struct head *h)
{
    if (h->blank_name)
        return "a header's name ends with a blank";
    if (h->host > 1 || h->length > 1 || h->encoding > 1 ||
        h->authorization > 1)
        return "a header that may stand once stands twice";
    if (h->encoding > 0 && h->length > 0)
        return "Transfer-Encoding and Content-Length exclude each other";
    if (h->encoding > 0 && !h->chunked_only)
        return "the only Transfer-Encoding taken is chunked";
    return NULL;
}

bool http_guard_head(struct http_request *r)
{
    struct head head = {0};
    const char *fault, *length;

    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, look_at, &head);
    fault = head_fault(&head);
    if (fault == NULL && r->method == HTTP_GET && head.encoding > 0)
        fault = "this method takes no body";
    if (fault != NULL) {
        http_problem(r, "invalid", "%s", fault);
        return false;
    }
    if (head.length == 0)
        return true;
    length = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND,
                                         MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (r->method == HTTP_GET && length != NULL && strcmp(length, "0") != 0) {
        http_problem(r, "invalid", "this method takes no body");
        return false;
    }
    if (length != NULL && (strlen(length) > 8 ||
                           strtoull(length, NULL, 10) > HTTP_BODY_MAX)) {
        http_problem(r, "too_large", "a body takes at most %d bytes",
                     HTTP_BODY_MAX);
        return false;
    }
    return true;
}
