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

#include <stdio.h>
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

/* --- effects and transitions --------------------------------------------- */

static struct failover_effect *effect(struct failover_effects *fx,
                                      enum failover_effect_type type)
{
    assert(fx->n < FAILOVER_EFFECTS_MAX);
    struct failover_effect *e = &fx->list[fx->n++];
    memset(e, 0, sizeof(*e));
    e->type = type;
    return e;
}

/* News and answers name the record, even if the same step settles the task. */
static struct failover_effect *effect_about(struct failover *f,
                                            struct failover_effects *fx,
                                            enum failover_effect_type type)
{
    const struct failover_record *r = &f->record;
    struct failover_effect *e = effect(fx, type);
    e->failover = f->has_record ? r->id : f->gate.failover;
    e->held = f->has_record && r->phase == FAILOVER_HELD;
    e->cause = e->held ? r->cause : "";
    if (f->has_record)
        e->n = (size_t)r->moved + r->held + r->dropped + r->waiting;
    return e;
}

static void tell(struct failover *f, struct failover_effects *fx,
                 enum failover_news news, const char *word)
{
    struct failover_effect *e = effect_about(f, fx, FAILOVER_DO_TELL);
    assert(f->has_task);
    assert(word != NULL);
    e->news = news;
    e->word = word;
}

static void answer(struct failover *f, struct failover_effects *fx,
                   enum failover_answer code)
{
    if (!f->has_task || !f->task.ordered || f->answered)
        return;
    f->answered = true;
    effect_about(f, fx, FAILOVER_DO_ANSWER)->answer = code;
}

/* The one exit of every state that holds or wants the lock. */
static void release(struct failover *f, struct failover_effects *fx,
                    mono_ms not_before)
{
    assert(f->state != FAILOVER_IDLE);
    effect(fx, FAILOVER_DO_UNLOCK);
    f->state = FAILOVER_IDLE;
    f->locked = false;
    f->has_task = false;
    f->has_record = false;
    f->wanted_since = -1;
    f->not_before = not_before;
    assert(!f->locked && !f->has_record);
}

/* A step failed for a reason that is not the task's: let go and try later. */
static void give_way(struct failover *f, struct failover_effects *fx,
                     mono_ms now)
{
    assert(f->locked && f->has_task);
    effect(fx, FAILOVER_DO_SETTLE)->outcome = FAILOVER_WAS_INTERRUPTED;
    release(f, fx, now + f->config.retry_ms);
}

static bool hold_is_over(const struct failover *f, mono_ms now)
{
    assert(f->locked);
    assert(now >= f->locked_at);
    return now - f->locked_at >= f->config.hold_ms_max;
}

static void go_next(struct failover *f, struct failover_effects *fx,
                    mono_ms now)
{
    assert(f->locked);
    f->has_task = false;
    f->has_record = false;
    f->state = FAILOVER_HAVE_LOCK;
    if (hold_is_over(f, now))
        release(f, fx, now); /* others queue for it, too */
    else
        effect(fx, FAILOVER_DO_NEXT);
}

/* The task is over for now; `how` is the reason. */
static void settle(struct failover *f, struct failover_effects *fx,
                   enum failover_outcome how, mono_ms now)
{
    assert(f->has_task);
    effect(fx, FAILOVER_DO_SETTLE)->outcome = how;
    go_next(f, fx, now);
}

static void go_read(struct failover *f, struct failover_effects *fx,
                    enum failover_state state)
{
    assert(f->locked && f->has_task);
    f->state = state;
    f->writing = false;
    effect(fx, FAILOVER_DO_READ)->afresh = true;
}

/* The record is ours, and the gate was read since INTENT: only its version is
 * not known. If what is known does not serve, failover_written() reads. */
static void go_save(struct failover *f, struct failover_effects *fx,
                    enum failover_state state)
{
    assert(f->has_record && f->record.phase == FAILOVER_MOVING);
    go_read(f, fx, state);
    fx->list[fx->n - 1].afresh = false;
}

static void go_write(struct failover *f, struct failover_effects *fx,
                     enum failover_state state, bool gate, bool record)
{
    assert(f->locked && f->has_task);
    assert(gate || f->has_record);
    assert(gate || record);
    f->state = state;
    f->writing = true;
    struct failover_effect *e = effect(fx, FAILOVER_DO_WRITE);
    e->gate = gate ? &f->gate : NULL;
    e->record = record ? &f->record : NULL;
}

