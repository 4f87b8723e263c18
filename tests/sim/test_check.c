/*
 * test_check.c - would the checker notice? Each test writes what no
 * coordinator may write, straight into a memory registry.
 * (Longer than 500 lines: each rule is one test, over one bench.)
 */
#include "tests/lib/memory/memory.h"
#include "tests/sim/check.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define LOCK     "/lock/worker-failover"
#define P1       "{\"created\":1,\"startupTime\":100,\"processId\":1}"
#define P2       "{\"created\":2,\"startupTime\":200,\"processId\":1}"
#define GATE     "/pelorus/owners/worker/w0:1"
#define WORK     "/pelorus/work/w-1"
#define MARKER   "/pelorus/owned/worker/w0:1/w-1"
#define NODE     "/nodes/worker/w0:1"
#define RECORD   "/pelorus/failovers/f-1"
#define HEART(n) "{\"startupTime\":" n ",\"processId\":1}"

struct bench {
    struct clock clock;
    struct memory_store *store;
    struct registry *client, *node;
    struct registry_lock *lock;
    struct trace trace;
    struct sim_result result;
    struct check check;
    enum err_code code;
    bool client_is_coordinator;
};

static int node_of(void *arg, enum node_kind kind, const char *address)
{
    (void)arg;
    return kind == NODE_WORKER && address[0] == 'w' ? address[1] - '0' : -1;
}

static bool is_coordinator(void *arg, uint64_t session)
{
    struct bench *b = arg;

    return session == registry_session(b->client);
}

static void failed(void *arg)
{
    (void)arg;
}

static void run(struct bench *b)
{
    (void)memory_run(b->store, b->clock.mono + 100);
    check_flush(&b->check);
}

