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

#include <stdarg.h>
#include <stdio.h>
#include <utlist.h>

void coordinator_request_init(struct coordinator *c, struct request *r,
                              const struct request_type *type, const char *key,
                              coordinator_reply_f *done, void *arg)
{
    assert(done != NULL);
    assert(r->done == NULL);
    r->type = type;
    r->c = c;
    r->done = done;
    r->arg = arg;
    attempt_init(&r->attempt, c->clock->mono);
    if (key != NULL)
        (void)snprintf(r->key, sizeof(r->key), "%s", key);
    DL_APPEND(c->requests, r);
}

static void request_drop(struct request *r)
{
    if (r->type->drop != NULL)
        r->type->drop(r);
    else
        mem_free(r);
}

void coordinator_request_end(struct request *r,
                             const struct coordinator_reply *reply)
{
    assert(r->done != NULL);
    DL_DELETE(r->c->requests, r);
    r->done(r->arg, reply);
    r->done = NULL;
    request_drop(r);
}

static void request_end_with(struct request *r, enum problem code,
                             const struct err *err)
{
    struct coordinator_reply reply = {.code = code, .err = *err};

    assert((code == PROBLEM_NONE) == (err->code == ERR_OK));
    coordinator_request_end(r, &reply);
}

void coordinator_request_fail(struct request *r, const struct err *err)
{
    request_end_with(r, problem_of_err(err->code), err);
}

void coordinator_request_refuse(struct request *r, enum problem code,
                                enum err_code why, const char *fmt, ...)
{
    struct coordinator_reply reply = {
        .code = code != PROBLEM_NONE ? code : problem_of_err(why),
        .err = {.code = why}};
    va_list ap;

    assert(why != ERR_OK);
    va_start(ap, fmt);
    (void)vsnprintf(reply.err.msg, sizeof(reply.err.msg), fmt, ap);
    va_end(ap);
    coordinator_request_end(r, &reply);
}

void coordinator_request_damaged(struct request *r, const struct err *err)
{
    request_end_with(r, PROBLEM_DAMAGED, err);
}

/* --- reading ------------------------------------------------------------- */

static void on_read(void *arg, const struct registry_reply *reply)
{
    struct request *r = arg;

    assert(r->done != NULL);
    assert(!attempt_waits(&r->attempt));
    assert(reply->err.code != ERR_OK || reply->n_entries == 1);
    if (reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND)
        r->type->read(r, reply);
    else
        coordinator_request_read_failed(r, &reply->err);
}

void coordinator_request_read(struct request *r)
{
    assert(r->key[0] != '\0');
    assert(!attempt_waits(&r->attempt));
    attempt_begin(&r->attempt, r->c->registry, r->c->clock->mono);
    registry_get(r->c->registry, r->key, on_read, r);
}

static void begin(struct request *r)
{
    assert(!attempt_waits(&r->attempt));
    assert(r->done != NULL);
    if (r->type->begin != NULL)
        r->type->begin(r);
    else
        coordinator_request_read(r);
}

static void go_on(struct request *r, enum attempt_next next,
                  const struct err *err)
{
    assert(err->code != ERR_OK);
    switch (next) {
    case ATTEMPT_NOW:
        begin(r);
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

/* --- writing ------------------------------------------------------------- */

static void write_failed(struct request *r, const struct err *err)
{
    assert(r->type->written != NULL);
    go_on(r, attempt_write_failed(&r->attempt, err->code, r->c->clock->mono),
          err);
}

static void on_written(void *arg, const struct registry_reply *reply)
{
    struct request *r = arg;

    assert(r->done != NULL);
    assert(r->type->written != NULL);
    if (reply->err.code == ERR_OK) {
        r->type->written(r);
        return;
    }
    if (r->type->refused != NULL)
        r->type->refused(r, reply);
    write_failed(r, &reply->err);
}

/* May it write upon what it read? Else it goes on without. */
static bool may_write(struct request *r)
{
    struct err err;

    if (attempt_is_fresh(&r->attempt, r->c->registry, r->c->clock->mono))
        return true;
    err_set(&err, ERR_CONFLICT, "%s: read too long ago", r->key);
    write_failed(r, &err);
    return false;
}

void coordinator_request_txn(struct request *r, const struct registry_op *ops,
                             size_t n)
{
    assert(n > 0);
    if (may_write(r))
        registry_txn(r->c->registry, ops, n, on_written, r);
}

void coordinator_request_take(struct request *r, enum node_kind kind,
                              const char *address,
                              const struct registry_op *ops, size_t n)
{
    assert(n > 0);
    if (may_write(r))
        raiser_add(r->c->raiser, kind, address, ops, n, on_written, r);
}

void coordinator_request_put(struct request *r, const struct buf *text,
                             uint64_t version)
{
    struct registry_op op = registry_op_put(r->key, text, version);

    assert(!text->overflow);
    coordinator_request_txn(r, &op, 1);
}

void coordinator_request_delete(struct request *r, uint64_t version)
{
    struct registry_op op = registry_op_at(REGISTRY_DELETE, r->key, version);

    assert(version != 0);
    coordinator_request_txn(r, &op, 1);
}

/* --- all of them --------------------------------------------------------- */

void coordinator_requests_tick(struct coordinator *c)
{
    struct request *r, *tmp;

    DL_FOREACH_SAFE (c->requests, r, tmp)
        if (attempt_is_due(&r->attempt, c->clock->mono))
            begin(r);
}

void coordinator_requests_end(struct coordinator *c, bool told)
{
    struct request *r;
    struct err err;

    while ((r = c->requests) != NULL) {
        if (!told) {
            DL_DELETE(c->requests, r);
            request_drop(r);
            continue;
        }
        registry_forget(c->registry, r);
        raiser_forget(c->raiser, r);
        err_set(&err, r->attempt.doubt ? ERR_UNKNOWN : ERR_CANCELLED,
                "the coordinator is leaving");
        coordinator_request_fail(r, &err);
    }
    assert(c->requests == NULL);
}
