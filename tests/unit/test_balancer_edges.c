/*
 * test_balancer_edges.c - the ends of every range, under each of the five
 * policies: numbers that no worker should say, counters near where they wrap,
 * clocks that jump, workers that flap, and groups without end. (Longer than 500
 * lines: one list of edges, which share what is expected of all policies.)
 *
 * What wraps is started near its end through the private header; all else goes
 * through the public one.
 */
#include "tests/unit/test_balancer.h"

#include "balancer/balancer_priv.h"

static const enum conf_policy all_policies[] = {
    CONF_LEDGER,
    CONF_RANDOM,
    CONF_ROUND_ROBIN,
    CONF_FIXED_WEIGHTED_ROUND_ROBIN,
    CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN,
};

#define N_POLICIES ARRAY_LEN(all_policies)

static const char *const names[] = {"a:1", "b:1", "c:1", "d:1"};

static struct balancer *with_idle(enum conf_policy policy, size_t n)
{
    struct balancer *b = balancer_of(policy);

    assert_true(n <= ARRAY_LEN(names));
    for (size_t i = 0; i < n; i++)
        set_idle(b, names[i], 8, START);
    return b;
}

/* A score that can be compared, and an explanation that can be read. */
static void expect_sane(struct balancer *b, size_t workers, mono_ms now)
{
    struct balancer_request request = {.now = now};
    const struct json *list = NULL;
    size_t n = 0;
    struct buf out;

    buf_init(&out, 1 << 20);
    balancer_explain(b, &request, &out);
    assert_int_equal(json_parse(out.data, out.len, &list, NULL), 0);
    for (const struct json *c = list->child; c != NULL; c = c->next, n++)
        assert_true(isfinite(json_num(c, "score", 0)));
    assert_int_equal(n, workers);
    json_free(list);
    buf_close(&out);
    if (*pick(b, now) != '\0')
        assert_true(isfinite(last_pick.score) && last_pick.score >= 0);
}

/* Everybody got between `least` and `most` times an equal share. */
static void expect_shared(struct balancer *b, unsigned workers, unsigned n,
                          mono_ms now, double least, double most)
{
    struct tally t;

    tally_picks(&t, b, NULL, n, now);
    if (t.n != workers)
        fail_msg("%u of %u workers were picked", t.n, workers);
    for (unsigned i = 0; i < t.n; i++) {
        double share = (double)t.worker[i].n * workers / n;

        if (share < least || share > most)
            fail_msg("%s got %.3f of its share", t.worker[i].address, share);
    }
}

/* --- what workers say ---------------------------------------------------- */

static void who_weighs_nothing_or_less_is_never_picked(void **state)
{
    static const int32_t nothing[] = {0, -1, -100, INT32_MIN};

    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *b = with_idle(policy, 1);

        for (size_t i = 0; i < ARRAY_LEN(nothing); i++) {
            struct balancer_worker w = idle("none:1", 8, START + (mono_ms)i);

            w.weight = nothing[i];
            set(b, w, START);
            for (int n = 0; n < 50; n++)
                assert_string_equal(pick(b, START), "a:1");
            assert_int_equal(last.n_alternates, 0);
            expect_sane(b, 2, START);
        }
        balancer_remove(b, "a:1");
        assert_string_equal(pick(b, START), "");
        assert_int_equal(last.code, BALANCER_ALL_BUSY);
        balancer_free(&b);
    }
}

/* It takes part, and that is neither all nor nothing. */
static void a_usage_that_is_no_number_is_an_unknown_one(void **state)
{
    static const double wild[] = {NAN,  -NAN, INFINITY, -INFINITY,
                                  -0.0, -1,   1e300};

    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++)
        for (size_t i = 0; i < ARRAY_LEN(wild); i++)
            for (int which = 0; which < 5; which++) {
                const enum conf_policy policy = all_policies[p];

                struct balancer *b = with_idle(policy, 3);
                struct balancer_worker w = idle("wild:1", 8, START);
                struct tally t;

                if (which == 0 || which == 4)
                    w.pool = wild[i];
                if (which == 1 || which == 4)
                    w.cpu = wild[i];
                if (which == 2 || which == 4)
                    w.memory = wild[i];
                if (which == 3 || which == 4)
                    w.disk = wild[i];
                set(b, w, START);
                tally_picks(&t, b, NULL, 100, START);
                assert_true(*tally_of(&t, "wild:1") <= 45);
                if (isnan(wild[i]) || wild[i] <= 0) /* none of it is load */
                    assert_true(*tally_of(&t, "wild:1") >= 10);
                assert_true(*tally_of(&t, "a:1") >= 10);
                expect_sane(b, 4, START);
                balancer_free(&b);
            }
}

