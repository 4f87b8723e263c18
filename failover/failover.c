/*
 * failover.c - the step: one function per state, which stays, advances or
 * gives the task up with a named reason. Design: nothing is repeated. A write
 * that did not certainly succeed leads back to READING, and what is read there
 * decides; so a conflict, an unknown outcome, a resumption and a first look
 * are one path.
 */
#include "failover/failover_priv.h"

#include "base/mem.h"

#include <string.h>

static const char *const state_names[] = {
    [FAILOVER_IDLE] = "idle",           [FAILOVER_WANT_LOCK] = "want-lock",
    [FAILOVER_HAVE_LOCK] = "have-lock", [FAILOVER_READING] = "reading",
    [FAILOVER_PLANNING] = "planning",   [FAILOVER_HOLDING] = "holding",
    [FAILOVER_OPENING] = "opening",     [FAILOVER_DROPPING] = "dropping",
    [FAILOVER_INTENTING] = "intent",    [FAILOVER_VERIFY] = "verify",
    [FAILOVER_TAKE_BACK] = "take-back", [FAILOVER_SET_MOVING] = "set-moving",
    [FAILOVER_HOOK] = "hook",           [FAILOVER_HOOK_SAVING] = "hook-saving",
    [FAILOVER_LISTING] = "listing",     [FAILOVER_MOVING_BATCHES] = "moving",
    [FAILOVER_SAVING] = "saving",       [FAILOVER_COUNTING] = "counting",
    [FAILOVER_CLOSING] = "closing",     [FAILOVER_COLLECTING] = "collecting",
};

const char *failover_state_name(enum failover_state s)
{
    assert((size_t)s < ARRAY_LEN(state_names));
    return state_names[s];
}

struct failover *failover_new(const struct failover_config *config)
{
    struct failover *f = mem_zalloc(sizeof(*f));
    f->config = *config;
    f->wanted_since = -1;
    assert(config->hold_ms_max > 0);
    return f;
}

void failover_free(struct failover **f)
{
    MEM_FREE(*f);
}

void failover_set_rank(struct failover *f, uint32_t rank)
{
    f->rank = rank;
}

enum failover_state failover_state(const struct failover *f)
{
    return f->state;
}

const struct failover_task *failover_task(const struct failover *f)
{
    return f->has_task ? &f->task : NULL;
}

const struct failover_record *failover_record(const struct failover *f)
{
    return f->has_record ? &f->record : NULL;
}

const struct gate *failover_gate(const struct failover *f)
{
    return &f->gate;
}

/* --- effects and transitions --------------------------------------------- */

struct failover_effect *step_effect(struct failover_effects *fx,
                                    enum failover_effect_type type)
{
    assert(fx->n < FAILOVER_EFFECTS_MAX);
    struct failover_effect *e = &fx->list[fx->n++];
    memset(e, 0, sizeof(*e));
    e->type = type;
    return e;
}

/* News and answers name the record, even if the same step settles the task. */
struct failover_effect *step_effect_about(struct failover *f,
                                          struct failover_effects *fx,
                                          enum failover_effect_type type)
{
    const struct failover_record *r = &f->record;
    struct failover_effect *e = step_effect(fx, type);
    e->failover = f->has_record ? r->id : f->gate.failover;
    e->held = f->has_record && r->phase == FAILOVER_HELD;
    e->cause = e->held ? r->cause : "";
    if (f->has_record)
        e->n = (size_t)r->moved + r->held + r->dropped + r->waiting;
    return e;
}

void step_tell(struct failover *f, struct failover_effects *fx,
               enum failover_news news, const char *word)
{
    struct failover_effect *e = step_effect_about(f, fx, FAILOVER_DO_TELL);
    e->news = news;
    e->word = word;
}

void step_answer(struct failover *f, struct failover_effects *fx,
                 const char *code)
{
    if (!f->has_task || !f->task.ordered || f->answered)
        return;
    f->answered = true;
    step_effect_about(f, fx, FAILOVER_DO_ANSWER)->word = code;
}

