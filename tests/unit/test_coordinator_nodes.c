/*
 * test_coordinator_nodes.c - nodes that speak HTTP: who they are, how long
 * they count, and who may not come back.
 */
#include "cluster/renewals/taken.h"
#include "coordinator/nodes/nodes_priv.h"
#include "tests/unit/coordinator_world.h"

#define W1  "10.0.1.1:1234"
#define W2  "10.0.0.2:1234"
#define KEY "/pelorus/nodes/worker/" W1

static struct coordinator_snapshot_node
look(struct world *w, enum node_kind kind, const char *address)
{
    struct snapshot *s = coordinator_snapshot(w->c[0]);
    const struct coordinator_snapshot_node *n =
        coordinator_snapshot_node(s, kind, address);
    struct coordinator_snapshot_node copy = {.state = NODE_DOWN};

    if (n != NULL)
        copy = *n; /* only its plain members are looked at */
    coordinator_snapshot_release(&s);
    return copy;
}

static void a_first_put_registers_and_the_next_renews(void **state)
{
    struct world *w = *state;
    const char *body = "{\"startupTime\":5,\"processId\":6,\"cpuUsage\":0.5}";
    struct got first = put(w, NODE_WORKER, W1, body, 5000), again;

    assert_string_equal(first.code, "");
    assert_true(first.created);
    assert_int_equal(first.process.startup_time, 5);
    assert_int_equal(first.process.process_id, 6);
    world_run(w, 200);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
    assert_true(look(w, NODE_WORKER, W1).load.cpu == 0.5);
    again = put(w, NODE_WORKER, W1, body, 5000);
    assert_string_equal(again.code, "");
    assert_false(again.created);
    assert_true(process_same(&again.process, &first.process));
}

static void without_startup_time_the_registration_is_the_identity(void **state)
{
    struct world *w = *state;
    struct got first = put(w, NODE_WORKER, W1, "{}", 5000), again;

    assert_true(first.process.startup_time > 0);
    world_run(w, 1000);
    again = put(w, NODE_WORKER, W1, "", 5000);
    assert_true(process_same(&again.process, &first.process));
    assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "");
    again = put(w, NODE_WORKER, W1, "{}", 5000);
    assert_true(again.created);
    assert_true(process_differs(&again.process, &first.process));
}

static void another_process_takes_the_address(void **state)
{
    struct world *w = *state;
    struct got g;

    put(w, NODE_WORKER, W1, "{\"startupTime\":5,\"processId\":6}", 5000);
    world_run(w, 200);
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":9,\"processId\":6}", 5000);
    assert_string_equal(g.code, "");
    world_run(w, 200);
    assert_int_equal(look(w, NODE_WORKER, W1).process.startup_time, 9);
}

static void a_key_unchanged_for_its_ttl_is_removed(void **state)
{
    struct world *w = *state;

    put(w, NODE_WORKER, W1, "{}", 2000);
    world_run(w, 1500);
    put(w, NODE_WORKER, W1, "{}", 2000); /* renewed: it counts from here */
    world_run(w, 1500);
    assert_non_null(memory_find(w->store, KEY));
    world_run(w, 1500);
    assert_null(memory_find(w->store, KEY));
    world_run(w, 2000);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_DOWN);
}

static void note_key(void *arg, const struct registry_entry *entry)
{
    memcpy(arg, entry->key, strlen(entry->key) + 1);
}

/* Versions begin anew when a key is made again, here and on ZooKeeper: what was
 * decided of the registration before is not done to the one that stands. */
static void a_late_removal_spares_who_registered_anew(void **state)
{
    struct world *w = *state;
    char second[REGISTRY_KEY_MAX + 1] = "";
    uint64_t version;

    put(w, NODE_WORKER, W1, "{\"startupTime\":5}", 2000);
    version = memory_find(w->store, KEY)->version;
    memory_each(w->store, REGISTRATIONS_PREFIX, note_key, second);
    world_run(w, 1800);
    memory_hold_up(w->registry[0], true);
    world_run(w, 600);
    assert_true(memory_held_up(w->registry[0]) > 0);
    hand_delete(w, KEY);
    hand_delete(w, second);
    hand_put(w, KEY, "{\"startupTime\":9,\"ttl\":60000}", false);
    assert_int_equal(memory_find(w->store, KEY)->version, version);
    memory_hold_up(w->registry[0], false);
    memory_let_through(w->registry[0]);
    world_run(w, 5000);
    assert_non_null(memory_find(w->store, KEY));
    assert_non_null(strstr(memory_find(w->store, KEY)->value, ":9,"));
    assert_null(strstr(memory_find(w->store, KEY)->value, "doubted"));
}

static void a_fenced_process_is_refused_and_the_next_one_is_not(void **state)
{
    struct world *w = *state;
    const char *old = "{\"startupTime\":5,\"processId\":6}";
    struct gate gate = {
        .state = GATE_FENCED,
        .process = {.startup_time = 5, .process_id = 6, .known = true}};
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;
    struct got g;

    buf_init(&b, 4096);
    gate_write(&b, &gate);
    hand_put(w, gate_key(NODE_WORKER, W1, key, sizeof(key)), buf_text(&b),
             false);
    g = put(w, NODE_WORKER, W1, old, 5000);
    assert_string_equal(g.code, "fenced");
    assert_non_null(strstr(g.err.msg, "startupTime"));
    assert_null(memory_find(w->store, KEY));
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":7,\"processId\":6}", 5000);
    assert_string_equal(g.code, "");
    buf_close(&b);
}

static void write_fenced(struct world *w, int64_t startup)
{
    struct gate gate = {
        .state = GATE_FENCED,
        .process = {.startup_time = startup, .process_id = 6, .known = true}};
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;

    buf_init(&b, 4096);
    gate_write(&b, &gate);
    hand_put(w, gate_key(NODE_WORKER, W1, key, sizeof(key)), buf_text(&b),
             false);
    assert_int_equal(memory_find(w->store, key)->version, 1);
    buf_close(&b);
}

