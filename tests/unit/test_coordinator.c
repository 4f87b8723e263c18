/*
 * test_coordinator.c - what one coordinator knows and tells: snapshots,
 * groups, waits, its own entry, and how it leaves.
 * (Longer than 500 lines: one coordinator, and each thing that it tells.)
 */
#include "coordinator/coordinator_priv.h"
#include "tests/unit/coordinator_world.h"

#define W1   "10.0.1.1:1234"
#define W3   "10.0.1.3:1234"
#define W2   "10.0.1.2:1234"
#define BEAT "{\"startupTime\":5,\"processId\":6}"

/* --- small helpers ------------------------------------------------------- */

static enum balancer_code pick(struct world *w, const char *group,
                               const char *exclude,
                               char address[BALANCER_ADDRESS_MAX + 1])
{
    struct balancer_pick one;
    struct balancer_request ask = {
        .group = group, .count = 1, .now = w->clock.mono};
    struct balancer_answer got_one = {.picks = &one};

    if (exclude != NULL)
        ask.exclude[ask.n_exclude++] = exclude;
    balancer_pick(coordinator_balancer(w->c[0]), &ask, &got_one);
    if (got_one.code == BALANCER_OK && address != NULL)
        memcpy(address, one.address, sizeof(one.address));
    return got_one.code;
}

static uint64_t index_now(struct world *w)
{
    return coordinator_index(w->c[0], COORDINATOR_NODES, NODE_KINDS, NULL);
}

static bool ready(struct world *w, int i)
{
    struct snapshot *s = coordinator_snapshot(w->c[i]);
    bool is = s->ready;

    assert_true(!is || !s->stale);
    coordinator_snapshot_release(&s);
    return is;
}

static size_t peers(struct world *w, int i)
{
    struct snapshot *s = coordinator_snapshot(w->c[i]);
    size_t n = s->n_coordinators;

    coordinator_snapshot_release(&s);
    return n;
}

/* --- snapshots ----------------------------------------------------------- */

static void a_snapshot_shows_what_is_there_sorted(void **state)
{
    struct world *w = *state;
    const struct coordinator_snapshot_node *nodes[3];
    struct snapshot_alive alive[2];
    struct snapshot_walk walk;
    struct snapshot *s;

    put(w, NODE_WORKER, W2, "{\"slots\":4,\"groups\":[\"zoo\",\"gpu\"]}",
        60000);
    put(w, NODE_WORKER, W1, BEAT, 60000);
    put(w, NODE_MASTER, W2, BEAT, 60000);
    world_run(w, 300);
    s = coordinator_snapshot(w->c[0]);
    assert_int_equal(s->n_nodes, 3);
    coordinator_snapshot_walk(&walk, s, NODE_MASTER, "");
    for (size_t i = 0; i < 3; i++)
        assert_non_null(nodes[i] = coordinator_snapshot_next(&walk));
    assert_null(coordinator_snapshot_next(&walk));
    assert_int_equal(nodes[0]->kind, NODE_MASTER);
    assert_string_equal(nodes[1]->address, W1);
    assert_string_equal(nodes[2]->address, W2);
    assert_int_equal(nodes[2]->load.slots, 4);
    assert_int_equal(nodes[2]->n_groups, 3);
    assert_string_equal(nodes[2]->groups[1], "gpu");
    assert_int_equal(s->n_groups, 3);
    assert_string_equal(s->groups[0].name, "default");
    assert_string_equal(s->groups[1].name, "gpu");
    coordinator_snapshot_alive(s, 0, 2, alive);
    assert_int_equal(alive[0].n, 2);
    assert_string_equal(alive[1].addresses[0], W2);
    coordinator_snapshot_alive_close(alive, 2);
    assert_true(s->ready);
    assert_string_equal(s->registry_backend, "memory");
    assert_true(s->as_of > 0 && s->as_of_text[0] != '\0');
    assert_null(coordinator_snapshot_node(s, NODE_MASTER, W1));
    coordinator_snapshot_release(&s);
    assert_null(s);
}

