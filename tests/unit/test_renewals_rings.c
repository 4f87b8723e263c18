/*
 * test_renewals_rings.c - the reader of rings, beside a registry of rings that
 * is kept here: what was committed is applied in order, or a gap is told.
 *
 * Longer than 500 lines: all cases share one world.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "cluster/renewals/rings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SESSION 0xabc
#define TOLD    4096

/* One ring as it stands, and the reader beside it. */
struct world {
    struct rings *rings;
    struct buf slots[WINDOW_SLOTS];
    uint64_t versions[WINDOW_SLOTS];
    uint64_t seq; /* the last that was committed */
    mono_ms now;
    /* what was told: of each renewal its `created` */
    uint64_t told[TOLD];
    mono_ms seen[TOLD];
    size_t n_told, gaps;
    char why[256];
    bool known; /* what the callback says */
};

static bool on_renewal(void *arg, const struct rings_renewal *r)
{
    struct world *w = arg;

    assert_true(w->n_told < TOLD);
    w->told[w->n_told] = r->renewal->created;
    w->seen[w->n_told] = r->seen;
    w->n_told++;
    return w->known;
}

static void on_gap(void *arg, uint64_t session, const char *why)
{
    struct world *w = arg;

    assert_true(session == SESSION);
    w->gaps++;
    (void)snprintf(w->why, sizeof(w->why), "%s", why);
}

static int set_up(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->rings = rings_new(on_renewal, on_gap, w);
    w->now = 1000;
    w->known = true;
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        buf_init(&w->slots[i], WINDOW_BYTES_MAX);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    rings_free(&w->rings);
    assert_null(w->rings);
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        buf_close(&w->slots[i]);
    mem_free(w);
    return 0;
}

/* The next window, with one renewal whose `created` is the window's number. */
static void commit(struct world *w)
{
    const struct renewal r = {.created = w->seq + 1, .generation = 1};
    unsigned slot = window_slot(++w->seq);
    struct window window;

    window_init(&window);
    assert_true(window_add(&window, &r));
    buf_reset(&w->slots[slot]);
    window_write(&w->slots[slot], &window, w->seq, 30000);
    w->versions[slot] = w->seq + 7;
    window_close(&window);
}

static struct registry_entry entry_of(const struct world *w, unsigned slot,
                                      char key[WINDOW_KEY_SIZE])
{
    return (struct registry_entry){.key = window_key(SESSION, slot, key),
                                   .value = buf_text(&w->slots[slot]),
                                   .value_len = w->slots[slot].len,
                                   .created = 1,
                                   .version = w->versions[slot]};
}

static void tell(struct world *w, enum registry_event_type type, unsigned slot)
{
    char key[WINDOW_KEY_SIZE];
    struct registry_event e = {.type = type};

    if (type != REGISTRY_SYNCED)
        e.entry = entry_of(w, slot, key);
    rings_feed(w->rings, &e, w->now);
}

/* Each slot as it stands now. */
static void list(struct world *w)
{
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        if (w->slots[i].len > 0)
            tell(w, REGISTRY_ADD, i);
    tell(w, REGISTRY_SYNCED, 0);
}

static void commit_and_tell(struct world *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        commit(w);
        tell(w, REGISTRY_UPDATE, window_slot(w->seq));
    }
}

/* From the store: afresh, to the end. */
static enum rings_answer read_afresh(struct world *w)
{
    enum rings_answer answer = RINGS_MORE;
    struct rings_ask ask;
    char key[WINDOW_KEY_SIZE];

    while (answer == RINGS_MORE) {
        struct registry_entry e;
        uint64_t session;
        unsigned slot;

        if (!rings_ask(w->rings, SESSION, &ask))
            return RINGS_END;
        assert_true(window_key_parse(ask.key, &session, &slot));
        assert_true(session == SESSION);
        e = entry_of(w, slot, key);
        answer =
            rings_answer(w->rings, &ask, e.value_len > 0 ? &e : NULL, w->now);
    }
    return answer;
}

static void expect_told(const struct world *w, uint64_t from, uint64_t to)
{
    assert_int_equal(w->n_told, to - from + 1);
    for (uint64_t i = 0; i < w->n_told; i++)
        assert_int_equal(w->told[i], from + i);
}

