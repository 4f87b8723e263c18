/*
 * test_balancer_affinity.c - a key keeps its worker as long as that one is not
 * loaded more than others of its kind: among cold ones, and when only hot or
 * full ones are left; and keys are spread by share, and move only with who
 * comes or goes. (What it does among idle ones is in test_balancer.c.)
 */
#include "tests/unit/test_balancer.h"

#include "base/rand.h"

#include <math.h>
#include <stdlib.h>

#define WORKERS 20

static void set_all(struct balancer *b, double cpu, double pool, mono_ms at)
{
    char address[BALANCER_ADDRESS_MAX + 1];

    for (int i = 0; i < WORKERS; i++) {
        snprintf(address, sizeof(address), "w%d:1", i);
        struct balancer_worker w = idle(address, 16, at);

        w.cpu = cpu;
        w.pool = pool;
        set(b, w, at);
    }
}

static void set_one(struct balancer *b, const char *address, double cpu,
                    double pool, mono_ms at)
{
    struct balancer_worker w = idle(address, 16, at);

    w.cpu = cpu;
    w.pool = pool;
    set(b, w, at);
}

static const char *ask_for(struct balancer *b, const char *key, mono_ms now)
{
    return ask(b, (struct balancer_request){
                      .affinity = key, .peek = true, .now = now});
}

/* How many workers so many keys have. */
static unsigned workers_of_keys(struct balancer *b, unsigned keys, mono_ms now)
{
    struct tally t = {.n = 0};
    char key[32];

    for (unsigned i = 0; i < keys; i++) {
        snprintf(key, sizeof(key), "key-%u", i);
        (*tally_of(&t, ask_for(b, key, now)))++;
        assert_string_equal(ask_for(b, key, now), last_pick.address);
    }
    return t.n;
}

static void keys_stay_put_when_all_are_hot_or_full(void **state)
{
    static const struct {
        double cpu, pool;
        bool degraded;
    } cases[] = {{0.1, 0.5, false},
                 {0.95, 0.5, true},
                 {0.1, 1, true},
                 {0.95, 1, true},
                 {0.1, 3, true}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct balancer *b = balancer_of(CONF_LEDGER);

        set_all(b, cases[i].cpu, cases[i].pool, START);
        assert_in_range(workers_of_keys(b, 100, START), 15, WORKERS);
        assert_true(last.degraded == cases[i].degraded);
        balancer_free(&b);
    }
}

static void
a_key_leaves_who_is_loaded_more_than_others_of_its_kind(void **state)
{
    static const struct {
        double cpu, pool;         /* of all */
        double now_cpu, now_pool; /* of the one that the key had */
        bool stays;
    } cases[] = {
        {0.1, 0.5, 0.1, 0.6, true},   {0.1, 0.5, 0.1, 0.7, false},
        {0.95, 0.5, 0.95, 0.6, true}, {0.95, 0.5, 0.95, 0.7, false},
        {0.1, 2, 0.1, 2.4, true},     {0.1, 2, 0.1, 3, false},
        {0.1, 0.5, 0.95, 0.5, false}, /* hot, and others are not */
        {0.1, 0.9, 0.1, 1, false},    /* full, likewise */
        {0.1, 0.1, 0.1, 0.4, true},   /* far from full, though beyond others */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct balancer *b = balancer_of(CONF_LEDGER);
        char home[BALANCER_ADDRESS_MAX + 1];

        set_all(b, cases[i].cpu, cases[i].pool, START);
        snprintf(home, sizeof(home), "%s", ask_for(b, "table-17", START));
        set_one(b, home, cases[i].now_cpu, cases[i].now_pool, START + 1);
        assert_true((strcmp(ask_for(b, "table-17", START + 1), home) == 0) ==
                    cases[i].stays);
        balancer_free(&b);
    }
}

/* The three that a key prefers are hot: then whoever is best of all. */
static void no_key_is_worth_a_hot_worker(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_all(b, 0.95, 0, START);
    set_one(b, "cold:1", 0.1, 0.5, START);
    assert_int_equal(workers_of_keys(b, 50, START), 1);
    assert_string_equal(last_pick.address, "cold:1");
    assert_false(last.degraded);
    balancer_free(&b);
}

static void no_key_is_worth_a_full_worker(void **state)
{
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    set_all(b, 0.1, 1, START);
    set_one(b, "open:1", 0.1, 0.9, START);
    assert_int_equal(workers_of_keys(b, 50, START), 1);
    assert_string_equal(last_pick.address, "open:1");
    balancer_free(&b);
}

/* Whom each of so many keys has, by the number in the address; its tasks are
 * not counted. */
#define SPREAD_KEYS 4000
#define SPREAD_MAX  3000