/* Look at every node, whether it changed or not: nothing may be new. */
static void all_is_shown(struct world *w)
{
    struct coordinator *c = w->c[0];
    struct snapshot *s;
    uint64_t before;

    coordinator_publish_now(c);
    before = c->index;
    coordinator_nodes_changed(c);
    coordinator_publish_now(c);
    assert_int_equal(c->index, before);
    s = coordinator_snapshot(c);
    for (struct node *n = membership_next(c->membership, NULL); n != NULL;
         n = membership_next(c->membership, n)) {
        const struct coordinator_snapshot_node *is =
            coordinator_snapshot_node(s, n->kind, n->address);

        assert_non_null(is);
        assert_int_equal(is->state, n->state);
        assert_int_equal(is->degraded, n->degraded);
        assert_int_equal(is->gate, n->gate->state);
        assert_int_equal(is->odd->n_problems, n->n_problems);
    }
    coordinator_snapshot_release(&s);
}

/* Whatever happens to a node, a snapshot finds it without looking at all. */
static void nothing_that_changes_is_missed(void **state)
{
    struct world *w = *state;
    struct rand rand;

    rand_seed(&rand, 5);
    for (int round = 0; round < 400; round++) {
        char key[64], body[128];
        uint64_t node = rand_below(&rand, 6);

        snprintf(key, sizeof(key), "%s/10.0.9.%d:1",
                 node < 4 ? "/nodes/worker" : "/nodes/worker/gpu",
                 (int)node % 4);
        snprintf(body, sizeof(body),
                 "{\"startupTime\":%d,\"processId\":%d,\"cpuUsage\":%s}",
                 5 + round / 50, 1 + (int)rand_below(&rand, 2),
                 rand_below(&rand, 4) == 0 ? "7" : "0.5");
        if (rand_below(&rand, 3) > 0)
            hand_put(w, key, rand_below(&rand, 9) == 0 ? "?" : body, true);
        else if (memory_find(w->store, key) != NULL)
            hand_delete(w, key);
        if (rand_below(&rand, 8) == 0) {
            snprintf(key, sizeof(key), GATE_PREFIX "/worker/10.0.9.%d:1",
                     (int)rand_below(&rand, 4));
            snprintf(body, sizeof(body),
                     "{\"state\":\"%s\",\"process\":{\"created\":1,"
                     "\"startupTime\":%d,\"processId\":1}}",
                     rand_below(&rand, 2) == 0 ? "fenced" : "open",
                     5 + round / 50);
            hand_put(w, key, body, false);
        }
        world_run(w, (int64_t)rand_below(&rand, 3) * 700);
        all_is_shown(w);
    }
}

/* Without an event: it is only time that passes. */
static void a_report_that_grows_old_is_shown(void **state)
{
    static const char *const words[] = {"fresh", "late", "stale"};
    struct world *w = *state;
    int64_t interval = w->conf.balancer.heartbeat_interval_ms;

    hand_put(w, "/nodes/worker/" W1, BEAT, true);
    hand_put(w, "/nodes/worker/" W2, BEAT, true);
    for (size_t i = 0; i < 3; i++) {
        struct snapshot *s;
        uint64_t index = index_now(w);

        world_run(w, i == 0 ? 1500 : i == 1 ? 2 * interval : interval);
        if (i == 1) /* this one reports in time */
            hand_put(w, "/nodes/worker/" W2,
                     "{\"startupTime\":5,\"processId\":6,\"reportTime\":9}",
                     true);
        world_run(w, 1500);
        s = coordinator_snapshot(w->c[0]);
        assert_string_equal(
            coordinator_report_name(
                coordinator_snapshot_node(s, NODE_WORKER, W1)->report),
            words[i]);
        assert_int_equal(coordinator_snapshot_node(s, NODE_WORKER, W2)->report,
                         REPORT_FRESH);
        assert_true(i == 0 || s->seen[NODE_WORKER].all > index);
        coordinator_snapshot_release(&s);
        all_is_shown(w);
    }
}

