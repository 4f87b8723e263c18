/*
 * test_zookeeper_faults.c - outages on ZooKeeper, told and timed: a server
 * that hangs, dies and comes back, a network that breaks both ways or one way,
 * sessions that end behind our back, and a loop that stands still.
 *
 * SUSPENDED is due 2/3 of the timeout after the last write that was answered was
 * sent, DISCONNECTED at 1x. Each test makes one right before its outage, so that
 * both are known to a few milliseconds.
 */
#include "tests/registry/zookeeper_store.h"

#include "base/clock.h"
#include "registry/history.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define SLACK_MS 250 /* the backend looks at its clock every 100 ms */

/* A client with a lock, an ephemeral key and everything that it was told. */
struct member {
    struct registry *r;
    struct story story;
    struct held lock;
    char key[32], lock_key[32];
    uint64_t session;
    int64_t timeout, sent, since; /* the last write; the outage */
};

static void member_round_trip(struct world *w, struct member *m)
{
    /* The registry has the loop's time, too, which may be a while ago here. */
    m->sent = loop_clock(zktest_loop(w))->mono;
    assert_int_equal(do_put(w, m->r, "/round-trips", "1", REGISTRY_ANY, 0),
                     ERR_OK);
}

static void member_open(struct world *w, struct member *m, size_t i,
                        int64_t timeout_ms)
{
    memset(m, 0, sizeof(*m));
    m->timeout = timeout_ms;
    m->r = zktest_open_timeout(w, timeout_ms);
    story_begin(w, m->r, &m->story);
    assert_int_equal(m->story.states[0], REGISTRY_CONNECTED);
    m->session = registry_session(m->r);
    (void)snprintf(m->key, sizeof(m->key), "/e/%zu", i);
    (void)snprintf(m->lock_key, sizeof(m->lock_key), "/lock/%zu", i);
    assert_int_equal(do_put_ephemeral(w, m->r, m->key, "1", REGISTRY_ABSENT, 0),
                     ERR_OK);
    assert_int_equal(held_take(w, m->r, &m->lock, m->lock_key, "me", -1),
                     ERR_OK);
    zktest_lateness_reset(w);
}

static void member_close(struct member *m)
{
    held_release(&m->lock);
    story_end(&m->story);
}

/* Told when due: not before, and as soon after as this machine allows. */
static void expect_due(struct world *w, const struct member *m, int64_t at,
                       int64_t due)
{
    int64_t late = zktest_lateness(w); /* the longest turn: it began earlier */
    int64_t least = m->sent + due - late;
    int64_t most = m->since + due + SLACK_MS + 2 * late;

    if (at < least || at > most) {
        fail_msg("told after %" PRId64 " ms; due %" PRId64 ", at most %" PRId64,
                 at - m->sent, due, most - m->sent);
    }
}

static void expect_suspended(struct world *w, struct member *m, size_t at)
{
    expect_due(w, m, story_expect(&m->story, at, REGISTRY_SUSPENDED),
               m->timeout * 2 / 3);
}

static void expect_disconnected(struct world *w, struct member *m, size_t at)
{
    expect_due(w, m, story_expect(&m->story, at, REGISTRY_DISCONNECTED),
               m->timeout);
    assert_int_equal(m->lock.losses, 1);
    assert_int_equal(registry_session(m->r), 0);
}

static struct registry_op check_lock(const struct held *h)
{
    return (struct registry_op){.type = REGISTRY_CHECK_LOCK, .lock = h->lock};
}

/* The session goes on: nothing of it is lost. */
static void expect_all_there(struct world *w, struct member *m)
{
    struct registry_op op = check_lock(&m->lock);
    struct got g = {0};

    assert_true(registry_session(m->r) == m->session);
    assert_int_equal(m->lock.losses, 0);
    assert_int_equal(do_txn(w, m->r, &op, 1, NULL), ERR_OK);
    assert_int_equal(do_get(w, m->r, m->key, &g), ERR_OK);
    assert_true(g.entries[0].owner == m->session);
    assert_int_equal(story_count(&m->story, REGISTRY_DISCONNECTED), 0);
    got_free(&g);
}

/* A new session, and what was of the old one goes with it. */
static void expect_all_lost(struct world *w, struct member *m, size_t at)
{
    struct registry_op op = check_lock(&m->lock);

    (void)story_expect(&m->story, at, REGISTRY_CONNECTED);
    assert_int_equal(m->story.n, at + 1);
    assert_true(registry_session(m->r) != m->session);
    assert_int_equal(m->lock.losses, 1);
    assert_int_equal(do_txn(w, m->r, &op, 1, NULL), ERR_CONFLICT);
    world_until(w, do_exists(w, m->r, m->key) == ERR_NOT_FOUND);
    held_release(&m->lock);
    assert_int_equal(held_take(w, m->r, &m->lock, m->lock_key, "me", -1),
                     ERR_OK);
    assert_int_equal(do_put_ephemeral(w, m->r, m->key, "1", REGISTRY_ABSENT, 0),
                     ERR_OK);
    assert_int_equal(m->story.n, at + 1);
}