static int setup(void **state)
{
    struct bench *b = mem_zalloc(sizeof(*b));

    b->clock.mono = 1000;
    b->store = memory_store_new(&b->clock, 1);
    trace_init(&b->trace, &b->clock, false);
    b->check.trace = &b->trace;
    b->check.result = &b->result;
    b->check.locks[NODE_MASTER] = "/lock/master-failover";
    b->check.locks[NODE_WORKER] = LOCK;
    b->check.node_of = node_of;
    b->check.is_coordinator = is_coordinator;
    b->check.failed = failed;
    b->check.arg = b;
    for (int i = 0; i < CHECK_NODES; i++) {
        b->check.names[i] = "w";
        b->check.kinds[i] = NODE_WORKER;
    }
    check_begin(&b->check, b->store);
    b->client = memory_open(b->store, 10000);
    b->node = memory_open(b->store, 10000);
    run(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    memory_on_write(b->store, NULL, NULL);
    registry_unlock(&b->lock);
    memory_kill(&b->client);
    memory_kill(&b->node);
    (void)memory_run(b->store, b->clock.mono + 60000);
    check_end(&b->check);
    memory_store_free(&b->store);
    mem_free(b);
    return 0;
}

static void granted(void *arg, enum err_code code)
{
    (void)arg;
    assert_int_equal(code, ERR_OK);
}

static void take_lock(struct bench *b)
{
    b->lock = registry_lock(b->client, LOCK, "test", -1, granted, NULL, b);
    run(b);
    assert_true(registry_lock_held(b->lock));
}

static void written(void *arg, const struct registry_reply *reply)
{
    struct bench *b = arg;

    b->code = reply->err.code;
}

/* One txn of puts (value) and deletes (NULL), under the lock if we have it. */
static void write_all(struct bench *b, const char *const (*what)[2], size_t n)
{
    struct registry_op ops[8];

    for (size_t i = 0; i < n; i++) {
        const struct registry_entry *e = memory_find(b->store, what[i][0]);

        ops[i] = (struct registry_op){
            .type = what[i][1] != NULL ? REGISTRY_PUT : REGISTRY_DELETE,
            .expect = e != NULL ? REGISTRY_VERSION : REGISTRY_ABSENT,
            .version = e != NULL ? e->version : 0,
            .key = what[i][0],
            .value = what[i][1],
            .value_len = what[i][1] != NULL ? strlen(what[i][1]) : 0,
        };
    }
    if (b->lock != NULL)
        ops[n++] =
            (struct registry_op){.type = REGISTRY_CHECK_LOCK, .lock = b->lock};
    b->code = ERR_CANCELLED;
    registry_txn(b->client, ops, n, written, b);
    run(b);
    assert_int_equal(b->code, ERR_OK);
}

#define WRITE(b, ...)                                                          \
    write_all(b, (const char *const[][2]){__VA_ARGS__},                        \
              sizeof((const char *const[][2]){__VA_ARGS__}) /                  \
                  sizeof(const char *[2]))

static void beat(struct bench *b, const char *heartbeat)
{
    registry_put(b->node, NODE, heartbeat, strlen(heartbeat), REGISTRY_ANY, 0,
                 true, written, b);
    run(b);
}

static void gone(struct bench *b)
{
    registry_delete(b->node, NODE, memory_find(b->store, NODE)->version,
                    written, b);
    run(b);
}

static char *gate(const char *state, const char *process, const char *past)
{
    static char text[4][400];
    static int i;

    snprintf(text[++i % 4], sizeof(text[0]),
             "{\"state\":\"%s\",\"process\":%s,\"past\":[%s]}", state, process,
             past);
    return text[i % 4];
}

static char *item(const char *state, const char *owner, const char *process,
                  int epoch)
{
    static char text[4][400];
    static int i;

    snprintf(
        text[++i % 4], sizeof(text[0]),
        "{\"id\":\"w-1\",\"kind\":\"worker\",\"state\":\"%s\",\"owner\":%s,"
        "\"process\":%s,\"epoch\":%d,\"policy\":\"reassign\"}",
        state, owner, process, epoch);
    return text[i % 4];
}

static char *mark(const char *process, int epoch)
{
    static char text[4][200];
    static int i;

    snprintf(text[++i % 4], sizeof(text[0]), "{\"epoch\":%d,\"process\":%s}",
             epoch, process);
    return text[i % 4];
}

static char *record(const char *phase, const char *process)
{
    static char text[4][400];
    static int i;

    snprintf(text[++i % 4], sizeof(text[0]),
             "{\"id\":\"f-1\",\"kind\":\"worker\",\"address\":\"w0:1\","
             "\"process\":%s,\"state\":\"%s\",\"fence\":1}",
             process, phase);
    return text[i % 4];
}

/* w-1 is with P1 at w0:1. */
static void begin(struct bench *b)
{
    beat(b, HEART("100"));
    WRITE(b, {GATE, gate("open", P1, "")},
          {WORK, item("assigned", "\"w0:1\"", P1, 1)}, {MARKER, mark(P1, 1)});
    assert_false(b->result.failed);
}

static void expect(const struct bench *b, const char *invariant)
{
    if (invariant[0] == '\0' && b->result.failed)
        fail_msg("%s: %s", b->result.invariant, b->result.what);
    assert_string_equal(b->result.invariant, invariant);
}

/* --- what is right ------------------------------------------------------- */

static void a_whole_failover_passes(void **state)
{
    struct bench *b = *state;

    begin(b);
    gone(b);
    take_lock(b);
    WRITE(b, {GATE, gate("fenced", P1, "")}, {RECORD, record("intent", P1)});
    WRITE(b, {RECORD, record("moving", P1)});
    WRITE(b, {WORK, item("waiting", "null", "null", 2)}, {MARKER, NULL},
          {"/pelorus/owned/worker/-/w-1", "{\"epoch\":2}"});
    WRITE(b, {RECORD, record("done", P1)});
    beat(b, HEART("200"));
    WRITE(b, {GATE, gate("open", P2, P1)});
    WRITE(b, {WORK, item("assigned", "\"w0:1\"", P2, 3)}, {MARKER, mark(P2, 3)},
          {"/pelorus/owned/worker/-/w-1", NULL});
    expect(b, "");
}

/* --- what is wrong ------------------------------------------------------- */

static void record_without_marker_is_noticed(void **state)
{
    struct bench *b = *state;

    WRITE(b, {GATE, gate("open", P1, "")},
          {WORK, item("assigned", "\"w0:1\"", P1, 1)});
    expect(b, "record-and-marker");
}

static void marker_of_another_epoch_is_noticed(void **state)
{
    struct bench *b = *state;

    WRITE(b, {GATE, gate("open", P1, "")},
          {WORK, item("assigned", "\"w0:1\"", P1, 1)}, {MARKER, mark(P1, 2)});
    expect(b, "record-and-marker");
}

static void work_for_a_closed_gate_is_noticed(void **state)
{
    struct bench *b = *state;

    WRITE(b, {GATE, gate("cordoned", P1, "")},
          {WORK, item("assigned", "\"w0:1\"", P1, 1)}, {MARKER, mark(P1, 1)});
    expect(b, "open-gate");
}

static void fencing_without_the_lock_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    gone(b);
    WRITE(b, {GATE, gate("fenced", P1, "")}, {RECORD, record("intent", P1)});
    expect(b, "gate-process");
}

