/*
 * test_balancer.c - the balancer's interface: groups, answers, exclusions,
 * pick ids, affinity, explanations. Policies and the ledger's arithmetic have
 * files of their own.
 */
#include "tests/unit/test_balancer.h"

#include "base/json/json.h"

#include <stdlib.h>

static void an_unknown_group_an_empty_one_and_a_busy_one_differ(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    static const char *const defined[] = {"gpu"};
    struct balancer_request request = {.group = "gpu", .now = START};
    struct balancer_worker w = idle("a:1", 8, START);

    (void)state;
    ask(b, request);
    assert_int_equal(last.code, BALANCER_GROUP_NOT_FOUND);
    balancer_define(b, defined, 1);
    ask(b, request);
    assert_int_equal(last.code, BALANCER_GROUP_EMPTY);
    w.groups = defined;
    w.n_groups = 1;
    w.busy = true;
    set(b, w, START);
    ask(b, request);
    assert_int_equal(last.code, BALANCER_ALL_BUSY);
    assert_int_equal(balancer_stats(b).empty, 3);
    balancer_free(&b);
}

static void groups_come_and_go_with_their_workers(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    static const char *const both[] = {"x", "y", "x", "default"};
    struct balancer_worker w = idle("a:1", 8, START);
    struct balancer_request x = {.group = "x", .now = START};
    struct balancer_request y = {.group = "y", .now = START};

    (void)state;
    w.groups = both;
    w.n_groups = 4;
    set(b, w, START);
    assert_string_equal(ask(b, x), "a:1");
    assert_string_equal(ask(b, y), "a:1");
    w.n_groups = 1;
    set(b, w, START);
    assert_string_equal(ask(b, x), "a:1");
    ask(b, y);
    assert_int_equal(last.code, BALANCER_GROUP_NOT_FOUND);
    balancer_remove(b, "a:1");
    ask(b, x);
    assert_int_equal(last.code, BALANCER_GROUP_NOT_FOUND);
    pick(b, START);
    assert_int_equal(last.code, BALANCER_GROUP_EMPTY);
    balancer_remove(b, "a:1"); /* not there: nothing happens */
    balancer_free(&b);
}

static void a_worker_may_be_in_many_groups(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    static const char *const many[] = {"g0", "g1", "g2", "g3", "g4",
                                       "g5", "g6", "g7", "g8"};
    struct balancer_worker w = idle("a:1", 8, START);

    (void)state;
    w.groups = many;
    w.n_groups = ARRAY_LEN(many);
    set(b, w, START);
    set(b, idle("b:1", 8, START), START);
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        struct balancer_request r = {.group = many[i], .now = START};

        assert_string_equal(ask(b, r), "a:1");
    }
    /* Nine grants in nine groups count in default, too. */
    for (int i = 0; i < 9; i++)
        assert_string_equal(pick(b, START), "b:1");
    w.n_groups = 0;
    set(b, w, START);
    balancer_free(&b);
}

static void a_removed_definition_keeps_a_group_that_has_workers(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    static const char *const names[] = {"used", "unused"};
    struct balancer_worker w = idle("a:1", 8, START);
    struct balancer_request used = {.group = "used", .now = START};
    struct balancer_request unused = {.group = "unused", .now = START};

    (void)state;
    w.groups = names;
    w.n_groups = 1;
    balancer_define(b, names, 2);
    set(b, w, START);
    balancer_define(b, NULL, 0);
    assert_string_equal(ask(b, used), "a:1");
    ask(b, unused);
    assert_int_equal(last.code, BALANCER_GROUP_NOT_FOUND);
    balancer_free(&b);
}

static void excluding_everybody_says_all_busy_and_leaves_no_trace(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_request request = {
        .exclude = {"a:1", "b:1", "unknown:1", "a:1"},
        .n_exclude = 4,
        .now = START,
    };

    (void)state;
    set_idle(b, "a:1", 8, START);
    set_idle(b, "b:1", 8, START);
    assert_string_equal(ask(b, request), "");
    assert_int_equal(last.code, BALANCER_ALL_BUSY);
    request.n_exclude = 1;
    for (int i = 0; i < 20; i++)
        assert_string_equal(ask(b, request), "b:1");
    assert_int_equal(last.n_alternates, 0);
    assert_string_equal(pick(b, START), "a:1");
    balancer_free(&b);
}