static void a_snapshot_outlives_the_coordinator(void **state)
{
    struct world *w = *state;
    struct snapshot *s;

    put(w, NODE_WORKER, W1, BEAT, 60000);
    world_run(w, 300);
    s = coordinator_snapshot(w->c[0]);
    world_end(w, 0);
    assert_string_equal(coordinator_snapshot_node(s, NODE_WORKER, W1)->address,
                        W1);
    coordinator_snapshot_release(&s);
}

static void a_change_is_published_soon_and_quiet_keeps_the_index(void **state)
{
    struct world *w = *state;
    uint64_t before = index_now(w);

    world_run(w, 5000);
    assert_int_equal(index_now(w), before);
    hand_put(w, "/nodes/worker/" W1, BEAT, true);
    world_run(w, 100);
    assert_true(index_now(w) > before);
}

static void out_of_reach_is_stale_and_not_ready_until_synced(void **state)
{
    struct world *w = *state;
    struct snapshot *s;
    wall_ms as_of;

    hand_put(w, "/nodes/worker/" W1, BEAT, true);
    memory_cut(w->registry[0]);
    world_run(w, SESSION_MS);
    s = coordinator_snapshot(w->c[0]);
    assert_true(s->stale && !s->ready);
    as_of = s->as_of;
    coordinator_snapshot_release(&s);
    assert_int_equal(pick(w, NULL, NULL, NULL), BALANCER_OK);
    world_run(w, 3000);
    s = coordinator_snapshot(w->c[0]);
    assert_int_equal(s->as_of, as_of);
    coordinator_snapshot_release(&s);
    memory_heal(w->registry[0]);
    for (int i = 0; i < 200 && !ready(w, 0); i++)
        world_run(w, TICK_MS);
    assert_true(ready(w, 0));
}

static bool stale(struct world *w)
{
    struct snapshot *s = coordinator_snapshot(w->c[0]);
    bool is = s->stale;

    coordinator_snapshot_release(&s);
    return is;
}

/* Long before it is SUSPENDED: reports that cannot come do not grow old. */
static void a_missed_round_trip_is_stale_and_picks_go_on(void **state)
{
    struct world *w = *state;
    mono_ms cut;

    world_end(w, 0);
    w->conf.balancer.heartbeat_interval_ms = 600;
    world_start(w, 0);
    world_run(w, 3000);
    for (int i = 0; i < 10; i++) {
        char beat[64];

        snprintf(beat, sizeof(beat), "{\"startupTime\":5,\"cpuUsage\":0.%d}",
                 i);
        hand_put(w, "/nodes/worker/" W1, beat, true);
        world_run(w, 500);
        assert_false(stale(w));
        assert_int_equal(pick(w, NULL, NULL, NULL), BALANCER_OK);
    }
    memory_cut(w->registry[0]);
    for (cut = w->clock.mono; w->clock.mono - cut < SESSION_MS / 2;) {
        world_run(w, TICK_MS);
        assert_int_equal(pick(w, NULL, NULL, NULL), BALANCER_OK);
        if (w->clock.mono - cut > 1500)
            assert_true(stale(w));
    }
    assert_int_equal(registry_state(w->registry[0]), REGISTRY_CONNECTED);
    memory_heal(w->registry[0]);
    world_run(w, 500);
    assert_false(stale(w));
    assert_int_equal(pick(w, NULL, NULL, NULL), BALANCER_OK);
    world_run(w, 3000); /* now it is the worker that is silent */
    assert_int_equal(pick(w, NULL, NULL, NULL), BALANCER_REPORTS_OLD);
}

/* Somebody else has the lock, and something has to be moved. */
static void lock_granted(void *arg, enum err_code code)
{
    assert_int_equal(code, ERR_OK);
    ++*(int *)arg;
}

static void count_waits(void *arg, enum log_level level, const char *line,
                        size_t n)
{
    (void)level;
    (void)n;
    *(int *)arg += strstr(line, "=lock-wait") != NULL;
}

