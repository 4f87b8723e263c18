/*
 * queue.c - an order that waits for the lock, as a record.
 *
 * It is written without the lock: `queued` fences nobody and moves nothing, and
 * whoever has the lock decides all by fresh reads and takes it up by a put at
 * its version, so that it is carried out, or withdrawn, once. Its id follows
 * from what was ordered and from the gate as it stands: the same order twice,
 * at two coordinators too, is one key, and a put of unknown outcome can be said
 * again. One that is over makes room for the next by a number.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"
#include "base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define NUMBER_MAX     64
#define SEEN_WITHIN_MS 1000 /* of a write of ours, by our view */

struct queueing {
    struct engine *e;
    struct order *o;
    struct reader reader;
    struct failover_record record;
    unsigned number;
};

static void put_record(struct queueing *q);

void queueing_free(struct engine *e, struct queueing **q)
{
    if (*q == NULL)
        return;
    calls_forget(&e->calls, &(*q)->reader);
    calls_forget(&e->calls, *q);
    MEM_FREE(*q);
}

/* The place in the lock's queue is kept until our view tells of the record. */
bool orders_queueing(const struct engine *e)
{
    const struct order *o;
    DL_FOREACH(e->orders, o)
    {
        if (o->into != NULL)
            return true;
    }
    return e->c.clock->mono < e->queued_until;
}

static void refused(struct queueing *q, const char *code)
{
    order_answer(q->e, q->o, code, "", NULL, NULL); /* frees it */
}

/* --- the record ------------------------------------------------------------
 */

static void accepted(struct queueing *q)
{
    struct engine *e = q->e;
    struct registry_lock_wait w;
    char id[FAILOVER_ID_MAX + 1];
    struct engine_event ev = {.type = ENGINE_QUEUED,
                              .kind = e->c.kind,
                              .address = q->record.address,
                              .failover = id};
    memcpy(id, q->record.id, sizeof(id));
    ev.word = engine_waits_for(e, &w) ? w.holder : "";
    if (e->c.event != NULL)
        e->c.event(e->c.event_arg, &ev);
    e->queued_until = e->c.clock->mono + SEEN_WITHIN_MS;
    order_queued(e, q->o, id); /* frees it */
}

/* Somebody's of the same id: the same order, or one that is over. */
static void on_there(void *part, size_t index,
                     const struct registry_reply *reply)
{
    struct queueing *q = part;
    struct failover_record there;
    (void)index;
    if (reply->err.code == ERR_NOT_FOUND) {
        put_record(q); /* ours of unknown outcome is not there, or not yet */
        return;
    }
    if (reply->err.code != ERR_OK) {
        refused(q, "outcome_unknown");
        return;
    }
    if (failover_record_read(&there, reply->entries[0].value,
                             reply->entries[0].value_len, NULL) == 0 &&
        !failover_phase_final(there.phase)) {
        accepted(q);
        return;
    }
    if (++q->number == NUMBER_MAX) {
        refused(q, "busy");
        return;
    }
    put_record(q);
}

static void on_put(void *part, size_t index, const struct registry_reply *reply)
{
    struct queueing *q = part;
    char key[REGISTRY_KEY_MAX + 1];
    (void)index;
    switch (reply->err.code) {
    case ERR_OK:
        accepted(q);
        return;
    case ERR_CONFLICT:
    case ERR_UNKNOWN:
        registry_get(q->e->c.registry, failover_key(q->record.id, key),
                     call_done, call_new(&q->e->calls, on_there, q, 0));
        return;
    default:
        refused(q, "registry_unavailable");
        return;
    }
}

static void set_id(struct queueing *q)
{
    const struct failover_record *r = &q->record;
    const struct process *gone = &q->reader.seen.gone;
    uint64_t h = hash_str(r->address, 0);
    h = hash_str(r->then, h);
    h = hash_str(r->if_match, h);
    h = hash_bytes(&r->gate_version, sizeof(r->gate_version), h);
    h = hash_bytes(&gone->startup_time, sizeof(gone->startup_time), h);
    h = hash_bytes(&q->number, sizeof(q->number), h);
    (void)snprintf(q->record.id, sizeof(q->record.id), "%s-order-%016" PRIx64,
                   node_kind_name(r->kind), h);
}

static void put_record(struct queueing *q)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;
    set_id(q);
    buf_init(&b, REGISTRY_VALUE_MAX);
    failover_record_write(&b, &q->record);
    registry_put(q->e->c.registry, failover_key(q->record.id, key),
                 buf_text(&b), b.len, REGISTRY_ABSENT, 0, false, call_done,
                 call_new(&q->e->calls, on_put, q, 0));
    buf_close(&b);
}

static void make_record(struct queueing *q)
{
    const struct failover_seen *seen = &q->reader.seen;
    const struct failover_task *t = &q->o->task;
    struct failover_record *r = &q->record;
    const char *word = t->force ? "forced" : "order";
    *r = (struct failover_record){.kind = q->e->c.kind,
                                  .phase = FAILOVER_QUEUED,
                                  .process = *failover_subject(seen, t),
                                  .began = q->e->c.clock->wall,
                                  .gate_version = seen->gate.version,
                                  .registry_revision = seen->revision,
                                  .session = seen->session,
                                  .last_heartbeat = seen->last_heartbeat,
                                  .hook_exit = -1};
    (void)snprintf(r->cause, sizeof(r->cause), "%s", word);
    (void)snprintf(r->then, sizeof(r->then), "%s", word);
    (void)snprintf(r->address, sizeof(r->address), "%s", t->address);
    (void)snprintf(r->who, sizeof(r->who), "%s", t->who);
    (void)snprintf(r->reason, sizeof(r->reason), "%s", t->reason);
    (void)snprintf(r->coordinator, sizeof(r->coordinator), "%s", q->e->self);
    if (q->o->if_match != NULL)
        (void)snprintf(r->if_match, sizeof(r->if_match), "%s", q->o->if_match);
}

/* What can be refused without the lock is refused at once. */
static void on_read(void *arg, enum err_code code)
{
    struct queueing *q = arg;
    const struct failover_seen *seen = &q->reader.seen;
    const char *cause;
    if (code != ERR_OK) {
        refused(q, code == ERR_INVALID ? "unreadable" : "registry_unavailable");
        return;
    }
    switch (failover_decide(seen, &q->o->task, &cause)) {
    case FAILOVER_ALIVE:
        refused(q, "alive");
        return;
    case FAILOVER_UNREADABLE:
        refused(q, "unreadable");
        return;
    case FAILOVER_TO_VERIFY:
    case FAILOVER_TO_RESUME:
        refused(q, "running");
        return;
    case FAILOVER_NOTHING:
        if (seen->gate.state == GATE_ABSENT) {
            refused(q, "not_found");
            return;
        }
        break;
    default:
        break;
    }
    make_record(q);
    put_record(q);
}

void order_queue(struct engine *e, struct order *o)
{
    struct queueing *q = mem_zalloc(sizeof(*q));
    assert(!o->taken && o->into == NULL);
    o->taken = true;
    o->into = q;
    q->e = e;
    q->o = o;
    reader_start(&q->reader, e, o->task.address, on_read, q);
}
