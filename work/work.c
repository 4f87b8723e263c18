/*
 * work.c - the life of an operation: begun, waiting, replied, freed.
 *
 * A registry call cannot be taken back, so an operation that has replied stays
 * until its calls have completed; only then is it freed.
 */
#include "work/work_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>
#include <utlist.h>

/* --- life ---------------------------------------------------------------- */

struct work_op *work_op_new(struct work *w, const struct op_verb *verb)
{
    struct work_op *op = mem_zalloc(sizeof(*op));

    assert(verb->then != NULL);
    op->w = w;
    op->verb = verb;
    attempt_init(&op->attempt, w->config.clock->mono);
    buf_init(&op->wrote, WORK_TXN_OPS * (REGISTRY_KEY_MAX + 1));
    for (unsigned i = 0; i < OP_READS; i++)
        op->slots[i] = (struct op_slot){.op = op, .what = (enum op_read)i};
    DL_APPEND(w->ops, op);
    w->n_ops++;
    return op;
}

void work_op_start(struct work_op *op, enum problem refused)
{
    assert(op->pending == 0);
    assert(!op->finished);
    if (refused == PROBLEM_NONE && op->w->n_ops > WORK_OPS_MAX) {
        refused = PROBLEM_BUSY;
        err_set(&op->trouble, ERR_FULL,
                "%d operations are under way; try again", WORK_OPS_MAX);
    }
    op->refused = refused;
    if (refused == PROBLEM_NONE)
        work_op_run(op);
}

void work_op_ask(struct work *w, const struct op_verb *verb, const char *id,
                 uint64_t epoch, work_reply_f *done, void *arg)
{
    struct work_op *op = work_op_new(w, verb);
    int rc = work_check_id(id, &op->trouble);

    assert(done != NULL);
    op->done = done;
    op->arg = arg;
    op->epoch = epoch;
    if (rc == 0)
        memcpy(op->want.id, id, strlen(id) + 1);
    work_op_start(op, rc == 0 ? PROBLEM_NONE : PROBLEM_INVALID);
}

static void op_free(struct work_op *op)
{
    assert(!op->target.counted);
    assert(op->n_exclude <= WORK_EXCLUDE_MAX);
    if (op->w != NULL) {
        assert(op->w->n_ops > 0);
        op->w->n_ops--;
    }
    for (size_t i = 0; i < op->n_exclude; i++)
        mem_free(op->exclude[i]);
    work_item_close(&op->want);
    work_item_close(&op->item);
    work_item_close(&op->next_item);
    work_list_free(op->list);
    buf_close(&op->wrote);
    mem_free(op);
}

bool work_op_landed(struct work_op *op)
{
    assert(op->w != NULL || op->finished);
    assert(op->pending > 0);
    op->pending--;
    if (!op->finished)
        return true;
    if (op->pending == 0) {
        if (op->w != NULL)
            DL_DELETE(op->w->replied, op);
        op_free(op);
    }
    return false;
}

/* Out of the list of those under way; freed now or when its calls are in. */
static void op_finish(struct work_op *op)
{
    struct work *w = op->w;

    assert(op->attempt.conflicts <= ATTEMPT_CONFLICTS_MAX);
    assert(!op->finished);
    assert(w != NULL && w->ops != NULL);
    work_op_unpick(op);
    op->finished = true;
    DL_DELETE(w->ops, op);
    if (op->pending > 0)
        DL_APPEND(w->replied, op);
    else
        op_free(op);
}

/* --- replies ------------------------------------------------------------- */

static void tell(struct work_op *op, enum problem code,
                 const struct work_item *item)
{
    struct work_reply reply = {.code = code,
                               .created = op->created,
                               .item = item,
                               .id = op->want.id,
                               .wrote = buf_text(&op->wrote),
                               .made = op->created ? op->made : 0};

    assert(op->w->replying);
    assert(op->type != OP_WORK || op->done != NULL);
    if (code != PROBLEM_NONE) {
        reply.err = op->trouble;
        if (reply.err.code == ERR_OK) {
            err_set(&reply.err,
                    problem_status(code) == 404 ? ERR_NOT_FOUND : ERR_CONFLICT,
                    "work %s: %s", op->want.id, problem_code(code));
        }
        if (op->target.code != PROBLEM_NONE)
            reply.retry_after_ms = op->target.retry_after_ms;
    }
    if (op->type == OP_WORK) {
        op->done(op->arg, &reply);
    } else if (op->type == OP_GATE) {
        op->gate_done(op->arg, code, &reply.err, &op->gate);
    } else {
        struct work_page page = {.code = code, .err = reply.err};

        if (code == PROBLEM_NONE)
            work_list_page(op->list, &page);
        op->page_done(op->arg, &page);
    }
}

void work_op_reply(struct work_op *op, enum problem code,
                   const struct work_item *item)
{
    assert(!op->finished);
    assert(!op->created || code == PROBLEM_NONE);
    op->w->replying = true;
    tell(op, code, item);
    op->w->replying = false;
    op_finish(op);
}

