/*
 * test_membership.c - who is in the cluster, as transcripts: what the registry
 * tells, what time passes, and what membership says of it. Time is virtual.
 *
 * Longer than other files because each rule of membership is one transcript
 * here, and a reader looks for all of them in one place.
 */
#include "cluster/membership.h"

#include "base/buf.h"
#include "base/json/json.h"
#include "cluster/renewals/renewal.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define GRACE     1000
#define SETTLE    10000
#define HEARTBEAT 10000
#define SESSION   30000
#define TICK      50
#define ANSWER    2000

#define KEY  "/nodes/worker/h:1"
#define OURS "/pelorus/nodes/worker/h:1"

struct fixture {
    struct clock clock;
    struct gates *gates;
    struct membership *m;
    struct buf said; /* one line an event */
    uint64_t version;
    struct membership_over over; /* by the last TTL_OVER */
    uint64_t stands;             /* by the last still_over() */
    bool doubted;                /* likewise */
    bool quiet;                  /* reports are not written down */
    bool silent;                 /* the registry answers nothing */
    int ignored;                 /* keys that name no node */
};

static void on_event(void *arg, const struct membership_event *ev)
{
    static const char *const names[] = {
        [MEMBERSHIP_UP] = "up",           [MEMBERSHIP_REPORT] = "report",
        [MEMBERSHIP_SUSPECT] = "suspect", [MEMBERSHIP_FLAP] = "flap",
        [MEMBERSHIP_DOWN] = "down",       [MEMBERSHIP_REPLACED] = "replaced",
        [MEMBERSHIP_FENCED] = "fenced",   [MEMBERSHIP_GONE] = "gone",
        [MEMBERSHIP_TTL_OVER] = "ttl",    [MEMBERSHIP_LEFT] = "left",
    };
    struct fixture *f = arg;
    char text[PROCESS_TEXT_SIZE];

    if (ev->type == MEMBERSHIP_TTL_OVER) {
        f->over = ev->over;
        f->doubted = ev->doubted;
    }
    if (f->quiet)
        return;
    buf_printf(&f->said, "%s %s %s", names[ev->type], ev->node->address,
               process_text(&ev->process, text));
    if (ev->type == MEMBERSHIP_TTL_OVER)
        buf_printf(&f->said, " %s@%d", ev->key, (int)ev->version);
    buf_char(&f->said, '\n');
}

static void on_key(void *arg, const struct membership_key *told)
{
    struct fixture *f = arg;

    f->ignored += told->refused != NULL && !told->removed;
}

/* What was said since the last time, exactly. */
static void expect_at(struct fixture *f, const char *want, int line)
{
    if (strcmp(buf_text(&f->said), want) != 0)
        fail_msg("line %d: said\n%swanted\n%s", line, buf_text(&f->said), want);
    buf_reset(&f->said);
}
#define expect(f, want) expect_at(f, want, __LINE__)

/* Turns go by, on time. */
static void pass(struct fixture *f, int64_t ms)
{
    for (mono_ms end = f->clock.mono + ms; f->clock.mono < end;) {
        mono_ms next = f->clock.mono + TICK;

        f->clock.mono = next < end ? next : end;
        f->clock.wall = f->clock.mono;
        if (!f->silent)
            membership_answered(f->m, f->clock.mono);
        membership_tick(f->m);
    }
}

/* Nobody ran for so long; then one turn. */
static void sleep_through(struct fixture *f, int64_t ms)
{
    f->clock.mono += ms;
    if (!f->silent)
        membership_answered(f->m, f->clock.mono);
    membership_tick(f->m);
}

static void feed(struct fixture *f, enum registry_event_type type,
                 const char *key, uint64_t created, uint64_t owner,
                 const char *value)
{
    struct registry_event ev = {
        .type = type,
        .entry = {.key = key,
                  .value = value,
                  .value_len = value != NULL ? strlen(value) : 0,
                  .created = created,
                  .version = value != NULL ? ++f->version : 0,
                  .owner = owner},
    };

    membership_feed(f->m,
                    strncmp(key, "/nodes", 6) == 0 ? MEMBERSHIP_NODES
                                                   : MEMBERSHIP_OURS,
                    &ev);
}

static void add(struct fixture *f, const char *key, uint64_t created,
                const char *value)
{
    feed(f, REGISTRY_ADD, key, created, 1, value);
}

static void update(struct fixture *f, const char *key, uint64_t created,
                   const char *value)
{
    feed(f, REGISTRY_UPDATE, key, created, 1, value);
}

static void drop(struct fixture *f, const char *key, uint64_t created)
{
    feed(f, REGISTRY_REMOVE, key, created, 0, NULL);
}

static void synced(struct fixture *f)
{
    feed(f, REGISTRY_SYNCED, "/nodes", 0, 0, NULL);
    feed(f, REGISTRY_SYNCED, "/pelorus/nodes", 0, 0, NULL);
}

/* Heartbeats of two processes at one address. */
#define A          "{\"startupTime\":100,\"processId\":1}"
#define A2         "{\"startupTime\":100,\"processId\":1,\"cpuUsage\":0.5}"
#define B          "{\"startupTime\":200,\"processId\":2}"
#define C          "{\"startupTime\":300,\"processId\":3}"
#define UNREADABLE "oops"

static const struct process process_a = {0, 100, 1, true};
static const struct process process_b = {0, 200, 2, true};

static void set_gate(struct fixture *f, enum gate_state state,
                     const struct process *p, const struct process *past)
{
    struct gate gate = {.state = state, .version = ++f->version};

    if (p != NULL)
        gate.process = *p;
    if (past != NULL)
        gate_retire(&gate, past);
    gates_learn(f->gates, NODE_WORKER, "h:1", &gate);
}

static size_t count(struct fixture *f, enum node_kind kind,
                    enum node_state state)
{
    size_t n = 0;

    for (struct node *it = membership_next(f->m, NULL); it != NULL;
         it = membership_next(f->m, it))
        n += it->kind == kind && it->state == state;
    return n;
}

static const struct node *node(struct fixture *f)
{
    return membership_find(f->m, NODE_WORKER, "h:1");
}

