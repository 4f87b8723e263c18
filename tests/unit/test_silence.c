/*
 * test_silence.c - when silence is absence (registry/pauses.h), as
 * properties: whoever died is seen dead within its timeout and two looks and
 * never before it, for every timeout, interval and jitter of the grid; whoever
 * lives is never seen dead, whatever pauses of ours and silences of the
 * registry come between. Time is virtual.
 * (Longer than 500 lines: one rule, and everybody who goes by it.)
 */
#include "base/log.h"
#include "base/rand.h"
#include "cluster/membership.h"
#include "registry/dbms/dbms_priv.h"
#include "registry/pauses.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TURN 50
#define KEY  "/pelorus/nodes/worker/h:1"

static int64_t jittered(struct rand *r, int64_t ms)
{
    return ms - ms / 5 + (int64_t)rand_below(r, (uint64_t)(ms / 5 * 2) + 1);
}

/* --- a node that lives by a ttl, in membership --------------------------- */

struct node_world {
    struct clock clock;
    struct gates *gates;
    struct membership *m;
    struct rand rand;
    uint64_t version;
    int64_t ttl, answer_every;
    mono_ms next_answer;
    mono_ms told; /* when its ttl was said to be over; 0 never */
    bool silent;
};

static void on_event(void *arg, const struct membership_event *ev)
{
    struct node_world *w = arg;

    if (ev->type == MEMBERSHIP_TTL_OVER && w->told == 0)
        w->told = w->clock.mono;
}

static void told(struct node_world *w, enum membership_source source,
                 enum registry_event_type type)
{
    char value[64];
    struct registry_event ev = {
        .type = type,
        .entry = {
            .key = KEY, .value = value, .created = 1, .version = ++w->version}};

    ev.entry.value_len = (size_t)snprintf(
        value, sizeof(value), "{\"startupTime\":1,\"ttl\":%d}", (int)w->ttl);
    membership_feed(w->m, source, &ev);
}

static void renew(struct node_world *w)
{
    told(w, MEMBERSHIP_OURS, REGISTRY_UPDATE);
}

/* One turn; answers come by themselves every `answer_every`, and when one is
 * asked for at the interval of the first. */
static void turn(struct node_world *w, int64_t ms)
{
    w->clock.mono += ms;
    if (!w->silent && w->clock.mono >= w->next_answer) {
        membership_answered(w->m, w->clock.mono);
        w->next_answer = w->clock.mono + jittered(&w->rand, w->answer_every);
    }
    membership_tick(w->m);
}

static void pass(struct node_world *w, int64_t ms)
{
    for (mono_ms end = w->clock.mono + ms; w->clock.mono < end;)
        turn(w, end - w->clock.mono < TURN ? end - w->clock.mono : TURN);
}

static void node_open(struct node_world *w, int64_t ttl, int64_t answer_every,
                      uint64_t seed)
{
    struct membership_config config = {.clock = &w->clock,
                                       .grace_ms = 1000,
                                       .settle_ms = 1000,
                                       .heartbeat_interval_ms = 10000,
                                       .session_timeout_ms = 60000,
                                       .answer_ms = answer_every};

    memset(w, 0, sizeof(*w));
    rand_seed(&w->rand, seed);
    w->clock.mono = 1000000;
    w->ttl = ttl;
    w->answer_every = answer_every;
    w->gates = config.gates = gates_new(&w->clock, NULL);
    w->m = membership_new(&config, on_event, w);
    membership_connection(w->m, REGISTRY_CONNECTED);
    told(w, MEMBERSHIP_NODES, REGISTRY_SYNCED);
    told(w, MEMBERSHIP_OURS, REGISTRY_SYNCED);
    pass(w, 2000);
    told(w, MEMBERSHIP_OURS, REGISTRY_ADD);
    /* It lives for a while, and is heard; what is usual is known by then. */
    for (mono_ms end = w->clock.mono + 5 * ttl + 8 * answer_every;
         w->clock.mono < end;) {
        pass(w, jittered(&w->rand, ttl / 4));
        renew(w);
    }
    assert_int_equal(w->told, 0);
}

