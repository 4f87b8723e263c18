/*
 * move.c - finds a target for every listed item and reads the targets'
 * gates. Design: level-triggered. Every completion ends in round_pump(), which
 * does whatever can be done in the state that the items are in; so a conflict,
 * a lost reply and a first attempt need no paths of their own.
 *
 *   READ -> PLANNED (action, target) -> SENT -> SETTLED
 *     ^        | target closed: READ       | conflict, unknown: UNREAD
 *     +--------+---------------------------+
 */
#include "failover/engine/engine_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"

#include <string.h>

#define EXCLUDED_MAX 64 /* closed targets told to whoever picks */

void round_rules(const struct round *r, struct plan_rules *rules)
{
    const struct conf_failover *conf = r->e->c.conf;
    *rules = (struct plan_rules){
        .gate = &r->gate,
        .died = plan_cause_is_death(r->cause),
        .poison_limit = conf->poison_limit,
        .poison_window_ms = conf->poison_window_ms,
        .floor = planted(PLANTED_FLOOR_FORGOTTEN) ? 0 : r->floor,
        .wall = r->e->c.clock->wall,
    };
}

/* --- targets ------------------------------------------------------------- */

void targets_close(struct round *r)
{
    struct target *t, *next;
    HASH_ITER(hh, r->targets, t, next)
    {
        HASH_DEL(r->targets, t);
        mem_free(t);
    }
}

struct target *target_get(struct round *r, const char *address)
{
    struct target *t;
    HASH_FIND_STR(r->targets, address, t);
    if (t == NULL && HASH_COUNT(r->targets) < ENGINE_TARGETS) {
        size_t len = strlen(address);
        assert(len <= NODE_ADDRESS_MAX);
        t = mem_zalloc(sizeof(*t));
        memcpy(t->address, address, len + 1);
        HASH_ADD_STR(r->targets, address, t);
    }
    return t;
}

/* The process that we see at a target, if it is fit to be given work. */
static const struct process *target_process(const struct round *r,
                                            const struct target *t)
{
    const struct node *n =
        membership_find(r->e->c.membership, r->e->c.kind, t->address);
    if (n == NULL || n->state != NODE_UP || !n->process.known)
        return NULL;
    return &n->process;
}

/* A gate is made before anybody moves work there, by a txn of its own: batches
 * run side by side, and only one of them could make it. */
static void on_created(void *part, size_t index,
                       const struct registry_reply *reply);

static void target_create(struct round *r, struct target *t,
                          const struct process *p)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct gate gate = {.state = GATE_OPEN, .process = *p};
    struct buf value;
    struct registry_op ops[2] = {
        {.type = REGISTRY_CHECK_LOCK, .lock = r->lock},
        {.type = REGISTRY_PUT, .expect = REGISTRY_ABSENT},
    };
    buf_init(&value, REGISTRY_VALUE_MAX);
    gate_write(&value, &gate);
    ops[1].key = gate_key(r->e->c.kind, t->address, key, sizeof(key));
    ops[1].value = buf_text(&value);
    ops[1].value_len = value.len;
    t->state = TARGET_BUSY;
    r->n_busy++;
    registry_txn(r->e->c.registry, ops, 2, call_done,
                 call_new(&r->e->calls, on_created, r, (size_t)(uintptr_t)t));
    buf_close(&value);
}

static void on_target(void *part, size_t index,
                      const struct registry_reply *reply)
{
    struct round *r = part;
    struct target *t = (struct target *)(uintptr_t)index;
    const struct process *p = target_process(r, t);
    struct err err;
    assert(t->state == TARGET_BUSY && r->n_busy > 0);
    r->n_busy--;
    err_clear(&err);
    t->state = TARGET_CLOSED;
    if (reply->err.code == ERR_NOT_FOUND) {
        if (p != NULL && t->tries <= ENGINE_TRIES)
            target_create(r, t, p);
    } else if (reply->err.code != ERR_OK) {
        round_fail(r, &reply->err);
    } else if (gate_read(&t->gate, reply->entries[0].value,
                         reply->entries[0].value_len, &err) != 0) {
        log_error("!gate-unreadable", LOG_S("address", t->address),
                  LOG_S("why", err.msg));
    } else {
        t->gate.version = reply->entries[0].version;
        if (p != NULL && gate_takes(&t->gate, p))
            t->state = TARGET_OPEN;
    }
    round_pump(r);
}

