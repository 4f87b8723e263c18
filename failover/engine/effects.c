/*
 * effects.c - performs the effects of the step over a registry. Design:
 * the step decides, this file only knows how. An effect that asks something
 * (lock, next, read, write, list, move, hook, collect) ends in exactly one
 * event, and what comes back after UNLOCK comes back to nobody; one that only
 * tells ends in none.
 */
#include "failover/engine/engine_priv.h"
#include "failover/failpoint.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

/* --- events -------------------------------------------------------------- */

struct failover_event engine_event_of(struct engine *e,
                                      enum failover_event_type type,
                                      enum err_code code)
{
    return (struct failover_event){.type = type,
                                   .now = e->c.clock->mono,
                                   .wall = e->c.clock->wall,
                                   .code = code};
}

void engine_tell(struct engine *e, enum engine_event_type type,
                 const char *address, const char *failover, const char *word,
                 size_t n)
{
    struct engine_event ev = {
        .type = type,
        .kind = e->c.kind,
        .address = address,
        .failover = failover,
        .word = word,
        .cause = type == ENGINE_HELD ? failover_holding(e->f) : CAUSE_NONE,
        .n = n,
        .fence = e->lock != NULL ? registry_lock_fence(e->lock) : 0,
    };
    assert(address != NULL && failover != NULL);
    assert(word != NULL);
    assert((type == ENGINE_HELD) == (ev.cause != CAUSE_NONE));
    if (e->c.event != NULL)
        e->c.event(e->c.event_arg, &ev);
}

/* --- the lock ------------------------------------------------------------ */

static void on_granted(void *arg, enum err_code code)
{
    struct engine *e = arg;
    struct failover_event ev = engine_event_of(
        e, code == ERR_OK ? FAILOVER_LOCKED : FAILOVER_REFUSED, code);
    assert(e->lock != NULL);
    ev.fence = registry_lock_fence(e->lock);
    if (code == ERR_OK) {
        e->hold++;
        e->lock_since = 0;
        e->to_collect = engine_queue_collects(e);
        engine_tell(e, ENGINE_LOCKED, "", "",
                    e->to_collect ? ENGINE_TO_COLLECT : "", 0);
    }
    engine_feed(e, ev);
}

static void on_lost(void *arg)
{
    struct engine *e = arg;
    assert(e->lock != NULL || e->hook_lock != NULL); /* a hook is being ended */
    engine_tell(e, ENGINE_LOCK_LOST, "", "", "lock", 0);
    engine_feed(e, engine_event_of(e, FAILOVER_LOST, ERR_SESSION_LOST));
}

/* The one exit: what was in flight belongs to nobody from here on. */
static void do_unlock(struct engine *e)
{
    bool held = e->lock != NULL && registry_lock_held(e->lock);
    engine_reader_forget(&e->reader);
    registry_forget(e->c.registry, &e->counter);
    registry_forget(e->c.registry, e);
    engine_pass_reset(&e->pass);
    engine_collect_stop(e->collect);
    engine_forgetting_stop(e->forgetting);
    engine_dry_run_free(&e->matching);
    if (held)
        engine_tell(e, ENGINE_UNLOCKED, "", "",
                    e->to_collect && e->used_hold != e->hold ? ENGINE_TO_COLLECT
                                                             : "",
                    0);
    engine_lock_let_go(e);
    if (e->current != NULL)
        e->current->taken = false; /* not answered: the next hold takes it */
    e->current = NULL;
    assert(e->lock == NULL && e->pass.n_items == 0);
}

/* --- reading and writing ------------------------------------------------- */

static void on_read(void *arg, enum err_code code)
{
    struct engine *e = arg;
    struct failover_event ev = engine_event_of(e, FAILOVER_READ, code);
    assert(failover_task(e->f) != NULL);
    ev.seen = &e->reader.seen;
    engine_feed(e, ev);
}

/* A save lacks only the version of the record as this hold wrote it. Our view
 * may have been told by now: what stands at that version is what we wrote, and
 * the write checks that it is still there. */
static bool knows_record(struct engine *e)
{
    const struct failover_record *ours = failover_record(e->f);
    const struct failover_record *r =
        work_view_failover(e->c.view, e->c.kind, e->reader.address);
    assert(ours != NULL);
    if (r == NULL || r->phase != FAILOVER_MOVING || r->fence != ours->fence ||
        strcmp(r->id, ours->id) != 0 ||
        !engine_is_fresh(e, e->reader.at, e->reader.session))
        return false;
    e->reader.record = *r;
    e->reader.seen.record = &e->reader.record;
    return true;
}

