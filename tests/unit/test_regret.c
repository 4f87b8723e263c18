/* Regret: picks that would have gone elsewhere with the next report in hand,
 * in worlds so small that the number is known. */
#include "tests/unit/test_balancer.h"

#include "balancer/balancer_priv.h"
#include "balancer/second/second.h"

/* Two workers of ten slots that have been heard of for an interval. */
struct world {
    struct balancer *b;
    struct second *s;
    mono_ms now;
};

static void pass(struct world *w, mono_ms ms)
{
    for (mono_ms end = w->now + ms; w->now < end;) {
        w->now += 250;
        balancer_tick(w->b, w->now);
        (void)second_turn(w->s, w->now);
    }
}

static void tell(struct world *w, const char *address, double pool)
{
    struct balancer_worker x = idle(address, 10, w->now);

    x.pool = pool;
    set(w->b, x, w->now);
}

/* It begins with somebody's pick, of which nothing came. */
static void wake(struct world *w)
{
    (void)pick(w->b, w->now);
    (void)balancer_unused(w->b, last_pick.pick);
    (void)second_turn(w->s, w->now);
}

static struct world begin(void)
{
    struct world w = {.b = balancer_of(CONF_LEDGER), .now = START};

    w.s = second_new(w.b);
    second_regret(w.s, true, INTERVAL);
    tell(&w, "a:1", 0);
    tell(&w, "b:1", 0);
    wake(&w);
    assert_int_equal(second_stats(w.s).unjudged, 1);
    pass(&w, INTERVAL);
    tell(&w, "a:1", 0);
    tell(&w, "b:1", 0);
    pass(&w, 1000);
    return w;
}

/* Until all is decided again. */
static struct second_stats end(struct world *w)
{
    struct second_stats stats;

    pass(w, 3 * INTERVAL);
    stats = second_stats(w->s);
    assert_int_equal(stats.lost, 0);
    second_free(&w->s);
    balancer_free(&w->b);
    return stats;
}

static unsigned picks_of(struct world *w, unsigned n, const char *address)
{
    unsigned to = 0;

    for (unsigned i = 0; i < n; i++)
        to += strcmp(pick(w->b, w->now), address) == 0;
    return to;
}

static void reports_that_say_what_we_knew_change_nothing(void **state)
{
    struct world w = begin();
    struct second_stats stats;

    (void)state;
    assert_int_equal(picks_of(&w, 4, "a:1"), 2);
    pass(&w, INTERVAL - 1000);
    tell(&w, "a:1", .2); /* our own, still running */
    tell(&w, "b:1", .2);
    pass(&w, 1000);
    stats = end(&w);
    assert_true(stats.regrets);
    assert_int_equal(stats.judged, 4);
    assert_int_equal(stats.elsewhere, 0);
    assert_int_equal(stats.unjudged, 1); /* that of begin() */
}

static void work_of_others_that_a_report_shows(void **state)
{
    struct world w = begin();
    struct second_stats stats;

    (void)state;
    assert_int_equal(picks_of(&w, 4, "a:1"), 2);
    pass(&w, INTERVAL - 1000);
    tell(&w, "a:1", .9); /* seven of them are somebody else's */
    tell(&w, "b:1", .2);
    pass(&w, 1000);
    stats = end(&w);
    assert_int_equal(stats.judged, 4);
    assert_int_equal(stats.elsewhere, 2);
}

static void who_turns_out_busy_is_regretted(void **state)
{
    struct world w = begin();
    struct balancer_worker busy;
    struct second_stats stats;

    (void)state;
    assert_int_equal(picks_of(&w, 6, "a:1"), 3);
    pass(&w, INTERVAL - 1000);
    busy = idle("b:1", 10, w.now);
    busy.pool = .3;
    busy.busy = true;
    set(w.b, busy, w.now);
    tell(&w, "a:1", .3);
    pass(&w, 1000);
    stats = end(&w);
    assert_int_equal(stats.judged, 6);
    assert_int_equal(stats.elsewhere, 3);
}

/* What ended in between ran before: three of them are done at the next report,
 * which says nothing of them. */
