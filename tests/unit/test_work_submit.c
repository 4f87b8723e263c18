/* test_work_submit.c - new work: by the balancer and by claim, and that it
 * never doubles, whatever the registry does. Long: each way to fail is a
 * case. */
#include "tests/unit/work_ask.h"

static void submit_creates_once_and_answers_the_same_again(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(submit(s, e, "a", " { \"x\" : 1, \"y\": [ 1 ] } "), "");
    assert_true(e->created);
    assert_true(e->item.epoch == 1);
    assert_int_equal(e->item.state, WORK_ASSIGNED);
    assert_string_equal(e->item.owner, "m:1");
    assert_true(e->item.process.process_id == 1);
    /* byte for byte, and the same value again whatever its blanks */
    assert_string_equal(e->item.payload, "{ \"x\" : 1, \"y\": [ 1 ] }");
    assert_string_equal(submit(s, e, "a", "{\"y\":[1],\"x\":1}"), "");
    assert_false(e->created);
    assert_string_equal(submit(s, e, "a", "{\"y\":[1],\"x\":2}"),
                        "id_conflict");
    assert_true(e->has_item);
    assert_int_equal(audit(w).live, 1);
    /* a finished one answers too, while it stands */
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
    assert_string_equal(submit(s, e, "a", "{\"x\":1,\"y\":[1]}"), "");
    assert_false(e->created);
    assert_int_equal(e->item.state, WORK_DONE);
    assert_string_equal(submit(s, e, "a", NULL), "id_conflict");
    ended_free(e);
    world_free(w);
}

static void submit_makes_up_ids_that_differ(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    char first[WORK_ID_MAX + 1];

    (void)state;
    assert_string_equal(submit(s, e, NULL, NULL), "");
    memcpy(first, e->item.id, sizeof(first));
    assert_int_equal(strlen(first), 26);
    assert_string_equal(submit(s, e, NULL, NULL), "");
    assert_string_not_equal(first, e->item.id);
    assert_string_equal(e->item.owner, "m:2"); /* the one with fewer */
    /* later ones stand behind earlier ones */
    for (int i = 0; i < 50; i++) {
        memcpy(first, e->item.id, sizeof(first));
        w->clock.wall += 1 + 37 * i;
        assert_string_equal(submit(s, e, NULL, NULL), "");
        assert_true(strcmp(first, e->item.id) < 0);
    }
    ended_free(e);
    world_free(w);
}

static void submit_writes_the_first_gate_and_the_floor(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct gate gate;

    (void)state;
    assert_int_equal(gate_at(w, NODE_MASTER, "m:1").state, GATE_ABSENT);
    assert_string_equal(submit(s, e, "a", NULL), "");
    gate = gate_at(w, NODE_MASTER, "m:1");
    assert_int_equal(gate.state, GATE_OPEN);
    assert_true(process_same(&gate.process, &e->item.process));
    assert_string_equal(memory_find(w->store, EPOCH_FLOOR_KEY)->value, "0");
    assert_int_equal(gate_at(w, NODE_MASTER, "m:2").state, GATE_ABSENT);
    ended_free(e);
    world_free(w);
}

static void submit_begins_above_the_floor(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "41"), ERR_OK);
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_true(e->item.epoch == 42);
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "9007199254740993"), ERR_OK);
    assert_string_equal(submit(s, e, "b", NULL), "");
    assert_true(e->item.epoch == UINT64_C(9007199254740994));
    RESET(e);
    work_get(s->work, "b", on_reply, e);
    await(w, e);
    assert_true(e->item.epoch == UINT64_C(9007199254740994));
    ended_free(e);
    world_free(w);
}

static void submit_leaves_out_nodes_whose_gate_is_not_theirs(void **state)
{
    static const enum gate_state closed[] = {GATE_CORDONED, GATE_DRAINING,
                                             GATE_RESTARTING, GATE_FENCED};
    struct ended *e = ended_new();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(closed); i++) {
        struct world *w = world_new(1, i);
        struct side *s = &w->sides[0];

        put_gate(w, NODE_MASTER, "m:1", closed[i], 1);
        assert_string_equal(submit(s, e, "a", NULL), "");
        assert_string_equal(e->item.owner, "m:2");
        /* a fenced one is not even UP; the others are found out by reading */
        assert_int_equal(s->unused, closed[i] == GATE_FENCED ? 0 : 1);
        /* open, but for the process before: it is not ours to change */
        put_gate(w, NODE_MASTER, "m:2", GATE_OPEN, 7);
        assert_string_equal(submit(s, e, "b", NULL), "group_empty");
        assert_int_equal(gate_at(w, NODE_MASTER, "m:2").process.process_id, 7);
        assert_int_equal(audit(w).records, 1);
        world_free(w);
    }
    ended_free(e);
}

