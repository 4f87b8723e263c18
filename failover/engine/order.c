/*
 * order.c - what a person asks for: a failover, or its plan. A plan is
 * made without the lock and without telling the balancer; its ETag lets the
 * order say "this, and only this", which is compared under the lock again.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"
#include "registry/history.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

/* --- the plan of an address ---------------------------------------------- */

void survey_free(struct survey **s)
{
    if (*s == NULL)
        return;
    struct survey *old = *s;
    calls_forget(&old->e->calls, &old->reader);
    round_close(&old->round);
    DL_DELETE(old->e->surveys, old);
    for (size_t i = 0; i < old->n_candidates; i++)
        mem_free((char *)(uintptr_t)old->candidates[i].address);
    mem_free(old->candidates);
    mem_free(old->items);
    mem_free(old);
    *s = NULL;
}

static void add_candidate(struct survey *s, const struct node *n)
{
    size_t i = s->n_candidates++;
    s->candidates =
        mem_regrow(s->candidates, s->n_candidates, sizeof(*s->candidates));
    int32_t weight = n->load.weight;
    s->candidates[i] = (struct plan_candidate){
        .address = mem_strdup(n->address),
        .load = n->load.cpu > 0 ? n->load.cpu : 0,
        .weight = weight >= 0 ? (uint32_t)weight : 100,
        .owned = view_marker_count(s->e->c.view, n->kind, n->address),
    };
}

/* Who could take work now. A dry run shows the spread over all of them; which
 * groups a worker serves is the balancer's to say when it is real. */
static void find_candidates(struct survey *s, const char *but)
{
    struct engine *e = s->e;
    struct node *n = NULL;
    while ((n = membership_next(e->c.membership, n)) != NULL) {
        if (n->kind == e->c.kind && n->state == NODE_UP && n->process.known &&
            n->status == NODE_NORMAL && strcmp(n->address, but) != 0 &&
            gate_takes(&n->gate, &n->process))
            add_candidate(s, n);
    }
}

static void tell_item(struct survey *s, const struct work_item *w,
                      enum plan_action action)
{
    size_t at = SIZE_MAX;
    s->n_all++;
    if (action == PLAN_MOVE)
        at = plan_pick(s->candidates, s->n_candidates);
    if (s->n_items == ENGINE_PLAN_MAX)
        return;
    if (s->n_items == s->cap) {
        s->cap = s->cap == 0 ? 64 : s->cap * 2;
        s->items = mem_regrow(s->items, s->cap, sizeof(*s->items));
    }
    struct survey_item *it = &s->items[s->n_items++];
    memset(it, 0, sizeof(*it));
    memcpy(it->id, w->id, sizeof(it->id));
    it->action = action;
    it->waits = action == PLAN_MOVE && at == SIZE_MAX;
    if (action == PLAN_HEIR)
        memcpy(it->target, w->owner, sizeof(it->target));
    else if (at != SIZE_MAX)
        (void)snprintf(it->target, sizeof(it->target), "%s",
                       s->candidates[at].address);
}

static void survey_done(struct survey *s)
{
    plan_etag(s->etag, &s->reader.seen.gate, s->digest, s->n_all);
    s->done(s->arg, s); /* may free it */
}

static void on_surveyed(void *arg, enum err_code code)
{
    struct survey *s = arg;
    struct round *r = &s->round;
    struct plan_rules rules;
    if (code != ERR_OK) {
        s->err = r->err;
        survey_done(s);
        return;
    }
    round_rules(r, &rules);
    for (size_t i = 0; i < r->n_items; i++) {
        const struct work_item *w = &r->items[i].work;
        const char *cause;
        if (r->items[i].state != ITEM_READ)
            continue;
        enum plan_action action = plan_action(w, &rules, &cause);
        s->digest += plan_digest(w->id, w->epoch, plan_action_name(action));
        tell_item(s, w, action);
    }
    if (r->next != NULL)
        round_list(r, false, on_surveyed, s);
    else
        survey_done(s);
}

