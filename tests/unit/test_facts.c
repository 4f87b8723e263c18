/*
 * test_facts.c - rates and words of registry/facts.h, and the thread that keeps
 * reading them, on an embedded registry.
 */
#include "coordinator/facts/facts.h"

#include "base/clock.h"
#include "conf/conf.h"
#include "registry/registry.h"

#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GIB (1024.0 * 1024 * 1024)

static struct registry_facts facts_at(mono_ms at, uint64_t position,
                                      double used, double quota)
{
    struct registry_facts f;

    memset(&f, 0, sizeof(f));
    for (size_t i = 0; i < REGISTRY_FIGURES_N; i++)
        f.figures[i] = NAN;
    f.sample =
        (struct registry_sample){.at = at, .position = position, .used = used};
    f.figures[FIGURE_USED] = used;
    f.figures[FIGURE_QUOTA] = quota;
    return f;
}

static void rates_are_of_what_lies_between(void **state)
{
    struct registry_facts a = facts_at(1000, 100, 1000, 7000);
    struct registry_facts b = facts_at(61000, 700, 3000, 7000);

    (void)state;
    registry_facts_rates(&b, &a.sample);
    assert_true(fabs(b.figures[FIGURE_WRITES] - 600) < 1e-9);
    /* 2,000 in a minute, and 4,000 are left */
    assert_true(fabs(b.figures[FIGURE_FULL] - 120) < 1e-9);
}

static void without_growth_or_an_earlier_look_there_is_no_end(void **state)
{
    struct registry_facts a = facts_at(1000, 100, 3000, 7000);
    struct registry_facts same = facts_at(61000, 700, 3000, 7000);
    struct registry_facts soon = facts_at(1500, 700, 3001, 7000);
    struct registry_facts back = facts_at(61000, 50, 9000, 9999);
    struct registry_facts first = facts_at(61000, 700, 3001, 7000);
    struct registry_facts boundless = facts_at(61000, 700, 3001, NAN);

    (void)state;
    registry_facts_rates(&same, &a.sample);
    assert_true(isfinite(same.figures[FIGURE_WRITES]));
    assert_true(isnan(same.figures[FIGURE_FULL]));
    registry_facts_rates(&soon, &a.sample);
    assert_true(isnan(soon.figures[FIGURE_WRITES]));
    registry_facts_rates(&back, &a.sample);
    assert_true(isnan(back.figures[FIGURE_WRITES]));
    assert_true(isnan(back.figures[FIGURE_FULL]));
    registry_facts_rates(&first, NULL);
    assert_true(isnan(first.figures[FIGURE_WRITES]));
    registry_facts_rates(&boundless, &a.sample);
    assert_true(isnan(boundless.figures[FIGURE_FULL]));
}

static void sizes_and_times_are_for_people(void **state)
{
    char out[FACT_SIZE];

    (void)state;
    assert_string_equal(registry_fact_bytes(0, out), "0 bytes");
    assert_string_equal(registry_fact_bytes(1536, out), "1.5 KiB");
    assert_string_equal(registry_fact_bytes(200.0 * 1024 * 1024, out),
                        "200 MiB");
    assert_string_equal(registry_fact_bytes(2 * GIB, out), "2.0 GiB");
    assert_string_equal(registry_fact_time(60 * 76, out), "76 minutes");
    assert_string_equal(registry_fact_time(3600 * 9.6, out), "9.6 hours");
    assert_string_equal(registry_fact_time(86400 * 5.0, out), "5 days");
}

static void a_clock_is_far_beyond_its_grain_only(void **state)
{
    struct registry_facts f = facts_at(1, 1, 1, 1);

    (void)state;
    registry_fact_clock(&f, 2.3, 0.5);
    registry_fact_clock(&f, -2.6, 0.5);
    assert_int_equal(f.facts[0].verdict, FACT_OK);
    assert_int_equal(f.facts[1].verdict, FACT_WARNING);
    assert_non_null(strstr(f.facts[1].text, "2.6 s behind"));
}

static void what_has_no_room_is_left_out(void **state)
{
    struct registry_facts f = facts_at(1, 1, 1, 1);

    (void)state;
    for (int i = 0; i < REGISTRY_FACTS_MAX + 5; i++)
        registry_fact_say(&f, FACT_OK, "name", NULL, "number %d", i);
    assert_int_equal(f.n, REGISTRY_FACTS_MAX);
}

static void a_registry_that_is_not_there_is_unknown_and_not_ok(void **state)
{
    struct registry_facts f;
    struct conf conf;
    char path[] = "/tmp/test_facts_none";

    (void)state;
    conf_defaults(&conf);
    char *was = conf.registry.path;
    conf.registry.path = path;
    registry_facts_read(&conf.registry, NULL, &f);
    conf.registry.path = was;
    assert_true(f.n > 0);
    for (size_t i = 0; i < f.n; i++)
        assert_int_equal(f.facts[i].verdict, FACT_UNKNOWN);
    assert_int_not_equal(access(path, F_OK), 0);
    conf_close(&conf);
}

static void the_thread_reads_and_ends_when_told(void **state)
{
    mono_ms until = clock_mono_ms() + 20000;
    struct registry_facts f = {.at = 0};
    struct facts *facts, *none = NULL;
    struct conf conf;

    (void)state;
    conf_defaults(&conf);
    facts = facts_start(&conf.registry);
    while (f.at == 0 && clock_mono_ms() < until) {
        (void)poll(NULL, 0, 20);
        facts_copy(facts, &f);
    }
    assert_true(f.at > 0);
    assert_true(f.n > 0);
    assert_true(facts_stop(&facts, 10000));
    assert_null(facts);
    assert_true(facts_stop(&none, 0));
    conf_close(&conf);
}

static void vacuum_says_what_to_do_where_there_is_no_file(void **state)
{
    static const enum conf_registry_type types[] = {CONF_ETCD, CONF_ZOOKEEPER,
                                                    CONF_JDBC};
    static const char *const words[] = {"defrag", "autopurge", "OPTIMIZE"};
    char done[128];
    struct conf conf;
    struct err err;

    (void)state;
    conf_defaults(&conf);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        conf.registry.type = types[i];
        assert_int_equal(
            registry_vacuum(&conf.registry, false, done, sizeof(done), &err),
            ERR_INVALID);
        assert_non_null(strstr(err.msg, words[i]));
    }
    conf.registry.type = CONF_SQLITE;
    conf_close(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_of_what_lies_between),
        cmocka_unit_test(without_growth_or_an_earlier_look_there_is_no_end),
        cmocka_unit_test(sizes_and_times_are_for_people),
        cmocka_unit_test(a_clock_is_far_beyond_its_grain_only),
        cmocka_unit_test(what_has_no_room_is_left_out),
        cmocka_unit_test(a_registry_that_is_not_there_is_unknown_and_not_ok),
        cmocka_unit_test(the_thread_reads_and_ends_when_told),
        cmocka_unit_test(vacuum_says_what_to_do_where_there_is_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