static const int64_t spans[] = {1000, 1500,  2000,  3000,  5000,
                                9000, 12000, 20000, 30000, 60000};
static const int64_t intervals[] = {100,  250,  333,  500,  1000,
                                    2000, 3000, 5000, 10000};

static void a_dead_node_is_seen_within_its_ttl_and_two_looks(void **state)
{
    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(spans); s++)
        for (size_t i = 0; i < ARRAY_LEN(intervals); i++)
            for (uint64_t seed = 0; seed < 5; seed++) {
                struct node_world w;
                int64_t look = intervals[i] + intervals[i] / 5 + TURN;
                mono_ms died;

                node_open(&w, spans[s], intervals[i], seed);
                died = w.clock.mono;
                pass(&w, spans[s] + 3 * look);
                if (w.told == 0 || w.told - died < spans[s] ||
                    w.told - died > spans[s] + 2 * look)
                    fail_msg("ttl %d, answers every %d, seed %d: told after "
                             "%d",
                             (int)spans[s], (int)intervals[i], (int)seed,
                             w.told == 0 ? -1 : (int)(w.told - died));
                membership_free(&w.m);
                gates_free(&w.gates);
            }
}

/* For the ttl of a node, and longer, nothing comes back; its renewals do not
 * get through either. Then they do, every third of the ttl. */
static void a_silent_registry_takes_nobodys_ttl(void **state)
{
    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(spans); s++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct node_world w;
            int64_t every = spans[s] / 3 < 2000 ? spans[s] / 3 : 2000;

            node_open(&w, spans[s], every, seed);
            for (int n = 0; n < 10; n++) {
                w.silent = true;
                pass(&w, spans[s] / 3 + (int64_t)rand_below(
                                            &w.rand, (uint64_t)spans[s] * 2));
                assert_int_equal(w.told, 0);
                w.silent = false;
                w.next_answer = w.clock.mono; /* it answers before any node */
                for (int k = 0; k < 3; k++) {
                    pass(&w, jittered(&w.rand, spans[s] / 4));
                    renew(&w);
                }
                if (w.told != 0)
                    fail_msg("ttl %d, seed %d: told at %d", (int)spans[s],
                             (int)seed, (int)w.told);
            }
            membership_free(&w.m);
            gates_free(&w.gates);
        }
}

/* A server that was stopped answers all that piled up at once: requests that
 * were sent all through its pause, and nobody was heard in it. */
static void answers_that_pile_up_prove_no_presence(void **state)
{
    struct node_world w;

    (void)state;
    node_open(&w, 9000, 1000, 1);
    w.silent = true;
    for (mono_ms from = w.clock.mono, to = from + 8900; w.clock.mono < to;)
        turn(&w, TURN);
    for (mono_ms sent = w.clock.mono - 8900; sent <= w.clock.mono; sent += 250)
        membership_answered(w.m, sent);
    w.silent = false;
    w.next_answer = w.clock.mono;
    pass(&w, 3000);
    assert_int_equal(w.told, 0);
    renew(&w);
    pass(&w, 8900);
    assert_int_equal(w.told, 0);
    membership_free(&w.m);
    gates_free(&w.gates);
}

static void a_pause_of_ours_takes_nobodys_ttl(void **state)
{
    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(spans); s++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct node_world w;

            node_open(&w, spans[s], 300, seed);
            for (int n = 0; n < 5; n++) {
                /* all of us sleep; the node renews within a third after */
                turn(&w, spans[s] / 2 + (int64_t)rand_below(
                                            &w.rand, (uint64_t)spans[s] * 3));
                pass(&w, jittered(&w.rand, spans[s] / 4));
                renew(&w);
                assert_int_equal(w.told, 0);
            }
            membership_free(&w.m);
            gates_free(&w.gates);
        }
}