void work_op_refuse(struct work_op *op, enum problem code)
{
    const struct work_item *item = &op->item;

    assert(op->found && code != PROBLEM_NONE);
    err_set(&op->trouble, ERR_CONFLICT, "work %s is %s at epoch %" PRIu64,
            item->id, work_state_name(item->state), item->epoch);
    if (item->owner[0] != '\0')
        err_add(&op->trouble, ", owned by %s", item->owner);
    if (op->epoch != 0 && op->epoch != item->epoch)
        err_add(&op->trouble, ", not yours at %" PRIu64, op->epoch);
    work_op_reply(op, code, item);
}

static void deadline_over(struct work_op *op)
{
    bool unknown = op->attempt.doubt || op->writing;

    assert(!op->finished);
    err_set(&op->trouble, unknown ? ERR_UNKNOWN : ERR_UNAVAILABLE,
            unknown ? "work %s: whether it was stored cannot be read "
                      "back; ask again for it"
                    : "work %s: no answer from the registry",
            op->want.id);
    work_op_reply(
        op, unknown ? PROBLEM_OUTCOME_UNKNOWN : PROBLEM_TROUBLE_UNREACHABLE,
        NULL);
}

/* `code`: what to reply if it failed. */
static void go_on(struct work_op *op, enum attempt_next next, enum problem code)
{
    assert(!op->finished);
    switch (next) {
    case ATTEMPT_NOW:
        work_op_run(op);
        break;
    case ATTEMPT_LATER: /* work_tick() */
        break;
    case ATTEMPT_FAILED:
        work_op_reply(op, code, NULL);
        break;
    case ATTEMPT_UNKNOWN:
        deadline_over(op);
        break;
    }
}

void work_op_reply_unless_doubt(struct work_op *op, enum problem code)
{
    assert(code != PROBLEM_NONE);
    go_on(op, attempt_failed(&op->attempt, op->w->config.clock->mono), code);
}

void work_op_unknown(struct work_op *op)
{
    assert(!op->check_only);
    assert(op->pending == 0);
    go_on(op,
          attempt_write_failed(&op->attempt, ERR_UNKNOWN,
                               op->w->config.clock->mono),
          PROBLEM_OUTCOME_UNKNOWN);
}

void work_op_failed(struct work_op *op, const struct err *err)
{
    enum problem code = problem_of_err(err->code);

    assert(err->code != ERR_OK);
    assert(!op->finished);
    op->trouble = *err;
    if (err->code == ERR_WENT_BACK)
        work_op_shown(op);
    if (op->damaged && err->code == ERR_INVALID)
        code = PROBLEM_DAMAGED;
    else if (err->code == ERR_NOT_FOUND || err->code == ERR_CONFLICT ||
             err->code == ERR_UNKNOWN)
        code = PROBLEM_TROUBLE_UNREACHABLE; /* a read that told nothing */
    work_op_reply_unless_doubt(op, code);
}

void work_op_again(struct work_op *op)
{
    assert(op->pending == 0);
    err_set(&op->trouble, ERR_CONFLICT,
            "work %s: changed by others %d times while it was written",
            op->want.id, ATTEMPT_CONFLICTS_MAX);
    go_on(op,
          attempt_write_failed(&op->attempt, ERR_CONFLICT,
                               op->w->config.clock->mono),
          PROBLEM_BUSY);
}

/* --- time ---------------------------------------------------------------- */

void work_tick(struct work *w)
{
    mono_ms now = w->config.clock->mono;
    struct work_op *op, *next;

    assert(!w->replying);
    if (w->config.view != NULL)
        work_view_tick(w->config.view);
    /* A reply may begin operations (at the tail) but ends only its own. */
    for (op = w->ops; op != NULL; op = next) {
        next = op->next;
        if (op->refused != PROBLEM_NONE)
            work_op_reply(op, op->refused, NULL);
        else if (now >= op->attempt.deadline)
            deadline_over(op);
        else if (attempt_is_due(&op->attempt, now))
            work_op_run(op);
    }
}

struct work *work_new(const struct work_config *config)
{
    struct work *w = mem_zalloc(sizeof(*w));

    assert(config->clock != NULL && config->registry != NULL);
    assert(config->membership != NULL && config->target != NULL);
    w->config = *config;
    rand_seed(&w->rand, config->seed);
    return w;
}

void work_free(struct work **w)
{
    struct work_op *op, *next;

    if (*w == NULL)
        return;
    assert(!(*w)->replying);
    while ((op = (*w)->ops) != NULL) {
        err_set(&op->trouble, ERR_CANCELLED,
                "work %s: the coordinator is stopping", op->want.id);
        work_op_reply(op,
                      op->attempt.doubt || op->writing ? PROBLEM_OUTCOME_UNKNOWN
                                                       : PROBLEM_CANCELLED,
                      NULL);
    }
    DL_FOREACH_SAFE ((*w)->replied, op, next)
        op->w = NULL;
    work_known_free(*w);
    mem_free((*w)->shown_items);
    MEM_FREE(*w);
}

void work_abandon(struct work **w)
{
    struct work_op *op;

    if (*w == NULL)
        return;
    DL_CONCAT((*w)->ops, (*w)->replied);
    while ((op = (*w)->ops) != NULL) {
        DL_DELETE((*w)->ops, op);
        work_op_used(op);
        op_free(op);
    }
    work_known_free(*w);
    mem_free((*w)->shown_items);
    MEM_FREE(*w);
}