static void submit_without_a_candidate_stores_nothing(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct work_submit what = {
        .id = "a", .kind = NODE_WORKER, .group = "nowhere"};

    (void)state;
    work_submit(s->work, &what, on_reply, e);
    await(w, e);
    assert_string_equal(e->code, "group_not_found");
    node_remove(w, "master", "m:1");
    node_remove(w, "master", "m:2");
    pass(w, 3000);
    assert_string_equal(submit(s, e, "a", NULL), "group_empty");
    assert_int_equal(audit(w).records, 0);
    assert_null(memory_find(w->store, EPOCH_FLOOR_KEY));
    ended_free(e);
    world_free(w);
}

static void submit_refuses_what_cannot_be_stored(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    struct work_submit what = {.id = "a", .kind = NODE_ALERT_SERVER};
    char *big = mem_alloc(WORK_PAYLOAD_MAX + 8);
    char deep[2 * JSON_DEPTH_MAX + 1];

    (void)state;
    work_submit(s->work, &what, on_reply, e);
    await(w, e);
    assert_string_equal(e->code, "invalid");
    assert_string_equal(submit(s, e, "..", NULL), "invalid");
    assert_string_equal(submit(s, e, "a", "{"), "invalid");
    memset(big, 'x', WORK_PAYLOAD_MAX + 7);
    big[0] = big[WORK_PAYLOAD_MAX + 6] = '"';
    big[WORK_PAYLOAD_MAX + 7] = '\0';
    assert_string_equal(submit(s, e, "a", big), "too_large");
    big[WORK_PAYLOAD_MAX - 1] = '"';
    big[WORK_PAYLOAD_MAX] = '\0';
    assert_string_equal(submit(s, e, "a", big), "");
    assert_string_equal(at_epoch(s, e, work_done, "a", 1), "");
    assert_string_equal(e->item.payload, big);
    memset(deep, '[', JSON_DEPTH_MAX);
    memset(deep + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    deep[2 * JSON_DEPTH_MAX] = '\0';
    assert_string_equal(submit(s, e, "b", deep), "invalid");
    mem_free(big);
    ended_free(e);
    world_free(w);
}

static void count_cancelled(void *arg, const struct work_reply *reply)
{
    assert_int_equal(reply->code, PROBLEM_CANCELLED);
    (*(size_t *)arg)++;
}

static void too_many_at_a_time_are_busy(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    size_t cancelled = 0;

    (void)state;
    memory_cut(s->registry);
    for (size_t i = 0; i < WORK_OPS_MAX; i++)
        work_get(s->work, "a", count_cancelled, &cancelled);
    work_get(s->work, "a", on_reply, e);
    work_tick(s->work);
    assert_true(e->done);
    assert_string_equal(e->code, "busy");
    work_free(&s->work);
    assert_int_equal(cancelled, WORK_OPS_MAX);
    memory_heal(s->registry);
    side_close(s);
    w->n_sides = 0;
    ended_free(e);
    world_free(w);
}

/* --- claims -------------------------------------------------------------- */

static void claim_belongs_to_the_process_that_made_it(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(claim(s, e, "a", "m:2"), "");
    assert_true(e->created);
    assert_string_equal(e->item.owner, "m:2");
    assert_string_equal(claim(s, e, "a", "m:2"), "");
    assert_false(e->created);
    assert_string_equal(claim(s, e, "a", "m:1"), "owned_elsewhere");
    assert_string_equal(e->item.owner, "m:2");
    /* another process at the same address is another owner, and its gate is
     * still the old one's */
    node_up(w, "master", "m:2", 2);
    pass(w, 500);
    assert_string_equal(claim(s, e, "a", "m:2"), "owned_elsewhere");
    assert_string_equal(claim(s, e, "b", "m:2"), "owner_not_up");
    assert_int_equal(audit(w).live, 1);
    ended_free(e);
    world_free(w);
}

/* What is known of the gate and of the floor need not be read again. */
static void claim_of_a_new_id_takes_one_journey(void **state)
{
    struct memory_faults slow = {.delay_max_ms = 20};
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    char id[8];

    (void)state;
    assert_string_equal(claim(s, e, "a", "m:2"), "");  /* makes the gate */
    assert_string_equal(claim(s, e, "aa", "m:2"), ""); /* has read it */
    memory_set_faults(w->store, &slow);
    for (int i = 0; i < 12; i++) {
        mono_ms before = w->clock.mono;

        (void)snprintf(id, sizeof(id), "b%d", i);
        assert_string_equal(claim(s, e, id, "m:2"), "");
        assert_true(e->created);
        assert_true(w->clock.mono - before <= 2 * slow.delay_max_ms + STEP_MS);
    }
    /* nor is anything believed that is over */
    put_gate(w, NODE_MASTER, "m:2", GATE_DRAINING, 1);
    assert_string_equal(claim(s, e, "c", "m:2"), "owner_not_up");
    assert_int_equal(audit(w).live, 14);
    ended_free(e);
    world_free(w);
}

static const char *claim_as(struct side *s, struct ended *e, const char *id,
                            int64_t startup_time, int64_t age_ms)
{
    struct work_submit what = {.id = id,
                               .kind = NODE_MASTER,
                               .owner = "m:2",
                               .startup_time = startup_time,
                               .age_ms = age_ms};

    RESET(e);
    work_claim(s->work, &what, on_reply, e);
    await(s->world, e);
    return e->code;
}

/* A dead process's claim, late, gives the living one no work. */
static void claim_is_of_the_process_that_it_names(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();
    int64_t startup;

    (void)state;
    assert_string_equal(claim_as(s, e, "a", 0, 100), "");
    startup = e->item.process.startup_time;
    assert_string_equal(claim_as(s, e, "b", startup - 1, 0), "owner_not_up");
    assert_string_equal(claim_as(s, e, "b", 0, 3600000), "too_late");
    assert_int_equal(audit(w).records, 1);
    assert_string_equal(claim_as(s, e, "b", startup, 3600000), "");
    assert_int_equal(audit(w).live, 2);
    ended_free(e);
    world_free(w);
}

static void claim_needs_an_owner_that_is_up_and_open(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    assert_string_equal(claim(s, e, "a", "m:9"), "owner_not_up");
    put_gate(w, NODE_MASTER, "m:1", GATE_DRAINING, 1);
    assert_string_equal(claim(s, e, "a", "m:1"), "owner_not_up");
    assert_string_equal(claim(s, e, "a", "not an address"), "invalid");
    node_remove(w, "master", "m:2");
    pass(w, 3000);
    assert_string_equal(claim(s, e, "a", "m:2"), "owner_not_up");
    assert_int_equal(audit(w).records, 0);
    ended_free(e);
    world_free(w);
}

/* --- races --------------------------------------------------------------- */

static void two_coordinators_give_one_id_to_one_owner(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct world *w = world_new(2, seed);
        struct ended *a = ended_new(), *b = ended_new();
        struct memory_faults slow = {.delay_max_ms = 15};
        struct work_submit what = {.id = "a", .kind = NODE_MASTER};

        memory_set_faults(w->store, &slow);
        w->sides[0].only = "m:1";
        w->sides[1].only = "m:2";
        work_submit(w->sides[0].work, &what, on_reply, a);
        what.payload = seed % 2 == 0 ? "1" : NULL;
        work_submit(w->sides[1].work, &what, on_reply, b);
        await(w, a);
        await(w, b);
        if (seed % 2 == 0) { /* another body: one of them lost */
            assert_true((a->code[0] == '\0') != (b->code[0] == '\0'));
        } else {
            assert_string_equal(a->code, "");
            assert_string_equal(b->code, "");
            assert_true(a->created != b->created);
            assert_string_equal(a->item.owner, b->item.owner);
        }
        assert_int_equal(audit(w).live, 1);
        ended_free(a);
        ended_free(b);
        world_free(w);
    }
}

