/*
 * test_zookeeper_contenders.c - two that want the same lock, again and again,
 * while connections break, sessions end and clients die.
 *
 * Whoever has it writes its fencing number over the last one, in a txn that
 * checks the lock: what was written before must be smaller, in the order of
 * the registry itself. At the end nothing is left in the queue.
 *
 * And contenders of other layouts in the same directory: who comes first there,
 * and what is said of them.
 *
 * With arguments it is itself a contender, see zookeeper_contender.h: for
 * tests that put Curator beside two of ours and kill them.
 */
#include "tests/registry/zookeeper_contender.h"
#include "tests/registry/zookeeper_store.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 20261125
#define KEY  "/lock/master-failover"

struct contender {
    struct registry *r;
    struct held lock;
    struct got got;
    enum { IDLE, QUEUED, READING, WRITING } step;
    bool doomed; /* we ended its session; it may not know yet */
    uint64_t session;
    size_t proven; /* since they were last counted */
};

static void release(struct contender *c)
{
    held_release(&c->lock);
    got_free(&c->got);
    c->step = IDLE;
}

static void read_fence(struct contender *c)
{
    c->step = READING;
    registry_get(c->r, "/fence", got_reply, &c->got);
}

static void write_fence(struct contender *c)
{
    struct got was = c->got;
    char value[24];
    struct registry_op ops[2] = {
        {.type = REGISTRY_CHECK_LOCK, .lock = c->lock.lock},
        {.type = REGISTRY_PUT,
         .expect = REGISTRY_VERSION,
         .key = "/fence",
         .value = value,
         .version = was.entries[0].version}};

    /* With the lock ours no other can have a higher one; without, the txn
     * is refused. */
    if (strtoull(was.entries[0].value, NULL, 10) >= c->lock.fence) {
        ops[1].key = "/two-holders";
        ops[1].expect = REGISTRY_ABSENT;
    }
    (void)snprintf(value, sizeof(value), "%" PRIu64, c->lock.fence);
    ops[1].value_len = strlen(value);
    memset(&c->got, 0, sizeof(c->got));
    c->step = WRITING;
    registry_txn(c->r, ops, 2, got_reply, &c->got);
    got_free(&was);
}

static void contend(struct contender *c, const struct contender *other)
{
    if (c->session != registry_session(c->r)) {
        c->session = registry_session(c->r);
        c->doomed &= c->session == 0;
    }
    switch (c->step) {
    case IDLE:
        if (c->session != 0) {
            held_ask(c->r, &c->lock, KEY, "me", -1);
            c->step = QUEUED;
        }
        break;
    case QUEUED:
        if (c->lock.answers == 0)
            break;
        if (c->lock.code != ERR_OK) {
            assert_int_equal(c->lock.code, ERR_SESSION_LOST);
            release(c);
            break;
        }
        /* The other believes in its lock only if it cannot know better. */
        assert_true(c->doomed || other->doomed || other->step < READING ||
                    !registry_lock_held(other->lock.lock) ||
                    registry_state(other->r) == REGISTRY_SUSPENDED);
        read_fence(c);
        break;
    case READING:
    case WRITING:
        if (c->got.answers == 0)
            break;
        if (c->step == READING && c->got.code == ERR_OK) {
            write_fence(c);
            break;
        }
        c->proven += c->step == WRITING && c->got.code == ERR_OK;
        release(c);
        break;
    }
}

/* Its session runs out at the server by itself. */
static void replace(struct world *w, struct contender *c)
{
    registry_forget(c->r, &c->got);
    got_free(&c->got);
    world_kill(w, &c->r);
    memset(c, 0, sizeof(*c));
    c->r = world_open_unconnected(w);
}

static void disturb(struct world *w, struct contender *c, struct rand *rand)
{
    if (rand_below(rand, 6) > 0) {
        (void)proxy_reset(zktest_proxy(w, c->r));
    } else if (registry_session(c->r) != 0) {
        c->doomed = true;
        w->backend->expire(w->store, c->r);
    }
}