static void a_thousand_picks_come_in_one_answer(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    static struct balancer_pick picks[BALANCER_COUNT_MAX];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {.count = BALANCER_COUNT_MAX,
                                       .now = START};
    struct tally t = {.n = 0};

    (void)state;
    set_idle(b, "a:1", 10, START);
    set_idle(b, "b:1", 40, START);
    balancer_pick(b, &request, &answer);
    assert_int_equal(answer.n_picks, BALANCER_COUNT_MAX);
    for (size_t i = 0; i < answer.n_picks; i++) {
        (*tally_of(&t, picks[i].address))++;
        assert_true(i == 0 || picks[i].pick > picks[i - 1].pick);
    }
    assert_in_range(*tally_of(&t, "a:1"), 199, 201);
    assert_in_range(*tally_of(&t, "b:1"), 799, 801);
    assert_int_equal(balancer_stats(b).picks, BALANCER_COUNT_MAX);
    balancer_free(&b);
}

static void a_pick_names_its_coordinator_and_ends_once(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_idle(b, "a:1", 8, START);
    pick(b, START);
    pick_id id = last_pick.pick;

    assert_int_equal(balancer_pick_instance(id),
                     balancer_pick_instance_of(INSTANCE));
    assert_true(balancer_done(b, id));
    assert_false(balancer_done(b, id));
    assert_false(balancer_refused(b, id));
    assert_false(balancer_done(b, 0));
    assert_false(balancer_done(b, id + 1));
    assert_false(balancer_done(b, UINT64_MAX));
    assert_false(balancer_done(b, id ^ UINT64_C(1) << 60));
    assert_int_equal(balancer_stats(b).done, 1);
    assert_int_equal(balancer_stats(b).unknown_picks, 6);
    balancer_free(&b);
}

static void instances_fold_to_24_bits_and_never_to_zero(void **state)
{
    (void)state;
    assert_int_not_equal(balancer_pick_instance_of(UINT64_C(1) << 24), 0);
    assert_int_not_equal(balancer_pick_instance_of(UINT64_C(0x1000001)), 0);
    assert_true(balancer_pick_instance_of(UINT64_MAX) < 1U << 24);
}

static void an_old_pick_is_forgotten(void **state)
{
    struct balancer *b = balancer_of(CONF_ROUND_ROBIN);
    static struct balancer_pick picks[BALANCER_COUNT_MAX];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {.count = BALANCER_COUNT_MAX,
                                       .now = START};

    (void)state;
    set_idle(b, "a:1", 8, START);
    pick(b, START);
    for (int i = 0; i < 600; i++)
        balancer_pick(b, &request, &answer);
    assert_false(balancer_done(b, last_pick.pick));
    assert_true(balancer_done(b, picks[0].pick));
    balancer_free(&b);
}

static void
a_pick_of_a_dead_process_is_known_but_counts_for_nobody(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = idle("a:1", 8, START);

    (void)state;
    set(b, w, START);
    pick(b, START);
    pick_id of_old = last_pick.pick;

    w.incarnation = 2;
    set(b, w, START);
    pick(b, START);
    pick_id of_new = last_pick.pick;

    assert_true(balancer_refused(b, of_old));
    assert_string_equal(pick(b, START),
                        "a:1"); /* the new one refused nothing */
    balancer_remove(b, "a:1");
    assert_true(balancer_done(b, of_new));
    set_idle(b, "b:1", 8, START);
    assert_string_equal(pick(b, START), "b:1");
    balancer_free(&b);
}

static void affinity_stays_put_and_moves_when_overloaded(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_request request = {.affinity = "table-17", .now = START};
    char address[BALANCER_ADDRESS_MAX + 1], home[BALANCER_ADDRESS_MAX + 1];
    struct balancer_worker w;

    (void)state;
    for (int i = 0; i < 20; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        set_idle(b, address, 16, START);
    }
    snprintf(home, sizeof(home), "%s", ask(b, request));
    for (int i = 0; i < 5; i++)
        assert_string_equal(ask(b, request), home);
    w = idle(home, 16, START + 1);
    w.pool = 0.9;
    set(b, w, START + 1);
    assert_string_not_equal(ask(b, request), home);
    snprintf(address, sizeof(address), "%s", last_pick.address);
    assert_string_equal(ask(b, request), address); /* the second choice */
    set_idle(b, home, 16, START + 2);
    assert_string_equal(ask(b, request), home);
    balancer_free(&b);
}