static void fencing_without_a_record_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    take_lock(b);
    WRITE(b, {GATE, gate("fenced", P1, "")});
    expect(b, "gate-process");
}

static void a_registered_process_that_loses_work_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    take_lock(b);
    WRITE(b, {GATE, gate("fenced", P1, "")}, {RECORD, record("intent", P1)});
    WRITE(b, {RECORD, record("moving", P1)});
    expect(b, "registered-loses-nothing");
}

static void moving_before_the_second_read_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    gone(b);
    take_lock(b);
    WRITE(b, {GATE, gate("fenced", P1, "")}, {RECORD, record("intent", P1)});
    WRITE(b, {WORK, item("waiting", "null", "null", 2)}, {MARKER, NULL},
          {"/pelorus/owned/worker/-/w-1", "{\"epoch\":2}"});
    expect(b, "taken-after-intent");
}

static void moving_without_the_lock_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    gone(b);
    take_lock(b);
    WRITE(b, {GATE, gate("fenced", P1, "")}, {RECORD, record("intent", P1)});
    WRITE(b, {RECORD, record("moving", P1)});
    registry_unlock(&b->lock);
    run(b);
    WRITE(b, {WORK, item("waiting", "null", "null", 2)}, {MARKER, NULL},
          {"/pelorus/owned/worker/-/w-1", "{\"epoch\":2}"});
    expect(b, "under-the-lock");
}

static void a_fenced_process_that_comes_back_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    gone(b);
    take_lock(b);
    WRITE(b, {GATE, gate("fenced", P1, "")}, {RECORD, record("intent", P1)});
    WRITE(b, {RECORD, record("moving", P1)});
    WRITE(b, {GATE, gate("open", P1, "")});
    expect(b, "fenced-stays-out");
}

static void another_process_without_intent_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    take_lock(b);
    WRITE(b, {GATE, gate("open", P2, P1)});
    expect(b, "gate-process");
}

static void a_gate_that_is_removed_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    take_lock(b);
    WRITE(b, {GATE, NULL});
    expect(b, "gate-stays");
}

static void a_gate_that_goes_without_the_lock_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    WRITE(b, {GATE, NULL});
    expect(b, "under-the-lock");
}

static void an_epoch_that_stays_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    check_asks_handover(&b->check, 1, 1);
    WRITE(b, {WORK, item("waiting", "null", "null", 1)}, {MARKER, NULL},
          {"/pelorus/owned/worker/-/w-1", "{\"epoch\":1}"});
    expect(b, "epochs-grow");
}

static void a_done_nobody_asked_for_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    check_asks_done(&b->check, 1, 7);
    WRITE(b, {WORK, item("done", "\"w0:1\"", P1, 1)}, {MARKER, NULL});
    expect(b, "stale-epoch");
}

static void an_epoch_below_the_floor_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    take_lock(b);
    check_asks_done(&b->check, 1, 1);
    WRITE(b, {WORK, item("done", "\"w0:1\"", P1, 1)}, {MARKER, NULL});
    WRITE(b, {WORK, NULL}, {"/pelorus/epoch-floor", "1"});
    expect(b, "");
    WRITE(b, {WORK, item("assigned", "\"w0:1\"", P1, 1)},
          {MARKER, mark(P1, 1)});
    expect(b, "epochs-grow");
}

static void lost_work_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    take_lock(b);
    WRITE(b, {WORK, NULL}, {MARKER, NULL}, {"/pelorus/epoch-floor", "1"});
    expect(b, "none-lost");
}

static void a_failover_that_ends_twice_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    gone(b);
    take_lock(b);
    WRITE(b, {GATE, gate("fenced", P1, "")}, {RECORD, record("intent", P1)});
    WRITE(b, {RECORD, record("moving", P1)});
    WRITE(b, {RECORD, record("done", P1)});
    WRITE(b, {RECORD, record("done", P1)});
    expect(b, "record-once");
}

