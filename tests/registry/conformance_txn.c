/*
 * conformance_txn.c - txns: all or nothing, and which operation refused.
 */
#include "tests/registry/conformance.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct registry_op put(const char *key, const char *value,
                              enum registry_expect expect, uint64_t version)
{
    return (struct registry_op){.type = REGISTRY_PUT,
                                .expect = expect,
                                .key = key,
                                .value = value,
                                .value_len = strlen(value),
                                .version = version};
}

static struct registry_op put_ephemeral(const char *key, const char *value,
                                        enum registry_expect expect,
                                        uint64_t version)
{
    struct registry_op op = put(key, value, expect, version);

    op.ephemeral = true;
    return op;
}

static struct registry_op at(enum registry_op_type type, const char *key,
                             uint64_t version)
{
    return (struct registry_op){.type = type,
                                .expect = REGISTRY_VERSION,
                                .key = key,
                                .version = version};
}

static struct registry_op check_lock(const struct registry_lock *lock)
{
    return (struct registry_op){.type = REGISTRY_CHECK_LOCK, .lock = lock};
}

static void expect_conflict(struct world *w, struct registry *r,
                            const struct registry_op *ops, size_t n,
                            size_t failed_op)
{
    struct got g = {0};

    assert_int_equal(do_txn(w, r, ops, n, &g), ERR_CONFLICT);
    assert_int_equal(g.failed_op, failed_op);
    got_free(&g);
}

static void a_txn_does_all_of_it(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t keep, change, drop;
    struct got g = {0};

    assert_int_equal(do_put(w, r, "/keep", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/change", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/drop", "1", REGISTRY_ABSENT, 0), ERR_OK);
    keep = version_of(w, r, "/keep", "1");
    change = version_of(w, r, "/change", "1");
    drop = version_of(w, r, "/drop", "1");
    {
        const struct registry_op ops[] = {
            at(REGISTRY_CHECK, "/keep", keep),
            put("/change", "2", REGISTRY_VERSION, change),
            at(REGISTRY_DELETE, "/drop", drop),
            put("/new", "1", REGISTRY_ABSENT, 0),
            put_ephemeral("/mine", "1", REGISTRY_ABSENT, 0),
        };

        assert_int_equal(do_txn(w, r, ops, ARRAY_LEN(ops), &g), ERR_OK);
    }
    assert_true(g.failed_op == SIZE_MAX);
    assert_true(version_of(w, r, "/keep", "1") == keep);
    version_of(w, r, "/change", "2");
    version_of(w, r, "/new", "1");
    assert_int_equal(do_exists(w, r, "/drop"), ERR_NOT_FOUND);
    assert_int_equal(do_get(w, r, "/mine", &g), ERR_OK);
    assert_true(g.entries[0].owner == registry_session(r));
    got_free(&g);
}

static void a_txn_with_a_conflict_does_nothing_and_says_which(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t v;

    assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/p", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/p/c", "1", REGISTRY_ABSENT, 0), ERR_OK);
    v = version_of(w, r, "/k", "1");
    {
        const struct registry_op good = put("/a", "1", REGISTRY_ABSENT, 0);
        const struct registry_op bad[] = {
            put("/k", "2", REGISTRY_ABSENT, 0),
            put("/k", "2", REGISTRY_VERSION, v + 1000),
            put("/none", "2", REGISTRY_VERSION, 1),
            at(REGISTRY_CHECK, "/k", v + 1000),
            at(REGISTRY_CHECK, "/none", 1),
            at(REGISTRY_DELETE, "/k", v + 1000),
            at(REGISTRY_DELETE, "/none", 1),
            at(REGISTRY_DELETE, "/p", version_of(w, r, "/p", "1")),
            put_ephemeral("/k", "2", REGISTRY_VERSION, v),
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
            const struct registry_op first[] = {bad[i], good};
            const struct registry_op last[] = {
                good, put("/b", "1", REGISTRY_ABSENT, 0), bad[i]};

            expect_conflict(w, r, first, 2, 0);
            expect_conflict(w, r, last, 3, 2);
        }
    }
    assert_int_equal(do_exists(w, r, "/a"), ERR_NOT_FOUND);
    assert_int_equal(do_exists(w, r, "/b"), ERR_NOT_FOUND);
    assert_int_equal(do_exists(w, r, "/none"), ERR_NOT_FOUND);
    assert_true(version_of(w, r, "/k", "1") == v);
    version_of(w, r, "/p", "1");
}