/* While it was on its way the gate that it had met was forgotten, and the next
 * one, at the same version, bars its process: it has no lease. */
static void a_late_put_looks_at_the_gate_that_came_since(void **state)
{
    struct world *w = *state;
    const char *body = "{\"startupTime\":5,\"processId\":6}";
    struct node_put ask = {.kind = NODE_WORKER,
                           .address = W1,
                           .body = body,
                           .len = strlen(body),
                           .ttl_ms = 5000};
    struct got g = {0};

    write_fenced(w, 3);
    memory_hold_up(w->registry[0], true);
    coordinator_node_put(w->c[0], &ask, got, &g);
    world_run(w, 200);
    assert_int_equal(memory_held_up(w->registry[0]), 1);
    hand_delete(w, GATE_PREFIX "/worker/" W1);
    write_fenced(w, 5);
    memory_let_through(w->registry[0]);
    memory_hold_up(w->registry[0], false);
    world_run(w, 3000);
    assert_int_equal(g.times, 1);
    assert_string_equal(g.code, "fenced");
}

static void an_agents_own_registration_is_left_alone(void **state)
{
    struct world *w = *state;
    struct got g;

    hand_put(w, KEY, "{\"startupTime\":1,\"processId\":1}", true);
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":5,\"processId\":6}", 5000);
    assert_string_equal(g.code, "conflict");
    assert_non_null(strstr(g.err.msg, "agent"));
}

/* --- whose address it is ------------------------------------------------- */

static struct got put_as(struct world *w, const char *body,
                         const char *instance, bool takeover)
{
    return node_put(w, &(struct node_put){.kind = NODE_WORKER,
                                          .address = W1,
                                          .body = body,
                                          .len = strlen(body),
                                          .ttl_ms = 5000,
                                          .instance = instance,
                                          .takeover = takeover});
}

static void an_earlier_process_never_replaces_a_later_one(void **state)
{
    struct world *w = *state;
    const char *old = "{\"startupTime\":5,\"processId\":6}";
    const char *new = "{\"startupTime\":9,\"processId\":7}";
    struct got g;

    put_as(w, old, NULL, false);
    assert_string_equal(put_as(w, new, NULL, false).code, "");
    g = put_as(w, old, NULL, false);
    assert_string_equal(g.code, "address_taken");
    assert_non_null(strstr(g.err.msg, "startupTime 9,"));
    assert_string_equal(put_as(w, new, NULL, false).code, "");
    world_run(w, 5200); /* its ttl is over: whoever comes is welcome */
    g = put_as(w, old, NULL, false);
    assert_string_equal(g.code, "");
    assert_true(g.created);
}

/* DolphinScheduler's own, for one: its key stands while it lives. */
static void who_lives_below_nodes_keeps_the_address(void **state)
{
    static const char theirs[] = "{\"startupTime\":50,\"processId\":1}";
    struct world *w = *state;
    struct got g;

    hand_put(w, "/nodes/worker/" W1, theirs, true);
    world_run(w, 300);
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":40,\"processId\":2}", 5000);
    assert_string_equal(g.code, "address_taken");
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":60,\"processId\":2}", 5000);
    assert_string_equal(g.code, "address_taken");
    assert_null(memory_find(w->store, KEY));
    g = put(w, NODE_WORKER, W1, theirs, 5000); /* the same one, both ways */
    assert_string_equal(g.code, "");
}

static void a_takeover_makes_it_the_later_process(void **state)
{
    struct world *w = *state;
    const char *old = "{\"startupTime\":5,\"processId\":6}";
    const char *new = "{\"startupTime\":9,\"processId\":7}";
    struct got first, g;

    put_as(w, new, NULL, false);
    first = put_as(w, old, NULL, true);
    assert_string_equal(first.code, "");
    assert_int_equal(first.process.startup_time, 10);
    /* it renews as what it is, and the other one is told */
    g = put_as(w, old, first.instance, false);
    assert_string_equal(g.code, "");
    assert_int_equal(g.process.startup_time, 10);
    assert_string_equal(g.instance, first.instance);
    assert_string_equal(put_as(w, new, NULL, false).code, "address_taken");
}

static void an_instance_tells_two_lives_apart(void **state)
{
    struct world *w = *state;
    const char *body = "{\"startupTime\":5,\"processId\":1}";
    struct got first = put_as(w, body, NULL, false), g;

    assert_true(strlen(first.instance) > 8);
    /* the answer was lost: asked again, the same one is given */
    assert_string_equal(put_as(w, body, NULL, false).instance, first.instance);
    assert_string_equal(put_as(w, body, first.instance, false).code, "");
    /* the same startupTime and processId, but not the one that knows it */
    assert_string_equal(put_as(w, body, NULL, false).code, "address_taken");
    assert_string_equal(put_as(w, "{}", NULL, false).code, "address_taken");
    assert_string_equal(put_as(w, body, "another", false).code,
                        "address_taken");
    /* in the body it counts as well */
    g = put_as(w, "{\"instance\":\"another\"}", NULL, false);
    assert_string_equal(g.code, "address_taken");
    assert_string_equal(put_as(w, "{\"instance\":\"a\"}", "b", false).code,
                        "invalid");
    assert_string_equal(put_as(w, body, "a b", false).code, "invalid");
    /* whose registration was replaced is told, though its clock is ahead */
    g = put_as(w, "{\"startupTime\":6,\"processId\":1}", NULL, false);
    assert_string_equal(g.code, "");
    assert_string_not_equal(g.instance, first.instance);
    assert_string_equal(put_as(w, body, first.instance, false).code,
                        "address_taken");
    assert_string_equal(
        put_as(w, "{\"startupTime\":7,\"processId\":1}", first.instance, false)
            .code,
        "address_taken");
}