static void expect_unavailable(struct world *w, struct member *m)
{
    struct registry_op op = check_lock(&m->lock);

    assert_int_equal(do_get(w, m->r, m->key, NULL), ERR_UNAVAILABLE);
    assert_int_equal(do_txn(w, m->r, &op, 1, NULL), registry_session(m->r) == 0
                                                        ? ERR_CONFLICT
                                                        : ERR_UNAVAILABLE);
}

/* --- the server ---------------------------------------------------------- */

static void a_server_that_hangs_suspends_and_then_ends_the_session(void **state)
{
    struct world *w = *state;
    struct member m;

    member_open(w, &m, 0, ZOOKEEPER_TIMEOUT_MS);
    member_round_trip(w, &m);
    zookeeper_server_stop(zktest_server);
    m.since = clock_mono_ms();
    expect_suspended(w, &m, 1);
    expect_unavailable(w, &m);
    assert_true(registry_lock_held(m.lock.lock)); /* as far as we know */
    expect_disconnected(w, &m, 2);
    expect_unavailable(w, &m);
    world_pass(w, m.timeout / 2);
    assert_int_equal(m.story.n, 3);
    zookeeper_server_cont(zktest_server);
    expect_all_lost(w, &m, 3);
    member_close(&m);
}

static void restart_server(void)
{
    struct err err;

    zookeeper_server_kill(zktest_server);
    if (zookeeper_server_restart(zktest_server, &err) != 0)
        fail_msg("%s", err.msg);
}

static void a_server_that_is_back_in_time_has_lost_nothing(void **state)
{
    struct world *w = *state;
    struct member m;

    member_open(w, &m, 0, 6 * ZOOKEEPER_TIMEOUT_MS);
    restart_server();
    world_until(w, zookeeper_server_answers(zktest_server));
    world_until(w, do_get(w, m.r, m.key, NULL) == ERR_OK);
    expect_all_there(w, &m);
    if (m.story.n > 1) { /* a slow start of the server */
        (void)story_expect(&m.story, 1, REGISTRY_SUSPENDED);
        (void)story_expect(&m.story, 2, REGISTRY_RECONNECTED);
        assert_int_equal(m.story.n, 3);
    }
    member_close(&m);
}

static void
a_server_that_is_back_after_the_suspension_has_lost_nothing(void **state)
{
    struct world *w = *state;
    struct proxy *proxy;
    struct member m;

    member_open(w, &m, 0, 6 * ZOOKEEPER_TIMEOUT_MS);
    proxy = zktest_proxy(w, m.r);
    member_round_trip(w, &m);
    proxy_refuse(proxy, true);
    restart_server();
    m.since = clock_mono_ms();
    expect_suspended(w, &m, 1);
    world_until(w, zookeeper_server_answers(zktest_server));
    proxy_refuse(proxy, false);
    (void)story_expect(&m.story, 2, REGISTRY_RECONNECTED);
    expect_all_there(w, &m);
    assert_int_equal(m.story.n, 3);
    member_close(&m);
}

static void a_server_that_is_back_too_late_finds_a_new_session(void **state)
{
    struct world *w = *state;
    struct registry *late;
    struct conf_registry conf = zktest_conf(w);
    struct err err;
    struct member m;

    member_open(w, &m, 0, ZOOKEEPER_TIMEOUT_MS);
    member_round_trip(w, &m);
    zookeeper_server_kill(zktest_server);
    m.since = clock_mono_ms();
    late = zktest_open(w, &conf, NULL); /* begins while there is no server */
    expect_suspended(w, &m, 1);
    expect_disconnected(w, &m, 2);
    assert_int_equal(registry_state(late), REGISTRY_DISCONNECTED);
    assert_int_equal(zookeeper_server_restart(zktest_server, &err), 0);
    world_until(w, zookeeper_server_answers(zktest_server));
    expect_all_lost(w, &m, 3);
    world_until(w, registry_session(late) != 0);
    version_of(w, late, m.key, "1");
    member_close(&m);
}

/* --- the network --------------------------------------------------------- */

static const unsigned ways[] = {PROXY_TO_SERVER, PROXY_TO_CLIENT, PROXY_BOTH};