void target_read(struct round *r, struct target *t)
{
    char key[REGISTRY_KEY_MAX + 1];
    assert(t->state != TARGET_BUSY);
    if (++t->tries > ENGINE_TRIES) {
        t->state = TARGET_CLOSED;
        return;
    }
    t->state = TARGET_BUSY;
    t->read_at = r->e->c.clock->mono;
    r->n_busy++;
    registry_get(
        r->e->c.registry, gate_key(r->e->c.kind, t->address, key, sizeof(key)),
        call_done, call_new(&r->e->calls, on_target, r, (size_t)(uintptr_t)t));
}

static void on_created(void *part, size_t index,
                       const struct registry_reply *reply)
{
    struct round *r = part;
    struct target *t = (struct target *)(uintptr_t)index;
    assert(r->n_busy > 0);
    r->n_busy--;
    t->state = TARGET_UNREAD;
    switch (reply->err.code) {
    case ERR_OK:
    case ERR_UNKNOWN:
        break; /* what stands there now decides */
    case ERR_CONFLICT:
        if (reply->failed_op == 0) {
            struct err lost;
            (void)err_set(&lost, ERR_SESSION_LOST, "the lock is not ours");
            round_fail(r, &lost);
        }
        break;
    default:
        round_fail(r, &reply->err);
        break;
    }
    round_pump(r);
}

/* --- planning ------------------------------------------------------------ */

static size_t excluded(struct round *r, const char **list)
{
    size_t n = 0;
    struct target *t, *next;
    HASH_ITER(hh, r->targets, t, next)
    {
        if (t->state == TARGET_CLOSED && n < EXCLUDED_MAX)
            list[n++] = t->address;
    }
    return n;
}

void item_give_back(struct round *r, struct item *it)
{
    const struct engine_config *c = &r->e->c;
    if (it->given.counted && c->unused != NULL)
        c->unused(c->target_arg, c->kind, &it->given);
    it->given.counted = false;
}

/* Who takes it: NULL nobody. */
static struct target *find_target(struct round *r, struct item *it)
{
    const char *list[EXCLUDED_MAX];
    struct engine *e = r->e;
    struct target *t;
    item_give_back(r, it); /* planned before, and not again there */
    memset(&it->given, 0, sizeof(it->given));
    e->c.target(e->c.target_arg, e->c.kind, it->work.group, list,
                excluded(r, list), &it->given);
    if (it->given.code != NULL)
        return NULL;
    t = target_get(r, it->given.address);
    if (t == NULL || t->state == TARGET_CLOSED) {
        /* the one who picks has not heard yet that this one is closed */
        item_give_back(r, it);
        return NULL;
    }
    return t;
}

static void plan_item(struct round *r, struct item *it)
{
    struct plan_rules rules;
    round_rules(r, &rules);
    if (!work_epoch_left(it->work.epoch, r->floor)) {
        log_error("!no-epoch-left", LOG_S("id", it->work.id),
                  LOG_U("epoch", it->work.epoch), LOG_U("floor", r->floor));
        it->state = ITEM_SETTLED;
        r->counts.stuck++;
        return;
    }
    it->state = ITEM_PLANNED;
    it->target = NULL;
    it->action = plan_action(&it->work, &rules, &it->cause);
    if (it->action == PLAN_HEIR) {
        struct target *t = target_get(r, r->address);
        if (t != NULL && t->state == TARGET_UNREAD) {
            /* the heir keeps its work through a cordon: its own gate as read
             * with the failover decides, and the txn checks it */
            t->gate = r->gate;
            t->read_at = it->read_at;
            t->state = TARGET_OPEN;
        }
        it->target = t;
        if (t == NULL || t->state == TARGET_CLOSED)
            it->state = ITEM_SETTLED, r->counts.stuck++;
        return;
    }
    if (it->action != PLAN_MOVE)
        return;
    it->target = find_target(r, it);
    if (it->target == NULL && it->work.state == WORK_WAITING) {
        it->state = ITEM_SETTLED; /* it waits already */
        r->counts.stuck++;
    }
}