static void on_survey_read(void *arg, enum err_code code)
{
    struct survey *s = arg;
    if (code != ERR_OK) {
        s->err = s->reader.err;
        survey_done(s);
        return;
    }
    /* as it will be after INTENT: the present process is of the past, too */
    s->round.gate = s->reader.seen.gate;
    const struct process *fresh = failover_fresh(&s->reader.seen);
    if (fresh == NULL) {
        s->round.gate.state = GATE_FENCED;
    } else {
        bool lease = s->round.gate.state == GATE_RESTARTING;
        struct process old = s->round.gate.process;
        gate_retire(&s->round.gate, &old);
        s->round.gate.process = *fresh;
        s->round.gate.state = GATE_OPEN;
        if (lease)
            s->round.gate.heir_of = old;
    }
    (void)snprintf(s->round.cause, sizeof(s->round.cause), "order");
    find_candidates(s, s->reader.address);
    round_list(&s->round, true, on_surveyed, s);
}

struct survey *survey_start(struct engine *e, const char *address,
                            survey_done_f *done, void *arg)
{
    struct survey *s = mem_zalloc(sizeof(*s));
    s->e = e;
    s->done = done;
    s->arg = arg;
    round_init(&s->round, e);
    (void)snprintf(s->round.address, sizeof(s->round.address), "%s", address);
    DL_APPEND(e->surveys, s);
    reader_start(&s->reader, e, address, on_survey_read, s);
    return s;
}

/* --- answering ----------------------------------------------------------- */