#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static void cut_all(struct world *w, struct member m[N_WAYS])
{
    for (size_t i = 0; i < N_WAYS; i++) {
        member_round_trip(w, &m[i]);
        proxy_cut(zktest_proxy(w, m[i].r), ways[i]);
        m[i].since = clock_mono_ms();
    }
}

static void heal_all(struct world *w, struct member m[N_WAYS])
{
    for (size_t i = 0; i < N_WAYS; i++)
        proxy_cut(zktest_proxy(w, m[i].r), 0);
}

/* To the server, to the client and both, each for its own client. */
static void a_cut_shorter_than_the_session_loses_nothing(void **state)
{
    struct world *w = *state;
    int64_t timeout = 2 * ZOOKEEPER_TIMEOUT_MS;
    struct member m[N_WAYS];

    for (size_t i = 0; i < N_WAYS; i++)
        member_open(w, &m[i], i, timeout);
    cut_all(w, m);
    world_pass(w, timeout * 4 / 5);
    heal_all(w, m);
    for (size_t i = 0; i < N_WAYS; i++) {
        expect_suspended(w, &m[i], 1);
        (void)story_expect(&m[i].story, 2, REGISTRY_RECONNECTED);
        expect_all_there(w, &m[i]);
        assert_int_equal(m[i].story.n, 3);
        member_close(&m[i]);
    }
}

static void a_cut_longer_than_the_session_loses_it(void **state)
{
    struct world *w = *state;
    int64_t timeout = ZOOKEEPER_TIMEOUT_MS;
    struct member m[N_WAYS];

    for (size_t i = 0; i < N_WAYS; i++)
        member_open(w, &m[i], i, timeout);
    cut_all(w, m);
    world_pass(w, timeout * 3 / 2);
    heal_all(w, m);
    for (size_t i = 0; i < N_WAYS; i++) {
        expect_suspended(w, &m[i], 1);
        expect_due(w, &m[i],
                   story_expect(&m[i].story, 2, REGISTRY_DISCONNECTED),
                   timeout);
        expect_all_lost(w, &m[i], 3);
        member_close(&m[i]);
    }
}

/* By its timeout, and what one try takes. */
static int64_t until_gone(struct world *w, struct raw *raw,
                          const struct member *m)
{
    int64_t patience = 3 * m->timeout;

    while (raw_stat(raw, zktest_path(w, m->key), NULL)) {
        world_pass(w, 20);
        if (clock_mono_ms() - m->since > patience)
            fail_msg("its key still stands after %" PRId64 " ms", patience);
    }
    return clock_mono_ms() - m->since;
}

/* The server hears us all the time: it must not take that for a life. */
static void with_its_answers_lost_a_session_ends_in_time(void **state)
{
    struct world *w = *state;
    struct raw raw;
    struct member m;

    member_open(w, &m, 0, 2 * ZOOKEEPER_TIMEOUT_MS);
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    member_round_trip(w, &m);
    proxy_cut(zktest_proxy(w, m.r), PROXY_TO_CLIENT);
    m.since = clock_mono_ms();
    expect_suspended(w, &m, 1);
    expect_disconnected(w, &m, 2);
    assert_true(until_gone(w, &raw, &m) < m.timeout * 2);
    world_pass(w, m.timeout * 3 / 2); /* and it does not come back to life */
    assert_int_equal(m.story.n, 3);
    proxy_cut(zktest_proxy(w, m.r), 0);
    expect_all_lost(w, &m, 3);
    raw_close(&raw);
    member_close(&m);
}

static void closing_without_answers_ends_the_session(void **state)
{
    struct world *w = *state;
    struct raw raw;
    struct member m;

    member_open(w, &m, 0, 3 * ZOOKEEPER_TIMEOUT_MS);
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    proxy_cut(zktest_proxy(w, m.r), PROXY_TO_CLIENT);
    (void)proxy_reset(zktest_proxy(w, m.r));
    world_pass(w, 300);
    m.since = clock_mono_ms();
    member_close(&m);
    world_close(w, &m.r);
    assert_true(until_gone(w, &raw, &m) < m.timeout / 2);
    raw_close(&raw);
}

static void a_slow_network_is_no_outage(void **state)
{
    struct world *w = *state;
    struct member m;

    member_open(w, &m, 0, ZOOKEEPER_TIMEOUT_MS);
    proxy_delay(zktest_proxy(w, m.r), ZOOKEEPER_TIMEOUT_MS / 10);
    for (int i = 0; i < 10; i++)
        member_round_trip(w, &m);
    expect_all_there(w, &m);
    assert_int_equal(m.story.n, 1);
    member_close(&m);
}

/* --- behind our back ----------------------------------------------------- */