static void go_list(struct failover *f, struct failover_effects *fx,
                    bool afresh)
{
    assert(f->locked && f->has_task);
    f->state = FAILOVER_LISTING;
    if (afresh)
        f->dirty = false;
    effect(fx, FAILOVER_DO_LIST)->afresh = afresh;
}

/* How long a hook may take that begins now; 0: not long enough. It has half of
 * a hold at least, unless its own time is shorter, and leaves enough of it to
 * save its result. */
static int64_t hook_time(const struct failover *f, mono_ms now)
{
    int64_t left = f->locked_at + f->config.hold_ms_max - HOOK_SAVE_MS - now;
    int64_t half = f->config.hold_ms_max / 2, most = f->config.hook_ms;
    assert(f->locked);
    assert(f->config.hook_ms > 0);
    if (left < (most < half ? most : half))
        return 0;
    return left < most ? left : most;
}

static void go_on(struct failover *f, struct failover_effects *fx, mono_ms now)
{
    assert(f->has_record && f->record.phase == FAILOVER_MOVING);
    if (f->config.hook_ms == 0 || f->record.hook_exit >= 0) {
        go_list(f, fx, true);
        return;
    }
    int64_t time = hook_time(f, now);
    if (time == 0) { /* the next hold begins with it */
        settle(f, fx, FAILOVER_WAS_ROTATED, now);
        return;
    }
    failover_take_over(f); /* the command is told the fence of this hold */
    f->state = FAILOVER_HOOK;
    effect(fx, FAILOVER_DO_HOOK)->time_ms = time;
}

static void read_again(struct failover *f, struct failover_effects *fx,
                       mono_ms now)
{
    assert(f->has_task);
    if (++f->tries > TRIES_MAX) {
        answer(f, fx, FAILOVER_BUSY);
        settle(f, fx, FAILOVER_WAS_CONTENDED, now);
        return;
    }
    go_read(f, fx, FAILOVER_READING);
}