static void affinity_spreads_keys_by_capacity_and_moves_few(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_request request = {.peek = true, .now = START};
    static char before[2000][BALANCER_ADDRESS_MAX + 1];
    unsigned large = 0, moved = 0, of_gone = 0;
    char key[32], address[32];

    (void)state;
    for (int i = 0; i < 9; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        set_idle(b, address, i == 0 ? 32 : 4, START);
    }
    request.affinity = key;
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        snprintf(before[i], sizeof(before[i]), "%s", ask(b, request));
        large += strcmp(before[i], "w0:1") == 0;
        of_gone += strcmp(before[i], "w5:1") == 0;
    }
    assert_in_range(large, 900, 1100); /* half of the capacity */
    balancer_remove(b, "w5:1");
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        moved += strcmp(before[i], ask(b, request)) != 0;
    }
    assert_int_equal(moved, of_gone); /* nobody else's key moved */
    balancer_free(&b);
}

static void explain_names_every_candidate_with_its_terms(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_request request = {
        .exclude = {"c:1"}, .n_exclude = 1, .now = START};
    struct balancer_worker w = idle("b:1", 8, START);
    struct buf out;
    const struct json *list = NULL;
    int n = 0;

    (void)state;
    buf_init(&out, 1 << 20);
    w.closed = true;
    set(b, w, START);
    set_idle(b, "c:1", 8, START);
    for (int i = 0; i < 150; i++) { /* several slices */
        w = idle("", 8, START);
        snprintf(w.address, sizeof(w.address), "a\"%d:1", i);
        w.cpu = -1;
        w.pool = 0.5;
        set(b, w, START);
    }
    balancer_explain(b, &request, &out);
    assert_int_equal(json_parse(out.data, out.len, &list, NULL), 0);
    for (const struct json *c = json_first(list); c != NULL; c = c->next, n++) {
        const char *address = json_str(c, "address");
        const char *why_not = json_str(c, "why_not");

        if (strcmp(address, "b:1") == 0) {
            assert_string_equal(why_not, "closed");
        } else if (strcmp(address, "c:1") == 0) {
            assert_string_equal(why_not, "excluded");
        } else {
            assert_null(why_not);
            assert_true(json_num(c, "est", -1) == 4);
            assert_true(json_num(c, "score", -1) == 5.0 / 8);
            assert_true(json_num(c, "capacity", -1) == 8);
            assert_null(json_str(c, "hot"));
        }
    }
    assert_int_equal(n, 152);
    json_free(list);
    buf_reset(&out);
    request.group = "nowhere";
    balancer_explain(b, &request, &out);
    assert_string_equal(buf_text(&out), "[]");
    buf_close(&out);
    balancer_free(&b);
}

static void places_of_workers_gone_are_used_again(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct tally t;
    char address[32];

    (void)state;
    for (int i = 0; i < 3000; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        set_idle(b, address, 8, START);
        if (i >= 10) {
            snprintf(address, sizeof(address), "w%d:1", i - 10);
            balancer_remove(b, address);
        }
    }
    tally_picks(&t, b, NULL, 100, START);
    assert_int_equal(t.n, 10);
    for (unsigned i = 0; i < t.n; i++)
        assert_int_equal(t.worker[i].n, 10);
    balancer_free(&b);
}

/* From each policy to each other one: nobody is lost, nobody is picked twice
 * in a round of the policies that go round, and busy ones stay out. */
static void another_policy_goes_on_with_the_same_workers(void **state)
{
    static const enum conf_policy all[] = {
        CONF_LEDGER, CONF_RANDOM, CONF_ROUND_ROBIN,
        CONF_FIXED_WEIGHTED_ROUND_ROBIN, CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN};
    static const char *const names[] = {"a:1", "b:1", "c:1"};
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker busy = idle("busy:1", 8, START);

    (void)state;
    busy.busy = true;
    set(b, busy, START);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        set(b, idle(names[i], 8, START), START);
    for (size_t from = 0; from < ARRAY_LEN(all); from++) {
        for (size_t to = 0; to < ARRAY_LEN(all); to++) {
            unsigned n[ARRAY_LEN(names)] = {0};

            balancer_set_policy(b, all[from], START);
            pick(b, START);
            balancer_set_policy(b, all[to], START);
            for (size_t k = 0; k < 30; k++) {
                const char *address = pick(b, START);

                for (size_t i = 0; i < ARRAY_LEN(names); i++)
                    n[i] += strcmp(address, names[i]) == 0;
            }
            assert_int_equal(n[0] + n[1] + n[2], 30);
            if (all[to] == CONF_ROUND_ROBIN && from != to)
                assert_true(n[0] == 10 && n[1] == 10 && n[2] == 10);
        }
    }
    balancer_free(&b);
}