static int set_up_cold(void **state)
{
    static struct fixture f;
    struct membership_config config = {
        .clock = &f.clock,
        .grace_ms = GRACE,
        .settle_ms = SETTLE,
        .heartbeat_interval_ms = HEARTBEAT,
        .session_timeout_ms = SESSION,
        .answer_ms = ANSWER,
        .key = on_key,
    };

    memset(&f, 0, sizeof(f));
    f.clock.mono = 1000000;
    buf_init(&f.said, 1 << 20);
    f.gates = config.gates = gates_new(&f.clock, NULL);
    f.m = membership_new(&config, on_event, &f);
    *state = &f;
    return 0;
}

/* Connected, synced and settled. */
static int set_up(void **state)
{
    struct fixture *f;

    set_up_cold(state);
    f = *state;
    membership_connection(f->m, REGISTRY_CONNECTED);
    synced(f);
    pass(f, SETTLE);
    assert_true(membership_settled(f->m));
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    membership_free(&f->m);
    gates_free(&f->gates);
    assert_null(f->m);
    buf_close(&f->said);
    return 0;
}

/* --- a life -------------------------------------------------------------- */

static void a_node_is_up_suspect_down_and_forgotten(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    expect(f, "up h:1 100-1\n");
    assert_int_equal(node(f)->state, NODE_UP);
    assert_true(node(f)->registered);
    assert_true(node(f)->process.created == 5);
    assert_int_equal(count(f, NODE_WORKER, NODE_UP), 1);
    drop(f, KEY, 5);
    expect(f, "suspect h:1 100-1\n");
    assert_false(node(f)->registered);
    pass(f, GRACE - TICK);
    expect(f, "");
    pass(f, TICK);
    expect(f, "down h:1 100-1\n");
    assert_int_equal(count(f, NODE_WORKER, NODE_DOWN), 1);
    pass(f, 10 * 60 * 1000);
    expect(f, "gone h:1 100-1\n");
    assert_null(node(f));
    assert_int_equal(count(f, NODE_WORKER, NODE_DOWN), 0);
}

static void the_same_process_back_is_a_flap(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    pass(f, GRACE / 2);
    add(f, KEY, 6, A);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\nflap h:1 100-1\n");
    assert_int_equal(node(f)->flaps, 1);
    assert_true(node(f)->process.created == 6);
    pass(f, 2 * GRACE);
    expect(f, "");
    /* Also from DOWN, while no gate says that its work was taken. */
    drop(f, KEY, 6);
    pass(f, GRACE);
    add(f, KEY, 7, A);
    expect(f, "suspect h:1 100-1\ndown h:1 100-1\nflap h:1 100-1\n");
    assert_int_equal(node(f)->flaps, 2);
}

static void another_process_replaces_the_old_one_at_once(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    add(f, KEY, 6, B);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\nreplaced h:1 100-1\n");
    assert_int_equal(node(f)->state, NODE_UP);
    assert_true(process_same(&node(f)->process, &process_b));
    assert_int_equal(node(f)->flaps, 0);
    pass(f, 2 * GRACE);
    expect(f, "");
    /* One whose end was told already is not told again. */
    drop(f, KEY, 6);
    pass(f, GRACE);
    add(f, KEY, 7, C);
    expect(f, "suspect h:1 200-2\ndown h:1 200-2\nup h:1 300-3\n");
}

static void a_report_changes_load_and_says_so(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    expect(f, "up h:1 100-1\n");
    pass(f, 500);
    update(f, KEY, 5, A2);
    expect(f, "report h:1 100-1\n");
    assert_true(node(f)->load.cpu == 0.5);
    assert_int_equal(node(f)->last_report, f->clock.mono);
    f->version--; /* the same write, told twice */
    update(f, KEY, 5, A2);
    expect(f, "");
}

static void busy_limits_picks_and_never_means_absent(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    update(f, KEY, 5,
           "{\"startupTime\":100,\"processId\":1,"
           "\"serverStatus\":\"BUSY\"}");
    expect(f, "up h:1 100-1\nreport h:1 100-1\n");
    assert_int_equal(node(f)->status, NODE_BUSY);
    assert_int_equal(node(f)->state, NODE_UP);
    update(f, KEY, 5,
           "{\"startupTime\":100,\"processId\":1,"
           "\"serverStatus\":1}");
    assert_int_equal(node(f)->status, NODE_BUSY);
    update(f, KEY, 5, A);
    assert_int_equal(node(f)->status, NODE_NORMAL);
}

/* --- identity ------------------------------------------------------------ */

static void an_unreadable_heartbeat_replaces_nobody(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A2);
    update(f, KEY, 5, UNREADABLE);
    expect(f, "up h:1 100-1\nreport h:1 100-1\n");
    assert_true(node(f)->degraded);
    assert_true(node(f)->unidentified);
    assert_true(node(f)->load.cpu == 0.5);
    assert_int_equal(node(f)->problems[0].reason, HEARTBEAT_NOT_JSON);
    update(f, KEY, 5, A);
    expect(f, "report h:1 100-1\n");
    assert_false(node(f)->degraded);
    assert_false(node(f)->unidentified);
}

static void an_unknown_one_at_the_address_holds_everything(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    add(f, KEY, 6, "");
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\nup h:1 100-1\n");
    assert_true(node(f)->unidentified);
    pass(f, 10 * GRACE);
    expect(f, "");
    update(f, KEY, 6, B);
    expect(f, "replaced h:1 100-1\n");
    assert_false(node(f)->degraded);
}

static void an_unknown_one_that_turns_out_the_same_goes_on(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, "");
    expect(f, "up h:1 ?\n");
    assert_true(node(f)->degraded);
    update(f, KEY, 5, A);
    expect(f, "report h:1 100-1\n");
    update(f, KEY, 5, "");
    update(f, KEY, 5, A);
    expect(f, "report h:1 100-1\nreport h:1 100-1\n");
    assert_int_equal(node(f)->flaps, 0);
}

static void a_refused_load_leaves_the_last_good_one(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A2);
    update(f, KEY, 5,
           "{\"startupTime\":100,\"processId\":1,"
           "\"cpuUsage\":\"NaN\",\"serverStatus\":2}");
    expect(f, "up h:1 100-1\nreport h:1 100-1\n");
    assert_true(node(f)->degraded);
    assert_false(node(f)->unidentified);
    assert_true(node(f)->load.cpu == 0.5);
    assert_int_equal(node(f)->status, NODE_BUSY);
    assert_int_equal(node(f)->problems[0].reason, HEARTBEAT_NOT_A_NUMBER);
}

/* The others are news, and the bad one is unknown once no report of it would
 * count any more. */