static void a_wait_for_the_lock_says_for_whom_and_since_when(void **state)
{
    struct world *w = *state;
    struct registry_lock *theirs;
    struct snapshot *s;
    wall_ms since;
    int granted = 0, said = 0;
    struct process gone = {.startup_time = 5, .process_id = 6, .known = true};
    struct gate gate = {.state = GATE_OPEN, .process = gone};
    struct marker marker = {.kind = NODE_WORKER, .epoch = 1, .process = gone};
    struct buf gate_text, marker_text;

    buf_init(&gate_text, 4096);
    buf_init(&marker_text, 4096);
    log_set_sink(count_waits, &said);
    theirs = registry_lock(w->hand, w->conf.failover.worker_lock, "other", -1,
                           lock_granted, NULL, &granted);
    world_run(w, 200);
    assert_int_equal(granted, 1);
    gate_write(&gate_text, &gate);
    work_marker_write(&marker_text, &marker);
    hand_put(w, "/pelorus/owners/worker/" W1, buf_text(&gate_text), false);
    hand_put(w, "/pelorus/owned/worker/" W1 "/w-1", buf_text(&marker_text),
             false);
    buf_close(&gate_text);
    buf_close(&marker_text);
    world_run(w, 20000);
    s = coordinator_snapshot(w->c[0]);
    assert_non_null(s->lock_holder[NODE_WORKER]);
    assert_true(strncmp(s->lock_holder[NODE_WORKER], "session ", 8) == 0);
    since = s->lock_since[NODE_WORKER];
    assert_true(w->clock.wall - since > 10000);
    assert_null(s->lock_holder[NODE_MASTER]);
    coordinator_snapshot_release(&s);
    assert_int_equal(said, 1);
    world_run(w, 60000); /* its tries give up and begin again */
    for (int i = 0; i < 100; i++) {
        world_run(w, TICK_MS);
        s = coordinator_snapshot(w->c[0]);
        if (s->lock_holder[NODE_WORKER] != NULL)
            assert_true(s->lock_since[NODE_WORKER] == since);
        coordinator_snapshot_release(&s);
    }
    assert_int_equal(said, 1);
    registry_unlock(&theirs);
    world_run(w, 5000);
    s = coordinator_snapshot(w->c[0]);
    assert_null(s->lock_holder[NODE_WORKER]);
    coordinator_snapshot_release(&s);
    log_set_sink(no_log, NULL);
}

/* --- orders reach the balancer ------------------------------------------- */

static void ordered(void *arg, enum problem code, const struct err *err,
                    const struct gate *gate)
{
    (void)err;
    assert_null(code);
    *(enum gate_state *)arg = gate->state;
}

static void give(struct world *w, enum gate_order_what what, bool undo)
{
    struct gate_order order = {.what = what,
                               .undo = undo,
                               .kind = NODE_WORKER,
                               .address = W1,
                               .who = "ann",
                               .reason = "disks"};
    enum gate_state now = GATE_ABSENT;

    work_gate_order(coordinator_work(w->c[0]), &order, ordered, &now);
    world_run(w, 300);
    assert_true(now != GATE_ABSENT);
}

static void a_cordoned_worker_is_not_picked_until_it_is_open_again(void **state)
{
    struct world *w = *state;

    put(w, NODE_WORKER, W1, BEAT, 60000);
    world_run(w, 300);
    assert_int_equal(pick(w, NULL, NULL, NULL), BALANCER_OK);
    give(w, GATE_ORDER_CORDON, false);
    assert_int_equal(pick(w, NULL, NULL, NULL), BALANCER_ALL_BUSY);
    give(w, GATE_ORDER_CORDON, true);
    assert_int_equal(pick(w, NULL, NULL, NULL), BALANCER_OK);
    give(w, GATE_ORDER_DRAIN, false);
    assert_int_equal(pick(w, NULL, NULL, NULL), BALANCER_ALL_BUSY);
}

/* --- groups -------------------------------------------------------------- */

static struct got group_put(struct world *w, const char *name,
                            const char *const *addresses, size_t n)
{
    struct got g = {0};

    coordinator_group_put(w->c[0], name,
                          &(struct group_put){.addresses = addresses, .n = n},
                          got, &g);
    return answered(w, &g);
}