static void a_gate_that_closes_meanwhile_sends_the_work_elsewhere(void **state)
{
    size_t moved = 0;

    (void)state;
    for (int at = 0; at < 100; at += 2) {
        struct world *w = world_new(1, (uint64_t)at);
        struct side *s = &w->sides[0];
        struct ended *e = ended_new();
        struct memory_faults slow = {.delay_max_ms = 10};
        struct work_submit what = {.id = "a", .kind = NODE_MASTER};

        put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
        memory_set_faults(w->store, &slow);
        work_submit(s->work, &what, on_reply, e);
        memory_run(w->store, w->clock.mono + at);
        if (!e->done) {
            put_gate(w, NODE_MASTER, "m:1", GATE_FENCED, 1);
            await(w, e);
            assert_string_equal(e->code, "");
            moved += strcmp(e->item.owner, "m:2") == 0;
        }
        (void)audit(w);
        ended_free(e);
        world_free(w);
    }
    assert_true(moved > 0);
}

/* The second submission reads nothing first; what it believes is found out by
 * its txn, and read then. */
static void what_is_known_is_never_trusted(void **state)
{
    struct world *w = world_new(1, 1);
    struct side *s = &w->sides[0];
    struct ended *e = ended_new();

    (void)state;
    s->only = "m:1";
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
    assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "3"), ERR_OK);
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_string_equal(submit(s, e, "b", NULL), "");
    assert_true(e->item.epoch == 4);
    /* an id that stands */
    assert_string_equal(submit(s, e, "a", NULL), "");
    assert_false(e->created);
    /* the floor */
    while (hand_put(w, EPOCH_FLOOR_KEY, "9") != ERR_OK)
        pass(w, STEP_MS);
    assert_string_equal(submit(s, e, "c", NULL), "");
    assert_true(e->item.epoch == 10);
    /* the gate: closed, and nobody else may be chosen */
    put_gate(w, NODE_MASTER, "m:1", GATE_CORDONED, 1);
    assert_string_not_equal(submit(s, e, "d", NULL), "");
    put_gate(w, NODE_MASTER, "m:1", GATE_OPEN, 1);
    assert_string_equal(submit(s, e, "d", NULL), "");
    assert_true(e->created);
    /* of another session nothing is known */
    memory_expire(s->registry);
    pass(w, 3 * SESSION_MS);
    assert_string_equal(submit(s, e, "e", NULL), "");
    assert_int_equal(audit(w).live, 5);
    ended_free(e);
    world_free(w);
}

