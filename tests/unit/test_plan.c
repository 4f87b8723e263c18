/*
 * test_plan.c - what becomes of an item, and that a plan's digest and spread
 * do not depend on the order in which items are met.
 */
#include "failover/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

#define NOW ((wall_ms)1700000000000)

static struct process process_of(int64_t startup)
{
    return (struct process){
        .startup_time = startup, .process_id = 1, .known = true};
}

static struct work_item item_of(const char *id)
{
    struct work_item w = {.kind = NODE_MASTER,
                          .state = WORK_ASSIGNED,
                          .process = process_of(1),
                          .epoch = 4};
    (void)snprintf(w.id, sizeof(w.id), "%s", id);
    (void)snprintf(w.group, sizeof(w.group), "default");
    (void)snprintf(w.owner, sizeof(w.owner), "m1:1");
    return w;
}

static const struct gate fenced = {.state = GATE_FENCED,
                                   .process = {0, 1, 1, true}};

static struct plan_rules rules_of(const struct gate *gate)
{
    return (struct plan_rules){.gate = gate,
                               .died = true,
                               .poison_limit = 3,
                               .poison_window_ms = 600000,
                               .wall = NOW};
}

static void only_the_past_moves(void **state)
{
    struct gate gate = {.state = GATE_OPEN, .process = process_of(2)};
    struct process one = process_of(1), two = process_of(2),
                   three = process_of(3), unknown = {0};
    (void)state;
    gate_retire(&gate, &one);
    assert_true(failover_plan_movable(&gate, &one));
    assert_false(failover_plan_movable(&gate, &two));   /* stands */
    assert_false(failover_plan_movable(&gate, &three)); /* nobody fenced it */
    assert_false(failover_plan_movable(&gate, &unknown));
    gate.state = GATE_FENCED;
    assert_true(failover_plan_movable(&gate, &two));
    gate.state = GATE_DRAINING;
    assert_false(failover_plan_movable(&gate, &two));
}

static void a_policy_decides_before_poison(void **state)
{
    struct plan_rules rules = rules_of(&fenced);
    struct work_item w = item_of("a");
    const char *cause;
    (void)state;
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_MOVE);
    w.policy = WORK_HOLD;
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_HOLD);
    assert_string_equal(cause, "policy");
    w.policy = WORK_DROP;
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_DROP);
}

static void deaths(struct work_item *w, size_t n, int64_t ago)
{
    w->n_history = n;
    for (size_t i = 0; i < n; i++) {
        w->history[i].died = true;
        w->history[i].until = NOW - ago;
    }
}

static void poison_is_counted_within_the_window(void **state)
{
    struct plan_rules rules = rules_of(&fenced);
    struct work_item w = item_of("a");
    const char *cause;
    (void)state;
    deaths(&w, 1, 1000);
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_MOVE);
    deaths(&w, 2, 1000);
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_HOLD);
    assert_string_equal(cause, "poison");
    deaths(&w, 2, 700000);
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_MOVE);
    deaths(&w, 2, 1000);
    w.history[0].died = false; /* handed over in between */
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_MOVE);
    deaths(&w, 2, 1000);
    rules.died = false; /* a drain kills nobody */
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_MOVE);
    rules.died = true;
    rules.poison_limit = 0;
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_MOVE);
}

static void an_heir_keeps_its_work_whatever_the_policy(void **state)
{
    struct gate gate = {
        .state = GATE_OPEN, .process = process_of(2), .heir_of = process_of(1)};
    struct plan_rules rules = rules_of(&gate);
    struct work_item w = item_of("a");
    const char *cause;
    (void)state;
    w.policy = WORK_HOLD;
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_HEIR);
    gate.state = GATE_CORDONED;
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_HEIR);
    gate.state = GATE_DRAINING;
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_HOLD);
    w.process = process_of(9); /* not the one that was promised */
    gate.state = GATE_OPEN;
    assert_int_equal(failover_plan_action(&w, &rules, &cause), PLAN_HOLD);
}

