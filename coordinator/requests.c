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

#define CONFLICTS_MAX        8
#define READ_BACK_MS         200
#define READ_BACK_AT_MOST_MS 10000

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
    assert(r->again_at == 0);
    assert(reply->err.code != ERR_OK || reply->n_entries == 1);
    if (reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND)
        r->type->read(r, reply);
    else
        coordinator_request_read_failed(r, &reply->err);
}

void coordinator_request_read(struct request *r)
{
    assert(r->key[0] != '\0');
    assert(r->again_at == 0);
    r->session = registry_session(r->c->registry);
    r->read_at = r->c->clock->mono;
    registry_get(r->c->registry, r->key, on_read, r);
}

static void begin(struct request *r)
{
    assert(r->again_at == 0);
    assert(r->done != NULL);
    if (r->type->begin != NULL)
        r->type->begin(r);
    else
        coordinator_request_read(r);
}

void coordinator_request_read_failed(struct request *r, const struct err *err)
{
    mono_ms now = r->c->clock->mono;

    assert(err->code != ERR_OK);
    if (r->unknown_since == 0)
        coordinator_request_fail(r, err);
    else if (now - r->unknown_since < READ_BACK_AT_MOST_MS)
        r->again_at = now + READ_BACK_MS;
    else
        request_end_with(r, PROBLEM_OUTCOME_UNKNOWN, err);
}

/* --- writing ------------------------------------------------------------- */

static void write_failed(struct request *r, const struct err *err)
{
    mono_ms now = r->c->clock->mono;

    assert(r->type->written != NULL);
    assert(err->code != ERR_OK);
    if (err->code == ERR_UNKNOWN && r->unknown_since == 0)
        r->unknown_since = now > 0 ? now : 1;
    if (err->code == ERR_CONFLICT && ++r->conflicts < CONFLICTS_MAX)
        begin(r);
    else if (err->code == ERR_CONFLICT)
        coordinator_request_fail(r, err);
    else
        coordinator_request_read_failed(r, err);
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

void coordinator_request_put(struct request *r, const struct buf *text,
                             uint64_t version)
{
    assert(!text->overflow);
    registry_put(r->c->registry, r->key, text->data, text->len,
                 version == 0 ? REGISTRY_ABSENT : REGISTRY_VERSION, version,
                 false, on_written, r);
}

void coordinator_request_delete(struct request *r, uint64_t version)
{
    assert(version != 0);
    registry_delete(r->c->registry, r->key, version, on_written, r);
}

void coordinator_request_txn(struct request *r, const struct registry_op *ops,
                             size_t n)
{
    struct registry *registry = r->c->registry;
    struct err err;

    assert(n > 0);
    if (r->session == registry_session(registry) &&
        r->c->clock->mono - r->read_at < registry_session_timeout(registry)) {
        registry_txn(registry, ops, n, on_written, r);
        return;
    }
    err_set(&err, ERR_CONFLICT, "%s: read too long ago", r->key);
    write_failed(r, &err);
}

/* --- all of them --------------------------------------------------------- */

void coordinator_requests_tick(struct coordinator *c)
{
    struct request *r, *tmp;

    DL_FOREACH_SAFE(c->requests, r, tmp)
    {
        if (r->again_at != 0 && c->clock->mono >= r->again_at) {
            r->again_at = 0;
            begin(r);
        }
    }
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
        err_set(&err, r->unknown_since != 0 ? ERR_UNKNOWN : ERR_CANCELLED,
                "the coordinator is leaving");
        coordinator_request_fail(r, &err);
    }
    assert(c->requests == NULL);
}