static void do_read(struct engine *e, bool afresh)
{
    assert(failover_task(e->f) != NULL);
    assert(e->lock != NULL);
    if (!afresh && knows_record(e)) {
        on_read(e, ERR_OK);
        return;
    }
    engine_reader_forget(&e->reader);
    engine_reader_start(&e->reader, e, failover_task(e->f)->address, on_read,
                        e);
}

static void after_write(struct engine *e)
{
    if (failover_state(e->f) == FAILOVER_INTENTING)
        failover_failpoint("engine-after-intent", 1);
    if (failover_state(e->f) == FAILOVER_SET_MOVING)
        failover_failpoint("engine-after-verify", 1);
}

static void on_written(void *arg, const struct registry_reply *reply)
{
    struct engine *e = arg;
    struct failover_event ev =
        engine_event_of(e, FAILOVER_WRITTEN, reply->err.code);
    assert(e->lock != NULL);
    ev.wanted =
        ev.code == ERR_OK && failover_state(e->f) == FAILOVER_CLOSING &&
        engine_queue_wants_more(e, e->reader.address, failover_gate(e->f));
    if (ev.code == ERR_CONFLICT && reply->failed_op == 0)
        ev.code = ERR_SESSION_LOST; /* the check of the lock */
    if (ev.code == ERR_OK)
        after_write(e);
    else
        log_info("!failover-write",
                 LOG_S("state", failover_state_name(failover_state(e->f))),
                 LOG_S("address", e->reader.address),
                 LOG_S("why", reply->err.msg));
    engine_feed(e, ev);
}

static void put_gate(struct engine *e, struct txn *txn, const struct gate *gate)
{
    struct buf value;
    buf_init(&value, REGISTRY_VALUE_MAX);
    gate_write(&value, gate);
    assert(!value.overflow);
    gate_key(e->c.kind, e->reader.address,
             engine_txn_put(txn, gate->version, &value), REGISTRY_KEY_MAX + 1);
}

static void put_record(struct txn *txn, const struct failover_record *record)
{
    struct buf value;
    buf_init(&value, REGISTRY_VALUE_MAX);
    work_failover_write(&value, record);
    assert(!value.overflow);
    work_failover_key(record->id, engine_txn_put(txn, record->version, &value));
}

/* Renewals in groups check this key: none that was not read since is put after
 * its node's work is being taken (docs/design/renewals.md). */
static void raise_taken(struct engine *e, struct txn *txn)
{
    struct buf value;
    assert(!e->reader.any_order);
    taken_raise(&e->reader.taken, e->c.kind, e->reader.address);
    buf_init(&value, TAKEN_BYTES_MAX);
    taken_write(&value, &e->reader.taken);
    assert(!value.overflow);
    memcpy(engine_txn_put(txn, e->reader.taken_version, &value), TAKEN_KEY,
           sizeof(TAKEN_KEY));
}

static void do_write(struct engine *e, const struct failover_effect *fx)
{
    struct txn txn;
    assert(e->lock != NULL);
    assert(fx->gate != NULL || fx->record != NULL);
    if (!engine_is_fresh(e, e->reader.at, e->reader.session)) {
        /* what it is built on is too old to be sent */
        engine_feed(e, engine_event_of(e, FAILOVER_WRITTEN, ERR_TIMEOUT));
        return;
    }
    if (failover_state(e->f) == FAILOVER_CLOSING)
        failover_failpoint("engine-before-close", 1);
    engine_txn_init(&txn, 4);
    engine_txn_check_lock(&txn, e->lock);
    if (fx->gate != NULL)
        put_gate(e, &txn, fx->gate);
    if (fx->record != NULL)
        put_record(&txn, fx->record);
    if (failover_state(e->f) == FAILOVER_INTENTING)
        raise_taken(e, &txn);
    engine_txn_send(&txn, e->c.registry, on_written, e);
}

/* --- listing, moving, collecting, planning ------------------------------- */

static void on_listed(void *arg, enum err_code code)
{
    struct engine *e = arg;
    struct failover_event ev = engine_event_of(e, FAILOVER_LISTED, code);
    assert(failover_state(e->f) == FAILOVER_LISTING);
    ev.n = e->pass.n_listed;
    ev.more = e->pass.next != NULL;
    engine_feed(e, ev);
}