static void homes(struct balancer *b, mono_ms now, uint16_t *out)
{
    char key[32];

    for (unsigned i = 0; i < SPREAD_KEYS; i++) {
        snprintf(key, sizeof(key), "table-%u", i);
        out[i] = (uint16_t)atoi(ask_for(b, key, now) + 1);
    }
}

static struct balancer_worker numbered(unsigned i, int32_t slots)
{
    char address[32];

    snprintf(address, sizeof(address), "w%u:1", i);
    return idle(address, slots, START);
}

/* Each worker's keys, and those of all with so many slots, beside what their
 * slots are of all. */
static void keys_are_spread_by_share(void **state)
{
    static const int32_t slots[] = {8, 16, 64, 512};
    static uint16_t home[SPREAD_KEYS];
    double kind[ARRAY_LEN(slots)] = {0}, all = 0;
    unsigned got[40] = {0};

    (void)state;
    struct balancer *b = balancer_of(CONF_LEDGER);

    for (unsigned i = 0; i < 40; i++) {
        set(b, numbered(i, slots[i % ARRAY_LEN(slots)]), START);
        all += slots[i % ARRAY_LEN(slots)];
    }
    homes(b, START, home);
    for (unsigned i = 0; i < SPREAD_KEYS; i++) {
        got[home[i]]++;
        kind[home[i] % ARRAY_LEN(slots)]++;
    }
    for (unsigned i = 0; i < 40; i++) { /* five times the spread, and chance */
        double due = SPREAD_KEYS * slots[i % ARRAY_LEN(slots)] / all;
        double most = 5 * (0.09 * due + sqrt(due));

        assert_true(fabs(got[i] - due) < most);
    }
    for (unsigned i = 0; i < ARRAY_LEN(slots); i++) {
        double due = SPREAD_KEYS * slots[i] * 10 / all;

        assert_true(fabs(kind[i] - due) < 0.1 * due + 3 * sqrt(due));
    }
    balancer_free(&b);
}

/* As many come and go as make the table grow and shrink several times: whoever
 * keeps its place keeps its keys, at every step. */
static void only_the_keys_of_who_comes_or_goes_move(void **state)
{
    static uint16_t was[SPREAD_KEYS], home[SPREAD_KEYS];
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        set(b, numbered(i, 16), START);
    homes(b, START, was);
    for (unsigned n = 20; n < SPREAD_MAX; n += n / 3) {
        for (unsigned i = n; i < n + n / 3; i++) /* they come */
            set(b, numbered(i, 16), START);
        homes(b, START, home);
        for (unsigned i = 0; i < SPREAD_KEYS; i++)
            assert_true(home[i] == was[i] || home[i] >= n);
        memcpy(was, home, sizeof(was));
    }
    for (unsigned n = 2000; n > 20; n -= n / 4 + 1) {
        char address[32];

        for (unsigned i = n; i < SPREAD_MAX * 4 / 3; i++) { /* they go */
            snprintf(address, sizeof(address), "w%u:1", i);
            balancer_remove(b, address);
        }
        homes(b, START, home);
        for (unsigned i = 0; i < SPREAD_KEYS; i++)
            assert_true(home[i] < n && (home[i] == was[i] || was[i] >= n));
        memcpy(was, home, sizeof(was));
    }
    balancer_free(&b);
}

/* In what order they came, and what else there was, says nothing: so that all
 * coordinators agree. */
static void keys_have_the_same_workers_in_every_coordinator(void **state)
{
    static uint16_t one[SPREAD_KEYS], other[SPREAD_KEYS];
    struct balancer *b = balancer_of(CONF_LEDGER);

    (void)state;
    for (unsigned i = 0; i < 300; i++)
        set(b, numbered(i, 8 << i % 5), START);
    homes(b, START, one);
    balancer_free(&b);
    b = balancer_of(CONF_LEDGER);
    for (unsigned i = 2000; i-- > 0;) /* as another size, then as they are */
        set(b, numbered(i, i % 3 == 0 ? 4000 : 1), START);
    for (unsigned i = 300; i < 2000; i++) {
        char address[32];

        snprintf(address, sizeof(address), "w%u:1", i);
        balancer_remove(b, address);
    }
    for (unsigned i = 0; i < 300; i++) {
        struct balancer_worker w = numbered(i, 8 << i % 5);

        w.reported = START + 1;
        set(b, w, START + 1);
    }
    homes(b, START + 1, other);
    assert_memory_equal(one, other, sizeof(one));
    balancer_free(&b);
}

/* Who is closed is passed over, and its keys go to whom they would have if it
 * were not there; when it opens they come back. */