static void apply(struct work_item *w, struct plan_rules *rules,
                  const char *failover, enum plan_action action,
                  const char *word, const struct process *p)
{
    rules->failover = failover;
    failover_plan_apply(w, rules, action, word, p);
}

static void every_change_of_owner_raises_the_epoch(void **state)
{
    struct plan_rules rules = rules_of(&fenced);
    struct process p = process_of(7);
    struct work_item w = item_of("a");
    (void)state;
    apply(&w, &rules, "f-1", PLAN_MOVE, "m2:1", &p);
    assert_int_equal(w.epoch, 5);
    assert_string_equal(w.owner, "m2:1");
    assert_string_equal(w.history[0].failover, "f-1");
    assert_int_equal(w.history[0].epoch, 4);
    apply(&w, &rules, "f-2", PLAN_MOVE, NULL, NULL);
    assert_int_equal(w.epoch, 6);
    assert_int_equal(w.state, WORK_WAITING);
    apply(&w, &rules, "", PLAN_MOVE, "m3:1", &p);
    assert_int_equal(w.epoch, 7);
    assert_int_equal(w.n_history, 2); /* nobody had it while it waited */
    apply(&w, &rules, "f-3", PLAN_HOLD, "poison", NULL);
    assert_int_equal(w.epoch, 8);
    assert_string_equal(w.cause, "poison");
}

/* A floor that was lifted after the registry went back binds everything that is
 * given from then on, whoever gives it. */
static void no_epoch_is_given_below_the_floor(void **state)
{
    struct plan_rules rules = rules_of(&fenced);
    struct process p = process_of(7);
    struct work_item w = item_of("a");
    (void)state;
    rules.floor = 1000;
    apply(&w, &rules, "f-1", PLAN_MOVE, "m2:1", &p);
    assert_int_equal(w.epoch, 1001);
    assert_int_equal(w.history[0].epoch, 4);
    apply(&w, &rules, "f-2", PLAN_HOLD, "poison", NULL);
    assert_int_equal(w.epoch, 1002);
    rules.floor = 2000;
    w.state = WORK_WAITING;
    apply(&w, &rules, "", PLAN_MOVE, "m2:1", &p);
    assert_int_equal(w.epoch, 2001);
    rules.floor = 3000;
    apply(&w, &rules, "f-3", PLAN_MOVE, NULL, NULL);
    assert_int_equal(w.epoch, 3001);
    assert_false(work_epoch_left(EPOCH_MAX, 0));
    assert_false(work_epoch_left(1, EPOCH_MAX));
}

static void a_digest_does_not_depend_on_the_order(void **state)
{
    uint64_t a = failover_plan_digest("a", 2, "m2:1"),
             b = failover_plan_digest("b", 2, "m3:1");
    (void)state;
    assert_true(a + b == b + a);
    assert_true(a != failover_plan_digest("a", 3, "m2:1"));
    assert_true(a != failover_plan_digest("a", 2, "m3:1"));
}

static void a_recount_finds_what_was_counted(void **state)
{
    struct plan_rules rules = rules_of(&fenced);
    struct process p = process_of(7);
    struct failover_counts told = {0}, again = {0};
    struct work_item w[4] = {item_of("a"), item_of("b"), item_of("c"),
                             item_of("d")};
    (void)state;
    apply(&w[0], &rules, "f-1", PLAN_MOVE, "m2:1", &p);
    apply(&w[1], &rules, "f-1", PLAN_MOVE, NULL, NULL);
    apply(&w[2], &rules, "f-1", PLAN_HOLD, "policy", NULL);
    apply(&w[3], &rules, "f-1", PLAN_DROP, NULL, NULL);
    failover_plan_count(&told, &w[0], PLAN_MOVE);
    failover_plan_count(&told, &w[1], PLAN_MOVE);
    failover_plan_count(&told, &w[2], PLAN_HOLD);
    failover_plan_count(&told, &w[3], PLAN_DROP);
    /* much happens before somebody counts */
    apply(&w[0], &rules, "f-2", PLAN_MOVE, "m3:1", &p);
    apply(&w[1], &rules, "", PLAN_MOVE, "m3:1", &p);
    for (size_t i = 0; i < 4; i++)
        failover_plan_recount(&again, &w[i], "f-1");
    assert_int_equal(again.moved, 1);
    assert_int_equal(again.waiting, 1);
    assert_int_equal(again.held, 1);
    assert_int_equal(again.dropped, 1);
    assert_true(told.digest == again.digest);
    assert_string_equal(again.targets[0].address, "m2:1");
}

