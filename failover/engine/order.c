/*
 * order.c - what a person asks for: a failover, or its plan.
 *
 * An order for which the lock does not come is written as a record, without the
 * lock: `queued` fences nobody and moves nothing, and whoever has the lock
 * decides all by fresh reads and takes it up by a put at its version, so that
 * it is carried out, or withdrawn, once. Its id follows from what was ordered
 * and from the gate as it stands: the same order twice, at two coordinators
 * too, is one key, and a put of unknown outcome can be said again. One that is
 * over makes room for the next by a number.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"
#include "base/rand.h"
#include "registry/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define NUMBER_MAX     64
#define SEEN_WITHIN_MS 1000 /* of a write of ours, by our view */

/* --- answering ----------------------------------------------------------- */

static void order_free(struct engine *e, struct order *o)
{
    assert(e->n_orders > 0 && e->current != o);
    DL_DELETE(e->orders, o);
    e->n_orders--;
    engine_reader_forget(&o->reader);
    registry_forget(e->c.registry, o);
    mem_free(o->if_match);
    mem_free(o);
}

/* Why the registry cannot be had. */
static enum failover_answer no_registry(const struct engine *e)
{
    return registry_went_back(e->c.registry) != NULL ? FAILOVER_WENT_BACK
                                                     : FAILOVER_NO_REGISTRY;
}

void engine_order_answer(struct engine *e, struct order *o,
                         enum failover_answer answer, const char *failover,
                         const char *held, const struct dry_run *plan)
{
    struct engine_reply reply = {.held = held != NULL, .cause = held};
    assert(o->done != NULL);
    if (answer == FAILOVER_NO_REGISTRY)
        answer = no_registry(e);
    reply.code = failover_answer_facts(answer)->code;
    reply.failover = failover;
    if (answer != FAILOVER_ACCEPTED)
        err_set(&reply.err, ERR_CONFLICT, "%s: %s", o->task.address,
                failover_answer_facts(answer)->text);
    if (plan != NULL) {
        reply.plan = plan->items;
        reply.n_plan = plan->n_items;
        reply.etag = plan->etag;
    }
    o->done(o->arg, &reply);
    order_free(e, o);
}

/* --- an order that waits for the lock, as a record ----------------------- */

static void put_record(struct order *o);

static void refused(struct order *o, enum failover_answer answer)
{
    engine_order_answer(o->e, o, answer, "", NULL, NULL); /* frees it */
}

static void accepted(struct order *o)
{
    struct engine *e = o->e;
    struct engine_reply reply = {.failover = o->record.id, .queued = true};
    assert(o->queueing);
    assert(o->record.id[0] != '\0');
    reply.waits = engine_waits_for(e, &reply.wait);
    engine_tell(e, ENGINE_QUEUED, o->record.address, o->record.id,
                reply.waits ? reply.wait.holder : "", 0);
    e->queued_until = e->c.clock->mono + SEEN_WITHIN_MS;
    o->done(o->arg, &reply);
    order_free(e, o);
}

/* Somebody's of the same id: the same order, or one that is over. */
static void on_there(void *arg, const struct registry_reply *reply)
{
    struct order *o = arg;
    struct failover_record there;
    assert(o->number < NUMBER_MAX);
    assert(o->queueing);
    if (reply->err.code == ERR_NOT_FOUND) {
        put_record(o); /* ours of unknown outcome is not there, or not yet */
        return;
    }
    if (reply->err.code != ERR_OK) {
        refused(o, FAILOVER_OUTCOME_UNKNOWN);
        return;
    }
    if (work_failover_read(&there, reply->entries[0].value,
                           reply->entries[0].value_len, NULL) == 0 &&
        !failover_phase_final(there.phase)) {
        accepted(o);
        return;
    }
    if (++o->number == NUMBER_MAX) {
        refused(o, FAILOVER_BUSY);
        return;
    }
    put_record(o);
}

