/* test_coordinator_renewals.c - heartbeats over HTTP that go into windows: what
 * does and what does not, upon what, and how it is answered when what it rests
 * on moves. (More than 500 lines: one world, looked at from many sides.) */
#include "cluster/heartbeat.h"
#include "cluster/renewals/taken.h"
#include "cluster/renewals/window.h"
#include "tests/unit/coordinator_world.h"

#define W     "w:1"
#define KEY   "/pelorus/nodes/worker/" W
#define ENTRY "/pelorus/coordinators/127.0.0.1:7077"
#define TTL   9000
#define BODY                                                                   \
    "{\"startupTime\":100,\"processId\":1,\"cpuUsage\":%s,\"slots\":%d}"

/* What was written. */
struct writes {
    unsigned nodes, windows, taken;
};
static struct writes writes;

static void on_write(void *arg, uint64_t writer,
                     const struct registry_entry *before,
                     const struct registry_entry *after)
{
    const char *key = after != NULL ? after->key : before->key;

    (void)arg;
    (void)writer;
    writes.nodes += registry_key_below(key, "/pelorus/nodes");
    writes.windows += registry_key_below(key, WINDOW_PREFIX);
    writes.taken += strcmp(key, TAKEN_KEY) == 0;
}

static int set_up(void **state)
{
    struct world *w;
    int rc = world_open(state);

    w = *state;
    w->conf.renewals = CONF_RENEWALS_SINGLE;
    coordinator_reload(w->c[0]);
    world_run(w, 500);
    memory_on_write(w->store, on_write, NULL);
    memset(&writes, 0, sizeof(writes));
    return rc;
}

static int set_up_grouped(void **state)
{
    struct world *w;
    int rc = set_up(state);

    w = *state;
    w->conf.renewals = CONF_RENEWALS_GROUPED;
    coordinator_reload(w->c[0]);
    world_run(w, SESSION_MS + 2000);
    return rc;
}

static struct taken taken(struct world *w)
{
    const struct registry_entry *e = memory_find(w->store, TAKEN_KEY);
    struct taken t;

    taken_init(&t);
    if (e != NULL)
        assert_int_equal(taken_read(&t, e->value, e->value_len, NULL), 0);
    return t;
}

static struct node_claim_text {
    char text[1024];
} registration(struct world *w)
{
    const struct registry_entry *e = memory_find(w->store, KEY);
    struct node_claim_text t = {.text = ""};

    if (e != NULL)
        snprintf(t.text, sizeof(t.text), "%s", e->value);
    return t;
}

static struct heartbeat standing(struct world *w)
{
    struct node_claim_text t = registration(w);
    struct heartbeat hb;

    heartbeat_read(&hb, t.text, strlen(t.text));
    return hb;
}

static bool says(struct world *w, const char *member)
{
    struct node_claim_text t = registration(w);

    return strstr(t.text, member) != NULL;
}

/* Through that coordinator. */
static void send(struct world *w, int i, const char *cpu, int slots,
                 struct got *g)
{
    char body[200];

    snprintf(body, sizeof(body), BODY, cpu, slots);
    memset(g, 0, sizeof(*g));
    coordinator_node_put(w->c[i],
                         &(struct node_put){.kind = NODE_WORKER,
                                            .address = W,
                                            .body = body,
                                            .len = strlen(body),
                                            .ttl_ms = TTL},
                         got, g);
}

static struct got beat(struct world *w, int i, const char *cpu, int slots)
{
    struct got g;

    send(w, i, cpu, slots, &g);
    return answered(w, &g);
}

/* Registered, and verified. */
static void join(struct world *w)
{
    assert_true(beat(w, 0, "0.1", 4).created);
    world_run(w, 1000);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    world_run(w, 1000);
    memset(&writes, 0, sizeof(writes));
}

static const struct coordinator_snapshot_node *shown(struct world *w, int i,
                                                     struct snapshot **s)
{
    *s = coordinator_snapshot(w->c[i]);
    return coordinator_snapshot_node(*s, NODE_WORKER, W);
}

static double cpu_at(struct world *w, int i)
{
    struct snapshot *s;
    const struct coordinator_snapshot_node *n = shown(w, i, &s);
    double cpu = n != NULL ? n->load.cpu : -2;

    coordinator_snapshot_release(&s);
    return cpu;
}

/* --- single -------------------------------------------------------------- */

static void told_single_each_is_a_write_of_its_own(void **state)
{
    struct world *w = *state;

    world_run(w, 2 * SESSION_MS);
    for (int i = 0; i < 5; i++)
        assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    assert_int_equal(writes.nodes, 5);
    assert_int_equal(writes.windows, 0);
    assert_int_equal(writes.taken, 0);
    assert_true(says(w, "\"ttl\":9000"));
    assert_false(says(w, "renewals"));
}