static void open_gate(struct failover *f, const struct process *p,
                      const char *word, struct failover_effects *fx)
{
    const struct process whom = *p; /* may lie in the gate that changes */
    f->opened = word;
    assert(word != NULL);
    assert(f->gate.state != GATE_ABSENT);
    failover_write_open(f, &whom);
    go_write(f, fx, FAILOVER_OPENING, true, false);
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

static void begin_intent(struct failover *f, const struct failover_event *ev,
                         enum failover_cause cause, struct failover_effects *fx)
{
    assert(f->state == FAILOVER_READING);
    assert(cause != CAUSE_NONE);
    if (f->has_record && f->record.phase == FAILOVER_HELD) {
        /* its own text is written over before this is told */
        enum failover_cause held = failover_cause_of(f->record.cause);
        tell(f, fx, FAILOVER_NEWS_LIFTED, failover_cause_name(held));
    }
    failover_write_intent(f, ev->seen, cause, ev->wall);
    assert(f->has_record && f->record.phase == FAILOVER_INTENT);
    assert(f->gate.state != GATE_ABSENT);
    f->has_intent = true;
    memcpy(f->last_intent, f->record.id, sizeof(f->last_intent));
    go_write(f, fx, FAILOVER_INTENTING, true, true);
}

static void read_hold(struct failover *f, const struct failover_event *ev,
                      enum failover_cause cause, struct failover_effects *fx)
{
    assert(f->state == FAILOVER_READING);
    assert(cause != CAUSE_NONE);
    if (f->has_record && failover_cause_of(f->record.cause) == cause) {
        answer(f, fx, FAILOVER_ACCEPTED); /* it stands already */
        settle(f, fx, FAILOVER_WAS_HELD, ev->now);
        return;
    }
    failover_write_hold(f, ev->seen, cause, ev->wall);
    go_write(f, fx, FAILOVER_HOLDING, false, true);
}

/* An unfinished failover: ours whose reply was lost, or one to take over. */
static void resume(struct failover *f, const struct failover_event *ev,
                   enum failover_verdict verdict, struct failover_effects *fx)
{
    assert(verdict == FAILOVER_TO_VERIFY || verdict == FAILOVER_TO_RESUME);
    assert(f->has_record);
    bool ours = f->has_intent && strcmp(f->last_intent, f->record.id) == 0;
    answer(f, fx, ours ? FAILOVER_ACCEPTED : FAILOVER_IS_RUNNING);
    if (!ours)
        tell(f, fx, FAILOVER_NEWS_RESUMED,
             work_failover_phase_name(f->record.phase));
    if (verdict == FAILOVER_TO_VERIFY)
        go_read(f, fx, FAILOVER_VERIFY);
    else
        go_on(f, fx, ev->now);
}

static void drop(struct failover *f, const struct failover_event *ev,
                 enum failover_why why, struct failover_effects *fx)
{
    assert(f->has_record);
    work_failover_abort(&f->record, why, ev->wall);
    failover_take_over(f);
    go_write(f, fx, FAILOVER_DROPPING, false, true);
}

static void drop_held(struct failover *f, const struct failover_event *ev,
                      struct failover_effects *fx)
{
    enum failover_why why = FAILOVER_WHY_NEEDLESS;

    assert(f->has_record);
    if (f->record.phase == FAILOVER_QUEUED)
        why = ev->seen->gate.state == GATE_FENCED   ? FAILOVER_WHY_DONE
              : ev->seen->n_registered > 0          ? FAILOVER_WHY_ALIVE
              : ev->seen->gate.state == GATE_ABSENT ? FAILOVER_WHY_NOT_FOUND
                                                    : FAILOVER_WHY_DONE;
    drop(f, ev, why, fx);
}

/* Who came to a gate whose process is fenced, or left: perhaps it itself. */
static void admit(struct failover *f, const struct failover_seen *seen,
                  struct failover_effects *fx)
{
    const struct process *p = failover_fresh(seen);
    for (size_t i = 0; i < seen->n_registered && failover_present(seen); i++)
        if (gate_returned(&seen->gate, &seen->registered[i]))
            p = &seen->registered[i];
    open_gate(f, p, "admitted", fx);
}

static void failover_reading(struct failover *f,
                             const struct failover_event *ev,
                             struct failover_effects *fx)
{
    enum failover_cause cause;
    assert(f->state == FAILOVER_READING);
    take_seen(f, ev->seen);
    enum failover_verdict v = failover_decide(ev->seen, &f->task, &cause);
    switch (v) {
    case FAILOVER_NOTHING:
        answer(f, fx,
               f->gate.state == GATE_ABSENT ? FAILOVER_NOT_FOUND
                                            : FAILOVER_ACCEPTED);
        settle(f, fx, FAILOVER_WAS_NOTHING, ev->now);
        return;
    case FAILOVER_ALIVE:
    case FAILOVER_UNREADABLE:
        answer(f, fx,
               v == FAILOVER_ALIVE ? FAILOVER_IS_ALIVE : FAILOVER_NOT_READABLE);
        settle(f, fx, FAILOVER_WAS_ALIVE, ev->now);
        return;
    case FAILOVER_TO_INTENT:
        if (f->gate.n_past == GATE_PAST_MAX && !f->swept) {
            /* the oldest falls out: see first that it left nothing, for what
             * no gate names would never be moved */
            f->sweeping = f->swept = true;
            f->has_record = false;
            go_list(f, fx, true);
            return;
        }
        if (f->task.matched ||
            (f->has_record && f->record.if_match[0] != '\0' && !f->planned)) {
            f->state = FAILOVER_PLANNING;
            effect(fx, FAILOVER_DO_PLAN);
            return;
        }
        begin_intent(f, ev, cause, fx);
        return;
    case FAILOVER_TO_HOLD:
        read_hold(f, ev, cause, fx);
        return;
    case FAILOVER_TO_VERIFY:
    case FAILOVER_TO_RESUME:
        resume(f, ev, v, fx);
        return;
    case FAILOVER_TO_ADMIT:
        admit(f, ev->seen, fx);
        return;
    case FAILOVER_TO_LEASE_END:
        open_gate(f, &ev->seen->gate.process,
                  f->gate.state == GATE_DRAINING ? "drain-over" : "lease-over",
                  fx);
        return;
    case FAILOVER_TO_DROP:
        drop_held(f, ev, fx);
        return;
    case FAILOVER_TO_LIST:
        f->has_record = false;
        go_list(f, fx, true);
        return;
    }
}

static void failover_planning(struct failover *f,
                              const struct failover_event *ev,
                              struct failover_effects *fx)
{
    assert(f->state == FAILOVER_PLANNING);
    if (ev->code != ERR_OK) {
        give_way(f, fx, ev->now);
        return;
    }
    if (!ev->same && !f->task.matched) { /* an order that waited */
        drop(f, ev, FAILOVER_WHY_PLAN_CHANGED, fx);
        return;
    }
    if (!ev->same) {
        answer(f, fx, FAILOVER_PLAN_CHANGED);
        settle(f, fx, FAILOVER_WAS_PLAN_CHANGED, ev->now);
        return;
    }
    f->task.matched = false;
    f->planned = true;
    go_read(f, fx, FAILOVER_READING);
}

/* --- VERIFY -------------------------------------------------------------- */

static bool by_a_person(const struct failover_record *r)
{
    return failover_cause_is_a_persons(failover_cause_of(r->cause));
}

static void failover_verify(struct failover *f, const struct failover_event *ev,
                            struct failover_effects *fx)
{
    assert(f->state == FAILOVER_VERIFY);
    take_seen(f, ev->seen);
    if (!f->has_record || f->record.phase != FAILOVER_INTENT) {
        read_again(f, fx, ev->now); /* somebody else's hand */
        return;
    }
    const struct process *fenced = &f->record.process;
    bool back =
        failover_is_registered(ev->seen, fenced) && !by_a_person(&f->record);
    if (back && !planted(PLANTED_NO_VERIFY)) {
        failover_write_take_back(f, ev->wall);
        go_write(f, fx, FAILOVER_TAKE_BACK, true, true);
        return;
    }
    /* it may be the very process: as long as nobody can tell, nothing moves */
    if (ev->seen->unknown && !by_a_person(&f->record)) {
        settle(f, fx, FAILOVER_WAS_UNREADABLE, ev->now);
        return;
    }
    /* INTENT was written on settings that it could not check: a person who has
     * paused since is not told that nothing moves, and then something does */
    if (ev->seen->paused) {
        settle(f, fx, FAILOVER_WAS_PAUSED, ev->now);
        return;
    }
    failover_write_moving(f, ev->wall);
    go_write(f, fx, FAILOVER_SET_MOVING, false, true);
}

/* --- LISTING and MOVING -------------------------------------------------- */

static void pass_ended(struct failover *f, const struct failover_event *ev,
                       struct failover_effects *fx)
{
    assert(!f->more);
    assert(f->has_task);
    if (f->task.type == FAILOVER_TASK_WAITING) {
        settle(f, fx, f->dirty ? FAILOVER_WAS_ASSIGNED : FAILOVER_WAS_NOTHING,
               ev->now);
        return;
    }
    if (f->dirty) {
        go_list(f, fx, true); /* until a whole pass finds nothing */
        return;
    }
    if (f->has_record) {
        failover_take_over(f);
        if (f->record.resumed == 0) {
            go_save(f, fx, FAILOVER_CLOSING);
            return;
        }
        /* whoever held the lock before may have moved more than he noted */
        f->state = FAILOVER_COUNTING;
        effect_about(f, fx, FAILOVER_DO_COUNT);
        return;
    }
    if (f->sweeping) {
        f->sweeping = false;
        go_read(f, fx, FAILOVER_READING);
        return;
    }
    answer(f, fx, FAILOVER_ACCEPTED); /* an order for what is done already */
    if (f->config.readmit && f->gate.state == GATE_FENCED &&
        f->registered.known) {
        open_gate(f, &f->gate.process, "readmitted", fx);
        return;
    }
    settle(f, fx, FAILOVER_WAS_NOTHING, ev->now);
}

static void failover_counting(struct failover *f,
                              const struct failover_event *ev,
                              struct failover_effects *fx)
{
    struct failover_record *r = &f->record;
    assert(f->state == FAILOVER_COUNTING);
    if (ev->code != ERR_OK) {
        give_way(f, fx, ev->now);
        return;
    }
    if (ev->more && hold_is_over(f, ev->now)) {
        settle(f, fx, FAILOVER_WAS_ROTATED, ev->now);
        return;
    }
    if (ev->more) {
        effect_about(f, fx, FAILOVER_DO_COUNT);
        return;
    }
    r->moved = r->held = r->dropped = r->waiting = 0;
    r->n_targets = 0;
    r->digest = 0;
    failover_add_counts(r, ev->counts);
    go_save(f, fx, FAILOVER_CLOSING);
}

static void failover_listing(struct failover *f,
                             const struct failover_event *ev,
                             struct failover_effects *fx)
{
    assert(f->has_task);
    assert(f->state == FAILOVER_LISTING);
    if (ev->code != ERR_OK) {
        give_way(f, fx, ev->now);
        return;
    }
    f->more = ev->more;
    if (ev->n > 0 && f->task.type == FAILOVER_TASK_ADDRESS && !f->has_record) {
        failover_write_reconcile(f, ev->wall);
        go_write(f, fx, FAILOVER_SET_MOVING, false, true);
        return;
    }
    if (ev->n > 0) {
        f->state = FAILOVER_MOVING_BATCHES;
        effect(fx, FAILOVER_DO_MOVE);
        return;
    }
    if (f->more && hold_is_over(f, ev->now)) {
        struct failover_effect *e = effect(fx, FAILOVER_DO_SETTLE);
        e->outcome = FAILOVER_WAS_ROTATED;
        e->clean = !f->dirty;
        go_next(f, fx, ev->now);
        return;
    }
    if (f->more)
        go_list(f, fx, false);
    else
        pass_ended(f, ev, fx);
}

static void failover_moving(struct failover *f, const struct failover_event *ev,
                            struct failover_effects *fx)
{
    const struct failover_counts *c = ev->counts;
    assert(!f->has_record || f->record.phase == FAILOVER_MOVING);
    assert(f->state == FAILOVER_MOVING_BATCHES);
    if (f->has_record)
        failover_add_counts(&f->record, c);
    if (c->moved + c->held + c->dropped + c->waiting > 0)
        f->dirty = true;
    if (ev->code != ERR_OK) {
        give_way(f, fx, ev->now);
        return;
    }
    if (c->stuck > 0 && f->task.type == FAILOVER_TASK_ADDRESS && !f->dirty &&
        !f->more) {
        settle(f, fx, FAILOVER_WAS_STUCK, ev->now);
        return;
    }
    if (hold_is_over(f, ev->now)) {
        if (f->has_record)
            go_save(f, fx, FAILOVER_SAVING);
        else
            settle(f, fx, FAILOVER_WAS_ROTATED, ev->now);
        return;
    }
    if (f->more)
        go_list(f, fx, false);
    else
        pass_ended(f, ev, fx);
}

/* --- states that read, then write the record ----------------------------- */

/* HOOK_SAVING, SAVING, CLOSING: our counts onto the record as it stands. */
static void failover_saving(struct failover *f, const struct failover_event *ev,
                            struct failover_effects *fx)
{
    const struct failover_seen *seen = ev->seen;
    const struct failover_record *now = seen->record;
    assert(f->record.phase == FAILOVER_MOVING);
    assert(f->has_record);
    if (now == NULL || strcmp(now->id, f->record.id) != 0 ||
        now->phase != FAILOVER_MOVING) {
        settle(f, fx, FAILOVER_WAS_OVERTAKEN, ev->now);
        return;
    }
    f->gate = seen->gate;
    f->record.version = now->version;
    failover_take_over(f);
    bool heir = false;
    if (f->state == FAILOVER_CLOSING) {
        f->record.phase = FAILOVER_DONE;
        f->record.finished = ev->wall;
        heir = f->gate.heir_of.known;
        memset(&f->gate.heir_of, 0, sizeof(f->gate.heir_of));
    }
    go_write(f, fx, f->state, heir, true);
}

static void failover_hook(struct failover *f, const struct failover_event *ev,
                          struct failover_effects *fx)
{
    struct failover_record *r = &f->record;
    assert(f->has_record);
    assert(f->state == FAILOVER_HOOK);
    r->hook_exit = ev->hook_exit;
    size_t n = ev->hook_tail != NULL
                   ? strnlen(ev->hook_tail, sizeof(r->hook_tail) - 1)
                   : 0;
    memcpy(r->hook_tail, n > 0 ? ev->hook_tail : "", n);
    r->hook_tail[n] = '\0';
    go_save(f, fx, FAILOVER_HOOK_SAVING);
}

/* --- what was written ---------------------------------------------------- */

static void written(struct failover *f, const struct failover_event *ev,
                    struct failover_effects *fx)
{
    assert(f->has_task);
    assert(f->locked);
    switch (f->state) {
    case FAILOVER_INTENTING:
        tell(f, fx, FAILOVER_NEWS_INTENT, f->record.cause);
        answer(f, fx, FAILOVER_ACCEPTED);
        go_read(f, fx, FAILOVER_VERIFY);
        return;
    case FAILOVER_TAKE_BACK:
        tell(f, fx, FAILOVER_NEWS_TAKEN_BACK, f->record.cause);
        settle(f, fx, FAILOVER_WAS_TAKEN_BACK, ev->now);
        return;
    case FAILOVER_SET_MOVING:
        go_on(f, fx, ev->now);
        return;
    case FAILOVER_HOOK_SAVING:
        go_list(f, fx, true);
        return;
    case FAILOVER_SAVING:
        settle(f, fx, FAILOVER_WAS_ROTATED, ev->now);
        return;
    case FAILOVER_HOLDING:
        tell(f, fx, FAILOVER_NEWS_HELD, f->record.cause);
        answer(f, fx, FAILOVER_ACCEPTED);
        settle(f, fx, FAILOVER_WAS_HELD, ev->now);
        return;
    case FAILOVER_OPENING:
        tell(f, fx, FAILOVER_NEWS_OPENED, f->opened);
        go_read(f, fx, FAILOVER_READING);
        return;
    case FAILOVER_DROPPING:
        tell(f, fx, FAILOVER_NEWS_LIFTED, "needless");
        go_read(f, fx, FAILOVER_READING);
        return;
    case FAILOVER_CLOSING:
        tell(f, fx, FAILOVER_NEWS_DONE, f->record.cause);
        if (f->answered) /* carried out; who is let in again then, stays */
            f->task.ordered = f->task.force = false;
        if (ev->wanted) /* a new process waits outside */
            go_read(f, fx, FAILOVER_READING);
        else
            settle(f, fx, FAILOVER_WAS_DONE, ev->now);
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
            give_way(f, fx, ev->now);
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
                settle(f, fx, FAILOVER_WAS_CONTENDED, ev->now);
            else {
                f->record.phase = FAILOVER_MOVING;
                go_read(f, fx, f->state);
            }
            return;
        }
        read_again(f, fx, ev->now);
        return;
    default:
        give_way(f, fx, ev->now);
        return;
    }
}