static void a_request_that_waited_for_its_ttl_is_not_carried_out(void **state)
{
    struct world *w = *state;
    struct node_put late = {
        .kind = NODE_WORKER, .address = W1, .ttl_ms = 5000, .age_ms = 5000};

    assert_string_equal(node_put(w, &late).code, "too_late");
    assert_null(memory_find(w->store, KEY));
    late.age_ms = 4999;
    assert_string_equal(node_put(w, &late).code, "");
}

static const char *leave_as(struct world *w, struct got *g,
                            const struct node_leave *leave)
{
    *g = (struct got){0};
    coordinator_node_delete(w->c[0], leave, got, g);
    *g = answered(w, g);
    return g->code;
}

/* A leave that was sent by a dead process takes nobody along. */
static void a_late_leave_takes_nobody_elses_registration(void **state)
{
    struct world *w = *state;
    struct node_leave leave = {
        .kind = NODE_WORKER, .address = W1, .age_ms = 1001};
    struct got first, g;

    first = put_as(w, "{\"startupTime\":5,\"processId\":6}", NULL, false);
    put_as(w, "{\"startupTime\":9,\"processId\":7}", NULL, false);
    assert_string_equal(leave_as(w, &g, &leave), "too_late");
    leave.startup_time = 5;
    assert_string_equal(leave_as(w, &g, &leave), "conflict");
    leave.instance = first.instance;
    leave.startup_time = 9; /* the instance says more */
    assert_string_equal(leave_as(w, &g, &leave), "conflict");
    assert_non_null(memory_find(w->store, KEY));
    leave.instance = "a b";
    assert_string_equal(leave_as(w, &g, &leave), "invalid");
    leave.instance = NULL;
    assert_string_equal(leave_as(w, &g, &leave), "");
    assert_null(memory_find(w->store, KEY));
}

static enum balancer_code pick(struct world *w,
                               char address[BALANCER_ADDRESS_MAX + 1])
{
    struct balancer_pick one;
    struct balancer_request ask = {.count = 1, .now = w->clock.mono};
    struct balancer_answer answer = {.picks = &one};

    balancer_pick(coordinator_balancer(w->c[0]), &ask, &answer);
    if (answer.code == BALANCER_OK)
        memcpy(address, one.address, sizeof(one.address));
    return answer.code;
}

static const char *report_of(struct world *w, const char *address)
{
    struct snapshot *s = coordinator_snapshot(w->c[0]);
    const struct coordinator_snapshot_node *n =
        coordinator_snapshot_node(s, NODE_WORKER, address);
    const char *report = n != NULL ? coordinator_report_name(n->report) : "?";

    coordinator_snapshot_release(&s); /* the words are static */
    return report;
}

static void what_a_node_says_is_stored_as_it_says_it(void **state)
{
    struct world *w = *state;
    const char *body =
        "{ \"ttl\":1,\"mine\":9007199254740993,\"processId\":7, "
        "\"more\":1e400,\"carried\":true,\"registration\":\"0\"}";
    const struct registry_entry *e;

    assert_string_equal(put_as(w, body, NULL, false).code, "");
    e = memory_find(w->store, KEY);
    assert_non_null(strstr(e->value, "\"mine\":9007199254740993,\"more\""
                                     ":1e400}"));
    assert_non_null(strstr(e->value, "\"ttl\":5000,"));
    assert_null(strstr(e->value, "carried"));
    assert_null(strstr(e->value, "registration\":\"0\""));
    world_run(w, 200);
    assert_false(look(w, NODE_WORKER, W1).degraded);
    assert_int_equal(look(w, NODE_WORKER, W1).process.process_id, 7);
}

/* A ttl is how long a node is picked, too: its load may be as old. */
static void a_long_ttl_is_picked_until_it_is_over(void **state)
{
    struct world *w = *state;
    int64_t interval = w->conf.balancer.heartbeat_interval_ms;
    char address[NODE_ADDRESS_MAX + 1];
    const int64_t minute = 60000;
    struct got g;

    g = put(w, NODE_WORKER, W1, "{\"reportTime\":1}", 30 * minute);
    assert_int_equal(g.renew_after_ms, interval);
    g = put(w, NODE_WORKER, W2, "{}", 6000);
    assert_int_equal(g.renew_after_ms, 2000);
    world_run(w, 19 * minute);
    assert_string_equal(report_of(w, W1), "fresh");
    assert_int_equal(pick(w, address), BALANCER_OK);
    assert_string_equal(address, W1);
    world_run(w, 2 * minute);
    assert_string_equal(report_of(w, W1), "late");
    assert_int_equal(pick(w, address), BALANCER_OK);
    put(w, NODE_WORKER, W1, "{\"reportTime\":1}", 30 * minute); /* renewed */
    world_run(w, 200);
    assert_string_equal(report_of(w, W1), "fresh");
    world_run(w, 31 * minute);
    assert_int_not_equal(pick(w, address), BALANCER_OK);
}

/* Who lives by a session reports as all do. */
static void a_report_that_is_late_or_stale_is_seen_in_its_node(void **state)
{
    struct world *w = *state;
    int64_t interval = w->conf.balancer.heartbeat_interval_ms;

    hand_put(w, "/nodes/worker/" W1, "{\"startupTime\":5}", true);
    world_run(w, 1200);
    assert_string_equal(report_of(w, W1), "fresh");
    world_run(w, 2 * interval);
    assert_string_equal(report_of(w, W1), "late");
    world_run(w, interval);
    assert_string_equal(report_of(w, W1), "stale");
}

/* --- the gate ------------------------------------------------------------ */

struct order {
    unsigned n, gate, registration; /* which write it was; 0 none yet */
};

static void on_write(void *arg, uint64_t writer,
                     const struct registry_entry *before,
                     const struct registry_entry *after)
{
    struct order *o = arg;

    (void)writer, (void)before;
    o->n++;
    if (after == NULL)
        return;
    if (strncmp(after->key, GATE_PREFIX, strlen(GATE_PREFIX)) == 0 &&
        strstr(after->value, "fenced") != NULL)
        o->gate = o->n;
    if (strcmp(after->key, KEY) == 0)
        o->registration = o->n;
}

