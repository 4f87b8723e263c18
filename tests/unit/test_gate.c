/* test_gate.c - the gate's record, and whom it lets in. */
#include "cluster/gate.h"
#include "cluster/gates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct process process(int64_t startup)
{
    return (struct process){(uint64_t)startup + 1000, startup, 7, true};
}

static int read_text(struct gate *out, const char *text, struct err *err)
{
    return gate_read(out, text, strlen(text), err);
}

static void what_is_written_is_read_again(void **state)
{
    struct gate gate = {
        .state = GATE_RESTARTING,
        .process = process(2),
        .cordoned = true,
        .heir_of = process(1),
        .who = "anna",
        .reason = "kernel \"6.1\"\n",
        .for_ms = 90500,
        .ordered = 1764324000123,
        .failover = "f-1",
    };
    struct gate again;
    struct err err;
    struct buf b;

    (void)state;
    gate.process.created = UINT64_MAX;
    for (int64_t i = 1; i <= GATE_PAST_MAX; i++) {
        struct process p = process(i);

        gate_retire(&gate, &p);
    }
    buf_init(&b, 8192);
    gate_write(&b, &gate);
    if (gate_read(&again, b.data, b.len, &err) != 0)
        fail_msg("%s: %s", err.msg, buf_text(&b));
    assert_int_equal(again.state, gate.state);
    assert_true(again.cordoned);
    assert_true(process_same(&again.process, &gate.process));
    assert_true(again.process.created == UINT64_MAX);
    assert_true(process_same(&again.heir_of, &gate.heir_of));
    assert_int_equal(again.n_past, GATE_PAST_MAX);
    for (size_t i = 0; i < again.n_past; i++)
        assert_true(process_same(&again.past[i], &gate.past[i]));
    assert_string_equal(again.who, "anna");
    assert_string_equal(again.reason, gate.reason);
    assert_int_equal(again.for_ms, 90500);
    assert_int_equal(again.ordered, 1764324000123);
    assert_string_equal(again.failover, "f-1");
    buf_close(&b);
}

static void every_state_has_its_name(void **state)
{
    (void)state;
    for (int s = GATE_OPEN; s <= GATE_FENCED; s++) {
        struct gate gate = {.state = (enum gate_state)s}, again;
        struct buf b;

        buf_init(&b, 8192);
        gate_write(&b, &gate);
        assert_int_equal(gate_read(&again, b.data, b.len, NULL), 0);
        assert_int_equal(again.state, s);
        assert_false(again.process.known);
        buf_close(&b);
    }
}

static void what_is_not_understood_refuses_the_whole(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"state\":\"absent\"}",
        "{\"state\":\"ajar\"}",
        "{\"state\":7}",
        "{\"state\":\"open\",\"process\":7}",
        "{\"state\":\"open\",\"process\":{}}",
        "{\"state\":\"open\",\"process\":{\"startupTime\":1}}",
        ("{\"state\":\"open\",\"process\":{\"startupTime\":1e300,"
         "\"processId\":1}}"),
        "{\"state\":\"open\",\"past\":{}}",
        "{\"state\":\"open\",\"past\":[7]}",
        "{\"state\":\"open\",\"for\":7}",
        "{\"state\":\"open\",\"for\":\"soon\"}",
        "{\"state\":\"open\",\"cordoned\":\"no\"}",
    };
    struct gate gate;
    struct err err;
    struct buf b;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (read_text(&gate, bad[i], &err) != ERR_INVALID)
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(gate.state, GATE_ABSENT);
        assert_non_null(strstr(err.msg, "gate"));
    }
    buf_init(&b, 8192);
    buf_str(&b, "{\"state\":\"open\",\"past\":[");
    for (int i = 0; i <= GATE_PAST_MAX; i++)
        buf_printf(&b, "%s{\"startupTime\":%d,\"processId\":1}",
                   i > 0 ? "," : "", i + 1);
    buf_str(&b, "]}");
    assert_int_equal(gate_read(&gate, b.data, b.len, &err), ERR_INVALID);
    buf_close(&b);
}

static void long_words_are_cut_between_characters(void **state)
{
    struct gate gate;
    char text[1024];
    int at = snprintf(text, sizeof(text), "{\"state\":\"open\",\"who\":\"");

    (void)state;
    memset(text + at, 'x', 62);
    snprintf(text + at + 62, sizeof(text) - (size_t)at - 62,
             "\xc3\xa9tonnant\"}");
    assert_int_equal(read_text(&gate, text, NULL), 0);
    assert_int_equal(strlen(gate.who), 62);
}

static void an_absent_gate_takes_any_known_process(void **state)
{
    struct gate gate = {.state = GATE_ABSENT};
    struct process a = process(1), unknown = {0};

    (void)state;
    assert_true(gate_takes(&gate, &a));
    assert_false(gate_takes(&gate, &unknown));
    assert_false(gate_bars(&gate, &a));
}