static void the_largest_numbers_are_as_good_as_others(void **state)
{
    static const struct {
        int32_t weight, slots;
    } large[] = {{INT32_MAX, 8}, {100, INT32_MAX}, {INT32_MAX, INT32_MAX},
                 {INT32_MAX, 0}, {1, INT32_MIN},   {1, INT32_MAX}};

    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++)
        for (size_t i = 0; i < ARRAY_LEN(large); i++) {
            const enum conf_policy policy = all_policies[p];

            struct balancer *b = balancer_of(policy);

            for (size_t k = 0; k < 4; k++) {
                struct balancer_worker w = idle(names[k], 0, START);

                w.weight = large[i].weight;
                w.slots = large[i].slots;
                set(b, w, START);
            }
            expect_shared(b, 4, 1000, START, 0.7, 1.3);
            expect_sane(b, 4, START);
            balancer_free(&b);
        }
}

/* The most slots that are believed are a million, and a quarter of them is. */
static void the_largest_are_compared_as_others(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("whole:1", INT32_MAX, START);
    struct tally t;

    (void)state;
    w.weight = INT32_MAX;
    set(b, w, START);
    w = idle("quarter:1", 250000, START);
    w.weight = INT32_MAX;
    set(b, w, START);
    tally_picks(&t, b, NULL, 1000, START);
    assert_in_range(*tally_of(&t, "whole:1"), 790, 810);
    balancer_free(&b);
}

/* Ten thousand to one, which is as far as weights go: none is forgotten. */
static void the_lightest_beside_the_heaviest_has_its_turn(void **state)
{
    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *b = balancer_of(policy);
        struct balancer_worker w = idle("heavy:1", 0, START);
        struct tally t;

        w.weight = INT32_MAX;
        set(b, w, START);
        w = idle("light:1", 0, START);
        w.weight = 1;
        set(b, w, START);
        tally_picks(&t, b, NULL, 20002, START);
        assert_true(*tally_of(&t, "light:1") >= 1);
        assert_true(*tally_of(&t, "heavy:1") >= 9000);
        if (policy == CONF_FIXED_WEIGHTED_ROUND_ROBIN)
            assert_int_equal(*tally_of(&t, "light:1"), 2);
        balancer_free(&b);
    }
}

/* --- hardly anybody ------------------------------------------------------ */

static void one_worker_takes_everything(void **state)
{
    static struct balancer_pick picks[BALANCER_COUNT_MAX];

    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *b = with_idle(policy, 1);
        struct balancer_answer answer = {.picks = picks};
        struct balancer_request request = {
            .count = BALANCER_COUNT_MAX, .affinity = "key", .now = START};

        for (int n = 0; n < 20; n++) {
            request.peek = n % 2 == 0;
            balancer_pick(b, &request, &answer);
            assert_int_equal(answer.code, BALANCER_OK);
            assert_int_equal(answer.n_picks, BALANCER_COUNT_MAX);
            assert_string_equal(picks[BALANCER_COUNT_MAX - 1].address, "a:1");
        }
        assert_string_equal(pick(b, START), "a:1");
        assert_int_equal(last.n_alternates, 0);
        expect_sane(b, 1, START);
        balancer_free(&b);
    }
}

static void when_all_are_busy_it_says_when_to_ask_again(void **state)
{
    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *b = balancer_of(policy);

        for (size_t k = 0; k < 4; k++) {
            struct balancer_worker w = idle(names[k], 8, START);

            w.busy = true;
            set(b, w, START);
        }
        for (mono_ms at = START; at < START + INTERVAL; at += 500) {
            balancer_tick(b, at);
            assert_string_equal(pick(b, at), "");
            assert_int_equal(last.code, BALANCER_ALL_BUSY);
            assert_in_range(last.retry_after_ms, 1000, INTERVAL);
        }
        assert_int_equal(balancer_stats(b).picks, 0);
        assert_int_equal(balancer_stats(b).why_empty[BALANCER_ALL_BUSY], 20);
        set_idle(b, "late:1", 8, START + INTERVAL);
        assert_string_equal(pick(b, START + INTERVAL), "late:1");
        balancer_free(&b);
    }
}