static void write_gate(struct world *w, enum gate_state state, bool wait)
{
    struct gate gate = {
        .state = state,
        .process = {.startup_time = 5, .process_id = 6, .known = true}};
    static enum err_code ignored;
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;

    buf_init(&b, 4096);
    gate_write(&b, &gate);
    gate_key(NODE_WORKER, W1, key, sizeof(key));
    if (wait)
        hand_put(w, key, buf_text(&b), false);
    else
        registry_put(w->hand, key, buf_text(&b), b.len, REGISTRY_ANY, 0, false,
                     hand_done, &ignored);
    buf_close(&b);
}

/* At every moment of a PUT somebody fences the process: if that was written
 * first, no lease is given. */
static void no_lease_is_given_behind_a_gate_that_shut(struct world *w,
                                                      bool gate_before,
                                                      bool renewal)
{
    const char *body = "{\"startupTime\":5,\"processId\":6}";
    const struct memory_faults slow = {.delay_max_ms = 20};
    unsigned behind = 0;

    for (int64_t at = 0; at < 160; at += 2) {
        struct order order = {0};
        struct got g = {0};

        if (gate_before)
            write_gate(w, GATE_OPEN, true);
        if (renewal)
            put(w, NODE_WORKER, W1, body, 60000);
        memory_on_write(w->store, on_write, &order);
        memory_set_faults(w->store, &slow);
        coordinator_node_put(w->c[0],
                             &(struct node_put){.kind = NODE_WORKER,
                                                .address = W1,
                                                .body = body,
                                                .len = strlen(body),
                                                .ttl_ms = 60000},
                             got, &g);
        memory_run(w->store, w->clock.mono + at);
        write_gate(w, GATE_FENCED, false);
        answered(w, &g);
        world_run(w, 200);
        memory_on_write(w->store, NULL, NULL);
        memory_set_faults(w->store, &(struct memory_faults){0});
        assert_true(order.gate != 0);
        if (order.registration > order.gate) {
            behind++;
            assert_string_equal(g.code, "fenced");
        } else if (order.registration == 0) {
            assert_string_equal(g.code, "fenced");
        }
        hand_delete(w, GATE_PREFIX "/worker/" W1);
        if (memory_find(w->store, KEY) != NULL)
            hand_delete(w, KEY);
        world_run(w, 200);
    }
    /* where a txn checks the gate nothing is written at all */
    assert_int_equal(behind > 0, !gate_before);
}

static void a_lease_is_never_given_to_a_process_that_is_fenced(void **state)
{
    struct world *w = *state;

    /* in groups it would be told by `taken`: test_coordinator_renewals.c */
    w->conf.renewals = CONF_RENEWALS_SINGLE;
    no_lease_is_given_behind_a_gate_that_shut(w, true, true);
    no_lease_is_given_behind_a_gate_that_shut(w, true, false);
    no_lease_is_given_behind_a_gate_that_shut(w, false, true);
    no_lease_is_given_behind_a_gate_that_shut(w, false, false);
}

static void waiting_is_said_and_is_not_fenced(void **state)
{
    struct world *w = *state;
    struct got g;

    write_gate(w, GATE_FENCED, true);
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":5,\"processId\":6}", 5000);
    assert_string_equal(g.code, "fenced");
    assert_null(memory_find(w->store, KEY));
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":7,\"processId\":6}", 5000);
    assert_string_equal(g.code, "");
    assert_true(g.waits);
    world_run(w, 3000); /* its failover is done: the engine lets it in */
    g = put(w, NODE_WORKER, W1, "{\"startupTime\":7,\"processId\":6}", 5000);
    assert_false(g.waits);
}

static void what_is_no_heartbeat_is_refused_at_once(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *address, *body;
        int64_t ttl_ms;
        const char *says;
    } bad[] = {
        {"10.0.1.1", "{}", 5000, "port"},
        {W1, "{", 5000, "JSON"},
        {W1, "[]", 5000, "object"},
        {W1, "{\"startupTime\":\"x\"}", 5000, "startupTime"},
        {W1, "{\"startupTime\":0}", 5000, "startupTime"},
        {W1, "{\"startupTime\":1.5}", 5000, "startupTime"},
        {W1, "{\"startupTime\":9007199254740993}", 5000, "startupTime"},
        {W1, "{\"startupTime\":1e400}", 5000, "startupTime"},
        {W1, "{\"startupTime\":5.00000000000000001}", 5000, "startupTime"},
        {W1, "{\"processId\":\"x\"}", 5000, "processId"},
        {W1, "{\"processId\":-9007199254740993}", 5000, "processId"},
        {W1, "{\"startupTime\":5,\"startupTime\":6}", 5000, "twice"},
        {W1, "{\"instance\":5}", 5000, "instance"},
        {W1, "{\"instance\":\"\"}", 5000, "instance"},
        {W1, "{}", 999, "ttl"},
        {W1, "{}", 3600001, "ttl"}};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct got g = {0};

        coordinator_node_put(w->c[0],
                             &(struct node_put){.kind = NODE_WORKER,
                                                .address = bad[i].address,
                                                .body = bad[i].body,
                                                .len = strlen(bad[i].body),
                                                .ttl_ms = bad[i].ttl_ms},
                             got, &g);
        assert_int_equal(g.times, 1);
        assert_string_equal(g.code, "invalid");
        assert_non_null(strstr(g.err.msg, bad[i].says));
    }
    assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "not_found");
}

/* Each write is bound to the version read, so repeating is safe; whatever the
 * registry does, one process stands there in the end. */
