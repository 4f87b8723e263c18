/* test_work_gate.c - people's orders at a gate: a table of states and orders,
 * and what becomes of them when the registry does not answer. */
#include "tests/unit/work_ask.h"

static const char *order(struct side *s, struct ended *e,
                         enum gate_order_what what, bool undo, int64_t for_ms)
{
    struct gate_order o = {.undo = undo,
                           .kind = NODE_MASTER,
                           .address = "m:1",
                           .for_ms = for_ms,
                           .who = "ann",
                           .reason = "disk"};

    o.what = what;
    RESET(e);
    work_gate_order(s->work, &o, on_gate_reply, e);
    assert_false(e->done);
    await(s->world, e);
    return e->code;
}

#define C GATE_ORDER_CORDON
#define D GATE_ORDER_DRAIN
#define R GATE_ORDER_RESTART
static const struct {
    enum gate_state from;
    bool was;
    enum gate_order_what what;
    bool undo;
    const char *code;
    enum gate_state to;
    bool is;
} orders[] = {
    {GATE_OPEN, false, C, false, "", GATE_CORDONED, false},
    {GATE_CORDONED, false, C, false, "", GATE_CORDONED, false},
    {GATE_CORDONED, false, C, true, "", GATE_OPEN, false},
    {GATE_OPEN, false, C, true, "", GATE_OPEN, false},
    {GATE_OPEN, false, D, false, "", GATE_DRAINING, false},
    {GATE_CORDONED, false, D, false, "", GATE_DRAINING, true},
    {GATE_DRAINING, true, D, true, "", GATE_CORDONED, false},
    {GATE_DRAINING, false, D, true, "", GATE_OPEN, false},
    {GATE_DRAINING, false, C, false, "", GATE_DRAINING, true},
    {GATE_DRAINING, true, C, true, "", GATE_DRAINING, false},
    {GATE_DRAINING, false, R, false, "gate_conflict", GATE_DRAINING, false},
    {GATE_DRAINING, false, R, true, "", GATE_DRAINING, false},
    {GATE_OPEN, false, R, false, "", GATE_RESTARTING, false},
    {GATE_RESTARTING, true, R, true, "", GATE_CORDONED, false},
    {GATE_RESTARTING, false, D, false, "gate_conflict", GATE_RESTARTING, false},
    {GATE_FENCED, false, C, false, "gate_conflict", GATE_FENCED, false},
    {GATE_FENCED, true, C, true, "gate_conflict", GATE_FENCED, true},
    {GATE_FENCED, false, D, false, "gate_conflict", GATE_FENCED, false},
    {GATE_FENCED, false, D, true, "gate_conflict", GATE_FENCED, false},
    {GATE_FENCED, false, R, false, "gate_conflict", GATE_FENCED, false},
};

/* An order stands beside it, except the lease for somebody to come back. */
static void orders_leave_a_leaver_gone(void **state)
{
    static const struct {
        enum gate_order_what what;
        const char *code;
        enum gate_state to;
    } beside[] = {
        {C, "", GATE_CORDONED},
        {D, "", GATE_DRAINING},
        {R, "gate_conflict", GATE_OPEN},
    };
    struct world *w = world_new(1, 1);
    struct ended *e = ended_new();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(beside); i++) {
        struct gate gate = {
            .state = GATE_OPEN, .left = true, .process = process_of(1)};
        char key[REGISTRY_KEY_MAX + 1];
        const struct registry_entry *entry;
        struct buf b;

        buf_init(&b, 4096);
        gate_write(&b, &gate);
        (void)gate_key(NODE_MASTER, "m:1", key, sizeof(key));
        assert_int_equal(hand_put(w, key, buf_text(&b)), ERR_OK);
        assert_string_equal(order(&w->sides[0], e, beside[i].what, false, 0),
                            beside[i].code);
        entry = memory_find(w->store, key);
        assert_int_equal(gate_read(&gate, entry->value, entry->value_len, NULL),
                         0);
        assert_true(gate.left);
        assert_int_equal(gate.state, beside[i].to);
        buf_close(&b);
    }
    ended_free(e);
    world_free(w);
}

static void orders_apply_by_a_table(void **state)
{
    struct world *w = world_new(1, 1);
    struct ended *e = ended_new();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        struct gate gate = {.state = orders[i].from,
                            .cordoned = orders[i].was,
                            .process = process_of(1)};
        char key[REGISTRY_KEY_MAX + 1];
        struct buf b;

        buf_init(&b, 4096);
        gate_write(&b, &gate);
        (void)gate_key(NODE_MASTER, "m:1", key, sizeof(key));
        assert_int_equal(hand_put(w, key, buf_text(&b)), ERR_OK);
        assert_string_equal(
            order(&w->sides[0], e, orders[i].what, orders[i].undo, 0),
            orders[i].code);
        gate = gate_at(w, NODE_MASTER, "m:1");
        assert_int_equal(gate.state, orders[i].to);
        assert_int_equal(gate.cordoned, orders[i].is);
        assert_int_equal(gate.process.process_id, 1);
        buf_close(&b);
    }
    ended_free(e);
    world_free(w);
}