/* Two balancers hear the same, but for one the requests in vain. */
static void excluding_everyone_leaves_no_trace(void **state)
{
    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *asked = with_idle(policy, 4);
        struct balancer *spared = with_idle(policy, 4);
        struct balancer_request in_vain = {
            .now = START,
            .exclude = {"a:1", "b:1", "c:1", "d:1", "d:1", "?"},
            .n_exclude = 6};
        char address[BALANCER_ADDRESS_MAX + 1];

        for (int n = 0; n < 200; n++) {
            in_vain.affinity = n % 3 == 0 ? "key" : NULL;
            in_vain.peek = n % 2 == 0;
            assert_string_equal(ask(asked, in_vain), "");
            assert_int_equal(last.code, BALANCER_ALL_BUSY);
            (void)snprintf(address, sizeof(address), "%s",
                           pick(asked, START + n));
            assert_string_not_equal(address, "");
            if (policy != CONF_RANDOM) /* its list is in another order */
                assert_string_equal(address, pick(spared, START + n));
        }
        balancer_free(&asked);
        balancer_free(&spared);
    }
}

/* --- counters near their end --------------------------------------------- */

/* Ids on both sides of where 31, 32 and all 40 bits of the number end: each
 * its own, and each known once. */
static void pick_ids_go_on_where_their_numbers_wrap(void **state)
{
    static const uint64_t ends[] = {UINT64_C(1) << 19, UINT64_C(1) << 31,
                                    UINT64_C(1) << 32, UINT64_C(1) << 40,
                                    UINT64_C(3) << 40};
    const uint64_t mask = (UINT64_C(1) << 40) - 1;
    pick_id ids[200];

    (void)state;

    for (size_t p = 0; p < N_POLICIES; p++)
        for (size_t e = 0; e < ARRAY_LEN(ends); e++) {
            const enum conf_policy policy = all_policies[p];

            struct balancer *b = with_idle(policy, 4);
            uint64_t before = balancer_stats(b).picks;

            b->receipts.next = ends[e] - ARRAY_LEN(ids) / 2;
            for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
                assert_string_not_equal(pick(b, START), "");
                ids[i] = last_pick.pick;
                assert_int_not_equal(ids[i], 0);
                assert_int_equal(balancer_pick_instance(ids[i]),
                                 balancer_pick_instance_of(INSTANCE));
                /* one more than the one before, in 40 bits */
                assert_true((ids[i] & mask) ==
                            ((ends[e] - ARRAY_LEN(ids) / 2 + i) & mask));
            }
            assert_int_equal(balancer_stats(b).picks - before, ARRAY_LEN(ids));
            for (size_t i = 0; i < ARRAY_LEN(ids); i++)
                assert_true(balancer_done(b, ids[i]));
            for (size_t i = 0; i < ARRAY_LEN(ids); i++)
                assert_false(balancer_done(b, ids[i]));
            balancer_free(&b);
        }
}

/* The receipt of a number is not that of one that is a whole ring older. */
static void an_id_from_before_the_wrap_is_not_taken_for_one_after(void **state)
{
    struct balancer *b = with_idle(CONF_ROUND_ROBIN, 2);
    pick_id old;

    (void)state;
    b->receipts.next = (UINT64_C(1) << 40) - RECEIPTS_MAX;
    assert_string_not_equal(pick(b, START), "");
    old = last_pick.pick;
    b->receipts.next = UINT64_C(1) << 40; /* the same place, 2^19 picks on */
    assert_string_not_equal(pick(b, START), "");
    assert_true(old != last_pick.pick);
    assert_false(balancer_done(b, old));
    assert_true(balancer_done(b, last_pick.pick));
    balancer_free(&b);
}

/* As after 2^31 picks, 2^32, and 2^53, from which on a double counts no more
 * by ones: with reports that never say what became of them. */