static void they_are_single_until_all_have_agreed_for_a_session(void **state)
{
    struct world *w = *state;

    w->conf.renewals = CONF_RENEWALS_GROUPED;
    coordinator_reload(w->c[0]);
    world_run(w, SESSION_MS - 500);
    assert_false(taken(w).grouped);
    world_run(w, 2500);
    assert_true(taken(w).grouped);
    assert_int_equal(writes.taken, 1);
    assert_non_null(
        strstr(memory_find(w->store, ENTRY)->value, "\"renewals\":1"));
}

/* --- grouped ------------------------------------------------------------- */

static void they_are_grouped_unless_it_is_said_otherwise(void **state)
{
    struct world *w = *state;

    world_run(w, SESSION_MS + 2000);
    assert_true(taken(w).grouped);
}

static void a_renewal_goes_into_a_window(void **state)
{
    struct world *w = *state;

    join(w);
    assert_true(says(w, "\"renewals\":{\"lease\":9000}"));
    assert_false(says(w, "\"ttl\""));
    for (int i = 0; i < 20; i++) {
        struct got g = beat(w, 0, i % 2 ? "0.25" : "0.5", 4);

        assert_string_equal(g.code, "");
        assert_false(g.created);
        assert_int_equal(g.process.startup_time, 100);
        assert_true(g.instance[0] != '\0');
        assert_true(g.renew_after_ms >= 1500 && g.renew_after_ms <= 3000);
        world_run(w, 2000);
        assert_true(cpu_at(w, 0) == (i % 2 ? 0.25 : 0.5));
    }
    assert_int_equal(writes.nodes, 0);
    assert_int_equal(writes.windows, 20);
}

static void who_brings_his_instance_is_known_by_it(void **state)
{
    struct world *w = *state;
    struct node_put put = {.kind = NODE_WORKER,
                           .address = W,
                           .body = "{\"cpuUsage\":0.1}",
                           .len = 16,
                           .ttl_ms = TTL};
    struct got g = node_put(w, &put);
    char instance[65], wrong[] = "another";

    memcpy(instance, g.instance, sizeof(instance));
    put.instance = instance;
    assert_string_equal(node_put(w, &put).code, "");
    memset(&writes, 0, sizeof(writes));
    for (int i = 0; i < 5; i++) {
        g = node_put(w, &put);
        assert_string_equal(g.code, "");
        assert_string_equal(g.instance, instance);
        world_run(w, 2500);
    }
    assert_int_equal(writes.windows, 5);
    put.instance = wrong;
    assert_string_equal(node_put(w, &put).code, "address_taken");
    put.instance = NULL; /* he who brought it once, brings it */
    assert_string_equal(node_put(w, &put).code, "address_taken");
    assert_int_equal(writes.windows, 5);
    assert_int_equal(writes.nodes, 0);
}

static void what_a_window_does_not_tell_is_a_write_of_its_own(void **state)
{
    struct world *w = *state;
    struct got g;

    join(w);
    assert_string_equal(beat(w, 0, "0.1", 8).code, "");
    assert_int_equal(writes.nodes, 1);
    assert_int_equal(writes.windows, 0);
    assert_int_equal(standing(w).load.slots, 8);
    assert_string_equal(beat(w, 0, "0.2", 8).code, "");
    assert_int_equal(writes.nodes, 1);
    assert_int_equal(writes.windows, 1);
    /* another ttl */
    g = put(w, NODE_WORKER, W,
            "{\"startupTime\":100,\"processId\":1,\"slots\":8}", 2 * TTL);
    assert_string_equal(g.code, "");
    assert_int_equal(writes.nodes, 2);
    /* another process; of nobody by name */
    g = put(w, NODE_WORKER, W, "{\"startupTime\":200,\"slots\":8}", TTL);
    assert_int_equal(g.process.startup_time, 200);
    assert_int_equal(standing(w).generation, 2);
    g = put(w, NODE_WORKER, W, "{\"slots\":8}", TTL);
    assert_string_equal(g.code, "");
    assert_int_equal(writes.nodes, 4);
    assert_int_equal(writes.windows, 1);
    assert_string_equal(beat(w, 0, "0.2", 8).code, "address_taken");
}

static void many_go_into_one_window(void **state)
{
    struct world *w = *state;
    struct got g[50];

    for (int round = 0; round < 3; round++) {
        if (round == 2)
            memset(&writes, 0, sizeof(writes));
        for (int i = 0; i < 50; i++) {
            char address[32];

            snprintf(address, sizeof(address), "n:%d", i + 1);
            g[i] = (struct got){0};
            coordinator_node_put(
                w->c[0],
                &(struct node_put){.kind = NODE_WORKER,
                                   .address = address,
                                   .body = "{\"startupTime\":100}",
                                   .len = 19,
                                   .ttl_ms = TTL},
                got, &g[i]);
        }
        world_run(w, 1000);
        for (int i = 0; i < 50; i++) {
            assert_int_equal(g[i].times, 1);
            assert_string_equal(g[i].code, "");
        }
    }
    assert_int_equal(writes.nodes, 0);
    assert_in_range(writes.windows, 1, 2); /* the first goes at once */
}

/* --- from memory --------------------------------------------------------- */

/* It brings its instance along, as a client does that was told it. */
struct eager {
    char instance[65];
    unsigned n;
};