static void lost_answers_are_read_back(void **state)
{
    struct world *w = *state;
    const struct memory_faults faults = {.delay_max_ms = 20,
                                         .unknown_share = 0.3};
    unsigned ok = 0;

    memory_set_faults(w->store, &faults);
    for (int i = 0; i < 50; i++)
        ok += put(w, NODE_WORKER, W1, "{\"startupTime\":5,\"processId\":6}",
                  60000)
                  .code[0] == '\0';
    memory_set_faults(w->store, &(struct memory_faults){0});
    assert_true(ok >= 48);
    world_run(w, 3000);
    assert_int_equal(look(w, NODE_WORKER, W1).process.startup_time, 5);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
}

static void out_of_reach_is_said_and_not_guessed(void **state)
{
    struct world *w = *state;
    struct got g;

    memory_cut(w->registry[0]);
    g = put(w, NODE_WORKER, W1, "{}", 5000);
    assert_true(strcmp(g.code, "registry_unavailable") == 0 ||
                strcmp(g.code, "outcome_unknown") == 0 ||
                strcmp(g.code, "session_lost") == 0);
    memory_heal(w->registry[0]);
    world_run(w, 2 * SESSION_MS);
    assert_string_equal(put(w, NODE_WORKER, W1, "{}", 5000).code, "");
}

static void what_is_under_way_is_cancelled_at_the_end(void **state)
{
    struct world *w = *state;
    struct got a = {0}, b = {0}, c = {0}, d = {0};

    coordinator_node_put(
        w->c[0],
        &(struct node_put){.kind = NODE_WORKER, .address = W1, .ttl_ms = 5000},
        got, &a);
    coordinator_node_delete(
        w->c[0], &(struct node_leave){.kind = NODE_WORKER, .address = W1}, got,
        &b);
    coordinator_settings_get(w->c[0], got, &c);
    coordinator_failover_list(w->c[0], got, &d);
    world_end(w, 0);
    assert_int_equal(a.times + b.times + c.times + d.times, 4);
    assert_string_equal(a.code, "cancelled");
    assert_string_equal(b.code, "cancelled");
    assert_string_equal(c.code, "cancelled");
    assert_string_equal(d.code, "cancelled");
}

/* Silent for longer than the ttl and shorter than until SUSPENDED: nobody's
 * renewal got through, so nobody is missing. */
static void a_silent_registry_takes_nobodys_lease(void **state)
{
    struct world *w = *state;

    for (int64_t ms = 1200; ms < 3900; ms += 300) {
        put(w, NODE_WORKER, W1, "{\"startupTime\":5}", 1000);
        world_run(w, 200);
        assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
        memory_cut(w->registry[0]);
        world_run(w, ms);
        assert_int_equal(registry_state(w->registry[0]), REGISTRY_CONNECTED);
        assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
        memory_heal(w->registry[0]);
        world_run(w, 300); /* it is heard again, and the node not yet */
        assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
        assert_int_equal(look(w, NODE_WORKER, W1).flaps, 0);
        assert_non_null(memory_find(w->store, KEY));
    }
    world_run(w, 2500); /* and then it is, as ever */
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_DOWN);
    assert_null(memory_find(w->store, KEY));
}

/* 200 means that it stands in the registry; a hanging session of ours says
 * nothing of the kind, whatever it still believes of itself. */
static void no_lease_is_given_that_the_registry_did_not_take(void **state)
{
    struct world *w = *state;
    struct got renewal = {0}, first = {0};
    const char *body = "{\"startupTime\":5}";

    put(w, NODE_WORKER, W1, body, 30000);
    world_run(w, 1000);
    memory_cut(w->registry[0]);
    coordinator_node_put(w->c[0],
                         &(struct node_put){.kind = NODE_WORKER,
                                            .address = W1,
                                            .body = body,
                                            .len = strlen(body),
                                            .ttl_ms = 30000},
                         got, &renewal);
    coordinator_node_put(w->c[0],
                         &(struct node_put){.kind = NODE_WORKER,
                                            .address = "h:2",
                                            .body = body,
                                            .len = strlen(body),
                                            .ttl_ms = 30000},
                         got, &first);
    world_run(w, 30000);
    assert_int_equal(renewal.times + first.times, 2);
    assert_string_not_equal(renewal.code, "");
    assert_string_not_equal(first.code, "");
    assert_null(memory_find(w->store, "/pelorus/nodes/worker/h:2"));
    memory_heal(w->registry[0]);
    world_run(w, 3000);
}

/* --- held up on the way to the registry ---------------------------------- */

#define DEAD "{\"startupTime\":5,\"processId\":6}"
#define LIVE "{\"startupTime\":9,\"processId\":7}"

enum act { ACT_PUT, ACT_DELETE, ACT_TTL };

static void begin(struct world *w, enum act act, struct got *g)
{
    struct node_leave leave = {
        .kind = NODE_WORKER, .address = W1, .startup_time = 5};

    if (act == ACT_TTL)
        world_run(w, 850); /* of 1000 */
    else if (act == ACT_DELETE)
        coordinator_node_delete(w->c[0], &leave, got, g);
    else
        coordinator_node_put(w->c[0],
                             &(struct node_put){.kind = NODE_WORKER,
                                                .address = W1,
                                                .body = DEAD,
                                                .len = strlen(DEAD),
                                                .ttl_ms = 1000},
                             got, g);
}

/* The living process registers through the other coordinator, and tries again
 * while that one is held up itself. */
static void comes(struct world *w)
{
    struct node_put live = {.kind = NODE_WORKER,
                            .address = W1,
                            .body = LIVE,
                            .len = strlen(LIVE),
                            .ttl_ms = 3600000};
    struct got g = {.code = "none"};

    for (int i = 0; i < 50 && g.code[0] != '\0'; i++) {
        g = (struct got){0};
        coordinator_node_put(w->c[1], &live, got, &g);
        answered(w, &g);
        world_run(w, 100);
    }
    assert_string_equal(g.code, "");
}

static void fail_at(void *arg, const struct registry_entry *entry)
{
    (void)arg;
    fail_msg("%s was left behind", entry->key);
}

