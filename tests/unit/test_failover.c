/*
 * test_failover.c - the step, as transcripts: events go in, and the states and
 * effects that come out are compared as one line of text. Every path of the
 * diagram is one of them; test_failover_rules.c has what must never happen.
 */
#include "tests/unit/failover_script.h"

/* --- transcripts --------------------------------------------------------- */

static void a_failover_from_idle_to_idle(void **state)
{
    (void)state;
    to_reading();
    assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
    assert_string_equal(written(ERR_OK), "verify: tell(down) read");
    assert_string_equal(read_as_seen(), "set-moving: write(moving)");
    assert_string_equal(written(ERR_OK), "listing: list");
    assert_string_equal(listed(900, true), "moving: move");
    assert_string_equal(moved(900), "listing: list");
    assert_string_equal(listed(3, false), "moving: move");
    assert_string_equal(moved(3), "listing: list"); /* one more pass */
    assert_string_equal(listed(0, false), "closing: read");
    assert_string_equal(read_as_seen(), "closing: write(done)");
    assert_int_equal(failover_record(f)->moved, 903);
    assert_int_equal(failover_record(f)->fence, 17);
    assert_string_equal(written(ERR_OK),
                        "have-lock: tell(down) settle(done) next");
    assert_string_equal(next(NULL), "idle: unlock");
}

static void a_rank_waits_its_turn(void **state)
{
    (void)state;
    failover_set_rank(f, 2);
    assert_string_equal(tick(true), "idle:");
    now += 999;
    assert_string_equal(tick(true), "idle:");
    now += 1;
    assert_string_equal(tick(true), "want-lock: lock");
}

static void a_rank_begins_anew_when_nothing_was_wanted(void **state)
{
    (void)state;
    failover_set_rank(f, 1);
    (void)tick(true);
    now += 499;
    (void)tick(false);
    now += 1;
    assert_string_equal(tick(true), "idle:");
}

static void whoever_waits_in_vain_stops_waiting(void **state)
{
    (void)state;
    (void)tick(true);
    assert_string_equal(tick(false), "idle: unlock");
}

static void a_refused_lock_is_tried_again_later(void **state)
{
    (void)state;
    (void)tick(true);
    assert_string_equal(feed((struct failover_event){.type = FAILOVER_REFUSED,
                                                     .code = ERR_TIMEOUT}),
                        "idle: unlock");
    assert_string_equal(tick(true), "idle:");
    now += 500;
    assert_string_equal(tick(true), "want-lock: lock");
}

static void the_same_process_at_the_second_read_is_taken_back(void **state)
{
    (void)state;
    to_reading();
    (void)read_as_seen();
    (void)written(ERR_OK);
    stand(1);
    assert_string_equal(read_as_seen(), "take-back: write(openaborted)");
    struct process p = process_of(1);
    assert_true(gate_takes(failover_gate(f), &p));
    assert_string_equal(written(ERR_OK),
                        "have-lock: tell(down) settle(taken-back) next");
}

static void the_old_process_back_over_a_new_one_is_taken_back_too(void **state)
{
    struct process old = process_of(1), new = process_of(2);
    (void)state;
    to_reading();
    stand(2);
    assert_string_equal(read_as_seen(), "intent: write(openintent)");
    (void)written(ERR_OK);
    stand(1);
    assert_string_equal(read_as_seen(), "take-back: write(openaborted)");
    assert_true(process_same(&failover_gate(f)->process, &old));
    assert_true(gate_bars(failover_gate(f), &new));
    assert_false(gate_bars(failover_gate(f), &old));
}

static void an_unreadable_second_read_moves_nothing(void **state)
{
    (void)state;
    to_reading();
    (void)read_as_seen();
    (void)written(ERR_OK);
    seen.unknown = true;
    assert_string_equal(read_as_seen(), "have-lock: settle(unreadable) next");
}

static void a_conflict_is_decided_anew_not_repeated(void **state)
{
    (void)state;
    to_reading();
    (void)read_as_seen();
    assert_string_equal(written(ERR_CONFLICT), "reading: read");
    stand(1); /* it is back */
    assert_string_equal(read_as_seen(), "listing: list");
}

static void reads_that_grew_old_are_made_again(void **state)
{
    (void)state;
    to_reading();
    (void)read_as_seen();
    assert_string_equal(written(ERR_TIMEOUT), "reading: read");
}

static void an_unknown_intent_that_applied_goes_on_to_verify(void **state)
{
    (void)state;
    to_reading();
    (void)read_as_seen();
    seen.gate = *fx.list[0].gate;
    record = *fx.list[0].record;
    record.version = 1;
    seen.record = &record;
    assert_string_equal(written(ERR_UNKNOWN), "reading: read");
    assert_string_equal(read_as_seen(), "verify: read");
}