/* --- order --------------------------------------------------------------- */

static void
windows_are_applied_in_their_order_whatever_is_told_first(void **state)
{
    struct world *w = *state;

    tell(w, REGISTRY_SYNCED, 0);
    for (int i = 0; i < 5; i++)
        commit(w);
    tell(w, REGISTRY_ADD, 3);
    tell(w, REGISTRY_ADD, 2);
    assert_int_equal(w->n_told, 0);
    assert_int_equal(rings_applied(w->rings, SESSION), 0);
    tell(w, REGISTRY_ADD, 1);
    expect_told(w, 1, 3);
    tell(w, REGISTRY_ADD, 5);
    tell(w, REGISTRY_UPDATE, 3); /* again is no news */
    expect_told(w, 1, 3);
    tell(w, REGISTRY_ADD, 4);
    expect_told(w, 1, 5);
    assert_int_equal(w->gaps, 0);
    assert_int_equal(rings_applied(w->rings, SESSION), 5);
}

static void a_ring_goes_round_without_a_gap(void **state)
{
    struct world *w = *state;

    tell(w, REGISTRY_SYNCED, 0);
    commit_and_tell(w, 200);
    expect_told(w, 1, 200);
    assert_int_equal(w->gaps, 0);
    /* all of its slots at once, the last first: nothing is missed either */
    for (int i = 0; i < WINDOW_SLOTS; i++)
        commit(w);
    for (uint64_t seq = w->seq; seq > 200; seq--)
        tell(w, REGISTRY_UPDATE, window_slot(seq));
    expect_told(w, 1, 264);
    assert_int_equal(w->gaps, 0);
}

static void the_first_listing_is_applied_in_order_however_old(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 100; i++)
        commit(w);
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        tell(w, REGISTRY_ADD, i);
    assert_int_equal(w->n_told, 0);
    assert_false(rings_synced(w->rings));
    tell(w, REGISTRY_SYNCED, 0);
    assert_true(rings_synced(w->rings));
    expect_told(w, 37, 100);
    assert_int_equal(w->gaps, 0);
    commit_and_tell(w, 1);
    expect_told(w, 37, 101);
}

static void
what_was_written_during_the_listing_is_not_taken_for_whole(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 100; i++)
        commit(w);
    for (unsigned i = 0; i < 11; i++) /* 64 to 74 */
        tell(w, REGISTRY_ADD, i);
    for (int i = 0; i < 40; i++) /* 128 to 138 over those */
        commit(w);
    for (unsigned i = 11; i < WINDOW_SLOTS; i++)
        tell(w, REGISTRY_ADD, i);
    tell(w, REGISTRY_SYNCED, 0);
    assert_int_equal(w->gaps, 1);
    commit(w);
    assert_int_equal(read_afresh(w), RINGS_END);
    assert_int_equal(rings_applied(w->rings, SESSION), w->seq);
}

/* --- gaps ---------------------------------------------------------------- */

static void more_than_a_ring_holds_is_a_gap_and_not_one_less(void **state)
{
    struct world *w = *state;

    tell(w, REGISTRY_SYNCED, 0);
    commit_and_tell(w, 10);
    for (int i = 0; i < WINDOW_SLOTS; i++)
        commit(w);
    tell(w, REGISTRY_UPDATE, window_slot(74)); /* 11 stands still */
    assert_int_equal(w->gaps, 0);
    expect_told(w, 1, 10);
    commit(w);
    tell(w, REGISTRY_UPDATE, window_slot(75)); /* and here it is gone */
    assert_int_equal(w->gaps, 1);
    assert_non_null(strstr(w->why, "window 75"));
    assert_int_equal(rings_applied(w->rings, SESSION), 75);
    tell(w, REGISTRY_UPDATE, window_slot(60)); /* before the gap: over */
    assert_int_equal(w->n_told, 12);           /* 74 had waited */
    assert_int_equal(w->told[10], 74);
    assert_int_equal(w->told[11], 75);
    commit_and_tell(w, 3);
    assert_int_equal(w->gaps, 1);
    assert_int_equal(rings_applied(w->rings, SESSION), 78);
}