static void count_harm(void *arg, uint64_t writer,
                       const struct registry_entry *before,
                       const struct registry_entry *after)
{
    (void)writer;
    if (before != NULL && strcmp(before->key, KEY) == 0 &&
        strstr(before->value, "\"startupTime\":9") != NULL &&
        (after == NULL || strstr(after->value, "\"startupTime\":9") == NULL))
        ++*(unsigned *)arg;
}

/* What the coordinator writes `at` so many milliseconds and soon after takes
 * seconds; meanwhile the registration that it was decided on runs out, and
 * another one reaches the same version. */
static void hold_up(struct world *w, enum act act, int64_t at, struct got *g)
{
    memory_set_faults(w->store, &(struct memory_faults){.delay_max_ms = 20});
    begin(w, act, g);
    if (act == ACT_TTL)
        world_run(w, 10 * at);
    else
        memory_run(w->store, w->clock.mono + at);
    memory_set_faults(w->store, &(struct memory_faults){.delay_max_ms = 3500});
    memory_run(w->store, w->clock.mono + 20);
    memory_set_faults(w->store, &(struct memory_faults){0});
    for (int i = 0; i < 100 && memory_find(w->store, KEY) != NULL; i++)
        world_run(w, TICK_MS);
}

static unsigned nothing_late_meets_who_came_since(struct world *w, enum act act)
{
    unsigned harm = 0, late = 0;

    world_start(w, 1);
    world_run(w, 2000);
    for (int64_t at = 0; at < 48; at += 2) {
        struct got g = {0};

        put(w, NODE_WORKER, W1, DEAD, 1000);
        assert_int_equal(memory_find(w->store, KEY)->version, 1);
        hold_up(w, act, at, &g);
        memory_on_write(w->store, count_harm, &harm);
        comes(w);
        world_run(w, 6000);
        memory_on_write(w->store, NULL, NULL);
        assert_int_equal(harm, 0);
        late += g.code[0] != '\0';
        node_delete(w, NODE_WORKER, W1);
        hand_delete(w, GATE_PREFIX "/worker/" W1);
        world_run(w, 500);
    }
    memory_each(w->store, REGISTRATIONS_PREFIX, fail_at, NULL);
    return late;
}

static void a_late_put_meets_no_later_process(void **state)
{
    assert_true(nothing_late_meets_who_came_since(*state, ACT_PUT) > 0);
}

static void a_late_leave_meets_no_later_process(void **state)
{
    assert_true(nothing_late_meets_who_came_since(*state, ACT_DELETE) > 0);
}

static void a_late_removal_meets_no_later_process(void **state)
{
    (void)nothing_late_meets_who_came_since(*state, ACT_TTL);
}

/* Somebody took the second key alone away (a restore, a person): the node
 * lives on, and its registration can be removed. */
static void a_missing_second_key_stops_nobody(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 4; i++) {
        char key[REGISTRY_KEY_MAX + 1] = "", body[64];

        snprintf(body, sizeof(body), "{\"startupTime\":%d}", 10 + i);
        assert_string_equal(put(w, NODE_WORKER, W1, body, 2000).code, "");
        memory_each(w->store, REGISTRATIONS_PREFIX, note_key, key);
        hand_delete(w, key);
        if (i == 0) {
            assert_string_equal(put(w, NODE_WORKER, W1, body, 2000).code, "");
            memory_each(w->store, REGISTRATIONS_PREFIX, note_key, key);
            assert_non_null(memory_find(w->store, key));
        } else if (i == 1) {
            assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "");
        }
        world_run(w, 3000);
        assert_null(memory_find(w->store, KEY));
        memory_each(w->store, REGISTRATIONS_PREFIX, fail_at, NULL);
    }
}

/* A registration of before there were second keys is given one. */
static void a_registration_without_one_is_given_a_second_key(void **state)
{
    struct world *w = *state;
    char key[REGISTRY_KEY_MAX + 1] = "";

    hand_put(w, KEY, "{\"startupTime\":5,\"processId\":6,\"ttl\":2000}", false);
    assert_string_equal(put(w, NODE_WORKER, W1, DEAD, 2000).code, "");
    memory_each(w->store, REGISTRATIONS_PREFIX, note_key, key);
    assert_non_null(memory_find(w->store, key));
    assert_string_equal(put(w, NODE_WORKER, W1, LIVE, 2000).code, "");
    memory_each(w->store, REGISTRATIONS_PREFIX, note_key, key);
    assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "");
    assert_null(memory_find(w->store, key));
}

/* By turns a node that speaks HTTP and an agent, whose key is the same and
 * goes with its session. */
static void http_and_agents_take_turns_at_one_address(void **state)
{
    struct world *w = *state;
    enum err_code code = ERR_CANCELLED;
    char body[64];

    for (int i = 0; i < 6; i++) {
        snprintf(body, sizeof(body), "{\"startupTime\":%d}", 10 + 2 * i);
        assert_string_equal(put(w, NODE_WORKER, W1, body, 2000).code, "");
        registry_put(w->hand, KEY, "{}", 2, REGISTRY_ANY, 0, true, hand_done,
                     &code);
        world_run(w, 200);
        assert_int_equal(code, ERR_CONFLICT);
        if (i % 2 == 0)
            assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "");
        else
            world_run(w, 3000);
        snprintf(body, sizeof(body), "{\"startupTime\":%d}", 11 + 2 * i);
        hand_put(w, KEY, body, true);
        world_run(w, 1000);
        assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
        assert_int_equal(look(w, NODE_WORKER, W1).process.startup_time,
                         11 + 2 * i);
        assert_string_equal(put(w, NODE_WORKER, W1, "{}", 2000).code,
                            "conflict");
        memory_each(w->store, REGISTRATIONS_PREFIX, fail_at, NULL);
        hand_delete(w, KEY);
        world_run(w, 1000);
    }
}

/* --- leaving in order ---------------------------------------------------- */