static void ends_in_between_are_not_taken_for_foresight(void **state)
{
    struct world w = begin();
    struct second_stats stats;
    unsigned done = 0;

    (void)state;
    for (int i = 0; i < 8; i++)
        if (strcmp(pick(w.b, w.now), "a:1") == 0 && done < 3) {
            assert_true(balancer_done(w.b, last_pick.pick));
            done++;
        }
    assert_int_equal(done, 3);
    pass(&w, INTERVAL - 1000);
    tell(&w, "a:1",
         (double)(term(w.b, "a:1", "granted", w.now) -
                  term(w.b, "a:1", "acked", w.now)) /
             10);
    tell(&w, "b:1", (double)term(w.b, "b:1", "granted", w.now) / 10);
    pass(&w, 1000);
    stats = end(&w);
    assert_int_equal(stats.judged, 8);
    assert_int_equal(stats.elsewhere, 0);
}

static void who_does_not_report_is_taken_as_known(void **state)
{
    struct world w = begin();
    struct second_stats stats;

    (void)state;
    assert_int_equal(picks_of(&w, 4, "a:1"), 2);
    balancer_remove(w.b, "a:1");
    pass(&w, 1000);
    tell(&w, "a:1", 1); /* it came again: that is no later report */
    stats = end(&w);
    assert_int_equal(stats.judged, 4);
    assert_int_equal(stats.elsewhere, 0);
}

/* Another process there: what it says is nothing of the one before. */
static void another_process_says_nothing_of_the_one_before(void **state)
{
    struct world w = begin();
    struct balancer_worker other;
    struct second_stats stats;

    (void)state;
    assert_int_equal(picks_of(&w, 4, "a:1"), 2);
    pass(&w, 1000);
    other = idle("a:1", 10, w.now);
    other.pool = 1;
    other.incarnation = 2;
    set(w.b, other, w.now);
    stats = end(&w);
    assert_int_equal(stats.judged, 4);
    assert_int_equal(stats.elsewhere, 0);
}

/* A gate that closes is no report, and opens nobody's eyes before its time. */
static void what_is_no_report_counts_from_its_own_time(void **state)
{
    struct world w = begin();
    struct balancer_worker closed = idle("a:1", 10, w.now - 1000);
    struct second_stats stats;

    (void)state;
    assert_int_equal(picks_of(&w, 4, "a:1"), 2);
    closed.closed = true;
    set(w.b, closed, w.now);
    assert_int_equal(picks_of(&w, 3, "b:1"), 3);
    pass(&w, INTERVAL - 1000);
    closed.reported = w.now;
    closed.pool = .2;
    set(w.b, closed, w.now);
    tell(&w, "b:1", .5);
    pass(&w, 1000);
    stats = end(&w);
    assert_int_equal(stats.judged, 7);
    assert_int_equal(stats.elsewhere, 0);
}

static void picks_of_the_first_interval_are_not_judged(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct world w = {.b = b, .now = START, .s = second_new(b)};
    struct second_stats stats;

    (void)state;
    second_regret(w.s, true, INTERVAL);
    tell(&w, "a:1", 0);
    pass(&w, 1000);
    assert_int_equal(picks_of(&w, 5, "a:1"), 5);
    stats = end(&w);
    assert_int_equal(stats.judged, 0);
    assert_int_equal(stats.unjudged, 5);
}

/* Reports, time, peeks and requests that get nobody are nothing to it; the
 * picks that it began with are not judged. The same when it is asked for
 * anew, and what was picked in between is no matter. */
static void it_sleeps_until_somebody_is_picked(void **state)
{
    struct world w = {.b = balancer_of(CONF_LEDGER), .now = START};

    (void)state;
    w.s = second_new(w.b);
    for (unsigned round = 0; round < 2; round++) {
        second_regret(w.s, true, INTERVAL);
        tell(&w, "a:1", 0);
        pass(&w, 3 * INTERVAL);
        tell(&w, "a:1", 0);
        (void)ask(w.b, (struct balancer_request){.peek = true, .now = w.now});
        assert_string_equal(
            ask(w.b, (struct balancer_request){.group = "none", .now = w.now}),
            "");
        pass(&w, 1000);
        assert_int_equal(w.b->n_taps, 0);
        assert_int_equal(second_stats(w.s).judged, round);
        assert_int_equal(picks_of(&w, 2, "a:1"), 2);
        (void)second_turn(w.s, w.now);
        assert_int_equal(w.b->n_taps, 1);
        assert_int_equal(second_stats(w.s).unjudged, 2 * (round + 1));
        pass(&w, 2 * INTERVAL);
        tell(&w, "a:1", .2);
        assert_int_equal(picks_of(&w, 1, "a:1"), 1);
        pass(&w, 3 * INTERVAL);
        assert_int_equal(second_stats(w.s).judged, round + 1);
        second_regret(w.s, false, INTERVAL);
        assert_int_equal(w.b->n_taps, 0);
        tell(&w, "a:1", .3);
        assert_int_equal(picks_of(&w, 1, "a:1"), 1);
    }
    (void)end(&w);
}

