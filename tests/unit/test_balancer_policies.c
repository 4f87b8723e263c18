/*
 * test_balancer_policies.c - the distributions of the five policies, exactly
 * where they are exact, and what every policy must respect.
 */
#include "tests/unit/test_balancer.h"

static const enum conf_policy all_policies[] = {
    CONF_LEDGER,
    CONF_RANDOM,
    CONF_ROUND_ROBIN,
    CONF_FIXED_WEIGHTED_ROUND_ROBIN,
    CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN,
};

static void set_weighted(struct balancer *b, const char *address,
                         int32_t weight)
{
    struct balancer_worker w = idle(address, 0, START);

    w.weight = weight;
    set(b, w, START);
}

static void fixed_weighted_is_exact_over_each_full_cycle(void **state)
{
    struct balancer *b = balancer_of(CONF_FIXED_WEIGHTED_ROUND_ROBIN);
    struct tally t;

    (void)state;
    set_weighted(b, "a:1", 50);
    set_weighted(b, "b:1", 30);
    set_weighted(b, "c:1", 19);
    set_weighted(b, "d:1", 1);
    for (int cycle = 0; cycle < 50; cycle++) {
        tally_picks(&t, b, NULL, 100, START);
        assert_int_equal(*tally_of(&t, "a:1"), 50);
        assert_int_equal(*tally_of(&t, "b:1"), 30);
        assert_int_equal(*tally_of(&t, "c:1"), 19);
        assert_int_equal(*tally_of(&t, "d:1"), 1);
    }
    balancer_free(&b);
}

static void fixed_weighted_spaces_the_turns_evenly(void **state)
{
    struct balancer *b = balancer_of(CONF_FIXED_WEIGHTED_ROUND_ROBIN);
    int row = 0;

    (void)state;
    set_weighted(b, "heavy:1", 50);
    set_weighted(b, "light:1", 50);
    for (int i = 0; i < 1000; i++) {
        row = strcmp(pick(b, START), "heavy:1") == 0 ? row + 1 : 0;
        assert_true(row <= 1);
    }
    balancer_free(&b);
}

/* The smallest weight there is takes virtual time past 2^64 in 80,000 turns of
 * one worker, unless it starts over. */
