/*
 * requests.c - what clients asked of the registry and was not answered yet.
 *
 * A request is one struct in one list until it is answered, so that leaving
 * answers every one of them. Each is an attempt (registry/attempt.h).
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"

#include <utlist.h>

void coordinator_request_init(struct coordinator *c, struct request *r,
                              coordinator_reply_f *done, void *arg,
                              void (*drop)(struct request *),
                              void (*again)(struct request *))
{
    assert(done != NULL && drop != NULL);
    r->c = c;
    r->done = done;
    r->arg = arg;
    r->drop = drop;
    r->again = again;
    attempt_init(&r->attempt, c->clock->mono);
    DL_APPEND(c->requests, r);
}

void coordinator_request_end(struct request *r,
                             const struct coordinator_reply *reply)
{
    assert(r->done != NULL);
    DL_DELETE(r->c->requests, r);
    r->done(r->arg, reply);
    r->done = NULL;
    r->drop(r);
}

static void request_end_with(struct request *r, enum problem code,
                             const struct err *err)
{
    struct coordinator_reply reply = {.code = code, .err = *err};

    coordinator_request_end(r, &reply);
}

void coordinator_request_fail(struct request *r, const struct err *err)
{
    request_end_with(r, problem_of_err(err->code), err);
}

void coordinator_request_damaged(struct request *r, const struct err *err)
{
    request_end_with(r, PROBLEM_DAMAGED, err);
}

static void go_on(struct request *r, enum attempt_next next,
                  const struct err *err)
{
    assert(r->again != NULL && err->code != ERR_OK);
    switch (next) {
    case ATTEMPT_NOW:
        r->again(r);
        break;
    case ATTEMPT_LATER: /* coordinator_requests_tick() */
        break;
    case ATTEMPT_FAILED:
        coordinator_request_fail(r, err);
        break;
    case ATTEMPT_UNKNOWN:
        request_end_with(r, PROBLEM_OUTCOME_UNKNOWN, err);
        break;
    }
}

void coordinator_request_read_failed(struct request *r, const struct err *err)
{
    go_on(r, attempt_failed(&r->attempt, r->c->clock->mono), err);
}

void coordinator_request_write_failed(struct request *r, const struct err *err)
{
    go_on(r, attempt_write_failed(&r->attempt, err->code, r->c->clock->mono),
          err);
}

void coordinator_request_read(struct request *r, const char *key,
                              registry_reply_f *done)
{
    assert(r->done != NULL);
    attempt_begin(&r->attempt, r->c->registry, r->c->clock->mono);
    registry_get(r->c->registry, key, done, r);
}

bool coordinator_request_is_overtaken(struct request *r)
{
    struct err err;

    if (attempt_is_fresh(&r->attempt, r->c->registry, r->c->clock->mono))
        return false;
    err_set(&err, ERR_CONFLICT, "what stands was read too long ago");
    coordinator_request_write_failed(r, &err);
    return true;
}

void coordinator_request_put(struct request *r, const char *key,
                             const struct buf *value, uint64_t version,
                             registry_reply_f *done)
{
    struct registry_op op = registry_op_put(key, value, version);

    assert(!value->overflow);
    if (!coordinator_request_is_overtaken(r))
        registry_txn(r->c->registry, &op, 1, done, r);
}

void coordinator_requests_tick(struct coordinator *c)
{
    struct request *r, *tmp;

    DL_FOREACH_SAFE(c->requests, r, tmp)
    {
        if (attempt_is_due(&r->attempt, c->clock->mono))
            r->again(r);
    }
}

void coordinator_requests_cancel(struct coordinator *c)
{
    struct err err;

    while (c->requests != NULL) {
        struct request *r = c->requests;

        registry_forget(c->registry, r);
        err_set(&err, r->attempt.doubt ? ERR_UNKNOWN : ERR_CANCELLED,
                "the coordinator is leaving");
        coordinator_request_fail(r, &err);
    }
}

void coordinator_requests_abandon(struct coordinator *c)
{
    while (c->requests != NULL) {
        struct request *r = c->requests;

        DL_DELETE(c->requests, r);
        r->drop(r);
    }
}