/* A shadow that begins meanwhile does not wake it, and ends alone. */
static void a_shadow_does_not_wake_it(void **state)
{
    struct world w = {.b = balancer_of(CONF_LEDGER), .now = START};

    (void)state;
    w.s = second_new(w.b);
    second_regret(w.s, true, INTERVAL);
    tell(&w, "a:1", 0);
    second_shadow(w.s, true, CONF_RANDOM);
    pass(&w, 1000);
    assert_int_equal(w.b->n_taps, 1);
    second_shadow(w.s, false, CONF_RANDOM);
    assert_int_equal(w.b->n_taps, 0);
    second_shadow(w.s, true, CONF_RANDOM);
    pass(&w, 1000);
    assert_int_equal(picks_of(&w, 3, "a:1"), 3);
    pass(&w, 1000);
    second_shadow(w.s, false, CONF_RANDOM);
    assert_int_equal(w.b->n_taps, 1); /* it is awake now */
    assert_int_equal(end(&w).unjudged, 3);
}

static void too_many_events_are_not_waited_with(void **state)
{
    struct world w = begin();
    struct second_stats stats;
    const unsigned n = SECOND_LATE_MAX + 5000;

    (void)state;
    for (unsigned i = 0; i < n; i++) {
        (void)pick(w.b, w.now);
        (void)balancer_done(w.b, last_pick.pick);
        if (i % 1000 == 0)
            while (second_turn(w.s, w.now))
                ;
    }
    pass(&w, 1000);
    stats = second_stats(w.s);
    assert_true(stats.unjudged > 0);
    pass(&w, 3 * INTERVAL);
    stats = end(&w);
    assert_int_equal(stats.judged + stats.unjudged, n + 1);
    assert_true(stats.unjudged >= n / 2);
    assert_true(stats.judged > 10000);
}

/* One of ours stands for two: so the later report, which shows four of each, is
 * what was known. */
static void others_that_were_there_before_it_began_count(void **state)
{
    struct world w = {.b = balancer_of(CONF_LEDGER), .now = START};
    struct second_stats stats;

    (void)state;
    balancer_set_coordinators(w.b, 2);
    w.s = second_new(w.b);
    tell(&w, "a:1", 0);
    tell(&w, "b:1", 0);
    second_regret(w.s, true, INTERVAL);
    wake(&w);
    pass(&w, INTERVAL);
    tell(&w, "a:1", 0);
    tell(&w, "b:1", 0);
    pass(&w, 1000);
    assert_int_equal(picks_of(&w, 2, "a:1"), 1);
    for (int i = 0; i < 2; i++)
        assert_string_equal(
            ask(w.b, (struct balancer_request){.exclude = {"b:1"},
                                               .n_exclude = 1,
                                               .now = w.now}),
            "a:1");
    assert_string_equal(pick(w.b, w.now), "b:1");
    pass(&w, INTERVAL - 1000);
    tell(&w, "a:1", .6);
    tell(&w, "b:1", .4);
    pass(&w, 1000);
    stats = end(&w);
    assert_int_equal(stats.judged, 5);
    assert_int_equal(stats.elsewhere, 0);
}

/* Whoever asks for a shadow meanwhile has the state come anew; what was missed
 * before it stays missing. */
static void what_was_missed_is_not_covered_by_a_shadow_that_begins(void **state)
{
    struct world w = begin();
    struct second_stats stats;

    (void)state;
    for (int i = 0; i < 100000; i++) /* nobody reads meanwhile */
        (void)pick(w.b, w.now);
    second_shadow(w.s, true, CONF_RANDOM);
    assert_true(second_stats(w.s).lost > 1000);
    while (second_turn(w.s, w.now))
        continue;
    (void)picks_of(&w, 4, "a:1");
    pass(&w, 3 * INTERVAL);
    stats = second_stats(w.s);
    assert_int_equal(stats.judged, 0);
    assert_int_equal(stats.unjudged, 5);
    assert_int_equal(
        stats.by[CONF_RANDOM].agreed + stats.by[CONF_RANDOM].differed, 4);
    second_free(&w.s);
    balancer_free(&w.b);
}