static void a_worker_joins_a_group_defined_before_or_after_it_came(void **state)
{
    struct world *w = *state;
    const char *const one[] = {W1}, *const two[] = {W2};
    char address[BALANCER_ADDRESS_MAX + 1];
    struct got g = {0};

    assert_int_equal(pick(w, "gpu", NULL, NULL), BALANCER_GROUP_NOT_FOUND);
    assert_true(group_put(w, " GPU ", one, 1).created);
    world_run(w, 200);
    assert_int_equal(pick(w, "gpu", NULL, NULL), BALANCER_GROUP_EMPTY);
    put(w, NODE_WORKER, W1, BEAT, 60000);
    put(w, NODE_WORKER, W2, BEAT, 60000);
    world_run(w, 200);
    assert_int_equal(pick(w, "gpu", NULL, address), BALANCER_OK);
    assert_string_equal(address, W1);
    assert_false(group_put(w, "gpu", two, 1).created);
    world_run(w, 200);
    assert_int_equal(pick(w, "gpu", NULL, address), BALANCER_OK);
    assert_string_equal(address, W2);
    coordinator_group_delete(w->c[0], "gpu", got, &g);
    assert_string_equal(answered(w, &g).code, "");
    world_run(w, 200);
    assert_int_equal(pick(w, "gpu", NULL, NULL), BALANCER_GROUP_NOT_FOUND);
}

static void a_group_that_is_none_is_refused(void **state)
{
    struct world *w = *state;
    const char *const bad[] = {"10.0.0.1"}, *const good[] = {W1};
    struct got g = {0};

    assert_string_equal(group_put(w, "default", good, 1).code, "invalid");
    assert_string_equal(group_put(w, "a/b", good, 1).code, "invalid");
    assert_string_equal(group_put(w, "x", bad, 1).code, "invalid");
    coordinator_group_delete(w->c[0], "x", got, &g);
    assert_string_equal(answered(w, &g).code, "not_found");
}

static void a_definition_by_hand_that_is_broken_harms_nobody(void **state)
{
    struct world *w = *state;

    hand_put(w, "/pelorus/groups/x", "{\"addresses\":[\"" W1 "\",7,\"bad\"]}",
             false);
    hand_put(w, "/pelorus/groups/y", "nothing", false);
    put(w, NODE_WORKER, W1, BEAT, 60000);
    world_run(w, 300);
    assert_int_equal(pick(w, "x", NULL, NULL), BALANCER_OK);
    assert_int_equal(pick(w, "y", NULL, NULL), BALANCER_GROUP_NOT_FOUND);
}

/* --- waits --------------------------------------------------------------- */

struct woken {
    unsigned times;
    uint64_t index;
    mono_ms at;
    struct world *w;
};

static void woken(void *arg, uint64_t index)
{
    struct woken *x = arg;

    x->times++;
    x->index = index;
    x->at = x->w->clock.mono;
}

static struct coordinator_wait *wait_nodes(struct world *w, struct woken *x,
                                           uint64_t seen, int64_t ms)
{
    struct coordinator_wait *wait = NULL;

    x->w = w;
    assert_int_equal(coordinator_wait(w->c[0], COORDINATOR_NODES, NODE_KINDS,
                                      NULL, seen, ms, woken, x, &wait),
                     0);
    assert_int_equal(x->times, 0);
    return wait;
}

static void a_wait_ends_with_a_change_or_with_its_time(void **state)
{
    struct world *w = *state;
    struct woken change = {0}, time_over = {0}, at_once = {0}, gone = {0};
    mono_ms began = w->clock.mono;
    struct coordinator_wait *left;

    wait_nodes(w, &at_once, index_now(w) - 1, 60000);
    wait_nodes(w, &time_over, index_now(w), 1000);
    left = wait_nodes(w, &gone, index_now(w), 60000);
    coordinator_unwait(w->c[0], &left);
    assert_null(left);
    world_run(w, 1200);
    assert_int_equal(at_once.times, 1);
    assert_int_equal(time_over.times, 1);
    assert_in_range(time_over.at - began, 1000, 1100);
    wait_nodes(w, &change, index_now(w), 60000);
    began = w->clock.mono;
    hand_put(w, "/nodes/worker/" W1, BEAT, true);
    world_run(w, 200);
    assert_int_equal(change.times, 1);
    assert_true(change.at - began <= 200);
    assert_int_equal(gone.times, 0);
}