static void malformed_txns_are_invalid(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    const struct registry_op twice[] = {put("/a", "1", REGISTRY_ABSENT, 0),
                                        put("/b", "1", REGISTRY_ABSENT, 0),
                                        at(REGISTRY_DELETE, "/a", 1)};
    const struct registry_op any = put("/a", "1", REGISTRY_ANY, 0);
    const struct registry_op empty = put("/a", "", REGISTRY_ABSENT, 0);
    const struct registry_op no_version = at(REGISTRY_CHECK, "/a", 0);
    const struct registry_op no_lock = check_lock(NULL);
    const struct registry_op bad_key = put("/a/", "1", REGISTRY_ABSENT, 0);

    assert_int_equal(do_txn(w, r, twice, 0, NULL), ERR_INVALID);
    assert_int_equal(do_txn(w, r, twice, 3, NULL), ERR_INVALID);
    assert_int_equal(do_txn(w, r, &any, 1, NULL), ERR_INVALID);
    assert_int_equal(do_txn(w, r, &empty, 1, NULL), ERR_INVALID);
    assert_int_equal(do_txn(w, r, &no_version, 1, NULL), ERR_INVALID);
    assert_int_equal(do_txn(w, r, &no_lock, 1, NULL), ERR_INVALID);
    assert_int_equal(do_txn(w, r, &bad_key, 1, NULL), ERR_INVALID);
    assert_int_equal(do_exists(w, r, "/a"), ERR_NOT_FOUND);
}

/* A move of many items: so many are deleted, and as many are made. */
#define PAIRS_MAX 40

struct pairs {
    size_t n;
    char old[PAIRS_MAX][32], made[PAIRS_MAX][32];
    uint64_t versions[PAIRS_MAX];
    struct registry_op ops[2 * PAIRS_MAX + 1]; /* the last: a check */
};

static void pairs_fill(struct world *w, struct registry *r, struct pairs *p)
{
    size_t max = registry_max_ops(r);

    p->n = max / 2 - 1 < PAIRS_MAX ? max / 2 - 1 : PAIRS_MAX;
    assert_int_equal(do_put(w, r, "/checked", "1", REGISTRY_ABSENT, 0), ERR_OK);
    for (size_t i = 0; i < p->n; i++) {
        (void)snprintf(p->old[i], sizeof(p->old[i]), "/old/%zu", i);
        (void)snprintf(p->made[i], sizeof(p->made[i]), "/made/%zu", i);
        assert_int_equal(do_put(w, r, p->old[i], "1", REGISTRY_ABSENT, 0),
                         ERR_OK);
        p->versions[i] = version_of(w, r, p->old[i], "1");
        p->ops[2 * i] = at(REGISTRY_DELETE, p->old[i], p->versions[i]);
        p->ops[2 * i + 1] = put(p->made[i], "1", REGISTRY_ABSENT, 0);
    }
    p->ops[2 * p->n] =
        at(REGISTRY_CHECK, "/checked", version_of(w, r, "/checked", "1"));
}

/* Refused for this one; and nothing of it was done. Then some that are not
 * refused, so that nobody is careful any more. */
static void pairs_refused(struct world *w, struct registry *r, struct pairs *p,
                          size_t blamed)
{
    expect_conflict(w, r, p->ops, 2 * p->n + 1, blamed);
    for (size_t i = 0; i < p->n; i++) {
        assert_true(version_of(w, r, p->old[i], "1") == p->versions[i]);
        if (2 * i + 1 != blamed)
            assert_int_equal(do_exists(w, r, p->made[i]), ERR_NOT_FOUND);
    }
    for (int i = 0; i < 20; i++)
        assert_int_equal(do_put(w, r, "/other", "1", REGISTRY_ANY, 0), ERR_OK);
}