static struct got hurry(struct world *w, int i, struct eager *e,
                        const char *cpu)
{
    struct node_put put = {.kind = NODE_WORKER, .address = W, .ttl_ms = TTL};
    struct got g = {0};
    char body[100];

    snprintf(body, sizeof(body), "{\"startupTime\":100,\"cpuUsage\":%s}", cpu);
    put.body = body;
    put.len = strlen(body);
    put.instance = e->instance[0] != '\0' ? e->instance : NULL;
    coordinator_node_put(w->c[i], &put, got, &g);
    (void)answered(w, &g);
    if (g.code[0] == '\0')
        memcpy(e->instance, g.instance, sizeof(e->instance));
    e->n++;
    return g;
}

/* Five times a second, for so long. */
static void hurry_on(struct world *w, struct eager *e, int64_t ms)
{
    for (mono_ms end = w->clock.mono + ms; w->clock.mono < end;) {
        assert_string_equal(hurry(w, 0, e, "0.1").code, "");
        world_run(w, 200);
    }
}

/* Until others wait for it longer. */
static void hurry_in(struct world *w, struct eager *e)
{
    assert_true(hurry(w, 0, e, "0.1").created);
    world_run(w, 2500);
    hurry_on(w, e, 3000);
    assert_int_equal(standing(w).watched_ms, TTL + TTL / 3);
    memset(&writes, 0, sizeof(writes));
    e->n = 0;
}

static void who_renews_early_is_answered_from_memory(struct world *w)
{
    struct eager e = {.n = 0};

    hurry_in(w, &e);
    hurry_on(w, &e, 20000);
    assert_true(e.n >= 60);
    /* one in 3/4 of a third of its ttl, of 3 s */
    assert_in_range(writes.nodes + writes.windows, 7, 10);
    /* what it says of its load is told at once, if it is another one */
    (void)hurry(w, 0, &e, "0.105");
    memset(&writes, 0, sizeof(writes));
    assert_string_equal(hurry(w, 0, &e, "0.11").code, "");
    assert_int_equal(writes.nodes + writes.windows, 0);
    assert_string_equal(hurry(w, 0, &e, "0.2").code, "");
    assert_int_equal(writes.nodes + writes.windows, 1);
    world_run(w, 1000);
    assert_true(cpu_at(w, 0) == 0.2);
}

static void early_ones_are_answered_from_memory_in_single(void **state)
{
    struct world *w = *state;

    who_renews_early_is_answered_from_memory(w);
    assert_int_equal(writes.windows, 0);
    assert_true(says(w, "\"renewals\":{\"lease\":9000,\"watched\":12000}"));
}

static void early_ones_are_answered_from_memory_in_groups(void **state)
{
    struct world *w = *state;

    who_renews_early_is_answered_from_memory(w);
    assert_int_equal(writes.nodes, 0);
}

/* As often as he was told, and once in a while twice. */
static void who_does_as_he_was_told_is_not_waited_for_longer(void **state)
{
    struct world *w = *state;
    struct eager e = {.n = 0};

    for (int i = 0; i < 20; i++) {
        struct got g = hurry(w, 0, &e, "0.1");

        world_run(w, i % 5 == 4 ? 100 : g.renew_after_ms);
    }
    assert_int_equal(standing(w).watched_ms, TTL);
    assert_int_equal(writes.nodes + writes.windows, 20);
}

/* He counts from when he sent, and comes a little sooner or later. Once he is
 * at his turn he is asked for no more than one renewal in its time. */
static void who_counts_from_when_he_sent_keeps_his_turn(void **state)
{
    static const int64_t late[] = {0, 3, 0, 1, 40, 0, 7, 2, 0, 90};
    struct world *w = *state;
    mono_ms began = 0;

    for (int i = 0; i < 40; i++) {
        mono_ms due = w->clock.mono;
        struct got g;

        if (i == 4)
            began = due;
        world_run(w, late[i % 10]);
        g = beat(w, 0, "0.1", 4);
        due += g.renew_after_ms;
        assert_true(w->clock.mono < due);
        world_run(w, due - w->clock.mono);
    }
    assert_true(w->clock.mono - began >= (int64_t)35 * TTL / 3);
}

/* Of a process, from its last answer: others do not miss it before that lease
 * is over. */
static void nobody_is_missed_who_was_answered_from_memory(void **state)
{
    struct world *w = *state;
    struct eager e = {.n = 0};
    mono_ms last = 0;

    hurry_in(w, &e);
    for (int i = 0; i < 60; i++) {
        memset(&writes, 0, sizeof(writes));
        (void)hurry(w, 0, &e, "0.1");
        if (writes.nodes + writes.windows == 0)
            last = w->clock.mono;
        if (i > 30 && last == w->clock.mono)
            break; /* the last one but some, from memory */
        world_run(w, 200);
    }
    assert_true(last == w->clock.mono);
    world_run(w, TTL - 100);
    assert_non_null(memory_find(w->store, KEY));
    world_run(w, TTL);
    assert_null(memory_find(w->store, KEY));
}

