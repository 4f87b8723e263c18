/*
 * failover_begin.c - the states up to the first move: READING and its verdicts,
 * PLANNING, VERIFY. Design: everything that a coordinator may find when it
 * opens the door is a verdict of one function, and each verdict is one branch
 * here.
 */
#include "failover/failover_priv.h"

#include "base/planted.h"

#include <stdio.h>
#include <string.h>

/* --- READING ------------------------------------------------------------- */

static void take_seen(struct failover *f, const struct failover_seen *seen)
{
    f->gate = seen->gate;
    f->session = seen->session;
    f->over = seen->over;
    f->has_record = seen->record != NULL;
    if (f->has_record)
        f->record = *seen->record;
    memcpy(f->new_id, seen->new_id, sizeof(f->new_id));
    memset(&f->registered, 0, sizeof(f->registered));
    if (failover_stands(seen, &seen->gate.process))
        f->registered = seen->gate.process;
}

static void begin_intent(struct failover *f, const struct failover_event *ev,
                         const char *cause, struct failover_effects *fx)
{
    if (f->has_record && f->record.phase == FAILOVER_HELD) {
        memcpy(f->lifted, f->record.cause, sizeof(f->lifted));
        step_tell(f, fx, FAILOVER_NEWS_LIFTED, f->lifted);
    }
    failover_write_intent(f, ev->seen, cause, ev->wall);
    f->has_intent = true;
    memcpy(f->last_intent, f->record.id, sizeof(f->last_intent));
    step_go_write(f, fx, FAILOVER_INTENTING, true, true);
}

static void read_hold(struct failover *f, const struct failover_event *ev,
                      const char *cause, struct failover_effects *fx)
{
    if (f->has_record && strcmp(f->record.cause, cause) == 0) {
        step_answer(f, fx, NULL); /* it stands already */
        step_settle(f, fx, "held", ev->now);
        return;
    }
    failover_write_hold(f, ev->seen, cause, ev->wall);
    step_go_write(f, fx, FAILOVER_HOLDING, false, true);
}

/* An unfinished failover: ours whose reply was lost, or one to take over. */
static void resume(struct failover *f, const struct failover_event *ev,
                   enum failover_verdict verdict, struct failover_effects *fx)
{
    bool ours = f->has_intent && strcmp(f->last_intent, f->record.id) == 0;
    step_answer(f, fx, ours ? NULL : "running");
    if (!ours)
        step_tell(f, fx, FAILOVER_NEWS_RESUMED,
                  failover_phase_name(f->record.phase));
    if (verdict == FAILOVER_TO_VERIFY)
        step_go_read(f, fx, FAILOVER_VERIFY);
    else
        step_go_on(f, fx, ev->now);
}

static void drop(struct failover *f, const struct failover_event *ev,
                 const char *why, struct failover_effects *fx)
{
    f->record.phase = FAILOVER_ABORTED;
    f->record.finished = ev->wall;
    (void)snprintf(f->record.why, sizeof(f->record.why), "%s", why);
    failover_take_over(f);
    step_go_write(f, fx, FAILOVER_DROPPING, false, true);
}

static void drop_held(struct failover *f, const struct failover_event *ev,
                      struct failover_effects *fx)
{
    const char *why = "needless";
    if (f->record.phase == FAILOVER_QUEUED)
        why = ev->seen->gate.state == GATE_FENCED   ? "done"
              : ev->seen->n_standing > 0            ? "alive"
              : ev->seen->gate.state == GATE_ABSENT ? "not_found"
                                                    : "done";
    drop(f, ev, why, fx);
}

void step_open_gate(struct failover *f, const struct process *p,
                    const char *word, struct failover_effects *fx)
{
    const struct process whom = *p; /* may lie in the gate that changes */
    f->verdict = word;
    failover_write_open(f, &whom);
    step_go_write(f, fx, FAILOVER_OPENING, true, false);
}