static void after_billions_of_grants_the_shares_are_the_same(void **state)
{
    static const unsigned times[] = {1, 2, 1U << 22};

    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++)
        for (size_t t = 0; t < ARRAY_LEN(times); t++) {
            const enum conf_policy policy = all_policies[p];

            struct balancer *b = with_idle(policy, 4);
            struct tally ignored;

            for (size_t k = 0; k < 4; k++)
                for (unsigned i = 0; i < times[t]; i++)
                    balancer_count(b, names[k], INT32_MAX, START);
            expect_sane(b, 4, START);
            tally_picks(&ignored, b, NULL, 100, START);
            for (size_t k = 0; k < 4; k++) /* and all that is over */
                set_idle(b, names[k], 8, START + INTERVAL);
            expect_shared(b, 4, 400, START + INTERVAL, 0.7, 1.3);
            balancer_free(&b);
        }
}

static void with_billions_of_coordinators_it_still_counts(void **state)
{
    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *b = with_idle(policy, 4);

        balancer_set_coordinators(b, UINT32_MAX);
        expect_shared(b, 4, 400, START, 0.7, 1.3);
        expect_sane(b, 4, START);
        balancer_free(&b);
    }
}

/* Virtual time as after years of turns: it starts over in the middle of these
 * picks, and nobody's turn is lost or doubled. */
static void turns_go_on_where_virtual_time_ends(void **state)
{
    static const enum conf_policy strides[] = {
        CONF_FIXED_WEIGHTED_ROUND_ROBIN, CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN};

    (void)state;
    for (size_t p = 0; p < ARRAY_LEN(strides); p++)
        for (int bits = 58; bits <= 62; bits++) {
            struct balancer *b = with_idle(strides[p], 4);
            struct group *g = b->everyone;
            uint64_t far = (UINT64_C(1) << bits) - (UINT64_C(1) << 37);

            g->turn += far;
            for (uint32_t i = 0; i < g->n; i++)
                g->members[i].turn += far;
            balancer_group_refresh(g, 0, g->n, START);
            for (int round = 0; round < 20; round++) {
                struct tally t;

                tally_picks(&t, b, NULL, 400, START);
                for (size_t k = 0; k < 4; k++)
                    assert_in_range(*tally_of(&t, names[k]), 99, 101);
            }
            for (uint32_t i = 0; i < g->n && bits == 62; i++) /* it did */
                assert_true(g->members[i].turn < UINT64_C(1) << 61);

            balancer_free(&b);
        }
}

/* The numbers of the lag's buckets wrap, after a year, or 50 days with short
 * intervals. Those who come at any of these moments are counted as at others.
 */
static void grants_are_counted_where_the_buckets_wrap(void **state)
{
    const mono_ms bucket = LAG_BUCKET_MS;

    (void)state;
    for (uint64_t quarter = 1; quarter <= 4; quarter++) {
        mono_ms end = (mono_ms)(quarter << 30) * bucket, now = end - 300;
        struct balancer *b = balancer_of(CONF_LEDGER);

        for (size_t k = 0; k < 4; k++)
            set_idle(b, names[k], 8, now);
        for (; now < end + 300; now += 10) {
            balancer_tick(b, now);
            expect_shared(b, 4, 40, now, 0.9, 1.1);
            assert_true(term(b, "a:1", "granted", now) > 0);
        }
        for (int report = 1; report <= 3; report++) /* settles all of it */
            for (size_t k = 0; k < 4; k++) {
                now = end + report * INTERVAL;
                set_idle(b, names[k], 8, now);
                assert_true(term(b, names[k], "granted", now) == 0);
                balancer_count(b, names[k], 5, now);
            }
        set_idle(b, "new:1", 8, now);
        balancer_count(b, "new:1", 5, now);
        set_idle(b, "new:1", 8, now + INTERVAL);
        assert_true(term(b, "new:1", "granted", now + INTERVAL) == 0);
        balancer_free(&b);
    }
}

/* --- clocks that jump ---------------------------------------------------- */

/* As the other that is told no such times: one hour back, and reports of the
 * future. */
