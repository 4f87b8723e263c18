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

struct withdrawal {
    struct request base; /* first */
    struct failover_record record;
};

static void end(struct withdrawal *w)
{
    struct coordinator_reply answer = {.failovers = &w->record,
                                       .n_failovers = 1};

    assert(work_failover_aborted(&w->record, WHY_WITHDRAWN));
    coordinator_index_add(&answer.wrote, w->base.key);
    coordinator_request_end(&w->base, &answer);
}

static void refuse(struct withdrawal *w, enum problem code, const char *why)
{
    assert(code != PROBLEM_NONE);
    coordinator_request_refuse(&w->base, code, ERR_CONFLICT, "failover %s %s",
                               w->record.id, why);
}

static void on_written(struct request *r)
{
    struct withdrawal *w = CONTAINER_OF(r, struct withdrawal, base);

    assert(w->record.phase == FAILOVER_ABORTED);
    log_warn("-failover-withdrawn", LOG_S("address", w->record.address),
             LOG_S("failover", w->record.id));
    end(w);
}

static void write_back(struct withdrawal *w)
{
    struct failover_record *r = &w->record;
    struct buf b;

    assert(r->version != 0);
    work_failover_abort(r, WHY_WITHDRAWN, w->base.c->clock->wall);
    buf_init(&b, REGISTRY_VALUE_MAX);
    work_failover_write(&b, r);
    coordinator_request_put(&w->base, &b, r->version);
    buf_close(&b);
}

static void on_read(struct request *base, const struct registry_reply *reply)
{
    struct withdrawal *w = CONTAINER_OF(base, struct withdrawal, base);
    struct failover_record *r = &w->record;
    const struct registry_entry *e = reply->entries;
    struct err err;

    assert(reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND);
    assert(!attempt_waits(&base->attempt));
    if (reply->err.code != ERR_OK) {
        coordinator_request_read_failed(base, &reply->err);
        return;
    }
    if (work_failover_read(r, e->value, e->value_len, &err) != 0) {
        coordinator_request_damaged(base, &err);
        return;
    }
    r->version = e->version;
    if (work_failover_aborted(r, WHY_WITHDRAWN))
        end(w); /* again, or ours of unknown outcome */
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

static const struct request_type withdrawal_type = {.read = on_read,
                                                    .written = on_written};

void coordinator_failover_withdraw(struct coordinator *c, const char *id,
                                   coordinator_reply_f *done, void *arg)
{
    struct withdrawal *w = mem_zalloc(sizeof(*w));

    coordinator_request_init(c, &w->base, &withdrawal_type, NULL, done, arg);
    coordinator_request_read_failover(&w->base, id);
}
