/*
 * move.c - finds a target for every listed item, reads the targets' gates, and
 * sends the moves in txns, several in flight. Each txn checks the lock, every
 * target's gate and every item's version; so it applies as a whole or not at
 * all, and never after somebody else acted.
 *
 * Design: level-triggered. Every completion ends in pump(), which does whatever
 * can be done in the state that the items are in; so a conflict, a lost reply
 * and a first attempt need no paths of their own. Longer than 500 lines: these
 * are the completions of one pump, and all that it may do.
 *
 *   READ -> PLANNED (action, target) -> SENT -> SETTLED
 *     ^        | target closed: READ       | conflict, unknown: UNREAD
 *     +--------+---------------------------+
 */
#include "failover/engine/engine_priv.h"
#include "failover/failpoint.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>
#include <utlist.h>

#define EXCLUDED_MAX 64 /* closed targets told to whoever picks */
#define LOCK_LOST    "the lock is not ours"

static void pump(struct move_pass *pass);

static void lost(struct move_pass *pass, const char *why)
{
    struct err err;
    err_set(&err, ERR_SESSION_LOST, "%s", why);
    engine_pass_fail(pass, &err);
}

/* It stays where it is for now: the next pass looks at it. */
static void leave(struct move_pass *pass, struct item *it)
{
    assert(it->state != ITEM_SENT && it->state != ITEM_SETTLED);
    it->state = ITEM_SETTLED;
    pass->counts.stuck++;
}

/* --- targets ------------------------------------------------------------- */

static struct target *target_get(struct move_pass *pass, const char *address)
{
    struct target *t;
    HASH_FIND_STR(pass->targets, address, t);
    if (t == NULL && HASH_COUNT(pass->targets) < ENGINE_TARGETS) {
        size_t len = strlen(address);
        assert(len <= NODE_ADDRESS_MAX);
        t = mem_zalloc(sizeof(*t));
        t->pass = pass;
        memcpy(t->address, address, len + 1);
        HASH_ADD_STR(pass->targets, address, t);
    }
    return t;
}

/* The process that we see at a target, if it is fit to be given work. */
static const struct process *target_process(const struct move_pass *pass,
                                            const struct target *t)
{
    const struct node *n =
        membership_find(pass->e->c.membership, pass->e->c.kind, t->address);
    if (n == NULL || n->state != NODE_UP || !n->process.known)
        return NULL;
    return &n->process;
}

/* A gate is made before anybody moves work there, by a txn of its own: batches
 * run side by side, and only one of them could make it. What stands there now
 * decides, also where the outcome is unknown. */
static void on_created(void *arg, const struct registry_reply *reply)
{
    struct target *t = arg;
    struct move_pass *pass = t->pass;
    assert(t->state == TARGET_BUSY && pass->n_busy > 0);
    pass->n_busy--;
    t->state = TARGET_UNREAD;
    if (reply->err.code == ERR_CONFLICT && reply->failed_op == 0)
        lost(pass, LOCK_LOST);
    else if (reply->err.code != ERR_OK && reply->err.code != ERR_CONFLICT &&
             reply->err.code != ERR_UNKNOWN)
        engine_pass_fail(pass, &reply->err);
    pump(pass);
}

static void target_create(struct move_pass *pass, struct target *t,
                          const struct process *p)
{
    struct gate gate = {.state = GATE_OPEN, .process = *p};
    struct buf value;
    struct txn txn;
    assert(p->known);
    assert(t->state == TARGET_CLOSED);
    buf_init(&value, REGISTRY_VALUE_MAX);
    gate_write(&value, &gate);
    engine_txn_init(&txn, 2);
    engine_txn_check_lock(&txn, pass->lock);
    gate_key(pass->e->c.kind, t->address, engine_txn_put(&txn, 0, &value),
             REGISTRY_KEY_MAX + 1);
    t->state = TARGET_BUSY;
    pass->n_busy++;
    engine_txn_send(&txn, pass->e->c.registry, on_created, t);
}

static void on_target(void *arg, const struct registry_reply *reply)
{
    struct target *t = arg;
    struct move_pass *pass = t->pass;
    const struct process *p = target_process(pass, t);
    struct err err;
    assert(t->state == TARGET_BUSY && pass->n_busy > 0);
    pass->n_busy--;
    err_clear(&err);
    t->state = TARGET_CLOSED;
    if (gates_take(&t->gate, reply, &err) == 0) {
        if (t->gate.state != GATE_ABSENT && p != NULL &&
            gate_takes(&t->gate, p))
            t->state = TARGET_OPEN;
        else if (t->gate.state == GATE_ABSENT && p != NULL &&
                 t->tries <= ENGINE_TRIES)
            target_create(pass, t, p);
    } else if (reply->err.code == ERR_OK) {
        log_error("!gate-unreadable", LOG_S("address", t->address),
                  LOG_S("why", err.msg));
    } else {
        engine_pass_fail(pass, &err);
    }
    pump(pass);
}