static void a_bad_field_drops_that_field_only(void **state)
{
    static const char bad[] =
        "{\"startupTime\":100,\"processId\":1,\"cpuUsage\":25,"
        "\"memoryUsage\":0.75,\"slots\":\"8\"}";
    struct fixture *f = *state;

    add(f, KEY, 5, A2);
    update(f, KEY, 5, bad);
    assert_true(node(f)->degraded);
    assert_false(node(f)->unreadable);
    assert_true(node(f)->load.cpu == 0.5);
    assert_true(node(f)->load.memory == 0.75);
    assert_int_equal(node(f)->n_problems, 2);
    assert_string_equal(node(f)->problems[0].field, "cpuUsage");
    assert_string_equal(node(f)->problems[1].field, "slots");
    pass(f, 3 * HEARTBEAT + TICK);
    update(f, KEY, 5, bad);
    assert_true(node(f)->load.cpu == LOAD_UNKNOWN);
    assert_true(node(f)->load.memory == 0.75);
    update(f, KEY, 5, A2);
    assert_int_equal(node(f)->n_problems, 0);
    assert_false(node(f)->degraded);
}

static void what_of_a_key_is_not_used_is_a_problem_of_its_node(void **state)
{
    struct fixture *f = *state;
    char group[NODE_GROUP_MAX + 2], key[REGISTRY_KEY_MAX + 1];

    memset(group, 'g', sizeof(group) - 1);
    group[sizeof(group) - 1] = '\0';
    snprintf(key, sizeof(key), "/nodes/worker/%s/h:1", group);
    add(f, key, 5, A);
    assert_int_equal(node(f)->n_groups, 0);
    assert_int_equal(node(f)->n_problems, 1);
    assert_non_null(strstr(node(f)->problems[0].text, "longer than 255 bytes"));
    add(f, "/nodes/worker/\xe6\xb5\x8b\xe8\xaf\x95/h:1", 6, A);
    assert_int_equal(node(f)->n_groups, 1);
    assert_string_equal(node(f)->groups[0], "\xe6\xb5\x8b\xe8\xaf\x95");
    drop(f, key, 5);
    assert_int_equal(node(f)->n_problems, 0);
}

static void more_groups_than_are_kept_are_a_problem(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < HEARTBEAT_GROUPS_MAX + 2; i++) {
        char key[64];

        snprintf(key, sizeof(key), "/nodes/worker/g%02d/h:1", i);
        add(f, key, 5 + (uint64_t)i, A);
    }
    assert_int_equal(node(f)->n_groups, HEARTBEAT_GROUPS_MAX);
    assert_int_equal(node(f)->n_problems, 1);
}

static void a_key_rewritten_by_a_new_process_has_a_longer_grace(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    update(f, KEY, 5, B); /* the node of A's session still */
    expect(f, "up h:1 100-1\nreplaced h:1 100-1\n");
    drop(f, KEY, 5); /* A's session ends */
    pass(f, 2 * HEARTBEAT - TICK);
    expect(f, "suspect h:1 200-2\n");
    add(f, KEY, 9, B);
    expect(f, "flap h:1 200-2\n");
    drop(f, KEY, 9); /* B's own: the usual grace */
    pass(f, GRACE);
    expect(f, "suspect h:1 200-2\ndown h:1 200-2\n");
}

/* --- several keys -------------------------------------------------------- */

static void a_worker_is_gone_with_its_last_key(void **state)
{
    struct fixture *f = *state;

    add(f, "/nodes/worker/gpu/h:1", 5, A);
    add(f, "/nodes/worker/eu/h:1", 6, A);
    expect(f, "up h:1 100-1\nreport h:1 100-1\n");
    assert_int_equal(node(f)->registrations, 2);
    assert_int_equal(node(f)->n_groups, 2);
    assert_string_equal(node(f)->groups[0], "eu");
    assert_string_equal(node(f)->groups[1], "gpu");
    drop(f, "/nodes/worker/eu/h:1", 6);
    expect(f, "report h:1 100-1\n"); /* its groups changed */
    assert_int_equal(node(f)->n_groups, 1);
    pass(f, 2 * GRACE);
    expect(f, "");
    drop(f, "/nodes/worker/gpu/h:1", 5);
    expect(f, "suspect h:1 100-1\n");
    assert_int_equal(node(f)->n_groups, 1); /* the last that was known */
}

static void groups_come_from_path_and_heartbeat(void **state)
{
    struct fixture *f = *state;

    add(f, "/nodes/worker/gpu/h:1", 5,
        "{\"startupTime\":100,\"processId\":1,\"groups\":[\"a\",\"default\"]}");
    add(f, OURS, 6, "{\"startupTime\":100,\"processId\":1,\"group\":\"Z\"}");
    assert_int_equal(node(f)->n_groups, 3);
    assert_string_equal(node(f)->groups[0], "a");
    assert_string_equal(node(f)->groups[1], "gpu");
    assert_string_equal(node(f)->groups[2], "z");
    update(f, OURS, 6, A);
    assert_int_equal(node(f)->n_groups, 2);
    update(f, "/nodes/worker/gpu/h:1", 5, UNREADABLE); /* the last word stays */
    assert_int_equal(node(f)->n_groups, 2);
    assert_true(node(f)->degraded);
    assert_false(node(f)->unidentified);
}

static void of_two_processes_the_newest_registration_counts(void **state)
{
    struct fixture *f = *state;

    add(f, "/nodes/worker/gpu/h:1", 5, A);
    add(f, "/nodes/worker/eu/h:1", 9, B);
    expect(f, "up h:1 100-1\nreplaced h:1 100-1\n");
    assert_int_equal(node(f)->n_groups, 1); /* A's group is not B's */
    update(f, "/nodes/worker/gpu/h:1", 5, A2);
    expect(f, ""); /* nor its load */
    assert_true(node(f)->load.cpu == LOAD_UNKNOWN);
    drop(f, "/nodes/worker/gpu/h:1", 5);
    expect(f, "");
}

static void an_older_process_comes_forward_when_the_newest_is_down(void **state)
{
    struct fixture *f = *state;

    add(f, "/nodes/worker/gpu/h:1", 5, A);
    add(f, "/nodes/worker/eu/h:1", 9, B);
    drop(f, "/nodes/worker/eu/h:1", 9);
    expect(f, "up h:1 100-1\nreplaced h:1 100-1\nsuspect h:1 200-2\n");
    pass(f, GRACE);
    expect(f, "down h:1 200-2\nup h:1 100-1\n");
}

