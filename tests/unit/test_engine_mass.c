/*
 * test_engine_mass.c - losses that come one by one, and kinds that are
 * replaced: what the brake must see although no two are missed at once. Longer
 * than 500 lines: each way to be missed is one transcript, all in one place.
 */
#include "tests/unit/engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

#define N       10
#define TTL_MS  6000
#define BEAT_MS 2000

static struct world w;
static int64_t later[N]; /* that process started so much later than the first */

static int open_world(void **state)
{
    (void)state;
    world_open(&w, 1);
    memset(later, 0, sizeof(later));
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    check_agreement(&w);
    world_close(&w);
    return 0;
}

static const char *name(size_t i)
{
    static char names[N][16];
    (void)snprintf(names[i], sizeof(names[i]), "m%zu:1", i);
    return names[i];
}

static int64_t startup_of(size_t i)
{
    return (int64_t)(1000 + i);
}

static void ten_with_work(void)
{
    char prefix[16];
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(prefix, sizeof(prefix), "w%zu", i);
        give(&w, name(i), startup_of(i), prefix, 2);
    }
}

/* How many of the first eight have lost their work. */
static size_t moved(void)
{
    size_t n = 0;
    for (size_t i = 0; i < 8; i++)
        n += owned_by(&w, name(i)) == 0;
    return n;
}

static bool one_done(struct world *world)
{
    return records(world, FAILOVER_DONE) == 1;
}

/* --- sessions that end one by one ---------------------------------------- */

static void ten_sessions(void)
{
    for (size_t i = 0; i < N; i++)
        node_start(&w, name(i), startup_of(i));
    ten_with_work();
    world_run(&w, 3000); /* nobody reports; the sessions say that they live */
}

static void kill_eight_one_by_one(size_t restart_after)
{
    for (size_t i = 0; i < 8; i++) {
        node_kill(&w, name(i));
        world_run(&w, 900);
        if (i + 1 == restart_after) {
            world_kill(&w, 0);
            world_start(&w, 1);
        }
    }
    world_run(&w, 20000);
}

static void sessions_lost_one_by_one_stop_at_the_share(void **state)
{
    struct failover_record r;
    (void)state;
    ten_sessions();
    kill_eight_one_by_one(0);
    assert_int_equal(moved(), 3);
    assert_int_equal(records(&w, FAILOVER_HELD), 5);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_MASS);
    assert_true(find_record(&w, name(7), FAILOVER_HELD, &r));
    assert_int_equal(r.missing, 8);
    assert_int_equal(r.known, 10);
    world_run(&w, 100000); /* of the three no more is said then */
    assert_int_equal(moved(), 3);
}

static void whoever_starts_in_the_middle_counts_the_fenced(void **state)
{
    (void)state;
    for (size_t after = 4; after <= 6; after++) {
        if (after > 4) {
            world_close(&w);
            world_open(&w, 1);
        }
        ten_sessions();
        kill_eight_one_by_one(after);
        assert_in_range(moved(), 1, 3);
        assert_int_equal(records(&w, FAILOVER_HELD), 8 - moved());
    }
}

/* Gates of those that had work once, and none now. */
static void ten_idle_sessions(void)
{
    struct gate gate = {.state = GATE_OPEN};
    for (size_t i = 0; i < N; i++) {
        node_start(&w, name(i), startup_of(i));
        gate.process = process_of(startup_of(i));
        put_gate(&w, name(i), &gate);
    }
    world_run(&w, 3000);
}

/* Who saw them go and who knows it by the records alone count the same. */
static void idle_ones_count_the_same_for_whoever_starts(void **state)
{
    (void)state;
    for (size_t after = 0; after <= 5; after += 5) {
        if (after > 0) {
            world_close(&w);
            world_open(&w, 1);
        }
        ten_idle_sessions();
        kill_eight_one_by_one(after);
        size_t done = records(&w, FAILOVER_DONE);
        assert_in_range(done, 1, 3);
        assert_int_equal(records(&w, FAILOVER_HELD), 8 - done);
    }
}