/* From now on. */
static void wait_for(struct world *w, struct woken *x,
                     enum coordinator_topic topic, enum node_kind kind,
                     const char *address)
{
    struct coordinator_wait *wait = NULL;

    *x = (struct woken){.w = w};
    assert_int_equal(
        coordinator_wait(w->c[0], topic, kind, address,
                         coordinator_index(w->c[0], topic, kind, address),
                         60000, woken, x, &wait),
        0);
}

static void a_wait_on_one_node_ends_with_that_node_only(void **state)
{
    static const char *const busy = "{\"startupTime\":5,\"processId\":1,"
                                    "\"cpuUsage\":0.9}";
    static const char *const idle = "{\"startupTime\":5,\"processId\":1,"
                                    "\"cpuUsage\":0.1}";
    static struct woken one, other, members, masters, absent, gone;
    struct world *w = *state;

    hand_put(w, "/nodes/worker/" W1, idle, true);
    hand_put(w, "/nodes/worker/" W2, idle, true);
    world_run(w, 1500);
    wait_for(w, &one, COORDINATOR_NODES, NODE_WORKER, W1);
    wait_for(w, &other, COORDINATOR_NODES, NODE_WORKER, W2);
    wait_for(w, &members, COORDINATOR_MEMBERSHIP, NODE_KINDS, NULL);
    wait_for(w, &masters, COORDINATOR_NODES, NODE_MASTER, NULL);
    wait_for(w, &absent, COORDINATOR_NODES, NODE_WORKER, W3);
    hand_put(w, "/nodes/worker/" W1, busy, true);
    world_run(w, 1500); /* a load */
    assert_int_equal(one.times, 1);
    assert_int_equal(other.times + members.times + masters.times, 0);
    hand_put(w, "/nodes/worker/" W3, idle, true);
    world_run(w, 1500); /* one more */
    assert_int_equal(other.times + masters.times, 0);
    assert_int_equal(members.times, 1);
    assert_int_equal(absent.times, 1);
    wait_for(w, &gone, COORDINATOR_NODES, NODE_WORKER, W3);
    wait_for(w, &members, COORDINATOR_MEMBERSHIP, NODE_WORKER, NULL);
    hand_delete(w, "/nodes/worker/" W3);
    world_run(w, 1500); /* a state */
    assert_int_equal(gone.times, 1);
    assert_int_equal(members.times, 1);
    assert_int_equal(other.times + masters.times, 0);
}

static void there_are_at_most_so_many_waits_and_leaving_ends_all(void **state)
{
    static struct woken each[10000];
    struct world *w = *state;
    struct coordinator_wait *one = NULL;
    struct woken more = {.w = w};
    unsigned ended = 0;

    memset(each, 0, sizeof(each));
    for (size_t i = 0; i < ARRAY_LEN(each); i++)
        wait_nodes(w, &each[i], index_now(w), 60000);
    assert_int_equal(coordinator_wait(w->c[0], COORDINATOR_WORK, NODE_MASTER,
                                      NULL, 0, 1000, woken, &more, &one),
                     ERR_FULL);
    world_end(w, 0);
    for (size_t i = 0; i < ARRAY_LEN(each); i++)
        ended += each[i].times;
    assert_int_equal(ended, 10000);
    assert_int_equal(more.times, 0);
}

/* --- its own entry, and leaving ------------------------------------------ */

static void left(void *arg)
{
    ++*(unsigned *)arg;
}

