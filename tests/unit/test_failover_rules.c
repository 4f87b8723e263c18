/*
 * test_failover_rules.c - the step's rules that look fussy, each as the
 * shortest transcript in which breaking it would take work from the living,
 * lose it or double it.
 */
#include "tests/unit/failover_script.h"

static const struct failover_effect *write_of_the_last_step(void)
{
    for (size_t i = 0; i < fx.n; i++)
        if (fx.list[i].type == FAILOVER_DO_WRITE)
            return &fx.list[i];
    fail_msg("nothing is written: %s", effects_text());
    return NULL;
}

/* Up to the second read of m1, whose gate is fenced for process 1. */
static void to_verify(void)
{
    to_reading();
    assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
    assert_string_equal(written(ERR_OK), "verify: tell(down) read");
}

/* --- every write stands on what was read --------------------------------- */

static void every_write_is_at_the_versions_just_read(void **state)
{
    (void)state;
    to_reading();
    seen.gate.version = 7;
    (void)read_as_seen();
    assert_int_equal(write_of_the_last_step()->gate->version, 7);
    assert_int_equal(write_of_the_last_step()->record->version, 0); /* new */
    (void)written(ERR_OK);
    record.version = 21;
    assert_string_equal(read_as_seen(), "set-moving: write(moving)");
    assert_int_equal(write_of_the_last_step()->record->version, 21);
    assert_null(write_of_the_last_step()->gate);
    (void)written(ERR_OK);
    assert_string_equal(listed(0, false), "closing: read");
    record.version = 23;
    assert_string_equal(read_as_seen(), "closing: write(done)");
    assert_int_equal(write_of_the_last_step()->record->version, 23);
}

static void a_gate_is_taken_back_at_both_versions_just_read(void **state)
{
    (void)state;
    to_verify();
    stand(1);
    seen.gate.version = 11;
    record.version = 12;
    assert_string_equal(read_as_seen(), "take-back: write(openaborted)");
    assert_int_equal(write_of_the_last_step()->gate->version, 11);
    assert_int_equal(write_of_the_last_step()->record->version, 12);
}

/* Whoever wrote `moving` first has won: the work is on its way, and a process
 * that is back stays fenced. */
static void a_gate_is_never_given_back_once_moving_stands(void **state)
{
    (void)state;
    to_verify();
    stand(1);
    assert_string_equal(read_as_seen(), "take-back: write(openaborted)");
    /* refused: another holder had read that nobody stands there */
    record.phase = FAILOVER_MOVING;
    record.version++;
    assert_string_equal(written(ERR_CONFLICT), "reading: read");
    assert_string_equal(read_as_seen(), "listing: list");
    assert_int_equal(failover_gate(f)->state, GATE_FENCED);
    assert_string_equal(listed(2, false), "moving: move");
    assert_string_equal(moved(2), "listing: list");
    assert_string_equal(listed(0, false), "closing: read");
    assert_string_equal(read_as_seen(), "closing: write(done)");
    assert_string_equal(written(ERR_OK), "reading: tell(down) read");
    assert_string_equal(read_as_seen(), "listing: list"); /* out it stays */
    assert_string_equal(listed(0, false), "have-lock: settle(nothing) next");
}

/* The other way round: `moving` that may still apply finds another record. */
static void moving_in_doubt_is_verified_again(void **state)
{
    (void)state;
    to_verify();
    assert_string_equal(read_as_seen(), "set-moving: write(moving)");
    assert_string_equal(written(ERR_UNKNOWN), "reading: read");
    assert_string_equal(read_as_seen(), "verify: read");
    stand(1);
    assert_string_equal(read_as_seen(), "take-back: write(openaborted)");
    assert_int_equal(write_of_the_last_step()->record->version, record.version);
}

/* A gate that opens late would give new work to a process under a list that
 * calls it fenced; without our lock the late write is refused. */