static void on_put(void *arg, const struct registry_reply *reply)
{
    struct order *o = arg;
    char key[REGISTRY_KEY_MAX + 1];
    assert(o->number < NUMBER_MAX);
    assert(o->queueing);
    switch (reply->err.code) {
    case ERR_OK:
        accepted(o);
        return;
    case ERR_CONFLICT:
    case ERR_UNKNOWN:
        registry_get(o->e->c.registry, work_failover_key(o->record.id, key),
                     on_there, o);
        return;
    default:
        refused(o, FAILOVER_NO_REGISTRY);
        return;
    }
}

static void set_id(struct order *o)
{
    const struct failover_record *r = &o->record;
    const struct process *gone = &o->reader.seen.gone;
    uint64_t h = hash_str(r->address, 0);
    assert(o->number < NUMBER_MAX);
    h = hash_str(r->then, h);
    h = hash_str(r->if_match, h);
    h = hash_bytes(&r->gate_version, sizeof(r->gate_version), h);
    h = hash_bytes(&gone->startup_time, sizeof(gone->startup_time), h);
    h = hash_bytes(&o->number, sizeof(o->number), h);
    (void)snprintf(o->record.id, sizeof(o->record.id), "%s-order-%016" PRIx64,
                   node_kind_name(r->kind), h);
}

static void put_record(struct order *o)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;
    assert(o->queueing && o->number < NUMBER_MAX);
    set_id(o);
    buf_init(&b, REGISTRY_VALUE_MAX);
    work_failover_write(&b, &o->record);
    registry_put(o->e->c.registry, work_failover_key(o->record.id, key),
                 buf_text(&b), b.len, REGISTRY_ABSENT, 0, false, on_put, o);
    buf_close(&b);
}