static uint64_t flood(struct world *w, int seconds)
{
    const int each = 40000; /* more than there is room for */

    for (int i = 0; i < seconds; i++) {
        for (int k = 0; k < each; k++)
            (void)pick(w->b, w->now);
        while (second_turn(w->s, w->now))
            continue;
        pass(w, 1000);
    }
    return (uint64_t)seconds * (uint64_t)each;
}

/* A pick between any two turns. */
static void trickle(struct world *w, mono_ms ms)
{
    for (mono_ms end = w->now + ms; w->now < end;) {
        (void)pick(w->b, w->now);
        pass(w, 250);
    }
}

/* It would only be lost again, and no pick is judged in a first interval. */
static void a_flood_that_goes_on_is_not_followed(void **state)
{
    struct world w = begin();
    uint64_t lost, picks;

    (void)state;
    (void)flood(&w, 2); /* it begins again at once, and is lost again */
    lost = second_stats(w.s).lost;
    picks = flood(&w, 90);
    assert_true(second_stats(w.s).lost >= lost + picks); /* and ticks */
    trickle(&w, 31000); /* it begins again, with millions of receipts */
    lost = second_stats(w.s).lost;
    trickle(&w, 31000);
    assert_int_equal(second_stats(w.s).lost, lost);
    second_free(&w.s);
    balancer_free(&w.b);
}

/* Requests for many wait until they are 64 MB. */
static void what_waits_is_bounded_in_bytes(void **state)
{
    static struct balancer_pick picks[BALANCER_COUNT_MAX];
    struct world w = begin();

    (void)state;
    for (int i = 0; i < 4000; i++) {
        struct balancer_request request = {.count = BALANCER_COUNT_MAX,
                                           .now = w.now};
        struct balancer_answer answer = {.picks = picks};

        balancer_pick(w.b, &request, &answer);
        assert_int_equal(answer.code, BALANCER_OK);
        while (second_turn(w.s, w.now))
            continue;
    }
    assert_int_equal(second_stats(w.s).lost, 0);
    assert_true(second_stats(w.s).unjudged > 100000);
    second_free(&w.s);
    balancer_free(&w.b);
}

/* It comes back to another slot, as its own went to one that nobody picks; and
 * goes, so that nothing is known of it any more when its first slot is picked
 * again. */
static void
a_worker_that_changes_its_slot_leaves_nothing_at_the_old_one(void **state)
{
    struct world w = {.b = balancer_of(CONF_LEDGER), .now = START};
    struct balancer_worker closed;

    (void)state;
    w.s = second_new(w.b);
    second_regret(w.s, true, INTERVAL);
    pass(&w, 1000);
    tell(&w, "a:1", 0);
    pass(&w, 500);
    assert_int_equal(picks_of(&w, 1, "a:1"), 1);
    pass(&w, 500);
    balancer_remove(w.b, "a:1");
    closed = idle("b:1", 10, w.now);
    closed.closed = true;
    set(w.b, closed, w.now);
    tell(&w, "a:1", 0);
    pass(&w, 500);
    assert_int_equal(picks_of(&w, 1, "a:1"), 1);
    balancer_remove(w.b, "a:1");
    pass(&w, 7 * INTERVAL);
    tell(&w, "b:1", 0);
    pass(&w, 500);
    assert_int_equal(picks_of(&w, 1, "b:1"), 1);
    (void)end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_that_say_what_we_knew_change_nothing),
        cmocka_unit_test(work_of_others_that_a_report_shows),
        cmocka_unit_test(who_turns_out_busy_is_regretted),
        cmocka_unit_test(ends_in_between_are_not_taken_for_foresight),
        cmocka_unit_test(who_does_not_report_is_taken_as_known),
        cmocka_unit_test(another_process_says_nothing_of_the_one_before),
        cmocka_unit_test(what_is_no_report_counts_from_its_own_time),
        cmocka_unit_test(picks_of_the_first_interval_are_not_judged),
        cmocka_unit_test(it_sleeps_until_somebody_is_picked),
        cmocka_unit_test(a_shadow_does_not_wake_it),
        cmocka_unit_test(too_many_events_are_not_waited_with),
        cmocka_unit_test(others_that_were_there_before_it_began_count),
        cmocka_unit_test(
            what_was_missed_is_not_covered_by_a_shadow_that_begins),
        cmocka_unit_test(a_flood_that_goes_on_is_not_followed),
        cmocka_unit_test(what_waits_is_bounded_in_bytes),
        cmocka_unit_test(
            a_worker_that_changes_its_slot_leaves_nothing_at_the_old_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
