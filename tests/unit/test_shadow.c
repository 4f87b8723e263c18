/* A shadow is asked about every pick, decides on what really happened, and
 * changes nothing. */
#include "tests/unit/test_balancer.h"

#include "balancer/second/second.h"
#include "base/rand.h"

#include <pthread.h>
#include <stdatomic.h>

#define WORKERS 120U
#define PICKS   3000
#define ROUNDS  400

static const struct conf_balancer *conf_with(enum conf_policy policy)
{
    static struct conf_balancer conf;

    conf = test_conf;
    conf.policy = policy;
    return &conf;
}

static void drain(struct second *s, mono_ms now)
{
    while (second_turn(s, now))
        ;
}

static void report(struct balancer *b, struct rand *r, mono_ms now)
{
    static const char *const groups[] = {"gpu"};
    uint32_t i = (uint32_t)rand_below(r, WORKERS);
    struct balancer_worker w = {
        .weight = (int32_t)(50 + i),
        .slots = (int32_t)(4 + i % 60),
        .busy = rand_below(r, 20) == 0,
        .cpu = rand_double(r),
        .memory = -1,
        .disk = .1,
        .pool = rand_below(r, 4) > 0 ? rand_double(r) : -1,
        .reported = now,
        .incarnation = 1 + (rand_below(r, 50) == 0),
        .groups = groups,
        .n_groups = i % 3 == 0,
    };

    snprintf(w.address, sizeof(w.address), "10.0.0.%u:1", i);
    balancer_set(b, &w, now);
}

static void act(struct balancer *b, struct rand *r, mono_ms now)
{
    struct conf_balancer conf = test_conf;
    const char *names[] = {"gpu", "none"};
    char address[32];

    snprintf(address, sizeof(address), "10.0.0.%u:1",
             (unsigned)rand_below(r, WORKERS));
    switch (rand_below(r, 12)) {
    case 0:
        balancer_remove(b, address);
        break;
    case 1:
        balancer_count(b, address, rand_below(r, 2) > 0 ? 2 : -1, now);
        break;
    case 2:
        balancer_freeze(b, rand_below(r, 4) == 0, now);
        break;
    case 3:
        balancer_set_coordinators(b, 1 + (uint32_t)rand_below(r, 3));
        break;
    case 4:
        conf.cpu_max = .5 + rand_double(r) / 2;
        balancer_configure(b, &conf, NULL, 0, now);
        break;
    case 5:
        balancer_define(b, names, rand_below(r, 3));
        break;
    default:
        report(b, r, now);
    }
}

static atomic_long late; /* the time that all threads tell */
static atomic_ulong picked;

static void pick_once(struct balancer *b, struct rand *r)
{
    struct balancer_pick picks[8];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {
        .group = rand_below(r, 3) == 0 ? "gpu" : NULL,
        .count = 1 + (uint32_t)rand_below(r, 8),
        .peek = rand_below(r, 5) == 0,
        .affinity = rand_below(r, 50) == 0 ? "key" : NULL,
        .now = atomic_load(&late),
    };

    if (rand_below(r, 10) == 0)
        request.exclude[request.n_exclude++] = "10.0.0.7:1";
    balancer_pick(b, &request, &answer);
    if (!request.peek)
        atomic_fetch_add(&picked, answer.n_picks);
    for (size_t i = 0; i < answer.n_picks && !request.peek; i++)
        switch (rand_below(r, 5)) {
        case 0:
            (void)balancer_done(b, picks[i].pick);
            break;
        case 1:
            if (rand_below(r, 8) == 0)
                (void)balancer_refused(b, picks[i].pick);
            break;
        case 2:
            (void)balancer_unused(b, picks[i].pick);
            break;
        default:
            break;
        }
}

struct picker {
    struct balancer *b;
    uint64_t seed;
};

static void *pick_many(void *arg)
{
    const struct picker *p = arg;
    struct rand r;

    rand_seed(&r, p->seed);
    for (int i = 0; i < PICKS; i++)
        pick_once(p->b, &r);
    return NULL;
}