static void a_large_txn_says_which_operation_is_to_blame(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct pairs *p = mem_zalloc(sizeof(*p));
    size_t middle, last;

    pairs_fill(w, r, p);
    middle = p->n / 2;
    last = p->n - 1;
    p->ops[2 * middle].version += 1000;
    pairs_refused(w, r, p, 2 * middle);
    /* two of them, and the check as well: the first is to blame */
    p->ops[2 * last].version += 1000;
    p->ops[2 * p->n].version += 1000;
    pairs_refused(w, r, p, 2 * middle);
    p->ops[2 * middle].version -= 1000;
    p->ops[2 * last].version -= 1000;
    pairs_refused(w, r, p, 2 * p->n);
    p->ops[2 * p->n].version -= 1000;
    assert_int_equal(do_put(w, r, p->made[middle], "1", REGISTRY_ABSENT, 0),
                     ERR_OK);
    pairs_refused(w, r, p, 2 * middle + 1);
    assert_int_equal(do_delete(w, r, p->made[middle],
                               version_of(w, r, p->made[middle], "1")),
                     ERR_OK);
    assert_int_equal(do_delete(w, r, p->old[0], p->versions[0]), ERR_OK);
    expect_conflict(w, r, p->ops, 2 * p->n + 1, 0);
    assert_int_equal(do_put(w, r, p->old[0], "1", REGISTRY_ABSENT, 0), ERR_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(do_put(w, r, "/other", "1", REGISTRY_ANY, 0), ERR_OK);
    p->ops[0].version = version_of(w, r, p->old[0], "1");
    assert_int_equal(do_txn(w, r, p->ops, 2 * p->n + 1, NULL), ERR_OK);
    for (size_t i = 0; i < p->n; i++) {
        assert_int_equal(do_exists(w, r, p->old[i]), ERR_NOT_FOUND);
        (void)version_of(w, r, p->made[i], "1");
    }
    mem_free(p);
}

static void a_txn_takes_max_ops_and_not_one_more(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    size_t n = registry_max_ops(r);
    struct registry_op *ops = mem_array(n + 1, sizeof(*ops));
    char(*keys)[32] = mem_array(n + 1, sizeof(*keys));

    assert_true(n >= 16);
    for (size_t i = 0; i <= n; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "/ops/%zu", i);
        ops[i] = put(keys[i], "1", REGISTRY_ABSENT, 0);
    }
    assert_int_equal(do_txn(w, r, ops, n + 1, NULL), ERR_TOO_LARGE);
    assert_int_equal(do_exists(w, r, "/ops/0"), ERR_NOT_FOUND);
    assert_int_equal(do_txn(w, r, ops, n, NULL), ERR_OK);
    version_of(w, r, keys[n - 1], "1");
    mem_free(ops);
    mem_free(keys);
}

static void a_txn_above_max_bytes_is_too_large(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    size_t n = registry_max_bytes(r) / REGISTRY_VALUE_MAX + 1;
    struct registry_op *ops = mem_array(n, sizeof(*ops));
    char(*keys)[32] = mem_array(n, sizeof(*keys));
    char *value = mem_alloc(REGISTRY_VALUE_MAX + 1);

    assert_true(registry_max_bytes(r) >= REGISTRY_VALUE_MAX + REGISTRY_KEY_MAX);
    memset(value, 'v', REGISTRY_VALUE_MAX);
    value[REGISTRY_VALUE_MAX] = '\0';
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "/bytes/%zu", i);
        ops[i] = put(keys[i], value, REGISTRY_ABSENT, 0);
    }
    assert_int_equal(do_txn(w, r, ops, n, NULL), ERR_TOO_LARGE);
    assert_int_equal(do_exists(w, r, "/bytes"), ERR_NOT_FOUND);
    mem_free(value);
    mem_free(ops);
    mem_free(keys);
}