/* No answer from memory: as soon as something else is known, or not known. */
static void what_is_not_his_any_more_is_not_remembered(void **state)
{
    struct world *w = *state;
    struct eager e = {.n = 0};
    struct gate gate = {.state = GATE_FENCED,
                        .process = {.startup_time = 100, .known = true}};
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;
    struct got g;

    hurry_in(w, &e);
    (void)hurry(w, 0, &e, "0.2");
    memset(&writes, 0, sizeof(writes));
    assert_string_equal(hurry(w, 0, &e, "0.2").code, "");
    assert_int_equal(writes.nodes, 0);
    /* without his instance, another ttl, another body */
    g = put(w, NODE_WORKER, W, "{\"startupTime\":100,\"cpuUsage\":0.2}", TTL);
    assert_string_equal(g.code, "address_taken");
    assert_string_equal(node_put(w, &(struct node_put){.kind = NODE_WORKER,
                                                       .address = W,
                                                       .instance = e.instance,
                                                       .body = "{\"slots\":3}",
                                                       .len = 11,
                                                       .ttl_ms = TTL})
                            .code,
                        "");
    assert_int_equal(writes.nodes, 1);
    (void)hurry(w, 0, &e, "0.2");
    memset(&writes, 0, sizeof(writes));
    /* his gate shuts */
    buf_init(&b, 4096);
    gate_write(&b, &gate);
    hand_put(w, gate_key(NODE_WORKER, W, key, sizeof(key)), buf_text(&b),
             false);
    buf_close(&b);
    world_run(w, 200);
    assert_string_equal(hurry(w, 0, &e, "0.2").code, "fenced");
    assert_int_equal(writes.nodes + writes.windows, 0);
}

/* Nor where nobody tells us what happens. */
static void in_silence_nothing_is_answered_from_memory(void **state)
{
    struct world *w = *state;
    struct eager e = {.n = 0};
    struct node_put put = {.kind = NODE_WORKER,
                           .address = W,
                           .body = "{\"startupTime\":100,\"cpuUsage\":0.1}",
                           .len = 34,
                           .ttl_ms = TTL};
    struct got g = {0};

    put.len = strlen(put.body);
    hurry_in(w, &e);
    (void)hurry(w, 0, &e, "0.3");
    (void)hurry(w, 0, &e, "0.1");
    memory_cut(w->registry[0]);
    world_run(w, 1900);
    put.instance = e.instance;
    coordinator_node_put(w->c[0], &put, got, &g);
    assert_int_equal(g.times, 0);
    memory_heal(w->registry[0]);
    (void)answered(w, &g);
}

/* An older coordinator does not wait for longer. */
static void beside_an_older_version_nothing_is_remembered(void **state)
{
    struct world *w = *state;
    struct eager e = {.n = 0};

    hand_put(w, "/pelorus/coordinators/old:1", "{}", true);
    world_run(w, 1000);
    assert_true(hurry(w, 0, &e, "0.1").created);
    world_run(w, 2500);
    hurry_on(w, &e, 3000);
    assert_true(says(w, "\"ttl\":9000"));
    assert_int_equal(standing(w).watched_ms, TTL);
}

/* --- through two in turn ------------------------------------------------- */

static void add_second(struct world *w)
{
    world_start(w, 1);
    world_run(w, 2 * SESSION_MS);
    assert_true(taken(w).grouped);
}

static void it_may_renew_through_any_coordinator_in_turn(void **state)
{
    struct world *w = *state;

    add_second(w);
    join(w);
    for (int i = 0; i < 20; i++) {
        assert_string_equal(beat(w, i % 2, i < 10 ? "0.3" : "0.6", 4).code, "");
        world_run(w, 2500);
        assert_true(cpu_at(w, 0) == (i < 10 ? 0.3 : 0.6));
        assert_true(cpu_at(w, 1) == (i < 10 ? 0.3 : 0.6));
    }
    assert_int_equal(writes.nodes, 0);
    assert_int_equal(writes.windows, 20);
    /* one dies: the other one goes on, and it is not missed */
    coordinator_abandon(&w->c[0]);
    memory_kill(&w->registry[0]);
    for (int i = 0; i < 10; i++) {
        assert_string_equal(beat(w, 1, "0.7", 4).code, "");
        world_run(w, 2500);
        assert_true(cpu_at(w, 1) == 0.7);
    }
    assert_int_equal(writes.nodes, 0);
}

/* Renewals wait in its window while it is stopped for longer than its session
 * lasts: none is acknowledged upon what was before. */