static void on_moved(void *arg, enum err_code code)
{
    struct engine *e = arg;
    struct failover_event ev = engine_event_of(e, FAILOVER_MOVED, code);
    const struct failover_counts *c = &e->pass.counts;
    size_t n = (size_t)c->moved + c->held + c->dropped + c->waiting;
    assert(failover_state(e->f) == FAILOVER_MOVING_BATCHES);
    ev.counts = c;
    if (n > 0)
        engine_tell(e, ENGINE_MOVED, e->task.address, e->pass.failover, "", n);
    engine_feed(e, ev);
}

static void on_counted(void *arg, enum err_code code)
{
    struct engine *e = arg;
    struct failover_event ev = engine_event_of(e, FAILOVER_COUNTED, code);
    assert(failover_state(e->f) == FAILOVER_COUNTING);
    ev.counts = &e->counter.counts;
    ev.more = e->counter.next != NULL;
    engine_feed(e, ev);
}

static void set_failover(struct engine *e)
{
    const struct failover_record *r = failover_record(e->f);
    struct move_pass *pass = &e->pass;
    assert(!e->pass.moving);
    pass->failover[0] = '\0';
    pass->cause = CAUSE_NONE;
    if (r != NULL) {
        memcpy(pass->failover, r->id, sizeof(pass->failover));
        pass->cause = work_cause_of(r->cause);
    }
}

/* A pass that a hold's end cut off goes on where it was, as long as the same
 * gate says whose markers are of the past: no new ones come. */
static bool resume_listing(struct engine *e, const char *address)
{
    bool on = e->cut_off.next != NULL &&
              strcmp(e->cut_off.address, address) == 0 &&
              gate_is_same(&e->cut_off.gate, failover_gate(e->f));
    assert(e->pass.n_batches == 0);
    if (on) {
        mem_free(e->pass.next);
        e->pass.next = e->cut_off.next;
        e->cut_off.next = NULL;
    }
    MEM_FREE(e->cut_off.next);
    return on;
}

static void keep_cut_off(struct engine *e)
{
    assert(e->pass.next != NULL);
    MEM_FREE(e->cut_off.next);
    e->cut_off.next = e->pass.next;
    e->pass.next = NULL;
    e->cut_off.gate = e->pass.gate;
    memcpy(e->cut_off.address, e->pass.address, sizeof(e->cut_off.address));
}

static void do_list(struct engine *e, bool afresh)
{
    const struct failover_task *task = failover_task(e->f);
    assert(failover_task(e->f) != NULL);
    memcpy(e->pass.address, task->address, sizeof(e->pass.address));
    e->pass.gate = *failover_gate(e->f);
    if (afresh && resume_listing(e, task->address))
        afresh = false;
    engine_pass_list(&e->pass, afresh, on_listed, e);
}

static void on_collected(void *arg, const struct err *err, size_t items,
                         size_t failovers)
{
    struct engine *e = arg;
    assert(failover_state(e->f) == FAILOVER_COLLECTING);
    if (items + failovers > 0)
        log_debug("-collected", LOG_U("items", items),
                  LOG_U("failovers", failovers));
    engine_feed(e, engine_event_of(e, FAILOVER_COLLECTED, err->code));
}

static void on_forgotten(void *arg, const struct err *err, size_t gates)
{
    struct engine *e = arg;
    assert(failover_state(e->f) == FAILOVER_COLLECTING);
    if (gates > 0)
        log_debug("-collected", LOG_S("kind", node_kind_name(e->c.kind)),
                  LOG_U("gates", gates));
    engine_feed(e, engine_event_of(e, FAILOVER_COLLECTED, err->code));
}

static void do_collect(struct engine *e)
{
    assert(e->lock != NULL);
    if (e->forgets)
        engine_forgetting_run(e->forgetting, e->lock, on_forgotten, e);
    else
        engine_collect_run(e->collect, e->lock, on_collected, e);
}

static void on_matched(void *arg, struct dry_run *s)
{
    struct engine *e = arg;
    struct failover_event ev =
        engine_event_of(e, FAILOVER_PLANNED, s->err.code);
    struct order *o = e->current;
    assert(failover_state(e->f) == FAILOVER_PLANNING);
    assert(s == e->matching);
    const char *match = o != NULL ? o->if_match : e->queued_match;
    ev.same = match != NULL && strcmp(match, s->etag) == 0;
    if (ev.code == ERR_OK && !ev.same && o != NULL) {
        e->current = NULL;
        engine_order_answer(e, o, FAILOVER_PLAN_CHANGED, "", NULL, s);
    }
    engine_feed(e, ev);
    engine_dry_run_free(&e->matching);
}

