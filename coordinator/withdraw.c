/*
 * withdraw.c - takes back a failover that a person ordered and that has not
 * begun: queued for the lock, or held by the brake or a pause.
 *
 * One put at the version that was read, without the lock: INTENT puts the same
 * record at its version, so one of the two comes first and the other sees it.
 */
#include "coordinator/coordinator_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "work/cause.h"

#include <stdio.h>
#include <string.h>

struct withdrawal {
    struct request base; /* first */
    char key[REGISTRY_KEY_MAX + 1];
    struct failover_record record;
};

static void withdrawal_drop(struct request *r)
{
    mem_free(CONTAINER_OF(r, struct withdrawal, base));
}

static void withdrawn(struct withdrawal *w)
{
    struct coordinator_reply answer = {.failovers = &w->record,
                                       .n_failovers = 1};

    coordinator_index_add(&answer.wrote, w->key);
    coordinator_request_end(&w->base, &answer);
}

static void refuse(struct withdrawal *w, enum problem code, const char *why)
{
    struct coordinator_reply answer = {.code = code};

    (void)err_set(&answer.err, ERR_CONFLICT, "failover %s %s", w->record.id,
                  why);
    coordinator_request_end(&w->base, &answer);
}

static void on_written(void *arg, const struct registry_reply *reply)
{
    struct withdrawal *w = arg;

    if (reply->err.code != ERR_OK) {
        coordinator_request_write_failed(&w->base, &reply->err);
        return;
    }
    log_warn("-failover-withdrawn", LOG_S("address", w->record.address),
             LOG_S("failover", w->record.id));
    withdrawn(w);
}

static void write_back(struct withdrawal *w)
{
    struct failover_record *r = &w->record;
    struct buf b;

    work_failover_abort(r, WHY_WITHDRAWN, w->base.c->clock->wall);
    buf_init(&b, REGISTRY_VALUE_MAX);
    work_failover_write(&b, r);
    coordinator_request_put(&w->base, w->key, &b, r->version, on_written);
    buf_close(&b);
}

static void on_read(void *arg, const struct registry_reply *reply)
{
    struct withdrawal *w = arg;
    struct failover_record *r = &w->record;
    struct err err;

    err_clear(&err);
    if (reply->err.code != ERR_OK) {
        coordinator_request_read_failed(&w->base, &reply->err);
        return;
    }
    if (work_failover_read(r, reply->entries[0].value,
                           reply->entries[0].value_len, &err) != 0) {
        coordinator_request_damaged(&w->base, &err);
        return;
    }
    r->version = reply->entries[0].version;
    if (work_failover_aborted(r, WHY_WITHDRAWN))
        withdrawn(w); /* again, or ours of unknown outcome */
    else if (failover_phase_final(r->phase))
        refuse(w, PROBLEM_FINISHED, "is over");
    else if (r->phase != FAILOVER_QUEUED && r->phase != FAILOVER_HELD)
        refuse(w, PROBLEM_RUNNING, "has begun and goes to its end");
    else if (r->then[0] == '\0')
        refuse(
            w, PROBLEM_NOT_ORDERED,
            "was ordered by nobody: what holds it back decides, or its node");
    else
        write_back(w);
}

static void withdrawal_begin(struct request *r)
{
    coordinator_request_read(r, CONTAINER_OF(r, struct withdrawal, base)->key,
                             on_read);
}

void coordinator_failover_withdraw(struct coordinator *c, const char *id,
                                   coordinator_reply_f *done, void *arg)
{
    struct withdrawal *w = mem_zalloc(sizeof(*w));
    struct err err;

    coordinator_request_init(c, &w->base, done, arg, withdrawal_drop,
                             withdrawal_begin);
    if (work_check_id(id, NULL) != 0 || strlen(id) > FAILOVER_ID_MAX) {
        err_set(&err, ERR_NOT_FOUND, "no failover of this id");
        coordinator_request_fail(&w->base, &err);
        return;
    }
    (void)work_failover_key(id, w->key);
    withdrawal_begin(&w->base);
}