/* The floor is raised between the read and the write: a new id must not begin
 * at an epoch that a collected namesake had. */
static void a_raised_floor_is_never_missed(void **state)
{
    (void)state;
    for (int at = 0; at < 100; at += 2) {
        struct world *w = world_new(1, (uint64_t)at);
        struct side *s = &w->sides[0];
        struct ended *e = ended_new();
        struct memory_faults slow = {.delay_max_ms = 10};
        struct work_submit what = {.id = "a", .kind = NODE_MASTER};
        bool before;

        assert_int_equal(hand_put(w, EPOCH_FLOOR_KEY, "3"), ERR_OK);
        memory_set_faults(w->store, &slow);
        work_submit(s->work, &what, on_reply, e);
        memory_run(w->store, w->clock.mono + at);
        before = memory_find(w->store, "/pelorus/work/a") != NULL;
        /* not a fault of the clock: the write below takes time as well */
        while (hand_put(w, EPOCH_FLOOR_KEY, "9") != ERR_OK)
            pass(w, STEP_MS);
        await(w, e);
        assert_string_equal(e->code, "");
        assert_true(e->item.epoch == 4 || e->item.epoch == 10);
        assert_true(!before || e->item.epoch == 4);
        ended_free(e);
        world_free(w);
    }
}

/* --- 1,000 submissions under every fault --------------------------------- */

#define CLIENTS 20
#define ITEMS   1000

struct client {
    struct world *w;
    struct ended *e;
    size_t item; /* which one it submits, ITEMS: none */
    size_t side;
};

static void send(struct client *c)
{
    char id[32], payload[48];
    struct work_submit what = {
        .id = id, .kind = NODE_MASTER, .payload = payload};

    (void)snprintf(id, sizeof(id), "i%zu", c->item);
    (void)snprintf(payload, sizeof(payload), "{\"n\":%zu}", c->item);
    RESET(c->e);
    work_submit(c->w->sides[c->side].work, &what, on_reply, c->e);
}