static void an_order_keeps_who_and_why_and_how_long(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct gate gate;
    uint64_t version;

    (void)state;
    assert_string_equal(order(s, e, GATE_ORDER_DRAIN, false, 0), "");
    gate = gate_at(w, NODE_MASTER, "m:1"); /* made for the present process */
    assert_int_equal(gate.state, GATE_DRAINING);
    assert_int_equal(gate.process.process_id, 1);
    assert_int_equal(gate.for_ms, 10 * 60 * 1000);
    assert_string_equal(gate.who, "ann");
    assert_string_equal(gate.reason, "disk");
    pass(w, 100);
    version = work_view_owner(s->view, NODE_MASTER, "m:1")->gate->version;
    assert_string_equal(order(s, e, GATE_ORDER_DRAIN, false, 5000), "");
    pass(w, 100);
    assert_true(work_view_owner(s->view, NODE_MASTER, "m:1")->gate->version !=
                version); /* said again, it begins anew */
    assert_int_equal(gate_at(w, NODE_MASTER, "m:1").for_ms, 5000);
    assert_string_equal(order(s, e, GATE_ORDER_DRAIN, true, 0), "");
    gate = gate_at(w, NODE_MASTER, "m:1");
    assert_int_equal(gate.state, GATE_OPEN);
    assert_int_equal(gate.for_ms, 0);
    assert_string_equal(gate.who, "");
    ended_free(e);
    world_free(w);
}

/* It waits beside the fence for the next process, and opens nothing. */
static void a_drain_is_taken_back_at_a_fenced_gate(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct gate gate = {.state = GATE_FENCED,
                        .process = process_of(1),
                        .drain_of = process_of(1),
                        .for_ms = 60000,
                        .order = 3,
                        .who = "ann"};
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    gate_write(&b, &gate);
    (void)gate_key(NODE_MASTER, "m:1", key, sizeof(key));
    assert_int_equal(hand_put(w, key, buf_text(&b)), ERR_OK);
    assert_string_equal(order(s, e, GATE_ORDER_DRAIN, false, 0),
                        "gate_conflict");
    assert_string_equal(order(s, e, GATE_ORDER_DRAIN, true, 0), "");
    gate = gate_at(w, NODE_MASTER, "m:1");
    assert_int_equal(gate.state, GATE_FENCED);
    assert_false(gate.drain_of.known);
    assert_int_equal(gate.for_ms, 0);
    assert_string_equal(gate.who, "");
    buf_close(&b);
    ended_free(e);
    world_free(w);
}

static void an_order_needs_an_owner_that_is_known(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    node_remove(w, "master", "m:1");
    pass(w, 3000);
    assert_string_equal(order(s, e, GATE_ORDER_CORDON, false, 0), "no_owner");
    assert_string_equal(order(s, e, GATE_ORDER_CORDON, true, 0), "");
    assert_int_equal(e->gate.state, GATE_ABSENT);
    assert_string_equal(order(s, e, GATE_ORDER_CORDON, false, 5), "invalid");
    assert_string_equal(order(s, e, GATE_ORDER_DRAIN, false, -5), "invalid");
    assert_int_equal(gate_at(w, NODE_MASTER, "m:1").state, GATE_ABSENT);
    ended_free(e);
    world_free(w);
}

static void a_damaged_gate_is_named_and_left_alone(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_int_equal(hand_put(w, "/pelorus/owners/master/m:1", "[]"), ERR_OK);
    assert_string_equal(order(s, e, GATE_ORDER_CORDON, false, 0), "damaged");
    assert_non_null(strstr(e->message, "/pelorus/owners/master/m:1"));
    assert_string_equal(
        memory_find(w->store, "/pelorus/owners/master/m:1")->value, "[]");
    ended_free(e);
    world_free(w);
}

static void orders_survive_unknown_outcomes(void **state)
{
    struct memory_faults bad = {.delay_max_ms = 20, .unknown_share = 0.6};

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world *w = world_new(1, seed);
        struct ended *e = ended_new();
        struct side *s = &w->sides[0];

        memory_set_faults(w->store, &bad);
        assert_string_equal(order(s, e, GATE_ORDER_RESTART, false, 5000), "");
        assert_int_equal(gate_at(w, NODE_MASTER, "m:1").state, GATE_RESTARTING);
        assert_string_equal(order(s, e, GATE_ORDER_RESTART, true, 0), "");
        assert_string_equal(order(s, e, GATE_ORDER_CORDON, false, 0), "");
        assert_int_equal(gate_at(w, NODE_MASTER, "m:1").state, GATE_CORDONED);
        ended_free(e);
        world_free(w);
    }
}

/* --- a gate that was forgotten ------------------------------------------ */