static void contention_gives_others_a_turn(void **state)
{
    (void)state;
    to_reading();
    for (int i = 0; i < 8; i++) {
        assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
        assert_string_equal(written(ERR_CONFLICT), "reading: read");
    }
    (void)read_as_seen();
    assert_string_equal(written(ERR_CONFLICT),
                        "have-lock: settle(contended) next");
}

static void a_lost_lock_ends_everything_in_any_state(void **state)
{
    (void)state;
    to_moving();
    (void)listed(5, false);
    assert_string_equal(lost(), "idle: settle(interrupted) unlock");
    assert_string_equal(lost(), "idle:");
}

static void the_lock_is_given_up_after_ten_seconds(void **state)
{
    (void)state;
    to_moving();
    (void)listed(1000, true);
    now += 10000;
    assert_string_equal(moved(1000), "saving: read");
    assert_string_equal(read_as_seen(), "saving: write(moving)");
    assert_int_equal(failover_record(f)->moved, 1000);
    assert_string_equal(written(ERR_OK), "idle: settle(rotated) unlock");
    assert_string_equal(tick(true), "want-lock: lock"); /* queues again */
}

static void another_holder_resumes_moving_and_counts_it_all(void **state)
{
    struct failover_counts all = {.moved = 40, .waiting = 2};
    (void)state;
    to_reading();
    record = (struct failover_record){.phase = FAILOVER_MOVING,
                                      .kind = NODE_MASTER,
                                      .fence = 16,
                                      .session = 4,
                                      .moved = 3,
                                      .hook_exit = -1,
                                      .process = process_of(1)};
    (void)snprintf(record.id, sizeof(record.id), "master-1-b");
    (void)snprintf(record.coordinator, sizeof(record.coordinator), "c9:1");
    seen.record = &record;
    seen.gate.state = GATE_FENCED;
    assert_string_equal(read_as_seen(), "listing: tell(moving) list");
    assert_string_equal(listed(0, false), "counting: count");
    assert_string_equal(
        feed((struct failover_event){.type = FAILOVER_COUNTED, .counts = &all}),
        "closing: read");
    assert_string_equal(read_as_seen(), "closing: write(done)");
    assert_int_equal(failover_record(f)->moved, 40);
    assert_int_equal(failover_record(f)->waiting, 2);
    assert_int_equal(failover_record(f)->resumed, 1);
    assert_string_equal(failover_record(f)->coordinator, "c0:1");
}

static void another_holder_verifies_an_intent_before_it_moves(void **state)
{
    (void)state;
    to_reading();
    record = (struct failover_record){.phase = FAILOVER_INTENT,
                                      .fence = 16,
                                      .hook_exit = -1,
                                      .process = process_of(1)};
    (void)snprintf(record.cause, sizeof(record.cause), "down");
    seen.record = &record;
    seen.gate.state = GATE_FENCED;
    assert_string_equal(read_as_seen(), "verify: tell(intent) read");
    stand(1);
    assert_string_equal(read_as_seen(), "take-back: write(openaborted)");
}

static void a_drains_deadline_fences_a_process_that_stands(void **state)
{
    (void)state;
    to_reading();
    stand(1);
    seen.gate.state = GATE_DRAINING;
    seen.over = true;
    assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
    assert_string_equal(written(ERR_OK), "verify: tell(drain) read");
    assert_string_equal(read_as_seen(), "set-moving: write(moving)");
}

static void a_restart_lease_is_consumed_by_its_heir(void **state)
{
    struct process old = process_of(1);
    (void)state;
    to_reading();
    seen.gate.state = GATE_RESTARTING;
    stand(2);
    assert_string_equal(read_as_seen(), "intent: write(openintent)");
    assert_true(process_same(&failover_gate(f)->heir_of, &old));
    (void)written(ERR_OK);
    (void)read_as_seen();
    (void)written(ERR_OK);
    (void)listed(0, false);
    assert_string_equal(read_as_seen(), "closing: write(opendone)");
    assert_false(failover_gate(f)->heir_of.known);
}

static void an_heir_that_is_fenced_first_inherits_nothing(void **state)
{
    (void)state;
    to_reading();
    seen.gate.process = process_of(2);
    seen.gate.heir_of = process_of(1);
    seen.gate.past[0] = process_of(1);
    seen.gate.n_past = 1;
    assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
    assert_false(failover_gate(f)->heir_of.known);
}

static void a_fenced_gate_is_opened_for_a_new_process(void **state)
{
    (void)state;
    to_reading();
    seen.gate.state = GATE_FENCED;
    stand(2);
    assert_string_equal(read_as_seen(), "opening: write(open)");
    assert_string_equal(written(ERR_OK), "reading: tell(admitted) read");
}

static void a_process_of_the_past_counts_as_absent(void **state)
{
    (void)state;
    to_reading();
    seen.gate.past[0] = process_of(9);
    seen.gate.n_past = 1;
    stand(9);
    assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
}

static void a_fenced_process_is_readmitted_when_nothing_names_it(void **state)
{
    (void)state;
    to_reading();
    seen.gate.state = GATE_FENCED;
    stand(1);
    assert_string_equal(read_as_seen(), "listing: list");
    assert_string_equal(listed(0, false), "opening: write(open)");
}