static void make_record(struct order *o)
{
    const struct failover_seen *seen = &o->reader.seen;
    const struct failover_task *t = &o->task;
    struct failover_record *r = &o->record;
    const char *word = work_cause(t->force ? CAUSE_FORCED : CAUSE_ORDER)->word;
    assert(o->task.ordered);
    *r = (struct failover_record){.kind = o->e->c.kind,
                                  .phase = FAILOVER_QUEUED,
                                  .process = *failover_subject(seen, t),
                                  .began = o->e->c.clock->wall,
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
    (void)snprintf(r->coordinator, sizeof(r->coordinator), "%s", o->e->self);
    if (o->if_match != NULL)
        (void)snprintf(r->if_match, sizeof(r->if_match), "%s", o->if_match);
}

/* What can be refused without the lock is refused at once. */
static enum failover_answer without_lock(const struct order *o)
{
    const struct failover_seen *seen = &o->reader.seen;
    enum failover_cause cause;
    assert(o->task.ordered);
    switch (failover_decide(seen, &o->task, &cause)) {
    case FAILOVER_ALIVE:
        return FAILOVER_IS_ALIVE;
    case FAILOVER_UNREADABLE:
        return FAILOVER_NOT_READABLE;
    case FAILOVER_TO_VERIFY:
    case FAILOVER_TO_RESUME:
        return FAILOVER_IS_RUNNING;
    case FAILOVER_NOTHING:
        return seen->gate.state == GATE_ABSENT ? FAILOVER_NOT_FOUND
                                               : FAILOVER_ACCEPTED;
    default:
        return FAILOVER_ACCEPTED;
    }
}

/* Of a read that failed. */
static enum failover_answer unread(enum err_code code)
{
    assert(code != ERR_OK);
    return code == ERR_INVALID ? FAILOVER_NOT_READABLE : FAILOVER_NO_REGISTRY;
}

static void on_read(void *arg, enum err_code code)
{
    struct order *o = arg;
    enum failover_answer answer =
        code == ERR_OK ? without_lock(o) : unread(code);
    assert(o->queueing);
    if (answer != FAILOVER_ACCEPTED) {
        refused(o, answer);
        return;
    }
    make_record(o);
    put_record(o);
}

static void order_queue(struct engine *e, struct order *o)
{
    assert(!o->taken && !o->queueing);
    o->taken = o->queueing = true;
    engine_reader_start(&o->reader, e, o->task.address, on_read, o);
}

/* --- orders -------------------------------------------------------------- */

static void on_dry_run(void *arg, struct dry_run *s)
{
    struct order *o = arg;
    struct engine *e = s->e;
    enum failover_answer answer = FAILOVER_ACCEPTED;
    assert(o->taken);
    assert(!o->queueing);
    if (s->err.code != ERR_OK)
        answer = unread(s->err.code);
    else if (s->reader.seen.gate.state == GATE_ABSENT &&
             !s->reader.seen.gone.known && s->reader.seen.n_registered == 0)
        answer = FAILOVER_NOT_FOUND;
    engine_order_answer(e, o, answer, "", NULL,
                        answer == FAILOVER_ACCEPTED ? s : NULL);
    engine_dry_run_free(&s);
}

struct order *engine_orders_next(struct engine *e)
{
    struct order *o;
    DL_FOREACH (e->orders, o)
        if (!o->taken)
            return o;
    return NULL;
}

/* The place in the lock's queue is kept until our view tells of the record. */
bool engine_orders_queueing(const struct engine *e)
{
    const struct order *o;
    DL_FOREACH (e->orders, o)
        if (o->queueing)
            return true;
    return e->c.clock->mono < e->queued_until;
}

/* After a second without the lock an order is queued. It has 10 s in all. What
 * is under way is not stopped by that: its writes are checked, and the record
 * says what became of it. */
void engine_orders_tick(struct engine *e)
{
    struct order *o, *next;
    DL_FOREACH_SAFE (e->orders, o, next) {
        mono_ms now = e->c.clock->mono;
        if (now < o->deadline) {
            if (!o->taken && e->connected &&
                now - o->began >= ENGINE_PATIENCE_MS)
                order_queue(e, o);
            continue;
        }
        bool begun = o == e->current || o->queueing;
        if (o == e->current)
            e->current = NULL;
        struct dry_run *s, *after;
        DL_FOREACH_SAFE (e->dry_runs, s, after) {
            struct dry_run *own = s;
            if (s->arg == o)
                engine_dry_run_free(&own);
        }
        engine_order_answer(
            e, o, begun ? FAILOVER_OUTCOME_UNKNOWN : FAILOVER_NO_REGISTRY, "",
            NULL, NULL);
    }
}

void engine_orders_close(struct engine *e)
{
    e->current = NULL;
    while (e->orders != NULL)
        engine_order_answer(e, e->orders, FAILOVER_CANCELLED, "", NULL, NULL);
    assert(e->n_orders == 0);
}

void engine_order(struct engine *e, const struct engine_order *order,
                  engine_reply_f *done, void *arg)
{
    assert(done != NULL);
    if (!e->connected || e->n_orders == ENGINE_ORDERS_MAX) {
        const struct failover_answer_facts *why = failover_answer_facts(
            e->connected ? FAILOVER_BUSY : no_registry(e));
        struct engine_reply reply = {.code = why->code, .failover = ""};
        err_set(&reply.err, ERR_UNAVAILABLE, "%s: %s", order->address,
                why->text);
        done(arg, &reply);
        return;
    }
    struct order *o = mem_zalloc(sizeof(*o));
    struct failover_task *t = &o->task;
    o->e = e;
    o->done = done;
    o->arg = arg;
    o->began = e->c.clock->mono;
    o->deadline = o->began + ENGINE_ORDER_MS;
    o->if_match = mem_strdup(order->if_match);
    t->type = FAILOVER_TASK_ADDRESS;
    t->ordered = true;
    t->force = order->force;
    t->matched = order->if_match != NULL;
    (void)node_canonical(order->address, t->address);
    (void)snprintf(t->who, sizeof(t->who), "%s",
                   order->who != NULL ? order->who : "somebody");
    (void)snprintf(t->reason, sizeof(t->reason), "%s",
                   order->reason != NULL ? order->reason : "");
    DL_APPEND(e->orders, o);
    e->n_orders++;
    assert(e->n_orders <= ENGINE_ORDERS_MAX);
    if (order->dry_run) {
        o->taken = true;
        (void)engine_dry_run_start(e, t->address, on_dry_run, o);
    }
}
