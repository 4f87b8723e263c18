/*
 * wrote.c - what a write's answer says of it, and who asks for a write.
 *
 * An answer is held until this coordinator would show the write in the next
 * one, and carries an index that any other can be asked to wait for. One that
 * is not shown in time (the registry went away just then) is answered as what
 * it is, a write that was done, with X-Pelorus-Visible: 0; the index can be
 * waited for here, too.
 *
 * A GET with such an index waits before anything of it is answered, whichever
 * route it is of.
 */
#include "http/http_priv.h"

#include <stdio.h>
#include <string.h>

#define VISIBLE_MS 1000 /* after that the client's own patience is at stake */
#define SETTLE_MS  5000 /* unless `wait` says otherwise */

/* --- the answer to a write ----------------------------------------------- */

static void put_index(struct http_request *r, const struct write_index *write)
{
    assert(write->n > 0);
    (void)coordinator_index_text(write, r->index);
    if (r->index[0] == '\0' || r->out.len == 0)
        return; /* 204 */
    assert(r->out.data[r->out.len - 1] == '}');
    r->out.len--; /* open the object again */
    json_put_str(&r->out, "index", r->index);
    json_close(&r->out, '}');
}

static void on_shown(void *arg, bool seen, const struct write_index *write)
{
    struct http_request *r = http_ended(arg);

    if (r == NULL)
        return;
    r->invisible = !seen;
    put_index(r, write);
    http_answer(r);
}

void http_answer_write(struct http_request *r, const struct write_index *write)
{
    assert(r->handed);
    assert(!r->refused);
    if (write->n == 0) {
        http_answer(r);
    } else if (coordinator_await_write(r->h->coordinator, write, true,
                                       VISIBLE_MS, on_shown, r) != 0) {
        r->invisible = true;
        put_index(r, write);
        http_answer(r);
    }
}

/* --- who asks for one ---------------------------------------------------- */

static void on_settled(void *arg, bool seen, const struct write_index *write)
{
    struct http_request *r = http_ended(arg);
    bool passed_on = false;

    (void)write;
    if (r == NULL)
        return;
    if (!seen) {
        http_problem(r, PROBLEM_NOT_YET,
                     "this coordinator was not shown the write of this index "
                     "within `wait`: ask again, or ask another");
        http_answer(r);
        return;
    }
    r->passed_on = &passed_on;
    http_act(r);
    if (!passed_on) { /* else it may be gone */
        r->passed_on = NULL;
        http_answer(r);
    }
}

static void settle(struct http_request *r)
{
    struct write_index write;
    int64_t wait_ms = SETTLE_MS;

    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_GET);
    /* both are good */
    (void)coordinator_index_parse(&write, http_query(r, "index"));
    (void)http_query_wait(r, &wait_ms);
    if (r->h->stopped != NULL ||
        coordinator_await_write(r->h->coordinator, &write, false, wait_ms,
                                on_settled, r) != 0) {
        http_problem(r,
                     r->h->stopped != NULL ? PROBLEM_LEAVING
                                           : PROBLEM_TOO_MANY_WAITING,
                     NULL);
        http_answer(r);
    }
}

bool http_settles(struct http_request *r)
{
    const char *index = r->method == HTTP_GET ? http_query(r, "index") : NULL;
    struct write_index write;
    int64_t wait_ms = 0;

    assert(!r->handed);
    assert(r->action != NULL);
    if (index == NULL || !coordinator_index_is(index))
        return false;
    if (!coordinator_index_parse(&write, index))
        http_problem(r, PROBLEM_INVALID,
                     "query parameter index: give the index of an answer as "
                     "it stands there");
    else if (http_query_wait(r, &wait_ms))
        http_on_loop(r, settle);
    return true;
}