static void target_read(struct move_pass *pass, struct target *t)
{
    assert(t->state != TARGET_BUSY);
    if (++t->tries > ENGINE_TRIES) {
        t->state = TARGET_CLOSED;
        return;
    }
    t->state = TARGET_BUSY;
    t->read_at = pass->e->c.clock->mono;
    pass->n_busy++;
    gates_get(pass->e->c.registry, pass->e->c.kind, t->address, on_target, t);
}

/* --- planning ------------------------------------------------------------ */

static size_t excluded(struct move_pass *pass, const char **list)
{
    size_t n = 0;
    struct target *t, *next;
    HASH_ITER (hh, pass->targets, t, next)
        if (t->state == TARGET_CLOSED && n < EXCLUDED_MAX)
            list[n++] = t->address;
    return n;
}

/* Who takes it: NULL nobody. */
static struct target *find_target(struct move_pass *pass, struct item *it)
{
    const char *list[EXCLUDED_MAX];
    struct engine *e = pass->e;
    struct target *t;
    engine_pass_give_back(pass, it); /* planned before, and not again there */
    memset(&it->given, 0, sizeof(it->given));
    e->c.target(e->c.target_arg, e->c.kind, it->work.group, list,
                excluded(pass, list), &it->given);
    if (it->given.code != PROBLEM_NONE)
        return NULL;
    t = target_get(pass, it->given.address);
    if (t == NULL || t->state == TARGET_CLOSED) {
        /* the one who picks has not heard yet that this one is closed */
        engine_pass_give_back(pass, it);
        return NULL;
    }
    return t;
}

static void plan_item(struct move_pass *pass, struct item *it)
{
    struct plan_rules rules;
    assert(it->state == ITEM_READ);
    assert(it->loaded);
    engine_pass_rules(pass, &rules);
    if (!work_epoch_left(it->work.epoch, pass->floor)) {
        log_error("!no-epoch-left", LOG_S("id", it->work.id),
                  LOG_U("epoch", it->work.epoch), LOG_U("floor", pass->floor));
        leave(pass, it);
        return;
    }
    it->state = ITEM_PLANNED;
    it->target = NULL;
    it->action = failover_plan_action(&it->work, &rules, &it->cause);
    if (it->action == PLAN_HEIR) {
        struct target *t = target_get(pass, pass->address);
        if (t != NULL && t->state == TARGET_UNREAD) {
            /* the heir keeps its work through a cordon: its own gate as read
             * with the failover decides, and the txn checks it */
            t->gate = pass->gate;
            t->read_at = it->read_at;
            t->state = TARGET_OPEN;
        }
        it->target = t;
        if (t == NULL || t->state == TARGET_CLOSED)
            leave(pass, it);
        return;
    }
    if (it->action != PLAN_MOVE)
        return;
    it->target = find_target(pass, it);
    if (it->target == NULL && it->work.state == WORK_WAITING)
        leave(pass, it); /* it waits already */
}

/* Plans an item and sees to its target; one that closed sends it on to the
 * next, which ends because a closed target is never chosen again. */
static void follow_target(struct move_pass *pass, struct item *it)
{
    for (;;) {
        if (it->state == ITEM_READ)
            plan_item(pass, it);
        if (it->state != ITEM_PLANNED || it->target == NULL)
            return;
        if (it->target->state == TARGET_UNREAD)
            target_read(pass, it->target);
        if (it->target->state != TARGET_CLOSED)
            return;
        if (it->action == PLAN_HEIR) {
            leave(pass, it); /* the heir's gate changed: look anew */
            return;
        }
        it->state = ITEM_READ;
    }
}

/* --- answers ------------------------------------------------------------- */

static void back_to(struct batch *b, enum item_state state, bool doubt)
{
    for (size_t i = 0; i < b->n_items; i++) {
        b->items[i]->state = state;
        b->items[i]->doubt = b->items[i]->doubt || doubt;
    }
}

static void applied(struct batch *b)
{
    struct move_pass *pass = b->pass;
    struct work_item after;
    struct plan_rules rules;
    assert(b->n_items > 0);
    engine_pass_rules(pass, &rules);
    for (size_t i = 0; i < b->n_items; i++) {
        struct item *it = b->items[i];
        engine_batch_project(it, &rules, &after);
        failover_plan_count(&pass->counts, &after, it->action);
        it->given.counted = false; /* it has it */
        it->state = ITEM_SETTLED;
    }
    pass->total += b->n_items;
    failover_failpoint("engine-mid-move", pass->total);
}