static void several_coordinators_agree(void **state)
{
    (void)state;
    world_start(&w, 1);
    world_start(&w, 2);
    ten_sessions();
    kill_eight_one_by_one(0);
    assert_int_equal(moved(), 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(engine_brake(w.c[i].engine), CAUSE_MASS);
}

static void one_after_the_other_over_time_are_no_mass(void **state)
{
    (void)state;
    w.conf.brake_window_ms = 3000;
    world_kill(&w, 0);
    world_start(&w, 0);
    ten_sessions();
    for (size_t i = 0; i < 6; i++) {
        node_kill(&w, name(i));
        world_run(&w, 5000);
    }
    assert_int_equal(moved(), 6);
}

/* --- leases that end one by one ------------------------------------------ */

static size_t cut; /* so many of them renew no more */
static mono_ms next_beat[N];

static void renew(size_t i)
{
    char key[64], value[160];
    int64_t startup = startup_of(i) + later[i];
    struct buf b;
    (void)snprintf(key, sizeof(key), "/pelorus/nodes/master/%s", name(i));
    (void)snprintf(value, sizeof(value),
                   "{\"startupTime\":%lld,\"processId\":%lld,\"ttl\":%d,"
                   "\"reportTime\":%lld}",
                   (long long)startup, (long long)(startup % 1000), TTL_MS,
                   (long long)w.clock.wall);
    buf_init(&b, 256);
    buf_str(&b, value);
    put_key(&w, key, &b);
    buf_close(&b);
}

static void beat(struct world *world)
{
    for (size_t i = cut; i < N; i++) {
        if (world->clock.mono < next_beat[i])
            continue;
        next_beat[i] = world->clock.mono + BEAT_MS;
        renew(i);
    }
}

static void ten_leases(void)
{
    cut = 0;
    for (size_t i = 0; i < N; i++)
        next_beat[i] = w.clock.mono + (mono_ms)i * BEAT_MS / N;
    w.between = beat;
    world_run(&w, 3 * BEAT_MS);
    ten_with_work();
    world_run(&w, 3 * BEAT_MS);
}

static void leases_that_end_together_move_nothing(void **state)
{
    (void)state;
    ten_leases();
    cut = 8;
    world_run(&w, 3 * TTL_MS);
    assert_int_equal(moved(), 0);
    assert_int_equal(records(&w, FAILOVER_HELD), 8);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_MASS);
    cut = 0; /* they are back */
    world_run(&w, TTL_MS);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE);
    assert_int_equal(records(&w, FAILOVER_HELD), 0);
    assert_int_equal(moved(), 0);
}

static void one_lease_among_many_ends_and_is_acted_on_in_time(void **state)
{
    (void)state;
    ten_leases();
    cut = 2; /* two do not outnumber ten */
    world_run(&w, TTL_MS + 1500);
    assert_int_equal(owned_by(&w, name(0)), 0);
    assert_int_equal(owned_by(&w, name(1)), 0);
    assert_int_equal(records(&w, FAILOVER_HELD), 0);
}

/* Four renew late once, as one dies: it waits for them, and no longer. */
static void a_doubt_that_passes_writes_nothing(void **state)
{
    (void)state;
    ten_leases();
    renew(0);
    next_beat[0] = INT64_MAX;
    world_run(&w, 1000);
    for (size_t i = 1; i < 5; i++) {
        renew(i);
        next_beat[i] = w.clock.mono + 5800;
    }
    world_run(&w, 5500); /* m0 is DOWN */
    assert_int_equal(
        membership_find(w.c[0].membership, NODE_MASTER, name(0))->state,
        NODE_DOWN);
    assert_int_equal(owned_by(&w, name(0)), 2);
    assert_int_equal(records(&w, FAILOVER_HELD), 0);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE);
    assert_true(world_until(&w, 2000, one_done));
    assert_int_equal(owned_by(&w, name(0)), 0);
    assert_false(logged(&w.c[0], "held:m0:1:mass"));
}

/* --- leaving in order ---------------------------------------------------- */

static void on_left(void *arg, const struct registry_reply *reply)
{
    *(enum err_code *)arg = reply->err.code;
}

