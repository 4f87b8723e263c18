/*
 * failover_moving.c - the states after `moving` stands: the hook, LISTING,
 * MOVING, SAVING, COUNTING, CLOSING. Design: what was counted is written only
 * onto the record as it stands, read immediately before.
 */
#include "failover/failover_priv.h"

#include <string.h>

/* --- LISTING and MOVING -------------------------------------------------- */

static void pass_ended(struct failover *f, const struct failover_event *ev,
                       struct failover_effects *fx)
{
    if (f->task.type == FAILOVER_TASK_WAITING) {
        step_settle(f, fx, f->dirty ? "assigned" : "nothing", ev->now);
        return;
    }
    if (f->dirty) {
        step_go_list(f, fx, true); /* until a whole pass finds nothing */
        return;
    }
    if (f->has_record) {
        failover_take_over(f);
        if (f->record.resumed == 0) {
            step_go_read(f, fx, FAILOVER_CLOSING);
            return;
        }
        /* whoever held the lock before may have moved more than he noted */
        f->state = FAILOVER_COUNTING;
        step_effect_about(f, fx, FAILOVER_DO_COUNT);
        return;
    }
    if (f->sweeping) {
        f->sweeping = false;
        step_go_read(f, fx, FAILOVER_READING);
        return;
    }
    step_answer(f, fx, NULL); /* an order for what is done already */
    if (f->config.readmit && f->gate.state == GATE_FENCED &&
        f->registered.known) {
        step_open_gate(f, &f->gate.process, "readmitted", fx);
        return;
    }
    step_settle(f, fx, "nothing", ev->now);
}

void failover_counting(struct failover *f, const struct failover_event *ev,
                       struct failover_effects *fx)
{
    struct failover_record *r = &f->record;
    if (ev->code != ERR_OK) {
        step_give_way(f, fx, ev->now);
        return;
    }
    if (ev->more && step_hold_is_over(f, ev->now)) {
        step_settle(f, fx, "rotated", ev->now);
        return;
    }
    if (ev->more) {
        step_effect_about(f, fx, FAILOVER_DO_COUNT);
        return;
    }
    r->moved = r->held = r->dropped = r->waiting = 0;
    r->n_targets = 0;
    r->digest = 0;
    failover_add_counts(r, ev->counts);
    step_go_read(f, fx, FAILOVER_CLOSING);
}

void failover_listing(struct failover *f, const struct failover_event *ev,
                      struct failover_effects *fx)
{
    if (ev->code != ERR_OK) {
        step_give_way(f, fx, ev->now);
        return;
    }
    f->more = ev->more;
    if (ev->n > 0 && f->task.type == FAILOVER_TASK_ADDRESS && !f->has_record) {
        failover_write_reconcile(f, ev->wall);
        step_go_write(f, fx, FAILOVER_SET_MOVING, false, true);
        return;
    }
    if (ev->n > 0) {
        f->state = FAILOVER_MOVING_BATCHES;
        step_effect(fx, FAILOVER_DO_MOVE);
        return;
    }
    if (f->more && step_hold_is_over(f, ev->now)) {
        struct failover_effect *e = step_effect(fx, FAILOVER_DO_SETTLE);
        e->word = "rotated";
        e->clean = !f->dirty;
        step_go_next(f, fx, ev->now);
        return;
    }
    if (f->more)
        step_go_list(f, fx, false);
    else
        pass_ended(f, ev, fx);
}

void failover_moving(struct failover *f, const struct failover_event *ev,
                     struct failover_effects *fx)
{
    const struct failover_counts *c = ev->counts;
    if (f->has_record)
        failover_add_counts(&f->record, c);
    if (c->moved + c->held + c->dropped + c->waiting > 0)
        f->dirty = true;
    if (ev->code != ERR_OK) {
        step_give_way(f, fx, ev->now);
        return;
    }
    if (c->stuck > 0 && f->task.type == FAILOVER_TASK_ADDRESS && !f->dirty &&
        !f->more) {
        step_settle(f, fx, "stuck", ev->now);
        return;
    }
    if (step_hold_is_over(f, ev->now)) {
        if (f->has_record)
            step_go_read(f, fx, FAILOVER_SAVING);
        else
            step_settle(f, fx, "rotated", ev->now);
        return;
    }
    if (f->more)
        step_go_list(f, fx, false);
    else
        pass_ended(f, ev, fx);
}

/* --- states that read, then write the record ----------------------------- */

/* HOOK_SAVING, SAVING, CLOSING: our counts onto the record as it stands. */
void failover_saving(struct failover *f, const struct failover_event *ev,
                     struct failover_effects *fx)
{
    const struct failover_seen *seen = ev->seen;
    const struct failover_record *now = seen->record;
    assert(f->has_record);
    if (now == NULL || strcmp(now->id, f->record.id) != 0 ||
        now->phase != FAILOVER_MOVING) {
        step_settle(f, fx, "overtaken", ev->now);
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
    step_go_write(f, fx, f->state, heir, true);
}

void failover_hook(struct failover *f, const struct failover_event *ev,
                   struct failover_effects *fx)
{
    struct failover_record *r = &f->record;
    r->hook_exit = ev->hook_exit;
    size_t n = ev->hook_tail != NULL
                   ? strnlen(ev->hook_tail, sizeof(r->hook_tail) - 1)
                   : 0;
    memcpy(r->hook_tail, n > 0 ? ev->hook_tail : "", n);
    r->hook_tail[n] = '\0';
    step_go_read(f, fx, FAILOVER_HOOK_SAVING);
}