/* The whole batch was refused because of one operation. What conflicted is
 * read again and decided anew; the others stand as they were. */
static void conflicted(struct batch *b, size_t op)
{
    struct move_pass *pass = b->pass;
    assert(b->n_items > 0);
    back_to(b, ITEM_PLANNED, false);
    if (op >= b->txn.n) { /* not told which one: all of them */
        back_to(b, ITEM_UNREAD, false);
        return;
    }
    if (b->op_item[op] != NULL) {
        b->op_item[op]->state = ITEM_UNREAD;
    } else if (b->op_target[op] != NULL) {
        if (b->op_target[op]->state == TARGET_OPEN)
            b->op_target[op]->state = TARGET_UNREAD;
    } else {
        lost(pass, LOCK_LOST);
    }
}

static void too_large(struct batch *b)
{
    struct move_pass *pass = b->pass;
    assert(b->n_items > 0);
    back_to(b, ITEM_PLANNED, false);
    if (b->n_items > 1) {
        pass->bytes_max = b->bytes / 2;
        return;
    }
    log_error("!work-too-large", LOG_S("id", b->items[0]->marker.id),
              LOG_U("bytes", b->bytes));
    leave(pass, b->items[0]);
}

static void on_batch(void *arg, const struct registry_reply *reply)
{
    struct batch *b = arg;
    struct move_pass *pass = b->pass;
    assert(pass->batches != NULL && pass->n_batches > 0);
    DL_DELETE(pass->batches, b);
    pass->n_batches--;
    switch (reply->err.code) {
    case ERR_OK:
        applied(b);
        break;
    case ERR_CONFLICT:
    case ERR_NOT_FOUND:
        conflicted(b, reply->failed_op);
        break;
    case ERR_UNKNOWN: /* it may have been applied, or still be */
        back_to(b, ITEM_UNREAD, true);
        break;
    case ERR_TOO_LARGE:
        too_large(b);
        break;
    default:
        back_to(b, ITEM_PLANNED, false);
        engine_pass_fail(pass, &reply->err);
        break;
    }
    engine_batch_free(b);
    pump(pass);
}

/* --- sending ------------------------------------------------------------- */

/* A txn on a read older than the session's timeout, or of an earlier session,
 * is not sent: read again. */
static bool ready(struct move_pass *pass, struct item *it)
{
    struct engine *e = pass->e;
    if (it->state != ITEM_PLANNED)
        return false;
    if (it->target != NULL && it->target->state != TARGET_OPEN)
        return false;
    if (!engine_is_fresh(e, it->read_at, pass->session)) {
        it->state = ITEM_UNREAD;
        return false;
    }
    if (it->target != NULL &&
        !engine_is_fresh(e, it->target->read_at, pass->session)) {
        it->target->state = TARGET_UNREAD;
        return false;
    }
    return true;
}

static void send_batch(struct move_pass *pass, struct batch *b)
{
    assert(b->n_items > 0);
    assert(pass->n_batches < ENGINE_BATCHES);
    DL_APPEND(pass->batches, b);
    pass->n_batches++;
    failover_failpoint("engine-before-batch", 1);
    engine_txn_send(&b->txn, pass->e->c.registry, on_batch, b);
}

/* One more batch; false: nothing is ready. */
static bool send_one(struct move_pass *pass, size_t *from)
{
    size_t n = 0;
    assert(*from <= pass->n_items);
    for (size_t i = *from; i < pass->n_items; i++)
        n += ready(pass, &pass->items[i]);
    if (n == 0)
        return false;
    struct plan_rules rules;
    engine_pass_rules(pass, &rules);
    struct batch *b = engine_batch_new(pass, n);
    for (; *from < pass->n_items; (*from)++)
        if (ready(pass, &pass->items[*from]) &&
            !engine_batch_add(b, &pass->items[*from], &rules))
            break;
    if (b->n_items == 0) { /* one item alone does not fit a txn */
        struct item *it = &pass->items[*from];
        log_error("!work-too-large", LOG_S("id", it->marker.id));
        leave(pass, it);
        engine_batch_free(b);
        return true;
    }
    send_batch(pass, b);
    return true;
}

static void send_batches(struct move_pass *pass)
{
    size_t from = 0;
    assert(pass->n_batches <= ENGINE_BATCHES);
    /* while targets or items are being read a batch would be a small one */
    if (pass->n_busy + pass->reading > 0 ||
        !engine_is_fresh(pass->e, pass->e->c.clock->mono, pass->session))
        return;
    while (pass->n_batches < ENGINE_BATCHES && send_one(pass, &from))
        ;
}

