/*
 * failover.c - the step: one function per state, which stays, advances or
 * gives the task up with a named reason. Design: nothing is repeated. A write
 * that did not certainly succeed leads back to READING, and what is read there
 * decides; so a conflict, an unknown outcome, a resumption and a first look
 * are one path.
 *
 * Longer than 500 lines: it is one state machine, whose states lead to each
 * other; failover.h draws it. What it decides on is in decide.c, what it
 * writes in write.c.
 */
#include "failover/failover_priv.h"

#include "base/mem.h"
#include "base/planted.h"

#include <string.h>

#define TRIES_MAX    8   /* of one task before others are looked at */
#define HOOK_SAVE_MS 500 /* of a hold, for what a hook's end has to write */

static const char *const state_names[] = {
#define STATE_NAME(name, word) [name] = word,
    FAILOVER_STATES(STATE_NAME)};

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

enum failover_cause failover_holding(const struct failover *f)
{
    return f->holding;
}

/* --- effects and transitions --------------------------------------------- */

static struct failover_effect *effect(struct failover *f,
                                      enum failover_effect_type type)
{
    assert(f->fx->n < FAILOVER_EFFECTS_MAX);
    struct failover_effect *e = &f->fx->list[f->fx->n++];
    memset(e, 0, sizeof(*e));
    e->type = type;
    return e;
}

/* News and answers name the record, even if the same step settles the task. */
static struct failover_effect *effect_about(struct failover *f,
                                            enum failover_effect_type type)
{
    const struct failover_record *r = &f->record;
    struct failover_effect *e = effect(f, type);
    e->failover = f->has_record ? r->id : f->gate.failover;
    if (f->has_record && r->phase == FAILOVER_HELD)
        e->held = r->cause;
    if (f->has_record)
        e->n = (size_t)r->moved + r->held + r->dropped + r->waiting;
    return e;
}

static void tell(struct failover *f, enum failover_news news, const char *word)
{
    struct failover_effect *e = effect_about(f, FAILOVER_DO_TELL);
    assert(f->has_task);
    assert(word != NULL);
    e->news = news;
    e->word = word;
}

static void answer(struct failover *f, enum failover_answer code)
{
    if (!f->has_task || !f->task.ordered || f->answered)
        return;
    f->answered = true;
    effect_about(f, FAILOVER_DO_ANSWER)->answer = code;
}

/* The one exit of every state that holds or wants the lock. */
static void release(struct failover *f, mono_ms not_before)
{
    assert(f->state != FAILOVER_IDLE);
    effect(f, FAILOVER_DO_UNLOCK);
    f->state = FAILOVER_IDLE;
    f->locked = false;
    f->has_task = false;
    f->has_record = false;
    f->wanted_since = -1;
    f->not_before = not_before;
    assert(!f->locked && !f->has_record);
}

/* A step failed for a reason that is not the task's: let go and try later. */
static void give_way(struct failover *f)
{
    assert(f->locked && f->has_task);
    effect(f, FAILOVER_DO_SETTLE)->outcome = FAILOVER_WAS_INTERRUPTED;
    release(f, f->ev->now + f->config.retry_ms);
}

static bool hold_is_over(const struct failover *f)
{
    assert(f->locked);
    assert(f->ev->now >= f->locked_at);
    return f->ev->now - f->locked_at >= f->config.hold_ms_max;
}

static void go_next(struct failover *f)
{
    assert(f->locked);
    f->has_task = false;
    f->has_record = false;
    f->state = FAILOVER_HAVE_LOCK;
    if (hold_is_over(f))
        release(f, f->ev->now); /* others queue for it, too */
    else
        effect(f, FAILOVER_DO_NEXT);
}

/* The task is over for now; `how` is the reason. */
static void settle(struct failover *f, enum failover_outcome how)
{
    assert(f->has_task);
    effect(f, FAILOVER_DO_SETTLE)->outcome = how;
    go_next(f);
}

