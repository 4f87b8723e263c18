/* test_renewals_writer.c - a coordinator's renewals in groups: when they are
 * written, upon what, and what becomes of them when answers get lost.
 * A few lines longer than 500: all of it needs the one store that fails. */
#include "base/mem.h"
#include "cluster/renewals/rings.h"
#include "coordinator/renewals/writer.h"
#include "tests/lib/memory/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ENTRY "/pelorus/coordinators/127.0.0.1:7077"
#define PUTS  600

struct put {
    struct writer_put base;
    char address[32];
    unsigned times;
    enum writer_end end;
    enum err_code code;
    char key[WINDOW_KEY_SIZE];
    uint64_t version;
};

struct world {
    struct clock clock;
    struct memory_store *store;
    struct registry *hand, *registry;
    struct ring_writer *writer;
    struct renewal_counts counts;
    struct put puts[PUTS];
    struct taken taken;
    /* another one, that reads */
    struct rings *rings;
    bool told[PUTS];
    unsigned gaps;
    unsigned clashes; /* windows over one that was not older */
};

static void on_done(void *arg, const struct writer_reply *reply)
{
    struct put *p = arg;

    p->times++;
    p->end = reply->end;
    p->code = reply->err.code;
    p->version = reply->version;
    snprintf(p->key, sizeof(p->key), "%s", reply->key ? reply->key : "");
}

static void on_ok(void *arg, const struct registry_reply *reply)
{
    *(enum err_code *)arg = reply->err.code;
}

static void run(struct world *w, int64_t ms)
{
    for (mono_ms until = w->clock.mono + ms; w->clock.mono < until;) {
        memory_run(w->store, w->clock.mono + 10);
        if (w->writer != NULL)
            writer_tick(w->writer);
    }
}

/* Until it is there: faults may be on. */
static void write_key(struct world *w, struct registry *r, const char *key,
                      const void *value, size_t len, bool ephemeral)
{
    enum err_code code = ERR_CANCELLED;

    for (int i = 0; i < 50 && code != ERR_OK; i++) {
        registry_put(r, key, value, len, REGISTRY_ANY, 0, ephemeral, on_ok,
                     &code);
        run(w, 50);
    }
    assert_int_equal(code, ERR_OK);
}

static void write_taken(struct world *w)
{
    struct buf b;

    buf_init(&b, TAKEN_BYTES_MAX);
    taken_write(&b, &w->taken);
    write_key(w, w->hand, TAKEN_KEY, b.data, b.len, false);
    buf_close(&b);
}

static bool is_same(const struct registry_entry *a,
                    const struct registry_entry *b)
{
    return a->value_len == b->value_len &&
           memcmp(a->value, b->value, a->value_len) == 0;
}

/* A slot goes up: over a window comes the very same, or a later one. */
static void on_write(void *arg, uint64_t writer,
                     const struct registry_entry *before,
                     const struct registry_entry *after)
{
    struct world *w = arg;
    struct window_read old, new;
    uint64_t session;
    unsigned slot;

    (void)writer;
    if (before == NULL || after == NULL ||
        !window_key_parse(after->key, &session, &slot))
        return;
    assert_int_equal(
        window_open(&old, slot, before->value, before->value_len, NULL), 0);
    assert_int_equal(
        window_open(&new, slot, after->value, after->value_len, NULL), 0);
    if (!is_same(before, after))
        w->clashes += new.seq <= old.seq;
}

static void begin(struct world *w, bool grouped)
{
    const struct writer_config config = {&w->clock, w->registry, ENTRY,
                                         NULL,      NULL,        &w->counts};

    w->taken.grouped = grouped;
    write_taken(w);
    write_key(w, w->registry, ENTRY, "{}", 2, true);
    w->writer = writer_new(&config);
    run(w, 50);
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->clock.mono = 1000;
    w->store = memory_store_new(&w->clock, 5);
    memory_on_write(w->store, on_write, w);
    w->hand = memory_open(w->store, 60000);
    w->registry = memory_open(w->store, 6000);
    run(w, 100);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    writer_free(&w->writer, true);
    registry_close(&w->registry, NULL, NULL);
    registry_close(&w->hand, NULL, NULL);
    memory_run(w->store, w->clock.mono + 100000);
    memory_store_free(&w->store);
    mem_free(w);
    return 0;
}