static void a_coordinator_that_writes_below_nodes_is_noticed(void **state)
{
    struct bench *b = *state;

    WRITE(b, {"/nodes/worker/w3:1", HEART("1")});
    expect(b, "nodes-are-read-only");
}

static void a_promise_that_is_not_kept_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    check_told(&b->check, 1, 1);
    expect(b, "");
    check_told(&b->check, 1, 2);
    expect(b, "none-lost");
}

static char *drained(const char *of)
{
    static char text[400];

    (void)snprintf(text, sizeof(text),
                   "{\"state\":\"draining\",\"process\":%s,\"past\":[],"
                   "\"for\":\"8s\",\"order\":1}",
                   of);
    return text;
}

static void a_drain_that_a_failover_ends_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    WRITE(b, {GATE, drained(P1)});
    gone(b);
    beat(b, P2);
    take_lock(b);
    WRITE(b, {GATE, gate("open", P2, P1)}, {RECORD, record("intent", P1)});
    expect(b, "drain-stands");
}

static void a_drain_that_nobody_takes_back_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    WRITE(b, {GATE, drained(P1)});
    WRITE(b, {GATE, gate("open", P1, "")});
    expect(b, "drain-stands");
}

static void a_drain_that_is_taken_back_passes(void **state)
{
    struct bench *b = *state;

    begin(b);
    WRITE(b, {GATE, drained(P1)});
    check_asks_undrain(&b->check, 0);
    WRITE(b, {GATE, gate("open", P1, "")});
    assert_false(b->result.failed);
}

static void a_cordon_that_a_failover_ends_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    WRITE(b, {GATE, gate("cordoned", P1, "")});
    gone(b);
    beat(b, P2);
    take_lock(b);
    WRITE(b, {GATE, gate("open", P2, P1)}, {RECORD, record("intent", P1)});
    expect(b, "cordon-stays");
}

static void a_withdrawn_order_that_waits_on_is_noticed(void **state)
{
    struct bench *b = *state;

    begin(b);
    WRITE(b, {RECORD, record("queued", P1)});
    check_withdrawn(&b->check, "f-1");
    expect(b, "withdrawn-is-not-done");
}

static void work_at_an_old_primary_is_noticed(void **state)
{
    struct bench *b = *state;

    memory_promote(b->store, NULL);
    memory_up(b->store, MEMORY_OLD);
    memory_reach(b->client, true, false);
    run(b);
    WRITE(b, {"/pelorus/history/seen/h:1", "{}"});
    assert_false(check_failed(&b->check));
    WRITE(b, {GATE, gate("open", P1, "")});
    expect(b, "nobody-acts-beside");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_whole_failover_passes),
        TEST(record_without_marker_is_noticed),
        TEST(marker_of_another_epoch_is_noticed),
        TEST(work_for_a_closed_gate_is_noticed),
        TEST(fencing_without_the_lock_is_noticed),
        TEST(fencing_without_a_record_is_noticed),
        TEST(a_registered_process_that_loses_work_is_noticed),
        TEST(moving_before_the_second_read_is_noticed),
        TEST(moving_without_the_lock_is_noticed),
        TEST(a_fenced_process_that_comes_back_is_noticed),
        TEST(another_process_without_intent_is_noticed),
        TEST(a_gate_that_is_removed_is_noticed),
        TEST(a_gate_that_goes_without_the_lock_is_noticed),
        TEST(an_epoch_that_stays_is_noticed),
        TEST(a_done_nobody_asked_for_is_noticed),
        TEST(an_epoch_below_the_floor_is_noticed),
        TEST(lost_work_is_noticed),
        TEST(a_failover_that_ends_twice_is_noticed),
        TEST(a_coordinator_that_writes_below_nodes_is_noticed),
        TEST(a_promise_that_is_not_kept_is_noticed),
        TEST(a_drain_that_a_failover_ends_is_noticed),
        TEST(a_drain_that_nobody_takes_back_is_noticed),
        TEST(a_drain_that_is_taken_back_passes),
        TEST(a_cordon_that_a_failover_ends_is_noticed),
        TEST(a_withdrawn_order_that_waits_on_is_noticed),
        TEST(work_at_an_old_primary_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