/* Epochs that jump over a floor tell nothing about who was in between, and
 * neither do those of items that were given again. */
static void a_recount_does_not_take_a_floor_for_a_wait(void **state)
{
    struct plan_rules rules = rules_of(&fenced);
    struct process p = process_of(7);
    struct failover_counts told = {0}, again = {0};
    struct work_item w[2] = {item_of("a"), item_of("b")}, read;
    struct buf b;
    struct err err;
    (void)state;
    rules.floor = 500;
    apply(&w[0], &rules, "f-1", PLAN_MOVE, "m2:1", &p);
    apply(&w[1], &rules, "f-1", PLAN_MOVE, NULL, NULL);
    work_item_give_again(&w[0], 900);
    work_item_give_again(&w[1], 900);
    assert_int_equal(w[0].epoch, 901);
    assert_int_equal(w[0].n_history, 1);
    failover_plan_count(&told, &w[0], PLAN_MOVE);
    failover_plan_count(&told, &w[1], PLAN_MOVE);
    rules.floor = 2000;
    apply(&w[0], &rules, "f-2", PLAN_MOVE, "m3:1", &p);
    apply(&w[1], &rules, "", PLAN_MOVE, "m3:1", &p);
    buf_init(&b, WORK_RECORD_MAX);
    for (size_t i = 0; i < 2; i++) {
        buf_reset(&b);
        work_item_write(&b, &w[i]);
        assert_int_equal(work_item_read(&read, b.data, b.len, &err), 0);
        failover_plan_recount(&again, &read, "f-1");
        work_item_close(&read);
    }
    buf_close(&b);
    assert_int_equal(again.moved, 1);
    assert_int_equal(again.waiting, 1);
    assert_true(told.digest == again.digest);
}

static void a_plan_spreads_by_weight(void **state)
{
    struct plan_candidate c[3] = {
        {"a", 0, 100, 0}, {"b", 0, 200, 0}, {"c", 0, 0, 0}};
    size_t got[3] = {0};
    (void)state;
    for (int i = 0; i < 300; i++)
        got[failover_plan_pick(c, 3)]++;
    assert_int_equal(got[0], 100);
    assert_int_equal(got[1], 200);
    assert_int_equal(got[2], 0);
    assert_true(failover_plan_pick(c, 0) == SIZE_MAX);
    assert_true(failover_plan_pick(c + 2, 1) == SIZE_MAX);
}

static void an_etag_knows_the_gate_and_the_items(void **state)
{
    char a[PLAN_ETAG_SIZE], b[PLAN_ETAG_SIZE];
    struct gate gate = fenced;
    (void)state;
    failover_plan_etag(a, &gate, 17, 3);
    failover_plan_etag(b, &gate, 17, 3);
    assert_string_equal(a, b);
    failover_plan_etag(b, &gate, 18, 3);
    assert_string_not_equal(a, b);
    gate.version++;
    failover_plan_etag(b, &gate, 17, 3);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_past_moves),
        cmocka_unit_test(a_policy_decides_before_poison),
        cmocka_unit_test(poison_is_counted_within_the_window),
        cmocka_unit_test(an_heir_keeps_its_work_whatever_the_policy),
        cmocka_unit_test(every_change_of_owner_raises_the_epoch),
        cmocka_unit_test(no_epoch_is_given_below_the_floor),
        cmocka_unit_test(a_digest_does_not_depend_on_the_order),
        cmocka_unit_test(a_recount_finds_what_was_counted),
        cmocka_unit_test(a_recount_does_not_take_a_floor_for_a_wait),
        cmocka_unit_test(a_plan_spreads_by_weight),
        cmocka_unit_test(an_etag_knows_the_gate_and_the_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