/* Each registration has its own, whichever the node shows. */
static void an_older_process_comes_forward_with_its_load(void **state)
{
    struct fixture *f = *state;

    add(f, "/nodes/worker/gpu/h:1", 5, A2);
    assert_true(node(f)->load.cpu == 0.5);
    add(f, "/nodes/worker/eu/h:1", 9, B);
    assert_true(node(f)->load.cpu == LOAD_UNKNOWN);
    add(f, "/nodes/worker/us/h:1", 12, C);
    drop(f, "/nodes/worker/us/h:1", 12);
    drop(f, "/nodes/worker/eu/h:1", 9);
    expect(f, "up h:1 100-1\nreplaced h:1 100-1\nreplaced h:1 200-2\n"
              "suspect h:1 300-3\n");
    pass(f, GRACE);
    expect(f, "down h:1 300-3\nup h:1 100-1\n");
    assert_true(node(f)->load.cpu == 0.5);
}

static void a_late_word_of_an_older_registration_changes_nothing(void **state)
{
    struct fixture *f = *state;

    add(f, "/nodes/worker/eu/h:1", 9, B);
    add(f, "/nodes/worker/gpu/h:1", 5, A);
    expect(f, "up h:1 200-2\n");
    assert_int_equal(node(f)->n_groups, 1);
}

/* Whichever was registered first: the later startupTime counts. */
static void a_late_key_of_an_earlier_process_changes_nothing(void **state)
{
    struct fixture *f = *state;

    add(f, "/nodes/worker/eu/h:1", 5, B);
    add(f, "/nodes/worker/gpu/h:1", 9, A);
    expect(f, "up h:1 200-2\n");
    assert_int_equal(node(f)->n_groups, 1);
    drop(f, "/nodes/worker/eu/h:1", 5);
    pass(f, GRACE);
    expect(f, "suspect h:1 200-2\ndown h:1 200-2\nup h:1 100-1\n");
}

/* A dead one's late heartbeat, or two by mistake: it is the later one's own
 * lease that says how long it lives. */
static void who_is_written_over_by_an_earlier_one_keeps_his_lease(void **state)
{
    struct fixture *f = *state;
    const char *mine = "{\"startupTime\":200,\"processId\":2,\"ttl\":6000}";
    const char *late = "{\"startupTime\":100,\"processId\":1,\"ttl\":60000}";

    feed(f, REGISTRY_ADD, OURS, 5, 0, mine);
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, late);
    expect(f, "up h:1 200-2\nsuspect h:1 200-2\n");
    pass(f, 5900);
    expect(f, "");
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, mine);
    expect(f, "flap h:1 200-2\n");
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, late);
    pass(f, 6000);
    expect(f, "suspect h:1 200-2\ndown h:1 200-2\nup h:1 100-1\n");
    /* the next suspicion has nothing of it: a rewritten key's own grace */
    drop(f, OURS, 5);
    pass(f, 2 * HEARTBEAT);
    expect(f, "suspect h:1 100-1\ndown h:1 100-1\n");
    /* a node of DolphinScheduler: two of its heartbeats */
    add(f, KEY, 7, B);
    update(f, KEY, 7, A);
    expect(f, "up h:1 200-2\nsuspect h:1 200-2\n");
    pass(f, 2 * HEARTBEAT - TICK);
    expect(f, "");
    update(f, KEY, 7, B);
    expect(f, "flap h:1 200-2\n");
}

static void a_removal_of_an_earlier_key_is_ignored(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 9, A);
    drop(f, KEY, 5);
    drop(f, "/nodes/worker/other:1", 5);
    expect(f, "up h:1 100-1\n");
    add(f, KEY, 12, A); /* made again, its removal not told */
    expect(f, "report h:1 100-1\n");
    assert_true(node(f)->process.created == 12);
}

/* --- when absence is believed -------------------------------------------- */

static void nobody_is_down_before_it_is_settled(void **state)
{
    struct fixture *f = *state;

    membership_connection(f->m, REGISTRY_CONNECTED);
    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    pass(f, SETTLE / 2);
    synced(f);
    assert_true(membership_synced(f->m));
    assert_false(membership_settled(f->m));
    pass(f, SETTLE / 2 - TICK);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\n");
    pass(f, TICK);
    expect(f, "down h:1 100-1\n");
}

static void nobody_is_down_before_both_prefixes_are_synced(void **state)
{
    struct fixture *f = *state;

    membership_connection(f->m, REGISTRY_CONNECTED);
    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    feed(f, REGISTRY_SYNCED, "/nodes", 0, 0, NULL);
    pass(f, 2 * SETTLE);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\n");
    feed(f, REGISTRY_SYNCED, "/pelorus/nodes", 0, 0, NULL);
    pass(f, TICK);
    expect(f, "down h:1 100-1\n");
}

static void nobody_is_down_while_suspended_nor_right_after(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    membership_connection(f->m, REGISTRY_SUSPENDED);
    assert_false(membership_settled(f->m));
    pass(f, 10 * GRACE);
    membership_connection(f->m, REGISTRY_RECONNECTED);
    pass(f, GRACE - TICK);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\n");
    pass(f, TICK);
    expect(f, "down h:1 100-1\n");
}

static void a_new_session_settles_again(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    membership_connection(f->m, REGISTRY_DISCONNECTED);
    assert_false(membership_synced(f->m));
    pass(f, SETTLE);
    membership_connection(f->m, REGISTRY_CONNECTED);
    drop(f, KEY, 5); /* the difference, told after the new listing */
    synced(f);
    pass(f, SETTLE - TICK);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\n");
    pass(f, TICK);
    expect(f, "down h:1 100-1\n");
}

static void a_pause_of_ours_starts_the_grace_again(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    pass(f, GRACE / 2);
    sleep_through(f, 60000);
    /* Long enough a pause to settle again, too. */
    pass(f, SETTLE - TICK);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\n");
    pass(f, TICK);
    expect(f, "down h:1 100-1\n");
}

static void a_short_pause_starts_only_short_windows_again(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    pass(f, 900);
    sleep_through(f, 400); /* more than a third of the grace */
    pass(f, GRACE - TICK);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\n");
    pass(f, TICK);
    expect(f, "down h:1 100-1\n");
}

/* --- nodes with a ttl ---------------------------------------------------- */

#define TTL(process, ms) "{" process ",\"ttl\":" ms "}"
#define ID_A             "\"startupTime\":100,\"processId\":1"