/* Grace and settle, too: nobody is DOWN by a silence. */
static void a_silent_registry_takes_nobodys_grace(void **state)
{
    struct node_world w;
    const struct node *n;

    (void)state;
    node_open(&w, 30000, 1000, 1);
    n = membership_find(w.m, NODE_WORKER, "h:1");
    w.silent = true;
    told(&w, MEMBERSHIP_OURS, REGISTRY_REMOVE);
    assert_int_equal(n->state, NODE_SUSPECT);
    pass(&w, 20000);
    assert_int_equal(n->state, NODE_SUSPECT);
    assert_true(membership_silent(w.m));
    assert_true(membership_answer_due(w.m) <= w.clock.mono);
    w.silent = false;
    turn(&w, TURN); /* the first answer is no whole grace */
    assert_int_equal(n->state, NODE_SUSPECT);
    assert_false(membership_silent(w.m));
    pass(&w, 4000);
    assert_int_equal(n->state, NODE_DOWN);
    membership_free(&w.m);
    gates_free(&w.gates);
}

/* --- clients and sessions in a database ---------------------------------- */

/* The worker's poll, in virtual time: a turn every 100 ms, a write when one is
 * due or wanted, a look every `look_every`, late or early by up to a fifth. */
struct table {
    struct sql_core core;
    struct dbms_dolphin dolphin;
    struct sql_reaper reaper;
    struct rand rand;
    mono_ms now, next_look, last_look, next_beat;
    int64_t look_every, timeout;
    uint64_t beat;
    bool client; /* of DolphinScheduler; else a session of ours */
    bool purged, wrote;
    bool silent; /* nothing comes back */
    mono_ms dead;
};

static int sessions(struct sql_core *core, uint64_t self,
                    struct sql_reaper *reaper, struct err *err)
{
    struct table *t = CONTAINER_OF(core, struct table, core);
    struct sql_seen seen = {.id = 7,
                            .beat = t->beat,
                            .timeout_ms = t->timeout,
                            .window_ms = t->timeout};

    (void)self;
    (void)err;
    sql_reaper_add(reaper, &seen);
    return 0;
}

static int reap(struct sql_core *core, const struct sql_seen *victim,
                uint64_t self, struct err *err)
{
    struct table *t = CONTAINER_OF(core, struct table, core);

    (void)self;
    (void)err;
    assert_int_equal(victim->beat, t->beat);
    t->dead = t->dead == 0 ? t->now : t->dead;
    return 0;
}

static const struct sql_core_ops table_ops = {.sessions = sessions,
                                              .reap = reap};

static void look_at(struct table *t)
{
    struct dbms_dolphin *o = &t->dolphin;
    size_t n;

    t->last_look = t->now;
    t->next_look = t->now + jittered(&t->rand, t->look_every);
    if (!t->client) {
        assert_int_equal(
            sql_reaper_look(&t->reaper, &t->core, 1, t->now, true, NULL), 0);
        assert_int_equal(
            sql_reaper_reap(&t->reaper, &t->core, 1, t->now, &n, NULL), 0);
        return;
    }
    o->look++;
    if (!t->purged)
        dbms_peer_beat(o, 7, t->beat, t->timeout, 0, t->now);
    (void)dbms_peer_data(o, NULL, 7, t->wrote, t->now);
    t->wrote = false;
    dbms_peers_judge(o, &t->core, t->now);
    o->unproved = t->core.wanted == t->now;
    if (dbms_peer_dead(o, 7))
        t->dead = t->dead == 0 ? t->now : t->dead;
}

static void table_turn(struct table *t, int64_t ms)
{
    t->now += ms;
    (void)registry_pauses_tick(&t->core.turns, t->now, 100);
    if (t->silent)
        return;
    if (t->now >= t->next_beat || t->core.wanted > t->core.proved) {
        t->core.proved = t->now;
        (void)registry_pauses_tick(&t->core.answers, t->now,
                                   sql_core_beat_ms(&t->core));
        t->next_beat = t->now + jittered(&t->rand, sql_core_beat_ms(&t->core));
    }
    if (t->now >= t->next_look || t->core.wanted == t->last_look)
        look_at(t);
}