static void one_that_was_stopped_begins_a_ring_of_its_own(void **state)
{
    struct world *w = *state;
    struct coordinator *stopped;
    struct got g[40];

    add_second(w);
    join(w);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 40; i++) {
            char address[32];

            snprintf(address, sizeof(address), "n:%d", i + 1);
            g[i] = (struct got){0};
            coordinator_node_put(
                w->c[round == 5 ? 1 : 0],
                &(struct node_put){.kind = NODE_WORKER,
                                   .address = address,
                                   .body = "{\"startupTime\":100}",
                                   .len = 19,
                                   .ttl_ms = 20000},
                got, &g[i]);
        }
        if (round == 3) {
            world_run(w, 50);
            stopped = w->c[0];
            w->c[0] = NULL;
            memory_freeze(w->registry[0]);
            world_run(w, 8000);
            memory_thaw(w->registry[0]);
            w->c[0] = stopped;
        }
        world_run(w, 4000);
        for (int i = 0; i < 40; i++) {
            assert_int_equal(g[i].times, 1);
            assert_true(g[i].code[0] == '\0' || round == 3);
        }
    }
    assert_int_equal(writes.nodes, 42); /* they joined; w:1 went, in two */
}

static void one_that_is_told_single_has_all_write_single(void **state)
{
    struct world *w = *state;
    struct conf single = w->conf;
    struct coordinator_config config = {.conf = &single,
                                        .clock = &w->clock,
                                        .self = "127.0.0.1:7078",
                                        .seed = 9};

    join(w);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    assert_int_equal(writes.windows, 1);
    single.renewals = CONF_RENEWALS_SINGLE;
    w->registry[1] = memory_open(w->store, SESSION_MS);
    registry_compare(w->registry[1], config.self, NULL, true);
    config.registry = w->registry[1];
    w->c[1] = coordinator_new(&config);
    world_run(w, 2000);
    assert_false(taken(w).grouped);
    assert_int_equal(writes.taken, 1);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    assert_int_equal(writes.windows, 1);
    assert_int_equal(writes.nodes, 1);
    assert_true(says(w, "\"ttl\":9000"));
    world_run(w, 2 * SESSION_MS);
    assert_false(taken(w).grouped); /* and it stays so */
    /* it goes: grouped again */
    world_end(w, 1);
    world_run(w, 2 * SESSION_MS);
    assert_true(taken(w).grouped);
    (void)beat(w, 0, "0.1", 4);
    world_run(w, 500);
    (void)beat(w, 0, "0.1", 4);
    assert_int_equal(writes.windows, 2);
}

/* --- what it rests on moves ---------------------------------------------- */

static void raise_taken_of(struct world *w, const char *address)
{
    struct taken t = taken(w);
    struct buf b;
    enum err_code code = ERR_CANCELLED;

    taken_raise(&t, NODE_WORKER, address);
    buf_init(&b, TAKEN_BYTES_MAX);
    taken_write(&b, &t);
    registry_put(w->hand, TAKEN_KEY, b.data, b.len, REGISTRY_ANY, 0, false,
                 hand_done, &code);
    buf_close(&b);
    world_run(w, 100);
    assert_int_equal(code, ERR_OK);
}

static void raise_taken(struct world *w)
{
    raise_taken_of(w, W);
}

static void who_is_named_is_read_again(void **state)
{
    struct world *w = *state;

    join(w);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    for (int i = 0; i < 5; i++) {
        raise_taken(w);
        assert_string_equal(beat(w, 0, "0.1", 4).code, "");
        world_run(w, 500);
        assert_string_equal(beat(w, 0, "0.1", 4).code, "");
        world_run(w, 500);
    }
    assert_int_equal(writes.nodes, 0);
    assert_int_equal(writes.windows, 11);
}

/* The coordinators do not hear of what changes. */
static void tell_nothing(struct world *w)
{
    memory_set_faults(w->store, &(struct memory_faults){.event_drop_share = 1,
                                                        .resync_ms = 600000});
}

static void it_is_not_acknowledged_to_whom_its_work_is_taken_from(void **state)
{
    struct world *w = *state;
    struct gate gate = {
        .state = GATE_FENCED,
        .process = {.startup_time = 100, .process_id = 1, .known = true}};
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;

    join(w);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    tell_nothing(w);
    buf_init(&b, 4096);
    gate_write(&b, &gate);
    hand_put(w, gate_key(NODE_WORKER, W, key, sizeof(key)), buf_text(&b),
             false);
    buf_close(&b);
    raise_taken(w);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "fenced");
    assert_string_equal(beat(w, 0, "0.1", 4).code, "fenced");
    assert_int_equal(writes.windows, 1);
}

/* In which order they were written: the gate that shut, and what renewed. */
struct order {
    unsigned n, gate, renewed;
};

static void on_order(void *arg, uint64_t writer,
                     const struct registry_entry *before,
                     const struct registry_entry *after)
{
    struct order *o = arg;

    (void)writer, (void)before;
    o->n++;
    if (after == NULL)
        return;
    if (registry_key_below(after->key, GATE_PREFIX))
        o->gate = o->n;
    if (registry_key_below(after->key, WINDOW_PREFIX) ||
        strcmp(after->key, KEY) == 0)
        o->renewed = o->n;
}