static void a_key_keeps_its_kind(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);

    assert_int_equal(do_put(w, a, "/p", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put_ephemeral(w, a, "/e", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(do_put_ephemeral(w, a, "/p", "2", REGISTRY_ANY, 0),
                     ERR_CONFLICT);
    assert_int_equal(do_put(w, a, "/e", "2", REGISTRY_ANY, 0), ERR_CONFLICT);
    assert_int_equal(do_put_ephemeral(w, b, "/e", "2", REGISTRY_ANY, 0),
                     ERR_CONFLICT);
    assert_int_equal(do_put_ephemeral(w, b, "/e", "2", REGISTRY_VERSION,
                                      version_of(w, b, "/e", "1")),
                     ERR_CONFLICT);
    assert_int_equal(do_put_ephemeral(w, a, "/e", "2", REGISTRY_ANY, 0),
                     ERR_OK);
    version_of(w, a, "/p", "1");
    version_of(w, a, "/e", "2");
}

static void one_of_two_that_create_wins(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct got ga = {0}, gb = {0};

    registry_put(a, "/race", "a", 1, REGISTRY_ABSENT, 0, false, got_reply, &ga);
    registry_put(b, "/race", "b", 1, REGISTRY_ABSENT, 0, false, got_reply, &gb);
    world_until(w, ga.answers > 0 && gb.answers > 0);
    assert_true((ga.code == ERR_OK && gb.code == ERR_CONFLICT) ||
                (gb.code == ERR_OK && ga.code == ERR_CONFLICT));
    version_of(w, a, "/race", ga.code == ERR_OK ? "a" : "b");
    got_free(&ga);
    got_free(&gb);
}

static void versions_guard_a_counter_of_two_clients(void **state)
{
    struct world *w = *state;
    struct registry *r[2] = {world_open(w), world_open(w)};
    int done[2] = {0, 0};
    struct got g = {0};

    assert_int_equal(do_put(w, r[0], "/counter", "0", REGISTRY_ABSENT, 0),
                     ERR_OK);
    for (size_t turn = 0; done[0] < 5 || done[1] < 5; turn++) {
        struct registry *me = r[turn % 2];
        char value[32];
        enum err_code code;

        assert_true(turn < 100);
        assert_int_equal(do_get(w, me, "/counter", &g), ERR_OK);
        (void)snprintf(value, sizeof(value), "%ld",
                       strtol(g.entries[0].value, NULL, 10) + 1);
        if (turn % 3 == 0) { /* the other one comes between */
            (void)do_put(w, r[1 - turn % 2], "/counter", value,
                         REGISTRY_VERSION, g.entries[0].version);
            done[1 - turn % 2]++;
            code = do_put(w, me, "/counter", value, REGISTRY_VERSION,
                          g.entries[0].version);
            assert_int_equal(code, ERR_CONFLICT);
        } else {
            code = do_put(w, me, "/counter", value, REGISTRY_VERSION,
                          g.entries[0].version);
            assert_int_equal(code, ERR_OK);
            done[turn % 2]++;
        }
    }
    assert_int_equal(do_get(w, r[0], "/counter", &g), ERR_OK);
    assert_int_equal(strtol(g.entries[0].value, NULL, 10), done[0] + done[1]);
    got_free(&g);
}

static void check_lock_passes_while_the_lock_is_held(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct held h;

    assert_int_equal(held_take(w, r, &h, "/lock/x", "me", -1), ERR_OK);
    {
        const struct registry_op ops[] = {check_lock(h.lock),
                                          put("/a", "1", REGISTRY_ABSENT, 0)};

        assert_int_equal(do_txn(w, r, ops, 2, NULL), ERR_OK);
        assert_int_equal(do_txn(w, r, ops, 1, NULL), ERR_OK);
    }
    held_release(&h);
    version_of(w, r, "/a", "1");
}

static void check_lock_refuses_one_that_only_waits(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);
    struct held mine, theirs;

    assert_int_equal(held_take(w, a, &mine, "/lock/x", "a", -1), ERR_OK);
    held_ask(b, &theirs, "/lock/x", "b", -1);
    world_round_trip(w, b);
    {
        const struct registry_op ops[] = {put("/a", "1", REGISTRY_ABSENT, 0),
                                          check_lock(theirs.lock)};

        expect_conflict(w, b, ops, 2, 1);
    }
    held_release(&theirs);
    held_release(&mine);
    assert_int_equal(do_exists(w, a, "/a"), ERR_NOT_FOUND);
}

static void check_lock_refuses_after_the_loss(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w), *other = world_open(w);
    struct registry_op ops[] = {put("/late", "1", REGISTRY_ABSENT, 0),
                                {.type = REGISTRY_CHECK_LOCK}};
    struct got g = {0};
    struct held h;

    assert_int_equal(held_take(w, r, &h, "/lock/x", "me", -1), ERR_OK);
    ops[1].lock = h.lock;
    w->backend->expire(w->store, r);
    /* It does not know yet: the store must refuse, whatever the reason. */
    registry_txn(r, ops, 2, got_reply, &g);
    world_until(w, g.answers > 0);
    assert_true(g.code == ERR_SESSION_LOST || g.code == ERR_CONFLICT ||
                g.code == ERR_UNAVAILABLE || g.code == ERR_UNKNOWN);
    world_until(w, h.losses > 0);
    expect_conflict(w, r, ops, 2, 1); /* and now it knows */
    world_until(w, registry_session(r) != 0);
    expect_conflict(w, r, ops, 2, 1);
    held_release(&h);
    assert_int_equal(do_exists(w, other, "/late"), ERR_NOT_FOUND);
    got_free(&g);
}

