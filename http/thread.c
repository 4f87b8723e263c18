/*
 * thread.c - what each of libmicrohttpd's threads has for itself: its counts,
 * and answers to be given again.
 *
 * A counter that all threads write moves its cache line from core to core with
 * every request; here each writes its own, and who reads adds them up.
 *
 * A response of the library is a dozen pieces of memory: three for each header.
 * Most answers differ in nothing but their body, and a body's bytes may change
 * between two uses, though its length may not. So responses are kept by the
 * length of their bodies, and the next answer of that length is copied into
 * one. It is one request's at a time, from http_keep() until the library has
 * done with that request; then it says so, and drops its own reference before
 * it calls again.
 *
 * A request's own memory is the thread's, too: what was used last is still near
 * the processor, whichever connection asks next.
 *
 * Their Date is theirs, too: written once a second, where the library would
 * take a lock of the C library for each answer.
 */
#include "http/http_priv.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define KEPT_BODY_MAX 512 /* longer ones are not kept */
/* A thread answers one after the other, so one of a length is mostly enough;
 * more wait while clients take theirs slowly. */
#define KEPT_EACH 2
#define SPARE_MAX 64 /* requests: those of clients that are slow, mostly */
#define DATE_SIZE 32

struct http_kept {
    struct http_kept *next;
    struct http_thread *thread;
    struct MHD_Response *response;
    int64_t date; /* seconds of the wall clock, as its header says */
    uint32_t len;
    char body[];
};

struct http_thread {
    struct http_thread *next; /* of h->threads */
    /* written by it alone, read by any: atomics */
    int in_flight; /* requests begun and not completed */
    uint64_t answered[HTTP_STATUS_END - HTTP_STATUS_FIRST];
    /* its own */
    struct http_request *spare_request; /* by `next` */
    int n_spare_request;
    int64_t date;
    char date_text[DATE_SIZE];
    wall_ms as_of;
    char as_of_text[CLOCK_RFC3339_SIZE];
    uint8_t n_spare[KEPT_BODY_MAX + 1]; /* by their length */
    struct http_kept *spare[KEPT_BODY_MAX + 1];
};

/* It serves one daemon, and ends before that daemon's `struct http` does. */
static _Thread_local struct http_thread *mine;

struct http_thread *http_thread(struct http *h)
{
    struct http_thread *t = mine;

    if (t != NULL)
        return t;
    t = mem_lines(sizeof(*t));
    memset(t, 0, sizeof(*t));
    t->next = __atomic_load_n(&h->threads, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&h->threads, &t->next, t, true,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        continue;
    mine = t;
    return t;
}

/* Called by the library with a body, when nobody has its response any more. */
static void body_free(void *body)
{
    mem_free((char *)body - offsetof(struct http_kept, body));
}

void http_threads_free(struct http *h)
{
    while (h->threads != NULL) {
        struct http_thread *t = h->threads;

        assert(t->in_flight == 0);
        h->threads = t->next;
        for (size_t len = 0; len <= KEPT_BODY_MAX; len++)
            while (t->spare[len] != NULL) {
                struct http_kept *k = t->spare[len];

                t->spare[len] = k->next;
                MHD_destroy_response(k->response);
            }
        while (t->spare_request != NULL)
            http_release(http_take_spare(t));
        mem_free(t);
    }
}

/* --- memory of requests -------------------------------------------------- */

struct http_request *http_take_spare(struct http_thread *t)
{
    struct http_request *r = t->spare_request;