/* As INTENT does: gate and `taken` in one txn. */
static void fence(struct world *w)
{
    const struct registry_entry *e = memory_find(w->store, TAKEN_KEY);
    struct gate gate = {
        .state = GATE_FENCED,
        .process = {.startup_time = 100, .process_id = 1, .known = true}};
    char key[REGISTRY_KEY_MAX + 1];
    struct taken t = taken(w);
    static enum err_code ignored;
    struct registry_op ops[2];
    struct buf text, raised;

    buf_init(&text, 4096);
    buf_init(&raised, TAKEN_BYTES_MAX);
    gate_write(&text, &gate);
    taken_raise(&t, NODE_WORKER, W);
    taken_write(&raised, &t);
    ops[0] =
        registry_op_put(gate_key(NODE_WORKER, W, key, sizeof(key)), &text, 0);
    ops[1] = registry_op_put(TAKEN_KEY, &raised, e->version);
    registry_txn(w->hand, ops, 2, hand_done, &ignored);
    buf_close(&text);
    buf_close(&raised);
}

/* At every moment of a renewal in a window somebody fences the process: if that
 * was written first, no lease is given. */
static void no_lease_is_given_behind_a_gate_that_shut(void **state)
{
    const struct memory_faults slow = {.delay_max_ms = 20};
    struct world *w = *state;
    unsigned given = 0, fenced = 0;

    for (int64_t i = 0; i < 160; i++) {
        struct order order = {0};
        struct got g;

        join(w);
        memory_on_write(w->store, on_order, &order);
        memory_set_faults(w->store, &slow);
        send(w, 0, "0.1", 4, &g);
        memory_run(w->store, w->clock.mono + i % 30);
        fence(w);
        answered(w, &g);
        world_run(w, 200);
        memory_on_write(w->store, NULL, NULL);
        memory_set_faults(w->store, &(struct memory_faults){0});
        assert_true(order.gate != 0);
        if (g.code[0] == '\0') {
            assert_in_range(order.renewed, 1, order.gate - 1);
            given++;
        } else {
            assert_string_equal(g.code, "fenced");
            fenced++;
        }
        hand_delete(w, GATE_PREFIX "/worker/" W);
        hand_delete(w, KEY);
        world_run(w, 200);
    }
    assert_true(given > 5 && fenced > 5);
}

static void one_that_is_marked_writes_itself(void **state)
{
    struct world *w = *state;
    char marked[1024];
    struct node_claim_text t;

    join(w);
    t = registration(w);
    snprintf(marked, sizeof(marked), "%s",
             strstr(t.text, "\"renewals\":{") + strlen("\"renewals\":{"));
    {
        char whole[1200];
        size_t head = (size_t)(strstr(t.text, "\"renewals\":{") - t.text);

        snprintf(whole, sizeof(whole), "%.*s\"renewals\":{\"doubted\":true,%s",
                 (int)head, t.text, marked);
        hand_put(w, KEY, whole, false);
    }
    raise_taken(w);
    assert_true(standing(w).doubted);
    memset(&writes, 0, sizeof(writes));
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    assert_false(standing(w).doubted);
    assert_int_equal(writes.nodes, 1);
    assert_int_equal(writes.windows, 0);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    assert_int_equal(writes.windows, 1);
}

static void one_that_left_through_another_is_not_renewed(void **state)
{
    struct world *w = *state;

    join(w);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    tell_nothing(w);
    hand_delete(w, KEY);
    raise_taken(w);
    assert_true(beat(w, 0, "0.1", 4).created); /* it registers anew */
    assert_int_equal(writes.windows, 1);
}

/* Of the one renewal in the last window of the first coordinator. */
static uint32_t renewed_generation(struct world *w)
{
    uint64_t session = registry_session(w->registry[0]), last = 0;
    struct renewal r = {.generation = 0};

    for (unsigned slot = 0; slot < WINDOW_SLOTS; slot++) {
        char key[WINDOW_KEY_SIZE];
        const struct registry_entry *e =
            memory_find(w->store, window_key(session, slot, key));
        struct window_read in;

        if (e == NULL ||
            window_open(&in, slot, e->value, e->value_len, NULL) != 0 ||
            in.seq <= last)
            continue;
        last = in.seq;
        assert_true(window_next(&in, &r));
    }
    return r.generation;
}

/* What nobody could read stood there in between, and its process came again
 * through another coordinator: this is another name, and the same process. The
 * first one has not heard of it. */
static void who_comes_again_is_not_renewed_by_his_former_name(void **state)
{
    struct world *w = *state;
    struct node_put put = {.kind = NODE_WORKER,
                           .address = W,
                           .body = "{\"startupTime\":100,\"processId\":1,"
                                   "\"slots\":4}",
                           .ttl_ms = TTL,
                           .takeover = true};
    struct got g = {0};

    put.len = strlen(put.body);
    add_second(w);
    join(w);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    assert_int_equal(renewed_generation(w), 1);
    tell_nothing(w);
    hand_put(w, KEY, "nothing", false);
    coordinator_node_put(w->c[1], &put, got, &g);
    assert_string_equal(answered(w, &g).code, "");
    assert_int_equal(standing(w).generation, 2);
    assert_string_equal(beat(w, 0, "0.7", 4).code, "");
    assert_int_equal(renewed_generation(w), 2);
    memory_set_faults(w->store, &(struct memory_faults){0});
}