static void a_key_unchanged_for_its_ttl_is_told_and_suspect(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 0, TTL(ID_A, "3000"));
    expect(f, "up h:1 100-1\n");
    assert_true(node(f)->ours);
    assert_int_equal(node(f)->ttl_ms, 3000);
    pass(f, 2900);
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, TTL(ID_A, "3000"));
    expect(f, "report h:1 100-1\n");
    pass(f, 2950);
    expect(f, "");
    pass(f, TICK);
    expect(f, "ttl h:1 100-1 " OURS "@2\nsuspect h:1 100-1\n");
    assert_false(node(f)->registered);
    pass(f, GRACE);
    expect(f, "down h:1 100-1\n");
    pass(f, 3000 - GRACE); /* it still stands: told again */
    expect(f, "ttl h:1 100-1 " OURS "@2\n");
    drop(f, OURS, 5);
    expect(f, "");
}

static void a_renewal_in_the_last_moment_is_a_flap(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 0, TTL(ID_A, "\"3s\""));
    pass(f, 3000);
    expect(f, "up h:1 100-1\nttl h:1 100-1 " OURS "@1\nsuspect h:1 100-1\n");
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, TTL(ID_A, "\"3s\""));
    expect(f, "flap h:1 100-1\n");
}

static void after_a_common_pause_nobody_is_reaped(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 50; i++) {
        char key[64];

        snprintf(key, sizeof(key), "/pelorus/nodes/worker/h:%d", i + 1);
        feed(f, REGISTRY_ADD, key, 5, 0, TTL(ID_A, "9000"));
    }
    buf_reset(&f->said);
    pass(f, 5000);
    sleep_through(f, 3001);
    sleep_through(f, 60000);
    pass(f, 8950);
    expect(f, "");
    pass(f, SETTLE);
    assert_non_null(strstr(buf_text(&f->said), "ttl h:50 "));
}

static void a_pause_of_less_than_a_third_does_not_count(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 0, TTL(ID_A, "9000"));
    pass(f, 5000);
    sleep_through(f, 2900);
    pass(f, 1100);
    expect(f, "up h:1 100-1\nttl h:1 100-1 " OURS "@1\nsuspect h:1 100-1\n");
}

static void a_persistent_key_without_ttl_gets_the_sessions(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 0, A);
    assert_int_equal(node(f)->ttl_ms, SESSION);
    pass(f, SESSION);
    expect(f, "up h:1 100-1\nttl h:1 100-1 " OURS "@1\nsuspect h:1 100-1\n");
}

static void the_session_is_the_lease_of_an_ephemeral_key(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 77, TTL(ID_A, "1000"));
    add(f, "/nodes/worker/other:1", 6, TTL(ID_A, "1000"));
    pass(f, 60000);
    expect(f, "up h:1 100-1\nup other:1 100-1\n");
    assert_int_equal(node(f)->ttl_ms, 0);
}

/* --- gates --------------------------------------------------------------- */

static void a_fenced_process_is_not_up_although_registered(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    set_gate(f, GATE_FENCED, &process_a, NULL);
    expect(f, "up h:1 100-1\nfenced h:1 100-1\n");
    assert_int_equal(node(f)->state, NODE_FENCED);
    assert_true(node(f)->registered);
    update(f, KEY, 5, A2);
    drop(f, KEY, 5);
    add(f, KEY, 6, A);
    pass(f, 2 * GRACE);
    expect(f, "");
    assert_int_equal(node(f)->flaps, 0);
    /* Its next life is another process. */
    drop(f, KEY, 6);
    add(f, KEY, 7, B);
    expect(f, "up h:1 200-2\n");
    assert_int_equal(node(f)->state, NODE_UP);
}

static void down_becomes_fenced_with_the_intent(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    set_gate(f, GATE_OPEN, &process_a, NULL);
    expect(f, "up h:1 100-1\n");
    drop(f, KEY, 5);
    pass(f, GRACE);
    set_gate(f, GATE_FENCED, &process_a, &process_a);
    expect(f, "suspect h:1 100-1\ndown h:1 100-1\nfenced h:1 100-1\n");
    pass(f, 60 * 60 * 1000); /* with a gate it is not forgotten by itself */
    expect(f, "");
    assert_true(
        membership_forget(f->m, membership_find(f->m, NODE_WORKER, "h:1")));
    expect(f, "gone h:1 100-1\n");
    assert_int_equal(count(f, NODE_WORKER, NODE_FENCED), 0);
}

static void leave_gate(struct fixture *f, uint64_t created)
{
    struct gate gate = {.state = GATE_OPEN,
                        .left = true,
                        .process = process_a,
                        .version = ++f->version};

    gate.process.created = created;
    gates_learn(f->gates, NODE_WORKER, "h:1", &gate);
}

static void who_leaves_is_not_suspected(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    leave_gate(f, 5); /* told before the key's end is */
    expect(f, "up h:1 100-1\n");
    drop(f, KEY, 5);
    expect(f, "left h:1 100-1\n");
    pass(f, 60 * 60 * 1000);
    expect(f, "");
    assert_int_equal(node(f)->state, NODE_LEFT);
    add(f, KEY, 9, A); /* no flap: it came back */
    expect(f, "up h:1 100-1\n");
    assert_int_equal(node(f)->flaps, 0);
    drop(f, KEY, 9);
    expect(f, "left h:1 100-1\n");
    add(f, KEY, 11, B);
    expect(f, "up h:1 200-2\n");
    drop(f, KEY, 11); /* this one did not leave */
    pass(f, GRACE);
    expect(f, "suspect h:1 200-2\ndown h:1 200-2\n");
}

static void a_leave_that_is_told_late_ends_the_suspicion(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    leave_gate(f, 5);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\nleft h:1 100-1\n");
    pass(f, 10 * GRACE);
    expect(f, "");
    assert_true(
        membership_forget(f->m, membership_find(f->m, NODE_WORKER, "h:1")));
    expect(f, "gone h:1 100-1\n");
}

static void who_left_before_we_looked_is_no_node(void **state)
{
    struct fixture *f = *state;

    leave_gate(f, 5);
    assert_null(node(f));
    pass(f, 10 * GRACE);
    expect(f, "");
}