static bool add(struct world *w, unsigned i)
{
    struct put *p = &w->puts[i];

    memset(p, 0, sizeof(*p));
    snprintf(p->address, sizeof(p->address), "10.0.0.1:%u", 1 + i);
    p->base = (struct writer_put){
        .renewal = {.created = 100 + i, .generation = 1},
        .kind = NODE_WORKER,
        .address = p->address,
        .watched_ms = 30000,
        .expires = w->clock.mono + 30000,
        .done = on_done,
        .arg = p,
    };
    (void)writer_named(w->writer, &p->base.since);
    return writer_add(w->writer, &p->base);
}

/* Puts 0 at once, so that the next one waits for its window. */
static void begin_with_one(struct world *w)
{
    begin(w, true);
    run(w, 300);
    assert_true(add(w, 0));
    /* who comes now does not come right behind its answer */
    run(w, WRITER_AGAIN_MS + 20);
}

/* How many renewals the window of this number holds; 0: it does not stand. */
static uint32_t window_count(struct world *w, uint64_t session, uint64_t seq)
{
    char key[WINDOW_KEY_SIZE];
    const struct registry_entry *e =
        memory_find(w->store, window_key(session, window_slot(seq), key));
    struct window_read r;

    if (e == NULL)
        return 0;
    assert_int_equal(
        window_open(&r, window_slot(seq), e->value, e->value_len, NULL), 0);
    return r.seq == seq ? r.count : 0;
}

static void the_first_goes_at_once_and_the_next_together(void **state)
{
    struct world *w = *state;
    uint64_t session = registry_session(w->registry);

    begin_with_one(w);
    assert_int_equal(w->puts[0].times, 1);
    assert_int_equal(w->puts[0].end, WRITER_COMMITTED);
    assert_int_equal(memory_find(w->store, w->puts[0].key)->version,
                     w->puts[0].version);
    for (unsigned i = 1; i <= 10; i++) {
        for (unsigned k = 0; k < 5; k++)
            assert_true(add(w, 5 * i - k));
        run(w, 10);
    }
    assert_int_equal(w->puts[1].times, 0);
    run(w, 150);
    for (unsigned i = 1; i <= 50; i++)
        assert_true(w->puts[i].times == 1 &&
                    w->puts[i].end == WRITER_COMMITTED);
    assert_int_equal(window_count(w, session, 1), 1);
    assert_int_equal(window_count(w, session, 2), 50);
    assert_int_equal(window_count(w, session, 3), 0);
    assert_true(writer_due(w->writer) == INT64_MAX);
    assert_true(w->counts.windows == 2 && w->counts.windowed == 51);
}

static void many_do_not_wait_for_the_end_of_a_window(void **state)
{
    struct world *w = *state;
    unsigned i;

    begin_with_one(w);
    for (i = 1; i < WRITER_MANY; i++)
        assert_true(add(w, i));
    run(w, 10);
    assert_int_equal(w->puts[1].times, 0);
    assert_true(add(w, i));
    run(w, 100);
    assert_int_equal(window_count(w, registry_session(w->registry), 2),
                     WRITER_MANY);
    for (i = 1; i <= WRITER_MANY; i++)
        assert_true(w->puts[i].times == 1 &&
                    w->puts[i].end == WRITER_COMMITTED);
}