static void go_read(struct failover *f, enum failover_state state)
{
    assert(f->locked && f->has_task);
    f->state = state;
    f->writing = false;
    effect(f, FAILOVER_DO_READ)->afresh = true;
}

/* The record is ours, and the gate was read since INTENT: only its version is
 * not known. If what is known does not serve, failover_written() reads. */
static void go_save(struct failover *f, enum failover_state state)
{
    assert(f->has_record && f->record.phase == FAILOVER_MOVING);
    go_read(f, state);
    f->fx->list[f->fx->n - 1].afresh = false;
}

static void go_write(struct failover *f, enum failover_state state, bool gate,
                     bool record)
{
    assert(f->locked && f->has_task);
    assert(gate || f->has_record);
    assert(gate || record);
    f->state = state;
    f->writing = true;
    struct failover_effect *e = effect(f, FAILOVER_DO_WRITE);
    e->gate = gate ? &f->gate : NULL;
    e->record = record ? &f->record : NULL;
}

static void go_list(struct failover *f, bool afresh)
{
    assert(f->locked && f->has_task);
    f->state = FAILOVER_LISTING;
    if (afresh)
        f->dirty = false;
    effect(f, FAILOVER_DO_LIST)->afresh = afresh;
}

/* How long a hook may take that begins now; 0: not long enough. It has half of
 * a hold at least, unless its own time is shorter, and leaves enough of it to
 * save its result. */
static int64_t hook_time(const struct failover *f)
{
    int64_t left =
        f->locked_at + f->config.hold_ms_max - HOOK_SAVE_MS - f->ev->now;
    int64_t half = f->config.hold_ms_max / 2, most = f->config.hook_ms;
    assert(f->locked);
    assert(f->config.hook_ms > 0);
    if (left < (most < half ? most : half))
        return 0;
    return left < most ? left : most;
}

static void go_on(struct failover *f)
{
    assert(f->has_record && f->record.phase == FAILOVER_MOVING);
    if (f->config.hook_ms == 0 || f->record.hook_exit >= 0) {
        go_list(f, true);
        return;
    }
    int64_t time = hook_time(f);
    if (time == 0) { /* the next hold begins with it */
        settle(f, FAILOVER_WAS_ROTATED);
        return;
    }
    failover_take_over(f); /* the command is told the fence of this hold */
    f->state = FAILOVER_HOOK;
    effect(f, FAILOVER_DO_HOOK)->time_ms = time;
}

static void read_again(struct failover *f)
{
    assert(f->has_task);
    if (++f->tries > TRIES_MAX) {
        answer(f, FAILOVER_BUSY);
        settle(f, FAILOVER_WAS_CONTENDED);
        return;
    }
    go_read(f, FAILOVER_READING);
}

static void open_gate(struct failover *f, const struct process *p,
                      const char *word)
{
    const struct process whom = *p; /* may lie in the gate that changes */
    f->opened = word;
    assert(word != NULL);
    assert(f->gate.state != GATE_ABSENT);
    failover_write_open(f, &whom);
    go_write(f, FAILOVER_OPENING, true, false);
}

/* --- READING ------------------------------------------------------------- */

static void take_seen(struct failover *f, const struct failover_seen *seen)
{
    assert(seen->n_registered <= FAILOVER_PROCESSES_MAX);
    f->gate = seen->gate;
    f->session = seen->session;
    f->over = seen->over;
    f->has_record = seen->record != NULL;
    if (f->has_record)
        f->record = *seen->record;
    memcpy(f->new_id, seen->new_id, sizeof(f->new_id));
    memset(&f->registered, 0, sizeof(f->registered));
    if (failover_is_registered(seen, &seen->gate.process))
        f->registered = seen->gate.process;
}

