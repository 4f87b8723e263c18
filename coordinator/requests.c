/*
 * requests.c - what clients asked of the registry and was not answered yet.
 *
 * A request is one struct in one list until it is answered, so that leaving
 * answers every one of them. All of them read what they stand on, write at the
 * version read, and begin again when that was overtaken. A write of unknown
 * outcome is settled by reading back; while that fails the answer is still
 * "unknown", never "not applied".
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"

#include <utlist.h>

#define CONFLICTS_MAX        8
#define READ_BACK_MS         200
#define READ_BACK_AT_MOST_MS 10000

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

void coordinator_request_read_failed(struct request *r, const struct err *err)
{
    mono_ms now = r->c->clock->mono;

    if (r->unknown_since == 0)
        coordinator_request_fail(r, err);
    else if (now - r->unknown_since < READ_BACK_AT_MOST_MS)
        r->again_at = now + READ_BACK_MS;
    else
        request_end_with(r, PROBLEM_OUTCOME_UNKNOWN, err);
}

void coordinator_request_write_failed(struct request *r, const struct err *err)
{
    mono_ms now = r->c->clock->mono;

    assert(r->again != NULL && err->code != ERR_OK);
    if (err->code == ERR_UNKNOWN && r->unknown_since == 0)
        r->unknown_since = now > 0 ? now : 1;
    if (err->code == ERR_CONFLICT && ++r->conflicts < CONFLICTS_MAX)
        r->again(r);
    else if (err->code == ERR_CONFLICT)
        coordinator_request_fail(r, err);
    else
        coordinator_request_read_failed(r, err);
}

void coordinator_requests_tick(struct coordinator *c)
{
    struct request *r, *tmp;

    DL_FOREACH_SAFE(c->requests, r, tmp)
    {
        if (r->again_at != 0 && c->clock->mono >= r->again_at) {
            r->again_at = 0;
            r->again(r);
        }
    }
}

void coordinator_requests_cancel(struct coordinator *c)
{
    struct err err;

    while (c->requests != NULL) {
        struct request *r = c->requests;

        registry_forget(c->registry, r);
        err_set(&err, r->unknown_since != 0 ? ERR_UNKNOWN : ERR_CANCELLED,
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