static struct gate gate_of(struct world *w, const char *address)
{
    char key[REGISTRY_KEY_MAX + 1];
    const struct registry_entry *e =
        memory_find(w->store, gate_key(NODE_WORKER, address, key, sizeof(key)));
    struct gate gate = {.state = GATE_ABSENT};

    if (e != NULL)
        assert_int_equal(gate_read(&gate, e->value, e->value_len, NULL), 0);
    return gate;
}

static void count_line(void *arg, enum log_level level, const char *line,
                       size_t n)
{
    (void)level;
    (void)n;
    *(size_t *)arg += strstr(line, W1) != NULL;
}

/* Renewals in groups rest on who was named (docs/design/renewals.md). */
static void
who_leaves_is_named_as_one_from_whom_something_is_taken(void **state)
{
    struct world *w = *state;
    const struct registry_entry *e;
    struct taken t;

    put(w, NODE_WORKER, W1, LIVE, 60000);
    put(w, NODE_WORKER, W2, LIVE, 60000);
    assert_null(memory_find(w->store, TAKEN_KEY));
    assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "");
    e = memory_find(w->store, TAKEN_KEY);
    assert_non_null(e);
    assert_int_equal(taken_read(&t, e->value, e->value_len, NULL), 0);
    assert_int_equal(t.named, 1);
    assert_true(taken_names(&t, 0, NODE_WORKER, W1));
    assert_false(taken_names(&t, 0, NODE_WORKER, W2));
    assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "not_found");
    assert_int_equal(memory_find(w->store, TAKEN_KEY)->version, e->version);
}

static void who_leaves_is_not_missed_and_costs_one_line(void **state)
{
    struct world *w = *state;
    const char *body = "{\"startupTime\":5,\"processId\":6}";
    size_t lines = 0;

    put(w, NODE_WORKER, W1, body, 5000);
    world_run(w, 500);
    log_set_sink(count_line, &lines);
    assert_string_equal(node_delete(w, NODE_WORKER, W1).code, "");
    world_run(w, 30000);
    log_set_sink(no_log, NULL);
    assert_int_equal(lines, 1);
    assert_null(memory_find(w->store, KEY));
    assert_true(gate_of(w, W1).left);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_LEFT);
    world_run(w, 11 * 60 * 1000);
    assert_null(membership_find(w->c[0]->membership, NODE_WORKER, W1));
    /* it is let in again, and its gate opens for it */
    assert_string_equal(put(w, NODE_WORKER, W1, body, 5000).code, "");
    world_run(w, 2000);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
    assert_false(gate_of(w, W1).left);
}

struct said {
    size_t suspect, lines;
};

static void note_suspect(void *arg, enum log_level level, const char *line,
                         size_t n)
{
    struct said *said = arg;

    (void)level;
    (void)n;
    if (strstr(line, W1) != NULL) {
        said->lines++;
        said->suspect += strstr(line, "node-suspect") != NULL;
    }
}

/* Its gate may be heard of before its key: at a start, and where another
 * coordinator let it in. One that is really gone is told, once. */
static void a_node_that_is_there_is_not_called_suspect(void **state)
{
    struct world *w = *state;
    struct said said = {0};

    log_set_sink(note_suspect, &said);
    write_gate(w, GATE_OPEN, true);
    hand_put(w, "/nodes/worker/" W1, "{\"startupTime\":5,\"processId\":6}",
             true);
    world_run(w, 2000);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
    assert_int_equal(said.suspect, 0);
    assert_int_equal(said.lines, 1); /* +node-up */
    world_end(w, 0);
    world_start(w, 0);
    world_run(w, 10000);
    assert_int_equal(look(w, NODE_WORKER, W1).state, NODE_UP);
    assert_int_equal(said.suspect, 0);
    hand_delete(w, "/nodes/worker/" W1);
    world_run(w, 5000);
    log_set_sink(no_log, NULL);
    assert_int_equal(said.suspect, 1);
}

#define MANY 5000

static void on_granted(void *arg, enum err_code code)
{
    *(bool *)arg = code == ERR_OK;
}

static void on_lost(void *arg)
{
    (void)arg;
}

/* Taken by hand and let go: one more than the last one's. */
static uint64_t lock_fence(struct world *w)
{
    bool granted = false;
    struct registry_lock *lock =
        registry_lock(w->hand, "/lock/worker-failover", "hand", -1, on_granted,
                      on_lost, &granted);
    uint64_t fence;

    world_run(w, 200);
    assert_true(granted);
    fence = registry_lock_fence(lock);
    registry_unlock(&lock);
    world_run(w, 200);
    return fence;
}

static void at_all(struct world *w, struct got *g, bool leave)
{
    char address[NODE_ADDRESS_MAX + 1];

    memset(g, 0, MANY * sizeof(*g));
    for (size_t i = 0; i < MANY; i++) {
        snprintf(address, sizeof(address), "10.1.%zu.%zu:1", i / 250, i % 250);
        if (leave && i % 2 == 0)
            coordinator_node_delete(
                w->c[0],
                &(struct node_leave){.kind = NODE_WORKER, .address = address},
                got, &g[i]);
        else if (!leave)
            coordinator_node_put(w->c[0],
                                 &(struct node_put){.kind = NODE_WORKER,
                                                    .address = address,
                                                    .ttl_ms = 5000},
                                 got, &g[i]);
    }
    world_run(w, 2000);
    for (size_t i = 0; i < MANY; i += leave ? 2 : 1)
        assert_string_equal(g[i].times == 1 ? g[i].code : "unanswered", "");
}

/* One half in order, the other by its ttl. */
static void five_thousand_leave_and_nothing_stays(void **state)
{
    struct got *g = mem_zalloc(MANY * sizeof(*g));
    struct world *w = *state;
    uint64_t fence = lock_fence(w);

    at_all(w, g, false);
    at_all(w, g, true);
    world_run(w, 20000);
    assert_int_equal(lock_fence(w), fence + 1);
    memory_each(w->store, OWN_NODES_PREFIX, fail_at, NULL);
    memory_each(w->store, REGISTRATIONS_PREFIX, fail_at, NULL);
    mem_free(g);
}