static void table_pass(struct table *t, int64_t ms)
{
    for (mono_ms end = t->now + ms; t->now < end;)
        table_turn(t, end - t->now < 100 ? end - t->now : 100);
}

static void table_open(struct table *t, bool client, int64_t timeout,
                       int64_t look_every, uint64_t seed)
{
    memset(t, 0, sizeof(*t));
    rand_seed(&t->rand, seed);
    t->now = 1000000;
    t->client = client;
    t->timeout = timeout;
    t->look_every = look_every;
    t->core.ops = &table_ops;
    t->core.beat_ms = look_every;
    t->dolphin.timeout_ms = 60000;
    t->beat = 1;
    sql_core_init(&t->core, t->now);
    for (mono_ms end = t->now + 5 * timeout + 8 * look_every; t->now < end;) {
        table_pass(t, jittered(&t->rand, timeout / 4));
        t->beat++;
    }
    assert_int_equal(t->dead, 0);
}

static void table_close(struct table *t)
{
    dbms_peers_forget(&t->dolphin);
    sql_reaper_close(&t->reaper);
}

static const int64_t looks[] = {50,   100,  300,  1000, 1500,
                                3000, 5000, 9000, 20000};

static void no_log(void *arg, enum log_level level, const char *line, size_t n)
{
    (void)arg;
    (void)level;
    (void)line;
    (void)n;
}

static void each_table(void (*check)(struct table *t))
{
    log_set_sink(no_log, NULL);
    for (int client = 0; client < 2; client++)
        for (size_t s = 0; s < ARRAY_LEN(spans); s++)
            for (size_t i = 0; i < ARRAY_LEN(looks); i++)
                for (uint64_t seed = 0; seed < 3; seed++) {
                    struct table t;

                    table_open(&t, client != 0, spans[s], looks[i], seed);
                    check(&t);
                    table_close(&t);
                }
    log_set_sink(NULL, NULL);
}

static void in_time(struct table *t)
{
    int64_t look = t->look_every + t->look_every / 5 + 100;
    mono_ms died = t->now;

    table_pass(t, t->timeout + 3 * look);
    if (t->dead == 0 || t->dead - died < t->timeout ||
        t->dead - died > t->timeout + 2 * look)
        fail_msg("%s, timeout %d, looks every %d: dead after %d",
                 t->client ? "client" : "session", (int)t->timeout,
                 (int)t->look_every, t->dead == 0 ? -1 : (int)(t->dead - died));
}

static void the_dead_are_seen_within_their_timeout_and_two_looks(void **state)
{
    (void)state;
    each_table(in_time);
}

/* All of us sleep, or the store takes nothing: whoever goes on within a third
 * of its timeout lives. */
static void beats_after_a_pause(struct table *t)
{
    for (int n = 0; n < 6; n++) {
        int64_t ms = t->timeout / 2 +
                     (int64_t)rand_below(&t->rand, (uint64_t)t->timeout * 2);

        if (n % 2 == 0) {
            table_turn(t, ms);
        } else {
            t->silent = true;
            table_pass(t, ms);
            t->silent = false;
        }
        for (int k = 0; k < 4; k++) {
            table_pass(t, jittered(&t->rand, t->timeout / 4));
            t->beat++;
        }
        if (t->dead != 0)
            fail_msg("%s, timeout %d, looks every %d: dead after a pause of "
                     "%d",
                     t->client ? "client" : "session", (int)t->timeout,
                     (int)t->look_every, (int)ms);
    }
}

static void nobody_dies_of_a_pause_or_of_a_silent_store(void **state)
{
    (void)state;
    each_table(beats_after_a_pause);
}

/* Purged while it was stopped, its plugin writes its data and never its
 * heartbeat again: alive, once and for all, until the data stands still. */