/* Plans an item and sees to its target; one that closed sends it on to the
 * next, which ends because a closed target is never chosen again. */
static void follow_target(struct round *r, struct item *it)
{
    for (;;) {
        if (it->state == ITEM_READ)
            plan_item(r, it);
        if (it->state != ITEM_PLANNED || it->target == NULL)
            return;
        if (it->target->state == TARGET_UNREAD)
            target_read(r, it->target);
        if (it->target->state != TARGET_CLOSED)
            return;
        if (it->action == PLAN_HEIR) {
            it->state = ITEM_SETTLED; /* the heir's gate changed: look anew */
            r->counts.stuck++;
            return;
        }
        it->state = ITEM_READ;
    }
}

/* Did the failover under way take it from the owner that we listed? */
static bool was_moved(const struct round *r, const struct item *it)
{
    for (size_t i = 0; i < it->work.n_history; i++) {
        const struct work_past *past = &it->work.history[i];
        if (past->epoch == it->marker.epoch && r->failover[0] != '\0' &&
            strcmp(past->failover, r->failover) == 0)
            return true;
    }
    return false;
}

void round_reread(struct round *r, size_t i)
{
    struct item *it = &r->items[i];
    const struct work_item *w = &it->work;
    assert(it->state == ITEM_READ && it->loaded);
    if (it->doubt && was_moved(r, it)) {
        plan_recount(&r->counts, w, r->failover); /* the answer was a yes */
        it->given.counted = false;
        it->state = ITEM_SETTLED;
        return;
    }
    if (w->epoch != it->marker.epoch || !round_item_moves(r, it)) {
        it->state = ITEM_SETTLED; /* finished, or handed over: not ours */
        return;
    }
    if (++it->tries > ENGINE_TRIES) {
        log_warn("!work-stuck", LOG_S("id", w->id),
                 LOG_S("address", r->address));
        it->state = ITEM_SETTLED;
        r->counts.stuck++;
    }
}

/* --- the pump ------------------------------------------------------------ */

static bool all_settled(const struct round *r)
{
    for (size_t i = 0; i < r->n_items; i++) {
        if (r->items[i].state != ITEM_SETTLED)
            return false;
    }
    return true;
}

static void finish(struct round *r)
{
    r->moving = false;
    targets_close(r);
    r->done(r->arg, r->err.code);
}

/* Whatever can be done now. */
static void advance(struct round *r)
{
    for (size_t i = 0; i < r->n_items && r->reading < ENGINE_READS_MAX; i++) {
        if (r->items[i].state == ITEM_UNREAD)
            round_read_item(r, i);
    }
    for (size_t i = 0; i < r->n_items; i++)
        follow_target(r, &r->items[i]);
    batch_send(r);
}

static bool under_way(const struct round *r)
{
    return r->n_busy + r->reading + r->n_batches > 0;
}

void round_pump(struct round *r)
{
    assert(r->moving);
    if (r->session != registry_session(r->e->c.registry)) {
        struct err lost;
        (void)err_set(&lost, ERR_SESSION_LOST, "another session");
        round_fail(r, &lost);
    }
    if (r->err.code == ERR_OK) {
        advance(r);
        if (!under_way(r) && !all_settled(r))
            advance(r); /* what was planned had grown old: it is read again */
    }
    /* a failure waits for what is in flight, so that it is still counted */
    if (under_way(r))
        return;
    assert(r->err.code != ERR_OK || all_settled(r));
    finish(r);
}

void round_move(struct round *r, const struct registry_lock *lock,
                round_done_f *done, void *arg)
{
    assert(!r->moving && r->n_batches == 0);
    r->moving = true;
    r->lock = lock;
    r->done = done;
    r->arg = arg;
    memset(&r->counts, 0, sizeof(r->counts));
    r->bytes_max = registry_max_bytes(r->e->c.registry);
    r->ops_max = registry_max_ops(r->e->c.registry);
    round_pump(r);
}