struct submitted {
    unsigned times;
    char code[32];
};

static void on_submitted(void *arg, const struct work_reply *reply)
{
    struct submitted *s = arg;

    s->times++;
    snprintf(s->code, sizeof(s->code), "%s", problem_code(reply->code));
}

/* Work is given to a node as it leaves: whichever write comes first, nothing
 * stays with who is gone. */
static void work_given_to_a_leaver_is_not_lost(void **state)
{
    struct world *w = *state;
    struct memory_faults slow = {.delay_max_ms = 40, .resync_ms = 500};
    unsigned both = 0, refused = 0;

    memory_set_faults(w->store, &slow);
    for (int i = 0; i < 60; i++) {
        struct submitted s = {0};
        struct got g = {0};
        struct work_submit what = {.kind = NODE_WORKER};
        char id[16], address[32], key[REGISTRY_KEY_MAX + 1];
        const struct registry_entry *e;
        struct work_item item;

        snprintf(id, sizeof(id), "w-%d", i);
        snprintf(address, sizeof(address), "10.0.2.%d:1", i);
        put(w, NODE_WORKER, address, "{}", 3600000);
        world_run(w, 300);
        what.id = id;
        if (i % 2 == 0) { /* its gate stands already */
            struct submitted first = {0};
            struct work_submit other = {.id = "first", .kind = NODE_WORKER};
            char first_id[24];

            snprintf(first_id, sizeof(first_id), "first-%d", i);
            other.id = first_id;
            work_submit(coordinator_work(w->c[0]), &other, on_submitted,
                        &first);
            world_run(w, 500);
            assert_string_equal(first.code, "");
            work_done(coordinator_work(w->c[0]), first_id, 1, on_submitted,
                      &first);
            world_run(w, 500);
        }
        if (i % 4 < 2) {
            work_submit(coordinator_work(w->c[0]), &what, on_submitted, &s);
            world_run(w, i % 20 + 1);
        }
        coordinator_node_delete(
            w->c[0],
            &(struct node_leave){.kind = NODE_WORKER, .address = address}, got,
            &g);
        if (i % 4 >= 2) {
            world_run(w, i % 20 + 1);
            work_submit(coordinator_work(w->c[0]), &what, on_submitted, &s);
        }
        answered(w, &g);
        assert_string_equal(g.code, "");
        for (int k = 0; k < 400 && s.times == 0; k++)
            world_run(w, TICK_MS);
        world_run(w, 4000);
        e = memory_find(w->store, work_key(id, key));
        if (e == NULL) {
            assert_string_not_equal(s.code, "");
            refused++;
            continue;
        }
        both++;
        assert_int_equal(work_item_read(&item, e->value, e->value_len, NULL),
                         0);
        assert_int_equal(item.state, WORK_WAITING); /* nobody else is there */
        assert_int_equal(item.n_history, 1);
        assert_string_equal(item.history[0].address, address);
        work_done(coordinator_work(w->c[0]), id, item.epoch, on_submitted, &s);
        work_item_close(&item);
        world_run(w, 500);
    }
    assert_true(both > 5 && refused > 5); /* both orders were tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_first_put_registers_and_the_next_renews),
        WORLD_TEST(without_startup_time_the_registration_is_the_identity),
        WORLD_TEST(another_process_takes_the_address),
        WORLD_TEST(a_key_unchanged_for_its_ttl_is_removed),
        WORLD_TEST(a_late_removal_spares_who_registered_anew),
        WORLD_TEST(a_fenced_process_is_refused_and_the_next_one_is_not),
        WORLD_TEST(a_late_put_looks_at_the_gate_that_came_since),
        WORLD_TEST(an_agents_own_registration_is_left_alone),
        WORLD_TEST(an_earlier_process_never_replaces_a_later_one),
        WORLD_TEST(who_lives_below_nodes_keeps_the_address),
        WORLD_TEST(a_takeover_makes_it_the_later_process),
        WORLD_TEST(an_instance_tells_two_lives_apart),
        WORLD_TEST(a_request_that_waited_for_its_ttl_is_not_carried_out),
        WORLD_TEST(a_late_leave_takes_nobody_elses_registration),
        WORLD_TEST(what_a_node_says_is_stored_as_it_says_it),
        WORLD_TEST(a_long_ttl_is_picked_until_it_is_over),
        WORLD_TEST(a_report_that_is_late_or_stale_is_seen_in_its_node),
        WORLD_TEST(a_lease_is_never_given_to_a_process_that_is_fenced),
        WORLD_TEST(waiting_is_said_and_is_not_fenced),
        WORLD_TEST(what_is_no_heartbeat_is_refused_at_once),
        WORLD_TEST(lost_answers_are_read_back),
        WORLD_TEST(out_of_reach_is_said_and_not_guessed),
        WORLD_TEST(what_is_under_way_is_cancelled_at_the_end),
        WORLD_TEST(a_silent_registry_takes_nobodys_lease),
        WORLD_TEST(no_lease_is_given_that_the_registry_did_not_take),
        WORLD_TEST(a_late_put_meets_no_later_process),
        WORLD_TEST(a_late_leave_meets_no_later_process),
        WORLD_TEST(a_late_removal_meets_no_later_process),
        WORLD_TEST(a_missing_second_key_stops_nobody),
        WORLD_TEST(a_registration_without_one_is_given_a_second_key),
        WORLD_TEST(http_and_agents_take_turns_at_one_address),
        WORLD_TEST(five_thousand_leave_and_nothing_stays),
        WORLD_TEST(a_node_that_is_there_is_not_called_suspect),
        WORLD_TEST(who_leaves_is_named_as_one_from_whom_something_is_taken),
        WORLD_TEST(who_leaves_is_not_missed_and_costs_one_line),
        WORLD_TEST(work_given_to_a_leaver_is_not_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