/* Whatever happens, from any thread. */
static void agrees_always(enum conf_policy policy)
{
    struct balancer *b = balancer_new(conf_with(policy), 7, INSTANCE);
    struct second *s = second_new(b);
    struct picker pickers[2] = {{b, 11}, {b, 12}};
    struct second_stats stats;
    pthread_t threads[2];
    struct rand r;
    mono_ms now = START;

    second_shadow(s, true, policy);
    rand_seed(&r, 3);
    atomic_store(&picked, 0);
    atomic_store(&late, now);
    for (uint32_t i = 0; i < WORKERS; i++)
        report(b, &r, now);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, pick_many, &pickers[i]), 0);
    for (int i = 0; i < ROUNDS; i++) {
        now += 50;
        atomic_store(&late, now);
        act(b, &r, now);
        if (i % 5 == 0)
            balancer_tick(b, now);
        (void)second_turn(s, now);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    drain(s, now);
    stats = second_stats(s);
    assert_int_equal(stats.lost, 0);
    assert_int_equal(stats.by[policy].differed, 0);
    assert_true(stats.by[policy].agreed > PICKS / 4);
    assert_int_equal(stats.by[policy].agreed, atomic_load(&picked));
    second_free(&s);
    balancer_free(&b);
}

static void a_shadow_of_the_same_policy_agrees_always(void **state)
{
    (void)state;
    for (int p = 0; p < CONF_POLICIES; p++)
        agrees_always((enum conf_policy)p);
}

static const char *pick_done(struct balancer *b, mono_ms now)
{
    const char *address = pick(b, now);

    assert_true(balancer_done(b, last_pick.pick));
    return address;
}

static void ends_mean_the_real_worker(void **state)
{
    struct balancer *b = balancer_of(CONF_ROUND_ROBIN);
    struct second *s = second_new(b);
    struct second_stats stats;
    pick_id of_a[2];
    char a[BALANCER_ADDRESS_MAX + 1];

    (void)state;
    second_shadow(s, true, CONF_LEDGER);
    set_idle(b, "a:1", 4, START);
    set_idle(b, "b:1", 4, START);
    snprintf(a, sizeof(a), "%s", pick(b, START));
    of_a[0] = last_pick.pick;
    assert_string_not_equal(pick(b, START), a);
    assert_string_equal(pick(b, START), a);
    of_a[1] = last_pick.pick;
    assert_string_not_equal(pick(b, START), a);
    drain(s, START);
    stats = second_stats(s);
    /* what is real is counted in it: it goes along, but where both are equal */
    assert_true(stats.by[CONF_LEDGER].differed <= 2);
    assert_int_equal(
        stats.by[CONF_LEDGER].agreed + stats.by[CONF_LEDGER].differed, 4);

    assert_true(balancer_done(b, of_a[0]));
    assert_true(balancer_done(b, of_a[1]));
    struct second_stats before = stats;

    assert_string_equal(pick(b, START), a); /* 0 beside 2: it says so, too */
    assert_string_not_equal(pick(b, START), a); /* 1 beside 2: it does not */
    drain(s, START);
    stats = second_stats(s);
    assert_int_equal(stats.by[CONF_LEDGER].agreed,
                     before.by[CONF_LEDGER].agreed + 1);
    assert_int_equal(stats.by[CONF_LEDGER].differed,
                     before.by[CONF_LEDGER].differed + 1);
    assert_int_equal(stats.by[CONF_LEDGER].nobody, 0);
    second_free(&s);
    balancer_free(&b);
}

static void many_picks_agree_one_by_one(void **state)
{
    struct balancer *b = balancer_of(CONF_ROUND_ROBIN);
    struct second *s = second_new(b);
    struct balancer_worker full = idle("a:1", 10, START);
    struct balancer_pick picks[6];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {.count = 6, .now = START};
    struct second_stats stats;

    (void)state;
    second_shadow(s, true, CONF_LEDGER);
    full.pool = .9;
    set(b, full, START);
    set_idle(b, "b:1", 10, START);
    balancer_pick(b, &request, &answer); /* three each; the ledger: all to b */
    drain(s, START);
    stats = second_stats(s);
    assert_int_equal(stats.by[CONF_LEDGER].agreed, 3);
    assert_int_equal(stats.by[CONF_LEDGER].differed, 3);
    second_free(&s);
    balancer_free(&b);
}