/* The one exit of every state that holds or wants the lock. */
void step_release(struct failover *f, struct failover_effects *fx,
                  mono_ms not_before)
{
    step_effect(fx, FAILOVER_DO_UNLOCK);
    f->state = FAILOVER_IDLE;
    f->locked = false;
    f->has_task = false;
    f->has_record = false;
    f->wanted_since = -1;
    f->not_before = not_before;
}

/* A step failed for a reason that is not the task's: let go and try later. */
void step_give_way(struct failover *f, struct failover_effects *fx, mono_ms now)
{
    step_effect(fx, FAILOVER_DO_SETTLE)->word = "interrupted";
    step_release(f, fx, now + f->config.retry_ms);
}

bool step_hold_is_over(const struct failover *f, mono_ms now)
{
    return now - f->locked_at >= f->config.hold_ms_max;
}

void step_go_next(struct failover *f, struct failover_effects *fx, mono_ms now)
{
    f->has_task = false;
    f->has_record = false;
    f->state = FAILOVER_HAVE_LOCK;
    if (step_hold_is_over(f, now))
        step_release(f, fx, now); /* others queue for it, too */
    else
        step_effect(fx, FAILOVER_DO_NEXT);
}

/* The task is over for now; `how` is the reason. */
void step_settle(struct failover *f, struct failover_effects *fx,
                 const char *how, mono_ms now)
{
    assert(f->has_task);
    step_effect(fx, FAILOVER_DO_SETTLE)->word = how;
    step_go_next(f, fx, now);
}

void step_go_read(struct failover *f, struct failover_effects *fx,
                  enum failover_state state)
{
    f->state = state;
    f->writing = false;
    step_effect(fx, FAILOVER_DO_READ);
}

void step_go_write(struct failover *f, struct failover_effects *fx,
                   enum failover_state state, bool gate, bool record)
{
    assert(f->locked && (gate || record));
    f->state = state;
    f->writing = true;
    struct failover_effect *e = step_effect(fx, FAILOVER_DO_WRITE);
    e->gate = gate ? &f->gate : NULL;
    e->record = record ? &f->record : NULL;
}

void step_go_list(struct failover *f, struct failover_effects *fx, bool afresh)
{
    f->state = FAILOVER_LISTING;
    if (afresh)
        f->dirty = false;
    step_effect(fx, FAILOVER_DO_LIST)->afresh = afresh;
}

/* How long a hook may take that begins now; 0: not long enough. It has half of
 * a hold at least, unless its own time is shorter, and leaves enough of it to
 * save its result. */
static int64_t hook_time(const struct failover *f, mono_ms now)
{
    int64_t left = f->locked_at + f->config.hold_ms_max - HOOK_SAVE_MS - now;
    int64_t half = f->config.hold_ms_max / 2, most = f->config.hook_ms;
    if (left < (most < half ? most : half))
        return 0;
    return left < most ? left : most;
}

void step_go_on(struct failover *f, struct failover_effects *fx, mono_ms now)
{
    assert(f->has_record && f->record.phase == FAILOVER_MOVING);
    if (f->config.hook_ms == 0 || f->record.hook_exit >= 0) {
        step_go_list(f, fx, true);
        return;
    }
    int64_t time = hook_time(f, now);
    if (time == 0) { /* the next hold begins with it */
        step_settle(f, fx, "rotated", now);
        return;
    }
    failover_take_over(f); /* the command is told the fence of this hold */
    f->state = FAILOVER_HOOK;
    step_effect(fx, FAILOVER_DO_HOOK)->time_ms = time;
}

void step_read_again(struct failover *f, struct failover_effects *fx,
                     mono_ms now)
{
    if (++f->tries > TRIES_MAX) {
        step_answer(f, fx, "busy");
        step_settle(f, fx, "contended", now);
        return;
    }
    step_go_read(f, fx, FAILOVER_READING);
}

