/*
 * test_zookeeper_place.c - the names in a lock's queue: who is first, whom do
 * we wait for.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ME    "0f14d0ab-9605-4a62-a9e4-5ed26688389b"
#define OTHER "7d444840-9dc0-41d1-b245-5ffdce74fad2"

static bool place(char **names, size_t n, struct zk_place *out)
{
    const struct zk_names list = {names, n};

    return zk_place(&list, ME, out);
}

static void the_lowest_sequence_is_first_whatever_stands_before_it(void **state)
{
    char *names[] = {"_c_" OTHER "-lock-0000000012",
                     "_c_" ME "-lock-0000000011"};
    struct zk_place p;

    (void)state;
    assert_true(place(names, 2, &p));
    assert_string_equal(p.ours, names[1]);
    assert_null(p.before);
}

static void we_wait_for_the_one_right_before_us(void **state)
{
    char *names[] = {
        "_c_" ME "-lock-0000000013", "_c_" OTHER "-lock-0000000009",
        "_c_" OTHER "-lock-0000000012", "_c_" OTHER "-lock-0000000014"};
    struct zk_place p;

    (void)state;
    assert_true(place(names, 4, &p));
    assert_string_equal(p.ours, names[0]);
    assert_string_equal(p.before, names[2]);
    assert_string_equal(p.first, names[1]);
}

/* Curator without protection, zkCli, and what is no lock at all. */
static void names_of_other_makers_have_their_place(void **state)
{
    char *names[] = {"lock-0000000003", "read-lock-lock-0000000004",
                     "_c_" ME "-lock-0000000005", "zzz"};
    struct zk_place p;

    (void)state;
    assert_true(place(names, 4, &p));
    assert_string_equal(p.before, names[1]);
    names[3] = "0000000004x"; /* no number: it goes by the whole of it */
    assert_true(place(&names[2], 2, &p));
    assert_string_equal(p.before, names[3]);
}

/* kazoo, Curator's latch, write lock and lease, go-zookeeper. */
static void names_of_other_layouts_stand_where_their_number_says(void **state)
{
    static const struct {
        const char *name;
        bool foreign;
    } others[] = {
        {"0f14d0ab96054a62a9e45ed26688389b__lock__0000000004", true},
        {"_c_" OTHER "-latch-0000000004", true},
        {"_c_" OTHER "-__WRIT__0000000004", true},
        {"_c_" OTHER "-lease-0000000004", true},
        {"0000000004", true},
        {"_c_0f14d0ab96054a62a9e45ed26688389b-lock-0000000004", false},
        {"lock-0000000004", false},
    };
    char other[128], *names[] = {"_c_" ME "-lock-0000000005", other};
    struct zk_place p;

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        strcpy(other, others[i].name);
        assert_true(place(names, 2, &p));
        assert_string_equal(p.before, other);
        assert_int_equal(zk_place_is_foreign(other), others[i].foreign);
        other[strlen(other) - 1] = '6';
        assert_true(place(names, 2, &p));
        assert_null(p.before);
        assert_string_equal(p.first, names[0]);
    }
    assert_false(zk_place_is_foreign("zzz"));
    assert_false(zk_place_is_foreign(names[0]));
}

/* The counter is an int: 2147483647 is followed by -2147483648. */
static void the_order_outlives_the_counters_overflow(void **state)
{
    static const char *const order[] = {
        "lock-2147483646",     "a__lock__2147483647", "lock--2147483648",
        "b__lock__-999999999", "lock--000000001",     "lock-0000000000",
        "c-latch-0000000001"};
    char ours[64];

    (void)state;
    /* Half a turn is as far as an order goes: each with its next two. */
    for (size_t i = 0; i + 1 < sizeof(order) / sizeof(order[0]); i++) {
        int32_t number;
        struct zk_place p;
        char *names[] = {(char *)(uintptr_t)order[i], ours};

        assert_true(zk_place_number(order[i + 1], &number));
        (void)snprintf(ours, sizeof(ours), "_c_" ME "-lock-%010d", number);
        assert_true(place(names, 2, &p));
        if (p.before == NULL || strcmp(p.before, order[i]) != 0)
            fail_msg("%s does not wait for %s", ours, order[i]);
        assert_true(zk_place_number(order[i], &number));
        (void)snprintf(ours, sizeof(ours), "_c_" ME "-lock-%010d", number);
        names[0] = (char *)(uintptr_t)order[i + 1];
        assert_true(place(names, 2, &p));
        assert_null(p.before);
    }
}

static void the_first_of_two_of_ours_counts(void **state)
{
    char *names[] = {"_c_" ME "-lock-0000000008", "_c_" ME "-lock-0000000006",
                     "_c_" OTHER "-lock-0000000005"};
    struct zk_place p;

    (void)state;
    assert_true(place(names, 3, &p));
    assert_string_equal(p.ours, names[1]);
    assert_string_equal(p.before, names[2]);
}

static void a_name_that_only_begins_like_ours_is_not_ours(void **state)
{
    char *names[] = {"_c_" ME "0-lock-0000000001", "c_" ME "-lock-0000000002",
                     "_c_", "", ("_c_" ME)};
    struct zk_place p;

    (void)state;
    assert_false(place(names, 5, &p));
    assert_null(p.ours);
    assert_null(p.before);
    assert_false(place(names, 0, &p));
}

static void a_fresh_uuid_is_canonical_and_another_each_time(void **state)
{
    char a[ZK_UUID_SIZE], b[ZK_UUID_SIZE];

    (void)state;
    zk_place_uuid(a);
    zk_place_uuid(b);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(strspn(a, "0123456789abcdef-"), 36);
    assert_true(a[8] == '-' && a[13] == '-' && a[18] == '-' && a[23] == '-');
    assert_int_equal(a[14], '4'); /* RFC 9562: random */
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            the_lowest_sequence_is_first_whatever_stands_before_it),
        cmocka_unit_test(we_wait_for_the_one_right_before_us),
        cmocka_unit_test(names_of_other_makers_have_their_place),
        cmocka_unit_test(names_of_other_layouts_stand_where_their_number_says),
        cmocka_unit_test(the_order_outlives_the_counters_overflow),
        cmocka_unit_test(the_first_of_two_of_ours_counts),
        cmocka_unit_test(a_name_that_only_begins_like_ours_is_not_ours),
        cmocka_unit_test(a_fresh_uuid_is_canonical_and_another_each_time),
    };

    return cmocka_run_group_tests_name("zookeeper_place", tests, NULL, NULL);
}