static void a_ring_first_seen_after_its_first_round_is_a_gap(void **state)
{
    struct world *w = *state;

    tell(w, REGISTRY_SYNCED, 0);
    for (int i = 0; i < 70; i++)
        commit(w);
    assert_int_equal(read_afresh(w), RINGS_GAP);
    assert_int_equal(w->gaps, 1);
    assert_int_equal(read_afresh(w), RINGS_END);
    assert_int_equal(w->gaps, 1);
    assert_int_equal(rings_applied(w->rings, SESSION), 70);
}

static void a_value_that_cannot_be_read_is_a_gap(void **state)
{
    struct world *w = *state;

    tell(w, REGISTRY_SYNCED, 0);
    commit_and_tell(w, 3);
    commit(w);
    w->slots[4].data[0] = 9;
    tell(w, REGISTRY_ADD, 4);
    assert_int_equal(w->gaps, 1);
    assert_non_null(strstr(w->why, "format 9"));
    assert_int_equal(read_afresh(w), RINGS_GAP); /* it may be a renewal */
    commit(w);
    tell(w, REGISTRY_ADD, 5);
    expect_told(w, 1, 3); /* 4 is wanted */
    for (int i = 0; i < 64; i++)
        commit(w);
    assert_int_equal(read_afresh(w), RINGS_GAP);
    assert_int_equal(read_afresh(w), RINGS_END);
    assert_int_equal(rings_applied(w->rings, SESSION), 69);
}

static void a_slot_that_goes_while_its_session_stands_is_a_gap(void **state)
{
    struct world *w = *state;

    tell(w, REGISTRY_SYNCED, 0);
    commit_and_tell(w, 3);
    tell(w, REGISTRY_REMOVE, 2);
    assert_int_equal(w->gaps, 1);
    assert_int_equal(rings_version(w->rings, SESSION, 2), 0);
    commit_and_tell(w, 1);
    expect_told(w, 1, 4);
}

/* --- afresh -------------------------------------------------------------- */

static void what_the_watch_has_not_told_is_read_afresh(void **state)
{
    struct world *w = *state;

    tell(w, REGISTRY_SYNCED, 0);
    assert_int_equal(read_afresh(w), RINGS_END); /* no such ring */
    assert_int_equal(rings_next(w->rings, 0), 0);
    for (int i = 0; i < 3; i++)
        commit(w);
    assert_int_equal(read_afresh(w), RINGS_END);
    expect_told(w, 1, 3);
    commit_and_tell(w, 64);
    commit(w);
    assert_int_equal(read_afresh(w), RINGS_END); /* 5 stood there, now 69 */
    expect_told(w, 1, 68);
    assert_int_equal(read_afresh(w), RINGS_END); /* the next one is old */
    expect_told(w, 1, 68);
    tell(w, REGISTRY_UPDATE, window_slot(68)); /* told late */
    expect_told(w, 1, 68);
    assert_int_equal(w->gaps, 0);
}

/* The watch goes on while an answer is on its way. */
static void an_answer_that_the_watch_was_ahead_of_does_no_harm(void **state)
{
    struct world *w = *state;
    char key[WINDOW_KEY_SIZE], *late;
    struct rings_ask ask;
    struct registry_entry e;

    tell(w, REGISTRY_SYNCED, 0);
    commit_and_tell(w, 2);
    commit(w);
    assert_true(rings_ask(w->rings, SESSION, &ask));
    tell(w, REGISTRY_ADD, 3);
    commit_and_tell(w, 1);
    e = entry_of(w, 3, key);
    assert_int_equal(rings_answer(w->rings, &ask, &e, w->now), RINGS_MORE);
    assert_true(rings_ask(w->rings, SESSION, &ask));
    commit_and_tell(w, 1);
    assert_int_equal(rings_answer(w->rings, &ask, NULL, w->now), RINGS_END);
    expect_told(w, 1, 5);
    /* of a slot that was written over since */
    assert_true(rings_ask(w->rings, SESSION, &ask));
    commit_and_tell(w, 1);
    late = mem_dup(w->slots[6].data, w->slots[6].len);
    e = entry_of(w, 6, key);
    e.value = late;
    commit_and_tell(w, 64);
    assert_int_equal(rings_answer(w->rings, &ask, &e, w->now), RINGS_MORE);
    assert_int_equal(rings_version(w->rings, SESSION, 6), 70 + 7);
    expect_told(w, 1, 70);
    mem_free(late);
}