static void a_process_taken_back_or_readmitted_is_up_again(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    set_gate(f, GATE_FENCED, &process_a, &process_a);
    set_gate(f, GATE_OPEN, &process_a, NULL);
    expect(f, "up h:1 100-1\nfenced h:1 100-1\nup h:1 100-1\n");
    /* Taken back while it is not registered: it has its grace. */
    drop(f, KEY, 5);
    set_gate(f, GATE_FENCED, &process_a, NULL);
    set_gate(f, GATE_OPEN, &process_a, NULL);
    expect(f, "suspect h:1 100-1\nfenced h:1 100-1\nsuspect h:1 100-1\n");
    pass(f, GRACE);
    expect(f, "down h:1 100-1\n");
}

static void a_process_of_the_past_is_not_let_back(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    add(f, KEY, 6, B);
    set_gate(f, GATE_OPEN, &process_b, &process_a);
    buf_reset(&f->said);
    drop(f, KEY, 6);
    add(f, KEY, 7, A); /* the old one wakes up */
    expect(f, "suspect h:1 200-2\n");
    pass(f, GRACE);
    expect(f, "down h:1 200-2\n");
    assert_int_equal(node(f)->state, NODE_DOWN);
}

static void an_unknown_one_at_a_fenced_gate_stays_fenced(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    set_gate(f, GATE_FENCED, &process_a, NULL);
    drop(f, KEY, 5);
    add(f, KEY, 6, UNREADABLE);
    expect(f, "up h:1 100-1\nfenced h:1 100-1\n");
    update(f, KEY, 6, B);
    expect(f, "up h:1 200-2\n");
}

static void
a_gate_without_a_registration_is_missing_from_the_start(void **state)
{
    struct fixture *f = *state;

    membership_connection(f->m, REGISTRY_CONNECTED);
    set_gate(f, GATE_OPEN, &process_a, NULL);
    synced(f);
    expect(f, "suspect h:1 100-1\n");
    pass(f, SETTLE);
    expect(f, "down h:1 100-1\n");
    add(f, KEY, 5, A); /* late, but never seen before: no flap */
    expect(f, "up h:1 100-1\n");
    assert_int_equal(node(f)->flaps, 0);
}

static void a_restart_while_nobody_looked_is_a_replacement(void **state)
{
    struct fixture *f = *state;

    membership_connection(f->m, REGISTRY_CONNECTED);
    set_gate(f, GATE_OPEN, &process_a, NULL);
    add(f, KEY, 5, B);
    expect(f, "suspect h:1 100-1\nreplaced h:1 100-1\n");
    assert_true(process_same(&node(f)->process, &process_b));
}

static void a_process_let_in_elsewhere_is_awaited(void **state)
{
    struct fixture *f = *state;

    add(f, KEY, 5, A);
    drop(f, KEY, 5);
    pass(f, GRACE);
    set_gate(f, GATE_OPEN, &process_b, &process_a);
    expect(f, "up h:1 100-1\nsuspect h:1 100-1\ndown h:1 100-1\n"
              "suspect h:1 200-2\n");
    add(f, KEY, 6, B);
    expect(f, "up h:1 200-2\n");
}

static void forgetting_needs_an_end_and_no_key(void **state)
{
    struct fixture *f = *state;
    struct node *n;

    add(f, KEY, 5, A);
    n = membership_find(f->m, NODE_WORKER, "h:1");
    assert_false(membership_forget(f->m, n));
    set_gate(f, GATE_FENCED, &process_a, NULL);
    assert_false(membership_forget(f->m, n)); /* its key stands */
    drop(f, KEY, 5);
    assert_true(membership_forget(f->m, n));
    expect(f, "up h:1 100-1\nfenced h:1 100-1\ngone h:1 100-1\n");
    /* A gate that is told and absent makes nobody. */
    set_gate(f, GATE_ABSENT, NULL, NULL);
    assert_null(node(f));
}

/* --- all of it ----------------------------------------------------------- */

static void every_sample_is_in_the_cluster_as_it_says(void **state)
{
    struct fixture *f = *state;
    DIR *dir = opendir("tests/unit/data/heartbeats");
    struct dirent *d;

    assert_non_null(dir);
    while ((d = readdir(dir)) != NULL) {
        static char text[64 * 1024];
        char path[512];
        const struct json *expect_json;
        const struct json *json = NULL;
        FILE *file;
        size_t len;

        if (strstr(d->d_name, ".json") == NULL)
            continue;
        snprintf(path, sizeof(path), "tests/unit/data/heartbeats/%s",
                 d->d_name);
        file = fopen(path, "r");
        assert_non_null(file);
        len = fread(text, 1, sizeof(text), file);
        fclose(file);
        assert_int_equal(json_parse(text, len, &json, NULL), 0);
        expect_json = json_get(json, "expect");
        add(f, json_str(json, "key"), 5, json_str(json, "value"));
        if (!json_bool(expect_json, "ignored", false)) {
            enum node_kind kind;
            struct node *n;

            assert_int_equal(
                node_kind_parse(json_str(expect_json, "kind"), &kind), 0);
            n = membership_find(f->m, kind, json_str(expect_json, "address"));
            assert_non_null(n);
            assert_int_equal(n->state, NODE_UP);
            assert_int_equal(n->degraded,
                             json_bool(expect_json, "degraded", false));
        }
        json_free(json);
    }
    closedir(dir);
    assert_int_equal(f->ignored, 1);
    assert_int_equal(count(f, NODE_MASTER, NODE_UP), 2);
}

static void nodes_are_listed_in_the_order_of_their_appearance(void **state)
{
    struct fixture *f = *state;
    struct node *it = NULL;
    int n = 0;

    for (int i = 0; i < 5; i++) {
        char key[64];

        snprintf(key, sizeof(key), "/nodes/master/h:%d", 9 - i);
        add(f, key, 5, A);
    }
    while ((it = membership_next(f->m, it)) != NULL) {
        char address[24];

        snprintf(address, sizeof(address), "h:%d", 9 - n++);
        assert_string_equal(it->address, address);
        it->user = f;
    }
    assert_int_equal(n, 5);
}