/* --- the lock ------------------------------------------------------------ */

static void failover_idle(struct failover *f, const struct failover_event *ev,
                          struct failover_effects *fx)
{
    assert(!f->locked);
    assert(!f->has_task);
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
    effect(fx, FAILOVER_DO_LOCK);
}

static void failover_tick(struct failover *f, const struct failover_event *ev,
                          struct failover_effects *fx)
{
    if (f->state == FAILOVER_IDLE)
        failover_idle(f, ev, fx);
    else if (f->state == FAILOVER_WANT_LOCK && !ev->wanted)
        release(f, fx, ev->now); /* somebody else did it */
}

static void failover_next(struct failover *f, const struct failover_event *ev,
                          struct failover_effects *fx)
{
    assert(f->state == FAILOVER_HAVE_LOCK && f->locked);
    if (ev->task == NULL) {
        release(f, fx, ev->now);
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
        go_read(f, fx, FAILOVER_READING);
        return;
    case FAILOVER_TASK_WAITING:
        go_list(f, fx, true);
        return;
    case FAILOVER_TASK_COLLECT:
        f->state = FAILOVER_COLLECTING;
        effect(fx, FAILOVER_DO_COLLECT);
        return;
    }
}

static void failover_read(struct failover *f, const struct failover_event *ev,
                          struct failover_effects *fx)
{
    assert(f->has_task);
    assert(f->locked);
    if (ev->code == ERR_INVALID) { /* a gate or record that nobody can read */
        answer(f, fx, FAILOVER_NOT_READABLE);
        settle(f, fx, FAILOVER_WAS_UNREADABLE, ev->now);
        return;
    }
    if (ev->code != ERR_OK) {
        give_way(f, fx, ev->now);
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
        go_next(f, fx, ev->now);
        break;
    case FAILOVER_REFUSED:
    case FAILOVER_LOST:
        if (f->has_task)
            effect(fx, FAILOVER_DO_SETTLE)->outcome = FAILOVER_WAS_INTERRUPTED;
        if (f->state != FAILOVER_IDLE)
            release(f, fx, ev->now + f->config.retry_ms);
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
        assert(f->state == FAILOVER_COLLECTING);
        settle(f, fx, FAILOVER_WAS_COLLECTED, ev->now);
        break;
    }
    assert(!f->has_record || f->has_task);
    assert(!f->has_task || f->locked);
    assert(f->state == FAILOVER_IDLE || f->locked ||
           f->state == FAILOVER_WANT_LOCK);
}