    assert((r == NULL) == (t->n_spare_request == 0));
    if (r != NULL) {
        t->spare_request = r->next;
        t->n_spare_request--;
    }
    return r;
}

bool http_give_spare(struct http_thread *t, struct http_request *r)
{
    assert(r->refs == 1);
    assert(r->kept == NULL);
    if (t->n_spare_request == SPARE_MAX)
        return false;
    r->next = t->spare_request;
    t->spare_request = r;
    t->n_spare_request++;
    return true;
}

/* --- counts -------------------------------------------------------------- */

/* No other thread writes: a plain step, that others see whole. (At the end the
 * one that stops the daemon does, when these threads have ended.) */
void http_count_in_flight(struct http_thread *t, int step)
{
    int n = __atomic_load_n(&t->in_flight, __ATOMIC_RELAXED) + step;

    assert(n >= 0);
    __atomic_store_n(&t->in_flight, n, __ATOMIC_RELEASE);
}

void http_count_answer(struct http_thread *t, unsigned status)
{
    uint64_t *n = &t->answered[status - HTTP_STATUS_FIRST];

    assert(status >= HTTP_STATUS_FIRST && status < HTTP_STATUS_END);
    __atomic_store_n(n, __atomic_load_n(n, __ATOMIC_RELAXED) + 1,
                     __ATOMIC_RELAXED);
}

int http_in_flight(const struct http *h)
{
    int n = 0;

    for (const struct http_thread *t =
             __atomic_load_n(&h->threads, __ATOMIC_ACQUIRE);
         t != NULL; t = t->next)
        n += __atomic_load_n(&t->in_flight, __ATOMIC_ACQUIRE);
    return n;
}

uint64_t http_answered(const struct http *h, unsigned status)
{
    uint64_t n = 0;

    assert(status >= HTTP_STATUS_FIRST && status < HTTP_STATUS_END);
    for (const struct http_thread *t =
             __atomic_load_n(&h->threads, __ATOMIC_ACQUIRE);
         t != NULL; t = t->next)
        n += __atomic_load_n(&t->answered[status - HTTP_STATUS_FIRST],
                             __ATOMIC_RELAXED);
    return n;
}

/* --- answers given again ------------------------------------------------- */

/* RFC 9110, 5.6.7, whatever the locale. */
static void write_date(char out[DATE_SIZE], time_t at)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm;

    (void)gmtime_r(&at, &tm);
    (void)snprintf(out, DATE_SIZE, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
                   days + (ptrdiff_t)3 * tm.tm_wday, (unsigned)tm.tm_mday % 100,
                   months + (ptrdiff_t)3 * tm.tm_mon,
                   (unsigned)(tm.tm_year + 1900) % 10000,
                   (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
                   (unsigned)tm.tm_sec % 100);
}

const char *http_as_of_text(struct http_thread *t, wall_ms as_of)
{
    assert(as_of > 0);
    if (t->as_of != as_of) {
        (void)clock_rfc3339(as_of, t->as_of_text);
        t->as_of = as_of;
    }
    return t->as_of_text;
}

/* False: there is no memory for it. */
static bool set_date(struct http_thread *t, struct http_kept *k)
{
    time_t now = (time_t)clock_wall_s();
    const char *old;

    if (k->date == now)
        return true;
    if (t->date != now) {
        write_date(t->date_text, now);
        t->date = now;
    }
    /* before 0.9.74 the library would add a second one */
    old = MHD_get_response_header(k->response, MHD_HTTP_HEADER_DATE);
    if (old != NULL)
        (void)MHD_del_response_header(k->response, MHD_HTTP_HEADER_DATE, old);
    if (MHD_add_response_header(k->response, MHD_HTTP_HEADER_DATE,
                                t->date_text) != MHD_YES)
        return false;
    k->date = now;
    return true;
}

static struct http_kept *kept_new(struct http_thread *t, size_t len)
{
    struct http_kept *k = mem_alloc(sizeof(*k) + len);

    assert(len <= KEPT_BODY_MAX);
    k->thread = t;
    k->date = 0;
    k->len = (uint32_t)len;
    k->response = MHD_create_response_from_buffer_with_free_callback(
        len, k->body, body_free);
    if (k->response != NULL) {
        http_plain_headers(k->response, http_type_json);
        return k;
    }
    mem_free(k);
    return NULL;
}

struct MHD_Response *http_keep(struct http_request *r)
{
    struct http_thread *t = r->thread;
    size_t len = r->out.len;
    struct http_kept *k;

    assert(r->kept == NULL);
    assert(r->content_type == http_type_json);
    if (len > KEPT_BODY_MAX)
        return NULL;
    k = t->spare[len];
    if (k != NULL) {
        assert(k->len == len);
        t->spare[len] = k->next;
        t->n_spare[len]--;
    } else {
        k = kept_new(t, len);
    }
    if (k == NULL)
        return NULL;
    r->kept = k; /* given back when the request has ended */
    if (len > 0)
        memcpy(k->body, r->out.data, len);
    if (set_date(t, k))
        return k->response;
    http_keep_ended(r);
    return NULL;
}

void http_keep_ended(struct http_request *r)
{
    struct http_kept *k = r->kept;
    struct http_thread *t;

    if (k == NULL)
        return;
    r->kept = NULL;
    t = k->thread;
    if (t->n_spare[k->len] == KEPT_EACH) {
        MHD_destroy_response(k->response);
        return;
    }
    k->next = t->spare[k->len];
    t->spare[k->len] = k;
    t->n_spare[k->len]++;
}