static uint64_t gate_version(struct world *w)
{
    char key[REGISTRY_KEY_MAX + 1];
    const struct registry_entry *e =
        memory_find(w->store, gate_key(NODE_MASTER, "m:1", key, sizeof(key)));

    return e != NULL ? e->version : 0;
}

/* As the engine does it: the gate goes, and the floor rises. */
static void forget_gate(struct world *w)
{
    char key[REGISTRY_KEY_MAX + 1];
    enum err_code code = ERR_CANCELLED;

    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "7"), ERR_OK);
    registry_delete(w->hand, gate_key(NODE_MASTER, "m:1", key, sizeof(key)),
                    gate_version(w), note_code, &code);
    pass(w, 200);
    assert_int_equal(code, ERR_OK);
    assert_int_equal(gate_version(w), 0);
}

/* The next life of it, by another process, until its version is the same. */
static void next_life(struct world *w, uint64_t version)
{
    assert_int_not_equal(version, 0);
    while (gate_version(w) < version)
        put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 2);
    assert_int_equal(gate_version(w), version);
}

/* What was decided on the gate as it stood at `version` is on its way, held up,
 * while that is forgotten and the next one comes to its version; then it
 * arrives. */
static void arrives_in_the_next_life(struct world *w, struct side *s,
                                     struct ended *e, uint64_t version)
{
    pass(w, 100);
    assert_int_equal(memory_held_up(s->registry), 1);
    forget_gate(w);
    next_life(w, version);
    memory_let_through(s->registry);
    memory_hold_up(s->registry, false);
    await(w, e);
    assert_string_equal(e->code, "");
}

/* An order that was held up on its way, while the gate that it was decided on
 * was forgotten and another one came to its version: it is not written there.
 */
static void a_late_order_does_not_meet_the_next_gate(void **state)
{
    struct world *w = world_new(1, 1);
    struct ended *e = ended_new();
    struct side *s = &w->sides[0];
    struct gate_order o = {.what = GATE_ORDER_CORDON,
                           .kind = NODE_MASTER,
                           .address = "m:1",
                           .who = "ann",
                           .reason = "disk"};
    struct gate gate;
    uint64_t version;

    (void)state;
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "3"), ERR_OK);
    version = gate_version(w);
    memory_hold_up(s->registry, true);
    work_gate_order(s->work, &o, on_gate_reply, e);
    arrives_in_the_next_life(w, s, e, version);
    gate = gate_at(w, NODE_MASTER, "m:1");
    assert_int_equal(gate.state, GATE_CORDONED); /* decided anew: it is whose */
    assert_int_equal(gate.process.startup_time, process_of(2).startup_time);
    ended_free(e);
    world_free(w);
}

/* Nor is work given there, which its owner hands over. */
static void a_late_handover_does_not_meet_the_next_gate(void **state)
{
    struct world *w = world_new(1, 1);
    struct ended *e = ended_new();
    struct side *s = &w->sides[0];
    uint64_t version;

    (void)state;
    s->only = "m:2";
    assert_string_equal(submit(s, e, "a", NULL), "");
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
    version = gate_version(w);
    s->only = "m:1";
    memory_hold_up(s->registry, true);
    RESET(e);
    work_handover(s->work, "a", 1, on_reply, e);
    arrives_in_the_next_life(w, s, e, version);
    assert_int_equal(e->item.state, WORK_WAITING); /* m:1 is another's now */
    ended_free(e);
    world_free(w);
}

/* What is known of a gate goes with the floor under which it was read. */
static void a_gate_that_is_known_is_not_the_next_one(void **state)
{
    struct world *w = world_new(1, 1);
    struct ended *e = ended_new();
    struct side *s = &w->sides[0];
    uint64_t version;

    (void)state;
    s->only = "m:1";
    assert_string_equal(submit(s, e, "a", NULL), ""); /* makes both known */
    assert_string_equal(submit(s, e, "b", NULL), "");
    version = gate_version(w);
    forget_gate(w);
    next_life(w, version);
    s->only = "m:2"; /* the floor is read anew */
    assert_string_equal(submit(s, e, "c", NULL), "");
    s->only = "m:1";
    assert_string_equal(submit(s, e, "d", NULL), "group_empty");
    ended_free(e);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders_apply_by_a_table),
        cmocka_unit_test(a_late_order_does_not_meet_the_next_gate),
        cmocka_unit_test(a_late_handover_does_not_meet_the_next_gate),
        cmocka_unit_test(a_gate_that_is_known_is_not_the_next_one),
        cmocka_unit_test(orders_leave_a_leaver_gone),
        cmocka_unit_test(an_order_keeps_who_and_why_and_how_long),
        cmocka_unit_test(a_drain_is_taken_back_at_a_fenced_gate),
        cmocka_unit_test(an_order_needs_an_owner_that_is_known),
        cmocka_unit_test(a_damaged_gate_is_named_and_left_alone),
        cmocka_unit_test(orders_survive_unknown_outcomes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