static void some_do_not_wait_for_nobody(void **state)
{
    struct world *w = *state;
    unsigned i;

    begin_with_one(w);
    for (i = 1; i < WRITER_SOME; i++)
        assert_true(add(w, i));
    run(w, 2 * WRITER_QUIET_MS); /* too few */
    assert_int_equal(w->puts[1].times, 0);
    assert_true(add(w, i++));
    run(w, WRITER_QUIET_MS / 2);
    assert_true(add(w, i)); /* somebody comes still */
    run(w, WRITER_QUIET_MS / 2);
    assert_int_equal(w->puts[1].times, 0);
    run(w, WRITER_QUIET_MS);
    assert_int_equal(window_count(w, registry_session(w->registry), 2),
                     WRITER_SOME + 1);
    assert_int_equal(w->puts[1].times, 1);
}

static void one_after_the_other_waits_for_nobody(void **state)
{
    struct world *w = *state;
    mono_ms began;

    begin_with_one(w);
    began = w->clock.mono;
    for (unsigned i = 1; i <= 20; i++) {
        assert_true(add(w, i));
        while (w->puts[i].times == 0)
            run(w, 10);
    }
    assert_in_range(w->clock.mono - began, 20 * WRITER_QUIET_MS, 1000);
    assert_int_equal(w->counts.windows, 21);

    /* one of two comes later, as if by chance: they make one window again */
    run(w, 3 * WRITER_QUIET_MS);
    assert_true(add(w, 21));
    run(w, 2 * WRITER_QUIET_MS);
    assert_true(add(w, 22));
    run(w, WRITER_WINDOW_MS);
    assert_int_equal(w->counts.windows, 22);
    assert_int_equal(w->counts.windowed, 23);
}

/* A process for each renewal, or a coordinator that is far: 30 ms from an
 * answer to the next one. */
static void nor_does_one_that_takes_his_time(void **state)
{
    struct world *w = *state;
    mono_ms began;

    begin_with_one(w);
    began = w->clock.mono;
    for (unsigned i = 1; i <= 20; i++) {
        run(w, 30);
        assert_true(add(w, i));
        while (w->puts[i].times == 0)
            run(w, 10);
    }
    assert_in_range(w->clock.mono - began, 20 * (30 + WRITER_QUIET_MS), 2000);
    assert_int_equal(w->counts.windows, 21);
}

static void nothing_is_grouped_unless_it_is_said(void **state)
{
    struct world *w = *state;

    begin(w, false);
    assert_false(writer_open(w->writer));
    assert_false(add(w, 0));
}

/* Raised between the verification and the write. */
static void who_was_named_goes_to_the_left_and_the_others_again(void **state)
{
    struct world *w = *state;

    begin_with_one(w);
    assert_true(add(w, 1));
    assert_true(add(w, 2));
    taken_raise(&w->taken, NODE_WORKER, w->puts[1].address);
    write_taken(w);
    run(w, WRITER_WINDOW_MS);
    assert_true(w->puts[1].times == 1 && w->puts[1].end == WRITER_LEFT);
    assert_true(w->puts[2].times == 1 && w->puts[2].end == WRITER_COMMITTED);
    assert_true(add(w, 1)); /* verified anew */
    w->taken.grouped = false;
    write_taken(w);
    run(w, 300);
    assert_true(w->puts[1].times == 1 && w->puts[1].end == WRITER_LEFT);
    assert_false(add(w, 3));
    assert_true(w->counts.named == 1 && w->counts.failed == 0);
}

static void nobody_is_acknowledged_without_our_entry(void **state)
{
    struct world *w = *state;
    uint64_t session = registry_session(w->registry);

    begin_with_one(w);
    /* rewritten, as with each lock: a read, and no more */
    write_key(w, w->registry, ENTRY, "{\"locks\":1}", 11, true);
    assert_true(add(w, 1));
    run(w, 300);
    assert_int_equal(w->puts[1].end, WRITER_COMMITTED);
    memory_expire(w->registry);
    assert_true(add(w, 2));
    run(w, 2000);
    assert_true(w->puts[2].times == 1 && w->puts[2].end == WRITER_LEFT);
    assert_false(add(w, 4)); /* each writes itself as long as it is so */
    /* the next session has its own ring */
    assert_true(registry_session(w->registry) != session);
    write_key(w, w->registry, ENTRY, "{}", 2, true);
    run(w, 300);
    assert_true(add(w, 3));
    run(w, 300);
    assert_int_equal(w->puts[3].end, WRITER_COMMITTED);
    assert_int_equal(window_count(w, registry_session(w->registry), 1), 1);
    assert_int_equal(window_count(w, session, 3), 0);
}