static void begin_intent(struct failover *f, enum failover_cause cause)
{
    assert(f->state == FAILOVER_READING);
    assert(cause != CAUSE_NONE);
    if (f->has_record && f->record.phase == FAILOVER_HELD) {
        /* its own text is written over before this is told */
        enum failover_cause held = work_cause_of(f->record.cause);
        tell(f, FAILOVER_NEWS_LIFTED, work_cause(held)->word);
    }
    failover_write_intent(f, cause);
    assert(f->has_record && f->record.phase == FAILOVER_INTENT);
    assert(f->gate.state != GATE_ABSENT);
    memcpy(f->last_intent, f->record.id, sizeof(f->last_intent));
    go_write(f, FAILOVER_INTENTING, true, true);
}

static void read_hold(struct failover *f, enum failover_cause cause)
{
    assert(f->state == FAILOVER_READING);
    assert(cause != CAUSE_NONE);
    if (f->has_record && work_cause_of(f->record.cause) == cause) {
        answer(f, FAILOVER_ACCEPTED); /* it stands already */
        settle(f, FAILOVER_WAS_HELD);
        return;
    }
    f->holding = cause;
    failover_write_hold(f, cause);
    go_write(f, FAILOVER_HOLDING, false, true);
}

/* An unfinished failover: ours whose reply was lost, or one to take over. */
static void resume(struct failover *f, enum failover_verdict verdict)
{
    assert(verdict == FAILOVER_TO_VERIFY || verdict == FAILOVER_TO_RESUME);
    assert(f->has_record);
    bool ours =
        f->last_intent[0] != '\0' && strcmp(f->last_intent, f->record.id) == 0;
    answer(f, ours ? FAILOVER_ACCEPTED : FAILOVER_IS_RUNNING);
    if (!ours)
        tell(f, FAILOVER_NEWS_RESUMED,
             work_failover_phase_name(f->record.phase));
    if (verdict == FAILOVER_TO_VERIFY)
        go_read(f, FAILOVER_VERIFY);
    else
        go_on(f);
}

static void drop(struct failover *f, enum failover_why why)
{
    assert(f->has_record);
    work_failover_abort(&f->record, why, f->ev->wall);
    failover_take_over(f);
    go_write(f, FAILOVER_DROPPING, false, true);
}

static void drop_held(struct failover *f)
{
    enum failover_why why = WHY_NEEDLESS;
    assert(f->has_record);
    if (f->record.phase == FAILOVER_QUEUED)
        why = f->ev->seen->gate.state == GATE_FENCED   ? WHY_DONE
              : f->ev->seen->n_registered > 0          ? WHY_ALIVE
              : f->ev->seen->gate.state == GATE_ABSENT ? WHY_NOT_FOUND
                                                       : WHY_DONE;
    drop(f, why);
}

/* Who came to a gate whose process is fenced, or left: perhaps it itself. */
static void admit(struct failover *f, const struct failover_seen *seen)
{
    const struct process *p = failover_fresh(seen);
    for (size_t i = 0; i < seen->n_registered && failover_present(seen); i++)
        if (gate_returned(&seen->gate, &seen->registered[i]))
            p = &seen->registered[i];
    open_gate(f, p, "admitted");
}

static void failover_reading(struct failover *f)
{
    enum failover_cause cause;
    assert(f->state == FAILOVER_READING);
    take_seen(f, f->ev->seen);
    enum failover_verdict v = failover_decide(f->ev->seen, &f->task, &cause);
    switch (v) {
    case FAILOVER_NOTHING:
        answer(f, f->gate.state == GATE_ABSENT ? FAILOVER_NOT_FOUND
                                               : FAILOVER_ACCEPTED);
        settle(f, FAILOVER_WAS_NOTHING);
        return;
    case FAILOVER_ALIVE:
    case FAILOVER_UNREADABLE:
        answer(f,
               v == FAILOVER_ALIVE ? FAILOVER_IS_ALIVE : FAILOVER_NOT_READABLE);
        settle(f, FAILOVER_WAS_ALIVE);
        return;
    case FAILOVER_TO_INTENT:
        if (f->gate.n_past == GATE_PAST_MAX && !f->swept) {
            /* the oldest falls out: see first that it left nothing, for what
             * no gate names would never be moved */
            f->sweeping = f->swept = true;
            f->has_record = false;
            go_list(f, true);
            return;
        }
        if (f->task.matched ||
            (f->has_record && f->record.if_match[0] != '\0' && !f->planned)) {
            f->state = FAILOVER_PLANNING;
            effect(f, FAILOVER_DO_PLAN);
            return;
        }
        begin_intent(f, cause);
        return;
    case FAILOVER_TO_HOLD:
        read_hold(f, cause);
        return;
    case FAILOVER_TO_VERIFY:
    case FAILOVER_TO_RESUME:
        resume(f, v);
        return;
    case FAILOVER_TO_ADMIT:
        admit(f, f->ev->seen);
        return;
    case FAILOVER_TO_LEASE_END:
        open_gate(f, &f->ev->seen->gate.process,
                  f->gate.state == GATE_DRAINING ? "drain-over" : "lease-over");
        return;
    case FAILOVER_TO_DROP:
        drop_held(f);
        return;
    case FAILOVER_TO_LIST:
        f->has_record = false;
        go_list(f, true);
        return;
    }
}

