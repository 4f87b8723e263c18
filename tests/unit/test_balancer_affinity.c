/*
 * test_balancer_affinity.c - a key keeps its worker as long as that one is not
 * loaded more than others of its kind: among cold ones, and when only hot or
 * full ones are left. (What it does among idle ones is in test_balancer.c.)
 */
#include "tests/unit/test_balancer.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_stay_put_when_all_are_hot_or_full),
        cmocka_unit_test(
            a_key_leaves_who_is_loaded_more_than_others_of_its_kind),
        cmocka_unit_test(no_key_is_worth_a_hot_worker),
        cmocka_unit_test(no_key_is_worth_a_full_worker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