static void turns_stay_exact_when_virtual_time_starts_over(void **state)
{
    struct balancer *b = balancer_of(CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    struct balancer_worker w = idle("a:1", 0, START);
    struct tally t;

    (void)state;
    w.weight = 1;
    w.cpu = w.memory = w.pool = 1;
    set(b, w, START);
    memcpy(w.address, "b:1", sizeof("b:1"));
    set(b, w, START);
    for (int i = 0; i < 2500; i++) {
        tally_picks(&t, b, NULL, 100, START);
        assert_int_equal(*tally_of(&t, "a:1"), 50);
        assert_int_equal(*tally_of(&t, "b:1"), 50);
    }
    balancer_free(&b);
}

static void a_worker_that_was_away_gets_no_burst_on_return(void **state)
{
    struct balancer *b = balancer_of(CONF_FIXED_WEIGHTED_ROUND_ROBIN);
    struct balancer_worker w = idle("away:1", 0, START);
    struct tally t;

    (void)state;
    w.weight = 1;
    set_weighted(b, "here:1", 100);
    set(b, w, START);
    w.busy = true;
    set(b, w, START);
    tally_picks(&t, b, NULL, 5000, START);
    assert_int_equal(*tally_of(&t, "here:1"), 5000);
    w.busy = false;
    set(b, w, START);
    tally_picks(&t, b, NULL, 20, START); /* not before a quarter of its turn */
    assert_int_equal(*tally_of(&t, "here:1"), 20);
    tally_picks(&t, b, NULL, 101 * 3 - 20, START);
    assert_int_equal(*tally_of(&t, "away:1"), 3);
    balancer_free(&b);
}

static void round_robin_is_exact(void **state)
{
    struct balancer *b = balancer_of(CONF_ROUND_ROBIN);
    struct tally t;
    char address[32];

    (void)state;
    for (int i = 0; i < 130; i++) { /* more than two words of bits */
        snprintf(address, sizeof(address), "w%d:1", i);
        set_idle(b, address, 8, START);
    }
    tally_picks(&t, b, NULL, 130 * 7, START);
    assert_int_equal(t.n, 130);
    for (unsigned i = 0; i < t.n; i++)
        assert_int_equal(t.worker[i].n, 7);
    balancer_free(&b);
}

static void groups_used_in_turn_do_not_skip_each_other(void **state)
{
    struct balancer *b = balancer_of(CONF_ROUND_ROBIN);
    static const char *const groups[][1] = {{"even"}, {"odd"}};
    struct tally even = {.n = 0}, odd = {.n = 0};
    char address[32];

    (void)state;
    for (int i = 0; i < 8; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        struct balancer_worker w = idle(address, 8, START);

        w.groups = groups[i % 2];
        w.n_groups = 1;
        set(b, w, START);
    }
    for (int i = 0; i < 40; i++) {
        (*tally_of(&even, ask(b, (struct balancer_request){.group = "even",
                                                           .now = START})))++;
        (*tally_of(&odd, ask(b, (struct balancer_request){.group = "odd",
                                                          .now = START})))++;
    }
    assert_int_equal(even.n, 4);
    assert_int_equal(odd.n, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(even.worker[i].n, 10);
        assert_int_equal(odd.worker[i].n, 10);
    }
    balancer_free(&b);
}

static void random_passes_chi_square(void **state)
{
    struct balancer *b = balancer_of(CONF_RANDOM);
    struct tally t;
    double chi = 0, expected = 1000;
    char address[32];

    (void)state;
    for (int i = 0; i < 20; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        set_idle(b, address, 8, START);
    }
    tally_picks(&t, b, NULL, 20000, START);
    assert_int_equal(t.n, 20);
    for (unsigned i = 0; i < t.n; i++) {
        double off = t.worker[i].n - expected;

        chi += off * off / expected;
    }
    /* 19 degrees of freedom: 43.8 is exceeded once in a thousand, and below
     * 4.9 it would be too even to be random. */
    assert_true(chi < 43.8);
    assert_true(chi > 4.9);
    balancer_free(&b);
}

static void random_keeps_its_list_as_workers_come_and_go(void **state)
{
    struct balancer *b = balancer_of(CONF_RANDOM);
    struct tally t;
    char address[32];

    (void)state;
    for (int i = 0; i < 50; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        set_idle(b, address, 8, START);
    }
    for (int i = 0; i < 50; i += 2) {
        snprintf(address, sizeof(address), "w%d:1", i);
        balancer_remove(b, address);
    }
    tally_picks(&t, b, NULL, 5000, START);
    assert_int_equal(t.n, 25);
    balancer_free(&b);
}

static void set_loaded(struct balancer *b, const char *address, double load)
{
    struct balancer_worker w = idle(address, 16, START);

    w.cpu = w.memory = w.pool = load;
    set(b, w, START);
}

static unsigned share_of_loaded(enum conf_policy policy, double load)
{
    struct balancer *b = balancer_of(policy);
    struct tally t;

    set_loaded(b, "x:1", load);
    set_loaded(b, "y:1", 0.4);
    set_loaded(b, "z:1", 0.2);
    tally_picks(&t, b, NULL, 300, START);
    unsigned n = *tally_of(&t, "x:1");

    balancer_free(&b);
    return n;
}

static void dynamic_weighted_follows_the_formula(void **state)
{
    struct balancer *b = balancer_of(CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    struct tally t;

    (void)state;
    set_loaded(b, "idle:1", 0);   /* 100 */
    set_loaded(b, "half:1", 0.5); /* 50 */
    set_loaded(b, "full:1", 1);   /* the floor, 1 */
    for (int cycle = 0; cycle < 10; cycle++) {
        tally_picks(&t, b, NULL, 151, START);
        assert_int_equal(*tally_of(&t, "idle:1"), 100);
        assert_int_equal(*tally_of(&t, "half:1"), 50);
        assert_int_equal(*tally_of(&t, "full:1"), 1);
    }
    balancer_free(&b);
}

/* Two full pools; one has half as many tasks again in its queue. */
static void dynamic_weighted_sees_a_queue(void **state)
{
    struct balancer *b = balancer_of(CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    struct balancer_worker w = idle("full:1", 0, START);
    struct tally t;

    (void)state;
    w.cpu = w.memory = 0.5;
    w.pool = 1; /* 30 */
    set(b, w, START);
    memcpy(w.address, "over:1", sizeof("over:1"));
    w.pool = 1.5; /* 10 */
    set(b, w, START);
    tally_picks(&t, b, NULL, 40, START);
    assert_int_equal(*tally_of(&t, "full:1"), 30);
    assert_int_equal(*tally_of(&t, "over:1"), 10);
    balancer_free(&b);
}

static void dynamic_weighted_honours_the_static_weight(void **state)
{
    struct balancer *b = balancer_of(CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    struct balancer_worker w = idle("double:1", 0, START);
    struct tally t;

    (void)state;
    w.cpu = w.memory = w.pool = 0.5;
    w.weight = 200;
    set(b, w, START);
    set_loaded(b, "half:1", 0.5);
    tally_picks(&t, b, NULL, 150, START);
    assert_int_equal(*tally_of(&t, "double:1"), 100);
    balancer_free(&b);
}

static void more_load_never_means_a_larger_share(void **state)
{
    static const enum conf_policy policies[] = {
        CONF_LEDGER, CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        unsigned before = 300;

        for (double load = 0; load <= 1; load += 0.05) {
            unsigned now = share_of_loaded(policies[i], load);

            assert_true(now <= before);
            before = now;
        }
        assert_true(before < share_of_loaded(policies[i], 0));
    }
}

static void more_weight_means_a_larger_share_in_proportion(void **state)
{
    static const enum conf_policy policies[] = {
        CONF_LEDGER, CONF_FIXED_WEIGHTED_ROUND_ROBIN,
        CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        struct balancer *b = balancer_of(policies[i]);
        struct tally t;

        set_weighted(b, "a:1", 100);
        set_weighted(b, "b:1", 200);
        set_weighted(b, "c:1", 300);
        tally_picks(&t, b, NULL, 600, START);
        assert_in_range(*tally_of(&t, "a:1"), 99, 101);
        assert_in_range(*tally_of(&t, "b:1"), 199, 201);
        assert_in_range(*tally_of(&t, "c:1"), 299, 301);
        balancer_free(&b);
    }
}

static void no_policy_picks_who_must_not_be(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all_policies); i++) {
        struct balancer *b = balancer_of(all_policies[i]);
        struct balancer_worker w = idle("closed:1", 8, START);
        struct balancer_request request = {
            .exclude = {"excluded:1"}, .n_exclude = 1, .now = START};

        w.closed = true;
        set(b, w, START);
        w = idle("busy:1", 8, START);
        w.busy = true;
        set(b, w, START);
        w = idle("weightless:1", 8, START);
        w.weight = 0;
        set(b, w, START);
        set(b, idle("stale:1", 8, START - 3 * INTERVAL - 1), START);
        set_idle(b, "excluded:1", 8, START);
        assert_string_equal(ask(b, request), "");
        assert_int_equal(last.code, BALANCER_ALL_BUSY);
        assert_in_range(last.retry_after_ms, 1, INTERVAL);
        set_idle(b, "good:1", 8, START);
        for (int n = 0; n < 50; n++)
            assert_string_equal(ask(b, request), "good:1");
        balancer_free(&b);
    }
}

static void a_worker_goes_stale_under_every_policy(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all_policies); i++) {
        struct balancer *b = balancer_of(all_policies[i]);
        mono_ms late = START + 3 * INTERVAL + 1;

        set_idle(b, "silent:1", 8, START);
        assert_string_equal(pick(b, START + 3 * INTERVAL), "silent:1");
        balancer_tick(b, late);
        assert_string_equal(pick(b, late), "");
        assert_int_equal(last.code, BALANCER_REPORTS_OLD);
        set_idle(b, "silent:1", 8, late);
        assert_string_equal(pick(b, late), "silent:1");
        balancer_free(&b);
    }
}

