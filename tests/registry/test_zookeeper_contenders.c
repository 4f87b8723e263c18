/*
 * test_zookeeper_contenders.c - two that want the same lock, again and again,
 * while connections break, sessions end and clients die.
 *
 * Whoever has it writes its fencing number over the last one, in a txn that
 * checks the lock: what was written before must be smaller, in the order of
 * the registry itself. At the end nothing is left in the queue.
 *
 * With arguments it is itself a contender, see zookeeper_contender.h: for
 * tests that put Curator beside two of ours and kill them.
 */
#include "tests/registry/zookeeper_contender.h"
#include "tests/registry/zookeeper_store.h"

#include "base/clock.h"
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
        if (c->lock.answers == 0) {
            break;
        }
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
        if (c->got.answers == 0) {
            break;
        }
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
        if (proven > before) {
            until = clock_mono_ms() + CONFORMANCE_PATIENCE_MS;
        } else if (clock_mono_ms() >= until) {
            fail_msg("nobody gets the lock after %zu times", proven);
        }
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
        if (c[i].step != IDLE) {
            release(&c[i]);
        }
    }
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    world_until(w, (raw_children(&raw, zktest_path(w, KEY), &left),
                    (void)deallocate_String_vector(&left), left.count == 0));
    raw_close(&raw);
    mem_free(c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ZKTEST(two_contenders_never_hold_the_lock_together),
    };
    int failed;

    if (argc == 5 && strcmp(argv[1], "contend") == 0) {
        zookeeper_contend(argv[2], argv[3], strtol(argv[4], NULL, 10));
    }
    if (zktest_begin() != 0) {
        return 1;
    }
    failed =
        cmocka_run_group_tests_name("zookeeper_contenders", tests, NULL, NULL);
    zktest_end();
    return failed;
}