static void failover_planning(struct failover *f)
{
    assert(f->state == FAILOVER_PLANNING);
    if (!f->ev->same && !f->task.matched) { /* an order that waited */
        drop(f, WHY_PLAN_CHANGED);
        return;
    }
    if (!f->ev->same) {
        answer(f, FAILOVER_PLAN_CHANGED);
        settle(f, FAILOVER_WAS_PLAN_CHANGED);
        return;
    }
    f->task.matched = false;
    f->planned = true;
    go_read(f, FAILOVER_READING);
}

/* --- VERIFY -------------------------------------------------------------- */

static bool by_a_person(const struct failover_record *r)
{
    return work_cause(work_cause_of(r->cause))->person;
}

static void failover_verify(struct failover *f)
{
    assert(f->state == FAILOVER_VERIFY);
    take_seen(f, f->ev->seen);
    if (!f->has_record || f->record.phase != FAILOVER_INTENT) {
        read_again(f); /* somebody else's hand */
        return;
    }
    const struct process *fenced = &f->record.process;
    bool back =
        failover_is_registered(f->ev->seen, fenced) && !by_a_person(&f->record);
    if (back && !planted(PLANTED_NO_VERIFY)) {
        failover_write_take_back(f);
        go_write(f, FAILOVER_TAKE_BACK, true, true);
        return;
    }
    /* it may be the very process: as long as nobody can tell, nothing moves */
    if (f->ev->seen->unknown && !by_a_person(&f->record)) {
        settle(f, FAILOVER_WAS_UNREADABLE);
        return;
    }
    /* INTENT was written on settings that it could not check: a person who has
     * paused since is not told that nothing moves, and then something does */
    if (f->ev->seen->paused) {
        settle(f, FAILOVER_WAS_PAUSED);
        return;
    }
    failover_write_moving(f);
    go_write(f, FAILOVER_SET_MOVING, false, true);
}

/* --- LISTING and MOVING -------------------------------------------------- */

static void pass_ended(struct failover *f)
{
    assert(!f->more);
    assert(f->has_task);
    if (f->task.type == FAILOVER_TASK_WAITING) {
        settle(f, f->dirty ? FAILOVER_WAS_ASSIGNED : FAILOVER_WAS_NOTHING);
        return;
    }
    if (f->dirty) {
        go_list(f, true); /* until a whole pass finds nothing */
        return;
    }
    if (f->has_record) {
        failover_take_over(f);
        if (f->record.resumed == 0) {
            go_save(f, FAILOVER_CLOSING);
            return;
        }
        /* whoever held the lock before may have moved more than he noted */
        f->state = FAILOVER_COUNTING;
        effect_about(f, FAILOVER_DO_COUNT);
        return;
    }
    if (f->sweeping) {
        f->sweeping = false;
        go_read(f, FAILOVER_READING);
        return;
    }
    answer(f, FAILOVER_ACCEPTED); /* an order for what is done already */
    if (f->config.readmit && f->gate.state == GATE_FENCED &&
        f->registered.known) {
        open_gate(f, &f->gate.process, "readmitted");
        return;
    }
    settle(f, FAILOVER_WAS_NOTHING);
}