static void who_was_purged_lives_by_its_data(void **state)
{
    struct table t;
    mono_ms died;

    (void)state;
    log_set_sink(no_log, NULL);
    table_open(&t, true, 9000, 1000, 1);
    table_pass(&t, 12000); /* stopped */
    assert_true(t.dead != 0);
    t.purged = true;
    table_pass(&t, 3000);
    assert_true(dbms_peer_dead(&t.dolphin, 7)); /* that is no sign of life */
    t.wrote = true;
    t.dead = 0;
    for (int i = 0; i < 30; i++) {
        table_pass(&t, jittered(&t.rand, 10000));
        assert_int_equal(t.dead, 0);
        t.wrote = true;
    }
    table_pass(&t, 1200);
    died = t.now;
    table_pass(&t, 60000);
    assert_in_range(t.dead - died, 25000, 40000);
    /* However rarely it writes: not dead and alive in turn. */
    for (int i = 0; i < 10; i++) {
        t.wrote = true;
        table_pass(&t, 1200);
        t.dead = 0;
        table_pass(&t, 60000);
        assert_true(i < 2 || t.dead == 0);
    }
    table_close(&t);
    log_set_sink(NULL, NULL);
}

/* --- the rule itself ----------------------------------------------------- */

static void slow_looks_are_no_absence_once_they_are_usual(void **state)
{
    struct registry_pauses a;
    mono_ms now = 1000;

    (void)state;
    registry_pauses_init(&a, now);
    for (int i = 0; i < 4; i++)
        assert_int_equal(registry_pauses_tick(&a, now += 2000, 100), 2000);
    for (int i = 0; i < 10; i++)
        assert_int_equal(registry_pauses_tick(&a, now += 2000 + i * 40, 100),
                         0);
    assert_int_equal(registry_pauses_tick(&a, now += 9000, 100), 9000);
    assert_int_equal(registry_pauses_tick(&a, now += 100, 100), 0);
    assert_int_equal(registry_pauses_tick(&a, now += 2000, 100), 2000);
}

static void absences_matter_as_long_as_they_are(void **state)
{
    struct registry_pauses a;
    mono_ms now = 1000;

    (void)state;
    registry_pauses_init(&a, now);
    registry_pauses_tick(&a, now = 31000, 100); /* 30 s */
    registry_pauses_tick(&a, now = 31100, 100);
    registry_pauses_tick(&a, now = 32100, 100); /* 1 s */
    assert_int_equal(registry_pauses_window_start(&a, 500, 9000), 31000);
    assert_int_equal(registry_pauses_window_start(&a, 500, 100000), 500);
    assert_int_equal(registry_pauses_window_start(&a, 500, 2000), 32100);
    assert_int_equal(registry_pauses_window_start(&a, 31050, 2000), 32100);
    assert_int_equal(registry_pauses_window_start(&a, 31050, 9000), 31050);
    assert_int_equal(registry_pauses_window_start(&a, 33000, 2000), 33000);
    /* only what falls into the window */
    assert_int_equal(registry_pauses_window_start(&a, 30900, 9000), 30900);
    /* more steps than there are: never less than true */
    for (int64_t gap = 20000; gap > 1000; gap -= 1500) {
        registry_pauses_tick(&a, now += 100, 100);
        registry_pauses_tick(&a, now += gap, 100);
        assert_int_equal(registry_pauses_window_start(&a, now - gap - 1, gap),
                         now);
    }
    assert_true(a.n_pauses <= REGISTRY_PAUSES_MAX);
    assert_true(registry_pauses_window_start(&a, 500, 9000) > 31000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_node_is_seen_within_its_ttl_and_two_looks),
        cmocka_unit_test(a_silent_registry_takes_nobodys_ttl),
        cmocka_unit_test(answers_that_pile_up_prove_no_presence),
        cmocka_unit_test(a_pause_of_ours_takes_nobodys_ttl),
        cmocka_unit_test(a_silent_registry_takes_nobodys_grace),
        cmocka_unit_test(the_dead_are_seen_within_their_timeout_and_two_looks),
        cmocka_unit_test(nobody_dies_of_a_pause_or_of_a_silent_store),
        cmocka_unit_test(who_was_purged_lives_by_its_data),
        cmocka_unit_test(slow_looks_are_no_absence_once_they_are_usual),
        cmocka_unit_test(absences_matter_as_long_as_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