static void two_contenders_never_hold_the_lock_together(void **state)
{
    enum { GRANTS = 100, GRANTS_A_KILL = 15 };
    struct world *w = *state;
    struct registry *other = world_open(w);
    struct contender *c = mem_zalloc(2 * sizeof(*c)); /* survives a failure */
    int64_t until = clock_mono_ms() + CONFORMANCE_PATIENCE_MS;
    size_t proven = 0, kills = 0;
    struct String_vector left;
    struct rand rand;
    struct raw raw;

    rand_seed(&rand, SEED);
    c[0].r = world_open(w);
    c[1].r = world_open(w);
    assert_int_equal(do_put(w, other, "/fence", "1", REGISTRY_ABSENT, 0),
                     ERR_OK);
    while (proven < GRANTS) {
        size_t before = proven;

        for (size_t i = 0; i < 2; i++) {
            contend(&c[i], &c[1 - i]);
            proven += c[i].proven;
            c[i].proven = 0;
        }
        if (proven > before)
            until = clock_mono_ms() + CONFORMANCE_PATIENCE_MS;
        else if (clock_mono_ms() >= until)
            fail_msg("nobody gets the lock after %zu times", proven);
        if (proven >= (kills + 1) * GRANTS_A_KILL) {
            kills++;
            replace(w, &c[rand_below(&rand, 2)]);
        } else if (rand_below(&rand, 15) == 0) {
            disturb(w, &c[rand_below(&rand, 2)], &rand);
        }
        w->backend->turn(w->store, 5);
    }
    assert_int_equal(do_exists(w, other, "/two-holders"), ERR_NOT_FOUND);
    for (size_t i = 0; i < 2; i++) {
        world_until(w, c[i].step < READING || c[i].got.answers > 0);
        if (c[i].step != IDLE)
            release(&c[i]);
    }
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    world_until(w,
                (raw_children(&raw, zktest_path(w, KEY), &left),
                 (void)zkmt.deallocate_String_vector(&left), left.count == 0));
    raw_close(&raw);
    mem_free(c);
}

/* --- others in the directory --------------------------------------------- */

#define UUID "7d444840-9dc0-41d1-b245-5ffdce74fad2"
#define HEX  "7d4448409dc041d1b2455ffdce74fad2"

struct said {
    size_t foreign, nobodys;
    char last[512];
};

static void on_line(void *arg, enum log_level level, const char *line,
                    size_t len)
{
    struct said *said = arg;

    (void)level;
    (void)fwrite(line, 1, len, stderr);
    if (strstr(line, "not of Curator's layout") != NULL) {
        said->foreign++;
        (void)snprintf(said->last, sizeof(said->last), "%s", line);
    }
    said->nobodys += strstr(line, "no session's") != NULL;
}

static void join_as(struct world *w, struct raw *raw, const char *prefix,
                    int mode, char made[RAW_PATH])
{
    char path[RAW_PATH];

    (void)snprintf(path, sizeof(path), "%s/%s", zktest_path(w, KEY), prefix);
    raw_create(raw, path, "10.0.0.9", mode, made);
}

static void others_begin(struct world *w, struct raw *raw, struct said *said)
{
    memset(said, 0, sizeof(*said));
    zktest_raw(raw, ZOOKEEPER_TIMEOUT_MS);
    raw_create_parents(raw, zktest_path(w, KEY));
    log_set_sink(on_line, said);
}

static void wait_for_contenders(struct world *w, struct raw *raw, int n)
{
    struct String_vector v;

    world_until(w, (raw_children(raw, zktest_path(w, KEY), &v),
                    (void)zkmt.deallocate_String_vector(&v), v.count == n));
}

/* kazoo, and what Curator has beside its mutex: each is waited for when it
 * came first, and not when it came later; said once. */
static void a_contender_of_another_layout_has_its_turn(void **state)
{
    static const char *const prefixes[] = {HEX "__lock__", "_c_" UUID "-latch-",
                                           "_c_" UUID "-__WRIT__",
                                           "_c_" UUID "-lease-", ""};
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct said said;
    struct raw raw;

    others_begin(w, &raw, &said);
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        char before[RAW_PATH], after[RAW_PATH];
        struct held h;

        join_as(w, &raw, prefixes[i], *zkmt.ZOO_EPHEMERAL_SEQUENTIAL, before);
        assert_int_equal(held_take(w, r, &h, KEY, "a", 0), ERR_TIMEOUT);
        held_release(&h);
        wait_for_contenders(w, &raw, 1);
        held_ask(r, &h, KEY, "a", -1);
        wait_for_contenders(w, &raw, 2);
        join_as(w, &raw, prefixes[i], *zkmt.ZOO_EPHEMERAL_SEQUENTIAL, after);
        world_pass(w, 100);
        assert_int_equal(h.answers, 0);
        raw_delete(&raw, before);
        world_until(w, h.answers > 0);
        assert_int_equal(h.code, ERR_OK);
        held_release(&h);
        raw_delete(&raw, after);
        wait_for_contenders(w, &raw, 0);
    }
    log_set_sink(NULL, NULL);
    assert_int_equal(said.foreign, 1);
    assert_non_null(strstr(said.last, HEX "__lock__0000000000"));
    assert_int_equal(said.nobodys, 0);
    raw_close(&raw);
}