static void failover_counting(struct failover *f)
{
    struct failover_record *r = &f->record;
    assert(f->state == FAILOVER_COUNTING);
    if (f->ev->more && hold_is_over(f)) {
        settle(f, FAILOVER_WAS_ROTATED);
        return;
    }
    if (f->ev->more) {
        effect_about(f, FAILOVER_DO_COUNT);
        return;
    }
    r->moved = r->held = r->dropped = r->waiting = 0;
    r->n_targets = 0;
    r->digest = 0;
    failover_add_counts(r, f->ev->counts);
    go_save(f, FAILOVER_CLOSING);
}

static void failover_listing(struct failover *f)
{
    assert(f->has_task);
    assert(f->state == FAILOVER_LISTING);
    f->more = f->ev->more;
    if (f->ev->n > 0 && f->task.type == FAILOVER_TASK_ADDRESS &&
        !f->has_record) {
        failover_write_reconcile(f);
        go_write(f, FAILOVER_SET_MOVING, false, true);
        return;
    }
    if (f->ev->n > 0) {
        f->state = FAILOVER_MOVING_BATCHES;
        effect(f, FAILOVER_DO_MOVE);
        return;
    }
    if (f->more && hold_is_over(f)) {
        struct failover_effect *e = effect(f, FAILOVER_DO_SETTLE);
        e->outcome = FAILOVER_WAS_ROTATED;
        e->clean = !f->dirty;
        go_next(f);
        return;
    }
    if (f->more)
        go_list(f, false);
    else
        pass_ended(f);
}

static void failover_moving(struct failover *f)
{
    const struct failover_counts *c = f->ev->counts;
    assert(!f->has_record || f->record.phase == FAILOVER_MOVING);
    assert(f->state == FAILOVER_MOVING_BATCHES);
    if (f->has_record)
        failover_add_counts(&f->record, c);
    if (c->moved + c->held + c->dropped + c->waiting > 0)
        f->dirty = true;
    if (f->ev->code != ERR_OK) {
        give_way(f);
        return;
    }
    if (c->stuck > 0 && f->task.type == FAILOVER_TASK_ADDRESS && !f->dirty &&
        !f->more) {
        settle(f, FAILOVER_WAS_STUCK);
        return;
    }
    if (hold_is_over(f)) {
        if (f->has_record)
            go_save(f, FAILOVER_SAVING);
        else
            settle(f, FAILOVER_WAS_ROTATED);
        return;
    }
    if (f->more)
        go_list(f, false);
    else
        pass_ended(f);
}

/* --- states that read, then write the record ----------------------------- */

/* HOOK_SAVING, SAVING, CLOSING: our counts onto the record as it stands. */
static void failover_saving(struct failover *f)
{
    const struct failover_seen *seen = f->ev->seen;
    const struct failover_record *now = seen->record;
    assert(f->record.phase == FAILOVER_MOVING);
    assert(f->has_record);
    if (now == NULL || strcmp(now->id, f->record.id) != 0 ||
        now->phase != FAILOVER_MOVING) {
        settle(f, FAILOVER_WAS_OVERTAKEN);
        return;
    }
    f->gate = seen->gate;
    f->record.version = now->version;
    failover_take_over(f);
    bool heir = false;
    if (f->state == FAILOVER_CLOSING) {
        f->record.phase = FAILOVER_DONE;
        f->record.finished = f->ev->wall;
        heir = f->gate.heir_of.known;
        memset(&f->gate.heir_of, 0, sizeof(f->gate.heir_of));
    }
    go_write(f, f->state, heir, true);
}