/* Its gate may not be known yet when the worker is. */
static void nobody_is_picked_before_all_is_known(void **state)
{
    struct world *w = *state;
    struct balancer_pick one;
    struct balancer_answer answer = {.picks = &one};
    struct balancer_request ask = {.count = 1};
    struct work_target target;

    hand_put(w, "/nodes/worker/" W1, BEAT, true);
    world_run(w, 500);
    world_start(w, 1);
    ask.now = w->clock.mono;
    balancer_pick(coordinator_balancer(w->c[1]), &ask, &answer);
    assert_int_equal(answer.code, BALANCER_NOT_SYNCED);
    assert_true(answer.retry_after_ms > 0);
    coordinator_targets_choose(w->c[1], NODE_MASTER, NULL, NULL, 0, &target);
    assert_int_equal(target.code, PROBLEM_NOT_SYNCED);
    ask.stale = true; /* nothing is known, and that is said */
    balancer_pick(coordinator_balancer(w->c[1]), &ask, &answer);
    assert_int_equal(answer.code, BALANCER_GROUP_EMPTY);
    ask.stale = false;
    world_run(w, 500);
    ask.now = w->clock.mono;
    balancer_pick(coordinator_balancer(w->c[1]), &ask, &answer);
    assert_int_equal(answer.code, BALANCER_OK);
}

static void coordinators_see_each_other_come_and_leave(void **state)
{
    struct world *w = *state;
    unsigned gone = 0;

    world_start(w, 1);
    world_run(w, 2000);
    assert_int_equal(peers(w, 0), 2);
    assert_int_equal(peers(w, 1), 2);
    coordinator_leave(w->c[1], left, &gone);
    world_run(w, 200);
    assert_int_equal(gone, 1);
    assert_null(memory_find(w->store, "/pelorus/coordinators/127.0.0.1:7078"));
    world_run(w, 200);
    assert_int_equal(peers(w, 0), 1);
    assert_false(ready(w, 1));
}

static void its_entry_stands_again_when_somebody_took_it_away(void **state)
{
    struct world *w = *state;
    const char *key = "/pelorus/coordinators/127.0.0.1:7077";
    uint64_t session = registry_session(w->registry[0]);

    assert_true(ready(w, 0));
    hand_delete(w, key);
    world_run(w, 2000); /* it stands again */
    assert_non_null(memory_find(w->store, key));
    assert_true(ready(w, 0));
    memory_expire(w->registry[0]);
    world_run(w, SESSION_MS);
    assert_true(registry_session(w->registry[0]) != session);
    assert_int_equal(memory_find(w->store, key)->owner,
                     registry_session(w->registry[0]));
    assert_true(ready(w, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_snapshot_shows_what_is_there_sorted),
        WORLD_TEST(nothing_that_changes_is_missed),
        WORLD_TEST(a_report_that_grows_old_is_shown),
        WORLD_TEST(a_snapshot_outlives_the_coordinator),
        WORLD_TEST(a_change_is_published_soon_and_quiet_keeps_the_index),
        WORLD_TEST(out_of_reach_is_stale_and_not_ready_until_synced),
        WORLD_TEST(a_wait_for_the_lock_says_for_whom_and_since_when),
        WORLD_TEST(a_missed_round_trip_is_stale_and_picks_go_on),
        WORLD_TEST(a_cordoned_worker_is_not_picked_until_it_is_open_again),
        WORLD_TEST(a_worker_joins_a_group_defined_before_or_after_it_came),
        WORLD_TEST(a_group_that_is_none_is_refused),
        WORLD_TEST(a_definition_by_hand_that_is_broken_harms_nobody),
        WORLD_TEST(a_wait_ends_with_a_change_or_with_its_time),
        WORLD_TEST(a_wait_on_one_node_ends_with_that_node_only),
        WORLD_TEST(there_are_at_most_so_many_waits_and_leaving_ends_all),
        WORLD_TEST(nobody_is_picked_before_all_is_known),
        WORLD_TEST(coordinators_see_each_other_come_and_leave),
        WORLD_TEST(its_entry_stands_again_when_somebody_took_it_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