/* Each goes when the one before it went, whoever made it. */
static void layouts_mixed_take_turns_in_the_order_of_their_making(void **state)
{
    static const char *const prefixes[] = {"_c_" HEX "-lock-", HEX "__lock__",
                                           "_c_" UUID "-lock-", "read-"};
    enum { N = 4 };
    struct world *w = *state;
    struct registry *r = world_open(w);
    char made[N][RAW_PATH];
    struct said said;
    struct raw raw;
    struct held h;

    others_begin(w, &raw, &said);
    for (size_t i = 0; i < N; i++)
        join_as(w, &raw, prefixes[i], *zkmt.ZOO_EPHEMERAL_SEQUENTIAL, made[i]);
    held_ask(r, &h, KEY, "a", -1);
    wait_for_contenders(w, &raw, N + 1);
    for (size_t i = 0; i < N; i++) { /* the middle first, then both ends */
        static const size_t turn[N] = {1, 3, 0, 2};

        world_pass(w, 50);
        assert_int_equal(h.answers, 0);
        raw_delete(&raw, made[turn[i]]);
    }
    world_until(w, h.answers > 0);
    assert_int_equal(h.code, ERR_OK);
    log_set_sink(NULL, NULL);
    assert_int_equal(said.foreign, 1);
    held_release(&h);
    raw_close(&raw);
}

/* Of go-zookeeper's lock nothing is said: it keeps Curator's order. */
static void a_lock_of_curators_layout_is_not_foreign(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char before[RAW_PATH];
    struct said said;
    struct raw raw;
    struct held h;

    others_begin(w, &raw, &said);
    join_as(w, &raw, "_c_" HEX "-lock-", *zkmt.ZOO_EPHEMERAL_SEQUENTIAL,
            before);
    held_ask(r, &h, KEY, "a", -1);
    wait_for_contenders(w, &raw, 2);
    world_pass(w, 100);
    assert_int_equal(h.answers, 0);
    raw_delete(&raw, before);
    world_until(w, h.answers > 0);
    log_set_sink(NULL, NULL);
    assert_int_equal(said.foreign + said.nobodys, 0);
    held_release(&h);
    raw_close(&raw);
}

/* It would stand for ever. Behind it a session's is waited for all the same. */
static void what_is_no_sessions_is_passed_over_and_said_once(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char before[RAW_PATH], left[3][RAW_PATH];
    struct said said;
    struct raw raw;
    struct held h;

    others_begin(w, &raw, &said);
    join_as(w, &raw, "left-", *zkmt.ZOO_PERSISTENT_SEQUENTIAL, left[0]);
    join_as(w, &raw, "_c_" UUID "-lock-", *zkmt.ZOO_EPHEMERAL_SEQUENTIAL,
            before);
    join_as(w, &raw, "left-", *zkmt.ZOO_PERSISTENT_SEQUENTIAL, left[1]);
    join_as(w, &raw, "lock-", *zkmt.ZOO_PERSISTENT_SEQUENTIAL, left[2]);
    assert_int_equal(held_take(w, r, &h, KEY, "a", 0), ERR_TIMEOUT);
    held_release(&h);
    wait_for_contenders(w, &raw, 4);
    held_ask(r, &h, KEY, "a", -1);
    wait_for_contenders(w, &raw, 5);
    world_pass(w, 100);
    assert_int_equal(h.answers, 0);
    raw_delete(&raw, before);
    world_until(w, h.answers > 0);
    assert_int_equal(h.code, ERR_OK);
    log_set_sink(NULL, NULL);
    assert_int_equal(said.nobodys, 1);
    held_release(&h);
    for (size_t i = 0; i < 3; i++)
        raw_delete(&raw, left[i]);
    raw_close(&raw);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ZKTEST(two_contenders_never_hold_the_lock_together),
        ZKTEST(a_contender_of_another_layout_has_its_turn),
        ZKTEST(layouts_mixed_take_turns_in_the_order_of_their_making),
        ZKTEST(a_lock_of_curators_layout_is_not_foreign),
        ZKTEST(what_is_no_sessions_is_passed_over_and_said_once),
    };
    int failed;

    if (argc == 5 && strcmp(argv[1], "contend") == 0)
        zookeeper_contend(argv[2], argv[3], strtol(argv[4], NULL, 10));
    if (zktest_begin() != 0)
        return 1;
    failed =
        cmocka_run_group_tests_name("zookeeper_contenders", tests, NULL, NULL);
    zktest_end();
    return failed;
}