static void a_session_that_was_ended_is_noticed_at_once(void **state)
{
    struct world *w = *state;
    struct member m;

    member_open(w, &m, 0, 2 * ZOOKEEPER_TIMEOUT_MS);
    for (size_t i = 0; i < 5; i++) {
        int64_t begin = clock_mono_ms();

        w->backend->expire(w->store, m.r);
        assert_true(story_expect(&m.story, 1 + 2 * i, REGISTRY_DISCONNECTED) -
                        begin <
                    m.timeout / 2);
        expect_all_lost(w, &m, 2 + 2 * i);
        m.session = registry_session(m.r);
    }
    member_close(&m);
}

/* The loop stands still, and the proxy with it. */
static void a_loop_that_paused_shortly_has_lost_nothing(void **state)
{
    struct world *w = *state;
    struct member m;

    member_open(w, &m, 0, ZOOKEEPER_TIMEOUT_MS);
    member_round_trip(w, &m);
    (void)poll(NULL, 0, (int)m.timeout / 2);
    world_until(w, do_get(w, m.r, m.key, NULL) == ERR_OK);
    world_pass(w, m.timeout / 2);
    expect_all_there(w, &m);
    assert_int_equal(story_count(&m.story, REGISTRY_SUSPENDED),
                     story_count(&m.story, REGISTRY_RECONNECTED));
    member_close(&m);
}

static void a_loop_that_paused_for_longer_has_lost_its_session(void **state)
{
    struct world *w = *state;
    struct member m;

    member_open(w, &m, 0, ZOOKEEPER_TIMEOUT_MS);
    member_round_trip(w, &m);
    (void)poll(NULL, 0, (int)m.timeout * 2);
    world_until(w, m.lock.losses == 1);
    world_until(w, story_count(&m.story, REGISTRY_CONNECTED) == 2);
    assert_int_equal(story_count(&m.story, REGISTRY_RECONNECTED), 0);
    expect_all_lost(w, &m, m.story.n - 1);
    member_close(&m);
}

/* --- lists under way ----------------------------------------------------- */

static void count(void *arg, const struct registry_reply *reply)
{
    (void)reply;
    ++*(size_t *)arg;
}

/* Wherever in its list it is: some names are read, some on their way. */
static void a_list_is_answered_when_its_session_ends(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct raw raw;

    world_fill(w, r, "/many", 500);
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    for (int turns = 0; turns < 40; turns++) {
        struct conf_registry conf = zktest_conf(w);
        struct registry *lister = zktest_open(w, &conf, NULL);
        size_t answered = 0;

        registry_compare(lister, "lister", NULL, false);
        world_until(w, registry_session(lister) != 0);
        registry_list(lister, "/many", NULL, REGISTRY_PAGE_MAX, count,
                      &answered);
        for (int i = 0; i < turns && answered == 0; i++)
            w->backend->turn(w->store, 1);
        registry_report_contradiction(lister, NULL, "a reason to end it");
        world_until(w, answered == 1);
        world_close(w, &lister);
        raw_delete(&raw, zktest_path(w, HISTORY_KEY)); /* and its mark */
    }
    raw_close(&raw);
}

#ifdef __SANITIZE_ADDRESS__
/* The library forgets answers that were on their way to it when a handle is
 * closed; tests/lib/lsan.supp knows those that can be told by a name. */
const char *__lsan_default_suppressions(void); /* NOLINT: the runtime's name */
const char *__lsan_default_suppressions(void)  /* NOLINT */
{
    return "leak:libzookeeper_";
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        ZKTEST(a_list_is_answered_when_its_session_ends),
        ZKTEST(a_server_that_hangs_suspends_and_then_ends_the_session),
        ZKTEST(a_server_that_is_back_in_time_has_lost_nothing),
        ZKTEST(a_server_that_is_back_after_the_suspension_has_lost_nothing),
        ZKTEST(a_server_that_is_back_too_late_finds_a_new_session),
        ZKTEST(a_cut_shorter_than_the_session_loses_nothing),
        ZKTEST(a_cut_longer_than_the_session_loses_it),
        ZKTEST(with_its_answers_lost_a_session_ends_in_time),
        ZKTEST(closing_without_answers_ends_the_session),
        ZKTEST(a_slow_network_is_no_outage),
        ZKTEST(a_session_that_was_ended_is_noticed_at_once),
        ZKTEST(a_loop_that_paused_shortly_has_lost_nothing),
        ZKTEST(a_loop_that_paused_for_longer_has_lost_its_session),
    };
    int failed;

    if (zktest_begin() != 0)
        return 1;
    failed = cmocka_run_group_tests_name("zookeeper_faults", tests, NULL, NULL);
    zktest_end();
    return failed;
}