/* As a DELETE does it. */
static void leave(size_t i)
{
    enum err_code code = ERR_CANCELLED;
    char key[64], gate_at[REGISTRY_KEY_MAX + 1];
    const struct registry_entry *e;
    struct process p = process_of(startup_of(i));
    struct gate gate = {.state = GATE_ABSENT};
    struct registry_op ops[2] = {{.type = REGISTRY_PUT},
                                 {.type = REGISTRY_DELETE}};
    struct buf text;
    next_beat[i] = INT64_MAX;
    (void)snprintf(key, sizeof(key), "/pelorus/nodes/master/%s", name(i));
    e = memory_find(w.store, key);
    assert_non_null(e);
    p.created = e->created;
    ops[1].key = key;
    ops[1].expect = REGISTRY_VERSION;
    ops[1].version = e->version;
    (void)find_gate(&w, name(i), &gate);
    ops[0].expect = gate.version == 0 ? REGISTRY_ABSENT : REGISTRY_VERSION;
    ops[0].version = gate.version;
    assert_true(gate_leave(&gate, &p));
    buf_init(&text, 4096);
    gate_write(&text, &gate);
    ops[0].key = gate_key(NODE_MASTER, name(i), gate_at, sizeof(gate_at));
    ops[0].value = buf_text(&text);
    ops[0].value_len = text.len;
    registry_txn(w.admin, ops, 2, on_left, &code);
    while (code == ERR_CANCELLED)
        world_run(&w, 20);
    assert_int_equal(code, ERR_OK);
    buf_close(&text);
}

/* The same where its gate is closed: nothing is said there. */
static void go(size_t i)
{
    enum err_code code = ERR_CANCELLED;
    char key[64];
    const struct registry_entry *e;
    struct registry_op op;
    next_beat[i] = INT64_MAX;
    (void)snprintf(key, sizeof(key), "/pelorus/nodes/master/%s", name(i));
    e = memory_find(w.store, key);
    assert_non_null(e);
    op = registry_op_at(REGISTRY_DELETE, key, e->version);
    registry_txn(w.admin, &op, 1, on_left, &code);
    while (code == ERR_CANCELLED)
        world_run(&w, 20);
    assert_int_equal(code, ERR_OK);
}

static size_t all_records(void)
{
    return records(&w, FAILOVER_HELD) + records(&w, FAILOVER_DONE) +
           records(&w, FAILOVER_ABORTED);
}

static void ten_leases_without_work(void)
{
    cut = 0;
    for (size_t i = 0; i < N; i++)
        next_beat[i] = w.clock.mono + (mono_ms)i * BEAT_MS / N;
    w.between = beat;
    world_run(&w, 3 * BEAT_MS);
}

static void who_leaves_costs_nothing_and_is_not_missed(void **state)
{
    (void)state;
    ten_leases_without_work();
    give(&w, name(9), startup_of(9), "x", 4);
    for (size_t i = 0; i < 6; i++)
        leave(i);
    world_run(&w, 20000);
    assert_false(logged(&w.c[0], "locked::"));
    assert_int_equal(all_records(), 0);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE);
    cut = N; /* and now one dies */
    next_beat[6] = next_beat[7] = next_beat[8] = INT64_MAX;
    for (size_t i = 6; i < 9; i++)
        renew(i);
    world_run(&w, TTL_MS / 3);
    for (size_t i = 6; i < 9; i++)
        renew(i);
    world_run(&w, TTL_MS / 2);
    for (size_t i = 6; i < 9; i++)
        renew(i);
    world_run(&w, TTL_MS / 2);
    assert_int_equal(owned_by(&w, name(9)), 0);
    assert_int_equal(records(&w, FAILOVER_HELD), 0);
}

static void what_somebody_leaves_behind_moves_at_once(void **state)
{
    struct failover_record r;
    struct gate gate;
    (void)state;
    w.conf.grace_ms = 5000; /* which is not for them */
    world_kill(&w, 0);
    world_start(&w, 0);
    ten_leases();
    for (size_t i = 0; i < 6; i++)
        leave(i);
    world_run(&w, 2000);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(owned_by(&w, name(i)), 0);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE);
    assert_int_equal(records(&w, FAILOVER_DONE), 6);
    assert_true(find_record(&w, name(0), FAILOVER_DONE, &r));
    assert_string_equal(r.cause, "left");
    assert_int_equal(r.moved, 2);
    assert_true(find_gate(&w, name(0), &gate));
    assert_int_equal(gate.state, GATE_FENCED);
    assert_false(gate.left);
}