/* An hour without a word from the registry: what was known goes on, and the
 * next report counts from then. */
static void frozen_reports_do_not_grow_old(void **state)
{
    const mono_ms hour = 3600000;
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_request request = {.now = START + hour};

    (void)state;
    set(b, idle("a:1", 8, START), START);
    balancer_freeze(b, true, START + 1000);
    balancer_freeze(b, true, START + hour / 2);
    assert_string_equal(ask(b, request), "a:1");
    balancer_freeze(b, false, START + hour);
    assert_string_equal(ask(b, request), "a:1");
    set(b, idle("a:1", 8, START), START + hour); /* no new report */
    request.now = START + hour + 60000;
    ask(b, request);
    assert_int_equal(last.code, BALANCER_REPORTS_OLD); /* time goes on again */
    set(b, idle("a:1", 8, request.now), request.now);
    assert_string_equal(ask(b, request), "a:1");
    balancer_free(&b);
}

static int by_address(const void *a, const void *b)
{
    const struct balancer_pick *x = a, *y = b;

    return strcmp(x->address, y->address);
}

static void a_large_group_is_spread_like_a_small_one(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    static struct balancer_pick picks[BALANCER_COUNT_MAX];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {.count = BALANCER_COUNT_MAX - 1,
                                       .now = START};
    char address[32];

    (void)state;
    for (int i = 0; i < 40000; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        set_idle(b, address, 8, START);
    }
    balancer_pick(b, &request, &answer);
    balancer_tick(b, START + 250); /* in slices */
    pick(b, START + 250);
    picks[BALANCER_COUNT_MAX - 1] = last_pick;
    assert_int_equal(last.n_alternates, 2);
    qsort(picks, ARRAY_LEN(picks), sizeof(*picks), by_address);
    for (size_t i = 1; i < ARRAY_LEN(picks); i++)
        assert_true(by_address(&picks[i - 1], &picks[i]) < 0); /* all differ */
    balancer_free(&b);
}

/* From what the configuration allows at least to what it allows at most. */
static void any_heartbeat_interval_will_do(void **state)
{
    static const int64_t intervals[] = {100,   1000,  16000,
                                        17000, 60000, 3600000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(intervals); i++) {
        struct conf_balancer conf = test_conf;
        struct balancer *b;

        conf.heartbeat_interval_ms = intervals[i];
        b = balancer_new(&conf, 42, INSTANCE);
        for (int beat = 0; beat < 5; beat++) {
            mono_ms now = START + beat * intervals[i];

            set_idle(b, "a:1", 8, now);
            assert_string_equal(pick(b, now + intervals[i] / 2), "a:1");
        }
        balancer_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_group_an_empty_one_and_a_busy_one_differ),
        cmocka_unit_test(groups_come_and_go_with_their_workers),
        cmocka_unit_test(a_worker_may_be_in_many_groups),
        cmocka_unit_test(a_removed_definition_keeps_a_group_that_has_workers),
        cmocka_unit_test(excluding_everybody_says_all_busy_and_leaves_no_trace),
        cmocka_unit_test(a_thousand_picks_come_in_one_answer),
        cmocka_unit_test(a_pick_names_its_coordinator_and_ends_once),
        cmocka_unit_test(instances_fold_to_24_bits_and_never_to_zero),
        cmocka_unit_test(an_old_pick_is_forgotten),
        cmocka_unit_test(
            a_pick_of_a_dead_process_is_known_but_counts_for_nobody),
        cmocka_unit_test(affinity_stays_put_and_moves_when_overloaded),
        cmocka_unit_test(affinity_spreads_keys_by_capacity_and_moves_few),
        cmocka_unit_test(explain_names_every_candidate_with_its_terms),
        cmocka_unit_test(places_of_workers_gone_are_used_again),
        cmocka_unit_test(a_large_group_is_spread_like_a_small_one),
        cmocka_unit_test(frozen_reports_do_not_grow_old),
        cmocka_unit_test(another_policy_goes_on_with_the_same_workers),
        cmocka_unit_test(any_heartbeat_interval_will_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