static void an_opening_in_doubt_lets_go_of_the_lock(void **state)
{
    (void)state;
    to_reading();
    seen.gate.state = GATE_FENCED;
    stand(2);
    assert_string_equal(read_as_seen(), "opening: write(open)");
    assert_string_equal(written(ERR_UNKNOWN),
                        "idle: settle(interrupted) unlock");
    assert_string_equal(tick(true), "idle:"); /* and not again at once */
    now += 500;
    assert_string_equal(tick(true), "want-lock: lock");
}

static void a_lease_ended_in_doubt_lets_go_of_the_lock(void **state)
{
    (void)state;
    to_reading();
    seen.gate.state = GATE_RESTARTING;
    seen.over = true;
    stand(1);
    assert_string_equal(read_as_seen(), "opening: write(open)");
    assert_string_equal(written(ERR_UNKNOWN),
                        "idle: settle(interrupted) unlock");
}

static void a_readmission_in_doubt_lets_go_of_the_lock(void **state)
{
    (void)state;
    to_reading();
    seen.gate.state = GATE_FENCED;
    stand(1);
    (void)read_as_seen();
    assert_string_equal(listed(0, false), "opening: write(open)");
    assert_string_equal(written(ERR_UNKNOWN),
                        "idle: settle(interrupted) unlock");
}

/* --- who stands, who does not -------------------------------------------- */

/* A person takes the work of a process that lives: it stays out, and a new one
 * at its address does not. */
static void a_forced_one_stays_out_and_a_new_one_comes_in(void **state)
{
    struct failover_task t = at("m1:1");
    (void)state;
    t.ordered = t.force = true;
    (void)tick(true);
    (void)locked();
    (void)next(&t);
    seen.gate.state = GATE_OPEN;
    seen.gate.process = process_of(1);
    stand(1);
    assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
    (void)written(ERR_OK);
    assert_string_equal(read_as_seen(), "set-moving: write(moving)");
    (void)written(ERR_OK);
    (void)listed(0, false);
    (void)read_as_seen();
    (void)written(ERR_OK);
    assert_string_equal(read_as_seen(), "listing: list"); /* not once more */
    assert_string_equal(listed(0, false), "have-lock: settle(nothing) next");
    t = at("m1:1");
    (void)next(&t);
    stand(2);
    assert_string_equal(read_as_seen(), "opening: write(open)");
    struct process old = process_of(1), new = process_of(2);
    assert_true(gate_takes(failover_gate(f), &new));
    assert_true(gate_bars(failover_gate(f), &old));
}

/* A cordon that was ordered after INTENT let a new process in. */
static void a_gate_taken_back_keeps_a_cordon_that_came_meanwhile(void **state)
{
    (void)state;
    to_reading();
    stand(2);
    assert_string_equal(read_as_seen(), "intent: write(openintent)");
    (void)written(ERR_OK);
    seen.gate.state = GATE_CORDONED;
    (void)snprintf(seen.gate.who, sizeof(seen.gate.who), "ada");
    stand(1);
    assert_string_equal(read_as_seen(), "take-back: write(cordonedaborted)");
    assert_string_equal(failover_gate(f)->who, "ada");
}

static void an_unreadable_registration_holds_everything_but_a_drain(void **s)
{
    (void)s;
    to_reading();
    seen.unknown = true;
    assert_string_equal(read_as_seen(), "listing: list"); /* no INTENT */
    assert_string_equal(listed(0, false), "have-lock: settle(nothing) next");
    struct failover_task t = at("m1:1");
    (void)next(&t);
    seen.gate.state = GATE_DRAINING;
    seen.over = true;
    stand(1);
    assert_string_equal(read_as_seen(), "intent: write(fencedintent)");
}

/* --- the past is bounded ------------------------------------------------- */

static void fill_the_past(void)
{
    for (int i = 0; i < GATE_PAST_MAX; i++)
        seen.gate.past[i] = process_of(100 + i);
    seen.gate.n_past = GATE_PAST_MAX;
}