static void a_lease_that_is_over_is_not_asked_for(void **state)
{
    struct world *w = *state;

    begin_with_one(w);
    assert_true(add(w, 1));
    w->puts[1].base.expires = w->clock.mono + 100;
    run(w, 300);
    assert_true(w->puts[1].times == 1 && w->puts[1].end == WRITER_TOO_LATE);
    assert_int_equal(w->counts.failed, 1);
}

static bool on_told(void *arg, const struct rings_renewal *r)
{
    struct world *w = arg;

    w->told[r->renewal->created - 100] = true;
    return true;
}

static void on_gap(void *arg, uint64_t session, const char *why)
{
    struct world *w = arg;

    (void)session;
    (void)why;
    w->gaps++;
}

static void on_ring(void *arg, const struct registry_event *ev)
{
    struct world *w = arg;

    rings_feed(w->rings, ev, w->clock.mono);
}

/* Each window once, in order, whatever became of the answers; and raises, and
 * an entry that is rewritten, in between. */
static void lost_answers_leave_no_hole(void **state)
{
    static const struct memory_faults faults = {
        .delay_max_ms = 20, .unknown_share = .4, .unavailable_share = .1};
    static const struct memory_faults none = {.delay_max_ms = 0};
    struct world *w = *state;
    uint64_t session = registry_session(w->registry), last = 0;
    unsigned committed = 0;
    struct registry_watch *watch;

    w->rings = rings_new(on_told, on_gap, w);
    watch = registry_watch(w->hand, WINDOW_PREFIX, on_ring, w);
    begin(w, true);
    for (unsigned i = 0; i < PUTS; i++) {
        memory_set_faults(w->store, &faults);
        if (add(w, i))
            run(w, 60);
        if (i % 5 == 2) {
            memory_set_faults(w->store, &none);
            taken_raise(&w->taken, NODE_WORKER, w->puts[i].address);
            write_taken(w);
        }
        if (i % 50 == 9) {
            memory_set_faults(w->store, &none);
            write_key(w, w->registry, ENTRY, "{}", 2, true);
        }
    }
    memory_set_faults(w->store, &none);
    run(w, 12000);
    for (unsigned i = 0; i < PUTS; i++) {
        assert_int_equal(w->puts[i].times, 1);
        committed += w->puts[i].end == WRITER_COMMITTED;
        /* whoever has his 200 was told to the others */
        assert_true(w->puts[i].end != WRITER_COMMITTED || w->told[i]);
    }
    assert_int_equal(w->gaps, 0);
    assert_int_equal(w->clashes, 0);
    assert_true(committed > PUTS / 2);
    for (uint64_t seq = 1; seq < 1000; seq++)
        if (window_count(w, session, seq) > 0)
            last = seq;
    assert_true(last > WINDOW_SLOTS);
    for (uint64_t seq = last - WINDOW_SLOTS + 1; seq <= last; seq++)
        assert_true(window_count(w, session, seq) > 0);
    registry_unwatch(&watch);
    rings_free(&w->rings);
}

/* In a store that went back the number of a session comes again, and with it
 * the ring: what is written there is told all the same, after a gap. */