static void failover_hook(struct failover *f)
{
    struct failover_record *r = &f->record;
    assert(f->has_record);
    assert(f->state == FAILOVER_HOOK);
    r->hook_exit = f->ev->hook_exit;
    size_t n = f->ev->hook_tail != NULL
                   ? strnlen(f->ev->hook_tail, sizeof(r->hook_tail) - 1)
                   : 0;
    memcpy(r->hook_tail, n > 0 ? f->ev->hook_tail : "", n);
    r->hook_tail[n] = '\0';
    go_save(f, FAILOVER_HOOK_SAVING);
}

/* --- what was written ---------------------------------------------------- */

static void written(struct failover *f)
{
    assert(f->has_task);
    assert(f->locked);
    switch (f->state) {
    case FAILOVER_INTENTING:
        tell(f, FAILOVER_NEWS_INTENT, f->record.cause);
        answer(f, FAILOVER_ACCEPTED);
        go_read(f, FAILOVER_VERIFY);
        return;
    case FAILOVER_TAKE_BACK:
        tell(f, FAILOVER_NEWS_TAKEN_BACK, f->record.cause);
        settle(f, FAILOVER_WAS_TAKEN_BACK);
        return;
    case FAILOVER_SET_MOVING:
        go_on(f);
        return;
    case FAILOVER_HOOK_SAVING:
        go_list(f, true);
        return;
    case FAILOVER_SAVING:
        settle(f, FAILOVER_WAS_ROTATED);
        return;
    case FAILOVER_HOLDING:
        tell(f, FAILOVER_NEWS_HELD, f->record.cause);
        answer(f, FAILOVER_ACCEPTED);
        settle(f, FAILOVER_WAS_HELD);
        return;
    case FAILOVER_OPENING:
        tell(f, FAILOVER_NEWS_OPENED, f->opened);
        go_read(f, FAILOVER_READING);
        return;
    case FAILOVER_DROPPING:
        tell(f, FAILOVER_NEWS_LIFTED, "needless");
        go_read(f, FAILOVER_READING);
        return;
    case FAILOVER_CLOSING:
        tell(f, FAILOVER_NEWS_DONE, f->record.cause);
        if (f->answered) /* carried out; who is let in again then, stays */
            f->task.ordered = f->task.force = false;
        if (f->ev->wanted) /* a new process waits outside */
            go_read(f, FAILOVER_READING);
        else
            settle(f, FAILOVER_WAS_DONE);
        return;
    default:
        assert(false); /* no other state writes */
    }
}

static void failover_written(struct failover *f)
{
    assert(f->writing);
    f->writing = false;
    switch (f->ev->code) {
    case ERR_OK:
        written(f);
        return;
    case ERR_UNKNOWN: /* it may still apply: what is read decides, its checks
                         refuse it if we decide otherwise first */
        if (f->state == FAILOVER_OPENING) {
            /* but moving writes no gate: an opening that applies late would
             * give this process new work under a list that calls it fenced.
             * Without our lock it is refused */
            give_way(f);
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
                settle(f, FAILOVER_WAS_CONTENDED);
            else {
                f->record.phase = FAILOVER_MOVING;
                go_read(f, f->state);
            }
            return;
        }
        read_again(f);
        return;
    default:
        give_way(f);
        return;
    }
}

/* --- the lock ------------------------------------------------------------ */

static void failover_idle(struct failover *f)
{
    assert(!f->locked);
    assert(!f->has_task);
    if (!f->ev->wanted) {
        f->wanted_since = -1;
        return;
    }
    if (f->wanted_since < 0)
        f->wanted_since = f->ev->now;
    mono_ms due = f->wanted_since + (mono_ms)f->rank * f->config.rank_ms;
    if (f->ev->now < due || f->ev->now < f->not_before)
        return;
    f->state = FAILOVER_WANT_LOCK;
    effect(f, FAILOVER_DO_LOCK);
}

static void failover_tick(struct failover *f)
{
    if (f->state == FAILOVER_IDLE)
        failover_idle(f);
    else if (f->state == FAILOVER_WANT_LOCK && !f->ev->wanted)
        release(f, f->ev->now); /* somebody else did it */
}