/* What clients do: on any answer but success, ask the other coordinator. */
static bool go_on(struct client *c, size_t *next, size_t *created)
{
    if (c->item == ITEMS)
        return false;
    if (!c->e->done)
        return true;
    if (c->e->code[0] == '\0') {
        char id[32];

        (void)snprintf(id, sizeof(id), "i%zu", c->item);
        assert_string_equal(c->e->item.id, id);
        assert_true(c->e->item.epoch == 1);
        *created += c->e->created;
        c->item = *next < ITEMS ? (*next)++ : ITEMS;
    } else {
        assert_string_not_equal(c->e->code, "id_conflict");
        assert_string_not_equal(c->e->code, "invalid");
        assert_string_not_equal(c->e->code, "damaged");
        c->side = 1 - c->side;
    }
    if (c->item < ITEMS)
        send(c);
    return c->item < ITEMS;
}

static void a_thousand_submissions_under_faults_never_double(void **state)
{
    struct world *w = world_new(2, 77);
    struct memory_faults bad = {.delay_max_ms = 15,
                                .unknown_share = 0.05,
                                .unavailable_share = 0.05,
                                .event_drop_share = 0.1,
                                .event_dup_share = 0.1,
                                .event_late_share = 0.1,
                                .resync_ms = 1000};
    struct memory_faults good = {.resync_ms = 1000};
    struct client clients[CLIENTS];
    size_t next = 0, created = 0;
    bool busy = true;
    struct audit a;

    (void)state;
    memory_set_faults(w->store, &bad);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){
            .w = w, .e = ended_new(), .item = next++, .side = i % 2};
        send(&clients[i]);
    }
    for (int turn = 0; busy; turn++) {
        struct registry *r = w->sides[turn / 500 % 2].registry;

        assert_true(turn < 200000);
        if (turn % 500 == 100)
            memory_cut(r);
        else if (turn % 500 == 200)
            memory_heal(r);
        else if (turn % 500 == 300)
            memory_expire(r);
        pass(w, STEP_MS);
        busy = false;
        for (size_t i = 0; i < CLIENTS; i++)
            busy = go_on(&clients[i], &next, &created) || busy;
    }
    memory_heal(w->sides[0].registry);
    memory_heal(w->sides[1].registry);
    memory_set_faults(w->store, &good);
    pass(w, 3 * SESSION_MS);
    a = audit(w);
    assert_int_equal(a.records, ITEMS);
    assert_int_equal(a.live, ITEMS);
    assert_true(created <= ITEMS);
    assert_int_equal(
        work_view_marker_count(w->sides[0].view, NODE_MASTER, "m:1") +
            work_view_marker_count(w->sides[0].view, NODE_MASTER, "m:2"),
        ITEMS);
    for (size_t i = 0; i < CLIENTS; i++)
        ended_free(clients[i].e);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submit_creates_once_and_answers_the_same_again),
        cmocka_unit_test(submit_makes_up_ids_that_differ),
        cmocka_unit_test(submit_writes_the_first_gate_and_the_floor),
        cmocka_unit_test(submit_begins_above_the_floor),
        cmocka_unit_test(submit_leaves_out_nodes_whose_gate_is_not_theirs),
        cmocka_unit_test(submit_without_a_candidate_stores_nothing),
        cmocka_unit_test(submit_refuses_what_cannot_be_stored),
        cmocka_unit_test(too_many_at_a_time_are_busy),
        cmocka_unit_test(claim_belongs_to_the_process_that_made_it),
        cmocka_unit_test(claim_of_a_new_id_takes_one_journey),
        cmocka_unit_test(claim_is_of_the_process_that_it_names),
        cmocka_unit_test(claim_needs_an_owner_that_is_up_and_open),
        cmocka_unit_test(two_coordinators_give_one_id_to_one_owner),
        cmocka_unit_test(a_gate_that_closes_meanwhile_sends_the_work_elsewhere),
        cmocka_unit_test(what_is_known_is_never_trusted),
        cmocka_unit_test(a_raised_floor_is_never_missed),
        cmocka_unit_test(a_thousand_submissions_under_faults_never_double),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
