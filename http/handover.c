/*
 * handover.c - the way to the coordinator's loop and back, and long polls.
 *
 * While the loop has a request its connection is suspended: libmicrohttpd does
 * not look at it, so it cannot go away either. Whether its client is still
 * there is asked of the socket once a second for long polls; everything else
 * is answered soon anyway, and an answer to nobody is dropped.
 *
 * Leaving: a connection must not be suspended when the daemon stops. `closed`
 * is set before `suspended` is read, a handler counts itself in `suspended`
 * before it reads `closed`: so once closed and zero, it stays zero. A request
 * whose operation is still under way then is answered with a refusal; the
 * operation's end finds that in http_ended() and drops the last reference.
 */
#include "http/http_priv.h"

#include "base/mem.h"

#include <poll.h>
#include <utlist.h>

static bool count_in(struct http *h)
{
    __atomic_add_fetch(&h->suspended, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&h->closed, __ATOMIC_SEQ_CST) == 0)
        return true;
    __atomic_sub_fetch(&h->suspended, 1, __ATOMIC_SEQ_CST);
    return false;
}

static void resume(struct http *h, struct MHD_Connection *connection)
{
    assert(connection != NULL);
    MHD_resume_connection(connection);
    __atomic_sub_fetch(&h->suspended, 1, __ATOMIC_SEQ_CST);
}

static void begin_on_loop(void *arg)
{
    struct http_request *r = arg;
    struct http *h = r->h;

    assert(r->handed);
    assert(!r->refused);
    assert(r->on_loop != NULL);
    DL_APPEND(h->on_loop, r);
    if (__atomic_load_n(&h->closed, __ATOMIC_SEQ_CST) != 0) {
        http_problem(r, PROBLEM_LEAVING, NULL);
        http_answer(r);
        return;
    }
    r->on_loop(r);
}

void http_on_loop(struct http_request *r, http_handler_f *fn)
{
    struct http *h = r->h;

    assert(fn != NULL);
    if (r->passed_on != NULL) { /* it is there already */
        *r->passed_on = true;
        r->passed_on = NULL;
        r->on_loop = fn;
        fn(r);
        return;
    }
    assert(!r->handed && r->wait == NULL);
    if (!count_in(h)) {
        http_problem(r, PROBLEM_LEAVING, NULL);
        return;
    }
    r->on_loop = fn;
    r->handed = true;
    r->refs++; /* nobody else has it yet */
    MHD_suspend_connection(r->connection);
    if (loop_post(h->loop, begin_on_loop, r) != 0) {
        http_problem(r, PROBLEM_TOO_MANY_WAITING, NULL);
        r->refs--;
        resume(h, r->connection);
    }
}

struct http_request *http_ended(void *arg)
{
    struct http_request *r = arg;

    assert(r->handed);
    assert(__atomic_load_n(&r->refs, __ATOMIC_RELAXED) > 0);
    if (!r->refused)
        return r;
    http_release(r);
    return NULL;
}

/* After resume() the request is libmicrohttpd's, and may be gone. */
void http_answer(struct http_request *r)
{
    struct http *h = r->h;

    assert(r->handed && !r->refused);
    coordinator_unwait(h->coordinator, &r->wait);
    DL_DELETE(h->on_loop, r);
    __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL);
    resume(h, r->connection);
}

/* --- long polls ---------------------------------------------------------- */

bool http_query_waits(struct http_request *r, bool *waits)
{
    int64_t wait_ms = 0;

    *waits = http_query(r, "index") != NULL && http_query(r, "wait") != NULL;
    return http_query_wait(r, &wait_ms);
}

bool http_query_wait(struct http_request *r, int64_t *wait_ms)
{
    bool good = http_query_duration(r, "wait", 0, INT64_MAX, wait_ms);

    assert(*wait_ms >= 0);
    if (good && *wait_ms > HTTP_WAIT_MAX_MS)
        *wait_ms = HTTP_WAIT_MAX_MS;
    return good;
}

static void on_woken(void *arg, uint64_t index)
{
    struct http_request *r = arg;

    assert(r->handed);
    assert(!r->refused);
    assert(r->on_loop != NULL);
    (void)index;
    r->wait = NULL; /* it is over and freed */
    r->on_loop(r);
}

void http_wait(struct http_request *r, enum coordinator_topic topic,
               enum node_kind kind, const char *address, http_handler_f *then)
{
    struct coordinator *c = r->h->coordinator;
    const char *text = http_query(r, "index");
    int64_t wait_ms = 0;
    uint64_t seen;

    assert(r->handed);
    assert(r->wait == NULL);
    assert(then != NULL);
    (void)http_query_wait(r, &wait_ms); /* is good */
    r->on_loop = then;
    if (text == NULL || wait_ms == 0 || r->h->stopped != NULL ||
        !http_read_index(r, text, &seen) ||
        coordinator_index(c, topic, kind, address) != seen) {
        then(r);
        return;
    }
    if (coordinator_wait(c, topic, kind, address, seen, wait_ms, on_woken, r,
                         &r->wait) != 0) {
        http_problem(r, PROBLEM_TOO_MANY_WAITING, NULL);
        http_answer(r);
    }
}

static void end_wait(struct http_request *r)
{
    assert(r->handed);
    assert(r->wait != NULL);
    coordinator_unwait(r->h->coordinator, &r->wait);
    r->on_loop(r);
}

void http_end_waits(struct http *h)
{
    struct http_request *r, *tmp;

    DL_FOREACH_SAFE (h->on_loop, r, tmp)
        if (r->wait != NULL)
            end_wait(r);
}

/* A client that only shut its sending side gets its answer early. */
void http_end_gone(struct http *h)
{
    struct http_request *r, *tmp;
    struct pollfd *fds;
    size_t n = 0, i = 0;

    DL_FOREACH (h->on_loop, r)
        n += r->wait != NULL;
    if (n == 0)
        return;
    fds = mem_array(n, sizeof(*fds));
    DL_FOREACH (h->on_loop, r)
        if (r->wait != NULL)
            fds[i++] = (struct pollfd){.fd = http_conn_fd(r->conn),
                                       .events = POLLRDHUP};
    if (poll(fds, (nfds_t)n, 0) > 0) {
        i = 0; /* the same ones in the same order: ending one is only its own */
        DL_FOREACH_SAFE (h->on_loop, r, tmp)
            if (r->wait != NULL && fds[i++].revents != 0)
                end_wait(r);
    }
    mem_free(fds);
}

/* Those whose operations go on keep the loop's reference. */
void http_refuse_all(struct http *h)
{
    http_end_waits(h);
    while (h->on_loop != NULL) {
        struct http_request *r = h->on_loop;

        DL_DELETE(h->on_loop, r);
        r->refused = true;
        if (r->method == HTTP_GET)
            http_problem(r, PROBLEM_LEAVING, NULL);
        else
            http_problem(r, PROBLEM_OUTCOME_UNKNOWN,
                         "this coordinator is shutting down; look at another "
                         "whether it was done");
        resume(h, r->connection);
    }
}