static void a_ring_that_stood_already_is_gone_on_with_behind_it(void **state)
{
    struct world *w = *state;
    uint64_t session = registry_session(w->registry);
    struct registry_watch *watch;

    for (uint64_t seq = 65; seq < 70; seq++) {
        const struct renewal r = {.created = 7, .generation = 1};
        char key[WINDOW_KEY_SIZE];
        struct window window;
        struct buf b;

        window_init(&window);
        assert_true(window_add(&window, &r));
        buf_init(&b, WINDOW_BYTES_MAX);
        window_write(&b, &window, seq, 3000);
        write_key(w, w->hand, window_key(session, window_slot(seq), key),
                  b.data, b.len, false);
        buf_close(&b);
        window_close(&window);
    }
    w->rings = rings_new(on_told, on_gap, w);
    watch = registry_watch(w->hand, WINDOW_PREFIX, on_ring, w);
    begin(w, true);
    w->gaps = 0; /* the first listing's */
    for (unsigned i = 0; i < 100; i++) {
        assert_true(add(w, i));
        run(w, 250);
        assert_int_equal(w->puts[i].times, 1);
        assert_int_equal(w->puts[i].end, WRITER_COMMITTED);
        assert_true(w->told[i]);
    }
    assert_int_equal(w->gaps, 1);
    assert_int_equal(w->clashes, 0);
    registry_unwatch(&watch);
    rings_free(&w->rings);
}

/*
 *   writer                         store
 *   puts window 1 (of 0)           it lies before the store, its answer is lost
 *   reads its slot                 nothing stands there
 *   puts window 1 again            it lies there, too
 *                                  the first one is applied; `taken` is raised;
 *   CONFLICT, by `taken`           the second one is refused
 *
 * Window 1 stands, and 1 waits: whoever forms window 1 anew, of both, writes it
 * over the one that was told, and of 1 nobody is told.
 */
static void what_is_in_doubt_is_read_before_another_is_formed(void **state)
{
    struct world *w = *state;
    uint64_t session = registry_session(w->registry);
    struct registry_watch *watch;

    w->rings = rings_new(on_told, on_gap, w);
    watch = registry_watch(w->hand, WINDOW_PREFIX, on_ring, w);
    begin(w, true);
    run(w, 300);
    memory_hold_up(w->registry, true);
    assert_true(add(w, 0));
    run(w, 20);
    assert_int_equal(memory_held_up(w->registry), 1);
    memory_cut(w->registry);
    memory_heal(w->registry);
    assert_true(add(w, 1));
    run(w, 300);
    assert_int_equal(memory_held_up(w->registry), 2);
    memory_hold_up(w->registry, false);
    assert_int_equal(window_count(w, session, 1), 0);
    memory_let_through(w->registry);
    run(w, 20);
    assert_int_equal(window_count(w, session, 1), 1);
    assert_true(w->told[0] && w->puts[0].times == 0);
    taken_raise(&w->taken, NODE_WORKER, "10.0.0.2:1");
    write_taken(w);
    memory_let_through(w->registry);
    run(w, 1000);
    assert_int_equal(memory_held_up(w->registry), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(w->puts[i].times == 1 &&
                    w->puts[i].end == WRITER_COMMITTED);
        assert_true(w->told[i]);
    }
    assert_int_equal(w->clashes, 0);
    assert_int_equal(w->gaps, 0);
    assert_int_equal(window_count(w, session, 1), 1);
    assert_int_equal(window_count(w, session, 2), 1);
    registry_unwatch(&watch);
    rings_free(&w->rings);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_first_goes_at_once_and_the_next_together),
        TEST(many_do_not_wait_for_the_end_of_a_window),
        TEST(some_do_not_wait_for_nobody),
        TEST(one_after_the_other_waits_for_nobody),
        TEST(nor_does_one_that_takes_his_time),
        TEST(nothing_is_grouped_unless_it_is_said),
        TEST(who_was_named_goes_to_the_left_and_the_others_again),
        TEST(nobody_is_acknowledged_without_our_entry),
        TEST(a_lease_that_is_over_is_not_asked_for),
        TEST(lost_answers_leave_no_hole),
        TEST(a_ring_that_stood_already_is_gone_on_with_behind_it),
        TEST(what_is_in_doubt_is_read_before_another_is_formed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