static void it_changes_nothing(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer *alone = balancer_of(CONF_LEDGER);
    struct second *s = second_new(b);
    struct rand x, y, r;
    mono_ms now = START;

    (void)state;
    second_shadow(s, true, CONF_RANDOM);
    second_regret(s, true, INTERVAL);
    rand_seed(&x, 5);
    rand_seed(&y, 5);
    rand_seed(&r, 6);
    for (int i = 0; i < 3000; i++) {
        char one[BALANCER_ADDRESS_MAX + 1];

        now += (mono_ms)rand_below(&r, 40);
        act(b, &x, now);
        act(alone, &y, now);
        snprintf(one, sizeof(one), "%s", pick(b, now));
        assert_string_equal(pick(alone, now), one);
        (void)second_turn(s, now);
    }
    assert_true(second_stats(s).by[CONF_RANDOM].differed > 0);
    second_free(&s);
    balancer_free(&b);
    balancer_free(&alone);
}

/* By policy; and what it decides on is there from the start. */
static void it_is_changed_and_ended_while_it_runs(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct second *s = second_new(b);
    struct second_stats stats;

    (void)state;
    set_idle(b, "a:1", 4, START);
    set_idle(b, "b:1", 8, START);
    (void)pick_done(b, START);
    assert_false(second_stats(s).shadowed);

    second_shadow(s, true, CONF_LEDGER);
    for (int i = 0; i < 5; i++)
        (void)pick(b, START);
    drain(s, START);
    second_shadow(s, true, CONF_ROUND_ROBIN);
    for (int i = 0; i < 3; i++)
        (void)pick(b, START);
    drain(s, START);
    second_shadow(s, false, CONF_LEDGER);
    (void)pick(b, START);
    drain(s, START);
    stats = second_stats(s);
    assert_false(stats.shadowed);
    assert_int_equal(stats.by[CONF_LEDGER].agreed, 5);
    assert_int_equal(stats.by[CONF_LEDGER].differed, 0);
    assert_int_equal(stats.by[CONF_ROUND_ROBIN].agreed +
                         stats.by[CONF_ROUND_ROBIN].differed,
                     3);

    second_shadow(s, true, CONF_LEDGER);
    (void)pick(b, START);
    drain(s, START);
    assert_true(second_stats(s).shadowed);
    assert_int_equal(second_stats(s).by[CONF_LEDGER].agreed, 6);
    second_free(&s);
    balancer_free(&b);
}

static void what_finds_no_room_is_counted_and_it_begins_again(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct second *s = second_new(b);
    struct second_stats stats;

    (void)state;
    second_shadow(s, true, CONF_LEDGER);
    for (int i = 0; i < 50; i++) {
        char address[32];

        snprintf(address, sizeof(address), "w-%d:1", i);
        set_idle(b, address, 1000, START);
    }
    for (int i = 0; i < 100000; i++) /* nobody reads meanwhile */
        (void)pick(b, START);
    drain(s, START);
    (void)second_turn(s, START);
    stats = second_stats(s);
    assert_true(stats.lost > 1000);
    assert_true(stats.lost < 100000);
    assert_true(stats.by[CONF_LEDGER].agreed + stats.lost >= 100000);
    assert_int_equal(stats.by[CONF_LEDGER].differed, 0);

    uint64_t agreed = stats.by[CONF_LEDGER].agreed, lost = stats.lost;

    for (int i = 0; i < 100; i++)
        (void)pick(b, START);
    drain(s, START);
    stats = second_stats(s);
    assert_int_equal(stats.lost, lost);
    assert_int_equal(stats.by[CONF_LEDGER].agreed, agreed + 100);
    assert_int_equal(stats.by[CONF_LEDGER].differed, 0);
    second_free(&s);
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shadow_of_the_same_policy_agrees_always),
        cmocka_unit_test(ends_mean_the_real_worker),
        cmocka_unit_test(many_picks_agree_one_by_one),
        cmocka_unit_test(it_changes_nothing),
        cmocka_unit_test(it_is_changed_and_ended_while_it_runs),
        cmocka_unit_test(what_finds_no_room_is_counted_and_it_begins_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