static void time_that_goes_back_changes_no_answer(void **state)
{
    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *jumps = with_idle(policy, 4);
        struct balancer *steady = with_idle(policy, 4);
        char address[BALANCER_ADDRESS_MAX + 1];
        mono_ms now = START;

        /* until the reports are too old for both */
        for (int n = 0; n < 300; n++, now += 4 * INTERVAL / 300) {

            mono_ms told = n % 3 == 0 ? now - 3600000 : n % 3 == 1 ? 0 : now;

            (void)pick(steady, now);
            (void)pick(jumps, now);
            balancer_tick(steady, now);
            balancer_tick(jumps, told);
            (void)snprintf(address, sizeof(address), "%s", pick(jumps, told));
            assert_string_equal(address, pick(steady, now));
            assert_int_equal(*address == '\0', now > START + 3 * INTERVAL);
        }
        balancer_free(&jumps);
        balancer_free(&steady);
    }
}

static void reports_of_the_future_and_of_long_ago_are_borne(void **state)
{
    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *b = with_idle(policy, 2);
        struct balancer_worker w = idle("soon:1", 8, START + 86400000);

        w.since = START + 86400000;
        set(b, w, START);
        w = idle("old:1", 8, -86400000);
        set(b, w, START);
        for (int n = 0; n < 100; n++)
            assert_string_not_equal(pick(b, START), "old:1");
        expect_sane(b, 4, START);
        balancer_free(&b);
    }
}

/* Frozen twice, let go twice, and a clock that is behind when it is: nobody
 * grows old by it, and time goes on afterwards. */
static void freezing_bears_every_order_and_clock(void **state)
{
    const mono_ms hour = 3600000;

    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *b = with_idle(policy, 3);
        mono_ms now = START;

        balancer_freeze(b, true, now);
        set_idle(b, "a:1", 8, now - 5000); /* by a clock that is behind */
        balancer_freeze(b, false, now - 5000);
        balancer_freeze(b, false, now);
        balancer_freeze(b, true, now);
        balancer_freeze(b, true, now + hour);
        balancer_tick(b, now + hour);
        expect_shared(b, 3, 300, now + hour, 0.6, 1.4);
        set_idle(b, "d:1", 8, now + hour); /* heard of meanwhile */
        balancer_freeze(b, false, now + 2 * hour);
        balancer_freeze(b, false, now + 3 * hour);
        now += 2 * hour;
        expect_shared(b, 4, 400, now, 0.2, 2);

        now += 4 * INTERVAL;
        balancer_tick(b, now);
        assert_string_equal(pick(b, now), "");
        assert_int_equal(last.code, BALANCER_REPORTS_OLD);
        balancer_free(&b);
    }
}

/* --- coming and going ---------------------------------------------------- */

#define ALL (3600 * 20) /* picks of an hour */

/* An hour in which one joins every other second and leaves in the next, each
 * time as another process, beside three that stay. Twenty picks a second, each
 * of which takes two seconds; reports every ten. */
static void flap_for_an_hour(struct balancer *b, struct tally *t)
{
    static pick_id under_way[40];
    unsigned running[40] = {0}, of[5] = {0};
    mono_ms now = START;

    memset(under_way, 0, sizeof(under_way));
    for (unsigned n = 0; n < ALL; n++, now += 50) {
        unsigned at = n % 40;

        if (n % 20 == 0 && n / 20 % 2 == 0) {
            struct balancer_worker w = idle("flaps:1", 32, now);

            w.since = now;
            w.incarnation = n + 1;
            set(b, w, now);
            of[3] = 0;
        } else if (n % 20 == 0) {
            balancer_remove(b, "flaps:1");
        }
        for (unsigned k = 0; k < 3; k++) {
            struct balancer_worker w = idle(names[k], 32, now);

            w.pool = of[k] / 32.0;
            if (n % 200 == 60 * k)
                set(b, w, now);
        }
        if (n % 5 == 0)
            balancer_tick(b, now);
        if (under_way[at] != 0) {
            (void)balancer_done(b, under_way[at]); /* unknown, if it left */
            of[running[at]] -= of[running[at]] > 0;
        }
        const char *address = pick(b, now);

        assert_string_not_equal(address, "");
        under_way[at] = last_pick.pick;
        running[at] = address[0] == 'f' ? 3 : (unsigned)(address[0] - 'a');
        of[running[at]]++;
        (*tally_of(t, address))++;
    }
}