/* --- what is forgotten --------------------------------------------------- */

static void a_ring_is_final_only_when_it_was_asked_after_its_end(void **state)
{
    struct world *w = *state;
    struct rings_ask early;

    tell(w, REGISTRY_SYNCED, 0);
    commit_and_tell(w, 3);
    assert_true(rings_ask(w->rings, SESSION, &early));
    rings_ended(w->rings, SESSION);
    assert_int_equal(rings_answer(w->rings, &early, NULL, w->now), RINGS_END);
    commit(w); /* committed before the end, told after it */
    assert_int_equal(read_afresh(w), RINGS_END);
    expect_told(w, 1, 4);
    assert_false(rings_ask(w->rings, SESSION, &early));
    assert_false(rings_due(w->rings, SESSION, w->now + 29999));
    assert_true(rings_due(w->rings, SESSION, w->now + 30000));
    assert_int_equal(rings_version(w->rings, SESSION, 4), 11);
    assert_int_equal(rings_version(w->rings, SESSION, 5), 0);
    assert_int_equal(rings_next(w->rings, 0), SESSION);
    assert_int_equal(rings_next(w->rings, SESSION), 0);
    for (unsigned slot = 1; slot <= 4; slot++)
        tell(w, REGISTRY_REMOVE, slot);
    assert_int_equal(w->gaps, 0);
    assert_int_equal(rings_next(w->rings, 0), 0);
    assert_false(rings_due(w->rings, SESSION, INT64_MAX));
}

/* Or a dead ring with one broken value would keep all the dead for ever. */
/* A person removed the entry of one that lives, which wrote it again. */
static void what_is_written_after_all_that_is_a_gap(void **state)
{
    struct world *w = *state;

    commit_and_tell(w, 3);
    list(w);
    rings_ended(w->rings, SESSION);
    assert_int_equal(read_afresh(w), RINGS_END);
    assert_int_equal(w->gaps, 0);
    assert_true(rings_due(w->rings, SESSION, w->now + 30000));
    commit_and_tell(w, 1);
    assert_int_equal(w->gaps, 1);
    assert_int_equal(w->told[w->n_told - 1], 4);
    assert_false(rings_due(w->rings, SESSION, w->now + 60000));
    commit_and_tell(w, 1);
    assert_int_equal(w->gaps, 1);
}

static void a_dead_ring_that_cannot_be_read_is_final_after_one_gap(void **state)
{
    struct world *w = *state;
    struct rings_ask ask;

    tell(w, REGISTRY_SYNCED, 0);
    commit_and_tell(w, 3);
    commit(w);
    w->slots[4].data[0] = 9;
    rings_ended(w->rings, SESSION);
    assert_int_equal(read_afresh(w), RINGS_GAP);
    assert_false(rings_ask(w->rings, SESSION, &ask));
    assert_false(rings_due(w->rings, SESSION, w->now + WINDOW_WATCHED_MAX - 1));
    assert_true(rings_due(w->rings, SESSION, w->now + WINDOW_WATCHED_MAX));
}

static void a_renewal_of_nobody_known_is_kept_for_a_while(void **state)
{
    struct world *w = *state;

    tell(w, REGISTRY_SYNCED, 0);
    w->known = false;
    commit_and_tell(w, 2);
    w->now += 500;
    commit_and_tell(w, 1);
    w->known = true;
    w->n_told = 0;
    rings_known(w->rings, 2, w->now + 100);
    assert_int_equal(w->n_told, 1);
    assert_int_equal(w->told[0], 2);
    assert_int_equal(w->seen[0], 1000); /* when it was seen */
    rings_known(w->rings, 2, w->now + 100);
    assert_int_equal(w->n_told, 1); /* once */
    rings_tick(w->rings, 1000 + RINGS_UNKNOWN_MS);
    rings_known(w->rings, 1, 1000 + RINGS_UNKNOWN_MS);
    assert_int_equal(w->n_told, 1); /* too old */
    rings_known(w->rings, 3, 1000 + RINGS_UNKNOWN_MS);
    assert_int_equal(w->n_told, 2);
    assert_int_equal(w->seen[1], 1500);
}