static void failover_next(struct failover *f)
{
    assert(f->state == FAILOVER_HAVE_LOCK && f->locked);
    if (f->ev->task == NULL) {
        release(f, f->ev->now);
        return;
    }
    f->task = *f->ev->task;
    f->has_task = true;
    f->has_record = false;
    f->answered = f->planned = false;
    f->sweeping = f->swept = false;
    f->tries = 0;
    memset(&f->gate, 0, sizeof(f->gate));
    switch (f->task.type) {
    case FAILOVER_TASK_ADDRESS:
        go_read(f, FAILOVER_READING);
        return;
    case FAILOVER_TASK_WAITING:
        go_list(f, true);
        return;
    case FAILOVER_TASK_COLLECT:
        f->state = FAILOVER_COLLECTING;
        effect(f, FAILOVER_DO_COLLECT);
        return;
    }
}

static void failover_read(struct failover *f)
{
    assert(f->has_task);
    assert(f->locked);
    if (f->ev->code == ERR_INVALID) { /* a gate or record is damaged */
        answer(f, FAILOVER_NOT_READABLE);
        settle(f, FAILOVER_WAS_UNREADABLE);
        return;
    }
    if (f->ev->code != ERR_OK) {
        give_way(f);
        return;
    }
    switch (f->state) {
    case FAILOVER_READING:
        failover_reading(f);
        return;
    case FAILOVER_VERIFY:
        failover_verify(f);
        return;
    case FAILOVER_HOOK_SAVING:
    case FAILOVER_SAVING:
    case FAILOVER_CLOSING:
        failover_saving(f);
        return;
    default:
        assert(false); /* no other state reads */
    }
}

static void failover_locked(struct failover *f)
{
    assert(f->state == FAILOVER_WANT_LOCK);
    f->locked = true;
    f->locked_at = f->ev->now;
    f->fence = f->ev->fence;
    go_next(f);
}

static void failover_lost(struct failover *f)
{
    if (f->has_task)
        effect(f, FAILOVER_DO_SETTLE)->outcome = FAILOVER_WAS_INTERRUPTED;
    if (f->state != FAILOVER_IDLE)
        release(f, f->ev->now + f->config.retry_ms);
    assert(f->state == FAILOVER_IDLE && !f->has_task);
}

static void failover_collected(struct failover *f)
{
    assert(f->state == FAILOVER_COLLECTING);
    settle(f, FAILOVER_WAS_COLLECTED);
}

/* What handles an event. `gives_way`: with another code than ERR_OK the lock is
 * let go instead. */
static const struct {
    void (*handle)(struct failover *f);
    bool gives_way;
} handlers[] = {
    [FAILOVER_TICK] = {failover_tick, false},
    [FAILOVER_LOCKED] = {failover_locked, false},
    [FAILOVER_REFUSED] = {failover_lost, false},
    [FAILOVER_LOST] = {failover_lost, false},
    [FAILOVER_NEXT] = {failover_next, false},
    [FAILOVER_READ] = {failover_read, false},
    [FAILOVER_PLANNED] = {failover_planning, true},
    [FAILOVER_WRITTEN] = {failover_written, false},
    [FAILOVER_HOOKED] = {failover_hook, false},
    [FAILOVER_LISTED] = {failover_listing, true},
    [FAILOVER_MOVED] = {failover_moving, false},
    [FAILOVER_COUNTED] = {failover_counting, true},
    [FAILOVER_COLLECTED] = {failover_collected, false},
};

void failover_step(struct failover *f, const struct failover_event *event,
                   struct failover_effects *effects)
{
    assert(f->ev == NULL && f->fx == NULL); /* one step at a time */
    f->ev = event;
    f->fx = effects;
    effects->n = 0;
    if (handlers[event->type].gives_way && event->code != ERR_OK)
        give_way(f);
    else
        handlers[event->type].handle(f);
    f->ev = NULL;
    f->fx = NULL;
    assert(!f->has_record || f->has_task);
    assert(!f->has_task || f->locked);
    assert(f->state == FAILOVER_IDLE || f->locked ||
           f->state == FAILOVER_WANT_LOCK);
}