/* Not in a window, and as short as the store. */
static void without_an_entry_of_its_own_each_writes_itself(void **state)
{
    struct world *w = *state;
    mono_ms asked;
    struct got g;

    join(w);
    tell_nothing(w);
    hand_delete(w, ENTRY);
    asked = w->clock.mono;
    g = beat(w, 0, "0.1", 4);
    assert_string_equal(g.code, "");
    assert_true(w->clock.mono - asked < 1000);
    assert_int_equal(writes.windows, 0);
    assert_int_equal(writes.nodes, 1);
    memory_set_faults(w->store, &(struct memory_faults){0});
    memory_expire(w->registry[0]);
    world_run(w, 2 * SESSION_MS);
    /* a new session, a new ring */
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    world_run(w, 500);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    assert_true(writes.windows >= 1);
}

/* Answers get lost: whoever is told 200 is renewed, nobody is told "not
 * applied" of what was. */
static void a_lost_answer_is_read_back(void **state)
{
    struct world *w = *state;
    unsigned ok = 0, unknown = 0, other = 0;

    join(w);
    memory_set_faults(w->store, &(struct memory_faults){.delay_max_ms = 20,
                                                        .unknown_share = 0.4});
    for (int i = 0; i < 60; i++) {
        struct got g = beat(w, 0, "0.1", 4);

        ok += g.code[0] == '\0';
        unknown += strcmp(g.code, "outcome_unknown") == 0;
        other += g.code[0] != '\0' && strcmp(g.code, "outcome_unknown") != 0;
        world_run(w, 300);
    }
    assert_int_equal(ok + unknown + other, 60);
    assert_int_equal(writes.nodes, 0);
    assert_true(writes.windows >= ok);
    assert_true(ok >= 55);
    assert_int_equal(other, 0);
    memory_set_faults(w->store, &(struct memory_faults){.delay_max_ms = 5});
    world_run(w, 1000);
    assert_true(memory_find(w->store, KEY) != NULL);
}

static void after_the_store_went_back_nobody_is_verified(void **state)
{
    struct world *w = *state;
    struct memory_backup *b;
    struct got g;

    join(w);
    b = memory_backup(w->store);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(beat(w, 0, "0.1", 4).code, "");
        world_run(w, 500);
    }
    memory_restore(w->store, b);
    memory_backup_free(&b);
    memset(&writes, 0, sizeof(writes));
    send(w, 0, "0.1", 4, &g);
    world_run(w, 15000);
    assert_int_equal(g.times, 1);
    assert_true(g.code[0] != '\0');
    assert_int_equal(writes.windows, 0);
}

/* --- by what the watches told -------------------------------------------- */

/* Renewals of fifty nodes, through that coordinator. */
static void fifty(struct world *w, int c)
{
    struct got g[50];

    for (int i = 0; i < 50; i++) {
        char address[32];

        snprintf(address, sizeof(address), "n:%d", i + 1);
        g[i] = (struct got){0};
        coordinator_node_put(w->c[c],
                             &(struct node_put){.kind = NODE_WORKER,
                                                .address = address,
                                                .body = "{\"startupTime\":100}",
                                                .len = 19,
                                                .ttl_ms = 4 * TTL},
                             got, &g[i]);
    }
    world_run(w, 1000);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(g[i].times, 1);
        assert_string_equal(g[i].code, "");
    }
}

/* One with nothing to say, through the second. */
static void renew_second(struct world *w, const char *address)
{
    struct got g = {0};

    coordinator_node_put(w->c[1],
                         &(struct node_put){.kind = NODE_WORKER,
                                            .address = address,
                                            .body = "{\"startupTime\":100}",
                                            .len = 19,
                                            .ttl_ms = 4 * TTL},
                         got, &g);
    assert_string_equal(answered(w, &g).code, "");
}

static void who_begins_reads_nothing_of_each_node(void **state)
{
    struct world *w = *state;
    uint64_t before;

    fifty(w, 0);
    fifty(w, 0);
    add_second(w);
    memset(&writes, 0, sizeof(writes));
    before = memory_gets(w->registry[1]);
    fifty(w, 1);
    assert_int_equal(writes.nodes, 0);
    assert_in_range(writes.windows, 1, 2);
    assert_in_range(memory_gets(w->registry[1]) - before, 0, 10);
    /* nor of who joined through another one since */
    assert_true(beat(w, 0, "0.1", 4).created);
    world_run(w, 1000);
    before = memory_gets(w->registry[1]);
    assert_string_equal(beat(w, 1, "0.1", 4).code, "");
    assert_int_equal(writes.nodes, 1);
    assert_in_range(memory_gets(w->registry[1]) - before, 0, 2);
    /* in another session it is read again */
    memory_expire(w->registry[1]);
    world_run(w, 2 * SESSION_MS);
    assert_string_equal(
        put(w, NODE_WORKER, "late:1", "{\"startupTime\":100}", 4 * TTL).code,
        "");
    world_run(w, 1000);
    before = memory_gets(w->registry[1]);
    renew_second(w, "late:1");
    assert_in_range(memory_gets(w->registry[1]) - before, 2, 6);
}