static void keys_of_nobody_are_left_alone(void **state)
{
    struct world *w = *state;
    struct registry_event e = {.type = REGISTRY_ADD,
                               .entry = {.key = "/pelorus/renewals/x/01",
                                         .value = "1",
                                         .value_len = 1,
                                         .version = 1}};

    rings_feed(w->rings, &e, 0);
    e.type = REGISTRY_REMOVE;
    rings_feed(w->rings, &e, 0);
    e.entry.key = "/pelorus/renewals/1/01"; /* one that was never told */
    rings_feed(w->rings, &e, 0);
    tell(w, REGISTRY_SYNCED, 0);
    assert_int_equal(rings_next(w->rings, 0), 0);
    assert_int_equal(w->gaps, 0);
}

/* --- any order ----------------------------------------------------------- */

/*
 * A writer, a watch that tells any slot when it likes, and fresh reads. In
 * order always; without a gap none is left out; after a fresh read nothing that
 * was committed is missing that no gap has spoken of.
 */
static void nothing_is_missed_without_a_gap(void **state)
{
    struct world *w = *state;
    size_t whole = 0; /* of how many seeds */

    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t next = 0, steps = 0;
        size_t gaps = 0;
        struct rand random;

        rand_seed(&random, seed);
        (void)tear_down(state);
        (void)set_up(state);
        w = *state;
        for (uint64_t i = rand_below(&random, 90); i > 0; i--)
            commit(w);
        list(w);
        assert_int_equal(w->gaps, 0);
        assert_int_equal(rings_applied(w->rings, SESSION), w->seq);
        next = w->seq + 1;
        for (w->n_told = 0; steps < 1500 && w->n_told < TOLD / 2; steps++) {
            uint64_t what = rand_below(&random, seed % 2 ? 40 : 400);
            unsigned slot = (unsigned)rand_below(&random, WINDOW_SLOTS);
            size_t before = w->n_told;

            if (what < 20)
                commit(w);
            else if (what == 20)
                (void)read_afresh(w);
            else if (w->slots[slot].len > 0)
                tell(w, REGISTRY_UPDATE, slot);
            for (size_t i = before; i < w->n_told; i++) {
                if (w->gaps == gaps) /* none is left out */
                    assert_int_equal(w->told[i], next);
                assert_true(w->told[i] >= next);
                next = w->told[i] + 1;
            }
            gaps = w->gaps;
        }
        whole += w->gaps == 0;
        while (read_afresh(w) == RINGS_GAP)
            continue;
        assert_int_equal(rings_applied(w->rings, SESSION), w->seq);
    }
    assert_true(whole >= 30 && whole <= 270); /* both were tried */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(windows_are_applied_in_their_order_whatever_is_told_first),
        TEST(a_ring_goes_round_without_a_gap),
        TEST(the_first_listing_is_applied_in_order_however_old),
        TEST(what_was_written_during_the_listing_is_not_taken_for_whole),
        TEST(more_than_a_ring_holds_is_a_gap_and_not_one_less),
        TEST(a_ring_first_seen_after_its_first_round_is_a_gap),
        TEST(a_value_that_cannot_be_read_is_a_gap),
        TEST(a_slot_that_goes_while_its_session_stands_is_a_gap),
        TEST(what_the_watch_has_not_told_is_read_afresh),
        TEST(an_answer_that_the_watch_was_ahead_of_does_no_harm),
        TEST(a_ring_is_final_only_when_it_was_asked_after_its_end),
        TEST(what_is_written_after_all_that_is_a_gap),
        TEST(a_dead_ring_that_cannot_be_read_is_final_after_one_gap),
        TEST(a_renewal_of_nobody_known_is_kept_for_a_while),
        TEST(keys_of_nobody_are_left_alone),
        TEST(nothing_is_missed_without_a_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