/* Its work counts as taken from it: only another process may come then. */
static void who_comes_back_is_let_in_and_keeps_nothing(void **state)
{
    struct process same = process_of(startup_of(0));
    struct gate gate;
    (void)state;
    ten_leases_without_work();
    give(&w, name(0), startup_of(0), "a", 1);
    w.between = NULL;
    assert_true(find_gate(&w, name(0), &gate));
    w.between = beat;
    leave(1);
    world_run(&w, 2000);
    assert_true(find_gate(&w, name(1), &gate));
    assert_true(gate.left);
    next_beat[1] = 0; /* the same process registers again */
    world_run(&w, 2000);
    same = process_of(startup_of(1));
    assert_true(find_gate(&w, name(1), &gate));
    assert_true(gate_takes(&gate, &same));
    assert_int_equal(all_records(), 0);
}

static void on_lock(void *arg, enum err_code code)
{
    (void)arg;
    assert_int_equal(code, ERR_OK);
}

static void on_lock_lost(void *arg)
{
    (void)arg;
    fail();
}

/* Their gates are closed still, which they cannot say that they leave at: the
 * lock is another's. */
static void who_goes_before_he_was_let_in_is_not_missed(void **state)
{
    struct registry_lock *theirs;
    struct gate gate;
    (void)state;
    ten_leases();
    for (size_t i = 0; i < 6; i++)
        leave(i);
    world_run(&w, 2000);
    theirs = registry_lock(w.admin, w.conf.master_lock, "other", -1, on_lock,
                           on_lock_lost, NULL);
    for (size_t i = 0; i < 6; i++) {
        later[i] = 100; /* another process */
        next_beat[i] = 0;
    }
    world_run(&w, BEAT_MS);
    for (size_t i = 0; i < 6; i++) {
        assert_true(find_gate(&w, name(i), &gate));
        assert_int_equal(gate.state, GATE_FENCED);
        go(i);
    }
    for (int i = 0; i < 100; i++) {
        world_run(&w, 200);
        assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE);
    }
    registry_unlock(&theirs);
    world_run(&w, 20000);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE);
    assert_int_equal(records(&w, FAILOVER_HELD), 0);
}

/* A coordinator that starts later sees old gates of who left, and of who was
 * held for ever although it had nothing. */
static void old_gates_are_nobody_and_needless_records_end(void **state)
{
    struct failover_record r = {.kind = NODE_MASTER, .hook_exit = -1};
    struct gate gate = {.state = GATE_OPEN};
    struct buf text;
    char key[REGISTRY_KEY_MAX + 1], address[32];
    (void)state;
    world_kill(&w, 0);
    ten_leases_without_work();
    buf_init(&text, 16384);
    for (int i = 0; i < 40; i++) {
        gate.process = process_of(3000 + i);
        gate.left = i % 2 == 0;
        (void)snprintf(address, sizeof(address), "old%d:1", i);
        put_gate(&w, address, &gate);
        (void)snprintf(r.id, sizeof(r.id), "f-%03d", i);
        (void)snprintf(r.address, sizeof(r.address), "%s", address);
        (void)snprintf(r.cause, sizeof(r.cause), "mass");
        r.phase = FAILOVER_HELD;
        r.process = gate.process;
        r.began = w.clock.wall;
        buf_reset(&text);
        work_failover_write(&text, &r);
        put_key(&w, work_failover_key(r.id, key), &text);
    }
    buf_close(&text);
    world_start(&w, 1);
    world_run(&w, 30000);
    assert_int_equal(records(&w, FAILOVER_HELD), 0);
    assert_int_equal(records(&w, FAILOVER_ABORTED), 20); /* who left */
    assert_int_equal(records(&w, FAILOVER_DONE), 20);
    assert_int_equal(engine_brake(w.c[1].engine), CAUSE_NONE);
}

/* --- a kind that is replaced --------------------------------------------- */