/* Who came to a gate whose process is fenced, or left: perhaps it itself. */
static void admit(struct failover *f, const struct failover_seen *seen,
                  struct failover_effects *fx)
{
    const struct process *p = failover_fresh(seen);
    for (size_t i = 0; i < seen->n_standing && failover_present(seen); i++) {
        if (gate_returned(&seen->gate, &seen->standing[i]))
            p = &seen->standing[i];
    }
    step_open_gate(f, p, "admitted", fx);
}

void failover_reading(struct failover *f, const struct failover_event *ev,
                      struct failover_effects *fx)
{
    const char *cause;
    take_seen(f, ev->seen);
    enum failover_verdict v = failover_decide(ev->seen, &f->task, &cause);
    switch (v) {
    case FAILOVER_NOTHING:
        step_answer(f, fx, f->gate.state == GATE_ABSENT ? "not_found" : NULL);
        step_settle(f, fx, "nothing", ev->now);
        return;
    case FAILOVER_ALIVE:
    case FAILOVER_UNREADABLE:
        step_answer(f, fx, v == FAILOVER_ALIVE ? "alive" : "unreadable");
        step_settle(f, fx, "alive", ev->now);
        return;
    case FAILOVER_TO_INTENT:
        if (f->gate.n_past == GATE_PAST_MAX && !f->swept) {
            /* the oldest falls out: see first that it left nothing, for what
             * no gate names would never be moved */
            f->sweeping = f->swept = true;
            f->has_record = false;
            step_go_list(f, fx, true);
            return;
        }
        if (f->task.matched ||
            (f->has_record && f->record.if_match[0] != '\0' && !f->planned)) {
            f->state = FAILOVER_PLANNING;
            step_effect(fx, FAILOVER_DO_PLAN);
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
        step_open_gate(
            f, &ev->seen->gate.process,
            f->gate.state == GATE_DRAINING ? "drain-over" : "lease-over", fx);
        return;
    case FAILOVER_TO_DROP:
        drop_held(f, ev, fx);
        return;
    case FAILOVER_TO_LIST:
        f->has_record = false;
        step_go_list(f, fx, true);
        return;
    }
}

void failover_planning(struct failover *f, const struct failover_event *ev,
                       struct failover_effects *fx)
{
    if (ev->code != ERR_OK) {
        step_give_way(f, fx, ev->now);
        return;
    }
    if (!ev->same && !f->task.matched) { /* an order that waited */
        drop(f, ev, "plan_changed", fx);
        return;
    }
    if (!ev->same) {
        step_answer(f, fx, "plan_changed");
        step_settle(f, fx, "plan-changed", ev->now);
        return;
    }
    f->task.matched = false;
    f->planned = true;
    step_go_read(f, fx, FAILOVER_READING);
}

/* --- VERIFY -------------------------------------------------------------- */

static bool by_a_person(const struct failover_record *r)
{
    return strcmp(r->cause, "drain") == 0 || strcmp(r->cause, "forced") == 0;
}

void failover_verify(struct failover *f, const struct failover_event *ev,
                     struct failover_effects *fx)
{
    take_seen(f, ev->seen);
    if (!f->has_record || f->record.phase != FAILOVER_INTENT) {
        step_read_again(f, fx, ev->now); /* somebody else's hand */
        return;
    }
    const struct process *fenced = &f->record.process;
    bool back = failover_stands(ev->seen, fenced) && !by_a_person(&f->record);
    if (back && !planted(PLANTED_NO_VERIFY)) {
        failover_write_take_back(f, ev->wall);
        step_go_write(f, fx, FAILOVER_TAKE_BACK, true, true);
        return;
    }
    /* it may be the very process: as long as nobody can tell, nothing moves */
    if (ev->seen->unknown && !by_a_person(&f->record)) {
        step_settle(f, fx, "unreadable", ev->now);
        return;
    }
    /* INTENT was written on settings that it could not check: a person who has
     * paused since is not told that nothing moves, and then something does */
    if (ev->seen->paused) {
        step_settle(f, fx, "paused", ev->now);
        return;
    }
    failover_write_moving(f, ev->wall);
    step_go_write(f, fx, FAILOVER_SET_MOVING, false, true);
}