static void who_comes_and_goes_every_second_costs_nobody_anything(void **state)
{
    (void)state;
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *b = with_idle(policy, 3);
        struct tally t = {.n = 0};

        flap_for_an_hour(b, &t);
        /* It is there half of the time, and a quarter of the workers then. */
        unsigned flaps = *tally_of(&t, "flaps:1");
        double most = policy == CONF_LEDGER ? 1.1 : 1.05, mean;

        if (flaps > ALL / 8 * 5 / 4 || flaps < ALL / 8 / 10)
            fail_msg("policy %d: the flapping one drew %u", (int)policy, flaps);
        mean = (double)(ALL - flaps) / 3;
        for (size_t k = 0; k < 3; k++) {
            unsigned n = *tally_of(&t, names[k]);

            if (n > mean * most || n < mean * (2 - most))
                fail_msg("policy %d: %s got %u", (int)policy, names[k], n);
        }
        /* What it left behind is used again. */
        assert_true(b->accounts.n <= 5);
        assert_true(b->everyone->n <= 5 && b->everyone->cap <= 8);
        balancer_free(&b);
    }
}

static void ten_thousand_groups_come_and_go(void **state)
{
    static char group_names[10000][16];
    static const char *pointers[10000];
    const size_t n = ARRAY_LEN(pointers);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(group_names[i], sizeof(group_names[i]), "g-%zu", i);
        pointers[i] = group_names[i];
    }
    for (size_t p = 0; p < N_POLICIES; p++) {
        const enum conf_policy policy = all_policies[p];

        struct balancer *b = balancer_of(policy);

        balancer_define(b, pointers, n);
        assert_int_equal(HASH_COUNT(b->groups), n + 1);
        for (size_t i = 0; i < n; i += 100) { /* who is in a hundred each */
            struct balancer_worker w = idle("", 8, START);

            (void)snprintf(w.address, sizeof(w.address), "w%zu:1", i);
            w.groups = &pointers[i];
            w.n_groups = 100;
            set(b, w, START);
        }
        for (size_t i = 0; i < n; i++) {
            char expected[32];

            (void)snprintf(expected, sizeof(expected), "w%zu:1", i / 100 * 100);
            assert_string_equal(
                ask(b, (struct balancer_request){.group = pointers[i],
                                                 .now = START}),
                expected);
        }
        balancer_tick(b, START);
        balancer_define(b, NULL, 0); /* those with workers stay */
        assert_int_equal(HASH_COUNT(b->groups), n + 1);
        for (size_t i = 0; i < n; i += 100) {
            char address[32];

            (void)snprintf(address, sizeof(address), "w%zu:1", i);
            balancer_remove(b, address);
        }
        assert_int_equal(HASH_COUNT(b->groups), 1);
        ask(b, (struct balancer_request){.group = "g-7", .now = START});
        assert_int_equal(last.code, BALANCER_GROUP_NOT_FOUND);
        balancer_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_weighs_nothing_or_less_is_never_picked),
        cmocka_unit_test(a_usage_that_is_no_number_is_an_unknown_one),
        cmocka_unit_test(the_largest_numbers_are_as_good_as_others),
        cmocka_unit_test(the_largest_are_compared_as_others),
        cmocka_unit_test(the_lightest_beside_the_heaviest_has_its_turn),
        cmocka_unit_test(one_worker_takes_everything),
        cmocka_unit_test(when_all_are_busy_it_says_when_to_ask_again),
        cmocka_unit_test(excluding_everyone_leaves_no_trace),
        cmocka_unit_test(pick_ids_go_on_where_their_numbers_wrap),
        cmocka_unit_test(an_id_from_before_the_wrap_is_not_taken_for_one_after),
        cmocka_unit_test(after_billions_of_grants_the_shares_are_the_same),
        cmocka_unit_test(with_billions_of_coordinators_it_still_counts),
        cmocka_unit_test(turns_go_on_where_virtual_time_ends),
        cmocka_unit_test(grants_are_counted_where_the_buckets_wrap),
        cmocka_unit_test(time_that_goes_back_changes_no_answer),
        cmocka_unit_test(reports_of_the_future_and_of_long_ago_are_borne),
        cmocka_unit_test(freezing_bears_every_order_and_clock),
        cmocka_unit_test(who_comes_and_goes_every_second_costs_nobody_anything),
        cmocka_unit_test(ten_thousand_groups_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