static void nodes_are_watched_where_taken_cannot_be_read(void **state)
{
    struct world *w = *state;

    join(w);
    memory_set_faults(w->store, &(struct memory_faults){.denied = TAKEN_KEY});
    world_start(w, 1);
    world_run(w, 1500);
    assert_true(cpu_at(w, 1) < 0);
    world_run(w, 2000);
    assert_true(cpu_at(w, 1) == 0.1);
    /* and what was told so verifies nobody */
    memory_set_faults(w->store, &(struct memory_faults){0});
    world_run(w, 2 * SESSION_MS);
    assert_string_equal(beat(w, 0, "0.1", 4).code, "");
    {
        uint64_t before = memory_gets(w->registry[1]);

        assert_string_equal(beat(w, 1, "0.1", 4).code, "");
        assert_true(memory_gets(w->registry[1]) - before >= 2);
    }
}

/* What it was told is older than what it knows of `taken` by now. */
static void what_was_told_counts_from_when_taken_was_read_first(void **state)
{
    struct world *w = *state;

    add_second(w);
    join(w);
    world_run(w, 1000);
    tell_nothing(w);
    fence(w);
    world_run(w, 50);
    renew_second(w, "other:1");
    raise_taken_of(w, "other:1");
    renew_second(w, "other:1");
    assert_string_equal(beat(w, 1, "0.1", 4).code, "fenced");
}

/* At every moment of a start somebody fences the process, and whoever begins is
 * told nothing afterwards. */
static void who_begins_gives_no_lease_behind_a_gate_that_shut(void **state)
{
    struct world *w = *state;

    for (int64_t i = 0; i < 60; i++) {
        struct memory_faults slow = {.delay_max_ms = 20};

        join(w);
        memory_set_faults(w->store, &slow);
        world_start(w, 1);
        memory_run(w->store, w->clock.mono + 10 + 2 * i);
        coordinator_tick(w->c[1]);
        slow.event_drop_share = 1;
        slow.resync_ms = 600000;
        memory_set_faults(w->store, &slow);
        fence(w);
        world_run(w, 150);
        assert_string_equal(beat(w, 1, "0.1", 4).code, "fenced");
        memory_set_faults(w->store, &(struct memory_faults){0});
        world_end(w, 1);
        hand_delete(w, GATE_PREFIX "/worker/" W);
        hand_delete(w, KEY);
        world_run(w, 200);
    }
}

#define SINGLE(name) cmocka_unit_test_setup_teardown(name, set_up, world_close)
#define GROUPED(name)                                                          \
    cmocka_unit_test_setup_teardown(name, set_up_grouped, world_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SINGLE(told_single_each_is_a_write_of_its_own),
        SINGLE(they_are_single_until_all_have_agreed_for_a_session),
        cmocka_unit_test_setup_teardown(
            they_are_grouped_unless_it_is_said_otherwise, world_open,
            world_close),
        SINGLE(early_ones_are_answered_from_memory_in_single),
        SINGLE(nobody_is_missed_who_was_answered_from_memory),
        SINGLE(what_is_not_his_any_more_is_not_remembered),
        SINGLE(in_silence_nothing_is_answered_from_memory),
        SINGLE(beside_an_older_version_nothing_is_remembered),
        GROUPED(early_ones_are_answered_from_memory_in_groups),
        GROUPED(who_does_as_he_was_told_is_not_waited_for_longer),
        GROUPED(who_counts_from_when_he_sent_keeps_his_turn),
        GROUPED(nobody_is_missed_who_was_answered_from_memory),
        GROUPED(in_silence_nothing_is_answered_from_memory),
        GROUPED(a_renewal_goes_into_a_window),
        GROUPED(who_brings_his_instance_is_known_by_it),
        GROUPED(what_a_window_does_not_tell_is_a_write_of_its_own),
        GROUPED(many_go_into_one_window),
        GROUPED(who_begins_reads_nothing_of_each_node),
        GROUPED(nodes_are_watched_where_taken_cannot_be_read),
        GROUPED(what_was_told_counts_from_when_taken_was_read_first),
        GROUPED(who_begins_gives_no_lease_behind_a_gate_that_shut),
        GROUPED(it_may_renew_through_any_coordinator_in_turn),
        GROUPED(one_that_was_stopped_begins_a_ring_of_its_own),
        GROUPED(one_that_is_told_single_has_all_write_single),
        GROUPED(who_is_named_is_read_again),
        GROUPED(it_is_not_acknowledged_to_whom_its_work_is_taken_from),
        GROUPED(no_lease_is_given_behind_a_gate_that_shut),
        GROUPED(one_that_is_marked_writes_itself),
        GROUPED(one_that_left_through_another_is_not_renewed),
        GROUPED(who_comes_again_is_not_renewed_by_his_former_name),
        GROUPED(without_an_entry_of_its_own_each_writes_itself),
        GROUPED(a_lost_answer_is_read_back),
        GROUPED(after_the_store_went_back_nobody_is_verified),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