static void a_full_past_is_seen_to_be_empty_before_one_falls_out(void **state)
{
    struct process oldest = process_of(100 + GATE_PAST_MAX - 1);
    (void)state;
    to_reading();
    fill_the_past();
    stand(2);
    assert_string_equal(read_as_seen(), "listing: list");
    assert_true(gate_bars(failover_gate(f), &oldest));
    assert_string_equal(listed(0, false), "reading: read");
    assert_string_equal(read_as_seen(), "intent: write(openintent)");
    assert_false(gate_bars(failover_gate(f), &oldest));
}

static void what_a_full_past_left_behind_moves_before_intent(void **state)
{
    (void)state;
    to_reading();
    fill_the_past();
    stand(2);
    assert_string_equal(read_as_seen(), "listing: list");
    assert_string_equal(listed(3, false), "set-moving: write(moving)");
    assert_string_equal(failover_record(f)->cause, "reconcile");
    assert_string_equal(written(ERR_OK), "listing: list");
    assert_string_equal(listed(3, false), "moving: move");
    assert_string_equal(moved(3), "listing: list");
    assert_string_equal(listed(0, false), "closing: read");
    assert_string_equal(read_as_seen(), "closing: write(done)");
    assert_string_equal(written(ERR_OK), "reading: tell(reconcile) read");
    assert_string_equal(read_as_seen(), "intent: write(openintent)");
}

static void a_full_past_of_one_that_came_back_ends_the_look(void **state)
{
    (void)state;
    to_reading();
    fill_the_past();
    assert_string_equal(read_as_seen(), "listing: list");
    assert_string_equal(listed(0, false), "reading: read");
    stand(1); /* it is back */
    assert_string_equal(read_as_seen(), "listing: list");
    assert_string_equal(listed(0, false), "have-lock: settle(nothing) next");
}

/* --- what holds back ----------------------------------------------------- */

static void whatever_holds_lifts_by_its_own_cause(void **state)
{
    struct failover_task t = at("m1:1");
    (void)state;
    to_reading();
    seen.doubt = CAUSE_SESSION;
    assert_string_equal(read_as_seen(), "holding: write(held)");
    (void)written(ERR_OK);
    seen.doubt = CAUSE_NONE;
    seen.paused = true; /* the record stays, its cause follows */
    (void)next(&t);
    assert_string_equal(read_as_seen(), "holding: write(held)");
    assert_string_equal(failover_record(f)->cause, "paused");
    (void)written(ERR_OK);
    seen.paused = false;
    (void)next(&t);
    assert_string_equal(read_as_seen(), "intent: tell(paused) "
                                        "write(fencedintent)");
    assert_string_equal(failover_record(f)->cause, "down");
}

static void a_pause_holds_even_a_replacement(void **state)
{
    (void)state;
    to_reading();
    seen.paused = true;
    stand(2);
    assert_string_equal(read_as_seen(), "holding: write(held)");
}

/* An heir that died before all was handed on is dealt with after it. */
/* Ordered between the read that INTENT was built on and its write. */
static void a_pause_before_the_second_read_holds_what_intent_began(void **state)
{
    (void)state;
    to_verify();
    seen.paused = true;
    assert_null(strstr(read_as_seen(), "write"));
    assert_int_equal(record.phase, FAILOVER_INTENT);
    (void)teardown(state);
    (void)setup(state);
    to_verify();
    seen.paused = true;
    stand(1); /* it is back: that is put right all the same */
    assert_string_equal(read_as_seen(), "take-back: write(openaborted)");
}