/* --- an item read again -------------------------------------------------- */

/* Did the failover under way take it from the owner that we listed? */
static bool was_moved(const struct move_pass *pass, const struct item *it)
{
    for (size_t i = 0; i < it->work.n_history; i++) {
        const struct work_past *past = &it->work.history[i];
        if (past->epoch == it->marker.epoch && pass->failover[0] != '\0' &&
            strcmp(past->failover, pass->failover) == 0)
            return true;
    }
    return false;
}

static void reread(struct move_pass *pass, struct item *it)
{
    const struct work_item *w = &it->work;
    assert(it->state == ITEM_READ && it->loaded);
    if (it->doubt && was_moved(pass, it)) {
        failover_plan_recount(&pass->counts, w,
                              pass->failover); /* the answer was a yes */
        it->given.counted = false;
        it->state = ITEM_SETTLED;
        return;
    }
    if (w->epoch != it->marker.epoch || !engine_pass_item_moves(pass, it)) {
        it->state = ITEM_SETTLED; /* finished, or handed over: not ours */
        return;
    }
    if (++it->tries > ENGINE_TRIES) {
        log_warn("!work-stuck", LOG_S("id", w->id),
                 LOG_S("address", pass->address));
        leave(pass, it);
    }
}

static void on_item(void *arg, const struct registry_reply *reply)
{
    struct item *it = arg;
    struct move_pass *pass = it->pass;
    if (engine_pass_item_load(pass, it, reply))
        reread(pass, it);
    else
        it->state = ITEM_SETTLED;
    pump(pass);
}

/* --- the pump ------------------------------------------------------------ */

static bool all_settled(const struct move_pass *pass)
{
    for (size_t i = 0; i < pass->n_items; i++)
        if (pass->items[i].state != ITEM_SETTLED)
            return false;
    return true;
}

static void finish(struct move_pass *pass)
{
    assert(pass->reading == 0);
    assert(pass->done != NULL);
    assert(pass->moving && pass->n_batches == 0);
    assert(pass->n_busy == 0);
    pass->moving = false;
    pass->done(pass->arg, pass->err.code);
}

/* Whatever can be done now. */
static void advance(struct move_pass *pass)
{
    assert(pass->err.code == ERR_OK);
    for (size_t i = 0; i < pass->n_items && pass->reading < ENGINE_READS_MAX;
         i++)
        if (pass->items[i].state == ITEM_UNREAD)
            engine_pass_item_read(pass, i, on_item);
    for (size_t i = 0; i < pass->n_items; i++)
        follow_target(pass, &pass->items[i]);
    send_batches(pass);
}

static bool under_way(const struct move_pass *pass)
{
    return pass->n_busy + pass->reading + pass->n_batches > 0;
}

static void pump(struct move_pass *pass)
{
    assert(pass->moving);
    if (pass->session != registry_session(pass->e->c.registry))
        lost(pass, "another session");
    if (pass->err.code == ERR_OK) {
        advance(pass);
        if (!under_way(pass) && !all_settled(pass))
            advance(
                pass); /* what was planned had grown old: it is read again */
    }
    /* a failure waits for what is in flight, so that it is still counted */
    if (under_way(pass))
        return;
    assert(pass->err.code != ERR_OK || all_settled(pass));
    finish(pass);
}

/* What was read for the pages before holds for as long as each batch may check
 * it: those that are open to the process that we see there now. */
static void keep_open_targets(struct move_pass *pass)
{
    bool room = HASH_COUNT(pass->targets) + ENGINE_PAGE <= ENGINE_TARGETS;
    struct target *t, *next;
    assert(pass->n_busy == 0);
    assert(pass->n_batches == 0);
    HASH_ITER (hh, pass->targets, t, next) {
        const struct process *p = target_process(pass, t);
        t->tries = 0;
        if (!room || t->state != TARGET_OPEN || p == NULL ||
            !gate_takes(&t->gate, p))
            engine_pass_forget_target(pass, t);
    }
}

void engine_pass_move(struct move_pass *pass, const struct registry_lock *lock,
                      pass_done_f *done, void *arg)
{
    assert(done != NULL);
    assert(pass->reading == 0);
    assert(lock != NULL);
    assert(!pass->moving && pass->n_batches == 0);
    pass->moving = true;
    pass->lock = lock;
    pass->done = done;
    pass->arg = arg;
    memset(&pass->counts, 0, sizeof(pass->counts));
    pass->bytes_max = registry_max_bytes(pass->e->c.registry);
    pass->ops_max = registry_max_ops(pass->e->c.registry);
    keep_open_targets(pass);
    pump(pass);
}