/* A group that was renewed a moment ago goes on with what it saw, although
 * another one that shares the worker has found it stale. */
static void a_worker_goes_stale_in_one_group_before_the_other(void **state)
{
    static const char *const groups[] = {"other"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all_policies); i++) {
        struct balancer *b = balancer_of(all_policies[i]);
        struct balancer_request request = {.group = "other", .count = 1};
        mono_ms late = START + 3 * INTERVAL;

        struct balancer_worker w = idle("silent:1", 8, START);
        w.groups = groups;
        w.n_groups = ARRAY_LEN(groups);
        set(b, w, START);
        request.now = late - 100;
        assert_string_equal(ask(b, request), "silent:1");
        assert_string_equal(pick(b, late + 1), "");
        request.now = late + 1;
        assert_string_equal(ask(b, request), "silent:1");
        request.now = late + 1000;
        assert_string_equal(ask(b, request), "");
        assert_int_equal(last.code, BALANCER_REPORTS_OLD);
        balancer_free(&b);
    }
}

static void a_refusal_closes_the_worker_under_every_policy(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all_policies); i++) {
        struct balancer *b = balancer_of(all_policies[i]);

        set_idle(b, "full:1", 8, START);
        assert_string_equal(pick(b, START), "full:1");
        assert_true(balancer_refused(b, last_pick.pick));
        assert_string_equal(pick(b, START), "");
        set_idle(b, "full:1", 8, START + 1);
        assert_string_equal(pick(b, START + 1), "full:1");
        balancer_free(&b);
    }
}