/* --- what was written ---------------------------------------------------- */

static void written(struct failover *f, const struct failover_event *ev,
                    struct failover_effects *fx)
{
    switch (f->state) {
    case FAILOVER_INTENTING:
        step_tell(f, fx, FAILOVER_NEWS_INTENT, f->record.cause);
        step_answer(f, fx, NULL);
        step_go_read(f, fx, FAILOVER_VERIFY);
        return;
    case FAILOVER_TAKE_BACK:
        step_tell(f, fx, FAILOVER_NEWS_TAKEN_BACK, f->record.cause);
        step_settle(f, fx, "taken-back", ev->now);
        return;
    case FAILOVER_SET_MOVING:
        step_go_on(f, fx, ev->now);
        return;
    case FAILOVER_HOOK_SAVING:
        step_go_list(f, fx, true);
        return;
    case FAILOVER_SAVING:
        step_settle(f, fx, "rotated", ev->now);
        return;
    case FAILOVER_HOLDING:
        step_tell(f, fx, FAILOVER_NEWS_HELD, f->record.cause);
        step_answer(f, fx, NULL);
        step_settle(f, fx, "held", ev->now);
        return;
    case FAILOVER_OPENING:
        step_tell(f, fx, FAILOVER_NEWS_OPENED, f->verdict);
        step_go_read(f, fx, FAILOVER_READING);
        return;
    case FAILOVER_DROPPING:
        step_tell(f, fx, FAILOVER_NEWS_LIFTED, "needless");
        step_go_read(f, fx, FAILOVER_READING);
        return;
    case FAILOVER_CLOSING:
        step_tell(f, fx, FAILOVER_NEWS_DONE, f->record.cause);
        if (f->answered) /* carried out; who is let in again then, stays */
            f->task.ordered = f->task.force = false;
        step_go_read(f, fx,
                     FAILOVER_READING); /* a new process may wait outside */
        return;
    default:
        assert(false); /* no other state writes */
    }
}

static void failover_written(struct failover *f,
                             const struct failover_event *ev,
                             struct failover_effects *fx)
{
    assert(f->writing);
    f->writing = false;
    switch (ev->code) {
    case ERR_OK:
        written(f, ev, fx);
        return;
    case ERR_UNKNOWN: /* it may still apply: what is read decides, its checks
                         refuse it if we decide otherwise first */
        if (f->state == FAILOVER_OPENING) {
            /* but moving writes no gate: an opening that applies late would
             * give this process new work under a list that calls it fenced.
             * Without our lock it is refused */
            step_give_way(f, fx, ev->now);
            return;
        }
        /* fall through */
    case ERR_CONFLICT:
    case ERR_NOT_FOUND:
    case ERR_TIMEOUT:
        /* counts that were not saved live on in no other place */
        if (f->state == FAILOVER_CLOSING || f->state == FAILOVER_SAVING ||
            f->state == FAILOVER_HOOK_SAVING) {
            if (++f->tries > TRIES_MAX)
                step_settle(f, fx, "contended", ev->now);
            else {
                f->record.phase = FAILOVER_MOVING;
                step_go_read(f, fx, f->state);
            }
            return;
        }
        step_read_again(f, fx, ev->now);
        return;
    default:
        step_give_way(f, fx, ev->now);
        return;
    }
}

/* --- the lock ------------------------------------------------------------ */

static void failover_idle(struct failover *f, const struct failover_event *ev,
                          struct failover_effects *fx)
{
    if (!ev->wanted) {
        f->wanted_since = -1;
        return;
    }
    if (f->wanted_since < 0)
        f->wanted_since = ev->now;
    mono_ms due = f->wanted_since + (mono_ms)f->rank * f->config.rank_ms;
    if (ev->now < due || ev->now < f->not_before)
        return;
    f->state = FAILOVER_WANT_LOCK;
    step_effect(fx, FAILOVER_DO_LOCK);
}