/* Where versions repeat a second key, which is never made again, tells two
 * lives of a key apart; and the refusal says that it was this one. */
static void a_second_key_tells_two_lives_apart(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t first = registry_first_version(r);
    struct registry_op ops[2] = {put("/a/k", "1", REGISTRY_ABSENT, 0),
                                 put("/b/one", "k", REGISTRY_ABSENT, 0)};
    uint64_t k, one;

    assert_int_equal(do_txn(w, r, ops, 2, NULL), ERR_OK);
    k = version_of(w, r, "/a/k", "1");
    one = version_of(w, r, "/b/one", "k");
    assert_true(first == 0 || (k == first && one == first));
    ops[0] = at(REGISTRY_DELETE, "/a/k", k);
    ops[1] = at(REGISTRY_DELETE, "/b/one", one);
    assert_int_equal(do_txn(w, r, ops, 2, NULL), ERR_OK);
    assert_int_equal(do_put(w, r, "/a/k", "2", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(version_of(w, r, "/a/k", "2") == k, first != 0);
    ops[0] = put("/a/k", "late", REGISTRY_VERSION, k);
    ops[1] = at(REGISTRY_CHECK, "/b/one", one);
    expect_conflict(w, r, ops, 2, first != 0 ? 1 : 0);
    ops[0] = at(REGISTRY_DELETE, "/a/k", k);
    ops[1] = at(REGISTRY_DELETE, "/b/one", one);
    expect_conflict(w, r, ops, 2, first != 0 ? 1 : 0);
    (void)version_of(w, r, "/a/k", "2");
}

/* A gate is forgotten by a txn that raises the floor. What was decided on it
 * before is refused on the next gate of its address, whose version may be the
 * same, by the floor; and so is what was decided on there being none. */
static void a_late_txn_does_not_meet_the_next_gate(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct registry_op ops[2] = {put("/o/gate", "open", REGISTRY_ABSENT, 0),
                                 put("/floor", "1", REGISTRY_ABSENT, 0)};
    uint64_t gate, floor;

    assert_int_equal(do_txn(w, r, ops, 2, NULL), ERR_OK);
    gate = version_of(w, r, "/o/gate", "open");
    floor = version_of(w, r, "/floor", "1");
    ops[0] = at(REGISTRY_DELETE, "/o/gate", gate);
    ops[1] = put("/floor", "2", REGISTRY_VERSION, floor);
    assert_int_equal(do_txn(w, r, ops, 2, NULL), ERR_OK);

    ops[0] = put("/o/gate", "late", REGISTRY_ABSENT, 0);
    ops[1] = at(REGISTRY_CHECK, "/floor", floor);
    expect_conflict(w, r, ops, 2, 1);
    assert_int_equal(do_put(w, r, "/o/gate", "next", REGISTRY_ABSENT, 0),
                     ERR_OK);
    ops[0] = at(REGISTRY_CHECK, "/floor", floor);
    ops[1] = put("/o/gate", "late", REGISTRY_VERSION, gate);
    expect_conflict(w, r, ops, 2, 0);
    (void)version_of(w, r, "/o/gate", "next");
}

int conformance_txn(void)
{
    const struct CMUnitTest tests[] = {
        CONFORMANCE_TEST(a_txn_does_all_of_it),
        CONFORMANCE_TEST(a_txn_with_a_conflict_does_nothing_and_says_which),
        CONFORMANCE_TEST(a_large_txn_says_which_operation_is_to_blame),
        CONFORMANCE_TEST(malformed_txns_are_invalid),
        CONFORMANCE_TEST(a_txn_takes_max_ops_and_not_one_more),
        CONFORMANCE_TEST(a_txn_above_max_bytes_is_too_large),
        CONFORMANCE_TEST(a_key_keeps_its_kind),
        CONFORMANCE_TEST(one_of_two_that_create_wins),
        CONFORMANCE_TEST(versions_guard_a_counter_of_two_clients),
        CONFORMANCE_TEST(check_lock_passes_while_the_lock_is_held),
        CONFORMANCE_TEST(check_lock_refuses_one_that_only_waits),
        CONFORMANCE_TEST(check_lock_refuses_after_the_loss),
        CONFORMANCE_TEST(a_second_key_tells_two_lives_apart),
        CONFORMANCE_TEST(a_late_txn_does_not_meet_the_next_gate),
    };

    return cmocka_run_group_tests_name("txn", tests, NULL, NULL);
}