static void two_of_two_are_replaced(bool restart)
{
    w.conf.settle_ms = 3000;
    world_kill(&w, 0);
    world_start(&w, 0);
    node_start(&w, name(0), startup_of(0));
    node_start(&w, name(1), startup_of(1));
    give(&w, name(0), startup_of(0), "a", 3);
    give(&w, name(1), startup_of(1), "b", 3);
    world_run(&w, 4000);
    node_kill(&w, name(0));
    node_kill(&w, name(1));
    world_run(&w, 6000);
    assert_int_equal(records(&w, FAILOVER_HELD), 2);
    node_start(&w, "m8:1", 2008);
    node_start(&w, "m9:1", 2009);
    if (restart) {
        world_kill(&w, 0);
        world_start(&w, 1);
    }
    world_run(&w, 2000);
    assert_int_equal(owned_by(&w, "m8:1") + owned_by(&w, "m9:1"), 0);
    world_run(&w, 8000);
    assert_int_equal(owned_by(&w, "m8:1") + owned_by(&w, "m9:1"), 6);
    assert_int_equal(records(&w, FAILOVER_HELD), 0);
}

static void a_pair_that_was_replaced_goes_on_after_settle(void **state)
{
    (void)state;
    two_of_two_are_replaced(false);
}

static void whoever_starts_later_lets_the_pair_go_on_too(void **state)
{
    (void)state;
    two_of_two_are_replaced(true);
}

/* --- owners of whom no node is known ------------------------------------- */

/* Work without a gate: membership never hears of its owner. */
static void item_of_nobody_known(size_t i)
{
    struct work_item item = {.kind = NODE_MASTER,
                             .state = WORK_ASSIGNED,
                             .process = process_of(startup_of(i)),
                             .epoch = 1,
                             .attempts = 1,
                             .assigned_at = w.clock.wall};
    (void)snprintf(item.id, sizeof(item.id), "lost-%zu", i);
    (void)snprintf(item.group, sizeof(item.group), "default");
    (void)snprintf(item.owner, sizeof(item.owner), "%s", name(i));
    put_item(&w, &item);
}

static void owners_without_a_node_are_missing(void **state)
{
    (void)state;
    node_start(&w, name(0), startup_of(0));
    world_run(&w, 3000);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE);
    for (size_t i = 1; i <= 3; i++)
        item_of_nobody_known(i);
    world_run(&w, 400); /* by what it is told, before the next reconcile */
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_MASS);
    world_run(&w, 2000);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_MASS);
    for (size_t i = 1; i <= 3; i++)
        node_start(&w, name(i), startup_of(i));
    world_run(&w, 1000);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE);
}

/* Whoever starts later, too, and one whose node was forgotten meanwhile. */
static void owners_are_missing_also_for_whoever_starts(void **state)
{
    (void)state;
    node_start(&w, name(0), startup_of(0));
    for (size_t i = 1; i <= 3; i++)
        item_of_nobody_known(i);
    node_start(&w, name(3), startup_of(3));
    world_run(&w, 3000);
    assert_int_equal(engine_brake(w.c[0].engine), CAUSE_NONE); /* two of four */
    world_start(&w, 1);
    world_run(&w, 3000);
    assert_int_equal(engine_brake(w.c[1].engine), CAUSE_NONE);
    node_kill(&w, name(3));
    world_run(&w, 11 * 60 * 1000);
    for (size_t i = 0; i < 2; i++) {
        assert_null(membership_find(w.c[i].membership, NODE_MASTER, name(3)));
        assert_int_equal(engine_brake(w.c[i].engine), CAUSE_MASS);
    }
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(sessions_lost_one_by_one_stop_at_the_share),
        TEST(whoever_starts_in_the_middle_counts_the_fenced),
        TEST(idle_ones_count_the_same_for_whoever_starts),
        TEST(several_coordinators_agree),
        TEST(one_after_the_other_over_time_are_no_mass),
        TEST(leases_that_end_together_move_nothing),
        TEST(one_lease_among_many_ends_and_is_acted_on_in_time),
        TEST(a_doubt_that_passes_writes_nothing),
        TEST(who_leaves_costs_nothing_and_is_not_missed),
        TEST(what_somebody_leaves_behind_moves_at_once),
        TEST(who_goes_before_he_was_let_in_is_not_missed),
        TEST(who_comes_back_is_let_in_and_keeps_nothing),
        TEST(old_gates_are_nobody_and_needless_records_end),
        TEST(a_pair_that_was_replaced_goes_on_after_settle),
        TEST(whoever_starts_later_lets_the_pair_go_on_too),
        TEST(owners_without_a_node_are_missing),
        TEST(owners_are_missing_also_for_whoever_starts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