static void an_open_gate_takes_its_process_only(void **state)
{
    struct gate gate = {.state = GATE_OPEN, .process = process(1)};
    struct process a = process(1), b = process(2), unknown = {0};

    (void)state;
    assert_true(gate_takes(&gate, &a));
    assert_false(gate_takes(&gate, &b));
    assert_false(gate_takes(&gate, &unknown));
    gate.cordoned = true;
    assert_false(gate_takes(&gate, &a));
    gate.cordoned = false;
    for (int s = GATE_CORDONED; s <= GATE_FENCED; s++) {
        gate.state = (enum gate_state)s;
        assert_false(gate_takes(&gate, &a));
        assert_int_equal(gate_bars(&gate, &a), s == GATE_FENCED);
        assert_false(gate_bars(&gate, &b));
    }
}

static void the_past_is_barred_newest_first_each_once(void **state)
{
    struct gate gate = {.state = GATE_OPEN, .process = process(99)};
    struct process first = process(1), second = process(2), unknown = {0};

    (void)state;
    for (int64_t i = 1; i <= GATE_PAST_MAX; i++) {
        struct process p = process(i);

        gate_retire(&gate, &p);
    }
    assert_int_equal(gate.n_past, GATE_PAST_MAX);
    gate_retire(&gate, &first); /* again: to the front */
    assert_int_equal(gate.n_past, GATE_PAST_MAX);
    assert_true(process_same(&gate.past[0], &first));
    gate_retire(&gate, &gate.process); /* one too many: the oldest goes */
    assert_int_equal(gate.n_past, GATE_PAST_MAX);
    assert_true(gate_bars(&gate, &first));
    assert_false(gate_bars(&gate, &second));
    gate_retire(&gate, &unknown);
    assert_int_equal(gate.n_past, GATE_PAST_MAX);
    gate_unretire(&gate, &first);
    gate_unretire(&gate, &second);
    assert_int_equal(gate.n_past, GATE_PAST_MAX - 1);
    assert_false(gate_bars(&gate, &first));
}

static void keys_go_there_and_back(void **state)
{
    char key[256], address[NODE_ADDRESS_MAX + 1];
    enum node_kind kind;

    (void)state;
    assert_string_equal(gate_key(NODE_WORKER, "[::1]:7", key, sizeof(key)),
                        "/pelorus/owners/worker/[::1]:7");
    assert_int_equal(gate_key_parse(key, &kind, address), 0);
    assert_int_equal(kind, NODE_WORKER);
    assert_string_equal(address, "[::1]:7");
    assert_int_equal(gate_key_parse("/pelorus/owners/x/h:1", &kind, address),
                     ERR_INVALID);
    assert_int_equal(gate_key_parse("/pelorus/owners/worker", &kind, address),
                     ERR_INVALID);
    assert_int_equal(gate_key_parse("/pelorus/owners/worker/h", &kind, address),
                     ERR_INVALID);
    assert_int_equal(
        gate_key_parse("/pelorus/owned/worker/h:1", &kind, address),
        ERR_INVALID);
    assert_int_equal(
        gate_key_parse("/pelorus/owners/worker/h:1/x", &kind, address),
        ERR_INVALID);
}

/* --- leaving ------------------------------------------------------------- */

static void who_leaves_gets_no_work_until_it_is_let_in_again(void **state)
{
    struct process p = process(1), again = process(1), other = process(2);
    struct gate gate = {.state = GATE_OPEN, .process = process(1)};
    struct gate read;
    struct err err;
    struct buf b;

    (void)state;
    p.created = 2000;
    gate.heir_of = process(3);
    assert_true(gate_leave(&gate, &p));
    assert_false(gate.heir_of.known); /* who is gone inherits nothing */
    assert_false(gate_takes(&gate, &p));
    assert_false(gate_takes(&gate, &other));
    assert_false(gate_bars(&gate, &p)); /* it may come back */
    assert_false(gate_returned(&gate, &p));
    again.created = 2001;
    assert_true(gate_returned(&gate, &again));
    assert_false(gate_returned(&gate, &other));
    buf_init(&b, 4096);
    gate_write(&b, &gate);
    assert_int_equal(gate_read(&read, b.data, b.len, &err), 0);
    assert_true(read.left);
    assert_true(read.process.created == 2000);
    buf_close(&b);
    assert_int_equal(read_text(&read, "{\"state\":\"open\",\"left\":1}", &err),
                     ERR_INVALID);
}