static void a_peek_is_the_next_pick_and_counts_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all_policies); i++) {
        struct balancer *b = balancer_of(all_policies[i]);
        struct balancer_pick first[64], again[64];
        struct balancer_answer peek = {.picks = first};
        struct balancer_answer real = {.picks = again};
        struct balancer_request request = {
            .count = 64, .peek = true, .now = START};

        set_weighted(b, "a:1", 100);
        set_weighted(b, "b:1", 170);
        set_weighted(b, "c:1", 30);
        for (int n = 0; n < 5; n++)
            balancer_pick(b, &request, &peek);
        assert_int_equal(balancer_stats(b).picks, 0);
        request.peek = false;
        balancer_pick(b, &request, &real);
        for (size_t n = 0; n < 64; n++) {
            if (all_policies[i] != CONF_RANDOM) /* it draws anew */
                assert_string_equal(first[n].address, again[n].address);
            assert_int_equal(first[n].pick, 0);
            assert_int_not_equal(again[n].pick, 0);
        }
        balancer_free(&b);
    }
}

static void alternates_are_others_under_every_policy(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all_policies); i++) {
        struct balancer *b = balancer_of(all_policies[i]);

        set_idle(b, "a:1", 8, START);
        pick(b, START);
        assert_int_equal(last.n_alternates, 0);
        set_idle(b, "b:1", 8, START);
        set_idle(b, "c:1", 8, START);
        for (int n = 0; n < 30; n++) {
            const char *chosen = pick(b, START);

            assert_int_equal(last.n_alternates, 2);
            assert_string_not_equal(last.alternates[0], chosen);
            assert_string_not_equal(last.alternates[1], chosen);
            assert_string_not_equal(last.alternates[0], last.alternates[1]);
        }
        balancer_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_weighted_is_exact_over_each_full_cycle),
        cmocka_unit_test(fixed_weighted_spaces_the_turns_evenly),
        cmocka_unit_test(turns_stay_exact_when_virtual_time_starts_over),
        cmocka_unit_test(a_worker_that_was_away_gets_no_burst_on_return),
        cmocka_unit_test(round_robin_is_exact),
        cmocka_unit_test(groups_used_in_turn_do_not_skip_each_other),
        cmocka_unit_test(random_passes_chi_square),
        cmocka_unit_test(random_keeps_its_list_as_workers_come_and_go),
        cmocka_unit_test(dynamic_weighted_follows_the_formula),
        cmocka_unit_test(dynamic_weighted_sees_a_queue),
        cmocka_unit_test(dynamic_weighted_honours_the_static_weight),
        cmocka_unit_test(more_load_never_means_a_larger_share),
        cmocka_unit_test(more_weight_means_a_larger_share_in_proportion),
        cmocka_unit_test(no_policy_picks_who_must_not_be),
        cmocka_unit_test(a_worker_goes_stale_under_every_policy),
        cmocka_unit_test(a_worker_goes_stale_in_one_group_before_the_other),
        cmocka_unit_test(a_refusal_closes_the_worker_under_every_policy),
        cmocka_unit_test(a_peek_is_the_next_pick_and_counts_nothing),
        cmocka_unit_test(alternates_are_others_under_every_policy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