static void ten_thousand_nodes_cost_a_tick_nothing(void **state)
{
    struct fixture *f = *state;
    clock_t began = clock();

    f->quiet = true;
    for (int i = 0; i < 10000; i++) {
        char key[64];

        snprintf(key, sizeof(key), "/pelorus/nodes/worker/10.1.%d.%d:1",
                 i / 250, i % 250);
        feed(f, REGISTRY_ADD, key, 5, 0, TTL(ID_A, "\"10h\""));
    }
    pass(f, 200000 * TICK); /* a scan per turn would be two billion looks */
    assert_int_equal(count(f, NODE_WORKER, NODE_UP), 10000);
    pass(f, 36000000);
    pass(f, GRACE);
    assert_int_equal(count(f, NODE_WORKER, NODE_DOWN), 10000);
    assert_true((clock() - began) / CLOCKS_PER_SEC < 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define COLD(name) cmocka_unit_test_setup_teardown(name, set_up_cold, tear_down)

/* --- renewals in groups -------------------------------------------------- */

#define LEASED                                                                 \
    "{\"startupTime\":100,\"processId\":1,\"renewals\":{\"lease\":3000}}"
#define LEASED_MARK                                                            \
    "{\"startupTime\":100,\"processId\":1,\"renewals\":"                       \
    "{\"doubted\":true,\"lease\":3000},\"cpuUsage\":0.25}"
#define WIDE                                                                   \
    "{\"startupTime\":100,\"processId\":1,\"renewals\":{\"lease\":3000,"       \
    "\"watched\":4000}}"
#define SECOND                                                                 \
    "{\"startupTime\":200,\"processId\":2,\"renewals\":{\"lease\":3000,"       \
    "\"generation\":2}}"

static bool renewed(struct fixture *f, uint64_t created, uint32_t generation)
{
    const struct renewal r = {.created = created,
                              .generation = generation,
                              .told = LOAD_CPU,
                              .busy = true,
                              .load = {25000}};

    return membership_renewed(f->m, &r, f->clock.mono);
}

static void a_renewal_is_a_sign_of_life_and_a_report(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 0, LEASED);
    expect(f, "up h:1 100-1\n");
    for (int i = 0; i < 4; i++) {
        pass(f, 2000);
        assert_true(renewed(f, 5, 1));
    }
    expect(f, "report h:1 100-1\nreport h:1 100-1\nreport h:1 100-1\n"
              "report h:1 100-1\n");
    assert_true(node(f)->load.cpu == 0.5);
    assert_int_equal(node(f)->status, NODE_BUSY);
    assert_int_equal(node(f)->last_report, f->clock.mono);
    pass(f, 2950);
    expect(f, "");
    pass(f, TICK);
    expect(f, "ttl h:1 100-1 /pelorus/nodes/worker/h:1@1\nsuspect h:1 100-1\n");
    assert_true(renewed(f, 5, 1));
    expect(f, "flap h:1 100-1\n");
}

static void
a_renewal_of_another_process_or_of_nobody_counts_for_none(void **state)
{
    struct fixture *f = *state;

    assert_false(renewed(f, 5, 1));
    feed(f, REGISTRY_ADD, OURS, 5, 0, LEASED);
    assert_false(renewed(f, 6, 1));
    pass(f, 1000);
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, SECOND);
    expect(f, "up h:1 100-1\nreplaced h:1 100-1\n");
    pass(f, 2000);
    assert_true(renewed(f, 5, 1));
    expect(f, "");
    assert_true(node(f)->load.cpu == LOAD_UNKNOWN);
    pass(f, 1000);
    expect(f, "ttl h:1 200-2 /pelorus/nodes/worker/h:1@2\nsuspect h:1 200-2\n");
    feed(f, REGISTRY_REMOVE, OURS, 5, 0, NULL);
    assert_false(renewed(f, 5, 2));
    feed(f, REGISTRY_ADD, OURS, 9, 0, LEASED);
    assert_false(renewed(f, 5, 1));
    assert_true(renewed(f, 9, 1));
}

static void a_renewal_seen_before_the_last_write_changes_nothing(void **state)
{
    struct fixture *f = *state;
    const struct renewal r = {.created = 5, .generation = 1, .busy = true};
    mono_ms before;

    feed(f, REGISTRY_ADD, OURS, 5, 0, LEASED);
    before = f->clock.mono;
    pass(f, 1000);
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, LEASED);
    expect(f, "up h:1 100-1\nreport h:1 100-1\n");
    assert_true(membership_renewed(f->m, &r, before));
    expect(f, "");
    pass(f, 2950);
    expect(f, "");
}

static void a_mark_is_no_sign_of_life(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 0, LEASED);
    assert_true(renewed(f, 5, 1));
    expect(f, "up h:1 100-1\nreport h:1 100-1\n");
    pass(f, 2900);
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, LEASED_MARK);
    expect(f, "");
    assert_true(node(f)->load.cpu == 0.5);
    pass(f, 100);
    expect(f, "ttl h:1 100-1 /pelorus/nodes/worker/h:1@2\nsuspect h:1 100-1\n");
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, LEASED);
    expect(f, "flap h:1 100-1\n");
}

/* A store that went back has given the version to another write. */
static void in_another_session_the_same_version_is_news(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 0, LEASED);
    expect(f, "up h:1 100-1\n");
    f->version--;
    feed(f, REGISTRY_ADD, OURS, 5, 0, LEASED);
    expect(f, "");
    membership_connection(f->m, REGISTRY_WENT_BACK);
    membership_connection(f->m, REGISTRY_CONNECTED);
    f->version--;
    feed(f, REGISTRY_ADD, OURS, 5, 0, SECOND);
    expect(f, "replaced h:1 100-1\n");
    f->version--;
    feed(f, REGISTRY_ADD, OURS, 5, 0, LEASED);
    expect(f, "");
}

static void it_is_missed_after_as_long_as_it_is_watched(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 0, WIDE);
    expect(f, "up h:1 100-1\n");
    assert_int_equal(node(f)->ttl_ms, 3000);
    assert_int_equal(membership_lease(f->m, node(f)), 4000);
    pass(f, 1000);
    assert_true(renewed(f, 5, 1));
    expect(f, "report h:1 100-1\n");
    pass(f, 3950);
    expect(f, "");
    pass(f, TICK);
    expect(f, "ttl h:1 100-1 /pelorus/nodes/worker/h:1@1\nsuspect h:1 100-1\n");
}

static void after_a_gap_every_window_begins_again(void **state)
{
    struct fixture *f = *state;

    feed(f, REGISTRY_ADD, OURS, 5, 0, LEASED);
    expect(f, "up h:1 100-1\n");
    pass(f, 2950);
    membership_gap(f->m);
    pass(f, 2950);
    expect(f, "");
    pass(f, TICK);
    expect(f, "ttl h:1 100-1 /pelorus/nodes/worker/h:1@1\nsuspect h:1 100-1\n");
}

static bool still_over(struct fixture *f, const struct membership_over *over)
{
    return membership_still_over(f->m, OURS, over, &f->stands);
}