/* It may have written over the key of the gate's own process, which lives. */
static void an_earlier_process_replaces_nobody_until_he_is_gone(void **state)
{
    (void)state;
    to_reading();
    seen.down = false;
    seen.gate.process = process_of(5);
    stand(3);
    assert_null(strstr(read_as_seen(), "intent"));
    (void)teardown(state);
    (void)setup(state);
    to_reading();
    seen.down = false;
    seen.gate.process = process_of(5);
    seen.yielded = true; /* membership has let it come forward */
    stand(3);
    assert_string_equal(read_as_seen(), "intent: write(openintent)");
    assert_string_equal(write_of_the_last_step()->record->cause, "replaced");
    assert_int_equal(write_of_the_last_step()->gate->process.startup_time, 3);
    (void)teardown(state);
    (void)setup(state);
    to_reading();
    seen.down = false;
    seen.gate.process = process_of(5);
    stand(3);
    seen.registered[seen.n_registered++] = process_of(7); /* the later of two */
    assert_string_equal(read_as_seen(), "intent: write(openintent)");
    assert_int_equal(write_of_the_last_step()->gate->process.startup_time, 7);
}

static void an_inheritance_is_finished_before_its_heir_is_fenced(void **state)
{
    (void)state;
    to_reading();
    seen.gate.state = GATE_RESTARTING;
    stand(2);
    (void)read_as_seen();
    (void)written(ERR_OK);
    (void)read_as_seen();
    (void)written(ERR_OK);
    assert_string_equal(lost(), "idle: settle(interrupted) unlock");
    seen.n_registered = 0; /* the heir is gone, too */
    now += 1000;
    struct failover_task t = at("m1:1");
    (void)tick(true);
    (void)locked();
    (void)next(&t);
    assert_string_equal(read_as_seen(), "listing: list");
    assert_true(failover_gate(f)->heir_of.known);
}

/* --- words --------------------------------------------------------------- */

static void read_back(enum failover_cause cause, const char *word, bool death,
                      bool person, bool loss, const char *lift)
{
    const struct work_cause *facts = work_cause(cause);
    assert_int_equal(work_cause_of(word), cause);
    assert_string_equal(facts->word, word);
    assert_int_equal(facts->death, death);
    assert_int_equal(facts->person, person);
    assert_int_equal(facts->loss, loss);
    if (lift == NULL)
        assert_null(facts->lift);
    else
        assert_string_equal(facts->lift, lift);
}

static void every_cause_is_read_back_from_its_word(void **state)
{
    (void)state;
#define READ_BACK(name, ...) read_back(name, __VA_ARGS__);
    FAILOVER_CAUSES(READ_BACK)
    assert_int_equal(work_cause_of("unheard of"), CAUSE_NONE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_cause_is_read_back_from_its_word),
        TEST(every_write_is_at_the_versions_just_read),
        TEST(a_gate_is_taken_back_at_both_versions_just_read),
        TEST(a_gate_is_never_given_back_once_moving_stands),
        TEST(moving_in_doubt_is_verified_again),
        TEST(an_opening_in_doubt_lets_go_of_the_lock),
        TEST(a_lease_ended_in_doubt_lets_go_of_the_lock),
        cmocka_unit_test_setup_teardown(
            a_readmission_in_doubt_lets_go_of_the_lock, setup_readmit,
            teardown),
        TEST(a_forced_one_stays_out_and_a_new_one_comes_in),
        TEST(a_gate_taken_back_keeps_a_cordon_that_came_meanwhile),
        TEST(an_unreadable_registration_holds_everything_but_a_drain),
        TEST(a_full_past_is_seen_to_be_empty_before_one_falls_out),
        TEST(what_a_full_past_left_behind_moves_before_intent),
        TEST(a_full_past_of_one_that_came_back_ends_the_look),
        TEST(whatever_holds_lifts_by_its_own_cause),
        TEST(a_pause_holds_even_a_replacement),
        TEST(a_pause_before_the_second_read_holds_what_intent_began),
        TEST(an_earlier_process_replaces_nobody_until_he_is_gone),
        TEST(an_inheritance_is_finished_before_its_heir_is_fenced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