static void failover_tick(struct failover *f, const struct failover_event *ev,
                          struct failover_effects *fx)
{
    if (f->state == FAILOVER_IDLE)
        failover_idle(f, ev, fx);
    else if (f->state == FAILOVER_WANT_LOCK && !ev->wanted)
        step_release(f, fx, ev->now); /* somebody else did it */
}

static void failover_next(struct failover *f, const struct failover_event *ev,
                          struct failover_effects *fx)
{
    assert(f->state == FAILOVER_HAVE_LOCK && f->locked);
    if (ev->task == NULL) {
        step_release(f, fx, ev->now);
        return;
    }
    f->task = *ev->task;
    f->has_task = true;
    f->has_record = false;
    f->answered = f->planned = false;
    f->sweeping = f->swept = false;
    f->tries = 0;
    memset(&f->gate, 0, sizeof(f->gate));
    switch (f->task.type) {
    case FAILOVER_TASK_ADDRESS:
        step_go_read(f, fx, FAILOVER_READING);
        return;
    case FAILOVER_TASK_WAITING:
        step_go_list(f, fx, true);
        return;
    case FAILOVER_TASK_COLLECT:
        f->state = FAILOVER_COLLECTING;
        step_effect(fx, FAILOVER_DO_COLLECT);
        return;
    }
}

static void failover_read(struct failover *f, const struct failover_event *ev,
                          struct failover_effects *fx)
{
    if (ev->code == ERR_INVALID) { /* a gate or record that nobody can read */
        step_answer(f, fx, "unreadable");
        step_settle(f, fx, "unreadable", ev->now);
        return;
    }
    if (ev->code != ERR_OK) {
        step_give_way(f, fx, ev->now);
        return;
    }
    switch (f->state) {
    case FAILOVER_READING:
        failover_reading(f, ev, fx);
        return;
    case FAILOVER_VERIFY:
        failover_verify(f, ev, fx);
        return;
    case FAILOVER_HOOK_SAVING:
    case FAILOVER_SAVING:
    case FAILOVER_CLOSING:
        failover_saving(f, ev, fx);
        return;
    default:
        assert(false); /* no other state reads */
    }
}

void failover_step(struct failover *f, const struct failover_event *ev,
                   struct failover_effects *fx)
{
    fx->n = 0;
    switch (ev->type) {
    case FAILOVER_TICK:
        failover_tick(f, ev, fx);
        break;
    case FAILOVER_LOCKED:
        assert(f->state == FAILOVER_WANT_LOCK);
        f->locked = true;
        f->locked_at = ev->now;
        f->fence = ev->fence;
        step_go_next(f, fx, ev->now);
        break;
    case FAILOVER_REFUSED:
    case FAILOVER_LOST:
        if (f->has_task)
            step_effect(fx, FAILOVER_DO_SETTLE)->word = "interrupted";
        if (f->state != FAILOVER_IDLE)
            step_release(f, fx, ev->now + f->config.retry_ms);
        break;
    case FAILOVER_NEXT:
        failover_next(f, ev, fx);
        break;
    case FAILOVER_READ:
        failover_read(f, ev, fx);
        break;
    case FAILOVER_PLANNED:
        failover_planning(f, ev, fx);
        break;
    case FAILOVER_WRITTEN:
        failover_written(f, ev, fx);
        break;
    case FAILOVER_HOOKED:
        failover_hook(f, ev, fx);
        break;
    case FAILOVER_LISTED:
        failover_listing(f, ev, fx);
        break;
    case FAILOVER_MOVED:
        failover_moving(f, ev, fx);
        break;
    case FAILOVER_COUNTED:
        failover_counting(f, ev, fx);
        break;
    case FAILOVER_COLLECTED:
        step_settle(f, fx, "collected", ev->now);
        break;
    }
    assert(f->state == FAILOVER_IDLE || f->locked ||
           f->state == FAILOVER_WANT_LOCK);
}