static void
it_is_still_over_until_anything_is_heard_or_begins_again(void **state)
{
    struct fixture *f = *state;
    struct membership_over first, other;

    feed(f, REGISTRY_ADD, OURS, 5, 0, LEASED);
    f->over.created = 5;
    assert_false(still_over(f, &f->over));
    pass(f, 3000);
    assert_true(still_over(f, &f->over));
    first = other = f->over;
    other.created = 4;
    assert_false(still_over(f, &other));
    assert_int_equal(f->stands, 1);
    feed(f, REGISTRY_UPDATE, OURS, 5, 0, LEASED_MARK);
    assert_true(still_over(f, &f->over));
    assert_int_equal(f->stands, 2);
    pass(f, 3000); /* told once more */
    assert_true(still_over(f, &f->over));
    assert_true(still_over(f, &first));
    assert_true(renewed(f, 5, 1));
    assert_false(still_over(f, &f->over));
    pass(f, 3000);
    assert_true(still_over(f, &f->over));
    assert_false(still_over(f, &first)); /* it was heard of between */
    membership_gap(f->m);
    assert_false(still_over(f, &f->over));
    pass(f, 3000);
    assert_true(still_over(f, &f->over));
    assert_true(f->doubted);
    feed(f, REGISTRY_REMOVE, OURS, 5, 0, NULL);
    assert_false(still_over(f, &f->over));
}

/* Many come and go: each is found by its own name, and no other. */
static void renewals_find_their_registrations_among_many(void **state)
{
    struct fixture *f = *state;
    char key[64];

    f->quiet = true;
    for (int i = 1; i <= 500; i++) {
        snprintf(key, sizeof(key), "/pelorus/nodes/worker/h:%d", i);
        feed(f, REGISTRY_ADD, key, (uint64_t)i, 0, LEASED);
        if (i == 100)
            assert_true(renewed(f, 7, 1));
    }
    for (int i = 1; i <= 500; i += 3) {
        snprintf(key, sizeof(key), "/pelorus/nodes/worker/h:%d", i);
        feed(f, REGISTRY_REMOVE, key, (uint64_t)i, 0, NULL);
    }
    pass(f, 1);
    for (int i = 1; i <= 500; i++) {
        const struct node *n;

        snprintf(key, sizeof(key), "h:%d", i);
        assert_int_equal(renewed(f, (uint64_t)i, 1), i % 3 != 1);
        n = membership_find(f->m, NODE_WORKER, key);
        assert_int_equal(n->status == NODE_BUSY, i % 3 != 1 || i == 7);
    }
    assert_false(renewed(f, 501, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_node_is_up_suspect_down_and_forgotten),
        TEST(the_same_process_back_is_a_flap),
        TEST(another_process_replaces_the_old_one_at_once),
        TEST(a_report_changes_load_and_says_so),
        TEST(busy_limits_picks_and_never_means_absent),
        TEST(an_unreadable_heartbeat_replaces_nobody),
        TEST(an_unknown_one_at_the_address_holds_everything),
        TEST(an_unknown_one_that_turns_out_the_same_goes_on),
        TEST(a_refused_load_leaves_the_last_good_one),
        TEST(a_bad_field_drops_that_field_only),
        TEST(what_of_a_key_is_not_used_is_a_problem_of_its_node),
        TEST(more_groups_than_are_kept_are_a_problem),
        TEST(a_key_rewritten_by_a_new_process_has_a_longer_grace),
        TEST(a_worker_is_gone_with_its_last_key),
        TEST(groups_come_from_path_and_heartbeat),
        TEST(of_two_processes_the_newest_registration_counts),
        TEST(an_older_process_comes_forward_with_its_load),
        TEST(an_older_process_comes_forward_when_the_newest_is_down),
        TEST(a_late_word_of_an_older_registration_changes_nothing),
        TEST(a_late_key_of_an_earlier_process_changes_nothing),
        TEST(who_is_written_over_by_an_earlier_one_keeps_his_lease),
        TEST(a_removal_of_an_earlier_key_is_ignored),
        COLD(nobody_is_down_before_it_is_settled),
        COLD(nobody_is_down_before_both_prefixes_are_synced),
        TEST(nobody_is_down_while_suspended_nor_right_after),
        TEST(a_new_session_settles_again),
        TEST(a_pause_of_ours_starts_the_grace_again),
        TEST(a_short_pause_starts_only_short_windows_again),
        TEST(a_key_unchanged_for_its_ttl_is_told_and_suspect),
        TEST(a_renewal_in_the_last_moment_is_a_flap),
        TEST(after_a_common_pause_nobody_is_reaped),
        TEST(a_pause_of_less_than_a_third_does_not_count),
        TEST(a_persistent_key_without_ttl_gets_the_sessions),
        TEST(the_session_is_the_lease_of_an_ephemeral_key),
        TEST(a_fenced_process_is_not_up_although_registered),
        TEST(down_becomes_fenced_with_the_intent),
        TEST(who_leaves_is_not_suspected),
        TEST(a_leave_that_is_told_late_ends_the_suspicion),
        TEST(who_left_before_we_looked_is_no_node),
        TEST(a_process_taken_back_or_readmitted_is_up_again),
        TEST(a_process_of_the_past_is_not_let_back),
        TEST(an_unknown_one_at_a_fenced_gate_stays_fenced),
        COLD(a_gate_without_a_registration_is_missing_from_the_start),
        COLD(a_restart_while_nobody_looked_is_a_replacement),
        TEST(a_process_let_in_elsewhere_is_awaited),
        TEST(forgetting_needs_an_end_and_no_key),
        TEST(every_sample_is_in_the_cluster_as_it_says),
        TEST(nodes_are_listed_in_the_order_of_their_appearance),
        TEST(ten_thousand_nodes_cost_a_tick_nothing),
        TEST(a_renewal_is_a_sign_of_life_and_a_report),
        TEST(a_renewal_of_another_process_or_of_nobody_counts_for_none),
        TEST(a_renewal_seen_before_the_last_write_changes_nothing),
        TEST(a_mark_is_no_sign_of_life),
        TEST(in_another_session_the_same_version_is_news),
        TEST(it_is_missed_after_as_long_as_it_is_watched),
        TEST(after_a_gap_every_window_begins_again),
        TEST(it_is_still_over_until_anything_is_heard_or_begins_again),
        TEST(renewals_find_their_registrations_among_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