static void only_its_own_gate_says_that_a_process_left(void **state)
{
    static const enum gate_state states[] = {GATE_ABSENT,     GATE_OPEN,
                                             GATE_CORDONED,   GATE_DRAINING,
                                             GATE_RESTARTING, GATE_FENCED};
    struct process p = process(1), other = process(2),
                   unknown = {.known = false};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        struct gate gate = {.state = states[i], .for_ms = 7};
        bool leaves = states[i] <= GATE_DRAINING;

        if (states[i] != GATE_ABSENT)
            gate.process = p;
        assert_false(gate_leave(&gate, &unknown));
        assert_int_equal(gate_leave(&gate, &p), leaves);
        assert_int_equal(gate.left, leaves);
        assert_int_equal(gate.for_ms, 7);
        if (states[i] != GATE_ABSENT)
            assert_int_equal(gate.state, states[i]); /* an order stays */
        assert_false(gate_leave(&gate, &other));
    }
}

static mono_ms seen_at(struct gates *g, struct clock *clock, mono_ms now,
                       const struct gate *gate)
{
    clock->mono = now;
    gates_learn(g, NODE_WORKER, "w:1", gate);
    assert_int_equal(gates_find(g, NODE_WORKER, "w:1")->for_ms, gate->for_ms);
    return gates_order_seen(g, NODE_WORKER, "w:1");
}

/* Put back to before a write, the next one has its version. */
static void a_leave_at_a_version_that_is_known_is_news(void **state)
{
    struct clock clock = {.mono = 1000};
    struct gates *g = gates_new(&clock, NULL);
    struct gate gate = {
        .state = GATE_OPEN, .process = process(1), .version = 4, .created = 2};

    (void)state;
    gates_learn(g, NODE_WORKER, "w:1", &gate);
    gate.left = true;
    gates_learn(g, NODE_WORKER, "w:1", &gate);
    assert_true(gates_find(g, NODE_WORKER, "w:1")->left);
    gate.left = false;
    gate_retire(&gate, &(struct process){.known = true, .startup_time = 9});
    gates_learn(g, NODE_WORKER, "w:1", &gate);
    assert_false(gates_find(g, NODE_WORKER, "w:1")->left);
    assert_int_equal(gates_find(g, NODE_WORKER, "w:1")->n_past, 1);
    gates_free(&g);
}

/* Put back to before an order was given, the next one has its number. */
static void an_order_of_the_same_number_may_be_another(void **state)
{
    struct clock clock = {.mono = 1000};
    struct gates *g = gates_new(&clock, NULL);
    struct gate lease = {.state = GATE_RESTARTING,
                         .process = process(1),
                         .order = 1,
                         .for_ms = 3000,
                         .ordered = 1764324000123,
                         .version = 4};
    struct gate drain = {.state = GATE_DRAINING,
                         .process = process(1),
                         .drain_of = process(1),
                         .order = 1,
                         .for_ms = 3000,
                         .ordered = 1764324000123,
                         .version = 3};

    (void)state;
    assert_int_equal(seen_at(g, &clock, 1000, &lease), 1000);
    lease.version++;
    lease.cordoned = true;
    assert_int_equal(seen_at(g, &clock, 1500, &lease), 1000); /* beside it */

    assert_int_equal(seen_at(g, &clock, 60000, &drain), 60000);
    assert_false(gates_order_is_over(g, NODE_WORKER, "w:1", &drain));
    drain.version = 9; /* another order, of another length */
    drain.for_ms = 7000;
    assert_int_equal(seen_at(g, &clock, 61000, &drain), 61000);
    drain.version = 12; /* of another time */
    drain.ordered += 5000;
    assert_int_equal(seen_at(g, &clock, 62000, &drain), 62000);
    drain.ordered += 5000; /* of the version of the one before, too */
    assert_int_equal(seen_at(g, &clock, 63000, &drain), 63000);

    drain.version++; /* its process is another one now: it goes on */
    drain.process = process(2);
    assert_int_equal(seen_at(g, &clock, 64000, &drain), 63000);
    clock.mono = 69999;
    assert_false(gates_order_is_over(g, NODE_WORKER, "w:1", &drain));
    clock.mono = 70000;
    assert_true(gates_order_is_over(g, NODE_WORKER, "w:1", &drain));
    drain.order++; /* given again */
    drain.version++;
    assert_int_equal(seen_at(g, &clock, 71000, &drain), 71000);
    gates_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(every_state_has_its_name),
        cmocka_unit_test(what_is_not_understood_refuses_the_whole),
        cmocka_unit_test(long_words_are_cut_between_characters),
        cmocka_unit_test(an_absent_gate_takes_any_known_process),
        cmocka_unit_test(an_open_gate_takes_its_process_only),
        cmocka_unit_test(the_past_is_barred_newest_first_each_once),
        cmocka_unit_test(keys_go_there_and_back),
        cmocka_unit_test(who_leaves_gets_no_work_until_it_is_let_in_again),
        cmocka_unit_test(only_its_own_gate_says_that_a_process_left),
        cmocka_unit_test(a_leave_at_a_version_that_is_known_is_news),
        cmocka_unit_test(an_order_of_the_same_number_may_be_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