static void on_hook_ended(void *arg, int exit_code, const char *tail)
{
    struct engine *e = arg;
    bool unproven = exit_code < 0;
    /* ended for its lock, which we may still have: it did not run */
    struct failover_event ev =
        engine_event_of(e, unproven ? FAILOVER_LOST : FAILOVER_HOOKED,
                        unproven ? ERR_SESSION_LOST : ERR_OK);
    assert(failover_state(e->f) == FAILOVER_HOOK);
    ev.hook_exit = exit_code;
    ev.hook_tail = tail;
    engine_feed(e, ev);
}

static void do_next(struct engine *e)
{
    struct failover_event ev = engine_event_of(e, FAILOVER_NEXT, ERR_OK);
    assert(e->lock != NULL);
    if (engine_queue_next(e, &e->task))
        ev.task = &e->task;
    engine_feed(e, ev);
}

static void do_answer(struct engine *e, const struct failover_effect *fx)
{
    struct order *o = e->current;
    assert(fx->type == FAILOVER_DO_ANSWER);
    assert(o == NULL || o->taken);
    e->current = NULL;
    if (o != NULL) /* else its time was over before, or it has its answer */
        engine_order_answer(e, o, fx->answer, fx->failover, fx->held, NULL);
}

/* --- the loop of events and effects -------------------------------------- */

static void perform(struct engine *e, const struct failover_effect *fx)
{
    switch (fx->type) {
    case FAILOVER_DO_LOCK:
        engine_lock_ask(e, on_granted, on_lost);
        return;
    case FAILOVER_DO_UNLOCK:
        do_unlock(e);
        return;
    case FAILOVER_DO_NEXT:
        do_next(e);
        return;
    case FAILOVER_DO_READ:
        do_read(e, fx->afresh);
        return;
    case FAILOVER_DO_PLAN:
        if (failover_record(e->f) != NULL)
            memcpy(e->queued_match, failover_record(e->f)->if_match,
                   sizeof(e->queued_match));
        e->matching = engine_dry_run_start(e, failover_task(e->f)->address,
                                           on_matched, e);
        return;
    case FAILOVER_DO_WRITE:
        do_write(e, fx);
        return;
    case FAILOVER_DO_HOOK:
        engine_hook_run(e, fx->time_ms, on_hook_ended);
        return;
    case FAILOVER_DO_LIST:
        do_list(e, fx->afresh);
        return;
    case FAILOVER_DO_MOVE:
        set_failover(e);
        engine_pass_move(&e->pass, e->lock, on_moved, e);
        return;
    case FAILOVER_DO_COUNT:
        engine_counter_page(e, fx->failover, on_counted);
        return;
    case FAILOVER_DO_COLLECT:
        do_collect(e);
        return;
    case FAILOVER_DO_ANSWER:
        do_answer(e, fx);
        return;
    case FAILOVER_DO_TELL:
        engine_tell(e, (enum engine_event_type)fx->news, e->task.address,
                    fx->failover, fx->word, fx->n);
        return;
    case FAILOVER_DO_SETTLE:
        if (fx->clean)
            keep_cut_off(e);
        engine_queue_settled(e, &e->task, fx->outcome);
        return;
    }
}

/* One event after the other: an effect that has its answer at once feeds it
 * from inside, and it waits its turn. */
void engine_feed(struct engine *e, struct failover_event event)
{
    assert(e->n_events < ARRAY_LEN(e->events));
    e->events[e->n_events++] = event;
    if (e->feeding)
        return;
    e->feeding = true;
    while (e->n_events > 0) {
        struct failover_event ev = e->events[0];
        struct failover_effects fx;
        e->n_events--;
        memmove(&e->events[0], &e->events[1], e->n_events * sizeof(ev));
        failover_step(e->f, &ev, &fx);
        for (size_t i = 0; i < fx.n; i++)
            perform(e, &fx.list[i]);
        enum failover_state now = failover_state(e->f);
        if (now != e->told) {
            e->told = now;
            engine_tell(e, ENGINE_STATE, e->task.address, "",
                        failover_state_name(now), 0);
        }
    }
    e->feeding = false;
    assert(e->n_events == 0);
}