static const char *text_of(const char *code)
{
    static const char *const texts[][2] = {
        {"alive", "the node is registered; force takes its work regardless"},
        {"running", "a failover of this address is under way"},
        {"not_found", "no work was ever given to this address, and no process "
                      "of it was seen here that is gone"},
        {"unreadable", "the gate, the failover or the registration of this "
                       "address cannot be read; see the log"},
        {"plan_changed", "the plan is not the one that was approved any more"},
        {"busy", "others changed the address all the time; try again"},
        {"registry_unavailable", "the registry could not be had in time; "
                                 "nothing was begun"},
        {"registry_went_back", "the registry is not what it was; nothing was "
                               "begun, and nothing is until a person has "
                               "accepted it"},
        {"outcome_unknown", "the failover may have begun; ask for its record"},
        {"cancelled", "this coordinator is stopping"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (strcmp(texts[i][0], code) == 0)
            return texts[i][1];
    }
    return code;
}

static const char *action_of(const struct survey_item *it)
{
    if (it->waits)
        return "wait";
    return it->action == PLAN_HEIR ? "move" : plan_action_name(it->action);
}

static struct engine_plan_item *plan_items(const struct survey *s)
{
    struct engine_plan_item *list = mem_array(s->n_items + 1, sizeof(*list));
    for (size_t i = 0; i < s->n_items; i++) {
        const struct survey_item *it = &s->items[i];
        bool moves = it->action == PLAN_MOVE || it->action == PLAN_HEIR;
        list[i].id = it->id;
        list[i].action = action_of(it);
        list[i].target = moves ? it->target : NULL;
    }
    return list;
}

static void order_free(struct engine *e, struct order *o)
{
    DL_DELETE(e->orders, o);
    e->n_orders--;
    queueing_free(e, &o->into);
    mem_free(o->if_match);
    mem_free(o);
}

void order_queued(struct engine *e, struct order *o, const char *failover)
{
    struct engine_reply reply = {.failover = failover, .queued = true};
    reply.waits = engine_waits_for(e, &reply.wait);
    engine_reply_f *done = o->done;
    void *arg = o->arg;
    done(arg, &reply);
    order_free(e, o);
}

/* Why the registry cannot be had. */
static const char *registry_code(const struct engine *e, const char *code)
{
    if (code != NULL && strcmp(code, "registry_unavailable") == 0 &&
        registry_went_back(e->c.registry) != NULL)
        return "registry_went_back";
    return code;
}

void order_answer(struct engine *e, struct order *o, const char *code,
                  const char *failover, const char *held,
                  const struct survey *plan)
{
    struct engine_reply reply = {.held = held != NULL, .cause = held};
    struct engine_plan_item *items = NULL;
    reply.code = code = registry_code(e, code);
    reply.failover = failover;
    if (code != NULL)
        (void)err_set(&reply.err, ERR_CONFLICT, "%s: %s", o->task.address,
                      text_of(code));
    if (plan != NULL) {
        items = plan_items(plan);
        reply.plan = items;
        reply.n_plan = plan->n_items;
        reply.etag = plan->etag;
    }
    engine_reply_f *done = o->done;
    void *arg = o->arg;
    done(arg, &reply);
    order_free(e, o);
    mem_free(items);
}

/* --- orders -------------------------------------------------------------- */

static void on_dry_run(void *arg, const struct survey *s)
{
    struct order *o = arg;
    struct engine *e = s->e;
    struct survey *own = (struct survey *)(uintptr_t)s;
    const char *code = NULL;
    if (s->err.code != ERR_OK)
        code =
            s->err.code == ERR_INVALID ? "unreadable" : "registry_unavailable";
    else if (s->reader.seen.gate.state == GATE_ABSENT &&
             !s->reader.seen.gone.known && s->reader.seen.n_standing == 0)
        code = "not_found";
    order_answer(e, o, code, "", NULL, code == NULL ? s : NULL);
    survey_free(&own);
}

struct order *orders_next(struct engine *e)
{
    struct order *o;
    DL_FOREACH(e->orders, o)
    {
        if (!o->taken)
            return o;
    }
    return NULL;
}

/* After a second without the lock an order is queued. It has 10 s in all. What
 * is under way is not stopped by that: its writes are checked, and the record
 * says what became of it. */
void orders_tick(struct engine *e)
{
    struct order *o, *next;
    DL_FOREACH_SAFE(e->orders, o, next)
    {
        mono_ms now = e->c.clock->mono;
        if (now < o->deadline) {
            if (!o->taken && e->connected &&
                now - o->began >= ENGINE_PATIENCE_MS)
                order_queue(e, o);
            continue;
        }
        bool begun = o == e->current || o->into != NULL;
        if (o == e->current)
            e->current = NULL;
        struct survey *s, *after;
        DL_FOREACH_SAFE(e->surveys, s, after)
        {
            struct survey *own = s;
            if (s->arg == o)
                survey_free(&own);
        }
        order_answer(e, o, begun ? "outcome_unknown" : "registry_unavailable",
                     "", NULL, NULL);
    }
}

void orders_close(struct engine *e)
{
    e->current = NULL;
    while (e->orders != NULL)
        order_answer(e, e->orders, "cancelled", "", NULL, NULL);
}

static void refuse(engine_reply_f *done, void *arg, const char *code,
                   const char *address)
{
    struct engine_reply reply = {.code = code};
    (void)err_set(&reply.err, ERR_UNAVAILABLE, "%s: %s", address,
                  text_of(code));
    reply.failover = "";
    done(arg, &reply);
}

void engine_order(struct engine *e, const struct engine_order *order,
                  engine_reply_f *done, void *arg)
{
    if (!e->connected || e->n_orders == ENGINE_ORDERS_MAX) {
        refuse(done, arg,
               e->connected ? "busy" : registry_code(e, "registry_unavailable"),
               order->address);
        return;
    }
    struct order *o = mem_zalloc(sizeof(*o));
    struct failover_task *t = &o->task;
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
    if (order->dry_run) {
        o->taken = true;
        (void)survey_start(e, t->address, on_dry_run, o);
    }
}