static void a_brake_writes_a_record_and_stays(void **state)
{
    (void)state;
    to_reading();
    seen.mass = true;
    assert_string_equal(read_as_seen(), "holding: write(held)");
    assert_string_equal(written(ERR_OK),
                        "have-lock: tell(mass) settle(held) next");
    struct failover_task t = at("m1:1");
    (void)next(&t);
    assert_string_equal(read_as_seen(), "have-lock: settle(held) next");
    (void)next(&t);
    seen.mass = false;
    assert_string_equal(read_as_seen(), "intent: tell(mass) "
                                        "write(fencedintent)");
    assert_string_equal(failover_record(f)->id, "master-1-a");
}

static void a_new_process_is_no_reason_for_the_mass_brake(void **state)
{
    (void)state;
    to_reading();
    seen.mass = true;
    stand(2);
    assert_string_equal(read_as_seen(), "intent: write(openintent)");
}

static void a_held_record_of_a_node_that_is_back_is_dropped(void **state)
{
    (void)state;
    to_reading();
    record = (struct failover_record){.phase = FAILOVER_HELD};
    seen.record = &record;
    stand(1);
    assert_string_equal(read_as_seen(), "dropping: write(aborted)");
}

static void stray_markers_get_a_record_of_their_own(void **state)
{
    (void)state;
    to_reading();
    stand(1);
    assert_string_equal(read_as_seen(), "listing: list");
    assert_string_equal(listed(2, false), "set-moving: write(moving)");
    assert_string_equal(failover_record(f)->cause, "reconcile");
    assert_string_equal(written(ERR_OK), "listing: list");
}

static void an_order_is_answered_once(void **state)
{
    struct failover_task t = at("m1:1");
    (void)state;
    t.ordered = true;
    (void)tick(true);
    (void)locked();
    (void)next(&t);
    seen.gate.state = GATE_OPEN;
    seen.gate.process = process_of(1);
    stand(1);
    assert_string_equal(read_as_seen(),
                        "have-lock: answer(alive) settle(alive) next");
    t.force = true;
    (void)next(&t);
    assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
    assert_string_equal(written(ERR_OK), "verify: tell(forced) answer read");
    assert_string_equal(read_as_seen(), "set-moving: write(moving)");
}

static void a_changed_plan_is_not_applied(void **state)
{
    struct failover_task t = at("m1:1");
    (void)state;
    t.ordered = t.matched = true;
    (void)tick(true);
    (void)locked();
    (void)next(&t);
    seen.gate.state = GATE_OPEN;
    seen.gate.process = process_of(1);
    assert_string_equal(read_as_seen(), "planning: plan");
    assert_string_equal(
        feed((struct failover_event){.type = FAILOVER_PLANNED}),
        "have-lock: answer(plan_changed) settle(plan-changed) next");
    (void)next(&t);
    (void)read_as_seen();
    assert_string_equal(
        feed((struct failover_event){.type = FAILOVER_PLANNED, .same = true}),
        "reading: read");
    assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_failover_from_idle_to_idle),
        TEST(a_rank_waits_its_turn),
        TEST(a_rank_begins_anew_when_nothing_was_wanted),
        TEST(whoever_waits_in_vain_stops_waiting),
        TEST(a_refused_lock_is_tried_again_later),
        TEST(the_same_process_at_the_second_read_is_taken_back),
        TEST(the_old_process_back_over_a_new_one_is_taken_back_too),
        TEST(an_unreadable_second_read_moves_nothing),
        TEST(a_conflict_is_decided_anew_not_repeated),
        TEST(reads_that_grew_old_are_made_again),
        TEST(an_unknown_intent_that_applied_goes_on_to_verify),
        TEST(contention_gives_others_a_turn),
        TEST(a_lost_lock_ends_everything_in_any_state),
        TEST(the_lock_is_given_up_after_ten_seconds),
        TEST(another_holder_resumes_moving_and_counts_it_all),
        TEST(another_holder_verifies_an_intent_before_it_moves),
        TEST(a_drains_deadline_fences_a_process_that_stands),
        TEST(a_restart_lease_is_consumed_by_its_heir),
        TEST(an_heir_that_is_fenced_first_inherits_nothing),
        TEST(a_fenced_gate_is_opened_for_a_new_process),
        TEST(a_process_of_the_past_counts_as_absent),
        cmocka_unit_test_setup_teardown(
            a_fenced_process_is_readmitted_when_nothing_names_it, setup_readmit,
            teardown),
        TEST(a_brake_writes_a_record_and_stays),
        TEST(a_new_process_is_no_reason_for_the_mass_brake),
        TEST(a_held_record_of_a_node_that_is_back_is_dropped),
        TEST(stray_markers_get_a_record_of_their_own),
        TEST(an_order_is_answered_once),
        TEST(a_changed_plan_is_not_applied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