static void a_closed_worker_lends_its_keys(void **state)
{
    static uint16_t was[SPREAD_KEYS], closed[SPREAD_KEYS], gone[SPREAD_KEYS];
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker w = numbered(7, 16);

    (void)state;
    for (unsigned i = 0; i < 30; i++)
        set(b, numbered(i, 16), START);
    homes(b, START, was);
    w.closed = true;
    set(b, w, START);
    homes(b, START, closed);
    balancer_remove(b, "w7:1");
    homes(b, START, gone);
    assert_memory_equal(closed, gone, sizeof(gone));
    w.closed = false;
    set(b, w, START);
    homes(b, START, closed);
    assert_memory_equal(closed, was, sizeof(was));
    balancer_free(&b);
}

/* Workers come, change, go and are judged. */
static void some_history(struct balancer *b, bool asked, mono_ms until)
{
    for (unsigned i = 0; i < 700; i++) {
        struct balancer_worker w = numbered(i % 500, 8 << i % 7);
        mono_ms now = START + i;

        w.closed = i % 50 == 3;
        w.reported = now;
        set(b, w, now);
        if (asked)
            assert_string_not_equal(ask_for(b, "key", now), "");
        if (i % 9 == 0)
            balancer_remove(b, w.address);
        if (i % 100 == 0)
            balancer_tick(b, now);
    }
    for (mono_ms now = START + 700; now < until; now += 250)
        balancer_tick(b, now);
    for (unsigned i = 0; i < 500; i++) { /* no report is old now */
        struct balancer_worker w = numbered(i, 8 << i % 7);

        w.closed = i % 50 == 3;
        w.reported = until;
        if (i % 9 != 0)
            set(b, w, until);
    }
}

/* Since the beginning, not before now, and before a long rest. The first to
 * ask will not have some of them. */
static void since_when_keys_are_asked_for_says_nothing(void **state)
{
    static uint16_t asked[SPREAD_KEYS], other[SPREAD_KEYS];
    static const mono_ms until[] = {START + 1000, START + 15 * 60000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(until); i++) {
        struct balancer *a = balancer_of(CONF_LEDGER);
        struct balancer *b = balancer_of(CONF_LEDGER);

        some_history(a, true, until[i]);
        some_history(b, false, until[i]);
        (void)ask(b,
                  (struct balancer_request){.affinity = "key",
                                            .exclude = {"w1:1", "w2:1", "w4:1"},
                                            .n_exclude = 3,
                                            .peek = true,
                                            .now = until[i]});
        homes(a, until[i], asked);
        homes(b, until[i], other);
        assert_memory_equal(asked, other, sizeof(asked));
        balancer_free(&a);
        balancer_free(&b);
    }
}

#define LOOKED_FOR 900

/* Has it a point in the last sixty-fourth of the ring? */
static bool stands_last(const char *address)
{
    uint64_t hash = hash_str(address, 0);
    bool is_last = false;

    for (uint64_t i = 0; i < 4; i++)
        is_last |=
            hash_mix(hash + i * UINT64_C(0x9e3779b97f4a7c15)) >> 58 == 63;
    return is_last;
}

/* Addresses can be looked for: far more points at the end of the ring than
 * there are places for there. */
static void addresses_at_the_end_of_the_ring_find_room(void **state)
{
    static unsigned numbers[LOOKED_FOR];
    struct balancer *b = balancer_of(CONF_LEDGER);
    char address[BALANCER_ADDRESS_MAX + 1], key[32];

    (void)state;
    for (unsigned i = 0, n = 0; n < LOOKED_FOR; i++) {
        snprintf(address, sizeof(address), "w%u:1", i);
        if (!stands_last(address))
            continue;
        numbers[n++] = i;
        set(b, numbered(i, 16), START);
    }
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key-%u", i);
        assert_string_not_equal(ask_for(b, key, START), "");
    }
    for (unsigned n = 0; n < LOOKED_FOR; n++) {
        snprintf(address, sizeof(address), "w%u:1", numbers[n]);
        assert_true(stands_last(address));
        balancer_remove(b, address);
    }
    assert_string_equal(ask_for(b, key, START), "");
    balancer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_stay_put_when_all_are_hot_or_full),
        cmocka_unit_test(
            a_key_leaves_who_is_loaded_more_than_others_of_its_kind),
        cmocka_unit_test(no_key_is_worth_a_hot_worker),
        cmocka_unit_test(no_key_is_worth_a_full_worker),
        cmocka_unit_test(keys_are_spread_by_share),
        cmocka_unit_test(only_the_keys_of_who_comes_or_goes_move),
        cmocka_unit_test(keys_have_the_same_workers_in_every_coordinator),
        cmocka_unit_test(a_closed_worker_lends_its_keys),
        cmocka_unit_test(since_when_keys_are_asked_for_says_nothing),
        cmocka_unit_test(addresses_at_the_end_of_the_ring_find_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
